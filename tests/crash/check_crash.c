/*
 * check_crash.c - the full run of the store's crash tests: check_crash [WORKLOADS [FIRST-SEED [STATES]]].
 * Goes on with further workloads until at least STATES crash states were looked at. Prints the counts.
 */
#include "tests/lib/store_crash.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	unsigned long workloads = argc > 1 ? strtoul(argv[1], NULL, 10) : 200;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	uint64_t states_wanted = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000000;
	uint64_t states = 0, events = 0, operations = 0;
	unsigned long done = 0;

	for (; done < workloads || states < states_wanted; done++, seed++) {
		struct crash_options options = {
			.seed = seed,
			.operations = 20 + (unsigned)(seed * 7 % 100),
			.depth = 1 + (unsigned)(seed % 24),
			.mixes = 6,
			.tears = 6,
			.every = 1,
		};
		struct crash_result result;

		crash_run(&options, &result);
		states += result.states;
		events += result.events;
		operations += result.operations;
		if (result.problem[0]) {
			printf("FAIL %s\n", result.problem);
			return 1;
		}
		if (done % 10 == 9) {
			printf("%lu workloads, %llu crash states\n", done + 1,
			       (unsigned long long)states);
			fflush(stdout);
		}
	}
	printf("check-crash: %lu workloads, %llu operations, %llu crash points, %llu crash states: "
	       "all recovered to what the model says\n",
	       done, (unsigned long long)operations, (unsigned long long)events,
	       (unsigned long long)states);
	return 0;
}
