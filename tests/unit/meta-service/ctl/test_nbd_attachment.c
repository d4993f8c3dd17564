/* test_nbd_attachment.c - state and lock of an attachment; orphans; the handshake and the connections of a real nbdkit. */
#include "meta-service/ctl/attach_nbdkit.h"
#include "meta-service/ctl/netlink.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/copyhold-runtime-XXXXXX";

static void setup(void)
{
	strcpy(folder + sizeof folder - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	setenv("COPYHOLD_RUNTIME", folder, 1);
}

static void teardown(void)
{
	char path[100];

	nbd_attachment_remove("data");
	snprintf(path, sizeof path, "%s/nbd", folder);
	rmdir(path);
	rmdir(folder);
}

static struct nbd_attachment *sample(void)
{
	struct nbd_attachment *a = xcalloc(1, sizeof *a);

	*a = (struct nbd_attachment){
		.volume = xstrdup("data"),
		.uuid = xstrdup("u-u-i-d"),
		.meta = xstrdup("h:1,h:2"),
		.plugin = xstrdup("/p/plugin.so"),
		.swap = true,
		.serving = true,
		.connections = 4,
		.dead_connection_timeout_s = 300,
		.index = NETLINK_ANY_DEVICE,
		.size_bytes = UINT64_C(1) << 40,
		.since_s = 1234567890,
		.supervisor = {.pid = 12, .start_ticks = UINT64_C(1) << 40},
		.nbdkit = {.pid = 13, .start_ticks = 99},
		.nbdkit_number = 7,
		.restarts = 3,
	};
	return a;
}

START_TEST(state_is_read_as_it_was_written)
{
	struct nbd_attachment *a = sample(), *b;
	int lock;

	ck_assert_int_eq(nbd_attachment_load("data", &b), -ENOENT);
	ck_assert_int_eq(nbd_attachment_lock("data", 0, &lock), 0);
	ck_assert_int_eq(nbd_attachment_save(a), 0);
	ck_assert_int_eq(nbd_attachment_load("data", &b), 0);
	ck_assert_str_eq(b->volume, a->volume);
	ck_assert_str_eq(b->uuid, a->uuid);
	ck_assert_str_eq(b->meta, a->meta);
	ck_assert_str_eq(b->plugin, a->plugin);
	ck_assert(!b->read_only && !b->shared && b->swap && b->serving);
	ck_assert_uint_eq(b->connections, 4);
	ck_assert_uint_eq(b->dead_connection_timeout_s, 300);
	ck_assert_uint_eq(b->index, NETLINK_ANY_DEVICE);
	ck_assert_uint_eq(b->size_bytes, a->size_bytes);
	ck_assert_int_eq(b->since_s, a->since_s);
	ck_assert_int_eq(b->supervisor.pid, 12);
	ck_assert_uint_eq(b->supervisor.start_ticks, UINT64_C(1) << 40);
	ck_assert_int_eq(b->nbdkit.pid, 13);
	ck_assert_uint_eq(b->nbdkit_number, 7);
	ck_assert_uint_eq(b->restarts, 3);
	nbd_attachment_free(a);
	nbd_attachment_free(b);
	close(lock);
}
END_TEST

START_TEST(what_serves_swap_space_does_not_log_to_memory)
{
	struct nbd_attachment *a = sample();
	char path[NBD_ATTACHMENT_PATH_BYTES], expected[NBD_ATTACHMENT_PATH_BYTES];

	ck_assert_int_eq(nbd_attachment_log(a, path), 0);
	ck_assert_str_eq(path, "/dev/kmsg");
	a->swap = false;
	ck_assert_int_eq(nbd_attachment_log(a, path), 0);
	snprintf(expected, sizeof expected, "%s/nbd/data/log", folder);
	ck_assert_str_eq(path, expected);
	nbd_attachment_free(a);
}
END_TEST

START_TEST(nonsense_is_no_state)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	struct nbd_attachment *a;
	FILE *file;
	int lock;

	ck_assert_int_eq(nbd_attachment_lock("data", 0, &lock), 0);
	ck_assert_int_eq(nbd_attachment_path("data", "attachment.json", path), 0);
	file = fopen(path, "w");
	fputs("{\"volume\": 3", file);
	fclose(file);
	ck_assert_int_eq(nbd_attachment_load("data", &a), -EPROTO);
	ck_assert_int_eq(nbd_attachment_path("../x", NULL, path), -EINVAL);
	ck_assert_int_eq(nbd_attachment_path(".", NULL, path), -EINVAL);
	ck_assert_int_eq(nbd_attachment_path("", NULL, path), -EINVAL);
	close(lock);
}
END_TEST

