/*
 * metad.c - the order of effects: events in, rows to the store, outputs out when they are durable.
 *
 *   1. An event steps the core. Its rows join the batch that is being filled; its outputs join the queue, marked
 *      with the newest batch that holds any row so far.
 *   2. If no commit runs, the batch is committed; rows of later events fill the next one meanwhile.
 *   3. The commit succeeds: outputs up to that batch are sent, in order; the next batch goes.
 *      It fails: the core, the queue and all connections are thrown away, a new core is loaded from the store. Nobody
 *      was told anything that is not there. The numbers that the old core gave out are not given out again.
 */
#include "meta-service/metad/metad_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_NS   (200 * NS_PER_MS)
#define RELOAD_NS (1 * NS_PER_S)

static void start_commit(struct metad *metad);

/* ---- outputs ---- */

void metad_queue(struct metad *metad, const struct meta_output *output)
{
	struct waiting *waiting = xmalloc(sizeof *waiting);

	waiting->output = *output;
	waiting->batch = metad->row_count ? metad->filling : metad->filling - 1;
	STAILQ_INSERT_TAIL(&metad->waiting, waiting, link);
}

static void send_output(struct metad *metad, const struct meta_output *output)
{
	struct peer *peer = metad_find_peer(metad, output->connection);

	if (!peer)
		return;
	if (output->close)
		metad_close_peer(metad, peer);
	else
		codec_send(metad->codec, metad->env.transport, peer->conn, &output->msg);
}

/* Closing a peer steps the core, whose outputs join the queue that is being flushed here. */
void metad_flush(struct metad *metad)
{
	struct waiting *waiting;

	if (metad->flushing)
		return;
	metad->flushing = true;
	while ((waiting = STAILQ_FIRST(&metad->waiting)) && waiting->batch <= metad->committed) {
		STAILQ_REMOVE_HEAD(&metad->waiting, link);
		send_output(metad, &waiting->output);
		free(waiting->output.memory);
		free(waiting);
	}
	metad->flushing = false;
}

static void drop_outputs(struct metad *metad)
{
	struct waiting *waiting;

	while ((waiting = STAILQ_FIRST(&metad->waiting))) {
		STAILQ_REMOVE_HEAD(&metad->waiting, link);
		free(waiting->output.memory);
		free(waiting);
	}
}

/* ---- steps ---- */

static void take_rows(struct metad *metad)
{
	size_t count = metad->update.row_count;

	if (metad->row_count + count > metad->row_room) {
		metad->row_room = (metad->row_count + count) * 2;
		metad->rows = xrealloc(metad->rows, metad->row_room * sizeof *metad->rows);
	}
	if (count)
		memcpy(metad->rows + metad->row_count, metad->update.rows,
		       count * sizeof *metad->rows);
	metad->row_count += count;
}

/* The rows first: the outputs of a step depend on them. */
static void take_update(struct metad *metad)
{
	take_rows(metad);
	for (size_t i = 0; i < metad->update.output_count; i++) {
		metad_queue(metad, &metad->update.outputs[i]);
		metad->update.outputs[i].memory = NULL;
	}
	meta_update_clear(&metad->update);
}

void metad_step(struct metad *metad, struct meta_event *event)
{
	struct io_clock *clock = metad->env.clock;

	if (!metad->core)
		return;
	event->now_ns = clock->now_ns(clock);
	event->wall_ms = metad->env.wall_ms(metad->env.wall_context);
	event->random[0] = clock->random(clock);
	event->random[1] = clock->random(clock);
	meta_step(metad->core, event, &metad->update);
	take_update(metad);
	start_commit(metad);
	metad_flush(metad);
}

static void tick(struct io_timer *timer)
{
	struct metad *metad = container_of(timer, struct metad, tick);
	struct meta_event event = {.type = META_TICK};

	metad->env.clock->timer_start(metad->env.clock, timer, TICK_NS);
	metad_check_peers(metad);
	metad_step(metad, &event);
}

/* ---- loading ---- */

struct loading {
	struct meta *core;
	int error;
};

static void load_row(void *context, const struct meta_row *row)
{
	struct loading *loading = context;

	if (loading->error == 0)
		loading->error = meta_load_row(loading->core, row);
}

