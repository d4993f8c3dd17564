/* test_engine_attach.c - attach, detach, force and fencing, loss of a volume, lists of volumes, the end of an engine. */
#include "tests/lib/suite.h"
#include "tests/unit/engine/world.h"

START_TEST(a_volume_is_attached_and_detached)
{
	attached();
	ck_assert_uint_eq(engine_volume_size_bytes(w.volume), CHUNKS * CHUNK_BYTES);
	ck_assert(!w.attach.force);
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	detach();
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, 0);
	ck_assert_uint_eq(w.detach.volume, VOLUME);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE_RETURN], 1);
	ck_assert_uint_eq(w.ends[2].released.epoch, w.epoch); /* the next owner need not wait */
	world_end();
}
END_TEST

START_TEST(busy_names_the_holder)
{
	world_begin();
	engine_begin(0, false);
	w.attach_status = WIRE_BUSY;
	attach(false, 0);
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, -EBUSY);
	ck_assert_str_eq(w.text, "held by host-b");
	ck_assert_ptr_null(w.volume);
	world_end();
}
END_TEST

START_TEST(a_volume_that_does_not_exist_is_said_so)
{
	world_begin();
	engine_begin(0, false);
	w.attach_status = WIRE_NOT_FOUND;
	attach(false, 0);
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, -ENOENT);
	world_end();
}
END_TEST

START_TEST(attach_waits_for_metad_as_long_as_it_may)
{
	world_begin();
	w.ends[METAD].down = true;
	engine_begin(0, false);
	attach(false, 3 * NS_PER_S);
	pass_ms(2800);
	ck_assert_uint_eq(w.answers, 0);
	pass_ms(400);
	ck_assert_uint_eq(w.answers, 1);
	ck_assert_int_eq(w.status, -ETIMEDOUT);
	attach(false, 0);
	pass_ms(20000);
	ck_assert_uint_eq(w.answers, 0);
	w.ends[METAD].down = false;
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, 0);
	world_end();
}
END_TEST

START_TEST(a_metad_that_can_not_yet_is_asked_again)
{
	world_begin();
	engine_begin(0, false);
	w.attach_status = WIRE_NOT_LEADER;
	attach(false, 0);
	pass_ms(1000);
	ck_assert_uint_eq(w.answers, 0);
	ck_assert_uint_gt(w.ends[METAD].got[MSG_ATTACH], 1);
	w.attach_status = WIRE_OK;
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, 0);
	world_end();
}
END_TEST

START_TEST(chunks_that_another_engine_left_leased_are_fenced_first)
{
	world_begin();
	w.exists[0] = w.exists[1] = w.exists[3] = true;
	w.other_owner[1] = w.other_owner[3] = true;
	engine_begin(0, false);
	for (unsigned cid = 1; cid <= 3; cid++)
		w.ends[cid].hold[MSG_SYNC] = true;
	attach(true, 0);
	pass_ms(1000);
	ck_assert_uint_eq(w.answers,
			  0); /* attached at metad, and the previous owner may still be served */
	ck_assert(w.attach.force);
	w.ends[3].hold[MSG_SYNC] = false;
	end_close(3); /* and again */
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, 0);
	/* Without one of its replicas the previous owner can do nothing. The others come as they can. */
	ck_assert_uint_ge(w.ends[3].epoch[1], 11);
	ck_assert_uint_ge(w.ends[3].epoch[3], 11);
	for (unsigned cid = 1; cid <= 2; cid++) {
		w.ends[cid].hold[MSG_SYNC] = false;
		end_close(cid);
	}
	pass_ms(1000);
	for (unsigned cid = 1; cid <= 2; cid++) {
		ck_assert_uint_ge(w.ends[cid].epoch[1], 11);
		ck_assert_uint_ge(w.ends[cid].epoch[3], 11);
	}
	world_end();
}
END_TEST

START_TEST(a_chunk_whose_replicas_differ_does_not_hold_up_the_attach)
{
	world_begin();
	w.exists[1] = w.other_owner[1] = true;
	w.ends[1].position[1] = (struct version){9, 5};
	w.ends[2].position[1] = w.ends[3].position[1] = (struct version){9, 4};
	w.ends[1].hold[MSG_READ] = true;
	engine_begin(0, false);
	attach(true, 2 * NS_PER_S);
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, 0);
	/* It is made level without anybody asking for it. */
	PASS_UNTIL(w.ends[1].got[MSG_READ]);
	detach();
	PASS_UNTIL(w.answers);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_DETACH], 1);
	world_end();
}
END_TEST

START_TEST(what_could_not_be_fenced_in_time_is_given_back)
{
	world_begin();
	w.exists[1] = w.other_owner[1] = true;
	for (unsigned cid = 1; cid <= 3; cid++)
		w.ends[cid].hold[MSG_SYNC] = true;
	engine_begin(0, false);
	attach(true, 2 * NS_PER_S);
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, -ETIMEDOUT);
	ck_assert_uint_gt(w.ends[1].got[MSG_SYNC], 0);
	settle();
	ck_assert_uint_eq(w.ends[METAD].got[MSG_DETACH], 1);
	world_end();
}
END_TEST

