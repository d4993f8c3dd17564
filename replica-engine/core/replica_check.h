/*
 * replica_check.h - where staleness is decided: may a replica take this request, at this epoch and generation?
 *
 * Verdicts, not errors: each has one meaning and one answer on the wire.
 *
 *                       generation <= base   base < generation <= position   position + 1   beyond
 *   epoch < seen        FENCED               FENCED                          FENCED         FENCED
 *   epoch == fence      GAP                  DUPLICATE                       ACCEPT         GAP
 *   epoch > fence       GAP                  GAP                             GAP            GAP
 *
 * Within an epoch generations are judged from `base`, never from what the replica brought along: it may hold a
 * generation 10 of an earlier epoch that nobody acknowledged while this epoch's generation 10 is another write.
 */
#ifndef COPYHOLD_REPLICA_CHECK_H
#define COPYHOLD_REPLICA_CHECK_H

#include "common/base/base.h"

enum replica_verdict {
	REPLICA_ACCEPT,
	REPLICA_DUPLICATE, /* applied already in this epoch: answer OK when it is durable */
	REPLICA_FENCED,    /* a later epoch has been seen */
	REPLICA_GAP,       /* not the next generation, or an epoch that has not been let in here */
};

/* Where a replica stands. */
struct replica_standing {
	uint64_t seen;           /* the latest epoch that asked to be let in; >= fence */
	uint64_t fence;          /* the latest epoch that was let in, durable */
	uint64_t base;           /* generations up to this one are not of this epoch */
	struct version position; /* of the last write, those under way included */
};

/* For requests that carry no generation: ACCEPT, FENCED or GAP. */
enum replica_verdict replica_check_epoch(const struct replica_standing *at, uint64_t epoch);
/* For WRITE. */
enum replica_verdict replica_check_write(const struct replica_standing *at, uint64_t epoch,
					 uint64_t generation);

#endif
