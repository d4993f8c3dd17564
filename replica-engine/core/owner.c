/*
 * owner.c - the owner core's frame: step, phases, metad's list.
 *
 * owner_step dispatches an event to its handler, then owner_progress lets everything that has become possible go on, in
 * this order: SYNC and roll-forward, changes at metad, joins and copies, ready requests. That one place decides
 * what happens next; handlers only record what was heard. Evictions, promotions and reads that take too long are looked at
 * with every event but the two that make up the load, requests and good answers to them: ticks come every 100 ms as
 * long as anything waits.
 */
#include "replica-engine/core/owner_private.h"

#include <stdlib.h>

struct owner_action *owner_emit(struct step *s, enum owner_action_kind kind)
{
	struct owner_update *up = s->up;
	struct owner_action *a;

	if (up->count == up->capacity) {
		up->capacity = up->capacity ? up->capacity * 2 : 16;
		up->actions = xrealloc(up->actions, up->capacity * sizeof *up->actions);
	}
	a = &up->actions[up->count++];
	a->kind = kind;
	a->cid = 0;
	a->request = NULL;
	a->status = WIRE_OK;
	return a;
}

struct msg *owner_emit_message(struct step *s, unsigned slot, enum msg_type type)
{
	struct owner_action *a = owner_emit(s, OWNER_SEND);

	a->cid = s->o->slots[slot].cid;
	a->msg.type = type;
	a->msg.id = ++s->o->next_id;
	a->msg.status = WIRE_OK;
	a->msg.payload = (struct slice){0};
	return &a->msg;
}

int owner_find_slot(const struct owner *o, uint32_t cid)
{
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].cid == cid)
			return (int)i;
	}
	return -1;
}

void owner_init(struct owner *o, uint64_t chunk, uint64_t root_chunk, uint64_t chunk_bytes)
{
	memset(o, 0, sizeof *o);
	o->chunk = chunk;
	o->root_chunk = root_chunk;
	o->chunk_bytes = chunk_bytes;
	o->unit_count = (uint32_t)(chunk_bytes / UNIT_BYTES);
	o->joining = -1;
	o->reference = -1;
	o->copy_limit = 2;
	TAILQ_INIT(&o->requests);
	TAILQ_INIT(&o->ready);
	TAILQ_INIT(&o->window);
	TAILQ_INIT(&o->movers);
}

static void slot_free_arrays(struct owner_slot *slot)
{
	free(slot->versions);
	free(slot->invalid);
	slot->versions = NULL;
	slot->invalid = NULL;
}

void owner_destroy(struct owner *o)
{
	assert(TAILQ_EMPTY(&o->requests) && TAILQ_EMPTY(&o->movers));
	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		slot_free_arrays(&o->slots[i]);
	free(o->copy_pool);
	o->copy_pool = NULL;
	owner_scrub_free(o);
	free(o->room.held);
	o->room.held = NULL;
}

void owner_update_free(struct owner_update *up)
{
	free(up->actions);
	up->actions = NULL;
	up->count = up->capacity = 0;
}

void owner_slot_clear(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	struct owner_request *r;

	owner_abort_copies(s, slot);
	owner_scrub_slot_gone(s, slot);
	owner_redirect_reads(s, slot);
	if (o->joining == (int)slot)
		o->joining = -1;
	owner_stop_stream(o, slot);
	TAILQ_FOREACH (r, &o->requests, link) {
		r->answered &= ~(1u << slot);
		r->tried &= ~(1u << slot);
	}
	slot_free_arrays(p);
	memset(p, 0, sizeof *p);
}

void owner_slot_failed(struct step *s, unsigned slot)
{
	struct owner_slot *p = &s->o->slots[slot];

	p->state = SLOT_FAILED;
	p->retry_ns = s->now_ns + FAILED_RETRY_NS;
}

/* Where too few others are left to evict it, a failed replica may have room again, or its disk may: judged by what it answers. */
static void retry_failed(struct step *s)
{
	struct owner *o = s->o;

	FOR_EACH_SLOT (o, i) {
		struct owner_slot *p = &o->slots[i];

		if (p->state != SLOT_FAILED || !p->peer->connection || s->now_ns < p->retry_ns)
			continue;
		p->state = SLOT_NEW;
		p->creating = false;
		if (o->phase == OWNER_ROLLING && !p->absent)
			owner_start_sync(s);
		else if (o->phase != OWNER_SYNCING)
			owner_ask_sync(s, i);
	}
}

