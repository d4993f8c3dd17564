/*
 * mem_disk.h - a disk in memory for tests: asynchronous, deterministic from a seed, with faults and power cuts.
 *
 * Requests wait in a queue; each mem_disk_step() completes one, chosen by the seed (or the oldest). Everything is written
 * down in a log, from which mem_disk_cut() makes what a power cut at any moment could have left: a write that
 * is not durable there is kept, lost, or torn at 512 bytes, and where several such writes overlap any one may show.
 */
#ifndef COPYHOLD_TESTS_MEM_DISK_H
#define COPYHOLD_TESTS_MEM_DISK_H

#include "common/base/prng.h"
#include "common/io/disk.h"

struct mem_disk;

struct mem_disk *mem_disk_new(uint64_t bytes, uint64_t seed);
/* A disk that begins as the other one is now and takes memory only for what is written; the other must stay as it is, and be freed later. */
struct mem_disk *mem_disk_over(const struct mem_disk *below, uint64_t seed);
/* A disk of its own that begins as the other one is now. */
struct mem_disk *mem_disk_copy(const struct mem_disk *from, uint64_t seed);
/* Requests that wait are forgotten. */
void mem_disk_free(struct mem_disk *m);
struct io_disk *mem_disk_io(struct mem_disk *m);

/* Completes one request; false if none waits. */
bool mem_disk_step(struct mem_disk *m);
/* Completes requests until none waits. */
void mem_disk_run(struct mem_disk *m);
/* Oldest first instead of by the seed. */
void mem_disk_set_fifo(struct mem_disk *m, bool fifo);
/* Requests that wait. */
unsigned mem_disk_waiting(const struct mem_disk *m);
/* Forgets what waits, as a killed process does. Writes that wait are done in part or not at all. */
void mem_disk_forget(struct mem_disk *m);

/* Faults. A range of 0 bytes removes the fault. */
void mem_disk_fail_reads(struct mem_disk *m, uint64_t offset, uint64_t bytes);
/* Writes and syncs fail after `countdown` more have succeeded. UINT64_MAX: never. */
void mem_disk_fail_writes_after(struct mem_disk *m, uint64_t countdown);
void mem_disk_flip(struct mem_disk *m, uint64_t offset, uint8_t bits);
void mem_disk_peek(const struct mem_disk *m, uint64_t offset, void *to, uint64_t bytes);
void mem_disk_poke(struct mem_disk *m, uint64_t offset, const void *from, uint64_t bytes);
/* Shrinks or grows what size_bytes says. */
void mem_disk_resize(struct mem_disk *m, uint64_t bytes);

/* ---- the log ---- */

/* Begins a log; what is on the disk now is durable. Of a disk over another one: before anything was written to it. */
void mem_disk_record(struct mem_disk *m);
/* Events logged so far. A cut at n lies behind the first n events. */
uint64_t mem_disk_events(const struct mem_disk *m);

/* Logs what was done to another disk, which began as zeros, one after another. The content here stays as it is: only cuts show it. */
void mem_disk_log_write(struct mem_disk *m, uint64_t offset, const void *data, uint64_t bytes);
void mem_disk_log_sync(struct mem_disk *m);

enum mem_cut {
	MEM_CUT_LOSE, /* nothing that isn't durable is there */
	MEM_CUT_KEEP, /* everything is */
	MEM_CUT_MIX,  /* whole writes, by the seed */
	MEM_CUT_TEAR, /* sectors of 512 bytes, by the seed */
};

/* Goes through the log's cuts in ascending order. */
struct mem_cutter;
struct mem_cutter *mem_cutter_new(const struct mem_disk *m);
/* Moves on to the cut behind `events`; not backwards. */
void mem_cutter_move(struct mem_cutter *c, uint64_t events);
/* Writes whose fate is open at this cut. */
unsigned mem_cutter_open(const struct mem_cutter *c);
/* A disk as this cut may have left it; it shares memory with the cutter and must be freed before that moves. */
struct mem_disk *mem_cutter_cut(struct mem_cutter *c, enum mem_cut how, uint64_t seed);
void mem_cutter_free(struct mem_cutter *c);

#endif
