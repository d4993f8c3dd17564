/*
 * read.c - READ and VERSIONS.
 *
 * A read waits for mutations of its units that were submitted before it. Then it looks up where each block is (home, journal,
 * nowhere), reads, and looks again: if anything has moved meanwhile (write-back, a later write), what was read may be
 * anything and it starts over. So nothing needs to be locked or kept for readers.
 *
 * With paging a query first waits until the pages of its units are in memory, and pins them until it is answered.
 *
 * A request that the disk fails is repeated block by block: one bad sector costs its block, not the unit. Blocks that can't be read
 * are bad ones to the reader (STORE_BAD_BLOCK); only if none can be read it is STORE_DISK_ERROR.
 */
#include "common/base/bits.h"
#include "replica-engine/store/store_internal.h"

#include "common/base/crc.h"
#include "common/base/prng.h"

#define NOWHERE UINT64_MAX

struct sources {
	uint64_t at[IO_BLOCKS_MAX]; /* offset on the disk, or NOWHERE */
	uint64_t hash;              /* of everything that must not change during the read */
	uint32_t data_blocks;
};

uint64_t block_offset(const struct store *store, uint32_t place, unsigned block)
{
	const struct dirty_block *d = dirty_find(&store->dirty, place, block);

	if (d)
		return store->super.journal_offset + (uint64_t)d->where * BLOCK_BYTES;
	return place_offset(store, place) + (uint64_t)block * BLOCK_BYTES;
}

