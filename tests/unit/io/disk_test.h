/*
 * disk_test.h - requests to a real disk, for the tests of common/io-uring. Each request counts its completions and notices
 * one that comes from inside submit.
 */
#ifndef COPYHOLD_DISK_TEST_H
#define COPYHOLD_DISK_TEST_H

#include "common/io-uring/io_uring_disk.h"
#include "io_test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define DISK_BYTES (4 * MIB)
#define IOVS_MAX   8

struct test_request {
	struct io_disk_request request;
	struct iovec iov[IOVS_MAX];
	unsigned done;
	struct test_request *then; /* submitted by done() */
};

static struct ev_loop *loop;
static struct io_disk *disk;
static char directory[128], path[192]; /* not /tmp: that may be memory, without direct IO */
static uint8_t *data; /* 2 * DISK_BYTES, aligned: random bytes, then room to read into */
static unsigned completions;
static bool inside_submit;

static inline void open_disk(const char *name, bool power_loss_protected, bool read_only)
{
	struct io_uring_disk_options options = {power_loss_protected, read_only};
	char why[IO_URING_WHY_BYTES] = "";
	int error = io_uring_disk_open(loop, name, &options, &disk, why);

	ck_assert_msg(error == 0, "%d: %s", error, why);
}

/* The reason is left in why. */
static inline int try_open(const char *name, bool read_only, char why[IO_URING_WHY_BYTES])
{
	struct io_uring_disk_options options = {.read_only = read_only};
	struct io_disk *other;
	int error = io_uring_disk_open(loop, name, &options, &other, why);

	if (!error)
		io_uring_disk_close(other);
	return error;
}

/* A loop, data, and a file of DISK_BYTES at path. */
static inline void disk_setup(void)
{
	char why[IO_URING_WHY_BYTES] = "";

	snprintf(directory, sizeof directory, "/var/tmp/copyhold-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/disk", directory);
	ck_assert_msg(io_uring_disk_create_file(path, DISK_BYTES, why) == 0, "%s", why);
	loop = ev_loop_new(EVFLAG_AUTO);
	data = aligned_alloc(BLOCK_BYTES, 2 * DISK_BYTES);
	fill_bytes(data, DISK_BYTES, 1);
	memset(data + DISK_BYTES, 0xee, DISK_BYTES);
	completions = 0;
}

static inline void disk_teardown(void)
{
	io_uring_disk_close(disk);
	ev_loop_destroy(loop);
	free(data);
	unlink(path);
	ck_assert_int_eq(rmdir(directory), 0);
}

static inline void submit(struct test_request *t)
{
	inside_submit = true;
	disk->submit(disk, &t->request);
	inside_submit = false;
}

static inline void on_done(struct io_disk_request *request)
{
	struct test_request *t = container_of(request, struct test_request, request);

	ck_assert(!inside_submit);
	t->done++;
	completions++;
	if (t->then)
		submit(t->then);
}

/* A request whose data is at `from`, cut into `pieces`. */
static inline void start(struct test_request *t, enum io_disk_op op, unsigned flags,
			 uint64_t offset, uint64_t bytes, uint8_t *from, unsigned pieces)
{
	uint64_t piece = ROUND_DOWN(bytes / pieces, BLOCK_BYTES), at = 0;

	*t = (struct test_request){.request = {.op = op,
					       .flags = flags,
					       .offset = offset,
					       .bytes = bytes,
					       .iov = t->iov,
					       .iov_count = (int)pieces,
					       .result = 12345,
					       .done = on_done}};
	for (unsigned i = 0; i < pieces; i++, at += piece)
		t->iov[i] = (struct iovec){from + at, i + 1 < pieces ? piece : bytes - at};
	submit(t);
}

static inline int run(enum io_disk_op op, unsigned flags, uint64_t offset, uint64_t bytes,
		      uint8_t *from, unsigned pieces)
{
	struct test_request t;

	start(&t, op, flags, offset, bytes, from, pieces);
	ck_assert_uint_eq(t.done, 0);
	run_until(loop, t.done);
	run_turns(loop, 2);
	ck_assert_uint_eq(t.done, 1);
	return t.request.result;
}

#endif
