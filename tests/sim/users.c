/* users.c - see users.h. */
#include "tests/sim/users.h"
#include "tests/sim/lists.h"

#include <errno.h>
#include <stdlib.h>

/* How often a client looks whether it may begin. */
#define IDLE_NS (50 * NS_PER_MS)
/* What a client gives back at once that was refused for want of room. */
#define TRIM_BYTES (2 * MIB)
/* With one in so many operations a client asks for extents as well. */
#define ASKS_ONE_IN 8
/* As the plugin does. */
#define LIST_NS (10 * NS_PER_S)

enum verb {
	VERB_READ,
	VERB_WRITE,
	VERB_ZERO,
	VERB_DISCARD,
	VERB_EXTENTS, /* which sectors hold data */
};

static const char *const verb_names[] = {"read", "write", "zero", "discard", "extents"};

/* One request to the engine. A write that is sent again has two of them under way. */
struct operation {
	struct engine_request request;
	struct user *user;
	struct client *
		client; /* NULL: scripted, or of a sweep, or a copy whose other copy has been answered */
	struct operation *twin;
	enum verb verb;
	uint64_t offset, bytes;
	uint64_t begun_ns;
	uint32_t stamp, write;
	struct register_read *read;
	uint8_t *memory; /* EXTENTS: a byte for each sector, 1: a hole */
	struct scripted *scripted;
	bool sweeping;
	struct sim_event repeat;
	TAILQ_ENTRY(operation) link;
};

struct client {
	struct user *user;
	struct prng random;
	struct prng asks; /* what it asks besides reading and writing */
	struct sim_event next;
	unsigned under_way;
	uint32_t begun;
	bool trims; /* what it does next: it was refused for want of room */
	bool only_reads;
};

struct user {
	struct cluster *cluster;
	struct sim_engine *engine;
	struct sim_volume *target;
	struct registers *
		registers; /* of the volume that it has: one of the same name may have come since */
	enum user_state state;
	struct engine_volume *volume;
	uint32_t attachment;
	struct uuid uuid;
	unsigned holders; /* of the volume, when it was attached: lists_holders */
	struct client clients[SIM_CLIENTS_MAX];
	TAILQ_HEAD(, operation) operations;
	unsigned operation_count;
	uint64_t idle_until_ns; /* its clients ask for nothing until then */
	bool refused;           /* for want of room, and nothing was acknowledged since */
	/* a sweep over the whole volume: verification, or discarding */
	enum verb sweep_verb;
	uint64_t sweep_next;
	unsigned sweep_under_way, sweep_failed;
	void (*sweep_done)(void *context, struct user *user, unsigned failed);
	void *sweep_context;
};

static struct sim *sim_of(const struct user *user)
{
	return &user->cluster->sim;
}

uint64_t user_bytes(const struct user *user)
{
	return engine_volume_size_bytes(user->volume);
}

static void operation_free(struct operation *op)
{
	struct user *user = op->user;

	sim_cancel(sim_of(user), &op->repeat);
	if (op->twin)
		op->twin->twin = NULL;
	TAILQ_REMOVE(&user->operations, op, link);
	user->operation_count--;
	free(op->memory);
	free(op);
}

/* ---- detaching ---- */

static void user_free(struct user *user)
{
	for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++)
		sim_cancel(sim_of(user), &user->clients[i].next);
	while (!TAILQ_EMPTY(&user->operations))
		operation_free(TAILQ_FIRST(&user->operations));
	user->engine->users[user->target->number] = NULL;
	free(user);
}

static void on_detached(void *context, int status)
{
	struct user *user = context;

	sim_trace(sim_of(user), "volume %s is detached: %d", user->target->name, status);
	if (user->registers)
		registers_attachment_ended(user->registers, user->attachment);
	user_free(user);
}

static void detach_if_idle(struct user *user)
{
	if (user->operation_count || user->sweep_done || !user->volume)
		return;
	if (user->state != USER_DETACHING && user->state != USER_LOST)
		return;
	struct engine_volume *volume = user->volume;

	user->volume = NULL;
	sim_trace(sim_of(user), "volume %s: detach begins", user->target->name);
	engine_detach(volume, on_detached, user);
}

