/* scenarios_basic.c - calm days: the cluster works at all. */
#include "tests/sim/scenarios.h"

static bool drive_workload(struct cluster *c)
{
	c->issuing = true;
	return run_for(c, c->params.workload_ns);
}

static const struct scenario calm = {
	.name = "calm",
	.story = "Three servers, two clients, no faults: all IO completes, replicas are equal.",
	.drive = drive_workload,
};

const struct scenario *const scenarios_basic[] = {&calm, NULL};
