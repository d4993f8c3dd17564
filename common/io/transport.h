/*
 * transport.h - the seam to the network: connections that carry whole frames, in order, until they
 * break. Implemented by common/io-ev (libev, TCP and Unix sockets) and by the simulator.
 *
 * No callback is ever called from inside one of these functions. All of it belongs to one event
 * loop's thread.
 */
#ifndef COPYHOLD_IO_TRANSPORT_H
#define COPYHOLD_IO_TRANSPORT_H

#include "common/base/buf.h"

struct io_conn;     /* a connection, owned by the transport */
struct io_listener; /* a listening socket, owned by the transport */

/*
 * One message as the transport sees it. Sending: body is copied, the transport takes its own
 * reference on the payload. Receiving: valid during the callback; whoever keeps the payload takes a
 * reference.
 */
struct io_frame {
	uint16_t type;
	uint32_t status;
	uint64_t id;
	const uint8_t *body;
	uint32_t body_bytes;
	struct slice payload;
};

struct io_conn_ops {
	/* An outgoing connection is up. Not called for accepted ones. */
	void (*opened)(struct io_conn *conn, void *context);
	void (*frame)(struct io_conn *conn, void *context, const struct io_frame *frame);
	/*
	 * The connection is gone (error: negative errno; 0 if the peer closed it in order; -EPROTO if the
	 * peer broke the rules of framing). Called exactly once, unless the user closed it himself;
	 * the conn is invalid after the return.
	 */
	void (*closed)(struct io_conn *conn, void *context, int error);
};

struct io_transport {
	/*
	 * Listens at address ("HOST:PORT", "[V6]:PORT", "unix:/path"). accepted() is called for each new
	 * connection and must call set_handler on it before it returns, or close it.
	 * -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EINVAL (no such form of address).
	 */
	int (*listen)(struct io_transport *t, const char *address,
		      void (*accepted)(void *context, struct io_conn *conn), void *context,
		      struct io_listener **listener);
	void (*listener_close)(struct io_transport *t, struct io_listener *listener);
	/*
	 * Begins to connect; opened() or closed() follows. Never fails at once: a bad address is
	 * reported through closed().
	 */
	struct io_conn *(*connect)(struct io_transport *t, const char *address,
				   const struct io_conn_ops *ops, void *context);
	void (*set_handler)(struct io_conn *conn, const struct io_conn_ops *ops, void *context);
	/*
	 * Queues a frame. Never blocks and never fails: on a broken connection it is dropped, and closed()
	 * follows or has been called. Legal before opened(): frames wait.
	 */
	void (*send)(struct io_conn *conn, const struct io_frame *frame);
	/* Bytes queued and not yet given to the kernel. */
	size_t (*queued_bytes)(struct io_conn *conn);
	/* Closes at once (queued frames are tried once, without waiting); no callback follows; the conn is invalid. */
	void (*close)(struct io_conn *conn);
	/* The peer, for messages; valid as long as the conn. */
	const char *(*peer)(struct io_conn *conn);
};

#endif