void user_detach(struct user *user)
{
	if (user->state != USER_ATTACHED)
		return;
	user->state = USER_DETACHING;
	detach_if_idle(user);
}

static void user_lost(struct user *user)
{
	if (user->state == USER_ATTACHED)
		user->state = USER_LOST;
}

/* ---- operations ---- */

static void client_plan(struct client *client, uint64_t delay_ns);
static void sweep_more(struct user *user);

static void operation_settled(struct operation *op)
{
	struct registers *r = op->user->registers;
	int status = op->request.status;

	if (op->verb == VERB_READ) {
		registers_read_done(r, op->read, status, op->memory);
		op->read = NULL;
	} else if (op->verb == VERB_EXTENTS) {
		registers_holes_done(r, op->read, status, op->memory);
		op->read = NULL;
	} else {
		registers_write_done(r, op->write, status);
	}
	op->user->cluster->sim.totals.operations++;
	if (status == 0)
		op->user->cluster->acknowledged++;
	else
		op->user->cluster->failed_operations++;
	if (status == -EIO)
		op->user->cluster->eio++;
	if (status)
		sim_reach(sim_of(op->user), status == -EIO      ? REACHED_EIO
					    : status == -ENOSPC ? REACHED_ENOSPC
								: REACHED_ESHUTDOWN);
	op->user->cluster->last_done_ns = op->user->cluster->sim.now_ns;
	op->user->cluster->slowest_ns =
		MAX(op->user->cluster->slowest_ns, op->user->cluster->sim.now_ns - op->begun_ns);
}

/* So far as is committed: it may have been taken before the user heard that it is attached. */
static bool is_holder(const struct user *user)
{
	const struct sim_process *p = user->engine->node.process;
	const struct meta_volume_row *row =
		sim_rows_volume_named(user->cluster->rows, user->target->name);

	return row && uuid_equal(row->uuid, user->uuid) && !uuid_is_zero(row->holder) &&
	       strcmp(row->holder_host, p->host->name) == 0 &&
	       row->holder_pid == 1000 + p->incarnation;
}

static void check_status(struct operation *op)
{
	const struct cluster *c = op->user->cluster;
	int status = op->request.status;

	if (status == -ESHUTDOWN && lists_holders(c->lists, op->user->uuid) == op->user->holders &&
	    is_holder(op->user))
		sim_fail(
			&op->user->cluster->sim, "volumes are lost to somebody", 0,
			"an operation on %s failed since the volume was lost, and nobody has taken "
			"it",
			op->user->target->name);
	if (status == 0 || status == -ESHUTDOWN || status == -EIO || status == -ENOSPC)
		return;
	sim_fail(&op->user->cluster->sim, "statuses", 0,
		 "an operation on %s ended with %d, which the interface does not name",
		 op->user->target->name, status);
}

/* A full disk is no end: what is discarded makes room. */
static void note_room(const struct operation *op)
{
	struct user *user = op->user;

	if (op->verb != VERB_WRITE || (op->request.status && op->request.status != -ENOSPC))
		return;
	if (user->refused && !op->request.status)
		sim_reach(sim_of(user), REACHED_ROOM_AGAIN);
	user->refused = op->request.status;
}

static void on_done(struct engine_request *request)
{
	struct operation *op = request->context;
	struct user *user = op->user;
	struct client *client = op->client;
	int status = request->status;

	check_status(op);
	operation_settled(op);
	sim_trace(sim_of(user), "%s %llu + %llu stamp %u of %s: %d", verb_names[op->verb],
		  (unsigned long long)op->offset, (unsigned long long)op->bytes, op->stamp,
		  user->target->name, status);
	sim_note(sim_of(user), (uint64_t)status ^ op->offset ^ (uint64_t)op->stamp << 32);
	if (status == -ESHUTDOWN)
		user_lost(user);
	if (op->scripted)
		op->scripted->status = status;
	if (op->sweeping) {
		user->sweep_under_way--;
		user->sweep_failed += status != 0;
	}
	note_room(op);
	/* To the client a write is over with the first answer to any of its copies. */
	if (client) {
		if (op->twin)
			op->twin->client = NULL;
		client->under_way--;
		client->trims |= status == -ENOSPC && prng_chance(&client->random, 1, 4);
		client_plan(client, 1);
	}
	operation_free(op);
	if (user->sweep_done)
		sweep_more(user);
	detach_if_idle(user);
}

