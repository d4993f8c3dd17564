/*
 * owner_sync.c - taking a lease: SYNC, comparing the answers, rolling forward.
 *
 * All ACTIVE replicas must answer SYNC at our epoch or be evicted. If position, digest and marks are equal, IO starts. Else the reference
 * is the highest position that is not mending, and every unit of the others that differs, newer or not, is replaced by the
 * reference's: those behind missed only writes that were never acknowledged, and what is newer elsewhere was not
 * either. MEND_BEGIN is durable before the first unit is rolled, MEND_END sets the reference's position: an
 * interrupted roll-forward shows. Any change of the set of replicas during this starts over from SYNC, since
 * their positions and versions are not what they were.
 *
 * Where an ACTIVE replica can be had no more (its disk is lost, its host is gone) and can't be evicted, since fewer than
 * min_replicas would remain, the others are made level as always, and then fill the replica that metad has added, in the phase
 * SHORT: no generation is sent and nothing is read in it. Each of them holds every acknowledged write, or it would not be ACTIVE,
 * and one of them fences the former owner; so what they fill is as good as they are. With it ACTIVE there are enough to evict
 * the other. Whatever happens to the set of replicas in this phase, all starts over from SYNC.
 *
 * In the phase IO the same SYNC resumes a replica after a broken connection: its answer says what it has, and
 * what it has not answered is sent again.
 */
#include "replica-engine/core/owner_private.h"

#include <stdlib.h>

void owner_slot_forget_versions(struct owner_slot *p)
{
	free(p->versions);
	free(p->invalid);
	p->versions = NULL;
	p->invalid = NULL;
}

void owner_start_sync(struct step *s)
{
	struct owner *o = s->o;
	struct owner_request *r;

	owner_room_forget(s->o);
	while ((r = TAILQ_FIRST(&o->movers)))
		owner_copy_end(s, r, WIRE_FENCED);
	o->phase = OWNER_SYNCING;
	o->reference = -1;
	FOR_EACH_SLOT (o, i) {
		struct owner_slot *p = &o->slots[i];

		owner_stop_stream(o, i);
		if (!p->counts) {
			if (p->state != SLOT_NEW)
				owner_leave_out(s, i);
			continue;
		}
		owner_slot_forget_versions(p);
		p->rolling = p->absent = false;
		if (p->state == SLOT_FAILED)
			continue;
		p->exchange_id = 0;
		p->state = SLOT_NEW;
		if (p->peer->connection)
			owner_ask_sync(s, i);
	}
}

static void send_create(struct step *s, unsigned slot)
{
	struct msg *msg = owner_emit_message(s, slot, MSG_CREATE);
	struct owner *o = s->o;

	msg->u.create.chunk = o->chunk;
	msg->u.create.epoch = o->epoch;
	msg->u.create.commit = o->slots[slot].commit;
	msg->u.create.root_chunk = o->root_chunk;
	msg->u.create.chunk_bytes = o->chunk_bytes;
}

void owner_ask_sync(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	struct msg *msg;

	/* A list that was never changed is that of a new chunk; a FILLING replica is mostly new: create on the way. */
	if (p->state == SLOT_NEW && (o->list_number <= 1 || p->listed == REPLICA_FILLING)) {
		p->creating = true;
		send_create(s, slot);
	}
	msg = owner_emit_message(s, slot, MSG_SYNC);
	msg->u.sync.chunk = o->chunk;
	msg->u.sync.epoch = o->epoch;
	p->exchange_id = msg->id;
	p->asked_ns = s->now_ns;
	p->promise_until_ns = 0;
	if (p->state == SLOT_NEW)
		p->state = SLOT_ASKED;
}

/* An answer at our epoch: from now on this connection's heartbeats cover the chunk. */
static void covered(struct owner_slot *p)
{
	if (p->covered_connection != p->peer->connection) {
		p->covered_connection = p->peer->connection;
		p->covered_asked_ns = p->asked_ns;
		p->taken_out = false;
	}
}

