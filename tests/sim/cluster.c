/* cluster.c - see cluster.h. */
#include "tests/sim/cluster.h"
#include "tests/sim/jobs.h"
#include "tests/sim/lists.h"
#include "tests/sim/users.h"

#include <errno.h>
#include <stdlib.h>

#define RESTART_NS (200 * NS_PER_MS)
/* After so long a metad that found the store in use tries again. */
#define STANDBY_NS NS_PER_S

static void node_init(struct cluster *c, struct node *n, struct sim_host *host, unsigned number,
		      const char *kind, void (*restart)(struct sim_event *event))
{
	char name[16];

	snprintf(name, sizeof name, "%s%u", kind, number);
	n->cluster = c;
	n->number = number;
	n->process = sim_process_add(&c->sim, host, name);
	n->restart.run = restart;
	net_attach(c->sim.net, n->process);
}

/* A process ended by itself: something like systemd starts it again, unless a fault keeps it down. */
void cluster_restart_later(struct node *n)
{
	if (n->faults == 0)
		sim_schedule(&n->cluster->sim, &n->restart, NULL,
			     n->cluster->sim.now_ns + RESTART_NS, "restart");
}

static struct uuid fresh_uuid(struct sim_process *p)
{
	uint64_t high = p->clock.random(&p->clock);

	return uuid_from_random(high, p->clock.random(&p->clock));
}

void cluster_kill_node(struct node *n, bool power)
{
	struct cluster *c = n->cluster;

	sim_process_end(n->process);
	net_process_ended(c->sim.net, n->process, power);
	c->sim.totals.crashes++;
	c->kills += !c->at_rest;
	sim_trace(&c->sim, "%s is %s", n->process->name, power ? "without power" : "killed");
}

/* ---- metad ---- */

static void metad_restart(struct sim_event *event)
{
	struct node *n = container_of(event, struct node, restart);

	cluster_start_metad(n->cluster, n->number);
}

static uint64_t wall_ms(void *context)
{
	const struct sim_process *p = context;

	return UINT64_C(1795326000000) + p->sim->now_ns / NS_PER_MS;
}

uint64_t cluster_wall_ms(const struct cluster *c)
{
	return wall_ms((void *)(uintptr_t)c->metads[0].node.process);
}

/*
 * SQLite's lock: the store belongs to the process that has opened it until that process ends, also while it hangs. Another
 * one ends with an error before anybody can connect to it.
 */
static bool store_in_use(const struct cluster *c)
{
	for (unsigned i = 0; i < c->params.metads; i++) {
		if (c->metads[i].node.process->running)
			return true;
	}
	return false;
}

void cluster_start_metad(struct cluster *c, unsigned i)
{
	struct sim_metad *m = &c->metads[i];
	struct sim_process *p = m->node.process;
	char error[META_STORE_ERROR_BYTES] = "";
	struct metad_environment environment;

	if (p->running || m->node.faults || !p->host->up)
		return;
	if (store_in_use(c)) {
		sim_reach(&c->sim, REACHED_STORE_IN_USE);
		sim_schedule(&c->sim, &m->node.restart, NULL, c->sim.now_ns + STANDBY_NS,
			     "restart");
		return;
	}
	if (c->active_metad != i)
		sim_reach(&c->sim, REACHED_METAD_SWITCHED);
	c->active_metad = i;
	sim_process_start(p);
	environment = (struct metad_environment){
		.clock = &p->clock,
		.transport = &p->transport,
		.store = sim_rows_open(c->rows, p),
		.listen_address = m->address,
		.config = meta_config_default(),
		.wall_ms = wall_ms,
		.wall_context = p,
	};
	environment.config.scan_ms = c->params.scan_ms;
	environment.config.resync_grace_ms = c->params.grace_ms;
	environment.config.evict_dead_ms = c->params.evict_dead_ms;
	environment.config.garbage_delay_ms = c->params.garbage_ms;
	environment.config.scrub_ms = c->params.scrub_ms;
	environment.config.scrub_stall_ms = 20000;
	sim_trace(&c->sim, "%s starts", p->name);
	c->sim.current = p;
	m->metad = metad_new(&environment, error);
	c->sim.current = NULL;
	if (!m->metad)
		sim_fail(&c->sim, "metad starts", 0, "%s does not start: %s", p->name, error);
}

void cluster_kill_metad(struct cluster *c, unsigned i, bool power)
{
	struct sim_metad *m = &c->metads[i];

	if (!m->node.process->running)
		return;
	cluster_kill_node(&m->node, power);
	sim_rows_process_ended(c->rows);
	metad_free(m->metad);
	m->metad = NULL;
}

/* ---- engines ---- */

static void engine_restart(struct sim_event *event)
{
	struct node *n = container_of(event, struct node, restart);

	cluster_start_engine(n->cluster, n->number);
}

