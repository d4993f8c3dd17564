/*
 * meta_admin_status.c - the state of the whole cluster, what is wrong with it, and what to do about it.
 */
#include "meta-service/core/meta_admin.h"

#include <stdarg.h>

/* Above this part of its capacity the cluster is called nearly full, in per cent. */
#define NEARLY_FULL_PERCENT 90

/* A replica that was listed this long before a report began is expected in it. */
#define REPORT_SLACK_NS (60 * NS_PER_S)

struct report {
	json_t *problems;
	bool error;
	bool warning;
};

static void add_problem(struct report *report, bool error, const char *hint, const char *why,
			const char *format, ...) __attribute__((format(printf, 5, 6)));

static void add_problem(struct report *report, bool error, const char *hint, const char *why,
			const char *format, ...)
{
	char what[TEXT_BYTES];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof what, format, ap);
	va_end(ap);
	report->error |= error;
	report->warning = true;
	json_array_append_new(report->problems,
			      json_pack("{s:s,s:s,s:s}", "what", what, "why", why, "hint", hint));
}

struct counts {
	uint64_t total, healthy, degraded, filling, unavailable;
};

static void count(struct counts *counts, enum chunk_health health)
{
	counts->total++;
	counts->healthy += health == CHUNK_HEALTHY;
	counts->degraded += health == CHUNK_DEGRADED;
	counts->filling += health == CHUNK_FILLING;
	counts->unavailable += health == CHUNK_UNAVAILABLE;
}

/* Blocks that no replica has, and chunks they are in. */
static void report_damage(struct report *report, const struct volume *volume)
{
	uint64_t blocks = 0, chunks = 0, first = 0;

	for (size_t i = 0; i < volume->chunk_count; i++) {
		const struct meta_scrub_row *row = &volume->chunks[i]->scrub.row;

		if (!(row->unrepairable + row->differing))
			continue;
		first = chunks ? first : row->chunk;
		blocks += row->unrepairable + row->differing;
		chunks++;
	}
	if (chunks)
		add_problem(report, true,
			    "copyhold chunk check --detail names them: write them anew from a "
			    "backup, then copyhold chunk scrub",
			    "No replica has a good copy: reading them fails",
			    "Volume %s: %" PRIu64 " blocks are damaged beyond repair, in %" PRIu64
			    " chunks, the first is chunk %" PRIu64,
			    volume->row.name, blocks, chunks, first);
}

static void report_volume(struct report *report, const struct volume *volume,
			  const struct counts *chunks)
{
	report_damage(report, volume);
	if (chunks->unavailable)
		add_problem(report, true,
			    "Bring chunk servers back: copyhold server list shows which are down",
			    "Fewer than min_replicas of their replicas are up; IO on them waits",
			    "Volume %s: %" PRIu64 " of %" PRIu64 " chunks are unavailable",
			    volume->row.name, chunks->unavailable, chunks->total);
	if (chunks->degraded + chunks->filling)
		add_problem(report, false,
			    "Repair runs by itself while enough chunk servers are up: copyhold "
			    "server list",
			    "They have fewer replicas than wanted; new writes are safe",
			    "Volume %s: %" PRIu64 " of %" PRIu64 " chunks are degraded, %" PRIu64
			    " of them being repaired",
			    volume->row.name, chunks->degraded + chunks->filling, chunks->total,
			    chunks->filling);
}

/* Its engine has lost us, and nobody else: IO goes on, and what needs us waits. */
static void report_holder(const struct meta *meta, struct report *report, const struct volume *v)
{
	char holder[TEXT_BYTES];

	if (instance_is_alive(meta, v->row.holder) || !engine_is_heard(meta, v->row.holder))
		return;
	volume_holder_text(v, holder, sizeof holder);
	add_problem(report, false, "Mend the network between that host and the meta service",
		    "IO on existing chunks goes on; new chunks, and the repair of its chunks, wait",
		    "Volume %s: %s reaches chunk servers, but not the meta service", v->row.name,
		    holder);
}

/* Adds what is wrong with volumes; counts volumes and chunks. */
static void report_volumes(const struct meta *meta, struct report *report, struct counts *volumes,
			   struct counts *chunks)
{
	for (const struct volume *v = meta->volumes; v; v = v->hh.next) {
		struct counts own = {0};
		enum chunk_health worst = CHUNK_HEALTHY;

		if (v->row.deleting)
			continue;
		for (size_t i = 0; i < v->chunk_count; i++) {
			enum chunk_health health = chunk_health(meta, v->chunks[i]);

			count(&own, health);
			count(chunks, health);
			worst = MAX(worst, health);
		}
		count(volumes, worst == CHUNK_FILLING ? CHUNK_DEGRADED : worst);
		report_volume(report, v, &own);
		report_holder(meta, report, v);
	}
}

