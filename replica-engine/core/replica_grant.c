/*
 * replica_grant.c - connections of owners, and what is promised to them.
 *
 * An answer about a chunk at the fence's epoch lets its owner read for GRANT_NS from the moment it asked; the replica
 * promises to let no later epoch in for PROMISE_NS from the answer. One heartbeat a connection renews all chunks that
 * are covered on it: those about which an answer at the fence's epoch went out on this very connection. So a promise
 * runs from the later of the last answer about the chunk and the last heartbeat answer while it was covered.
 *
 * A promise ends before its time only by RELEASE or BYE: the closing of a connection proves nothing, the owner
 * may not have noticed.
 */
#include "replica-engine/core/replica_state.h"

#include <stdlib.h>

struct replica_conn *replica_conn_find(struct replica *r, uint64_t id)
{
	struct replica_conn *conn;

	HASH_FIND(hh, r->connections, &id, sizeof id, conn);
	return conn && !conn->closed ? conn : NULL;
}

/* ---- promises ---- */

uint64_t replica_promise_until(const struct replica_chunk *c)
{
	if (c->cover && c->cover->heartbeat_ns)
		return MAX(c->promise_until_ns, c->cover->heartbeat_ns + PROMISE_NS);
	return c->promise_until_ns;
}

static void take(struct replica_conn *conn, uint64_t chunk)
{
	for (uint32_t i = 0; i < conn->taken_count; i++)
		if (conn->taken[i] == chunk)
			return;
	if (conn->taken_count == conn->taken_capacity) {
		conn->taken_capacity = conn->taken_capacity ? 2 * conn->taken_capacity : 8;
		conn->taken = xrealloc(conn->taken, conn->taken_capacity * sizeof *conn->taken);
	}
	conn->taken[conn->taken_count++] = chunk;
}

void replica_untake(struct replica_conn *conn, uint64_t chunk)
{
	for (uint32_t i = 0; i < conn->taken_count; i++) {
		if (conn->taken[i] == chunk) {
			conn->taken[i] = conn->taken[--conn->taken_count];
			return;
		}
	}
}

void replica_uncover(struct replica_chunk *c, bool name)
{
	struct replica_conn *conn = c->cover;

	if (!conn)
		return;
	c->promise_until_ns = replica_promise_until(c);
	c->cover = NULL;
	TAILQ_REMOVE(&conn->covered, c, cover_link);
	conn->covered_count--;
	if (name)
		take(conn, c->chunk);
}

void replica_cover(struct replica *r, struct replica_chunk *c, struct replica_conn *conn,
		   uint64_t epoch)
{
	if (c->cover != conn) {
		replica_uncover(c, true);
		replica_untake(conn, c->chunk);
		TAILQ_INSERT_TAIL(&conn->covered, c, cover_link);
		conn->covered_count++;
		c->cover = conn;
	}
	c->promise_epoch = epoch;
	c->promise_until_ns = MAX(c->promise_until_ns, r->now_ns + PROMISE_NS);
	c->promise_conn = conn->id;
}

/* ---- connections ---- */

static void count_connections(struct replica *r)
{
	struct replica_conn *conn, *next;

	r->counters.connections = 0;
	HASH_ITER(hh, r->connections, conn, next)
	r->counters.connections += !conn->closed;
}

static void conn_free(struct replica *r, struct replica_conn *conn)
{
	HASH_DELETE(hh, r->connections, conn);
	free(conn->taken);
	free(conn);
}

/* Admits those of an instance's connections that wait for no request of an older one any more. */
static void admit(struct replica *r, struct uuid instance)
{
	struct replica_conn *conn, *next, *latest = NULL;
	uint32_t unfinished = 0;

	HASH_ITER(hh, r->connections, conn, next)
	{
		if (!uuid_equal(conn->instance, instance))
			continue;
		if (conn->closed)
			unfinished += conn->requests;
		else
			latest = conn;
	}
	if (!latest || latest->admitted || unfinished > 0)
		return;
	latest->admitted = true;
	latest->heard_ns = r->now_ns;
	replica_act(r, REPLICA_ADMIT, latest->id);
}

