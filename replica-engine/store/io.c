/* io.c - the store's own disk requests: recycled, so that the data path allocates nothing once it is warm. */
#include "replica-engine/store/store_internal.h"

static void io_request_done(struct io_disk_request *request)
{
	struct io *io = container_of(request, struct io, request);

	io->done(io);
}

struct io *io_get(struct store *store, void (*done)(struct io *io))
{
	struct io *io = SLIST_FIRST(&store->free_ios);

	if (io)
		SLIST_REMOVE_HEAD(&store->free_ios, free_link);
	else
		io = xcalloc(1, sizeof *io);
	*io = (struct io){.store = store, .done = done};
	io->request.done = io_request_done;
	LIST_INSERT_HEAD(&store->busy_ios, io, busy_link);
	return io;
}

void io_put(struct io *io)
{
	struct store *store = io->store;

	LIST_REMOVE(io, busy_link);
	io->buf = NULL;
	SLIST_INSERT_HEAD(&store->free_ios, io, free_link);
}

void io_add(struct io *io, void *data, size_t bytes)
{
	struct iovec *last = io->iov_count ? &io->iov[io->iov_count - 1] : NULL;

	io->request.bytes += bytes;
	if (last && (uint8_t *)last->iov_base + last->iov_len == (uint8_t *)data) {
		last->iov_len += bytes;
		return;
	}
	assert(io->iov_count < ARRAY_SIZE(io->iov));
	io->iov[io->iov_count++] = (struct iovec){data, bytes};
}

static void submit(struct io *io, enum io_disk_op op, uint64_t offset, unsigned flags)
{
	io->request.op = op;
	io->request.flags = flags;
	io->request.offset = offset;
	io->request.iov = io->iov;
	io->request.iov_count = (int)io->iov_count;
	io->store->disk->submit(io->store->disk, &io->request);
}

void io_read(struct io *io, uint64_t offset, unsigned flags)
{
	io->store->counters.device_reads++;
	submit(io, IO_DISK_READ, offset, flags);
}

void io_write(struct io *io, uint64_t offset, unsigned flags)
{
	assert(!io->store->options.read_only);
	io->store->counters.device_writes++;
	submit(io, IO_DISK_WRITE, offset, flags);
}

void io_sync(struct io *io)
{
	io->store->counters.device_syncs++;
	submit(io, IO_DISK_SYNC, 0, 0);
}
