/*
 * engine_meta.c - the session with metad: connect, HELLO, SESSION, keepalives; and where its messages go.
 *
 * A session resumes by the instance's UUID, so a broken connection or a restarted metad changes nothing for leases that are held.
 * After each (re)connection attachments are confirmed and the table is read again (engine_volume.c), and owners ask again what
 * had not been answered.
 */
#include "replica-engine/engine/engine_private.h"

#include "common/trace/trace.h"

#include <errno.h>

#define RETRY_MIN_NS (50 * NS_PER_MS)
#define RETRY_MAX_NS (1 * NS_PER_S)

static const struct io_conn_ops meta_ops;

static void send_frame(struct engine *e, const struct msg *msg)
{
	codec_send(e->codec, e->transport, e->meta.conn, msg);
}

static void lost(struct engine *e)
{
	struct engine_meta *m = &e->meta;
	bool was_up = m->state == META_UP;
	uint64_t delay = RETRY_MIN_NS << MIN(m->failures, 5u);

	m->state = META_DOWN;
	m->conn = NULL;
	m->failures++;
	e->clock->timer_stop(e->clock, &m->keepalive);
	e->clock->timer_start(e->clock, &m->retry, MIN(delay, RETRY_MAX_NS));
	if (was_up) {
		trace(TRACE_WARN, "engine",
		      "the meta service is out of reach: IO on leased chunks goes on");
		engine_meta_session_lost(e);
	}
}

static void drop(struct engine *e)
{
	e->transport->close(e->meta.conn);
	lost(e);
}

static void connect_next(struct io_timer *timer)
{
	struct engine *e =
		container_of(container_of(timer, struct engine_meta, retry), struct engine, meta);
	struct engine_meta *m = &e->meta;
	const char *address;

	if (m->address_count == 0)
		return;
	address = m->addresses[m->address_next++ % m->address_count];
	m->state = META_CONNECTING;
	m->connection = MAX(m->connection + 1, engine_now_ns(e));
	m->conn = e->transport->connect(e->transport, address, &meta_ops, e);
	/* One that was reached and says nothing, or is not reached at all, must not keep us from the next. */
	e->clock->timer_start(e->clock, &m->keepalive, SESSION_TIMEOUT_NS);
}

static void opened(struct io_conn *conn, void *context)
{
	struct engine *e = context;
	struct msg msg = {.type = MSG_HELLO, .id = ++e->next_id};

	(void)conn;
	msg.u.hello.protocol_version = PROTOCOL_VERSION;
	msg.u.hello.role = ROLE_ENGINE;
	msg.u.hello.cluster = e->meta.cluster;
	msg.u.hello.instance = e->options.instance;
	msg.u.hello.connection = e->meta.connection;
	send_frame(e, &msg);
}

static void send_keepalive(struct engine *e)
{
	struct engine_meta *m = &e->meta;
	struct msg msg = {.type = MSG_KEEPALIVE, .id = ++e->next_id};

	msg.u.keepalive.sequence = ++m->keepalive_sequence;
	m->keepalive_asked_ns = engine_now_ns(e);
	send_frame(e, &msg);
	e->clock->timer_start(e->clock, &m->keepalive, SESSION_HEARTBEAT_NS);
}

static void keepalive_due(struct io_timer *timer)
{
	struct engine *e = container_of(container_of(timer, struct engine_meta, keepalive),
					struct engine, meta);

	engine_enter(e);
	if (e->meta.state != META_UP ||
	    engine_now_ns(e) - e->meta.keepalive_answered_ns > SESSION_TIMEOUT_NS)
		drop(e); /* silent: perhaps another one answers */
	else
		send_keepalive(e);
	engine_leave(e);
}

static void said_hello(struct engine *e, const struct msg *answer)
{
	struct msg msg = {.type = MSG_SESSION, .id = ++e->next_id};

	if (answer->status != WIRE_OK) {
		trace(TRACE_WARN, "engine", "the meta service refuses the connection: %s: %s",
		      wire_status_name(answer->status), answer->u.hello.text);
		drop(e);
		return;
	}
	e->meta.state = META_OPENING;
	msg.u.session.role = ROLE_ENGINE;
	msg.u.session.pid = e->options.pid;
	memcpy(msg.u.session.host, e->host, sizeof e->host);
	send_frame(e, &msg);
}

static void session_opened(struct engine *e, const struct msg *answer)
{
	struct engine_meta *m = &e->meta;

	if (answer->status != WIRE_OK) {
		if (answer->status != WIRE_NOT_LEADER)
			trace(TRACE_WARN, "engine", "the meta service opens no session: %s: %s",
			      wire_status_name(answer->status), answer->u.session_ok.text);
		drop(e);
		return;
	}
	m->state = META_UP;
	m->failures = 0;
	m->cluster = answer->u.session_ok.cluster;
	m->keepalive_answered_ns = engine_now_ns(e);
	m->granted_until_ns = 0;
	send_keepalive(e);
	engine_volumes_meta_up(e);
	engine_chunks_event(e, OWNER_EVENT_META_UP, 0);
}

static void kept_alive(struct engine *e, const struct msg *answer)
{
	struct engine_meta *m = &e->meta;
	struct engine_volume *v;

	m->keepalive_answered_ns = engine_now_ns(e);
	if (answer->u.keepalive_ok.sequence != m->keepalive_sequence || answer->status != WIRE_OK)
		return;
	m->granted_until_ns = m->keepalive_asked_ns + GRANT_NS;
	TAILQ_FOREACH (v, &e->volumes, link)
		engine_parts_granted(v);
}

