/*
 * load.c - reads the checkpoint header and the tree of pages into memory: roots, then chunks, then units. Each level is read in the
 * order of its slots, in large requests, several at a time. Nothing read is trusted before its checksum has been compared with
 * the parent's pointer and its numbers have been checked.
 */
#include "replica-engine/store/store_internal.h"

#define RUN_BYTES (1 * MIB)
#define GAP_SLOTS 16u
/* No number that counts up ever comes near this. */
#define NUMBER_MAX (UINT64_C(1) << 62)

/* A page that is to be read. */
struct want {
	struct disk_pointer at;
	uint32_t index; /* ROOT: which; CHUNK: the root entry; UNITS: which of the chunk */
	struct chunk *chunk;
};

struct loading {
	struct opening *opening;
	enum disk_page_kind kind;
	struct want *wants; /* of this level, by slot */
	uint32_t count, next;
	struct want *found; /* of the next level */
	uint32_t found_count, found_capacity;
	uint32_t in_flight;
	int status;
	char why[200];
	struct buf *headers;
};

static void fail(struct loading *l, int status, const char *what, uint64_t offset)
{
	if (l->status)
		return;
	l->status = status;
	snprintf(l->why, sizeof l->why, "%s (offset %llu)", what, (unsigned long long)offset);
}

/* Entries of root pages that nobody uses; the lowest is taken first. */
static void find_free_entries(struct store *store)
{
	for (uint32_t i = store->index_count; i-- > 0;)
		if (!store->index[i])
			store->index_free[store->index_free_count++] = i;
}

static void loading_end(struct loading *l)
{
	struct opening *o = l->opening;
	char why[sizeof l->why];
	int status = l->status;

	memcpy(why, l->why, sizeof why);
	free(l->wants);
	free(l->found);
	buf_unref(l->headers);
	free(l);
	if (status) {
		opening_fail(o, status, "%s", why);
		return;
	}
	find_free_entries(o->store);
	replay_start(o);
}

static bool add_want(struct loading *l, struct disk_pointer at, uint32_t index, struct chunk *chunk)
{
	if (at.slot >= l->opening->store->slots.count ||
	    !space_claim(&l->opening->store->slots, at.slot))
		return false;
	if (l->found_count == l->found_capacity) {
		l->found_capacity = MAX(256u, l->found_capacity * 2);
		l->found = xrealloc(l->found, l->found_capacity * sizeof *l->found);
	}
	l->found[l->found_count++] = (struct want){at, index, chunk};
	return true;
}

/* ---- what pages say ---- */

static struct chunk *add_chunk(struct store *store, const struct disk_root_entry *e, uint32_t index)
{
	struct chunk *c = chunk_find(store, e->chunk);

	if (c || store->index[index])
		return NULL;
	c = xcalloc(1, sizeof *c);
	c->id = e->chunk;
	c->index = index;
	c->now.commit = e->commit;
	store->index[index] = c;
	HASH_ADD(hh, store->chunks, id, sizeof c->id, c);
	return c;
}

static const char *take_root(struct loading *l, const struct want *w, const struct disk_page *page)
{
	struct store *store = l->opening->store;
	const struct disk_root_entry *entries =
		(const struct disk_root_entry *)(const void *)(page + 1);

	for (uint32_t i = 0; i < ROOT_ENTRIES; i++) {
		const struct disk_root_entry *e = &entries[i];
		uint32_t index = (uint32_t)(w->index * ROOT_ENTRIES + i);
		struct chunk *c;

		if (!e->commit && !e->chunk && !e->page.slot && !e->page.crc)
			continue;
		c = add_chunk(store, e, index);
		if (!c)
			return "a chunk is listed twice";
		store->root_entries[index] = *e;
		if (e->page.slot != SLOT_NONE && !add_want(l, e->page, index, c))
			return "a root page points outside or twice to a slot";
	}
	return NULL;
}