/* The connection carries nothing any more; what was promised through it goes on running. */
void replica_disconnected(struct replica *r, struct replica_conn *conn)
{
	struct replica_chunk *c;

	while ((c = TAILQ_FIRST(&conn->covered)))
		replica_uncover(c, false);
	conn->closed = true;
	r->told_bytes -= conn->told_bytes;
	conn->told_bytes = 0;
	if (conn->requests == 0)
		conn_free(r, conn);
	count_connections(r);
}

void replica_conn_close(struct replica *r, struct replica_conn *conn)
{
	replica_act(r, REPLICA_CLOSE, conn->id);
	replica_disconnected(r, conn);
}

void replica_conn_request_ended(struct replica *r, struct replica_conn *conn)
{
	struct uuid instance = conn->instance;

	assert(conn->requests > 0);
	if (--conn->requests > 0 || !conn->closed)
		return;
	conn_free(r, conn);
	admit(r, instance);
}

void replica_connected(struct replica *r, const struct replica_event *event)
{
	struct replica_conn *conn, *next;

	assert(event->conn != 0 && !replica_conn_find(r, event->conn));
	HASH_ITER(hh, r->connections, conn, next)
	{
		if (conn->closed || !uuid_equal(conn->instance, event->instance))
			continue;
		if (conn->connection >= event->connection) {
			replica_act(r, REPLICA_CLOSE, event->conn);
			return;
		}
		replica_conn_close(r, conn);
	}
	conn = xcalloc(1, sizeof *conn);
	conn->id = event->conn;
	conn->instance = event->instance;
	conn->connection = event->connection;
	conn->heard_ns = r->now_ns;
	TAILQ_INIT(&conn->covered);
	HASH_ADD(hh, r->connections, id, sizeof conn->id, conn);
	count_connections(r);
	admit(r, conn->instance);
}

/* ---- what comes on a connection ---- */

bool replica_heard(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	uint64_t silent_ns = r->now_ns - conn->heard_ns;
	struct replica_caller caller;
	struct msg *m;

	conn->heard_ns = r->now_ns;
	if (conn->covered_count == 0 || silent_ns <= GRANT_NS)
		return true;
	r->counters.silent++;
	caller = replica_caller_of(conn, msg);
	m = replica_answer(r, &caller, WIRE_SILENT);
	if (msg->type == MSG_HEARTBEAT)
		m->u.heartbeat_ok.sequence = msg->u.heartbeat.sequence;
	replica_conn_close(r, conn);
	return false;
}

void replica_heartbeat(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct msg *m;

	if (conn->taken_count > HEARTBEAT_TAKEN_MAX) {
		/* An answer that left some out would renew their grants. */
		replica_conn_close(r, conn);
		return;
	}
	m = replica_answer(r, &caller, WIRE_OK);
	conn->heartbeat_ns = r->now_ns;
	m->u.heartbeat_ok.sequence = msg->u.heartbeat.sequence;
	m->u.heartbeat_ok.taken_count = conn->taken_count;
	m->u.heartbeat_ok.taken = conn->taken;
}

static void promise_over(struct replica *r, struct replica_chunk *c)
{
	c->promise_until_ns = 0;
	replica_advance(r, c);
}

/* The owner will not read on what it was promised here. */
void replica_bye(struct replica *r, struct replica_conn *conn)
{
	struct replica_chunk *c;

	while ((c = TAILQ_FIRST(&conn->covered))) {
		replica_uncover(c, false);
		promise_over(r, c);
	}
	for (uint32_t i = 0; i < conn->taken_count; i++) {
		c = replica_chunk_find(r, conn->taken[i]);
		if (c && c->promise_conn == conn->id)
			promise_over(r, c);
	}
	replica_conn_close(r, conn);
}

void replica_close_idle(struct replica *r)
{
	struct replica_conn *conn, *next;

	HASH_ITER(hh, r->connections, conn, next)
	{
		if (!conn->closed && r->now_ns - conn->heard_ns > REPLICA_IDLE_NS)
			replica_conn_close(r, conn);
	}
}
