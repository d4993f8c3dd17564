/* scenarios_basic.c - calm days, and one fault at a time: none of them may cost an error, or more than some seconds. */
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

static bool drive_workload(struct cluster *c)
{
	c->issuing = true;
	return run_for(c, c->params.workload_ns);
}

static const struct scenario calm = {
	.name = "calm",
	.story = "Three servers, two clients, no faults: all IO completes, replicas are equal.",
	.drive = drive_workload,
};

/* ---- one fault: the workload runs on, no operation fails, and what was lost is restored ---- */

#define PAUSE_NS SECONDS(8)

static bool no_errors(struct cluster *c)
{
	return step_expect(c, c->failed_operations == 0, "one fault costs no error") &&
	       step_expect(c, c->slowest_ns < PAUSE_NS, "IO pauses for some seconds at most");
}

static bool drive_one_fault(struct cluster *c)
{
	c->issuing = true;
	faults_schedule(c);
	if (!run_for(c, c->params.workload_ns))
		return false;
	c->issuing = false;
	return run_for(c, PAUSE_NS) &&
	       step_expect(c, users_under_way(c) == 0, "no operation is held") && no_errors(c);
}

/* Clients that go on until the end, with or without a fault; as fast as slow disks let them. */
static void keep_busy(struct params *p)
{
	p->operations = UINT32_MAX;
	p->depth = 1;
	for (unsigned i = 0; i < SIM_SERVERS_MAX; i++)
		p->disk[i].latency_ns = p->disk[i].jitter_ns = 20 * NS_PER_MS;
}

static void four_servers(struct params *p)
{
	keep_busy(p);
	p->servers = 4;
	p->engines = 1;
}

static void shape_server_killed(struct params *p)
{
	four_servers(p);
	params_add_fault(p, FAULT_CRASH_SERVER, SECONDS(5), SECONDS(60), 1, 0, 0);
}

static const struct scenario server_killed = {
	.name = "server-killed",
	.story = "A chunk server dies and stays away: it is evicted, IO goes on, another takes its "
		 "place.",
	.shape = shape_server_killed,
	.drive = drive_one_fault,
};

static void shape_server_power(struct params *p)
{
	four_servers(p);
	params_add_fault(p, FAULT_POWER_SERVER, SECONDS(5), SECONDS(2), 1, 0, 0);
}

static const struct scenario server_power = {
	.name = "server-without-power",
	.story = "A chunk server's machine loses power for two seconds, with undurable writes in "
		 "its cache.",
	.shape = shape_server_power,
	.drive = drive_one_fault,
};

static void shape_server_hangs(struct params *p)
{
	four_servers(p);
	params_add_fault(p, FAULT_PAUSE_SERVER, SECONDS(5), SECONDS(12), 1, 0, 0);
}

static const struct scenario server_hangs = {
	.name = "server-hangs",
	.story = "A chunk server hangs for twelve seconds and wakes up, evicted meanwhile.",
	.shape = shape_server_hangs,
	.drive = drive_one_fault,
};

static void shape_disk_dies(struct params *p)
{
	four_servers(p);
	params_add_fault(p, FAULT_DISK_WRITES_FAIL, SECONDS(5), SECONDS(60), 1, 0, 0);
}

static const struct scenario disk_dies = {
	.name = "disk-dies",
	.story = "A disk takes no more writes: its replicas are evicted and rebuilt elsewhere.",
	.shape = shape_disk_dies,
	.drive = drive_one_fault,
};

static void shape_disk_replaced(struct params *p)
{
	four_servers(p);
	p->victim = 1;
	params_add_fault(p, FAULT_DISK_REPLACED, SECONDS(5), SECONDS(3), 1, 0, 0);
}

static const struct scenario disk_replaced = {
	.name = "disk-replaced",
	.story = "A chunk server comes back with an empty disk: it is a new chunk server, the old "
		 "one's replicas are rebuilt.",
	.shape = shape_disk_replaced,
	.drive = drive_one_fault,
};

static void shape_disk_rots(struct params *p)
{
	four_servers(p);
	/* The engine reads from the disk on its own host: this one. */
	p->colocated = true;
	p->victim = 0;
	p->workload_ns = SECONDS(30);
	for (unsigned i = 0; i < 8; i++)
		params_add_fault(p, FAULT_DISK_ROT, SECONDS(4 + i), 1, 0, 0, 400);
}

static const struct scenario disk_rots = {
	.name = "disk-rots",
	.story = "Bits rot on one disk: no reader ever sees them, and no read fails.",
	.shape = shape_disk_rots,
	.drive = drive_one_fault,
};

static void shape_meta_down(struct params *p)
{
	keep_busy(p);
	p->engines = 1;
	p->workload_ns = SECONDS(60);
	params_add_fault(p, FAULT_CRASH_META, SECONDS(10), SECONDS(45), 0, 0, 0);
}

static const struct scenario meta_down = {
	.name = "meta-down",
	.story = "The meta service is away for a long time: IO on leased chunks does not notice.",
	.shape = shape_meta_down,
	.drive = drive_one_fault,
};

static void shape_power_cut(struct params *p)
{
	keep_busy(p);
	p->workload_ns = SECONDS(20);
	for (unsigned i = 0; i < 4; i++)
		params_add_fault(p, FAULT_POWER_ALL, SECONDS(3 + 4 * i), SECONDS(1), 0, 0, 0);
}

static bool drive_faults(struct cluster *c)
{
	c->issuing = true;
	faults_schedule(c);
	return run_for(c, c->params.workload_ns);
}

