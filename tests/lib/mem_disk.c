/*
 * mem_disk.c - see mem_disk.h.
 *
 * The content is a table of 4 KiB pages; a page that isn't there is zero. A cut's disk is laid over the cutter's: it takes copies
 * of pages as it writes them.
 */
#include "tests/lib/mem_disk.h"

#include <errno.h>
#include <stdlib.h>

#define PAGE   4096u
#define SECTOR 512u

enum event_kind {
	EVENT_WRITE_BEGIN,
	EVENT_WRITE_END,
	EVENT_SYNC_BEGIN,
	EVENT_SYNC_END,
};

struct event {
	enum event_kind kind;
	bool durable;
	uint64_t id; /* of the request */
	uint64_t offset, bytes;
	uint8_t *data; /* WRITE_BEGIN */
};

struct waiting {
	struct io_disk_request *request;
	uint64_t id;
};

struct mem_disk {
	struct io_disk disk;
	uint64_t capacity;
	uint8_t **pages;
	const struct mem_disk *below;
	struct prng prng;
	bool fifo;
	struct waiting *queue;
	unsigned count, queue_capacity;
	uint64_t next_id;
	uint64_t fail_reads_offset, fail_reads_bytes;
	uint64_t fail_writes_after;
	bool recording;
	struct event *events;
	uint64_t event_count, event_capacity;
	uint8_t **base; /* when recording began */
};

/* ---- content ---- */

static const uint8_t *page_at(const struct mem_disk *m, uint64_t i)
{
	for (; m; m = m->below)
		if (m->pages[i])
			return m->pages[i];
	return NULL;
}

void mem_disk_peek(const struct mem_disk *m, uint64_t offset, void *to, uint64_t bytes)
{
	uint8_t *out = to;

	assert(offset <= m->capacity && bytes <= m->capacity - offset);
	while (bytes) {
		uint64_t in = offset % PAGE, n = MIN(bytes, PAGE - in);
		const uint8_t *page = page_at(m, offset / PAGE);

		if (page)
			memcpy(out, page + in, n);
		else
			memset(out, 0, n);
		out += n;
		offset += n;
		bytes -= n;
	}
}

void mem_disk_poke(struct mem_disk *m, uint64_t offset, const void *from, uint64_t bytes)
{
	const uint8_t *in_data = from;

	assert(offset <= m->capacity && bytes <= m->capacity - offset);
	while (bytes) {
		uint64_t in = offset % PAGE, n = MIN(bytes, PAGE - in), i = offset / PAGE;

		if (!m->pages[i]) {
			const uint8_t *below = page_at(m, i);

			m->pages[i] = xcalloc(1, PAGE);
			if (below)
				memcpy(m->pages[i], below, PAGE);
		}
		memcpy(m->pages[i] + in, in_data, n);
		in_data += n;
		offset += n;
		bytes -= n;
	}
}

void mem_disk_flip(struct mem_disk *m, uint64_t offset, uint8_t bits)
{
	uint8_t byte;

	mem_disk_peek(m, offset, &byte, 1);
	byte ^= bits;
	mem_disk_poke(m, offset, &byte, 1);
}

/* ---- requests ---- */

static void log_event(struct mem_disk *m, struct event e)
{
	if (!m->recording)
		return;
	if (m->event_count == m->event_capacity) {
		m->event_capacity = MAX(UINT64_C(256), m->event_capacity * 2);
		m->events = xrealloc(m->events, m->event_capacity * sizeof *m->events);
	}
	m->events[m->event_count++] = e;
}

