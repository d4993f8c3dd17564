/*
 * fuzz_codec.c - libFuzzer: any bytes as the body of any message.
 *
 * Input: type, status, payload in blocks (255: the largest), then the body. What decodes must be legal: it is encoded
 * (which asserts the rules) and decoded again, and must mean the same.
 */
#include "proto/codec.h"
#include "proto/frame.h"
#include "tests/lib/random_msg.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct codec *first, *second;
static struct buf payload_buf;

static void start(void)
{
	first = codec_new();
	second = codec_new();
	payload_buf.data = xcalloc(1, FRAME_PAYLOAD_MAX);
}

static struct slice payload_of(uint8_t blocks)
{
	if (blocks == 0)
		return (struct slice){0};
	return (struct slice){
		.buf = &payload_buf,
		.bytes = blocks == 255 ? FRAME_PAYLOAD_MAX : blocks * BLOCK_BYTES,
	};
}

static void fail(const struct msg *msg, const char *what)
{
	fprintf(stderr, "%s: %s\n", msg_type_name(msg->type), what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct io_frame frame, again;
	struct msg msg, back;
	const char *why;

	if (!first)
		start();
	if (bytes < 3 || bytes - 3 > FRAME_BODY_MAX)
		return 0;
	frame = (struct io_frame){
		.type = data[0],
		.status = data[1],
		.payload = payload_of(data[2]),
		.body = data + 3,
		.body_bytes = (uint32_t)(bytes - 3),
	};
	if (codec_decode(first, &frame, &msg, &why) != 0)
		return 0;
	codec_encode(first, &msg, &again);
	if (codec_decode(second, &again, &back, &why) != 0)
		fail(&msg, why);
	why = msg_difference(&msg, &back);
	if (why)
		fail(&msg, why);
	return 0;
}
