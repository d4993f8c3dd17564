/*
 * handover.h - the engine, and the threads that run it.
 *
 * The engine, libev and everything behind them are run by one thread at a time: the *driver*. A thread of nbdkit that finds no
 * driver becomes it, and turns the loop itself until its own call has ended: a request that is alone crosses no other thread.
 * A thread that finds a driver queues its call, wakes the loop if the queue was empty, and sleeps; the calls of one
 * wake-up are taken together, and all callers whose calls end in a turn of the loop are woken by one system call at its end, behind
 * what the turn sends. Woken one by one they would take the driver's core from it each time.
 *
 * A thread of our own, the *background*, drives when no caller does: while calls of others are left when a caller's own has ended,
 * and while nothing is asked. When calls come densely one after the other it keeps away between them, and looks every few
 * milliseconds whether they go on.
 */
#ifndef COPYHOLD_HANDOVER_H
#define COPYHOLD_HANDOVER_H

#include "replica-engine/engine/engine.h"

#include <stdatomic.h>

struct handover;

/*
 * Starts the engine and its background; meta is copied. io_timeout_ns as in engine_options. -EAGAIN if no thread can be made.
 */
int handover_start(const char *meta, uint64_t io_timeout_ns, struct handover **handover);
/* Stops the engine in order (leases were returned with the last detach; BYE) and joins the thread. No call may be under way. */
void handover_stop(struct handover *handover);

struct call {
	/* Run by the driver; ends, then or later, with call_end. */
	void (*run)(struct call *call, struct engine *engine);
	int status;
	uint32_t wake_bit;
	bool ending;       /* the driver's: ended, and to be told at the end of the turn */
	_Atomic bool over; /* the caller may go */
	struct handover *handover;
	STAILQ_ENTRY(call) link;
};

/* Runs the call and waits for its end. From any thread that is not inside a call. Gives its status. */
int handover_call(struct handover *handover, struct call *call);
/* By the driver: wakes whoever waits for it; the call's memory is his again. */
void call_end(struct call *call, int status);

#endif
