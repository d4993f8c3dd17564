/*
 * scenarios_joins.c - a replica that comes back and is filled: rows 5 to 8, 10 to 12 and 23 of docs/INTERLEAVINGS.md. E0 and E1 are
 * engines, A a replica that was away, B and C those that were not.
 */
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

#define MS(n) ((n)*NS_PER_MS)

static struct node *node_of_engine(struct cluster *c, unsigned i)
{
	return &c->engines[i].node;
}

static struct node *node_of_server(struct cluster *c, unsigned i)
{
	return &c->servers[i].node;
}

/* E0 writes the first `bytes`, the server `a` of the first list dies, misses new content, and is evicted. */
static bool begin_without_a(struct cluster *c, uint64_t bytes, unsigned *a)
{
	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, bytes, SECONDS(5)))
		return false;
	*a = server_of(c, 0, 0, 0);
	kill_server(c, *a);
	return step_write(c, 0, 0, 0, bytes, SECONDS(10)) &&
	       step_replicas(c, 0, 0, 2, 2, SECONDS(10));
}

#define FLOW 8

/* Keeps some writes of 4 KiB under way, here and there in the first MiB, until A is ACTIVE again and some time more. */
static bool write_until_whole(struct cluster *c)
{
	static struct scripted flow[FLOW];
	uint64_t place = 0, deadline_ns = c->sim.now_ns + SECONDS(60);
	unsigned after = 0;

	for (unsigned i = 0; i < FLOW; i++)
		flow[i].status = 0;
	while (!c->sim.failed && c->sim.now_ns < deadline_ns && after < 200) {
		const struct meta_chunk_row *row = cluster_chunk(c, 0, 0);

		for (unsigned i = 0; i < FLOW; i++) {
			if (flow[i].status == 1)
				continue;
			try_write(c, 0, 0, place, 4 * KIB, &flow[i]);
			place = (place + 20 * KIB) % MIB;
		}
		run_for(c, MS(1));
		after += row->replica_count == 3 && row->replicas[2].state == REPLICA_ACTIVE;
	}
	for (unsigned i = 0; i < FLOW; i++) {
		if (!step_done(c, &flow[i], SECONDS(10)) ||
		    !step_expect(c, flow[i].status == 0, "writes go on while A is filled"))
			return false;
	}
	return step_replicas(c, 0, 0, 3, 3, SECONDS(1));
}

static void shape_join(struct params *p)
{
	shape_scripted(p);
	p->engines = 1;
	p->net.latency_ns = MS(3);
}

/* Row 5. */
static bool drive_join_under_writes(struct cluster *c)
{
	unsigned a;

	if (!begin_without_a(c, MIB, &a))
		return false;
	node_let_up(node_of_server(c, a));
	return write_until_whole(c);
}

static const struct scenario join_under_writes = {
	.name = "join-under-writes",
	.story = "A comes back while E0 writes on and on: between the list of versions and JOIN "
		 "no generation is sent that A would miss.",
	.shape = shape_join,
	.drive = drive_join_under_writes,
};

/* Row 6. */
static bool drive_copy_under_writes(struct cluster *c)
{
	static struct scripted write;
	unsigned a;

	if (!begin_without_a(c, UNIT_BYTES, &a))
		return false;
	node_let_up(node_of_server(c, a));
	/* The unit is being read for A, and from JOIN on every write goes to A too: this one gets to the source behind the READ. */
	if (!step_until_delivered(c, node_of_engine(c, 0), MSG_JOIN_OK, SECONDS(30)) ||
	    !run_for(c, MS(1)))
		return false;
	try_write(c, 0, 0, 8 * KIB, 4 * KIB, &write);
	return step_done(c, &write, SECONDS(5)) && step_replicas(c, 0, 0, 3, 3, SECONDS(5));
}

static const struct scenario copy_under_writes = {
	.name = "copy-under-writes",
	.story = "The one unit that A has missed is on its way to it when E0 writes to this very "
		 "unit: the copy does not land over the newer write.",
	.shape = shape_join,
	.drive = drive_copy_under_writes,
};

/* Row 6, the other way round: what is written does not stand for what is not. */
static bool drive_write_into_invalid(struct cluster *c)
{
	static struct scripted write;
	unsigned a;

	if (!begin_without_a(c, MIB, &a))
		return false;
	node_let_up(node_of_server(c, a));
	if (!step_until_delivered(c, node_of_engine(c, 0), MSG_JOIN_OK, SECONDS(30)))
		return false;
	/* The last of sixteen units, long before its turn. */
	try_write(c, 0, 0, 15 * UNIT_BYTES + 8 * KIB, 4 * KIB, &write);
	return step_done(c, &write, SECONDS(5)) && step_replicas(c, 0, 0, 3, 3, SECONDS(5));
}

