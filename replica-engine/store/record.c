/* record.c - the journal's records: their sizes, and whether one that was read can be trusted. */
#include "replica-engine/store/store_internal.h"

uint16_t range_mask(uint32_t offset, uint32_t length, uint32_t i)
{
	uint32_t first = offset / UNIT_BYTES + i;
	uint64_t from = MAX((uint64_t)offset, (uint64_t)first * UNIT_BYTES);
	uint64_t to = MIN((uint64_t)offset + length, ((uint64_t)first + 1) * UNIT_BYTES);
	uint32_t first_block = (uint32_t)(from / BLOCK_BYTES % UNIT_BLOCKS);
	uint32_t blocks = (uint32_t)((to - from) / BLOCK_BYTES);

	assert(from < to);
	return (uint16_t)(((1u << blocks) - 1) << first_block);
}

uint32_t record_write_bytes(uint32_t units, uint32_t blocks)
{
	uint32_t bytes = (uint32_t)(sizeof(struct disk_record_write) +
				    units * sizeof(struct disk_place) + blocks * sizeof(uint32_t));

	return ROUND_UP(bytes, 8u);
}

const uint32_t *record_write_crcs(const struct disk_record_write *r)
{
	return (const uint32_t *)(const void *)&r->places[r->unit_count];
}

static bool range_valid(uint32_t offset, uint32_t length)
{
	return length > 0 && offset % BLOCK_BYTES == 0 && length % BLOCK_BYTES == 0 &&
	       (uint64_t)offset + length <= CHUNK_BYTES_MAX;
}

static uint32_t range_units(uint32_t offset, uint32_t length)
{
	return (offset + length - 1) / UNIT_BYTES - offset / UNIT_BYTES + 1;
}

static bool place_valid(const struct store *store, const struct disk_place *p)
{
	return p->place < store->unit_count && !(p->flags & ~(PLACE_FRESH | PLACE_DIRECT));
}

static bool write_valid(const struct store *store, const struct disk_record *head)
{
	const struct disk_record_write *r = (const struct disk_record_write *)(const void *)head;

	if (head->bytes < sizeof *r || !range_valid(r->offset, r->length) ||
	    r->length > IO_BYTES_MAX || r->unit_count != range_units(r->offset, r->length) ||
	    head->bytes != record_write_bytes(r->unit_count, r->length / BLOCK_BYTES))
		return false;
	for (uint32_t i = 0; i < r->unit_count; i++)
		if (!place_valid(store, &r->places[i]))
			return false;
	return true;
}

static bool copy_valid(const struct store *store, const struct disk_record *head)
{
	const struct disk_record_copy *r = (const struct disk_record_copy *)(const void *)head;

	return head->bytes == sizeof *r && r->unit < CHUNK_UNITS_MAX &&
	       (r->place.place == PLACE_NONE || place_valid(store, &r->place));
}

static bool repair_valid(const struct store *store, const struct disk_record *head)
{
	const struct disk_record_repair *r = (const struct disk_record_repair *)(const void *)head;

	return head->bytes == sizeof *r && r->unit < CHUNK_UNITS_MAX && r->block_mask &&
	       place_valid(store, &r->place);
}

static bool state_valid(const struct disk_record *head)
{
	const struct disk_record_state *r = (const struct disk_record_state *)(const void *)head;

	if (head->bytes != sizeof *r)
		return false;
	return head->kind != RECORD_CREATE ||
	       (r->chunk_bytes > 0 && r->chunk_bytes <= CHUNK_BYTES_MAX &&
		r->chunk_bytes % UNIT_BYTES == 0);
}

bool record_valid(const struct store *store, const struct disk_record *r, uint32_t left)
{
	const struct disk_record_zero *zero = (const struct disk_record_zero *)(const void *)r;
	const struct disk_record_invalidate *invalidate =
		(const struct disk_record_invalidate *)(const void *)r;

	if (left < sizeof *r || r->bytes < sizeof *r || r->bytes > left || r->bytes % 8)
		return false;
	switch (r->kind) {
	case RECORD_WRITE:
		return write_valid(store, r);
	case RECORD_ZERO:
		return r->bytes == sizeof *zero && range_valid(zero->offset, zero->length);
	case RECORD_COPY:
		return copy_valid(store, r);
	case RECORD_REPAIR:
		return repair_valid(store, r);
	case RECORD_INVALIDATE:
		return r->bytes >= sizeof *invalidate &&
		       invalidate->unit_count <= CHUNK_UNITS_MAX &&
		       r->bytes ==
			       sizeof *invalidate + ROUND_UP((invalidate->unit_count + 7) / 8, 8u);
	case RECORD_CREATE:
	case RECORD_DELETE:
	case RECORD_CLONE:
	case RECORD_FENCE:
	case RECORD_MEND_BEGIN:
	case RECORD_MEND_END:
	case RECORD_JOIN:
	case RECORD_START:
		return state_valid(r);
	default:
		return false;
	}
}

uint32_t record_data_blocks(const struct disk_record *head)
{
	const struct disk_record_write *w = (const struct disk_record_write *)(const void *)head;
	const struct disk_record_copy *c = (const struct disk_record_copy *)(const void *)head;
	const struct disk_record_repair *r = (const struct disk_record_repair *)(const void *)head;
	uint32_t blocks = 0;

	switch (head->kind) {
	case RECORD_WRITE:
		for (uint32_t i = 0; i < w->unit_count; i++)
			if (!(w->places[i].flags & PLACE_DIRECT))
				blocks += (uint32_t)__builtin_popcount(
					range_mask(w->offset, w->length, i));
		return blocks;
	case RECORD_COPY:
		if (c->place.place == PLACE_NONE || (c->place.flags & PLACE_DIRECT))
			return 0;
		return (uint32_t)__builtin_popcount((unsigned)c->taken_mask & ~c->zero_mask &
						    ~c->bad_mask);
	case RECORD_REPAIR:
		return (uint32_t)__builtin_popcount(r->block_mask);
	default:
		return 0;
	}
}
