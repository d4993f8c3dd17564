/*
 * replica.c - the step of the replica core, its pools, and how requests begin and end. See replica.h.
 *
 * A request that changes a chunk queues up in chunk->mutations in the order of its submission and is answered in that
 * order, when it is durable. A repeat of a generation that is still under way queues up behind it, so an answer never
 * claims more than the disk holds. Epochs are judged when a request comes and again when it is answered: an
 * owner whose chunk was taken out meanwhile hears FENCED, and is promised nothing.
 */
#include "replica-engine/core/replica_state.h"

#include <stdlib.h>

/* All answers that a replica gives lie within this part of the union; more is not cleared. */
#define ANSWER_BYTES 128
_Static_assert(sizeof(struct msg_read_ok) <= ANSWER_BYTES, "READ_OK");
_Static_assert(sizeof(struct msg_sync_ok) <= ANSWER_BYTES, "SYNC_OK");
_Static_assert(sizeof(struct msg_version_list) <= ANSWER_BYTES, "VERSIONS_OK");
_Static_assert(sizeof(struct msg_invalidate_ok) <= ANSWER_BYTES, "INVALIDATE_OK");
_Static_assert(sizeof(struct msg_position) <= ANSWER_BYTES, "JOIN_OK and others");

/* ---- actions ---- */

struct replica_action *replica_act(struct replica *r, enum replica_action_kind kind, uint64_t conn)
{
	struct replica_update *u = r->update;
	struct replica_action *action;

	if (u->count == u->capacity) {
		u->capacity = u->capacity ? 2 * u->capacity : 16;
		u->actions = xrealloc(u->actions, u->capacity * sizeof *u->actions);
	}
	action = &u->actions[u->count++];
	action->kind = kind;
	action->conn = conn;
	action->op = NULL;
	return action;
}

void replica_update_free(struct replica_update *update)
{
	free(update->actions);
	*update = (struct replica_update){0};
}

/* ---- answers ---- */

struct replica_caller replica_caller_of(struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = {.conn = conn, .type = msg->type, .id = msg->id};

	switch (msg->type) {
	case MSG_WRITE:
		caller.generation = msg->u.write.generation;
		caller.offset = msg->u.write.offset;
		caller.bytes = msg->u.write.bytes;
		break;
	case MSG_READ:
		caller.offset = msg->u.read.offset;
		caller.bytes = msg->u.read.bytes;
		break;
	case MSG_COPY:
		caller.unit = msg->u.copy.unit;
		break;
	case MSG_REPAIR:
		caller.unit = msg->u.repair.unit;
		break;
	case MSG_HEARTBEAT:
	case MSG_BYE:
		return caller;
	default:
		break;
	}
	/* Every other message begins with the chunk and the epoch, as the answers do. */
	caller.chunk = msg->u.sync.chunk;
	caller.epoch = msg->u.sync.epoch;
	return caller;
}

#define BEGINS_WITH_CHUNK(type)                                                                    \
	_Static_assert(offsetof(struct type, chunk) == 0 && offsetof(struct type, epoch) == 8,     \
		       "chunk and epoch come first")
BEGINS_WITH_CHUNK(msg_write);
BEGINS_WITH_CHUNK(msg_read);
BEGINS_WITH_CHUNK(msg_copy);
BEGINS_WITH_CHUNK(msg_repair);
BEGINS_WITH_CHUNK(msg_create);
BEGINS_WITH_CHUNK(msg_sync);
BEGINS_WITH_CHUNK(msg_versions);
BEGINS_WITH_CHUNK(msg_version_list);
BEGINS_WITH_CHUNK(msg_position);
BEGINS_WITH_CHUNK(msg_write_ok);
BEGINS_WITH_CHUNK(msg_read_ok);
BEGINS_WITH_CHUNK(msg_copy_ok);
BEGINS_WITH_CHUNK(msg_sync_ok);
BEGINS_WITH_CHUNK(msg_invalidate_ok);

struct msg *replica_answer(struct replica *r, const struct replica_caller *caller,
			   enum wire_status status)
{
	struct msg *m;

