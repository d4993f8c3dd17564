/* test_frame.c - the frame header: its bytes, its checksums, its limits; and the names of statuses and types. */
#include "common/base/crc.h"
#include "common/base/prng.h"
#include "proto/frame.h"
#include "proto/msg.h"
#include "tests/lib/random_msg.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t body[] = "a body";

static struct io_frame example(void)
{
	return (struct io_frame){
		.type = MSG_WRITE_OK,
		.status = WIRE_GAP,
		.id = UINT64_C(0x1122334455667788),
		.body = body,
		.body_bytes = sizeof body,
		.payload = {.bytes = 0x12345},
	};
}

/* Writes the checksum anew after a test has changed a field. */
static void seal(uint8_t header[FRAME_HEADER_BYTES])
{
	uint32_t crc = crc32c(0, header, 36);

	for (int i = 0; i < 4; i++)
		header[36 + i] = (uint8_t)(crc >> (8 * i));
}

static void ck_refused(const uint8_t header[FRAME_HEADER_BYTES], const char *expected)
{
	struct frame_header decoded;
	const char *why = NULL;

	ck_assert_int_eq(frame_decode_header(header, &decoded, &why), -EPROTO);
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, expected) != NULL, "\"%s\" does not speak of \"%s\"", why,
		      expected);
}

START_TEST(header_has_the_documented_bytes)
{
	const struct io_frame frame = example();
	uint8_t out[FRAME_HEADER_BYTES];
	const uint8_t expected[28] = {
		'C',  'H',  'F',  '1',                          /* magic */
		1,    0,    17,   0,                            /* format, reserved, type */
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* id */
		7,    0,    0,    0,                            /* body_bytes */
		0x45, 0x23, 1,    0,                            /* payload_bytes */
		2,    0,    0,    0,                            /* status */
	};

	frame_encode_header(&frame, out);
	ck_assert_mem_eq(out, expected, sizeof expected);
	ck_assert_mem_eq(out + 32, "\0\0\0\0", 4);
}
END_TEST

START_TEST(header_survives_the_round_trip)
{
	const struct io_frame frame = example();
	struct frame_header header;
	uint8_t out[FRAME_HEADER_BYTES];
	const char *why = NULL;

	frame_encode_header(&frame, out);
	ck_assert_int_eq(frame_decode_header(out, &header, &why), 0);
	ck_assert_ptr_null(why);
	ck_assert_uint_eq(header.type, frame.type);
	ck_assert_uint_eq(header.id, frame.id);
	ck_assert_uint_eq(header.status, frame.status);
	ck_assert_uint_eq(header.body_bytes, frame.body_bytes);
	ck_assert_uint_eq(header.payload_bytes, frame.payload.bytes);
	ck_assert_int_eq(frame_check_body(&header, body), 0);
}
END_TEST

START_TEST(an_empty_body_has_a_checksum_too)
{
	const struct io_frame frame = {.type = MSG_BYE};
	struct frame_header header;
	uint8_t out[FRAME_HEADER_BYTES];
	const char *why;

	frame_encode_header(&frame, out);
	ck_assert_int_eq(frame_decode_header(out, &header, &why), 0);
	ck_assert_int_eq(frame_check_body(&header, NULL), 0);
}
END_TEST

