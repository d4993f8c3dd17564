/*
 * jobs.h - the operator's scrub jobs: asks for them while the faults last, pauses, resumes and cancels them, looks how they get on, and
 * compares each answer with those before and with what metad has committed. When the faults are over every job must end, and one over
 * everything must end well.
 */
#ifndef COPYHOLD_SIM_JOBS_H
#define COPYHOLD_SIM_JOBS_H

#include "tests/sim/cluster.h"

struct jobs;

struct jobs *jobs_new(struct cluster *c);
void jobs_free(struct jobs *jobs);

/* From now on, until the faults end. */
void jobs_begin(struct jobs *jobs);
/* The faults have ended: what is paused goes on. True once nothing is under way; to be called again and again, while time passes. */
bool jobs_ended(struct jobs *jobs);
/* In a third of all seeds everything is to be scrubbed at the end. */
bool jobs_want_all(struct jobs *jobs);
/* Asks for a scrub ("{}": of everything; else "volume" or "chunk"). No other may be under way. */
void jobs_scrub(struct jobs *jobs, const char *json);
/* The last one that was asked for has ended: all of its chunks were scrubbed. */
bool jobs_done_well(const struct jobs *jobs);
/* What it says: blocks that were bad, that have been mended, that are damaged in every replica. */
struct jobs_told {
	uint64_t read, bad, repaired, damaged;
};
struct jobs_told jobs_told(const struct jobs *jobs);

#endif
