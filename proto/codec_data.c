/*
 * codec_data.c - the messages of the data path: fixed layouts (layout.h), no protobuf, no allocation.
 *
 * A body is exactly as long as its head and the arrays that the head announces.
 */
#include "common/base/bits.h"
#include "proto/codec_internal.h"
#include "proto/layout.h"

#include <endian.h>

static const char too_short[] = "the body is too short";
static const char too_long[] = "the body is too long";
static const char reserved_not_zero[] = "reserved bytes are not 0";

/* What is left to read of a body. */
struct reader {
	const uint8_t *at;
	size_t left;
};

static struct reader reader_of(const struct io_frame *frame)
{
	return (struct reader){frame->body, frame->body_bytes};
}

static bool reader_take(struct reader *reader, void *out, size_t bytes)
{
	if (reader->left < bytes)
		return false;
	memcpy(out, reader->at, bytes);
	reader->at += bytes;
	reader->left -= bytes;
	return true;
}

/* Shows bytes in place, or NULL. */
static const uint8_t *reader_show(struct reader *reader, size_t bytes)
{
	const uint8_t *at = reader->at;

	if (reader->left < bytes)
		return NULL;
	reader->at += bytes;
	reader->left -= bytes;
	return at;
}

/* For bodies without arrays: the whole of it. */
static const char *take_all(const struct io_frame *frame, void *out, size_t bytes)
{
	if (frame->body_bytes < bytes)
		return too_short;
	if (frame->body_bytes > bytes)
		return too_long;
	memcpy(out, frame->body, bytes);
	return NULL;
}

static size_t put_all(struct codec *codec, const void *head, size_t bytes)
{
	codec_body_reserve(codec, bytes);
	memcpy(codec->body, head, bytes);
	return bytes;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

static void crcs_in(uint32_t *to, const layout_le32 *from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		to[i] = le32toh(from[i]);
}

static void crcs_out(layout_le32 *to, const uint32_t *from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		to[i] = htole32(from[i]);
}

/* Reads the checksums of blocks into the codec. */
static const uint32_t *take_crcs(struct codec *codec, struct reader *reader, uint32_t blocks)
{
	assert(blocks <= IO_BLOCKS_MAX);
	if (!reader_take(reader, codec->crcs, blocks * sizeof(layout_le32)))
		return NULL;
	crcs_in(codec->crcs, codec->crcs, blocks);
	return codec->crcs;
}

static uint8_t *put_crcs(uint8_t *at, const uint32_t *crcs, uint32_t blocks)
{
	for (uint32_t i = 0; i < blocks; i++) {
		layout_le32 crc = htole32(crcs[i]);

		memcpy(at, &crc, sizeof crc);
		at += sizeof crc;
	}
	return at;
}

/* ---- WRITE ---- */

static const char *write_check(const struct msg *msg)
{
	const struct msg_write *w = &msg->u.write;

	if ((unsigned)w->kind > WRITE_DISCARD)
		return "unknown kind of write";
	if (!range_is_legal(w->offset, w->bytes))
		return "the range is not of whole blocks within a chunk, or too long";
	if (msg->payload.bytes != (w->kind == WRITE_DATA ? w->bytes : 0))
		return "the payload does not match bytes";
	if (!w->crcs != (w->kind != WRITE_DATA))
		return "checksums do not go with the kind of write";
	return NULL;
}

static size_t write_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_write *w = &msg->u.write;
	uint32_t blocks = w->kind == WRITE_DATA ? w->bytes / BLOCK_BYTES : 0;
	size_t bytes = sizeof(struct layout_write) + blocks * sizeof(layout_le32);
	struct layout_write raw = {
		.chunk = htole64(w->chunk),
		.epoch = htole64(w->epoch),
		.generation = htole64(w->generation),
		.offset = htole32(w->offset),
		.bytes = htole32(w->bytes),
		.kind = (uint8_t)w->kind,
	};

	codec_body_reserve(codec, bytes);
	memcpy(codec->body, &raw, sizeof raw);
	put_crcs(codec->body + sizeof raw, w->crcs, blocks);
	return bytes;
}

