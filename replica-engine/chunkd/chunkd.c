/* chunkd.c - the chunk server's life, and the one place where the core's actions are carried out. See chunkd.h. */
#include "replica-engine/chunkd/chunkd_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t chunkd_now_ns(struct chunkd *d)
{
	return d->at.clock->now_ns(d->at.clock);
}

/* ---- the core ---- */

/* The embedded engine may take this long to give its leases back. */
#define STOP_PATIENCE_NS (3 * NS_PER_S)

static void stop_if_finished(struct chunkd *d);
static void ticked(struct io_timer *timer);

static void op_done(struct store_op *op)
{
	struct chunkd *d = op->context;

	chunkd_step(d, &(struct replica_event){.kind = REPLICA_STORED, .op = op});
	stop_if_finished(d);
}

static void carry_out(struct chunkd *d, struct replica_action *action)
{
	struct peer *p;

	if (action->kind == REPLICA_STORE) {
		action->op->done = op_done;
		action->op->context = d;
		store_submit(d->at.store, action->op);
		return;
	}
	p = peer_find(d, action->conn);
	assert(p);
	switch (action->kind) {
	case REPLICA_SEND:
		codec_send(d->codec, d->at.transport, p->conn, &action->msg);
		break;
	case REPLICA_ADMIT:
		peer_admit(p);
		break;
	case REPLICA_CLOSE:
		peer_close(p);
		break;
	case REPLICA_STORE:
		break;
	}
}

/*
 * The order of effects: as the core gave them. None of the seams calls back from inside, so no step begins before the
 * last action of this one is done.
 */
void chunkd_step(struct chunkd *d, struct replica_event *event)
{
	event->now_ns = chunkd_now_ns(d);
	replica_step(d->replica, event, &d->update);
	for (uint32_t i = 0; i < d->update.count; i++)
		carry_out(d, &d->update.actions[i]);
}

/* ---- life ---- */

static char *copy(const char *text)
{
	return xstrdup(text ? text : "");
}

static bool options_check(const struct chunkd_options *o, char error[TEXT_BYTES])
{
	const char *const names[] = {o->host, o->zone, o->rack, o->node};
	const char *const addresses[] = {o->listen, o->advertise, o->local};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i] && *names[i] && !name_is_legal(names[i])) {
			snprintf(error, TEXT_BYTES,
				 "\"%.80s\" can't be the name of a host, zone, rack or node: use 1 "
				 "to %d of A-Z a-z 0-9 . _ - and begin with a letter, a digit or _",
				 names[i], NAME_BYTES - 1);
			return false;
		}
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		if (addresses[i] && !address_is_legal(addresses[i])) {
			snprintf(
				error, TEXT_BYTES,
				"\"%.80s\" can't be an address: use at most %d characters of plain "
				"ASCII",
				addresses[i], ADDRESS_BYTES - 1);
			return false;
		}
	return true;
}

static bool listen_at(struct chunkd *d, const char *address, struct io_listener **listener,
		      char error[TEXT_BYTES])
{
	int rc = d->at.transport->listen(d->at.transport, address, peer_accepted, d, listener);
	const char *hint;

	if (rc == 0)
		return true;
	switch (rc) {
	case -EADDRINUSE:
		hint = "another process listens there: stop it, or choose another address";
		break;
	case -EADDRNOTAVAIL:
		hint = "it is no address of this host: see ip address";
		break;
	case -ENOENT:
		hint = "make the socket's directory first";
		break;
	case -EACCES:
		hint = "choose a port above 1023, or a directory that this user may write to";
		break;
	case -EINVAL:
		hint = "an address is HOST:PORT or unix:/path";
		break;
	default:
		hint = "see the system's log";
		break;
	}
	snprintf(error, TEXT_BYTES, "Can't listen at %.100s: %s; %s", address, strerror(-rc), hint);
	return false;
}

static void engine_send(void *context, const struct msg *msg)
{
	struct chunkd *d = context;

	if (d->meta.state == META_UP)
		codec_send(d->codec, d->at.transport, d->meta.conn, msg);
}

void chunkd_engine_up(struct chunkd *d)
{
	engine_set_meta(d->engine, engine_send, d);
}

static void engine_begin(struct chunkd *d)
{
	const struct engine_environment environment = {
		.clock = d->at.clock,
		.transport = d->at.transport,
	};
	const struct engine_options options = {
		.meta = "",
		.host = d->options.host,
		.pid = d->options.pid,
		.instance = d->options.instance,
		.repair_only = true,
	};

	d->engine = engine_new(&environment, &options);
}

static void copy_options(struct chunkd *d, const struct chunkd_options *options)
{
	const char *node = options->node && *options->node ? options->node : options->host;

	d->options = (struct chunkd_options){
		.listen = copy(options->listen),
		.advertise = copy(options->advertise),
		.local = copy(options->local),
		.meta = copy(options->meta),
		.host = copy(options->host),
		.zone = copy(options->zone),
		.rack = copy(options->rack),
		.node = copy(node),
		.pid = options->pid,
		.instance = options->instance,
	};
}

