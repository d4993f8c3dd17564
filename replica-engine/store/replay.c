/*
 * replay.c - reads the journal from the tail on, applies what the tree of pages doesn't hold yet, and finds the end.
 *
 * A batch counts if its header passes its checksum, its sequence number is the next, it names the checksum of the batch
 * before it, and its mount isn't older than that one's. Its data must pass too, unless a later batch confirms it: then bytes were
 * damaged that had been there, which the checksums of the blocks will show to readers. Records with direct places count only if the data there passes as well; that is
 * looked at only for batches that no later batch confirms (of the others the places may have been used again by
 * now). The first batch that doesn't count is the end. Batches wait here until they are confirmed or the end is known.
 *
 * With paging the pages that a batch's records need are read before it is applied; what it didn't change may go again after that.
 *
 * If a batch behind the end confirms the missing one, then that wasn't a torn tail but damage to what was acknowledged: the
 * disk is refused.
 */
#include "replica-engine/store/store_internal.h"

#include "common/base/crc.h"

#define WINDOW  ((uint32_t)SEGMENT_BYTES_MAX)
#define PENDING 16u

struct pending {
	struct disk_batch *header; /* with its records */
	struct batch_info info;
	bool torn;   /* its data fails the checksum */
	bool paging; /* the pages that it needs were asked for */
};

struct replay {
	struct opening *opening;
	struct buf *buf;
	uint64_t window_bytes, window_at; /* in buf; and how far it is taken */
	void (*resume)(struct replay *r); /* when pages have come */
	uint64_t position;                /* of the next batch */
	bool wrapped; /* the batch was not where it should be; now looked for at the ring's start */
	uint64_t end;
	uint64_t sequence;
	uint32_t previous_crc;
	uint64_t mount;
	uint64_t operation; /* of the last record */
	struct pending pending[PENDING];
	uint32_t first, count;
	/* applying what isn't confirmed */
	const struct disk_record *record;
	uint32_t record_next, place;
	/* looking for damage */
	uint64_t scanned;
};

static void replay_end(struct replay *r, int status, const char *why, uint64_t offset)
{
	struct opening *o = r->opening;

	o->store->cache.loaded = NULL;
	for (uint32_t i = 0; i < r->count; i++)
		free(r->pending[(r->first + i) % PENDING].header);
	buf_unref(r->buf);
	free(r);
	if (status)
		opening_fail(o, status, "%s (offset %llu)", why, (unsigned long long)offset);
	else
		opening_finish(o);
}

/* ---- is it a batch? ---- */

static bool records_valid(const struct store *store, const struct disk_batch *h)
{
	const uint8_t *next = (const uint8_t *)(h + 1);
	uint32_t left = h->record_bytes;
	uint64_t blocks = 0;

	for (uint32_t i = 0; i < h->record_count; i++) {
		const struct disk_record *record = (const struct disk_record *)(const void *)next;

		if (!record_valid(store, record, left))
			return false;
		blocks += record_data_blocks(record);
		left -= record->bytes;
		next += record->bytes;
	}
	return !left && blocks * BLOCK_BYTES == h->data_bytes;
}

/* The header alone: sizes within bounds, checksum right. at has `left` bytes. */
static bool header_valid(const struct store *store, uint8_t *at, uint64_t left)
{
	struct disk_batch *h = (struct disk_batch *)(void *)at;
	uint32_t crc = h->crc;
	bool valid;

	if (left < sizeof *h || h->magic != BATCH_MAGIC || h->header_bytes < BLOCK_BYTES ||
	    h->header_bytes > BATCH_HEADER_MAX || h->header_bytes % BLOCK_BYTES ||
	    h->header_bytes > left || h->data_bytes > WINDOW - BATCH_HEADER_MAX ||
	    h->data_bytes % BLOCK_BYTES || h->record_bytes > h->header_bytes - sizeof *h)
		return false;
	h->crc = 0;
	valid = store_crc(store->seed, h, h->header_bytes) == crc;
	h->crc = crc;
	return valid;
}

enum verdict {
	NO_BATCH,
	BATCH,
	MORE, /* the window ends within it */
};

