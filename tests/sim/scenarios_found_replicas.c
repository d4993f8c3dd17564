/* scenarios_found_replicas.c - one for each bug of replicas that are lost, made level and filled that the simulator has found. */
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

/* Of three replicas one was evicted; now the disk of another one is lost, for good. */
static void shape_two_lost(struct params *p)
{
	shape_scripted(p);
	p->servers = 3;
}

static bool lose_two(struct cluster *c, unsigned *evicted, unsigned *lost)
{
	if (!step_begin(c))
		return false;
	*evicted = server_of(c, 0, 0, 0);
	*lost = server_of(c, 0, 0, 1);
	kill_server(c, *evicted);
	if (!step_write(c, 0, 0, 0, 128 * KIB, SECONDS(10)) ||
	    !step_replicas(c, 0, 0, 2, 2, SECONDS(10)))
		return false;
	kill_server(c, *lost);
	cluster_replace_disk(c, *lost);
	return true;
}

static bool drive_new_owner_is_short(struct cluster *c)
{
	unsigned evicted, lost;

	if (!lose_two(c, &evicted, &lost))
		return false;
	kill_engine(c, 0);
	node_let_up(&c->servers[evicted].node);
	try_attach(c, 1, 0, true);
	if (!step_replicas(c, 0, 0, 2, 2, SECONDS(60)) || !step_attach(c, 1, 0, true) ||
	    !step_read(c, 1, 0, 0, MIB, SECONDS(10)) ||
	    !step_write(c, 1, 0, 0, 64 * KIB, SECONDS(10)))
		return false;
	node_let_up(&c->servers[lost].node);
	return step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario new_owner_is_short = {
	.name = "lost-while-another-was-out",
	.story = "Of three replicas one was evicted, then the disk of another is lost, and the "
		 "engine dies: the one that is left fills the one that comes back, and a new "
		 "owner goes on.",
	.shape = shape_two_lost,
	.drive = drive_new_owner_is_short,
};

/* All replicas are always kept (min_replicas of all), and the disk of one is lost while there is no owner. */
static void shape_keeps_all(struct params *p)
{
	shape_two_lost(p);
	p->volume[0].min_replicas = p->volume[0].replicas;
}

static bool drive_lost_before_the_owner(struct cluster *c)
{
	unsigned lost;

	if (!step_begin(c))
		return false;
	lost = server_of(c, 0, 0, 1);
	kill_engine(c, 0);
	kill_server(c, lost);
	cluster_replace_disk(c, lost);
	node_let_up(&c->servers[lost].node);
	try_attach(c, 1, 0, true);
	/* First the lost one must be missed for a while. */
	return run_for(c, SECONDS(30)) && step_attach(c, 1, 0, true) &&
	       step_read(c, 1, 0, 0, MIB, SECONDS(10)) &&
	       step_write(c, 1, 0, 0, 64 * KIB, SECONDS(10)) &&
	       step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario lost_before_the_owner = {
	.name = "lost-when-all-are-kept",
	.story = "The disk of one of three replicas that must all be kept is lost, and with it the "
		 "engine: the next owner fills another one, and reads don't fail.",
	.shape = shape_keeps_all,
	.drive = drive_lost_before_the_owner,
};

/*
 * One was evicted, another one, which alone has a write of an owner that died, is out of reach of the new owner, and comes back while
 * the evicted one is being filled from the third.
 */
static bool drive_short_and_back(struct cluster *c)
{
	static struct scripted write;
	unsigned evicted, away, third, e0 = host_of_engine(c, 0), e1 = host_of_engine(c, 1);

	if (!step_begin(c))
		return false;
	evicted = server_of(c, 0, 0, 0);
	away = server_of(c, 0, 0, 1);
	third = server_of(c, 0, 0, 2);
	kill_server(c, evicted);
	if (!step_write(c, 0, 0, 0, MIB, SECONDS(10)) || !step_replicas(c, 0, 0, 2, 2, SECONDS(10)))
		return false;
	cut_both(c, e0, host_of_server(c, third));
	try_write(c, 0, 0, 0, 64 * KIB, &write);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	kill_engine(c, 0);
	cut_both(c, e1, host_of_server(c, away));
	node_let_up(&c->servers[evicted].node);
	try_attach(c, 1, 0, true);
	if (!step_until_delivered(c, &c->servers[evicted].node, MSG_JOIN, SECONDS(60)))
		return false;
	net_link_heal(c->sim.net, e1, host_of_server(c, away));
	net_link_heal(c->sim.net, host_of_server(c, away), e1);
	node_pause(&c->servers[evicted].node);
	if (!run_for(c, SECONDS(2)))
		return false;
	node_continue(&c->servers[evicted].node);
	return step_attach(c, 1, 0, true) && step_read(c, 1, 0, 0, MIB, SECONDS(30)) &&
	       step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario short_and_back = {
	.name = "absent-one-comes-back",
	.story = "A new owner fills a replica while IO is held for one that is out of reach and "
		 "has a write that the others have not; that one comes back: all are made level.",
	.shape = shape_two_lost,
	.drive = drive_short_and_back,
};

/* Two are lost under an engine that lives, and a write waits for a grant of the lost replica. */
static bool drive_held_write_is_passed(struct cluster *c)
{
	static struct scripted small;
	unsigned evicted, lost;

	if (!lose_two(c, &evicted, &lost))
		return false;
	try_write(c, 0, 0, 4 * KIB + 512, 512, &small);
	if (!run_for(c, SECONDS(5)))
		return false;
	node_let_up(&c->servers[evicted].node);
	return step_replicas(c, 0, 0, 2, 2, SECONDS(60)) && step_done(c, &small, SECONDS(10)) &&
	       step_expect(c, small.status == 0, "the write was carried out") &&
	       step_read(c, 0, 0, 0, MIB, SECONDS(10));
}

static const struct scenario held_write_is_passed = {
	.name = "copy-passes-a-held-write",
	.story = "A write below a block waits for a grant of a replica whose disk is lost; it "
		 "must not hold up the copy of its unit that lets the lost one be evicted.",
	.shape = shape_two_lost,
	.drive = drive_held_write_is_passed,
};

/* Two replicas, both needed: one is away until a third has been filled for it, and comes back before it can be evicted. */
static void shape_both_needed(struct params *p)
{
	shape_scripted(p);
	p->servers = 3;
	p->volume[0].replicas = p->volume[0].min_replicas = 2;
}

static bool drive_one_too_many(struct cluster *c)
{
	unsigned away, e1 = host_of_engine(c, 1), third;

	if (!step_begin(c))
		return false;
	away = server_of(c, 0, 0, 0);
	third = 3 - away - server_of(c, 0, 0, 1);
	kill_server(c, away);
	kill_engine(c, 0);
	cut_both(c, e1, host_of_server(c, away));
	try_attach(c, 1, 0, true);
	if (!step_until_delivered(c, &c->servers[third].node, MSG_JOIN, SECONDS(60)))
		return false;
	node_pause(&c->servers[third].node);
	node_let_up(&c->servers[away].node);
	net_link_heal(c->sim.net, e1, host_of_server(c, away));
	net_link_heal(c->sim.net, host_of_server(c, away), e1);
	if (!run_for(c, SECONDS(2)))
		return false;
	node_continue(&c->servers[third].node);
	return step_replicas(c, 0, 0, 3, 3, SECONDS(60)) &&
	       step_replicas(c, 0, 0, 2, 2, SECONDS(60)) && step_attach(c, 1, 0, true) &&
	       step_read(c, 1, 0, 0, MIB, SECONDS(10));
}

static const struct scenario one_too_many = {
	.name = "one-more-than-wanted",
	.story = "A replica is filled for one that is away; that one comes back: there are more "
		 "than wanted, and one leaves.",
	.shape = shape_both_needed,
	.drive = drive_one_too_many,
};

/*
 * The chunk is granted to an engine that reaches no chunk server, so it is nowhere. A disk is lost, and another one is to be filled for it.
 * When the owner reaches the others it finds nothing and creates the replicas; their servers die as they hear of it.
 */
static bool drive_create_is_lost(struct cluster *c)
{
	static struct scripted held;
	unsigned lost, others[2];

	c->manual = true;
	if (!step_attach(c, 0, 0, false))
		return false;
	for (unsigned i = 0; i < c->params.servers; i++)
		cut_both(c, host_of_engine(c, 0), host_of_server(c, i));
	try_write(c, 0, 0, 0, 64 * KIB, &held);
	if (!run_for(c, SECONDS(1)) ||
	    !step_expect(c, cluster_chunk(c, 0, 0) != NULL, "the lease is granted"))
		return false;
	lost = server_of(c, 0, 0, 0);
	for (unsigned i = 0; i < 2; i++)
		others[i] = server_of(c, 0, 0, i + 1);
	kill_server(c, lost);
	cluster_replace_disk(c, lost);
	node_let_up(&c->servers[lost].node);
	if (!step_replicas(c, 0, 0, 3, 4, SECONDS(60)))
		return false;
	net_heal_all(c->sim.net);
	/* That to the new disk, then one that is lost. */
	for (unsigned i = 0; i < 2; i++) {
		if (!step_until_sent(c, &c->engines[0].node, MSG_CREATE, SECONDS(20)))
			return false;
	}
	for (unsigned i = 0; i < 2; i++)
		kill_server(c, others[i]);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	for (unsigned i = 0; i < 2; i++)
		node_let_up(&c->servers[others[i]].node);
	return step_done(c, &held, SECONDS(60)) &&
	       step_expect(c, held.status == 0, "the write is carried out") &&
	       step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario create_is_lost = {
	.name = "create-lost-on-its-way",
	.story =
		"An owner creates the replicas of a chunk that is nowhere yet, and its connections "
		"break: the CREATE is sent again.",
	.shape = shape_keeps_all,
	.drive = drive_create_is_lost,
};

/*
 * A comes back with data that was zeroed meanwhile, and without data that was written: it has less room than the others until the copies
 * have come to the zeros, and less than it said at first.
 */
static void shape_little_room(struct params *p)
{
	shape_scripted(p);
	p->volumes = 2;
	p->volume[0].bytes = p->chunk_bytes;
	p->volume[1].bytes = 128 * MIB;
	for (unsigned i = 0; i < SIM_SERVERS_MAX; i++)
		p->disk[i].size_bytes = 48 * MIB;
}

static bool zero(struct cluster *c, unsigned volume, uint64_t offset, uint64_t bytes)
{
	static struct scripted zeroing;

	for (uint64_t end = offset + bytes; offset < end; offset += MIN(end - offset, MIB)) {
		user_write(c->engines[0].users[volume], offset, MIN(end - offset, MIB), 0,
			   &zeroing);
		if (!step_done(c, &zeroing, SECONDS(10)) ||
		    !step_expect(c, zeroing.status == 0, "zeroing needs no room"))
			return false;
	}
	return true;
}

static bool drive_refused_while_filled(struct cluster *c)
{
	static struct scripted valid, refused;
	unsigned away;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_attach(c, 0, 1, true) ||
	    !step_write(c, 0, 0, 2 * MIB, MIB, SECONDS(5)) ||
	    !step_write(c, 0, 0, 3 * MIB, MIB, SECONDS(5)) || !step_fill(c, 0, 1) ||
	    !zero(c, 1, 0, 12 * 64 * KIB) || !run_for(c, SECONDS(5)))
		return false;
	away = server_of(c, 0, 0, 0);
	kill_server(c, away);
	if (!step_write(c, 0, 0, 0, 8 * 64 * KIB, SECONDS(10)) ||
	    !zero(c, 0, 40 * 64 * KIB, 24 * 64 * KIB))
		return false;
	node_let_up(&c->servers[away].node);
	if (!step_until_delivered(c, &c->servers[away].node, MSG_JOIN, SECONDS(60)))
		return false;
	/* Whole units: they need no copy any more. */
	try_write(c, 0, 0, 56 * 64 * KIB, 4 * 64 * KIB, &valid);
	for (unsigned i = 0; i < 8; i++) {
		if (!step_until_delivered(c, &c->servers[away].node, MSG_COPY, SECONDS(60)))
			return false;
	}
	try_write(c, 0, 0, 16 * 64 * KIB, 10 * 64 * KIB, &refused);
	return step_done(c, &valid, SECONDS(10)) && step_done(c, &refused, SECONDS(10)) &&
	       step_expect(c, refused.status == 0, "the others have room") &&
	       zero(c, 1, MIB, 2 * MIB) && step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario refused_while_filled = {
	.name = "write-refused-while-filled",
	.story = "A replica that is being filled has no room for a write: it joins again behind "
		 "that write, and is not promoted without it.",
	.shape = shape_little_room,
	.drive = drive_refused_while_filled,
};

/* Of two replicas one comes back to a disk that is too small for what was written meanwhile; then the other one's disk is lost. */
static void shape_small_disk(struct params *p)
{
	shape_scripted(p);
	p->servers = 4;
	p->volume[0].bytes = 32 * MIB;
	p->disk[0].size_bytes = 32 * MIB;
}

static bool drive_full_is_given_up(struct cluster *c)
{
	unsigned small = 0, lost;

	c->manual = true;
	kill_server(c, 3);
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, MIB, SECONDS(5)))
		return false;
	lost = server_of(c, 0, 0, server_of(c, 0, 0, 0) == small);
	kill_server(c, small);
	for (uint64_t at = 0; at < c->params.volume[0].bytes; at += MIB) {
		if (!step_write(c, 0, 0, at, MIB, SECONDS(10)))
			return false;
	}
	kill_server(c, lost);
	cluster_replace_disk(c, lost);
	node_let_up(&c->servers[small].node);
	if (!run_for(c, SECONDS(20)))
		return false;
	node_let_up(&c->servers[3].node);
	for (uint64_t i = 0; i < c->params.volume[0].bytes / c->params.chunk_bytes; i++) {
		if (!step_write(c, 0, 0, i * c->params.chunk_bytes, 64 * KIB, SECONDS(60)))
			return false;
	}
	node_let_up(&c->servers[lost].node);
	return step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario full_is_given_up = {
	.name = "no-room-to-be-filled",
	.story = "IO is held until a replica is filled, and the one that is to be filled has no "
		 "room: it is given up, and another server takes its place.",
	.shape = shape_small_disk,
	.drive = drive_full_is_given_up,
};

const struct scenario *const scenarios_found_replicas[] = {
	&new_owner_is_short,   &lost_before_the_owner, &short_and_back,
	&held_write_is_passed, &one_too_many,          &create_is_lost,
	&full_is_given_up,     &refused_while_filled,  NULL};
