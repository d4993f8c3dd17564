/* test_store.c - the store's promises one by one, over a disk in memory. */
#include "tests/lib/store_driver.h"

#include "common/base/crc.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#define DISK_BYTES  (32 * MIB)
#define JOURNAL     (1 * MIB)
#define CHUNK       UINT64_C(7)
#define CHUNK_BYTES (4 * MIB)
#define AT(g)       ((struct version){1, (g)})

static struct mem_disk *disk;
static struct store *store;

static void setup(void)
{
	disk = mem_disk_new(DISK_BYTES, 42);
	ck_assert_int_eq(driver_format(disk, JOURNAL), 0);
	struct opened o = driver_open(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	store = o.store;
}

static void teardown(void)
{
	if (store)
		ck_assert_int_eq(driver_close(disk, store), 0);
	mem_disk_free(disk);
	store = NULL;
	ck_assert_uint_eq(buf_in_use(), 0);
}

/* As after a power cut: nothing that isn't on the disk is left. */
static void crash(void)
{
	mem_disk_forget(disk);
	store_free(store);
	struct opened o = driver_open(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	store = o.store;
}

static void reopen(void)
{
	ck_assert_int_eq(driver_close(disk, store), 0);
	struct opened o = driver_open(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	store = o.store;
}

static struct store_chunk get(uint64_t chunk)
{
	struct store_chunk info;

	ck_assert(store_chunk_get(store, chunk, &info));
	return info;
}

static void expect(uint64_t chunk, uint64_t root, uint32_t first, uint32_t blocks, uint32_t tag)
{
	uint32_t tags[IO_BLOCKS_MAX];

	ck_assert_int_eq(do_read(disk, store, chunk, root, first, blocks, tags), STORE_OK);
	for (uint32_t i = 0; i < blocks; i++)
		ck_assert_uint_eq(tags[i], tag);
}

START_TEST(test_small_write_survives)
{
	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	expect(CHUNK, CHUNK, 0, 32, 0);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 3, 2, AT(1), 77), STORE_OK);
	expect(CHUNK, CHUNK, 3, 2, 77);
	if (_i)
		reopen();
	else
		crash();
	expect(CHUNK, CHUNK, 3, 2, 77);
	expect(CHUNK, CHUNK, 0, 3, 0);
	expect(CHUNK, CHUNK, 5, 11, 0);
	ck_assert_uint_eq(get(CHUNK).position.generation, 1);
	ck_assert_uint_eq(get(CHUNK).allocated_bytes, UNIT_BYTES);
}
END_TEST

START_TEST(test_large_write_survives)
{
	struct store_counters before;

	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	before = store_counters(store);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 5, 256, AT(1), 9), STORE_OK);
	ck_assert_uint_eq(store_counters(store).home_write_bytes - before.home_write_bytes,
			  15 * UNIT_BYTES);
	expect(CHUNK, CHUNK, 5, 256, 9);
	if (_i)
		reopen();
	else
		crash();
	expect(CHUNK, CHUNK, 5, 256, 9);
	expect(CHUNK, CHUNK, 0, 5, 0);
	expect(CHUNK, CHUNK, 261, 4, 0);
}
END_TEST

/* What was written but isn't at home yet, in blocks. */
static uint64_t away_blocks(uint64_t written)
{
	return written - store_counters(store).home_write_bytes / BLOCK_BYTES;
}

/*
 * A lone writer's blocks come home as fast as he writes, and no faster: behind his last one nothing goes on of itself. The
 * window that was begun then comes home by ticks. Each block takes two in the journal.
 */
START_TEST(test_write_back_keeps_pace)
{
	const uint64_t eighth = JOURNAL / 8 / (2 * BLOCK_BYTES);
	uint64_t home = 0, before;
	uint32_t n = 0;

	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	/* Until half of a window is at home. */
	while (n < 800 || home < 8 * BLOCK_BYTES) {
		uint32_t block = n++ * 641 % (CHUNK_BYTES / BLOCK_BYTES);

		home = store_counters(store).home_write_bytes;
		ck_assert_int_eq(do_write(disk, store, CHUNK, block, 1, AT(n), n), STORE_OK);
		mem_disk_run(disk);
		home = store_counters(store).home_write_bytes - home;
		ck_assert_uint_le(home, 12 * BLOCK_BYTES);
		ck_assert_uint_le(away_blocks(n), 2 * eighth);
		ck_assert_uint_lt(n, 1000);
	}
	before = away_blocks(n);
	for (unsigned i = 0; i < 10; i++) {
		store_tick(store, i * NS_PER_S);
		mem_disk_run(disk);
	}
	ck_assert_uint_lt(away_blocks(n), before);
}
END_TEST