static uint8_t *gather(const struct io_disk_request *r)
{
	uint8_t *all = xmalloc(r->bytes ? r->bytes : 1), *at = all;

	for (int i = 0; i < r->iov_count; i++) {
		memcpy(at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	assert((uint64_t)(at - all) == r->bytes);
	return all;
}

static void submit(struct io_disk *disk, struct io_disk_request *r)
{
	struct mem_disk *m = container_of(disk, struct mem_disk, disk);
	uint64_t id = m->next_id++;

	if (r->op == IO_DISK_READ || r->op == IO_DISK_WRITE) {
		assert(r->offset % disk->block_bytes == 0 && r->bytes % disk->block_bytes == 0);
		for (int i = 0; i < r->iov_count; i++)
			assert((uintptr_t)r->iov[i].iov_base % disk->block_bytes == 0 &&
			       r->iov[i].iov_len % disk->block_bytes == 0);
	}
	if (m->count == m->queue_capacity) {
		m->queue_capacity = MAX(64u, m->queue_capacity * 2);
		m->queue = xrealloc(m->queue, m->queue_capacity * sizeof *m->queue);
	}
	m->queue[m->count++] = (struct waiting){r, id};
	if (m->recording && r->op == IO_DISK_WRITE)
		log_event(m, (struct event){EVENT_WRITE_BEGIN, r->flags & IO_DISK_DURABLE, id,
					    r->offset, r->bytes, gather(r)});
	else if (r->op == IO_DISK_SYNC)
		log_event(m, (struct event){EVENT_SYNC_BEGIN, false, id, 0, 0, NULL});
}

static bool in_range(const struct mem_disk *m, const struct io_disk_request *r)
{
	return r->offset <= m->disk.size_bytes && r->bytes <= m->disk.size_bytes - r->offset;
}

static int do_read(struct mem_disk *m, const struct io_disk_request *r)
{
	uint64_t offset = r->offset;

	if (!in_range(m, r))
		return -EIO;
	if (m->fail_reads_bytes && r->offset < m->fail_reads_offset + m->fail_reads_bytes &&
	    m->fail_reads_offset < r->offset + r->bytes)
		return -EIO;
	for (int i = 0; i < r->iov_count; i++) {
		mem_disk_peek(m, offset, r->iov[i].iov_base, r->iov[i].iov_len);
		offset += r->iov[i].iov_len;
	}
	return 0;
}

static bool writes_fail(struct mem_disk *m)
{
	if (m->fail_writes_after == UINT64_MAX)
		return false;
	if (m->fail_writes_after == 0)
		return true;
	m->fail_writes_after--;
	return false;
}

static int do_write(struct mem_disk *m, const struct io_disk_request *r, uint64_t id)
{
	uint64_t offset = r->offset;

	if (!in_range(m, r) || writes_fail(m))
		return -EIO;
	for (int i = 0; i < r->iov_count; i++) {
		mem_disk_poke(m, offset, r->iov[i].iov_base, r->iov[i].iov_len);
		offset += r->iov[i].iov_len;
	}
	log_event(m, (struct event){EVENT_WRITE_END, r->flags & IO_DISK_DURABLE, id, 0, 0, NULL});
	return 0;
}

static int do_request(struct mem_disk *m, const struct io_disk_request *r, uint64_t id)
{
	static const uint8_t undefined[PAGE] = {0xde};

	switch (r->op) {
	case IO_DISK_READ:
		return do_read(m, r);
	case IO_DISK_WRITE:
		return do_write(m, r, id);
	case IO_DISK_SYNC:
		if (writes_fail(m))
			return -EIO;
		log_event(m, (struct event){EVENT_SYNC_END, false, id, 0, 0, NULL});
		return 0;
	case IO_DISK_DISCARD:
		for (uint64_t at = 0; at < r->bytes; at += PAGE)
			mem_disk_poke(m, r->offset + at, undefined, PAGE);
		return 0;
	}
	return -EIO;
}

bool mem_disk_step(struct mem_disk *m)
{
	struct waiting w;
	unsigned i;

	if (!m->count)
		return false;
	i = m->fifo ? 0 : (unsigned)prng_below(&m->prng, m->count);
	w = m->queue[i];
	memmove(&m->queue[i], &m->queue[i + 1], (m->count - i - 1) * sizeof *m->queue);
	m->count--;
	w.request->result = do_request(m, w.request, w.id);
	w.request->done(w.request);
	return true;
}

void mem_disk_run(struct mem_disk *m)
{
	while (mem_disk_step(m))
		;
}

unsigned mem_disk_waiting(const struct mem_disk *m)
{
	return m->count;
}

void mem_disk_set_fifo(struct mem_disk *m, bool fifo)
{
	m->fifo = fifo;
}

void mem_disk_forget(struct mem_disk *m)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct io_disk_request *r = m->queue[i].request;
		uint8_t *data;

		if (r->op != IO_DISK_WRITE || !in_range(m, r))
			continue;
		data = gather(r);
		for (uint64_t at = 0; at < r->bytes; at += SECTOR)
			if (prng_chance(&m->prng, 1, 2))
				mem_disk_poke(m, r->offset + at, data + at, SECTOR);
		free(data);
	}
	m->count = 0;
}

void mem_disk_fail_reads(struct mem_disk *m, uint64_t offset, uint64_t bytes)
{
	m->fail_reads_offset = offset;
	m->fail_reads_bytes = bytes;
}

void mem_disk_fail_writes_after(struct mem_disk *m, uint64_t countdown)
{
	m->fail_writes_after = countdown;
}

void mem_disk_resize(struct mem_disk *m, uint64_t bytes)
{
	assert(bytes <= m->capacity);
	m->disk.size_bytes = bytes;
}

