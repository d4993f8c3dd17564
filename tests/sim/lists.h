/*
 * lists.h - the checker of lists and grants: what metad tells is committed, only the owner hears that a change is done, what is
 * evicted leaves min_replicas that know the owner, what is promoted is filled, IO begins on replicas that are level, what was created or
 * deleted stays so whatever comes late, no engine loses a volume that nobody has taken (users.c asks), nor keeps one that nobody there
 * wants.
 */
#ifndef COPYHOLD_SIM_LISTS_H
#define COPYHOLD_SIM_LISTS_H

#include "meta-service/core/meta_rows.h"
#include "proto/msg.h"
#include "tests/sim/sim.h"

struct cluster;
struct lists;

struct lists *lists_new(struct cluster *cluster);
void lists_free(struct lists *lists);
/* A message is handed to the transport; to its receiver, who has not looked at it yet. */
void lists_sent(struct lists *lists, const struct sim_process *from, uint64_t connection,
		const struct msg *m);
void lists_delivered(struct lists *lists, const struct sim_process *to, uint64_t connection,
		     const struct msg *m);
/* A commit changes this row of a chunk or volume. */
void lists_changed(struct lists *lists, const struct meta_row *before,
		   const struct meta_row *after);
/* The owner of this epoch has begun IO; to be called when it has, and at any time again. */
void lists_io_begins(struct lists *lists, uint64_t chunk, uint64_t epoch);
/* From time to time: what was given to an engine is wanted there, or has been given back. */
void lists_check_given(struct lists *lists);
/* How often the volume has got another holder or none, or is to be deleted: so far as is committed. */
unsigned lists_holders(const struct lists *lists, struct uuid volume);

#endif
