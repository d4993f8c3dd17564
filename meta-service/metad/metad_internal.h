/* metad_internal.h - what the driver's files share: connections, and the queue of outputs. */
#ifndef COPYHOLD_METAD_INTERNAL_H
#define COPYHOLD_METAD_INTERNAL_H

#include "common/trace/trace.h"
#include "meta-service/metad/metad.h"
#include "proto/codec.h"

#define MODULE "metad"

struct peer {
	struct metad *metad;
	struct io_conn *conn;
	uint64_t id; /* what the core calls it */
	bool greeted;
	enum peer_role role;
	struct uuid instance;
	uint64_t number; /* HELLO's connection */
	uint64_t accepted_ns;
	TAILQ_ENTRY(peer) link;
};
TAILQ_HEAD(peers, peer);

/* An output that waits for the commit of a batch. */
struct waiting {
	uint64_t batch;
	struct meta_output output;
	STAILQ_ENTRY(waiting) link;
};
STAILQ_HEAD(waiting_queue, waiting);

struct metad {
	struct metad_environment env;
	struct codec *codec;
	struct meta *core; /* NULL: the store can't be read at present */
	struct uuid cluster, instance;
	struct meta_cluster_row used; /* the highest counters of any core so far */
	struct io_listener *listener;
	struct peers peers;
	uint64_t last_peer;
	struct io_timer tick, reload;

	struct meta_update update;    /* of the step under way */
	struct waiting_queue waiting; /* in the order of their making */
	bool flushing;
	/* batches are numbered; `filling` is the one that takes rows now */
	struct meta_row *rows, *committing_rows;
	size_t row_count, row_room, committing_room;
	uint64_t filling, committed;
	bool committing;
};

/* ---- metad_peer.c ---- */
void metad_accepted(void *context, struct io_conn *conn);
struct peer *metad_find_peer(const struct metad *metad, uint64_t id);
/* Closes it and tells the core. */
void metad_close_peer(struct metad *metad, struct peer *peer);
void metad_close_all(struct metad *metad);
/* Closes those that say nothing, or don't read what is sent to them. */
void metad_check_peers(struct metad *metad);

/* ---- metad.c ---- */
/* Steps the core and sees to what comes of it. Does nothing while there is no core. */
void metad_step(struct metad *metad, struct meta_event *event);
/* Queues an output behind all that the core has decided so far. */
void metad_queue(struct metad *metad, const struct meta_output *output);
void metad_flush(struct metad *metad);

#endif
