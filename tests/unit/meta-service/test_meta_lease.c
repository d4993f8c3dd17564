/* test_meta_lease.c - grants, allocation and placement, tables, returns. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer servers[5], engine;
	uint64_t volume;
};

static struct fixture f;

static void setup(unsigned servers)
{
	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	add_servers(f.w, f.servers, servers);
	f.volume = create_volume(f.w, "v", 3, 2);
	peer_return(f.w, &f.engine);
	ck_assert_int_eq(peer_attach(f.w, &f.engine, "v", false)->status, WIRE_OK);
}

START_TEST(grant_creates_in_one_commit)
{
	uint64_t indexes[] = {0, 5, 255};
	const struct msg *answer;

	setup(3);
	answer = peer_lease(f.w, &f.engine, f.volume, indexes, 3, true);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_uint_eq(answer->u.chunks.count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		const struct msg_chunk *chunk = &answer->u.chunks.chunks[i];
		const struct meta_chunk_row *row = chunk_row(f.w, chunk->chunk);

		ck_assert_int_eq(chunk->status, WIRE_OK);
		ck_assert_uint_eq(chunk->index, indexes[i]);
		ck_assert_uint_eq(chunk->epoch, i + 1);
		ck_assert_uint_eq(chunk->root_chunk, chunk->chunk);
		ck_assert_uint_eq(chunk->min_replicas, 2);
		ck_assert_uint_eq(chunk->replica_count, 3);
		ck_assert(row != NULL);
		ck_assert_uint_eq(row->epoch, chunk->epoch);
		ck_assert(uuid_equal(row->owner, f.engine.instance));
		for (uint32_t r = 0; r < 3; r++) {
			ck_assert_int_eq(chunk->replicas[r].state, REPLICA_ACTIVE);
			ck_assert_uint_gt(chunk->replicas[r].commit, 0);
			ck_assert(!chunk->replicas[r].dead);
		}
	}
	ck_assert_uint_eq(find_row(f.w, META_ROW_CLUSTER, 0)->u.cluster.epoch, 3);
	ck_assert_uint_eq(find_row(f.w, META_ROW_CLUSTER, 0)->u.cluster.commit, 9);
	world_free(f.w);
}
END_TEST

START_TEST(absent_chunk_without_allocate)
{
	uint64_t index = 3;
	const struct msg *answer;

	setup(3);
	answer = peer_lease(f.w, &f.engine, f.volume, &index, 1, false);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_int_eq(answer->u.chunks.chunks[0].status, WIRE_NOT_FOUND);
	ck_assert_uint_eq(answer->u.chunks.chunks[0].index, 3);
	ck_assert_uint_eq(f.w->update.row_count, 0);
	world_free(f.w);
}
END_TEST

START_TEST(refusals)
{
	struct peer other = new_engine(2);
	uint64_t index = 0, beyond = 256;

	setup(3);
	peer_return(f.w, &other);
	ck_assert_int_eq(peer_lease(f.w, &other, f.volume, &index, 1, true)->status,
			 WIRE_NOT_OWNER);
	ck_assert_int_eq(peer_lease(f.w, &f.engine, 99, &index, 1, true)->status, WIRE_NOT_FOUND);
	ck_assert_int_eq(peer_lease(f.w, &f.engine, f.volume, &beyond, 1, true)->status,
			 WIRE_BAD_REQUEST);
	ck_assert_uint_eq(meta_cluster(f.w->meta)->epoch, 0);
	world_free(f.w);
}
END_TEST

START_TEST(index_named_twice_gets_one_epoch)
{
	uint64_t indexes[] = {7, 7};
	const struct msg *answer;

	setup(3);
	answer = peer_lease(f.w, &f.engine, f.volume, indexes, 2, true);
	ck_assert_uint_eq(answer->u.chunks.chunks[0].epoch, answer->u.chunks.chunks[1].epoch);
	ck_assert_uint_eq(meta_cluster(f.w->meta)->epoch, 1);
	world_free(f.w);
}
END_TEST

START_TEST(every_grant_has_its_own_epoch)
{
	struct msg_chunk first, second;

	setup(3);
	first = peer_lease_one(f.w, &f.engine, f.volume, 0);
	second = peer_lease_one(f.w, &f.engine, f.volume, 0);
	ck_assert_uint_eq(first.chunk, second.chunk);
	ck_assert_uint_gt(second.epoch, first.epoch);
	ck_assert_uint_eq(second.list_number, first.list_number);
	world_free(f.w);
}
END_TEST

START_TEST(epochs_and_commits_go_on_after_a_restart)
{
	struct msg_chunk first, second;

	setup(3);
	first = peer_lease_one(f.w, &f.engine, f.volume, 0);
	world_restart(f.w);
	for (unsigned i = 0; i < 3; i++)
		peer_return(f.w, &f.servers[i]);
	peer_return(f.w, &f.engine);
	second = peer_lease_one(f.w, &f.engine, f.volume, 1);
	ck_assert_uint_gt(second.epoch, first.epoch);
	ck_assert_uint_gt(second.chunk, first.chunk);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_gt(second.replicas[i].commit, first.replicas[2].commit);
	world_free(f.w);
}
END_TEST

/* What a failed commit gave out was told to nobody, and is not given out again. */
START_TEST(numbers_of_a_failed_commit_are_not_used_again)
{
	struct msg msg = {.type = MSG_LEASE};
	uint64_t index = 0;
	struct meta_event event = {.type = META_MESSAGE, .msg = &msg};
	struct meta_cluster_row used;
	struct msg_chunk chunk;

	setup(3);
	event.connection = f.engine.connection;
	msg.u.lease.volume = f.volume;
	msg.u.lease.allocate = true;
	msg.u.lease.count = 1;
	msg.u.lease.indexes = &index;
	world_step_uncommitted(f.w, &event);
	used = *meta_cluster(f.w->meta);
	ck_assert_uint_eq(used.epoch, 1);
	world_restart(f.w);
	meta_raise_counters(f.w->meta, &used);
	for (unsigned i = 0; i < 3; i++) {
		peer_return(f.w, &f.servers[i]);
		peer_report(f.w, &f.servers[i], NULL, 0);
	}
	peer_return(f.w, &f.engine);
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	ck_assert_uint_eq(chunk.epoch, 2);
	ck_assert_uint_eq(chunk.chunk, 2);
	ck_assert_uint_gt(chunk.replicas[0].commit, 3);
	world_free(f.w);
}
END_TEST

