/*
 * codec_chunk.c - chunks at the meta service: the table, leases, changes of lists, reports and what is pushed about
 * them.
 */
#include "proto/codec_internal.h"
#include "proto/copyhold.pb-c.h"

static const char long_text[] = "a text is too long";
static const char endless_text[] = "a text without an end";
static const char no_array[] = "a count without its array";
static const char too_many_chunks[] = "too many chunks";

/* ---- one chunk ---- */

static bool cid_appears_before(const struct msg_chunk *c, uint32_t end)
{
	for (uint32_t i = 0; i < end; i++)
		if (c->replicas[i].cid == c->replicas[end].cid)
			return true;
	return false;
}

static const char *chunk_check(const struct msg_chunk *c)
{
	if (c->replica_count > REPLICAS_MAX || c->min_replicas > REPLICAS_MAX)
		return "too many replicas";
	if ((unsigned)c->status >= WIRE_STATUS_COUNT)
		return "unknown status of a chunk";
	for (uint32_t i = 0; i < c->replica_count; i++) {
		if (c->replicas[i].state != REPLICA_ACTIVE &&
		    c->replicas[i].state != REPLICA_FILLING)
			return "unknown state of a replica";
		if (cid_appears_before(c, i))
			return "two replicas on one chunk server";
	}
	return NULL;
}

/* Fills pb from c; its replicas come from the codec's memory. */
static void chunk_out(struct codec *codec, Copyhold__Chunk *pb, const struct msg_chunk *c)
{
	Copyhold__ListEntry *entries = NULL;

	copyhold__chunk__init(pb);
	pb->index = c->index;
	pb->chunk = c->chunk;
	pb->root_chunk = c->root_chunk;
	pb->epoch = c->epoch;
	pb->list_number = c->list_number;
	pb->floor = c->floor;
	pb->min_replicas = c->min_replicas;
	pb->status = c->status;
	pb->other_owner = c->other_owner;
	if (c->replica_count == 0)
		return;
	pb->n_replicas = c->replica_count;
	pb->replicas = codec_sending_array(codec, c->replica_count, sizeof *pb->replicas);
	entries = codec_sending_array(codec, c->replica_count, sizeof *entries);
	for (uint32_t i = 0; i < c->replica_count; i++) {
		copyhold__list_entry__init(&entries[i]);
		entries[i].cid = c->replicas[i].cid;
		entries[i].state = c->replicas[i].state;
		entries[i].dead = c->replicas[i].dead;
		entries[i].leaving = c->replicas[i].leaving;
		entries[i].commit = c->replicas[i].commit;
		pb->replicas[i] = &entries[i];
	}
}

static const char *chunk_in(struct msg_chunk *c, const Copyhold__Chunk *pb)
{
	if (pb->n_replicas > REPLICAS_MAX)
		return "too many replicas";
	*c = (struct msg_chunk){
		.index = pb->index,
		.chunk = pb->chunk,
		.root_chunk = pb->root_chunk,
		.epoch = pb->epoch,
		.list_number = pb->list_number,
		.floor = pb->floor,
		.min_replicas = pb->min_replicas,
		.replica_count = (uint32_t)pb->n_replicas,
		.status = pb->status,
		.other_owner = pb->other_owner,
	};
	for (size_t i = 0; i < pb->n_replicas; i++)
		c->replicas[i] = (struct msg_list_entry){
			.cid = pb->replicas[i]->cid,
			.state = pb->replicas[i]->state,
			.dead = pb->replicas[i]->dead,
			.leaving = pb->replicas[i]->leaving,
			.commit = pb->replicas[i]->commit,
		};
	return NULL;
}

/* ---- TABLE, LEASE ---- */

static size_t table_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Table pb;

	copyhold__table__init(&pb);
	pb.volume = msg->u.table.volume;
	pb.first_index = msg->u.table.first_index;
	return codec_pack(codec, &pb.base);
}

static const char *table_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	const Copyhold__Table *pb = codec_unpack(codec, frame, &copyhold__table__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.table = (struct msg_table){.volume = pb->volume, .first_index = pb->first_index};
	return NULL;
}

static uint32_t chunks_max(enum msg_type type)
{
	return type == MSG_LEASE_OK ? LEASE_CHUNKS_MAX : TABLE_CHUNKS_MAX;
}

