/*
 * disk.c - see disk.h. Content is kept in pages, shared by the copies of a disk until one of them changes it; a page that is
 * not there is all zero, and zeros don't make one. Undurable sectors are in a hash table.
 */
#include "tests/sim/disk.h"
#include "common/base/crc.h"

#include <errno.h>
#include <stdlib.h>
#include "common/base/hash.h"

#define SECTOR     512u
#define PAGE_BYTES 16384u

struct page {
	uint32_t sharers;
	uint8_t data[PAGE_BYTES];
};

/* One content that a sector may have after a power cut. */
struct past {
	uint64_t written; /* number of the write that made it; 0: durable */
	struct past *newer;
	uint8_t data[SECTOR];
};

struct undurable {
	uint64_t sector;
	struct past *oldest; /* what came before the newest content, which is in the page */
	uint64_t newest;     /* number of the write that made the present content */
	UT_hash_handle hh;
};

struct bad_sector {
	uint64_t sector;
	UT_hash_handle hh;
};

struct request {
	struct sim_event event;
	struct sim_disk *disk;
	struct io_disk_request *user;
	uint64_t sync_mark; /* SYNC: writes up to this number had completed when it was submitted */
	uint32_t crc;       /* WRITE: of the data at submit */
	TAILQ_ENTRY(request) link;
};

struct sim_disk {
	struct io_disk io;
	struct sim *sim;
	struct sim_process *process;
	char name[16];
	struct sim_disk_options options;
	struct prng random, faults;
	struct page **pages, **saved; /* saved: an image that was kept; NULL: none */
	uint64_t page_count, pages_in_use;
	struct undurable *undurable;
	struct bad_sector *bad;
	uint64_t writes;
	TAILQ_HEAD(, request) under_way;
	unsigned under_way_count;
	uint32_t slow;
	bool failing;
	bool damaged; /* has lost, mixed up or spoilt something */
	bool flipped; /* by sim_disk_damage */
	unsigned lose, misdirect;
	uint64_t spare_below;
};

/* ---- content ---- */

static void page_unref(struct page *page)
{
	if (page && --page->sharers == 0)
		free(page);
}

/* To be changed: this disk's alone from now on. */
static uint8_t *page_own(struct sim_disk *d, uint64_t offset)
{
	struct page **at = &d->pages[offset / PAGE_BYTES], *own = *at;

	if (!own) {
		own = xcalloc(1, sizeof *own);
		d->pages_in_use++;
	} else if (own->sharers > 1) {
		own = xmalloc(sizeof *own);
		memcpy(own->data, (*at)->data, PAGE_BYTES);
		page_unref(*at);
	}
	own->sharers = 1;
	*at = own;
	return own->data;
}

