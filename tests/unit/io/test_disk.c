/* test_disk.c - the real disk: a file, through io_uring, in all the ways that requests end. */
#include "disk_test.h"
#include "tests/lib/suite.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static void setup(void)
{
	disk_setup();
	open_disk(path, false, false);
}

static void reopen(bool power_loss_protected, bool read_only)
{
	io_uring_disk_close(disk);
	open_disk(path, power_loss_protected, read_only);
}

START_TEST(the_disk_knows_its_sizes)
{
	ck_assert_uint_eq(disk->size_bytes, DISK_BYTES);
	ck_assert(disk->block_bytes == 512 || disk->block_bytes == 4096);
	ck_assert(!disk->power_loss_protected);
}
END_TEST

START_TEST(what_was_written_is_read)
{
	static const unsigned pieces[] = {1, 3, IOVS_MAX};
	static const unsigned flags[] = {0, IO_DISK_DURABLE};
	uint8_t *back = data + DISK_BYTES;
	uint64_t bytes = 256 * KIB, offset = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(pieces); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(flags); j++, offset += bytes) {
			ck_assert_int_eq(run(IO_DISK_WRITE, flags[j], offset, bytes, data + offset,
					     pieces[i]),
					 0);
			ck_assert_int_eq(
				run(IO_DISK_READ, 0, offset, bytes, back + offset, pieces[2 - i]),
				0);
		}
	}
	ck_assert(memcmp(data, back, offset) == 0);
	ck_assert_int_eq(run(IO_DISK_SYNC, 0, 0, 0, NULL, 1), 0);
	reopen(false, true);
	memset(back, 0, offset);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, offset, back, 1), 0);
	ck_assert(memcmp(data, back, offset) == 0);
}
END_TEST

START_TEST(a_new_file_is_all_zeros)
{
	uint8_t *back = data + DISK_BYTES;

	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, DISK_BYTES, back, 4), 0);
	ck_assert(back[0] == 0 && memcmp(back, back + 1, DISK_BYTES - 1) == 0);
}
END_TEST

START_TEST(the_smallest_block_can_be_written)
{
	uint8_t *back = data + DISK_BYTES;
	uint32_t bytes = disk->block_bytes;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, MIB, data, 1), 0);
	ck_assert_int_eq(run(IO_DISK_WRITE, IO_DISK_DURABLE, 3 * bytes, bytes, data + MIB, 1), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, MIB, back, 1), 0);
	memcpy(data + 3 * bytes, data + MIB, bytes);
	ck_assert(memcmp(data, back, MIB) == 0);
}
END_TEST

START_TEST(a_discarded_range_can_be_written_again)
{
	uint8_t *back = data + DISK_BYTES;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, MIB, data, 1), 0);
	ck_assert_int_eq(run(IO_DISK_DISCARD, 0, 64 * KIB, 128 * KIB, NULL, 1), 0);
	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 64 * KIB, 64 * KIB, data + MIB, 1), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, MIB, back, 1), 0);
	ck_assert(memcmp(back, data, 64 * KIB) == 0);
	ck_assert(memcmp(back + 64 * KIB, data + MIB, 64 * KIB) == 0);
	ck_assert(memcmp(back + 192 * KIB, data + 192 * KIB, MIB - 192 * KIB) == 0);
}
END_TEST

/* How a user has himself called from the loop. */
START_TEST(a_read_of_nothing_completes)
{
	struct test_request t = {.request = {.op = IO_DISK_READ, .result = 1, .done = on_done}};

	submit(&t);
	ck_assert_uint_eq(t.done, 0);
	run_until(loop, t.done);
	ck_assert_int_eq(t.request.result, 0);
}
END_TEST

START_TEST(a_discard_gives_space_back)
{
	struct stat before, after;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, 2 * MIB, data, 1), 0);
	ck_assert_int_eq(stat(path, &before), 0);
	ck_assert_int_eq(run(IO_DISK_DISCARD, 0, 0, 2 * MIB, NULL, 1), 0);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(after.st_size, before.st_size);
	ck_assert_int_le(after.st_blocks, before.st_blocks - (blkcnt_t)(2 * MIB / 512));
}
END_TEST

