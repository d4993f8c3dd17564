/*
 * places.c - who uses the 64 KiB places of the data region.
 *
 * A place that nobody refers to any more may not be written at once: a crash could forget the record that freed it, and
 * recovery looks at the data of records that were not confirmed. So it waits until a batch that is durable itself
 * confirms the batch with the freeing record (journal.confirmed_operation), and until write-back has let go of it.
 *
 * Nobody but overwrites may take the last OVERWRITE_UNITS places: an overwrite of whole units takes as many as it gives
 * back, so their number stays, and one that finds none at this moment waits for those that were given back instead of
 * being refused.
 */
#include "replica-engine/store/store_internal.h"

uint64_t places_free(const struct store *store)
{
	return store->places.free + store->freed_count;
}

enum places_verdict places_judge(const struct store *store, uint32_t taken, uint32_t given_back,
				 enum places_use use)
{
	uint64_t total = places_free(store), keep = store->reserve_units;

	if (use == PLACES_REPAIR)
		keep = (store->reserve_units + OVERWRITE_UNITS) / 2;
	else if (use == PLACES_ROLL)
		keep = OVERWRITE_UNITS;

	if (taken > given_back && total + given_back < taken + keep)
		return PLACES_FULL;
	if (taken > total)
		return PLACES_FULL;
	return taken > store->places.free ? PLACES_LATER : PLACES_ALLOW;
}

uint32_t place_take(struct store *store)
{
	uint32_t place;
	bool taken = space_take(&store->places, &place);

	assert(taken); /* places_allow was asked */
	assert(store->refs[place] == 0);
	store->refs[place] = 1;
	return place;
}

/* A damaged disk may say anything while references are counted; open.c refuses it. */
void place_ref(struct store *store, uint32_t place)
{
	if (store->counting && store->refs[place] == UINT16_MAX) {
		store->overflowed = place + 1;
		return;
	}
	assert(store->refs[place] < UINT16_MAX);
	store->refs[place]++;
}

static void push_freed(struct store *store, uint32_t place)
{
	if (store->freed_count > store->freed_mask) {
		uint64_t size = 2 * (store->freed_mask + 1);
		struct freed *grown = xcalloc(size, sizeof *grown);

		for (uint64_t i = 0; i < store->freed_count; i++)
			grown[i] = store->freed[(store->freed_first + i) & store->freed_mask];
		free(store->freed);
		store->freed = grown;
		store->freed_first = 0;
		store->freed_mask = size - 1;
	}
	store->freed[(store->freed_first + store->freed_count++) & store->freed_mask] =
		(struct freed){place, store->journal.last_operation};
}

void place_unref(struct store *store, uint32_t place)
{
	if (store->counting && store->overflowed && !store->refs[place])
		return;
	assert(store->refs[place] > 0);
	if (--store->refs[place] == 0 && !store->counting)
		push_freed(store, place);
}

void places_release(struct store *store)
{
	while (store->freed_count) {
		struct freed f = store->freed[store->freed_first & store->freed_mask];

		if (f.operation > store->journal.confirmed_operation ||
		    writeback_holds(store, f.place))
			return;
		store->freed_first = (store->freed_first + 1) & store->freed_mask;
		store->freed_count--;
		assert(!store->refs[f.place]);
		dirty_clear_place(&store->dirty, f.place);
		space_give(&store->places, f.place);
	}
}
