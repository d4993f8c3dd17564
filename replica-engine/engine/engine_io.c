/*
 * engine_io.c - users' requests: cut into parts of one chunk, put together again, completed.
 *
 * A request is cut at chunk borders, at IO_BYTES_MAX and, if it changes data, at block borders: an unaligned write becomes at most a
 * part inside its first block, whole blocks, and a part inside its last one. Parts of chunks that do not exist need no message: they read
 * as zeros, and zeroing or discarding them changes nothing, as long as metad's grant says that nobody else can have
 * made them meanwhile.
 */
#include "common/base/bits.h"
#include "replica-engine/engine/engine_private.h"

#include <errno.h>
#include <stdlib.h>

#define ENGINE_BYTES_MAX (64 * MIB)

/* As an owner wants to get it. Not the arrays: they are filled before they are looked at. */
static void part_reset(struct part *part)
{
	part->r.crcs_valid = part->r.queued = part->r.merged = part->r.partial = false;
	part->r.tried = part->r.bad_slots = part->r.answered = 0;
	part->r.generation = part->r.id = 0;
	part->r.data = (struct slice){0};
}

static struct part *part_new(struct engine *e)
{
	struct part *part = TAILQ_FIRST(&e->free_parts);

	if (!part)
		return xcalloc(1, sizeof *part);
	TAILQ_REMOVE(&e->free_parts, part, link);
	part_reset(part);
	part->chunk = NULL;
	part->waits = false;
	part->extents = NULL;
	part->request = NULL;
	return part;
}

void engine_part_forget(struct part *part)
{
	slice_unref(&part->r.data);
	if (part->extents)
		free(part->extents->extents);
	free(part->extents);
	free(part);
}

void engine_parts_forget(struct parts *parts)
{
	struct part *part;

	while ((part = TAILQ_FIRST(parts))) {
		TAILQ_REMOVE(parts, part, link);
		engine_part_forget(part);
	}
}

static void part_free(struct engine *e, struct part *part)
{
	TAILQ_INSERT_HEAD(&e->free_parts, part, link);
}

void engine_io_free(struct engine *e)
{
	struct part *part;
	struct extents_call *call;

	while ((part = TAILQ_FIRST(&e->free_parts))) {
		TAILQ_REMOVE(&e->free_parts, part, link);
		free(part);
	}
	while ((call = TAILQ_FIRST(&e->finished_extents))) {
		TAILQ_REMOVE(&e->finished_extents, call, link);
		free(call->extents);
		free(call);
	}
}

