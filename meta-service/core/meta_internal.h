/*
 * meta_internal.h - what the files of the meta core share: the tables in memory, and the helpers that change them.
 *
 * Every change of a row goes through a meta_put_ function, which adds it to the update; every output through a meta_send_ or
 * meta_answer_ function. Loops over the tables run in the order of insertion (uthash) or by key, never by address.
 */
#ifndef COPYHOLD_META_INTERNAL_H
#define COPYHOLD_META_INTERNAL_H

#include "common/base/prng.h"
#include "common/trace/trace.h"
#include "meta-service/core/meta.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/base/hash.h"

#define MODULE "meta"

/* How many servers, volumes or chunks one answer of a list verb shows; the caller asks on from "next". */
#define ADMIN_LIST_MAX 1000

#define VOLUME_REPLICAS_MAX 5

/* A running program that has a session: an engine, or a chunk server. Its connection may come and go. */
struct instance {
	struct uuid id;
	enum peer_role role;
	char host[NAME_BYTES];
	uint32_t pid;
	uint64_t connection; /* 0: none at present */
	uint64_t heard_ns;   /* last SESSION or KEEPALIVE */
	uint64_t granted_ns; /* last KEEPALIVE_OK, as of its asking; 0: none */
	struct server *server;
	UT_hash_handle hh;
};

/* An engine that chunk servers hear, whether or not it has a session. */
struct heard_engine {
	struct uuid id;
	uint64_t heard_ns; /* a chunk server said so last */
	UT_hash_handle hh;
};

struct connection {
	uint64_t id;
	enum peer_role role;
	struct uuid instance_id;
	bool cluster_known;
	struct instance *instance; /* set while a session runs on this connection */
	UT_hash_handle hh;
};

/* What a chunk server has said about one replica. */
struct reported {
	uint64_t chunk;
	uint64_t epoch;
	struct version position;
	uint64_t commit;
	uint64_t allocated_bytes;
	uint64_t round;            /* of the report that named it last */
	uint64_t changed_ns;       /* when position or allocated_bytes last changed */
	uint64_t garbage_since_ns; /* not in the list since then; 0: it is, or may be wanted */
	uint64_t delete_sent_ns;
	UT_hash_handle hh;
};

struct server {
	struct meta_server_row row;
	/* its session; instance NULL: none */
	struct instance *instance;
	uint64_t session_ns; /* when it began */
	uint64_t seen_ns;    /* last sign of life; 0: never since this core started */
	uint64_t dead_since_ns;
	uint64_t free_bytes, used_bytes;
	uint64_t promised_bytes; /* placed here since its last full report */
	bool disk_failed;
	uint64_t read_errors, checksum_errors, write_latency_us, read_latency_us;
	uint64_t bad_blocks,
		repaired_blocks; /* that owners have told of, since this core started */
	uint64_t bad_ns;         /* when they last did; 0: never */
	char *stats_json;
	/* fail-slow (meta_slow.c) */
	bool slow;
	uint32_t slow_count; /* keepalives one after another that say otherwise */
	uint64_t written_ns; /* a keepalive last told of writes */
	/* reports */
	struct reported *reports; /* hash by chunk */
	uint64_t round;
	uint64_t report_began_ns; /* its latest */
	bool report_complete;     /* one whole report has come in this session */
	/* lists that name it, and repairs */
	uint64_t replica_count;
	uint32_t filling; /* replicas being filled here, as of the last scan */
	uint32_t jobs;    /* repair jobs given to it, as of the last scan */
	UT_hash_handle hh;
};

/* An ATTACH that waits for the promises to the former holder to end. */
struct pending_attach {
	uint64_t connection; /* 0: none */
	uint64_t id;
};