static void hash_add(uint64_t *hash, uint64_t value)
{
	*hash = (*hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	*hash ^= *hash >> 29;
}

static void resolve_block(const struct store *store, struct store_op *op, const struct disk_unit *u,
			  unsigned block, uint32_t i, struct sources *s)
{
	const struct dirty_block *d;

	s->at[i] = NOWHERE;
	op->crcs[i] = 0;
	if (u && u->bad_mask >> block & 1) {
		bit_set(op->bad_blocks, i);
		op->any_bad = true;
		hash_add(&s->hash, 1);
		return;
	}
	if (!u || !(u->data_mask >> block & 1)) {
		bit_set(op->zero_blocks, i);
		hash_add(&s->hash, 2);
		return;
	}
	d = dirty_find(&store->dirty, u->place - 1, block);
	s->at[i] = block_offset(store, u->place - 1, block);
	op->crcs[i] = u->crcs[block];
	hash_add(&s->hash, s->at[i] + u->crcs[block]);
	hash_add(&s->hash, d ? d->sequence : 0);
	s->data_blocks++;
}

/* Where the blocks are now; results go into op. */
static enum store_status resolve(const struct store *store, struct store_op *op, struct sources *s)
{
	const struct chunk *c = chunk_find(store, op->chunk);
	uint32_t first = op->offset / BLOCK_BYTES, blocks = op->bytes / BLOCK_BYTES;

	memset(op->zero_blocks, 0, sizeof op->zero_blocks);
	memset(op->bad_blocks, 0, sizeof op->bad_blocks);
	op->any_bad = op->all_zero = false;
	op->version = (struct version){0, 0};
	s->hash = s->data_blocks = 0;
	if (!c || !c->now.exists)
		return STORE_NOT_FOUND;
	assert(blocks > 0 && blocks <= IO_BLOCKS_MAX && op->offset % BLOCK_BYTES == 0 &&
	       (uint64_t)op->offset + op->bytes <= c->now.chunk_bytes);
	for (uint32_t i = 0; i < blocks; i++) {
		uint32_t unit = (first + i) / UNIT_BLOCKS;
		const struct disk_unit *u = unit_find(c, unit);

		if (u && (u->flags & UNIT_LOST))
			return STORE_DISK_ERROR;
		if (u && (u->flags & UNIT_INVALID))
			return STORE_INVALID_UNIT;
		resolve_block(store, op, u, (first + i) % UNIT_BLOCKS, i, s);
		if (u && (i == 0 || (first + i) % UNIT_BLOCKS == 0)) {
			hash_add(&s->hash, u->epoch);
			hash_add(&s->hash, u->generation);
		}
	}
	if (op->offset / UNIT_BYTES == (op->offset + op->bytes - 1) / UNIT_BYTES) {
		const struct disk_unit *u = unit_find(c, op->offset / UNIT_BYTES);

		op->version = u ? unit_version(u) : (struct version){0, 0};
	}
	op->all_zero = !s->data_blocks && !op->any_bad;
	return op->any_bad ? STORE_BAD_BLOCK : STORE_OK;
}

static void verify(struct store *store, struct store_op *op, const struct sources *s)
{
	const struct chunk *c = chunk_find(store, op->chunk);
	uint32_t first = op->offset / BLOCK_BYTES;

	for (uint32_t i = 0; i < op->bytes / BLOCK_BYTES; i++) {
		const uint8_t *data = slice_data(op->data) + (size_t)i * BLOCK_BYTES;

		if (s->at[i] == NOWHERE || bit_get(op->bad_blocks, i) ||
		    crc_block(c->now.root_chunk, first + i, data) == op->crcs[i])
			continue;
		store->counters.checksum_errors++;
		bit_set(op->bad_blocks, i);
		op->any_bad = true;
		op->status = STORE_BAD_BLOCK;
	}
}

static void read_start(struct store *store, struct store_op *op);

/* Block by block, some could not be read. */
static void mark_unreadable(struct store *store, struct store_op *op)
{
	const uint8_t *unreadable = op_state(op)->unreadable;
	uint32_t failed = 0, blocks = op->bytes / BLOCK_BYTES;

	for (uint32_t i = 0; i < blocks; i++) {
		if (!bit_get(unreadable, i))
			continue;
		bit_set(op->bad_blocks, i);
		memset(slice_data(op->data) + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
		failed++;
	}
	store->counters.read_errors += failed;
	op->any_bad = true;
	op->status = failed < blocks ? STORE_BAD_BLOCK : STORE_DISK_ERROR;
	if (op->status == STORE_DISK_ERROR)
		slice_unref(&op->data);
}

static const struct unit_table *table_of(const struct store *store, const struct store_op *op)
{
	const struct chunk *c = chunk_find(store, op->chunk);

	return c ? c->table : NULL;
}

static void read_complete(struct store *store, struct store_op *op)
{
	struct op_state *state = op_state(op);
	struct sources s;

	if (state->error && !state->single) {
		slice_unref(&op->data);
		state->single = true;
		read_start(store, op);
		return;
	}
	if (store->cache.limit && state->table != table_of(store, op)) {
		/* Another chunk by now: its pages may not be here. */
		slice_unref(&op->data);
		read_start(store, op);
		return;
	}
	op->status = resolve(store, op, &s);
	if (s.hash != state->plan_hash ||
	    (op->status != STORE_OK && op->status != STORE_BAD_BLOCK)) {
		slice_unref(&op->data);
		read_start(store, op);
		return;
	}
	if (state->error)
		mark_unreadable(store, op);
	if (!op->no_verify && op->data.buf)
		verify(store, op, &s);
	page_cache_unpin(store, op);
	op->done(op);
}

static void read_done(struct io *io)
{
	struct store *store = io->store;
	struct store_op *op = io->op;
	struct op_state *state = op_state(op);

	if (io->request.result) {
		state->error = io->request.result;
		if (state->single)
			bit_set(state->unreadable, (uint32_t)io->number);
	}
	io_put(io);
	if (--state->pending == 0)
		read_complete(store, op);
	if (!page_cache_idle(store))
		page_cache_continue(store);
	if (store->closing)
		store_continue(store);
}

static void read_runs(struct store *store, struct store_op *op, const struct sources *s)
{
	struct op_state *state = op_state(op);
	uint32_t blocks = op->bytes / BLOCK_BYTES;

	state->pending = 1; /* until all are submitted */
	for (uint32_t i = 0; i < blocks;) {
		uint32_t n = 1;
		struct io *io;

		if (s->at[i] == NOWHERE) {
			/* Recycled memory: what it held before is nobody else's business. */
			memset(slice_data(op->data) + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
			i++;
			continue;
		}
		while (!state->single && i + n < blocks && s->at[i + n] != NOWHERE &&
		       s->at[i + n] == s->at[i] + (uint64_t)n * BLOCK_BYTES)
			n++;
		io = io_get(store, read_done);
		io->op = op;
		io->number = i;
		io_add(io, slice_data(op->data) + (size_t)i * BLOCK_BYTES, (size_t)n * BLOCK_BYTES);
		state->pending++;
		io_read(io, s->at[i], 0);
		i += n;
	}
	state->pending--;
}

static void read_start(struct store *store, struct store_op *op)
{
	struct op_state *state = op_state(op);
	struct sources s;

	if (store->cache.limit && !page_cache_query_ready(store, op))
		return;
	op->status = resolve(store, op, &s);
	if (!s.data_blocks || (op->status != STORE_OK && op->status != STORE_BAD_BLOCK)) {
		page_cache_unpin(store, op);
		store_defer(store, op);
		return;
	}
	state->plan_hash = s.hash;
	state->error = 0;
	memset(state->unreadable, 0, sizeof state->unreadable);
	op->data = slice_new(op->bytes);
	read_runs(store, op, &s);
}

/* The last mutation before it that the read must wait for. */
static uint64_t ticket_before(struct store *store, const struct store_op *op)
{
	const struct chunk *c = chunk_find(store, op->chunk);
	uint32_t last = (op->offset + op->bytes - 1) / UNIT_BYTES;
	uint64_t ticket = c ? c->last_ticket : 0;

	for (uint32_t unit = op->offset / UNIT_BYTES; unit <= last; unit++)
		ticket = MAX(ticket, *recent_unit(store, op->chunk, unit));
	return ticket;
}

void read_submit(struct store *store, struct store_op *op)
{
	struct op_state *state = op_state(op);

	memset(state, 0, sizeof *state);
	assert(op->bytes > 0 && op->bytes <= IO_BYTES_MAX);
	op->data = (struct slice){0};
	store->counters.reads++;
	state->ticket = ticket_before(store, op);
	if (state->ticket > store->journal.completed_ticket)
		TAILQ_INSERT_TAIL(&store->readers, op, link);
	else
		read_start(store, op);
}

void readers_continue(struct store *store)
{
	struct store_op *op, *next;

	TAILQ_FOREACH_SAFE (op, &store->readers, link, next) {
		if (op_state(op)->ticket > store->journal.completed_ticket)
			continue;
		TAILQ_REMOVE(&store->readers, op, link);
		read_start(store, op);
	}
}

static void fill_versions(struct store *store, struct store_op *op)
{
	const struct chunk *c = chunk_find(store, op->chunk);
	size_t bitmap_bytes;

	op->status = STORE_NOT_FOUND;
	if (!c || !c->now.exists)
		return;
	op->status = STORE_OK;
	bitmap_bytes = (c->unit_count + 7) / 8;
	op->unit_count = c->unit_count;
	op->invalid_count = c->invalid_units;
	op->versions = xcalloc(c->unit_count, sizeof *op->versions);
	op->invalid = xcalloc(1, bitmap_bytes);
	op->allocated = xcalloc(1, bitmap_bytes);
	for (uint32_t unit = 0; unit < c->unit_count; unit++) {
		const struct disk_unit *u = unit_find(c, unit);

		if (!u)
			continue;
		op->versions[unit] = unit_version(u);
		if (u->flags & UNIT_INVALID)
			bit_set(op->invalid, unit);
		if (u->place)
			bit_set(op->allocated, unit);
	}
}

static void versions_start(struct store *store, struct store_op *op)
{
	if (store->cache.limit && !page_cache_query_ready(store, op))
		return;
	fill_versions(store, op);
	page_cache_unpin(store, op);
	store_defer(store, op);
}

void versions_submit(struct store *store, struct store_op *op)
{
	memset(op_state(op), 0, sizeof(struct op_state));
	versions_start(store, op);
}

void query_start(struct store *store, struct store_op *op)
{
	if (op->kind == STORE_READ)
		read_start(store, op);
	else
		versions_start(store, op);
}
