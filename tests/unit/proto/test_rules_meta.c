/* test_rules_meta.c - the rules for what goes to and from the meta service. */
#include "tests/unit/proto/rules.h"

static const struct {
	const char *name;
	bool legal;
} names[] = {
	{"a", true},
	{"A-b_c.9", true},
	{"0", true},
	{"_x", true},
	{"012345678901234567890123456789012345678901234567890123456789012", true},
	{"0123456789012345678901234567890123456789012345678901234567890123", false},
	{"", false},
	{".", false},
	{"..", false},
	{".a", false},
	{"-a", false},
	{"a b", false},
	{"a/b", false},
	{"a@b", false},
	{"a\nb", false},
	{"\xc3\xa4", false},
};

START_TEST(names_are_legal)
{
	Copyhold__Attach pb;
	Copyhold__Session session;
	struct io_frame frame;

	copyhold__attach__init(&pb);
	pb.volume = codec_text_out(names[_i].name);
	pb.mode = ATTACH_EXCLUSIVE;
	frame = pack(MSG_ATTACH, &pb.base);
	if (names[_i].legal)
		ck_legal(&frame);
	else
		ck_refused(&frame, "name");
	copyhold__session__init(&session);
	session.role = ROLE_CHUNKD;
	session.rack = codec_text_out(names[_i].name);
	frame = pack(MSG_SESSION, &session.base);
	if (names[_i].legal || names[_i].name[0] == 0)
		ck_legal(&frame);
	else
		ck_refused(&frame, "name");
}
END_TEST

START_TEST(addresses_are_printable_and_fit)
{
	char address[ADDRESS_BYTES + 1];
	Copyhold__Session pb;
	struct io_frame frame;

	copyhold__session__init(&pb);
	pb.role = ROLE_CHUNKD;
	pb.address = codec_text_out("unix:/run/copyhold/a b.sock");
	frame = pack(MSG_SESSION, &pb.base);
	ck_legal(&frame);
	pb.address = codec_text_out("host\t:1");
	frame = pack(MSG_SESSION, &pb.base);
	ck_refused(&frame, "address");
	memset(address, 'x', sizeof address);
	address[ADDRESS_BYTES] = 0;
	pb.address = address;
	frame = pack(MSG_SESSION, &pb.base);
	ck_refused(&frame, "address");
	address[ADDRESS_BYTES - 1] = 0;
	frame = pack(MSG_SESSION, &pb.base);
	ck_legal(&frame);
}
END_TEST

START_TEST(modes_and_kinds_are_known)
{
	Copyhold__Attach attach;
	Copyhold__Change change;
	struct io_frame frame;

	copyhold__attach__init(&attach);
	attach.volume = codec_text_out("v");
	copyhold__change__init(&change);
	for (unsigned i = 0; i < 6; i++) {
		attach.mode = change.kind = i;
		frame = pack(MSG_ATTACH, &attach.base);
		if (i == ATTACH_EXCLUSIVE || i == ATTACH_READ_ONLY)
			ck_legal(&frame);
		else
			ck_refused(&frame, "mode of attachment");
		frame = pack(MSG_CHANGE, &change.base);
		if (i >= CHANGE_EVICT && i <= CHANGE_DROP)
			ck_legal(&frame);
		else
			ck_refused(&frame, "kind of change");
	}
}
END_TEST

START_TEST(a_volume_is_complete)
{
	Copyhold__Volume good, bad;
	struct io_frame frame;

	copyhold__volume__init(&good);
	good.name = codec_text_out("v");
	good.chunk_bytes = CHUNK_BYTES_DEFAULT;
	good.size_bytes = 3 * BLOCK_BYTES;
	good.replicas = 3;
	good.min_replicas = 2;
	frame = pack(MSG_ATTACH_OK, &good.base);
	ck_legal(&frame);
	bad = good;
	bad.size_bytes++;
	frame = pack(MSG_ATTACH_OK, &bad.base);
	ck_refused(&frame, "whole blocks");
	bad = good;
	bad.replicas = REPLICAS_MAX + 1;
	frame = pack(MSG_ATTACH_OK, &bad.base);
	ck_refused(&frame, "number of replicas");
	bad.replicas = 0;
	frame = pack(MSG_ATTACH_OK, &bad.base);
	ck_refused(&frame, "number of replicas");
	bad = good;
	bad.min_replicas = 4;
	frame = pack(MSG_ATTACH_OK, &bad.base);
	ck_refused(&frame, "least replicas");
	bad.min_replicas = 0;
	frame = pack(MSG_ATTACH_OK, &bad.base);
	ck_refused(&frame, "least replicas");
}
END_TEST

