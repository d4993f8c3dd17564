/*
 * owner.h - the owner core: one chunk's lease owner as a pure step function.
 *
 *      owner_step(owner, event) -> actions
 *
 * No socket, file, clock, thread or randomness: time comes with each event, everything that is to be done comes out
 * as an action, in order. One struct owner is one chunk; the replica engine (replica-engine/engine) has many of them and the
 * simulator drives the same object files.
 *
 *   phase      entered by                     what runs in it
 *   ---------  -----------------------------  ---------------------------------------------------------------
 *   IDLE       owner_init, lease returned     nothing; requests wait, OWNER_ASK_LEASE has been emitted if any do
 *   SYNCING    LEASE granted (epoch, list)    SYNC(e) to every replica; all ACTIVE ones answer or are evicted
 *   ROLLING    their answers differ           units that differ are copied from the reference (roll forward)
 *   IO         all equal                      reads, writes, evictions, repair
 *   FENCED     FENCED or NOT_OWNER heard      every request fails with WIRE_FENCED; ended by owner_init
 *
 * Invariants (asserted): in IO all members that are ACTIVE had equal (position, digest) when it began; `acknowledged`
 * <= `sent`; a generation that was sent is never given up in the phases up to IO; a request is completed exactly once.
 *
 * Reads and writes: overlapping requests go in the order of their arrival, unless both only read. A COPY reads its unit.
 * A read is sent only while a grant of every ACTIVE replica is valid (owner_peer below).
 */
#ifndef COPYHOLD_OWNER_H
#define COPYHOLD_OWNER_H

#include "common/base/buf.h"
#include "proto/msg.h"

/*
 * A connection to one chunk server as all chunks of an engine share it. Kept by the engine, read by the owners (who
 * also keep promised_bytes).
 *
 * connection grows with each new connection to this chunk server and is 0 while there is none: what was heard on an
 * older one grants nothing. asked_ns: when the latest heartbeat that has been answered on this connection was asked;
 * it lets an owner read for GRANT_NS from then on, for chunks that are covered on this connection.
 */
struct owner_peer {
	uint32_t cid;
	uint64_t connection;
	uint64_t asked_ns;
	uint64_t
		heard_ns; /* last frame of any kind from it on this connection, or when it came up */
	uint64_t down_since_ns; /* when the last connection ended; 0 while connected */
	uint64_t free_bytes;    /* as last told; UINT64_MAX: not yet known */
	uint64_t
		promised_bytes; /* units touched by writes that were sent to it and are not answered */
	bool local;             /* on this host: preferred for reads */
	bool slow;              /* fail-slow: read only if no other will do */
	bool dead;              /* metad says that its session has ended */
};

enum owner_operation {
	OWNER_READ,
	OWNER_WRITE,
	OWNER_ZERO,
	OWNER_DISCARD,
	OWNER_EXTENTS, /* which units hold data: answered with OWNER_COMPLETE, result in `extents` */
	OWNER_COPY, /* internal: a unit on its way to another replica; ordered as a read of the unit */
	OWNER_SCRUB, /* internal: a unit that is read at all replicas; likewise */
};

enum owner_request_state {
	OWNER_REQUEST_BLOCKED, /* behind an earlier overlapping request */
	OWNER_REQUEST_READY, /* waits for the phase, the grants, the window or a hold to let it go */
	OWNER_REQUEST_READING, /* READ sent (also the reading half of a write below a block, or of a COPY) */
	OWNER_REQUEST_WRITING, /* its generation, or its COPY, has been sent */
	OWNER_REQUEST_DONE,
};

/*
 * One request to one chunk, embedded by the engine, which zeroes it, fills the first part and keeps the memory until the
 * OWNER_COMPLETE action for it. At most IO_BYTES_MAX. READ: any bytes. WRITE, ZERO, DISCARD: whole blocks; WRITE also a
 * range inside one block (it is read, merged and checksummed here as one ordered request).
 *
 * WRITE: data holds `bytes` bytes and its reference passes to the owner. For whole blocks crcs may be filled in
 * already (crcs_valid), else the owner makes them. At completion with WIRE_FENCED it passes back, as it came.
 * READ: at completion with WIRE_OK data covers exactly the range asked for and its reference passes to the engine; an
 * empty slice means zeros. The checksums have been verified.
 */
