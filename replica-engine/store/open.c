/*
 * open.c - opening a disk: superblock, tree of pages (load.c), journal (replay.c), then counting references.
 *
 * What was found is made durable once more before anything is answered from it (it may have come from the cache of a
 * device that a killed process wrote to), a copy of the superblock that is damaged or older is written again, a checkpoint header
 * starts a new mount, and an empty batch ends the journal: what a crash left behind the end is never seen again.
 */
#include "replica-engine/store/store_internal.h"

#include "common/trace/trace.h"

#include <stdarg.h>

struct superblock_reader {
	struct opening *opening;
	struct io_disk_request request[2];
	struct iovec iov[2];
	struct buf *buf;
	unsigned pending;
};

static void opening_end(struct opening *o, int status, struct store *store)
{
	struct opening end = *o;

	free(o->checkpoint);
	free(o);
	end.done(end.context, status, end.why, store);
}

void opening_fail(struct opening *o, int status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(o->why, sizeof o->why, format, arguments);
	va_end(arguments);
	if (o->store)
		store_free(o->store);
	o->store = NULL;
	opening_end(o, status, NULL);
}

/* ---- superblock ---- */

static const struct disk_superblock *choose(struct superblock_reader *r, int *status,
					    const char **why, uint64_t *offset)
{
	const struct disk_superblock *copies[2] = {
		(const struct disk_superblock *)(const void *)r->buf->data,
		(const struct disk_superblock *)(const void *)(r->buf->data + PAGE_BYTES)};
	const struct disk_superblock *best = NULL;

	*status = -EINVAL;
	*why = "no Copyhold disk";
	*offset = 0;
	for (unsigned i = 0; i < 2; i++) {
		const char *problem;

		if (r->request[i].result) {
			*status = -EIO;
			*why = "the superblock can't be read";
			*offset = r->request[i].offset;
			continue;
		}
		problem = superblock_check(copies[i], r->opening->disk->size_bytes);
		if (!problem) {
			if (!best || copies[i]->sequence > best->sequence)
				best = copies[i];
		} else if (copies[i]->magic == SUPERBLOCK_MAGIC) {
			*why = problem;
			*offset = r->request[i].offset;
			*status = -EUCLEAN;
			if (copies[i]->format_version != STORE_FORMAT_VERSION)
				*status = -EINVAL;
			else if (copies[i]->size_bytes > r->opening->disk->size_bytes)
				*status = -EMEDIUMTYPE;
		}
	}
	return best;
}

/* A registration that a crash cut short, or damage: while the copies differ, the loss of one more may lose who the disk is. */
static void compare(const struct superblock_reader *r, struct opening *o)
{
	for (unsigned i = 0; i < 2; i++) {
		if (r->request[i].result == 0 && !memcmp(r->buf->data + (size_t)i * PAGE_BYTES,
							 &o->store->super, sizeof o->store->super))
			continue;
		o->super_differs = true;
		o->super_offset = i ? o->store->super.size_bytes - PAGE_BYTES : 0;
	}
}

static void superblock_read(struct io_disk_request *request)
{
	struct superblock_reader *r = request->context;
	struct opening *o = r->opening;
	const struct disk_superblock *super;
	const char *why;
	uint64_t offset;
	int status;

	if (--r->pending)
		return;
	super = choose(r, &status, &why, &offset);
	if (super) {
		o->store = store_new(o->disk, &o->options, super);
		compare(r, o);
	}
	buf_unref(r->buf);
	free(r);
	if (o->store)
		load_start(o);
	else
		opening_fail(o, status, "%s (superblock at offset %llu)", why,
			     (unsigned long long)offset);
}

void store_open(struct io_disk *disk, const struct store_options *options,
		void (*done)(void *context, int status, const char *why, struct store *store),
		void *context)
{
	struct opening *o = xcalloc(1, sizeof *o);
	struct superblock_reader *r = xcalloc(1, sizeof *r);
	uint64_t end = ROUND_DOWN(disk->size_bytes, BLOCK_BYTES);

	o->disk = disk;
	o->options = *options;
	o->done = done;
	o->context = context;
	r->opening = o;
	r->buf = buf_new(2 * PAGE_BYTES);
	memset(r->buf->data, 0, (size_t)2 * PAGE_BYTES);
	r->pending = 2;
	for (unsigned i = 0; i < 2; i++) {
		r->iov[i] = (struct iovec){r->buf->data + (size_t)i * PAGE_BYTES, PAGE_BYTES};
		r->request[i] = (struct io_disk_request){
			.op = IO_DISK_READ,
			.offset = i && end >= PAGE_BYTES ? end - PAGE_BYTES : 0,
			.bytes = PAGE_BYTES,
			.iov = &r->iov[i],
			.iov_count = 1,
			.done = superblock_read,
			.context = r,
		};
	}
	disk->submit(disk, &r->request[0]);
	disk->submit(disk, &r->request[1]);
}

void opening_restart(struct opening *o)
{
	struct disk_superblock super = o->store->super;

	store_free(o->store);
	free(o->checkpoint);
	o->store = store_new(o->disk, &o->options, &super);
	load_start(o);
}

/* ---- after replay ---- */

static bool count_page(struct store *store, const struct unit_page *page, uint64_t *bad_offset)
{
	for (unsigned i = 0; i < UNITS_PER_PAGE; i++) {
		uint32_t place = page->units[i].place;

		if (!place)
			continue;
		if (store->refs[place - 1] == UINT16_MAX) {
			*bad_offset = place_offset(store, place - 1);
			return false;
		}
		if (store->refs[place - 1]++ == 0)
			space_claim(&store->places, place - 1);
	}
	return true;
}

