/*
 * owner_join.c - a FILLING replica: SYNC, compare, JOIN, copy, PROMOTE.
 *
 *   SLOT_NEW -> SYNC -> SLOT_SYNCED -> (new generations held, window drained) SLOT_COMPARING:
 *       VERSIONS of a source -> INVALIDATE at the destination -> JOIN(g0) -> SLOT_JOINED (generations go on, to it too)
 *       -> a COPY for each invalid unit -> PROMOTE at metad, from whose asking on it counts as ACTIVE.
 *
 * Writes in flight must be drained before versions are compared, but only as far as live replicas go: while IO is held
 * because some replica is out of reach and can't be evicted, a join must go on, since the new replica is what makes the
 * eviction possible. So "drained" means that every replica that is streaming has every generation that was sent; g0 is the last
 * one. Those generations are not sent to the new replica, it gets them by COPY from a source that has them; therefore a
 * COPY need not wait for writes up to g0 that are not settled yet.
 *
 * Until PROMOTE is asked it may be left out at any moment, whatever was under way: it starts from SYNC again. One that has no room for
 * what it is filled with, or a bad disk, is given up after a few times (owner_change.c): metad finds another place for it.
 */
#include "replica-engine/core/owner_private.h"

#include <stdlib.h>

void owner_leave_out(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];

	assert(!p->counts);
	owner_stop_stream(o, slot);
	if (o->joining == (int)slot)
		o->joining = -1;
	p->state = SLOT_NEW; /* before the copies end, so that none begins anew */
	p->exchange_id = 0;
	owner_abort_copies(s, slot);
	free(p->versions);
	free(p->invalid);
	p->versions = NULL;
	p->invalid = NULL;
	p->creating = false;
	p->covered_connection = 0;
	p->retry_ns = s->now_ns + JOIN_RETRY_NS;
}

void owner_fill_failed(struct step *s, unsigned slot, enum wire_status status)
{
	struct owner_slot *p = &s->o->slots[slot];

	owner_leave_out(s, slot);
	if ((status == WIRE_NO_SPACE || status == WIRE_DISK_ERROR) &&
	    p->fill_failures < FILL_FAILURES_MAX)
		p->fill_failures++;
}

/* The ACTIVE replica whose versions are taken, and which is copied from first. */
static int find_source(const struct owner *o)
{
	int best = -1;

	FOR_EACH_SLOT (o, i) {
		const struct owner_slot *p = &o->slots[i];

		if (!p->counts || p->promoting || !p->streaming || p->answered_generation < o->sent)
			continue;
		if (best < 0 || (o->slots[best].peer->slow && !p->peer->slow))
			best = (int)i;
	}
	return best;
}

/* Every live replica has all that was sent. */
static bool drained(const struct owner *o)
{
	FOR_EACH_SLOT (o, i) {
		const struct owner_slot *p = &o->slots[i];

		if (owner_slot_required(p) && p->streaming && p->answered_generation < o->sent)
			return false;
	}
	return true;
}

static void compare(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	int source = find_source(o);
	struct msg *msg;

	if (source < 0 || !drained(o))
		return;
	msg = owner_emit_message(s, (unsigned)source, MSG_VERSIONS);
	msg->u.versions.chunk = o->chunk;
	msg->u.versions.epoch = o->epoch;
	o->slots[slot].exchange_id = msg->id;
	o->slots[slot].asked_ns = s->now_ns;
}

static void invalidate(struct step *s, unsigned slot, const struct msg_version_list *list)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	struct msg *msg = owner_emit_message(s, slot, MSG_INVALIDATE);

	free(p->versions);
	p->versions = xmalloc(o->unit_count * sizeof *p->versions);
	memcpy(p->versions, list->versions, o->unit_count * sizeof *p->versions);
	msg->u.version_list = (struct msg_version_list){
		.chunk = o->chunk,
		.epoch = o->epoch,
		.unit_count = o->unit_count,
		.versions = p->versions,
	};
	p->exchange_id = msg->id;
	p->asked_ns = s->now_ns;
}

static void join(struct step *s, unsigned slot, const struct msg_invalidate_ok *ok)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	size_t bitmap_bytes = (o->unit_count + 7) / 8;
	struct msg *msg = owner_emit_message(s, slot, MSG_JOIN);

	assert(o->joining == (int)slot);
	free(p->invalid);
	p->invalid = xcalloc(1, bitmap_bytes);
	if (ok->invalid)
		memcpy(p->invalid, ok->invalid, bitmap_bytes);
	p->invalid_units = ok->invalid_count;
	p->next_unit = 0;
	msg->u.position.chunk = o->chunk;
	msg->u.position.epoch = o->epoch;
	msg->u.position.position = o->position;
	p->join_generation = o->sent;
	p->exchange_id = msg->id;
	p->asked_ns = s->now_ns;
}

static void joined(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	struct owner_request *r;

	assert(o->joining == (int)slot && o->sent == p->join_generation);
	o->joining = -1;
	p->state = SLOT_JOINED;
	p->streaming = true;
	p->answered_generation = o->sent;
	p->retries = 0;
	TAILQ_FOREACH (r, &o->window, queue)
		r->answered |= 1u << slot; /* it will have them by COPY */
}