START_TEST(fewer_servers_than_replicas_give_a_degraded_chunk)
{
	struct msg_chunk chunk;

	setup(3);
	peer_close(f.w, &f.servers[1]);
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	ck_assert_uint_eq(chunk.replica_count, 2);
	world_free(f.w);
}
END_TEST

START_TEST(fewer_servers_than_min_replicas_give_none)
{
	uint64_t index = 0;
	const struct msg *answer;

	setup(3);
	peer_close(f.w, &f.servers[1]);
	peer_close(f.w, &f.servers[2]);
	answer = peer_lease(f.w, &f.engine, f.volume, &index, 1, true);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_int_eq(answer->u.chunks.chunks[0].status, WIRE_TOO_FEW);
	ck_assert(strstr(answer->u.chunks.text, "chunk servers") != NULL);
	ck_assert_uint_eq(f.w->update.row_count, 0);
	/* A new one may come back as new until it has reported. */
	peer_return(f.w, &f.servers[1]);
	answer = peer_lease(f.w, &f.engine, f.volume, &index, 1, true);
	ck_assert_int_eq(answer->u.chunks.chunks[0].status, WIRE_TOO_FEW);
	peer_report(f.w, &f.servers[1], NULL, 0);
	ck_assert_uint_eq(peer_lease_one(f.w, &f.engine, f.volume, 0).replica_count, 2);
	world_free(f.w);
}
END_TEST

START_TEST(full_servers_are_no_space_and_not_too_few)
{
	uint64_t index = 0;
	const struct msg *answer;

	setup(3);
	for (unsigned i = 0; i < 3; i++) {
		f.servers[i].free_bytes = GIB; /* of 100 */
		peer_keepalive(f.w, &f.servers[i]);
	}
	answer = peer_lease(f.w, &f.engine, f.volume, &index, 1, true);
	ck_assert_int_eq(answer->u.chunks.chunks[0].status, WIRE_NO_SPACE);
	ck_assert(strstr(answer->u.chunks.text, "full") != NULL);
	ck_assert_uint_eq(f.w->update.row_count, 0);
	world_free(f.w);
}
END_TEST

