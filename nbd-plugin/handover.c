/*
 * handover.c - see handover.h.
 *
 * Under `lock`: who drives, and the queue. All the rest belongs to the driver; the lock, through which the role passes, orders what
 * one driver did before what the next one does. The loop's buffers are in a pool of its own, which each driver uses.
 */
#include "nbd-plugin/handover.h"

#include "common/io-ev/io_ev.h"
#include "common/trace/trace.h"

#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * Calls come densely if the last one came so soon after none was left. Between dense calls nobody drives, for LOOK_NS at
 * most: what the engine does on its own account is late by as much.
 */
#define DENSE_NS (NS_PER_MS / 4)
#define LOOK_NS  (5 * NS_PER_MS)

enum driver {
	NOBODY,
	CALLER,
	BACKGROUND,
};

struct handover {
	pthread_t background;
	struct ev_loop *loop;
	struct ev_async wake;
	struct io_ev *io;
	struct engine *engine;
	struct buf_pool *pool;

	pthread_mutex_t lock;
	/* under lock */
	STAILQ_HEAD(calls, call) queue;
	unsigned calls; /* that were made */
	enum driver driver;
	uint64_t terms; /* how often a caller has become the driver */
	bool watched;   /* the background waits for the present driver's end */
	bool stop;
	pthread_cond_t changed; /* the background is wanted */

	/* The futex on which callers sleep, each on one of its 32 bits (two may share one): counts turns that ended calls. */
	_Atomic uint32_t turns;

	/* the driver's */
	unsigned running;       /* calls that were begun and have not ended */
	struct calls ended;     /* whose callers don't know it yet */
	bool dense;             /* the last call came soon */
	uint64_t idle_since_ns; /* when the last one ended */
	bool stopping, stopped;
};

static uint64_t now_ns(void)
{
	struct timespec now;
	int rc = clock_gettime(CLOCK_MONOTONIC, &now);

	assert(rc == 0);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- sleeping and waking ---- */

static long futex(_Atomic uint32_t *word, int operation, uint32_t value, uint32_t bits)
{
	return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, bits);
}

static void wait_for_end(struct handover *h, struct call *call)
{
	uint32_t turn = atomic_load(&h->turns);

	while (!atomic_load(&call->over)) {
		futex(&h->turns, FUTEX_WAIT_BITSET, turn, call->wake_bit);
		turn = atomic_load(&h->turns);
	}
}

/* By the driver, who may be a caller, before it sleeps: tells those whose calls have ended. */
static void wake_callers(struct handover *h, const struct call *own)
{
	struct call *call;
	uint32_t bits = 0;

	while ((call = STAILQ_FIRST(&h->ended))) {
		STAILQ_REMOVE_HEAD(&h->ended, link);
		if (call != own)
			bits |= call->wake_bit;
		atomic_store(&call->over, true); /* the last: its memory may be gone now */
	}
	if (!bits)
		return;
	atomic_fetch_add(&h->turns, 1);
	futex(&h->turns, FUTEX_WAKE_BITSET, INT_MAX, bits);
}

static void stopped(void *context)
{
	struct handover *h = context;

	h->stopped = true;
}

/* By the driver: begins all calls that are queued. */
static void run_queue(struct handover *h)
{
	struct calls calls = STAILQ_HEAD_INITIALIZER(calls);
	struct call *call;

	pthread_mutex_lock(&h->lock);
	STAILQ_CONCAT(&calls, &h->queue);
	pthread_mutex_unlock(&h->lock);
	if (STAILQ_EMPTY(&calls))
		return;
	if (h->running == 0)
		h->dense = now_ns() - h->idle_since_ns < DENSE_NS;
	while ((call = STAILQ_FIRST(&calls))) {
		STAILQ_REMOVE_HEAD(&calls, link);
		h->running++;
		call->run(call, h->engine);
	}
}

static void woken(struct ev_loop *loop, struct ev_async *wake, int events)
{
	(void)loop;
	(void)events;
	run_queue(wake->data);
}

/* Under lock, by the driver. Is there a reason to drive on for others' sake? */
static bool is_wanted(const struct handover *h)
{
	return h->stop || h->running > 0 || !STAILQ_EMPTY(&h->queue) || !h->dense;
}

/* ---- callers ---- */

/* The caller's own call has ended: the role passes to the background, or to nobody. */
static void caller_leaves(struct handover *h)
{
	bool tell;

	pthread_mutex_lock(&h->lock);
	h->driver = is_wanted(h) ? BACKGROUND : NOBODY;
	tell = h->driver == BACKGROUND || h->watched;
	pthread_mutex_unlock(&h->lock);
	if (tell)
		pthread_cond_signal(&h->changed);
}

static void drive_for(struct handover *h, struct call *call)
{
	buf_pool_use(h->pool);
	run_queue(h);
	wake_callers(h, call);
	do { /* at least once: what it has sent leaves at the loop's turn */
		ev_run(h->loop, call->ending ? EVRUN_NOWAIT : EVRUN_ONCE);
		wake_callers(h, call);
	} while (!atomic_load(&call->over));
	caller_leaves(h);
	buf_pool_use(NULL);
}