static enum verdict judge(struct replay *r, uint8_t *at, uint64_t left)
{
	const struct store *store = r->opening->store;
	const struct disk_batch *h = (const struct disk_batch *)(const void *)at;
	uint64_t to_ring_end =
		store->super.journal_bytes - r->position % store->super.journal_bytes;
	uint64_t bytes;

	if (r->opening->limit && r->sequence >= r->opening->limit)
		return NO_BATCH;
	if (left < BLOCK_BYTES || h->magic != BATCH_MAGIC)
		return left < BLOCK_BYTES && left < to_ring_end ? MORE : NO_BATCH;
	bytes = (uint64_t)h->header_bytes + h->data_bytes;
	if (h->header_bytes > BATCH_HEADER_MAX || bytes > WINDOW || bytes > to_ring_end ||
	    h->position != r->position || h->sequence != r->sequence ||
	    h->previous_crc != r->previous_crc || h->mount < r->mount)
		return NO_BATCH;
	if (bytes > left)
		return MORE;
	if (!header_valid(store, at, left) || !records_valid(store, h) ||
	    (h->record_count && h->first_operation != r->operation + 1 && r->operation))
		return NO_BATCH;
	return BATCH;
}

/* ---- pages ---- */

/* The pages of units that a record's effect needs, as its chunk is before the batch: false if none. */
static bool record_pages(const struct store *store, const struct disk_record *r,
			 struct unit_table **table, uint32_t *first, uint32_t *last)
{
	const void *body = r;
	const struct disk_record_write *w = body;
	const struct disk_record_zero *z = body;
	const struct disk_record_copy *c = body;
	const struct disk_record_repair *p = body;
	const struct disk_record_state *s = body;
	const struct chunk *chunk =
		chunk_find(store, r->kind == RECORD_CLONE ? s->origin : r->chunk);
	uint64_t from = 0, to = CHUNK_BYTES_MAX - 1;

	if (!chunk || !chunk->table)
		return false;
	switch (r->kind) {
	case RECORD_WRITE:
		from = w->offset;
		to = from + w->length - 1;
		break;
	case RECORD_ZERO:
		from = z->offset;
		to = from + z->length - 1;
		break;
	case RECORD_COPY:
		from = to = (uint64_t)c->unit * UNIT_BYTES;
		break;
	case RECORD_REPAIR:
		from = to = (uint64_t)p->unit * UNIT_BYTES;
		break;
	case RECORD_INVALIDATE:
	case RECORD_DELETE:
	case RECORD_CLONE:
		break;
	default:
		return false;
	}
	*table = chunk->table;
	*first = (uint32_t)(from / UNIT_BYTES / UNITS_PER_PAGE);
	*last = MIN((uint32_t)(to / UNIT_BYTES / UNITS_PER_PAGE), chunk->table->page_count - 1);
	return *first <= *last;
}

/*
 * False if pages are being read that the batch needs: r->resume comes again. The chunks are looked at as they are before it: what it
 * creates or clones itself has no page on disk alone.
 */
static bool pages_here(struct replay *r, struct pending *p, void (*resume)(struct replay *r))
{
	struct store *store = r->opening->store;
	const uint8_t *next = (const uint8_t *)(p->header + 1);

	if (!store->cache.limit || p->paging)
		return true;
	page_cache_evict(store);
	for (uint32_t i = 0; i < p->header->record_count; i++) {
		const struct disk_record *record = (const struct disk_record *)(const void *)next;
		struct unit_table *table;
		uint32_t first, last;

		next += record->bytes;
		if (p->header->first_operation + i > store->checkpoint_operation &&
		    record_pages(store, record, &table, &first, &last))
			page_cache_load(store, table, first, last);
	}
	p->paging = true;
	r->resume = resume;
	return !store->cache.loading;
}

/* Pages have come; they were good a moment ago, when the tree was read. */
static void pages_loaded(void *context, int status, uint64_t offset)
{
	struct replay *r = context;

	if (status)
		replay_end(r, status, "a metadata page can't be read a second time", offset);
	else
		r->resume(r);
}

/* ---- applying ---- */