/* IO is under way: the replica is back on a new connection. */
static void resumed(struct step *s, unsigned slot, const struct msg_sync_ok *ok)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];

	if (p->state == SLOT_FAILED)
		return;
	if (ok->position.generation < p->answered_generation || ok->mending || ok->invalid_units) {
		owner_slot_failed(s, slot); /* its disk has lost what it had answered */
		return;
	}
	p->state = SLOT_SYNCED;
	p->streaming = true;
	owner_retransmit(s, slot);
}

static void not_found(struct step *s, unsigned slot)
{
	struct owner_slot *p = &s->o->slots[slot];

	if (p->creating || s->o->phase == OWNER_IO || s->o->phase == OWNER_SHORT) {
		if (p->counts)
			owner_slot_failed(s, slot);
		else
			owner_leave_out(s, slot);
		return;
	}
	p->creating = true;
	send_create(s, slot);
	owner_ask_sync(s, slot);
}

void owner_sync_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	const struct msg_sync_ok *ok = &msg->u.sync_ok;

	if (msg->type != MSG_SYNC_OK || msg->id != p->exchange_id)
		return;
	if (msg->status == WIRE_WAIT) {
		p->promise_until_ns = s->now_ns + MIN(ok->wait_ms * NS_PER_MS, PROMISE_WAIT_MAX_NS);
		return;
	}
	p->exchange_id = 0;
	p->promise_until_ns = 0;
	if (msg->status == WIRE_NOT_FOUND) {
		not_found(s, slot);
		return;
	}
	if (msg->status != WIRE_OK || ok->epoch != o->epoch) {
		if (p->counts)
			owner_slot_failed(s, slot);
		else
			owner_fill_failed(s, slot, msg->status);
		return;
	}
	covered(p);
	o->fences |= p->counts;
	p->peer->free_bytes = ok->free_bytes;
	p->position = ok->position;
	p->digest = ok->digest;
	p->mending = ok->mending;
	p->invalid_units = ok->invalid_units;
	if (o->phase == OWNER_IO && p->counts)
		resumed(s, slot, ok);
	else if (p->absent && (o->phase == OWNER_ROLLING || o->phase == OWNER_SHORT))
		owner_start_sync(s); /* it is there after all */
	else if (p->state == SLOT_ASKED || p->state == SLOT_NEW)
		p->state = SLOT_SYNCED;
}

/* Is a the better reference? One that was seen to be unreadable is the last, then those that are mending, then the lower positions. */
static bool better_reference(const struct owner_slot *a, const struct owner_slot *b)
{
	if (a->unreadable != b->unreadable)
		return b->unreadable;
	if (a->mending != b->mending)
		return b->mending;
	return version_compare(a->position, b->position) > 0;
}

/*
 * The one to which others are rolled: the highest position that is not mending. If all are (whoever rolled them
 * died together with its reference) the highest of them: each holds every acknowledged write, and the units in which
 * they differ are rolled as always. For the same reason another one may serve if blocks of the highest can't be read.
 * Never one with invalid units, or below the floor. -1: none.
 */
static int find_reference(const struct owner *o)
{
	int best = -1;

	FOR_EACH_SLOT (o, i) {
		const struct owner_slot *p = &o->slots[i];

		if (p->absent)
			continue;
		if (!p->counts || p->invalid_units || p->position.generation < o->floor)
			continue;
		if (best < 0 || better_reference(p, &o->slots[best]))
			best = (int)i;
	}
	return best;
}

bool owner_roll_elsewhere(struct step *s)
{
	struct owner *o = s->o;

	o->slots[o->reference].unreadable = true;
	FOR_EACH_SLOT (o, i) {
		const struct owner_slot *p = &o->slots[i];

		if (p->counts && p->state == SLOT_SYNCED && !p->unreadable && !p->invalid_units &&
		    p->position.generation >= o->floor) {
			owner_start_sync(s);
			return true;
		}
	}
	return false;
}

/* A failed one stays mending until it is evicted or asked again: what it holds is not the reference's. */
static bool to_be_level(const struct owner_slot *p)
{
	return p->counts && p->state != SLOT_FAILED && !p->absent;
}

static bool any_absent(const struct owner *o)
{
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].counts && o->slots[i].absent)
			return true;
	}
	return false;
}