struct chunk {
	struct meta_chunk_row row;
	struct volume *volume;
	uint64_t listed_ns;  /* the list last changed, or this core started */
	uint64_t evicted_ns; /* former_cid was evicted, as far as this core knows */
	/* what the owner was last shown */
	uint64_t shown_list_number;
	uint32_t shown_dead; /* bit per place in the list */
	uint64_t shown_ns;
	/* repair without an owner */
	struct uuid job_instance;
	uint64_t job_ns;
	uint64_t filling_since_ns;
	/* gave up a FILLING replica a short time ago */
	uint32_t avoid_cid;
	uint64_t avoid_until_ns;
	bool queued;
	TAILQ_ENTRY(chunk) queue;
	struct {
		struct meta_scrub_row row; /* chunk 0: nothing is known */
		bool running;              /* in meta->scrubs */
		uint64_t asked_ns, heard_ns;
		uint32_t units, units_done;
		uint64_t ended_ns; /* the last one, since this core started; 0: none */
		bool succeeded;
		TAILQ_ENTRY(chunk) link;
	} scrub;
	UT_hash_handle hh;
};
TAILQ_HEAD(chunk_queue, chunk);

/* Chunks of a job that may be under way at a time. */
#define JOB_FLYING_MAX 4

struct job {
	struct meta_job_row row;
	uint64_t cursor; /* the next chunk to begin */
	struct {
		uint64_t chunk, since_ns;
	} flying[JOB_FLYING_MAX];
	unsigned flying_count;
	bool waits;          /* the next one's chunk servers are busy with other scrubs */
	uint64_t blocked_ns; /* since when the next one is unfit; 0: it isn't */
	UT_hash_handle hh;
};

struct volume {
	struct meta_volume_row row;
	struct chunk **chunks; /* those that exist, by index */
	size_t chunk_count, chunk_room;
	uint64_t deleting_since_ns;
	uint64_t ready_ns; /* the holder may be told of its attachment from then on */
	struct pending_attach pending;
	UT_hash_handle hh;
};

/* What is wrong with an older store; see meta_session.c. */
struct doubt {
	bool doubted;
	uint64_t commit, epoch, chunk; /* the highest reported */
	uint32_t cid;                  /* who reported it first */
};

struct meta {
	struct meta_config config;
	struct meta_cluster_row cluster;
	bool founded;
	uint64_t started_ns;
	uint64_t now_ns;
	uint64_t wall_ms;
	uint64_t random[2];
	struct doubt doubt;
	struct connection *connections;
	struct instance *instances;
	struct heard_engine *heard_engines;
	struct server *servers;
	struct volume *volumes;
	struct chunk *chunks;
	struct chunk_queue scrubs; /* chunks that are being scrubbed */
	struct job *jobs;
	struct chunk_queue queue; /* chunks to be planned at the next tick */
	uint64_t next_scan_ns;
	bool grace_over; /* SESSION_TIMEOUT_NS have passed since the start */
	bool certain; /* all chunk servers have been heard of since the start, or had the time to */
	bool servers_changed;
	uint64_t median_us, median_ns; /* of write latencies (meta_slow.c), and when it was taken */
	struct meta_update *update;    /* during a step */
};

/* ---- update (meta_update.c) ---- */
void meta_put_cluster(struct meta *meta);
void meta_put_server(struct meta *meta, const struct server *server);
void meta_put_volume(struct meta *meta, const struct volume *volume);
void meta_put_chunk(struct meta *meta, const struct chunk *chunk);
void meta_put_scrub(struct meta *meta, const struct chunk *chunk);
void meta_put_job(struct meta *meta, const struct job *job);
void meta_remove_job_row(struct meta *meta, uint64_t job);
void meta_remove_volume_row(struct meta *meta, uint64_t volume);
void meta_remove_chunk_row(struct meta *meta, uint64_t chunk);
/* Queues a message. memory: what it points at, from malloc, or NULL; the update owns it from now on. */
void meta_send(struct meta *meta, uint64_t connection, const struct msg *msg, void *memory);
void meta_send_close(struct meta *meta, uint64_t connection);
/* An answer to request with this status, its body zeroed: type + 1, the same id. */
struct msg meta_answer(const struct msg *request, enum wire_status status);
/* An answer whose body is only its zeroes, for refusals of messages without a text. */
void meta_refuse(struct meta *meta, uint64_t connection, const struct msg *request,
		 enum wire_status status);

