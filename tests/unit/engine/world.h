/*
 * world.h - an engine over a fake clock and a fake network, with a meta service and three chunk servers that the test plays.
 *
 * Unless a test says otherwise they answer as real ones do when all is well: metad grants what is asked for, chunk servers
 * keep what is written. A test changes a part of them (silent, down, what ATTACH is answered) or takes their place for a type of
 * message (world.held: kept, to be answered by hand). They speak through proto/codec, so what the engine sends is checked as well.
 */
#ifndef COPYHOLD_TEST_ENGINE_WORLD_H
#define COPYHOLD_TEST_ENGINE_WORLD_H

#include "common/base/bits.h"
#include "common/base/crc.h"
#include "proto/codec.h"
#include "replica-engine/engine/engine.h"
#include "tests/unit/meta-service/fake_clock.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define METAD       0u
#define ENDS        4u /* metad and chunk servers 1, 2, 3 */
#define CHUNKS      4u /* of the volume; chunk ids are index + 100 */
#define CHUNK_BYTES CHUNK_BYTES_MIN
#define VOLUME      7u
#define TYPES       128u

struct io_conn {
	unsigned end;
	bool opened, closed; /* closed: by either side */
	const struct io_conn_ops *ops;
	void *context;
	TAILQ_ENTRY(io_conn) link;
};

enum packet_kind {
	TO_END,
	TO_ENGINE,
	OPENED,
	CLOSED
};
struct packet {
	enum packet_kind kind;
	struct io_conn *conn;
	struct io_frame frame;
	TAILQ_ENTRY(packet) link;
};

/* A message that the test wants to answer itself. */
struct held {
	struct io_conn *conn;
	enum msg_type type;
	uint64_t id, chunk, epoch, generation;
	TAILQ_ENTRY(held) link;
};

struct end {
	bool down;   /* refuses connections */
	bool silent; /* takes everything and answers nothing */
	bool hold[TYPES];
	unsigned got[TYPES]; /* messages by type */
	struct io_conn *conn;
	/* a chunk server's */
	uint8_t *data[CHUNKS];
	struct version position[CHUNKS];
	uint64_t epoch[CHUNKS]; /* the one let in */
	bool exists[CHUNKS];
	uint64_t taken[4]; /* named in heartbeat answers */
	uint32_t taken_count;
	struct msg_position released; /* the last RELEASE */
};

static struct world {
	struct fake_clock clock;
	struct io_transport transport;
	struct codec *codec, *decoder;
	TAILQ_HEAD(, packet) packets;
	TAILQ_HEAD(, io_conn) conns;
	TAILQ_HEAD(, held) held;
	struct end ends[ENDS];
	struct engine *engine;
	/* metad's */
	enum wire_status attach_status, lease_status, change_status;
	uint64_t volume_number;
	bool exists[CHUNKS], other_owner[CHUNKS], keepalives, no_space;
	uint64_t epoch, list_number[CHUNKS];
	unsigned evicted; /* bit per cid */
	struct msg_attach attach;
	struct msg_lease lease; /* the last one, and its indexes: */
	uint64_t indexes[LEASE_CHUNKS_MAX];
	struct msg_detach detach;
	uint64_t repair_chunk;
	uint64_t size_bytes; /* the volume's */
	/* the engine's */
	unsigned answers; /* of the call under way */
	int status;
	char text[TEXT_BYTES];
	struct engine_volume *volume;
	struct engine_extent extents[8];
	size_t extent_count;
	char names[64];
} w;

/* ---- the network ---- */

static inline void packet_push(enum packet_kind kind, struct io_conn *conn,
			       const struct io_frame *frame)
{
	struct packet *p = xcalloc(1, sizeof *p);

	p->kind = kind;
	p->conn = conn;
	if (frame) {
		uint8_t *body = xmalloc(frame->body_bytes + 1);

		memcpy(body, frame->body, frame->body_bytes);
		p->frame = *frame;
		p->frame.body = body;
		p->frame.payload = slice_ref(frame->payload);
	}
	TAILQ_INSERT_TAIL(&w.packets, p, link);
}

