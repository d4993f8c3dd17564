/* buf.c - payload buffers: one free list per size class (powers of two from 4 KiB to 2 MiB). */
#include "common/base/buf.h"

#include <stdlib.h>

#define CLASS_MIN_SHIFT 12
#define CLASSES         10
/* What a class keeps for later: enough for the windows in flight, not a leak after a burst. */
#define KEEP_BYTES (16 * MIB)

struct buf_pool {
	struct {
		SLIST_HEAD(, buf) free;
		size_t free_count;
	} classes[CLASSES];
	size_t in_use;
};

static _Thread_local struct buf_pool own;
static _Thread_local struct buf_pool *used; /* NULL: its own */

static struct buf_pool *pool(void)
{
	return used ? used : &own;
}

struct buf_pool *buf_pool_new(void)
{
	return xcalloc(1, sizeof(struct buf_pool));
}

void buf_pool_use(struct buf_pool *p)
{
	used = p;
}

void buf_pool_free(struct buf_pool *p)
{
	struct buf_pool *before = used;

	assert(p->in_use == 0);
	used = p;
	buf_pool_drain();
	used = before == p ? NULL : before;
	free(p);
}

static unsigned class_of(size_t bytes)
{
	unsigned c = 0;

	while (((size_t)1 << (CLASS_MIN_SHIFT + c)) < bytes)
		c++;
	assert(c < CLASSES);
	return c;
}

struct buf *buf_new(size_t bytes)
{
	unsigned c = class_of(bytes);
	struct buf_pool *p = pool();
	struct buf *b = SLIST_FIRST(&p->classes[c].free);

	assert(bytes > 0);
	if (b) {
		SLIST_REMOVE_HEAD(&p->classes[c].free, free_link);
		p->classes[c].free_count--;
	} else {
		b = xcalloc(1, sizeof *b);
		b->size_class = c;
		b->bytes = 1u << (CLASS_MIN_SHIFT + c);
		b->data = aligned_alloc(BLOCK_BYTES, b->bytes);
		if (!b->data)
			abort();
	}
	b->references = 1;
	p->in_use++;
	return b;
}

struct buf *buf_ref(struct buf *b)
{
	assert(b->references > 0);
	b->references++;
	return b;
}

static void buf_free(struct buf *b)
{
	free(b->data);
	free(b);
}

void buf_unref(struct buf *b)
{
	struct buf_pool *p = pool();

	if (!b)
		return;
	assert(b->references > 0);
	if (--b->references)
		return;
	assert(p->in_use > 0);
	p->in_use--;
	if ((p->classes[b->size_class].free_count + 1) * b->bytes > KEEP_BYTES) {
		buf_free(b);
		return;
	}
	SLIST_INSERT_HEAD(&p->classes[b->size_class].free, b, free_link);
	p->classes[b->size_class].free_count++;
}

size_t buf_in_use(void)
{
	return pool()->in_use;
}

void buf_pool_drain(void)
{
	struct buf_pool *p = pool();

	for (unsigned c = 0; c < CLASSES; c++) {
		struct buf *b;

		while ((b = SLIST_FIRST(&p->classes[c].free))) {
			SLIST_REMOVE_HEAD(&p->classes[c].free, free_link);
			buf_free(b);
		}
		p->classes[c].free_count = 0;
	}
}