static void slot_add(struct step *s, const struct msg_list_entry *entry)
{
	struct owner *o = s->o;

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct owner_slot *p = &o->slots[i];

		if (p->used)
			continue;
		memset(p, 0, sizeof *p);
		p->used = true;
		o->slot_end = MAX(o->slot_end, i + 1);
		p->cid = entry->cid;
		p->peer = s->up->lookup(s->up->context, entry->cid);
		p->listed = entry->state;
		p->counts = entry->state == REPLICA_ACTIVE;
		p->leaving = entry->leaving;
		p->commit = entry->commit;
		p->state = SLOT_NEW;
		return;
	}
	assert(!"more replicas in a list than REPLICAS_MAX: the codec lets none through");
}

static const struct msg_list_entry *list_find(const struct msg_chunk *chunk, uint32_t cid)
{
	for (uint32_t i = 0; i < chunk->replica_count; i++) {
		if (chunk->replicas[i].cid == cid)
			return &chunk->replicas[i];
	}
	return NULL;
}

/* One slot against its entry in a newer list. */
static void slot_adopt(struct step *s, unsigned slot, const struct msg_list_entry *entry)
{
	struct owner_slot *p = &s->o->slots[slot];

	if (entry->commit != p->commit ||
	    (entry->state == REPLICA_FILLING && p->listed == REPLICA_ACTIVE)) {
		/* Taken out and added again meanwhile: whatever was under way to it, or asked for it, is void. */
		owner_slot_clear(s, slot);
		return;
	}
	p->leaving = entry->leaving;
	if (entry->state == REPLICA_ACTIVE) {
		p->listed = REPLICA_ACTIVE;
		p->counts = true;
		p->promoting = false;
		if (p->state == SLOT_JOINED)
			p->state = SLOT_SYNCED;
	}
}

void owner_adopt_list(struct step *s, const struct msg_chunk *chunk)
{
	struct owner *o = s->o;

	if (chunk->chunk != o->chunk || chunk->list_number <= o->list_number)
		return;
	o->list_number = chunk->list_number;
	o->floor = MAX(o->floor, chunk->floor);
	o->min_replicas = chunk->min_replicas;
	o->change.refused = false;
	FOR_EACH_SLOT (o, i) {
		const struct msg_list_entry *entry = list_find(chunk, o->slots[i].cid);

		if (entry)
			slot_adopt(s, i, entry);
		else
			owner_slot_clear(s, i);
	}
	for (uint32_t i = 0; i < chunk->replica_count; i++) {
		if (owner_find_slot(o, chunk->replicas[i].cid) < 0)
			slot_add(s, &chunk->replicas[i]);
	}
	if (o->phase == OWNER_ROLLING || o->phase == OWNER_SHORT)
		owner_start_sync(s); /* with other replicas: compare again from the start */
}

static void granted(struct step *s, const struct msg_chunk *chunk)
{
	struct owner *o = s->o;

	o->lease_asked = false;
	if (o->phase != OWNER_IDLE || chunk->status != WIRE_OK || chunk->chunk != o->chunk ||
	    chunk->epoch <= o->epoch)
		return;
	FOR_EACH_SLOT (o, i)
		owner_slot_clear(s, i);
	o->epoch = chunk->epoch;
	o->root_chunk = chunk->root_chunk;
	o->list_number = 0;
	o->floor = 0;
	o->lost = o->fences = false;
	memset(&o->change, 0, sizeof o->change);
	owner_adopt_list(s, chunk);
	owner_start_sync(s);
}

void owner_fence(struct step *s)
{
	struct owner *o = s->o;
	struct owner_request *r;

	if (o->phase == OWNER_FENCED)
		return;
	o->phase = OWNER_FENCED;
	o->returning = false;
	/* While it is known what is under way: the peers' promised_bytes serve other chunks too. */
	FOR_EACH_SLOT (o, i)
		owner_stop_stream(o, i);
	while ((r = TAILQ_FIRST(&o->movers)))
		owner_copy_end(s, r, WIRE_FENCED);
	owner_scrub_stop(s);
	while ((r = TAILQ_FIRST(&o->requests))) {
		if (r->operation == OWNER_COPY)
			owner_copy_end(s, r, WIRE_FENCED);
		else
			owner_complete(s, r, WIRE_FENCED);
	}
	FOR_EACH_SLOT (o, i)
		owner_slot_clear(s, i);
	owner_emit(s, OWNER_LEASE_LOST);
}

static void peer_up(struct step *s, unsigned slot)
{
	struct owner_slot *p = &s->o->slots[slot];

	assert(!p->streaming);
	p->taken_out = false;
	if (p->state == SLOT_FAILED)
		p->state = SLOT_NEW; /* judged again by what it answers now */
	if (s->o->phase == OWNER_SYNCING || s->o->phase == OWNER_ROLLING || p->counts)
		owner_ask_sync(s, slot);
}