START_TEST(full_server_gets_no_replica)
{
	struct msg_chunk chunk;

	setup(4);
	f.servers[0].free_bytes = GIB; /* of 100 */
	peer_keepalive(f.w, &f.servers[0]);
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	for (uint32_t i = 0; i < chunk.replica_count; i++)
		ck_assert_uint_ne(chunk.replicas[i].cid, 1);
	world_free(f.w);
}
END_TEST

START_TEST(chunks_spread_evenly)
{
	uint64_t count[6] = {0};

	setup(5);
	for (uint64_t index = 0; index < 50; index++) {
		struct msg_chunk chunk = peer_lease_one(f.w, &f.engine, f.volume, index);

		for (uint32_t i = 0; i < chunk.replica_count; i++)
			count[chunk.replicas[i].cid]++;
	}
	for (unsigned cid = 1; cid <= 5; cid++)
		ck_assert_uint_eq(count[cid], 30);
	world_free(f.w);
}
END_TEST

/* Free space weighs, and what was placed since the last report counts as taken. */
START_TEST(what_was_promised_counts)
{
	struct world *w = world_new();
	struct peer servers[2], engine = new_engine(1);
	uint64_t count[3] = {0}, volume;

	for (unsigned i = 0; i < 2; i++) {
		servers[i] = new_server((uint8_t)(i + 1));
		servers[i].free_bytes = i ? 20 * GIB : 21 * GIB;
		peer_return(w, &servers[i]);
		peer_report(w, &servers[i], NULL, 0);
	}
	admin_status_of(w, "volume.create",
			"{\"name\":\"v\",\"size_bytes\":10737418240,\"replicas\":1}");
	volume = 1;
	peer_return(w, &engine);
	peer_attach(w, &engine, "v", false);
	for (uint64_t index = 0; index < 24; index++)
		count[peer_lease_one(w, &engine, volume, index).replicas[0].cid]++;
	ck_assert_uint_eq(count[1], 14);
	ck_assert_uint_eq(count[2], 10);
	world_free(w);
}
END_TEST

START_TEST(zones_are_kept_apart)
{
	struct msg_chunk chunk;
	struct world *w = world_new();
	struct peer servers[4], engine = new_engine(1);
	uint64_t volume;

	for (unsigned i = 0; i < 4; i++) {
		servers[i] = new_server((uint8_t)(i + 1));
		servers[i].free_bytes = i < 2 ? 90 * GIB : 20 * GIB;
		snprintf(servers[i].zone, NAME_BYTES, "%s", i < 2 ? "east" : "west");
		peer_return(w, &servers[i]);
		peer_report(w, &servers[i], NULL, 0);
	}
	volume = create_volume(w, "v", 2, 1);
	peer_return(w, &engine);
	peer_attach(w, &engine, "v", false);
	for (uint64_t index = 0; index < 10; index++) {
		chunk = peer_lease_one(w, &engine, volume, index);
		ck_assert_uint_ne(chunk.replicas[0].cid <= 2, chunk.replicas[1].cid <= 2);
	}
	world_free(w);
}
END_TEST

START_TEST(return_clears_the_owner_and_raises_the_floor)
{
	struct msg_chunk chunk;
	const struct msg *answer;

	setup(3);
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	ck_assert_int_eq(peer_lease_return(f.w, &f.engine, chunk.chunk, chunk.epoch + 1, 9)->status,
			 WIRE_NOT_OWNER);
	answer = peer_lease_return(f.w, &f.engine, chunk.chunk, chunk.epoch, 17);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert(uuid_is_zero(chunk_row(f.w, chunk.chunk)->owner));
	ck_assert_uint_eq(chunk_row(f.w, chunk.chunk)->floor, 17);
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	ck_assert_uint_eq(chunk.floor, 17);
	peer_lease_return(f.w, &f.engine, chunk.chunk, chunk.epoch, 3);
	ck_assert_uint_eq(chunk_row(f.w, chunk.chunk)->floor, 17);
	world_free(f.w);
}
END_TEST

