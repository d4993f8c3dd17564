/* test_tools.c - fsck and inspect: what is whole is called whole, and each kind of damage is found and named. */
#include "tests/lib/store_driver.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>

#define DISK_BYTES (16 * MIB)
#define AT(g)      ((struct version){1, (g)})

static struct mem_disk *disk;
static char last[256];

static void setup(void)
{
	struct opened o;

	disk = mem_disk_new(DISK_BYTES, 5);
	ck_assert_int_eq(driver_format(disk, MIB), 0);
	o = driver_open(disk);
	do_create(disk, o.store, 3, 4 * MIB);
	for (uint32_t i = 0; i < 100; i++)
		do_write(disk, o.store, 3, i * 7 % 900, 1 + i % 40, AT(i + 1), i + 1);
	do_clone(disk, o.store, 4, 3, 2);
	do_write(disk, o.store, 4, 5, 1, AT(200), 1000);
	do_zero(disk, o.store, 3, 100, 300, AT(201));
	do_create(disk, o.store, 5, 4 * MIB);
	do_delete(disk, o.store, 5, 9);
	ck_assert_int_eq(driver_close(disk, o.store), 0);
}

static void teardown(void)
{
	mem_disk_free(disk);
	ck_assert_uint_eq(buf_in_use(), 0);
}

/* Where a block with this content is. */
static uint64_t find_block(uint64_t chunk, uint32_t block, uint32_t tag)
{
	uint8_t expected[BLOCK_BYTES], found[BLOCK_BYTES];

	fill_block(expected, chunk, block, tag);
	for (uint64_t at = DISK_BYTES - 2 * BLOCK_BYTES; at > 5 * MIB / 4; at -= BLOCK_BYTES) {
		mem_disk_peek(disk, at, found, BLOCK_BYTES);
		if (!memcmp(expected, found, BLOCK_BYTES))
			return at;
	}
	ck_abort_msg("the block isn't on the disk");
	return 0;
}

START_TEST(test_whole_disk)
{
	struct store_fsck_result f = driver_fsck(disk, true, last);

	ck_assert_int_eq(f.status, 0);
	ck_assert_msg(f.problems == 0, "%s", last);
	ck_assert_uint_eq(f.chunks, 2);
	ck_assert_uint_eq(f.units, 128);
	ck_assert_uint_gt(f.used_bytes, 0);
}
END_TEST

START_TEST(test_bad_block)
{
	struct store_fsck_result f;

	mem_disk_flip(disk, find_block(3, 5, 1000), 1);
	f = driver_fsck(disk, true, last);
	ck_assert_uint_eq(f.problems, 1);
	ck_assert_uint_eq(f.bad_blocks, 1);
	ck_assert_ptr_nonnull(strstr(last, "chunk 4 at 20480"));
	ck_assert_uint_eq(driver_fsck(disk, false, last).problems, 0);
}
END_TEST

START_TEST(test_superblock_copy)
{
	mem_disk_flip(disk, _i ? DISK_BYTES - 4096 + 70 : 70, 1);
	ck_assert_uint_eq(driver_fsck(disk, false, last).problems, 1);
	ck_assert_ptr_nonnull(strstr(last, _i ? "superblock 1" : "superblock 0"));
}
END_TEST

START_TEST(test_metadata_page)
{
	struct store_fsck_result f;
	uint32_t magic, damaged = 0;

	/* Whichever page it is: it is either not in use, or the disk is refused with the offset. */
	for (uint64_t at = 5 * MIB / 4; at < 2 * MIB; at += 4096) {
		mem_disk_peek(disk, at, &magic, sizeof magic);
		if (magic != 0x45474150)
			continue;
		mem_disk_flip(disk, at + 1000, 16);
		f = driver_fsck(disk, false, last);
		if (f.problems) {
			char offset[40];

			snprintf(offset, sizeof offset, "offset %llu", (unsigned long long)at);
			ck_assert_int_eq(f.status, -EUCLEAN);
			ck_assert_ptr_nonnull(strstr(last, offset));
			damaged++;
		}
		mem_disk_flip(disk, at + 1000, 16);
	}
	ck_assert_uint_ge(damaged, 5); /* root, two chunks, their units */
}
END_TEST

static unsigned lines;
static char all[65536];

static void line(void *context, const char *text)
{
	(void)context;
	lines++;
	ck_assert_uint_lt(strlen(all) + strlen(text) + 2, sizeof all);
	strcat(all, text);
	strcat(all, "\n");
}

static void inspected(void *context, int status)
{
	*(int *)context = status;
}

START_TEST(test_inspect)
{
	int status = 1;

	store_inspect(mem_disk_io(disk), 4, line, inspected, &status);
	ck_assert_int_eq(status, 1);
	mem_disk_run(disk);
	ck_assert_int_eq(status, 0);
	ck_assert_ptr_nonnull(strstr(all, "superblock 0: valid"));
	ck_assert_ptr_nonnull(strstr(all, "clean"));
	ck_assert_ptr_nonnull(strstr(all, "journal: 0 batches"));
	ck_assert_ptr_nonnull(strstr(all, "chunk 4: root 3"));
	ck_assert_ptr_nonnull(strstr(all, "chunk 5: deleted, commit 9"));
	ck_assert_ptr_nonnull(strstr(all, "unit 0: version 1.200"));
}
END_TEST

START_TEST(test_inspect_rubbish)
{
	struct mem_disk *rubbish = mem_disk_new(_i ? 8 * MIB : 4096, 1);
	int status = 1;

	store_inspect(mem_disk_io(rubbish), 0, line, inspected, &status);
	mem_disk_run(rubbish);
	ck_assert_int_eq(status, -EINVAL);
	ck_assert_ptr_nonnull(strstr(all, "no Copyhold disk"));
	ck_assert_int_eq(driver_fsck(rubbish, true, last).status, -EINVAL);
	mem_disk_free(rubbish);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store tools");
	TCase *t = tcase_create("tools");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_whole_disk);
	tcase_add_test(t, test_bad_block);
	tcase_add_loop_test(t, test_superblock_copy, 0, 2);
	tcase_add_test(t, test_metadata_page);
	tcase_add_test(t, test_inspect);
	tcase_add_loop_test(t, test_inspect_rubbish, 0, 2);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
