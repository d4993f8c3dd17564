/*
 * msg.h - every message as a plain struct, and the status codes of the wire.
 *
 * The cores speak in these structs; proto/codec.c alone turns them into bytes and back. Messages of the data path
 * (marked D) have a fixed little-endian layout of their own, the others are protobuf (proto/copyhold.proto).
 * Payload (user data) travels beside the message, in its slice.
 *
 * An answer has the type of its request plus one and carries the request's id. Pointers in a decoded message
 * point into the frame and are valid as long as that; pointers in a message to be sent are read during the send.
 */
#ifndef COPYHOLD_MSG_H
#define COPYHOLD_MSG_H

#include "common/base/buf.h"

#define PROTOCOL_VERSION 3

#define NAME_BYTES    64  /* volume, server, zone, ... names with the terminating 0 */
#define ADDRESS_BYTES 128 /* "HOST:PORT" or "unix:/path" with the terminating 0 */
#define TEXT_BYTES    256 /* reasons for people */

/*
 * What the wire takes; whatever was typed in or configured is checked with these before it is sent.
 * Names: 1 .. 63 characters of [A-Za-z0-9._-], the first neither '-' nor '.'.
 * Addresses: up to 127 characters of printable ASCII; an empty one is legal. Their form is the transport's business.
 * Neither reads beyond NAME_BYTES or ADDRESS_BYTES.
 */
bool name_is_legal(const char *name);
bool address_is_legal(const char *address);

/* Times of the protocol; DESIGN: grants last T, promises 1.25 T. */
#define GRANT_NS             (2 * NS_PER_S)
#define PROMISE_NS           (GRANT_NS / 4 * 5)
#define HEARTBEAT_NS         (GRANT_NS / 4)
#define EVICT_REFUSED_NS     (1 * NS_PER_S) /* connections refused for this long while IO waits */
#define EVICT_SILENT_NS      (3 * NS_PER_S) /* no answer for this long while IO waits */
#define SESSION_TIMEOUT_NS   (6 * NS_PER_S) /* metad: a session without heartbeats has ended */
#define SESSION_HEARTBEAT_NS (1 * NS_PER_S)

enum wire_status {
	WIRE_OK = 0,
	WIRE_FENCED = 1,       /* a later epoch has been let in; the answer's epoch names it */
	WIRE_GAP = 2,          /* not the next generation */
	WIRE_NOT_FOUND = 3,    /* no such chunk, replica, server, volume */
	WIRE_INVALID_UNIT = 4, /* a read touched a unit that this replica does not hold */
	WIRE_BAD_BLOCK = 5,    /* known bad, or its checksum fails */
	WIRE_NO_SPACE = 6,
	WIRE_DISK_ERROR = 7,
	WIRE_SILENT = 8, /* nothing was heard on this connection for GRANT_NS: it is closed */
	WIRE_NOT_OWNER = 9,
	WIRE_STALE = 10, /* the list has changed; the answer brings the present one */
	WIRE_BUSY = 11,  /* held by another (attach), or another change is running */
	WIRE_EXISTS = 12,
	WIRE_ALREADY = 13,
	WIRE_REFUSED = 14,     /* against a rule; text says which */
	WIRE_BAD_REQUEST = 15, /* malformed, or out of range */
	WIRE_WRONG_CLUSTER = 16,
	WIRE_WRONG_PEER = 17, /* this address belongs to somebody else now */
	WIRE_VERSION = 18,    /* protocol version not spoken here */
	WIRE_NOT_LEADER =
		19, /* a metad that is standby, loading, or must be confirmed by an operator */
	WIRE_TOO_FEW = 20,  /* fewer fitting chunk servers than replicas */
	WIRE_IO_ERROR = 21, /* the store of the meta service failed */
	WIRE_WAIT = 22, /* SYNC: waiting for a promise to end; the answer follows after wait_ms */
	WIRE_STATUS_COUNT
};

/* The name of a status ("FENCED"), for messages and logs. */
const char *wire_status_name(enum wire_status status);

enum msg_type {
	/* every connection */
	MSG_HELLO = 1,
	MSG_HELLO_OK = 2,

