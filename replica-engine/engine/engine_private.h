/*
 * engine_private.h - what the engine's files share.
 *
 * One engine has
 *   - a session with metad (engine_meta.c): connects, keeps alive, carries LEASE, CHANGE and the rest; or, for repair in a chunk
 *     server, the chunk server's session in its place;
 *   - peers (engine_peer.c): one connection to each chunk server that any chunk needs, with its heartbeats;
 *   - volumes (engine_volume.c): attached ones, each with a sorted table of the chunks that exist;
 *   - chunks (engine_chunk.c): those in use, each with its owner core. Made at the first IO, or in the background after attach.
 *   - requests (engine_io.c): users' requests, cut into parts of one chunk.
 *
 * Completions are collected in `finished` and called when the outermost call from the loop is done: so none fires from
 * inside engine_submit, and a user may submit from inside his completion.
 */
#ifndef COPYHOLD_ENGINE_PRIVATE_H
#define COPYHOLD_ENGINE_PRIVATE_H

#include "proto/codec.h"
#include "replica-engine/core/owner.h"
#include "replica-engine/engine/engine.h"

#include "common/base/hash.h"

#define META_ADDRESSES_MAX 8
#define HEARTBEATS_KEPT    8
/* After attach the leases of this many existing chunks are taken in the background, so many at a time. */
#define WARM_CHUNKS  2048u
#define WARM_AT_ONCE 32u

enum meta_state {
	META_DOWN,
	META_CONNECTING, /* connection, HELLO */
	META_OPENING,    /* SESSION sent */
	META_UP,
};

struct engine_meta {
	enum meta_state state;
	char addresses[META_ADDRESSES_MAX][ADDRESS_BYTES];
	unsigned address_count, address_next;
	struct io_conn *conn;
	struct io_timer retry, keepalive;
	uint64_t connection;
	uint64_t keepalive_sequence, keepalive_asked_ns, keepalive_answered_ns;
	uint64_t granted_until_ns; /* reads of chunks that do not exist */
	unsigned failures;
	struct uuid cluster;
	/* repair_only: the chunk server's session */
	void (*send)(void *context, const struct msg *msg);
	void *send_context;
};

enum peer_state {
	PEER_DOWN,
	PEER_CONNECTING,
	PEER_UP,
};

struct peer {
	struct owner_peer p; /* first: owners hold pointers to it */
	struct engine *engine;
	enum peer_state state;
	struct uuid disk;
	char address[ADDRESS_BYTES], local_address[ADDRESS_BYTES], host[NAME_BYTES];
	struct io_conn *conn;
	struct io_timer retry, heartbeat;
	uint64_t connection; /* of the attempt under way */
	uint64_t sequence;
	uint64_t heartbeat_asked_ns[HEARTBEATS_KEPT];
	unsigned failures;
	UT_hash_handle hh; /* by p.cid */
};

struct part;
TAILQ_HEAD(parts, part);

/* A chunk in use. */
struct chunk {
	struct owner owner;
	struct engine *engine;
	struct engine_volume *volume; /* NULL: repair */
	uint64_t id;                  /* 0: being allocated */
	uint64_t index;
	bool allocating;   /* owner is not initialised yet: parts wait in `waiting` */
	bool lease_wanted; /* in the list of leases to ask for */
	bool lease_sent;
	bool fence_first; /* attach is not complete before this lease is taken */
	bool repair, repair_done;
	bool active; /* in the list that gets ticks */
	uint64_t lease_not_before_ns;
	uint64_t repair_since_ns;
	struct parts
		waiting; /* for a lease: of a chunk that is being allocated, or after the one before was lost */
	TAILQ_ENTRY(chunk) active_link, lease_link;
	UT_hash_handle hh;       /* engine->chunks, by id */
	UT_hash_handle by_index; /* volume->chunks, by index */
};

/* The piece of a user's request that falls into one chunk. */
struct part {
	struct owner_request r;
	struct engine_request
		*request; /* NULL: extents, or it failed by io_timeout and the generation goes on */
	struct chunk *chunk; /* NULL: none yet, in volume->ungranted */
	bool waits;          /* in chunk->waiting, not with the owner */
	struct engine_volume *volume;
	uint64_t index;         /* of the chunk, while it waits for a grant */
	uint64_t memory_offset; /* in request->memory */
	struct extents_call *extents;
	TAILQ_ENTRY(part) link;      /* free list, chunk->waiting, volume->ungranted */
	LIST_ENTRY(part) of_request; /* request->parts, with io_timeout */
};

struct table_entry {
	uint64_t index, chunk, root_chunk;
};

enum volume_state {
	VOLUME_ATTACHING,
	VOLUME_FENCING, /* attached at metad, the previous owner's leases are being taken */
	VOLUME_ATTACHED,
	VOLUME_DETACHING,
	VOLUME_LOST,   /* another engine took it */
	VOLUME_FAILED, /* the attach has failed: the next tick says so */
};

struct engine_volume {
	struct engine *engine;
	enum volume_state state;
	bool current; /* attachment and table were confirmed on this session */
	bool asked;   /* ATTACH or TABLE is under way on this session */
	enum attach_mode mode;
	bool force;
	struct msg_volume info; /* name is set from the start */
	struct table_entry *table;
	size_t table_count, table_capacity, warm_next;
	struct chunk *chunks;   /* by index */
	struct parts ungranted; /* of chunks that do not exist: wait for metad's grant */
	uint64_t deadline_ns;
	uint64_t attach_id;
	void (*attached)(void *context, int status, const char *text, struct engine_volume *volume);
	void *attached_context;
	void (*detached)(void *context, int status);
	void *detached_context;
	uint64_t detach_deadline_ns;
	bool lost; /* to another one, or with its name: not ours to detach */
	bool detach_sent;
	char text[TEXT_BYTES];
	unsigned under_way;
	TAILQ_ENTRY(engine_volume) link;
};

