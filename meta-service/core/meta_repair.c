/*
 * meta_repair.c - what metad does about chunks that have too few replicas, or dead ones.
 *
 * metad only plans: it commits one FILLING replica at a time, and tells who is to act: the present owner (LIST), or, where
 * nobody has the lease, a chunk server (REPAIR_JOB), which takes it. The owner fills, promotes and evicts by itself
 * (meta_change.c). Nothing here waits for an answer: every scan looks at the list as it is now, and repeats what nothing
 * came of.
 *
 *   the list shows                                    done about it
 *   ------------------------------------------------  -------------------------------------------------------------
 *   a FILLING replica, its server dead or stalled      dropped, and another one chosen
 *   a FILLING replica                                  owner, or a job, reminded until it is ACTIVE
 *   a dead ACTIVE one for evict_dead_ms, and at        owner, or a job, reminded until it is evicted
 *     least min_replicas others alive
 *   fewer ACTIVE than wanted, the lasting dead not     one FILLING replica added: an old home that is back first; while it
 *     counted, and one of them alive                    is away it gets resync_grace_ms if more than min_replicas are left
 *   more ACTIVE ones alive than wanted                 one is marked as leaving: owner, or a job, reminded until it is evicted
 *   an owner that has not seen the present list        LIST
 */
#include "meta-service/core/meta_internal.h"

/* A former home that is back may take this long to report what it has. */
#define REPORT_WAIT_NS (10 * NS_PER_S)

struct summary {
	uint32_t active;
	uint32_t alive;   /* ACTIVE and not dead */
	uint32_t lasting; /* ACTIVE and dead for evict_dead_ms */
	int filling;      /* place in the list, or -1 */
	int leaving;
};

static struct server *replica_server(const struct meta *meta, const struct chunk *chunk, uint32_t i)
{
	return meta_find_server(meta, chunk->row.replicas[i].cid);
}

static struct summary summarize(const struct meta *meta, const struct chunk *chunk)
{
	struct summary sum = {.filling = -1, .leaving = -1};

	for (uint32_t i = 0; i < chunk->row.replica_count; i++) {
		uint64_t dead_ns = server_dead_ns(meta, replica_server(meta, chunk, i));

		if (chunk->row.replicas[i].state == REPLICA_FILLING) {
			sum.filling = (int)i;
			continue;
		}
		if (chunk->row.replicas[i].leaving)
			sum.leaving = (int)i;
		sum.active++;
		sum.alive += dead_ns == 0;
		sum.lasting += dead_ns >= meta->config.evict_dead_ms * NS_PER_MS && dead_ns;
	}
	return sum;
}

enum chunk_health chunk_health(const struct meta *meta, const struct chunk *chunk)
{
	struct summary sum = summarize(meta, chunk);

	if (sum.alive < chunk->volume->row.min_replicas)
		return CHUNK_UNAVAILABLE;
	if (sum.filling >= 0)
		return CHUNK_FILLING;
	if (sum.alive < chunk->volume->row.replicas)
		return CHUNK_DEGRADED;
	return CHUNK_HEALTHY;
}

void meta_queue_chunk(struct meta *meta, struct chunk *chunk)
{
	if (chunk->queued)
		return;
	chunk->queued = true;
	TAILQ_INSERT_TAIL(&meta->queue, chunk, queue);
}

void meta_scan_soon(struct meta *meta)
{
	meta->next_scan_ns = meta->now_ns;
}

void meta_avoid(struct meta *meta, struct chunk *chunk, uint32_t cid)
{
	chunk->avoid_cid = cid;
	chunk->avoid_until_ns = meta->now_ns + meta->config.repair_retry_ms * NS_PER_MS;
}

static bool is_avoided(const struct meta *meta, const struct chunk *chunk, uint32_t cid)
{
	return chunk->avoid_cid == cid && meta->now_ns < chunk->avoid_until_ns;
}

static bool retry_is_due(const struct meta *meta, uint64_t last_ns)
{
	return meta->now_ns >= last_ns + meta->config.repair_retry_ms * NS_PER_MS;
}

