/*
 * scenarios_interleavings.c - interleavings that a weaker protocol gets wrong, each with the rule of docs/PROTOCOL.md that
 * stops it. E0, E1, E2 are engines, one after another owners; the checkers of sectors and leases judge what they see.
 */
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

#define HERE  (64 * KIB) /* an offset of the first chunk */
#define BYTES (16 * KIB)

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
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 0)));
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 1)));
	try_attach(c, 1, 0, true);
	/* E1 is about to ask the third. E0 never sees that connection close: the link is cut first, then the process starts anew. */
	if (!step_until_delivered(c, &c->engines[1].node, MSG_LEASE_OK, SECONDS(10)))
		return false;
	cut_both(c, host_of_engine(c, 0), host_of_server(c, third));
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
	if (!e0_reads_nothing_old(c) || !step_write(c, 1, 0, HERE, BYTES, SECONDS(10)) ||
	    !e0_reads_nothing_old(c) || !step_attach(c, 2, 0, true) ||
	    !step_read(c, 2, 0, HERE, BYTES, SECONDS(10)))
		return false;
	/* An engine that is shown to be the owner of what it does not have gives it back. */
	return step_expect(
		c,
		!observer_delivered(c->observer, c->engines[0].node.process, MSG_LEASE_RETURN_OK),
		"metad does not take E0 for the owner");
}

static void shape_three(struct params *p)
{
	shape_scripted(p);
	p->engines = 3;
}

static const struct scenario meta_restarts = {
	.name = "meta-restarts",
	.story = "metad restarts after E1 took over, and E0 registers first: what was granted is "
		 "durable, E0 gets nothing, and E2 another epoch.",
	.shape = shape_three,
	.drive = drive_meta_restarts,
};

/* Row 4. */
static bool drive_rejoin_unacknowledged(struct cluster *c)
{
	static struct scripted lost[4];
	unsigned a, b;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, BYTES, SECONDS(5)))
		return false;
	a = server_of(c, 0, 0, 0);
	b = server_of(c, 0, 0, 1);
	/* Writes that only A takes: it is ahead of where the others will be. */
	cut_both(c, host_of_engine(c, 0), host_of_server(c, b));
	cut_both(c, host_of_engine(c, 0), host_of_server(c, server_of(c, 0, 0, 2)));
	for (unsigned i = 0; i < ARRAY_SIZE(lost); i++)
		try_write(c, 0, 0, HERE + i * BYTES, BYTES, &lost[i]);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	kill_engine(c, 0);
	kill_server(c, a);
	if (!step_attach(c, 1, 0, true) ||
	    !step_write(c, 1, 0, HERE + 4 * KIB, 4 * KIB, SECONDS(20)))
		return false;
	node_let_up(&c->servers[a].node);
	if (!step_replicas(c, 0, 0, 3, 3, SECONDS(60)))
		return false;
	for (unsigned i = 0; i < 4; i++) {
		if (!step_write(c, 1, 0, HERE + i * 4 * KIB, 4 * KIB, SECONDS(10)))
			return false;
	}
	return step_replicas(c, 0, 0, 3, 3, 1);
}

static const struct scenario rejoin_unacknowledged = {
	.name = "rejoin-with-unacknowledged",
	.story = "A took writes that were never acknowledged, was evicted, and joins again: its "
		 "unit is copied, the next writes count.",
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

	if (!step_begin(c))
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

/* The same, with replicas that differ in how much was rolled, and a power cut. */
static bool drive_roll_of_one(struct cluster *c)
{
	static struct scripted lost[12];
	unsigned at[3];

	if (!step_begin(c))
		return false;
	for (unsigned i = 0; i < 3; i++)
		at[i] = server_of(c, 0, 0, i);
	for (unsigned i = 1; i < 3; i++)
		cut_both(c, host_of_engine(c, 0), host_of_server(c, at[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(lost); i++)
		try_write(c, 0, 0, i * UNIT_BYTES, UNIT_BYTES, &lost[i]);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	kill_engine(c, 0);
	try_attach(c, 1, 0, true);
	for (unsigned i = 0; i < 2; i++) {
		if (!step_until_delivered(c, &c->engines[1].node, MSG_MEND_BEGIN_OK, SECONDS(20)))
			return false;
	}
	/* Both are marked. B takes no unit, and E1 does not get it evicted. */
	sim_disk_fail_writes(c->servers[at[1]].disk, true);
	cut_both(c, host_of_engine(c, 1), host_of_metad(c, 0));
	for (unsigned i = 0; i < 2; i++) {
		if (!step_until_delivered(c, &c->servers[at[2]].node, MSG_COPY, SECONDS(20)))
			return false;
	}
	if (!run_for(c, 5 * NS_PER_MS))
		return false;
	kill_engine(c, 1);
	kill_server(c, at[0]);
	sim_disk_fail_writes(c->servers[at[1]].disk, false);
	for (unsigned i = 1; i < 3; i++) {
		host_power_off(c, host_of_server(c, at[i]));
		host_power_on(c, host_of_server(c, at[i]));
	}
	return step_attach(c, 2, 0, true) && step_read(c, 2, 0, 0, MIB, SECONDS(30)) &&
	       step_write(c, 2, 0, 0, 4 * KIB, SECONDS(10));
}

static const struct scenario roll_of_one = {
	.name = "roll-forward-of-one",
	.story = "C has got units that B has not when E1 and their source die, and power fails: "
		 "what is newer is replaced as well as what is older.",
	.shape = shape_roll,
	.drive = drive_roll_of_one,
};

/* Row 1's other half: what is let in must stay let in. E0 has A and B, E1 has C. */
static bool begin_with_both(struct cluster *c, unsigned *third)
{
	if (!begin_with_e0(c))
		return false;
	*third = server_of(c, 0, 0, 2);
	cut_both(c, host_of_engine(c, 0), host_of_server(c, *third));
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 0)));
	cut_both(c, host_of_engine(c, 1), host_of_server(c, server_of(c, 0, 0, 1)));
	return true;
}

