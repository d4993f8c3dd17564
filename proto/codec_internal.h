/*
 * codec_internal.h - what the files of the codec share: its memory, the table of handlers, helpers for fields.
 *
 * Work is split in three. A handler's decode() turns a body into a struct and answers for the shape: nothing is
 * read past the end, arrays fit, texts are terminated. Its check() answers for the meaning, by rules that hold for
 * messages to be sent as well: decoding reports a breach, encoding asserts that there is none. Its encode()
 * then only copies.
 */
#ifndef COPYHOLD_PROTO_CODEC_INTERNAL_H
#define COPYHOLD_PROTO_CODEC_INTERNAL_H

#include "proto/codec.h"
#include "proto/frame.h"

#include <protobuf-c/protobuf-c.h>

#define UNITS_MAX ((uint32_t)(CHUNK_BYTES_MAX / UNIT_BYTES))

/*
 * Memory that is given out piece by piece and taken back all at once. After a message that needed more than
 * one piece of heap the next reset replaces them by a single one, so that a steady load allocates nothing.
 */
struct arena_part {
	struct arena_part *previous;
	size_t capacity;
	size_t used;
	_Alignas(16) uint8_t bytes[];
};

struct arena {
	struct arena_part *parts; /* the newest first */
	size_t total;             /* capacity of all parts */
};

/*
 * 16-byte aligned, contents undefined. NULL if the message would need more than ARENA_MAX: no legal one does, but
 * a hostile one of many empty fields takes far more memory than bytes.
 */
#define ARENA_MAX ((size_t)(32 * MIB))
void *arena_alloc(struct arena *arena, size_t bytes);
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

struct codec {
	struct arena sending;
	struct arena
		received; /* apart, so that an answer can be sent while its request is still looked at */
	ProtobufCAllocator allocator; /* over received */
	uint8_t *body;                /* of the message being sent */
	size_t body_capacity;
	uint32_t crcs[IO_BLOCKS_MAX]; /* of the message received */
};

/* Both return NULL, or what is wrong with the message. */
typedef const char *codec_decode_fn(struct codec *codec, const struct io_frame *frame,
				    struct msg *msg);
typedef const char *codec_check_fn(const struct msg *msg);
/* Fills codec->body and returns its length. */
typedef size_t codec_encode_fn(struct codec *codec, const struct msg *msg);

struct codec_handler {
	codec_encode_fn *encode;
	codec_decode_fn *decode;
	codec_check_fn *check; /* may be NULL */
	bool answer;           /* may have a status */
	bool payload;          /* check() judges the payload; all others have none */
};

/* encode and decode of one kind of body, for an entry of the tables. */
#define HANDLER(body) .encode = body##_encode, .decode = body##_decode

/* The tables, over enum msg_type, a part of it each; entries without decode are not theirs. */
#define CODEC_TYPES (MSG_SCRUBBED + 1)
extern const struct codec_handler codec_data_handlers[CODEC_TYPES];
extern const struct codec_handler codec_control_handlers[CODEC_TYPES];
extern const struct codec_handler codec_meta_handlers[CODEC_TYPES];
extern const struct codec_handler codec_chunk_handlers[CODEC_TYPES];

/* Makes room in codec->body. */
void codec_body_reserve(struct codec *codec, size_t bytes);

/* ---- protobuf ---- */

/* The whole body as a message of the received arena, or NULL. */
void *codec_unpack(struct codec *codec, const struct io_frame *frame,
		   const ProtobufCMessageDescriptor *descriptor);
/* Into codec->body. */
size_t codec_pack(struct codec *codec, const ProtobufCMessage *message);

extern const char codec_malformed[];

/* Arrays for a message to be sent; never NULL, even for count 0. */
void *codec_sending_array(struct codec *codec, size_t count, size_t bytes);
/* Arrays of a received message; NULL if there is too much of it. */
void *codec_received_array(struct codec *codec, size_t count, size_t bytes);

ProtobufCBinaryData codec_uuid_out(const struct uuid *id);
/* False if there are neither 16 bytes nor none. */
bool codec_uuid_in(struct uuid *id, ProtobufCBinaryData bytes);

/* protobuf-c has no const strings; it only reads them. */
static inline char *codec_text_out(const char *text)
{
	return (char *)(uintptr_t)text;
}

/*
 * Copies a received string. False if it does not fit. Control characters become '?': what ends up in logs and on
 * terminals must not be able to forge lines there.
 */
bool codec_text_in(char *to, size_t capacity, const char *from);
/* Without that: a control character in one of these is a fault, which check() finds. */
bool codec_name_in(char to[NAME_BYTES], const char *from);
bool codec_address_in(char to[ADDRESS_BYTES], const char *from);

/* ---- rules that several messages share ---- */

/* Whether there is a terminating 0 within capacity. */
bool text_is_terminated(const char *text, size_t capacity);
bool name_is_legal_or_empty(const char *name);
/* A power of two within the limits of base.h. */
bool chunk_bytes_is_legal(uint64_t chunk_bytes);
/* Whole blocks, at least one, at most IO_BYTES_MAX, within the largest chunk. */
bool range_is_legal(uint32_t offset, uint32_t bytes);
/* Whether all bits from `bits` on are 0 in the last byte. bitmap may be NULL. */
bool bitmap_is_legal(const uint8_t *bitmap, uint32_t bits);
uint32_t bitmap_count(const uint8_t *bitmap, uint32_t bits);
bool role_is_legal(unsigned role);

static inline size_t bitmap_bytes(uint32_t bits)
{
	return (bits + 7u) / 8u;
}

#endif
