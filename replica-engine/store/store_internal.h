/*
 * store_internal.h - what the files of the store share.
 *
 * The way of a mutation: store_submit (mutate.c) gives it a ticket; when the journal has room it is planned (places are
 * chosen), its record goes into the batch that is being collected, and apply.c makes its effect in memory. journal.c writes
 * batches in order and completes their operations in order. Whole units are written straight to fresh places
 * (direct.c) beside the batch. writeback.c brings blocks from the journal home; checkpoint.c writes changed pages and
 * moves the journal's tail. Opening (open.c, load.c, replay.c) reads the pages and applies the journal's records by the same
 * code that applied them first.
 *
 * With store_options.metadata_memory_bytes pages of units are only a cache of those on the disk (page_cache.c): an operation then
 * waits, before it is looked at, until the pages that it touches are there.
 *
 * Numbers that order things: a ticket for each mutation submitted; an operation number for each record; a sequence number
 * for each batch; a position (bytes, never wrapping) in the journal.
 */
#ifndef COPYHOLD_STORE_INTERNAL_H
#define COPYHOLD_STORE_INTERNAL_H

#include "replica-engine/store/store.h"
#include "replica-engine/store/layout.h"
#include "replica-engine/store/space.h"
#include "replica-engine/store/dirty.h"

#include "common/base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_HEADER_MAX         16384u
#define RECORD_BYTES_MAX         4096u
#define BATCH_IOVS               256u
#define BATCH_IOVS_PER_OP        20u
#define BATCHES_IN_FLIGHT        2u
#define DIRECT_BATCHES_IN_FLIGHT 8u
#define RECENT_SLOTS             16384u
#define JOURNAL_BYTES_MIN        MIB
#define SEGMENT_BYTES_MAX        (2 * MIB)
#define OPEN_DEPTH               8u
#define MEMORY_PER_TIB           (GIB * 16 / 10)
/* The most units that one write touches: places that only overwrites may take. */
#define OVERWRITE_UNITS (IO_BYTES_MAX / UNIT_BYTES + 1)

/* ---- chunks and units ---- */

struct unit_page {
	struct disk_unit units[UNITS_PER_PAGE];
};

/* With paging: where pages lie. */
struct cached_page {
	TAILQ_ENTRY(cached_page) clock_link;
	struct page_ref *ref; /* NULL: not in the clock */
	struct unit_page units;
};
TAILQ_HEAD(cached_pages, cached_page);

struct page_ref {
	struct unit_page *
		page; /* NULL: all its units were never written, or (only with paging) it is on disk alone */
	struct unit_page *image; /* as it was when the running checkpoint began; NULL: as it is */
	struct disk_pointer at;  /* on disk, or SLOT_NONE */
	/* The rest but for dirty and pending is page_cache.c's. */
	uint32_t pins;     /* operations that need it in memory */
	bool dirty : 1;    /* changed since the last checkpoint began */
	bool pending : 1;  /* belongs to the running checkpoint and isn't written yet */
	bool held : 1;     /* belongs to a checkpoint whose header isn't durable yet */
	bool used : 1;     /* again, since it was read or the clock's hand came by */
	bool loading : 1;  /* is being read */
	bool failed : 1;   /* could not be read for those who need it now */
	bool reported : 1; /* that it can't be read stands in the log */
};
static_assert(sizeof(struct page_ref) == 32, "4096 chunks a TiB have 98 of them each");

/* A page's reference is there, whether the page is in memory or not. */
static inline bool page_exists(const struct page_ref *ref)
{
	return ref->page || ref->at.slot != SLOT_NONE;
}

/* It exists and isn't in memory. An operation that waited for it sees that only if it can't be read. */
static inline bool page_lost(const struct page_ref *ref)
{
	return !ref->page && ref->at.slot != SLOT_NONE;
}

/* The units of one life of a chunk. After DELETE it stays until a checkpoint has dropped its pages. */
struct unit_table {
	struct disk_pointer at; /* the chunk's own page */
	uint32_t page_count, unit_count;
	uint64_t chunk;
	uint32_t pins; /* operations that pin pages of it: it is freed after the last one */
	bool orphan;   /* nobody else has it any more */
	TAILQ_ENTRY(unit_table) grave_link; /* in graves, or in orphans */
	struct page_ref pages[];
};
TAILQ_HEAD(unit_tables, unit_table);

