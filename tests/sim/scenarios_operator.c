/* scenarios_operator.c - what people do to a cluster that is well: updates, copies of volumes, scrubs. */
#include "tests/sim/jobs.h"
#include "tests/sim/operator.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

#include <errno.h>

/* ---- updates ---- */

static void shape_updates(struct params *p)
{
	p->servers = 4;
	p->engines = 1;
	p->operations = UINT32_MAX;
	p->depth = 1;
	/* Stopped in order, one after another, each down for 3.5 s. */
	params_add_fault(p, FAULT_CHURN, SECONDS(3), SECONDS(15), 0, 0, 2 | 2000);
}

static bool drive_updates(struct cluster *c)
{
	c->issuing = true;
	faults_schedule(c);
	if (!run_for(c, c->params.workload_ns))
		return false;
	c->issuing = false;
	return run_for(c, SECONDS(8)) &&
	       step_expect(c, c->sim.totals.reached[REACHED_STOPPED_SERVER] >= 4,
			   "each chunk server has ended in order") &&
	       step_expect(c, users_under_way(c) == 0, "no operation is held") &&
	       step_expect(c, c->failed_operations == 0, "an update costs no error") &&
	       step_expect(c, c->slowest_ns < SECONDS(5), "IO pauses for some seconds at most");
}

static const struct scenario updates = {
	.name = "servers-updated",
	.story = "One chunk server after another is stopped in order and started again, under "
		 "load: nothing fails, and each disk is left clean.",
	.shape = shape_updates,
	.drive = drive_updates,
};

/* Now and then a request takes long, so that those that go together end in any order. */
static void shape_idle(struct params *p)
{
	shape_scripted(p);
	for (unsigned i = 0; i < SIM_SERVERS_MAX; i++) {
		p->disk[i].spike_one_in = 4;
		p->disk[i].spike_ns = 50 * NS_PER_MS;
	}
}

/* The last thing that a chunk server has done brought no data. */
static bool drive_idle(struct cluster *c)
{
	if (!step_begin(c))
		return false;
	for (unsigned i = 0; i < 12; i++) {
		struct sim_server *s = &c->servers[i % c->params.servers];
		unsigned engine = (i + 1) % 2;
		uint64_t before = c->sim.totals.reached[REACHED_STOPPED_SERVER];

		/* A new owner: an epoch to be remembered. */
		if (!step_detach(c, !engine, 0) || !step_attach(c, engine, 0, false) ||
		    !step_read(c, engine, 0, 0, MIB, SECONDS(5)))
			return false;
		cluster_stop_server(c, s->node.number);
		if (!run_for(c, SECONDS(5)) ||
		    !step_expect(c, c->sim.totals.reached[REACHED_STOPPED_SERVER] > before,
				 "the chunk server ends in order"))
			return false;
	}
	return true;
}

static const struct scenario idle = {
	.name = "stopped-when-idle",
	.story = "Chunk servers are stopped when the last thing that they have done brought no "
		 "data: their journals are empty all the same.",
	.shape = shape_idle,
	.drive = drive_idle,
};

/* ---- copies ---- */

#define EMPTY (2 * MIB)

/* E0 reaches nobody but one replica, and that one reaches nobody else. */
static void cut_off_with_one(struct cluster *c, unsigned server)
{
	unsigned hosts = c->sim.host_count, e0 = host_of_engine(c, 0);

	for (unsigned h = 0; h < hosts; h++) {
		if (h == e0 || h == host_of_server(c, server))
			continue;
		cut_both(c, e0, h);
		cut_both(c, host_of_server(c, server), h);
	}
}

static bool drive_holes(struct cluster *c)
{
	static struct scripted holes;

	if (!step_begin(c))
		return false;
	try_extents(c, 0, 0, 0, 4 * MIB, &holes);
	if (!step_done(c, &holes, SECONDS(5)) ||
	    !step_expect(c, holes.status == 0 && c->sim.totals.reached[REACHED_HOLE],
			 "there is a hole behind the data"))
		return false;
	cut_off_with_one(c, server_of(c, 0, 0, 0));
	if (!step_attach(c, 1, 0, true) || !step_write(c, 1, 0, EMPTY, MIB, SECONDS(20)))
		return false;
	try_extents(c, 0, 0, 0, 4 * MIB, &holes);
	if (!run_for(c, SECONDS(5)) ||
	    !step_expect(c, holes.status == 1, "who holds no grants says nothing of holes"))
		return false;
	net_heal_all(c->sim.net);
	return step_done(c, &holes, SECONDS(20)) &&
	       step_expect(c, holes.status == -ESHUTDOWN, "E0 has lost its volume");
}

