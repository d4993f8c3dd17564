/*
 * fake_store.h - a store for the tests of the replica core. It does at submission what the real one does to its
 * memory, and completes the oldest operation when told, so that a test decides what is durable when. Content is one byte a
 * block. Included by one .c file of a test program; it defines the store_* functions that the core calls.
 */
#ifndef COPYHOLD_FAKE_STORE_H
#define COPYHOLD_FAKE_STORE_H

#include "common/base/bits.h"
#include "common/base/crc.h"
#include "common/base/prng.h"
#include "replica-engine/store/store.h"

#include <stdlib.h>

#define FAKE_CHUNKS      8
#define FAKE_CHUNK_BYTES (4 * MIB)
#define FAKE_UNITS       (FAKE_CHUNK_BYTES / UNIT_BYTES)

struct fake_chunk {
	bool here;
	struct store_chunk info;
	struct version versions[FAKE_UNITS];
	bool invalid[FAKE_UNITS];
	uint8_t fill[FAKE_CHUNK_BYTES / BLOCK_BYTES];
};

struct store {
	struct fake_chunk chunks[FAKE_CHUNKS]; /* by id */
	uint64_t tombstones[FAKE_CHUNKS];
	TAILQ_HEAD(, store_op) queue;
	enum store_status fail_writes; /* what mutations end with; STORE_OK: they work */
	uint16_t bad_mask;             /* blocks of unit 0 that are bad */
	bool failed;
	uint64_t free_bytes;
};

static inline struct fake_chunk *fake_chunk(struct store *s, uint64_t id)
{
	assert(id < FAKE_CHUNKS);
	return &s->chunks[id];
}

bool store_chunk_get(const struct store *s, uint64_t chunk, struct store_chunk *out)
{
	const struct fake_chunk *c = &s->chunks[chunk % FAKE_CHUNKS];

	if (chunk >= FAKE_CHUNKS || !c->here)
		return false;
	*out = c->info;
	out->digest = 0;
	out->invalid_units = 0;
	for (uint32_t i = 0; i < FAKE_UNITS; i++) {
		out->digest += mix64(c->versions[i].epoch * 1000 + c->versions[i].generation) *
			       (c->versions[i].epoch != 0);
		out->invalid_units += c->invalid[i];
	}
	return true;
}

uint64_t store_tombstone(const struct store *s, uint64_t chunk)
{
	return chunk < FAKE_CHUNKS ? s->tombstones[chunk] : 0;
}

struct store_counters store_counters(const struct store *s)
{
	return (struct store_counters){.free_bytes = s->free_bytes, .capacity_bytes = GIB};
}

bool store_failed(const struct store *s)
{
	return s->failed;
}

void store_op_clear(struct store_op *op)
{
	free(op->versions);
	free(op->invalid);
	free(op->allocated);
	op->versions = NULL;
	op->invalid = NULL;
	op->allocated = NULL;
	if (op->kind == STORE_READ)
		slice_unref(&op->data);
}

static void fake_create(struct store *s, struct store_op *op)
{
	struct fake_chunk *c = fake_chunk(s, op->chunk);

	if (!c->here) {
		*c = (struct fake_chunk){.here = true};
		c->info.chunk = op->chunk;
		c->info.root_chunk = op->root_chunk;
		c->info.chunk_bytes = op->chunk_bytes;
		c->info.unit_count = FAKE_UNITS;
	}
	c->info.epoch = MAX(c->info.epoch, op->epoch);
	c->info.commit = MAX(c->info.commit, op->commit);
}

static void fake_write(struct fake_chunk *c, struct store_op *op)
{
	for (uint32_t i = 0; i < op->bytes / BLOCK_BYTES; i++)
		c->fill[op->offset / BLOCK_BYTES + i] =
			op->kind == STORE_WRITE ? slice_data(op->data)[i * BLOCK_BYTES] : 0;
	for (uint32_t u = op->offset / UNIT_BYTES; u <= (op->offset + op->bytes - 1) / UNIT_BYTES;
	     u++)
		c->versions[u] = op->position;
	c->info.position = op->position;
}

