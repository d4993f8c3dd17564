/* run.c - see run.h. */
#include "tests/sim/run.h"
#include "tests/sim/faults.h"
#include "tests/sim/jobs.h"
#include "tests/sim/leases.h"
#include "tests/sim/lists.h"
#include "tests/sim/operator.h"
#include "tests/sim/rest.h"
#include "tests/sim/users.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define TICK_NS (100 * NS_PER_MS)

/* Bounds of the liveness phase, with room for slow parameters. */
#define BOOT_NS          (60 * NS_PER_S)
#define HELD_NS          (60 * NS_PER_S)
#define SESSIONS_BACK_NS (10 * NS_PER_S)
#define TRIMMED_NS       (120 * NS_PER_S)
#define SCRUBBED_NS      (180 * NS_PER_S)
#define JOB_NS           (180 * NS_PER_S)
#define NO_ROOM_NS       (5 * NS_PER_S)
#define REDUNDANCY_NS    (240 * NS_PER_S)
#define DELETED_NS       (240 * NS_PER_S)
#define VERIFY_NS        (120 * NS_PER_S)
#define DEAD_DISK_STARTS 5

/* ---- what goes on all the time ---- */

static void attach_somewhere(struct cluster *c, struct sim_volume *v)
{
	unsigned i = v->next_engine++ % c->params.engines;
	struct sim_engine *e = &c->engines[i];

	if (!e->node.process->running || !engine_may_attach(e, v->number))
		return;
	user_attach(c, i, v->number, prng_chance(&v->random, 1, 2));
}

/* Of what a store keeps, and of its journal: what has been written back must be given up. */
static void check_growth(struct cluster *c, const struct sim_server *s)
{
	struct store_counters now;

	if (!s->store)
		return;
	now = store_counters(s->store);
	c->memory_max = MAX(c->memory_max, now.memory_bytes);
	if (now.memory_bytes > c->params.limits.store_memory_bytes)
		sim_fail(&c->sim, "growth", 0, "%s keeps %" PRIu64 " bytes in memory",
			 s->node.process->name, now.memory_bytes);
	if (now.journal_used_bytes > now.journal_bytes * c->params.limits.journal_percent / 100)
		sim_fail(&c->sim, "growth", 0, "%s has %" PRIu64 " bytes in a journal of %" PRIu64,
			 s->node.process->name, now.journal_used_bytes, now.journal_bytes);
}

static void on_trimmed(void *context, struct user *user, unsigned failed)
{
	struct sim_volume *v = context;

	/* Else again, by whoever has it then. */
	v->trimmed |= user_state(user) == USER_ATTACHED && !failed;
}

/*
 * Where disks are too small users give back what they don't keep, each as soon as its volume is attached: as long as a replica is full, and
 * min_replicas does not let it be left out, the room for it comes from other volumes.
 */
static void trim_what_is_attached(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.volumes; i++) {
		struct user *user = user_of_volume(c, i);

		if (user && !c->volumes[i].trimmed && !user_sweeps(user))
			user_trim(user, on_trimmed, &c->volumes[i]);
	}
}

static void tick_run(struct sim_event *event)
{
	struct cluster *c = container_of(event, struct cluster, tick);

	for (unsigned i = 0; i < c->params.volumes && !c->sim.failed; i++) {
		struct sim_volume *v = &c->volumes[i];

		if (v->created && !c->manual && !volume_in_use(c, i) &&
		    c->sim.now_ns >= v->reattach_at_ns)
			attach_somewhere(c, v);
	}
	if (c->booted)
		operator_create(c);
	users_detach_former(c);
	cluster_stop_engines_on(c);
	lists_check_given(c->lists);
	if (c->trimming)
		trim_what_is_attached(c);
	/* What an operator does with a disk that keeps its chunk server from starting. */
	for (unsigned i = 0; i < c->params.servers; i++) {
		if (c->servers[i].failed_starts >= DEAD_DISK_STARTS)
			server_replace_dead_disk(c, i);
	}
	for (unsigned i = 0; i < c->params.servers; i++)
		check_growth(c, &c->servers[i]);
	for (unsigned i = 0; i < c->params.engines; i++) {
		if (c->engines[i].engine && engine_counters(c->engines[i].engine).memory_bytes >
						    c->params.limits.engine_memory_bytes)
			sim_fail(&c->sim, "growth", 0, "e%u keeps too much in memory", i);
	}
	c->bytes_under_way_max = MAX(c->bytes_under_way_max, net_bytes_under_way(c->sim.net));
	if (c->bytes_under_way_max > c->params.limits.wire_bytes)
		sim_fail(&c->sim, "growth", 0, "%zu bytes are queued in the network",
			 c->bytes_under_way_max);
	if (c->sim.totals.events > c->params.limits.events)
		sim_fail(&c->sim, "growth", 0,
			 "the run has had %" PRIu64 " events: something turns without end",
			 c->sim.totals.events);
	sim_schedule(&c->sim, &c->tick, NULL, c->sim.now_ns + TICK_NS, "tick");
}

