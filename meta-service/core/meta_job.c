/*
 * meta_job.c - long operations that people ask for: WAITING, RUNNING, then DONE, FAILED or CANCELLED.
 *
 * A job is a row: it goes on after any restart, of metad or of whoever does the work. There is one kind so far, the scrub of a
 * chunk, a volume or everything. It goes through its chunks by their ids, some at a time; next_chunk is the first that is not
 * done, so that after a restart those that were under way are done again, and none is left out.
 */
#include "meta-service/core/meta_internal.h"

#include <stdlib.h>

#define ENDED_JOBS_KEPT 100

const char *job_state_name(enum job_state state)
{
	static const char *const names[] = {
		[JOB_WAITING] = "WAITING", [JOB_RUNNING] = "RUNNING",     [JOB_DONE] = "DONE",
		[JOB_FAILED] = "FAILED",   [JOB_CANCELLED] = "CANCELLED",
	};

	return names[state];
}

bool job_has_ended(const struct job *job)
{
	return job->row.state != JOB_WAITING && job->row.state != JOB_RUNNING;
}

struct job *meta_find_job(const struct meta *meta, uint64_t id)
{
	struct job *job;

	HASH_FIND(hh, meta->jobs, &id, sizeof id, job);
	return job;
}

struct job *meta_add_job(struct meta *meta, const struct meta_job_row *row)
{
	struct job *job = xcalloc(1, sizeof *job);

	job->row = *row;
	job->cursor = row->next_chunk;
	HASH_ADD(hh, meta->jobs, row.job, sizeof job->row.job, job);
	return job;
}

static bool in_scope(const struct job *job, const struct chunk *chunk)
{
	return !chunk->volume->row.deleting &&
	       (!job->row.volume || chunk->row.volume == job->row.volume) &&
	       (!job->row.chunk || chunk->row.chunk == job->row.chunk);
}

/* The oldest of those that have ended make room. */
static void drop_old(struct meta *meta)
{
	struct job *job, *next;
	unsigned ended = 0;

	for (job = meta->jobs; job; job = job->hh.next)
		ended += job_has_ended(job);
	HASH_ITER(hh, meta->jobs, job, next)
	{
		if (ended <= ENDED_JOBS_KEPT)
			return;
		if (!job_has_ended(job))
			continue;
		meta_remove_job_row(meta, job->row.job);
		HASH_DEL(meta->jobs, job);
		free(job);
		ended--;
	}
}

struct job *meta_new_job(struct meta *meta, uint64_t volume, uint64_t chunk)
{
	struct meta_job_row row = {.job = 1, .volume = volume, .chunk = chunk};
	struct job *job;

	drop_old(meta);
	for (job = meta->jobs; job; job = job->hh.next)
		row.job = MAX(row.job, job->row.job + 1);
	row.created_ms = meta->wall_ms;
	row.next_chunk = chunk;
	job = meta_add_job(meta, &row);
	for (const struct chunk *c = meta->chunks; c; c = c->hh.next)
		job->row.chunks += in_scope(job, c);
	meta_put_job(meta, job);
	return job;
}

void meta_end_job(struct meta *meta, struct job *job, enum job_state state)
{
	job->row.state = state;
	job->row.ended_ms = meta->wall_ms;
	job->flying_count = 0;
	trace(TRACE_INFO, MODULE, "job=%" PRIu64 " %s", job->row.job, job_state_name(state));
	meta_put_job(meta, job);
}

/* One of its chunks has been looked at, or can't be. */
static void chunk_done(struct meta *meta, struct job *job, const struct chunk *chunk, bool failed)
{
	job->row.done++;
	if (failed) {
		job->row.failed++;
	} else if (chunk) {
		job->row.read += chunk->scrub.row.read;
		job->row.bad += chunk->scrub.row.bad;
		job->row.repaired += chunk->scrub.row.repaired;
		job->row.damaged += chunk->scrub.row.unrepairable + chunk->scrub.row.differing;
	}
	job->row.next_chunk = job->cursor;
	for (unsigned i = 0; i < job->flying_count; i++)
		job->row.next_chunk = MIN(job->row.next_chunk, job->flying[i].chunk);
	meta_put_job(meta, job);
}

static void land(struct meta *meta, struct job *job)
{
	for (unsigned i = job->flying_count; i-- > 0;) {
		struct chunk *chunk = meta_find_chunk(meta, job->flying[i].chunk);

		if (chunk && (chunk->scrub.running || !chunk->scrub.ended_ns ||
			      chunk->scrub.ended_ns < job->flying[i].since_ns))
			continue;
		job->flying[i] = job->flying[--job->flying_count];
		chunk_done(meta, job, chunk, chunk && !chunk->scrub.succeeded);
	}
}

/* False: this chunk can't be begun now, and keeps its place. */
static bool take_off(struct meta *meta, struct job *job, struct chunk *chunk)
{
	enum scrub_verdict verdict =
		chunk->scrub.running ? SCRUB_MAY_BEGIN : meta_scrub_judge(meta, chunk);

	job->waits = verdict == SCRUB_BUSY;
	if (job->waits) {
		job->blocked_ns = 0;
		return false;
	}
	if (verdict == SCRUB_UNFIT) {
		if (!job->blocked_ns)
			job->blocked_ns = meta->now_ns;
		if (meta->now_ns - job->blocked_ns < meta->config.scrub_stall_ms * NS_PER_MS)
			return false;
		job->blocked_ns = 0;
		job->cursor++;
		chunk_done(meta, job, chunk, true);
		return true;
	}
	job->blocked_ns = 0;
	job->flying[job->flying_count].chunk = chunk->row.chunk;
	job->flying[job->flying_count++].since_ns = meta->now_ns;
	job->cursor++;
	if (!chunk->scrub.running)
		meta_scrub_begin(meta, chunk);
	return true;
}

static void step_job(struct meta *meta, struct job *job)
{
	uint64_t last = job->row.chunk ? job->row.chunk : meta->cluster.chunk;

	land(meta, job);
	job->waits = false;
	if (job->row.paused)
		return;
	if (job->row.state == JOB_WAITING) {
		job->row.state = JOB_RUNNING;
		meta_put_job(meta, job);
	}
	while (job->flying_count < JOB_FLYING_MAX && job->cursor <= last) {
		struct chunk *chunk = meta_find_chunk(meta, job->cursor);

		if (!chunk || !in_scope(job, chunk))
			job->cursor++;
		else if (!take_off(meta, job, chunk))
			break;
	}
	if (job->cursor <= last || job->flying_count)
		return;
	/* Chunks that were deleted meanwhile are none of it any more. */
	job->row.chunks = job->row.done;
	meta_end_job(meta, job, job->row.failed ? JOB_FAILED : JOB_DONE);
}

bool meta_job_waits(const struct meta *meta)
{
	for (const struct job *job = meta->jobs; job; job = job->hh.next) {
		if (job->waits && !job_has_ended(job))
			return true;
	}
	return false;
}

void meta_jobs_tick(struct meta *meta)
{
	for (struct job *job = meta->jobs; job; job = job->hh.next) {
		if (!job_has_ended(job))
			step_job(meta, job);
	}
}
