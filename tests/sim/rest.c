/* rest.c - see rest.h. */
#include "tests/sim/rest.h"
#include "common/base/bits.h"
#include "common/base/crc.h"
#include "replica-engine/store/store.h"
#include "replica-engine/store/store_tools.h"

#include <stdlib.h>

#define READ_BYTES (256u * 1024)

/* One disk, opened for inspection in a world of its own. */
struct inspected {
	struct sim world;
	struct sim_disk *disk;
	struct store *store;
	int status;
	char why[256];
	bool done;
	struct store_op op;
};

struct replica_copy {
	const char *name;
	bool lies; /* its disk may have lost writes */
	struct inspected *on;
	struct version *versions;
	uint32_t units;
	bool absent; /* not created yet: zeros */
	/* of the window that is looked at: READ_BYTES, and a byte a block */
	uint8_t data[READ_BYTES];
	uint8_t bad[READ_BYTES / BLOCK_BYTES];
};

static void on_opened(void *context, int status, const char *why, struct store *store)
{
	struct inspected *in = context;

	in->status = status;
	in->store = store;
	snprintf(in->why, sizeof in->why, "%s", why ? why : "");
	in->done = true;
}

static void wait_until_done(struct inspected *in)
{
	while (!in->done && sim_step(&in->world, UINT64_MAX))
		;
	assert(in->done);
}

static void inspected_open(struct inspected *in, struct sim_disk *disk)
{
	static const struct store_options options;

	sim_init(&in->world, 1);
	in->disk = sim_disk_copy(disk, &in->world);
	store_open(sim_disk_open(in->disk, NULL), &options, on_opened, in);
	wait_until_done(in);
}

static void inspected_close(struct inspected *in)
{
	if (!in->disk)
		return;
	/* What the store still does by itself is let go: its disk is a copy. */
	for (int i = 0; i < 1000000 && sim_disk_requests_under_way(in->disk); i++)
		sim_step(&in->world, UINT64_MAX);
	if (in->store)
		store_free(in->store);
	sim_disk_free(in->disk);
	sim_fini(&in->world);
}

static void op_done(struct store_op *op)
{
	struct inspected *in = op->context;

	in->done = true;
}

static void submit(struct inspected *in)
{
	in->done = false;
	in->op.done = op_done;
	in->op.context = in;
	store_submit(in->store, &in->op);
	wait_until_done(in);
}

/* ---- one replica ---- */

static bool versions_load(struct cluster *c, struct replica_copy *r, uint64_t chunk)
{
	struct store_op *op = &r->on->op;
	bool valid;

	memset(op, 0, sizeof *op);
	op->kind = STORE_VERSIONS;
	op->chunk = chunk;
	submit(r->on);
	if (op->status != STORE_OK) {
		sim_fail(&c->sim, "replicas at rest", chunk,
			 "%s: the versions of chunk %llu cannot be read: status %d", r->name,
			 (unsigned long long)chunk, (int)op->status);
		return false;
	}
	r->units = op->unit_count;
	r->versions = xmalloc(r->units * sizeof *r->versions);
	memcpy(r->versions, op->versions, r->units * sizeof *r->versions);
	valid = op->invalid_count == 0;
	store_op_clear(op);
	if (!valid)
		sim_fail(&c->sim, "ACTIVE replicas are complete", chunk,
			 "%s: chunk %llu has invalid units", r->name, (unsigned long long)chunk);
	return valid;
}

static void take_blocks(struct replica_copy *r, const struct store_op *op)
{
	for (uint32_t b = 0; b < op->bytes / BLOCK_BYTES; b++) {
		bool zero = op->all_zero || bit_get(op->zero_blocks, b);

		if (op->any_bad && bit_get(op->bad_blocks, b))
			r->bad[b] = 1;
		else if (!zero)
			memcpy(r->data + (size_t)b * BLOCK_BYTES,
			       slice_data(op->data) + (size_t)b * BLOCK_BYTES, BLOCK_BYTES);
	}
}

