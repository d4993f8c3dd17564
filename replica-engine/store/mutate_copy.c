/* mutate_copy.c - what repair and resync bring: COPY, REPAIR, INVALIDATE. */
#include "common/base/bits.h"
#include "replica-engine/store/mutate.h"

struct copy_plan {
	uint16_t taken, data, kept;
	bool to_journal, direct, cow, keep_place;
};

static void plan_copy(const struct store *store, const struct disk_unit *u,
		      const struct store_op *op, struct copy_plan *plan)
{
	bool partly = u && (u->flags & UNIT_INVALID) && u->valid_mask && !op->roll;

	*plan = (struct copy_plan){.taken = partly ? (uint16_t)~u->valid_mask : UINT16_MAX};
	if (op->data.buf)
		plan->data = plan->taken & (uint16_t)~op->zero_mask & (uint16_t)~op->bad_mask;
	plan->kept = u ? u->data_mask & (uint16_t)~plan->taken : 0;
	if (!plan->data)
		plan->keep_place = plan->kept != 0;
	else if (!plan->kept)
		plan->direct = __builtin_popcount(plan->data) * 2 > (int)UNIT_BLOCKS;
	else if (store->refs[u->place - 1] > 1)
		plan->cow = true;
	else
		plan->keep_place = true;
	plan->to_journal = plan->data && !plan->direct && !plan->cow;
}

static void add_masked_data(struct batch *b, uint8_t *data, uint16_t mask, bool dense)
{
	for (unsigned block = 0; block < UNIT_BLOCKS; block++) {
		if (mask >> block & 1) {
			batch_add_data(b, data, BLOCK_BYTES);
			data += BLOCK_BYTES;
		} else if (!dense) {
			data += BLOCK_BYTES;
		}
	}
}

/* Blocks of a whole unit that are in the mask, side by side. */
static void pack_blocks(uint8_t *to, const uint8_t *unit, uint16_t mask)
{
	for (unsigned block = 0; block < UNIT_BLOCKS; block++) {
		if (!(mask >> block & 1))
			continue;
		memcpy(to, unit + block * BLOCK_BYTES, BLOCK_BYTES);
		to += BLOCK_BYTES;
	}
}

static void place_copy(struct store *store, struct batch *b, struct store_op *op,
		       const struct chunk *c, const struct disk_unit *u,
		       const struct copy_plan *plan, struct disk_place *p)
{
	uint8_t *data = slice_data(op_state(op)->payload);

	p->place = PLACE_NONE;
	if (plan->keep_place) {
		p->place = u->place - 1;
	} else if (plan->data) {
		p->place = place_take(store);
		p->flags = PLACE_FRESH;
	}
	if (plan->direct) {
		p->flags |= PLACE_DIRECT;
		p->verify_mask = plan->data;
		direct_write(store, b, p->place, data, 1);
	} else if (plan->cow) {
		struct buf *packed = buf_new(UNIT_BYTES);

		p->flags |= PLACE_DIRECT;
		pack_blocks(packed->data, data, plan->data);
		start_cow(store, b, u, plan->kept, plan->data, packed->data, c, op->unit, p);
		buf_unref(packed);
	} else if (plan->to_journal) {
		add_masked_data(b, data, plan->data, false);
	}
	if (p->place != PLACE_NONE)
		*recent_place(store, p->place) = op_state(op)->ticket;
}

/* A version is never lowered under blocks that were written since the unit became invalid. */
static struct version copy_version(const struct disk_unit *u, const struct store_op *op)
{
	if (u && (u->flags & UNIT_INVALID) && u->valid_mask && !op->roll &&
	    version_compare(unit_version(u), op->position) > 0)
		return unit_version(u);
	return op->position;
}

bool admit_copy(struct store *store, struct store_op *op)
{
	struct chunk *c = mutate_chunk(store, op->chunk);
	struct disk_unit *u;
	struct disk_record_copy *r;
	struct copy_plan plan;
	enum places_verdict room;
	uint32_t data_bytes;
	struct version version;
	struct batch *b;

	if (!c)
		return mutate_answer(store, op, STORE_NOT_FOUND);
	assert(op->unit < c->unit_count);
	u = unit_find(c, op->unit);
	if (!op->roll && !(u && (u->flags & UNIT_INVALID)))
		return mutate_answer(store, op, STORE_NOT_APPLIED);
	plan_copy(store, u, op, &plan);
	room = places_judge(store, plan.data && !plan.keep_place,
			    u && u->place && store->refs[u->place - 1] == 1,
			    op->roll ? PLACES_ROLL : PLACES_REPAIR);
	if (room == PLACES_FULL || !pages_allow(store, !u, true))
		return mutate_answer(store, op, STORE_NO_SPACE);
	if (room == PLACES_LATER)
		return false;
	data_bytes = plan.to_journal ? (uint32_t)__builtin_popcount(plan.data) * BLOCK_BYTES : 0;
	b = plan.cow ? batch_for_cow(store, u->place - 1, sizeof *r, data_bytes)
		     : journal_collect(store, sizeof *r, data_bytes);
	if (!b)
		return false;
	version = copy_version(u, op);
	r = mutate_record(b, RECORD_COPY, sizeof *r, op);
	r->head.epoch = version.epoch;
	r->head.generation = version.generation;
	r->unit = op->unit;
	r->taken_mask = plan.taken;
	r->zero_mask = plan.taken & (uint16_t)~plan.data & (uint16_t)~op->bad_mask;
	r->bad_mask = plan.taken & op->bad_mask;
	memcpy(r->crcs, op->crcs, sizeof r->crcs);
	place_copy(store, b, op, c, u, &plan, &r->place);
	mutate_recorded(store, b, op, r);
	return true;
}

