/*
 * bench.h - drives one replica core over the fake store and writes what it does as text, so that a test reads as a
 * story: an event, and the trace that must follow.
 *
 *   trace of an action      meaning
 *   1<WRITE_OK#7 OK g=3     answer on connection 1 to the request with id 7
 *   [FENCE e=2]             operation handed to the store
 *   close 1, admit 1        connection 1
 */
#ifndef COPYHOLD_REPLICA_BENCH_H
#define COPYHOLD_REPLICA_BENCH_H

#include "common/base/prng.h"
#include "tests/unit/replica/fake_store.h"
#include "replica-engine/core/replica.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>

#define START_NS (100 * NS_PER_S)
/* Instances of engines. */
#define E1 1
#define E2 2
#define E3 3

struct bench {
	struct store store;
	struct replica *replica;
	struct replica_update update;
	uint64_t now_ns;
	uint64_t id;     /* of the last message */
	bool hold;       /* operations stay under way until bench_complete() */
	struct msg last; /* the last answer */
	char text[4096];
	size_t used;
};

static struct bench bench;

__attribute__((format(printf, 1, 2))) static inline void bench_say(const char *format, ...)
{
	va_list ap;

	if (bench.used)
		bench.used += (size_t)snprintf(bench.text + bench.used,
					       sizeof bench.text - bench.used, "; ");
	va_start(ap, format);
	bench.used += (size_t)vsnprintf(bench.text + bench.used, sizeof bench.text - bench.used,
					format, ap);
	va_end(ap);
	ck_assert_uint_lt(bench.used, sizeof bench.text);
}

static inline void bench_say_answer(uint64_t conn, const struct msg *m)
{
	char more[256] = "";
	int at = 0;

	switch (m->type) {
	case MSG_WRITE_OK:
		snprintf(more, sizeof more, " g=%lu", (unsigned long)m->u.write_ok.generation);
		break;
	case MSG_SYNC_OK:
		if (m->status == WIRE_OK)
			snprintf(more, sizeof more, " at=%lu.%lu%s",
				 (unsigned long)m->u.sync_ok.position.epoch,
				 (unsigned long)m->u.sync_ok.position.generation,
				 m->u.sync_ok.mending ? " mending" : "");
		if (m->status == WIRE_WAIT)
			snprintf(more, sizeof more, " %ums", m->u.sync_ok.wait_ms);
		break;
	case MSG_HEARTBEAT_OK:
		for (uint32_t i = 0; i < m->u.heartbeat_ok.taken_count; i++)
			at += snprintf(more + at, sizeof more - (size_t)at, " taken=%lu",
				       (unsigned long)m->u.heartbeat_ok.taken[i]);
		break;
	case MSG_INVALIDATE_OK:
		if (m->status == WIRE_OK)
			snprintf(more, sizeof more, " invalid=%u",
				 m->u.invalidate_ok.invalid_count);
		break;
	default:
		break;
	}
	if (m->status == WIRE_FENCED)
		snprintf(more, sizeof more, " by=%lu", (unsigned long)m->u.sync_ok.epoch);
	bench_say("%lu<%s#%lu %s%s", (unsigned long)conn, msg_type_name(m->type),
		  (unsigned long)m->id, wire_status_name(m->status), more);
	bench.last = *m;
}

static inline void bench_say_op(const struct store_op *op)
{
	static const char *const names[] = {
		[STORE_CREATE] = "CREATE",
		[STORE_DELETE] = "DELETE",
		[STORE_CLONE] = "CLONE",
		[STORE_FENCE] = "FENCE",
		[STORE_START] = "START",
		[STORE_MEND_BEGIN] = "MEND_BEGIN",
		[STORE_MEND_END] = "MEND_END",
		[STORE_JOIN] = "JOIN",
		[STORE_INVALIDATE] = "INVALIDATE",
		[STORE_WRITE] = "WRITE",
		[STORE_ZERO] = "ZERO",
		[STORE_DISCARD] = "DISCARD",
		[STORE_COPY] = "COPY",
		[STORE_REPAIR] = "REPAIR",
		[STORE_READ] = "READ",
		[STORE_VERSIONS] = "VERSIONS",
	};

	switch (op->kind) {
	case STORE_CREATE:
	case STORE_FENCE:
		bench_say("[%s e=%lu]", names[op->kind], (unsigned long)op->epoch);
		break;
	case STORE_START:
	case STORE_WRITE:
	case STORE_ZERO:
	case STORE_DISCARD:
	case STORE_JOIN:
	case STORE_MEND_END:
		bench_say("[%s g=%lu]", names[op->kind], (unsigned long)op->position.generation);
		break;
	default:
		bench_say("[%s]", names[op->kind]);
	}
}

