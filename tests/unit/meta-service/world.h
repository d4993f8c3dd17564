/*
 * world.h - a meta core with scripted peers, for tests: time is a variable, the durable rows are kept in memory, so that a
 * core can be restarted from them, and a commit can be made to fail.
 *
 * world_step() replaces what the last step put out; find_output() and count_outputs() look at that.
 */
#ifndef COPYHOLD_TEST_WORLD_H
#define COPYHOLD_TEST_WORLD_H

#include "common/base/prng.h"
#include "common/trace/trace.h"
#include "meta-service/core/meta.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define WORLD_PEERS 16

struct world {
	struct meta *meta;
	struct meta_config config;
	uint64_t now_ns;
	uint64_t connections; /* last given */
	uint64_t random;
	struct meta_update update; /* of the last step */
	/* durable */
	struct meta_row *rows;
	size_t row_count, row_room;
};

/* A chunk server or an engine as the tests play it. */
struct peer {
	uint64_t connection;
	struct uuid instance, disk;
	enum peer_role role;
	uint32_t cid;
	uint64_t free_bytes;
	uint64_t newest_commit, newest_epoch;
	uint64_t sequence;
	char zone[NAME_BYTES];
	bool new_disk, cluster_unknown;
};

static inline struct uuid test_uuid(uint64_t high, uint64_t low)
{
	return uuid_from_random(high, low);
}

/* ---- durable rows ---- */

static inline uint64_t row_key(const struct meta_row *row)
{
	switch (row->kind) {
	case META_ROW_CLUSTER:
		return 0;
	case META_ROW_SERVER:
		return row->u.server.cid;
	case META_ROW_VOLUME:
		return row->u.volume.volume;
	case META_ROW_CHUNK:
		return row->u.chunk.chunk;
	case META_ROW_SCRUB:
		return row->u.scrub.chunk;
	case META_ROW_JOB:
		return row->u.job.job;
	case META_ROW_KINDS:
		break;
	}
	return 0;
}

static inline int row_compare(const void *a, const void *b)
{
	const struct meta_row *x = a, *y = b;
	uint64_t kx = row_key(x), ky = row_key(y);

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return kx < ky ? -1 : kx > ky;
}

static inline void world_keep_row(struct world *w, const struct meta_row *row)
{
	size_t i = 0;

	while (i < w->row_count && row_compare(&w->rows[i], row) != 0)
		i++;
	if (row->removed) {
		if (i < w->row_count)
			w->rows[i] = w->rows[--w->row_count];
		return;
	}
	if (w->row_count == w->row_room) {
		w->row_room = w->row_room ? w->row_room * 2 : 64;
		w->rows = xrealloc(w->rows, w->row_room * sizeof *w->rows);
	}
	if (i == w->row_count)
		w->row_count++;
	w->rows[i] = *row;
}

static inline void world_commit(struct world *w)
{
	for (size_t i = 0; i < w->update.row_count; i++)
		world_keep_row(w, &w->update.rows[i]);
}

static inline const struct meta_row *find_row(const struct world *w, enum meta_row_kind kind,
					      uint64_t key)
{
	for (size_t i = 0; i < w->row_count; i++)
		if (w->rows[i].kind == kind && row_key(&w->rows[i]) == key)
			return &w->rows[i];
	return NULL;
}

static inline const struct meta_chunk_row *chunk_row(const struct world *w, uint64_t chunk)
{
	const struct meta_row *row = find_row(w, META_ROW_CHUNK, chunk);

	return row ? &row->u.chunk : NULL;
}

/* ---- steps ---- */

/* Steps without keeping the rows: as if the commit had not ended yet. */
static inline void world_step_uncommitted(struct world *w, struct meta_event *event)
{
	event->now_ns = w->now_ns;
	event->wall_ms = UINT64_C(1700000000000) + w->now_ns / NS_PER_MS;
	event->random[0] = ++w->random;
	event->random[1] = mix64(w->random);
	meta_update_clear(&w->update);
	meta_step(w->meta, event, &w->update);
}

static inline void world_step(struct world *w, struct meta_event *event)
{
	world_step_uncommitted(w, event);
	world_commit(w);
}

static inline void world_tick(struct world *w, uint64_t ms)
{
	struct meta_event event = {.type = META_TICK};

	w->now_ns += ms * NS_PER_MS;
	world_step(w, &event);
}

static inline void world_new_core(struct world *w)
{
	w->meta = meta_new(&w->config, w->now_ns);
	if (w->row_count)
		qsort(w->rows, w->row_count, sizeof *w->rows, row_compare);
	for (size_t i = 0; i < w->row_count; i++)
		ck_assert_int_eq(meta_load_row(w->meta, &w->rows[i]), 0);
}

