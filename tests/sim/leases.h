/*
 * leases.h - the checker of leases: after every step of an engine, at most one engine believes that it may read a chunk, and none
 * does while a newer one does IO.
 */
#ifndef COPYHOLD_SIM_LEASES_H
#define COPYHOLD_SIM_LEASES_H

#include "tests/sim/cluster.h"

/* process has just run. */
void leases_check(struct cluster *c, const struct sim_process *process);

#endif
