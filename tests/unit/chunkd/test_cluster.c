/*
 * test_cluster.c - a whole cluster in one loop: the meta service over SQLite, three chunk servers over files, an engine; all
 * real, over loopback sockets. What each daemon promises to the others is tested here, not what each does alone.
 */
#include "common/io-uring/io_uring_disk.h"
#include "meta-service/metad/metad.h"
#include "meta-service/store/meta_store_sqlite.h"
#include "proto/codec.h"
#include "replica-engine/chunkd/chunkd.h"
#include "replica-engine/engine/engine.h"
#include "tests/lib/suite.h"
#include "tests/unit/io/io_test.h"

#include <stdio.h>
#include <unistd.h>

#define SERVERS    3
#define DISK_BYTES (96 * MIB)

struct server {
	char path[128], address[64];
	struct io_disk *disk;
	struct store *store;
	struct chunkd *chunkd;
};

static struct ev_loop *loop;
static struct io_ev *io;
static char directory[64], meta_path[128], meta_address[64];
static struct meta_store *meta_store;
static struct metad *metad;
static struct server servers[SERVERS];
static struct engine *engine;
static struct engine_volume *volume;
static bool done;
static int status;

/* ---- the meta service ---- */

static uint64_t wall_ms(void *context)
{
	(void)context;
	return 1000;
}

static void start_metad(void)
{
	struct metad_environment environment = {
		.clock = io_ev_clock(io),
		.transport = io_ev_transport(io),
		.listen_address = *meta_address ? meta_address : "127.0.0.1:0",
		.config = meta_config_default(),
		.wall_ms = wall_ms,
	};
	char error[META_STORE_ERROR_BYTES] = "";

	ck_assert_msg(meta_store_sqlite_open(meta_path, environment.clock, &meta_store, error) == 0,
		      "%s", error);
	environment.store = meta_store;
	metad = metad_new(&environment, error);
	ck_assert_msg(metad, "%s", error);
	snprintf(meta_address, sizeof meta_address, "%s",
		 io_ev_listener_address(metad_listener(metad)));
}

static void stop_metad(void)
{
	metad_free(metad);
	meta_store_sqlite_close(meta_store);
	metad = NULL;
}

/* ---- chunk servers ---- */

static void disk_formatted(void *context, int result, const char *why)
{
	(void)context;
	ck_assert_msg(result == 0, "%s", why);
	done = true;
}

static void disk_opened(void *context, int result, const char *why, struct store *store)
{
	ck_assert_msg(result == 0, "%s", why);
	*(struct store **)context = store;
	done = true;
}

static void disk_closed(void *context, int result)
{
	(void)context;
	ck_assert_int_eq(result, 0);
	done = true;
}

static void open_disk(struct server *s)
{
	static const struct io_uring_disk_options options;
	char why[IO_URING_WHY_BYTES];

	ck_assert_msg(io_uring_disk_open(loop, s->path, &options, &s->disk, why) == 0, "%s", why);
	done = false;
}

static void format_server(unsigned i)
{
	struct server *s = &servers[i];
	struct store_format_options options = {.disk = {{0xd0, (uint8_t)i}}};
	char why[IO_URING_WHY_BYTES];

	snprintf(s->path, sizeof s->path, "%s/disk%u", directory, i);
	ck_assert_int_eq(io_uring_disk_create_file(s->path, DISK_BYTES, why), 0);
	open_disk(s);
	store_format(s->disk, &options, disk_formatted, NULL);
	run_until(loop, done);
	io_uring_disk_close(s->disk);
}

static void start_server(unsigned i)
{
	static const struct store_options store_options;
	static uint8_t incarnation;
	struct server *s = &servers[i];
	char host[16], error[TEXT_BYTES] = "";
	struct chunkd_options options = {
		.listen = *s->address ? s->address : "127.0.0.1:0",
		.meta = meta_address,
		.host = host,
		.instance = {{0xcd, (uint8_t)i, ++incarnation}},
	};
	struct chunkd_environment environment = {
		.clock = io_ev_clock(io),
		.transport = io_ev_transport(io),
		.listener_address = io_ev_listener_address,
	};

	snprintf(host, sizeof host, "host%u", i);
	open_disk(s);
	store_open(s->disk, &store_options, disk_opened, &s->store);
	run_until(loop, done);
	environment.store = s->store;
	s->chunkd = chunkd_new(&environment, &options, error);
	ck_assert_msg(s->chunkd, "%s", error);
	snprintf(s->address, sizeof s->address, "%s", chunkd_address(s->chunkd));
}

