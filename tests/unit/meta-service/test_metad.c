/*
 * test_metad.c - the driver over fake seams: greetings, what leaves when, commits that fail, peers that break rules. Peers speak real
 * frames.
 */
#include "fake_clock.h"
#include "common/trace/trace.h"
#include "meta-service/metad/metad.h"
#include "proto/codec.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- a network of queues ---- */

#define CONNS  8
#define FRAMES 256

struct io_conn {
	const struct io_conn_ops *ops;
	void *context;
	bool open;
	size_t queued_bytes;
	/* frames sent to the peer and not yet read by it */
	struct {
		struct io_frame frame;
		uint8_t *body;
	} frames[FRAMES];
	size_t first, count;
};

static struct io_conn conns[CONNS];
static struct {
	struct io_transport base;
	void (*accepted)(void *context, struct io_conn *conn);
	void *context;
	int listen_error;
	unsigned listeners;
} net;

static int net_listen(struct io_transport *t, const char *address,
		      void (*accepted)(void *context, struct io_conn *conn), void *context,
		      struct io_listener **listener)
{
	(void)address;
	if (net.listen_error)
		return net.listen_error;
	net.accepted = accepted;
	net.context = context;
	net.listeners++;
	*listener = (struct io_listener *)(void *)t;
	return 0;
}

static void net_listener_close(struct io_transport *t, struct io_listener *listener)
{
	(void)t;
	(void)listener;
	net.listeners--;
}

static void net_set_handler(struct io_conn *conn, const struct io_conn_ops *ops, void *context)
{
	conn->ops = ops;
	conn->context = context;
}

static void net_send(struct io_conn *conn, const struct io_frame *frame)
{
	size_t at = (conn->first + conn->count) % FRAMES;

	ck_assert(conn->open);
	ck_assert_uint_lt(conn->count, FRAMES);
	conn->frames[at].frame = *frame;
	conn->frames[at].body = xmalloc(frame->body_bytes);
	if (frame->body_bytes)
		memcpy(conn->frames[at].body, frame->body, frame->body_bytes);
	conn->frames[at].frame.body = conn->frames[at].body;
	conn->count++;
}

static size_t net_queued_bytes(struct io_conn *conn)
{
	return conn->queued_bytes;
}

static void net_close(struct io_conn *conn)
{
	ck_assert(conn->open);
	conn->open = false;
}

static const char *net_peer(struct io_conn *conn)
{
	(void)conn;
	return "test";
}

/* ---- a store that does what it is told ---- */

static struct {
	struct meta_store base;
	struct meta_row rows[128];
	size_t count;
	const struct meta_row *batch; /* under way */
	size_t batch_count;
	meta_store_done_fn *done;
	void *context;
	unsigned commits;
	int load_error;
} store;

static int row_order(const void *a, const void *b)
{
	const struct meta_row *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return memcmp(&x->u, &y->u, 8);
}

static int store_load(struct meta_store *base,
		      void (*row)(void *context, const struct meta_row *row), void *context,
		      char error[META_STORE_ERROR_BYTES])
{
	(void)base;
	if (store.load_error) {
		snprintf(error, META_STORE_ERROR_BYTES, "the disk is gone");
		return store.load_error;
	}
	qsort(store.rows, store.count, sizeof store.rows[0], row_order);
	for (size_t i = 0; i < store.count; i++)
		row(context, &store.rows[i]);
	return 0;
}

static void store_commit(struct meta_store *base, const struct meta_row *rows, size_t count,
			 meta_store_done_fn *done, void *context)
{
	(void)base;
	ck_assert_msg(!store.done, "two commits at a time");
	store.batch = rows;
	store.batch_count = count;
	store.done = done;
	store.context = context;
	store.commits++;
}

static bool same_key(const struct meta_row *a, const struct meta_row *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case META_ROW_CLUSTER:
		return true;
	case META_ROW_SERVER:
		return a->u.server.cid == b->u.server.cid;
	case META_ROW_VOLUME:
		return a->u.volume.volume == b->u.volume.volume;
	case META_ROW_CHUNK:
		return a->u.chunk.chunk == b->u.chunk.chunk;
	case META_ROW_SCRUB:
		return a->u.scrub.chunk == b->u.scrub.chunk;
	case META_ROW_JOB:
		return a->u.job.job == b->u.job.job;
	case META_ROW_KINDS:
		break;
	}
	return false;
}