START_TEST(test_zero_gives_space_back)
{
	uint64_t before;

	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	before = store_counters(store).free_bytes;
	ck_assert_int_eq(do_write(disk, store, CHUNK, 0, 64, AT(1), 5), STORE_OK);
	ck_assert_uint_eq(store_counters(store).free_bytes, before - 4 * UNIT_BYTES);
	ck_assert_int_eq(do_zero(disk, store, CHUNK, 8, 40, AT(2)), STORE_OK);
	ck_assert_uint_eq(store_counters(store).free_bytes, before - 2 * UNIT_BYTES);
	/* The rest of a unit piece by piece. */
	ck_assert_int_eq(do_zero(disk, store, CHUNK, 0, 8, AT(3)), STORE_OK);
	ck_assert_uint_eq(store_counters(store).free_bytes, before - UNIT_BYTES);
	expect(CHUNK, CHUNK, 0, 48, 0);
	expect(CHUNK, CHUNK, 48, 16, 5);
	crash();
	ck_assert_uint_eq(store_counters(store).free_bytes, before - UNIT_BYTES);
	expect(CHUNK, CHUNK, 0, 48, 0);
	expect(CHUNK, CHUNK, 48, 16, 5);
	ck_assert_uint_eq(get(CHUNK).position.generation, 3);
}
END_TEST

/* A buffer is recycled memory: blocks that hold nothing must not show what it held before. */
START_TEST(test_zero_blocks_are_read_as_zeros)
{
	static const uint8_t zeros[BLOCK_BYTES];
	struct slice dirt = slice_new(UNIT_BYTES);
	struct store_op op;

	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 3, 1, AT(1), 77), STORE_OK);
	memset(slice_data(dirt), 0xee, UNIT_BYTES);
	slice_unref(&dirt);
	op_read(&op, CHUNK, 0, UNIT_BLOCKS);
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	ck_assert(!op.all_zero);
	for (unsigned i = 0; i < UNIT_BLOCKS; i++) {
		bool zero = memcmp(slice_data(op.data) + (size_t)i * BLOCK_BYTES, zeros,
				   BLOCK_BYTES) == 0;

		ck_assert_int_eq(zero, i != 3);
	}
	store_op_clear(&op);
}
END_TEST

START_TEST(test_clone_is_apart)
{
	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 0, 32, AT(1), 1), STORE_OK);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 4, 1, AT(2), 2), STORE_OK);
	uint64_t before = store_counters(store).free_bytes;
	ck_assert_int_eq(do_clone(disk, store, 8, CHUNK, 5), STORE_OK);
	ck_assert_int_eq(do_clone(disk, store, 8, CHUNK, 5), STORE_EXISTS);
	ck_assert_int_eq(do_clone(disk, store, 9, 1000, 5), STORE_NOT_FOUND);
	ck_assert_uint_eq(store_counters(store).free_bytes, before);
	ck_assert_uint_eq(get(8).digest, get(CHUNK).digest);
	ck_assert_uint_eq(get(8).root_chunk, CHUNK);
	ck_assert_int_eq(do_write(disk, store, 8, 5, 1, (struct version){2, 3}, 3), STORE_OK);
	ck_assert_uint_eq(store_counters(store).free_bytes, before - UNIT_BYTES);
	for (int round = 0; round < 3; round++) {
		expect(CHUNK, CHUNK, 0, 4, 1);
		expect(CHUNK, CHUNK, 4, 1, 2);
		expect(CHUNK, CHUNK, 5, 27, 1);
		expect(8, CHUNK, 0, 4, 1);
		expect(8, CHUNK, 4, 1, 2);
		expect(8, CHUNK, 5, 1, 3);
		expect(8, CHUNK, 6, 26, 1);
		if (round == 0)
			crash();
		if (round == 1)
			reopen();
		ck_assert_uint_eq(store_counters(store).free_bytes, before - UNIT_BYTES);
	}
	ck_assert_int_eq(do_delete(disk, store, CHUNK, 6), STORE_OK);
	ck_assert_uint_eq(store_tombstone(store, CHUNK), 6);
	expect(8, CHUNK, 4, 1, 2);
	crash();
	ck_assert_uint_eq(store_tombstone(store, CHUNK), 6);
	expect(8, CHUNK, 4, 1, 2);
	ck_assert_int_eq(do_delete(disk, store, 8, 7), STORE_OK);
	reopen();
	ck_assert_uint_eq(store_tombstone(store, 8), 7);
	ck_assert_uint_eq(store_counters(store).used_bytes, 0);
	ck_assert_uint_eq(store_counters(store).newest_commit, 7);
}
END_TEST

