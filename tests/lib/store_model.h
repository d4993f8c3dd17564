/* store_model.h - what the store must hold, the simple way: for crash tests. */
#ifndef COPYHOLD_TESTS_STORE_MODEL_H
#define COPYHOLD_TESTS_STORE_MODEL_H

#include "replica-engine/store/store.h"

#define MODEL_CHUNKS 4u
#define MODEL_UNITS  10u

struct model_unit {
	struct version version;
	bool invalid;
	uint16_t valid_mask, bad_mask;
	uint32_t tags[UNIT_BLOCKS]; /* 0: zeros */
};

struct model_chunk {
	bool exists, mending;
	uint64_t epoch, base_generation, commit, root_chunk;
	struct version position;
	struct model_unit units[MODEL_UNITS];
};

struct model {
	struct model_chunk chunks[MODEL_CHUNKS]; /* chunk id is the index + 1 */
};

/* The effect of an operation whose blocks all carry the tag; returns the status that it must have (if not NO_SPACE). */
enum store_status model_apply(struct model *m, const struct store_op *op, uint32_t tag);

#endif
