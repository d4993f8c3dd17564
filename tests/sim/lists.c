/* lists.c - see lists.h. */
#include "tests/sim/lists.h"
#include "tests/sim/cluster.h"
#include "tests/sim/users.h"

#include <stdlib.h>
#include "common/base/hash.h"

struct place {
	uint64_t chunk;
	uint32_t server, disk;
};

/* A replica, as its chunk server has shown it. */
struct seen {
	struct place place;
	uint64_t synced;      /* the newest epoch that it answered SYNC OK for */
	uint64_t kept;        /* a DELETE came that was older than this CREATE; 0: none did */
	uint32_t incarnation; /* of the process that it came to */
	bool late_create;     /* the last CREATE that came is older than its deletion */
	UT_hash_handle hh;
};

struct request_key {
	uint64_t connection, id;
	uint64_t chunk; /* each owner counts its own requests */
};

/* A CHANGE that came when its epoch was over already. */
struct outdated {
	struct request_key key;
	uint64_t epoch, present;
	UT_hash_handle hh;
};

struct holders {
	struct uuid volume;
	unsigned changes;
	UT_hash_handle hh;
};

/* A volume that an engine has been given, until it is seen that somebody there wants it. */
struct given {
	uint64_t volume;
	uint64_t since_ns; /* 0: none */
	uint32_t incarnation;
};

/* The newest epoch in which somebody may write to a chunk. */
struct written {
	uint64_t chunk, epoch;
	UT_hash_handle hh;
};

struct lists {
	struct cluster *c;
	struct written *written;
	struct given given[SIM_ENGINES_MAX][SIM_VOLUMES_MAX];
	struct seen *seen;
	struct outdated *outdated;
	struct holders *holders;
};

struct lists *lists_new(struct cluster *cluster)
{
	struct lists *l = xcalloc(1, sizeof *l);

	l->c = cluster;
	return l;
}

void lists_free(struct lists *l)
{
	struct outdated *o, *next_o;
	struct holders *h, *next_h;
	struct written *w, *next_w;
	struct seen *s, *next_s;

	if (!l)
		return;
	HASH_ITER(hh, l->seen, s, next_s)
	{
		HASH_DEL(l->seen, s);
		free(s);
	}
	HASH_ITER(hh, l->outdated, o, next_o)
	{
		HASH_DEL(l->outdated, o);
		free(o);
	}
	HASH_ITER(hh, l->holders, h, next_h)
	{
		HASH_DEL(l->holders, h);
		free(h);
	}
	HASH_ITER(hh, l->written, w, next_w)
	{
		HASH_DEL(l->written, w);
		free(w);
	}
	free(l);
}

#define U(x) (unsigned long long)(x)

static struct seen *seen(struct lists *l, uint64_t chunk, unsigned server)
{
	struct place place = {chunk, server, l->c->servers[server].disk_number};
	struct seen *s;

	HASH_FIND(hh, l->seen, &place, sizeof place, s);
	if (!s) {
		s = xcalloc(1, sizeof *s);
		s->place = place;
		HASH_ADD(hh, l->seen, place, sizeof place, s);
	}
	return s;
}

static int server_of(const struct lists *l, const struct sim_process *process)
{
	for (unsigned i = 0; i < l->c->params.servers; i++) {
		if (l->c->servers[i].node.process == process)
			return (int)i;
	}
	return -1;
}

static bool is_metad(const struct sim_process *process)
{
	return process->name[0] == 'm';
}

/* ---- what metad tells ---- */

/* A grant is a commit, and so is a change of a list: nobody hears of either before it is durable. */
static void check_committed(struct lists *l, const struct msg_chunk *told)
{
	const struct meta_chunk_row *row = sim_rows_chunk(l->c->rows, told->chunk);

	if (row && (row->epoch < told->epoch || row->list_number < told->list_number))
		sim_fail(&l->c->sim, "grants and lists are commits", told->chunk,
			 "metad tells of epoch %llu and list %llu of chunk %llu; durable are epoch "
			 "%llu and list %llu",
			 U(told->epoch), U(told->list_number), U(told->chunk), U(row->epoch),
			 U(row->list_number));
}