START_TEST(test_protocol_state_survives)
{
	struct store_chunk info;

	ck_assert_int_eq(do_simple(disk, store, STORE_FENCE, CHUNK, AT(1)), STORE_NOT_FOUND);
	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	do_write(disk, store, CHUNK, 0, 1, AT(10), 1);
	do_simple(disk, store, STORE_FENCE, CHUNK, (struct version){5, 0});
	do_simple(disk, store, STORE_FENCE, CHUNK, (struct version){3, 0});
	do_simple(disk, store, STORE_START, CHUNK, AT(10));
	do_simple(disk, store, STORE_MEND_BEGIN, CHUNK, AT(0));
	for (int round = 0; round < 3; round++) {
		info = get(CHUNK);
		ck_assert_uint_eq(info.epoch, 5);
		ck_assert_uint_eq(info.base_generation, 10);
		ck_assert(info.mending);
		if (round == 0)
			crash();
		else
			reopen();
	}
	do_simple(disk, store, STORE_MEND_END, CHUNK, (struct version){5, 20});
	crash();
	info = get(CHUNK);
	ck_assert(!info.mending);
	ck_assert_uint_eq(info.position.epoch, 5);
	ck_assert_uint_eq(info.position.generation, 20);
	ck_assert_uint_eq(info.base_generation, 20);
	do_simple(disk, store, STORE_JOIN, CHUNK, (struct version){6, 2});
	crash();
	info = get(CHUNK);
	ck_assert_uint_eq(info.position.generation, 2);
	ck_assert_uint_eq(info.base_generation, 2);
}
END_TEST

static enum store_status copy_unit(uint32_t unit, struct version version, uint16_t zero,
				   uint16_t bad, uint32_t tag, bool roll)
{
	struct store_op op;
	enum store_status status;

	op_write(&op, CHUNK, CHUNK, unit * UNIT_BLOCKS, UNIT_BLOCKS, version, tag);
	op.kind = STORE_COPY;
	op.unit = unit;
	op.offset = op.bytes = 0;
	op.zero_mask = zero;
	op.bad_mask = bad;
	op.roll = roll;
	if (zero == UINT16_MAX)
		slice_unref(&op.data);
	status = driver_do(disk, store, &op);
	slice_unref(&op.data);
	return status;
}

static uint32_t invalidate(const struct version *versions)
{
	struct store_op op = {.kind = STORE_INVALIDATE,
			      .chunk = CHUNK,
			      .unit_count = CHUNK_BYTES / UNIT_BYTES,
			      .in_versions = versions};

	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	store_op_clear(&op);
	return op.invalid_count;
}

