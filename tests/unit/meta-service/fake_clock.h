/* fake_clock.h - an io_clock whose time the test sets; timers fire when it is advanced. */
#ifndef COPYHOLD_TEST_FAKE_CLOCK_H
#define COPYHOLD_TEST_FAKE_CLOCK_H

#include "common/base/prng.h"
#include "common/io/clock.h"

#define FAKE_TIMERS 16

struct fake_clock {
	struct io_clock base;
	uint64_t now_ns;
	struct prng prng;
	struct {
		struct io_timer *timer;
		uint64_t at_ns;
	} timers[FAKE_TIMERS];
};

static inline uint64_t fake_now_ns(struct io_clock *base)
{
	return container_of(base, struct fake_clock, base)->now_ns;
}

static inline void fake_timer_stop(struct io_clock *base, struct io_timer *timer)
{
	struct fake_clock *clock = container_of(base, struct fake_clock, base);

	for (size_t i = 0; i < FAKE_TIMERS; i++)
		if (clock->timers[i].timer == timer)
			clock->timers[i].timer = NULL;
}

static inline void fake_timer_start(struct io_clock *base, struct io_timer *timer,
				    uint64_t delay_ns)
{
	struct fake_clock *clock = container_of(base, struct fake_clock, base);
	size_t i = 0;

	fake_timer_stop(base, timer);
	while (clock->timers[i].timer)
		i++;
	assert(i < FAKE_TIMERS);
	clock->timers[i].timer = timer;
	clock->timers[i].at_ns = clock->now_ns + delay_ns;
}

static inline uint64_t fake_random(struct io_clock *base)
{
	return prng_next(&container_of(base, struct fake_clock, base)->prng);
}

static inline void fake_clock_init(struct fake_clock *clock)
{
	memset(clock, 0, sizeof *clock);
	clock->base =
		(struct io_clock){fake_now_ns, fake_timer_start, fake_timer_stop, fake_random};
	clock->now_ns = 1000 * NS_PER_S;
	clock->prng.state = 5;
}

/* Time passes; timers fire in order, each at its time. */
static inline void fake_clock_advance(struct fake_clock *clock, uint64_t ns)
{
	uint64_t end_ns = clock->now_ns + ns;

	for (;;) {
		size_t next = FAKE_TIMERS;
		struct io_timer *timer;

		for (size_t i = 0; i < FAKE_TIMERS; i++)
			if (clock->timers[i].timer && clock->timers[i].at_ns <= end_ns &&
			    (next == FAKE_TIMERS ||
			     clock->timers[i].at_ns < clock->timers[next].at_ns))
				next = i;
		if (next == FAKE_TIMERS)
			break;
		timer = clock->timers[next].timer;
		clock->now_ns = MAX(clock->now_ns, clock->timers[next].at_ns);
		clock->timers[next].timer = NULL;
		timer->fire(timer);
	}
	clock->now_ns = end_ns;
}

#endif
