/*
 * writeback.c - brings blocks from the journal home.
 *
 * It goes through the journal from the oldest batch on, a window of consecutive batches at a time: reads them piece by piece
 * (the next window while one is written; pieces that are small, and one at a time, since a device works them off in turn: 8 MiB at once
 * hold up a durable write behind them for 5 to 10 ms), picks the blocks that are still the newest of their place, sorts them by place and writes them. A block that was
 * overwritten or freed meanwhile costs nothing. The home writes need not be durable one by one: the tail moves
 * only at a checkpoint, after a SYNC (checkpoint.c).
 *
 * As long as there is room it keeps pace with the foreground (at_ease): what becomes durable allows it to bring home about as much, a
 * few blocks at a time, LAZY, and the next window is read as far as the present one is written. Else a lone writer meets a
 * thousand home writes, or 8 MiB of reads, in a row.
 *
 * Only confirmed batches are written back: recovery looks at the data of the others (direct.c).
 */
#include "replica-engine/store/store_internal.h"

#define WINDOW_BYTES_MAX (8 * MIB)
#define SEGMENT_BYTES    (256 * KIB)
#define SEGMENTS_MAX     (WINDOW_BYTES_MAX / SEGMENT_BYTES)
/* The last segment may be a batch of the longest kind. */
#define WINDOW_BLOCKS ((WINDOW_BYTES_MAX + MIB) / BLOCK_BYTES)
#define DEPTH_MIN     4u
#define DEPTH_MAX     32u
/* At ease: begins to write when it may bring home so much of the journal; what may be is never more than the second. */
#define BURST_BYTES   (64 * KIB)
#define ALLOWANCE_MAX (512 * KIB)

struct home_block {
	uint32_t place;
	uint32_t block;
	uint32_t where, sequence;
	uint8_t *data;
};

/* Batches of a window that lie side by side and are read in one request: SEGMENT_BYTES, or one longer batch. */
struct segment {
	uint64_t first, count; /* in the ring, from ring_done on */
	uint64_t bytes;
	uint32_t live;
	struct buf *buf;
	int error;
};

/*
 * Consecutive batches on their way home: read, then picked and sorted (ready), then written. While one is written the next is
 * read, so that home writes never pause for the journal to be read: the foreground is let in as they complete.
 */
struct window {
	uint64_t batches, bytes;
	struct segment segments[SEGMENTS_MAX];
	uint32_t segment_count, next_read;
	bool reading;
	struct home_block blocks[WINDOW_BLOCKS];
	uint32_t block_count, next, in_flight;
	bool ready;
};

struct writeback {
	uint64_t ring_done;       /* batches of the ring that are at home */
	uint64_t allowance_bytes; /* of the journal, to bring home at ease */
	bool bursting;            /* until it is used up */
	uint64_t tick_head;       /* of the journal, at the last tick */
	struct window windows[2];
	struct window *current; /* is written: its batches follow ring_done. NULL: none */
	struct window
		*ahead; /* is read or ready: its batches follow the current one's. NULL: none */
};

void writeback_init(struct store *store)
{
	store->writeback = xcalloc(1, sizeof *store->writeback);
}

static void window_clear(struct window *w)
{
	for (uint32_t i = 0; i < w->segment_count; i++)
		buf_unref(w->segments[i].buf);
	w->segment_count = w->next_read = w->block_count = w->next = 0;
	w->batches = w->bytes = 0;
	w->ready = false;
}

void writeback_destroy(struct store *store)
{
	for (unsigned i = 0; store->writeback && i < ARRAY_SIZE(store->writeback->windows); i++)
		window_clear(&store->writeback->windows[i]);
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
	return !store->writeback->current && !store->writeback->ahead;
}

uint64_t writeback_position(const struct store *store)
{
	struct store *s = (struct store *)(uintptr_t)store;
	uint64_t done = store->writeback->ring_done;

	return done < store->journal.ring_count ? journal_info(s, done)->position
						: store->journal.head;
}

/* ---- one window ---- */

static void write_more(struct store *store);
static void read_more(struct store *store);
static void read_ahead(struct store *store);

/* What of the journal isn't at home beyond an eighth of it: at most another eighth. */
static uint64_t over_bytes(const struct store *store)
{
	uint64_t backlog = store->journal.head - writeback_position(store);
	uint64_t eighth = store->super.journal_bytes / 8;

	return backlog > eighth ? MIN(backlog - eighth, eighth) : 0;
}

/* Nobody waits for room, nor will soon. */
static bool at_ease(const struct store *store)
{
	return !store->closing && !store_wants_room(store) &&
	       over_bytes(store) < store->super.journal_bytes / 8;
}

static unsigned request_flags(const struct store *store)
{
	return at_ease(store) ? IO_DISK_LAZY : 0;
}