START_TEST(test_resync)
{
	struct version source[CHUNK_BYTES / UNIT_BYTES] = {{0}};
	uint32_t tags[UNIT_BLOCKS];
	uint64_t digest;

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	do_write(disk, store, CHUNK, 0, 48, AT(1), 1); /* units 0, 1, 2 */
	source[0] = AT(1);
	source[1] = AT(5);
	source[2] = (struct version){0, 0};
	source[9] = AT(3);
	ck_assert_int_eq(copy_unit(1, AT(5), 0, 0, 6, false), STORE_NOT_APPLIED);
	ck_assert_uint_eq(invalidate(source), 3);
	ck_assert_uint_eq(get(CHUNK).invalid_units, 3);
	crash();
	ck_assert_uint_eq(get(CHUNK).invalid_units, 3);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 16, 1, tags), STORE_INVALID_UNIT);
	expect(CHUNK, CHUNK, 0, 16, 1);
	/* New writes arrive before the copy and must not be lost to it. */
	do_write(disk, store, CHUNK, 16 + 3, 2, AT(7), 70);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 16 + 3, 1, tags), STORE_INVALID_UNIT);
	ck_assert_int_eq(copy_unit(1, AT(7), 0x8000, 0x4000, 5, false), STORE_OK);
	ck_assert_int_eq(copy_unit(1, AT(7), 0, 0, 6, false), STORE_NOT_APPLIED);
	ck_assert_int_eq(copy_unit(2, (struct version){0, 0}, UINT16_MAX, 0, 0, false), STORE_OK);
	if (_i)
		crash();
	ck_assert_int_eq(copy_unit(9, AT(3), 0xfff0, 0, 8, false), STORE_OK);
	ck_assert_uint_eq(get(CHUNK).invalid_units, 0);
	for (int round = 0; round < 3; round++) {
		expect(CHUNK, CHUNK, 16, 3, 5);
		expect(CHUNK, CHUNK, 19, 2, 70);
		expect(CHUNK, CHUNK, 21, 9, 5);
		ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 28, 4, tags), STORE_BAD_BLOCK);
		ck_assert_uint_eq(tags[1], 5);
		ck_assert_uint_eq(tags[2], UINT32_MAX);
		ck_assert_uint_eq(tags[3], 0);
		expect(CHUNK, CHUNK, 9 * 16, 4, 8);
		expect(CHUNK, CHUNK, 9 * 16 + 4, 12, 0);
		if (round == 0)
			crash();
		if (round == 1)
			reopen();
	}
	/* A full write makes an invalid unit valid by itself. */
	source[0] = AT(99);
	source[1] = AT(7);
	ck_assert_uint_eq(invalidate(source), 1);
	do_write(disk, store, CHUNK, 0, 8, AT(8), 3);
	do_write(disk, store, CHUNK, 8, 8, AT(9), 3);
	ck_assert_uint_eq(get(CHUNK).invalid_units, 0);
	expect(CHUNK, CHUNK, 0, 16, 3);
	/* Rolling replaces a valid unit. */
	ck_assert_int_eq(copy_unit(0, AT(4), 0, 0, 11, true), STORE_OK);
	expect(CHUNK, CHUNK, 0, 16, 11);
	digest = get(CHUNK).digest;
	crash();
	ck_assert_uint_eq(get(CHUNK).digest, digest);
	expect(CHUNK, CHUNK, 0, 16, 11);
}
END_TEST

/*
 * A copy into a unit that is shared, keeps blocks and loses others: those aren't in the fresh place, and replay must not look
 * for them there, or it takes the acknowledged copy for a torn tail.
 */
START_TEST(test_copy_of_a_shared_unit_survives)
{
	struct version source[CHUNK_BYTES / UNIT_BYTES] = {{0}};
	uint32_t tags[UNIT_BLOCKS];

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	do_write(disk, store, CHUNK, 0, 16, AT(1), 1);
	source[0] = AT(7);
	ck_assert_uint_eq(invalidate(source), 1);
	do_write(disk, store, CHUNK, 3, 2, AT(7), 70);
	ck_assert_int_eq(do_clone(disk, store, 8, CHUNK, 5), STORE_OK);
	ck_assert_int_eq(copy_unit(0, AT(7), 0x8000, 0x4000, 5, false), STORE_OK);
	/* No later batch confirms it. */
	crash();
	ck_assert_uint_eq(get(CHUNK).invalid_units, 0);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 0, 16, tags), STORE_BAD_BLOCK);
	for (unsigned i = 0; i < UNIT_BLOCKS; i++)
		ck_assert_uint_eq(tags[i], i == 15            ? 0
					   : i == 14          ? UINT32_MAX
					   : i == 3 || i == 4 ? 70
							      : 5);
}
END_TEST

START_TEST(test_versions)
{
	struct store_op op = {.kind = STORE_VERSIONS, .chunk = CHUNK};

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	do_write(disk, store, CHUNK, 16, 1, AT(4), 1);
	do_zero(disk, store, CHUNK, 64, 16, AT(5));
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	ck_assert_uint_eq(op.unit_count, CHUNK_BYTES / UNIT_BYTES);
	ck_assert_uint_eq(op.versions[0].generation, 0);
	ck_assert_uint_eq(op.versions[1].generation, 4);
	ck_assert_uint_eq(op.versions[4].generation, 5);
	ck_assert_uint_eq(op.allocated[0], 2);
	store_op_clear(&op);
}
END_TEST

