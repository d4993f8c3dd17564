/* rows.c - see rows.h. Each kind is an array in the order of its key. */
#include "tests/sim/rows.h"

#include <errno.h>
#include <stdlib.h>

struct table {
	struct meta_row *rows;
	size_t count, room;
};

struct sim_rows {
	struct meta_store seam;
	struct sim *sim;
	struct sim_process *process;
	struct prng random;
	uint64_t latency_ns, jitter_ns;
	uint32_t slow;
	unsigned fail;
	struct table tables[META_ROW_KINDS]; /* by enum meta_row_kind */
	struct table saved[META_ROW_KINDS];
	struct sim_event event;
	const struct meta_row *pending;
	size_t pending_count;
	meta_store_done_fn *done;
	void *done_context;
	void (*begun)(void *context);
	void *begun_context;
	void (*changed)(void *context, const struct meta_row *before, const struct meta_row *after);
	void *changed_context;
};

static uint64_t key_of(const struct meta_row *row)
{
	switch (row->kind) {
	case META_ROW_SERVER:
		return row->u.server.cid;
	case META_ROW_VOLUME:
		return row->u.volume.volume;
	case META_ROW_CHUNK:
		return row->u.chunk.chunk;
	case META_ROW_SCRUB:
		return row->u.scrub.chunk;
	case META_ROW_JOB:
		return row->u.job.job;
	case META_ROW_CLUSTER:
	case META_ROW_KINDS:
		break;
	}
	return 0;
}

static size_t position_of(const struct table *t, uint64_t key)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (key_of(&t->rows[middle]) < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct meta_row *find(const struct sim_rows *rows, enum meta_row_kind kind,
				   uint64_t key)
{
	const struct table *t = &rows->tables[kind];
	size_t i = position_of(t, key);

	return i < t->count && key_of(&t->rows[i]) == key ? &t->rows[i] : NULL;
}

static void apply(struct sim_rows *rows, const struct meta_row *row)
{
	struct table *t = &rows->tables[row->kind];
	uint64_t key = key_of(row);
	size_t i = position_of(t, key);
	bool there = i < t->count && key_of(&t->rows[i]) == key;

	if (row->removed) {
		if (there) {
			memmove(&t->rows[i], &t->rows[i + 1], (t->count - i - 1) * sizeof *t->rows);
			t->count--;
		}
		return;
	}
	if (!there) {
		if (t->count == t->room) {
			t->room = MAX((size_t)16, t->room * 2);
			t->rows = xrealloc(t->rows, t->room * sizeof *t->rows);
		}
		memmove(&t->rows[i + 1], &t->rows[i], (t->count - i) * sizeof *t->rows);
		t->count++;
	}
	t->rows[i] = *row;
}

static uint32_t count_state(const struct meta_chunk_row *row, enum replica_state state)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < row->replica_count; i++)
		count += row->replicas[i].state == state;
	return count;
}

/* What a commit does to a chunk's list. */
static void count_change(const struct sim_rows *rows, const struct meta_row *row)
{
	const struct meta_row *before = find(rows, row->kind, key_of(row));
	uint32_t active, filling, active_before, filling_before;

	if (before && rows->changed &&
	    (row->kind == META_ROW_CHUNK || row->kind == META_ROW_VOLUME))
		rows->changed(rows->changed_context, before, row);
	if (row->kind != META_ROW_CHUNK || row->removed || !before)
		return;
	active = count_state(&row->u.chunk, REPLICA_ACTIVE);
	filling = count_state(&row->u.chunk, REPLICA_FILLING);
	active_before = count_state(&before->u.chunk, REPLICA_ACTIVE);
	filling_before = count_state(&before->u.chunk, REPLICA_FILLING);
	if (filling > filling_before)
		sim_reach(rows->sim, REACHED_FILL_BEGUN);
	else if (filling < filling_before)
		sim_reach(rows->sim,
			  active > active_before ? REACHED_PROMOTED : REACHED_FILL_GIVEN_UP);
	if (active < active_before && filling == filling_before) {
		const struct meta_row *volume = find(rows, META_ROW_VOLUME, row->u.chunk.volume);

		sim_reach(rows->sim, REACHED_EVICTED);
		if (volume && active <= volume->u.volume.min_replicas)
			sim_reach(rows->sim, REACHED_EVICTED_TO_MIN);
	}
}

