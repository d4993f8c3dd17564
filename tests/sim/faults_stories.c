/*
 * faults_stories.c - faults of several acts that are drawn alone (params_stories.c). Each makes two things happen that are rare by themselves in
 * an order that matters: something is late, and the cluster has gone on meanwhile. `act` counts what has happened.
 *
 * ECHO: the holder is cut off from metad, another engine takes its volume and reaches no chunk server yet. Then what chunk servers say to the
 * former holder waits; then what it says to them does, too, and the new one reaches them; then what waited arrives.
 *
 * BEHIND: the holder does not hear from metad, and another engine takes its volume. A replica goes down. What the former holder asks of
 * metad about that is late: it arrives when the new holder has had an answer, or seconds later.
 *
 * RETURNS: a chunk server is down until its replacement is on its way, and comes back then; who is being filled may stand still meanwhile.
 *
 * UNWANTED: a chunk server is down until it has been replaced. What it has is garbage then. The DELETE is late; another replica goes down meanwhile, and the
 * garbage is wanted again. Then the DELETE arrives.
 *
 * ANEW: the holder is cut off from metad for longer than its session lasts; its volume is deleted and created anew under its name while a replica
 * of the old one may be away; the holder is back before anybody attaches the new one.
 *
 * AT_DISK: a machine loses power, or a process dies, while its disk has a large write under way, several times; fsck looks at what is left.
 */
#include "tests/sim/faults_private.h"
#include "tests/sim/operator.h"
#include "tests/sim/rest.h"
#include "tests/sim/users.h"

#define LOOK_NS (20 * NS_PER_MS)
/* So often at most a disk's machine loses power in one fault. */
#define CUTS_MAX 8

static unsigned host_of(const struct node *n)
{
	return n->process->host->index;
}

static const struct fault *fault_of(const struct fault_event *event)
{
	return &event->cluster->params.faults[event->number];
}

/* What comes next in this act, later. */
static void next_act(struct fault_event *event, unsigned act, uint64_t delay_ns)
{
	struct sim *sim = &event->cluster->sim;

	event->act = act;
	sim_schedule(sim, &event->second, NULL, sim->now_ns + delay_ns, "act");
}

/* ---- parts ---- */

static void cut_metads(struct fault_event *event, bool to_them, bool from_them)
{
	struct cluster *c = event->cluster;

	for (unsigned i = 0; i < c->params.metads; i++) {
		if (to_them)
			fault_cut(event, event->holder, host_of_metad(c, i));
		if (from_them)
			fault_cut(event, host_of_metad(c, i), event->holder);
	}
	c->sim.totals.partitions++;
}

static void heal_metads(struct fault_event *event)
{
	for (unsigned i = 0; i < event->cluster->params.metads; i++)
		fault_heal_both(event, event->holder, host_of_metad(event->cluster, i));
}

/* Another engine than the holder's. False: there is none that could take the volume. */
static bool take(struct fault_event *event, const struct fault *f)
{
	struct cluster *c = event->cluster;

	for (unsigned i = 0; i < c->params.engines; i++) {
		struct sim_engine *e = &c->engines[(f->other + i) % c->params.engines];

		if (host_of(&e->node) == event->holder || !engine_may_attach(e, f->target))
			continue;
		event->receiver = &e->node;
		user_attach(c, e->node.number, f->target, true);
		return true;
	}
	return false;
}

/* One of the chunk's replicas that is up, but for `but`; -1: none. The bits of `how` from `shift` on say which. */
static int pick_replica(const struct fault_event *event, const struct fault *f, unsigned shift,
			int but)
{
	const struct cluster *c = event->cluster;
	const struct meta_chunk_row *row = sim_rows_chunk(c->rows, event->chunk);

	for (uint32_t i = 0; row && i < row->replica_count; i++) {
		uint32_t at = ((f->how >> shift & 7) + i) % row->replica_count;
		int server = cluster_server_of_cid(c, row->replicas[at].cid);

		if (server >= 0 && server != but && c->servers[server].node.process->running)
			return server;
	}
	return -1;
}

/* The chunk's list is whole without the pivot, or has it. */
static bool list_is(const struct fault_event *event, const struct fault *f, bool there)
{
	const struct cluster *c = event->cluster;
	const struct meta_chunk_row *row = sim_rows_chunk(c->rows, event->chunk);
	uint32_t active = 0;
	bool found = false;

	if (!row)
		return false;
	for (uint32_t i = 0; i < row->replica_count; i++) {
		active += row->replicas[i].state == REPLICA_ACTIVE;
		found |= cluster_server_of_cid(c, row->replicas[i].cid) == (int)event->pivot;
	}
	return there ? found : !found && active >= c->params.volume[f->target].replicas;
}

