/*
 * chunkd_private.h - what the files of the chunk server's driver share.
 */
#ifndef COPYHOLD_CHUNKD_PRIVATE_H
#define COPYHOLD_CHUNKD_PRIVATE_H

#include "common/base/prng.h"
#include "common/trace/trace.h"
#include "proto/codec.h"
#include "replica-engine/chunkd/chunkd.h"
#include "replica-engine/engine/engine.h"

/* All hashes here have keys of 64 bits. */
static inline unsigned chunkd_hash(const void *key)
{
	uint64_t k;

	memcpy(&k, key, sizeof k);
	return (unsigned)mix64(k);
}
#define HASH_FUNCTION(key, key_bytes, hash) ((hash) = chunkd_hash(key))
#include <uthash.h>

#define MODULE "chunkd"

#define CHUNKD_TICK_NS    (20 * NS_PER_MS)
#define STORE_TICK_NS     (100 * NS_PER_MS)
#define HELLO_PATIENCE_NS (10 * NS_PER_S) /* a connection that says nothing for so long is closed */
#define UNREAD_BYTES_MAX  (512 * MIB)     /* so is one that leaves this much unread */
#define META_ADDRESSES    8

enum peer_state {
	PEER_NEW,      /* nothing heard yet */
	PEER_GREETED,  /* its HELLO is with the core, which finishes older business first */
	PEER_ADMITTED, /* HELLO_OK was sent */
};

/* A connection that was accepted. */
struct peer {
	struct chunkd *chunkd;
	uint64_t id; /* as the core knows it */
	struct io_conn *conn;
	enum peer_state state;
	struct uuid engine; /* of a plugin, by its HELLO; zero: another chunk server's */
	bool heard;         /* since the last keepalive */
	uint64_t accepted_ns;
	uint64_t hello_id;
	uint64_t hello_connection;
	UT_hash_handle hh;
};

enum meta_state {
	META_DOWN,
	META_CONNECTING,
	META_GREETING,
	META_OPENING, /* SESSION sent, or its answer is being recorded on the disk */
	META_UP,
};

/* The session with the meta service. */
struct meta_link {
	char *addresses[META_ADDRESSES];
	unsigned address_count, address_next;
	enum meta_state state;
	struct io_conn *conn;
	uint64_t connection;   /* number of the present one */
	unsigned failures;     /* in a row */
	bool identity_pending; /* the store is recording cluster and cid */
	uint64_t next_id;
	uint64_t sequence;
	uint64_t heard_ns;
	uint64_t report_ns;               /* when the next whole report begins */
	bool reporting;                   /* a part waits for its answer */
	bool report_more;                 /* and another part follows */
	uint64_t report_next;             /* from this chunk on */
	struct msg_report_entry *entries; /* REPORT_CHUNKS_MAX of them, made once */
	struct msg_fence *fences;         /* likewise */
	struct uuid *engines;             /* ENGINES_HEARD_MAX of them, likewise */
	char refusal[TEXT_BYTES];         /* the last one, so that it is logged once */
	struct io_timer retry, beat;
	struct replica_counters reported; /* at the last keepalive */
};

struct chunkd {
	struct chunkd_environment at;
	struct chunkd_options options; /* strings are ours */
	struct store_identity identity;
	struct codec *codec;
	struct replica *replica;
	struct replica_update update;
	struct io_listener *listener, *local_listener;
	struct peer *peers;
	uint64_t last_peer;
	struct meta_link meta;
	struct engine *engine; /* repairs */
	struct io_timer tick;
	uint64_t store_tick_ns;
	bool stopping;
	bool engine_ended;
	uint64_t stop_deadline_ns; /* the engine has until then to give its leases back */
	void (*stopped)(void *context);
	void *stopped_context;
};

/* ---- chunkd.c ---- */
/* A session began: the embedded engine may speak to metad. */
void chunkd_engine_up(struct chunkd *d);
uint64_t chunkd_now_ns(struct chunkd *d);
/* Steps the core and carries out what comes out. */
void chunkd_step(struct chunkd *d, struct replica_event *event);

/* ---- chunkd_peer.c: engines ---- */
void peer_accepted(void *context, struct io_conn *conn);
struct peer *peer_find(struct chunkd *d, uint64_t id);
/* Answers its HELLO. */
void peer_admit(struct peer *p);
/* Closes and forgets, without telling the core. */
void peer_close(struct peer *p);
/* Closes those that have not said HELLO for too long, or do not read what they are sent. */
void peers_expire(struct chunkd *d);

/* ---- chunkd_meta.c: the session ---- */
/* False: no legal address in the list. */
bool meta_link_init(struct chunkd *d, const char *addresses);
void meta_link_close(struct chunkd *d);
void meta_link_send(struct chunkd *d, struct msg *msg);

/* ---- chunkd_report.c: what metad hears of us ---- */
void report_begin(struct chunkd *d);
void report_answered(struct chunkd *d, const struct msg *msg);
void report_keepalive(struct chunkd *d);

#endif
