/*
 * internal.h - what the files of common/io-uring share.
 *
 *   open.c      files and devices: opening, locking, sizes, and what to tell people when that fails
 *   disk.c      requests
 *   prepare.c   making files and writing zeros
 */
#ifndef COPYHOLD_IO_URING_INTERNAL_H
#define COPYHOLD_IO_URING_INTERNAL_H

#include "common/io-uring/io_uring_disk.h"

#include <liburing.h>

struct opened_file {
	int fd;
	bool block_device;
	uint64_t size_bytes;
	uint32_t block_bytes;
};

/* Writes the reason and returns error. */
int give_why(char why[IO_URING_WHY_BYTES], int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Opens with O_DIRECT and takes the lock. */
int file_open(const char *path, bool read_only, struct opened_file *file,
	      char why[IO_URING_WHY_BYTES]);

/* A ring, or a reason that says how to get one. */
int ring_open(struct io_uring *ring, unsigned entries, char why[IO_URING_WHY_BYTES]);

/* The same, but if the kernel can do that (Linux 6.1) its completions wake and interrupt nobody: they are made when they are looked for. */
int ring_open_silent(struct io_uring *ring, unsigned entries, char why[IO_URING_WHY_BYTES]);

#endif
