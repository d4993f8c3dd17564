/* frame.c - the header in front of every message; see frame.h for its bytes. */
#include "proto/frame.h"

#include "common/base/crc.h"
#include "proto/layout.h"

#include <endian.h>
#include <errno.h>

#define FRAME_FORMAT 1

static const uint8_t frame_magic[4] = {'C', 'H', 'F', '1'};

static_assert(sizeof(struct layout_frame_header) == FRAME_HEADER_BYTES, "header size");

static uint32_t header_crc(const void *header)
{
	return crc32c(0, header, offsetof(struct layout_frame_header, header_crc));
}

void frame_encode_header(const struct io_frame *frame, uint8_t out[FRAME_HEADER_BYTES])
{
	struct layout_frame_header raw = {
		.format = FRAME_FORMAT,
		.type = htole16(frame->type),
		.id = htole64(frame->id),
		.body_bytes = htole32(frame->body_bytes),
		.payload_bytes = htole32(frame->payload.bytes),
		.status = htole32(frame->status),
		.body_crc = htole32(crc32c(0, frame->body, frame->body_bytes)),
	};

	assert(frame->body_bytes <= FRAME_BODY_MAX);
	assert(frame->payload.bytes <= FRAME_PAYLOAD_MAX);
	memcpy(raw.magic, frame_magic, sizeof frame_magic);
	raw.header_crc = htole32(header_crc(&raw));
	memcpy(out, &raw, sizeof raw);
}

/* What is wrong with a header, or NULL. The magic comes first: it tells a stranger from a damaged frame. */
static const char *header_fault(const struct layout_frame_header *raw)
{
	if (memcmp(raw->magic, frame_magic, sizeof frame_magic) != 0)
		return "frame: no Copyhold magic";
	if (le32toh(raw->header_crc) != header_crc(raw))
		return "frame: the header's checksum is wrong";
	if (raw->format != FRAME_FORMAT)
		return "frame: unknown frame format";
	if (raw->reserved != 0 || raw->reserved_too != 0)
		return "frame: reserved bytes are not 0";
	if (le32toh(raw->body_bytes) > FRAME_BODY_MAX)
		return "frame: body_bytes is above the limit";
	if (le32toh(raw->payload_bytes) > FRAME_PAYLOAD_MAX)
		return "frame: payload_bytes is above the limit";
	return NULL;
}

int frame_decode_header(const uint8_t in[FRAME_HEADER_BYTES], struct frame_header *header,
			const char **why)
{
	struct layout_frame_header raw;

	memcpy(&raw, in, sizeof raw);
	*why = header_fault(&raw);
	if (*why)
		return -EPROTO;
	*header = (struct frame_header){
		.type = le16toh(raw.type),
		.id = le64toh(raw.id),
		.body_bytes = le32toh(raw.body_bytes),
		.payload_bytes = le32toh(raw.payload_bytes),
		.status = le32toh(raw.status),
		.body_crc = le32toh(raw.body_crc),
	};
	return 0;
}

int frame_check_body(const struct frame_header *header, const uint8_t *body)
{
	return crc32c(0, body, header->body_bytes) == header->body_crc ? 0 : -EPROTO;
}
