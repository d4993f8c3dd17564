/*
 * direct.c - whole units that go straight to fresh places, beside the batch with their record; and copy on write.
 *
 * Replay counts a record with direct places only if their data passes its checksums, unless a later batch
 * confirms it. So the data may be written at the same time as the record, and the batch completes when both are durable.
 */
#include "replica-engine/store/store_internal.h"

#include "common/base/crc.h"

static void direct_written(struct io *io)
{
	struct store *store = io->store;
	struct batch *b = io->batch;

	if (io->request.result) {
		b->failed = true;
		store->counters.write_errors++;
		store_fail(store, "data", io->request.offset, io->request.result);
	}
	assert(b->direct > 0);
	b->direct--;
	buf_unref(io->buf);
	io_put(io);
	store_continue(store);
}

static struct io *direct_io(struct store *store, struct batch *b, uint8_t *data, uint32_t units)
{
	struct io *io = io_get(store, direct_written);

	io->batch = b;
	b->direct++;
	io_add(io, data, (size_t)units * UNIT_BYTES);
	store->counters.home_write_bytes += (uint64_t)units * UNIT_BYTES;
	return io;
}

void direct_write(struct store *store, struct batch *b, uint32_t place, uint8_t *data,
		  uint32_t units)
{
	io_write(direct_io(store, b, data, units), place_offset(store, place), IO_DISK_DURABLE);
}

/* ---- copy on write ---- */

struct cow *cow_new(struct store *store, struct batch *b)
{
	struct cow *c = xcalloc(1, sizeof *c);

	c->store = store;
	c->batch = b;
	c->buf = buf_new(UNIT_BYTES);
	memset(c->buf->data, 0, UNIT_BYTES);
	b->unready++;
	LIST_INSERT_HEAD(&store->busy_cows, c, busy_link);
	return c;
}

static void cow_read_blocks(struct cow *c, uint16_t mask);

/* Blocks that fail their checksums and lie elsewhere by now: write-back was faster than the read. */
static uint16_t cow_check(struct cow *c)
{
	uint16_t moved = 0;

	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		if (!((c->old_mask & ~c->bad_mask) >> b & 1) ||
		    crc_block(c->root_chunk, c->first_block + b, c->buf->data + b * BLOCK_BYTES) ==
			    c->crcs[b])
			continue;
		if (c->sources[b] != block_offset(c->store, c->old_place, b))
			moved |= (uint16_t)(1u << b);
		else
			c->bad_mask |= (uint16_t)(1u << b);
	}
	return moved;
}

static void cow_finish(struct cow *c)
{
	struct store *store = c->store;
	uint16_t *verify = (uint16_t *)(void *)(c->batch->header->data + c->verify_offset);
	uint16_t moved = cow_check(c);

	if (moved) {
		cow_read_blocks(c, moved);
		return;
	}
	/* A block that is bad goes on being bad: its checksum stays what it was. */
	*verify &= (uint16_t)~c->bad_mask;
	if (store->failed) {
		c->batch->failed = true;
		buf_unref(c->buf);
	} else {
		struct io *io = direct_io(store, c->batch, c->buf->data, 1);

		io->buf = c->buf;
		io_write(io, place_offset(store, c->new_place), IO_DISK_DURABLE);
	}
	c->batch->unready--;
	LIST_REMOVE(c, busy_link);
	free(c);
}

static void cow_read(struct io *io)
{
	struct store *store = io->store;
	struct cow *c = io->user;

	if (io->request.result) {
		store->counters.read_errors++;
		c->bad_mask |= (uint16_t)(1u << io->number);
	}
	io_put(io);
	if (--c->pending == 0)
		cow_finish(c);
	store_continue(store);
}

static void cow_read_blocks(struct cow *c, uint16_t mask)
{
	c->pending += (uint32_t)__builtin_popcount(mask);
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		struct io *io;

		if (!(mask >> b & 1))
			continue;
		c->sources[b] = block_offset(c->store, c->old_place, b);
		io = io_get(c->store, cow_read);
		io->user = c;
		io->number = b;
		io_add(io, c->buf->data + b * BLOCK_BYTES, BLOCK_BYTES);
		io_read(io, c->sources[b], 0);
	}
}

static bool cow_try(struct cow *c)
{
	if (c->need_ticket > c->store->journal.completed_ticket)
		return false;
	if (c->old_mask)
		cow_read_blocks(c, c->old_mask);
	else
		cow_finish(c);
	return true;
}

void cow_start(struct cow *c)
{
	if (!cow_try(c))
		TAILQ_INSERT_TAIL(&c->store->cows, c, link);
}

void cow_continue(struct store *store)
{
	struct cow *c, *next;

	TAILQ_FOREACH_SAFE (c, &store->cows, link, next) {
		if (c->need_ticket > store->journal.completed_ticket)
			continue;
		TAILQ_REMOVE(&store->cows, c, link);
		cow_try(c);
	}
}
