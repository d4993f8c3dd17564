/*
 * bits.h - arrays of bits as they stand in messages, records and results: bit i is bit i % 8 of byte i / 8.
 */
#ifndef COPYHOLD_BITS_H
#define COPYHOLD_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline bool bit_get(const uint8_t *bits, uint32_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static inline void bit_set(uint8_t *bits, uint32_t i)
{
	bits[i / 8] |= (uint8_t)(1u << (i % 8));
}

static inline void bit_clear(uint8_t *bits, uint32_t i)
{
	bits[i / 8] &= (uint8_t) ~(1u << (i % 8));
}

#endif
