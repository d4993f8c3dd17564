/*
 * test_meta_store_sqlite.c - rows in SQLite: what was committed is there after a kill, what was not is not; files that are not
 * ours, or newer, or in use are refused and left as they were.
 */
#include "fake_clock.h"
#include "meta-service/store/meta_store_sqlite.h"
#include "common/trace/trace.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fake_clock clk;
static char directory[64], path[96];
static char error[META_STORE_ERROR_BYTES];

static void setup(void)
{
	snprintf(directory, sizeof directory, "/tmp/copyhold-meta-store-XXXXXX");
	ck_assert(mkdtemp(directory) != NULL);
	snprintf(path, sizeof path, "%s/meta.db", directory);
	fake_clock_init(&clk);
}

static void teardown(void)
{
	char name[128];
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
		unlink(name);
	}
	rmdir(directory);
}

static struct meta_store *open_store(void)
{
	struct meta_store *store = NULL;
	int rc = meta_store_sqlite_open(path, &clk.base, &store, error);

	ck_assert_msg(rc == 0, "%s", error);
	return store;
}

/* ---- rows ---- */

struct ending {
	unsigned calls;
	int error;
};

static void on_done(void *context, int result)
{
	struct ending *ending = context;

	ending->calls++;
	ending->error = result;
}

static int commit_rows(struct meta_store *store, const struct meta_row *rows, size_t count)
{
	struct ending ending = {0};

	store->commit(store, rows, count, on_done, &ending);
	ck_assert_msg(ending.calls == 0, "done() was called from inside commit()");
	fake_clock_advance(&clk, 1);
	ck_assert_uint_eq(ending.calls, 1);
	fake_clock_advance(&clk, NS_PER_S);
	ck_assert_uint_eq(ending.calls, 1);
	return ending.error;
}

struct rows {
	struct meta_row rows[64];
	size_t count;
};

static void take_row(void *context, const struct meta_row *row)
{
	struct rows *rows = context;

	ck_assert_uint_lt(rows->count, ARRAY_SIZE(rows->rows));
	rows->rows[rows->count++] = *row;
}

static struct rows load_rows(struct meta_store *store)
{
	struct rows rows;

	memset(&rows, 0, sizeof rows);
	ck_assert_int_eq(store->load(store, take_row, &rows, error), 0);
	return rows;
}

static struct meta_row cluster_row(uint64_t epoch)
{
	struct meta_row row = {.kind = META_ROW_CLUSTER};

	row.u.cluster = (struct meta_cluster_row){
		.cluster = uuid_from_random(1, 2),
		.commit = 10,
		.epoch = epoch,
		.chunk = UINT64_MAX / 2,
		.volume = 5,
		.cid = UINT32_MAX,
	};
	return row;
}

static struct meta_row server_row(uint32_t cid)
{
	struct meta_row row = {.kind = META_ROW_SERVER};
	struct meta_server_row *server = &row.u.server;

	server->cid = cid;
	server->disk = uuid_from_random(cid, 7);
	server->capacity_bytes = TIB;
	snprintf(server->address, sizeof server->address, "[::1]:%u", cid);
	snprintf(server->local_address, sizeof server->local_address, "unix:/run/%u", cid);
	snprintf(server->host, sizeof server->host, "h'%u\"", cid);
	snprintf(server->zone, sizeof server->zone, "z");
	snprintf(server->rack, sizeof server->rack, "r");
	snprintf(server->node, sizeof server->node, "n");
	return row;
}

static struct meta_row volume_row(uint64_t id)
{
	struct meta_row row = {.kind = META_ROW_VOLUME};
	struct meta_volume_row *volume = &row.u.volume;

	volume->volume = id;
	volume->uuid = uuid_from_random(id, 8);
	snprintf(volume->name, sizeof volume->name, "vol%u", (unsigned)id);
	volume->size_bytes = (UINT64_C(1) << 63) - 4096;
	volume->chunk_bytes = 4 * MIB;
	volume->replicas = 3;
	volume->min_replicas = 2;
	volume->taken = true;
	volume->holder = uuid_from_random(id, 9);
	volume->mode = ATTACH_READ_ONLY;
	snprintf(volume->holder_host, sizeof volume->holder_host, "web1");
	volume->holder_pid = 4711;
	volume->since_ms = 1700000000123;
	return row;
}

static struct meta_row chunk_row(uint64_t id, uint32_t replicas)
{
	struct meta_row row = {.kind = META_ROW_CHUNK};
	struct meta_chunk_row *chunk = &row.u.chunk;