static const char *chunks_check(const struct msg *msg)
{
	const struct msg_chunks *c = &msg->u.chunks;

	if (c->count > chunks_max(msg->type))
		return too_many_chunks;
	if (c->count && !c->chunks)
		return no_array;
	for (uint32_t i = 0; i < c->count; i++) {
		const char *why = chunk_check(&c->chunks[i]);

		if (why)
			return why;
	}
	return text_is_terminated(c->text, sizeof c->text) ? NULL : endless_text;
}

static size_t chunks_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_chunks *c = &msg->u.chunks;
	Copyhold__Chunks pb;
	Copyhold__Chunk *chunks = codec_sending_array(codec, c->count, sizeof *chunks);

	copyhold__chunks__init(&pb);
	pb.volume = c->volume;
	pb.more = c->more;
	pb.text = codec_text_out(c->text);
	pb.n_chunks = c->count;
	pb.chunks = codec_sending_array(codec, c->count, sizeof *pb.chunks);
	for (uint32_t i = 0; i < c->count; i++) {
		chunk_out(codec, &chunks[i], &c->chunks[i]);
		pb.chunks[i] = &chunks[i];
	}
	return codec_pack(codec, &pb.base);
}

static const char *chunks_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct msg_chunks *c = &msg->u.chunks;
	struct msg_chunk *chunks;
	const Copyhold__Chunks *pb = codec_unpack(codec, frame, &copyhold__chunks__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->n_chunks > chunks_max(msg->type))
		return too_many_chunks;
	chunks = codec_received_array(codec, pb->n_chunks, sizeof *chunks);
	if (!chunks)
		return codec_malformed;
	for (size_t i = 0; i < pb->n_chunks; i++) {
		const char *why = chunk_in(&chunks[i], pb->chunks[i]);

		if (why)
			return why;
	}
	c->volume = pb->volume;
	c->more = pb->more;
	c->count = (uint32_t)pb->n_chunks;
	c->chunks = chunks;
	return codec_text_in(c->text, sizeof c->text, pb->text) ? NULL : long_text;
}

static const char *lease_check(const struct msg *msg)
{
	const struct msg_lease *l = &msg->u.lease;

	if (l->count == 0)
		return "no chunks";
	if (l->count > LEASE_CHUNKS_MAX)
		return too_many_chunks;
	return l->indexes ? NULL : no_array;
}

static size_t lease_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_lease *l = &msg->u.lease;
	Copyhold__Lease pb;

	copyhold__lease__init(&pb);
	pb.volume = l->volume;
	pb.allocate = l->allocate;
	pb.repair = l->repair;
	pb.n_indexes = l->count;
	pb.indexes = (uint64_t *)(uintptr_t)l->indexes;
	return codec_pack(codec, &pb.base);
}

static const char *lease_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	const Copyhold__Lease *pb = codec_unpack(codec, frame, &copyhold__lease__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->n_indexes > LEASE_CHUNKS_MAX)
		return too_many_chunks;
	msg->u.lease = (struct msg_lease){
		.volume = pb->volume,
		.allocate = pb->allocate,
		.repair = pb->repair,
		.count = (uint32_t)pb->n_indexes,
		.indexes = pb->indexes,
	};
	return NULL;
}

static size_t lease_return_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_lease_return *l = &msg->u.lease_return;
	Copyhold__LeaseReturn pb;

	copyhold__lease_return__init(&pb);
	pb.chunk = l->chunk;
	pb.epoch = l->epoch;
	pb.floor = l->floor;
	return codec_pack(codec, &pb.base);
}

static const char *lease_return_decode(struct codec *codec, const struct io_frame *frame,
				       struct msg *msg)
{
	const Copyhold__LeaseReturn *pb =
		codec_unpack(codec, frame, &copyhold__lease_return__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.lease_return = (struct msg_lease_return){
		.chunk = pb->chunk,
		.epoch = pb->epoch,
		.floor = pb->floor,
	};
	return NULL;
}

/* ---- CHANGE, LIST ---- */

static const char *change_check(const struct msg *msg)
{
	const struct msg_change *c = &msg->u.change;

	if (c->kind != CHANGE_EVICT && c->kind != CHANGE_PROMOTE && c->kind != CHANGE_DROP)
		return "unknown kind of change";
	if (c->synced_count > REPLICAS_MAX)
		return "too many replicas";
	return text_is_terminated(c->text, sizeof c->text) ? NULL : endless_text;
}

static size_t change_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_change *c = &msg->u.change;
	Copyhold__Change pb;

