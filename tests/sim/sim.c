/* sim.c - see sim.h: the event queue, hosts' clocks, processes, random streams. */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>

#define MILLION 1000000

static uint64_t hash_text(const char *text)
{
	uint64_t h = 14695981039346656037u;

	while (*text)
		h = (h ^ (unsigned char)*text++) * 1099511628211u;
	return h;
}

struct prng sim_stream(const struct sim *sim, const char *name, uint64_t index)
{
	return (struct prng){mix64(mix64(sim->seed ^ hash_text(name)) + index)};
}

void sim_init(struct sim *sim, uint64_t seed)
{
	memset(sim, 0, sizeof *sim);
	sim->seed = seed;
	sim->hash = mix64(seed);
	sim->out = stdout;
	/* Virtual time does not begin at 0: 0 often means "never" in the code under test. */
	sim->now_ns = 1000 * NS_PER_S;
}

void sim_fini(struct sim *sim)
{
	free(sim->heap);
}

/* ---- the heap of events ---- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void heap_put(struct sim *sim, uint32_t i, struct sim_event *event)
{
	sim->heap[i] = event;
	event->heap_index = i + 1;
}

static void heap_up(struct sim *sim, uint32_t i)
{
	struct sim_event *event = sim->heap[i];

	while (i > 0 && earlier(event, sim->heap[(i - 1) / 2])) {
		heap_put(sim, i, sim->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(sim, i, event);
}

static void heap_down(struct sim *sim, uint32_t i)
{
	struct sim_event *event = sim->heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= sim->heap_count)
			break;
		if (child + 1 < sim->heap_count && earlier(sim->heap[child + 1], sim->heap[child]))
			child++;
		if (!earlier(sim->heap[child], event))
			break;
		heap_put(sim, i, sim->heap[child]);
		i = child;
	}
	heap_put(sim, i, event);
}

static void heap_remove(struct sim *sim, struct sim_event *event)
{
	uint32_t i = event->heap_index - 1;
	struct sim_event *last = sim->heap[--sim->heap_count];

	assert(i <= sim->heap_count);
	event->heap_index = 0;
	if (last == event)
		return;
	heap_put(sim, i, last);
	heap_up(sim, i);
	heap_down(sim, last->heap_index - 1);
}

void sim_schedule(struct sim *sim, struct sim_event *event, struct sim_process *process,
		  uint64_t at_ns, const char *name)
{
	sim_cancel(sim, event);
	assert(!process || process->running);
	event->process = process;
	event->at_ns = MAX(at_ns, sim->now_ns);
	event->order = ++sim->order;
	event->name = name;
	if (sim->heap_count == sim->heap_capacity) {
		sim->heap_capacity = MAX(256u, sim->heap_capacity * 2);
		sim->heap = xrealloc(sim->heap, sim->heap_capacity * sizeof *sim->heap);
	}
	heap_put(sim, sim->heap_count, event);
	heap_up(sim, sim->heap_count++);
}

void sim_cancel(struct sim *sim, struct sim_event *event)
{
	if (event->heap_index)
		heap_remove(sim, event);
	if (event->deferred) {
		TAILQ_REMOVE(&event->process->deferred, event, link);
		event->deferred = false;
	}
}

bool sim_step(struct sim *sim, uint64_t until_ns)
{
	struct sim_event *event;
	struct sim_process *process;

	if (sim->heap_count == 0 || sim->heap[0]->at_ns > until_ns) {
		sim->now_ns = MAX(sim->now_ns, until_ns);
		return false;
	}
	event = sim->heap[0];
	process = event->process;
	heap_remove(sim, event);
	sim->now_ns = event->at_ns;
	if (process && process->paused) {
		TAILQ_INSERT_TAIL(&process->deferred, event, link);
		event->deferred = true;
		return true;
	}
	sim->totals.events++;
	sim_note(sim, sim->now_ns ^ (process ? (uint64_t)process->index + 1 : 0) << 56);
	if (process)
		process->events++;
	sim->current = process;
	event->run(event);
	sim->current = NULL;
	if (sim->after_event)
		sim->after_event(sim, process);
	return true;
}

bool sim_run(struct sim *sim, uint64_t until_ns, bool (*stop)(void *context), void *context)
{
	while (!sim->failed && sim_step(sim, until_ns)) {
		if (stop && stop(context))
			break;
	}
	return !sim->failed;
}

/* ---- hosts and their clocks ---- */

struct sim_host *sim_host_add(struct sim *sim, const char *name, int32_t rate_ppm)
{
	struct sim_host *host = &sim->hosts[sim->host_count];

	assert(sim->host_count < SIM_HOSTS_MAX);
	host->sim = sim;
	host->index = sim->host_count++;
	host->up = true;
	host->rate_ppm = rate_ppm;
	host->booted_ns = sim->now_ns;
	host->booted_local_ns = (1 + host->index) * 17 * NS_PER_S;
	snprintf(host->name, sizeof host->name, "%s", name);
	return host;
}

uint64_t sim_host_now(const struct sim_host *host)
{
	uint64_t passed = host->sim->now_ns - host->booted_ns;

	return host->booted_local_ns + passed / MILLION * (uint64_t)(MILLION + host->rate_ppm) +
	       passed % MILLION * (uint64_t)(MILLION + host->rate_ppm) / MILLION;
}

