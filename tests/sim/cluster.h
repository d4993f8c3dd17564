/*
 * cluster.h - the processes of one run: metads, chunk servers with their disks, engines; how they are started, killed, and
 * brought back. The daemons' own drivers run in them, over the simulated seams.
 */
#ifndef COPYHOLD_SIM_CLUSTER_H
#define COPYHOLD_SIM_CLUSTER_H

#include "meta-service/metad/metad.h"
#include "replica-engine/chunkd/chunkd.h"
#include "replica-engine/engine/engine.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/observer.h"
#include "tests/sim/params.h"
#include "tests/sim/registers.h"
#include "tests/sim/rows.h"

struct cluster;

/* Something that runs in a process, and when it is to be started or continued again. */
struct node {
	struct cluster *cluster;
	struct sim_process *process;
	unsigned number;
	unsigned faults; /* that keep it down: it starts when the last has ended */
	unsigned pauses;
	struct sim_event restart; /* a process that ended by itself is started again */
};

struct sim_metad {
	struct node node;
	char address[ADDRESS_BYTES];
	struct metad *metad; /* NULL: not running */
};

struct sim_server {
	struct node node;
	char address[ADDRESS_BYTES], local_address[ADDRESS_BYTES];
	struct sim_disk *disk;
	bool formatted;
	unsigned disk_number;
	uint32_t lost_cid;      /* cids up to this one were of disks that have been replaced */
	uint64_t journal_bytes; /* written to the journal of this disk by stores that have ended */
	struct store *store;
	struct chunkd *chunkd;
	bool starting;         /* being formatted, or opened */
	bool ended;            /* it has given up: as if it had exited */
	bool stopping;         /* in order */
	struct sim_event step; /* of its stop: the disk is closed, the process ends */
	unsigned failed_starts;
	char failure[256];
};

/* How often a volume may be deleted in a run. */
#define SIM_DELETIONS_MAX 8
/* And how many sizes it may have. */
#define SIM_SIZES_MAX 64

struct user;

struct sim_engine {
	struct node node;
	struct engine *engine;
	struct user *users[SIM_VOLUMES_MAX]; /* attachments, by volume */
	bool stopping, stopped;              /* in order */
	bool stop_begun;                     /* it has nothing attached any more */
	bool listing; /* the volumes, as an export list; those that were there when it was asked for */
	struct uuid listed[SIM_VOLUMES_MAX];
};

/* A volume of the workload, and what is known of its content. */
struct sim_volume {
	unsigned number;
	char name[NAME_BYTES];
	bool created; /* there, and not about to be deleted */
	struct uuid uuid;
	uint64_t bytes;
	/* An operator has asked for another size, or will when it is detached. */
	bool resizing, shrinks;
	uint64_t sizes[SIM_SIZES_MAX]; /* that it has had, the last one maybe not yet */
	unsigned size_count;
	uint32_t attachments_before; /* when the last one was asked for */
	struct registers *registers;
	struct registers *former[SIM_DELETIONS_MAX]; /* of volumes that had its name */
	unsigned former_count;
	struct prng random;
	uint64_t reattach_at_ns;
	bool want_other; /* next attach: by force */
	unsigned next_engine;
	bool trimmed; /* what its users don't keep has been discarded */
};

struct admin;

/* A fault of the schedule: its beginning and its end. */
struct fault_event {
	struct sim_event begin, end;
	struct cluster *cluster;
	uint32_t number;
	bool active;
	/* DEPOSE: the second act, and the links that were cut, as host and host */
	struct sim_event second;
	unsigned holder, pivot; /* host of an engine, number of a chunk server */
	unsigned taker;         /* number of an engine */
	uint8_t links[32][2];
	unsigned link_count;
	/* AT_MESSAGE, AT_COMMIT, HEIRS */
	bool armed; /* waits for its message */
	bool second_done;
	unsigned retries; /* of a fault that needs somebody who has the volume */
	bool watching;    /* waits for another one: what releases a message, the third act */
	unsigned skip;    /* so many go by */
	struct sim_event fire;
	struct node *sender, *receiver;
	uint64_t connection;
	uint32_t cid;
	struct {
		struct node *node;
		bool paused; /* else down */
	} victims[4];
	unsigned victim_count;
	unsigned dead_disk; /* 1 ..: its server takes no writes */
	unsigned act;       /* of a story */
	uint64_t chunk;
	struct prng random; /* AT_DISK */
};

