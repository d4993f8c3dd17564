/*
 * owner_scrub.c - the scrub of a chunk: every unit that was ever written is read at every ACTIVE replica, and the copies compared
 * (owner_scrub_unit.c).
 *
 * It first asks each replica for its versions, which name the units. A unit at which a connection broke is read again, up to SCRUB_PASSES
 * times. The engine gives the pace: a unit is begun while there is scrub_budget_bytes left.
 */
#include "replica-engine/core/owner_scrub.h"

#include <stdlib.h>

/* Those that are out of reach are waited for as long before a unit is read without them. */
#define SCRUB_PATIENCE_NS (10 * NS_PER_S)
#define SCRUB_TELL_NS     (2 * NS_PER_S)
#define LIST_AGAIN_NS     (1 * NS_PER_S)

void owner_scrub_free(struct owner *o)
{
	if (!o->scrub)
		return;
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++) {
		for (unsigned j = 0; j < REPLICAS_MAX; j++) {
			slice_unref(&o->scrub->units[i].parts[j].data);
			slice_unref(&o->scrub->units[i].parts[j].packed);
		}
	}
	free(o->scrub->wanted);
	free(o->scrub);
	o->scrub = NULL;
}

bool owner_scrubs(const struct owner *o)
{
	return o->scrub_asked || (o->scrub && o->scrub->active);
}

void scrub_tell(struct step *s, struct msg_scrubbed *result, bool last)
{
	struct owner_action *a = owner_emit(s, OWNER_SCRUBBED);

	result->chunk = s->o->chunk;
	result->epoch = s->o->epoch;
	result->last = last;
	a->msg.type = MSG_SCRUBBED;
	a->msg.status = WIRE_OK;
	a->msg.payload = (struct slice){0};
	a->msg.u.scrubbed = *result;
}

static void begin(struct step *s)
{
	struct owner *o = s->o;
	struct owner_scrub *scrub = scrub_get(o);

	o->scrub_asked = false;
	if (scrub->active)
		return;
	scrub->active = scrub->listing = true;
	scrub->lists_asked = scrub->list_heard = false;
	scrub->told_ns = s->now_ns;
	scrub->away_since_ns = scrub->listed_ns = 0;
	scrub->next_unit = scrub->pass = 0;
	scrub->result = (struct msg_scrubbed){.whole = true};
	free(scrub->wanted);
	scrub->wanted = xcalloc(1, (o->unit_count + 7) / 8);
}

static void chunk_end(struct step *s)
{
	struct owner_scrub *scrub = s->o->scrub;

	scrub->active = false;
	s->o->counters.scrubs++;
	scrub_tell(s, &scrub->result, true);
}

/* Replicas that count and can't be asked are waited for, but not for ever. False: wait. */
static bool all_in_reach(struct step *s)
{
	struct owner *o = s->o;
	bool all = true;

	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].counts)
			all &= o->slots[i].streaming;
	}
	if (all)
		o->scrub->away_since_ns = 0;
	else if (!o->scrub->away_since_ns)
		o->scrub->away_since_ns = s->now_ns;
	return all || s->now_ns - o->scrub->away_since_ns > SCRUB_PATIENCE_NS;
}

static void ask_lists(struct step *s)
{
	struct owner *o = s->o;
	struct owner_scrub *scrub = o->scrub;

	memset(scrub->list_ids, 0, sizeof scrub->list_ids);
	FOR_EACH_SLOT (o, i) {
		struct msg *msg;

		if (!o->slots[i].counts || !o->slots[i].streaming)
			continue;
		msg = owner_emit_message(s, i, MSG_VERSIONS);
		msg->u.versions.chunk = o->chunk;
		msg->u.versions.epoch = o->epoch;
		scrub->list_ids[i] = msg->id;
		scrub->lists_asked = true;
	}
	scrub->listed_ns = s->now_ns;
}

/* The units that were ever written, anywhere. */
static void list_units(struct step *s)
{
	struct owner *o = s->o;
	struct owner_scrub *scrub = o->scrub;

	if (!scrub->lists_asked) {
		if (s->now_ns - scrub->listed_ns >= LIST_AGAIN_NS)
			ask_lists(s);
		return;
	}
	FOR_EACH_SLOT (o, i) {
		if (scrub->list_ids[i] && s->now_ns - scrub->listed_ns < SCRUB_SILENT_NS)
			return;
	}
	scrub->lists_asked = false;
	if (!scrub->list_heard)
		return; /* again */
	scrub->listing = false;
	memset(scrub->list_ids, 0, sizeof scrub->list_ids);
	for (uint32_t unit = 0; unit < o->unit_count; unit++)
		scrub->result.units += bit_get(scrub->wanted, unit);
}

