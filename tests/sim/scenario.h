/*
 * scenario.h - named stories, each with its expected outcome. A scenario is a function that builds a small cluster, drives it
 * step by step, and says what must hold; the checkers of every run watch it too.
 */
#ifndef COPYHOLD_SIM_SCENARIO_H
#define COPYHOLD_SIM_SCENARIO_H

#include "tests/sim/run.h"

struct scenario {
	const char *name;
	const char *story; /* a sentence or two */
	/* Changes the calm parameters; NULL: none. */
	void (*shape)(struct params *p);
	/* Drives the booted cluster; ends in run_liveness and run_rest unless it says otherwise by returning false. */
	bool (*drive)(struct cluster *c);
};

int scenario_list(void);
int scenario_run(const char *name, bool tracing);
/* Returns how many failed. */
unsigned scenario_run_all(void);

#endif
