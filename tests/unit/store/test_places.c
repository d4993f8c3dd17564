/* test_places.c - when a place may be used again, and the sets and tables below the store. */
#include "replica-engine/store/store_internal.h"
#include "tests/lib/store_driver.h"
#include "tests/lib/suite.h"

#include <check.h>

#define AT(g) ((struct version){1, (g)})

/*
 * A place that a record freed stays untouched until a durable batch confirms the batch with that record: recovery may look
 * at what an unconfirmed batch wrote there.
 */
START_TEST(test_freed_place_waits_for_confirmation)
{
	struct mem_disk *disk = mem_disk_new(16 * MIB, 1);
	struct store *store;
	uint32_t place;

	driver_format(disk, MIB);
	store = driver_open(disk).store;
	do_create(disk, store, 1, 4 * MIB);
	ck_assert_int_eq(do_write(disk, store, 1, 0, 16, AT(1), 1), STORE_OK);
	place = unit_find(chunk_find(store, 1), 0)->place - 1;
	ck_assert_int_eq(do_zero(disk, store, 1, 0, 16, AT(2)), STORE_OK);
	ck_assert_uint_eq(store->refs[place], 0);
	ck_assert_uint_eq(store->freed_count, 1);
	ck_assert(!space_is_free(&store->places, place));
	/* It counts as free all the same. */
	ck_assert_uint_eq(store_counters(store).used_bytes, 0);
	/* A later record confirms it; so does an empty batch when nothing else comes. */
	if (_i)
		ck_assert_int_eq(do_simple(disk, store, STORE_FENCE, 1, AT(3)), STORE_OK);
	else
		store_tick(store, NS_PER_S);
	mem_disk_run(disk);
	ck_assert(space_is_free(&store->places, place));
	ck_assert_uint_eq(store->freed_count, 0);
	ck_assert_int_eq(driver_close(disk, store), 0);
	mem_disk_free(disk);
}
END_TEST

START_TEST(test_space)
{
	static const uint32_t counts[] = {1, 63, 64, 65, 4096, 4097, 10000};
	uint32_t count = counts[_i], number;
	struct space s;

	space_init(&s, count);
	for (uint32_t i = 0; i < count; i++) {
		ck_assert(space_take(&s, &number));
		ck_assert_uint_eq(number, i);
	}
	ck_assert(!space_take(&s, &number));
	space_give(&s, count / 2);
	ck_assert(space_is_free(&s, count / 2));
	ck_assert(space_take(&s, &number));
	ck_assert_uint_eq(number, count / 2);
	space_give(&s, count - 1);
	ck_assert(space_claim(&s, count - 1));
	ck_assert(!space_claim(&s, count - 1));
	ck_assert_uint_eq(s.free, 0);
	space_destroy(&s);
}
END_TEST

static uint32_t dropped;

static void count_dropped(void *context, uint32_t sequence)
{
	(void)context;
	(void)sequence;
	dropped++;
}

/* Against a plain array, with a table as full as it gets. */
START_TEST(test_dirty)
{
	enum {
		PLACES = 64,
		BLOCKS = 700
	};
	static uint32_t expected[PLACES][UNIT_BLOCKS];
	struct prng p = {(uint64_t)_i + 1};
	struct dirty d;
	uint64_t set = 0;

	memset(expected, 0, sizeof expected);
	dropped = 0;
	dirty_init(&d, BLOCKS, PLACES, count_dropped, NULL);
	for (uint32_t i = 1; i < 20000; i++) {
		uint32_t place = (uint32_t)prng_below(&p, PLACES);
		unsigned block = (unsigned)prng_below(&p, UNIT_BLOCKS);

		if (prng_chance(&p, 1, 50)) {
			dirty_clear_place(&d, place);
			memset(expected[place], 0, sizeof expected[place]);
		} else if (prng_chance(&p, 2, 3) && d.count < BLOCKS) {
			dirty_set(&d, place, block, i, i);
			expected[place][block] = i;
			set++;
		} else {
			uint32_t where = expected[place][block];

			/* Of an older one: nothing happens. */
			dirty_clear(&d, place, block, where + 1, where + 1);
			dirty_clear(&d, place, block, where, where);
			expected[place][block] = 0;
		}
	}
	for (uint32_t place = 0; place < PLACES; place++) {
		for (unsigned block = 0; block < UNIT_BLOCKS; block++) {
			const struct dirty_block *b = dirty_find(&d, place, block);

			ck_assert_uint_eq(b ? b->where : 0, expected[place][block]);
		}
	}
	ck_assert_uint_eq(d.count + dropped, set);
	dirty_destroy(&d);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store places");
	TCase *t = tcase_create("places");

	tcase_add_loop_test(t, test_freed_place_waits_for_confirmation, 0, 2);
	tcase_add_loop_test(t, test_space, 0, 7);
	tcase_add_loop_test(t, test_dirty, 0, 4);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