static const char *write_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct msg_write *w = &msg->u.write;
	struct reader reader = reader_of(frame);
	struct layout_write raw;

	if (!reader_take(&reader, &raw, sizeof raw))
		return too_short;
	if (!all_zero(raw.reserved, sizeof raw.reserved))
		return reserved_not_zero;
	*w = (struct msg_write){
		.chunk = le64toh(raw.chunk),
		.epoch = le64toh(raw.epoch),
		.generation = le64toh(raw.generation),
		.offset = le32toh(raw.offset),
		.bytes = le32toh(raw.bytes),
		.kind = raw.kind,
	};
	if (w->kind == WRITE_DATA) {
		if (w->bytes > IO_BYTES_MAX)
			return "bytes is above the limit";
		w->crcs = take_crcs(codec, &reader, w->bytes / BLOCK_BYTES);
		if (!w->crcs)
			return too_short;
	}
	return reader.left ? too_long : NULL;
}

static size_t write_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_write_ok *w = &msg->u.write_ok;
	struct layout_write_ok raw = {
		.chunk = htole64(w->chunk),
		.epoch = htole64(w->epoch),
		.generation = htole64(w->generation),
		.free_bytes = htole64(w->free_bytes),
	};

	return put_all(codec, &raw, sizeof raw);
}

static const char *write_ok_decode(struct codec *codec, const struct io_frame *frame,
				   struct msg *msg)
{
	struct layout_write_ok raw;
	const char *why = take_all(frame, &raw, sizeof raw);

	(void)codec;
	if (why)
		return why;
	msg->u.write_ok = (struct msg_write_ok){
		.chunk = le64toh(raw.chunk),
		.epoch = le64toh(raw.epoch),
		.generation = le64toh(raw.generation),
		.free_bytes = le64toh(raw.free_bytes),
	};
	return NULL;
}

/* ---- READ ---- */

static const char *read_check(const struct msg *msg)
{
	if (!range_is_legal(msg->u.read.offset, msg->u.read.bytes))
		return "the range is not of whole blocks within a chunk, or too long";
	return NULL;
}

static size_t read_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_read *r = &msg->u.read;
	struct layout_read raw = {
		.chunk = htole64(r->chunk),
		.epoch = htole64(r->epoch),
		.offset = htole32(r->offset),
		.bytes = htole32(r->bytes),
	};

	return put_all(codec, &raw, sizeof raw);
}

static const char *read_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct layout_read raw;
	const char *why = take_all(frame, &raw, sizeof raw);

	(void)codec;
	if (why)
		return why;
	msg->u.read = (struct msg_read){
		.chunk = le64toh(raw.chunk),
		.epoch = le64toh(raw.epoch),
		.offset = le32toh(raw.offset),
		.bytes = le32toh(raw.bytes),
	};
	return NULL;
}

/* Whether each block is zero or bad, and one of them bad: then there is nothing to send. */
static bool all_zero_or_bad(const struct msg_read_ok *r)
{
	bool any_bad = false;

	if (!r->bad_blocks)
		return false;
	for (uint32_t i = 0; i < r->bytes / BLOCK_BYTES; i++) {
		bool bad = bit_get(r->bad_blocks, i);
		bool zero = r->zero_blocks && bit_get(r->zero_blocks, i);

		if (!bad && !zero)
			return false;
		any_bad |= bad;
	}
	return any_bad;
}

/* OK and BAD_BLOCK: the reader finds every block that is not said to be zero or bad. */
static const char *read_ok_check_complete(const struct msg *msg)
{
	const struct msg_read_ok *r = &msg->u.read_ok;

	if (!range_is_legal(r->offset, r->bytes))
		return "the range is not of whole blocks within a chunk, or too long";
	if (r->bad_blocks && msg->status == WIRE_OK)
		return "bad blocks, but status OK";
	if (!r->all_zero && msg->payload.bytes == 0 && !all_zero_or_bad(r))
		return "neither data nor all zero";
	return NULL;
}

static const char *read_ok_check(const struct msg *msg)
{
	const struct msg_read_ok *r = &msg->u.read_ok;
	uint32_t blocks = r->bytes / BLOCK_BYTES;

	if (r->bytes > 0 && !range_is_legal(r->offset, r->bytes))
		return "the range is not of whole blocks within a chunk, or too long";
	if (r->bytes == 0 && (r->crcs || r->zero_blocks || r->bad_blocks || r->all_zero))
		return "arrays for an empty range";
	if (msg->payload.bytes != 0 && msg->payload.bytes != r->bytes)
		return "the payload does not match bytes";
	if (msg->payload.bytes != 0 && !r->crcs)
		return "data without checksums";
	if (r->all_zero && (msg->payload.bytes || r->crcs || r->zero_blocks))
		return "all zero, but data follows";
	if (!bitmap_is_legal(r->zero_blocks, blocks) || !bitmap_is_legal(r->bad_blocks, blocks))
		return "bits beyond the last block";
	if (msg->status == WIRE_OK || (msg->status == WIRE_BAD_BLOCK && r->bytes > 0))
		return read_ok_check_complete(msg);
	return NULL;
}

