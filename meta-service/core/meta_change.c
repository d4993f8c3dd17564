/*
 * meta_change.c - an owner's changes of its chunk's list: EVICT, PROMOTE, DROP.
 *
 * Judged in this order, and the order matters: NOT_OWNER (an older owner must never hear that "it is done"), STALE (a change is
 * meant for one list), BUSY, NOT_FOUND, EXISTS, ALREADY. BUSY and EXISTS do not occur here: a change is complete in memory
 * with its step. EVICT of a cid that is gone from that very list counts as done.
 *
 * EVICT of an ACTIVE replica must leave min_replicas ACTIVE ones that have answered SYNC at this epoch at or above the floor:
 * an owner that reaches only its own local replica can't make it the only truth.
 */
#include "meta-service/core/meta_internal.h"

#include <stdarg.h>

struct verdict {
	enum wire_status status;
	bool apply;
	char text[TEXT_BYTES];
};

static struct verdict refuse(enum wire_status status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static struct verdict refuse(enum wire_status status, const char *format, ...)
{
	struct verdict verdict = {.status = status};
	va_list ap;

	va_start(ap, format);
	vsnprintf(verdict.text, sizeof verdict.text, format, ap);
	va_end(ap);
	return verdict;
}

static struct verdict apply(void)
{
	return (struct verdict){.status = WIRE_OK, .apply = true};
}

static bool is_synced(const struct msg_change *change, uint32_t cid)
{
	for (uint32_t i = 0; i < change->synced_count; i++)
		if (change->synced[i] == cid)
			return true;
	return false;
}

static struct verdict judge_evict(const struct chunk *chunk, const struct msg_change *change)
{
	const struct meta_chunk_row *row = &chunk->row;
	uint32_t remain = 0, needed = chunk->volume->row.min_replicas;

	for (uint32_t i = 0; i < row->replica_count; i++)
		remain += row->replicas[i].state == REPLICA_ACTIVE &&
			  row->replicas[i].cid != change->cid &&
			  is_synced(change, row->replicas[i].cid);
	if (remain >= needed)
		return apply();
	return refuse(
		WIRE_TOO_FEW,
		"Evicting chunk server %u would leave %u synchronised ACTIVE replicas of chunk "
		"%" PRIu64 ", min_replicas is %u. Bring a chunk server back; IO is held until "
		"then",
		change->cid, remain, row->chunk, needed);
}

static struct verdict judge(const struct chunk *chunk, const struct connection *connection,
			    const struct msg_change *change)
{
	const struct meta_chunk_row *row;
	int at;

	if (!chunk || chunk->volume->row.deleting)
		return refuse(WIRE_NOT_OWNER, "Chunk %" PRIu64 " no longer exists", change->chunk);
	row = &chunk->row;
	if (row->epoch != change->epoch || !uuid_equal(row->owner, connection->instance_id))
		return refuse(WIRE_NOT_OWNER,
			      "The lease of chunk %" PRIu64 " at epoch %" PRIu64
			      " is not held by this engine; the present epoch is %" PRIu64,
			      row->chunk, change->epoch, row->epoch);
	if (row->list_number != change->list_number)
		return refuse(WIRE_STALE,
			      "The list of chunk %" PRIu64 " is number %" PRIu64 ", not %" PRIu64,
			      row->chunk, row->list_number, change->list_number);
	at = list_find(row, change->cid);
	if (at < 0 && change->kind == CHANGE_EVICT)
		return (struct verdict){.status = WIRE_OK};
	if (at < 0)
		return refuse(WIRE_NOT_FOUND, "Chunk %" PRIu64 " has no replica on chunk server %u",
			      row->chunk, change->cid);
	if (change->kind == CHANGE_PROMOTE) {
		if (row->replicas[at].state == REPLICA_ACTIVE)
			return refuse(WIRE_ALREADY, "Chunk server %u is ACTIVE for chunk %" PRIu64,
				      change->cid, row->chunk);
		return apply();
	}
	if (row->replicas[at].state == REPLICA_FILLING)
		return apply();
	if (change->kind == CHANGE_DROP)
		return refuse(WIRE_REFUSED,
			      "Chunk server %u is ACTIVE for chunk %" PRIu64
			      ": only a FILLING replica is dropped; evict it",
			      change->cid, row->chunk);
	return judge_evict(chunk, change);
}

static void drop_leaving(struct meta *meta, struct chunk *chunk)
{
	for (uint32_t i = chunk->row.replica_count; i-- > 0;)
		if (chunk->row.replicas[i].leaving)
			list_remove(meta, chunk, chunk->row.replicas[i].cid);
}

static void carry_out(struct meta *meta, struct chunk *chunk, const struct msg_change *change)
{
	struct meta_chunk_row *row = &chunk->row;
	int at = list_find(row, change->cid);

	if (change->kind == CHANGE_PROMOTE) {
		row->replicas[at].state = REPLICA_ACTIVE;
		drop_leaving(meta, chunk);
		if (row->former_cid == change->cid ||
		    list_count(row, REPLICA_ACTIVE) >= chunk->volume->row.replicas)
			row->former_cid = 0;
	} else {
		if (row->replicas[at].state == REPLICA_ACTIVE) {
			row->former_cid = change->cid;
			chunk->evicted_ns = meta->now_ns;
		} else {
			meta_avoid(meta, chunk, change->cid);
		}
		list_remove(meta, chunk, change->cid);
		/* With one less the one that was too many may be wanted. */
		for (uint32_t i = 0; i < row->replica_count; i++)
			row->replicas[i].leaving = false;
	}
	row->list_number++;
	row->floor = MAX(row->floor, change->floor);
	meta_put_chunk(meta, chunk);
	meta_queue_chunk(meta, chunk);
}

void meta_on_change(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	static const char *const names[] = {
		[CHANGE_EVICT] = "EVICT", [CHANGE_PROMOTE] = "PROMOTE", [CHANGE_DROP] = "DROP"};
	const struct msg_change *change = &msg->u.change;
	struct chunk *chunk = meta_find_chunk(meta, change->chunk);
	struct verdict verdict = judge(chunk, connection, change);
	struct msg answer = meta_answer(msg, verdict.status);

	if (verdict.apply)
		carry_out(meta, chunk, change);
	trace(TRACE_INFO, MODULE,
	      "%s chunk=%" PRIu64 " cid=%u epoch=%" PRIu64 " list=%" PRIu64 ": %s (%s)",
	      names[change->kind], change->chunk, change->cid, change->epoch, change->list_number,
	      wire_status_name(verdict.status), *verdict.text ? verdict.text : change->text);
	answer.u.list.chunk.chunk = change->chunk;
	if (chunk) {
		chunk_show(meta, chunk, &answer.u.list.chunk);
		if (uuid_equal(chunk->row.owner, connection->instance_id))
			chunk_note_shown(meta, chunk);
	}
	memcpy(answer.u.list.text, verdict.text, sizeof answer.u.list.text);
	meta_send(meta, connection->id, &answer, NULL);
}
