/*
 * test_store_paging.c - pages of units as a cache of those on disk: what is kept, what goes, what waits, and pages that can't be
 * read. (test_store.c runs all of its tests with a page in memory, too, and so do the crash tests.)
 */
#include "tests/lib/store_driver.h"

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "replica-engine/store/store_internal.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#define DISK_BYTES  (64 * MIB)
#define JOURNAL     (1 * MIB)
#define PAGES       12u
#define CHUNK       UINT64_C(7)
#define OTHER       UINT64_C(8)
#define CHUNK_BYTES (PAGES * UNITS_PER_PAGE * UNIT_BYTES)
#define PAGE_BLOCKS (uint32_t)(UNITS_PER_PAGE * UNIT_BLOCKS)
#define AT(g)       ((struct version){1, (g)})
#define OPS_MAX     600

static struct mem_disk *disk;
static struct store *store;
static struct store_op *ops;
static unsigned order[OPS_MAX], completed;

static void open_with(unsigned pages)
{
	struct opened o;

	driver_metadata_memory_bytes = pages * (sizeof(struct cached_page) + 16);
	o = driver_open(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	store = o.store;
	ck_assert_uint_eq(store->cache.limit, pages);
}

static void setup(void)
{
	disk = mem_disk_new(DISK_BYTES, 42);
	ck_assert_int_eq(
		driver_format_with(disk,
				   &(struct store_format_options){.journal_bytes = JOURNAL,
								  .metadata_bytes = 4 * MIB,
								  .disk = uuid_from_random(1, 2)}),
		0);
	open_with(2);
	ops = xcalloc(OPS_MAX, sizeof *ops);
	completed = 0;
}

static void check_disk(void)
{
	char last[256];
	struct store_fsck_result f = driver_fsck(disk, true, last);

	ck_assert_msg(f.status == 0 && f.problems == 0, "%s", last);
}

static void teardown(void)
{
	for (unsigned i = 0; i < OPS_MAX; i++) {
		slice_unref(&ops[i].data);
		store_op_clear(&ops[i]);
	}
	free(ops);
	if (store)
		ck_assert_int_eq(driver_close(disk, store), 0);
	mem_disk_free(disk);
	driver_metadata_memory_bytes = 0;
	ck_assert_uint_eq(buf_in_use(), 0);
}

static void reopen(unsigned pages)
{
	ck_assert_int_eq(driver_close(disk, store), 0);
	open_with(pages);
}

static void crash(unsigned pages)
{
	mem_disk_forget(disk);
	store_free(store);
	open_with(pages);
}

static struct store_counters counters(void)
{
	return store_counters(store);
}

static struct page_ref *ref_of(uint64_t chunk, uint32_t page)
{
	return &chunk_find(store, chunk)->table->pages[page];
}

static unsigned resident(uint64_t chunk)
{
	unsigned count = 0;

	for (uint32_t p = 0; p < PAGES; p++)
		count += ref_of(chunk, p)->page != NULL;
	return count;
}

/* A block in each page; its tag is the page's number + 1 + `more`. */
static void fill(uint64_t chunk, uint64_t generation, uint32_t more)
{
	for (uint32_t p = 0; p < PAGES; p++)
		ck_assert_int_eq(do_write(disk, store, chunk, p * PAGE_BLOCKS + 5, 1,
					  AT(generation + p), p + 1 + more),
				 STORE_OK);
}

static uint32_t read_block(uint64_t chunk, uint32_t block)
{
	uint32_t tag;

	ck_assert_int_eq(do_read(disk, store, chunk, CHUNK, block, 1, &tag), STORE_OK);
	return tag;
}

static void expect_filled(uint64_t chunk, uint32_t more)
{
	for (uint32_t p = 0; p < PAGES; p++) {
		ck_assert_uint_eq(read_block(chunk, p * PAGE_BLOCKS + 5), p + 1 + more);
		ck_assert_uint_eq(read_block(chunk, p * PAGE_BLOCKS + 6), 0);
	}
}

/* A chunk whose pages are all on disk alone, side by side. */
static void make_cold(void)
{
	reopen(1000);
	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	fill(CHUNK, 1, 0);
	reopen(2);
	ck_assert_uint_eq(resident(CHUNK), 0);
}

static uint64_t offset_of(uint64_t chunk, uint32_t page)
{
	ck_assert_uint_ne(ref_of(chunk, page)->at.slot, SLOT_NONE);
	return slot_offset(store, ref_of(chunk, page)->at.slot);
}

static void done(struct store_op *op)
{
	order[completed++] = (unsigned)(op - ops);
}

static struct store_op *submit(unsigned i)
{
	ops[i].done = done;
	store_submit(store, &ops[i]);
	return &ops[i];
}

static struct store_op *submit_write(unsigned i, uint64_t chunk, uint32_t block, uint64_t g,
				     uint32_t tag)
{
	op_write(&ops[i], chunk, CHUNK, block, 1, AT(g), tag);
	return submit(i);
}

static struct store_op *submit_read(unsigned i, uint64_t chunk, uint32_t block, uint32_t blocks)
{
	op_read(&ops[i], chunk, block, blocks);
	return submit(i);
}

/* ---- what is in memory ---- */

START_TEST(memory_is_bounded)
{
	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	for (unsigned round = 0; round < 3; round++) {
		fill(CHUNK, 1 + round * PAGES, round);
		expect_filled(CHUNK, round);
		mem_disk_run(disk);
		ck_assert_uint_le(store->cache.resident, 2);
		ck_assert_uint_eq(store->cache.resident, resident(CHUNK));
		ck_assert_uint_eq(counters().metadata_resident_bytes,
				  store->cache.resident * (sizeof(struct cached_page) + 16));
	}
	ck_assert_uint_eq(store->unit_pages, PAGES);
	ck_assert_uint_gt(counters().metadata_misses, PAGES);
	crash(2);
	expect_filled(CHUNK, 2);
	ck_assert_uint_le(store->cache.resident, 2);
	reopen(2);
	check_disk();
}
END_TEST

/* The digest and the other sums are there without the pages. */
START_TEST(opening_keeps_no_page)
{
	struct store_chunk before, after;
	uint64_t used;

	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	fill(CHUNK, 1, 0);
	ck_assert(store_chunk_get(store, CHUNK, &before));
	used = counters().used_bytes;
	for (unsigned round = 0; round < 3; round++) {
		if (round == 1)
			crash(2);
		else
			reopen(2);
		ck_assert_uint_eq(resident(CHUNK), 0);
		ck_assert(store_chunk_get(store, CHUNK, &after));
		ck_assert_uint_eq(after.digest, before.digest);
		ck_assert_uint_eq(after.allocated_bytes, before.allocated_bytes);
		ck_assert_uint_eq(counters().used_bytes, used);
	}
	ck_assert_uint_eq(counters().metadata_misses, 0);
	expect_filled(CHUNK, 0);
}
END_TEST

/* What is used goes later than what isn't. */
START_TEST(the_clock_keeps_what_is_used)
{
	uint64_t misses;

	make_cold();
	reopen(4);
	for (uint32_t p = 0; p < 4; p++)
		read_block(CHUNK, p * PAGE_BLOCKS);
	ck_assert_uint_eq(resident(CHUNK), 4);
	read_block(CHUNK, 4 * PAGE_BLOCKS);
	for (uint32_t p = 5; p < PAGES; p++) {
		misses = counters().metadata_misses;
		read_block(CHUNK, 4 * PAGE_BLOCKS);
		ck_assert_uint_eq(counters().metadata_misses, misses);
		read_block(CHUNK, p * PAGE_BLOCKS);
		ck_assert_uint_eq(counters().metadata_misses, misses + 1);
	}
	ck_assert_uint_eq(resident(CHUNK), 4);
}
END_TEST

START_TEST(pinned_pages_stay)
{
	make_cold();
	mem_disk_set_fifo(disk, true);
	/* Over three pages, more than may be there: they come all the same, and go afterwards. */
	op_zero(&ops[0], CHUNK, 0, 3 * PAGE_BLOCKS, AT(100));
	submit(0);
	ck_assert_uint_eq(chunk_find(store, CHUNK)->table->pins, 1);
	ck_assert_uint_eq(ref_of(CHUNK, 2)->pins, 1);
	/* Reads are pinned until they are done. */
	submit_read(1, CHUNK, 5 * PAGE_BLOCKS + 5, 1);
	while (!ref_of(CHUNK, 5)->page)
		ck_assert(mem_disk_step(disk));
	page_cache_evict(store);
	ck_assert(ref_of(CHUNK, 5)->page);
	mem_disk_run(disk);
	ck_assert_uint_eq(completed, 2);
	ck_assert_int_eq(ops[0].status, STORE_OK);
	ck_assert_int_eq(ops[1].status, STORE_OK);
	ck_assert_uint_eq(chunk_find(store, CHUNK)->table->pins, 0);
	ck_assert_uint_eq(store->cache.pinned[0] + store->cache.pinned[1], 0);
	ck_assert_uint_le(store->cache.resident, 2);
	ck_assert_uint_eq(read_block(CHUNK, PAGE_BLOCKS + 5), 0);
	ck_assert_uint_eq(read_block(CHUNK, 3 * PAGE_BLOCKS + 5), 4);
}
END_TEST

/* However much is submitted, what waits has only a part of the limit pinned. */
START_TEST(what_waits_pins_little)
{
	uint64_t most = 0;
	unsigned n = 0;

	make_cold();
	reopen(8);
	for (uint32_t i = 0; i < 200; i++) {
		submit_write(n++, CHUNK, i % PAGES * PAGE_BLOCKS + i / PAGES * 16, 100 + i, i);
		submit_read(n++, CHUNK, (i * 5) % PAGES * PAGE_BLOCKS, 1);
	}
	while (mem_disk_step(disk)) {
		most = MAX(most, store->cache.resident);
		ck_assert_uint_le(store->cache.pinned[0], 8 / 4 + 2);
		ck_assert_uint_le(store->cache.pinned[1], 8 / 4 + 2);
	}
	ck_assert_uint_eq(completed, n);
	ck_assert_uint_le(most, 8 + 8 / 2 + 4);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(ops[i].status, STORE_OK);
	for (uint32_t i = 0; i < 200; i++)
		ck_assert_uint_eq(read_block(CHUNK, i % PAGES * PAGE_BLOCKS + i / PAGES * 16), i);
}
END_TEST

/* ---- order ---- */

/* A mutation that waits for a page is passed by no other; a read behind it sees it. */
START_TEST(order_is_kept_across_a_miss)
{
	struct store_chunk info;
	unsigned seen = 0;

	make_cold();
	read_block(CHUNK, 0);
	mem_disk_set_fifo(disk, _i == 0);
	submit_write(0, CHUNK, 3 * PAGE_BLOCKS, 101, 50); /* is missing */
	submit_write(1, CHUNK, 0, 102, 51);               /* is here */
	submit_write(2, CHUNK, 3 * PAGE_BLOCKS, 103, 52);
	submit_read(3, CHUNK, 3 * PAGE_BLOCKS, 1);
	submit_read(4, CHUNK, 0, 1);
	ck_assert(store_chunk_get(store, CHUNK, &info));
	ck_assert_uint_eq(info.position.generation, 103);
	ck_assert_uint_eq(completed, 0);
	mem_disk_run(disk);
	ck_assert_uint_eq(completed, 5);
	for (unsigned i = 0; i < completed; i++) {
		ck_assert_int_eq(ops[order[i]].status, STORE_OK);
		if (order[i] < 3)
			ck_assert_uint_eq(order[i], seen++);
	}
	ck_assert_uint_eq(ops[3].version.generation, 103);
	ck_assert_uint_eq(ops[4].version.generation, 102);
	ck_assert_uint_eq(read_block(CHUNK, 3 * PAGE_BLOCKS), 52);
	ck_assert_uint_eq(read_block(CHUNK, 3 * PAGE_BLOCKS + 5), 4);
}
END_TEST

/* A chunk that is another one when the operation's turn comes: the pages of the old one are let go. */
START_TEST(a_chunk_is_made_anew_before_a_waiting_write)
{
	make_cold();
	mem_disk_set_fifo(disk, _i == 0);
	ops[0] = (struct store_op){.kind = STORE_DELETE, .chunk = CHUNK, .commit = 9};
	submit(0);
	op_create(&ops[1], CHUNK, CHUNK_BYTES, 10);
	submit(1);
	submit_write(2, CHUNK, 3 * PAGE_BLOCKS, 200, 60);
	submit_read(3, CHUNK, 3 * PAGE_BLOCKS, 6);
	mem_disk_run(disk);
	ck_assert_uint_eq(completed, 4);
	for (unsigned i = 0; i < completed; i++)
		ck_assert_int_eq(ops[i].status, STORE_OK);
	ck_assert_uint_eq(ops[3].version.generation, 200);
	ck_assert_uint_eq(read_block(CHUNK, 3 * PAGE_BLOCKS), 60);
	ck_assert_uint_eq(read_block(CHUNK, 3 * PAGE_BLOCKS + 5), 0);
	ck_assert_uint_eq(read_block(CHUNK, 5), 0);
	ck_assert(TAILQ_EMPTY(&store->cache.orphans));
	ck_assert_uint_eq(counters().used_bytes, UNIT_BYTES);
	crash(2);
	ck_assert_uint_eq(counters().used_bytes, UNIT_BYTES);
	reopen(2);
	check_disk();
}
END_TEST

/* A read whose chunk is deleted, and its table freed, while its data is on the way. */
START_TEST(a_table_goes_while_a_read_has_it)
{
	uint64_t before;

	make_cold();
	mem_disk_set_fifo(disk, true);
	read_block(CHUNK, 5);
	ops[0] = (struct store_op){.kind = STORE_DELETE, .chunk = CHUNK, .commit = 9};
	page_cache_ready(store, &ops[0]); /* its pages, without the operation */
	mem_disk_run(disk);
	ck_assert_uint_eq(resident(CHUNK), PAGES);
	ops[1] = (struct store_op){.kind = STORE_VERSIONS, .chunk = CHUNK};
	page_cache_ready(store, &ops[1]); /* a query that never ends */
	page_cache_unpin(store, &ops[0]);
	submit(0);
	mem_disk_run(disk);
	ck_assert_int_eq(ops[0].status, STORE_OK);
	before = store->checkpoint_sequence;
	ck_assert_int_eq(do_create(disk, store, OTHER, CHUNK_BYTES), STORE_OK);
	for (uint32_t i = 0; i < 20 && store->checkpoint_sequence < before + 2; i++) {
		do_write(disk, store, OTHER, i * PAGE_BLOCKS % (PAGES * PAGE_BLOCKS), 1, AT(i + 1),
			 1);
		mem_disk_run(disk);
	}
	ck_assert_uint_ge(store->checkpoint_sequence, before + 2);
	ck_assert(!TAILQ_EMPTY(&store->cache.orphans));
	if (_i) {
		crash(2);
		return;
	}
	page_cache_unpin(store, &ops[1]);
	ck_assert(TAILQ_EMPTY(&store->cache.orphans));
}
END_TEST

/* When the data of a read has come its chunk is another one, whose pages are not in memory. */
START_TEST(a_read_finds_another_table)
{
	struct unit_table *old, *other;
	struct chunk *c;
	size_t bytes;

	make_cold();
	read_block(CHUNK, 5);
	submit_read(0, CHUNK, 5, 1);
	c = chunk_find(store, CHUNK);
	old = c->table;
	ck_assert_uint_eq(old->pins, 1);
	bytes = sizeof *old + PAGES * sizeof old->pages[0];
	other = xmalloc(bytes);
	memcpy(other, old, bytes);
	other->pins = 0;
	for (uint32_t p = 0; p < PAGES; p++) {
		other->pages[p].page = NULL;
		other->pages[p].pins = 0;
	}
	c->table = other;
	store->table_bytes += bytes;
	mem_disk_run(disk);
	ck_assert_uint_eq(completed, 1);
	ck_assert_int_eq(ops[0].status, STORE_OK);
	ck_assert_uint_eq(ops[0].version.generation, 1);
	ck_assert_uint_eq(old->pins + other->pins, 0);
	ck_assert(other->pages[0].page);
	unit_table_free(store, old);
	expect_filled(CHUNK, 0);
}
END_TEST

/* ---- operations on whole chunks ---- */

START_TEST(a_clone_of_pages_on_disk)
{
	make_cold();
	ck_assert_int_eq(do_clone(disk, store, OTHER, CHUNK, 5), STORE_OK);
	mem_disk_run(disk);
	ck_assert_uint_le(store->cache.resident, 2);
	expect_filled(OTHER, 0);
	ck_assert_int_eq(do_write(disk, store, OTHER, 2 * PAGE_BLOCKS + 6, 1, AT(90), 70),
			 STORE_OK);
	for (unsigned round = 0; round < 3; round++) {
		expect_filled(CHUNK, 0);
		ck_assert_uint_eq(read_block(OTHER, 2 * PAGE_BLOCKS + 6), 70);
		ck_assert_uint_eq(read_block(OTHER, 2 * PAGE_BLOCKS + 5), 3);
		ck_assert_uint_eq(counters().used_bytes, (PAGES + 1) * UNIT_BYTES);
		if (round == 0)
			crash(1);
		if (round == 1)
			reopen(1);
	}
	ck_assert_int_eq(do_delete(disk, store, CHUNK, 6), STORE_OK);
	ck_assert_uint_eq(counters().used_bytes, PAGES * UNIT_BYTES);
	crash(1);
	ck_assert_uint_eq(counters().used_bytes, PAGES * UNIT_BYTES);
	ck_assert_uint_eq(read_block(OTHER, 5), 1);
	ck_assert_int_eq(do_delete(disk, store, OTHER, 7), STORE_OK);
	ck_assert_uint_eq(counters().used_bytes, 0);
	reopen(1);
	ck_assert_uint_eq(store->unit_pages, 0);
	check_disk();
}
END_TEST

/* Each clone is a page more for each of the origin's: a checkpoint comes between them. */
START_TEST(many_clones_at_once)
{
	uint64_t most = 0;

	make_cold();
	reopen(16);
	for (unsigned i = 0; i < 20; i++) {
		ops[i] = (struct store_op){.kind = STORE_CLONE,
					   .chunk = 100 + i,
					   .origin = CHUNK,
					   .epoch = 1,
					   .commit = i + 1};
		submit(i);
	}
	while (mem_disk_step(disk))
		most = MAX(most, store->cache.resident);
	ck_assert_uint_eq(completed, 20);
	/* The limit, what the last one admitted brings, and what two of them pin. */
	ck_assert_uint_le(most, 16 + 16 / 2 + 3 * PAGES);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_uint_eq(read_block(100 + i, 3 * PAGE_BLOCKS + 5), 4);
}
END_TEST

START_TEST(versions_and_invalidate_find_all_pages)
{
	struct version versions[PAGES * UNITS_PER_PAGE] = {{0, 0}};
	uint32_t tag;

	make_cold();
	ops[0] = (struct store_op){.kind = STORE_VERSIONS, .chunk = CHUNK};
	ck_assert_int_eq(driver_do(disk, store, &ops[0]), STORE_OK);
	for (uint32_t unit = 0; unit < PAGES * UNITS_PER_PAGE; unit++) {
		bool there = unit % UNITS_PER_PAGE == 0;

		ck_assert_uint_eq(ops[0].versions[unit].generation,
				  there ? unit / UNITS_PER_PAGE + 1 : 0);
		ck_assert_int_eq(bit_get(ops[0].allocated, unit), there);
		versions[unit] = ops[0].versions[unit];
	}
	versions[5 * UNITS_PER_PAGE] = AT(99);
	versions[7 * UNITS_PER_PAGE + 3] = AT(99);
	ops[1] = (struct store_op){.kind = STORE_INVALIDATE,
				   .chunk = CHUNK,
				   .unit_count = PAGES * UNITS_PER_PAGE,
				   .in_versions = versions};
	ck_assert_int_eq(driver_do(disk, store, &ops[1]), STORE_OK);
	ck_assert_uint_eq(ops[1].invalid_count, 2);
	crash(1);
	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 5 * PAGE_BLOCKS, 1, &tag),
			 STORE_INVALID_UNIT);
	ck_assert_int_eq(
		do_read(disk, store, CHUNK, CHUNK, 7 * PAGE_BLOCKS + 3 * UNIT_BLOCKS, 1, &tag),
		STORE_INVALID_UNIT);
	ck_assert_uint_eq(read_block(CHUNK, 6 * PAGE_BLOCKS + 5), 7);
}
END_TEST

