/*
 * replica_sync.c - how epochs are let in (see the drawing in replica.h), and the life of a chunk: CREATE and DELETE.
 *
 * wanted_epoch is the latest epoch that asked, or that metad told of. From the moment it is set, earlier epochs are
 * answered FENCED. replica_advance() brings the chunk towards it, one condition at a time, and is called whenever one of
 * them may have come true: time passed, a promise was given back, the last accepted write became durable.
 */
#include "replica-engine/core/replica_state.h"

static void sync_caller(struct replica *r, struct replica_chunk *c, struct replica_caller *caller)
{
	*caller = (struct replica_caller){
		.conn = replica_conn_find(r, c->sync.conn),
		.type = MSG_SYNC,
		.id = c->sync.id,
		.chunk = c->chunk,
		.epoch = c->sync.epoch,
	};
}

static void sync_refuse(struct replica *r, struct replica_chunk *c, enum wire_status status,
			uint64_t epoch)
{
	struct replica_caller caller;
	struct msg *m;

	if (!c->sync.conn)
		return;
	sync_caller(r, c, &caller);
	m = replica_answer(r, &caller, status);
	if (m)
		m->u.sync_ok.epoch = epoch;
	c->sync.conn = 0;
}

static void sync_accept(struct replica *r, struct replica_chunk *c, const struct store_chunk *info)
{
	struct replica_caller caller;
	struct msg *m;

	sync_caller(r, c, &caller);
	c->sync.conn = 0;
	m = replica_answer(r, &caller, WIRE_OK);
	if (!m)
		return;
	m->u.sync_ok.position = info->position;
	m->u.sync_ok.digest = info->digest;
	m->u.sync_ok.mending = info->mending;
	m->u.sync_ok.invalid_units = info->invalid_units;
	m->u.sync_ok.free_bytes = replica_room_for(r, caller.conn);
	replica_cover(r, c, caller.conn, caller.epoch);
}

static bool promise_runs(struct replica *r, const struct replica_chunk *c, uint64_t epoch)
{
	return c->promise_epoch < epoch && replica_promise_until(c) > r->now_ns;
}

