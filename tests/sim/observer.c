/* observer.c - see observer.h. */
#include "tests/sim/observer.h"
#include "tests/sim/lists.h"
#include "common/base/crc.h"
#include "proto/codec.h"

#include <stdarg.h>
#include <stdlib.h>
#include "common/base/hash.h"

/* What a replica has answered: of one chunk on one disk. */
struct replica_key {
	uint64_t chunk;
	uint32_t process, disk;
};

struct seen_replica {
	struct replica_key key;
	uint64_t fence;    /* newest epoch that it answered SYNC OK for */
	uint64_t epoch;    /* of the generations below */
	uint64_t answered; /* the highest that it answered OK */
	uint64_t received; /* the highest that it was sent */
	bool base_known;   /* answered is good for finding gaps */
	UT_hash_handle hh;
};

struct generation_key {
	uint64_t chunk, epoch, generation;
};

struct seen_generation {
	struct generation_key key;
	uint64_t content;
	UT_hash_handle hh;
};

struct read_key {
	uint64_t connection, chunk, id;
};

/* A READ that was delivered: what the replica's fence was then. */
struct seen_read {
	struct read_key key;
	uint64_t fence;
	UT_hash_handle hh;
};

struct seen_epoch {
	uint64_t epoch;
	uint64_t chunk;
	uint32_t process, incarnation;
	UT_hash_handle hh;
};

#define TYPES 128

/* What has passed by: of one process and one type. */
struct passed {
	uint64_t sent, delivered;
	enum wire_status last_status, last_sent_status;
};

#define RING 4096
#define LINE 200

struct line {
	uint64_t at_ns;
	uint64_t chunk;
	char from[16], to[16];
	char text[LINE];
};

struct observer {
	struct sim *sim;
	struct codec *codec;
	uint32_t disks[SIM_PROCESSES_MAX];
	struct seen_replica *replicas;
	struct seen_generation *generations;
	struct seen_read *reads;
	struct seen_epoch *epochs;
	struct line *ring;
	uint64_t lines;
	struct passed passed[SIM_PROCESSES_MAX][TYPES];
	/* By process: the last COPY that rolls a chunk forward, and when it refused such a thing, or a write. */
	struct {
		uint64_t chunk;
		uint64_t refused_ns;
	} room[SIM_PROCESSES_MAX];
	struct lists *lists;
};

struct observer *observer_new(struct sim *sim, struct lists *lists)
{
	struct observer *o = xcalloc(1, sizeof *o);

	o->sim = sim;
	o->codec = codec_new();
	o->lists = lists;
	o->ring = xcalloc(RING, sizeof *o->ring);
	return o;
}

#define FREE_TABLE(table, type)                                                                    \
	do {                                                                                       \
		struct type *entry, *next;                                                         \
		HASH_ITER(hh, table, entry, next)                                                  \
		{                                                                                  \
			HASH_DEL(table, entry);                                                    \
			free(entry);                                                               \
		}                                                                                  \
	} while (0)

void observer_free(struct observer *o)
{
	if (!o)
		return;
	FREE_TABLE(o->replicas, seen_replica);
	FREE_TABLE(o->generations, seen_generation);
	FREE_TABLE(o->reads, seen_read);
	FREE_TABLE(o->epochs, seen_epoch);
	codec_free(o->codec);
	free(o->ring);
	free(o);
}

void observer_disk_replaced(struct observer *o, const struct sim_process *process)
{
	o->disks[process->index]++;
}

static struct seen_replica *replica(struct observer *o, const struct sim_process *process,
				    uint64_t chunk)
{
	struct replica_key key = {chunk, process->index, o->disks[process->index]};
	struct seen_replica *r;

	HASH_FIND(hh, o->replicas, &key, sizeof key, r);
	if (!r) {
		r = xcalloc(1, sizeof *r);
		r->key = key;
		HASH_ADD(hh, o->replicas, key, sizeof key, r);
	}
	return r;
}

/* ---- what has passed ---- */

static const struct passed *passed(const struct observer *o, const struct sim_process *process,
				   enum msg_type type)
{
	assert((unsigned)type < TYPES);
	return &o->passed[process->index][type];
}

