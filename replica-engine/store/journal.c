/*
 * journal.c - group commit: records of all chunks are collected in a batch while earlier batches are being written.
 *
 * A batch is one durable device write: header with the records, then the data blocks straight from the callers' buffers.
 * Two are in flight, and the second only if it has collected as much as the first: each batch costs a header block and a flush. Batches
 * of whole units (direct.c), short beside their data, don't wait for one another: up to eight. Replay's search behind the
 * journal's end (replay.c, scan_next) covers what is in flight: together never longer than two batches of the longest kind.
 * Batches complete in order, whatever the disk does. A batch never wraps; what is left at the end of the ring is skipped.
 *
 * Room is promised when a record is added (journal_collect), so that what was applied in memory can always be
 * written. When write-back falls behind, records are let in only as it gets on, first somewhat faster than it, then slower: the
 * foreground slows down smoothly long before the journal is full. After a failed write all that comes later fails too.
 */
#include "replica-engine/store/store_internal.h"

#define SECOND_RECORDS    8u
#define SECOND_DATA_BYTES 65536u

void journal_init(struct store *store)
{
	struct journal *j = &store->journal;

	TAILQ_INIT(&j->queue);
	j->ring_mask = 255;
	j->ring = xcalloc(j->ring_mask + 1, sizeof *j->ring);
	j->batch_bytes_max = (uint32_t)ROUND_DOWN(
		MIN(MAX(store->super.journal_bytes / 16, UINT64_C(163840)), UINT64_C(1048576)),
		BLOCK_BYTES);
}

static void batch_destroy(struct batch *b)
{
	buf_unref(b->header);
	free(b);
}

void journal_destroy(struct store *store)
{
	struct batch *b;

	while ((b = TAILQ_FIRST(&store->journal.queue))) {
		TAILQ_REMOVE(&store->journal.queue, b, link);
		batch_destroy(b);
	}
	while ((b = TAILQ_FIRST(&store->free_batches))) {
		TAILQ_REMOVE(&store->free_batches, b, link);
		batch_destroy(b);
	}
	free(store->journal.ring);
}

/* ---- the ring of what is in the journal ---- */

struct batch_info *journal_info(struct store *store, uint64_t i)
{
	struct journal *j = &store->journal;

	assert(i < j->ring_count);
	return &j->ring[(j->ring_first + i) & j->ring_mask];
}

void journal_push_info(struct store *store, const struct batch_info *info)
{
	struct journal *j = &store->journal;

	if (j->ring_count > j->ring_mask) {
		uint64_t size = 2 * (j->ring_mask + 1);
		struct batch_info *grown = xcalloc(size, sizeof *grown);

		for (uint64_t i = 0; i < j->ring_count; i++)
			grown[i] = *journal_info(store, i);
		free(j->ring);
		j->ring = grown;
		j->ring_first = 0;
		j->ring_mask = size - 1;
	}
	j->ring[(j->ring_first + j->ring_count++) & j->ring_mask] = *info;
}

static struct batch_info *info_of(struct store *store, uint32_t sequence)
{
	struct journal *j = &store->journal;
	uint32_t i;

	if (!j->ring_count)
		return NULL;
	i = sequence - (uint32_t)journal_info(store, 0)->sequence;
	return i < j->ring_count ? journal_info(store, i) : NULL;
}

void journal_batch_live(struct store *store, uint32_t sequence)
{
	struct batch_info *info = info_of(store, sequence);

	assert(info);
	info->live++;
}

void journal_batch_dropped(void *context, uint32_t sequence)
{
	struct batch_info *info = info_of(context, sequence);

	if (info && info->live)
		info->live--;
}

void journal_set_tail(struct store *store, uint64_t ring_drop)
{
	struct journal *j = &store->journal;

	assert(ring_drop <= j->ring_count);
	j->ring_first = (j->ring_first + ring_drop) & j->ring_mask;
	j->ring_count -= ring_drop;
	j->tail = j->ring_count ? journal_info(store, 0)->position : j->head;
	writeback_ring_moved(store, ring_drop);
}

uint64_t journal_ring_offset(const struct store *store, uint64_t position)
{
	return store->super.journal_offset + position % store->super.journal_bytes;
}

/* ---- collecting ---- */

static uint32_t header_bytes_for(uint32_t record_bytes)
{
	return ROUND_UP((uint32_t)sizeof(struct disk_batch) + record_bytes, BLOCK_BYTES);
}

static uint32_t batch_bytes(const struct batch *b)
{
	return header_bytes_for(b->record_bytes) + b->data_bytes;
}

static struct batch *batch_new(struct store *store)
{
	struct batch *b = TAILQ_FIRST(&store->free_batches);
	struct buf *header = b ? b->header : NULL;

