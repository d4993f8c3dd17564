/*
 * random_msg.c - see random_msg.h. Sizes are mostly small and now and then at their limit; numbers are small, at a
 * power of two, or anything, so that the short and the long forms of varints all occur.
 */
#include "tests/lib/random_msg.h"

#include "common/base/bits.h"
#include "proto/codec_internal.h"

#include <stdlib.h>

const enum msg_type random_msg_types[] = {
	MSG_HELLO,
	MSG_HELLO_OK,
	MSG_WRITE,
	MSG_WRITE_OK,
	MSG_READ,
	MSG_READ_OK,
	MSG_COPY,
	MSG_COPY_OK,
	MSG_REPAIR,
	MSG_REPAIR_OK,
	MSG_HEARTBEAT,
	MSG_HEARTBEAT_OK,
	MSG_CREATE,
	MSG_CREATE_OK,
	MSG_SYNC,
	MSG_SYNC_OK,
	MSG_VERSIONS,
	MSG_VERSIONS_OK,
	MSG_INVALIDATE,
	MSG_INVALIDATE_OK,
	MSG_JOIN,
	MSG_JOIN_OK,
	MSG_MEND_BEGIN,
	MSG_MEND_BEGIN_OK,
	MSG_MEND_END,
	MSG_MEND_END_OK,
	MSG_RELEASE,
	MSG_RELEASE_OK,
	MSG_BYE,
	MSG_SESSION,
	MSG_SESSION_OK,
	MSG_KEEPALIVE,
	MSG_KEEPALIVE_OK,
	MSG_ATTACH,
	MSG_ATTACH_OK,
	MSG_DETACH,
	MSG_DETACH_OK,
	MSG_TABLE,
	MSG_TABLE_OK,
	MSG_LEASE,
	MSG_LEASE_OK,
	MSG_LEASE_RETURN,
	MSG_LEASE_RETURN_OK,
	MSG_CHANGE,
	MSG_CHANGE_OK,
	MSG_REPORT,
	MSG_REPORT_OK,
	MSG_ADMIN,
	MSG_ADMIN_OK,
	MSG_VOLUMES,
	MSG_VOLUMES_OK,
	MSG_LIST,
	MSG_REPAIR_JOB,
	MSG_DELETE,
	MSG_SERVERS,
	MSG_DETACHED,
	MSG_RESIZED,
	MSG_SCRUBBED,
};
const size_t random_msg_type_count = ARRAY_SIZE(random_msg_types);

/* What a fill function works with. */
struct fill {
	struct prng *prng;
	struct random_msg *out;
	bool largest;
};

static uint64_t below(struct fill *f, uint64_t bound)
{
	return prng_below(f->prng, bound);
}

static bool coin(struct fill *f)
{
	return prng_chance(f->prng, 1, 2);
}

static uint64_t number(struct fill *f)
{
	uint64_t any = prng_next(f->prng);

	if (f->largest)
		return any | UINT64_C(1) << 63;
	switch (below(f, 4)) {
	case 0:
		return any % 200;
	case 1:
		return UINT64_C(1) << (any % 64);
	case 2:
		return (UINT64_C(1) << (any % 64)) - 1;
	default:
		return any;
	}
}

static uint32_t number32(struct fill *f)
{
	return (uint32_t)number(f);
}

static bool flag(struct fill *f)
{
	return f->largest || coin(f);
}

/* A length of an array from `least` to `most`. */
static uint32_t length(struct fill *f, uint32_t least, uint32_t most)
{
	if (f->largest)
		return most;
	if (prng_chance(f->prng, 1, 50))
		return coin(f) ? most : least;
	return least + (uint32_t)below(f, MIN(most - least, 40u) + 1);
}

static void *memory(struct fill *f, size_t bytes)
{
	struct random_msg *out = f->out;

	assert(out->memory_count < ARRAY_SIZE(out->memory));
	if (bytes == 0)
		return NULL;
	return out->memory[out->memory_count++] = xcalloc(1, bytes);
}

static struct version version(struct fill *f)
{
	return (struct version){number(f), number(f)};
}

