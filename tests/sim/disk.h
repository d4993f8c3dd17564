/*
 * disk.h - a simulated disk behind io_disk: what is not durable may be lost at a power cut, sector by sector.
 *
 * For each sector of 512 bytes that was written and not yet made durable the disk remembers the contents that it may fall
 * back to: the last durable one and every one written since. A power cut keeps of one write all, of another nothing, of
 * others each sector by itself, so they are torn and reordered as the seam's contract allows. Requests under way count as written
 * since; they were cut off behind some sector, or before one, or anywhere.
 *
 * Besides: latency with spikes, fail-slow, read errors that stay until the sector is written, failing writes, rotten bits,
 * lost and misdirected writes. The latter kinds break what a disk promises; who injects them sees to it that only one copy lies.
 */
#ifndef COPYHOLD_SIM_DISK_H
#define COPYHOLD_SIM_DISK_H

#include "common/io/disk.h"
#include "tests/sim/sim.h"

struct sim_disk;

struct sim_disk_options {
	uint64_t size_bytes;
	uint32_t block_bytes;
	bool power_loss_protected;
	uint64_t latency_ns; /* of a request; reads take half of it */
	uint64_t jitter_ns;
	uint64_t spike_ns;
	uint32_t spike_one_in; /* 0: never */
};

struct sim_disk *sim_disk_new(struct sim *sim, const char *name, uint64_t stream,
			      const struct sim_disk_options *options);
void sim_disk_free(struct sim_disk *disk);
/* The seam, for requests of this process from now on. */
struct io_disk *sim_disk_open(struct sim_disk *disk, struct sim_process *process);

/*
 * Its process is gone (sim_process_end was called): requests under way are done in part, wholly or not at all. With power:
 * what is not durable is lost as the seam allows.
 */
void sim_disk_process_ended(struct sim_disk *disk, bool power);

/* A copy of the content as a disk without faults in another world, whose requests complete as events of that world. */
struct sim_disk *sim_disk_copy(struct sim_disk *disk, struct sim *world);
/*
 * The content as it is, kept aside; swapped with the present one while nothing uses the disk: a disk that was set back to an
 * older image, and again.
 */
void sim_disk_save(struct sim_disk *disk);
void sim_disk_swap_saved(struct sim_disk *disk);
/* Flips a bit in every place that holds these bytes (a sector or more). Returns how many there were. */
unsigned sim_disk_damage(struct sim_disk *disk, const void *bytes, size_t count);
/* Forgets all content: a new disk in the same place. */
void sim_disk_wipe(struct sim_disk *disk);

/* Faults. */
void sim_disk_set_slow(struct sim_disk *disk, uint32_t times);
void sim_disk_fail_writes(struct sim_disk *disk, bool failing);    /* every write and sync: -EIO */
void sim_disk_fail_reads(struct sim_disk *disk, unsigned sectors); /* of those in use, at random */
void sim_disk_rot(struct sim_disk *disk, unsigned sectors);
void sim_disk_lose_writes(struct sim_disk *disk, unsigned count);      /* of the next data writes */
void sim_disk_misdirect_writes(struct sim_disk *disk, unsigned count); /* likewise */
/* The tests' own view of the content. */
void sim_disk_peek(struct sim_disk *disk, uint64_t offset, size_t bytes, void *to);
void sim_disk_poke(struct sim_disk *disk, uint64_t offset, size_t bytes, const void *from);
/* Only sectors at or above this offset rot, fail, or are lost (0: all). */
void sim_disk_spare_below(struct sim_disk *disk, uint64_t offset);

/* True if it has kept its promises since it was new: only then must what is on it be there. */
/* What can't be read on one disk can't be read on the other either: for a copy. */
void sim_disk_share_bad_reads(const struct sim_disk *from, struct sim_disk *to);
bool sim_disk_is_sound(const struct sim_disk *disk);
/* Something on it is not what was written there, or was not when it was read: by whatever fault, or sim_disk_damage. */
bool sim_disk_has_lied(const struct sim_disk *disk);
uint64_t sim_disk_bytes_in_use(const struct sim_disk *disk);
unsigned sim_disk_requests_under_way(const struct sim_disk *disk);

#endif
