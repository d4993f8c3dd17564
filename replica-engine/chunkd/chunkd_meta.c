/*
 * chunkd_meta.c - the session with the meta service.
 *
 *   DOWN -> CONNECTING -> GREETING (HELLO) -> OPENING (SESSION; a new disk records its cluster and cid) -> UP
 *
 * From any state back to DOWN when the connection breaks, metad is silent, or refuses; then the next address is
 * tried. A refusal is logged once and tried again slowly: it takes an operator to end it. What the chunk server has is
 * served all the time.
 */
#include "replica-engine/chunkd/chunkd_private.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_MIN_NS   (100 * NS_PER_MS)
#define RETRY_MAX_NS   (2 * NS_PER_S)
#define RETRY_SLOW_NS  (10 * NS_PER_S) /* after a refusal */
#define META_SILENT_NS (5 * NS_PER_S)

static const struct io_conn_ops meta_ops;

static const char *address_now(const struct meta_link *m)
{
	return m->addresses[(m->address_next + m->address_count - 1) % m->address_count];
}

void meta_link_send(struct chunkd *d, struct msg *msg)
{
	msg->id = ++d->meta.next_id;
	codec_send(d->codec, d->at.transport, d->meta.conn, msg);
}

/* The connection has gone. */
static void link_down(struct chunkd *d, uint64_t retry_ns)
{
	struct meta_link *m = &d->meta;
	bool was_up = m->state == META_UP;

	m->conn = NULL;
	m->state = META_DOWN;
	m->reporting = false;
	d->at.clock->timer_stop(d->at.clock, &m->beat);
	d->at.clock->timer_start(
		d->at.clock, &m->retry,
		retry_ns +
			prng_below(&(struct prng){d->at.clock->random(d->at.clock)}, retry_ns / 4));
	if (was_up) {
		trace(TRACE_WARN, MODULE,
		      "the meta service at %s is gone; serving goes on, looking for it",
		      address_now(m));
		engine_meta_lost(d->engine);
	}
}

static void link_drop(struct chunkd *d, uint64_t retry_ns)
{
	d->at.transport->close(d->meta.conn);
	link_down(d, retry_ns);
}

static uint64_t backoff_ns(struct meta_link *m)
{
	uint64_t ns = RETRY_MIN_NS << MIN(m->failures, 5u);

	m->failures++;
	return MIN(ns, RETRY_MAX_NS);
}

/* An operator has to do something; said once, not at each try. */
static void link_refused(struct chunkd *d, enum wire_status status, const char *text)
{
	struct meta_link *m = &d->meta;

	if (strcmp(m->refusal, text) != 0 || !*text)
		trace(TRACE_ERROR, MODULE,
		      "the meta service at %s refuses this chunk server: %s: %s", address_now(m),
		      wire_status_name(status), text);
	snprintf(m->refusal, sizeof m->refusal, "%s", text);
	link_drop(d, RETRY_SLOW_NS);
}

/* A standby says where it stands, not that something is wrong: the next one may lead. */
static void link_answered_no(struct chunkd *d, enum wire_status status, const char *text)
{
	if (status == WIRE_NOT_LEADER && d->meta.address_count > 1)
		link_drop(d, backoff_ns(&d->meta));
	else
		link_refused(d, status, text);
}

/* ---- connecting ---- */

static void retry(struct io_timer *timer)
{
	struct meta_link *m = container_of(timer, struct meta_link, retry);
	struct chunkd *d = container_of(m, struct chunkd, meta);

	m->state = META_CONNECTING;
	m->connection = MAX(m->connection + 1, chunkd_now_ns(d));
	m->address_next = (m->address_next + 1) % m->address_count;
	m->conn = d->at.transport->connect(d->at.transport, address_now(m), &meta_ops, d);
	m->heard_ns = chunkd_now_ns(d);
	d->at.clock->timer_start(d->at.clock, &m->beat, SESSION_HEARTBEAT_NS);
}