static bool all_zero(const uint8_t *data, size_t bytes)
{
	return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

void sim_disk_peek(struct sim_disk *d, uint64_t offset, size_t bytes, void *to)
{
	assert(offset + bytes <= d->options.size_bytes);
	while (bytes) {
		size_t n = MIN(bytes, PAGE_BYTES - offset % PAGE_BYTES);
		const struct page *page = d->pages[offset / PAGE_BYTES];

		if (page)
			memcpy(to, page->data + offset % PAGE_BYTES, n);
		else
			memset(to, 0, n);
		offset += n;
		to = (uint8_t *)to + n;
		bytes -= n;
	}
}

void sim_disk_poke(struct sim_disk *d, uint64_t offset, size_t bytes, const void *from)
{
	assert(offset + bytes <= d->options.size_bytes);
	while (bytes) {
		size_t n = MIN(bytes, PAGE_BYTES - offset % PAGE_BYTES);

		if (d->pages[offset / PAGE_BYTES] || !all_zero(from, n))
			memcpy(page_own(d, offset) + offset % PAGE_BYTES, from, n);
		offset += n;
		from = (const uint8_t *)from + n;
		bytes -= n;
	}
}

/* ---- what is not durable ---- */

static void undurable_free(struct sim_disk *d, struct undurable *u)
{
	while (u->oldest) {
		struct past *p = u->oldest;

		u->oldest = p->newer;
		free(p);
	}
	HASH_DEL(d->undurable, u);
	free(u);
}

static void sector_write(struct sim_disk *d, uint64_t sector, const void *data, bool durable,
			 uint64_t number)
{
	struct undurable *u;
	struct past *p, **at;

	/* Zeros over a page that isn't there: before and after are the same. */
	if (!d->pages[sector * SECTOR / PAGE_BYTES] && all_zero(data, SECTOR))
		return;
	HASH_FIND(hh, d->undurable, &sector, sizeof sector, u);
	if (durable) {
		if (u)
			undurable_free(d, u);
	} else {
		p = xcalloc(1, sizeof *p);
		sim_disk_peek(d, sector * SECTOR, SECTOR, p->data);
		if (!u) {
			u = xcalloc(1, sizeof *u);
			u->sector = sector;
			HASH_ADD(hh, d->undurable, sector, sizeof u->sector, u);
		}
		p->written = u->newest;
		u->newest = number;
		for (at = &u->oldest; *at; at = &(*at)->newer)
			;
		*at = p;
	}
	sim_disk_poke(d, sector * SECTOR, SECTOR, data);
}

/* Everything up to this write is durable now: older contents can't come back. */
static void make_durable(struct sim_disk *d, uint64_t mark)
{
	struct undurable *u, *next;

	HASH_ITER(hh, d->undurable, u, next)
	{
		if (u->newest <= mark) {
			undurable_free(d, u);
			continue;
		}
		while (u->oldest->newer && u->oldest->newer->written <= mark) {
			struct past *p = u->oldest;

			u->oldest = p->newer;
			free(p);
		}
	}
}

/* Of one write a power cut keeps all, nothing, or each sector by itself. */
static bool is_kept(struct sim_disk *d, uint64_t salt, uint64_t write)
{
	switch (mix64(salt ^ write) % 4) {
	case 0:
		return true;
	case 1:
		return false;
	default:
		return prng_chance(&d->random, 1, 2);
	}
}

/* The newest content of a sector whose write is kept; the oldest one is durable. */
static const uint8_t *content_after_cut(struct sim_disk *d, const struct undurable *u,
					uint64_t salt)
{
	const struct past *kept = NULL;

	for (const struct past *p = u->oldest; p; p = p->newer) {
		if (!kept || is_kept(d, salt, p->written))
			kept = p;
	}
	return is_kept(d, salt, u->newest) ? NULL : kept->data;
}

static void power_cut(struct sim_disk *d)
{
	uint64_t salt = prng_next(&d->random);
	struct undurable *u, *next;

	HASH_ITER(hh, d->undurable, u, next)
	{
		const uint8_t *data = content_after_cut(d, u, salt);

		if (data)
			sim_disk_poke(d, u->sector * SECTOR, SECTOR, data);
		undurable_free(d, u);
	}
}

/* ---- requests ---- */

static uint32_t crc_of(const struct io_disk_request *r)
{
	uint32_t crc = 0;

	for (int i = 0; i < r->iov_count; i++)
		crc = crc32c(crc, r->iov[i].iov_base, r->iov[i].iov_len);
	return crc;
}

static void heal_sector(struct sim_disk *d, uint64_t sector)
{
	struct bad_sector *b;

	HASH_FIND(hh, d->bad, &sector, sizeof sector, b);
	if (b) {
		HASH_DEL(d->bad, b);
		free(b);
	}
}

/* Which sectors of a request were done before it was cut off: the first ones, the last ones, or any. */
struct done_part {
	uint64_t first, end;
	bool any;
};

static struct done_part draw_part(struct sim_disk *d, const struct io_disk_request *r, bool all)
{
	uint64_t sectors = r->bytes / SECTOR;
	struct done_part part = {0, sectors, false};

	if (all)
		return part;
	switch (prng_below(&d->random, 3)) {
	case 0:
		part.end = prng_below(&d->random, sectors + 1);
		break;
	case 1:
		part.first = prng_below(&d->random, sectors + 1);
		break;
	default:
		part.any = true;
		break;
	}
	return part;
}

/* Writes the request's sectors, or a part of them, at an offset that may not be its own. */
static void do_write(struct sim_disk *d, const struct io_disk_request *r, uint64_t offset, bool all)
{
	bool durable = all && ((r->flags & IO_DISK_DURABLE) || d->options.power_loss_protected);
	uint64_t number = ++d->writes, sector = 0;
	struct done_part part = draw_part(d, r, all);

	for (int i = 0; i < r->iov_count; i++) {
		for (size_t at = 0; at < r->iov[i].iov_len; at += SECTOR, offset += SECTOR) {
			bool in_part = sector >= part.first && sector < part.end;

			sector++;
			if (!in_part || (part.any && prng_chance(&d->random, 1, 2)))
				continue;
			if (offset + SECTOR > d->options.size_bytes)
				continue;
			if (d->bad)
				heal_sector(d, offset / SECTOR);
			sector_write(d, offset / SECTOR, (const uint8_t *)r->iov[i].iov_base + at,
				     durable, number);
		}
	}
}

static int do_read(struct sim_disk *d, const struct io_disk_request *r)
{
	uint64_t offset = r->offset;

	for (uint64_t s = offset / SECTOR; d->bad && s < (offset + r->bytes) / SECTOR; s++) {
		struct bad_sector *b;

		HASH_FIND(hh, d->bad, &s, sizeof s, b);
		if (b)
			return -EIO;
	}
	for (int i = 0; i < r->iov_count; i++) {
		sim_disk_peek(d, offset, r->iov[i].iov_len, r->iov[i].iov_base);
		offset += r->iov[i].iov_len;
	}
	return 0;
}

static void do_discard(struct sim_disk *d, const struct io_disk_request *r)
{
	uint8_t junk[SECTOR];

	/* Undefined afterwards: not zeros, and not what was there. */
	for (uint64_t at = r->offset; at < r->offset + r->bytes; at += SECTOR) {
		memset(junk, (int)(0xd1 + at / SECTOR % 7), sizeof junk);
		sector_write(d, at / SECTOR, junk, false, d->writes + 1);
	}
	d->writes++;
}

static int complete_write(struct sim_disk *d, const struct io_disk_request *r)
{
	uint64_t blocks;

	if (d->failing) {
		do_write(d, r, r->offset, false);
		return -EIO;
	}
	if (d->lose && r->offset >= d->spare_below) {
		d->lose--;
		d->sim->totals.disk_faults++;
		sim_trace(d->sim, "disk %s: loses a write at %llu + %llu", d->name,
			  (unsigned long long)r->offset, (unsigned long long)r->bytes);
		return 0;
	}
	if (d->misdirect && r->offset >= d->spare_below) {
		d->misdirect--;
		d->sim->totals.disk_faults++;
		blocks = (d->options.size_bytes - d->spare_below) / d->options.block_bytes;
		uint64_t to =
			d->spare_below + prng_below(&d->faults, blocks) * d->options.block_bytes;
		sim_trace(d->sim, "disk %s: a write at %llu goes to %llu", d->name,
			  (unsigned long long)r->offset, (unsigned long long)to);
		do_write(d, r, to, true);
		return 0;
	}
	do_write(d, r, r->offset, true);
	return 0;
}

static void request_run(struct sim_event *event)
{
	struct request *q = container_of(event, struct request, event);
	struct sim_disk *d = q->disk;
	struct io_disk_request *r = q->user;

	switch (r->op) {
	case IO_DISK_READ:
		r->result = do_read(d, r);
		break;
	case IO_DISK_WRITE:
		if (crc_of(r) != q->crc)
			sim_fail(d->sim, "write buffer changed", 0,
				 "disk %s: the buffer of a write at %llu was changed while it was "
				 "under way",
				 d->name, (unsigned long long)r->offset);
		r->result = complete_write(d, r);
		break;
	case IO_DISK_SYNC:
		r->result = d->failing ? -EIO : 0;
		if (!d->failing)
			make_durable(d, q->sync_mark);
		break;
	case IO_DISK_DISCARD:
		do_discard(d, r);
		r->result = 0;
		break;
	}
	TAILQ_REMOVE(&d->under_way, q, link);
	d->under_way_count--;
	sim_note(d->sim, r->offset ^ (uint64_t)r->op << 60);
	free(q);
	r->done(r);
}

static uint64_t latency(struct sim_disk *d, const struct io_disk_request *r)
{
	const struct sim_disk_options *o = &d->options;
	uint64_t ns = o->latency_ns / (r->op == IO_DISK_READ ? 2 : 1) + r->bytes;

	ns += prng_below(&d->random, o->jitter_ns + 1);
	if (o->spike_one_in && prng_chance(&d->random, 1, o->spike_one_in))
		ns += prng_below(&d->random, o->spike_ns + 1);
	return ns * d->slow;
}

static void disk_submit(struct io_disk *io, struct io_disk_request *r)
{
	struct sim_disk *d = container_of(io, struct sim_disk, io);
	struct request *q = xcalloc(1, sizeof *q);
	uint64_t sum = 0;

	for (int i = 0; i < r->iov_count && r->op != IO_DISK_SYNC; i++) {
		assert((uintptr_t)r->iov[i].iov_base % io->block_bytes == 0);
		assert(r->iov[i].iov_len % io->block_bytes == 0);
		sum += r->iov[i].iov_len;
	}
	if (r->op == IO_DISK_READ || r->op == IO_DISK_WRITE)
		assert(sum == r->bytes && (r->bytes > 0 || r->op == IO_DISK_READ));
	if (r->op != IO_DISK_SYNC) {
		assert(r->offset % io->block_bytes == 0 && r->bytes % io->block_bytes == 0);
		assert(r->offset + r->bytes <= io->size_bytes);
	}
	q->disk = d;
	q->user = r;
	q->event.run = request_run;
	q->sync_mark = d->writes;
	if (r->op == IO_DISK_WRITE)
		q->crc = crc_of(r);
	if (r->op == IO_DISK_WRITE && d->process && d->sim->on_disk)
		d->sim->on_disk(d->sim, d->process, r->bytes);
	TAILQ_INSERT_TAIL(&d->under_way, q, link);
	d->under_way_count++;
	sim_schedule(d->sim, &q->event, d->process, d->sim->now_ns + latency(d, r) + 1, "disk");
}

/* ---- life ---- */

struct sim_disk *sim_disk_new(struct sim *sim, const char *name, uint64_t stream,
			      const struct sim_disk_options *options)
{
	struct sim_disk *d = xcalloc(1, sizeof *d);

	d->sim = sim;
	d->options = *options;
	d->random = sim_stream(sim, "disk", stream);
	d->faults = sim_stream(sim, "disk faults", stream);
	d->slow = 1;
	d->page_count = (options->size_bytes + PAGE_BYTES - 1) / PAGE_BYTES;
	d->pages = xcalloc(d->page_count, sizeof *d->pages);
	d->io = (struct io_disk){options->size_bytes, options->block_bytes,
				 options->power_loss_protected, disk_submit};
	TAILQ_INIT(&d->under_way);
	snprintf(d->name, sizeof d->name, "%s", name);
	return d;
}

static void forget_undurable(struct sim_disk *d)
{
	struct undurable *u, *next;
	struct bad_sector *b, *next_bad;

	HASH_ITER(hh, d->undurable, u, next)
	undurable_free(d, u);
	HASH_ITER(hh, d->bad, b, next_bad)
	{
		HASH_DEL(d->bad, b);
		free(b);
	}
}

static void requests_drop(struct sim_disk *d)
{
	struct request *q;

	while ((q = TAILQ_FIRST(&d->under_way))) {
		TAILQ_REMOVE(&d->under_way, q, link);
		sim_cancel(d->sim, &q->event);
		free(q);
	}
	d->under_way_count = 0;
}

void sim_disk_wipe(struct sim_disk *d)
{
	requests_drop(d);
	forget_undurable(d);
	for (uint64_t i = 0; i < d->page_count; i++) {
		page_unref(d->pages[i]);
		d->pages[i] = NULL;
	}
	d->pages_in_use = 0;
	d->failing = d->damaged = d->flipped = false;
	d->lose = d->misdirect = 0;
}

static void saved_drop(struct sim_disk *d)
{
	for (uint64_t i = 0; d->saved && i < d->page_count; i++)
		page_unref(d->saved[i]);
	free(d->saved);
	d->saved = NULL;
}

void sim_disk_free(struct sim_disk *d)
{
	if (!d)
		return;
	sim_disk_wipe(d);
	saved_drop(d);
	free(d->pages);
	free(d);
}

void sim_disk_save(struct sim_disk *d)
{
	saved_drop(d);
	d->saved = xcalloc(d->page_count, sizeof *d->saved);
	for (uint64_t i = 0; i < d->page_count; i++) {
		d->saved[i] = d->pages[i];
		if (d->pages[i])
			d->pages[i]->sharers++;
	}
}

void sim_disk_swap_saved(struct sim_disk *d)
{
	struct page **present = d->pages;

	assert(d->saved && TAILQ_EMPTY(&d->under_way));
	forget_undurable(d);
	d->pages = d->saved;
	d->saved = present;
}

unsigned sim_disk_damage(struct sim_disk *d, const void *bytes, size_t count)
{
	uint8_t *there = xmalloc(count);
	unsigned damaged = 0;

	for (uint64_t at = 0; at + count <= d->options.size_bytes; at += SECTOR) {
		if (!d->pages[at / PAGE_BYTES])
			continue;
		sim_disk_peek(d, at, count, there);
		if (memcmp(there, bytes, count))
			continue;
		there[count / 2] ^= 4;
		d->flipped = true;
		sim_disk_poke(d, at, count, there);
		damaged++;
	}
	free(there);
	return damaged;
}

struct io_disk *sim_disk_open(struct sim_disk *d, struct sim_process *process)
{
	d->process = process;
	return &d->io;
}

void sim_disk_process_ended(struct sim_disk *d, bool power)
{
	struct request *q;

	/* The kernel ends what it was given: each request is done, in part or not at all, by its own luck. */
	TAILQ_FOREACH (q, &d->under_way, link) {
		if (q->user->op == IO_DISK_WRITE && !d->failing && prng_chance(&d->random, 2, 3))
			do_write(d, q->user, q->user->offset, prng_chance(&d->random, 1, 2));
	}
	requests_drop(d);
	if (power)
		power_cut(d);
}

struct sim_disk *sim_disk_copy(struct sim_disk *d, struct sim *world)
{
	struct sim_disk_options options = {.size_bytes = d->options.size_bytes,
					   .block_bytes = d->options.block_bytes,
					   .latency_ns = 1000};
	struct sim_disk *copy = sim_disk_new(world, d->name, 0, &options);

	for (uint64_t i = 0; i < d->page_count; i++) {
		if (d->pages[i])
			d->pages[i]->sharers++;
		copy->pages[i] = d->pages[i];
	}
	copy->pages_in_use = d->pages_in_use;
	return copy;
}

/* ---- faults ---- */

void sim_disk_set_slow(struct sim_disk *d, uint32_t times)
{
	d->slow = times;
}

void sim_disk_fail_writes(struct sim_disk *d, bool failing)
{
	d->failing = failing;
}

/* A random sector that has been written, above what is spared; false if there is none. */
static bool random_sector(struct sim_disk *d, uint64_t *sector)
{
	uint64_t first = (d->spare_below + PAGE_BYTES - 1) / PAGE_BYTES, in_use = 0, chosen;

	for (uint64_t i = first; i < d->page_count; i++)
		in_use += d->pages[i] != NULL;
	if (!in_use)
		return false;
	chosen = prng_below(&d->faults, in_use);
	for (uint64_t i = first; i < d->page_count; i++) {
		if (d->pages[i] && chosen-- == 0) {
			*sector = i * (PAGE_BYTES / SECTOR) +
				  prng_below(&d->faults, PAGE_BYTES / SECTOR);
			return *sector * SECTOR < d->options.size_bytes;
		}
	}
	return false;
}

static void sector_fails(struct sim_disk *d, uint64_t sector)
{
	struct bad_sector *b;

	HASH_FIND(hh, d->bad, &sector, sizeof sector, b);
	if (b)
		return;
	b = xcalloc(1, sizeof *b);
	b->sector = sector;
	HASH_ADD(hh, d->bad, sector, sizeof b->sector, b);
	d->sim->totals.disk_faults++;
}

void sim_disk_fail_reads(struct sim_disk *d, unsigned sectors)
{
	d->damaged = true;
	while (sectors--) {
		uint64_t sector;

		if (!random_sector(d, &sector))
			return;
		sector_fails(d, sector);
	}
}

void sim_disk_share_bad_reads(const struct sim_disk *from, struct sim_disk *to)
{
	for (const struct bad_sector *b = from->bad; b; b = b->hh.next)
		sector_fails(to, b->sector);
}

void sim_disk_rot(struct sim_disk *d, unsigned sectors)
{
	d->damaged = true;
	while (sectors--) {
		uint64_t sector;
		uint8_t data[SECTOR];

		if (!random_sector(d, &sector))
			return;
		sim_disk_peek(d, sector * SECTOR, SECTOR, data);
		data[prng_below(&d->faults, SECTOR)] ^= (uint8_t)(1u << prng_below(&d->faults, 8));
		sim_disk_poke(d, sector * SECTOR, SECTOR, data);
		sim_trace(d->sim, "disk %s: sector %llu rots", d->name, (unsigned long long)sector);
		d->sim->totals.disk_faults++;
	}
}

void sim_disk_lose_writes(struct sim_disk *d, unsigned count)
{
	d->lose = count;
	d->damaged |= count != 0;
}

void sim_disk_misdirect_writes(struct sim_disk *d, unsigned count)
{
	d->misdirect = count;
	d->damaged |= count != 0;
}

void sim_disk_spare_below(struct sim_disk *d, uint64_t offset)
{
	d->spare_below = offset;
}

bool sim_disk_is_sound(const struct sim_disk *d)
{
	return !d->damaged && !d->failing;
}

bool sim_disk_has_lied(const struct sim_disk *d)
{
	return d->damaged || d->flipped;
}

uint64_t sim_disk_bytes_in_use(const struct sim_disk *d)
{
	return d->pages_in_use * PAGE_BYTES;
}

unsigned sim_disk_requests_under_way(const struct sim_disk *d)
{
	return d->under_way_count;
}
