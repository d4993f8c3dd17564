/*
 * seeds.c - see seeds.h. A child writes its results to memory that it shares with us, its words to a temporary file. Of many
 * seeds each child runs some, one after another, as long as none fails: its memory is warm, and a fork costs as much as a tenth
 * of a run. What a run leaves behind cannot matter to the next (tests/sim/check compares).
 */
#include "tests/sim/seeds.h"
#include "common/trace/trace.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Time of the processor that one seed may take: a loop inside one event is found by this alone. */
#define CHILD_SECONDS 60

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

/* How many seeds a child runs, and how much memory killed processes may have left behind in it before it is replaced. */
#define BATCH_SEEDS   64
#define BATCH_BUFFERS 2048

struct batch {
	uint64_t begun, done; /* so many of its seeds */
	struct run_result results[BATCH_SEEDS];
};

static struct batch *batch_new(void)
{
	struct batch *b =
		mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (b == MAP_FAILED)
		abort();
	return b;
}

/* Everything that is printed goes to this file, which begins anew. */
static void out_restart(FILE *out)
{
	fflush(stdout);
	if (out && (ftruncate(fileno(out), 0) || lseek(fileno(out), 0, SEEK_SET)))
		abort();
}

static void child_begin(FILE *out)
{
	if (out) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(out), STDERR_FILENO);
	} else if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) {
		_exit(3);
	}
	sink_init(false, stdout);
}

static void child_run(const struct params *params, FILE *out, struct batch *b)
{
	struct run_result *result = &b->results[b->begun++];
	struct itimerval limit = {.it_value.tv_sec = CHILD_SECONDS};

	setitimer(ITIMER_PROF, &limit, NULL);
	out_restart(out);
	if (out)
		params_print(params, stdout);
	run_seed(params, false, stdout, result);
	b->done++;
}

static int wait_for_child(pid_t pid)
{
	int status = 0;

	if (pid < 0)
		abort();
	while (waitpid(pid, &status, 0) < 0)
		;
	return status;
}

/* The seed that a child was at when it ended by itself. */
static void result_of_crash(struct run_result *result, int status)
{
	bool late = WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF;

	result->failed = true;
	snprintf(result->rule, sizeof result->rule, "%s", late ? "no end" : "crash of the code");
}

bool seed_run_in_child(const struct params *params, FILE *out, struct run_result *result)
{
	struct batch *b = batch_new();
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		child_begin(out);
		child_run(params, out, b);
		exit(0);
	}
	status = wait_for_child(pid);
	*result = b->results[0];
	/* Also what goes wrong after the run, such as what a sanitizer finds at exit. */
	if (b->done == 0 || (status && !result->failed))
		result_of_crash(result, status);
	munmap(b, sizeof *b);
	return !result->failed;
}

struct sums {
	uint64_t seeds, failed, virtual_ns, acknowledged;
	uint64_t hash; /* of all runs, in any order */
	struct sim_totals t;
};

static void add(struct sums *s, const struct run_result *r)
{
	s->seeds++;
	s->failed += r->failed;
	s->virtual_ns += r->virtual_ns;
	s->hash ^= mix64(r->hash);
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
	for (unsigned i = 0; i < REACHED_KINDS; i++)
		s->t.reached[i] += r->totals.reached[i];
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *const reached_texts[] = {
#define X(name, text) text,
	REACHED_LIST(X)
#undef X
};

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
	for (unsigned i = 0; i < REACHED_KINDS; i++)
		printf("reached %10" PRIu64 " %s\n", s->t.reached[i], reached_texts[i]);
	printf("trace %016" PRIx64 "\n", s->hash);
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

/* The child of a batch: ends after a seed that failed, so that what it printed can be shown. */
static void batch_child(const struct seeds_options *o, uint64_t first, double until_s, FILE *out,
			struct batch *b)
{
	static struct params params;

	child_begin(out);
	for (uint64_t i = 0; i < BATCH_SEEDS && o->last - first >= i; i++) {
		params_draw(&params, first + i);
		child_run(&params, out, b);
		if (b->results[i].failed || buf_in_use() > BATCH_BUFFERS || now_s() > until_s)
			break;
	}
	exit(0);
}

static void report(const struct seeds_options *o, uint64_t seed, const char *rule, FILE *out)
{
	show(out);
	printf("seed %" PRIu64 " FAILED: %s\nreplay: build/sim --seed %" PRIu64 "\n\n", seed, rule,
	       seed);
	keep(o->keep, seed, rule);
	fflush(stdout);
}

/* Runs seeds from `first` on, at least one; returns how many. */
static uint64_t batch_run(const struct seeds_options *o, uint64_t first, double until_s,
			  struct sums *sums)
{
	struct batch *b = batch_new();
	FILE *out = tmpfile();
	uint64_t count;
	int status;
	pid_t pid;

	if (!out)
		abort();
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		batch_child(o, first, until_s, out, b);
	status = wait_for_child(pid);
	count = b->begun;
	if (b->done < count || status)
		result_of_crash(&b->results[count - 1], status);
	for (uint64_t i = 0; i < count; i++) {
		add(sums, &b->results[i]);
		if (b->results[i].failed)
			report(o, first + i, b->results[i].rule, out);
	}
	fclose(out);
	munmap(b, sizeof *b);
	return count;
}

uint64_t seeds_run(const struct seeds_options *o)
{
	struct sums sums = {.seeds = 0};
	double began = now_s(), until_s = o->seconds ? began + (double)o->seconds : INFINITY;

	for (uint64_t seed = o->first; seed <= o->last;) {
		uint64_t count = batch_run(o, seed, until_s, &sums);

		if (count == 0) /* it could not even begin */
			abort();
		seed += count;
		if ((o->until_failure && sums.failed) || now_s() > until_s)
			break;
	}
	if (o->totals)
		print_totals(&sums, now_s() - began);
	printf("%" PRIu64 " seeds, %" PRIu64 " failed\n", sums.seeds, sums.failed);
	return sums.failed;
}
