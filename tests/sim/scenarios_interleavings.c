/*
 * scenarios_interleavings.c - interleavings that a weaker protocol gets wrong, each with the rule of docs/PROTOCOL.md that
 * stops it. E0, E1, E2 are engines, one after another owners; the checkers of sectors and leases judge what they see.
 */
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

#include <errno.h>

#define SECONDS(n) ((n)*NS_PER_S)
#define HERE       (64 * KIB) /* an offset of the first chunk */
#define BYTES      (16 * KIB)

/* E0 attaches, writes, and can no longer reach metad: what happens there is never told to it. */
static bool begin_with_e0(struct cluster *c)
{
	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, BYTES, SECONDS(5)) ||
	    !step_write(c, 0, 0, c->params.chunk_bytes + HERE, BYTES, SECONDS(5)))
		return false;
	cut_both(c, host_of_engine(c, 0), host_of_metad(c, 0));
	return true;
}

/* E0 tries to read what E1 has overwritten. It may fail or wait, or be right. */
static bool e0_reads_nothing_old(struct cluster *c)
{
	static struct scripted reads[20];

	for (unsigned i = 0; i < ARRAY_SIZE(reads); i++) {
		reads[i].status = 1;
		if (c->engines[0].users[0] && user_state(c->engines[0].users[0]) == USER_ATTACHED)
			try_read(c, 0, 0, HERE, BYTES, &reads[i]);
		if (!run_for(c, 200 * NS_PER_MS))
			return false;
	}
	return true;
}

static void shape_min_one(struct params *p)
{
	shape_scripted(p);
	p->volume[0].min_replicas = 1;
}

/* Row 1. */
static bool drive_heartbeats_go_on(struct cluster *c)
{
	if (!begin_with_e0(c))
		return false;
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 0)));
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 1)));
	return step_attach(c, 1, 0, true) && step_write(c, 1, 0, HERE, BYTES, SECONDS(20)) &&
	       e0_reads_nothing_old(c);
}

static const struct scenario heartbeats_go_on = {
	.name = "heartbeats-go-on",
	.story = "E1 gets in through one replica and evicts the others; heartbeats of E0 on its "
		 "connection to that one go on.",
	.shape = shape_min_one,
	.drive = drive_heartbeats_go_on,
};

/* Row 2. */
static bool drive_restart_in_partition(struct cluster *c)
{
	unsigned third;

	if (!begin_with_e0(c))
		return false;
	third = server_of(c, 0, 0, 2);
	/* E0 never sees the connection close: its link to the third is cut first, then the process starts anew. */
	cut_both(c, host_of_engine(c, 0), host_of_server(c, third));
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 0)));
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 1)));
	try_attach(c, 1, 0, true);
	kill_server(c, third);
	node_let_up(&c->servers[third].node);
	return e0_reads_nothing_old(c) && step_attach(c, 1, 0, true) &&
	       step_write(c, 1, 0, HERE, BYTES, SECONDS(20)) && e0_reads_nothing_old(c);
}

static const struct scenario restart_in_partition = {
	.name = "restart-in-a-partition",
	.story = "A replica restarts while E0 cannot see it, and has forgotten what it promised: "
		 "it lets E1 in a promise later.",
	.shape = shape_min_one,
	.drive = drive_restart_in_partition,
};

/* Row 3. */
static bool drive_meta_restarts(struct cluster *c)
{
	if (!begin_with_e0(c) || !step_attach(c, 1, 0, true) ||
	    !step_write(c, 1, 0, HERE, BYTES, SECONDS(10)))
		return false;
	cut_both(c, host_of_engine(c, 1), host_of_metad(c, 0));
	kill_metad(c, 0);
	node_let_up(&c->metads[0].node);
	/* E0 registers first at the new metad. */
	net_link_heal(c->sim.net, host_of_engine(c, 0), host_of_metad(c, 0));
	net_link_heal(c->sim.net, host_of_metad(c, 0), host_of_engine(c, 0));
	return e0_reads_nothing_old(c) && step_write(c, 1, 0, HERE, BYTES, SECONDS(10)) &&
	       e0_reads_nothing_old(c);
}

static const struct scenario meta_restarts = {
	.name = "meta-restarts",
	.story = "metad restarts after E1 took over, and E0 registers first: what was granted is "
		 "durable, E0 gets nothing.",
	.shape = shape_scripted,
	.drive = drive_meta_restarts,
};

/* Row 4. */
static bool drive_rejoin_unacknowledged(struct cluster *c)
{
	static struct scripted lost;
	unsigned a, b;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, BYTES, SECONDS(5)))
		return false;
	a = server_of(c, 0, 0, 0);
	b = server_of(c, 0, 0, 1);
	/* A write that only A takes. */
	cut_both(c, host_of_engine(c, 0), host_of_server(c, b));
	cut_both(c, host_of_engine(c, 0), host_of_server(c, server_of(c, 0, 0, 2)));
	try_write(c, 0, 0, HERE, BYTES, &lost);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	kill_engine(c, 0);
	kill_server(c, a);
	if (!step_attach(c, 1, 0, true) ||
	    !step_write(c, 1, 0, HERE + 4 * KIB, 4 * KIB, SECONDS(20)))
		return false;
	node_let_up(&c->servers[a].node);
	return step_replicas(c, 0, 0, 3, 3, SECONDS(60)) &&
	       step_write(c, 1, 0, HERE + 8 * KIB, 4 * KIB, SECONDS(10));
}