static inline struct world *world_new(void)
{
	struct world *w = xcalloc(1, sizeof *w);

	w->config = meta_config_default();
	w->now_ns = 1000 * NS_PER_S;
	w->random = 77;
	world_new_core(w);
	ck_assert(meta_is_empty(w->meta));
	meta_found(w->meta, test_uuid(1, 1), &w->update);
	world_commit(w);
	return w;
}

/* The process ends and begins again, or a commit has failed: what is not durable is gone, connections too. */
static inline void world_restart(struct world *w)
{
	meta_free(w->meta);
	world_new_core(w);
}

static inline void world_free(struct world *w)
{
	meta_free(w->meta);
	meta_update_free(&w->update);
	free(w->rows);
	free(w);
}

/* ---- outputs of the last step ---- */

static inline const struct msg *find_output(const struct world *w, uint64_t connection,
					    enum msg_type type)
{
	for (size_t i = 0; i < w->update.output_count; i++) {
		const struct meta_output *output = &w->update.outputs[i];

		if (!output->close && output->connection == connection && output->msg.type == type)
			return &output->msg;
	}
	return NULL;
}

static inline unsigned count_outputs(const struct world *w, enum msg_type type)
{
	unsigned count = 0;

	for (size_t i = 0; i < w->update.output_count; i++)
		count += !w->update.outputs[i].close && w->update.outputs[i].msg.type == type;
	return count;
}

static inline bool is_closed(const struct world *w, uint64_t connection)
{
	for (size_t i = 0; i < w->update.output_count; i++)
		if (w->update.outputs[i].close && w->update.outputs[i].connection == connection)
			return true;
	return false;
}

/* ---- peers ---- */

static inline void peer_send(struct world *w, const struct peer *peer, struct msg *msg)
{
	struct meta_event event = {
		.type = META_MESSAGE, .connection = peer->connection, .msg = msg};

	msg->id = 42;
	world_step(w, &event);
}

/* The answer to msg, which must be there. */
static inline const struct msg *peer_ask(struct world *w, const struct peer *peer, struct msg *msg)
{
	const struct msg *answer;

	peer_send(w, peer, msg);
	answer = find_output(w, peer->connection, (enum msg_type)(msg->type + 1));
	ck_assert_msg(answer != NULL, "no answer to %s", msg_type_name(msg->type));
	ck_assert_uint_eq(answer->id, 42);
	return answer;
}

static inline void peer_connect(struct world *w, struct peer *peer)
{
	struct meta_event event = {.type = META_OPENED, .role = peer->role};

	peer->connection = ++w->connections;
	event.connection = peer->connection;
	event.instance = peer->instance;
	event.cluster_known = !peer->cluster_unknown;
	world_step(w, &event);
}

static inline void peer_close(struct world *w, struct peer *peer)
{
	struct meta_event event = {.type = META_CLOSED, .connection = peer->connection};

	world_step(w, &event);
	peer->connection = 0;
}

static inline const struct msg *peer_session(struct world *w, struct peer *peer)
{
	struct msg msg = {.type = MSG_SESSION};
	struct msg_session *session = &msg.u.session;
	const struct msg *answer;

	session->role = peer->role;
	session->pid = 100 + peer->instance.bytes[0];
	snprintf(session->host, sizeof session->host, "host%u", peer->instance.bytes[0]);
	if (peer->role == ROLE_CHUNKD) {
		session->disk = peer->disk;
		session->capacity_bytes = 100 * GIB;
		session->free_bytes = peer->free_bytes;
		session->new_disk = peer->new_disk;
		session->newest_commit = peer->newest_commit;
		session->newest_epoch = peer->newest_epoch;
		snprintf(session->address, sizeof session->address, "10.0.0.%u:7701",
			 peer->instance.bytes[0]);
		memcpy(session->zone, peer->zone, sizeof session->zone);
	}
	answer = peer_ask(w, peer, &msg);
	if (answer->status == WIRE_OK && peer->role == ROLE_CHUNKD) {
		peer->cid = answer->u.session_ok.cid;
		peer->new_disk = false;
		peer->cluster_unknown = false;
	}
	return answer;
}

static inline void peer_return(struct world *w, struct peer *peer)
{
	peer_connect(w, peer);
	ck_assert_int_eq(peer_session(w, peer)->status, WIRE_OK);
}

