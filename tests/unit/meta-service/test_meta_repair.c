/* test_meta_repair.c - what is planned for chunks with too few or dead replicas, and who is told. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer servers[6], engine;
	uint64_t volume;
	struct msg_chunk chunk;
};

static struct fixture f;

/* Sessions of everybody with a connection go on. */
static void pass(uint64_t ms)
{
	struct peer *alive[] = {&f.engine,     &f.servers[0], &f.servers[1], &f.servers[2],
				&f.servers[3], &f.servers[4], &f.servers[5]};

	world_pass(f.w, ms, alive, ARRAY_SIZE(alive));
}

/* The first `servers` are there, the chunk is on 1, 2, 3. */
static void setup_replicas(unsigned servers, unsigned replicas, unsigned min_replicas)
{
	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	add_servers(f.w, f.servers, replicas);
	f.volume = create_volume(f.w, "v", replicas, min_replicas);
	peer_return(f.w, &f.engine);
	peer_attach(f.w, &f.engine, "v", false);
	f.chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	for (unsigned i = replicas; i < servers; i++) {
		f.servers[i] = new_server((uint8_t)(i + 1));
		peer_return(f.w, &f.servers[i]);
		peer_report(f.w, &f.servers[i], NULL, 0);
	}
	pass(8000);
}

static void setup(unsigned servers)
{
	setup_replicas(servers, 3, 2);
}

static const struct meta_chunk_row *row(void)
{
	return chunk_row(f.w, f.chunk.chunk);
}

static int place_of(uint32_t cid)
{
	for (uint32_t i = 0; i < row()->replica_count; i++)
		if (row()->replicas[i].cid == cid)
			return (int)i;
	return -1;
}

static bool is_filling(uint32_t cid)
{
	return place_of(cid) >= 0 && row()->replicas[place_of(cid)].state == REPLICA_FILLING;
}

static void do_evict(uint32_t cid)
{
	struct msg_change change;

	f.chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	change = evict(&f.chunk, cid);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
}

static void return_lease(void)
{
	ck_assert_int_eq(peer_lease_return(f.w, &f.engine, f.chunk.chunk, row()->epoch, 5)->status,
			 WIRE_OK);
}

static const struct msg *list_for_engine(void)
{
	return find_output(f.w, f.engine.connection, MSG_LIST);
}

/* The chunk server that has just got a REPAIR_JOB, or NULL. */
static struct peer *job_holder(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(f.servers); i++)
		if (f.servers[i].connection &&
		    find_output(f.w, f.servers[i].connection, MSG_REPAIR_JOB))
			return &f.servers[i];
	return NULL;
}

START_TEST(healthy_chunk_is_left_alone)
{
	setup(4);
	pass(20000);
	ck_assert_uint_eq(row()->list_number, 1);
	world_free(f.w);
}
END_TEST

/* 2 is away, 4 is filled and promoted for it, and 2 comes back: one of four has to leave. */
static void one_too_many(void)
{
	struct msg_change change;

	setup_replicas(4, 3, 3);
	f.servers[0].free_bytes = 7 * GIB;
	peer_keepalive(f.w, &f.servers[0]);
	peer_close(f.w, &f.servers[1]);
	pass(80000);
	ck_assert(is_filling(4));
	f.chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	change = evict(&f.chunk, 4);
	change.kind = CHANGE_PROMOTE;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
	pass(5000);
	ck_assert_int_eq(place_of(2) >= 0 && !row()->replicas[place_of(2)].leaving, 1);
	peer_return(f.w, &f.servers[1]);
	pass(5000);
}

START_TEST(one_more_than_wanted_leaves)
{
	struct msg_change change;

	one_too_many();
	ck_assert_uint_eq(row()->replica_count, 4);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_int_eq(row()->replicas[i].leaving, row()->replicas[i].cid == 1);
	f.chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	ck_assert(f.chunk.replicas[place_of(1)].leaving);
	change = evict(&f.chunk, 1);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
	pass(20000);
	ck_assert_uint_eq(row()->replica_count, 3);
	ck_assert_int_eq(place_of(1), -1);
	world_free(f.w);
}
END_TEST

