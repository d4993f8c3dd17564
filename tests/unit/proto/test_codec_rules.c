/*
 * test_codec_rules.c - each rule of what may be in a message, broken once.
 *
 * A message that breaks a rule cannot be encoded (encoding asserts), so the tests make a legal frame and damage it:
 * fixed layouts at the byte where the field lies, protobuf bodies by packing the broken struct of the generated code.
 */
#include "proto/codec.h"
#include "proto/codec_internal.h"
#include "proto/copyhold.pb-c.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

static struct codec *codec;
static uint8_t body[FRAME_BODY_MAX];
static struct msg decoded;

static void setup(void)
{
	codec = codec_new();
}

static void teardown(void)
{
	codec_free(codec);
	buf_pool_drain();
}

/* A payload that nobody looks into. */
static struct slice payload(uint32_t bytes)
{
	static struct buf no_buf;

	return (struct slice){.buf = bytes ? &no_buf : NULL, .bytes = bytes};
}

static const char *decode(const struct io_frame *frame)
{
	const char *why = "nothing";
	int rc = codec_decode(codec, frame, &decoded, &why);

	if (rc == 0) {
		ck_assert_ptr_null(why);
		return NULL;
	}
	ck_assert_int_eq(rc, -EPROTO);
	ck_assert_ptr_nonnull(why);
	return why;
}

#define ck_legal(frame)                                                                            \
	do {                                                                                       \
		const char *refusal = decode(frame);                                               \
                                                                                                   \
		ck_assert_msg(!refusal, "%s", refusal);                                            \
	} while (0)
#define ck_refused(frame, expected)                                                                \
	do {                                                                                       \
		const char *refusal = decode(frame);                                               \
                                                                                                   \
		ck_assert_msg(refusal, "decodes; expected: " expected);                            \
		ck_assert_msg(strstr(refusal, expected), "\"%s\" is not \"%s\"", refusal,          \
			      expected);                                                           \
	} while (0)

/* Encodes msg; the frame's body can be damaged through `body`. */
static struct io_frame encode(const struct msg *msg)
{
	struct io_frame frame;

	codec_encode(codec, msg, &frame);
	memcpy(body, frame.body, frame.body_bytes);
	frame.body = body;
	return frame;
}

static struct io_frame pack(enum msg_type type, const ProtobufCMessage *message)
{
	return (struct io_frame){
		.type = (uint16_t)type,
		.body = body,
		.body_bytes = (uint32_t)protobuf_c_message_pack(message, body),
	};
}

static void put32(size_t offset, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		body[offset + i] = (uint8_t)(value >> (8 * i));
}

/* ---- every message ---- */

START_TEST(an_unknown_type_is_refused)
{
	for (unsigned type = 0; type <= UINT16_MAX; type++) {
		struct io_frame frame = {.type = (uint16_t)type};

		if (strcmp(msg_type_name(type), "?") == 0)
			ck_refused(&frame, "unknown type");
	}
}
END_TEST

START_TEST(a_status_is_known_and_belongs_to_answers)
{
	struct msg request = {.type = MSG_SYNC}, answer = {.type = MSG_WRITE_OK};
	struct io_frame frame = encode(&request);

	frame.status = WIRE_FENCED;
	ck_refused(&frame, "no answer");
	frame = encode(&answer);
	frame.status = WIRE_FENCED;
	ck_legal(&frame);
	frame.status = WIRE_STATUS_COUNT;
	ck_refused(&frame, "unknown status");
	frame.status = UINT32_MAX;
	ck_refused(&frame, "unknown status");
}
END_TEST

START_TEST(only_sync_is_answered_with_wait)
{
	struct msg sync = {.type = MSG_SYNC_OK, .status = WIRE_WAIT, .u.sync_ok.wait_ms = 7};
	struct msg write = {.type = MSG_WRITE_OK};
	struct io_frame frame = encode(&sync);

	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.sync_ok.wait_ms, 7);
	frame = encode(&write);
	frame.status = WIRE_WAIT;
	ck_refused(&frame, "WAIT");
}
END_TEST