struct owner_request {
	enum owner_operation operation;
	uint32_t offset, bytes;
	struct slice data;
	bool crcs_valid;
	uint32_t crcs[IO_BLOCKS_MAX];
	uint8_t *
		extents; /* EXTENTS: at completion one bit a unit of the chunk, valid during the action */
	void *context;

	/* the owner's */
	enum owner_request_state state;
	uint32_t block_offset, block_bytes; /* the range rounded out to blocks */
	uint32_t blockers;                  /* earlier overlapping requests still under way */
	bool queued;                        /* in the ready queue or the window */
	bool merged;
	uint8_t reader;     /* slot asked */
	uint32_t tried;     /* bit per slot that is not to be asked again */
	uint32_t bad_slots; /* of these: those that had bad blocks */
	uint32_t passed_by; /* of these: those that were slow and may have good ones */
	uint64_t id;        /* of the READ, COPY or REPAIR under way */
	uint64_t
		generation; /* WRITE: 0 until it is sent. COPY: writes up to this one are in the source already */
	uint32_t answered; /* bit per slot that has this generation */
	uint64_t sent_ns, arrived_ns;
	bool partial; /* data is ours, some blocks are missing still */
	uint8_t missing[IO_BLOCKS_MAX / 8];
	uint8_t zero[IO_BLOCKS_MAX / 8];
	struct version version;
	uint32_t bad_units;  /* READ: bit per unit of the range that had bad blocks somewhere */
	uint32_t unit;       /* COPY, SCRUB */
	uint8_t destination; /* COPY: slot */
	uint8_t purpose;     /* COPY: enum owner_copy_purpose */
	TAILQ_ENTRY(owner_request) link;  /* all requests in the order of arrival, or the movers */
	TAILQ_ENTRY(owner_request) queue; /* ready ones, or the window by generation */
};
TAILQ_HEAD(owner_requests, owner_request);

enum owner_copy_purpose {
	COPY_TO_FILL,
	COPY_TO_ROLL,
};

enum owner_phase {
	OWNER_IDLE,
	OWNER_SYNCING,
	OWNER_ROLLING,
	OWNER_SHORT, /* too few ACTIVE ones can be had for IO: those that are there fill another one */
	OWNER_IO,
	OWNER_FENCED,
};

/* Why IO is held, for status. */
enum owner_hold {
	OWNER_HOLD_NONE,
	OWNER_HOLD_LEASE,   /* no lease yet */
	OWNER_HOLD_SYNC,    /* replicas have not answered SYNC, or are being rolled forward */
	OWNER_HOLD_PROMISE, /* a replica waits for its promise to the previous owner */
	OWNER_HOLD_REPLICA, /* a replica does not answer; its eviction is asked for or is coming */
	OWNER_HOLD_TOO_FEW, /* it can't be evicted: fewer than min_replicas would remain */
	OWNER_HOLD_LOST, /* no ACTIVE replica has reached the floor: acknowledged data is missing */
};

enum owner_slot_state {
	SLOT_NEW,    /* to be sent SYNC as soon as there is a connection */
	SLOT_ASKED,  /* SYNC sent */
	SLOT_SYNCED, /* has answered SYNC at our epoch */
	SLOT_COMPARING, /* FILLING: VERSIONS, INVALIDATE, JOIN are under way, new generations are held */
	SLOT_JOINED, /* FILLING: gets every new generation, is being filled */
	SLOT_FAILED, /* a disk error, or it lost what it had answered: to be evicted */
};

