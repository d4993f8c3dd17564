/* jobs.c - see jobs.h. */
#include "tests/sim/jobs.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#define BETWEEN_NS (2 * NS_PER_S)
/* When the faults have ended; also how long it waits for the operator's other requests. */
#define AGAIN_NS (300 * NS_PER_MS)
/* As many chunks of a job are scrubbed at a time: so many may still be done once it is paused. */
#define FLYING_MAX 4

/* What was told of the job last. */
struct shown {
	bool known, ended, paused;
	char state[16];
	uint64_t chunks, done, failed, read, bad, repaired, damaged;
};

struct jobs {
	struct cluster *cluster;
	struct prng random;
	struct sim_event next;
	bool finishing, turn;
	uint64_t job;      /* 0: none */
	uint64_t asked_ms; /* before it was created */
	char scope[48];
	/* What has been asked for, whether or not there was an answer. */
	bool cancelled, paused;
	uint64_t paused_done;
	struct shown shown;
	const char *verb;
	char json[64];
};

static void wrong(struct jobs *j, const char *what)
{
	const struct shown *s = &j->shown;

	sim_fail(&j->cluster->sim, "scrub jobs", 0,
		 "job %" PRIu64 " over %s: %s; it is %s%s, %" PRIu64 " of %" PRIu64
		 " chunks done, %" PRIu64 " failed, %" PRIu64 " bad, %" PRIu64 " repaired, %" PRIu64
		 " damaged",
		 j->job, j->scope, what, s->state, s->paused ? ", paused" : "", s->done, s->chunks,
		 s->failed, s->bad, s->repaired, s->damaged);
}

/* ---- what is told ---- */

static uint64_t number_of(const json_t *job, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(job, key));
}

static struct shown parse(const json_t *job)
{
	const char *state = json_string_value(json_object_get(job, "state"));
	struct shown s = {
		.known = true,
		.paused = json_is_true(json_object_get(job, "paused")),
		.ended = !json_is_null(json_object_get(job, "ended")),
		.chunks = number_of(job, "chunks"),
		.done = number_of(job, "chunks_done"),
		.failed = number_of(job, "chunks_failed"),
		.read = number_of(job, "blocks_read"),
		.bad = number_of(job, "bad"),
		.repaired = number_of(job, "repaired"),
		.damaged = number_of(job, "damaged"),
	};

	snprintf(s.state, sizeof s.state, "%s", state ? state : "");
	return s;
}

static bool is_state(const struct shown *s, const char *state)
{
	return strcmp(s->state, state) == 0;
}

static void check_alone(struct jobs *j)
{
	const struct shown *s = &j->shown;
	bool over = is_state(s, "DONE") || is_state(s, "FAILED") || is_state(s, "CANCELLED");

	if (!over && !is_state(s, "WAITING") && !is_state(s, "RUNNING"))
		wrong(j, "no such state");
	if (over != s->ended)
		wrong(j, "a time of its end goes with an end");
	if (s->done > s->chunks || s->failed > s->done)
		wrong(j, "numbers that do not add up");
	if (is_state(s, "DONE") && (s->failed || s->done < s->chunks))
		wrong(j, "DONE, and not all of it is");
	if (is_state(s, "FAILED") && !s->failed)
		wrong(j, "FAILED, and nothing has");
	if (is_state(s, "CANCELLED") && !j->cancelled)
		wrong(j, "nobody has cancelled it");
	if (s->paused && !s->ended && !j->paused)
		wrong(j, "nobody has paused it");
	if (s->paused && is_state(s, "RUNNING"))
		wrong(j, "it runs while it is paused");
}

/* Whatever happened to metad meanwhile: nothing that was told is taken back. */
static void check_against(struct jobs *j, const struct shown *before)
{
	const struct shown *s = &j->shown;

	if (!before->known)
		return;
	if (s->done < before->done || s->failed < before->failed || s->read < before->read ||
	    s->bad < before->bad || s->repaired < before->repaired || s->damaged < before->damaged)
		wrong(j, "it had got further before");
	if (before->ended && (!is_state(s, before->state) || s->done != before->done))
		wrong(j, "it had ended, otherwise, before");
	if (before->paused && s->paused && s->done > j->paused_done + FLYING_MAX)
		wrong(j, "it goes on while it is paused");
}