static inline struct io_conn *net_connect(struct io_transport *t, const char *address,
					  const struct io_conn_ops *ops, void *context)
{
	struct io_conn *conn = xcalloc(1, sizeof *conn);

	(void)t;
	conn->end = (unsigned)(strchr(address, ':')[1] - '0');
	ck_assert_uint_lt(conn->end, ENDS);
	conn->ops = ops;
	conn->context = context;
	TAILQ_INSERT_TAIL(&w.conns, conn, link);
	packet_push(w.ends[conn->end].down ? CLOSED : OPENED, conn, NULL);
	return conn;
}

static inline void net_send(struct io_conn *conn, const struct io_frame *frame)
{
	ck_assert(!conn->closed);
	packet_push(TO_END, conn, frame);
}

static inline void net_close(struct io_conn *conn)
{
	ck_assert(!conn->closed);
	conn->closed = true;
	if (w.ends[conn->end].conn == conn)
		w.ends[conn->end].conn = NULL;
}

static inline const char *net_peer(struct io_conn *conn)
{
	return conn->end == METAD ? "metad" : "chunk server";
}

static inline size_t net_queued_bytes(struct io_conn *conn)
{
	(void)conn;
	return 0;
}

static inline void end_receive(struct io_conn *conn, const struct io_frame *frame);

static inline void packet_deliver(struct packet *p)
{
	struct io_conn *conn = p->conn;

	/* What was queued when the engine closed is sent all the same. */
	if (conn->closed && p->kind != TO_END)
		return;
	switch (p->kind) {
	case OPENED:
		conn->opened = true;
		w.ends[conn->end].conn = conn;
		conn->ops->opened(conn, conn->context);
		break;
	case CLOSED:
		net_close(conn);
		conn->ops->closed(conn, conn->context, -ECONNREFUSED);
		break;
	case TO_END:
		end_receive(conn, &p->frame);
		break;
	case TO_ENGINE:
		conn->ops->frame(conn, conn->context, &p->frame);
		break;
	}
}

/* Everything that is under way in the network arrives. */
static inline void settle(void)
{
	struct packet *p;

	while ((p = TAILQ_FIRST(&w.packets))) {
		TAILQ_REMOVE(&w.packets, p, link);
		packet_deliver(p);
		slice_unref(&p->frame.payload);
		free((void *)(uintptr_t)p->frame.body);
		free(p);
	}
}

/* Time passes; the network is never slower than 10 ms. */
static inline void pass_ms(uint64_t ms)
{
	settle();
	for (uint64_t t = 0; t < ms; t += 10) {
		fake_clock_advance(&w.clock, 10 * NS_PER_MS);
		settle();
	}
}