/* A core of what the store holds; founds a cluster if that is nothing. */
static int load_core(struct metad *metad, char error[META_STORE_ERROR_BYTES])
{
	struct io_clock *clock = metad->env.clock;
	struct loading loading = {
		.core = meta_new(&metad->env.config, clock->now_ns(clock)),
	};
	int rc = metad->env.store->load(metad->env.store, load_row, &loading, error);

	if (rc == 0 && loading.error) {
		rc = loading.error;
		snprintf(error, META_STORE_ERROR_BYTES,
			 "the store is damaged: its rows contradict each other. Restore it from a "
			 "copy");
	}
	if (rc) {
		meta_free(loading.core);
		return rc;
	}
	metad->core = loading.core;
	if (meta_is_empty(metad->core)) {
		struct uuid fresh = uuid_from_random(clock->random(clock), clock->random(clock));

		if (uuid_is_zero(metad->cluster))
			metad->cluster = fresh;
		meta_found(metad->core, metad->cluster, &metad->update);
		take_update(metad);
	}
	metad->cluster = meta_cluster(metad->core)->cluster;
	meta_raise_counters(metad->core, &metad->used);
	start_commit(metad);
	return 0;
}

static void reload(struct io_timer *timer)
{
	struct metad *metad = container_of(timer, struct metad, reload);
	char error[META_STORE_ERROR_BYTES];

	if (load_core(metad, error) == 0) {
		trace(TRACE_INFO, MODULE, "the store has been read again");
		return;
	}
	trace(TRACE_ERROR, MODULE, "the store can't be read: %s", error);
	metad->env.clock->timer_start(metad->env.clock, timer, RELOAD_NS);
}

/* ---- commits ---- */

/* What the store holds is the truth now; everybody comes back and asks again. */
static void start_over(struct metad *metad)
{
	metad->used = *meta_cluster(metad->core);
	meta_free(metad->core);
	metad->core = NULL;
	metad->row_count = 0;
	drop_outputs(metad);
	metad_close_all(metad);
	reload(&metad->reload);
}

static void commit_done(void *context, int error)
{
	struct metad *metad = context;

	metad->committing = false;
	if (error) {
		trace(TRACE_ERROR, MODULE,
		      "a commit failed (%s): all connections are closed, the store is read again",
		      strerror(-error));
		metad->committed = metad->filling - 1;
		start_over(metad);
		return;
	}
	metad->committed = metad->filling - 1;
	start_commit(metad);
	metad_flush(metad);
}

static void start_commit(struct metad *metad)
{
	struct meta_row *rows = metad->rows;
	size_t room = metad->row_room, count = metad->row_count;

	if (metad->committing || count == 0)
		return;
	metad->committing = true;
	metad->rows = metad->committing_rows;
	metad->row_room = metad->committing_room;
	metad->row_count = 0;
	metad->committing_rows = rows;
	metad->committing_room = room;
	metad->filling++;
	metad->env.store->commit(metad->env.store, rows, count, commit_done, metad);
}

/* ---- life ---- */

static int listen_there(struct metad *metad, char error[META_STORE_ERROR_BYTES])
{
	const char *address = metad->env.listen_address;
	int rc = metad->env.transport->listen(metad->env.transport, address, metad_accepted, metad,
					      &metad->listener);

	if (rc == -EADDRINUSE)
		snprintf(error, META_STORE_ERROR_BYTES,
			 "%s is in use by another process. Stop it, or choose another --listen",
			 address);
	else if (rc)
		snprintf(error, META_STORE_ERROR_BYTES,
			 "can't listen at %s: %s. Correct --listen (HOST:PORT, [V6]:PORT or "
			 "unix:/path)",
			 address, strerror(-rc));
	return rc;
}

struct metad *metad_new(const struct metad_environment *environment,
			char error[META_STORE_ERROR_BYTES])
{
	struct metad *metad = xcalloc(1, sizeof *metad);
	struct io_clock *clock = environment->clock;

	metad->env = *environment;
	metad->codec = codec_new();
	metad->filling = 1;
	metad->tick.fire = tick;
	metad->reload.fire = reload;
	metad->instance = uuid_from_random(clock->random(clock), clock->random(clock));
	TAILQ_INIT(&metad->peers);
	STAILQ_INIT(&metad->waiting);
	if (load_core(metad, error) != 0 || listen_there(metad, error) != 0) {
		metad_free(metad);
		return NULL;
	}
	clock->timer_start(clock, &metad->tick, TICK_NS);
	return metad;
}

void metad_free(struct metad *metad)
{
	struct io_clock *clock = metad->env.clock;

	clock->timer_stop(clock, &metad->tick);
	clock->timer_stop(clock, &metad->reload);
	if (metad->listener)
		metad->env.transport->listener_close(metad->env.transport, metad->listener);
	metad_close_all(metad);
	drop_outputs(metad);
	meta_free(metad->core);
	meta_update_free(&metad->update);
	codec_free(metad->codec);
	free(metad->rows);
	free(metad->committing_rows);
	free(metad);
}

struct uuid metad_cluster(const struct metad *metad)
{
	return metad->cluster;
}

const struct meta *metad_core(const struct metad *metad)
{
	return metad->core;
}

struct io_listener *metad_listener(const struct metad *metad)
{
	return metad->listener;
}
