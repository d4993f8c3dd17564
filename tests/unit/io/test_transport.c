/* test_transport.c - connections over real sockets: frames of all shapes, closes everywhere, callbacks at the right time. */
#include "net_test.h"
#include "tests/lib/suite.h"

#include <linux/tcp.h>

static const char *const listen_addresses[] = {"127.0.0.1:0", "[::1]:0", NULL};
static char unix_address[64];

static const char *listen_address(int i)
{
	if (listen_addresses[i])
		return listen_addresses[i];
	snprintf(unix_address, sizeof unix_address, "unix:/tmp/copyhold-test-%d", (int)getpid());
	return unix_address;
}

START_TEST(echo_of_all_shapes)
{
	struct end client = {.keep_order = true};

	server_template.echo = true;
	net_connect(&client, net_listen(listen_address(_i)));
	for (uint64_t id = 0; id < ALL_SHAPES; id++)
		send_id(client.conn, id); /* before it has opened: frames wait */
	ck_assert_uint_gt(net->queued_bytes(client.conn), ALL_SHAPES * FRAME_HEADER_BYTES);
	run_until(loop, client.frames == ALL_SHAPES);
	ck_assert_uint_eq(client.opened, 1);
	ck_assert_uint_eq(server_count, 1);
	ck_assert_uint_eq(server[0].opened, 0);
	ck_assert_uint_eq(server[0].frames, ALL_SHAPES);
	ck_assert_uint_eq(net->queued_bytes(client.conn), 0);
	end_close(&client);
	run_until(loop, server[0].closed);
	ck_assert_int_eq(server[0].error, 0);
}
END_TEST

START_TEST(thousands_of_frames_both_ways)
{
	enum {
		FRAMES = 5000
	};
	struct end client = {.keep_order = true, .next_id = ALL_SHAPES};
	uint64_t client_id = ALL_SHAPES, server_id = ALL_SHAPES;

	server_template.next_id = ALL_SHAPES;
	net_connect(&client, net_listen(listen_address(_i)));
	run_until(loop, server_count == 1);
	while (client.frames < FRAMES || server[0].frames < FRAMES) {
		for (unsigned i = 0; i < 37; i++) {
			if (client_id < ALL_SHAPES + FRAMES)
				send_id(client.conn, client_id++);
			if (server_id < ALL_SHAPES + FRAMES)
				send_id(server[0].conn, server_id++);
		}
		run_turns(loop, 1);
	}
	ck_assert_uint_eq(client.next_id, ALL_SHAPES + FRAMES);
	ck_assert_uint_eq(server[0].next_id, ALL_SHAPES + FRAMES);
}
END_TEST

START_TEST(many_connections_at_once)
{
	struct end clients[40] = {0};
	const char *address;

	server_template.echo = true;
	server_template.next_id = ALL_SHAPES;
	address = net_listen("127.0.0.1:0");
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
		clients[i].keep_order = true;
		clients[i].next_id = ALL_SHAPES;
		net_connect(&clients[i], address);
		for (unsigned id = 0; id < 50; id++)
			send_id(clients[i].conn, ALL_SHAPES + id);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++)
		run_until(loop, clients[i].frames == 50);
	ck_assert_uint_eq(server_count, ARRAY_SIZE(clients));
}
END_TEST

START_TEST(frames_that_come_byte_by_byte)
{
	static const uint64_t ids[] = {0, 5, 12 + 2, ALL_SHAPES + 1, ALL_SHAPES + 2};
	int fd;

	server_template.keep_order = false;
	fd = raw_connect(net_listen("127.0.0.1:0"));
	run_until(loop, server_count == 1);
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		size_t bytes;
		uint8_t *frame = raw_frame(ids[i], &bytes);

		for (size_t at = 0; at < bytes; at++) {
			ck_assert_uint_eq(server[0].frames, i);
			ck_assert_int_eq(send(fd, frame + at, 1, 0), 1);
			run_turns(loop, 1);
		}
		free(frame);
		run_until(loop, server[0].frames == i + 1);
	}
	close(fd);
	run_until(loop, server[0].closed);
	ck_assert_int_eq(server[0].error, 0);
}
END_TEST