/* C loses power: only its own disk can tell it whom it has let in. E0 reaches it again. */
static bool power_cut_and_e0(struct cluster *c, unsigned third)
{
	static struct scripted late[10];

	cut_both(c, host_of_server(c, third), host_of_metad(c, 0));
	host_power_off(c, host_of_server(c, third));
	host_power_on(c, host_of_server(c, third));
	net_link_heal(c->sim.net, host_of_engine(c, 0), host_of_server(c, third));
	net_link_heal(c->sim.net, host_of_server(c, third), host_of_engine(c, 0));
	for (unsigned i = 0; i < ARRAY_SIZE(late); i++) {
		late[i].status = 1;
		if (c->engines[0].users[0] && user_state(c->engines[0].users[0]) == USER_ATTACHED)
			try_write(c, 0, 0, HERE, BYTES, &late[i]);
		if (!e0_reads_nothing_old(c) ||
		    !step_expect(c, late[i].status != 0, "nothing of E0 is acknowledged"))
			return false;
	}
	return true;
}

static bool drive_fence_and_restart(struct cluster *c)
{
	unsigned third;

	return begin_with_both(c, &third) && step_attach(c, 1, 0, true) &&
	       step_write(c, 1, 0, HERE, BYTES, SECONDS(20)) && power_cut_and_e0(c, third);
}

static const struct scenario fence_and_restart = {
	.name = "fence-outlives-a-restart",
	.story = "E1 got in through C, whose machine then loses power; E0, which was never told, "
		 "reaches A, B and C again, and stays outside.",
	.shape = shape_min_one,
	.drive = drive_fence_and_restart,
};

static enum wire_status sync_status(const struct cluster *c, unsigned server)
{
	return observer_last_sent_status(c->observer, c->servers[server].node.process, MSG_SYNC_OK);
}

/* What is let in is on the disk first. */
static bool drive_sync_on_dead_disk(struct cluster *c)
{
	unsigned third;

	if (!begin_with_both(c, &third))
		return false;
	sim_disk_fail_writes(c->servers[third].disk, true);
	try_attach(c, 1, 0, true);
	if (!step_until_sent(c, &c->servers[third].node, MSG_SYNC_OK, SECONDS(10)))
		return false;
	for (unsigned i = 0; i < 4000; i++) {
		if (!step_expect(c, sync_status(c, third) != WIRE_OK,
				 "an epoch that is not on the disk is not let in") ||
		    !run_for(c, NS_PER_MS))
			return false;
	}
	sim_disk_fail_writes(c->servers[third].disk, false);
	kill_server(c, third);
	node_let_up(&c->servers[third].node);
	return step_attach(c, 1, 0, true) && step_write(c, 1, 0, HERE, BYTES, SECONDS(20)) &&
	       e0_reads_nothing_old(c);
}

static const struct scenario sync_on_dead_disk = {
	.name = "sync-on-a-dead-disk",
	.story = "E1 asks C, whose disk takes no writes: C does not say that it has let E1 in "
		 "before its disk can prove it.",
	.shape = shape_min_one,
	.drive = drive_sync_on_dead_disk,
};

/* Answers that take their time grant no more than what is left of it. */
static void shape_late_answers(struct params *p)
{
	shape_scripted(p);
	p->net.latency_ns = 20 * NS_PER_MS;
	p->net.jitter_ns = 0;
}