/* ---- replay ---- */

/* A journal that touches all pages, written with all of them in memory, is replayed with one: the same comes of it. */
START_TEST(replay_with_a_small_cache)
{
	struct prng p = {(uint64_t)_i + 1};
	uint32_t tags[PAGES] = {0};
	struct store_chunk all, one;
	uint64_t used;

	make_cold();
	reopen(1000);
	for (uint32_t i = 0; i < 60; i++) {
		uint32_t page = (uint32_t)prng_below(&p, PAGES);

		tags[page] = 1000 + i;
		if (i % 20 == 7)
			ck_assert_int_eq(do_clone(disk, store, OTHER + i, CHUNK, i), STORE_OK);
		if (i % 20 == 17)
			ck_assert_int_eq(do_delete(disk, store, OTHER + i - 10, i), STORE_OK);
		ck_assert_int_eq(do_write(disk, store, CHUNK, page * PAGE_BLOCKS, 1, AT(100 + i),
					  tags[page]),
				 STORE_OK);
	}
	ck_assert(store_chunk_get(store, CHUNK, &all));
	used = counters().used_bytes;
	crash(1);
	ck_assert(store_chunk_get(store, CHUNK, &one));
	ck_assert_uint_eq(one.digest, all.digest);
	ck_assert_uint_eq(one.allocated_bytes, all.allocated_bytes);
	ck_assert_uint_eq(counters().used_bytes, used);
	for (uint32_t page = 0; page < PAGES; page++)
		ck_assert_uint_eq(read_block(CHUNK, page * PAGE_BLOCKS), tags[page]);
	expect_filled(CHUNK, 0);
	reopen(1);
	check_disk();
}
END_TEST

