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
	bool shared[MODEL_CHUNKS]; /* was ever cloned, or a clone: an overwrite may need room */
	unsigned refused; /* operations that may have been refused because of one before them */
	uint64_t begun;   /* the first event to cut behind */
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

/* Refused for want of space: only what brings something new, or stands behind such a write. */
static void check_refused(struct run *r, const struct store_op *op)
{
	const struct model_chunk *c = &r->now.chunks[op->chunk - 1];
	bool overwrite = op->kind == STORE_WRITE && c->exists && !r->shared[op->chunk - 1];

	for (uint32_t block = op->offset / BLOCK_BYTES;
	     overwrite && block < (op->offset + op->bytes) / BLOCK_BYTES; block++)
		overwrite = c->units[block / UNIT_BLOCKS].tags[block % UNIT_BLOCKS] != 0;
	if (!r->refused && (overwrite || op->kind == STORE_ZERO || op->kind == STORE_DISCARD))
		problem(r, "operation kind %d of chunk %llu, which needs no room, was refused",
			op->kind, (unsigned long long)op->chunk);
	r->refused = r->options->depth;
}

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
	if (op->status == STORE_NO_SPACE) {
		r->now = before;
		check_refused(r, op);
	} else if (r->refused) {
		r->refused--;
	}
	if (op->kind == STORE_CLONE)
		r->shared[op->chunk - 1] = r->shared[op->origin - 1] = true;
	if (op->status != STORE_NO_SPACE && op->status != expected)
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

static void open_store(struct run *r)
{
	struct opened o = driver_open(r->disk);

	if (!o.store)
		problem(r, "open failed: %s", o.why);
	r->store = o.store;
}

/* In order, or as a killed process does. */
static void end_store(struct run *r)
{
	if (pick(r, 2)) {
		driver_close(r->disk, r->store);
	} else {
		mem_disk_forget(r->disk);
		store_free(r->store);
	}
	r->store = NULL;
}

static void prepare(struct run *r)
{
	unsigned count = 0;

	/* Small disks run full, and use places again soon. */
	r->disk = mem_disk_new(4 * MIB + r->options->seed % 4 * MIB, r->options->seed);
	if (driver_format(r->disk, MIB)) {
		problem(r, "format failed");
		return;
	}
	open_store(r);
	if (r->result->problem[0])
		return;
	r->early = xcalloc(r->options->operations + 1, sizeof *r->early);
	run_steps(r, r->early, &count, (unsigned)pick(r, r->options->operations));
	if (r->result->problem[0])
		return;
	end_store(r);
	mem_disk_record(r->disk);
	open_store(r);
}

