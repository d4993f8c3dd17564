/*
 * owner_change.c - changes of the list at metad: whom to evict, when, and what the answer means.
 *
 * A replica is evicted when IO waits for it and it is refused (EVICT_REFUSED_NS), silent (EVICT_SILENT_NS), or has failed;
 * and only if at least min_replicas others have answered SYNC at our epoch; or if metad says that it is one more than wanted,
 * and all others are there. Until metad has *answered* it counts as ACTIVE. A FILLING one that can't take what it is filled with is
 * given up (DROP), so that another one is chosen. One change is asked for at a time; it names the list that it was made for, so that an
 * answer that is lost can be asked for again without harm.
 */
#include "replica-engine/core/owner_private.h"

#include <stdio.h>

static bool synced(const struct owner *o, const struct owner_slot *p)
{
	/* position is of its SYNC; since then it has answered generations, and the floor has risen with them. */
	uint64_t reached = MAX(p->position.generation, p->answered_generation);

	return p->counts && p->state == SLOT_SYNCED && reached >= o->floor;
}

void owner_ask_change(struct step *s, enum change_kind kind, unsigned slot, const char *why)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	struct owner_action *a;
	struct msg_change *c;

	if (o->change.asked || s->now_ns < o->change.retry_ns)
		return;
	a = owner_emit(s, OWNER_CHANGE);
	a->msg.type = MSG_CHANGE;
	a->msg.id = ++o->next_id;
	a->msg.status = WIRE_OK;
	a->msg.payload = (struct slice){0};
	c = &a->msg.u.change;
	c->kind = kind;
	c->chunk = o->chunk;
	c->epoch = o->epoch;
	c->list_number = o->list_number;
	c->cid = p->cid;
	c->floor = o->phase == OWNER_IO ? o->settled : o->floor;
	c->synced_count = 0;
	FOR_EACH_SLOT (o, i) {
		if (i != slot && synced(o, &o->slots[i]))
			c->synced[c->synced_count++] = o->slots[i].cid;
	}
	snprintf(c->text, sizeof c->text, "%s", why);
	o->change.asked = true;
	o->change.asked_ns = s->now_ns;
	o->change.kind = kind;
	o->change.cid = p->cid;
	o->change.list_number = o->list_number;
	if (kind == CHANGE_PROMOTE) {
		p->promoting = true;
		p->counts = true; /* from the asking on */
		p->state = SLOT_SYNCED;
		p->position = o->position;
		owner_slot_forget_versions(p);
	}
}

void owner_change_answered(struct step *s, enum wire_status status, const struct msg_list *list)
{
	struct owner *o = s->o;
	int slot;

	if (o->phase == OWNER_IDLE || o->phase == OWNER_FENCED || !o->change.asked ||
	    list->chunk.chunk != o->chunk)
		return;
	if (status == WIRE_NOT_OWNER) {
		owner_fence(s);
		return;
	}
	if (list->chunk.epoch != o->epoch)
		return;
	o->change.asked = false;
	if (list->chunk.list_number == 0) {
		/* Not judged (metad doubts its store); an earlier asking may have been carried out. */
		o->change.retry_ns = s->now_ns + CHANGE_RETRY_NS;
		return;
	}
	if (status == WIRE_OK) {
		if (o->change.kind == CHANGE_EVICT)
			o->counters.evictions++;
		else if (o->change.kind == CHANGE_PROMOTE)
			o->counters.promotions++;
	} else {
		o->change.retry_ns = s->now_ns + CHANGE_RETRY_NS;
	}
	slot = owner_find_slot(o, o->change.cid);
	owner_adopt_list(s, &list->chunk);
	o->change.refused = status == WIRE_REFUSED || status == WIRE_TOO_FEW;
	if (slot < 0 || !o->slots[slot].used || o->slots[slot].cid != o->change.cid)
		return;
	if (o->change.kind == CHANGE_PROMOTE && o->slots[slot].promoting) {
		/* A definite no, and the list that it was asked for is past or stays: it does not count. */
		o->slots[slot].promoting = false;
		if (o->slots[slot].listed == REPLICA_FILLING) {
			o->slots[slot].counts = false;
			owner_leave_out(s, (unsigned)slot);
		}
	}
}

