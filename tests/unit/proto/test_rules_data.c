/* test_rules_data.c - the rules for every message, and those for the data path. */
#include "tests/unit/proto/rules.h"

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

int main(void)
{
	TCase *tcase = tcase_create("data path");

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
	return run(tcase);
}
