/* scenarios_found_owners.c - one for each bug of leases and attachments that the simulator has found, as short as it could be made. */
#include "tests/sim/operator.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

#include <errno.h>

/* A paused server's kernel accepts a connection, then the machine loses power: nothing ever answers HELLO. */
static bool drive_hello_unanswered(struct cluster *c)
{
	unsigned a, host;

	if (!step_begin(c))
		return false;
	a = server_of(c, 0, 0, 0);
	host = host_of_server(c, a);
	node_pause(&c->servers[a].node);
	if (!run_for(c, SECONDS(6)))
		return false;
	host_power_off(c, host);
	host_power_on(c, host);
	return run_for(c, SECONDS(8)) && step_write(c, 0, 0, 0, MIB, SECONDS(1)) &&
	       step_replicas(c, 0, 0, 3, 3, 1);
}

static const struct scenario hello_unanswered = {
	.name = "hello-never-answered",
	.story = "A hanging server's kernel accepts a connection, then loses power: the engine "
		 "must not wait for HELLO for ever.",
	.shape = shape_scripted,
	.drive = drive_hello_unanswered,
};

/* metad dies between a LEASE that was asked for by an attach and its answer. */
static bool drive_lease_unanswered(struct cluster *c)
{
	if (!step_begin(c))
		return false;
	try_attach(c, 1, 0, true);
	for (unsigned i = 0; i < 5; i++) {
		if (!step_until_sent(c, &c->engines[1].node, MSG_LEASE, SECONDS(20)))
			return false;
		run_for(c, i * 20000);
		kill_metad(c, 0);
		node_let_up(&c->metads[0].node);
	}
	return step_attach(c, 1, 0, true) && step_read(c, 1, 0, 0, MIB, SECONDS(10));
}

static const struct scenario lease_unanswered = {
	.name = "attach-meta-restarts",
	.story = "metad restarts between the LEASE of an attach and its answer, many times: the "
		 "attach ends all the same.",
	.shape = shape_scripted,
	.drive = drive_lease_unanswered,
};

/* The volume is taken from a live engine by one that dies before it takes a lease. */
static void shape_deposed(struct params *p)
{
	shape_scripted(p);
	p->servers = 4;
	p->volume[0].min_replicas = 1;
}

static bool drive_deposed_owner(struct cluster *c)
{
	unsigned a;

	if (!step_begin(c))
		return false;
	a = server_of(c, 0, 0, 0);
	kill_server(c, a);
	if (!step_write(c, 0, 0, 0, 4 * KIB, SECONDS(10)))
		return false;
	try_attach(c, 1, 0, true);
	if (!run_for(c, 50 * NS_PER_MS))
		return false;
	kill_engine(c, 1);
	node_let_up(&c->servers[a].node);
	return step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static const struct scenario deposed_owner = {
	.name = "deposed-owner-on-record",
	.story = "E1 takes the volume from E0 by force and dies before it leases: E0, alive, is "
		 "not the one to repair.",
	.shape = shape_deposed,
	.drive = drive_deposed_owner,
};

/* Three engines take the volume one after another, the third before the second has had its answer. */
static void shape_three_engines(struct params *p)
{
	shape_scripted(p);
	p->engines = 3;
}

static bool drive_taken_while_attaching(struct cluster *c)
{
	if (!step_begin(c))
		return false;
	try_attach(c, 1, 0, true);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	if (!step_expect(c,
			 c->engines[1].users[0] &&
				 user_state(c->engines[1].users[0]) == USER_ATTACHING,
			 "the second waits for what was promised to the first"))
		return false;
	return step_attach(c, 2, 0, true) && step_read(c, 2, 0, 0, MIB, SECONDS(5)) &&
	       step_expect(c, !c->engines[1].users[0], "the second has been refused");
}

static const struct scenario taken_while_attaching = {
	.name = "taken-while-attaching",
	.story = "E1 takes a volume by force and waits for E0's promise; E2 takes it: E1's attach "
		 "ends with a refusal, not never.",
	.shape = shape_three_engines,
	.drive = drive_taken_while_attaching,
};

/*
 * A chunk that nobody has attached is to be repaired. The grant of the lease is committed, its answer is lost with metad, and the
 * metad that comes next is not ready when the chunk server asks again.
 */
static void shape_repair(struct params *p)
{
	shape_scripted(p);
	p->servers = 4;
	p->rows_latency_ns = 100 * NS_PER_MS;
}

static bool listed(struct cluster *c, unsigned server)
{
	const struct meta_chunk_row *row = cluster_chunk(c, 0, 0);

	for (uint32_t i = 0; i < row->replica_count; i++) {
		if (cluster_server_of_cid(c, row->replicas[i].cid) == (int)server)
			return true;
	}
	return false;
}

/* The replica of a dead server is replaced by another one. */
static bool repaired_without(struct cluster *c, unsigned gone)
{
	for (unsigned i = 0; i < 600 && listed(c, gone) && run_for(c, 100 * NS_PER_MS);)
		i++;
	return step_expect(c, !listed(c, gone), "the dead replica is replaced within a minute") &&
	       step_replicas(c, 0, 0, 3, 3, SECONDS(60));
}

static bool drive_repair_unanswered(struct cluster *c)
{
	uint64_t chunk, epoch;
	unsigned gone;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, MIB, SECONDS(5)) ||
	    !step_detach(c, 0, 0))
		return false;
	chunk = cluster_chunk(c, 0, 0)->chunk;
	epoch = cluster_chunk(c, 0, 0)->epoch;
	/* It stays away, so every metad waits some seconds for it before it grants anything. */
	gone = server_of(c, 0, 0, 0);
	kill_server(c, gone);
	while (!c->sim.failed && cluster_chunk(c, 0, 0)->epoch == epoch) {
		uint64_t limit_ns = c->sim.now_ns + SECONDS(60);

		while (!c->sim.failed && c->sim.now_ns < limit_ns &&
		       !sim_rows_granting(c->rows, chunk))
			run_for(c, NS_PER_MS);
		if (!step_expect(c, c->sim.now_ns < limit_ns, "somebody is to repair the chunk"))
			return false;
		kill_metad(c, 0);
		node_let_up(&c->metads[0].node);
	}
	return repaired_without(c, gone);
}

