/* test_engine_peers.c - connections that break, heartbeats, evictions, metad away, io_timeout, repair for a chunk server. */
#include "tests/lib/suite.h"
#include "tests/unit/engine/world.h"

START_TEST(a_broken_connection_costs_no_error)
{
	struct io write;

	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	w.ends[2].silent = true;
	submit(&write, ENGINE_WRITE, 0, 4096, 2);
	settle();
	w.ends[2].silent = false;
	ck_assert_uint_eq(write.answers, 0);
	end_close(2);
	PASS_UNTIL(write.answers);
	ck_assert_int_eq(write.q.status, 0);
	ck_assert_uint_eq(w.ends[2].position[0].generation, 2); /* it was sent again */
	ck_assert_uint_eq(w.ends[METAD].got[MSG_CHANGE], 0);
	ck_assert_uint_eq(engine_counters(w.engine).reconnects, 1);
	ck_assert_uint_eq(engine_counters(w.engine).retransmitted_generations, 1);
	io_free(&write);
	expect_bytes(0, 4096, 2);
	world_end();
}
END_TEST

START_TEST(a_refused_replica_is_evicted_and_io_goes_on)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	end_down(3);
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 2), 0);
	ck_assert_uint_eq(w.evicted, 1u << 3);
	ck_assert_uint_eq(engine_counters(w.engine).evictions, 1);
	expect_bytes(0, 4096, 2);
	world_end();
}
END_TEST

START_TEST(a_silent_peer_is_closed_and_tried_again)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	w.ends[3].silent = true;
	pass_ms(3500);
	ck_assert_ptr_nonnull(w.ends[3].conn);
	PASS_UNTIL(engine_counters(w.engine).reconnects == 1);
	w.ends[3].silent = false;
	pass_ms(6000); /* the next attempt had met with silence too */
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 2), 0);
	ck_assert_uint_eq(w.evicted, 0); /* nothing waited for it */
	ck_assert_uint_eq(w.ends[3].position[0].generation, 2);
	world_end();
}
END_TEST

START_TEST(silent_said_by_a_replica_starts_a_new_connection)
{
	struct msg m = {.type = MSG_HEARTBEAT_OK, .id = 1, .status = WIRE_SILENT};
	unsigned hellos;

	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	hellos = w.ends[1].got[MSG_HELLO];
	say(w.ends[1].conn, &m);
	settle();
	ck_assert_ptr_null(w.ends[1].conn);
	PASS_UNTIL(w.ends[1].got[MSG_HELLO] == hellos + 1);
	expect_bytes(0, 4096, 1);
	world_end();
}
END_TEST

static bool may_read;

static void visit(void *context, uint64_t chunk, uint64_t epoch, bool read, bool write)
{
	(void)context;
	(void)epoch;
	(void)write;
	ck_assert_uint_eq(chunk, 100);
	may_read = read;
}

START_TEST(grants_last_as_long_as_heartbeats_are_answered)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	pass_ms(10000);
	engine_visit_leases(w.engine, visit, NULL);
	ck_assert(may_read);
	w.ends[2].hold[MSG_HEARTBEAT] = true;
	pass_ms(2100);
	engine_visit_leases(w.engine, visit, NULL);
	ck_assert(!may_read);
	world_end();
}
END_TEST

START_TEST(a_chunk_that_was_taken_is_released_and_its_lease_is_over)
{
	struct io read;
	uint64_t epoch;

	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	epoch = w.epoch;
	for (unsigned cid = 1; cid <= 3; cid++)
		w.ends[cid].hold[MSG_READ] = true;
	submit(&read, ENGINE_READ, 0, 4096, 0);
	w.ends[2].taken[0] = 100;
	w.ends[2].taken_count = 1;
	PASS_UNTIL(w.ends[2].released.chunk == 100);
	ck_assert_uint_eq(w.ends[2].released.epoch, epoch);
	/* The volume is still ours: the read goes on under a new lease. */
	for (unsigned cid = 1; cid <= 3; cid++)
		w.ends[cid].hold[MSG_READ] = false;
	PASS_UNTIL(read.answers);
	ck_assert_int_eq(read.q.status, 0);
	ck_assert_uint_eq(read.memory[0], 1);
	ck_assert_uint_gt(w.epoch, epoch);
	io_free(&read);
	world_end();
}
END_TEST

