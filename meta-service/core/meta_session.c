/*
 * meta_session.c - sessions: who is there, who is alive, and whether this store may be believed.
 *
 * A session belongs to an instance (one running program), not to a connection: a connection that breaks is replaced, the
 * session goes on. It ends when nothing was heard for SESSION_TIMEOUT_NS. Nobody's liveness is durable; a core that has
 * just started gives everybody one timeout to come back.
 *
 * An engine whose session has ended may be well and serve IO, for which it needs no meta service: only its link to this one is cut.
 * Chunk servers say which engines they hear. The leases of one that is heard are given to nobody for a repair: that would fail its IO,
 * which can wait. Whoever attaches its volume may have them.
 *
 * An older store: chunk servers remember the highest commit number and epoch that they have seen. One above our counters
 * proves that this store is older than the cluster (a restored file). From then on nothing is deleted, no lease is granted and
 * no list is changed, until an operator confirms (admin verb meta.confirm) and the counters start above all reported.
 */
#include "meta-service/core/meta_internal.h"

#include <stdlib.h>

void meta_on_opened(struct meta *meta, const struct meta_event *event)
{
	struct connection *connection = xcalloc(1, sizeof *connection);

	assert(!meta_find_connection(meta, event->connection));
	connection->id = event->connection;
	connection->role = event->role;
	connection->instance_id = event->instance;
	connection->cluster_known = event->cluster_known;
	HASH_ADD(hh, meta->connections, id, sizeof connection->id, connection);
}

static void forget_attach(struct meta *meta, uint64_t connection)
{
	for (struct volume *v = meta->volumes; v; v = v->hh.next)
		if (v->pending.connection == connection)
			v->pending.connection = 0;
}

void meta_on_closed(struct meta *meta, uint64_t id)
{
	struct connection *connection = meta_find_connection(meta, id);

	if (!connection)
		return;
	if (connection->instance && connection->instance->connection == id)
		connection->instance->connection = 0;
	forget_attach(meta, id);
	HASH_DEL(meta->connections, connection);
	free(connection);
}

bool instance_is_alive(const struct meta *meta, struct uuid id)
{
	const struct instance *instance = meta_find_instance(meta, id);

	if (uuid_is_zero(id))
		return false;
	if (instance)
		return meta->now_ns < instance->heard_ns + SESSION_TIMEOUT_NS;
	return meta->now_ns < meta->started_ns + SESSION_TIMEOUT_NS;
}

bool engine_is_heard(const struct meta *meta, struct uuid id)
{
	const struct heard_engine *engine;

	HASH_FIND(hh, meta->heard_engines, &id, sizeof id, engine);
	return engine && meta->now_ns < engine->heard_ns + SESSION_TIMEOUT_NS;
}

bool engine_is_alive(const struct meta *meta, struct uuid id)
{
	return instance_is_alive(meta, id) || engine_is_heard(meta, id);
}

void meta_note_engines(struct meta *meta, const struct msg_keepalive *keepalive)
{
	for (uint32_t i = 0; i < keepalive->engine_count; i++) {
		const struct uuid *id = &keepalive->engines[i];
		struct heard_engine *engine;

		HASH_FIND(hh, meta->heard_engines, id, sizeof *id, engine);
		if (!engine) {
			engine = xcalloc(1, sizeof *engine);
			engine->id = *id;
			HASH_ADD(hh, meta->heard_engines, id, sizeof engine->id, engine);
		}
		engine->heard_ns = meta->now_ns;
	}
}

void meta_forget_engine(struct meta *meta, struct heard_engine *engine)
{
	HASH_DEL(meta->heard_engines, engine);
	free(engine);
}

uint64_t instance_connection(const struct meta *meta, struct uuid id)
{
	const struct instance *instance = meta_find_instance(meta, id);

	return instance ? instance->connection : 0;
}

/* What it missed while it was away is shown to it anew. */
static void show_lists_again(struct meta *meta, struct uuid owner)
{
	for (struct chunk *c = meta->chunks; c; c = c->hh.next) {
		if (!uuid_equal(c->row.owner, owner))
			continue;
		c->shown_list_number = 0;
		meta_queue_chunk(meta, c);
	}
}

struct instance *meta_begin_session(struct meta *meta, struct connection *connection,
				    const struct msg_session *session)
{
	struct instance *instance = meta_find_instance(meta, connection->instance_id);

	if (!instance) {
		instance = xcalloc(1, sizeof *instance);
		instance->id = connection->instance_id;
		HASH_ADD(hh, meta->instances, id, sizeof instance->id, instance);
	}
	if (instance->connection && instance->connection != connection->id) {
		struct connection *old = meta_find_connection(meta, instance->connection);

		old->instance = NULL;
		meta_send_close(meta, old->id);
	}
	instance->role = connection->role;
	instance->pid = session->pid;
	memcpy(instance->host, session->host, sizeof instance->host);
	instance->connection = connection->id;
	instance->heard_ns = meta->now_ns;
	connection->instance = instance;
	show_lists_again(meta, instance->id);
	return instance;
}