/* Several frames in pieces whose borders lie anywhere. */
START_TEST(frames_that_come_in_odd_pieces)
{
	struct prng prng = {(uint64_t)_i + 1};
	uint8_t *stream = NULL;
	size_t bytes = 0, at = 0;
	int fd = raw_connect(net_listen("127.0.0.1:0"));

	server_template.next_id = ALL_SHAPES;
	for (uint64_t id = ALL_SHAPES; id < ALL_SHAPES + 60; id++) {
		size_t frame_bytes;
		uint8_t *frame = raw_frame(id, &frame_bytes);

		stream = realloc(stream, bytes + frame_bytes);
		memcpy(stream + bytes, frame, frame_bytes);
		bytes += frame_bytes;
		free(frame);
	}
	while (at < bytes) {
		size_t piece = 1 + prng_below(&prng, prng_chance(&prng, 1, 2) ? 60 : 9000);

		piece = MIN(piece, bytes - at);
		ck_assert_int_eq(send(fd, stream + at, piece, 0), (int)piece);
		at += piece;
		run_turns(loop, 2);
	}
	run_until(loop, server_count == 1 && server[0].frames == 60);
	free(stream);
	close(fd);
}
END_TEST

/* ---- peers that break the rules ---- */

enum garbage {
	RANDOM_BYTES,
	WRONG_MAGIC,
	WRONG_HEADER_CRC,
	LONG_BODY,
	LONG_PAYLOAD,
	WRONG_BODY_CRC,
	HTTP,
	GARBAGE_KINDS
};

/* A header whose own checksum is right, so that only the length is wrong. */
static void put_length(uint8_t *frame, size_t offset, uint32_t value)
{
	uint32_t crc;

	memcpy(frame + offset, &value, 4);
	crc = crc32c(0, frame, FRAME_HEADER_BYTES - 4);
	memcpy(frame + FRAME_HEADER_BYTES - 4, &crc, 4);
}

