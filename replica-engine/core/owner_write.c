/*
 * owner_write.c - generations: sent to all at once, answered, settled in order, repeated after a broken connection.
 *
 * `window` holds what was sent and is not settled, by generation. A replica applies generations in order, so its
 * OK for g covers all before g. A generation settles when every required slot has it (those that count as ACTIVE, and a
 * FILLING one that has joined); generations settle in order.
 */
#include "replica-engine/core/owner_private.h"

#include "common/base/crc.h"

static void fill_write(const struct owner *o, const struct owner_request *r, struct msg *msg)
{
	msg->u.write.chunk = o->chunk;
	msg->u.write.epoch = o->epoch;
	msg->u.write.generation = r->generation;
	msg->u.write.offset = r->block_offset;
	msg->u.write.bytes = r->block_bytes;
	msg->u.write.kind = r->operation == OWNER_WRITE  ? WRITE_DATA
			    : r->operation == OWNER_ZERO ? WRITE_ZERO
							 : WRITE_DISCARD;
	msg->u.write.crcs = NULL;
	if (r->operation == OWNER_WRITE) {
		msg->u.write.crcs = r->crcs;
		msg->payload = r->data;
	}
}

static void send_generation(struct step *s, unsigned slot, struct owner_request *r)
{
	fill_write(s->o, r, owner_emit_message(s, slot, MSG_WRITE));
	s->o->slots[slot].peer->promised_bytes += owner_room_bytes(r);
}

bool owner_send_write(struct step *s, struct owner_request *r)
{
	struct owner *o = s->o;

	if (o->sent - o->settled >= WINDOW_GENERATIONS ||
	    o->window_bytes + r->block_bytes > WINDOW_BYTES)
		return false;
	if (r->operation == OWNER_WRITE) {
		enum owner_room room = owner_room_judge(s, r);

		if (room == OWNER_ROOM_NONE)
			owner_complete(s, r, WIRE_NO_SPACE); /* before it takes a generation */
		if (room != OWNER_ROOM)
			return true; /* those behind it may be discards */
		if (!r->crcs_valid)
			crc_blocks(o->root_chunk, r->block_offset / BLOCK_BYTES,
				   r->block_bytes / BLOCK_BYTES, slice_data(r->data), r->crcs);
		r->crcs_valid = true;
	} else {
		owner_room_forget(o);
	}
	TAILQ_REMOVE(&o->ready, r, queue);
	TAILQ_INSERT_TAIL(&o->window, r, queue);
	r->state = OWNER_REQUEST_WRITING;
	r->generation = ++o->sent;
	r->answered = 0;
	r->sent_ns = s->now_ns;
	o->position = (struct version){o->epoch, r->generation};
	o->window_bytes += r->block_bytes;
	FOR_EACH_SLOT (o, i) {
		if (owner_slot_required(&o->slots[i]) && o->slots[i].streaming)
			send_generation(s, i, r);
	}
	return true;
}

void owner_stop_stream(struct owner *o, unsigned slot)
{
	struct owner_slot *p = &o->slots[slot];
	struct owner_request *r;

	if (!p->streaming)
		return;
	p->streaming = false;
	TAILQ_FOREACH (r, &o->window, queue) {
		if (r->generation > p->answered_generation)
			p->peer->promised_bytes -=
				MIN(p->peer->promised_bytes, owner_room_bytes(r));
	}
}

void owner_retransmit(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	struct owner_request *r;

	assert(p->streaming);
	TAILQ_FOREACH (r, &o->window, queue) {
		if (r->generation <= p->answered_generation)
			continue;
		o->counters.retransmitted_generations++;
		send_generation(s, slot, r);
	}
}

static bool settled(const struct owner *o, const struct owner_request *r)
{
	FOR_EACH_SLOT (o, i) {
		if (owner_slot_required(&o->slots[i]) && !(r->answered >> i & 1))
			return false;
	}
	return true;
}

void owner_settle(struct step *s)
{
	struct owner *o = s->o;
	struct owner_request *r;

	while ((r = TAILQ_FIRST(&o->window)) && settled(o, r)) {
		assert(r->generation == o->settled + 1);
		o->settled = r->generation;
		o->window_bytes -= r->block_bytes;
		owner_complete(s, r, WIRE_OK);
	}
}

/* The replica has all generations up to g. */
static void mark_answered(struct owner *o, unsigned slot, uint64_t g)
{
	struct owner_slot *p = &o->slots[slot];
	struct owner_request *r;

	TAILQ_FOREACH (r, &o->window, queue) {
		if (r->generation > g)
			break;
		if (r->generation > p->answered_generation)
			p->peer->promised_bytes -=
				MIN(p->peer->promised_bytes, owner_room_bytes(r));
		r->answered |= 1u << slot;
	}
	p->answered_generation = MAX(p->answered_generation, g);
}

void owner_write_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[slot];
	const struct msg_write_ok *ok = &msg->u.write_ok;

	if (ok->epoch != o->epoch || !p->streaming || !owner_slot_required(p))
		return;
	switch (msg->status) {
	case WIRE_OK:
		if (ok->generation > o->sent)
			return; /* never sent: a confused peer grants nothing */
		p->peer->free_bytes = ok->free_bytes;
		p->retries = 0;
		mark_answered(o, slot, ok->generation);
		break;
	case WIRE_GAP:
	case WIRE_BAD_BLOCK: /* damaged on its way: nothing of it was applied */
	case WIRE_NO_SPACE:
		/*
		 * One that is being filled joins again, behind this write. A SYNC alone would neither bring what it misses nor
		 * keep the count of its invalid units.
		 */
		if (!p->counts) {
			owner_fill_failed(s, slot, msg->status);
			break;
		}
		/* Start over from what it has; what keeps failing is a failed replica. */
		if (p->retries++ >= 3) {
			owner_slot_failed(s, slot);
			owner_stop_stream(o, slot);
		} else if (msg->status != WIRE_GAP || p->exchange_id == 0) {
			owner_stop_stream(o, slot);
			owner_ask_sync(s, slot);
		}
		break;
	default: /* DISK_ERROR, NOT_FOUND, ...: it will not take this write */
		owner_stop_stream(o, slot);
		if (p->counts)
			owner_slot_failed(s, slot);
		else
			owner_fill_failed(s, slot, msg->status);
		break;
	}
}