bool admit_repair(struct store *store, struct store_op *op)
{
	struct chunk *c = mutate_chunk(store, op->chunk);
	struct disk_unit *u;
	struct disk_record_repair *r;
	enum places_verdict room;
	struct batch *b;

	if (!c)
		return mutate_answer(store, op, STORE_NOT_FOUND);
	assert(op->unit < c->unit_count && op->block_mask);
	u = unit_find(c, op->unit);
	if (!u || (u->flags & UNIT_INVALID) || !version_equal(unit_version(u), op->position))
		return mutate_answer(store, op, STORE_NOT_APPLIED);
	room = u->place ? PLACES_ALLOW : places_judge(store, 1, 0, PLACES_REPAIR);
	if (room == PLACES_FULL)
		return mutate_answer(store, op, STORE_NO_SPACE);
	if (room == PLACES_LATER)
		return false;
	b = journal_collect(store, sizeof *r,
			    (uint32_t)__builtin_popcount(op->block_mask) * BLOCK_BYTES);
	if (!b)
		return false;
	r = mutate_record(b, RECORD_REPAIR, sizeof *r, op);
	r->unit = op->unit;
	r->block_mask = op->block_mask;
	memcpy(r->crcs, op->crcs, sizeof r->crcs);
	/* In place, also if the place is shared: the same version is the same content. */
	r->place.place = u->place ? u->place - 1 : place_take(store);
	r->place.flags = u->place ? 0 : PLACE_FRESH;
	add_masked_data(b, slice_data(op_state(op)->payload), op->block_mask, true);
	*recent_place(store, r->place.place) = op_state(op)->ticket;
	store->counters.repaired_blocks += (uint32_t)__builtin_popcount(op->block_mask);
	mutate_recorded(store, b, op, r);
	return true;
}

/* ---- INVALIDATE ---- */

static uint32_t differing_units(const struct chunk *c, const struct store_op *op, uint8_t *bits,
				uint32_t *missing)
{
	uint32_t count = 0, last_page = UINT32_MAX;

	for (uint32_t unit = 0; unit < c->unit_count; unit++) {
		const struct disk_unit *u;
		struct version have;

		if (page_lost(&c->table->pages[unit / UNITS_PER_PAGE])) {
			/* Nobody knows what it was. */
			bit_set(bits, unit);
			count++;
			continue;
		}
		u = unit_find(c, unit);
		have = u ? unit_version(u) : (struct version){0, 0};
		if (!(u && (u->flags & UNIT_INVALID)) && version_equal(have, op->in_versions[unit]))
			continue;
		bit_set(bits, unit);
		count++;
		if (!u && unit / UNITS_PER_PAGE != last_page) {
			last_page = unit / UNITS_PER_PAGE;
			(*missing)++;
		}
	}
	return count;
}

bool admit_invalidate(struct store *store, struct store_op *op)
{
	struct chunk *c = mutate_chunk(store, op->chunk);
	uint32_t bytes, missing = 0;
	struct disk_record_invalidate *r;
	struct batch *b;

	if (!c)
		return mutate_answer(store, op, STORE_NOT_FOUND);
	assert(op->unit_count == c->unit_count);
	free(op->invalid);
	op->invalid = xcalloc(1, (c->unit_count + 7) / 8);
	op->invalid_count = differing_units(c, op, op->invalid, &missing);
	if (!op->invalid_count)
		return mutate_answer(store, op, STORE_OK);
	if (!pages_allow(store, missing, true))
		return mutate_answer(store, op, STORE_NO_SPACE);
	bytes = (uint32_t)sizeof *r + ROUND_UP((c->unit_count + 7) / 8, 8u);
	b = journal_collect(store, bytes, 0);
	if (!b)
		return false;
	if (store->cache.limit)
		page_cache_replace_lost(store, c);
	r = mutate_record(b, RECORD_INVALIDATE, bytes, op);
	r->unit_count = c->unit_count;
	memcpy(r->bits, op->invalid, (c->unit_count + 7) / 8);
	mutate_recorded(store, b, op, r);
	return true;
}