	/* owner -> replica */
	MSG_WRITE = 16,        /* D: WRITE, ZERO and DISCARD */
	MSG_WRITE_OK = 17,     /* D */
	MSG_READ = 18,         /* D */
	MSG_READ_OK = 19,      /* D */
	MSG_COPY = 20,         /* D */
	MSG_COPY_OK = 21,      /* D */
	MSG_REPAIR = 22,       /* D */
	MSG_REPAIR_OK = 23,    /* D */
	MSG_HEARTBEAT = 24,    /* D */
	MSG_HEARTBEAT_OK = 25, /* D */
	MSG_CREATE = 32,
	MSG_CREATE_OK = 33,
	MSG_SYNC = 34,
	MSG_SYNC_OK = 35,
	MSG_VERSIONS = 36,
	MSG_VERSIONS_OK = 37,
	MSG_INVALIDATE = 38,
	MSG_INVALIDATE_OK = 39,
	MSG_JOIN = 40,
	MSG_JOIN_OK = 41,
	MSG_MEND_BEGIN = 42,
	MSG_MEND_BEGIN_OK = 43,
	MSG_MEND_END = 44,
	MSG_MEND_END_OK = 45,
	MSG_RELEASE = 46,
	MSG_RELEASE_OK = 47,
	MSG_BYE = 48, /* no answer: ends what this connection was promised */

	/* engine, chunk server -> metad */
	MSG_SESSION = 64,
	MSG_SESSION_OK = 65,
	MSG_KEEPALIVE = 66,
	MSG_KEEPALIVE_OK = 67,
	MSG_ATTACH = 68,
	MSG_ATTACH_OK = 69,
	MSG_DETACH = 70,
	MSG_DETACH_OK = 71,
	MSG_TABLE = 72,
	MSG_TABLE_OK = 73,
	MSG_LEASE = 74,
	MSG_LEASE_OK = 75,
	MSG_LEASE_RETURN = 76,
	MSG_LEASE_RETURN_OK = 77,
	MSG_CHANGE = 78, /* EVICT, PROMOTE, DROP */
	MSG_CHANGE_OK = 79,
	MSG_REPORT = 80,
	MSG_REPORT_OK = 81,
	MSG_ADMIN = 82,
	MSG_ADMIN_OK = 83,
	MSG_VOLUMES = 84,
	MSG_VOLUMES_OK = 85,

	/* metad -> engine, chunk server: pushed, not answered */
	MSG_LIST = 96,       /* a chunk's list has changed */
	MSG_REPAIR_JOB = 97, /* take the lease of this chunk and repair it */
	MSG_DELETE = 98,     /* delete this replica */
	MSG_SERVERS = 99,    /* where the chunk servers are */
	MSG_DETACHED = 100,  /* the attachment was taken away */
	MSG_RESIZED = 101,   /* an attached volume has grown */

	/* engine, chunk server -> metad: not answered */
	MSG_SCRUBBED = 102, /* what reading a chunk on all its replicas has shown */
};

/* The name of a type ("WRITE_OK"), or "?" . */
const char *msg_type_name(unsigned type);

enum peer_role {
	ROLE_ENGINE = 1,
	ROLE_CHUNKD = 2,
	ROLE_METAD = 3,
	ROLE_ADMIN = 4, /* copyhold(1) */
};

/* Begins each connection, both ways. */
struct msg_hello {
	uint32_t protocol_version;
	enum peer_role role;
	struct uuid cluster;   /* zero: not known yet (first contact with metad) */
	struct uuid instance;  /* of the running program that sends it */
	struct uuid self;      /* of the disk (chunk server), else zero */
	struct uuid expected;  /* whom the sender means to reach (a disk's UUID), else zero */
	uint64_t connection;   /* grows with each connection of this instance to this peer */
	char text[TEXT_BYTES]; /* HELLO_OK with a status: what is wrong */
};

/* ---- owner and replica. Every message names the chunk and the owner's epoch. ---- */

enum write_kind {
	WRITE_DATA = 0,
	WRITE_ZERO = 1,
	WRITE_DISCARD = 2,
};

