/*
 * replica_resync.c - what an owner does to make replicas equal: list versions, mark units invalid, join a FILLING
 * replica at a generation, roll an ACTIVE one forward between MEND_BEGIN and MEND_END.
 *
 * None of these carries a generation. That they never arrive late is the connection's promise (an older connection
 * of the same engine is closed and drained before the next is admitted); that a repeat does no harm is checked here.
 */
#include "replica-engine/core/replica_state.h"

void replica_versions(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct replica_found found;

	if (!replica_find_owned(r, &caller, &found))
		return;
	replica_request_submit(r, replica_request_new(r, found.c, &caller, STORE_VERSIONS));
}

void replica_invalidate(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	const struct msg_version_list *list = &msg->u.version_list;
	struct replica_found found;
	struct replica_request *q;

	if (!replica_find_owned(r, &caller, &found))
		return;
	if (list->unit_count != found.info.unit_count) {
		replica_answer(r, &caller, WIRE_BAD_REQUEST);
		return;
	}
	q = replica_request_new(r, found.c, &caller, STORE_INVALIDATE);
	q->versions = xmalloc(list->unit_count * sizeof *q->versions);
	memcpy(q->versions, list->versions, list->unit_count * sizeof *q->versions);
	q->op.in_versions = q->versions;
	q->op.unit_count = list->unit_count;
	replica_request_submit(r, q);
}

/* Submits an operation that sets the position, or answers a repeat of one that was carried out before. */
static void set_position(struct replica *r, const struct replica_caller *caller,
			 struct replica_chunk *c, enum store_op_kind kind, struct version position,
			 bool repeat)
{
	struct replica_request *q = replica_request_new(r, c, caller, kind);

	q->op.position = position;
	if (repeat)
		replica_request_after(r, q);
	else
		replica_request_submit(r, q);
}

/*
 * From here on this epoch's generations are judged from g0. A repeat after generations above g0 have come must not put
 * the position back: they are duplicates then.
 */
void replica_join(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct version g0 = msg->u.position.position;
	struct replica_found found;
	bool repeat;

	if (!replica_find_owned(r, &caller, &found))
		return;
	repeat = !found.info.mending && found.at.base == g0.generation &&
		 (found.at.position.epoch == caller.epoch || version_equal(found.at.position, g0));
	set_position(r, &caller, found.c, STORE_JOIN, g0, repeat);
}

void replica_mend_begin(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct replica_found found;

	if (!replica_find_owned(r, &caller, &found))
		return;
	set_position(r, &caller, found.c, STORE_MEND_BEGIN, (struct version){0, 0},
		     found.info.mending);
}

void replica_mend_end(struct replica *r, struct replica_conn *conn, const struct msg *msg)
{
	struct replica_caller caller = replica_caller_of(conn, msg);
	struct version position = msg->u.position.position;
	struct replica_found found;

	if (!replica_find_owned(r, &caller, &found))
		return;
	if (!found.info.mending && !version_equal(found.at.position, position)) {
		replica_answer(r, &caller, WIRE_REFUSED);
		return;
	}
	set_position(r, &caller, found.c, STORE_MEND_END, position, !found.info.mending);
}

void replica_finish_resync(struct replica *r, struct replica_request *q, struct msg *m)
{
	struct store_chunk info;

	if (q->op.status != STORE_OK)
		return;
	switch (q->caller.type) {
	case MSG_VERSIONS:
		m->u.version_list.unit_count = q->op.unit_count;
		m->u.version_list.versions = q->op.versions;
		m->u.version_list.invalid = q->op.invalid;
		m->u.version_list.allocated = q->op.allocated;
		m->u.version_list.free_bytes = replica_room_for(r, q->caller.conn);
		break;
	case MSG_INVALIDATE:
		m->u.invalidate_ok.unit_count = q->op.unit_count;
		m->u.invalidate_ok.invalid_count = q->op.invalid_count;
		m->u.invalidate_ok.invalid = q->op.invalid;
		break;
	default: /* JOIN, MEND_BEGIN, MEND_END */
		if (store_chunk_get(r->store, q->caller.chunk, &info))
			m->u.position.position = info.position;
		break;
	}
}