static void apply_pending(struct sim_rows *rows)
{
	for (size_t i = 0; i < rows->pending_count; i++) {
		count_change(rows, &rows->pending[i]);
		apply(rows, &rows->pending[i]);
	}
}

static void commit_run(struct sim_event *event)
{
	struct sim_rows *rows = container_of(event, struct sim_rows, event);
	meta_store_done_fn *done = rows->done;
	int error = 0;

	if (rows->fail) {
		rows->fail--;
		error = -EIO;
		rows->sim->totals.store_faults++;
	}
	if (!error || prng_chance(&rows->random, 1, 2))
		apply_pending(rows);
	sim_trace(rows->sim, "commit of %zu rows: %d", rows->pending_count, error);
	rows->pending = NULL;
	rows->pending_count = 0;
	rows->done = NULL;
	done(rows->done_context, error);
}

static void rows_commit(struct meta_store *store, const struct meta_row *changed, size_t count,
			meta_store_done_fn *done, void *context)
{
	struct sim_rows *rows = container_of(store, struct sim_rows, seam);
	uint64_t delay = rows->latency_ns + prng_below(&rows->random, rows->jitter_ns + 1);

	assert(!rows->done && count > 0);
	rows->pending = changed;
	rows->pending_count = count;
	rows->done = done;
	rows->done_context = context;
	sim_schedule(rows->sim, &rows->event, rows->process,
		     rows->sim->now_ns + delay * rows->slow + 1, "commit");
	if (rows->begun)
		rows->begun(rows->begun_context);
}

static int rows_load(struct meta_store *store,
		     void (*row)(void *context, const struct meta_row *row), void *context,
		     char error[META_STORE_ERROR_BYTES])
{
	struct sim_rows *rows = container_of(store, struct sim_rows, seam);

	(void)error;
	for (unsigned kind = 0; kind < ARRAY_SIZE(rows->tables); kind++) {
		for (size_t i = 0; i < rows->tables[kind].count; i++)
			row(context, &rows->tables[kind].rows[i]);
	}
	return 0;
}

struct sim_rows *sim_rows_new(struct sim *sim, uint64_t latency_ns, uint64_t jitter_ns)
{
	struct sim_rows *rows = xcalloc(1, sizeof *rows);

	rows->sim = sim;
	rows->random = sim_stream(sim, "rows", 0);
	rows->latency_ns = latency_ns;
	rows->jitter_ns = jitter_ns;
	rows->slow = 1;
	rows->seam = (struct meta_store){rows_load, rows_commit};
	rows->event.run = commit_run;
	return rows;
}

void sim_rows_free(struct sim_rows *rows)
{
	if (!rows)
		return;
	for (unsigned kind = 0; kind < ARRAY_SIZE(rows->tables); kind++) {
		free(rows->tables[kind].rows);
		free(rows->saved[kind].rows);
	}
	free(rows);
}

struct meta_store *sim_rows_open(struct sim_rows *rows, struct sim_process *process)
{
	rows->process = process;
	return &rows->seam;
}

void sim_rows_process_ended(struct sim_rows *rows)
{
	sim_cancel(rows->sim, &rows->event);
	if (rows->done)
		sim_reach(rows->sim, REACHED_COMMIT_LOST);
	/* The transaction had reached the disk, or had not. */
	if (rows->done && prng_chance(&rows->random, 1, 2))
		apply_pending(rows);
	rows->done = NULL;
	rows->pending = NULL;
	rows->pending_count = 0;
}

void sim_rows_watch(struct sim_rows *rows, void (*begun)(void *context), void *context)
{
	rows->begun = begun;
	rows->begun_context = context;
}