START_TEST(an_attachment_that_comes_too_late_is_given_back)
{
	struct msg request;
	struct held held;
	struct io_conn *conn;

	world_begin();
	w.ends[METAD].hold[MSG_ATTACH] = true;
	engine_begin(0, false);
	attach(false, NS_PER_S);
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, -ETIMEDOUT);
	conn = held_take(MSG_ATTACH, &request, &held);
	metad_attach(conn, &request);
	settle();
	ck_assert_uint_eq(w.ends[METAD].got[MSG_DETACH], 1);
	world_end();
}
END_TEST

START_TEST(a_volume_taken_by_force_fails_all_requests)
{
	struct msg detached_ = {.type = MSG_DETACHED,
				.u.detached = {.volume = VOLUME, .text = "taken by host-b"}};
	struct io write, absent;

	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	for (unsigned cid = 1; cid <= 3; cid++)
		w.ends[cid].hold[MSG_WRITE] = true;
	w.keepalives = false;
	pass_ms(2100);
	submit(&write, ENGINE_WRITE, 0, 4096, 2);
	submit(&absent, ENGINE_READ, 2 * CHUNK_BYTES, 4096, 2);
	pass_ms(100);
	ck_assert(!write.answers && !absent.answers);
	say(w.ends[METAD].conn, &detached_);
	PASS_UNTIL(write.answers && absent.answers);
	ck_assert_int_eq(write.q.status, -ESHUTDOWN);
	ck_assert_int_eq(absent.q.status, -ESHUTDOWN);
	io_free(&write);
	io_free(&absent);
	ck_assert_int_eq(run(ENGINE_READ, 0, 4096, 0), -ESHUTDOWN);
	detach();
	PASS_UNTIL(w.answers);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_DETACH], 0); /* it is another's by now */
	world_end();
}
END_TEST

START_TEST(a_volume_grows_while_it_is_attached)
{
	struct msg grown = {
		.type = MSG_RESIZED,
		.u.resized = {.volume = VOLUME, .size_bytes = (CHUNKS - 1) * CHUNK_BYTES}};

	world_begin();
	engine_begin(0, false);
	w.size_bytes = (CHUNKS - 2) * CHUNK_BYTES;
	attach(false, 0);
	PASS_UNTIL(w.answers == 1);
	ck_assert_uint_eq(engine_volume_size_bytes(w.volume), (CHUNKS - 2) * CHUNK_BYTES);
	say(w.ends[METAD].conn, &grown);
	PASS_UNTIL(engine_volume_size_bytes(w.volume) == (CHUNKS - 1) * CHUNK_BYTES);
	ck_assert_int_eq(run(ENGINE_WRITE, (CHUNKS - 2) * CHUNK_BYTES, 4096, 1), 0);
	/* never smaller: requests may be under way there */
	grown.u.resized.size_bytes = 4096;
	say(w.ends[METAD].conn, &grown);
	settle();
	ck_assert_uint_eq(engine_volume_size_bytes(w.volume), (CHUNKS - 1) * CHUNK_BYTES);
	/* while the session is away: with the confirmation */
	w.size_bytes = CHUNKS * CHUNK_BYTES;
	end_close(METAD);
	PASS_UNTIL(engine_volume_size_bytes(w.volume) == CHUNKS * CHUNK_BYTES);
	world_end();
}
END_TEST

START_TEST(not_owner_means_that_the_volume_is_lost)
{
	attached();
	w.lease_status = WIRE_NOT_OWNER;
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), -ESHUTDOWN);
	world_end();
}
END_TEST

START_TEST(busy_after_a_reconnect_means_that_the_volume_is_lost)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	w.attach_status = WIRE_BUSY;
	end_close(METAD);
	PASS_UNTIL(w.ends[METAD].got[MSG_ATTACH] == 2);
	settle();
	ck_assert(!w.attach.force); /* never taken back */
	ck_assert_int_eq(run(ENGINE_READ, 0, 4096, 1), -ESHUTDOWN);
	world_end();
}
END_TEST

/* The other one is not ours: neither to hold nor to read. */
START_TEST(another_volume_of_the_same_name_is_not_taken_for_the_one_that_was_deleted)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	w.volume_number = VOLUME + 1;
	end_close(METAD);
	PASS_UNTIL(w.ends[METAD].got[MSG_DETACH] == 1);
	settle();
	ck_assert_uint_eq(w.detach.volume, VOLUME + 1);
	ck_assert_int_eq(run(ENGINE_READ, 0, 4096, 1), -ESHUTDOWN);
	pass_ms(3000);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_ATTACH], 2);
	world_end();
}
END_TEST

START_TEST(a_confirmation_that_comes_after_the_loss_is_given_back)
{
	struct msg detached_ = {.type = MSG_DETACHED,
				.u.detached = {.volume = VOLUME, .text = "deleted"}};
	struct msg request;
	struct held held;
	struct io_conn *conn;

	attached();
	w.ends[METAD].hold[MSG_ATTACH] = true;
	end_close(METAD);
	PASS_UNTIL(w.ends[METAD].got[MSG_ATTACH] == 2);
	say(w.ends[METAD].conn, &detached_);
	settle();
	conn = held_take(MSG_ATTACH, &request, &held);
	metad_attach(conn, &request);
	settle();
	ck_assert_uint_eq(w.ends[METAD].got[MSG_DETACH], 1);
	world_end();
}
END_TEST

