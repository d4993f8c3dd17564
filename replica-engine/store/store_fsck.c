/*
 * store_fsck.c - checks a disk. Opening it (read-only) has checked the tree of pages and the journal; here come the copies that
 * opening doesn't need, what units say of places, and every block against its checksum.
 */
#include "common/base/bits.h"
#include "replica-engine/store/store_tools.h"
#include "replica-engine/store/raw_look.h"

#include <inttypes.h>
#include <stdarg.h>

#define READS 8u

struct checking {
	struct raw_look raw;
	bool deep;
	store_line_fn *line;
	store_fsck_done_fn *done;
	void *context;
	struct store *store;
	struct store_fsck_result result;
	struct store_op ops[READS];
	unsigned in_flight;
	struct io_disk_request last;
	uint64_t chunk; /* what is read next */
	uint32_t unit;
};

__attribute__((format(printf, 2, 0))) static void say(struct checking *k, const char *format,
						      va_list arguments)
{
	char text[512];

	vsnprintf(text, sizeof text, format, arguments);
	k->line(k->context, text);
}

static void problem(struct checking *k, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void problem(struct checking *k, const char *format, ...)
{
	va_list arguments;

	k->result.problems++;
	va_start(arguments, format);
	say(k, format, arguments);
	va_end(arguments);
}

/* What is worth knowing and may be so on a sound disk. */
static void note(struct checking *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct checking *k, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(k, format, arguments);
	va_end(arguments);
}

/* The store can't be freed from inside an operation's done(): when the loop turns. */
static void end(struct io_disk_request *request)
{
	struct checking *k = request->context;

	if (k->store) {
		struct store_counters c = store_counters(k->store);

		k->result.free_bytes = c.free_bytes;
		k->result.used_bytes = c.used_bytes;
		store_free(k->store);
	}
	k->done(k->context, &k->result);
	free(k);
}

static void finish(struct checking *k)
{
	k->last = (struct io_disk_request){.op = IO_DISK_READ, .done = end, .context = k};
	k->raw.disk->submit(k->raw.disk, &k->last);
}

/* ---- places ---- */

struct owner {
	uint64_t root_chunk;
	uint32_t unit;
	bool set;
};

/* Only clones share places, and they have the same root chunk and the unit in the same place. */
static void check_unit(struct checking *k, struct owner *owners, const struct chunk *c,
		       uint32_t unit)
{
	const struct disk_unit *u = unit_find(c, unit);
	struct owner *o;

	if (!u)
		return;
	k->result.known_bad_blocks += (uint64_t)__builtin_popcount(u->bad_mask);
	k->result.invalid_units += u->flags & UNIT_INVALID;
	if (!u->place != !u->data_mask)
		problem(k,
			"chunk %" PRIu64 " unit %u: its place and its blocks contradict each "
			"other; a resync of this replica repairs it",
			c->id, unit);
	if (!u->place)
		return;
	o = &owners[u->place - 1];
	if (o->set && (o->root_chunk != c->now.root_chunk || o->unit != unit))
		problem(k,
			"chunk %" PRIu64 " unit %u: place %u (offset %" PRIu64
			") also belongs to root chunk %" PRIu64
			" unit %u; a resync of this replica repairs it",
			c->id, unit, u->place - 1, place_offset(k->store, u->place - 1),
			o->root_chunk, o->unit);
	*o = (struct owner){c->now.root_chunk, unit, true};
}

static void check_chunk(struct checking *k, struct owner *owners, const struct chunk *c)
{
	uint64_t digest = 0;
	uint32_t invalid = 0, places = 0;

	for (uint32_t unit = 0; unit < c->unit_count; unit++) {
		const struct disk_unit *u = unit_find(c, unit);

		check_unit(k, owners, c, unit);
		if (!u)
			continue;
		digest += version_hash(unit, unit_version(u));
		invalid += u->flags & UNIT_INVALID;
		places += u->place != 0;
	}
	if (digest != c->digest || invalid != c->invalid_units || places != c->places)
		problem(k, "chunk %" PRIu64 ": its sums over units are wrong", c->id);
}

static void check_places(struct checking *k)
{
	struct owner *owners = xcalloc(k->store->unit_count, sizeof *owners);
	uint64_t used = 0;

	for (const struct chunk *c = k->store->chunks; c; c = c->hh.next) {
		if (!c->now.exists)
			continue;
		k->result.chunks++;
		check_chunk(k, owners, c);
	}
	for (uint32_t place = 0; place < k->store->unit_count; place++) {
		used += owners[place].set;
		if (owners[place].set != (k->store->refs[place] > 0) ||
		    owners[place].set == space_is_free(&k->store->places, place))
			problem(k, "place %u (offset %" PRIu64 ") is counted wrongly", place,
				place_offset(k->store, place));
		if (!owners[place].set && k->store->dirty.per_place[place])
			problem(k, "place %u is free and has blocks in the journal", place);
	}
	if (used + places_free(k->store) != k->store->unit_count)
		problem(k, "%" PRIu64 " places are used and %" PRIu64 " free, of %u", used,
			places_free(k->store), k->store->unit_count);
	free(owners);
}

/* ---- blocks ---- */

static void unit_read(struct store_op *op);

static bool read_next(struct checking *k, struct store_op *op)
{
	struct store_chunk c;

	while (store_chunk_next(k->store, &k->chunk, &c)) {
		if (k->unit == c.unit_count) {
			k->chunk++;
			k->unit = 0;
			continue;
		}
		*op = (struct store_op){.kind = STORE_READ,
					.chunk = k->chunk,
					.offset = k->unit++ * UNIT_BYTES,
					.bytes = UNIT_BYTES,
					.done = unit_read,
					.context = k};
		k->in_flight++;
		store_submit(k->store, op);
		return true;
	}
	return false;
}

static void unit_read(struct store_op *op)
{
	struct checking *k = op->context;
	const struct disk_unit *u =
		unit_find(chunk_find(k->store, op->chunk), op->offset / UNIT_BYTES);

	k->in_flight--;
	k->result.units++;
	if (op->status == STORE_DISK_ERROR) {
		k->result.unreadable_units++;
		problem(k,
			"chunk %" PRIu64 " at %u: the unit can't be read; its owner repairs it "
			"from another replica when it is read",
			op->chunk, op->offset);
	}
	for (unsigned b = 0; op->status == STORE_BAD_BLOCK && b < UNIT_BLOCKS; b++) {
		if (!bit_get(op->bad_blocks, b) || (u->bad_mask >> b & 1))
			continue;
		k->result.bad_blocks++;
		problem(k,
			"chunk %" PRIu64 " at %u: the block fails its checksum; its owner repairs "
			"it from another replica when it is read",
			op->chunk, op->offset + b * BLOCK_BYTES);
	}
	store_op_clear(op);
	if (!read_next(k, op) && !k->in_flight)
		finish(k);
}

static void opened(void *context, int status, const char *why, struct store *store)
{
	struct checking *k = context;

	k->store = store;
	k->result.status = status;
	if (status) {
		problem(k,
			"the disk can't be opened: %s; formatted anew it can be filled from the "
			"other replicas",
			why);
		finish(k);
		return;
	}
	check_places(k);
	for (unsigned i = 0; k->deep && i < READS; i++)
		read_next(k, &k->ops[i]);
	if (!k->in_flight)
		finish(k);
}

static void looked(struct raw_look *raw)
{
	struct checking *k = raw->context;

	for (unsigned i = 0; raw->super && i < 2; i++) {
		const struct disk_superblock *s = raw_look_super(raw, i);

		if (raw->super_problem[i])
			problem(k,
				"superblock %u (offset %" PRIu64
				"): %s; the other copy counts, and the next start of the chunk "
				"server writes this one again",
				i, i ? raw->super->size_bytes - PAGE_BYTES : 0,
				raw->super_problem[i]);
		else if (s->sequence != raw->super->sequence)
			note(k,
			     "note: superblock %u (offset %" PRIu64
			     ") is older than the other, as a crash during the registration leaves "
			     "it; the next start of the chunk server writes it again",
			     i, i ? raw->super->size_bytes - PAGE_BYTES : 0);
	}
	/* One may be torn or empty, of a crash or of a fresh disk; the next checkpoint writes it. */
	if (raw->super && raw->checkpoint_problem[0] && raw->checkpoint_problem[1])
		problem(k, "no checkpoint header is valid (offset %" PRIu64 ")",
			raw->super->checkpoint_offset);
	raw_look_end(raw);
	store_open(raw->disk, &(struct store_options){.read_only = true}, opened, k);
}

void store_fsck(struct io_disk *disk, bool deep, store_line_fn *line, store_fsck_done_fn *done,
		void *context)
{
	struct checking *k = xcalloc(1, sizeof *k);

	k->deep = deep;
	k->line = line;
	k->done = done;
	k->context = context;
	raw_look_start(&k->raw, disk, looked, k);
}
