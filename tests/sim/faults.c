/* faults.c - see faults.h. */
#include "tests/sim/faults.h"
#include "tests/sim/rest.h"
#include "tests/sim/users.h"

/* ---- processes and machines ---- */

void node_hold_down(struct node *n)
{
	n->faults++;
	sim_cancel(&n->cluster->sim, &n->restart);
}

static void node_start(struct node *n)
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

static void node_kill_any(struct node *n, bool power)
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

/* Calls visit for all nodes, in a fixed order. */
static void each_node(struct cluster *c, void (*visit)(struct node *n, void *context),
		      void *context)
{
	for (unsigned i = 0; i < c->params.metads; i++)
		visit(&c->metads[i].node, context);
	for (unsigned i = 0; i < c->params.servers; i++)
		visit(&c->servers[i].node, context);
	for (unsigned i = 0; i < c->params.engines; i++)
		visit(&c->engines[i].node, context);
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
	each_node(c, off_if_on_host, &c->sim.hosts[host]);
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
	each_node(c, up_if_on_host, h);
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
			host_power_off(c, c->engines[i].node.process->host->index);
	}
}

void power_on_all(struct cluster *c)
{
	for (unsigned i = 0; i < c->sim.host_count; i++) {
		if (&c->sim.hosts[i] != c->sim.processes[c->sim.process_count - 1].host)
			host_power_on(c, i);
	}
}

/* ---- one fault ---- */

/* A disk may be replaced only while every chunk on it has another copy that counts. */
static bool disk_is_spare(const struct cluster *c, unsigned server)
{
	const struct meta_chunk_row *row;

	for (size_t i = 0; (row = sim_rows_chunk_at(c->rows, i)); i++) {
		bool here = false;
		unsigned elsewhere = 0;

		for (uint32_t r = 0; r < row->replica_count; r++) {
			if (row->replicas[r].state != REPLICA_ACTIVE)
				continue;
			if (cluster_server_of_cid(c, row->replicas[r].cid) == (int)server)
				here = true;
			else
				elsewhere++;
		}
		if (here && elsewhere == 0)
			return false;
	}
	return true;
}

void server_replace_dead_disk(struct cluster *c, unsigned server)
{
	struct sim_server *s = &c->servers[server];

	if (!disk_is_spare(c, server))
		return;
	node_kill_any(&s->node, false);
	cluster_replace_disk(c, server);
	node_start(&s->node);
}

static void isolate(struct cluster *c, const struct fault *f,
		    void (*link)(struct sim_net *net, unsigned from, unsigned to))
{
	for (unsigned h = 0; h < c->sim.host_count; h++) {
		if (h == f->target)
			continue;
		if (f->how % 4 != 1)
			link(c->sim.net, f->target, h);
		if (f->how % 4 != 2)
			link(c->sim.net, h, f->target);
	}
}

static void cut(struct cluster *c, const struct fault *f,
		void (*link)(struct sim_net *net, unsigned from, unsigned to))
{
	link(c->sim.net, f->target, f->other);
	if (f->how % 3)
		link(c->sim.net, f->other, f->target);
}

static bool begin_process(struct cluster *c, const struct fault *f)
{
	struct node *n;

	switch (f->kind) {
	case FAULT_CRASH_SERVER:
		n = &c->servers[f->target].node;
		break;
	case FAULT_CRASH_ENGINE:
		n = &c->engines[f->target].node;
		break;
	case FAULT_CRASH_META:
	case FAULT_FAILOVER_META:
		n = &c->metads[c->active_metad].node;
		break;
	default:
		return false;
	}
	node_hold_down(n);
	node_kill_any(n, false);
	return true;
}

static struct node *paused_node(struct cluster *c, const struct fault *f)
{
	switch (f->kind) {
	case FAULT_PAUSE_SERVER:
		return &c->servers[f->target].node;
	case FAULT_PAUSE_ENGINE:
		return &c->engines[f->target].node;
	case FAULT_PAUSE_META:
		return &c->metads[f->target % c->params.metads].node;
	default:
		return NULL;
	}
}

