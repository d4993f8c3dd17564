/*
 * mutate.c - mutations: planned against what is in memory, recorded, applied.
 *
 * An operation is admitted when the journal has room for its record and blocks, in the order of submission; until then it
 * waits, and nothing of it is in memory except what chunk->submitted shows. (With paging also until the pages that it touches are in memory.) Being admitted, its effect in memory is
 * immediate and its place in the order is fixed by its batch. An operation that changes nothing (no space, no such chunk) takes its
 * place in a batch all the same, so that answers stay in order.
 */
#include "replica-engine/store/mutate.h"

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
bool mutate_answer(struct store *store, struct store_op *op, enum store_status status)
{
	op->status = status;
	op_state(op)->recorded = false;
	batch_add_op(journal_collect(store, 0, 0), op);
	return true;
}

void *mutate_record(struct batch *b, enum disk_record_kind kind, uint32_t bytes,
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

void mutate_recorded(struct store *store, struct batch *b, struct store_op *op, void *record)
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

struct chunk *mutate_chunk(const struct store *store, uint64_t id)
{
	struct chunk *c = chunk_find(store, id);

	return c && c->now.exists ? c : NULL;
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

/* False if the journal has no room, or there are no places yet; then nothing has changed. */
static bool admit_now(struct store *store, struct store_op *op)
{
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

static bool changes_units(const struct store_op *op)
{
	return is_write(op) || op->kind == STORE_COPY || op->kind == STORE_REPAIR ||
	       op->kind == STORE_INVALIDATE || op->kind == STORE_CLONE;
}

/*
 * With paging: once its pages are there, and there aren't too many that a checkpoint must write first. What needs a page that can't be
 * read fails, but for DELETE and INVALIDATE: these get rid of it.
 */
static bool admit_with_pages(struct store *store, struct store_op *op)
{
	enum page_verdict verdict = page_cache_ready(store, op);
	bool admitted = false;

	store->waits_for_pages =
		verdict == PAGES_LATER ||
		(verdict == PAGES_READY && changes_units(op) && page_cache_full(store));
	if (store->waits_for_pages)
		return false;
	if (verdict == PAGES_FAILED && op->kind != STORE_DELETE && op->kind != STORE_INVALIDATE)
		admitted = mutate_answer(store, op, STORE_DISK_ERROR);
	else
		admitted = admit_now(store, op);
	if (admitted)
		page_cache_unpin(store, op);
	return admitted;
}

/* False if it must wait, for room in the journal mostly; then nothing has changed. */
static bool admit(struct store *store, struct store_op *op)
{
	const struct chunk *c;

	if (store->failed) {
		page_cache_unpin(store, op);
		return mutate_answer(store, op, STORE_DISK_ERROR);
	}
	c = chunk_find(store, op->chunk);
	if (is_behind_refused(c, op)) {
		page_cache_unpin(store, op);
		return mutate_answer(store, op, c->refused_status);
	}
	return store->cache.limit ? admit_with_pages(store, op) : admit_now(store, op);
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

	if (c && is_write(op) && op->status != STORE_OK) {
		c->refused_ticket = store->next_ticket;
		c->refused_status = op->status;
	}
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
		if (store->cache.limit)
			page_cache_prefetch(store, op);
	}
	note_ticket(store, op);
	journal_start(store);
	/* A journal without room moves on by itself, if it wasn't idle: else this starts it. */
	if (!TAILQ_EMPTY(&store->waiting))
		store_ring_doorbell(store);
}
