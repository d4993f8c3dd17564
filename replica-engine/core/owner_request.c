/*
 * owner_request.c - the order of requests.
 *
 * All requests that are not completed stand in one list in the order of their arrival. Two of them conflict if their block
 * ranges overlap, unless both only read (SCRUB only reads its unit). A request waits for all earlier ones that it
 * conflicts with: `blockers` counts them; whoever leaves the list takes one off each later one that it conflicted
 * with. With blockers == 0 a request is READY; the pump lets ready requests go as phase, grants, window and joins allow.
 * Ready requests never conflict with each other, so the pump may skip one that can't go yet. (A window of some hundred
 * requests is walked: cheaper than a tree at these lengths.)
 *
 * A COPY that fills reads its unit, too, and waits for writes that its source may have: those that were sent. The others,
 * whenever they came, wait for it: one that came first may itself be waiting for a grant that only comes when the replica that is
 * being filled takes the place of another one. So the pump sends no write to a unit with a COPY.
 */
#include "replica-engine/core/owner_private.h"

static bool only_reads(const struct owner_request *r)
{
	return r->operation == OWNER_READ || r->operation == OWNER_COPY ||
	       r->operation == OWNER_EXTENTS || r->operation == OWNER_SCRUB;
}

static bool overlap(const struct owner_request *a, const struct owner_request *b)
{
	return a->block_offset < b->block_offset + b->block_bytes &&
	       b->block_offset < a->block_offset + a->block_bytes;
}

static bool conflict(const struct owner_request *a, const struct owner_request *b)
{
	if (only_reads(a) && only_reads(b))
		return false;
	/* A COPY passes what its source has and its destination is not to get (owner_join.c), and what was not sent. */
	if ((a->operation == OWNER_COPY && b->generation <= a->generation) ||
	    (b->operation == OWNER_COPY && a->generation <= b->generation))
		return false;
	return overlap(a, b);
}

/* No generation is sent to a unit while it is copied. */
static bool waits_for_copy(const struct owner *o, const struct owner_request *r)
{
	for (unsigned i = 0; o->copies && i < OWNER_COPIES_MAX; i++) {
		const struct owner_request *copy = &o->copy_pool[i];

		if (copy->state != OWNER_REQUEST_DONE && overlap(copy, r))
			return true;
	}
	return false;
}

static void check_range(const struct owner *o, const struct owner_request *r)
{
	assert(r->bytes > 0 && r->offset < o->chunk_bytes &&
	       r->bytes <= o->chunk_bytes - r->offset);
	assert(r->bytes <= IO_BYTES_MAX || r->operation == OWNER_EXTENTS);
	if (r->operation == OWNER_WRITE) {
		assert(r->data.bytes == r->bytes);
		assert((r->offset % BLOCK_BYTES == 0 && r->bytes % BLOCK_BYTES == 0) ||
		       r->offset / BLOCK_BYTES == (r->offset + r->bytes - 1) / BLOCK_BYTES);
	} else if (r->operation == OWNER_ZERO || r->operation == OWNER_DISCARD) {
		assert(r->offset % BLOCK_BYTES == 0 && r->bytes % BLOCK_BYTES == 0);
	}
}

void owner_admit(struct step *s, struct owner_request *r)
{
	struct owner *o = s->o;
	struct owner_request *earlier;

	check_range(o, r);
	r->block_offset = ROUND_DOWN(r->offset, BLOCK_BYTES);
	r->block_bytes = ROUND_UP(r->offset + r->bytes, BLOCK_BYTES) - r->block_offset;
	r->arrived_ns = s->now_ns;
	r->blockers = 0;
	TAILQ_FOREACH (earlier, &o->requests, link) {
		if (conflict(earlier, r))
			r->blockers++;
	}
	TAILQ_INSERT_TAIL(&o->requests, r, link);
	o->request_count++;
	if (o->phase == OWNER_FENCED) {
		owner_complete(s, r, WIRE_FENCED);
		return;
	}
	r->state = r->blockers ? OWNER_REQUEST_BLOCKED : OWNER_REQUEST_READY;
	if (!r->blockers) {
		TAILQ_INSERT_TAIL(&o->ready, r, queue);
		r->queued = true;
	}
}