static const struct scenario holes = {
	.name = "holes-of-a-deposed-owner",
	.story =
		"E0 is cut off with one replica, E1 takes the volume and writes where nothing was; "
		"somebody copies the volume from E0, and is not told that nothing is there.",
	.shape = shape_scripted,
	.drive = drive_holes,
};

/* ---- what an operator is told ---- */

static struct {
	bool answered;
	enum wire_status status;
	char json[4096];
} answer;

static void on_answer(struct cluster *c, enum wire_status status, const char *json, void *context)
{
	(void)c;
	(void)context;
	answer.answered = true;
	answer.status = status;
	snprintf(answer.json, sizeof answer.json, "%s", json ? json : "");
}

/* The answer has this status, and contains this text. */
static bool step_ask(struct cluster *c, const char *verb, const char *json, enum wire_status status,
		     const char *text)
{
	char what[200];

	answer.answered = false;
	admin_request(c, verb, json, on_answer, NULL);
	for (unsigned i = 0; i < 100 && !answer.answered; i++)
		run_for(c, 100 * NS_PER_MS);
	snprintf(what, sizeof what, "%s is answered %s, and with \"%s\"", verb,
		 wire_status_name(status), text);
	return step_expect(
		c, answer.answered && answer.status == status && strstr(answer.json, text) != NULL,
		what);
}

/* ---- a disk that is far slower than others ---- */

static void shape_slow(struct params *p)
{
	p->servers = 4;
	p->engines = 1;
	p->colocated = true; /* reads would prefer the replica on this host */
	p->operations = UINT32_MAX;
	p->depth = 1;
	p->think_ns = 20 * NS_PER_MS;
	p->io_bytes_max = 16 * KIB;
}

static bool drive_slow(struct cluster *c)
{
	const struct sim_server *s = &c->servers[0];
	uint64_t before;

	c->issuing = true;
	if (!run_for(c, SECONDS(5)) ||
	    !step_expect(c, observer_delivered(c->observer, s->node.process, MSG_READ) > 100,
			 "reads go to the replica on this host"))
		return false;
	sim_disk_set_slow(s->disk, 400);
	if (!run_for(c, SECONDS(20)) ||
	    !step_ask(c, "status", "{}", WIRE_OK, "far slower than its peers"))
		return false;
	before = observer_delivered(c->observer, s->node.process, MSG_READ);
	if (!run_for(c, SECONDS(10)) ||
	    !step_expect(c, observer_delivered(c->observer, s->node.process, MSG_READ) == before,
			 "nobody reads there while others will do"))
		return false;
	sim_disk_set_slow(s->disk, 1);
	if (!run_for(c, SECONDS(20)) ||
	    !step_ask(c, "server.list", "{}", WIRE_OK, "\"slow\":false") ||
	    !step_expect(c, !strstr(answer.json, "\"slow\":true"), "it is slow no longer"))
		return false;
	before = observer_delivered(c->observer, s->node.process, MSG_READ);
	c->manual = true;
	if (!run_for(c, SECONDS(5)) ||
	    !step_expect(c, observer_delivered(c->observer, s->node.process, MSG_READ) > before,
			 "reads come back"))
		return false;
	c->issuing = false;
	return run_for(c, SECONDS(5)) &&
	       step_expect(c, c->failed_operations == 0, "a slow disk costs no error");
}

static const struct scenario slow = {
	.name = "slow-disk",
	.story = "A disk gets 400 times slower, and well again: people are told, reads go "
		 "elsewhere meanwhile, and come back.",
	.shape = shape_slow,
	.drive = drive_slow,
};

/* ---- an old copy of the meta service's store is accepted ---- */

