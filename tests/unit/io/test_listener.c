/* test_listener.c - listening sockets: addresses, socket files left behind, limits. */
#include "net_test.h"
#include "tests/lib/suite.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char directory[64], socket_path[80], unix_address[96];

static void setup(void)
{
	net_setup();
	server_template.echo = true;
	snprintf(directory, sizeof directory, "/tmp/copyhold-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(socket_path, sizeof socket_path, "%s/socket", directory);
	snprintf(unix_address, sizeof unix_address, "unix:%s", socket_path);
}

static void teardown(void)
{
	net_teardown();
	unlink(socket_path);
	ck_assert_int_eq(rmdir(directory), 0);
}

static int try_listen(const char *address, struct io_listener **out)
{
	return net->listen(net, address, on_accepted, NULL, out);
}

/* True if whoever listens at address echoes a frame. */
static bool reaches(const char *address)
{
	struct end client = {.send_when = IN_OPENED};

	net_connect(&client, address);
	run_until(loop, client.closed || client.frames);
	if (client.closed)
		return false;
	end_close(&client);
	return true;
}

START_TEST(port_0_becomes_a_port)
{
	static const char *const addresses[] = {"127.0.0.1:0", "[::1]:0", "localhost:0"};
	const char *bound = net_listen(addresses[_i]);

	ck_assert_int_gt(atoi(strrchr(bound, ':') + 1), 0);
	ck_assert(reaches(bound));
	ck_assert(strncmp(bound, _i == 1 ? "[::1]:" : "127.0.0.1:", 6) == 0);
}
END_TEST

START_TEST(an_address_is_used_once)
{
	struct io_listener *other;
	const char *bound = net_listen("127.0.0.1:0");

	ck_assert_int_eq(try_listen(bound, &other), -EADDRINUSE);
	ck_assert(reaches(bound));
}
END_TEST

/* As after a restart: connections of the old listener are still known to the kernel. */
START_TEST(an_address_is_free_again_at_once)
{
	struct end client = {0};
	struct io_listener *again;
	char bound[64];

	snprintf(bound, sizeof bound, "%s", net_listen("127.0.0.1:0"));
	net_connect(&client, bound);
	run_until(loop, server_count == 1 && client.opened);
	end_close(&server[0]); /* our side first: it keeps the port in TIME_WAIT */
	run_until(loop, client.closed);
	net->listener_close(net, listener);
	ck_assert_int_eq(try_listen(bound, &again), 0);
	ck_assert(reaches(bound));
}
END_TEST

START_TEST(bad_addresses_are_refused)
{
	static const char *const invalid[] = {"",         "127.0.0.1",  ":7000",
					      "::1:7000", "[::1]7000",  "127.0.0.1:70000",
					      "unix:",    "127.0.0.1:x"};
	struct io_listener *other;

	for (unsigned i = 0; i < ARRAY_SIZE(invalid); i++)
		ck_assert_msg(try_listen(invalid[i], &other) == -EINVAL, "%s", invalid[i]);
	/* A documentation address (RFC 5737), which no machine has. */
	ck_assert_int_eq(try_listen("192.0.2.1:7000", &other), -EADDRNOTAVAIL);
	ck_assert_int_eq(try_listen("unix:/no/such/directory/socket", &other), -ENOENT);
}
END_TEST

START_TEST(a_unix_socket_comes_and_goes)
{
	ck_assert_str_eq(net_listen(unix_address), unix_address);
	ck_assert(reaches(unix_address));
	ck_assert(strncmp(net->peer(server[0].conn), "unix:pid ", 9) == 0);
	net->listener_close(net, listener);
	ck_assert_int_ne(access(socket_path, F_OK), 0);
	ck_assert(!reaches(unix_address));
}
END_TEST

/* A socket file whose process was killed. */
START_TEST(a_stale_socket_file_is_replaced)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(un.sun_path, socket_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	close(fd);
	ck_assert_int_eq(access(socket_path, F_OK), 0);
	net_listen(unix_address);
	ck_assert(reaches(unix_address));
}
END_TEST

START_TEST(a_live_socket_is_left_alone)
{
	struct io_listener *other;

	net_listen(unix_address);
	ck_assert_int_eq(try_listen(unix_address, &other), -EADDRINUSE);
	ck_assert(reaches(unix_address));
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
	struct io_listener *other;
	struct stat st;
	int fd = open(socket_path, O_CREAT | O_WRONLY, 0600);

	ck_assert_int_eq(write(fd, "precious", 8), 8);
	close(fd);
	ck_assert_int_eq(try_listen(unix_address, &other), -EADDRINUSE);
	ck_assert_int_eq(stat(socket_path, &st), 0);
	ck_assert_int_eq(st.st_size, 8);
}
END_TEST

/* Another process has taken our path over: its file is not ours to remove. */
START_TEST(a_successors_socket_file_is_left_alone)
{
	struct io_listener *first, *second;

	ck_assert_int_eq(try_listen(unix_address, &first), 0);
	ck_assert_int_eq(unlink(socket_path), 0);
	ck_assert_int_eq(try_listen(unix_address, &second), 0);
	net->listener_close(net, first);
	ck_assert(reaches(unix_address));
}
END_TEST

START_TEST(connections_are_limited)
{
	struct end clients[8] = {0};
	const char *bound = net_listen("127.0.0.1:0");
	unsigned closed = 0;

	io_ev_set_accept_limit(io, 5);
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++)
		net_connect(&clients[i], bound);
	run_until(loop, (closed = clients[0].closed + clients[1].closed + clients[2].closed +
				  clients[3].closed + clients[4].closed + clients[5].closed +
				  clients[6].closed + clients[7].closed) == 3);
	ck_assert_uint_eq(server_count, 5);
	end_close(&server[2]); /* makes room for one more */
	ck_assert(reaches(bound));
	ck_assert_uint_eq(server_count, 6);
}
END_TEST

