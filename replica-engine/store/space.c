/* space.c - see space.h. Two levels: 64 numbers a word, 64 words a summary word. */
#include "replica-engine/store/space.h"

#include <stdlib.h>

static uint32_t words_of(uint32_t count)
{
	return (uint32_t)(((uint64_t)count + 63) / 64);
}

void space_init(struct space *s, uint32_t count)
{
	uint32_t words = words_of(count);

	*s = (struct space){.count = count, .free = count};
	s->words = xcalloc(words + 1, sizeof *s->words);
	s->summary = xcalloc(words_of(words) + 1, sizeof *s->summary);
	for (uint32_t w = 0; w < words; w++) {
		uint32_t left = count - w * 64;

		s->words[w] = left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
		s->summary[w / 64] |= UINT64_C(1) << (w % 64);
	}
}

void space_destroy(struct space *s)
{
	free(s->words);
	free(s->summary);
	*s = (struct space){0};
}

static void clear_bit(struct space *s, uint32_t number)
{
	uint32_t w = number / 64;

	s->words[w] &= ~(UINT64_C(1) << (number % 64));
	if (!s->words[w])
		s->summary[w / 64] &= ~(UINT64_C(1) << (w % 64));
	s->free--;
}

/* The first word from `from` on that has a free bit; words_of(count) if none has. */
static uint32_t find_word(const struct space *s, uint32_t from)
{
	uint32_t words = words_of(s->count), groups = words_of(words);

	for (uint32_t g = from / 64; g < groups; g++) {
		uint64_t bits = s->summary[g];

		if (g == from / 64)
			bits &= UINT64_MAX << (from % 64);
		if (bits)
			return g * 64 + (uint32_t)__builtin_ctzll(bits);
	}
	return words;
}

bool space_take(struct space *s, uint32_t *number)
{
	uint32_t words = words_of(s->count), w;
	uint64_t bits;

	if (!s->free)
		return false;
	w = s->cursor / 64;
	bits = w < words ? s->words[w] & (UINT64_MAX << (s->cursor % 64)) : 0;
	if (!bits) {
		w = find_word(s, w + 1 < words ? w + 1 : 0);
		if (w >= words)
			w = find_word(s, 0);
		assert(w < words);
		bits = s->words[w];
	}
	*number = w * 64 + (uint32_t)__builtin_ctzll(bits);
	clear_bit(s, *number);
	s->cursor = *number + 1 < s->count ? *number + 1 : 0;
	return true;
}

void space_give(struct space *s, uint32_t number)
{
	assert(number < s->count && !space_is_free(s, number));
	s->words[number / 64] |= UINT64_C(1) << (number % 64);
	s->summary[number / 4096] |= UINT64_C(1) << (number / 64 % 64);
	s->free++;
}

bool space_is_free(const struct space *s, uint32_t number)
{
	assert(number < s->count);
	return s->words[number / 64] >> (number % 64) & 1;
}

bool space_claim(struct space *s, uint32_t number)
{
	if (!space_is_free(s, number))
		return false;
	clear_bit(s, number);
	return true;
}

uint64_t space_memory_bytes(const struct space *s)
{
	uint64_t words = words_of(s->count);

	return 8 * (words + 1 + words_of((uint32_t)words) + 1);
}