/* A replica of the chunk, the pivot, goes down. False: there is none now, and the fault begins later. */
static bool pivot_goes_down(struct fault_event *event, const struct fault *f)
{
	int server = pick_replica(event, f, 3, -1);

	if (server < 0) {
		fault_try_later(event);
		return false;
	}
	event->pivot = (unsigned)server;
	fault_hold_victim(event, &event->cluster->servers[server].node, f->how & STORY_POWER);
	return true;
}

static void victim_returns(struct fault_event *event, struct node *n)
{
	for (unsigned i = 0; i < event->victim_count; i++) {
		if (event->victims[i].node != n || event->victims[i].paused)
			continue;
		event->victims[i] = event->victims[--event->victim_count];
		node_let_up(n);
		return;
	}
}

/* ---- what is said to the former holder is late ---- */

static void echo_servers(struct fault_event *event,
			 void (*link)(struct fault_event *, unsigned, unsigned), bool to_holder)
{
	struct cluster *c = event->cluster;

	for (unsigned i = 0; i < c->params.servers; i++) {
		unsigned server = host_of_server(c, i);

		link(event, to_holder ? server : event->holder, to_holder ? event->holder : server);
	}
}

static void echo_taker(struct fault_event *event, bool cut)
{
	struct cluster *c = event->cluster;

	for (unsigned i = 0; i < c->params.servers; i++) {
		unsigned server = host_of_server(c, i), taker = host_of(event->receiver);

		if (cut)
			fault_cut_both(event, taker, server, false);
		else
			fault_heal_both(event, taker, server);
	}
}

static void echo_begin(struct fault_event *event, const struct fault *f)
{
	if (!take(event, f))
		return;
	cut_metads(event, true, true);
	echo_taker(event, true);
	fault_watch(event);
}

static void echo_act(struct fault_event *event, const struct fault *f)
{
	switch (event->act) {
	case 1:
		echo_servers(event, fault_cut, true);
		next_act(event, 2, (1 + STORY_SPAN(f->how, 1)) * 25 * NS_PER_MS);
		break;
	case 2:
		echo_servers(event, fault_cut, false);
		echo_taker(event, false);
		next_act(event, 3, (1 + STORY_SPAN(f->how, 2)) * 70 * NS_PER_MS);
		break;
	default:
		echo_servers(event, fault_heal, true);
		break;
	}
}

static void echo_message(struct fault_event *event, const struct fault *f,
			 const struct sim_message *m)
{
	if (m->type != MSG_LEASE_OK || !m->delivered || m->to != event->receiver->process)
		return;
	fault_unwatch(event);
	next_act(event, 1, STORY_SPAN(f->how, 0) * 20 * NS_PER_MS);
}

/* ---- what the former holder has asked is late ---- */

static void behind_begin(struct fault_event *event, const struct fault *f)
{
	int server = pick_replica(event, f, 3, -1);

	if (server < 0 || !take(event, f))
		return;
	event->pivot = (unsigned)server;
	cut_metads(event, false, true);
	fault_watch(event);
	next_act(event, 1, STORY_SPAN(f->how, 0) * 50 * NS_PER_MS);
}

static void behind_release(struct fault_event *event)
{
	if (!event->connection)
		return;
	net_release(event->cluster->sim.net, event->connection);
	event->connection = 0;
	fault_unwatch(event);
}

static void behind_act(struct fault_event *event, const struct fault *f)
{
	struct cluster *c = event->cluster;

	switch (event->act) {
	case 1:
		fault_hold_victim(event, &c->servers[event->pivot].node, f->how & STORY_POWER);
		break;
	case 2: /* its CHANGE has just been sent */
		if (!event->sender->process->running ||
		    !net_hold(c->sim.net, event->connection, event->sender->process, false)) {
			event->connection = 0;
			break;
		}
		sim_reach(&c->sim, REACHED_HELD_BACK);
		next_act(event, 3, (4 + STORY_SPAN(f->how, 1) / 4) * NS_PER_S);
		break;
	default:
		behind_release(event);
		break;
	}
}

static void behind_message(struct fault_event *event, const struct fault *f,
			   const struct sim_message *m)
{
	if (!event->connection) {
		if (m->type != MSG_CHANGE || m->delivered || m->from != event->sender->process)
			return;
		event->connection = m->connection;
		next_act(event, 2, 0);
	} else if (m->type == MSG_CHANGE_OK && m->delivered && m->to == event->receiver->process &&
		   event->act == 3) {
		next_act(event, 3, f->how >> 6 & 1 ? 0 : STORY_SPAN(f->how, 2) * NS_PER_MS);
	}
}