static void begin_disk(struct cluster *c, const struct fault *f)
{
	struct sim_server *s = &c->servers[f->target];

	switch (f->kind) {
	case FAULT_SLOW_DISK:
		sim_disk_set_slow(s->disk, 2 + f->how % 60);
		break;
	case FAULT_DISK_WRITES_FAIL:
		sim_disk_fail_writes(s->disk, true);
		break;
	case FAULT_DISK_READS_FAIL:
		sim_disk_fail_reads(s->disk, f->how);
		break;
	case FAULT_DISK_ROT:
		sim_disk_rot(s->disk, f->how);
		break;
	case FAULT_DISK_LOSES_WRITES:
		sim_disk_lose_writes(s->disk, f->how);
		break;
	case FAULT_DISK_MISDIRECTS:
		sim_disk_misdirect_writes(s->disk, f->how);
		break;
	case FAULT_DISK_REPLACED:
		node_hold_down(&s->node);
		if (!disk_is_spare(c, f->target))
			break;
		node_kill_any(&s->node, false);
		cluster_replace_disk(c, f->target);
		break;
	default:
		break;
	}
	c->sim.totals.disk_faults++;
}

static void take_over(struct cluster *c, const struct fault *f)
{
	struct sim_engine *e = &c->engines[f->other];

	if (e->engine && !e->stopping && !e->node.process->paused && !e->users[f->target] &&
	    c->volumes[f->target].created)
		user_attach(c, f->other, f->target, f->how % 4 != 0);
}

/* Bits of `how`: 0 .. 6 servers, 7 metads, 8 towards the holder only, 9 away from it only. */
static void depose_links(struct cluster *c, const struct fault *f, unsigned host,
			 void (*link)(struct sim_net *net, unsigned from, unsigned to))
{
	for (unsigned i = 0; i < c->params.servers + c->params.metads; i++) {
		unsigned bit = i < c->params.servers ? i : 7;

		if (i == host || !(f->how >> bit & 1))
			continue;
		if (!(f->how >> 8 & 1))
			link(c->sim.net, host, i);
		if (!(f->how >> 9 & 1) || (f->how >> 8 & 1))
			link(c->sim.net, i, host);
	}
}

static void depose(struct cluster *c, struct fault_event *event, const struct fault *f)
{
	struct user *user = user_of_volume(c, f->target);

	event->host = user ? user_host(user) : SIM_HOSTS_MAX;
	if (!user)
		return;
	depose_links(c, f, event->host, net_link_cut);
	c->sim.totals.partitions++;
	take_over(c, f);
}

void fault_begin(struct cluster *c, uint32_t number)
{
	const struct fault *f = &c->params.faults[number];
	struct sim_net *net = c->sim.net;
	struct user *user;

	c->sim.totals.faults++;
	sim_trace(&c->sim, "FAULT %u %s target %u other %u how %u for %.3f s", number,
		  fault_name(f->kind), f->target, f->other, f->how, (double)f->lasts_ns / 1e9);
	if (begin_process(c, f)) {
		if (f->kind == FAULT_FAILOVER_META) {
			c->active_metad = (c->active_metad + 1) % c->params.metads;
			node_start(&c->metads[c->active_metad].node);
		}
		return;
	}
	if (paused_node(c, f)) {
		node_pause(paused_node(c, f));
		return;
	}
	switch (f->kind) {
	case FAULT_POWER_SERVER:
		host_power_off(c, c->servers[f->target].node.process->host->index);
		break;
	case FAULT_POWER_ALL:
		power_off_all(c);
		rest_check(c, REST_DURABLE);
		break;
	case FAULT_RESTART_ENGINE:
		cluster_stop_engine(c, f->target);
		break;
	case FAULT_CUT:
		cut(c, f, net_link_cut);
		c->sim.totals.partitions++;
		break;
	case FAULT_ISOLATE:
		isolate(c, f, net_link_cut);
		c->sim.totals.partitions++;
		break;
	case FAULT_BREAK:
		c->sim.totals.breaks += net_break(net, f->target, f->other, f->lasts_ns);
		break;
	case FAULT_SLOW_HOST:
		net_host_slow(net, f->target, 2 + f->how % 40);
		break;
	case FAULT_CLOCK_RATE:
		sim_host_set_rate(&c->sim.hosts[f->target], (int32_t)(f->how % 200000) - 100000);
		c->sim.totals.clock_faults++;
		break;
	case FAULT_ROWS_FAIL:
		sim_rows_fail(c->rows, 1 + f->how % 3);
		break;
	case FAULT_ROWS_SLOW:
		sim_rows_set_slow(c->rows, 2 + f->how % 50);
		break;
	case FAULT_TAKEOVER:
		take_over(c, f);
		break;
	case FAULT_DEPOSE:
		depose(c, &c->fault_events[number], f);
		break;
	case FAULT_DETACH:
		user = user_of_volume(c, f->target);
		if (user && !user_paused(user))
			user_detach(user);
		break;
	default:
		begin_disk(c, f);
		break;
	}
}