/* A text for people; what is too long is cut. */
void meta_text(char text[TEXT_BYTES], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- tables (meta.c) ---- */
struct server *meta_find_server(const struct meta *meta, uint32_t cid);
struct server *meta_find_server_by_disk(const struct meta *meta, struct uuid disk);
struct volume *meta_find_volume(const struct meta *meta, uint64_t volume);
/* The volume that has this name now; one that is being deleted has none. */
struct volume *meta_find_volume_by_name(const struct meta *meta, const char *name);
struct chunk *meta_find_chunk(const struct meta *meta, uint64_t chunk);
struct connection *meta_find_connection(const struct meta *meta, uint64_t connection);
struct instance *meta_find_instance(const struct meta *meta, struct uuid id);
struct volume *meta_add_volume(struct meta *meta, const struct meta_volume_row *row);
struct server *meta_add_server(struct meta *meta, const struct meta_server_row *row);
struct chunk *meta_add_chunk(struct meta *meta, struct volume *volume,
			     const struct meta_chunk_row *row);
void meta_remove_chunk(struct meta *meta, struct chunk *chunk);
/* The chunks of one volume from a position on become those of another, which has none. */
void meta_move_chunks(struct meta *meta, struct volume *from, size_t position, struct volume *to);
void meta_remove_volume(struct meta *meta, struct volume *volume);
/* Position of the first chunk of volume with an index >= index. */
size_t volume_position(const struct volume *volume, uint64_t index);
struct chunk *volume_chunk(const struct volume *volume, uint64_t index);
uint64_t volume_index_count(const struct volume *volume);
struct reported *server_find_report(const struct server *server, uint64_t chunk);
void server_forget_report(struct server *server, struct reported *reported);

/* ---- sessions (meta_session.c) ---- */
void meta_on_opened(struct meta *meta, const struct meta_event *event);
void meta_on_closed(struct meta *meta, uint64_t connection);
void meta_on_session(struct meta *meta, struct connection *connection, const struct msg *msg);
void meta_on_keepalive(struct meta *meta, struct connection *connection, const struct msg *msg);
/* Ends sessions that were silent for too long. */
void meta_expire_sessions(struct meta *meta);
/* Begins or resumes the session of this connection's instance; an older connection of it is closed. */
struct instance *meta_begin_session(struct meta *meta, struct connection *connection,
				    const struct msg_session *session);
/* Ends a session at once. */
void meta_drop_session(struct meta *meta, struct instance *instance);
/* False once it has been silent for SESSION_TIMEOUT_NS; everybody is alive for that long after the start. */
bool instance_is_alive(const struct meta *meta, struct uuid id);
/* A chunk server that has a session has heard this engine within SESSION_TIMEOUT_NS. */
bool engine_is_heard(const struct meta *meta, struct uuid id);
/* Either of the two: whoever takes from an engine that only we don't hear stops IO that still goes on. */
bool engine_is_alive(const struct meta *meta, struct uuid id);
/* What the keepalive of a chunk server says about engines. */
void meta_note_engines(struct meta *meta, const struct msg_keepalive *keepalive);
void meta_forget_engine(struct meta *meta, struct heard_engine *engine);
/* The connection of a live session of this instance, or 0. */
uint64_t instance_connection(const struct meta *meta, struct uuid id);
/* Notes numbers that somebody has seen; above ours: this store is older than the cluster. */
void meta_note_numbers(struct meta *meta, uint32_t cid, uint64_t commit, uint64_t epoch,
		       uint64_t chunk);
/* Why nothing may change for now, for people. */
void meta_doubt_text(const struct meta *meta, char text[TEXT_BYTES]);

/* ---- chunk servers (meta_server.c) ---- */
void meta_on_server_session(struct meta *meta, struct connection *connection,
			    const struct msg *msg);
void meta_on_server_health(struct meta *meta, struct server *server,
			   const struct msg_keepalive *health);
/* The server has lost its session. */
void meta_server_lost(struct meta *meta, struct server *server);
/* It has a session and a connection, and its disk works: replicas may be put there. */
bool server_is_usable(const struct server *server);
/* Its session has timed out, or its disk has failed. */
bool server_is_dead(const struct meta *meta, const struct server *server);
/* For how long it has been dead; 0: it isn't. */
uint64_t server_dead_ns(const struct meta *meta, const struct server *server);
void meta_send_servers(struct meta *meta, uint64_t connection);
/*
 * Pushes SERVERS to every session if something in them has changed. At each tick, not at once: when a cluster starts, all
 * its chunk servers come within a moment.
 */
void meta_push_servers(struct meta *meta);

/* ---- fail-slow (meta_slow.c) ---- */
/* Takes the latency of the keepalive that has just come into account. */
void meta_judge_latency(struct meta *meta, struct server *server);

/* ---- placement (meta_placement.c) ---- */
/*
 * The best server for one more replica beside those of taken[0 .. count), NULL if there is none. Counts the promise of
 * chunk_bytes at the one it gives. For a repair, only one that has not too many to do.
 */
struct server *meta_place(struct meta *meta, const uint32_t *taken, size_t count,
			  uint64_t chunk_bytes, bool repair);
uint32_t meta_usable_servers(const struct meta *meta);
/* Those that meta_place() may choose now, if they have room. */
uint32_t meta_choosable_servers(const struct meta *meta);

/* ---- volumes (meta_volume.c, meta_attach.c) ---- */
struct volume_request {
	const char *name;
	uint64_t size_bytes, chunk_bytes;
	uint32_t replicas, min_replicas;
};
/* What came of an admin request: a status, and texts for people. */
struct admin_result {
	enum wire_status status;
	char message[TEXT_BYTES];
	char hint[TEXT_BYTES];
};
void admin_refuse(struct admin_result *result, enum wire_status status, const char *hint,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));
struct volume *meta_create_volume(struct meta *meta, const struct volume_request *request,
				  struct admin_result *result);
