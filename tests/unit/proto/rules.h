/*
 * rules.h - for the tests that break each rule of what may be in a message once.
 *
 * A message that breaks a rule cannot be encoded (encoding asserts), so the tests make a legal frame and damage it:
 * fixed layouts at the byte where the field lies, protobuf bodies by packing the broken struct of the generated code.
 */
#ifndef COPYHOLD_TEST_RULES_H
#define COPYHOLD_TEST_RULES_H

#include "proto/codec.h"
#include "proto/codec_internal.h"
#include "proto/copyhold.pb-c.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

static struct codec *codec;
static uint8_t body[FRAME_BODY_MAX];
static struct msg decoded;

static inline void setup(void)
{
	codec = codec_new();
}

static inline void teardown(void)
{
	codec_free(codec);
	buf_pool_drain();
}

/* A payload that nobody looks into. */
static inline struct slice payload(uint32_t bytes)
{
	static struct buf no_buf;

	return (struct slice){.buf = bytes ? &no_buf : NULL, .bytes = bytes};
}

static inline const char *decode(const struct io_frame *frame)
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
static inline struct io_frame encode(const struct msg *msg)
{
	struct io_frame frame;

	codec_encode(codec, msg, &frame);
	memcpy(body, frame.body, frame.body_bytes);
	frame.body = body;
	return frame;
}

static inline struct io_frame pack(enum msg_type type, const ProtobufCMessage *message)
{
	return (struct io_frame){
		.type = (uint16_t)type,
		.body = body,
		.body_bytes = (uint32_t)protobuf_c_message_pack(message, body),
	};
}

static inline void put32(size_t offset, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		body[offset + i] = (uint8_t)(value >> (8 * i));
}

/* Runs a file's tests; its exit status. */
static inline int run(TCase *tcase)
{
	Suite *suite = suite_create("codec rules");

	tcase_add_checked_fixture(tcase, setup, teardown);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}

#endif
