/*
 * apply.c - the effect of a journal record in memory. The one code for both ways: when an operation is admitted, and when the
 * journal is replayed. What a record says is checked against what is there only as far as a damaged disk
 * could make it wrong.
 *
 * While replaying, references to places are not counted (open.c counts them all at the end); refs is NULL then. With paging
 * load.c has counted those of the tree, and they are kept up here (store->counting).
 */
#include "common/base/bits.h"
#include "replica-engine/store/store_internal.h"

static void set_place(struct store *store, struct chunk *c, struct disk_unit *u, uint32_t place)
{
	uint32_t old = u->place;

	if (old == place + 1)
		return;
	if (old) {
		c->places--;
		if (store->refs)
			place_unref(store, old - 1);
	}
	/* The reference of the new one was taken when it was chosen, but for replay. */
	if (store->counting && place != PLACE_NONE)
		place_ref(store, place);
	u->place = place == PLACE_NONE ? 0 : place + 1;
	c->places += u->place != 0;
}

static void set_valid(struct chunk *c, struct disk_unit *u, uint16_t mask)
{
	if (!(u->flags & UNIT_INVALID))
		return;
	u->valid_mask |= mask;
	if (u->valid_mask != UINT16_MAX)
		return;
	u->flags &= (uint8_t)~UNIT_INVALID;
	u->valid_mask = 0;
	c->invalid_units--;
}

static bool range_in_chunk(const struct chunk *c, uint32_t offset, uint32_t length)
{
	return c && c->now.exists && (uint64_t)offset + length <= c->now.chunk_bytes;
}

static bool apply_write(struct store *store, struct chunk *c, const struct disk_record_write *r)
{
	struct version version = {r->head.epoch, r->head.generation};
	const uint32_t *crc = record_write_crcs(r);
	uint32_t first = r->offset / UNIT_BYTES;

	if (!range_in_chunk(c, r->offset, r->length))
		return false;
	for (uint32_t i = 0; i < r->unit_count; i++) {
		struct disk_unit *u = unit_change(store, c, first + i);
		uint16_t mask = range_mask(r->offset, r->length, i);

		set_place(store, c, u, r->places[i].place);
		for (unsigned b = 0; b < UNIT_BLOCKS; b++)
			if (mask >> b & 1)
				u->crcs[b] = *crc++;
		u->data_mask |= mask;
		u->bad_mask &= (uint16_t)~mask;
		unit_set_version(c, u, first + i, version);
		set_valid(c, u, mask);
	}
	c->now.position = version;
	chunk_mark_dirty(store, c);
	return true;
}

static bool apply_zero(struct store *store, struct chunk *c, const struct disk_record_zero *r)
{
	struct version version = {r->head.epoch, r->head.generation};
	uint32_t first = r->offset / UNIT_BYTES;
	uint32_t last = (r->offset + r->length - 1) / UNIT_BYTES;

	if (!range_in_chunk(c, r->offset, r->length))
		return false;
	for (uint32_t unit = first; unit <= last; unit++) {
		struct disk_unit *u = unit_change(store, c, unit);
		uint16_t mask = range_mask(r->offset, r->length, unit - first);

		u->data_mask &= (uint16_t)~mask;
		u->bad_mask &= (uint16_t)~mask;
		if (!u->data_mask)
			set_place(store, c, u, PLACE_NONE);
		unit_set_version(c, u, unit, version);
		set_valid(c, u, mask);
	}
	c->now.position = version;
	chunk_mark_dirty(store, c);
	return true;
}

static bool apply_copy(struct store *store, struct chunk *c, const struct disk_record_copy *r)
{
	struct disk_unit *u;
	uint16_t taken = r->taken_mask, data;

	if (!c || !c->now.exists || r->unit >= c->unit_count)
		return false;
	u = unit_change(store, c, r->unit);
	data = (uint16_t)((u->data_mask & ~taken) | (taken & ~r->zero_mask & ~r->bad_mask));
	if (!data != (r->place.place == PLACE_NONE))
		return false;
	u->bad_mask = (uint16_t)((u->bad_mask & ~taken) | (taken & r->bad_mask));
	u->data_mask = data;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++)
		if (taken >> b & 1)
			u->crcs[b] = r->crcs[b];
	set_place(store, c, u, r->place.place);
	unit_set_version(c, u, r->unit, (struct version){r->head.epoch, r->head.generation});
	set_valid(c, u, UINT16_MAX);
	return true;
}

static bool apply_repair(struct store *store, struct chunk *c, const struct disk_record_repair *r)
{
	struct disk_unit *u;

	if (!c || !c->now.exists || r->unit >= c->unit_count)
		return false;
	u = unit_change(store, c, r->unit);
	set_place(store, c, u, r->place.place);
	for (unsigned b = 0; b < UNIT_BLOCKS; b++)
		if (r->block_mask >> b & 1)
			u->crcs[b] = r->crcs[b];
	u->bad_mask &= (uint16_t)~r->block_mask;
	u->data_mask |= r->block_mask;
	return true;
}

static bool apply_invalidate(struct store *store, struct chunk *c,
			     const struct disk_record_invalidate *r)
{
	if (!c || !c->now.exists || r->unit_count > c->unit_count)
		return false;
	for (uint32_t unit = 0; unit < r->unit_count; unit++) {
		struct disk_unit *u;

		if (!bit_get(r->bits, unit))
			continue;
		u = unit_change(store, c, unit);
		c->invalid_units += !(u->flags & UNIT_INVALID);
		u->flags |= UNIT_INVALID;
		u->valid_mask = 0;
	}
	return true;
}

