/*
 * meta.c - the core's tables, its loading from rows, and the dispatch of events.
 *
 * A step for a message finds the handler in a table; which of them need a session, and which are refused while the
 * store is in doubt (meta_session.c), stands there too.
 */
#include "meta-service/core/meta_internal.h"

#include <errno.h>
#include <stdlib.h>

struct meta_config meta_config_default(void)
{
	return (struct meta_config){
		.scan_ms = 5000,
		.resync_grace_ms = 10 * 60 * 1000,
		.evict_dead_ms = 60 * 1000,
		.garbage_delay_ms = 15 * 60 * 1000,
		.repair_retry_ms = 30 * 1000,
		.repair_stall_ms = 10 * 60 * 1000,
		.scrub_ms = UINT64_C(14) * 24 * 3600 * 1000,
		.scrub_stall_ms = 10 * 60 * 1000,
		.repairs_per_server = 200,
	};
}

struct meta *meta_new(const struct meta_config *config, uint64_t now_ns)
{
	struct meta *meta = xcalloc(1, sizeof *meta);

	meta->config = *config;
	meta->started_ns = now_ns;
	meta->now_ns = now_ns;
	TAILQ_INIT(&meta->queue);
	TAILQ_INIT(&meta->scrubs);
	return meta;
}

static void free_server(struct server *server)
{
	struct reported *reported, *next;

	HASH_ITER(hh, server->reports, reported, next)
	{
		server_forget_report(server, reported);
	}
	free(server->stats_json);
	free(server);
}

void meta_free(struct meta *meta)
{
	struct server *server, *next_server;
	struct volume *volume, *next_volume;
	struct connection *connection, *next_connection;
	struct instance *instance, *next_instance;
	struct heard_engine *engine, *next_engine;

	struct job *job, *next_job;

	if (!meta)
		return;
	HASH_ITER(hh, meta->jobs, job, next_job)
	{
		HASH_DEL(meta->jobs, job);
		free(job);
	}
	HASH_ITER(hh, meta->volumes, volume, next_volume)
	{
		while (volume->chunk_count)
			meta_remove_chunk(meta, volume->chunks[volume->chunk_count - 1]);
		meta_remove_volume(meta, volume);
	}
	HASH_ITER(hh, meta->servers, server, next_server)
	{
		HASH_DEL(meta->servers, server);
		free_server(server);
	}
	HASH_ITER(hh, meta->connections, connection, next_connection)
	{
		HASH_DEL(meta->connections, connection);
		free(connection);
	}
	HASH_ITER(hh, meta->instances, instance, next_instance)
	{
		HASH_DEL(meta->instances, instance);
		free(instance);
	}
	HASH_ITER(hh, meta->heard_engines, engine, next_engine)
	meta_forget_engine(meta, engine);
	free(meta);
}

struct server *meta_find_server(const struct meta *meta, uint32_t cid)
{
	struct server *server;

	HASH_FIND(hh, meta->servers, &cid, sizeof cid, server);
	return server;
}

struct server *meta_find_server_by_disk(const struct meta *meta, struct uuid disk)
{
	for (struct server *s = meta->servers; s; s = s->hh.next)
		if (uuid_equal(s->row.disk, disk))
			return s;
	return NULL;
}

struct volume *meta_find_volume(const struct meta *meta, uint64_t id)
{
	struct volume *volume;

	HASH_FIND(hh, meta->volumes, &id, sizeof id, volume);
	return volume;
}

struct volume *meta_find_volume_by_name(const struct meta *meta, const char *name)
{
	for (struct volume *v = meta->volumes; v; v = v->hh.next)
		if (!v->row.deleting && strcmp(v->row.name, name) == 0)
			return v;
	return NULL;
}

struct chunk *meta_find_chunk(const struct meta *meta, uint64_t id)
{
	struct chunk *chunk;

	HASH_FIND(hh, meta->chunks, &id, sizeof id, chunk);
	return chunk;
}

struct connection *meta_find_connection(const struct meta *meta, uint64_t id)
{
	struct connection *connection;

	HASH_FIND(hh, meta->connections, &id, sizeof id, connection);
	return connection;
}

struct instance *meta_find_instance(const struct meta *meta, struct uuid id)
{
	struct instance *instance;

	HASH_FIND(hh, meta->instances, &id, sizeof id, instance);
	return instance;
}

struct server *meta_add_server(struct meta *meta, const struct meta_server_row *row)
{
	struct server *server = xcalloc(1, sizeof *server);

	server->row = *row;
	server->dead_since_ns = meta->started_ns + SESSION_TIMEOUT_NS;
	HASH_ADD(hh, meta->servers, row.cid, sizeof server->row.cid, server);
	return server;
}