	if (b)
		TAILQ_REMOVE(&store->free_batches, b, link);
	else
		b = xmalloc(sizeof *b);
	memset(b, 0, sizeof *b);
	b->header = header ? header : buf_new(BATCH_HEADER_MAX);
	b->store = store;
	b->iov_count = 1;
	TAILQ_INIT(&b->ops);
	TAILQ_INSERT_TAIL(&store->journal.queue, b, link);
	store->journal.reserved += batch_bytes(b);
	return b;
}

static struct batch *collecting(struct store *store)
{
	struct batch *b = TAILQ_LAST(&store->journal.queue, batches);

	return b && !b->closed ? b : NULL;
}

void journal_close_batch(struct store *store)
{
	struct batch *b = collecting(store);

	if (b && !TAILQ_EMPTY(&b->ops))
		b->closed = true;
}

static bool batch_has_room(const struct batch *b, uint32_t record_bytes, uint32_t data_bytes)
{
	return sizeof(struct disk_batch) + b->record_bytes + record_bytes <= BATCH_HEADER_MAX &&
	       batch_bytes(b) + BLOCK_BYTES + data_bytes <= b->store->journal.batch_bytes_max &&
	       b->iov_count + BATCH_IOVS_PER_OP <= BATCH_IOVS;
}

static bool journal_has_room(const struct store *store, uint64_t bytes)
{
	const struct journal *j = &store->journal;
	/* Skipped at the end of the ring, and one empty batch to confirm the last. */
	uint64_t slack = j->batch_bytes_max + 2 * BLOCK_BYTES;

	return j->head - j->tail + j->reserved + bytes + slack <= store->super.journal_bytes;
}

/* What write-back has not brought home yet, with what is going to be written. */
static uint64_t backlog(const struct store *store)
{
	return store->journal.head + store->journal.reserved - writeback_position(store);
}

static int64_t credit_max(const struct store *store)
{
	return (int64_t)MAX(store->super.journal_bytes / 64, 256 * KIB);
}

static bool held_back(struct store *store, uint64_t bytes)
{
	struct journal *j = &store->journal;

	if (backlog(store) <= store->super.journal_bytes / 4 || writeback_idle(store)) {
		j->credit_bytes = credit_max(store);
		return false;
	}
	if (j->credit_bytes < (int64_t)bytes)
		return true;
	j->credit_bytes -= (int64_t)bytes;
	return false;
}

void journal_add_credit(struct store *store, uint64_t bytes)
{
	struct journal *j = &store->journal;
	uint64_t quarter = store->super.journal_bytes / 4;
	uint64_t over = backlog(store) > quarter ? MIN(backlog(store) - quarter, quarter) : 0;

	/* 3/2 of what came home when a quarter of the journal isn't at home, 1/2 when it is half. */
	j->credit_bytes += (int64_t)(bytes / 2 * (3 * quarter - 2 * over) / quarter);
	j->credit_bytes = MIN(j->credit_bytes, credit_max(store));
}

struct batch *journal_collect(struct store *store, uint32_t record_bytes, uint32_t data_bytes)
{
	struct batch *b = collecting(store);

	if (record_bytes && !store->failed &&
	    (!journal_has_room(store,
			       ROUND_UP(record_bytes, BLOCK_BYTES) + data_bytes + BLOCK_BYTES) ||
	     held_back(store, record_bytes + data_bytes)))
		return NULL;
	if (b && !batch_has_room(b, record_bytes, data_bytes)) {
		b->closed = true;
		b = NULL;
	}
	return b ? b : batch_new(store);
}

void *batch_record(struct batch *b, uint32_t bytes)
{
	struct journal *j = &b->store->journal;
	uint8_t *at = b->header->data + sizeof(struct disk_batch) + b->record_bytes;

	assert(bytes % 8 == 0 && bytes <= RECORD_BYTES_MAX);
	assert(sizeof(struct disk_batch) + b->record_bytes + bytes <= BATCH_HEADER_MAX);
	j->reserved -= batch_bytes(b);
	b->record_bytes += bytes;
	b->record_count++;
	j->reserved += batch_bytes(b);
	j->last_operation++;
	if (b->record_count == 1)
		b->first_operation = j->last_operation;
	memset(at, 0, bytes);
	return at;
}

void batch_add_data(struct batch *b, void *data, uint32_t bytes)
{
	struct iovec *last = &b->iov[b->iov_count - 1];

	b->data_bytes += bytes;
	b->store->journal.reserved += bytes;
	if (b->iov_count > 1 && (uint8_t *)last->iov_base + last->iov_len == (uint8_t *)data) {
		last->iov_len += bytes;
		return;
	}
	assert(b->iov_count < BATCH_IOVS);
	b->iov[b->iov_count++] = (struct iovec){data, bytes};
}