static void meta_opened(struct io_conn *conn, void *context)
{
	struct chunkd *d = context;
	struct msg msg = {.type = MSG_HELLO};

	(void)conn;
	d->meta.state = META_GREETING;
	msg.u.hello.protocol_version = PROTOCOL_VERSION;
	msg.u.hello.role = ROLE_CHUNKD;
	msg.u.hello.cluster = d->identity.cluster;
	msg.u.hello.instance = d->options.instance;
	msg.u.hello.self = d->identity.disk;
	msg.u.hello.connection = d->meta.connection;
	meta_link_send(d, &msg);
}

static void meta_closed(struct io_conn *conn, void *context, int error)
{
	struct chunkd *d = context;

	(void)conn;
	if (d->meta.failures == 3)
		trace(TRACE_WARN, MODULE, "no meta service at %s: %s; trying on",
		      address_now(&d->meta), error ? strerror(-error) : "it closed the connection");
	link_down(d, backoff_ns(&d->meta));
}

static void put_name(char *to, const char *from, size_t bytes)
{
	snprintf(to, bytes, "%s", from);
}

static void send_session(struct chunkd *d)
{
	struct store_counters counters = store_counters(d->at.store);
	struct msg msg = {.type = MSG_SESSION};
	struct msg_session *s = &msg.u.session;

	s->role = ROLE_CHUNKD;
	s->pid = d->options.pid;
	s->disk = d->identity.disk;
	put_name(s->host, d->options.host, sizeof s->host);
	put_name(s->address, chunkd_address(d), sizeof s->address);
	put_name(s->local_address, d->options.local, sizeof s->local_address);
	put_name(s->zone, d->options.zone, sizeof s->zone);
	put_name(s->rack, d->options.rack, sizeof s->rack);
	put_name(s->node, d->options.node, sizeof s->node);
	s->capacity_bytes = counters.capacity_bytes;
	s->free_bytes = counters.free_bytes;
	s->newest_commit = counters.newest_commit;
	s->newest_epoch = counters.newest_epoch;
	s->new_disk = d->identity.cid == 0;
	d->meta.state = META_OPENING;
	meta_link_send(d, &msg);
}

/* ---- the session ---- */

static void session_up(struct chunkd *d)
{
	struct meta_link *m = &d->meta;
	char cluster[UUID_TEXT_BYTES];

	m->state = META_UP;
	m->failures = 0;
	m->refusal[0] = 0;
	uuid_format(d->identity.cluster, cluster);
	trace(TRACE_INFO, MODULE, "registered at %s: cid=%u cluster=%s", address_now(m),
	      d->identity.cid, cluster);
	chunkd_engine_up(d);
	report_keepalive(d);
	report_begin(d);
}

/* The disk knows who it is: only then is it said that it was registered. */
static void identity_recorded(void *context, int status)
{
	struct chunkd *d = context;

	d->meta.identity_pending = false;
	if (status == 0) {
		d->identity = store_identity(d->at.store);
		if (d->meta.state == META_OPENING)
			session_up(d);
	} else if (d->meta.state == META_OPENING) {
		trace(TRACE_ERROR, MODULE, "the disk can't record its cluster: %s",
		      strerror(-status));
		link_drop(d, RETRY_SLOW_NS);
	}
}

static void session_answered(struct chunkd *d, const struct msg *msg)
{
	const struct msg_session_ok *ok = &msg->u.session_ok;
	char text[TEXT_BYTES];

	if (msg->status != WIRE_OK) {
		link_answered_no(d, msg->status, ok->text);
		return;
	}
	if (d->meta.state != META_OPENING || d->meta.identity_pending)
		return;
	if (d->identity.cid == 0) {
		d->meta.identity_pending = true;
		store_set_identity(d->at.store, ok->cluster, ok->cid, identity_recorded, d);
		return;
	}
	if (ok->cid != d->identity.cid || !uuid_equal(ok->cluster, d->identity.cluster)) {
		snprintf(text, sizeof text,
			 "it calls this disk chunk server %u, the disk says %u; was the meta "
			 "service's store replaced?",
			 ok->cid, d->identity.cid);
		link_refused(d, WIRE_WRONG_CLUSTER, text);
		return;
	}
	session_up(d);
}