/* They are in order and cover what was asked from the beginning on, perhaps not all of it. */
static void check_extents(struct operation *op, const struct engine_extent *extents, size_t count)
{
	uint64_t at = 0;
	size_t i = 0;

	for (; i < count && extents[i].bytes && extents[i].bytes % SECTOR_BYTES == 0 &&
	       extents[i].bytes <= op->bytes - at;
	     i++) {
		memset(op->memory + at / SECTOR_BYTES, extents[i].hole,
		       extents[i].bytes / SECTOR_BYTES);
		if (extents[i].hole)
			sim_reach(sim_of(op->user), REACHED_HOLE);
		at += extents[i].bytes;
	}
	if (at == 0 || i < count)
		sim_fail(sim_of(op->user), "extents", 0,
			 "of %llu bytes of %s from %llu on, %zu of %zu extents cover %llu",
			 (unsigned long long)op->bytes, op->user->target->name,
			 (unsigned long long)op->offset, i, count, (unsigned long long)at);
}

static void on_extents(void *context, int status, const struct engine_extent *extents, size_t count)
{
	struct operation *op = context;

	op->request.status = status;
	if (!status)
		check_extents(op, extents, count);
	on_done(&op->request);
}

static struct operation *operation_new(struct user *user, enum verb verb, uint64_t offset,
				       uint64_t bytes)
{
	static const enum engine_operation operations[] = {
		[VERB_READ] = ENGINE_READ,    [VERB_WRITE] = ENGINE_WRITE,
		[VERB_ZERO] = ENGINE_ZERO,    [VERB_DISCARD] = ENGINE_DISCARD,
		[VERB_EXTENTS] = ENGINE_READ, /* not submitted as such */
	};
	struct operation *op = xcalloc(1, sizeof *op);

	op->user = user;
	op->verb = verb;
	op->offset = offset;
	op->bytes = bytes;
	op->request = (struct engine_request){.operation = operations[verb],
					      .offset = offset,
					      .bytes = bytes,
					      .done = on_done,
					      .context = op};
	TAILQ_INSERT_TAIL(&user->operations, op, link);
	user->operation_count++;
	return op;
}

static void operation_submit(struct operation *op)
{
	struct user *user = op->user;
	struct registers *r = user->registers;

	sim_trace(sim_of(user), "%s %llu + %llu stamp %u on %s begins", verb_names[op->verb],
		  (unsigned long long)op->offset, (unsigned long long)op->bytes, op->stamp,
		  user->target->name);
	if (op->verb == VERB_READ) {
		op->memory = xmalloc(op->bytes);
		memset(op->memory, 0xee, op->bytes);
		op->read = registers_read(r, user->attachment, op->offset, op->bytes);
	} else if (op->verb == VERB_EXTENTS) {
		op->memory = xcalloc(1, op->bytes / SECTOR_BYTES);
		op->read = registers_read(r, user->attachment, op->offset, op->bytes);
	} else {
		op->write = registers_write(r, user->attachment, op->offset, op->bytes, op->stamp);
	}
	if (op->verb == VERB_WRITE) {
		op->memory = xmalloc(op->bytes);
		registers_fill(r, op->stamp, op->offset, op->bytes, op->memory);
	}
	op->request.memory = op->memory;
	op->begun_ns = sim_of(user)->now_ns;
	if (op->verb == VERB_EXTENTS) {
		engine_extents(user->volume, op->offset, op->bytes, on_extents, op);
		return;
	}
	engine_submit(user->volume, &op->request);
	/* The bytes were read during the call: what the caller does with his buffer now must not matter. */
	if (op->verb == VERB_WRITE)
		memset(op->memory, 0x55, op->bytes);
}