static bool drive_confirmed(struct cluster *c)
{
	uint64_t epoch;

	if (!step_begin(c))
		return false;
	sim_rows_save(c->rows);
	/* What the copy does not know: others that have had the lease since. */
	for (unsigned i = 0; i < 3; i++) {
		if (!step_detach(c, i % 2, 0) || !step_attach(c, (i + 1) % 2, 0, false) ||
		    !step_write(c, (i + 1) % 2, 0, 0, MIB, SECONDS(10)))
			return false;
	}
	epoch = cluster_chunk(c, 0, 0)->epoch;
	kill_metad(c, 0);
	sim_rows_swap_saved(c->rows);
	node_let_up(&c->metads[0].node);
	if (!run_for(c, SECONDS(8)) ||
	    !step_ask(c, "status", "{}", WIRE_OK, "meta confirm --force") ||
	    !step_ask(c, "volume.delete", "{\"name\":\"vol0\",\"force\":true}", WIRE_REFUSED,
		      "meta confirm --force") ||
	    !step_ask(c, "chunk.scrub", "{}", WIRE_REFUSED, "meta confirm --force") ||
	    !step_ask(c, "meta.confirm", "{}", WIRE_REFUSED, "--force") ||
	    !step_ask(c, "meta.confirm", "{\"force\":true}", WIRE_OK, "confirmed") ||
	    !step_ask(c, "meta.confirm", "{\"force\":true}", WIRE_ALREADY, "no doubt"))
		return false;
	/* Whoever had it has lost it, and the next one comes behind all of them. */
	return run_for(c, SECONDS(15)) && step_attach(c, 0, 0, true) &&
	       step_read(c, 0, 0, 0, MIB, SECONDS(10)) &&
	       step_write(c, 0, 0, 0, MIB, SECONDS(10)) &&
	       step_expect(c, cluster_chunk(c, 0, 0)->epoch > epoch,
			   "the new epoch is above all that were used");
}

static const struct scenario confirmed = {
	.name = "an-old-store-is-confirmed",
	.story =
		"The meta service comes up with an old copy of its store, changes nothing until an "
		"operator confirms it, and goes on above all epochs that were used.",
	.shape = shape_scripted,
	.drive = drive_confirmed,
};

/* ---- export lists ---- */

static bool drive_list(struct cluster *c)
{
	unsigned away;

	if (!step_begin(c))
		return false;
	/* What it leaves behind can't be deleted yet. */
	away = server_of(c, 0, 0, 1);
	kill_server(c, away);
	operator_recreate(c, 0, true);
	if (!run_for(c, SECONDS(3)) ||
	    !step_expect(c, c->volumes[0].created && c->volumes[0].former_count == 1,
			 "the volume is deleted, and there is another one of its name"))
		return false;
	engine_user_list(&c->engines[1]);
	if (!run_for(c, SECONDS(1)) ||
	    !step_expect(c, c->sim.totals.reached[REACHED_LISTED] == 1, "the list is answered"))
		return false;
	node_let_up(&c->servers[away].node);
	return true;
}

static const struct scenario list = {
	.name = "export-list",
	.story = "A volume is deleted and another one of its name made while one of its replicas "
		 "is out of reach: an export list names the new one, once.",
	.shape = shape_one_to_spare,
	.drive = drive_list,
};

/* ---- fsck ---- */

static void shape_fsck(struct params *p)
{
	shape_scripted(p);
	p->volume[0].bytes = 4 * MIB;
	/* For the checks at rest: carried out below. That metadata may be spoilt, too, means that nobody scrubs. */
	params_add_fault(p, FAULT_DISK_ROT, 0, 0, 0, 0, 0);
}

/* Blocks that nobody reads. What was written last would be taken for torn: the later writes confirm the first. */
static bool drive_fsck(struct cluster *c)
{
	struct sim_server *s;

	c->manual = true;
	if (!step_attach(c, 0, 0, true) || !step_write(c, 0, 0, 0, 4 * MIB, SECONDS(10)))
		return false;
	for (unsigned i = 0; i < 3; i++) {
		if (!step_write(c, 0, 0, i * UNIT_BYTES, BLOCK_BYTES, SECONDS(5)) ||
		    !run_for(c, SECONDS(1)))
			return false;
	}
	c->params.victim = server_of(c, 0, 0, 2);
	s = &c->servers[c->params.victim];
	cluster_spare_metadata(s);
	sim_disk_rot(s->disk, 30);
	sim_disk_fail_reads(s->disk, 30);
	return true;
}

