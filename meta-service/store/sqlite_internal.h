/* sqlite_internal.h - what the two files of the SQLite store share. */
#ifndef COPYHOLD_SQLITE_INTERNAL_H
#define COPYHOLD_SQLITE_INTERNAL_H

#include "meta-service/store/meta_store.h"

#include <sqlite3.h>

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	PUT_CLUSTER,
	PUT_SERVER,
	PUT_VOLUME,
	PUT_CHUNK,
	PUT_REPLICA,
	PUT_SCRUB,
	PUT_JOB,
	DROP_SERVER,
	DROP_VOLUME,
	DROP_CHUNK,
	DROP_REPLICAS,
	DROP_SCRUB,
	DROP_JOB,
	GET_CLUSTER,
	GET_SERVERS,
	GET_VOLUMES,
	GET_CHUNKS,
	GET_REPLICAS,
	GET_SCRUBS,
	GET_JOBS,
	STATEMENT_COUNT
};

/* -EIO if one can't be prepared: the tables are not ours. */
int sqlite_prepare_all(sqlite3 *db, sqlite3_stmt *prepared[STATEMENT_COUNT]);
/* Runs a statement without arguments and rows. 0 or -EIO. */
int sqlite_run(sqlite3_stmt *statement);
/* Writes, or deletes, one row. 0 or -EIO. */
int sqlite_write_row(sqlite3_stmt *const *prepared, const struct meta_row *row);
/* Shows all rows of a kind in the order of their key. -EIO: can't be read; -EINVAL: not what was ever written. */
int sqlite_read_rows(sqlite3_stmt *const *prepared, enum meta_row_kind kind,
		     void (*show)(void *context, const struct meta_row *row), void *context);

#endif