/* What protocol operations change; kept twice: as applied, and as submitted. */
struct chunk_state {
	bool exists, mending;
	uint64_t epoch;
	struct version position;
	uint64_t base_generation;
	uint64_t commit;
	uint64_t root_chunk;
	uint64_t chunk_bytes;
};

/* A chunk, or a tombstone (!now.exists). */
struct chunk {
	uint64_t id;
	uint32_t index; /* in the root pages */
	struct chunk_state now;
	struct chunk_state submitted; /* now, and what waits for room in the journal */
	uint32_t waiting;             /* operations of this chunk in store->waiting */
	uint64_t last_ticket;         /* of an operation that concerns all of it */
	uint64_t refused_ticket;      /* writes up to this one wait behind one that was refused */
	enum store_status refused_status; /* and are answered like it */
	uint64_t digest;
	uint32_t unit_count, invalid_units, places;
	struct unit_table *table; /* NULL: tombstone */
	bool dirty;
	TAILQ_ENTRY(chunk) dirty_link;
	UT_hash_handle hh;
};
TAILQ_HEAD(chunks, chunk);

/* ---- operations ---- */

struct op_state {
	uint64_t ticket;
	uint64_t plan_hash; /* READ */
	struct slice payload;
	struct batch *batch;
	struct unit_table *table;       /* with pages that it pins; NULL: none */
	uint32_t first_page, last_page; /* of these */
	uint32_t pending;               /* READ: requests at the disk */
	int error;
	bool recorded; /* has a record in its batch */
	bool single;   /* READ: block by block, after the disk failed a request */
	uint8_t unreadable[IO_BLOCKS_MAX / 8];
};
static_assert(sizeof(struct op_state) <= sizeof(((struct store_op *)0)->implementation),
	      "op state");

static inline struct op_state *op_state(struct store_op *op)
{
	return (struct op_state *)(void *)op->implementation;
}

TAILQ_HEAD(store_ops, store_op);

/* A batch of the journal: collecting, then closed, then being written, then complete. */
struct batch {
	TAILQ_ENTRY(batch) link;
	struct store *store;
	struct io_disk_request request;
	struct buf *header;
	uint32_t record_bytes, record_count, data_bytes;
	struct iovec iov[BATCH_IOVS];
	uint32_t iov_count; /* [0] is the header */
	struct store_ops ops;
	uint64_t first_operation, first_ticket, last_ticket;
	uint64_t sequence, position, confirmed, confirmed_operation;
	uint32_t header_bytes;
	uint32_t unready; /* copies on write whose old data isn't there yet */
	uint32_t direct;  /* writes of whole units under way */
	bool closed, started, written, failed;
	bool confirm; /* is written even without a record */
};
TAILQ_HEAD(batches, batch);

/* What is remembered of each batch between tail and head. */
struct batch_info {
	uint64_t sequence, position;
	uint64_t last_operation; /* highest one up to and with this batch */
	uint32_t bytes;
	uint32_t crc, previous_crc;
	uint32_t live; /* blocks that are the newest of their place */
};

/* A request of the store's own, recycled. */
struct io {
	struct io_disk_request request;
	SLIST_ENTRY(io) free_link;
	LIST_ENTRY(io) busy_link;
	struct store *store;
	void (*done)(struct io *io);
	struct store_op *op;
	struct batch *batch;
	void *user;
	struct buf *buf;
	uint64_t number;
	uint32_t iov_count;
	struct iovec iov[16];
};

/* A unit that is shared: its old blocks are read, joined with the new ones and written to a fresh place. */
struct cow {
	TAILQ_ENTRY(cow) link; /* waiting */
	LIST_ENTRY(cow) busy_link;
	struct store *store;
	struct batch *batch;
	uint64_t
		need_ticket; /* the old data is there when operations up to this one are complete */
	uint32_t old_place, new_place;
	uint16_t old_mask;    /* blocks to take from old_place */
	uint16_t bad_mask;    /* of those: unreadable, or failing their checksums */
	uint32_t first_block; /* of the unit, in the chunk */
	uint64_t root_chunk;
	uint64_t sources[UNIT_BLOCKS]; /* where on the disk each was read */
	uint32_t crcs[UNIT_BLOCKS];
	uint32_t verify_offset; /* in the batch's header: the place's verify_mask */
	uint32_t pending;
	struct buf *buf;
};
TAILQ_HEAD(cows, cow);

/* A place that holds nothing any more, from `operation` on. */
struct freed {
	uint32_t place;
	uint64_t operation;
};

