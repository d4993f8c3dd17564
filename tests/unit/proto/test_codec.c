/*
 * test_codec.c - every message there and back; and what must not decode: cut-off bodies, flipped bits, values beyond
 * the limits.
 *
 * Bodies are decoded from heap blocks of their exact size, so that the address sanitizer sees a read past the end.
 */
#include "tests/lib/random_msg.h"

#include "proto/codec.h"
#include "proto/codec_internal.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

static struct codec *sender, *receiver;
static struct prng prng;

static void setup(void)
{
	sender = codec_new();
	receiver = codec_new();
	prng = (struct prng){1};
}

static void teardown(void)
{
	codec_free(sender);
	codec_free(receiver);
	ck_assert_uint_eq(buf_in_use(), 0);
	buf_pool_drain();
}

static uint8_t *exact_copy(const uint8_t *bytes, size_t count)
{
	uint8_t *copy = xmalloc(count);

	if (count)
		memcpy(copy, bytes, count);
	return copy;
}

/* Decodes the first body_bytes of a frame from a heap block of their own, which *copy then is. */
static int decode_cut(const struct io_frame *frame, uint32_t body_bytes, struct msg *msg,
		      const char **why, uint8_t **copy)
{
	struct io_frame cut = *frame;

	*copy = exact_copy(frame->body, body_bytes);
	cut.body = *copy;
	cut.body_bytes = body_bytes;
	return codec_decode(receiver, &cut, msg, why);
}

static void check_round_trip(const struct msg *msg)
{
	struct io_frame frame;
	struct msg back;
	const char *why = NULL;
	uint8_t *copy;

	codec_encode(sender, msg, &frame);
	ck_assert_uint_le(frame.body_bytes, FRAME_BODY_MAX);
	ck_assert_msg(decode_cut(&frame, frame.body_bytes, &back, &why, &copy) == 0, "%s: %s",
		      msg_type_name(msg->type), why);
	ck_assert_ptr_null(why);
	why = msg_difference(msg, &back);
	ck_assert_msg(!why, "%s: %s differs", msg_type_name(msg->type), why);
	free(copy);
}

START_TEST(every_message_survives_the_round_trip)
{
	for (int round = 0; round < 200; round++) {
		struct random_msg random;

		random_msg_make(&prng, random_msg_types[_i], &random);
		check_round_trip(&random.msg);
		random_msg_free(&random);
	}
}
END_TEST

START_TEST(the_largest_message_fits_a_frame)
{
	struct random_msg random;

	random_msg_make_largest(&prng, random_msg_types[_i], &random);
	check_round_trip(&random.msg);
	random_msg_free(&random);
}
END_TEST

START_TEST(an_answer_with_a_failure_needs_no_body)
{
	struct msg msg = {.type = random_msg_types[_i]};

	if (!msg_type_is_answer(msg.type))
		return;
	for (unsigned status = 1; status < WIRE_WAIT; status++) {
		msg.status = (enum wire_status)status;
		check_round_trip(&msg);
	}
}
END_TEST

/* Fixed layouts have one legal length. */
static bool has_fixed_layout(enum msg_type type)
{
	return type >= MSG_WRITE && type <= MSG_HEARTBEAT_OK;
}

/*
 * A shorter body never decodes where the layout is fixed. A protobuf body may be cut between two fields; what then
 * decodes must be a legal message, which encoding asserts. (On the wire the frame's checksum finds every cut.)
 */
static void check_cut(const struct msg *msg, const struct io_frame *frame, uint32_t body_bytes)
{
	struct msg back;
	struct io_frame again;
	const char *why = NULL;
	uint8_t *copy;
	int rc = decode_cut(frame, body_bytes, &back, &why, &copy);

	if (rc != 0) {
		ck_assert_int_eq(rc, -EPROTO);
		ck_assert_ptr_nonnull(why);
	} else {
		ck_assert_msg(!has_fixed_layout(msg->type), "%s cut to %u bytes decodes",
			      msg_type_name(msg->type), body_bytes);
		codec_encode(receiver, &back, &again);
	}
	free(copy);
}

START_TEST(a_cut_off_body_is_refused_or_legal)
{
	for (int round = 0; round < 10; round++) {
		struct random_msg random;
		struct io_frame frame;
		struct frame_header header;
		uint8_t bytes[FRAME_HEADER_BYTES];
		const char *why;
		uint32_t step;

		random_msg_make(&prng, random_msg_types[_i], &random);
		codec_encode(sender, &random.msg, &frame);
		frame_encode_header(&frame, bytes);
		ck_assert_int_eq(frame_decode_header(bytes, &header, &why), 0);
		ck_assert_int_eq(frame_check_body(&header, frame.body), 0);
		/* Every cut of bodies of up to some KiB, a sample of longer ones. */
		step = 1 + frame.body_bytes / 3000;
		for (uint32_t cut = 0; cut < frame.body_bytes; cut += step) {
			struct frame_header shorter = header;

			check_cut(&random.msg, &frame, cut);
			shorter.body_bytes = cut;
			ck_assert_int_eq(frame_check_body(&shorter, frame.body), -EPROTO);
		}
		random_msg_free(&random);
	}
}
END_TEST

START_TEST(a_longer_body_of_fixed_layout_is_refused)
{
	struct random_msg random;
	struct io_frame frame, longer;
	struct msg back;
	const char *why = NULL;
	uint8_t *copy;

	if (!has_fixed_layout(random_msg_types[_i]))
		return;
	random_msg_make(&prng, random_msg_types[_i], &random);
	codec_encode(sender, &random.msg, &frame);
	longer = frame;
	copy = xcalloc(1, frame.body_bytes + 1);
	memcpy(copy, frame.body, frame.body_bytes);
	longer.body = copy;
	longer.body_bytes++;
	ck_assert_int_eq(codec_decode(receiver, &longer, &back, &why), -EPROTO);
	ck_assert_ptr_nonnull(why);
	free(copy);
	random_msg_free(&random);
}
END_TEST

