/* params.c - see params.h. */
#include "tests/sim/params_private.h"

#include <inttypes.h>
#include "proto/msg.h"

static const char *const names[FAULT_KINDS] = {
	[FAULT_CRASH_SERVER] = "crash-server",
	[FAULT_POWER_SERVER] = "power-server",
	[FAULT_PAUSE_SERVER] = "pause-server",
	[FAULT_CRASH_ENGINE] = "crash-engine",
	[FAULT_PAUSE_ENGINE] = "pause-engine",
	[FAULT_RESTART_ENGINE] = "restart-engine",
	[FAULT_CRASH_META] = "crash-meta",
	[FAULT_PAUSE_META] = "pause-meta",
	[FAULT_POWER_ALL] = "power-all",
	[FAULT_CUT] = "cut",
	[FAULT_ISOLATE] = "isolate",
	[FAULT_BREAK] = "break",
	[FAULT_SLOW_HOST] = "slow-host",
	[FAULT_SLOW_DISK] = "slow-disk",
	[FAULT_DISK_WRITES_FAIL] = "disk-writes-fail",
	[FAULT_DISK_READS_FAIL] = "disk-reads-fail",
	[FAULT_DISK_ROT] = "disk-rot",
	[FAULT_DISK_LOSES_WRITES] = "disk-loses-writes",
	[FAULT_DISK_MISDIRECTS] = "disk-misdirects",
	[FAULT_DISK_REPLACED] = "disk-replaced",
	[FAULT_CLOCK_RATE] = "clock-rate",
	[FAULT_ROWS_FAIL] = "rows-fail",
	[FAULT_ROWS_SLOW] = "rows-slow",
	[FAULT_TAKEOVER] = "takeover",
	[FAULT_DETACH] = "detach",
	[FAULT_DEPOSE] = "depose",
	[FAULT_LINGER] = "linger",
	[FAULT_HEIRS] = "heirs",
	[FAULT_CHURN] = "churn",
	[FAULT_AT_MESSAGE] = "at-message",
	[FAULT_AT_COMMIT] = "at-commit",
	[FAULT_RECREATE] = "recreate",
	[FAULT_ECHO] = "echo",
	[FAULT_BEHIND] = "behind",
	[FAULT_RETURNS] = "returns",
	[FAULT_UNWANTED] = "unwanted",
	[FAULT_ANEW] = "anew",
	[FAULT_AT_DISK] = "at-disk",
};

const char *fault_name(enum fault_kind kind)
{
	return names[kind];
}

struct fault *params_add_fault(struct params *p, enum fault_kind kind, uint64_t at_ns,
			       uint64_t lasts_ns, uint32_t target, uint32_t other, uint32_t how)
{
	struct fault *f = &p->faults[p->fault_count];

	assert(p->fault_count < SIM_FAULTS_MAX);
	p->fault_count++;
	*f = (struct fault){.kind = kind,
			    .at_ns = at_ns,
			    .lasts_ns = lasts_ns,
			    .target = target,
			    .other = other,
			    .how = how};
	return f;
}

void params_calm(struct params *p, uint64_t seed)
{
	memset(p, 0, sizeof *p);
	p->seed = seed;
	p->servers = 3;
	p->metads = 1;
	p->engines = 2;
	p->volumes = 1;
	p->clients = 2;
	p->chunk_bytes = CHUNK_BYTES_MIN;
	for (unsigned i = 0; i < SIM_VOLUMES_MAX; i++) {
		p->volume[i].bytes = 8 * MIB;
		p->volume[i].replicas = 3;
		p->volume[i].min_replicas = 2;
	}
	p->net = (struct net_character){.latency_ns = 50000,
					.jitter_ns = 50000,
					.bytes_per_s = 1000 * MIB,
					.window_bytes = 4 * MIB};
	for (unsigned i = 0; i < SIM_SERVERS_MAX; i++)
		p->disk[i] = (struct sim_disk_options){.size_bytes = 128 * MIB,
						       .block_bytes = 4096,
						       .latency_ns = 100000,
						       .jitter_ns = 100000};
	p->journal_bytes = 4 * MIB;
	p->rows_latency_ns = NS_PER_MS;
	p->scan_ms = 2000;
	p->grace_ms = 8000;
	p->evict_dead_ms = 20000;
	p->garbage_ms = 30000;
	p->workload_ns = 20 * NS_PER_S;
	p->operations = 300;
	p->think_ns = 20 * NS_PER_MS;
	p->depth = 2;
	p->hot_percent = 60;
	p->hot_bytes = 256 * KIB;
	p->read_percent = 40;
	p->zero_percent = 12;
	p->io_bytes_max = 256 * KIB;
	p->limits = (struct growth_limits){.store_memory_bytes = 16 * MIB,
					   .engine_memory_bytes = 64 * MIB,
					   .wire_bytes = 256 * MIB,
					   .events = UINT64_C(30000000),
					   .journal_percent = 100};
}