static void report_server(const struct meta *meta, struct report *report,
			  const struct server *server)
{
	const struct meta_server_row *row = &server->row;

	if (server->disk_failed)
		add_problem(report, true,
			    "Replace the disk; its replicas are rebuilt elsewhere by themselves",
			    "It reports that its disk takes no more writes",
			    "The disk of chunk server %u at %s has failed", row->cid, row->address);
	else if (server_is_dead(meta, server))
		add_problem(report, false,
			    "Start copyhold-chunkd there, and look at its log if it does not stay",
			    "Nothing is heard from it", "Chunk server %u at %s is down", row->cid,
			    row->address);
	if (server->slow)
		add_problem(report, false,
			    "Look at the disk and the load there; without a cure, stop its "
			    "copyhold-chunkd",
			    "Each write waits for it; reads avoid it",
			    "Chunk server %u at %s is far slower than its peers", row->cid,
			    row->address);
	if (server_was_bad(meta, server))
		add_problem(report, false,
			    "Look at the disk's health; replace it if they go on coming",
			    "Its disk gave other bytes than were written; reads were served from "
			    "good copies",
			    "Chunk server %u at %s: %" PRIu64 " bad blocks were found, %" PRIu64
			    " of them repaired from good copies",
			    row->cid, row->address, server->bad_blocks, server->repaired_blocks);
	else if (server->checksum_errors || server->read_errors)
		add_problem(report, false, "Look at the disk's health; replace it if they grow",
			    "Bad copies are repaired from good ones",
			    "Chunk server %u: %" PRIu64 " checksum errors, %" PRIu64 " read errors",
			    row->cid, server->checksum_errors, server->read_errors);
	if (server->instance && row->capacity_bytes &&
	    server->free_bytes < row->capacity_bytes / 100 * (100 - NEARLY_FULL_PERCENT))
		add_problem(report, false, "Add chunk servers, or delete volumes",
			    "Writes fail with ENOSPC when a chunk server is full",
			    "Chunk server %u is nearly full", row->cid);
}

static json_t *counts_document(const struct counts *counts, bool with_filling)
{
	json_t *document =
		json_pack("{s:I,s:I,s:I,s:I}", "total", (json_int_t)counts->total, "healthy",
			  (json_int_t)counts->healthy, "degraded", (json_int_t)counts->degraded,
			  "unavailable", (json_int_t)counts->unavailable);

	if (with_filling)
		json_object_set_new(document, "filling", json_integer((json_int_t)counts->filling));
	return document;
}

json_t *admin_status(struct meta *meta, const struct admin_call *call)
{
	struct report report = {.problems = json_array()};
	struct counts volumes = {0}, chunks = {0};
	uint64_t capacity = 0, used = 0, unused = 0;
	char cluster[UUID_TEXT_BYTES], text[TEXT_BYTES];
	uint32_t up = 0;

	(void)call;
	if (meta->doubt.doubted) {
		meta_doubt_text(meta, text);
		add_problem(&report, true, "copyhold meta confirm --force", text,
			    "The meta service changes nothing");
	}
	for (const struct server *s = meta->servers; s; s = s->hh.next) {
		capacity += s->row.capacity_bytes;
		used += s->used_bytes;
		unused += s->free_bytes;
		up += !server_is_dead(meta, s);
		report_server(meta, &report, s);
	}
	report_volumes(meta, &report, &volumes, &chunks);
	uuid_format(meta->cluster.cluster, cluster);
	return json_pack("{s:s,s:s,s:o,s:{s:I,s:I},s:o,s:o,s:I,s:I,s:I,s:{s:I,s:I},s:I,s:s}",
			 "cluster", cluster, "health",
			 report.error     ? "error"
			 : report.warning ? "warning"
					  : "ok",
			 "problems", report.problems, "servers", "total",
			 (json_int_t)HASH_COUNT(meta->servers), "up", (json_int_t)up, "volumes",
			 counts_document(&volumes, false), "chunks", counts_document(&chunks, true),
			 "capacity_bytes", (json_int_t)capacity, "used_bytes", (json_int_t)used,
			 "free_bytes", (json_int_t)unused, "repair", "running",
			 (json_int_t)chunks.filling, "waiting", (json_int_t)chunks.degraded,
			 "uptime_ms", (json_int_t)((meta->now_ns - meta->started_ns) / NS_PER_MS),
			 "version", COPYHOLD_VERSION);
}

