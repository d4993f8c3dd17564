/*
 * layout.h - every structure that the store puts on a disk, byte for byte. docs/DISK-FORMAT.md explains them.
 *
 *   0                superblock (4 KiB)
 *   4 KiB            checkpoint header, two places of 64 KiB, written in turn
 *   journal_offset   journal: a ring of batches
 *   metadata_offset  metadata: slots of 4 KiB for root, chunk and unit pages
 *   data_offset      data: places of 64 KiB
 *   end - 4 KiB      superblock, second copy
 *
 * All numbers are little-endian. All checksums are CRC32C, seeded with the checksum of the disk's UUID, so that
 * what an earlier format left behind never passes. A change of anything here raises STORE_FORMAT_VERSION.
 */
#ifndef COPYHOLD_STORE_LAYOUT_H
#define COPYHOLD_STORE_LAYOUT_H

#include "common/base/base.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are used as they lie on disk");

#define PAGE_BYTES       4096u
#define CHECKPOINT_BYTES 65536u
#define PLACE_NONE       UINT32_MAX
#define SLOT_NONE        UINT32_MAX

#define SUPERBLOCK_MAGIC UINT64_C(0x444c4f4859504f43) /* COPYHOLD, in the order of the bytes */
#define CHECKPOINT_MAGIC UINT64_C(0x544e494f504b4843) /* CHKPOINT */
#define BATCH_MAGIC      UINT32_C(0x48435442)         /* BTCH */
#define PAGE_MAGIC       UINT32_C(0x45474150)         /* PAGE */

struct disk_superblock {
	uint64_t magic;
	uint32_t crc; /* of the whole 4 KiB with this field 0 */
	uint32_t format_version;
	uint8_t disk[16];
	uint8_t cluster[16];
	uint32_t cid;
	uint32_t block_bytes;
	uint32_t unit_bytes;
	uint32_t reserved0;
	uint64_t sequence; /* the higher one of two valid copies counts */
	uint64_t size_bytes;
	uint64_t checkpoint_offset;
	uint64_t journal_offset;
	uint64_t journal_bytes;
	uint64_t metadata_offset;
	uint64_t metadata_bytes;
	uint64_t data_offset;
	uint64_t unit_count; /* places in the data region */
	uint8_t reserved[4096 - 136];
};
static_assert(sizeof(struct disk_superblock) == 4096, "superblock");
static_assert(offsetof(struct disk_superblock, sequence) == 64, "superblock");
static_assert(offsetof(struct disk_superblock, unit_count) == 128, "superblock");
/* A write that is torn at 512 bytes leaves the old superblock or the new one: everything behind the first sector is zero in both. */
static_assert(offsetof(struct disk_superblock, reserved) <= 512, "superblock");

/* Where a page lies, and what its checksum must be: a lost or stale page shows. */
struct disk_pointer {
	uint32_t slot;
	uint32_t crc;
};
static_assert(sizeof(struct disk_pointer) == 8, "pointer");

/* Heads the tree of pages; followed by root_count pointers to root pages, padded to 4 KiB. */
struct disk_checkpoint {
	uint64_t magic;
	uint32_t crc;   /* of `bytes` bytes with this field 0 */
	uint32_t bytes; /* used bytes of the 64 KiB, a multiple of 4 KiB */
	uint64_t sequence;
	uint64_t mount;             /* grows with each opening for writing; batches carry it */
	uint64_t operation;         /* the tree holds the effect of all operations up to this one */
	uint64_t tail_position;     /* where replay starts */
	uint64_t tail_sequence;     /* of the batch expected there */
	uint32_t tail_previous_crc; /* that this batch must carry */
	uint32_t clean;             /* 1: closed in order, the journal holds nothing */
	uint64_t newest_commit;
	uint64_t newest_epoch;
	uint32_t root_count;
	uint32_t reserved0;
	uint64_t reserved[5];
	struct disk_pointer roots[];
};
static_assert(sizeof(struct disk_checkpoint) == 128, "checkpoint");
#define ROOTS_MAX                                                                                  \
	((CHECKPOINT_BYTES - sizeof(struct disk_checkpoint)) / sizeof(struct disk_pointer))

enum disk_page_kind {
	PAGE_ROOT = 1,
	PAGE_CHUNK = 2,
	PAGE_UNITS = 3,
};

/* Begins each page of the metadata region. */
struct disk_page {
	uint32_t magic;
	uint32_t crc; /* of the 4 KiB with this field 0; the parent's pointer repeats it */
	uint32_t kind;
	uint32_t slot;  /* where it was meant to lie */
	uint64_t chunk; /* CHUNK, UNITS */
	uint32_t index; /* ROOT, UNITS: which one */
	uint32_t reserved0;
	uint64_t checkpoint; /* sequence of the checkpoint that wrote it */
	uint64_t reserved[3];
};
static_assert(sizeof(struct disk_page) == 64, "page header");

/* A chunk, a tombstone (slot SLOT_NONE, commit set), or nothing (all zero). */
struct disk_root_entry {
	uint64_t chunk;
	uint64_t commit;
	struct disk_pointer page;
};
#define ROOT_ENTRIES ((PAGE_BYTES - sizeof(struct disk_page)) / sizeof(struct disk_root_entry))
static_assert(sizeof(struct disk_root_entry) == 24 && ROOT_ENTRIES == 168, "root page");

struct disk_chunk {
	uint64_t chunk;
	uint64_t root_chunk;
	uint64_t chunk_bytes;
	uint64_t epoch;
	uint64_t position_epoch;
	uint64_t position_generation;
	uint64_t base_generation;
	uint64_t commit;
	uint32_t flags; /* DISK_CHUNK_MENDING */
	uint32_t page_count;
	uint64_t reserved[7];
};
static_assert(sizeof(struct disk_chunk) == 128, "chunk");
#define DISK_CHUNK_MENDING 1u