uint64_t observer_sent(const struct observer *o, const struct sim_process *from, enum msg_type type)
{
	return passed(o, from, type)->sent;
}

uint64_t observer_delivered(const struct observer *o, const struct sim_process *to,
			    enum msg_type type)
{
	return passed(o, to, type)->delivered;
}

enum wire_status observer_last_sent_status(const struct observer *o, const struct sim_process *from,
					   enum msg_type type)
{
	return passed(o, from, type)->last_sent_status;
}

enum wire_status observer_last_status(const struct observer *o, const struct sim_process *to,
				      enum msg_type type)
{
	return passed(o, to, type)->last_status;
}

/* ---- descriptions ---- */

#define U(x) (unsigned long long)(x)

static uint64_t describe(const struct msg *m, char *text, size_t bytes)
{
	const char *status = m->status ? wire_status_name(m->status) : "";

	switch (m->type) {
	case MSG_WRITE:
		snprintf(text, bytes, "WRITE chunk=%llu epoch=%llu generation=%llu %u + %u kind=%d",
			 U(m->u.write.chunk), U(m->u.write.epoch), U(m->u.write.generation),
			 m->u.write.offset, m->u.write.bytes, (int)m->u.write.kind);
		return m->u.write.chunk;
	case MSG_WRITE_OK:
		snprintf(text, bytes, "WRITE_OK chunk=%llu epoch=%llu generation=%llu %s",
			 U(m->u.write_ok.chunk), U(m->u.write_ok.epoch),
			 U(m->u.write_ok.generation), status);
		return m->u.write_ok.chunk;
	case MSG_READ:
		snprintf(text, bytes, "READ chunk=%llu epoch=%llu %u + %u", U(m->u.read.chunk),
			 U(m->u.read.epoch), m->u.read.offset, m->u.read.bytes);
		return m->u.read.chunk;
	case MSG_READ_OK:
		snprintf(text, bytes, "READ_OK chunk=%llu epoch=%llu %u + %u %s",
			 U(m->u.read_ok.chunk), U(m->u.read_ok.epoch), m->u.read_ok.offset,
			 m->u.read_ok.bytes, status);
		return m->u.read_ok.chunk;
	case MSG_COPY:
		snprintf(text, bytes,
			 "COPY chunk=%llu epoch=%llu unit=%u version=%llu.%llu mode=%d",
			 U(m->u.copy.chunk), U(m->u.copy.epoch), m->u.copy.unit,
			 U(m->u.copy.version.epoch), U(m->u.copy.version.generation),
			 (int)m->u.copy.mode);
		return m->u.copy.chunk;
	case MSG_COPY_OK:
	case MSG_REPAIR_OK:
		snprintf(text, bytes, "%s chunk=%llu epoch=%llu unit=%u %s", msg_type_name(m->type),
			 U(m->u.copy_ok.chunk), U(m->u.copy_ok.epoch), m->u.copy_ok.unit, status);
		return m->u.copy_ok.chunk;
	case MSG_REPAIR:
		snprintf(text, bytes,
			 "REPAIR chunk=%llu epoch=%llu unit=%u version=%llu.%llu blocks=%x",
			 U(m->u.repair.chunk), U(m->u.repair.epoch), m->u.repair.unit,
			 U(m->u.repair.version.epoch), U(m->u.repair.version.generation),
			 m->u.repair.block_mask);
		return m->u.repair.chunk;
	case MSG_SYNC_OK:
		snprintf(text, bytes,
			 "SYNC_OK chunk=%llu epoch=%llu position=%llu.%llu digest=%llx mending=%d "
			 "invalid=%u wait=%u %s",
			 U(m->u.sync_ok.chunk), U(m->u.sync_ok.epoch),
			 U(m->u.sync_ok.position.epoch), U(m->u.sync_ok.position.generation),
			 U(m->u.sync_ok.digest), m->u.sync_ok.mending, m->u.sync_ok.invalid_units,
			 m->u.sync_ok.wait_ms, status);
		return m->u.sync_ok.chunk;
	case MSG_SYNC:
	case MSG_VERSIONS:
		snprintf(text, bytes, "%s chunk=%llu epoch=%llu", msg_type_name(m->type),
			 U(m->u.sync.chunk), U(m->u.sync.epoch));
		return m->u.sync.chunk;
	case MSG_JOIN:
	case MSG_JOIN_OK:
	case MSG_MEND_BEGIN:
	case MSG_MEND_BEGIN_OK:
	case MSG_MEND_END:
	case MSG_MEND_END_OK:
	case MSG_RELEASE:
	case MSG_RELEASE_OK:
	case MSG_CREATE_OK:
		snprintf(text, bytes, "%s chunk=%llu epoch=%llu position=%llu.%llu %s",
			 msg_type_name(m->type), U(m->u.position.chunk), U(m->u.position.epoch),
			 U(m->u.position.position.epoch), U(m->u.position.position.generation),
			 status);
		return m->u.position.chunk;
	case MSG_CREATE:
		snprintf(text, bytes, "CREATE chunk=%llu epoch=%llu commit=%llu",
			 U(m->u.create.chunk), U(m->u.create.epoch), U(m->u.create.commit));
		return m->u.create.chunk;
	case MSG_INVALIDATE_OK:
		snprintf(text, bytes, "INVALIDATE_OK chunk=%llu epoch=%llu invalid=%u %s",
			 U(m->u.invalidate_ok.chunk), U(m->u.invalidate_ok.epoch),
			 m->u.invalidate_ok.invalid_count, status);
		return m->u.invalidate_ok.chunk;
	case MSG_CHANGE:
		snprintf(text, bytes,
			 "CHANGE kind=%d chunk=%llu epoch=%llu list=%llu cid=%u floor=%llu (%s)",
			 (int)m->u.change.kind, U(m->u.change.chunk), U(m->u.change.epoch),
			 U(m->u.change.list_number), m->u.change.cid, U(m->u.change.floor),
			 m->u.change.text);
		return m->u.change.chunk;
	case MSG_CHANGE_OK:
	case MSG_LIST: {
		const struct msg_chunk *c = &m->u.list.chunk;
		int n = snprintf(text, bytes, "%s chunk=%llu epoch=%llu list=%llu %s",
				 msg_type_name(m->type), U(c->chunk), U(c->epoch),
				 U(c->list_number), status);

		for (unsigned i = 0; i < c->replica_count && n > 0 && (size_t)n < bytes; i++)
			n += snprintf(text + n, bytes - (size_t)n, " %u%s%s", c->replicas[i].cid,
				      c->replicas[i].state == REPLICA_ACTIVE ? "" : "(filling)",
				      c->replicas[i].dead ? "(dead)" : "");
		return c->chunk;
	}
	case MSG_LEASE_RETURN:
		snprintf(text, bytes, "LEASE_RETURN chunk=%llu epoch=%llu floor=%llu",
			 U(m->u.lease_return.chunk), U(m->u.lease_return.epoch),
			 U(m->u.lease_return.floor));
		return m->u.lease_return.chunk;
	case MSG_LEASE_OK:
		if (m->u.chunks.count) {
			snprintf(text, bytes,
				 "LEASE_OK count=%u first chunk=%llu epoch=%llu list=%llu %s",
				 m->u.chunks.count, U(m->u.chunks.chunks[0].chunk),
				 U(m->u.chunks.chunks[0].epoch),
				 U(m->u.chunks.chunks[0].list_number), status);
			return m->u.chunks.chunks[0].chunk;
		}
		snprintf(text, bytes, "LEASE_OK count=0 %s", status);
		return 0;
	case MSG_REPAIR_JOB:
		snprintf(text, bytes, "REPAIR_JOB chunk=%llu%s", U(m->u.repair_job.chunk),
			 m->u.repair_job.scrub ? " scrub" : "");
		return m->u.repair_job.chunk;
	case MSG_SCRUBBED:
		snprintf(text, bytes,
			 "SCRUBBED chunk=%llu epoch=%llu %s %u/%u unrepairable=%u differing=%u",
			 U(m->u.scrubbed.chunk), U(m->u.scrubbed.epoch),
			 m->u.scrubbed.last ? "last" : "", m->u.scrubbed.units_done,
			 m->u.scrubbed.units, m->u.scrubbed.unrepairable, m->u.scrubbed.differing);
		return m->u.scrubbed.chunk;
	case MSG_DELETE:
		snprintf(text, bytes, "DELETE chunk=%llu commit=%llu", U(m->u.delete_.chunk),
			 U(m->u.delete_.commit));
		return m->u.delete_.chunk;
	default:
		snprintf(text, bytes, "%s %s", msg_type_name(m->type), status);
		return 0;
	}
}

