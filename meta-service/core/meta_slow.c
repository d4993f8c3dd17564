/*
 * meta_slow.c - fail-slow: a chunk server that is alive, but far slower than its peers.
 *
 * Each keepalive brings the mean time of the writes since the one before. A chunk server is slow when that was more than
 * SLOW_FACTOR times the median of all, and more than SLOW_LEAST_US, in SLOW_COUNT keepalives one after another; and no
 * longer when it was not in as many, or when nothing was written there for SLOW_FORGET_NS. Peers that had nothing to write say
 * nothing. Engines read from a slow one only if no other will do (SERVERS tells them), and it is no destination and runs no repair while
 * there are others.
 */
#include "meta-service/core/meta_internal.h"

#include <stdlib.h>

#define SLOW_FACTOR    10
#define SLOW_LEAST_US  20000
#define SLOW_COUNT     10
#define SLOW_FORGET_NS (300 * NS_PER_S)

static int compare_latencies(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The lower median of all that have written lately, taken once a second; 0 if nobody has. */
static uint64_t median_us(struct meta *meta)
{
	uint64_t latencies[SERVERS_MAX];
	uint32_t count = 0;

	if (meta->median_ns && meta->now_ns < meta->median_ns + NS_PER_S)
		return meta->median_us;
	for (const struct server *s = meta->servers; s; s = s->hh.next)
		if (server_is_usable(s) && s->write_latency_us)
			latencies[count++] = s->write_latency_us;
	qsort(latencies, count, sizeof latencies[0], compare_latencies);
	meta->median_us = count ? latencies[(count - 1) / 2] : 0;
	meta->median_ns = meta->now_ns;
	return meta->median_us;
}

static void set_slow(struct meta *meta, struct server *server, bool slow)
{
	server->slow = slow;
	server->slow_count = 0;
	meta->servers_changed = true;
	trace(TRACE_WARN, MODULE, "chunk server cid=%u is %s: writes take %" PRIu64 " us",
	      server->row.cid, slow ? "far slower than its peers" : "no longer slow",
	      server->write_latency_us);
}

void meta_judge_latency(struct meta *meta, struct server *server)
{
	uint64_t usual_us = median_us(meta);
	bool slow = server->write_latency_us > SLOW_LEAST_US &&
		    server->write_latency_us > usual_us * SLOW_FACTOR;

	if (!server->write_latency_us) {
		if (server->slow && meta->now_ns >= server->written_ns + SLOW_FORGET_NS)
			set_slow(meta, server, false);
		return;
	}
	server->written_ns = meta->now_ns;
	server->slow_count = slow == server->slow ? 0 : server->slow_count + 1;
	if (server->slow_count >= SLOW_COUNT)
		set_slow(meta, server, slow);
}