static void keep(const struct meta_row *row)
{
	size_t i = 0;

	while (i < store.count && !same_key(&store.rows[i], row))
		i++;
	if (i == store.count)
		store.count++;
	ck_assert_uint_le(store.count, ARRAY_SIZE(store.rows));
	store.rows[i] = *row;
	if (row->removed)
		store.rows[i] = store.rows[--store.count];
}

/* Ends the commit under way. */
static void end_commit(int error)
{
	meta_store_done_fn *done = store.done;

	ck_assert_msg(done != NULL, "no commit is under way");
	for (size_t i = 0; error == 0 && i < store.batch_count; i++)
		keep(&store.batch[i]);
	store.done = NULL;
	done(store.context, error);
}

static void settle(void)
{
	while (store.done)
		end_commit(0);
}

/* ---- the world ---- */

static struct fake_clock clk;
static struct metad *metad;
static struct codec *codec;
static char error_text[META_STORE_ERROR_BYTES];

static uint64_t wall_ms(void *context)
{
	(void)context;
	return UINT64_C(1700000000000);
}

static void start(void)
{
	struct metad_environment environment = {
		.clock = &clk.base,
		.transport = &net.base,
		.store = &store.base,
		.listen_address = "10.0.0.1:7700",
		.config = meta_config_default(),
		.wall_ms = wall_ms,
	};

	metad = metad_new(&environment, error_text);
}

static void setup(void)
{
	memset(conns, 0, sizeof conns);
	memset(&net, 0, sizeof net);
	memset(&store, 0, sizeof store);
	fake_clock_init(&clk);
	net.base = (struct io_transport){
		.listen = net_listen,
		.listener_close = net_listener_close,
		.set_handler = net_set_handler,
		.send = net_send,
		.queued_bytes = net_queued_bytes,
		.close = net_close,
		.peer = net_peer,
	};
	store.base = (struct meta_store){store_load, store_commit};
	codec = codec_new();
	start();
	ck_assert_msg(metad != NULL, "%s", error_text);
}

static void forget_frames(struct io_conn *conn)
{
	for (; conn->count; conn->count--) {
		free(conn->frames[conn->first].body);
		conn->first = (conn->first + 1) % FRAMES;
	}
}

static void teardown(void)
{
	if (metad)
		metad_free(metad);
	codec_free(codec);
	for (size_t i = 0; i < CONNS; i++) {
		ck_assert(!conns[i].open);
		forget_frames(&conns[i]);
	}
	ck_assert_uint_eq(net.listeners, 0);
}

/* ---- peers ---- */

static struct io_conn *dial(void)
{
	size_t i = 0;

	while (conns[i].open || conns[i].count)
		i++;
	ck_assert_uint_lt(i, CONNS);
	conns[i].open = true;
	net.accepted(net.context, &conns[i]);
	return &conns[i];
}

static void say(struct io_conn *conn, const struct msg *msg)
{
	struct io_frame frame;

	codec_encode(codec, msg, &frame);
	conn->ops->frame(conn, conn->context, &frame);
}

/* The next frame for this peer; false if there is none. */
static bool hear(struct io_conn *conn, struct msg *msg)
{
	static uint8_t *body;
	const char *why = "";

	free(body);
	body = NULL;
	if (!conn->count)
		return false;
	body = conn->frames[conn->first].body;
	ck_assert_int_eq(codec_decode(codec, &conn->frames[conn->first].frame, msg, &why), 0);
	conn->first = (conn->first + 1) % FRAMES;
	conn->count--;
	return true;
}

static struct msg hear_type(struct io_conn *conn, enum msg_type type)
{
	struct msg msg;

	while (hear(conn, &msg))
		if (msg.type == type)
			return msg;
	ck_abort_msg("%s did not come", msg_type_name(type));
	return msg;
}

static struct msg hello(enum peer_role role, uint8_t instance, uint64_t connection)
{
	struct msg msg = {.type = MSG_HELLO, .id = 1};

	msg.u.hello.protocol_version = PROTOCOL_VERSION;
	msg.u.hello.role = role;
	msg.u.hello.instance.bytes[0] = instance;
	msg.u.hello.connection = connection;
	return msg;
}

static struct io_conn *greet(enum peer_role role, uint8_t instance, uint64_t connection)
{
	struct io_conn *conn = dial();
	struct msg msg = hello(role, instance, connection);

	say(conn, &msg);
	settle();
	ck_assert_int_eq(hear_type(conn, MSG_HELLO_OK).status, WIRE_OK);
	return conn;
}

static struct msg session(enum peer_role role, uint8_t disk)
{
	struct msg msg = {.type = MSG_SESSION, .id = 2};

