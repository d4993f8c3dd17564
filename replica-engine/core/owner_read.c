/*
 * owner_read.c - grants, and reading from the best replica, the next one, and blocks that are bad.
 *
 * A user's read (and the reading half of a write below a block) is sent only while a grant of every ACTIVE replica is valid; the
 * replica checks the epoch when it serves. Each block that comes back is checked here. Blocks that are bad in one
 * answer are taken from the next replica; the unit is then looked at in all of them, and bad copies repaired (owner_scrub_unit.c).
 */
#include "replica-engine/core/owner_private.h"

#include "common/base/crc.h"

bool owner_grant_valid(const struct owner_slot *p, uint64_t now_ns)
{
	if (!p->peer->connection || p->covered_connection != p->peer->connection || p->taken_out)
		return false;
	return now_ns < MAX(p->covered_asked_ns, p->peer->asked_ns) + GRANT_NS;
}

bool owner_may_read(const struct owner *o, uint64_t now_ns)
{
	if (o->phase != OWNER_IO)
		return false;
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].counts && !owner_grant_valid(&o->slots[i], now_ns))
			return false;
	}
	return true;
}

/* Which copy of its unit may a COPY be taken from? Rolling: only from replicas whose version is the reference's. */
static bool may_serve(const struct owner *o, unsigned i, const struct owner_request *r)
{
	const struct owner_slot *p = &o->slots[i];

	if (!p->counts || !p->peer->connection || r->tried >> i & 1)
		return false;
	if (r->operation != OWNER_COPY)
		return p->streaming;
	if (r->destination == i)
		return false;
	if (r->purpose != COPY_TO_ROLL)
		return p->streaming && p->answered_generation >= r->generation;
	if (p->state != SLOT_SYNCED || !p->versions)
		return false;
	return (int)i == o->reference ||
	       (version_equal(p->versions[r->unit], o->slots[o->reference].versions[r->unit]) &&
		!bit_get(p->invalid, r->unit));
}

static int preference(const struct owner *o, unsigned i, const struct owner_request *r)
{
	const struct owner_slot *p = &o->slots[i];
	int score = 0;

	if (r->operation == OWNER_COPY && r->purpose == COPY_TO_ROLL && (int)i == o->reference)
		score += 8;
	if (!p->peer->slow)
		score += 4;
	if (p->peer->local)
		score += 2;
	/* Chunks of a volume spread their reads over the replicas. */
	if (o->chunk % o->slot_end == i)
		score += 1;
	return score;
}

bool owner_send_read(struct step *s, struct owner_request *r)
{
	struct owner *o = s->o;
	int best = -1;
	struct msg *msg;

	FOR_EACH_SLOT (o, i) {
		if (may_serve(o, i, r) &&
		    (best < 0 || preference(o, i, r) > preference(o, (unsigned)best, r)))
			best = (int)i;
	}
	if (best < 0)
		return false;
	msg = owner_emit_message(s, (unsigned)best, MSG_READ);
	msg->u.read.chunk = o->chunk;
	msg->u.read.epoch = o->epoch;
	msg->u.read.offset = r->block_offset;
	msg->u.read.bytes = r->block_bytes;
	r->id = msg->id;
	r->reader = (uint8_t)best;
	r->sent_ns = s->now_ns;
	return true;
}

/* Which unit of the request's range a block of it lies in. */
static unsigned unit_in_range(const struct owner_request *r, uint32_t block)
{
	return (r->block_offset % UNIT_BYTES / BLOCK_BYTES + block) / UNIT_BLOCKS;
}

