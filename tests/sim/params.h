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
	FAULT_POWER_ALL, /* everything at once */
	FAULT_CUT,       /* links between two hosts: both ways, or one way if `how` is odd */
	FAULT_ISOLATE,   /* a host from all others */
	FAULT_BREAK,     /* all connections between two hosts */
	FAULT_SLOW_HOST, /* its network, by a factor */
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
	FAULT_HEIRS,      /* holders die one after another, each with what the next one needs */
	FAULT_CHURN,      /* one chunk server after another is down for some seconds */
	FAULT_RECREATE,   /* a volume is deleted, by force or not, and created anew */
	FAULT_MIXED_KINDS,
	/* Stories of several acts that need others not to disturb them: params_stories.c, faults_stories.c. */
	FAULT_ECHO = FAULT_MIXED_KINDS, /* what replicas said to the former holder comes late */
	FAULT_BEHIND,                   /* what the former holder has asked of metad comes late */
	FAULT_RETURNS,                  /* a chunk server comes back while it is being replaced */
	FAULT_UNWANTED, /* a replica is garbage, and wanted again while its DELETE is late */
	FAULT_ANEW,     /* a volume is deleted and created anew while its holder is away */
	FAULT_AT_DISK,  /* a machine loses power while its disk has a large write under way */
	FAULT_KINDS
};

/* AT_MESSAGE: what happens as the message is sent or delivered. `how`: bits 0 .. 6 its type, 8 .. 11 this, 12 .. 15 how soon. */
enum at_message {
	AT_KILL_SENDER,
	AT_KILL_RECEIVER,
	AT_KILL_BOTH,
	AT_KILL_SENDER_AND_OTHER, /* a chunk server as well */
	AT_POWER_SENDER,
	AT_POWER_RECEIVER,
	AT_PAUSE_SENDER,
	AT_PAUSE_RECEIVER,
	AT_BREAK,
	AT_HOLD, /* it and what follows on this connection arrives when another message is delivered */
	AT_LINGER, /* the same, and its sender may connect again meanwhile */
	AT_ACTIONS
};

/* `more` of AT_MESSAGE. */
#define AT_SENT(more) ((more)&1)        /* else: delivered */
#define AT_SKIP(more) ((more) >> 1 & 7) /* so many of these messages pass before */
#define AT_RELEASE(more)                                                                           \
	((more) >> 8 & 127) /* HOLD, LINGER: type of the message that releases it; 0: time does */
#define AT_CONCERNED   (1u << 16) /* HOLD, LINGER: the replica concerned dies for a while meanwhile */
#define AT_OTHER(more) ((more) >> 20 & 15)

/* `how` of DEPOSE: see faults.c. `more`: bits 0 .. 6 the message to or from the taker with which the second act begins, 7 as it is sent; 0: by time. */
enum depose_bits {
	DEPOSE_META = 1 << 0,
	DEPOSE_ONE_WAY = 1 << 1,
	DEPOSE_SERVERS = 1 << 2,
	DEPOSE_TAKER = 1 << 3,
	DEPOSE_TAKER_PIVOT = 1 << 4,
	DEPOSE_SECOND = 1 << 5,
	DEPOSE_SECOND_PIVOT = 1 << 6,
	DEPOSE_RESTART = 1 << 7,
	DEPOSE_RESTART_PIVOT = 1 << 8,
	/* bits 9 .. 11: which replica of which chunk */
	DEPOSE_POWER = 1 << 12, /* who is restarted loses power */
	DEPOSE_SLEEP =
		1
		<< 13, /* the holder stands still until the end, from some milliseconds (bits 14, 15) after the first act on */
		       /* 16 .. 31: which servers, where the pivot does not say */
};

/* `how` of HEIRS. `more`: bits 0 .. 6 the message of the third act, 8 .. 10 which of them, 11: one server is slow until then. */
#define HEIRS_SLOW(more) ((more) >> 11 & 1)
enum heirs_bits {
	HEIRS_SOME = 1 << 0, /* the holder is cut off from some, not from all but the pivot */
	HEIRS_ONE_WAY = 1 << 1,
	HEIRS_STAYS_CUT = 1 << 2,   /* until the end, and what it had sent is late */
	HEIRS_PAUSE = 1 << 3,       /* the holder stands still, else it is killed */
	HEIRS_PIVOT_FIRST = 1 << 4, /* the pivot dies with the holder */
	HEIRS_PIVOT_LAST = 1 << 5,  /* the pivot dies with the heir */
	HEIRS_POWER = 1 << 6,       /* the others lose power when the heir dies */
	HEIRS_DISK = 1 << 7,   /* one of the others takes no writes between second and third act */
	HEIRS_READER = 1 << 8, /* the pivot is the replica that reads prefer */
	/* bits 9 .. 12: which replica of which chunk; 13 .. 15: the first act's length; 16 .. 31: which servers */
};

/* More of DEPOSE's and HEIRS' `more`. */
#define DEPOSE_SWAP                                                                                \
	(1u                                                                                        \
	 << 8) /* the holder reaches the pivot only from the second act on, the taker only until then */
#define DEPOSE_IDLE (1u << 9) /* the holder's users ask for nothing for some seconds */
#define HEIRS_ROLL                                                                                 \
	(1u                                                                                        \
	 << 13) /* the third act is at a COPY that makes replicas level; one gets further than the others */
#define ACTS_HOT (1u << 12) /* the pivot has a replica of a chunk that is written to now */

/* `how` of the stories is drawn uniformly; each takes what it needs of its bits. */
enum story_bits {
	STORY_POWER = 1 << 0, /* who goes down loses power */
	STORY_OTHER =
		1
		<< 1, /* RETURNS: who is being filled stands still meanwhile. ANEW: a replica is away. */
	STORY_SERVERS = 1 << 2, /* ANEW: the holder reaches no chunk server either */
	/* 3 .. 5: which replica; 6 .. 8: which other one; 9: which of the two hot chunks; 12 .. 31: how long between the acts, 5 bits each */
};
#define STORY_SPAN(how, i) ((how) >> (12 + 5 * (i)) & 31)

const char *fault_name(enum fault_kind kind);

struct fault {
	enum fault_kind kind;
	uint64_t at_ns; /* after the workload began */
	uint64_t lasts_ns;
	uint32_t target, other; /* server, engine, host, volume: by kind */
	uint32_t how, more;
	bool dropped; /* by --without */
};

/* What may not be exceeded, however long a run lasts. */
struct growth_limits {
	uint64_t store_memory_bytes, engine_memory_bytes; /* of each */
	uint64_t wire_bytes;                              /* queued in the network, in all */
	uint64_t events;          /* of the run: more of them turn without end */
	uint32_t journal_percent; /* of its size that a journal may hold */
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
	uint64_t metadata_memory_bytes; /* of each chunk server; 0: no paging */
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
	uint64_t move_ns; /* after this long the hot range is another one; 0: never */
	uint32_t readers; /* so many of the clients only read */
	uint32_t io_bytes_max;
	uint32_t repeat_percent; /* of writes: sent again while the first copy is under way */
	uint64_t repeat_after_ns;
	struct growth_limits limits;
	/* faults */
	bool stories; /* nothing but these */
	bool focused; /* few, of those that are made of several acts, so that others don't disturb them */
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
