/*
 * meta_store_sqlite.c - the SQLite file: opening, exclusion, version, transactions.
 *
 * Opening looks before it touches: a file that is no database, that belongs to another program (application_id) or that a later
 * version has written (user_version) is left as it was. Then the file is locked for good (locking_mode EXCLUSIVE, which also
 * keeps the WAL index in memory), and only then the tables are made.
 *
 * A commit runs at once; its end is told through a timer of no delay, since done() never comes from inside commit().
 */
#include "meta-service/store/meta_store_sqlite.h"

#include "common/trace/trace.h"
#include "meta-service/store/sqlite_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define APPLICATION_ID 0x43484d44 /* "CHMD" */

/* What version 2 has and version 1 had not. */
#define SCRUB_TABLE                                                                                \
	"CREATE TABLE scrub (chunk INTEGER PRIMARY KEY, ended_ms INTEGER NOT NULL, by TEXT NOT "   \
	"NULL, complete INTEGER NOT NULL, blocks_read INTEGER NOT NULL, bad INTEGER NOT NULL,"     \
	" repaired INTEGER NOT NULL, unrepairable INTEGER NOT NULL, differing INTEGER NOT NULL,"   \
	" named TEXT NOT NULL);"
#define JOB_TABLE                                                                                  \
	"CREATE TABLE job (job INTEGER PRIMARY KEY, state INTEGER NOT NULL, paused INTEGER NOT "   \
	"NULL, volume INTEGER NOT NULL, chunk INTEGER NOT NULL, next_chunk INTEGER NOT NULL,"      \
	" created_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, chunks INTEGER NOT NULL,"        \
	" done INTEGER NOT NULL, failed INTEGER NOT NULL, blocks_read INTEGER NOT NULL,"           \
	" bad INTEGER NOT NULL, repaired INTEGER NOT NULL, damaged INTEGER NOT NULL);"

static const char upgrade_1_to_2[] =
	"ALTER TABLE chunk ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;" SCRUB_TABLE JOB_TABLE;

static const char schema[] =
	"CREATE TABLE cluster (one INTEGER PRIMARY KEY CHECK (one = 1), uuid BLOB NOT NULL,"
	" last_commit INTEGER NOT NULL, last_epoch INTEGER NOT NULL, last_chunk INTEGER NOT NULL,"
	" last_volume INTEGER NOT NULL, last_cid INTEGER NOT NULL);"
	"CREATE TABLE server (cid INTEGER PRIMARY KEY, disk BLOB NOT NULL UNIQUE,"
	" address TEXT NOT NULL, local_address TEXT NOT NULL, host TEXT NOT NULL, zone TEXT NOT "
	"NULL,"
	" rack TEXT NOT NULL, node TEXT NOT NULL, capacity_bytes INTEGER NOT NULL);"
	"CREATE TABLE volume (volume INTEGER PRIMARY KEY, uuid BLOB NOT NULL, name TEXT NOT NULL,"
	" size_bytes INTEGER NOT NULL, chunk_bytes INTEGER NOT NULL, replicas INTEGER NOT NULL,"
	" min_replicas INTEGER NOT NULL, deleting INTEGER NOT NULL, taken INTEGER NOT NULL,"
	" holder BLOB NOT NULL, mode INTEGER NOT NULL, holder_host TEXT NOT NULL,"
	" holder_pid INTEGER NOT NULL, since_ms INTEGER NOT NULL);"
	"CREATE TABLE chunk (chunk INTEGER PRIMARY KEY, volume INTEGER NOT NULL,"
	" volume_index INTEGER NOT NULL, root_chunk INTEGER NOT NULL, epoch INTEGER NOT NULL,"
	" list_number INTEGER NOT NULL, floor INTEGER NOT NULL, owner BLOB NOT NULL,"
	" former_cid INTEGER NOT NULL, created_ms INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE replica (chunk INTEGER NOT NULL, place INTEGER NOT NULL, cid INTEGER NOT "
	"NULL,"
	" state INTEGER NOT NULL, leaving INTEGER NOT NULL, create_commit INTEGER NOT NULL,"
	" PRIMARY KEY (chunk, place), UNIQUE (chunk, cid)) WITHOUT ROWID;" SCRUB_TABLE JOB_TABLE;