/* ---- who was replaced is back ---- */

static void returns_begin(struct fault_event *event, const struct fault *f)
{
	if (!pivot_goes_down(event, f))
		return;
	/* At the first message to who is being filled, or at one that comes later. */
	event->skip = STORY_SPAN(f->how, 0) < 16 ? 0 : STORY_SPAN(f->how, 0) - 16;
	fault_watch(event);
}

static void returns_act(struct fault_event *event, const struct fault *f)
{
	struct cluster *c = event->cluster;

	if (event->act == 1) {
		victim_returns(event, &c->servers[event->pivot].node);
		if (!(f->how & STORY_OTHER) || event->sender->process->name[0] != 'c')
			return;
		fault_pause_victim(event, event->sender);
		next_act(event, 2, (1 + STORY_SPAN(f->how, 1)) * 80 * NS_PER_MS);
	} else {
		fault_victims_go_on(event);
	}
}

static void returns_message(struct fault_event *event, const struct fault *f,
			    const struct sim_message *m)
{
	(void)f;
	if (!m->delivered || m->to == event->cluster->servers[event->pivot].node.process ||
	    (m->type != MSG_INVALIDATE && m->type != MSG_JOIN && m->type != MSG_COPY))
		return;
	if (event->skip) {
		event->skip--;
		return;
	}
	event->sender = node_of(event->cluster, m->to);
	fault_unwatch(event);
	next_act(event, 1, 0);
}

/* ---- garbage that is wanted again ---- */

static void unwanted_begin(struct fault_event *event, const struct fault *f)
{
	if (pivot_goes_down(event, f))
		next_act(event, 1, LOOK_NS);
}

static void unwanted_links(struct fault_event *event,
			   void (*link)(struct fault_event *, unsigned, unsigned))
{
	struct cluster *c = event->cluster;

	for (unsigned i = 0; i < c->params.metads; i++)
		link(event, host_of_metad(c, i), host_of_server(c, event->pivot));
}

static void unwanted_act(struct fault_event *event, const struct fault *f)
{
	struct cluster *c = event->cluster;
	int other;

	switch (event->act) {
	case 1:
		if (!list_is(event, f, false)) {
			next_act(event, 1, LOOK_NS);
			break;
		}
		victim_returns(event, &c->servers[event->pivot].node);
		fault_watch(event);
		event->act = 2;
		break;
	case 2: /* DELETE has just been sent */
		unwanted_links(event, fault_cut);
		other = pick_replica(event, f, 6, (int)event->pivot);
		if (other >= 0)
			fault_hold_victim(event, &c->servers[other].node, false);
		next_act(event, 3, LOOK_NS);
		break;
	case 3:
		if (list_is(event, f, true))
			next_act(event, 4, STORY_SPAN(f->how, 0) * 30 * NS_PER_MS);
		else
			next_act(event, 3, LOOK_NS);
		break;
	default:
		unwanted_links(event, fault_heal);
		break;
	}
}

static void unwanted_message(struct fault_event *event, const struct fault *f,
			     const struct sim_message *m)
{
	(void)f;
	if (m->type != MSG_DELETE || m->delivered ||
	    m->to != event->cluster->servers[event->pivot].node.process)
		return;
	fault_unwatch(event);
	next_act(event, 2, 0);
}

/* ---- a volume is another one when its holder is back ---- */

/* Mostly it reaches no chunk server either: what is asked of it is under way when it is back. */
static void anew_begin(struct fault_event *event, const struct fault *f)
{
	struct cluster *c = event->cluster;

	cut_metads(event, true, true);
	for (unsigned i = 0; f->how & (STORY_SERVERS | STORY_POWER) && i < c->params.servers; i++)
		fault_cut_both(event, event->holder, host_of_server(c, i), false);
	c->volumes[f->target].reattach_at_ns =
		MAX(c->volumes[f->target].reattach_at_ns, c->sim.now_ns + f->lasts_ns + NS_PER_S);
	next_act(event, 1, 5 * NS_PER_S + STORY_SPAN(f->how, 0) * 100 * NS_PER_MS);
}