static struct uuid uuid(struct fill *f)
{
	if (!f->largest && prng_chance(f->prng, 1, 4))
		return (struct uuid){{0}};
	return uuid_from_random(prng_next(f->prng), prng_next(f->prng));
}

static void characters(struct fill *f, char *to, size_t count, const char *from)
{
	for (size_t i = 0; i < count; i++)
		to[i] = from[below(f, strlen(from))];
	to[count] = 0;
}

static const char printable[] = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCXYZ[\\]^_`abcxyz{|}~";
static const char name_characters[] = "abcxyzABCXYZ0123456789._-";

static void name(struct fill *f, char to[NAME_BYTES])
{
	size_t count = length(f, 1, NAME_BYTES - 1);

	characters(f, to, count, name_characters);
	if (to[0] == '-' || to[0] == '.')
		to[0] = '_';
}

static void name_or_empty(struct fill *f, char to[NAME_BYTES])
{
	if (flag(f))
		name(f, to);
}

static void address(struct fill *f, char to[ADDRESS_BYTES])
{
	characters(f, to, length(f, 0, ADDRESS_BYTES - 1), printable);
}

/* Texts may be of any language and have lines. */
static void text(struct fill *f, char to[TEXT_BYTES])
{
	characters(f, to, length(f, 0, TEXT_BYTES - 1), "abc\n\t\xc3\xa4 .:!");
}

static char *long_text(struct fill *f, size_t most)
{
	size_t count = f->largest ? most : below(f, 500);
	char *to = memory(f, count + 1);

	characters(f, to, count, printable);
	return to;
}

static uint8_t *bitmap(struct fill *f, uint32_t bits)
{
	uint8_t *bytes = memory(f, bitmap_bytes(bits));

	for (uint32_t i = 0; i < bits; i++)
		if (coin(f))
			bit_set(bytes, i);
	return bytes;
}

static uint8_t *bitmap_or_null(struct fill *f, uint32_t bits)
{
	return flag(f) ? bitmap(f, bits) : NULL;
}

static uint32_t *crcs(struct fill *f, uint32_t blocks)
{
	uint32_t *array = memory(f, blocks * sizeof *array);

	for (uint32_t i = 0; i < blocks; i++)
		array[i] = (uint32_t)prng_next(f->prng);
	return array;
}

static void payload(struct fill *f, uint32_t bytes)
{
	struct slice slice = slice_new(bytes);

	for (uint32_t i = 0; i < bytes; i += sizeof(uint64_t)) {
		uint64_t word = prng_next(f->prng);

		memcpy(slice_data(slice) + i, &word, sizeof word);
	}
	f->out->msg.payload = slice;
}

static void range(struct fill *f, uint32_t *offset, uint32_t *bytes)
{
	*bytes = length(f, 1, IO_BLOCKS_MAX) * BLOCK_BYTES;
	*offset = (uint32_t)below(f, (CHUNK_BYTES_MAX - *bytes) / BLOCK_BYTES + 1) * BLOCK_BYTES;
	if (f->largest)
		*offset = (uint32_t)CHUNK_BYTES_MAX - *bytes;
}

static uint32_t unit(struct fill *f)
{
	return f->largest ? UNITS_MAX - 1 : (uint32_t)below(f, UNITS_MAX);
}

static uint64_t chunk_bytes(struct fill *f)
{
	return f->largest ? CHUNK_BYTES_MAX : CHUNK_BYTES_MIN << below(f, 9);
}

/* ---- bodies ---- */

static void hello(struct fill *f, struct msg *msg)
{
	struct msg_hello *h = &msg->u.hello;

	h->protocol_version = number32(f);
	h->role = (enum peer_role)(ROLE_ENGINE + below(f, 4));
	h->cluster = uuid(f);
	h->instance = uuid(f);
	h->self = uuid(f);
	h->expected = uuid(f);
	h->connection = number(f);
	text(f, h->text);
}

static void write(struct fill *f, struct msg *msg)
{
	struct msg_write *w = &msg->u.write;

	w->chunk = number(f);
	w->epoch = number(f);
	w->generation = number(f);
	range(f, &w->offset, &w->bytes);
	w->kind = f->largest ? WRITE_DATA : (enum write_kind)below(f, 3);
	if (w->kind == WRITE_DATA) {
		w->crcs = crcs(f, w->bytes / BLOCK_BYTES);
		payload(f, w->bytes);
	}
}

static void write_ok(struct fill *f, struct msg *msg)
{
	msg->u.write_ok = (struct msg_write_ok){number(f), number(f), number(f), number(f)};
}

static void read(struct fill *f, struct msg *msg)
{
	msg->u.read.chunk = number(f);
	msg->u.read.epoch = number(f);
	range(f, &msg->u.read.offset, &msg->u.read.bytes);
}

static void read_ok(struct fill *f, struct msg *msg)
{
	struct msg_read_ok *r = &msg->u.read_ok;
	uint32_t blocks;

	r->chunk = number(f);
	r->epoch = number(f);
	r->version = version(f);
	range(f, &r->offset, &r->bytes);
	blocks = r->bytes / BLOCK_BYTES;
	if (msg->status != WIRE_OK)
		r->bad_blocks = bitmap_or_null(f, blocks);
	r->all_zero = !f->largest && prng_chance(f->prng, 1, 4);
	if (r->all_zero)
		return;
	r->crcs = crcs(f, blocks);
	r->zero_blocks = bitmap_or_null(f, blocks);
	if (msg->status == WIRE_OK || msg->status == WIRE_BAD_BLOCK || coin(f))
		payload(f, r->bytes);
}

static void copy(struct fill *f, struct msg *msg)
{
	struct msg_copy *c = &msg->u.copy;

	c->chunk = number(f);
	c->epoch = number(f);
	c->unit = unit(f);
	c->mode = (enum copy_mode)below(f, 2);
	c->version = version(f);
	c->zero_mask = (uint16_t)prng_next(f->prng);
	c->bad_mask = (uint16_t)(prng_next(f->prng) & ~c->zero_mask);
	for (unsigned i = 0; i < UNIT_BLOCKS; i++)
		c->crcs[i] = number32(f);
	if (f->largest || coin(f))
		payload(f, UNIT_BYTES);
	else
		c->bad_mask = (uint16_t)~c->zero_mask;
}

static void copy_ok(struct fill *f, struct msg *msg)
{
	msg->u.copy_ok = (struct msg_copy_ok){number(f), number(f), unit(f)};
}

static void repair(struct fill *f, struct msg *msg)
{
	struct msg_repair *r = &msg->u.repair;

	r->chunk = number(f);
	r->epoch = number(f);
	r->unit = unit(f);
	r->version = version(f);
	r->block_mask = f->largest ? UINT16_MAX : (uint16_t)(1 + below(f, UINT16_MAX));
	for (unsigned i = 0; i < UNIT_BLOCKS; i++)
		r->crcs[i] = number32(f);
	payload(f, (uint32_t)__builtin_popcount(r->block_mask) * BLOCK_BYTES);
}

static void heartbeat(struct fill *f, struct msg *msg)
{
	msg->u.heartbeat.sequence = number(f);
}

static void heartbeat_ok(struct fill *f, struct msg *msg)
{
	struct msg_heartbeat_ok *h = &msg->u.heartbeat_ok;
	uint64_t *taken;

	h->sequence = number(f);
	h->taken_count = length(f, 0, HEARTBEAT_TAKEN_MAX);
	h->taken = taken = memory(f, h->taken_count * sizeof *taken);
	for (uint32_t i = 0; i < h->taken_count; i++)
		taken[i] = number(f);
}

static void create(struct fill *f, struct msg *msg)
{
	msg->u.create =
		(struct msg_create){number(f), number(f), number(f), number(f), chunk_bytes(f)};
}

static void sync_(struct fill *f, struct msg *msg)
{
	msg->u.sync = (struct msg_sync){number(f), number(f)};
}

static void sync_ok(struct fill *f, struct msg *msg)
{
	msg->u.sync_ok = (struct msg_sync_ok){
		.chunk = number(f),
		.epoch = number(f),
		.position = version(f),
		.digest = number(f),
		.mending = flag(f),
		.invalid_units = (uint32_t)below(f, UNITS_MAX + 1),
		.free_bytes = number(f),
		.wait_ms = number32(f),
	};
}

static void versions(struct fill *f, struct msg *msg)
{
	msg->u.versions = (struct msg_versions){number(f), number(f)};
}

static void version_list(struct fill *f, struct msg *msg)
{
	struct msg_version_list *v = &msg->u.version_list;
	uint64_t changes = f->largest ? 10 : below(f, 11); /* in ten units */
	struct version *array;

	v->chunk = number(f);
	v->epoch = number(f);
	v->unit_count = length(f, 1, UNITS_MAX);
	v->versions = array = memory(f, v->unit_count * sizeof *array);
	for (uint32_t i = 0; i < v->unit_count; i++)
		array[i] = i > 0 && below(f, 10) >= changes ? array[i - 1] : version(f);
	if (msg->type == MSG_VERSIONS_OK) {
		v->invalid = bitmap_or_null(f, v->unit_count);
		v->allocated = bitmap_or_null(f, v->unit_count);
		v->free_bytes = number(f);
	}
}

static void invalidate_ok(struct fill *f, struct msg *msg)
{
	struct msg_invalidate_ok *i = &msg->u.invalidate_ok;

	i->chunk = number(f);
	i->epoch = number(f);
	i->unit_count = length(f, 1, UNITS_MAX);
	i->invalid = bitmap_or_null(f, i->unit_count);
	i->invalid_count = bitmap_count(i->invalid, i->unit_count);
}

static void position(struct fill *f, struct msg *msg)
{
	msg->u.position = (struct msg_position){number(f), number(f), version(f)};
}

static void nothing(struct fill *f, struct msg *msg)
{
	(void)f;
	(void)msg;
}

static void session(struct fill *f, struct msg *msg)
{
	struct msg_session *s = &msg->u.session;

	s->role = (enum peer_role)(ROLE_ENGINE + below(f, 4));
	name_or_empty(f, s->host);
	s->pid = number32(f);
	s->disk = uuid(f);
	address(f, s->address);
	address(f, s->local_address);
	name_or_empty(f, s->zone);
	name_or_empty(f, s->rack);
	name_or_empty(f, s->node);
	s->capacity_bytes = number(f);
	s->free_bytes = number(f);
	s->newest_commit = number(f);
	s->newest_epoch = number(f);
	s->new_disk = flag(f);
}

static void session_ok(struct fill *f, struct msg *msg)
{
	msg->u.session_ok.cluster = uuid(f);
	msg->u.session_ok.cid = number32(f);
	text(f, msg->u.session_ok.text);
}

static void keepalive(struct fill *f, struct msg *msg)
{
	struct uuid *engines;

	msg->u.keepalive = (struct msg_keepalive){
		.sequence = number(f),
		.free_bytes = number(f),
		.used_bytes = number(f),
		.capacity_bytes = number(f),
		.disk_failed = flag(f),
		.read_errors = number(f),
		.checksum_errors = number(f),
		.write_latency_us = number(f),
		.read_latency_us = number(f),
	};
	if (flag(f)) {
		msg->u.keepalive.stats_json = long_text(f, STATS_JSON_MAX);
		/* An empty text arrives as none. */
		if (msg->u.keepalive.stats_json[0] == 0)
			msg->u.keepalive.stats_json = NULL;
	}
	msg->u.keepalive.engine_count = length(f, 0, ENGINES_HEARD_MAX);
	msg->u.keepalive.engines = engines =
		memory(f, msg->u.keepalive.engine_count * sizeof *engines);
	for (uint32_t i = 0; i < msg->u.keepalive.engine_count; i++)
		engines[i] = uuid(f);
}

static void keepalive_ok(struct fill *f, struct msg *msg)
{
	msg->u.keepalive_ok.sequence = number(f);
}

static void attach(struct fill *f, struct msg *msg)
{
	name(f, msg->u.attach.volume);
	msg->u.attach.mode = coin(f) ? ATTACH_EXCLUSIVE : ATTACH_READ_ONLY;
	msg->u.attach.force = flag(f);
}

static void one_volume(struct fill *f, struct msg_volume *v)
{
	v->volume = number(f);
	v->uuid = uuid(f);
	name(f, v->name);
	v->size_bytes = number(f) / BLOCK_BYTES * BLOCK_BYTES;
	v->chunk_bytes = chunk_bytes(f);
	v->replicas = 1 + (uint32_t)below(f, REPLICAS_MAX);
	v->min_replicas = 1 + (uint32_t)below(f, v->replicas);
	v->table_entries = number(f);
}

static void attach_ok(struct fill *f, struct msg *msg)
{
	one_volume(f, &msg->u.volume);
	text(f, msg->u.volume.text);
}

static void detach(struct fill *f, struct msg *msg)
{
	msg->u.detach.volume = number(f);
}

static void volumes_ok(struct fill *f, struct msg *msg)
{
	struct msg_volumes_ok *v = &msg->u.volumes_ok;
	struct msg_volume *array;

	v->count = length(f, 0, VOLUMES_MAX);
	v->volumes = array = memory(f, v->count * sizeof *array);
	for (uint32_t i = 0; i < v->count; i++)
		one_volume(f, &array[i]);
}

static void replicas(struct fill *f, struct msg_chunk *c)
{
	uint32_t first_cid = number32(f);

	c->replica_count = length(f, 0, REPLICAS_MAX);
	for (uint32_t i = 0; i < c->replica_count; i++)
		c->replicas[i] = (struct msg_list_entry){
			.cid = first_cid + i,
			.state = coin(f) ? REPLICA_ACTIVE : REPLICA_FILLING,
			.dead = flag(f),
			.leaving = flag(f),
			.commit = number(f),
		};
}

static void one_chunk(struct fill *f, struct msg_chunk *c)
{
	c->index = number(f);
	c->chunk = number(f);
	c->root_chunk = number(f);
	c->epoch = number(f);
	c->list_number = number(f);
	c->floor = number(f);
	c->min_replicas = (uint32_t)below(f, REPLICAS_MAX + 1);
	c->status = (enum wire_status)below(f, WIRE_STATUS_COUNT);
	c->other_owner = flag(f);
	replicas(f, c);
}

/* A chunk as the table shows it: the full record of 8192 chunks would not fit a body. */
static void one_table_entry(struct fill *f, struct msg_chunk *c)
{
	c->index = number(f);
	c->chunk = number(f);
	c->root_chunk = number(f);
	c->other_owner = flag(f);
}

static void chunks(struct fill *f, struct msg *msg)
{
	struct msg_chunks *c = &msg->u.chunks;
	bool table = msg->type == MSG_TABLE_OK;
	struct msg_chunk *array;

	c->volume = number(f);
	c->more = flag(f);
	c->count = length(f, 0, table ? TABLE_CHUNKS_MAX : LEASE_CHUNKS_MAX);
	c->chunks = array = memory(f, c->count * sizeof *array);
	for (uint32_t i = 0; i < c->count; i++)
		if (table)
			one_table_entry(f, &array[i]);
		else
			one_chunk(f, &array[i]);
	text(f, c->text);
}

static void table(struct fill *f, struct msg *msg)
{
	msg->u.table = (struct msg_table){number(f), number(f)};
}

static void lease(struct fill *f, struct msg *msg)
{
	struct msg_lease *l = &msg->u.lease;
	uint64_t *array;

	l->volume = number(f);
	l->allocate = flag(f);
	l->repair = flag(f);
	l->count = length(f, 1, LEASE_CHUNKS_MAX);
	l->indexes = array = memory(f, l->count * sizeof *array);
	for (uint32_t i = 0; i < l->count; i++)
		array[i] = number(f);
}

static void lease_return(struct fill *f, struct msg *msg)
{
	msg->u.lease_return = (struct msg_lease_return){number(f), number(f), number(f)};
}

static void change(struct fill *f, struct msg *msg)
{
	struct msg_change *c = &msg->u.change;

	c->kind = (enum change_kind)(CHANGE_EVICT + below(f, 3));
	c->chunk = number(f);
	c->epoch = number(f);
	c->list_number = number(f);
	c->cid = number32(f);
	c->floor = number(f);
	c->synced_count = length(f, 0, REPLICAS_MAX);
	for (uint32_t i = 0; i < c->synced_count; i++)
		c->synced[i] = number32(f);
	text(f, c->text);
}

static void list(struct fill *f, struct msg *msg)
{
	one_chunk(f, &msg->u.list.chunk);
	text(f, msg->u.list.text);
}

static void report(struct fill *f, struct msg *msg)
{
	struct msg_report *r = &msg->u.report;
	struct msg_report_entry *array;

	r->first = flag(f);
	r->last = flag(f);
	r->count = length(f, 0, REPORT_CHUNKS_MAX);
	r->entries = array = memory(f, r->count * sizeof *array);
	for (uint32_t i = 0; i < r->count; i++)
		array[i] = (struct msg_report_entry){number(f), number(f), version(f), number(f),
						     number(f)};
}

static void report_ok(struct fill *f, struct msg *msg)
{
	struct msg_report_ok *r = &msg->u.report_ok;
	struct msg_fence *array;

	r->count = length(f, 0, REPORT_CHUNKS_MAX);
	r->fences = array = memory(f, r->count * sizeof *array);
	for (uint32_t i = 0; i < r->count; i++)
		array[i] = (struct msg_fence){number(f), number(f)};
}

static void repair_job(struct fill *f, struct msg *msg)
{
	msg->u.repair_job =
		(struct msg_repair_job){number(f), number(f), chunk_bytes(f), below(f, 2) != 0};
}

static void scrubbed(struct fill *f, struct msg *msg)
{
	struct msg_scrubbed *r = &msg->u.scrubbed;

	r->chunk = number(f);
	r->epoch = number(f);
	r->whole = below(f, 2) != 0;
	r->last = below(f, 2) != 0;
	r->units = below(f, CHUNK_BYTES_MAX / UNIT_BYTES + 1);
	r->units_done = below(f, r->units + 1);
	r->replica_count = length(f, 0, REPLICAS_MAX);
	for (uint32_t i = 0; i < r->replica_count; i++)
		r->replicas[i] = (struct msg_scrubbed_replica){number32(f), number32(f),
							       number32(f), number(f)};
	r->unrepairable = number32(f);
	r->differing = number32(f);
	r->named_count = length(f, 0, SCRUBBED_NAMED_MAX);
	for (uint32_t i = 0; i < r->named_count; i++)
		r->named[i] = below(f, CHUNK_BYTES_MAX / BLOCK_BYTES);
}

static void delete (struct fill *f, struct msg *msg)
{
	msg->u.delete_ = (struct msg_delete){number(f), number(f)};
}

static void servers(struct fill *f, struct msg *msg)
{
	struct msg_servers *s = &msg->u.servers;
	struct msg_server *array;

	s->count = length(f, 0, SERVERS_MAX);
	s->servers = array = memory(f, s->count * sizeof *array);
	for (uint32_t i = 0; i < s->count; i++) {
		array[i].cid = number32(f);
		array[i].disk = uuid(f);
		address(f, array[i].address);
		address(f, array[i].local_address);
		name_or_empty(f, array[i].host);
		array[i].alive = flag(f);
		array[i].slow = flag(f);
	}
}

static void admin(struct fill *f, struct msg *msg)
{
	char *verb = memory(f, NAME_BYTES);

	name(f, verb);
	msg->u.admin = (struct msg_admin){verb, long_text(f, ADMIN_JSON_MAX)};
}

static void admin_ok(struct fill *f, struct msg *msg)
{
	msg->u.admin_ok.json = long_text(f, ADMIN_JSON_MAX);
}

static void detached(struct fill *f, struct msg *msg)
{
	msg->u.detached.volume = number(f);
	text(f, msg->u.detached.text);
}

static void resized(struct fill *f, struct msg *msg)
{
	msg->u.resized.volume = number(f);
	msg->u.resized.size_bytes = number(f) / BLOCK_BYTES * BLOCK_BYTES;
}

static void (*const fills[CODEC_TYPES])(struct fill *f, struct msg *msg) = {
	[MSG_HELLO] = hello,
	[MSG_HELLO_OK] = hello,
	[MSG_WRITE] = write,
	[MSG_WRITE_OK] = write_ok,
	[MSG_READ] = read,
	[MSG_READ_OK] = read_ok,
	[MSG_COPY] = copy,
	[MSG_COPY_OK] = copy_ok,
	[MSG_REPAIR] = repair,
	[MSG_REPAIR_OK] = copy_ok,
	[MSG_HEARTBEAT] = heartbeat,
	[MSG_HEARTBEAT_OK] = heartbeat_ok,
	[MSG_CREATE] = create,
	[MSG_CREATE_OK] = position,
	[MSG_SYNC] = sync_,
	[MSG_SYNC_OK] = sync_ok,
	[MSG_VERSIONS] = versions,
	[MSG_VERSIONS_OK] = version_list,
	[MSG_INVALIDATE] = version_list,
	[MSG_INVALIDATE_OK] = invalidate_ok,
	[MSG_JOIN] = position,
	[MSG_JOIN_OK] = position,
	[MSG_MEND_BEGIN] = position,
	[MSG_MEND_BEGIN_OK] = position,
	[MSG_MEND_END] = position,
	[MSG_MEND_END_OK] = position,
	[MSG_RELEASE] = position,
	[MSG_RELEASE_OK] = position,
	[MSG_BYE] = nothing,
	[MSG_SESSION] = session,
	[MSG_SESSION_OK] = session_ok,
	[MSG_KEEPALIVE] = keepalive,
	[MSG_KEEPALIVE_OK] = keepalive_ok,
	[MSG_ATTACH] = attach,
	[MSG_ATTACH_OK] = attach_ok,
	[MSG_DETACH] = detach,
	[MSG_DETACH_OK] = detach,
	[MSG_TABLE] = table,
	[MSG_TABLE_OK] = chunks,
	[MSG_LEASE] = lease,
	[MSG_LEASE_OK] = chunks,
	[MSG_LEASE_RETURN] = lease_return,
	[MSG_LEASE_RETURN_OK] = lease_return,
	[MSG_CHANGE] = change,
	[MSG_CHANGE_OK] = list,
	[MSG_REPORT] = report,
	[MSG_REPORT_OK] = report_ok,
	[MSG_ADMIN] = admin,
	[MSG_ADMIN_OK] = admin_ok,
	[MSG_VOLUMES] = nothing,
	[MSG_VOLUMES_OK] = volumes_ok,
	[MSG_LIST] = list,
	[MSG_REPAIR_JOB] = repair_job,
	[MSG_DELETE] = delete,
	[MSG_SERVERS] = servers,
	[MSG_DETACHED] = detached,
	[MSG_RESIZED] = resized,
	[MSG_SCRUBBED] = scrubbed,
};

/* An answer's type is its request's plus one: odd, but for HELLO's. From LIST on messages are pushed. */
bool msg_type_is_answer(enum msg_type type)
{
	return type == MSG_HELLO_OK || (type > MSG_HELLO_OK && type < MSG_LIST && type % 2 == 1);
}

static enum wire_status failure(struct fill *f, enum msg_type type)
{
	unsigned count = type == MSG_SYNC_OK ? WIRE_STATUS_COUNT : WIRE_WAIT;

	return (enum wire_status)(1 + below(f, count - 1));
}

static void make(struct fill *f, enum msg_type type)
{
	struct msg *msg = &f->out->msg;

	memset(f->out, 0, sizeof *f->out);
	assert(type < CODEC_TYPES && fills[type]);
	msg->type = type;
	msg->id = number(f);
	if (!f->largest && msg_type_is_answer(type) && prng_chance(f->prng, 1, 4)) {
		msg->status = failure(f, type);
		if (coin(f))
			return;
	}
	fills[type](f, msg);
}

void random_msg_make(struct prng *prng, enum msg_type type, struct random_msg *out)
{
	make(&(struct fill){.prng = prng, .out = out}, type);
}

void random_msg_make_largest(struct prng *prng, enum msg_type type, struct random_msg *out)
{
	make(&(struct fill){.prng = prng, .out = out, .largest = true}, type);
}

void random_msg_free(struct random_msg *random)
{
	for (size_t i = 0; i < random->memory_count; i++)
		free(random->memory[i]);
	slice_unref(&random->msg.payload);
	memset(random, 0, sizeof *random);
}