/* The window that is ready becomes the one that is written. */
static void promote(struct store *store)
{
	struct writeback *wb = store->writeback;

	if (wb->current || !wb->ahead || !wb->ahead->ready)
		return;
	wb->current = wb->ahead;
	wb->ahead = NULL;
	if (!wb->current->block_count)
		journal_add_credit(store, wb->current->bytes);
	read_ahead(store);
	write_more(store);
}

static void window_finish(struct store *store)
{
	struct writeback *wb = store->writeback;

	if (!store->failed)
		wb->ring_done += wb->current->batches;
	window_clear(wb->current);
	wb->current = NULL;
	places_release(store);
	promote(store);
	store_continue(store);
}

static void home_written(struct io *io)
{
	struct store *store = io->store;
	struct window *w = store->writeback->current;
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
	if (!store->failed)
		journal_add_credit(store, w->bytes * io->number / w->block_count);
	io_put(io);
	write_more(store);
	if (!TAILQ_EMPTY(&store->waiting))
		store_continue(store);
}

static uint64_t home_of(const struct store *store, const struct home_block *b)
{
	return place_offset(store, b->place) + (uint64_t)b->block * BLOCK_BYTES;
}

static void spend(struct writeback *wb, uint64_t bytes)
{
	wb->allowance_bytes -= MIN(wb->allowance_bytes, bytes);
}

/* Blocks that follow each other at home go in one request. */
static void write_run(struct store *store)
{
	struct window *w = store->writeback->current;
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
	spend(store->writeback, w->bytes * io->number / w->block_count);
	io_write(io, home_of(store, first), request_flags(store));
}

/* Few home writes at a time while there is plenty of room, more as it gets less. */
static uint32_t depth(const struct store *store)
{
	uint64_t eighth = store->super.journal_bytes / 8;

	return DEPTH_MIN + (uint32_t)((DEPTH_MAX - DEPTH_MIN) * over_bytes(store) / eighth);
}

/* Half of what became durable when an eighth of the journal isn't at home, 7/2 of it when it is a quarter. */
void writeback_allow(struct store *store, uint64_t bytes)
{
	struct writeback *wb = store->writeback;
	uint64_t eighth = store->super.journal_bytes / 8;

	wb->allowance_bytes += bytes / 2 * (eighth + 6 * over_bytes(store)) / eighth;
	wb->allowance_bytes = MIN(wb->allowance_bytes, ALLOWANCE_MAX);
}

static bool may_write(struct store *store)
{
	struct writeback *wb = store->writeback;

	if (wb->current->in_flight >= depth(store))
		return false;
	if (!at_ease(store))
		return true;
	if (wb->allowance_bytes >= BURST_BYTES)
		wb->bursting = true;
	else if (!wb->allowance_bytes)
		wb->bursting = false;
	return wb->bursting;
}

static void write_more(struct store *store)
{
	struct window *w = store->writeback->current;

	while (!store->failed && w->next < w->block_count && may_write(store))
		write_run(store);
	if (!w->in_flight && (store->failed || w->next == w->block_count))
		window_finish(store);
}

static int by_home(const void *a, const void *b)
{
	const struct home_block *x = a, *y = b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

static bool window_holds(const struct window *w, uint32_t place)
{
	uint32_t low = 0, high = w ? w->block_count : 0;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (w->blocks[middle].place < place)
			low = middle + 1;
		else
			high = middle;
	}
	return w && low < w->block_count && w->blocks[low].place == place;
}

bool writeback_holds(const struct store *store, uint32_t place)
{
	return window_holds(store->writeback->current, place) ||
	       window_holds(store->writeback->ahead, place);
}

struct batch_reader {
	struct store *store;
	const struct disk_batch *header;
	uint8_t *data;
	uint32_t where;
};