static void list_answered(struct engine *e, const struct msg *msg)
{
	struct list_call *call;

	TAILQ_FOREACH (call, &e->list_calls, link) {
		if (call->id != msg->id)
			continue;
		TAILQ_REMOVE(&e->list_calls, call, link);
		call->done(call->context, msg->status == WIRE_OK ? 0 : -EIO,
			   msg->u.volumes_ok.volumes, msg->u.volumes_ok.count);
		free(call);
		return;
	}
}

/*
 * metad shows us the list of a chunk whose lease we do not have: to a former owner, or because we are the owner on record. The
 * latter is so when the answer to a LEASE was lost and nothing here asked again. Then metad waits for us to repair, and nobody
 * does: it is told that we are not the one. (A former owner hears NOT_OWNER, which is no news.)
 */
static void disown(struct engine *e, const struct msg_chunk *chunk)
{
	struct msg msg = {.type = MSG_LEASE_RETURN, .id = ++e->next_id};

	msg.u.lease_return.chunk = chunk->chunk;
	msg.u.lease_return.epoch = chunk->epoch;
	engine_meta_send(e, &msg);
}

static bool is_idle(const struct chunk *c)
{
	return c->owner.phase == OWNER_IDLE && !c->lease_sent && !c->lease_wanted &&
	       !c->owner.request_count;
}

static void list_changed(struct engine *e, const struct msg *msg)
{
	struct chunk *c = engine_chunk_by_id(e, msg->u.list.chunk.chunk);
	struct owner_event event = {.chunk = &msg->u.list.chunk};

	if (msg->type == MSG_LIST && engine_meta_up(e) && !e->stopping && (!c || is_idle(c)))
		disown(e, &msg->u.list.chunk);
	if (!c)
		return;
	event.kind = msg->type == MSG_LIST ? OWNER_EVENT_LIST : OWNER_EVENT_CHANGED;
	event.status = msg->status;
	event.msg = msg;
	engine_chunk_event(c, &event);
}

void engine_meta_message(struct engine *e, const struct msg *msg)
{
	engine_enter(e);
	switch (msg->type) {
	case MSG_KEEPALIVE_OK:
		kept_alive(e, msg);
		break;
	case MSG_SERVERS:
		engine_peers_update(e, &msg->u.servers);
		break;
	case MSG_LEASE_OK:
		engine_lease_answered(e, msg);
		break;
	case MSG_LIST:
	case MSG_CHANGE_OK:
		list_changed(e, msg);
		break;
	case MSG_VOLUMES_OK:
		list_answered(e, msg);
		break;
	case MSG_REPAIR_JOB:
		engine_repair(e, &msg->u.repair_job);
		break;
	default:
		engine_volume_answered(e, msg);
		break;
	}
	engine_leave(e);
}

static void frame(struct io_conn *conn, void *context, const struct io_frame *f)
{
	struct engine *e = context;
	const char *why;
	struct msg msg;

	if (codec_decode(e->decoder, f, &msg, &why) < 0) {
		trace(TRACE_ERROR, "engine", "the meta service at %s breaks the protocol: %s",
		      e->transport->peer(conn), why);
		engine_enter(e);
		drop(e);
		engine_leave(e);
		return;
	}
	engine_enter(e);
	if (msg.type == MSG_HELLO_OK && e->meta.state == META_CONNECTING)
		said_hello(e, &msg);
	else if (msg.type == MSG_SESSION_OK && e->meta.state == META_OPENING)
		session_opened(e, &msg);
	else
		engine_meta_message(e, &msg);
	engine_leave(e);
	engine_tick_start(e);
}

static void closed(struct io_conn *conn, void *context, int error)
{
	struct engine *e = context;

	(void)conn;
	(void)error;
	engine_enter(e);
	lost(e);
	engine_leave(e);
}

static const struct io_conn_ops meta_ops = {opened, frame, closed};

void engine_meta_start(struct engine *e)
{
	e->meta.retry.fire = connect_next;
	e->meta.keepalive.fire = keepalive_due;
	e->clock->timer_start(e->clock, &e->meta.retry, 0);
}

void engine_meta_stop(struct engine *e)
{
	e->clock->timer_stop(e->clock, &e->meta.retry);
	e->clock->timer_stop(e->clock, &e->meta.keepalive);
	if (e->meta.conn)
		e->transport->close(e->meta.conn);
	e->meta.conn = NULL;
	e->meta.state = META_DOWN;
}

bool engine_meta_up(const struct engine *e)
{
	return e->meta.state == META_UP;
}

void engine_meta_send(struct engine *e, struct msg *msg)
{
	assert(engine_meta_up(e));
	if (e->options.repair_only)
		e->meta.send(e->meta.send_context, msg);
	else
		send_frame(e, msg);
}

void engine_meta_session_lost(struct engine *e)
{
	struct chunk *c;

	e->meta.granted_until_ns = 0;
	engine_volumes_meta_down(e);
	for (c = e->chunks; c; c = c->hh.next) {
		bool unanswered = c->lease_sent;

		c->lease_sent = false;
		if (c->repair && unanswered)
			engine_want_lease(c);
	}
}

void engine_set_meta(struct engine *e, void (*send)(void *context, const struct msg *msg),
		     void *context)
{
	assert(e->options.repair_only);
	engine_enter(e);
	e->meta.send = send;
	e->meta.send_context = context;
	e->meta.state = META_UP;
	engine_chunks_event(e, OWNER_EVENT_META_UP, 0);
	engine_leave(e);
}

void engine_meta_lost(struct engine *e)
{
	e->meta.state = META_DOWN;
	engine_meta_session_lost(e);
}
