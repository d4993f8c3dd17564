/*
 * metad.h - the meta service as a driver of the meta core over the seams to time, network and store.
 *
 * It greets connections (HELLO: protocol version, cluster, one connection an instance), decodes what comes, steps the core,
 * commits its rows and lets each output go when what it depends on is durable. Rows that are produced while a commit
 * runs go into the next one together. When a commit fails it reloads the store into a new core and closes all
 * connections; while the store can't be read it tries again every second and refuses to serve.
 *
 * The daemon's main.c gives it libev and SQLite, the simulator its own.
 */
#ifndef COPYHOLD_METAD_H
#define COPYHOLD_METAD_H

#include "common/io/clock.h"
#include "common/io/transport.h"
#include "meta-service/core/meta.h"
#include "meta-service/store/meta_store.h"

/* All of it stays the caller's and must outlive the metad. */
struct metad_environment {
	struct io_clock *clock;
	struct io_transport *transport;
	struct meta_store *store;
	const char *listen_address;
	struct meta_config config;
	/* Milliseconds since 1970, for people. */
	uint64_t (*wall_ms)(void *context);
	void *wall_context;
};

struct metad;

/* Loads the store and listens. NULL with a text in error: what went wrong and what to do. */
struct metad *metad_new(const struct metad_environment *environment,
			char error[META_STORE_ERROR_BYTES]);
/*
 * Closes all connections and the listener. If a commit is under way the caller closes the store before its loop turns
 * again, so that the commit's done() has nobody to call.
 */
void metad_free(struct metad *metad);
/* The cluster served. */
struct uuid metad_cluster(const struct metad *metad);
/* Where it listens; valid as long as the metad. */
struct io_listener *metad_listener(const struct metad *metad);
/* The driver's core, for checkers; NULL while the store can't be read. It changes when a commit has failed. */
const struct meta *metad_core(const struct metad *metad);

#endif