/* Writes are on their way when a repair takes the lease: the replicas let a later epoch in. */
static void writes_fenced(struct io writes[3])
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 16384, 1), 0);
	for (unsigned cid = 1; cid <= 3; cid++) {
		w.ends[cid].hold[MSG_WRITE] = true;
		w.ends[cid].epoch[0] = w.epoch + 1;
	}
	w.epoch++;
	submit(&writes[0], ENGINE_WRITE, 0, 8192, 2);
	submit(&writes[1], ENGINE_WRITE, 4096, 8192, 3);
	submit(&writes[2], ENGINE_WRITE, 4096 + 512, 512, 4);
	settle();
	for (unsigned cid = 1; cid <= 3; cid++)
		w.ends[cid].hold[MSG_WRITE] = false;
	for (unsigned cid = 1; cid <= 3; cid++)
		end_close(cid); /* they are sent again, and refused */
}

START_TEST(what_a_repair_fenced_is_carried_out_again_in_order)
{
	struct io writes[3], late;

	writes_fenced(writes);
	pass_ms(400);
	submit(&late, ENGINE_WRITE, 8192, 512, 5); /* before the new lease: behind the others */
	for (unsigned i = 0; i < 3; i++) {
		PASS_UNTIL(writes[i].answers);
		ck_assert_int_eq(writes[i].q.status, 0);
		io_free(&writes[i]);
	}
	PASS_UNTIL(late.answers);
	ck_assert_int_eq(late.q.status, 0);
	io_free(&late);
	expect_bytes(0, 4096, 2);
	expect_bytes(4096, 512, 3);
	expect_bytes(4096 + 512, 512, 4);
	expect_bytes(4096 + 1024, 3072, 3);
	expect_bytes(8192, 512, 5);
	expect_bytes(8192 + 512, 3584, 3);
	expect_bytes(12288, 4096, 1);
	world_end();
}
END_TEST

START_TEST(what_was_fenced_fails_if_the_volume_is_lost)
{
	struct io writes[3];

	writes_fenced(writes);
	w.lease_status = WIRE_NOT_OWNER;
	for (unsigned i = 0; i < 3; i++) {
		PASS_UNTIL(writes[i].answers);
		ck_assert_int_eq(writes[i].q.status, -ESHUTDOWN);
		io_free(&writes[i]);
	}
	for (unsigned cid = 1; cid <= 3; cid++)
		ck_assert_uint_eq(w.ends[cid].data[0][0], 1);
	world_end();
}
END_TEST

START_TEST(leased_chunks_do_not_notice_that_metad_is_away)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	end_down(METAD);
	for (unsigned i = 0; i < 60; i++) {
		pass_ms(1000);
		ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, (uint8_t)i), 0);
		expect_bytes(0, 4096, (uint8_t)i);
	}
	w.ends[METAD].down = false;
	PASS_UNTIL(w.ends[METAD].got[MSG_ATTACH] == 2);
	PASS_UNTIL(w.ends[METAD].got[MSG_TABLE] == 3); /* it is read again: one page and the end */
	ck_assert_int_eq(run(ENGINE_WRITE, CHUNK_BYTES, 4096, 3), 0);
	world_end();
}
END_TEST

START_TEST(an_allocation_under_way_survives_metads_restart)
{
	struct io write;

	attached();
	w.ends[METAD].hold[MSG_LEASE] = true;
	submit(&write, ENGINE_WRITE, 0, 4096, 5);
	pass_ms(100);
	w.ends[METAD].hold[MSG_LEASE] = false;
	end_close(METAD);
	PASS_UNTIL(write.answers);
	ck_assert_int_eq(write.q.status, 0);
	io_free(&write);
	expect_bytes(0, 4096, 5);
	world_end();
}
END_TEST

START_TEST(an_eviction_under_way_survives_metads_restart)
{
	struct io write;

	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	w.ends[METAD].hold[MSG_CHANGE] = true;
	end_down(3);
	submit(&write, ENGINE_WRITE, 0, 4096, 5);
	PASS_UNTIL(w.ends[METAD].got[MSG_CHANGE]);
	w.ends[METAD].hold[MSG_CHANGE] = false;
	ck_assert_uint_eq(write.answers, 0);
	end_close(METAD);
	PASS_UNTIL(write.answers);
	ck_assert_int_eq(write.q.status, 0);
	io_free(&write);
	world_end();
}
END_TEST

