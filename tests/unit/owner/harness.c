/* harness.c - see harness.h. */
#include "tests/unit/owner/harness.h"

#include "common/base/bits.h"
#include "common/base/crc.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct owner_peer *lookup(void *context, uint32_t cid)
{
	struct story *s = context;

	ck_assert(cid > 0 && cid < ARRAY_SIZE(s->peers));
	return &s->peers[cid];
}

void story_begin(struct story *s)
{
	memset(s, 0, sizeof *s);
	s->now_ns = 1000 * NS_PER_S;
	owner_init(&s->o, TEST_CHUNK, TEST_CHUNK, TEST_CHUNK_BYTES);
	s->up.lookup = lookup;
	s->up.context = s;
	for (uint32_t cid = 1; cid < ARRAY_SIZE(s->peers); cid++) {
		s->peers[cid].cid = cid;
		s->peers[cid].free_bytes = UINT64_MAX;
		s->peers[cid].down_since_ns = s->now_ns;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(s->completed); i++)
		s->completed[i] = WIRE_STATUS_COUNT;
}

void story_end(struct story *s)
{
	struct owner_event event = {.kind = OWNER_EVENT_TICK, .now_ns = s->now_ns};

	owner_give_up(&s->o);
	owner_step(&s->o, &event, &s->up);
	for (uint32_t i = 0; i < s->up.count; i++) {
		if (s->up.actions[i].kind == OWNER_COMPLETE)
			slice_unref(&s->up.actions[i].request->data);
	}
	for (unsigned i = 0; i < s->request_count; i++)
		slice_unref(&s->requests[i].data);
	owner_destroy(&s->o);
	owner_update_free(&s->up);
	ck_assert_uint_eq(buf_in_use(), 0);
}

__attribute__((format(printf, 2, 3))) static void note(struct story *s, const char *format, ...)
{
	size_t used = strlen(s->trace);
	va_list ap;

	if (used) {
		used += (size_t)snprintf(s->trace + used, sizeof s->trace - used, "; ");
	}
	va_start(ap, format);
	vsnprintf(s->trace + used, sizeof s->trace - used, format, ap);
	va_end(ap);
}

static void note_message(struct story *s, uint32_t cid, const struct msg *m)
{
	s->last_id[cid][m->type] = m->id;
	switch (m->type) {
	case MSG_WRITE:
		note(s, "%s(%llu)>%u",
		     m->u.write.kind == WRITE_DATA   ? "WRITE"
		     : m->u.write.kind == WRITE_ZERO ? "ZERO"
						     : "DISCARD",
		     (unsigned long long)m->u.write.generation, cid);
		if (m->u.write.kind == WRITE_DATA) {
			for (uint32_t i = 0; i < m->u.write.bytes / BLOCK_BYTES; i++)
				ck_assert_uint_eq(
					m->u.write.crcs[i],
					crc_block(TEST_CHUNK, m->u.write.offset / BLOCK_BYTES + i,
						  slice_data(m->payload) + i * BLOCK_BYTES));
		}
		break;
	case MSG_READ:
		s->last_read[cid] = m->u.read;
		note(s, "READ(%u+%u)>%u", m->u.read.offset, m->u.read.bytes, cid);
		break;
	case MSG_COPY:
		if (m->u.copy.bad_mask)
			note(s, "%s(%u,bad %04x as %llu.%llu)>%u",
			     m->u.copy.mode == COPY_ROLL ? "ROLL" : "FILL", m->u.copy.unit,
			     m->u.copy.bad_mask, (unsigned long long)m->u.copy.version.epoch,
			     (unsigned long long)m->u.copy.version.generation, cid);
		else
			note(s, "%s(%u)>%u", m->u.copy.mode == COPY_ROLL ? "ROLL" : "FILL",
			     m->u.copy.unit, cid);
		break;
	case MSG_REPAIR:
		note(s, "REPAIR(%u,%04x)>%u", m->u.repair.unit, m->u.repair.block_mask, cid);
		break;
	case MSG_JOIN:
	case MSG_MEND_END:
		note(s, "%s(%llu.%llu)>%u", msg_type_name(m->type),
		     (unsigned long long)m->u.position.position.epoch,
		     (unsigned long long)m->u.position.position.generation, cid);
		break;
	default:
		note(s, "%s>%u", msg_type_name(m->type), cid);
		break;
	}
}