START_TEST(one_that_leaves_stays_when_another_one_is_evicted)
{
	struct msg_change change;

	one_too_many();
	ck_assert(row()->replicas[place_of(1)].leaving);
	f.chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
	change = evict(&f.chunk, 3);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
	ck_assert_uint_eq(row()->replica_count, 3);
	ck_assert(!row()->replicas[place_of(1)].leaving);
	world_free(f.w);
}
END_TEST

START_TEST(one_that_leaves_stays_when_another_one_dies)
{
	one_too_many();
	peer_close(f.w, &f.servers[2]);
	pass(8000);
	ck_assert_uint_eq(row()->replica_count, 4);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert(!row()->replicas[i].leaving);
	world_free(f.w);
}
END_TEST

START_TEST(missing_replica_is_filled_elsewhere_at_once)
{
	uint64_t before;

	setup(4);
	before = row()->list_number;
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_tick(f.w, 200);
	ck_assert(is_filling(4));
	ck_assert_uint_eq(row()->list_number, before + 2);
	ck_assert_uint_gt(row()->replicas[place_of(4)].commit, 3);
	ck_assert(list_for_engine() != NULL);
	/* one at a time */
	pass(10000);
	ck_assert_uint_eq(row()->replica_count, 3);
	world_free(f.w);
}
END_TEST

START_TEST(old_home_that_is_there_is_preferred)
{
	setup(4);
	peer_report_listed(f.w, &f.servers[1], (struct version){1, 5});
	do_evict(2);
	world_tick(f.w, 200);
	ck_assert(is_filling(2));
	world_free(f.w);
}
END_TEST

/* With more than min_replicas left the old home gets time to come back. */
START_TEST(old_home_that_is_away_gets_a_grace)
{
	setup_replicas(4, 3, 1);
	peer_report_listed(f.w, &f.servers[1], (struct version){1, 5});
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	pass(9 * 60 * 1000);
	ck_assert_uint_eq(row()->replica_count, 2);
	pass(61 * 1000);
	ck_assert(is_filling(4));
	world_free(f.w);
}
END_TEST

START_TEST(old_home_that_returns_in_time_is_resynchronised)
{
	struct msg_report_entry copy = {.epoch = 1, .position = {1, 5}, .commit = 2};

	setup_replicas(4, 3, 1);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	pass(60 * 1000);
	peer_return(f.w, &f.servers[1]);
	pass(2000);
	ck_assert_msg(row()->replica_count == 2, "planned before it has reported");
	copy.chunk = f.chunk.chunk;
	peer_report(f.w, &f.servers[1], &copy, 1);
	world_tick(f.w, 200);
	ck_assert(is_filling(2));
	ck_assert(list_for_engine() != NULL);
	world_free(f.w);
}
END_TEST

START_TEST(old_home_that_lost_its_copy_is_not_waited_for)
{
	setup_replicas(4, 3, 1);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	pass(10 * 1000);
	peer_return(f.w, &f.servers[1]);
	peer_report(f.w, &f.servers[1], NULL, 0);
	world_tick(f.w, 200);
	ck_assert_uint_eq(row()->replica_count, 3);
	world_free(f.w);
}
END_TEST

START_TEST(newest_copy_is_preferred)
{
	struct msg_report_entry copy = {.commit = 2};

	setup(5);
	copy.chunk = f.chunk.chunk;
	copy.epoch = copy.position.epoch = 1;
	copy.position.generation = 7;
	peer_report(f.w, &f.servers[3], &copy, 1);
	copy.position.generation = 9;
	peer_report(f.w, &f.servers[4], &copy, 1);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_tick(f.w, 200);
	ck_assert(is_filling(5));
	world_free(f.w);
}
END_TEST

