/* base.c - identifiers as text, and allocation that ends the process when memory is gone. */
#include "common/base/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void uuid_format(struct uuid id, char text[UUID_TEXT_BYTES])
{
	static const char hex[] = "0123456789abcdef";
	char *p = text;

	for (unsigned i = 0; i < sizeof id.bytes; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[id.bytes[i] >> 4];
		*p++ = hex[id.bytes[i] & 15];
	}
	*p = 0;
}

struct uuid uuid_from_random(uint64_t high, uint64_t low)
{
	struct uuid id;

	memcpy(id.bytes, &high, 8);
	memcpy(id.bytes + 8, &low, 8);
	id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
	id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
	return id;
}

static void *must(void *p)
{
	if (!p) {
		fputs("copyhold: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *xmalloc(size_t bytes)
{
	return must(malloc(bytes ? bytes : 1));
}

void *xcalloc(size_t count, size_t bytes)
{
	return must(calloc(count ? count : 1, bytes ? bytes : 1));
}

void *xrealloc(void *old, size_t bytes)
{
	return must(realloc(old, bytes ? bytes : 1));
}

char *xstrdup(const char *text)
{
	return must(strdup(text));
}
