/* store_driver.h - a store over a mem_disk for tests: synchronous calls around the asynchronous interface. */
#ifndef COPYHOLD_TESTS_STORE_DRIVER_H
#define COPYHOLD_TESTS_STORE_DRIVER_H

#include "replica-engine/store/store.h"
#include "replica-engine/store/store_tools.h"
#include "tests/lib/mem_disk.h"

struct opened {
	int status;
	char why[256];
	struct store *store;
};

/* driver_open opens with this option; 0 at first. 1 is a cache of one page. */
extern uint64_t driver_metadata_memory_bytes;

int driver_format(struct mem_disk *m, uint64_t journal_bytes);
int driver_format_with(struct mem_disk *m, const struct store_format_options *options);
/* Opens; the disk's requests are run until it is told. */
struct opened driver_open(struct mem_disk *m);
struct opened driver_open_with(struct mem_disk *m, const struct store_options *options);
struct opened driver_open_read_only(struct mem_disk *m);
/* Closes and frees; returns what close told. */
int driver_close(struct mem_disk *m, struct store *store);

/* Checks the disk; the last problem's text goes to `last` (256 bytes). */
struct store_fsck_result driver_fsck(struct mem_disk *m, bool deep, char last[256]);

/* Submits and runs the disk until the operation is done. */
enum store_status driver_do(struct mem_disk *m, struct store *store, struct store_op *op);

/* Content that says where and what it is; tag 0 is a block of zeros. */
void fill_block(uint8_t *block, uint64_t chunk, uint32_t index, uint32_t tag);

/* Operations, filled in. The data of a WRITE is made from the tag, the reference belongs to the op (op->data). */
void op_create(struct store_op *op, uint64_t chunk, uint64_t chunk_bytes, uint64_t commit);
void op_write(struct store_op *op, uint64_t chunk, uint64_t root_chunk, uint32_t first_block,
	      uint32_t blocks, struct version position, uint32_t tag);
void op_zero(struct store_op *op, uint64_t chunk, uint32_t first_block, uint32_t blocks,
	     struct version position);
void op_read(struct store_op *op, uint64_t chunk, uint32_t first_block, uint32_t blocks);

/* Do one and return its status. */
enum store_status do_create(struct mem_disk *m, struct store *s, uint64_t chunk,
			    uint64_t chunk_bytes);
enum store_status do_write(struct mem_disk *m, struct store *s, uint64_t chunk,
			   uint32_t first_block, uint32_t blocks, struct version position,
			   uint32_t tag);
enum store_status do_zero(struct mem_disk *m, struct store *s, uint64_t chunk, uint32_t first_block,
			  uint32_t blocks, struct version position);
enum store_status do_clone(struct mem_disk *m, struct store *s, uint64_t chunk, uint64_t origin,
			   uint64_t commit);
enum store_status do_delete(struct mem_disk *m, struct store *s, uint64_t chunk, uint64_t commit);
enum store_status do_simple(struct mem_disk *m, struct store *s, enum store_op_kind kind,
			    uint64_t chunk, struct version position);
/* Reads; the tag of each block goes to tags (UINT32_MAX: something else, or bad). */
enum store_status do_read(struct mem_disk *m, struct store *s, uint64_t chunk, uint64_t root_chunk,
			  uint32_t first_block, uint32_t blocks, uint32_t *tags);

#endif