int handover_call(struct handover *h, struct call *call)
{
	bool was_empty, drive;

	atomic_init(&call->over, false);
	call->ending = false;
	call->handover = h;
	pthread_mutex_lock(&h->lock);
	was_empty = STAILQ_EMPTY(&h->queue);
	STAILQ_INSERT_TAIL(&h->queue, call, link);
	call->wake_bit = 1u << (h->calls++ % 32);
	drive = h->driver == NOBODY;
	if (drive) {
		h->driver = CALLER;
		h->terms++;
	}
	pthread_mutex_unlock(&h->lock);
	if (drive)
		drive_for(h, call);
	else if (was_empty)
		ev_async_send(h->loop, &h->wake);
	wait_for_end(h, call);
	return call->status;
}

void call_end(struct call *call, int status)
{
	struct handover *h = call->handover;

	assert(h->running > 0 && !call->ending);
	if (--h->running == 0)
		h->idle_since_ns = now_ns();
	call->status = status;
	call->ending = true;
	STAILQ_INSERT_TAIL(&h->ended, call, link);
}

/* ---- the background ---- */

static void wait_for_change(struct handover *h, uint64_t delay_ns)
{
	uint64_t end_ns = now_ns() + delay_ns;
	struct timespec end = {(time_t)(end_ns / NS_PER_S), (long)(end_ns % NS_PER_S)};

	if (delay_ns)
		pthread_cond_timedwait(&h->changed, &h->lock, &end);
	else
		pthread_cond_wait(&h->changed, &h->lock);
}

/* Under lock. Waits until the role is ours: given by a caller, or left by all of them from one look to the next. */
static void take_role(struct handover *h)
{
	bool looked = false, same;
	uint64_t terms = 0;

	while (h->driver != BACKGROUND) {
		same = looked && h->terms == terms;
		if (h->driver == NOBODY && (same || h->stop)) {
			h->driver = BACKGROUND;
			return;
		}
		/* A term that has lasted since the last look may last: it ends with a signal. */
		h->watched = h->driver == CALLER && same;
		terms = h->terms;
		looked = true;
		wait_for_change(h, h->watched ? 0 : LOOK_NS);
		h->watched = false;
	}
}

/* Under lock: between dense calls the next caller drives, and need not wake us. */
static bool step_back(struct handover *h)
{
	if (is_wanted(h))
		return false;
	h->driver = NOBODY;
	return true;
}

/* With the role. Returns without it, or when the engine has stopped. */
static void drive(struct handover *h)
{
	bool stop, back;

	run_queue(h);
	wake_callers(h, NULL);
	do {
		pthread_mutex_lock(&h->lock);
		stop = h->stop;
		back = step_back(h);
		pthread_mutex_unlock(&h->lock);
		if (back)
			return;
		if (stop && !h->stopping) {
			h->stopping = true;
			engine_stop(h->engine, stopped, h);
		}
		ev_run(h->loop, EVRUN_ONCE);
		wake_callers(h, NULL);
	} while (!h->stopped);
}

static void *run(void *context)
{
	struct handover *h = context;

	buf_pool_use(h->pool);
	while (!h->stopped) {
		pthread_mutex_lock(&h->lock);
		take_role(h);
		pthread_mutex_unlock(&h->lock);
		h->dense = false;
		drive(h);
	}
	engine_free(h->engine);
	io_ev_free(h->io);
	buf_pool_use(NULL);
	return NULL;
}

/* ---- start and stop ---- */

static struct engine *make_engine(struct handover *h, const char *meta, uint64_t io_timeout_ns)
{
	struct engine_environment environment = {io_ev_clock(h->io), io_ev_transport(h->io)};
	struct engine_options options = {
		.meta = meta, .pid = (uint32_t)getpid(), .io_timeout_ns = io_timeout_ns};
	char host[NAME_BYTES] = "";
	uint64_t random[2];

	gethostname(host, sizeof host - 1);
	if (getrandom(random, sizeof random, 0) != sizeof random)
		abort(); /* can't happen for so few bytes (getrandom(2)) */
	options.host = host;
	options.instance = uuid_from_random(random[0], random[1]);
	return engine_new(&environment, &options);
}

static void init_locks(struct handover *h)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void free_all(struct handover *h)
{
	buf_pool_free(h->pool);
	ev_loop_destroy(h->loop);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int handover_start(const char *meta, uint64_t io_timeout_ns, struct handover **out)
{
	struct handover *h = xcalloc(1, sizeof *h);
	int error;

	h->loop = ev_loop_new(EVFLAG_AUTO);
	if (!h->loop) {
		free(h);
		return -EAGAIN;
	}
	h->pool = buf_pool_new();
	h->io = io_ev_new(h->loop);
	h->driver = BACKGROUND;
	STAILQ_INIT(&h->queue);
	STAILQ_INIT(&h->ended);
	init_locks(h);
	ev_async_init(&h->wake, woken);
	h->wake.data = h;
	ev_async_start(h->loop, &h->wake);
	buf_pool_use(h->pool);
	h->engine = make_engine(h, meta, io_timeout_ns);
	error = pthread_create(&h->background, NULL, run, h);
	if (error) {
		engine_free(h->engine);
		io_ev_free(h->io);
	}
	buf_pool_use(NULL);
	if (error) {
		free_all(h);
		return -error;
	}
	*out = h;
	return 0;
}

void handover_stop(struct handover *h)
{
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_mutex_unlock(&h->lock);
	pthread_cond_signal(&h->changed);
	ev_async_send(h->loop, &h->wake);
	pthread_join(h->background, NULL);
	free_all(h);
}
