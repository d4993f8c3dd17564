/*
 * hash.h - uthash with a hash function for our keys: small integers and identifiers. (uthash's own, Jenkins's,
 * falls through switch labels in every place that expands it, which clang warns of, and is slower on 8 bytes.)
 */
#ifndef COPYHOLD_HASH_H
#define COPYHOLD_HASH_H

#include "common/base/prng.h"

static inline unsigned hash_bytes(const void *key, size_t bytes)
{
	uint64_t h = bytes, word;
	const uint8_t *p = key;

	while (bytes) {
		size_t n = MIN(bytes, sizeof word);

		word = 0;
		memcpy(&word, p, n);
		h = mix64(h ^ word);
		p += n;
		bytes -= n;
	}
	return (unsigned)h;
}

#define HASH_FUNCTION(key, bytes, hash) (hash) = hash_bytes(key, bytes)
#include <uthash.h>

#endif