static bool window_load(struct cluster *c, struct replica_copy *r, uint64_t chunk, uint32_t offset,
			uint32_t bytes)
{
	struct store_op *op = &r->on->op;

	memset(r->data, 0, sizeof r->data);
	memset(r->bad, 0, sizeof r->bad);
	if (r->absent)
		return true;
	memset(op, 0, sizeof *op);
	op->kind = STORE_READ;
	op->chunk = chunk;
	op->offset = offset;
	op->bytes = bytes;
	submit(r->on);
	if (op->status == STORE_OK || op->status == STORE_BAD_BLOCK) {
		take_blocks(r, op);
	} else if (!r->lies) {
		sim_fail(&c->sim, "replicas at rest", chunk,
			 "%s: chunk %llu cannot be read at %u: status %d", r->name,
			 (unsigned long long)chunk, offset, (int)op->status);
	} else {
		memset(r->bad, 1, sizeof r->bad);
	}
	store_op_clear(op);
	return !c->sim.failed;
}

static bool window_check(struct cluster *c, const struct replica_copy *r,
			 const struct meta_chunk_row *row, uint32_t offset, uint32_t bytes)
{
	struct sim_volume *v = cluster_volume_of(c, row);
	uint64_t base = row->index * c->params.chunk_bytes + offset;

	for (uint64_t at = 0; at < bytes && base + at < v->bytes; at += BLOCK_BYTES) {
		if (r->bad[at / BLOCK_BYTES]) {
			if (r->lies)
				continue;
			sim_fail(&c->sim, "replicas at rest", row->chunk,
				 "%s: block %llu of chunk %llu is bad", r->name,
				 (unsigned long long)((offset + at) / BLOCK_BYTES),
				 (unsigned long long)row->chunk);
			return false;
		}
		if (!registers_check_copy(v->registers, "acknowledged means durable", r->name,
					  row->chunk, base + at,
					  MIN((uint64_t)BLOCK_BYTES, v->bytes - base - at),
					  r->data + at))
			return false;
	}
	return true;
}

/* ---- replicas of a chunk with each other ---- */

static bool versions_equal(struct cluster *c, const struct replica_copy *a,
			   const struct replica_copy *b, uint64_t chunk)
{
	for (uint32_t u = 0; u < a->units; u++) {
		if (version_equal(a->versions[u], b->versions[u]))
			continue;
		sim_fail(&c->sim, "equal at rest", chunk,
			 "unit %u of chunk %llu has version %llu.%llu on %s and %llu.%llu on %s", u,
			 (unsigned long long)chunk, (unsigned long long)a->versions[u].epoch,
			 (unsigned long long)a->versions[u].generation, a->name,
			 (unsigned long long)b->versions[u].epoch,
			 (unsigned long long)b->versions[u].generation, b->name);
		return false;
	}
	return true;
}

static bool windows_equal(struct cluster *c, const struct replica_copy *a,
			  const struct replica_copy *b, uint64_t chunk, uint32_t offset,
			  uint32_t bytes)
{
	for (uint32_t block = 0; block < bytes / BLOCK_BYTES; block++) {
		size_t at = (size_t)block * BLOCK_BYTES;

		if (a->bad[block] || b->bad[block] ||
		    memcmp(a->data + at, b->data + at, BLOCK_BYTES) == 0)
			continue;
		sim_fail(&c->sim, "equal at rest", chunk,
			 "block %u of chunk %llu differs between %s and %s",
			 offset / BLOCK_BYTES + block, (unsigned long long)chunk, a->name, b->name);
		return false;
	}
	return true;
}

static bool list_exact(struct cluster *c, const struct meta_chunk_row *row)
{
	const struct meta_volume_row *volume = sim_rows_volume(c->rows, row->volume);
	uint32_t active = 0;

	for (uint32_t i = 0; i < row->replica_count; i++)
		active += row->replicas[i].state == REPLICA_ACTIVE;
	if (active == volume->replicas && row->replica_count == active)
		return true;
	sim_fail(&c->sim, "lists are exact at rest", row->chunk,
		 "chunk %llu has %u ACTIVE of %u replicas, wanted are %u",
		 (unsigned long long)row->chunk, active, row->replica_count, volume->replicas);
	return false;
}

/*
 * Scrub has read all copies since the disk lied last, and mended what it found. What it could not mend it has named: blocks that are good nowhere,
 * or a replica that has lost a write and can't be left out.
 */
