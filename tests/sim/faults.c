/* faults.c - see faults.h: each fault, from its beginning to its end, and the schedule. */
#include "tests/sim/faults_private.h"
#include "tests/sim/operator.h"
#include "tests/sim/rest.h"
#include "tests/sim/users.h"

/* ---- one fault ---- */

/*
 * A disk may be replaced only while every chunk on it has another ACTIVE copy, on a disk that was not replaced and does not lie,
 * or is being deleted.
 */
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

static bool replace_disk_if_spare(struct cluster *c, unsigned server)
{
	if (!disk_is_spare(c, server))
		return false;
	node_kill_any(&c->servers[server].node, false);
	cluster_replace_disk(c, server);
	return true;
}

void server_replace_dead_disk(struct cluster *c, unsigned server)
{
	if (replace_disk_if_spare(c, server))
		node_start(&c->servers[server].node);
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
		replace_disk_if_spare(c, f->target);
		break;
	default:
		break;
	}
	c->sim.totals.disk_faults++;
}

void fault_take_over(struct cluster *c, const struct fault *f, unsigned engine)
{
	if (engine_may_attach(&c->engines[engine], f->target) && c->volumes[f->target].created)
		user_attach(c, engine, f->target, f->how % 4 != 0);
}

/* ---- at a message ---- */

/* The chunk server that a message is about, or any. */
static struct node *concerned(struct cluster *c, const struct fault_event *e, const struct fault *f)
{
	int server = e->cid ? cluster_server_of_cid(c, e->cid) : -1;

	if (server >= 0)
		return &c->servers[server].node;
	/* A DELETE: another one, so that the one that it goes to is wanted again. */
	if ((f->how & 127) == MSG_DELETE)
		return &c->servers[AT_OTHER(f->more) % c->params.servers].node;
	if (e->receiver && e->receiver->process->name[0] == 'c')
		return e->receiver;
	if (e->sender->process->name[0] == 'c')
		return e->sender;
	return &c->servers[AT_OTHER(f->more) % c->params.servers].node;
}

static void concerned_dies(struct sim_event *event)
{
	struct fault_event *e = container_of(event, struct fault_event, second);

	node_kill_and_restart(concerned(e->cluster, e, &e->cluster->params.faults[e->number]));
}

static void hold_back(struct cluster *c, struct fault_event *e, const struct fault *f, bool linger)
{
	if (!e->sender->process->running ||
	    !net_hold(c->sim.net, e->connection, e->sender->process, linger))
		return;
	sim_reach(&c->sim, REACHED_HELD_BACK);
	c->sim.totals.breaks++;
	fault_watch(e);
	if (f->more & AT_CONCERNED) {
		e->second.run = concerned_dies;
		sim_schedule(&c->sim, &e->second, NULL,
			     c->sim.now_ns + (50 * NS_PER_MS << (f->more >> 17 & 7)), "concerned");
	}
}

static void let_go(struct cluster *c, struct fault_event *e)
{
	if (!e->watching)
		return;
	fault_unwatch(e);
	net_release(c->sim.net, e->connection);
}

static void fire_run(struct sim_event *event)
{
	struct fault_event *e = container_of(event, struct fault_event, fire);
	struct cluster *c = e->cluster;
	const struct fault *f = &c->params.faults[e->number];
	enum at_message action = f->how >> 8 & 15;

	if (f->kind == FAULT_AT_COMMIT)
		action = AT_KILL_SENDER;
	sim_trace(&c->sim, "fault %u %s: %s, %s, action %u", e->number, fault_name(f->kind),
		  e->sender->process->name, e->receiver ? e->receiver->process->name : "-", action);
	e->active = true;
	sim_schedule(&c->sim, &e->end, NULL, c->sim.now_ns + f->lasts_ns, "fault ends");
	switch (action) {
	case AT_KILL_SENDER:
	case AT_POWER_SENDER:
		fault_hold_victim(e, e->sender, action == AT_POWER_SENDER);
		break;
	case AT_KILL_RECEIVER:
	case AT_POWER_RECEIVER:
		fault_hold_victim(e, e->receiver, action == AT_POWER_RECEIVER);
		break;
	case AT_KILL_BOTH:
		fault_hold_victim(e, e->sender, false);
		fault_hold_victim(e, e->receiver, false);
		break;
	case AT_KILL_SENDER_AND_OTHER:
		fault_hold_victim(e, e->sender, false);
		fault_hold_victim(e, &c->servers[AT_OTHER(f->more) % c->params.servers].node,
				  false);
		break;
	case AT_PAUSE_SENDER:
		fault_pause_victim(e, e->sender);
		break;
	case AT_PAUSE_RECEIVER:
		fault_pause_victim(e, e->receiver);
		break;
	case AT_BREAK:
		c->sim.totals.breaks += net_break(c->sim.net, e->sender->process->host->index,
						  e->receiver->process->host->index, f->lasts_ns);
		break;
	case AT_HOLD:
	case AT_LINGER:
		hold_back(c, e, f, action == AT_LINGER);
		break;
	case AT_ACTIONS:
		break;
	}
}