/* ---- pages that can't be read ---- */

static void expect_status(uint32_t page, enum store_status status)
{
	uint32_t tag;

	ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, page * PAGE_BLOCKS + 5, 1, &tag),
			 status);
}

/* 0: the disk fails the request; 1: what comes fails its checksum. */
START_TEST(a_page_that_cannot_be_read)
{
	struct store_chunk info;
	uint64_t offset;

	make_cold();
	offset = offset_of(CHUNK, 3);
	if (_i)
		mem_disk_flip(disk, offset + 70, 4);
	else
		mem_disk_fail_reads(disk, offset, PAGE_BYTES);
	expect_status(3, STORE_DISK_ERROR);
	ck_assert_uint_eq(counters().read_errors, _i ? 0 : 1);
	ck_assert_uint_eq(counters().checksum_errors, _i ? 1 : 0);
	expect_status(2, STORE_OK);
	ck_assert(!store_failed(store));
	/* A write that needs it fails, those of its chunk behind it as well: they would leave a gap. */
	submit_write(0, CHUNK, 3 * PAGE_BLOCKS, 101, 50);
	submit_write(1, CHUNK, 0, 102, 51);
	ck_assert_int_eq(do_create(disk, store, OTHER, CHUNK_BYTES), STORE_OK);
	mem_disk_run(disk);
	ck_assert_uint_eq(completed, 2);
	ck_assert_int_eq(ops[0].status, STORE_DISK_ERROR);
	ck_assert_int_eq(ops[1].status, STORE_DISK_ERROR);
	ck_assert(store_chunk_get(store, CHUNK, &info));
	ck_assert_uint_eq(info.position.generation, PAGES);
	ops[2] = (struct store_op){.kind = STORE_VERSIONS, .chunk = CHUNK};
	ck_assert_int_eq(driver_do(disk, store, &ops[2]), STORE_DISK_ERROR);
	ck_assert_int_eq(do_clone(disk, store, OTHER + 1, CHUNK, 5), STORE_DISK_ERROR);
	ck_assert_int_eq(do_write(disk, store, OTHER, 0, 1, AT(1), 1), STORE_OK);
	/* It is tried again each time. */
	if (_i)
		mem_disk_flip(disk, offset + 70, 4);
	else
		mem_disk_fail_reads(disk, 0, 0);
	expect_status(3, STORE_OK);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 3 * PAGE_BLOCKS, 1, AT(101), 50), STORE_OK);
	crash(2);
	expect_filled(CHUNK, 0);
	ck_assert_uint_eq(read_block(CHUNK, 3 * PAGE_BLOCKS), 50);
}
END_TEST

