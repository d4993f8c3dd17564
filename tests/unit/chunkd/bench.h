/*
 * bench.h - a whole chunk server (driver, core, store, a file as its disk) on one libev loop, with engines and a meta service
 * that the test plays over loopback sockets.
 */
#ifndef COPYHOLD_CHUNKD_BENCH_H
#define COPYHOLD_CHUNKD_BENCH_H

#include "common/io-uring/io_uring_disk.h"
#include "proto/codec.h"
#include "replica-engine/chunkd/chunkd.h"
#include "tests/unit/io/io_test.h"

#include <stdio.h>
#include <unistd.h>

#define DISK_BYTES  (64 * MIB)
#define CHUNK_BYTES (4 * MIB)
#define INBOX       64

/* The test's end of a connection: what came is kept as it was decoded, except for pointers. */
struct end {
	struct io_conn *conn;
	bool opened, closed;
	struct msg got[INBOX];
	unsigned count;       /* messages so far; the last INBOX are kept */
	struct slice payload; /* of the last one; ours */
	char text[4096];      /* KEEPALIVE: stats_json */
	struct uuid engine;   /* KEEPALIVE: the first of engines */
	uint64_t written;     /* generation of the last WRITE_OK; they come in order */
};

static struct ev_loop *loop;
static struct io_ev *io;
static struct io_transport *net;
static struct codec *codec;
static char directory[64], disk_path[128];
static struct io_disk *disk;
static struct store *store;
static struct chunkd *chunkd;
static struct uuid disk_uuid = {{0xd1, 0x5c}};
static const struct uuid cluster_uuid = {{0xc1}};
static uint64_t next_id;
static bool disk_done;

/* The meta service that the test plays. */
static struct io_listener *meta_listener;
static struct end meta;
static unsigned meta_accepted;

/* ---- ends ---- */

static inline void end_opened(struct io_conn *conn, void *context)
{
	struct end *end = context;

	(void)conn;
	end->opened = true;
}

static inline void end_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct end *end = context;
	struct msg *msg = &end->got[end->count % INBOX];
	const char *why;

	(void)conn;
	if (codec_decode(codec, frame, msg, &why) != 0)
		ck_abort_msg("the chunk server sent a bad message: %s", why);
	slice_unref(&end->payload);
	end->payload = slice_ref(msg->payload);
	if (msg->type == MSG_KEEPALIVE)
		snprintf(end->text, sizeof end->text, "%s", msg->u.keepalive.stats_json);
	if (msg->type == MSG_KEEPALIVE && msg->u.keepalive.engine_count)
		end->engine = msg->u.keepalive.engines[0];
	if (msg->type == MSG_WRITE_OK && msg->status == WIRE_OK) {
		ck_assert_uint_eq(msg->u.write_ok.generation, end->written + 1);
		end->written++;
	}
	end->count++;
}

static inline void end_closed(struct io_conn *conn, void *context, int error)
{
	struct end *end = context;

	(void)conn;
	(void)error;
	end->closed = true;
	end->conn = NULL;
}

static const struct io_conn_ops end_ops = {end_opened, end_frame, end_closed};

static inline void end_clear(struct end *end)
{
	if (end->conn)
		net->close(end->conn);
	slice_unref(&end->payload);
	memset(end, 0, sizeof *end);
}

static inline struct msg *end_last(struct end *end)
{
	ck_assert_uint_gt(end->count, 0);
	return &end->got[(end->count - 1) % INBOX];
}

static inline void end_send(struct end *end, struct msg *msg)
{
	msg->id = msg->id ? msg->id : ++next_id;
	codec_send(codec, net, end->conn, msg);
}

/* Sends a request and waits for its answer. */
static inline struct msg *ask(struct end *end, struct msg *msg)
{
	unsigned before = end->count;

	end_send(end, msg);
	run_until(loop, end->count > before || end->closed);
	ck_assert_msg(end->count > before, "%s: the connection was closed instead of an answer",
		      msg_type_name(msg->type));
	ck_assert_int_eq(end_last(end)->type, msg->type + 1);
	ck_assert_uint_eq(end_last(end)->id, msg->id);
	return end_last(end);
}