/* Before IO: has this slot something to answer? */
static bool rolls_or_syncs(const struct owner *o, unsigned slot, uint64_t *since_ns)
{
	const struct owner_slot *p = &o->slots[slot];
	struct owner_request *r;

	if (p->state != SLOT_SYNCED || p->exchange_id)
		return true;
	TAILQ_FOREACH (r, &o->movers, link) {
		if (r->state == OWNER_REQUEST_READING ? r->reader == slot
						      : r->destination == slot) {
			*since_ns = r->sent_ns;
			return true;
		}
	}
	return false;
}

/* Does anything wait for this slot? since_ns: from when on. */
static bool waited_for(const struct step *s, unsigned slot, uint64_t *since_ns)
{
	struct owner *o = s->o;
	const struct owner_slot *p = &o->slots[slot];
	struct owner_request *r;

	if (o->phase != OWNER_IO) {
		*since_ns = MAX(p->asked_ns, p->promise_until_ns);
		return (!TAILQ_EMPTY(&o->requests) || o->wanted || p->peer->dead) &&
		       rolls_or_syncs(o, slot, since_ns);
	}
	TAILQ_FOREACH (r, &o->window, queue) {
		if (!(r->answered >> slot & 1)) {
			*since_ns = r->sent_ns;
			return true;
		}
	}
	*since_ns = s->now_ns;
	if (!TAILQ_EMPTY(&o->ready) && !owner_grant_valid(p, s->now_ns)) {
		/* Heartbeats that are answered don't help while its SYNC is not. */
		*since_ns = MAX(TAILQ_FIRST(&o->ready)->arrived_ns,
				p->exchange_id ? MAX(p->asked_ns, p->promise_until_ns)
					       : p->peer->heard_ns);
		return true;
	}
	return p->peer->dead;
}

/* Is another one further than this slot? A load that slows all down evicts nobody. */
static bool behind_others(const struct owner *o, unsigned slot)
{
	FOR_EACH_SLOT (o, i) {
		if (i == slot || !o->slots[i].counts)
			continue;
		if (o->phase != OWNER_IO ? o->slots[i].state == SLOT_SYNCED
					 : o->slots[i].answered_generation >
							   o->slots[slot].answered_generation ||
						   owner_grant_valid(&o->slots[i], 0))
			return true;
	}
	return false;
}

/* NULL: not to be evicted now. */
static const char *why_evict(const struct step *s, unsigned slot)
{
	const struct owner_slot *p = &s->o->slots[slot];
	uint64_t since_ns = 0, now = s->now_ns;

	if (!p->counts)
		return NULL;
	if (p->state == SLOT_FAILED)
		return "its disk failed, or it lost what it had answered";
	if (!waited_for(s, slot, &since_ns))
		return NULL;
	if (!p->peer->connection)
		return p->peer->down_since_ns && now - p->peer->down_since_ns > EVICT_REFUSED_NS
			       ? "its connections are refused"
			       : NULL;
	if (now > since_ns && now - since_ns > EVICT_SILENT_NS &&
	    (now - p->peer->heard_ns > EVICT_SILENT_NS || behind_others(s->o, slot)))
		return "it does not answer";
	return NULL;
}

bool owner_is_out(const struct step *s, unsigned slot)
{
	return why_evict(s, slot) != NULL;
}

unsigned owner_others_synced(const struct step *s, unsigned slot)
{
	const struct owner *o = s->o;
	unsigned n = 0;

	FOR_EACH_SLOT (o, i) {
		const struct owner_slot *p = &o->slots[i];

		n += i != slot && synced(o, p) && p->peer->connection &&
		     (o->phase != OWNER_IO || p->streaming) &&
		     s->now_ns - p->peer->heard_ns <= EVICT_SILENT_NS;
	}
	return n;
}

