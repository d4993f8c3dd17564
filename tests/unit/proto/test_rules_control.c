/* test_rules_control.c - the rules for the handshake, versions of units, chunk sizes. */
#include "tests/unit/proto/rules.h"

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

int main(void)
{
	TCase *tcase = tcase_create("control");

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
	return run(tcase);
}