/* Another page's bytes, whole and with a good checksum, don't pass for it. */
START_TEST(a_misdirected_page)
{
	uint8_t page[PAGE_BYTES];

	make_cold();
	mem_disk_peek(disk, offset_of(CHUNK, 4), page, sizeof page);
	mem_disk_poke(disk, offset_of(CHUNK, 3), page, sizeof page);
	expect_status(3, STORE_DISK_ERROR);
	expect_status(4, STORE_OK);
}
END_TEST

/* DELETE gets rid of it; what it held is free when the disk is opened again. */
START_TEST(a_chunk_with_a_bad_page_can_be_deleted)
{
	make_cold();
	mem_disk_flip(disk, offset_of(CHUNK, 3) + 70, 4);
	ck_assert_int_eq(do_delete(disk, store, CHUNK, 9), STORE_OK);
	ck_assert_uint_eq(counters().used_bytes, UNIT_BYTES);
	ck_assert_uint_eq(store->unit_pages, 0);
	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	fill(CHUNK, 1, 7);
	reopen(2);
	ck_assert_uint_eq(counters().used_bytes, PAGES * UNIT_BYTES);
	expect_filled(CHUNK, 7);
	reopen(2);
	check_disk();
}
END_TEST

/*
 * INVALIDATE makes all units of it invalid; copied from another replica, they are as they were. 0: it fails its checksum; 1: the
 * disk fails the request, in which other pages are read too.
 */
