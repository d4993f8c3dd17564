/* crc.c - see crc.h. */
#include "common/base/crc.h"

#include <isa-l/crc.h>

uint32_t crc32c(uint32_t seed, const void *data, size_t bytes)
{
	/* ISA-L takes and gives the register without the final inversion. */
	return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)bytes, ~seed);
}

uint32_t crc_block(uint64_t root_chunk, uint32_t block_index, const void *data)
{
	struct {
		uint64_t root_chunk_le;
		uint32_t block_index_le;
	} __attribute__((packed)) place = {root_chunk, block_index};

	static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
		      "written for little-endian machines");
	return crc32c(crc32c(0, &place, sizeof place), data, BLOCK_BYTES);
}

void crc_blocks(uint64_t root_chunk, uint32_t first_block, uint32_t blocks, const void *data,
		uint32_t *crcs)
{
	for (uint32_t i = 0; i < blocks; i++)
		crcs[i] = crc_block(root_chunk, first_block + i,
				    (const uint8_t *)data + (size_t)i * BLOCK_BYTES);
}
