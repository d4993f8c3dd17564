/*
 * meta_store.h - the seam between the meta service and its durable rows.
 *
 * The meta core keeps everything in memory and speaks of durable state in typed rows: one for the cluster with its
 * counters, one a chunk server, one a volume, one a chunk with its list. A store keeps the rows: SQLite in a file
 * (meta_store_sqlite.h), or memory with chosen failures in the simulator.
 *
 * A batch of row changes is one commit: all of it becomes durable or nothing does. After a commit that failed the
 * user must load again: what the store holds is then the truth.
 *
 * All calls come from one event loop's thread.
 */
#ifndef COPYHOLD_META_STORE_H
#define COPYHOLD_META_STORE_H

#include "proto/msg.h"

/* Layout of the rows; a store written by a later version is refused. */
#define META_STORE_VERSION 1

/* Room for a text that says why a store can't be used. */
#define META_STORE_ERROR_BYTES 512

/* One row: who we are, and the last number given out of each kind. */
struct meta_cluster_row {
	struct uuid cluster;
	uint64_t commit; /* of a CREATE or DELETE */
	uint64_t epoch;
	uint64_t chunk;
	uint64_t volume;
	uint32_t cid;
};

struct meta_server_row {
	uint32_t cid;
	struct uuid disk;
	char address[ADDRESS_BYTES];
	char local_address[ADDRESS_BYTES];
	char host[NAME_BYTES];
	char zone[NAME_BYTES], rack[NAME_BYTES], node[NAME_BYTES];
	uint64_t capacity_bytes;
};

struct meta_volume_row {
	uint64_t volume;
	struct uuid uuid;
	char name[NAME_BYTES];
	uint64_t size_bytes;
	uint64_t chunk_bytes;
	uint32_t replicas, min_replicas;
	bool deleting; /* its name is free again; the row goes when all replicas have gone */
	bool taken;    /* an attachment of it was once taken from an instance that may not know */
	/* the attachment; holder is zero: not attached */
	struct uuid holder;
	enum attach_mode mode;
	char holder_host[NAME_BYTES];
	uint32_t holder_pid;
	uint64_t since_ms; /* wall clock, milliseconds since 1970 */
};

struct meta_replica {
	uint32_t cid;
	enum replica_state state;
	bool leaving;
	uint64_t commit; /* of its CREATE */
};

struct meta_chunk_row {
	uint64_t chunk;
	uint64_t volume;
	uint64_t index;
	uint64_t root_chunk;
	uint64_t epoch;
	uint64_t list_number;
	uint64_t floor;
	struct uuid owner; /* zero: the lease was given back */
	uint32_t
		former_cid; /* the ACTIVE replica that was evicted last and may come back; 0: none */
	uint32_t replica_count;
	struct meta_replica replicas[REPLICAS_MAX];
};

enum meta_row_kind {
	META_ROW_CLUSTER,
	META_ROW_SERVER,
	META_ROW_VOLUME,
	META_ROW_CHUNK,
};

/* A row to be written; or, with removed set, to be deleted by its key (cid, volume, chunk). */
struct meta_row {
	enum meta_row_kind kind;
	bool removed;
	union {
		struct meta_cluster_row cluster;
		struct meta_server_row server;
		struct meta_volume_row volume;
		struct meta_chunk_row chunk;
	} u;
};

/* Called once when a commit has ended: 0, or a negative errno and nothing of it may be relied on. */
typedef void meta_store_done_fn(void *context, int error);

struct meta_store {
	/*
	 * Shows every row: the cluster's first (none in a new store), then servers, volumes and chunks, each kind
	 * in the order of its key. 0, or a negative errno with a text for people in error.
	 */
	int (*load)(struct meta_store *store,
		    void (*row)(void *context, const struct meta_row *row), void *context,
		    char error[META_STORE_ERROR_BYTES]);
	/*
	 * Writes rows[0 .. count) in order as one transaction. The rows stay untouched until done() is called: exactly
	 * once, never from inside this call. One commit at a time.
	 */
	void (*commit)(struct meta_store *store, const struct meta_row *rows, size_t count,
		       meta_store_done_fn *done, void *context);
};

#endif
