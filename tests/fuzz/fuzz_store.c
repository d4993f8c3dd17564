/*
 * fuzz_store.c - a disk whose structures say anything. The input is a list of changes to a good disk that was left by a
 * crash: the region (superblocks, checkpoint headers, journal, metadata), where in it, how many bytes, the bytes. Checksums of
 * structures are all 0 here, so that changed structures are believed. Whatever they say, the disk is refused with a reason, or opens; what
 * opened can be read, written and closed. inspect and fsck look at all of them.
 *
 * It is built under several names, each of which changes only its structures: fuzz_superblock, fuzz_journal, fuzz_metadata (checkpoint
 * headers and pages), and fuzz_store all of them at once.
 */
#include "common/trace/trace.h"
#include "replica-engine/store/layout.h"
#include "replica-engine/store/store_internal.h"
#include "tests/lib/store_driver.h"

#define DISK_BYTES (5 * MIB)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);

uint32_t store_seed(const uint8_t disk[16])
{
	(void)disk;
	return 0;
}

uint32_t store_crc(uint32_t seed, const void *data, size_t bytes)
{
	(void)seed;
	(void)data;
	(void)bytes;
	return 0;
}

enum region {
	SUPERBLOCK,
	SUPERBLOCK_COPY,
	CHECKPOINTS,
	JOURNAL,
	PAGES,
	REGIONS,
};

static const struct {
	const char *program;
	enum region regions[REGIONS];
	unsigned count;
} targets[] = {
	{"fuzz_store", {SUPERBLOCK, SUPERBLOCK_COPY, CHECKPOINTS, JOURNAL, PAGES}, 5},
	{"fuzz_superblock", {SUPERBLOCK, SUPERBLOCK_COPY}, 2},
	{"fuzz_journal", {JOURNAL}, 1},
	{"fuzz_metadata", {CHECKPOINTS, PAGES}, 2},
};

static unsigned target;
static struct mem_cutter *cutter;
static struct disk_superblock super;

static struct version at(uint64_t generation)
{
	return (struct version){1, generation};
}

static void invalidate(struct mem_disk *disk, struct store *store)
{
	struct version versions[64] = {{0, 0}};
	struct store_op op = {
		.kind = STORE_INVALIDATE, .chunk = 1, .unit_count = 16, .in_versions = versions};

	driver_do(disk, store, &op);
	store_op_clear(&op);
}

static void some_life(struct mem_disk *disk, struct store *store, uint64_t generation)
{
	do_create(disk, store, 1, MIB);
	do_write(disk, store, 1, 0, 40, at(generation), 1);
	do_write(disk, store, 1, 5, 2, at(generation + 1), 2);
	do_clone(disk, store, 2, 1, generation);
	do_write(disk, store, 2, 3, 1, at(generation + 2), 3);
	do_zero(disk, store, 2, 16, 20, at(generation + 3));
	do_simple(disk, store, STORE_FENCE, 2, at(9));
	invalidate(disk, store);
	do_create(disk, store, 3, MIB);
	do_delete(disk, store, 3, generation + 4);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct mem_disk *disk = mem_disk_new(DISK_BYTES, 1);
	struct opened o;

	(void)argc;
	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++)
		if (strstr((*argv)[0], targets[i].program))
			target = i;
	trace_limit = TRACE_ERROR;
	mem_disk_set_fifo(disk, true);
	driver_format(disk, MIB);
	o = driver_open(disk);
	some_life(disk, o.store, 1);
	driver_close(disk, o.store);
	o = driver_open(disk);
	some_life(disk, o.store, 100);
	mem_disk_forget(disk);
	store_free(o.store);
	mem_disk_peek(disk, 0, &super, sizeof super);
	mem_disk_record(disk);
	cutter = mem_cutter_new(disk);
	return 0;
}

/* Regions are looked at as far as the good disk uses them, and somewhat further. */
static uint64_t region_offset(uint8_t region, uint32_t where)
{
	switch (targets[target].regions[region % targets[target].count]) {
	case SUPERBLOCK:
		return where % 200;
	case SUPERBLOCK_COPY:
		return DISK_BYTES - PAGE_BYTES + where % 200;
	case CHECKPOINTS:
		return super.checkpoint_offset + where % (2 * CHECKPOINT_BYTES);
	case JOURNAL:
		return super.journal_offset + where % (256 * KIB);
	default:
		return super.metadata_offset + where % (32 * PAGE_BYTES);
	}
}

static void change(struct mem_disk *disk, const uint8_t *input, size_t bytes)
{
	while (bytes > 5) {
		uint32_t where =
			(uint32_t)input[1] | (uint32_t)input[2] << 8 | (uint32_t)input[3] << 16;
		size_t n = 1 + input[4] % 16;
		uint64_t offset = region_offset(input[0], where);

		n = MIN(n, bytes - 5);
		if (offset + n <= DISK_BYTES)
			mem_disk_poke(disk, offset, input + 5, n);
		input += 5 + n;
		bytes -= 5 + n;
	}
}

static void use(struct mem_disk *disk, struct store *store)
{
	struct store_chunk info;
	uint32_t tags[16];

	for (uint64_t id = 0; store_chunk_next(store, &id, &info); id++) {
		struct store_op op = {.kind = STORE_VERSIONS, .chunk = id};

		driver_do(disk, store, &op);
		store_op_clear(&op);
		for (uint32_t unit = 0; unit < MIN(info.unit_count, 20u); unit++)
			do_read(disk, store, id, info.root_chunk, unit * UNIT_BLOCKS, UNIT_BLOCKS,
				tags);
		do_write(disk, store, id, 1, 1, at(1000), 5);
		do_write(disk, store, id, 0, 16, at(1001), 6);
		if (id == UINT64_MAX)
			break;
	}
	do_delete(disk, store, 1, 5000);
	some_life(disk, store, 2000);
}

static unsigned lines;
static bool inspect_ended;

static void line(void *context, const char *text)
{
	(void)context;
	assert(text[0]);
	lines++;
}

static void inspected(void *context, int status)
{
	(void)context;
	(void)status;
	inspect_ended = true;
}

static void inspect(struct mem_disk *disk)
{
	lines = 0;
	inspect_ended = false;
	store_inspect(mem_disk_io(disk), 1, line, inspected, NULL);
	mem_disk_run(disk);
	assert(inspect_ended && lines > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
	struct mem_disk *disk = mem_cutter_cut(cutter, MEM_CUT_LOSE, 0);
	struct opened o;
	char last[256];

	change(disk, input, bytes);
	inspect(disk);
	driver_fsck(disk, true, last);
	/* Every other input is opened with a page of units in memory, and the rest on disk. */
	driver_metadata_memory_bytes = bytes && input[bytes - 1] % 2;
	o = driver_open(disk);
	if (o.status != 0) {
		assert(strstr(o.why, "offset"));
	} else {
		use(disk, o.store);
		driver_close(disk, o.store);
		driver_fsck(disk, false, last);
	}
	driver_metadata_memory_bytes = 0;
	mem_disk_free(disk);
	return 0;
}
