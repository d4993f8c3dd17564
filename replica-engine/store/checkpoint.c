/*
 * checkpoint.c - writes what changed of the tree of pages, then moves the journal's tail.
 *
 * A checkpoint holds the effect of all operations up to one, and of none after it. Pages are never overwritten: each goes to a free
 * slot, its parent gets the new place and checksum, up to the checkpoint header, which is written in turn to one of two
 * places. Until that header is durable the old tree is whole; afterwards the old slots are free.
 *
 *   PAGES    unit pages, then chunk pages, then root pages (children first: parents need their checksums)
 *   SYNC     makes these durable, and the home writes of write-back that are complete
 *   JOURNAL  waits until the journal holds the last operation in the tree
 *   HEADER   durable; then the tail moves to the first batch that isn't at home or isn't in the tree
 */
#include "replica-engine/store/store_internal.h"

#define RUN_PAGES 64u
#define DEPTH     4u

struct item {
	uint64_t id;
	uint32_t index;
	struct chunk_state state;
	struct unit_table *table;
};

enum stage {
	STAGE_IDLE,
	STAGE_PAGES,
	STAGE_SYNC,
	STAGE_JOURNAL,
	STAGE_HEADER,
};

struct checkpoint {
	enum stage stage;
	uint64_t operation;
	struct item *items;
	uint32_t item_count, item_capacity;
	uint32_t item, page; /* what is built next */
	uint32_t root;       /* likewise, when all items are done */
	bool *root_dirty;
	uint32_t root_dirty_count;
	struct unit_tables graves;
	uint32_t *to_free;
	uint32_t to_free_count, to_free_capacity;
	uint32_t in_flight;
	uint64_t ring_drop;
	uint64_t last_head; /* of the journal, when the last one began */
	struct buf *header;
	bool final, closed;
};

void checkpoint_init(struct store *store)
{
	store->checkpoint = xcalloc(1, sizeof *store->checkpoint);
	TAILQ_INIT(&store->checkpoint->graves);
	store->checkpoint->header = buf_new(CHECKPOINT_BYTES);
	store->checkpoint->root_dirty = xcalloc(ROOTS_MAX, sizeof(bool));
}

static void free_graves(struct store *store, struct unit_tables *graves)
{
	struct unit_table *t;

	while ((t = TAILQ_FIRST(graves))) {
		TAILQ_REMOVE(graves, t, grave_link);
		unit_table_free(store, t);
	}
}

void checkpoint_destroy(struct store *store)
{
	struct checkpoint *k = store->checkpoint;

	if (!k)
		return;
	free_graves(store, &k->graves);
	buf_unref(k->header);
	free(k->items);
	free(k->to_free);
	free(k->root_dirty);
	free(k);
}

bool checkpoint_running(const struct store *store)
{
	return store->checkpoint->stage != STAGE_IDLE;
}

bool checkpoint_closed(const struct store *store)
{
	return store->checkpoint->closed;
}

void page_seal(const struct store *store, struct disk_page *page, enum disk_page_kind kind,
	       uint32_t slot, uint64_t chunk, uint32_t index, uint64_t checkpoint)
{
	*page = (struct disk_page){
		.magic = PAGE_MAGIC,
		.kind = kind,
		.slot = slot,
		.chunk = chunk,
		.index = index,
		.checkpoint = checkpoint,
	};
	page->crc = store_crc(store->seed, page, PAGE_BYTES);
}

/* ---- building pages ---- */

static void free_later(struct checkpoint *k, uint32_t slot)
{
	if (slot == SLOT_NONE)
		return;
	if (k->to_free_count == k->to_free_capacity) {
		k->to_free_capacity = MAX(256u, k->to_free_capacity * 2);
		k->to_free = xrealloc(k->to_free, k->to_free_capacity * sizeof *k->to_free);
	}
	k->to_free[k->to_free_count++] = slot;
}

static void point(struct checkpoint *k, struct disk_pointer *at, uint32_t slot,
		  const struct disk_page *page)
{
	free_later(k, at->slot);
	*at = (struct disk_pointer){slot, page->crc};
}

static void build_units(struct store *store, const struct item *item, uint32_t index,
			struct disk_page *page, uint32_t slot)
{
	struct page_ref *ref = &item->table->pages[index];
	const struct unit_page *units = ref->image ? ref->image : ref->page;