struct cluster {
	struct sim sim;
	struct params params;
	struct sim_metad metads[SIM_METADS_MAX];
	unsigned active_metad; /* the last one that got the store */
	struct sim_server servers[SIM_SERVERS_MAX];
	struct sim_engine engines[SIM_ENGINES_MAX];
	struct sim_volume volumes[SIM_VOLUMES_MAX];
	struct sim_rows *rows;
	struct observer *observer;
	struct lists *lists;
	struct admin *admin;
	struct jobs *jobs; /* of the operator */
	char meta_addresses[512];
	struct sim_event tick;
	struct sim_event look; /* of the operator */
	struct prng operator_random;
	struct prng attach_random;
	bool booted;
	bool held;    /* the run can't go on: some disk has no room for what others have accepted */
	bool issuing; /* clients begin new operations */
	/* The disk that may have lied has been scrubbed since: what is on it must be right again. */
	bool scrubbed;
	uint64_t scrub_since_ms;
	bool trimming; /* users discard what they don't keep */
	bool manual;   /* a scenario says who attaches what, until the liveness phase */
	uint64_t workload_began_ns;
	uint64_t last_done_ns;
	uint64_t slowest_ns; /* the longest that an operation of a client has taken */
	struct fault_event fault_events[SIM_FAULTS_MAX];
	unsigned listening; /* faults that wait for a message */
	size_t bytes_under_way_max, memory_max;
	uint64_t acknowledged, failed_operations;
	uint64_t eio;
	unsigned
		kills; /* before everything came to rest: what they held leaks, as when a process ends */
	bool at_rest;
};

/* Builds hosts, network, disks; starts nothing. */
void cluster_init(struct cluster *c, const struct params *params, bool tracing, FILE *out);
void cluster_fini(struct cluster *c);

void cluster_start_metad(struct cluster *c, unsigned i);
void cluster_start_server(struct cluster *c, unsigned i);
void cluster_start_engine(struct cluster *c, unsigned i);
/* As by kill -9; with power: its disk and connections feel it. Nothing if it is not running. */
void cluster_kill_metad(struct cluster *c, unsigned i, bool power);
void cluster_kill_server(struct cluster *c, unsigned i, bool power);
void cluster_kill_engine(struct cluster *c, unsigned i, bool power);
/* Process and connections; what ran in it is the caller's. */
void cluster_kill_node(struct node *n, bool power);
/* The engine for repairs in a chunk server; NULL: not running. */
const struct engine *cluster_server_engine(const struct sim_server *server);
/* It is to detach what it has, and then to end in order; it is started again. */
void cluster_stop_engine(struct cluster *c, unsigned i);
/* Those that are to end go on with it: to be called again and again. */
void cluster_stop_engines_on(struct cluster *c);
/* SIGTERM: it ends what is under way, closes its disk and ends, and is started again unless a fault keeps it down. False: it can't now. */
bool cluster_stop_server(struct cluster *c, unsigned i);
/* A process has ended by itself: it is started again, unless a fault keeps it down. */
void cluster_restart_later(struct node *n);
/* A new, empty disk; the server must not be running. */
void cluster_replace_disk(struct cluster *c, unsigned i);

/* The server that has the disk of this cid, by metad's rows, or -1: unknown, or another disk is in its place. */
int cluster_server_of_cid(const struct cluster *c, uint32_t cid);
/* Its disk lies, from now on, only about what it holds behind the metadata. */
void cluster_spare_metadata(struct sim_server *server);
/* The one disk of a seed that is made to lie, at whatever time. */
bool cluster_disk_lies(const struct cluster *c, unsigned server);
/* The chunk's row by volume number and index, NULL if it does not exist. */
const struct meta_chunk_row *cluster_chunk(const struct cluster *c, unsigned volume,
					   uint64_t index);
/* NULL: one that is deleted, or is not known to have been created yet. */
struct sim_volume *cluster_volume_of(struct cluster *c, const struct meta_chunk_row *chunk);

/* It was deleted: the next one of this name has been written nothing. */
void sim_volume_renew(struct cluster *c, struct sim_volume *volume);
void sim_volume_add_size(struct sim_volume *volume, uint64_t bytes);
bool sim_volume_had_size(const struct sim_volume *volume, uint64_t bytes);

/* Asks metad; done with the status and the JSON text. Repeats until it is answered. */
void admin_request(struct cluster *c, const char *verb, const char *json,
		   void (*done)(struct cluster *c, enum wire_status status, const char *json,
				void *context),
		   void *context);
bool admin_busy(const struct cluster *c);
struct admin *admin_new(struct cluster *c);
/* metad's wall clock. */
uint64_t cluster_wall_ms(const struct cluster *c);
void admin_free(struct admin *a);

#endif
