/*
 * faults_acts.c - faults of several acts: who has a volume is deposed, one server after another is down, holders die one after another.
 */
#include "tests/sim/faults_private.h"
#include "tests/sim/users.h"

/* ---- depose ---- */

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

void fault_cut(struct fault_event *event, unsigned from, unsigned to)
{
	if (from == to || event->link_count == ARRAY_SIZE(event->links))
		return;
	event->links[event->link_count][0] = (uint8_t)from;
	event->links[event->link_count++][1] = (uint8_t)to;
	net_link_cut(event->cluster->sim.net, from, to);
}

void fault_cut_both(struct fault_event *event, unsigned a, unsigned b, bool one_way)
{
	fault_cut(event, a, b);
	if (!one_way)
		fault_cut(event, b, a);
}

void fault_heal(struct fault_event *event, unsigned from, unsigned to)
{
	for (unsigned i = 0; i < event->link_count; i++) {
		if (event->links[i][0] != from || event->links[i][1] != to)
			continue;
		event->link_count--;
		event->links[i][0] = event->links[event->link_count][0];
		event->links[i][1] = event->links[event->link_count][1];
		net_link_heal(event->cluster->sim.net, from, to);
		return;
	}
}

void fault_heal_both(struct fault_event *event, unsigned a, unsigned b)
{
	fault_heal(event, a, b);
	fault_heal(event, b, a);
}

void fault_heal_links(struct fault_event *event)
{
	while (event->link_count) {
		const uint8_t *link = event->links[--event->link_count];

		net_link_heal(event->cluster->sim.net, link[0], link[1]);
	}
}

/* One of the volume's first two chunks, or of those that are written to now. */
const struct meta_chunk_row *fault_chunk(const struct cluster *c, const struct fault *f)
{
	uint64_t index = f->how >> 9 & 1;

	if (f->more & ACTS_HOT)
		index += users_hot_middle(c, f->target) / c->params.chunk_bytes - 1;
	return cluster_chunk(c, f->target, index);
}

/* A chunk server with a replica of that chunk; the one that reads prefer, or any. */
static unsigned pick_pivot(const struct cluster *c, const struct fault *f, bool reader)
{
	const struct meta_chunk_row *row = fault_chunk(c, f);
	int server = -1;

	if (row && row->replica_count) {
		uint64_t which = reader ? row->chunk : f->how >> 10 & 3;

		server = cluster_server_of_cid(c, row->replicas[which % row->replica_count].cid);
	}
	return server < 0 ? f->how % c->params.servers : (unsigned)server;
}

struct node *node_of_user(struct cluster *c, const struct user *user)
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

void fault_hold_victim(struct fault_event *event, struct node *n, bool power)
{
	if (!n->process->running)
		return;
	add_victim(event, n, false);
	node_hold_down(n);
	node_kill_any(n, power);
}

void fault_stop_victim(struct fault_event *event, struct node *n)
{
	if (!n->process->running)
		return;
	add_victim(event, n, false);
	node_hold_down(n);
	if (n->process->name[0] != 'c' || !cluster_stop_server(n->cluster, n->number))
		node_kill_any(n, false);
}

void fault_pause_victim(struct fault_event *event, struct node *n)
{
	if (!n->process->running)
		return;
	add_victim(event, n, true);
	node_pause(n);
}

void fault_victims_go_on(struct fault_event *event)
{
	while (event->victim_count) {
		struct node *n = event->victims[--event->victim_count].node;

		if (event->victims[event->victim_count].paused)
			node_continue(n);
		else
			node_let_up(n);
	}
}

void fault_watch(struct fault_event *event)
{
	event->watching = true;
	event->cluster->listening++;
}

void fault_unwatch(struct fault_event *event)
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
void fault_try_later(struct fault_event *event)
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

	fault_pause_victim(event, event->sender);
}

/* Only its own disk can tell the pivot from now on whom it has let in. */
static void depose_swap(struct fault_event *event)
{
	struct cluster *c = event->cluster;
	unsigned server = host_of_server(c, event->pivot);

	fault_heal_both(event, event->holder, server);
	fault_cut_both(event, host_of_engine(c, event->taker), server, false);
	for (unsigned i = 0; i < c->params.metads; i++)
		fault_cut_both(event, host_of_metad(c, i), server, false);
}

