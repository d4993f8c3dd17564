/* test_store_space.c - full disks: what is refused, what never is, and what waits instead. */
#include "tests/lib/store_driver.h"

#include "common/base/prng.h"
#include "replica-engine/store/store_internal.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <stdlib.h>

#define JOURNAL   (1 * MIB)
#define CHUNK     UINT64_C(1)
#define OTHER     UINT64_C(2)
#define IN_FLIGHT 24u
#define AT(g)     ((struct version){1, (g)})

static struct mem_disk *disk;
static struct store *store;
static uint64_t generation;

static void start(uint64_t disk_bytes, uint64_t metadata_bytes)
{
	struct opened o;

	disk = mem_disk_new(disk_bytes, 7);
	ck_assert_int_eq(
		driver_format_with(disk,
				   &(struct store_format_options){.journal_bytes = JOURNAL,
								  .metadata_bytes = metadata_bytes,
								  .disk = uuid_from_random(1, 2)}),
		0);
	o = driver_open(disk);
	ck_assert_msg(o.status == 0, "%s", o.why);
	store = o.store;
	generation = 0;
}

static void end(void)
{
	char last[256];
	struct store_fsck_result f;

	ck_assert_int_eq(driver_close(disk, store), 0);
	f = driver_fsck(disk, true, last);
	ck_assert_msg(f.status == 0 && f.problems == 0, "%s", last);
	mem_disk_free(disk);
	ck_assert_uint_eq(buf_in_use(), 0);
}

static enum store_status write_units(uint64_t chunk, uint32_t unit, uint32_t units)
{
	++generation;
	return do_write(disk, store, chunk, unit * UNIT_BLOCKS, units * UNIT_BLOCKS, AT(generation),
			(uint32_t)generation);
}

/* How many units could be written until the disk was full. */
static uint32_t fill(uint64_t chunk)
{
	uint32_t units = 0;

	while (write_units(chunk, units, 1) == STORE_OK)
		units++;
	return units;
}

struct flight {
	struct store_op op;
	bool done;
};

static void flight_done(struct store_op *op)
{
	((struct flight *)op->context)->done = true;
}

/*
 * On a full disk, whatever is there can be overwritten: blocks, whole units, a mebibyte at any offset, many at a time. What finds
 * no place at the moment waits. Each with and without a crash behind it.
 */
START_TEST(overwrites_are_never_refused)
{
	static const uint64_t sizes[] = {6 * MIB, 9 * MIB, 32 * MIB};
	static struct flight flights[IN_FLIGHT];
	struct prng p = {(uint64_t)_i + 1};
	uint32_t units, waited = 0;

	start(sizes[_i % 3], 0);
	ck_assert_int_eq(do_create(disk, store, CHUNK, 32 * MIB), STORE_OK);
	units = fill(CHUNK);
	ck_assert_uint_gt(units, 17);
	ck_assert_uint_lt(store_counters(store).free_bytes, UNIT_BYTES);
	memset(flights, 0, sizeof flights);
	for (uint32_t i = 0; i < 600; i++) {
		struct flight *f = &flights[i % IN_FLIGHT];
		uint32_t blocks = prng_chance(&p, 1, 3)   ? 256
				  : prng_chance(&p, 1, 2) ? 1 + (uint32_t)prng_below(&p, 256)
							  : 1 + (uint32_t)prng_below(&p, 16);
		uint32_t first = (uint32_t)prng_below(&p, units * UNIT_BLOCKS - blocks + 1);

		while (f->op.context && !f->done)
			ck_assert(mem_disk_step(disk));
		ck_assert(!f->op.context || f->op.status == STORE_OK);
		slice_unref(&f->op.data);
		++generation;
		op_write(&f->op, CHUNK, CHUNK, first, blocks, AT(generation), (uint32_t)generation);
		f->op.context = f;
		f->op.done = flight_done;
		f->done = false;
		store_submit(store, &f->op);
		waited += !TAILQ_EMPTY(&store->waiting);
		while (prng_chance(&p, 1, 2) && mem_disk_step(disk))
			;
	}
	mem_disk_run(disk);
	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		ck_assert(flights[i].done);
		ck_assert_int_eq(flights[i].op.status, STORE_OK);
		slice_unref(&flights[i].op.data);
	}
	ck_assert_uint_gt(waited, 0);
	/* Nothing leaked: new data is refused as before, and the same room comes back. */
	ck_assert_int_eq(write_units(CHUNK, units, 1), STORE_NO_SPACE);
	ck_assert_int_eq(do_zero(disk, store, CHUNK, 0, 3 * UNIT_BLOCKS, AT(++generation)),
			 STORE_OK);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(write_units(CHUNK, i, 1), STORE_OK);
	ck_assert_int_eq(write_units(CHUNK, units, 1), STORE_NO_SPACE);
	end();
}
END_TEST

