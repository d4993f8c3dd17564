/* store_driver.c - see store_driver.h. */
#include "tests/lib/store_driver.h"

#include "common/base/bits.h"
#include "common/base/crc.h"

#include <stdio.h>

uint64_t driver_metadata_memory_bytes;

static void format_done(void *context, int status, const char *why)
{
	(void)why;
	*(int *)context = status;
}

int driver_format_with(struct mem_disk *m, const struct store_format_options *options)
{
	int status = 1;

	store_format(mem_disk_io(m), options, format_done, &status);
	mem_disk_run(m);
	assert(status <= 0);
	return status;
}

int driver_format(struct mem_disk *m, uint64_t journal_bytes)
{
	return driver_format_with(m,
				  &(struct store_format_options){.journal_bytes = journal_bytes,
								 .disk = uuid_from_random(1, 2)});
}

static void open_done(void *context, int status, const char *why, struct store *store)
{
	struct opened *o = context;

	o->status = status;
	o->store = store;
	snprintf(o->why, sizeof o->why, "%s", why);
}

struct opened driver_open_with(struct mem_disk *m, const struct store_options *options)
{
	struct opened o = {.status = 1};

	store_open(mem_disk_io(m), options, open_done, &o);
	while (o.status == 1 && mem_disk_step(m))
		;
	assert(o.status <= 0);
	return o;
}

struct opened driver_open(struct mem_disk *m)
{
	return driver_open_with(
		m, &(struct store_options){.metadata_memory_bytes = driver_metadata_memory_bytes});
}

struct opened driver_open_read_only(struct mem_disk *m)
{
	return driver_open_with(m, &(struct store_options){.read_only = true});
}

static void close_done(void *context, int status)
{
	*(int *)context = status;
}

int driver_close(struct mem_disk *m, struct store *store)
{
	int status = 1;

	store_close(store, close_done, &status);
	mem_disk_run(m);
	assert(status <= 0);
	store_free(store);
	return status;
}

struct fsck_watch {
	struct store_fsck_result result;
	bool done;
	char *last;
};

static void fsck_line(void *context, const char *line)
{
	struct fsck_watch *w = context;

	snprintf(w->last, 256, "%s", line);
}

static void fsck_done(void *context, const struct store_fsck_result *result)
{
	struct fsck_watch *w = context;

	w->result = *result;
	w->done = true;
}

struct store_fsck_result driver_fsck(struct mem_disk *m, bool deep, char last[256])
{
	struct fsck_watch w = {.last = last};

	last[0] = 0;
	store_fsck(mem_disk_io(m), deep, fsck_line, fsck_done, &w);
	assert(!w.done);
	while (!w.done && mem_disk_step(m))
		;
	assert(w.done);
	return w.result;
}

static void op_done(struct store_op *op)
{
	bool *done = op->context;

	assert(!*done);
	*done = true;
}

enum store_status driver_do(struct mem_disk *m, struct store *store, struct store_op *op)
{
	bool done = false;

	op->done = op_done;
	op->context = &done;
	store_submit(store, op);
	assert(!done);
	while (!done && mem_disk_step(m))
		;
	assert(done);
	return op->status;
}

void fill_block(uint8_t *block, uint64_t chunk, uint32_t index, uint32_t tag)
{
	uint64_t words[2] = {chunk << 32 | index, tag};

	if (!tag) {
		memset(block, 0, BLOCK_BYTES);
		return;
	}
	for (unsigned at = 0; at < BLOCK_BYTES; at += sizeof words)
		memcpy(block + at, words, sizeof words);
}

void op_create(struct store_op *op, uint64_t chunk, uint64_t chunk_bytes, uint64_t commit)
{
	*op = (struct store_op){.kind = STORE_CREATE,
				.chunk = chunk,
				.epoch = 1,
				.commit = commit,
				.root_chunk = chunk,
				.chunk_bytes = chunk_bytes};
}

void op_write(struct store_op *op, uint64_t chunk, uint64_t root_chunk, uint32_t first_block,
	      uint32_t blocks, struct version position, uint32_t tag)
{
	*op = (struct store_op){.kind = STORE_WRITE,
				.chunk = chunk,
				.position = position,
				.offset = first_block * BLOCK_BYTES,
				.bytes = blocks * BLOCK_BYTES};
	op->data = slice_new(op->bytes);
	for (uint32_t i = 0; i < blocks; i++)
		fill_block(slice_data(op->data) + (size_t)i * BLOCK_BYTES, root_chunk,
			   first_block + i, tag);
	crc_blocks(root_chunk, first_block, blocks, slice_data(op->data), op->crcs);
}