static const struct scenario repair_unanswered = {
	.name = "repair-lease-unanswered",
	.story = "metad dies after it has committed a lease for repair and before it says so: the "
		 "owner on record does not know of it, and somebody repairs all the same.",
	.shape = shape_repair,
	.drive = drive_repair_unanswered,
};

/* An engine stands still for longer than its session lasts, with writes under way, and a chunk of its volume needs repair. */
static bool drive_wakes_after_repair(struct cluster *c)
{
	static struct scripted whole, small;
	unsigned gone;

	if (!step_begin(c))
		return false;
	gone = server_of(c, 0, 0, 0);
	kill_server(c, gone);
	try_write(c, 0, 0, 0, 64 * KIB, &whole);
	try_write(c, 0, 0, 4 * KIB + 512, 512, &small);
	if (!run_for(c, 100 * NS_PER_MS))
		return false;
	node_pause(&c->engines[0].node);
	if (!repaired_without(c, gone))
		return false;
	node_continue(&c->engines[0].node);
	return run_for(c, SECONDS(15)) &&
	       step_expect(c, whole.status == 0 && small.status == 0,
			   "what was under way has been carried out again") &&
	       step_read(c, 0, 0, 0, MIB, SECONDS(5));
}

static const struct scenario wakes_after_repair = {
	.name = "owner-wakes-after-a-repair",
	.story = "An engine is stopped with writes under way until a chunk server has taken its "
		 "lease for a repair; nobody took the volume: the writes go on under a new lease.",
	.shape = shape_repair,
	.drive = drive_wakes_after_repair,
};

/* E1 waits for chunks that E0 had, is cut off from metad, and the volume is taken from it and given back. */
static bool drive_lost_while_attaching(struct cluster *c)
{
	unsigned e1 = host_of_engine(c, 1), metad = host_of_metad(c, 0);

	if (!step_begin(c))
		return false;
	for (unsigned i = 0; i < c->params.servers; i++)
		cut_both(c, e1, host_of_server(c, i));
	try_attach(c, 1, 0, true);
	if (!step_until_delivered(c, &c->engines[1].node, MSG_LEASE_OK, SECONDS(10)))
		return false;
	cut_both(c, e1, metad);
	if (!step_attach(c, 2, 0, true) || !step_detach(c, 2, 0) || !run_for(c, SECONDS(10)))
		return false;
	net_heal_all(c->sim.net);
	return run_for(c, SECONDS(5)) &&
	       step_expect(c, !c->engines[1].users[0], "the attach of E1 has failed") &&
	       step_attach(c, 2, 0, false) && step_read(c, 2, 0, 0, MIB, SECONDS(10));
}

static const struct scenario lost_while_attaching = {
	.name = "lost-while-attaching",
	.story = "E1 is taking a volume when it loses metad; meanwhile E2 takes it and gives it "
		 "back. E1 hears both at once, "
		 "and does not keep what it is given.",
	.shape = shape_three_engines,
	.drive = drive_lost_while_attaching,
};