/* ---- drawing ---- */

uint64_t draw_between(struct prng *r, uint64_t low, uint64_t high)
{
	return low + prng_below(r, high - low + 1);
}

uint64_t draw_spread(struct prng *r, uint64_t low, uint64_t high)
{
	unsigned shifts = 0;
	uint64_t top;

	while (low << (shifts + 1) <= high)
		shifts++;
	top = low << prng_below(r, shifts + 1);
	return MIN(high, top + prng_below(r, top));
}

static void draw_shape(struct params *p, struct prng *r)
{
	p->servers = (uint32_t)draw_between(r, 3, SIM_SERVERS_MAX);
	p->metads = (uint32_t)draw_between(r, 1, SIM_METADS_MAX);
	p->engines = (uint32_t)draw_between(r, 1, SIM_ENGINES_MAX);
	p->volumes = (uint32_t)draw_between(r, 1, prng_chance(r, 1, 3) ? SIM_VOLUMES_MAX : 2);
	p->clients = (uint32_t)draw_between(r, 1, SIM_CLIENTS_MAX);
	p->colocated = prng_chance(r, 1, 3);
	for (unsigned i = 0; i < p->volumes; i++) {
		p->volume[i].bytes = draw_between(r, 256, 4096) * 4 * KIB;
		p->volume[i].replicas = (uint32_t)draw_between(
			r, 2, prng_chance(r, 1, 8) ? MIN(p->servers, 5u) : 3);
		p->volume[i].min_replicas = p->volume[i].replicas - 1;
		if (prng_chance(r, 1, 3))
			p->volume[i].min_replicas =
				(uint32_t)draw_between(r, 1, p->volume[i].replicas);
	}
}

static void draw_behaviour(struct params *p, struct prng *r)
{
	p->net.latency_ns = draw_spread(r, 5000, 20 * NS_PER_MS);
	p->net.jitter_ns = draw_spread(r, 5000, 10 * NS_PER_MS);
	p->net.bytes_per_s = draw_spread(r, 20 * MIB, 2000 * MIB);
	p->net.window_bytes = (uint32_t)draw_spread(r, 128 * KIB, 8 * MIB);
	if (prng_chance(r, 1, 2)) {
		p->net.spike_one_in = (uint32_t)draw_spread(r, 20, 2000);
		p->net.spike_ns = draw_spread(r, 10 * NS_PER_MS, 2 * NS_PER_S);
	}
	for (unsigned i = 0; i < p->servers; i++) {
		struct sim_disk_options *d = &p->disk[i];

		d->size_bytes = draw_between(r, 20, 64) * 4 * MIB;
		d->block_bytes = prng_chance(r, 1, 2) ? 512 : 4096;
		d->power_loss_protected = prng_chance(r, 1, 8);
		d->latency_ns = draw_spread(r, 20000, 10 * NS_PER_MS);
		d->jitter_ns = draw_spread(r, 20000, 10 * NS_PER_MS);
		if (prng_chance(r, 1, 2)) {
			d->spike_one_in = (uint32_t)draw_spread(r, 20, 2000);
			d->spike_ns = draw_spread(r, 10 * NS_PER_MS, NS_PER_S);
		}
	}
	/* Small enough to come round several times. */
	p->journal_bytes = draw_spread(r, MIB, 8 * MIB);
	p->rows_latency_ns = draw_spread(r, 100000, 50 * NS_PER_MS);
	for (unsigned i = 0; i < SIM_HOSTS_MAX; i++)
		p->rate_ppm[i] = (int32_t)draw_between(r, 0, 199999) - 100000;
	if (prng_chance(r, 1, 8))
		p->io_timeout_ns = draw_between(r, 5, 30) * NS_PER_S;
}

