/*
 * page_cache.c - paging: pages of units as a cache of those on disk (store_options.metadata_memory_bytes).
 *
 * A page that a durable checkpoint holds as it is may be dropped from memory at any time, and is read again from its slot when an
 * operation needs it. All others stay: those that are changed, and those of a checkpoint that isn't durable. The droppable ones
 * are in a clock (second chance): who comes to its head was used again since and goes to the end, or is dropped.
 *
 * Who needs pages pins them and has those that are missing read:
 *   - a mutation from its submission until it is admitted. Then its effect is in the pages, which are changed and stay
 *     until a checkpoint has written them; and a checkpoint is durable only after all operations in it are. Mutations are admitted in the
 *     order of their submission: one that waits for a page holds back those behind it, whose pages are read meanwhile.
 *   - a query (READ, VERSIONS) until it is answered: a READ looks at the units again when it has the data.
 * A DELETE pins all pages of its chunk and waits for them, so no page is being read when its table goes.
 *
 * Memory is the limit, and in bursts at most half as much more and what single operations touch, however much is submitted: when half of the limit is
 * changed a checkpoint begins, and when all of it is (with the images that the checkpoint needs) no mutation is admitted before that is
 * durable; mutations and queries that wait have a quarter each of the limit pinned, and those behind ask for theirs later.
 *
 * A page that can't be read, or isn't what its reference says, makes the operations fail that need it (STORE_DISK_ERROR); the next
 * one tries again. Only DELETE and INVALIDATE do without it: the one gets rid of it, the other of what it says, since all of its units are invalid then and
 * are copied from another replica. The places that the page names stay taken until the disk is opened the next time.
 */
#include "replica-engine/store/store_internal.h"

#include "common/trace/trace.h"

#define PINNED_PART 4
#define RUN_PAGES   16u
/* What malloc adds. */
#define PAGE_MEMORY (sizeof(struct cached_page) + 16)

void page_cache_init(struct store *store)
{
	struct page_cache *cache = &store->cache;

	if (store->options.metadata_memory_bytes)
		cache->limit = MAX(store->options.metadata_memory_bytes / PAGE_MEMORY, 1u);
	TAILQ_INIT(&cache->clock);
	TAILQ_INIT(&cache->waiters);
	TAILQ_INIT(&cache->queued);
	TAILQ_INIT(&cache->orphans);
}

void page_cache_destroy(struct store *store)
{
	struct unit_table *t;

	while ((t = TAILQ_FIRST(&store->cache.orphans))) {
		TAILQ_REMOVE(&store->cache.orphans, t, grave_link);
		t->pins = 0;
		unit_table_free(store, t);
	}
}

/* ---- pages in memory ---- */

static struct cached_page *cached(struct unit_page *page)
{
	return container_of(page, struct cached_page, units);
}

static void clock_remove(struct store *store, struct unit_page *page)
{
	if (!cached(page)->ref)
		return;
	cached(page)->ref = NULL;
	TAILQ_REMOVE(&store->cache.clock, cached(page), clock_link);
	store->cache.clocked--;
}

struct unit_page *page_new(struct store *store)
{
	struct cached_page *page;

	if (!store->cache.limit)
		return xmalloc(sizeof(struct unit_page));
	page = xmalloc(sizeof *page);
	page->ref = NULL;
	store->cache.resident++;
	return &page->units;
}

void page_free(struct store *store, struct unit_page *page)
{
	if (!page)
		return;
	if (!store->cache.limit) {
		free(page);
		return;
	}
	clock_remove(store, page);
	store->cache.resident--;
	free(cached(page));
}

/* From now on the page may be dropped. */
static void clock_add(struct store *store, struct page_ref *ref)
{
	struct cached_page *page = cached(ref->page);

	assert(!page->ref && !ref->dirty && !ref->held && ref->at.slot != SLOT_NONE);
	page->ref = ref;
	TAILQ_INSERT_TAIL(&store->cache.clock, page, clock_link);
	store->cache.clocked++;
}