static void repeat_run(struct sim_event *event)
{
	struct operation *op = container_of(event, struct operation, repeat), *again;
	struct user *user = op->user;

	if (user->state != USER_ATTACHED || !op->client || op->twin)
		return;
	again = operation_new(user, op->verb, op->offset, op->bytes);
	again->stamp = op->stamp;
	again->client = op->client;
	again->twin = op;
	op->twin = again;
	sim_reach(sim_of(user), REACHED_TWIN);
	operation_submit(again);
}

/* ---- clients ---- */

static uint64_t pick_bytes(const struct params *p, struct prng *r)
{
	uint64_t bytes = SECTOR_BYTES;

	while (bytes * 2 <= p->io_bytes_max && prng_chance(r, 4, 5))
		bytes *= 2;
	/* Mostly powers of two; else any number of sectors up to that. */
	if (prng_chance(r, 1, 3))
		bytes = SECTOR_BYTES * (1 + prng_below(r, bytes / SECTOR_BYTES));
	return bytes;
}

/* The end of which chunk the hot range lies across: now this one, then that. */
uint64_t users_hot_middle(const struct cluster *c, unsigned volume)
{
	const struct params *p = &c->params;
	uint64_t ends = (c->volumes[volume].bytes - 1) / p->chunk_bytes;

	if (!ends || !p->move_ns)
		return p->chunk_bytes;
	return p->chunk_bytes * (1 + c->sim.now_ns / p->move_ns % ends);
}

static void pick_range(struct user *user, struct prng *r, uint64_t *offset, uint64_t *bytes)
{
	const struct params *p = &user->cluster->params;
	uint64_t size = user_bytes(user), hot = MIN(p->hot_bytes, size), base = 0, room = size;
	uint64_t picked = pick_bytes(p, r);

	*bytes = MIN(picked, size);
	if (prng_below(r, 100) < p->hot_percent) {
		/* The hot range lies across the end of the first chunk where there is one. */
		room = MAX(hot, *bytes);
		base = size > p->chunk_bytes
			       ? users_hot_middle(user->cluster, user->target->number) -
					 MIN(p->chunk_bytes, ROUND_DOWN(room / 2, SECTOR_BYTES))
			       : 0;
		base = MIN(base, size - room);
	}
	*offset = base + prng_below(r, (room - *bytes) / SECTOR_BYTES + 1) * SECTOR_BYTES;
	if (*bytes >= BLOCK_BYTES && prng_chance(r, 2, 3))
		*offset = ROUND_DOWN(*offset, BLOCK_BYTES);
}

static enum verb pick_verb(const struct params *p, struct prng *r)
{
	uint64_t n = prng_below(r, 100);

	if (n < p->read_percent)
		return VERB_READ;
	if (n < p->read_percent + p->zero_percent)
		return prng_chance(r, 1, 2) ? VERB_ZERO : VERB_DISCARD;
	return VERB_WRITE;
}

/* ---- export lists ---- */

static bool is_listed(const struct sim_volume *v, const struct msg_volume *volumes, size_t count)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(volumes[i].name, v->name) != 0)
			continue;
		if (!uuid_equal(volumes[i].uuid, v->uuid) ||
		    !sim_volume_had_size(v, volumes[i].size_bytes))
			return false;
		found++;
	}
	return found == 1;
}

/* What was there all the time is listed, once, and with a size that it has had. */
static void on_listed(void *context, int status, const struct msg_volume *volumes, size_t count)
{
	struct sim_engine *e = context;
	struct cluster *c = e->node.cluster;

	e->listing = false;
	if (status && status != -ETIMEDOUT && status != -EIO)
		sim_fail(&c->sim, "statuses", 0, "%s: a list of volumes ended with %d",
			 e->node.process->name, status);
	if (status)
		return;
	sim_reach(&c->sim, REACHED_LISTED);
	for (unsigned i = 0; i < c->params.volumes; i++) {
		const struct sim_volume *v = &c->volumes[i];

		if (v->created && uuid_equal(v->uuid, e->listed[i]) &&
		    !is_listed(v, volumes, count))
			sim_fail(&c->sim, "export lists", 0,
				 "%s is not among the %zu volumes that %s is told of, as it is",
				 v->name, count, e->node.process->name);
	}
}