void owner_unlink(struct step *s, struct owner_request *r)
{
	struct owner *o = s->o;
	struct owner_request *later;

	if (r->queued) {
		if (r->state == OWNER_REQUEST_READY)
			TAILQ_REMOVE(&o->ready, r, queue);
		else
			TAILQ_REMOVE(&o->window, r, queue);
		r->queued = false;
	}
	for (later = TAILQ_NEXT(r, link); later; later = TAILQ_NEXT(later, link)) {
		if (!conflict(r, later))
			continue;
		assert(later->blockers > 0 && later->state == OWNER_REQUEST_BLOCKED);
		if (--later->blockers == 0) {
			later->state = OWNER_REQUEST_READY;
			TAILQ_INSERT_TAIL(&o->ready, later, queue);
			later->queued = true;
		}
	}
	TAILQ_REMOVE(&o->requests, r, link);
	o->request_count--;
	r->state = OWNER_REQUEST_DONE;
}

/* The bytes of a write as its user gave them. */
static void give_data_back(struct owner_request *r)
{
	if (r->merged) {
		r->data.offset += r->offset - r->block_offset;
		r->data.bytes = r->bytes;
		r->merged = false;
	}
}

void owner_complete(struct step *s, struct owner_request *r, enum wire_status status)
{
	struct owner_action *a;

	assert(r->state != OWNER_REQUEST_DONE && r->operation != OWNER_COPY &&
	       r->operation != OWNER_SCRUB);
	owner_unlink(s, r);
	if (r->operation == OWNER_WRITE && status == WIRE_FENCED)
		give_data_back(r);
	else if (r->operation != OWNER_READ || status != WIRE_OK)
		slice_unref(&r->data);
	a = owner_emit(s, OWNER_COMPLETE);
	a->request = r;
	a->status = status;
}

struct owner_request *owner_request_by_id(struct owner *o, uint64_t id)
{
	struct owner_request *r;

	TAILQ_FOREACH (r, &o->requests, link) {
		if (r->id == id)
			return r;
	}
	TAILQ_FOREACH (r, &o->movers, link) {
		if (r->id == id)
			return r;
	}
	return NULL;
}

void owner_leave_ready(struct owner *o, struct owner_request *r, enum owner_request_state state)
{
	TAILQ_REMOVE(&o->ready, r, queue);
	r->queued = false;
	r->state = state;
}

static bool below_block(const struct owner_request *r)
{
	return r->operation == OWNER_WRITE && r->bytes != r->block_bytes;
}

/* Reading, or the reading half. A COPY needs no grant: what it reads goes to a replica, not to a user. */
static void start_read(struct step *s, struct owner_request *r)
{
	owner_leave_ready(s->o, r, OWNER_REQUEST_READING);
	r->tried = r->bad_slots = r->passed_by = r->bad_units = 0;
	r->partial = false;
	if (owner_send_read(s, r))
		return;
	/* No replica can be asked at this moment (all connections are down): it waits. */
	TAILQ_INSERT_HEAD(&s->o->ready, r, queue);
	r->queued = true;
	r->state = OWNER_REQUEST_READY;
}

/* May this write, zero or discard take its generation now? */
static bool may_send(const struct owner *o, const struct owner_request *r)
{
	if (o->phase != OWNER_IO || o->joining >= 0)
		return false;
	return !waits_for_copy(o, r);
}

/* Lets one ready request go if it may. True if that completed it, which may have made others ready. */
static bool let_go(struct step *s, struct owner_request *r, bool may_read, bool *window_full)
{
	struct owner *o = s->o;

	if (r->operation == OWNER_COPY) {
		start_read(s, r);
	} else if (r->operation == OWNER_SCRUB) {
		owner_scrub_send(s, r);
		return r->state == OWNER_REQUEST_DONE;
	} else if (r->operation == OWNER_EXTENTS) {
		if (may_read)
			owner_send_extents(s, r);
	} else if (r->operation == OWNER_READ || (below_block(r) && !r->merged)) {
		if (may_read)
			start_read(s, r);
	} else if (!*window_full && may_send(o, r)) {
		*window_full = !owner_send_write(s, r);
		return r->state == OWNER_REQUEST_DONE;
	}
	return false;
}

void owner_pump(struct step *s)
{
	struct owner *o = s->o;
	struct owner_request *r, *next;
	bool may_read = owner_may_read(o, s->now_ns), window_full = false, again;

	do {
		again = false;
		TAILQ_FOREACH_SAFE (r, &o->ready, queue, next) {
			if (let_go(s, r, may_read, &window_full))
				again = true;
		}
	} while (again);
}