/* Where on the disk the block's bytes are: anywhere but in the journal, after a close. */
static uint64_t find_on_disk(uint32_t block, uint32_t tag)
{
	uint8_t expected[BLOCK_BYTES], found[BLOCK_BYTES];

	fill_block(expected, CHUNK, block, tag);
	for (uint64_t at = 5 * MIB / 4; at < DISK_BYTES; at += BLOCK_BYTES) {
		mem_disk_peek(disk, at, found, BLOCK_BYTES);
		if (!memcmp(expected, found, BLOCK_BYTES))
			return at;
	}
	ck_abort_msg("the block isn't on the disk");
	return 0;
}

START_TEST(test_bad_block_is_named_and_repaired)
{
	uint32_t tags[UNIT_BLOCKS];
	struct store_op op;

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	do_write(disk, store, CHUNK, 0, 16, AT(1), 1);
	reopen();
	mem_disk_flip(disk, find_on_disk(3, 1) + 100, 4);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 0, 16, tags), STORE_BAD_BLOCK);
	ck_assert_uint_eq(tags[2], 1);
	ck_assert_uint_eq(tags[3], UINT32_MAX);
	ck_assert_uint_eq(store_counters(store).checksum_errors, 1);
	/* Not verified: the reader will find out. */
	op_read(&op, CHUNK, 0, 16);
	op.no_verify = true;
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	store_op_clear(&op);

	op_write(&op, CHUNK, CHUNK, 3, 1, AT(1), 1);
	op.kind = STORE_REPAIR;
	op.unit = 0;
	op.block_mask = 1 << 3;
	op.crcs[3] = op.crcs[0];
	op.position = AT(2);
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_NOT_APPLIED);
	op.position = AT(1);
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	slice_unref(&op.data);
	expect(CHUNK, CHUNK, 0, 16, 1);
	reopen();
	expect(CHUNK, CHUNK, 0, 16, 1);
}
END_TEST

START_TEST(test_read_error)
{
	uint32_t tags[UNIT_BLOCKS];

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	do_write(disk, store, CHUNK, 0, 16, AT(1), 1);
	mem_disk_fail_reads(disk, find_on_disk(0, 1), UNIT_BYTES);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 0, 1, tags), STORE_DISK_ERROR);
	ck_assert(!store_failed(store));
	mem_disk_fail_reads(disk, 0, 0);
	expect(CHUNK, CHUNK, 0, 16, 1);
}
END_TEST

/* One bad sector costs its block; the others of the same request come well. */
START_TEST(test_read_error_of_one_block)
{
	uint32_t tags[UNIT_BLOCKS];

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	do_write(disk, store, CHUNK, 0, 16, AT(1), 1);
	mem_disk_fail_reads(disk, find_on_disk(5, 1), 512);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 0, 16, tags), STORE_BAD_BLOCK);
	for (unsigned i = 0; i < UNIT_BLOCKS; i++)
		ck_assert_uint_eq(tags[i], i == 5 ? UINT32_MAX : 1);
	ck_assert_uint_eq(store_counters(store).read_errors, 1);
	ck_assert(!store_failed(store));
}
END_TEST

START_TEST(test_write_error)
{
	uint32_t tags[UNIT_BLOCKS];

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	do_write(disk, store, CHUNK, 0, 16, AT(1), 1);
	mem_disk_run(disk); /* what the store does on its own is over */
	mem_disk_fail_writes_after(disk, 0);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 16, _i ? 1 : 16, AT(2), 2), STORE_DISK_ERROR);
	ck_assert(store_failed(store));
	mem_disk_fail_writes_after(disk, UINT64_MAX);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 32, 1, AT(3), 2), STORE_DISK_ERROR);
	expect(CHUNK, CHUNK, 0, 16, 1);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 16, 1, tags), STORE_DISK_ERROR);
	crash();
	expect(CHUNK, CHUNK, 0, 16, 1);
	ck_assert_uint_le(get(CHUNK).position.generation, 2);
}
END_TEST

