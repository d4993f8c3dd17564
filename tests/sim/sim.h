/*
 * sim.h - the simulated world: virtual time, hosts with clocks of their own, processes that pause and
 * crash, one queue of events, and random streams that all come from one seed.
 *
 * Everything runs in one thread. An event belongs to a process or to the world. An event of a process
 * runs only while that process runs: a paused process finds its events when it goes on, a crashed one has lost them.
 * Events are ordered by (time, order of scheduling), so a run is a function of the seed and the options.
 *
 * Random streams are split by name: each link, disk, client and fault draws from its own, so that an option that takes one
 * fault away does not reshuffle all the others.
 */
#ifndef COPYHOLD_SIM_H
#define COPYHOLD_SIM_H

#include "common/base/base.h"
#include "common/base/prng.h"
#include "common/io/clock.h"
#include "common/io/transport.h"
#include "tests/sim/reached.h"

#include <stdio.h>

struct sim;
struct sim_process;

/* What is to happen, embedded by whoever schedules it, zeroed before its first use. */
struct sim_event {
	void (*run)(struct sim_event *event);
	struct sim_process *process; /* NULL: of the world */
	uint64_t at_ns;
	uint64_t order;
	uint32_t heap_index;         /* 1 ..; 0: not queued */
	TAILQ_ENTRY(sim_event) link; /* while its process is paused */
	bool deferred;
	const char *name; /* for the trace */
};
TAILQ_HEAD(sim_events, sim_event);

/* A machine: a clock with a rate of its own, on or off. */
struct sim_host {
	struct sim *sim;
	char name[16];
	unsigned index;
	bool up;
	unsigned off;       /* reasons for which it has no power */
	int32_t rate_ppm;   /* 100000: its clock runs 10 % fast */
	uint64_t booted_ns; /* world time at which its clock showed booted_local_ns */
	uint64_t booted_local_ns;
};

struct sim_process {
	struct sim *sim;
	struct sim_host *host;
	char name[16];
	unsigned index;
	bool running;
	bool paused;
	uint32_t incarnation;
	struct io_clock clock;
	struct io_transport transport;
	struct prng random;   /* what io_clock.random gives */
	struct prng lateness; /* how late timers fire */
	uint64_t lateness_ns; /* at most */
	struct sim_events deferred;
	uint64_t events;
};

#define SIM_HOSTS_MAX     24
#define SIM_PROCESSES_MAX 24

struct sim_net;
struct sim_observer;

/* What a run has seen: for the totals of a soak. */
struct sim_totals {
	uint64_t events, frames, operations, copies, crashes, pauses, power_cuts, breaks,
		partitions, disk_faults, clock_faults, store_faults, faults;
	uint64_t reached[REACHED_KINDS];
};

/* A frame as it is handed to the transport, or as it is about to be handed to its receiver. */
struct sim_message {
	struct sim_process *from, *to; /* to: NULL as long as nobody has accepted the connection */
	uint64_t connection;
	unsigned type; /* enum msg_type */
	uint32_t cid;  /* CHANGE: whose replica; else 0 */
	bool waits;    /* a SYNC_OK that only says how long */
	bool rolls;    /* a COPY that makes replicas level */
	bool delivered;
};

struct sim {
	uint64_t seed;
	uint64_t now_ns;
	uint64_t order;
	struct sim_event **heap;
	uint32_t heap_count, heap_capacity;
	struct sim_host hosts[SIM_HOSTS_MAX];
	unsigned host_count;
	struct sim_process processes[SIM_PROCESSES_MAX];
	unsigned process_count;
	struct sim_process *current; /* whose code runs */
	struct sim_net *net;
	uint64_t hash; /* of everything that happened, in order */
	bool tracing;
	FILE *out;
	struct sim_totals totals;
	void (*after_event)(struct sim *sim, struct sim_process *process);
	void (*on_message)(struct sim *sim, const struct sim_message *message);
	/* The disk of a process is asked to write. */
	void (*on_disk)(struct sim *sim, const struct sim_process *process, uint64_t bytes);
	void *context;

	bool failed;
	char rule[64];
	char reason[512];
	uint64_t failed_chunk; /* 0: none in particular */
};

void sim_init(struct sim *sim, uint64_t seed);
void sim_fini(struct sim *sim);

/* A random stream of its own: the same (seed, name, index) always gives the same numbers. */
struct prng sim_stream(const struct sim *sim, const char *name, uint64_t index);

struct sim_host *sim_host_add(struct sim *sim, const char *name, int32_t rate_ppm);
uint64_t sim_host_now(const struct sim_host *host);
/* Its clock goes on at another rate from now on. */
void sim_host_set_rate(struct sim_host *host, int32_t rate_ppm);

struct sim_process *sim_process_add(struct sim *sim, struct sim_host *host, const char *name);
/* From here on its events run; each start is a new incarnation. */
void sim_process_start(struct sim_process *process);
/* Takes all its events away. Its connections are ended by the caller (net_process_ended). */
void sim_process_end(struct sim_process *process);
void sim_process_pause(struct sim_process *process);
void sim_process_continue(struct sim_process *process);

void sim_schedule(struct sim *sim, struct sim_event *event, struct sim_process *process,
		  uint64_t at_ns, const char *name);
void sim_cancel(struct sim *sim, struct sim_event *event);
/* Runs events until `until_ns`, or until stop() says so after an event (NULL: never). False if the run has failed. */
bool sim_run(struct sim *sim, uint64_t until_ns, bool (*stop)(void *context), void *context);
/* Runs one event; false if there is none before until_ns. */
bool sim_step(struct sim *sim, uint64_t until_ns);

static inline void sim_reach(struct sim *sim, enum reached what)
{
	sim->totals.reached[what]++;
}
/* Adds to the hash of the run. */
void sim_note(struct sim *sim, uint64_t value);
/* A line of the trace, with time and process; adds to the hash whether or not it is shown. */
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first call names the rule that was broken and ends the run; later ones are ignored. */
void sim_fail(struct sim *sim, const char *rule, uint64_t chunk, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
