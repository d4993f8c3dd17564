/*
 * meta_report.c - what chunk servers say that they have, and what becomes of replicas that no list names.
 *
 * A report comes in parts; what a whole one no longer names is gone. The answer brings metad's epoch of each chunk, which the
 * replica stores as its fence.
 *
 * A replica that no list names may still be wanted: as the old home of a chunk that lacks a replica it needs only a resync.
 * It is garbage only when its chunk has all its replicas, alive and ACTIVE, or no longer exists, and it is deleted when it has
 * been that for garbage_delay_ms. A chunk above our counters was created by a metad that we know nothing of: it raises the doubt of
 * meta_session.c, and then nothing is deleted.
 */
#include "meta-service/core/meta_internal.h"

#include <stdlib.h>

static void take_entry(struct meta *meta, struct server *server,
		       const struct msg_report_entry *entry)
{
	struct reported *reported = server_find_report(server, entry->chunk);

	if (!reported) {
		reported = xcalloc(1, sizeof *reported);
		reported->chunk = entry->chunk;
		reported->changed_ns = meta->now_ns;
		HASH_ADD(hh, server->reports, chunk, sizeof reported->chunk, reported);
	}
	if (!version_equal(reported->position, entry->position) ||
	    reported->allocated_bytes != entry->allocated_bytes)
		reported->changed_ns = meta->now_ns;
	reported->epoch = entry->epoch;
	reported->position = entry->position;
	reported->commit = entry->commit;
	reported->allocated_bytes = entry->allocated_bytes;
	reported->round = server->round;
	meta_note_numbers(meta, server->row.cid, entry->commit,
			  MAX(entry->epoch, entry->position.epoch), entry->chunk);
}

static void end_report(struct meta *meta, struct server *server)
{
	struct reported *reported, *next;

	HASH_ITER(hh, server->reports, reported, next)
	{
		if (reported->round != server->round)
			server_forget_report(server, reported);
	}
	server->promised_bytes = 0;
	if (!server->report_complete)
		meta_scan_soon(meta);
	server->report_complete = true;
	meta_advance_deletions(meta, server);
}

void meta_on_report(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const struct msg_report *report = &msg->u.report;
	struct server *server = connection->instance->server;
	struct msg answer = meta_answer(msg, WIRE_OK);
	struct msg_fence *fences;
	uint32_t count = 0;

	if (!server) {
		meta_refuse(meta, connection->id, msg, WIRE_BAD_REQUEST);
		return;
	}
	if (report->first) {
		server->round++;
		server->report_began_ns = meta->now_ns;
	}
	fences = xcalloc(report->count, sizeof *fences);
	for (uint32_t i = 0; i < report->count; i++) {
		const struct chunk *chunk = meta_find_chunk(meta, report->entries[i].chunk);

		take_entry(meta, server, &report->entries[i]);
		if (chunk)
			fences[count++] = (struct msg_fence){chunk->row.chunk, chunk->row.epoch};
	}
	answer.u.report_ok.count = count;
	answer.u.report_ok.fences = fences;
	meta_send(meta, connection->id, &answer, fences);
	if (report->last)
		end_report(meta, server);
}

/* The chunk has all it wants, and this is not part of it. */
static bool is_garbage(const struct meta *meta, const struct server *server, uint64_t id)
{
	const struct chunk *chunk = meta_find_chunk(meta, id);

	if (!chunk)
		return true;
	if (chunk->volume->row.deleting || list_find(&chunk->row, server->row.cid) >= 0)
		return false;
	return list_count(&chunk->row, REPLICA_ACTIVE) >= chunk->volume->row.replicas &&
	       chunk_health(meta, chunk) == CHUNK_HEALTHY;
}

static void judge_replica(struct meta *meta, struct server *server, struct reported *reported)
{
	if (!is_garbage(meta, server, reported->chunk)) {
		reported->garbage_since_ns = 0;
		reported->delete_sent_ns = 0;
		return;
	}
	if (!reported->garbage_since_ns)
		reported->garbage_since_ns = meta->now_ns;
	if (meta->now_ns < reported->garbage_since_ns + meta->config.garbage_delay_ms * NS_PER_MS)
		return;
	if (reported->delete_sent_ns &&
	    meta->now_ns < reported->delete_sent_ns + meta->config.repair_retry_ms * NS_PER_MS)
		return;
	reported->delete_sent_ns = meta->now_ns;
	trace(TRACE_INFO, MODULE, "garbage: chunk=%" PRIu64 " at cid=%u is deleted",
	      reported->chunk, server->row.cid);
	meta_send_delete(meta, server, reported->chunk);
}

void meta_collect_garbage(struct meta *meta)
{
	for (struct server *s = meta->servers; s; s = s->hh.next) {
		if (!server_is_usable(s))
			continue;
		for (struct reported *r = s->reports; r; r = r->hh.next)
			judge_replica(meta, s, r);
	}
}

void meta_send_delete(struct meta *meta, const struct server *server, uint64_t chunk)
{
	struct msg msg = {.type = MSG_DELETE};

	if (!server_is_usable(server))
		return;
	msg.u.delete_.chunk = chunk;
	msg.u.delete_.commit = ++meta->cluster.commit;
	meta_send(meta, server->instance->connection, &msg, NULL);
}
