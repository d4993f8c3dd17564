/*
 * owner_scrub_unit.c - reading every copy of one unit and comparing them: for the scrub of a chunk (owner_scrub.c), or because a read met a
 * bad block.
 *
 * A unit is read at every ACTIVE replica by one request, ordered like a COPY: it waits for writes in flight there, and later ones wait for
 * its end, so that what is compared is of one moment. Then, block by block (judge):
 *
 *   good somewhere, bad elsewhere        the good copy goes to those that have a bad one, by REPAIR; the version stays
 *   good everywhere, but not the same    what most of them have goes to the others; without a majority it is named, nobody guesses
 *   good nowhere                         named
 *   the unit is older at one replica     it has lost a write that it had answered: to be evicted, and filled again by versions, if
 *                                        enough others are left; else named
 */
#include "replica-engine/core/owner_scrub.h"

#include "common/base/crc.h"

/* ---- results ---- */

static struct msg_scrubbed_replica *result_of(struct msg_scrubbed *result, uint32_t cid)
{
	for (uint32_t i = 0; i < result->replica_count; i++) {
		if (result->replicas[i].cid == cid)
			return &result->replicas[i];
	}
	if (result->replica_count == REPLICAS_MAX)
		return NULL;
	result->replicas[result->replica_count] = (struct msg_scrubbed_replica){.cid = cid};
	return &result->replicas[result->replica_count++];
}

static void result_add(struct msg_scrubbed *result, uint32_t cid, uint64_t blocks, uint32_t bad,
		       uint32_t repaired)
{
	struct msg_scrubbed_replica *replica = result_of(result, cid);

	if (!replica)
		return;
	replica->read += blocks;
	replica->bad += bad;
	replica->repaired += repaired;
}

static void result_name(struct msg_scrubbed *result, uint32_t block)
{
	if (result->named_count < SCRUBBED_NAMED_MAX)
		result->named[result->named_count++] = block;
}

/* ---- one unit ---- */

static struct scrub_unit *unit_of(struct owner_request *r)
{
	assert(r->operation == OWNER_SCRUB);
	return container_of(r, struct scrub_unit, r);
}

struct owner_scrub *scrub_get(struct owner *o)
{
	if (o->scrub)
		return o->scrub;
	o->scrub = xcalloc(1, sizeof *o->scrub);
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++)
		o->scrub->units[i].r.state = OWNER_REQUEST_DONE;
	return o->scrub;
}

static bool unit_under_way(const struct owner_scrub *scrub, uint32_t unit)
{
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++) {
		if (scrub->units[i].r.state != OWNER_REQUEST_DONE && scrub->units[i].r.unit == unit)
			return true;
	}
	return false;
}

bool scrub_unit_new(struct step *s, uint32_t unit, bool whole)
{
	struct owner_scrub *scrub = scrub_get(s->o);

	if (unit_under_way(scrub, unit))
		return false;
	for (unsigned i = 0; i < SCRUB_UNITS_MAX; i++) {
		struct scrub_unit *u = &scrub->units[i];

		if (u->r.state != OWNER_REQUEST_DONE)
			continue;
		memset(u, 0, sizeof *u);
		u->whole = whole;
		scrub->under_way += whole;
		u->r.operation = OWNER_SCRUB;
		u->r.unit = unit;
		u->r.offset = unit * UNIT_BYTES;
		u->r.bytes = UNIT_BYTES;
		owner_admit(s, &u->r);
		return true;
	}
	return false;
}

void owner_scrub_unit(struct step *s, uint32_t unit)
{
	scrub_unit_new(s, unit, false);
}

static void part_free(struct part *part)
{
	slice_unref(&part->data);
	slice_unref(&part->packed);
}

void scrub_unit_end(struct step *s, struct scrub_unit *u, bool complete)
{
	struct owner_scrub *scrub = s->o->scrub;

	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		part_free(&u->parts[i]);
	if (u->r.state != OWNER_REQUEST_DONE)
		owner_unlink(s, &u->r);
	if (!u->whole)
		return;
	scrub->under_way--;
	s->o->counters.scrubbed_units += complete;
	if (complete && bit_get(scrub->wanted, u->r.unit)) {
		bit_clear(scrub->wanted, u->r.unit);
		scrub->result.units_done++;
	}
}

void owner_scrub_send(struct step *s, struct owner_request *r)
{
	struct owner *o = s->o;
	struct scrub_unit *u = unit_of(r);
	bool any = false;

	owner_leave_ready(o, r, OWNER_REQUEST_READING);
	r->sent_ns = s->now_ns;
	FOR_EACH_SLOT (o, i) {
		struct msg *msg;

		if (!o->slots[i].counts || !o->slots[i].streaming)
			continue;
		msg = owner_emit_message(s, i, MSG_READ);
		msg->u.read.chunk = o->chunk;
		msg->u.read.epoch = o->epoch;
		msg->u.read.offset = r->block_offset;
		msg->u.read.bytes = r->block_bytes;
		u->parts[i].state = PART_ASKED;
		u->parts[i].id = msg->id;
		any = true;
	}
	if (!any)
		scrub_unit_end(s, u, false);
}

