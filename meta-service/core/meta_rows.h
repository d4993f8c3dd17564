/*
 * meta_rows.h - the meta service's durable state, as typed rows: one for the cluster with its counters, one a chunk server, one
 * a volume, one a chunk with its list; of chunks that were scrubbed the result, and jobs. The core makes them, a store (meta-service/store) keeps them.
 */
#ifndef COPYHOLD_META_ROWS_H
#define COPYHOLD_META_ROWS_H

#include "proto/msg.h"

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
	uint64_t created_ms; /* wall clock */
	struct uuid owner;   /* zero: the lease was given back */
	uint32_t
		former_cid; /* the ACTIVE replica that was evicted last and may come back; 0: none */
	uint32_t replica_count;
	struct meta_replica replicas[REPLICAS_MAX];
};

/* What the last scrub of a chunk has shown, and what single reads have since. In blocks. */
struct meta_scrub_row {
	uint64_t chunk;
	uint64_t ended_ms; /* wall clock; 0: never */
	char by[NAME_BYTES];
	bool complete; /* every replica of the list was read, all of it */
	uint64_t read;
	uint32_t bad, repaired, unrepairable, differing;
	char named[TEXT_BYTES]; /* indexes of damaged blocks, "3 77"; not all if there are many */
};

enum job_state {
	JOB_WAITING,
	JOB_RUNNING,
	JOB_DONE,
	JOB_FAILED,
	JOB_CANCELLED,
};

/* A scrub that was asked for. */
struct meta_job_row {
	uint64_t job;
	enum job_state state;
	bool paused;
	uint64_t volume, chunk; /* 0: all */
	uint64_t next_chunk;    /* all below are done */
	uint64_t created_ms, ended_ms;
	uint64_t chunks, done, failed;
	uint64_t read, bad, repaired, damaged; /* blocks */
};

enum meta_row_kind {
	META_ROW_CLUSTER,
	META_ROW_SERVER,
	META_ROW_VOLUME,
	META_ROW_CHUNK,
	META_ROW_SCRUB,
	META_ROW_JOB,
	META_ROW_KINDS
};

/* A row to be written; or, with removed set, to be deleted by its key (cid, volume, chunk, job). */
struct meta_row {
	enum meta_row_kind kind;
	bool removed;
	union {
		struct meta_cluster_row cluster;
		struct meta_server_row server;
		struct meta_volume_row volume;
		struct meta_chunk_row chunk;
		struct meta_scrub_row scrub;
		struct meta_job_row job;
	} u;
};

#endif