bool meta_delete_volume(struct meta *meta, const char *name, bool force,
			struct admin_result *result);
/* False after a refusal: what every volume's name and size must be. */
bool volume_check_name(const char *name, struct admin_result *result);
bool volume_check_size(uint64_t size_bytes, struct admin_result *result);
/* Makes the volume, none of whose chunks has a future, one that is being deleted: DELETE goes to all replicas. */
void meta_begin_deletion(struct meta *meta, struct volume *volume);
/*
 * Looks at what this server still has of volumes that are being deleted: sends DELETE for it again, and ends the volumes of
 * which nothing is left.
 */
void meta_advance_deletions(struct meta *meta, struct server *server);
void meta_on_table(struct meta *meta, struct connection *connection, const struct msg *msg);
void meta_on_volumes(struct meta *meta, struct connection *connection, const struct msg *msg);
void meta_on_attach(struct meta *meta, struct connection *connection, const struct msg *msg);
void meta_on_detach(struct meta *meta, struct connection *connection, const struct msg *msg);
/* Tells an engine whose session begins which attachments it may believe to have and has not. */
void meta_push_detached(struct meta *meta, const struct instance *instance);
void meta_detach_by_force(struct meta *meta, struct volume *volume, const char *why);
/* Answers attaches whose wait is over. */
void meta_answer_attaches(struct meta *meta);
/* The volume as messages show it. */
void volume_show(const struct volume *volume, struct msg_volume *out);
/* "host web1, pid 4711, since 2026-11-22T05:44:20Z" */
void volume_holder_text(const struct volume *volume, char *text, size_t bytes);
/* RFC 3339 in UTC. */
#define WALL_TEXT_BYTES 64
void wall_text(uint64_t wall_ms, char text[WALL_TEXT_BYTES]);

/* ---- another size, another name (meta_resize.c) ---- */
/* The volume with the new size; NULL after a refusal. force: what lies beyond the new end may be lost. */
struct volume *meta_resize_volume(struct meta *meta, const char *name, uint64_t size_bytes,
				  bool force, struct admin_result *result);
struct volume *meta_rename_volume(struct meta *meta, const char *name, const char *new_name,
				  struct admin_result *result);
/* What the chunk takes at the replica that has most of it, as far as was reported. */
uint64_t chunk_allocated_bytes(const struct meta *meta, const struct chunk *chunk);

