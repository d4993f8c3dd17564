/* engine.c - the engine's life: start, turns of the loop, ticks, stop. */
#include "replica-engine/engine/engine_private.h"

#include <errno.h>
#include <stdlib.h>

void engine_enter(struct engine *e)
{
	e->depth++;
}

void engine_leave(struct engine *e)
{
	assert(e->depth > 0);
	if (e->depth == 1) {
		engine_send_leases(e);
		engine_run_finished(e);
		engine_send_leases(e);
	}
	e->depth--;
}

static void turned(struct io_timer *timer)
{
	struct engine *e = container_of(timer, struct engine, turn);

	e->turn_running = false;
	engine_enter(e);
	engine_leave(e);
}

void engine_defer(struct engine *e)
{
	if (e->depth || e->turn_running)
		return;
	if (TAILQ_EMPTY(&e->finished) && TAILQ_EMPTY(&e->finished_extents) &&
	    TAILQ_EMPTY(&e->lease_wanted))
		return;
	e->turn_running = true;
	e->clock->timer_start(e->clock, &e->turn, 0);
}

static bool wants_ticks(const struct engine *e)
{
	const struct engine_volume *v;

	if (!TAILQ_EMPTY(&e->active) || !TAILQ_EMPTY(&e->lease_wanted) ||
	    !TAILQ_EMPTY(&e->list_calls) || !TAILQ_EMPTY(&e->timed) || e->stopping)
		return true;
	TAILQ_FOREACH (v, &e->volumes, link) {
		if ((v->state != VOLUME_ATTACHED && v->state != VOLUME_LOST) ||
		    !TAILQ_EMPTY(&v->ungranted) || (!v->current && v->state == VOLUME_ATTACHED) ||
		    v->warm_next < MIN(v->table_count, WARM_CHUNKS))
			return true;
	}
	return false;
}

static void list_calls_expire(struct engine *e)
{
	struct list_call *call, *next;
	uint64_t now = engine_now_ns(e);

	TAILQ_FOREACH_SAFE (call, &e->list_calls, link, next) {
		if (now < call->deadline_ns)
			continue;
		TAILQ_REMOVE(&e->list_calls, call, link);
		call->done(call->context, -ETIMEDOUT, NULL, 0);
		free(call);
	}
}

/* Repairs under way: their leases are returned, and nothing is left that could look at a peer. */
static void chunks_end(struct engine *e)
{
	struct chunk *c, *next;

	HASH_ITER(hh, e->chunks, c, next)
	{
		struct owner_event event = {.kind = OWNER_EVENT_RETURN};

		engine_chunk_event(c, &event);
		engine_chunk_end(c);
		engine_chunk_free(c);
	}
}

static void ticked(struct io_timer *timer)
{
	struct engine *e = container_of(timer, struct engine, tick);

	e->tick_running = false;
	engine_enter(e);
	engine_chunks_tick(e);
	engine_volumes_tick(e);
	engine_requests_expire(e);
	list_calls_expire(e);
	if (e->stopping && TAILQ_EMPTY(&e->volumes) && e->stopped) {
		void (*stopped)(void *) = e->stopped;

		e->stopped = NULL;
		chunks_end(e);
		engine_meta_stop(e);
		engine_peers_free(e, true);
		e->depth--;
		stopped(e->stopped_context); /* may free the engine */
		return;
	}
	engine_leave(e);
	engine_tick_start(e);
}

void engine_tick_start(struct engine *e)
{
	if (e->tick_running || !wants_ticks(e))
		return;
	e->tick_running = true;
	e->clock->timer_start(e->clock, &e->tick, OWNER_TICK_NS);
}