START_TEST(every_flipped_bit_of_the_header_is_found)
{
	const struct io_frame frame = example();
	uint8_t out[FRAME_HEADER_BYTES];

	for (unsigned bit = 0; bit < 8 * FRAME_HEADER_BYTES; bit++) {
		frame_encode_header(&frame, out);
		out[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		ck_refused(out, bit < 32 ? "magic" : "checksum");
	}
}
END_TEST

START_TEST(every_flipped_bit_of_the_body_is_found)
{
	const struct io_frame frame = example();
	struct frame_header header;
	uint8_t out[FRAME_HEADER_BYTES];
	const char *why;

	frame_encode_header(&frame, out);
	ck_assert_int_eq(frame_decode_header(out, &header, &why), 0);
	for (unsigned bit = 0; bit < 8 * sizeof body; bit++) {
		uint8_t damaged[sizeof body];

		memcpy(damaged, body, sizeof body);
		damaged[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		ck_assert_int_eq(frame_check_body(&header, damaged), -EPROTO);
	}
}
END_TEST

/* Headers with a right checksum around a wrong field. */
static const struct {
	unsigned offset;
	uint8_t value;
	const char *why;
} wrong_fields[] = {
	{4, 2, "format"},
	{5, 1, "reserved"},
	{32, 1, "reserved"},
	{35, 0x80, "reserved"},
	{18, 0x11, "body_bytes"}, /* 1 MiB and a bit: bytes 16 .. 19 are 07 00 11 00 */
	{19, 0x80, "body_bytes"},
	{22, 0x10, "payload_bytes"}, /* bytes 20 .. 23 are 45 23 10 00 */
	{23, 0x01, "payload_bytes"},
};

START_TEST(a_wrong_field_is_named)
{
	const struct io_frame frame = example();
	uint8_t out[FRAME_HEADER_BYTES];

	frame_encode_header(&frame, out);
	out[wrong_fields[_i].offset] = wrong_fields[_i].value;
	seal(out);
	ck_refused(out, wrong_fields[_i].why);
}
END_TEST

START_TEST(the_limits_themselves_are_legal)
{
	static uint8_t largest[FRAME_BODY_MAX];
	const struct io_frame frame = {
		.type = MSG_WRITE,
		.body = largest,
		.body_bytes = FRAME_BODY_MAX,
		.payload = {.bytes = FRAME_PAYLOAD_MAX},
	};
	struct frame_header header;
	uint8_t out[FRAME_HEADER_BYTES];
	const char *why;

	frame_encode_header(&frame, out);
	ck_assert_int_eq(frame_decode_header(out, &header, &why), 0);
	ck_assert_uint_eq(header.body_bytes, FRAME_BODY_MAX);
	ck_assert_uint_eq(header.payload_bytes, FRAME_PAYLOAD_MAX);
}
END_TEST

START_TEST(a_stranger_is_told_by_the_magic)
{
	uint8_t request[FRAME_HEADER_BYTES] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

	ck_refused(request, "magic");
}
END_TEST

START_TEST(every_status_has_a_name_of_its_own)
{
	for (unsigned a = 0; a < WIRE_STATUS_COUNT; a++) {
		const char *name = wire_status_name((enum wire_status)a);

		ck_assert_ptr_nonnull(name);
		ck_assert_str_ne(name, "?");
		for (unsigned b = 0; b < a; b++)
			ck_assert_str_ne(name, wire_status_name((enum wire_status)b));
	}
	ck_assert_str_eq(wire_status_name(WIRE_FENCED), "FENCED");
	ck_assert_str_eq(wire_status_name(WIRE_STATUS_COUNT), "?");
}
END_TEST

static bool is_known_type(unsigned type)
{
	for (size_t i = 0; i < random_msg_type_count; i++)
		if (random_msg_types[i] == type)
			return true;
	return false;
}

START_TEST(every_type_has_a_name_and_an_answer_its_requests)
{
	for (unsigned type = 0; type < 300; type++) {
		const char *name = msg_type_name(type);

		ck_assert_int_eq(strcmp(name, "?") != 0, is_known_type(type));
		if (is_known_type(type) && msg_type_is_answer((enum msg_type)type)) {
			char expected[64];

			snprintf(expected, sizeof expected, "%s_OK", msg_type_name(type - 1));
			ck_assert_str_eq(name, expected);
		}
	}
	ck_assert_str_eq(msg_type_name(UINT32_MAX), "?");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("frame");
	TCase *tcase = tcase_create("frame");

	tcase_add_test(tcase, header_has_the_documented_bytes);
	tcase_add_test(tcase, header_survives_the_round_trip);
	tcase_add_test(tcase, an_empty_body_has_a_checksum_too);
	tcase_add_test(tcase, every_flipped_bit_of_the_header_is_found);
	tcase_add_test(tcase, every_flipped_bit_of_the_body_is_found);
	tcase_add_loop_test(tcase, a_wrong_field_is_named, 0, ARRAY_SIZE(wrong_fields));
	tcase_add_test(tcase, the_limits_themselves_are_legal);
	tcase_add_test(tcase, a_stranger_is_told_by_the_magic);
	tcase_add_test(tcase, every_status_has_a_name_of_its_own);
	tcase_add_test(tcase, every_type_has_a_name_and_an_answer_its_requests);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