void cluster_start_engine(struct cluster *c, unsigned i)
{
	struct sim_engine *e = &c->engines[i];
	struct sim_process *p = e->node.process;
	struct engine_environment environment = {&p->clock, &p->transport};
	struct engine_options options;

	if (e->stopped)
		cluster_kill_engine(c, i, false);
	if (p->running || e->node.faults || !p->host->up)
		return;
	sim_process_start(p);
	options = (struct engine_options){
		.meta = c->meta_addresses,
		.host = p->host->name,
		.pid = 1000 + p->incarnation,
		.instance = fresh_uuid(p),
		.io_timeout_ns = c->params.io_timeout_ns,
	};
	sim_trace(&c->sim, "%s starts", p->name);
	c->sim.current = p;
	e->engine = engine_new(&environment, &options);
	c->sim.current = NULL;
}

void cluster_kill_engine(struct cluster *c, unsigned i, bool power)
{
	struct sim_engine *e = &c->engines[i];

	if (!e->node.process->running)
		return;
	cluster_kill_node(&e->node, power);
	users_killed(c, e);
	engine_free(e->engine);
	e->engine = NULL;
	e->stopping = e->stop_begun = e->stopped = e->listing = false;
}

static void on_stopped(void *context)
{
	struct sim_engine *e = context;

	/* The process ends by itself; the engine is freed once this callback has returned. */
	cluster_restart_later(&e->node);
	e->stopped = true;
	sim_reach(&e->node.cluster->sim, REACHED_STOPPED_ENGINE);
}

void cluster_stop_engine(struct cluster *c, unsigned i)
{
	struct sim_engine *e = &c->engines[i];

	if (!e->engine || e->stopping)
		return;
	sim_trace(&c->sim, "%s is asked to stop", e->node.process->name);
	e->stopping = true;
	cluster_stop_engines_on(c);
}

/* Detached as soon as nothing of theirs is under way. */
static bool has_users(struct sim_engine *e)
{
	bool any = false;

	for (unsigned v = 0; v < SIM_VOLUMES_MAX; v++) {
		if (e->users[v])
			user_detach(e->users[v]);
		any |= e->users[v] != NULL;
	}
	return any;
}

void cluster_stop_engines_on(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.engines; i++) {
		struct sim_engine *e = &c->engines[i];

		if (!e->stopping || e->stop_begun || e->node.process->paused || has_users(e))
			continue;
		e->stop_begun = true;
		engine_stop(e->engine, on_stopped, e);
	}
}

/* ---- chunk servers ---- */

static void server_restart(struct sim_event *event)
{
	struct node *n = container_of(event, struct node, restart);

	cluster_start_server(n->cluster, n->number);
}

/* ---- what metad has recorded ---- */

int cluster_server_of_cid(const struct cluster *c, uint32_t cid)
{
	const struct meta_server_row *row = sim_rows_server(c->rows, cid);

	for (unsigned i = 0; row && i < c->params.servers; i++) {
		if (strcmp(row->address, c->servers[i].address) == 0)
			return cid <= c->servers[i].lost_cid ? -1 : (int)i;
	}
	return -1;
}

bool cluster_disk_lies(const struct cluster *c, unsigned server)
{
	if (server != c->params.victim)
		return false;
	for (uint32_t i = 0; i < c->params.fault_count; i++) {
		enum fault_kind k = c->params.faults[i].kind;

		if (k == FAULT_DISK_READS_FAIL || k == FAULT_DISK_ROT ||
		    k == FAULT_DISK_LOSES_WRITES || k == FAULT_DISK_MISDIRECTS)
			return true;
	}
	return false;
}

const struct meta_chunk_row *cluster_chunk(const struct cluster *c, unsigned volume, uint64_t index)
{
	const struct meta_volume_row *v = sim_rows_volume_named(c->rows, c->volumes[volume].name);
	const struct meta_chunk_row *row;

	for (size_t i = 0; v && (row = sim_rows_chunk_at(c->rows, i)); i++) {
		if (row->volume == v->volume && row->index == index)
			return row;
	}
	return NULL;
}

struct sim_volume *cluster_volume_of(struct cluster *c, const struct meta_chunk_row *chunk)
{
	const struct meta_volume_row *row = sim_rows_volume(c->rows, chunk->volume);

	for (unsigned i = 0; row && !row->deleting && i < c->params.volumes; i++) {
		if (uuid_equal(row->uuid, c->volumes[i].uuid))
			return &c->volumes[i];
	}
	return NULL;
}

