/* sqlite_rows.c - one typed row to and from SQL. The columns are those of the schema in meta_store_sqlite.c. */
#include "meta-service/store/sqlite_internal.h"

#include <errno.h>

static const char *const statements[STATEMENT_COUNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[PUT_CLUSTER] = "INSERT INTO cluster (one, uuid, last_commit, last_epoch, last_chunk, "
			"last_volume, last_cid) VALUES (1, ?, ?, ?, ?, ?, ?) ON CONFLICT (one) DO "
			"UPDATE SET uuid = excluded.uuid, last_commit = excluded.last_commit, "
			"last_epoch = excluded.last_epoch, last_chunk = excluded.last_chunk, "
			"last_volume = excluded.last_volume, last_cid = excluded.last_cid",
	[PUT_SERVER] =
		"INSERT OR REPLACE INTO server (cid, disk, address, local_address, host, zone, "
		"rack, node, capacity_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_VOLUME] = "INSERT OR REPLACE INTO volume (volume, uuid, name, size_bytes, "
		       "chunk_bytes, replicas, "
		       "min_replicas, deleting, taken, holder, mode, holder_host, holder_pid, "
		       "since_ms) VALUES "
		       "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_CHUNK] =
		"INSERT OR REPLACE INTO chunk (chunk, volume, volume_index, root_chunk, epoch, "
		"list_number, floor, owner, former_cid, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, "
		"?, ?, ?)",
	[PUT_REPLICA] = "INSERT INTO replica (chunk, place, cid, state, leaving, create_commit) "
			"VALUES (?, ?, ?, ?, ?, ?)",
	[PUT_SCRUB] =
		"INSERT OR REPLACE INTO scrub (chunk, ended_ms, by, complete, blocks_read, bad, "
		"repaired, unrepairable, differing, named) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, "
		"?)",
	[PUT_JOB] =
		"INSERT OR REPLACE INTO job (job, state, paused, volume, chunk, next_chunk, "
		"created_ms, ended_ms, chunks, done, failed, blocks_read, bad, repaired, damaged) "
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[DROP_SCRUB] = "DELETE FROM scrub WHERE chunk = ?",
	[DROP_JOB] = "DELETE FROM job WHERE job = ?",
	[GET_SCRUBS] = "SELECT chunk, ended_ms, by, complete, blocks_read, bad, repaired, "
		       "unrepairable, differing, named FROM scrub ORDER BY chunk",
	[GET_JOBS] =
		"SELECT job, state, paused, volume, chunk, next_chunk, created_ms, ended_ms, "
		"chunks, done, failed, blocks_read, bad, repaired, damaged FROM job ORDER BY job",
	[DROP_SERVER] = "DELETE FROM server WHERE cid = ?",
	[DROP_VOLUME] = "DELETE FROM volume WHERE volume = ?",
	[DROP_CHUNK] = "DELETE FROM chunk WHERE chunk = ?",
	[DROP_REPLICAS] = "DELETE FROM replica WHERE chunk = ?",
	[GET_CLUSTER] = "SELECT uuid, last_commit, last_epoch, last_chunk, last_volume, last_cid "
			"FROM cluster",
	[GET_SERVERS] = "SELECT cid, disk, address, local_address, host, zone, rack, node, "
			"capacity_bytes FROM server ORDER BY cid",
	[GET_VOLUMES] =
		"SELECT volume, uuid, name, size_bytes, chunk_bytes, replicas, min_replicas, "
		"deleting, taken, holder, mode, holder_host, holder_pid, since_ms FROM volume "
		"ORDER BY volume",
	[GET_CHUNKS] = "SELECT chunk, volume, volume_index, root_chunk, epoch, list_number, floor, "
		       "owner, former_cid, created_ms FROM chunk ORDER BY chunk",
	[GET_REPLICAS] =
		"SELECT cid, state, leaving, create_commit FROM replica WHERE chunk = ? ORDER "
		"BY place",
};

int sqlite_prepare_all(sqlite3 *db, sqlite3_stmt *prepared[STATEMENT_COUNT])
{
	for (int i = 0; i < STATEMENT_COUNT; i++)
		if (sqlite3_prepare_v3(db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &prepared[i], NULL) != SQLITE_OK)
			return -EIO;
	return 0;
}

/* ---- binding, column after column ---- */

struct binder {
	sqlite3_stmt *statement;
	int column;
	bool failed;
};

static struct binder bind(sqlite3_stmt *statement)
{
	return (struct binder){.statement = statement};
}

static void bind_number(struct binder *b, uint64_t value)
{
	b->failed |=
		sqlite3_bind_int64(b->statement, ++b->column, (sqlite3_int64)value) != SQLITE_OK;
}

static void bind_text(struct binder *b, const char *value)
{
	b->failed |=
		sqlite3_bind_text(b->statement, ++b->column, value, -1, SQLITE_STATIC) != SQLITE_OK;
}

static void bind_uuid(struct binder *b, const struct uuid *value)
{
	b->failed |= sqlite3_bind_blob(b->statement, ++b->column, value->bytes, sizeof value->bytes,
				       SQLITE_STATIC) != SQLITE_OK;
}

/* Runs a statement that gives no rows. */
static int run(const struct binder *b)
{
	int rc = b->failed ? SQLITE_ERROR : sqlite3_step(b->statement);

	sqlite3_reset(b->statement);
	sqlite3_clear_bindings(b->statement);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

int sqlite_run(sqlite3_stmt *statement)
{
	struct binder b = bind(statement);

	return run(&b);
}

static int drop(sqlite3_stmt *statement, uint64_t key)
{
	struct binder b = bind(statement);

	bind_number(&b, key);
	return run(&b);
}

static int put_cluster(sqlite3_stmt *const *prepared, const struct meta_cluster_row *row)
{
	struct binder b = bind(prepared[PUT_CLUSTER]);

	bind_uuid(&b, &row->cluster);
	bind_number(&b, row->commit);
	bind_number(&b, row->epoch);
	bind_number(&b, row->chunk);
	bind_number(&b, row->volume);
	bind_number(&b, row->cid);
	return run(&b);
}

static int put_server(sqlite3_stmt *const *prepared, const struct meta_server_row *row)
{
	struct binder b = bind(prepared[PUT_SERVER]);

	bind_number(&b, row->cid);
	bind_uuid(&b, &row->disk);
	bind_text(&b, row->address);
	bind_text(&b, row->local_address);
	bind_text(&b, row->host);
	bind_text(&b, row->zone);
	bind_text(&b, row->rack);
	bind_text(&b, row->node);
	bind_number(&b, row->capacity_bytes);
	return run(&b);
}

static int put_volume(sqlite3_stmt *const *prepared, const struct meta_volume_row *row)
{
	struct binder b = bind(prepared[PUT_VOLUME]);

	bind_number(&b, row->volume);
	bind_uuid(&b, &row->uuid);
	bind_text(&b, row->name);
	bind_number(&b, row->size_bytes);
	bind_number(&b, row->chunk_bytes);
	bind_number(&b, row->replicas);
	bind_number(&b, row->min_replicas);
	bind_number(&b, row->deleting);
	bind_number(&b, row->taken);
	bind_uuid(&b, &row->holder);
	bind_number(&b, row->mode);
	bind_text(&b, row->holder_host);
	bind_number(&b, row->holder_pid);
	bind_number(&b, row->since_ms);
	return run(&b);
}

static int put_replica(sqlite3_stmt *const *prepared, uint64_t chunk, uint32_t place,
		       const struct meta_replica *replica)
{
	struct binder b = bind(prepared[PUT_REPLICA]);

	bind_number(&b, chunk);
	bind_number(&b, place);
	bind_number(&b, replica->cid);
	bind_number(&b, replica->state);
	bind_number(&b, replica->leaving);
	bind_number(&b, replica->commit);
	return run(&b);
}

static int put_chunk(sqlite3_stmt *const *prepared, const struct meta_chunk_row *row)
{
	struct binder b = bind(prepared[PUT_CHUNK]);
	int rc;

	bind_number(&b, row->chunk);
	bind_number(&b, row->volume);
	bind_number(&b, row->index);
	bind_number(&b, row->root_chunk);
	bind_number(&b, row->epoch);
	bind_number(&b, row->list_number);
	bind_number(&b, row->floor);
	bind_uuid(&b, &row->owner);
	bind_number(&b, row->former_cid);
	bind_number(&b, row->created_ms);
	rc = run(&b);
	if (rc == 0)
		rc = drop(prepared[DROP_REPLICAS], row->chunk);
	for (uint32_t i = 0; rc == 0 && i < row->replica_count; i++)
		rc = put_replica(prepared, row->chunk, i, &row->replicas[i]);
	return rc;
}

static int put_scrub(sqlite3_stmt *const *prepared, const struct meta_scrub_row *row)
{
	struct binder b = bind(prepared[PUT_SCRUB]);

	bind_number(&b, row->chunk);
	bind_number(&b, row->ended_ms);
	bind_text(&b, row->by);
	bind_number(&b, row->complete);
	bind_number(&b, row->read);
	bind_number(&b, row->bad);
	bind_number(&b, row->repaired);
	bind_number(&b, row->unrepairable);
	bind_number(&b, row->differing);
	bind_text(&b, row->named);
	return run(&b);
}

static int put_job(sqlite3_stmt *const *prepared, const struct meta_job_row *row)
{
	struct binder b = bind(prepared[PUT_JOB]);

	bind_number(&b, row->job);
	bind_number(&b, row->state);
	bind_number(&b, row->paused);
	bind_number(&b, row->volume);
	bind_number(&b, row->chunk);
	bind_number(&b, row->next_chunk);
	bind_number(&b, row->created_ms);
	bind_number(&b, row->ended_ms);
	bind_number(&b, row->chunks);
	bind_number(&b, row->done);
	bind_number(&b, row->failed);
	bind_number(&b, row->read);
	bind_number(&b, row->bad);
	bind_number(&b, row->repaired);
	bind_number(&b, row->damaged);
	return run(&b);
}

static int remove_row(sqlite3_stmt *const *prepared, const struct meta_row *row)
{
	int rc;

	switch (row->kind) {
	case META_ROW_CLUSTER:
		return -EINVAL;
	case META_ROW_SERVER:
		return drop(prepared[DROP_SERVER], row->u.server.cid);
	case META_ROW_VOLUME:
		return drop(prepared[DROP_VOLUME], row->u.volume.volume);
	case META_ROW_CHUNK:
		rc = drop(prepared[DROP_REPLICAS], row->u.chunk.chunk);
		return rc ? rc : drop(prepared[DROP_CHUNK], row->u.chunk.chunk);
	case META_ROW_SCRUB:
		return drop(prepared[DROP_SCRUB], row->u.scrub.chunk);
	case META_ROW_JOB:
		return drop(prepared[DROP_JOB], row->u.job.job);
	case META_ROW_KINDS:
		break;
	}
	return -EINVAL;
}

int sqlite_write_row(sqlite3_stmt *const *prepared, const struct meta_row *row)
{
	if (row->removed)
		return remove_row(prepared, row);
	switch (row->kind) {
	case META_ROW_CLUSTER:
		return put_cluster(prepared, &row->u.cluster);
	case META_ROW_SERVER:
		return put_server(prepared, &row->u.server);
	case META_ROW_VOLUME:
		return put_volume(prepared, &row->u.volume);
	case META_ROW_CHUNK:
		return put_chunk(prepared, &row->u.chunk);
	case META_ROW_SCRUB:
		return put_scrub(prepared, &row->u.scrub);
	case META_ROW_JOB:
		return put_job(prepared, &row->u.job);
	case META_ROW_KINDS:
		break;
	}
	return -EINVAL;
}

/* ---- reading, column after column ---- */

struct reader {
	sqlite3_stmt *statement;
	int column;
	bool damaged;
};

static uint64_t read_number(struct reader *r)
{
	return (uint64_t)sqlite3_column_int64(r->statement, r->column++);
}

static uint32_t read_small(struct reader *r)
{
	uint64_t value = read_number(r);

	r->damaged |= value > UINT32_MAX;
	return (uint32_t)value;
}

static void read_text(struct reader *r, char *to, size_t capacity)
{
	const unsigned char *text = sqlite3_column_text(r->statement, r->column);
	size_t bytes = (size_t)sqlite3_column_bytes(r->statement, r->column++);

	if (!text || bytes >= capacity) {
		r->damaged = true;
		return;
	}
	memcpy(to, text, bytes);
	to[bytes] = 0;
}

static void read_uuid(struct reader *r, struct uuid *to)
{
	const void *blob = sqlite3_column_blob(r->statement, r->column);

	if (sqlite3_column_bytes(r->statement, r->column++) != sizeof to->bytes)
		r->damaged = true;
	else
		memcpy(to->bytes, blob, sizeof to->bytes);
}

static void read_cluster(struct reader *r, struct meta_row *row)
{
	struct meta_cluster_row *cluster = &row->u.cluster;

	read_uuid(r, &cluster->cluster);
	cluster->commit = read_number(r);
	cluster->epoch = read_number(r);
	cluster->chunk = read_number(r);
	cluster->volume = read_number(r);
	cluster->cid = read_small(r);
}

static void read_server(struct reader *r, struct meta_row *row)
{
	struct meta_server_row *server = &row->u.server;

	server->cid = read_small(r);
	read_uuid(r, &server->disk);
	read_text(r, server->address, sizeof server->address);
	read_text(r, server->local_address, sizeof server->local_address);
	read_text(r, server->host, sizeof server->host);
	read_text(r, server->zone, sizeof server->zone);
	read_text(r, server->rack, sizeof server->rack);
	read_text(r, server->node, sizeof server->node);
	server->capacity_bytes = read_number(r);
}

static void read_volume(struct reader *r, struct meta_row *row)
{
	struct meta_volume_row *volume = &row->u.volume;

	volume->volume = read_number(r);
	read_uuid(r, &volume->uuid);
	read_text(r, volume->name, sizeof volume->name);
	volume->size_bytes = read_number(r);
	volume->chunk_bytes = read_number(r);
	volume->replicas = read_small(r);
	volume->min_replicas = read_small(r);
	volume->deleting = read_number(r) != 0;
	volume->taken = read_number(r) != 0;
	read_uuid(r, &volume->holder);
	volume->mode = (enum attach_mode)read_small(r);
	read_text(r, volume->holder_host, sizeof volume->holder_host);
	volume->holder_pid = read_small(r);
	volume->since_ms = read_number(r);
}

static void read_chunk(struct reader *r, struct meta_row *row)
{
	struct meta_chunk_row *chunk = &row->u.chunk;

	chunk->chunk = read_number(r);
	chunk->volume = read_number(r);
	chunk->index = read_number(r);
	chunk->root_chunk = read_number(r);
	chunk->epoch = read_number(r);
	chunk->list_number = read_number(r);
	chunk->floor = read_number(r);
	read_uuid(r, &chunk->owner);
	chunk->former_cid = read_small(r);
	chunk->created_ms = read_number(r);
}

static void read_scrub(struct reader *r, struct meta_row *row)
{
	struct meta_scrub_row *scrub = &row->u.scrub;

	scrub->chunk = read_number(r);
	scrub->ended_ms = read_number(r);
	read_text(r, scrub->by, sizeof scrub->by);
	scrub->complete = read_number(r) != 0;
	scrub->read = read_number(r);
	scrub->bad = read_small(r);
	scrub->repaired = read_small(r);
	scrub->unrepairable = read_small(r);
	scrub->differing = read_small(r);
	read_text(r, scrub->named, sizeof scrub->named);
}

static void read_job(struct reader *r, struct meta_row *row)
{
	struct meta_job_row *job = &row->u.job;

	job->job = read_number(r);
	job->state = (enum job_state)read_small(r);
	job->paused = read_number(r) != 0;
	job->volume = read_number(r);
	job->chunk = read_number(r);
	job->next_chunk = read_number(r);
	job->created_ms = read_number(r);
	job->ended_ms = read_number(r);
	job->chunks = read_number(r);
	job->done = read_number(r);
	job->failed = read_number(r);
	job->read = read_number(r);
	job->bad = read_number(r);
	job->repaired = read_number(r);
	job->damaged = read_number(r);
	r->damaged |= job->state > JOB_CANCELLED;
}

static int read_replicas(sqlite3_stmt *statement, struct meta_chunk_row *chunk)
{
	struct reader r = {.statement = statement};
	int rc;

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)chunk->chunk);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW && !r.damaged) {
		struct meta_replica *replica = &chunk->replicas[chunk->replica_count];

		if (chunk->replica_count == REPLICAS_MAX) {
			r.damaged = true;
			break;
		}
		r.column = 0;
		replica->cid = read_small(&r);
		replica->state = (enum replica_state)read_small(&r);
		replica->leaving = read_number(&r) != 0;
		replica->commit = read_number(&r);
		r.damaged |= replica->state != REPLICA_ACTIVE && replica->state != REPLICA_FILLING;
		chunk->replica_count++;
	}
	sqlite3_reset(statement);
	if (r.damaged)
		return -EINVAL;
	return rc == SQLITE_DONE ? 0 : -EIO;
}