static int status_errno(enum wire_status status)
{
	switch (status) {
	case WIRE_OK:
		return 0;
	case WIRE_FENCED:
	case WIRE_NOT_OWNER:
		return -ESHUTDOWN;
	case WIRE_NO_SPACE:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

static void request_part_left(struct engine *e, struct engine_request *q, int status)
{
	if (status && !q->status)
		q->status = status;
	assert(q->parts_left > 0);
	if (--q->parts_left)
		return;
	q->volume->under_way--;
	if (q->deadline_ns)
		TAILQ_REMOVE(&e->timed, q, link);
	TAILQ_INSERT_TAIL(&e->finished, q, link);
	engine_defer(e);
}

static void take_read(struct part *part)
{
	uint8_t *to = (uint8_t *)part->request->memory + part->memory_offset;

	if (part->r.data.buf)
		memcpy(to, slice_data(part->r.data), part->r.bytes);
	else
		memset(to, 0, part->r.bytes);
	slice_unref(&part->r.data);
}

static void extents_add(struct extents_call *call, uint64_t bytes, bool hole)
{
	if (call->count && call->extents[call->count - 1].hole == hole) {
		call->extents[call->count - 1].bytes += bytes;
		return;
	}
	call->extents = xrealloc(call->extents, (call->count + 1) * sizeof *call->extents);
	call->extents[call->count++] = (struct engine_extent){bytes, hole};
}

static void extents_done(struct engine *e, struct part *part, enum wire_status status)
{
	struct extents_call *call = part->extents;
	uint64_t offset = part->r.offset, end = offset + call->bytes;

	call->status = status_errno(status);
	while (status == WIRE_OK && offset < end) {
		uint64_t unit = offset / UNIT_BYTES;
		uint64_t next = MIN(end, (unit + 1) * UNIT_BYTES);
		bool data = part->r.extents && bit_get(part->r.extents, unit);

		extents_add(call, next - offset, !data);
		offset = next;
	}
	TAILQ_INSERT_TAIL(&e->finished_extents, call, link);
	part->volume->under_way--;
	part_free(e, part);
	engine_defer(e);
}

void engine_part_done(struct engine *e, struct part *part, enum wire_status status)
{
	struct engine_request *q = part->request;

	if (part->extents) {
		extents_done(e, part, status);
		return;
	}
	if (!q) {
		slice_unref(&part->r.data);
		part_free(e, part);
		return;
	}
	if (q->deadline_ns)
		LIST_REMOVE(part, of_request);
	if (part->r.operation == OWNER_READ && status == WIRE_OK)
		take_read(part);
	slice_unref(&part->r.data);
	if (status != WIRE_OK && status != WIRE_FENCED && status != WIRE_NO_SPACE) {
		if (part->r.operation == OWNER_READ)
			e->counters.read_errors++;
		else
			e->counters.write_errors++;
	}
	part_free(e, part);
	request_part_left(e, q, status_errno(status));
}

void engine_parts_fail(struct engine *e, struct parts *parts, enum wire_status status)
{
	struct part *part;

	while ((part = TAILQ_FIRST(parts))) {
		TAILQ_REMOVE(parts, part, link);
		slice_unref(&part->r.data);
		engine_part_done(e, part, status);
	}
}

/* Nothing of it was sent: it never happens. A generation that was sent settles without its user. */
static void part_expire(struct engine *e, struct part *part)
{
	struct owner_event event = {.kind = OWNER_EVENT_CANCEL, .request = &part->r};
	struct chunk *c = part->chunk;

	part->request = NULL;
	if (c && !part->waits) {
		engine_chunk_event(c, &event);
		return;
	}
	TAILQ_REMOVE(c ? &c->waiting : &part->volume->ungranted, part, link);
	engine_part_done(e, part, WIRE_IO_ERROR);
}

void engine_requests_expire(struct engine *e)
{
	uint64_t now = engine_now_ns(e);
	struct engine_request *q;
	struct part *part;

	while ((q = TAILQ_FIRST(&e->timed)) && now >= q->deadline_ns) {
		TAILQ_REMOVE(&e->timed, q, link);
		q->deadline_ns = 0;
		while ((part = LIST_FIRST(&q->parts))) {
			LIST_REMOVE(part, of_request);
			q->parts_left--;
			part_expire(e, part);
		}
		if (q->operation == ENGINE_READ)
			e->counters.read_errors++;
		else
			e->counters.write_errors++;
		q->parts_left++;
		request_part_left(e, q, -EIO);
	}
}

void engine_run_finished(struct engine *e)
{
	struct engine_request *q;
	struct extents_call *call;

	while ((q = TAILQ_FIRST(&e->finished))) {
		TAILQ_REMOVE(&e->finished, q, link);
		q->done(q);
	}
	while ((call = TAILQ_FIRST(&e->finished_extents))) {
		TAILQ_REMOVE(&e->finished_extents, call, link);
		call->done(call->context, call->status, call->extents, call->count);
		free(call->extents);
		free(call);
	}
}

/* The chunk in use at an index, or one made from the table; NULL: it does not exist. */
static struct chunk *chunk_at(struct engine_volume *v, uint64_t index)
{
	const struct table_entry *entry;
	struct chunk *c;

	HASH_FIND(by_index, v->chunks, &index, sizeof index, c);
	if (c || !(entry = engine_table_find(v, index)))
		return c;
	c = engine_chunk_new(v->engine, v, index);
	engine_chunk_identify(c, entry->chunk, entry->root_chunk, v->info.chunk_bytes);
	return c;
}

/* A part of a chunk that does not exist, under metad's grant. */
static void part_of_nothing(struct engine_volume *v, struct part *part)
{
	if (part->request && part->request->operation == ENGINE_WRITE) {
		engine_chunk_submit(engine_chunk_new(v->engine, v, part->index), part);
		return;
	}
	slice_unref(&part->r.data);
	engine_part_done(v->engine, part, WIRE_OK);
}

static void part_submit(struct engine_volume *v, struct part *part)
{
	struct chunk *c = chunk_at(v, part->index);

	if (v->state == VOLUME_LOST) {
		slice_unref(&part->r.data);
		engine_part_done(v->engine, part, WIRE_FENCED);
	} else if (c) {
		engine_chunk_submit(c, part);
	} else if (engine_volume_granted(v)) {
		part_of_nothing(v, part);
	} else {
		TAILQ_INSERT_TAIL(&v->ungranted, part, link);
		engine_tick_start(v->engine);
	}
}

void engine_allocation_failed(struct chunk *c)
{
	struct parts parts = TAILQ_HEAD_INITIALIZER(parts);
	struct engine_volume *v = c->volume;
	struct part *part, *next;

	TAILQ_CONCAT(&parts, &c->waiting, link);
	engine_chunk_free(c);
	TAILQ_FOREACH_SAFE (part, &parts, link, next) {
		part->chunk = NULL;
		if (part->request && part->request->operation == ENGINE_WRITE) {
			TAILQ_REMOVE(&parts, part, link);
			slice_unref(&part->r.data);
			engine_part_done(v->engine, part, WIRE_NO_SPACE);
		}
	}
	while ((part = TAILQ_FIRST(&parts))) {
		TAILQ_REMOVE(&parts, part, link);
		part_submit(v, part);
	}
}

void engine_parts_granted(struct engine_volume *v)
{
	struct parts parts = TAILQ_HEAD_INITIALIZER(parts);
	struct part *part;

	if (!engine_volume_granted(v))
		return;
	TAILQ_CONCAT(&parts, &v->ungranted, link);
	while ((part = TAILQ_FIRST(&parts))) {
		TAILQ_REMOVE(&parts, part, link);
		part_submit(v, part);
	}
}

/* Bytes of the next part from offset on. */
static uint64_t part_bytes(const struct engine_volume *v, enum engine_operation operation,
			   uint64_t offset, uint64_t left)
{
	uint64_t bytes = MIN(left, v->info.chunk_bytes - offset % v->info.chunk_bytes);

	bytes = MIN(bytes, IO_BYTES_MAX);
	if (operation == ENGINE_READ) {
		/* rounded out to blocks it must not be more than IO_BYTES_MAX */
		if (offset % BLOCK_BYTES + bytes > IO_BYTES_MAX)
			bytes = IO_BYTES_MAX - offset % BLOCK_BYTES;
		return bytes;
	}
	if (offset % BLOCK_BYTES)
		return MIN(bytes, BLOCK_BYTES - offset % BLOCK_BYTES);
	return bytes < BLOCK_BYTES ? bytes : ROUND_DOWN(bytes, BLOCK_BYTES);
}

static void part_fill(struct part *part, const struct engine_request *q, uint64_t done,
		      uint64_t bytes)
{
	static const enum owner_operation operations[] = {
		[ENGINE_READ] = OWNER_READ,
		[ENGINE_WRITE] = OWNER_WRITE,
		[ENGINE_ZERO] = OWNER_ZERO,
		[ENGINE_DISCARD] = OWNER_DISCARD,
	};
	bool whole = part->r.offset % BLOCK_BYTES == 0 && bytes % BLOCK_BYTES == 0;

	part->r.operation = operations[q->operation];
	part->r.bytes = (uint32_t)bytes;
	part->memory_offset = done;
	if (q->operation == ENGINE_WRITE) {
		part->r.data = slice_new(bytes);
		memcpy(slice_data(part->r.data), (const uint8_t *)q->memory + done, bytes);
	} else if (q->operation != ENGINE_READ && !whole) {
		part->r.operation = OWNER_WRITE; /* below a block zeros are written */
		part->r.data = slice_new(bytes);
		memset(slice_data(part->r.data), 0, bytes);
	}
}

bool engine_part_again(struct part *part, enum wire_status status)
{
	const struct engine_volume *v = part->volume;
	struct slice data;

	if (status != WIRE_FENCED || v->state != VOLUME_ATTACHED ||
	    (!part->request && !part->extents))
		return false;
	data = part->r.data;
	part_reset(part);
	part->r.data = data;
	part->r.extents = NULL;
	return true;
}

void engine_submit(struct engine_volume *v, struct engine_request *q)
{
	struct engine *e = v->engine;
	uint64_t done = 0;

	assert(q->bytes > 0 && q->bytes <= ENGINE_BYTES_MAX);
	assert(q->offset < v->info.size_bytes && q->bytes <= v->info.size_bytes - q->offset);
	assert(v->state != VOLUME_DETACHING);
	q->volume = v;
	q->status = 0;
	q->parts_left = 1; /* ours, until all parts are under way */
	q->deadline_ns = 0;
	if (e->options.io_timeout_ns) {
		q->deadline_ns = engine_now_ns(e) + e->options.io_timeout_ns;
		LIST_INIT(&q->parts);
		TAILQ_INSERT_TAIL(&e->timed, q, link);
		engine_tick_start(e);
	}
	v->under_way++;
	if (q->operation == ENGINE_READ) {
		e->counters.reads++;
		e->counters.read_bytes += q->bytes;
	} else {
		e->counters.writes++;
		e->counters.write_bytes += q->bytes;
	}
	while (done < q->bytes) {
		uint64_t offset = q->offset + done;
		uint64_t bytes = part_bytes(v, q->operation, offset, q->bytes - done);
		struct part *part = part_new(e);

		part->request = q;
		if (q->deadline_ns)
			LIST_INSERT_HEAD(&q->parts, part, of_request);
		part->volume = v;
		part->index = offset / v->info.chunk_bytes;
		part->r.offset = (uint32_t)(offset % v->info.chunk_bytes);
		part_fill(part, q, done, bytes);
		q->parts_left++;
		done += bytes;
		part_submit(v, part);
	}
	request_part_left(e, q, 0);
	if (!e->depth) {
		engine_send_leases(e);
		engine_defer(e);
	}
}

void engine_extents(struct engine_volume *v, uint64_t offset, uint64_t bytes,
		    void (*done)(void *context, int status, const struct engine_extent *extents,
				 size_t count),
		    void *context)
{
	struct engine *e = v->engine;
	struct extents_call *call = xcalloc(1, sizeof *call);
	uint64_t chunk_bytes = v->info.chunk_bytes;
	struct chunk *c = chunk_at(v, offset / chunk_bytes);
	struct part *part;

	call->done = done;
	call->context = context;
	call->offset = offset;
	call->bytes = MIN(bytes, chunk_bytes - offset % chunk_bytes);
	if (v->state == VOLUME_LOST || !c) {
		call->status = v->state == VOLUME_LOST ? -ESHUTDOWN : 0;
		/* Without metad's grant another engine may have written there. */
		extents_add(call, call->bytes, engine_volume_granted(v));
		TAILQ_INSERT_TAIL(&e->finished_extents, call, link);
		engine_defer(e);
		return;
	}
	part = part_new(e);
	part->volume = v;
	part->extents = call;
	part->index = offset / chunk_bytes;
	part->r.operation = OWNER_EXTENTS;
	part->r.offset = (uint32_t)(offset % chunk_bytes);
	part->r.bytes = (uint32_t)call->bytes;
	part->r.extents = NULL;
	v->under_way++;
	engine_chunk_submit(c, part);
	if (!e->depth)
		engine_send_leases(e);
}
