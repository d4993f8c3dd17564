/*
 * meta_store.h - the seam between the meta service and its durable rows.
 *
 * The meta core keeps everything in memory and speaks of durable state in typed rows (meta-service/core/meta_rows.h). A store
 * keeps the rows: SQLite in a file (meta_store_sqlite.h), or memory with chosen failures in the simulator.
 *
 * A batch of row changes is one commit: all of it becomes durable or nothing does. After a commit that failed the
 * user must load again: what the store holds is then the truth.
 *
 * All calls come from one event loop's thread.
 */
#ifndef COPYHOLD_META_STORE_H
#define COPYHOLD_META_STORE_H

#include "meta-service/core/meta_rows.h"

/* Layout of the rows; a store written by a later version is refused. */
#define META_STORE_VERSION 2

/* Room for a text that says why a store can't be used. */
#define META_STORE_ERROR_BYTES 512

/* Called once when a commit has ended: 0, or a negative errno and nothing of it may be relied on. */
typedef void meta_store_done_fn(void *context, int error);

struct meta_store {
	/*
	 * Shows every row: the cluster's first (none in a new store), then servers, volumes, chunks, scrubs and jobs, each kind
	 * in the order of its key. 0, or a negative errno with a text for people in error.
	 */
	int (*load)(struct meta_store *store,
		    void (*row)(void *context, const struct meta_row *row), void *context,
		    char error[META_STORE_ERROR_BYTES]);
	/*
	 * Writes rows[0 .. count) in order as one transaction. The rows stay untouched until done() is called: exactly
	 * once, never from inside this call. One commit at a time.
	 */
	void (*commit)(struct meta_store *store, const struct meta_row *rows, size_t count,
		       meta_store_done_fn *done, void *context);
};

#endif