static bool is_listed(const struct meta_chunk_row *row, uint32_t cid)
{
	for (uint32_t i = 0; i < row->replica_count; i++) {
		if (row->replicas[i].cid == cid)
			return true;
	}
	return false;
}

static void on_change_delivered(struct lists *l, uint64_t connection, const struct msg *m)
{
	const struct meta_chunk_row *row = sim_rows_chunk(l->c->rows, m->u.change.chunk);
	struct outdated *o;

	if (!row || m->u.change.epoch >= row->epoch)
		return;
	o = xcalloc(1, sizeof *o);
	o->key = (struct request_key){connection, m->id, m->u.change.chunk};
	o->epoch = m->u.change.epoch;
	o->present = row->epoch;
	HASH_ADD(hh, l->outdated, key, sizeof o->key, o);
	sim_reach(&l->c->sim, REACHED_CHANGE_LATE);
	if (m->u.change.kind == CHANGE_EVICT && !is_listed(row, m->u.change.cid))
		sim_reach(&l->c->sim, REACHED_CHANGE_LATE_GONE);
}

static void on_change_answered(struct lists *l, uint64_t connection, const struct msg *m)
{
	struct request_key key = {connection, m->id, m->u.list.chunk.chunk};
	struct outdated *o;

	HASH_FIND(hh, l->outdated, &key, sizeof key, o);
	if (!o)
		return;
	if (m->status == WIRE_OK)
		sim_fail(&l->c->sim, "only the owner hears that it is done", m->u.list.chunk.chunk,
			 "metad says OK to a change of chunk %llu at epoch %llu that came after "
			 "the grant of epoch %llu",
			 U(m->u.list.chunk.chunk), U(o->epoch), U(o->present));
	HASH_DEL(l->outdated, o);
	free(o);
}

/* ---- what is asked of metad, and done ---- */

/* Who asks to evict a replica has been let in by enough others. */
static void check_eviction(struct lists *l, const struct sim_process *from,
			   const struct msg_change *change)
{
	const struct meta_chunk_row *row = sim_rows_chunk(l->c->rows, change->chunk);
	const struct meta_volume_row *volume =
		row ? sim_rows_volume(l->c->rows, row->volume) : NULL;
	uint32_t know = 0;

	/* The list is another one by now: the change will not be carried out. */
	if (!volume || volume->deleting || row->list_number != change->list_number ||
	    row->epoch != change->epoch)
		return;
	for (uint32_t i = 0; i < row->replica_count; i++) {
		int server = cluster_server_of_cid(l->c, row->replicas[i].cid);

		if (row->replicas[i].cid == change->cid)
			continue;
		/* A disk that is no more may have answered, and its owner not know. */
		know += server < 0 ||
			seen(l, change->chunk, (unsigned)server)->synced >= change->epoch;
	}
	if (know < volume->min_replicas)
		sim_fail(&l->c->sim, "evictions leave enough", change->chunk,
			 "%s asks to evict %u from chunk %llu, and only %u others have let epoch "
			 "%llu in",
			 from->name, change->cid, U(change->chunk), know, U(change->epoch));
}

static uint32_t count_active(const struct meta_chunk_row *row)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < row->replica_count; i++)
		count += row->replicas[i].state == REPLICA_ACTIVE;
	return count;
}

static bool was_filling(const struct meta_chunk_row *row, uint32_t cid)
{
	for (uint32_t i = 0; i < row->replica_count; i++) {
		if (row->replicas[i].cid == cid)
			return row->replicas[i].state == REPLICA_FILLING;
	}
	return false;
}

