/* listener.c - listening sockets: TCP, and Unix sockets with the file they leave behind. */
#include "common/io-ev/internal.h"
#include "common/trace/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 512
/* Accepted in one turn, before the connections that are there have theirs. */
#define ACCEPTS_PER_TURN 32
/* Out of file descriptors or memory: the socket stays readable, so asking on would spin. */
#define PAUSE_S 0.1

struct io_listener {
	struct io_ev *io;
	TAILQ_ENTRY(io_listener) link;
	int fd;
	ev_io acceptor;
	ev_timer pause;
	void (*accepted)(void *context, struct io_conn *conn);
	void *context;
	bool full;      /* the limit was reached: said once, until a connection fits again */
	bool exhausted; /* likewise for file descriptors */
	bool in_callback, closed;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* Unix: our socket file */
	dev_t device;
	ino_t inode;
	char address[ADDRESS_TEXT_MAX];
};

/* ---- the file of a Unix socket ---- */

/* True if path is a socket file at which nobody listens: left behind by a process that was killed. */
static bool unix_is_stale(const struct sockaddr_un *un)
{
	struct stat st;
	bool refused;
	int fd;

	if (lstat(un->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)(const void *)un, sizeof *un) != 0 &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static void unix_remember(struct io_listener *listener, const struct sockaddr_un *un)
{
	struct stat st;

	if (lstat(un->sun_path, &st) != 0)
		return;
	strcpy(listener->path, un->sun_path);
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
}

/* Removes the file unless somebody else has put his own there. */
static void unix_remove(const struct io_listener *listener)
{
	struct stat st;

	if (listener->path[0] && lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		unlink(listener->path);
}

/* ---- opening ---- */

static int bind_to(int fd, const struct sockaddr_storage *address, socklen_t length)
{
	const struct sockaddr *to = (const struct sockaddr *)(const void *)address;
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)address;
	int on = 1;

	if (address->ss_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, to, length) == 0)
		return 0;
	if (errno != EADDRINUSE || address->ss_family != AF_UNIX)
		return -errno;
	if (!unix_is_stale(un))
		return -EADDRINUSE;
	if (unlink(un->sun_path) != 0 && errno != ENOENT)
		return -errno;
	return bind(fd, to, length) == 0 ? 0 : -errno;
}

static int open_socket(struct io_listener *listener, const struct sockaddr_storage *address,
		       socklen_t length)
{
	struct sockaddr_storage bound;
	socklen_t bound_bytes = sizeof bound;
	int error;
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	error = bind_to(fd, address, length);
	if (!error && address->ss_family == AF_UNIX)
		unix_remember(listener, (const struct sockaddr_un *)(const void *)address);
	if (!error && listen(fd, BACKLOG) != 0)
		error = -errno;
	if (!error && getsockname(fd, (struct sockaddr *)&bound, &bound_bytes) != 0)
		error = -errno;
	if (error) {
		unix_remove(listener);
		close(fd);
		return error;
	}
	address_format(&bound, bound_bytes, listener->address, sizeof listener->address);
	listener->fd = fd;
	return 0;
}

/* ---- accepting ---- */

static void say_once(struct io_listener *listener, bool *said, const char *what)
{
	if (!*said)
		trace(TRACE_WARN, "transport", "listener=%s %s", listener->address, what);
	*said = true;
}

/* False: stop for this turn. */
static bool accept_one(struct io_listener *listener)
{
	struct io_ev *io = listener->io;
	struct io_conn *conn;
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			say_once(listener, &listener->exhausted,
				 "takes no new connections for want of file descriptors or "
				 "memory; raise the limit (ulimit -n, LimitNOFILE=)");
			ev_io_stop(io->loop, &listener->acceptor);
			ev_timer_set(&listener->pause, PAUSE_S, 0.);
			ev_timer_start(io->loop, &listener->pause);
			return false;
		}
		/* A connection that was gone before we came is no reason to stop. */
		return errno == ECONNABORTED || errno == EINTR || errno == EPROTO;
	}
	listener->exhausted = false;
	if (io->accepted_count >= io->accept_limit) {
		say_once(listener, &listener->full,
			 "closes new connections at once: the limit of connections is reached");
		close(fd);
		return true;
	}
	listener->full = false;
	conn = conn_new_accepted(io, fd);
	conn_hold(conn);
	listener->accepted(listener->context, conn);
	assert(conn->ops || conn->state == CONN_CLOSED);
	if (conn->state == CONN_OPEN)
		conn_start(conn);
	conn_release(conn);
	return !listener->closed;
}

static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct io_listener *listener = watcher->data;

	(void)loop;
	(void)events;
	listener->in_callback = true;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN && accept_one(listener); i++)
		;
	listener->in_callback = false;
	if (listener->closed)
		free(listener);
}

static void on_pause_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
	struct io_listener *listener = watcher->data;

	(void)events;
	ev_io_start(loop, &listener->acceptor);
}

int listener_open(struct io_transport *t, const char *address,
		  void (*accepted)(void *context, struct io_conn *conn), void *context,
		  struct io_listener **out)
{
	struct io_ev *io = io_of_transport(t);
	struct address_list list;
	struct io_listener *listener;
	bool resolved;
	int error = address_parse(address, true, &list, &resolved);

	if (error)
		return error;
	listener = xcalloc(1, sizeof *listener);
	listener->io = io;
	listener->accepted = accepted;
	listener->context = context;
	error = -EADDRNOTAVAIL;
	for (unsigned i = 0; i < list.count && error == -EADDRNOTAVAIL; i++)
		error = open_socket(listener, &list.entries[i].address, list.entries[i].length);
	if (error) {
		free(listener);
		return error;
	}
	ev_io_init(&listener->acceptor, on_acceptable, listener->fd, EV_READ);
	ev_init(&listener->pause, on_pause_end);
	listener->acceptor.data = listener;
	listener->pause.data = listener;
	ev_io_start(io->loop, &listener->acceptor);
	TAILQ_INSERT_TAIL(&io->listeners, listener, link);
	*out = listener;
	return 0;
}

void listener_close(struct io_transport *t, struct io_listener *listener)
{
	struct io_ev *io = io_of_transport(t);

	ev_io_stop(io->loop, &listener->acceptor);
	ev_timer_stop(io->loop, &listener->pause);
	unix_remove(listener);
	close(listener->fd);
	TAILQ_REMOVE(&io->listeners, listener, link);
	if (listener->in_callback)
		listener->closed = true;
	else
		free(listener);
}

const char *io_ev_listener_address(const struct io_listener *listener)
{
	return listener->address;
}