void sim_rows_watch_changes(struct sim_rows *rows,
			    void (*changed)(void *context, const struct meta_row *before,
					    const struct meta_row *after),
			    void *context)
{
	rows->changed = changed;
	rows->changed_context = context;
}

bool sim_rows_granting(const struct sim_rows *rows, uint64_t chunk)
{
	const struct meta_chunk_row *now = sim_rows_chunk(rows, chunk);

	for (size_t i = 0; now && i < rows->pending_count; i++) {
		const struct meta_row *row = &rows->pending[i];

		if (row->kind == META_ROW_CHUNK && row->u.chunk.chunk == chunk &&
		    row->u.chunk.epoch > now->epoch)
			return true;
	}
	return false;
}

void sim_rows_fail(struct sim_rows *rows, unsigned commits)
{
	rows->fail = commits;
}

void sim_rows_set_slow(struct sim_rows *rows, uint32_t times)
{
	rows->slow = times;
}

const struct meta_chunk_row *sim_rows_chunk(const struct sim_rows *rows, uint64_t chunk)
{
	const struct meta_row *row = find(rows, META_ROW_CHUNK, chunk);

	return row ? &row->u.chunk : NULL;
}

const struct meta_scrub_row *sim_rows_scrub(const struct sim_rows *rows, uint64_t chunk)
{
	const struct meta_row *row = find(rows, META_ROW_SCRUB, chunk);

	return row ? &row->u.scrub : NULL;
}

const struct meta_server_row *sim_rows_server(const struct sim_rows *rows, uint32_t cid)
{
	const struct meta_row *row = find(rows, META_ROW_SERVER, cid);

	return row ? &row->u.server : NULL;
}

const struct meta_volume_row *sim_rows_volume(const struct sim_rows *rows, uint64_t volume)
{
	const struct meta_row *row = find(rows, META_ROW_VOLUME, volume);

	return row ? &row->u.volume : NULL;
}

const struct meta_volume_row *sim_rows_volume_named(const struct sim_rows *rows, const char *name)
{
	const struct table *t = &rows->tables[META_ROW_VOLUME];

	for (size_t i = 0; i < t->count; i++) {
		if (!t->rows[i].u.volume.deleting && strcmp(t->rows[i].u.volume.name, name) == 0)
			return &t->rows[i].u.volume;
	}
	return NULL;
}

const struct meta_cluster_row *sim_rows_cluster(const struct sim_rows *rows)
{
	const struct meta_row *row = find(rows, META_ROW_CLUSTER, 0);

	return row ? &row->u.cluster : NULL;
}

const struct meta_chunk_row *sim_rows_chunk_at(const struct sim_rows *rows, size_t i)
{
	const struct table *t = &rows->tables[META_ROW_CHUNK];

	return i < t->count ? &t->rows[i].u.chunk : NULL;
}

const struct meta_server_row *sim_rows_server_at(const struct sim_rows *rows, size_t i)
{
	const struct table *t = &rows->tables[META_ROW_SERVER];

	return i < t->count ? &t->rows[i].u.server : NULL;
}

void sim_rows_save(struct sim_rows *rows)
{
	for (unsigned kind = 0; kind < ARRAY_SIZE(rows->tables); kind++) {
		const struct table *t = &rows->tables[kind];

		free(rows->saved[kind].rows);
		rows->saved[kind] =
			(struct table){xcalloc(t->count, sizeof *t->rows), t->count, t->count};
		if (t->count)
			memcpy(rows->saved[kind].rows, t->rows, t->count * sizeof *t->rows);
	}
}

void sim_rows_swap_saved(struct sim_rows *rows)
{
	assert(!rows->done);
	for (unsigned kind = 0; kind < ARRAY_SIZE(rows->tables); kind++) {
		struct table now = rows->tables[kind];

		rows->tables[kind] = rows->saved[kind];
		rows->saved[kind] = now;
	}
}