/* "SCRUBBED 3/3 1:48-0-0 2:48-1-1": of each replica blocks read, bad, repaired; "unit" instead of the count: of a single one. */
static void note_scrubbed(struct story *s, const struct msg_scrubbed *r)
{
	char text[512] = "unit";
	size_t used;

	if (r->whole)
		snprintf(text, sizeof text, "%u/%u%s", r->units_done, r->units,
			 r->last ? "" : "...");
	for (uint32_t i = 0; i < r->replica_count; i++) {
		used = strlen(text);
		snprintf(text + used, sizeof text - used, " %u:%llu-%u-%u", r->replicas[i].cid,
			 (unsigned long long)r->replicas[i].read, r->replicas[i].bad,
			 r->replicas[i].repaired);
	}
	used = strlen(text);
	if (r->unrepairable)
		used += (size_t)snprintf(text + used, sizeof text - used, " unrepairable %u",
					 r->unrepairable);
	if (r->differing)
		used += (size_t)snprintf(text + used, sizeof text - used, " differing %u",
					 r->differing);
	for (uint32_t i = 0; i < r->named_count; i++)
		used += (size_t)snprintf(text + used, sizeof text - used, " @%u", r->named[i]);
	note(s, "SCRUBBED %s", text);
}

static void note_action(struct story *s, struct owner_action *a)
{
	const struct msg_change *c = &a->msg.u.change;
	unsigned i;

	switch (a->kind) {
	case OWNER_SEND:
		note_message(s, a->cid, &a->msg);
		break;
	case OWNER_ASK_LEASE:
		note(s, "LEASE?");
		break;
	case OWNER_CHANGE:
		note(s, "%s(%u) list %llu synced %u",
		     c->kind == CHANGE_EVICT     ? "EVICT"
		     : c->kind == CHANGE_PROMOTE ? "PROMOTE"
						 : "DROP",
		     c->cid, (unsigned long long)c->list_number, c->synced_count);
		s->last_floor = c->floor;
		break;
	case OWNER_COMPLETE:
		i = (unsigned)(a->request - s->requests);
		ck_assert_uint_lt(i, s->request_count);
		ck_assert_int_eq(s->completed[i], WIRE_STATUS_COUNT); /* once */
		s->completed[i] = a->status;
		note(s, "done %u %s", i, wire_status_name(a->status));
		break;
	case OWNER_LEASE_RETURN:
		note(s, "RETURN floor %llu", (unsigned long long)a->msg.u.lease_return.floor);
		break;
	case OWNER_LEASE_LOST:
		note(s, "LOST");
		break;
	case OWNER_SCRUBBED:
		note_scrubbed(s, &a->msg.u.scrubbed);
		break;
	}
}

static void event(struct story *s, struct owner_event e)
{
	e.now_ns = s->now_ns;
	owner_step(&s->o, &e, &s->up);
	for (uint32_t i = 0; i < s->up.count; i++)
		note_action(s, &s->up.actions[i]);
}

void story_skip(struct story *s)
{
	s->trace[0] = 0;
}

void story_expect(struct story *s, const char *expected, const char *file, int line)
{
	if (strcmp(s->trace, expected) != 0)
		ck_abort_msg("%s:%d:\n  expected: %s\n  happened: %s", file, line, expected,
			     s->trace);
	s->trace[0] = 0;
}

void story_peer_up(struct story *s, uint32_t cid)
{
	s->peers[cid].connection = ++s->now_ns;
	s->peers[cid].down_since_ns = 0;
	s->peers[cid].heard_ns = s->now_ns;
	s->peers[cid].asked_ns = 0;
	event(s, (struct owner_event){.kind = OWNER_EVENT_PEER_UP, .cid = cid});
}

void story_peer_down(struct story *s, uint32_t cid)
{
	s->peers[cid].connection = 0;
	s->peers[cid].down_since_ns = s->now_ns;
	event(s, (struct owner_event){.kind = OWNER_EVENT_PEER_DOWN, .cid = cid});
}

void story_heartbeats(struct story *s)
{
	for (uint32_t cid = 1; cid < ARRAY_SIZE(s->peers); cid++) {
		if (!s->peers[cid].connection)
			continue;
		s->peers[cid].asked_ns = s->now_ns;
		s->peers[cid].heard_ns = s->now_ns;
		event(s, (struct owner_event){.kind = OWNER_EVENT_GRANTED, .cid = cid});
	}
}

static void wait_ms(struct story *s, uint64_t ms, bool heartbeats)
{
	for (uint64_t t = 0; t < ms; t += 100) {
		s->now_ns += 100 * NS_PER_MS;
		if (heartbeats)
			story_heartbeats(s);
		event(s, (struct owner_event){.kind = OWNER_EVENT_TICK});
	}
}

