/*
 * metad_peer.c - connections: the greeting, and messages in.
 *
 * The first message must be HELLO. It is answered with HELLO_OK, whose status says what is wrong if the connection is
 * closed after it: another protocol version, another cluster, or a store that can't be read just now. A new connection of an
 * instance closes the older one; a late older one is refused by its number.
 */
#include "meta-service/metad/metad_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A peer that has not said HELLO after this is closed. */
#define GREETING_NS (10 * NS_PER_S)
/* So is one that leaves this much unread. */
#define UNREAD_BYTES_MAX (64 * MIB)

struct peer *metad_find_peer(const struct metad *metad, uint64_t id)
{
	struct peer *peer;

	TAILQ_FOREACH (peer, &metad->peers, link)
		if (peer->id == id)
			return peer;
	return NULL;
}

/* Takes it out of the table and tells the core; the conn is the caller's business. */
static void forget(struct peer *peer)
{
	struct metad *metad = peer->metad;
	struct meta_event event = {.type = META_CLOSED, .connection = peer->id};
	bool greeted = peer->greeted;

	TAILQ_REMOVE(&metad->peers, peer, link);
	free(peer);
	if (greeted)
		metad_step(metad, &event);
}

void metad_close_peer(struct metad *metad, struct peer *peer)
{
	metad->env.transport->close(peer->conn);
	forget(peer);
}

void metad_close_all(struct metad *metad)
{
	struct peer *peer;

	while ((peer = TAILQ_FIRST(&metad->peers))) {
		metad->env.transport->close(peer->conn);
		TAILQ_REMOVE(&metad->peers, peer, link);
		free(peer);
	}
}

static const char *why_close(const struct metad *metad, const struct peer *peer)
{
	uint64_t now_ns = metad->env.clock->now_ns(metad->env.clock);

	if (!peer->greeted && now_ns >= peer->accepted_ns + GREETING_NS)
		return "said no HELLO";
	if (metad->env.transport->queued_bytes(peer->conn) > UNREAD_BYTES_MAX)
		return "does not read what it is sent";
	return NULL;
}

/* Closing one may close others: begin anew after each. */
void metad_check_peers(struct metad *metad)
{
	struct peer *peer = TAILQ_FIRST(&metad->peers);

	while (peer) {
		const char *why = why_close(metad, peer);

		if (why) {
			trace(TRACE_WARN, MODULE, "peer=%s %s: closed",
			      metad->env.transport->peer(peer->conn), why);
			metad_close_peer(metad, peer);
			peer = TAILQ_FIRST(&metad->peers);
		} else {
			peer = TAILQ_NEXT(peer, link);
		}
	}
}

/* ---- HELLO ---- */

static struct msg hello_ok(const struct metad *metad, const struct msg *hello)
{
	struct msg answer;

	memset(&answer, 0, sizeof answer);
	answer.type = MSG_HELLO_OK;
	answer.id = hello->id;
	answer.u.hello.protocol_version = PROTOCOL_VERSION;
	answer.u.hello.role = ROLE_METAD;
	answer.u.hello.cluster = metad->cluster;
	answer.u.hello.instance = metad->instance;
	answer.u.hello.connection = hello->u.hello.connection;
	return answer;
}

