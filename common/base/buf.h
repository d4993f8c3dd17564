/*
 * buf.h - reference-counted payload buffers, aligned for O_DIRECT, recycled in size classes.
 *
 * A payload travels beside its message, never in it: the transport receives into a buf, the store
 * writes from it, the owner keeps it until its generation is settled. Everybody who keeps a buf
 * past the call that showed it takes a reference of their own.
 *
 * Not thread-safe: a buf, and the pool behind it, belong to one event loop. Each thread has a pool of its own, so several loops in a
 * process do not meet; a loop that several threads run in turn has a pool that each of them uses meanwhile (buf_pool_use).
 */
#ifndef COPYHOLD_BUF_H
#define COPYHOLD_BUF_H

#include "common/base/base.h"

struct buf {
	uint8_t *data;  /* aligned to BLOCK_BYTES */
	uint32_t bytes; /* capacity */
	uint32_t references;
	uint32_t size_class;
	SLIST_ENTRY(buf) free_link;
};

/* A new buf of at least `bytes` (1 .. 2 MiB) with one reference, contents undefined. Never fails. */
struct buf *buf_new(size_t bytes);
struct buf *buf_ref(struct buf *b);
/* Drops one reference; with the last one the buf goes back to the pool. NULL is allowed. */
void buf_unref(struct buf *b);
/* Bufs that are in use (for leak checks in tests and in the simulator). */
size_t buf_in_use(void);
/* Frees what the pool that this thread uses keeps for later. */
void buf_pool_drain(void);

/* A pool for a loop without a thread of its own. Its bufs live and die while it is used. */
struct buf_pool *buf_pool_new(void);
/* From now on this thread uses `pool`, its own if NULL. The caller sees to it that no other thread uses it at the same time. */
void buf_pool_use(struct buf_pool *pool);
/* All bufs of it were given back. */
void buf_pool_free(struct buf_pool *pool);

/* A range of a buf. An empty slice has buf == NULL and bytes == 0. Holds no reference by itself. */
struct slice {
	struct buf *buf;
	uint32_t offset;
	uint32_t bytes;
};

static inline uint8_t *slice_data(struct slice s)
{
	return s.buf ? s.buf->data + s.offset : NULL;
}

static inline struct slice slice_ref(struct slice s)
{
	if (s.buf)
		buf_ref(s.buf);
	return s;
}

static inline void slice_unref(struct slice *s)
{
	buf_unref(s->buf);
	*s = (struct slice){0};
}

/* A slice over a whole new buf of `bytes`; the caller owns the one reference. */
static inline struct slice slice_new(size_t bytes)
{
	return (struct slice){.buf = buf_new(bytes), .offset = 0, .bytes = (uint32_t)bytes};
}

#endif
