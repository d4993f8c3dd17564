/*
 * scenarios_failures.c - failures that the protocol names, one story each, and the rows of docs/INTERLEAVINGS.md that are about users'
 * requests: 15, 19, 20, 22. E0 and E1 are engines, A, B, C replicas.
 */
#include "tests/sim/scenarios.h"
#include "tests/sim/steps.h"

#include <errno.h>

#define MS(n) ((n)*NS_PER_MS)
#define HERE  (64 * KIB) /* an offset of the first chunk */

static void heal_both(struct cluster *c, unsigned host_a, unsigned host_b)
{
	net_link_heal(c->sim.net, host_a, host_b);
	net_link_heal(c->sim.net, host_b, host_a);
}

/* One server has answered a READ: which? */
static unsigned reader_of(const struct cluster *c)
{
	for (unsigned i = 0; i < c->params.servers; i++) {
		if (observer_delivered(c->observer, c->servers[i].node.process, MSG_READ))
			return i;
	}
	assert(!"somebody was read from");
	return 0;
}

/* ---- requests that overlap ---- */

static void shape_one_engine(struct params *p)
{
	shape_scripted(p);
	p->engines = 1;
}

/* Row 15: as far as an engine can see. */
static bool drive_repeat_under_way(struct cluster *c)
{
	static struct scripted first, again, later, small[4];
	uint32_t stamp = registers_stamp(c->volumes[0].registers);
	struct user *user;

	if (!step_begin(c))
		return false;
	user = c->engines[0].users[0];
	for (unsigned i = 0; i < 3; i++)
		node_pause(&c->servers[i].node);
	user_write(user, HERE + 512, 4 * KIB, stamp, &first);
	for (unsigned i = 0; i < 4; i++)
		try_write(c, 0, 0, HERE + 512 * i, 512, &small[i]);
	run_for(c, MS(500));
	user_write(user, HERE + 512, 4 * KIB, stamp, &again);
	try_write(c, 0, 0, HERE + 1024, 2 * KIB, &later);
	run_for(c, MS(500));
	for (unsigned i = 0; i < 3; i++)
		node_continue(&c->servers[i].node);
	return step_done(c, &first, SECONDS(5)) && step_done(c, &again, SECONDS(5)) &&
	       step_done(c, &later, SECONDS(5)) && step_read(c, 0, 0, 0, MIB, SECONDS(5));
}

static const struct scenario repeat_under_way = {
	.name = "repeat-under-way",
	.story = "A kernel sends a write again while the first copy is under way, and a later one "
		 "behind both: they go in the order of their arrival.",
	.shape = shape_one_engine,
	.drive = drive_repeat_under_way,
};

/* Row 19, first half. */
static bool drive_small_writes(struct cluster *c)
{
	static struct scripted small[8];

	if (!step_begin(c))
		return false;
	for (unsigned i = 0; i < 8; i++)
		try_write(c, 0, 0, HERE + 512 * i, 512, &small[i]);
	for (unsigned i = 0; i < 8; i++) {
		if (!step_done(c, &small[i], SECONDS(5)) ||
		    !step_expect(c, small[i].status == 0, "each small write succeeds"))
			return false;
	}
	return step_read(c, 0, 0, HERE, 4 * KIB, SECONDS(5));
}

static const struct scenario small_writes = {
	.name = "small-writes-of-one-block",
	.story = "Eight writes of 512 bytes to one block at once: each is read, merged and written "
		 "by itself, in order; none is lost.",
	.shape = shape_one_engine,
	.drive = drive_small_writes,
};

/* Row 19, second half. */
static bool drive_small_over_bad(struct cluster *c)
{
	static struct scripted first;
	struct registers *r = c->volumes[0].registers;
	uint32_t stamp = registers_stamp(r);
	uint8_t content[4 * KIB];

	c->manual = true;
	if (!step_attach(c, 0, 0, false))
		return false;
	user_write(c->engines[0].users[0], HERE, 4 * KIB, stamp, &first);
	if (!step_done(c, &first, SECONDS(5)) || !step_read(c, 0, 0, HERE, 4 * KIB, SECONDS(5)))
		return false;
	registers_fill(r, stamp, HERE, 4 * KIB, content);
	return step_expect(c, sim_disk_damage(c->servers[reader_of(c)].disk, content, 4 * KIB) > 0,
			   "there is a block to be damaged") &&
	       step_write(c, 0, 0, HERE, 512, SECONDS(5)) &&
	       step_read(c, 0, 0, HERE, 4 * KIB, SECONDS(5));
}

