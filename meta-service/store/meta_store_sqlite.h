/*
 * meta_store_sqlite.h - the meta service's rows in one SQLite file.
 *
 * WAL and synchronous=FULL: a commit that was reported is on stable storage. The file is held exclusively for as long as
 * it is open: a second metad on it is refused. A file that is something else, or that was written by a later version,
 * is refused and not touched.
 */
#ifndef COPYHOLD_META_STORE_SQLITE_H
#define COPYHOLD_META_STORE_SQLITE_H

#include "common/io/clock.h"
#include "meta-service/store/meta_store.h"

/*
 * Opens the file at path, or creates it. The clock brings the completions of commits; it must outlive the store. 0 with
 * the store in *out, or a negative errno with a text in error: what is wrong with the file and what to do.
 */
int meta_store_sqlite_open(const char *path, struct io_clock *clock, struct meta_store **out,
			   char error[META_STORE_ERROR_BYTES]);
/* Closes the file; a commit whose done() has not been called yet is durable or not, and done() is not called any more. */
void meta_store_sqlite_close(struct meta_store *store);

#endif
