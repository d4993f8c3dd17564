/*
 * engine_peer.c - connections to chunk servers: handshake, heartbeats, grants; and where their messages go.
 *
 * One connection serves all chunks. Each HEARTBEAT renews the grants of every chunk that is covered on it (owner.h); its answer
 * names chunks that a later epoch has taken out: those owners are fenced, and a RELEASE takes them off the list. A
 * connection that was silent for long is closed: what comes next starts from a new one.
 */
#include "replica-engine/engine/engine_private.h"

#include "common/trace/trace.h"

#include <stdlib.h>

#define RETRY_MIN_NS (20 * NS_PER_MS)
#define RETRY_MAX_NS (500 * NS_PER_MS)
#define SILENT_NS    (2 * GRANT_NS)
/* From the attempt to the answer to HELLO: an end that was let in by a kernel, and then lost power, never says anything. */
#define HELLO_PATIENCE_NS (5 * NS_PER_S)

static const struct io_conn_ops peer_ops;

static const char *peer_address(const struct peer *p)
{
	if (p->p.local && p->local_address[0] && p->failures % 2 == 0)
		return p->local_address;
	return p->address;
}

static void peer_retry(struct peer *p)
{
	uint64_t delay = RETRY_MIN_NS << MIN(p->failures, 5u);

	p->engine->clock->timer_start(p->engine->clock, &p->retry, MIN(delay, RETRY_MAX_NS));
}

static void peer_connect(struct io_timer *timer)
{
	struct peer *p = container_of(timer, struct peer, retry);
	struct engine *e = p->engine;

	if (!p->address[0] || p->state != PEER_DOWN)
		return;
	p->state = PEER_CONNECTING;
	p->connection = MAX(p->connection + 1, engine_now_ns(e));
	p->conn = e->transport->connect(e->transport, peer_address(p), &peer_ops, p);
	e->clock->timer_start(e->clock, &p->heartbeat, HELLO_PATIENCE_NS);
}

/* The connection is gone, or has been closed: its grants are over at once. */
static void peer_lost(struct peer *p)
{
	struct engine *e = p->engine;
	bool was_up = p->state == PEER_UP;

	p->conn = NULL;
	p->state = PEER_DOWN;
	p->p.connection = 0;
	p->p.promised_bytes = 0;
	p->failures++;
	e->clock->timer_stop(e->clock, &p->heartbeat);
	if (was_up) {
		p->p.down_since_ns = engine_now_ns(e);
		p->failures = 0;
		e->counters.reconnects++;
		trace(TRACE_INFO, "engine", "cid=%u: connection lost", p->p.cid);
		engine_chunks_event(e, OWNER_EVENT_PEER_DOWN, p->p.cid);
		p->p.promised_bytes = 0;
	}
	peer_retry(p);
}

static void peer_drop(struct peer *p)
{
	p->engine->transport->close(p->conn);
	peer_lost(p);
}

static void send_heartbeat(struct peer *p)
{
	struct engine *e = p->engine;
	struct msg msg = {.type = MSG_HEARTBEAT, .id = ++e->next_id};

	msg.u.heartbeat.sequence = ++p->sequence;
	p->heartbeat_asked_ns[p->sequence % HEARTBEATS_KEPT] = engine_now_ns(e);
	codec_send(e->codec, e->transport, p->conn, &msg);
	e->clock->timer_start(e->clock, &p->heartbeat, HEARTBEAT_NS);
}

static void heartbeat_due(struct io_timer *timer)
{
	struct peer *p = container_of(timer, struct peer, heartbeat);
	struct engine *e = p->engine;
	uint64_t now = engine_now_ns(e);

	engine_enter(e);
	if (p->state == PEER_CONNECTING) {
		peer_drop(p); /* and again */
	} else if (now - p->p.heard_ns > SILENT_NS) {
		trace(TRACE_WARN, "engine", "cid=%u: silent for %llu ms: the connection is closed",
		      p->p.cid, (unsigned long long)((now - p->p.heard_ns) / NS_PER_MS));
		peer_drop(p);
	} else {
		send_heartbeat(p);
	}
	engine_leave(e);
	engine_tick_start(e);
}

static void opened(struct io_conn *conn, void *context)
{
	struct peer *p = context;
	struct engine *e = p->engine;
	struct msg msg = {.type = MSG_HELLO, .id = ++e->next_id};

	msg.u.hello.protocol_version = PROTOCOL_VERSION;
	msg.u.hello.role = ROLE_ENGINE;
	msg.u.hello.cluster = e->meta.cluster;
	msg.u.hello.instance = e->options.instance;
	msg.u.hello.expected = p->disk;
	msg.u.hello.connection = p->connection;
	codec_send(e->codec, e->transport, conn, &msg);
}