static void draw_workload(struct params *p, struct prng *r)
{
	p->workload_ns = draw_between(r, 10, 60) * NS_PER_S;
	p->operations = (uint32_t)draw_spread(r, 50, 800);
	p->think_ns = draw_spread(r, 100000, 100 * NS_PER_MS);
	/* Clients that are done before the faults come show little: they last for a third of the time at least. */
	p->think_ns = MAX(p->think_ns, p->workload_ns / p->operations / 3);
	p->depth = (uint32_t)draw_between(r, 1, 4);
	p->hot_percent = (uint32_t)draw_between(r, 0, 95);
	p->hot_bytes = ROUND_DOWN(draw_spread(r, 4 * KIB, 512 * KIB), 4 * KIB);
	p->read_percent = (uint32_t)draw_between(r, 10, 70);
	p->zero_percent = (uint32_t)draw_between(r, 0, 25);
	p->io_bytes_max = (uint32_t)ROUND_DOWN(draw_spread(r, 4 * KIB, 256 * KIB), 512);
	if (prng_chance(r, 1, 2)) {
		p->repeat_percent = (uint32_t)draw_between(r, 1, 20);
		p->repeat_after_ns = draw_spread(r, 10 * NS_PER_MS, 5 * NS_PER_S);
	}
}

/* What the store needs beside data and journal, and what a disk needs to take part in placement and repair at all. */
#define TIGHT_OVERHEAD_BYTES (2 * MIB)
#define TIGHT_DATA_BYTES_MIN (10 * MIB)
#define TIGHT_ROOM_BYTES     (7 * MIB)

/*
 * Disks that hold 40 to 85 % of what the volumes on them may hold, and clients that write all over. What users keep in the end leaves
 * room for a replica of every chunk on each disk.
 */
static void draw_tight(struct params *p, struct prng *r)
{
	uint64_t volumes_bytes = 0, data_bytes = UINT64_MAX;

	p->tight = true;
	p->journal_bytes = draw_spread(r, MIB, 4 * MIB);
	for (unsigned i = 0; i < p->volumes; i++) {
		p->volume[i].bytes = draw_between(r, 2048, 5120) * 4 * KIB;
		volumes_bytes += p->volume[i].bytes;
	}
	for (unsigned i = 0; i < p->servers; i++) {
		uint64_t bytes = 0, percent = draw_between(r, 40, 85);

		for (unsigned v = 0; v < p->volumes; v++)
			bytes += p->volume[v].bytes * p->volume[v].replicas / p->servers;
		bytes = MAX(TIGHT_DATA_BYTES_MIN, bytes * percent / 100);
		data_bytes = MIN(data_bytes, bytes);
		p->disk[i].size_bytes =
			ROUND_UP(p->journal_bytes + TIGHT_OVERHEAD_BYTES + bytes, UNIT_BYTES);
	}
	p->keep_percent = (uint32_t)((data_bytes - TIGHT_ROOM_BYTES) * 100 / volumes_bytes);
	p->operations = (uint32_t)draw_between(r, 400, 1000);
	p->think_ns = draw_spread(r, 100000, 20 * NS_PER_MS);
	p->think_ns = MAX(p->think_ns, p->workload_ns / p->operations / 3);
	p->hot_percent = (uint32_t)draw_between(r, 0, 30);
	p->read_percent = (uint32_t)draw_between(r, 10, 40);
	p->zero_percent = (uint32_t)draw_between(r, 5, 30);
	p->io_bytes_max = (uint32_t)draw_spread(r, 64 * KIB, 256 * KIB);
}