struct io_disk *mem_disk_io(struct mem_disk *m)
{
	return &m->disk;
}

struct mem_disk *mem_disk_new(uint64_t bytes, uint64_t seed)
{
	struct mem_disk *m = xcalloc(1, sizeof *m);

	m->capacity = ROUND_UP(bytes, (uint64_t)PAGE);
	m->pages = xcalloc(m->capacity / PAGE, sizeof *m->pages);
	m->prng.state = seed;
	m->fail_writes_after = UINT64_MAX;
	m->disk = (struct io_disk){
		.size_bytes = bytes,
		.block_bytes = SECTOR,
		.submit = submit,
	};
	return m;
}

struct mem_disk *mem_disk_over(const struct mem_disk *below, uint64_t seed)
{
	struct mem_disk *m = mem_disk_new(below->capacity, seed);

	m->disk.size_bytes = below->disk.size_bytes;
	m->below = below;
	return m;
}

struct mem_disk *mem_disk_copy(const struct mem_disk *from, uint64_t seed)
{
	struct mem_disk *m = mem_disk_new(from->capacity, seed);

	m->disk.size_bytes = from->disk.size_bytes;
	for (uint64_t i = 0; i < m->capacity / PAGE; i++) {
		const uint8_t *page = page_at(from, i);

		if (page)
			mem_disk_poke(m, i * PAGE, page, PAGE);
	}
	return m;
}

static void free_pages(uint8_t **pages, uint64_t count)
{
	for (uint64_t i = 0; pages && i < count; i++)
		free(pages[i]);
	free(pages);
}

void mem_disk_free(struct mem_disk *m)
{
	if (!m)
		return;
	free_pages(m->pages, m->capacity / PAGE);
	free_pages(m->base, m->capacity / PAGE);
	for (uint64_t i = 0; i < m->event_count; i++)
		free(m->events[i].data);
	free(m->events);
	free(m->queue);
	free(m);
}

/* ---- the log and its cuts ---- */

void mem_disk_record(struct mem_disk *m)
{
	assert(!m->recording && !m->count);
	m->recording = true;
	if (m->below)
		return;
	m->base = xcalloc(m->capacity / PAGE, sizeof *m->base);
	for (uint64_t i = 0; i < m->capacity / PAGE; i++) {
		if (!m->pages[i])
			continue;
		m->base[i] = xmalloc(PAGE);
		memcpy(m->base[i], m->pages[i], PAGE);
	}
}

void mem_disk_log_write(struct mem_disk *m, uint64_t offset, const void *data, uint64_t bytes)
{
	uint64_t id = m->next_id++;
	uint8_t *copy = xmalloc(bytes ? bytes : 1);

	assert(m->recording && offset <= m->capacity && bytes <= m->capacity - offset);
	memcpy(copy, data, bytes);
	log_event(m, (struct event){EVENT_WRITE_BEGIN, false, id, offset, bytes, copy});
	log_event(m, (struct event){EVENT_WRITE_END, false, id, 0, 0, NULL});
}

void mem_disk_log_sync(struct mem_disk *m)
{
	uint64_t id = m->next_id++;

	assert(m->recording);
	log_event(m, (struct event){EVENT_SYNC_BEGIN, false, id, 0, 0, NULL});
	log_event(m, (struct event){EVENT_SYNC_END, false, id, 0, 0, NULL});
}

uint64_t mem_disk_events(const struct mem_disk *m)
{
	return m->event_count;
}

/* A write that isn't durable yet. */
struct open_write {
	const struct event *begin;
	uint64_t began, ended; /* events; ended 0: not yet */
	uint64_t covered_by;   /* SYNC that will make it durable; 0: none */
	bool *dead;            /* sectors that a later write replaced for good */
};

struct mem_cutter {
	const struct mem_disk *from;
	struct mem_disk *durable;
	uint64_t events;
	struct open_write *open; /* in the order of submission */
	unsigned count, capacity;
};

struct mem_cutter *mem_cutter_new(const struct mem_disk *m)
{
	struct mem_cutter *c = xcalloc(1, sizeof *c);

	c->from = m;
	c->durable = m->below ? mem_disk_over(m->below, 0) : mem_disk_new(m->capacity, 0);
	c->durable->disk.size_bytes = m->disk.size_bytes;
	for (uint64_t i = 0; m->base && i < m->capacity / PAGE; i++)
		if (m->base[i])
			mem_disk_poke(c->durable, i * PAGE, m->base[i], PAGE);
	return c;
}

static void remove_open(struct mem_cutter *c, struct open_write *w)
{
	unsigned i = (unsigned)(w - c->open);

	free(w->dead);
	memmove(w, w + 1, (c->count - i - 1) * sizeof *w);
	c->count--;
}

