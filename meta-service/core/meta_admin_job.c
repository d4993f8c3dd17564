/* meta_admin_job.c - chunk.scrub and job.*: scrubs on demand, and the jobs that they are. */
#include "meta-service/core/meta_admin.h"

static json_t *text_of_time(uint64_t wall_ms)
{
	char text[WALL_TEXT_BYTES];

	if (!wall_ms)
		return json_null();
	wall_text(wall_ms, text);
	return json_string(text);
}

json_t *show_scrub(const struct meta *meta, const struct chunk *chunk)
{
	const struct meta_scrub_row *row = &chunk->scrub.row;
	uint64_t now = meta->wall_ms;

	return json_pack(
		"{s:o,s:o,s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:s,s:b,s:I,s:I}", "ended",
		text_of_time(row->ended_ms), "age_ms",
		row->ended_ms && now >= row->ended_ms
			? json_integer((json_int_t)(now - row->ended_ms))
			: json_null(),
		"by", row->by, "complete", (int)row->complete, "blocks_read", (json_int_t)row->read,
		"bad", (json_int_t)row->bad, "repaired", (json_int_t)row->repaired, "unrepairable",
		(json_int_t)row->unrepairable, "differing", (json_int_t)row->differing,
		"damaged_blocks", row->named, "running", (int)chunk->scrub.running, "units",
		(json_int_t)chunk->scrub.units, "units_done", (json_int_t)chunk->scrub.units_done);
}

/* Which of a job's chunks are damaged by now. */
static json_t *show_damage(const struct meta *meta, const struct job *job)
{
	json_t *list = json_array();

	for (const struct chunk *c = meta->chunks; c; c = c->hh.next) {
		const struct meta_scrub_row *row = &c->scrub.row;

		if ((job->row.volume && c->row.volume != job->row.volume) ||
		    (job->row.chunk && c->row.chunk != job->row.chunk) ||
		    !(row->unrepairable + row->differing) || row->ended_ms < job->row.created_ms)
			continue;
		if (json_array_size(list) == ADMIN_LIST_MAX)
			break;
		json_array_append_new(
			list,
			json_pack("{s:I,s:s,s:I,s:I,s:I,s:s}", "chunk", (json_int_t)c->row.chunk,
				  "volume", c->volume->row.name, "index", (json_int_t)c->row.index,
				  "unrepairable", (json_int_t)row->unrepairable, "differing",
				  (json_int_t)row->differing, "blocks", row->named));
	}
	return list;
}

static json_t *show_job(const struct meta *meta, const struct job *job)
{
	const struct meta_job_row *row = &job->row;
	const struct volume *volume = meta_find_volume(meta, row->volume);
	char what[TEXT_BYTES] = "all chunks";

	if (row->chunk)
		meta_text(what, "chunk %" PRIu64, row->chunk);
	else if (volume)
		meta_text(what, "volume %s", volume->row.name);
	else if (row->volume)
		meta_text(what, "a volume that was deleted");
	return json_pack("{s:I,s:s,s:s,s:s,s:b,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "job",
			 (json_int_t)row->job, "kind", "scrub", "what", what, "state",
			 job_state_name(row->state), "paused", (int)row->paused, "created",
			 text_of_time(row->created_ms), "ended", text_of_time(row->ended_ms),
			 "chunks", (json_int_t)MAX(row->chunks, row->done), "chunks_done",
			 (json_int_t)row->done, "chunks_failed", (json_int_t)row->failed,
			 "blocks_read", (json_int_t)row->read, "bad", (json_int_t)row->bad,
			 "repaired", (json_int_t)row->repaired, "damaged",
			 (json_int_t)row->damaged);
}

json_t *admin_chunk_scrub(struct meta *meta, const struct admin_call *call)
{
	const struct volume *volume = NULL;
	uint64_t id = 0;

	if (!admin_find_scope(meta, call, &volume, &id))
		return NULL;
	return json_pack("{s:o}", "job",
			 show_job(meta, meta_new_job(meta, volume ? volume->row.volume : 0, id)));
}

json_t *admin_job_list(struct meta *meta, const struct admin_call *call)
{
	json_t *list = json_array();

	(void)call;
	for (const struct job *job = meta->jobs; job; job = job->hh.next) {
		if (json_array_size(list) < ADMIN_LIST_MAX)
			json_array_append_new(list, show_job(meta, job));
	}
	return json_pack("{s:o}", "jobs", list);
}

static struct job *find_job(const struct meta *meta, const struct admin_call *call)
{
	struct job *job;
	uint64_t id = 0;

	if (!args_need(call, "job") || !args_number(call, "job", INT64_MAX, &id))
		return NULL;
	job = meta_find_job(meta, id);
	if (!job)
		admin_refuse(call->result, WIRE_NOT_FOUND,
			     "copyhold job list shows what there is; of those that have ended the "
			     "last hundred are kept",
			     "There is no job %" PRIu64, id);
	return job;
}

static json_t *answer(const struct meta *meta, const struct job *job)
{
	return json_pack("{s:o}", "job", show_job(meta, job));
}

json_t *admin_job_show(struct meta *meta, const struct admin_call *call)
{
	const struct job *job = find_job(meta, call);
	json_t *shown;

	if (!job)
		return NULL;
	shown = show_job(meta, job);
	json_object_set_new(shown, "damage", show_damage(meta, job));
	return json_pack("{s:o}", "job", shown);
}

/* The job, if it can still be changed. */
static struct job *find_running(const struct meta *meta, const struct admin_call *call)
{
	struct job *job = find_job(meta, call);

	if (job && job_has_ended(job)) {
		admin_refuse(call->result, WIRE_ALREADY, "Start a new one",
			     "Job %" PRIu64 " has ended: %s", job->row.job,
			     job_state_name(job->row.state));
		return NULL;
	}
	return job;
}

json_t *admin_job_cancel(struct meta *meta, const struct admin_call *call)
{
	struct job *job = find_running(meta, call);

	if (!job)
		return NULL;
	meta_end_job(meta, job, JOB_CANCELLED);
	return answer(meta, job);
}

static json_t *set_paused(struct meta *meta, const struct admin_call *call, bool paused)
{
	struct job *job = find_running(meta, call);

	if (!job)
		return NULL;
	if (job->row.paused == paused) {
		admin_refuse(call->result, WIRE_ALREADY, "Nothing is to be done",
			     "Job %" PRIu64 " is %spaused", job->row.job, paused ? "" : "not ");
		return NULL;
	}
	job->row.paused = paused;
	job->row.state = JOB_WAITING;
	meta_put_job(meta, job);
	return answer(meta, job);
}

json_t *admin_job_pause(struct meta *meta, const struct admin_call *call)
{
	return set_paused(meta, call, true);
}

json_t *admin_job_resume(struct meta *meta, const struct admin_call *call)
{
	return set_paused(meta, call, false);
}