/* A unit that was never written is all zero. */
struct disk_unit {
	uint64_t epoch;
	uint64_t generation;
	uint32_t place;      /* place + 1; 0: holds no data */
	uint16_t data_mask;  /* blocks that hold data; the others read as zeros */
	uint16_t valid_mask; /* INVALID: blocks that were written since */
	uint16_t bad_mask;   /* known bad */
	uint8_t flags;
	uint8_t reserved[5];
	uint32_t crcs[UNIT_BLOCKS];
};
#define UNITS_PER_PAGE ((PAGE_BYTES - sizeof(struct disk_page)) / sizeof(struct disk_unit))
static_assert(sizeof(struct disk_unit) == 96 && UNITS_PER_PAGE == 42, "unit");
static_assert(offsetof(struct disk_unit, crcs) == 32, "unit");
#define UNIT_INVALID 1u
#define UNIT_LOST    2u /* in memory only: a write of it failed, its content is not known */
#define UNIT_FLAGS   (UNIT_INVALID)

#define CHUNK_UNITS_MAX (CHUNK_BYTES_MAX / UNIT_BYTES)
#define CHUNK_PAGES_MAX ((CHUNK_UNITS_MAX + UNITS_PER_PAGE - 1) / UNITS_PER_PAGE)
static_assert(sizeof(struct disk_page) + sizeof(struct disk_chunk) +
			      CHUNK_PAGES_MAX * sizeof(struct disk_pointer) <=
		      PAGE_BYTES,
	      "a chunk's pointers fit in one page");

/* Begins a batch in the journal: header_bytes with the records packed behind this, then data_bytes of blocks. */
struct disk_batch {
	uint32_t magic;
	uint32_t crc; /* of header_bytes with this field 0 */
	uint64_t sequence;
	uint64_t position; /* in the journal, counted without wrapping */
	uint64_t mount;
	uint64_t first_operation; /* number of the first record's operation; the others follow */
	uint64_t confirmed; /* batches up to this one were wholly durable when this one was made */
	uint32_t previous_crc; /* of the batch before it */
	uint32_t header_bytes; /* a multiple of 4 KiB */
	uint32_t data_bytes;   /* likewise */
	uint32_t data_crc;     /* of the data bytes */
	uint32_t record_count;
	uint32_t record_bytes;
	uint64_t reserved[3];
};
static_assert(sizeof(struct disk_batch) == 96, "batch");

enum disk_record_kind {
	RECORD_WRITE = 1,
	RECORD_ZERO = 2,
	RECORD_COPY = 3,
	RECORD_REPAIR = 4,
	RECORD_INVALIDATE = 5,
	RECORD_CREATE = 16,
	RECORD_DELETE = 17,
	RECORD_CLONE = 18,
	RECORD_FENCE = 19,
	RECORD_MEND_BEGIN = 20,
	RECORD_MEND_END = 21,
	RECORD_JOIN = 22,
	RECORD_START = 23,
};

/* Begins each record; bytes is a multiple of 8 and counts this too. */
struct disk_record {
	uint16_t kind;
	uint16_t reserved;
	uint32_t bytes;
	uint64_t chunk;
	uint64_t epoch;
	uint64_t generation;
};
static_assert(sizeof(struct disk_record) == 32, "record");

/* Where a unit's blocks go. */
struct disk_place {
	uint32_t place; /* PLACE_NONE: nowhere */
	uint16_t
		verify_mask; /* DIRECT: blocks that must pass their checksums for the record to count */
	uint16_t flags;
};
static_assert(sizeof(struct disk_place) == 8, "place");
#define PLACE_FRESH  1u /* given to this unit by this record */
#define PLACE_DIRECT 2u /* the blocks are written there at once; else they follow in the batch */

struct disk_record_write {
	struct disk_record head;
	uint32_t offset;
	uint32_t length;
	uint32_t unit_count;
	uint32_t reserved;
	struct disk_place places[];
	/* then a CRC32C for each block, and padding to 8 */
};
static_assert(sizeof(struct disk_record_write) == 48, "write record");

struct disk_record_zero {
	struct disk_record head;
	uint32_t offset;
	uint32_t length;
};
static_assert(sizeof(struct disk_record_zero) == 40, "zero record");

struct disk_record_copy {
	struct disk_record head; /* epoch, generation: of the unit, afterwards */
	uint32_t unit;
	uint16_t taken_mask; /* blocks that are replaced */
	uint16_t zero_mask;
	uint16_t bad_mask;
	uint16_t reserved[3];
	struct disk_place place;
	uint32_t crcs[UNIT_BLOCKS];
};
static_assert(sizeof(struct disk_record_copy) == 120, "copy record");

struct disk_record_repair {
	struct disk_record head;
	uint32_t unit;
	uint16_t block_mask;
	uint16_t reserved;
	struct disk_place place;
	uint32_t crcs[UNIT_BLOCKS];
};
static_assert(sizeof(struct disk_record_repair) == 112, "repair record");

struct disk_record_invalidate {
	struct disk_record head;
	uint32_t unit_count;
	uint32_t reserved;
	uint8_t bits[]; /* of the units that become invalid; padded to 8 */
};
static_assert(sizeof(struct disk_record_invalidate) == 40, "invalidate record");

/* CREATE and all that follow it. */
struct disk_record_state {
	struct disk_record head;
	uint64_t origin;
	uint64_t commit;
	uint64_t root_chunk;
	uint64_t chunk_bytes;
};
static_assert(sizeof(struct disk_record_state) == 64, "state record");

#endif