/* Whole blocks only. WRITE_DATA: crcs has bytes / BLOCK_BYTES entries and the payload is the data. */
struct msg_write {
	uint64_t chunk;
	uint64_t epoch;
	uint64_t generation;
	uint32_t offset; /* bytes in the chunk */
	uint32_t bytes;
	enum write_kind kind;
	const uint32_t *crcs;
};

/* Answers WRITE: OK means that this and all earlier generations of the epoch are durable here. */
struct msg_write_ok {
	uint64_t chunk;
	uint64_t epoch; /* FENCED: the epoch seen; else the request's */
	uint64_t generation;
	uint64_t free_bytes; /* room left on this chunk server for new data */
};

struct msg_read {
	uint64_t chunk;
	uint64_t epoch;
	uint32_t offset;
	uint32_t bytes;
};

/*
 * Answers READ. The payload is the whole range, or empty if all of it is zero. zero_blocks has a bit for each
 * block that was never written or was zeroed (bit 0 of byte 0: the first block); their payload bytes and
 * crcs are undefined: the reader clears them. version: of the unit, when the range lies in one; else {0,0}.
 * bad_blocks likewise names blocks that are known to be bad (status BAD_BLOCK).
 */
struct msg_read_ok {
	uint64_t chunk;
	uint64_t epoch;
	uint32_t offset;
	uint32_t bytes;
	struct version version;
	const uint32_t *crcs;       /* bytes / BLOCK_BYTES entries, or NULL if all is zero */
	const uint8_t *zero_blocks; /* one bit a block; NULL: see all_zero */
	const uint8_t *bad_blocks;  /* one bit a block; NULL if none is bad */
	bool all_zero;
};

enum copy_mode {
	COPY_FILL =
		0, /* into a joined FILLING replica: applies only to a unit that is invalid, to its blocks not yet valid */
	COPY_ROLL = 1, /* into a mending ACTIVE replica: replaces the unit, whatever its version */
};

/* One whole unit. Payload: UNIT_BYTES, or empty if all its blocks are zero. Bit masks: bit i is block i. */
struct msg_copy {
	uint64_t chunk;
	uint64_t epoch;
	uint32_t unit;
	enum copy_mode mode;
	struct version version;
	uint16_t zero_mask;
	uint16_t bad_mask; /* copied as known bad */
	uint32_t crcs[UNIT_BLOCKS];
};

struct msg_copy_ok {
	uint64_t chunk;
	uint64_t epoch;
	uint32_t unit;
};

/* Replaces blocks of a unit that fail their checksum. Applies only while the unit has this version. */
struct msg_repair {
	uint64_t chunk;
	uint64_t epoch;
	uint32_t unit;
	struct version version;
	uint16_t block_mask;        /* the payload has one block for each set bit, in order */
	uint32_t crcs[UNIT_BLOCKS]; /* by block index in the unit */
};

/*
 * Renews the grants of every chunk that is covered on this connection. The answer names chunks that a
 * later epoch has taken out; it goes on naming them until a RELEASE for them comes on this connection.
 */
struct msg_heartbeat {
	uint64_t sequence;
};

/* With more than this taken out at once a replica closes the connection: an answer never leaves one out. */
#define HEARTBEAT_TAKEN_MAX 65536

struct msg_heartbeat_ok {
	uint64_t sequence;
	uint32_t taken_count;
	const uint64_t *taken; /* chunk ids */
};

/* Carried by an engine on metad's behalf. Ignored (answered OK) if commit is not above the last carried out. */
struct msg_create {
	uint64_t chunk;
	uint64_t
		epoch; /* least epoch: the fence of a new replica, and raised to this in an old one */
	uint64_t commit;
	uint64_t root_chunk; /* seed of the checksums */
	uint64_t chunk_bytes;
};

struct msg_sync {
	uint64_t chunk;
	uint64_t epoch;
};

/*
 * Answers SYNC. WIRE_WAIT first, with wait_ms, if a promise runs; later the real answer with the same id. FENCED: epoch is
 * the one seen. position: version of the last write that this replica applied.
 */
