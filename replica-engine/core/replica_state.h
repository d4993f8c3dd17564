/*
 * replica_state.h - the replica core's private structs, shared by replica*.c.
 *
 *   struct replica ---- chunks (hash by id) ---- mutations: requests under way at the store, in order of submission
 *        |                  |
 *        |               cover: the connection whose heartbeats renew the promise about this chunk
 *        |                  |
 *        +------------- connections (hash by id) ---- covered: its chunks;  taken: those that a later epoch took out
 */
#ifndef COPYHOLD_REPLICA_STATE_H
#define COPYHOLD_REPLICA_STATE_H

#include "common/base/hash.h"
#include "replica-engine/core/replica.h"

TAILQ_HEAD(replica_chunks, replica_chunk);
TAILQ_HEAD(replica_requests, replica_request);

/*
 * A connection that said HELLO. Stays, with closed set, until the last of its requests has come back from the
 * store: the next connection of the same instance is admitted only then.
 */
struct replica_conn {
	uint64_t id;
	struct uuid instance;
	uint64_t connection;
	bool admitted;
	bool closed;
	uint32_t requests;             /* under way */
	uint64_t heard_ns;             /* last frame */
	uint64_t heartbeat_ns;         /* last HEARTBEAT that was answered; 0: none */
	struct replica_chunks covered; /* heartbeats promise these */
	uint32_t covered_count;
	uint64_t *taken; /* named in heartbeat answers */
	uint32_t taken_count, taken_capacity;
	uint64_t
		told_bytes; /* of room, at last: the engine may send so much before it hears more */
	UT_hash_handle hh;
};

/* The SYNC that waits for an answer, at most one a chunk: a later epoch supersedes it, a repeat replaces it. */
struct replica_sync {
	uint64_t conn; /* id; 0: none. The connection may have gone since */
	uint64_t id;
	uint64_t epoch;
	bool told_to_wait;
};

/*
 * What is volatile about one chunk. promise_until_ns: no epoch above promise_epoch is let in before; while the chunk is
 * covered the connection's heartbeats prolong it (see chunk_promise_until).
 */
struct replica_chunk {
	uint64_t chunk;
	uint64_t wanted_epoch; /* the latest that asked to be let in, or that metad told */
	enum store_status
		raise_status; /* of the last try to make it durable; not tried again until asked again */
	struct replica_sync sync;
	uint64_t promise_epoch;
	uint64_t promise_until_ns;
	uint64_t promise_conn; /* id of the connection that was promised last */
	struct replica_conn *cover;
	struct replica_requests mutations;
	struct replica_requests queries;         /* READ and VERSIONS under way */
	bool waiting;                            /* in replica.waiting, for the clock */
	TAILQ_ENTRY(replica_chunk) cover_link;   /* in cover->covered */
	TAILQ_ENTRY(replica_chunk) waiting_link; /* in replica.waiting */
	UT_hash_handle hh;
};

/* Whom to answer, and what the answer repeats from the request. */
struct replica_caller {
	struct replica_conn *conn; /* NULL: nobody */
	enum msg_type type;        /* of the request */
	uint64_t id;
	uint64_t chunk, epoch, generation;
	uint32_t offset, bytes, unit;
};

/*
 * One request under way: an operation at the store, or (mutations only) a repeat that waits behind what it repeats.
 * Finished requests are used again from the next step on.
 */
struct replica_request {
	struct store_op op;
	struct replica_caller caller;
	struct replica_chunk *chunk;
	uint64_t begun_ns;
	bool mutation;
	bool repeat; /* of something that is durable when its turn comes: never submitted */
	bool done;
	struct version *versions;          /* INVALIDATE: ours, until done */
	TAILQ_ENTRY(replica_request) link; /* chunk.mutations, chunk.queries, or the pool */
};

struct replica {
	struct store *store;
	uint64_t start_ns;
	uint64_t now_ns;
	struct replica_update *update; /* during a step */
	struct replica_chunk *chunks;
	struct replica_conn *connections;
	struct replica_chunks waiting;    /* chunks that the clock alone brings on */
	struct replica_requests free;     /* the pool */
	struct replica_requests finished; /* what the last update may still point to */
	struct replica_counters counters;
	uint64_t told_bytes; /* of room, to all connections together */
};

/* ---- replica.c: pools, actions, answers ---- */
struct replica_action *replica_act(struct replica *r, enum replica_action_kind kind, uint64_t conn);
/* The caller of a message about a chunk. */
struct replica_caller replica_caller_of(struct replica_conn *conn, const struct msg *msg);
/*
 * Begins the answer to a caller: type, id, chunk, epoch and what else the request brought are set, the rest is zero.
 * NULL if nobody waits for it any more.
 */
