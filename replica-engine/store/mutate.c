/*
 * mutate.c - mutations: planned against what is in memory, recorded, applied.
 *
 * An operation is admitted when the journal has room for its record and blocks, in the order of submission; until then it
 * waits, and nothing of it is in memory except what chunk->submitted shows. Being admitted, its effect in memory is
 * immediate and its place in the order is fixed by its batch. An operation that changes nothing (no space, no such chunk) takes its
 * place in a batch all the same, so that answers stay in order.
 */
#include "replica-engine/store/store_internal.h"

#include "common/base/prng.h"

uint64_t *recent_unit(struct store *store, uint64_t chunk, uint32_t unit)
{
	return &store->recent_units[mix64(chunk * 16384 + unit) % RECENT_SLOTS];
}

uint64_t *recent_place(struct store *store, uint32_t place)
{
	return &store->recent_places[mix64(place) % RECENT_SLOTS];
}

/* The operation's answer is known, and nothing changes. */
static bool answer(struct store *store, struct store_op *op, enum store_status status)
{
	op->status = status;
	op_state(op)->recorded = false;
	batch_add_op(journal_collect(store, 0, 0), op);
	return true;
}

static void *record_new(struct batch *b, enum disk_record_kind kind, uint32_t bytes,
			const struct store_op *op)
{
	struct disk_record *r = batch_record(b, bytes);

	*r = (struct disk_record){
		.kind = (uint16_t)kind,
		.bytes = bytes,
		.chunk = op->chunk,
		.epoch = op->position.epoch,
		.generation = op->position.generation,
	};
	return r;
}

static void recorded(struct store *store, struct batch *b, struct store_op *op, void *record)
{
	bool applied;

	op->status = STORE_OK;
	op_state(op)->recorded = true;
	assert(record_valid(store, record, RECORD_BYTES_MAX));
	applied = apply_record(store, record);
	assert(applied);
	(void)applied;
	batch_add_op(b, op);
}

static struct chunk *existing(const struct store *store, uint64_t id)
{
	struct chunk *c = chunk_find(store, id);

	return c && c->now.exists ? c : NULL;
}

/* ---- WRITE ---- */

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
static struct batch *batch_for_cow(struct store *store, uint32_t place, uint32_t record_bytes,
				   uint32_t data_bytes)
{
	struct batch *b = journal_collect(store, record_bytes, data_bytes);

	if (b && !TAILQ_EMPTY(&b->ops) && *recent_place(store, place) >= b->first_ticket) {
		journal_close_batch(store);
		b = journal_collect(store, record_bytes, data_bytes);
	}
	return b;
}