static inline void peer_keepalive(struct world *w, struct peer *peer)
{
	struct msg msg = {.type = MSG_KEEPALIVE};

	msg.u.keepalive.sequence = ++peer->sequence;
	msg.u.keepalive.free_bytes = peer->free_bytes;
	msg.u.keepalive.capacity_bytes = 100 * GIB;
	ck_assert_uint_eq(peer_ask(w, peer, &msg)->u.keepalive_ok.sequence, peer->sequence);
}

/* The keepalive of a chunk server that hears this engine. */
static inline void peer_keepalive_hears(struct world *w, struct peer *server,
					const struct peer *engine)
{
	struct msg msg = {.type = MSG_KEEPALIVE};

	msg.u.keepalive.sequence = ++server->sequence;
	msg.u.keepalive.free_bytes = server->free_bytes;
	msg.u.keepalive.capacity_bytes = 100 * GIB;
	msg.u.keepalive.engine_count = 1;
	msg.u.keepalive.engines = &engine->instance;
	peer_ask(w, server, &msg);
}

/* n distinguishes peers. */
static inline struct peer new_engine(uint8_t n)
{
	struct peer peer = {.role = ROLE_ENGINE, .cluster_unknown = true};

	peer.instance.bytes[0] = n;
	peer.instance.bytes[1] = 1;
	return peer;
}

static inline struct peer new_server(uint8_t n)
{
	struct peer peer = {.role = ROLE_CHUNKD, .new_disk = true, .cluster_unknown = true};

	peer.instance.bytes[0] = n;
	peer.instance.bytes[1] = 2;
	peer.disk.bytes[0] = n;
	peer.disk.bytes[1] = 3;
	peer.free_bytes = 50 * GIB;
	return peer;
}

static inline struct peer new_admin(void)
{
	return (struct peer){.role = ROLE_ADMIN};
}

static inline void peer_report(struct world *w, const struct peer *server,
			       const struct msg_report_entry *entries, uint32_t count)
{
	struct msg msg = {.type = MSG_REPORT};

	msg.u.report.first = msg.u.report.last = true;
	msg.u.report.count = count;
	msg.u.report.entries = entries;
	ck_assert_int_eq(peer_ask(w, server, &msg)->status, WIRE_OK);
}

/* Reports all chunks whose list names this server, at this position. */
static inline void peer_report_listed(struct world *w, const struct peer *server,
				      struct version position)
{
	struct msg_report_entry entries[64];
	uint32_t count = 0;

	for (size_t i = 0; i < w->row_count; i++) {
		const struct meta_chunk_row *row = &w->rows[i].u.chunk;

		if (w->rows[i].kind != META_ROW_CHUNK)
			continue;
		for (uint32_t r = 0; r < row->replica_count; r++)
			if (row->replicas[r].cid == server->cid && count < ARRAY_SIZE(entries))
				entries[count++] = (struct msg_report_entry){
					.chunk = row->chunk,
					.epoch = row->epoch,
					.position = position,
					.commit = row->replicas[r].commit,
				};
	}
	peer_report(w, server, entries, count);
}

/* ---- requests ---- */

static inline const struct msg *peer_attach(struct world *w, const struct peer *engine,
					    const char *name, bool force)
{
	struct msg msg = {.type = MSG_ATTACH};

	snprintf(msg.u.attach.volume, sizeof msg.u.attach.volume, "%s", name);
	msg.u.attach.mode = ATTACH_EXCLUSIVE;
	msg.u.attach.force = force;
	peer_send(w, engine, &msg);
	return find_output(w, engine->connection, MSG_ATTACH_OK);
}

static inline const struct msg *peer_lease(struct world *w, const struct peer *peer,
					   uint64_t volume, const uint64_t *indexes, uint32_t count,
					   bool allocate)
{
	struct msg msg = {.type = MSG_LEASE};

	msg.u.lease.volume = volume;
	msg.u.lease.allocate = allocate;
	msg.u.lease.repair = peer->role == ROLE_CHUNKD;
	msg.u.lease.count = count;
	msg.u.lease.indexes = indexes;
	return peer_ask(w, peer, &msg);
}

/* The lease of one chunk, which must be granted. */
static inline struct msg_chunk peer_lease_one(struct world *w, const struct peer *peer,
					      uint64_t volume, uint64_t index)
{
	const struct msg *answer = peer_lease(w, peer, volume, &index, 1, true);

	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_int_eq(answer->u.chunks.chunks[0].status, WIRE_OK);
	return answer->u.chunks.chunks[0];
}

static inline const struct msg *peer_change(struct world *w, const struct peer *peer,
					    const struct msg_change *change)
{
	struct msg msg = {.type = MSG_CHANGE};

	msg.u.change = *change;
	return peer_ask(w, peer, &msg);
}

