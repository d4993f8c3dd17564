/* store.c - the store's interface: submission, what is known of chunks, counters, failure, closing. */
#include "replica-engine/store/store_internal.h"

#include "common/trace/trace.h"

#define RESERVE_UNITS_MAX 4096u

struct store *store_new(struct io_disk *disk, const struct store_options *options,
			const struct disk_superblock *super)
{
	struct store *store = xcalloc(1, sizeof *store);

	store->disk = disk;
	store->options = *options;
	store->super = *super;
	store->seed = store_seed(super->disk);
	store->unit_count = (uint32_t)super->unit_count;
	store->reserve_units =
		OVERWRITE_UNITS + MIN(MAX(store->unit_count / 64, 4u), RESERVE_UNITS_MAX);
	TAILQ_INIT(&store->dirty_chunks);
	TAILQ_INIT(&store->graves);
	TAILQ_INIT(&store->waiting);
	TAILQ_INIT(&store->readers);
	TAILQ_INIT(&store->deferred);
	TAILQ_INIT(&store->free_batches);
	TAILQ_INIT(&store->cows);
	space_init(&store->places, store->unit_count);
	space_init(&store->slots, (uint32_t)(super->metadata_bytes / PAGE_BYTES));
	dirty_init(&store->dirty, super->journal_bytes / BLOCK_BYTES, store->unit_count,
		   journal_batch_dropped, store);
	store->freed_mask = 255;
	store->freed = xcalloc(store->freed_mask + 1, sizeof *store->freed);
	page_cache_init(store);
	journal_init(store);
	writeback_init(store);
	checkpoint_init(store);
	return store;
}

/* After a crash as far as the disk is concerned: requests that it forgot still have their buffers. */
static void free_requests(struct store *store)
{
	struct io *io;
	struct cow *c;

	while ((io = LIST_FIRST(&store->busy_ios))) {
		buf_unref(io->buf);
		io_put(io);
	}
	while ((io = SLIST_FIRST(&store->free_ios))) {
		SLIST_REMOVE_HEAD(&store->free_ios, free_link);
		free(io);
	}
	while ((c = LIST_FIRST(&store->busy_cows))) {
		LIST_REMOVE(c, busy_link);
		buf_unref(c->buf);
		free(c);
	}
}

static void free_payloads(struct store_ops *ops)
{
	struct store_op *op;

	TAILQ_FOREACH (op, ops, link)
		slice_unref(&op_state(op)->payload);
}

void store_free(struct store *store)
{
	struct batch *b;

	free_payloads(&store->waiting);
	TAILQ_FOREACH (b, &store->journal.queue, link)
		free_payloads(&b->ops);
	free_requests(store);
	checkpoint_destroy(store);
	writeback_destroy(store);
	journal_destroy(store);
	chunk_free_all(store);
	dirty_destroy(&store->dirty);
	space_destroy(&store->slots);
	space_destroy(&store->places);
	free(store->refs);
	free(store->freed);
	free(store);
}

/* ---- going on ---- */

static void answer_deferred(struct store *store)
{
	struct store_ops ops = TAILQ_HEAD_INITIALIZER(ops);
	struct store_op *op;

	TAILQ_CONCAT(&ops, &store->deferred, link);
	while ((op = TAILQ_FIRST(&ops))) {
		TAILQ_REMOVE(&ops, op, link);
		op->done(op);
	}
}

static void doorbell_heard(struct io_disk_request *request)
{
	struct store *store = request->context;

	store->doorbell_rung = false;
	answer_deferred(store);
	store_continue(store);
}

void store_ring_doorbell(struct store *store)
{
	if (store->doorbell_rung)
		return;
	store->doorbell_rung = true;
	store->doorbell = (struct io_disk_request){
		.op = IO_DISK_READ,
		.done = doorbell_heard,
		.context = store,
	};
	store->disk->submit(store->disk, &store->doorbell);
}

void store_defer(struct store *store, struct store_op *op)
{
	TAILQ_INSERT_TAIL(&store->deferred, op, link);
	store_ring_doorbell(store);
}