static size_t read_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_read_ok *r = &msg->u.read_ok;
	uint32_t blocks = r->bytes / BLOCK_BYTES;
	struct layout_read_ok raw = {
		.chunk = htole64(r->chunk),
		.epoch = htole64(r->epoch),
		.version_epoch = htole64(r->version.epoch),
		.version_generation = htole64(r->version.generation),
		.offset = htole32(r->offset),
		.bytes = htole32(r->bytes),
		.flags = (uint8_t)((r->all_zero ? LAYOUT_READ_ALL_ZERO : 0) |
				   (r->crcs ? LAYOUT_READ_CRCS : 0) |
				   (r->zero_blocks ? LAYOUT_READ_ZERO_BLOCKS : 0) |
				   (r->bad_blocks ? LAYOUT_READ_BAD_BLOCKS : 0)),
	};
	uint8_t *at;

	codec_body_reserve(codec,
			   sizeof raw + blocks * sizeof(layout_le32) + 2 * bitmap_bytes(blocks));
	memcpy(codec->body, &raw, sizeof raw);
	at = codec->body + sizeof raw;
	if (r->crcs)
		at = put_crcs(at, r->crcs, blocks);
	if (r->zero_blocks) {
		memcpy(at, r->zero_blocks, bitmap_bytes(blocks));
		at += bitmap_bytes(blocks);
	}
	if (r->bad_blocks) {
		memcpy(at, r->bad_blocks, bitmap_bytes(blocks));
		at += bitmap_bytes(blocks);
	}
	return (size_t)(at - codec->body);
}

/* The arrays that the flags announce. */
static const char *read_ok_take_arrays(struct codec *codec, struct reader *reader, uint8_t flags,
				       struct msg_read_ok *r)
{
	uint32_t blocks = r->bytes / BLOCK_BYTES;

	if (flags & LAYOUT_READ_CRCS) {
		r->crcs = take_crcs(codec, reader, blocks);
		if (!r->crcs)
			return too_short;
	}
	if (flags & LAYOUT_READ_ZERO_BLOCKS) {
		r->zero_blocks = reader_show(reader, bitmap_bytes(blocks));
		if (!r->zero_blocks)
			return too_short;
	}
	if (flags & LAYOUT_READ_BAD_BLOCKS) {
		r->bad_blocks = reader_show(reader, bitmap_bytes(blocks));
		if (!r->bad_blocks)
			return too_short;
	}
	return reader->left ? too_long : NULL;
}

static const char *read_ok_decode(struct codec *codec, const struct io_frame *frame,
				  struct msg *msg)
{
	struct reader reader = reader_of(frame);
	struct layout_read_ok raw;

	if (!reader_take(&reader, &raw, sizeof raw))
		return too_short;
	if (!all_zero(raw.reserved, sizeof raw.reserved))
		return reserved_not_zero;
	if (raw.flags & ~LAYOUT_READ_FLAGS)
		return "unknown flags";
	msg->u.read_ok = (struct msg_read_ok){
		.chunk = le64toh(raw.chunk),
		.epoch = le64toh(raw.epoch),
		.version = {le64toh(raw.version_epoch), le64toh(raw.version_generation)},
		.offset = le32toh(raw.offset),
		.bytes = le32toh(raw.bytes),
		.all_zero = raw.flags & LAYOUT_READ_ALL_ZERO,
	};
	if (msg->u.read_ok.bytes > IO_BYTES_MAX)
		return "bytes is above the limit";
	return read_ok_take_arrays(codec, &reader, raw.flags, &msg->u.read_ok);
}

/* ---- COPY, REPAIR ---- */

static struct layout_versioned versioned_out(uint64_t chunk, uint64_t epoch, struct version version)
{
	return (struct layout_versioned){
		.chunk = htole64(chunk),
		.epoch = htole64(epoch),
		.version_epoch = htole64(version.epoch),
		.version_generation = htole64(version.generation),
	};
}

static struct version version_in(const struct layout_versioned *raw)
{
	return (struct version){le64toh(raw->version_epoch), le64toh(raw->version_generation)};
}