void page_cache_evict(struct store *store)
{
	struct page_cache *cache = &store->cache;
	struct cached_page *page, *first_passed = NULL;

	while (cache->resident > cache->limit && (page = TAILQ_FIRST(&cache->clock)) &&
	       page != first_passed) {
		struct page_ref *ref = page->ref;

		if (!ref->pins && !ref->used) {
			ref->page = NULL;
			page_free(store, &page->units);
			continue;
		}
		/* All that is left is pinned: enough, when the hand comes to the first of these again. */
		if (!ref->used && !first_passed)
			first_passed = page;
		ref->used = false;
		TAILQ_REMOVE(&cache->clock, page, clock_link);
		TAILQ_INSERT_TAIL(&cache->clock, page, clock_link);
	}
}

/* ---- changes and checkpoints ---- */

void page_cache_change(struct store *store, struct page_ref *ref)
{
	if (!ref->dirty && !ref->held)
		clock_remove(store, ref->page);
}

void page_cache_checkpointed(struct store *store, struct unit_table *table)
{
	for (uint32_t p = 0; p < table->page_count; p++) {
		struct page_ref *ref = &table->pages[p];

		if (!ref->held)
			continue;
		ref->held = false;
		if (!ref->dirty)
			clock_add(store, ref);
	}
}

/* Pages that a checkpoint must write before they may go, and images of such. */
static uint64_t changed_pages(const struct store *store)
{
	return store->cache.resident - store->cache.clocked;
}

bool page_cache_wants_checkpoint(const struct store *store)
{
	uint64_t changed = changed_pages(store);

	return store->cache.limit && changed && changed >= store->cache.limit / 2;
}

bool page_cache_full(const struct store *store)
{
	return changed_pages(store) >= store->cache.limit;
}

/* ---- reading ---- */

static void page_failed(struct store *store, struct unit_table *table, uint32_t index, int status,
			const char *why)
{
	struct page_cache *cache = &store->cache;
	struct page_ref *ref = &table->pages[index];
	uint64_t offset = slot_offset(store, ref->at.slot);

	ref->failed = true;
	if (!cache->status) {
		cache->status = status;
		cache->status_offset = offset;
	}
	if (ref->reported)
		return;
	ref->reported = true;
	trace(TRACE_ERROR, "store",
	      "%s at offset %llu: units %u to %u of chunk %llu can't be read or written here until "
	      "it can; "
	      "its other replicas have them",
	      why, (unsigned long long)offset, (unsigned)(index * UNITS_PER_PAGE),
	      (unsigned)MIN((index + 1) * UNITS_PER_PAGE, table->unit_count) - 1,
	      (unsigned long long)table->chunk);
}

static void take_page(struct store *store, struct unit_table *table, uint32_t index,
		      struct disk_page *page)
{
	struct page_ref *ref = &table->pages[index];
	const char *problem =
		units_page_check(store, page, ref->at, table->chunk, index, table->unit_count);

	assert(page_lost(ref));
	if (problem) {
		store->counters.checksum_errors++;
		page_failed(store, table, index, -EUCLEAN, problem);
		return;
	}
	ref->page = page_new(store);
	memcpy(ref->page, page + 1, sizeof *ref->page);
	ref->reported = false;
	clock_add(store, ref);
}

static void start_load(struct store *store, struct unit_table *table, uint32_t first,
		       uint32_t count);

static void pages_read(struct io *io)
{
	struct store *store = io->store;
	struct page_cache *cache = &store->cache;
	struct unit_table *table = io->user;
	uint32_t first = (uint32_t)(io->number >> 32), count = (uint32_t)io->number;
	bool again = io->request.result && count > 1;

	cache->loading--;
	for (uint32_t i = 0; i < count; i++) {
		table->pages[first + i].loading = false;
		if (again) /* one bad sector costs its page */
			start_load(store, table, first + i, 1);
		else if (io->request.result)
			page_failed(store, table, first + i, -EIO, "metadata can't be read");
		else
			take_page(store, table, first + i,
				  (struct disk_page *)(void *)(io->buf->data +
							       (size_t)i * PAGE_BYTES));
	}
	if (io->request.result && !again)
		store->counters.read_errors++;
	buf_unref(io->buf);
	io_put(io);
	if (!cache->loaded) {
		page_cache_evict(store);
		store_continue(store);
	} else if (!cache->loading) {
		int status = cache->status;

		cache->status = 0;
		cache->loaded(cache->loaded_context, status, cache->status_offset);
	}
}