static void stopped(void *context)
{
	*(bool *)context = true;
}

static void stop_server(unsigned i)
{
	struct server *s = &servers[i];
	bool has_stopped = false;

	chunkd_stop(s->chunkd, stopped, &has_stopped);
	run_until(loop, has_stopped);
	chunkd_free(s->chunkd);
	s->chunkd = NULL;
	done = false;
	store_close(s->store, disk_closed, NULL);
	run_until(loop, done);
	store_free(s->store);
	io_uring_disk_close(s->disk);
}

/* ---- an operator ---- */

static char answer[65536];
static enum wire_status answer_status;

static void admin_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct msg msg;
	const char *why;

	(void)conn;
	ck_assert_int_eq(codec_decode(context, frame, &msg, &why), 0);
	if (msg.type != MSG_ADMIN_OK)
		return;
	answer_status = msg.status;
	snprintf(answer, sizeof answer, "%s", msg.u.admin_ok.json);
	done = true;
}

static void admin_closed(struct io_conn *conn, void *context, int error)
{
	(void)conn;
	(void)context;
	ck_abort_msg("the meta service closed the operator's connection: %d", error);
}

/* The JSON document is in `answer`. */
static enum wire_status admin(const char *verb, const char *json)
{
	static const struct io_conn_ops ops = {.frame = admin_frame, .closed = admin_closed};
	struct io_transport *net = io_ev_transport(io);
	struct codec *codec = codec_new();
	struct io_conn *conn = net->connect(net, meta_address, &ops, codec);
	struct msg hello = {.type = MSG_HELLO,
			    .u.hello = {.protocol_version = PROTOCOL_VERSION, .role = ROLE_ADMIN}};
	struct msg request = {.type = MSG_ADMIN, .id = 1, .u.admin = {verb, json}};

	done = false;
	codec_send(codec, net, conn, &hello);
	codec_send(codec, net, conn, &request);
	run_until(loop, done);
	net->close(conn);
	codec_free(codec);
	return answer_status;
}

/* ---- a user ---- */

static void attached(void *context, int result, const char *text, struct engine_volume *v)
{
	(void)context;
	ck_assert_msg(result == 0, "%s", text);
	volume = v;
}

static void detached(void *context, int result)
{
	(void)context;
	(void)result;
	volume = NULL;
}

static void start_engine(void)
{
	const struct engine_environment environment = {io_ev_clock(io), io_ev_transport(io)};
	const struct engine_options options = {
		.meta = meta_address, .host = "user", .pid = 1, .instance = {{0xe1}}};

	engine = engine_new(&environment, &options);
	engine_attach(engine, "v", ATTACH_EXCLUSIVE, false, 0, attached, NULL);
	run_until(loop, volume);
}

static void request_done(struct engine_request *request)
{
	status = request->status;
	done = true;
}

static void run_request(enum engine_operation operation, uint64_t offset, void *memory,
			uint64_t bytes)
{
	struct engine_request request = {
		.operation = operation,
		.offset = offset,
		.bytes = bytes,
		.memory = memory,
		.done = request_done,
	};

	done = false;
	engine_submit(volume, &request);
	run_until(loop, done);
	ck_assert_int_eq(status, 0);
}

#define PIECE 200000 /* not of whole blocks, and over the edges of units and chunks */

static void write_piece(uint64_t i, uint64_t seed)
{
	uint8_t *bytes = malloc(PIECE);

	fill_bytes(bytes, PIECE, seed);
	run_request(ENGINE_WRITE, i * PIECE, bytes, PIECE);
	free(bytes);
}

static void expect_piece(uint64_t i, uint64_t seed)
{
	uint8_t *bytes = malloc(PIECE), *wanted = malloc(PIECE);

	fill_bytes(wanted, PIECE, seed);
	run_request(ENGINE_READ, i * PIECE, bytes, PIECE);
	ck_assert(memcmp(bytes, wanted, PIECE) == 0);
	free(bytes);
	free(wanted);
}

/* ---- what must hold ---- */

/* Every chunk is on all three, the same in each. */
static bool replicas_equal(void)
{
	struct store_chunk a, b;
	uint64_t id = 0;
	unsigned chunks = 0;

	for (; store_chunk_next(servers[0].store, &id, &a); id++, chunks++) {
		for (unsigned i = 1; i < SERVERS; i++) {
			if (!store_chunk_get(servers[i].store, id, &b) || a.digest != b.digest ||
			    !version_equal(a.position, b.position) || a.invalid_units ||
			    b.invalid_units || a.mending || b.mending)
				return false;
		}
	}
	return chunks > 0;
}