void observer_describe(struct observer *o, const struct io_frame *frame, char *text, size_t bytes)
{
	struct msg m;
	const char *why;

	if (codec_decode(o->codec, frame, &m, &why))
		snprintf(text, bytes, "%s not decoded: %s", msg_type_name(frame->type), why);
	else
		describe(&m, text, bytes);
}

static void remember(struct observer *o, const struct sim_process *from,
		     const struct sim_process *to, uint64_t connection, const struct msg *m)
{
	struct line *line = &o->ring[o->lines % RING];

	line->chunk = describe(m, line->text, sizeof line->text);
	if (!line->chunk && !o->sim->tracing)
		return;
	line->at_ns = o->sim->now_ns;
	snprintf(line->from, sizeof line->from, "%s", from ? from->name : "?");
	snprintf(line->to, sizeof line->to, "%s", to ? to->name : "?");
	o->lines++;
	sim_trace(o->sim, "%s > %s (%llu) #%llu %s", line->from, line->to, U(connection), U(m->id),
		  line->text);
}

void observer_print_history(const struct observer *o, uint64_t chunk, FILE *out)
{
	uint64_t first = o->lines > RING ? o->lines - RING : 0, shown = 0;

	for (uint64_t i = first; i < o->lines; i++)
		shown += o->ring[i % RING].chunk == chunk;
	fprintf(out, "last messages delivered about chunk %llu\n", U(chunk));
	for (uint64_t i = first; i < o->lines; i++) {
		const struct line *line = &o->ring[i % RING];

		if (line->chunk == chunk && shown-- <= 60)
			fprintf(out, "  %.6f %s > %s %s\n", ((double)line->at_ns - 1000e9) / 1e9,
				line->from, line->to, line->text);
	}
}