	chunk->chunk = id;
	chunk->volume = 5;
	chunk->index = id * 10;
	chunk->root_chunk = id;
	chunk->epoch = 77;
	chunk->list_number = 3;
	chunk->floor = 1234;
	chunk->owner = uuid_from_random(id, 10);
	chunk->former_cid = 9;
	chunk->created_ms = 1700000000456;
	chunk->replica_count = replicas;
	for (uint32_t i = 0; i < replicas; i++)
		chunk->replicas[i] = (struct meta_replica){
			.cid = replicas - i,
			.state = i ? REPLICA_ACTIVE : REPLICA_FILLING,
			.leaving = i == 1,
			.commit = 100 + i,
		};
	return row;
}

static struct meta_row scrub_row(uint64_t chunk)
{
	struct meta_row row;

	memset(&row, 0, sizeof row);
	row.kind = META_ROW_SCRUB;
	row.u.scrub.chunk = chunk;
	row.u.scrub.ended_ms = 1700000000789;
	row.u.scrub.complete = true;
	row.u.scrub.read = UINT64_C(1) << 40;
	row.u.scrub.bad = 5;
	row.u.scrub.repaired = 4;
	row.u.scrub.unrepairable = 3;
	row.u.scrub.differing = 2;
	snprintf(row.u.scrub.by, sizeof row.u.scrub.by, "web1");
	snprintf(row.u.scrub.named, sizeof row.u.scrub.named, "3 77");
	return row;
}

static struct meta_row job_row(uint64_t job)
{
	struct meta_row row;

	memset(&row, 0, sizeof row);
	row.kind = META_ROW_JOB;
	row.u.job.job = job;
	row.u.job.state = JOB_RUNNING;
	row.u.job.paused = true;
	row.u.job.volume = 5;
	row.u.job.chunk = 6;
	row.u.job.next_chunk = 7;
	row.u.job.created_ms = 1;
	row.u.job.ended_ms = 2;
	row.u.job.chunks = 8;
	row.u.job.done = 9;
	row.u.job.failed = 10;
	row.u.job.read = 11;
	row.u.job.bad = 12;
	row.u.job.repaired = 13;
	row.u.job.damaged = 14;
	return row;
}

