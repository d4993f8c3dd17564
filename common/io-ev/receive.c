/*
 * receive.c - bytes to frames.
 *
 * Each connection reads into a buffer of its own as much as is there, and hands over all frames that lie in it whole. A
 * payload must end up aligned in a buf:
 *   - what of it lies in the buffer is copied there (all of it, if it is small: one copy, many frames a system call);
 *   - what is still to come is read there directly, by a readv whose second part is the buffer again, for what follows.
 * While payloads are large the buffer's part of the readv is kept short, so that hardly anything of them is copied.
 *
 * Invariants: in_start <= in_end <= in_capacity. in_payload: the frame's header and body lie at in_start, in_end is at
 * the end of the body, and payload_received < payload.bytes.
 */
#include "common/io-ev/internal.h"
#include "common/trace/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#define IN_BYTES        (64u * 1024)
#define AHEAD_BYTES_MIN 4096u
/* From this size on a payload counts as large. */
#define LARGE_BYTES (32u * 1024)
/* After so much a connection lets the others have their turn. */
#define TURN_BYTES (256u * 1024)

void receive_setup(struct io_conn *conn)
{
	conn->in = xmalloc(IN_BYTES);
	conn->in_capacity = IN_BYTES;
	conn->read_ahead_bytes = IN_BYTES;
}

void receive_clear(struct io_conn *conn)
{
	/* Not the buffer: the user may have closed from inside his callback, whose frame lies there. */
	slice_unref(&conn->payload);
	conn->in_payload = false;
}

void receive_free(struct io_conn *conn)
{
	free(conn->in);
}

/* Shows a frame whose header and body lie at in_start, and consumes these. False: the user closed the connection. */
static bool deliver(struct io_conn *conn, struct slice payload)
{
	const struct frame_header *header = &conn->header;
	struct io_frame frame = {
		.type = header->type,
		.status = header->status,
		.id = header->id,
		.body = conn->in + conn->in_start + FRAME_HEADER_BYTES,
		.body_bytes = header->body_bytes,
		.payload = payload,
	};

	conn->in_start += FRAME_HEADER_BYTES + header->body_bytes;
	conn->in_wanted = 0;
	conn->read_ahead_bytes = payload.bytes >= LARGE_BYTES ? AHEAD_BYTES_MIN : IN_BYTES;
	conn->ops->frame(conn, conn->context, &frame);
	slice_unref(&payload);
	return conn->state == CONN_OPEN;
}

static bool payload_complete(struct io_conn *conn)
{
	struct slice payload = conn->payload;

	conn->in_payload = false;
	conn->payload = (struct slice){0};
	return deliver(conn, payload);
}

/* The peer broke the rules: this connection is over, nobody else notices. */
static void violation(struct io_conn *conn, const char *why)
{
	trace(TRACE_WARN, "transport",
	      "peer=%s sent what is not a frame (%s): connection closed; it may not be a Copyhold "
	      "program, or bytes were damaged on the way",
	      conn->peer, why);
	conn_finish(conn, -EPROTO);
}

/* The header is known, the body is not whole: the next read must bring so much. The lengths were checked before. */
static void want(struct io_conn *conn, uint32_t head_bytes)
{
	conn->in_wanted = head_bytes;
	if (conn->in_capacity < head_bytes) {
		conn->in = xrealloc(conn->in, head_bytes);
		conn->in_capacity = head_bytes;
	}
}

/*
 * Takes the payload of the frame at in_start out of the buffer as far as it lies there. If it is not whole, nothing else
 * lies behind it, and the rest is to be read directly. False: the user closed the connection.
 */
static bool take_payload(struct io_conn *conn)
{
	uint32_t head_bytes = FRAME_HEADER_BYTES + conn->header.body_bytes;
	uint32_t here = conn->in_end - conn->in_start - head_bytes;
	uint32_t bytes = conn->header.payload_bytes;
	const uint8_t *from = conn->in + conn->in_start + head_bytes;

	conn->payload = slice_new(bytes);
	conn->payload_received = MIN(here, bytes);
	memcpy(slice_data(conn->payload), from, conn->payload_received);
	if (here < bytes) {
		conn->in_end -= here;
		conn->in_payload = true;
		return true;
	}
	if (!payload_complete(conn))
		return false;
	conn->in_start += bytes;
	return true;
}

