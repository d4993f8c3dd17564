/*
 * params_stories.c - seeds that have nothing but stories: faults of several acts, each in its own time, so that no other fault ends it
 * before its point. What a story needs to come to its point is made likely in such a seed: another engine, a chunk server to spare,
 * a hot range that moves on, short delays before garbage is collected and replicas are replaced. See docs/TESTING.md.
 */
#include "tests/sim/params_private.h"

#include "proto/msg.h"

static const struct choice kinds[] = {
	{FAULT_DEPOSE, 6},  {FAULT_HEIRS, 5}, {FAULT_ECHO, 4},    {FAULT_BEHIND, 4},
	{FAULT_RETURNS, 4}, {FAULT_ANEW, 3},  {FAULT_AT_DISK, 4}, {FAULT_UNWANTED, 4},
};

static void draw_volumes(struct params *p, struct prng *r)
{
	bool large = prng_chance(r, 1, 2);

	for (unsigned i = 0; i < p->volumes; i++) {
		p->volume[i].replicas = (uint32_t)draw_between(r, prng_chance(r, 1, 4) ? 2 : 3, 3);
		p->volume[i].min_replicas =
			prng_chance(r, 1, 4)
				? p->volume[i].replicas
				: (uint32_t)draw_between(r, 1, p->volume[i].replicas - 1);
		if (large)
			p->volume[i].bytes = draw_between(r, 3, 8) * p->chunk_bytes;
	}
	if (large) {
		p->move_ns = draw_spread(r, NS_PER_S, 8 * NS_PER_S);
		p->hot_percent = (uint32_t)draw_between(r, 95, 100);
	}
}

void draw_stories_shape(struct params *p, struct prng *r)
{
	p->stories = prng_chance(r, 1, 4);
	if (!p->stories)
		return;
	p->focused = false;
	p->servers = (uint32_t)draw_between(r, 4, prng_chance(r, 1, 2) ? 4 : 6);
	p->engines = (uint32_t)draw_between(r, 2, 3);
	p->volumes = (uint32_t)draw_between(r, 1, 2);
	draw_volumes(p, r);
	p->grace_ms = draw_spread(r, 100, 2000);
	p->scan_ms = draw_spread(r, 200, 2000);
	p->garbage_ms = draw_spread(r, 500, 4000);
	p->evict_dead_ms = draw_spread(r, 1000, 16000);
	p->workload_ns = draw_between(r, 40, 60) * NS_PER_S;
	p->operations = (uint32_t)draw_spread(r, prng_chance(r, 1, 2) ? 8 : 100, 600);
	p->think_ns = MAX(p->think_ns, p->workload_ns / p->operations / 3);
	if (prng_chance(r, 1, 4))
		p->io_timeout_ns = draw_between(r, 5, 8) * NS_PER_S;
}

static void draw_story(struct params *p, struct prng *r, enum fault_kind kind, uint64_t at_ns,
		       uint64_t lasts_ns)
{
	uint32_t how = (uint32_t)prng_below(r, UINT64_C(1) << 32), more = 0;
	uint32_t target = (uint32_t)prng_below(r, p->volumes);
	uint32_t other = (uint32_t)prng_below(r, p->engines);

	switch (kind) {
	case FAULT_DEPOSE:
		how = draw_depose(r, &more);
		if (prng_chance(r, 1, 2)) {
			/* One after the other reaches the pivot alone, which dies as it lets the second one in. */
			how |= DEPOSE_META | DEPOSE_TAKER | DEPOSE_TAKER_PIVOT | DEPOSE_RESTART |
			       DEPOSE_RESTART_PIVOT;
			how &= ~(uint32_t)(DEPOSE_SLEEP | DEPOSE_SECOND | DEPOSE_ONE_WAY |
					   DEPOSE_SERVERS);
			more = MSG_SYNC_OK | (uint32_t)prng_chance(r, 3, 4) << 7 | DEPOSE_SWAP;
			how |= prng_chance(r, 7, 8); /* by force */
		} else {
			more = DEPOSE_IDLE;
			how |= DEPOSE_META;
			how &= ~(uint32_t)(DEPOSE_SECOND | DEPOSE_RESTART | DEPOSE_ONE_WAY);
			if (prng_chance(r, 2, 3))
				how &= ~(uint32_t)(DEPOSE_TAKER | DEPOSE_SLEEP);
			if (prng_chance(r, 1, 2))
				how &= ~(uint32_t)DEPOSE_SERVERS;
			else
				how |= UINT32_C(0xffff0000);
		}
		break;
	case FAULT_HEIRS:
		how = draw_heirs(r, &more);
		if (prng_chance(r, 3, 4)) {
			how |= HEIRS_PIVOT_LAST;
			how &= ~(uint32_t)(HEIRS_PIVOT_FIRST | HEIRS_SOME | HEIRS_DISK);
			more = MSG_COPY | HEIRS_ROLL | (uint32_t)prng_below(r, 4) << 8;
		}
		break;
	default:
		break;
	}
	if (prng_chance(r, 3, 4))
		more |= ACTS_HOT;
	params_add_fault(p, kind, at_ns, lasts_ns, target, other, how)->more = more;
}