START_TEST(only_messages_of_data_have_a_payload)
{
	const enum msg_type types[] = {MSG_WRITE_OK, MSG_HEARTBEAT, MSG_SYNC, MSG_BYE, MSG_TABLE};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct msg msg = {.type = types[i]};
		struct io_frame frame = encode(&msg);

		ck_legal(&frame);
		frame.payload = payload(4096);
		ck_refused(&frame, "payload");
	}
}
END_TEST

/* ---- data path ---- */

static const uint32_t some_crcs[IO_BLOCKS_MAX];

static struct msg write_msg(enum write_kind kind, uint32_t bytes)
{
	return (struct msg){
		.type = MSG_WRITE,
		.payload = payload(kind == WRITE_DATA ? bytes : 0),
		.u.write = {.bytes = bytes,
			    .kind = kind,
			    .crcs = kind == WRITE_DATA ? some_crcs : NULL},
	};
}

/* offset, bytes: a range and whether it is legal. */
static const struct {
	uint32_t offset, bytes;
	bool legal;
} ranges[] = {
	{0, BLOCK_BYTES, true},
	{0, IO_BYTES_MAX, true},
	{CHUNK_BYTES_MAX - BLOCK_BYTES, BLOCK_BYTES, true},
	{CHUNK_BYTES_MAX - IO_BYTES_MAX, IO_BYTES_MAX, true},
	{0, 0, false},
	{0, 1, false},
	{0, BLOCK_BYTES - 1, false},
	{1, BLOCK_BYTES, false},
	{512, BLOCK_BYTES, false},
	{0, IO_BYTES_MAX + BLOCK_BYTES, false},
	{0, UINT32_MAX, false},
	{0, UINT32_MAX - BLOCK_BYTES + 1, false},
	{CHUNK_BYTES_MAX, BLOCK_BYTES, false},
	{CHUNK_BYTES_MAX - BLOCK_BYTES, 2 * BLOCK_BYTES, false},
	{UINT32_MAX - BLOCK_BYTES + 1, BLOCK_BYTES, false},
	{UINT32_MAX, BLOCK_BYTES, false},
};

START_TEST(ranges_are_whole_blocks_within_a_chunk)
{
	struct msg zero = write_msg(WRITE_ZERO, BLOCK_BYTES);
	struct msg read = {.type = MSG_READ, .u.read.bytes = BLOCK_BYTES};
	struct io_frame frame = encode(&zero);

	put32(24, ranges[_i].offset);
	put32(28, ranges[_i].bytes);
	if (ranges[_i].legal)
		ck_legal(&frame);
	else
		ck_refused(&frame, "range");
	frame = encode(&read);
	put32(16, ranges[_i].offset);
	put32(20, ranges[_i].bytes);
	if (ranges[_i].legal)
		ck_legal(&frame);
	else
		ck_refused(&frame, "range");
}
END_TEST

START_TEST(a_write_of_data_brings_its_data)
{
	struct msg data = write_msg(WRITE_DATA, 2 * BLOCK_BYTES);
	struct io_frame frame = encode(&data);

	ck_assert_uint_eq(frame.body_bytes, 40 + 2 * 4);
	ck_legal(&frame);
	frame.payload = payload(0);
	ck_refused(&frame, "payload");
	frame.payload = payload(BLOCK_BYTES);
	ck_refused(&frame, "payload");
	frame.payload = payload(2 * BLOCK_BYTES + 1);
	ck_refused(&frame, "payload");
	put32(28, IO_BYTES_MAX + BLOCK_BYTES);
	ck_refused(&frame, "limit");
	put32(28, 3 * BLOCK_BYTES);
	ck_refused(&frame, "too short");
	put32(28, BLOCK_BYTES);
	ck_refused(&frame, "too long");
}
END_TEST

START_TEST(zeroing_brings_no_data)
{
	struct msg zero = write_msg(WRITE_ZERO, IO_BYTES_MAX);
	struct msg discard = write_msg(WRITE_DISCARD, IO_BYTES_MAX);
	struct io_frame frame = encode(&discard);

	ck_legal(&frame);
	ck_assert_int_eq(decoded.u.write.kind, WRITE_DISCARD);
	ck_assert_ptr_null(decoded.u.write.crcs);
	frame = encode(&zero);
	frame.payload = payload(IO_BYTES_MAX);
	ck_refused(&frame, "payload");
}
END_TEST