static void after_event(struct sim *sim, struct sim_process *process)
{
	if (process)
		leases_check(sim->context, process);
}

bool run_for(struct cluster *c, uint64_t ns)
{
	return sim_run(&c->sim, c->sim.now_ns + ns, NULL, NULL);
}

struct condition {
	struct cluster *c;
	bool (*done)(struct cluster *c);
};

static bool condition_holds(void *context)
{
	struct condition *condition = context;

	return condition->done(condition->c);
}

/*
 * A replica has no room for what others have accepted. Where min_replicas does not let it be left out, or it must be rolled forward for a new
 * owner, only room on its disk helps; if that can't come from other volumes, an operator decides. Known, and said in docs/TESTING.md.
 */
static bool any_without_room(const struct cluster *c)
{
	for (unsigned i = 0; i < c->params.servers; i++) {
		const struct sim_server *s = &c->servers[i];
		uint64_t refused_ns = observer_no_room_ns(c->observer, s->node.process);

		if (s->store && refused_ns && c->sim.now_ns - refused_ns < NO_ROOM_NS &&
		    store_counters(s->store).free_bytes == 0)
			return true;
	}
	return false;
}

bool run_until(struct cluster *c, uint64_t ns, bool (*done)(struct cluster *c), const char *rule,
	       const char *what)
{
	struct condition condition = {c, done};

	if (!c->sim.failed && done(c))
		return true;
	if (!sim_run(&c->sim, c->sim.now_ns + ns, condition_holds, &condition))
		return false;
	if (!done(c) && any_without_room(c)) {
		sim_reach(&c->sim, REACHED_HELD_FULL);
		c->held = true;
		return false;
	}
	if (!done(c))
		sim_fail(&c->sim, rule, 0, "%s within %.0f s", what, (double)ns / 1e9);
	return !c->sim.failed;
}

/* ---- boot ---- */

static bool all_created(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.volumes; i++) {
		if (!c->volumes[i].created)
			return false;
	}
	return true;
}

static bool all_registered(struct cluster *c)
{
	unsigned count = 0;

	while (sim_rows_server_at(c->rows, count))
		count++;
	return count >= c->params.servers;
}

bool run_boot(struct cluster *c)
{
	uint64_t deadline_ns = c->sim.now_ns + BOOT_NS;

	c->sim.after_event = after_event;
	c->sim.on_message = faults_message;
	c->sim.on_disk = faults_disk;
	sim_rows_watch(c->rows, faults_commit, c);
	c->tick.run = tick_run;
	sim_schedule(&c->sim, &c->tick, NULL, c->sim.now_ns, "tick");
	for (unsigned i = 0; i < c->params.metads; i++)
		cluster_start_metad(c, i);
	for (unsigned i = 0; i < c->params.servers; i++)
		cluster_start_server(c, i);
	for (unsigned i = 0; i < c->params.engines; i++)
		cluster_start_engine(c, i);
	if (!run_until(c, BOOT_NS, all_registered, "boot", "the chunk servers did not register"))
		return false;
	while (!all_created(c) && !c->sim.failed && c->sim.now_ns < deadline_ns) {
		operator_create(c);
		run_for(c, 200 * NS_PER_MS);
	}
	if (!all_created(c))
		sim_fail(&c->sim, "boot", 0, "the volumes were not created");
	c->booted = true;
	return !c->sim.failed;
}

/* ---- liveness ---- */

static bool nothing_under_way(struct cluster *c)
{
	return users_under_way(c) == 0;
}

static bool all_attached(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.volumes; i++) {
		if (!user_of_volume(c, i))
			return false;
	}
	return true;
}

/* Whoever has a volume has heard of its size. */
static bool all_sized(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.volumes; i++) {
		const struct user *user = user_of_volume(c, i);

		if (!user || c->volumes[i].resizing || user_bytes(user) != c->volumes[i].bytes)
			return false;
	}
	return true;
}

