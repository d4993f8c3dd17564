/*
 * writeback.c - brings blocks from the journal home.
 *
 * It goes through the journal from the oldest batch on, a window of consecutive batches at a time: reads them in one request,
 * picks the blocks that are still the newest of their place, sorts them by place and writes them. A block that was
 * overwritten or freed meanwhile costs nothing. The home writes need not be durable one by one: the tail moves
 * only at a checkpoint, after a SYNC (checkpoint.c).
 *
 * Only confirmed batches are written back: recovery looks at the data of the others (direct.c).
 */
#include "replica-engine/store/store_internal.h"

#define WINDOW_BLOCKS (WINDOW_BYTES_MAX / BLOCK_BYTES)

struct home_block {
	uint32_t place;
	uint32_t block;
	uint32_t where, sequence;
	uint8_t *data;
};

struct writeback {
	bool running;
	uint64_t ring_done; /* batches of the ring that are at home */
	uint64_t window;    /* batches that are under way */
	uint64_t window_bytes;
	struct buf *buf;
	struct home_block blocks[WINDOW_BLOCKS];
	uint32_t block_count, next, in_flight;
	uint32_t depth;
	bool all; /* write back everything */
};

void writeback_init(struct store *store)
{
	store->writeback = xcalloc(1, sizeof *store->writeback);
	store->writeback->depth = 16;
}

void writeback_destroy(struct store *store)
{
	if (store->writeback)
		buf_unref(store->writeback->buf);
	free(store->writeback);
}

uint64_t writeback_ring_done(const struct store *store)
{
	return store->writeback->ring_done;
}

void writeback_ring_moved(struct store *store, uint64_t dropped)
{
	assert(store->writeback->ring_done >= dropped);
	store->writeback->ring_done -= dropped;
}

bool writeback_idle(const struct store *store)
{
	return !store->writeback->running;
}

uint64_t writeback_position(const struct store *store)
{
	struct store *s = (struct store *)(uintptr_t)store;
	uint64_t done = store->writeback->ring_done;

	return done < store->journal.ring_count ? journal_info(s, done)->position
						: store->journal.head;
}

/* ---- one window ---- */

static void window_finish(struct store *store)
{
	struct writeback *w = store->writeback;

	if (!store->failed)
		w->ring_done += w->window;
	buf_unref(w->buf);
	w->buf = NULL;
	w->running = false;
	w->block_count = w->next = 0;
	places_release(store);
	store_continue(store);
}

static void write_more(struct store *store);

static void home_written(struct io *io)
{
	struct store *store = io->store;
	struct writeback *w = store->writeback;
	const struct home_block *first = io->user;

	w->in_flight--;
	if (io->request.result) {
		store->counters.write_errors++;
		store_fail(store, "data", io->request.offset, io->request.result);
	} else {
		for (uint64_t i = 0; i < io->number; i++)
			dirty_clear(&store->dirty, first[i].place, first[i].block, first[i].where,
				    first[i].sequence);
	}
	io_put(io);
	write_more(store);
}

static uint64_t home_of(const struct store *store, const struct home_block *b)
{
	return place_offset(store, b->place) + (uint64_t)b->block * BLOCK_BYTES;
}

/* Blocks that follow each other at home go in one request. */
static void write_run(struct store *store)
{
	struct writeback *w = store->writeback;
	struct home_block *first = &w->blocks[w->next];
	struct io *io = io_get(store, home_written);

	io->user = first;
	while (w->next < w->block_count && io->number < ARRAY_SIZE(io->iov) &&
	       home_of(store, &w->blocks[w->next]) ==
		       home_of(store, first) + io->number * BLOCK_BYTES) {
		io_add(io, w->blocks[w->next].data, BLOCK_BYTES);
		io->number++;
		w->next++;
	}
	w->in_flight++;
	store->counters.home_write_bytes += io->number * BLOCK_BYTES;
	io_write(io, home_of(store, first), 0);
}

static void write_more(struct store *store)
{
	struct writeback *w = store->writeback;

	while (!store->failed && w->next < w->block_count && w->in_flight < w->depth)
		write_run(store);
	if (!w->in_flight)
		window_finish(store);
}

static int by_home(const void *a, const void *b)
{
	const struct home_block *x = a, *y = b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

bool writeback_holds(const struct store *store, uint32_t place)
{
	const struct writeback *w = store->writeback;
	uint32_t low = 0, high = w->block_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (w->blocks[middle].place < place)
			low = middle + 1;
		else
			high = middle;
	}
	return low < w->block_count && w->blocks[low].place == place;
}

struct batch_reader {
	struct store *store;
	const struct disk_batch *header;
	uint8_t *data;
	uint32_t where;
};

