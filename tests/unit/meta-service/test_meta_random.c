/*
 * test_meta_random.c - random peers against the core: sessions that come and go, leases, changes, right and wrong, reports, admin
 * requests, time, restarts and commits that fail. After every step what must never happen is looked for:
 *
 *   - an epoch, or a number of a CREATE or DELETE, given out twice, also over restarts and failed commits;
 *   - a list that changes without its number growing, a floor or an epoch that sinks;
 *   - fewer ACTIVE replicas than min_replicas, two FILLING ones, or two replicas on one chunk server;
 *   - a FILLING replica made ACTIVE by anything but the owner's PROMOTE;
 *   - a DELETE for a replica that a list names;
 *   - an ATTACH_OK before the former holder's last grant has run out;
 *   - memory that differs from the durable rows;
 *   - two runs of one seed that differ.
 */
#include "world.h"
#include "tests/lib/suite.h"

#define ENGINES    3
#define SERVERS    6
#define VOLUMES    3
#define CHUNKS_MAX 4096

struct grant_time {
	uint64_t ns;   /* of the last KEEPALIVE_OK that counts */
	bool believes; /* has heard ATTACH_OK, and neither DETACHED nor given up since */
};

static struct {
	struct world *w;
	struct prng prng;
	struct peer engines[ENGINES], servers[SERVERS];
	unsigned engine_lives[ENGINES];
	bool registered[SERVERS];
	/* per engine and volume id: may it believe to hold it? */
	struct grant_time belief[ENGINES][CHUNKS_MAX];
	uint64_t newest_epoch, newest_commit; /* given out and told */
	struct meta_chunk_row known[CHUNKS_MAX];
	uint64_t promoting_chunk; /* of the CHANGE in this step */
	uint32_t promoting_cid;
	uint64_t digest; /* of all that was put out */
	unsigned grants, changes, deletes, fillings, promotions, takeovers;
} r;

static uint64_t below(uint64_t bound)
{
	return prng_below(&r.prng, bound);
}

static bool chance(uint64_t parts, uint64_t of)
{
	return prng_chance(&r.prng, parts, of);
}

/* ---- what must hold ---- */

static uint32_t count_state(const struct meta_chunk_row *row, enum replica_state state)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < row->replica_count; i++)
		count += row->replicas[i].state == state;
	return count;
}

static bool is_deleting(uint64_t volume)
{
	const struct meta_row *row = find_row(r.w, META_ROW_VOLUME, volume);

	return !row || row->u.volume.deleting;
}

static bool same_list(const struct meta_chunk_row *a, const struct meta_chunk_row *b)
{
	if (a->replica_count != b->replica_count)
		return false;
	for (uint32_t i = 0; i < a->replica_count; i++)
		if (a->replicas[i].cid != b->replicas[i].cid ||
		    a->replicas[i].state != b->replicas[i].state ||
		    a->replicas[i].commit != b->replicas[i].commit)
			return false;
	return true;
}

static void check_promotions(const struct meta_chunk_row *before, const struct meta_chunk_row *row)
{
	for (uint32_t i = 0; i < row->replica_count; i++)
		for (uint32_t k = 0; k < before->replica_count; k++) {
			if (row->replicas[i].cid != before->replicas[k].cid ||
			    row->replicas[i].state == before->replicas[k].state)
				continue;
			ck_assert_int_eq(row->replicas[i].state, REPLICA_ACTIVE);
			ck_assert_uint_eq(row->chunk, r.promoting_chunk);
			ck_assert_uint_eq(row->replicas[i].cid, r.promoting_cid);
			r.promotions++;
		}
}

static void check_chunk(const struct meta_chunk_row *row)
{
	struct meta_chunk_row *before = &r.known[row->chunk];
	const struct meta_row *volume = find_row(r.w, META_ROW_VOLUME, row->volume);

	ck_assert(volume != NULL);
	for (uint32_t i = 0; i < row->replica_count; i++)
		for (uint32_t k = 0; k < i; k++)
			ck_assert_uint_ne(row->replicas[i].cid, row->replicas[k].cid);
	if (!volume->u.volume.deleting) {
		ck_assert_uint_ge(count_state(row, REPLICA_ACTIVE), volume->u.volume.min_replicas);
		ck_assert_uint_le(count_state(row, REPLICA_FILLING), 1);
		if (before->chunk) {
			ck_assert_uint_ge(row->epoch, before->epoch);
			ck_assert_uint_ge(row->floor, before->floor);
			ck_assert_uint_ge(row->list_number, before->list_number);
			if (!same_list(before, row))
				ck_assert_uint_gt(row->list_number, before->list_number);
			check_promotions(before, row);
		}
		r.fillings += count_state(row, REPLICA_FILLING);
	}
	*before = *row;
}

