/*
 * base.h - the few things that every part of Copyhold shares: sizes, identifiers, small macros.
 *
 * Error model: functions return 0 or a negative errno and give results through out-parameters
 * that come last. The wire has its own status codes (proto/msg.h); each edge translates.
 */
#ifndef COPYHOLD_BASE_H
#define COPYHOLD_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h>

#ifdef NDEBUG
#error "asserts stay on in release: do not define NDEBUG"
#endif

/* What --version and status show. */
#define COPYHOLD_VERSION "0.1.0"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

/* The unit of checksums and of what replicas write. */
#define BLOCK_BYTES 4096u
/* The unit of space allocation, copy-on-write and resynchronisation. */
#define UNIT_BYTES  65536u
#define UNIT_BLOCKS (UNIT_BYTES / BLOCK_BYTES)

/* Sizes that a pool may choose for its chunks (powers of two). */
#define CHUNK_BYTES_MIN     (4 * MIB)
#define CHUNK_BYTES_MAX     (1 * GIB)
#define CHUNK_BYTES_DEFAULT (256 * MIB)

/* Most replicas of one chunk, ACTIVE and FILLING together. */
#define REPLICAS_MAX 8

/* The largest range of one request to a chunk; the engine splits what is larger. */
#define IO_BYTES_MAX  (1 * MIB)
#define IO_BLOCKS_MAX (IO_BYTES_MAX / BLOCK_BYTES)

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

#define ARRAY_SIZE(a)    (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)        ((a) < (b) ? (a) : (b))
#define MAX(a, b)        ((a) > (b) ? (a) : (b))
#define ROUND_DOWN(x, n) ((x) / (n) * (n))
#define ROUND_UP(x, n)   ROUND_DOWN((x) + (n)-1, n)

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* glibc's sys/queue.h has no safe loop. */
#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, next)                                                 \
	for ((var) = TAILQ_FIRST(head); (var) && ((next) = TAILQ_NEXT(var, field), 1);             \
	     (var) = (next))
#endif

/*
 * (epoch, generation) of the last write to a unit, or of a replica's last write: equal version
 * means equal content. {0, 0} is "never written". Ordered by epoch, then by generation.
 */
struct version {
	uint64_t epoch;
	uint64_t generation;
};

static inline int version_compare(struct version a, struct version b)
{
	if (a.epoch != b.epoch)
		return a.epoch < b.epoch ? -1 : 1;
	if (a.generation != b.generation)
		return a.generation < b.generation ? -1 : 1;
	return 0;
}

static inline bool version_equal(struct version a, struct version b)
{
	return version_compare(a, b) == 0;
}

/* A UUID: of a cluster, a disk, a volume, or one running instance of a program. */
struct uuid {
	uint8_t bytes[16];
};

static inline bool uuid_equal(struct uuid a, struct uuid b)
{
	return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

static inline bool uuid_is_zero(struct uuid a)
{
	return uuid_equal(a, (struct uuid){{0}});
}

/* 36 characters and the terminating 0. */
#define UUID_TEXT_BYTES 37
void uuid_format(struct uuid id, char text[UUID_TEXT_BYTES]);
/* A version 4 UUID from 128 random bits of the caller (daemons: getrandom; simulator: its seed). */
struct uuid uuid_from_random(uint64_t high, uint64_t low);

/* Ends the process: for allocations in places where nothing can go on without them. */
void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *old, size_t bytes);
char *xstrdup(const char *text);

#endif