void story_wait_ms(struct story *s, uint64_t ms)
{
	wait_ms(s, ms, true);
}

void story_wait_silent_ms(struct story *s, uint64_t ms)
{
	wait_ms(s, ms, false);
}

static struct msg_chunk chunk_of(const struct story *s, const char *list, uint64_t number)
{
	struct msg_chunk c = {.chunk = TEST_CHUNK,
			      .root_chunk = TEST_CHUNK,
			      .epoch = s->o.epoch,
			      .list_number = number,
			      .min_replicas = 2};

	for (const char *p = list; *p; p += p[0] == ' ') {
		struct msg_list_entry *e = &c.replicas[c.replica_count++];

		e->cid = (uint32_t)(*p++ - '0');
		e->state = *p == 'F' ? REPLICA_FILLING : REPLICA_ACTIVE;
		e->leaving = *p++ == 'L';
		e->commit = 1;
		if (*p == '\'') { /* created again */
			e->commit = number;
			p++;
		}
	}
	return c;
}

void story_grant(struct story *s, uint64_t epoch, const char *list, uint64_t number, uint64_t floor)
{
	struct msg_chunk c = chunk_of(s, list, number);

	c.epoch = epoch;
	c.floor = floor;
	event(s, (struct owner_event){.kind = OWNER_EVENT_LEASE, .chunk = &c});
}

void story_list(struct story *s, const char *list, uint64_t number)
{
	struct msg_chunk c = chunk_of(s, list, number);

	event(s, (struct owner_event){.kind = OWNER_EVENT_LIST, .chunk = &c});
}

void story_changed(struct story *s, enum wire_status status, const char *list, uint64_t number)
{
	struct msg m = {.type = MSG_CHANGE_OK, .status = status};

	m.u.list.chunk = chunk_of(s, list, number);
	event(s, (struct owner_event){.kind = OWNER_EVENT_CHANGED, .status = status, .msg = &m});
}

static void message(struct story *s, uint32_t cid, struct msg *m)
{
	s->peers[cid].heard_ns = s->now_ns;
	event(s, (struct owner_event){.kind = OWNER_EVENT_MESSAGE, .cid = cid, .msg = m});
}

static void synced(struct story *s, uint32_t cid, uint64_t epoch, uint64_t generation,
		   uint64_t digest, bool mending)
{
	struct msg m = {.type = MSG_SYNC_OK, .id = s->last_id[cid][MSG_SYNC]};

	m.u.sync_ok.chunk = TEST_CHUNK;
	m.u.sync_ok.epoch = s->o.epoch;
	m.u.sync_ok.position = (struct version){epoch, generation};
	m.u.sync_ok.digest = digest;
	m.u.sync_ok.mending = mending;
	m.u.sync_ok.free_bytes = GIB;
	message(s, cid, &m);
}

void story_synced(struct story *s, uint32_t cid, uint64_t epoch, uint64_t generation,
		  uint64_t digest)
{
	synced(s, cid, epoch, generation, digest, false);
}

void story_synced_mending(struct story *s, uint32_t cid, uint64_t epoch, uint64_t generation,
			  uint64_t digest)
{
	synced(s, cid, epoch, generation, digest, true);
}

void story_answer(struct story *s, uint32_t cid, enum msg_type type, enum wire_status status)
{
	struct msg m = {.type = type, .id = s->last_id[cid][type - 1], .status = status};

	if (type == MSG_SYNC_OK) {
		m.u.sync_ok.epoch = s->o.epoch;
		m.u.sync_ok.wait_ms = 2500;
	}
	message(s, cid, &m);
}

void story_wrote(struct story *s, uint32_t cid, uint64_t generation, enum wire_status status)
{
	struct msg m = {.type = MSG_WRITE_OK, .status = status};

	m.u.write_ok.chunk = TEST_CHUNK;
	m.u.write_ok.epoch = s->o.epoch;
	m.u.write_ok.generation = generation;
	m.u.write_ok.free_bytes = GIB;
	message(s, cid, &m);
}

void story_versions(struct story *s, uint32_t cid, uint64_t id_of_cid,
		    const struct version *versions)
{
	struct msg m = {.type = MSG_VERSIONS_OK, .id = s->last_id[id_of_cid][MSG_VERSIONS]};

	m.u.version_list.chunk = TEST_CHUNK;
	m.u.version_list.epoch = s->o.epoch;
	m.u.version_list.unit_count = TEST_UNITS;
	m.u.version_list.versions = versions;
	message(s, cid, &m);
}

