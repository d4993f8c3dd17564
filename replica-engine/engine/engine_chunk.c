/*
 * engine_chunk.c - chunks in use: their owner cores, their leases.
 *
 * engine_chunk_event steps an owner and does what comes out, in order. Nothing in here calls a user.
 */
#include "replica-engine/engine/engine_private.h"

#include "common/trace/trace.h"

#include <stdlib.h>

#define LEASE_RETRY_NS (500 * NS_PER_MS)
#define COPIES_AT_ONCE 8u
#define REPAIR_IDLE_NS (120 * NS_PER_S)

/*
 * Scrubs of one engine together read at most SCRUB_BYTES_MAX a second of each replica; less while the replicas don't keep up, and little
 * while users of this engine read or write.
 */
#define SCRUB_BYTES_MAX    (32 * MIB)
#define SCRUB_BYTES_LOADED (4 * MIB)
#define SCRUB_BYTES_MIN    (1 * MIB)
#define SCRUB_BYTES_STEP   (1 * MIB)

struct chunk *engine_chunk_by_id(struct engine *e, uint64_t id)
{
	struct chunk *c;

	HASH_FIND(hh, e->chunks, &id, sizeof id, c);
	return c;
}

struct chunk *engine_chunk_new(struct engine *e, struct engine_volume *v, uint64_t index)
{
	struct chunk *c = xcalloc(1, sizeof *c);

	c->engine = e;
	c->volume = v;
	c->index = index;
	c->allocating = true;
	TAILQ_INIT(&c->waiting);
	if (v)
		HASH_ADD(by_index, v->chunks, index, sizeof c->index, c);
	return c;
}

void engine_chunk_identify(struct chunk *c, uint64_t id, uint64_t root_chunk, uint64_t chunk_bytes)
{
	assert(c->allocating);
	c->id = id;
	c->allocating = false;
	owner_init(&c->owner, id, root_chunk, chunk_bytes);
	HASH_ADD(hh, c->engine->chunks, id, sizeof c->id, c);
}

void engine_chunk_free(struct chunk *c)
{
	struct engine *e = c->engine;

	if (c->active)
		TAILQ_REMOVE(&e->active, c, active_link);
	if (c->lease_wanted)
		TAILQ_REMOVE(&e->lease_wanted, c, lease_link);
	if (!c->allocating) {
		e->counters.checksum_errors += c->owner.counters.checksum_errors;
		e->counters.repaired_blocks += c->owner.counters.repaired_blocks;
		e->counters.retransmitted_generations +=
			c->owner.counters.retransmitted_generations;
		e->counters.copied_units += c->owner.counters.copied_units;
		e->counters.evictions += c->owner.counters.evictions;
		e->counters.promotions += c->owner.counters.promotions;
		owner_destroy(&c->owner);
		HASH_DELETE(hh, e->chunks, c);
	}
	if (c->volume)
		HASH_DELETE(by_index, c->volume->chunks, c);
	free(c);
}

void engine_chunk_end(struct chunk *c)
{
	struct owner_event event = {.kind = OWNER_EVENT_TICK};

	engine_parts_fail(c->engine, &c->waiting, WIRE_FENCED);
	if (!c->allocating && (c->owner.phase != OWNER_IDLE || c->owner.request_count)) {
		owner_give_up(&c->owner);
		engine_chunk_event(c, &event);
	}
}

void engine_want_lease(struct chunk *c)
{
	if (c->lease_wanted || c->lease_sent)
		return;
	c->lease_wanted = true;
	TAILQ_INSERT_TAIL(&c->engine->lease_wanted, c, lease_link);
}

/* Parts wait for a lease, in the order of their arrival. */
static void wait_for_lease(struct chunk *c, struct part *part)
{
	part->waits = true;
	TAILQ_INSERT_TAIL(&c->waiting, part, link);
	engine_want_lease(c);
}

/*
 * The lease was lost. A new one is asked for: whoever has taken the volume makes metad refuse it, or say DETACHED before it. If metad grants it,
 * only a repair, which orders no user's request, had the chunk in between, and what was under way is carried out again.
 */
static void lease_lost(struct chunk *c)
{
	struct owner fresh;
	uint64_t id = c->id, root = c->owner.root_chunk, bytes = c->owner.chunk_bytes;

	trace(TRACE_WARN, "engine", "chunk=%llu epoch=%llu: the lease was taken by another engine",
	      (unsigned long long)id, (unsigned long long)c->owner.epoch);
	owner_init(&fresh, id, root, bytes);
	fresh.counters = c->owner.counters;
	fresh.wanted = c->owner.wanted;
	fresh.next_id = c->owner.next_id; /* late answers must not find new requests */
	owner_destroy(&c->owner);
	c->owner = fresh;
	TAILQ_INIT(&c->owner.requests); /* the heads pointed into `fresh` */
	TAILQ_INIT(&c->owner.ready);
	TAILQ_INIT(&c->owner.window);
	TAILQ_INIT(&c->owner.movers);
	c->lease_not_before_ns = engine_now_ns(c->engine) + LEASE_RETRY_NS;
	if (c->repair)
		c->repair_done = true;
	if (c->fence_first || !TAILQ_EMPTY(&c->waiting))
		engine_want_lease(c);
}