void mem_cutter_free(struct mem_cutter *c)
{
	while (c->count)
		remove_open(c, &c->open[c->count - 1]);
	mem_disk_free(c->durable);
	free(c->open);
	free(c);
}

static struct open_write *find_open(struct mem_cutter *c, uint64_t id)
{
	for (unsigned i = 0; i < c->count; i++)
		if (c->open[i].begin->id == id)
			return &c->open[i];
	return NULL;
}

/* What had ended before the later one began can't come back once that is durable. */
static void kill_overlap(struct open_write *old, const struct open_write *later)
{
	for (uint64_t at = 0; at < old->begin->bytes; at += SECTOR) {
		uint64_t offset = old->begin->offset + at;

		if (offset >= later->begin->offset &&
		    offset < later->begin->offset + later->begin->bytes) {
			if (!old->dead)
				old->dead = xcalloc(old->begin->bytes / SECTOR, sizeof(bool));
			old->dead[at / SECTOR] = true;
		}
	}
}

static void put(struct mem_disk *to, const struct open_write *w, uint64_t at)
{
	if (!w->dead || !w->dead[at / SECTOR])
		mem_disk_poke(to, w->begin->offset + at, w->begin->data + at, SECTOR);
}

static bool overlaps(const struct event *a, const struct event *b)
{
	return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static void make_durable(struct mem_cutter *c, struct open_write *w)
{
	if (w->dead) {
		for (uint64_t at = 0; at < w->begin->bytes; at += SECTOR)
			put(c->durable, w, at);
	} else {
		mem_disk_poke(c->durable, w->begin->offset, w->begin->data, w->begin->bytes);
	}
	for (unsigned i = 0; i < c->count; i++)
		if (c->open[i].ended && c->open[i].ended <= w->began &&
		    overlaps(c->open[i].begin, w->begin))
			kill_overlap(&c->open[i], w);
	remove_open(c, w);
}

static void open_begin(struct mem_cutter *c, const struct event *e)
{
	if (c->count == c->capacity) {
		c->capacity = MAX(64u, c->capacity * 2);
		c->open = xrealloc(c->open, c->capacity * sizeof *c->open);
	}
	c->open[c->count++] = (struct open_write){.begin = e, .began = c->events + 1};
}

static void sync_begin(struct mem_cutter *c, uint64_t id)
{
	for (unsigned i = 0; i < c->count; i++)
		if (c->open[i].ended && !c->open[i].covered_by)
			c->open[i].covered_by = id + 1;
}

static void sync_end(struct mem_cutter *c, uint64_t id)
{
	for (unsigned i = 0; i < c->count;) {
		if (c->open[i].covered_by == id + 1)
			make_durable(c, &c->open[i]);
		else
			i++;
	}
}

static void write_end(struct mem_cutter *c, const struct event *e)
{
	struct open_write *w = find_open(c, e->id);

	w->ended = c->events + 1;
	if (e->durable)
		make_durable(c, w);
}

void mem_cutter_move(struct mem_cutter *c, uint64_t events)
{
	assert(events >= c->events && events <= c->from->event_count);
	for (; c->events < events; c->events++) {
		const struct event *e = &c->from->events[c->events];

		switch (e->kind) {
		case EVENT_WRITE_BEGIN:
			open_begin(c, e);
			break;
		case EVENT_WRITE_END:
			write_end(c, e);
			break;
		case EVENT_SYNC_BEGIN:
			sync_begin(c, e->id);
			break;
		case EVENT_SYNC_END:
			sync_end(c, e->id);
			break;
		}
	}
}

unsigned mem_cutter_open(const struct mem_cutter *c)
{
	return c->count;
}

struct mem_disk *mem_cutter_cut(struct mem_cutter *c, enum mem_cut how, uint64_t seed)
{
	struct mem_disk *m = mem_disk_over(c->durable, seed);
	struct prng p = {seed};
	unsigned shift = c->count ? (unsigned)prng_below(&p, c->count) : 0;

	m->fifo = true;
	for (unsigned i = 0; how != MEM_CUT_LOSE && i < c->count; i++) {
		/* KEEP: in their order. Else any one may show where they overlap. */
		const struct open_write *w =
			&c->open[how == MEM_CUT_KEEP ? i : (i + shift) % c->count];

		if (how == MEM_CUT_MIX && prng_chance(&p, 1, 2))
			continue;
		for (uint64_t at = 0; at < w->begin->bytes; at += SECTOR)
			if (how != MEM_CUT_TEAR || prng_chance(&p, 1, 2))
				put(m, w, at);
	}
	return m;
}