struct journal {
	struct batches queue; /* collecting one last */
	uint32_t in_flight, in_flight_bytes;
	bool broken;         /* a batch failed: so do all later ones */
	uint64_t head, tail; /* positions */
	uint64_t next_sequence;
	uint32_t previous_crc;
	uint64_t mount;
	struct batch_info *ring; /* [first .. first + count), a power of two long */
	uint64_t ring_mask, ring_first, ring_count;
	uint64_t reserved;            /* bytes of batches not started */
	uint64_t durable_sequence;    /* all batches up to this one are complete */
	uint64_t confirmed_sequence;  /* all up to this one are confirmed by a durable batch */
	uint64_t confirmed_operation; /* the last one in them */
	uint64_t durable_operation;
	uint64_t last_operation; /* applied in memory */
	uint64_t completed_ticket;
	uint32_t batch_bytes_max;
	int64_t credit_bytes; /* what may still be admitted while the journal is rather full */
};

/* Pages of units as a cache of those on disk. */
struct page_cache {
	uint64_t limit;    /* pages; 0: no paging, all are in memory */
	uint64_t resident; /* pages and images in memory */
	struct cached_pages
		clock;      /* pages that a durable checkpoint holds; the hand is at the head */
	uint64_t clocked;   /* these; all others stay */
	uint64_t pinned[2]; /* pages pinned by mutations, by queries */
	struct store_ops waiters; /* queries that wait for pages */
	struct store_ops queued;  /* queries that have not asked for theirs yet */
	struct unit_tables orphans;
	uint32_t loading; /* requests */
	/* While the journal is replayed: told when no request is under way any more, with 0 or the first failure since. */
	void (*loaded)(void *context, int status, uint64_t offset);
	void *loaded_context;
	int status;
	uint64_t status_offset;
};

struct writeback;
struct checkpoint;

struct store {
	struct io_disk *disk;
	struct store_options options;
	struct disk_superblock super;
	uint32_t seed; /* of all checksums of structures on this disk */
	uint32_t unit_count;
	uint32_t reserve_units;
	bool failed, closing;

	struct chunk *chunks; /* uthash by id */
	struct chunks dirty_chunks;
	struct unit_tables graves;
	struct chunk **index; /* by root entry */
	uint32_t index_count, index_capacity;
	uint32_t *index_free;
	uint32_t index_free_count;
	uint64_t unit_pages, chunk_pages; /* that exist: each may need a slot and its shadow */
	uint64_t table_bytes;             /* of all unit tables */
	uint64_t *order;                  /* ids in order, for store_chunk_next */
	uint32_t order_count;
	bool order_valid;

	struct page_cache cache;

	struct space places;
	uint16_t *refs;
	bool counting; /* paging, being opened: references are counted, and nothing that is given back may be taken yet */
	uint32_t overflowed; /* place + 1 with more references than can be; 0: none */
	struct freed *freed; /* queue, a power of two long */
	uint64_t freed_mask, freed_first, freed_count;
	struct dirty dirty;
	struct space slots;

	struct journal journal;
	struct store_ops waiting;  /* mutations that can't be admitted yet */
	bool waits_for_pages;      /* the first of them waits for pages of units, not for room */
	struct store_ops readers;  /* reads that wait for mutations */
	struct store_ops deferred; /* finished, to be told when the loop turns */
	bool doorbell_rung;
	struct io_disk_request doorbell;
	uint64_t next_ticket;
	uint64_t recent_units
		[RECENT_SLOTS]; /* last ticket of a mutation, by hash of chunk and unit */
	uint64_t recent_places[RECENT_SLOTS]; /* last ticket that wrote to a place, by hash */

	SLIST_HEAD(, io) free_ios;
	LIST_HEAD(, io) busy_ios;
	struct batches free_batches;
	struct cows cows;
	LIST_HEAD(, cow) busy_cows;

	struct writeback *writeback;
	struct checkpoint *checkpoint;
	struct disk_root_entry
		*root_entries; /* as of the last checkpoint; index_capacity of them */
	struct disk_pointer roots[ROOTS_MAX];
	uint32_t root_count;
	uint64_t checkpoint_sequence;
	uint64_t checkpoint_operation;
	struct store_counters counters;

	void (*close_done)(void *context, int status);
	void *close_context;
	void (*identity_done)(void *context, int status);
	void *identity_context;
};

