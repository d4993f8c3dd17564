/*
 * power-cut.c - what a power cut would have left of a disk whose every write and flush was logged (nbdkit-disk-log-plugin.c), and whether
 * the store finds in it all that nbd-journal had seen acknowledged.
 *
 *   power-cut check LOG JOURNAL CHUNK-BYTES CHUNK[,CHUNK...] [every=N] [mixes=N] [tears=N] [fsck=N] [seed=N]
 *   power-cut instants JOURNAL N
 *   power-cut image LOG FILE time=NANOSECONDS [how=0-3] [seed=N]
 *
 * check cuts behind every flush, and behind every N-th write: there the writes since the last flush are lost, all kept, some kept
 * (mixes), or torn at 512 bytes (tears). Each disk is opened by the store; fsck must find nothing; every block of the volume, whose chunks
 * are named in their order, must hold the last write that was acknowledged before the log's next record, or a later one. Each fsck=N-th
 * disk is written to LOG.image, and copyhold-chunkd fsck must say "clean". One line of JSON; 1 if anything was lost.
 *
 * instants prints N times, spread evenly over the acknowledgements of a journal.
 * image writes what a cut at a time has left, for a chunk server to be started on; how: 0 lose, 1 keep, 2 mix, 3 tear (mem_disk.h).
 */
#include "common/base/bits.h"
#include "common/base/buf.h"
#include "common/trace/trace.h"
#include "tests/e2e/tools/disk_log.h"
#include "tests/e2e/tools/journal.h"
#include "tests/lib/store_driver.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNKS_MAX 64
#define SHOWN_MAX  20
#define IMAGE_RUN  (64 * KIB)

struct check {
	struct disk_log log;
	struct journal journal;
	struct mem_cutter *cutter;
	char image[512];
	uint64_t chunks[CHUNKS_MAX];
	uint32_t chunk_count;
	uint64_t chunk_bytes;
	uint64_t every, mixes, tears, fsck, seed;
	uint64_t points, states, fscks, lost, damaged;
	/* of the present point */
	size_t at;
	uint64_t until_ns;
	struct journal_block *acknowledged;
};

static void usage(void)
{
	fprintf(stderr,
		"usage: power-cut check LOG JOURNAL CHUNK-BYTES CHUNK[,CHUNK...] [name=value]...\n"
		"       power-cut image LOG FILE time=NANOSECONDS [how=0-3] [seed=N]\n");
	exit(2);
}

static bool take_option(const char *argument, const char *name, uint64_t *number)
{
	size_t length = strlen(name);

	if (strncmp(argument, name, length) != 0 || argument[length] != '=')
		return false;
	*number = strtoull(argument + length + 1, NULL, 0);
	return true;
}

static void say(const struct check *c, enum mem_cut how, uint64_t seed, const char *what)
{
	if (c->lost + c->damaged < SHOWN_MAX)
		printf("behind record %zu of %zu (how=%d seed=%" PRIu64 "): %s\n", c->at,
		       c->log.count, (int)how, seed, what);
}

/* ---- images ---- */

static void write_image(const struct mem_disk *disk, const char *path)
{
	static const uint8_t zeros[IMAGE_RUN];
	static uint8_t run[IMAGE_RUN];
	uint64_t size = mem_disk_io((struct mem_disk *)(uintptr_t)disk)->size_bytes;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
		perror(path);
		exit(2);
	}
	for (uint64_t offset = 0; offset < size; offset += IMAGE_RUN) {
		size_t bytes = (size_t)MIN(IMAGE_RUN, size - offset);

		mem_disk_peek(disk, offset, run, bytes);
		if (memcmp(run, zeros, bytes) != 0 &&
		    pwrite(fd, run, bytes, (off_t)offset) != (ssize_t)bytes) {
			perror(path);
			exit(2);
		}
	}
	close(fd);
}

/* The real program on a real file. */
static bool fsck_passes(struct check *c, const struct mem_disk *disk)
{
	char command[1200];

	write_image(disk, c->image);
	c->fscks++;
	snprintf(command, sizeof command, "copyhold-chunkd fsck '%s' >'%s.fsck' 2>&1", c->image,
		 c->image);
	return system(command) == 0;
}

/* ---- one state ---- */

