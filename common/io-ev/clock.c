/*
 * clock.c - time and randomness.
 *
 * now_ns is CLOCK_BOOTTIME, which goes on while the machine is suspended; libev's timers stand on CLOCK_MONOTONIC and
 * count from the start of the loop's turn, so they may fire early by as long as the turn took. Promises are
 * built on timers, therefore each timer keeps its end in our own time and is started again for what is left. A timer may be
 * late: by libev's resolution (1 ms), by a slow turn, by a suspension.
 */
#include "common/io-ev/internal.h"

#include <errno.h>
#include <sys/random.h>
#include <stdlib.h>
#include <time.h>

struct timer {
	ev_timer ev;
	uint64_t end_ns;
	struct io_clock *clock;
};

static_assert(sizeof(struct timer) <= sizeof(((struct io_timer *)0)->implementation),
	      "io_timer has no room for libev's timer");

static struct timer *timer_of(struct io_timer *timer)
{
	return (struct timer *)(void *)timer->implementation;
}

static struct ev_loop *loop_of(struct io_clock *clock)
{
	return container_of(clock, struct io_ev, clock)->loop;
}

static uint64_t clock_now_ns(struct io_clock *clock)
{
	struct timespec now;
	int rc = clock_gettime(CLOCK_BOOTTIME, &now);

	(void)clock;
	assert(rc == 0);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void timer_fired(struct ev_loop *loop, ev_timer *watcher, int events)
{
	struct timer *t = container_of(watcher, struct timer, ev);
	struct io_timer *timer = watcher->data;
	uint64_t now_ns = clock_now_ns(t->clock);

	(void)events;
	if (now_ns < t->end_ns) {
		ev_timer_set(&t->ev, (double)(t->end_ns - now_ns) / 1e9, 0.);
		ev_timer_start(loop, &t->ev);
		return;
	}
	timer->fire(timer);
}

static void clock_timer_start(struct io_clock *clock, struct io_timer *timer, uint64_t delay_ns)
{
	struct timer *t = timer_of(timer);
	struct ev_loop *loop = loop_of(clock);

	if (t->clock)
		ev_timer_stop(loop, &t->ev);
	else
		ev_init(&t->ev, timer_fired);
	t->clock = clock;
	t->end_ns = clock_now_ns(clock) + delay_ns;
	t->ev.data = timer;
	ev_timer_set(&t->ev, (double)delay_ns / 1e9, 0.);
	ev_timer_start(loop, &t->ev);
}

static void clock_timer_stop(struct io_clock *clock, struct io_timer *timer)
{
	struct timer *t = timer_of(timer);

	if (t->clock)
		ev_timer_stop(loop_of(clock), &t->ev);
}

static uint64_t clock_random(struct io_clock *clock)
{
	uint64_t bits;

	(void)clock;
	/* Up to 256 bytes come whole; only a kernel without a seed yet waits, and only then a signal interrupts. */
	while (getrandom(&bits, sizeof bits, 0) != sizeof bits) {
		if (errno != EINTR)
			abort();
	}
	return bits;
}

void clock_setup(struct io_clock *clock)
{
	clock->now_ns = clock_now_ns;
	clock->timer_start = clock_timer_start;
	clock->timer_stop = clock_timer_stop;
	clock->random = clock_random;
}