/* An index that is named twice is granted once. */
static bool is_repeated(const struct msg_chunks *chunks, uint32_t at)
{
	for (uint32_t i = 0; i < at; i++)
		if (chunks->chunks[i].chunk == chunks->chunks[at].chunk)
			return true;
	return false;
}

static void check_grants(const struct msg *msg)
{
	for (uint32_t i = 0; i < msg->u.chunks.count; i++) {
		const struct msg_chunk *chunk = &msg->u.chunks.chunks[i];

		if (chunk->status != WIRE_OK || is_repeated(&msg->u.chunks, i))
			continue;
		ck_assert_uint_gt(chunk->epoch, r.newest_epoch);
		r.newest_epoch = chunk->epoch;
		ck_assert_uint_ge(chunk->replica_count, chunk->min_replicas);
		r.grants++;
	}
}

static void check_delete(uint64_t connection, const struct msg_delete *msg)
{
	const struct meta_chunk_row *row = chunk_row(r.w, msg->chunk);
	uint32_t cid = 0;

	ck_assert_uint_gt(msg->commit, r.newest_commit);
	ck_assert_uint_le(msg->commit, find_row(r.w, META_ROW_CLUSTER, 0)->u.cluster.commit);
	r.newest_commit = msg->commit;
	r.deletes++;
	for (unsigned i = 0; i < SERVERS; i++)
		if (r.servers[i].connection == connection)
			cid = r.servers[i].cid;
	if (!row || is_deleting(row->volume))
		return;
	for (uint32_t i = 0; i < row->replica_count; i++)
		ck_assert_uint_ne(row->replicas[i].cid, cid);
}

static struct peer *engine_of(uint64_t connection, unsigned *number)
{
	for (*number = 0; *number < ENGINES; ++*number)
		if (r.engines[*number].connection == connection)
			return &r.engines[*number];
	return NULL;
}

/* Messages of a step reach their peers at once here. */
static void check_attachments(const struct meta_output *output)
{
	unsigned me;

	if (!engine_of(output->connection, &me))
		return;
	if (output->msg.type == MSG_ATTACH_OK && output->msg.status == WIRE_OK) {
		uint64_t volume = output->msg.u.volume.volume;

		for (unsigned i = 0; i < ENGINES; i++) {
			if (i == me || !r.belief[i][volume].believes)
				continue;
			ck_assert_uint_ge(r.w->now_ns, r.belief[i][volume].ns + PROMISE_NS);
			r.takeovers++;
		}
		r.belief[me][volume].believes = true;
	} else if (output->msg.type == MSG_DETACHED) {
		r.belief[me][output->msg.u.detached.volume].believes = false;
	} else if (output->msg.type == MSG_KEEPALIVE_OK) {
		for (unsigned volume = 0; volume < CHUNKS_MAX; volume++)
			if (r.belief[me][volume].believes)
				r.belief[me][volume].ns = r.w->now_ns;
	}
}

static void digest(uint64_t value)
{
	r.digest = mix64(r.digest ^ value);
}

static void forget_connection(uint64_t connection)
{
	for (unsigned i = 0; i < ENGINES; i++)
		if (r.engines[i].connection == connection)
			r.engines[i].connection = 0;
	for (unsigned i = 0; i < SERVERS; i++)
		if (r.servers[i].connection == connection)
			r.servers[i].connection = 0;
}

static void close_event(uint64_t connection)
{
	struct meta_event event = {.type = META_CLOSED, .connection = connection};
	struct world *w = r.w;
	struct meta_update kept = w->update;

	memset(&w->update, 0, sizeof w->update);
	world_step(w, &event);
	meta_update_free(&w->update);
	w->update = kept;
}

/* The rows of the last step are durable, its outputs have been sent. */
static void check_step(void)
{
	struct world *w = r.w;

	for (size_t i = 0; i < w->update.row_count; i++)
		if (w->update.rows[i].kind == META_ROW_CHUNK && !w->update.rows[i].removed)
			check_chunk(&w->update.rows[i].u.chunk);
	for (size_t i = 0; i < w->update.output_count; i++) {
		const struct meta_output *output = &w->update.outputs[i];

		digest(output->connection << 16 | (uint64_t)output->msg.type << 1 | output->close);
		digest(output->msg.status);
		if (output->msg.type == MSG_LEASE_OK)
			check_grants(&output->msg);
		if (output->msg.type == MSG_DELETE)
			check_delete(output->connection, &output->msg.u.delete_);
		check_attachments(output);
	}
	for (size_t i = 0; i < w->update.output_count; i++) {
		if (!w->update.outputs[i].close)
			continue;
		forget_connection(w->update.outputs[i].connection);
		close_event(w->update.outputs[i].connection);
	}
	r.promoting_chunk = 0;
}