/* ---- checks ---- */

static void count_answer(struct observer *o, const struct msg *m)
{
	struct sim *sim = o->sim;

	switch (m->status) {
	case WIRE_FENCED:
		sim_reach(sim, REACHED_FENCED);
		break;
	case WIRE_SILENT:
		sim_reach(sim, REACHED_SILENT);
		break;
	case WIRE_WAIT:
		sim_reach(sim, REACHED_PROMISE_WAIT);
		break;
	case WIRE_GAP:
		sim_reach(sim, REACHED_GAP);
		break;
	case WIRE_NO_SPACE:
		if (m->type == MSG_WRITE_OK)
			sim_reach(sim, REACHED_NO_SPACE);
		if (m->type == MSG_COPY_OK)
			sim_reach(sim, REACHED_COPY_NO_SPACE);
		break;
	case WIRE_BAD_BLOCK:
		if (m->type == MSG_READ_OK)
			sim_reach(sim, REACHED_BAD_BLOCK);
		break;
	case WIRE_INVALID_UNIT:
		sim_reach(sim, REACHED_INVALID_UNIT);
		break;
	case WIRE_DISK_ERROR:
		sim_reach(sim, REACHED_DISK_ERROR);
		break;
	default:
		break;
	}
}

static void count_change(struct observer *o, const struct msg *m)
{
	if (m->status == WIRE_NOT_OWNER)
		sim_reach(o->sim, REACHED_CHANGE_NOT_OWNER);
	else if (m->status == WIRE_STALE)
		sim_reach(o->sim, REACHED_CHANGE_STALE);
	else if (m->status != WIRE_OK)
		sim_reach(o->sim, REACHED_CHANGE_REFUSED);
}

