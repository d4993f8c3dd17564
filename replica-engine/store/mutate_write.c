/* mutate_write.c - WRITE, ZERO and DISCARD: which way each unit of the range goes. */
#include "replica-engine/store/mutate.h"

enum way {
	WAY_JOURNAL,       /* blocks in the journal, the place stays */
	WAY_JOURNAL_FRESH, /* blocks in the journal, for a place that holds nothing yet */
	WAY_DIRECT,        /* the whole unit, straight to a fresh place */
	WAY_COW,           /* the unit is shared: joined with its old blocks, to a fresh place */
};

struct write_plan {
	uint32_t first, units;
	uint32_t taken, given_back, journal_blocks;
	bool cow;
	enum way ways[IO_BYTES_MAX / UNIT_BYTES + 1];
};

static enum way way_of(const struct store *store, const struct disk_unit *u, uint16_t mask)
{
	if (mask == UINT16_MAX)
		return WAY_DIRECT;
	if (!u || !u->place)
		return WAY_JOURNAL_FRESH;
	if (store->refs[u->place - 1] == 1)
		return WAY_JOURNAL;
	return u->data_mask & ~mask ? WAY_COW : WAY_JOURNAL_FRESH;
}

static void plan_write(const struct store *store, const struct chunk *c, const struct store_op *op,
		       struct write_plan *plan)
{
	*plan = (struct write_plan){.first = op->offset / UNIT_BYTES};
	plan->units = (op->offset + op->bytes - 1) / UNIT_BYTES - plan->first + 1;
	for (uint32_t i = 0; i < plan->units; i++) {
		const struct disk_unit *u = unit_find(c, plan->first + i);
		uint16_t mask = range_mask(op->offset, op->bytes, i);
		enum way way = way_of(store, u, mask);

		plan->ways[i] = way;
		plan->taken += way != WAY_JOURNAL;
		plan->given_back +=
			way == WAY_DIRECT && u && u->place && store->refs[u->place - 1] == 1;
		if (way == WAY_JOURNAL || way == WAY_JOURNAL_FRESH)
			plan->journal_blocks += (uint32_t)__builtin_popcount(mask);
		plan->cow |= way == WAY_COW;
	}
}

/* The data of unit i of the operation's range. */
static uint8_t *payload_at(struct store_op *op, uint32_t i)
{
	uint32_t first = op->offset / UNIT_BYTES;
	uint32_t from = MAX(op->offset, (first + i) * UNIT_BYTES);

	return slice_data(op_state(op)->payload) + (from - op->offset);
}

/* A batch that may hold a copy on write of this place: none whose blocks it would have to wait for. */
struct batch *batch_for_cow(struct store *store, uint32_t place, uint32_t record_bytes,
			    uint32_t data_bytes)
{
	struct batch *b = journal_collect(store, record_bytes, data_bytes);

	if (b && !TAILQ_EMPTY(&b->ops) && *recent_place(store, place) >= b->first_ticket) {
		journal_close_batch(store);
		b = journal_collect(store, record_bytes, data_bytes);
	}
	return b;
}

void start_cow(struct store *store, struct batch *b, const struct disk_unit *u, uint16_t kept_mask,
	       uint16_t new_mask, const uint8_t *data, const struct chunk *chunk, uint32_t unit,
	       struct disk_place *place)
{
	struct cow *c = cow_new(store, b);

	c->need_ticket = *recent_place(store, u->place - 1);
	c->old_place = u->place - 1;
	c->new_place = place->place;
	c->old_mask = kept_mask;
	c->first_block = unit * UNIT_BLOCKS;
	c->root_chunk = chunk->now.root_chunk;
	memcpy(c->crcs, u->crcs, sizeof c->crcs);
	c->verify_offset = (uint32_t)((uint8_t *)&place->verify_mask - b->header->data);
	place->verify_mask = c->old_mask | new_mask;
	for (unsigned block = 0; block < UNIT_BLOCKS; block++) {
		if (!(new_mask >> block & 1))
			continue;
		memcpy(c->buf->data + block * BLOCK_BYTES, data, BLOCK_BYTES);
		data += BLOCK_BYTES;
	}
	cow_start(c);
}

/* Whole units whose data and places both follow each other go in one request. */
static void write_direct_runs(struct store *store, struct batch *b, struct store_op *op,
			      const struct write_plan *plan, const struct disk_record_write *r)
{
	for (uint32_t i = 0; i < plan->units;) {
		uint32_t n = 1;

		if (plan->ways[i] != WAY_DIRECT) {
			i++;
			continue;
		}
		while (i + n < plan->units && plan->ways[i + n] == WAY_DIRECT &&
		       r->places[i + n].place == r->places[i].place + n)
			n++;
		direct_write(store, b, r->places[i].place, payload_at(op, i), n);
		i += n;
	}
}