/* A document with what is durable only. */
static json_t *durable_chunks(struct world *w)
{
	json_t *document = admin_ask(w, "chunk.list", "{}", NULL), *chunk, *replica;
	size_t i, k;

	json_array_foreach(json_object_get(document, "chunks"), i, chunk)
	{
		json_object_del(chunk, "owner");
		json_object_del(chunk, "state");
		json_array_foreach(json_object_get(chunk, "replicas"), k, replica)
		{
			json_object_del(replica, "alive");
			json_object_del(replica, "position");
		}
	}
	return document;
}

static void check_memory(void)
{
	struct world other = {.config = r.w->config, .now_ns = r.w->now_ns};
	json_t *ours, *theirs;

	other.rows = r.w->rows;
	other.row_count = r.w->row_count;
	world_new_core(&other);
	ours = durable_chunks(r.w);
	theirs = durable_chunks(&other);
	ck_assert(json_equal(ours, theirs));
	/* after a failed commit memory is ahead until the next number is given out */
	ck_assert_uint_le(meta_cluster(other.meta)->epoch, meta_cluster(r.w->meta)->epoch);
	ck_assert_uint_le(meta_cluster(other.meta)->commit, meta_cluster(r.w->meta)->commit);
	json_decref(ours);
	json_decref(theirs);
	meta_free(other.meta);
	meta_update_free(&other.update);
}

/* ---- what happens ---- */

static void lose_connections(void)
{
	for (unsigned i = 0; i < ENGINES; i++)
		r.engines[i].connection = 0;
	for (unsigned i = 0; i < SERVERS; i++)
		r.servers[i].connection = 0;
}

/* The process dies, or its last commit failed (applied or not). */
static void restart(void)
{
	struct meta_cluster_row used = *meta_cluster(r.w->meta);

	world_restart(r.w);
	meta_raise_counters(r.w->meta, &used);
	lose_connections();
}

/* A step whose rows are lost, with all that it put out. */
static void send_to_a_failing_store(struct peer *peer, struct msg *msg)
{
	struct meta_event event = {
		.type = META_MESSAGE, .connection = peer->connection, .msg = msg};

	world_step_uncommitted(r.w, &event);
	if (r.w->update.row_count == 0)
		check_step();
	else
		restart();
}

static void send(struct peer *peer, struct msg *msg)
{
	msg->id = 42;
	if (chance(1, 60)) {
		send_to_a_failing_store(peer, msg);
		return;
	}
	peer_send(r.w, peer, msg);
	check_step();
}

static void come(struct peer *peer, bool *registered)
{
	if (peer->connection)
		return;
	peer_connect(r.w, peer);
	peer_session(r.w, peer);
	if (registered)
		*registered = true;
	check_step();
}

static void go(struct peer *peer)
{
	uint64_t connection = peer->connection;

	if (!connection)
		return;
	peer->connection = 0;
	close_event(connection);
}

/* An engine's process ends and another begins in its place: it believes nothing. */
static void reincarnate(unsigned i)
{
	go(&r.engines[i]);
	r.engines[i].instance.bytes[2] = (uint8_t)++r.engine_lives[i];
	memset(r.belief[i], 0, sizeof r.belief[i]);
}

static void keep_alive(void)
{
	for (unsigned i = 0; i < ENGINES + SERVERS; i++) {
		struct peer *peer = i < ENGINES ? &r.engines[i] : &r.servers[i - ENGINES];
		struct msg msg = {.type = MSG_KEEPALIVE};

		msg.u.keepalive.free_bytes = peer->free_bytes;
		msg.u.keepalive.capacity_bytes = 100 * GIB;
		if (peer->connection && chance(9, 10))
			send(peer, &msg);
	}
}

static void pass_time(uint64_t most_ms)
{
	struct meta_event event = {.type = META_TICK};

	r.w->now_ns += below(most_ms) * NS_PER_MS;
	world_step(r.w, &event);
	check_step();
}

static const struct meta_chunk_row *any_chunk(void)
{
	size_t first = below(r.w->row_count);

	for (size_t i = 0; i < r.w->row_count; i++) {
		const struct meta_row *row = &r.w->rows[(first + i) % r.w->row_count];

		if (row->kind == META_ROW_CHUNK)
			return &row->u.chunk;
	}
	return NULL;
}