START_TEST(detach_without_metad_gives_up_after_a_while)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	end_down(METAD);
	detach();
	pass_ms(1800);
	ck_assert_uint_eq(w.answers, 0);
	PASS_UNTIL(w.answers);
	ck_assert_int_eq(w.status, -ETIMEDOUT);
	ck_assert_uint_eq(w.ends[1].released.epoch, w.epoch); /* that needs no metad */
	world_end();
}
END_TEST

START_TEST(volumes_are_listed)
{
	world_begin();
	engine_begin(0, false);
	engine_list_volumes(w.engine, NS_PER_S, on_listed, NULL);
	ck_assert_uint_eq(w.answers, 0);
	PASS_UNTIL(w.answers == 1);
	ck_assert_str_eq(w.names, "one two ");
	end_down(METAD);
	engine_list_volumes(w.engine, NS_PER_S, on_listed, NULL);
	PASS_UNTIL(w.answers == 2);
	ck_assert_int_eq(w.status, -ETIMEDOUT);
	world_end();
}
END_TEST

static void on_stopped(void *context)
{
	(void)context;
	w.answers++;
}

START_TEST(a_stopped_engine_says_bye)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 1), 0);
	detach();
	PASS_UNTIL(w.answers);
	w.answers = 0;
	engine_stop(w.engine, on_stopped, NULL);
	ck_assert_uint_eq(w.answers, 0);
	pass_ms(200);
	ck_assert_uint_eq(w.answers, 1);
	world_end();
}
END_TEST

/* A crash after so many messages have been delivered, at any moment of an attach with everything under way. */
START_TEST(an_engine_may_be_freed_at_any_moment)
{
	struct io ios[6];
	unsigned steps = (unsigned)_i * 3;
	struct packet *p;

	world_begin();
	w.exists[0] = w.exists[1] = w.other_owner[1] = true;
	w.ends[1].position[0] = w.ends[1].position[1] = (struct version){9, 5};
	engine_begin((unsigned)_i % 2 ? NS_PER_S : 0, false);
	engine_list_volumes(w.engine, NS_PER_S, on_listed, NULL);
	w.answers = 0;
	attach(true, 0);
	for (unsigned n = 0; n < steps; n++) {
		if (w.volume && !ios[0].memory) {
			submit(&ios[0], ENGINE_WRITE, 100, 3 * MIB, 1);
			submit(&ios[1], ENGINE_READ, 0, MIB, 1);
			submit(&ios[2], ENGINE_WRITE, 2 * CHUNK_BYTES, 4096, 1);
			submit(&ios[3], ENGINE_READ, 2 * CHUNK_BYTES, 4096, 1);
			submit(&ios[4], ENGINE_ZERO, 77, 70000, 1);
			submit(&ios[5], ENGINE_READ, 3 * CHUNK_BYTES, 4096, 1);
			engine_extents(w.volume, 0, CHUNK_BYTES, on_extents, NULL);
		} else if (!w.volume) {
			memset(ios, 0, sizeof ios);
		}
		if ((p = TAILQ_FIRST(&w.packets))) {
			TAILQ_REMOVE(&w.packets, p, link);
			packet_deliver(p);
			slice_unref(&p->frame.payload);
			free((void *)(uintptr_t)p->frame.body);
			free(p);
		} else {
			fake_clock_advance(&w.clock, 20 * NS_PER_MS);
		}
	}
	for (unsigned i = 0; steps && i < ARRAY_SIZE(ios); i++)
		io_free(&ios[i]);
	world_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_volume_is_attached_and_detached,
		busy_names_the_holder,
		a_volume_that_does_not_exist_is_said_so,
		attach_waits_for_metad_as_long_as_it_may,
		a_metad_that_can_not_yet_is_asked_again,
		chunks_that_another_engine_left_leased_are_fenced_first,
		a_chunk_whose_replicas_differ_does_not_hold_up_the_attach,
		what_could_not_be_fenced_in_time_is_given_back,
		an_attachment_that_comes_too_late_is_given_back,
		a_volume_taken_by_force_fails_all_requests,
		a_volume_grows_while_it_is_attached,
		not_owner_means_that_the_volume_is_lost,
		busy_after_a_reconnect_means_that_the_volume_is_lost,
		another_volume_of_the_same_name_is_not_taken_for_the_one_that_was_deleted,
		a_confirmation_that_comes_after_the_loss_is_given_back,
		detach_without_metad_gives_up_after_a_while,
		volumes_are_listed,
		a_stopped_engine_says_bye,
	};
	Suite *suite = suite_create("engine, attach");
	TCase *tc = tcase_create("attach");

	tcase_set_timeout(tc, 60);
	tcase_add_tests(tc, tests, ARRAY_SIZE(tests));
	tcase_add_loop_test(tc, an_engine_may_be_freed_at_any_moment, 0, 60);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