/* ---- the meta service ---- */

static inline void meta_accept(void *context, struct io_conn *conn)
{
	(void)context;
	end_clear(&meta);
	meta_accepted++;
	meta.conn = conn;
	net->set_handler(conn, &end_ops, &meta);
}

/* The next message of this type on the present connection, from message number *from on. */
static inline struct msg *meta_wait(enum msg_type type, unsigned *from)
{
	for (;;) {
		run_until(loop, meta.count > *from);
		if (meta.got[(*from)++ % INBOX].type == type)
			return &meta.got[(*from - 1) % INBOX];
	}
}

static inline void meta_answer(const struct msg *request, struct msg *answer)
{
	answer->type = request->type + 1;
	answer->id = request->id;
	codec_send(codec, net, meta.conn, answer);
}

/* Greets the chunk server and opens its session as cid 3; *from goes on after SESSION. */
static inline void meta_register(unsigned *from)
{
	struct msg hello = {.u.hello = {.protocol_version = PROTOCOL_VERSION,
					.role = ROLE_METAD,
					.cluster = cluster_uuid}};
	struct msg session = {.u.session_ok = {.cluster = cluster_uuid, .cid = 3}};

	meta_answer(meta_wait(MSG_HELLO, from), &hello);
	meta_answer(meta_wait(MSG_SESSION, from), &session);
	run_until(loop, chunkd_in_session(chunkd));
}

/* ---- the chunk server ---- */

static inline void disk_formatted(void *context, int status, const char *why)
{
	(void)context;
	ck_assert_msg(status == 0, "format: %s", why);
	disk_done = true;
}

static inline void disk_opened(void *context, int status, const char *why, struct store *opened)
{
	(void)context;
	ck_assert_msg(status == 0, "open: %s", why);
	store = opened;
	disk_done = true;
}

static inline void disk_closed(void *context, int status)
{
	(void)context;
	ck_assert_int_eq(status, 0);
	disk_done = true;
}

static inline void open_store(void)
{
	static const struct io_uring_disk_options disk_options;
	static const struct store_options store_options;
	char why[IO_URING_WHY_BYTES];

	ck_assert_msg(io_uring_disk_open(loop, disk_path, &disk_options, &disk, why) == 0, "%s",
		      why);
	disk_done = false;
	store_open(disk, &store_options, disk_opened, NULL);
	run_until(loop, disk_done);
}

static inline struct chunkd_options default_options(void)
{
	return (struct chunkd_options){
		.listen = "127.0.0.1:0",
		.meta = io_ev_listener_address(meta_listener),
		.host = "testhost",
		.rack = "r1",
		.pid = 77,
		.instance = {{0xcd, 1}},
	};
}

static inline struct chunkd *new_chunkd(const struct chunkd_options *options,
					char error[TEXT_BYTES])
{
	const struct chunkd_environment environment = {
		.clock = io_ev_clock(io),
		.transport = net,
		.store = store,
		.listener_address = io_ev_listener_address,
	};

	return chunkd_new(&environment, options, error);
}

static inline void start_chunkd(void)
{
	const struct chunkd_options options = default_options();
	char error[TEXT_BYTES] = "";

	chunkd = new_chunkd(&options, error);
	ck_assert_msg(chunkd, "%s", error);
}

static inline void chunkd_stopped(void *context)
{
	*(bool *)context = true;
}

static inline void stop_chunkd(void)
{
	bool stopped = false;

	chunkd_stop(chunkd, chunkd_stopped, &stopped);
	run_until(loop, stopped);
	chunkd_free(chunkd);
	chunkd = NULL;
}

static inline void close_store(void)
{
	disk_done = false;
	store_close(store, disk_closed, NULL);
	run_until(loop, disk_done);
	store_free(store);
	io_uring_disk_close(disk);
	store = NULL;
}