static bool time_is_over;

static void end_of_time(struct io_timer *timer)
{
	(void)timer;
	time_is_over = true;
}

/* Without file descriptors the listener waits, and does not turn the loop over and over. */
START_TEST(no_descriptors_means_waiting)
{
	struct io_clock *clk = io_ev_clock(io);
	struct io_timer timer = {.fire = end_of_time};
	const char *bound = net_listen("127.0.0.1:0");
	struct rlimit limit;
	int fd, next;
	unsigned begin;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	run_turns(loop, 1);
	fd = raw_connect(bound);
	next = dup(fd);
	close(next);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, limit.rlim_max}),
			 0);
	begin = ev_iteration(loop);
	clk->timer_start(clk, &timer, 250 * NS_PER_MS);
	run_until(loop, time_is_over);
	ck_assert_uint_eq(server_count, 0);
	ck_assert_uint_le(ev_iteration(loop) - begin, 30);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	run_until(loop, server_count == 1);
	close(fd);
}
END_TEST

static void close_listener_in_accepted(void *context, struct io_conn *conn)
{
	on_accepted(context, conn);
	net->listener_close(net, listener);
}

START_TEST(a_listener_may_be_closed_in_accepted)
{
	struct end a = {0}, b = {0};
	char bound[64];

	ck_assert_int_eq(
		net->listen(net, "127.0.0.1:0", close_listener_in_accepted, NULL, &listener), 0);
	snprintf(bound, sizeof bound, "%s", io_ev_listener_address(listener));
	net_connect(&a, bound);
	net_connect(&b, bound);
	run_until(loop, server_count == 1 && (a.closed || b.closed));
	ck_assert_uint_eq(server_count, 1);
}
END_TEST

START_TEST(freeing_closes_everything_without_callbacks)
{
	struct end clients[3] = {0};
	const char *bound = net_listen("127.0.0.1:0");

	net_listen(unix_address);
	for (unsigned i = 0; i < 3; i++)
		net_connect(&clients[i], i == 2 ? "nonsense" : bound);
	for (unsigned i = 0; i < 50; i++)
		send_id(clients[0].conn, ALL_SHAPES + i);
	if (_i)
		run_until(loop, server_count == 2 && clients[0].opened);
	for (unsigned i = 0; i < 3; i++)
		send_id(clients[0].conn, 0);
	io_ev_free(io);
	run_turns(loop, 3);
	ck_assert_uint_eq(buf_in_use(), 0);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(clients[i].closed, 0);
	io = io_ev_new(loop);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("listener");
	TCase *tcase = tcase_create("listener");

	tcase_set_timeout(tcase, HANG_S);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, port_0_becomes_a_port, 0, 3);
	tcase_add_test(tcase, an_address_is_used_once);
	tcase_add_test(tcase, an_address_is_free_again_at_once);
	tcase_add_test(tcase, bad_addresses_are_refused);
	tcase_add_test(tcase, a_unix_socket_comes_and_goes);
	tcase_add_test(tcase, a_stale_socket_file_is_replaced);
	tcase_add_test(tcase, a_live_socket_is_left_alone);
	tcase_add_test(tcase, a_file_that_is_no_socket_is_left_alone);
	tcase_add_test(tcase, a_successors_socket_file_is_left_alone);
	tcase_add_test(tcase, connections_are_limited);
	tcase_add_test(tcase, no_descriptors_means_waiting);
	tcase_add_test(tcase, a_listener_may_be_closed_in_accepted);
	tcase_add_loop_test(tcase, freeing_closes_everything_without_callbacks, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
