/*
 * format.c - lays out a disk. The journal is filled with zeros, so that a file has its blocks before the first write
 * has to be durable in them; the superblocks come last, so that a half-made disk is none.
 */
#include "replica-engine/store/store_internal.h"

#define ZERO_BYTES (1 * MIB)
/* So that there is something beside what is kept for overwrites and repair. */
#define UNITS_MIN (OVERWRITE_UNITS * 3 / 2)

enum step {
	STEP_UNMAKE, /* both superblocks become invalid */
	STEP_UNMAKE_END,
	STEP_JOURNAL,
	STEP_CHECKPOINT,
	STEP_CHECKPOINT_OTHER,
	STEP_SUPERBLOCK_END,
	STEP_SUPERBLOCK,
	STEP_DONE,
};

struct formatting {
	struct io_disk *disk;
	struct disk_superblock super;
	void (*done)(void *context, int status, const char *why);
	void *context;
	enum step step;
	uint64_t zeroed;
	struct buf *zeros, *content;
	struct iovec iov;
	struct io_disk_request request;
};

static const char *lay_out(struct io_disk *disk, const struct store_format_options *options,
			   struct disk_superblock *super)
{
	uint64_t size = ROUND_DOWN(disk->size_bytes, BLOCK_BYTES);
	uint64_t journal = options->journal_bytes, metadata = options->metadata_bytes;
	uint64_t units = size / UNIT_BYTES, data;

	if (size < 4 * MIB)
		return "the disk is too small: at least 4 MiB are needed";
	if (!journal) {
		journal = MIN(MAX(size / 32, 32 * MIB), 2 * GIB);
		if (journal > size / 8)
			journal = MAX(size / 8, JOURNAL_BYTES_MIN);
	}
	journal = ROUND_UP(journal, BLOCK_BYTES);
	if (!metadata) {
		/* Each page may need a shadow; half as much again for clones; a page for each 4 MiB chunk. */
		uint64_t pages = units / UNITS_PER_PAGE * 3 / 2 + units / 64 + 64;

		metadata = 2 * pages * PAGE_BYTES;
	}
	metadata = ROUND_UP(metadata, BLOCK_BYTES);
	if (journal < JOURNAL_BYTES_MIN)
		return "the journal is too small: at least 1 MiB is needed";
	*super = (struct disk_superblock){
		.magic = SUPERBLOCK_MAGIC,
		.format_version = STORE_FORMAT_VERSION,
		.block_bytes = BLOCK_BYTES,
		.unit_bytes = UNIT_BYTES,
		.sequence = 1,
		.size_bytes = size,
		.checkpoint_offset = sizeof *super,
		.journal_offset = ROUND_UP(sizeof *super + 2 * CHECKPOINT_BYTES, UNIT_BYTES),
		.journal_bytes = journal,
		.metadata_bytes = metadata,
	};
	memcpy(super->disk, options->disk.bytes, sizeof super->disk);
	super->metadata_offset = super->journal_offset + journal;
	data = ROUND_UP(super->metadata_offset + metadata, UNIT_BYTES);
	if (data + sizeof *super + UNITS_MIN * UNIT_BYTES > size)
		return "the disk is too small for the journal and metadata asked for";
	super->data_offset = data;
	super->unit_count = MIN((size - sizeof *super - data) / UNIT_BYTES, PLACE_NONE - 1);
	superblock_seal(super);
	return NULL;
}

static void make_checkpoint(struct formatting *f)
{
	struct disk_checkpoint *h = (struct disk_checkpoint *)(void *)f->content->data;

	memset(h, 0, BLOCK_BYTES);
	*h = (struct disk_checkpoint){
		.magic = CHECKPOINT_MAGIC,
		.bytes = BLOCK_BYTES,
		.sequence = 1,
		.mount = 1,
		.tail_sequence = 1,
		.clean = 1,
	};
	h->crc = store_crc(store_seed(f->super.disk), h, BLOCK_BYTES);
}

static void write_at(struct formatting *f, uint64_t offset, struct buf *from, uint64_t bytes)
{
	f->iov = (struct iovec){from->data, bytes};
	f->request.op = IO_DISK_WRITE;
	f->request.flags = IO_DISK_DURABLE;
	f->request.offset = offset;
	f->request.bytes = bytes;
	f->request.iov = &f->iov;
	f->request.iov_count = 1;
	f->disk->submit(f->disk, &f->request);
}

static void finish(struct formatting *f, int status, const char *why)
{
	void (*done)(void *context, int status, const char *why) = f->done;
	void *context = f->context;

	buf_unref(f->zeros);
	buf_unref(f->content);
	free(f);
	done(context, status, why);
}

static void next(struct formatting *f)
{
	const struct disk_superblock *super = &f->super;
	uint64_t left;

	switch (f->step) {
	case STEP_UNMAKE:
		f->step = STEP_UNMAKE_END;
		write_at(f, 0, f->zeros, sizeof *super);
		break;
	case STEP_UNMAKE_END:
		f->step = STEP_JOURNAL;
		write_at(f, super->size_bytes - sizeof *super, f->zeros, sizeof *super);
		break;
	case STEP_JOURNAL:
		left = super->journal_bytes - f->zeroed;
		if (left) {
			left = MIN(left, ZERO_BYTES);
			write_at(f, super->journal_offset + f->zeroed, f->zeros, left);
			f->zeroed += left;
			break;
		}
		__attribute__((fallthrough));
	case STEP_CHECKPOINT:
		f->step = STEP_CHECKPOINT_OTHER;
		make_checkpoint(f);
		write_at(f, super->checkpoint_offset + CHECKPOINT_BYTES, f->content, BLOCK_BYTES);
		break;
	case STEP_CHECKPOINT_OTHER:
		f->step = STEP_SUPERBLOCK_END;
		write_at(f, super->checkpoint_offset, f->zeros, CHECKPOINT_BYTES);
		break;
	case STEP_SUPERBLOCK_END:
		f->step = STEP_SUPERBLOCK;
		memcpy(f->content->data, super, sizeof *super);
		write_at(f, super->size_bytes - sizeof *super, f->content, sizeof *super);
		break;
	case STEP_SUPERBLOCK:
		f->step = STEP_DONE;
		write_at(f, 0, f->content, sizeof *super);
		break;
	case STEP_DONE:
		finish(f, 0, "");
		break;
	}
}

static void written(struct io_disk_request *request)
{
	struct formatting *f = request->context;

	if (request->result)
		finish(f, request->result, "writing to the disk failed");
	else
		next(f);
}

/* Told through a request, like all else: done() never comes from inside store_format. */
static void refused(struct io_disk_request *request)
{
	struct formatting *f = request->context;

	finish(f, -EINVAL, (const char *)f->content->data);
}

void store_format(struct io_disk *disk, const struct store_format_options *options,
		  void (*done)(void *context, int status, const char *why), void *context)
{
	struct formatting *f = xcalloc(1, sizeof *f);
	const char *why = lay_out(disk, options, &f->super);

	f->disk = disk;
	f->done = done;
	f->context = context;
	f->zeros = buf_new(ZERO_BYTES);
	memset(f->zeros->data, 0, ZERO_BYTES);
	f->content = buf_new(CHECKPOINT_BYTES);
	f->request.context = f;
	if (why) {
		strcpy((char *)f->content->data, why);
		f->request.op = IO_DISK_READ;
		f->request.done = refused;
		disk->submit(disk, &f->request);
		return;
	}
	f->request.done = written;
	next(f);
}