static uint8_t *make_garbage(enum garbage kind, size_t *bytes)
{
	uint8_t *frame = raw_frame(5, bytes); /* body of 1000 bytes */

	switch (kind) {
	case RANDOM_BYTES:
		fill_bytes(frame, *bytes, 99);
		break;
	case WRONG_MAGIC:
		frame[0] ^= 1;
		break;
	case WRONG_HEADER_CRC:
		frame[9] ^= 1;
		break;
	case LONG_BODY:
		put_length(frame, 16, FRAME_BODY_MAX + 1);
		break;
	case LONG_PAYLOAD:
		put_length(frame, 20, UINT32_MAX);
		break;
	case WRONG_BODY_CRC:
		frame[FRAME_HEADER_BYTES + 999] ^= 0x80;
		break;
	default:
		memcpy(frame, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n", 49);
	}
	return frame;
}

START_TEST(a_violation_ends_only_its_connection)
{
	struct end good = {.keep_order = true};
	const char *address;
	uint8_t *garbage, *before;
	size_t bytes, before_bytes;
	char byte;
	int fd;

	server_template.echo = true;
	address = net_listen("127.0.0.1:0");
	net_connect(&good, address);
	run_until(loop, server_count == 1);
	fd = raw_connect(address);
	run_until(loop, server_count == 2);
	before = raw_frame(0, &before_bytes);
	garbage = make_garbage((enum garbage)_i, &bytes);
	ck_assert_int_eq(send(fd, before, before_bytes, 0), (int)before_bytes);
	ck_assert_int_eq(send(fd, garbage, bytes, 0), (int)bytes);
	run_until(loop, server[1].closed);
	ck_assert_int_eq(server[1].error, -EPROTO);
	ck_assert_uint_eq(server[1].frames, 1); /* what came before it was good */
	while (recv(fd, &byte, 1, 0) > 0)       /* the echo of it, then the end */
		;
	send_id(good.conn, 0);
	run_until(loop, good.frames == 1);
	ck_assert_uint_eq(server[0].closed, 0);
	close(fd);
	free(before);
	free(garbage);
}
END_TEST

/* A good stream with some bytes changed, cut off somewhere: whatever it then means, it ends in order. */
START_TEST(a_damaged_stream_harms_nobody)
{
	struct prng prng = {(uint64_t)_i * 7919 + 1};
	struct end good = {.keep_order = true};
	const char *address = net_listen("127.0.0.1:0");
	uint8_t *stream = NULL;
	size_t bytes = 0;
	int fd;

	server_template.echo = true;
	net_connect(&good, address);
	run_until(loop, server_count == 1);
	server_template = (struct end){.damaged = true};
	for (uint64_t id = 0; id < 12; id++) {
		size_t frame_bytes;
		uint8_t *frame = raw_frame(ALL_SHAPES + prng_below(&prng, 100), &frame_bytes);

		stream = realloc(stream, bytes + frame_bytes);
		memcpy(stream + bytes, frame, frame_bytes);
		bytes += frame_bytes;
		free(frame);
	}
	for (unsigned i = 0; i < 3; i++)
		stream[prng_below(&prng, bytes)] ^= (uint8_t)(1u << prng_below(&prng, 8));
	bytes = 1 + prng_below(&prng, bytes);
	fd = raw_connect(address);
	run_until(loop, server_count == 2);
	for (size_t at = 0; at < bytes && !server[1].closed;) {
		size_t piece = 1 + prng_below(&prng, 20000);

		piece = MIN(piece, bytes - at);
		ck_assert_int_eq(send(fd, stream + at, piece, MSG_NOSIGNAL), (int)piece);
		at += piece;
		run_turns(loop, 2);
	}
	close(fd);
	run_until(loop, server[1].closed);
	send_id(good.conn, 0);
	run_until(loop, good.frames == 1);
	free(stream);
}
END_TEST

/* A peer that ends in the middle of a frame has not closed in order. */
START_TEST(an_end_inside_a_frame_is_a_reset)
{
	static const size_t cuts[] = {1, 39, 40, 500, 1039, 1040, 3000};
	size_t bytes;
	uint8_t *frame = raw_frame(5 + 12, &bytes); /* body 1000, payload 4096 */
	int fd = raw_connect(net_listen("127.0.0.1:0"));

	ck_assert_int_eq(send(fd, frame, cuts[_i], 0), (int)cuts[_i]);
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0); /* half open: we could still send */
	run_until(loop, server_count == 1 && server[0].closed);
	ck_assert_int_eq(server[0].error, -ECONNRESET);
	ck_assert_uint_eq(server[0].frames, 0);
	free(frame);
	close(fd);
}
END_TEST

START_TEST(a_half_open_peer_counts_as_closed)
{
	size_t bytes;
	uint8_t *frame = raw_frame(0, &bytes);
	int fd = raw_connect(net_listen("127.0.0.1:0"));

	ck_assert_int_eq(send(fd, frame, bytes, 0), (int)bytes);
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	run_until(loop, server_count == 1 && server[0].closed);
	ck_assert_int_eq(server[0].error, 0);
	ck_assert_uint_eq(server[0].frames, 1);
	free(frame);
	close(fd);
}
END_TEST

START_TEST(a_reset_is_told)
{
	struct linger abort_on_close = {1, 0};
	int fd = raw_connect(net_listen("127.0.0.1:0"));

	run_until(loop, server_count == 1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof abort_on_close);
	close(fd);
	run_until(loop, server[0].closed);
	ck_assert_int_eq(server[0].error, -ECONNRESET);
}
END_TEST

/* The last words of a peer are read although our own sending fails. */
START_TEST(what_came_before_the_close_is_read_first)
{
	const char *address = net_listen(listen_address(_i));
	struct end client = {.keep_order = true};

	net_connect(&client, address);
	run_until(loop, server_count == 1 && client.opened);
	send_id(server[0].conn, 0);
	send_id(server[0].conn, 1);
	end_close(&server[0]);
	for (unsigned i = 0; i < 200; i++)
		send_id(client.conn, ALL_SHAPES + i);
	run_until(loop, client.closed);
	ck_assert_uint_eq(client.frames, 2);
}
END_TEST

/* ---- connecting ---- */