/* Reads up to 1 MiB; a chunk that isn't there reads as zeros. NULL: what can't be read. */
static const uint8_t *read_range(struct mem_disk *disk, struct store *store, struct store_op *op,
				 uint64_t chunk, uint32_t first_block, uint32_t blocks)
{
	static uint8_t data[IO_BYTES_MAX];

	op_read(op, chunk, first_block, blocks);
	driver_do(disk, store, op);
	if (op->status == STORE_NOT_FOUND || (op->status == STORE_OK && op->all_zero)) {
		memset(data, 0, op->bytes);
		return data;
	}
	if (op->status != STORE_OK)
		return NULL;
	memcpy(data, slice_data(op->data), op->bytes);
	for (uint32_t i = 0; i < blocks; i++)
		if (bit_get(op->zero_blocks, i))
			memset(data + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
	return data;
}

/* The text of the first thing that is wrong, or NULL. */
static const char *compare(struct check *c, struct mem_disk *disk, struct store *store)
{
	static char text[256];
	uint32_t chunk_blocks = (uint32_t)(c->chunk_bytes / BLOCK_BYTES), n;
	const char *why = NULL;

	for (uint32_t first = 0; first < c->journal.blocks && !why; first += n) {
		uint64_t chunk = c->chunks[first / chunk_blocks];
		struct store_op op;
		const uint8_t *data;

		n = MIN(IO_BLOCKS_MAX,
			MIN(c->journal.blocks - first, chunk_blocks - first % chunk_blocks));
		data = read_range(disk, store, &op, chunk, first % chunk_blocks, n);
		if (!data) {
			snprintf(text, sizeof text, "blocks from %u can't be read: status %d",
				 first, (int)op.status);
			why = text;
		}
		for (uint32_t i = 0; i < n && !why; i++)
			if (!journal_check_block(
				    &c->journal, first + i, &c->acknowledged[first + i],
				    c->until_ns,
				    (const uint64_t *)(const void *)(data + i * BLOCK_BYTES), &why))
				break;
			else
				why = NULL;
		store_op_clear(&op);
	}
	return why;
}

static void check_state(struct check *c, enum mem_cut how, uint64_t seed)
{
	struct mem_disk *disk = mem_cutter_cut(c->cutter, how, seed);
	struct store_fsck_result found;
	char last[256];
	struct opened o;
	const char *why;

	if (c->fsck && c->states % c->fsck == 0 && !fsck_passes(c, disk)) {
		say(c, how, seed, "copyhold-chunkd fsck finds damage");
		c->damaged++;
	}
	c->states++;
	found = driver_fsck(disk, true, last);
	o = driver_open(disk);
	if (!o.store) {
		say(c, how, seed, o.why);
		c->damaged++;
	} else if (found.status || found.problems) {
		say(c, how, seed, last);
		c->damaged++;
	}
	if (o.store) {
		why = compare(c, disk, o.store);
		if (why) {
			say(c, how, seed, why);
			c->lost++;
		}
		mem_disk_forget(disk);
		store_free(o.store);
	}
	mem_disk_free(disk);
}

/* ---- all of them ---- */

static void check_point(struct check *c)
{
	uint64_t seed = c->seed + c->at * 1000;

	c->points++;
	c->until_ns = disk_log_until(&c->log, c->at);
	c->acknowledged = journal_digest(&c->journal, c->until_ns);
	check_state(c, MEM_CUT_LOSE, seed);
	if (mem_cutter_open(c->cutter)) {
		check_state(c, MEM_CUT_KEEP, seed);
		for (uint64_t i = 0; i < c->mixes; i++)
			check_state(c, MEM_CUT_MIX, seed + 1 + i);
		for (uint64_t i = 0; i < c->tears; i++)
			check_state(c, MEM_CUT_TEAR, seed + 500 + i);
	}
	free(c->acknowledged);
}

/* Before the first write of the journal the disk is being made, and holds nothing of interest. */
static void check_points(struct check *c)
{
	uint64_t begin_ns = c->journal.records[0].time_ns;

	c->cutter = mem_cutter_new(c->log.disk);
	for (c->at = 1; c->at <= c->log.count; c->at++) {
		bool flushed = c->log.records[c->at - 1].kind == DISK_LOG_FLUSH;

		if (disk_log_until(&c->log, c->at) < begin_ns)
			continue;
		/* The last record before a flush has the most to lose. */
		if (!flushed && c->at % c->every != 0)
			continue;
		disk_log_move(c->cutter, c->at);
		check_point(c);
	}
	mem_cutter_free(c->cutter);
}

static uint64_t count_acknowledged(const struct journal *journal)
{
	uint64_t count = 0;

	for (size_t i = 0; i < journal->count; i++)
		count += journal->records[i].kind == JOURNAL_ACKNOWLEDGED;
	return count;
}

static void parse_chunks(struct check *c, char *list)
{
	char *rest = list;

	for (char *id; (id = strsep(&rest, ",")); c->chunk_count++) {
		if (c->chunk_count == CHUNKS_MAX)
			usage();
		c->chunks[c->chunk_count] = strtoull(id, NULL, 10);
	}
}

static int command_check(int argc, char **argv)
{
	static struct check c = {.every = 1, .mixes = 1, .tears = 2, .seed = 1};

	if (argc < 4)
		usage();
	c.chunk_bytes = strtoull(argv[2], NULL, 10);
	parse_chunks(&c, argv[3]);
	for (int i = 4; i < argc; i++)
		if (!take_option(argv[i], "every", &c.every) &&
		    !take_option(argv[i], "mixes", &c.mixes) &&
		    !take_option(argv[i], "tears", &c.tears) &&
		    !take_option(argv[i], "fsck", &c.fsck) &&
		    !take_option(argv[i], "seed", &c.seed))
			usage();
	disk_log_read(argv[0], &c.log);
	journal_read(argv[1], &c.journal);
	snprintf(c.image, sizeof c.image, "%s.image", argv[0]);
	if (!c.every || !c.journal.count || !c.chunk_bytes ||
	    c.journal.blocks > c.chunk_count * (c.chunk_bytes / BLOCK_BYTES)) {
		fprintf(stderr,
			"power-cut: the journal names more than these chunks, or nothing\n");
		return 2;
	}
	check_points(&c);
	printf("{\"acknowledged\": %" PRIu64
	       ", \"writes\": %zu, \"flushes\": %zu, \"points\": %" PRIu64 ", \"states\": %" PRIu64
	       ", \"fscks\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"damaged\": %" PRIu64 "}\n",
	       count_acknowledged(&c.journal), c.log.writes, c.log.flushes, c.points, c.states,
	       c.fscks, c.lost, c.damaged);
	disk_log_free(&c.log);
	free(c.journal.records);
	buf_pool_drain();
	return c.lost || c.damaged ? 1 : 0;
}

static int command_image(int argc, char **argv)
{
	uint64_t time_ns = 0, how = MEM_CUT_LOSE, seed = 1;
	struct mem_cutter *cutter;
	struct mem_disk *disk;
	struct disk_log log;

	for (int i = 2; i < argc; i++)
		if (!take_option(argv[i], "time", &time_ns) && !take_option(argv[i], "how", &how) &&
		    !take_option(argv[i], "seed", &seed))
			usage();
	if (argc < 3 || !time_ns || how > MEM_CUT_TEAR)
		usage();
	disk_log_read(argv[0], &log);
	cutter = mem_cutter_new(log.disk);
	disk_log_move(cutter, disk_log_count_at(&log, time_ns));
	disk = mem_cutter_cut(cutter, (enum mem_cut)how, seed);
	write_image(disk, argv[1]);
	printf("{\"records\": %zu, \"of\": %zu, \"not_durable\": %u}\n",
	       disk_log_count_at(&log, time_ns), log.count, mem_cutter_open(cutter));
	mem_disk_free(disk);
	mem_cutter_free(cutter);
	disk_log_free(&log);
	return 0;
}

static int command_instants(const char *path, uint64_t wanted)
{
	uint64_t every, seen = 0, told = 0;
	struct journal journal;

	journal_read(path, &journal);
	every = count_acknowledged(&journal) / (wanted + 1);
	for (size_t i = 0; i < journal.count && told < wanted; i++) {
		if (journal.records[i].kind != JOURNAL_ACKNOWLEDGED || ++seen % MAX(every, 1u) != 0)
			continue;
		printf("%" PRIu64 "\n", journal.records[i].time_ns + 1);
		told++;
	}
	free(journal.records);
	return told == wanted ? 0 : 1;
}

int main(int argc, char **argv)
{
	trace_limit = TRACE_ERROR;
	if (argc > 2 && strcmp(argv[1], "check") == 0)
		return command_check(argc - 2, argv + 2);
	if (argc == 4 && strcmp(argv[1], "instants") == 0)
		return command_instants(argv[2], strtoull(argv[3], NULL, 10));
	if (argc > 2 && strcmp(argv[1], "image") == 0)
		return command_image(argc - 2, argv + 2);
	usage();
}
