/* journal.c - see journal.h. */
#include "tests/e2e/tools/journal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t journal_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64's finalizer (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
uint64_t journal_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void journal_fill_block(uint64_t *words, uint64_t number, uint32_t block)
{
	uint64_t seed = journal_mix(number) ^ journal_mix(block);

	words[0] = number;
	words[1] = block;
	for (unsigned i = 2; i < JOURNAL_BLOCK / 8; i++)
		words[i] = journal_mix(seed + i);
}

/* The number of the write that a block holds, 0 if it is all zero; false if it is neither. */
static bool read_block(const uint64_t *words, uint32_t block, uint64_t *number)
{
	uint64_t expected[JOURNAL_BLOCK / 8];

	*number = words[0];
	if (words[0])
		journal_fill_block(expected, words[0], block);
	else
		memset(expected, 0, sizeof expected);
	return memcmp(words, expected, JOURNAL_BLOCK) == 0;
}

void journal_read(const char *path, struct journal *journal)
{
	FILE *file = fopen(path, "r");
	size_t room = 0;

	*journal = (struct journal){0};
	if (!file)
		return;
	for (;;) {
		struct journal_record *r;

		if (journal->count == room) {
			room = room ? 2 * room : 4096;
			journal->records = realloc(journal->records, room * sizeof *r);
			assert(journal->records);
		}
		r = &journal->records[journal->count];
		if (fread(r, sizeof *r, 1, file) != 1)
			break;
		if (r->first_block + r->blocks > journal->blocks)
			journal->blocks = r->first_block + r->blocks;
		journal->count++;
	}
	fclose(file);
}

struct journal_block *journal_digest(const struct journal *journal, uint64_t until_ns)
{
	struct journal_block *states = calloc(journal->blocks + 1u, sizeof *states);

	assert(states);
	for (size_t i = 0; i < journal->count; i++) {
		const struct journal_record *r = &journal->records[i];

		if (r->kind != JOURNAL_ACKNOWLEDGED || r->time_ns >= until_ns)
			continue;
		for (uint32_t b = 0; b < r->blocks; b++) {
			struct journal_block *state = &states[r->first_block + b];

			if (r->number > state->acknowledged)
				*state = (struct journal_block){r->number, r->is_zero};
		}
	}
	return states;
}

/* Was such a write of the block submitted: `number`, or one of zeros later than `after`? */
static bool was_submitted(const struct journal *journal, uint32_t block, uint64_t until_ns,
			  uint64_t number, uint64_t after)
{
	for (size_t i = 0; i < journal->count; i++) {
		const struct journal_record *r = &journal->records[i];

		if (r->kind == JOURNAL_SUBMITTED && r->time_ns < until_ns &&
		    (number ? r->number == number && !r->is_zero
			    : r->number > after && r->is_zero) &&
		    block >= r->first_block && block < r->first_block + r->blocks)
			return true;
	}
	return false;
}

bool journal_check_block(const struct journal *journal, uint32_t block,
			 const struct journal_block *state, uint64_t until_ns,
			 const uint64_t *words, const char **why)
{
	static char text[160];
	uint64_t number;

	*why = text;
	if (!read_block(words, block, &number)) {
		snprintf(text, sizeof text,
			 "block %u: torn, or foreign: it begins like write %" PRIu64, block,
			 number);
		return false;
	}
	if (number == 0 && (!state->acknowledged || state->is_zero ||
			    was_submitted(journal, block, until_ns, 0, state->acknowledged)))
		return true;
	if (number && number == state->acknowledged && !state->is_zero)
		return true;
	if (number > state->acknowledged && was_submitted(journal, block, until_ns, number, 0))
		return true;
	snprintf(text, sizeof text,
		 "block %u: holds write %" PRIu64 ", but write %" PRIu64 "%s was acknowledged",
		 block, number, state->acknowledged, state->is_zero ? " (zeros)" : "");
	return false;
}
