/*
 * run.h - one run from boot to verdict: safety phase (workload and faults), liveness phase (no faults: everything must end
 * well within bounds), then power off and a look at the disks.
 */
#ifndef COPYHOLD_SIM_RUN_H
#define COPYHOLD_SIM_RUN_H

#include "tests/sim/cluster.h"

struct run_result {
	bool failed;
	char rule[64];
	uint64_t hash;
	uint64_t virtual_ns;
	uint64_t acknowledged;
	struct sim_totals totals;
};

/* Runs it and fills in result; prints the failure, with history, to out. */
void run_seed(const struct params *params, bool tracing, FILE *out, struct run_result *result);

/* The phases, for scenarios. Each is false if the run has failed. */
bool run_boot(struct cluster *c);
bool run_for(struct cluster *c, uint64_t ns);
/* Until done(c), at most that long, else the run fails with this rule. */
bool run_until(struct cluster *c, uint64_t ns, bool (*done)(struct cluster *c), const char *rule,
	       const char *what);
/* Faults end; all held IO completes, redundancy is restored, everything is read once. */
bool run_liveness(struct cluster *c);
/* Power off, disks are compared. */
bool run_rest(struct cluster *c);
void run_report_failure(struct cluster *c, FILE *out);

/* Shows that each limit of growth can end a run; prints and returns the number of those that can't. */
unsigned run_self_test(void);

#endif
