/*
 * meta_placement.c - where a new replica goes.
 *
 * Only to a chunk server that is usable, has reported, and has a little room (space is taken when data comes, not now). Among
 * those, one that is not slow; then the one that shares the least with the replicas already placed (zone weighs most, then rack,
 * then node); then the most free space, counting what was promised there since its last report; then the fewest replicas; then
 * the lowest cid.
 */
#include "meta-service/core/meta_internal.h"

/* Room that a chunk server must have to get a replica: a fiftieth of its disk, and not less than a few units. */
#define RESERVE_PART  50
#define RESERVE_BYTES (4 * MIB)

/* More than REPLICAS_MAX others can cost. */
#define SLOW_COST 1000

static bool same_label(const char *a, const char *b)
{
	return *a && strcmp(a, b) == 0;
}

static unsigned shared(const struct meta_server_row *a, const struct meta_server_row *b)
{
	unsigned cost = 0;

	if (same_label(a->zone, b->zone))
		cost += 4;
	if (same_label(a->rack, b->rack))
		cost += 2;
	if (same_label(a->node, b->node))
		cost += 1;
	return cost;
}

struct candidate {
	struct server *server;
	unsigned cost; /* what it shares; more than all of that if it is slow */
	int64_t room;
};

static bool better(const struct candidate *a, const struct candidate *b)
{
	if (!b->server)
		return true;
	if (a->cost != b->cost)
		return a->cost < b->cost;
	if (a->room != b->room)
		return a->room > b->room;
	if (a->server->replica_count != b->server->replica_count)
		return a->server->replica_count < b->server->replica_count;
	return a->server->row.cid < b->server->row.cid;
}

static bool is_taken(const uint32_t *taken, size_t count, uint32_t cid)
{
	for (size_t i = 0; i < count; i++)
		if (taken[i] == cid)
			return true;
	return false;
}

static bool has_room(const struct server *server)
{
	return server->free_bytes >= MAX(RESERVE_BYTES, server->row.capacity_bytes / RESERVE_PART);
}

/*
 * A new one says what it has once its number is durable on its disk. Before that it may die and come back as new, which is
 * refused to a disk that has replicas.
 */
static bool may_be_chosen(const struct server *server)
{
	return server_is_usable(server) && (server->report_complete || server->replica_count);
}

struct server *meta_place(struct meta *meta, const uint32_t *taken, size_t count,
			  uint64_t chunk_bytes, bool repair)
{
	struct candidate best = {0};

	for (struct server *s = meta->servers; s; s = s->hh.next) {
		struct candidate one = {.server = s, .cost = s->slow ? SLOW_COST : 0};

		if (!may_be_chosen(s) || !has_room(s) || is_taken(taken, count, s->row.cid))
			continue;
		if (repair && s->filling >= meta->config.repairs_per_server)
			continue;
		for (size_t i = 0; i < count; i++)
			one.cost += shared(&s->row, &meta_find_server(meta, taken[i])->row);
		one.room = (int64_t)s->free_bytes - (int64_t)s->promised_bytes;
		if (better(&one, &best))
			best = one;
	}
	if (best.server)
		best.server->promised_bytes += chunk_bytes;
	return best.server;
}

static uint32_t count_servers(const struct meta *meta, bool (*is)(const struct server *server))
{
	uint32_t count = 0;

	for (const struct server *s = meta->servers; s; s = s->hh.next)
		count += is(s);
	return count;
}

uint32_t meta_usable_servers(const struct meta *meta)
{
	return count_servers(meta, server_is_usable);
}

uint32_t meta_choosable_servers(const struct meta *meta)
{
	return count_servers(meta, may_be_chosen);
}
