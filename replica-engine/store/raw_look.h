/* raw_look.h - for inspect and fsck: superblocks and checkpoint headers as they lie on the disk, before it is opened. */
#ifndef COPYHOLD_STORE_RAW_LOOK_H
#define COPYHOLD_STORE_RAW_LOOK_H

#include "replica-engine/store/store_internal.h"

struct raw_look {
	struct io_disk *disk;
	struct buf *buf; /* two superblocks, then two checkpoint headers */
	struct io_disk_request requests[3];
	struct iovec iov[3];
	unsigned pending;
	void (*done)(struct raw_look *raw);
	void *context;
	const char *super_problem[2];        /* NULL: valid */
	const char *checkpoint_problem[2];   /* likewise; only looked at with a valid superblock */
	const struct disk_superblock *super; /* the one that counts, or NULL */
};

void raw_look_start(struct raw_look *raw, struct io_disk *disk, void (*done)(struct raw_look *raw),
		    void *context);
const struct disk_superblock *raw_look_super(const struct raw_look *raw, unsigned copy);
const struct disk_checkpoint *raw_look_checkpoint(const struct raw_look *raw, unsigned copy);
void raw_look_end(struct raw_look *raw);

#endif
