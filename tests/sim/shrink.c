/* shrink.c - see shrink.h. Faults are taken away in halves, quarters, .. single ones; then operations; then clients. */
#include "tests/sim/shrink.h"
#include "tests/sim/seeds.h"

#include <inttypes.h>

void shrunk_apply(const struct shrunk *limits, struct params *params)
{
	for (uint32_t i = 0; i < params->fault_count; i++)
		params->faults[i].dropped = limits->without[i];
	if (limits->operations)
		params->operations = MIN(params->operations, limits->operations);
	if (limits->clients)
		params->clients = MIN(params->clients, limits->clients);
}

void shrunk_print(const struct shrunk *limits, const struct params *params, FILE *out)
{
	const char *comma = "";

	fprintf(out, "build/sim --seed %" PRIu64, params->seed);
	for (uint32_t i = 0; i < params->fault_count; i++) {
		if (!limits->without[i])
			continue;
		fprintf(out, "%s%" PRIu32, *comma ? comma : " --without ", i);
		comma = ",";
	}
	if (limits->operations)
		fprintf(out, " --operations %" PRIu32, limits->operations);
	if (limits->clients)
		fprintf(out, " --clients %" PRIu32, limits->clients);
	fputc('\n', out);
}

struct search {
	uint64_t seed;
	char rule[64];
	struct shrunk best;
	unsigned tries;
};

static bool still_fails(struct search *s, const struct shrunk *limits)
{
	struct params params;
	struct run_result result;

	params_draw(&params, s->seed);
	shrunk_apply(limits, &params);
	s->tries++;
	if (seed_run_in_child(&params, NULL, &result))
		return false;
	if (!s->rule[0])
		snprintf(s->rule, sizeof s->rule, "%s", result.rule);
	if (strcmp(s->rule, result.rule) != 0)
		return false;
	s->best = *limits;
	return true;
}

static void shrink_faults(struct search *s, uint32_t count)
{
	for (uint32_t step = count; step > 0; step /= 2) {
		for (uint32_t from = 0; from < count; from += step) {
			struct shrunk next = s->best;
			bool changes = false;

			for (uint32_t i = from; i < MIN(from + step, count); i++) {
				changes |= !next.without[i];
				next.without[i] = true;
			}
			if (changes)
				still_fails(s, &next);
		}
	}
}

static void shrink_number(struct search *s, uint32_t *(*number)(struct shrunk *limits),
			  uint32_t now)
{
	while (now > 1) {
		struct shrunk next = s->best;

		*number(&next) = now / 2;
		if (!still_fails(s, &next))
			return;
		now /= 2;
	}
}

static uint32_t *operations_of(struct shrunk *limits)
{
	return &limits->operations;
}

static uint32_t *clients_of(struct shrunk *limits)
{
	return &limits->clients;
}

int shrink_seed(uint64_t seed, const struct shrunk *limits)
{
	struct search s = {.seed = seed};
	struct params params;

	params_draw(&params, seed);
	if (!still_fails(&s, limits)) {
		printf("seed %" PRIu64 " does not fail\n", seed);
		return 0;
	}
	shrink_number(&s, operations_of, params.operations);
	shrink_faults(&s, params.fault_count);
	shrink_number(&s, clients_of, params.clients);
	printf("rule \"%s\", after %u runs:\n", s.rule, s.tries);
	shrunk_print(&s.best, &params, stdout);
	return 1;
}