static void count_message(struct observer *o, const struct msg *m)
{
	struct sim *sim = o->sim;

	count_answer(o, m);
	switch (m->type) {
	case MSG_MEND_BEGIN_OK:
		if (m->status == WIRE_OK)
			sim_reach(sim, REACHED_ROLL);
		break;
	case MSG_JOIN_OK:
		if (m->status == WIRE_OK)
			sim_reach(sim, REACHED_JOIN);
		break;
	case MSG_COPY:
		sim->totals.copies++;
		sim_reach(sim, m->u.copy.mode == COPY_ROLL ? REACHED_COPY_ROLL : REACHED_COPY_FILL);
		break;
	case MSG_COPY_OK:
		if (m->status != WIRE_OK)
			sim_reach(sim, REACHED_COPY_REFUSED);
		break;
	case MSG_REPAIR_OK:
		if (m->status == WIRE_OK)
			sim_reach(sim, REACHED_BLOCK_REPAIRED);
		break;
	case MSG_SYNC_OK:
		if (m->status == WIRE_OK && m->u.sync_ok.mending)
			sim_reach(sim, REACHED_MENDING);
		break;
	case MSG_HEARTBEAT_OK:
		sim->totals.reached[REACHED_TAKEN_OUT] += m->u.heartbeat_ok.taken_count;
		break;
	case MSG_CHANGE_OK:
		count_change(o, m);
		break;
	case MSG_REPAIR_JOB:
		sim_reach(sim, REACHED_REPAIR_JOB);
		break;
	case MSG_LEASE_OK:
		if (m->status != WIRE_OK)
			sim_reach(sim, REACHED_LEASE_REFUSED);
		for (uint32_t i = 0; m->status == WIRE_OK && i < m->u.chunks.count; i++) {
			if (m->u.chunks.chunks[i].status == WIRE_NO_SPACE)
				sim_reach(sim, REACHED_NOT_CREATED);
		}
		break;
	case MSG_DELETE:
		sim_reach(sim, REACHED_DELETE);
		break;
	default:
		break;
	}
}

static void check_fence(struct observer *o, const struct sim_process *from, uint64_t chunk,
			uint64_t epoch, const char *what)
{
	const struct seen_replica *r = replica(o, from, chunk);

	if (epoch < r->fence)
		sim_fail(o->sim, "fence", chunk,
			 "%s answers %s of chunk %llu at epoch %llu after SYNC of epoch %llu",
			 from->name, what, U(chunk), U(epoch), U(r->fence));
}

static uint64_t content_of(const struct msg *m)
{
	const struct msg_write *w = &m->u.write;
	uint64_t h = mix64((uint64_t)w->offset << 32 | w->bytes) ^ w->kind;

	if (w->kind == WRITE_DATA)
		h = mix64(h ^ crc32c(0, w->crcs, w->bytes / BLOCK_BYTES * sizeof *w->crcs));
	return h;
}

static void on_write_sent(struct observer *o, const struct sim_process *from, const struct msg *m)
{
	const struct msg_write *w = &m->u.write;
	struct generation_key key = {w->chunk, w->epoch, w->generation};
	struct seen_generation *g;

	HASH_FIND(hh, o->generations, &key, sizeof key, g);
	if (!g) {
		g = xcalloc(1, sizeof *g);
		g->key = key;
		g->content = content_of(m);
		HASH_ADD(hh, o->generations, key, sizeof key, g);
	} else if (g->content != content_of(m)) {
		sim_fail(o->sim, "one content a generation", w->chunk,
			 "%s sends another content for chunk %llu epoch %llu generation %llu",
			 from->name, U(w->chunk), U(w->epoch), U(w->generation));
	}
}

static void set_base(struct seen_replica *r, uint64_t epoch, uint64_t generation, bool known)
{
	r->epoch = epoch;
	r->answered = generation;
	r->received = generation;
	r->base_known = known;
}

static void on_write_delivered(struct observer *o, const struct sim_process *to,
			       const struct msg_write *w)
{
	struct seen_replica *r = replica(o, to, w->chunk);

	if (w->epoch > r->epoch)
		set_base(r, w->epoch, 0, false);
	if (w->epoch == r->epoch) {
		if (w->generation <= r->received && r->base_known)
			sim_reach(o->sim, REACHED_RESEND);
		r->received = MAX(r->received, w->generation);
	}
}