static bool apply_create(struct store *store, const struct disk_record_state *r)
{
	struct chunk *c = chunk_find_or_add(store, r->head.chunk);

	c->now.epoch = MAX(c->now.epoch, r->head.epoch);
	c->now.commit = MAX(c->now.commit, r->commit);
	if (!c->now.exists) {
		c->now.exists = true;
		c->now.epoch = r->head.epoch;
		c->now.root_chunk = r->root_chunk;
		c->now.chunk_bytes = r->chunk_bytes;
		chunk_make_table(store, c);
	}
	chunk_mark_dirty(store, c);
	return true;
}

static bool apply_delete(struct store *store, const struct disk_record_state *r)
{
	struct chunk *c = chunk_find_or_add(store, r->head.chunk);
	uint64_t commit = MAX(c->now.commit, r->commit);

	if (c->now.exists)
		chunk_drop_table(store, c);
	c->now = (struct chunk_state){.commit = commit};
	chunk_mark_dirty(store, c);
	return true;
}

static void share_page(struct store *store, struct chunk *to, const struct chunk *from, uint32_t p)
{
	struct page_ref *ref = &to->table->pages[p];

	if (!page_exists(&from->table->pages[p]))
		return;
	assert(from->table->pages[p].page);
	ref->page = page_new(store);
	*ref->page = *from->table->pages[p].page;
	ref->dirty = true;
	store->unit_pages++;
	for (unsigned i = 0; store->refs && i < UNITS_PER_PAGE; i++)
		if (ref->page->units[i].place)
			place_ref(store, ref->page->units[i].place - 1);
}

static bool apply_clone(struct store *store, const struct disk_record_state *r)
{
	struct chunk *origin = chunk_find(store, r->origin), *c;
	uint64_t commit;

	if (!origin || !origin->now.exists)
		return false;
	c = chunk_find_or_add(store, r->head.chunk);
	if (c->now.exists)
		return false;
	commit = MAX(c->now.commit, r->commit);
	c->now = origin->now;
	c->now.epoch = r->head.epoch;
	c->now.commit = commit;
	chunk_make_table(store, c);
	for (uint32_t p = 0; p < c->table->page_count; p++)
		share_page(store, c, origin, p);
	c->digest = origin->digest;
	c->invalid_units = origin->invalid_units;
	c->places = origin->places;
	chunk_mark_dirty(store, c);
	return true;
}

static bool apply_state(struct store *store, struct chunk *c, const struct disk_record *r)
{
	struct version position = {r->epoch, r->generation};

	if (!c || !c->now.exists)
		return false;
	switch (r->kind) {
	case RECORD_FENCE:
		c->now.epoch = MAX(c->now.epoch, r->epoch);
		break;
	case RECORD_MEND_BEGIN:
		c->now.mending = true;
		break;
	case RECORD_MEND_END:
	case RECORD_JOIN:
		c->now.mending = false;
		c->now.position = position;
		c->now.base_generation = position.generation;
		break;
	case RECORD_START:
		c->now.base_generation = position.generation;
		break;
	default:
		return false;
	}
	chunk_mark_dirty(store, c);
	return true;
}

bool apply_record(struct store *store, const struct disk_record *r)
{
	struct chunk *c = chunk_find(store, r->chunk);
	const void *body = r;

	switch (r->kind) {
	case RECORD_WRITE:
		return apply_write(store, c, body);
	case RECORD_ZERO:
		return apply_zero(store, c, body);
	case RECORD_COPY:
		return apply_copy(store, c, body);
	case RECORD_REPAIR:
		return apply_repair(store, c, body);
	case RECORD_INVALIDATE:
		return apply_invalidate(store, c, body);
	case RECORD_CREATE:
		return apply_create(store, body);
	case RECORD_DELETE:
		return apply_delete(store, body);
	case RECORD_CLONE:
		return apply_clone(store, body);
	default:
		return apply_state(store, c, r);
	}
}

/* ---- where the newest blocks are ---- */

struct data_cursor {
	struct store *store;
	uint64_t position;
	uint32_t sequence;
};

static void index_place(struct data_cursor *at, const struct disk_place *p, uint16_t mask)
{
	struct store *store = at->store;

	if (p->place == PLACE_NONE)
		return;
	if (p->flags & PLACE_FRESH)
		dirty_clear_place(&store->dirty, p->place);
	if (p->flags & PLACE_DIRECT)
		return;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		if (!(mask >> b & 1))
			continue;
		dirty_set(&store->dirty, p->place, b,
			  (uint32_t)(at->position % store->super.journal_bytes / BLOCK_BYTES),
			  at->sequence);
		at->position += BLOCK_BYTES;
		journal_batch_live(store, at->sequence);
	}
}

static void index_record(struct data_cursor *at, const struct disk_record *head)
{
	const void *body = head;
	const struct disk_record_write *w = body;
	const struct disk_record_copy *c = body;
	const struct disk_record_repair *r = body;

	switch (head->kind) {
	case RECORD_WRITE:
		for (uint32_t i = 0; i < w->unit_count; i++)
			index_place(at, &w->places[i], range_mask(w->offset, w->length, i));
		break;
	case RECORD_COPY:
		index_place(at, &c->place, c->taken_mask & ~c->zero_mask & ~c->bad_mask);
		break;
	case RECORD_REPAIR:
		index_place(at, &r->place, r->block_mask);
		break;
	default:
		break;
	}
}

void index_batch(struct store *store, const struct disk_batch *header)
{
	struct data_cursor at = {store, header->position + header->header_bytes,
				 (uint32_t)header->sequence};
	const uint8_t *next = (const uint8_t *)(header + 1);

	for (uint32_t i = 0; i < header->record_count; i++) {
		const struct disk_record *r = (const struct disk_record *)(const void *)next;

		index_record(&at, r);
		next += r->bytes;
	}
	assert(at.position == header->position + header->header_bytes + header->data_bytes);
}