static const struct scenario small_over_bad = {
	.name = "small-write-over-a-bad-block",
	.story = "512 bytes go into a block whose copy at the reader is bad: they are merged into "
		 "a good one, never does a bad block get a good checksum.",
	.shape = shape_one_engine,
	.drive = drive_small_over_bad,
};

/* Row 22. */
static bool drive_read_asked_elsewhere(struct cluster *c)
{
	static struct scripted read, write;
	unsigned asked, others[2], n = 0;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, 4 * KIB, SECONDS(5)) ||
	    !step_read(c, 0, 0, HERE, 4 * KIB, SECONDS(5)))
		return false;
	asked = reader_of(c);
	for (unsigned i = 0; i < 3; i++) {
		if (server_of(c, 0, 0, i) != asked)
			others[n++] = server_of(c, 0, 0, i);
	}
	/* The one that is asked hangs; the read is asked again, of one that a write could have reached meanwhile. */
	node_pause(&c->servers[asked].node);
	cut_both(c, host_of_engine(c, 0), host_of_server(c, others[1]));
	try_read(c, 0, 0, HERE, 4 * KIB, &read);
	if (!run_for(c, MS(200)))
		return false;
	try_write(c, 0, 0, HERE, 4 * KIB, &write);
	if (!step_done(c, &read, SECONDS(3)))
		return false;
	/* All that have the write are gone. */
	kill_engine(c, 0);
	kill_server(c, others[0]);
	kill_server(c, asked);
	node_let_up(&c->servers[asked].node);
	if (!step_attach(c, 1, 0, true) || !step_read(c, 1, 0, HERE, 4 * KIB, SECONDS(20)))
		return false;
	node_let_up(&c->servers[others[0]].node);
	return true;
}

static const struct scenario read_asked_elsewhere = {
	.name = "read-asked-elsewhere",
	.story = "A read under way is asked again at another replica; a write that came behind it "
		 "must not be there yet, it may vanish.",
	.shape = shape_scripted,
	.drive = drive_read_asked_elsewhere,
};

static void shape_min_one(struct params *p)
{
	shape_scripted(p);
	p->volume[0].min_replicas = 1;
}

static bool drive_read_behind_write(struct cluster *c)
{
	static struct scripted read, write;
	unsigned last;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, 4 * KIB, SECONDS(5)))
		return false;
	last = server_of(c, 0, 0, 2);
	cut_both(c, host_of_engine(c, 0), host_of_server(c, last));
	try_write(c, 0, 0, HERE, 4 * KIB, &write);
	try_read(c, 0, 0, HERE, 4 * KIB, &read);
	if (!run_for(c, MS(300)))
		return false;
	kill_engine(c, 0);
	kill_server(c, server_of(c, 0, 0, 0));
	kill_server(c, server_of(c, 0, 0, 1));
	return step_attach(c, 1, 0, true) && step_read(c, 1, 0, HERE, 4 * KIB, SECONDS(20)) &&
	       step_write(c, 1, 0, HERE, 4 * KIB, SECONDS(10));
}

static const struct scenario read_behind_write = {
	.name = "read-behind-a-write",
	.story = "A read behind a write that is not on all replicas waits for it: what it would "
		 "return may vanish with the others.",
	.shape = shape_min_one,
	.drive = drive_read_behind_write,
};

/* Row 20. */
static void shape_timeout(struct params *p)
{
	shape_one_engine(p);
	p->io_timeout_ns = SECONDS(5);
}