START_TEST(a_bad_page_is_resynchronised)
{
	struct store_op versions = {.kind = STORE_VERSIONS, .chunk = CHUNK}, op;
	struct store_chunk before, after;
	uint32_t unit = (uint32_t)(3 * UNITS_PER_PAGE), tag;

	make_cold();
	ck_assert(store_chunk_get(store, CHUNK, &before));
	ck_assert_int_eq(driver_do(disk, store, &versions), STORE_OK);
	mem_disk_run(disk);
	read_block(CHUNK, 0);
	read_block(CHUNK, PAGE_BLOCKS);
	read_block(CHUNK, 2 * PAGE_BLOCKS);
	if (_i)
		mem_disk_fail_reads(disk, offset_of(CHUNK, 3), PAGE_BYTES);
	else
		mem_disk_flip(disk, offset_of(CHUNK, 3) + 70, 4);
	expect_status(3, STORE_DISK_ERROR);
	op = (struct store_op){.kind = STORE_INVALIDATE,
			       .chunk = CHUNK,
			       .unit_count = PAGES * UNITS_PER_PAGE,
			       .in_versions = versions.versions};
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	ck_assert_uint_eq(op.invalid_count, UNITS_PER_PAGE);
	store_op_clear(&op);
	mem_disk_fail_reads(disk, 0, 0);
	ck_assert(store_chunk_get(store, CHUNK, &after));
	ck_assert_uint_eq(after.invalid_units, UNITS_PER_PAGE);
	ck_assert_uint_eq(after.digest, before.digest - version_hash(unit, AT(4)));
	ck_assert_uint_eq(after.allocated_bytes, before.allocated_bytes - UNIT_BYTES);
	expect_status(3, STORE_INVALID_UNIT);
	expect_status(2, STORE_OK);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 3 * PAGE_BLOCKS + 1, 1, AT(50), 50),
			 STORE_OK);
	reopen(2); /* before that it would be refused */
	for (uint32_t i = 0; i < UNITS_PER_PAGE; i++) {
		op_write(&op, CHUNK, CHUNK, (unit + i) * UNIT_BLOCKS, UNIT_BLOCKS,
			 i ? (struct version){0, 0} : AT(50), 4);
		op.kind = STORE_COPY;
		op.unit = unit + i;
		op.zero_mask = i ? UINT16_MAX : (uint16_t) ~(1u << 5);
		ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
		slice_unref(&op.data);
	}
	for (unsigned round = 0; round < 3; round++) {
		ck_assert(store_chunk_get(store, CHUNK, &after));
		ck_assert_uint_eq(after.invalid_units, 0);
		ck_assert_uint_eq(after.allocated_bytes, before.allocated_bytes);
		ck_assert_uint_eq(after.digest, before.digest - version_hash(unit, AT(4)) +
							version_hash(unit, AT(50)));
		expect_filled(CHUNK, 0);
		ck_assert_int_eq(do_read(disk, store, CHUNK, CHUNK, 3 * PAGE_BLOCKS + 1, 1, &tag),
				 STORE_OK);
		ck_assert_uint_eq(tag, 50);
		ck_assert_uint_eq(read_block(CHUNK, 3 * PAGE_BLOCKS + 5), 4);
		ck_assert_uint_eq(counters().used_bytes, PAGES * UNIT_BYTES);
		if (round == 0)
			crash(2);
		if (round == 1)
			reopen(2);
	}
	check_disk();
	store_op_clear(&versions);
}
END_TEST