static void peer_down(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];

	owner_stop_stream(o, slot);
	p->exchange_id = 0;
	p->covered_connection = 0;
	p->creating = false; /* CREATE may have gone with the connection */
	owner_abort_copies(s, slot);
	owner_scrub_slot_gone(s, slot);
	owner_redirect_reads(s, slot);
	if (!p->counts) {
		owner_leave_out(s, slot);
		return;
	}
	/* Before IO what was answered on this connection is asked again: it can't be compared with the others' out of reach. */
	if (p->state == SLOT_ASKED || (o->phase == OWNER_SYNCING && p->state == SLOT_SYNCED))
		p->state = SLOT_NEW;
	if ((o->phase == OWNER_ROLLING || o->phase == OWNER_SHORT) && !p->absent)
		owner_start_sync(s);
}

static void give_back(struct step *s)
{
	struct owner *o = s->o;

	if (o->phase == OWNER_IDLE || o->phase == OWNER_FENCED)
		return;
	o->returning = true;
}

static void answered(struct step *s, unsigned slot, const struct msg *msg)
{
	if (msg->status == WIRE_FENCED || msg->status == WIRE_NOT_OWNER) {
		owner_fence(s);
		return;
	}
	if (owner_scrub_answered(s, slot, msg))
		return;
	switch (msg->type) {
	case MSG_WRITE_OK:
		owner_write_answered(s, slot, msg);
		break;
	case MSG_READ_OK:
		owner_read_answered(s, slot, msg);
		break;
	case MSG_SYNC_OK:
	case MSG_CREATE_OK:
		owner_sync_answered(s, slot, msg);
		break;
	case MSG_COPY_OK:
		owner_copy_answered(s, slot, msg);
		break;
	case MSG_VERSIONS_OK: {
		struct owner_request *r = owner_request_by_id(s->o, msg->id);

		if (owner_room_answered(s, slot, msg))
			break;
		if (r)
			owner_extents_answered(s, r, msg);
		else if (s->o->phase == OWNER_ROLLING)
			owner_roll_answered(s, slot, msg);
		else
			owner_join_answered(s, slot, msg);
		break;
	}
	case MSG_MEND_BEGIN_OK:
	case MSG_MEND_END_OK:
		owner_roll_answered(s, slot, msg);
		break;
	case MSG_INVALIDATE_OK:
	case MSG_JOIN_OK:
		owner_join_answered(s, slot, msg);
		break;
	default:
		break; /* RELEASE_OK, late ones: nothing waits for them */
	}
}

/* The next owner need not wait: nothing is read any more on what was promised to this one. */
static void release(struct step *s)
{
	struct owner *o = s->o;

	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].peer->connection && o->slots[i].state != SLOT_NEW) {
			struct msg *msg = owner_emit_message(s, i, MSG_RELEASE);

			msg->u.position.chunk = o->chunk;
			msg->u.position.epoch = o->epoch;
			msg->u.position.position = (struct version){0};
		}
	}
}

/* metad shows a list: the present one, or that somebody else has the lease by now. */
static void shown(struct step *s, const struct msg_chunk *chunk)
{
	struct owner *o = s->o;

	if (o->phase == OWNER_IDLE || o->phase == OWNER_FENCED || chunk->chunk != o->chunk)
		return;
	if (chunk->epoch > o->epoch) {
		release(s);
		owner_fence(s);
	} else if (chunk->epoch == o->epoch) {
		owner_adopt_list(s, chunk);
	}
}

static void return_progress(struct step *s)
{
	struct owner *o = s->o;
	struct owner_action *a;

	if (!o->returning || !TAILQ_EMPTY(&o->requests) || !TAILQ_EMPTY(&o->window))
		return;
	release(s);
	a = owner_emit(s, OWNER_LEASE_RETURN);
	a->msg.type = MSG_LEASE_RETURN;
	a->msg.status = WIRE_OK;
	a->msg.payload = (struct slice){0};
	a->msg.u.lease_return.chunk = o->chunk;
	a->msg.u.lease_return.epoch = o->epoch;
	/* Only an owner that did IO knows what all have reached. */
	a->msg.u.lease_return.floor = o->phase == OWNER_IO ? o->settled : o->floor;
	FOR_EACH_SLOT (o, i)
		owner_slot_clear(s, i);
	o->returning = false;
	o->phase = OWNER_IDLE;
}

/* Copies hold up a return: they are given up. */
static void return_abort_copies(struct step *s)
{
	struct owner *o = s->o;

	if (!o->returning)
		return;
	o->scrub_asked = false;
	owner_scrub_stop(s);
	FOR_EACH_SLOT (o, i) {
		owner_abort_copies(s, i);
		if (o->joining == (int)i)
			owner_leave_out(s, i);
	}
}