/* What makes some interleavings likelier, each in some seeds only. */
static void draw_sharpening(struct params *p, struct prng *r)
{
	if (prng_chance(r, 1, 2))
		p->readers = (uint32_t)prng_below(r, p->clients);
	/* Engines that hardly write: what one of them left behind stays to be seen. */
	if (prng_chance(r, 1, 5)) {
		p->operations = (uint32_t)draw_spread(r, 1, 16);
		p->think_ns = MAX(p->think_ns, p->workload_ns / p->operations / 4);
		p->hot_bytes = ROUND_DOWN(draw_spread(r, 32 * KIB, 512 * KIB), 4 * KIB);
		p->hot_percent = 100;
	}
	/* Larger volumes, that are written to here and then there: most chunks do not exist for a long time. */
	if (prng_chance(r, 1, 3)) {
		for (unsigned i = 0; i < p->volumes; i++)
			p->volume[i].bytes = draw_between(r, 3, 16) * p->chunk_bytes;
		p->move_ns = draw_spread(r, NS_PER_S, 8 * NS_PER_S);
		p->hot_percent = (uint32_t)draw_between(r, 95, 100);
	}
	if (prng_chance(r, 1, 2)) {
		p->garbage_ms = draw_spread(r, 500, 30000);
		p->grace_ms = draw_spread(r, 100, 8000);
		p->scan_ms = draw_spread(r, 200, 2000);
	}
	p->focused = prng_chance(r, 1, 3);
	if (!p->focused)
		return;
	p->engines = MAX(p->engines, 3u);
	for (unsigned i = 0; i < p->volumes; i++) {
		p->volume[i].replicas = MAX(p->volume[i].replicas, 3u);
		p->volume[i].min_replicas = (uint32_t)draw_between(r, 1, p->volume[i].replicas - 1);
	}
	p->hot_percent = MAX(p->hot_percent, (uint32_t)draw_between(r, 60, 100));
	p->hot_bytes = ROUND_DOWN(draw_spread(r, 16 * KIB, 512 * KIB), 4 * KIB);
}

/* How likely each kind is, relative to the others, in a seed that has it at all. */
static const uint32_t weights[FAULT_MIXED_KINDS] = {
	[FAULT_CRASH_SERVER] = 10,
	[FAULT_POWER_SERVER] = 8,
	[FAULT_PAUSE_SERVER] = 8,
	[FAULT_CRASH_ENGINE] = 6,
	[FAULT_PAUSE_ENGINE] = 8,
	[FAULT_RESTART_ENGINE] = 2,
	[FAULT_CRASH_META] = 7,
	[FAULT_PAUSE_META] = 3,
	[FAULT_POWER_ALL] = 2,
	[FAULT_CUT] = 12,
	[FAULT_ISOLATE] = 6,
	[FAULT_BREAK] = 14,
	[FAULT_SLOW_HOST] = 4,
	[FAULT_SLOW_DISK] = 4,
	[FAULT_DISK_WRITES_FAIL] = 2,
	[FAULT_DISK_READS_FAIL] = 3,
	[FAULT_DISK_ROT] = 4,
	[FAULT_DISK_LOSES_WRITES] = 2,
	[FAULT_DISK_MISDIRECTS] = 2,
	[FAULT_DISK_REPLACED] = 1,
	[FAULT_CLOCK_RATE] = 3,
	[FAULT_ROWS_FAIL] = 3,
	[FAULT_ROWS_SLOW] = 2,
	[FAULT_TAKEOVER] = 10,
	[FAULT_DETACH] = 4,
	[FAULT_DEPOSE] = 12,
	[FAULT_LINGER] = 8,
	[FAULT_HEIRS] = 14,
	[FAULT_CHURN] = 3,
	[FAULT_AT_MESSAGE] = 30,
	[FAULT_AT_COMMIT] = 4,
	[FAULT_RECREATE] = 2,
};

static bool lies(enum fault_kind kind)
{
	return kind == FAULT_DISK_READS_FAIL || kind == FAULT_DISK_ROT ||
	       kind == FAULT_DISK_LOSES_WRITES || kind == FAULT_DISK_MISDIRECTS ||
	       kind == FAULT_DISK_REPLACED;
}

static bool has_acts(enum fault_kind kind)
{
	return kind == FAULT_HEIRS || kind == FAULT_DEPOSE || kind == FAULT_AT_MESSAGE ||
	       kind == FAULT_CHURN || kind == FAULT_LINGER || kind == FAULT_TAKEOVER;
}