START_TEST(a_refused_connect_is_told_from_the_loop)
{
	struct end client = {0};
	char address[64];

	snprintf(address, sizeof address, "%s", net_listen("127.0.0.1:0"));
	net->listener_close(net, listener);
	net_connect(&client, address);
	send_id(client.conn, 0);
	ck_assert_uint_eq(client.closed, 0);
	ck_assert_str_eq(net->peer(client.conn), address);
	run_until(loop, client.closed);
	ck_assert_int_eq(client.error, -ECONNREFUSED);
	ck_assert_uint_eq(client.opened, 0);
}
END_TEST

START_TEST(a_bad_address_is_told_from_the_loop)
{
	static const struct {
		const char *address;
		int error;
	} cases[] = {
		{"", -EINVAL},
		{"host", -EINVAL},
		{":1", -EINVAL},
		{"127.0.0.1:", -EINVAL},
		{"127.0.0.1:0", -EINVAL},
		{"127.0.0.1:65536", -EINVAL},
		{"127.0.0.1:http", -EINVAL},
		{"127.0.0.1:-1", -EINVAL},
		{"::1:80", -EINVAL},
		{"[::1]", -EINVAL},
		{"[::1:80", -EINVAL},
		{"[localhost]:80", -EINVAL},
		{"unix:", -EINVAL},
		{"unix:/there/is/no/such/socket", -ENOENT},
		{"unix:/tmp/0123456789012345678901234567890123456789012345678901234567890123456789"
		 "0123456789012345678901234567890123456789",
		 -EINVAL},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct end client = {0};

		net_connect(&client, cases[i].address);
		ck_assert_uint_eq(client.closed, 0);
		run_until(loop, client.closed);
		ck_assert_msg(client.error == cases[i].error, "%s: %d", cases[i].address,
			      client.error);
	}
}
END_TEST

START_TEST(a_connect_may_be_given_up)
{
	struct end client = {0}, bad = {0}, last = {0};
	const char *address = net_listen("127.0.0.1:0");

	net_connect(&client, address);
	net_connect(&bad, "nonsense");
	send_id(client.conn, 0);
	end_close(&client);
	end_close(&bad);
	net_connect(&last, address);
	run_until(loop, last.opened);
	run_turns(loop, 10);
	ck_assert_uint_eq(client.opened + client.closed, 0);
	ck_assert_uint_eq(bad.closed, 0);
}
END_TEST

/* A listener whose queue is full drops what knocks: nothing comes back, as from a machine that is gone. */
START_TEST(a_silent_peer_times_out)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t in_bytes = sizeof in;
	struct end clients[4] = {0};
	unsigned timed_out = 0;
	char address[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	getsockname(fd, (struct sockaddr *)&in, &in_bytes);
	snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(in.sin_port));
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++)
		net_connect(&clients[i], address);
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
		run_until(loop, clients[i].opened || clients[i].closed);
		timed_out += clients[i].error == -ETIMEDOUT;
	}
	ck_assert_uint_ge(timed_out, 1);
	close(fd);
}
END_TEST

START_TEST(a_name_is_resolved)
{
	struct end client = {0};
	char address[64];

	snprintf(address, sizeof address, "localhost:%s",
		 strrchr(net_listen("localhost:0"), ':') + 1);
	net_connect(&client, address);
	run_until(loop, client.opened || client.closed);
	ck_assert_uint_eq(client.opened, 1);
}
END_TEST

START_TEST(reconnects)
{
	struct end client = {0};
	const char *address;

	server_template.keep_order = false;
	address = net_listen(listen_address(_i));
	for (unsigned i = 0; i < 300; i++) {
		server_count = 0;
		client = (struct end){.send_when = IN_OPENED, .sent_id = ALL_SHAPES + i};
		net_connect(&client, address);
		run_until(loop, server_count == 1 && server[0].frames == 1);
		if (i % 2) {
			end_close(&client);
			run_until(loop, server[0].closed);
		} else {
			end_close(&server[0]);
			run_until(loop, client.closed);
		}
	}
}
END_TEST

/* ---- closing and sending in callbacks ---- */

