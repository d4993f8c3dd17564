/*
 * store.h - the chunk server's disk: replicas of chunks on one file or block device.
 *
 * The store is a pure library over the disk seam (common/io/disk.h): it knows no sockets, files, clocks or threads.
 * All calls come from one event loop's thread. It promises (DESIGN.md section 5):
 *   - a mutation that completed with STORE_OK is on stable storage, with its metadata;
 *   - mutations of one chunk take effect, become durable and complete in the order of their submission;
 *   - after a crash a chunk is exactly the state after some prefix of its submitted mutations that includes every
 *     completed one, each block passing its checksum;
 *   - a fault of the disk is a status, never an abort and never wrong bytes presented as good.
 *
 * Space: a write into what is there already (and not shared with a clone), a ZERO and a DISCARD are never refused with
 * STORE_NO_SPACE, however full the disk is; new data is refused before anything of it has happened (docs/DISK-FORMAT.md, 9).
 * Only a DISCARD or ZERO of units that were never written can be refused, when the metadata region is exhausted to the last page.
 *
 * The store does not judge epochs or generations: the replica core (replica-engine/core) decides what may be applied
 * and in which order. The store records what it is told.
 */
#ifndef COPYHOLD_STORE_H
#define COPYHOLD_STORE_H

#include "common/base/buf.h"
#include "common/io/disk.h"
#include "proto/msg.h"

struct store;

enum store_status {
	STORE_OK = 0,
	STORE_NO_SPACE, /* nothing was changed */
	/*
	 * Mutation: the disk takes no more writes from now on (store_failed()); or, with metadata_memory_bytes, metadata of these units
	 * can't be read: nothing was changed. Query: nothing of this range.
	 */
	STORE_DISK_ERROR,
	STORE_BAD_BLOCK, /* read: some blocks are known bad, can't be read or fail their checksum, named in bad_blocks */
	STORE_INVALID_UNIT, /* read: touches a unit that is invalid here */
	STORE_NOT_FOUND,    /* no such chunk */
	STORE_NOT_APPLIED, /* COPY, REPAIR: the condition did not hold (unit valid, version differs); nothing changed */
	STORE_EXISTS, /* CLONE: the chunk is there (with this commit: done before) */
};

enum store_op_kind {
	/* chunk life; commit numbers are remembered, also of deleted chunks (tombstones) */
	STORE_CREATE, /* chunk, epoch (fence), commit, root_chunk, chunk_bytes. An existing chunk keeps its data; fence = max, commit = max */
	STORE_DELETE, /* chunk, commit: frees everything, leaves a tombstone */
	STORE_CLONE, /* chunk (new), origin, epoch, commit: shares all units of origin copy-on-write, keeps invalid marks */
	/* protocol state; each durable when it completes */
	STORE_FENCE,      /* epoch: fence = max(fence, epoch) */
	STORE_MEND_BEGIN, /* mending = true */
	STORE_MEND_END,   /* mending = false, position, base_generation = position.generation */
	STORE_JOIN,       /* position, base_generation = position.generation, mending = false */
	STORE_START, /* base_generation = generation (first write of a new epoch will be generation + 1) */
	STORE_INVALIDATE, /* versions[unit_count]: marks each unit whose version differs, or that is invalid already, as invalid with an empty valid mask */
	/* data */
	STORE_WRITE, /* offset, bytes, position, crcs, data: unit versions and the chunk's position become `position` */
	STORE_ZERO, /* offset, bytes, position: blocks read as zeros; whole units are given back */
	STORE_DISCARD, /* as ZERO */
	STORE_COPY, /* unit, position (the unit's new version), zero_mask, bad_mask, crcs, data (or none), roll */
	STORE_REPAIR, /* unit, position (must equal the unit's version), block_mask, crcs, data */
	/* queries (no change) */
	STORE_READ,     /* offset, bytes -> data, crcs, zero_blocks, bad_blocks, version */
	STORE_VERSIONS, /* -> versions, invalid, allocated */
};

/* The most that one op carries. */
#define STORE_CRCS_MAX IO_BLOCKS_MAX

/*
 * One operation, embedded by the user and untouched by him until done() is called: exactly once, never from inside
 * store_submit. data: the store takes its own reference as long as it needs one. Outputs are valid in done() and until
 * the op is used again.
 */
struct store_op {
	enum store_op_kind kind;
	uint64_t chunk;
	uint64_t origin;
	uint64_t epoch;
	uint64_t commit;
	uint64_t root_chunk;
	uint64_t chunk_bytes;
	struct version position;
	uint32_t offset, bytes;
	uint32_t unit;
	uint32_t unit_count;
	bool roll; /* COPY: replace the unit whatever its state (else: only an invalid one, only its blocks not valid) */
	bool no_verify; /* READ: do not check the checksums here, the reader will */
	uint16_t zero_mask, bad_mask, block_mask;
	uint32_t crcs[STORE_CRCS_MAX];
	struct slice
		data; /* in: WRITE, COPY, REPAIR. out: READ (the user owns the reference; empty if all is zero) */
	const struct version *in_versions; /* INVALIDATE: must stay valid until done() */

	/* results */
	enum store_status status;
	struct version version; /* READ: of the unit, if the range lies in one */
	bool all_zero;
	uint8_t zero_blocks[IO_BLOCKS_MAX / 8];
	uint8_t bad_blocks[IO_BLOCKS_MAX / 8];
	bool any_bad;
	struct version *
		versions; /* VERSIONS: unit_count entries, allocated by the store, freed by store_op_clear() */
	uint8_t *invalid;       /* VERSIONS, INVALIDATE: one bit a unit; likewise */
	uint8_t *allocated;     /* VERSIONS: likewise */
	uint32_t invalid_count; /* INVALIDATE, VERSIONS */

