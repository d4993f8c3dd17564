/* store_model.c - see store_model.h. */
#include "tests/lib/store_model.h"

static void set_valid(struct model_unit *u, uint16_t mask)
{
	if (!u->invalid)
		return;
	u->valid_mask |= mask;
	if (u->valid_mask == UINT16_MAX) {
		u->invalid = false;
		u->valid_mask = 0;
	}
}

static void apply_range(struct model_chunk *c, const struct store_op *op, uint32_t tag)
{
	for (uint32_t block = op->offset / BLOCK_BYTES;
	     block < (op->offset + op->bytes) / BLOCK_BYTES; block++) {
		struct model_unit *u = &c->units[block / UNIT_BLOCKS];
		uint16_t bit = (uint16_t)(1u << (block % UNIT_BLOCKS));

		u->tags[block % UNIT_BLOCKS] = tag;
		u->bad_mask &= (uint16_t)~bit;
		u->version = op->position;
		set_valid(u, bit);
	}
	c->position = op->position;
}

static enum store_status apply_copy(struct model_chunk *c, const struct store_op *op, uint32_t tag)
{
	struct model_unit *u = &c->units[op->unit];
	uint16_t keep = op->roll || !u->invalid ? 0 : u->valid_mask;

	if (!op->roll && !u->invalid)
		return STORE_NOT_APPLIED;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		uint16_t bit = (uint16_t)(1u << b);

		if (keep & bit)
			continue;
		u->bad_mask = (uint16_t)((u->bad_mask & ~bit) | (op->bad_mask & bit));
		u->tags[b] = (op->zero_mask | op->bad_mask) & bit ? 0 : tag;
	}
	if (!keep || version_compare(u->version, op->position) < 0)
		u->version = op->position;
	u->invalid = false;
	u->valid_mask = 0;
	return STORE_OK;
}

static enum store_status apply_repair(struct model_chunk *c, const struct store_op *op,
				      uint32_t tag)
{
	struct model_unit *u = &c->units[op->unit];

	if (u->invalid || !version_equal(u->version, op->position) ||
	    (!op->position.epoch && !op->position.generation))
		return STORE_NOT_APPLIED;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++)
		if (op->block_mask >> b & 1)
			u->tags[b] = tag;
	u->bad_mask &= (uint16_t)~op->block_mask;
	return STORE_OK;
}

static void apply_invalidate(struct model_chunk *c, const struct store_op *op)
{
	for (uint32_t i = 0; i < MODEL_UNITS; i++) {
		struct model_unit *u = &c->units[i];

		if (!u->invalid && version_equal(u->version, op->in_versions[i]))
			continue;
		u->invalid = true;
		u->valid_mask = 0;
	}
}

static enum store_status apply_clone(struct model *m, const struct store_op *op)
{
	struct model_chunk *to = &m->chunks[op->chunk - 1];
	const struct model_chunk *from = &m->chunks[op->origin - 1];
	uint64_t commit = MAX(to->commit, op->commit);

	if (to->exists)
		return STORE_EXISTS;
	if (!from->exists)
		return STORE_NOT_FOUND;
	*to = *from;
	to->epoch = op->epoch;
	to->commit = commit;
	return STORE_OK;
}

static void apply_create(struct model_chunk *c, const struct store_op *op)
{
	if (!c->exists) {
		*c = (struct model_chunk){.commit = c->commit};
		c->exists = true;
		c->root_chunk = op->root_chunk;
	}
	c->epoch = MAX(c->epoch, op->epoch);
	c->commit = MAX(c->commit, op->commit);
}

static enum store_status apply_existing(struct model_chunk *c, const struct store_op *op,
					uint32_t tag)
{
	switch (op->kind) {
	case STORE_FENCE:
		c->epoch = MAX(c->epoch, op->epoch);
		return STORE_OK;
	case STORE_MEND_BEGIN:
		c->mending = true;
		return STORE_OK;
	case STORE_MEND_END:
	case STORE_JOIN:
		c->mending = false;
		c->position = op->position;
		c->base_generation = op->position.generation;
		return STORE_OK;
	case STORE_START:
		c->base_generation = op->position.generation;
		return STORE_OK;
	case STORE_INVALIDATE:
		apply_invalidate(c, op);
		return STORE_OK;
	case STORE_WRITE:
		apply_range(c, op, tag);
		return STORE_OK;
	case STORE_ZERO:
	case STORE_DISCARD:
		apply_range(c, op, 0);
		return STORE_OK;
	case STORE_COPY:
		return apply_copy(c, op, tag);
	case STORE_REPAIR:
		return apply_repair(c, op, tag);
	default:
		assert(!"no mutation of a chunk");
		return STORE_OK;
	}
}

enum store_status model_apply(struct model *m, const struct store_op *op, uint32_t tag)
{
	struct model_chunk *c = &m->chunks[op->chunk - 1];

	switch (op->kind) {
	case STORE_CREATE:
		apply_create(c, op);
		return STORE_OK;
	case STORE_DELETE:
		*c = (struct model_chunk){.commit = MAX(c->commit, op->commit)};
		return STORE_OK;
	case STORE_CLONE:
		return apply_clone(m, op);
	default:
		return c->exists ? apply_existing(c, op, tag) : STORE_NOT_FOUND;
	}
}