/* ---- store.c ---- */
struct store *store_new(struct io_disk *disk, const struct store_options *options,
			const struct disk_superblock *super);
/* From now on the disk takes no more writes. */
void store_fail(struct store *store, const char *what, uint64_t offset, int error);
/* done() is called when the loop turns. */
void store_defer(struct store *store, struct store_op *op);
void store_ring_doorbell(struct store *store);
/* Lets everything go on that may have become possible. */
void store_continue(struct store *store);
uint64_t store_memory_bytes(const struct store *store);
uint32_t store_seed(const uint8_t disk[16]);
uint32_t store_crc(uint32_t seed, const void *data, size_t bytes);

/* ---- io.c: the store's own requests ---- */
struct io *io_get(struct store *store, void (*done)(struct io *io));
void io_put(struct io *io);
void io_add(struct io *io, void *data, size_t bytes);
void io_read(struct io *io, uint64_t offset, unsigned flags);
void io_write(struct io *io, uint64_t offset, unsigned flags);
void io_sync(struct io *io);

static inline uint64_t place_offset(const struct store *store, uint32_t place)
{
	return store->super.data_offset + (uint64_t)place * UNIT_BYTES;
}

static inline uint64_t slot_offset(const struct store *store, uint32_t slot)
{
	return store->super.metadata_offset + (uint64_t)slot * PAGE_BYTES;
}

/* ---- places.c ---- */
enum places_verdict {
	PLACES_ALLOW,
	PLACES_LATER, /* those that were given back can't be written yet, but soon */
	PLACES_FULL,
};
/* For what places are taken: how much of the reserve it may use. */
enum places_use {
	PLACES_NEW_DATA, /* nothing */
	PLACES_REPAIR,   /* half */
	/* All: other replicas have accepted it already, and as long as this one has not, the chunk is of no use to anybody. */
	PLACES_ROLL,
};
/* May an operation take so many places, and give others back? */
enum places_verdict places_judge(const struct store *store, uint32_t taken, uint32_t given_back,
				 enum places_use use);
uint32_t place_take(struct store *store);
void place_ref(struct store *store, uint32_t place);
void place_unref(struct store *store, uint32_t place);
/* Places freed by operations that are confirmed may be taken again. */
void places_release(struct store *store);
uint64_t places_free(const struct store *store);

/* ---- chunk.c ---- */
struct chunk *chunk_find(const struct store *store, uint64_t id);
struct chunk *chunk_find_or_add(struct store *store, uint64_t id);
void chunk_mark_dirty(struct store *store, struct chunk *c);
/* Gives the chunk an empty table; now.chunk_bytes is set. */
void chunk_make_table(struct store *store, struct chunk *c);
/* Gives all its places back; the table goes to the graves. */
void chunk_drop_table(struct store *store, struct chunk *c);
void unit_table_free(struct store *store, struct unit_table *table);
/* NULL if the unit was never written. Its page must be in memory if there is one (page_cache_ready); so for all that follow. */
struct disk_unit *unit_find(const struct chunk *c, uint32_t unit);
/* For a change: makes the page if there is none, keeps its image for a running checkpoint. */
struct disk_unit *unit_change(struct store *store, struct chunk *c, uint32_t unit);
/*
 * May there be so many pages more? The metadata region bounds them, and the memory that they take. What gives room back
 * (ZERO, DISCARD) and what repairs may use the part that is kept for it.
 */
bool pages_allow(const struct store *store, uint64_t pages, bool kept);
uint32_t pages_missing(const struct chunk *c, uint32_t first_unit, uint32_t last_unit);
void unit_set_version(struct chunk *c, struct disk_unit *u, uint32_t unit, struct version version);
void chunk_free_all(struct store *store);
uint64_t version_hash(uint32_t unit, struct version version);

static inline struct version unit_version(const struct disk_unit *u)
{
	return (struct version){u->epoch, u->generation};
}

/* ---- page_cache.c; called only with paging, but for those that say otherwise ---- */
void page_cache_init(struct store *store);
void page_cache_destroy(struct store *store);
/* Memory for a page of units, its content undefined. With and without paging, as the two above. */
struct unit_page *page_new(struct store *store);
void page_free(struct store *store, struct unit_page *page);