START_TEST(test_full_disk)
{
	uint64_t g = 0;
	uint32_t unit;
	enum store_status status = STORE_OK;

	for (uint64_t chunk = 1; chunk <= 8; chunk++)
		ck_assert_int_eq(do_create(disk, store, chunk, CHUNK_BYTES), STORE_OK);
	for (unit = 0; unit < 512 && status == STORE_OK; unit++)
		status = do_write(disk, store, 1 + unit / 64, unit % 64 * 16, unit % 3 ? 16 : 2,
				  AT(++g), unit + 1);
	ck_assert_int_eq(status, STORE_NO_SPACE);
	ck_assert_uint_lt(store_counters(store).free_bytes, UNIT_BYTES);
	/* What is there can be overwritten, and room that is given back can be used. */
	for (uint32_t i = 0; i < 40; i++)
		ck_assert_int_eq(do_write(disk, store, 1, i * 16, 16, AT(++g), 1000), STORE_OK);
	ck_assert_int_eq(do_zero(disk, store, 1, 0, 256, AT(++g)), STORE_OK);
	for (uint32_t i = 0; i < 16; i++)
		ck_assert_int_eq(do_write(disk, store, 1, i * 16, 16, AT(++g), 2000), STORE_OK);
	ck_assert_int_eq(do_write(disk, store, 8, 63 * 16, 1, AT(++g), 1), STORE_NO_SPACE);
	crash();
	expect(1, 1, 0, 256, 2000);
	expect(1, 1, 256, 16 * 16, 1000);
	ck_assert_uint_lt(store_counters(store).free_bytes, UNIT_BYTES);
}
END_TEST

START_TEST(test_journal_goes_round)
{
	struct prng p = {1};
	uint32_t tags[1024] = {0}, read[IO_BLOCKS_MAX];

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	for (uint32_t i = 1; i <= 3000; i++) {
		uint32_t blocks = prng_chance(&p, 1, 20) ? 16 : 1 + (uint32_t)prng_below(&p, 4);
		uint32_t first = (uint32_t)prng_below(&p, 1024 - blocks);

		ck_assert_int_eq(do_write(disk, store, CHUNK, first, blocks, AT(i), i), STORE_OK);
		for (uint32_t b = 0; b < blocks; b++)
			tags[first + b] = i;
		if (i % 997 == 0)
			crash();
	}
	for (uint32_t at = 0; at < 1024; at += IO_BLOCKS_MAX) {
		ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, at, IO_BLOCKS_MAX, read),
				 STORE_OK);
		for (uint32_t i = 0; i < IO_BLOCKS_MAX; i++)
			ck_assert_uint_eq(read[i], tags[at + i]);
	}
	reopen();
	for (uint32_t at = 0; at < 1024; at += IO_BLOCKS_MAX) {
		ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, at, IO_BLOCKS_MAX, read),
				 STORE_OK);
		for (uint32_t i = 0; i < IO_BLOCKS_MAX; i++)
			ck_assert_uint_eq(read[i], tags[at + i]);
	}
}
END_TEST

/* Whatever blocks a journal has, what is read and written at opening is whole blocks. */
START_TEST(test_journal_of_any_size)
{
	ck_assert_int_eq(driver_close(disk, store), 0);
	mem_disk_io(disk)->block_bytes = BLOCK_BYTES;
	ck_assert_int_eq(driver_format(disk, 3 * MIB + (uint64_t)_i * BLOCK_BYTES), 0);
	store = driver_open(disk).store;
	ck_assert_ptr_nonnull(store);
	do_create(disk, store, CHUNK, CHUNK_BYTES);
	for (uint32_t i = 1; i <= 300; i++)
		ck_assert_int_eq(do_write(disk, store, CHUNK, i, 4, AT(i), i), STORE_OK);
	crash();
	expect(CHUNK, CHUNK, 300, 4, 300);
	expect(CHUNK, CHUNK, 299, 1, 299);
}
END_TEST

static unsigned completed;

static void count_done(struct store_op *op)
{
	unsigned *order = op->context;

	ck_assert_uint_eq(*order, completed);
	completed++;
}

START_TEST(test_pipeline_completes_in_order)
{
	enum {
		COUNT = 600
	};
	struct store_op *ops = calloc(COUNT, sizeof *ops);
	unsigned order[COUNT];

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	completed = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		op_write(&ops[i], CHUNK, CHUNK, i * 3 % 900, 1 + i % 20, AT(i + 1), i + 1);
		order[i] = i;
		ops[i].done = count_done;
		ops[i].context = &order[i];
		store_submit(store, &ops[i]);
		/* Also what still waits for room in the journal shows. */
		ck_assert_uint_eq(get(CHUNK).position.generation, i + 1);
	}
	mem_disk_run(disk);
	ck_assert_uint_eq(completed, COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_int_eq(ops[i].status, STORE_OK);
		slice_unref(&ops[i].data);
	}
	free(ops);
	expect(CHUNK, CHUNK, (COUNT - 1) * 3 % 900, 1 + (COUNT - 1) % 20, COUNT);
}
END_TEST