static void check_promoted(struct lists *l, const struct meta_chunk_row *row, uint32_t cid)
{
	int server = cluster_server_of_cid(l->c, cid);
	struct store_chunk info = {0};

	if (server < 0 || !l->c->servers[server].store ||
	    !sim_disk_is_sound(l->c->servers[server].disk))
		return;
	if (!store_chunk_get(l->c->servers[server].store, row->chunk, &info) || info.invalid_units)
		sim_fail(&l->c->sim, "what is promoted is filled", row->chunk,
			 "c%d is ACTIVE for chunk %llu and has %u invalid units", server,
			 U(row->chunk), info.invalid_units);
}

static void chunk_changed(struct lists *l, const struct meta_chunk_row *before,
			  const struct meta_chunk_row *after)
{
	const struct meta_volume_row *volume = sim_rows_volume(l->c->rows, after->volume);
	uint32_t active = count_active(after);

	for (uint32_t i = 0; i < after->replica_count; i++) {
		if (after->replicas[i].leaving)
			sim_reach(&l->c->sim, REACHED_SURPLUS);
		if (after->replicas[i].state == REPLICA_ACTIVE &&
		    was_filling(before, after->replicas[i].cid))
			check_promoted(l, after, after->replicas[i].cid);
	}
	if (volume && !volume->deleting && active < count_active(before) &&
	    active < volume->min_replicas)
		sim_fail(&l->c->sim, "lists keep min_replicas", after->chunk,
			 "chunk %llu is left with %u ACTIVE replicas, min_replicas is %u",
			 U(after->chunk), active, volume->min_replicas);
}

static void volume_changed(struct lists *l, const struct meta_volume_row *before,
			   const struct meta_volume_row *after, bool removed)
{
	struct holders *h;

	if (!removed && !after->deleting && uuid_equal(before->holder, after->holder))
		return;
	HASH_FIND(hh, l->holders, &before->uuid, sizeof before->uuid, h);
	if (!h) {
		h = xcalloc(1, sizeof *h);
		h->volume = before->uuid;
		HASH_ADD(hh, l->holders, volume, sizeof h->volume, h);
	}
	h->changes++;
}

unsigned lists_holders(const struct lists *l, struct uuid volume)
{
	struct holders *h;

	HASH_FIND(hh, l->holders, &volume, sizeof volume, h);
	return h ? h->changes : 0;
}

void lists_changed(struct lists *l, const struct meta_row *before, const struct meta_row *after)
{
	if (before->kind == META_ROW_VOLUME)
		volume_changed(l, &before->u.volume, &after->u.volume, after->removed);
	else if (!after->removed)
		chunk_changed(l, &before->u.chunk, &after->u.chunk);
}

/* ---- CREATE and DELETE ---- */

static void on_create_delivered(struct lists *l, unsigned server, const struct msg_create *create)
{
	struct store *store = l->c->servers[server].store;
	struct store_chunk info;

	if (store)
		seen(l, create->chunk, server)->late_create =
			!store_chunk_get(store, create->chunk, &info) &&
			create->commit <= store_tombstone(store, create->chunk);
}

static void on_delete_delivered(struct lists *l, unsigned server, const struct msg_delete *delete_)
{
	struct store *store = l->c->servers[server].store;
	struct seen *s = seen(l, delete_->chunk, server);
	struct store_chunk info;

	if (!store || !store_chunk_get(store, delete_->chunk, &info))
		return;
	s->kept = delete_->commit <= info.commit ? info.commit : 0;
	if (s->kept)
		sim_reach(&l->c->sim, REACHED_DELETE_LATE);
	s->incarnation = l->c->servers[server].node.process->incarnation;
}

static void check_there(struct lists *l, unsigned server, uint64_t chunk, enum wire_status status)
{
	struct seen *s = seen(l, chunk, server);

	if (status == WIRE_NOT_FOUND && s->kept &&
	    s->incarnation == l->c->servers[server].node.process->incarnation)
		sim_fail(
			&l->c->sim, "deletions come in order", chunk,
			"c%u has no chunk %llu any more, whose CREATE (commit %llu) was later than "
			"the DELETE that came last",
			server, U(chunk), U(s->kept));
	if (status == WIRE_OK && s->late_create)
		sim_fail(&l->c->sim, "deletions come in order", chunk,
			 "c%u has made chunk %llu anew, on a CREATE that is older than its "
			 "deletion",
			 server, U(chunk));
}