static bool level(const struct owner_slot *p, const struct owner_slot *reference)
{
	return version_equal(p->position, reference->position) && p->digest == reference->digest &&
	       !p->mending && !p->invalid_units;
}

/* Those that count are level, all of them (IO) or all that can be had (SHORT). */
static void start_io(struct step *s)
{
	struct owner *o = s->o;
	const struct owner_slot *reference = &o->slots[o->reference];

	o->phase = any_absent(o) ? OWNER_SHORT : OWNER_IO;
	o->position = reference->position;
	o->sent = o->settled = reference->position.generation;
	FOR_EACH_SLOT (o, i) {
		struct owner_slot *p = &o->slots[i];

		if (!p->counts || p->absent)
			continue;
		assert(p->state == SLOT_SYNCED && level(p, reference));
		owner_slot_forget_versions(p);
		p->roll_failures = 0;
		p->answered_generation = o->sent;
		p->streaming =
			p->peer->connection != 0 && p->covered_connection == p->peer->connection;
	}
}

/* One that is not there can be done without for SHORT only if it can't be evicted, and if there is something to fill. */
static bool can_be_absent(const struct step *s, unsigned slot)
{
	const struct owner *o = s->o;
	unsigned others = owner_others_synced(s, slot);
	bool fills = false;

	FOR_EACH_SLOT (o, i)
		fills |= o->slots[i].listed == REPLICA_FILLING && !o->slots[i].counts;
	return fills && others > 0 && others < o->min_replicas && owner_is_out(s, slot);
}

/* True if all that count have answered SYNC, but for those that are absent. */
static bool all_answered(struct step *s)
{
	struct owner *o = s->o;
	bool all = true;

	FOR_EACH_SLOT (o, i) {
		struct owner_slot *p = &o->slots[i];

		if (!p->counts)
			continue;
		if (p->state == SLOT_NEW && p->peer->connection)
			owner_ask_sync(s, i);
		p->absent = p->state != SLOT_SYNCED && can_be_absent(s, i);
		all &= p->state == SLOT_SYNCED || p->absent;
	}
	return all;
}

void owner_sync_progress(struct step *s)
{
	struct owner *o = s->o;
	bool equal = true;

	if (!all_answered(s))
		return;
	o->reference = find_reference(o);
	if (o->reference < 0) {
		o->lost = true; /* said in status; never guessed */
		return;
	}
	o->lost = false;
	FOR_EACH_SLOT (o, i)
		equal &= !to_be_level(&o->slots[i]) || level(&o->slots[i], &o->slots[o->reference]);
	if (equal) {
		start_io(s);
		return;
	}
	o->phase = OWNER_ROLLING;
	FOR_EACH_SLOT (o, i) {
		struct owner_slot *p = &o->slots[i];
		struct msg *msg;

		if (!to_be_level(p))
			continue;
		msg = owner_emit_message(s, i, MSG_VERSIONS);
		msg->u.versions.chunk = o->chunk;
		msg->u.versions.epoch = o->epoch;
		p->exchange_id = msg->id;
		p->asked_ns = s->now_ns;
	}
}

/* ---- rolling ---- */

static void take_versions(struct owner *o, struct owner_slot *p,
			  const struct msg_version_list *list)
{
	size_t bitmap_bytes = (o->unit_count + 7) / 8;

	p->versions = xmalloc(o->unit_count * sizeof *p->versions);
	memcpy(p->versions, list->versions, o->unit_count * sizeof *p->versions);
	p->invalid = xcalloc(1, bitmap_bytes);
	if (list->invalid)
		memcpy(p->invalid, list->invalid, bitmap_bytes);
	p->next_unit = 0;
}

static void position_message(struct step *s, unsigned slot, enum msg_type type)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	struct msg *msg = owner_emit_message(s, slot, type);

	msg->u.position.chunk = o->chunk;
	msg->u.position.epoch = o->epoch;
	msg->u.position.position = o->slots[o->reference].position;
	p->exchange_id = msg->id;
	p->asked_ns = s->now_ns;
}

