/*
 * io_test.h - what the tests of the real seams share: a loop that runs until a condition holds, and frames whose bytes
 * can be recognised. Check's own timeout ends a test that waits for something that never comes.
 */
#ifndef COPYHOLD_IO_TEST_H
#define COPYHOLD_IO_TEST_H

#include "common/base/crc.h"
#include "common/base/prng.h"
#include "common/io-ev/io_ev.h"

#include <check.h>
#include <ev.h>
#include <stdlib.h>

#define HANG_S 60

/* Turns the loop until the condition holds. First without waiting: what was fed to libev outside the loop runs before it waits. */
#define run_until(loop, condition)                                                                 \
	do {                                                                                       \
		while (!(condition)) {                                                             \
			ev_run(loop, EVRUN_NOWAIT);                                                \
			if (!(condition))                                                          \
				ev_run(loop, EVRUN_ONCE);                                          \
		}                                                                                  \
	} while (0)

/* Turns the loop `turns` times without waiting. */
static inline void run_turns(struct ev_loop *loop, unsigned turns)
{
	while (turns--)
		ev_run(loop, EVRUN_NOWAIT);
}

static inline void fill_bytes(uint8_t *bytes, size_t count, uint64_t seed)
{
	struct prng prng = {seed};

	for (size_t i = 0; i < count; i++) {
		if (i % 8 == 0)
			prng.state = prng_next(&prng);
		bytes[i] = (uint8_t)(prng.state >> (i % 8 * 8));
	}
}

#endif
