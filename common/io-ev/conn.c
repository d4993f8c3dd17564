/* conn.c - the life of a connection, and the functions of the seam. See internal.h for the states. */
#include "common/io-ev/internal.h"
#include "common/trace/trace.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A peer whose machine is gone without a word is noticed after about 10 + 3 * 5 s, even if nobody sends. */
#define KEEPALIVE_IDLE_S     10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES     3

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events);
static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events);

struct io_conn *conn_new(struct io_ev *io)
{
	struct io_conn *conn = xcalloc(1, sizeof *conn);

	conn->io = io;
	conn->fd = -1;
	ev_init(&conn->reader, receive_ready);
	ev_init(&conn->writer, on_writable);
	ev_init(&conn->timer, on_timer);
	conn->reader.data = conn;
	conn->writer.data = conn;
	conn->timer.data = conn;
	TAILQ_INSERT_TAIL(&io->conns, conn, link);
	return conn;
}

static void conn_set_fd(struct io_conn *conn, int fd)
{
	conn->fd = fd;
	ev_io_set(&conn->reader, fd, EV_READ);
	ev_io_set(&conn->writer, fd, EV_WRITE);
}

/* Failures are harmless: such a socket is slower, or notices a lost machine later. */
static void set_tcp_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
		{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof options[i].value);
}

static bool is_tcp(int fd)
{
	int domain = AF_UNSPEC;
	socklen_t length = sizeof domain;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain != AF_UNIX;
}

struct io_conn *conn_new_accepted(struct io_ev *io, int fd)
{
	struct io_conn *conn = conn_new(io);

	conn_set_fd(conn, fd);
	conn->accepted = true;
	conn->state = CONN_OPEN;
	io->accepted_count++;
	address_format_peer(fd, conn->peer, sizeof conn->peer);
	if (is_tcp(fd))
		set_tcp_options(fd);
	receive_setup(conn);
	return conn;
}

void conn_start(struct io_conn *conn)
{
	ev_io_start(conn->io->loop, &conn->reader);
	send_begin(conn);
}

void conn_shut(struct io_conn *conn)
{
	struct io_ev *io = conn->io;

	assert(conn->state != CONN_CLOSED);
	conn->state = CONN_CLOSED;
	ev_io_stop(io->loop, &conn->reader);
	ev_io_stop(io->loop, &conn->writer);
	ev_timer_stop(io->loop, &conn->timer);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	receive_clear(conn);
	send_clear(conn);
	free(conn->addresses);
	conn->addresses = NULL;
	TAILQ_REMOVE(&io->conns, conn, link);
	if (conn->accepted) {
		assert(io->accepted_count > 0);
		io->accepted_count--;
	}
}

void conn_hold(struct io_conn *conn)
{
	conn->holds++;
}

void conn_release(struct io_conn *conn)
{
	assert(conn->holds > 0);
	if (--conn->holds == 0 && conn->state == CONN_CLOSED) {
		receive_free(conn);
		free(conn);
	}
}

void conn_finish(struct io_conn *conn, int error)
{
	conn_hold(conn);
	conn_shut(conn);
	if (conn->ops->closed)
		conn->ops->closed(conn, conn->context, error);
	conn_release(conn);
}

/* ---- connecting ---- */

/* Reports a failure from the loop: connect() must not call back. */
static void fail_later(struct io_conn *conn, int error)
{
	conn->error = error;
	ev_timer_stop(conn->io->loop, &conn->timer);
	ev_timer_set(&conn->timer, 0., 0.);
	ev_timer_start(conn->io->loop, &conn->timer);
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
	struct io_conn *conn = watcher->data;

	(void)loop;
	(void)events;
	conn_finish(conn, conn->error ? conn->error : -ETIMEDOUT);
}

/* Begins with one address. 0: under way. */
static int try_address(struct io_conn *conn, unsigned index)
{
	const struct sockaddr_storage *address = &conn->addresses->entries[index].address;
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (address->ss_family != AF_UNIX)
		set_tcp_options(fd);
	if (connect(fd, (const struct sockaddr *)(const void *)address,
		    conn->addresses->entries[index].length) != 0 &&
	    errno != EINPROGRESS) {
		int error = -errno;

		close(fd);
		return error;
	}
	conn_set_fd(conn, fd);
	ev_io_start(conn->io->loop, &conn->writer);
	return 0;
}

