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

/* It dies and something starts it again: soon, or some seconds later. */
static void node_kill_and_restart(struct node *n)
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

/* A chunk server with a replica of the volume's first or second chunk; the one that reads prefer, or any. */
static unsigned pick_pivot(const struct cluster *c, const struct fault *f, bool reader)
{
	const struct meta_chunk_row *row = cluster_chunk(c, f->target, f->how >> 9 & 1);
	int server = -1;

	if (row && row->replica_count) {
		uint64_t which = reader ? row->chunk : f->how >> 10 & 3;

		server = cluster_server_of_cid(c, row->replicas[which % row->replica_count].cid);
	}
	return server < 0 ? f->how % c->params.servers : (unsigned)server;
}

static struct node *node_of_user(struct cluster *c, const struct user *user)
{
	for (unsigned i = 0; i < c->params.engines; i++) {
		for (unsigned v = 0; v < SIM_VOLUMES_MAX; v++) {
			if (c->engines[i].users[v] == user)
				return &c->engines[i].node;
		}
	}
	return NULL;
}

static void add_victim(struct fault_event *event, struct node *n, bool paused)
{
	if (event->victim_count == ARRAY_SIZE(event->victims) || !n->process->running)
		return;
	event->victims[event->victim_count].paused = paused;
	event->victims[event->victim_count++].node = n;
}

/* Down until the fault ends. */
static void hold_victim(struct fault_event *event, struct node *n, bool power)
{
	if (!n->process->running)
		return;
	add_victim(event, n, false);
	node_hold_down(n);
	node_kill_any(n, power);
}

static void pause_victim(struct fault_event *event, struct node *n)
{
	if (!n->process->running)
		return;
	add_victim(event, n, true);
	node_pause(n);
}

static void victims_go_on(struct fault_event *event)
{
	while (event->victim_count) {
		struct node *n = event->victims[--event->victim_count].node;

		if (event->victims[event->victim_count].paused)
			node_continue(n);
		else
			node_let_up(n);
	}
}

static void watch(struct fault_event *event)
{
	event->watching = true;
	event->cluster->listening++;
}

static void unwatch(struct fault_event *event)
{
	if (event->watching)
		event->cluster->listening--;
	event->watching = false;
}

static void try_again(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	struct cluster *c = event->cluster;

	sim_cancel(&c->sim, &event->end);
	fault_begin(c, event->number);
	sim_schedule(&c->sim, &event->end, NULL,
		     c->sim.now_ns + c->params.faults[event->number].lasts_ns, "fault ends");
}

/* Nobody has the volume: the fault begins when somebody does. */
static void try_later(struct fault_event *event)
{
	if (event->retries++ > 100)
		return;
	event->second.run = try_again;
	event->cluster->sim.totals.faults--; /* it is counted when it begins */
	sim_schedule(&event->cluster->sim, &event->second, NULL,
		     event->cluster->sim.now_ns + 200 * NS_PER_MS, "fault");
}

static void depose_sleep(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, fire);

	pause_victim(event, event->sender);
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
		if (f->how & DEPOSE_POWER) {
			host_power_off(c, c->servers[i].node.process->host->index);
			host_power_on(c, c->servers[i].node.process->host->index);
			continue;
		}
		node_hold_down(&c->servers[i].node);
		node_kill_any(&c->servers[i].node, false);
		node_let_up(&c->servers[i].node);
	}
}

static void depose(struct cluster *c, struct fault_event *event, const struct fault *f)
{
	struct user *user = user_of_volume(c, f->target);
	unsigned taker = c->engines[f->other].node.process->host->index;

	if (!user) {
		try_later(event);
		return;
	}
	event->holder = user_host(user);
	event->pivot = pick_pivot(c, f, f->how & DEPOSE_SLEEP);
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
	if (f->how & DEPOSE_SLEEP) {
		/* What it sends to the pivot now comes when it has been deposed. */
		depose_cut(event, event->holder,
			   c->servers[event->pivot].node.process->host->index);
		event->sender = node_of_user(c, user);
		event->fire.run = depose_sleep;
		sim_schedule(&c->sim, &event->fire, NULL,
			     c->sim.now_ns + (NS_PER_MS << 3 * (f->how >> 14 & 3)), "sleep");
	}
	take_over(c, f);
	event->second.run = depose_second;
	if (f->more & 127)
		watch(event);
	else
		sim_schedule(&c->sim, &event->second, NULL,
			     c->sim.now_ns + f->lasts_ns % (8 * NS_PER_S), "second act");
}

