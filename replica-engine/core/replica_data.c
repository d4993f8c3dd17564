/*
 * replica_data.c - WRITE, READ, COPY and REPAIR.
 *
 * Bytes that come in are checked against the checksums that came with them before anything is submitted: a
 * mismatch (BAD_BLOCK) takes no generation. A replica never makes a checksum, it only compares.
 */
#include "replica-engine/core/replica_state.h"

#include "common/base/crc.h"

static bool in_range(const struct store_chunk *info, uint32_t offset, uint32_t bytes)
{
	return bytes <= info->chunk_bytes && offset <= info->chunk_bytes - bytes;
}

static bool block_matches(const struct store_chunk *info, uint32_t block, const uint8_t *data,
			  uint32_t crc)
{
	return crc_block(info->root_chunk, block, data) == crc;
}

static void bad_checksum(struct replica *r, const struct replica_caller *caller)
{
	r->counters.bad_checksums++;
	replica_answer(r, caller, WIRE_BAD_BLOCK);
}

/* ---- WRITE ---- */

static bool write_matches(const struct store_chunk *info, const struct msg *msg)
{
	const struct msg_write *w = &msg->u.write;
	const uint8_t *data = slice_data(msg->payload);

	assert(msg->payload.bytes == w->bytes && w->crcs);
	for (uint32_t i = 0; i < w->bytes / BLOCK_BYTES; i++)
		if (!block_matches(info, w->offset / BLOCK_BYTES + i,
				   data + (size_t)i * BLOCK_BYTES, w->crcs[i]))
			return false;
	return true;
}

static void submit_write(struct replica *r, const struct replica_caller *caller,
			 const struct replica_found *found, const struct msg *msg)
{
	static const enum store_op_kind kinds[] = {
		[WRITE_DATA] = STORE_WRITE,
		[WRITE_ZERO] = STORE_ZERO,
		[WRITE_DISCARD] = STORE_DISCARD,
	};
	const struct msg_write *w = &msg->u.write;
	struct replica_request *q;

	if (!in_range(&found->info, w->offset, w->bytes)) {
		replica_answer(r, caller, WIRE_BAD_REQUEST);
		return;
	}
	if (w->kind == WRITE_DATA && !write_matches(&found->info, msg)) {
		bad_checksum(r, caller);
		return;
	}
	q = replica_request_new(r, found->c, caller, kinds[w->kind]);
	q->op.offset = w->offset;
	q->op.bytes = w->bytes;
	q->op.position = (struct version){w->epoch, w->generation};
	if (w->kind == WRITE_DATA) {
		memcpy(q->op.crcs, w->crcs, w->bytes / BLOCK_BYTES * sizeof *w->crcs);
		q->op.data = msg->payload;
	}
	replica_request_submit(r, q);
}

void replica_write(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct replica_found found;
	enum replica_verdict verdict;

	if (!replica_find(r, &caller, &found))
		return;
	verdict = replica_check_write(&found.at, caller.epoch, caller.generation);
	if (verdict == REPLICA_ACCEPT) {
		submit_write(r, &caller, &found, msg);
	} else if (verdict == REPLICA_DUPLICATE) {
		r->counters.duplicates++;
		replica_request_after(r, replica_request_new(r, found.c, &caller, STORE_WRITE));
	} else {
		replica_answer_verdict(r, &caller, verdict, found.at.seen);
	}
}

/* ---- READ ---- */

void replica_read(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct replica_found found;
	struct replica_request *q;

	if (!replica_find_owned(r, &caller, &found))
		return;
	if (!in_range(&found.info, caller.offset, caller.bytes)) {
		replica_answer(r, &caller, WIRE_BAD_REQUEST);
		return;
	}
	q = replica_request_new(r, found.c, &caller, STORE_READ);
	q->op.offset = caller.offset;
	q->op.bytes = caller.bytes;
	q->op.no_verify = true; /* the engine does, for the whole way */
	replica_request_submit(r, q);
}