START_TEST(table_comes_in_the_order_of_indexes)
{
	uint64_t indexes[] = {9, 2, 200};
	struct msg msg = {.type = MSG_TABLE};
	const struct msg *answer;
	struct peer other = new_engine(2);

	setup(3);
	peer_lease(f.w, &f.engine, f.volume, indexes, 3, true);
	peer_return(f.w, &other);
	msg.u.table.volume = f.volume;
	msg.u.table.first_index = 3;
	answer = peer_ask(f.w, &other, &msg);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_uint_eq(answer->u.chunks.count, 2);
	ck_assert_uint_eq(answer->u.chunks.chunks[0].index, 9);
	ck_assert_uint_eq(answer->u.chunks.chunks[1].index, 200);
	ck_assert(answer->u.chunks.chunks[0].other_owner);
	ck_assert(!answer->u.chunks.more);
	answer = peer_ask(f.w, &f.engine, &msg);
	ck_assert(!answer->u.chunks.chunks[0].other_owner);
	world_free(f.w);
}
END_TEST

START_TEST(repair_lease_never_stops_an_engine)
{
	struct msg_chunk chunk, repair;
	const struct msg *answer;

	setup(3);
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	answer = peer_lease(f.w, &f.servers[0], f.volume, &chunk.chunk, 1, false);
	ck_assert_int_eq(answer->u.chunks.chunks[0].status, WIRE_BUSY);
	peer_lease_return(f.w, &f.engine, chunk.chunk, chunk.epoch, 0);
	answer = peer_lease(f.w, &f.servers[0], f.volume, &chunk.chunk, 1, false);
	repair = answer->u.chunks.chunks[0];
	ck_assert_int_eq(repair.status, WIRE_OK);
	ck_assert_uint_gt(repair.epoch, chunk.epoch);
	ck_assert(uuid_equal(chunk_row(f.w, chunk.chunk)->owner, f.servers[0].instance));
	/* the engine takes it back, and the chunk server hears of it */
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	ck_assert_uint_gt(chunk.epoch, repair.epoch);
	answer = find_output(f.w, f.servers[0].connection, MSG_LIST);
	ck_assert(answer != NULL);
	ck_assert_uint_eq(answer->u.list.chunk.epoch, chunk.epoch);
	world_free(f.w);
}
END_TEST

START_TEST(engine_may_not_ask_for_repair)
{
	struct msg msg = {.type = MSG_LEASE};
	uint64_t chunk = 1;

	setup(3);
	msg.u.lease.repair = true;
	msg.u.lease.count = 1;
	msg.u.lease.indexes = &chunk;
	ck_assert_int_eq(peer_ask(f.w, &f.engine, &msg)->status, WIRE_REFUSED);
	world_free(f.w);
}
END_TEST

START_TEST(dead_servers_are_marked)
{
	struct peer *keep[] = {&f.servers[0], &f.servers[1], &f.engine};
	struct msg_chunk chunk;

	setup(3);
	peer_lease_one(f.w, &f.engine, f.volume, 0);
	world_pass(f.w, 8000, keep, 3);
	chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(chunk.replicas[i].dead, chunk.replicas[i].cid == 3);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta lease", grant_creates_in_one_commit, absent_chunk_without_allocate, refusals,
	   index_named_twice_gets_one_epoch, every_grant_has_its_own_epoch,
	   epochs_and_commits_go_on_after_a_restart, numbers_of_a_failed_commit_are_not_used_again,
	   fewer_servers_than_replicas_give_a_degraded_chunk,
	   fewer_servers_than_min_replicas_give_none, full_servers_are_no_space_and_not_too_few,
	   full_server_gets_no_replica, chunks_spread_evenly, what_was_promised_counts,
	   zones_are_kept_apart, return_clears_the_owner_and_raises_the_floor,
	   table_comes_in_the_order_of_indexes, repair_lease_never_stops_an_engine,
	   engine_may_not_ask_for_repair, dead_servers_are_marked)