START_TEST(the_lock_lives_on_in_a_child)
{
	int lock, other, ready[2];
	char byte;
	pid_t child;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(nbd_attachment_lock("data", 0, &lock), 0);
	child = fork();
	if (child == 0) {
		close(ready[1]);
		(void)!read(ready[0], &byte, 1); /* until the parent says so */
		_exit(0);
	}
	close(lock);
	ck_assert(nbd_attachment_is_locked("data"));
	ck_assert_int_eq(nbd_attachment_lock("data", 50, &other), -EBUSY);
	close(ready[1]);
	waitpid(child, NULL, 0);
	close(ready[0]);
	ck_assert(!nbd_attachment_is_locked("data"));
	ck_assert_int_eq(nbd_attachment_lock("data", 0, &other), 0);
	/* Removed by its holder: who comes next has a new one. */
	nbd_attachment_remove("data");
	ck_assert_int_eq(nbd_attachment_lock("data", 0, &lock), 0);
	close(other);
	close(lock);
}
END_TEST

START_TEST(a_device_finds_its_attachment)
{
	struct nbd_attachment *a = sample(), *b;
	int lock;

	a->index = 5;
	ck_assert_int_eq(nbd_attachment_lock("data", 0, &lock), 0);
	ck_assert_int_eq(nbd_attachment_save(a), 0);
	ck_assert_int_eq(nbd_attachment_find_device(4, &b), -ENOENT);
	ck_assert_int_eq(nbd_attachment_find_device(5, &b), 0);
	ck_assert_str_eq(b->volume, "data");
	nbd_attachment_free(a);
	nbd_attachment_free(b);
	close(lock);
}
END_TEST

/* ---- with a real nbdkit: PATH leads to one that serves memory, whatever its arguments about volumes are ---- */

static const char wrapper[] = "#!/bin/sh\n"
			      "for word in \"$@\"; do\n"
			      "shift\n"
			      "case $word in meta=*|volume=*|force=*) ;;\n"
			      "stock) set -- \"$@\" memory 1M ;;\n"
			      "*) set -- \"$@\" \"$word\" ;; esac; done\n"
			      "PATH=${PATH#*:}\n"
			      "exec nbdkit \"$@\"\n";

static void use_wrapper(const char *dir)
{
	char path[8192];
	FILE *file;

	snprintf(path, sizeof path, "%s/nbdkit", dir);
	file = fopen(path, "w");
	fputs(wrapper, file);
	fclose(file);
	chmod(path, 0755);
	snprintf(path, sizeof path, "%s:%s", dir, getenv("PATH"));
	setenv("PATH", path, 1);
}

static bool never(void *context)
{
	(void)context;
	return false;
}

