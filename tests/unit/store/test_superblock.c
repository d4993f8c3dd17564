/*
 * test_superblock.c - the two copies of the superblock: whatever a registration that was cut short or damage leaves, an opening for
 * writing makes them the same again, durably, and fsck tells damage from what a crash leaves.
 */
#include "common/trace/trace.h"
#include "replica-engine/store/store_internal.h"
#include "tests/lib/store_driver.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>

#define DISK_BYTES (8 * MIB)
#define CID        17u

enum harm {
	HARM_OLDER,
	HARM_CHECKSUM, /* a bit has changed */
	HARM_ZEROS,    /* no superblock at all */
	HARM_UNREADABLE,
	HARM_COUNT,
};

static const uint64_t copy_offset[2] = {0, DISK_BYTES - PAGE_BYTES};

static struct mem_disk *disk;
static struct disk_superblock formatted;
static char last[256];

static void registered(void *context, int status)
{
	*(int *)context = status;
}

static void begin_registration(struct store *store, int *status)
{
	*status = 1;
	store_set_identity(store, uuid_from_random(3, 4), CID, registered, status);
}

/* Formatted, and registered if asked for. */
static void make(bool with_identity)
{
	struct opened o;
	int status = 0;

	disk = mem_disk_new(DISK_BYTES, 5);
	ck_assert_int_eq(driver_format(disk, MIB), 0);
	mem_disk_peek(disk, 0, &formatted, sizeof formatted);
	o = driver_open(disk);
	ck_assert_int_eq(o.status, 0);
	if (with_identity)
		begin_registration(o.store, &status);
	mem_disk_run(disk);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(driver_close(disk, o.store), 0);
}

static void setup(void)
{
	make(true);
}

static void teardown(void)
{
	mem_disk_free(disk);
	ck_assert_uint_eq(buf_in_use(), 0);
}

static bool copies_are_equal(const struct mem_disk *m)
{
	struct disk_superblock copy[2];

	for (unsigned i = 0; i < 2; i++)
		mem_disk_peek(m, copy_offset[i], &copy[i], sizeof copy[i]);
	return !memcmp(&copy[0], &copy[1], sizeof copy[0]) && copy[0].magic == SUPERBLOCK_MAGIC;
}

static void harm(unsigned copy, enum harm how)
{
	static const struct disk_superblock zeros;

	switch (how) {
	case HARM_OLDER:
		mem_disk_poke(disk, copy_offset[copy], &formatted, sizeof formatted);
		break;
	case HARM_CHECKSUM:
		mem_disk_flip(disk, copy_offset[copy] + offsetof(struct disk_superblock, cid), 2);
		break;
	case HARM_ZEROS:
		mem_disk_poke(disk, copy_offset[copy], &zeros, sizeof zeros);
		break;
	case HARM_UNREADABLE:
		mem_disk_poke(disk, copy_offset[copy], &zeros, sizeof zeros);
		mem_disk_fail_reads(disk, copy_offset[copy], PAGE_BYTES);
		break;
	default:
		ck_abort();
	}
}

static void expect_identity(struct mem_disk *m, uint32_t cid)
{
	struct opened o = driver_open(m);

	ck_assert_msg(o.status == 0, "%s", o.why);
	ck_assert_uint_eq(store_identity(o.store).cid, cid);
	store_free(o.store);
}