/* VERSIONS_OK comes from the source, the others from the destination; the exchange is the destination's. */
void owner_join_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner *o = s->o;
	struct owner_slot *p;

	if (o->joining < 0)
		return;
	p = &o->slots[o->joining];
	if (msg->id != p->exchange_id || (msg->type != MSG_VERSIONS_OK && (int)slot != o->joining))
		return;
	p->exchange_id = 0;
	if (msg->status != WIRE_OK ||
	    (msg->type == MSG_VERSIONS_OK && msg->u.version_list.unit_count != o->unit_count) ||
	    (msg->type == MSG_INVALIDATE_OK && msg->u.invalidate_ok.unit_count != o->unit_count)) {
		if (msg->type == MSG_VERSIONS_OK) /* the source's fault */
			owner_leave_out(s, (unsigned)o->joining);
		else
			owner_fill_failed(s, slot, msg->status);
		return;
	}
	if (msg->type == MSG_VERSIONS_OK)
		invalidate(s, (unsigned)o->joining, &msg->u.version_list);
	else if (msg->type == MSG_INVALIDATE_OK)
		join(s, slot, &msg->u.invalidate_ok);
	else if (msg->type == MSG_JOIN_OK)
		joined(s, slot);
}

static void copy_more(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	uint32_t scanned = 0;

	while (p->state == SLOT_JOINED && p->invalid_units > p->copies &&
	       o->copies < o->copy_limit && scanned++ < o->unit_count) {
		uint32_t unit = p->next_unit;

		p->next_unit = (unit + 1) % o->unit_count;
		if (bit_get(p->invalid, unit))
			owner_copy_new(s, slot, unit, COPY_TO_FILL);
	}
}

void owner_filled_unit(struct step *s, struct owner_request *r, enum wire_status status)
{
	struct owner_slot *p = &s->o->slots[r->destination];

	if (p->state != SLOT_JOINED)
		return;
	if (status == WIRE_OK) {
		assert(bit_get(p->invalid, r->unit) && p->invalid_units > 0);
		bit_clear(p->invalid, r->unit);
		p->invalid_units--;
		p->fill_failures = 0;
	} else if (status != WIRE_FENCED) {
		owner_fill_failed(s, r->destination, status);
	}
}

/* Silent while we wait for it, and not because of a promise. */
static bool overdue(const struct step *s, const struct owner_slot *p, uint64_t since_ns)
{
	return s->now_ns > since_ns && s->now_ns - since_ns > EXCHANGE_SILENT_NS &&
	       s->now_ns > p->promise_until_ns + EXCHANGE_SILENT_NS;
}

static bool generation_overdue(const struct step *s, unsigned slot)
{
	struct owner_request *r;

	TAILQ_FOREACH (r, &s->o->window, queue) {
		if (!(r->answered >> slot & 1))
			return overdue(s, &s->o->slots[slot], r->sent_ns);
	}
	return false;
}

/*
 * A write that came after the join may wait for a replica that can't be evicted before this one is filled, and a copy of its unit
 * waits for that write: only a join behind it ends this.
 */
static bool copies_stuck(const struct step *s, unsigned slot)
{
	const struct owner *o = s->o;
	const struct owner_request *r = TAILQ_FIRST(&o->window);

	if (!r || !overdue(s, &o->slots[slot], r->sent_ns) || !o->copy_pool)
		return false;
	for (unsigned i = 0; i < OWNER_COPIES_MAX; i++) {
		r = &o->copy_pool[i];
		if (r->state == OWNER_REQUEST_BLOCKED && r->destination == slot &&
		    overdue(s, &o->slots[slot], r->arrived_ns))
			return true;
	}
	return false;
}

static void filling_progress(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];

	if (!p->peer->connection)
		return;
	if ((p->exchange_id && overdue(s, p, p->asked_ns)) ||
	    (p->state == SLOT_JOINED && (generation_overdue(s, slot) || copies_stuck(s, slot)))) {
		owner_leave_out(s, slot);
		return;
	}
	switch (p->state) {
	case SLOT_NEW:
		if (s->now_ns >= p->retry_ns)
			owner_ask_sync(s, slot);
		break;
	case SLOT_SYNCED:
		if (o->joining < 0) {
			o->joining = (int)slot;
			p->state = SLOT_COMPARING;
			p->asked_ns = s->now_ns;
			compare(s, slot);
		}
		break;
	case SLOT_COMPARING:
		if (!p->exchange_id) {
			if (s->now_ns - p->asked_ns > JOIN_DRAIN_NS)
				owner_leave_out(s, slot); /* too slow to drain: later */
			else
				compare(s, slot);
		}
		break;
	case SLOT_JOINED:
		if (p->invalid_units == 0 && p->copies == 0)
			owner_ask_change(s, CHANGE_PROMOTE, slot,
					 o->phase == OWNER_SHORT
						 ? "filled while IO is held: too few are ACTIVE"
						 : "filled");
		else {
			owner_pump(s); /* what can be sent is, before copies stand in its way */
			copy_more(s, slot);
		}
		break;
	default:
		break;
	}
}

void owner_join_progress(struct step *s)
{
	FOR_EACH_SLOT (s->o, i) {
		if (!s->o->slots[i].counts)
			filling_progress(s, i);
	}
}
