/*
 * handover.h - the engine in a thread of its own, and the way from nbdkit's threads to it and back.
 *
 * The engine, libev and everything behind them belong to one thread. nbdkit's threads queue a call under a mutex, wake the
 * loop if the queue was empty, and sleep on the call's semaphore until the engine has completed it. The calls
 * of one wake-up are taken together.
 */
#ifndef COPYHOLD_HANDOVER_H
#define COPYHOLD_HANDOVER_H

#include "replica-engine/engine/engine.h"

#include <semaphore.h>

struct handover;

/*
 * Starts the thread with its engine; meta is copied. io_timeout_ns as in engine_options. -EAGAIN if no thread can be made.
 */
int handover_start(const char *meta, uint64_t io_timeout_ns, struct handover **handover);
/* Stops the engine in order (leases were returned with the last detach; BYE) and joins the thread. */
void handover_stop(struct handover *handover);

struct call {
	/* Run on the loop's thread; ends, then or later, with call_end. */
	void (*run)(struct call *call, struct engine *engine);
	int status;
	sem_t ended;
	STAILQ_ENTRY(call) link;
};

/* Runs the call on the loop's thread and waits for its end. From any thread but the loop's. Gives its status. */
int handover_call(struct handover *handover, struct call *call);
/* On the loop's thread: wakes whoever waits for it; the call's memory is his again. */
void call_end(struct call *call, int status);

#endif