START_TEST(a_user_may_close_in_accepted)
{
	struct end client = {0};

	server_template.send_when = IN_ACCEPTED;
	server_template.close_when = IN_ACCEPTED;
	net_connect(&client, net_listen("127.0.0.1:0"));
	run_until(loop, client.closed);
	ck_assert_int_eq(client.error, 0);
	ck_assert_uint_eq(client.frames, 1); /* what was queued is tried once */
	ck_assert_uint_eq(server[0].closed, 0);
}
END_TEST

START_TEST(a_user_may_close_in_opened)
{
	struct end client = {.send_when = IN_OPENED, .close_when = IN_OPENED};

	net_connect(&client, net_listen("127.0.0.1:0"));
	run_until(loop, server_count == 1 && server[0].closed);
	ck_assert_uint_eq(server[0].frames, 1);
	ck_assert_uint_eq(client.closed, 0);
}
END_TEST

/* Frames behind the one in whose callback the connection was closed are not shown. */
START_TEST(a_user_may_close_in_frame)
{
	struct end client = {.keep_order = true};

	server_template.close_when = IN_FRAME;
	server_template.send_when = IN_FRAME;
	server_template.keep_order = false;
	net_connect(&client, net_listen("127.0.0.1:0"));
	for (unsigned i = 0; i < 20; i++)
		send_id(client.conn, (uint64_t)_i);
	run_until(loop, client.closed);
	ck_assert_uint_eq(server[0].frames, 1);
	ck_assert_uint_eq(server[0].closed, 0);
}
END_TEST

START_TEST(closing_in_closed_does_nothing)
{
	struct end client = {.close_when = IN_CLOSED, .send_when = IN_CLOSED};

	server_template.close_when = IN_ACCEPTED;
	net_connect(&client, net_listen("127.0.0.1:0"));
	run_until(loop, client.closed);
	run_turns(loop, 3);
	ck_assert_uint_eq(client.closed, 1);
}
END_TEST

/* Both have frames waiting in the same turn; the first one's callback closes the second. */
START_TEST(one_callback_may_close_another_connection)
{
	struct end a = {0}, b = {0};
	const char *address = net_listen("127.0.0.1:0");

	net_connect(&a, address);
	net_connect(&b, address);
	run_until(loop, server_count == 2 && a.opened && b.opened);
	server[0].also_close = &server[1];
	server[1].also_close = &server[0];
	send_id(a.conn, 0);
	send_id(b.conn, 0);
	run_until(loop, a.closed || b.closed);
	run_turns(loop, 3);
	ck_assert_uint_eq(server[0].frames + server[1].frames, 1);
	ck_assert_uint_eq(a.closed + b.closed, 1);
}
END_TEST

START_TEST(ping_pong_in_callbacks)
{
	struct end client = {.send_when = IN_FRAME, .sent_id = 1};

	server_template.keep_order = false;
	server_template.send_when = IN_FRAME;
	net_connect(&client, net_listen(listen_address(_i)));
	send_id(client.conn, 0);
	run_until(loop, client.frames == ALL_SHAPES - 1);
}
END_TEST

/* ---- sending ---- */

/* All frames of one turn leave together: on loopback, whose segments hold 64 KiB, in one. */
START_TEST(one_turn_is_one_segment)
{
	struct tcp_info before, after;
	socklen_t bytes = sizeof before;
	int fd = raw_connect(net_listen("127.0.0.1:0"));
	char sink[8192];
	size_t expected = 0;

	run_until(loop, server_count == 1);
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &before, &bytes), 0);
	for (unsigned i = 0; i < 100; i++) {
		send_id(server[0].conn, 1);
		expected += FRAME_HEADER_BYTES + 1;
	}
	ck_assert_uint_eq(net->queued_bytes(server[0].conn), expected);
	run_turns(loop, 1);
	ck_assert_uint_eq(net->queued_bytes(server[0].conn), 0);
	ck_assert_int_eq(recv(fd, sink, expected, MSG_WAITALL), (int)expected);
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &after, &bytes), 0);
	ck_assert_uint_eq(after.tcpi_data_segs_in - before.tcpi_data_segs_in, 1);
	close(fd);
}
END_TEST

