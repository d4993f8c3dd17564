/* scenario.c - see scenario.h. */
#include "tests/sim/scenario.h"
#include "tests/sim/scenarios.h"

#include "common/trace/trace.h"

#include <stdlib.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/wait.h>

static bool show_log;

static void sink(void *context, enum trace_level level, const char *module, const char *text)
{
	(void)context;
	(void)level;
	if (show_log)
		printf("%32s: %s\n", module, text);
}

static bool run_one(const struct scenario *s, bool tracing)
{
	struct params params;
	struct cluster *c = xcalloc(1, sizeof *c);
	bool passed;

	params_calm(&params, 1);
	if (s->shape)
		s->shape(&params);
	show_log = tracing;
	trace_limit = tracing ? TRACE_DEBUG : TRACE_ERROR;
	trace_set_sink(sink, NULL);
	cluster_init(c, &params, tracing, stdout);
	if (run_boot(c) && s->drive(c) && run_liveness(c))
		run_rest(c);
	passed = !c->sim.failed;
	if (!passed) {
		run_report_failure(c, stdout);
		printf("replay: build/sim --scenario %s --trace\n", s->name);
	}
	cluster_fini(c);
	free(c);
	return passed;
}

static bool run_in_child(const struct scenario *s)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CPU, &(struct rlimit){.rlim_cur = 120, .rlim_max = 120});
		exit(!run_one(s, false));
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		;
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static const struct scenario *const *const tables[] = {
	scenarios_basic, scenarios_interleavings, scenarios_joins,        scenarios_failures,
	scenarios_space, scenarios_operator,      scenarios_found_owners, scenarios_found_replicas};

int scenario_list(void)
{
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct scenario *const *s = tables[t]; *s; s++)
			printf("%-28s %s\n", (*s)->name, (*s)->story);
	}
	return 0;
}

int scenario_run(const char *name, bool tracing)
{
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct scenario *const *s = tables[t]; *s; s++) {
			if (strcmp((*s)->name, name) == 0)
				return !run_one(*s, tracing);
		}
	}
	fprintf(stderr, "sim: there is no scenario %s; --list names them\n", name);
	return 2;
}

unsigned scenario_run_all(void)
{
	unsigned failed = 0, count = 0;

	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct scenario *const *s = tables[t]; *s; s++) {
			bool passed = run_in_child(*s);

			count++;
			failed += !passed;
			printf("%-8s %s\n", passed ? "passed" : "FAILED", (*s)->name);
		}
	}
	printf("%u scenarios, %u failed\n", count, failed);
	return failed;
}