/* Each seed has its own mix: some kinds are left out altogether. A disk may lie only where two copies are always kept. */
static uint32_t draw_mix(struct params *p, struct prng *r, uint32_t mix[FAULT_MIXED_KINDS])
{
	uint32_t sum = 0;
	bool may_lie = prng_chance(r, 1, 3);

	for (unsigned v = 0; v < p->volumes && may_lie; v++) {
		p->volume[v].replicas = MAX(p->volume[v].replicas, 3u);
		p->volume[v].min_replicas = MAX(p->volume[v].min_replicas, 2u);
	}
	/* Mostly it is data that is spoilt: a disk whose metadata is is soon none. */
	p->spare_metadata = prng_chance(r, 3, 4);
	for (unsigned k = 0; k < FAULT_MIXED_KINDS; k++) {
		mix[k] = prng_chance(r, 1, 2) ? weights[k] * (uint32_t)draw_between(r, 1, 4) : 0;
		if ((lies(k) && !may_lie) || (p->focused && !has_acts(k)))
			mix[k] = 0;
		sum += mix[k];
	}
	return sum;
}

uint32_t draw_choice(struct prng *r, const struct choice *choices, size_t count)
{
	uint32_t sum = 0, pick;

	for (size_t i = 0; i < count; i++)
		sum += choices[i].weight;
	pick = (uint32_t)prng_below(r, sum);
	while (pick >= choices->weight)
		pick -= choices++->weight;
	return choices->value;
}

/* What the state of the protocol hangs on; what is rare weighs more. */
static const struct choice turning_points[] = {
	{MSG_SYNC, 2},        {MSG_SYNC_OK, 4},      {MSG_MEND_BEGIN, 2},    {MSG_MEND_BEGIN_OK, 3},
	{MSG_MEND_END, 2},    {MSG_MEND_END_OK, 2},  {MSG_COPY, 5},          {MSG_COPY_OK, 3},
	{MSG_VERSIONS_OK, 1}, {MSG_INVALIDATE, 1},   {MSG_INVALIDATE_OK, 1}, {MSG_JOIN, 2},
	{MSG_JOIN_OK, 2},     {MSG_CHANGE, 5},       {MSG_CHANGE_OK, 3},     {MSG_LEASE, 1},
	{MSG_LEASE_OK, 2},    {MSG_CREATE, 2},       {MSG_CREATE_OK, 1},     {MSG_LIST, 1},
	{MSG_REPAIR_JOB, 1},  {MSG_DELETE, 4},       {MSG_REPAIR, 2},        {MSG_REPAIR_OK, 1},
	{MSG_RELEASE, 1},     {MSG_LEASE_RETURN, 1}, {MSG_ATTACH, 2},        {MSG_ATTACH_OK, 1},
	{MSG_REPORT, 1},      {MSG_SESSION_OK, 1},   {MSG_READ, 2},          {MSG_WRITE, 1},
};

static const struct choice actions[] = {
	{AT_KILL_SENDER, 3},  {AT_KILL_RECEIVER, 3},
	{AT_KILL_BOTH, 2},    {AT_KILL_SENDER_AND_OTHER, 3},
	{AT_POWER_SENDER, 3}, {AT_POWER_RECEIVER, 2},
	{AT_PAUSE_SENDER, 2}, {AT_PAUSE_RECEIVER, 2},
	{AT_BREAK, 2},        {AT_HOLD, 3},
	{AT_LINGER, 5},
};

/* What releases a message that is held. */
static const struct choice releases[] = {
	{0, 12},
	{MSG_SYNC_OK, 3},
	{MSG_COPY, 3},
	{MSG_COPY_OK, 1},
	{MSG_CHANGE_OK, 2},
	{MSG_JOIN_OK, 2},
	{MSG_LIST, 1},
	{MSG_LEASE_OK, 1},
	{MSG_INVALIDATE_OK, 1},
	{MSG_CREATE_OK, 2},
};

/* When an heir dies. */
static const struct choice levelling[] = {
	{MSG_MEND_BEGIN, 1},  {MSG_MEND_BEGIN_OK, 3}, {MSG_COPY, 3},
	{MSG_COPY_OK, 4},     {MSG_MEND_END, 2},      {MSG_MEND_END_OK, 2},
	{MSG_VERSIONS_OK, 1}, {MSG_SYNC_OK, 2},       {MSG_WRITE_OK, 1},
};