/* Loop: copy, harm. */
START_TEST(test_is_written_again)
{
	unsigned copy = (unsigned)_i % 2;
	enum harm how = (enum harm)(_i / 2);
	struct opened o;
	uint64_t writes;

	o = driver_open(disk);
	writes = store_counters(o.store).device_writes;
	ck_assert_int_eq(driver_close(disk, o.store), 0);

	harm(copy, how);
	o = driver_open_read_only(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	store_free(o.store);
	ck_assert(!copies_are_equal(disk));

	o = driver_open(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	ck_assert(copies_are_equal(disk));
	ck_assert_uint_eq(store_counters(o.store).device_writes, writes + 1);
	ck_assert_uint_eq(store_identity(o.store).cid, CID);
	store_free(o.store);

	/* Now the other one may go. */
	mem_disk_fail_reads(disk, 0, 0);
	harm(!copy, HARM_CHECKSUM);
	expect_identity(disk, CID);
}
END_TEST

/* Loop: copy, harm. Wherever the power is cut, what counts is there; once the opening has ended, twice. */
START_TEST(test_power_cut_while_opening)
{
	unsigned copy = (unsigned)_i % 2;
	struct mem_cutter *cutter;
	uint64_t events;

	harm(copy, (enum harm)(_i / 2));
	mem_disk_record(disk);
	expect_identity(disk, CID);
	events = mem_disk_events(disk);
	ck_assert_uint_gt(events, 2);
	cutter = mem_cutter_new(disk);
	for (uint64_t at = 0; at <= events; at++) {
		mem_cutter_move(cutter, at);
		for (unsigned n = 0; n < 8; n++) {
			struct mem_disk *cut = mem_cutter_cut(cutter, (enum mem_cut)(n % 4), n);

			if (at == events)
				ck_assert(copies_are_equal(cut));
			expect_identity(cut, CID);
			ck_assert(copies_are_equal(cut));
			mem_disk_free(cut);
		}
	}
	mem_cutter_free(cutter);
}
END_TEST

/* The disk is registered or it is not; no copy fails its checksum, and fsck finds nothing. */
START_TEST(test_power_cut_while_registering)
{
	struct mem_cutter *cutter;
	unsigned older = 0, without = 0, with = 0;
	struct opened o;
	int status;

	mem_disk_free(disk);
	make(false);
	o = driver_open(disk);
	mem_disk_record(disk);
	begin_registration(o.store, &status);
	mem_disk_run(disk);
	ck_assert_int_eq(status, 0);
	store_free(o.store);
	cutter = mem_cutter_new(disk);
	for (uint64_t at = 0; at <= mem_disk_events(disk); at++) {
		mem_cutter_move(cutter, at);
		for (unsigned n = 0; n < 32; n++) {
			struct mem_disk *cut = mem_cutter_cut(cutter, (enum mem_cut)(n % 4), n);
			struct store_fsck_result f = driver_fsck(cut, true, last);

			ck_assert_int_eq(f.status, 0);
			ck_assert_msg(f.problems == 0, "%s", last);
			ck_assert_int_eq(!copies_are_equal(cut), strstr(last, "older") != NULL);
			older += !copies_are_equal(cut);
			o = driver_open(cut);
			ck_assert_msg(o.status == 0, "%s", o.why);
			with += store_identity(o.store).cid == CID;
			without += store_identity(o.store).cid == 0;
			if (at == mem_disk_events(disk))
				ck_assert_uint_eq(store_identity(o.store).cid, CID);
			store_free(o.store);
			ck_assert(copies_are_equal(cut));
			mem_disk_free(cut);
		}
	}
	mem_cutter_free(cutter);
	ck_assert_uint_eq(with + without, 32 * (mem_disk_events(disk) + 1));
	ck_assert_uint_gt(older, 0);
	ck_assert_uint_gt(without, 0);
}
END_TEST

/* Loop: copy, harm. */
START_TEST(test_failing_write)
{
	unsigned copy = (unsigned)_i % 2;
	char offset[48];
	struct opened o;

	harm(copy, (enum harm)(_i / 2));
	mem_disk_fail_writes_after(disk, 1); /* the SYNC */
	o = driver_open(disk);
	ck_assert_int_eq(o.status, -EIO);
	snprintf(offset, sizeof offset, "superblock can't be written (offset %llu)",
		 (unsigned long long)copy_offset[copy]);
	ck_assert_msg(strstr(o.why, offset), "%s", o.why);
	ck_assert(!o.store);
	mem_disk_fail_writes_after(disk, UINT64_MAX);
	expect_identity(disk, CID);
	ck_assert(copies_are_equal(disk));
}
END_TEST

/* Loop: copy, harm. A copy that is older is mentioned, a damaged one is a problem; after a start there is nothing to say. */
START_TEST(test_fsck)
{
	unsigned copy = (unsigned)_i % 2;
	enum harm how = (enum harm)(_i / 2);
	struct store_fsck_result f;
	char which[32];

	harm(copy, how);
	f = driver_fsck(disk, true, last);
	ck_assert_int_eq(f.status, 0);
	ck_assert_uint_eq(f.problems, how != HARM_OLDER);
	snprintf(which, sizeof which, "superblock %u (offset %llu)", copy,
		 (unsigned long long)copy_offset[copy]);
	ck_assert_msg(strstr(last, which), "%s", last);
	ck_assert_int_eq(!strncmp(last, "note: ", 6), how == HARM_OLDER);
	expect_identity(disk, CID);
	mem_disk_fail_reads(disk, 0, 0);
	f = driver_fsck(disk, true, last);
	ck_assert_uint_eq(f.problems, 0);
	ck_assert_str_eq(last, "");
}
END_TEST

static void hush(void *context, enum trace_level level, const char *module, const char *text)
{
	(void)context, (void)level, (void)module, (void)text;
}

/* A disk that is refused stays as it is. */
START_TEST(test_refused_disk_is_left_alone)
{
	struct opened o;

	for (uint64_t at = formatted.checkpoint_offset; at < formatted.journal_offset; at += 4096)
		mem_disk_flip(disk, at + 8, 1);
	harm(0, HARM_ZEROS);
	o = driver_open(disk);
	ck_assert_int_eq(o.status, -EUCLEAN);
	ck_assert(!copies_are_equal(disk));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("superblock");
	TCase *t = tcase_create("superblock");

	trace_set_sink(hush, NULL);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_is_written_again, 0, 2 * HARM_COUNT);
	tcase_add_loop_test(t, test_power_cut_while_opening, 0, 2 * HARM_COUNT);
	tcase_add_test(t, test_power_cut_while_registering);
	tcase_add_loop_test(t, test_failing_write, 0, 2 * HARM_COUNT);
	tcase_add_loop_test(t, test_fsck, 0, 2 * HARM_COUNT);
	tcase_add_test(t, test_refused_disk_is_left_alone);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