/* ---- IO begins ---- */

/* As an owner may write all ACTIVE replicas are level: what they differ in would stay. */
static void check_level(struct lists *l, const struct meta_chunk_row *row)
{
	struct store_chunk first = {0}, other;
	int first_server = -1;

	for (uint32_t i = 0; i < row->replica_count; i++) {
		int server = cluster_server_of_cid(l->c, row->replicas[i].cid);

		/* One that is not there, or has lost the chunk with its disk, will be evicted, or has been promoted meanwhile. */
		if (row->replicas[i].state != REPLICA_ACTIVE || server < 0 ||
		    !l->c->servers[server].store ||
		    !store_chunk_get(l->c->servers[server].store, row->chunk, &other) ||
		    other.epoch != row->epoch)
			continue;
		if (first_server >= 0 &&
		    (other.digest != first.digest || other.mending || first.mending))
			sim_fail(&l->c->sim, "IO begins on equal replicas", row->chunk,
				 "c%d and c%d differ when the owner of epoch %llu may write to "
				 "chunk %llu",
				 first_server, server, U(row->epoch), U(row->chunk));
		first = other;
		first_server = server;
	}
}

void lists_io_begins(struct lists *l, uint64_t chunk, uint64_t epoch)
{
	const struct meta_chunk_row *row;
	struct written *w;

	HASH_FIND(hh, l->written, &chunk, sizeof chunk, w);
	if (!w) {
		w = xcalloc(1, sizeof *w);
		w->chunk = chunk;
		HASH_ADD(hh, l->written, chunk, sizeof w->chunk, w);
	}
	if (epoch <= w->epoch)
		return;
	w->epoch = epoch;
	row = sim_rows_chunk(l->c->rows, chunk);
	if (row && row->epoch == epoch)
		check_level(l, row);
}

/* ---- blocks ---- */

/*
 * Where no disk has ever lied no block is bad, whatever was cut off. Owners look at checksums; what they find they repair, and nobody would
 * miss it.
 */
static void check_no_repair(struct lists *l, const struct sim_process *from, const struct msg *m)
{
	if (l->c->params.net.flip_one_in)
		return;
	for (unsigned i = 0; i < l->c->params.servers; i++) {
		if (cluster_disk_lies(l->c, i) || sim_disk_has_lied(l->c->servers[i].disk))
			return;
	}
	sim_fail(&l->c->sim, "sound disks have no bad blocks", m->u.repair.chunk,
		 "%s repairs blocks of unit %u of chunk %llu, and no disk has lied", from->name,
		 m->u.repair.unit, U(m->u.repair.chunk));
}

/* ---- who is given a volume ---- */

/* An engine that is given a volume says at once that nobody there wants it, or somebody does. */
#define GIVEN_NS (1 * NS_PER_S)

static int engine_of(const struct lists *l, const struct sim_process *process)
{
	for (unsigned i = 0; i < l->c->params.engines; i++) {
		if (l->c->engines[i].node.process == process)
			return (int)i;
	}
	return -1;
}

static void on_attach_answered(struct lists *l, unsigned engine, const struct msg *m)
{
	for (unsigned v = 0; m->status == WIRE_OK && v < l->c->params.volumes; v++) {
		if (strcmp(l->c->volumes[v].name, m->u.volume.name) == 0)
			l->given[engine][v] =
				(struct given){m->u.volume.volume, l->c->sim.now_ns,
					       l->c->engines[engine].node.process->incarnation};
	}
}

static void on_detach_sent(struct lists *l, unsigned engine, const struct msg *m)
{
	for (unsigned v = 0; v < l->c->params.volumes; v++) {
		struct given *g = &l->given[engine][v];

		if (g->since_ns && g->volume == m->u.detach.volume) {
			g->since_ns = 0;
			sim_reach(&l->c->sim, REACHED_GIVEN_UNWANTED);
		}
	}
}