/* More than the ring holds, all in one turn, from done() as well. */
START_TEST(many_requests_at_once)
{
	enum {
		COUNT = 1000
	};
	static struct test_request writes[COUNT], reads[COUNT];
	uint8_t *back = data + DISK_BYTES;

	for (unsigned i = 0; i < COUNT; i++) {
		uint64_t offset = (uint64_t)i * BLOCK_BYTES;

		start(&writes[i], IO_DISK_WRITE, i % 3 ? 0 : IO_DISK_DURABLE, offset, BLOCK_BYTES,
		      data + offset, 1);
		reads[i] = (struct test_request){.request = {.op = IO_DISK_READ,
							     .offset = offset,
							     .bytes = BLOCK_BYTES,
							     .iov = reads[i].iov,
							     .iov_count = 1,
							     .done = on_done}};
		reads[i].iov[0] = (struct iovec){back + offset, BLOCK_BYTES};
		writes[i].then = &reads[i];
	}
	ck_assert_uint_eq(completions, 0);
	run_until(loop, completions == 2 * COUNT);
	run_turns(loop, 5);
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_uint_eq(writes[i].done, 1);
		ck_assert_uint_eq(reads[i].done, 1);
		ck_assert_int_eq(writes[i].request.result, 0);
		ck_assert_int_eq(reads[i].request.result, 0);
	}
	ck_assert(memcmp(data, back, COUNT * BLOCK_BYTES) == 0);
}
END_TEST

/* All kinds at once complete, each once. */
/* Many reads don't wait for the turn's end: their bytes come while the loop stands still, the completions when it turns. */
START_TEST(many_reads_begin_at_once)
{
	static struct test_request reads[8];
	volatile uint8_t *back = data + DISK_BYTES;
	time_t end = time(NULL) + 10;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, MIB, data, 1), 0);
	memset(data + DISK_BYTES, ~data[0], 1);
	ck_assert_uint_ne(back[0], data[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(reads); i++) {
		start(&reads[i], IO_DISK_READ, 0, i * BLOCK_BYTES, BLOCK_BYTES,
		      data + DISK_BYTES + i * BLOCK_BYTES, 1);
	}
	while (back[0] != data[0])
		ck_assert(time(NULL) < end);
	for (unsigned i = 0; i < ARRAY_SIZE(reads); i++)
		ck_assert_uint_eq(reads[i].done, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(reads); i++) {
		run_until(loop, reads[i].done);
		ck_assert_int_eq(reads[i].request.result, 0);
	}
	ck_assert(memcmp(data, data + DISK_BYTES, ARRAY_SIZE(reads) * BLOCK_BYTES) == 0);
}
END_TEST

START_TEST(a_mix_of_requests)
{
	enum {
		COUNT = 400
	};
	static struct test_request requests[COUNT];
	struct prng prng = {7};

	for (unsigned i = 0; i < COUNT; i++) {
		enum io_disk_op op = (enum io_disk_op)prng_below(&prng, 4);
		uint64_t offset = prng_below(&prng, 512) * BLOCK_BYTES;
		uint64_t bytes = (1 + prng_below(&prng, 16)) * BLOCK_BYTES;

		start(&requests[i], op, op == IO_DISK_WRITE ? i % 2 : 0, offset, bytes,
		      data + (op == IO_DISK_READ ? DISK_BYTES : 0), 1);
		if (i % 50 == 0)
			run_turns(loop, 1);
	}
	run_until(loop, completions == COUNT);
	run_turns(loop, 5);
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_uint_eq(requests[i].done, 1);
		ck_assert_int_eq(requests[i].request.result, 0);
	}
}
END_TEST

/* LAZY ones are handed over when the loop is about to sleep, and complete though nothing else wakes it; together with others, too. */
START_TEST(lazy_requests_complete_on_their_own)
{
	enum {
		COUNT = 300
	};
	static struct test_request t[COUNT];
	uint8_t *back = data + DISK_BYTES;

	for (unsigned i = 0; i < COUNT; i++) {
		uint64_t offset = (uint64_t)i * BLOCK_BYTES;

		start(&t[i], IO_DISK_WRITE, i % 10 ? IO_DISK_LAZY : 0, offset, BLOCK_BYTES,
		      data + offset, 1);
	}
	run_until(loop, completions == COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_uint_eq(t[i].done, 1);
		ck_assert_int_eq(t[i].request.result, 0);
	}
	ck_assert_int_eq(run(IO_DISK_READ, IO_DISK_LAZY, 0, COUNT * BLOCK_BYTES, back, 3), 0);
	ck_assert(memcmp(data, back, COUNT * BLOCK_BYTES) == 0);
}
END_TEST

