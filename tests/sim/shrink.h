/*
 * shrink.h - what may be taken away from a seed's run, and the search for as much of it as leaves a failure of the same rule.
 */
#ifndef COPYHOLD_SIM_SHRINK_H
#define COPYHOLD_SIM_SHRINK_H

#include "tests/sim/params.h"

struct shrunk {
	bool without[SIM_FAULTS_MAX];
	uint32_t operations; /* of each client; 0: as drawn */
	uint32_t clients;    /* 0: as drawn */
};

void shrunk_apply(const struct shrunk *limits, struct params *params);
/* "build/sim --seed 7 --without 1,2 --operations 5" */
void shrunk_print(const struct shrunk *limits, const struct params *params, FILE *out);
/* Exit status: 1 with the smallest run found; 0 if the seed does not fail. */
int shrink_seed(uint64_t seed, const struct shrunk *limits);

#endif