static void peer_up(struct peer *p, const struct msg *answer)
{
	struct engine *e = p->engine;

	if (answer->status != WIRE_OK) {
		trace(TRACE_WARN, "engine", "cid=%u at %s refuses the connection: %s: %s", p->p.cid,
		      peer_address(p), wire_status_name(answer->status), answer->u.hello.text);
		peer_drop(p);
		return;
	}
	p->state = PEER_UP;
	p->failures = 0;
	p->p.connection = p->connection;
	p->p.down_since_ns = 0;
	p->p.heard_ns = engine_now_ns(e);
	p->p.asked_ns = 0;
	p->p.promised_bytes = 0;
	p->p.free_bytes = UINT64_MAX;
	memset(p->heartbeat_asked_ns, 0, sizeof p->heartbeat_asked_ns);
	engine_chunks_event(e, OWNER_EVENT_PEER_UP, p->p.cid);
	send_heartbeat(p);
}

static void taken_out(struct peer *p, uint64_t id)
{
	struct engine *e = p->engine;
	struct chunk *c = engine_chunk_by_id(e, id);
	struct owner_event event = {.kind = OWNER_EVENT_TAKEN, .cid = p->p.cid};
	struct msg msg = {.type = MSG_RELEASE, .id = ++e->next_id};

	msg.u.position.chunk = id;
	msg.u.position.epoch = 0;
	if (c && !c->allocating) {
		msg.u.position.epoch = c->owner.epoch;
		engine_chunk_event(c, &event);
		/* Of an earlier lease: the SYNC of this one takes it off the list. A RELEASE behind it could take off what follows. */
		if (c->owner.phase != OWNER_IDLE)
			return;
	}
	codec_send(e->codec, e->transport, p->conn, &msg);
}

static void heartbeat_answered(struct peer *p, const struct msg *msg)
{
	const struct msg_heartbeat_ok *ok = &msg->u.heartbeat_ok;
	struct engine *e = p->engine;

	if (msg->status == WIRE_SILENT) {
		peer_drop(p);
		return;
	}
	for (uint32_t i = 0; i < ok->taken_count; i++)
		taken_out(p, ok->taken[i]);
	if (ok->sequence > p->sequence || p->sequence - ok->sequence >= HEARTBEATS_KEPT)
		return;
	p->p.asked_ns = MAX(p->p.asked_ns, p->heartbeat_asked_ns[ok->sequence % HEARTBEATS_KEPT]);
	engine_chunks_event(e, OWNER_EVENT_GRANTED, p->p.cid);
}

