/* store_crash.c - see store_crash.h. */
#include "tests/lib/store_crash.h"

#include "common/base/bits.h"
#include "common/base/crc.h"
#include "tests/lib/store_driver.h"
#include "tests/lib/store_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BYTES (MODEL_UNITS * (uint64_t)UNIT_BYTES)

/* A mutation and when it happened. */
struct step {
	struct store_op op;
	struct run *run;
	uint32_t tag;
	struct version versions[MODEL_UNITS];
	uint64_t submitted_at, completed_at; /* events of the log */
	bool completed;
};

struct run {
	const struct crash_options *options;
	struct crash_result *result;
	struct prng prng;
	struct mem_disk *disk;
	struct store *store;
	bool recording;
	struct step *steps; /* recorded ones */
	unsigned count, completed;
	unsigned in_flight;
	struct model now;      /* after all that completed */
	struct model *history; /* [i]: after i recorded steps */
	struct step *early;    /* before the recording */
	uint32_t tag;
	uint64_t generation, commit;
};

static void problem(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void problem(struct run *r, const char *format, ...)
{
	va_list arguments;
	int n;

	if (r->result->problem[0])
		return;
	n = snprintf(r->result->problem, sizeof r->result->problem,
		     "seed %llu: ", (unsigned long long)r->options->seed);
	va_start(arguments, format);
	vsnprintf(r->result->problem + n, sizeof r->result->problem - (size_t)n, format, arguments);
	va_end(arguments);
}

static uint64_t pick(struct run *r, uint64_t bound)
{
	return prng_below(&r->prng, bound);
}

/* ---- making operations ---- */

static void make_data(struct store_op *op, uint64_t root, uint32_t first_block, uint32_t blocks,
		      uint32_t tag)
{
	op->data = slice_new((size_t)blocks * BLOCK_BYTES);
	for (uint32_t i = 0; i < blocks; i++)
		fill_block(slice_data(op->data) + (size_t)i * BLOCK_BYTES, root, first_block + i,
			   tag);
	crc_blocks(root, first_block, blocks, slice_data(op->data), op->crcs);
}

static void make_write(struct run *r, struct step *s, const struct model_chunk *c)
{
	uint32_t all = MODEL_UNITS * UNIT_BLOCKS, blocks, first;

	switch (pick(r, 4)) {
	case 0: /* whole units, and edges */
		blocks = 16 + (uint32_t)pick(r, 40);
		first = (uint32_t)pick(r, all - blocks + 1);
		break;
	case 1: /* exactly whole units */
		blocks = 16 * (1 + (uint32_t)pick(r, 3));
		first = 16 * (uint32_t)pick(r, MODEL_UNITS - blocks / 16 + 1);
		break;
	default:
		blocks = 1 + (uint32_t)pick(r, 6);
		first = (uint32_t)pick(r, all - blocks + 1);
	}
	s->op.kind = STORE_WRITE;
	s->op.offset = first * BLOCK_BYTES;
	s->op.bytes = blocks * BLOCK_BYTES;
	make_data(&s->op, c->root_chunk, first, blocks, s->tag);
}

static void make_zero(struct run *r, struct step *s)
{
	uint32_t all = MODEL_UNITS * UNIT_BLOCKS;
	uint32_t blocks = pick(r, 2) ? 16 + (uint32_t)pick(r, 40) : 1 + (uint32_t)pick(r, 16);
	uint32_t first = (uint32_t)pick(r, all - blocks + 1);

	s->op.kind = pick(r, 2) ? STORE_ZERO : STORE_DISCARD;
	s->op.offset = first * BLOCK_BYTES;
	s->op.bytes = blocks * BLOCK_BYTES;
}

static void make_copy(struct run *r, struct step *s, const struct model_chunk *c)
{
	uint32_t unit = (uint32_t)pick(r, MODEL_UNITS);

	for (uint32_t i = 0; i < MODEL_UNITS && !c->units[unit].invalid; i++)
		unit = (unit + 1) % MODEL_UNITS;
	s->op.kind = STORE_COPY;
	s->op.unit = unit;
	s->op.roll = pick(r, 4) == 0;
	s->op.zero_mask = pick(r, 3) ? 0 : (uint16_t)pick(r, 65536);
	s->op.bad_mask = pick(r, 4) ? 0 : (uint16_t)(pick(r, 65536) & ~s->op.zero_mask);
	if (pick(r, 6) == 0)
		s->op.zero_mask = (uint16_t)~s->op.bad_mask;
	else
		make_data(&s->op, c->root_chunk, unit * UNIT_BLOCKS, UNIT_BLOCKS, s->tag);
}

/* The same version is the same content: a repair brings what is there already, or a block that is known bad. */
static bool make_repair(struct run *r, struct step *s, const struct model_chunk *c)
{
	uint32_t unit = (uint32_t)pick(r, MODEL_UNITS);
	const struct model_unit *u = &c->units[unit];
	uint16_t mask = 0;
	uint32_t tag = 0, blocks = 0;

	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		bool bad = u->bad_mask >> b & 1;

		if (!bad && (!u->tags[b] || (tag && u->tags[b] != tag) || pick(r, 3)))
			continue;
		if (!bad)
			tag = u->tags[b];
		mask |= (uint16_t)(1u << b);
		blocks++;
	}
	if (!mask)
		return false;
	if (tag)
		s->tag = tag;
	s->op.kind = STORE_REPAIR;
	s->op.unit = unit;
	s->op.block_mask = mask;
	s->op.position = u->version;
	s->op.data = slice_new((size_t)blocks * BLOCK_BYTES);
	blocks = 0;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		uint8_t *at = slice_data(s->op.data) + (size_t)blocks * BLOCK_BYTES;

		if (!(mask >> b & 1))
			continue;
		fill_block(at, c->root_chunk, unit * UNIT_BLOCKS + b, s->tag);
		s->op.crcs[b] = crc_block(c->root_chunk, unit * UNIT_BLOCKS + b, at);
		blocks++;
	}
	return true;
}

