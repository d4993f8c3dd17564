/*
 * check_crash.c - the full run of the store's crash tests: check_crash [WORKLOADS [FIRST-SEED [STATES [JOBS]]]].
 *
 * Goes on with further workloads until at least STATES crash states were looked at, in JOBS processes that take one seed after another.
 * The same arguments look at the same workloads, whatever JOBS is, up to those that the others have under way at the end. Prints the counts.
 */
#include "common/base/base.h"
#include "replica-engine/store/layout.h"
#include "tests/lib/store_crash.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 64

/* Between the processes. */
struct shared {
	atomic_uint_fast64_t taken, done, failed;
	atomic_uint_fast64_t states, events, operations;
};

static uint64_t workloads_wanted = 200, first_seed = 1, states_wanted = 1000000;

/* The size of a workload is drawn from its seed. Every third has one to three pages of units in memory, of four. */
static struct crash_options options_of(uint64_t seed)
{
	return (struct crash_options){
		.seed = seed,
		.operations = 20 + (unsigned)(seed * 7 % 100),
		.depth = 1 + (unsigned)(seed % 24),
		.mixes = 6,
		.tears = 6,
		.every = 1,
		.metadata_memory_bytes = seed % 3 ? 0 : (1 + seed / 3 % 3) * PAGE_BYTES,
		.rounds = 1 + (unsigned)(seed % 3),
	};
}

static bool take_seed(struct shared *shared, uint64_t *seed)
{
	if (atomic_load(&shared->failed) || (atomic_load(&shared->taken) >= workloads_wanted &&
					     atomic_load(&shared->states) >= states_wanted))
		return false;
	*seed = first_seed + atomic_fetch_add(&shared->taken, 1);
	return true;
}

static void work(struct shared *shared)
{
	uint64_t seed;

	/* Stores are made and freed by the thousand: their memory is kept, since the kernel would clear it each time. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	while (take_seed(shared, &seed)) {
		struct crash_options options = options_of(seed);
		struct crash_result result;
		uint64_t done;

		crash_run(&options, &result);
		atomic_fetch_add(&shared->states, result.states);
		atomic_fetch_add(&shared->events, result.events);
		atomic_fetch_add(&shared->operations, result.operations);
		done = atomic_fetch_add(&shared->done, 1) + 1;
		if (result.problem[0]) {
			atomic_fetch_add(&shared->failed, 1);
			printf("FAIL %s\n", result.problem);
		} else if (done % 10 == 0) {
			printf("%llu workloads, %llu crash states\n", (unsigned long long)done,
			       (unsigned long long)atomic_load(&shared->states));
		}
		fflush(stdout);
	}
}

/* A process that dies (an assertion) counts as failed; what it said stands above. */
static bool wait_for_jobs(unsigned jobs)
{
	bool good = true;
	int status;

	while (jobs--)
		if (wait(&status) < 0 || status != 0)
			good = false;
	return good;
}

int main(int argc, char **argv)
{
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long jobs = argc > 4 ? strtoul(argv[4], NULL, 10) : 1;
	bool good;

	if (argc > 1)
		workloads_wanted = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	if (argc > 3)
		states_wanted = strtoull(argv[3], NULL, 10);
	if (shared == MAP_FAILED || jobs < 1 || jobs > JOBS_MAX) {
		fprintf(stderr, "usage: check_crash [WORKLOADS [FIRST-SEED [STATES [JOBS]]]]\n");
		return 2;
	}
	for (unsigned long i = 0; i < jobs; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			work(shared);
			return 0;
		}
		if (pid < 0) {
			perror("fork");
			return 1;
		}
	}
	good = wait_for_jobs((unsigned)jobs) && !atomic_load(&shared->failed);
	printf("check-crash: seeds from %llu, %llu workloads, %llu operations, %llu crash points, "
	       "%llu crash states, %s\n",
	       (unsigned long long)first_seed, (unsigned long long)atomic_load(&shared->done),
	       (unsigned long long)atomic_load(&shared->operations),
	       (unsigned long long)atomic_load(&shared->events),
	       (unsigned long long)atomic_load(&shared->states),
	       good ? "0 failed: all recovered to what the model says" : "FAILED");
	return good ? 0 : 1;
}