static bool must_be_right(const struct cluster *c, uint64_t chunk)
{
	const struct meta_scrub_row *scrub = sim_rows_scrub(c->rows, chunk);

	return c->scrubbed && scrub && !scrub->unrepairable && !scrub->differing;
}

static bool loses(const struct cluster *c, unsigned server)
{
	if (server != c->params.victim)
		return false;
	for (uint32_t i = 0; i < c->params.fault_count; i++) {
		enum fault_kind k = c->params.faults[i].kind;

		if (k == FAULT_DISK_LOSES_WRITES || k == FAULT_DISK_MISDIRECTS ||
		    k == FAULT_DISK_ROT)
			return true;
	}
	return false;
}

static void zeros_load(const struct cluster *c, struct replica_copy *r)
{
	r->units = (uint32_t)(c->params.chunk_bytes / UNIT_BYTES);
	r->versions = xcalloc(r->units, sizeof *r->versions);
	r->absent = true;
}

static bool replica_load(struct cluster *c, struct inspected *disks,
			 const struct meta_chunk_row *row, uint32_t cid, struct replica_copy *r,
			 enum rest_depth depth)
{
	int server = cluster_server_of_cid(c, cid);
	struct store_chunk chunk;

	if (server < 0 || !disks[server].store) {
		sim_fail(&c->sim, "replicas at rest", row->chunk,
			 "the disk of chunk server %u, ACTIVE for chunk %llu, can't be opened: %s",
			 cid, (unsigned long long)row->chunk,
			 server < 0 ? "unknown" : disks[server].why);
		return false;
	}
	r->name = c->servers[server].node.process->name;
	r->on = &disks[server];
	r->lies = cluster_disk_lies(c, (unsigned)server) && !must_be_right(c, row->chunk);
	if (!store_chunk_get(r->on->store, row->chunk, &chunk)) {
		/* Listed before it is created: then nothing was acknowledged in it, which content_check() looks at. */
		if (depth == REST_DURABLE && (row->list_number <= 1 || row->floor == 0)) {
			zeros_load(c, r);
			return true;
		}
		sim_fail(&c->sim, "ACTIVE replicas are complete", row->chunk,
			 "%s has no replica of chunk %llu", r->name,
			 (unsigned long long)row->chunk);
		return false;
	}
	return versions_load(c, r, row->chunk);
}

/* All content, a window at a time: each replica against what users were told, and at rest with the others. */
static void content_check(struct cluster *c, struct replica_copy *copies, unsigned count,
			  const struct meta_chunk_row *row, enum rest_depth depth)
{
	uint64_t all = (uint64_t)copies[0].units * UNIT_BYTES;

	for (uint32_t offset = 0; offset < all && !c->sim.failed; offset += READ_BYTES) {
		uint32_t bytes = (uint32_t)MIN((uint64_t)READ_BYTES, all - offset);

		for (unsigned i = 0; i < count; i++) {
			if (!window_load(c, &copies[i], row->chunk, offset, bytes) ||
			    !window_check(c, &copies[i], row, offset, bytes))
				return;
			if (i && depth == REST_EQUAL &&
			    !windows_equal(c, &copies[0], &copies[i], row->chunk, offset, bytes))
				return;
		}
	}
}

static void chunk_check(struct cluster *c, struct inspected *disks,
			const struct meta_chunk_row *row, enum rest_depth depth)
{
	static struct replica_copy copies[REPLICAS_MAX];
	unsigned count = 0;

	if (!cluster_volume_of(c, row) || (depth == REST_EQUAL && !list_exact(c, row)))
		return;
	for (uint32_t i = 0; i < row->replica_count && !c->sim.failed; i++) {
		int server = cluster_server_of_cid(c, row->replicas[i].cid);

		if (row->replicas[i].state != REPLICA_ACTIVE || server < 0 ||
		    (loses(c, (unsigned)server) && !must_be_right(c, row->chunk)))
			continue;
		copies[count].versions = NULL;
		copies[count].absent = false;
		replica_load(c, disks, row, row->replicas[i].cid, &copies[count], depth);
		count++;
	}
	for (unsigned i = 1; i < count && depth == REST_EQUAL && !c->sim.failed; i++)
		versions_equal(c, &copies[0], &copies[i], row->chunk);
	if (count && !c->sim.failed)
		content_check(c, copies, count, row, depth);
	for (unsigned i = 0; i < count; i++)
		free(copies[i].versions);
}