void sim_volume_renew(struct cluster *c, struct sim_volume *v)
{
	char name[32];

	assert(v->former_count < SIM_DELETIONS_MAX);
	v->former[v->former_count++] = v->registers;
	/* What is written depends on this name: bytes of the former one are never right here. */
	snprintf(name, sizeof name, "%.20s/%u", v->name, v->former_count);
	v->registers = registers_new(&c->sim, name, v->bytes, c->params.chunk_bytes);
	v->uuid = (struct uuid){{0}};
	v->size_count = 0;
	sim_volume_add_size(v, v->bytes);
}

void sim_volume_add_size(struct sim_volume *v, uint64_t bytes)
{
	assert(v->size_count < SIM_SIZES_MAX);
	v->sizes[v->size_count++] = bytes;
}

bool sim_volume_had_size(const struct sim_volume *v, uint64_t bytes)
{
	for (unsigned i = 0; i < v->size_count; i++) {
		if (v->sizes[i] == bytes)
			return true;
	}
	return false;
}

/* ---- the whole ---- */

static void init_servers(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.servers; i++) {
		struct sim_server *s = &c->servers[i];
		char host[16];

		snprintf(host, sizeof host, "c%u", i);
		node_init(c, &s->node,
			  sim_host_add(&c->sim, host, c->params.rate_ppm[c->sim.host_count]), i,
			  "c", server_restart);
		snprintf(s->address, sizeof s->address, "c%u:7000", i);
		snprintf(s->local_address, sizeof s->local_address, "unix:/c%u/socket", i);
		s->disk = sim_disk_new(&c->sim, host, i, &c->params.disk[i]);
	}
}

static void init_metads(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.metads; i++) {
		struct sim_metad *m = &c->metads[i];
		char host[16];

		snprintf(host, sizeof host, "m%u", i);
		node_init(c, &m->node,
			  sim_host_add(&c->sim, host, c->params.rate_ppm[c->sim.host_count]), i,
			  "m", metad_restart);
		snprintf(m->address, sizeof m->address, "m%u:7000", i);
		snprintf(c->meta_addresses + strlen(c->meta_addresses),
			 sizeof c->meta_addresses - strlen(c->meta_addresses), "%s%s", i ? "," : "",
			 m->address);
	}
}

static void init_engines(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.engines; i++) {
		struct sim_host *host;
		char name[16];

		snprintf(name, sizeof name, "e%u", i);
		host = c->params.colocated && i < c->params.servers
			       ? c->servers[i].node.process->host
			       : sim_host_add(&c->sim, name, c->params.rate_ppm[c->sim.host_count]);
		node_init(c, &c->engines[i].node, host, i, "e", engine_restart);
	}
}

static void row_changed(void *context, const struct meta_row *before, const struct meta_row *after)
{
	const struct cluster *c = context;

	lists_changed(c->lists, before, after);
}

void cluster_init(struct cluster *c, const struct params *params, bool tracing, FILE *out)
{
	struct net_watch watch;

	memset(c, 0, sizeof *c);
	c->params = *params;
	sim_init(&c->sim, params->seed);
	c->sim.tracing = tracing;
	c->sim.out = out;
	c->sim.context = c;
	net_new(&c->sim, &params->net);
	init_servers(c);
	init_metads(c);
	init_engines(c);
	c->rows = sim_rows_new(&c->sim, params->rows_latency_ns, params->rows_latency_ns);
	c->lists = lists_new(c);
	sim_rows_watch_changes(c->rows, row_changed, c);
	c->observer = observer_new(&c->sim, c->lists);
	watch = observer_watch(c->observer);
	net_set_watch(c->sim.net, &watch);
	for (unsigned i = 0; i < params->volumes; i++) {
		struct sim_volume *v = &c->volumes[i];

		v->number = i;
		v->bytes = params->volume[i].bytes;
		sim_volume_add_size(v, v->bytes);
		snprintf(v->name, sizeof v->name, "vol%u", i);
		v->registers = registers_new(&c->sim, v->name, v->bytes, params->chunk_bytes);
		v->random = sim_stream(&c->sim, "volume", i);
		v->next_engine = i % params->engines;
	}
	c->admin = admin_new(c);
	c->jobs = jobs_new(c);
}

void cluster_fini(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.engines; i++)
		cluster_kill_engine(c, i, true);
	for (unsigned i = 0; i < c->params.metads; i++)
		cluster_kill_metad(c, i, true);
	for (unsigned i = 0; i < c->params.servers; i++) {
		cluster_kill_server(c, i, true);
		sim_disk_free(c->servers[i].disk);
	}
	jobs_free(c->jobs);
	admin_free(c->admin);
	for (unsigned i = 0; i < c->params.volumes; i++) {
		registers_free(c->volumes[i].registers);
		for (unsigned k = 0; k < c->volumes[i].former_count; k++)
			registers_free(c->volumes[i].former[k]);
	}
	net_free(c->sim.net);
	observer_free(c->observer);
	lists_free(c->lists);
	sim_rows_free(c->rows);
	sim_fini(&c->sim);
}