START_TEST(kinds_and_modes_are_known)
{
	struct msg zero = write_msg(WRITE_ZERO, BLOCK_BYTES);
	struct msg copy = {.type = MSG_COPY, .u.copy = {.zero_mask = UINT16_MAX}};
	struct io_frame frame = encode(&zero);

	body[32] = 3;
	ck_refused(&frame, "kind of write");
	body[32] = 255;
	ck_refused(&frame, "kind of write");
	frame = encode(&copy);
	ck_legal(&frame);
	body[36] = 2;
	ck_refused(&frame, "mode of copy");
}
END_TEST

/* Every reserved byte of every layout. */
static const struct {
	enum msg_type type;
	unsigned first, count;
} reserved_bytes[] = {
	{MSG_WRITE, 33, 7},  {MSG_READ_OK, 41, 7},      {MSG_COPY, 37, 3},
	{MSG_COPY, 44, 4},   {MSG_COPY_OK, 20, 4},      {MSG_REPAIR_OK, 20, 4},
	{MSG_REPAIR, 38, 2}, {MSG_HEARTBEAT_OK, 12, 4},
};

static struct msg smallest(enum msg_type type)
{
	struct msg msg = {.type = type};

	if (type == MSG_WRITE)
		return write_msg(WRITE_ZERO, BLOCK_BYTES);
	if (type == MSG_READ_OK)
		msg.u.read_ok = (struct msg_read_ok){.bytes = BLOCK_BYTES, .all_zero = true};
	if (type == MSG_COPY)
		msg.u.copy.zero_mask = UINT16_MAX;
	if (type == MSG_REPAIR) {
		msg.u.repair.block_mask = 1;
		msg.payload = payload(BLOCK_BYTES);
	}
	return msg;
}

START_TEST(reserved_bytes_are_zero)
{
	struct msg msg = smallest(reserved_bytes[_i].type);

	for (unsigned byte = 0; byte < reserved_bytes[_i].count; byte++) {
		struct io_frame frame = encode(&msg);

		ck_legal(&frame);
		body[reserved_bytes[_i].first + byte] = 1;
		ck_refused(&frame, "reserved");
	}
}
END_TEST

START_TEST(an_answered_read_has_data_or_is_all_zero)
{
	struct msg msg = {
		.type = MSG_READ_OK,
		.payload = payload(2 * BLOCK_BYTES),
		.u.read_ok = {.bytes = 2 * BLOCK_BYTES, .crcs = some_crcs},
	};
	struct io_frame frame = encode(&msg);

	ck_legal(&frame);
	frame.payload = payload(0);
	ck_refused(&frame, "neither data nor all zero");
	frame.payload = payload(BLOCK_BYTES);
	ck_refused(&frame, "does not match bytes");
	frame.payload = payload(2 * BLOCK_BYTES);
	body[40] = 3; /* ALL_ZERO, CRCS */
	ck_refused(&frame, "all zero, but");
	body[40] = 0;
	frame.body_bytes = 48;
	ck_refused(&frame, "without checksums");
	body[40] = 16;
	ck_refused(&frame, "flags");
	body[40] = 1; /* ALL_ZERO */
	ck_refused(&frame, "without checksums");
	frame.payload = payload(0);
	ck_legal(&frame);
	ck_assert(decoded.u.read_ok.all_zero);
}
END_TEST

START_TEST(bad_blocks_come_with_a_failure)
{
	const uint8_t bad = 2;
	struct msg msg = {
		.type = MSG_READ_OK,
		.status = WIRE_BAD_BLOCK,
		.payload = payload(2 * BLOCK_BYTES),
		.u.read_ok = {.bytes = 2 * BLOCK_BYTES, .crcs = some_crcs, .bad_blocks = &bad},
	};
	struct io_frame frame = encode(&msg);

	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.read_ok.bad_blocks[0], 2);
	body[48 + 2 * 4] = 4;
	ck_refused(&frame, "bits beyond");
	body[48 + 2 * 4] = 2;
	frame.status = WIRE_OK;
	ck_refused(&frame, "bad blocks");
}
END_TEST