enum page_verdict {
	PAGES_READY,
	PAGES_LATER,  /* they are being read */
	PAGES_FAILED, /* one can't be read */
};
/* Are all pages there that the operation touches, as the chunk is now? Pins them, and reads those that are missing. */
enum page_verdict page_cache_ready(struct store *store, struct store_op *op);
/* A mutation will be asked for later: its pages may be read already. */
void page_cache_prefetch(struct store *store, struct store_op *op);
/* As page_cache_ready, for queries: if false, the query waits here and is started again (read.c), or it was answered. */
bool page_cache_query_ready(struct store *store, struct store_op *op);
/* Nothing, if the operation pins nothing; so without paging. */
void page_cache_unpin(struct store *store, struct store_op *op);
/* Starts queries whose pages have come. */
void page_cache_continue(struct store *store);
/* Reads pages of the table that are missing, without pinning them; for replay, while nothing is evicted. */
void page_cache_load(struct store *store, struct unit_table *table, uint32_t first, uint32_t last);
/* The page is about to be changed; ref->dirty is set afterwards. */
void page_cache_change(struct store *store, struct page_ref *ref);
/*
 * Puts pages of units that were never written in the place of those that can't be read: an INVALIDATE marks all of these
 * units. All others are in memory. What the lost ones said is used stays so until the disk is opened the next time.
 */
void page_cache_replace_lost(struct store *store, struct chunk *c);
/* A checkpoint with this table is durable. */
void page_cache_checkpointed(struct store *store, struct unit_table *table);
/* So many pages are changed that a checkpoint must write them. False without paging. */
bool page_cache_wants_checkpoint(const struct store *store);
/* So many that no operation may change more before that. */
bool page_cache_full(const struct store *store);
void page_cache_evict(struct store *store);
/* What pages of units take in memory. With and without paging, as what follows. */
uint64_t page_cache_memory_bytes(const struct store *store);
/* No query waits for pages. */
bool page_cache_idle(const struct store *store);

/* The first of the waiting mutations waits for room in the journal, or places. */
static inline bool store_wants_room(const struct store *store)
{
	return !TAILQ_EMPTY(&store->waiting) && !store->waits_for_pages;
}

/* ---- record.c ---- */
/* True if a record of at most `left` bytes is well formed and its places are on this disk. */
bool record_valid(const struct store *store, const struct disk_record *r, uint32_t left);
const uint32_t *record_write_crcs(const struct disk_record_write *r);
uint32_t record_write_bytes(uint32_t units, uint32_t blocks);
/* Blocks that the record has in its batch. */
uint32_t record_data_blocks(const struct disk_record *r);
/* The part of unit i (from the range's first) that the range covers. */
uint16_t range_mask(uint32_t offset, uint32_t length, uint32_t i);

/* ---- apply.c ---- */
/* Makes a record's effect in memory; false if it doesn't fit what is there (replay of a damaged disk). */
bool apply_record(struct store *store, const struct disk_record *r);
/* Once a batch is durable: which of its blocks are the newest of their place. header: the batch as on disk. */
void index_batch(struct store *store, const struct disk_batch *header);

/* ---- mutate.c ---- */
void mutate_submit(struct store *store, struct store_op *op);
/* Admits operations that wait, as far as the journal has room. */
void mutate_admit_waiting(struct store *store);
uint64_t *recent_unit(struct store *store, uint64_t chunk, uint32_t unit);
uint64_t *recent_place(struct store *store, uint32_t place);

/* ---- direct.c ---- */
/* Writes whole units to consecutive fresh places, beside the batch. */
void direct_write(struct store *store, struct batch *b, uint32_t place, uint8_t *data,
		  uint32_t units);
struct cow *cow_new(struct store *store, struct batch *b);
/* The new blocks are in c->buf; reads the old ones as soon as they can be read. */
void cow_start(struct cow *c);
void cow_continue(struct store *store);