/* Starts a durable write that is alone, and says whether it was done before the loop has looked for completions: in place. */
static bool lone_write(struct test_request *t, uint64_t offset, uint64_t bytes, uint8_t *from)
{
	start(t, IO_DISK_WRITE, IO_DISK_DURABLE, offset, bytes, from, 2);
	ck_assert_uint_eq(t->done, 0);
	ev_invoke_pending(loop);
	return t->done;
}

static void eight_lone_writes(void)
{
	struct test_request t;

	for (unsigned i = 0; i < 8; i++) {
		ck_assert(!lone_write(&t, 0, 2 * BLOCK_BYTES, data));
		run_until(loop, t.done);
	}
}

START_TEST(a_durable_write_behind_lone_ones_is_done_in_place)
{
	uint8_t *back = data + DISK_BYTES;
	struct test_request t;

	eight_lone_writes();
	ck_assert(lone_write(&t, 0, 2 * BLOCK_BYTES, data + MIB));
	ck_assert_uint_eq(t.done, 1);
	ck_assert_int_eq(t.request.result, 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, 2 * BLOCK_BYTES, back, 1), 0);
	ck_assert(memcmp(data + MIB, back, 2 * BLOCK_BYTES) == 0);
	/* A read came between: it begins anew. A large one isn't, either. */
	eight_lone_writes();
	ck_assert(!lone_write(&t, 0, 32 * BLOCK_BYTES, data));
	run_until(loop, t.done);
}
END_TEST

/* The first block fits under the limit: the rest goes through the ring, and is what fails. */
START_TEST(a_short_write_in_place_goes_on)
{
	struct rlimit limit = {2 * MIB, 2 * MIB};
	uint8_t *back = data + DISK_BYTES;
	struct test_request t;

	eight_lone_writes();
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert(!lone_write(&t, 2 * MIB - BLOCK_BYTES, 2 * BLOCK_BYTES, data + MIB));
	run_until(loop, t.done);
	ck_assert_int_eq(t.request.result, -EFBIG);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 2 * MIB - BLOCK_BYTES, BLOCK_BYTES, back, 1), 0);
	ck_assert(memcmp(data + MIB, back, BLOCK_BYTES) == 0);
}
END_TEST

START_TEST(out_of_range_is_refused)
{
	ck_assert_int_eq(run(IO_DISK_READ, 0, DISK_BYTES, BLOCK_BYTES, data, 1), -EINVAL);
	ck_assert_int_eq(run(IO_DISK_WRITE, 0, DISK_BYTES - BLOCK_BYTES, 2 * BLOCK_BYTES, data, 2),
			 -EINVAL);
	ck_assert_int_eq(
		run(IO_DISK_DISCARD, 0, ROUND_DOWN(UINT64_MAX, BLOCK_BYTES), BLOCK_BYTES, NULL, 1),
		-EINVAL);
	ck_assert_int_eq(run(IO_DISK_WRITE, 0, DISK_BYTES - BLOCK_BYTES, BLOCK_BYTES, data, 1), 0);
}
END_TEST

/* The file was cut off behind our back: what is gone is an error, and never old bytes. */
START_TEST(a_file_shorter_than_told_is_an_io_error)
{
	uint8_t *back = data + DISK_BYTES;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, DISK_BYTES, data, 1), 0);
	ck_assert_int_eq(truncate(path, 3 * BLOCK_BYTES), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, 3 * BLOCK_BYTES, back, 1), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 3 * BLOCK_BYTES, BLOCK_BYTES, back, 1), -EIO);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, 8 * BLOCK_BYTES, back, 8), -EIO);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, 8 * BLOCK_BYTES, back, 1), -EIO);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, 8 * BLOCK_BYTES, back, 2), -EIO);
	/* Not a whole block left. */
	ck_assert_int_eq(truncate(path, 2 * BLOCK_BYTES + 100), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, 3 * BLOCK_BYTES, back, 3), -EIO);
}
END_TEST