static void lease_return(struct chunk *c, struct msg *msg)
{
	if (engine_meta_up(c->engine)) {
		msg->id = ++c->engine->next_id;
		engine_meta_send(c->engine, msg);
	}
	if (c->repair)
		c->repair_done = true;
}

static void part_completed(struct chunk *c, struct part *part, enum wire_status status)
{
	if (engine_part_again(part, status))
		wait_for_lease(c, part);
	else
		engine_part_done(c->engine, part, status);
}

static void act(struct chunk *c, struct owner_action *a)
{
	struct engine *e = c->engine;

	switch (a->kind) {
	case OWNER_SEND:
		engine_peer_send(e, a->cid, &a->msg);
		break;
	case OWNER_ASK_LEASE:
		engine_want_lease(c);
		break;
	case OWNER_CHANGE:
		trace(TRACE_INFO, "engine", "chunk=%llu epoch=%llu: asks to %s cid=%u: %s",
		      (unsigned long long)c->id, (unsigned long long)c->owner.epoch,
		      a->msg.u.change.kind == CHANGE_EVICT     ? "evict"
		      : a->msg.u.change.kind == CHANGE_PROMOTE ? "promote"
							       : "drop",
		      a->msg.u.change.cid, a->msg.u.change.text);
		if (engine_meta_up(e))
			engine_meta_send(e, &a->msg);
		break; /* down: META_UP asks again */
	case OWNER_COMPLETE:
		part_completed(c, container_of(a->request, struct part, r), a->status);
		break;
	case OWNER_LEASE_RETURN:
		lease_return(c, &a->msg);
		break;
	case OWNER_LEASE_LOST:
		lease_lost(c);
		break;
	case OWNER_SCRUBBED:
		if (engine_meta_up(e)) {
			a->msg.id = ++e->next_id;
			engine_meta_send(e, &a->msg);
		}
		break; /* down: metad asks again */
	}
}

static void keep_active(struct chunk *c)
{
	struct engine *e = c->engine;
	bool want = owner_needs_tick(&c->owner) || c->repair || c->fence_first;

	if (want && !c->active)
		TAILQ_INSERT_TAIL(&e->active, c, active_link);
	else if (!want && c->active)
		TAILQ_REMOVE(&e->active, c, active_link);
	c->active = want;
	if (want)
		engine_tick_start(e);
}

void engine_chunk_event(struct chunk *c, struct owner_event *event)
{
	struct engine *e = c->engine;
	unsigned copies = c->owner.copies;

	event->now_ns = engine_now_ns(e);
	c->owner.copy_limit =
		e->copies_under_way - copies < COPIES_AT_ONCE
			? MIN(OWNER_COPIES_MAX, COPIES_AT_ONCE - (e->copies_under_way - copies))
			: 0;
	owner_step(&c->owner, event, &e->update);
	e->copies_under_way += c->owner.copies - copies;
	for (uint32_t i = 0; i < e->update.count; i++)
		act(c, &e->update.actions[i]);
	keep_active(c);
}

void engine_chunk_submit(struct chunk *c, struct part *part)
{
	struct owner_event event = {.kind = OWNER_EVENT_REQUEST, .request = &part->r};

	part->chunk = c;
	if (c->allocating || !TAILQ_EMPTY(&c->waiting))
		wait_for_lease(c, part);
	else
		engine_chunk_event(c, &event);
}

void engine_chunks_event(struct engine *e, enum owner_event_kind kind, uint32_t cid)
{
	struct chunk *c, *next;

	if (kind == OWNER_EVENT_GRANTED) { /* only those that wait care */
		TAILQ_FOREACH_SAFE (c, &e->active, active_link, next) {
			struct owner_event event = {.kind = kind, .cid = cid};

			if (!c->allocating)
				engine_chunk_event(c, &event);
		}
		return;
	}
	HASH_ITER(hh, e->chunks, c, next)
	{
		struct owner_event event = {.kind = kind, .cid = cid};

		engine_chunk_event(c, &event);
	}
}

/* ---- leases ---- */

static bool lease_ready(const struct chunk *c, uint64_t now)
{
	if (now < c->lease_not_before_ns)
		return false;
	return c->repair || (c->volume && c->volume->current);
}