/* ---- journal.c ---- */
void journal_init(struct store *store);
void journal_destroy(struct store *store);
/* The batch that is collected, with room for a record and blocks; NULL if the journal has none. */
struct batch *journal_collect(struct store *store, uint32_t record_bytes, uint32_t data_bytes);
/* So many bytes of the journal came home: so much more may be let in. */
void journal_add_credit(struct store *store, uint64_t bytes);
/* A fresh batch must be begun for what comes next. */
void journal_close_batch(struct store *store);
void *batch_record(struct batch *b, uint32_t bytes);
void batch_add_data(struct batch *b, void *data, uint32_t bytes);
void batch_add_op(struct batch *b, struct store_op *op);
/* Starts what can be written. */
void journal_start(struct store *store);
/* Completes what is durable, and starts. Never from inside store_submit. */
void journal_pump(struct store *store);
/* Confirms the last batches with an empty one, if nothing else will. */
void journal_confirm(struct store *store);
/* An empty batch, whatever else: the first of a mount. */
void journal_end_mark(struct store *store);
struct batch_info *journal_info(struct store *store, uint64_t i);
void journal_push_info(struct store *store, const struct batch_info *info);
/* Forgets batches before the first that is needed; returns the new tail. */
void journal_set_tail(struct store *store, uint64_t ring_drop);
uint64_t journal_ring_offset(const struct store *store, uint64_t position);
/* One more, one less block of a batch (low half of its sequence) is the newest of its place. */
void journal_batch_live(struct store *store, uint32_t sequence);
void journal_batch_dropped(void *context, uint32_t sequence);
bool journal_idle(const struct store *store);
/* Nothing that is durable waits for a batch that confirms it. */
bool journal_confirmed(const struct store *store);

/* ---- read.c ---- */
void read_submit(struct store *store, struct store_op *op);
void versions_submit(struct store *store, struct store_op *op);
void readers_continue(struct store *store);
/* A query whose pages are there. */
void query_start(struct store *store, struct store_op *op);
/* Where a block of a place is to be read. */
uint64_t block_offset(const struct store *store, uint32_t place, unsigned block);

/* ---- writeback.c ---- */
void writeback_init(struct store *store);
void writeback_destroy(struct store *store);
void writeback_continue(struct store *store);
/* So many bytes of the journal have become durable: as long as there is room, that allows some to be brought home. */
void writeback_allow(struct store *store, uint64_t bytes);
/* Goes on where nothing else lets it: while nothing is written. */
void writeback_tick(struct store *store);
/* Everything before this position is at home. */
uint64_t writeback_position(const struct store *store);
/* How many batches of the ring are at home. */
uint64_t writeback_ring_done(const struct store *store);
void writeback_ring_moved(struct store *store, uint64_t dropped);
bool writeback_idle(const struct store *store);
/* Blocks are on their way to this place: it can't be given to anybody else. */
bool writeback_holds(const struct store *store, uint32_t place);

/* ---- checkpoint.c ---- */
void checkpoint_init(struct store *store);
void checkpoint_destroy(struct store *store);
void checkpoint_continue(struct store *store);
bool checkpoint_running(const struct store *store);
bool checkpoint_closed(const struct store *store);
/* Fills a page's header; the body is there. */
void page_seal(const struct store *store, struct disk_page *page, enum disk_page_kind kind,
	       uint32_t slot, uint64_t chunk, uint32_t index, uint64_t checkpoint);
/* The checkpoint header as bytes; returns how many. */
uint32_t checkpoint_encode(const struct store *store, uint8_t *at, uint64_t tail_drop, bool clean,
			   uint64_t operation);

/* ---- superblock.c ---- */
void superblock_seal(struct disk_superblock *super);
/* NULL if valid, else why not. */
const char *superblock_check(const struct disk_superblock *super, uint64_t disk_bytes);

/* ---- load.c, replay.c ---- */
struct opening {
	struct io_disk *disk;
	struct store_options options;
	struct store *store;
	void (*done)(void *context, int status, const char *why, struct store *store);
	void *context;
	char why[256];
	struct disk_checkpoint *checkpoint; /* CHECKPOINT_BYTES */
	uint64_t limit;                     /* sequence of a batch that doesn't count; 0: none */
	bool super_differs;    /* one copy of the superblock is not what the one that counts says */
	uint64_t super_offset; /* where that copy belongs */
};
/* NULL if this is the page of units that `at` points to, and makes sense; else why not. */
const char *units_page_check(const struct store *store, struct disk_page *page,
			     struct disk_pointer at, uint64_t chunk, uint32_t index,
			     uint32_t unit_count);
/* in: writable memory of CHECKPOINT_BYTES. */
bool checkpoint_header_valid(uint32_t seed, const struct disk_checkpoint *in);
/* Ends the opening. */
void opening_fail(struct opening *o, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Reads the tree of pages; then replay_start. */
void load_start(struct opening *o);
/* Reads the journal; then opening_finish. */
void replay_start(struct opening *o);
void opening_finish(struct opening *o);
/* Begins again from the pages. */
void opening_restart(struct opening *o);

#endif
