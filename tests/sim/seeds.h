/*
 * seeds.h - one seed in this process; or many, each in a process of its own, so that an assertion that fails, or a loop
 * without end, is a failed seed and nothing more.
 */
#ifndef COPYHOLD_SIM_SEEDS_H
#define COPYHOLD_SIM_SEEDS_H

#include "tests/sim/run.h"
#include "tests/sim/shrink.h"

struct seeds_options {
	uint64_t first, last;
	uint64_t seconds; /* stop after this many seconds of real time; 0: never */
	const char *keep; /* failing seeds are appended to this file */
	bool totals;      /* print what was simulated */
	bool until_failure;
};

/* Prints parameters, then the verdict; exit status of the program. */
int seed_run_here(uint64_t seed, const struct shrunk *limits, bool tracing);
/* Returns how many failed. */
uint64_t seeds_run(const struct seeds_options *options);

/* Runs one in a child; the output of a failure goes to out (NULL: nowhere). True if it passed. */
bool seed_run_in_child(const struct params *params, FILE *out, struct run_result *result);

#endif