	msg.u.session.role = role;
	snprintf(msg.u.session.host, NAME_BYTES, "h");
	if (role == ROLE_CHUNKD) {
		msg.u.session.disk.bytes[0] = disk;
		msg.u.session.new_disk = true;
		msg.u.session.capacity_bytes = msg.u.session.free_bytes = 100 * GIB;
		snprintf(msg.u.session.address, ADDRESS_BYTES, "10.0.0.%u:7701", disk);
	}
	return msg;
}

static struct io_conn *chunk_server(uint8_t disk)
{
	struct io_conn *conn = greet(ROLE_CHUNKD, (uint8_t)(100 + disk), 1);
	struct msg msg = session(ROLE_CHUNKD, disk);

	say(conn, &msg);
	settle();
	ck_assert_int_eq(hear_type(conn, MSG_SESSION_OK).status, WIRE_OK);
	return conn;
}

static struct msg admin(const char *verb, const char *json)
{
	struct msg msg = {.type = MSG_ADMIN, .id = 3};

	msg.u.admin.verb = verb;
	msg.u.admin.json = json;
	return msg;
}

/* ---- greetings ---- */

START_TEST(founds_a_cluster_before_it_greets)
{
	struct io_conn *conn = dial();
	struct msg msg = hello(ROLE_ADMIN, 0, 0);

	ck_assert_uint_eq(store.commits, 1);
	say(conn, &msg);
	ck_assert_msg(!hear(conn, &msg), "greeted with a cluster that is not durable");
	end_commit(0);
	ck_assert(hear(conn, &msg));
	ck_assert_int_eq(msg.status, WIRE_OK);
	ck_assert_int_eq(msg.u.hello.role, ROLE_METAD);
	ck_assert(uuid_equal(msg.u.hello.cluster, metad_cluster(metad)));
	ck_assert(!uuid_is_zero(msg.u.hello.cluster));
}
END_TEST

START_TEST(keeps_its_cluster_over_a_restart)
{
	struct uuid before;

	settle();
	before = metad_cluster(metad);
	metad_free(metad);
	start();
	ck_assert(uuid_equal(metad_cluster(metad), before));
	ck_assert_uint_eq(store.commits, 1);
}
END_TEST

static enum wire_status refused_hello(const struct msg *msg)
{
	struct io_conn *conn = dial();
	struct msg answer;

	say(conn, msg);
	ck_assert(!conn->open);
	ck_assert(hear(conn, &answer));
	ck_assert_int_eq(answer.type, MSG_HELLO_OK);
	ck_assert(*answer.u.hello.text);
	return answer.status;
}

START_TEST(refused_greetings)
{
	struct msg msg = hello(ROLE_ENGINE, 1, 1);

	settle();
	msg.u.hello.protocol_version = PROTOCOL_VERSION + 1;
	ck_assert_int_eq(refused_hello(&msg), WIRE_VERSION);
	msg = hello(ROLE_ENGINE, 1, 1);
	msg.u.hello.cluster.bytes[3] = 1;
	ck_assert_int_eq(refused_hello(&msg), WIRE_WRONG_CLUSTER);
	msg = hello(ROLE_METAD, 1, 1);
	ck_assert_int_eq(refused_hello(&msg), WIRE_BAD_REQUEST);
	msg = hello(ROLE_ENGINE, 1, 1);
	msg.u.hello.cluster = metad_cluster(metad);
	{
		struct io_conn *conn = dial();

		say(conn, &msg);
		ck_assert_int_eq(hear_type(conn, MSG_HELLO_OK).status, WIRE_OK);
	}
}
END_TEST

START_TEST(newer_connection_closes_the_older)
{
	struct io_conn *first = greet(ROLE_ENGINE, 1, 5), *second;
	struct msg late = hello(ROLE_ENGINE, 1, 4);

	second = greet(ROLE_ENGINE, 1, 6);
	ck_assert(!first->open);
	ck_assert(second->open);
	ck_assert_int_eq(refused_hello(&late), WIRE_BUSY);
	ck_assert(second->open);
}
END_TEST

START_TEST(connections_without_an_instance_live_side_by_side)
{
	struct io_conn *first = greet(ROLE_ADMIN, 0, 0), *second = greet(ROLE_ADMIN, 0, 0);

	ck_assert(first->open && second->open);
}
END_TEST