static void identity_done(void *context, int status)
{
	*(int *)context = status;
}

START_TEST(test_identity)
{
	int status = 1;

	ck_assert(uuid_equal(store_identity(store).disk, uuid_from_random(1, 2)));
	ck_assert_uint_eq(store_identity(store).cid, 0);
	store_set_identity(store, uuid_from_random(3, 4), 17, identity_done, &status);
	ck_assert_int_eq(status, 1);
	mem_disk_run(disk);
	ck_assert_int_eq(status, 0);
	crash();
	ck_assert_uint_eq(store_identity(store).cid, 17);
	ck_assert(uuid_equal(store_identity(store).cluster, uuid_from_random(3, 4)));
	/* Either copy will do. */
	mem_disk_flip(disk, 64, 1);
	reopen();
	ck_assert_uint_eq(store_identity(store).cid, 17);
}
END_TEST

START_TEST(test_walk)
{
	struct store_chunk info;
	uint64_t at = 0, ids[] = {3, 7, 1000, UINT64_C(1) << 60};
	unsigned n = 0;

	for (unsigned i = 4; i-- > 0;)
		do_create(disk, store, ids[i], CHUNK_BYTES);
	do_create(disk, store, 500, CHUNK_BYTES);
	do_delete(disk, store, 500, 2);
	for (; store_chunk_next(store, &at, &info); at++)
		ck_assert_uint_eq(info.chunk, ids[n++]);
	ck_assert_uint_eq(n, 4);
}
END_TEST

/* Chunks come and go over many starts, and the metadata does not grow. */
START_TEST(test_entries_are_used_again)
{
	uint64_t written = 0;

	for (uint64_t i = 1; i <= 40; i++) {
		ck_assert_int_eq(do_create(disk, store, i, CHUNK_BYTES), STORE_OK);
		ck_assert_int_eq(do_write(disk, store, i, 0, 16, AT(i), 1), STORE_OK);
		if (i > 3)
			ck_assert_int_eq(do_delete(disk, store, i - 3, i), STORE_OK);
		reopen();
		if (i == 5)
			written = store_counters(store).memory_bytes;
	}
	ck_assert_uint_le(store_counters(store).memory_bytes, written + 64 * KIB);
	ck_assert_uint_eq(store_counters(store).used_bytes, 3 * UNIT_BYTES);
}
END_TEST

/* Damage to what was acknowledged is not taken for a torn tail. */
START_TEST(test_damaged_journal_is_refused)
{
	uint64_t batches[64], count = 0, bad = 0;
	struct opened o;

	do_create(disk, store, CHUNK, CHUNK_BYTES);
	for (uint32_t i = 0; i < 10; i++)
		do_write(disk, store, CHUNK, i * 3, 1, AT(i + 1), 1);
	for (uint64_t at = 192 * KIB; at < 192 * KIB + JOURNAL; at += BLOCK_BYTES) {
		uint32_t magic;

		mem_disk_peek(disk, at, &magic, sizeof magic);
		if (magic == 0x48435442 && count < 64)
			batches[count++] = at;
	}
	ck_assert_uint_ge(count, 11);
	mem_disk_forget(disk);
	store_free(store);
	store = NULL;
	if (_i) {
		/* Data in the middle: that block is bad, all others are good. */
		mem_disk_flip(disk, batches[count / 2] + BLOCK_BYTES + 80, 1);
		o = driver_open(disk);
		ck_assert_int_eq(o.status, 0);
		store = o.store;
		for (uint32_t i = 0; i < 10; i++) {
			uint32_t tag;

			bad += do_read(disk, store, CHUNK, CHUNK, i * 3, 1, &tag) ==
			       STORE_BAD_BLOCK;
		}
		ck_assert_uint_eq(bad, 1);
		return;
	}
	mem_disk_flip(disk, batches[count / 2] + 80, 1);
	o = driver_open(disk);
	ck_assert_int_eq(o.status, -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(o.why, "an acknowledged batch is missing"));
	mem_disk_flip(disk, batches[count / 2] + 80, 1);
	/* The last one may be torn: nobody has confirmed it. */
	mem_disk_flip(disk, batches[count - 1] + 80, 1);
	o = driver_open(disk);
	ck_assert_int_eq(o.status, 0);
	store = o.store;
	ck_assert_uint_eq(get(CHUNK).position.generation, 9);
}
END_TEST