static void fault_end(struct cluster *c, uint32_t number)
{
	const struct fault *f = &c->params.faults[number];
	unsigned server = f->target;

	sim_trace(&c->sim, "fault %u %s ends", number, fault_name(f->kind));
	if (paused_node(c, f)) {
		node_continue(paused_node(c, f));
		return;
	}
	switch (f->kind) {
	case FAULT_CRASH_SERVER:
	case FAULT_DISK_REPLACED:
		node_let_up(&c->servers[server].node);
		break;
	case FAULT_POWER_SERVER:
		host_power_on(c, c->servers[server].node.process->host->index);
		break;
	case FAULT_CRASH_ENGINE:
		node_let_up(&c->engines[f->target].node);
		break;
	case FAULT_CRASH_META:
	case FAULT_FAILOVER_META:
		for (unsigned i = 0; i < c->params.metads; i++)
			node_let_up(&c->metads[i].node);
		break;
	case FAULT_POWER_ALL:
		power_on_all(c);
		break;
	case FAULT_CUT:
		cut(c, f, net_link_heal);
		break;
	case FAULT_ISOLATE:
		isolate(c, f, net_link_heal);
		break;
	case FAULT_DEPOSE:
		if (c->fault_events[number].host < SIM_HOSTS_MAX)
			depose_links(c, f, c->fault_events[number].host, net_link_heal);
		break;
	case FAULT_SLOW_HOST:
		net_host_slow(c->sim.net, f->target, 1);
		break;
	case FAULT_SLOW_DISK:
		sim_disk_set_slow(c->servers[server].disk, 1);
		break;
	case FAULT_DISK_WRITES_FAIL:
		sim_disk_fail_writes(c->servers[server].disk, false);
		cluster_kill_server(c, server, false);
		node_start(&c->servers[server].node);
		break;
	case FAULT_ROWS_SLOW:
		sim_rows_set_slow(c->rows, 1);
		break;
	default:
		break;
	}
}

/* ---- the schedule ---- */

static void begin_run(struct sim_event *event)
{
	struct fault_event *f = container_of(event, struct fault_event, begin);
	struct cluster *c = f->cluster;

	f->active = true;
	fault_begin(c, f->number);
	sim_schedule(&c->sim, &f->end, NULL, c->sim.now_ns + c->params.faults[f->number].lasts_ns,
		     "fault ends");
}

static void end_run(struct sim_event *event)
{
	struct fault_event *f = container_of(event, struct fault_event, end);

	f->active = false;
	fault_end(f->cluster, f->number);
}

void faults_schedule(struct cluster *c)
{
	for (uint32_t i = 0; i < c->params.fault_count; i++) {
		struct fault_event *f = &c->fault_events[i];

		f->cluster = c;
		f->number = i;
		f->begin.run = begin_run;
		f->end.run = end_run;
		if (!c->params.faults[i].dropped)
			sim_schedule(&c->sim, &f->begin, NULL,
				     c->sim.now_ns + c->params.faults[i].at_ns, "fault");
	}
}

static void back_to_normal(struct node *n, void *context)
{
	(void)context;
	n->faults = 0;
	n->pauses = 0;
	node_continue(n);
	node_start(n);
}

void faults_end_all(struct cluster *c)
{
	for (uint32_t i = 0; i < c->params.fault_count; i++) {
		struct fault_event *f = &c->fault_events[i];

		sim_cancel(&c->sim, &f->begin);
		sim_cancel(&c->sim, &f->end);
		if (f->active)
			fault_end(c, i);
		f->active = false;
	}
	net_heal_all(c->sim.net);
	sim_rows_fail(c->rows, 0);
	sim_rows_set_slow(c->rows, 1);
	for (unsigned i = 0; i < c->params.servers; i++) {
		sim_disk_lose_writes(c->servers[i].disk, 0);
		sim_disk_misdirect_writes(c->servers[i].disk, 0);
	}
	for (unsigned i = 0; i < c->sim.host_count; i++) {
		c->sim.hosts[i].up = true;
		c->sim.hosts[i].off = 0;
	}
	each_node(c, back_to_normal, NULL);
	sim_trace(&c->sim, "all faults have ended");
}
