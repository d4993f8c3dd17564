/*
 * meta_scrub.c - who scrubs which chunk when, and what came of it.
 *
 * metad asks the owner of a chunk, or a chunk server if it has none, to read it on all replicas (REPAIR_JOB with scrub), asks again where it
 * hears nothing, and records what SCRUBBED says. One chunk server takes part in one scrub at a time. A scrub is asked for by a job
 * (meta_job.c), or by time: each chunk once in scrub_ms, spread over a quarter of it.
 */
#include "meta-service/core/meta_internal.h"

#include <stdlib.h>

#define ASK_AGAIN_NS (10 * NS_PER_S)
/* Bad blocks are a reason to look at a disk for this long. */
#define RECENT_NS (24 * 3600 * NS_PER_S)

static bool shares_server(const struct chunk *a, const struct chunk *b)
{
	for (uint32_t i = 0; i < a->row.replica_count; i++) {
		if (list_find(&b->row, a->row.replicas[i].cid) >= 0)
			return true;
	}
	return false;
}

enum scrub_verdict meta_scrub_judge(const struct meta *meta, const struct chunk *chunk)
{
	enum chunk_health health = chunk_health(meta, chunk);
	const struct chunk *other;

	if (chunk->volume->row.deleting || (health != CHUNK_HEALTHY && health != CHUNK_DEGRADED))
		return SCRUB_UNFIT;
	TAILQ_FOREACH (other, &meta->scrubs, scrub.link) {
		if (shares_server(chunk, other))
			return SCRUB_BUSY;
	}
	return SCRUB_MAY_BEGIN;
}

static void ask(struct meta *meta, struct chunk *chunk)
{
	struct msg msg = {.type = MSG_REPAIR_JOB};
	uint64_t connection = meta_repairer(meta, chunk);

	chunk->scrub.asked_ns = meta->now_ns;
	if (!connection)
		return;
	msg.u.repair_job.volume = chunk->row.volume;
	msg.u.repair_job.chunk = chunk->row.chunk;
	msg.u.repair_job.chunk_bytes = chunk->volume->row.chunk_bytes;
	msg.u.repair_job.scrub = true;
	meta_send(meta, connection, &msg, NULL);
}

void meta_scrub_begin(struct meta *meta, struct chunk *chunk)
{
	assert(!chunk->scrub.running);
	chunk->scrub.running = true;
	chunk->scrub.heard_ns = meta->now_ns;
	chunk->scrub.units = chunk->scrub.units_done = 0;
	TAILQ_INSERT_TAIL(&meta->scrubs, chunk, scrub.link);
	trace(TRACE_INFO, MODULE, "scrub chunk=%" PRIu64 " begins", chunk->row.chunk);
	ask(meta, chunk);
}

void meta_scrub_forget(struct meta *meta, struct chunk *chunk)
{
	if (chunk->scrub.running)
		TAILQ_REMOVE(&meta->scrubs, chunk, scrub.link);
	chunk->scrub.running = false;
}

static void end(struct meta *meta, struct chunk *chunk, bool succeeded)
{
	meta_scrub_forget(meta, chunk);
	chunk->scrub.ended_ns = meta->now_ns;
	chunk->scrub.succeeded = succeeded;
	if (!succeeded)
		trace(TRACE_WARN, MODULE, "scrub chunk=%" PRIu64 ": given up, nothing came of it",
		      chunk->row.chunk);
}

/* A chunk that was never scrubbed counts from its creation. */
static uint64_t last_ms(const struct chunk *chunk)
{
	return MAX(chunk->scrub.row.ended_ms, chunk->row.created_ms);
}

static bool is_due(const struct meta *meta, const struct chunk *chunk)
{
	uint64_t period = meta->config.scrub_ms, last = last_ms(chunk);
	uint64_t spread = period / 4 ? mix64(chunk->row.chunk) % (period / 4) : 0;

	return period && meta->wall_ms >= last + period - period / 8 + spread;
}

static int by_last(const void *a, const void *b)
{
	const struct chunk *x = *(struct chunk *const *)a, *y = *(struct chunk *const *)b;

	if (last_ms(x) != last_ms(y))
		return last_ms(x) < last_ms(y) ? -1 : 1;
	return x->row.chunk < y->row.chunk ? -1 : x->row.chunk > y->row.chunk;
}

/*
 * Those that have waited longest come first: where the period is shorter than a round over all chunks takes, each has its turn all
 * the same. What somebody has asked for goes before them, else it might never find its chunk servers free.
 */
void meta_scrubs_due(struct meta *meta)
{
	struct chunk **due = NULL;
	size_t count = 0, room = 0;

	if (meta_job_waits(meta))
		return;
	for (struct chunk *c = meta->chunks; c; c = c->hh.next) {
		if (c->scrub.running || !is_due(meta, c))
			continue;
		if (count == room) {
			room = MAX((size_t)64, room * 2);
			due = xrealloc(due, room * sizeof *due);
		}
		due[count++] = c;
	}
	if (count > 1)
		qsort(due, count, sizeof *due, by_last);
	for (size_t i = 0; i < count; i++) {
		if (meta_scrub_judge(meta, due[i]) == SCRUB_MAY_BEGIN)
			meta_scrub_begin(meta, due[i]);
	}
	free(due);
}

