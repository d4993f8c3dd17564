/*
 * operator.h - what an operator does meanwhile: looks at everything, now and then with a misspelt argument, deletes a volume and
 * creates one of the same name anew, gives volumes other sizes.
 */
#ifndef COPYHOLD_SIM_OPERATOR_H
#define COPYHOLD_SIM_OPERATOR_H

#include "tests/sim/cluster.h"

/* From now on, until the faults end. */
void operator_start(struct cluster *c);
/* Creates the next volume that isn't there, unless a request is under way. To be called again and again. */
void operator_create(struct cluster *c);
/* Deletes the volume; its successor has its name, and must read as zeros. Nothing if a request is under way. */
void operator_recreate(struct cluster *c, unsigned volume, bool force);
/* Asks for another size. Nothing if a request is under way. Volumes that are attached don't become smaller. */
void operator_resize(struct cluster *c, unsigned volume, uint64_t bytes, bool force);

#endif
