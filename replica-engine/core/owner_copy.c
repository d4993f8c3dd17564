/*
 * owner_copy.c - one unit on its way from a replica to another: to fill, or to roll forward.
 *
 * A COPY to fill is a request like any other in the order of the chunk: it reads its unit, so it waits for writes in
 * flight there, and later writes wait for its answer. A COPY to roll runs before IO starts and stands in `movers`. They come from
 * a small pool, so that filling a chunk never takes more than OWNER_COPIES_MAX units of memory.
 */
#include "replica-engine/core/owner_private.h"

static struct owner_request *pool_take(struct owner *o)
{
	if (!o->copy_pool) {
		o->copy_pool = xcalloc(OWNER_COPIES_MAX, sizeof *o->copy_pool);
		for (unsigned i = 0; i < OWNER_COPIES_MAX; i++)
			o->copy_pool[i].state = OWNER_REQUEST_DONE;
	}
	for (unsigned i = 0; i < OWNER_COPIES_MAX; i++) {
		struct owner_request *r = &o->copy_pool[i];

		if (r->state == OWNER_REQUEST_DONE) {
			memset(r, 0, sizeof *r);
			return r;
		}
	}
	return NULL;
}

static bool under_way(const struct owner *o, unsigned slot, uint32_t unit)
{
	if (!o->copy_pool)
		return false;
	for (unsigned i = 0; i < OWNER_COPIES_MAX; i++) {
		const struct owner_request *r = &o->copy_pool[i];

		if (r->state != OWNER_REQUEST_DONE && r->unit == unit && r->destination == slot)
			return true;
	}
	return false;
}

struct owner_request *owner_copy_new(struct step *s, unsigned slot, uint32_t unit,
				     enum owner_copy_purpose purpose)
{
	struct owner *o = s->o;
	struct owner_request *r;

	if (under_way(o, slot, unit) || !(r = pool_take(o)))
		return NULL;
	r->operation = OWNER_COPY;
	r->purpose = (uint8_t)purpose;
	r->unit = unit;
	r->destination = (uint8_t)slot;
	r->offset = unit * UNIT_BYTES;
	r->bytes = UNIT_BYTES;
	if (purpose == COPY_TO_FILL)
		r->generation = o->slots[slot].join_generation;
	o->slots[slot].copies++;
	o->copies++;
	if (purpose == COPY_TO_ROLL) {
		r->block_offset = r->offset;
		r->block_bytes = r->bytes;
		r->state = OWNER_REQUEST_READING;
		TAILQ_INSERT_TAIL(&o->movers, r, link);
		if (!owner_send_read(s, r))
			owner_copy_end(s, r, WIRE_DISK_ERROR);
	} else {
		owner_admit(s, r);
	}
	return r;
}

void owner_copy_end(struct step *s, struct owner_request *r, enum wire_status status)
{
	struct owner *o = s->o;
	struct owner_slot *p = &o->slots[r->destination];

	assert(r->operation == OWNER_COPY && r->state != OWNER_REQUEST_DONE);
	slice_unref(&r->data);
	if (r->purpose == COPY_TO_ROLL) {
		TAILQ_REMOVE(&o->movers, r, link);
		r->state = OWNER_REQUEST_DONE;
	} else {
		owner_unlink(s, r);
	}
	r->id = 0;
	assert(o->copies > 0 && p->copies > 0);
	o->copies--;
	p->copies--;
	if (status == WIRE_OK)
		o->counters.copied_units++;
	if (r->purpose == COPY_TO_ROLL)
		owner_rolled_unit(s, r, status);
	else
		owner_filled_unit(s, r, status);
}

/* Bit masks of the unit that was read: zero blocks, and blocks that were good nowhere. */
static uint16_t mask16(const uint8_t *bits)
{
	return (uint16_t)(bits[0] | bits[1] << 8);
}

static void send_copy(struct step *s, struct owner_request *r, uint16_t zero, uint16_t bad)
{
	struct msg *msg = owner_emit_message(s, r->destination, MSG_COPY);

	msg->u.copy.chunk = s->o->chunk;
	msg->u.copy.epoch = s->o->epoch;
	msg->u.copy.unit = r->unit;
	msg->u.copy.mode = r->purpose == COPY_TO_ROLL ? COPY_ROLL : COPY_FILL;
	msg->u.copy.version = r->version;
	msg->u.copy.zero_mask = zero;
	msg->u.copy.bad_mask = bad;
	memcpy(msg->u.copy.crcs, r->crcs, sizeof msg->u.copy.crcs);
	if ((uint16_t)(zero | bad) != 0xffff) {
		assert(r->data.bytes == UNIT_BYTES);
		msg->payload = r->data;
	}
	r->id = msg->id;
}

void owner_copy_read_done(struct step *s, struct owner_request *r)
{
	struct owner_slot *p = &s->o->slots[r->destination];
	uint16_t missing = mask16(r->missing);
	uint16_t zero = mask16(r->zero);

	if (!p->peer->connection) {
		owner_copy_end(s, r, WIRE_FENCED);
		return;
	}
	r->state = OWNER_REQUEST_WRITING;
	r->sent_ns = s->now_ns;
	send_copy(s, r, zero, missing);
}

/*
 * A roll goes on with another reference: any ACTIVE replica holds every acknowledged write. Where there is none, and in a fill, the
 * blocks are copied as known bad, so that both end; the version is then what the list of versions said.
 */
void owner_copy_unreadable(struct step *s, struct owner_request *r)
{
	struct owner *o = s->o;

	if (r->purpose == COPY_TO_ROLL && owner_roll_elsewhere(s))
		return;
	if (!r->partial)
		r->version = o->slots[r->purpose == COPY_TO_ROLL ? (unsigned)o->reference
								 : r->destination]
				     .versions[r->unit];
	owner_copy_read_done(s, r);
}

void owner_copy_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner_request *r = owner_request_by_id(s->o, msg->id);

	if (!r || r->operation != OWNER_COPY || r->state != OWNER_REQUEST_WRITING ||
	    r->destination != slot)
		return;
	owner_copy_end(s, r, msg->status);
}

void owner_abort_copies(struct step *s, unsigned slot)
{
	struct owner *o = s->o;

	if (!o->copy_pool)
		return;
	for (unsigned i = 0; i < OWNER_COPIES_MAX; i++) {
		struct owner_request *r = &o->copy_pool[i];

		if (r->state != OWNER_REQUEST_DONE && r->destination == slot)
			owner_copy_end(s, r, WIRE_FENCED);
	}
}