static void depose_second(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];

	if (f->more & DEPOSE_SWAP)
		depose_swap(event);
	for (unsigned i = 0; i < c->params.servers; i++) {
		bool pivot = i == event->pivot;

		if (f->how & DEPOSE_SECOND &&
		    (f->how & DEPOSE_SECOND_PIVOT ? pivot : some(f, i, 3)))
			fault_cut_both(event, event->holder, host_of_server(c, i), false);
		if (!(f->how & DEPOSE_RESTART) ||
		    !(f->how & DEPOSE_RESTART_PIVOT ? pivot : some(f, i, 8)))
			continue;
		if (f->how & DEPOSE_POWER) {
			host_power_off(c, host_of_server(c, i));
			host_power_on(c, host_of_server(c, i));
			continue;
		}
		node_hold_down(&c->servers[i].node);
		node_kill_any(&c->servers[i].node, false);
		node_let_up(&c->servers[i].node);
	}
}

void depose(struct cluster *c, struct fault_event *event, const struct fault *f)
{
	struct user *user = user_of_volume(c, f->target);
	unsigned taker;

	if (!user) {
		fault_try_later(event);
		return;
	}
	event->holder = user_host(user);
	event->taker = f->other;
	/* In a story it is another one. */
	if (f->more & (DEPOSE_SWAP | DEPOSE_IDLE) && host_of_engine(c, f->other) == event->holder)
		event->taker = (f->other + 1) % c->params.engines;
	taker = host_of_engine(c, event->taker);
	event->pivot = pick_pivot(c, f, f->how & DEPOSE_SLEEP);
	for (unsigned i = 0; f->how & DEPOSE_META && i < c->params.metads; i++)
		fault_cut_both(event, event->holder, host_of_metad(c, i), f->how & DEPOSE_ONE_WAY);
	for (unsigned i = 0; i < c->params.servers; i++) {
		unsigned server = host_of_server(c, i);

		if (f->how & DEPOSE_SERVERS && some(f, i, 0))
			fault_cut_both(event, event->holder, server, f->how & DEPOSE_ONE_WAY);
		if (f->how & DEPOSE_TAKER && taker != event->holder &&
		    (f->how & DEPOSE_TAKER_PIVOT ? i != event->pivot : some(f, i, 11)))
			fault_cut_both(event, taker, server, false);
	}
	c->sim.totals.partitions++;
	if (f->more & DEPOSE_SWAP)
		fault_cut_both(event, event->holder, host_of_server(c, event->pivot), false);
	if (f->more & DEPOSE_IDLE)
		user_idle(user,
			  c->sim.now_ns + 2500 * NS_PER_MS + f->lasts_ns % (3500 * NS_PER_MS));
	if (f->how & DEPOSE_SLEEP) {
		/* What it sends to the pivot now comes when it has been deposed. */
		fault_cut(event, event->holder, host_of_server(c, event->pivot));
		event->sender = node_of_user(c, user);
		event->fire.run = depose_sleep;
		sim_schedule(&c->sim, &event->fire, NULL,
			     c->sim.now_ns + (NS_PER_MS << 3 * (f->how >> 14 & 3)), "sleep");
	}
	fault_take_over(c, f, event->taker);
	event->second.run = depose_second;
	if (f->more & 127)
		fault_watch(event);
	else
		sim_schedule(&c->sim, &event->second, NULL,
			     c->sim.now_ns + f->lasts_ns % (8 * NS_PER_S), "second act");
}

void depose_end(struct fault_event *event)
{
	sim_cancel(&event->cluster->sim, &event->second);
	sim_cancel(&event->cluster->sim, &event->fire);
	fault_unwatch(event);
	fault_heal_links(event);
	fault_victims_go_on(event);
}