static const struct scenario write_into_invalid = {
	.name = "write-into-an-invalid-unit",
	.story = "A block is written into a unit that A has not been given yet: the rest of the "
		 "unit is still copied.",
	.shape = shape_join,
	.drive = drive_write_into_invalid,
};

/* Row 7. */
static bool drive_copy_of_old_connection(struct cluster *c)
{
	unsigned a;

	if (!begin_without_a(c, MIB, &a))
		return false;
	node_let_up(node_of_server(c, a));
	if (!step_until_sent(c, node_of_engine(c, 0), MSG_COPY, SECONDS(30)))
		return false;
	/* E0's end is gone; the COPY is not: it arrives when A has been filled over a new connection, and written to. */
	net_linger(c->sim.net, host_of_engine(c, 0), host_of_server(c, a), SECONDS(6));
	return step_replicas(c, 0, 0, 3, 3, SECONDS(5)) &&
	       step_write(c, 0, 0, 0, MIB, SECONDS(1)) && run_for(c, SECONDS(8));
}

static const struct scenario copy_of_old_connection = {
	.name = "copy-of-an-old-connection",
	.story = "A COPY is late on a connection that E0 has given up; on a new one A is filled "
		 "and overwritten. The late one is dropped.",
	.shape = shape_join,
	.drive = drive_copy_of_old_connection,
};

/* Row 8. */
static bool drive_repair_meets_write(struct cluster *c)
{
	static struct scripted first, read, second;
	struct registers *r = c->volumes[0].registers;
	struct user *user;
	uint8_t content[4 * KIB];
	uint32_t stamp;
	unsigned damaged = 0;

	c->manual = true;
	if (!step_attach(c, 0, 0, false))
		return false;
	user = c->engines[0].users[0];
	stamp = registers_stamp(r);
	user_write(user, 0, 4 * KIB, stamp, &first);
	if (!step_done(c, &first, SECONDS(5)) || !step_read(c, 0, 0, 0, 4 * KIB, SECONDS(5)))
		return false;
	registers_fill(r, stamp, 0, 4 * KIB, content);
	/* Whoever serves the reads has a bad block from now on. */
	for (unsigned i = 0; i < c->params.servers && !damaged; i++) {
		if (observer_delivered(c->observer, c->servers[i].node.process, MSG_READ))
			damaged = sim_disk_damage(c->servers[i].disk, content, sizeof content);
	}
	if (!step_expect(c, damaged > 0, "there is a block to be damaged"))
		return false;
	try_read(c, 0, 0, 0, 4 * KIB, &read);
	/* After this READ one of a good copy for the user, then one of a good copy for the repair. */
	for (unsigned i = 0; i < 2; i++) {
		if (!step_until_sent(c, node_of_engine(c, 0), MSG_READ, SECONDS(2)))
			return false;
	}
	run_for(c, MS(1));
	try_write(c, 0, 0, 0, 4 * KIB, &second);
	return step_done(c, &second, SECONDS(2)) && run_for(c, SECONDS(2)) &&
	       step_expect(c, read.status == 0 && second.status == 0, "both succeed");
}

static const struct scenario repair_meets_write = {
	.name = "repair-meets-a-write",
	.story = "A's block is bad, a good copy is on its way to it, a write comes: the repair "
		 "does not land over the write.",
	.shape = shape_join,
	.drive = drive_repair_meets_write,
};

/* Row 10. */
static bool drive_promoted_twice(struct cluster *c)
{
	const struct meta_chunk_row *row;
	uint64_t asked_ns;
	unsigned a;

	if (!begin_without_a(c, MIB, &a))
		return false;
	node_let_up(node_of_server(c, a));
	if (!step_until_sent(c, node_of_engine(c, 0), MSG_CHANGE, SECONDS(30)))
		return false;
	/* PROMOTE is late, E0 has connected again and asks once more. */
	asked_ns = c->sim.now_ns;
	net_linger(c->sim.net, host_of_engine(c, 0), host_of_metad(c, 0), SECONDS(9));
	if (!step_replicas(c, 0, 0, 3, 3, SECONDS(3)))
		return false;
	kill_server(c, a);
	if (!step_write(c, 0, 0, 0, MIB, SECONDS(5)) || !step_replicas(c, 0, 0, 2, 2, SECONDS(2)))
		return false;
	/* A is to be filled again, and E0 does not get to it. */
	cut_both(c, host_of_engine(c, 0), host_of_server(c, a));
	node_let_up(node_of_server(c, a));
	if (!step_replicas(c, 0, 0, 2, 3, asked_ns + SECONDS(9) - c->sim.now_ns) ||
	    !run_for(c, asked_ns + SECONDS(12) - c->sim.now_ns))
		return false;
	row = cluster_chunk(c, 0, 0);
	return step_expect(c, row->replica_count == 3 && row->replicas[2].state == REPLICA_FILLING,
			   "A is FILLING until it has been filled again");
}