START_TEST(connections_are_opened_counted_and_drained)
{
	char dir[NBD_ATTACHMENT_PATH_BYTES], error[HANDSHAKE_ERROR_BYTES], byte;
	struct nbd_attachment *a = sample();
	struct handshake_export export_;
	uint64_t size_bytes;
	int sockets[4], lock;

	ck_assert_int_eq(nbd_attachment_lock("data", 0, &lock), 0);
	ck_assert_int_eq(nbd_attachment_path("data", NULL, dir), 0);
	use_wrapper(dir);
	free(a->plugin);
	a->plugin = xstrdup("stock");
	a->swap = false;
	ck_assert_int_eq(nbdkit_start(a, false), 0);
	ck_assert_int_eq(nbdkit_open(a, 4, never, NULL, sockets, &export_, error), 0);
	ck_assert_uint_eq(export_.size_bytes, 1 << 20);
	ck_assert(export_.server_flags & NBD_SERVER_MULTI_CONN);
	ck_assert(!(export_.server_flags & NBD_SERVER_READ_ONLY));
	ck_assert_int_eq(nbdkit_ask_size(a, never, NULL, &size_bytes), 0);
	ck_assert_uint_eq(size_bytes, 1 << 20);
	ck_assert_uint_ge(nbdkit_count_connections(a), 4); /* the one that asked may linger */
	close(sockets[0]);
	ck_assert_int_eq(nbdkit_drain(a, 10000), 0);
	ck_assert_uint_eq(nbdkit_count_connections(a), 0);
	ck_assert(process_is_alive(&a->nbdkit));
	ck_assert_int_eq((int)read(sockets[1], &byte, 1), 0); /* cut, without an answer */
	ck_assert_int_eq(process_stop(&a->nbdkit, 10000), 0);
	for (int i = 1; i < 4; i++)
		close(sockets[i]);
	nbd_attachment_free(a);
	close(lock);
}
END_TEST

START_TEST(a_server_that_ends_is_noticed)
{
	char dir[NBD_ATTACHMENT_PATH_BYTES], error[HANDSHAKE_ERROR_BYTES];
	struct nbd_attachment *a = sample();
	struct handshake_export export_;
	int sockets[1], lock;

	ck_assert_int_eq(nbd_attachment_lock("data", 0, &lock), 0);
	ck_assert_int_eq(nbd_attachment_path("data", NULL, dir), 0);
	use_wrapper(dir);
	free(a->plugin);
	a->plugin = xstrdup("/nonexistent/plugin.so");
	a->swap = false;
	ck_assert_int_eq(nbdkit_start(a, false), 0);
	ck_assert_int_eq(nbdkit_open(a, 1, never, NULL, sockets, &export_, error), -ESRCH);
	nbdkit_last_words(a, 0, error, sizeof error);
	ck_assert_ptr_nonnull(strstr(error, "/nonexistent/plugin.so"));
	nbd_attachment_free(a);
	close(lock);
}
END_TEST

/* The orphan lives on when the process that started it is gone, though nbdkit asks to die with its parent. */
START_TEST(an_orphan_outlives_its_starter)
{
	char log[100];
	char *argv[] = {(char *)(uintptr_t) "nbdkit", (char *)(uintptr_t) "-f",
			(char *)(uintptr_t) "-U",     log,
			(char *)(uintptr_t) "null",   NULL};
	char output[120];
	struct process orphan;
	int ends[2];
	struct stat status;

	snprintf(log, sizeof log, "%s/sock", folder);
	snprintf(output, sizeof output, "%s/out", folder);
	ck_assert_int_eq(pipe(ends), 0);
	if (fork() == 0) {
		if (process_start_orphan(argv, output, &orphan) != 0)
			_exit(1);
		while (stat(log, &status) != 0) /* it has come past its beginning */
			usleep(1000);
		(void)!write(ends[1], &orphan, sizeof orphan);
		_exit(0);
	}
	ck_assert_int_eq((int)read(ends[0], &orphan, sizeof orphan), (int)sizeof orphan);
	wait(NULL);
	ck_assert_int_eq(process_wait_end(&orphan, 200), -ETIMEDOUT);
	process_stop(&orphan, 10000);
	unlink(log);
	unlink(output);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nbd_attachment");
	TCase *tests = tcase_create("all");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, state_is_read_as_it_was_written);
	tcase_add_test(tests, what_serves_swap_space_does_not_log_to_memory);
	tcase_add_test(tests, nonsense_is_no_state);
	tcase_add_test(tests, the_lock_lives_on_in_a_child);
	tcase_add_test(tests, a_device_finds_its_attachment);
	tcase_add_test(tests, connections_are_opened_counted_and_drained);
	tcase_add_test(tests, a_server_that_ends_is_noticed);
	tcase_add_test(tests, an_orphan_outlives_its_starter);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
