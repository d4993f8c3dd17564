/*
 * command_inspect.c - copyhold-chunkd inspect and fsck: what is on a disk, and whether every block of it can be read. Both
 * only read; the disk must not be in use. They replay the journal in memory, as a start would.
 */
#include "common/io-uring/io_uring_disk.h"
#include "replica-engine/chunkd/command.h"

#include <ev.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define READS_IN_FLIGHT 16

struct opened_disk {
	struct ev_loop *loop;
	struct io_disk *disk;
	struct store *store;
};

static void open_read_only(int argc, char **argv, struct opened_disk *o)
{
	const struct io_uring_disk_options disk_options = {.read_only = true};
	const struct store_options store_options = {.read_only = true};
	char why[IO_URING_WHY_BYTES];

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage_text, stdout);
		exit(0);
	}
	if (argc != 2 || argv[1][0] == '-')
		fail(EXIT_USAGE, "%s takes one file or block device. Try copyhold-chunkd --help",
		     argv[0]);
	o->loop = ev_default_loop(0);
	if (io_uring_disk_open(o->loop, argv[1], &disk_options, &o->disk, why) != 0)
		fail(EXIT_FAILED, "%s", why);
	o->store = open_store(o->loop, o->disk, argv[1], &store_options);
}

static void close_disk(struct opened_disk *o)
{
	store_free(o->store);
	io_uring_disk_close(o->disk);
	ev_loop_destroy(o->loop);
}

/* ---- inspect ---- */

static void print_disk(const struct store *store)
{
	struct store_identity id = store_identity(store);
	struct store_counters c = store_counters(store);
	char disk[UUID_TEXT_BYTES], cluster[UUID_TEXT_BYTES];

	uuid_format(id.disk, disk);
	uuid_format(id.cluster, cluster);
	printf("disk            %s\n", disk);
	if (id.cid)
		printf("cluster         %s\nchunk server    %u\n", cluster, id.cid);
	else
		printf("cluster         none: never registered\n");
	printf("capacity bytes  %" PRIu64 "\nused bytes      %" PRIu64 "\n", c.capacity_bytes,
	       c.used_bytes);
	printf("journal bytes   %" PRIu64 ", %" PRIu64 " of them in use\n", c.journal_bytes,
	       c.journal_used_bytes);
	printf("newest commit   %" PRIu64 "\nnewest epoch    %" PRIu64 "\n", c.newest_commit,
	       c.newest_epoch);
}

static void print_chunks(const struct store *store)
{
	struct store_chunk c;
	uint64_t chunk = 0;

	printf("%12s %10s %20s %10s %10s %6s %8s %s\n", "CHUNK", "EPOCH", "POSITION", "BASE",
	       "COMMIT", "UNITS", "INVALID", "ALLOCATED BYTES");
	for (; store_chunk_next(store, &chunk, &c); chunk++)
		printf("%12" PRIu64 " %10" PRIu64 " %9" PRIu64 ".%-10" PRIu64 " %10" PRIu64
		       " %10" PRIu64 " %6u %8u %" PRIu64 "%s\n",
		       c.chunk, c.epoch, c.position.epoch, c.position.generation, c.base_generation,
		       c.commit, c.unit_count, c.invalid_units, c.allocated_bytes,
		       c.mending ? " mending" : "");
}

int command_inspect(int argc, char **argv)
{
	struct opened_disk o;

	open_read_only(argc, argv, &o);
	print_disk(o.store);
	print_chunks(o.store);
	close_disk(&o);
	return 0;
}

/* ---- fsck ---- */

struct checking {
	struct opened_disk disk;
	struct store_op ops[READS_IN_FLIGHT];
	unsigned under_way;
	bool at_end;
	struct store_chunk chunk; /* the one that is being read, from unit `unit` on */
	uint32_t unit;
	uint64_t chunks, units, bad_blocks, unreadable_units, invalid_units;
};

static bool next_unit(struct checking *c)
{
	uint64_t next = c->chunk.chunk + 1;

	if (c->at_end)
		return false;
	if (c->unit < c->chunk.unit_count)
		return true;
	c->unit = 0;
	if (!store_chunk_next(c->disk.store, &next, &c->chunk)) {
		c->at_end = true;
		return false;
	}
	c->chunks++;
	return true;
}

static void read_done(struct store_op *op);

static void read_next(struct checking *c, struct store_op *op)
{
	if (!next_unit(c)) {
		if (c->under_way == 0)
			ev_break(c->disk.loop, EVBREAK_ALL);
		return;
	}
	memset(op, 0, sizeof *op);
	op->kind = STORE_READ;
	op->chunk = c->chunk.chunk;
	op->offset = c->unit++ * UNIT_BYTES;
	op->bytes = UNIT_BYTES;
	op->done = read_done;
	op->context = c;
	c->under_way++;
	store_submit(c->disk.store, op);
}

static void note_bad_blocks(struct checking *c, const struct store_op *op)
{
	for (uint32_t i = 0; i < UNIT_BLOCKS; i++) {
		if (!(op->bad_blocks[i / 8] >> i % 8 & 1))
			continue;
		c->bad_blocks++;
		printf("chunk %" PRIu64 ": block at offset %u is bad\n", op->chunk,
		       op->offset + i * BLOCK_BYTES);
	}
}

static void read_done(struct store_op *op)
{
	struct checking *c = op->context;

	c->units++;
	c->under_way--;
	if (op->status == STORE_BAD_BLOCK) {
		note_bad_blocks(c, op);
	} else if (op->status == STORE_INVALID_UNIT) {
		c->invalid_units++;
	} else if (op->status != STORE_OK) {
		c->unreadable_units++;
		printf("chunk %" PRIu64 ": unit at offset %u can't be read\n", op->chunk,
		       op->offset);
	}
	store_op_clear(op);
	read_next(c, op);
}

int command_fsck(int argc, char **argv)
{
	struct checking *c = xcalloc(1, sizeof *c);
	uint64_t first = 0;
	bool good;

	open_read_only(argc, argv, &c->disk);
	c->at_end = !store_chunk_next(c->disk.store, &first, &c->chunk);
	c->chunks = !c->at_end;
	for (unsigned i = 0; i < READS_IN_FLIGHT; i++)
		read_next(c, &c->ops[i]);
	if (c->under_way)
		ev_run(c->disk.loop, 0);
	good = c->bad_blocks == 0 && c->unreadable_units == 0;
	printf("%s: %" PRIu64 " chunks, %" PRIu64 " units read, %" PRIu64 " bad blocks, %" PRIu64
	       " unreadable units, %" PRIu64 " units to be filled\n",
	       good ? "clean" : "damaged", c->chunks, c->units, c->bad_blocks, c->unreadable_units,
	       c->invalid_units);
	if (!good)
		printf("What is bad is repaired from the other replicas when it is read; check the "
		       "volumes with copyhold chunk check\n");
	close_disk(&c->disk);
	free(c);
	return good ? 0 : EXIT_FAILED;
}