static bool finish_closing(struct store *store)
{
	void (*done)(void *context, int status) = store->close_done;

	if (!store->closing || !done || store->doorbell_rung)
		return false;
	if (!LIST_EMPTY(&store->busy_ios) || !TAILQ_EMPTY(&store->readers) ||
	    !page_cache_idle(store) || !TAILQ_EMPTY(&store->deferred) || !journal_idle(store) ||
	    checkpoint_running(store) || !writeback_idle(store) ||
	    !(store->failed || checkpoint_closed(store)))
		return false;
	store->close_done = NULL;
	done(store->close_context, store->failed ? -EIO : 0);
	return true;
}

void store_continue(struct store *store)
{
	journal_pump(store);
	cow_continue(store);
	readers_continue(store);
	if (store->cache.limit)
		page_cache_continue(store);
	mutate_admit_waiting(store);
	journal_start(store);
	writeback_continue(store);
	checkpoint_continue(store);
	if (store_wants_room(store) || store->closing)
		journal_confirm(store);
	finish_closing(store);
}

void store_fail(struct store *store, const char *what, uint64_t offset, int error)
{
	if (!store->failed)
		trace(TRACE_ERROR, "store",
		      "disk write failed: %s at offset %llu: %s; this disk takes no more writes",
		      what, (unsigned long long)offset, strerror(-error));
	store->failed = true;
}

void store_tick(struct store *store, uint64_t now_ns)
{
	(void)now_ns;
	if (store->freed_count)
		journal_confirm(store);
	writeback_tick(store);
	checkpoint_continue(store);
}

void store_close(struct store *store, void (*done)(void *context, int status), void *context)
{
	store->close_done = done;
	store->close_context = context;
	store->closing = true;
	store_ring_doorbell(store);
}

/* ---- operations ---- */

void store_submit(struct store *store, struct store_op *op)
{
	op->versions = NULL;
	op->invalid = NULL;
	op->allocated = NULL;
	if (op->kind == STORE_READ)
		read_submit(store, op);
	else if (op->kind == STORE_VERSIONS)
		versions_submit(store, op);
	else
		mutate_submit(store, op);
}

void store_op_clear(struct store_op *op)
{
	free(op->versions);
	free(op->invalid);
	free(op->allocated);
	op->versions = NULL;
	op->invalid = NULL;
	op->allocated = NULL;
	if (op->kind == STORE_READ)
		slice_unref(&op->data);
}

/* ---- what is known ---- */

static void describe(const struct chunk *c, struct store_chunk *out)
{
	const struct chunk_state *s = &c->submitted;

	*out = (struct store_chunk){
		.chunk = c->id,
		.root_chunk = s->root_chunk,
		.chunk_bytes = s->chunk_bytes,
		.epoch = s->epoch,
		.position = s->position,
		.base_generation = s->base_generation,
		.commit = s->commit,
		.digest = c->digest,
		.mending = s->mending,
		.unit_count = (uint32_t)(s->chunk_bytes / UNIT_BYTES),
		.invalid_units = c->invalid_units,
		.allocated_bytes = (uint64_t)c->places * UNIT_BYTES,
	};
}

bool store_chunk_get(const struct store *store, uint64_t chunk, struct store_chunk *out)
{
	const struct chunk *c = chunk_find(store, chunk);

	if (!c || !c->submitted.exists)
		return false;
	describe(c, out);
	return true;
}