/* ---- leases and lists (meta_lease.c, meta_change.c) ---- */
void meta_on_lease(struct meta *meta, struct connection *connection, const struct msg *msg);
void meta_on_lease_return(struct meta *meta, struct connection *connection, const struct msg *msg);
void meta_on_change(struct meta *meta, struct connection *connection, const struct msg *msg);
/* The chunk as messages show it. */
void chunk_show(const struct meta *meta, const struct chunk *chunk, struct msg_chunk *out);
/* Bit per place in the list: its chunk server is dead. */
uint32_t chunk_dead_mask(const struct meta *meta, const struct chunk *chunk);
/* Notes that the owner has just been shown the present list. */
void chunk_note_shown(struct meta *meta, struct chunk *chunk);
int list_find(const struct meta_chunk_row *row, uint32_t cid);
uint32_t list_count(const struct meta_chunk_row *row, enum replica_state state);
void list_add(struct meta *meta, struct chunk *chunk, uint32_t cid, enum replica_state state);
void list_remove(struct meta *meta, struct chunk *chunk, uint32_t cid);

/* ---- repair (meta_repair.c) ---- */
/* To be planned at the next tick. */
void meta_queue_chunk(struct meta *meta, struct chunk *chunk);
/* cid gets no replica of this chunk for a while. */
void meta_avoid(struct meta *meta, struct chunk *chunk, uint32_t cid);
/* All of them, at the next tick. */
void meta_scan_soon(struct meta *meta);
void meta_plan(struct meta *meta);
/* Fewer ACTIVE replicas than wanted, some of them dead, or one being filled. */
enum chunk_health {
	CHUNK_HEALTHY,
	CHUNK_DEGRADED,
	CHUNK_FILLING,
	CHUNK_UNAVAILABLE,
};
enum chunk_health chunk_health(const struct meta *meta, const struct chunk *chunk);

/* Who is to work on a chunk: the connection of its owner, or, if it has none, of a chunk server. 0: nobody at present. */
uint64_t meta_repairer(struct meta *meta, const struct chunk *chunk);

/* ---- scrubs (meta_scrub.c) and jobs (meta_job.c) ---- */
enum scrub_verdict {
	SCRUB_MAY_BEGIN,
	SCRUB_BUSY,  /* one of its chunk servers takes part in another scrub: its turn comes */
	SCRUB_UNFIT, /* it is being deleted or filled, or too few of its replicas are there */
};
enum scrub_verdict meta_scrub_judge(const struct meta *meta, const struct chunk *chunk);
void meta_scrub_begin(struct meta *meta, struct chunk *chunk);
/* The chunk goes away. */
void meta_scrub_forget(struct meta *meta, struct chunk *chunk);
/* Begins those whose time has come. */
void meta_scrubs_due(struct meta *meta);
void meta_scrubs_tick(struct meta *meta);
void meta_on_scrubbed(struct meta *meta, struct connection *connection, const struct msg *msg);
/* Bad blocks were found there in the last day. */
bool server_was_bad(const struct meta *meta, const struct server *server);
const char *job_state_name(enum job_state state);
bool job_has_ended(const struct job *job);
struct job *meta_find_job(const struct meta *meta, uint64_t id);
struct job *meta_add_job(struct meta *meta, const struct meta_job_row *row);
/* A scrub of one chunk, of a volume, or (0, 0) of everything. */
struct job *meta_new_job(struct meta *meta, uint64_t volume, uint64_t chunk);
void meta_end_job(struct meta *meta, struct job *job, enum job_state state);
void meta_jobs_tick(struct meta *meta);
/* A job waits until chunk servers have ended other scrubs. */
bool meta_job_waits(const struct meta *meta);

/* ---- reports (meta_report.c) ---- */
void meta_on_report(struct meta *meta, struct connection *connection, const struct msg *msg);
void meta_collect_garbage(struct meta *meta);
/* Gives the DELETE of a replica its commit number and sends it. */
void meta_send_delete(struct meta *meta, const struct server *server, uint64_t chunk);

/* ---- admin (meta_admin.c, meta_admin_show.c) ---- */
void meta_on_admin(struct meta *meta, struct connection *connection, const struct msg *msg);

#endif