static const char *take_chunk(struct loading *l, const struct want *w, const struct disk_page *page)
{
	struct store *store = l->opening->store;
	const struct disk_chunk *d = (const struct disk_chunk *)(const void *)(page + 1);
	const struct disk_pointer *pointers = (const struct disk_pointer *)(const void *)(d + 1);
	struct chunk *c = w->chunk;

	if (page->chunk != c->id || d->chunk != c->id || d->chunk_bytes == 0 ||
	    d->chunk_bytes > CHUNK_BYTES_MAX || d->chunk_bytes % UNIT_BYTES)
		return "a chunk page doesn't make sense";
	c->now = (struct chunk_state){
		.exists = true,
		.mending = d->flags & DISK_CHUNK_MENDING,
		.epoch = d->epoch,
		.position = {d->position_epoch, d->position_generation},
		.base_generation = d->base_generation,
		.commit = d->commit,
		.root_chunk = d->root_chunk,
		.chunk_bytes = d->chunk_bytes,
	};
	chunk_make_table(store, c);
	c->table->at = w->at;
	if (d->page_count != c->table->page_count)
		return "a chunk page has the wrong number of unit pages";
	for (uint32_t p = 0; p < d->page_count; p++) {
		if (pointers[p].slot == SLOT_NONE)
			continue;
		if (!add_want(l, pointers[p], p, c))
			return "a chunk page points outside or twice to a slot";
		c->table->pages[p].at = pointers[p];
	}
	return NULL;
}

static bool unit_valid(const struct store *store, const struct disk_unit *u)
{
	if (u->place > store->unit_count || (u->flags & ~UNIT_FLAGS))
		return false;
	if (!u->place != !u->data_mask || (u->data_mask & u->bad_mask))
		return false;
	return u->flags & UNIT_INVALID ? u->valid_mask != UINT16_MAX : !u->valid_mask;
}

static const char *units_check(const struct store *store, const struct disk_page *page,
			       uint64_t chunk, uint32_t index, uint32_t unit_count)
{
	const struct disk_unit *units = (const struct disk_unit *)(const void *)(page + 1);

	if (page->chunk != chunk || page->index != index)
		return "a page of units belongs to another chunk";
	for (unsigned i = 0; i < UNITS_PER_PAGE; i++) {
		uint32_t unit = (uint32_t)(index * UNITS_PER_PAGE + i);
		const struct disk_unit *u = &units[i];

		if (!unit_valid(store, u) ||
		    (unit >= unit_count && (u->place || u->epoch || u->generation || u->flags)))
			return "a unit doesn't make sense";
	}
	return NULL;
}

/* With paging the page isn't kept: what is summed up over all units is taken from it. */
static const char *take_units(struct loading *l, const struct want *w, const struct disk_page *page)
{
	struct store *store = l->opening->store;
	const struct disk_unit *units = (const struct disk_unit *)(const void *)(page + 1);
	struct chunk *c = w->chunk;
	struct page_ref *ref = &c->table->pages[w->index];
	const char *problem = units_check(store, page, c->id, w->index, c->unit_count);

	if (problem)
		return problem;
	store->unit_pages++;
	if (!store->cache.limit) {
		ref->page = page_new(store);
		memcpy(ref->page, units, sizeof *ref->page);
	}
	for (unsigned i = 0; i < UNITS_PER_PAGE; i++) {
		uint32_t unit = (uint32_t)(w->index * UNITS_PER_PAGE + i);
		const struct disk_unit *u = &units[i];

		if (store->counting && u->place)
			place_ref(store, u->place - 1);
		c->digest += version_hash(unit, unit_version(u));
		c->invalid_units += (u->flags & UNIT_INVALID) != 0;
		c->places += u->place != 0;
	}
	return NULL;
}

/* NULL if this is the page that the pointer means. Its crc is 0 afterwards. */
static const char *page_check(const struct store *store, struct disk_page *page,
			      enum disk_page_kind kind, struct disk_pointer at)
{
	uint32_t crc = page->crc;