static void push_list(struct meta *meta, struct chunk *chunk, const char *why)
{
	struct msg msg = {.type = MSG_LIST};

	chunk_show(meta, chunk, &msg.u.list.chunk);
	meta_text(msg.u.list.text, "%s", why);
	meta_send(meta, instance_connection(meta, chunk->row.owner), &msg, NULL);
	chunk_note_shown(meta, chunk);
}

static bool owner_saw_it(const struct meta *meta, const struct chunk *chunk)
{
	return chunk->shown_list_number == chunk->row.list_number &&
	       chunk->shown_dead == chunk_dead_mask(meta, chunk);
}

/*
 * The best chunk server to run a repair: one with an ACTIVE replica, the destination, any, then a slow one; of those the one with
 * least to do.
 */
static struct server *pick_worker(const struct meta *meta, const struct chunk *chunk)
{
	struct server *best = NULL;
	int best_class = 0;

	for (struct server *s = meta->servers; s; s = s->hh.next) {
		int at = list_find(&chunk->row, s->row.cid), class = 3;

		if (!server_is_usable(s) || s->jobs >= meta->config.repairs_per_server)
			continue;
		if (at >= 0)
			class = chunk->row.replicas[at].state == REPLICA_ACTIVE ? 1 : 2;
		if (s->slow)
			class = 4;
		if (chunk->job_ns && uuid_equal(s->instance->id, chunk->job_instance))
			class = 5; /* nothing came of it the last time */
		if (!best || class < best_class || (class == best_class && s->jobs < best->jobs)) {
			best = s;
			best_class = class;
		}
	}
	return best;
}

static void give_job(struct meta *meta, struct chunk *chunk)
{
	struct msg msg = {.type = MSG_REPAIR_JOB};
	struct server *worker;

	if (chunk->job_ns && !retry_is_due(meta, chunk->job_ns) &&
	    instance_connection(meta, chunk->job_instance))
		return;
	worker = pick_worker(meta, chunk);
	if (!worker)
		return;
	msg.u.repair_job.volume = chunk->row.volume;
	msg.u.repair_job.chunk = chunk->row.chunk;
	msg.u.repair_job.chunk_bytes = chunk->volume->row.chunk_bytes;
	meta_send(meta, worker->instance->connection, &msg, NULL);
	worker->jobs++;
	chunk->job_instance = worker->instance->id;
	chunk->job_ns = meta->now_ns;
	trace(TRACE_INFO, MODULE, "repair job chunk=%" PRIu64 " for cid=%u", chunk->row.chunk,
	      worker->row.cid);
}

/*
 * An engine from which the volume was taken has let go of its leases, however alive it is: it is the owner on record only
 * until somebody takes the lease.
 */
static bool owner_has_let_go(const struct meta *meta, const struct chunk *chunk)
{
	const struct instance *owner = meta_find_instance(meta, chunk->row.owner);

	return owner && owner->role == ROLE_ENGINE &&
	       !uuid_equal(chunk->row.owner, chunk->volume->row.holder);
}

/* Whoever can act on the list is told; a live owner that has lost its connection, or only its link to us, is waited for. */
static void direct(struct meta *meta, struct chunk *chunk, const char *why)
{
	if (owner_has_let_go(meta, chunk)) {
		give_job(meta, chunk);
	} else if (instance_connection(meta, chunk->row.owner)) {
		if (!owner_saw_it(meta, chunk) || retry_is_due(meta, chunk->shown_ns))
			push_list(meta, chunk, why);
	} else if (!engine_is_alive(meta, chunk->row.owner)) {
		give_job(meta, chunk);
	}
}

static void show_owner(struct meta *meta, struct chunk *chunk)
{
	if (instance_connection(meta, chunk->row.owner) && !owner_saw_it(meta, chunk))
		push_list(meta, chunk, "a chunk server's state has changed");
}

/* An old home that has come back and still has a copy: the one with the newest. */
static struct server *find_returned(const struct meta *meta, const struct chunk *chunk)
{
	struct server *best = NULL;
	struct version newest = {0, 0};

	for (struct server *s = meta->servers; s; s = s->hh.next) {
		const struct reported *copy = server_find_report(s, chunk->row.chunk);

		if (!copy || copy->delete_sent_ns || !server_is_usable(s) || !s->report_complete ||
		    s->filling >= meta->config.repairs_per_server ||
		    list_find(&chunk->row, s->row.cid) >= 0 || is_avoided(meta, chunk, s->row.cid))
			continue;
		if (!best || version_compare(copy->position, newest) > 0) {
			best = s;
			newest = copy->position;
		}
	}
	return best;
}

