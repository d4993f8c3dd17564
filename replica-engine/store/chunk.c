/*
 * chunk.c - chunks and their units in memory.
 *
 * A chunk has a table of references to pages of 42 units each, the same pages that lie in the metadata region;
 * a page exists only if one of its units was ever written. A running checkpoint sees the pages as they were when it
 * began: who changes one that it hasn't written yet leaves it an image. With paging, pages that exist may be on disk alone
 * (page_cache.c): whoever calls these functions has seen to it that those of the units are here.
 */
#include "replica-engine/store/store_internal.h"

#include "common/base/prng.h"

/* The part of all pages that may be there which is kept for discards and repair. */
#define KEPT_PART 16

struct chunk *chunk_find(const struct store *store, uint64_t id)
{
	struct chunk *c;

	HASH_FIND(hh, store->chunks, &id, sizeof id, c);
	return c;
}

static uint32_t take_index(struct store *store)
{
	if (store->index_free_count)
		return store->index_free[--store->index_free_count];
	if (store->index_count == store->index_capacity) {
		uint32_t old = store->index_capacity;

		/* Grows by whole root pages. */
		store->index_capacity =
			(uint32_t)MIN(MAX(old * 2, ROOT_ENTRIES * 4), ROOTS_MAX * ROOT_ENTRIES);
		assert(store->index_capacity > old);
		store->index = xrealloc(store->index, store->index_capacity * sizeof *store->index);
		store->index_free = xrealloc(store->index_free,
					     store->index_capacity * sizeof *store->index_free);
		store->root_entries = xrealloc(store->root_entries,
					       store->index_capacity * sizeof *store->root_entries);
		memset(store->index + old, 0, (store->index_capacity - old) * sizeof *store->index);
		memset(store->root_entries + old, 0,
		       (store->index_capacity - old) * sizeof *store->root_entries);
	}
	return store->index_count++;
}

struct chunk *chunk_find_or_add(struct store *store, uint64_t id)
{
	struct chunk *c = chunk_find(store, id);

	if (c)
		return c;
	c = xcalloc(1, sizeof *c);
	c->id = id;
	c->index = take_index(store);
	store->index[c->index] = c;
	HASH_ADD(hh, store->chunks, id, sizeof c->id, c);
	store->order_valid = false;
	return c;
}

void chunk_mark_dirty(struct store *store, struct chunk *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	TAILQ_INSERT_TAIL(&store->dirty_chunks, c, dirty_link);
}

static uint64_t table_bytes(uint32_t pages)
{
	return sizeof(struct unit_table) + pages * sizeof(struct page_ref);
}

void chunk_make_table(struct store *store, struct chunk *c)
{
	uint32_t units = (uint32_t)(c->now.chunk_bytes / UNIT_BYTES);
	uint32_t pages = (uint32_t)((units + UNITS_PER_PAGE - 1) / UNITS_PER_PAGE);

	assert(!c->table);
	c->table = xcalloc(1, table_bytes(pages));
	store->table_bytes += table_bytes(pages);
	c->table->page_count = pages;
	c->table->unit_count = units;
	c->table->chunk = c->id;
	c->table->at.slot = SLOT_NONE;
	for (uint32_t i = 0; i < pages; i++)
		c->table->pages[i].at.slot = SLOT_NONE;
	c->unit_count = units;
	c->digest = 0;
	c->invalid_units = c->places = 0;
	store->chunk_pages++;
}

void unit_table_free(struct store *store, struct unit_table *table)
{
	if (table->pins) {
		/* A read has its data still to come. It will see that the chunk has another table. */
		table->orphan = true;
		TAILQ_INSERT_TAIL(&store->cache.orphans, table, grave_link);
		return;
	}
	for (uint32_t i = 0; i < table->page_count; i++) {
		page_free(store, table->pages[i].page);
		page_free(store, table->pages[i].image);
	}
	store->table_bytes -= table_bytes(table->page_count);
	free(table);
}

