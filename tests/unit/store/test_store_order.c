/*
 * test_store_order.c - a write that is refused when its turn comes, while others of its chunk wait behind it: none of
 * those may be applied, or the chunk would hold a later generation without an earlier one.
 */
#include "tests/lib/store_driver.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <stdlib.h>

#define DISK_BYTES  (32 * MIB)
#define JOURNAL     (1 * MIB)
#define FULL        UINT64_C(5) /* takes all space */
#define CHUNK       UINT64_C(7)
#define CHUNK_BYTES (16 * MIB)
#define AT(g)       ((struct version){1, (g)})
#define IN_FLIGHT   400

static struct mem_disk *disk;
static struct store *store;
static struct store_op *ops;
static unsigned completed;

static void done(struct store_op *op)
{
	op->context = op;
	completed++;
}

/* Submits a write without running the disk. */
static struct store_op *submit(unsigned i, uint64_t chunk, uint32_t block, uint32_t blocks,
			       uint64_t generation)
{
	struct store_op *op = &ops[i];

	op_write(op, chunk, chunk, block, blocks, AT(generation), 9);
	op->done = done;
	store_submit(store, op);
	return op;
}

static uint64_t position(uint64_t chunk)
{
	struct store_chunk info;

	ck_assert(store_chunk_get(store, chunk, &info));
	return info.position.generation;
}

static void fill_disk(void)
{
	uint64_t g = 0;

	ck_assert_int_eq(do_create(disk, store, FULL, 32 * MIB), STORE_OK);
	for (uint32_t block = 0; store_counters(store).free_bytes >= 2 * UNIT_BYTES;
	     block += UNIT_BLOCKS)
		ck_assert_int_eq(do_write(disk, store, FULL, block, UNIT_BLOCKS, AT(++g), 1),
				 STORE_OK);
}

static void setup(void)
{
	struct opened o;

	disk = mem_disk_new(DISK_BYTES, 42);
	ck_assert_int_eq(driver_format(disk, JOURNAL), 0);
	o = driver_open(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	store = o.store;
	ops = xcalloc(IN_FLIGHT, sizeof *ops);
	completed = 0;
}

static void teardown(void)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		slice_unref(&ops[i].data);
	free(ops);
	ck_assert_int_eq(driver_close(disk, store), 0);
	mem_disk_free(disk);
	ck_assert_uint_eq(buf_in_use(), 0);
}

START_TEST(what_waits_behind_a_refused_write_is_refused)
{
	struct store_op *large, *behind, *zero, *other;
	uint64_t g = 1;
	unsigned n = 0;

	ck_assert_int_eq(do_create(disk, store, CHUNK, CHUNK_BYTES), STORE_OK);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 0, 1, AT(1), 1), STORE_OK);
	fill_disk();
	/* More than the journal holds: from some point on they wait. */
	for (; n < 300; n++)
		submit(n, FULL, n % 64, 1, position(FULL) + 1);
	large = submit(n++, CHUNK, 1024, 256, ++g);
	behind = submit(n++, CHUNK, 0, 1, ++g);
	zero = &ops[n++];
	op_zero(zero, CHUNK, 0, 1, AT(++g));
	zero->done = done;
	store_submit(store, zero);
	other = &ops[n++];
	other->kind = STORE_FENCE;
	other->chunk = CHUNK;
	other->epoch = 5;
	other->done = done;
	store_submit(store, other);
	ck_assert_uint_eq(position(CHUNK), g);
	while (completed == 0 || !large->context)
		ck_assert(mem_disk_step(disk));
	/* What comes now is judged by where the chunk will be. */
	ck_assert_uint_eq(position(CHUNK), 1);
	mem_disk_run(disk);
	ck_assert_uint_eq(completed, n);
	ck_assert_int_eq(large->status, STORE_NO_SPACE);
	ck_assert_int_eq(behind->status, STORE_NO_SPACE);
	ck_assert_int_eq(zero->status, STORE_NO_SPACE);
	ck_assert_int_eq(other->status, STORE_OK);
	ck_assert_uint_eq(position(CHUNK), 1);
	ck_assert_int_eq(do_write(disk, store, CHUNK, 0, 1, AT(2), 1), STORE_OK);
	ck_assert_uint_eq(position(CHUNK), 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_order");
	TCase *tcase = tcase_create("refused");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_waits_behind_a_refused_write_is_refused);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