/* Two blocks without data: which of them are zero, which bad, and whether that is an answer. */
static const struct {
	uint8_t zero, bad;
	bool legal;
} without_data[] = {
	{0, 3, true},  {1, 2, true},  {3, 1, true},  {2, 3, true},
	{0, 1, false}, {1, 0, false}, {3, 0, false}, {2, 2, false},
};

START_TEST(every_block_is_there_or_zero_or_bad)
{
	const uint8_t both = 3;
	struct msg msg = {
		.type = MSG_READ_OK,
		.status = WIRE_BAD_BLOCK,
		.u.read_ok = {.bytes = 2 * BLOCK_BYTES, .zero_blocks = &both, .bad_blocks = &both},
	};
	struct io_frame frame = encode(&msg);

	body[48] = without_data[_i].zero;
	body[49] = without_data[_i].bad;
	if (without_data[_i].legal)
		ck_legal(&frame);
	else
		ck_refused(&frame, "neither data");
	body[40] = 4; /* without bad_blocks: never */
	frame.body_bytes = 49;
	ck_refused(&frame, "neither data");
}
END_TEST

START_TEST(a_copied_unit_is_whole)
{
	struct msg msg = {.type = MSG_COPY, .payload = payload(UNIT_BYTES)};
	struct io_frame frame = encode(&msg);

	ck_legal(&frame);
	frame.payload = payload(UNIT_BYTES - BLOCK_BYTES);
	ck_refused(&frame, "neither a unit nor empty");
	frame.payload = payload(0);
	ck_refused(&frame, "without a payload");
	body[40] = 0xff; /* zero_mask, low byte */
	body[43] = 0xff; /* bad_mask, high byte */
	ck_legal(&frame);
	put32(32, UNITS_MAX - 1);
	ck_legal(&frame);
	put32(32, UNITS_MAX);
	ck_refused(&frame, "unit is beyond");
}
END_TEST

START_TEST(a_repair_brings_a_block_for_each_bit)
{
	struct msg msg = {
		.type = MSG_REPAIR,
		.payload = payload(3 * BLOCK_BYTES),
		.u.repair.block_mask = 0x8101,
	};
	struct io_frame frame = encode(&msg);

	ck_legal(&frame);
	frame.payload = payload(2 * BLOCK_BYTES);
	ck_refused(&frame, "block_mask");
	frame.payload = payload(0);
	ck_refused(&frame, "block_mask");
	body[36] = body[37] = 0;
	ck_refused(&frame, "no block");
	put32(32, UNITS_MAX);
	ck_refused(&frame, "unit is beyond");
}
END_TEST

START_TEST(taken_chunks_are_counted)
{
	const uint64_t taken[2] = {5, 6};
	struct msg msg = {.type = MSG_HEARTBEAT_OK, .u.heartbeat_ok = {9, 2, taken}};
	struct io_frame frame = encode(&msg);

	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.heartbeat_ok.taken[1], 6);
	put32(8, 1);
	ck_refused(&frame, "too long");
	put32(8, 3);
	ck_refused(&frame, "too short");
	put32(8, HEARTBEAT_TAKEN_MAX + 1);
	ck_refused(&frame, "too many");
	put32(8, UINT32_MAX);
	ck_refused(&frame, "too many");
}
END_TEST

/* ---- control ---- */

START_TEST(roles_are_known)
{
	Copyhold__Hello pb;
	struct io_frame frame;

	copyhold__hello__init(&pb);
	for (pb.role = 0; pb.role < 10; pb.role++) {
		frame = pack(MSG_HELLO, &pb.base);
		if (pb.role >= ROLE_ENGINE && pb.role <= ROLE_ADMIN)
			ck_legal(&frame);
		else
			ck_refused(&frame, "role");
	}
	pb.role = 0;
	frame = pack(MSG_HELLO_OK, &pb.base);
	ck_refused(&frame, "role");
	frame.status = WIRE_VERSION;
	ck_legal(&frame);
}
END_TEST