	if (!caller->conn || caller->conn->closed)
		return NULL;
	m = &replica_act(r, REPLICA_SEND, caller->conn->id)->msg;
	m->type = (enum msg_type)(caller->type + 1);
	m->id = caller->id;
	m->status = status;
	m->payload = (struct slice){0};
	memset(&m->u, 0, ANSWER_BYTES);
	if (caller->type == MSG_HEARTBEAT)
		return m;
	m->u.sync_ok.chunk = caller->chunk;
	m->u.sync_ok.epoch = caller->epoch;
	switch (caller->type) {
	case MSG_WRITE:
		m->u.write_ok.generation = caller->generation;
		m->u.write_ok.free_bytes = replica_room_for(r, caller->conn);
		break;
	case MSG_READ:
		m->u.read_ok.offset = caller->offset;
		m->u.read_ok.bytes = caller->bytes;
		break;
	case MSG_COPY:
	case MSG_REPAIR:
		m->u.copy_ok.unit = caller->unit;
		break;
	default:
		break;
	}
	return m;
}

void replica_answer_verdict(struct replica *r, const struct replica_caller *caller,
			    enum replica_verdict verdict, uint64_t seen)
{
	struct msg *m;

	assert(verdict == REPLICA_FENCED || verdict == REPLICA_GAP);
	if (verdict == REPLICA_GAP) {
		r->counters.gaps++;
		replica_answer(r, caller, WIRE_GAP);
		return;
	}
	r->counters.fenced++;
	m = replica_answer(r, caller, WIRE_FENCED);
	if (m)
		m->u.sync_ok.epoch = seen;
}

enum wire_status replica_wire_status(enum store_status status)
{
	switch (status) {
	case STORE_OK:
	case STORE_NOT_APPLIED: /* what it was for has come about otherwise */
	case STORE_EXISTS:
		return WIRE_OK;
	case STORE_NO_SPACE:
		return WIRE_NO_SPACE;
	case STORE_BAD_BLOCK:
		return WIRE_BAD_BLOCK;
	case STORE_INVALID_UNIT:
		return WIRE_INVALID_UNIT;
	case STORE_NOT_FOUND:
		return WIRE_NOT_FOUND;
	case STORE_DISK_ERROR:
		break;
	}
	return WIRE_DISK_ERROR;
}

/* ---- chunks ---- */

struct replica_chunk *replica_chunk_find(struct replica *r, uint64_t chunk)
{
	struct replica_chunk *c;

	HASH_FIND(hh, r->chunks, &chunk, sizeof chunk, c);
	return c;
}

struct replica_chunk *replica_chunk_get(struct replica *r, uint64_t chunk, uint64_t fence)
{
	struct replica_chunk *c = replica_chunk_find(r, chunk);

	if (c)
		return c;
	c = xcalloc(1, sizeof *c);
	c->chunk = chunk;
	c->promise_epoch = fence;
	c->promise_until_ns = r->start_ns + PROMISE_NS;
	TAILQ_INIT(&c->mutations);
	TAILQ_INIT(&c->queries);
	HASH_ADD(hh, r->chunks, chunk, sizeof c->chunk, c);
	return c;
}

void replica_chunk_drop(struct replica *r, struct replica_chunk *c)
{
	assert(TAILQ_EMPTY(&c->mutations) && TAILQ_EMPTY(&c->queries) && !c->cover);
	if (c->waiting)
		TAILQ_REMOVE(&r->waiting, c, waiting_link);
	HASH_DELETE(hh, r->chunks, c);
	free(c);
}

bool replica_stand(struct replica *r, struct replica_chunk *c, struct store_chunk *info,
		   struct replica_standing *at)
{
	if (!store_chunk_get(r->store, c->chunk, info))
		return false;
	*at = (struct replica_standing){
		.seen = MAX(info->epoch, c->wanted_epoch),
		.fence = info->epoch,
		.base = info->base_generation,
		.position = info->position,
	};
	return true;
}

bool replica_find(struct replica *r, const struct replica_caller *caller,
		  struct replica_found *found)
{
	if (!store_chunk_get(r->store, caller->chunk, &found->info)) {
		replica_answer(r, caller, WIRE_NOT_FOUND);
		return false;
	}
	found->c = replica_chunk_get(r, caller->chunk, found->info.epoch);
	replica_stand(r, found->c, &found->info, &found->at);
	return true;
}

bool replica_find_owned(struct replica *r, const struct replica_caller *caller,
			struct replica_found *found)
{
	enum replica_verdict verdict;

	if (!replica_find(r, caller, found))
		return false;
	verdict = replica_check_epoch(&found->at, caller->epoch);
	if (verdict == REPLICA_ACCEPT)
		return true;
	replica_answer_verdict(r, caller, verdict, found->at.seen);
	return false;
}

/* ---- requests ---- */