	page->crc = 0;
	if (page->magic != PAGE_MAGIC || crc != at.crc ||
	    store_crc(store->seed, page, PAGE_BYTES) != crc)
		return "a metadata page fails its checksum";
	if (page->kind != (uint32_t)kind || page->slot != at.slot)
		return "a metadata page isn't the one that belongs here";
	return NULL;
}

const char *units_page_check(const struct store *store, struct disk_page *page,
			     struct disk_pointer at, uint64_t chunk, uint32_t index,
			     uint32_t unit_count)
{
	const char *problem = page_check(store, page, PAGE_UNITS, at);

	return problem ? problem : units_check(store, page, chunk, index, unit_count);
}

static void take_page(struct loading *l, const struct want *w, struct disk_page *page)
{
	struct store *store = l->opening->store;
	const char *problem = page_check(store, page, l->kind, w->at);

	if (!problem && l->kind == PAGE_ROOT)
		problem = take_root(l, w, page);
	else if (!problem && l->kind == PAGE_CHUNK)
		problem = take_chunk(l, w, page);
	else if (!problem)
		problem = take_units(l, w, page);
	if (problem)
		fail(l, -EUCLEAN, problem, slot_offset(store, w->at.slot));
}

/* ---- reading a level ---- */

static void level_continue(struct loading *l);

static void run_read(struct io *io)
{
	struct loading *l = io->user;
	const struct want *first = &l->wants[io->number >> 32];
	uint32_t count = (uint32_t)io->number;

	l->in_flight--;
	if (io->request.result)
		fail(l, -EIO, "metadata can't be read", io->request.offset);
	for (uint32_t i = 0; i < count && !l->status; i++)
		take_page(l, &first[i],
			  (struct disk_page *)(void *)(io->buf->data +
						       (size_t)(first[i].at.slot - first->at.slot) *
							       PAGE_BYTES));
	buf_unref(io->buf);
	io_put(io);
	level_continue(l);
}

/* Slots that lie close together are read in one request. */
static void start_run(struct loading *l)
{
	struct store *store = l->opening->store;
	const struct want *first = &l->wants[l->next];
	uint32_t n = 1, slots = 1;
	struct io *io = io_get(store, run_read);

	while (l->next + n < l->count) {
		uint32_t last = first[n - 1].at.slot, slot = first[n].at.slot;

		if (slot - last > GAP_SLOTS || slot - first->at.slot >= RUN_BYTES / PAGE_BYTES)
			break;
		slots = slot - first->at.slot + 1;
		n++;
	}
	io->user = l;
	io->number = (uint64_t)l->next << 32 | n;
	io->buf = buf_new((size_t)slots * PAGE_BYTES);
	io_add(io, io->buf->data, (size_t)slots * PAGE_BYTES);
	l->next += n;
	l->in_flight++;
	io_read(io, slot_offset(store, first->at.slot), 0);
}

static int by_slot(const void *a, const void *b)
{
	const struct want *x = a, *y = b;

	return x->at.slot < y->at.slot ? -1 : x->at.slot > y->at.slot;
}

static bool next_level(struct loading *l)
{
	if (l->kind == PAGE_UNITS)
		return false;
	l->kind = l->kind == PAGE_ROOT ? PAGE_CHUNK : PAGE_UNITS;
	free(l->wants);
	l->wants = l->found;
	l->count = l->found_count;
	l->next = 0;
	l->found = NULL;
	l->found_count = l->found_capacity = 0;
	if (l->count)
		qsort(l->wants, l->count, sizeof *l->wants, by_slot);
	return true;
}

static void level_continue(struct loading *l)
{
	for (;;) {
		while (!l->status && l->next < l->count && l->in_flight < OPEN_DEPTH)
			start_run(l);
		if (l->in_flight)
			return;
		if (l->status || !next_level(l))
			break;
	}
	loading_end(l);
}

/* ---- the checkpoint header ---- */