START_TEST(a_new_size_is_of_whole_blocks)
{
	Copyhold__Resized pb;
	struct io_frame frame;

	copyhold__resized__init(&pb);
	pb.size_bytes = 5 * BLOCK_BYTES;
	frame = pack(MSG_RESIZED, &pb.base);
	ck_legal(&frame);
	pb.size_bytes--;
	frame = pack(MSG_RESIZED, &pb.base);
	ck_refused(&frame, "whole blocks");
}
END_TEST

/* A LIST whose chunk has `count` replicas with the cids 1, 2, ... */
struct list {
	Copyhold__List pb;
	Copyhold__Chunk chunk;
	Copyhold__ListEntry entries[REPLICAS_MAX + 1], *pointers[REPLICAS_MAX + 1];
};

static void list_of(struct list *list, size_t count)
{
	copyhold__list__init(&list->pb);
	copyhold__chunk__init(&list->chunk);
	list->pb.chunk = &list->chunk;
	list->chunk.n_replicas = count;
	list->chunk.replicas = list->pointers;
	for (size_t i = 0; i < count; i++) {
		copyhold__list_entry__init(&list->entries[i]);
		list->entries[i].cid = (uint32_t)i + 1;
		list->entries[i].state = REPLICA_ACTIVE;
		list->pointers[i] = &list->entries[i];
	}
}

START_TEST(a_list_is_sound)
{
	struct list list;
	struct io_frame frame;

	list_of(&list, REPLICAS_MAX);
	frame = pack(MSG_LIST, &list.pb.base);
	ck_legal(&frame);
	list.entries[5].cid = list.entries[2].cid;
	frame = pack(MSG_LIST, &list.pb.base);
	ck_refused(&frame, "two replicas on one");
	list.entries[5].cid = 6;
	list.entries[5].state = 3;
	frame = pack(MSG_LIST, &list.pb.base);
	ck_refused(&frame, "state of a replica");
	list.entries[5].state = 0;
	frame = pack(MSG_LIST, &list.pb.base);
	ck_refused(&frame, "state of a replica");
	list_of(&list, REPLICAS_MAX + 1);
	frame = pack(MSG_LIST, &list.pb.base);
	ck_refused(&frame, "too many replicas");
	list_of(&list, 1);
	list.chunk.status = WIRE_STATUS_COUNT;
	frame = pack(MSG_LIST, &list.pb.base);
	ck_refused(&frame, "status of a chunk");
}
END_TEST

START_TEST(a_refused_change_may_bring_no_list)
{
	struct list list;
	struct io_frame frame;

	list_of(&list, 0);
	list.pb.chunk = NULL;
	frame = pack(MSG_CHANGE_OK, &list.pb.base);
	ck_refused(&frame, "no list");
	frame.status = WIRE_NOT_OWNER;
	ck_legal(&frame);
}
END_TEST

START_TEST(counts_are_within_their_limits)
{
	static uint64_t indexes[LEASE_CHUNKS_MAX + 1];
	uint32_t synced[REPLICAS_MAX + 1] = {0};
	Copyhold__Lease lease;
	Copyhold__Change change;
	struct io_frame frame;

	copyhold__lease__init(&lease);
	lease.indexes = indexes;
	lease.n_indexes = LEASE_CHUNKS_MAX;
	frame = pack(MSG_LEASE, &lease.base);
	ck_legal(&frame);
	lease.n_indexes++;
	frame = pack(MSG_LEASE, &lease.base);
	ck_refused(&frame, "too many chunks");
	lease.n_indexes = 0;
	frame = pack(MSG_LEASE, &lease.base);
	ck_refused(&frame, "no chunks");
	copyhold__change__init(&change);
	change.kind = CHANGE_EVICT;
	change.synced = synced;
	change.n_synced = REPLICAS_MAX + 1;
	frame = pack(MSG_CHANGE, &change.base);
	ck_refused(&frame, "too many replicas");
}
END_TEST

/* A body of `count` empty entries of the repeated field with this tag byte: two bytes an entry. */
static struct io_frame empty_entries(enum msg_type type, uint8_t tag, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		body[2 * i] = tag;
		body[2 * i + 1] = 0;
	}
	return (struct io_frame){.type = (uint16_t)type, .body = body, .body_bytes = 2 * count};
}

