/* checksum.c - checksums of structures on disk, alone in a file so that the fuzzer can put another one in its place. */
#include "replica-engine/store/store_internal.h"

#include "common/base/crc.h"

uint32_t store_seed(const uint8_t disk[16])
{
	return crc32c(0, disk, 16);
}

uint32_t store_crc(uint32_t seed, const void *data, size_t bytes)
{
	return crc32c(seed, data, bytes);
}
