/* owner_private.h - what the files of the owner core share. Not for others. */
#ifndef COPYHOLD_OWNER_PRIVATE_H
#define COPYHOLD_OWNER_PRIVATE_H

#include "common/base/bits.h"
#include "replica-engine/core/owner.h"

/* Generations that may be in flight, and their bytes: bounds what a replica must have room for. */
#define WINDOW_GENERATIONS 256u
#define WINDOW_BYTES       (16u * 1024 * 1024)
/* A join, a copy or a roll that gets no answer is given up after this. */
#define EXCHANGE_SILENT_NS EVICT_SILENT_NS
#define CHANGE_RETRY_NS    (500 * NS_PER_MS)
#define JOIN_RETRY_NS      (1 * NS_PER_S)
/* A failed replica that can't be evicted is asked again after this. */
#define FAILED_RETRY_NS (1 * NS_PER_S)
/* One that fails while it is made level, again and again: doubled so many times at most. */
#define ROLL_FAILURES_MAX 5u
/* A FILLING one that can't take what it is filled with, so many times without getting on, is given up. */
#define FILL_FAILURES_MAX 3u
/* The longest that a replica is believed to wait for a promise. */
#define PROMISE_WAIT_MAX_NS (2 * PROMISE_NS)
/* A join holds new generations for this long at most while those in flight are answered. */
#define JOIN_DRAIN_NS (500 * NS_PER_MS)

/* One step: what the handlers pass around. */
struct step {
	struct owner *o;
	struct owner_update *up;
	uint64_t now_ns;
	/* Begun by a request, or by a good answer to WRITE or READ: no reason to look at the list of replicas. */
	bool data;
};

#define FOR_EACH_SLOT(o, i)                                                                        \
	for (unsigned(i) = 0; (i) < (o)->slot_end; (i)++)                                          \
		if ((o)->slots[i].used)

/* owner.c */
struct owner_action *owner_emit(struct step *s, enum owner_action_kind kind);
/* A message to the replica in a slot, with a fresh id, which is returned through msg->id. */
struct msg *owner_emit_message(struct step *s, unsigned slot, enum msg_type type);
int owner_find_slot(const struct owner *o, uint32_t cid);
/* The lease is over: every request fails with FENCED. */
void owner_fence(struct step *s);
/* Takes over metad's list if it is newer than ours. */
void owner_adopt_list(struct step *s, const struct msg_chunk *chunk);
/* Looks at everything that may go on now: phases, joins, copies, evictions, ready requests. */
void owner_progress(struct step *s);
void owner_slot_clear(struct step *s, unsigned slot);
/* A disk error, or something lost: to be evicted; if that can't be, asked again after a while. */
void owner_slot_failed(struct step *s, unsigned slot);

/* owner_request.c */
void owner_admit(struct step *s, struct owner_request *r);
void owner_complete(struct step *s, struct owner_request *r, enum wire_status status);
/* Takes a request out of the order: those it blocked may become ready. */
void owner_unlink(struct step *s, struct owner_request *r);
/* Leaves the ready queue for its next state. */
void owner_leave_ready(struct owner *o, struct owner_request *r, enum owner_request_state state);
void owner_pump(struct step *s);
struct owner_request *owner_request_by_id(struct owner *o, uint64_t id);

/* owner_read.c */
bool owner_grant_valid(const struct owner_slot *slot, uint64_t now_ns);
/* Sends the READ of a request's blocks to the best slot that has not been tried; false: none is left. */
bool owner_send_read(struct step *s, struct owner_request *r);
void owner_read_answered(struct step *s, unsigned slot, const struct msg *msg);
/* Every READ that was sent to this slot begins again. */
void owner_redirect_reads(struct step *s, unsigned slot);
void owner_send_extents(struct step *s, struct owner_request *r);
void owner_extents_answered(struct step *s, struct owner_request *r, const struct msg *msg);