static void part_take(const struct owner *o, struct part *part, uint32_t unit,
		      const struct msg *msg)
{
	const struct msg_read_ok *ok = &msg->u.read_ok;
	const uint8_t *bytes = slice_data(msg->payload);

	part->state = PART_READ;
	if (msg->status == WIRE_DISK_ERROR) {
		part->unreadable = true;
		part->bad = UINT16_MAX;
		return;
	}
	part->version = ok->version;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		uint16_t bit = (uint16_t)(1u << b);

		if (ok->bad_blocks && bit_get(ok->bad_blocks, b)) {
			part->bad |= bit;
		} else if (ok->all_zero || (ok->zero_blocks && bit_get(ok->zero_blocks, b))) {
			part->zero |= bit;
		} else {
			part->crcs[b] = ok->crcs[b];
			if (crc_block(o->root_chunk, unit * UNIT_BLOCKS + b,
				      bytes + (size_t)b * BLOCK_BYTES) != ok->crcs[b])
				part->bad |= bit;
		}
	}
	if (msg->payload.bytes)
		part->data = slice_ref(msg->payload);
}

/* What two good copies of a block are compared by. */
static bool block_equal(const struct part *a, const struct part *b, unsigned block)
{
	bool zero_a = a->zero >> block & 1, zero_b = b->zero >> block & 1;

	return zero_a == zero_b && (zero_a || a->crcs[block] == b->crcs[block]);
}

static bool part_compares(const struct part *part, struct version newest)
{
	return part->state == PART_READ &&
	       (part->unreadable || version_equal(part->version, newest));
}

static bool block_is_good(const struct part *part, struct version newest, unsigned block)
{
	return part_compares(part, newest) && !(part->bad >> block & 1);
}

/*
 * The part whose copy of a block most of the good ones have; NULL: none is good, or (*differing) none has a majority.
 */
static struct part *block_source(struct scrub_unit *u, struct version newest, unsigned block,
				 bool *differing)
{
	struct part *best = NULL;
	unsigned best_count = 0, good = 0;

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		unsigned count = 0;

		if (!block_is_good(&u->parts[i], newest, block))
			continue;
		good++;
		for (unsigned j = 0; j < REPLICAS_MAX; j++)
			count += block_is_good(&u->parts[j], newest, block) &&
				 block_equal(&u->parts[i], &u->parts[j], block);
		if (count > best_count) {
			best = &u->parts[i];
			best_count = count;
		}
	}
	*differing = best && best_count < good && 2 * best_count <= good;
	return *differing ? NULL : best;
}

/* Judges one block; marks in part->repair who is to get it. True if it is damaged beyond repair. */
static bool judge_block(struct scrub_unit *u, struct version newest, unsigned block,
			struct part *sources[UNIT_BLOCKS], struct msg_scrubbed *result)
{
	bool differing, bad = false;
	struct part *source = block_source(u, newest, block, &differing);

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct part *part = &u->parts[i];

		if (!part_compares(part, newest))
			continue;
		if (source && !(part->bad >> block & 1) && !block_equal(part, source, block))
			part->bad |= (uint16_t)(1u << block);
		if (!(part->bad >> block & 1))
			continue;
		bad = true;
		if (source)
			part->repair |= (uint16_t)(1u << block);
	}
	sources[block] = source;
	result->differing += differing;
	result->unrepairable += !source && !differing && bad;
	return !source && (differing || bad);
}

/* The good copies of what one part is to get, side by side. */
static void send_repair(struct step *s, struct scrub_unit *u, unsigned slot, struct version newest,
			struct part *const sources[UNIT_BLOCKS])
{
	struct owner *o = s->o;
	struct part *part = &u->parts[slot];
	struct slice packed = slice_new(UNIT_BYTES);
	struct msg *msg = owner_emit_message(s, slot, MSG_REPAIR);
	uint8_t *to = slice_data(packed);

	msg->u.repair.chunk = o->chunk;
	msg->u.repair.epoch = o->epoch;
	msg->u.repair.unit = u->r.unit;
	msg->u.repair.version = newest;
	msg->u.repair.block_mask = part->repair;
	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		msg->u.repair.crcs[b] = 0;
		if (!(part->repair >> b & 1))
			continue;
		if (sources[b]->zero >> b & 1)
			memset(to, 0, BLOCK_BYTES);
		else
			memcpy(to, slice_data(sources[b]->data) + (size_t)b * BLOCK_BYTES,
			       BLOCK_BYTES);
		msg->u.repair.crcs[b] = crc_block(o->root_chunk, u->r.unit * UNIT_BLOCKS + b, to);
		to += BLOCK_BYTES;
	}
	packed.bytes = (uint32_t)(to - slice_data(packed));
	part->packed = packed;
	msg->payload = packed;
	part->id = msg->id;
	part->state = PART_MENDED;
}