START_TEST(another_version_still_decodes)
{
	Copyhold__Hello pb;
	struct io_frame frame;
	const uint8_t unknown_field[] = {0xa0, 0x06, 0x01}; /* number 100, varint 1 */

	copyhold__hello__init(&pb);
	pb.role = ROLE_ENGINE;
	pb.protocol_version = PROTOCOL_VERSION + 1;
	frame = pack(MSG_HELLO, &pb.base);
	memcpy(body + frame.body_bytes, unknown_field, sizeof unknown_field);
	frame.body_bytes += sizeof unknown_field;
	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.hello.protocol_version, PROTOCOL_VERSION + 1);
}
END_TEST

START_TEST(uuids_have_sixteen_bytes_or_none)
{
	Copyhold__Hello pb;
	uint8_t bytes[17] = {1};

	copyhold__hello__init(&pb);
	pb.role = ROLE_ENGINE;
	pb.self.data = bytes;
	for (pb.self.len = 0; pb.self.len <= sizeof bytes; pb.self.len++) {
		struct io_frame frame = pack(MSG_HELLO, &pb.base);

		if (pb.self.len == 0 || pb.self.len == 16)
			ck_legal(&frame);
		else
			ck_refused(&frame, "UUID");
	}
}
END_TEST

START_TEST(texts_fit_and_cannot_forge_lines)
{
	char text[TEXT_BYTES + 1];
	Copyhold__Hello pb;
	struct io_frame frame;

	copyhold__hello__init(&pb);
	pb.role = ROLE_ENGINE;
	memset(text, 'x', sizeof text);
	text[TEXT_BYTES] = 0;
	pb.text = text;
	frame = pack(MSG_HELLO, &pb.base);
	ck_refused(&frame, "text is too long");
	text[TEXT_BYTES - 1] = 0;
	text[0] = '\r';
	text[1] = '\033';
	text[2] = 0x7f;
	text[3] = '\n';
	frame = pack(MSG_HELLO, &pb.base);
	ck_legal(&frame);
	ck_assert_uint_eq(strlen(decoded.u.hello.text), TEXT_BYTES - 1);
	ck_assert_mem_eq(decoded.u.hello.text, "???\nx", 5);
}
END_TEST

/* Sizes of chunks, and whether they are legal. */
static const struct {
	uint64_t bytes;
	bool legal;
} chunk_sizes[] = {
	{0, false},
	{1, false},
	{CHUNK_BYTES_MIN / 2, false},
	{CHUNK_BYTES_MIN, true},
	{CHUNK_BYTES_MIN + 1, false},
	{3 * CHUNK_BYTES_MIN, false},
	{CHUNK_BYTES_DEFAULT, true},
	{CHUNK_BYTES_MAX, true},
	{2 * CHUNK_BYTES_MAX, false},
	{UINT64_MAX, false},
};

START_TEST(chunk_sizes_are_powers_of_two_within_limits)
{
	Copyhold__Create create;
	Copyhold__RepairJob job;
	Copyhold__Volume volume;
	const struct {
		enum msg_type type;
		const ProtobufCMessage *message;
	} messages[] = {
		{MSG_CREATE, &create.base},
		{MSG_REPAIR_JOB, &job.base},
		{MSG_ATTACH_OK, &volume.base},
	};

	copyhold__create__init(&create);
	copyhold__repair_job__init(&job);
	copyhold__volume__init(&volume);
	create.chunk_bytes = job.chunk_bytes = volume.chunk_bytes = chunk_sizes[_i].bytes;
	volume.name = codec_text_out("v");
	volume.replicas = volume.min_replicas = 1;
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		struct io_frame frame = pack(messages[i].type, messages[i].message);

		if (chunk_sizes[_i].legal)
			ck_legal(&frame);
		else
			ck_refused(&frame, "chunk size");
	}
}
END_TEST

/* A list of versions with its columns. */
struct version_columns {
	Copyhold__VersionList pb;
	uint32_t units[4];
	uint64_t epochs[4], generations[4];
	uint8_t bits[4];
};