	memset(page, 0, PAGE_BYTES);
	memcpy(page + 1, units, sizeof *units);
	page_seal(store, page, PAGE_UNITS, slot, item->id, index, store->checkpoint_sequence + 1);
	ref->pending = false;
	page_free(store, ref->image);
	ref->image = NULL;
	point(store->checkpoint, &ref->at, slot, page);
}

static void build_chunk(struct store *store, const struct item *item, struct disk_page *page,
			uint32_t slot)
{
	struct disk_chunk *c = (struct disk_chunk *)(void *)(page + 1);
	struct disk_pointer *pointers = (struct disk_pointer *)(void *)(c + 1);
	struct disk_root_entry *entry = &store->root_entries[item->index];

	memset(page, 0, PAGE_BYTES);
	*c = (struct disk_chunk){
		.chunk = item->id,
		.root_chunk = item->state.root_chunk,
		.chunk_bytes = item->state.chunk_bytes,
		.epoch = item->state.epoch,
		.position_epoch = item->state.position.epoch,
		.position_generation = item->state.position.generation,
		.base_generation = item->state.base_generation,
		.commit = item->state.commit,
		.flags = item->state.mending ? DISK_CHUNK_MENDING : 0,
		.page_count = item->table->page_count,
	};
	for (uint32_t p = 0; p < item->table->page_count; p++)
		pointers[p] = item->table->pages[p].at;
	page_seal(store, page, PAGE_CHUNK, slot, item->id, 0, store->checkpoint_sequence + 1);
	point(store->checkpoint, &item->table->at, slot, page);
	*entry = (struct disk_root_entry){item->id, item->state.commit, item->table->at};
}

static void set_root_dirty(struct store *store, uint32_t index)
{
	struct checkpoint *k = store->checkpoint;
	uint32_t root = index / ROOT_ENTRIES;

	if (k->root_dirty[root])
		return;
	k->root_dirty[root] = true;
	k->root_dirty_count++;
	for (; store->root_count <= root; store->root_count++)
		store->roots[store->root_count] = (struct disk_pointer){SLOT_NONE, 0};
}

/* A chunk that isn't there has no page: an entry says what is known of it. */
static void note_absent(struct store *store, const struct item *item)
{
	store->root_entries[item->index] =
		(struct disk_root_entry){item->id, item->state.commit, {SLOT_NONE, 0}};
}

/* False when all unit and chunk pages are built. */
static bool next_item_page(struct store *store, struct disk_page *page, uint32_t slot)
{
	struct checkpoint *k = store->checkpoint;

	for (; k->item < k->item_count; k->item++, k->page = 0) {
		struct item *item = &k->items[k->item];

		set_root_dirty(store, item->index);
		if (!item->table) {
			note_absent(store, item);
			continue;
		}
		while (k->page < item->table->page_count && !item->table->pages[k->page].pending)
			k->page++;
		if (k->page < item->table->page_count) {
			build_units(store, item, k->page, page, slot);
			return true;
		}
		build_chunk(store, item, page, slot);
		k->item++;
		k->page = 0;
		return true;
	}
	return false;
}

static bool next_root_page(struct store *store, struct disk_page *page, uint32_t slot)
{
	struct checkpoint *k = store->checkpoint;

	while (k->root < store->root_count && !k->root_dirty[k->root])
		k->root++;
	if (k->root == store->root_count)
		return false;
	memset(page, 0, PAGE_BYTES);
	memcpy(page + 1, &store->root_entries[(size_t)k->root * ROOT_ENTRIES],
	       ROOT_ENTRIES * sizeof(struct disk_root_entry));
	page_seal(store, page, PAGE_ROOT, slot, 0, k->root, store->checkpoint_sequence + 1);
	point(k, &store->roots[k->root], slot, page);
	k->root_dirty[k->root] = false;
	k->root_dirty_count--;
	return true;
}

/* ---- PAGES ---- */

static void pages_continue(struct store *store);

static void pages_written(struct io *io)
{
	struct store *store = io->store;

	if (io->request.result) {
		store->counters.write_errors++;
		store_fail(store, "metadata", io->request.offset, io->request.result);
	}
	buf_unref(io->buf);
	io_put(io);
	store->checkpoint->in_flight--;
	pages_continue(store);
	store_continue(store);
}