static void start_load(struct store *store, struct unit_table *table, uint32_t first,
		       uint32_t count)
{
	struct io *io = io_get(store, pages_read);

	for (uint32_t i = 0; i < count; i++)
		table->pages[first + i].loading = true;
	io->user = table;
	io->number = (uint64_t)first << 32 | count;
	io->buf = buf_new((size_t)count * PAGE_BYTES);
	io_add(io, io->buf->data, (size_t)count * PAGE_BYTES);
	store->cache.loading++;
	io_read(io, slot_offset(store, table->pages[first].at.slot), 0);
}

static bool is_wanted(const struct page_ref *ref)
{
	return page_lost(ref) && !ref->loading && !ref->failed;
}

/* A chunk's pages mostly lie side by side: they are read together. */
void page_cache_load(struct store *store, struct unit_table *table, uint32_t first, uint32_t last)
{
	for (uint32_t p = first; p <= last;) {
		const struct page_ref *ref = &table->pages[p];
		uint32_t n = 1;

		if (!is_wanted(ref)) {
			p++;
			continue;
		}
		while (p + n <= last && n < RUN_PAGES && is_wanted(ref + n) &&
		       ref[n].at.slot == ref->at.slot + n)
			n++;
		start_load(store, table, p, n);
		p += n;
	}
}

/* What is summed up over all units: lost pages have a part in it that nobody knows. */
static void sum_up(struct chunk *c)
{
	c->digest = 0;
	c->invalid_units = c->places = 0;
	for (uint32_t unit = 0; unit < c->unit_count; unit++) {
		const struct disk_unit *u = unit_find(c, unit);

		if (!u)
			continue;
		c->digest += version_hash(unit, unit_version(u));
		c->invalid_units += (u->flags & UNIT_INVALID) != 0;
		c->places += u->place != 0;
	}
}

void page_cache_replace_lost(struct store *store, struct chunk *c)
{
	bool any = false;

	for (uint32_t p = 0; p < c->table->page_count; p++) {
		struct page_ref *ref = &c->table->pages[p];

		if (!page_lost(ref))
			continue;
		assert(ref->failed);
		ref->page = page_new(store);
		memset(ref->page, 0, sizeof *ref->page);
		ref->dirty = true;
		ref->failed = ref->reported = false;
		any = true;
	}
	if (!any)
		return;
	chunk_mark_dirty(store, c);
	sum_up(c);
}

/* ---- what operations need ---- */

struct page_range {
	struct unit_table *table; /* NULL: nothing */
	uint32_t first, last;
};

static struct page_range whole_chunk(const struct chunk *c)
{
	if (!c || !c->table)
		return (struct page_range){0};
	return (struct page_range){c->table, 0, c->table->page_count - 1};
}

static struct page_range units_of(const struct chunk *c, uint32_t first, uint32_t last)
{
	struct page_range range = whole_chunk(c);

	/* Of a chunk that will be another one when the operation's turn comes. */
	if (!range.table || last >= c->unit_count)
		return (struct page_range){0};
	range.first = (uint32_t)(first / UNITS_PER_PAGE);
	range.last = (uint32_t)(last / UNITS_PER_PAGE);
	return range;
}

static struct page_range range_of(const struct store *store, const struct store_op *op)
{
	const struct chunk *c = chunk_find(store, op->chunk);

	switch (op->kind) {
	case STORE_WRITE:
	case STORE_ZERO:
	case STORE_DISCARD:
	case STORE_READ:
		return units_of(c, op->offset / UNIT_BYTES,
				(uint32_t)(((uint64_t)op->offset + op->bytes - 1) / UNIT_BYTES));
	case STORE_COPY:
	case STORE_REPAIR:
		return units_of(c, op->unit, op->unit);
	case STORE_DELETE:
	case STORE_INVALIDATE:
	case STORE_VERSIONS:
		return whole_chunk(c);
	case STORE_CLONE:
		/* One that is there is only answered. */
		return c && c->now.exists ? (struct page_range){0}
					  : whole_chunk(chunk_find(store, op->origin));
	default:
		return (struct page_range){0};
	}
}

static uint64_t *pinned_by(struct store *store, const struct store_op *op)
{
	return &store->cache.pinned[op->kind == STORE_READ || op->kind == STORE_VERSIONS];
}

static bool may_pin(struct store *store, const struct store_op *op)
{
	return *pinned_by(store, op) < MAX(store->cache.limit / PINNED_PART, 1u);
}