struct msg_sync_ok {
	uint64_t chunk;
	uint64_t epoch;
	struct version position;
	uint64_t
		digest; /* over the versions of all units; equal digest and position: equal content */
	bool mending;
	uint32_t invalid_units;
	uint64_t free_bytes;
	uint32_t wait_ms;
};

struct msg_versions {
	uint64_t chunk;
	uint64_t epoch;
};

/*
 * Answers VERSIONS, and INVALIDATE's request body: run-length coded on the wire, an entry a unit here. flags: bit i of
 * invalid is unit i. Arrays belong to the frame's decoder (see codec.h) and are valid during the callback.
 */
struct msg_version_list {
	uint64_t chunk;
	uint64_t epoch;
	uint32_t unit_count;
	const struct version *versions;
	const uint8_t *invalid; /* one bit a unit; VERSIONS_OK only, NULL if none */
	const uint8_t
		*allocated;  /* one bit a unit that holds data; VERSIONS_OK only, NULL if none */
	uint64_t free_bytes; /* VERSIONS_OK: room left for new data of this connection */
};

/* Answers INVALIDATE: which units are invalid now (one bit a unit, invalid_count of them set). */
struct msg_invalidate_ok {
	uint64_t chunk;
	uint64_t epoch;
	uint32_t unit_count;
	uint32_t invalid_count;
	const uint8_t *invalid;
};

/* JOIN: the generation is g0. MEND_END: the reference's position. Also MEND_BEGIN, RELEASE (position unused), and all their answers. */
struct msg_position {
	uint64_t chunk;
	uint64_t epoch;
	struct version position;
};

/* ---- metad ---- */

enum replica_state {
	REPLICA_ACTIVE = 1,
	REPLICA_FILLING = 2,
};

struct msg_list_entry {
	uint32_t cid;
	enum replica_state state;
	bool dead; /* metad has lost its session */
	bool leaving; /* dropped in the commit that promotes a FILLING one; where nothing is filled, evicted */
	uint64_t commit; /* of its CREATE */
};

/* A chunk as metad records it. */
struct msg_chunk {
	uint64_t index; /* in the volume */
	uint64_t chunk;
	uint64_t root_chunk;
	uint64_t epoch;
	uint64_t list_number;
	uint64_t floor; /* generation that every ACTIVE replica is known to have reached */
	uint32_t min_replicas;
	uint32_t replica_count;
	struct msg_list_entry replicas[REPLICAS_MAX];
	enum wire_status status; /* in LEASE_OK: of this chunk */
	bool other_owner;        /* TABLE_OK: a lease of another engine is on it */
};

struct msg_server {
	uint32_t cid;
	struct uuid disk;
	char address[ADDRESS_BYTES];
	char local_address
		[ADDRESS_BYTES]; /* "unix:/path" for engines on the same host (host name equal); may be empty */
	char host[NAME_BYTES];
	bool alive;
	bool slow;
};

/* Opens or resumes a session. */
struct msg_session {
	enum peer_role role;
	char host[NAME_BYTES];
	uint32_t pid;
	/* chunk servers */
	struct uuid disk;
	char address[ADDRESS_BYTES];
	char local_address[ADDRESS_BYTES];
	char zone[NAME_BYTES], rack[NAME_BYTES], node[NAME_BYTES];
	uint64_t capacity_bytes, free_bytes;
	uint64_t newest_commit; /* the highest commit number that this chunk server has seen */
	uint64_t newest_epoch;
	bool new_disk; /* formatted, never registered */
};

struct msg_session_ok {
	struct uuid cluster;
	uint32_t cid; /* chunk servers */
	char text[TEXT_BYTES];
};

#define STATS_JSON_MAX 65536
/* A keepalive names no more of the engines that a chunk server hears; the others are looked after as if nobody heard them. */
#define ENGINES_HEARD_MAX 4096

/*
 * Also carries a chunk server's health, and which engines it hears: instances that have said something on a connection to it
 * since its keepalive before. The answer's grant runs for GRANT_NS from the moment of asking.
 */