static uint64_t any_volume(void)
{
	return 1 + below(MAX(meta_cluster(r.w->meta)->volume, 1));
}

static void do_attach(struct peer *engine)
{
	struct msg msg = {.type = MSG_ATTACH};

	snprintf(msg.u.attach.volume, NAME_BYTES, "v%u", (unsigned)below(VOLUMES));
	msg.u.attach.mode = ATTACH_EXCLUSIVE;
	msg.u.attach.force = chance(1, 4);
	send(engine, &msg);
}

static void do_detach(unsigned i)
{
	struct msg msg = {.type = MSG_DETACH};

	msg.u.detach.volume = any_volume();
	r.belief[i][msg.u.detach.volume].believes = false;
	send(&r.engines[i], &msg);
}

static void do_lease(struct peer *peer)
{
	struct msg msg = {.type = MSG_LEASE};
	uint64_t indexes[4];
	const struct meta_chunk_row *row = any_chunk();

	msg.u.lease.volume = any_volume();
	msg.u.lease.allocate = chance(3, 4);
	msg.u.lease.count = 1 + (uint32_t)below(4);
	msg.u.lease.indexes = indexes;
	msg.u.lease.repair = peer->role == ROLE_CHUNKD;
	for (unsigned i = 0; i < ARRAY_SIZE(indexes); i++)
		indexes[i] = msg.u.lease.repair ? 1 + below(20) : below(12);
	if (row && !msg.u.lease.repair && chance(1, 2))
		msg.u.lease.volume = row->volume;
	send(peer, &msg);
}

static struct peer *owner_of(const struct meta_chunk_row *row)
{
	for (unsigned i = 0; i < ENGINES + SERVERS; i++) {
		struct peer *peer = i < ENGINES ? &r.engines[i] : &r.servers[i - ENGINES];

		if (peer->connection && uuid_equal(peer->instance, row->owner))
			return peer;
	}
	return NULL;
}

static void do_lease_return(void)
{
	const struct meta_chunk_row *row = any_chunk();
	struct msg msg = {.type = MSG_LEASE_RETURN};
	struct peer *owner = row ? owner_of(row) : NULL;

	if (!owner)
		return;
	msg.u.lease_return = (struct msg_lease_return){row->chunk, row->epoch - chance(1, 5),
						       row->floor + below(5)};
	send(owner, &msg);
}

/* Mostly as an owner would ask, sometimes wrong in one way. */
static void do_change(void)
{
	const struct meta_chunk_row *row = any_chunk();
	struct peer *owner = row ? owner_of(row) : NULL;
	struct msg msg = {.type = MSG_CHANGE};
	struct msg_change *change = &msg.u.change;
	uint32_t place;

	if (!owner || !row->replica_count)
		return;
	place = (uint32_t)below(row->replica_count);
	*change = (struct msg_change){
		.kind = (enum change_kind)(1 + below(3)),
		.chunk = row->chunk,
		.epoch = row->epoch - chance(1, 20),
		.list_number = row->list_number - chance(1, 10),
		.cid = chance(1, 20) ? 99 : row->replicas[place].cid,
		.floor = below(50),
	};
	if (row->replicas[place].state == REPLICA_FILLING && chance(2, 3))
		change->kind = CHANGE_PROMOTE;
	for (uint32_t i = 0; i < row->replica_count; i++)
		if (chance(3, 4))
			change->synced[change->synced_count++] = row->replicas[i].cid;
	if (change->kind == CHANGE_PROMOTE) {
		r.promoting_chunk = change->chunk;
		r.promoting_cid = change->cid;
	}
	r.changes++;
	send(owner, &msg);
}

static void do_report(struct peer *server)
{
	struct msg msg = {.type = MSG_REPORT};
	struct msg_report_entry entries[32];

	msg.u.report.first = msg.u.report.last = true;
	msg.u.report.entries = entries;
	for (size_t i = 0; i < r.w->row_count && msg.u.report.count < ARRAY_SIZE(entries); i++) {
		const struct meta_chunk_row *row = &r.w->rows[i].u.chunk;

		if (r.w->rows[i].kind != META_ROW_CHUNK || chance(1, 2))
			continue;
		entries[msg.u.report.count++] = (struct msg_report_entry){
			.chunk = row->chunk,
			.epoch = row->epoch,
			.position = {row->epoch, below(100)},
			.commit = 1,
			.allocated_bytes = below(MIB),
		};
	}
	send(server, &msg);
}