static bool differs(const struct owner *o, const struct owner_slot *p, uint32_t unit)
{
	return !version_equal(p->versions[unit], o->slots[o->reference].versions[unit]) ||
	       bit_get(p->invalid, unit);
}

/* All versions are known: mark those that will be rolled as mending. */
static bool begin_mending(struct step *s)
{
	struct owner *o = s->o;
	bool waiting = false;

	if (o->slots[o->reference].state == SLOT_FAILED)
		return false;
	FOR_EACH_SLOT (o, i) {
		if (to_be_level(&o->slots[i]) && !o->slots[i].versions)
			return false;
	}
	FOR_EACH_SLOT (o, i) {
		struct owner_slot *p = &o->slots[i];

		if (!to_be_level(p) || p->rolling || level(p, &o->slots[o->reference]))
			continue;
		if (!p->exchange_id)
			position_message(s, i, MSG_MEND_BEGIN);
		waiting = true;
	}
	return !waiting;
}

/* Units on their way to one slot; then MEND_END. */
static void roll_slot(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];

	while (p->state != SLOT_FAILED && p->copies < OWNER_COPIES_MAX &&
	       p->next_unit < o->unit_count) {
		if (differs(o, p, p->next_unit)) {
			struct owner_request *r =
				owner_copy_new(s, slot, p->next_unit, COPY_TO_ROLL);

			if (!r)
				return; /* the pool is in use: later */
		}
		p->next_unit++;
	}
	if (p->state != SLOT_FAILED && p->copies == 0 && p->next_unit == o->unit_count &&
	    !p->exchange_id)
		position_message(s, slot, MSG_MEND_END);
}

/* Has one failed that can't be rolled, nor evicted? Those that are left go on without it. */
static bool failed_can_be_absent(const struct step *s)
{
	const struct owner *o = s->o;

	FOR_EACH_SLOT (o, i) {
		const struct owner_slot *p = &o->slots[i];

		if (p->counts && p->state == SLOT_FAILED && !p->absent && can_be_absent(s, i))
			return true;
	}
	return false;
}

void owner_roll_progress(struct step *s)
{
	struct owner *o = s->o;
	bool level_all = true;

	if (failed_can_be_absent(s)) {
		owner_start_sync(s);
		return;
	}
	if (!begin_mending(s))
		return;
	FOR_EACH_SLOT (o, i) {
		struct owner_slot *p = &o->slots[i];

		if (!p->counts || p->absent || level(p, &o->slots[o->reference]))
			continue;
		level_all = false;
		if (to_be_level(p))
			roll_slot(s, i);
	}
	if (level_all)
		start_io(s);
}

/* It is asked again, later each time: what is left of the replicas may be filling another one meanwhile, and would start over. */
static void roll_failed(struct step *s, unsigned slot)
{
	struct owner_slot *p = &s->o->slots[slot];

	owner_slot_failed(s, slot);
	p->retry_ns = s->now_ns + (FAILED_RETRY_NS << p->roll_failures);
	if (p->roll_failures < ROLL_FAILURES_MAX)
		p->roll_failures++;
}

void owner_roll_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];

	if (o->phase != OWNER_ROLLING || msg->id != p->exchange_id)
		return;
	p->exchange_id = 0;
	if (msg->status != WIRE_OK) {
		roll_failed(s, slot);
		return;
	}
	switch (msg->type) {
	case MSG_VERSIONS_OK:
		if (msg->u.version_list.unit_count != o->unit_count) {
			roll_failed(s, slot);
			return;
		}
		take_versions(o, p, &msg->u.version_list);
		break;
	case MSG_MEND_BEGIN_OK:
		p->rolling = true;
		p->mending = true;
		break;
	case MSG_MEND_END_OK:
		p->rolling = false;
		p->mending = false;
		p->invalid_units = 0;
		p->position = o->slots[o->reference].position;
		p->digest = o->slots[o->reference].digest;
		break;
	default:
		break;
	}
}

void owner_rolled_unit(struct step *s, struct owner_request *r, enum wire_status status)
{
	if (status == WIRE_FENCED || s->o->phase != OWNER_ROLLING)
		return; /* given up */
	if (status != WIRE_OK)
		roll_failed(s, r->destination);
}