static bool drive_eio_while_repeated(struct cluster *c)
{
	static struct scripted held[3];

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, MIB, SECONDS(5)))
		return false;
	for (unsigned i = 1; i < 3; i++)
		cut_both(c, host_of_engine(c, 0), host_of_server(c, server_of(c, 0, 0, i)));
	for (unsigned i = 0; i < 3; i++)
		try_write(c, 0, 0, HERE + i * 16 * KIB, 16 * KIB, &held[i]);
	if (!run_for(c, MS(6500)))
		return false;
	for (unsigned i = 0; i < 3; i++) {
		if (!step_expect(c, held[i].status == -EIO, "held IO fails after its time"))
			return false;
	}
	/* The users' memory is used for something else by now; the generations go on. */
	for (unsigned i = 1; i < 3; i++)
		heal_both(c, host_of_engine(c, 0), host_of_server(c, server_of(c, 0, 0, i)));
	return run_for(c, SECONDS(8)) && step_read(c, 0, 0, HERE, MIB, SECONDS(5)) &&
	       step_write(c, 0, 0, HERE, MIB, SECONDS(5));
}

static const struct scenario eio_while_repeated = {
	.name = "eio-while-it-is-repeated",
	.story = "Writes fail by timeout while their generations are still to be repeated: these "
		 "go their way with the bytes that they had.",
	.shape = shape_timeout,
	.drive = drive_eio_while_repeated,
};

/* ---- replicas and connections that fail ---- */

static bool drive_all_out_of_reach(struct cluster *c)
{
	static struct scripted write, read;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, MIB, SECONDS(5)))
		return false;
	for (unsigned i = 0; i < 3; i++)
		cut_both(c, host_of_engine(c, 0), host_of_server(c, i));
	try_write(c, 0, 0, HERE, 64 * KIB, &write);
	try_read(c, 0, 0, HERE + MIB / 2, 64 * KIB, &read);
	if (!run_for(c, SECONDS(40)) || !step_expect(c, write.status == 1, "the write is held") ||
	    !step_replicas(c, 0, 0, 3, 3, 1))
		return false;
	for (unsigned i = 0; i < 3; i++)
		heal_both(c, host_of_engine(c, 0), host_of_server(c, i));
	return step_done(c, &write, SECONDS(10)) && step_done(c, &read, SECONDS(10)) &&
	       step_expect(c, write.status == 0 && read.status == 0, "IO goes on");
}

static const struct scenario all_out_of_reach = {
	.name = "all-out-of-reach",
	.story = "The engine reaches no replica at all, only metad: IO is held and nobody is "
		 "evicted; it goes on when they are back.",
	.shape = shape_one_engine,
	.drive = drive_all_out_of_reach,
};

static bool drive_connections_break(struct cluster *c)
{
	static struct scripted flow[8];
	uint64_t place = 0;

	if (!step_begin(c))
		return false;
	for (unsigned i = 0; i < 8; i++)
		flow[i].status = 0;
	for (unsigned turn = 0; turn < 600 && !c->sim.failed; turn++) {
		for (unsigned i = 0; i < 8; i++) {
			if (flow[i].status == 1)
				continue;
			try_write(c, 0, 0, place, 8 * KIB, &flow[i]);
			place = (place + 12 * KIB) % MIB;
		}
		if (turn % 15 == 0)
			net_break(c->sim.net, host_of_engine(c, 0),
				  host_of_server(c, turn / 15 % 3), MS(100));
		run_for(c, MS(10));
	}
	for (unsigned i = 0; i < 8; i++) {
		if (!step_done(c, &flow[i], SECONDS(5)) ||
		    !step_expect(c, flow[i].status == 0, "every write is acknowledged"))
			return false;
	}
	return step_expect(c, cluster_chunk(c, 0, 0)->list_number == 1, "nobody is evicted") &&
	       step_read(c, 0, 0, 0, MIB, SECONDS(5));
}

static void shape_breaks(struct params *p)
{
	shape_one_engine(p);
	p->net.latency_ns = MS(4);
	p->net.jitter_ns = MS(4);
}

static const struct scenario connections_break = {
	.name = "connections-break",
	.story = "Connections break forty times under writes: what was not answered is repeated, "
		 "and a repeat changes nothing.",
	.shape = shape_breaks,
	.drive = drive_connections_break,
};