START_TEST(nowhere_to_go_waits)
{
	setup(3);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	pass(20 * 1000);
	ck_assert_uint_eq(row()->replica_count, 2);
	peer_return(f.w, &f.servers[1]);
	peer_report(f.w, &f.servers[1], NULL, 0);
	world_tick(f.w, 200);
	ck_assert(is_filling(2));
	world_free(f.w);
}
END_TEST

START_TEST(chunk_without_an_owner_becomes_a_job)
{
	struct peer *worker;
	const struct msg *answer;
	struct msg_change change;

	setup(4);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	return_lease();
	world_tick(f.w, 200);
	worker = job_holder();
	ck_assert(worker != NULL);
	ck_assert_msg(worker->cid == 1 || worker->cid == 3, "a source runs it");
	ck_assert_uint_eq(find_output(f.w, worker->connection, MSG_REPAIR_JOB)->u.repair_job.chunk,
			  f.chunk.chunk);
	/* it takes the lease and finishes */
	answer = peer_lease(f.w, worker, f.volume, &f.chunk.chunk, 1, false);
	f.chunk = answer->u.chunks.chunks[0];
	ck_assert_int_eq(f.chunk.status, WIRE_OK);
	change = evict(&f.chunk, 4);
	change.kind = CHANGE_PROMOTE;
	ck_assert_int_eq(peer_change(f.w, worker, &change)->status, WIRE_OK);
	ck_assert_int_eq(peer_lease_return(f.w, worker, f.chunk.chunk, f.chunk.epoch, 6)->status,
			 WIRE_OK);
	pass(40 * 1000);
	ck_assert(job_holder() == NULL);
	ck_assert_uint_eq(row()->replica_count, 3);
	ck_assert(uuid_is_zero(row()->owner));
	world_free(f.w);
}
END_TEST

/* The engine that the volume was taken from lives on, with the lease in its name. */
START_TEST(chunk_of_a_former_holder_becomes_a_job)
{
	struct peer other = new_engine(2);

	setup(4);
	peer_return(f.w, &other);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	peer_attach(f.w, &other, "v", true);
	world_tick(f.w, 200);
	ck_assert(is_filling(4));
	ck_assert(list_for_engine() == NULL);
	ck_assert(job_holder() != NULL);
	world_free(f.w);
}
END_TEST

/* Keepalives of chunk servers that hear the engine, or nobody. */
static void pass_heard(uint64_t ms, bool heard)
{
	for (uint64_t passed = 0; passed < ms; passed += 1000) {
		world_tick(f.w, 1000);
		for (unsigned i = 0; i < ARRAY_SIZE(f.servers); i++) {
			if (f.servers[i].connection && heard)
				peer_keepalive_hears(f.w, &f.servers[i], &f.engine);
			else if (f.servers[i].connection)
				peer_keepalive(f.w, &f.servers[i]);
		}
	}
}