struct replica_request *replica_request_new(struct replica *r, struct replica_chunk *c,
					    const struct replica_caller *caller,
					    enum store_op_kind kind)
{
	struct replica_request *q = TAILQ_FIRST(&r->free);

	if (q)
		TAILQ_REMOVE(&r->free, q, link);
	else
		q = xmalloc(sizeof *q);
	memset(q, 0, sizeof *q);
	q->op.kind = kind;
	q->op.chunk = c->chunk;
	q->chunk = c;
	q->begun_ns = r->now_ns;
	q->mutation = kind != STORE_READ && kind != STORE_VERSIONS;
	if (caller) {
		q->caller = *caller;
		caller->conn->requests++;
	}
	r->counters.requests_under_way++;
	return q;
}

void replica_request_submit(struct replica *r, struct replica_request *q)
{
	TAILQ_INSERT_TAIL(q->mutation ? &q->chunk->mutations : &q->chunk->queries, q, link);
	replica_act(r, REPLICA_STORE, 0)->op = &q->op;
}

void replica_request_after(struct replica *r, struct replica_request *q)
{
	assert(q->mutation);
	q->repeat = true;
	q->done = true;
	TAILQ_INSERT_TAIL(&q->chunk->mutations, q, link);
	replica_chunk_settle(r, q->chunk);
}

/* Frees what its results hold. */
static void request_clear(struct replica_request *q)
{
	if (q->op.kind == STORE_READ || q->op.kind == STORE_VERSIONS ||
	    q->op.kind == STORE_INVALIDATE)
		store_op_clear(&q->op);
	free(q->versions);
	q->versions = NULL;
}

/* What the last update pointed to is no longer looked at: its requests may be used again. */
static void recycle_finished(struct replica *r)
{
	struct replica_request *q;

	while ((q = TAILQ_FIRST(&r->finished))) {
		TAILQ_REMOVE(&r->finished, q, link);
		request_clear(q);
		TAILQ_INSERT_HEAD(&r->free, q, link);
	}
}

/* An owner's request is over: the answer, unless its epoch is over as well. */
static void finish_owned(struct replica *r, struct replica_request *q)
{
	struct store_chunk info;
	struct replica_standing at;

	if (!q->caller.conn || q->caller.conn->closed)
		return;
	if (!replica_stand(r, q->chunk, &info, &at)) {
		replica_answer(r, &q->caller, WIRE_NOT_FOUND);
		return;
	}
	if (q->caller.epoch != at.seen || q->caller.epoch != at.fence) {
		replica_answer_verdict(r, &q->caller, REPLICA_FENCED, at.seen);
		return;
	}
	replica_cover(r, q->chunk, q->caller.conn, q->caller.epoch);
	replica_finish_data(r, q);
}

static void finish(struct replica *r, struct replica_request *q)
{
	struct replica_conn *conn = q->caller.conn;

	/* What the disk failed to take is in the store's memory all the same. */
	if (q->repeat && store_failed(r->store))
		q->op.status = STORE_DISK_ERROR;
	if (!conn)
		replica_raised(r, q);
	else if (q->caller.type == MSG_CREATE)
		replica_created(r, q);
	else
		finish_owned(r, q);
	r->counters.requests_under_way--;
	TAILQ_INSERT_TAIL(&r->finished, q, link);
	if (conn)
		replica_conn_request_ended(r, conn);
}

void replica_chunk_settle(struct replica *r, struct replica_chunk *c)
{
	struct replica_request *q;
	struct store_chunk info;

	while ((q = TAILQ_FIRST(&c->mutations)) && q->done) {
		TAILQ_REMOVE(&c->mutations, q, link);
		finish(r, q);
	}
	replica_advance(r, c);
	/* Of a deleted chunk only the promise is worth keeping. */
	if (TAILQ_EMPTY(&c->mutations) && TAILQ_EMPTY(&c->queries) && !c->cover &&
	    replica_promise_until(c) <= r->now_ns && !store_chunk_get(r->store, c->chunk, &info))
		replica_chunk_drop(r, c);
}

static void stored(struct replica *r, struct store_op *op)
{
	struct replica_request *q = container_of(op, struct replica_request, op);
	struct replica_chunk *c = q->chunk;

	assert(!q->done);
	q->done = true;
	if (!q->mutation) {
		TAILQ_REMOVE(&c->queries, q, link);
		finish(r, q);
	}
	replica_chunk_settle(r, c);
}

/* ---- the step ---- */

