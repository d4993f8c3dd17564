/* seeds.c - see seeds.h. A child writes its result to memory that it shares with us, its words to a temporary file. */
#include "tests/sim/seeds.h"
#include "common/trace/trace.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Real time that one seed may take: a loop inside one event is found by this alone. */
#define CHILD_SECONDS 180

static struct sim_sink {
	bool tracing;
	FILE *out;
} sink;

/* Lines of the daemons' own log belong to the trace; errors are shown always. */
static void trace_sink(void *context, enum trace_level level, const char *module, const char *text)
{
	(void)context;
	(void)level;
	if (sink.tracing)
		fprintf(sink.out, "%32s: %s\n", module, text);
}

static void sink_init(bool tracing, FILE *out)
{
	sink.tracing = tracing;
	sink.out = out;
	trace_limit = tracing ? TRACE_DEBUG : TRACE_ERROR;
	trace_set_sink(trace_sink, NULL);
}

static uint64_t replay_seed;

/* An assertion in the code under test: say how to see it again. */
static void on_abort(int signal)
{
	char text[96];
	int n = snprintf(text, sizeof text, "\nreplay: build/sim --seed %" PRIu64 "\n",
			 replay_seed);

	(void)!write(STDERR_FILENO, text, (size_t)n);
	fflush(stdout);
	struct sigaction action = {.sa_handler = SIG_DFL};

	sigaction(signal, &action, NULL);
	raise(signal);
}

int seed_run_here(uint64_t seed, const struct shrunk *limits, bool tracing)
{
	static struct params params;
	struct run_result result;
	struct sigaction action = {.sa_handler = on_abort};

	params_draw(&params, seed);
	shrunk_apply(limits, &params);
	params_print(&params, stdout);
	replay_seed = seed;
	sigaction(SIGABRT, &action, NULL);
	sink_init(tracing, stdout);
	run_seed(&params, tracing, stdout, &result);
	printf("%s, %.1f virtual seconds, %" PRIu64 " events, %" PRIu64 " frames, %" PRIu64
	       " operations (%" PRIu64 " acknowledged), %" PRIu64 " faults, trace %016" PRIx64 "\n",
	       result.failed ? "FAILED" : "passed", (double)result.virtual_ns / 1e9,
	       result.totals.events, result.totals.frames, result.totals.operations,
	       result.acknowledged, result.totals.faults, result.hash);
	if (result.failed) {
		printf("replay: ");
		shrunk_print(limits, &params, stdout);
	}
	return result.failed;
}

static void child(const struct params *params, FILE *out, struct run_result *result)
{
	if (out) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(out), STDERR_FILENO);
	} else if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) {
		_exit(3);
	}
	alarm(CHILD_SECONDS);
	sink_init(false, stdout);
	if (out)
		params_print(params, stdout);
	run_seed(params, false, stdout, result);
	exit(result->failed);
}

bool seed_run_in_child(const struct params *params, FILE *out, struct run_result *result)
{
	struct run_result *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid;

	if (shared == MAP_FAILED)
		abort();
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(params, out, shared);
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		;
	*result = *shared;
	munmap(shared, sizeof *shared);
	if (pid < 0 || WIFSIGNALED(status)) {
		result->failed = true;
		snprintf(result->rule, sizeof result->rule, "%s",
			 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "no end in real time"
									    : "crash of the code");
	} else if (WEXITSTATUS(status)) {
		result->failed = true;
		if (!result->rule[0])
			snprintf(result->rule, sizeof result->rule, "crash of the code");
	}
	return !result->failed;
}

struct sums {
	uint64_t seeds, failed, virtual_ns, acknowledged;
	struct sim_totals t;
};

static void add(struct sums *s, const struct run_result *r)
{
	s->seeds++;
	s->failed += r->failed;
	s->virtual_ns += r->virtual_ns;
	s->acknowledged += r->acknowledged;
	s->t.events += r->totals.events;
	s->t.frames += r->totals.frames;
	s->t.operations += r->totals.operations;
	s->t.crashes += r->totals.crashes;
	s->t.pauses += r->totals.pauses;
	s->t.power_cuts += r->totals.power_cuts;
	s->t.breaks += r->totals.breaks;
	s->t.partitions += r->totals.partitions;
	s->t.disk_faults += r->totals.disk_faults;
	s->t.clock_faults += r->totals.clock_faults;
	s->t.store_faults += r->totals.store_faults;
	s->t.faults += r->totals.faults;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_totals(const struct sums *s, double real_s)
{
	double virtual_s = (double)s->virtual_ns / 1e9;

	printf("%.2f virtual hours in %.0f s (%.0f virtual seconds a second), %" PRIu64
	       " events, %" PRIu64 " frames, %" PRIu64 " operations (%" PRIu64 " acknowledged)\n",
	       virtual_s / 3600, real_s, real_s > 0 ? virtual_s / real_s : 0, s->t.events,
	       s->t.frames, s->t.operations, s->acknowledged);
	printf("%" PRIu64 " faults: %" PRIu64 " kills, %" PRIu64 " power cuts, %" PRIu64
	       " pauses, %" PRIu64 " broken connections, %" PRIu64 " partitions, %" PRIu64
	       " of disks, %" PRIu64 " of clocks, %" PRIu64 " failed commits\n",
	       s->t.faults, s->t.crashes, s->t.power_cuts, s->t.pauses, s->t.breaks,
	       s->t.partitions, s->t.disk_faults, s->t.clock_faults, s->t.store_faults);
}

static void show(FILE *from)
{
	char buffer[4096];
	size_t n;

	rewind(from);
	while ((n = fread(buffer, 1, sizeof buffer, from)) > 0)
		fwrite(buffer, 1, n, stdout);
}

static void keep(const char *path, uint64_t seed, const char *rule)
{
	FILE *f = path ? fopen(path, "a") : NULL;

	if (!f)
		return;
	fprintf(f, "%" PRIu64 " %s\n", seed, rule);
	fclose(f);
}

uint64_t seeds_run(const struct seeds_options *o)
{
	static struct params params;
	struct sums sums = {.seeds = 0};
	double began = now_s();

	for (uint64_t seed = o->first; seed <= o->last; seed++) {
		struct run_result result;
		FILE *out = tmpfile();

		if (!out)
			abort();
		params_draw(&params, seed);
		if (!seed_run_in_child(&params, out, &result)) {
			show(out);
			printf("seed %" PRIu64 " FAILED: %s\nreplay: build/sim --seed %" PRIu64
			       "\n\n",
			       seed, result.rule, seed);
			keep(o->keep, seed, result.rule);
			fflush(stdout);
		}
		fclose(out);
		add(&sums, &result);
		if (o->until_failure && result.failed)
			break;
		if (o->seconds && now_s() - began > (double)o->seconds)
			break;
	}
	if (o->totals)
		print_totals(&sums, now_s() - began);
	printf("%" PRIu64 " seeds, %" PRIu64 " failed\n", sums.seeds, sums.failed);
	return sums.failed;
}