bool checkpoint_header_valid(uint32_t seed, const struct disk_checkpoint *in)
{
	struct disk_checkpoint *h = (struct disk_checkpoint *)(uintptr_t)in;
	uint32_t crc = h->crc;
	bool valid;

	if (h->magic != CHECKPOINT_MAGIC || h->bytes < sizeof *h || h->bytes > CHECKPOINT_BYTES ||
	    h->bytes % BLOCK_BYTES || h->root_count > ROOTS_MAX || h->tail_position % BLOCK_BYTES ||
	    h->tail_position > NUMBER_MAX || h->tail_sequence > NUMBER_MAX || !h->tail_sequence ||
	    h->sequence > NUMBER_MAX || h->mount > NUMBER_MAX || h->operation > NUMBER_MAX ||
	    sizeof *h + h->root_count * sizeof(struct disk_pointer) > h->bytes)
		return false;
	h->crc = 0;
	valid = store_crc(seed, h, h->bytes) == crc;
	h->crc = crc;
	return valid;
}

static void take_header(struct loading *l, const struct disk_checkpoint *h)
{
	struct store *store = l->opening->store;
	uint32_t entries = (uint32_t)(h->root_count * ROOT_ENTRIES);

	memcpy(l->opening->checkpoint, h, h->bytes);
	store->checkpoint_sequence = h->sequence;
	store->checkpoint_operation = h->operation;
	store->counters.newest_commit = h->newest_commit;
	store->counters.newest_epoch = h->newest_epoch;
	store->root_count = h->root_count;
	store->index_count = store->index_capacity = entries;
	store->index = xcalloc(entries + (size_t)1, sizeof *store->index);
	store->index_free = xcalloc(entries + (size_t)1, sizeof *store->index_free);
	store->root_entries = xcalloc(entries + (size_t)1, sizeof *store->root_entries);
	memcpy(store->roots, h->roots, h->root_count * sizeof h->roots[0]);
	for (uint32_t i = 0; i < h->root_count; i++)
		if (!add_want(l, h->roots[i], i, NULL))
			fail(l, -EUCLEAN, "the checkpoint header points outside or twice to a slot",
			     store->super.checkpoint_offset);
}

static void headers_read(struct io *io)
{
	struct loading *l = io->user;
	struct store *store = io->store;
	const struct disk_checkpoint *best = NULL;
	int status = io->request.result;

	io_put(io);
	for (unsigned i = 0; i < 2 && !status; i++) {
		const struct disk_checkpoint *h =
			(const struct disk_checkpoint *)(const void *)(l->headers->data +
								       (size_t)i *
									       CHECKPOINT_BYTES);

		if (checkpoint_header_valid(store->seed, h) &&
		    (!best || h->sequence > best->sequence))
			best = h;
	}
	if (status)
		fail(l, -EIO, "the checkpoint header can't be read",
		     store->super.checkpoint_offset);
	else if (!best)
		fail(l, -EUCLEAN, "no checkpoint header passes its checksum",
		     store->super.checkpoint_offset);
	else
		take_header(l, best);
	l->kind = PAGE_ROOT;
	l->wants = l->found;
	l->count = l->found_count;
	l->found = NULL;
	l->found_count = l->found_capacity = 0;
	if (l->count)
		qsort(l->wants, l->count, sizeof *l->wants, by_slot);
	level_continue(l);
}

void load_start(struct opening *o)
{
	struct loading *l = xcalloc(1, sizeof *l);
	struct io *io = io_get(o->store, headers_read);

	if (o->store->cache.limit) {
		o->store->refs = xcalloc(o->store->unit_count + (size_t)1, sizeof *o->store->refs);
		o->store->counting = true;
	}
	l->opening = o;
	l->headers = buf_new(2 * CHECKPOINT_BYTES);
	o->checkpoint = xcalloc(1, CHECKPOINT_BYTES);
	io->user = l;
	io_add(io, l->headers->data, (size_t)2 * CHECKPOINT_BYTES);
	io_read(io, o->store->super.checkpoint_offset, 0);
}