/* One replica as the owner sees it. */
struct owner_slot {
	bool used;
	bool counts; /* ACTIVE as the owner counts: writes wait for it, reads need its grant */
	bool leaving; /* dropped in the commit that promotes the FILLING one, or evicted if there is none */
	bool promoting; /* PROMOTE has been asked for and not been answered */
	bool streaming; /* synced on the present connection: new generations are sent as they come */
	bool creating;  /* CREATE was sent since SYNC said NOT_FOUND */
	bool taken_out;
	bool absent;     /* can't be had, nor be evicted: rolling and SHORT do without it */
	bool rolling;    /* its MEND_BEGIN is durable: units may be rolled there */
	bool mending;    /* as it last said */
	bool unreadable; /* as the reference it could not be read: another one is, if there is any */
	enum replica_state listed; /* in metad's list */
	enum owner_slot_state state;
	uint8_t retries;
	uint8_t roll_failures; /* since it was level last */
	uint8_t fill_failures; /* FILLING: no room or a disk error, since a unit was copied to it last */
	uint32_t cid;
	struct owner_peer *peer;
	uint64_t commit; /* of its CREATE */
	uint64_t
		covered_connection; /* grants: on which it first answered about this chunk at our epoch */
	uint64_t covered_asked_ns; /* and when that answer had been asked */
	struct version position;
	uint64_t digest;
	uint64_t
		exchange_id; /* of the SYNC, VERSIONS, INVALIDATE, JOIN or MEND under way; 0: none */
	uint64_t asked_ns;   /* and when it was sent */
	uint64_t promise_until_ns; /* it told us that it waits until then */
	uint64_t answered_generation;
	uint64_t join_generation; /* g0 of its JOIN */
	uint64_t retry_ns;        /* FILLING, and FAILED: not before */
	struct version *
		versions; /* rolling: its own; FILLING: the source's at the join; unit_count entries */
	uint8_t *invalid; /* bit per unit: JOINED: still to be copied; rolling: invalid there */
	uint32_t invalid_units;
	uint32_t next_unit;
	uint32_t copies; /* under way */
};

/* Copies of one chunk that may be under way at a time; the engine paces across chunks. */
#define OWNER_COPIES_MAX 4

struct owner {
	enum owner_phase phase;
	uint64_t chunk, root_chunk, chunk_bytes;
	uint32_t unit_count;
	uint64_t epoch, list_number, floor;
	uint32_t min_replicas;
	struct owner_slot slots[REPLICAS_MAX];
	unsigned slot_end; /* those in use lie below it */

	struct owner_requests
		requests; /* all that are not completed, in order of arrival; COPY to fill or repair too */
	struct owner_requests ready;
	struct owner_requests window; /* generations sent and not settled, in order */
	struct owner_requests
		movers; /* COPY to roll forward: before IO, so beside the order of requests */
	uint32_t request_count;
	uint64_t sent, settled;  /* generations */
	struct version position; /* of the last generation sent */
	uint32_t window_bytes;
	uint64_t next_id;

	bool lease_asked;
	bool given_up;
	bool fences; /* a replica of the list has let this epoch in: no earlier owner reads or writes any more */
	bool wanted; /* set by the engine: taken for its own sake (fencing, repair), not for a request */
	bool returning;
	int joining;         /* slot whose join holds new generations, or -1 */
	int reference;       /* slot that others are rolled to, or -1 */
	uint32_t copies;     /* under way for this chunk */
	uint32_t copy_limit; /* set by the engine: how many may be under way now */
	struct owner_request *copy_pool;
	struct owner_scrub *scrub;   /* owner_scrub.c; NULL: none yet */
	bool scrub_asked;            /* to begin as soon as there is IO */
	uint64_t scrub_budget_bytes; /* set by the engine, taken off as units are begun */
	bool lost;

	/* Which units every replica holds already, asked for when there is no room (owner_room.c). */
	struct {
		bool known;
		uint8_t *held;              /* one bit a unit; NULL: never asked */
		uint64_t ids[REPLICAS_MAX]; /* of VERSIONS that aren't answered; 0: none */
		uint64_t connections
			[REPLICAS_MAX]; /* of the slot's peer, on which it answered; 0: it did not */
		uint64_t asked_ns;
	} room;

	struct {
		bool asked;
		enum change_kind kind;
		uint32_t cid;
		uint64_t asked_ns, retry_ns;
		uint64_t list_number;
		bool refused; /* the last eviction was: too few would remain */
	} change;

	struct {
		uint64_t checksum_errors, repaired_blocks, read_errors;
		uint64_t retransmitted_generations, copied_units, evictions, promotions;
		uint64_t scrubs, scrubbed_units;
	} counters;
	void *context; /* the engine's */
};