/* Its IO needs no meta service: a repair would end it. Once no chunk server hears it either, it is dead. */
START_TEST(owner_without_a_link_to_us_keeps_its_lease_while_it_is_heard)
{
	uint64_t epoch;
	struct msg_chunk refused;
	json_t *status;

	setup(4);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	epoch = row()->epoch;
	peer_close(f.w, &f.engine);
	pass_heard(60 * 1000, true);
	ck_assert(job_holder() == NULL);
	refused = peer_lease(f.w, &f.servers[0], f.volume, &f.chunk.chunk, 1, false)
			  ->u.chunks.chunks[0];
	ck_assert_int_eq(refused.status, WIRE_BUSY);
	ck_assert_uint_eq(row()->epoch, epoch);
	status = admin_ask(f.w, "status", "{}", NULL);
	ck_assert(strstr(json_string_value(json_object_get(
				 json_array_get(json_object_get(status, "problems"), 2), "what")),
			 "reaches chunk servers, but not the meta service"));
	json_decref(status);
	pass_heard(5000, false);
	ck_assert(job_holder() == NULL);
	pass_heard(2000, false);
	ck_assert_int_eq(peer_lease(f.w, &f.servers[0], f.volume, &f.chunk.chunk, 1, false)
				 ->u.chunks.chunks[0]
				 .status,
			 WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(job_that_nothing_came_of_goes_to_another)
{
	struct peer *first, *second = NULL;

	setup(4);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	return_lease();
	world_tick(f.w, 200);
	first = job_holder();
	ck_assert(first != NULL);
	for (unsigned i = 0; i < 40 && !second; i++) {
		struct peer *alive[] = {&f.engine, &f.servers[0], &f.servers[2], &f.servers[3]};

		for (unsigned k = 0; k < ARRAY_SIZE(alive); k++)
			peer_keepalive(f.w, alive[k]);
		world_tick(f.w, 1000);
		second = job_holder();
		if (i < 25)
			ck_assert_msg(second == NULL, "asked again too soon");
	}
	ck_assert(second != NULL);
	ck_assert_ptr_ne(first, second);
	world_free(f.w);
}
END_TEST

START_TEST(job_of_a_lost_session_is_given_anew)
{
	struct peer *first, *second = NULL;

	setup(4);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	return_lease();
	world_tick(f.w, 200);
	first = job_holder();
	peer_close(f.w, first);
	for (unsigned i = 0; i < 6 && !second; i++) {
		world_tick(f.w, 1000);
		second = job_holder();
	}
	ck_assert(second != NULL);
	ck_assert_ptr_ne(first, second);
	world_free(f.w);
}
END_TEST

/* dead is advice: it is shown when it becomes known, and repeated once the replica should go. */
START_TEST(owner_hears_of_a_dead_server)
{
	const struct msg *list;
	unsigned seen = 0;

	setup(3);
	peer_close(f.w, &f.servers[2]);
	for (unsigned i = 0; i < 8 && !list_for_engine(); i++) {
		peer_keepalive(f.w, &f.engine);
		peer_keepalive(f.w, &f.servers[0]);
		peer_keepalive(f.w, &f.servers[1]);
		world_tick(f.w, 1000);
	}
	list = list_for_engine();
	ck_assert(list != NULL);
	ck_assert(list->u.list.chunk.replicas[list_at(&list->u.list.chunk, 3)].dead);
	ck_assert_uint_eq(row()->list_number, 1);
	for (unsigned i = 0; i < 100; i++) {
		peer_keepalive(f.w, &f.engine);
		peer_keepalive(f.w, &f.servers[0]);
		peer_keepalive(f.w, &f.servers[1]);
		world_tick(f.w, 1000);
		seen += list_for_engine() != NULL;
	}
	ck_assert_uint_ge(seen, 1);
	ck_assert_uint_le(seen, 4);
	/* back again: shown once more */
	peer_return(f.w, &f.servers[2]);
	world_tick(f.w, 200);
	ck_assert(list_for_engine() != NULL);
	ck_assert(!list_for_engine()->u.list.chunk.replicas[2].dead);
	world_free(f.w);
}
END_TEST

START_TEST(idle_chunk_with_a_dead_replica_gets_a_job)
{
	struct peer *worker = NULL;

	setup(4);
	return_lease();
	peer_close(f.w, &f.servers[2]);
	pass(50 * 1000);
	for (unsigned i = 0; i < 30 && !worker; i++) {
		struct peer *alive[] = {&f.engine, &f.servers[0], &f.servers[1], &f.servers[3]};

		for (unsigned k = 0; k < ARRAY_SIZE(alive); k++)
			peer_keepalive(f.w, alive[k]);
		world_tick(f.w, 1000);
		worker = job_holder();
	}
	ck_assert_msg(worker != NULL, "evicting is a job too");
	ck_assert_uint_eq(row()->list_number, 1);
	world_free(f.w);
}
END_TEST

/* Two of three dead: nobody may be evicted, so a third place is filled from the survivor first. */
START_TEST(too_few_survivors_fill_before_they_evict)
{
	setup(5);
	peer_close(f.w, &f.servers[1]);
	peer_close(f.w, &f.servers[2]);
	pass(80 * 1000);
	ck_assert_uint_eq(row()->replica_count, 4);
	ck_assert(is_filling(4) || is_filling(5));
	world_free(f.w);
}
END_TEST

START_TEST(no_survivor_no_repair)
{
	setup(5);
	for (unsigned i = 0; i < 3; i++)
		peer_close(f.w, &f.servers[i]);
	pass(80 * 1000);
	ck_assert_uint_eq(row()->list_number, 1);
	world_free(f.w);
}
END_TEST

START_TEST(filling_replica_of_a_dead_server_is_replaced)
{
	uint64_t list_number;

	setup(5);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_tick(f.w, 200);
	list_number = row()->list_number;
	ck_assert(is_filling(4) || is_filling(5));
	peer_close(f.w, is_filling(4) ? &f.servers[3] : &f.servers[4]);
	pass(12 * 1000);
	ck_assert_uint_eq(row()->replica_count, 3);
	ck_assert(is_filling(4) || is_filling(5));
	ck_assert_uint_eq(row()->list_number, list_number + 2);
	world_free(f.w);
}
END_TEST

START_TEST(stalled_filling_replica_is_given_up)
{
	uint32_t first;

	setup(5);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_tick(f.w, 200);
	first = is_filling(4) ? 4 : 5;
	pass(9 * 60 * 1000);
	ck_assert(is_filling(first));
	pass(70 * 1000);
	ck_assert(!is_filling(first));
	ck_assert(is_filling(9 - first));
	world_free(f.w);
}
END_TEST

START_TEST(filling_replica_that_gets_on_is_kept)
{
	struct msg_report_entry copy = {.epoch = 1, .commit = 3};
	uint32_t first;

	setup(5);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_tick(f.w, 200);
	first = is_filling(4) ? 4 : 5;
	copy.chunk = f.chunk.chunk;
	for (unsigned i = 0; i < 20; i++) {
		pass(60 * 1000);
		copy.allocated_bytes += MIB;
		peer_report(f.w, &f.servers[first - 1], &copy, 1);
	}
	ck_assert(is_filling(first));
	world_free(f.w);
}
END_TEST

/* A FILLING replica that the owner gave up is not offered to it again at once. */
START_TEST(dropped_destination_is_avoided_for_a_while)
{
	struct msg_change change;
	uint32_t first;

	setup(5);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_tick(f.w, 200);
	first = is_filling(4) ? 4 : 5;
	f.chunk = list_for_engine()->u.list.chunk;
	change = evict(&f.chunk, first);
	change.kind = CHANGE_DROP;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
	world_tick(f.w, 200);
	ck_assert(is_filling(9 - first));
	world_free(f.w);
}
END_TEST

START_TEST(owner_that_was_away_is_shown_its_list)
{
	setup(4);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	peer_close(f.w, &f.engine);
	world_tick(f.w, 200);
	ck_assert(is_filling(4));
	peer_return(f.w, &f.engine);
	world_tick(f.w, 200);
	ck_assert(list_for_engine() != NULL);
	ck_assert_uint_eq(list_for_engine()->u.list.chunk.list_number, row()->list_number);
	world_free(f.w);
}
END_TEST

/* What was pushed on a connection that broke may not have come through. */
START_TEST(list_that_may_be_lost_is_shown_again)
{
	setup(4);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_tick(f.w, 200);
	ck_assert(list_for_engine() != NULL);
	world_tick(f.w, 200);
	ck_assert(list_for_engine() == NULL);
	peer_close(f.w, &f.engine);
	peer_return(f.w, &f.engine);
	world_tick(f.w, 200);
	ck_assert(list_for_engine() != NULL);
	world_free(f.w);
}
END_TEST

START_TEST(nothing_is_planned_in_the_grace_after_a_restart)
{
	setup(4);
	peer_close(f.w, &f.servers[1]);
	do_evict(2);
	world_restart(f.w);
	peer_return(f.w, &f.engine);
	for (unsigned i = 0; i < 4; i++) {
		if (i == 1)
			continue;
		peer_return(f.w, &f.servers[i]);
		peer_report(f.w, &f.servers[i], NULL, 0);
	}
	pass(5000);
	ck_assert_uint_eq(row()->replica_count, 2);
	pass(3000);
	ck_assert(is_filling(4));
	world_free(f.w);
}
END_TEST

START_TEST(failed_disk_counts_as_dead)
{
	struct msg msg = {.type = MSG_KEEPALIVE};

	setup(4);
	msg.u.keepalive.disk_failed = true;
	msg.u.keepalive.free_bytes = 50 * GIB;
	peer_send(f.w, &f.servers[2], &msg);
	world_tick(f.w, 200);
	ck_assert(list_for_engine() != NULL);
	ck_assert(list_for_engine()->u.list.chunk.replicas[2].dead);
	world_free(f.w);
}
END_TEST

START_TEST(number_of_fillings_per_server_is_bounded)
{
	unsigned filling = 0;
	uint64_t indexes[20];
	struct world *w;

	setup(4);
	w = f.w;
	for (unsigned i = 0; i < ARRAY_SIZE(indexes); i++)
		indexes[i] = i;
	world_free(w);

	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	f.w->config.repairs_per_server = 5;
	world_restart(f.w);
	add_servers(f.w, f.servers, 3);
	f.volume = create_volume(f.w, "v", 3, 2);
	peer_return(f.w, &f.engine);
	world_tick(f.w, 100);
	peer_attach(f.w, &f.engine, "v", false);
	peer_close(f.w, &f.servers[2]);
	ck_assert_int_eq(
		peer_lease(f.w, &f.engine, f.volume, indexes, ARRAY_SIZE(indexes), true)->status,
		WIRE_OK);
	peer_return(f.w, &f.servers[2]);
	peer_report(f.w, &f.servers[2], NULL, 0);
	pass(12 * 1000);
	for (size_t i = 0; i < f.w->row_count; i++) {
		const struct meta_chunk_row *chunk = &f.w->rows[i].u.chunk;

		if (f.w->rows[i].kind != META_ROW_CHUNK)
			continue;
		for (uint32_t r = 0; r < chunk->replica_count; r++)
			filling += chunk->replicas[r].state == REPLICA_FILLING;
	}
	ck_assert_uint_eq(filling, 5);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta repair", healthy_chunk_is_left_alone, one_more_than_wanted_leaves,
	   one_that_leaves_stays_when_another_one_is_evicted,
	   one_that_leaves_stays_when_another_one_dies, missing_replica_is_filled_elsewhere_at_once,
	   old_home_that_is_there_is_preferred, old_home_that_is_away_gets_a_grace,
	   old_home_that_returns_in_time_is_resynchronised,
	   old_home_that_lost_its_copy_is_not_waited_for, newest_copy_is_preferred,
	   nowhere_to_go_waits, chunk_without_an_owner_becomes_a_job,
	   chunk_of_a_former_holder_becomes_a_job,
	   owner_without_a_link_to_us_keeps_its_lease_while_it_is_heard,
	   job_that_nothing_came_of_goes_to_another, job_of_a_lost_session_is_given_anew,
	   owner_hears_of_a_dead_server, idle_chunk_with_a_dead_replica_gets_a_job,
	   too_few_survivors_fill_before_they_evict, no_survivor_no_repair,
	   filling_replica_of_a_dead_server_is_replaced, stalled_filling_replica_is_given_up,
	   filling_replica_that_gets_on_is_kept, dropped_destination_is_avoided_for_a_while,
	   owner_that_was_away_is_shown_its_list, list_that_may_be_lost_is_shown_again,
	   nothing_is_planned_in_the_grace_after_a_restart, failed_disk_counts_as_dead,
	   number_of_fillings_per_server_is_bounded)
