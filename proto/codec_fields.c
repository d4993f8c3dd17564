/* codec_fields.c - fields that several messages share: their conversion, and the rules for them. */
#include "proto/codec_internal.h"

ProtobufCBinaryData codec_uuid_out(const struct uuid *id)
{
	if (uuid_is_zero(*id))
		return (ProtobufCBinaryData){0, NULL};
	return (ProtobufCBinaryData){sizeof id->bytes, (uint8_t *)(uintptr_t)id->bytes};
}

bool codec_uuid_in(struct uuid *id, ProtobufCBinaryData bytes)
{
	memset(id, 0, sizeof *id);
	if (bytes.len == 0)
		return true;
	if (bytes.len != sizeof id->bytes)
		return false;
	memcpy(id->bytes, bytes.data, sizeof id->bytes);
	return true;
}

static bool is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
}

bool codec_text_in(char *to, size_t capacity, const char *from)
{
	size_t length = strlen(from);

	if (length >= capacity)
		return false;
	for (size_t i = 0; i < length; i++)
		to[i] = is_control(from[i]) ? '?' : from[i];
	to[length] = 0;
	return true;
}

static bool copy_if_fitting(char *to, size_t capacity, const char *from)
{
	size_t length = strlen(from);

	if (length >= capacity)
		return false;
	memcpy(to, from, length + 1);
	return true;
}

bool codec_name_in(char to[NAME_BYTES], const char *from)
{
	return copy_if_fitting(to, NAME_BYTES, from);
}

bool codec_address_in(char to[ADDRESS_BYTES], const char *from)
{
	return copy_if_fitting(to, ADDRESS_BYTES, from);
}

bool text_is_terminated(const char *text, size_t capacity)
{
	return memchr(text, 0, capacity) != NULL;
}

bool name_is_legal_or_empty(const char *name)
{
	return name[0] == 0 || name_is_legal(name);
}

bool chunk_bytes_is_legal(uint64_t chunk_bytes)
{
	return chunk_bytes >= CHUNK_BYTES_MIN && chunk_bytes <= CHUNK_BYTES_MAX &&
	       (chunk_bytes & (chunk_bytes - 1)) == 0;
}

bool range_is_legal(uint32_t offset, uint32_t bytes)
{
	return offset % BLOCK_BYTES == 0 && bytes % BLOCK_BYTES == 0 && bytes > 0 &&
	       bytes <= IO_BYTES_MAX && (uint64_t)offset + bytes <= CHUNK_BYTES_MAX;
}

bool bitmap_is_legal(const uint8_t *bitmap, uint32_t bits)
{
	if (!bitmap || bits % 8 == 0)
		return true;
	return bitmap[bits / 8] >> (bits % 8) == 0;
}

uint32_t bitmap_count(const uint8_t *bitmap, uint32_t bits)
{
	uint32_t count = 0;

	if (!bitmap)
		return 0;
	for (size_t i = 0; i < bitmap_bytes(bits); i++)
		count += (uint32_t)__builtin_popcount(bitmap[i]);
	return count;
}

bool role_is_legal(unsigned role)
{
	return role >= ROLE_ENGINE && role <= ROLE_ADMIN;
}