/* ---- chunk.check ---- */

static void check_problem(json_t *problems, const struct chunk *chunk, const char *hint,
			  const char *problem)
{
	if (json_array_size(problems) < ADMIN_LIST_MAX)
		json_array_append_new(problems, json_pack("{s:I,s:s,s:I,s:s,s:s}", "chunk",
							  (json_int_t)chunk->row.chunk, "volume",
							  chunk->volume->row.name, "index",
							  (json_int_t)chunk->row.index, "problem",
							  problem, "hint", hint));
}

/* A replica that a whole report should have named and did not. */
static bool is_missing(const struct chunk *chunk, const struct server *server)
{
	return server->instance && server->report_complete &&
	       server->report_began_ns > chunk->listed_ns + REPORT_SLACK_NS &&
	       !server_find_report(server, chunk->row.chunk);
}

/* Fills in what is wrong with one chunk; true if nothing is. */
static bool check_chunk(const struct meta *meta, const struct chunk *chunk, json_t *problems)
{
	enum chunk_health health = chunk_health(meta, chunk);
	bool good = health == CHUNK_HEALTHY;
	char text[TEXT_BYTES];

	if (!good) {
		meta_text(text, "%s: %u of %u replicas are ACTIVE", chunk_state_name(health),
			  list_count(&chunk->row, REPLICA_ACTIVE), chunk->volume->row.replicas);
		check_problem(problems, chunk, "copyhold server list shows who is down", text);
	}
	if (chunk->scrub.row.unrepairable + chunk->scrub.row.differing) {
		good = false;
		meta_text(text, "%u blocks are damaged in every replica: %.150s",
			  chunk->scrub.row.unrepairable + chunk->scrub.row.differing,
			  chunk->scrub.row.named);
		check_problem(problems, chunk,
			      "Write them anew from a backup, then copyhold chunk scrub", text);
	}
	for (uint32_t i = 0; i < chunk->row.replica_count; i++) {
		const struct server *server = meta_find_server(meta, chunk->row.replicas[i].cid);

		if (chunk->row.replicas[i].state != REPLICA_ACTIVE || !is_missing(chunk, server))
			continue;
		good = false;
		meta_text(text, "chunk server %u does not have the replica that the list names",
			  server->row.cid);
		check_problem(problems, chunk,
			      "It is created anew and filled when the volume is next used", text);
	}
	return good;
}

json_t *admin_chunk_check(struct meta *meta, const struct admin_call *call)
{
	const struct volume *volume = NULL;
	uint64_t id = 0, after = 0, next = 0, checked = 0, healthy = 0;
	json_t *problems, *chunks = NULL, *document;
	bool detail = false;

	if (!args_number(call, "after", INT64_MAX, &after) || !args_flag(call, "detail", &detail) ||
	    !admin_find_scope(meta, call, &volume, &id))
		return NULL;
	problems = json_array();
	if (detail)
		chunks = json_array();
	for (const struct chunk *c = meta->chunks; c; c = c->hh.next) {
		if (c->volume->row.deleting || (id && c->row.chunk != id) ||
		    (volume && c->volume != volume))
			continue;
		checked++;
		healthy += check_chunk(meta, c, problems);
		if (!detail || c->row.chunk <= after || next)
			continue;
		if (json_array_size(chunks) == ADMIN_LIST_MAX)
			next = (uint64_t)json_integer_value(json_object_get(
				json_array_get(chunks, ADMIN_LIST_MAX - 1), "chunk"));
		else
			json_array_append_new(chunks,
					      json_pack("{s:I,s:s,s:I,s:s,s:o}", "chunk",
							(json_int_t)c->row.chunk, "volume",
							c->volume->row.name, "index",
							(json_int_t)c->row.index, "state",
							chunk_state_name(chunk_health(meta, c)),
							"scrub", show_scrub(meta, c)));
	}
	if (after) /* the first part has named them */
		json_array_clear(problems);
	document = json_pack("{s:I,s:I,s:o}", "checked", (json_int_t)checked, "healthy",
			     (json_int_t)healthy, "problems", problems);
	if (detail)
		json_object_set_new(document, "chunks", chunks);
	if (next)
		json_object_set_new(document, "next", json_integer((json_int_t)next));
	return document;
}