static void pin(struct store *store, struct store_op *op, struct page_range range)
{
	struct op_state *s = op_state(op);

	assert(!s->table);
	s->table = range.table;
	s->first_page = range.first;
	s->last_page = range.last;
	range.table->pins++;
	*pinned_by(store, op) += range.last - range.first + 1;
	for (uint32_t p = range.first; p <= range.last; p++) {
		struct page_ref *ref = &range.table->pages[p];

		if (ref->pins++ == 0)
			ref->failed = false;
		ref->used = ref->page != NULL;
		store->counters.metadata_hits += ref->page != NULL;
		store->counters.metadata_misses += page_lost(ref);
	}
	page_cache_load(store, range.table, range.first, range.last);
}

static void release_table(struct store *store, struct unit_table *table)
{
	assert(table->pins);
	if (--table->pins || !table->orphan)
		return;
	TAILQ_REMOVE(&store->cache.orphans, table, grave_link);
	unit_table_free(store, table);
}

void page_cache_unpin(struct store *store, struct store_op *op)
{
	struct op_state *s = op_state(op);
	struct unit_table *table = s->table;

	if (!table)
		return;
	s->table = NULL;
	*pinned_by(store, op) -= s->last_page - s->first_page + 1;
	for (uint32_t p = s->first_page; p <= s->last_page; p++) {
		assert(table->pages[p].pins);
		table->pages[p].pins--;
	}
	release_table(store, table);
	page_cache_evict(store);
}

static bool is_pinned(const struct op_state *s, struct page_range range)
{
	return s->table == range.table &&
	       (!s->table || (s->first_page == range.first && s->last_page == range.last));
}

enum page_verdict page_cache_ready(struct store *store, struct store_op *op)
{
	struct op_state *s = op_state(op);
	struct page_range range = range_of(store, op);
	enum page_verdict verdict = PAGES_READY;

	if (!is_pinned(s, range)) {
		page_cache_unpin(store, op);
		if (range.table)
			pin(store, op, range);
	}
	for (uint32_t p = range.first; range.table && p <= range.last; p++) {
		const struct page_ref *ref = &range.table->pages[p];

		if (!page_lost(ref))
			continue;
		if (!ref->failed)
			return PAGES_LATER;
		verdict = PAGES_FAILED;
	}
	return verdict;
}

void page_cache_prefetch(struct store *store, struct store_op *op)
{
	struct page_range range = range_of(store, op);

	if (range.table && !op_state(op)->table && may_pin(store, op))
		pin(store, op, range);
}

/* ---- queries ---- */

/* What becomes of a query that is in none of the lists. True: it may go on. */
static bool query_ask(struct store *store, struct store_op *op)
{
	switch (page_cache_ready(store, op)) {
	case PAGES_READY:
		return true;
	case PAGES_LATER:
		TAILQ_INSERT_TAIL(&store->cache.waiters, op, link);
		return false;
	default:
		page_cache_unpin(store, op);
		op->status = STORE_DISK_ERROR;
		store_defer(store, op);
		return false;
	}
}

bool page_cache_query_ready(struct store *store, struct store_op *op)
{
	struct page_cache *cache = &store->cache;

	if (!op_state(op)->table && range_of(store, op).table &&
	    (!TAILQ_EMPTY(&cache->queued) || !may_pin(store, op))) {
		TAILQ_INSERT_TAIL(&cache->queued, op, link);
		return false;
	}
	return query_ask(store, op);
}

void page_cache_continue(struct store *store)
{
	struct page_cache *cache = &store->cache;
	struct store_ops waiters = TAILQ_HEAD_INITIALIZER(waiters);
	struct store_op *op;

	TAILQ_CONCAT(&waiters, &cache->waiters, link);
	while ((op = TAILQ_FIRST(&waiters))) {
		TAILQ_REMOVE(&waiters, op, link);
		if (query_ask(store, op))
			query_start(store, op);
	}
	while ((op = TAILQ_FIRST(&cache->queued)) && may_pin(store, op)) {
		TAILQ_REMOVE(&cache->queued, op, link);
		if (query_ask(store, op))
			query_start(store, op);
	}
}

uint64_t page_cache_memory_bytes(const struct store *store)
{
	return store->cache.limit ? store->cache.resident * PAGE_MEMORY
				  : store->unit_pages * (sizeof(struct unit_page) + 16);
}

bool page_cache_idle(const struct store *store)
{
	return TAILQ_EMPTY(&store->cache.waiters) && TAILQ_EMPTY(&store->cache.queued);
}