/* False if a record contradicts what is there. */
static bool apply_batch(struct store *store, const struct pending *p)
{
	const uint8_t *next = (const uint8_t *)(p->header + 1);

	journal_push_info(store, &p->info);
	for (uint32_t i = 0; i < p->header->record_count; i++) {
		const struct disk_record *record = (const struct disk_record *)(const void *)next;

		if (p->header->first_operation + i > store->checkpoint_operation &&
		    !apply_record(store, record))
			return false;
		next += record->bytes;
	}
	index_batch(store, p->header);
	return true;
}

static bool apply_first(struct replay *r)
{
	struct store *store = r->opening->store;
	struct pending *p = &r->pending[r->first];
	bool applied = apply_batch(store, p);

	free(p->header);
	p->header = NULL;
	r->first = (r->first + 1) % PENDING;
	r->count--;
	return applied;
}

static void window_continue(struct replay *r);

enum taken {
	TAKEN,
	TAKEN_LATER, /* pages are being read; the same batch is to be taken when they have come */
	CONTRADICTS,
};

/* Applies all batches up to one that is confirmed. */
static enum taken apply_confirmed(struct replay *r, uint64_t confirmed)
{
	while (r->count && r->pending[r->first].info.sequence <= confirmed) {
		if (!pages_here(r, &r->pending[r->first], window_continue))
			return TAKEN_LATER;
		if (!apply_first(r))
			return CONTRADICTS;
	}
	return TAKEN;
}

static enum taken take_batch(struct replay *r, const struct disk_batch *h)
{
	enum taken taken = apply_confirmed(r, h->confirmed);
	struct pending *p;

	if (taken != TAKEN)
		return taken;
	if (r->count == PENDING)
		return CONTRADICTS;
	if (h->record_count)
		r->operation = h->first_operation + h->record_count - 1;
	p = &r->pending[(r->first + r->count++) % PENDING];
	p->paging = false;
	p->header = xmalloc(h->header_bytes);
	memcpy(p->header, h, h->header_bytes);
	p->torn = store_crc(r->opening->store->seed, (const uint8_t *)h + h->header_bytes,
			    h->data_bytes) != h->data_crc;
	p->info = (struct batch_info){
		.sequence = h->sequence,
		.position = h->position,
		.last_operation = r->operation,
		.bytes = h->header_bytes + h->data_bytes,
		.crc = h->crc,
		.previous_crc = h->previous_crc,
	};
	r->sequence++;
	r->previous_crc = h->crc;
	r->mount = h->mount;
	r->position = r->end = h->position + p->info.bytes;
	return TAKEN;
}

/* ---- the end ---- */

static void scan_next(struct replay *r);

static void settle(struct replay *r)
{
	struct store *store = r->opening->store;
	struct journal *j = &store->journal;

	j->head = r->end;
	j->next_sequence = r->sequence;
	j->previous_crc = r->previous_crc;
	j->mount = MAX(r->mount, r->opening->checkpoint->mount) + 1;
	j->last_operation = j->durable_operation = MAX(r->operation, store->checkpoint_operation);
	j->durable_sequence = r->sequence - 1;
	/* The data of batches that weren't confirmed is looked at no more once the next batch is there. */
	j->confirmed_sequence = 0;
	j->confirmed_operation = 0;
	j->tail = j->ring_count ? journal_info(store, 0)->position : j->head;
	scan_next(r);
}

/* ---- batches that nobody confirms ---- */

static void unconfirmed_next(struct replay *r);

/* Blocks of a place that must be there for the record to count, against what the record has just set. */
static bool data_passes(const struct store *store, const struct replay *r, uint32_t unit,
			const struct disk_place *p)
{
	const struct chunk *c = chunk_find(store, r->record->chunk);
	const struct disk_unit *u = unit_find(c, unit);

	for (unsigned b = 0; b < UNIT_BLOCKS; b++)
		if (p->verify_mask >> b & 1 &&
		    crc_block(c->now.root_chunk, unit * UNIT_BLOCKS + b,
			      r->buf->data + (size_t)b * BLOCK_BYTES) != u->crcs[b])
			return false;
	return true;
}

