/* store_inspect.c - prints superblocks, checkpoint headers, the journal, the chunks, and the units of one chunk. */
#include "replica-engine/store/store_tools.h"
#include "replica-engine/store/raw_look.h"

#include <inttypes.h>
#include <stdarg.h>

#define BATCHES_PRINTED 64u

struct inspecting {
	struct raw_look raw;
	uint64_t chunk;
	store_line_fn *line;
	store_inspect_done_fn *done;
	void *context;
};

static void say(struct inspecting *i, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say(struct inspecting *i, const char *format, ...)
{
	va_list arguments;
	char text[512];

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	i->line(i->context, text);
}

static void say_super(struct inspecting *i, unsigned copy)
{
	const struct disk_superblock *s = raw_look_super(&i->raw, copy);
	char disk[UUID_TEXT_BYTES], cluster[UUID_TEXT_BYTES];
	struct uuid id;

	say(i, "superblock %u: %s", copy,
	    i->raw.super_problem[copy] ? i->raw.super_problem[copy]
	    : i->raw.super == s        ? "valid, the one that counts"
				       : "valid");
	if (i->raw.super != s)
		return;
	memcpy(id.bytes, s->disk, sizeof id.bytes);
	uuid_format(id, disk);
	memcpy(id.bytes, s->cluster, sizeof id.bytes);
	uuid_format(id, cluster);
	say(i, "  format %u, disk %s, cluster %s, chunk server %u, sequence %" PRIu64,
	    s->format_version, disk, cluster, s->cid, s->sequence);
	say(i,
	    "  %" PRIu64 " bytes: journal at %" PRIu64 " (%" PRIu64 "), metadata at %" PRIu64
	    " (%" PRIu64 "), data at %" PRIu64 " (%" PRIu64 " units)",
	    s->size_bytes, s->journal_offset, s->journal_bytes, s->metadata_offset,
	    s->metadata_bytes, s->data_offset, s->unit_count);
}

static void say_checkpoint(struct inspecting *i, unsigned copy)
{
	const struct disk_checkpoint *h = raw_look_checkpoint(&i->raw, copy);

	if (i->raw.checkpoint_problem[copy]) {
		say(i, "checkpoint header %u: %s", copy, i->raw.checkpoint_problem[copy]);
		return;
	}
	say(i,
	    "checkpoint header %u: sequence %" PRIu64 ", mount %" PRIu64 ", operation %" PRIu64
	    ", tail at %" PRIu64 " (batch %" PRIu64 "), %u root pages%s",
	    copy, h->sequence, h->mount, h->operation, h->tail_position, h->tail_sequence,
	    h->root_count, h->clean ? ", clean" : "");
}

static void say_journal(struct inspecting *i, struct store *store)
{
	const struct journal *j = &store->journal;

	say(i,
	    "journal: %" PRIu64 " batches, bytes %" PRIu64 " to %" PRIu64 ", %" PRIu64
	    " blocks not at home",
	    j->ring_count, j->tail, j->head, store->dirty.count);
	for (uint64_t n = 0; n < j->ring_count; n++) {
		const struct batch_info *b = journal_info(store, n);

		if (n == BATCHES_PRINTED / 2 && j->ring_count > BATCHES_PRINTED) {
			n = j->ring_count - BATCHES_PRINTED / 2;
			say(i, "  ...");
		}
		say(i,
		    "  batch %" PRIu64 " at offset %" PRIu64 ": %u bytes, operations to %" PRIu64
		    ", %u blocks not at home",
		    b->sequence, journal_ring_offset(store, b->position), b->bytes,
		    b->last_operation, b->live);
	}
}

static void say_unit(struct inspecting *i, const struct store *store, const struct disk_unit *u,
		     uint32_t unit)
{
	char place[80] = "no place";

	if (u->place)
		snprintf(place, sizeof place,
			 "place %u at offset %" PRIu64 ", %u references, %u blocks in the journal",
			 u->place - 1, place_offset(store, u->place - 1), store->refs[u->place - 1],
			 store->dirty.per_place[u->place - 1]);
	say(i, "  unit %u: version %" PRIu64 ".%" PRIu64 ", data %04x, bad %04x%s, %s", unit,
	    u->epoch, u->generation, u->data_mask, u->bad_mask,
	    u->flags & UNIT_INVALID ? ", invalid" : "", place);
}

static void say_chunks(struct inspecting *i, struct store *store)
{
	struct store_chunk c;

	for (uint64_t id = 0; store_chunk_next(store, &id, &c); id++)
		say(i,
		    "chunk %" PRIu64 ": root %" PRIu64 ", %" PRIu64 " bytes, fence %" PRIu64
		    ", position %" PRIu64 ".%" PRIu64 ", base %" PRIu64 ", commit %" PRIu64
		    "%s, %u units invalid, %" PRIu64 " bytes allocated",
		    c.chunk, c.root_chunk, c.chunk_bytes, c.epoch, c.position.epoch,
		    c.position.generation, c.base_generation, c.commit,
		    c.mending ? ", mending" : "", c.invalid_units, c.allocated_bytes);
	for (const struct chunk *t = store->chunks; t; t = t->hh.next)
		if (!t->now.exists)
			say(i, "chunk %" PRIu64 ": deleted, commit %" PRIu64, t->id, t->now.commit);
}

static void opened(void *context, int status, const char *why, struct store *store)
{
	struct inspecting *i = context;
	const struct chunk *c;

	if (status) {
		say(i, "the disk can't be opened: %s", why);
	} else {
		say_journal(i, store);
		say_chunks(i, store);
		c = i->chunk ? chunk_find(store, i->chunk) : NULL;
		if (i->chunk && (!c || !c->now.exists))
			say(i, "chunk %" PRIu64 " isn't here", i->chunk);
		for (uint32_t unit = 0; c && unit < c->unit_count; unit++)
			if (unit_find(c, unit) &&
			    (unit_find(c, unit)->epoch || unit_find(c, unit)->flags))
				say_unit(i, store, unit_find(c, unit), unit);
		store_free(store);
	}
	i->done(i->context, status);
	free(i);
}

static void looked(struct raw_look *raw)
{
	struct inspecting *i = raw->context;

	for (unsigned copy = 0; copy < 2; copy++)
		say_super(i, copy);
	for (unsigned copy = 0; raw->super && copy < 2; copy++)
		say_checkpoint(i, copy);
	raw_look_end(raw);
	store_open(raw->disk, &(struct store_options){.read_only = true}, opened, i);
}

void store_inspect(struct io_disk *disk, uint64_t chunk, store_line_fn *line,
		   store_inspect_done_fn *done, void *context)
{
	struct inspecting *i = xcalloc(1, sizeof *i);

	i->chunk = chunk;
	i->line = line;
	i->done = done;
	i->context = context;
	raw_look_start(&i->raw, disk, looked, i);
}