/* One message for as many chunks of one volume as are waiting. */
static void send_lease(struct engine *e, struct chunk *first, uint64_t now)
{
	struct msg msg = {.type = MSG_LEASE, .id = ++e->next_id};
	uint64_t indexes[LEASE_CHUNKS_MAX];
	struct chunk *c, *next;

	msg.u.lease.volume = first->volume ? first->volume->info.volume : 0;
	msg.u.lease.repair = first->repair;
	msg.u.lease.allocate = first->allocating;
	msg.u.lease.indexes = indexes;
	for (c = first; c && msg.u.lease.count < LEASE_CHUNKS_MAX; c = next) {
		next = TAILQ_NEXT(c, lease_link);
		if (c->volume != first->volume || c->allocating != first->allocating ||
		    c->repair != first->repair || !lease_ready(c, now))
			continue;
		indexes[msg.u.lease.count++] = c->repair ? c->id : c->index;
		TAILQ_REMOVE(&e->lease_wanted, c, lease_link);
		c->lease_wanted = false;
		c->lease_sent = true;
	}
	engine_meta_send(e, &msg);
}

void engine_send_leases(struct engine *e)
{
	uint64_t now = engine_now_ns(e);
	struct chunk *c;
	bool again = engine_meta_up(e);

	while (again) {
		again = false;
		TAILQ_FOREACH (c, &e->lease_wanted, lease_link) {
			if (lease_ready(c, now)) {
				send_lease(e, c, now);
				again = true;
				break;
			}
		}
	}
	if (!TAILQ_EMPTY(&e->lease_wanted))
		engine_tick_start(e);
}

static void lease_refused(struct chunk *c, enum wire_status status, const char *text)
{
	struct owner_event event = {.kind = OWNER_EVENT_TICK};

	c->lease_sent = false;
	c->lease_not_before_ns = engine_now_ns(c->engine) + LEASE_RETRY_NS;
	if (c->repair) {
		c->repair_done = true; /* metad gives the job again if it is still wanted */
		return;
	}
	if (status == WIRE_NOT_OWNER) {
		engine_volume_lost(c->volume, text);
		return;
	}
	trace(TRACE_WARN, "engine", "volume=%s index=%llu: no lease: %s: %s", c->volume->info.name,
	      (unsigned long long)c->index, wire_status_name(status), text);
	if (c->allocating && status == WIRE_NO_SPACE) {
		engine_allocation_failed(c);
		return;
	}
	if (!c->allocating)
		c->owner.lease_asked = false;
	if (c->allocating || c->fence_first || !TAILQ_EMPTY(&c->waiting)) {
		engine_want_lease(c);
		return;
	}
	engine_chunk_event(c, &event); /* asks again, not before the time set above */
}

static void submit_waiting(struct chunk *c)
{
	struct part *part;

	while ((part = TAILQ_FIRST(&c->waiting))) {
		struct owner_event event = {.kind = OWNER_EVENT_REQUEST, .request = &part->r};

		TAILQ_REMOVE(&c->waiting, part, link);
		part->waits = false;
		engine_chunk_event(c, &event);
	}
}

static void lease_granted(struct chunk *c, const struct msg_chunk *m)
{
	struct owner_event event = {.kind = OWNER_EVENT_LEASE, .chunk = m};

	c->lease_sent = false;
	if (c->allocating) {
		if (m->chunk == 0 || engine_chunk_by_id(c->engine, m->chunk))
			return; /* a meta service that gives a chunk twice: nothing that we could serve */
		engine_chunk_identify(c, m->chunk, m->root_chunk, c->volume->info.chunk_bytes);
		engine_table_add(c->volume, m);
	}
	for (uint32_t i = 0; i < m->replica_count; i++) {
		struct owner_peer *p = engine_peer_lookup(c->engine, m->replicas[i].cid);

		p->dead = m->replicas[i].dead && !p->connection;
	}
	engine_chunk_event(c, &event);
	submit_waiting(c);
}

static struct chunk *lease_chunk(struct engine *e, struct engine_volume *v,
				 const struct msg_chunk *m)
{
	struct chunk *c;

	if (v) {
		HASH_FIND(by_index, v->chunks, &m->index, sizeof m->index, c);
		return c && (c->allocating || m->chunk == 0 || c->id == m->chunk) ? c : NULL;
	}
	c = engine_chunk_by_id(e, m->chunk);
	return c && c->repair ? c : NULL;
}