static void refuse(struct msg *answer, enum wire_status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void refuse(struct msg *answer, enum wire_status status, const char *format, ...)
{
	va_list ap;

	answer->status = status;
	va_start(ap, format);
	vsnprintf(answer->u.hello.text, sizeof answer->u.hello.text, format, ap);
	va_end(ap);
}

/* The connection that this instance has already, or NULL. */
static struct peer *find_older(const struct metad *metad, const struct msg_hello *hello)
{
	struct peer *peer;

	if (uuid_is_zero(hello->instance))
		return NULL;
	TAILQ_FOREACH (peer, &metad->peers, link)
		if (peer->greeted && uuid_equal(peer->instance, hello->instance))
			return peer;
	return NULL;
}

static void judge_hello(const struct metad *metad, const struct msg_hello *hello,
			struct msg *answer)
{
	char ours[UUID_TEXT_BYTES], theirs[UUID_TEXT_BYTES];
	const struct peer *older = find_older(metad, hello);

	uuid_format(metad->cluster, ours);
	uuid_format(hello->cluster, theirs);
	if (hello->protocol_version != PROTOCOL_VERSION)
		refuse(answer, WIRE_VERSION,
		       "The meta service speaks protocol version %d, this peer version %u. Upgrade "
		       "the older of the two",
		       PROTOCOL_VERSION, hello->protocol_version);
	else if (!metad->core)
		refuse(answer, WIRE_NOT_LEADER,
		       "The meta service can't read its store at present; its log says why. It "
		       "tries again every second");
	else if (!uuid_is_zero(hello->cluster) && !uuid_equal(hello->cluster, metad->cluster))
		refuse(answer, WIRE_WRONG_CLUSTER,
		       "This peer belongs to cluster %s, the meta service here to %s. Correct the "
		       "address of the meta service, or format the disk anew to move it",
		       theirs, ours);
	else if (hello->role != ROLE_ENGINE && hello->role != ROLE_CHUNKD &&
		 hello->role != ROLE_ADMIN)
		refuse(answer, WIRE_BAD_REQUEST,
		       "The meta service serves engines, chunk servers and copyhold(1)");
	else if (older && older->number > hello->connection)
		refuse(answer, WIRE_BUSY, "A newer connection of this process is open already");
}

static void on_hello(struct peer *peer, const struct msg *msg)
{
	struct metad *metad = peer->metad;
	const struct msg_hello *hello = &msg->u.hello;
	struct meta_output output = {.connection = peer->id, .msg = hello_ok(metad, msg)};
	struct meta_event event = {.type = META_OPENED, .connection = peer->id};
	struct peer *older;

	judge_hello(metad, hello, &output.msg);
	if (output.msg.status != WIRE_OK) {
		/* After a pause all that a peer has tried meanwhile comes at once: no news. */
		trace(output.msg.status == WIRE_BUSY ? TRACE_DEBUG : TRACE_WARN, MODULE,
		      "peer=%s refused: %s", metad->env.transport->peer(peer->conn),
		      output.msg.u.hello.text);
		codec_send(metad->codec, metad->env.transport, peer->conn, &output.msg);
		metad_close_peer(metad, peer);
		return;
	}
	older = find_older(metad, hello);
	if (older)
		metad_close_peer(metad, older);
	peer->greeted = true;
	peer->role = hello->role;
	peer->instance = hello->instance;
	peer->number = hello->connection;
	metad_queue(metad, &output);
	event.role = hello->role;
	event.instance = hello->instance;
	event.cluster_known = !uuid_is_zero(hello->cluster);
	metad_step(metad, &event);
}

/* ---- transport ---- */

static void break_off(struct peer *peer, unsigned type, const char *why)
{
	struct metad *metad = peer->metad;

	trace(TRACE_WARN, MODULE, "peer=%s sent %s: %s; closed",
	      metad->env.transport->peer(peer->conn), msg_type_name(type), why);
	metad_close_peer(metad, peer);
}

static void on_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct peer *peer = context;
	struct metad *metad = peer->metad;
	struct meta_event event = {.type = META_MESSAGE, .connection = peer->id};
	const char *why = "";
	struct msg msg;

	(void)conn;
	if (codec_decode(metad->codec, frame, &msg, &why) != 0) {
		break_off(peer, frame->type, why);
	} else if (msg.type == MSG_HELLO && !peer->greeted) {
		on_hello(peer, &msg);
	} else if (msg.type == MSG_HELLO || !peer->greeted) {
		break_off(peer, msg.type, "a connection begins with one HELLO");
	} else {
		event.msg = &msg;
		metad_step(metad, &event);
	}
}

static void on_closed(struct io_conn *conn, void *context, int error)
{
	struct peer *peer = context;

	trace(TRACE_DEBUG, MODULE, "peer=%s is gone: %s", peer->metad->env.transport->peer(conn),
	      error ? strerror(-error) : "closed");
	forget(peer);
}

static const struct io_conn_ops ops = {.frame = on_frame, .closed = on_closed};

void metad_accepted(void *context, struct io_conn *conn)
{
	struct metad *metad = context;
	struct peer *peer = xcalloc(1, sizeof *peer);

	peer->metad = metad;
	peer->conn = conn;
	peer->id = ++metad->last_peer;
	peer->accepted_ns = metad->env.clock->now_ns(metad->env.clock);
	TAILQ_INSERT_TAIL(&metad->peers, peer, link);
	metad->env.transport->set_handler(conn, &ops, peer);
}