static void finish_read(struct replica *r, struct replica_request *q, struct msg *m)
{
	r->counters.reads++;
	r->counters.read_ns += r->now_ns - q->begun_ns;
	if (q->op.status != STORE_OK && q->op.status != STORE_BAD_BLOCK)
		return;
	m->u.read_ok.version = q->op.version;
	m->u.read_ok.all_zero = q->op.all_zero;
	if (q->op.any_bad)
		m->u.read_ok.bad_blocks = q->op.bad_blocks;
	if (q->op.all_zero)
		return;
	m->u.read_ok.crcs = q->op.crcs;
	m->u.read_ok.zero_blocks = q->op.zero_blocks;
	m->payload = q->op.data;
}

/* ---- COPY and REPAIR ---- */

static bool unit_blocks_match(const struct store_chunk *info, uint32_t unit, uint16_t mask,
			      const uint8_t *data, bool packed, const uint32_t *crcs)
{
	uint32_t place = 0;

	for (uint32_t i = 0; i < UNIT_BLOCKS; i++) {
		if (!(mask >> i & 1))
			continue;
		if (!block_matches(info, unit * UNIT_BLOCKS + i,
				   data + (size_t)(packed ? place : i) * BLOCK_BYTES, crcs[i]))
			return false;
		place++;
	}
	return true;
}

static void submit_copy(struct replica *r, const struct replica_caller *caller,
			const struct replica_found *found, const struct msg *msg)
{
	const struct msg_copy *copy = &msg->u.copy;
	struct replica_request *q = replica_request_new(r, found->c, caller, STORE_COPY);

	q->op.unit = copy->unit;
	q->op.roll = copy->mode == COPY_ROLL;
	q->op.position = copy->version;
	q->op.zero_mask = copy->zero_mask;
	q->op.bad_mask = copy->bad_mask;
	memcpy(q->op.crcs, copy->crcs, sizeof copy->crcs);
	q->op.data = msg->payload;
	replica_request_submit(r, q);
}

void replica_copy(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	const struct msg_copy *copy = &msg->u.copy;
	uint16_t with_data = (uint16_t) ~(copy->zero_mask | copy->bad_mask);
	struct replica_found found;

	if (!replica_find_owned(r, &caller, &found))
		return;
	if (copy->unit >= found.info.unit_count || (with_data && msg->payload.bytes != UNIT_BYTES))
		replica_answer(r, &caller, WIRE_BAD_REQUEST);
	else if (copy->mode == COPY_ROLL && !found.info.mending)
		replica_answer(r, &caller, WIRE_REFUSED);
	else if (!unit_blocks_match(&found.info, copy->unit, with_data, slice_data(msg->payload),
				    false, copy->crcs))
		bad_checksum(r, &caller);
	else
		submit_copy(r, &caller, &found, msg);
}

void replica_repair(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	const struct msg_repair *repair = &msg->u.repair;
	uint32_t blocks = (uint32_t)__builtin_popcount(repair->block_mask);
	struct replica_found found;
	struct replica_request *q;

	if (!replica_find_owned(r, &caller, &found))
		return;
	if (repair->unit >= found.info.unit_count || msg->payload.bytes != blocks * BLOCK_BYTES) {
		replica_answer(r, &caller, WIRE_BAD_REQUEST);
		return;
	}
	if (!unit_blocks_match(&found.info, repair->unit, repair->block_mask,
			       slice_data(msg->payload), true, repair->crcs)) {
		bad_checksum(r, &caller);
		return;
	}
	q = replica_request_new(r, found.c, &caller, STORE_REPAIR);
	q->op.unit = repair->unit;
	q->op.position = repair->version;
	q->op.block_mask = repair->block_mask;
	memcpy(q->op.crcs, repair->crcs, sizeof repair->crcs);
	q->op.data = msg->payload;
	replica_request_submit(r, q);
}

/* ---- answers ---- */

void replica_finish_data(struct replica *r, struct replica_request *q)
{
	struct msg *m = replica_answer(r, &q->caller, replica_wire_status(q->op.status));

	switch (q->caller.type) {
	case MSG_WRITE:
		r->counters.writes++;
		r->counters.write_ns += r->now_ns - q->begun_ns;
		break;
	case MSG_READ:
		finish_read(r, q, m);
		break;
	case MSG_COPY:
	case MSG_REPAIR:
		break;
	default:
		replica_finish_resync(r, q, m);
		break;
	}
}