static bool same_row(const struct meta_row *a, const struct meta_row *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

START_TEST(rows_come_back_as_they_were)
{
	struct meta_store *store = open_store();
	struct meta_row batch[8];
	struct rows rows;

	ck_assert_uint_eq(load_rows(store).count, 0);
	memset(batch, 0, sizeof batch);
	batch[0] = chunk_row(2, REPLICAS_MAX);
	batch[1] = chunk_row(1, 0);
	batch[2] = server_row(3);
	batch[3] = volume_row(5);
	batch[4] = cluster_row(UINT64_MAX / 2);
	batch[5] = server_row(1);
	batch[6] = scrub_row(2);
	batch[7] = job_row(4);
	ck_assert_int_eq(commit_rows(store, batch, 8), 0);
	for (int round = 0; round < 2; round++) {
		rows = load_rows(store);
		ck_assert_uint_eq(rows.count, 8);
		ck_assert(same_row(&rows.rows[0], &batch[4]));
		ck_assert(same_row(&rows.rows[1], &batch[5]));
		ck_assert(same_row(&rows.rows[2], &batch[2]));
		ck_assert(same_row(&rows.rows[3], &batch[3]));
		ck_assert(same_row(&rows.rows[4], &batch[1]));
		ck_assert(same_row(&rows.rows[5], &batch[0]));
		ck_assert(same_row(&rows.rows[6], &batch[6]));
		ck_assert(same_row(&rows.rows[7], &batch[7]));
		meta_store_sqlite_close(store);
		store = open_store();
	}
	meta_store_sqlite_close(store);
}
END_TEST

START_TEST(rows_are_replaced_and_removed)
{
	struct meta_store *store = open_store();
	struct meta_row batch[3] = {cluster_row(1), chunk_row(1, 3), server_row(1)};
	struct rows rows;

	ck_assert_int_eq(commit_rows(store, batch, 3), 0);
	batch[0] = cluster_row(2);
	batch[1] = chunk_row(1, 2);
	batch[2].removed = true;
	ck_assert_int_eq(commit_rows(store, batch, 3), 0);
	rows = load_rows(store);
	ck_assert_uint_eq(rows.count, 2);
	ck_assert(same_row(&rows.rows[0], &batch[0]));
	ck_assert(same_row(&rows.rows[1], &batch[1]));
	batch[1].removed = true;
	ck_assert_int_eq(commit_rows(store, &batch[1], 1), 0);
	ck_assert_uint_eq(load_rows(store).count, 1);
	/* its replicas went too: the same chunk may come again */
	batch[1] = chunk_row(1, 3);
	ck_assert_int_eq(commit_rows(store, &batch[1], 1), 0);
	meta_store_sqlite_close(store);
}
END_TEST

/* A list that names a chunk server twice breaks a rule of the table: nothing of its batch stays. */
START_TEST(batch_is_all_or_nothing)
{
	struct meta_store *store = open_store();
	struct meta_row batch[2] = {cluster_row(1), chunk_row(1, 2)};

	ck_assert_int_eq(commit_rows(store, batch, 1), 0);
	batch[0] = cluster_row(2);
	batch[1].u.chunk.replicas[1].cid = batch[1].u.chunk.replicas[0].cid;
	ck_assert_int_lt(commit_rows(store, batch, 2), 0);
	ck_assert_uint_eq(load_rows(store).count, 1);
	ck_assert_uint_eq(load_rows(store).rows[0].u.cluster.epoch, 1);
	/* and it goes on */
	ck_assert_int_eq(commit_rows(store, batch, 1), 0);
	ck_assert_uint_eq(load_rows(store).rows[0].u.cluster.epoch, 2);
	meta_store_sqlite_close(store);
}
END_TEST

/* ---- crashes ---- */

/* Commits one epoch after another and writes each to the pipe once it is reported; killed from outside. */
static void commit_until_killed(int out)
{
	struct meta_store *store = open_store();

	for (uint64_t epoch = 1;; epoch++) {
		struct meta_row row = cluster_row(epoch);

		if (commit_rows(store, &row, 1) != 0 || write(out, &epoch, sizeof epoch) < 0)
			_exit(1);
	}
}

START_TEST(what_was_reported_survives_a_kill)
{
	uint64_t epoch = 0, last = 0;

	for (unsigned round = 1; round <= 3; round++) {
		struct meta_store *store;
		int ends[2];
		pid_t child;

		ck_assert_int_eq(pipe(ends), 0);
		child = fork();
		if (child == 0) {
			close(ends[0]);
			commit_until_killed(ends[1]);
		}
		close(ends[1]);
		for (unsigned i = 0; i < 20 * round; i++)
			ck_assert_int_eq(read(ends[0], &epoch, sizeof epoch), sizeof epoch);
		kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		while (read(ends[0], &last, sizeof last) == sizeof last)
			epoch = last;
		close(ends[0]);
		store = open_store();
		ck_assert_uint_ge(load_rows(store).rows[0].u.cluster.epoch, epoch);
		ck_assert_uint_le(load_rows(store).rows[0].u.cluster.epoch, epoch + 1);
		meta_store_sqlite_close(store);
	}
}
END_TEST

START_TEST(closing_with_a_commit_under_way_calls_nobody)
{
	struct meta_store *store = open_store();
	struct meta_row row = cluster_row(1);
	struct ending ending = {0};

	store->commit(store, &row, 1, on_done, &ending);
	meta_store_sqlite_close(store);
	fake_clock_advance(&clk, NS_PER_S);
	ck_assert_uint_eq(ending.calls, 0);
}
END_TEST

/* ---- exclusion and other files ---- */

static int open_fails(void)
{
	struct meta_store *store = NULL;
	int rc = meta_store_sqlite_open(path, &clk.base, &store, error);

	ck_assert_int_ne(rc, 0);
	ck_assert(store == NULL);
	ck_assert_msg(strstr(error, path) != NULL, "%s", error);
	return rc;
}

static void wait_for_end(int in)
{
	char byte;

	while (read(in, &byte, 1) > 0)
		;
}

/* Locks belong to a process: the first opener is another one. */
START_TEST(second_opener_is_refused)
{
	int ready[2], leave[2];
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(leave), 0);
	child = fork();
	if (child == 0) {
		close(leave[1]);
		open_store();
		if (write(ready[1], "x", 1) < 0)
			_exit(1);
		wait_for_end(leave[0]);
		_exit(0);
	}
	close(leave[0]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(open_fails(), -EBUSY);
	ck_assert(strstr(error, "another process") != NULL);
	close(leave[1]);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	meta_store_sqlite_close(open_store());
	close(ready[0]);
	close(ready[1]);
}
END_TEST

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	ck_assert(file != NULL);
	fputs(text, file);
	fclose(file);
}