enum owner_event_kind {
	OWNER_EVENT_REQUEST, /* request */
	OWNER_EVENT_CANCEL, /* request: fails with IO_ERROR, unless its generation has been sent: that one goes its way */
	OWNER_EVENT_LEASE, /* chunk: granted (its slots' peers are found through lookup) */
	OWNER_EVENT_LIST, /* chunk: pushed by metad; at a later epoch: another owner has the lease */
	OWNER_EVENT_CHANGED,   /* list, status: the answer to OWNER_CHANGE */
	OWNER_EVENT_MESSAGE,   /* cid, msg: an answer from a replica on its present connection */
	OWNER_EVENT_PEER_UP,   /* cid */
	OWNER_EVENT_PEER_DOWN, /* cid: its grants are over at once */
	OWNER_EVENT_GRANTED,   /* cid: a heartbeat was answered: reads that waited may go */
	OWNER_EVENT_TAKEN,     /* cid: a heartbeat answer named this chunk: a later epoch is in */
	OWNER_EVENT_META_UP, /* metad is (again) there: a change that was asked before is asked again */
	OWNER_EVENT_SCRUB, /* read the whole chunk on all replicas and compare; one at a time, asking again changes nothing */
	OWNER_EVENT_RETURN, /* give the lease back; no request may be under way or come */
	OWNER_EVENT_TICK,
};

struct owner_event {
	enum owner_event_kind kind;
	uint64_t now_ns;
	struct owner_request *request;
	const struct msg_chunk *chunk;
	enum wire_status status;
	uint32_t cid;
	const struct msg *msg;
};

enum owner_action_kind {
	OWNER_SEND,         /* msg to the chunk server of cid, on its present connection */
	OWNER_ASK_LEASE,    /* IDLE and there are requests */
	OWNER_CHANGE,       /* msg.u.change to metad; answered by OWNER_EVENT_CHANGED */
	OWNER_COMPLETE,     /* request, status */
	OWNER_LEASE_RETURN, /* msg.u.lease_return to metad: the owner is IDLE now */
	OWNER_LEASE_LOST,   /* phase FENCED was entered */
	OWNER_SCRUBBED,     /* msg.u.scrubbed to metad */
};

struct owner_action {
	enum owner_action_kind kind;
	uint32_t cid;
	struct owner_request *request;
	enum wire_status status;
	struct msg
		msg; /* only the fields of its type are set; pointers are valid until the next step */
};

/* Actions in the order in which they are to be done. Reused from step to step; grows as needed. */
struct owner_update {
	struct owner_action *actions;
	uint32_t count, capacity;
	/* Finds (or makes) the engine's peer for a chunk server; the pointer stays valid as long as the engine. */
	struct owner_peer *(*lookup)(void *context, uint32_t cid);
	void *context;
};

void owner_init(struct owner *owner, uint64_t chunk, uint64_t root_chunk, uint64_t chunk_bytes);
/* Frees what the owner holds; there must be no request left. */
void owner_destroy(struct owner *owner);
/* update->count is 0 when it begins and the number of actions when it returns. */
void owner_step(struct owner *owner, const struct owner_event *event, struct owner_update *update);
void owner_update_free(struct owner_update *update);

/* The lease is given up at once, as if a replica had said FENCED: the next step fails every request and says LEASE_LOST. */
void owner_give_up(struct owner *owner);

/* True while the owner has work for which it wants ticks (every OWNER_TICK_NS). */
#define OWNER_TICK_NS (100 * NS_PER_MS)
bool owner_needs_tick(const struct owner *owner);
/* True if a read may be sent now: phase IO and a valid grant of every ACTIVE replica. */
bool owner_may_read(const struct owner *owner, uint64_t now_ns);
/*
 * True once no earlier owner can read or write: one ACTIVE replica has let this epoch in. All that metad lists as ACTIVE when it grants
 * the lease were counted by the owner before, who needs a grant of each to read, and the answer of each to acknowledge.
 */
bool owner_fences(const struct owner *owner);
/* True if this owner believes that it may take generations now. */
bool owner_may_write(const struct owner *owner);
/* A scrub of the chunk is asked for or under way. */
bool owner_scrubs(const struct owner *owner);
/* Every listed replica is ACTIVE and level, nothing is joining, no change under way. */
bool owner_repaired(const struct owner *owner);
enum owner_hold owner_hold(const struct owner *owner, uint64_t now_ns);

#endif