START_TEST(peers_that_break_rules_are_closed)
{
	static const uint8_t junk[] = {0xff, 0xff, 0xff};
	struct io_frame frame = {.type = MSG_SESSION, .body = junk, .body_bytes = sizeof junk};
	struct msg msg = session(ROLE_ENGINE, 0);
	struct io_conn *conn = dial();

	say(conn, &msg); /* before HELLO */
	ck_assert(!conn->open);
	conn = greet(ROLE_ENGINE, 1, 1);
	msg = hello(ROLE_ENGINE, 1, 2);
	say(conn, &msg); /* twice */
	ck_assert(!conn->open);
	conn = greet(ROLE_ENGINE, 1, 3);
	conn->ops->frame(conn, conn->context, &frame);
	ck_assert(!conn->open);
	conn = greet(ROLE_ENGINE, 1, 4);
	frame.type = 4000;
	conn->ops->frame(conn, conn->context, &frame);
	ck_assert(!conn->open);
}
END_TEST

START_TEST(silent_and_deaf_peers_are_closed)
{
	struct io_conn *silent = dial(), *deaf = greet(ROLE_ADMIN, 0, 0);

	fake_clock_advance(&clk, 9 * NS_PER_S);
	ck_assert(silent->open);
	fake_clock_advance(&clk, 2 * NS_PER_S);
	ck_assert(!silent->open);
	ck_assert(deaf->open);
	deaf->queued_bytes = 65 * MIB;
	fake_clock_advance(&clk, NS_PER_S);
	ck_assert(!deaf->open);
}
END_TEST

/* ---- commits ---- */

START_TEST(answer_waits_for_its_commit)
{
	struct io_conn *conn = greet(ROLE_CHUNKD, 9, 1);
	struct msg msg = session(ROLE_CHUNKD, 1), answer;

	say(conn, &msg);
	ck_assert(store.done != NULL);
	ck_assert(!hear(conn, &answer));
	fake_clock_advance(&clk, NS_PER_S);
	ck_assert(!hear(conn, &answer));
	end_commit(0);
	ck_assert_uint_eq(hear_type(conn, MSG_SESSION_OK).u.session_ok.cid, 1);
}
END_TEST

START_TEST(events_during_a_commit_share_the_next)
{
	struct io_conn *conn[3];
	struct msg msg;
	unsigned before;

	for (unsigned i = 0; i < 3; i++)
		conn[i] = greet(ROLE_CHUNKD, (uint8_t)(1 + i), 1);
	before = store.commits;
	for (unsigned i = 0; i < 3; i++) {
		msg = session(ROLE_CHUNKD, (uint8_t)(1 + i));
		say(conn[i], &msg);
	}
	ck_assert_uint_eq(store.commits, before + 1);
	end_commit(0);
	ck_assert_uint_eq(store.commits, before + 2);
	ck_assert_uint_eq(hear_type(conn[0], MSG_SESSION_OK).u.session_ok.cid, 1);
	ck_assert(!hear(conn[1], &msg));
	end_commit(0);
	ck_assert(store.done == NULL);
	ck_assert_uint_eq(hear_type(conn[1], MSG_SESSION_OK).u.session_ok.cid, 2);
	ck_assert_uint_eq(hear_type(conn[2], MSG_SESSION_OK).u.session_ok.cid, 3);
}
END_TEST

/* A query may tell of what is not durable yet, so it waits too. */
START_TEST(query_waits_for_what_it_tells)
{
	struct io_conn *server = chunk_server(1), *one = greet(ROLE_ADMIN, 0, 0),
		       *two = greet(ROLE_ADMIN, 0, 0);
	struct msg msg =
		admin("volume.create", "{\"name\":\"v\",\"size_bytes\":4096,\"replicas\":1}");

	(void)server;
	say(one, &msg);
	msg = admin("volume.list", "{}");
	say(two, &msg);
	ck_assert(!hear(two, &msg));
	end_commit(0);
	ck_assert(hear(one, &msg));
	ck_assert(hear(two, &msg));
	ck_assert(strstr(msg.u.admin_ok.json, "\"v\"") != NULL);
}
END_TEST

START_TEST(failed_commit_closes_all_and_starts_over)
{
	struct io_conn *server = chunk_server(1), *one = greet(ROLE_ADMIN, 0, 0);
	struct msg msg =
		admin("volume.create", "{\"name\":\"v\",\"size_bytes\":4096,\"replicas\":1}");
	const struct meta *before = metad_core(metad);
	struct uuid cluster = metad_cluster(metad);

	say(one, &msg);
	end_commit(-EIO);
	ck_assert(!server->open && !one->open);
	ck_assert_msg(!hear(one, &msg), "told of a volume that is not there");
	ck_assert_ptr_ne(metad_core(metad), before);
	ck_assert(uuid_equal(metad_cluster(metad), cluster));
	one = greet(ROLE_ADMIN, 0, 0);
	msg = admin("volume.list", "{}");
	say(one, &msg);
	ck_assert(hear(one, &msg));
	ck_assert_str_eq(msg.u.admin_ok.json, "{\"volumes\":[]}");
}
END_TEST