void engine_lease_answered(struct engine *e, const struct msg *msg)
{
	const struct msg_chunks *answer = &msg->u.chunks;
	struct engine_volume *v = engine_volume_by_id(e, answer->volume);

	if (msg->status != WIRE_OK && answer->count == 0) {
		if (v && msg->status == WIRE_NOT_OWNER) {
			engine_volume_lost(v, answer->text);
		} else {
			struct chunk *c, *next;

			HASH_ITER(hh, e->chunks, c, next)
			{
				if (c->lease_sent && c->volume == v)
					lease_refused(c, msg->status, answer->text);
			}
			if (v) {
				HASH_ITER(by_index, v->chunks, c, next)
				{
					if (c->lease_sent)
						lease_refused(c, msg->status, answer->text);
				}
			}
		}
		return;
	}
	for (uint32_t i = 0; i < answer->count; i++) {
		const struct msg_chunk *m = &answer->chunks[i];
		struct chunk *c = lease_chunk(e, v, m);

		if (!c || !c->lease_sent)
			continue;
		if (m->status == WIRE_OK)
			lease_granted(c, m);
		else
			lease_refused(c, m->status, answer->text);
		if (v && v->state == VOLUME_LOST)
			return;
	}
}

/* ---- ticks, repair ---- */

/* True if the chunk was freed. */
static bool repair_tick(struct chunk *c)
{
	struct engine *e = c->engine;
	struct owner_event event = {.kind = OWNER_EVENT_RETURN};
	uint64_t now = engine_now_ns(e);

	if (c->repair_done && c->owner.request_count == 0 && TAILQ_EMPTY(&c->owner.movers)) {
		e->copies_under_way -= c->owner.copies;
		engine_chunk_free(c);
		return true;
	}
	if (!c->repair_done && !c->owner.returning &&
	    ((owner_repaired(&c->owner) && !owner_scrubs(&c->owner)) ||
	     now - c->repair_since_ns > REPAIR_IDLE_NS)) {
		if (c->owner.phase == OWNER_IDLE)
			c->repair_done = true;
		else
			engine_chunk_event(c, &event);
	}
	return false;
}

/*
 * How much each scrub may begin until the next tick. What was left over says that the replicas are slower than the pace: half as much
 * then, else a little more.
 */
static uint64_t scrub_budget(struct engine *e)
{
	uint64_t scrubs = 0, users = e->counters.reads + e->counters.writes, rate;
	bool left_over = false;
	struct chunk *c;

	TAILQ_FOREACH (c, &e->active, active_link) {
		if (c->allocating || !owner_scrubs(&c->owner))
			continue;
		scrubs++;
		left_over |= c->owner.scrub_budget_bytes > 0;
	}
	if (!scrubs)
		return 0;
	if (left_over && e->scrub_bytes_per_s)
		rate = MAX(e->scrub_bytes_per_s / 2, SCRUB_BYTES_MIN);
	else
		rate = MIN(e->scrub_bytes_per_s + SCRUB_BYTES_STEP, SCRUB_BYTES_MAX);
	if (users != e->scrub_users)
		rate = MIN(rate, SCRUB_BYTES_LOADED);
	e->scrub_users = users;
	e->scrub_bytes_per_s = rate;
	return rate * OWNER_TICK_NS / NS_PER_S / scrubs + 1;
}

void engine_chunks_tick(struct engine *e)
{
	uint64_t budget = scrub_budget(e);
	struct chunk *c, *next;

	TAILQ_FOREACH_SAFE (c, &e->active, active_link, next) {
		struct owner_event event = {.kind = OWNER_EVENT_TICK};
		uint64_t moved;

		if (c->allocating)
			continue;
		if (c->repair && repair_tick(c))
			continue;
		moved = c->owner.counters.copied_units + c->owner.counters.scrubbed_units;
		c->owner.scrub_budget_bytes = owner_scrubs(&c->owner) ? budget : 0;
		engine_chunk_event(c, &event);
		if (c->owner.counters.copied_units + c->owner.counters.scrubbed_units != moved)
			c->repair_since_ns = event.now_ns;
	}
}

void engine_repair(struct engine *e, const struct msg_repair_job *job)
{
	struct chunk *c = engine_chunk_by_id(e, job->chunk);
	struct owner_event event = {.kind = OWNER_EVENT_SCRUB};

	if (c && job->scrub && !c->allocating && !c->repair_done &&
	    (c->repair || c->owner.phase != OWNER_IDLE)) {
		engine_enter(e);
		engine_chunk_event(c, &event);
		engine_leave(e);
		engine_tick_start(e);
	}
	if (c || !e->options.repair_only)
		return; /* under way; or the lease is no longer here: metad will find out */
	engine_enter(e);
	c = engine_chunk_new(e, NULL, 0);
	c->repair = true;
	c->repair_since_ns = engine_now_ns(e);
	/* The seed of the checksums comes with the lease; until then it is not used. */
	engine_chunk_identify(c, job->chunk, job->chunk, job->chunk_bytes);
	c->owner.wanted = true;
	c->owner.scrub_asked = job->scrub;
	engine_want_lease(c);
	keep_active(c);
	engine_leave(e);
	engine_tick_start(e);
}
