/* replica_check.c - see replica_check.h. */
#include "replica-engine/core/replica_check.h"

enum replica_verdict replica_check_epoch(const struct replica_standing *at, uint64_t epoch)
{
	assert(at->seen >= at->fence);
	if (epoch < at->seen)
		return REPLICA_FENCED;
	if (epoch > at->fence)
		return REPLICA_GAP;
	return REPLICA_ACCEPT;
}

/*
 * True once the base belongs to the fence's epoch. A fence that was raised without SYNC (by the meta service, or by
 * CREATE) leaves the base of an earlier epoch behind, by which nothing may be judged.
 */
static bool started(const struct replica_standing *at)
{
	return at->position.epoch == at->fence || at->position.generation == at->base;
}

enum replica_verdict replica_check_write(const struct replica_standing *at, uint64_t epoch,
					 uint64_t generation)
{
	enum replica_verdict verdict = replica_check_epoch(at, epoch);

	if (verdict != REPLICA_ACCEPT)
		return verdict;
	if (!started(at) || generation <= at->base)
		return REPLICA_GAP;
	if (generation <= at->position.generation)
		return REPLICA_DUPLICATE;
	return generation == at->position.generation + 1 ? REPLICA_ACCEPT : REPLICA_GAP;
}