static inline void bench_step(struct replica_event *event);

/* Completes the oldest operation. */
static inline void bench_complete(void)
{
	struct store_op *op = TAILQ_FIRST(&bench.store.queue);

	ck_assert_ptr_nonnull(op);
	TAILQ_REMOVE(&bench.store.queue, op, link);
	bench_step(&(struct replica_event){.kind = REPLICA_STORED, .op = op});
}

static inline void bench_step(struct replica_event *event)
{
	event->now_ns = bench.now_ns;
	replica_step(bench.replica, event, &bench.update);
	for (uint32_t i = 0; i < bench.update.count; i++) {
		struct replica_action *action = &bench.update.actions[i];

		switch (action->kind) {
		case REPLICA_SEND:
			bench_say_answer(action->conn, &action->msg);
			break;
		case REPLICA_STORE:
			bench_say_op(action->op);
			store_submit(&bench.store, action->op);
			break;
		case REPLICA_CLOSE:
			bench_say("close %lu", (unsigned long)action->conn);
			break;
		case REPLICA_ADMIT:
			bench_say("admit %lu", (unsigned long)action->conn);
			break;
		}
	}
	while (!bench.hold && !TAILQ_EMPTY(&bench.store.queue))
		bench_complete();
}

/* Compares the trace since the last call. */
static inline void bench_expect_at(const char *file, int line, const char *wanted)
{
	if (strcmp(bench.text, wanted) != 0)
		ck_abort_msg("%s:%d:\n  wanted: %s\n     got: %s", file, line, wanted, bench.text);
	bench.text[0] = 0;
	bench.used = 0;
}
#define expect(wanted) bench_expect_at(__FILE__, __LINE__, wanted)

static inline void bench_begin(void)
{
	memset(&bench, 0, sizeof bench);
	TAILQ_INIT(&bench.store.queue);
	bench.store.free_bytes = GIB;
	bench.now_ns = START_NS;
	bench.replica = replica_new(&bench.store, bench.now_ns);
}

/* The process ends, whatever is under way, and starts anew over the same disk. */
static inline void bench_restart(void)
{
	bool hold = bench.hold;

	while (!TAILQ_EMPTY(&bench.store.queue))
		bench_complete();
	replica_update_free(&bench.update);
	replica_free(bench.replica);
	bench.replica = replica_new(&bench.store, bench.now_ns);
	bench.text[0] = 0;
	bench.used = 0;
	bench.hold = hold;
}

static inline void bench_end(void)
{
	bench_restart();
	replica_free(bench.replica);
	ck_assert_uint_eq(buf_in_use(), 0);
}

/* ---- events ---- */

static inline void connect_engine(uint64_t conn, uint8_t engine, uint64_t number)
{
	bench_step(&(struct replica_event){.kind = REPLICA_CONNECTED,
					   .conn = conn,
					   .instance = {{engine}},
					   .connection = number});
}

static inline void disconnect(uint64_t conn)
{
	bench_step(&(struct replica_event){.kind = REPLICA_DISCONNECTED, .conn = conn});
}

/* Lets time pass in ticks. */
static inline void pass_ms(uint64_t ms)
{
	for (uint64_t i = 0; i < ms; i += 10) {
		bench.now_ns += MIN(ms - i, 10) * NS_PER_MS;
		bench_step(&(struct replica_event){.kind = REPLICA_TICK});
	}
}

static inline void send_msg(uint64_t conn, struct msg *m)
{
	m->id = ++bench.id;
	bench_step(&(struct replica_event){.kind = REPLICA_MESSAGE, .conn = conn, .msg = m});
}

static inline void send_sync(uint64_t conn, uint64_t chunk, uint64_t epoch)
{
	send_msg(conn, &(struct msg){.type = MSG_SYNC, .u.sync = {chunk, epoch}});
}

static inline void send_create(uint64_t conn, uint64_t chunk, uint64_t epoch, uint64_t commit)
{
	send_msg(conn, &(struct msg){.type = MSG_CREATE,
				     .u.create = {.chunk = chunk,
						  .epoch = epoch,
						  .commit = commit,
						  .root_chunk = chunk,
						  .chunk_bytes = FAKE_CHUNK_BYTES}});
}

static inline void send_position(uint64_t conn, enum msg_type type, uint64_t chunk, uint64_t epoch,
				 uint64_t position_epoch, uint64_t generation)
{
	send_msg(conn, &(struct msg){.type = type,
				     .u.position = {chunk, epoch, {position_epoch, generation}}});
}

