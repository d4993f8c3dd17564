/*
 * cluster_server.c - a chunk server of the simulation: format, open, serve, stop in order; killed at any of these steps.
 */
#include "tests/sim/cluster.h"
#include "tests/sim/rest.h"

#include "replica-engine/store/layout.h"

#include <errno.h>

static void server_failed(struct sim_server *s, const char *what, int status, const char *why)
{
	struct cluster *c = s->node.cluster;

	/* Ended by a crash at any point, a disk that keeps its promises opens again. */
	if (sim_disk_is_sound(s->disk))
		sim_fail(&c->sim, "disks open after a crash", 0, "%s: %s: %d %s",
			 s->node.process->name, what, status, why ? why : "");
	s->failed_starts++;
	snprintf(s->failure, sizeof s->failure, "%s: %d %s", what, status, why ? why : "");
	sim_trace(&c->sim, "%s", s->failure);
	/* The daemon would end here; something starts it again after a while. */
	s->ended = true;
	sim_schedule(&c->sim, &s->node.restart, NULL, c->sim.now_ns + NS_PER_S, "restart");
}

static void on_opened(void *context, int status, const char *why, struct store *store)
{
	struct sim_server *s = context;
	struct cluster *c = s->node.cluster;
	struct sim_process *p = s->node.process;
	struct chunkd_environment environment = {&p->clock, &p->transport, store, NULL};
	struct chunkd_options options = {
		.listen = s->address,
		.advertise = s->address,
		.local = s->local_address,
		.meta = c->meta_addresses,
		.host = p->host->name,
		.pid = 100 + p->incarnation,
	};
	char error[TEXT_BYTES] = "";
	uint64_t high = p->clock.random(&p->clock);

	s->starting = false;
	s->store = store;
	if (status) {
		server_failed(s, "the disk can't be opened", status, why);
		return;
	}
	s->failed_starts = 0;
	options.instance = uuid_from_random(high, p->clock.random(&p->clock));
	s->chunkd = chunkd_new(&environment, &options, error);
	if (!s->chunkd)
		sim_fail(&c->sim, "chunk servers start", 0, "%s does not start: %s", p->name,
			 error);
}

/* Without paging a disk whose metadata is spoilt does not open, and is replaced. With it the disk stays, and an operator had to see that. */
static bool may_page(const struct sim_server *s)
{
	const struct cluster *c = s->node.cluster;

	return c->params.spare_metadata || !cluster_disk_lies(c, (unsigned)(s - c->servers));
}

static void server_open(struct sim_server *s)
{
	const struct store_options options = {
		.metadata_memory_bytes =
			may_page(s) ? s->node.cluster->params.metadata_memory_bytes : 0};

	store_open(sim_disk_open(s->disk, s->node.process), &options, on_opened, s);
}

void cluster_spare_metadata(struct sim_server *s)
{
	struct disk_superblock super;

	sim_disk_peek(s->disk, 0, sizeof super, &super);
	sim_disk_spare_below(s->disk, super.data_offset);
}

static void on_formatted(void *context, int status, const char *why)
{
	struct sim_server *s = context;

	if (status) {
		s->starting = false;
		server_failed(s, "the disk can't be formatted", status, why);
		return;
	}
	s->formatted = true;
	if (s->node.cluster->params.spare_metadata)
		cluster_spare_metadata(s);
	server_open(s);
}

void cluster_start_server(struct cluster *c, unsigned i)
{
	struct sim_server *s = &c->servers[i];
	struct sim_process *p = s->node.process;
	struct store_format_options options = {.journal_bytes = c->params.journal_bytes};
	struct prng random = sim_stream(&c->sim, "format", (uint64_t)i << 32 | s->disk_number);
	uint64_t high = prng_next(&random);

	if (s->ended)
		cluster_kill_server(c, i, false);
	if (p->running || s->node.faults || !p->host->up)
		return;
	sim_process_start(p);
	sim_trace(&c->sim, "%s starts", p->name);
	s->starting = true;
	c->sim.current = p;
	if (s->formatted) {
		server_open(s);
	} else {
		options.disk = uuid_from_random(high, prng_next(&random));
		store_format(sim_disk_open(s->disk, p), &options, on_formatted, s);
	}
	c->sim.current = NULL;
}

