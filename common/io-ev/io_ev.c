/* io_ev.c - see io_ev.h. */
#include "common/io-ev/internal.h"

#include <stdlib.h>

#define ACCEPT_LIMIT 1024

struct io_ev *io_ev_new(struct ev_loop *loop)
{
	struct io_ev *io = xcalloc(1, sizeof *io);

	io->loop = loop;
	io->accept_limit = ACCEPT_LIMIT;
	TAILQ_INIT(&io->conns);
	TAILQ_INIT(&io->listeners);
	TAILQ_INIT(&io->flush_queue);
	ev_init(&io->flush, send_flush_all);
	ev_set_priority(&io->flush, EV_MINPRI);
	io->flush.data = io;
	clock_setup(&io->clock);
	transport_setup(&io->transport);
	return io;
}

void io_ev_free(struct io_ev *io)
{
	while (!TAILQ_EMPTY(&io->listeners))
		listener_close(&io->transport, TAILQ_FIRST(&io->listeners));
	while (!TAILQ_EMPTY(&io->conns))
		io->transport.close(TAILQ_FIRST(&io->conns));
	ev_clear_pending(io->loop, &io->flush);
	free(io);
}

struct io_clock *io_ev_clock(struct io_ev *io)
{
	return &io->clock;
}

struct io_transport *io_ev_transport(struct io_ev *io)
{
	return &io->transport;
}

void io_ev_set_accept_limit(struct io_ev *io, unsigned limit)
{
	io->accept_limit = limit;
}