/* It answered a write that it has no longer. */
static void lost_write(struct step *s, unsigned slot)
{
	if (owner_others_synced(s, slot) < s->o->min_replicas)
		return;
	owner_slot_failed(s, slot);
	owner_stop_stream(s->o, slot);
}

static struct version newest_version(const struct scrub_unit *u)
{
	struct version newest = {0, 0};

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		const struct part *part = &u->parts[i];

		if (part->state == PART_READ && !part->unreadable &&
		    version_compare(part->version, newest) > 0)
			newest = part->version;
	}
	return newest;
}

static uint64_t blocks_read(const struct part *part)
{
	return UNIT_BLOCKS - (unsigned)__builtin_popcount(part->zero);
}

/* Every copy that can be had is here. True if a REPAIR is under way now. */
static bool judge(struct step *s, struct scrub_unit *u, struct msg_scrubbed *result)
{
	struct owner *o = s->o;
	struct part *sources[UNIT_BLOCKS] = {NULL};
	struct version newest = newest_version(u);
	bool mending = false;

	for (unsigned b = 0; b < UNIT_BLOCKS; b++) {
		if (judge_block(u, newest, b, sources, result))
			result_name(result, u->r.unit * UNIT_BLOCKS + b);
	}
	FOR_EACH_SLOT (o, i) {
		struct part *part = &u->parts[i];

		if (part->state != PART_READ)
			continue;
		if (!part_compares(part, newest)) {
			result->differing++;
			result_name(result, u->r.unit * UNIT_BLOCKS);
			lost_write(s, i);
			continue;
		}
		result_add(result, o->slots[i].cid, blocks_read(part),
			   (uint32_t)__builtin_popcount(part->bad), 0);
	}
	FOR_EACH_SLOT (o, i) {
		if (u->parts[i].state != PART_READ || !u->parts[i].repair ||
		    !o->slots[i].peer->connection)
			continue;
		send_repair(s, u, i, newest, sources);
		mending = true;
	}
	if (!mending)
		return false;
	u->r.state = OWNER_REQUEST_WRITING;
	u->r.sent_ns = s->now_ns;
	return true;
}

static bool any_part(const struct scrub_unit *u, enum part_state state)
{
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		if (u->parts[i].state == state)
			return true;
	}
	return false;
}

void scrub_unit_progress(struct step *s, struct scrub_unit *u)
{
	struct owner_scrub *scrub = s->o->scrub;
	struct msg_scrubbed single = {0};
	bool read = any_part(u, PART_READ), mending;

	if (u->r.state == OWNER_REQUEST_WRITING) {
		if (!any_part(u, PART_MENDED))
			scrub_unit_end(s, u, true);
		return;
	}
	if (u->r.state != OWNER_REQUEST_READING || any_part(u, PART_ASKED))
		return;
	if (!read || (any_part(u, PART_GONE) && u->whole && scrub->pass + 1 < SCRUB_PASSES)) {
		scrub_unit_end(s, u, false); /* again, in the next pass */
		return;
	}
	mending = judge(s, u, u->whole ? &scrub->result : &single);
	if (!u->whole && (mending || single.unrepairable || single.differing))
		scrub_tell(s, &single, false);
	if (!mending)
		scrub_unit_end(s, u, true);
}

static void repaired(struct step *s, struct scrub_unit *u, unsigned slot, enum wire_status status)
{
	struct part *part = &u->parts[slot];
	uint32_t blocks = (uint32_t)__builtin_popcount(part->repair);
	struct msg_scrubbed single = {0};

	part->state = PART_NONE;
	if (status != WIRE_OK)
		return;
	s->o->counters.repaired_blocks += blocks;
	if (u->whole) {
		result_add(&s->o->scrub->result, s->o->slots[slot].cid, 0, 0, blocks);
	} else {
		result_add(&single, s->o->slots[slot].cid, 0, 0, blocks);
		scrub_tell(s, &single, false);
	}
}

static void read_answered(struct step *s, struct scrub_unit *u, unsigned slot,
			  const struct msg *msg)
{
	const struct msg_read_ok *ok = &msg->u.read_ok;
	struct part *part = &u->parts[slot];
	bool good = msg->status == WIRE_OK || msg->status == WIRE_BAD_BLOCK;

	if ((good && ok->offset == u->r.block_offset && ok->bytes == u->r.block_bytes) ||
	    msg->status == WIRE_DISK_ERROR)
		part_take(s->o, part, u->r.unit, msg);
	else
		part->state = PART_GONE;
}

void scrub_unit_answered(struct step *s, struct scrub_unit *u, unsigned slot, const struct msg *msg)
{
	enum part_state state = u->parts[slot].state;

	if (msg->type == MSG_READ_OK && state == PART_ASKED)
		read_answered(s, u, slot, msg);
	else if (msg->type == MSG_REPAIR_OK && state == PART_MENDED)
		repaired(s, u, slot, msg->status);
	scrub_unit_progress(s, u);
}