static const char *unit_check(uint32_t unit)
{
	return unit < UNITS_MAX ? NULL : "the unit is beyond the largest chunk";
}

static const char *copy_check(const struct msg *msg)
{
	const struct msg_copy *c = &msg->u.copy;
	const char *why = unit_check(c->unit);

	if ((unsigned)c->mode > COPY_ROLL)
		return "unknown mode of copy";
	if (why)
		return why;
	if (msg->payload.bytes != 0 && msg->payload.bytes != UNIT_BYTES)
		return "the payload is neither a unit nor empty";
	if (msg->payload.bytes == 0 && (c->zero_mask | c->bad_mask) != UINT16_MAX)
		return "blocks of data without a payload";
	return NULL;
}

static size_t copy_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_copy *c = &msg->u.copy;
	struct layout_copy raw = {
		.of = versioned_out(c->chunk, c->epoch, c->version),
		.unit = htole32(c->unit),
		.mode = (uint8_t)c->mode,
		.zero_mask = htole16(c->zero_mask),
		.bad_mask = htole16(c->bad_mask),
	};

	crcs_out(raw.crcs, c->crcs, UNIT_BLOCKS);
	return put_all(codec, &raw, sizeof raw);
}

static const char *copy_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct layout_copy raw;
	const char *why = take_all(frame, &raw, sizeof raw);

	(void)codec;
	if (why)
		return why;
	if (!all_zero(raw.reserved, sizeof raw.reserved) ||
	    !all_zero(raw.reserved_too, sizeof raw.reserved_too))
		return reserved_not_zero;
	msg->u.copy = (struct msg_copy){
		.chunk = le64toh(raw.of.chunk),
		.epoch = le64toh(raw.of.epoch),
		.version = version_in(&raw.of),
		.unit = le32toh(raw.unit),
		.mode = raw.mode,
		.zero_mask = le16toh(raw.zero_mask),
		.bad_mask = le16toh(raw.bad_mask),
	};
	crcs_in(msg->u.copy.crcs, raw.crcs, UNIT_BLOCKS);
	return NULL;
}

static const char *copy_ok_check(const struct msg *msg)
{
	return unit_check(msg->u.copy_ok.unit);
}

static size_t copy_ok_encode(struct codec *codec, const struct msg *msg)
{
	struct layout_copy_ok raw = {
		.chunk = htole64(msg->u.copy_ok.chunk),
		.epoch = htole64(msg->u.copy_ok.epoch),
		.unit = htole32(msg->u.copy_ok.unit),
	};

	return put_all(codec, &raw, sizeof raw);
}

static const char *copy_ok_decode(struct codec *codec, const struct io_frame *frame,
				  struct msg *msg)
{
	struct layout_copy_ok raw;
	const char *why = take_all(frame, &raw, sizeof raw);

	(void)codec;
	if (why)
		return why;
	if (!all_zero(raw.reserved, sizeof raw.reserved))
		return reserved_not_zero;
	msg->u.copy_ok = (struct msg_copy_ok){
		.chunk = le64toh(raw.chunk),
		.epoch = le64toh(raw.epoch),
		.unit = le32toh(raw.unit),
	};
	return NULL;
}

static const char *repair_check(const struct msg *msg)
{
	const struct msg_repair *r = &msg->u.repair;
	const char *why = unit_check(r->unit);

	if (why)
		return why;
	if (r->block_mask == 0)
		return "no block to repair";
	if (msg->payload.bytes != (uint32_t)__builtin_popcount(r->block_mask) * BLOCK_BYTES)
		return "the payload does not match block_mask";
	return NULL;
}

static size_t repair_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_repair *r = &msg->u.repair;
	struct layout_repair raw = {
		.of = versioned_out(r->chunk, r->epoch, r->version),
		.unit = htole32(r->unit),
		.block_mask = htole16(r->block_mask),
	};

	crcs_out(raw.crcs, r->crcs, UNIT_BLOCKS);
	return put_all(codec, &raw, sizeof raw);
}

static const char *repair_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct layout_repair raw;
	const char *why = take_all(frame, &raw, sizeof raw);

	(void)codec;
	if (why)
		return why;
	if (!all_zero(raw.reserved, sizeof raw.reserved))
		return reserved_not_zero;
	msg->u.repair = (struct msg_repair){
		.chunk = le64toh(raw.of.chunk),
		.epoch = le64toh(raw.of.epoch),
		.version = version_in(&raw.of),
		.unit = le32toh(raw.unit),
		.block_mask = le16toh(raw.block_mask),
	};
	crcs_in(msg->u.repair.crcs, raw.crcs, UNIT_BLOCKS);
	return NULL;
}