static const struct scenario rejoin_unacknowledged = {
	.name = "rejoin-with-unacknowledged",
	.story = "A took a write that was never acknowledged, was evicted, and joins again: its "
		 "unit is copied, the next write counts.",
	.shape = shape_scripted,
	.drive = drive_rejoin_unacknowledged,
};

/* Row 9. */
static void shape_roll(struct params *p)
{
	shape_scripted(p);
	p->engines = 3;
	p->volume[0].min_replicas = 1;
	p->net.latency_ns = 5 * NS_PER_MS;
}

static bool drive_interrupted_roll(struct cluster *c)
{
	static struct scripted lost[12];
	unsigned a;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, MIB, SECONDS(5)))
		return false;
	a = server_of(c, 0, 0, 0);
	for (unsigned i = 1; i < 3; i++)
		cut_both(c, host_of_engine(c, 0), host_of_server(c, server_of(c, 0, 0, i)));
	for (unsigned i = 0; i < ARRAY_SIZE(lost); i++)
		try_write(c, 0, 0, i * UNIT_BYTES, UNIT_BYTES, &lost[i]);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	kill_engine(c, 0);
	/* E1 rolls some units forward, then it dies together with A, the only one that has all. */
	try_attach(c, 1, 0, true);
	for (unsigned i = 0; i < 2000 && !c->sim.failed && c->sim.totals.copies < 2; i++)
		run_for(c, 5 * NS_PER_MS);
	if (!step_expect(c, c->sim.totals.copies >= 2, "units are rolled forward"))
		return false;
	kill_engine(c, 1);
	kill_server(c, a);
	if (!step_attach(c, 2, 0, true) || !step_read(c, 2, 0, 0, MIB, SECONDS(30)) ||
	    !step_write(c, 2, 0, 0, 4 * KIB, SECONDS(10)))
		return false;
	node_let_up(&c->servers[a].node);
	return true;
}

static const struct scenario interrupted_roll = {
	.name = "interrupted-roll-forward",
	.story = "E1 rolls units forward from A and dies together with A: the marks tell E2 that "
		 "the others differ.",
	.shape = shape_roll,
	.drive = drive_interrupted_roll,
};

/* Row 16. */
static bool drive_suspended(struct cluster *c)
{
	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, BYTES, SECONDS(5)))
		return false;
	node_pause(&c->engines[0].node);
	if (!step_attach(c, 1, 0, true) || !step_write(c, 1, 0, HERE, BYTES, SECONDS(10)))
		return false;
	node_continue(&c->engines[0].node);
	return e0_reads_nothing_old(c) && step_write(c, 1, 0, HERE, BYTES, SECONDS(10));
}

static const struct scenario suspended = {
	.name = "owner-was-suspended",
	.story = "E0's process is stopped, E1 takes over and writes, E0 wakes up with grants in "
		 "its memory.",
	.shape = shape_scripted,
	.drive = drive_suspended,
};

/* Row 24. */
static void shape_local(struct params *p)
{
	shape_scripted(p);
	p->colocated = true;
}

static bool drive_only_local(struct cluster *c)
{
	static struct scripted held;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, BYTES, SECONDS(5)))
		return false;
	cut_both(c, host_of_server(c, 0), host_of_server(c, 1));
	cut_both(c, host_of_server(c, 0), host_of_server(c, 2));
	try_write(c, 0, 0, HERE, BYTES, &held);
	if (!run_for(c, SECONDS(15)) ||
	    !step_expect(c, held.status == 1, "the write is held, not acknowledged by one replica"))
		return false;
	net_heal_all(c->sim.net);
	return run_for(c, SECONDS(10)) && step_expect(c, held.status == 0, "the write goes on");
}

static const struct scenario only_local = {
	.name = "only-the-local-replica",
	.story = "An engine reaches nothing but the replica on its own host: it may evict one of "
		 "the others, never both.",
	.shape = shape_local,
	.drive = drive_only_local,
};

/* Row 26. */
static void shape_repair_lease(struct params *p)
{
	shape_scripted(p);
	p->servers = 4;
}

static bool drive_repair_lease(struct cluster *c)
{
	unsigned a;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, MIB, SECONDS(5)))
		return false;
	a = server_of(c, 0, 0, 0);
	if (!step_detach(c, 0, 0))
		return false;
	kill_server(c, a);
	/* A chunk server takes the lease and evicts, or fills; somebody attaches meanwhile. */
	if (!run_for(c, SECONDS(21)) || !step_attach(c, 1, 0, false) ||
	    !step_read(c, 1, 0, 0, MIB, SECONDS(10)) || !step_write(c, 1, 0, 0, MIB, SECONDS(10)))
		return false;
	node_let_up(&c->servers[a].node);
	return true;
}