static void write_run(struct store *store, struct buf *buf, uint32_t slot, uint32_t pages)
{
	struct io *io = io_get(store, pages_written);

	io->buf = buf;
	io_add(io, buf->data, (size_t)pages * PAGE_BYTES);
	store->counters.metadata_write_bytes += (uint64_t)pages * PAGE_BYTES;
	store->checkpoint->in_flight++;
	io_write(io, slot_offset(store, slot), 0);
}

/* Pages for consecutive slots, in one write; false if there are no more. */
static bool build_run(struct store *store)
{
	struct buf *buf = buf_new(RUN_PAGES * PAGE_BYTES);
	uint32_t first = SLOT_NONE, pages = 0, slot;

	while (pages < RUN_PAGES) {
		struct disk_page *page =
			(struct disk_page *)(void *)(buf->data + (size_t)pages * PAGE_BYTES);
		bool taken = space_take(&store->slots, &slot);

		assert(taken); /* pages_allow keeps half of the slots free */
		if (pages && slot != first + pages) {
			space_give(&store->slots, slot);
			store->slots.cursor = slot;
			break;
		}
		if (!next_item_page(store, page, slot) && !next_root_page(store, page, slot)) {
			space_give(&store->slots, slot);
			store->slots.cursor = slot;
			break;
		}
		if (!pages)
			first = slot;
		pages++;
	}
	if (pages)
		write_run(store, buf, first, pages);
	else
		buf_unref(buf);
	return pages > 0;
}

static void synced(struct io *io);

static void pages_continue(struct store *store)
{
	struct checkpoint *k = store->checkpoint;
	struct io *io;

	while (!store->failed && k->in_flight < DEPTH && build_run(store))
		;
	if (k->in_flight)
		return;
	if (store->failed) {
		k->stage = STAGE_IDLE;
		return;
	}
	k->stage = STAGE_SYNC;
	k->ring_drop = writeback_ring_done(store);
	io = io_get(store, synced);
	io_sync(io);
}

/* ---- SYNC, JOURNAL, HEADER ---- */

static void synced(struct io *io)
{
	struct store *store = io->store;

	if (io->request.result) {
		store->counters.write_errors++;
		store_fail(store, "sync", 0, io->request.result);
	}
	store->checkpoint->stage = store->failed ? STAGE_IDLE : STAGE_JOURNAL;
	io_put(io);
	store_continue(store);
}

uint32_t checkpoint_encode(const struct store *store, uint8_t *at, uint64_t tail_drop, bool clean,
			   uint64_t operation)
{
	struct disk_checkpoint *h = (struct disk_checkpoint *)(void *)at;
	const struct journal *j = &store->journal;
	uint32_t bytes = (uint32_t)ROUND_UP(
		sizeof *h + store->root_count * sizeof(struct disk_pointer), BLOCK_BYTES);

	memset(at, 0, bytes);
	*h = (struct disk_checkpoint){
		.magic = CHECKPOINT_MAGIC,
		.bytes = bytes,
		.sequence = store->checkpoint_sequence + 1,
		.mount = j->mount,
		.operation = operation,
		.tail_position = j->head,
		.tail_sequence = j->next_sequence,
		.tail_previous_crc = j->previous_crc,
		.clean = clean,
		.newest_commit = store->counters.newest_commit,
		.newest_epoch = store->counters.newest_epoch,
		.root_count = store->root_count,
	};
	if (tail_drop < j->ring_count) {
		const struct batch_info *info =
			&j->ring[(j->ring_first + tail_drop) & j->ring_mask];

		h->tail_position = info->position;
		h->tail_sequence = info->sequence;
		h->tail_previous_crc = info->previous_crc;
	}
	memcpy(h->roots, store->roots, store->root_count * sizeof store->roots[0]);
	h->crc = store_crc(store->seed, at, bytes);
	return bytes;
}

static void free_table_slots(struct store *store, const struct unit_table *t)
{
	if (t->at.slot != SLOT_NONE)
		space_give(&store->slots, t->at.slot);
	for (uint32_t p = 0; p < t->page_count; p++)
		if (t->pages[p].at.slot != SLOT_NONE)
			space_give(&store->slots, t->pages[p].at.slot);
}