void batch_add_op(struct batch *b, struct store_op *op)
{
	struct op_state *s = op_state(op);

	if (TAILQ_EMPTY(&b->ops))
		b->first_ticket = s->ticket;
	b->last_ticket = s->ticket;
	s->batch = b;
	TAILQ_INSERT_TAIL(&b->ops, op, link);
}

/* ---- writing ---- */

static void batch_written(struct io_disk_request *request)
{
	struct batch *b = request->context;
	struct store *store = b->store;

	b->written = true;
	if (request->result) {
		b->failed = true;
		store->counters.write_errors++;
		store_fail(store, "journal", request->offset, request->result);
	}
	store_continue(store);
}

static void seal_header(struct store *store, struct batch *b)
{
	struct journal *j = &store->journal;
	struct disk_batch *h = (struct disk_batch *)(void *)b->header->data;
	uint32_t used = (uint32_t)sizeof *h + b->record_bytes;

	*h = (struct disk_batch){
		.magic = BATCH_MAGIC,
		.sequence = b->sequence,
		.position = b->position,
		.mount = j->mount,
		.first_operation = b->record_count ? b->first_operation : j->last_operation + 1,
		.confirmed = b->confirmed,
		.previous_crc = j->previous_crc,
		.header_bytes = b->header_bytes,
		.data_bytes = b->data_bytes,
		.data_crc = store->seed,
		.record_count = b->record_count,
		.record_bytes = b->record_bytes,
	};
	memset(b->header->data + used, 0, b->header_bytes - used);
	for (uint32_t i = 1; i < b->iov_count; i++)
		h->data_crc = store_crc(h->data_crc, b->iov[i].iov_base, b->iov[i].iov_len);
	h->crc = store_crc(store->seed, h, b->header_bytes);
	j->previous_crc = h->crc;
}

static void write_batch(struct store *store, struct batch *b)
{
	b->iov[0] = (struct iovec){b->header->data, b->header_bytes};
	b->request = (struct io_disk_request){
		.op = IO_DISK_WRITE,
		.flags = IO_DISK_DURABLE,
		.offset = journal_ring_offset(store, b->position),
		.bytes = (uint64_t)b->header_bytes + b->data_bytes,
		.iov = b->iov,
		.iov_count = (int)b->iov_count,
		.done = batch_written,
		.context = b,
	};
	store->counters.device_writes++;
	store->counters.journal_write_bytes += b->request.bytes;
	store->disk->submit(store->disk, &b->request);
}

/* The position of a batch of so many bytes, behind what the ring's end would cut. */
static uint64_t position_for(const struct store *store, uint32_t bytes)
{
	uint64_t ring = store->super.journal_bytes, head = store->journal.head;

	return head % ring + bytes > ring ? ROUND_UP(head, ring) : head;
}

static bool start_batch(struct store *store, struct batch *b)
{
	struct journal *j = &store->journal;
	uint32_t bytes = batch_bytes(b);
	uint64_t position = position_for(store, bytes);

	if (!b->record_count && !b->confirm) {
		/* Only operations that changed nothing: they keep their place in the order. */
		b->started = b->written = b->closed = true;
		j->reserved -= bytes;
		return true;
	}
	if (position + bytes > j->tail + store->super.journal_bytes)
		return false;
	j->reserved -= bytes;
	b->started = b->closed = true;
	b->header_bytes = header_bytes_for(b->record_bytes);
	b->sequence = j->next_sequence++;
	b->position = position;
	b->confirmed = j->durable_sequence;
	b->confirmed_operation = j->durable_operation;
	j->head = position + bytes;
	j->in_flight++;
	j->in_flight_bytes += bytes;
	assert(j->in_flight_bytes <= 2 * j->batch_bytes_max); /* what replay looks through */
	uint32_t previous_crc = j->previous_crc;
	seal_header(store, b);
	journal_push_info(
		store,
		&(struct batch_info){
			.sequence = b->sequence,
			.position = position,
			.last_operation = b->record_count ? b->first_operation + b->record_count - 1
							  : j->durable_operation,
			.bytes = bytes,
			.crc = j->previous_crc,
			.previous_crc = previous_crc,
		});
	write_batch(store, b);
	return true;
}

/* As much as the batch under way, so that what is submitted divides into two equal batches, whatever its depth. */
static bool is_large_beside(const struct batch *b, const struct batch *under_way)
{
	return b->record_count >= MAX(SECOND_RECORDS, under_way->record_count) ||
	       b->data_bytes >= MAX(SECOND_DATA_BYTES, under_way->data_bytes);
}