/* How often its journal has come round; to be called once for each store. */
static void count_rounds(struct sim_server *s)
{
	struct store_counters counters = store_counters(s->store);
	uint64_t before = s->journal_bytes / counters.journal_bytes;

	s->journal_bytes += counters.journal_write_bytes;
	s->node.cluster->sim.totals.reached[REACHED_JOURNAL_ROUND] +=
		s->journal_bytes / counters.journal_bytes - before;
}

/* Its process is no more. */
static void server_free(struct sim_server *s, bool power)
{
	sim_cancel(&s->node.cluster->sim, &s->step);
	sim_disk_process_ended(s->disk, power);
	if (s->store) {
		count_rounds(s);
		store_free(s->store);
	}
	s->store = NULL;
	if (s->chunkd)
		chunkd_free(s->chunkd);
	s->chunkd = NULL;
	s->starting = s->stopping = false;
	s->ended = false;
}

void cluster_kill_server(struct cluster *c, unsigned i, bool power)
{
	struct sim_server *s = &c->servers[i];

	if (!s->node.process->running)
		return;
	cluster_kill_node(&s->node, power);
	server_free(s, power);
}

/* ---- in order ---- */

static void exit_run(struct sim_event *event)
{
	struct sim_server *s = container_of(event, struct sim_server, step);
	struct cluster *c = s->node.cluster;

	sim_trace(&c->sim, "%s has ended in order", s->node.process->name);
	sim_reach(&c->sim, REACHED_STOPPED_SERVER);
	sim_process_end(s->node.process);
	net_process_ended(c->sim.net, s->node.process, false);
	server_free(s, false);
	if (sim_disk_is_sound(s->disk))
		rest_check_closed(c, (unsigned)(s - c->servers));
	cluster_restart_later(&s->node);
}

static void on_closed(void *context, int status)
{
	struct sim_server *s = context;
	struct cluster *c = s->node.cluster;

	if (status) {
		sim_trace(&c->sim, "%s was not closed in order: %d", s->node.process->name, status);
		s->ended = true;
		cluster_restart_later(&s->node);
		return;
	}
	s->step.run = exit_run;
	sim_schedule(&c->sim, &s->step, NULL, c->sim.now_ns, "exit");
}

static void close_run(struct sim_event *event)
{
	struct sim_server *s = container_of(event, struct sim_server, step);

	chunkd_free(s->chunkd);
	s->chunkd = NULL;
	store_close(s->store, on_closed, s);
}

static void on_stopped(void *context)
{
	struct sim_server *s = context;
	struct sim *sim = &s->node.cluster->sim;

	/* It is freed once this callback has returned. */
	s->step.run = close_run;
	sim_schedule(sim, &s->step, s->node.process, sim->now_ns, "close");
}

bool cluster_stop_server(struct cluster *c, unsigned i)
{
	struct sim_server *s = &c->servers[i];

	if (!s->chunkd || s->stopping || s->ended || s->node.process->paused)
		return false;
	sim_trace(&c->sim, "%s is asked to stop", s->node.process->name);
	s->stopping = true;
	chunkd_stop(s->chunkd, on_stopped, s);
	return true;
}

void cluster_replace_disk(struct cluster *c, unsigned i)
{
	struct sim_server *s = &c->servers[i];

	assert(!s->node.process->running);
	sim_disk_wipe(s->disk);
	s->formatted = false;
	s->failed_starts = 0;
	s->disk_number++;
	for (size_t k = 0; sim_rows_server_at(c->rows, k); k++)
		s->lost_cid = sim_rows_server_at(c->rows, k)->cid;
	s->journal_bytes = 0;
	sim_reach(&c->sim, REACHED_DISK_REPLACED);
	observer_disk_replaced(c->observer, s->node.process);
	sim_trace(&c->sim, "%s has a new disk", s->node.process->name);
}

const struct engine *cluster_server_engine(const struct sim_server *server)
{
	return server->chunkd ? chunkd_engine(server->chunkd) : NULL;
}