static void on_write_answered(struct observer *o, const struct sim_process *from,
			      const struct msg *m)
{
	const struct msg_write_ok *w = &m->u.write_ok;
	struct seen_replica *r = replica(o, from, w->chunk);

	if (m->status)
		return;
	check_fence(o, from, w->chunk, w->epoch, "a WRITE");
	if (w->epoch != r->epoch)
		return;
	if (w->generation > r->received)
		sim_fail(o->sim, "no gap", w->chunk,
			 "%s answers OK to chunk %llu epoch %llu generation %llu that it was not "
			 "sent",
			 from->name, U(w->chunk), U(w->epoch), U(w->generation));
	if (r->base_known && w->generation > r->answered + 1)
		sim_fail(o->sim, "no gap", w->chunk,
			 "%s answers OK to chunk %llu epoch %llu generation %llu after %llu",
			 from->name, U(w->chunk), U(w->epoch), U(w->generation), U(r->answered));
	r->answered = MAX(r->answered, w->generation);
	r->base_known = true;
}

static void on_sync_answered(struct observer *o, const struct sim_process *from,
			     const struct msg *m)
{
	struct seen_replica *r = replica(o, from, m->u.sync_ok.chunk);

	if (m->status)
		return;
	check_fence(o, from, m->u.sync_ok.chunk, m->u.sync_ok.epoch, "a SYNC");
	if (m->u.sync_ok.epoch > r->fence && r->fence)
		sim_reach(o->sim, REACHED_TAKEOVER);
	if (m->u.sync_ok.epoch > r->fence)
		r->fence = m->u.sync_ok.epoch;
}

static void on_join_answered(struct observer *o, const struct sim_process *from,
			     const struct msg *m)
{
	const struct msg_position *p = &m->u.position;

	if (m->status)
		return;
	check_fence(o, from, p->chunk, p->epoch, msg_type_name(m->type));
	if (m->type == MSG_JOIN_OK)
		set_base(replica(o, from, p->chunk), p->epoch, p->position.generation, false);
}

static void on_read_delivered(struct observer *o, const struct sim_process *to, uint64_t connection,
			      const struct msg *m)
{
	struct seen_read *read = xcalloc(1, sizeof *read), *old;

	read->key = (struct read_key){connection, m->u.read.chunk, m->id};
	read->fence = replica(o, to, m->u.read.chunk)->fence;
	HASH_REPLACE(hh, o->reads, key, sizeof read->key, read, old);
	free(old);
}

static void on_read_answered(struct observer *o, const struct sim_process *from,
			     uint64_t connection, const struct msg *m)
{
	struct read_key key = {connection, m->u.read_ok.chunk, m->id};
	struct seen_read *read;

	HASH_FIND(hh, o->reads, &key, sizeof key, read);
	if (!read)
		return;
	if (m->status == WIRE_OK && m->u.read_ok.epoch < read->fence)
		sim_fail(o->sim, "fence", m->u.read_ok.chunk,
			 "%s answers a READ of chunk %llu at epoch %llu that came after SYNC of "
			 "epoch %llu",
			 from->name, U(m->u.read_ok.chunk), U(m->u.read_ok.epoch), U(read->fence));
	HASH_DEL(o->reads, read);
	free(read);
}

static void on_lease_granted(struct observer *o, const struct sim_process *to, const struct msg *m)
{
	for (uint32_t i = 0; i < m->u.chunks.count; i++) {
		const struct msg_chunk *c = &m->u.chunks.chunks[i];
		struct seen_epoch *e;

		if (c->status || !to)
			continue;
		HASH_FIND(hh, o->epochs, &c->epoch, sizeof c->epoch, e);
		if (!e) {
			e = xcalloc(1, sizeof *e);
			e->epoch = c->epoch;
			e->chunk = c->chunk;
			e->process = to->index;
			e->incarnation = to->incarnation;
			HASH_ADD(hh, o->epochs, epoch, sizeof e->epoch, e);
		} else if (e->chunk != c->chunk || e->process != to->index ||
			   e->incarnation != to->incarnation) {
			sim_fail(o->sim, "epochs are granted once", c->chunk,
				 "epoch %llu is granted to %s for chunk %llu; it was granted for "
				 "chunk %llu before",
				 U(c->epoch), to->name, U(c->chunk), U(e->chunk));
		}
	}
}