static bool may_start(const struct store *store, const struct batch *b)
{
	const struct journal *j = &store->journal;
	const struct batch *under_way = TAILQ_FIRST(&j->queue);

	if (b->unready)
		return false;
	if (!j->in_flight)
		return true;
	if (b->direct && j->in_flight < DIRECT_BATCHES_IN_FLIGHT &&
	    j->in_flight_bytes + batch_bytes(b) <= 2 * j->batch_bytes_max)
		return true;
	return j->in_flight < BATCHES_IN_FLIGHT && (b->closed || is_large_beside(b, under_way));
}

void journal_start(struct store *store)
{
	struct batch *b, *first;

	TAILQ_FOREACH (b, &store->journal.queue, link) {
		if (b->started)
			continue;
		if (TAILQ_EMPTY(&b->ops) && !b->confirm)
			break;
		if (store->failed) {
			if (b->unready)
				break;
			b->started = b->written = b->closed = b->failed = true;
			store->journal.reserved -= batch_bytes(b);
			continue;
		}
		if (!may_start(store, b) || !start_batch(store, b))
			break;
	}
	/* A batch that needs no write completes when the loop turns. */
	first = TAILQ_FIRST(&store->journal.queue);
	if (first && first->started && first->written && !first->direct)
		store_ring_doorbell(store);
}

/* ---- completing ---- */

static void mark_lost(struct store *store, struct store_op *op)
{
	struct chunk *c = chunk_find(store, op->chunk);
	uint32_t first = op->offset / UNIT_BYTES, last = first;

	if (op->kind == STORE_COPY || op->kind == STORE_REPAIR)
		first = last = op->unit;
	else if (op->kind == STORE_WRITE || op->kind == STORE_ZERO || op->kind == STORE_DISCARD)
		last = (op->offset + op->bytes - 1) / UNIT_BYTES;
	else
		return;
	if (!c || !c->now.exists)
		return;
	for (uint32_t unit = first; unit <= last && unit < c->unit_count; unit++)
		unit_change(store, c, unit)->flags |= UNIT_LOST;
}

static void batch_failed(struct store *store, struct batch *b)
{
	struct store_op *op;

	TAILQ_FOREACH (op, &b->ops, link) {
		if (!op_state(op)->recorded)
			continue;
		op->status = STORE_DISK_ERROR;
		mark_lost(store, op);
	}
}

static void batch_durable(struct store *store, struct batch *b)
{
	struct journal *j = &store->journal;

	if (!b->sequence)
		return;
	j->durable_sequence = b->sequence;
	if (b->record_count)
		j->durable_operation = b->first_operation + b->record_count - 1;
	j->confirmed_sequence = b->confirmed;
	j->confirmed_operation = b->confirmed_operation;
	index_batch(store, (const struct disk_batch *)(const void *)b->header->data);
	places_release(store);
	writeback_allow(store, (uint64_t)b->header_bytes + b->data_bytes);
}

static void complete_batch(struct store *store, struct batch *b)
{
	struct store_ops ops = TAILQ_HEAD_INITIALIZER(ops);
	struct store_op *op;

	TAILQ_REMOVE(&store->journal.queue, b, link);
	if (b->sequence) {
		store->journal.in_flight--;
		store->journal.in_flight_bytes -= b->header_bytes + b->data_bytes;
	}
	if (b->failed || store->journal.broken) {
		store->journal.broken = true;
		batch_failed(store, b);
	} else {
		batch_durable(store, b);
	}
	if (b->last_ticket)
		store->journal.completed_ticket = b->last_ticket;
	TAILQ_CONCAT(&ops, &b->ops, link);
	TAILQ_INSERT_HEAD(&store->free_batches, b, link);
	while ((op = TAILQ_FIRST(&ops))) {
		TAILQ_REMOVE(&ops, op, link);
		slice_unref(&op_state(op)->payload);
		op->done(op);
	}
}

void journal_pump(struct store *store)
{
	struct batch *b;

	while ((b = TAILQ_FIRST(&store->journal.queue)) && b->started && b->written && !b->direct)
		complete_batch(store, b);
	journal_start(store);
}

bool journal_confirmed(const struct store *store)
{
	const struct journal *j = &store->journal;

	return !j->durable_sequence || j->confirmed_operation == j->durable_operation;
}

void journal_confirm(struct store *store)
{
	if (store->failed || !TAILQ_EMPTY(&store->journal.queue) || journal_confirmed(store))
		return;
	batch_new(store)->confirm = true;
	journal_start(store);
}

void journal_end_mark(struct store *store)
{
	batch_new(store)->confirm = true;
	journal_start(store);
}

bool journal_idle(const struct store *store)
{
	return TAILQ_EMPTY(&store->journal.queue);
}