/* The volume is deleted while its engine is out of metad's reach, and another one gets its name. */
static bool create_anew(struct cluster *c, bool late)
{
	static struct scripted held;
	unsigned e0 = host_of_engine(c, 0), metad = host_of_metad(c, 0), away;

	if (!step_begin(c))
		return false;
	cut_both(c, e0, metad);
	for (unsigned i = 0; i < c->params.servers; i++)
		cut_both(c, e0, host_of_server(c, i));
	try_write(c, 0, 0, 0, 4 * KIB, &held);
	if (!run_for(c, SECONDS(15)))
		return false;
	/* While a replica of it is out of reach the old volume is remembered. */
	away = server_of(c, 0, 0, 0);
	if (!late)
		kill_server(c, away);
	operator_recreate(c, 0, true);
	if (!run_for(c, late ? SECONDS(60) : SECONDS(5)))
		return false;
	net_heal_all(c->sim.net);
	if (!run_for(c, SECONDS(2)))
		return false;
	node_let_up(&c->servers[away].node);
	return step_done(c, &held, SECONDS(20)) &&
	       step_expect(c, held.status == -ESHUTDOWN, "the old volume's IO fails") &&
	       run_for(c, SECONDS(1)) && step_attach(c, 1, 0, false) &&
	       step_read(c, 1, 0, 0, MIB, SECONDS(10));
}

static bool drive_created_anew(struct cluster *c)
{
	return create_anew(c, true);
}

static const struct scenario created_anew = {
	.name = "deleted-and-created-anew",
	.story = "A volume is deleted while its engine is cut off, and created anew under its "
		 "name: the engine does not take the new one for its own.",
	.shape = shape_scripted,
	.drive = drive_created_anew,
};

static bool drive_just_created_anew(struct cluster *c)
{
	return create_anew(c, false);
}

static const struct scenario just_created_anew = {
	.name = "just-deleted-and-created-anew",
	.story = "The same, and metad still knows what it took from that engine: the engine hears "
		 "of it before it is given the new one, and gives that one back.",
	.shape = shape_one_to_spare,
	.drive = drive_just_created_anew,
};

/* Two chunks, each on two of three servers, both of which are needed; a server dies with the engine, and there is room on no other one. */
static void shape_one_held(struct params *p)
{
	shape_scripted(p);
	p->volume[0].replicas = p->volume[0].min_replicas = 2;
	p->evict_dead_ms = 120000; /* nobody takes its place */
}

static bool is_on(struct cluster *c, uint64_t index, unsigned server)
{
	return server_of(c, 0, index, 0) == server || server_of(c, 0, index, 1) == server;
}

static bool drive_attached_while_held(struct cluster *c)
{
	static struct scripted held;
	uint64_t chunk_bytes = c->params.chunk_bytes;
	unsigned gone = 0;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, 64 * KIB, SECONDS(5)) ||
	    !step_write(c, 0, 0, chunk_bytes, 64 * KIB, SECONDS(5)))
		return false;
	while (gone < 2 && !(is_on(c, 0, gone) && !is_on(c, 1, gone)))
		gone++;
	if (!step_expect(c, is_on(c, 0, gone) && !is_on(c, 1, gone),
			 "one has the first chunk only"))
		return false;
	kill_engine(c, 0);
	kill_server(c, gone);
	if (!step_attach(c, 1, 0, true))
		return false;
	try_write(c, 1, 0, 0, 64 * KIB, &held);
	if (!step_write(c, 1, 0, chunk_bytes, 64 * KIB, SECONDS(5)) ||
	    !step_expect(c, held.status == 1, "the first chunk has too few replicas"))
		return false;
	node_let_up(&c->servers[gone].node);
	return step_done(c, &held, SECONDS(20)) &&
	       step_expect(c, held.status == 0, "the write is carried out");
}

static const struct scenario attached_while_held = {
	.name = "attached-while-a-chunk-is-held",
	.story = "An engine dies, and a server that one chunk can't do without: the next engine "
		 "attaches the volume all the same and uses the other chunks.",
	.shape = shape_one_held,
	.drive = drive_attached_while_held,
};

const struct scenario *const scenarios_found_owners[] = {&hello_unanswered,
							 &lease_unanswered,
							 &deposed_owner,
							 &taken_while_attaching,
							 &repair_unanswered,
							 &wakes_after_repair,
							 &created_anew,
							 &just_created_anew,
							 &attached_while_held,
							 &lost_while_attaching,
							 NULL};