static uint32_t record_places(const struct disk_record *record, const struct disk_place **places,
			      uint32_t *first_unit)
{
	const struct disk_record_write *w = (const struct disk_record_write *)(const void *)record;
	const struct disk_record_copy *c = (const struct disk_record_copy *)(const void *)record;

	if (record->kind == RECORD_WRITE) {
		*places = w->places;
		*first_unit = w->offset / UNIT_BYTES;
		return w->unit_count;
	}
	*places = &c->place;
	*first_unit = record->kind == RECORD_COPY ? c->unit : 0;
	return record->kind == RECORD_COPY && c->place.place != PLACE_NONE;
}

/*
 * What was applied of this batch must not be: everything is read once more, up to here. That is rare (a crash while
 * whole units were being written) and keeps the effect of a batch all or nothing.
 */
static void start_over(struct replay *r)
{
	struct opening *o = r->opening;

	o->limit = r->pending[r->first].info.sequence;
	for (uint32_t i = 0; i < r->count; i++)
		free(r->pending[(r->first + i) % PENDING].header);
	buf_unref(r->buf);
	free(r);
	opening_restart(o);
}

static void data_read(struct io *io)
{
	struct replay *r = io->user;
	struct store *store = io->store;
	const struct disk_place *places;
	uint32_t first_unit;
	int status = io->request.result;

	io_put(io);
	record_places(r->record, &places, &first_unit);
	if (status || !data_passes(store, r, first_unit + r->place, &places[r->place])) {
		start_over(r);
		return;
	}
	r->place++;
	unconfirmed_next(r);
}

/* Looks at the next direct place of the record; false if it has no more. */
static bool check_place(struct replay *r)
{
	struct store *store = r->opening->store;
	const struct disk_place *places;
	uint32_t first_unit, count = record_places(r->record, &places, &first_unit);
	struct io *io;

	while (r->place < count && !(places[r->place].flags & PLACE_DIRECT))
		r->place++;
	if (r->place >= count)
		return false;
	io = io_get(store, data_read);
	io->user = r;
	io_add(io, r->buf->data, UNIT_BYTES);
	io_read(io, place_offset(store, places[r->place].place), 0);
	return true;
}

static const struct disk_record *record_after(const struct disk_record *r)
{
	return (const struct disk_record *)(const void *)((const uint8_t *)r + r->bytes);
}

/* The batch isn't there as a whole: it is the end, and nothing of it was applied. */
static void cut(struct replay *r)
{
	const struct pending *p = &r->pending[r->first];

	r->end = p->info.position;
	r->sequence = p->info.sequence;
	r->previous_crc = p->info.previous_crc;
	r->operation = p->header->first_operation - 1;
	for (; r->count; r->count--, r->first = (r->first + 1) % PENDING)
		free(r->pending[r->first].header);
}

static void finish_unconfirmed(struct replay *r, struct pending *p)
{
	journal_push_info(r->opening->store, &p->info);
	index_batch(r->opening->store, p->header);
	free(p->header);
	r->first = (r->first + 1) % PENDING;
	r->count--;
	r->record_next = 0;
	r->record = NULL;
}

/* Record by record: applied, then its direct data looked at. */
static void unconfirmed_next(struct replay *r)
{
	struct store *store = r->opening->store;

	while (r->count) {
		struct pending *p = &r->pending[r->first];

		if (p->torn) {
			cut(r);
			break;
		}
		if (!pages_here(r, p, unconfirmed_next))
			return;
		if (r->record && check_place(r))
			return;
		if (r->record_next == p->header->record_count) {
			finish_unconfirmed(r, p);
			continue;
		}
		r->record = r->record ? record_after(r->record)
				      : (const struct disk_record *)(const void *)(p->header + 1);
		r->place = 0;
		if (p->header->first_operation + r->record_next++ <= store->checkpoint_operation) {
			r->place = UINT32_MAX; /* in the tree: its data was durable then */
			continue;
		}
		if (!apply_record(store, r->record)) {
			replay_end(r, -EUCLEAN, "a record in the journal contradicts the metadata",
				   journal_ring_offset(store, p->info.position));
			return;
		}
	}
	settle(r);
}

/* ---- is the end an end? ---- */

static void scan_read(struct io *io);