/* Whatever still decodes must be legal, so that it can be encoded, and mean the same after that. */
static void check_damaged(const struct io_frame *frame)
{
	struct msg back, back_again;
	struct io_frame again;
	const char *why = NULL;
	uint8_t *copy;

	if (codec_decode(receiver, frame, &back, &why) != 0) {
		ck_assert_ptr_nonnull(why);
		return;
	}
	codec_encode(receiver, &back, &again);
	copy = exact_copy(again.body, again.body_bytes);
	again.body = copy;
	ck_assert_int_eq(codec_decode(sender, &again, &back_again, &why), 0);
	ck_assert_ptr_null(msg_difference(&back, &back_again));
	free(copy);
}

START_TEST(flipped_bits_never_crash)
{
	for (int round = 0; round < 300; round++) {
		struct random_msg random;
		struct io_frame frame;
		uint8_t *body;

		random_msg_make(&prng, random_msg_types[_i], &random);
		codec_encode(sender, &random.msg, &frame);
		body = exact_copy(frame.body, frame.body_bytes);
		frame.body = body;
		for (uint64_t flips = prng_below(&prng, 8); frame.body_bytes && flips > 0; flips--)
			body[prng_below(&prng, frame.body_bytes)] ^=
				(uint8_t)(1u << prng_below(&prng, 8));
		check_damaged(&frame);
		free(body);
		random_msg_free(&random);
	}
}
END_TEST

START_TEST(random_bytes_never_crash)
{
	for (int round = 0; round < 300; round++) {
		size_t count = prng_below(&prng, 400);
		uint8_t *body = xmalloc(count);
		struct io_frame frame = {
			.type = (uint16_t)random_msg_types[_i],
			.status = (uint32_t)prng_below(&prng, 40),
			.body = body,
			.body_bytes = (uint32_t)count,
		};

		for (size_t i = 0; i < count; i++)
			body[i] = (uint8_t)prng_next(&prng);
		check_damaged(&frame);
		free(body);
	}
}
END_TEST

/* The steady state: after a first round over all kinds the codec's memory no longer grows. */
START_TEST(steady_use_allocates_nothing)
{
	size_t sending, received, body;

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < random_msg_type_count; i++) {
			struct random_msg random;

			random_msg_make_largest(&prng, random_msg_types[i], &random);
			check_round_trip(&random.msg);
			random_msg_free(&random);
		}
		if (round == 1) {
			sending = sender->sending.total;
			received = receiver->received.total;
			body = sender->body_capacity;
		}
	}
	ck_assert_uint_eq(sender->sending.total, sending);
	ck_assert_uint_eq(receiver->received.total, received);
	ck_assert_uint_eq(sender->body_capacity, body);
	ck_assert_uint_lt(receiver->received.total, ARENA_MAX / 2);
}
END_TEST

/* An answer may be sent while its request is still looked at. */
START_TEST(encoding_leaves_the_decoded_message_alone)
{
	struct random_msg request, answer;
	struct io_frame frame, other;
	struct msg back;
	const char *why;
	uint8_t *copy;

	random_msg_make_largest(&prng, MSG_TABLE_OK, &request);
	random_msg_make_largest(&prng, MSG_VERSIONS_OK, &answer);
	codec_encode(sender, &request.msg, &frame);
	ck_assert_int_eq(decode_cut(&frame, frame.body_bytes, &back, &why, &copy), 0);
	codec_encode(receiver, &answer.msg, &other);
	ck_assert_ptr_null(msg_difference(&request.msg, &back));
	free(copy);
	random_msg_free(&request);
	random_msg_free(&answer);
}
END_TEST

static struct io_frame last_sent;
static struct io_conn *last_conn;

static void record_send(struct io_conn *conn, const struct io_frame *frame)
{
	last_conn = conn;
	last_sent = *frame;
}

START_TEST(send_hands_the_encoded_frame_to_the_transport)
{
	const struct io_transport transport = {.send = record_send};
	struct io_conn *conn = (struct io_conn *)(void *)&prng;
	struct random_msg random;
	struct msg back;
	const char *why;

	random_msg_make(&prng, MSG_WRITE, &random);
	codec_send(sender, &transport, conn, &random.msg);
	ck_assert_ptr_eq(last_conn, conn);
	ck_assert_int_eq(codec_decode(receiver, &last_sent, &back, &why), 0);
	ck_assert_ptr_null(msg_difference(&random.msg, &back));
	random_msg_free(&random);
}
END_TEST

static TCase *tcase_codec(void)
{
	TCase *tcase = tcase_create("codec");
	int types = (int)random_msg_type_count;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, every_message_survives_the_round_trip, 0, types);
	tcase_add_loop_test(tcase, the_largest_message_fits_a_frame, 0, types);
	tcase_add_loop_test(tcase, an_answer_with_a_failure_needs_no_body, 0, types);
	tcase_add_loop_test(tcase, a_cut_off_body_is_refused_or_legal, 0, types);
	tcase_add_loop_test(tcase, a_longer_body_of_fixed_layout_is_refused, 0, types);
	tcase_add_loop_test(tcase, flipped_bits_never_crash, 0, types);
	tcase_add_loop_test(tcase, random_bytes_never_crash, 0, types);
	tcase_add_test(tcase, steady_use_allocates_nothing);
	tcase_add_test(tcase, encoding_leaves_the_decoded_message_alone);
	tcase_add_test(tcase, send_hands_the_encoded_frame_to_the_transport);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("codec");

	suite_add_tcase(suite, tcase_codec());
	return suite_run(suite);
}