/* A limit on file sizes lets the first part of a write through: the rest is tried, and its error told. */
START_TEST(a_short_write_goes_on)
{
	struct rlimit limit = {2 * MIB, 2 * MIB};
	uint8_t *back = data + DISK_BYTES;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(run(IO_DISK_WRITE, 0, MIB + MIB / 2, MIB, data, 4), -EFBIG);
	ck_assert_int_eq(run(IO_DISK_READ, 0, MIB + MIB / 2, MIB / 2, back, 1), 0);
	ck_assert(memcmp(data, back, MIB / 2) == 0);
}
END_TEST

START_TEST(a_read_only_disk_takes_no_writes)
{
	reopen(false, true);
	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, BLOCK_BYTES, data, 1), -EBADF);
	ck_assert_int_lt(run(IO_DISK_DISCARD, 0, 0, BLOCK_BYTES, NULL, 1), 0);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, BLOCK_BYTES, data, 1), 0);
}
END_TEST

/* Only a block device can be taken at its operator's word: a file's blocks must be recorded, too. */
START_TEST(power_loss_protection_is_for_devices)
{
	reopen(true, false);
	ck_assert(!disk->power_loss_protected);
	ck_assert_int_eq(run(IO_DISK_WRITE, IO_DISK_DURABLE, 0, BLOCK_BYTES, data, 1), 0);
	ck_assert_int_eq(run(IO_DISK_SYNC, 0, 0, 0, NULL, 1), 0);
}
END_TEST

/* ---- opening ---- */

START_TEST(a_disk_is_opened_once)
{
	char why[IO_URING_WHY_BYTES], pid[32];

	snprintf(pid, sizeof pid, "process %d", (int)getpid());
	ck_assert_int_eq(try_open(path, false, why), -EBUSY);
	ck_assert_msg(strstr(why, path) && strstr(why, pid), "%s", why);
	ck_assert_int_eq(try_open(path, true, why), -EBUSY);
	ck_assert_int_eq(io_uring_disk_write_zeros(path, 0, MIB, NULL, NULL, why), -EBUSY);
	reopen(false, true);
	ck_assert_int_eq(try_open(path, true, why), 0); /* readers share */
	ck_assert_int_eq(try_open(path, false, why), -EBUSY);
}
END_TEST

START_TEST(what_is_no_disk_is_refused)
{
	char why[IO_URING_WHY_BYTES];

	ck_assert_int_eq(try_open("no-such-file", false, why), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why, "no-such-file"));
	ck_assert_int_lt(try_open(".", false, why), 0);
	ck_assert_int_lt(try_open("/dev/null", false, why), 0);
}
END_TEST

/* As under a container's profile, or with too few descriptors: a reason, and nothing leaks. */
START_TEST(no_ring_is_an_error_with_a_reason)
{
	struct rlimit limit;
	char why[IO_URING_WHY_BYTES] = "";
	int fd = dup(0), last;

	io_uring_disk_close(disk);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	last = dup(0);
	close(last);
	/* Room for the file, not for the ring. */
	ck_assert_int_eq(
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)last + 1, limit.rlim_max}), 0);
	ck_assert_int_eq(try_open(path, false, why), -EMFILE);
	ck_assert_msg(strstr(why, "ulimit -n"), "%s", why);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(dup(0), last); /* the file was closed again */
	close(last);
	close(fd);
	open_disk(path, false, false);
}
END_TEST

/* ---- preparing ---- */

struct seen_progress {
	unsigned calls;
	uint64_t last_bytes, total_bytes;
};

static void on_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	struct seen_progress *seen = context;

	ck_assert(done_bytes > seen->last_bytes && done_bytes <= total_bytes);
	seen->calls++;
	seen->last_bytes = done_bytes;
	seen->total_bytes = total_bytes;
}

START_TEST(zeros_are_written_over_a_range_only)
{
	uint8_t *back = data + DISK_BYTES;
	struct seen_progress seen = {0};
	char why[IO_URING_WHY_BYTES] = "";
	uint64_t offset = 12 * KIB, bytes = 3 * MIB + 20 * KIB;

	ck_assert_int_eq(run(IO_DISK_WRITE, 0, 0, DISK_BYTES, data, 1), 0);
	io_uring_disk_close(disk);
	ck_assert_int_eq(io_uring_disk_write_zeros(path, offset, bytes, on_progress, &seen, why),
			 0);
	ck_assert_uint_eq(seen.last_bytes, bytes);
	ck_assert_uint_eq(seen.total_bytes, bytes);
	ck_assert_uint_eq(seen.calls, 4);
	open_disk(path, false, false);
	ck_assert_int_eq(run(IO_DISK_READ, 0, 0, DISK_BYTES, back, 1), 0);
	memset(data + offset, 0, bytes);
	ck_assert(memcmp(data, back, DISK_BYTES) == 0);
}
END_TEST