/* What was queued behind the failed commit fails with it. */
START_TEST(rows_behind_a_failed_commit_are_dropped)
{
	struct io_conn *one = greet(ROLE_CHUNKD, 1, 1), *two = greet(ROLE_CHUNKD, 2, 1);
	struct msg msg = session(ROLE_CHUNKD, 1);
	size_t count = store.count;

	say(one, &msg);
	msg = session(ROLE_CHUNKD, 2);
	say(two, &msg);
	end_commit(-ENOSPC);
	ck_assert(store.done == NULL);
	ck_assert_uint_eq(store.count, count);
	/* numbers of the failed batch are not used again */
	one = greet(ROLE_CHUNKD, 2, 2);
	say(one, &msg);
	settle();
	ck_assert_uint_eq(hear_type(one, MSG_SESSION_OK).u.session_ok.cid, 3);
}
END_TEST

START_TEST(store_that_cannot_be_read_is_tried_again)
{
	struct io_conn *one = greet(ROLE_CHUNKD, 1, 1);
	struct msg msg = session(ROLE_CHUNKD, 1), greeting = hello(ROLE_ADMIN, 0, 0);

	say(one, &msg);
	store.load_error = -EIO;
	end_commit(-EIO);
	ck_assert(metad_core(metad) == NULL);
	ck_assert_int_eq(refused_hello(&greeting), WIRE_NOT_LEADER);
	fake_clock_advance(&clk, 3 * NS_PER_S);
	ck_assert(metad_core(metad) == NULL);
	store.load_error = 0;
	fake_clock_advance(&clk, 2 * NS_PER_S);
	ck_assert(metad_core(metad) != NULL);
	greet(ROLE_ADMIN, 0, 0);
}
END_TEST

START_TEST(connection_that_is_gone_gets_nothing)
{
	struct io_conn *conn = greet(ROLE_CHUNKD, 9, 1);
	struct msg msg = session(ROLE_CHUNKD, 1);

	say(conn, &msg);
	conn->open = false;
	conn->ops->closed(conn, conn->context, -ECONNRESET);
	end_commit(0);
	ck_assert(!hear(conn, &msg));
	ck_assert_uint_eq(store.rows[store.count - 1].u.server.cid, 1);
}
END_TEST

/* ---- beginning ---- */

START_TEST(port_in_use_is_told)
{
	settle();
	metad_free(metad);
	net.listen_error = -EADDRINUSE;
	start();
	ck_assert(metad == NULL);
	ck_assert(strstr(error_text, "10.0.0.1:7700 is in use") != NULL);
}
END_TEST

START_TEST(store_that_contradicts_itself_is_told)
{
	struct meta_row row = {.kind = META_ROW_CHUNK};

	settle();
	metad_free(metad);
	row.u.chunk.chunk = 1;
	row.u.chunk.volume = 99;
	keep(&row);
	start();
	ck_assert(metad == NULL);
	ck_assert(strstr(error_text, "damaged") != NULL);
}
END_TEST

/* The log is not what is tested here. */
static void hush(void *context, enum trace_level level, const char *module, const char *text)
{
	(void)context;
	(void)level;
	(void)module;
	(void)text;
}

int main(void)
{
	const TTest *const tests[] = {
		founds_a_cluster_before_it_greets,
		keeps_its_cluster_over_a_restart,
		refused_greetings,
		newer_connection_closes_the_older,
		connections_without_an_instance_live_side_by_side,
		peers_that_break_rules_are_closed,
		silent_and_deaf_peers_are_closed,
		answer_waits_for_its_commit,
		events_during_a_commit_share_the_next,
		query_waits_for_what_it_tells,
		failed_commit_closes_all_and_starts_over,
		rows_behind_a_failed_commit_are_dropped,
		store_that_cannot_be_read_is_tried_again,
		connection_that_is_gone_gets_nothing,
		port_in_use_is_told,
		store_that_contradicts_itself_is_told,
	};
	Suite *suite = suite_create("metad");
	TCase *tcase = tcase_create("driver");

	trace_set_sink(hush, NULL);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 0);
	tcase_add_tests(tcase, tests, ARRAY_SIZE(tests));
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