/* Who refers to which place; blocks in the journal of places that nobody refers to are nobody's. */
static bool count_references(struct store *store, uint64_t *bad_offset)
{
	struct chunk *c;

	/* With paging they were counted as the pages were read and the journal was replayed. */
	if (!store->counting)
		store->refs = xcalloc(store->unit_count + (size_t)1, sizeof *store->refs);
	if (store->overflowed) {
		*bad_offset = place_offset(store, store->overflowed - 1);
		return false;
	}
	for (c = store->chunks; c; c = c->hh.next) {
		for (uint32_t p = 0; !store->counting && c->table && p < c->table->page_count; p++)
			if (c->table->pages[p].page &&
			    !count_page(store, c->table->pages[p].page, bad_offset))
				return false;
		c->submitted = c->now;
		store->counters.newest_commit = MAX(store->counters.newest_commit, c->now.commit);
		store->counters.newest_epoch = MAX(store->counters.newest_epoch, c->now.epoch);
	}
	for (uint32_t place = 0; place < store->unit_count; place++) {
		if (!store->refs[place])
			dirty_clear_place(&store->dirty, place);
		else if (store->counting)
			space_claim(&store->places, place);
	}
	store->counting = false;
	return true;
}

static void ended(struct io *io)
{
	struct opening *o = io->user;
	struct store *store = io->store;

	io_put(io);
	if (!store->failed && !store->journal.in_flight && !TAILQ_EMPTY(&store->journal.queue)) {
		opening_fail(o, -EUCLEAN, "the journal is fuller than it can be (offset %llu)",
			     (unsigned long long)journal_ring_offset(store, store->journal.head));
		return;
	}
	if (store->journal.in_flight || !TAILQ_EMPTY(&store->journal.queue)) {
		/* The empty batch is on its way: look again when the loop has turned. */
		io = io_get(store, ended);
		io->user = o;
		io_read(io, 0, 0);
		return;
	}
	if (store->failed) {
		opening_fail(o, -EIO, "writing to the journal failed (offset %llu)",
			     (unsigned long long)journal_ring_offset(store, store->journal.head));
		return;
	}
	o->why[0] = 0;
	opening_end(o, 0, store);
}

static void header_written(struct io *io)
{
	struct opening *o = io->user;
	struct store *store = io->store;
	int status = io->request.result;

	buf_unref(io->buf);
	io_put(io);
	if (status) {
		opening_fail(o, -EIO, "the checkpoint header can't be written (offset %llu)",
			     (unsigned long long)store->super.checkpoint_offset);
		return;
	}
	store->checkpoint_sequence++;
	journal_end_mark(store);
	io = io_get(store, ended);
	io->user = o;
	io_read(io, 0, 0);
}

static void header_write(struct opening *o)
{
	struct store *store = o->store;
	struct io *io = io_get(store, header_written);
	uint32_t bytes;

	io->user = o;
	io->buf = buf_new(CHECKPOINT_BYTES);
	bytes = checkpoint_encode(store, io->buf->data, 0, false, store->checkpoint_operation);
	io_add(io, io->buf->data, bytes);
	io_write(io,
		 store->super.checkpoint_offset +
			 (store->checkpoint_sequence + 1) % 2 * CHECKPOINT_BYTES,
		 IO_DISK_DURABLE);
}

static void superblock_written(struct io *io)
{
	struct opening *o = io->user;
	int status = io->request.result;

	buf_unref(io->buf);
	io_put(io);
	if (status)
		opening_fail(o, -EIO, "the superblock can't be written (offset %llu)",
			     (unsigned long long)o->super_offset);
	else
		header_write(o);
}

static void superblock_write(struct opening *o)
{
	struct store *store = o->store;
	struct io *io = io_get(store, superblock_written);

	trace(TRACE_INFO, "store",
	      "the superblock at offset %llu is damaged or older than the other copy; it is "
	      "written again",
	      (unsigned long long)o->super_offset);
	io->user = o;
	io->buf = buf_new(sizeof store->super);
	memcpy(io->buf->data, &store->super, sizeof store->super);
	io_add(io, io->buf->data, sizeof store->super);
	store->counters.metadata_write_bytes += sizeof store->super;
	io_write(io, o->super_offset, IO_DISK_DURABLE);
}

static void synced(struct io *io)
{
	struct opening *o = io->user;
	int status = io->request.result;

	io_put(io);
	/* The copy that counts is durable now: the other one may be touched. */
	if (status)
		opening_fail(o, -EIO, "the disk can't be synced");
	else if (o->super_differs)
		superblock_write(o);
	else
		header_write(o);
}

void opening_finish(struct opening *o)
{
	struct store *store = o->store;
	uint64_t bad_offset;
	struct io *io;

	if (!count_references(store, &bad_offset)) {
		opening_fail(o, -EUCLEAN, "a place has more references than can be (offset %llu)",
			     (unsigned long long)bad_offset);
		return;
	}
	if (store->slots.free < store->unit_pages + store->chunk_pages + store->root_count + 1) {
		opening_fail(o, -EUCLEAN,
			     "there are more pages of metadata than can be (offset %llu)",
			     (unsigned long long)store->super.metadata_offset);
		return;
	}
	if (store->cache.limit)
		page_cache_evict(store);
	trace(TRACE_DEBUG, "store", "journal replayed: %llu batches, %llu blocks not at home",
	      (unsigned long long)store->journal.ring_count,
	      (unsigned long long)store->dirty.count);
	if (store->options.read_only) {
		opening_end(o, 0, store);
		return;
	}
	io = io_get(store, synced);
	io->user = o;
	io_sync(io);
}