static const struct scenario fsck = {
	.name = "fsck-of-a-disk-that-lies",
	.story = "Bits rot, and sectors can't be read, where nobody reads and nobody scrubs: fsck "
		 "names them, each one.",
	.shape = shape_fsck,
	.drive = drive_fsck,
};

/* ---- scrubs on demand ---- */

/* No scrub comes by itself. */
static void shape_job(struct params *p)
{
	shape_scripted(p);
	p->volume[0].bytes = 24 * MIB;
	p->spare_metadata = true;
	params_add_fault(p, FAULT_DISK_ROT, 0, 0, 0, 0,
			 0); /* for the checks at rest: carried out below */
}

static bool job_is_over(struct cluster *c)
{
	return jobs_ended(c->jobs);
}

static bool drive_job(struct cluster *c)
{
	struct jobs_told told;

	c->manual = true;
	if (!step_attach(c, 0, 0, true) || !step_write(c, 0, 0, 0, 24 * MIB, SECONDS(10)) ||
	    !run_for(c, SECONDS(3)))
		return false;
	c->params.victim = server_of(c, 0, 0, 2);
	sim_disk_rot(c->servers[c->params.victim].disk, 60);
	jobs_scrub(c->jobs, "{\"volume\":\"vol0\"}");
	/* Its meta service dies, and the owner of the chunks. */
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	kill_metad(c, 0);
	kill_engine(c, 0);
	node_let_up(&c->metads[0].node);
	node_let_up(&c->engines[0].node);
	if (!run_until(c, SECONDS(120), job_is_over, "scenario", "the job has not ended"))
		return false;
	told = jobs_told(c->jobs);
	if (!step_expect(c, jobs_done_well(c->jobs), "the job ends well") ||
	    !step_expect(c, told.bad > 0 && told.repaired == told.bad && !told.damaged,
			 "it has found bad blocks, and mended all of them"))
		return false;
	jobs_scrub(c->jobs, "{\"volume\":\"vol0\"}");
	if (!run_until(c, SECONDS(120), job_is_over, "scenario", "the second job has not ended"))
		return false;
	told = jobs_told(c->jobs);
	return step_expect(c, jobs_done_well(c->jobs) && told.bad == 0 && told.read > 0,
			   "the next one reads everything again, and finds nothing");
}

static const struct scenario job = {
	.name = "scrub-on-demand",
	.story = "Bits rot where nobody reads; an operator asks for a scrub, the meta service and "
		 "the owner die meanwhile: it ends, all is mended, and the next one finds nothing.",
	.shape = shape_job,
	.drive = drive_job,
};

static void shape_busy(struct params *p)
{
	shape_scripted(p);
	p->volume[0].bytes = 8 * MIB;
}

/* One chunk takes longer than metad waits for one that can't be scrubbed, and the next one needs the same servers. */
static bool drive_busy(struct cluster *c)
{
	c->manual = true;
	if (!step_attach(c, 0, 0, true) || !step_write(c, 0, 0, 0, 8 * MIB, SECONDS(10)))
		return false;
	for (unsigned i = 0; i < c->params.servers; i++)
		sim_disk_set_slow(c->servers[i].disk, 10000);
	jobs_scrub(c->jobs, "{}");
	if (!run_until(c, SECONDS(400), job_is_over, "scenario", "the job has not ended"))
		return false;
	for (unsigned i = 0; i < c->params.servers; i++)
		sim_disk_set_slow(c->servers[i].disk, 1);
	return step_expect(c, jobs_done_well(c->jobs), "the job ends well");
}

static const struct scenario busy = {
	.name = "scrub-waits-for-its-turn",
	.story = "A job's chunks are on the same slow servers, which take part in one scrub at a "
		 "time: those that wait for it have not failed.",
	.shape = shape_busy,
	.drive = drive_busy,
};

const struct scenario *const scenarios_operator[] = {
	&updates, &slow, &confirmed, &idle, &holes, &list, &job, &busy, &fsck, NULL,
};
