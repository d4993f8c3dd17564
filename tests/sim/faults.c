/* faults.c - see faults.h. */
#include "tests/sim/faults.h"
#include "tests/sim/operator.h"
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

/* A disk may be replaced only while every chunk on it has another ACTIVE copy, on a disk that was not replaced and does not lie, or is being deleted. */
static bool disk_is_spare(const struct cluster *c, unsigned server)
{
	const struct meta_chunk_row *row;

	for (size_t i = 0; (row = sim_rows_chunk_at(c->rows, i)); i++) {
		bool here = false;
		unsigned elsewhere = 0;

		if (sim_rows_volume(c->rows, row->volume)->deleting)
			continue;
		for (uint32_t r = 0; r < row->replica_count; r++) {
			int on = cluster_server_of_cid(c, row->replicas[r].cid);

			if (row->replicas[r].state != REPLICA_ACTIVE)
				continue;
			if (on == (int)server)
				here = true;
			else
				elsewhere += on >= 0 && !cluster_disk_lies(c, (unsigned)on);
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

/*
 * DEPOSE: the holder of a volume and whoever takes it from it see different parts of the cluster, as they do when networks
 * split and processes come and go at the same time. One of a chunk's replicas is the pivot. First act: the holder is cut off from metad (bit 0),
 * and from some servers; the taker from all but the pivot, or from some. Second act, up to 4 s later: the holder is cut off from the pivot, or
 * from some more, and the pivot, or some, are killed and started again at once.
 */
enum depose_bits {
	DEPOSE_META = 1 << 0,
	DEPOSE_ONE_WAY = 1 << 1,
	DEPOSE_SERVERS = 1 << 2,
	DEPOSE_TAKER = 1 << 3,
	DEPOSE_TAKER_PIVOT = 1 << 4,
	DEPOSE_SECOND = 1 << 5,
	DEPOSE_SECOND_PIVOT = 1 << 6,
	DEPOSE_RESTART = 1 << 7,
	DEPOSE_RESTART_PIVOT = 1 << 8,
	/* bits 9 .. 15: which replica, when; 16 .. 31: which servers, where the pivot does not say */
};

static bool some(const struct fault *f, unsigned server, unsigned shift)
{
	return f->how >> (16 + (server + shift) % 16) & 1;
}

static void depose_cut(struct fault_event *event, unsigned from, unsigned to)
{
	if (from == to || event->link_count == ARRAY_SIZE(event->links))
		return;
	event->links[event->link_count][0] = (uint8_t)from;
	event->links[event->link_count++][1] = (uint8_t)to;
	net_link_cut(event->cluster->sim.net, from, to);
}

static void depose_cut_both(struct fault_event *event, unsigned a, unsigned b, bool one_way)
{
	depose_cut(event, a, b);
	if (!one_way)
		depose_cut(event, b, a);
}

static unsigned pick_pivot(const struct cluster *c, const struct fault *f)
{
	const struct meta_chunk_row *row = cluster_chunk(c, f->target, f->how >> 9 & 1);
	int server = -1;

	if (row && row->replica_count)
		server = cluster_server_of_cid(
			c, row->replicas[(f->how >> 10 & 7) % row->replica_count].cid);
	return server < 0 ? f->how % c->params.servers : (unsigned)server;
}

static void depose_second(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];

	for (unsigned i = 0; i < c->params.servers; i++) {
		bool pivot = i == event->pivot;

		if (f->how & DEPOSE_SECOND &&
		    (f->how & DEPOSE_SECOND_PIVOT ? pivot : some(f, i, 3)))
			depose_cut_both(event, event->holder,
					c->servers[i].node.process->host->index, false);
		if (!(f->how & DEPOSE_RESTART) ||
		    !(f->how & DEPOSE_RESTART_PIVOT ? pivot : some(f, i, 8)))
			continue;
		node_hold_down(&c->servers[i].node);
		node_kill_any(&c->servers[i].node, false);
		node_let_up(&c->servers[i].node);
	}
}

static void depose(struct cluster *c, struct fault_event *event, const struct fault *f)
{
	struct user *user = user_of_volume(c, f->target);
	unsigned taker = c->engines[f->other].node.process->host->index;

	if (!user)
		return;
	event->holder = user_host(user);
	event->pivot = pick_pivot(c, f);
	for (unsigned i = 0; f->how & DEPOSE_META && i < c->params.metads; i++)
		depose_cut_both(event, event->holder, c->metads[i].node.process->host->index,
				f->how & DEPOSE_ONE_WAY);
	for (unsigned i = 0; i < c->params.servers; i++) {
		unsigned server = c->servers[i].node.process->host->index;

		if (f->how & DEPOSE_SERVERS && some(f, i, 0))
			depose_cut_both(event, event->holder, server, f->how & DEPOSE_ONE_WAY);
		if (f->how & DEPOSE_TAKER && taker != event->holder &&
		    (f->how & DEPOSE_TAKER_PIVOT ? i != event->pivot : some(f, i, 11)))
			depose_cut_both(event, taker, server, false);
	}
	c->sim.totals.partitions++;
	take_over(c, f);
	event->second.run = depose_second;
	sim_schedule(&c->sim, &event->second, NULL, c->sim.now_ns + f->lasts_ns % (4 * NS_PER_S),
		     "second act");
}

static void depose_end(struct fault_event *event)
{
	sim_cancel(&event->cluster->sim, &event->second);
	while (event->link_count) {
		const uint8_t *link = event->links[--event->link_count];

		net_link_heal(event->cluster->sim.net, link[0], link[1]);
	}
}

/* ---- at a message ---- */

/* What the state of the protocol hangs on. */
static const enum msg_type turning_points[] = {
	MSG_SYNC,          MSG_SYNC_OK,  MSG_MEND_BEGIN, MSG_MEND_BEGIN_OK, MSG_MEND_END,
	MSG_MEND_END_OK,   MSG_COPY,     MSG_COPY_OK,    MSG_VERSIONS_OK,   MSG_INVALIDATE,
	MSG_INVALIDATE_OK, MSG_JOIN,     MSG_JOIN_OK,    MSG_CHANGE,        MSG_CHANGE_OK,
	MSG_LEASE,         MSG_LEASE_OK, MSG_CREATE,     MSG_CREATE_OK,     MSG_LIST,
	MSG_REPAIR_JOB,    MSG_DELETE,   MSG_REPAIR,     MSG_REPAIR_OK,     MSG_RELEASE,
	MSG_LEASE_RETURN,  MSG_ATTACH,   MSG_ATTACH_OK,  MSG_REPORT,        MSG_SESSION_OK,
};

enum at_message {
	AT_KILL_SENDER,
	AT_KILL_RECEIVER,
	AT_POWER_RECEIVER,
	AT_PAUSE_SENDER,
	AT_PAUSE_RECEIVER,
	AT_BREAK,
	AT_ACTIONS
};

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

static struct node *node_of(struct cluster *c, const struct sim_process *process)
{
	struct search s = {.process = process};

	each_node(c, find_visit, &s);
	return s.found;
}

static enum msg_type turning_point(const struct fault *f)
{
	return turning_points[f->how % ARRAY_SIZE(turning_points)];
}

static void fire_run(struct sim_event *event)
{
	struct fault_event *e = container_of(event, struct fault_event, fire);
	struct cluster *c = e->cluster;
	const struct fault *f = &c->params.faults[e->number];
	enum at_message action = f->how >> 8 & 7;

	if (f->kind == FAULT_AT_COMMIT)
		action = AT_KILL_SENDER;
	sim_trace(&c->sim, "fault %u %s: %s, %s, action %u", e->number, fault_name(f->kind),
		  e->sender->process->name, e->receiver ? e->receiver->process->name : "-", action);
	switch (action) {
	case AT_KILL_SENDER:
	case AT_PAUSE_SENDER:
		e->victim = e->sender;
		break;
	case AT_BREAK:
		c->sim.totals.breaks += net_break(c->sim.net, e->sender->process->host->index,
						  e->receiver->process->host->index, f->lasts_ns);
		break;
	default:
		e->victim = e->receiver;
		break;
	}
	e->active = true;
	if (!e->victim || !e->victim->process->running) {
		e->victim = NULL;
	} else if (action == AT_PAUSE_SENDER || action == AT_PAUSE_RECEIVER) {
		node_pause(e->victim);
	} else {
		node_hold_down(e->victim);
		node_kill_any(e->victim,
			      action == AT_POWER_RECEIVER && e->victim->process->name[0] == 'c');
	}
	sim_schedule(&c->sim, &e->end, NULL, c->sim.now_ns + f->lasts_ns, "fault ends");
}

static void fire_end(struct fault_event *e)
{
	unsigned action = e->cluster->params.faults[e->number].how >> 8 & 7;

	if (!e->victim)
		return;
	if (e->cluster->params.faults[e->number].kind == FAULT_AT_MESSAGE &&
	    (action == AT_PAUSE_SENDER || action == AT_PAUSE_RECEIVER))
		node_continue(e->victim);
	else
		node_let_up(e->victim);
	e->victim = NULL;
}

static void fire_soon(struct fault_event *e, struct node *sender, struct node *receiver)
{
	e->armed = false;
	e->sender = sender;
	e->receiver = receiver;
	e->fire.run = fire_run;
	/* Before or after the receiver has worked on it. */
	sim_schedule(&e->cluster->sim, &e->fire, NULL,
		     e->cluster->sim.now_ns +
			     (e->cluster->params.faults[e->number].how >> 12) * 40000,
		     "fault");
}

void faults_message(struct sim *sim, struct sim_process *from, struct sim_process *to,
		    unsigned msg_type)
{
	struct cluster *c = sim->context;

	for (uint32_t i = 0; i < c->params.fault_count; i++) {
		struct fault_event *e = &c->fault_events[i];

		if (!e->armed || c->params.faults[i].kind != FAULT_AT_MESSAGE ||
		    turning_point(&c->params.faults[i]) != msg_type)
			continue;
		if (!node_of(c, from) || !node_of(c, to))
			continue;
		fire_soon(e, node_of(c, from), node_of(c, to));
		return;
	}
}

void faults_commit(void *context)
{
	struct cluster *c = context;

	for (uint32_t i = 0; i < c->params.fault_count; i++) {
		struct fault_event *e = &c->fault_events[i];

		if (!e->armed || c->params.faults[i].kind != FAULT_AT_COMMIT)
			continue;
		fire_soon(e, &c->metads[c->active_metad].node, NULL);
		return;
	}
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
	case FAULT_LINGER:
		c->sim.totals.breaks += net_linger(net, f->target, f->other, f->lasts_ns);
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
	case FAULT_AT_MESSAGE:
	case FAULT_AT_COMMIT:
		c->fault_events[number].armed = true;
		break;
	case FAULT_RECREATE:
		operator_recreate(c, f->target, f->how & 1);
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
		depose_end(&c->fault_events[number]);
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
	case FAULT_AT_MESSAGE:
	case FAULT_AT_COMMIT:
		fire_end(&c->fault_events[number]);
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
	if (f->armed)
		f->active = false; /* begins when its time comes */
	else
		sim_schedule(&c->sim, &f->end, NULL,
			     c->sim.now_ns + c->params.faults[f->number].lasts_ns, "fault ends");
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
		sim_cancel(&c->sim, &f->fire);
		f->armed = false;
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