void engine_user_list(struct sim_engine *e)
{
	const struct cluster *c = e->node.cluster;

	if (e->listing)
		return;
	e->listing = true;
	for (unsigned i = 0; i < c->params.volumes; i++)
		e->listed[i] = c->volumes[i].created ? c->volumes[i].uuid : (struct uuid){{0}};
	engine_list_volumes(e->engine, LIST_NS, on_listed, e);
}

/* Beside its operations, as a copying program does: which parts of the volume hold data? */
static void client_ask(struct client *client)
{
	struct user *user = client->user;
	uint64_t offset, bytes;

	if (!prng_chance(&client->asks, 1, ASKS_ONE_IN))
		return;
	if (prng_chance(&client->asks, 1, 16))
		engine_user_list(user->engine);
	pick_range(user, &client->asks, &offset, &bytes);
	if (prng_chance(&client->asks, 1, 4))
		bytes = user_bytes(user) - offset;
	operation_submit(operation_new(user, VERB_EXTENTS, offset, bytes));
}

static void client_operate(struct client *client)
{
	struct user *user = client->user;
	const struct params *p = &user->cluster->params;
	struct operation *op;
	uint64_t offset, bytes;
	enum verb verb = client->only_reads ? VERB_READ : pick_verb(p, &client->random);

	pick_range(user, &client->random, &offset, &bytes);
	if (client->trims) {
		verb = VERB_DISCARD;
		bytes = MIN(user_bytes(user), TRIM_BYTES);
		offset = BLOCK_BYTES *
			 prng_below(&client->random, (user_bytes(user) - bytes) / BLOCK_BYTES + 1);
		client->trims = false;
	}
	op = operation_new(user, verb, offset, bytes);
	op->client = client;
	op->repeat.run = repeat_run;
	if (verb == VERB_WRITE)
		op->stamp = registers_stamp(user->registers);
	client->begun++;
	client->under_way++;
	if (verb == VERB_WRITE && prng_below(&client->random, 100) < p->repeat_percent)
		sim_schedule(sim_of(user), &op->repeat, user->engine->node.process,
			     sim_of(user)->now_ns +
				     prng_below(&client->random, p->repeat_after_ns) + 1,
			     "repeat");
	operation_submit(op);
	client_ask(client);
}

static void client_run(struct sim_event *event)
{
	struct client *client = container_of(event, struct client, next);
	struct user *user = client->user;
	const struct params *p = &user->cluster->params;

	if (user->state != USER_ATTACHED || client->begun >= p->operations)
		return;
	if (!user->cluster->issuing || sim_of(user)->now_ns < user->idle_until_ns) {
		client_plan(client, IDLE_NS);
		return;
	}
	if (client->under_way < p->depth)
		client_operate(client);
	client_plan(client, prng_below(&client->random, 2 * p->think_ns) + 1);
}

static void client_plan(struct client *client, uint64_t delay_ns)
{
	struct sim *sim = sim_of(client->user);

	if (client->next.heap_index && client->next.at_ns <= sim->now_ns + delay_ns)
		return;
	if (client->user->state == USER_ATTACHED)
		sim_schedule(sim, &client->next, client->user->engine->node.process,
			     sim->now_ns + delay_ns, "client");
}

/* ---- attaching ---- */