static void make_invalidate(struct run *r, struct step *s, const struct model_chunk *c)
{
	for (uint32_t i = 0; i < MODEL_UNITS; i++) {
		s->versions[i] = c->units[i].version;
		if (pick(r, 4) == 0)
			s->versions[i].generation += 1000000;
	}
	s->op.kind = STORE_INVALIDATE;
	s->op.unit_count = MODEL_UNITS;
	s->op.in_versions = s->versions;
}

static void make_life(struct run *r, struct step *s)
{
	static const enum store_op_kind kinds[] = {STORE_CREATE, STORE_CREATE, STORE_DELETE,
						   STORE_CLONE, STORE_CLONE};

	s->op.kind = kinds[pick(r, ARRAY_SIZE(kinds))];
	s->op.origin = 1 + pick(r, MODEL_CHUNKS);
	s->op.epoch = 1 + pick(r, 5);
	s->op.commit = ++r->commit;
	s->op.root_chunk = s->op.chunk;
	s->op.chunk_bytes = CHUNK_BYTES;
}

static void make_protocol(struct run *r, struct step *s)
{
	static const enum store_op_kind kinds[] = {STORE_FENCE, STORE_MEND_BEGIN, STORE_MEND_END,
						   STORE_JOIN, STORE_START};

	s->op.kind = kinds[pick(r, ARRAY_SIZE(kinds))];
	s->op.epoch = 1 + pick(r, 20);
}

/*
 * `m` is what the operation will find: checksums depend on the root chunk, which only CREATE and CLONE change; no data is
 * sent to a chunk while one of these is under way.
 */
static void make_step(struct run *r, struct step *s, const struct model *m)
{
	const struct model_chunk *c;
	uint64_t what = pick(r, 100);

	*s = (struct step){.run = r, .tag = ++r->tag};
	s->op.chunk = 1 + pick(r, MODEL_CHUNKS);
	s->op.position = (struct version){1, ++r->generation};
	c = &m->chunks[s->op.chunk - 1];
	if (!c->exists || what < 6)
		make_life(r, s);
	else if (what < 60)
		make_write(r, s, c);
	else if (what < 72)
		make_zero(r, s);
	else if (what < 79)
		make_invalidate(r, s, c);
	else if (what < 90)
		make_copy(r, s, c);
	else if (what < 94 && make_repair(r, s, c))
		return;
	else
		make_protocol(r, s);
}