static void record(struct run *r)
{
	r->steps = xcalloc(r->options->operations + 1, sizeof *r->steps);
	r->history = xcalloc(r->options->operations + 1, sizeof *r->history);
	r->history[0] = r->now;
	r->recording = true;
	run_steps(r, r->steps, &r->count, r->options->operations);
	r->recording = false;
	if (r->result->problem[0])
		return;
	end_store(r);
	r->result->operations += r->count;
	r->result->events += mem_disk_events(r->disk);
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

/* Is everything what the model says after one number of steps, `from` to `to`? out: that number (the first that fits). */
static bool check_store(struct run *r, struct mem_disk *disk, struct store *store, unsigned from,
			unsigned to, unsigned *out)
{
	struct found found[MODEL_CHUNKS];
	unsigned looked = 0, fits = 0, best = 0;

	while (looked < MODEL_CHUNKS && look(r, disk, store, looked + 1, &found[looked]))
		looked++;
	for (*out = from; looked == MODEL_CHUNKS && *out <= to; (*out)++) {
		for (fits = 0; fits < MODEL_CHUNKS; fits++)
			if (!matches(&found[fits], &r->history[*out].chunks[fits]))
				break;
		if (fits == MODEL_CHUNKS)
			break;
		best = MAX(best, fits);
	}
	for (unsigned i = 0; i < MIN(looked + 1, (unsigned)MODEL_CHUNKS); i++)
		store_op_clear(&found[i].versions);
	if (looked < MODEL_CHUNKS)
		return false;
	if (*out <= to)
		return true;
	problem(r,
		"no number of operations between %u and %u gives what is there (chunk %u: position "
		"%llu)",
		from, to, best + 1, (unsigned long long)found[best].info.position.generation);
	return false;
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

/* A cut: how, and behind which event. */
struct cut {
	enum mem_cut how;
	uint64_t events, seed;
	unsigned from, to; /* operations that must be, and may be, there */
};

static const char *name_of(enum mem_cut how)
{
	static const char *const names[] = {"lose", "keep", "mix", "tear"};

	return names[how];
}

/* Opens what a cut left; `at` is the number of operations that it holds. */
static bool check_disk(struct run *r, struct mem_disk *disk, const struct cut *cut,
		       const char *which, unsigned *at)
{
	struct opened o;
	char text[512];
	bool good;

	/* What was written without paging is opened with a page in memory as well. */
	driver_metadata_memory_bytes = r->options->metadata_memory_bytes;
	if (!driver_metadata_memory_bytes)
		driver_metadata_memory_bytes = (cut->events + cut->seed) % 3 == 0;
	o = driver_open(disk);
	driver_metadata_memory_bytes = r->options->metadata_memory_bytes;

	if (!o.store) {
		problem(r, "%s cut (%s) at event %llu (seed %llu): open: %s", which,
			name_of(cut->how), (unsigned long long)cut->events,
			(unsigned long long)cut->seed, o.why);
		return false;
	}
	good = check_store(r, disk, o.store, cut->from, cut->to, at);
	mem_disk_forget(disk);
	store_free(o.store);
	if (good)
		return true;
	snprintf(text, sizeof text, "%s", r->result->problem);
	r->result->problem[0] = 0;
	problem(r, "%s cut (%s) at event %llu (seed %llu): %s", which, name_of(cut->how),
		(unsigned long long)cut->events, (unsigned long long)cut->seed, text);
	return false;
}

/* The power goes off again while the disk is opened, or just after that: what was seen once is seen again. */
static void check_cut_again(struct run *r, const struct mem_disk *left, const struct cut *first)
{
	struct mem_disk *disk = mem_disk_over(left, first->seed);
	struct prng p = {first->seed};
	struct cut cut = *first;
	struct mem_cutter *cutter;
	struct mem_disk *second;
	struct opened o;
	uint64_t opened;
	unsigned at;

	mem_disk_record(disk);
	o = driver_open(disk);
	assert(o.store); /* as before */
	opened = mem_disk_events(disk);
	if (!check_store(r, disk, o.store, cut.from, cut.to, &at))
		at = cut.from;
	mem_disk_forget(disk);
	store_free(o.store);
	cut.events = prng_below(&p, opened + 1);
	cut.how = (enum mem_cut)prng_below(&p, 4);
	if (cut.events == opened)
		cut.from = cut.to = at;
	cutter = mem_cutter_new(disk);
	mem_cutter_move(cutter, cut.events);
	second = mem_cutter_cut(cutter, cut.how, cut.seed);
	r->result->states++;
	check_disk(r, second, &cut, "second", &at);
	mem_disk_free(second);
	mem_cutter_free(cutter);
	mem_disk_free(disk);
}

static void check_cut(struct run *r, struct mem_cutter *cutter, struct cut cut)
{
	struct mem_disk *left = mem_cutter_cut(cutter, cut.how, cut.seed);
	struct mem_disk *disk = mem_disk_over(left, cut.seed);
	unsigned at, again;

	r->result->states++;
	if (check_disk(r, disk, &cut, "a", &at)) {
		if (cut.seed % 4 == 0) {
			check_cut_again(r, left, &cut);
		} else if (cut.seed % 4 == 1) {
			cut.from = cut.to = at;
			check_disk(r, disk, &cut, "a second opening after a", &again);
		}
	}
	if (cut.seed % 8 == 0 && !r->result->problem[0])
		check_with_fsck(r, disk, cut.events);
	mem_disk_free(disk);
	mem_disk_free(left);
}

/* The operations that must be there after a cut behind so many events, and those that may. */
static struct cut cut_at(const struct run *r, uint64_t events)
{
	struct cut cut = {.how = MEM_CUT_LOSE, .events = events};

	while (cut.from < r->count && r->steps[cut.from].completed &&
	       r->steps[cut.from].completed_at <= events)
		cut.from++;
	/* Submitted in the callback of the last event counts as submitted before. */
	while (cut.to < r->count && r->steps[cut.to].submitted_at <= events)
		cut.to++;
	return cut;
}

static void check_cuts(struct run *r, struct mem_cutter *cutter, uint64_t events)
{
	const struct crash_options *o = r->options;
	struct cut cut = cut_at(r, events);

	mem_cutter_move(cutter, events);
	check_cut(r, cutter, cut);
	if (!mem_cutter_open(cutter))
		return;
	cut.how = MEM_CUT_KEEP;
	cut.seed = 1;
	check_cut(r, cutter, cut);
	for (unsigned i = 0; i < o->mixes && !r->result->problem[0]; i++) {
		cut.how = MEM_CUT_MIX;
		cut.seed = events * 1000 + i;
		check_cut(r, cutter, cut);
	}
	for (unsigned i = 0; i < o->tears && !r->result->problem[0]; i++) {
		cut.how = MEM_CUT_TEAR;
		cut.seed = events * 1000 + 500 + i;
		check_cut(r, cutter, cut);
	}
}

static void check_all_cuts(struct run *r)
{
	struct mem_cutter *cutter = mem_cutter_new(r->disk);

	for (uint64_t e = r->begun; e <= mem_disk_events(r->disk) && !r->result->problem[0];
	     e += r->options->every)
		check_cuts(r, cutter, e);
	mem_cutter_free(cutter);
}

static void forget_steps(struct run *r)
{
	free(r->steps);
	free(r->history);
	r->steps = NULL;
	r->history = NULL;
	r->count = r->completed = 0;
}

/* Puts a disk that some cut may have left in the place of the recorded one, opened. */
static void go_on_from_a_cut(struct run *r)
{
	struct cut cut = cut_at(r, pick(r, mem_disk_events(r->disk) + 1));
	struct mem_cutter *cutter = mem_cutter_new(r->disk);
	struct mem_disk *left, *copy;
	unsigned at = 0;

	cut.how = pick(r, 2) ? MEM_CUT_MIX : MEM_CUT_TEAR;
	cut.seed = r->options->seed;
	mem_cutter_move(cutter, cut.events);
	left = mem_cutter_cut(cutter, cut.how, cut.seed);
	copy = mem_disk_copy(left, cut.seed);
	mem_disk_free(left);
	mem_cutter_free(cutter);
	mem_disk_free(r->disk);
	r->disk = copy;
	mem_disk_record(r->disk);
	open_store(r);
	if (!r->store || !check_store(r, r->disk, r->store, cut.from, cut.to, &at))
		return;
	r->now = r->history[at];
	/* Before it was open nobody had seen which of the possible states it is (check_cut_again looks at that time). */
	r->begun = mem_disk_events(r->disk);
	forget_steps(r);
}

void crash_run(const struct crash_options *options, struct crash_result *result)
{
	struct run r = {.options = options, .result = result, .prng = {options->seed}};

	*result = (struct crash_result){0};
	driver_metadata_memory_bytes = options->metadata_memory_bytes;
	prepare(&r);
	for (unsigned round = 1; !result->problem[0]; round++) {
		record(&r);
		if (!result->problem[0])
			check_all_cuts(&r);
		if (round >= options->rounds || result->problem[0])
			break;
		go_on_from_a_cut(&r);
	}
	if (r.store)
		store_free(r.store);
	mem_disk_free(r.disk);
	forget_steps(&r);
	free(r.early);
	driver_metadata_memory_bytes = 0;
}
