/*
 * observer.h - checks on the frames that pass by, between any two processes:
 *
 *   fence        after a replica has answered SYNC for an epoch it applies nothing of an older one, and answers no READ of
 *                an older one that came later
 *   generations  a generation of an epoch has one content, whoever sends it and however often; a replica
 *                answers OK only to what it was sent, and without a gap
 *   epochs       no epoch is granted twice in a cluster
 */
#ifndef COPYHOLD_SIM_OBSERVER_H
#define COPYHOLD_SIM_OBSERVER_H

#include "proto/msg.h"
#include "tests/sim/net.h"

struct observer;
struct lists;

/* What passes is shown to the checker of lists too. */
struct observer *observer_new(struct sim *sim, struct lists *lists);
void observer_free(struct observer *o);
struct net_watch observer_watch(struct observer *o);
/* The process has another disk from now on: it has answered nothing yet. */
void observer_disk_replaced(struct observer *o, const struct sim_process *process);
/*
 * When a replica has last refused, for want of room, what other replicas have accepted: a generation, or a COPY that rolls it forward; 0: never.
 */
uint64_t observer_no_room_ns(const struct observer *o, const struct sim_process *replica);
/* The last frames about a chunk, for the history of a failure. */
void observer_print_history(const struct observer *o, uint64_t chunk, FILE *out);
/*
 * For scenarios: how many messages of a type a process has handed to its transport, how many have come to it, and the status
 * of the last of each.
 */
uint64_t observer_sent(const struct observer *o, const struct sim_process *from,
		       enum msg_type type);
uint64_t observer_delivered(const struct observer *o, const struct sim_process *to,
			    enum msg_type type);
enum wire_status observer_last_sent_status(const struct observer *o, const struct sim_process *from,
					   enum msg_type type);
enum wire_status observer_last_status(const struct observer *o, const struct sim_process *to,
				      enum msg_type type);
/* A line for a frame: "WRITE chunk=.. epoch=.. generation=..". */
void observer_describe(struct observer *o, const struct io_frame *frame, char *text, size_t bytes);

#endif