static const struct scenario power_cut = {
	.name = "power-cut-of-everything",
	.story = "Power fails everywhere at once, four times: after each, every ACTIVE replica "
		 "holds all that was acknowledged.",
	.shape = shape_power_cut,
	.drive = drive_faults,
};

static void shape_clocks(struct params *p)
{
	/* The owner's clock is the slowest, the replicas' the fastest that are trusted. */
	keep_busy(p);
	p->workload_ns = SECONDS(30);
	for (unsigned i = 0; i < SIM_HOSTS_MAX; i++)
		p->rate_ppm[i] = i < p->servers ? 100000 : -100000;
	for (unsigned i = 0; i < 6; i++)
		params_add_fault(p, FAULT_TAKEOVER, SECONDS(3 + 4 * i), 1, 0, (i + 1) % 2, 1);
}

static const struct scenario clocks = {
	.name = "clocks-apart",
	.story = "Clocks run 10 % apart in the worst direction while engines take the volume from "
		 "each other.",
	.shape = shape_clocks,
	.drive = drive_faults,
};

/* The engine loses metad, and nobody else; then a server dies for longer than it takes to be evicted. */
static bool drive_link_to_meta(struct cluster *c)
{
	unsigned engine = host_of_engine(c, 0), metad = host_of_metad(c, 0), a;
	static struct scripted write;

	if (!step_begin(c))
		return false;
	cut_both(c, engine, metad);
	if (!run_for(c, SECONDS(20)) || !step_write(c, 0, 0, 0, 64 * KIB, SECONDS(1)))
		return false;
	a = server_of(c, 0, 0, 0);
	kill_server(c, a);
	try_write(c, 0, 0, 4 * KIB, 64 * KIB, &write);
	if (!run_for(c, SECONDS(60)) || !step_expect(c, write.status == 1, "the write is held"))
		return false;
	net_heal_all(c->sim.net);
	return run_for(c, SECONDS(15)) &&
	       step_expect(c, write.status == 0, "the held write has succeeded") &&
	       step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario link_to_meta = {
	.name = "link-to-meta-cut",
	.story = "The engine's link to the meta service is cut for a long time, and a server dies: "
		 "IO waits, no repair takes the lease from the engine, and nothing fails.",
	.shape = shape_one_to_spare,
	.drive = drive_link_to_meta,
};

/* Bits rot on the replica that nobody reads from. */
static void shape_scrub(struct params *p)
{
	shape_scripted(p);
	p->volume[0].bytes = 24 * MIB;
	p->scrub_ms = 5000; /* shorter than a round over its chunks takes */
	p->spare_metadata = true;
	params_add_fault(p, FAULT_DISK_ROT, 0, 0, 0, 0,
			 0); /* for the checks at rest: carried out below */
}

static bool drive_scrub(struct cluster *c)
{
	c->manual = true;
	if (!step_attach(c, 0, 0, true) || !step_write(c, 0, 0, 0, 24 * MIB, SECONDS(10)) ||
	    !run_for(c, SECONDS(3)))
		return false;
	c->params.victim = server_of(c, 0, 0, 2);
	sim_disk_rot(c->servers[c->params.victim].disk, 60);
	return true;
}

static const struct scenario scrub = {
	.name = "scrub-mends",
	.story = "Bits rot where nobody reads: scrub comes to every chunk, finds and mends all of "
		 "them.",
	.shape = shape_scrub,
	.drive = drive_scrub,
};

/* A volume grows while it is used, is cut while nobody has it, and grows again: nothing of what was cut off is seen. */
static bool drive_resize(struct cluster *c)
{
	c->manual = true;
	if (!step_attach(c, 0, 0, true) || !step_write(c, 0, 0, 0, 8 * MIB, SECONDS(5)) ||
	    !step_resize(c, 0, 13 * MIB, false) || !run_for(c, NS_PER_S) ||
	    !step_expect(c, user_bytes(user_of_volume(c, 0)) == 13 * MIB,
			 "the engine has heard of the new size") ||
	    !step_write(c, 0, 0, 7 * MIB, 6 * MIB, SECONDS(5)) || !step_detach(c, 0, 0) ||
	    !step_resize(c, 0, 4 * MIB, true) || !step_attach(c, 1, 0, false) ||
	    !step_expect(c, user_bytes(user_of_volume(c, 0)) == 4 * MIB,
			 "the next one knows the smaller size") ||
	    !step_read(c, 1, 0, 0, 4 * MIB, SECONDS(5)))
		return false;
	/* The engine is away while it grows, and hears it when it is back. */
	cut_both(c, host_of_engine(c, 1), host_of_metad(c, 0));
	if (!step_resize(c, 0, 12 * MIB, false) || !run_for(c, SECONDS(3)))
		return false;
	net_heal_all(c->sim.net);
	return run_for(c, SECONDS(10)) &&
	       step_expect(c, user_bytes(user_of_volume(c, 0)) == 12 * MIB,
			   "the engine has heard of the new size") &&
	       step_read(c, 1, 0, 0, 12 * MIB, SECONDS(5)) &&
	       step_write(c, 1, 0, 8 * MIB, MIB, SECONDS(5));
}

static const struct scenario resize = {
	.name = "resize",
	.story = "A volume grows under its engine, is cut while nobody has it, and grows again, "
		 "its engine away: sizes are known, what was cut off is gone.",
	.shape = shape_scripted,
	.drive = drive_resize,
};

const struct scenario *const scenarios_basic[] = {
	&calm,          &server_killed, &server_power, &server_hangs, &disk_dies,
	&disk_replaced, &disk_rots,     &meta_down,    &power_cut,    &clocks,
	&link_to_meta,  &resize,        &scrub,        NULL,
};