START_TEST(arrays_are_within_their_limits)
{
	const struct {
		enum msg_type type;
		uint8_t tag;
		uint32_t most;
		bool legal_when_empty;
	} arrays[] = {
		{MSG_TABLE_OK, 0x1a, TABLE_CHUNKS_MAX, true},
		{MSG_LEASE_OK, 0x1a, LEASE_CHUNKS_MAX, true},
		{MSG_REPORT, 0x1a, REPORT_CHUNKS_MAX, true},
		{MSG_REPORT_OK, 0x0a, REPORT_CHUNKS_MAX, true},
		{MSG_SERVERS, 0x0a, SERVERS_MAX, true},
		{MSG_VOLUMES_OK, 0x0a, VOLUMES_MAX, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
		struct io_frame frame =
			empty_entries(arrays[i].type, arrays[i].tag, arrays[i].most);

		if (arrays[i].legal_when_empty)
			ck_legal(&frame);
		else
			ck_refused(&frame, "name");
		frame = empty_entries(arrays[i].type, arrays[i].tag, arrays[i].most + 1);
		ck_refused(&frame, "too many");
	}
}
END_TEST

START_TEST(a_body_that_swells_is_refused_and_forgotten)
{
	struct io_frame frame = empty_entries(MSG_TABLE_OK, 0x1a, FRAME_BODY_MAX / 2);
	struct msg small = {.type = MSG_TABLE};

	ck_refused(&frame, "malformed");
	ck_assert_uint_le(codec->received.total, ARENA_MAX);
	frame = encode(&small);
	ck_legal(&frame);
}
END_TEST

START_TEST(engines_are_whole_uuids_and_not_too_many)
{
	static uint8_t uuids[(ENGINES_HEARD_MAX + 1) * sizeof(struct uuid)];
	Copyhold__Keepalive pb;
	struct io_frame frame;

	copyhold__keepalive__init(&pb);
	pb.engines.data = uuids;
	pb.engines.len = ENGINES_HEARD_MAX * sizeof(struct uuid);
	frame = pack(MSG_KEEPALIVE, &pb.base);
	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.keepalive.engine_count, ENGINES_HEARD_MAX);
	pb.engines.len++;
	frame = pack(MSG_KEEPALIVE, &pb.base);
	ck_refused(&frame, "UUID");
	pb.engines.len = sizeof uuids;
	frame = pack(MSG_KEEPALIVE, &pb.base);
	ck_refused(&frame, "more than 4096 engines");
}
END_TEST

START_TEST(verbs_are_names)
{
	Copyhold__Admin pb;
	struct io_frame frame;

	copyhold__admin__init(&pb);
	frame = pack(MSG_ADMIN, &pb.base);
	ck_refused(&frame, "verb");
	pb.verb = codec_text_out("volume.create");
	frame = pack(MSG_ADMIN, &pb.base);
	ck_legal(&frame);
	ck_assert_str_eq(decoded.u.admin.json, "");
	pb.verb = codec_text_out("volume create");
	frame = pack(MSG_ADMIN, &pb.base);
	ck_refused(&frame, "verb");
	pb.verb = codec_text_out(
		"0123456789012345678901234567890123456789012345678901234567890123456789");
	frame = pack(MSG_ADMIN, &pb.base);
	ck_refused(&frame, "verb");
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("meta service");

	tcase_add_loop_test(tcase, names_are_legal, 0, ARRAY_SIZE(names));
	tcase_add_test(tcase, addresses_are_printable_and_fit);
	tcase_add_test(tcase, modes_and_kinds_are_known);
	tcase_add_test(tcase, a_volume_is_complete);
	tcase_add_test(tcase, a_new_size_is_of_whole_blocks);
	tcase_add_test(tcase, a_list_is_sound);
	tcase_add_test(tcase, a_refused_change_may_bring_no_list);
	tcase_add_test(tcase, counts_are_within_their_limits);
	tcase_add_test(tcase, arrays_are_within_their_limits);
	tcase_add_test(tcase, a_body_that_swells_is_refused_and_forgotten);
	tcase_add_test(tcase, engines_are_whole_uuids_and_not_too_many);
	tcase_add_test(tcase, verbs_are_names);
	return run(tcase);
}
