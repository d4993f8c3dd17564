/*
 * io_uring_disk.h - one regular file or block device, O_DIRECT, through io_uring: the seam common/io/disk.h on a libev
 * loop.
 *
 * What was submitted in one turn of the loop goes to the kernel in one system call when the turn's events have been handled;
 * completions come from the loop, many at a time. All of it belongs to the loop's thread.
 */
#ifndef COPYHOLD_IO_URING_DISK_H
#define COPYHOLD_IO_URING_DISK_H

#include "common/io/disk.h"

struct ev_loop;

/* Room for the reason that a failed function gives, for people. */
#define IO_URING_WHY_BYTES 512

struct io_uring_disk_options {
	/*
	 * The operator's word that what the device has taken survives a power cut. Counts for block devices
	 * only: in a file DURABLE must also make the file system's record of the blocks stable, which costs next to nothing
	 * when there is none to be written.
	 */
	bool power_loss_protected;
	bool read_only; /* writes fail; several readers may have the disk open, if no writer has */
};

/*
 * Opens path and takes it for this process alone. A file must have its final size (io_uring_disk_create_file). why is
 * filled in on failure: -EBUSY (in use; why says by whom), -ENOSYS or -EPERM (no io_uring here), -ENOMEM (RLIMIT_MEMLOCK, on
 * kernels before 5.12), -EINVAL (not a file or block device, no O_DIRECT, sectors above 4 KiB), or what open(2) said.
 */
int io_uring_disk_open(struct ev_loop *loop, const char *path,
		       const struct io_uring_disk_options *options, struct io_disk **disk,
		       char why[IO_URING_WHY_BYTES]);

/* Closes and frees. No request may be under way, and it may not be called from a done(). */
void io_uring_disk_close(struct io_disk *disk);

/*
 * Makes a file of `bytes` (whole blocks of 4 KiB) with all its space allocated, and the directory entry durable.
 * -EEXIST, -ENOSPC, -EINVAL, or what the file system said; a file that could not be made is removed again.
 *
 * The space is allocated but not written: the first write to each part costs the file system a journal commit, more
 * than the write itself. Ranges that must be fast from the start (a store's journal and metadata) should be written
 * through by io_uring_disk_write_zeros; the others may be left to their first use.
 */
int io_uring_disk_create_file(const char *path, uint64_t bytes, char why[IO_URING_WHY_BYTES]);

/* Called as the work goes on, about every MiB, and at the end with done_bytes == total_bytes. */
typedef void io_uring_progress_fn(void *context, uint64_t done_bytes, uint64_t total_bytes);

/*
 * Writes zeros over a range (whole blocks of 4 KiB) of a file or device that nobody has open, and makes them durable.
 * Blocks until done; for tools that format. progress may be NULL. Errors as io_uring_disk_open, or -EIO, -ENOSPC.
 */
int io_uring_disk_write_zeros(const char *path, uint64_t offset, uint64_t bytes,
			      io_uring_progress_fn *progress, void *context,
			      char why[IO_URING_WHY_BYTES]);

#endif