/* One answer against the blocks that are still missing: checks each, copies it unless all came well at once. */
static bool take_blocks(struct owner *o, struct owner_request *r, const struct msg *msg)
{
	const struct msg_read_ok *ok = &msg->u.read_ok;
	uint32_t first = r->block_offset / BLOCK_BYTES, blocks = r->block_bytes / BLOCK_BYTES;
	const uint8_t *bytes = slice_data(msg->payload);
	bool all = true;

	for (uint32_t i = 0; i < blocks; i++) {
		bool zero = ok->all_zero || (ok->zero_blocks && bit_get(ok->zero_blocks, i));
		bool bad = ok->bad_blocks && bit_get(ok->bad_blocks, i);

		if (!bit_get(r->missing, i))
			continue;
		if (!bad && !zero) {
			uint32_t crc = crc_block(o->root_chunk, first + i,
						 bytes + (size_t)i * BLOCK_BYTES);

			bad = crc != ok->crcs[i];
		}
		if (bad) {
			o->counters.checksum_errors++;
			r->bad_units |= 1u << unit_in_range(r, i);
			all = false;
			continue;
		}
		bit_clear(r->missing, i);
		if (zero)
			bit_set(r->zero, i);
		else
			r->crcs[i] = ok->crcs[i];
		if (!r->partial)
			continue;
		if (zero)
			memset(slice_data(r->data) + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
		else
			memcpy(slice_data(r->data) + (size_t)i * BLOCK_BYTES,
			       bytes + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
	}
	return all;
}

/* The first answer left blocks missing: what came well moves to a buffer of our own. */
static void keep_partial(struct owner_request *r, const struct msg *msg)
{
	uint32_t blocks = r->block_bytes / BLOCK_BYTES;

	r->partial = true;
	r->data = slice_new(r->block_bytes);
	memset(slice_data(r->data), 0, r->block_bytes);
	for (uint32_t i = 0; i < blocks; i++) {
		if (!bit_get(r->missing, i) && !bit_get(r->zero, i))
			memcpy(slice_data(r->data) + (size_t)i * BLOCK_BYTES,
			       slice_data(msg->payload) + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
	}
}

/* The whole block that the user's bytes of a write below a block go into. */
static void merge(struct step *s, struct owner_request *r, struct slice read)
{
	struct owner *o = s->o;
	struct slice whole = slice_new(r->block_bytes);

	assert(r->block_bytes == BLOCK_BYTES);
	if (bit_get(r->zero, 0))
		memset(slice_data(whole), 0, BLOCK_BYTES);
	else
		memcpy(slice_data(whole), slice_data(read), BLOCK_BYTES);
	memcpy(slice_data(whole) + (r->offset - r->block_offset), slice_data(r->data), r->bytes);
	slice_unref(&r->data);
	r->data = whole;
	r->crcs_valid = false;
	r->merged = true;
	r->state = OWNER_REQUEST_READY;
	TAILQ_INSERT_TAIL(&o->ready, r, queue);
	r->queued = true;
}

static bool is_write(const struct owner_request *r)
{
	return r->operation == OWNER_WRITE;
}

/* Units that had bad blocks somewhere are looked at in all replicas: repaired, or known to be damaged. */
static void repair_units(struct step *s, const struct owner_request *r)
{
	for (unsigned i = 0; r->bad_units >> i; i++) {
		if (r->bad_units >> i & 1)
			owner_scrub_unit(s, r->block_offset / UNIT_BYTES + i);
	}
}

/* A user's read is complete: `read` covers its blocks (reference: the caller's). */
static void deliver(struct step *s, struct owner_request *r, struct slice read, bool all_zero)
{
	uint32_t blocks = r->block_bytes / BLOCK_BYTES;

	if (all_zero) {
		r->data = (struct slice){0};
		owner_complete(s, r, WIRE_OK);
		return;
	}
	for (uint32_t i = 0; i < blocks; i++) {
		if (bit_get(r->zero, i))
			memset(slice_data(read) + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
	}
	read.offset += r->offset - r->block_offset;
	read.bytes = r->bytes;
	r->data = slice_ref(read);
	owner_complete(s, r, WIRE_OK);
}

static void finish_read(struct step *s, struct owner_request *r, const struct msg *msg)
{
	struct slice read = r->partial ? r->data : msg->payload;
	bool partial = r->partial, all_zero = msg->u.read_ok.all_zero && !partial;

	if (r->operation == OWNER_COPY) {
		if (!partial)
			r->data = slice_ref(read);
		owner_copy_read_done(s, r);
		return;
	}
	repair_units(s, r);
	if (is_write(r)) {
		merge(s, r, read);
		return;
	}
	if (partial)
		r->data = (struct slice){0};
	deliver(s, r, read, all_zero);
	if (partial)
		slice_unref(&read);
}

static void begin_read(struct owner_request *r)
{
	memset(r->missing, 0xff, sizeof r->missing);
	memset(r->zero, 0, sizeof r->zero);
}

/* Nobody is left to ask. Blocks that were bad everywhere fail the read; a COPY takes them along as known bad. */
static void exhausted(struct step *s, struct owner_request *r)
{
	s->o->counters.read_errors++;
	if (r->operation != OWNER_COPY) {
		repair_units(s, r);
		owner_complete(s, r, WIRE_BAD_BLOCK);
		return;
	}
	if (!r->bad_slots || r->tried != r->bad_slots) {
		owner_copy_end(
			s, r,
			WIRE_DISK_ERROR); /* one said something else: nothing is known of its copy */
		return;
	}
	if (!r->partial)
		begin_read(r);
	owner_copy_unreadable(s, r);
}

/* From the start, when the pump lets it. */
static void begin_again(struct owner *o, struct owner_request *r)
{
	if (r->partial)
		slice_unref(&r->data);
	r->partial = false;
	r->state = OWNER_REQUEST_READY;
	r->id = 0;
	TAILQ_INSERT_HEAD(&o->ready, r, queue);
	r->queued = true;
}

/* Is there one that could not be asked, but may be later? */
static bool may_come_back(const struct owner *o, const struct owner_request *r)
{
	FOR_EACH_SLOT (o, i) {
		if (o->slots[i].counts && !(r->tried >> i & 1) &&
		    !(r->operation == OWNER_COPY && r->destination == i))
			return true;
	}
	return false;
}

static void read_again(struct step *s, struct owner_request *r)
{
	r->tried |= 1u << r->reader;
	if (owner_send_read(s, r))
		return;
	/* Being slow is not being bad. */
	r->tried &= ~r->passed_by;
	r->passed_by = 0;
	if (owner_send_read(s, r))
		return;
	if (may_come_back(s->o, r) && !(r->operation == OWNER_COPY && r->purpose == COPY_TO_ROLL))
		begin_again(s->o, r);
	else
		exhausted(s, r);
}

void owner_read_answered(struct step *s, unsigned slot, const struct msg *msg)
{
	struct owner *o = s->o;
	struct owner_request *r = owner_request_by_id(o, msg->id);
	const struct msg_read_ok *ok = &msg->u.read_ok;
	bool all;

	if (!r || r->state != OWNER_REQUEST_READING || r->reader != slot ||
	    r->operation == OWNER_EXTENTS)
		return;
	if ((msg->status != WIRE_OK && msg->status != WIRE_BAD_BLOCK) ||
	    ok->offset != r->block_offset || ok->bytes != r->block_bytes) {
		if (msg->status == WIRE_DISK_ERROR) {
			r->bad_slots |= 1u << slot;
			r->bad_units |=
				(1u << (unit_in_range(r, r->block_bytes / BLOCK_BYTES - 1) + 1)) -
				1;
		}
		read_again(s, r);
		return;
	}
	if (!r->partial) {
		begin_read(r);
		r->version = ok->version;
	}
	all = take_blocks(o, r, msg);
	if (all) {
		finish_read(s, r, msg);
		return;
	}
	r->bad_slots |= 1u << slot;
	if (!r->partial && !is_write(r)) /* below a block: there is nothing to keep */
		keep_partial(r, msg);
	read_again(s, r);
}

void owner_redirect_reads(struct step *s, unsigned slot)
{
	struct owner *o = s->o;
	struct owner_request *r;

	TAILQ_FOREACH (r, &o->requests, link) {
		if (r->state == OWNER_REQUEST_READING && r->reader == slot &&
		    r->operation != OWNER_SCRUB)
			begin_again(o, r);
	}
}

/* ---- which units hold data ---- */

void owner_send_extents(struct step *s, struct owner_request *r)
{
	struct owner *o = s->o;

	FOR_EACH_SLOT (o, i) {
		struct msg *msg;

		if (!o->slots[i].counts || !o->slots[i].streaming || r->tried >> i & 1)
			continue;
		owner_leave_ready(o, r, OWNER_REQUEST_READING);
		msg = owner_emit_message(s, i, MSG_VERSIONS);
		msg->u.versions.chunk = o->chunk;
		msg->u.versions.epoch = o->epoch;
		r->id = msg->id;
		r->reader = (uint8_t)i;
		r->sent_ns = s->now_ns;
		return;
	}
}

void owner_extents_answered(struct step *s, struct owner_request *r, const struct msg *msg)
{
	if (r->operation != OWNER_EXTENTS || r->state != OWNER_REQUEST_READING)
		return;
	if (msg->status != WIRE_OK || msg->u.version_list.unit_count != s->o->unit_count) {
		r->tried |= 1u << r->reader;
		if (may_come_back(s->o, r))
			begin_again(s->o, r);
		else
			owner_complete(s, r, WIRE_DISK_ERROR);
		return;
	}
	r->extents = (uint8_t *)(uintptr_t)msg->u.version_list.allocated;
	owner_complete(s, r, WIRE_OK);
}