static void shape_torn(struct params *p)
{
	shape_one_engine(p);
	p->volume[0].bytes = 32 * MIB;
	for (unsigned i = 0; i < SIM_SERVERS_MAX; i++)
		p->disk[i].block_bytes = 512;
}

/* Each place is written once, so that what is left of a torn write is there in the end. */
static bool drive_torn(struct cluster *c)
{
	static struct scripted write;
	uint64_t place = UNIT_BYTES;
	unsigned a;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, 0, 4 * KIB, SECONDS(5)) ||
	    !step_write(c, 0, 0, c->params.chunk_bytes, 4 * KIB, SECONDS(5)))
		return false;
	a = server_of(c, 0, 0, 0);
	for (unsigned turn = 0; turn < 200 && !c->sim.failed; turn++) {
		/* In the journal, or straight to its place. */
		try_write(c, 0, 0, place, turn % 2 ? 12 * KIB : UNIT_BYTES, &write);
		place += UNIT_BYTES;
		if (place % c->params.chunk_bytes == 0)
			place += UNIT_BYTES;
		if (!step_until_delivered(c, &c->servers[a].node, MSG_WRITE, SECONDS(5)))
			return false;
		while (!c->sim.failed && !sim_disk_requests_under_way(c->servers[a].disk))
			run_for(c, NS_PER_MS / 100);
		host_power_off(c, host_of_server(c, a));
		host_power_on(c, host_of_server(c, a));
		if (!step_done(c, &write, SECONDS(5)))
			return false;
	}
	return step_expect(c, cluster_chunk(c, 0, 0)->list_number == 1, "nobody is evicted");
}

static const struct scenario torn = {
	.name = "torn-writes",
	.story = "A server loses power two hundred times while a write is on its way to the disk: "
		 "it has all of it or nothing, and says which.",
	.shape = shape_torn,
	.drive = drive_torn,
};

static void kill_all_servers(struct cluster *c)
{
	for (unsigned i = 0; i < c->params.servers; i++)
		kill_server(c, i);
}

static void swap_all_disks(struct cluster *c)
{
	kill_all_servers(c);
	for (unsigned i = 0; i < c->params.servers; i++) {
		sim_disk_swap_saved(c->servers[i].disk);
		node_let_up(&c->servers[i].node);
	}
}

static bool drive_disks_set_back(struct cluster *c)
{
	static struct scripted read;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, MIB, SECONDS(5)) ||
	    !step_detach(c, 0, 0))
		return false;
	kill_all_servers(c);
	for (unsigned i = 0; i < c->params.servers; i++) {
		sim_disk_save(c->servers[i].disk);
		node_let_up(&c->servers[i].node);
	}
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, MIB, SECONDS(10)) ||
	    !step_detach(c, 0, 0))
		return false;
	swap_all_disks(c);
	if (!step_attach(c, 1, 0, false))
		return false;
	try_read(c, 1, 0, HERE, 64 * KIB, &read);
	if (!run_for(c, SECONDS(30)) ||
	    !step_expect(c, read.status == 1, "nothing is served from disks that were set back"))
		return false;
	swap_all_disks(c);
	return step_done(c, &read, SECONDS(20)) &&
	       step_expect(c, read.status == 0, "the right disks are served");
}

static const struct scenario disks_set_back = {
	.name = "disks-set-back",
	.story = "All disks come back as older images: no replica has reached the floor, so "
		 "nothing is served until the right ones are there.",
	.shape = shape_scripted,
	.drive = drive_disks_set_back,
};

static void shape_bad_everywhere(struct params *p)
{
	shape_one_engine(p);
	p->servers = 4;
	p->grace_ms = 100;
}