static const struct scenario repair_lease = {
	.name = "attach-during-repair",
	.story = "A chunk server holds the lease for a repair when somebody attaches: the attach "
		 "is not refused.",
	.shape = shape_repair_lease,
	.drive = drive_repair_lease,
};

/* Row 25. */
static bool drive_too_few(struct cluster *c)
{
	static struct scripted held;
	unsigned a, b;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, MIB, SECONDS(5)))
		return false;
	a = server_of(c, 0, 0, 0);
	b = server_of(c, 0, 0, 1);
	kill_server(c, a);
	kill_server(c, b);
	try_write(c, 0, 0, HERE, BYTES, &held);
	/* Two servers are left, one of them without a copy: it is filled while IO is held, and ends that. */
	if (!run_for(c, SECONDS(60)) ||
	    !step_expect(c, held.status == 0, "IO goes on with a new replica"))
		return false;
	node_let_up(&c->servers[a].node);
	node_let_up(&c->servers[b].node);
	return true;
}

static const struct scenario too_few = {
	.name = "filled-while-held",
	.story = "Two of three replicas die: IO is held, a new one is filled from the survivor and "
		 "makes the eviction possible.",
	.shape = shape_repair_lease,
	.drive = drive_too_few,
};

/* Row 13. */
static bool drive_older_rows(struct cluster *c)
{
	uint64_t epoch;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, BYTES, SECONDS(5)))
		return false;
	sim_rows_save(c->rows);
	/* What the backup does not know: a chunk more, with an epoch of its own. */
	if (!step_write(c, 0, 0, c->params.chunk_bytes + HERE, BYTES, SECONDS(5)))
		return false;
	kill_metad(c, 0);
	sim_rows_swap_saved(c->rows);
	epoch = sim_rows_cluster(c->rows)->epoch;
	node_let_up(&c->metads[0].node);
	/* Chunk servers report, and so it learns that it is old. */
	if (!run_for(c, SECONDS(5)))
		return false;
	try_attach(c, 1, 0, true);
	if (!run_for(c, SECONDS(40)) ||
	    !step_expect(c, sim_rows_cluster(c->rows)->epoch == epoch,
			 "an older store grants no lease") ||
	    !step_write(c, 0, 0, HERE, BYTES, SECONDS(5)) ||
	    !step_write(c, 0, 0, c->params.chunk_bytes + HERE, BYTES, SECONDS(5)))
		return false;
	kill_metad(c, 0);
	sim_rows_swap_saved(c->rows);
	node_let_up(&c->metads[0].node);
	return run_for(c, SECONDS(5)) && e0_reads_nothing_old(c);
}

static const struct scenario older_rows = {
	.name = "meta-from-a-backup",
	.story = "metad comes back on an older store: it grants and deletes nothing, IO on leased "
		 "chunks goes on.",
	.shape = shape_scripted,
	.drive = drive_older_rows,
};

/* Row 27. */
static void shape_full(struct params *p)
{
	shape_scripted(p);
	p->engines = 1;
	p->volume[0].bytes = 192 * MIB;
	for (unsigned i = 0; i < SIM_SERVERS_MAX; i++)
		p->disk[i].size_bytes = 96 * MIB;
}

#define FULL_BYTES (256 * KIB)

/* Writes on and on until there is no room; false if that never happens, or something else does. */
static bool fill_up(struct cluster *c)
{
	static struct scripted result;

	for (uint64_t at = 0; at + FULL_BYTES <= c->params.volume[0].bytes && !c->sim.failed;
	     at += FULL_BYTES) {
		try_write(c, 0, 0, at, FULL_BYTES, &result);
		for (unsigned i = 0; i < 3000 && result.status == 1 && !c->sim.failed; i++)
			run_for(c, 10 * NS_PER_MS);
		if (result.status)
			return step_expect(c, result.status == -ENOSPC,
					   "a full disk is named, nothing hangs");
	}
	return step_expect(c, false, "the disks are full at some time");
}

static bool drive_full(struct cluster *c)
{
	static struct scripted zeroing;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !fill_up(c))
		return false;
	for (uint64_t at = 0; at < 16 * MIB; at += MIB) {
		user_write(c->engines[0].users[0], at, MIB, 0, &zeroing);
		for (unsigned i = 0; i < 3000 && zeroing.status == 1; i++)
			run_for(c, 10 * NS_PER_MS);
		if (!step_expect(c, zeroing.status == 0, "a full disk takes zeroing"))
			return false;
	}
	return run_for(c, SECONDS(10)) && step_write(c, 0, 0, 0, FULL_BYTES, SECONDS(10));
}

static const struct scenario full = {
	.name = "full-and-discarded",
	.story = "All replicas are full: writes fail with ENOSPC before they take a generation, so "
		 "a discard behind them frees room.",
	.shape = shape_full,
	.drive = drive_full,
};

const struct scenario *const scenarios_interleavings[] = {
	&heartbeats_go_on,
	&restart_in_partition,
	&meta_restarts,
	&rejoin_unacknowledged,
	&interrupted_roll,
	&suspended,
	&only_local,
	&repair_lease,
	&too_few,
	&older_rows,
	&full,
	NULL,
};
