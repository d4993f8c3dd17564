/*
 * fuzz_frame.c - libFuzzer: any bytes as a frame's header with its body behind it.
 *
 * A random header hardly ever has a right checksum, so after a first look the checksum is set right and the other
 * rules get their turn. A header that is accepted must be the one that its fields encode to.
 */
#include "common/base/crc.h"
#include "proto/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_header(const uint8_t in[FRAME_HEADER_BYTES], const uint8_t *body,
			 size_t body_bytes)
{
	struct frame_header header;
	struct io_frame frame;
	uint8_t out[FRAME_HEADER_BYTES];
	const char *why;

	if (frame_decode_header(in, &header, &why) != 0) {
		if (!why)
			abort();
		return;
	}
	if (header.body_bytes > body_bytes || frame_check_body(&header, body) != 0)
		return;
	frame = (struct io_frame){
		.type = header.type,
		.status = header.status,
		.id = header.id,
		.body = body,
		.body_bytes = header.body_bytes,
		.payload = {.bytes = header.payload_bytes},
	};
	frame_encode_header(&frame, out);
	if (memcmp(in, out, sizeof out) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	uint8_t header[FRAME_HEADER_BYTES];
	uint32_t crc;

	if (bytes < sizeof header)
		return 0;
	memcpy(header, data, sizeof header);
	check_header(header, data + sizeof header, bytes - sizeof header);
	crc = crc32c(0, header, FRAME_HEADER_BYTES - 4);
	for (int i = 0; i < 4; i++)
		header[FRAME_HEADER_BYTES - 4 + i] = (uint8_t)(crc >> (8 * i));
	check_header(header, data + sizeof header, bytes - sizeof header);
	return 0;
}