void meta_scrubs_tick(struct meta *meta)
{
	struct chunk *chunk, *next;

	TAILQ_FOREACH_SAFE (chunk, &meta->scrubs, scrub.link, next) {
		if (chunk->volume->row.deleting ||
		    meta->now_ns - chunk->scrub.heard_ns >= meta->config.scrub_stall_ms * NS_PER_MS)
			end(meta, chunk, false);
		else if (meta->now_ns - MAX(chunk->scrub.asked_ns, chunk->scrub.heard_ns) >=
			 ASK_AGAIN_NS)
			ask(meta, chunk);
	}
}

/* ---- SCRUBBED ---- */

static bool is_named(const char *list, const char *block)
{
	size_t length = strlen(block);

	for (const char *at = strstr(list, block); at; at = strstr(at + 1, block)) {
		if ((at == list || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
			return true;
	}
	return false;
}

/* Adds blocks to a text of indexes, "3 77"; gives the number of those that were not there. */
static uint32_t name_blocks(char list[TEXT_BYTES], const struct msg_scrubbed *found)
{
	uint32_t added = 0;

	for (uint32_t i = 0; i < found->named_count; i++) {
		char block[16];
		size_t used = strlen(list);

		snprintf(block, sizeof block, "%u", found->named[i]);
		if (is_named(list, block))
			continue;
		added++;
		if (used + strlen(block) + 2 < TEXT_BYTES)
			snprintf(list + used, TEXT_BYTES - used, "%s%s", used ? " " : "", block);
	}
	return added;
}

static void count_at_servers(struct meta *meta, const struct msg_scrubbed *found)
{
	for (uint32_t i = 0; i < found->replica_count; i++) {
		const struct msg_scrubbed_replica *r = &found->replicas[i];
		struct server *server = meta_find_server(meta, r->cid);

		if (!server || !(r->bad || r->repaired))
			continue;
		server->bad_blocks += r->bad;
		server->repaired_blocks += r->repaired;
		server->bad_ns = meta->now_ns;
		trace(TRACE_WARN, MODULE, "chunk=%" PRIu64 " cid=%u: %u bad blocks, %u repaired",
		      found->chunk, r->cid, r->bad, r->repaired);
	}
}

bool server_was_bad(const struct meta *meta, const struct server *server)
{
	return server->bad_ns && meta->now_ns - server->bad_ns < RECENT_NS;
}

static void sum(struct meta_scrub_row *row, const struct msg_scrubbed *found)
{
	for (uint32_t i = 0; i < found->replica_count; i++) {
		row->read += found->replicas[i].read;
		row->bad += found->replicas[i].bad;
		row->repaired += found->replicas[i].repaired;
	}
}

/* Every replica of the list took part, and every unit was read. */
static bool is_complete(const struct chunk *chunk, const struct msg_scrubbed *found)
{
	if (found->units_done < found->units)
		return false;
	for (uint32_t i = 0; found->units && i < chunk->row.replica_count; i++) {
		uint32_t at = 0;

		while (at < found->replica_count &&
		       found->replicas[at].cid != chunk->row.replicas[i].cid)
			at++;
		if (at == found->replica_count)
			return false;
	}
	return true;
}

static void take_result(struct meta *meta, struct chunk *chunk, const struct msg_scrubbed *found,
			const struct instance *by)
{
	struct meta_scrub_row *row = &chunk->scrub.row;

	*row = (struct meta_scrub_row){.chunk = chunk->row.chunk, .ended_ms = meta->wall_ms};
	memcpy(row->by, by->host, sizeof row->by);
	sum(row, found);
	row->unrepairable = found->unrepairable;
	row->differing = found->differing;
	row->complete = is_complete(chunk, found);
	name_blocks(row->named, found);
	trace(found->unrepairable || found->differing ? TRACE_ERROR : TRACE_INFO, MODULE,
	      "scrub chunk=%" PRIu64 " by %s: %u of %u units, %u blocks bad, %u repaired, %u "
	      "unrepairable, %u differ",
	      row->chunk, row->by, found->units_done, found->units, row->bad, row->repaired,
	      row->unrepairable, row->differing);
}

void meta_on_scrubbed(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const struct msg_scrubbed *found = &msg->u.scrubbed;
	struct chunk *chunk = meta_find_chunk(meta, found->chunk);

	if (!chunk || chunk->row.epoch != found->epoch ||
	    !uuid_equal(chunk->row.owner, connection->instance_id))
		return;
	if (found->whole && !found->last) {
		chunk->scrub.heard_ns = meta->now_ns;
		chunk->scrub.units = found->units;
		chunk->scrub.units_done = found->units_done;
		return;
	}
	count_at_servers(meta, found);
	if (found->whole) {
		take_result(meta, chunk, found, connection->instance);
		if (chunk->scrub.running)
			end(meta, chunk, true);
	} else {
		struct meta_scrub_row *row = &chunk->scrub.row;

		row->chunk = chunk->row.chunk;
		sum(row, found);
		row->unrepairable += name_blocks(row->named, found);
	}
	meta_put_scrub(meta, chunk);
}