/* ---- io_timeout ---- */

static void attached_with_timeout(void)
{
	world_begin();
	engine_begin(5 * NS_PER_S, false);
	attach(false, 0);
	PASS_UNTIL(w.answers == 1);
	pass_ms(1100);
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 8192, 1), 0);
}

START_TEST(held_io_fails_after_io_timeout_and_what_was_sent_settles)
{
	struct io sent, behind, read, absent;

	attached_with_timeout();
	w.change_status = WIRE_TOO_FEW;
	end_down(2);
	end_down(3);
	w.keepalives = false;
	pass_ms(2100);
	submit(&sent, ENGINE_WRITE, 0, 4096, 2);
	submit(&behind, ENGINE_WRITE, 0, 4096, 3); /* waits for the one before it */
	submit(&read, ENGINE_READ, 4096, 4096, 0);
	submit(&absent, ENGINE_WRITE, 2 * CHUNK_BYTES, 4096, 4);
	pass_ms(4800);
	ck_assert(!sent.answers && !behind.answers && !read.answers && !absent.answers);
	pass_ms(400);
	ck_assert_int_eq(sent.q.status, -EIO);
	ck_assert_int_eq(behind.q.status, -EIO);
	ck_assert_int_eq(read.q.status, -EIO);
	ck_assert_int_eq(absent.q.status, -EIO);
	ck_assert(sent.answers && behind.answers && read.answers && absent.answers);
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(read.memory[i], 0xee);
	io_free(&sent);
	io_free(&behind);
	io_free(&read);
	io_free(&absent);
	w.ends[2].down = w.ends[3].down = false;
	w.keepalives = true;
	pass_ms(3000);
	expect_bytes(0, 4096, 2); /* its generation was not given up */
	for (unsigned cid = 1; cid <= 3; cid++)
		ck_assert_uint_eq(w.ends[cid].position[0].generation, 2);
	expect_bytes(2 * CHUNK_BYTES, 4096, 0);
	ck_assert_uint_eq(engine_counters(w.engine).requests_under_way, 0);
	world_end();
}
END_TEST

START_TEST(io_that_is_not_held_never_hears_of_io_timeout)
{
	struct io write;

	attached_with_timeout();
	pass_ms(20000);
	submit(&write, ENGINE_WRITE, 100, 3 * MIB, 7);
	PASS_UNTIL(write.answers);
	ck_assert_int_eq(write.q.status, 0);
	pass_ms(6000);
	io_free(&write);
	expect_bytes(100, 3 * MIB, 7);
	world_end();
}
END_TEST

START_TEST(a_volume_may_be_detached_after_io_timeout)
{
	struct io sent;

	attached_with_timeout();
	w.change_status = WIRE_TOO_FEW;
	end_down(2);
	end_down(3);
	submit(&sent, ENGINE_WRITE, 0, 4096, 2);
	PASS_UNTIL(sent.answers);
	io_free(&sent);
	detach();
	PASS_UNTIL(w.answers);
	world_end();
}
END_TEST

/* ---- repair ---- */

static void on_stopped(void *context)
{
	(void)context;
	w.answers++;
}

static void send_to_metad(void *context, const struct msg *msg)
{
	(void)context;
	w.ends[METAD].got[msg->type]++;
	if (msg->type == MSG_LEASE) {
		ck_assert(msg->u.lease.repair);
		w.repair_chunk = msg->u.lease.indexes[0];
	}
}

static void grant_repair(void)
{
	struct msg_chunk chunk = chunk_record(0, ++w.epoch);
	struct msg m = {.type = MSG_LEASE_OK, .u.chunks = {.count = 1, .chunks = &chunk}};

	engine_meta_message(w.engine, &m);
}

static void repairing(void)
{
	struct msg_server servers[3] = {{0}};
	struct msg msg = {.type = MSG_SERVERS, .u.servers = {3, servers}};
	struct msg_repair_job job = {.volume = VOLUME, .chunk = 100, .chunk_bytes = CHUNK_BYTES};

	for (unsigned i = 0; i < 3; i++) {
		servers[i].cid = i + 1;
		snprintf(servers[i].address, sizeof servers[i].address, "server:%u", i + 1);
		servers[i].alive = true;
	}
	world_begin();
	engine_begin(0, true);
	engine_set_meta(w.engine, send_to_metad, NULL);
	engine_meta_message(w.engine, &msg);
	engine_repair(w.engine, &job);
	engine_repair(w.engine, &job); /* repeats are harmless */
	settle();
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 1);
	ck_assert_uint_eq(w.repair_chunk, 100);
}

