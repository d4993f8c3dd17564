/* mutate_state.c - the life of chunks, and protocol state. */
#include "replica-engine/store/mutate.h"

static bool record_state(struct store *store, struct store_op *op, enum disk_record_kind kind)
{
	struct disk_record_state *r;
	struct batch *b = journal_collect(store, sizeof *r, 0);

	if (!b)
		return false;
	r = mutate_record(b, kind, sizeof *r, op);
	if (kind == RECORD_CREATE || kind == RECORD_CLONE || kind == RECORD_FENCE)
		r->head.epoch = op->epoch;
	r->origin = op->origin;
	r->commit = op->commit;
	r->root_chunk = op->root_chunk;
	r->chunk_bytes = op->chunk_bytes;
	store->counters.newest_commit = MAX(store->counters.newest_commit, op->commit);
	if (kind == RECORD_CREATE || kind == RECORD_CLONE || kind == RECORD_FENCE)
		store->counters.newest_epoch = MAX(store->counters.newest_epoch, op->epoch);
	mutate_recorded(store, b, op, r);
	return true;
}

bool admit_create(struct store *store, struct store_op *op)
{
	if (!mutate_chunk(store, op->chunk)) {
		assert(op->chunk_bytes > 0 && op->chunk_bytes <= CHUNK_BYTES_MAX &&
		       op->chunk_bytes % UNIT_BYTES == 0);
		if (!pages_allow(store, 1, false))
			return mutate_answer(store, op, STORE_NO_SPACE);
	}
	return record_state(store, op, RECORD_CREATE);
}

bool admit_delete(struct store *store, struct store_op *op)
{
	if (!chunk_find(store, op->chunk) && !pages_allow(store, 0, true))
		return mutate_answer(store, op, STORE_NO_SPACE);
	return record_state(store, op, RECORD_DELETE);
}

/* May all places get one more reference? */
static bool places_sharable(const struct store *store, const struct chunk *c, uint32_t *pages)
{
	*pages = 0;
	for (uint32_t p = 0; p < c->table->page_count; p++) {
		const struct unit_page *page = c->table->pages[p].page;

		if (!page_exists(&c->table->pages[p]))
			continue;
		assert(page);
		(*pages)++;
		for (unsigned i = 0; i < UNITS_PER_PAGE; i++)
			if (page->units[i].place &&
			    store->refs[page->units[i].place - 1] >= UINT16_MAX - 1)
				return false;
	}
	return true;
}

bool admit_clone(struct store *store, struct store_op *op)
{
	struct chunk *origin = mutate_chunk(store, op->origin);
	uint32_t pages;

	if (mutate_chunk(store, op->chunk))
		return mutate_answer(store, op, STORE_EXISTS);
	if (!origin)
		return mutate_answer(store, op, STORE_NOT_FOUND);
	if (!places_sharable(store, origin, &pages) || !pages_allow(store, pages + 1, false))
		return mutate_answer(store, op, STORE_NO_SPACE);
	return record_state(store, op, RECORD_CLONE);
}

bool admit_protocol(struct store *store, struct store_op *op, enum disk_record_kind kind)
{
	if (!mutate_chunk(store, op->chunk))
		return mutate_answer(store, op, STORE_NOT_FOUND);
	return record_state(store, op, kind);
}