/* The clock will bring the chunk on; whoever waits is told how long, once. */
static void wait_for_promise(struct replica *r, struct replica_chunk *c)
{
	uint64_t left_ns = replica_promise_until(c) - r->now_ns;
	struct replica_caller caller;
	struct msg *m;

	if (!c->waiting) {
		c->waiting = true;
		TAILQ_INSERT_TAIL(&r->waiting, c, waiting_link);
	}
	if (!c->sync.conn || c->sync.told_to_wait)
		return;
	c->sync.told_to_wait = true;
	r->counters.sync_waits++;
	sync_caller(r, c, &caller);
	m = replica_answer(r, &caller, WIRE_WAIT);
	if (m)
		m->u.sync_ok.wait_ms = (uint32_t)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void submit_raise(struct replica *r, struct replica_chunk *c,
			 const struct replica_standing *at)
{
	struct replica_request *q;

	if (at->seen > at->fence) {
		q = replica_request_new(r, c, NULL, STORE_FENCE);
		q->op.epoch = at->seen;
		replica_request_submit(r, q);
	}
	if (at->position.generation != at->base) {
		q = replica_request_new(r, c, NULL, STORE_START);
		q->op.position = at->position;
		replica_request_submit(r, q);
	}
}

void replica_advance(struct replica *r, struct replica_chunk *c)
{
	struct store_chunk info;
	struct replica_standing at;

	if (!c->sync.conn && !c->wanted_epoch)
		return;
	if (!replica_stand(r, c, &info, &at)) {
		sync_refuse(r, c, WIRE_NOT_FOUND, c->sync.epoch);
		c->wanted_epoch = 0;
		return;
	}
	if (promise_runs(r, c, at.seen)) {
		wait_for_promise(r, c);
		return;
	}
	if (!TAILQ_EMPTY(&c->mutations))
		return;
	if (store_failed(r->store))
		c->raise_status =
			STORE_DISK_ERROR; /* the position may be one that never became durable */
	if (c->raise_status != STORE_OK) {
		sync_refuse(r, c, replica_wire_status(c->raise_status), c->sync.epoch);
		return;
	}
	if (at.seen > at.fence ||
	    (at.position.epoch < at.fence && at.position.generation != at.base)) {
		submit_raise(r, c, &at);
		return;
	}
	c->wanted_epoch = 0;
	if (c->sync.conn)
		sync_accept(r, c, &info);
}

void replica_raised(struct replica *r, struct replica_request *q)
{
	(void)r;
	if ((q->op.kind == STORE_FENCE || q->op.kind == STORE_START) && q->op.status != STORE_OK)
		q->chunk->raise_status = q->op.status;
}

void replica_advance_waiting(struct replica *r)
{
	struct replica_chunk *c, *next;

	TAILQ_FOREACH_SAFE (c, &r->waiting, waiting_link, next) {
		if (replica_promise_until(c) > r->now_ns)
			continue;
		TAILQ_REMOVE(&r->waiting, c, waiting_link);
		c->waiting = false;
		replica_chunk_settle(r, c);
	}
}

/* A later epoch has asked: the chunk leaves its owner's connection. The asker itself need not be told of that. */
static void want(struct replica_chunk *c, uint64_t epoch, const struct replica_conn *asker)
{
	c->wanted_epoch = epoch;
	c->raise_status = STORE_OK;
	replica_uncover(c, c->cover != asker);
}

void replica_sync(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct replica_found found;
	struct replica_chunk *c;

	if (!replica_find(r, &caller, &found))
		return;
	c = found.c;
	if (caller.epoch < found.at.seen) {
		replica_answer_verdict(r, &caller, REPLICA_FENCED, found.at.seen);
		return;
	}
	r->counters.syncs++;
	if (c->sync.conn && caller.epoch > c->sync.epoch)
		sync_refuse(r, c, WIRE_FENCED, caller.epoch);
	c->sync = (struct replica_sync){.conn = conn->id, .id = caller.id, .epoch = caller.epoch};
	if (caller.epoch > found.at.fence)
		want(c, caller.epoch, conn);
	c->raise_status = STORE_OK;
	replica_untake(conn,
		       c->chunk); /* who asks at a later epoch knows that the earlier one is over */
	replica_advance(r, c);
}

/* The owner at this epoch will neither read nor write any more. */
void replica_release(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct replica_chunk *c = replica_chunk_find(r, caller.chunk);
	struct store_chunk info;

	replica_untake(conn, caller.chunk);
	replica_answer(r, &caller, WIRE_OK);
	if (!c && store_chunk_get(r->store, caller.chunk, &info))
		c = replica_chunk_get(r, caller.chunk, info.epoch);
	if (!c || c->promise_epoch != caller.epoch)
		return;
	replica_uncover(c, false);
	c->promise_until_ns = 0;
	replica_advance(r, c);
}

void replica_fence(struct replica *r, const struct msg_fence *fence)
{
	struct store_chunk info;
	struct replica_standing at;
	struct replica_chunk *c;

	if (!store_chunk_get(r->store, fence->chunk, &info))
		return;
	c = replica_chunk_get(r, fence->chunk, info.epoch);
	replica_stand(r, c, &info, &at);
	if (fence->epoch <= at.seen)
		return;
	if (c->sync.conn)
		sync_refuse(r, c, WIRE_FENCED, fence->epoch);
	want(c, fence->epoch, NULL);
	replica_advance(r, c);
}

/* ---- CREATE and DELETE ---- */

/* A replica that is here keeps its data; the least epoch is let in as any later epoch is. */
static void create_again(struct replica *r, const struct replica_caller *caller,
			 struct replica_chunk *c, const struct store_chunk *info,
			 const struct msg_create *create)
{
	struct replica_request *q;

	if (create->chunk_bytes != info->chunk_bytes || create->root_chunk != info->root_chunk) {
		replica_answer(r, caller, WIRE_REFUSED);
		return;
	}
	q = replica_request_new(r, c, caller, STORE_CREATE);
	q->op.epoch = info->epoch;
	q->op.commit = create->commit;
	q->op.root_chunk = info->root_chunk;
	q->op.chunk_bytes = info->chunk_bytes;
	replica_request_submit(r, q);
	if (create->epoch > MAX(info->epoch, c->wanted_epoch)) {
		if (c->sync.conn)
			sync_refuse(r, c, WIRE_FENCED, create->epoch);
		want(c, create->epoch, caller->conn);
	}
}

static bool chunk_bytes_legal(uint64_t bytes)
{
	return bytes >= CHUNK_BYTES_MIN && bytes <= CHUNK_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

void replica_create(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	const struct msg_create *create = &msg->u.create;
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct replica_chunk *c = replica_chunk_find(r, caller.chunk);
	struct replica_request *q;
	struct store_chunk info = {0};
	bool here = store_chunk_get(r->store, caller.chunk, &info);

	if (!chunk_bytes_legal(create->chunk_bytes) || create->commit == 0) {
		replica_answer(r, &caller, WIRE_BAD_REQUEST);
		return;
	}
	if (!c) {
		c = replica_chunk_get(r, caller.chunk, here ? info.epoch : create->epoch);
		if (!here)
			c->promise_until_ns = 0; /* new here: nobody was promised anything */
	}
	if (create->commit <= (here ? info.commit : store_tombstone(r->store, caller.chunk))) {
		/* Carried out before; durable when what is under way is. */
		replica_request_after(r, replica_request_new(r, c, &caller, STORE_CREATE));
		return;
	}
	if (here) {
		create_again(r, &caller, c, &info, create);
		return;
	}
	q = replica_request_new(r, c, &caller, STORE_CREATE);
	q->op.epoch = create->epoch;
	q->op.commit = create->commit;
	q->op.root_chunk = create->root_chunk;
	q->op.chunk_bytes = create->chunk_bytes;
	replica_request_submit(r, q);
}

void replica_created(struct replica *r, struct replica_request *q)
{
	struct store_chunk info;
	struct msg *m = replica_answer(r, &q->caller, replica_wire_status(q->op.status));

	if (m && store_chunk_get(r->store, q->caller.chunk, &info))
		m->u.position.position = info.position;
}

void replica_delete(struct replica *r, const struct msg_delete *delete_)
{
	struct replica_request *q;
	struct replica_chunk *c;
	struct store_chunk info = {0};
	bool here = store_chunk_get(r->store, delete_->chunk, &info);

	if (delete_->commit <= (here ? info.commit : store_tombstone(r->store, delete_->chunk)))
		return;
	c = replica_chunk_get(r, delete_->chunk, info.epoch);
	replica_uncover(c, true);
	sync_refuse(r, c, WIRE_NOT_FOUND, c->sync.epoch);
	q = replica_request_new(r, c, NULL, STORE_DELETE);
	q->op.commit = delete_->commit;
	replica_request_submit(r, q);
}