static bool drive_late_answers(struct cluster *c)
{
	unsigned e0 = host_of_engine(c, 0);

	if (!begin_with_e0(c))
		return false;
	for (unsigned i = 0; i < 3; i++)
		cut_both(c, host_of_engine(c, 1), host_of_server(c, i));
	try_attach(c, 1, 0, true);
	/* E1 has its lease and reaches nobody yet. Three heartbeats of E0 are answered; the answers are 1.4 s on their way. */
	if (!step_until_delivered(c, &c->engines[1].node, MSG_LEASE_OK, SECONDS(10)) ||
	    !step_until_sent(c, &c->engines[0].node, MSG_HEARTBEAT, SECONDS(2)) ||
	    !run_for(c, 30 * NS_PER_MS))
		return false;
	for (unsigned i = 0; i < 3; i++) {
		cut_both(c, e0, host_of_server(c, i));
		net_link_heal(c->sim.net, host_of_engine(c, 1), host_of_server(c, i));
		net_link_heal(c->sim.net, host_of_server(c, i), host_of_engine(c, 1));
	}
	if (!run_for(c, 1300 * NS_PER_MS))
		return false;
	for (unsigned i = 0; i < 3; i++)
		net_link_heal(c->sim.net, host_of_server(c, i), e0);
	return step_attach(c, 1, 0, true) && step_write(c, 1, 0, HERE, BYTES, SECONDS(10)) &&
	       e0_reads_nothing_old(c);
}

static const struct scenario late_answers = {
	.name = "answers-that-come-late",
	.story = "The answers to E0's heartbeats are late, and E1 waits at the replicas: a grant "
		 "counts from its asking, so E0 stops in time.",
	.shape = shape_late_answers,
	.drive = drive_late_answers,
};

/* A READ is no exception from fencing. */
static bool drive_late_read(struct cluster *c)
{
	static struct scripted read;
	unsigned reader = 0;

	if (!begin_with_e0(c) || !step_read(c, 0, 0, HERE, BYTES, SECONDS(5)))
		return false;
	while (!observer_delivered(c->observer, c->servers[reader].node.process, MSG_READ))
		reader++;
	net_link_cut(c->sim.net, host_of_engine(c, 0), host_of_server(c, reader));
	try_read(c, 0, 0, HERE, BYTES, &read);
	/* E0 sleeps meanwhile, so that its connection stays the one that it was. */
	if (!run_for(c, NS_PER_MS))
		return false;
	node_pause(&c->engines[0].node);
	if (!step_attach(c, 1, 0, true) || !step_write(c, 1, 0, HERE, BYTES, SECONDS(10)))
		return false;
	net_link_heal(c->sim.net, host_of_engine(c, 0), host_of_server(c, reader));
	if (!step_until_delivered(c, &c->servers[reader].node, MSG_READ, SECONDS(5)))
		return false;
	node_continue(&c->engines[0].node);
	return run_for(c, SECONDS(3));
}

static const struct scenario late_read = {
	.name = "read-that-comes-late",
	.story = "A READ of E0 is late and reaches a replica that has let E1 in: it is refused, "
		 "for what it would return may still vanish.",
	.shape = shape_scripted,
	.drive = drive_late_read,
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
static bool leased_for_repair(const struct cluster *c)
{
	for (unsigned i = 0; i < c->params.servers; i++) {
		if (observer_delivered(c->observer, c->servers[i].node.process, MSG_LEASE_OK))
			return true;
	}
	return false;
}

static bool drive_repair_lease(struct cluster *c)
{
	unsigned a;

	if (!step_begin(c))
		return false;
	a = server_of(c, 0, 0, 0);
	if (!step_detach(c, 0, 0))
		return false;
	kill_server(c, a);
	/* A chunk server takes the lease, to evict or to fill; somebody attaches in this moment. */
	for (unsigned i = 0; !leased_for_repair(c); i++) {
		if (!step_expect(c, i < 60000, "the chunk is repaired") || !run_for(c, NS_PER_MS))
			return false;
	}
	if (!step_attach(c, 1, 0, false) || !step_read(c, 1, 0, 0, MIB, SECONDS(5)) ||
	    !step_write(c, 1, 0, 0, MIB, SECONDS(5)))
		return false;
	node_let_up(&c->servers[a].node);
	return true;
}

static const struct scenario repair_lease = {
	.name = "attach-during-repair",
	.story = "A chunk server holds the lease for a repair when somebody attaches: the attach "
		 "is not refused.",
	.shape = shape_one_to_spare,
	.drive = drive_repair_lease,
};

/* Row 25. */
static bool drive_too_few(struct cluster *c)
{
	static struct scripted held;
	unsigned a, b;

	if (!step_begin(c))
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
	.shape = shape_one_to_spare,
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

const struct scenario *const scenarios_interleavings[] = {
	&heartbeats_go_on,  &restart_in_partition,
	&meta_restarts,     &rejoin_unacknowledged,
	&interrupted_roll,  &roll_of_one,
	&fence_and_restart, &sync_on_dead_disk,
	&late_answers,      &late_read,
	&suspended,         &only_local,
	&repair_lease,      &too_few,
	&older_rows,        NULL,
};