struct sqlite_store {
	struct meta_store base;
	sqlite3 *db;
	sqlite3_stmt *prepared[STATEMENT_COUNT];
	struct io_clock *clock;
	struct io_timer timer;
	meta_store_done_fn *done; /* of the commit under way, or NULL */
	void *context;
	int result;
};

static struct sqlite_store *of_base(struct meta_store *base)
{
	return container_of(base, struct sqlite_store, base);
}

/* ---- opening ---- */

static int say(char error[META_STORE_ERROR_BYTES], int code, const char *path, const char *text)
{
	snprintf(error, META_STORE_ERROR_BYTES, "%s: %s", path, text);
	return code;
}

static int say_sqlite(const struct sqlite_store *store, char error[META_STORE_ERROR_BYTES],
		      const char *path)
{
	int code = sqlite3_errcode(store->db) & 0xff;

	switch (code) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return say(error, -EBUSY, path,
			   "another process uses this store. Only one copyhold-metad may run on "
			   "it: stop the other one first");
	case SQLITE_NOTADB:
		return say(error, -EINVAL, path,
			   "this file is not a store of a meta service. Give a directory of its "
			   "own with --data");
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_READONLY:
		return say(error, -EACCES, path,
			   "can't be opened for writing. Check that the directory exists and "
			   "belongs to the user of copyhold-metad");
	case SQLITE_CORRUPT:
		return say(error, -EIO, path,
			   "the store is damaged. Restore it from a copy; then chunk servers will "
			   "show whether that copy is the newest");
	case SQLITE_FULL:
		return say(error, -ENOSPC, path, "no space is left on its file system. Free some");
	default:
		return say(error, -EIO, path, sqlite3_errmsg(store->db));
	}
}

/* The one number that a query gives. */
static int ask_number(struct sqlite_store *store, const char *query, int64_t *out)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(store->db, query, -1, &statement, NULL);

	if (rc != SQLITE_OK)
		return -EIO;
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? 0 : -EIO;
}

static int run_script(struct sqlite_store *store, const char *script)
{
	return sqlite3_exec(store->db, script, NULL, NULL, NULL) == SQLITE_OK ? 0 : -EIO;
}

/* Whether the file is ours, without touching it. *to_make: what is to be made in it, NULL: nothing. */
static int look(struct sqlite_store *store, const char *path, const char **to_make,
		char error[META_STORE_ERROR_BYTES])
{
	int64_t application, version, count;

	if (ask_number(store, "PRAGMA application_id", &application) != 0 ||
	    ask_number(store, "PRAGMA user_version", &version) != 0 ||
	    ask_number(store, "SELECT count(*) FROM sqlite_master", &count) != 0)
		return say_sqlite(store, error, path);
	*to_make = application == 0 && count == 0 ? schema : NULL;
	if (*to_make)
		return 0;
	if (application != APPLICATION_ID)
		return say(error, -EINVAL, path,
			   "this database belongs to another program. Give a directory of its own "
			   "with --data");
	if (version > META_STORE_VERSION)
		return say(
			error, -EPROTONOSUPPORT, path,
			"this store was written by a later version of copyhold-metad. Start that "
			"version, or restore the copy made before the upgrade");
	if (version == 1)
		*to_make = upgrade_1_to_2;
	return 0;
}