/* Once writes fail, what is on disk alone is read from there, and what is changed stays. */
START_TEST(reads_go_on_after_a_write_error)
{
	make_cold();
	mem_disk_fail_writes_after(disk, 0);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 3 * PAGE_BLOCKS, 1, AT(101), 50),
			 STORE_DISK_ERROR);
	ck_assert(store_failed(store));
	for (unsigned round = 0; round < 2; round++)
		for (uint32_t p = 0; p < PAGES; p++)
			expect_status(p, p == 3 ? STORE_DISK_ERROR : STORE_OK);
	mem_disk_fail_writes_after(disk, UINT64_MAX);
	crash(2);
	expect_filled(CHUNK, 0);
}
END_TEST

/* All in flight at once, in any order of completion, and closed in the middle of it. */
START_TEST(close_with_operations_that_wait)
{
	unsigned n = 0;

	make_cold();
	for (uint32_t i = 0; i < 60; i++) {
		submit_write(n++, CHUNK, i % PAGES * PAGE_BLOCKS + 7, 100 + i, i);
		submit_read(n++, CHUNK, (i * 7) % PAGES * PAGE_BLOCKS + 5, 1);
		ops[n] = (struct store_op){.kind = STORE_VERSIONS, .chunk = CHUNK};
		submit(n++);
	}
	ck_assert_int_eq(driver_close(disk, store), 0);
	ck_assert_uint_eq(completed, n);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(ops[i].status, STORE_OK);
	open_with(2);
	for (uint32_t p = 0; p < PAGES; p++)
		ck_assert_uint_eq(read_block(CHUNK, p * PAGE_BLOCKS + 7), 48 + p);
	expect_filled(CHUNK, 0);
}
END_TEST