static const struct scenario promoted_twice = {
	.name = "promoted-twice",
	.story = "A PROMOTE is late on an old connection to metad; meanwhile A was promoted, "
		 "evicted, and added again as FILLING.",
	.shape = shape_join,
	.drive = drive_promoted_twice,
};

/* Row 11. */
static void shape_gone(struct params *p)
{
	shape_scripted(p);
	p->servers = 4;
	p->volume[0].min_replicas = 1;
	p->grace_ms = 100;
}

static bool drive_evict_what_is_gone(struct cluster *c)
{
	static struct scripted held;
	unsigned a, b, third;

	if (!step_begin(c))
		return false;
	a = server_of(c, 0, 0, 0);
	b = server_of(c, 0, 0, 1);
	third = server_of(c, 0, 0, 2);
	/* A and B see only E0; E0 sees neither metad nor C. E1 gets in through C, which is filled to D. */
	cut_both(c, host_of_engine(c, 0), host_of_metad(c, 0));
	cut_both(c, host_of_engine(c, 0), host_of_server(c, third));
	for (unsigned i = 0; i < 2; i++) {
		cut_both(c, host_of_server(c, i ? b : a), host_of_metad(c, 0));
		cut_both(c, host_of_server(c, i ? b : a), host_of_engine(c, 1));
	}
	if (!step_attach(c, 1, 0, true) || !step_write(c, 1, 0, 0, 64 * KIB, SECONDS(20)) ||
	    !step_replicas(c, 0, 0, 2, 2, SECONDS(60)))
		return false;
	kill_server(c, third);
	if (!step_write(c, 1, 0, 0, 64 * KIB, SECONDS(10)) ||
	    !step_replicas(c, 0, 0, 1, 1, SECONDS(10)))
		return false;
	/* E0 has a write to be put on C, and hears from metad again. */
	try_write(c, 0, 0, MIB, 4 * KIB, &held);
	if (!run_for(c, SECONDS(4)))
		return false;
	net_link_heal(c->sim.net, host_of_engine(c, 0), host_of_metad(c, 0));
	net_link_heal(c->sim.net, host_of_metad(c, 0), host_of_engine(c, 0));
	if (!step_until_delivered(c, node_of_engine(c, 0), MSG_CHANGE_OK, SECONDS(30)) ||
	    !step_expect(c,
			 observer_last_status(c->observer, c->engines[0].node.process,
					      MSG_CHANGE_OK) == WIRE_NOT_OWNER,
			 "E0 hears that it is not the owner, not that C is gone") ||
	    !run_for(c, SECONDS(5)) ||
	    !step_expect(c, held.status != 0 && held.status != 1, "E0's write has failed"))
		return false;
	net_heal_all(c->sim.net);
	node_let_up(node_of_server(c, third));
	return true;
}

static const struct scenario evict_what_is_gone = {
	.name = "evict-what-is-gone",
	.story = "E1 got in through C and has evicted it since; E0, still alive with A and B, asks "
		 "to evict C.",
	.shape = shape_gone,
	.drive = drive_evict_what_is_gone,
};

/* Row 12, first half. */
static void shape_garbage(struct params *p)
{
	shape_scripted(p);
	p->servers = 4;
	p->engines = 1;
	p->grace_ms = 100;
	p->garbage_ms = 1000;
}

/* A was replaced by D, comes back, and is to be deleted as garbage: DELETE is on its way. */
static bool until_deleted(struct cluster *c, unsigned *a, unsigned *d)
{
	if (!begin_without_a(c, MIB, a) || !step_replicas(c, 0, 0, 3, 3, SECONDS(60)))
		return false;
	*d = server_of(c, 0, 0, 2);
	node_let_up(node_of_server(c, *a));
	return step_until_sent(c, &c->metads[0].node, MSG_DELETE, SECONDS(120));
}

static bool drive_late_delete(struct cluster *c)
{
	unsigned a, d;

	if (!until_deleted(c, &a, &d))
		return false;
	net_link_cut(c->sim.net, host_of_metad(c, 0), host_of_server(c, a));
	/* D dies: A is all that there is to replace it. E0 carries its CREATE. */
	kill_server(c, d);
	if (!step_write(c, 0, 0, 0, MIB, SECONDS(5)) || !step_replicas(c, 0, 0, 3, 3, SECONDS(4)) ||
	    !step_expect(c, server_of(c, 0, 0, 2) == a, "A takes D's place"))
		return false;
	net_link_heal(c->sim.net, host_of_metad(c, 0), host_of_server(c, a));
	if (!step_until_delivered(c, node_of_server(c, a), MSG_DELETE, SECONDS(5)) ||
	    !run_for(c, SECONDS(1)) || !step_write(c, 0, 0, 0, MIB, SECONDS(1)))
		return false;
	node_let_up(node_of_server(c, d));
	return true;
}