static void drop_page(struct store *store, struct page_ref *ref)
{
	if (!ref->page) {
		/* Unreadable: the places that it names are counted again when the disk is opened the next time. */
		assert(ref->failed);
		store->unit_pages--;
		return;
	}
	for (unsigned i = 0; i < UNITS_PER_PAGE; i++) {
		uint32_t place = ref->page->units[i].place;

		if (place && store->refs)
			place_unref(store, place - 1);
	}
	store->unit_pages--;
	if (ref->pending && !ref->image)
		ref->image = ref->page;
	else
		page_free(store, ref->page);
	ref->page = NULL;
	ref->dirty = ref->held = false;
}

void chunk_drop_table(struct store *store, struct chunk *c)
{
	for (uint32_t i = 0; i < c->table->page_count; i++)
		if (page_exists(&c->table->pages[i]))
			drop_page(store, &c->table->pages[i]);
	TAILQ_INSERT_TAIL(&store->graves, c->table, grave_link);
	c->table = NULL;
	c->unit_count = c->invalid_units = c->places = 0;
	c->digest = 0;
	store->chunk_pages--;
}

struct disk_unit *unit_find(const struct chunk *c, uint32_t unit)
{
	const struct page_ref *ref;

	assert(unit < c->unit_count);
	ref = &c->table->pages[unit / UNITS_PER_PAGE];
	if (ref->page)
		return &ref->page->units[unit % UNITS_PER_PAGE];
	assert(!page_exists(ref));
	return NULL;
}

struct disk_unit *unit_change(struct store *store, struct chunk *c, uint32_t unit)
{
	struct page_ref *ref;

	assert(unit < c->unit_count);
	ref = &c->table->pages[unit / UNITS_PER_PAGE];
	if (!ref->page) {
		assert(!page_exists(ref));
		ref->page = page_new(store);
		memset(ref->page, 0, sizeof *ref->page);
		store->unit_pages++;
	} else if (ref->pending && !ref->image) {
		ref->image = page_new(store);
		*ref->image = *ref->page;
	}
	if (store->cache.limit)
		page_cache_change(store, ref);
	ref->dirty = true;
	chunk_mark_dirty(store, c);
	return &ref->page->units[unit % UNITS_PER_PAGE];
}

bool pages_allow(const struct store *store, uint64_t pages, bool kept)
{
	uint64_t limit = store->options.memory_limit_bytes, slots = store->slots.count;
	uint64_t roots = (store->index_count + 1 + ROOT_ENTRIES - 1) / ROOT_ENTRIES + 1;

	if (!kept) {
		limit -= limit / KEPT_PART;
		slots -= slots / KEPT_PART;
	}
	if (pages && limit &&
	    store_memory_bytes(store) + pages * (sizeof(struct unit_page) + 16) > limit)
		return false;
	return 2 * (store->unit_pages + store->chunk_pages + roots + pages) <= slots &&
	       store->index_count + 1 < ROOTS_MAX * ROOT_ENTRIES;
}

uint32_t pages_missing(const struct chunk *c, uint32_t first_unit, uint32_t last_unit)
{
	uint32_t missing = 0;

	for (uint32_t p = first_unit / UNITS_PER_PAGE; p <= last_unit / UNITS_PER_PAGE; p++)
		missing += !page_exists(&c->table->pages[p]);
	return missing;
}

uint64_t version_hash(uint32_t unit, struct version version)
{
	if (!version.epoch && !version.generation)
		return 0;
	return mix64(mix64(mix64(unit) ^ version.epoch) ^ version.generation);
}

void unit_set_version(struct chunk *c, struct disk_unit *u, uint32_t unit, struct version version)
{
	c->digest -= version_hash(unit, unit_version(u));
	c->digest += version_hash(unit, version);
	u->epoch = version.epoch;
	u->generation = version.generation;
}

void chunk_free_all(struct store *store)
{
	struct chunk *c, *next;
	struct unit_table *t;

	HASH_ITER(hh, store->chunks, c, next)
	{
		HASH_DEL(store->chunks, c);
		if (c->table)
			unit_table_free(store, c->table);
		free(c);
	}
	while ((t = TAILQ_FIRST(&store->graves))) {
		TAILQ_REMOVE(&store->graves, t, grave_link);
		unit_table_free(store, t);
	}
	page_cache_destroy(store);
	free(store->index);
	free(store->index_free);
	free(store->root_entries);
	free(store->order);
}