/* A place that was given back a moment ago can't be written yet: the write waits for it. */
START_TEST(a_write_waits_for_what_was_given_back)
{
	struct flight zero = {0}, write = {0};
	uint32_t units;

	start(6 * MIB, 0);
	ck_assert_int_eq(do_create(disk, store, CHUNK, 32 * MIB), STORE_OK);
	units = fill(CHUNK);
	/* Every free place is under way to be freed or kept: take them all by overwrites that aren't confirmed. */
	op_zero(&zero.op, CHUNK, 0, units * UNIT_BLOCKS, AT(++generation));
	zero.op.done = flight_done;
	zero.op.context = &zero;
	store_submit(store, &zero.op);
	for (uint32_t i = 0; i < units; i++) {
		op_write(&write.op, CHUNK, CHUNK, i * UNIT_BLOCKS, UNIT_BLOCKS, AT(++generation),
			 3);
		write.op.done = flight_done;
		write.op.context = &write;
		write.done = false;
		store_submit(store, &write.op);
		while (!write.done)
			ck_assert(mem_disk_step(disk));
		ck_assert_int_eq(write.op.status, STORE_OK);
		slice_unref(&write.op.data);
	}
	ck_assert(zero.done);
	end();
}
END_TEST

/* New data leaves what overwrites and repair need; repair leaves what overwrites need. */
START_TEST(each_leaves_what_the_next_needs)
{
	struct version versions[128] = {{9, 9}};
	struct store_op op = {.kind = STORE_INVALIDATE, .chunk = OTHER, .unit_count = 128};
	uint32_t units, copied = 0;

	start(32 * MIB, 0);
	ck_assert_int_eq(do_create(disk, store, CHUNK, 64 * MIB), STORE_OK);
	ck_assert_int_eq(do_create(disk, store, OTHER, 8 * MIB), STORE_OK);
	for (unsigned i = 0; i < 128; i++)
		versions[i] = (struct version){9, 9};
	op.in_versions = versions;
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	store_op_clear(&op);
	units = fill(CHUNK);
	for (;; copied++) {
		enum store_status status;

		op_write(&op, OTHER, OTHER, copied * UNIT_BLOCKS, UNIT_BLOCKS, AT(1), 5);
		op.kind = STORE_COPY;
		op.unit = copied;
		status = driver_do(disk, store, &op);
		slice_unref(&op.data);
		if (status != STORE_OK) {
			ck_assert_int_eq(status, STORE_NO_SPACE);
			break;
		}
	}
	ck_assert_uint_ge(copied, 2);
	/* What rolls a replica forward may take the rest of the reserve. */
	for (uint32_t before = copied;; copied++) {
		enum store_status status;

		op_write(&op, OTHER, OTHER, copied * UNIT_BLOCKS, UNIT_BLOCKS, AT(1), 5);
		op.kind = STORE_COPY;
		op.unit = copied;
		op.roll = true;
		status = driver_do(disk, store, &op);
		slice_unref(&op.data);
		if (status != STORE_OK) {
			ck_assert_int_eq(status, STORE_NO_SPACE);
			ck_assert_uint_ge(copied, before + 2);
			break;
		}
	}
	ck_assert_uint_eq(places_free(store), OVERWRITE_UNITS);
	ck_assert_int_eq(write_units(CHUNK, 0, 16), STORE_OK);
	ck_assert_int_eq(write_units(CHUNK, units - 16, 16), STORE_OK);
	end();
}
END_TEST

/* Writes find the metadata region full before discards do. */
START_TEST(a_discard_finds_a_page)
{
	struct store_op op;
	uint32_t chunks = 0, unit = 0;

	start(32 * MIB, 256 * KIB);
	while (do_create(disk, store, 1 + chunks, 64 * MIB) == STORE_OK && chunks < 3)
		chunks++;
	while (do_write(disk, store, 1 + unit / 1024, unit % 1024 * UNIT_BLOCKS, 1,
			AT(++generation), 1) == STORE_OK) {
		unit += (uint32_t)UNITS_PER_PAGE;
		ck_assert_uint_lt(unit, chunks * 1024);
	}
	/* A page that isn't there yet. */
	op_zero(&op, 1 + unit / 1024, unit % 1024 * UNIT_BLOCKS, UNIT_BLOCKS, AT(++generation));
	op.kind = STORE_DISCARD;
	ck_assert_int_eq(driver_do(disk, store, &op), STORE_OK);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store space");
	TCase *t = tcase_create("space");

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, overwrites_are_never_refused, 0, 6);
	tcase_add_test(t, a_write_waits_for_what_was_given_back);
	tcase_add_test(t, each_leaves_what_the_next_needs);
	tcase_add_test(t, a_discard_finds_a_page);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
