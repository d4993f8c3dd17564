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
 * A connection to one chunk server as all chunks of an engine share it. Kept by the engine, read by the owners.
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
	bool local;             /* on this host: preferred for reads */
	bool slow;              /* fail-slow: read only if no other will do */
	bool dead;              /* metad says that its session has ended */
};

enum owner_operation {
	OWNER_READ,
	OWNER_WRITE,
	OWNER_ZERO,
	OWNER_DISCARD,
	OWNER_COPY, /* internal: a unit on its way to a FILLING replica; ordered as a read of the unit */
};

enum owner_request_state {
	OWNER_REQUEST_NEW,
	OWNER_REQUEST_BLOCKED, /* behind an earlier overlapping request */
	OWNER_REQUEST_WAITING, /* ready, but the phase, the grants, the window or a hold does not let it go yet */
	OWNER_REQUEST_READING, /* READ sent (also the reading half of a write below a block) */
	OWNER_REQUEST_WRITING, /* its generation has been sent */
	OWNER_REQUEST_COPYING, /* COPY sent to the destination */
	OWNER_REQUEST_DONE,
};

/*
 * One request to one chunk, embedded by the engine, which fills the first part and keeps the memory until the
 * OWNER_COMPLETE action for it. The range may be any bytes of the chunk (a write below a block is read, merged
 * and checksummed here as one ordered request), at most IO_BYTES_MAX.
 *
 * WRITE: data holds `bytes` bytes; the owner takes its own reference. For a range of whole blocks crcs may be filled in already
 * (crcs_valid), else the owner makes them.
 * READ: at completion data covers exactly the range asked for; the engine owns that reference and drops it. An empty slice
 * with all_zero set means zeros. The checksums have been verified.
 */
struct owner_request {
	enum owner_operation operation;
	uint32_t offset, bytes;
	struct slice data;
	bool crcs_valid;
	bool all_zero;
	uint32_t crcs[IO_BLOCKS_MAX];
	void *context;

	/* the owner's */
	enum owner_request_state state;
	uint32_t block_offset, block_bytes; /* the range rounded out to blocks */
	uint32_t blockers;                  /* earlier overlapping requests still under way */
	uint64_t generation;
	uint32_t answered; /* bit per slot that has answered this generation */
	uint32_t tried;    /* READ: bit per slot that could not serve it */
	uint8_t reader;    /* READ: slot asked */
	uint64_t sent_ns;  /* when the message that waits for an answer went out */
	uint64_t arrived_ns;
	bool merged;
	bool counted;                    /* already weighed against the free space */
	uint16_t bad_mask, repair_slots; /* READ of a unit with bad blocks: who is to be repaired */
	uint32_t unit;                   /* COPY */
	uint8_t destination;             /* COPY: slot */
	TAILQ_ENTRY(owner_request) link; /* all requests in the order of arrival */
	TAILQ_ENTRY(owner_request) queue; /* ready ones, or those in flight by generation */
};
TAILQ_HEAD(owner_requests, owner_request);

enum owner_phase {
	OWNER_IDLE,
	OWNER_SYNCING,
	OWNER_ROLLING,
	OWNER_IO,
	OWNER_FENCED,
};

/* Why IO is held, for status. */
enum owner_hold {
	OWNER_HOLD_NONE,
	OWNER_HOLD_LEASE,   /* no lease yet */
	OWNER_HOLD_SYNC,    /* replicas have not answered SYNC */
	OWNER_HOLD_PROMISE, /* a replica waits for its promise to the previous owner */
	OWNER_HOLD_REPLICA, /* a replica does not answer; its eviction is asked for or is coming */
	OWNER_HOLD_TOO_FEW, /* it can't be evicted: fewer than min_replicas would remain */
	OWNER_HOLD_LOST, /* no ACTIVE replica has reached the floor: acknowledged data is missing */
};

enum owner_slot_state {
	SLOT_NEW,       /* to be sent SYNC as soon as there is a connection */
	SLOT_ASKED,     /* SYNC sent */
	SLOT_SYNCED,    /* has answered SYNC at our epoch */
	SLOT_JOINING,   /* FILLING: versions are being compared */
	SLOT_JOINED,    /* FILLING: gets every new generation, is being filled */
	SLOT_PROMOTING, /* PROMOTE asked: counts as ACTIVE from now on */
	SLOT_FAILED,    /* disk error or below its answered generation: to be evicted */
};

/* One replica as the owner sees it. */
struct owner_slot {
	bool used;
	uint32_t cid;
	struct owner_peer *peer;
	enum replica_state listed; /* in metad's list */
	bool counts; /* ACTIVE as the owner counts: writes wait for it, reads need its grant */
	bool leaving;
	uint64_t commit; /* of its CREATE */
	enum owner_slot_state state;
	uint64_t connection; /* on which the current exchange runs */
	uint64_t
		covered_connection; /* grants: on which it first answered about this chunk at our epoch */
	uint64_t covered_asked_ns; /* and when that answer had been asked */
	bool taken_out;
	struct version position;
	uint64_t digest;
	bool mending;
	bool listed_versions;
	struct version *versions; /* while rolling or joining */
	uint64_t answered_generation;
	uint64_t waiting_since_ns; /* oldest unanswered message; 0: none */
	uint64_t promise_until_ns; /* it told us to wait until then */
	uint8_t *invalid;          /* JOINED: units still to be copied */
	uint32_t invalid_count;
	uint32_t copies; /* under way */
	uint32_t next_unit;
	uint64_t retry_ns;
};

#endif