/* ---- running ---- */

static void step_done(struct store_op *op)
{
	struct step *s = op->context;
	struct run *r = s->run;
	enum store_status expected;
	struct model before = r->now;

	if (s->completed)
		problem(r, "an operation completed twice");
	s->completed = true;
	s->completed_at = r->recording ? mem_disk_events(r->disk) : 0;
	r->in_flight--;
	expected = model_apply(&r->now, op, s->tag);
	if (op->status == STORE_NO_SPACE)
		r->now = before;
	else if (op->status != expected)
		problem(r, "operation kind %d of chunk %llu: status %d instead of %d", op->kind,
			(unsigned long long)op->chunk, op->status, expected);
	if (r->recording) {
		if (s != &r->steps[r->completed])
			problem(r, "operations completed out of order");
		r->completed++;
		r->history[r->completed] = r->now;
	}
	slice_unref(&op->data);
	store_op_clear(op);
}

static bool data_of_root(enum store_op_kind kind)
{
	return kind != STORE_CREATE && kind != STORE_CLONE && kind != STORE_DELETE;
}

/* Submits one operation; what it will find is foreseen by applying those in flight to the model. */
static void submit_one(struct run *r, struct step *steps, unsigned *count, unsigned first_open)
{
	struct model foreseen = r->now;
	struct step *s = &steps[*count];

	for (unsigned i = first_open; i < *count; i++)
		if (!steps[i].completed)
			model_apply(&foreseen, &steps[i].op, steps[i].tag);
	make_step(r, s, &foreseen);
	/* If one in flight may be refused for space, what was foreseen may be wrong: then nothing that depends on it. */
	for (unsigned i = first_open; i < *count; i++)
		if (!steps[i].completed && !data_of_root(steps[i].op.kind) &&
		    data_of_root(s->op.kind)) {
			slice_unref(&s->op.data);
			return;
		}
	s->op.done = step_done;
	s->op.context = s;
	s->submitted_at = r->recording ? mem_disk_events(r->disk) : 0;
	(*count)++;
	r->in_flight++;
	store_submit(r->store, &s->op);
}

static void run_steps(struct run *r, struct step *steps, unsigned *count, unsigned target)
{
	unsigned first_open = 0, ticks = 0;

	while (*count < target || r->in_flight) {
		while (first_open < *count && steps[first_open].completed)
			first_open++;
		if (*count < target && r->in_flight < r->options->depth && pick(r, 3)) {
			submit_one(r, steps, count, first_open);
		} else if (!mem_disk_step(r->disk)) {
			store_tick(r->store, ++ticks * NS_PER_S);
			if (r->in_flight && !mem_disk_waiting(r->disk)) {
				problem(r, "the store stands still with %u operations in flight",
					r->in_flight);
				return;
			}
		} else if (pick(r, 10) == 0) {
			store_tick(r->store, ++ticks * NS_PER_S);
		}
		if (r->result->problem[0])
			return;
	}
}

static void prepare(struct run *r)
{
	unsigned count = 0;
	struct opened o;

	/* Small disks run full, and use places again soon. */
	r->disk = mem_disk_new(9 * MIB / 2 + r->options->seed % 4 * MIB, r->options->seed);
	if (driver_format(r->disk, MIB)) {
		problem(r, "format failed");
		return;
	}
	o = driver_open(r->disk);
	if (!o.store) {
		problem(r, "open failed: %s", o.why);
		return;
	}
	r->store = o.store;
	r->early = xcalloc(r->options->operations + 1, sizeof *r->early);
	run_steps(r, r->early, &count, (unsigned)pick(r, r->options->operations));
	if (r->result->problem[0])
		return;
	if (pick(r, 2)) {
		driver_close(r->disk, r->store);
	} else {
		mem_disk_forget(r->disk);
		store_free(r->store);
	}
	r->store = NULL;
	mem_disk_record(r->disk);
	o = driver_open(r->disk);
	if (!o.store)
		problem(r, "opening again failed: %s", o.why);
	r->store = o.store;
}

