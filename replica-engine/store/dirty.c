/* dirty.c - see dirty.h. Linear probing, deletion by shifting back. */
#include "replica-engine/store/dirty.h"

#include "common/base/prng.h"

#include <stdlib.h>

static uint64_t key_of(uint32_t place, unsigned block)
{
	return (uint64_t)place * UNIT_BLOCKS + block + 1;
}

static uint64_t home_of(const struct dirty *d, uint64_t key)
{
	return mix64(key) & d->mask;
}

void dirty_init(struct dirty *d, uint64_t journal_blocks, uint32_t places,
		void (*dropped)(void *context, uint32_t sequence), void *context)
{
	uint64_t size = 64;

	while (size < journal_blocks + journal_blocks / 2)
		size *= 2;
	*d = (struct dirty){.mask = size - 1, .dropped = dropped, .context = context};
	d->table = xcalloc(size, sizeof *d->table);
	d->per_place = xcalloc(places + (size_t)1, 1);
}

void dirty_destroy(struct dirty *d)
{
	free(d->table);
	free(d->per_place);
	*d = (struct dirty){0};
}

static struct dirty_block *find(const struct dirty *d, uint64_t key)
{
	for (uint64_t i = home_of(d, key);; i = (i + 1) & d->mask) {
		if (d->table[i].key == key)
			return &d->table[i];
		if (!d->table[i].key)
			return NULL;
	}
}

const struct dirty_block *dirty_find(const struct dirty *d, uint32_t place, unsigned block)
{
	return d->per_place[place] ? find(d, key_of(place, block)) : NULL;
}

void dirty_set(struct dirty *d, uint32_t place, unsigned block, uint32_t where, uint32_t sequence)
{
	uint64_t key = key_of(place, block), i;
	struct dirty_block *b = find(d, key);

	if (b) {
		uint32_t old = b->sequence;

		b->where = where;
		b->sequence = sequence;
		d->dropped(d->context, old);
		return;
	}
	assert(d->count < d->mask);
	for (i = home_of(d, key); d->table[i].key; i = (i + 1) & d->mask)
		;
	d->table[i] = (struct dirty_block){key, where, sequence};
	d->count++;
	d->per_place[place]++;
}

static void erase(struct dirty *d, struct dirty_block *b)
{
	uint64_t hole = (uint64_t)(b - d->table), i = hole;
	uint32_t sequence = b->sequence;

	d->per_place[(b->key - 1) / UNIT_BLOCKS]--;
	d->count--;
	for (;;) {
		uint64_t home;

		i = (i + 1) & d->mask;
		if (!d->table[i].key)
			break;
		home = home_of(d, d->table[i].key);
		/* May it move to the hole? Only if the hole isn't before its home. */
		if (((i - home) & d->mask) >= ((i - hole) & d->mask)) {
			d->table[hole] = d->table[i];
			hole = i;
		}
	}
	d->table[hole].key = 0;
	d->dropped(d->context, sequence);
}

void dirty_clear(struct dirty *d, uint32_t place, unsigned block, uint32_t where, uint32_t sequence)
{
	struct dirty_block *b = find(d, key_of(place, block));

	if (b && b->where == where && b->sequence == sequence)
		erase(d, b);
}

void dirty_clear_place(struct dirty *d, uint32_t place)
{
	for (unsigned block = 0; d->per_place[place] && block < UNIT_BLOCKS; block++) {
		struct dirty_block *b = find(d, key_of(place, block));

		if (b)
			erase(d, b);
	}
}

uint64_t dirty_clear_batch(struct dirty *d, uint32_t sequence)
{
	uint64_t cleared = 0;

	for (uint64_t i = 0; i <= d->mask;) {
		if (d->table[i].key && d->table[i].sequence == sequence) {
			erase(d, &d->table[i]);
			cleared++;
		} else {
			i++;
		}
	}
	return cleared;
}

uint64_t dirty_memory_bytes(const struct dirty *d, uint32_t places)
{
	return (d->mask + 1) * sizeof *d->table + places;
}
