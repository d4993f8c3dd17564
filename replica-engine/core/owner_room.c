/*
 * owner_room.c - is there room for a write? Judged before it takes a generation: a generation that one replica refused
 * while others have it could only be settled by leaving that replica out.
 *
 * What a replica tells (`free_bytes`) is promised to this engine alone; it counts whole units, since that is what new data takes, however
 * few blocks of it are written. So does promised_bytes, over all chunks of the engine. When the rest is too little for a
 * write, answers under way may bring better news: it waits for them. When there are none, only what is there already can be
 * written, which needs no room at a replica: the owner asks every replica that must take the write for the units that
 * hold data, and lets a write go that touches only units that all of them have. (Not of a clone: its units may be
 * shared.) These answers stay true as long as this owner discards nothing, so they are forgotten when it does; they
 * also bring the latest news about room, so a write that is refused was refused by news of at most ROOM_FRESH_NS ago.
 */
#include "replica-engine/core/owner_private.h"

#include <stdlib.h>

#define ROOM_FRESH_NS  (1 * NS_PER_S)
#define ROOM_SILENT_NS EVICT_SILENT_NS

uint64_t owner_room_bytes(const struct owner_request *r)
{
	uint32_t first = r->block_offset / UNIT_BYTES;
	uint32_t last = (r->block_offset + r->block_bytes - 1) / UNIT_BYTES;

	return r->operation == OWNER_WRITE ? (last - first + 1) * (uint64_t)UNIT_BYTES : 0;
}

void owner_room_forget(struct owner *o)
{
	o->room.known = false;
	memset(o->room.ids, 0, sizeof o->room.ids);
	o->room.asked_ns = 0;
}

static bool is_asking(const struct owner *o)
{
	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		if (o->room.ids[i])
			return true;
	return false;
}

/* Do all units that the write touches hold data at every replica that must take it? */
static bool is_held(const struct owner *o, const struct owner_request *r)
{
	uint32_t last = (r->block_offset + r->block_bytes - 1) / UNIT_BYTES;

	if (!o->room.known)
		return false;
	FOR_EACH_SLOT (o, i) {
		if (owner_slot_required(&o->slots[i]) &&
		    (!o->room.connections[i] ||
		     o->room.connections[i] != o->slots[i].peer->connection))
			return false;
	}
	for (uint32_t unit = r->block_offset / UNIT_BYTES; unit <= last; unit++)
		if (!bit_get(o->room.held, unit))
			return false;
	return true;
}

/* An answer could be overtaken by a discard that is still under way. */
static bool may_ask(const struct owner *o)
{
	const struct owner_request *r;

	TAILQ_FOREACH (r, &o->window, queue) {
		if (r->operation != OWNER_WRITE)
			return false;
	}
	FOR_EACH_SLOT (o, i) {
		if (owner_slot_required(&o->slots[i]) && !o->slots[i].streaming)
			return false;
	}
	return true;
}

static void ask(struct step *s)
{
	struct owner *o = s->o;

	owner_room_forget(o);
	o->room.asked_ns = s->now_ns;
	if (!o->room.held)
		o->room.held = xmalloc((o->unit_count + 7) / 8);
	memset(o->room.held, 0xff, (o->unit_count + 7) / 8);
	memset(o->room.connections, 0, sizeof o->room.connections);
	FOR_EACH_SLOT (o, i) {
		struct msg *msg;

		if (!owner_slot_required(&o->slots[i]))
			continue;
		msg = owner_emit_message(s, i, MSG_VERSIONS);
		msg->u.versions.chunk = o->chunk;
		msg->u.versions.epoch = o->epoch;
		o->room.ids[i] = msg->id;
	}
}

enum owner_room owner_room_judge(struct step *s, const struct owner_request *r)
{
	struct owner *o = s->o;
	bool fits = true, under_way = false;

	FOR_EACH_SLOT (o, i) {
		const struct owner_peer *peer = o->slots[i].peer;

		if (!owner_slot_required(&o->slots[i]) || peer->free_bytes == UINT64_MAX ||
		    peer->free_bytes >= peer->promised_bytes + owner_room_bytes(r))
			continue;
		fits = false;
		under_way |= peer->promised_bytes > 0;
	}
	if (fits || is_held(o, r))
		return OWNER_ROOM;
	if (under_way)
		return OWNER_ROOM_LATER;
	if (is_asking(o) && s->now_ns - o->room.asked_ns < ROOM_SILENT_NS)
		return OWNER_ROOM_LATER;
	if (o->room.known && s->now_ns - o->room.asked_ns < ROOM_FRESH_NS)
		return OWNER_ROOM_NONE;
	if (may_ask(o))
		ask(s);
	return OWNER_ROOM_LATER;
}

bool owner_room_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner *o = s->o;
	const struct msg_version_list *list = &msg->u.version_list;

	if (!msg->id || o->room.ids[slot] != msg->id)
		return false;
	if (msg->status != WIRE_OK || list->unit_count != o->unit_count) {
		owner_room_forget(o);
		return true;
	}
	o->room.ids[slot] = 0;
	o->room.connections[slot] = o->slots[slot].peer->connection;
	o->slots[slot].peer->free_bytes = list->free_bytes;
	for (uint32_t i = 0; i < (o->unit_count + 7) / 8; i++)
		o->room.held[i] &=
			list->allocated && o->root_chunk == o->chunk ? list->allocated[i] : 0;
	o->room.known = !is_asking(o);
	return true;
}