static void message(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	static void (*const handlers[])(struct replica *, struct replica_conn *,
					const struct msg *) = {
		[MSG_WRITE] = replica_write,
		[MSG_READ] = replica_read,
		[MSG_COPY] = replica_copy,
		[MSG_REPAIR] = replica_repair,
		[MSG_HEARTBEAT] = replica_heartbeat,
		[MSG_CREATE] = replica_create,
		[MSG_SYNC] = replica_sync,
		[MSG_VERSIONS] = replica_versions,
		[MSG_INVALIDATE] = replica_invalidate,
		[MSG_JOIN] = replica_join,
		[MSG_MEND_BEGIN] = replica_mend_begin,
		[MSG_MEND_END] = replica_mend_end,
		[MSG_RELEASE] = replica_release,
	};

	if (msg->type == MSG_BYE) {
		replica_bye(r, conn);
		return;
	}
	if (!conn->admitted || (unsigned)msg->type >= ARRAY_SIZE(handlers) ||
	    !handlers[msg->type] || conn->requests >= REPLICA_CONN_REQUESTS_MAX) {
		replica_conn_close(r, conn);
		return;
	}
	if (replica_heard(r, conn, msg))
		handlers[msg->type](r, conn, msg);
}

void replica_step(struct replica *r, const struct replica_event *event,
		  struct replica_update *update)
{
	struct replica_conn *conn;

	assert(event->now_ns >= r->now_ns);
	r->now_ns = event->now_ns;
	r->update = update;
	update->count = 0;
	recycle_finished(r);
	switch (event->kind) {
	case REPLICA_CONNECTED:
		replica_connected(r, event);
		break;
	case REPLICA_MESSAGE:
		conn = replica_conn_find(r, event->conn);
		if (conn)
			message(r, conn, event->msg);
		break;
	case REPLICA_DISCONNECTED:
		conn = replica_conn_find(r, event->conn);
		if (conn)
			replica_disconnected(r, conn);
		break;
	case REPLICA_STORED:
		stored(r, event->op);
		break;
	case REPLICA_TICK:
		replica_advance_waiting(r);
		replica_close_idle(r);
		break;
	case REPLICA_FENCE:
		replica_fence(r, &event->fence);
		break;
	case REPLICA_DELETE:
		replica_delete(r, &event->delete_);
		break;
	}
	r->update = NULL;
}

/* ---- life ---- */

struct replica *replica_new(struct store *store, uint64_t now_ns)
{
	struct replica *r = xcalloc(1, sizeof *r);

	r->store = store;
	r->start_ns = now_ns;
	r->now_ns = now_ns;
	TAILQ_INIT(&r->waiting);
	TAILQ_INIT(&r->free);
	TAILQ_INIT(&r->finished);
	return r;
}

static void free_requests(struct replica_requests *list)
{
	struct replica_request *q, *next;

	TAILQ_FOREACH_SAFE (q, list, link, next) {
		request_clear(q);
		free(q);
	}
}

void replica_free(struct replica *r)
{
	struct replica_chunk *c, *next_chunk;
	struct replica_conn *conn, *next_conn;

	recycle_finished(r);
	HASH_ITER(hh, r->chunks, c, next_chunk)
	{
		HASH_DELETE(hh, r->chunks, c);
		free_requests(&c->mutations);
		free_requests(&c->queries);
		free(c);
	}
	HASH_ITER(hh, r->connections, conn, next_conn)
	{
		HASH_DELETE(hh, r->connections, conn);
		free(conn->taken);
		free(conn);
	}
	free_requests(&r->free);
	free(r);
}

struct replica_counters replica_counters(const struct replica *r)
{
	return r->counters;
}

/*
 * An engine sends no more than it was told there is room for, before it hears more. So what was told on all
 * connections together is never more than there is; one that was told and is idle keeps little from the others.
 */
#define ROOM_TOLD_MAX (64 * MIB)
#define ROOM_TOLD_MIN (2 * MIB) /* more than one write needs */

uint64_t replica_room_for(struct replica *r, struct replica_conn *conn)
{
	struct store_counters at = store_counters(r->store);
	uint64_t share = at.capacity_bytes / 8 / MAX(r->counters.connections, UINT64_C(1));
	uint64_t others = r->told_bytes - conn->told_bytes;
	uint64_t room = at.free_bytes > others ? at.free_bytes - others : 0;

	r->told_bytes = others;
	conn->told_bytes = MIN(room, MAX(MIN(share, ROOM_TOLD_MAX), ROOM_TOLD_MIN));
	r->told_bytes += conn->told_bytes;
	return conn->told_bytes;
}