static bool in_scope(const struct jobs *j, const struct meta_chunk_row *row)
{
	const struct meta_volume_row *v = sim_rows_volume(j->cluster->rows, row->volume);
	char text[48];

	if (v->deleting || row->created_ms >= j->asked_ms)
		return false;
	if (strncmp(j->scope, "chunk", 5) == 0) {
		snprintf(text, sizeof text, "chunk %" PRIu64, row->chunk);
		return strcmp(text, j->scope) == 0;
	}
	snprintf(text, sizeof text, "volume %.30s", v->name);
	return strncmp(j->scope, "volume", 6) != 0 || strcmp(text, j->scope) == 0;
}

/* Who is told that it is done may rely on it: every chunk that was there has been scrubbed since it was asked for. */
static void check_done(struct jobs *j)
{
	const struct cluster *c = j->cluster;
	const struct meta_chunk_row *row;

	for (size_t i = 0; (row = sim_rows_chunk_at(c->rows, i)); i++) {
		const struct meta_scrub_row *scrub = sim_rows_scrub(c->rows, row->chunk);

		if (!in_scope(j, row) || (scrub && scrub->ended_ms >= j->asked_ms))
			continue;
		wrong(j, "DONE, and a chunk has not been scrubbed since it was asked for");
		j->cluster->sim.failed_chunk = row->chunk;
	}
}

static void take(struct jobs *j, const json_t *job)
{
	struct shown before = j->shown;

	j->shown = parse(job);
	check_alone(j);
	check_against(j, &before);
	if (j->shown.paused && !before.paused)
		j->paused_done = j->shown.done;
	if (is_state(&j->shown, "DONE") && !before.ended)
		check_done(j);
	if (j->shown.ended && !before.ended)
		sim_reach(&j->cluster->sim, is_state(&j->shown, "DONE") ? REACHED_JOB_DONE
					    : is_state(&j->shown, "FAILED")
						    ? REACHED_JOB_FAILED
						    : REACHED_JOB_CANCELLED);
}

static bool is_about(const struct jobs *j, const json_t *job)
{
	return j->job && number_of(job, "job") == j->job;
}

static void on_answer(struct cluster *c, enum wire_status status, const char *json, void *context)
{
	struct jobs *j = context;
	json_t *document = json_loads(json ? json : "", 0, NULL);
	const json_t *job = json_object_get(document, "job"),
		     *list = json_object_get(document, "jobs");
	size_t i;
	json_t *each;

	if (!json_is_object(document) ||
	    (status != WIRE_OK) != (json_object_get(document, "error") != NULL))
		sim_fail(&c->sim, "answers to the operator", 0, "%s %s is answered %s with %.300s",
			 j->verb, j->json, wire_status_name(status), json ? json : "nothing");
	else if (status == WIRE_OK && strcmp(j->verb, "chunk.scrub") == 0) {
		j->job = number_of(job, "job");
		take(j, job);
	} else if (job && is_about(j, job)) {
		take(j, job);
	} else if (list) {
		json_array_foreach(list, i, each)
		{
			if (is_about(j, each))
				take(j, each);
		}
	} else if (status == WIRE_NOT_FOUND && j->job && strstr(j->json, "\"job\"") &&
		   !strstr(j->json, "777")) {
		wrong(j, "it is gone");
	}
	json_decref(document);
}

/* ---- asking ---- */

static void ask(struct jobs *j, const char *verb)
{
	j->verb = verb;
	sim_reach(&j->cluster->sim, REACHED_ADMIN);
	admin_request(j->cluster, verb, j->json, on_answer, j);
}

static void ask_of_job(struct jobs *j, const char *verb)
{
	snprintf(j->json, sizeof j->json, "{\"job\":%" PRIu64 "}", j->job);
	ask(j, verb);
	j->cancelled |= strcmp(verb, "job.cancel") == 0;
	j->paused |= strcmp(verb, "job.pause") == 0;
}

static void begin_job(struct jobs *j)
{
	j->job = 0;
	j->asked_ms = cluster_wall_ms(j->cluster);
	j->cancelled = j->paused = false;
	j->shown = (struct shown){.known = false};
	ask(j, "chunk.scrub");
}

bool jobs_want_all(struct jobs *j)
{
	return prng_chance(&j->random, 1, 3);
}