static bool drive_bad_everywhere(struct cluster *c)
{
	static struct scripted write, read;
	struct registers *r = c->volumes[0].registers;
	uint32_t stamp = registers_stamp(r);
	uint8_t content[4 * KIB];
	unsigned a;

	c->manual = true;
	if (!step_attach(c, 0, 0, false))
		return false;
	user_write(c->engines[0].users[0], HERE, MIB, stamp, &write);
	if (!step_done(c, &write, SECONDS(5)))
		return false;
	registers_fill(r, stamp, HERE + 8 * KIB, 4 * KIB, content);
	a = server_of(c, 0, 0, 0);
	for (unsigned i = 0; i < 3; i++)
		sim_disk_damage(c->servers[server_of(c, 0, 0, i)].disk, content, 4 * KIB);
	try_read(c, 0, 0, HERE, 64 * KIB, &read);
	if (!step_done(c, &read, SECONDS(10)) ||
	    !step_expect(c, read.status == -EIO, "what is bad everywhere is not returned"))
		return false;
	/* A replica is rebuilt elsewhere all the same, and the rest of the unit is readable. */
	kill_server(c, a);
	if (!step_write(c, 0, 0, 2 * MIB, 64 * KIB, SECONDS(10)) ||
	    !step_replicas(c, 0, 0, 3, 3, SECONDS(60)) ||
	    !step_read(c, 0, 0, HERE + 12 * KIB, 48 * KIB, SECONDS(10)))
		return false;
	try_read(c, 0, 0, HERE + 8 * KIB, 4 * KIB, &read);
	if (!step_done(c, &read, SECONDS(10)) ||
	    !step_expect(c, read.status == -EIO, "the block is known as bad"))
		return false;
	node_let_up(&c->servers[a].node);
	return step_write(c, 0, 0, HERE + 8 * KIB, 4 * KIB, SECONDS(10)) &&
	       step_read(c, 0, 0, HERE, MIB, SECONDS(10));
}

static const struct scenario bad_everywhere = {
	.name = "bad-everywhere",
	.story = "A block is bad on all replicas: reading it fails, nothing else does; a new "
		 "replica is filled, and a write heals it.",
	.shape = shape_bad_everywhere,
	.drive = drive_bad_everywhere,
};

/* ---- leases ---- */

static bool drive_lease_given_back(struct cluster *c)
{
	uint64_t began_ns;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, MIB, SECONDS(5)) ||
	    !step_detach(c, 0, 0))
		return false;
	began_ns = c->sim.now_ns;
	return step_attach(c, 1, 0, false) && step_read(c, 1, 0, HERE, MIB, SECONDS(5)) &&
	       step_expect(c, c->sim.now_ns - began_ns < MS(500),
			   "the next owner does not wait for promises");
}

static const struct scenario lease_given_back = {
	.name = "lease-given-back",
	.story = "E0 detaches in order: E1 reads at once, no promise is waited for.",
	.shape = shape_scripted,
	.drive = drive_lease_given_back,
};

static bool drive_absent_chunk(struct cluster *c)
{
	static struct scripted reads[30];
	uint64_t there = c->params.chunk_bytes + HERE;

	c->manual = true;
	if (!step_attach(c, 0, 0, false) || !step_write(c, 0, 0, HERE, 4 * KIB, SECONDS(5)) ||
	    !step_read(c, 0, 0, there, 4 * KIB, SECONDS(5)))
		return false;
	cut_both(c, host_of_engine(c, 0), host_of_metad(c, 0));
	if (!step_attach(c, 1, 0, true) || !step_write(c, 1, 0, there, 4 * KIB, SECONDS(10)))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(reads); i++) {
		reads[i].status = 1;
		if (c->engines[0].users[0] && user_state(c->engines[0].users[0]) == USER_ATTACHED)
			try_read(c, 0, 0, there, 4 * KIB, &reads[i]);
		if (!run_for(c, MS(100)))
			return false;
	}
	return step_read(c, 1, 0, there, 4 * KIB, SECONDS(5));
}

static const struct scenario absent_chunk = {
	.name = "absent-chunk",
	.story = "E0 is cut off from metad and knows no chunk there; E1 has taken the volume and "
		 "made one: E0 must not read zeros.",
	.shape = shape_scripted,
	.drive = drive_absent_chunk,
};

const struct scenario *const scenarios_failures[] = {
	&repeat_under_way,
	&small_writes,
	&small_over_bad,
	&read_asked_elsewhere,
	&read_behind_write,
	&eio_while_repeated,
	&all_out_of_reach,
	&connections_break,
	&torn,
	&disks_set_back,
	&bad_everywhere,
	&lease_given_back,
	&absent_chunk,
	NULL,
};