static void start_cow(struct store *store, struct batch *b, const struct disk_unit *u,
		      uint16_t new_mask, const uint8_t *data, const struct chunk *chunk,
		      uint32_t unit, struct disk_place *place)
{
	struct cow *c = cow_new(store, b);

	c->need_ticket = *recent_place(store, u->place - 1);
	c->old_place = u->place - 1;
	c->new_place = place->place;
	c->old_mask = u->data_mask & (uint16_t)~new_mask & (uint16_t)~u->bad_mask;
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
		start_cow(store, b, u, mask, payload_at(op, i), c, plan->first + i, p);
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

static bool admit_write(struct store *store, struct store_op *op)
{
	struct chunk *c = existing(store, op->chunk);
	struct disk_record_write *r;
	struct write_plan plan;
	uint32_t bytes;
	struct batch *b;

	if (!c)
		return answer(store, op, STORE_NOT_FOUND);
	assert(op->bytes > 0 && op->bytes <= IO_BYTES_MAX && op->offset % BLOCK_BYTES == 0 &&
	       op->bytes % BLOCK_BYTES == 0 &&
	       (uint64_t)op->offset + op->bytes <= c->now.chunk_bytes);
	plan_write(store, c, op, &plan);
	if (!places_allow(store, plan.taken, plan.given_back, false) ||
	    !pages_allow(store, pages_missing(c, plan.first, plan.first + plan.units - 1)))
		return answer(store, op, STORE_NO_SPACE);
	bytes = record_write_bytes(plan.units, op->bytes / BLOCK_BYTES);
	b = collect_write(store, c, &plan, bytes);
	if (!b)
		return false;
	r = record_new(b, RECORD_WRITE, bytes, op);
	r->offset = op->offset;
	r->length = op->bytes;
	r->unit_count = plan.units;
	memcpy(&r->places[plan.units], op->crcs, op->bytes / BLOCK_BYTES * sizeof op->crcs[0]);
	for (uint32_t i = 0; i < plan.units; i++)
		place_unit(store, b, op, c, &plan, i, &r->places[i]);
	write_direct_runs(store, b, op, &plan, r);
	store->counters.writes++;
	store->counters.user_write_bytes += op->bytes;
	recorded(store, b, op, r);
	return true;
}

static bool admit_zero(struct store *store, struct store_op *op)
{
	struct chunk *c = existing(store, op->chunk);
	struct disk_record_zero *r;
	struct batch *b;

	if (!c)
		return answer(store, op, STORE_NOT_FOUND);
	assert(op->bytes > 0 && op->offset % BLOCK_BYTES == 0 && op->bytes % BLOCK_BYTES == 0 &&
	       (uint64_t)op->offset + op->bytes <= c->now.chunk_bytes);
	if (!pages_allow(store, pages_missing(c, op->offset / UNIT_BYTES,
					      (op->offset + op->bytes - 1) / UNIT_BYTES)))
		return answer(store, op, STORE_NO_SPACE);
	b = journal_collect(store, sizeof *r, 0);
	if (!b)
		return false;
	r = record_new(b, RECORD_ZERO, sizeof *r, op);
	r->offset = op->offset;
	r->length = op->bytes;
	recorded(store, b, op, r);
	return true;
}

/* ---- COPY, REPAIR ---- */

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
		start_cow(store, b, u, plan->data, packed->data, c, op->unit, p);
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

static bool admit_copy(struct store *store, struct store_op *op)
{
	struct chunk *c = existing(store, op->chunk);
	struct disk_unit *u;
	struct disk_record_copy *r;
	struct copy_plan plan;
	uint32_t data_bytes;
	struct version version;
	struct batch *b;

	if (!c)
		return answer(store, op, STORE_NOT_FOUND);
	assert(op->unit < c->unit_count);
	u = unit_find(c, op->unit);
	if (!op->roll && !(u && (u->flags & UNIT_INVALID)))
		return answer(store, op, STORE_NOT_APPLIED);
	plan_copy(store, u, op, &plan);
	if ((plan.data && !plan.keep_place &&
	     !places_allow(store, 1, u && u->place && store->refs[u->place - 1] == 1, true)) ||
	    !pages_allow(store, !u))
		return answer(store, op, STORE_NO_SPACE);
	data_bytes = plan.to_journal ? (uint32_t)__builtin_popcount(plan.data) * BLOCK_BYTES : 0;
	b = plan.cow ? batch_for_cow(store, u->place - 1, sizeof *r, data_bytes)
		     : journal_collect(store, sizeof *r, data_bytes);
	if (!b)
		return false;
	version = copy_version(u, op);
	r = record_new(b, RECORD_COPY, sizeof *r, op);
	r->head.epoch = version.epoch;
	r->head.generation = version.generation;
	r->unit = op->unit;
	r->taken_mask = plan.taken;
	r->zero_mask = plan.taken & (uint16_t)~plan.data & (uint16_t)~op->bad_mask;
	r->bad_mask = plan.taken & op->bad_mask;
	memcpy(r->crcs, op->crcs, sizeof r->crcs);
	place_copy(store, b, op, c, u, &plan, &r->place);
	recorded(store, b, op, r);
	return true;
}

static bool admit_repair(struct store *store, struct store_op *op)
{
	struct chunk *c = existing(store, op->chunk);
	struct disk_unit *u;
	struct disk_record_repair *r;
	struct batch *b;

	if (!c)
		return answer(store, op, STORE_NOT_FOUND);
	assert(op->unit < c->unit_count && op->block_mask);
	u = unit_find(c, op->unit);
	if (!u || (u->flags & UNIT_INVALID) || !version_equal(unit_version(u), op->position))
		return answer(store, op, STORE_NOT_APPLIED);
	if (!u->place && !places_allow(store, 1, 0, true))
		return answer(store, op, STORE_NO_SPACE);
	b = journal_collect(store, sizeof *r,
			    (uint32_t)__builtin_popcount(op->block_mask) * BLOCK_BYTES);
	if (!b)
		return false;
	r = record_new(b, RECORD_REPAIR, sizeof *r, op);
	r->unit = op->unit;
	r->block_mask = op->block_mask;
	memcpy(r->crcs, op->crcs, sizeof r->crcs);
	/* In place, also if the place is shared: the same version is the same content. */
	r->place.place = u->place ? u->place - 1 : place_take(store);
	r->place.flags = u->place ? 0 : PLACE_FRESH;
	add_masked_data(b, slice_data(op_state(op)->payload), op->block_mask, true);
	*recent_place(store, r->place.place) = op_state(op)->ticket;
	store->counters.repaired_blocks += (uint32_t)__builtin_popcount(op->block_mask);
	recorded(store, b, op, r);
	return true;
}

/* ---- INVALIDATE ---- */

static uint32_t differing_units(const struct chunk *c, const struct store_op *op, uint8_t *bits,
				uint32_t *missing)
{
	uint32_t count = 0, last_page = UINT32_MAX;

	for (uint32_t unit = 0; unit < c->unit_count; unit++) {
		const struct disk_unit *u = unit_find(c, unit);
		struct version have = u ? unit_version(u) : (struct version){0, 0};

		if (!(u && (u->flags & UNIT_INVALID)) && version_equal(have, op->in_versions[unit]))
			continue;
		bits[unit / 8] |= (uint8_t)(1u << (unit % 8));
		count++;
		if (!u && unit / UNITS_PER_PAGE != last_page) {
			last_page = unit / UNITS_PER_PAGE;
			(*missing)++;
		}
	}
	return count;
}

static bool admit_invalidate(struct store *store, struct store_op *op)
{
	struct chunk *c = existing(store, op->chunk);
	uint32_t bytes, missing = 0;
	struct disk_record_invalidate *r;
	struct batch *b;

	if (!c)
		return answer(store, op, STORE_NOT_FOUND);
	assert(op->unit_count == c->unit_count);
	free(op->invalid);
	op->invalid = xcalloc(1, (c->unit_count + 7) / 8);
	op->invalid_count = differing_units(c, op, op->invalid, &missing);
	if (!op->invalid_count)
		return answer(store, op, STORE_OK);
	if (!pages_allow(store, missing))
		return answer(store, op, STORE_NO_SPACE);
	bytes = (uint32_t)sizeof *r + ROUND_UP((c->unit_count + 7) / 8, 8u);
	b = journal_collect(store, bytes, 0);
	if (!b)
		return false;
	r = record_new(b, RECORD_INVALIDATE, bytes, op);
	r->unit_count = c->unit_count;
	memcpy(r->bits, op->invalid, (c->unit_count + 7) / 8);
	recorded(store, b, op, r);
	return true;
}

/* ---- the life of chunks, protocol state ---- */

static bool record_state(struct store *store, struct store_op *op, enum disk_record_kind kind)
{
	struct disk_record_state *r;
	struct batch *b = journal_collect(store, sizeof *r, 0);

	if (!b)
		return false;
	r = record_new(b, kind, sizeof *r, op);
	if (kind == RECORD_CREATE || kind == RECORD_CLONE || kind == RECORD_FENCE)
		r->head.epoch = op->epoch;
	r->origin = op->origin;
	r->commit = op->commit;
	r->root_chunk = op->root_chunk;
	r->chunk_bytes = op->chunk_bytes;
	store->counters.newest_commit = MAX(store->counters.newest_commit, op->commit);
	if (kind == RECORD_CREATE || kind == RECORD_CLONE || kind == RECORD_FENCE)
		store->counters.newest_epoch = MAX(store->counters.newest_epoch, op->epoch);
	recorded(store, b, op, r);
	return true;
}

static bool admit_create(struct store *store, struct store_op *op)
{
	if (!existing(store, op->chunk)) {
		assert(op->chunk_bytes > 0 && op->chunk_bytes <= CHUNK_BYTES_MAX &&
		       op->chunk_bytes % UNIT_BYTES == 0);
		if (!pages_allow(store, 1))
			return answer(store, op, STORE_NO_SPACE);
	}
	return record_state(store, op, RECORD_CREATE);
}

static bool admit_delete(struct store *store, struct store_op *op)
{
	if (!chunk_find(store, op->chunk) && !pages_allow(store, 0))
		return answer(store, op, STORE_NO_SPACE);
	return record_state(store, op, RECORD_DELETE);
}

/* May all places get one more reference? */
static bool places_sharable(const struct store *store, const struct chunk *c, uint32_t *pages)
{
	*pages = 0;
	for (uint32_t p = 0; p < c->table->page_count; p++) {
		const struct unit_page *page = c->table->pages[p].page;

		if (!page)
			continue;
		(*pages)++;
		for (unsigned i = 0; i < UNITS_PER_PAGE; i++)
			if (page->units[i].place &&
			    store->refs[page->units[i].place - 1] >= UINT16_MAX - 1)
				return false;
	}
	return true;
}

static bool admit_clone(struct store *store, struct store_op *op)
{
	struct chunk *origin = existing(store, op->origin);
	uint32_t pages;

	if (existing(store, op->chunk))
		return answer(store, op, STORE_EXISTS);
	if (!origin)
		return answer(store, op, STORE_NOT_FOUND);
	if (!places_sharable(store, origin, &pages) || !pages_allow(store, pages + 1))
		return answer(store, op, STORE_NO_SPACE);
	return record_state(store, op, RECORD_CLONE);
}

static bool admit_protocol(struct store *store, struct store_op *op, enum disk_record_kind kind)
{
	if (!existing(store, op->chunk))
		return answer(store, op, STORE_NOT_FOUND);
	return record_state(store, op, kind);
}

static bool is_write(const struct store_op *op)
{
	return op->kind == STORE_WRITE || op->kind == STORE_ZERO || op->kind == STORE_DISCARD;
}

/* It waits behind a write of its chunk that was refused: applied, it would leave a gap in the generations. */
static bool is_behind_refused(const struct chunk *c, struct store_op *op)
{
	return c && is_write(op) && op_state(op)->ticket <= c->refused_ticket;
}

/* False if the journal has no room; then nothing has changed. */
static bool admit(struct store *store, struct store_op *op)
{
	if (store->failed)
		return answer(store, op, STORE_DISK_ERROR);
	if (is_behind_refused(chunk_find(store, op->chunk), op))
		return answer(store, op, STORE_NO_SPACE);
	switch (op->kind) {
	case STORE_CREATE:
		return admit_create(store, op);
	case STORE_DELETE:
		return admit_delete(store, op);
	case STORE_CLONE:
		return admit_clone(store, op);
	case STORE_FENCE:
		return admit_protocol(store, op, RECORD_FENCE);
	case STORE_MEND_BEGIN:
		return admit_protocol(store, op, RECORD_MEND_BEGIN);
	case STORE_MEND_END:
		return admit_protocol(store, op, RECORD_MEND_END);
	case STORE_JOIN:
		return admit_protocol(store, op, RECORD_JOIN);
	case STORE_START:
		return admit_protocol(store, op, RECORD_START);
	case STORE_INVALIDATE:
		return admit_invalidate(store, op);
	case STORE_WRITE:
		return admit_write(store, op);
	case STORE_ZERO:
	case STORE_DISCARD:
		return admit_zero(store, op);
	case STORE_COPY:
		return admit_copy(store, op);
	case STORE_REPAIR:
		return admit_repair(store, op);
	default:
		assert(!"not a mutation");
		return true;
	}
}

/* ---- waiting for room ---- */

/* What the operation will make of the chunk's state. */
static void foresee(struct store *store, struct chunk *c, const struct store_op *op)
{
	struct chunk_state *s = &c->submitted;
	struct chunk *origin;

	if (!s->exists && op->kind != STORE_CREATE && op->kind != STORE_CLONE)
		return;
	switch (op->kind) {
	case STORE_CREATE:
		if (!s->exists)
			*s = (struct chunk_state){.exists = true,
						  .commit = s->commit,
						  .root_chunk = op->root_chunk,
						  .chunk_bytes = op->chunk_bytes};
		s->epoch = MAX(s->epoch, op->epoch);
		s->commit = MAX(s->commit, op->commit);
		break;
	case STORE_DELETE:
		*s = (struct chunk_state){.commit = MAX(s->commit, op->commit)};
		break;
	case STORE_CLONE:
		origin = chunk_find(store, op->origin);
		if (s->exists || !origin)
			break;
		*s = origin->submitted;
		s->epoch = op->epoch;
		s->commit = op->commit;
		break;
	case STORE_FENCE:
		s->epoch = MAX(s->epoch, op->epoch);
		break;
	case STORE_MEND_BEGIN:
		s->mending = true;
		break;
	case STORE_MEND_END:
	case STORE_JOIN:
		s->mending = false;
		s->position = op->position;
		s->base_generation = op->position.generation;
		break;
	case STORE_START:
		s->base_generation = op->position.generation;
		break;
	case STORE_WRITE:
	case STORE_ZERO:
	case STORE_DISCARD:
		s->position = op->position;
		break;
	default:
		break;
	}
}

static void foresee_again(struct store *store, struct chunk *c)
{
	struct store_op *op;

	c->submitted = c->now;
	if (!c->waiting)
		return;
	TAILQ_FOREACH (op, &store->waiting, link)
		if (op->chunk == c->id && !is_behind_refused(c, op))
			foresee(store, c, op);
}

static void admitted(struct store *store, const struct store_op *op)
{
	struct chunk *c = chunk_find(store, op->chunk);

	if (c && is_write(op) && op->status != STORE_OK)
		c->refused_ticket = store->next_ticket;
	if (c && (!c->waiting || op->status != STORE_OK))
		foresee_again(store, c);
}

void mutate_admit_waiting(struct store *store)
{
	struct store_op *op;

	while ((op = TAILQ_FIRST(&store->waiting))) {
		struct chunk *c = chunk_find(store, op->chunk);

		TAILQ_REMOVE(&store->waiting, op, link);
		c->waiting--;
		if (!admit(store, op)) {
			c->waiting++;
			TAILQ_INSERT_HEAD(&store->waiting, op, link);
			break;
		}
		admitted(store, op);
	}
}

/* Data for the disk must lie as the disk wants it. */
static void take_payload(struct store *store, struct store_op *op)
{
	struct op_state *s = op_state(op);

	if (op->kind != STORE_WRITE && op->kind != STORE_COPY && op->kind != STORE_REPAIR)
		return;
	if (!op->data.buf)
		return;
	if ((uintptr_t)slice_data(op->data) % store->disk->block_bytes == 0) {
		s->payload = slice_ref(op->data);
		return;
	}
	s->payload = slice_new(op->data.bytes);
	memcpy(slice_data(s->payload), slice_data(op->data), op->data.bytes);
}

static void note_ticket(struct store *store, struct store_op *op)
{
	uint64_t ticket = op_state(op)->ticket;
	struct chunk *c = chunk_find(store, op->chunk);
	uint32_t first = op->offset / UNIT_BYTES, last = first;

	switch (op->kind) {
	case STORE_WRITE:
	case STORE_ZERO:
	case STORE_DISCARD:
		last = (op->offset + op->bytes - 1) / UNIT_BYTES;
		for (uint32_t unit = first; unit <= last; unit++)
			*recent_unit(store, op->chunk, unit) = ticket;
		break;
	case STORE_COPY:
	case STORE_REPAIR:
		*recent_unit(store, op->chunk, op->unit) = ticket;
		break;
	case STORE_DELETE:
	case STORE_CLONE:
	case STORE_INVALIDATE:
	case STORE_CREATE:
		if (c)
			c->last_ticket = ticket;
		break;
	default:
		break;
	}
}

void mutate_submit(struct store *store, struct store_op *op)
{
	struct op_state *s = op_state(op);
	struct chunk *c;

	assert(!store->options.read_only && !store->closing);
	memset(s, 0, sizeof *s);
	s->ticket = ++store->next_ticket;
	take_payload(store, op);
	if (TAILQ_EMPTY(&store->waiting) && admit(store, op)) {
		admitted(store, op);
	} else {
		c = chunk_find_or_add(store, op->chunk);
		c->waiting++;
		TAILQ_INSERT_TAIL(&store->waiting, op, link);
		foresee(store, c, op);
	}
	note_ticket(store, op);
	journal_start(store);
	/* A journal without room moves on by itself, if it wasn't idle: else this starts it. */
	if (!TAILQ_EMPTY(&store->waiting))
		store_ring_doorbell(store);
}