static bool all_trimmed(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.volumes; i++) {
		if (c->trimming && !c->volumes[i].trimmed)
			return false;
	}
	return true;
}

/* With chunk servers that run: one that can't open its disk is replaced by the operator, some seconds later. */
static bool chunk_is_whole(const struct cluster *c, const struct meta_chunk_row *row)
{
	const struct meta_volume_row *v = sim_rows_volume(c->rows, row->volume);

	if (row->replica_count != v->replicas)
		return false;
	for (uint32_t i = 0; i < row->replica_count; i++) {
		int server = cluster_server_of_cid(c, row->replicas[i].cid);

		if (row->replicas[i].state != REPLICA_ACTIVE || row->replicas[i].leaving ||
		    server < 0 || !c->servers[server].store)
			return false;
	}
	return true;
}

static bool all_whole(struct cluster *c)
{
	const struct meta_chunk_row *row;

	for (size_t i = 0; (row = sim_rows_chunk_at(c->rows, i)); i++) {
		if (!sim_rows_volume(c->rows, row->volume)->deleting && !chunk_is_whole(c, row))
			return false;
	}
	return true;
}

static void name_what_is_missing(struct cluster *c)
{
	const struct meta_chunk_row *row;
	size_t used = strlen(c->sim.reason);

	for (size_t i = 0; (row = sim_rows_chunk_at(c->rows, i)); i++) {
		if (sim_rows_volume(c->rows, row->volume)->deleting || chunk_is_whole(c, row))
			continue;
		c->sim.failed_chunk = row->chunk;
		snprintf(c->sim.reason + used, sizeof c->sim.reason - used,
			 ": chunk %" PRIu64 " has %u replicas", row->chunk, row->replica_count);
		return;
	}
}

struct verification {
	unsigned waiting, failed, lost;
	bool read[SIM_VOLUMES_MAX];
};
static struct verification verification;

static void on_verified(void *context, struct user *user, unsigned failed)
{
	bool *read = context;

	/* Somebody took the volume from an engine that had not noticed: the new one is to be asked. */
	verification.waiting--;
	if (user_state(user) != USER_ATTACHED)
		verification.lost++;
	else if (failed)
		verification.failed += failed;
	else
		*read = true;
}

static bool verified(struct cluster *c)
{
	(void)c;
	return verification.waiting == 0;
}

static bool verify_once(struct cluster *c)
{
	verification.waiting = verification.failed = verification.lost = 0;
	if (!run_until(c, HELD_NS, all_attached, "liveness", "not all volumes were attached"))
		return false;
	for (unsigned i = 0; i < c->params.volumes; i++) {
		if (verification.read[i])
			continue;
		verification.waiting++;
		user_verify(user_of_volume(c, i), on_verified, &verification.read[i]);
	}
	if (!run_until(c, VERIFY_NS, verified, "liveness", "the volumes were not read completely"))
		return false;
	if (verification.failed)
		sim_fail(&c->sim, "liveness", 0, "%u reads fail in a cluster without faults",
			 verification.failed);
	return !c->sim.failed;
}

/* Each volume once, by whoever has it; engines that have lost theirs find out on the way. */
static bool verify_all(struct cluster *c)
{
	verification = (struct verification){.waiting = 0};
	for (unsigned i = 0; i <= c->params.engines; i++) {
		if (!verify_once(c))
			return false;
		if (!verification.lost)
			return true;
	}
	sim_fail(&c->sim, "liveness", 0, "the volumes go on being taken away");
	return false;
}

static bool all_scrubbed(struct cluster *c)
{
	const struct meta_chunk_row *row;

	for (size_t i = 0; (row = sim_rows_chunk_at(c->rows, i)); i++) {
		const struct meta_scrub_row *scrub = sim_rows_scrub(c->rows, row->chunk);

		if (!sim_rows_volume(c->rows, row->volume)->deleting &&
		    (!scrub || !scrub->complete || scrub->ended_ms <= c->scrub_since_ms))
			return false;
	}
	return true;
}

/* Until each chunk has been scrubbed since the faults ended; where a disk has lied once more, since that one may have begun before. */
static bool scrub_by_time(struct cluster *c, bool lied)
{
	for (unsigned i = 0; i < (lied ? 2 : 1); i++) {
		if (!run_until(c, SCRUBBED_NS, all_scrubbed, "liveness",
			       "not every chunk was scrubbed"))
			return false;
		c->scrub_since_ms = cluster_wall_ms(c);
	}
	return true;
}