/* ---- the tools: fsck finds nothing wrong on a disk that kept its promises, inspect can print it ---- */

struct tool {
	struct sim world;
	bool done;
	int status;
	struct store_fsck_result result;
	unsigned lines;
	char line[200]; /* the last one */
	/* What inspect has said of the newest checkpoint, and of the journal behind it. */
	unsigned long long sequence, batches;
	bool clean;
};

static void tool_line(void *context, const char *line)
{
	struct tool *t = context;
	unsigned long long sequence;

	t->lines++;
	snprintf(t->line, sizeof t->line, "%s", line);
	sscanf(line, "journal: %llu batches", &t->batches);
	if (sscanf(line, "checkpoint header %*u: sequence %llu", &sequence) != 1 ||
	    sequence < t->sequence)
		return;
	t->sequence = sequence;
	t->clean = strstr(line, ", clean") != NULL;
}

static void on_inspected(void *context, int status)
{
	struct tool *t = context;

	t->status = status;
	t->done = true;
}

static void on_fsck(void *context, const struct store_fsck_result *result)
{
	struct tool *t = context;

	t->result = *result;
	t->status = result->status;
	t->done = true;
}

static void tool_wait(struct tool *t)
{
	while (!t->done && sim_step(&t->world, UINT64_MAX))
		;
	assert(t->done);
}

static void tools_check(struct cluster *c, unsigned server, bool closed)
{
	struct tool t = {.done = false};
	struct sim_disk *disk;

	sim_init(&t.world, 1);
	disk = sim_disk_copy(c->servers[server].disk, &t.world);
	store_fsck(sim_disk_open(disk, NULL), true, tool_line, on_fsck, &t);
	tool_wait(&t);
	if (t.status || t.result.problems || t.result.bad_blocks || t.result.unreadable_units)
		sim_fail(&c->sim, "fsck finds nothing", 0,
			 "c%u: status %d, %llu problems, %llu bad blocks: %s", server, t.status,
			 (unsigned long long)t.result.problems,
			 (unsigned long long)t.result.bad_blocks, t.line);
	t.done = false;
	store_inspect(sim_disk_open(disk, NULL), 1, tool_line, on_inspected, &t);
	tool_wait(&t);
	if (t.status)
		sim_fail(&c->sim, "inspect shows a disk", 0, "c%u: status %d: %s", server, t.status,
			 t.line);
	else if (closed && (!t.clean || t.batches))
		sim_fail(&c->sim, "a disk that was closed in order is clean", 0,
			 "c%u: checkpoint %llu %s so, and the journal holds %llu batches", server,
			 t.sequence, t.clean ? "says" : "doesn't say", t.batches);
	sim_disk_free(disk);
	sim_fini(&t.world);
}

/* What can't be read of a disk that has lied, unit by unit, past fsck. */
struct damage {
	uint64_t bad_blocks, unreadable_units;
};

static struct damage damage_of(struct inspected *in)
{
	struct damage found = {0};
	struct store_chunk chunk;
	struct store_op *op = &in->op;

	for (uint64_t id = 0; store_chunk_next(in->store, &id, &chunk); id++) {
		for (uint32_t unit = 0; unit < chunk.unit_count; unit++) {
			memset(op, 0, sizeof *op);
			op->kind = STORE_READ;
			op->chunk = id;
			op->offset = unit * UNIT_BYTES;
			op->bytes = UNIT_BYTES;
			submit(in);
			found.unreadable_units += op->status == STORE_DISK_ERROR;
			for (uint32_t b = 0; op->status == STORE_BAD_BLOCK && b < UNIT_BLOCKS; b++)
				found.bad_blocks += bit_get(op->bad_blocks, b);
			store_op_clear(op);
		}
	}
	return found;
}

/*
 * A disk that has lied: fsck and inspect end whatever is on it; what is damaged is counted, each of it with a line, and a disk that can't be opened is
 * called so.
 */
