/* chunk.c - copyhold chunk list | show | check | scrub. */
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/job.h"
#include "meta-service/ctl/text.h"

#include <stdio.h>
#include <stdlib.h>

/* "1 2 3f!": the cids; f: still FILLING; !: its chunk server isn't there. */
static const char *replicas_short(const json_t *chunk, char *out, size_t out_bytes)
{
	json_t *replica;
	size_t i, used = 0;

	*out = 0;
	json_array_foreach(json_object_get(chunk, "replicas"), i, replica)
	{
		int n = snprintf(out + used, out_bytes - used, "%s%llu%s%s", i ? " " : "",
				 (unsigned long long)json_u64(replica, "cid"),
				 strcmp(json_text(replica, "state"), "FILLING") == 0 ? "f" : "",
				 json_is_set(replica, "alive") ? "" : "!");
		used = MIN(used + (size_t)n, out_bytes - 1);
	}
	return out;
}

static void add_chunk(struct table *table, const json_t *chunk)
{
	const json_t *owner = json_object_get(chunk, "owner");
	char replicas[128];

	table_cell(table, "%llu", (unsigned long long)json_u64(chunk, "chunk"));
	table_cell(table, "%s", json_text(chunk, "volume"));
	table_cell(table, "%llu", (unsigned long long)json_u64(chunk, "index"));
	table_state(table, json_text(chunk, "state"));
	table_cell(table, "%s", replicas_short(chunk, replicas, sizeof replicas));
	table_cell(table, "%llu", (unsigned long long)json_u64(chunk, "epoch"));
	if (json_is_object(owner))
		table_cell(table, "%s, pid %llu", json_text(owner, "host"),
			   (unsigned long long)json_u64(owner, "pid"));
	else
		table_cell(table, "-");
}

enum exit_code chunk_list(const struct invocation *in)
{
	json_t *arguments = json_object(), *answer, *chunks, *chunk;
	enum exit_code code;
	struct table *table;
	uint64_t cid;
	size_t i;

	if (!option_number(in, "server", 0, &cid)) {
		json_decref(arguments);
		return EXIT_CODE_USAGE;
	}
	if (option_is_set(in, "volume"))
		json_object_set_new(arguments, "volume", json_string(option_value(in, "volume")));
	if (option_is_set(in, "server"))
		json_object_set_new(arguments, "cid", json_integer((json_int_t)cid));
	if (option_is_set(in, "degraded"))
		json_object_set_new(arguments, "state", json_string("degraded"));
	code = client_request_or_print(in, "chunk.list", arguments, &answer);
	if (!answer)
		return code;
	chunks = json_object_get(answer, "chunks");
	table = table_new(">CHUNK|VOLUME|>INDEX|STATE|REPLICAS|>EPOCH|OWNER");
	json_array_foreach(chunks, i, chunk) add_chunk(table, chunk);
	table_print(table);
	json_decref(answer);
	return EXIT_CODE_OK;
}

static void print_replicas(const json_t *chunk)
{
	struct table *table = table_new("  |>CID|STATE|ALIVE|ADDRESS|POSITION");
	json_t *replica, *position;
	size_t i;

	json_array_foreach(json_object_get(chunk, "replicas"), i, replica)
	{
		position = json_object_get(replica, "position");
		table_cell(table, "  ");
		table_cell(table, "%llu", (unsigned long long)json_u64(replica, "cid"));
		table_state(table, json_text(replica, "state"));
		table_cell(table, "%s", json_is_set(replica, "alive") ? "yes" : "no");
		table_cell(table, "%s", json_text(replica, "address"));
		if (json_is_object(position))
			table_cell(table, "epoch %llu, generation %llu",
				   (unsigned long long)json_u64(position, "epoch"),
				   (unsigned long long)json_u64(position, "generation"));
		else
			table_cell(table, "not reported yet");
	}
	table_print(table);
}

/* CHUNK, or VOLUME:INDEX. NULL: neither, and the failure was told. */
static json_t *chunk_arguments(const struct invocation *in)
{
	const char *text = in->arguments[0], *colon = strrchr(text, ':');
	uint64_t number;

	if (!colon && text_parse_number(text, &number) == 0)
		return json_pack("{s:I}", "chunk", (json_int_t)number);
	if (colon && colon > text && text_parse_number(colon + 1, &number) == 0)
		return json_pack("{s:s%, s:I}", "volume", text, (size_t)(colon - text), "index",
				 (json_int_t)number);
	fail_usage(in, "\"%s\" is neither a chunk's id (a number) nor VOLUME:INDEX", text);
	return NULL;
}

enum exit_code chunk_show(const struct invocation *in)
{
	json_t *arguments = chunk_arguments(in), *answer, *chunk;
	enum exit_code code;

	if (!arguments)
		return EXIT_CODE_USAGE;
	code = client_request_or_print(in, "chunk.show", arguments, &answer);
	if (!answer)
		return code;
	chunk = json_object_get(answer, "chunk");
	printf("%schunk %llu%s, number %llu of volume %s\n", paint(PAINT_BOLD),
	       (unsigned long long)json_u64(chunk, "chunk"), paint(PAINT_OFF),
	       (unsigned long long)json_u64(chunk, "index"), json_text(chunk, "volume"));
	printf("  state %s%s%s, %llu of %llu replicas ACTIVE\n",
	       paint(paint_of_state(json_text(chunk, "state"))), json_text(chunk, "state"),
	       paint(PAINT_OFF), (unsigned long long)json_u64(chunk, "active"),
	       (unsigned long long)json_u64(chunk, "wanted"));
	printf("  epoch %llu, list %llu, floor %llu\n",
	       (unsigned long long)json_u64(chunk, "epoch"),
	       (unsigned long long)json_u64(chunk, "list_number"),
	       (unsigned long long)json_u64(chunk, "floor"));
	print_replicas(chunk);
	json_decref(answer);
	return EXIT_CODE_OK;
}