void jobs_scrub(struct jobs *j, const char *json)
{
	snprintf(j->json, sizeof j->json, "%s", json);
	snprintf(j->scope, sizeof j->scope, "all chunks");
	begin_job(j);
}

static void ask_for_some(struct jobs *j)
{
	uint64_t n = prng_below(&j->random, 6);

	switch (prng_below(&j->random, 3)) {
	case 0:
		jobs_scrub(j, "{}");
		return;
	case 1:
		snprintf(j->scope, sizeof j->scope, "volume vol%" PRIu64, n);
		snprintf(j->json, sizeof j->json, "{\"volume\":\"vol%" PRIu64 "\"}", n);
		break;
	default:
		snprintf(j->scope, sizeof j->scope, "chunk %" PRIu64, n + 1);
		snprintf(j->json, sizeof j->json, "{\"chunk\":%" PRIu64 "}", n + 1);
		break;
	}
	begin_job(j);
}

static void look(struct jobs *j)
{
	static const char *const of_nothing[] = {"job.show", "job.cancel", "job.pause"};
	uint64_t n = prng_below(&j->random, 100);

	if (n < 55) {
		ask_of_job(j, "job.show");
	} else if (n < 65) {
		snprintf(j->json, sizeof j->json, "{}");
		ask(j, "job.list");
	} else if (n < 77) {
		ask_of_job(j, "job.pause");
	} else if (n < 91) {
		ask_of_job(j, "job.resume");
	} else if (n < 95) {
		ask_of_job(j, "job.cancel");
	} else {
		snprintf(j->json, sizeof j->json, n & 1 ? "{\"job\":777}" : "{}");
		ask(j, of_nothing[n % ARRAY_SIZE(of_nothing)]);
	}
}

static bool is_over(const struct jobs *j)
{
	return !j->job || j->shown.ended;
}

static void ask_next(struct jobs *j)
{
	bool goes_on = !is_over(j) || prng_chance(&j->random, 1, 4);

	/* An answer may be lost: then it is paused no more, and only looking shows it. */
	j->turn = !j->turn;
	if (j->finishing)
		ask_of_job(j, j->shown.paused && j->turn ? "job.resume" : "job.show");
	else if (goes_on && j->job)
		look(j);
	else
		ask_for_some(j);
}

static void step(struct sim_event *event)
{
	struct jobs *j = container_of(event, struct jobs, next);
	struct sim *sim = &j->cluster->sim;
	bool busy = admin_busy(j->cluster);

	if (!j->finishing && !j->cluster->issuing)
		return;
	/* What was asked for last is still to be answered: it is not touched. */
	if (!busy)
		ask_next(j);
	if (!j->finishing || !is_over(j))
		sim_schedule(sim, event, NULL,
			     sim->now_ns + (busy || j->finishing
						    ? AGAIN_NS
						    : prng_below(&j->random, 2 * BETWEEN_NS)),
			     "jobs");
}

void jobs_begin(struct jobs *j)
{
	sim_schedule(&j->cluster->sim, &j->next, NULL,
		     j->cluster->sim.now_ns + prng_below(&j->random, 4 * BETWEEN_NS), "jobs");
}

bool jobs_ended(struct jobs *j)
{
	struct sim *sim = &j->cluster->sim;

	if (admin_busy(j->cluster))
		return false;
	if (is_over(j))
		return true;
	j->finishing = true;
	if (!j->next.heap_index)
		sim_schedule(sim, &j->next, NULL, sim->now_ns + AGAIN_NS, "jobs");
	return false;
}

bool jobs_done_well(const struct jobs *j)
{
	return j->job && is_state(&j->shown, "DONE");
}

struct jobs_told jobs_told(const struct jobs *j)
{
	return (struct jobs_told){j->shown.read, j->shown.bad, j->shown.repaired, j->shown.damaged};
}

struct jobs *jobs_new(struct cluster *c)
{
	struct jobs *j = xcalloc(1, sizeof *j);

	j->cluster = c;
	j->random = sim_stream(&c->sim, "jobs", 0);
	j->next.run = step;
	return j;
}

void jobs_free(struct jobs *j)
{
	sim_cancel(&j->cluster->sim, &j->next);
	free(j);
}