static const struct scenario late_delete = {
	.name = "late-delete",
	.story = "A DELETE of garbage is late; meanwhile the replica is wanted again and filled: "
		 "the DELETE's commit number is too low.",
	.shape = shape_garbage,
	.drive = drive_late_delete,
};

/* Row 12, second half. */
static void shape_late_create(struct params *p)
{
	shape_garbage(p);
	p->engines = 2;
}

static bool drive_late_create(struct cluster *c)
{
	static struct scripted lost;
	unsigned a;

	c->manual = true;
	/* Both have connections to all replicas; the list was never changed, so each SYNC comes with a CREATE. */
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, MIB, SECONDS(5)) ||
	    !step_detach(c, 0, 0) || !step_attach(c, 1, 0, false) ||
	    !step_read(c, 1, 0, 0, MIB, SECONDS(5)) || !step_detach(c, 1, 0))
		return false;
	a = server_of(c, 0, 0, 0);
	/* E1 takes the lease again; to A its CREATE and SYNC are on their way when it dies. */
	if (!step_attach(c, 1, 0, false))
		return false;
	net_link_cut(c->sim.net, host_of_engine(c, 1), host_of_server(c, a));
	try_read(c, 1, 0, 0, MIB, &lost);
	if (!step_until_sent(c, node_of_engine(c, 1), MSG_SYNC, SECONDS(5)) || !run_for(c, MS(1)))
		return false;
	kill_engine(c, 1);
	/* E0 goes on without A; D replaces it, and what A had is deleted. */
	cut_both(c, host_of_engine(c, 0), host_of_server(c, a));
	if (!step_attach(c, 0, 0, true) || !step_write(c, 0, 0, 0, MIB, SECONDS(20)) ||
	    !step_replicas(c, 0, 0, 3, 3, SECONDS(60)) ||
	    !step_until_delivered(c, node_of_server(c, a), MSG_DELETE, SECONDS(120)) ||
	    !run_for(c, SECONDS(1)))
		return false;
	net_link_heal(c->sim.net, host_of_engine(c, 1), host_of_server(c, a));
	return step_until_delivered(c, node_of_server(c, a), MSG_SYNC, SECONDS(10)) &&
	       run_for(c, SECONDS(1)) &&
	       step_expect(c,
			   observer_last_sent_status(c->observer, c->servers[a].node.process,
						     MSG_SYNC_OK) == WIRE_NOT_FOUND,
			   "what was deleted is not created anew by an old owner");
}

static const struct scenario late_create = {
	.name = "late-create",
	.story = "An old owner's CREATE and SYNC reach a chunk server that has deleted the replica "
		 "since: it does not come back, without its fence.",
	.shape = shape_late_create,
	.drive = drive_late_create,
};

/* Row 23. */
static void shape_local_filling(struct params *p)
{
	shape_join(p);
	p->colocated = true;
	p->net.latency_ns = MS(10);
}

static bool drive_reads_while_filled(struct cluster *c)
{
	static struct scripted read;
	const struct meta_chunk_row *row;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, MIB, SECONDS(5)) ||
	    !step_write(c, 0, 0, MIB, MIB, SECONDS(5)))
		return false;
	/* The replica on E0's own host, which its reads prefer. */
	kill_server(c, 0);
	if (!step_write(c, 0, 0, 0, MIB, SECONDS(10)) || !step_replicas(c, 0, 0, 2, 2, SECONDS(10)))
		return false;
	node_let_up(node_of_server(c, 0));
	do {
		for (uint64_t at = 0; at < 2 * MIB && !c->sim.failed; at += 256 * KIB) {
			try_read(c, 0, 0, at, 256 * KIB, &read);
			if (!step_done(c, &read, SECONDS(5)) ||
			    !step_expect(c, read.status == 0, "reads go on"))
				return false;
		}
		row = cluster_chunk(c, 0, 0);
	} while (!c->sim.failed &&
		 (row->replica_count < 3 || row->replicas[2].state != REPLICA_ACTIVE));
	return !c->sim.failed;
}

static const struct scenario reads_while_filled = {
	.name = "reads-while-filled",
	.story = "The replica on the engine's own host is being filled: reads go to the others "
		 "until it is ACTIVE.",
	.shape = shape_local_filling,
	.drive = drive_reads_while_filled,
};

const struct scenario *const scenarios_joins[] = {
	&join_under_writes,
	&copy_under_writes,
	&write_into_invalid,
	&copy_of_old_connection,
	&repair_meets_write,
	&promoted_twice,
	&evict_what_is_gone,
	&late_delete,
	&late_create,
	&reads_while_filled,
	NULL,
};
