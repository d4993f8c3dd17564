/* job.c - copyhold job list | show | cancel | pause | resume, and waiting for one. */
#include "meta-service/ctl/job.h"

#include "meta-service/ctl/client.h"
#include "meta-service/ctl/text.h"

#include <stdio.h>
#include <unistd.h>

static const char *state_of(const json_t *job)
{
	return json_is_set(job, "paused") ? "PAUSED" : json_text(job, "state");
}

static bool has_ended(const json_t *job)
{
	const char *state = json_text(job, "state");

	return strcmp(state, "WAITING") != 0 && strcmp(state, "RUNNING") != 0;
}

static void add_job(struct table *table, const json_t *job)
{
	table_cell(table, "%llu", (unsigned long long)json_u64(job, "job"));
	table_cell(table, "%s", json_text(job, "kind"));
	table_cell(table, "%s", json_text(job, "what"));
	table_state(table, state_of(job));
	table_cell(table, "%llu of %llu", (unsigned long long)json_u64(job, "chunks_done"),
		   (unsigned long long)json_u64(job, "chunks"));
	table_cell(table, "%llu", (unsigned long long)json_u64(job, "bad"));
	table_cell(table, "%llu", (unsigned long long)json_u64(job, "repaired"));
	table_cell(table, "%llu", (unsigned long long)json_u64(job, "damaged"));
	table_cell(table, "%s", json_text(job, "created"));
}

enum exit_code job_list(const struct invocation *in)
{
	json_t *answer, *jobs, *job;
	enum exit_code code;
	struct table *table;
	size_t i;

	code = client_request_or_print(in, "job.list", json_object(), &answer);
	if (!answer)
		return code;
	jobs = json_object_get(answer, "jobs");
	table = table_new(">JOB|KIND|OF|STATE|>CHUNKS|>BAD|>REPAIRED|>DAMAGED|CREATED");
	json_array_foreach(jobs, i, job) add_job(table, job);
	table_print(table);
	if (json_array_size(jobs) == 0)
		note(in, "no job yet: copyhold chunk scrub begins one");
	json_decref(answer);
	return EXIT_CODE_OK;
}

static void print_job(const json_t *job)
{
	json_t *damage = json_object_get(job, "damage"), *chunk;
	char size[TEXT_SIZE_BYTES];
	size_t i;

	printf("%sjob %llu%s: %s of %s, %s\n", paint(PAINT_BOLD),
	       (unsigned long long)json_u64(job, "job"), paint(PAINT_OFF), json_text(job, "kind"),
	       json_text(job, "what"), state_of(job));
	printf("  chunks    %llu of %llu, %llu failed\n",
	       (unsigned long long)json_u64(job, "chunks_done"),
	       (unsigned long long)json_u64(job, "chunks"),
	       (unsigned long long)json_u64(job, "chunks_failed"));
	printf("  read      %s\n", text_size(json_u64(job, "blocks_read") * BLOCK_BYTES, size));
	printf("  bad       %llu blocks, %llu of them repaired, %llu damaged beyond repair\n",
	       (unsigned long long)json_u64(job, "bad"),
	       (unsigned long long)json_u64(job, "repaired"),
	       (unsigned long long)json_u64(job, "damaged"));
	json_array_foreach(damage, i, chunk)
		printf("  %schunk %llu%s (volume %s, number %llu): damaged blocks %s\n",
		       paint(PAINT_BAD), (unsigned long long)json_u64(chunk, "chunk"),
		       paint(PAINT_OFF), json_text(chunk, "volume"),
		       (unsigned long long)json_u64(chunk, "index"), json_text(chunk, "blocks"));
}

/* The number in the first argument, as {"job": N}; NULL after a failure. */
static json_t *job_arguments(const struct invocation *in)
{
	uint64_t job;

	if (text_parse_number(in->arguments[0], &job) == 0)
		return json_pack("{s:I}", "job", (json_int_t)job);
	fail_usage(in, "\"%s\" is not a job (a number)", in->arguments[0]);
	return NULL;
}

static enum exit_code run(const struct invocation *in, const char *verb, bool in_full)
{
	json_t *arguments = job_arguments(in), *answer, *job;
	enum exit_code code;

	if (!arguments)
		return EXIT_CODE_USAGE;
	code = client_request_or_print(in, verb, arguments, &answer);
	if (!answer)
		return code;
	job = json_object_get(answer, "job");
	if (in_full)
		print_job(job);
	else
		printf("job %llu is %s\n", (unsigned long long)json_u64(job, "job"), state_of(job));
	json_decref(answer);
	return EXIT_CODE_OK;
}

enum exit_code job_show(const struct invocation *in)
{
	return run(in, "job.show", true);
}

enum exit_code job_cancel(const struct invocation *in)
{
	return run(in, "job.cancel", false);
}

enum exit_code job_pause(const struct invocation *in)
{
	return run(in, "job.pause", false);
}

enum exit_code job_resume(const struct invocation *in)
{
	return run(in, "job.resume", false);
}

enum exit_code job_wait(const struct invocation *in, uint64_t id)
{
	bool progress = !in->json && isatty(STDERR_FILENO);
	json_t *answer = NULL, *job;
	enum exit_code code;

	for (;;) {
		code = client_request(in, "job.show", json_pack("{s:I}", "job", (json_int_t)id),
				      &answer);
		if (!answer)
			return code;
		job = json_object_get(answer, "job");
		if (has_ended(job))
			break;
		if (progress)
			fprintf(stderr, "\r%llu of %llu chunks, %llu bad blocks \033[K",
				(unsigned long long)json_u64(job, "chunks_done"),
				(unsigned long long)json_u64(job, "chunks"),
				(unsigned long long)json_u64(job, "bad"));
		json_decref(answer);
		usleep(500000);
	}
	if (progress)
		fprintf(stderr, "\r\033[K");
	code = strcmp(json_text(job, "state"), "DONE") == 0 && !json_u64(job, "damaged")
		       ? EXIT_CODE_OK
		       : EXIT_CODE_FAILED;
	if (in->json) {
		print_json(answer);
	} else {
		print_job(job);
		json_decref(answer);
	}
	return code;
}
