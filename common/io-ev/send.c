/*
 * send.c - frames to bytes.
 *
 * A connection's queue is a ring of slices. Headers and bodies are copied one behind the other into pooled blocks;
 * payloads are slices of their own, by reference. Nothing is allocated once ring and pools have grown to what the load
 * needs.
 *
 * The first frame that finds a connection idle puts it on io->flush_queue; when all events of the wake-up have been
 * handled, one sendmsg takes all that they produced. If the kernel takes less, the writer watcher waits for room, and
 * frames just queue up behind. A message that is alone costs each end epoll_wait, readv and sendmsg; with 16 under way at
 * a time these three together are called about once in five messages.
 */
#include "common/io-ev/internal.h"

#include <errno.h>
#include <stdlib.h>

#define OUT_BLOCK_BYTES  (16u * 1024)
#define OUT_CAPACITY_MIN 64u
#define FLUSH_IOVS       256
/* System calls for one connection in one turn. */
#define FLUSH_CALLS 8

static void out_grow(struct io_conn *conn)
{
	uint32_t capacity = MAX(conn->out_capacity * 2, OUT_CAPACITY_MIN);
	struct slice *out = xmalloc(capacity * sizeof *out);

	for (uint32_t i = 0; i < conn->out_count; i++)
		out[i] = conn->out[(conn->out_head + i) & (conn->out_capacity - 1)];
	free(conn->out);
	conn->out = out;
	conn->out_capacity = capacity;
	conn->out_head = 0;
}

static struct slice *out_at(struct io_conn *conn, uint32_t i)
{
	return &conn->out[(conn->out_head + i) & (conn->out_capacity - 1)];
}

/* Appends a slice; takes over its reference. */
static void out_push(struct io_conn *conn, struct slice s)
{
	if (conn->out_count == conn->out_capacity)
		out_grow(conn);
	*out_at(conn, conn->out_count++) = s;
	conn->queued_bytes += s.bytes;
}

static void out_pop(struct io_conn *conn)
{
	slice_unref(out_at(conn, 0));
	conn->out_head = (conn->out_head + 1) & (conn->out_capacity - 1);
	conn->out_count--;
}

static void out_block_drop(struct io_conn *conn)
{
	buf_unref(conn->out_block);
	conn->out_block = NULL;
	conn->out_block_used = 0;
}

/* Appends `bytes` to be filled in by the caller, in the last slice if they fit behind it. */
static uint8_t *out_reserve(struct io_conn *conn, uint32_t bytes)
{
	struct slice *last = conn->out_count ? out_at(conn, conn->out_count - 1) : NULL;
	uint8_t *at;

	if (conn->out_block && conn->out_block->bytes - conn->out_block_used < bytes)
		out_block_drop(conn);
	if (!conn->out_block)
		conn->out_block = buf_new(MAX(bytes, OUT_BLOCK_BYTES));
	at = conn->out_block->data + conn->out_block_used;
	if (last && last->buf == conn->out_block) {
		last->bytes += bytes;
		conn->queued_bytes += bytes;
	} else {
		out_push(conn, (struct slice){.buf = buf_ref(conn->out_block),
					      .offset = conn->out_block_used,
					      .bytes = bytes});
	}
	conn->out_block_used += bytes;
	return at;
}

static void flush_later(struct io_conn *conn)
{
	struct io_ev *io = conn->io;

	if (conn->flush_queued || conn->state != CONN_OPEN || ev_is_active(&conn->writer))
		return;
	if (TAILQ_EMPTY(&io->flush_queue))
		ev_feed_event(io->loop, &io->flush, EV_CUSTOM);
	TAILQ_INSERT_TAIL(&io->flush_queue, conn, flush_link);
	conn->flush_queued = true;
}

void send_frame(struct io_conn *conn, const struct io_frame *frame)
{
	uint8_t *at;

	assert(frame->body_bytes <= FRAME_BODY_MAX && frame->payload.bytes <= FRAME_PAYLOAD_MAX);
	if (conn->state == CONN_CLOSED || conn->error)
		return;
	at = out_reserve(conn, FRAME_HEADER_BYTES + frame->body_bytes);
	frame_encode_header(frame, at);
	if (frame->body_bytes)
		memcpy(at + FRAME_HEADER_BYTES, frame->body, frame->body_bytes);
	if (frame->payload.bytes)
		out_push(conn, slice_ref(frame->payload));
	flush_later(conn);
}

/* Takes what was sent off the queue. */
static void consume(struct io_conn *conn, size_t bytes)
{
	conn->queued_bytes -= bytes;
	while (bytes > 0) {
		struct slice *first = out_at(conn, 0);

		if (bytes < first->bytes) {
			first->offset += (uint32_t)bytes;
			first->bytes -= (uint32_t)bytes;
			return;
		}
		bytes -= first->bytes;
		out_pop(conn);
	}
}

/* One sendmsg. What was sent, or a negative errno. */
static ssize_t send_some(struct io_conn *conn)
{
	struct iovec iov[FLUSH_IOVS];
	uint32_t count = MIN(conn->out_count, FLUSH_IOVS);
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	int flags = MSG_NOSIGNAL | (count < conn->out_count ? MSG_MORE : 0);
	ssize_t sent;

	for (uint32_t i = 0; i < count; i++)
		iov[i] = (struct iovec){slice_data(*out_at(conn, i)), out_at(conn, i)->bytes};
	do
		sent = sendmsg(conn->fd, &message, flags);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

static void out_drop(struct io_conn *conn)
{
	while (conn->out_count)
		out_pop(conn);
	conn->queued_bytes = 0;
	out_block_drop(conn);
}

int send_flush(struct io_conn *conn)
{
	for (unsigned calls = 0; conn->out_count && calls < FLUSH_CALLS; calls++) {
		ssize_t sent = send_some(conn);

		if (sent == -EAGAIN)
			break;
		if (sent < 0) {
			out_drop(conn);
			return (int)sent;
		}
		consume(conn, (size_t)sent);
	}
	if (!conn->out_count)
		out_block_drop(conn);
	return 0;
}

/*
 * Flushes from the loop. A failure is not reported here: the peer may have said why before it closed, so what came in is
 * read first. The shutdown makes sure that an end is met there.
 */
static void flush_now(struct io_conn *conn)
{
	int error = send_flush(conn);

	if (error) {
		conn->error = error;
		(void)shutdown(conn->fd, SHUT_RDWR);
	}
	if (conn->out_count)
		ev_io_start(conn->io->loop, &conn->writer);
	else
		ev_io_stop(conn->io->loop, &conn->writer);
}

void send_begin(struct io_conn *conn)
{
	if (conn->out_count)
		flush_later(conn);
}

void send_ready(struct io_conn *conn)
{
	flush_now(conn);
}

void send_flush_all(struct ev_loop *loop, ev_watcher *watcher, int events)
{
	struct io_ev *io = watcher->data;
	struct io_conn *conn;

	(void)loop;
	(void)events;
	while ((conn = TAILQ_FIRST(&io->flush_queue))) {
		TAILQ_REMOVE(&io->flush_queue, conn, flush_link);
		conn->flush_queued = false;
		flush_now(conn);
	}
}

void send_clear(struct io_conn *conn)
{
	out_drop(conn);
	free(conn->out);
	conn->out = NULL;
	conn->out_capacity = conn->out_head = 0;
	if (conn->flush_queued)
		TAILQ_REMOVE(&conn->io->flush_queue, conn, flush_link);
	conn->flush_queued = false;
}