START_TEST(test_memory_limit)
{
	struct store_options options;
	struct opened o;
	enum store_status status = STORE_OK;
	uint64_t g = 0;

	ck_assert_int_eq(do_create(disk, store, CHUNK, 16 * CHUNK_BYTES), STORE_OK);
	reopen();
	options = (struct store_options){.memory_limit_bytes = store_counters(store).memory_bytes +
							       (_i ? 40 * KIB : 1000)};
	ck_assert_int_eq(driver_close(disk, store), 0);
	o = driver_open_with(disk, &options);
	ck_assert_int_eq(o.status, 0);
	store = o.store;
	for (uint32_t unit = 0; unit < 16 * 64 && status == STORE_OK; unit += 42)
		status = do_write(disk, store, CHUNK, unit * 16, 1, AT(++g), 1);
	ck_assert_int_eq(status, STORE_NO_SPACE);
	ck_assert_uint_le(store_counters(store).memory_bytes, options.memory_limit_bytes);
	if (_i)
		expect(CHUNK, CHUNK, 0, 1, 1);
}
END_TEST

START_TEST(test_refusals)
{
	struct opened o;
	uint8_t zero[4096] = {0};

	ck_assert_int_eq(driver_close(disk, store), 0);
	store = NULL;
	mem_disk_resize(disk, DISK_BYTES - MIB);
	o = driver_open(disk);
	ck_assert_int_eq(o.status, -EMEDIUMTYPE);
	mem_disk_resize(disk, DISK_BYTES);
	mem_disk_flip(disk, 4096 + 20, 1);
	mem_disk_flip(disk, 4096 + 65536 + 20, 1);
	o = driver_open(disk);
	ck_assert_int_eq(o.status, -EUCLEAN);
	mem_disk_poke(disk, 0, zero, 4096);
	mem_disk_poke(disk, DISK_BYTES - 4096, zero, 4096);
	o = driver_open(disk);
	ck_assert_int_eq(o.status, -EINVAL);
}
END_TEST

static void setup_paging(void)
{
	driver_metadata_memory_bytes = 1;
	setup();
}

static void teardown_paging(void)
{
	teardown();
	driver_metadata_memory_bytes = 0;
}

static TCase *make_case(const char *name, SFun before, SFun after)
{
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, before, after);
	tcase_add_loop_test(t, test_small_write_survives, 0, 2);
	tcase_add_loop_test(t, test_large_write_survives, 0, 2);
	tcase_add_test(t, test_zero_gives_space_back);
	tcase_add_test(t, test_zero_blocks_are_read_as_zeros);
	tcase_add_test(t, test_clone_is_apart);
	tcase_add_test(t, test_protocol_state_survives);
	tcase_add_loop_test(t, test_resync, 0, 2);
	tcase_add_test(t, test_copy_of_a_shared_unit_survives);
	tcase_add_test(t, test_versions);
	tcase_add_test(t, test_bad_block_is_named_and_repaired);
	tcase_add_test(t, test_read_error);
	tcase_add_test(t, test_read_error_of_one_block);
	tcase_add_loop_test(t, test_write_error, 0, 2);
	tcase_add_test(t, test_full_disk);
	tcase_add_test(t, test_journal_goes_round);
	tcase_add_test(t, test_write_back_keeps_pace);
	tcase_add_loop_test(t, test_journal_of_any_size, 0, 17);
	tcase_add_test(t, test_pipeline_completes_in_order);
	tcase_add_test(t, test_identity);
	tcase_add_test(t, test_walk);
	tcase_add_test(t, test_entries_are_used_again);
	tcase_add_loop_test(t, test_damaged_journal_is_refused, 0, 2);
	tcase_add_loop_test(t, test_memory_limit, 0, 2);
	tcase_add_test(t, test_refusals);
	return t;
}

int main(void)
{
	Suite *suite = suite_create("store");

	suite_add_tcase(suite, make_case("store", setup, teardown));
	/* All of it once more with pages of units on disk, and one in memory. */
	suite_add_tcase(suite, make_case("paging", setup_paging, teardown_paging));
	return suite_run(suite);
}