struct volume *meta_add_volume(struct meta *meta, const struct meta_volume_row *row)
{
	struct volume *volume = xcalloc(1, sizeof *volume);

	volume->row = *row;
	HASH_ADD(hh, meta->volumes, row.volume, sizeof volume->row.volume, volume);
	return volume;
}

void meta_remove_volume(struct meta *meta, struct volume *volume)
{
	assert(volume->chunk_count == 0);
	HASH_DEL(meta->volumes, volume);
	free(volume->chunks);
	free(volume);
}

size_t volume_position(const struct volume *volume, uint64_t index)
{
	size_t low = 0, high = volume->chunk_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (volume->chunks[middle]->row.index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct chunk *volume_chunk(const struct volume *volume, uint64_t index)
{
	size_t position = volume_position(volume, index);

	if (position < volume->chunk_count && volume->chunks[position]->row.index == index)
		return volume->chunks[position];
	return NULL;
}

uint64_t volume_index_count(const struct volume *volume)
{
	return (volume->row.size_bytes + volume->row.chunk_bytes - 1) / volume->row.chunk_bytes;
}

static void count_replicas(struct meta *meta, const struct chunk *chunk, int sign)
{
	for (uint32_t i = 0; i < chunk->row.replica_count; i++) {
		struct server *server = meta_find_server(meta, chunk->row.replicas[i].cid);

		server->replica_count += (uint64_t)(int64_t)sign;
	}
}

struct chunk *meta_add_chunk(struct meta *meta, struct volume *volume,
			     const struct meta_chunk_row *row)
{
	struct chunk *chunk = xcalloc(1, sizeof *chunk);
	size_t position = volume_position(volume, row->index);

	chunk->row = *row;
	chunk->volume = volume;
	chunk->listed_ns = meta->now_ns;
	chunk->evicted_ns = meta->now_ns;
	chunk->filling_since_ns = meta->now_ns;
	if (volume->chunk_count == volume->chunk_room) {
		volume->chunk_room = volume->chunk_room ? volume->chunk_room * 2 : 16;
		volume->chunks =
			xrealloc(volume->chunks, volume->chunk_room * sizeof(struct chunk *));
	}
	memmove(volume->chunks + position + 1, volume->chunks + position,
		(volume->chunk_count - position) * sizeof(struct chunk *));
	volume->chunks[position] = chunk;
	volume->chunk_count++;
	HASH_ADD(hh, meta->chunks, row.chunk, sizeof chunk->row.chunk, chunk);
	count_replicas(meta, chunk, 1);
	return chunk;
}

void meta_remove_chunk(struct meta *meta, struct chunk *chunk)
{
	struct volume *volume = chunk->volume;
	size_t position = volume_position(volume, chunk->row.index);

	assert(volume->chunks[position] == chunk);
	count_replicas(meta, chunk, -1);
	volume->chunk_count--;
	memmove(volume->chunks + position, volume->chunks + position + 1,
		(volume->chunk_count - position) * sizeof(struct chunk *));
	if (chunk->queued)
		TAILQ_REMOVE(&meta->queue, chunk, queue);
	meta_scrub_forget(meta, chunk);
	HASH_DEL(meta->chunks, chunk);
	free(chunk);
}

void meta_move_chunks(struct meta *meta, struct volume *from, size_t position, struct volume *to)
{
	size_t count = from->chunk_count - position;

	assert(to->chunk_count == 0);
	to->chunks = xrealloc(to->chunks, count * sizeof(struct chunk *));
	to->chunk_room = to->chunk_count = count;
	memcpy(to->chunks, from->chunks + position, count * sizeof(struct chunk *));
	from->chunk_count = position;
	for (size_t i = 0; i < count; i++) {
		to->chunks[i]->volume = to;
		to->chunks[i]->row.volume = to->row.volume;
		meta_put_chunk(meta, to->chunks[i]);
	}
}

struct reported *server_find_report(const struct server *server, uint64_t chunk)
{
	struct reported *reported;

	HASH_FIND(hh, server->reports, &chunk, sizeof chunk, reported);
	return reported;
}

void server_forget_report(struct server *server, struct reported *reported)
{
	HASH_DEL(server->reports, reported);
	free(reported);
}

/* A row is used only if what it refers to is there and no key comes twice. */
static int load_chunk(struct meta *meta, const struct meta_chunk_row *row)
{
	struct volume *volume = meta_find_volume(meta, row->volume);

	if (!volume || meta_find_chunk(meta, row->chunk) || volume_chunk(volume, row->index))
		return -EINVAL;
	if (row->replica_count > REPLICAS_MAX || row->chunk > meta->cluster.chunk ||
	    row->epoch > meta->cluster.epoch)
		return -EINVAL;
	for (uint32_t i = 0; i < row->replica_count; i++)
		if (!meta_find_server(meta, row->replicas[i].cid))
			return -EINVAL;
	meta_add_chunk(meta, volume, row);
	return 0;
}

static int load_volume(struct meta *meta, const struct meta_volume_row *row)
{
	struct volume *volume;

	if (meta_find_volume(meta, row->volume) || row->volume > meta->cluster.volume ||
	    row->chunk_bytes == 0)
		return -EINVAL;
	volume = meta_add_volume(meta, row);
	volume->deleting_since_ns = meta->started_ns;
	if (row->taken)
		volume->ready_ns = meta->started_ns + PROMISE_NS;
	return 0;
}

static int load_scrub(struct meta *meta, const struct meta_scrub_row *row)
{
	struct chunk *chunk = meta_find_chunk(meta, row->chunk);

	if (!chunk || chunk->scrub.row.chunk)
		return -EINVAL;
	chunk->scrub.row = *row;
	return 0;
}

static int load_job(struct meta *meta, const struct meta_job_row *row)
{
	if (!row->job || meta_find_job(meta, row->job))
		return -EINVAL;
	meta_add_job(meta, row);
	return 0;
}

int meta_load_row(struct meta *meta, const struct meta_row *row)
{
	if (row->removed)
		return -EINVAL;
	switch (row->kind) {
	case META_ROW_CLUSTER:
		if (meta->founded)
			return -EINVAL;
		meta->cluster = row->u.cluster;
		meta->founded = true;
		return 0;
	case META_ROW_SERVER:
		if (meta_find_server(meta, row->u.server.cid) ||
		    row->u.server.cid > meta->cluster.cid ||
		    HASH_COUNT(meta->servers) == SERVERS_MAX)
			return -EINVAL;
		meta_add_server(meta, &row->u.server);
		return 0;
	case META_ROW_VOLUME:
		return load_volume(meta, &row->u.volume);
	case META_ROW_CHUNK:
		return load_chunk(meta, &row->u.chunk);
	case META_ROW_SCRUB:
		return load_scrub(meta, &row->u.scrub);
	case META_ROW_JOB:
		return load_job(meta, &row->u.job);
	case META_ROW_KINDS:
		break;
	}
	return -EINVAL;
}

bool meta_is_empty(const struct meta *meta)
{
	return !meta->founded;
}

void meta_found(struct meta *meta, struct uuid cluster, struct meta_update *update)
{
	assert(!meta->founded);
	meta->cluster.cluster = cluster;
	meta->founded = true;
	meta->update = update;
	meta_put_cluster(meta);
	meta->update = NULL;
}

const struct meta_cluster_row *meta_cluster(const struct meta *meta)
{
	return &meta->cluster;
}

void meta_raise_counters(struct meta *meta, const struct meta_cluster_row *least)
{
	meta->cluster.commit = MAX(meta->cluster.commit, least->commit);
	meta->cluster.epoch = MAX(meta->cluster.epoch, least->epoch);
	meta->cluster.chunk = MAX(meta->cluster.chunk, least->chunk);
	meta->cluster.volume = MAX(meta->cluster.volume, least->volume);
	meta->cluster.cid = MAX(meta->cluster.cid, least->cid);
}

enum {
	NEEDS_SESSION = 1,
	NEEDS_CERTAINTY = 2, /* refused while the store is in doubt, or may turn out to be */
};

static const struct handler {
	enum msg_type type;
	void (*handle)(struct meta *meta, struct connection *connection, const struct msg *msg);
	unsigned needs;
} handlers[] = {
	{MSG_SESSION, meta_on_session, 0},
	{MSG_KEEPALIVE, meta_on_keepalive, NEEDS_SESSION},
	{MSG_ATTACH, meta_on_attach, NEEDS_SESSION | NEEDS_CERTAINTY},
	{MSG_DETACH, meta_on_detach, NEEDS_SESSION | NEEDS_CERTAINTY},
	{MSG_TABLE, meta_on_table, NEEDS_SESSION},
	{MSG_LEASE, meta_on_lease, NEEDS_SESSION | NEEDS_CERTAINTY},
	{MSG_LEASE_RETURN, meta_on_lease_return, NEEDS_SESSION | NEEDS_CERTAINTY},
	{MSG_CHANGE, meta_on_change, NEEDS_SESSION | NEEDS_CERTAINTY},
	{MSG_REPORT, meta_on_report, NEEDS_SESSION},
	{MSG_SCRUBBED, meta_on_scrubbed, NEEDS_SESSION},
	{MSG_ADMIN, meta_on_admin, 0},
	{MSG_VOLUMES, meta_on_volumes, 0},
};

/* Refuses with a text where the answer has room for one. */
/*
 * Whether the store is older than the cluster is known when every chunk server of the rows has told what it has seen. Before that, for
 * SESSION_TIMEOUT_NS at most, nothing is granted: epochs could be used a second time.
 */
static bool is_certain(struct meta *meta)
{
	if (!meta->certain) {
		meta->certain = true;
		for (const struct server *s = meta->servers; s && !meta->grace_over; s = s->hh.next)
			meta->certain &= s->seen_ns != 0;
	}
	return meta->certain && !meta->doubt.doubted;
}

static void uncertainty_text(const struct meta *meta, char text[TEXT_BYTES])
{
	if (meta->doubt.doubted)
		meta_doubt_text(meta, text);
	else
		meta_text(text, "The meta service has just started and waits for its chunk "
				"servers; this is tried again by itself");
}

static void refuse_in_doubt(struct meta *meta, uint64_t connection, const struct msg *msg)
{
	struct msg answer = meta_answer(msg, WIRE_NOT_LEADER);

	if (msg->type == MSG_ATTACH) {
		uncertainty_text(meta, answer.u.volume.text);
	} else if (msg->type == MSG_LEASE) {
		uncertainty_text(meta, answer.u.chunks.text);
	} else if (msg->type == MSG_CHANGE) {
		/* The owner asks again after this answer: it must know which of its chunks it is for. */
		answer.u.list.chunk.chunk = msg->u.change.chunk;
		answer.u.list.chunk.epoch = msg->u.change.epoch;
		uncertainty_text(meta, answer.u.list.text);
	}
	meta_send(meta, connection, &answer, NULL);
}

static void on_message(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
		const struct handler *handler = &handlers[i];

		if (handler->type != msg->type)
			continue;
		if ((handler->needs & NEEDS_SESSION) && !connection->instance) {
			trace(TRACE_WARN, MODULE,
			      "connection=%" PRIu64 " sent %s without a session: closed",
			      connection->id, msg_type_name(msg->type));
			meta_send_close(meta, connection->id);
		} else if ((handler->needs & NEEDS_CERTAINTY) && !is_certain(meta)) {
			refuse_in_doubt(meta, connection->id, msg);
		} else {
			handler->handle(meta, connection, msg);
		}
		return;
	}
	trace(TRACE_WARN, MODULE,
	      "connection=%" PRIu64 " sent %s, which is not for the meta service: closed",
	      connection->id, msg_type_name(msg->type));
	meta_send_close(meta, connection->id);
}

static void on_tick(struct meta *meta)
{
	if (!meta->grace_over && meta->now_ns >= meta->started_ns + SESSION_TIMEOUT_NS) {
		meta->grace_over = true;
		meta->servers_changed = true;
		meta_scan_soon(meta);
	}
	meta_expire_sessions(meta);
	meta_push_servers(meta);
	meta_answer_attaches(meta);
	meta_plan(meta);
	if (meta->grace_over && !meta->doubt.doubted) {
		meta_scrubs_tick(meta);
		meta_jobs_tick(meta);
	}
}

static bool same_counters(const struct meta_cluster_row *a, const struct meta_cluster_row *b)
{
	return a->commit == b->commit && a->epoch == b->epoch && a->chunk == b->chunk &&
	       a->volume == b->volume && a->cid == b->cid;
}

void meta_step(struct meta *meta, const struct meta_event *event, struct meta_update *update)
{
	struct meta_cluster_row before = meta->cluster;
	struct connection *connection;

	assert(meta->founded);
	assert(event->now_ns >= meta->now_ns);
	meta->now_ns = event->now_ns;
	meta->wall_ms = event->wall_ms;
	memcpy(meta->random, event->random, sizeof meta->random);
	meta->update = update;
	switch (event->type) {
	case META_OPENED:
		meta_on_opened(meta, event);
		break;
	case META_CLOSED:
		meta_on_closed(meta, event->connection);
		break;
	case META_MESSAGE:
		connection = meta_find_connection(meta, event->connection);
		if (connection)
			on_message(meta, connection, event->msg);
		break;
	case META_TICK:
		on_tick(meta);
		break;
	}
	if (!same_counters(&before, &meta->cluster))
		meta_put_cluster(meta);
	meta->update = NULL;
}