static void place_unit(struct store *store, struct batch *b, struct store_op *op,
		       const struct chunk *c, const struct write_plan *plan, uint32_t i,
		       struct disk_place *p)
{
	const struct disk_unit *u = unit_find(c, plan->first + i);
	uint16_t mask = range_mask(op->offset, op->bytes, i);
	enum way way = plan->ways[i];

	p->place = way == WAY_JOURNAL ? u->place - 1 : place_take(store);
	if (way != WAY_JOURNAL)
		p->flags |= PLACE_FRESH;
	if (way == WAY_DIRECT || way == WAY_COW)
		p->flags |= PLACE_DIRECT;
	if (way == WAY_DIRECT)
		p->verify_mask = UINT16_MAX;
	if (way == WAY_COW)
		start_cow(store, b, u, u->data_mask & (uint16_t)~mask, mask, payload_at(op, i), c,
			  plan->first + i, p);
	if (way == WAY_JOURNAL || way == WAY_JOURNAL_FRESH)
		batch_add_data(b, payload_at(op, i),
			       (uint32_t)__builtin_popcount(mask) * BLOCK_BYTES);
	*recent_place(store, p->place) = op_state(op)->ticket;
}

/* The place of a unit of which blocks are shared; any of a write's (at most two) may be it. */
static struct batch *collect_write(struct store *store, const struct chunk *c,
				   const struct write_plan *plan, uint32_t record_bytes)
{
	uint32_t data_bytes = plan->journal_blocks * BLOCK_BYTES;
	struct batch *b = journal_collect(store, record_bytes, data_bytes);

	for (uint32_t i = 0; b && plan->cow && i < plan->units; i++)
		if (plan->ways[i] == WAY_COW)
			b = batch_for_cow(store, unit_find(c, plan->first + i)->place - 1,
					  record_bytes, data_bytes);
	return b;
}

bool admit_write(struct store *store, struct store_op *op)
{
	struct chunk *c = mutate_chunk(store, op->chunk);
	struct disk_record_write *r;
	struct write_plan plan;
	enum places_verdict room;
	uint32_t bytes;
	struct batch *b;

	if (!c)
		return mutate_answer(store, op, STORE_NOT_FOUND);
	assert(op->bytes > 0 && op->bytes <= IO_BYTES_MAX && op->offset % BLOCK_BYTES == 0 &&
	       op->bytes % BLOCK_BYTES == 0 &&
	       (uint64_t)op->offset + op->bytes <= c->now.chunk_bytes);
	plan_write(store, c, op, &plan);
	room = places_judge(store, plan.taken, plan.given_back, PLACES_NEW_DATA);
	if (room == PLACES_FULL ||
	    !pages_allow(store, pages_missing(c, plan.first, plan.first + plan.units - 1), false))
		return mutate_answer(store, op, STORE_NO_SPACE);
	if (room == PLACES_LATER)
		return false;
	bytes = record_write_bytes(plan.units, op->bytes / BLOCK_BYTES);
	b = collect_write(store, c, &plan, bytes);
	if (!b)
		return false;
	r = mutate_record(b, RECORD_WRITE, bytes, op);
	r->offset = op->offset;
	r->length = op->bytes;
	r->unit_count = plan.units;
	memcpy(&r->places[plan.units], op->crcs, op->bytes / BLOCK_BYTES * sizeof op->crcs[0]);
	for (uint32_t i = 0; i < plan.units; i++)
		place_unit(store, b, op, c, &plan, i, &r->places[i]);
	write_direct_runs(store, b, op, &plan, r);
	store->counters.writes++;
	store->counters.user_write_bytes += op->bytes;
	mutate_recorded(store, b, op, r);
	return true;
}

bool admit_zero(struct store *store, struct store_op *op)
{
	struct chunk *c = mutate_chunk(store, op->chunk);
	struct disk_record_zero *r;
	struct batch *b;

	if (!c)
		return mutate_answer(store, op, STORE_NOT_FOUND);
	assert(op->bytes > 0 && op->offset % BLOCK_BYTES == 0 && op->bytes % BLOCK_BYTES == 0 &&
	       (uint64_t)op->offset + op->bytes <= c->now.chunk_bytes);
	if (!pages_allow(store,
			 pages_missing(c, op->offset / UNIT_BYTES,
				       (op->offset + op->bytes - 1) / UNIT_BYTES),
			 true))
		return mutate_answer(store, op, STORE_NO_SPACE);
	b = journal_collect(store, sizeof *r, 0);
	if (!b)
		return false;
	r = mutate_record(b, RECORD_ZERO, sizeof *r, op);
	r->offset = op->offset;
	r->length = op->bytes;
	mutate_recorded(store, b, op, r);
	return true;
}
