/*
 * net_test.h - the two ends of a connection on one loop, for the tests of the transport.
 *
 * An `end` counts what happens to it and checks each frame that it gets: the id says which sizes and bytes it
 * must have. What an end does in its callbacks is set by the test.
 */
#ifndef COPYHOLD_NET_TEST_H
#define COPYHOLD_NET_TEST_H

#include "io_test.h"
#include "proto/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum when {
	NEVER,
	IN_ACCEPTED,
	IN_OPENED,
	IN_FRAME,
	IN_CLOSED,
};

struct end {
	struct io_conn *conn;
	unsigned accepted, opened, frames, closed;
	int error;
	uint64_t next_id; /* frames arrive in order: the id expected next */
	bool echo;        /* send back whatever comes */
	bool keep_order;  /* check next_id */
	bool damaged;     /* what comes may be anything: don't check it */
	enum when close_when;
	enum when send_when;
	struct end *also_close; /* another end that is closed in this one's frame callback */
	uint64_t sent_id;
};

static struct ev_loop *loop;
static struct io_ev *io;
static struct io_transport *net;
static struct io_listener *listener;
static struct end server[64];
static unsigned server_count;
static struct end server_template;
static bool inside_call; /* a function of the seam is on the stack: no callback may come */

/* Sizes from an id: all shapes within the first ids, then a mix in which small ones are frequent. */
static inline void sizes_of(uint64_t id, uint32_t *body_bytes, uint32_t *payload_bytes)
{
	static const uint32_t bodies[] = {0,    1,     7,     39,    40,    1000,
					  4096, 65495, 65496, 65497, 70000, FRAME_BODY_MAX};
	static const uint32_t payloads[] = {0,     4096,   8192,   32768,
					    65536, 131072, 262144, FRAME_PAYLOAD_MAX};
	unsigned all = ARRAY_SIZE(bodies) * ARRAY_SIZE(payloads);

	if (id < all) {
		*body_bytes = bodies[id % ARRAY_SIZE(bodies)];
		*payload_bytes = payloads[id / ARRAY_SIZE(bodies)];
		return;
	}
	*body_bytes = (uint32_t)(mix64(id) % 200);
	*payload_bytes =
		(uint32_t)(mix64(id + 1) % 8 ? mix64(id) / 256 % 3 : mix64(id) / 256 % 20) *
		BLOCK_BYTES;
}

#define ALL_SHAPES 96u

static inline void send_id(struct io_conn *conn, uint64_t id)
{
	struct io_frame frame = {.id = id, .type = (uint16_t)id, .status = (uint32_t)id * 3};
	uint32_t body_bytes, payload_bytes;
	uint8_t *body;

	sizes_of(id, &body_bytes, &payload_bytes);
	body = malloc(body_bytes + 1);
	fill_bytes(body, body_bytes, id);
	frame.body = body;
	frame.body_bytes = body_bytes;
	if (payload_bytes) {
		frame.payload = slice_new(payload_bytes);
		fill_bytes(slice_data(frame.payload), payload_bytes, id + 1000000);
	}
	inside_call = true;
	net->send(conn, &frame);
	inside_call = false;
	free(body);
	slice_unref(&frame.payload);
}

static inline void check_frame(const struct io_frame *frame)
{
	uint32_t body_bytes, payload_bytes;
	uint8_t *expected;

	sizes_of(frame->id, &body_bytes, &payload_bytes);
	ck_assert_uint_eq(frame->type, (uint16_t)frame->id);
	ck_assert_uint_eq(frame->status, (uint32_t)frame->id * 3);
	ck_assert_uint_eq(frame->body_bytes, body_bytes);
	ck_assert_uint_eq(frame->payload.bytes, payload_bytes);
	expected = malloc(MAX(body_bytes, payload_bytes) + 1);
	fill_bytes(expected, body_bytes, frame->id);
	ck_assert(memcmp(expected, frame->body, body_bytes) == 0);
	if (payload_bytes) {
		ck_assert_uint_eq((uintptr_t)slice_data(frame->payload) % BLOCK_BYTES, 0);
		fill_bytes(expected, payload_bytes, frame->id + 1000000);
		ck_assert(memcmp(expected, slice_data(frame->payload), payload_bytes) == 0);
	} else {
		ck_assert_ptr_null(frame->payload.buf);
	}
	free(expected);
}

