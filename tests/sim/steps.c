/* steps.c - see steps.h. */
#include "tests/sim/steps.h"
#include "tests/sim/operator.h"

#include <errno.h>

#define STEP_NS (10 * NS_PER_MS)

static struct user *user_on(const struct cluster *c, unsigned engine, unsigned volume)
{
	return c->engines[engine].users[volume];
}

/* True once *done is no longer 1. */
static bool wait_for(struct cluster *c, const struct scripted *result, uint64_t within_ns)
{
	uint64_t deadline_ns = c->sim.now_ns + within_ns;

	while (!c->sim.failed && result->status == 1 && c->sim.now_ns < deadline_ns)
		run_for(c, STEP_NS);
	return result->status != 1;
}

bool step_done(struct cluster *c, const struct scripted *result, uint64_t within_ns)
{
	return step_expect(c, wait_for(c, result, within_ns), "the operation ends in time");
}

struct passing {
	const struct observer *observer;
	const struct sim_process *process;
	enum msg_type type;
	uint64_t (*count)(const struct observer *o, const struct sim_process *process,
			  enum msg_type type);
	uint64_t before;
};

static bool has_passed(void *context)
{
	const struct passing *p = context;

	return p->count(p->observer, p->process, p->type) > p->before;
}

static bool until_passed(struct cluster *c, struct passing *p, uint64_t within_ns)
{
	char what[96];

	p->before = p->count(p->observer, p->process, p->type);
	if (!sim_run(&c->sim, c->sim.now_ns + within_ns, has_passed, p))
		return false;
	snprintf(what, sizeof what, "a %s passes %s in time", msg_type_name(p->type),
		 p->process->name);
	return step_expect(c, has_passed(p), what);
}

bool step_until_sent(struct cluster *c, const struct node *from, enum msg_type type,
		     uint64_t within_ns)
{
	struct passing p = {c->observer, from->process, type, observer_sent, 0};

	return until_passed(c, &p, within_ns);
}

bool step_until_delivered(struct cluster *c, const struct node *to, enum msg_type type,
			  uint64_t within_ns)
{
	struct passing p = {c->observer, to->process, type, observer_delivered, 0};

	return until_passed(c, &p, within_ns);
}

bool step_expect(struct cluster *c, bool holds, const char *what)
{
	if (!holds)
		sim_fail(&c->sim, "scenario", 0, "expected: %s", what);
	return !c->sim.failed;
}

void try_attach(struct cluster *c, unsigned engine, unsigned volume, bool force)
{
	user_attach(c, engine, volume, force);
}

bool step_attach(struct cluster *c, unsigned engine, unsigned volume, bool force)
{
	uint64_t deadline_ns = c->sim.now_ns + 30 * NS_PER_S;

	if (!user_on(c, engine, volume))
		try_attach(c, engine, volume, force);
	while (!c->sim.failed && c->sim.now_ns < deadline_ns && user_on(c, engine, volume) &&
	       user_state(user_on(c, engine, volume)) != USER_ATTACHED)
		run_for(c, STEP_NS);
	return step_expect(c,
			   user_on(c, engine, volume) &&
				   user_state(user_on(c, engine, volume)) == USER_ATTACHED,
			   "the volume is attached within 30 s");
}

bool step_begin(struct cluster *c)
{
	c->manual = true;
	return step_attach(c, 0, 0, false) && step_write(c, 0, 0, 0, MIB, SECONDS(5));
}

bool step_detach(struct cluster *c, unsigned engine, unsigned volume)
{
	uint64_t deadline_ns = c->sim.now_ns + 10 * NS_PER_S;

	user_detach(user_on(c, engine, volume));
	while (!c->sim.failed && c->sim.now_ns < deadline_ns && user_on(c, engine, volume))
		run_for(c, STEP_NS);
	return step_expect(c, !user_on(c, engine, volume), "the volume is detached within 10 s");
}

void try_write(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset, uint64_t bytes,
	       struct scripted *result)
{
	user_write(user_on(c, engine, volume), offset, bytes,
		   registers_stamp(c->volumes[volume].registers), result);
}