START_TEST(file_that_is_no_database_is_left_alone)
{
	static const char text[] =
		"These are somebody's notes, and long enough to be read as a header "
		"of a database, which they are not.\n";
	char now[256] = "";
	FILE *file;

	write_file(text);
	ck_assert_int_eq(open_fails(), -EINVAL);
	file = fopen(path, "r");
	ck_assert(fgets(now, sizeof now, file) != NULL);
	fclose(file);
	ck_assert_str_eq(now, text);
}
END_TEST

static void run_sql(const char *script)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, script, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

START_TEST(database_of_another_program_is_left_alone)
{
	run_sql("CREATE TABLE songs (title TEXT)");
	ck_assert_int_eq(open_fails(), -EINVAL);
	ck_assert(strstr(error, "another program") != NULL);
	run_sql("INSERT INTO songs VALUES ('one')");
}
END_TEST

START_TEST(later_version_is_refused)
{
	meta_store_sqlite_close(open_store());
	run_sql("PRAGMA user_version = 3");
	ck_assert_int_eq(open_fails(), -EPROTONOSUPPORT);
	ck_assert(strstr(error, "later version") != NULL);
	run_sql("PRAGMA user_version = 2");
	meta_store_sqlite_close(open_store());
}
END_TEST

START_TEST(earlier_version_is_brought_up_to_date)
{
	meta_store_sqlite_close(open_store());
	run_sql("DROP TABLE scrub; DROP TABLE job; ALTER TABLE chunk DROP COLUMN created_ms;"
		"PRAGMA user_version = 1");
	meta_store_sqlite_close(open_store());
	run_sql("SELECT created_ms FROM chunk; SELECT named FROM scrub; SELECT damaged FROM job");
	run_sql("PRAGMA user_version = 3");
	ck_assert_int_eq(open_fails(), -EPROTONOSUPPORT); /* it was 2, and not left at 1 */
}
END_TEST

START_TEST(directory_that_does_not_exist)
{
	snprintf(path, sizeof path, "%s/none/meta.db", directory);
	ck_assert_int_eq(open_fails(), -EACCES);
}
END_TEST

START_TEST(damaged_row_is_an_answer)
{
	struct meta_store *store = open_store();
	struct meta_row row = server_row(1);
	struct rows rows = {.count = 0};

	ck_assert_int_eq(commit_rows(store, &row, 1), 0);
	meta_store_sqlite_close(store);
	run_sql("UPDATE server SET disk = x'00'");
	store = open_store();
	ck_assert_int_eq(store->load(store, take_row, &rows, error), -EINVAL);
	ck_assert(strstr(error, "damaged") != NULL);
	meta_store_sqlite_close(store);
}
END_TEST

/* Pages overwritten behind our back: opening or loading says so. */
START_TEST(damaged_file_is_an_answer)
{
	struct meta_store *store = open_store();
	struct meta_row row = server_row(1);
	struct rows rows = {.count = 0};
	char junk[4096];
	int fd, rc;

	ck_assert_int_eq(commit_rows(store, &row, 1), 0);
	meta_store_sqlite_close(store);
	memset(junk, 0xa5, sizeof junk);
	fd = open(path, O_WRONLY);
	for (off_t offset = 4096; offset < 7 * 4096; offset += 4096)
		ck_assert_int_eq(pwrite(fd, junk, sizeof junk, offset), sizeof junk);
	close(fd);
	rc = meta_store_sqlite_open(path, &clk.base, &store, error);
	if (rc == 0) {
		rc = store->load(store, take_row, &rows, error);
		meta_store_sqlite_close(store);
	}
	ck_assert_int_lt(rc, 0);
	ck_assert(*error);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		rows_come_back_as_they_were,
		rows_are_replaced_and_removed,
		batch_is_all_or_nothing,
		what_was_reported_survives_a_kill,
		closing_with_a_commit_under_way_calls_nobody,
		second_opener_is_refused,
		file_that_is_no_database_is_left_alone,
		database_of_another_program_is_left_alone,
		later_version_is_refused,
		earlier_version_is_brought_up_to_date,
		directory_that_does_not_exist,
		damaged_row_is_an_answer,
		damaged_file_is_an_answer,
	};
	Suite *suite = suite_create("meta store in SQLite");
	TCase *tcase = tcase_create("sqlite");

	trace_limit = TRACE_ERROR;
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 0);
	tcase_add_tests(tcase, tests, ARRAY_SIZE(tests));
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