static bool is_kept_unwanted(const struct lists *l, const struct given *g, unsigned engine,
			     unsigned volume)
{
	const struct sim_engine *e = &l->c->engines[engine];
	const struct sim_process *p = e->node.process;
	const struct meta_volume_row *row = sim_rows_volume(l->c->rows, g->volume);

	return row && p->incarnation == g->incarnation && p->running && !row->deleting &&
	       !uuid_is_zero(row->holder) && strcmp(row->holder_host, p->host->name) == 0 &&
	       row->holder_pid == 1000 + p->incarnation &&
	       !(e->users[volume] && user_wants(e->users[volume], row->uuid));
}

void lists_check_given(struct lists *l)
{
	for (unsigned e = 0; e < l->c->params.engines; e++) {
		for (unsigned v = 0; v < l->c->params.volumes; v++) {
			struct given *g = &l->given[e][v];

			if (!g->since_ns || l->c->engines[e].node.process->paused)
				continue;
			if (!is_kept_unwanted(l, g, e, v))
				g->since_ns = 0;
			else if (l->c->sim.now_ns - g->since_ns > GIVEN_NS)
				sim_fail(&l->c->sim, "volumes are given back", 0,
					 "e%u was given %s, which nobody there wants, and keeps it",
					 e, l->c->volumes[v].name);
		}
	}
}

/* ---- messages ---- */

void lists_sent(struct lists *l, const struct sim_process *from, uint64_t connection,
		const struct msg *m)
{
	int server = server_of(l, from);

	if (is_metad(from)) {
		if (m->type == MSG_LEASE_OK) {
			for (uint32_t i = 0; i < m->u.chunks.count; i++) {
				if (!m->u.chunks.chunks[i].status)
					check_committed(l, &m->u.chunks.chunks[i]);
			}
		} else if (m->type == MSG_LIST || (m->type == MSG_CHANGE_OK && !m->status)) {
			check_committed(l, &m->u.list.chunk);
		}
		if (m->type == MSG_CHANGE_OK)
			on_change_answered(l, connection, m);
	}
	if (m->type == MSG_REPAIR)
		check_no_repair(l, from, m);
	if (m->type == MSG_CHANGE && m->u.change.kind == CHANGE_EVICT)
		check_eviction(l, from, &m->u.change);
	if (m->type == MSG_DETACH && engine_of(l, from) >= 0)
		on_detach_sent(l, (unsigned)engine_of(l, from), m);
	if (server < 0)
		return;
	if (m->type == MSG_SYNC_OK) {
		struct seen *s = seen(l, m->u.sync_ok.chunk, (unsigned)server);

		check_there(l, (unsigned)server, m->u.sync_ok.chunk, m->status);
		if (m->status == WIRE_OK)
			s->synced = MAX(s->synced, m->u.sync_ok.epoch);
	} else if (m->type == MSG_WRITE_OK) {
		check_there(l, (unsigned)server, m->u.write_ok.chunk, m->status);
	} else if (m->type == MSG_COPY_OK) {
		check_there(l, (unsigned)server, m->u.copy_ok.chunk, m->status);
	}
}

void lists_delivered(struct lists *l, const struct sim_process *to, uint64_t connection,
		     const struct msg *m)
{
	int server = server_of(l, to);

	if (m->type == MSG_ATTACH_OK && engine_of(l, to) >= 0)
		on_attach_answered(l, (unsigned)engine_of(l, to), m);
	if (is_metad(to) && m->type == MSG_CHANGE)
		on_change_delivered(l, connection, m);
	if (server >= 0 && m->type == MSG_CREATE)
		on_create_delivered(l, (unsigned)server, &m->u.create);
	if (server >= 0 && m->type == MSG_DELETE)
		on_delete_delivered(l, (unsigned)server, &m->u.delete_);
}