static void fire_end(struct cluster *c, struct fault_event *e)
{
	sim_cancel(&c->sim, &e->second);
	let_go(c, e);
	fault_victims_go_on(e);
}

static void disarm(struct fault_event *e)
{
	if (e->armed)
		e->cluster->listening--;
	e->armed = false;
}

static void fire_soon(struct fault_event *e, struct node *sender, struct node *receiver)
{
	const struct fault *f = &e->cluster->params.faults[e->number];

	disarm(e);
	e->sender = sender;
	e->receiver = receiver;
	e->fire.run = fire_run;
	/* Before or after the receiver has worked on it; what is to be held back must not have left. */
	sim_schedule(&e->cluster->sim, &e->fire, NULL,
		     e->cluster->sim.now_ns +
			     (f->kind == FAULT_AT_MESSAGE && (f->how >> 8 & 15) >= AT_HOLD
				      ? 0
				      : (f->how >> 12 & 15) * 40000),
		     "fault");
}

static void at_message(struct fault_event *e, const struct fault *f, const struct sim_message *m)
{
	struct cluster *c = e->cluster;

	if (e->watching && m->delivered && m->type == AT_RELEASE(f->more) && !e->second.heap_index)
		let_go(c, e);
	if (!e->armed || m->type != (f->how & 127) || m->delivered == AT_SENT(f->more) || m->waits)
		return;
	if (e->skip) {
		e->skip--;
		return;
	}
	e->connection = m->connection;
	e->cid = m->cid;
	fire_soon(e, node_of(c, m->from), node_of(c, m->to));
}

void faults_message(struct sim *sim, const struct sim_message *m)
{
	struct cluster *c = sim->context;

	for (uint32_t i = 0; c->listening && i < c->params.fault_count; i++) {
		struct fault_event *e = &c->fault_events[i];
		const struct fault *f = &c->params.faults[i];

		if (!m->to || !node_of(c, m->from) || !node_of(c, m->to))
			return;
		if (f->kind == FAULT_AT_MESSAGE && (e->armed || e->watching))
			at_message(e, f, m);
		else if (f->kind == FAULT_HEIRS && e->watching)
			heirs_message(e, f, m);
		else if (f->kind == FAULT_DEPOSE && e->watching)
			depose_message(e, f, m);
		else if (f->kind >= FAULT_MIXED_KINDS && e->watching)
			story_message(e, f, m);
	}
}

void faults_disk(struct sim *sim, const struct sim_process *process, uint64_t bytes)
{
	struct cluster *c = sim->context;

	for (uint32_t i = 0; c->listening && i < c->params.fault_count; i++) {
		struct fault_event *e = &c->fault_events[i];

		if (c->params.faults[i].kind == FAULT_AT_DISK && e->watching && bytes >= UNIT_BYTES)
			story_disk(e, &c->params.faults[i], process);
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
	if (begin_process(c, f))
		return;
	if (paused_node(c, f)) {
		node_pause(paused_node(c, f));
		return;
	}
	if (f->kind >= FAULT_MIXED_KINDS) {
		story(c, &c->fault_events[number], f);
		return;
	}
	switch (f->kind) {
	case FAULT_POWER_SERVER:
		host_power_off(c, host_of_server(c, f->target));
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
		fault_take_over(c, f, f->other);
		break;
	case FAULT_DEPOSE:
		depose(c, &c->fault_events[number], f);
		break;
	case FAULT_CHURN:
		c->fault_events[number].second.run = churn_on;
		churn_on(&c->fault_events[number].second);
		break;
	case FAULT_HEIRS:
		heirs(c, &c->fault_events[number], f);
		break;
	case FAULT_AT_MESSAGE:
	case FAULT_AT_COMMIT:
		c->fault_events[number].armed = true;
		c->fault_events[number].skip = AT_SKIP(f->more);
		c->listening++;
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
	if (f->kind >= FAULT_MIXED_KINDS) {
		story_end(&c->fault_events[number]);
		return;
	}
	switch (f->kind) {
	case FAULT_CRASH_SERVER:
	case FAULT_DISK_REPLACED:
		node_let_up(&c->servers[server].node);
		break;
	case FAULT_POWER_SERVER:
		host_power_on(c, host_of_server(c, server));
		break;
	case FAULT_CRASH_ENGINE:
		node_let_up(&c->engines[f->target].node);
		break;
	case FAULT_CRASH_META:
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
	case FAULT_CHURN:
		churn_end(&c->fault_events[number]);
		break;
	case FAULT_HEIRS:
		heirs_end(&c->fault_events[number]);
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
		fire_end(c, &c->fault_events[number]);
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
		disarm(f);
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
	node_each(c, back_to_normal, NULL);
	sim_trace(&c->sim, "all faults have ended");
}