static void tools_face_lies(struct cluster *c, unsigned server)
{
	static struct inspected in;
	struct tool t = {.done = false};
	struct damage found = {0};

	memset(&in, 0, sizeof in);
	inspected_open(&in, c->servers[server].disk);
	sim_disk_share_bad_reads(c->servers[server].disk, in.disk);
	if (in.store)
		found = damage_of(&in);
	inspected_close(&in);

	sim_init(&t.world, 1);
	in.disk = sim_disk_copy(c->servers[server].disk, &t.world);
	sim_disk_share_bad_reads(c->servers[server].disk, in.disk);
	store_fsck(sim_disk_open(in.disk, NULL), true, tool_line, on_fsck, &t);
	tool_wait(&t);
	if (t.lines < t.result.problems || (t.status && !t.result.problems) ||
	    (!t.status && (t.result.bad_blocks + t.result.known_bad_blocks != found.bad_blocks ||
			   t.result.unreadable_units != found.unreadable_units)))
		sim_fail(&c->sim, "fsck names what is damaged", 0,
			 "c%u: status %d, %llu problems in %u lines, %llu bad blocks of %llu, %llu "
			 "unreadable units of %llu; the last line: %.120s",
			 server, t.status, (unsigned long long)t.result.problems, t.lines,
			 (unsigned long long)(t.result.bad_blocks + t.result.known_bad_blocks),
			 (unsigned long long)found.bad_blocks,
			 (unsigned long long)t.result.unreadable_units,
			 (unsigned long long)found.unreadable_units, t.line);
	if (t.result.problems)
		sim_reach(&c->sim, REACHED_FSCK_PROBLEM);
	t.done = false;
	t.lines = 0;
	store_inspect(sim_disk_open(in.disk, NULL), 1, tool_line, on_inspected, &t);
	tool_wait(&t);
	if (!t.lines)
		sim_fail(&c->sim, "inspect shows a disk", 0, "c%u: it says nothing", server);
	sim_disk_free(in.disk);
	sim_fini(&t.world);
}

/* No place is lost, or used by two: what is in use is what the chunks say, summed up. (Nothing here makes clones.) */
static void space_check(struct cluster *c, unsigned server, const struct store *store)
{
	struct store_counters now = store_counters(store);
	struct store_chunk chunk;
	uint64_t bytes = 0;

	for (uint64_t id = 0; store_chunk_next(store, &id, &chunk); id = chunk.chunk + 1)
		bytes += chunk.allocated_bytes;
	if (bytes != now.used_bytes)
		sim_fail(&c->sim, "space is exact", 0,
			 "c%u has %llu bytes in use, its chunks hold %llu", server,
			 (unsigned long long)now.used_bytes, (unsigned long long)bytes);
}

bool rest_check(struct cluster *c, enum rest_depth depth)
{
	struct inspected *disks = xcalloc(SIM_SERVERS_MAX, sizeof *disks);
	const struct meta_chunk_row *row;

	for (unsigned i = 0; i < c->params.servers; i++) {
		assert(!c->servers[i].node.process->running);
		if (!c->servers[i].formatted)
			continue;
		inspected_open(&disks[i], c->servers[i].disk);
		if (disks[i].status && !loses(c, i))
			sim_fail(&c->sim, "disks open after a crash", 0,
				 "the disk of c%u can't be opened: %d %s", i, disks[i].status,
				 disks[i].why);
		if (!disks[i].status)
			space_check(c, i, disks[i].store);
	}
	for (unsigned i = 0; i < c->params.servers && depth == REST_EQUAL && !c->sim.failed; i++) {
		if (!c->servers[i].formatted)
			continue;
		if (sim_disk_is_sound(c->servers[i].disk))
			tools_check(c, i, false);
		else
			tools_face_lies(c, i);
	}
	for (size_t i = 0; !c->sim.failed && (row = sim_rows_chunk_at(c->rows, i)); i++)
		chunk_check(c, disks, row, depth);
	for (unsigned i = 0; i < c->params.servers; i++)
		inspected_close(&disks[i]);
	free(disks);
	return !c->sim.failed;
}

void rest_check_cut_off(struct cluster *c, unsigned server)
{
	if (c->servers[server].formatted && sim_disk_is_sound(c->servers[server].disk))
		tools_check(c, server, false);
}

void rest_check_closed(struct cluster *c, unsigned server)
{
	tools_check(c, server, true);
}