static void fake_copy(struct fake_chunk *c, struct store_op *op)
{
	if (!op->roll && !c->invalid[op->unit]) {
		op->status = STORE_NOT_APPLIED;
		return;
	}
	c->versions[op->unit] = op->position;
	c->invalid[op->unit] = false;
	for (uint32_t i = 0; i < UNIT_BLOCKS; i++)
		c->fill[op->unit * UNIT_BLOCKS + i] =
			(op->zero_mask >> i & 1) ? 0 : slice_data(op->data)[i * BLOCK_BYTES];
}

static void fake_repair(struct store *s, struct fake_chunk *c, struct store_op *op)
{
	if (!version_equal(c->versions[op->unit], op->position) ||
	    !(s->bad_mask & op->block_mask)) {
		op->status = STORE_NOT_APPLIED;
		return;
	}
	s->bad_mask &= (uint16_t)~op->block_mask;
}

static void fake_read(struct store *s, struct fake_chunk *c, struct store_op *op)
{
	uint32_t first = op->offset / BLOCK_BYTES, blocks = op->bytes / BLOCK_BYTES;

	for (uint32_t i = 0; i < blocks; i++)
		if (c->invalid[(first + i) / UNIT_BLOCKS]) {
			op->status = STORE_INVALID_UNIT;
			return;
		}
	op->data = slice_new(op->bytes);
	op->version = c->versions[op->offset / UNIT_BYTES];
	for (uint32_t i = 0; i < blocks; i++) {
		uint8_t *at = slice_data(op->data) + (size_t)i * BLOCK_BYTES;

		memset(at, c->fill[first + i], BLOCK_BYTES);
		op->crcs[i] = crc_block(c->info.root_chunk, first + i, at);
		if (first + i < UNIT_BLOCKS && (s->bad_mask >> (first + i) & 1)) {
			bit_set(op->bad_blocks, i);
			op->any_bad = true;
			op->status = STORE_BAD_BLOCK;
		}
	}
}

static void fake_versions(struct fake_chunk *c, struct store_op *op)
{
	op->unit_count = FAKE_UNITS;
	op->invalid_count = 0;
	op->invalid = xcalloc(FAKE_UNITS / 8, 1);
	if (op->kind == STORE_VERSIONS) {
		op->versions = xmalloc(sizeof c->versions);
		memcpy(op->versions, c->versions, sizeof c->versions);
	}
	for (uint32_t i = 0; i < FAKE_UNITS; i++) {
		if (op->kind == STORE_INVALIDATE &&
		    !version_equal(op->in_versions[i], c->versions[i]))
			c->invalid[i] = true;
		if (c->invalid[i]) {
			bit_set(op->invalid, i);
			op->invalid_count++;
		}
	}
}

static void fake_mutate(struct store *s, struct fake_chunk *c, struct store_op *op)
{
	switch (op->kind) {
	case STORE_CREATE:
		fake_create(s, op);
		break;
	case STORE_DELETE:
		c->here = false;
		s->tombstones[op->chunk] = op->commit;
		break;
	case STORE_FENCE:
		c->info.epoch = MAX(c->info.epoch, op->epoch);
		break;
	case STORE_START:
		c->info.base_generation = op->position.generation;
		break;
	case STORE_MEND_BEGIN:
		c->info.mending = true;
		break;
	case STORE_MEND_END:
	case STORE_JOIN:
		c->info.mending = false;
		c->info.position = op->position;
		c->info.base_generation = op->position.generation;
		break;
	case STORE_INVALIDATE:
		fake_versions(c, op);
		break;
	case STORE_WRITE:
	case STORE_ZERO:
	case STORE_DISCARD:
		fake_write(c, op);
		break;
	case STORE_COPY:
		fake_copy(c, op);
		break;
	case STORE_REPAIR:
		fake_repair(s, c, op);
		break;
	default:
		assert(false);
	}
}

void store_submit(struct store *s, struct store_op *op)
{
	struct fake_chunk *c = fake_chunk(s, op->chunk);

	op->status = STORE_OK;
	TAILQ_INSERT_TAIL(&s->queue, op, link);
	if (!c->here && op->kind != STORE_CREATE && op->kind != STORE_DELETE)
		op->status = STORE_NOT_FOUND;
	else if (op->kind == STORE_READ)
		fake_read(s, c, op);
	else if (op->kind == STORE_VERSIONS)
		fake_versions(c, op);
	else if (s->fail_writes)
		op->status = s->fail_writes;
	else
		fake_mutate(s, c, op);
}

#endif