void depose_message(struct fault_event *event, const struct fault *f, const struct sim_message *m)
{
	struct cluster *c = event->cluster;
	const struct sim_process *taker = c->engines[event->taker].node.process;

	if (m->type != (f->more & 127) || m->delivered == (f->more >> 7 & 1) || m->waits ||
	    (m->from != taker && m->to != taker))
		return;
	fault_unwatch(event);
	/* At once, or up to a second later. */
	sim_schedule(&c->sim, &event->second, NULL,
		     c->sim.now_ns +
			     (f->lasts_ns % 3 ? f->lasts_ns % 16 * 40000 : f->lasts_ns % NS_PER_S),
		     "second act");
}

/* ---- churn ---- */

/* One after another: who has been down comes back and is filled again, as the next one goes. */
void churn_on(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];
	struct node *n;

	fault_victims_go_on(event);
	n = &c->servers[(f->target + event->skip++) % c->params.servers].node;
	if (f->how & 2)
		fault_stop_victim(event, n);
	else
		fault_hold_victim(event, n, f->how & 1);
	sim_schedule(&c->sim, &event->second, NULL,
		     c->sim.now_ns + (1500 + f->how % 4096) * NS_PER_MS, "churn");
}

void churn_end(struct fault_event *event)
{
	sim_cancel(&event->cluster->sim, &event->second);
	fault_victims_go_on(event);
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
		net_host_slow(c->sim.net, host_of_server(c, slow), times);
}

/* Until promises have ended, replicas were evicted, and what is left is level: the fault lasts as long as that takes. */
static void heirs_take_time(struct fault_event *event, const struct fault *f)
{
	struct sim *sim = &event->cluster->sim;

	sim_cancel(sim, &event->end);
	sim_schedule(sim, &event->end, NULL,
		     sim->now_ns + 8 * NS_PER_S + f->lasts_ns % (4 * NS_PER_S), "fault ends");
}

static void heirs_second(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];
	struct node *holder = event->sender;
	unsigned taker = f->other;

	sim_trace(&c->sim, "fault %u heirs: second act", event->number);
	fault_unwatch(event);
	event->second_done = true;
	event->receiver = NULL;
	heirs_slow(event, f, 20 + f->how % 64);
	if (f->how & HEIRS_PAUSE)
		fault_pause_victim(event, holder);
	else
		fault_hold_victim(event, holder, !(f->how & HEIRS_STAYS_CUT));
	if (f->how & HEIRS_PIVOT_FIRST)
		fault_hold_victim(event, &c->servers[event->pivot].node, false);
	/* What it had sent into the cut links is lost with it, or late. */
	if (!(f->how & (HEIRS_STAYS_CUT | HEIRS_PAUSE)))
		fault_heal_links(event);
	if (c->params.engines == 1)
		fault_victims_go_on(event);
	else if (taker == holder->number)
		taker = (taker + 1) % c->params.engines;
	if (f->how & HEIRS_DISK) {
		event->dead_disk = 1 + (event->pivot + 1) % c->params.servers;
		sim_disk_fail_writes(c->servers[event->dead_disk - 1].disk, true);
	}
	if (engine_may_attach(&c->engines[taker], f->target) && c->volumes[f->target].created)
		user_attach(c, taker, f->target, true);
	if (f->more & HEIRS_ROLL)
		heirs_take_time(event, f);
	fault_watch(event);
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

/* The last heir comes at once. */
static void heirs_last(struct fault_event *event, const struct fault *f)
{
	struct cluster *c = event->cluster;

	heirs_take_time(event, f);
	for (unsigned i = 0; i < c->params.engines; i++) {
		struct sim_engine *e = &c->engines[(f->other + 1 + i) % c->params.engines];

		if (!engine_may_attach(e, f->target) || !c->volumes[f->target].created)
			continue;
		user_attach(c, e->node.number, f->target, true);
		break;
	}
}

static void heirs_third(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, fire);
	struct cluster *c = event->cluster;
	const struct fault *f = &c->params.faults[event->number];
	struct node *heir = event->sender;

	sim_trace(&c->sim, "fault %u heirs: third act", event->number);
	if (c->params.engines > 2)
		fault_hold_victim(event, heir, f->how & HEIRS_POWER);
	else
		node_kill_and_restart(heir);
	if (f->how & HEIRS_PIVOT_LAST)
		fault_hold_victim(event, &c->servers[event->pivot].node, false);
	disk_lives(event);
	heirs_slow(event, f, 1);
	if (f->more & HEIRS_ROLL)
		heirs_last(event, f);
	for (unsigned i = 0; f->how & HEIRS_POWER && i < c->params.servers; i++) {
		unsigned host = host_of_server(c, i);

		if (i == event->pivot || !some(f, i, 5))
			continue;
		host_power_off(c, host);
		host_power_on(c, host);
	}
}