	void (*done)(struct store_op *op);
	void *context;
	/* the store's */
	TAILQ_ENTRY(store_op) link;
	uint64_t implementation[16];
};

/* Frees what a completed op's results hold (versions, invalid, allocated, data). */
void store_op_clear(struct store_op *op);

/* What the store knows of a chunk, at once and without IO; includes mutations that were submitted and are not yet durable. */
struct store_chunk {
	uint64_t chunk;
	uint64_t root_chunk;
	uint64_t chunk_bytes;
	uint64_t epoch;          /* fence */
	struct version position; /* of the last write */
	uint64_t
		base_generation; /* generations up to this belong to earlier epochs, or to before the JOIN */
	uint64_t commit; /* last CREATE, CLONE or DELETE carried out */
	/*
	 * This and what follows, but for mending: of mutations that the journal has room for. Those that wait for room count
	 * when they have got it, at the latest when they complete.
	 */
	uint64_t
		digest; /* sum over all units of a hash of (unit index, version); never-written units add nothing */
	bool mending;
	uint32_t unit_count;
	uint32_t invalid_units;
	uint64_t allocated_bytes;
};

/* False if there is no such chunk. A tombstone is no chunk; its commit is given by store_tombstone. */
bool store_chunk_get(const struct store *store, uint64_t chunk, struct store_chunk *out);
/* The commit number of the last DELETE of a chunk that is not there; 0 if none is known. */
uint64_t store_tombstone(const struct store *store, uint64_t chunk);
/* Walks all chunks in the order of their ids: the first one with an id >= *chunk. False at the end. */
bool store_chunk_next(const struct store *store, uint64_t *chunk, struct store_chunk *out);

struct store_identity {
	struct uuid disk;    /* made at format */
	struct uuid cluster; /* zero until the first registration */
	uint32_t cid;        /* 0 until the first registration */
};

struct store_counters {
	uint64_t capacity_bytes; /* of data units */
	uint64_t free_bytes; /* what may still be promised to writes (the reserve is taken off) */
	uint64_t used_bytes;
	uint64_t newest_commit;        /* highest commit number of any CREATE, CLONE, DELETE */
	uint64_t newest_epoch;         /* highest fence of any chunk */
	uint64_t user_write_bytes;     /* what WRITEs brought */
	uint64_t journal_write_bytes;  /* to the journal */
	uint64_t home_write_bytes;     /* to units */
	uint64_t metadata_write_bytes; /* to unit metadata and superblocks */
	uint64_t device_writes, device_reads, device_syncs;
	uint64_t writes, reads;
	uint64_t read_errors, write_errors, checksum_errors, repaired_blocks;
	uint64_t journal_bytes, journal_used_bytes;
	uint64_t memory_bytes;            /* of everything that the store keeps */
	uint64_t metadata_memory_bytes;   /* as the option says; 0: all metadata is in memory */
	uint64_t metadata_resident_bytes; /* pages of units in memory */
	/* With metadata_memory_bytes: pages of units that operations found in memory, and that they had read. */
	uint64_t metadata_hits, metadata_misses;
};

struct store_options {
	/* Of everything that the store keeps; what would need more is answered with NO_SPACE. 0: as much as the metadata region holds. */
	uint64_t memory_limit_bytes;
	/*
	 * Most memory for pages of units (the largest part of it); others are read from disk when they are needed. 0: all are in
	 * memory. Bursts may take half as much more (page_cache.c).
	 */
	uint64_t metadata_memory_bytes;
	bool read_only; /* inspect, fsck */
};

struct store_format_options {
	uint64_t journal_bytes;  /* 0: chosen by the size of the disk */
	uint64_t metadata_bytes; /* 0: likewise */
	struct uuid disk;        /* random, from the caller */
};

/* The superblocks' version; any change of a layout on disk raises it (docs/DISK-FORMAT.md). */
#define STORE_FORMAT_VERSION 1

/*
 * Formats a disk; done(context, status, why) with 0 or a negative errno and a reason for people. Overwrites; whether that
 * is wanted is the caller's to ask (store_probe). The disk must stay until done() is called.
 */
void store_format(struct io_disk *disk, const struct store_format_options *options,
		  void (*done)(void *context, int status, const char *why), void *context);

/*
 * Opens: reads the superblock, the metadata, replays the journal. done(context, status, why, store): status 0 and a store,
 * or -EINVAL (not a Copyhold disk, or a version not known), -EUCLEAN (damaged; why names the offset), -EIO, -EMEDIUMTYPE (truncated).
 */
void store_open(struct io_disk *disk, const struct store_options *options,
		void (*done)(void *context, int status, const char *why, struct store *store),
		void *context);

/* Submits an operation; see struct store_op. Never fails at once: errors come as the op's status. */
void store_submit(struct store *store, struct store_op *op);

/* Records who this disk is; done when durable. */
void store_set_identity(struct store *store, struct uuid cluster, uint32_t cid,
			void (*done)(void *context, int status), void *context);

struct store_identity store_identity(const struct store *store);
struct store_counters store_counters(const struct store *store);
/* True once a write has failed: the disk answers reads while it can and takes no more writes. */
bool store_failed(const struct store *store);

/*
 * Lets background work (write-back, checkpoints) go on; to be called about every 100 ms. Between calls the store works
 * on its own as its requests complete.
 */
void store_tick(struct store *store, uint64_t now_ns);

/* Writes back everything, marks the disk clean; then done(), after which only store_free may be called. */
void store_close(struct store *store, void (*done)(void *context, int status), void *context);
/*
 * Frees the memory; without store_close that is a crash as far as the disk is concerned. No request may be under way at the disk
 * (a simulated one must have forgotten them). Not from inside an operation's done().
 */
void store_free(struct store *store);

#endif