static void do_admin(void)
{
	char args[160];
	unsigned volume = (unsigned)below(VOLUMES), replicas = 1 + (unsigned)below(4);

	if (chance(1, 12)) {
		snprintf(args, sizeof args, "{\"name\":\"v%u\",\"force\":true}", volume);
		admin_status_of(r.w, "volume.delete", args);
		check_step();
	} else if (chance(1, 3)) {
		snprintf(args, sizeof args,
			 "{\"name\":\"v%u\",\"size_bytes\":50331648,\"chunk_bytes\":4194304,"
			 "\"replicas\":%u,\"min_replicas\":%u}",
			 volume, replicas, 1 + (unsigned)below(replicas));
		admin_status_of(r.w, "volume.create", args);
		check_step();
	} else {
		json_decref(admin_ask(r.w, "status", "{}", NULL));
		json_decref(admin_ask(r.w, "chunk.check", "{}", NULL));
	}
}

static void act(void)
{
	unsigned i = (unsigned)below(ENGINES), s = (unsigned)below(SERVERS);
	struct peer *engine = &r.engines[i], *server = &r.servers[s];

	switch (below(16)) {
	case 0:
		come(engine, NULL);
		break;
	case 1:
		come(server, &r.registered[s]);
		break;
	case 2:
		if (chance(1, 3))
			go(chance(1, 2) ? engine : server);
		break;
	case 3:
		if (chance(1, 10))
			reincarnate(i);
		break;
	case 4:
		if (chance(1, 25))
			restart();
		break;
	case 5:
		do_admin();
		break;
	case 6:
		if (server->connection)
			do_report(server);
		break;
	case 7:
		if (engine->connection)
			do_attach(engine);
		break;
	case 8:
		if (engine->connection && chance(1, 3))
			do_detach(i);
		break;
	case 9:
	case 10:
		if (engine->connection)
			do_lease(engine);
		break;
	case 11:
		if (server->connection && chance(1, 2))
			do_lease(server);
		break;
	case 12:
		do_lease_return();
		break;
	default:
		do_change();
		break;
	}
}

static void run(uint64_t seed, unsigned steps)
{
	memset(&r, 0, sizeof r);
	r.prng.state = seed;
	r.w = world_new();
	r.w->config.garbage_delay_ms = 20 * 1000;
	r.w->config.resync_grace_ms = 15 * 1000;
	r.w->config.evict_dead_ms = 10 * 1000;
	r.w->config.repair_stall_ms = 30 * 1000;
	world_restart(r.w);
	for (unsigned i = 0; i < ENGINES; i++)
		r.engines[i] = new_engine((uint8_t)(i + 1));
	for (unsigned i = 0; i < SERVERS; i++) {
		r.servers[i] = new_server((uint8_t)(i + 1));
		come(&r.servers[i], &r.registered[i]);
	}
	for (unsigned step = 0; step < steps; step++) {
		act();
		if (chance(1, 4))
			pass_time(chance(1, 50) ? 9000 : 600);
		if (chance(1, 3))
			keep_alive();
		if (step % 200 == 0)
			check_memory();
	}
	check_memory();
	digest(meta_cluster(r.w->meta)->epoch);
	world_free(r.w);
}

START_TEST(random_peers_break_nothing)
{
	run((uint64_t)_i + 1, 6000);
}
END_TEST

START_TEST(all_that_is_checked_does_happen)
{
	unsigned grants = 0, changes = 0, fillings = 0, promotions = 0, deletes = 0, takeovers = 0;

	for (uint64_t seed = 100; seed < 106; seed++) {
		run(seed, 3000);
		grants += r.grants;
		changes += r.changes;
		fillings += r.fillings;
		promotions += r.promotions;
		deletes += r.deletes;
		takeovers += r.takeovers;
	}
	ck_assert_uint_gt(grants, 100);
	ck_assert_uint_gt(changes, 300);
	ck_assert_uint_gt(fillings, 20);
	ck_assert_uint_gt(promotions, 5);
	ck_assert_uint_gt(deletes, 5);
	ck_assert_uint_gt(takeovers, 5);
}
END_TEST

START_TEST(one_seed_gives_one_run)
{
	uint64_t first;

	run(7, 3000);
	first = r.digest;
	/* other addresses, the same events */
	free(xmalloc(12345));
	run(7, 3000);
	ck_assert_uint_eq(r.digest, first);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("meta random");
	TCase *tcase = tcase_create("random");

	trace_set_sink(hush, NULL);
	tcase_set_timeout(tcase, 0);
	tcase_add_loop_test(tcase, random_peers_break_nothing, 0, 20);
	tcase_add_test(tcase, all_that_is_checked_does_happen);
	tcase_add_test(tcase, one_seed_gives_one_run);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
