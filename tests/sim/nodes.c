/* nodes.c - processes and machines: they die, hang, lose power and come back. See faults.h. */
#include "tests/sim/faults_private.h"

unsigned host_of_server(const struct cluster *c, unsigned server)
{
	return c->servers[server].node.process->host->index;
}

unsigned host_of_engine(const struct cluster *c, unsigned engine)
{
	return c->engines[engine].node.process->host->index;
}

unsigned host_of_metad(const struct cluster *c, unsigned metad)
{
	return c->metads[metad].node.process->host->index;
}

void node_hold_down(struct node *n)
{
	n->faults++;
	sim_cancel(&n->cluster->sim, &n->restart);
}

void node_start(struct node *n)
{
	struct cluster *c = n->cluster;

	if (n->faults || !n->process->host->up)
		return;
	switch (n->process->name[0]) {
	case 'c':
		cluster_start_server(c, n->number);
		break;
	case 'm':
		cluster_start_metad(c, n->number);
		break;
	case 'e':
		cluster_start_engine(c, n->number);
		break;
	}
}

void node_let_up(struct node *n)
{
	if (n->faults && --n->faults == 0)
		node_start(n);
}

void node_kill_any(struct node *n, bool power)
{
	struct cluster *c = n->cluster;

	n->pauses = 0;
	switch (n->process->name[0]) {
	case 'c':
		cluster_kill_server(c, n->number, power);
		break;
	case 'm':
		cluster_kill_metad(c, n->number, power);
		break;
	case 'e':
		cluster_kill_engine(c, n->number, power);
		break;
	}
}

void node_each(struct cluster *c, void (*visit)(struct node *n, void *context), void *context)
{
	for (unsigned i = 0; i < c->params.metads; i++)
		visit(&c->metads[i].node, context);
	for (unsigned i = 0; i < c->params.servers; i++)
		visit(&c->servers[i].node, context);
	for (unsigned i = 0; i < c->params.engines; i++)
		visit(&c->engines[i].node, context);
}

struct search {
	const struct sim_process *process;
	struct node *found;
};

static void find_visit(struct node *n, void *context)
{
	struct search *s = context;

	if (n->process == s->process)
		s->found = n;
}

struct node *node_of(struct cluster *c, const struct sim_process *process)
{
	struct search s = {.process = process};

	node_each(c, find_visit, &s);
	return s.found;
}

/* It dies and something starts it again: soon, or some seconds later. */
void node_kill_and_restart(struct node *n)
{
	struct cluster *c = n->cluster;

	if (!n->process->running)
		return;
	node_kill_any(n, false);
	if (!n->faults)
		sim_schedule(&c->sim, &n->restart, NULL,
			     c->sim.now_ns + (100 + 300 * (c->sim.order % 8)) * NS_PER_MS,
			     "restart");
}

static void off_if_on_host(struct node *n, void *context)
{
	if (n->process->host != context)
		return;
	node_hold_down(n);
	node_kill_any(n, true);
}

static void up_if_on_host(struct node *n, void *context)
{
	if (n->process->host == context)
		node_let_up(n);
}

void host_power_off(struct cluster *c, unsigned host)
{
	c->sim.hosts[host].up = false;
	c->sim.hosts[host].off++;
	node_each(c, off_if_on_host, &c->sim.hosts[host]);
	c->sim.totals.power_cuts++;
}

void host_power_on(struct cluster *c, unsigned host)
{
	struct sim_host *h = &c->sim.hosts[host];

	if (h->off && --h->off == 0) {
		/* CLOCK_BOOTTIME begins anew. */
		h->up = true;
		h->booted_ns = c->sim.now_ns;
		h->booted_local_ns = 3 * NS_PER_S;
	}
	node_each(c, up_if_on_host, h);
}

void node_pause(struct node *n)
{
	n->pauses++;
	if (n->process->running && !n->process->paused) {
		sim_trace(&n->cluster->sim, "%s is paused", n->process->name);
		sim_process_pause(n->process);
	}
	n->cluster->sim.totals.pauses++;
}

void node_continue(struct node *n)
{
	if (n->pauses && --n->pauses)
		return;
	if (n->process->running && n->process->paused) {
		sim_trace(&n->cluster->sim, "%s goes on", n->process->name);
		sim_process_continue(n->process);
	}
}

void power_off_all(struct cluster *c)
{
	/* Hosts of faults that are under way may be off already: they get one more reason. */
	for (unsigned i = 0; i < c->params.servers + c->params.metads +
					 (c->params.colocated ? 0 : c->params.engines);
	     i++)
		host_power_off(c, i);
	if (c->params.colocated) {
		for (unsigned i = c->params.servers; i < c->params.engines; i++)
			host_power_off(c, host_of_engine(c, i));
	}
}

void power_on_all(struct cluster *c)
{
	for (unsigned i = 0; i < c->sim.host_count; i++) {
		if (&c->sim.hosts[i] != c->sim.processes[c->sim.process_count - 1].host)
			host_power_on(c, i);
	}
}