static inline void end_close(struct end *end)
{
	inside_call = true;
	net->close(end->conn);
	inside_call = false;
	end->conn = NULL;
}

static inline void end_act(struct end *end, enum when when)
{
	if (end->send_when == when)
		send_id(end->conn, end->sent_id++);
	if (end->close_when == when)
		end_close(end);
}

static inline void end_opened(struct io_conn *conn, void *context)
{
	struct end *end = context;

	ck_assert(!inside_call && conn == end->conn && !end->opened);
	end->opened++;
	end_act(end, IN_OPENED);
}

static inline void end_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct end *end = context;

	ck_assert(!inside_call && conn == end->conn && !end->closed);
	end->frames++;
	if (end->keep_order)
		ck_assert_uint_eq(frame->id, end->next_id++);
	if (end->echo)
		net->send(conn, frame);
	end_act(end, IN_FRAME);
	if (end->also_close && end->also_close->conn)
		end_close(end->also_close);
	/* Last: the frame is good until the end of the callback, even if we closed. */
	if (!end->damaged)
		check_frame(frame);
}

static inline void end_closed(struct io_conn *conn, void *context, int error)
{
	struct end *end = context;

	ck_assert(!inside_call && conn == end->conn && !end->closed);
	ck_assert_ptr_nonnull(net->peer(conn));
	end->closed++;
	end->error = error;
	if (end->send_when == IN_CLOSED)
		send_id(conn, 0);
	if (end->close_when == IN_CLOSED)
		net->close(conn);
	end->conn = NULL;
}

static const struct io_conn_ops end_ops = {
	.opened = end_opened,
	.frame = end_frame,
	.closed = end_closed,
};

static inline void on_accepted(void *context, struct io_conn *conn)
{
	struct end *end = &server[server_count++];

	(void)context;
	ck_assert(!inside_call && server_count <= ARRAY_SIZE(server));
	*end = server_template;
	end->conn = conn;
	end->accepted = 1;
	net->set_handler(conn, &end_ops, end);
	end_act(end, IN_ACCEPTED);
}

static inline void net_setup(void)
{
	loop = ev_loop_new(EVFLAG_AUTO);
	io = io_ev_new(loop);
	net = io_ev_transport(io);
	listener = NULL;
	server_count = 0;
	server_template = (struct end){.keep_order = true};
}

static inline void net_teardown(void)
{
	io_ev_free(io);
	ev_loop_destroy(loop);
	ck_assert_uint_eq(buf_in_use(), 0);
	buf_pool_drain();
}

static inline const char *net_listen(const char *address)
{
	inside_call = true;
	ck_assert_int_eq(net->listen(net, address, on_accepted, NULL, &listener), 0);
	inside_call = false;
	return io_ev_listener_address(listener);
}

static inline void net_connect(struct end *end, const char *address)
{
	inside_call = true;
	end->conn = net->connect(net, address, &end_ops, end);
	inside_call = false;
}

/* A blocking socket of our own that is connected to the listener, to send what no io_conn would. */
static inline int raw_connect(const char *address)
{
	int fd, port = atoi(strrchr(address, ':') + 1);
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
	return fd;
}

/* The bytes of the frame with this id; to be freed. */
static inline uint8_t *raw_frame(uint64_t id, size_t *bytes)
{
	struct io_frame frame = {.id = id, .type = (uint16_t)id, .status = (uint32_t)id * 3};
	uint32_t body_bytes, payload_bytes;
	uint8_t *out, *body;

	sizes_of(id, &body_bytes, &payload_bytes);
	*bytes = FRAME_HEADER_BYTES + (size_t)body_bytes + payload_bytes;
	out = malloc(*bytes);
	body = out + FRAME_HEADER_BYTES;
	fill_bytes(body, body_bytes, id);
	fill_bytes(body + body_bytes, payload_bytes, id + 1000000);
	frame.body = body;
	frame.body_bytes = body_bytes;
	frame.payload.bytes = payload_bytes;
	frame_encode_header(&frame, out);
	return out;
}

#endif
