/*
 * rest.h - the checks that read the disks themselves, past all daemons: copies of the disks are opened by the store (so
 * its replay runs too), and what they hold is compared with what users were told and with each other.
 */
#ifndef COPYHOLD_SIM_REST_H
#define COPYHOLD_SIM_REST_H

#include "tests/sim/cluster.h"

enum rest_depth {
	/* After a power cut of everything, at any moment: every ACTIVE replica of metad's lists holds all that was acknowledged. */
	REST_DURABLE,
	/* And nothing is under way: ACTIVE replicas are identical, the lists are complete and exact. */
	REST_EQUAL,
};

/* Nothing may be running. False if the run has failed. */
bool rest_check(struct cluster *c, enum rest_depth depth);
/* Of one disk whose chunk server has just been cut off, by whatever, and has not been started again: fsck finds nothing. */
void rest_check_cut_off(struct cluster *c, unsigned server);
/* Of a sound disk whose chunk server has just closed it in order: it says that it is clean, and fsck finds nothing. */
void rest_check_closed(struct cluster *c, unsigned server);

#endif
