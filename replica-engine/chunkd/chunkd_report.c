/*
 * chunkd_report.c - what the meta service hears: health once a second, and all replicas in parts after each session start
 * and every minute, or every ten seconds while one part holds them all, so that what people see is fresh. A part is sent when the one before it was answered. The answers bring metad's epochs: fences.
 */
#include "replica-engine/chunkd/chunkd_private.h"

#include <jansson.h>
#include <stdlib.h>

#define REPORT_INTERVAL_NS       (60 * NS_PER_S)
#define REPORT_SMALL_INTERVAL_NS (10 * NS_PER_S)

/* ---- replicas ---- */

static void send_part(struct chunkd *d, bool first)
{
	struct meta_link *m = &d->meta;
	struct msg msg = {.type = MSG_REPORT};
	struct store_chunk c;
	uint32_t count = 0;

	if (!m->entries) {
		m->entries = xmalloc(REPORT_CHUNKS_MAX * sizeof *m->entries);
		m->fences = xmalloc(REPORT_CHUNKS_MAX * sizeof *m->fences);
	}
	while (count < REPORT_CHUNKS_MAX && store_chunk_next(d->at.store, &m->report_next, &c)) {
		m->entries[count++] = (struct msg_report_entry){
			.chunk = c.chunk,
			.epoch = c.epoch,
			.position = c.position,
			.commit = c.commit,
			.allocated_bytes = c.allocated_bytes,
		};
		m->report_next = c.chunk + 1;
	}
	m->report_more = store_chunk_next(d->at.store, &m->report_next, &c);
	m->reporting = true;
	msg.u.report.first = first;
	msg.u.report.last = !m->report_more;
	msg.u.report.count = count;
	msg.u.report.entries = m->entries;
	meta_link_send(d, &msg);
}

void report_begin(struct chunkd *d)
{
	d->meta.report_next = 0;
	send_part(d, true);
	d->meta.report_ns = chunkd_now_ns(d) +
			    (d->meta.report_more ? REPORT_INTERVAL_NS : REPORT_SMALL_INTERVAL_NS);
}

void report_answered(struct chunkd *d, const struct msg *msg)
{
	const struct msg_report_ok *ok = &msg->u.report_ok;
	struct meta_link *m = &d->meta;
	uint32_t count = MIN(ok->count, REPORT_CHUNKS_MAX);

	if (!m->reporting || msg->status != WIRE_OK) {
		m->reporting = false;
		return;
	}
	/* The steps use the codec, which takes the message's memory back. */
	memcpy(m->fences, ok->fences, count * sizeof *m->fences);
	for (uint32_t i = 0; i < count; i++)
		chunkd_step(d,
			    &(struct replica_event){.kind = REPLICA_FENCE, .fence = m->fences[i]});
	m->reporting = false;
	if (m->report_more)
		send_part(d, false);
}

/* ---- health ---- */

static void put(json_t *object, const char *name, uint64_t value)
{
	json_object_set_new(object, name, json_integer((json_int_t)value));
}

static char *stats(const struct chunkd *d, const struct store_counters *s,
		   const struct replica_counters *r)
{
	json_t *object = json_object();
	char *text;

	put(object, "user_write_bytes", s->user_write_bytes);
	put(object, "journal_write_bytes", s->journal_write_bytes);
	put(object, "home_write_bytes", s->home_write_bytes);
	put(object, "metadata_write_bytes", s->metadata_write_bytes);
	put(object, "device_writes", s->device_writes);
	put(object, "device_reads", s->device_reads);
	put(object, "device_syncs", s->device_syncs);
	put(object, "read_errors", s->read_errors);
	put(object, "write_errors", s->write_errors);
	put(object, "checksum_errors", s->checksum_errors);
	put(object, "repaired_blocks", s->repaired_blocks);
	put(object, "journal_bytes", s->journal_bytes);
	put(object, "journal_used_bytes", s->journal_used_bytes);
	put(object, "memory_bytes", s->memory_bytes);
	put(object, "metadata_memory_bytes", s->metadata_memory_bytes);
	put(object, "metadata_resident_bytes", s->metadata_resident_bytes);
	put(object, "metadata_hits", s->metadata_hits);
	put(object, "metadata_misses", s->metadata_misses);
	put(object, "writes", r->writes);
	put(object, "reads", r->reads);
	put(object, "duplicates", r->duplicates);
	put(object, "gaps", r->gaps);
	put(object, "fenced", r->fenced);
	put(object, "silent", r->silent);
	put(object, "bad_checksums", r->bad_checksums);
	put(object, "syncs", r->syncs);
	put(object, "connections", r->connections);
	put(object, "requests_under_way", r->requests_under_way);
	put(object, "pid", d->options.pid);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

static uint64_t mean_us(uint64_t ns, uint64_t count)
{
	return count ? ns / count / 1000 : 0;
}

/* Engines that have said something since the last time; one that is silent has perhaps stopped. */
static uint32_t engines_heard(struct chunkd *d)
{
	struct meta_link *m = &d->meta;
	struct peer *p, *next;
	uint32_t count = 0;

	if (!m->engines)
		m->engines = xmalloc(ENGINES_HEARD_MAX * sizeof *m->engines);
	HASH_ITER(hh, d->peers, p, next)
	{
		if (p->heard && p->state == PEER_ADMITTED && !uuid_is_zero(p->engine) &&
		    count < ENGINES_HEARD_MAX)
			m->engines[count++] = p->engine;
		p->heard = false;
	}
	return count;
}

void report_keepalive(struct chunkd *d)
{
	struct store_counters s = store_counters(d->at.store);
	struct replica_counters r = replica_counters(d->replica), *before = &d->meta.reported;
	struct msg msg = {.type = MSG_KEEPALIVE};
	struct msg_keepalive *k = &msg.u.keepalive;
	char *json = stats(d, &s, &r);

	k->sequence = ++d->meta.sequence;
	k->free_bytes = s.free_bytes;
	k->used_bytes = s.used_bytes;
	k->capacity_bytes = s.capacity_bytes;
	k->disk_failed = store_failed(d->at.store);
	k->read_errors = s.read_errors;
	k->checksum_errors = s.checksum_errors;
	k->write_latency_us = mean_us(r.write_ns - before->write_ns, r.writes - before->writes);
	k->read_latency_us = mean_us(r.read_ns - before->read_ns, r.reads - before->reads);
	k->stats_json = json;
	k->engine_count = engines_heard(d);
	k->engines = d->meta.engines;
	*before = r;
	meta_link_send(d, &msg);
	free(json);
}