static bool all_in_session(void)
{
	for (unsigned i = 0; i < SERVERS; i++)
		if (!chunkd_in_session(servers[i].chunkd))
			return false;
	return true;
}

static void setup(void)
{
	loop = ev_loop_new(EVFLAG_AUTO);
	io = io_ev_new(loop);
	snprintf(directory, sizeof directory, "/var/tmp/cluster-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(meta_path, sizeof meta_path, "%s/meta.db", directory);
	start_metad();
	for (unsigned i = 0; i < SERVERS; i++) {
		format_server(i);
		start_server(i);
	}
	run_until(loop, all_in_session());
	ck_assert_int_eq(admin("volume.create", "{\"name\":\"v\",\"size_bytes\":16777216,"
						"\"replicas\":3,\"chunk_bytes\":4194304}"),
			 WIRE_OK);
	start_engine();
}

static void teardown(void)
{
	char command[128];

	engine_detach(volume, detached, NULL);
	run_until(loop, !volume);
	done = false;
	engine_stop(engine, stopped, &done);
	run_until(loop, done);
	engine_free(engine);
	for (unsigned i = 0; i < SERVERS; i++)
		if (servers[i].chunkd)
			stop_server(i);
	if (metad)
		stop_metad();
	io_ev_free(io);
	ev_loop_destroy(loop);
	snprintf(command, sizeof command, "rm -r %s", directory);
	ck_assert_int_eq(system(command), 0);
	ck_assert_uint_eq(buf_in_use(), 0);
	buf_pool_drain();
}

START_TEST(what_is_acknowledged_is_on_every_replica)
{
	for (uint64_t i = 0; i < 40; i++)
		write_piece(i, i + 1);
	ck_assert(replicas_equal());
	for (uint64_t i = 0; i < 40; i++)
		expect_piece(i, i + 1);
	run_request(ENGINE_DISCARD, 0, NULL, 8 * MIB);
	ck_assert(replicas_equal());
}
END_TEST

START_TEST(io_goes_on_without_one_chunk_server_which_catches_up)
{
	for (uint64_t i = 0; i < 20; i++)
		write_piece(i, i + 1);
	stop_server(1);
	for (uint64_t i = 10; i < 30; i++)
		write_piece(i, i + 100);
	for (uint64_t i = 0; i < 30; i++)
		expect_piece(i, i < 10 ? i + 1 : i + 100);
	start_server(1);
	run_until(loop, replicas_equal());
	for (uint64_t i = 0; i < 30; i++)
		write_piece(i, i + 200);
	run_until(loop, replicas_equal());
}
END_TEST

START_TEST(io_does_not_notice_that_the_meta_service_is_away)
{
	write_piece(0, 1);
	stop_metad();
	for (uint64_t i = 0; i < 20; i++)
		write_piece(i % 40, i + 1);
	expect_piece(19, 20);
	for (unsigned i = 0; i < SERVERS; i++)
		run_until(loop, !chunkd_in_session(servers[i].chunkd));
	start_metad();
	run_until(loop, all_in_session());
	write_piece(0, 99);
	ck_assert(replicas_equal());
}
END_TEST

START_TEST(the_table_knows_the_chunk_servers)
{
	ck_assert_int_eq(admin("status", "{}"), WIRE_OK);
	ck_assert_msg(strstr(answer, "\"up\":3") || strstr(answer, "\"up\": 3"), "%s", answer);
	stop_server(2);
	start_server(2);
	run_until(loop, all_in_session());
	ck_assert_int_eq(admin("server.list", "{}"), WIRE_OK);
	ck_assert_ptr_nonnull(strstr(answer, "\"cid\":3"));
	ck_assert_ptr_null(strstr(answer, "\"cid\":4"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cluster");
	TCase *tcase = tcase_create("loopback");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, HANG_S);
	tcase_add_test(tcase, what_is_acknowledged_is_on_every_replica);
	tcase_add_test(tcase, io_goes_on_without_one_chunk_server_which_catches_up);
	tcase_add_test(tcase, io_does_not_notice_that_the_meta_service_is_away);
	tcase_add_test(tcase, the_table_knows_the_chunk_servers);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