struct msg *replica_answer(struct replica *r, const struct replica_caller *caller,
			   enum wire_status status);
/* The room that may be told to a connection; it counts as told. */
uint64_t replica_room_for(struct replica *r, struct replica_conn *conn);
/* Answers with a verdict that is not ACCEPT (seen: the epoch that FENCED names). */
void replica_answer_verdict(struct replica *r, const struct replica_caller *caller,
			    enum replica_verdict verdict, uint64_t seen);
struct replica_conn *replica_conn_find(struct replica *r, uint64_t id);
/* The chunk's volatile state, made at need; for chunks that the store has. */
struct replica_chunk *replica_chunk_get(struct replica *r, uint64_t chunk, uint64_t fence);
struct replica_chunk *replica_chunk_find(struct replica *r, uint64_t chunk);
void replica_chunk_drop(struct replica *r, struct replica_chunk *c);
/* A request from the pool, its op zeroed except for the checksums. */
struct replica_request *replica_request_new(struct replica *r, struct replica_chunk *c,
					    const struct replica_caller *caller,
					    enum store_op_kind kind);
/* Emits the STORE action; mutations queue up in the chunk. */
void replica_request_submit(struct replica *r, struct replica_request *q);
/* Queues a repeat behind the mutations under way. */
void replica_request_after(struct replica *r, struct replica_request *q);

/* What a message about a chunk finds here. */
struct replica_found {
	struct store_chunk info;
	struct replica_chunk *c;
	struct replica_standing at;
};
/* False after having answered NOT_FOUND. */
bool replica_find(struct replica *r, const struct replica_caller *caller,
		  struct replica_found *found);
/* The same, and the epoch has been let in; false after having answered why not. */
bool replica_find_owned(struct replica *r, const struct replica_caller *caller,
			struct replica_found *found);
/* Where the chunk stands now. False if it is gone. */
bool replica_stand(struct replica *r, struct replica_chunk *c, struct store_chunk *info,
		   struct replica_standing *at);
enum wire_status replica_wire_status(enum store_status status);
/* The chunk's queue has moved on: answers what is done, lets a waiting SYNC go on. */
void replica_chunk_settle(struct replica *r, struct replica_chunk *c);

/* ---- replica_grant.c: connections, grants and promises ---- */
void replica_connected(struct replica *r, const struct replica_event *event);
void replica_disconnected(struct replica *r, struct replica_conn *conn);
/* Closes from our side. */
void replica_conn_close(struct replica *r, struct replica_conn *conn);
/* One of its requests has ended. */
void replica_conn_request_ended(struct replica *r, struct replica_conn *conn);
/* False if the peer had been silent for too long: it was told so, and the connection is closed. */
bool replica_heard(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_heartbeat(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_bye(struct replica *r, struct replica_conn *conn);
/* An answer at the fence's epoch goes out on conn: from now on its heartbeats cover the chunk. */
void replica_cover(struct replica *r, struct replica_chunk *c, struct replica_conn *conn,
		   uint64_t epoch);
/* No heartbeat covers the chunk any more; its connection's answers name it as taken out if `name` is set. */
void replica_uncover(struct replica_chunk *c, bool name);
/* Conn's heartbeat answers stop naming the chunk. */
void replica_untake(struct replica_conn *conn, uint64_t chunk);
uint64_t replica_promise_until(const struct replica_chunk *c);
void replica_close_idle(struct replica *r);

/* ---- replica_sync.c: epochs and the life of a chunk ---- */
void replica_sync(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_release(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_create(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_created(struct replica *r, struct replica_request *q);
void replica_fence(struct replica *r, const struct msg_fence *fence);
void replica_delete(struct replica *r, const struct msg_delete *delete_);
/* Takes the next step towards the wanted epoch, and answers a SYNC that has got there. */
void replica_advance(struct replica *r, struct replica_chunk *c);
/* An operation of replica_advance came back. */
void replica_raised(struct replica *r, struct replica_request *q);
void replica_advance_waiting(struct replica *r);

/* ---- replica_data.c: requests of the data path ---- */
void replica_write(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_read(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_copy(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_repair(struct replica *r, struct replica_conn *conn, const struct msg *msg);

/* ---- replica_resync.c: versions, invalid units, joining and mending ---- */
void replica_versions(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_invalidate(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_join(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_mend_begin(struct replica *r, struct replica_conn *conn, const struct msg *msg);
void replica_mend_end(struct replica *r, struct replica_conn *conn, const struct msg *msg);

/* Answers a request that has come back from the store, filling in what its type carries. */
void replica_finish_data(struct replica *r, struct replica_request *q);
void replica_finish_resync(struct replica *r, struct replica_request *q, struct msg *answer);

#endif