/* Every answer of a replica about a chunk begins with the chunk and an epoch. */
#define BEGINS_WITH_CHUNK(member)                                                                  \
	static_assert(offsetof(struct member, chunk) == 0 && offsetof(struct member, epoch) == 8,  \
		      #member " begins with chunk and epoch")
BEGINS_WITH_CHUNK(msg_write_ok);
BEGINS_WITH_CHUNK(msg_read_ok);
BEGINS_WITH_CHUNK(msg_copy_ok);
BEGINS_WITH_CHUNK(msg_sync_ok);
BEGINS_WITH_CHUNK(msg_version_list);
BEGINS_WITH_CHUNK(msg_invalidate_ok);
BEGINS_WITH_CHUNK(msg_position);

static bool about_a_chunk(unsigned type)
{
	switch (type) {
	case MSG_WRITE_OK:
	case MSG_READ_OK:
	case MSG_COPY_OK:
	case MSG_REPAIR_OK:
	case MSG_SYNC_OK:
	case MSG_VERSIONS_OK:
	case MSG_INVALIDATE_OK:
	case MSG_CREATE_OK:
	case MSG_JOIN_OK:
	case MSG_MEND_BEGIN_OK:
	case MSG_MEND_END_OK:
		return true;
	default:
		return false;
	}
}

/*
 * An answer to an earlier lease of ours says nothing about the present one. The epoch of a FENCED is the one that
 * the replica has seen, of all others that of the request.
 */
static bool of_this_lease(const struct chunk *c, const struct msg *msg)
{
	uint64_t epoch = msg->u.position.epoch;

	return msg->status == WIRE_FENCED ? epoch > c->owner.epoch : epoch == c->owner.epoch;
}

static void dispatch(struct peer *p, const struct msg *msg)
{
	struct chunk *c;
	struct owner_event event = {.kind = OWNER_EVENT_MESSAGE, .cid = p->p.cid, .msg = msg};

	if (msg->status == WIRE_SILENT) {
		peer_drop(p);
		return;
	}
	if (!about_a_chunk(msg->type))
		return;
	c = engine_chunk_by_id(p->engine, msg->u.position.chunk);
	if (!c || c->allocating || !of_this_lease(c, msg))
		return;
	engine_chunk_event(c, &event);
}

static void frame(struct io_conn *conn, void *context, const struct io_frame *f)
{
	struct peer *p = context;
	struct engine *e = p->engine;
	const char *why;
	struct msg msg;

	engine_enter(e);
	if (codec_decode(e->decoder, f, &msg, &why) < 0) {
		trace(TRACE_ERROR, "engine", "cid=%u at %s breaks the protocol: %s", p->p.cid,
		      e->transport->peer(conn), why);
		peer_drop(p);
	} else if (p->state == PEER_CONNECTING) {
		if (msg.type == MSG_HELLO_OK)
			peer_up(p, &msg);
	} else {
		p->p.heard_ns = engine_now_ns(e);
		if (msg.type == MSG_HEARTBEAT_OK)
			heartbeat_answered(p, &msg);
		else
			dispatch(p, &msg);
	}
	engine_leave(e);
	engine_tick_start(e);
}

static void closed(struct io_conn *conn, void *context, int error)
{
	struct peer *p = context;
	struct engine *e = p->engine;

	(void)conn;
	(void)error;
	engine_enter(e);
	peer_lost(p);
	engine_leave(e);
	engine_tick_start(e);
}

static const struct io_conn_ops peer_ops = {opened, frame, closed};

struct owner_peer *engine_peer_lookup(void *context, uint32_t cid)
{
	struct engine *e = context;
	struct peer *p;

	HASH_FIND(hh, e->peers, &cid, sizeof cid, p);
	if (p) {
		if (p->state == PEER_DOWN &&
		    !p->p.down_since_ns) { /* known, and not used until now */
			p->p.down_since_ns = engine_now_ns(e);
			e->clock->timer_start(e->clock, &p->retry, 0);
		}
		return &p->p;
	}
	p = xcalloc(1, sizeof *p);
	p->engine = e;
	p->p.cid = cid;
	p->p.free_bytes = UINT64_MAX;
	p->p.down_since_ns = engine_now_ns(e);
	p->retry.fire = peer_connect;
	p->heartbeat.fire = heartbeat_due;
	HASH_ADD(hh, e->peers, p.cid, sizeof p->p.cid, p);
	return &p->p;
}

static void peer_update(struct engine *e, const struct msg_server *s)
{
	struct peer *p;
	bool moved;

	HASH_FIND(hh, e->peers, &s->cid, sizeof s->cid, p);
	if (!p) {
		p = xcalloc(1, sizeof *p);
		p->engine = e;
		p->p.cid = s->cid;
		p->p.free_bytes = UINT64_MAX;
		p->retry.fire = peer_connect;
		p->heartbeat.fire = heartbeat_due;
		HASH_ADD(hh, e->peers, p.cid, sizeof p->p.cid, p);
	}
	moved = strcmp(p->address, s->address) != 0 || !uuid_equal(p->disk, s->disk);
	p->disk = s->disk;
	memcpy(p->address, s->address, sizeof p->address);
	memcpy(p->local_address, s->local_address, sizeof p->local_address);
	memcpy(p->host, s->host, sizeof p->host);
	p->p.slow = s->slow;
	p->p.dead = !s->alive;
	p->p.local = e->host[0] && strcmp(s->host, e->host) == 0;
	if (!p->p.down_since_ns)
		return; /* up, or nobody wants it yet */
	if (moved && p->state == PEER_CONNECTING)
		peer_drop(p);
	if (p->state == PEER_DOWN) {
		p->failures = 0;
		e->clock->timer_start(e->clock, &p->retry, 0);
	}
}

void engine_peers_update(struct engine *e, const struct msg_servers *servers)
{
	for (uint32_t i = 0; i < servers->count; i++)
		peer_update(e, &servers->servers[i]);
}

void engine_peer_send(struct engine *e, uint32_t cid, const struct msg *msg)
{
	struct peer *p;

	HASH_FIND(hh, e->peers, &cid, sizeof cid, p);
	if (p && p->state == PEER_UP)
		codec_send(e->codec, e->transport, p->conn, msg);
}

void engine_peers_free(struct engine *e, bool bye)
{
	struct peer *p, *next;

	HASH_ITER(hh, e->peers, p, next)
	{
		HASH_DELETE(hh, e->peers, p);
		e->clock->timer_stop(e->clock, &p->retry);
		e->clock->timer_stop(e->clock, &p->heartbeat);
		if (p->state == PEER_UP && bye) {
			struct msg msg = {.type = MSG_BYE, .id = ++e->next_id};

			codec_send(e->codec, e->transport, p->conn, &msg);
		}
		if (p->conn)
			e->transport->close(p->conn);
		free(p);
	}
}
