/* scenarios.h - the tables of scenarios, each ending with NULL. */
#ifndef COPYHOLD_SIM_SCENARIOS_H
#define COPYHOLD_SIM_SCENARIOS_H

#include "tests/sim/scenario.h"

extern const struct scenario *const scenarios_basic[];
extern const struct scenario *const scenarios_interleavings[];
extern const struct scenario *const scenarios_joins[];
extern const struct scenario *const scenarios_failures[];
extern const struct scenario *const scenarios_space[];
extern const struct scenario *const scenarios_operator[];
extern const struct scenario *const scenarios_found_owners[];
extern const struct scenario *const scenarios_found_replicas[];

#endif