/* ---- HEARTBEAT ---- */

static size_t heartbeat_encode(struct codec *codec, const struct msg *msg)
{
	struct layout_heartbeat raw = {.sequence = htole64(msg->u.heartbeat.sequence)};

	return put_all(codec, &raw, sizeof raw);
}

static const char *heartbeat_decode(struct codec *codec, const struct io_frame *frame,
				    struct msg *msg)
{
	struct layout_heartbeat raw;
	const char *why = take_all(frame, &raw, sizeof raw);

	(void)codec;
	if (why)
		return why;
	msg->u.heartbeat.sequence = le64toh(raw.sequence);
	return NULL;
}

static const char *heartbeat_ok_check(const struct msg *msg)
{
	const struct msg_heartbeat_ok *h = &msg->u.heartbeat_ok;

	if (h->taken_count > HEARTBEAT_TAKEN_MAX)
		return "too many chunks";
	return h->taken_count && !h->taken ? "a count without its array" : NULL;
}

static size_t heartbeat_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_heartbeat_ok *h = &msg->u.heartbeat_ok;
	size_t bytes = sizeof(struct layout_heartbeat_ok) + h->taken_count * sizeof(layout_le64);
	struct layout_heartbeat_ok raw = {
		.sequence = htole64(h->sequence),
		.taken_count = htole32(h->taken_count),
	};
	uint8_t *at;

	codec_body_reserve(codec, bytes);
	memcpy(codec->body, &raw, sizeof raw);
	at = codec->body + sizeof raw;
	for (uint32_t i = 0; i < h->taken_count; i++) {
		layout_le64 chunk = htole64(h->taken[i]);

		memcpy(at + i * sizeof chunk, &chunk, sizeof chunk);
	}
	return bytes;
}

static const char *heartbeat_ok_decode(struct codec *codec, const struct io_frame *frame,
				       struct msg *msg)
{
	struct reader reader = reader_of(frame);
	struct layout_heartbeat_ok raw;
	uint32_t count;
	uint64_t *taken;

	if (!reader_take(&reader, &raw, sizeof raw))
		return too_short;
	if (!all_zero(raw.reserved, sizeof raw.reserved))
		return reserved_not_zero;
	count = le32toh(raw.taken_count);
	if (count > HEARTBEAT_TAKEN_MAX)
		return "too many chunks";
	if (reader.left != count * sizeof(layout_le64))
		return reader.left < count * sizeof(layout_le64) ? too_short : too_long;
	msg->u.heartbeat_ok = (struct msg_heartbeat_ok){
		.sequence = le64toh(raw.sequence),
		.taken_count = count,
	};
	if (count == 0)
		return NULL;
	taken = codec_received_array(codec, count, sizeof *taken);
	if (!taken)
		return codec_malformed;
	reader_take(&reader, taken, count * sizeof *taken);
	for (uint32_t i = 0; i < count; i++)
		taken[i] = le64toh(taken[i]);
	msg->u.heartbeat_ok.taken = taken;
	return NULL;
}

const struct codec_handler codec_data_handlers[CODEC_TYPES] = {
	[MSG_WRITE] = {HANDLER(write), .check = write_check, .payload = true},
	[MSG_WRITE_OK] = {HANDLER(write_ok), .answer = true},
	[MSG_READ] = {HANDLER(read), .check = read_check},
	[MSG_READ_OK] = {HANDLER(read_ok), .check = read_ok_check, .answer = true, .payload = true},
	[MSG_COPY] = {HANDLER(copy), .check = copy_check, .payload = true},
	[MSG_COPY_OK] = {HANDLER(copy_ok), .check = copy_ok_check, .answer = true},
	[MSG_REPAIR] = {HANDLER(repair), .check = repair_check, .payload = true},
	[MSG_REPAIR_OK] = {HANDLER(copy_ok), .check = copy_ok_check, .answer = true},
	[MSG_HEARTBEAT] = {HANDLER(heartbeat)},
	[MSG_HEARTBEAT_OK] = {HANDLER(heartbeat_ok), .check = heartbeat_ok_check, .answer = true},
};
