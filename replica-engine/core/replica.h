/*
 * replica.h - the replica core: a chunk server's side of the protocol as a pure step function.
 *
 *      replica_step(replica, event, update)
 *
 * One struct replica is one chunk server. It holds what must not be durable: who is connected, what was promised to
 * whom, what is under way at the store. What must be durable (fence, base, position) lives in the store, is read with
 * store_chunk_get(), and is changed only by the store operations that come out as actions. No socket, file, clock, thread or
 * randomness: time comes with each event. The driver (replica-engine/chunkd) and the simulator drive the same object files.
 *
 * The way of a SYNC(e) that takes a chunk over (replica_sync.c):
 *
 *      SYNC(e) --> taken out of the previous owner's connection; its requests hear FENCED
 *              --> the promise to it runs out (WAIT is answered meanwhile), or it sends RELEASE or BYE
 *              --> writes accepted from it are durable
 *              --> fence = e, base = the generation reached: durable
 *              --> SYNC_OK
 *
 * so that a durable fence e means: every promise to an epoch before e has ended. A fence that metad tells, and the
 * least epoch of a CREATE for a replica that is there already, go the same way.
 *
 * Order of effects: the driver carries out the actions of an update in their order, and all of them before the next step.
 * What an action points to (payload, checksums, lists) is valid until the next step. The core allocates nothing for a
 * data request once its pool has grown to the window in use.
 */
#ifndef COPYHOLD_REPLICA_H
#define COPYHOLD_REPLICA_H

#include "proto/msg.h"
#include "replica-engine/core/replica_check.h"
#include "replica-engine/store/store.h"

struct replica;

/* An owner may have this many requests under way on one connection; one that sends more is cut off. */
#define REPLICA_CONN_REQUESTS_MAX 16384u
/* A connection on which nothing was heard for this long is closed: its peer has gone without saying so. */
#define REPLICA_IDLE_NS (60 * NS_PER_S)

enum replica_event_kind {
	REPLICA_CONNECTED, /* conn, instance, connection: HELLO came; to be answered at ADMIT */
	REPLICA_MESSAGE,   /* conn, msg: valid during the step; op->data may refer to its payload */
	REPLICA_DISCONNECTED, /* conn; not for those that a CLOSE action closed */
	REPLICA_STORED,       /* op: its done() was called */
	REPLICA_TICK,         /* every 20 ms or so */
	REPLICA_FENCE,        /* fence: metad's epoch of a chunk */
	REPLICA_DELETE,       /* delete_: metad's order */
};

struct replica_event {
	enum replica_event_kind kind;
	uint64_t now_ns; /* CLOCK_BOOTTIME; never goes back */
	uint64_t conn;   /* chosen by the driver, never used twice */
	struct uuid instance;
	uint64_t connection;
	const struct msg *msg;
	struct store_op *op;
	struct msg_fence fence;
	struct msg_delete delete_;
};

enum replica_action_kind {
	REPLICA_SEND,  /* conn, msg */
	REPLICA_STORE, /* op: set done and context, store_submit() */
	REPLICA_CLOSE, /* conn: close it; no DISCONNECTED follows */
	REPLICA_ADMIT, /* conn: answer its HELLO; messages may come now */
};

struct replica_action {
	enum replica_action_kind kind;
	uint64_t conn;
	struct store_op *op;
	struct msg msg;
};

/* The actions of one step. Zeroed before its first use, used again for each step, freed with replica_update_free(). */
struct replica_update {
	struct replica_action *actions;
	uint32_t count;
	uint32_t capacity;
};
void replica_update_free(struct replica_update *update);

/* What has happened since the start, for health reports. Latencies are sums over all completed requests. */
struct replica_counters {
	uint64_t writes, reads;
	uint64_t write_ns, read_ns;
	uint64_t duplicates, gaps, fenced, silent, bad_checksums;
	uint64_t syncs, sync_waits;
	uint32_t connections, chunks_covered, requests_under_way;
};

/*
 * The store must be open and outlive the replica. now_ns: the moment of the start. What an earlier run promised is
 * forgotten, so nobody is let in at a later epoch before a whole promise has passed.
 */
struct replica *replica_new(struct store *store, uint64_t now_ns);
/* Frees the memory, that of operations under way too: the store must not come back to any (it was freed before). */
void replica_free(struct replica *replica);

void replica_step(struct replica *replica, const struct replica_event *event,
		  struct replica_update *update);

struct replica_counters replica_counters(const struct replica *replica);

#endif