static inline void setup(void)
{
	static const struct io_uring_disk_options disk_options;
	struct store_format_options format = {.disk = disk_uuid};
	char why[IO_URING_WHY_BYTES];

	loop = ev_loop_new(EVFLAG_AUTO);
	io = io_ev_new(loop);
	net = io_ev_transport(io);
	codec = codec_new();
	meta_accepted = 0;
	next_id = 0;
	snprintf(directory, sizeof directory, "/var/tmp/chunkd-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(disk_path, sizeof disk_path, "%s/disk", directory);
	ck_assert_int_eq(io_uring_disk_create_file(disk_path, DISK_BYTES, why), 0);
	ck_assert_int_eq(io_uring_disk_open(loop, disk_path, &disk_options, &disk, why), 0);
	disk_done = false;
	store_format(disk, &format, disk_formatted, NULL);
	run_until(loop, disk_done);
	io_uring_disk_close(disk);
	open_store();
	ck_assert_int_eq(net->listen(net, "127.0.0.1:0", meta_accept, NULL, &meta_listener), 0);
}

static inline void teardown(void)
{
	end_clear(&meta);
	if (chunkd)
		stop_chunkd();
	if (store)
		close_store();
	net->listener_close(net, meta_listener);
	io_ev_free(io);
	codec_free(codec);
	ev_loop_destroy(loop);
	unlink(disk_path);
	rmdir(directory);
	ck_assert_uint_eq(buf_in_use(), 0);
	buf_pool_drain();
}

/* ---- an engine ---- */

static inline struct msg hello_msg(uint8_t instance, uint64_t connection)
{
	return (struct msg){.type = MSG_HELLO,
			    .u.hello = {.protocol_version = PROTOCOL_VERSION,
					.role = ROLE_ENGINE,
					.instance = {{instance}},
					.connection = connection}};
}

static inline void engine_connect(struct end *end)
{
	memset(end, 0, sizeof *end);
	end->conn = net->connect(net, chunkd_address(chunkd), &end_ops, end);
	run_until(loop, end->opened || end->closed);
	ck_assert(end->opened);
}

static inline void engine_greet(struct end *end, uint8_t instance, uint64_t connection)
{
	struct msg hello = hello_msg(instance, connection);

	engine_connect(end);
	ck_assert_int_eq(ask(end, &hello)->status, WIRE_OK);
}

/* Creates chunk 1 and takes it at epoch 1. */
static inline void engine_own(struct end *end)
{
	struct msg create = {.type = MSG_CREATE,
			     .u.create = {.chunk = 1,
					  .epoch = 1,
					  .commit = 10,
					  .root_chunk = 1,
					  .chunk_bytes = CHUNK_BYTES}};
	struct msg sync = {.type = MSG_SYNC, .u.sync = {1, 1}};

	ck_assert_int_eq(ask(end, &create)->status, WIRE_OK);
	ck_assert_int_eq(ask(end, &sync)->status, WIRE_OK);
}

/* Sends WRITE of blocks with recognisable bytes; no waiting. */
static inline void engine_send_write(struct end *end, uint64_t generation, uint32_t block,
				     uint32_t blocks)
{
	struct slice data = slice_new((size_t)blocks * BLOCK_BYTES);
	uint32_t crcs[IO_BLOCKS_MAX];
	struct msg write = {.type = MSG_WRITE,
			    .payload = data,
			    .u.write = {.chunk = 1,
					.epoch = 1,
					.generation = generation,
					.offset = block * BLOCK_BYTES,
					.bytes = blocks * BLOCK_BYTES,
					.crcs = crcs}};

	fill_bytes(slice_data(data), data.bytes, generation);
	crc_blocks(1, block, blocks, slice_data(data), crcs);
	end_send(end, &write);
	slice_unref(&data);
}

static inline struct msg *engine_read(struct end *end, uint32_t block, uint32_t blocks)
{
	struct msg read = {.type = MSG_READ,
			   .u.read = {.chunk = 1,
				      .epoch = 1,
				      .offset = block * BLOCK_BYTES,
				      .bytes = blocks * BLOCK_BYTES}};

	return ask(end, &read);
}

static inline void expect_bytes(const struct end *end, uint64_t generation)
{
	uint8_t *wanted = malloc(end->payload.bytes);

	fill_bytes(wanted, end->payload.bytes, generation);
	ck_assert(memcmp(wanted, slice_data(end->payload), end->payload.bytes) == 0);
	free(wanted);
}

#endif
