/*
 * reached.h - what a run has reached: the rare situations that the protocol exists for. A soak prints how often each came about, so that
 * one that never does is seen: a simulator that reaches nothing finds nothing.
 */
#ifndef COPYHOLD_SIM_REACHED_H
#define COPYHOLD_SIM_REACHED_H

#define REACHED_LIST(X)                                                                            \
	X(TAKEOVER, "later epochs let in by a replica that had an earlier owner")                  \
	X(PROMISE_WAIT, "SYNCs that waited for a promise")                                         \
	X(FENCED, "requests refused as FENCED")                                                    \
	X(TAKEN_OUT, "chunks named as taken out in heartbeat answers")                             \
	X(SILENT, "connections closed as SILENT")                                                  \
	X(RESEND, "generations that came a second time")                                           \
	X(GAP, "generations refused as GAP")                                                       \
	X(ROLL, "replicas rolled forward")                                                         \
	X(MENDING, "roll-forwards found interrupted")                                              \
	X(FILL_BEGUN, "FILLING replicas added")                                                    \
	X(JOIN, "joins")                                                                           \
	X(COPY_FILL, "units copied to fill")                                                       \
	X(COPY_ROLL, "units copied to roll forward")                                               \
	X(COPY_REFUSED, "copies that were not applied")                                            \
	X(PROMOTED, "promotions")                                                                  \
	X(FILL_GIVEN_UP, "FILLING replicas dropped")                                               \
	X(EVICTED, "evictions")                                                                    \
	X(EVICTED_TO_MIN, "evictions that left only min_replicas")                                 \
	X(CHANGE_NOT_OWNER, "changes refused as NOT_OWNER")                                        \
	X(CHANGE_STALE, "changes refused as STALE")                                                \
	X(CHANGE_REFUSED, "changes refused for another reason")                                    \
	X(REPAIR_JOB, "repair jobs")                                                               \
	X(LEASE_REFUSED, "leases refused")                                                         \
	X(DELETE, "DELETEs")                                                                       \
	X(VOLUME_DELETED, "volumes deleted, and created anew under the same name")                 \
	X(GROWN, "volumes grown")                                                                  \
	X(SHRUNK, "volumes made smaller")                                                          \
	X(NOT_SHRUNK, "volumes not made smaller: in use, or with data there")                      \
	X(BAD_BLOCK, "reads answered BAD_BLOCK")                                                   \
	X(INVALID_UNIT, "reads answered INVALID_UNIT")                                             \
	X(DISK_ERROR, "answers DISK_ERROR")                                                        \
	X(BLOCK_REPAIRED, "bad blocks repaired")                                                   \
	X(SCRUBBED, "disks that had lied, and were read whole after they had been scrubbed")       \
	X(JOB_DONE, "scrub jobs that ended as DONE")                                               \
	X(JOB_FAILED, "scrub jobs that FAILED: chunks that could not be scrubbed")                 \
	X(JOB_CANCELLED, "scrub jobs that were cancelled")                                         \
	X(NO_SPACE, "writes answered NO_SPACE by a replica")                                       \
	X(COPY_NO_SPACE, "copies answered NO_SPACE")                                               \
	X(NOT_CREATED, "chunks not created for want of room")                                      \
	X(ENOSPC, "operations failed with ENOSPC")                                                 \
	X(ROOM_AGAIN, "writes acknowledged again after one that failed with ENOSPC")               \
	X(EIO, "operations failed with EIO")                                                       \
	X(ESHUTDOWN, "operations failed because the volume was lost")                              \
	X(TWIN, "writes sent again while the first copy was under way")                            \
	X(HOLE, "holes that users were told of")                                                   \
	X(LISTED, "lists of all volumes, for exports")                                             \
	X(JOURNAL_ROUND, "times that a journal came round")                                        \
	X(FSCK_PROBLEM, "disks that had lied, and of which fsck names damage")                     \
	X(STOPPED_SERVER, "chunk servers stopped in order")                                        \
	X(STOPPED_ENGINE, "engines stopped in order")                                              \
	X(DISK_REPLACED, "disks replaced")                                                         \
	X(HELD_FULL, "runs that end with IO held: no room for what other replicas have accepted")  \
	X(HELD_BACK, "messages held back until another one was delivered, or for seconds")         \
	X(COMMIT_LOST, "commits cut off by metad's death")                                         \
	X(STORE_IN_USE, "metads that found the store in use, and ended")                           \
	X(SURPLUS, "replicas that were one more than wanted")                                      \
	X(CHANGE_LATE, "changes that came when another epoch had been granted")                    \
	X(CHANGE_LATE_GONE, "evictions among them of what the list has no more")                   \
	X(DELETE_LATE, "DELETEs that came when their replica was wanted again")                    \
	X(GIVEN_UNWANTED, "volumes given to an engine where nobody wants them any more")           \
	X(METAD_SWITCHED, "metads that took the store that another one had had")                   \
	X(ADMIN, "requests of the operator")

enum reached {
#define X(name, text) REACHED_##name,
	REACHED_LIST(X)
#undef X
	REACHED_KINDS
};

#endif