static void on_attached(void *context, int status, const char *text, struct engine_volume *volume)
{
	struct user *user = context;
	struct cluster *c = user->cluster;

	sim_trace(&c->sim, "attach of %s: %d %s", user->target->name, status, text ? text : "");
	if (status) {
		user->target->reattach_at_ns =
			c->sim.now_ns + prng_below(&user->target->random, 2 * NS_PER_S);
		user_free(user);
		return;
	}
	user->volume = volume;
	if (!user->target->created || !uuid_equal(engine_volume_uuid(volume), user->target->uuid)) {
		/* It is deleted by now, or not known to have been created. */
		user->state = USER_DETACHING;
		detach_if_idle(user);
		return;
	}
	user->registers = user->target->registers;
	user->state = USER_ATTACHED;
	user->uuid = user->target->uuid;
	user->holders = lists_holders(c->lists, user->uuid);
	user->attachment = registers_attach(user->registers, user->engine->node.process->name,
					    user_bytes(user));
	if (!sim_volume_had_size(user->target, user_bytes(user)))
		sim_fail(&c->sim, "volume size", 0, "volume %s is attached with %llu bytes",
			 user->target->name, (unsigned long long)user_bytes(user));
	for (unsigned i = 0; i < c->params.clients && c->params.operations; i++) {
		struct client *client = &user->clients[i];

		client->user = user;
		client->next.run = client_run;
		client->only_reads = i < c->params.readers;
		client->random = sim_stream(&c->sim, "client",
					    (uint64_t)user->target->number << 48 |
						    (uint64_t)user->attachment << 8 | i);
		client->asks = sim_stream(&c->sim, "asks",
					  (uint64_t)user->target->number << 48 |
						  (uint64_t)user->attachment << 8 | i);
		client_plan(client, prng_below(&client->random, c->params.think_ns + 1) + 1);
	}
}

void user_attach(struct cluster *c, unsigned engine, unsigned volume, bool force)
{
	struct sim_engine *e = &c->engines[engine];
	struct user *user;

	assert(e->engine && !e->users[volume]);
	user = xcalloc(1, sizeof *user);
	user->cluster = c;
	user->engine = e;
	user->target = &c->volumes[volume];
	user->state = USER_ATTACHING;
	TAILQ_INIT(&user->operations);
	e->users[volume] = user;
	sim_trace(&c->sim, "%s begins to attach %s%s", e->node.process->name, user->target->name,
		  force ? " by force" : "");
	engine_attach(e->engine, user->target->name, ATTACH_EXCLUSIVE, force, 0, on_attached, user);
}

void users_killed(struct cluster *c, struct sim_engine *engine)
{
	for (unsigned v = 0; v < SIM_VOLUMES_MAX; v++) {
		struct user *user = engine->users[v];

		if (!user)
			continue;
		if (user->attachment)
			registers_attachment_ended(user->registers, user->attachment);
		user_free(user);
	}
	(void)c;
}

void users_detach_former(struct cluster *c)
{
	for (unsigned e = 0; e < SIM_ENGINES_MAX; e++) {
		for (unsigned v = 0; v < SIM_VOLUMES_MAX; v++) {
			struct user *user = c->engines[e].users[v];

			if (user && user->state == USER_ATTACHED && user->target->created &&
			    !user_paused(user) && user->registers != user->target->registers)
				user_detach(user);
		}
	}
}

bool user_paused(const struct user *user)
{
	return user->engine->node.process->paused;
}

unsigned user_host(const struct user *user)
{
	return user->engine->node.process->host->index;
}

bool engine_may_attach(const struct sim_engine *e, unsigned volume)
{
	return e->engine && !e->stopping && !e->node.process->paused && !e->users[volume];
}

void user_idle(struct user *user, uint64_t until_ns)
{
	user->idle_until_ns = until_ns;
}

bool user_wants(const struct user *user, struct uuid volume)
{
	return uuid_is_zero(user->uuid) || uuid_equal(user->uuid, volume);
}

enum user_state user_state(const struct user *user)
{
	return user->state;
}

unsigned users_under_way(const struct cluster *c)
{
	unsigned count = 0;

	for (unsigned e = 0; e < SIM_ENGINES_MAX; e++) {
		for (unsigned v = 0; v < SIM_VOLUMES_MAX; v++)
			count += c->engines[e].users[v] ? c->engines[e].users[v]->operation_count
							: 0;
	}
	return count;
}

struct user *user_of_volume(const struct cluster *c, unsigned volume)
{
	struct user *found = NULL;

	for (unsigned e = 0; e < SIM_ENGINES_MAX; e++) {
		struct user *user = c->engines[e].users[volume];

		if (user && user->state == USER_ATTACHED &&
		    user->registers == user->target->registers &&
		    (!found || user->attachment > found->attachment))
			found = user;
	}
	return found;
}