/* READs that a replica leaves unanswered go to another one. */
#define READ_PATIENCE_NS (1 * NS_PER_S)
static void hurry_reads(struct step *s)
{
	struct owner *o = s->o;
	struct owner_request *r;

	TAILQ_FOREACH (r, &o->requests, link) {
		uint8_t reader = r->reader;

		if (r->state != OWNER_REQUEST_READING || r->operation == OWNER_EXTENTS ||
		    r->operation == OWNER_SCRUB || s->now_ns - r->sent_ns < READ_PATIENCE_NS)
			continue;
		r->tried |= 1u << reader;
		if (owner_send_read(s, r))
			r->passed_by |= 1u << reader;
		else
			r->tried = r->bad_slots; /* nobody else: go on waiting for it */
	}
}

/* One that is not wanted any more, while all others are there. */
static int find_surplus(const struct step *s)
{
	const struct owner *o = s->o;
	unsigned counted = 0;
	int leaving = -1;

	if (o->phase != OWNER_IO)
		return -1;
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].listed == REPLICA_FILLING)
			return -1;
		counted++;
		if (o->slots[i].leaving)
			leaving = (int)i;
	}
	if (leaving < 0 || counted <= o->min_replicas ||
	    owner_others_synced(s, (unsigned)leaving) < counted - 1)
		return -1;
	return leaving;
}

/* A FILLING one that can't be filled. */
static int find_hopeless(const struct owner *o)
{
	FOR_EACH_SLOT (o, i) {
		if (!o->slots[i].counts && o->slots[i].fill_failures >= FILL_FAILURES_MAX)
			return (int)i;
	}
	return -1;
}

void owner_change_progress(struct step *s)
{
	struct owner *o = s->o;
	int surplus, hopeless;

	if (o->phase == OWNER_IO || o->phase == OWNER_SHORT)
		hurry_reads(s);
	if (o->change.asked || s->now_ns < o->change.retry_ns)
		return;
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].promoting) { /* asked, and the answer was lost */
			owner_ask_change(s, CHANGE_PROMOTE, i, "filled");
			return;
		}
	}
	FOR_EACH_SLOT (o, i) {
		const char *why = why_evict(s, i);

		if (!why)
			continue;
		if (owner_others_synced(s, i) < o->min_replicas) {
			o->change.refused = true;
			continue;
		}
		owner_ask_change(s, CHANGE_EVICT, i, why);
		return;
	}
	surplus = find_surplus(s);
	hopeless = find_hopeless(o);
	if (surplus >= 0)
		owner_ask_change(s, CHANGE_EVICT, (unsigned)surplus, "one more than wanted");
	else if (hopeless >= 0)
		owner_ask_change(s, CHANGE_DROP, (unsigned)hopeless,
				 "it has no room for what it is filled with, or a bad disk");
}

enum owner_hold owner_hold(const struct owner *o, uint64_t now_ns)
{
	if (TAILQ_EMPTY(&o->requests) || o->phase == OWNER_FENCED)
		return OWNER_HOLD_NONE;
	if (o->phase == OWNER_IDLE)
		return OWNER_HOLD_LEASE;
	if (o->lost)
		return OWNER_HOLD_LOST;
	if (o->change.refused)
		return OWNER_HOLD_TOO_FEW;
	if (o->phase != OWNER_IO) {
		FOR_EACH_SLOT (o, i) {
			if (o->slots[i].promise_until_ns > now_ns)
				return OWNER_HOLD_PROMISE;
		}
		return OWNER_HOLD_SYNC;
	}
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].counts && !owner_grant_valid(&o->slots[i], now_ns))
			return OWNER_HOLD_REPLICA;
	}
	return OWNER_HOLD_NONE;
}
