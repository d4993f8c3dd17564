/*
 * registers.h - the checker of what users see: each sector of 512 bytes of a volume is a linearizable register.
 *
 * Writes of a sector are totally ordered: by attachment (an engine that was let in later comes later), then by arrival at the
 * engine. Each carries a stamp, from which the bytes of each sector are made; zeroing has stamp 0. Stamps may repeat (zeros,
 * a kernel that sends a write again), so a value that was read stands for all writes with its stamp; what is concluded from it
 * holds for each of them.
 *
 * A sector's floor is the oldest write that may still be its content: the newest that was acknowledged or seen by a completed
 * read. A read must return a write at or above the floor that the sector had when the read began. A write that had failed
 * when a read began, or that an earlier attachment left behind, and that this read did not see, has not happened: it is dead,
 * and must never be seen or acknowledged later. So is, at once, a write in one piece that was refused for want of room: -ENOSPC says that
 * nothing of it was done.
 */
#ifndef COPYHOLD_SIM_REGISTERS_H
#define COPYHOLD_SIM_REGISTERS_H

#include "tests/sim/sim.h"

#define SECTOR_BYTES 512u

struct registers;

struct registers *registers_new(struct sim *sim, const char *name, uint64_t bytes,
				uint64_t chunk_bytes);
void registers_free(struct registers *r);

/* A new attachment: later than all before; it knows the volume with this size. */
uint32_t registers_attach(struct registers *r, const char *who, uint64_t bytes);
/* The number of the last one. */
uint32_t registers_attachments(const struct registers *r);

/*
 * The volume grows: what is new reads as zeros. Or it has been cut to a smaller size, while no attachment was alive: what lies beyond is gone,
 * and reads as zeros should the volume grow again. What attachments from before the cut still do there is nobody's concern: those up to
 * `before`, which was the last one when somebody asked for it, and those that have come to know the larger size since.
 */
void registers_grow(struct registers *r, uint64_t bytes);
void registers_cut(struct registers *r, uint64_t bytes, uint32_t before);

/* Begins a write of whole sectors; stamp 0 zeroes. Returns its number (from 1 on). */
uint32_t registers_write(struct registers *r, uint32_t attachment, uint64_t offset, uint64_t bytes,
			 uint32_t stamp);
/* A stamp that no write has had. */
uint32_t registers_stamp(struct registers *r);
/* The bytes of sectors written with a stamp. */
void registers_fill(const struct registers *r, uint32_t stamp, uint64_t offset, uint64_t bytes,
		    uint8_t *to);
void registers_write_done(struct registers *r, uint32_t write, int status);

/* Begins a read; what it returned is checked by registers_read_done (status 0), which frees the read. */
struct register_read *registers_read(struct registers *r, uint32_t attachment, uint64_t offset,
				     uint64_t bytes);
void registers_read_done(struct registers *r, struct register_read *read, int status,
			 const uint8_t *data);

/*
 * Which of its sectors hold data was asked, not what they hold: each that is named as a hole (a byte each, not 0) counts as read, with zeros. What
 * is no hole may hold anything.
 */
void registers_holes_done(struct registers *r, struct register_read *read, int status,
			  const uint8_t *holes);

/* All that is under way of an attachment ends without an answer: its process has crashed. */
void registers_attachment_ended(struct registers *r, uint32_t attachment);

/*
 * Bytes found on the disk of a replica that claims to be complete: each sector must be at or above its floor. who names the
 * replica in the failure. False if one is not (the run has failed). Bit i of skip_blocks: block i is known to be bad.
 */
bool registers_check_copy(struct registers *r, const char *rule, const char *who, uint64_t chunk,
			  uint64_t offset, uint64_t bytes, const uint8_t *data);
/* Has this range ever been written with something else than zeros? */
bool registers_ever_written(const struct registers *r, uint64_t offset, uint64_t bytes);
uint64_t registers_sectors(const struct registers *r);
uint32_t registers_writes(const struct registers *r);
/* The sector that a failure named, for the history. */
void registers_print_history(const struct registers *r, FILE *out);

/* The checker put to the test; prints and returns the number of its failures. */
unsigned registers_self_test(void);

#endif