/*
 * What comes in a session. Answers to what the embedded engine asked, and what concerns only it, go there.
 */
static void session_message(struct chunkd *d, const struct msg *msg)
{
	switch (msg->type) {
	case MSG_KEEPALIVE_OK:
		break;
	case MSG_REPORT_OK:
		report_answered(d, msg);
		break;
	case MSG_DELETE:
		chunkd_step(d, &(struct replica_event){.kind = REPLICA_DELETE,
						       .delete_ = msg->u.delete_});
		break;
	case MSG_REPAIR_JOB:
		engine_repair(d->engine, &msg->u.repair_job);
		break;
	default:
		engine_meta_message(d->engine, msg);
		break;
	}
}

static void meta_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct chunkd *d = context;
	struct msg msg;
	const char *why;

	(void)conn;
	d->meta.heard_ns = chunkd_now_ns(d);
	if (codec_decode(d->codec, frame, &msg, &why) != 0) {
		trace(TRACE_WARN, MODULE, "the meta service at %s breaks the rules: %s",
		      address_now(&d->meta), why);
		link_drop(d, backoff_ns(&d->meta));
	} else if (msg.type == MSG_HELLO_OK && d->meta.state == META_GREETING) {
		if (msg.status == WIRE_OK)
			send_session(d);
		else
			link_answered_no(d, msg.status, msg.u.hello.text);
	} else if (msg.type == MSG_SESSION_OK) {
		session_answered(d, &msg);
	} else if (d->meta.state == META_UP) {
		session_message(d, &msg);
	}
}

static const struct io_conn_ops meta_ops = {
	.opened = meta_opened,
	.frame = meta_frame,
	.closed = meta_closed,
};

/* Once a second: health, a report when it is time, and an end to waiting for a metad that says nothing. */
static void beat(struct io_timer *timer)
{
	struct meta_link *m = container_of(timer, struct meta_link, beat);
	struct chunkd *d = container_of(m, struct chunkd, meta);
	uint64_t now_ns = chunkd_now_ns(d);

	if (now_ns - m->heard_ns > META_SILENT_NS && !m->identity_pending) {
		link_drop(d, backoff_ns(m));
		return;
	}
	d->at.clock->timer_start(d->at.clock, &m->beat, SESSION_HEARTBEAT_NS);
	if (m->state != META_UP)
		return;
	report_keepalive(d);
	if (now_ns >= m->report_ns && !m->reporting)
		report_begin(d);
}

/* ---- life ---- */

bool meta_link_init(struct chunkd *d, const char *addresses)
{
	struct meta_link *m = &d->meta;
	char *list = xstrdup(addresses), *rest = list, *one;

	m->retry.fire = retry;
	m->beat.fire = beat;
	while ((one = strsep(&rest, ","))) {
		if (*one && strlen(one) < ADDRESS_BYTES && m->address_count < META_ADDRESSES)
			m->addresses[m->address_count++] = xstrdup(one);
	}
	free(list);
	if (m->address_count == 0)
		return false;
	d->at.clock->timer_start(d->at.clock, &m->retry, 0);
	return true;
}

void meta_link_close(struct chunkd *d)
{
	struct meta_link *m = &d->meta;

	d->at.clock->timer_stop(d->at.clock, &m->retry);
	d->at.clock->timer_stop(d->at.clock, &m->beat);
	if (m->conn)
		d->at.transport->close(m->conn);
	m->conn = NULL;
	m->state = META_DOWN;
}
