/*
 * params.h - what is drawn from a seed before a run begins: the shape of the cluster, how its parts behave, the workload, and
 * the schedule of faults. Everything is printed first, so that a failure can be read without a debugger.
 */
#ifndef COPYHOLD_SIM_PARAMS_H
#define COPYHOLD_SIM_PARAMS_H

#include "tests/sim/disk.h"
#include "tests/sim/net.h"

#define SIM_SERVERS_MAX 7u
#define SIM_ENGINES_MAX 4u
#define SIM_METADS_MAX  2u
#define SIM_VOLUMES_MAX 4u
#define SIM_CLIENTS_MAX 4u
#define SIM_FAULTS_MAX  256u

enum fault_kind {
	FAULT_CRASH_SERVER, /* a chunk server's process is killed; back after `lasts` */
	FAULT_POWER_SERVER, /* its machine loses power */
	FAULT_PAUSE_SERVER, /* SIGSTOP for `lasts` */
	FAULT_CRASH_ENGINE,
	FAULT_PAUSE_ENGINE,
	FAULT_RESTART_ENGINE, /* stopped in order, and started again */
	FAULT_CRASH_META,
	FAULT_PAUSE_META,
	FAULT_FAILOVER_META, /* the metad dies and the other one is started on the same rows */
	FAULT_POWER_ALL,     /* everything at once */
	FAULT_CUT,           /* links between two hosts: both ways, or one way if `how` is odd */
	FAULT_ISOLATE,       /* a host from all others */
	FAULT_BREAK,         /* all connections between two hosts */
	FAULT_SLOW_HOST,     /* its network, by a factor */
	FAULT_SLOW_DISK,
	FAULT_DISK_WRITES_FAIL, /* until the server is restarted */
	FAULT_DISK_READS_FAIL,  /* of some sectors */
	FAULT_DISK_ROT,
	FAULT_DISK_LOSES_WRITES,
	FAULT_DISK_MISDIRECTS,
	FAULT_DISK_REPLACED, /* a new, empty disk */
	FAULT_CLOCK_RATE,
	FAULT_ROWS_FAIL, /* metad's commits */
	FAULT_ROWS_SLOW,
	FAULT_TAKEOVER, /* another engine attaches a volume by force */
	FAULT_DETACH,   /* in order; somebody attaches it again soon */
	FAULT_DEPOSE,   /* the holder is cut off, another takes the volume, in two acts: faults.c */
	FAULT_LINGER,   /* as BREAK at target's end alone; what it had sent arrives `lasts` later */
	FAULT_AT_MESSAGE, /* as a message of a kind is delivered its sender or receiver dies, hangs, or the connection breaks */
	FAULT_AT_COMMIT,  /* metad dies while a commit is under way */
	FAULT_RECREATE,   /* a volume is deleted, by force or not, and created anew */
	FAULT_KINDS
};

const char *fault_name(enum fault_kind kind);

struct fault {
	enum fault_kind kind;
	uint64_t at_ns; /* after the workload began */
	uint64_t lasts_ns;
	uint32_t target, other; /* server, engine, host, volume: by kind */
	uint32_t how;
	bool dropped; /* by --without */
};

struct params {
	uint64_t seed;
	/* shape */
	uint32_t servers, metads, engines, volumes;
	uint32_t clients; /* of each attachment */
	bool colocated;   /* engine i runs on the host of server i */
	uint64_t chunk_bytes;
	struct {
		uint64_t bytes;
		uint32_t replicas, min_replicas;
	} volume[SIM_VOLUMES_MAX];
	/* behaviour */
	struct net_character net;
	struct sim_disk_options disk[SIM_SERVERS_MAX];
	uint64_t journal_bytes; /* of each; 0: as by default */
	bool tight; /* the disks are smaller than what the volumes may hold: writes are refused */
	uint32_t
		keep_percent; /* tight: of each volume; users discard the rest when the faults have ended */
	uint64_t rows_latency_ns;
	int32_t rate_ppm[SIM_HOSTS_MAX];
	uint64_t io_timeout_ns;
	/* metad's delays, shorter than in life */
	uint64_t scan_ms, grace_ms, evict_dead_ms, garbage_ms;
	uint64_t scrub_ms; /* 0: none */
	/* workload */
	uint64_t workload_ns;
	uint32_t operations; /* of each client, at most */
	uint64_t think_ns;
	uint32_t depth; /* operations that a client has under way */
	uint32_t hot_percent, read_percent, zero_percent;
	uint64_t hot_bytes;
	uint32_t io_bytes_max;
	uint32_t repeat_percent; /* of writes: sent again while the first copy is under way */
	uint64_t repeat_after_ns;
	/* faults */
	bool spare_metadata; /* it lies about data only */
	uint32_t victim;     /* the one server whose disk may lie */
	uint32_t fault_count;
	struct fault faults[SIM_FAULTS_MAX];
};

/* Draws everything from the seed. */
void params_draw(struct params *p, uint64_t seed);
/* A calm cluster of usual shape without faults, for scenarios to begin with. */
void params_calm(struct params *p, uint64_t seed);
void params_print(const struct params *p, FILE *out);
/* "FAULT at 12.3 s ...", for --trace and failures. */
void fault_print(const struct params *p, uint32_t i, FILE *out);
struct fault *params_add_fault(struct params *p, enum fault_kind kind, uint64_t at_ns,
			       uint64_t lasts_ns, uint32_t target, uint32_t other, uint32_t how);

#endif