/* True while another server should not replace the one that was evicted last. */
static bool former_may_return(const struct meta *meta, const struct chunk *chunk,
			      const struct summary *sum)
{
	const struct server *former = meta_find_server(meta, chunk->row.former_cid);

	if (!former || former->disk_failed || is_avoided(meta, chunk, former->row.cid))
		return false;
	if (former->instance && !former->report_complete)
		return meta->now_ns < former->session_ns + REPORT_WAIT_NS;
	if (former->instance && former->instance->connection)
		return false; /* it has reported, and has nothing */
	return sum->alive > chunk->volume->row.min_replicas &&
	       meta->now_ns < chunk->evicted_ns + meta->config.resync_grace_ms * NS_PER_MS;
}

static struct server *choose_destination(struct meta *meta, struct chunk *chunk,
					 const struct summary *sum)
{
	uint32_t taken[REPLICAS_MAX + 1], count = 0;
	struct server *server = find_returned(meta, chunk);

	if (server)
		return server;
	if (former_may_return(meta, chunk, sum))
		return NULL;
	for (; count < chunk->row.replica_count; count++)
		taken[count] = chunk->row.replicas[count].cid;
	if (chunk->avoid_cid && meta->now_ns < chunk->avoid_until_ns)
		taken[count++] = chunk->avoid_cid;
	return meta_place(meta, taken, count, chunk->volume->row.chunk_bytes, true);
}

static void add_filling(struct meta *meta, struct chunk *chunk, struct server *destination)
{
	list_add(meta, chunk, destination->row.cid, REPLICA_FILLING);
	chunk->row.list_number++;
	chunk->filling_since_ns = meta->now_ns;
	chunk->job_ns = 0;
	destination->filling++;
	meta_put_chunk(meta, chunk);
	trace(TRACE_INFO, MODULE, "repair chunk=%" PRIu64 ": FILLING at cid=%u, list=%" PRIu64,
	      chunk->row.chunk, destination->row.cid, chunk->row.list_number);
}

static void drop_filling(struct meta *meta, struct chunk *chunk, int at, const char *why)
{
	uint32_t cid = chunk->row.replicas[at].cid;

	list_remove(meta, chunk, cid);
	chunk->row.list_number++;
	meta_avoid(meta, chunk, cid);
	meta_put_chunk(meta, chunk);
	trace(TRACE_WARN, MODULE, "repair chunk=%" PRIu64 ": FILLING at cid=%u given up: %s",
	      chunk->row.chunk, cid, why);
}

static bool is_stalled(const struct meta *meta, const struct chunk *chunk, int at)
{
	const struct reported *copy =
		server_find_report(replica_server(meta, chunk, (uint32_t)at), chunk->row.chunk);
	uint64_t progress_ns = chunk->filling_since_ns;

	if (copy)
		progress_ns = MAX(progress_ns, copy->changed_ns);
	return meta->now_ns >= progress_ns + meta->config.repair_stall_ms * NS_PER_MS;
}

/* True if the FILLING replica stays and is being worked on. */
static bool keep_filling(struct meta *meta, struct chunk *chunk, int at)
{
	if (server_is_dead(meta, replica_server(meta, chunk, (uint32_t)at)))
		drop_filling(meta, chunk, at, "its chunk server is down");
	else if (is_stalled(meta, chunk, at))
		drop_filling(meta, chunk, at, "it did not get on");
	else
		return true;
	return false;
}

/* The copy that is missed least: on a slow chunk server, else where there is the least room. */
static int choose_leaving(const struct meta *meta, const struct chunk *chunk)
{
	const struct server *worst = NULL;
	int at = -1;

	for (uint32_t i = 0; i < chunk->row.replica_count; i++) {
		const struct server *s = replica_server(meta, chunk, i);

		if (chunk->row.replicas[i].state != REPLICA_ACTIVE || server_is_dead(meta, s))
			continue;
		if (!worst || s->slow > worst->slow ||
		    (s->slow == worst->slow && s->free_bytes < worst->free_bytes)) {
			worst = s;
			at = (int)i;
		}
	}
	return at;
}

