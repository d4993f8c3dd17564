/*
 * meta.h - the meta core: what the meta service decides, as a pure step function.
 *
 *      meta_step(meta, event) -> update { rows to commit, outputs }
 *
 * No socket, file, clock, thread or randomness: time and random bits come with each event. The order of everything it
 * does depends on the events alone, never on addresses in memory.
 *
 * Memory changes at once, the rows of the update say what must become durable. An output may tell of any change made up to
 * then, so the driver lets outputs go in order, each only when the rows of its own update and of all earlier ones are
 * committed. When a commit fails the driver throws the core away, loads the rows into a new one and closes all
 * connections: nobody has heard of what was lost.
 *
 * What is durable: counters, chunk servers, volumes with their attachment, chunks with their list, epoch, owner and floor.
 * What is in memory only: who is alive, what the chunk servers have reported, repairs under way. A new core therefore
 * gives everybody SESSION_TIMEOUT_NS to come back before it calls anybody dead.
 */
#ifndef COPYHOLD_META_H
#define COPYHOLD_META_H

#include "meta-service/core/meta_rows.h"

struct meta;

/* Delays of repair and garbage; meta_config_default() has what the documentation promises. */
struct meta_config {
	uint64_t scan_ms; /* between two looks at all chunks */
	uint64_t
		resync_grace_ms; /* an old home that is away may return this long before another replaces it */
	uint64_t evict_dead_ms;    /* a dead chunk server's replicas are given up after this */
	uint64_t garbage_delay_ms; /* a replica that no list names is deleted after this */
	uint64_t repair_retry_ms; /* a repair command that nothing came of is repeated after this */
	uint64_t repair_stall_ms; /* a FILLING replica that doesn't get on is given up after this */
	uint64_t scrub_ms; /* each chunk is scrubbed once in this time; 0: only when asked for */
	uint64_t scrub_stall_ms;     /* a scrub that doesn't get on is given up after this */
	uint32_t repairs_per_server; /* commands that may wait at one chunk server */
};

struct meta_config meta_config_default(void);

enum meta_event_type {
	META_OPENED,  /* a connection has been greeted (HELLO answered) */
	META_CLOSED,  /* it is gone; also when the driver was told to close it */
	META_MESSAGE, /* a message came on it */
	META_TICK,    /* time has passed; expected several times a second */
};

struct meta_event {
	enum meta_event_type type;
	uint64_t now_ns;
	uint64_t wall_ms;    /* milliseconds since 1970, only shown to people */
	uint64_t random[2];  /* 128 fresh random bits */
	uint64_t connection; /* OPENED, CLOSED, MESSAGE: never used twice by a driver */
	/* OPENED: from HELLO */
	enum peer_role role;
	struct uuid instance;
	bool cluster_known; /* the peer named our cluster's UUID; else it named none */
	/* MESSAGE: valid during the step */
	const struct msg *msg;
};

/* One message to send, or, with close set, a connection to close. */
struct meta_output {
	uint64_t connection;
	bool close;
	struct msg msg;
	void *memory; /* what msg points at; freed with the output */
};

/* Grows; kept by the driver and reused. Zeroed before its first use. */
struct meta_update {
	struct meta_row *rows;
	size_t row_count, row_room;
	struct meta_output *outputs;
	size_t output_count, output_room;
};

/* Empties the update and frees what its outputs point at. */
void meta_update_clear(struct meta_update *update);
/* Frees the update's own memory too. */
void meta_update_free(struct meta_update *update);

/* A core without any rows; now_ns is when it starts. */
struct meta *meta_new(const struct meta_config *config, uint64_t now_ns);
void meta_free(struct meta *meta);
/*
 * Takes in one row of the store, in the order of the store's load. 0, or -EINVAL if the row contradicts the others (a
 * damaged store): the core is then of no use.
 */
int meta_load_row(struct meta *meta, const struct meta_row *row);
/* True if no cluster row was loaded: the store is new. */
bool meta_is_empty(const struct meta *meta);
/* Founds a cluster in an empty core; the update has its row. */
void meta_found(struct meta *meta, struct uuid cluster, struct meta_update *update);
/* The cluster's UUID and the counters. Valid as long as the core. */
const struct meta_cluster_row *meta_cluster(const struct meta *meta);
/* Raises the counters to at least these: numbers that a core with a failed commit has used are not used again. */
void meta_raise_counters(struct meta *meta, const struct meta_cluster_row *least);

/* Appends to update. The event's message must have passed the codec. */
void meta_step(struct meta *meta, const struct meta_event *event, struct meta_update *update);

#endif