/* As a volume is taken. */
static const struct choice taking[] = {
	{MSG_LEASE_OK, 3}, {MSG_SYNC, 1},      {MSG_SYNC_OK, 4},
	{MSG_CHANGE, 1},   {MSG_CHANGE_OK, 1}, {MSG_ATTACH_OK, 1},
};

static void draw_at_message(struct prng *r, uint32_t *how, uint32_t *more)
{
	uint32_t action = CHOOSE(r, actions);

	*how = CHOOSE(r, turning_points) | action << 8 | (uint32_t)prng_below(r, 16) << 12;
	*more = (uint32_t)prng_below(r, 1u << 16) << 16 | CHOOSE(r, releases) << 8;
	if (action == AT_HOLD || action == AT_LINGER || prng_chance(r, 1, 2))
		*more |= 1;
	/* What is late matters where lists have changed meanwhile. */
	if ((*how & 127) == MSG_CHANGE || (*how & 127) == MSG_DELETE)
		*more |= AT_CONCERNED;
	if (prng_chance(r, 1, 2))
		*more |= (uint32_t)prng_below(r, 8) << 1;
}

/* In one half everything turns on the pivot, as in the interleavings that are known to matter. */
uint32_t draw_depose(struct prng *r, uint32_t *more)
{
	uint32_t how = (uint32_t)prng_below(r, UINT64_C(1) << 32);

	if (prng_chance(r, 1, 2))
		*more = CHOOSE(r, taking) | (uint32_t)prng_below(r, 2) << 7;
	if (prng_chance(r, 1, 3))
		how &= ~(uint32_t)DEPOSE_SLEEP;
	if (prng_chance(r, 1, 2))
		return how;
	how |= DEPOSE_META | DEPOSE_TAKER | DEPOSE_TAKER_PIVOT;
	if (prng_chance(r, 3, 4))
		how |= DEPOSE_SECOND | DEPOSE_SECOND_PIVOT;
	if (prng_chance(r, 3, 4))
		how |= DEPOSE_RESTART | DEPOSE_RESTART_PIVOT;
	if (how & DEPOSE_POWER && prng_chance(r, 1, 2))
		how &= ~(uint32_t)DEPOSE_SECOND;
	if (prng_chance(r, 1, 2))
		how &= ~(uint32_t)DEPOSE_SERVERS;
	return how;
}

uint32_t draw_heirs(struct prng *r, uint32_t *more)
{
	uint32_t how = (uint32_t)prng_below(r, UINT64_C(1) << 32);

	*more = CHOOSE(r, levelling) | (prng_chance(r, 1, 2) ? (uint32_t)prng_below(r, 8) << 8 : 0);
	*more |= (uint32_t)prng_below(r, 2) << 11;
	if (prng_chance(r, 1, 3))
		how &= ~(uint32_t)HEIRS_PIVOT_FIRST;
	/* Each of these in one fault of four. */
	how &= ~(uint32_t)(HEIRS_SOME | HEIRS_STAYS_CUT | HEIRS_PAUSE | HEIRS_DISK) |
	       (uint32_t)prng_below(r, 1u << 9);
	if (prng_chance(r, 1, 2))
		how |= HEIRS_PIVOT_LAST;
	if (prng_chance(r, 1, 2))
		how &= ~(uint32_t)HEIRS_DISK;
	return how;
}