static bool decode(struct observer *o, const struct sim_process *from, const struct io_frame *frame,
		   struct msg *m)
{
	const char *why = "";

	if (codec_decode(o->codec, frame, m, &why) == 0)
		return true;
	sim_fail(o->sim, "codec", 0, "%s sends a %s that cannot be decoded: %s", from->name,
		 msg_type_name(frame->type), why);
	return false;
}

static void tell(struct observer *o, struct sim_process *from, struct sim_process *to,
		 uint64_t connection, const struct msg *m, bool delivered)
{
	struct sim_message message = {
		.from = from,
		.to = to,
		.connection = connection,
		.type = m->type,
		.cid = m->type == MSG_CHANGE ? m->u.change.cid : 0,
		.waits = m->type == MSG_SYNC_OK && m->status == WIRE_WAIT,
		.rolls = m->type == MSG_COPY && m->u.copy.mode == COPY_ROLL,
		.delivered = delivered,
	};

	if (o->sim->on_message)
		o->sim->on_message(o->sim, &message);
}

static void on_sent(void *context, struct sim_process *from, struct sim_process *to,
		    uint64_t connection, const struct io_frame *frame)
{
	struct observer *o = context;
	struct msg m;

	if (!decode(o, from, frame, &m))
		return;
	o->passed[from->index][m.type].sent++;
	o->passed[from->index][m.type].last_sent_status = m.status;
	if (m.status == WIRE_NO_SPACE && (m.type == MSG_WRITE_OK || m.type == MSG_COPY_OK) &&
	    (m.type == MSG_WRITE_OK || m.u.copy_ok.chunk == o->room[from->index].chunk))
		o->room[from->index].refused_ns = o->sim->now_ns;
	switch (m.type) {
	case MSG_WRITE:
		on_write_sent(o, from, &m);
		break;
	case MSG_WRITE_OK:
		on_write_answered(o, from, &m);
		break;
	case MSG_SYNC_OK:
		on_sync_answered(o, from, &m);
		break;
	case MSG_JOIN_OK:
	case MSG_MEND_BEGIN_OK:
	case MSG_MEND_END_OK:
		on_join_answered(o, from, &m);
		break;
	case MSG_COPY_OK:
	case MSG_REPAIR_OK:
		if (m.status == WIRE_OK)
			check_fence(o, from, m.u.copy_ok.chunk, m.u.copy_ok.epoch,
				    msg_type_name(m.type));
		break;
	case MSG_READ_OK:
		on_read_answered(o, from, connection, &m);
		break;
	case MSG_LEASE_OK:
		on_lease_granted(o, to, &m);
		break;
	default:
		break;
	}
	lists_sent(o->lists, from, connection, &m);
	tell(o, from, to, connection, &m, false);
}

static void on_delivered(void *context, struct sim_process *from, struct sim_process *to,
			 uint64_t connection, const struct io_frame *frame)
{
	struct observer *o = context;
	struct msg m;
	const char *why = "";

	/* Payloads may have been damaged on the way, bodies not. */
	if (codec_decode(o->codec, frame, &m, &why))
		return;
	remember(o, from, to, connection, &m);
	o->passed[to->index][m.type].delivered++;
	o->passed[to->index][m.type].last_status = m.status;
	count_message(o, &m);
	if (from)
		tell(o, from, to, connection, &m, true);
	lists_delivered(o->lists, to, connection, &m);
	if (m.type == MSG_COPY && m.u.copy.mode == COPY_ROLL)
		o->room[to->index].chunk = m.u.copy.chunk;
	if (m.type == MSG_WRITE)
		on_write_delivered(o, to, &m.u.write);
	else if (m.type == MSG_READ)
		on_read_delivered(o, to, connection, &m);
}

uint64_t observer_no_room_ns(const struct observer *o, const struct sim_process *replica)
{
	return o->room[replica->index].refused_ns;
}

struct net_watch observer_watch(struct observer *o)
{
	return (struct net_watch){.sent = on_sent, .delivered = on_delivered, .context = o};
}