struct engine *engine_new(const struct engine_environment *environment,
			  const struct engine_options *options)
{
	struct engine *e = xcalloc(1, sizeof *e);

	e->clock = environment->clock;
	e->transport = environment->transport;
	e->options = *options;
	e->options.meta = NULL;
	e->options.host = e->host;
	/* It only serves to find chunk servers on the same host. */
	if (name_is_legal(options->host))
		memcpy(e->host, options->host, strlen(options->host) + 1);
	e->codec = codec_new();
	e->decoder = codec_new();
	TAILQ_INIT(&e->active);
	TAILQ_INIT(&e->lease_wanted);
	TAILQ_INIT(&e->volumes);
	TAILQ_INIT(&e->list_calls);
	TAILQ_INIT(&e->finished);
	TAILQ_INIT(&e->timed);
	TAILQ_INIT(&e->finished_extents);
	TAILQ_INIT(&e->free_parts);
	e->update.lookup = engine_peer_lookup;
	e->update.context = e;
	e->tick.fire = ticked;
	e->turn.fire = turned;
	if (!options->repair_only) {
		const char *p = options->meta;

		while (p && *p && e->meta.address_count < META_ADDRESSES_MAX) {
			size_t n = strcspn(p, ",");
			char *address = e->meta.addresses[e->meta.address_count];

			if (n > 0 && n < ADDRESS_BYTES) {
				memcpy(address, p, n);
				address[n] = 0;
				e->meta.address_count++;
			}
			p += n + (p[n] == ',');
		}
		engine_meta_start(e);
	}
	return e;
}

void engine_stop(struct engine *e, void (*stopped)(void *context), void *context)
{
	assert(TAILQ_EMPTY(&e->volumes));
	e->stopping = true;
	e->stopped = stopped;
	e->stopped_context = context;
	engine_tick_start(e);
}

static void chunk_drop(struct chunk *c)
{
	struct owner_request *r;

	/* A crash: requests under way are forgotten with their parts. */
	engine_parts_forget(&c->waiting);
	if (!c->allocating) {
		while ((r = TAILQ_FIRST(&c->owner.requests))) {
			TAILQ_REMOVE(&c->owner.requests, r, link);
			if (r->operation == OWNER_COPY)
				slice_unref(&r->data);
			else if (r->operation != OWNER_SCRUB) /* frees its own */
				engine_part_forget(container_of(r, struct part, r));
		}
		while ((r = TAILQ_FIRST(&c->owner.movers))) {
			TAILQ_REMOVE(&c->owner.movers, r, link);
			slice_unref(&r->data);
		}
	}
	engine_chunk_free(c);
}

void engine_free(struct engine *e)
{
	struct engine_volume *v, *next_volume;
	struct chunk *c, *next_chunk;
	struct list_call *call;

	HASH_ITER(hh, e->chunks, c, next_chunk)
	chunk_drop(c);
	TAILQ_FOREACH_SAFE (v, &e->volumes, link, next_volume) {
		HASH_ITER(by_index, v->chunks, c, next_chunk)
		chunk_drop(c);
		engine_parts_forget(&v->ungranted);
		engine_volume_free(v);
	}
	while ((call = TAILQ_FIRST(&e->list_calls))) {
		TAILQ_REMOVE(&e->list_calls, call, link);
		free(call);
	}
	engine_meta_stop(e);
	engine_peers_free(e, false);
	engine_io_free(e);
	e->clock->timer_stop(e->clock, &e->tick);
	e->clock->timer_stop(e->clock, &e->turn);
	owner_update_free(&e->update);
	codec_free(e->codec);
	codec_free(e->decoder);
	free(e);
}

struct engine_counters engine_counters(const struct engine *e)
{
	struct engine_counters out = e->counters;
	struct chunk *c, *next;
	struct peer *p, *next_peer;

	out.requests_under_way = 0;
	out.memory_bytes = sizeof *e;
	HASH_ITER(hh, e->chunks, c, next)
	{
		out.checksum_errors += c->owner.counters.checksum_errors;
		out.repaired_blocks += c->owner.counters.repaired_blocks;
		out.retransmitted_generations += c->owner.counters.retransmitted_generations;
		out.copied_units += c->owner.counters.copied_units;
		out.evictions += c->owner.counters.evictions;
		out.promotions += c->owner.counters.promotions;
		out.requests_under_way += c->owner.request_count;
		out.memory_bytes += sizeof *c;
	}
	HASH_ITER(hh, e->peers, p, next_peer)
	out.promised_bytes += p->p.promised_bytes;
	return out;
}

void engine_visit_leases(const struct engine *e,
			 void (*visit)(void *context, uint64_t chunk, uint64_t epoch, bool may_read,
				       bool may_write),
			 void *context)
{
	struct chunk *c, *next;
	uint64_t now = e->clock->now_ns(e->clock);

	HASH_ITER(hh, e->chunks, c, next)
	{
		if (c->owner.phase == OWNER_IO)
			visit(context, c->id, c->owner.epoch, owner_may_read(&c->owner, now),
			      owner_may_write(&c->owner));
	}
}
