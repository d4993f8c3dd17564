/*
 * crc.h - CRC32C (ISA-L), and the checksum of a block.
 *
 * The checksum of a block is made once by the engine from the user's bytes and travels with them
 * to the disk and back. It is seeded with the *root* chunk id (the chunk in which the data was first
 * written; clones keep it) and the block's index in the chunk, so that a lost or misdirected
 * write fails the check as surely as a flipped bit does.
 */
#ifndef COPYHOLD_CRC_H
#define COPYHOLD_CRC_H

#include "common/base/base.h"

/* CRC32C of bytes, chained: start with seed 0, pass the result on for more data. */
uint32_t crc32c(uint32_t seed, const void *data, size_t bytes);

/* The checksum of one block (BLOCK_BYTES at data) that is the block_index-th of its chunk. */
uint32_t crc_block(uint64_t root_chunk, uint32_t block_index, const void *data);

/* Fills crcs[0 .. blocks) for consecutive blocks from first_block on. */
void crc_blocks(uint64_t root_chunk, uint32_t first_block, uint32_t blocks, const void *data,
		uint32_t *crcs);

#endif