static void draw_fault(struct params *p, struct prng *r, enum fault_kind kind)
{
	uint64_t at = prng_below(r, p->workload_ns);
	uint64_t lasts = draw_spread(r, 10 * NS_PER_MS, 16 * NS_PER_S);
	uint32_t hosts = p->servers + p->metads + (p->colocated ? 0 : p->engines);
	uint32_t target = (uint32_t)prng_below(r, 1u << 16),
		 other = (uint32_t)prng_below(r, 1u << 16);
	uint32_t how = (uint32_t)prng_below(r, 1u << 16), more = 0;

	switch (kind) {
	case FAULT_CHURN:
		lasts = draw_between(r, 5 * NS_PER_S, 30 * NS_PER_S);
		__attribute__((fallthrough));
	case FAULT_CRASH_SERVER:
	case FAULT_POWER_SERVER:
	case FAULT_PAUSE_SERVER:
	case FAULT_SLOW_DISK:
	case FAULT_DISK_WRITES_FAIL:
		target %= p->servers;
		break;
	case FAULT_DISK_READS_FAIL:
	case FAULT_DISK_ROT:
	case FAULT_DISK_LOSES_WRITES:
	case FAULT_DISK_MISDIRECTS:
	case FAULT_DISK_REPLACED:
		target = p->victim;
		how = 1 + how % (kind == FAULT_DISK_ROT || kind == FAULT_DISK_READS_FAIL ? 64 : 8);
		break;
	case FAULT_CRASH_ENGINE:
	case FAULT_PAUSE_ENGINE:
	case FAULT_RESTART_ENGINE:
		target %= p->engines;
		break;
	case FAULT_CUT:
	case FAULT_BREAK:
	case FAULT_LINGER:
		target %= hosts;
		other = (target + 1 + other % (hosts - 1)) % hosts;
		break;
	case FAULT_ISOLATE:
	case FAULT_SLOW_HOST:
	case FAULT_CLOCK_RATE:
		target %= hosts;
		break;
	case FAULT_DEPOSE:
	case FAULT_HEIRS:
		/* Long enough for promises to end and for evictions. */
		lasts = draw_between(r, 2 * NS_PER_S, 16 * NS_PER_S) +
			(kind == FAULT_HEIRS ? 4 * NS_PER_S : 0);
		at = prng_below(r, MAX(p->workload_ns, lasts + 5 * NS_PER_S) - lasts);
		how = kind == FAULT_DEPOSE ? draw_depose(r, &more) : draw_heirs(r, &more);
		__attribute__((fallthrough));
	case FAULT_TAKEOVER:
		target %= p->volumes;
		other %= p->engines;
		break;
	case FAULT_DETACH:
	case FAULT_RECREATE:
		target %= p->volumes;
		break;
	case FAULT_AT_MESSAGE:
		draw_at_message(r, &how, &more);
		break;
	default:
		break;
	}
	params_add_fault(p, kind, at, lasts, target, other, how)->more = more;
}

void params_draw(struct params *p, uint64_t seed)
{
	struct sim sim = {.seed = seed};
	struct prng shape = sim_stream(&sim, "shape", 0),
		    behaviour = sim_stream(&sim, "behaviour", 0);
	struct prng scrub = sim_stream(&sim, "scrub", 0),
		    sharpening = sim_stream(&sim, "sharpening", 0);
	struct prng paging = sim_stream(&sim, "paging", 0);
	struct prng workload = sim_stream(&sim, "workload", 0),
		    mix_stream = sim_stream(&sim, "mix", 0);
	struct prng space = sim_stream(&sim, "space", 0);
	struct prng stories = sim_stream(&sim, "stories", 0);
	uint32_t mix[FAULT_MIXED_KINDS], sum, count;

	params_calm(p, seed);
	draw_shape(p, &shape);
	draw_behaviour(p, &behaviour);
	draw_workload(p, &workload);
	draw_sharpening(p, &sharpening);
	draw_stories_shape(p, &stories);
	p->scrub_ms = prng_chance(&scrub, 1, 2) ? draw_between(&scrub, 3000, 20000) : 0;
	/* A few pages, of some dozens. */
	p->metadata_memory_bytes =
		prng_chance(&paging, 1, 3) ? draw_spread(&paging, 2, 16) * 4 * KIB : 0;
	p->victim = (uint32_t)prng_below(&mix_stream, p->servers);
	sum = draw_mix(p, &mix_stream, mix);
	count = prng_chance(&mix_stream, 1, 20) ? 0 : (uint32_t)draw_spread(&mix_stream, 4, 120);
	if (p->focused)
		count = MIN(count, 16u);
	if (p->stories)
		count = 0;
	if (prng_chance(&space, 1, 5))
		draw_tight(p, &space); /* behind the mix: it needs the volumes' replicas */
	for (uint32_t i = 0; sum && i < count; i++) {
		struct prng one = sim_stream(&sim, "fault", i);
		uint64_t pick = prng_below(&one, sum);
		unsigned kind = 0;

		while (pick >= mix[kind])
			pick -= mix[kind++];
		draw_fault(p, &one, kind);
	}
	if (p->stories)
		draw_stories(p, &stories);
}