/* A call that was answered: what the callback is to be told. */
struct list_call {
	uint64_t id, deadline_ns;
	void (*done)(void *context, int status, const struct msg_volume *volumes, size_t count);
	void *context;
	TAILQ_ENTRY(list_call) link;
};

struct extents_call {
	struct part *part;
	uint64_t offset, bytes; /* in the volume, inside one chunk */
	void (*done)(void *context, int status, const struct engine_extent *extents, size_t count);
	void *context;
	int status;
	struct engine_extent *extents;
	size_t count;
	TAILQ_ENTRY(extents_call) link;
};

struct engine {
	struct io_clock *clock;
	struct io_transport *transport;
	struct engine_options options;
	char host[NAME_BYTES];
	struct codec *codec,
		*decoder; /* two: what was decoded stays valid while answers are sent */
	struct engine_meta meta;
	struct peer *peers;   /* by cid */
	struct chunk *chunks; /* by id */
	TAILQ_HEAD(, chunk) active, lease_wanted;
	TAILQ_HEAD(, engine_volume) volumes;
	TAILQ_HEAD(, list_call) list_calls;
	TAILQ_HEAD(, engine_request) finished;
	TAILQ_HEAD(, engine_request) timed; /* under way, by deadline; with io_timeout */
	TAILQ_HEAD(, extents_call) finished_extents;
	struct parts free_parts;
	struct owner_update update;
	struct io_timer tick, turn; /* turn: the next turn of the loop */
	bool tick_running, turn_running;
	unsigned depth; /* calls from the loop that are on the stack */
	uint64_t next_id;
	unsigned copies_under_way;
	uint64_t scrub_bytes_per_s; /* the present pace */
	uint64_t scrub_users;       /* requests of users, at the last tick */
	struct engine_counters counters;
	bool stopping;
	void (*stopped)(void *context);
	void *stopped_context;
};

static inline uint64_t engine_now_ns(struct engine *e)
{
	return e->clock->now_ns(e->clock);
}

/* engine.c: brackets around every entry from the loop; the outermost leave sends lease requests and calls completions. */
void engine_enter(struct engine *e);
void engine_leave(struct engine *e);
/* For calls from users: what has finished is called at the next turn of the loop. */
void engine_defer(struct engine *e);
void engine_tick_start(struct engine *e);

/* engine_meta.c */
void engine_meta_start(struct engine *e);
void engine_meta_stop(struct engine *e);
bool engine_meta_up(const struct engine *e);
void engine_meta_send(struct engine *e, struct msg *msg);
void engine_meta_session_lost(struct engine *e);

/* engine_peer.c */
struct owner_peer *engine_peer_lookup(void *context, uint32_t cid);
void engine_peers_update(struct engine *e, const struct msg_servers *servers);
void engine_peer_send(struct engine *e, uint32_t cid, const struct msg *msg);
void engine_peers_free(struct engine *e, bool bye);

/* engine_chunk.c */
struct chunk *engine_chunk_new(struct engine *e, struct engine_volume *v, uint64_t index);
void engine_chunk_identify(struct chunk *c, uint64_t id, uint64_t root_chunk, uint64_t chunk_bytes);
void engine_chunk_free(struct chunk *c);
/* Ends what is under way, internal copies too, and the lease as if it had been lost: engine_chunk_free may follow. */
void engine_chunk_end(struct chunk *c);
void engine_chunk_event(struct chunk *c, struct owner_event *event);
void engine_chunk_submit(struct chunk *c, struct part *part);
void engine_want_lease(struct chunk *c);
void engine_send_leases(struct engine *e);
void engine_lease_answered(struct engine *e, const struct msg *msg);
void engine_chunks_event(struct engine *e, enum owner_event_kind kind, uint32_t cid);
void engine_chunks_tick(struct engine *e);
struct chunk *engine_chunk_by_id(struct engine *e, uint64_t id);

/* engine_volume.c */
void engine_list_calls_send(struct engine *e);
void engine_volumes_meta_up(struct engine *e);
void engine_volumes_meta_down(struct engine *e);
void engine_volume_answered(struct engine *e, const struct msg *msg);
void engine_volume_lost(struct engine_volume *v, const char *text);
void engine_volumes_tick(struct engine *e);
struct engine_volume *engine_volume_by_id(struct engine *e, uint64_t volume);
const struct table_entry *engine_table_find(const struct engine_volume *v, uint64_t index);
void engine_table_add(struct engine_volume *v, const struct msg_chunk *chunk);
bool engine_volume_granted(struct engine_volume *v);
void engine_volume_free(struct engine_volume *v);

/* engine_io.c */
void engine_part_done(struct engine *e, struct part *part, enum wire_status status);
/*
 * True if a part that ended with this status is to be carried out again under a new lease: the lease was lost, the volume, as far
 * as is known, was not. The part is then as it was before its owner got it.
 */
bool engine_part_again(struct part *part, enum wire_status status);
void engine_parts_granted(struct engine_volume *v);
/* No room for the chunk: its writes fail, it goes on not existing; the chunk is freed. */
void engine_allocation_failed(struct chunk *c);
void engine_parts_fail(struct engine *e, struct parts *parts, enum wire_status status);
void engine_run_finished(struct engine *e);
/* Requests that were held for longer than io_timeout fail. */
void engine_requests_expire(struct engine *e);
/* A crash: the parts are freed, nobody is told. */
void engine_part_forget(struct part *part);
void engine_parts_forget(struct parts *parts);
void engine_io_free(struct engine *e);

#endif