static void pick_place(struct batch_reader *r, const struct disk_place *p, uint16_t mask)
{
	struct writeback *w = r->store->writeback;

	if (p->place == PLACE_NONE || (p->flags & PLACE_DIRECT))
		return;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		const struct dirty_block *d;

		if (!(mask >> b & 1))
			continue;
		d = dirty_find(&r->store->dirty, p->place, b);
		/* Also of a place that was freed: that may not be durable yet. */
		if (d && d->where == r->where && d->sequence == (uint32_t)r->header->sequence) {
			w->blocks[w->block_count++] =
				(struct home_block){p->place, b, d->where, d->sequence, r->data};
		}
		r->data += BLOCK_BYTES;
		r->where++;
	}
}

static void pick_record(struct batch_reader *r, const struct disk_record *head)
{
	const void *body = head;
	const struct disk_record_write *w = body;
	const struct disk_record_copy *c = body;
	const struct disk_record_repair *p = body;

	switch (head->kind) {
	case RECORD_WRITE:
		for (uint32_t i = 0; i < w->unit_count; i++)
			pick_place(r, &w->places[i], range_mask(w->offset, w->length, i));
		break;
	case RECORD_COPY:
		pick_place(r, &c->place, c->taken_mask & ~c->zero_mask & ~c->bad_mask);
		break;
	case RECORD_REPAIR:
		pick_place(r, &p->place, p->block_mask);
		break;
	default:
		break;
	}
}

/* The blocks of a batch that are still the newest; false if it isn't the batch that was written there. */
static bool pick_batch(struct store *store, const struct batch_info *info, uint8_t *at)
{
	struct disk_batch *h = (struct disk_batch *)(void *)at;
	struct batch_reader r = {.store = store, .header = h};
	uint32_t crc = h->crc;
	const uint8_t *next;

	if (h->magic != BATCH_MAGIC || crc != info->crc || h->header_bytes > info->bytes ||
	    h->header_bytes < sizeof *h)
		return false;
	h->crc = 0;
	if (store_crc(store->seed, h, h->header_bytes) != crc)
		return false;
	r.data = at + h->header_bytes;
	r.where = (uint32_t)((info->position + h->header_bytes) % store->super.journal_bytes /
			     BLOCK_BYTES);
	next = (const uint8_t *)(h + 1);
	for (uint32_t i = 0; i < h->record_count; i++) {
		const struct disk_record *record = (const struct disk_record *)(const void *)next;

		pick_record(&r, record);
		next += record->bytes;
	}
	return true;
}

/*
 * The journal lost blocks that are nowhere else. Their places at home hold older data, which fails the checksums: reads
 * say so, and the owner repairs them.
 */
static void lose_batch(struct store *store, const struct batch_info *info)
{
	store->counters.checksum_errors +=
		dirty_clear_batch(&store->dirty, (uint32_t)info->sequence);
}

static void window_read(struct io *io)
{
	struct store *store = io->store;
	struct writeback *w = store->writeback;
	uint8_t *at = w->buf->data;

	if (io->request.result)
		store->counters.read_errors++;
	for (uint64_t i = 0; i < w->window; i++) {
		const struct batch_info *info = journal_info(store, w->ring_done + i);

		if (info->live && (io->request.result || !pick_batch(store, info, at)))
			lose_batch(store, info);
		at += info->bytes;
	}
	io_put(io);
	qsort(w->blocks, w->block_count, sizeof w->blocks[0], by_home);
	write_more(store);
}

/* Batches from ring_done on that lie side by side; returns how many may be written back together. */
static uint64_t choose_window(struct store *store, uint32_t *live)
{
	struct writeback *w = store->writeback;
	uint64_t n = 0, limit = MIN(WINDOW_BYTES_MAX, store->super.journal_bytes / 8);

	w->window_bytes = 0;
	*live = 0;
	while (w->ring_done + n < store->journal.ring_count) {
		const struct batch_info *info = journal_info(store, w->ring_done + n);

		/* What has no block to bring home need only be complete. */
		if (info->sequence > (info->live ? store->journal.confirmed_sequence
						 : store->journal.durable_sequence))
			break;
		if (n && (w->window_bytes + info->bytes > limit ||
			  journal_info(store, w->ring_done)->position + w->window_bytes !=
				  info->position ||
			  info->position % store->super.journal_bytes == 0))
			break;
		w->window_bytes += info->bytes;
		*live += info->live;
		n++;
	}
	return n;
}

static void window_start(struct store *store)
{
	struct writeback *w = store->writeback;
	uint32_t live;
	struct io *io;

	while ((w->window = choose_window(store, &live)) && !live)
		w->ring_done += w->window;
	if (!w->window)
		return;
	w->running = true;
	w->buf = buf_new(w->window_bytes);
	io = io_get(store, window_read);
	io_add(io, w->buf->data, w->window_bytes);
	io_read(io, journal_ring_offset(store, journal_info(store, w->ring_done)->position));
}

static bool wanted(const struct store *store)
{
	uint64_t backlog = store->journal.head - writeback_position(store);

	return store->closing || !TAILQ_EMPTY(&store->waiting) ||
	       backlog > store->super.journal_bytes / 4;
}

void writeback_continue(struct store *store)
{
	if (!store->failed && !store->options.read_only && !store->writeback->running &&
	    wanted(store))
		window_start(store);
}