/* 10 units: 3 of (1, 1), 7 of (1, 2). */
static void ten_units(struct version_columns *c)
{
	*c = (struct version_columns){
		.units = {3, 7},
		.epochs = {1, 1},
		.generations = {1, 2},
	};
	copyhold__version_list__init(&c->pb);
	c->pb.unit_count = 10;
	c->pb.run_units = c->units;
	c->pb.run_epoch = c->epochs;
	c->pb.run_generation = c->generations;
	c->pb.n_run_units = c->pb.n_run_epoch = c->pb.n_run_generation = 2;
}

START_TEST(runs_become_units)
{
	struct version_columns c;
	struct io_frame frame;

	ten_units(&c);
	frame = pack(MSG_VERSIONS_OK, &c.pb.base);
	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.version_list.unit_count, 10);
	ck_assert_uint_eq(decoded.u.version_list.versions[2].generation, 1);
	ck_assert_uint_eq(decoded.u.version_list.versions[3].generation, 2);
	ck_assert_ptr_null(decoded.u.version_list.invalid);
}
END_TEST

START_TEST(equal_versions_cost_one_run)
{
	static const struct version versions[UNITS_MAX];
	struct msg msg = {
		.type = MSG_INVALIDATE,
		.u.version_list = {.unit_count = UNITS_MAX, .versions = versions},
	};
	struct io_frame frame = encode(&msg);

	ck_assert_uint_lt(frame.body_bytes, 32);
	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.version_list.unit_count, UNITS_MAX);
}
END_TEST

START_TEST(runs_add_up)
{
	const struct {
		uint32_t first, second, unit_count;
		size_t epochs, generations;
	} wrong[] = {
		{3, 6, 10, 2, 2},  {3, 8, 10, 2, 2},           {0, 10, 10, 2, 2},
		{10, 0, 10, 2, 2}, {UINT32_MAX, 11, 10, 2, 2}, {3, UINT32_MAX, 10, 2, 2},
		{3, 7, 10, 1, 2},  {3, 7, 10, 2, 1},           {3, 7, 10, 3, 2},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct version_columns c;
		struct io_frame frame;

		ten_units(&c);
		c.units[0] = wrong[i].first;
		c.units[1] = wrong[i].second;
		c.pb.unit_count = wrong[i].unit_count;
		c.pb.n_run_epoch = wrong[i].epochs;
		c.pb.n_run_generation = wrong[i].generations;
		frame = pack(MSG_INVALIDATE, &c.pb.base);
		ck_refused(&frame, "add up");
	}
}
END_TEST

START_TEST(unit_counts_are_within_a_chunk)
{
	struct version_columns c;
	struct io_frame frame;

	ten_units(&c);
	c.units[1] = UNITS_MAX - 3;
	c.pb.unit_count = UNITS_MAX;
	frame = pack(MSG_VERSIONS_OK, &c.pb.base);
	ck_legal(&frame);
	c.units[1]++;
	c.pb.unit_count++;
	frame = pack(MSG_VERSIONS_OK, &c.pb.base);
	ck_refused(&frame, "too many units");
	c.pb.n_run_units = c.pb.n_run_epoch = c.pb.n_run_generation = 0;
	c.pb.unit_count = 0;
	frame = pack(MSG_VERSIONS_OK, &c.pb.base);
	ck_refused(&frame, "no units");
	frame.status = WIRE_NOT_FOUND;
	ck_legal(&frame);
}
END_TEST

START_TEST(bitmaps_have_a_bit_a_unit)
{
	struct version_columns c;
	struct io_frame frame;

	ten_units(&c);
	c.bits[0] = 0xff;
	c.bits[1] = 0x03;
	c.pb.allocated = (ProtobufCBinaryData){2, c.bits};
	frame = pack(MSG_VERSIONS_OK, &c.pb.base);
	ck_legal(&frame);
	ck_assert_uint_eq(decoded.u.version_list.allocated[1], 3);
	frame.type = MSG_INVALIDATE;
	ck_refused(&frame, "bitmaps in INVALIDATE");
	c.bits[1] = 0x04;
	frame = pack(MSG_VERSIONS_OK, &c.pb.base);
	ck_refused(&frame, "bits beyond");
	for (size_t length = 1; length <= 3; length += 2) {
		c.bits[1] = 0;
		c.pb.allocated.len = length;
		frame = pack(MSG_VERSIONS_OK, &c.pb.base);
		ck_refused(&frame, "wrong length");
	}
}
END_TEST