/* A line for each chunk: its last scrub. */
static void print_scrubs(const json_t *chunks)
{
	struct table *table =
		table_new(">CHUNK|VOLUME|>INDEX|STATE|LAST SCRUB|BY|>READ|>BAD|>REPAIRED|>DAMAGED");
	char age[TEXT_SIZE_BYTES], size[TEXT_SIZE_BYTES];
	json_t *chunk, *scrub;
	size_t i;

	json_array_foreach(chunks, i, chunk)
	{
		scrub = json_object_get(chunk, "scrub");
		table_cell(table, "%llu", (unsigned long long)json_u64(chunk, "chunk"));
		table_cell(table, "%s", json_text(chunk, "volume"));
		table_cell(table, "%llu", (unsigned long long)json_u64(chunk, "index"));
		table_state(table, json_text(chunk, "state"));
		if (json_is_set(scrub, "running"))
			table_cell(table, "now, %llu of %llu units",
				   (unsigned long long)json_u64(scrub, "units_done"),
				   (unsigned long long)json_u64(scrub, "units"));
		else if (json_is_string(json_object_get(scrub, "ended")))
			table_cell(table, "%s ago%s", text_duration(json_u64(scrub, "age_ms"), age),
				   json_is_set(scrub, "complete") ? "" : ", not all replicas");
		else
			table_cell(table, "never");
		table_cell(table, "%s", *json_text(scrub, "by") ? json_text(scrub, "by") : "-");
		table_cell(table, "%s",
			   text_size(json_u64(scrub, "blocks_read") * BLOCK_BYTES, size));
		table_cell(table, "%llu", (unsigned long long)json_u64(scrub, "bad"));
		table_cell(table, "%llu", (unsigned long long)json_u64(scrub, "repaired"));
		table_cell(table, "%llu",
			   (unsigned long long)(json_u64(scrub, "unrepairable") +
						json_u64(scrub, "differing")));
	}
	table_print(table);
}

/* What check and scrub are told to look at; false after a failure. */
static bool scope_arguments(const struct invocation *in, json_t *arguments)
{
	uint64_t chunk;

	if (in->argument_count && text_parse_number(in->arguments[0], &chunk) != 0) {
		fail_usage(in, "\"%s\" is not a chunk's id (a number)", in->arguments[0]);
		return false;
	}
	if (in->argument_count)
		json_object_set_new(arguments, "chunk", json_integer((json_int_t)chunk));
	if (option_is_set(in, "volume"))
		json_object_set_new(arguments, "volume", json_string(option_value(in, "volume")));
	return true;
}

enum exit_code chunk_scrub(const struct invocation *in)
{
	json_t *arguments = json_object(), *answer;
	enum exit_code code;
	uint64_t job;

	if (!scope_arguments(in, arguments)) {
		json_decref(arguments);
		return EXIT_CODE_USAGE;
	}
	if (!option_is_set(in, "wait"))
		code = client_request_or_print(in, "chunk.scrub", arguments, &answer);
	else
		code = client_request(in, "chunk.scrub", arguments, &answer);
	if (!answer)
		return code;
	job = json_u64(json_object_get(answer, "job"), "job");
	json_decref(answer);
	if (option_is_set(in, "wait"))
		return job_wait(in, job);
	printf("job %llu: copyhold job show %llu tells how far it is\n", (unsigned long long)job,
	       (unsigned long long)job);
	return EXIT_CODE_OK;
}

/* With problems the exit code is 1, whatever the form of the output. */
enum exit_code chunk_check(const struct invocation *in)
{
	json_t *arguments = json_object(), *answer, *problems, *problem;
	enum exit_code code;
	size_t i;

	if (!scope_arguments(in, arguments)) {
		json_decref(arguments);
		return EXIT_CODE_USAGE;
	}
	if (option_is_set(in, "detail"))
		json_object_set_new(arguments, "detail", json_true());
	code = client_request(in, "chunk.check", arguments, &answer);
	if (!answer)
		return code;
	problems = json_object_get(answer, "problems");
	code = json_array_size(problems) ? EXIT_CODE_FAILED : EXIT_CODE_OK;
	if (in->json) {
		print_json(answer);
		return code;
	}
	json_array_foreach(problems, i, problem)
		printf("%schunk %llu%s (volume %s, number %llu): %s\n    %s\n", paint(PAINT_BAD),
		       (unsigned long long)json_u64(problem, "chunk"), paint(PAINT_OFF),
		       json_text(problem, "volume"), (unsigned long long)json_u64(problem, "index"),
		       json_text(problem, "problem"), json_text(problem, "hint"));
	if (option_is_set(in, "detail"))
		print_scrubs(json_object_get(answer, "chunks"));
	printf("%llu chunks checked, %llu healthy, %zu problems\n",
	       (unsigned long long)json_u64(answer, "checked"),
	       (unsigned long long)json_u64(answer, "healthy"), json_array_size(problems));
	json_decref(answer);
	return code;
}
