/*
 * store_tools.h - looking at a disk that is not in use: inspect prints what is there, fsck checks all of it. Both only read, purely
 * over the disk seam; the journal is replayed in memory, as a start would do it. Text comes line by line, without
 * newlines; each line of fsck is a problem, or a note that begins with "note: " and counts for nothing. The disk and the
 * callbacks must stay until done() is called, which is never from inside the call.
 */
#ifndef COPYHOLD_STORE_TOOLS_H
#define COPYHOLD_STORE_TOOLS_H

#include "replica-engine/store/store.h"

typedef void store_line_fn(void *context, const char *line);

/* status: 0, or why the disk can't be opened (as store_open); what can be told without opening it was printed. */
typedef void store_inspect_done_fn(void *context, int status);
/* chunk: all its units are printed as well; 0: none. */
void store_inspect(struct io_disk *disk, uint64_t chunk, store_line_fn *line,
		   store_inspect_done_fn *done, void *context);

struct store_fsck_result {
	int status;        /* as store_open */
	uint64_t problems; /* each was printed with its offset or chunk, and what repairs it */
	uint64_t chunks, units, invalid_units;
	uint64_t bad_blocks, known_bad_blocks, unreadable_units;
	uint64_t free_bytes, used_bytes;
};

typedef void store_fsck_done_fn(void *context, const struct store_fsck_result *result);
/* Every structure, and every block against its checksum (deep: else the data isn't read). */
void store_fsck(struct io_disk *disk, bool deep, store_line_fn *line, store_fsck_done_fn *done,
		void *context);

#endif
