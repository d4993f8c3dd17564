/*
 * clock.h - the seam to time and randomness. Implemented by common/io-ev (libev, CLOCK_BOOTTIME, getrandom)
 * and by the simulator (virtual time, its seed).
 *
 * Time never goes back; its rate is trusted to 10 %. It goes on while the machine is suspended.
 */
#ifndef COPYHOLD_IO_CLOCK_H
#define COPYHOLD_IO_CLOCK_H

#include "common/base/base.h"

/*
 * A timer, embedded by its user, zeroed before its first use. It fires once; start it again for the next.
 * The user must stop it before its memory goes away.
 */
struct io_timer {
	void (*fire)(struct io_timer *timer);
	_Alignas(16) unsigned char implementation[96];
};

struct io_clock {
	uint64_t (*now_ns)(struct io_clock *clock);
	/* Starts, or starts anew, a timer that fires delay_ns from now; never from inside this call. */
	void (*timer_start)(struct io_clock *clock, struct io_timer *timer, uint64_t delay_ns);
	/* A stopped timer does not fire. Stopping one that is not running does nothing. */
	void (*timer_stop)(struct io_clock *clock, struct io_timer *timer);
	/* 64 random bits, for identifiers and jitter. */
	uint64_t (*random)(struct io_clock *clock);
};

#endif
