/* prng.h - a small seeded generator (splitmix64, Steele et al. 2014) for tests, jitter and the simulator. */
#ifndef COPYHOLD_PRNG_H
#define COPYHOLD_PRNG_H

#include "common/base/base.h"

struct prng {
	uint64_t state;
};

static inline uint64_t prng_next(struct prng *p)
{
	uint64_t z = (p->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Uniform in [0, bound); bound > 0. The bias of the multiply-shift is below 2^-32 for small bounds. */
static inline uint64_t prng_below(struct prng *p, uint64_t bound)
{
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t)(((wide)prng_next(p) * bound) >> 64);
}

/* True with probability parts/of. */
static inline bool prng_chance(struct prng *p, uint64_t parts, uint64_t of)
{
	return prng_below(p, of) < parts;
}

/* A finalizer for hashing small keys. */
static inline uint64_t mix64(uint64_t x)
{
	struct prng p = {x};

	return prng_next(&p);
}

#endif