static void set_leaving(struct meta *meta, struct chunk *chunk, int at, bool leaving)
{
	chunk->row.replicas[at].leaving = leaving;
	chunk->row.list_number++;
	chunk->job_ns = 0;
	meta_put_chunk(meta, chunk);
	trace(TRACE_INFO, MODULE, "repair chunk=%" PRIu64 ": cid=%u %s, list=%" PRIu64,
	      chunk->row.chunk, chunk->row.replicas[at].cid,
	      leaving ? "is one more than wanted" : "is wanted after all", chunk->row.list_number);
}

/*
 * A replica that was thought lost came back after another one had been filled for it. True while one more than wanted is
 * there: its owner evicts the one that is leaving.
 */
static bool reduce(struct meta *meta, struct chunk *chunk, const struct summary *sum)
{
	if (sum->alive <= chunk->volume->row.replicas) {
		if (sum->leaving >= 0)
			set_leaving(meta, chunk, sum->leaving, false);
		return false;
	}
	if (sum->leaving < 0)
		set_leaving(meta, chunk, choose_leaving(meta, chunk), true);
	direct(meta, chunk, "one replica more than wanted");
	return true;
}

static void plan_chunk(struct meta *meta, struct chunk *chunk)
{
	struct summary sum = summarize(meta, chunk);
	uint32_t needed = chunk->volume->row.min_replicas;

	if (chunk->volume->row.deleting)
		return;
	if (sum.filling >= 0) {
		if (keep_filling(meta, chunk, sum.filling)) {
			direct(meta, chunk, "a replica is to be filled");
			return;
		}
		sum = summarize(meta, chunk);
	}
	if (sum.lasting && sum.alive >= needed) {
		direct(meta, chunk, "a replica's chunk server is down: evict it");
		return;
	}
	if (reduce(meta, chunk, &sum))
		return;
	if (sum.active - sum.lasting < chunk->volume->row.replicas && sum.alive &&
	    chunk->row.replica_count < REPLICAS_MAX) {
		struct server *destination = choose_destination(meta, chunk, &sum);

		if (destination) {
			add_filling(meta, chunk, destination);
			direct(meta, chunk, "a replica is to be filled");
			return;
		}
	}
	chunk->job_ns = 0;
	show_owner(meta, chunk);
}

static void count_repairs(struct meta *meta)
{
	for (struct server *s = meta->servers; s; s = s->hh.next)
		s->filling = s->jobs = 0;
	for (const struct chunk *c = meta->chunks; c; c = c->hh.next) {
		const struct instance *worker =
			c->job_ns ? meta_find_instance(meta, c->job_instance) : NULL;

		if (worker && worker->server)
			worker->server->jobs++;
		for (uint32_t i = 0; i < c->row.replica_count; i++)
			if (c->row.replicas[i].state == REPLICA_FILLING)
				replica_server(meta, c, i)->filling++;
	}
}

uint64_t meta_repairer(struct meta *meta, const struct chunk *chunk)
{
	struct server *worker;

	if (!owner_has_let_go(meta, chunk)) {
		if (instance_connection(meta, chunk->row.owner))
			return instance_connection(meta, chunk->row.owner);
		if (engine_is_alive(meta, chunk->row.owner))
			return 0;
	}
	worker = pick_worker(meta, chunk);
	return worker ? worker->instance->connection : 0;
}

static void plan_all(struct meta *meta)
{
	meta->next_scan_ns = meta->now_ns + meta->config.scan_ms * NS_PER_MS;
	count_repairs(meta);
	for (struct chunk *c = meta->chunks; c; c = c->hh.next)
		plan_chunk(meta, c);
	meta_collect_garbage(meta);
	meta_scrubs_due(meta);
}

void meta_plan(struct meta *meta)
{
	struct chunk *chunk;

	if (!meta->grace_over || meta->doubt.doubted)
		return;
	if (meta->now_ns >= meta->next_scan_ns)
		plan_all(meta);
	else
		TAILQ_FOREACH (chunk, &meta->queue, queue)
			plan_chunk(meta, chunk);
	while ((chunk = TAILQ_FIRST(&meta->queue))) {
		TAILQ_REMOVE(&meta->queue, chunk, queue);
		chunk->queued = false;
	}
}
