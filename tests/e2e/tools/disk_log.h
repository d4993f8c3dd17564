/*
 * disk_log.h - what reached a disk, in order: the file that nbdkit-disk-log-plugin.so writes and power-cut reads. Both run on one
 * machine, so numbers are in its byte order.
 */
#ifndef COPYHOLD_TESTS_DISK_LOG_H
#define COPYHOLD_TESTS_DISK_LOG_H

#include <stddef.h>
#include <stdint.h>

enum disk_log_kind {
	DISK_LOG_SIZE = 1,  /* the first record; offset: bytes of the disk, which began as zeros */
	DISK_LOG_WRITE = 2, /* `bytes` of data follow */
	DISK_LOG_FLUSH = 3, /* all that was written before is durable now */
};

struct disk_log_record {
	uint32_t kind;
	uint32_t bytes;
	uint64_t offset;
	uint64_t time_ns; /* CLOCK_MONOTONIC, before anything of it was done */
};

struct mem_disk;
struct mem_cutter;

/* The whole log of a disk. */
struct disk_log {
	struct mem_disk *disk; /* has recorded it */
	struct disk_log_record *records;
	size_t count, room;
	size_t writes, flushes;
};

/* Ends the program if the file is none. */
void disk_log_read(const char *path, struct disk_log *log);
void disk_log_free(struct disk_log *log);
/* Until when the disk was as a cut behind `count` records has it: the time of the next one. */
uint64_t disk_log_until(const struct disk_log *log, size_t count);
/* How many records there were at a time. */
size_t disk_log_count_at(const struct disk_log *log, uint64_t time_ns);
/* Moves the cutter behind `count` records. */
void disk_log_move(struct mem_cutter *cutter, size_t count);

#endif