static void anew_act(struct fault_event *event, const struct fault *f)
{
	struct cluster *c = event->cluster;
	struct sim_volume *v = &c->volumes[f->target];
	int away;

	v->reattach_at_ns = MAX(v->reattach_at_ns, c->sim.now_ns + 3 * NS_PER_S);
	switch (event->act) {
	case 1:
		away = pick_replica(event, f, 3, -1);
		if (f->how & STORY_OTHER && away >= 0)
			fault_hold_victim(event, &c->servers[away].node, false);
		next_act(event, 2, 0);
		break;
	case 2: /* the operator may have something else to do */
		event->skip = v->former_count;
		operator_recreate(c, f->target, true);
		next_act(event, v->created ? 2 : 3, LOOK_NS);
		break;
	case 3:
		if (!v->created || v->former_count == event->skip)
			next_act(event, 3, LOOK_NS);
		else
			next_act(event, 4, STORY_SPAN(f->how, 1) * 50 * NS_PER_MS);
		break;
	default:
		heal_metads(event);
		break;
	}
}

/* ---- power is lost while a disk writes ---- */

static void disk_cut(struct cluster *c, struct node *n, bool power)
{
	if (!n->process->running)
		return;
	if (power) {
		host_power_off(c, host_of(n));
	} else {
		node_hold_down(n);
		node_kill_any(n, false);
	}
	rest_check_cut_off(c, n->number);
	if (power)
		host_power_on(c, host_of(n));
	else
		node_let_up(n);
}

static void disk_begin(struct fault_event *event, const struct fault *f)
{
	(void)f;
	event->random = sim_stream(&event->cluster->sim, "at-disk", event->number);
	fault_watch(event);
}

static void disk_act(struct fault_event *event, const struct fault *f)
{
	if (event->act == 2) {
		fault_watch(event);
		return;
	}
	disk_cut(event->cluster, event->sender, f->how & STORY_POWER);
	if (++event->skip < CUTS_MAX)
		next_act(event, 2, (1 + STORY_SPAN(f->how, 1)) * 100 * NS_PER_MS);
}

void story_disk(struct fault_event *event, const struct fault *f, const struct sim_process *process)
{
	struct cluster *c = event->cluster;
	struct node *n = node_of(c, process);
	uint64_t longest_ns;

	/* One chunk server, or any. */
	if (!n || (f->how & STORY_OTHER && n->number != (f->how >> 3 & 7) % c->params.servers))
		return;
	fault_unwatch(event);
	event->sender = n;
	longest_ns = c->params.disk[n->number].latency_ns + c->params.disk[n->number].jitter_ns +
		     UNIT_BYTES;
	next_act(event, 1, prng_below(&event->random, longest_ns));
}

/* ---- all of them ---- */

static const struct {
	bool of_holder; /* it begins when somebody has the volume, and is not paused */
	void (*begin)(struct fault_event *event, const struct fault *f);
	void (*act)(struct fault_event *event, const struct fault *f);
	void (*message)(struct fault_event *event, const struct fault *f,
			const struct sim_message *m); /* NULL: it hears of none */
} stories[FAULT_KINDS] = {
	[FAULT_ECHO] = {true, echo_begin, echo_act, echo_message},
	[FAULT_BEHIND] = {true, behind_begin, behind_act, behind_message},
	[FAULT_RETURNS] = {false, returns_begin, returns_act, returns_message},
	[FAULT_UNWANTED] = {false, unwanted_begin, unwanted_act, unwanted_message},
	[FAULT_ANEW] = {true, anew_begin, anew_act, NULL},
	[FAULT_AT_DISK] = {false, disk_begin, disk_act, NULL},
};

static void act_run(struct sim_event *at)
{
	struct fault_event *event = container_of(at, struct fault_event, second);
	const struct fault *f = fault_of(event);

	sim_trace(&event->cluster->sim, "fault %u %s: act %u", event->number, fault_name(f->kind),
		  event->act);
	stories[f->kind].act(event, f);
}

void story(struct cluster *c, struct fault_event *event, const struct fault *f)
{
	struct user *user = user_of_volume(c, f->target);
	const struct meta_chunk_row *row = fault_chunk(c, f);

	event->second.run = act_run;
	event->act = 0;
	event->chunk = row ? row->chunk : 0;
	if (stories[f->kind].of_holder) {
		if (!user || user_paused(user)) {
			fault_try_later(event);
			return;
		}
		event->sender = node_of_user(c, user);
		event->holder = user_host(user);
	}
	stories[f->kind].begin(event, f);
}

void story_message(struct fault_event *event, const struct fault *f, const struct sim_message *m)
{
	if (stories[f->kind].message)
		stories[f->kind].message(event, f, m);
}

void story_end(struct fault_event *event)
{
	sim_cancel(&event->cluster->sim, &event->second);
	if (fault_of(event)->kind == FAULT_BEHIND)
		behind_release(event);
	fault_unwatch(event);
	fault_heal_links(event);
	fault_victims_go_on(event);
}