static void heal_links(struct fault_event *event)
{
	while (event->link_count) {
		const uint8_t *link = event->links[--event->link_count];

		net_link_heal(event->cluster->sim.net, link[0], link[1]);
	}
}

static void depose_end(struct fault_event *event)
{
	sim_cancel(&event->cluster->sim, &event->second);
	sim_cancel(&event->cluster->sim, &event->fire);
	unwatch(event);
	heal_links(event);
	victims_go_on(event);
}

static void depose_message(struct fault_event *event, const struct fault *f,
			   const struct sim_message *m)
{
	struct cluster *c = event->cluster;
	const struct sim_process *taker = c->engines[f->other].node.process;

	if (m->type != (f->more & 127) || m->delivered == (f->more >> 7 & 1) || m->waits ||
	    (m->from != taker && m->to != taker))
		return;
	unwatch(event);
	/* At once, or up to a second later. */
	sim_schedule(&c->sim, &event->second, NULL,
		     c->sim.now_ns +
			     (f->lasts_ns % 3 ? f->lasts_ns % 16 * 40000 : f->lasts_ns % NS_PER_S),
		     "second act");
}

/* ---- churn ---- */

/* One after another: who has been down comes back and is filled again, as the next one goes. */
static void churn_on(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];

	victims_go_on(event);
	hold_victim(event, &c->servers[(f->target + event->skip++) % c->params.servers].node,
		    f->how & 1);
	sim_schedule(&c->sim, &event->second, NULL,
		     c->sim.now_ns + (1500 + f->how % 4096) * NS_PER_MS, "churn");
}

static void churn_end(struct fault_event *event)
{
	sim_cancel(&event->cluster->sim, &event->second);
	victims_go_on(event);
}

/* ---- heirs ---- */

/*
 * HEIRS: holders of a volume die one after another, each as it matters most to the next. First act: the holder reaches only one replica of
 * a chunk, the pivot, or some; what it writes is there alone. Second act: it dies, or stands still, perhaps the pivot with it, and
 * another engine takes the volume. Third act: as a message about making replicas level comes to or from an engine, that
 * one dies, perhaps the pivot with it, and perhaps the others lose power. Whoever is left goes on.
 */
static void heirs_slow(struct fault_event *event, const struct fault *f, uint32_t times)
{
	struct cluster *c = event->cluster;
	unsigned slow = (event->pivot + 1) % c->params.servers;

	if (HEIRS_SLOW(f->more))
		net_host_slow(c->sim.net, c->servers[slow].node.process->host->index, times);
}

static void heirs_second(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];
	struct node *holder = event->sender;
	unsigned taker = f->other;

	sim_trace(&c->sim, "fault %u heirs: second act", event->number);
	unwatch(event);
	event->second_done = true;
	heirs_slow(event, f, 20 + f->how % 64);
	if (f->how & HEIRS_PAUSE)
		pause_victim(event, holder);
	else
		hold_victim(event, holder, !(f->how & HEIRS_STAYS_CUT));
	if (f->how & HEIRS_PIVOT_FIRST)
		hold_victim(event, &c->servers[event->pivot].node, false);
	/* What it had sent into the cut links is lost with it, or late. */
	if (!(f->how & (HEIRS_STAYS_CUT | HEIRS_PAUSE)))
		heal_links(event);
	if (c->params.engines == 1)
		victims_go_on(event);
	else if (taker == holder->number)
		taker = (taker + 1) % c->params.engines;
	if (f->how & HEIRS_DISK) {
		event->dead_disk = 1 + (event->pivot + 1) % c->params.servers;
		sim_disk_fail_writes(c->servers[event->dead_disk - 1].disk, true);
	}
	if (c->engines[taker].engine && !c->engines[taker].stopping &&
	    !c->engines[taker].node.process->paused && !c->engines[taker].users[f->target] &&
	    c->volumes[f->target].created)
		user_attach(c, taker, f->target, true);
	watch(event);
	event->skip = f->more >> 8 & 7;
}

/* A chunk server whose disk has failed ends it for good: it needs a new start. */
static void disk_lives(struct fault_event *event)
{
	struct sim_server *s;

	if (!event->dead_disk)
		return;
	s = &event->cluster->servers[event->dead_disk - 1];
	event->dead_disk = 0;
	sim_disk_fail_writes(s->disk, false);
	node_kill_and_restart(&s->node);
}