void try_read(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset, uint64_t bytes,
	      struct scripted *result)
{
	user_read(user_on(c, engine, volume), offset, bytes, result);
}

void try_extents(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset,
		 uint64_t bytes, struct scripted *result)
{
	user_extents(user_on(c, engine, volume), offset, bytes, result);
}

bool step_write(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset,
		uint64_t bytes, uint64_t within_ns)
{
	static struct scripted result;

	if (!step_expect(c, user_on(c, engine, volume) != NULL, "the volume is attached"))
		return false;
	try_write(c, engine, volume, offset, bytes, &result);
	return step_expect(c, wait_for(c, &result, within_ns) && result.status == 0,
			   "the write is acknowledged in time");
}

#define FILL_BYTES (256 * KIB)

bool step_fill(struct cluster *c, unsigned engine, unsigned volume)
{
	static struct scripted result;

	for (uint64_t at = 0; at + FILL_BYTES <= c->volumes[volume].bytes; at += FILL_BYTES) {
		try_write(c, engine, volume, at, FILL_BYTES, &result);
		if (!step_done(c, &result, 30 * NS_PER_S))
			return false;
		if (result.status)
			return step_expect(c, result.status == -ENOSPC, "a full disk is named");
	}
	return step_expect(c, false, "the disks are full at some time");
}

bool step_read(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset, uint64_t bytes,
	       uint64_t within_ns)
{
	static struct scripted result;

	if (!step_expect(c, user_on(c, engine, volume) != NULL, "the volume is attached"))
		return false;
	try_read(c, engine, volume, offset, bytes, &result);
	return step_expect(c, wait_for(c, &result, within_ns) && result.status == 0,
			   "the read succeeds in time");
}

bool step_replicas(struct cluster *c, unsigned volume, uint64_t index, unsigned active,
		   unsigned total, uint64_t within_ns)
{
	uint64_t deadline_ns = c->sim.now_ns + within_ns;

	while (!c->sim.failed) {
		const struct meta_chunk_row *row = cluster_chunk(c, volume, index);
		unsigned count = 0;

		for (uint32_t i = 0; row && i < row->replica_count; i++)
			count += row->replicas[i].state == REPLICA_ACTIVE;
		if (row && count == active && row->replica_count == total)
			return true;
		if (c->sim.now_ns >= deadline_ns)
			break;
		run_for(c, STEP_NS);
	}
	return step_expect(c, false, "the chunk's list has that many replicas");
}

bool step_resize(struct cluster *c, unsigned volume, uint64_t bytes, bool force)
{
	uint64_t deadline_ns = c->sim.now_ns + 30 * NS_PER_S;

	operator_resize(c, volume, bytes, force);
	while (!c->sim.failed && c->sim.now_ns < deadline_ns && c->volumes[volume].resizing)
		run_for(c, STEP_NS);
	return step_expect(c, c->volumes[volume].bytes == bytes, "the volume has its new size");
}

unsigned server_of(struct cluster *c, unsigned volume, uint64_t index, unsigned i)
{
	const struct meta_chunk_row *row = cluster_chunk(c, volume, index);

	assert(row && i < row->replica_count);
	return (unsigned)cluster_server_of_cid(c, row->replicas[i].cid);
}

void cut_both(struct cluster *c, unsigned host_a, unsigned host_b)
{
	net_link_cut(c->sim.net, host_a, host_b);
	net_link_cut(c->sim.net, host_b, host_a);
}

void kill_server(struct cluster *c, unsigned server)
{
	node_hold_down(&c->servers[server].node);
	cluster_kill_server(c, server, false);
}

void kill_engine(struct cluster *c, unsigned engine)
{
	node_hold_down(&c->engines[engine].node);
	cluster_kill_engine(c, engine, false);
}

void kill_metad(struct cluster *c, unsigned metad)
{
	node_hold_down(&c->metads[metad].node);
	cluster_kill_metad(c, metad, false);
}

void shape_scripted(struct params *p)
{
	p->operations = 0;
}

void shape_one_to_spare(struct params *p)
{
	shape_scripted(p);
	p->servers = 4;
}
