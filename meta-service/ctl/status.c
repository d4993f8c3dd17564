/* status.c - copyhold status: one screen. */
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/text.h"

#include <stdio.h>

static void print_problems(const json_t *problems)
{
	json_t *problem;
	size_t i;

	json_array_foreach(problems, i, problem)
	{
		printf("  %s%s%s", paint(PAINT_WARNING), json_text(problem, "what"),
		       paint(PAINT_OFF));
		if (*json_text(problem, "why"))
			printf(": %s", json_text(problem, "why"));
		printf("\n");
		if (*json_text(problem, "hint"))
			printf("      %s\n", json_text(problem, "hint"));
	}
}

/* "3 of 3 up"-like counts; states that are 0 are left out. */
static void print_counts(const char *name, const json_t *counts)
{
	static const char *const states[] = {"up", "healthy", "filling", "degraded", "unavailable"};

	printf("  %-10s %llu", name, (unsigned long long)json_u64(counts, "total"));
	for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
		uint64_t count = json_u64(counts, states[i]);

		if (count)
			printf(", %s%llu %s%s", paint(paint_of_state(states[i])),
			       (unsigned long long)count, states[i], paint(PAINT_OFF));
	}
	printf("\n");
}

enum exit_code status_run(const struct invocation *in)
{
	char used[TEXT_SIZE_BYTES], capacity[TEXT_SIZE_BYTES], uptime[TEXT_SIZE_BYTES];
	json_t *answer, *repair;
	enum exit_code code;
	const char *health;

	code = client_request_or_print(in, "status", json_object(), &answer);
	if (!answer)
		return code;
	health = json_text(answer, "health");
	repair = json_object_get(answer, "repair");
	printf("cluster %s  %s%s%s\n", json_text(answer, "cluster"), paint(paint_of_state(health)),
	       health, paint(PAINT_OFF));
	print_problems(json_object_get(answer, "problems"));
	print_counts("servers", json_object_get(answer, "servers"));
	print_counts("volumes", json_object_get(answer, "volumes"));
	print_counts("chunks", json_object_get(answer, "chunks"));
	printf("  %-10s %s used of %s\n", "capacity",
	       text_size(json_u64(answer, "used_bytes"), used),
	       text_size(json_u64(answer, "capacity_bytes"), capacity));
	printf("  %-10s %llu running, %llu waiting\n", "repair",
	       (unsigned long long)json_u64(repair, "running"),
	       (unsigned long long)json_u64(repair, "waiting"));
	printf("  %-10s %s, up for %s\n", "metad", json_text(answer, "version"),
	       text_duration(json_u64(answer, "uptime_ms"), uptime));
	json_decref(answer);
	return EXIT_CODE_OK;
}