void heirs(struct cluster *c, struct fault_event *event, const struct fault *f)
{
	struct user *user = user_of_volume(c, f->target);
	uint64_t window_ns = (10 * NS_PER_MS << (f->how >> 13 & 7)) +
			     f->lasts_ns % (10 * NS_PER_MS << (f->how >> 13 & 7));

	if (!user || user_paused(user)) {
		fault_try_later(event);
		return;
	}
	event->sender = node_of_user(c, user);
	event->pivot = pick_pivot(c, f, f->how & HEIRS_READER);
	for (unsigned i = 0; i < c->params.servers; i++) {
		if (f->how & HEIRS_SOME ? some(f, i, 0) : i != event->pivot)
			fault_cut_both(event, user_host(user), host_of_server(c, i),
				       f->how & HEIRS_ONE_WAY);
	}
	c->sim.totals.partitions++;
	event->second.run = heirs_second;
	event->fire.run = heirs_third;
	/* When so many writes have come to the pivot, or by time: from 10 ms to 2.5 s. */
	if (f->lasts_ns & 1) {
		fault_watch(event);
		event->skip = f->how >> 13 & 7;
		window_ns = 3 * NS_PER_S;
	}
	sim_schedule(&c->sim, &event->second, NULL, c->sim.now_ns + window_ns, "second act");
}

void heirs_end(struct fault_event *event)
{
	struct cluster *c = event->cluster;

	sim_cancel(&c->sim, &event->second);
	sim_cancel(&c->sim, &event->fire);
	fault_unwatch(event);
	disk_lives(event);
	if (event->second_done)
		heirs_slow(event, &c->params.faults[event->number], 1);
	fault_heal_links(event);
	fault_victims_go_on(event);
}

/*
 * To the first that is sent a unit to be made level by, or to all others, the heir's link fails now: one gets further than another one. True
 * if this message goes to one that gets on.
 */
static bool heirs_ahead(struct fault_event *event, const struct fault *f,
			const struct sim_message *m)
{
	struct cluster *c = event->cluster;
	bool first_is_ahead = (f->how >> 16 & 3) == 0, first;

	if (!m->rolls)
		return false;
	first = !event->receiver || event->receiver->process == m->to;
	for (unsigned i = 0; !event->receiver && i < c->params.servers; i++) {
		const struct sim_process *p = c->servers[i].node.process;

		if (first_is_ahead ? p != m->to && i != event->pivot : p == m->to)
			fault_cut(event, m->from->host->index, p->host->index);
	}
	if (!event->receiver)
		event->receiver = node_of(c, m->to);
	return first == first_is_ahead;
}

void heirs_message(struct fault_event *event, const struct fault *f, const struct sim_message *m)
{
	struct cluster *c = event->cluster;
	const struct sim_process *engine = m->from->name[0] == 'e' ? m->from : m->to;

	if (!event->second_done) {
		if (m->type != MSG_WRITE || !m->delivered || m->from != event->sender->process ||
		    m->to != c->servers[event->pivot].node.process || event->skip--)
			return;
		fault_unwatch(event);
		sim_schedule(&c->sim, &event->second, NULL,
			     c->sim.now_ns + f->lasts_ns % 32 * 50000, "second act");
		return;
	}
	if (!m->delivered || m->waits || m->type != (f->more & 127) || engine->name[0] != 'e' ||
	    (c->params.engines > 1 && engine == event->sender->process))
		return;
	if (f->more & HEIRS_ROLL && !heirs_ahead(event, f, m))
		return;
	if (event->skip) {
		event->skip--;
		return;
	}
	fault_unwatch(event);
	event->sender = node_of(c, engine);
	sim_schedule(&c->sim, &event->fire, NULL, c->sim.now_ns + f->lasts_ns % 16 * 40000,
		     "third act");
}
