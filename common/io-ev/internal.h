/*
 * internal.h - what the files of common/io-ev share.
 *
 *   clock.c     timers, time, random bits
 *   address.c   "HOST:PORT", "[V6]:PORT", "unix:/path" to socket addresses and back
 *   conn.c      the life of a connection: connect, open, close; the functions of the seam
 *   receive.c   bytes to frames
 *   send.c      frames to bytes
 *   listener.c  listening sockets
 *
 * The life of an io_conn:
 *
 *     connect() -> CONNECTING --> OPEN --> CLOSED -> freed
 *     accept() ---------------------^
 *
 * CONNECTING tries the addresses of a name in turn. CLOSED is reached by conn_shut(): watchers stopped, socket closed,
 * buffers given back; the memory stays until nobody on the stack holds it (conn_hold, conn_release), since a user
 * may close a connection from inside its own callback. Only functions that libev calls call back (conn_finish and
 * receive.c), so no callback ever runs inside a function of the seam.
 */
#ifndef COPYHOLD_IO_EV_INTERNAL_H
#define COPYHOLD_IO_EV_INTERNAL_H

#include "common/io-ev/io_ev.h"
#include "proto/frame.h"

#include <ev.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESSES_MAX     8
#define ADDRESS_TEXT_MAX  160
#define CONNECT_TIMEOUT_S 2.0

struct address_list {
	unsigned count;
	struct {
		struct sockaddr_storage address;
		socklen_t length;
	} entries[ADDRESSES_MAX];
};

enum conn_state {
	CONN_CONNECTING,
	CONN_OPEN,
	CONN_CLOSED,
};

struct io_conn {
	struct io_ev *io;
	TAILQ_ENTRY(io_conn) link;
	TAILQ_ENTRY(io_conn) flush_link;
	enum conn_state state;
	bool accepted;
	bool flush_queued; /* on io->flush_queue */
	unsigned holds;    /* functions on the stack that still need the memory */
	int fd;            /* -1: none */
	int error; /* sending failed: what closed() will say, when all that came in has been read */
	const struct io_conn_ops *ops;
	void *context;
	ev_io reader, writer;
	ev_timer timer; /* CONNECTING: the timeout, or a failure to be reported on the next turn */
	struct address_list *addresses; /* CONNECTING: where to */
	unsigned address_index;         /* the one being tried */

	/* receive.c */
	uint8_t *in;
	uint32_t in_capacity, in_start, in_end;
	uint32_t in_wanted;         /* length of the header and body at in_start, once known */
	uint32_t read_ahead_bytes;  /* what to read at least, if there is room */
	bool in_payload;            /* header and body lie at in_start, the payload is under way */
	struct frame_header header; /* of that frame */
	struct slice payload;
	uint32_t payload_received;

	/* send.c: a ring of slices, each with a reference */
	struct slice *out;
	uint32_t out_capacity, out_head, out_count;
	struct buf *out_block; /* where headers and bodies are copied to */
	uint32_t out_block_used;
	size_t queued_bytes;

	char peer[ADDRESS_TEXT_MAX];
};

struct io_ev {
	struct io_transport transport;
	struct io_clock clock;
	struct ev_loop *loop;
	TAILQ_HEAD(, io_conn) conns;
	TAILQ_HEAD(, io_listener) listeners;
	/*
	 * Connections with something to send. `flush` is fed to libev by the first send of a wake-up, at the lowest
	 * priority: it runs when all other events of the wake-up have been handled, so that what they sent leaves
	 * in one system call a connection.
	 */
	TAILQ_HEAD(, io_conn) flush_queue;
	ev_watcher flush;
	unsigned accepted_count, accept_limit;
};

/* clock.c */
void clock_setup(struct io_clock *clock);

/*
 * address.c: -EINVAL if text has none of the three forms; else what the resolver says: -EADDRNOTAVAIL (no such name), -EAGAIN,
 * -ENOMEM. resolved: the resolver was asked, so time has passed.
 */
int address_parse(const char *text, bool listening, struct address_list *list, bool *resolved);
void address_format(const struct sockaddr_storage *address, socklen_t length, char *text,
		    size_t text_bytes);
/* The socket's peer, for messages; on Unix sockets with the process id. */
void address_format_peer(int fd, char *text, size_t text_bytes);

/* conn.c */
void transport_setup(struct io_transport *transport);
struct io_conn *conn_new(struct io_ev *io);
/* Takes fd over as an accepted connection. */
struct io_conn *conn_new_accepted(struct io_ev *io, int fd);
/* Starts to receive on an accepted connection whose user has set his handler. */
void conn_start(struct io_conn *conn);
/* Gives everything back but the memory; no callback. The caller holds the conn, or doesn't use it again. */
void conn_shut(struct io_conn *conn);
/* Shuts, and tells the user. */
void conn_finish(struct io_conn *conn, int error);
void conn_hold(struct io_conn *conn);
void conn_release(struct io_conn *conn);

/* receive.c */
void receive_setup(struct io_conn *conn);
void receive_clear(struct io_conn *conn);
void receive_free(struct io_conn *conn);
void receive_ready(struct ev_loop *loop, ev_io *watcher, int events);

/* send.c */
void send_frame(struct io_conn *conn, const struct io_frame *frame);
/* Gives the kernel what it takes now. 0, or a negative errno after which the rest was dropped. */
int send_flush(struct io_conn *conn);
void send_clear(struct io_conn *conn);
/* Flushes now what waited for the connection to open. */
void send_begin(struct io_conn *conn);
void send_ready(struct io_conn *conn);
void send_flush_all(struct ev_loop *loop, ev_watcher *watcher, int events);

/* listener.c */
int listener_open(struct io_transport *t, const char *address,
		  void (*accepted)(void *context, struct io_conn *conn), void *context,
		  struct io_listener **listener);
void listener_close(struct io_transport *t, struct io_listener *listener);

static inline struct io_ev *io_of_transport(struct io_transport *transport)
{
	return container_of(transport, struct io_ev, transport);
}

#endif