static bool no_job(struct cluster *c)
{
	return jobs_ended(c->jobs);
}

static bool jobs_over(struct cluster *c)
{
	return run_until(c, JOB_NS, no_job, "liveness", "a scrub job has not ended");
}

/*
 * The operator asks for a scrub of everything: in a cluster that is well it must end well, with every chunk read on every replica. The first one
 * may find scrubs that were begun before, and their owners gone; and where a disk has lied, they have begun too early.
 */
static bool scrub_by_job(struct cluster *c, bool lied)
{
	bool well = false;

	for (unsigned i = 0; i < 2 && (!well || lied); i++) {
		if (!jobs_over(c))
			return false;
		c->scrub_since_ms = cluster_wall_ms(c) - 1;
		jobs_scrub(c->jobs, "{}");
		if (!jobs_over(c))
			return false;
		well = jobs_done_well(c->jobs) && all_scrubbed(c);
	}
	if (!well)
		sim_fail(&c->sim, "scrub jobs", 0,
			 "a scrub of everything, in a cluster without faults, has not %s",
			 jobs_done_well(c->jobs) ? "read all of it" : "ended well");
	return !c->sim.failed;
}

/*
 * Where scrub is on every chunk is scrubbed in its time; where it is not, by a job if a disk has lied, or in some seeds. The metadata of a
 * disk is not scrubbed.
 */
static bool scrub_all(struct cluster *c)
{
	const struct params *p = &c->params;
	bool lied = p->spare_metadata && cluster_disk_lies(c, p->victim);

	if (!jobs_over(c))
		return false;
	if (p->scrub_ms && !scrub_by_time(c, lied))
		return false;
	if (!(lied && p->scrub_ms) && (lied || jobs_want_all(c->jobs)) && !scrub_by_job(c, lied))
		return false;
	if (lied) {
		c->scrubbed = true;
		sim_reach(&c->sim, REACHED_SCRUBBED);
	}
	return true;
}

/* A replica on a disk that is no more is waited for until an operator removes its chunk server. */
static bool nothing_deleting(struct cluster *c)
{
	const struct meta_chunk_row *row;

	for (size_t i = 0; (row = sim_rows_chunk_at(c->rows, i)); i++) {
		if (!sim_rows_volume(c->rows, row->volume)->deleting)
			continue;
		for (uint32_t k = 0; k < row->replica_count; k++) {
			if (cluster_server_of_cid(c, row->replicas[k].cid) >= 0)
				return false;
		}
	}
	return true;
}

static bool restore(struct cluster *c)
{
	if (run_until(c, REDUNDANCY_NS, all_whole, "liveness", "redundancy was not restored"))
		return true;
	if (strcmp(c->sim.rule, "liveness") == 0)
		name_what_is_missing(c);
	return false;
}

/*
 * An engine may hear only now, from metad, that its volume was taken from it while it was away (to be cut, say). Its user does not ask
 * for anything any more, and so finds out by reading once more.
 */
static bool notice_losses(struct cluster *c)
{
	return all_sized(c) || (run_for(c, SESSIONS_BACK_NS) && verify_all(c));
}

bool run_liveness(struct cluster *c)
{
	c->issuing = false;
	c->manual = false;
	faults_end_all(c);
	c->scrub_since_ms = cluster_wall_ms(c);
	c->trimming = c->params.tight;
	if (!run_until(c, TRIMMED_NS, all_trimmed, "liveness",
		       "what is not kept was not discarded") ||
	    !run_until(c, HELD_NS, nothing_under_way, "liveness",
		       "held operations did not complete") ||
	    !run_until(c, HELD_NS, all_attached, "liveness", "not all volumes were attached"))
		return false;
	/* Reading finds replicas that nobody has missed until now: twice. */
	return restore(c) && verify_all(c) && notice_losses(c) &&
	       run_until(c, HELD_NS, all_sized, "volume size",
			 "an engine has not heard of its volume's size") &&
	       restore(c) && scrub_all(c) && restore(c) &&
	       run_until(c, DELETED_NS, nothing_deleting, "liveness",
			 "what was deleted is not gone");
}