uint64_t store_tombstone(const struct store *store, uint64_t chunk)
{
	const struct chunk *c = chunk_find(store, chunk);

	return c && !c->submitted.exists ? c->submitted.commit : 0;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_chunks(struct store *store)
{
	const struct chunk *c;

	store->order =
		xrealloc(store->order, (store->index_count + (size_t)1) * sizeof *store->order);
	store->order_count = 0;
	for (c = store->chunks; c; c = c->hh.next)
		store->order[store->order_count++] = c->id;
	qsort(store->order, store->order_count, sizeof *store->order, by_id);
	store->order_valid = true;
}

bool store_chunk_next(const struct store *store, uint64_t *chunk, struct store_chunk *out)
{
	struct store *s = (struct store *)(uintptr_t)store; /* the order is a cache */
	uint32_t low = 0, high;

	if (!store->order_valid)
		sort_chunks(s);
	for (high = store->order_count; low < high;) {
		uint32_t middle = low + (high - low) / 2;

		if (store->order[middle] < *chunk)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < store->order_count; low++) {
		if (store_chunk_get(store, store->order[low], out)) {
			*chunk = store->order[low];
			return true;
		}
	}
	return false;
}

struct store_identity store_identity(const struct store *store)
{
	struct store_identity id = {.cid = store->super.cid};

	memcpy(id.disk.bytes, store->super.disk, sizeof id.disk.bytes);
	memcpy(id.cluster.bytes, store->super.cluster, sizeof id.cluster.bytes);
	return id;
}

uint64_t store_memory_bytes(const struct store *store)
{
	return page_cache_memory_bytes(store) +
	       store->index_count * (sizeof(struct chunk) + sizeof(struct disk_root_entry) + 12) +
	       store->table_bytes + store->unit_count * sizeof *store->refs +
	       space_memory_bytes(&store->places) + space_memory_bytes(&store->slots) +
	       dirty_memory_bytes(&store->dirty, store->unit_count) +
	       (store->journal.ring_mask + 1) * sizeof(struct batch_info) + sizeof *store;
}

struct store_counters store_counters(const struct store *store)
{
	struct store_counters c = store->counters;
	uint64_t free_units = places_free(store);

	c.capacity_bytes = (uint64_t)store->unit_count * UNIT_BYTES;
	c.used_bytes = (store->unit_count - free_units) * UNIT_BYTES;
	c.free_bytes = free_units > store->reserve_units
			       ? (free_units - store->reserve_units) * UNIT_BYTES
			       : 0;
	c.journal_bytes = store->super.journal_bytes;
	c.journal_used_bytes = store->journal.head - store->journal.tail;
	c.memory_bytes = store_memory_bytes(store);
	c.metadata_resident_bytes = page_cache_memory_bytes(store);
	c.metadata_memory_bytes = store->options.metadata_memory_bytes;
	return c;
}

bool store_failed(const struct store *store)
{
	return store->failed;
}

/* ---- identity ---- */

static void identity_written(struct io *io)
{
	struct store *store = io->store;
	void (*done)(void *context, int status) = store->identity_done;
	int status = io->request.result;
	bool first = io->request.offset == 0;
	struct buf *buf = io->buf;

	io_put(io);
	if (status)
		store_fail(store, "superblock", 0, status);
	if (!status && first) {
		/* One copy is durable before the other is touched. */
		io = io_get(store, identity_written);
		io->buf = buf;
		io_add(io, buf->data, sizeof store->super);
		io_write(io, store->super.size_bytes - sizeof store->super, IO_DISK_DURABLE);
		return;
	}
	buf_unref(buf);
	store->identity_done = NULL;
	done(store->identity_context, status);
	store_continue(store);
}

void store_set_identity(struct store *store, struct uuid cluster, uint32_t cid,
			void (*done)(void *context, int status), void *context)
{
	struct io *io = io_get(store, identity_written);

	assert(!store->identity_done && !store->options.read_only);
	store->identity_done = done;
	store->identity_context = context;
	memcpy(store->super.cluster, cluster.bytes, sizeof store->super.cluster);
	store->super.cid = cid;
	store->super.sequence++;
	superblock_seal(&store->super);
	io->buf = buf_new(sizeof store->super);
	memcpy(io->buf->data, &store->super, sizeof store->super);
	io_add(io, io->buf->data, sizeof store->super);
	store->counters.metadata_write_bytes += 2 * sizeof store->super;
	io_write(io, 0, IO_DISK_DURABLE);
}
