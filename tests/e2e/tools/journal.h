/*
 * journal.h - what nbd-journal writes down about its writes, and what a block may hold because of it.
 *
 * Each write has a number, one after another over all runs on a journal; every 8 bytes of its blocks are made from the
 * number and the block's place, so a block tells which write it holds and whether it holds all of it. The journal gets a record
 * before a write is submitted and another one when it was acknowledged, before anything else happens. A write never overlaps one
 * that is under way. After any crash a block must therefore hold the last write that was acknowledged for it, or a later one that
 * was submitted (a crash may leave it done or not).
 */
#ifndef COPYHOLD_TESTS_JOURNAL_H
#define COPYHOLD_TESTS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_BLOCK 4096u

enum journal_kind {
	JOURNAL_SUBMITTED = 1,
	JOURNAL_ACKNOWLEDGED = 2,
};

struct journal_record {
	uint64_t number;
	uint64_t
		time_ns; /* CLOCK_MONOTONIC: before it was submitted, or after the acknowledgement had come */
	uint32_t first_block;
	uint16_t blocks;
	uint8_t kind;
	uint8_t is_zero;
};

struct journal {
	struct journal_record *records;
	size_t count;
	uint32_t blocks; /* the journal names no block beyond */
};

/* What had been acknowledged for a block. */
struct journal_block {
	uint64_t acknowledged; /* number of the last acknowledged write; 0: none */
	bool is_zero;
};

/* A scrambled number. */
uint64_t journal_mix(uint64_t x);
uint64_t journal_now_ns(void);

void journal_fill_block(uint64_t *words, uint64_t number, uint32_t block);

/* An empty journal if there is no such file. The caller frees journal->records. */
void journal_read(const char *path, struct journal *journal);

/* For each block of the journal, counting what was acknowledged before `until_ns`; the caller frees it. */
struct journal_block *journal_digest(const struct journal *journal, uint64_t until_ns);

/* Whether a block's content is one that it may have; if not, why (static until the next call). */
bool journal_check_block(const struct journal *journal, uint32_t block,
			 const struct journal_block *state, uint64_t until_ns,
			 const uint64_t *words, const char **why);

#endif
