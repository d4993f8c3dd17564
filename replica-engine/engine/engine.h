/*
 * engine.h - the replica engine: attaches volumes, owns the leases of their chunks, orders their IO and
 * puts every write on all replicas. It lives in the nbdkit plugin and, for repair of chunks that nobody
 * has attached, in each chunk server.
 *
 * It drives the owner core (replica-engine/core/owner.h) over the seams of common/io and knows no sockets, threads or
 * libev itself. All calls come from one event loop's thread; no callback is ever made from inside a call; each completion
 * fires exactly once.
 */
#ifndef COPYHOLD_ENGINE_H
#define COPYHOLD_ENGINE_H

#include "common/base/buf.h"
#include "common/io/clock.h"
#include "common/io/transport.h"
#include "proto/msg.h"

struct engine;
struct engine_volume;
struct part;

struct engine_environment {
	struct io_clock *clock;
	struct io_transport *transport;
};

struct engine_options {
	const char *meta; /* "HOST:PORT[,HOST:PORT...]" */
	const char *
		host; /* this host's name: shown to others, and to find chunk servers on the same host */
	uint32_t pid;
	struct uuid instance; /* of this running engine: random, from the caller */
	uint64_t
		io_timeout_ns; /* 0: IO that can't go on is held; else it fails with -EIO after that: it may or may not have happened */
	/* A chunk server's engine: its disk, so that REPAIR_JOBs reach it; it opens no session of its own (see engine_repair). */
	bool repair_only;
};

/* Starts at once to look for metad. The strings are copied. */
struct engine *engine_new(const struct engine_environment *environment,
			  const struct engine_options *options);

/*
 * Ends everything in order: returns leases, says BYE, closes connections; then stopped(). Volumes must have been detached.
 * engine_free may be called after stopped(), or at any time for a crash.
 */
void engine_stop(struct engine *engine, void (*stopped)(void *context), void *context);
void engine_free(struct engine *engine);

/*
 * Attaches a volume; done(context, status, text, volume): 0 and the volume, or -ENOENT, -EBUSY (text names the holder and
 * the remedy), -EACCES, -EPROTO, -EINVAL. While metad can't be reached it keeps trying until timeout_ns has passed (-ETIMEDOUT; 0: for
 * ever). text is valid during the callback.
 */
void engine_attach(struct engine *engine, const char *name, enum attach_mode mode, bool force,
		   uint64_t timeout_ns,
		   void (*done)(void *context, int status, const char *text,
				struct engine_volume *volume),
		   void *context);
/*
 * Detaches: no request may be under way. Leases are returned (at most about 2 s; then they are left to time out), done() is called, the volume is gone.
 */
void engine_detach(struct engine_volume *volume, void (*done)(void *context, int status),
		   void *context);

uint64_t engine_volume_size_bytes(const struct engine_volume *volume);
struct uuid engine_volume_uuid(const struct engine_volume *volume);

enum engine_operation {
	ENGINE_READ,
	ENGINE_WRITE,
	ENGINE_ZERO,
	ENGINE_DISCARD,
};

/*
 * One request of any byte range of the volume (bytes > 0, inside the volume, at most 64 MiB). Embedded by the user and
 * untouched by him until done(). memory: READ: filled before done() with status 0; WRITE: read during engine_submit only (copied).
 *
 * status: 0, -EIO (lost, or held longer than io_timeout), -ESHUTDOWN (another engine took the volume), -ENOSPC (there is no room for new
 * data: nothing was done of a write inside one block, or of whole blocks of one chunk and at most IO_BYTES_MAX; of another, part of it may be).
 */
struct engine_request {
	enum engine_operation operation;
	uint64_t offset;
	uint64_t bytes;
	void *memory;
	void (*done)(struct engine_request *request);
	void *context;
	int status;
	/* the engine's */
	struct engine_volume *volume;
	uint32_t parts_left;
	uint64_t deadline_ns;    /* with io_timeout; 0: none */
	LIST_HEAD(, part) parts; /* under way, with io_timeout */
	TAILQ_ENTRY(engine_request) link;
};

void engine_submit(struct engine_volume *volume, struct engine_request *request);

/*
 * Allocation status of a range. Calls done with extents in order that cover it from offset on (possibly less than asked). No
 * message for chunks that do not exist.
 */
struct engine_extent {
	uint64_t bytes;
	bool hole; /* reads as zeros */
};
void engine_extents(struct engine_volume *volume, uint64_t offset, uint64_t bytes,
		    void (*done)(void *context, int status, const struct engine_extent *extents,
				 size_t count),
		    void *context);

/* All volumes of the cluster, for an export list. */
void engine_list_volumes(struct engine *engine, uint64_t timeout_ns,
			 void (*done)(void *context, int status, const struct msg_volume *volumes,
				      size_t count),
			 void *context);

/* ---- repair by a chunk server's engine ---- */

/*
 * A repair_only engine has no session of its own: it speaks to metad through its chunk server's. send() is called for
 * each of its messages to metad (LEASE with repair, CHANGE, LEASE_RETURN); the chunk server gives back what comes: answers and
 * pushes of LIST and SERVERS. epoch of loss: engine_meta_lost when the session ended.
 */
void engine_set_meta(struct engine *engine, void (*send)(void *context, const struct msg *msg),
		     void *context);
void engine_meta_message(struct engine *engine, const struct msg *msg);
void engine_meta_lost(struct engine *engine);
/*
 * From MSG_REPAIR_JOB: takes the chunk's lease, brings its FILLING replicas up, scrubs it if that is asked for, returns the lease. Repeats are
 * harmless. An engine that has the lease scrubs under it; one that is not repair_only does nothing else.
 */
void engine_repair(struct engine *engine, const struct msg_repair_job *job);

/* ---- for status, tests and the simulator's checkers ---- */

struct engine_counters {
	uint64_t reads, writes, read_bytes, write_bytes;
	uint64_t read_errors, write_errors;
	uint64_t checksum_errors, repaired_blocks;
	uint64_t reconnects, retransmitted_generations, evictions, promotions, copied_units;
	uint64_t held_requests;      /* now */
	uint64_t requests_under_way; /* now */
	uint64_t promised_bytes; /* now: room that writes under way will take, over all replicas */
	uint64_t memory_bytes;
};
struct engine_counters engine_counters(const struct engine *engine);

/* Calls visit for each chunk for which this engine believes that it may read (grants complete) or write at this moment. */
void engine_visit_leases(const struct engine *engine,
			 void (*visit)(void *context, uint64_t chunk, uint64_t epoch, bool may_read,
				       bool may_write),
			 void *context);

#endif
