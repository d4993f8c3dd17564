/*
 * frame.h - the fixed header in front of every message on a byte stream.
 *
 *   offset  bytes  field (little-endian)
 *        0      4  magic "CHF1"
 *        4      1  version of the frame format (1)
 *        5      1  reserved, 0
 *        6      2  type (enum msg_type)
 *        8      8  id
 *       16      4  body_bytes      (at most FRAME_BODY_MAX)
 *       20      4  payload_bytes   (at most FRAME_PAYLOAD_MAX)
 *       24      4  status (enum wire_status)
 *       28      4  crc32c of the body
 *       32      4  reserved, 0
 *       36      4  crc32c of bytes 0 .. 35
 *       40         body, then payload
 *
 * The payload has no checksum here: it carries the engine's block checksums in its message.
 */
#ifndef COPYHOLD_FRAME_H
#define COPYHOLD_FRAME_H

#include "common/io/transport.h"

#define FRAME_HEADER_BYTES 40u
#define FRAME_BODY_MAX     (1u << 20)
#define FRAME_PAYLOAD_MAX  (1u << 20)

struct frame_header {
	uint16_t type;
	uint64_t id;
	uint32_t body_bytes;
	uint32_t payload_bytes;
	uint32_t status;
	uint32_t body_crc;
};

/* Writes the header of a frame whose body is at frame->body. */
void frame_encode_header(const struct io_frame *frame, uint8_t out[FRAME_HEADER_BYTES]);
/* 0, or -EPROTO with *why naming the field that is wrong. */
int frame_decode_header(const uint8_t in[FRAME_HEADER_BYTES], struct frame_header *header,
			const char **why);
/* 0, or -EPROTO if the body does not match its checksum. */
int frame_check_body(const struct frame_header *header, const uint8_t *body);

#endif