void op_zero(struct store_op *op, uint64_t chunk, uint32_t first_block, uint32_t blocks,
	     struct version position)
{
	*op = (struct store_op){.kind = STORE_ZERO,
				.chunk = chunk,
				.position = position,
				.offset = first_block * BLOCK_BYTES,
				.bytes = blocks * BLOCK_BYTES};
}

void op_read(struct store_op *op, uint64_t chunk, uint32_t first_block, uint32_t blocks)
{
	*op = (struct store_op){.kind = STORE_READ,
				.chunk = chunk,
				.offset = first_block * BLOCK_BYTES,
				.bytes = blocks * BLOCK_BYTES};
}

enum store_status do_create(struct mem_disk *m, struct store *s, uint64_t chunk,
			    uint64_t chunk_bytes)
{
	struct store_op op;

	op_create(&op, chunk, chunk_bytes, 1);
	return driver_do(m, s, &op);
}

enum store_status do_write(struct mem_disk *m, struct store *s, uint64_t chunk,
			   uint32_t first_block, uint32_t blocks, struct version position,
			   uint32_t tag)
{
	struct store_chunk info = {.root_chunk = chunk};
	struct store_op op;
	enum store_status status;

	store_chunk_get(s, chunk, &info);
	op_write(&op, chunk, info.root_chunk, first_block, blocks, position, tag);
	status = driver_do(m, s, &op);
	slice_unref(&op.data);
	return status;
}

enum store_status do_zero(struct mem_disk *m, struct store *s, uint64_t chunk, uint32_t first_block,
			  uint32_t blocks, struct version position)
{
	struct store_op op;

	op_zero(&op, chunk, first_block, blocks, position);
	return driver_do(m, s, &op);
}

enum store_status do_clone(struct mem_disk *m, struct store *s, uint64_t chunk, uint64_t origin,
			   uint64_t commit)
{
	struct store_op op = {.kind = STORE_CLONE,
			      .chunk = chunk,
			      .origin = origin,
			      .epoch = 1,
			      .commit = commit};

	return driver_do(m, s, &op);
}

enum store_status do_delete(struct mem_disk *m, struct store *s, uint64_t chunk, uint64_t commit)
{
	struct store_op op = {.kind = STORE_DELETE, .chunk = chunk, .commit = commit};

	return driver_do(m, s, &op);
}

enum store_status do_simple(struct mem_disk *m, struct store *s, enum store_op_kind kind,
			    uint64_t chunk, struct version position)
{
	struct store_op op = {
		.kind = kind, .chunk = chunk, .epoch = position.epoch, .position = position};

	return driver_do(m, s, &op);
}

static uint32_t tag_of(const uint8_t *block, uint64_t root_chunk, uint32_t index)
{
	uint8_t expected[BLOCK_BYTES];
	uint32_t tag;

	memcpy(&tag, block + 8, sizeof tag);
	fill_block(expected, root_chunk, index, tag);
	return memcmp(expected, block, BLOCK_BYTES) ? UINT32_MAX : tag;
}

enum store_status do_read(struct mem_disk *m, struct store *s, uint64_t chunk, uint64_t root_chunk,
			  uint32_t first_block, uint32_t blocks, uint32_t *tags)
{
	struct store_op op;
	enum store_status status;

	op_read(&op, chunk, first_block, blocks);
	status = driver_do(m, s, &op);
	for (uint32_t i = 0; i < blocks; i++) {
		if (status != STORE_OK && status != STORE_BAD_BLOCK)
			tags[i] = UINT32_MAX;
		else if (bit_get(op.bad_blocks, i))
			tags[i] = UINT32_MAX;
		else if (op.all_zero || bit_get(op.zero_blocks, i))
			tags[i] = 0;
		else
			tags[i] = tag_of(slice_data(op.data) + (size_t)i * BLOCK_BYTES, root_chunk,
					 first_block + i);
	}
	store_op_clear(&op);
	return status;
}
