/*
 * steps.h - what scenarios are made of. Each step waits for its outcome in virtual time and fails the run, naming what did
 * not happen, if it does not come. "try" steps only begin something.
 */
#ifndef COPYHOLD_SIM_STEPS_H
#define COPYHOLD_SIM_STEPS_H

#include "tests/sim/faults.h"
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"
#include "tests/sim/users.h"

#define SECONDS(n) ((n)*NS_PER_S)

/* The engine attaches the volume and its clients stay idle (operations are 0 in calm scenarios that script everything). */
bool step_attach(struct cluster *c, unsigned engine, unsigned volume, bool force);
void try_attach(struct cluster *c, unsigned engine, unsigned volume, bool force);
/* As most stories begin: everything from now on is scripted, engine 0 has volume 0, and its first MiB is written. */
bool step_begin(struct cluster *c);
bool step_detach(struct cluster *c, unsigned engine, unsigned volume);
/* Fresh content; acknowledged within `within_ns`. */
bool step_write(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset,
		uint64_t bytes, uint64_t within_ns);
/* Writes from the beginning on until there is no room: each write ends within 30 s, the last one with ENOSPC. */
bool step_fill(struct cluster *c, unsigned engine, unsigned volume);
bool step_read(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset, uint64_t bytes,
	       uint64_t within_ns);
void try_write(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset, uint64_t bytes,
	       struct scripted *result);
void try_read(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset, uint64_t bytes,
	      struct scripted *result);
void try_extents(struct cluster *c, unsigned engine, unsigned volume, uint64_t offset,
		 uint64_t bytes, struct scripted *result);
/* Runs on for a while; the condition must hold afterwards. */
bool step_expect(struct cluster *c, bool holds, const char *what);
/* Until the chunk has so many ACTIVE replicas and so many in all. */
bool step_replicas(struct cluster *c, unsigned volume, uint64_t index, unsigned active,
		   unsigned total, uint64_t within_ns);
/* An operator gives the volume another size; metad has agreed within 30 s. */
bool step_resize(struct cluster *c, unsigned volume, uint64_t bytes, bool force);
/*
 * Event by event, until the process has handed another message of this type to its transport, or been handed one: then
 * the scenario can cut a link between the two.
 */
bool step_until_sent(struct cluster *c, const struct node *from, enum msg_type type,
		     uint64_t within_ns);
bool step_until_delivered(struct cluster *c, const struct node *to, enum msg_type type,
			  uint64_t within_ns);
/* Until an operation that was begun has ended; its status is the caller's to look at. */
bool step_done(struct cluster *c, const struct scripted *result, uint64_t within_ns);
/* The server that holds the i-th replica of the chunk's list. */
unsigned server_of(struct cluster *c, unsigned volume, uint64_t index, unsigned i);

void cut_both(struct cluster *c, unsigned host_a, unsigned host_b);
/* kill -9; comes back with node_let_up. */
void kill_server(struct cluster *c, unsigned server);
void kill_engine(struct cluster *c, unsigned engine);
void kill_metad(struct cluster *c, unsigned metad);

/* No clients of their own: everything is scripted. */
void shape_scripted(struct params *p);
/* The same, with a fourth chunk server. */
void shape_one_to_spare(struct params *p);

#endif