/* With all kinds of operations on it: as after close, so after the power is cut. */
START_TEST(a_crash_with_operations_that_wait)
{
	make_cold();
	for (uint32_t i = 0; i < 30; i++) {
		submit_write(3 * i, CHUNK, i % PAGES * PAGE_BLOCKS + 7, 100 + i, i);
		submit_read(3 * i + 1, CHUNK, (i * 7) % PAGES * PAGE_BLOCKS + 5, 1);
		ops[3 * i + 2] = (struct store_op){.kind = STORE_VERSIONS, .chunk = CHUNK};
		submit(3 * i + 2);
	}
	for (unsigned i = 0; i < 10 + 30 * (unsigned)_i; i++)
		mem_disk_step(disk);
	crash(2);
	expect_filled(CHUNK, 0);
	reopen(2);
	check_disk();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store paging");
	TCase *t = tcase_create("paging");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, memory_is_bounded);
	tcase_add_test(t, opening_keeps_no_page);
	tcase_add_test(t, the_clock_keeps_what_is_used);
	tcase_add_test(t, pinned_pages_stay);
	tcase_add_test(t, what_waits_pins_little);
	tcase_add_loop_test(t, order_is_kept_across_a_miss, 0, 2);
	tcase_add_loop_test(t, a_chunk_is_made_anew_before_a_waiting_write, 0, 2);
	tcase_add_loop_test(t, a_table_goes_while_a_read_has_it, 0, 2);
	tcase_add_test(t, a_read_finds_another_table);
	tcase_add_test(t, a_clone_of_pages_on_disk);
	tcase_add_test(t, many_clones_at_once);
	tcase_add_test(t, versions_and_invalidate_find_all_pages);
	tcase_add_loop_test(t, replay_with_a_small_cache, 0, 4);
	tcase_add_loop_test(t, a_page_that_cannot_be_read, 0, 2);
	tcase_add_test(t, a_misdirected_page);
	tcase_add_test(t, a_chunk_with_a_bad_page_can_be_deleted);
	tcase_add_loop_test(t, a_bad_page_is_resynchronised, 0, 2);
	tcase_add_test(t, reads_go_on_after_a_write_error);
	tcase_add_test(t, close_with_operations_that_wait);
	tcase_add_loop_test(t, a_crash_with_operations_that_wait, 0, 4);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
