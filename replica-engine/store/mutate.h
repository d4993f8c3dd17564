/*
 * mutate.h - what mutate.c shares with the files of the single mutations.
 *
 * admit_*() plan an operation, record and apply it, or answer that nothing changes. False: the journal has no room; then nothing
 * has changed, and the operation waits.
 */
#ifndef COPYHOLD_STORE_MUTATE_H
#define COPYHOLD_STORE_MUTATE_H

#include "replica-engine/store/store_internal.h"

/* The operation's answer is known, and nothing changes. True. */
bool mutate_answer(struct store *store, struct store_op *op, enum store_status status);
/* A record of the operation in the batch, its head filled in. */
void *mutate_record(struct batch *b, enum disk_record_kind kind, uint32_t bytes,
		    const struct store_op *op);
/* The record is complete: applies it, and the operation completes with the batch. */
void mutate_recorded(struct store *store, struct batch *b, struct store_op *op, void *record);
/* NULL if there is no such chunk, or a tombstone. */
struct chunk *mutate_chunk(const struct store *store, uint64_t id);

/* A batch that may hold a copy on write of this place: none whose blocks it would have to wait for. */
struct batch *batch_for_cow(struct store *store, uint32_t place, uint32_t record_bytes,
			    uint32_t data_bytes);
/*
 * Joins the blocks that the unit keeps with the new ones (side by side at data) and writes them to the fresh place. What is in
 * neither mask is not written, and must not be verified by replay: its checksum in the record is of nothing.
 */
void start_cow(struct store *store, struct batch *b, const struct disk_unit *u, uint16_t kept_mask,
	       uint16_t new_mask, const uint8_t *data, const struct chunk *chunk, uint32_t unit,
	       struct disk_place *place);

bool admit_write(struct store *store, struct store_op *op);
bool admit_zero(struct store *store, struct store_op *op);
bool admit_copy(struct store *store, struct store_op *op);
bool admit_repair(struct store *store, struct store_op *op);
bool admit_invalidate(struct store *store, struct store_op *op);
bool admit_create(struct store *store, struct store_op *op);
bool admit_delete(struct store *store, struct store_op *op);
bool admit_clone(struct store *store, struct store_op *op);
bool admit_protocol(struct store *store, struct store_op *op, enum disk_record_kind kind);

#endif
