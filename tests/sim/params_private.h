/*
 * params_private.h - what the files that draw a run share: params.c (shape, behaviour, workload, faults one by one) and params_stories.c.
 */
#ifndef COPYHOLD_SIM_PARAMS_PRIVATE_H
#define COPYHOLD_SIM_PARAMS_PRIVATE_H

#include "common/base/prng.h"
#include "tests/sim/params.h"

uint64_t draw_between(struct prng *r, uint64_t low, uint64_t high);
/* Small values as likely as large ones: uniform in the logarithm. */
uint64_t draw_spread(struct prng *r, uint64_t low, uint64_t high);

struct choice {
	uint32_t value, weight;
};

uint32_t draw_choice(struct prng *r, const struct choice *choices, size_t count);
#define CHOOSE(r, choices) draw_choice(r, choices, ARRAY_SIZE(choices))

/* `how` of DEPOSE and HEIRS, and `more`. */
uint32_t draw_depose(struct prng *r, uint32_t *more);
uint32_t draw_heirs(struct prng *r, uint32_t *more);

/* params_stories.c. Before the mix of faults is drawn, and behind them. */
void draw_stories_shape(struct params *p, struct prng *r);
void draw_stories(struct params *p, struct prng *r);

#endif
