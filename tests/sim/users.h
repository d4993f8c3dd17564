/*
 * users.h - who uses the volumes: an attachment of a volume by an engine, and its clients, which read, write, zero and discard as
 * a kernel does on several connections. They live in the engine's process: paused and killed with it.
 */
#ifndef COPYHOLD_SIM_USERS_H
#define COPYHOLD_SIM_USERS_H

#include "tests/sim/cluster.h"

enum user_state {
	USER_ATTACHING,
	USER_ATTACHED,
	USER_DETACHING,
	USER_LOST, /* another engine has it now; detaching */
};

/* Attaches a volume by an engine that runs and has no attachment of it; clients begin when it is attached. */
void user_attach(struct cluster *c, unsigned engine, unsigned volume, bool force);
/* Begins to detach when the operations under way have ended. */
void user_detach(struct user *user);
/* The engine's process is gone: before engine_free. */
void users_killed(struct cluster *c, struct sim_engine *engine);

enum user_state user_state(const struct user *user);
/* Its engine's process is paused: nothing may be asked of it. */
bool user_paused(const struct user *user);
/* The engine runs and has not this volume: it may be asked to attach it. */
bool engine_may_attach(const struct sim_engine *engine, unsigned volume);
/* The size of its volume, as its engine knows it; while it is attached. */
uint64_t user_bytes(const struct user *user);
unsigned user_host(const struct user *user);
/* Its clients begin nothing until then. */
void user_idle(struct user *user, uint64_t until_ns);
/* This is the volume that it has, or it may be: it does not know yet. */
bool user_wants(const struct user *user, struct uuid volume);
/* In the middle of which bytes of the volume most of what is asked lies at present. */
uint64_t users_hot_middle(const struct cluster *c, unsigned volume);
/* Those that still have a volume that was deleted, and another one of its name is there, let it go. */
void users_detach_former(struct cluster *c);
/* Operations under way, over all users. */
unsigned users_under_way(const struct cluster *c);
/* Some user of the volume that is attached and not lost. NULL: none. */
struct user *user_of_volume(const struct cluster *c, unsigned volume);
/* An attachment of the volume is under way or up. */
bool volume_in_use(const struct cluster *c, unsigned volume);

/* Reads the whole volume through this user and checks it; calls done once. */
void user_verify(struct user *user, void (*done)(void *context, struct user *user, unsigned failed),
		 void *context);
/* Discards all but keep_percent of the volume; likewise. */
void user_trim(struct user *user, void (*done)(void *context, struct user *user, unsigned failed),
	       void *context);
/* Asks the engine for a list of all volumes, and compares it with those that were there all the time. Nothing while it is asked already. */
void engine_user_list(struct sim_engine *engine);
/* One of these is under way: no other may begin. */
bool user_sweeps(const struct user *user);

/* For scenarios: one operation, its completion in *status (1 while it is under way). */
struct scripted {
	int status;
	uint32_t stamp;
};
void user_write(struct user *user, uint64_t offset, uint64_t bytes, uint32_t stamp,
		struct scripted *result);
void user_read(struct user *user, uint64_t offset, uint64_t bytes, struct scripted *result);
/* Which sectors hold data; of one chunk. */
void user_extents(struct user *user, uint64_t offset, uint64_t bytes, struct scripted *result);

#endif