START_TEST(a_slow_reader_makes_frames_wait)
{
	enum {
		FRAMES = 64
	};
	int fd = raw_connect(net_listen("127.0.0.1:0"));
	size_t total = 0, bytes;
	uint8_t *frame = raw_frame(12 * 7, &bytes); /* no body, payload of 1 MiB */
	uint8_t *sink = malloc(bytes);

	run_until(loop, server_count == 1);
	for (unsigned i = 0; i < FRAMES; i++)
		send_id(server[0].conn, 12 * 7);
	run_turns(loop, 20);
	ck_assert_uint_gt(net->queued_bytes(server[0].conn), 0);
	while (total < FRAMES * bytes) {
		ssize_t got = recv(fd, sink, bytes - total % bytes, MSG_DONTWAIT);

		if (got > 0) {
			ck_assert(memcmp(sink, frame + total % bytes, (size_t)got) == 0);
			total += (size_t)got;
		}
		run_turns(loop, 1);
	}
	ck_assert_uint_eq(net->queued_bytes(server[0].conn), 0);
	free(frame);
	free(sink);
	close(fd);
}
END_TEST

START_TEST(a_queue_dies_with_its_connection)
{
	int fd = raw_connect(net_listen("127.0.0.1:0"));

	run_until(loop, server_count == 1);
	for (unsigned i = 0; i < 32; i++)
		send_id(server[0].conn, 12 * 7);
	run_turns(loop, 3);
	ck_assert_uint_gt(net->queued_bytes(server[0].conn), 0);
	close(fd);
	run_until(loop, server[0].closed);
	ck_assert_int_ne(server[0].error, 0);
}
END_TEST

#define LISTENS (int)ARRAY_SIZE(listen_addresses)

int main(void)
{
	Suite *suite = suite_create("transport");
	TCase *tcase = tcase_create("transport");

	tcase_set_timeout(tcase, HANG_S);
	tcase_add_checked_fixture(tcase, net_setup, net_teardown);
	tcase_add_loop_test(tcase, echo_of_all_shapes, 0, LISTENS);
	tcase_add_loop_test(tcase, thousands_of_frames_both_ways, 0, LISTENS);
	tcase_add_test(tcase, many_connections_at_once);
	tcase_add_test(tcase, frames_that_come_byte_by_byte);
	tcase_add_loop_test(tcase, frames_that_come_in_odd_pieces, 0, 5);
	tcase_add_loop_test(tcase, a_violation_ends_only_its_connection, 0, GARBAGE_KINDS);
	tcase_add_loop_test(tcase, a_damaged_stream_harms_nobody, 0, 60);
	tcase_add_loop_test(tcase, an_end_inside_a_frame_is_a_reset, 0, 7);
	tcase_add_test(tcase, a_half_open_peer_counts_as_closed);
	tcase_add_test(tcase, a_reset_is_told);
	tcase_add_loop_test(tcase, what_came_before_the_close_is_read_first, 0, LISTENS);
	tcase_add_test(tcase, a_refused_connect_is_told_from_the_loop);
	tcase_add_test(tcase, a_bad_address_is_told_from_the_loop);
	tcase_add_test(tcase, a_connect_may_be_given_up);
	tcase_add_test(tcase, a_silent_peer_times_out);
	tcase_add_test(tcase, a_name_is_resolved);
	tcase_add_loop_test(tcase, reconnects, 0, LISTENS);
	tcase_add_test(tcase, a_user_may_close_in_accepted);
	tcase_add_test(tcase, a_user_may_close_in_opened);
	tcase_add_loop_test(tcase, a_user_may_close_in_frame, 0, ALL_SHAPES);
	tcase_add_test(tcase, closing_in_closed_does_nothing);
	tcase_add_test(tcase, one_callback_may_close_another_connection);
	tcase_add_loop_test(tcase, ping_pong_in_callbacks, 0, LISTENS);
	tcase_add_test(tcase, one_turn_is_one_segment);
	tcase_add_test(tcase, a_slow_reader_makes_frames_wait);
	tcase_add_test(tcase, a_queue_dies_with_its_connection);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
