/*
 * layout.h - the bytes of the data path's message bodies, and of the frame header.
 *
 * Each struct is the fixed head of one body; arrays follow it where its comment says so. Integers are little-endian
 * and lie at multiples of their size, so that the structs have no holes; the assertions below hold the sizes. They
 * are copied in and out as a whole, never used in place: a body may lie at any address. Reserved bytes are
 * written as 0 and must be 0 when read.
 */
#ifndef COPYHOLD_PROTO_LAYOUT_H
#define COPYHOLD_PROTO_LAYOUT_H

#include "common/base/base.h"

/* Integers in little-endian byte order: read with le*toh(), written with htole*(). */
typedef uint16_t layout_le16;
typedef uint32_t layout_le32;
typedef uint64_t layout_le64;

struct layout_frame_header {
	uint8_t magic[4];
	uint8_t format;
	uint8_t reserved;
	layout_le16 type;
	layout_le64 id;
	layout_le32 body_bytes;
	layout_le32 payload_bytes;
	layout_le32 status;
	layout_le32 body_crc;
	layout_le32 reserved_too;
	layout_le32 header_crc;
};
static_assert(sizeof(struct layout_frame_header) == 40, "frame header");

/* Then, for WRITE_DATA alone, a checksum (u32) for each block. */
struct layout_write {
	layout_le64 chunk;
	layout_le64 epoch;
	layout_le64 generation;
	layout_le32 offset;
	layout_le32 bytes;
	uint8_t kind;
	uint8_t reserved[7];
};
static_assert(sizeof(struct layout_write) == 40, "WRITE");

struct layout_write_ok {
	layout_le64 chunk;
	layout_le64 epoch;
	layout_le64 generation;
	layout_le64 free_bytes;
};
static_assert(sizeof(struct layout_write_ok) == 32, "WRITE_OK");

struct layout_read {
	layout_le64 chunk;
	layout_le64 epoch;
	layout_le32 offset;
	layout_le32 bytes;
};
static_assert(sizeof(struct layout_read) == 24, "READ");

enum {
	LAYOUT_READ_ALL_ZERO = 1,    /* no block of the range holds data; nothing follows */
	LAYOUT_READ_CRCS = 2,        /* a checksum (u32) for each block follows, */
	LAYOUT_READ_ZERO_BLOCKS = 4, /* then a bit for each block, in whole bytes, */
	LAYOUT_READ_BAD_BLOCKS = 8,  /* then the same for bad blocks */
	LAYOUT_READ_FLAGS = 15,
};

struct layout_read_ok {
	layout_le64 chunk;
	layout_le64 epoch;
	layout_le64 version_epoch;
	layout_le64 version_generation;
	layout_le32 offset;
	layout_le32 bytes;
	uint8_t flags;
	uint8_t reserved[7];
};
static_assert(sizeof(struct layout_read_ok) == 48, "READ_OK");

/* What COPY and REPAIR begin with: whose unit it is, and its version. */
struct layout_versioned {
	layout_le64 chunk;
	layout_le64 epoch;
	layout_le64 version_epoch;
	layout_le64 version_generation;
};
static_assert(sizeof(struct layout_versioned) == 32, "opening of COPY and REPAIR");

struct layout_copy {
	struct layout_versioned of;
	layout_le32 unit;
	uint8_t mode;
	uint8_t reserved[3];
	layout_le16 zero_mask;
	layout_le16 bad_mask;
	uint8_t reserved_too[4];
	layout_le32 crcs[UNIT_BLOCKS];
};
static_assert(sizeof(struct layout_copy) == 112, "COPY");

/* COPY_OK and REPAIR_OK. */
struct layout_copy_ok {
	layout_le64 chunk;
	layout_le64 epoch;
	layout_le32 unit;
	uint8_t reserved[4];
};
static_assert(sizeof(struct layout_copy_ok) == 24, "COPY_OK");

struct layout_repair {
	struct layout_versioned of;
	layout_le32 unit;
	layout_le16 block_mask;
	uint8_t reserved[2];
	layout_le32 crcs[UNIT_BLOCKS];
};
static_assert(sizeof(struct layout_repair) == 104, "REPAIR");

struct layout_heartbeat {
	layout_le64 sequence;
};
static_assert(sizeof(struct layout_heartbeat) == 8, "HEARTBEAT");

/* Then taken_count chunk ids (u64). */
struct layout_heartbeat_ok {
	layout_le64 sequence;
	layout_le32 taken_count;
	uint8_t reserved[4];
};
static_assert(sizeof(struct layout_heartbeat_ok) == 16, "HEARTBEAT_OK");

#endif