static void listed(struct owner *o, unsigned slot, const struct msg *msg)
{
	const struct msg_version_list *list = &msg->u.version_list;

	o->scrub->list_ids[slot] = 0;
	if (msg->status != WIRE_OK || list->unit_count != o->unit_count)
		return;
	o->scrub->list_heard = true;
	for (uint32_t unit = 0; unit < o->unit_count; unit++) {
		if (list->versions[unit].epoch || list->versions[unit].generation ||
		    (list->allocated && bit_get(list->allocated, unit)))
			bit_set(o->scrub->wanted, unit);
	}
}

static void begin_units(struct step *s)
{
	struct owner *o = s->o;
	struct owner_scrub *scrub = o->scrub;

	while (scrub->under_way < SCRUB_UNITS_MAX && o->scrub_budget_bytes > 0) {
		if (scrub->next_unit == o->unit_count) {
			if (scrub->under_way)
				return;
			if (scrub->result.units_done == scrub->result.units ||
			    ++scrub->pass == SCRUB_PASSES) {
				chunk_end(s);
				return;
			}
			scrub->next_unit = 0;
		}
		if (bit_get(scrub->wanted, scrub->next_unit)) {
			if (!all_in_reach(s) || !scrub_unit_new(s, scrub->next_unit, true))
				return;
			o->scrub_budget_bytes -= MIN(o->scrub_budget_bytes, UNIT_BYTES);
		}
		scrub->next_unit++;
	}
}

/* ---- what the other files call ---- */

bool owner_scrub_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner_scrub *scrub = s->o->scrub;

	if (!scrub)
		return false;
	if (msg->type == MSG_VERSIONS_OK && scrub->listing && scrub->list_ids[slot] == msg->id) {
		listed(s->o, slot, msg);
		return true;
	}
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++) {
		struct scrub_unit *u = &scrub->units[i];

		if (u->r.state == OWNER_REQUEST_DONE || u->parts[slot].id != msg->id)
			continue;
		scrub_unit_answered(s, u, slot, msg);
		return true;
	}
	return false;
}

void owner_scrub_slot_gone(struct step *s, unsigned slot)
{
	struct owner_scrub *scrub = s->o->scrub;

	if (!scrub)
		return;
	scrub->list_ids[slot] = 0;
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++) {
		struct scrub_unit *u = &scrub->units[i];
		struct part *part = &u->parts[slot];

		if (u->r.state == OWNER_REQUEST_DONE || part->state == PART_NONE)
			continue;
		/* The slot may be another replica's next. */
		part->state = u->r.state == OWNER_REQUEST_WRITING ? PART_NONE : PART_GONE;
		scrub_unit_progress(s, u);
	}
}

void owner_scrub_stop(struct step *s)
{
	struct owner_scrub *scrub = s->o->scrub;

	if (!scrub)
		return;
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++) {
		if (scrub->units[i].r.state != OWNER_REQUEST_DONE)
			scrub_unit_end(s, &scrub->units[i], false);
	}
	scrub->active = scrub->listing = false;
}

static void silent_parts(struct step *s, struct scrub_unit *u)
{
	if ((u->r.state != OWNER_REQUEST_READING && u->r.state != OWNER_REQUEST_WRITING) ||
	    s->now_ns - u->r.sent_ns < SCRUB_SILENT_NS)
		return;
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		if (u->parts[i].state == PART_ASKED)
			u->parts[i].state = PART_GONE;
		else if (u->parts[i].state == PART_MENDED)
			u->parts[i].state = PART_NONE;
	}
	scrub_unit_progress(s, u);
}

void owner_scrub_progress(struct step *s)
{
	struct owner *o = s->o;
	struct owner_scrub *scrub;

	if (o->scrub_asked)
		begin(s);
	scrub = o->scrub;
	if (!scrub)
		return;
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++)
		silent_parts(s, &scrub->units[i]);
	if (!scrub->active)
		return;
	if (scrub->listing)
		list_units(s);
	else
		begin_units(s);
	if (scrub->active && s->now_ns - scrub->told_ns >= SCRUB_TELL_NS) {
		scrub->told_ns = s->now_ns;
		scrub_tell(s, &scrub->result, false);
	}
}