static int make_tables(struct sqlite_store *store, const char *tables)
{
	char mark[128];

	snprintf(mark, sizeof mark, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
		 APPLICATION_ID, META_STORE_VERSION);
	if (run_script(store, "BEGIN IMMEDIATE") != 0)
		return -EIO;
	if (run_script(store, tables) == 0 && run_script(store, mark) == 0 &&
	    run_script(store, "COMMIT") == 0)
		return 0;
	run_script(store, "ROLLBACK");
	return -EIO;
}

/* Takes the file for this process alone. BEGIN EXCLUSIVE fails if anybody else has it open in the same way. */
static int lock(struct sqlite_store *store)
{
	return run_script(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
				 "PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT;");
}

static void close_store(struct sqlite_store *store)
{
	for (int i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(store->prepared[i]);
	sqlite3_close(store->db);
	free(store);
}

static int open_file(struct sqlite_store *store, const char *path,
		     char error[META_STORE_ERROR_BYTES])
{
	const char *to_make = NULL;
	int rc;

	if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
	    SQLITE_OK)
		return say_sqlite(store, error, path);
	sqlite3_extended_result_codes(store->db, 1);
	rc = look(store, path, &to_make, error);
	if (rc)
		return rc;
	if (lock(store) != 0 || (to_make && make_tables(store, to_make) != 0) ||
	    sqlite_prepare_all(store->db, store->prepared) != 0)
		return say_sqlite(store, error, path);
	return 0;
}

/* ---- the vtable ---- */

static int load(struct meta_store *base, void (*row)(void *context, const struct meta_row *row),
		void *context, char error[META_STORE_ERROR_BYTES])
{
	struct sqlite_store *store = of_base(base);
	const char *path = sqlite3_db_filename(store->db, NULL);

	for (enum meta_row_kind kind = META_ROW_CLUSTER; kind < META_ROW_KINDS; kind++) {
		int rc = sqlite_read_rows(store->prepared, kind, row, context);

		if (rc == -EINVAL)
			return say(error, rc, path,
				   "the store is damaged: a row is not one that a meta service "
				   "writes. Restore it from a copy");
		if (rc)
			return say_sqlite(store, error, path);
	}
	return 0;
}

static void tell(struct io_timer *timer)
{
	struct sqlite_store *store = container_of(timer, struct sqlite_store, timer);
	meta_store_done_fn *done = store->done;

	store->done = NULL;
	done(store->context, store->result);
}

static int write_batch(struct sqlite_store *store, const struct meta_row *rows, size_t count)
{
	int rc = sqlite_run(store->prepared[BEGIN]);

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = sqlite_write_row(store->prepared, &rows[i]);
	if (rc == 0)
		rc = sqlite_run(store->prepared[COMMIT]);
	if (rc) {
		trace(TRACE_ERROR, "store", "a commit failed: %s", sqlite3_errmsg(store->db));
		if (!sqlite3_get_autocommit(store->db))
			sqlite_run(store->prepared[ROLLBACK]);
	}
	return rc;
}

static void commit(struct meta_store *base, const struct meta_row *rows, size_t count,
		   meta_store_done_fn *done, void *context)
{
	struct sqlite_store *store = of_base(base);

	assert(!store->done);
	store->done = done;
	store->context = context;
	store->result = write_batch(store, rows, count);
	store->clock->timer_start(store->clock, &store->timer, 0);
}

int meta_store_sqlite_open(const char *path, struct io_clock *clock, struct meta_store **out,
			   char error[META_STORE_ERROR_BYTES])
{
	struct sqlite_store *store = xcalloc(1, sizeof *store);
	int rc;

	store->base = (struct meta_store){.load = load, .commit = commit};
	store->clock = clock;
	store->timer.fire = tell;
	rc = open_file(store, path, error);
	if (rc) {
		close_store(store);
		return rc;
	}
	*out = &store->base;
	return 0;
}

void meta_store_sqlite_close(struct meta_store *base)
{
	struct sqlite_store *store = of_base(base);

	store->clock->timer_stop(store->clock, &store->timer);
	close_store(store);
}