void sim_host_set_rate(struct sim_host *host, int32_t rate_ppm)
{
	host->booted_local_ns = sim_host_now(host);
	host->booted_ns = host->sim->now_ns;
	host->rate_ppm = rate_ppm;
}

/* World time that passes while the host's clock advances by local_ns, rounded up. */
static uint64_t world_duration(const struct sim_host *host, uint64_t local_ns)
{
	uint64_t rate = (uint64_t)(MILLION + host->rate_ppm);

	/* Delays beyond 100 days are as good as never, and keep the product in range. */
	local_ns = MIN(local_ns, UINT64_C(8640000) * NS_PER_S);
	return local_ns / rate * MILLION + (local_ns % rate * MILLION + rate - 1) / rate;
}

/* ---- the clock seam ---- */

struct sim_timer {
	struct sim_event event;
	struct io_timer *timer;
};
static_assert(sizeof(struct sim_timer) <= sizeof(((struct io_timer *)0)->implementation),
	      "a timer of the simulator fits into io_timer");

static struct sim_process *process_of_clock(struct io_clock *clock)
{
	return container_of(clock, struct sim_process, clock);
}

static uint64_t clock_now_ns(struct io_clock *clock)
{
	return sim_host_now(process_of_clock(clock)->host);
}

static void timer_run(struct sim_event *event)
{
	struct io_timer *timer = container_of(event, struct sim_timer, event)->timer;

	timer->fire(timer);
}

static void clock_timer_start(struct io_clock *clock, struct io_timer *timer, uint64_t delay_ns)
{
	struct sim_process *p = process_of_clock(clock);
	struct sim_timer *t = (void *)timer->implementation;
	uint64_t late = prng_below(&p->lateness, p->lateness_ns + 1);

	t->timer = timer;
	t->event.run = timer_run;
	sim_schedule(p->sim, &t->event, p,
		     p->sim->now_ns + world_duration(p->host, delay_ns) + late + 1, "timer");
}

static void clock_timer_stop(struct io_clock *clock, struct io_timer *timer)
{
	sim_cancel(process_of_clock(clock)->sim,
		   &((struct sim_timer *)(void *)timer->implementation)->event);
}

static uint64_t clock_random(struct io_clock *clock)
{
	return prng_next(&process_of_clock(clock)->random);
}

/* ---- processes ---- */

struct sim_process *sim_process_add(struct sim *sim, struct sim_host *host, const char *name)
{
	struct sim_process *p = &sim->processes[sim->process_count];

	assert(sim->process_count < SIM_PROCESSES_MAX);
	p->sim = sim;
	p->host = host;
	p->index = sim->process_count++;
	snprintf(p->name, sizeof p->name, "%s", name);
	p->clock =
		(struct io_clock){clock_now_ns, clock_timer_start, clock_timer_stop, clock_random};
	p->lateness = sim_stream(sim, "lateness", p->index);
	p->lateness_ns = 200000;
	TAILQ_INIT(&p->deferred);
	return p;
}

void sim_process_start(struct sim_process *p)
{
	assert(!p->running);
	p->running = true;
	p->paused = false;
	p->incarnation++;
	p->random = sim_stream(p->sim, "random", (uint64_t)p->index << 32 | p->incarnation);
}

void sim_process_end(struct sim_process *p)
{
	struct sim *sim = p->sim;

	p->running = false;
	p->paused = false;
	while (!TAILQ_EMPTY(&p->deferred))
		sim_cancel(sim, TAILQ_FIRST(&p->deferred));
	for (uint32_t i = 0; i < sim->heap_count;) {
		if (sim->heap[i]->process == p) {
			heap_remove(sim, sim->heap[i]);
			i = 0;
		} else {
			i++;
		}
	}
}

void sim_process_pause(struct sim_process *p)
{
	assert(p->running);
	p->paused = true;
}

/* What piled up is found in any order between its kinds; each source keeps its own order by its own means. */
void sim_process_continue(struct sim_process *p)
{
	struct sim_event *event;

	assert(p->running);
	p->paused = false;
	while ((event = TAILQ_FIRST(&p->deferred))) {
		uint64_t late = prng_below(&p->lateness, 1000000);

		TAILQ_REMOVE(&p->deferred, event, link);
		event->deferred = false;
		sim_schedule(p->sim, event, p, p->sim->now_ns + late, event->name);
	}
}

/* ---- what is seen ---- */

void sim_note(struct sim *sim, uint64_t value)
{
	sim->hash = mix64(sim->hash ^ value);
}

static void print_stamp(const struct sim *sim)
{
	fprintf(sim->out, "%12.6f %-4s ", (double)(sim->now_ns - 1000 * NS_PER_S) / 1e9,
		sim->current ? sim->current->name : "-");
}

void sim_trace(struct sim *sim, const char *format, ...)
{
	va_list ap;

	if (!sim->tracing)
		return;
	print_stamp(sim);
	va_start(ap, format);
	vfprintf(sim->out, format, ap);
	va_end(ap);
	fputc('\n', sim->out);
}

void sim_fail(struct sim *sim, const char *rule, uint64_t chunk, const char *format, ...)
{
	va_list ap;

	if (sim->failed)
		return;
	sim->failed = true;
	sim->failed_chunk = chunk;
	snprintf(sim->rule, sizeof sim->rule, "%s", rule);
	va_start(ap, format);
	vsnprintf(sim->reason, sizeof sim->reason, format, ap);
	va_end(ap);
	sim_trace(sim, "VIOLATION %s: %s", rule, sim->reason);
}