struct msg_keepalive {
	uint64_t sequence;
	uint64_t free_bytes, used_bytes, capacity_bytes;
	bool disk_failed;
	uint64_t read_errors, checksum_errors;
	uint64_t write_latency_us, read_latency_us;
	const char *
		stats_json; /* counters of the store for `server show`; a JSON object of at most STATS_JSON_MAX bytes, or NULL */
	uint32_t engine_count; /* at most ENGINES_HEARD_MAX */
	const struct uuid *engines;
};

struct msg_keepalive_ok {
	uint64_t sequence;
};

enum attach_mode {
	ATTACH_EXCLUSIVE = 1,
	ATTACH_READ_ONLY = 2,
};

struct msg_attach {
	char volume[NAME_BYTES];
	enum attach_mode mode;
	bool force;
};

struct msg_volume {
	uint64_t volume;
	struct uuid uuid;
	char name[NAME_BYTES];
	uint64_t size_bytes;
	uint64_t chunk_bytes;
	uint32_t replicas, min_replicas;
	uint64_t table_entries; /* chunks that exist */
	char text[TEXT_BYTES];  /* BUSY: who holds it */
};

struct msg_detach {
	uint64_t volume;
};

/* The chunks that exist, from an index on. */
struct msg_table {
	uint64_t volume;
	uint64_t first_index;
};

/* TABLE_OK (index, chunk and other_owner are set) and LEASE_OK. */
struct msg_chunks {
	uint64_t volume;
	bool more; /* TABLE_OK: ask again from the last index + 1 */
	uint32_t count;
	const struct msg_chunk *chunks;
	char text[TEXT_BYTES];
};

#define LEASE_CHUNKS_MAX 256
#define TABLE_CHUNKS_MAX 8192

/* Asks for the leases of chunks of a volume, by index; creates those that do not exist if allocate is set. */
struct msg_lease {
	uint64_t volume;
	bool allocate;
	bool repair; /* for a REPAIR_JOB: chunk ids instead of indexes, no attachment needed */
	uint32_t count;
	const uint64_t *indexes;
};

struct msg_lease_return {
	uint64_t chunk;
	uint64_t epoch;
	uint64_t floor;
};

enum change_kind {
	CHANGE_EVICT = 1,
	CHANGE_PROMOTE = 2, /* and drops the leaving one */
	CHANGE_DROP = 3,    /* gives up a FILLING one */
};

struct msg_change {
	enum change_kind kind;
	uint64_t chunk;
	uint64_t epoch;
	uint64_t list_number;
	uint32_t cid;
	uint64_t floor;
	uint32_t synced_count; /* who has answered SYNC at this epoch at or above the floor */
	uint32_t synced[REPLICAS_MAX];
	char text[TEXT_BYTES]; /* why */
};

/* CHANGE_OK (answer) and LIST (pushed): the present list. */
struct msg_list {
	struct msg_chunk chunk;
	char text[TEXT_BYTES];
};

struct msg_report_entry {
	uint64_t chunk;
	uint64_t epoch; /* fence */
	struct version position;
	uint64_t commit;
	uint64_t allocated_bytes;
};

/*
 * What a chunk server has; sent in parts of up to REPORT_CHUNKS_MAX after each session start and every minute (every ten seconds if
 * one part holds it all).
 */
#define REPORT_CHUNKS_MAX 4096
struct msg_report {
	bool first, last;
	uint32_t count;
	const struct msg_report_entry *entries;
};

struct msg_fence {
	uint64_t chunk;
	uint64_t epoch;
};

/* metad's epoch of each chunk that it knows: the replica stores it as its fence. */
struct msg_report_ok {
	uint32_t count;
	const struct msg_fence *fences;
};

struct msg_repair_job {
	uint64_t volume;
	uint64_t chunk;
	uint64_t chunk_bytes;
	bool scrub; /* read all of it and compare; goes to the engine that has its lease, too */
};

/* What one replica gave; in blocks. */
struct msg_scrubbed_replica {
	uint32_t cid;
	uint32_t bad; /* failed their checksum, could not be read, or differed from the others' */
	uint32_t repaired; /* of these */
	uint64_t read;
};