void meta_on_session(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	struct msg answer = meta_answer(msg, WIRE_OK);
	struct instance *instance;

	answer.u.session_ok.cluster = meta->cluster.cluster;
	if (msg->u.session.role != connection->role || uuid_is_zero(connection->instance_id) ||
	    (connection->role != ROLE_ENGINE && connection->role != ROLE_CHUNKD)) {
		answer.status = WIRE_BAD_REQUEST;
		meta_text(answer.u.session_ok.text,
			  "SESSION does not fit the HELLO of this connection: an engine or a chunk "
			  "server must name the same role in both, and an instance");
		meta_send(meta, connection->id, &answer, NULL);
		return;
	}
	if (connection->role == ROLE_CHUNKD) {
		meta_on_server_session(meta, connection, msg);
		return;
	}
	instance = meta_begin_session(meta, connection, &msg->u.session);
	trace(TRACE_INFO, MODULE, "session of an engine: host=%s pid=%u", instance->host,
	      instance->pid);
	meta_send(meta, connection->id, &answer, NULL);
	meta_send_servers(meta, connection->id);
	meta_push_detached(meta, instance);
}

void meta_on_keepalive(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	struct instance *instance = connection->instance;
	const struct msg_keepalive *keepalive = &msg->u.keepalive;
	struct msg answer = meta_answer(msg, WIRE_OK);

	instance->heard_ns = meta->now_ns;
	instance->granted_ns = meta->now_ns;
	if (instance->server)
		meta_on_server_health(meta, instance->server, keepalive);
	answer.u.keepalive_ok.sequence = keepalive->sequence;
	meta_send(meta, connection->id, &answer, NULL);
}

void meta_drop_session(struct meta *meta, struct instance *instance)
{
	if (instance->connection) {
		meta_find_connection(meta, instance->connection)->instance = NULL;
		meta_send_close(meta, instance->connection);
	}
	HASH_DEL(meta->instances, instance);
	free(instance);
}

static void end_session(struct meta *meta, struct instance *instance)
{
	trace(TRACE_WARN, MODULE, "session ended, nothing heard for %" PRIu64 " s: host=%s pid=%u",
	      SESSION_TIMEOUT_NS / NS_PER_S, instance->host, instance->pid);
	if (instance->server)
		meta_server_lost(meta, instance->server);
	meta_drop_session(meta, instance);
}

void meta_expire_sessions(struct meta *meta)
{
	struct instance *instance, *next;
	struct heard_engine *engine, *next_engine;

	HASH_ITER(hh, meta->instances, instance, next)
	{
		if (meta->now_ns >= instance->heard_ns + SESSION_TIMEOUT_NS)
			end_session(meta, instance);
	}
	HASH_ITER(hh, meta->heard_engines, engine, next_engine)
	{
		if (!engine_is_heard(meta, engine->id))
			meta_forget_engine(meta, engine);
	}
}

void meta_note_numbers(struct meta *meta, uint32_t cid, uint64_t commit, uint64_t epoch,
		       uint64_t chunk)
{
	struct doubt *doubt = &meta->doubt;

	doubt->commit = MAX(doubt->commit, commit);
	doubt->epoch = MAX(doubt->epoch, epoch);
	doubt->chunk = MAX(doubt->chunk, chunk);
	if (doubt->doubted || (commit <= meta->cluster.commit && epoch <= meta->cluster.epoch &&
			       chunk <= meta->cluster.chunk))
		return;
	doubt->doubted = true;
	doubt->cid = cid;
	trace(TRACE_ERROR, MODULE,
	      "this store is older than the cluster: cid=%u has seen commit %" PRIu64
	      ", epoch=%" PRIu64 ", chunk=%" PRIu64 "; ours are %" PRIu64 ", %" PRIu64 ", %" PRIu64
	      ". Nothing is changed until an operator confirms",
	      cid, commit, epoch, chunk, meta->cluster.commit, meta->cluster.epoch,
	      meta->cluster.chunk);
}

void meta_doubt_text(const struct meta *meta, char text[TEXT_BYTES])
{
	meta_text(
		text,
		"The meta service runs on a store that is older than the cluster (chunk server %u "
		"has seen later commits), so it changes nothing. Restore the newest store, or "
		"accept this one: copyhold meta confirm --force",
		meta->doubt.cid);
}