START_TEST(invalid_units_are_counted)
{
	uint8_t bits[2] = {0x81, 0x02};
	Copyhold__InvalidateOk pb;
	struct io_frame frame;

	copyhold__invalidate_ok__init(&pb);
	pb.unit_count = 10;
	pb.invalid = (ProtobufCBinaryData){2, bits};
	for (pb.invalid_count = 0; pb.invalid_count < 6; pb.invalid_count++) {
		frame = pack(MSG_INVALIDATE_OK, &pb.base);
		if (pb.invalid_count == 3)
			ck_legal(&frame);
		else
			ck_refused(&frame, "number of bits");
	}
}
END_TEST

/* ---- meta service ---- */

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

static TCase *tcase_data(void)
{
	TCase *tcase = tcase_create("data path");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_unknown_type_is_refused);
	tcase_add_test(tcase, a_status_is_known_and_belongs_to_answers);
	tcase_add_test(tcase, only_sync_is_answered_with_wait);
	tcase_add_test(tcase, only_messages_of_data_have_a_payload);
	tcase_add_loop_test(tcase, ranges_are_whole_blocks_within_a_chunk, 0, ARRAY_SIZE(ranges));
	tcase_add_test(tcase, a_write_of_data_brings_its_data);
	tcase_add_test(tcase, zeroing_brings_no_data);
	tcase_add_test(tcase, kinds_and_modes_are_known);
	tcase_add_loop_test(tcase, reserved_bytes_are_zero, 0, ARRAY_SIZE(reserved_bytes));
	tcase_add_test(tcase, an_answered_read_has_data_or_is_all_zero);
	tcase_add_test(tcase, bad_blocks_come_with_a_failure);
	tcase_add_loop_test(tcase, every_block_is_there_or_zero_or_bad, 0,
			    ARRAY_SIZE(without_data));
	tcase_add_test(tcase, a_copied_unit_is_whole);
	tcase_add_test(tcase, a_repair_brings_a_block_for_each_bit);
	tcase_add_test(tcase, taken_chunks_are_counted);
	return tcase;
}

static TCase *tcase_control(void)
{
	TCase *tcase = tcase_create("control");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, roles_are_known);
	tcase_add_test(tcase, another_version_still_decodes);
	tcase_add_test(tcase, uuids_have_sixteen_bytes_or_none);
	tcase_add_test(tcase, texts_fit_and_cannot_forge_lines);
	tcase_add_loop_test(tcase, chunk_sizes_are_powers_of_two_within_limits, 0,
			    ARRAY_SIZE(chunk_sizes));
	tcase_add_test(tcase, runs_become_units);
	tcase_add_test(tcase, equal_versions_cost_one_run);
	tcase_add_test(tcase, runs_add_up);
	tcase_add_test(tcase, unit_counts_are_within_a_chunk);
	tcase_add_test(tcase, bitmaps_have_a_bit_a_unit);
	tcase_add_test(tcase, invalid_units_are_counted);
	return tcase;
}

static TCase *tcase_meta(void)
{
	TCase *tcase = tcase_create("meta service");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, names_are_legal, 0, ARRAY_SIZE(names));
	tcase_add_test(tcase, addresses_are_printable_and_fit);
	tcase_add_test(tcase, modes_and_kinds_are_known);
	tcase_add_test(tcase, a_volume_is_complete);
	tcase_add_test(tcase, a_list_is_sound);
	tcase_add_test(tcase, a_refused_change_may_bring_no_list);
	tcase_add_test(tcase, counts_are_within_their_limits);
	tcase_add_test(tcase, arrays_are_within_their_limits);
	tcase_add_test(tcase, a_body_that_swells_is_refused_and_forgotten);
	tcase_add_test(tcase, verbs_are_names);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("codec rules");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase_data());
	suite_add_tcase(suite, tcase_control());
	suite_add_tcase(suite, tcase_meta());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
