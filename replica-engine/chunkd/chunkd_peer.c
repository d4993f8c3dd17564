/*
 * chunkd_peer.c - engines' connections: accepted, greeted, decoded.
 *
 * The handshake refuses whoever means another protocol, another cluster or another disk: an address may belong to somebody
 * else by now. HELLO is answered when the core admits the connection, that is when what an older connection of
 * the same engine had begun is finished. A peer that breaks the rules is cut off and logged, and harms nobody else.
 */
#include "replica-engine/chunkd/chunkd_private.h"

#include <stdio.h>
#include <stdlib.h>

static const struct io_conn_ops peer_ops;

struct peer *peer_find(struct chunkd *d, uint64_t id)
{
	struct peer *p;

	HASH_FIND(hh, d->peers, &id, sizeof id, p);
	return p;
}

void peer_accepted(void *context, struct io_conn *conn)
{
	struct chunkd *d = context;
	struct peer *p = xcalloc(1, sizeof *p);

	p->chunkd = d;
	p->id = ++d->last_peer;
	p->conn = conn;
	p->accepted_ns = chunkd_now_ns(d);
	HASH_ADD(hh, d->peers, id, sizeof p->id, p);
	d->at.transport->set_handler(conn, &peer_ops, p);
}

static void peer_free(struct peer *p)
{
	HASH_DELETE(hh, p->chunkd->peers, p);
	free(p);
}

void peer_close(struct peer *p)
{
	p->chunkd->at.transport->close(p->conn);
	peer_free(p);
}

static void peer_closed(struct io_conn *conn, void *context, int error)
{
	struct peer *p = context;
	struct chunkd *d = p->chunkd;
	uint64_t id = p->id;
	bool known = p->state != PEER_NEW;

	if (error)
		trace(TRACE_DEBUG, MODULE, "connection of %s lost: %s", d->at.transport->peer(conn),
		      strerror(-error));
	peer_free(p);
	if (known)
		chunkd_step(d, &(struct replica_event){.kind = REPLICA_DISCONNECTED, .conn = id});
}

/* Cuts off a peer that broke the rules. */
static void peer_cut(struct peer *p, const char *why)
{
	struct chunkd *d = p->chunkd;
	uint64_t id = p->id;
	bool known = p->state != PEER_NEW;

	trace(TRACE_WARN, MODULE, "%s is cut off: %s", d->at.transport->peer(p->conn), why);
	peer_close(p);
	if (known)
		chunkd_step(d, &(struct replica_event){.kind = REPLICA_DISCONNECTED, .conn = id});
}

/* ---- HELLO ---- */

static struct msg hello_ok(const struct peer *p)
{
	const struct chunkd *d = p->chunkd;
	struct msg m = {.type = MSG_HELLO_OK, .id = p->hello_id};

	m.u.hello.protocol_version = PROTOCOL_VERSION;
	m.u.hello.role = ROLE_CHUNKD;
	m.u.hello.cluster = d->identity.cluster;
	m.u.hello.instance = d->options.instance;
	m.u.hello.self = d->identity.disk;
	m.u.hello.connection = p->hello_connection;
	return m;
}

void peer_admit(struct peer *p)
{
	struct msg m = hello_ok(p);

	p->state = PEER_ADMITTED;
	codec_send(p->chunkd->codec, p->chunkd->at.transport, p->conn, &m);
}

/* WIRE_OK, or why not. */
static enum wire_status hello_check(const struct chunkd *d, const struct msg_hello *h,
				    char text[TEXT_BYTES])
{
	char disk[UUID_TEXT_BYTES], other[UUID_TEXT_BYTES];

	if (h->protocol_version != PROTOCOL_VERSION) {
		snprintf(text, TEXT_BYTES,
			 "This chunk server speaks protocol version %d, not %u: run the same "
			 "release everywhere",
			 PROTOCOL_VERSION, h->protocol_version);
		return WIRE_VERSION;
	}
	if (!uuid_is_zero(h->cluster) && !uuid_is_zero(d->identity.cluster) &&
	    !uuid_equal(h->cluster, d->identity.cluster)) {
		uuid_format(d->identity.cluster, disk);
		snprintf(text, TEXT_BYTES, "This chunk server belongs to cluster %s", disk);
		return WIRE_WRONG_CLUSTER;
	}
	if (!uuid_is_zero(h->expected) && !uuid_equal(h->expected, d->identity.disk)) {
		uuid_format(d->identity.disk, disk);
		uuid_format(h->expected, other);
		snprintf(text, TEXT_BYTES, "Disk %s is at this address now, not %s", disk, other);
		return WIRE_WRONG_PEER;
	}
	if ((h->role != ROLE_ENGINE && h->role != ROLE_CHUNKD) || uuid_is_zero(h->instance)) {
		snprintf(text, TEXT_BYTES, "Only engines that name an instance are served here");
		return WIRE_REFUSED;
	}
	return WIRE_OK;
}

static void peer_greet(struct peer *p, const struct msg *msg)
{
	struct chunkd *d = p->chunkd;
	const struct msg_hello *h = &msg->u.hello;
	struct msg refusal;
	enum wire_status status;

	p->hello_id = msg->id;
	p->hello_connection = h->connection;
	refusal = hello_ok(p);
	status = hello_check(d, h, refusal.u.hello.text);
	if (status != WIRE_OK) {
		refusal.status = status;
		codec_send(d->codec, d->at.transport, p->conn, &refusal);
		peer_cut(p, refusal.u.hello.text);
		return;
	}
	p->state = PEER_GREETED;
	if (h->role == ROLE_ENGINE)
		p->engine = h->instance;
	chunkd_step(d, &(struct replica_event){.kind = REPLICA_CONNECTED,
					       .conn = p->id,
					       .instance = h->instance,
					       .connection = h->connection});
}

static void peer_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct peer *p = context;
	struct chunkd *d = p->chunkd;
	struct msg msg;
	const char *why;

	(void)conn;
	p->heard = true;
	if (codec_decode(d->codec, frame, &msg, &why) != 0)
		peer_cut(p, why);
	else if ((msg.type == MSG_HELLO) != (p->state == PEER_NEW))
		peer_cut(p, p->state == PEER_NEW ? "it does not begin with HELLO" : "HELLO again");
	else if (msg.type == MSG_HELLO)
		peer_greet(p, &msg);
	else
		chunkd_step(d, &(struct replica_event){
				       .kind = REPLICA_MESSAGE, .conn = p->id, .msg = &msg});
}

static const struct io_conn_ops peer_ops = {
	.frame = peer_frame,
	.closed = peer_closed,
};

static const char *why_expire(const struct peer *p, uint64_t now_ns)
{
	if (p->state == PEER_NEW && now_ns - p->accepted_ns > HELLO_PATIENCE_NS)
		return "it says no HELLO";
	if (p->chunkd->at.transport->queued_bytes(p->conn) > UNREAD_BYTES_MAX)
		return "it does not read what it is sent";
	return NULL;
}

void peers_expire(struct chunkd *d)
{
	uint64_t now_ns = chunkd_now_ns(d);
	struct peer *p, *next;
	const char *why;

	HASH_ITER(hh, d->peers, p, next)
	{
		why = why_expire(p, now_ns);
		if (why) {
			peer_cut(p, why);
			return; /* the step may have closed others: the rest in 100 ms */
		}
	}
}