	copyhold__change__init(&pb);
	pb.kind = c->kind;
	pb.chunk = c->chunk;
	pb.epoch = c->epoch;
	pb.list_number = c->list_number;
	pb.cid = c->cid;
	pb.floor = c->floor;
	pb.n_synced = c->synced_count;
	pb.synced = (uint32_t *)(uintptr_t)c->synced;
	pb.text = codec_text_out(c->text);
	return codec_pack(codec, &pb.base);
}

static const char *change_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct msg_change *c = &msg->u.change;
	const Copyhold__Change *pb = codec_unpack(codec, frame, &copyhold__change__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->n_synced > REPLICAS_MAX)
		return "too many replicas";
	*c = (struct msg_change){
		.kind = pb->kind,
		.chunk = pb->chunk,
		.epoch = pb->epoch,
		.list_number = pb->list_number,
		.cid = pb->cid,
		.floor = pb->floor,
		.synced_count = (uint32_t)pb->n_synced,
	};
	for (size_t i = 0; i < pb->n_synced; i++)
		c->synced[i] = pb->synced[i];
	return codec_text_in(c->text, sizeof c->text, pb->text) ? NULL : long_text;
}

static const char *list_check(const struct msg *msg)
{
	const struct msg_list *l = &msg->u.list;
	const char *why = chunk_check(&l->chunk);

	if (why)
		return why;
	return text_is_terminated(l->text, sizeof l->text) ? NULL : endless_text;
}

static size_t list_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__List pb;
	Copyhold__Chunk chunk;

	copyhold__list__init(&pb);
	chunk_out(codec, &chunk, &msg->u.list.chunk);
	pb.chunk = &chunk;
	pb.text = codec_text_out(msg->u.list.text);
	return codec_pack(codec, &pb.base);
}

static const char *list_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct msg_list *l = &msg->u.list;
	const Copyhold__List *pb = codec_unpack(codec, frame, &copyhold__list__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->chunk) {
		const char *why = chunk_in(&l->chunk, pb->chunk);

		if (why)
			return why;
	} else if (msg->status == WIRE_OK) {
		return "no list";
	}
	return codec_text_in(l->text, sizeof l->text, pb->text) ? NULL : long_text;
}

/* ---- REPORT ---- */

static const char *report_check(const struct msg *msg)
{
	const struct msg_report *r = &msg->u.report;

	if (r->count > REPORT_CHUNKS_MAX)
		return too_many_chunks;
	return r->count && !r->entries ? no_array : NULL;
}

static void report_entry_out(Copyhold__ReportEntry *pb, const struct msg_report_entry *e)
{
	copyhold__report_entry__init(pb);
	pb->chunk = e->chunk;
	pb->epoch = e->epoch;
	pb->position_epoch = e->position.epoch;
	pb->position_generation = e->position.generation;
	pb->commit = e->commit;
	pb->allocated_bytes = e->allocated_bytes;
}

static size_t report_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_report *r = &msg->u.report;
	Copyhold__Report pb;
	Copyhold__ReportEntry *entries = codec_sending_array(codec, r->count, sizeof *entries);

	copyhold__report__init(&pb);
	pb.first = r->first;
	pb.last = r->last;
	pb.n_entries = r->count;
	pb.entries = codec_sending_array(codec, r->count, sizeof *pb.entries);
	for (uint32_t i = 0; i < r->count; i++) {
		report_entry_out(&entries[i], &r->entries[i]);
		pb.entries[i] = &entries[i];
	}
	return codec_pack(codec, &pb.base);
}

