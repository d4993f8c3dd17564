/*
 * disk.h - the seam to one file or block device. Implemented by common/io-uring (O_DIRECT, io_uring) and by
 * the simulator and crash tests (a disk that loses, tears and reorders what is not durable).
 *
 * Requests may complete in any order. What a completed WRITE without DURABLE wrote may be lost, whole or in part (at
 * 512 bytes), by a power cut until a later SYNC completes that was submitted after the WRITE had completed.
 * A request that failed may have been done, in part or not at all. A READ of 0 bytes (no iov) touches nothing and completes with
 * 0 when the loop turns: that is how the store answers what needs no disk without doing so from inside a call.
 */
#ifndef COPYHOLD_IO_DISK_H
#define COPYHOLD_IO_DISK_H

#include "common/base/base.h"
#include <sys/uio.h>

enum io_disk_op {
	IO_DISK_READ, /* of 0 bytes: touches nothing, completes from the loop in its turn */
	IO_DISK_WRITE,
	IO_DISK_SYNC, /* makes every WRITE that completed before durable */
	IO_DISK_DISCARD, /* gives the range back (punch hole, BLKDISCARD); its content is undefined afterwards */
};

enum {
	IO_DISK_DURABLE = 1, /* WRITE: on stable storage before it completes (RWF_DSYNC) */
	/* Nobody waits for it: handed to the device behind all else, and may complete some milliseconds late. */
	IO_DISK_LAZY = 2,
};

/*
 * Embedded by the user, who keeps it and its iov untouched until done() is called: exactly once, never from
 * inside submit. offset, every iov_len and iov_base are multiples of the disk's block_bytes.
 */
struct io_disk_request {
	enum io_disk_op op;
	unsigned flags;
	uint64_t offset;
	uint64_t bytes; /* sum of iov_len, or the length of a DISCARD */
	const struct iovec *iov;
	int iov_count;
	int result; /* 0, or a negative errno; a short read or write is -EIO */
	void (*done)(struct io_disk_request *request);
	void *context;                      /* the user's */
	STAILQ_ENTRY(io_disk_request) link; /* the implementation's */
	uint64_t implementation[4];
};

struct io_disk {
	uint64_t size_bytes;
	uint32_t block_bytes; /* 512 or 4096: alignment of all requests */
	bool power_loss_protected; /* declared by the operator: DURABLE and SYNC cost nothing and mean nothing */
	/* Queues a request. The implementation hands all that was queued to the device when the loop turns. */
	void (*submit)(struct io_disk *disk, struct io_disk_request *request);
};

#endif