/* owner_write.c */
bool owner_send_write(struct step *s, struct owner_request *r);
void owner_write_answered(struct step *s, unsigned slot, const struct msg *msg);
/* Sends again, in order, what this slot has not answered. */
void owner_retransmit(struct step *s, unsigned slot);
/* What it has not answered will not be answered on this stream: its promised bytes are taken back. */
void owner_stop_stream(struct owner *o, unsigned slot);
/* Completes, from the head of the window, what everybody who counts has. */
void owner_settle(struct step *s);
/* Must this slot answer before a generation is acknowledged? */
static inline bool owner_slot_required(const struct owner_slot *slot)
{
	return slot->used && (slot->counts || slot->state == SLOT_JOINED);
}

/* owner_room.c */
enum owner_room {
	OWNER_ROOM,
	OWNER_ROOM_LATER, /* an answer that is under way will tell */
	OWNER_ROOM_NONE,
};
enum owner_room owner_room_judge(struct step *s, const struct owner_request *r);
/* What a request may take at a replica: whole units; 0 if it brings no data. */
uint64_t owner_room_bytes(const struct owner_request *r);
/* A discard was sent, or the lease is another one. */
void owner_room_forget(struct owner *o);
/* False if the answer isn't to one of its questions. */
bool owner_room_answered(struct step *s, unsigned slot, const struct msg *msg);

/* owner_sync.c */
void owner_start_sync(struct step *s);
void owner_slot_forget_versions(struct owner_slot *slot);
void owner_ask_sync(struct step *s, unsigned slot);
void owner_sync_answered(struct step *s, unsigned slot, const struct msg *msg);
void owner_sync_progress(struct step *s);
void owner_roll_progress(struct step *s);
void owner_roll_answered(struct step *s, unsigned slot, const struct msg *msg);
/* A unit has been rolled at a slot (status: what COPY was answered). */
void owner_rolled_unit(struct step *s, struct owner_request *r, enum wire_status status);
/* The reference can't be read: rolls to another one if there is any. False: there is none. */
bool owner_roll_elsewhere(struct step *s);

/* owner_copy.c */
struct owner_request *owner_copy_new(struct step *s, unsigned slot, uint32_t unit,
				     enum owner_copy_purpose purpose);
void owner_copy_read_done(struct step *s, struct owner_request *r);
/* The same where some blocks (r->missing) could be read nowhere. */
void owner_copy_unreadable(struct step *s, struct owner_request *r);
void owner_copy_answered(struct step *s, unsigned slot, const struct msg *msg);
void owner_copy_end(struct step *s, struct owner_request *r, enum wire_status status);
/* Gives up what is under way to this slot. */
void owner_abort_copies(struct step *s, unsigned slot);

/* owner_scrub.c, owner_scrub_unit.c */
void owner_scrub_progress(struct step *s);
/* A read met a bad block in this unit: all copies are looked at. */
void owner_scrub_unit(struct step *s, uint32_t unit);
/* Sends the READs of an OWNER_SCRUB request that is ready. */
void owner_scrub_send(struct step *s, struct owner_request *r);
/* True if the message was for a scrub. */
bool owner_scrub_answered(struct step *s, unsigned slot, const struct msg *msg);
/* Nothing more will come from this slot. */
void owner_scrub_slot_gone(struct step *s, unsigned slot);
/* Gives up what is under way. */
void owner_scrub_stop(struct step *s);
void owner_scrub_free(struct owner *o);

/* owner_join.c */
void owner_join_progress(struct step *s);
void owner_join_answered(struct step *s, unsigned slot, const struct msg *msg);
/* A FILLING replica is left out: it starts from SYNC again, not before the retry time. */
void owner_leave_out(struct step *s, unsigned slot);
/* The same for what it has answered: again and again without getting on, and metad is asked to drop it. */
void owner_fill_failed(struct step *s, unsigned slot, enum wire_status status);
void owner_filled_unit(struct step *s, struct owner_request *r, enum wire_status status);

/* owner_change.c */
void owner_change_progress(struct step *s);
/* To be evicted: it has failed, or something waits for it in vain. */
bool owner_is_out(const struct step *s, unsigned slot);
/* Those that could carry on without this one: synced, and not out of reach themselves. */
unsigned owner_others_synced(const struct step *s, unsigned slot);
void owner_change_answered(struct step *s, enum wire_status status, const struct msg_list *list);
void owner_ask_change(struct step *s, enum change_kind kind, unsigned slot, const char *why);

#endif