static inline void send_heartbeat(uint64_t conn)
{
	send_msg(conn, &(struct msg){.type = MSG_HEARTBEAT, .u.heartbeat = {1}});
}

static inline void send_bye(uint64_t conn)
{
	send_msg(conn, &(struct msg){.type = MSG_BYE});
}

/* One block of bytes `fill`. */
static inline void send_write_at(uint64_t conn, uint64_t chunk, uint64_t epoch, uint64_t generation,
				 uint32_t block, uint8_t fill, bool damaged)
{
	struct slice data = slice_new(BLOCK_BYTES);
	uint32_t crc;

	memset(slice_data(data), fill, BLOCK_BYTES);
	crc = crc_block(chunk, block, slice_data(data)) ^ damaged;
	send_msg(conn, &(struct msg){.type = MSG_WRITE,
				     .payload = data,
				     .u.write = {.chunk = chunk,
						 .epoch = epoch,
						 .generation = generation,
						 .offset = block * BLOCK_BYTES,
						 .bytes = BLOCK_BYTES,
						 .crcs = &crc}});
	slice_unref(&data);
}

static inline void send_write(uint64_t conn, uint64_t chunk, uint64_t epoch, uint64_t generation)
{
	send_write_at(conn, chunk, epoch, generation, (uint32_t)generation, (uint8_t)generation,
		      false);
}

static inline void send_read(uint64_t conn, uint64_t chunk, uint64_t epoch, uint32_t block)
{
	send_msg(conn, &(struct msg){.type = MSG_READ,
				     .u.read = {.chunk = chunk,
						.epoch = epoch,
						.offset = block * BLOCK_BYTES,
						.bytes = BLOCK_BYTES}});
}

/* A whole unit of bytes `fill`. */
static inline void send_copy(uint64_t conn, uint64_t chunk, uint64_t epoch, uint32_t unit,
			     enum copy_mode mode, struct version version, uint8_t fill)
{
	struct slice data = slice_new(UNIT_BYTES);
	struct msg m = {.type = MSG_COPY, .payload = data};

	memset(slice_data(data), fill, UNIT_BYTES);
	m.u.copy.chunk = chunk;
	m.u.copy.epoch = epoch;
	m.u.copy.unit = unit;
	m.u.copy.mode = mode;
	m.u.copy.version = version;
	crc_blocks(chunk, unit * UNIT_BLOCKS, UNIT_BLOCKS, slice_data(data), m.u.copy.crcs);
	send_msg(conn, &m);
	slice_unref(&data);
}

static inline void send_repair(uint64_t conn, uint64_t chunk, uint64_t epoch,
			       struct version version, uint8_t fill)
{
	struct slice data = slice_new(BLOCK_BYTES);
	struct msg m = {.type = MSG_REPAIR, .payload = data};

	memset(slice_data(data), fill, BLOCK_BYTES);
	m.u.repair.chunk = chunk;
	m.u.repair.epoch = epoch;
	m.u.repair.version = version;
	m.u.repair.block_mask = 1;
	m.u.repair.crcs[0] = crc_block(chunk, 0, slice_data(data));
	send_msg(conn, &m);
	slice_unref(&data);
}

static inline void send_invalidate(uint64_t conn, uint64_t chunk, uint64_t epoch,
				   const struct version *versions)
{
	send_msg(conn, &(struct msg){.type = MSG_INVALIDATE,
				     .u.version_list = {.chunk = chunk,
							.epoch = epoch,
							.unit_count = FAKE_UNITS,
							.versions = versions}});
}

static inline void metad_fence(uint64_t chunk, uint64_t epoch)
{
	bench_step(&(struct replica_event){.kind = REPLICA_FENCE, .fence = {chunk, epoch}});
}

static inline void metad_delete(uint64_t chunk, uint64_t commit)
{
	bench_step(&(struct replica_event){.kind = REPLICA_DELETE, .delete_ = {chunk, commit}});
}

/* Engine E1 on connection 1 owns chunk 1 at epoch 1, its last write is generation `generation`. */
static inline void begin_owned(uint64_t generation)
{
	bench_begin();
	connect_engine(1, E1, 1);
	send_create(1, 1, 1, 10);
	send_sync(1, 1, 1);
	for (uint64_t g = 1; g <= generation; g++)
		send_write(1, 1, 1, g);
	bench.text[0] = 0;
	bench.used = 0;
	bench.id = 100;
}

#endif