/* Time passes until something has come about. */
#define PASS_UNTIL(condition)                                                                      \
	do {                                                                                       \
		settle();                                                                          \
		for (unsigned pass_ = 0; !(condition); pass_++) {                                  \
			ck_assert_msg(pass_ < 6000, "not within a minute: " #condition);           \
			pass_ms(10);                                                               \
		}                                                                                  \
	} while (0)

static inline void end_close(unsigned end)
{
	if (w.ends[end].conn)
		packet_push(CLOSED, w.ends[end].conn, NULL);
	settle();
}

static inline void end_down(unsigned end)
{
	w.ends[end].down = true;
	end_close(end);
}

static inline void say(struct io_conn *conn, struct msg *msg)
{
	struct io_frame frame;

	codec_encode(w.codec, msg, &frame);
	packet_push(TO_ENGINE, conn, &frame);
}

static inline void answer(struct io_conn *conn, const struct msg *request, struct msg *msg)
{
	msg->type = (enum msg_type)(request->type + 1);
	msg->id = request->id;
	say(conn, msg);
}

/* ---- metad ---- */

static inline void say_servers(void)
{
	struct msg_server servers[3] = {{0}};
	struct msg msg = {.type = MSG_SERVERS, .u.servers = {3, servers}};

	for (unsigned i = 0; i < 3; i++) {
		servers[i].cid = i + 1;
		servers[i].disk.bytes[0] = (uint8_t)(i + 1);
		snprintf(servers[i].address, sizeof servers[i].address, "server:%u", i + 1);
		servers[i].alive = true;
	}
	say(w.ends[METAD].conn, &msg);
}

static inline struct msg_chunk chunk_record(uint64_t index, uint64_t epoch)
{
	struct msg_chunk c = {.index = index,
			      .chunk = index + 100,
			      .root_chunk = index + 100,
			      .epoch = epoch,
			      .list_number = w.list_number[index],
			      .min_replicas = 2};

	for (uint32_t cid = 1; cid < ENDS; cid++) {
		if (!(w.evicted >> cid & 1))
			c.replicas[c.replica_count++] =
				(struct msg_list_entry){cid, REPLICA_ACTIVE, false, false, 1};
	}
	return c;
}

static inline void metad_lease(struct io_conn *conn, const struct msg *msg)
{
	struct msg_chunk chunks[LEASE_CHUNKS_MAX] = {{0}};
	struct msg m = {.u.chunks = {.volume = msg->u.lease.volume, .chunks = chunks}};

	w.lease = msg->u.lease;
	memcpy(w.indexes, msg->u.lease.indexes, w.lease.count * sizeof *w.indexes);
	if (w.lease_status != WIRE_OK) {
		m.status = w.lease_status;
		answer(conn, msg, &m);
		return;
	}
	for (uint32_t i = 0; i < w.lease.count; i++) {
		uint64_t index = w.lease.repair ? w.indexes[i] - 100 : w.indexes[i];

		ck_assert_uint_lt(index, CHUNKS);
		ck_assert(w.exists[index] || w.lease.allocate);
		if (!w.exists[index] && w.no_space) {
			chunks[m.u.chunks.count++] =
				(struct msg_chunk){.index = index, .status = WIRE_NO_SPACE};
			continue;
		}
		w.exists[index] = true;
		chunks[m.u.chunks.count++] = chunk_record(index, ++w.epoch);
	}
	answer(conn, msg, &m);
}

static inline void metad_table(struct io_conn *conn, const struct msg *msg)
{
	struct msg_chunk chunks[CHUNKS] = {{0}};
	struct msg m = {.u.chunks = {.volume = VOLUME, .chunks = chunks}};

	for (uint64_t i = msg->u.table.first_index; i < CHUNKS; i++) {
		if (!w.exists[i])
			continue;
		chunks[m.u.chunks.count] = chunk_record(i, 0);
		chunks[m.u.chunks.count++].other_owner = w.other_owner[i];
		m.u.chunks.more = true; /* a page for each */
		break;
	}
	answer(conn, msg, &m);
}

static inline void metad_change(struct io_conn *conn, const struct msg *msg)
{
	const struct msg_change *c = &msg->u.change;
	struct msg m = {.status = w.change_status};
	uint64_t index = c->chunk - 100;

	if (m.status == WIRE_OK && c->kind == CHANGE_EVICT && !(w.evicted >> c->cid & 1)) {
		w.evicted |= 1u << c->cid;
		w.list_number[index]++;
	}
	m.u.list.chunk = chunk_record(index, c->epoch);
	answer(conn, msg, &m);
}

static inline void metad_attach(struct io_conn *conn, const struct msg *msg)
{
	struct msg m = {.status = w.attach_status,
			.u.volume = {.volume = w.volume_number,
				     .uuid = {{9}},
				     .name = "v",
				     .size_bytes = w.size_bytes,
				     .chunk_bytes = CHUNK_BYTES,
				     .replicas = 3,
				     .min_replicas = 2,
				     .text = "held by host-b"}};

	w.attach = msg->u.attach;
	answer(conn, msg, &m);
}

static inline void metad_receive(struct io_conn *conn, const struct msg *msg)
{
	struct msg_volume listed[] = {{.volume = 7, .name = "one", .chunk_bytes = CHUNK_BYTES},
				      {.volume = 8, .name = "two", .chunk_bytes = CHUNK_BYTES}};
	struct msg m = {0};

	switch (msg->type) {
	case MSG_HELLO:
		m.u.hello = (struct msg_hello){.protocol_version = PROTOCOL_VERSION,
					       .role = ROLE_METAD};
		break;
	case MSG_SESSION:
		m.u.session_ok.cluster = (struct uuid){{5}};
		answer(conn, msg, &m);
		say_servers();
		return;
	case MSG_KEEPALIVE:
		if (!w.keepalives)
			return;
		m.u.keepalive_ok.sequence = msg->u.keepalive.sequence;
		break;
	case MSG_ATTACH:
		metad_attach(conn, msg);
		return;
	case MSG_TABLE:
		metad_table(conn, msg);
		return;
	case MSG_LEASE:
		metad_lease(conn, msg);
		return;
	case MSG_CHANGE:
		metad_change(conn, msg);
		return;
	case MSG_DETACH:
		w.detach = msg->u.detach;
		m.u.detach = msg->u.detach;
		break;
	case MSG_LEASE_RETURN:
		m.u.lease_return = msg->u.lease_return;
		break;
	case MSG_VOLUMES:
		for (unsigned i = 0; i < 2; i++) {
			listed[i].replicas = listed[i].min_replicas = 1;
			listed[i].size_bytes = CHUNK_BYTES;
		}
		m.u.volumes_ok = (struct msg_volumes_ok){2, listed};
		break;
	default:
		ck_abort_msg("metad got %s", msg_type_name(msg->type));
	}
	answer(conn, msg, &m);
}

/* ---- chunk servers ---- */

static inline void server_read(struct end *end, struct io_conn *conn, const struct msg *msg)
{
	static uint32_t crcs[IO_BLOCKS_MAX];
	static const uint8_t no_zeros[IO_BLOCKS_MAX / 8];
	const struct msg_read *r = &msg->u.read;
	uint64_t i = r->chunk - 100;
	struct msg m = {.u.read_ok = {.chunk = r->chunk,
				      .epoch = r->epoch,
				      .offset = r->offset,
				      .bytes = r->bytes,
				      .all_zero = !end->data[i]}};

	if (end->data[i]) {
		m.payload = slice_new(r->bytes);
		memcpy(slice_data(m.payload), end->data[i] + r->offset, r->bytes);
		crc_blocks(r->chunk, r->offset / BLOCK_BYTES, r->bytes / BLOCK_BYTES,
			   slice_data(m.payload), crcs);
		m.u.read_ok.crcs = crcs;
		m.u.read_ok.zero_blocks = no_zeros;
	}
	answer(conn, msg, &m);
	slice_unref(&m.payload);
}

static inline void server_write(struct end *end, struct io_conn *conn, const struct msg *msg)
{
	const struct msg_write *r = &msg->u.write;
	uint64_t i = r->chunk - 100;
	struct msg m = {.u.write_ok = {r->chunk, r->epoch, r->generation, GIB}};

	if (r->epoch < end->epoch[i]) {
		m.status = WIRE_FENCED;
		m.u.write_ok.epoch = end->epoch[i];
	} else if (r->generation > end->position[i].generation) {
		ck_assert_uint_eq(r->generation, end->position[i].generation + 1);
		end->position[i] = (struct version){r->epoch, r->generation};
		if (!end->data[i])
			end->data[i] = xcalloc(1, CHUNK_BYTES);
		if (r->kind == WRITE_DATA)
			memcpy(end->data[i] + r->offset, slice_data(msg->payload), r->bytes);
		else
			memset(end->data[i] + r->offset, 0, r->bytes);
	}
	answer(conn, msg, &m);
}

static inline void server_sync(struct end *end, struct io_conn *conn, const struct msg *msg)
{
	uint64_t i = msg->u.sync.chunk - 100;
	struct msg m = {.u.sync_ok = {.chunk = msg->u.sync.chunk,
				      .epoch = msg->u.sync.epoch,
				      .position = end->position[i],
				      .digest = end->position[i].generation,
				      .free_bytes = GIB}};

	if (msg->u.sync.epoch < end->epoch[i]) {
		m.status = WIRE_FENCED;
		m.u.sync_ok.epoch = end->epoch[i];
	} else {
		end->epoch[i] = msg->u.sync.epoch;
	}
	answer(conn, msg, &m);
}

static inline void server_versions(struct end *end, struct io_conn *conn, const struct msg *msg)
{
	static struct version versions[CHUNK_BYTES / UNIT_BYTES];
	uint64_t i = msg->u.versions.chunk - 100;
	uint8_t allocated[CHUNK_BYTES / UNIT_BYTES / 8] = {0};
	struct msg m = {.u.version_list = {.chunk = msg->u.versions.chunk,
					   .epoch = msg->u.versions.epoch,
					   .unit_count = ARRAY_SIZE(versions),
					   .versions = versions,
					   .allocated = allocated}};

	versions[0] = end->position[i]; /* whatever was written, it was the first unit */
	for (unsigned u = 0; end->data[i] && u < ARRAY_SIZE(versions); u++) {
		for (unsigned b = 0; b < UNIT_BYTES; b++) {
			if (end->data[i][u * UNIT_BYTES + b]) {
				bit_set(allocated, u);
				break;
			}
		}
	}
	answer(conn, msg, &m);
}

static inline void server_receive(struct end *end, struct io_conn *conn, const struct msg *msg)
{
	struct msg m = {0};

	switch (msg->type) {
	case MSG_HELLO:
		m.u.hello = (struct msg_hello){.protocol_version = PROTOCOL_VERSION,
					       .role = ROLE_CHUNKD,
					       .self = msg->u.hello.expected,
					       .connection = msg->u.hello.connection};
		break;
	case MSG_HEARTBEAT:
		m.u.heartbeat_ok = (struct msg_heartbeat_ok){msg->u.heartbeat.sequence,
							     end->taken_count, end->taken};
		break;
	case MSG_CREATE:
		m.u.position.chunk = msg->u.create.chunk;
		m.u.position.epoch = msg->u.create.epoch;
		end->exists[msg->u.create.chunk - 100] = true;
		break;
	case MSG_SYNC:
		server_sync(end, conn, msg);
		return;
	case MSG_WRITE:
		server_write(end, conn, msg);
		return;
	case MSG_READ:
		server_read(end, conn, msg);
		return;
	case MSG_VERSIONS:
		server_versions(end, conn, msg);
		return;
	case MSG_RELEASE:
		end->released = msg->u.position;
		for (uint32_t i = 0; i < end->taken_count; i++) {
			if (end->taken[i] == msg->u.position.chunk)
				end->taken[i] = end->taken[--end->taken_count];
		}
		m.u.position = msg->u.position;
		break;
	case MSG_MEND_END:
		end->position[msg->u.position.chunk - 100] = msg->u.position.position;
		m.u.position = msg->u.position;
		break;
	case MSG_MEND_BEGIN:
		m.u.position = msg->u.position;
		break;
	case MSG_COPY:
		m.u.copy_ok = (struct msg_copy_ok){msg->u.copy.chunk, msg->u.copy.epoch,
						   msg->u.copy.unit};
		break;
	case MSG_BYE:
		return;
	default:
		ck_abort_msg("a chunk server got %s", msg_type_name(msg->type));
	}
	answer(conn, msg, &m);
}

static inline void end_receive(struct io_conn *conn, const struct io_frame *frame)
{
	struct end *end = &w.ends[conn->end];
	const char *why;
	struct msg msg;

	if (codec_decode(w.decoder, frame, &msg, &why) < 0)
		ck_abort_msg("the engine sent a bad message: %s", why);
	end->got[msg.type]++;
	if (end->silent)
		return;
	if (end->hold[msg.type]) {
		struct held *h = xcalloc(1, sizeof *h);

		*h = (struct held){.conn = conn, .type = msg.type, .id = msg.id};
		if (conn->end != METAD) {
			h->chunk = msg.u.sync.chunk;
			h->epoch = msg.u.sync.epoch;
			h->generation = msg.type == MSG_WRITE ? msg.u.write.generation : 0;
		}
		TAILQ_INSERT_TAIL(&w.held, h, link);
	} else if (conn->end == METAD) {
		metad_receive(conn, &msg);
	} else {
		server_receive(end, conn, &msg);
	}
}

/* The oldest message of a type that was held, as a request to be answered by hand. */
static inline struct io_conn *held_take(enum msg_type type, struct msg *request, struct held *out)
{
	struct held *h;

	TAILQ_FOREACH (h, &w.held, link) {
		if (h->type != type)
			continue;
		TAILQ_REMOVE(&w.held, h, link);
		*out = *h;
		free(h);
		*request = (struct msg){.type = type, .id = out->id};
		return out->conn;
	}
	ck_abort_msg("no %s is held", msg_type_name(type));
	return NULL;
}

/* ---- the engine ---- */

static inline void world_begin(void)
{
	memset(&w, 0, sizeof w);
	fake_clock_init(&w.clock);
	w.transport.connect = net_connect;
	w.transport.send = net_send;
	w.transport.close = net_close;
	w.transport.peer = net_peer;
	w.transport.queued_bytes = net_queued_bytes;
	w.codec = codec_new();
	w.decoder = codec_new();
	TAILQ_INIT(&w.packets);
	TAILQ_INIT(&w.conns);
	TAILQ_INIT(&w.held);
	w.keepalives = true;
	w.epoch = 10;
	w.volume_number = VOLUME;
	w.size_bytes = CHUNKS * CHUNK_BYTES;
	for (unsigned i = 0; i < CHUNKS; i++)
		w.list_number[i] = 1;
}

static inline void engine_begin(uint64_t io_timeout_ns, bool repair_only)
{
	struct engine_environment environment = {&w.clock.base, &w.transport};
	struct engine_options options = {.meta = "metad:0",
					 .host = "host-a",
					 .instance = {{1}},
					 .io_timeout_ns = io_timeout_ns,
					 .repair_only = repair_only};

	w.engine = engine_new(&environment, &options);
}

/* Frees the engine, whatever is under way, and looks that nothing is left of it. */
static inline void world_end(void)
{
	struct packet *p;
	struct io_conn *conn;
	struct held *h;

	engine_free(w.engine);
	for (unsigned i = 0; i < FAKE_TIMERS; i++)
		ck_assert_msg(!w.clock.timers[i].timer, "a timer was left running");
	while ((p = TAILQ_FIRST(&w.packets))) {
		TAILQ_REMOVE(&w.packets, p, link);
		slice_unref(&p->frame.payload);
		free((void *)(uintptr_t)p->frame.body);
		free(p);
	}
	while ((conn = TAILQ_FIRST(&w.conns))) {
		ck_assert_msg(conn->closed, "a connection was left open");
		TAILQ_REMOVE(&w.conns, conn, link);
		free(conn);
	}
	while ((h = TAILQ_FIRST(&w.held))) {
		TAILQ_REMOVE(&w.held, h, link);
		free(h);
	}
	for (unsigned e = 0; e < ENDS; e++)
		for (unsigned i = 0; i < CHUNKS; i++)
			free(w.ends[e].data[i]);
	codec_free(w.codec);
	codec_free(w.decoder);
	ck_assert_uint_eq(buf_in_use(), 0);
	buf_pool_drain();
}

static inline void on_attached(void *context, int status, const char *text,
			       struct engine_volume *volume)
{
	(void)context;
	w.answers++;
	w.status = status;
	w.volume = volume;
	snprintf(w.text, sizeof w.text, "%s", text);
}

static inline void on_detached(void *context, int status)
{
	(void)context;
	w.answers++;
	w.status = status;
	w.volume = NULL;
}

static inline void attach(bool force, uint64_t timeout_ns)
{
	w.answers = 0;
	engine_attach(w.engine, "v", ATTACH_EXCLUSIVE, force, timeout_ns, on_attached, NULL);
	ck_assert_uint_eq(w.answers, 0); /* never from inside the call */
}

/* An engine that has attached the volume; keepalives have been answered. */
static inline void attached(void)
{
	world_begin();
	engine_begin(0, false);
	attach(false, 0);
	PASS_UNTIL(w.answers == 1);
	ck_assert_int_eq(w.status, 0);
	pass_ms(1100);
}

static inline void detach(void)
{
	w.answers = 0;
	engine_detach(w.volume, on_detached, NULL);
	ck_assert_uint_eq(w.answers, 0);
}

/* ---- requests ---- */

struct io {
	struct engine_request q;
	unsigned answers;
	bool submitting;
	uint8_t *memory;
};

static inline void on_done(struct engine_request *q)
{
	struct io *io = container_of(q, struct io, q);

	ck_assert_msg(!io->submitting, "completed from inside submit");
	io->answers++;
	ck_assert_uint_eq(io->answers, 1);
}

static inline void submit(struct io *io, enum engine_operation operation, uint64_t offset,
			  uint64_t bytes, uint8_t byte)
{
	memset(io, 0, sizeof *io);
	io->q.operation = operation;
	io->q.offset = offset;
	io->q.bytes = bytes;
	io->q.done = on_done;
	io->memory = xmalloc(bytes);
	memset(io->memory, operation == ENGINE_READ ? 0xee : byte, bytes);
	io->q.memory = io->memory;
	io->submitting = true;
	engine_submit(w.volume, &io->q);
	io->submitting = false;
	if (operation == ENGINE_WRITE) /* it has been copied */
		memset(io->memory, 0xdd, bytes);
}

static inline void io_free(struct io *io)
{
	free(io->memory);
	io->memory = NULL;
}

/* To its end; gives the status. */
static inline int run(enum engine_operation operation, uint64_t offset, uint64_t bytes,
		      uint8_t byte)
{
	struct io io;

	submit(&io, operation, offset, bytes, byte);
	PASS_UNTIL(io.answers);
	io_free(&io);
	return io.q.status;
}

/* What is read there is all this byte. */
static inline void expect_bytes(uint64_t offset, uint64_t bytes, uint8_t byte)
{
	uint64_t i = 0;
	struct io io;

	submit(&io, ENGINE_READ, offset, bytes, 0);
	PASS_UNTIL(io.answers);
	ck_assert_int_eq(io.q.status, 0);
	while (i < bytes && io.memory[i] == byte)
		i++;
	ck_assert_msg(i == bytes, "byte %llu is %u, not %u", (unsigned long long)(offset + i),
		      io.memory[MIN(i, bytes - 1)], byte);
	io_free(&io);
}

static inline void on_extents(void *context, int status, const struct engine_extent *extents,
			      size_t count)
{
	(void)context;
	w.answers++;
	w.status = status;
	ck_assert_uint_le(count, ARRAY_SIZE(w.extents));
	memcpy(w.extents, extents, count * sizeof *extents);
	w.extent_count = count;
}

static inline void on_listed(void *context, int status, const struct msg_volume *volumes,
			     size_t count)
{
	(void)context;
	w.answers++;
	w.status = status;
	w.names[0] = 0;
	for (size_t i = 0; i < count; i++)
		snprintf(w.names + strlen(w.names), sizeof w.names - strlen(w.names), "%s ",
			 volumes[i].name);
}

static inline unsigned got_all(enum msg_type type)
{
	return w.ends[1].got[type] + w.ends[2].got[type] + w.ends[3].got[type];
}

#endif
