/*
 * faults_private.h - what the files that carry out faults share: nodes.c (processes and machines die, hang and come back), faults.c
 * (each fault, and the schedule), faults_acts.c and faults_stories.c (those of several acts). Not for others.
 */
#ifndef COPYHOLD_SIM_FAULTS_PRIVATE_H
#define COPYHOLD_SIM_FAULTS_PRIVATE_H

#include "tests/sim/faults.h"

/* nodes.c */
/* Starts it, unless a fault holds it down or its host is off. */
void node_start(struct node *n);
void node_kill_any(struct node *n, bool power);
/* Killed, and started again at once. */
void node_kill_and_restart(struct node *n);
/* Calls visit for all nodes, in a fixed order. */
void node_each(struct cluster *c, void (*visit)(struct node *n, void *context), void *context);
/* The node that runs this process; NULL: none, as of the operator. */
struct node *node_of(struct cluster *c, const struct sim_process *process);

/* faults.c */
/* The engine attaches the fault's volume, mostly by force. */
void fault_take_over(struct cluster *c, const struct fault *f, unsigned engine);

/* faults_acts.c */
/* Down, or paused, until the fault ends. */
void fault_hold_victim(struct fault_event *event, struct node *n, bool power);
/* Ends in order (at once, if it can't), and is kept down. */
void fault_stop_victim(struct fault_event *event, struct node *n);
void fault_pause_victim(struct fault_event *event, struct node *n);
void fault_victims_go_on(struct fault_event *event);
/* The fault hears of messages from now on, or no longer. */
void fault_watch(struct fault_event *event);
void fault_unwatch(struct fault_event *event);
/* Nobody has the volume, or what the fault needs is not there: it begins anew a little later, up to a hundred times. */
void fault_try_later(struct fault_event *event);
/* Links that are cut until the fault ends, or until they are healed; not of a host to itself. */
void fault_cut(struct fault_event *event, unsigned from, unsigned to);
void fault_cut_both(struct fault_event *event, unsigned a, unsigned b, bool one_way);
void fault_heal(struct fault_event *event, unsigned from, unsigned to);
void fault_heal_both(struct fault_event *event, unsigned a, unsigned b);
void fault_heal_links(struct fault_event *event);
/* The chunk of the fault's volume that it is about; NULL: there is none. */
const struct meta_chunk_row *fault_chunk(const struct cluster *c, const struct fault *f);
struct node *node_of_user(struct cluster *c, const struct user *user);
/* Begin, the message at which a further act begins, end. */
void depose(struct cluster *c, struct fault_event *event, const struct fault *f);
void depose_message(struct fault_event *event, const struct fault *f, const struct sim_message *m);
void depose_end(struct fault_event *event);
void churn_on(struct sim_event *at);
void churn_end(struct fault_event *event);
void heirs(struct cluster *c, struct fault_event *event, const struct fault *f);
void heirs_message(struct fault_event *event, const struct fault *f, const struct sim_message *m);
void heirs_end(struct fault_event *event);
/* faults_stories.c */
void story(struct cluster *c, struct fault_event *event, const struct fault *f);
void story_message(struct fault_event *event, const struct fault *f, const struct sim_message *m);
/* The disk of this process is asked to write so much. */
void story_disk(struct fault_event *event, const struct fault *f,
		const struct sim_process *process);
void story_end(struct fault_event *event);

#endif
