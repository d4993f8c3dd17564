/* raw_look.c - see raw_look.h. */
#include "replica-engine/store/raw_look.h"

const struct disk_superblock *raw_look_super(const struct raw_look *raw, unsigned copy)
{
	return (const struct disk_superblock *)(const void *)(raw->buf->data +
							      (size_t)copy * PAGE_BYTES);
}

const struct disk_checkpoint *raw_look_checkpoint(const struct raw_look *raw, unsigned copy)
{
	return (const struct disk_checkpoint *)(const void *)(raw->buf->data +
							      (size_t)2 * PAGE_BYTES +
							      (size_t)copy * CHECKPOINT_BYTES);
}

void raw_look_end(struct raw_look *raw)
{
	buf_unref(raw->buf);
	raw->buf = NULL;
}

static void add_read(struct raw_look *raw, unsigned i, uint64_t offset, void *to, uint64_t bytes,
		     void (*done)(struct io_disk_request *))
{
	raw->iov[i] = (struct iovec){to, bytes};
	raw->requests[i] = (struct io_disk_request){
		.op = IO_DISK_READ,
		.offset = offset,
		.bytes = bytes,
		.iov = &raw->iov[i],
		.iov_count = 1,
		.done = done,
		.context = raw,
	};
	raw->pending++;
}

static void checkpoints_read(struct io_disk_request *request)
{
	struct raw_look *raw = request->context;

	for (unsigned i = 0; i < 2; i++) {
		if (request->result)
			raw->checkpoint_problem[i] = "can't be read";
		else if (!checkpoint_header_valid(store_seed(raw->super->disk),
						  raw_look_checkpoint(raw, i)))
			raw->checkpoint_problem[i] = "fails its checksum";
	}
	raw->done(raw);
}

static void superblocks_read(struct io_disk_request *request)
{
	struct raw_look *raw = request->context;

	if (--raw->pending)
		return;
	for (unsigned i = 0; i < 2; i++) {
		const struct disk_superblock *super = raw_look_super(raw, i);

		raw->super_problem[i] = raw->requests[i].result
						? "can't be read"
						: superblock_check(super, raw->disk->size_bytes);
		if (!raw->super_problem[i] &&
		    (!raw->super || super->sequence > raw->super->sequence))
			raw->super = super;
	}
	if (!raw->super) {
		raw->done(raw);
		return;
	}
	add_read(raw, 2, raw->super->checkpoint_offset, raw->buf->data + (size_t)2 * PAGE_BYTES,
		 (uint64_t)2 * CHECKPOINT_BYTES, checkpoints_read);
	raw->disk->submit(raw->disk, &raw->requests[2]);
}

void raw_look_start(struct raw_look *raw, struct io_disk *disk, void (*done)(struct raw_look *raw),
		    void *context)
{
	uint64_t end = ROUND_DOWN(disk->size_bytes, BLOCK_BYTES);

	*raw = (struct raw_look){.disk = disk, .done = done, .context = context};
	raw->buf = buf_new((size_t)2 * PAGE_BYTES + (size_t)2 * CHECKPOINT_BYTES);
	memset(raw->buf->data, 0, (size_t)2 * PAGE_BYTES + (size_t)2 * CHECKPOINT_BYTES);
	add_read(raw, 0, 0, raw->buf->data, PAGE_BYTES, superblocks_read);
	add_read(raw, 1, end < PAGE_BYTES ? 0 : end - PAGE_BYTES, raw->buf->data + PAGE_BYTES,
		 PAGE_BYTES, superblocks_read);
	disk->submit(disk, &raw->requests[0]);
	disk->submit(disk, &raw->requests[1]);
}
