/*
 * io_ev.h - time and network of a real machine: the seams common/io/clock.h and common/io/transport.h on one libev
 * loop (timers over CLOCK_BOOTTIME, getrandom, TCP and Unix stream sockets).
 *
 * Everything belongs to the thread that runs the loop. Connecting to, or listening at, a host *name* asks the
 * resolver and may block the loop meanwhile; numeric addresses and Unix sockets never block.
 */
#ifndef COPYHOLD_IO_EV_H
#define COPYHOLD_IO_EV_H

#include "common/io/clock.h"
#include "common/io/transport.h"

struct ev_loop;
struct io_ev;

/* A clock and a transport on the loop, which must outlive them. Never fails. */
struct io_ev *io_ev_new(struct ev_loop *loop);

/*
 * Closes all connections and listeners, without callbacks, and frees io. Not to be called from a callback. Timers must
 * have been stopped by their users.
 */
void io_ev_free(struct io_ev *io);

/* The two seams; valid as long as io. */
struct io_clock *io_ev_clock(struct io_ev *io);
struct io_transport *io_ev_transport(struct io_ev *io);

/* Accepted connections that may be open at a time (1024); further ones are closed at once, and a line says so. */
void io_ev_set_accept_limit(struct io_ev *io, unsigned limit);

/*
 * Where a listener listens, in a form that connect takes; tells the port that port 0 became. Valid as long as the
 * listener.
 */
const char *io_ev_listener_address(const struct io_listener *listener);

#endif