static void scan_next(struct replay *r)
{
	struct store *store = r->opening->store;
	uint64_t ring = store->super.journal_bytes;
	uint64_t at = (r->end + r->scanned) % ring;
	/* The batches that were in flight with the missing one, and the first that could confirm it. */
	uint64_t end = MIN(4 * (uint64_t)store->journal.batch_bytes_max, ring);
	uint64_t bytes = MIN(MIN((uint64_t)WINDOW, ring - at), end - r->scanned);
	struct io *io;

	if (!bytes) {
		replay_end(r, 0, NULL, 0);
		return;
	}
	io = io_get(store, scan_read);
	io->user = r;
	io->number = bytes;
	io_add(io, r->buf->data, bytes);
	io_read(io, store->super.journal_offset + at, 0);
}

static void scan_read(struct io *io)
{
	struct replay *r = io->user;
	struct store *store = io->store;
	uint64_t bytes = io->number;
	int status = io->request.result;

	io_put(io);
	for (uint64_t at = 0; !status && at < bytes; at += BLOCK_BYTES) {
		const struct disk_batch *h =
			(const struct disk_batch *)(const void *)(r->buf->data + at);

		if (h->magic == BATCH_MAGIC && h->sequence >= r->sequence &&
		    h->confirmed >= r->sequence && h->position >= r->end &&
		    header_valid(store, r->buf->data + at, bytes - at)) {
			replay_end(r, -EUCLEAN,
				   "the journal is damaged: an acknowledged batch is missing",
				   journal_ring_offset(store, r->end));
			return;
		}
	}
	r->scanned += bytes;
	scan_next(r);
}

/* ---- reading ---- */

static void read_next(struct replay *r);

static void not_here(struct replay *r)
{
	uint64_t ring = r->opening->store->super.journal_bytes;

	if (r->wrapped || r->position % ring == 0) {
		unconfirmed_next(r);
		return;
	}
	r->wrapped = true;
	r->position = ROUND_UP(r->position, ring);
	read_next(r);
}

static void window_continue(struct replay *r)
{
	uint64_t bytes = r->window_bytes;
	enum verdict verdict = MORE;

	while (r->window_at < bytes) {
		uint8_t *at = r->buf->data + r->window_at;
		const struct disk_batch *h = (const struct disk_batch *)(const void *)at;
		enum taken taken;

		verdict = judge(r, at, bytes - r->window_at);
		if (verdict != BATCH)
			break;
		taken = take_batch(r, h);
		if (taken == TAKEN_LATER)
			return;
		if (taken == CONTRADICTS) {
			replay_end(r, -EUCLEAN, "a record in the journal contradicts the metadata",
				   journal_ring_offset(r->opening->store, h->position));
			return;
		}
		r->window_at += h->header_bytes + h->data_bytes;
		r->wrapped = false;
		verdict = MORE;
	}
	if (verdict == NO_BATCH || !r->window_at)
		not_here(r);
	else
		read_next(r);
}

static void window_read(struct io *io)
{
	struct replay *r = io->user;
	struct store *store = io->store;
	int status = io->request.result;

	r->window_bytes = io->number;
	r->window_at = 0;
	io_put(io);
	if (status)
		replay_end(r, -EIO, "the journal can't be read",
			   journal_ring_offset(store, r->position));
	else
		window_continue(r);
}

static void read_next(struct replay *r)
{
	struct store *store = r->opening->store;
	uint64_t ring = store->super.journal_bytes;
	uint64_t window = MIN((uint64_t)WINDOW, 2 * (uint64_t)store->journal.batch_bytes_max);
	uint64_t bytes = MIN(window, ring - r->position % ring);
	struct io *io = io_get(store, window_read);

	io->user = r;
	io->number = bytes;
	io_add(io, r->buf->data, bytes);
	io_read(io, journal_ring_offset(store, r->position), 0);
}

void replay_start(struct opening *o)
{
	struct replay *r = xcalloc(1, sizeof *r);
	const struct disk_checkpoint *h = o->checkpoint;

	r->opening = o;
	r->buf = buf_new(WINDOW);
	r->position = r->end = h->tail_position;
	r->sequence = h->tail_sequence;
	r->previous_crc = h->tail_previous_crc;
	o->store->journal.tail = o->store->journal.head = h->tail_position;
	o->store->cache.loaded = pages_loaded;
	o->store->cache.loaded_context = r;
	read_next(r);
}