static void record(struct run *r)
{
	r->steps = xcalloc(r->options->operations + 1, sizeof *r->steps);
	r->history = xcalloc(r->options->operations + 1, sizeof *r->history);
	r->history[0] = r->now;
	r->recording = true;
	run_steps(r, r->steps, &r->count, r->options->operations);
	if (r->result->problem[0])
		return;
	if (pick(r, 2)) {
		driver_close(r->disk, r->store);
	} else {
		mem_disk_forget(r->disk);
		store_free(r->store);
	}
	r->store = NULL;
	r->result->operations = r->count;
	r->result->events = mem_disk_events(r->disk);
}

/* ---- checking one cut ---- */

struct found {
	struct store_chunk info;
	bool exists;
	uint64_t tombstone;
	struct store_op versions;
	uint32_t tags[MODEL_UNITS * UNIT_BLOCKS];
};

static bool look(struct run *r, struct mem_disk *disk, struct store *store, uint64_t chunk,
		 struct found *f)
{
	*f = (struct found){.versions = {.kind = STORE_VERSIONS, .chunk = chunk}};
	f->exists = store_chunk_get(store, chunk, &f->info);
	f->tombstone = store_tombstone(store, chunk);
	if (!f->exists)
		return true;
	driver_do(disk, store, &f->versions);
	for (uint32_t unit = 0; unit < MODEL_UNITS; unit++) {
		uint32_t *tags = &f->tags[(size_t)unit * UNIT_BLOCKS];
		enum store_status status;

		if (bit_get(f->versions.invalid, unit))
			continue;
		status = do_read(disk, store, chunk, f->info.root_chunk, unit * UNIT_BLOCKS,
				 UNIT_BLOCKS, tags);
		if (status != STORE_OK && status != STORE_BAD_BLOCK) {
			problem(r, "reading chunk %llu unit %u: status %d",
				(unsigned long long)chunk, unit, status);
			return false;
		}
	}
	return true;
}

static bool unit_matches(const struct found *f, const struct model_unit *u, uint32_t unit)
{
	bool invalid = bit_get(f->versions.invalid, unit);

	if (invalid != u->invalid || !version_equal(f->versions.versions[unit], u->version))
		return false;
	for (unsigned b = 0; !invalid && b < UNIT_BLOCKS; b++) {
		uint32_t expected = u->bad_mask >> b & 1 ? UINT32_MAX : u->tags[b];

		if (f->tags[unit * UNIT_BLOCKS + b] != expected)
			return false;
	}
	return true;
}

static bool matches(const struct found *f, const struct model_chunk *c)
{
	if (f->exists != c->exists)
		return false;
	if (!c->exists)
		return f->tombstone == c->commit;
	if (f->info.mending != c->mending || f->info.epoch != c->epoch ||
	    f->info.base_generation != c->base_generation || f->info.commit != c->commit ||
	    f->info.root_chunk != c->root_chunk || !version_equal(f->info.position, c->position))
		return false;
	for (uint32_t unit = 0; unit < MODEL_UNITS; unit++)
		if (!unit_matches(f, &c->units[unit], unit))
			return false;
	return true;
}

/* Is each chunk what the model says after `from` to `to` steps? out: after how many (the first that fits). */
static bool check_store(struct run *r, struct mem_disk *disk, struct store *store, unsigned from,
			unsigned to, unsigned *out)
{
	for (unsigned i = 0; i < MODEL_CHUNKS; i++) {
		struct found f;
		unsigned k = from;
		bool looked = look(r, disk, store, i + 1, &f);

		while (looked && k <= to && !matches(&f, &r->history[k].chunks[i]))
			k++;
		store_op_clear(&f.versions);
		if (!looked)
			return false;
		if (k > to) {
			problem(r,
				"chunk %u is in no state between operation %u and %u (position "
				"%llu)",
				i + 1, from, to, (unsigned long long)f.info.position.generation);
			return false;
		}
		out[i] = k;
	}
	return true;
}