START_TEST(a_repair_takes_the_lease_and_gives_it_back)
{
	repairing();
	grant_repair();
	PASS_UNTIL(w.ends[METAD].got[MSG_LEASE_RETURN]);
	settle();
	ck_assert_uint_eq(w.ends[1].released.epoch, w.epoch);
	pass_ms(1000);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 1);
	world_end();
}
END_TEST

START_TEST(a_repair_whose_session_broke_asks_again)
{
	repairing();
	engine_meta_lost(w.engine);
	pass_ms(1000);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 1);
	engine_set_meta(w.engine, send_to_metad, NULL);
	pass_ms(1000);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 2);
	grant_repair();
	PASS_UNTIL(w.ends[METAD].got[MSG_LEASE_RETURN]);
	world_end();
}
END_TEST

START_TEST(a_repair_that_is_refused_ends)
{
	struct msg m = {.type = MSG_LEASE_OK, .status = WIRE_BUSY};
	struct msg_repair_job job = {.volume = VOLUME, .chunk = 100, .chunk_bytes = CHUNK_BYTES};

	repairing();
	engine_meta_message(w.engine, &m);
	pass_ms(1000);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 1);
	engine_repair(w.engine, &job); /* metad gives the job again */
	pass_ms(100);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 2);
	world_end();
}
END_TEST

/* The grant was committed, its answer was lost, and the next metad was not ready to answer again. */
START_TEST(a_lease_that_nobody_here_knows_of_is_returned)
{
	struct msg refused = {.type = MSG_LEASE_OK, .status = WIRE_NOT_LEADER};
	struct msg list = {.type = MSG_LIST};

	repairing();
	list.u.list.chunk = chunk_record(0, ++w.epoch);
	engine_meta_message(w.engine, &list); /* asked again already: the answer will tell */
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE_RETURN], 0);
	engine_meta_message(w.engine, &refused);
	pass_ms(1000);
	engine_meta_message(w.engine, &list);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE_RETURN], 1);
	world_end();
}
END_TEST

START_TEST(an_engine_that_stops_gives_up_its_repairs)
{
	struct msg m = {.type = MSG_LIST};

	repairing();
	w.ends[3].hold[MSG_SYNC] = true;
	grant_repair();
	pass_ms(500);
	engine_stop(w.engine, on_stopped, NULL);
	PASS_UNTIL(w.answers);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE_RETURN], 1);
	ck_assert_uint_eq(w.ends[1].released.epoch, w.epoch);
	/* What metad still says before the chunk server frees the engine. */
	w.list_number[0]++;
	w.evicted = 1u << 3;
	m.u.list.chunk = chunk_record(0, w.epoch);
	engine_meta_message(w.engine, &m);
	world_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_broken_connection_costs_no_error,
		a_refused_replica_is_evicted_and_io_goes_on,
		a_silent_peer_is_closed_and_tried_again,
		silent_said_by_a_replica_starts_a_new_connection,
		grants_last_as_long_as_heartbeats_are_answered,
		a_chunk_that_was_taken_is_released_and_its_lease_is_over,
		what_a_repair_fenced_is_carried_out_again_in_order,
		what_was_fenced_fails_if_the_volume_is_lost,
		leased_chunks_do_not_notice_that_metad_is_away,
		an_allocation_under_way_survives_metads_restart,
		an_eviction_under_way_survives_metads_restart,
		held_io_fails_after_io_timeout_and_what_was_sent_settles,
		io_that_is_not_held_never_hears_of_io_timeout,
		a_volume_may_be_detached_after_io_timeout,
		a_repair_takes_the_lease_and_gives_it_back,
		a_repair_whose_session_broke_asks_again,
		a_repair_that_is_refused_ends,
		a_lease_that_nobody_here_knows_of_is_returned,
		an_engine_that_stops_gives_up_its_repairs,
	};
	Suite *suite = suite_create("engine, peers");
	TCase *tc = tcase_create("peers");

	tcase_set_timeout(tc, 60);
	tcase_add_tests(tc, tests, ARRAY_SIZE(tests));
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
