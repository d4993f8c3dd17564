/*
 * dirty.h - which blocks of which places are newer in the journal than at home, and where in the journal.
 *
 * An open-addressing table of fixed size: the journal bounds the number of its blocks, so nothing is allocated while
 * the store runs. It is keyed by place, not by chunk and unit: clones that share a place share its blocks in the journal.
 */
#ifndef COPYHOLD_STORE_DIRTY_H
#define COPYHOLD_STORE_DIRTY_H

#include "common/base/base.h"

struct dirty_block {
	uint64_t key;      /* place * 16 + block, + 1; 0: empty */
	uint32_t where;    /* block of the journal ring */
	uint32_t sequence; /* of its batch, low half */
};

struct dirty {
	struct dirty_block *table;
	uint64_t mask;
	uint64_t count;
	uint8_t *per_place; /* blocks of each place */
	/* Told when a block in the journal stops being the newest (context, low half of the batch's sequence). */
	void (*dropped)(void *context, uint32_t sequence);
	void *context;
};

void dirty_init(struct dirty *d, uint64_t journal_blocks, uint32_t places,
		void (*dropped)(void *context, uint32_t sequence), void *context);
void dirty_destroy(struct dirty *d);
const struct dirty_block *dirty_find(const struct dirty *d, uint32_t place, unsigned block);
void dirty_set(struct dirty *d, uint32_t place, unsigned block, uint32_t where, uint32_t sequence);
/* Removes the block if it still is the one of this place in the journal. */
void dirty_clear(struct dirty *d, uint32_t place, unsigned block, uint32_t where,
		 uint32_t sequence);
void dirty_clear_place(struct dirty *d, uint32_t place);
/* Removes all blocks of one batch: it can't be read any more. Slow. */
uint64_t dirty_clear_batch(struct dirty *d, uint32_t sequence);
uint64_t dirty_memory_bytes(const struct dirty *d, uint32_t places);

#endif