static const char *report_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct msg_report_entry *entries;
	const Copyhold__Report *pb = codec_unpack(codec, frame, &copyhold__report__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->n_entries > REPORT_CHUNKS_MAX)
		return too_many_chunks;
	entries = codec_received_array(codec, pb->n_entries, sizeof *entries);
	if (!entries)
		return codec_malformed;
	for (size_t i = 0; i < pb->n_entries; i++)
		entries[i] = (struct msg_report_entry){
			.chunk = pb->entries[i]->chunk,
			.epoch = pb->entries[i]->epoch,
			.position = {pb->entries[i]->position_epoch,
				     pb->entries[i]->position_generation},
			.commit = pb->entries[i]->commit,
			.allocated_bytes = pb->entries[i]->allocated_bytes,
		};
	msg->u.report = (struct msg_report){
		.first = pb->first,
		.last = pb->last,
		.count = (uint32_t)pb->n_entries,
		.entries = entries,
	};
	return NULL;
}

static const char *report_ok_check(const struct msg *msg)
{
	const struct msg_report_ok *r = &msg->u.report_ok;

	if (r->count > REPORT_CHUNKS_MAX)
		return too_many_chunks;
	return r->count && !r->fences ? no_array : NULL;
}

static size_t report_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_report_ok *r = &msg->u.report_ok;
	Copyhold__Fences pb;
	Copyhold__ChunkEpoch *fences = codec_sending_array(codec, r->count, sizeof *fences);

	copyhold__fences__init(&pb);
	pb.n_fences = r->count;
	pb.fences = codec_sending_array(codec, r->count, sizeof *pb.fences);
	for (uint32_t i = 0; i < r->count; i++) {
		copyhold__chunk_epoch__init(&fences[i]);
		fences[i].chunk = r->fences[i].chunk;
		fences[i].epoch = r->fences[i].epoch;
		pb.fences[i] = &fences[i];
	}
	return codec_pack(codec, &pb.base);
}

static const char *report_ok_decode(struct codec *codec, const struct io_frame *frame,
				    struct msg *msg)
{
	struct msg_fence *fences;
	const Copyhold__Fences *pb = codec_unpack(codec, frame, &copyhold__fences__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->n_fences > REPORT_CHUNKS_MAX)
		return too_many_chunks;
	fences = codec_received_array(codec, pb->n_fences, sizeof *fences);
	if (!fences)
		return codec_malformed;
	for (size_t i = 0; i < pb->n_fences; i++)
		fences[i] = (struct msg_fence){
			.chunk = pb->fences[i]->chunk,
			.epoch = pb->fences[i]->epoch,
		};
	msg->u.report_ok = (struct msg_report_ok){(uint32_t)pb->n_fences, fences};
	return NULL;
}

/* ---- REPAIR_JOB ---- */

static const char *repair_job_check(const struct msg *msg)
{
	return chunk_bytes_is_legal(msg->u.repair_job.chunk_bytes) ? NULL : "no such chunk size";
}

static size_t repair_job_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_repair_job *r = &msg->u.repair_job;
	Copyhold__RepairJob pb;

	copyhold__repair_job__init(&pb);
	pb.volume = r->volume;
	pb.chunk = r->chunk;
	pb.chunk_bytes = r->chunk_bytes;
	pb.scrub = r->scrub;
	return codec_pack(codec, &pb.base);
}

static const char *repair_job_decode(struct codec *codec, const struct io_frame *frame,
				     struct msg *msg)
{
	const Copyhold__RepairJob *pb =
		codec_unpack(codec, frame, &copyhold__repair_job__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.repair_job = (struct msg_repair_job){
		.volume = pb->volume,
		.chunk = pb->chunk,
		.chunk_bytes = pb->chunk_bytes,
		.scrub = pb->scrub,
	};
	return NULL;
}

/* ---- SCRUBBED ---- */

static const char *scrubbed_check(const struct msg *msg)
{
	const struct msg_scrubbed *r = &msg->u.scrubbed;

	if (r->units > CHUNK_BYTES_MAX / UNIT_BYTES || r->units_done > r->units)
		return "more units than a chunk has";
	for (uint32_t i = 0; i < r->named_count; i++)
		if (r->named[i] >= CHUNK_BYTES_MAX / BLOCK_BYTES)
			return "a block beyond the largest chunk";
	return NULL;
}

static size_t scrubbed_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_scrubbed *r = &msg->u.scrubbed;
	Copyhold__ScrubbedReplica *replicas =
		codec_sending_array(codec, r->replica_count, sizeof *replicas);
	Copyhold__Scrubbed pb;