static void finish(struct store *store)
{
	struct checkpoint *k = store->checkpoint;
	struct unit_table *t;

	store->checkpoint_sequence++;
	store->checkpoint_operation = k->operation;
	for (uint32_t i = 0; i < k->to_free_count; i++)
		space_give(&store->slots, k->to_free[i]);
	k->to_free_count = 0;
	TAILQ_FOREACH (t, &k->graves, grave_link)
		free_table_slots(store, t);
	free_graves(store, &k->graves);
	for (uint32_t i = 0; store->cache.limit && i < k->item_count; i++)
		if (k->items[i].table)
			page_cache_checkpointed(store, k->items[i].table);
	journal_set_tail(store, k->ring_drop);
	k->stage = STAGE_IDLE;
	k->closed = k->final;
	if (store->cache.limit)
		page_cache_evict(store);
}

static void header_written(struct io *io)
{
	struct store *store = io->store;

	if (io->request.result) {
		store->counters.write_errors++;
		store_fail(store, "checkpoint", io->request.offset, io->request.result);
		store->checkpoint->stage = STAGE_IDLE;
	} else {
		finish(store);
	}
	io_put(io);
	store_continue(store);
}

static void write_header(struct store *store)
{
	struct checkpoint *k = store->checkpoint;
	struct io *io = io_get(store, header_written);
	uint64_t place = (store->checkpoint_sequence + 1) % 2;
	uint64_t in_tree = 0;
	uint32_t bytes;

	while (in_tree < store->journal.ring_count &&
	       journal_info(store, in_tree)->last_operation <= k->operation)
		in_tree++;
	k->ring_drop = MIN(k->ring_drop, in_tree);
	k->stage = STAGE_HEADER;
	bytes = checkpoint_encode(store, k->header->data, k->ring_drop, k->final, k->operation);
	io_add(io, k->header->data, bytes);
	store->counters.metadata_write_bytes += bytes;
	io_write(io, store->super.checkpoint_offset + place * CHECKPOINT_BYTES, IO_DISK_DURABLE);
}

/* ---- beginning ---- */

static void add_item(struct store *store, struct chunk *c)
{
	struct checkpoint *k = store->checkpoint;

	if (k->item_count == k->item_capacity) {
		k->item_capacity = MAX(64u, k->item_capacity * 2);
		k->items = xrealloc(k->items, k->item_capacity * sizeof *k->items);
	}
	k->items[k->item_count++] = (struct item){c->id, c->index, c->now, c->table};
	for (uint32_t p = 0; c->table && p < c->table->page_count; p++) {
		struct page_ref *ref = &c->table->pages[p];

		assert(!ref->pending && !ref->image);
		if (!ref->dirty)
			continue;
		ref->dirty = false;
		ref->pending = true;
		ref->held = store->cache.limit > 0;
	}
}

static void begin(struct store *store)
{
	struct checkpoint *k = store->checkpoint;
	struct chunk *c;

	k->stage = STAGE_PAGES;
	k->operation = store->journal.last_operation;
	k->last_head = store->journal.head;
	k->item_count = k->item = k->page = k->root = 0;
	TAILQ_CONCAT(&k->graves, &store->graves, grave_link);
	while ((c = TAILQ_FIRST(&store->dirty_chunks))) {
		TAILQ_REMOVE(&store->dirty_chunks, c, dirty_link);
		c->dirty = false;
		add_item(store, c);
	}
	pages_continue(store);
}

/* After it nothing is left to do: no batch follows, not even one that confirms others. */
static bool wanted_last(const struct store *store)
{
	return store->closing && journal_idle(store) && journal_confirmed(store) &&
	       writeback_idle(store) && writeback_ring_done(store) == store->journal.ring_count &&
	       TAILQ_EMPTY(&store->waiting);
}

static bool wanted(const struct store *store)
{
	const struct journal *j = &store->journal;
	uint64_t gain = writeback_position(store) - j->tail;

	if (page_cache_wants_checkpoint(store))
		return true;
	if (store->closing)
		return wanted_last(store);
	if (store_wants_room(store))
		return gain >= store->super.journal_bytes / 8 || (gain && writeback_idle(store));
	return j->head - store->checkpoint->last_head > store->super.journal_bytes * 3 / 8;
}

void checkpoint_continue(struct store *store)
{
	struct checkpoint *k = store->checkpoint;

	if (store->failed || store->options.read_only || k->closed)
		return;
	if (k->stage == STAGE_JOURNAL && store->journal.durable_operation >= k->operation)
		write_header(store);
	else if (k->stage == STAGE_IDLE && wanted(store)) {
		k->final = wanted_last(store);
		begin(store);
	}
}