static void heirs_third(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, fire);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];
	struct node *heir = event->sender;

	sim_trace(&c->sim, "fault %u heirs: third act", event->number);
	if (c->params.engines > 2)
		hold_victim(event, heir, f->how & HEIRS_POWER);
	else
		node_kill_and_restart(heir);
	if (f->how & HEIRS_PIVOT_LAST)
		hold_victim(event, &c->servers[event->pivot].node, false);
	disk_lives(event);
	heirs_slow(event, f, 1);
	for (unsigned i = 0; f->how & HEIRS_POWER && i < c->params.servers; i++) {
		unsigned host = c->servers[i].node.process->host->index;

		if (i == event->pivot || !some(f, i, 5))
			continue;
		host_power_off(c, host);
		host_power_on(c, host);
	}
}

static void heirs(struct cluster *c, struct fault_event *event, const struct fault *f)
{
	struct user *user = user_of_volume(c, f->target);
	uint64_t window_ns = (10 * NS_PER_MS << (f->how >> 13 & 7)) +
			     f->lasts_ns % (10 * NS_PER_MS << (f->how >> 13 & 7));

	if (!user || user_paused(user)) {
		try_later(event);
		return;
	}
	event->sender = node_of_user(c, user);
	event->pivot = pick_pivot(c, f, f->how & HEIRS_READER);
	for (unsigned i = 0; i < c->params.servers; i++) {
		if (f->how & HEIRS_SOME ? some(f, i, 0) : i != event->pivot)
			depose_cut_both(event, user_host(user),
					c->servers[i].node.process->host->index,
					f->how & HEIRS_ONE_WAY);
	}
	c->sim.totals.partitions++;
	event->second.run = heirs_second;
	event->fire.run = heirs_third;
	/* When so many writes have come to the pivot, or by time: from 10 ms to 2.5 s. */
	if (f->lasts_ns & 1) {
		watch(event);
		event->skip = f->how >> 13 & 7;
		window_ns = 3 * NS_PER_S;
	}
	sim_schedule(&c->sim, &event->second, NULL, c->sim.now_ns + window_ns, "second act");
}

static void heirs_end(struct fault_event *event)
{
	struct cluster *c = event->cluster;

	sim_cancel(&c->sim, &event->second);
	sim_cancel(&c->sim, &event->fire);
	unwatch(event);
	disk_lives(event);
	if (event->second_done)
		heirs_slow(event, &c->params.faults[event->number], 1);
	heal_links(event);
	victims_go_on(event);
}

static void heirs_message(struct fault_event *event, const struct fault *f,
			  const struct sim_message *m)
{
	struct cluster *c = event->cluster;
	const struct sim_process *engine = m->from->name[0] == 'e' ? m->from : m->to;

	if (!event->second_done) {
		if (m->type != MSG_WRITE || !m->delivered || m->from != event->sender->process ||
		    m->to != c->servers[event->pivot].node.process || event->skip--)
			return;
		unwatch(event);
		sim_schedule(&c->sim, &event->second, NULL,
			     c->sim.now_ns + f->lasts_ns % 32 * 50000, "second act");
		return;
	}
	if (!m->delivered || m->waits || m->type != (f->more & 127) || engine->name[0] != 'e' ||
	    (c->params.engines > 1 && engine == event->sender->process))
		return;
	if (event->skip) {
		event->skip--;
		return;
	}
	unwatch(event);
	event->sender = node_of(c, engine);
	sim_schedule(&c->sim, &event->fire, NULL, c->sim.now_ns + f->lasts_ns % 16 * 40000,
		     "third act");
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
	watch(e);
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
	unwatch(e);
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
		hold_victim(e, e->sender, action == AT_POWER_SENDER);
		break;
	case AT_KILL_RECEIVER:
	case AT_POWER_RECEIVER:
		hold_victim(e, e->receiver, action == AT_POWER_RECEIVER);
		break;
	case AT_KILL_BOTH:
		hold_victim(e, e->sender, false);
		hold_victim(e, e->receiver, false);
		break;
	case AT_KILL_SENDER_AND_OTHER:
		hold_victim(e, e->sender, false);
		hold_victim(e, &c->servers[AT_OTHER(f->more) % c->params.servers].node, false);
		break;
	case AT_PAUSE_SENDER:
		pause_victim(e, e->sender);
		break;
	case AT_PAUSE_RECEIVER:
		pause_victim(e, e->receiver);
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
	victims_go_on(e);
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
	each_node(c, back_to_normal, NULL);
	sim_trace(&c->sim, "all faults have ended");
}