static void check_with_fsck(struct run *r, struct mem_disk *disk, uint64_t events)
{
	char last[256];
	struct store_fsck_result f;

	mem_disk_forget(disk);
	f = driver_fsck(disk, true, last);
	if (f.status || f.problems)
		problem(r, "cut at event %llu: fsck finds %llu problems: %s",
			(unsigned long long)events, (unsigned long long)f.problems, last);
}

static void check_cut(struct run *r, struct mem_cutter *cutter, uint64_t events, enum mem_cut how,
		      uint64_t seed, unsigned from, unsigned to)
{
	struct mem_disk *disk = mem_cutter_cut(cutter, how, seed);
	unsigned at[MODEL_CHUNKS], again[MODEL_CHUNKS];
	struct opened o = driver_open(disk);

	r->result->states++;
	if (!o.store) {
		problem(r, "cut %d at event %llu (seed %llu): open: %s", how,
			(unsigned long long)events, (unsigned long long)seed, o.why);
	} else if (!check_store(r, disk, o.store, from, to, at)) {
		char text[512];

		snprintf(text, sizeof text, "%s", r->result->problem);
		r->result->problem[0] = 0;
		problem(r, "cut %d at event %llu (seed %llu): %s", how, (unsigned long long)events,
			(unsigned long long)seed, text);
	} else if (seed % 4 == 0) {
		/* What was seen once is seen again after the next crash. */
		mem_disk_forget(disk);
		store_free(o.store);
		o = driver_open(disk);
		if (!o.store || !check_store(r, disk, o.store, from, to, again) ||
		    memcmp(at, again, sizeof at) != 0)
			problem(r,
				"cut %d at event %llu (seed %llu): another state the second time "
				"%s",
				how, (unsigned long long)events, (unsigned long long)seed, o.why);
	}
	if (o.store)
		store_free(o.store);
	if (seed % 8 == 0 && !r->result->problem[0])
		check_with_fsck(r, disk, events);
	mem_disk_free(disk);
}

static void check_cuts(struct run *r, struct mem_cutter *cutter, uint64_t events)
{
	const struct crash_options *o = r->options;
	unsigned from = 0, to = 0;

	while (from < r->count && r->steps[from].completed && r->steps[from].completed_at <= events)
		from++;
	/* Submitted in the callback of the last event counts as submitted before. */
	while (to < r->count && r->steps[to].submitted_at <= events)
		to++;
	mem_cutter_move(cutter, events);
	check_cut(r, cutter, events, MEM_CUT_LOSE, 0, from, to);
	if (!mem_cutter_open(cutter))
		return;
	check_cut(r, cutter, events, MEM_CUT_KEEP, 1, from, to);
	for (unsigned i = 0; i < o->mixes && !r->result->problem[0]; i++)
		check_cut(r, cutter, events, MEM_CUT_MIX, events * 1000 + i, from, to);
	for (unsigned i = 0; i < o->tears && !r->result->problem[0]; i++)
		check_cut(r, cutter, events, MEM_CUT_TEAR, events * 1000 + 500 + i, from, to);
}

void crash_run(const struct crash_options *options, struct crash_result *result)
{
	struct run r = {.options = options, .result = result, .prng = {options->seed}};

	*result = (struct crash_result){0};
	prepare(&r);
	if (!result->problem[0])
		record(&r);
	if (!result->problem[0]) {
		struct mem_cutter *cutter = mem_cutter_new(r.disk);

		for (uint64_t e = 0; e <= result->events && !result->problem[0];
		     e += options->every)
			check_cuts(&r, cutter, e);
		mem_cutter_free(cutter);
	}
	if (r.store)
		store_free(r.store);
	mem_disk_free(r.disk);
	free(r.steps);
	free(r.early);
	free(r.history);
}