void owner_progress(struct step *s)
{
	struct owner *o = s->o;

	if (o->phase == OWNER_IDLE) {
		if (!TAILQ_EMPTY(&o->requests) && !o->lease_asked) {
			o->lease_asked = true;
			owner_emit(s, OWNER_ASK_LEASE);
		}
		return;
	}
	retry_failed(s);
	if (o->phase == OWNER_SYNCING)
		owner_sync_progress(s);
	if (o->phase == OWNER_ROLLING)
		owner_roll_progress(s);
	if (!s->data || o->phase != OWNER_IO)
		owner_change_progress(s);
	if (o->phase == OWNER_SHORT && !o->returning) {
		owner_join_progress(s);
		owner_pump(s);
	}
	if (o->phase == OWNER_IO) {
		owner_settle(s);
		if (!o->returning) {
			owner_join_progress(s);
			owner_scrub_progress(s);
		}
		owner_pump(s);
	}
	return_abort_copies(s);
	return_progress(s);
}

/*
 * A replica names a chunk only after it has answered SYNC at the epoch that is over. A list that comes before its answer at our
 * epoch speaks of an earlier lease.
 */
static void taken_out(struct step *s, unsigned slot)
{
	const struct owner_slot *p = &s->o->slots[slot];

	if (p->covered_connection && p->covered_connection == p->peer->connection)
		owner_fence(s);
}

static void slot_event(struct step *s, const struct owner_event *ev)
{
	int slot = owner_find_slot(s->o, ev->cid);

	if (slot < 0)
		return;
	switch (ev->kind) {
	case OWNER_EVENT_MESSAGE:
		answered(s, (unsigned)slot, ev->msg);
		break;
	case OWNER_EVENT_PEER_UP:
		peer_up(s, (unsigned)slot);
		break;
	case OWNER_EVENT_PEER_DOWN:
		peer_down(s, (unsigned)slot);
		break;
	case OWNER_EVENT_TAKEN:
		taken_out(s, (unsigned)slot);
		break;
	default:
		break; /* GRANTED: owner_progress looks at the grants */
	}
}

static bool is_data(const struct owner_event *ev)
{
	if (ev->kind == OWNER_EVENT_MESSAGE)
		return ev->msg->status == WIRE_OK &&
		       (ev->msg->type == MSG_WRITE_OK || ev->msg->type == MSG_READ_OK);
	return ev->kind == OWNER_EVENT_REQUEST;
}

void owner_step(struct owner *o, const struct owner_event *ev, struct owner_update *up)
{
	struct step s = {.o = o, .up = up, .now_ns = ev->now_ns, .data = is_data(ev)};

	up->count = 0;
	if (o->given_up && o->phase != OWNER_FENCED)
		owner_fence(&s);
	switch (ev->kind) {
	case OWNER_EVENT_REQUEST:
		owner_admit(&s, ev->request);
		break;
	case OWNER_EVENT_CANCEL:
		if (ev->request->state != OWNER_REQUEST_WRITING)
			owner_complete(&s, ev->request, WIRE_IO_ERROR);
		break;
	case OWNER_EVENT_LEASE:
		granted(&s, ev->chunk);
		break;
	case OWNER_EVENT_LIST:
		shown(&s, ev->chunk);
		break;
	case OWNER_EVENT_CHANGED:
		owner_change_answered(&s, ev->status, &ev->msg->u.list);
		break;
	case OWNER_EVENT_META_UP:
		o->change.asked = false;
		o->change.retry_ns = 0;
		o->lease_asked = false;
		break;
	case OWNER_EVENT_SCRUB:
		o->scrub_asked = true;
		break;
	case OWNER_EVENT_RETURN:
		give_back(&s);
		break;
	case OWNER_EVENT_TICK:
		break;
	default:
		slot_event(&s, ev);
		break;
	}
	if (o->phase != OWNER_FENCED)
		owner_progress(&s);
}

void owner_give_up(struct owner *o)
{
	o->given_up = true;
}

bool owner_needs_tick(const struct owner *o)
{
	if (o->phase == OWNER_FENCED)
		return false;
	if (!TAILQ_EMPTY(&o->requests) || o->phase == OWNER_SYNCING || o->phase == OWNER_ROLLING ||
	    o->phase == OWNER_SHORT || o->change.asked || o->returning || owner_scrubs(o))
		return true;
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].listed == REPLICA_FILLING || o->slots[i].state == SLOT_FAILED)
			return true;
	}
	return false;
}

bool owner_fences(const struct owner *o)
{
	return o->fences && o->phase != OWNER_IDLE && o->phase != OWNER_FENCED;
}

bool owner_may_write(const struct owner *o)
{
	return o->phase == OWNER_IO;
}

bool owner_repaired(const struct owner *o)
{
	if (o->phase != OWNER_IO || o->change.asked || o->joining >= 0)
		return false;
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].listed != REPLICA_ACTIVE || o->slots[i].leaving)
			return false;
	}
	return true;
}