START_TEST(zeros_outside_the_file_are_refused)
{
	char why[IO_URING_WHY_BYTES] = "";

	io_uring_disk_close(disk);
	ck_assert_int_eq(io_uring_disk_write_zeros(path, 0, DISK_BYTES + MIB, NULL, NULL, why),
			 -EINVAL);
	ck_assert_int_eq(io_uring_disk_write_zeros(path, 100, MIB, NULL, NULL, why), -EINVAL);
	ck_assert_int_eq(
		io_uring_disk_write_zeros(path, MIB, ROUND_DOWN(UINT64_MAX, MIB), NULL, NULL, why),
		-EINVAL);
	ck_assert_int_eq(io_uring_disk_write_zeros(path, MIB, 0, NULL, NULL, why), 0);
	open_disk(path, false, false);
}
END_TEST

START_TEST(files_are_not_made_twice_nor_by_halves)
{
	char why[IO_URING_WHY_BYTES] = "", other[256];

	ck_assert_int_eq(io_uring_disk_create_file(path, MIB, why), -EEXIST);
	ck_assert_uint_eq(disk->size_bytes, DISK_BYTES);
	snprintf(other, sizeof other, "%s/missing/file", directory);
	ck_assert_int_eq(io_uring_disk_create_file(other, MIB, why), -ENOENT);
	/* Nothing is left behind, as teardown's rmdir sees: sizes that are no disk's, or too much. */
	snprintf(other, sizeof other, "%s/other", directory);
	ck_assert_int_eq(io_uring_disk_create_file(other, 1000, why), -EINVAL);
	ck_assert_int_eq(io_uring_disk_create_file(other, 0, why), -EINVAL);
	ck_assert_int_lt(io_uring_disk_create_file(other, 1024 * TIB * 1024, why), 0);
	ck_assert_ptr_nonnull(strstr(why, other));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("disk");
	TCase *tcase = tcase_create("disk");

	tcase_set_timeout(tcase, HANG_S);
	tcase_add_checked_fixture(tcase, setup, disk_teardown);
	tcase_add_test(tcase, the_disk_knows_its_sizes);
	tcase_add_test(tcase, what_was_written_is_read);
	tcase_add_test(tcase, a_new_file_is_all_zeros);
	tcase_add_test(tcase, the_smallest_block_can_be_written);
	tcase_add_test(tcase, a_discarded_range_can_be_written_again);
	tcase_add_test(tcase, a_read_of_nothing_completes);
	tcase_add_test(tcase, a_discard_gives_space_back);
	tcase_add_test(tcase, many_requests_at_once);
	tcase_add_test(tcase, many_reads_begin_at_once);
	tcase_add_test(tcase, a_mix_of_requests);
	tcase_add_test(tcase, lazy_requests_complete_on_their_own);
	tcase_add_test(tcase, a_durable_write_behind_lone_ones_is_done_in_place);
	tcase_add_test(tcase, a_short_write_in_place_goes_on);
	tcase_add_test(tcase, out_of_range_is_refused);
	tcase_add_test(tcase, a_file_shorter_than_told_is_an_io_error);
	tcase_add_test(tcase, a_short_write_goes_on);
	tcase_add_test(tcase, a_read_only_disk_takes_no_writes);
	tcase_add_test(tcase, power_loss_protection_is_for_devices);
	tcase_add_test(tcase, a_disk_is_opened_once);
	tcase_add_test(tcase, what_is_no_disk_is_refused);
	tcase_add_test(tcase, no_ring_is_an_error_with_a_reason);
	tcase_add_test(tcase, zeros_are_written_over_a_range_only);
	tcase_add_test(tcase, zeros_outside_the_file_are_refused);
	tcase_add_test(tcase, files_are_not_made_twice_nor_by_halves);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