static void pick_place(struct batch_reader *r, const struct disk_place *p, uint16_t mask)
{
	struct window *w = r->store->writeback->ahead;

	if (p->place == PLACE_NONE || (p->flags & PLACE_DIRECT))
		return;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		const struct dirty_block *d;

		if (!(mask >> b & 1))
			continue;
		d = dirty_find(&r->store->dirty, p->place, b);
		/* Also of a place that was freed: that may not be durable yet. */
		if (d && d->where == r->where && d->sequence == (uint32_t)r->header->sequence) {
			assert(w->block_count < WINDOW_BLOCKS);
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

/* The ring's index of the first batch behind what is written. */
static uint64_t ring_ahead(const struct store *store)
{
	const struct writeback *wb = store->writeback;

	return wb->ring_done + (wb->current ? wb->current->batches : 0);
}

static void pick_segment(struct store *store, const struct segment *g)
{
	uint8_t *at = g->buf->data;

	for (uint64_t i = 0; i < g->count; i++) {
		const struct batch_info *info =
			journal_info(store, ring_ahead(store) + g->first + i);

		if (info->live && (g->error || !pick_batch(store, info, at)))
			lose_batch(store, info);
		at += info->bytes;
	}
}

static void segment_read(struct io *io)
{
	struct store *store = io->store;
	struct segment *g = io->user;

	store->writeback->ahead->reading = false;
	g->error = io->request.result;
	if (g->error)
		store->counters.read_errors++;
	io_put(io);
	read_more(store);
}

static void window_read(struct store *store)
{
	struct window *w = store->writeback->ahead;

	for (uint32_t i = 0; i < w->segment_count; i++)
		if (w->segments[i].buf)
			pick_segment(store, &w->segments[i]);
	qsort(w->blocks, w->block_count, sizeof w->blocks[0], by_home);
	w->ready = true;
	promote(store);
}

/* The batches from g->first on that lie side by side and may be written back. */
static bool choose_segment(struct store *store, struct segment *g, uint64_t limit)
{
	uint64_t from = ring_ahead(store) + g->first;

	while (from + g->count < store->journal.ring_count) {
		const struct batch_info *info = journal_info(store, from + g->count);

		/* What has no block to bring home need only be complete. */
		if (info->sequence > (info->live ? store->journal.confirmed_sequence
						 : store->journal.durable_sequence))
			break;
		if (g->count && (g->bytes + info->bytes > limit ||
				 journal_info(store, from)->position + g->bytes != info->position ||
				 info->position % store->super.journal_bytes == 0))
			break;
		g->bytes += info->bytes;
		g->live += info->live;
		g->count++;
	}
	return g->count > 0;
}

/* False if there is nothing to read. */
static bool choose_window(struct store *store, struct window *w)
{
	struct writeback *wb = store->writeback;
	bool any = false;
	uint64_t limit = MIN(WINDOW_BYTES_MAX, store->super.journal_bytes / 8);

	while (w->segment_count < SEGMENTS_MAX && w->bytes < limit) {
		struct segment g = {.first = w->batches};

		if (!choose_segment(store, &g, MIN(SEGMENT_BYTES, limit / 4)))
			break;
		if (!g.live && !w->segment_count && !wb->current) {
			wb->ring_done += g.count;
			journal_add_credit(store, g.bytes);
			continue;
		}
		w->segments[w->segment_count++] = g;
		w->batches += g.count;
		w->bytes += g.bytes;
		any |= g.live > 0;
	}
	return any;
}

static void read_segment(struct store *store, struct segment *g)
{
	struct io *io = io_get(store, segment_read);
	uint64_t first = ring_ahead(store) + g->first;

	g->buf = buf_new(g->bytes);
	io->user = g;
	io_add(io, g->buf->data, g->bytes);
	store->writeback->ahead->reading = true;
	io_read(io, journal_ring_offset(store, journal_info(store, first)->position),
		request_flags(store));
}

/* At ease the next window is read as far as the one before it is written. */
static bool may_read(const struct store *store)
{
	const struct window *w = store->writeback->ahead, *c = store->writeback->current;

	return !c || !at_ease(store) ||
	       (uint64_t)w->next_read * c->block_count <= (uint64_t)c->next * w->segment_count;
}

/* The window's next segment that holds something to bring home; behind the last the window is ready. */
static void read_more(struct store *store)
{
	struct window *w = store->writeback->ahead;

	if (!w || w->ready || w->reading)
		return;
	while (w->next_read < w->segment_count && !w->segments[w->next_read].live)
		w->next_read++;
	if (w->next_read == w->segment_count)
		window_read(store);
	else if (may_read(store))
		read_segment(store, &w->segments[w->next_read++]);
}

static bool wanted(const struct store *store)
{
	const struct window *current = store->writeback->current;
	uint64_t backlog =
		store->journal.head - writeback_position(store) - (current ? current->bytes : 0);

	return store->closing || store_wants_room(store) ||
	       backlog > store->super.journal_bytes / 8;
}

/* Reads the window behind the one that is written, if there is one and it isn't read yet. */
static void read_ahead(struct store *store)
{
	struct writeback *wb = store->writeback;
	struct window *w = &wb->windows[wb->current == &wb->windows[0]];

	if (store->failed || store->options.read_only || wb->ahead || !wanted(store))
		return;
	if (!choose_window(store, w)) {
		window_clear(w);
		return;
	}
	wb->ahead = w;
	read_more(store);
}

void writeback_continue(struct store *store)
{
	if (store->writeback->current)
		write_more(store);
	read_more(store);
	read_ahead(store);
}

void writeback_tick(struct store *store)
{
	struct writeback *wb = store->writeback;

	if (wb->tick_head == store->journal.head)
		wb->allowance_bytes = ALLOWANCE_MAX;
	wb->tick_head = store->journal.head;
	writeback_continue(store);
}