/* Hands over each frame that is whole. False: the connection is gone. */
static bool parse(struct io_conn *conn)
{
	const char *why = NULL;

	while (conn->in_end - conn->in_start >= FRAME_HEADER_BYTES) {
		const uint8_t *head = conn->in + conn->in_start;
		uint32_t head_bytes;

		if (frame_decode_header(head, &conn->header, &why) != 0) {
			violation(conn, why);
			return false;
		}
		head_bytes = FRAME_HEADER_BYTES + conn->header.body_bytes;
		if (conn->in_end - conn->in_start < head_bytes) {
			want(conn, head_bytes);
			return true;
		}
		if (frame_check_body(&conn->header, head + FRAME_HEADER_BYTES) != 0) {
			violation(conn, "the body does not match its checksum");
			return false;
		}
		if (conn->header.payload_bytes == 0) {
			if (!deliver(conn, (struct slice){0}))
				return false;
		} else if (!take_payload(conn)) {
			return false;
		} else if (conn->in_payload) {
			return true;
		}
	}
	return true;
}

/* Moves what is left to the front; gives back what one long body needed. */
static void compact(struct io_conn *conn)
{
	uint32_t left = conn->in_end - conn->in_start;

	if (conn->in_start > 0) {
		memmove(conn->in, conn->in + conn->in_start, left);
		conn->in_start = 0;
		conn->in_end = left;
	}
	if (conn->in_capacity > IN_BYTES && left == 0) {
		free(conn->in);
		conn->in = xmalloc(IN_BYTES);
		conn->in_capacity = IN_BYTES;
	}
}

/* One readv: the rest of the payload, then the buffer. *asked: how much there was room for. */
static ssize_t receive(struct io_conn *conn, size_t *asked)
{
	struct iovec iov[2];
	int count = 0;
	ssize_t got;
	size_t rest = 0;
	uint32_t room;

	compact(conn);
	if (conn->in_payload) {
		rest = conn->payload.bytes - conn->payload_received;
		iov[count++] =
			(struct iovec){slice_data(conn->payload) + conn->payload_received, rest};
	}
	room = MAX(conn->read_ahead_bytes, conn->in_wanted - MIN(conn->in_wanted, conn->in_end));
	room = MIN(room, conn->in_capacity - conn->in_end);
	if (room)
		iov[count++] = (struct iovec){conn->in + conn->in_end, room};
	*asked = rest + room;
	assert(*asked > 0);
	do
		got = readv(conn->fd, iov, count);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? -errno : 0;
	conn->payload_received += (uint32_t)MIN((size_t)got, rest);
	conn->in_end += (uint32_t)((size_t)got - MIN((size_t)got, rest));
	return got;
}

/* The stream has ended, or broken. */
static void ended(struct io_conn *conn, int error)
{
	if (conn->error)
		error = conn->error;
	else if (!error && conn->in_end > conn->in_start)
		error = -ECONNRESET; /* in the middle of a frame */
	conn_finish(conn, error);
}

void receive_ready(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct io_conn *conn = watcher->data;
	size_t asked, turn_bytes = 0;
	ssize_t got;

	(void)loop;
	(void)events;
	conn_hold(conn);
	do {
		got = receive(conn, &asked);
		if (got == -EAGAIN)
			break;
		if (got <= 0) {
			ended(conn, (int)got);
			break;
		}
		turn_bytes += (size_t)got;
		if (conn->in_payload && conn->payload_received == conn->payload.bytes &&
		    !payload_complete(conn))
			break;
		if (!conn->in_payload && !parse(conn))
			break;
		/* A short read has emptied the socket: no need to ask again. */
	} while ((size_t)got == asked && turn_bytes < TURN_BYTES);
	conn_release(conn);
}
