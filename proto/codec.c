/* codec.c - a message to a frame and back: the codec's memory, and the way through the table of handlers. */
#include "proto/codec_internal.h"

#include <errno.h>
#include <stdlib.h>

#define ARENA_PART_MIN ((size_t)(64 * KIB))
/* The largest body of the data path fits, so that it never grows there. */
#define BODY_MIN ((size_t)(16 * KIB))

const char codec_malformed[] = "the body is malformed";

/* ---- memory ---- */

static struct arena_part *arena_grow(struct arena *arena, size_t bytes)
{
	size_t capacity = MAX(bytes, MAX(arena->total, ARENA_PART_MIN));
	struct arena_part *part;

	if (arena->total + bytes > ARENA_MAX)
		return NULL;
	capacity = MIN(capacity, ARENA_MAX - arena->total);
	part = xmalloc(sizeof *part + capacity);
	part->previous = arena->parts;
	part->capacity = capacity;
	part->used = 0;
	arena->parts = part;
	arena->total += capacity;
	return part;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	struct arena_part *part = arena->parts;
	void *at;

	if (bytes > ARENA_MAX)
		return NULL;
	bytes = ROUND_UP(MAX(bytes, 1u), 16u);
	if (!part || part->capacity - part->used < bytes)
		part = arena_grow(arena, bytes);
	if (!part)
		return NULL;
	at = part->bytes + part->used;
	part->used += bytes;
	return at;
}

void arena_free(struct arena *arena)
{
	while (arena->parts) {
		struct arena_part *part = arena->parts;

		arena->parts = part->previous;
		free(part);
	}
	arena->total = 0;
}

void arena_reset(struct arena *arena)
{
	size_t total = arena->total;

	if (!arena->parts)
		return;
	if (arena->parts->previous) {
		arena_free(arena);
		arena_grow(arena, total);
	}
	arena->parts->used = 0;
}

void codec_body_reserve(struct codec *codec, size_t bytes)
{
	assert(bytes <= FRAME_BODY_MAX);
	if (codec->body_capacity >= bytes)
		return;
	codec->body_capacity = MAX(bytes, MIN(2 * codec->body_capacity, FRAME_BODY_MAX));
	free(codec->body);
	codec->body = xmalloc(codec->body_capacity);
}

static void *allocator_alloc(void *context, size_t bytes)
{
	return arena_alloc(context, bytes);
}

/* The arena takes everything back at once. */
static void allocator_free(void *context, void *memory)
{
	(void)context;
	(void)memory;
}

struct codec *codec_new(void)
{
	struct codec *codec = xcalloc(1, sizeof *codec);

	codec->allocator = (ProtobufCAllocator){
		.alloc = allocator_alloc,
		.free = allocator_free,
		.allocator_data = &codec->received,
	};
	codec_body_reserve(codec, BODY_MIN);
	return codec;
}

void codec_free(struct codec *codec)
{
	if (!codec)
		return;
	arena_free(&codec->sending);
	arena_free(&codec->received);
	free(codec->body);
	free(codec);
}

/* ---- protobuf ---- */

void *codec_unpack(struct codec *codec, const struct io_frame *frame,
		   const ProtobufCMessageDescriptor *descriptor)
{
	return protobuf_c_message_unpack(descriptor, &codec->allocator, frame->body_bytes,
					 frame->body);
}

size_t codec_pack(struct codec *codec, const ProtobufCMessage *message)
{
	codec_body_reserve(codec, protobuf_c_message_get_packed_size(message));
	return protobuf_c_message_pack(message, codec->body);
}

void *codec_sending_array(struct codec *codec, size_t count, size_t bytes)
{
	void *array = arena_alloc(&codec->sending, count * bytes);

	assert(array);
	return array;
}

void *codec_received_array(struct codec *codec, size_t count, size_t bytes)
{
	return arena_alloc(&codec->received, count * bytes);
}

/* ---- messages ---- */

static const struct codec_handler *handler_of(unsigned type)
{
	static const struct codec_handler *const arrays[] = {
		codec_data_handlers,
		codec_control_handlers,
		codec_meta_handlers,
		codec_chunk_handlers,
	};

	if (type >= CODEC_TYPES)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++)
		if (arrays[i][type].decode)
			return &arrays[i][type];
	return NULL;
}

/* The rules that hold for every message, then its own. */
static const char *message_check(const struct codec_handler *handler, const struct msg *msg)
{
	if ((unsigned)msg->status >= WIRE_STATUS_COUNT)
		return "unknown status";
	if (msg->status != WIRE_OK && !handler->answer)
		return "a status in a message that is no answer";
	if (msg->status == WIRE_WAIT && msg->type != MSG_SYNC_OK)
		return "WAIT in another answer than that to SYNC";
	if (msg->payload.bytes && !handler->payload)
		return "a payload in a message without data";
	return handler->check ? handler->check(msg) : NULL;
}

void codec_encode(struct codec *codec, const struct msg *msg, struct io_frame *frame)
{
	const struct codec_handler *handler = handler_of(msg->type);
	size_t body_bytes;

	assert(handler);
	assert(message_check(handler, msg) == NULL);
	arena_reset(&codec->sending);
	body_bytes = handler->encode(codec, msg);
	assert(body_bytes <= FRAME_BODY_MAX);
	*frame = (struct io_frame){
		.type = (uint16_t)msg->type,
		.status = msg->status,
		.id = msg->id,
		.body = codec->body,
		.body_bytes = (uint32_t)body_bytes,
		.payload = msg->payload,
	};
}

void codec_send(struct codec *codec, const struct io_transport *transport, struct io_conn *conn,
		const struct msg *msg)
{
	struct io_frame frame;

	codec_encode(codec, msg, &frame);
	transport->send(conn, &frame);
}

int codec_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg,
		 const char **why)
{
	const struct codec_handler *handler = handler_of(frame->type);

	*why = "unknown type of message";
	if (!handler)
		return -EPROTO;
	arena_reset(&codec->received);
	memset(msg, 0, sizeof *msg);
	msg->type = frame->type;
	msg->id = frame->id;
	msg->status = frame->status;
	msg->payload = frame->payload;
	*why = handler->decode(codec, frame, msg);
	if (!*why)
		*why = message_check(handler, msg);
	return *why ? -EPROTO : 0;
}
