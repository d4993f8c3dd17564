/* scenarios_space.c - disks that are full. */
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

#include <errno.h>

/* Row 27 of INTERLEAVINGS. */
static void shape_full(struct params *p)
{
	shape_scripted(p);
	p->engines = 1;
	p->volume[0].bytes = 192 * MIB;
	for (unsigned i = 0; i < SIM_SERVERS_MAX; i++)
		p->disk[i].size_bytes = 96 * MIB;
}

static bool drive_full(struct cluster *c)
{
	static struct scripted zeroing;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_fill(c, 0, 0))
		return false;
	for (uint64_t at = 0; at < 16 * MIB; at += MIB) {
		user_write(c->engines[0].users[0], at, MIB, 0, &zeroing);
		for (unsigned i = 0; i < 3000 && zeroing.status == 1; i++)
			run_for(c, 10 * NS_PER_MS);
		if (!step_expect(c, zeroing.status == 0, "a full disk takes zeroing"))
			return false;
	}
	return run_for(c, SECONDS(10)) && step_write(c, 0, 0, 0, 256 * KIB, SECONDS(10));
}

static const struct scenario full = {
	.name = "full-and-discarded",
	.story = "All replicas are full: writes fail with ENOSPC before they take a generation, so "
		 "a discard behind them frees room.",
	.shape = shape_full,
	.drive = drive_full,
};

/*
 * Volume 0 is taken from E0, or its engine's lease is, while writes are under way. E0 has another volume: what it had sent for volume 0 must
 * not count as under way for ever, else what has no room would wait for its answers.
 */
static void shape_full_after_takeover(struct params *p)
{
	shape_full(p);
	p->engines = 2;
	p->volumes = 2;
	p->volume[0].bytes = 16 * MIB;
	p->volume[1].bytes = 192 * MIB;
}

static bool drive_full_after_takeover(struct cluster *c)
{
	static struct scripted writes[12];

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_attach(c, 0, 1, true) ||
	    !step_write(c, 0, 0, 0, 4 * KIB, SECONDS(5)))
		return false;
	for (unsigned i = 0; i < c->params.servers; i++)
		sim_disk_set_slow(c->servers[i].disk, 1000);
	for (unsigned i = 0; i < ARRAY_SIZE(writes); i++)
		try_write(c, 0, 0, i * 256 * KIB, 256 * KIB, &writes[i]);
	if (!step_until_delivered(c, &c->servers[0].node, MSG_WRITE, SECONDS(1)))
		return false;
	try_attach(c, 1, 0, true);
	for (unsigned i = 0; i < ARRAY_SIZE(writes); i++) {
		if (!step_done(c, &writes[i], SECONDS(30)))
			return false;
	}
	for (unsigned i = 0; i < c->params.servers; i++)
		sim_disk_set_slow(c->servers[i].disk, 1);
	return step_expect(c, writes[11].status == -ESHUTDOWN, "the volume was lost meanwhile") &&
	       step_attach(c, 1, 0, true) && step_fill(c, 0, 1);
}

static const struct scenario full_after_takeover = {
	.name = "full-after-takeover",
	.story = "A volume is taken from an engine with writes under way; another volume of the "
		 "engine fills the disks: ENOSPC, nothing hangs.",
	.shape = shape_full_after_takeover,
	.drive = drive_full_after_takeover,
};

const struct scenario *const scenarios_space[] = {&full, &full_after_takeover, NULL};