static void free_options(struct chunkd *d)
{
	const char *const texts[] = {
		d->options.listen, d->options.advertise, d->options.local, d->options.meta,
		d->options.host,   d->options.zone,      d->options.rack,  d->options.node,
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free((void *)(uintptr_t)texts[i]);
}

static bool begin(struct chunkd *d, char error[TEXT_BYTES])
{
	if (!listen_at(d, d->options.listen, &d->listener, error))
		return false;
	if (*d->options.local && !listen_at(d, d->options.local, &d->local_listener, error))
		return false;
	if (!meta_link_init(d, d->options.meta)) {
		snprintf(error, TEXT_BYTES,
			 "No address of a meta service: name one, --meta HOST:PORT[,HOST:PORT...]");
		return false;
	}
	return true;
}

struct chunkd *chunkd_new(const struct chunkd_environment *environment,
			  const struct chunkd_options *options, char error[TEXT_BYTES])
{
	struct chunkd *d;

	if (!options_check(options, error))
		return NULL;
	d = xcalloc(1, sizeof *d);
	d->at = *environment;
	copy_options(d, options);
	d->identity = store_identity(d->at.store);
	d->codec = codec_new();
	d->replica = replica_new(d->at.store, chunkd_now_ns(d));
	d->tick.fire = ticked;
	engine_begin(d);
	if (!begin(d, error)) {
		chunkd_free(d);
		return NULL;
	}
	d->at.clock->timer_start(d->at.clock, &d->tick, CHUNKD_TICK_NS);
	return d;
}

static void close_connections(struct chunkd *d)
{
	struct peer *p, *next;

	meta_link_close(d);
	HASH_ITER(hh, d->peers, p, next)
	{
		if (p->state != PEER_NEW)
			chunkd_step(d, &(struct replica_event){.kind = REPLICA_DISCONNECTED,
							       .conn = p->id});
		peer_close(p);
	}
	if (d->listener)
		d->at.transport->listener_close(d->at.transport, d->listener);
	if (d->local_listener)
		d->at.transport->listener_close(d->at.transport, d->local_listener);
	d->listener = d->local_listener = NULL;
}

static void stop_if_finished(struct chunkd *d)
{
	void (*stopped)(void *context) = d->stopped;

	if (!stopped || d->engine || d->meta.identity_pending ||
	    replica_counters(d->replica).requests_under_way > 0)
		return;
	d->stopped = NULL;
	d->at.clock->timer_stop(d->at.clock, &d->tick);
	stopped(d->stopped_context);
}

static void ticked(struct io_timer *timer)
{
	struct chunkd *d = container_of(timer, struct chunkd, tick);
	uint64_t now_ns = chunkd_now_ns(d);

	d->at.clock->timer_start(d->at.clock, &d->tick, CHUNKD_TICK_NS);
	chunkd_step(d, &(struct replica_event){.kind = REPLICA_TICK});
	if (now_ns - d->store_tick_ns >= STORE_TICK_NS) {
		d->store_tick_ns = now_ns;
		store_tick(d->at.store, now_ns);
		peers_expire(d);
	}
	if (d->stopping && d->engine && (d->engine_ended || now_ns >= d->stop_deadline_ns)) {
		engine_free(d->engine);
		d->engine = NULL;
		close_connections(d);
	}
	stop_if_finished(d);
}

static void engine_ended(void *context)
{
	struct chunkd *d = context;

	d->engine_ended = true;
}

void chunkd_stop(struct chunkd *d, void (*stopped)(void *context), void *context)
{
	assert(!d->stopping);
	d->stopping = true;
	d->stopped = stopped;
	d->stopped_context = context;
	d->stop_deadline_ns = chunkd_now_ns(d) + STOP_PATIENCE_NS;
	engine_stop(d->engine, engine_ended, d);
}

void chunkd_free(struct chunkd *d)
{
	struct peer *p, *next;

	if (d->engine)
		engine_free(d->engine);
	d->at.clock->timer_stop(d->at.clock, &d->tick);
	meta_link_close(d);
	HASH_ITER(hh, d->peers, p, next)
	peer_close(p);
	if (d->listener)
		d->at.transport->listener_close(d->at.transport, d->listener);
	if (d->local_listener)
		d->at.transport->listener_close(d->at.transport, d->local_listener);
	for (unsigned i = 0; i < d->meta.address_count; i++)
		free(d->meta.addresses[i]);
	free(d->meta.entries);
	free(d->meta.fences);
	free(d->meta.engines);
	replica_free(d->replica);
	replica_update_free(&d->update);
	codec_free(d->codec);
	free_options(d);
	free(d);
}

const char *chunkd_address(const struct chunkd *d)
{
	if (*d->options.advertise)
		return d->options.advertise;
	if (d->listener && d->at.listener_address)
		return d->at.listener_address(d->listener);
	return d->options.listen;
}

bool chunkd_in_session(const struct chunkd *d)
{
	return d->meta.state == META_UP;
}

const struct engine *chunkd_engine(const struct chunkd *d)
{
	return d->engine;
}

const struct replica *chunkd_replica(const struct chunkd *d)
{
	return d->replica;
}