/* Nobody asks for anything: nothing counts as under way, or what is full would wait for it. */
static bool check_idle(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.engines; i++) {
		const struct engine *e = c->engines[i].engine;
		uint64_t bytes = e ? engine_counters(e).promised_bytes : 0;

		if (bytes)
			sim_fail(&c->sim, "room is given back", 0,
				 "e%u has no write under way, and counts %" PRIu64
				 " bytes as promised to some",
				 i, bytes);
	}
	return !c->sim.failed;
}

/* Nothing comes to rest where IO is held; what was acknowledged must be there all the same. */
static bool run_held(struct cluster *c)
{
	c->at_rest = true;
	power_off_all(c);
	return rest_check(c, REST_DURABLE);
}

bool run_rest(struct cluster *c)
{
	/* Some seconds of quiet: background work goes on, nothing else does. */
	if (!run_for(c, 3 * NS_PER_S) || !check_idle(c))
		return false;
	c->at_rest = true;
	power_off_all(c);
	return rest_check(c, REST_EQUAL);
}

/* ---- a whole run ---- */

static void finish(struct cluster *c, struct run_result *result)
{
	result->failed = c->sim.failed;
	snprintf(result->rule, sizeof result->rule, "%s", c->sim.rule);
	result->hash = c->sim.hash;
	result->virtual_ns = c->sim.now_ns - 1000 * NS_PER_S;
	result->acknowledged = c->acknowledged;
	result->totals = c->sim.totals;
}

void run_report_failure(struct cluster *c, FILE *out)
{
	fprintf(out, "VIOLATION of \"%s\" at %.6f s: %s\n", c->sim.rule,
		((double)c->sim.now_ns - 1000e9) / 1e9, c->sim.reason);
	for (unsigned i = 0; i < c->params.volumes; i++)
		registers_print_history(c->volumes[i].registers, out);
	if (c->sim.failed_chunk)
		observer_print_history(c->observer, c->sim.failed_chunk, out);
}

void run_seed(const struct params *params, bool tracing, FILE *out, struct run_result *result)
{
	struct cluster *c = xcalloc(1, sizeof *c);
	size_t leaks = buf_in_use();

	cluster_init(c, params, tracing, out);
	if (run_boot(c)) {
		c->issuing = true;
		c->workload_began_ns = c->sim.now_ns;
		faults_schedule(c);
		operator_start(c);
		jobs_begin(c->jobs);
		run_for(c, params->workload_ns);
	}
	if (!c->sim.failed && run_liveness(c))
		run_rest(c);
	else if (!c->sim.failed && c->held)
		run_held(c);
	finish(c, result);
	if (c->sim.failed)
		run_report_failure(c, out);
	cluster_fini(c);
	leaks = c->kills == 0 ? buf_in_use() - leaks : 0;
	free(c);
	buf_pool_drain();
	if (!result->failed && leaks) {
		result->failed = true;
		snprintf(result->rule, sizeof result->rule, "growth");
		fprintf(out,
			"VIOLATION of \"growth\": %zu buffers are in use after everything has "
			"ended\n",
			leaks);
	}
}

/* Each limit of growth, set too low for a calm run, must end it: what is compared with it is what it is meant for. */
unsigned run_self_test(void)
{
	static const struct growth_limits low[] = {
		{.store_memory_bytes = 1, UINT64_MAX, UINT64_MAX, UINT64_MAX, 100},
		{UINT64_MAX, .engine_memory_bytes = 1, UINT64_MAX, UINT64_MAX, 100},
		{UINT64_MAX, UINT64_MAX, .wire_bytes = 1, UINT64_MAX, 100},
		{UINT64_MAX, UINT64_MAX, UINT64_MAX, .events = 1000, 100},
		{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, .journal_percent = 0},
	};
	static const char *const names[] = {"memory of a store", "memory of an engine",
					    "queues in the network", "events", "journal"};
	static const char *const reasons[] = {"bytes in memory", "too much in memory",
					      "queued in the network", "without end",
					      "in a journal of"};
	static struct params params;
	unsigned wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(low); i++) {
		char *text = NULL;
		size_t bytes = 0;
		FILE *out = open_memstream(&text, &bytes);
		struct run_result result;

		if (!out)
			abort();
		params_calm(&params, 1);
		params.workload_ns = 2 * NS_PER_S;
		params.limits = low[i];
		run_seed(&params, false, out, &result);
		fclose(out);
		if (!result.failed || strcmp(result.rule, "growth") != 0 ||
		    !strstr(text, reasons[i])) {
			wrong++;
			printf("limit of growth: %s: a run that exceeds it passes\n", names[i]);
		}
		free(text);
	}
	return wrong;
}