/* Goes on with the next address that can be tried at all; the last failure if there is none. */
static int try_from(struct io_conn *conn, unsigned index)
{
	int error = -EADDRNOTAVAIL;

	for (; index < conn->addresses->count; index++) {
		error = try_address(conn, index);
		conn->address_index = index;
		if (!error)
			return 0;
	}
	return error;
}

/*
 * A connect to a local port at which nobody listens may meet itself: the kernel picks the very port as the source,
 * and the two ends are one (RFC 793's simultaneous open). Whoever repeats connects to a dead server gets there in time.
 */
static bool connected_to_itself(int fd)
{
	struct sockaddr_storage here = {0}, there = {0};
	socklen_t here_bytes = sizeof here, there_bytes = sizeof there;

	return is_tcp(fd) && getsockname(fd, (struct sockaddr *)&here, &here_bytes) == 0 &&
	       getpeername(fd, (struct sockaddr *)&there, &there_bytes) == 0 &&
	       here_bytes == there_bytes && memcmp(&here, &there, here_bytes) == 0;
}

static int connect_result(int fd)
{
	int error = 0;
	socklen_t length = sizeof error;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
		return -errno;
	if (!error && connected_to_itself(fd))
		error = ECONNREFUSED;
	return -error;
}

static void connect_ready(struct io_conn *conn)
{
	struct ev_loop *loop = conn->io->loop;
	int error = connect_result(conn->fd);

	ev_io_stop(loop, &conn->writer);
	if (error) {
		close(conn->fd);
		conn->fd = -1;
		if (conn->address_index + 1 < conn->addresses->count)
			error = try_from(conn, conn->address_index + 1);
		if (error)
			conn_finish(conn, error);
		return;
	}
	ev_timer_stop(loop, &conn->timer);
	free(conn->addresses);
	conn->addresses = NULL;
	conn->state = CONN_OPEN;
	receive_setup(conn);
	conn_hold(conn);
	if (conn->ops->opened)
		conn->ops->opened(conn, conn->context);
	if (conn->state == CONN_OPEN)
		conn_start(conn);
	conn_release(conn);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct io_conn *conn = watcher->data;

	(void)loop;
	(void)events;
	if (conn->state == CONN_CONNECTING)
		connect_ready(conn);
	else
		send_ready(conn);
}

static struct io_conn *transport_connect(struct io_transport *t, const char *address,
					 const struct io_conn_ops *ops, void *context)
{
	struct io_ev *io = io_of_transport(t);
	struct io_conn *conn = conn_new(io);
	bool resolved;
	int error;

	conn->ops = ops;
	conn->context = context;
	conn->state = CONN_CONNECTING;
	snprintf(conn->peer, sizeof conn->peer, "%s", address);
	conn->addresses = xcalloc(1, sizeof *conn->addresses);
	error = address_parse(address, false, conn->addresses, &resolved);
	if (resolved)
		ev_now_update(io->loop);
	if (!error)
		error = try_from(conn, 0);
	if (error) {
		fail_later(conn, error);
		return conn;
	}
	ev_timer_set(&conn->timer, CONNECT_TIMEOUT_S, 0.);
	ev_timer_start(io->loop, &conn->timer);
	return conn;
}

/* ---- the rest of the seam ---- */

static void transport_set_handler(struct io_conn *conn, const struct io_conn_ops *ops,
				  void *context)
{
	conn->ops = ops;
	conn->context = context;
}

static size_t transport_queued_bytes(struct io_conn *conn)
{
	return conn->queued_bytes;
}

static void transport_close(struct io_conn *conn)
{
	if (conn->state == CONN_CLOSED)
		return; /* from inside closed() */
	conn_hold(conn);
	if (conn->state == CONN_OPEN && !conn->error)
		(void)send_flush(conn);
	conn_shut(conn);
	conn_release(conn);
}

static const char *transport_peer(struct io_conn *conn)
{
	return conn->peer;
}

void transport_setup(struct io_transport *transport)
{
	transport->listen = listener_open;
	transport->listener_close = listener_close;
	transport->connect = transport_connect;
	transport->set_handler = transport_set_handler;
	transport->send = send_frame;
	transport->queued_bytes = transport_queued_bytes;
	transport->close = transport_close;
	transport->peer = transport_peer;
}