void story_held(struct story *s, uint32_t cid, unsigned first, unsigned count, uint64_t free_bytes)
{
	struct msg m = {.type = MSG_VERSIONS_OK, .id = s->last_id[cid][MSG_VERSIONS]};
	struct version versions[TEST_UNITS] = {{0, 0}};
	uint8_t bits[TEST_UNITS / 8] = {0};

	for (unsigned i = first; i < first + count; i++)
		bit_set(bits, i);
	m.u.version_list.unit_count = TEST_UNITS;
	m.u.version_list.versions = versions;
	m.u.version_list.allocated = bits;
	m.u.version_list.free_bytes = free_bytes;
	message(s, cid, &m);
}

void story_invalidated(struct story *s, uint32_t cid, unsigned first, unsigned count)
{
	struct msg m = {.type = MSG_INVALIDATE_OK, .id = s->last_id[cid][MSG_INVALIDATE]};
	uint8_t bits[TEST_UNITS / 8] = {0};

	for (unsigned i = first; i < first + count; i++)
		bit_set(bits, i);
	m.u.invalidate_ok.unit_count = TEST_UNITS;
	m.u.invalidate_ok.invalid_count = count;
	m.u.invalidate_ok.invalid = bits;
	message(s, cid, &m);
}

void story_read_status(struct story *s, uint32_t cid, enum wire_status status)
{
	struct msg m = {.type = MSG_READ_OK, .id = s->last_id[cid][MSG_READ], .status = status};

	message(s, cid, &m);
}

/* As story_read, of a unit with this version. */
void story_read_version(struct story *s, uint32_t cid, uint8_t byte, uint32_t bad,
			struct version version)
{
	struct msg m = {.type = MSG_READ_OK, .id = s->last_id[cid][MSG_READ]};
	uint32_t offset = s->last_read[cid].offset, bytes = s->last_read[cid].bytes;

	ck_assert_uint_gt(bytes, 0);
	m.payload = slice_new(bytes);
	memset(slice_data(m.payload), byte, bytes);
	crc_blocks(TEST_CHUNK, offset / BLOCK_BYTES, bytes / BLOCK_BYTES, slice_data(m.payload),
		   s->crcs);
	for (uint32_t i = 0; i < MIN(bytes / BLOCK_BYTES, 32u); i++) {
		if (bad >> i & 1)
			slice_data(m.payload)[i * BLOCK_BYTES + 99] ^= 4;
	}
	m.u.read_ok.chunk = TEST_CHUNK;
	m.u.read_ok.epoch = s->o.epoch;
	m.u.read_ok.offset = offset;
	m.u.read_ok.bytes = bytes;
	m.u.read_ok.version = version;
	m.u.read_ok.crcs = s->crcs;
	message(s, cid, &m);
	slice_unref(&m.payload);
}

void story_read(struct story *s, uint32_t cid, uint8_t byte, uint32_t bad)
{
	story_read_version(s, cid, byte, bad, (struct version){5, 10});
}

unsigned story_request(struct story *s, enum owner_operation operation, uint32_t offset,
		       uint32_t bytes)
{
	unsigned i = s->request_count++;
	struct owner_request *r = &s->requests[i];

	ck_assert_uint_lt(i, ARRAY_SIZE(s->requests));
	r->operation = operation;
	r->offset = offset;
	r->bytes = bytes;
	event(s, (struct owner_event){.kind = OWNER_EVENT_REQUEST, .request = r});
	return i;
}

unsigned story_write(struct story *s, uint32_t offset, uint32_t bytes, uint8_t byte)
{
	struct owner_request *r = &s->requests[s->request_count];

	r->data = slice_new(bytes);
	memset(slice_data(r->data), byte, bytes);
	return story_request(s, OWNER_WRITE, offset, bytes);
}

void story_level(struct story *s, const char *list, uint32_t replicas)
{
	story_begin(s);
	story_grant(s, 5, list, 3, 0);
	for (uint32_t cid = 1; cid <= replicas; cid++) {
		story_peer_up(s, cid);
		story_synced(s, cid, 4, 10, 77);
	}
}

void story_io(struct story *s)
{
	story_level(s, "1A 2A 3A", 3);
	ck_assert_int_eq(s->o.phase, OWNER_IO);
	story_heartbeats(s);
	story_skip(s);
}