/* ---- printing ---- */

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

void fault_print(const struct params *p, uint32_t i, FILE *out)
{
	const struct fault *f = &p->faults[i];

	fprintf(out, "fault %u at %.3f s: %s target %u other %u how %u more %u for %.3f s%s\n", i,
		seconds(f->at_ns), names[f->kind], f->target, f->other, f->how, f->more,
		seconds(f->lasts_ns), f->dropped ? " (left out)" : "");
}

void params_print(const struct params *p, FILE *out)
{
	fprintf(out, "seed %" PRIu64 "\n", p->seed);
	fprintf(out,
		"cluster: %u chunk servers, %u metads, %u engines%s, %u volumes, %u clients each, "
		"chunks of %" PRIu64 " MiB\n",
		p->servers, p->metads, p->engines,
		p->colocated ? " on the chunk servers' hosts" : "", p->volumes, p->clients,
		p->chunk_bytes / MIB);
	for (unsigned i = 0; i < p->volumes; i++)
		fprintf(out, "volume %u: %" PRIu64 " KiB, %u replicas, at least %u\n", i,
			p->volume[i].bytes / KIB, p->volume[i].replicas, p->volume[i].min_replicas);
	fprintf(out,
		"network: %.3f ms + up to %.3f ms, one frame in %u up to %.0f ms more, %" PRIu64
		" MiB/s, window %u KiB\n",
		seconds(p->net.latency_ns) * 1e3, seconds(p->net.jitter_ns) * 1e3,
		p->net.spike_one_in, seconds(p->net.spike_ns) * 1e3, p->net.bytes_per_s / MIB,
		p->net.window_bytes / 1024);
	for (unsigned i = 0; i < p->servers; i++)
		fprintf(out,
			"disk %u: %" PRIu64 " MiB, blocks of %u, %.3f ms + up to %.3f ms, one in "
			"%u up to %.0f ms more%s\n",
			i, p->disk[i].size_bytes / MIB, p->disk[i].block_bytes,
			seconds(p->disk[i].latency_ns) * 1e3, seconds(p->disk[i].jitter_ns) * 1e3,
			p->disk[i].spike_one_in, seconds(p->disk[i].spike_ns) * 1e3,
			p->disk[i].power_loss_protected ? ", protected from power loss" : "");
	if (p->tight)
		fprintf(out, "the disks are too small: users discard all but %u %% in the end\n",
			p->keep_percent);
	fprintf(out, "journals of %" PRIu64 " KiB; ", p->journal_bytes / KIB);
	if (p->metadata_memory_bytes)
		fprintf(out, "%" PRIu64 " KiB of metadata in memory; ",
			p->metadata_memory_bytes / KIB);
	fprintf(out, "clocks (ppm):");
	for (unsigned i = 0; i < p->servers + p->metads + p->engines; i++)
		fprintf(out, " %d", p->rate_ppm[i]);
	fprintf(out,
		"\nmetad: commit %.1f ms, scan %" PRIu64 " ms, grace %" PRIu64
		" ms, garbage %" PRIu64 " ms, scrub %" PRIu64 " ms; io timeout %.0f s\n",
		seconds(p->rows_latency_ns) * 1e3, p->scan_ms, p->grace_ms, p->garbage_ms,
		p->scrub_ms, seconds(p->io_timeout_ns));
	fprintf(out,
		"%sworkload: %.0f s, up to %u operations a client, depth %u, think %.1f ms, reads "
		"%u "
		"%%, zeros %u %%, hot %u %% in %" PRIu64
		" KiB for %.1f s, up to %u KiB, repeats %u %% after %.2f s, %u only read\n",
		p->stories   ? "stories; "
		: p->focused ? "focused; "
			     : "",
		seconds(p->workload_ns), p->operations, p->depth, seconds(p->think_ns) * 1e3,
		p->read_percent, p->zero_percent, p->hot_percent, p->hot_bytes / KIB,
		seconds(p->move_ns), p->io_bytes_max / 1024, p->repeat_percent,
		seconds(p->repeat_after_ns), p->readers);
	for (uint32_t i = 0; i < p->fault_count; i++)
		fault_print(p, i, out);
	fflush(out);
}