int sqlite_read_rows(sqlite3_stmt *const *prepared, enum meta_row_kind kind,
		     void (*show)(void *context, const struct meta_row *row), void *context)
{
	static const struct {
		enum statement select;
		void (*read)(struct reader *r, struct meta_row *row);
	} kinds[] = {
		[META_ROW_CLUSTER] = {GET_CLUSTER, read_cluster},
		[META_ROW_SERVER] = {GET_SERVERS, read_server},
		[META_ROW_VOLUME] = {GET_VOLUMES, read_volume},
		[META_ROW_CHUNK] = {GET_CHUNKS, read_chunk},
		[META_ROW_SCRUB] = {GET_SCRUBS, read_scrub},
		[META_ROW_JOB] = {GET_JOBS, read_job},
	};
	struct reader r = {.statement = prepared[kinds[kind].select]};
	int rc, error = 0;

	while (error == 0 && (rc = sqlite3_step(r.statement)) != SQLITE_DONE) {
		struct meta_row row = {.kind = kind};

		r.column = 0;
		if (rc != SQLITE_ROW) {
			error = -EIO;
			break;
		}
		kinds[kind].read(&r, &row);
		if (kind == META_ROW_CHUNK)
			error = read_replicas(prepared[GET_REPLICAS], &row.u.chunk);
		if (r.damaged)
			error = -EINVAL;
		if (error == 0)
			show(context, &row);
	}
	sqlite3_reset(r.statement);
	return error;
}
