/*
 * chunkd.h - the chunk server as a driver of the replica core over the seams to time and network, and of an open store.
 *
 *      engines ----- chunkd_peer.c ----- replica core ----- store
 *                                            |
 *      metad ------- chunkd_meta.c ----------+----- embedded engine (repair of chunks that nobody has attached)
 *
 * It greets engines (HELLO: protocol version, cluster, disk), decodes what they send, steps the core, and carries out what
 * comes out in its order. It keeps a session with the meta service: registration, health, reports, and what metad
 * orders. Without a meta service, or refused by it, it serves what it has.
 *
 * The daemon's main.c gives it libev and io_uring, the simulator its own seams. All calls come from the loop's thread.
 */
#ifndef COPYHOLD_CHUNKD_H
#define COPYHOLD_CHUNKD_H

#include "common/io/clock.h"
#include "common/io/transport.h"
#include "replica-engine/core/replica.h"
#include "replica-engine/store/store.h"

struct chunkd;
struct engine;

/* All of it stays the caller's and must outlive the chunkd. */
struct chunkd_environment {
	struct io_clock *clock;
	struct io_transport *transport;
	struct store *store; /* open */
	/* Where a listener listens, for port 0; NULL: as it was asked. */
	const char *(*listener_address)(const struct io_listener *listener);
};

/* Strings are copied. Names and addresses as msg_session has them. */
struct chunkd_options {
	const char *listen;             /* "HOST:PORT" */
	const char *advertise;          /* where others reach it; NULL: as listened */
	const char *local;              /* "unix:/path" for engines on the same host; NULL: none */
	const char *meta;               /* "HOST:PORT[,HOST:PORT...]" */
	const char *host;               /* name of this host */
	const char *zone, *rack, *node; /* NULL: none; node: the host */
	uint32_t pid;
	struct uuid instance; /* of this running program: random, from the caller */
};

/*
 * Listens, and begins to look for metad. NULL with a text in error: what went wrong and what to do. 0 metad addresses and names
 * that the wire does not take count as such.
 */
struct chunkd *chunkd_new(const struct chunkd_environment *environment,
			  const struct chunkd_options *options, char error[TEXT_BYTES]);
/*
 * Ends in order: no new connections or requests; stopped() when the store has finished what was under way. Then the store
 * may be closed and chunkd_free be called.
 */
void chunkd_stop(struct chunkd *chunkd, void (*stopped)(void *context), void *context);
/* Frees at any time. If operations were under way the store must have been freed before. */
void chunkd_free(struct chunkd *chunkd);

/* Where it listens. */
const char *chunkd_address(const struct chunkd *chunkd);
/* True while metad knows it: registered, session open. */
bool chunkd_in_session(const struct chunkd *chunkd);
/* The core, and the engine for repairs, for checkers. */
const struct replica *chunkd_replica(const struct chunkd *chunkd);
const struct engine *chunkd_engine(const struct chunkd *chunkd);

#endif