bool volume_in_use(const struct cluster *c, unsigned volume)
{
	for (unsigned e = 0; e < SIM_ENGINES_MAX; e++) {
		const struct user *user = c->engines[e].users[volume];

		if (user &&
		    (user->state == USER_ATTACHING ||
		     (user->state == USER_ATTACHED && user->registers == user->target->registers)))
			return true;
	}
	return false;
}

/* ---- sweeps: verification, and giving back what is not kept ---- */

#define SWEEP_BYTES (256 * KIB)
/* Whoever reads everything asks, too, where there is data. */
#define SWEEP_EXTENTS_BYTES (2 * MIB)

/* Spread evenly: of 100 pieces keep_percent. */
static bool is_kept(const struct user *user, uint64_t piece)
{
	uint64_t percent = user->cluster->params.keep_percent;

	/* What has grown since the disks were drawn is not. */
	return (piece + 1) * SWEEP_BYTES <=
		       user->cluster->params.volume[user->target->number].bytes &&
	       (piece + 1) * percent / 100 > piece * percent / 100;
}

static void sweep_extents(struct user *user, uint64_t offset)
{
	uint64_t bytes = MIN(SWEEP_EXTENTS_BYTES, user_bytes(user) - offset);
	struct operation *op = operation_new(user, VERB_EXTENTS, offset, bytes);

	op->sweeping = true;
	user->sweep_under_way++;
	operation_submit(op);
}

static void sweep_more(struct user *user)
{
	while (user->sweep_next < user_bytes(user) && user->sweep_under_way < 4 &&
	       user->state == USER_ATTACHED) {
		uint64_t offset = user->sweep_next;
		uint64_t bytes = MIN(SWEEP_BYTES, user_bytes(user) - offset);
		struct operation *op;

		user->sweep_next += bytes;
		if (user->sweep_verb == VERB_DISCARD && is_kept(user, offset / SWEEP_BYTES))
			continue;
		op = operation_new(user, user->sweep_verb, offset, bytes);
		op->sweeping = true;
		user->sweep_under_way++;
		operation_submit(op);
		if (user->sweep_verb == VERB_READ && offset % SWEEP_EXTENTS_BYTES == 0)
			sweep_extents(user, offset);
	}
	if (user->sweep_under_way == 0) {
		void (*done)(void *context, struct user *user, unsigned failed) = user->sweep_done;

		user->sweep_done = NULL;
		done(user->sweep_context, user, user->sweep_failed);
	}
}

static void sweep(struct user *user, enum verb verb,
		  void (*done)(void *context, struct user *user, unsigned failed), void *context)
{
	assert(user->state == USER_ATTACHED && !user->sweep_done);
	user->sweep_verb = verb;
	user->sweep_next = 0;
	user->sweep_failed = 0;
	user->sweep_done = done;
	user->sweep_context = context;
	sweep_more(user);
}

bool user_sweeps(const struct user *user)
{
	return user->sweep_done != NULL;
}

void user_verify(struct user *user, void (*done)(void *context, struct user *user, unsigned failed),
		 void *context)
{
	sweep(user, VERB_READ, done, context);
}

void user_trim(struct user *user, void (*done)(void *context, struct user *user, unsigned failed),
	       void *context)
{
	sweep(user, VERB_DISCARD, done, context);
}

/* ---- scripted operations ---- */

void user_write(struct user *user, uint64_t offset, uint64_t bytes, uint32_t stamp,
		struct scripted *result)
{
	struct operation *op = operation_new(user, stamp ? VERB_WRITE : VERB_ZERO, offset, bytes);

	op->stamp = stamp;
	op->scripted = result;
	result->status = 1;
	operation_submit(op);
}

void user_read(struct user *user, uint64_t offset, uint64_t bytes, struct scripted *result)
{
	struct operation *op = operation_new(user, VERB_READ, offset, bytes);

	op->scripted = result;
	result->status = 1;
	operation_submit(op);
}

void user_extents(struct user *user, uint64_t offset, uint64_t bytes, struct scripted *result)
{
	struct operation *op = operation_new(user, VERB_EXTENTS, offset, bytes);

	op->scripted = result;
	result->status = 1;
	operation_submit(op);
}