/* cid's place in the list, or -1. */
static inline int list_at(const struct msg_chunk *chunk, uint32_t cid)
{
	for (uint32_t i = 0; i < chunk->replica_count; i++)
		if (chunk->replicas[i].cid == cid)
			return (int)i;
	return -1;
}

/* EVICT of cid, with all others of the list synchronised. */
static inline struct msg_change evict(const struct msg_chunk *chunk, uint32_t cid)
{
	struct msg_change change = {
		.kind = CHANGE_EVICT,
		.chunk = chunk->chunk,
		.epoch = chunk->epoch,
		.list_number = chunk->list_number,
		.cid = cid,
	};

	for (uint32_t i = 0; i < chunk->replica_count; i++)
		if (chunk->replicas[i].cid != cid)
			change.synced[change.synced_count++] = chunk->replicas[i].cid;
	return change;
}

static inline const struct msg *peer_lease_return(struct world *w, const struct peer *peer,
						  uint64_t chunk, uint64_t epoch, uint64_t floor)
{
	struct msg msg = {.type = MSG_LEASE_RETURN};

	msg.u.lease_return = (struct msg_lease_return){chunk, epoch, floor};
	return peer_ask(w, peer, &msg);
}

/* The answer's document; the caller drops it. status: that of the frame, or NULL. */
static inline json_t *admin_ask(struct world *w, const char *verb, const char *args,
				enum wire_status *status)
{
	struct msg msg = {.type = MSG_ADMIN};
	struct peer admin = new_admin();
	const struct msg *answer;
	json_t *document;

	peer_connect(w, &admin);
	msg.u.admin.verb = verb;
	msg.u.admin.json = args;
	answer = peer_ask(w, &admin, &msg);
	document = json_loads(answer->u.admin_ok.json, 0, NULL);
	ck_assert_msg(document != NULL, "no JSON: %s", answer->u.admin_ok.json);
	if (status)
		*status = answer->status;
	else
		ck_assert_msg(answer->status == WIRE_OK, "%s: %s", verb, answer->u.admin_ok.json);
	return document;
}

/* For a request whose answer's document is not looked at. */
static inline enum wire_status admin_status_of(struct world *w, const char *verb, const char *args)
{
	enum wire_status status;

	json_decref(admin_ask(w, verb, args, &status));
	return status;
}

/* A volume of 1 GiB in chunks of 4 MiB; its id. */
static inline uint64_t create_volume(struct world *w, const char *name, unsigned replicas,
				     unsigned min_replicas)
{
	char args[256];
	json_t *document;
	uint64_t id;

	snprintf(args, sizeof args,
		 "{\"name\":\"%s\",\"size_bytes\":1073741824,\"replicas\":%u,\"min_replicas\":%u,"
		 "\"chunk_bytes\":4194304}",
		 name, replicas, min_replicas);
	document = admin_ask(w, "volume.create", args, NULL);
	id = (uint64_t)json_integer_value(
		json_object_get(json_object_get(document, "volume"), "id"));
	json_decref(document);
	return id;
}

static inline void add_servers(struct world *w, struct peer *servers, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		servers[i] = new_server((uint8_t)(i + 1));
		peer_return(w, &servers[i]);
		ck_assert_uint_eq(servers[i].cid, i + 1);
		peer_report(w, &servers[i], NULL, 0);
	}
}

/* Time passes with ticks and keepalives every second; peers with a connection stay alive. */
static inline void world_pass(struct world *w, uint64_t ms, struct peer *const *alive,
			      unsigned count)
{
	for (uint64_t passed = 0; passed < ms; passed += 1000) {
		world_tick(w, MIN(ms - passed, 1000));
		for (unsigned i = 0; i < count; i++)
			if (alive[i]->connection)
				peer_keepalive(w, alive[i]);
	}
}

/* The log is not what is tested here. */
static inline void hush(void *context, enum trace_level level, const char *module, const char *text)
{
	(void)context;
	(void)level;
	(void)module;
	(void)text;
}

/* Boilerplate of a test program. */
#define WORLD_MAIN(suite_name, ...)                                                                \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		Suite *suite = suite_create(suite_name);                                           \
                                                                                                   \
		for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {                                   \
			TCase *tcase = tcase_create(tests[i]->name);                               \
                                                                                                   \
			tcase_set_timeout(tcase, 0);                                               \
			tcase_add_test(tcase, tests[i]);                                           \
			suite_add_tcase(suite, tcase);                                             \
		}                                                                                  \
		trace_set_sink(hush, NULL);                                                        \
		return suite_run(suite);                                                           \
	}

#endif