/* Whole units, written all over the volume: what is left of one that power cut off stays to be seen. */
static void draw_large_writes(struct params *p, struct prng *r)
{
	p->io_bytes_max = (uint32_t)draw_between(r, 128, 256) * KIB;
	p->hot_percent = (uint32_t)draw_between(r, 0, 50);
	p->read_percent = (uint32_t)draw_between(r, 5, 20);
	p->zero_percent = (uint32_t)draw_between(r, 0, 10);
	p->readers = 0;
}

/*
 * Many units are written to at once, then others: replicas differ in many of them when a holder dies, and what its heirs make of
 * that stays to be seen. An heir can do without the pivot.
 */
static void draw_many_writes(struct params *p, struct prng *r)
{
	p->clients = (uint32_t)draw_between(r, 3, SIM_CLIENTS_MAX);
	p->depth = 4;
	p->engines = 3;
	p->readers = 0;
	p->io_bytes_max = (uint32_t)draw_between(r, 64, 256) * KIB;
	p->hot_bytes = draw_between(r, 1, 4) * 512 * KIB;
	p->hot_percent = 100;
	p->read_percent = (uint32_t)draw_between(r, 5, 30);
	p->move_ns = draw_between(r, 2, 6) * NS_PER_S;
	p->operations = MAX(p->operations, 300u);
	p->think_ns = draw_spread(r, 5, 60) * NS_PER_MS;
	for (unsigned i = 0; i < p->volumes; i++) {
		p->volume[i].bytes = draw_between(r, 6, 8) * p->chunk_bytes;
		p->volume[i].replicas = 3;
		p->volume[i].min_replicas = (uint32_t)draw_between(r, 1, 2);
	}
}

/* Every second or two another chunk is written to for the first time: who has lost the volume meanwhile does not know of it. */
static void draw_thin(struct params *p, struct prng *r)
{
	p->volumes = 1;
	p->volume[0].bytes = draw_between(r, 16, 24) * p->chunk_bytes;
	p->move_ns = draw_between(r, 1000, 2500) * NS_PER_MS;
	p->hot_percent = 100;
	p->hot_bytes = draw_between(r, 4, 16) * 4 * KIB;
	p->io_bytes_max = (uint32_t)draw_between(r, 8, 64) * KIB;
	p->read_percent = (uint32_t)draw_between(r, 40, 60);
	p->clients = (uint32_t)draw_between(r, 2, SIM_CLIENTS_MAX);
	p->readers = (uint32_t)prng_below(r, 2);
	p->operations = 800;
	p->think_ns = draw_between(r, 20, 60) * NS_PER_MS;
}

/* Nobody is evicted for being away, so users' requests fail, and go their way all the same. */
static void draw_timeouts(struct params *p, struct prng *r)
{
	p->io_timeout_ns = draw_between(r, 5, 8) * NS_PER_S;
	for (unsigned i = 0; i < p->volumes; i++)
		p->volume[i].min_replicas = p->volume[i].replicas;
	p->operations = MAX(p->operations, 100u);
}

void draw_stories(struct params *p, struct prng *r)
{
	enum fault_kind often = CHOOSE(r, kinds);
	uint32_t count = (uint32_t)draw_between(r, 2, 4);
	uint64_t turn_ns = p->workload_ns / count;

	if (often == FAULT_AT_DISK)
		draw_large_writes(p, r);
	if (often == FAULT_DEPOSE && prng_chance(r, 1, 2))
		draw_thin(p, r);
	if (often == FAULT_HEIRS)
		draw_many_writes(p, r);
	if (often == FAULT_RETURNS && prng_chance(r, 1, 2))
		draw_timeouts(p, r);
	for (uint32_t i = 0; i < count; i++) {
		enum fault_kind kind = prng_chance(r, 1, 2) ? often : CHOOSE(r, kinds);
		uint64_t late_ns = prng_below(r, turn_ns / 4);

		draw_story(p, r, kind, i * turn_ns + late_ns,
			   turn_ns / 2 + prng_below(r, turn_ns / 2 - late_ns));
	}
}
