/*
 * leases.c - see leases.h.
 *
 * An old owner that has not heard of its end still counts itself able to write: its writes are refused, and were they not the
 * registers would show it. Reads have no such second line of defence, so it is the belief that is checked: once a newer
 * owner may read or write, no older one may read.
 */
#include "tests/sim/leases.h"
#include "tests/sim/lists.h"

#define BELIEFS_MAX 512

struct belief {
	uint64_t chunk, epoch;
	bool may_read, may_write;
	const struct sim_process *process;
};

struct beliefs {
	struct belief all[BELIEFS_MAX];
	unsigned count;
	const struct sim_process *process;
};

static void visit(void *context, uint64_t chunk, uint64_t epoch, bool may_read, bool may_write)
{
	struct beliefs *b = context;

	if (!may_read && !may_write)
		return;
	assert(b->count < BELIEFS_MAX);
	b->all[b->count++] = (struct belief){chunk, epoch, may_read, may_write, b->process};
}

static void collect(struct beliefs *b, const struct engine *engine,
		    const struct sim_process *process)
{
	b->process = process;
	if (engine)
		engine_visit_leases(engine, visit, b);
}

static void compare(struct cluster *c, const struct belief *a, const struct belief *b)
{
	const struct belief *old = a->epoch < b->epoch ? a : b, *young = old == a ? b : a;

	if (a->chunk != b->chunk)
		return;
	if (old->epoch == young->epoch || old->may_read)
		sim_fail(&c->sim, "one lease owner", a->chunk,
			 "chunk %llu: %s (epoch %llu) may %s while %s (epoch %llu) may %s",
			 (unsigned long long)a->chunk, old->process->name,
			 (unsigned long long)old->epoch, old->may_read ? "read" : "write",
			 young->process->name, (unsigned long long)young->epoch,
			 young->may_read ? "read" : "write");
}

static void collect_others(struct cluster *c, struct beliefs *b, const struct sim_process *but)
{
	for (unsigned i = 0; i < c->params.engines; i++) {
		if (c->engines[i].node.process != but)
			collect(b, c->engines[i].engine, c->engines[i].node.process);
	}
	for (unsigned i = 0; i < c->params.servers; i++) {
		if (c->servers[i].node.process != but)
			collect(b, cluster_server_engine(&c->servers[i]),
				c->servers[i].node.process);
	}
}

void leases_check(struct cluster *c, const struct sim_process *process)
{
	static struct beliefs own, others;
	const struct engine *engine = NULL;

	for (unsigned i = 0; i < c->params.engines; i++) {
		if (c->engines[i].node.process == process)
			engine = c->engines[i].engine;
	}
	for (unsigned i = 0; i < c->params.servers; i++) {
		if (c->servers[i].node.process == process)
			engine = cluster_server_engine(&c->servers[i]);
	}
	own.count = others.count = 0;
	collect(&own, engine, process);
	if (own.count == 0)
		return;
	for (unsigned i = 0; i < own.count; i++) {
		if (own.all[i].may_write)
			lists_io_begins(c->lists, own.all[i].chunk, own.all[i].epoch);
	}
	collect_others(c, &others, process);
	for (unsigned i = 0; i < own.count; i++) {
		for (unsigned j = 0; j < others.count; j++)
			compare(c, &own.all[i], &others.all[j]);
	}
}
