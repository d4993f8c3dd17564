/*
 * store_crash.h - crash tests of the store against a model.
 *
 * A workload of random operations runs on a recorded disk. Then the power is cut behind every event of the recording, in several ways
 * each; every disk that may be left is opened, and all chunks together must be exactly what the model says after some prefix of the
 * operations submitted before the cut that holds every one completed before it. Some of these disks lose power once more while they are
 * opened. From one of them the next round of the workload goes on, which is recorded and cut likewise.
 */
#ifndef COPYHOLD_TESTS_STORE_CRASH_H
#define COPYHOLD_TESTS_STORE_CRASH_H

#include "common/base/base.h"

struct crash_options {
	uint64_t seed;
	unsigned operations;            /* recorded; as many again at most go before */
	unsigned depth;                 /* operations in flight */
	unsigned mixes, tears;          /* random cuts of each kind behind each event */
	unsigned every;                 /* look at every n-th event only */
	uint64_t metadata_memory_bytes; /* 0: no paging; 1: a cache of one page */
	unsigned rounds; /* recordings, each from a disk that a cut of the one before it left */
};

struct crash_result {
	uint64_t states;
	uint64_t events;
	uint64_t operations;
	char problem[512]; /* empty: all is well */
};

/* Runs one workload and all its cuts. */
void crash_run(const struct crash_options *options, struct crash_result *result);

#endif