	copyhold__scrubbed__init(&pb);
	pb.chunk = r->chunk;
	pb.epoch = r->epoch;
	pb.whole = r->whole;
	pb.last = r->last;
	pb.units = r->units;
	pb.units_done = r->units_done;
	pb.unrepairable = r->unrepairable;
	pb.differing = r->differing;
	pb.n_named = r->named_count;
	pb.named = (uint32_t *)(uintptr_t)r->named; /* protobuf-c only reads it */
	pb.n_replicas = r->replica_count;
	pb.replicas = codec_sending_array(codec, r->replica_count, sizeof *pb.replicas);
	for (uint32_t i = 0; i < r->replica_count; i++) {
		copyhold__scrubbed_replica__init(&replicas[i]);
		replicas[i].cid = r->replicas[i].cid;
		replicas[i].bad = r->replicas[i].bad;
		replicas[i].repaired = r->replicas[i].repaired;
		replicas[i].read = r->replicas[i].read;
		pb.replicas[i] = &replicas[i];
	}
	return codec_pack(codec, &pb.base);
}

static const char *scrubbed_decode(struct codec *codec, const struct io_frame *frame,
				   struct msg *msg)
{
	const Copyhold__Scrubbed *pb = codec_unpack(codec, frame, &copyhold__scrubbed__descriptor);
	struct msg_scrubbed *r = &msg->u.scrubbed;

	if (!pb)
		return codec_malformed;
	if (pb->n_replicas > REPLICAS_MAX)
		return "too many replicas";
	if (pb->n_named > SCRUBBED_NAMED_MAX)
		return "too many damaged blocks are named";
	r->chunk = pb->chunk;
	r->epoch = pb->epoch;
	r->whole = pb->whole;
	r->last = pb->last;
	r->units = pb->units;
	r->units_done = pb->units_done;
	r->unrepairable = pb->unrepairable;
	r->differing = pb->differing;
	r->named_count = (uint32_t)pb->n_named;
	if (pb->n_named)
		memcpy(r->named, pb->named, pb->n_named * sizeof r->named[0]);
	r->replica_count = (uint32_t)pb->n_replicas;
	for (size_t i = 0; i < pb->n_replicas; i++)
		r->replicas[i] = (struct msg_scrubbed_replica){
			.cid = pb->replicas[i]->cid,
			.bad = pb->replicas[i]->bad,
			.repaired = pb->replicas[i]->repaired,
			.read = pb->replicas[i]->read,
		};
	return NULL;
}

/* ---- DELETE ---- */

static size_t delete_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Delete pb;

	copyhold__delete__init(&pb);
	pb.chunk = msg->u.delete_.chunk;
	pb.commit = msg->u.delete_.commit;
	return codec_pack(codec, &pb.base);
}

static const char *delete_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	const Copyhold__Delete *pb = codec_unpack(codec, frame, &copyhold__delete__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.delete_ = (struct msg_delete){.chunk = pb->chunk, .commit = pb->commit};
	return NULL;
}

const struct codec_handler codec_chunk_handlers[CODEC_TYPES] = {
	[MSG_TABLE] = {HANDLER(table)},
	[MSG_TABLE_OK] = {HANDLER(chunks), .check = chunks_check, .answer = true},
	[MSG_LEASE] = {HANDLER(lease), .check = lease_check},
	[MSG_LEASE_OK] = {HANDLER(chunks), .check = chunks_check, .answer = true},
	[MSG_LEASE_RETURN] = {HANDLER(lease_return)},
	[MSG_LEASE_RETURN_OK] = {HANDLER(lease_return), .answer = true},
	[MSG_CHANGE] = {HANDLER(change), .check = change_check},
	[MSG_CHANGE_OK] = {HANDLER(list), .check = list_check, .answer = true},
	[MSG_REPORT] = {HANDLER(report), .check = report_check},
	[MSG_REPORT_OK] = {HANDLER(report_ok), .check = report_ok_check, .answer = true},
	[MSG_LIST] = {HANDLER(list), .check = list_check},
	[MSG_REPAIR_JOB] = {HANDLER(repair_job), .check = repair_job_check},
	[MSG_SCRUBBED] = {HANDLER(scrubbed), .check = scrubbed_check},
	[MSG_DELETE] = {HANDLER(delete)},
};
