/*
 * main.c - sim(1): runs seeds and scenarios of the simulated cluster.
 *
 *   sim --seed N [--trace] [--shrink] [--without I,J..] [--operations N]
 *   sim --seeds A..B [--keep FILE]       a process a seed; ends with "N seeds, N failed"
 *   sim --scenario NAME [--trace]        --list names them, --scenarios runs all
 *   sim --self-test                      the checker of sectors against known histories, and that each limit of growth can end a run
 *
 * Exit status: 0 all passed, 1 a rule was violated, 2 bad usage.
 */
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"
#include "tests/sim/seeds.h"
#include "tests/sim/shrink.h"
#include "common/trace/trace.h"

#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>

struct options {
	struct seeds_options seeds;
	bool one, range, shrink, trace, list, scenarios, self_test;
	const char *scenario;
	struct shrunk limits;
};

static void usage(FILE *out)
{
	fputs("usage: sim --seed N [--trace] [--shrink] [--without FAULT,..] [--operations N] "
	      "[--clients N]\n"
	      "       sim --seeds A..B [--keep FILE] [--totals] [--seconds N] [--until-failure]\n"
	      "       sim --scenario NAME [--trace] | --scenarios | --list | --self-test\n",
	      out);
}

static bool parse_without(struct shrunk *limits, const char *text)
{
	while (*text) {
		char *end;
		unsigned long n = strtoul(text, &end, 10);

		if (end == text || n >= SIM_FAULTS_MAX)
			return false;
		limits->without[n] = true;
		text = *end == ',' ? end + 1 : end;
	}
	return true;
}

static bool parse_seeds(struct seeds_options *seeds, const char *text)
{
	char *end;

	seeds->first = strtoull(text, &end, 10);
	if (end == text || strncmp(end, "..", 2) != 0)
		return false;
	text = end + 2;
	seeds->last = strtoull(text, &end, 10);
	return end != text && !*end && seeds->last >= seeds->first;
}

enum option_code {
	OPT_SEED = 256,
	OPT_SEEDS,
	OPT_TRACE,
	OPT_SHRINK,
	OPT_WITHOUT,
	OPT_OPERATIONS,
	OPT_CLIENTS,
	OPT_KEEP,
	OPT_TOTALS,
	OPT_SECONDS,
	OPT_UNTIL_FAILURE,
	OPT_SCENARIO,
	OPT_SCENARIOS,
	OPT_LIST,
	OPT_SELF_TEST,
};

static const struct option long_options[] = {
	{"seed", required_argument, NULL, OPT_SEED},
	{"seeds", required_argument, NULL, OPT_SEEDS},
	{"trace", no_argument, NULL, OPT_TRACE},
	{"shrink", no_argument, NULL, OPT_SHRINK},
	{"without", required_argument, NULL, OPT_WITHOUT},
	{"operations", required_argument, NULL, OPT_OPERATIONS},
	{"clients", required_argument, NULL, OPT_CLIENTS},
	{"keep", required_argument, NULL, OPT_KEEP},
	{"totals", no_argument, NULL, OPT_TOTALS},
	{"seconds", required_argument, NULL, OPT_SECONDS},
	{"until-failure", no_argument, NULL, OPT_UNTIL_FAILURE},
	{"scenario", required_argument, NULL, OPT_SCENARIO},
	{"scenarios", no_argument, NULL, OPT_SCENARIOS},
	{"list", no_argument, NULL, OPT_LIST},
	{"self-test", no_argument, NULL, OPT_SELF_TEST},
	{NULL, 0, NULL, 0},
};

static bool parse_one(struct options *o, int option, const char *value)
{
	switch (option) {
	case OPT_SEED:
		o->one = true;
		o->seeds.first = o->seeds.last = strtoull(value, NULL, 10);
		return true;
	case OPT_SEEDS:
		o->range = true;
		return parse_seeds(&o->seeds, value);
	case OPT_TRACE:
		o->trace = true;
		return true;
	case OPT_SHRINK:
		o->shrink = true;
		return true;
	case OPT_WITHOUT:
		return parse_without(&o->limits, value);
	case OPT_OPERATIONS:
		o->limits.operations = (uint32_t)strtoul(value, NULL, 10);
		return true;
	case OPT_CLIENTS:
		o->limits.clients = (uint32_t)strtoul(value, NULL, 10);
		return true;
	case OPT_KEEP:
		o->seeds.keep = value;
		return true;
	case OPT_TOTALS:
		o->seeds.totals = true;
		return true;
	case OPT_SECONDS:
		o->seeds.seconds = strtoull(value, NULL, 10);
		return true;
	case OPT_UNTIL_FAILURE:
		o->seeds.until_failure = true;
		return true;
	case OPT_SCENARIO:
		o->scenario = value;
		return true;
	case OPT_SCENARIOS:
		o->scenarios = true;
		return true;
	case OPT_LIST:
		o->list = true;
		return true;
	case OPT_SELF_TEST:
		o->self_test = true;
		return true;
	default:
		return false;
	}
}

static bool parse(struct options *o, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (!parse_one(o, option, optarg))
			return false;
	}
	return optind == argc &&
	       o->one + o->range + o->list + o->scenarios + o->self_test + (o->scenario != NULL) ==
		       1;
}

int main(int argc, char **argv)
{
	struct options o = {.one = false};

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	/* A run takes memory in small pieces and gives all back at its end: few calls of the kernel for that. */
	mallopt(M_TOP_PAD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	if (!parse(&o, argc, argv)) {
		usage(stderr);
		return 2;
	}
	trace_limit = TRACE_ERROR;
	if (o.list)
		return scenario_list();
	if (o.self_test)
		return (registers_self_test() + run_self_test()) != 0;
	if (o.scenarios)
		return scenario_run_all() != 0;
	if (o.scenario)
		return scenario_run(o.scenario, o.trace);
	if (o.range)
		return seeds_run(&o.seeds) != 0;
	if (o.shrink)
		return shrink_seed(o.seeds.first, &o.limits);
	return seed_run_here(o.seeds.first, &o.limits, o.trace);
}