/* As many damaged blocks are named; more are only counted. */
#define SCRUBBED_NAMED_MAX 32

/*
 * From the owner of a chunk: how far its scrub is (last is not set), what it has found (last), or, with whole not set, what a single unit
 * has shown that was looked at because a read met a bad block. Counts of blocks; sums since the scrub began.
 */
struct msg_scrubbed {
	uint64_t chunk;
	uint64_t epoch;
	bool whole;
	bool last;
	uint32_t units, units_done; /* to be read, and read */
	uint32_t replica_count;
	struct msg_scrubbed_replica replicas[REPLICAS_MAX];
	uint32_t unrepairable; /* bad in every replica: reading them fails */
	uint32_t
		differing; /* good in each replica, but not the same, and no majority; or older somewhere */
	uint32_t named_count;
	uint32_t named[SCRUBBED_NAMED_MAX]; /* of both kinds: indexes of blocks in the chunk */
};

struct msg_delete {
	uint64_t chunk;
	uint64_t commit;
};

/* Chunk servers of one cluster; a SERVERS message holds them all. */
#define SERVERS_MAX 2048

struct msg_servers {
	uint32_t count;
	const struct msg_server *servers;
};

/* A request of copyhold(1): a verb ("volume.create") and its arguments as a JSON object. The answer is a JSON document. */
#define ADMIN_JSON_MAX                                                                             \
	(1000 * 1024) /* bytes, without the terminating 0; longer answers go in parts */

struct msg_admin {
	const char *verb;
	const char *json;
};

struct msg_admin_ok {
	const char *json;
};

/* All volumes, for an export list: names only are needed, but whole records come. */
#define VOLUMES_MAX 4096

struct msg_volumes_ok {
	uint32_t count;
	const struct msg_volume *volumes;
};

struct msg_detached {
	uint64_t volume;
	char text[TEXT_BYTES]; /* by whom, and what to do */
};

struct msg_resized {
	uint64_t volume;
	uint64_t size_bytes;
};

struct msg {
	enum msg_type type;
	uint64_t id;
	enum wire_status status; /* answers */
	struct slice payload;
	union {
		struct msg_hello hello; /* HELLO, HELLO_OK */
		struct msg_write write;
		struct msg_write_ok write_ok;
		struct msg_read read;
		struct msg_read_ok read_ok;
		struct msg_copy copy;
		struct msg_copy_ok copy_ok; /* COPY_OK, REPAIR_OK */
		struct msg_repair repair;
		struct msg_heartbeat heartbeat;
		struct msg_heartbeat_ok heartbeat_ok;
		struct msg_create create;
		struct msg_sync sync;
		struct msg_sync_ok sync_ok;
		struct msg_versions versions;
		struct msg_version_list version_list; /* VERSIONS_OK, INVALIDATE */
		struct msg_invalidate_ok invalidate_ok;
		struct msg_position position; /* CREATE_OK, JOIN*, MEND_*, RELEASE* */
		struct msg_session session;
		struct msg_session_ok session_ok;
		struct msg_keepalive keepalive;
		struct msg_keepalive_ok keepalive_ok;
		struct msg_attach attach;
		struct msg_volume volume; /* ATTACH_OK */
		struct msg_detach detach; /* DETACH, DETACH_OK */
		struct msg_table table;
		struct msg_chunks chunks; /* TABLE_OK, LEASE_OK */
		struct msg_lease lease;
		struct msg_lease_return lease_return; /* and its answer */
		struct msg_change change;
		struct msg_list list; /* CHANGE_OK, LIST */
		struct msg_report report;
		struct msg_report_ok report_ok;
		struct msg_repair_job repair_job;
		struct msg_scrubbed scrubbed;
		struct msg_delete delete_;
		struct msg_servers servers;
		struct msg_admin admin;
		struct msg_admin_ok admin_ok;
		struct msg_volumes_ok volumes_ok;
		struct msg_detached detached;
		struct msg_resized resized;
	} u;
};

#endif
