/*
 * space.h - a set of numbers that are free, as a bitmap: metadata slots and data places are handed out from it.
 * Taking goes on from where it was (next fit), so that what is taken together lies together.
 */
#ifndef COPYHOLD_STORE_SPACE_H
#define COPYHOLD_STORE_SPACE_H

#include "common/base/base.h"

struct space {
	uint64_t *words;   /* a set bit is free */
	uint64_t *summary; /* a set bit is a word that isn't 0 */
	uint32_t count, free, cursor;
};

/* All count numbers are free. */
void space_init(struct space *s, uint32_t count);
void space_destroy(struct space *s);
/* False if none is free. */
bool space_take(struct space *s, uint32_t *number);
void space_give(struct space *s, uint32_t number);
bool space_is_free(const struct space *s, uint32_t number);
/* Takes this very number; false if it wasn't free. */
bool space_claim(struct space *s, uint32_t number);
uint64_t space_memory_bytes(const struct space *s);

#endif
