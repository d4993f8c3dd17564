/*
 * faults.h - carries out the schedule of faults of a run, and ends all of them. The fault model is in docs/TESTING.md.
 */
#ifndef COPYHOLD_SIM_FAULTS_H
#define COPYHOLD_SIM_FAULTS_H

#include "tests/sim/cluster.h"

/* Schedules params.faults, relative to now. */
void faults_schedule(struct cluster *c);
/* One fault at once; its end is scheduled. For scenarios too. */
void fault_begin(struct cluster *c, uint32_t number);
/* For sim.on_message, for sim.on_disk, and what metad's rows call as a commit begins. */
void faults_message(struct sim *sim, const struct sim_message *message);
void faults_disk(struct sim *sim, const struct sim_process *process, uint64_t bytes);
void faults_commit(void *context);
/* Ends all, cancels those to come: everything runs, every link is whole, disks and clocks behave. */
void faults_end_all(struct cluster *c);

/* The same, piecewise, for scenarios. */
unsigned host_of_server(const struct cluster *c, unsigned server);
unsigned host_of_engine(const struct cluster *c, unsigned engine);
unsigned host_of_metad(const struct cluster *c, unsigned metad);
void node_hold_down(struct node *n); /* the caller kills it */
void node_let_up(struct node *n);
void host_power_off(struct cluster *c, unsigned host);
void host_power_on(struct cluster *c, unsigned host);
/* An empty disk in the place of one that can't be opened any more, if no chunk needs that one. */
void server_replace_dead_disk(struct cluster *c, unsigned server);
void node_pause(struct node *n);
void node_continue(struct node *n);
void power_off_all(struct cluster *c);
void power_on_all(struct cluster *c);

#endif
