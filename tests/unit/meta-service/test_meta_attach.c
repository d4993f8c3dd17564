/* test_meta_attach.c - one holder at a time, taking over, and what the former one was promised. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer server, first, second;
	uint64_t volume;
};

static struct fixture f;

static void setup(void)
{
	f = (struct fixture){.w = world_new(), .first = new_engine(1), .second = new_engine(2)};
	add_servers(f.w, &f.server, 1);
	f.volume = create_volume(f.w, "v", 1, 1);
	peer_return(f.w, &f.first);
	peer_return(f.w, &f.second);
}

/* The meta service comes back, and so does its chunk server: the store is known to be the newest. */
static void restart(void)
{
	world_restart(f.w);
	peer_return(f.w, &f.server);
}

/* What volume.show says, and who waits for a holder's end goes by. */
static bool shown_alive(void)
{
	json_t *json = admin_ask(f.w, "volume.show", "{\"name\":\"v\"}", NULL);
	bool alive = json_is_true(json_object_get(
		json_object_get(json_object_get(json, "volume"), "attached"), "alive"));

	json_decref(json);
	return alive;
}

static const struct meta_volume_row *row(void)
{
	return &find_row(f.w, META_ROW_VOLUME, f.volume)->u.volume;
}

START_TEST(attachment_is_durable)
{
	const struct msg *answer;

	setup();
	answer = peer_attach(f.w, &f.first, "v", false);
	ck_assert(answer != NULL);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_uint_eq(answer->u.volume.volume, f.volume);
	ck_assert_uint_eq(answer->u.volume.size_bytes, GIB);
	ck_assert(uuid_equal(row()->holder, f.first.instance));
	ck_assert_str_eq(row()->holder_host, "host1");
	world_free(f.w);
}
END_TEST

START_TEST(live_holder_keeps_others_out)
{
	const struct msg *answer;

	setup();
	peer_attach(f.w, &f.first, "v", false);
	answer = peer_attach(f.w, &f.second, "v", false);
	ck_assert_int_eq(answer->status, WIRE_BUSY);
	ck_assert(strstr(answer->u.volume.text, "host1") != NULL);
	ck_assert(strstr(answer->u.volume.text, "pid 101") != NULL);
	ck_assert(strstr(answer->u.volume.text, "2023-11-14T22:") != NULL);
	ck_assert(strstr(answer->u.volume.text, "--force") != NULL);
	ck_assert(uuid_equal(row()->holder, f.first.instance));
	world_free(f.w);
}
END_TEST

/* Its IO goes on without us. */
START_TEST(holder_that_only_chunk_servers_hear_keeps_others_out)
{
	const struct msg *answer;

	setup();
	peer_attach(f.w, &f.first, "v", false);
	peer_close(f.w, &f.first);
	for (unsigned s = 0; s < 20; s++) {
		world_tick(f.w, 1000);
		peer_keepalive_hears(f.w, &f.server, &f.first);
		peer_keepalive(f.w, &f.second);
	}
	answer = peer_attach(f.w, &f.second, "v", false);
	ck_assert_int_eq(answer->status, WIRE_BUSY);
	ck_assert(strstr(answer->u.volume.text, "reaches chunk servers") != NULL);
	ck_assert(shown_alive());
	for (unsigned s = 0; s < 6; s++) {
		world_tick(f.w, 1000);
		peer_keepalive(f.w, &f.server);
		peer_keepalive(f.w, &f.second);
	}
	ck_assert(!shown_alive());
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", false)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(holder_attaches_again)
{
	setup();
	peer_attach(f.w, &f.first, "v", false);
	ck_assert_int_eq(peer_attach(f.w, &f.first, "v", false)->status, WIRE_OK);
	ck_assert_uint_eq(f.w->update.row_count, 0);
	world_free(f.w);
}
END_TEST

START_TEST(no_such_volume)
{
	setup();
	ck_assert_int_eq(peer_attach(f.w, &f.first, "w", false)->status, WIRE_NOT_FOUND);
	world_free(f.w);
}
END_TEST

START_TEST(detach_frees_it)
{
	struct msg msg = {.type = MSG_DETACH};

	setup();
	peer_attach(f.w, &f.first, "v", false);
	msg.u.detach.volume = f.volume;
	ck_assert_int_eq(peer_ask(f.w, &f.second, &msg)->status, WIRE_NOT_OWNER);
	ck_assert_int_eq(peer_ask(f.w, &f.first, &msg)->status, WIRE_OK);
	ck_assert(uuid_is_zero(row()->holder));
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", false)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

/* The one taken from may read what does not exist until its last grant ends; its successor hears nothing before that. */
START_TEST(force_waits_for_the_promise)
{
	const struct msg *answer;
	uint64_t index = 0;

	setup();
	f.w->now_ns += 100 * NS_PER_S;
	peer_return(f.w, &f.first);
	peer_return(f.w, &f.second);
	peer_attach(f.w, &f.first, "v", false);
	peer_keepalive(f.w, &f.first);
	world_tick(f.w, 100);
	answer = peer_attach(f.w, &f.second, "v", true);
	ck_assert(answer == NULL);
	answer = find_output(f.w, f.first.connection, MSG_DETACHED);
	ck_assert(answer != NULL);
	ck_assert_uint_eq(answer->u.detached.volume, f.volume);
	ck_assert(strstr(answer->u.detached.text, "host2") != NULL);
	ck_assert(uuid_equal(row()->holder, f.second.instance));
	/* no lease for either meanwhile */
	ck_assert_int_eq(peer_lease(f.w, &f.first, f.volume, &index, 1, true)->status,
			 WIRE_NOT_OWNER);
	ck_assert_int_eq(peer_lease(f.w, &f.second, f.volume, &index, 1, true)->status, WIRE_BUSY);
	/* later keepalives of the former holder grant nothing and prolong nothing */
	world_tick(f.w, 1000);
	peer_keepalive(f.w, &f.first);
	world_tick(f.w, 1399);
	ck_assert_uint_eq(count_outputs(f.w, MSG_ATTACH_OK), 0);
	world_tick(f.w, 1);
	answer = find_output(f.w, f.second.connection, MSG_ATTACH_OK);
	ck_assert(answer != NULL);
	ck_assert_uint_eq(answer->id, 42);
	ck_assert_int_eq(peer_lease(f.w, &f.second, f.volume, &index, 1, true)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(holder_that_was_never_granted_is_not_waited_for)
{
	setup();
	f.w->now_ns += 100 * NS_PER_S;
	peer_return(f.w, &f.first);
	peer_return(f.w, &f.second);
	peer_attach(f.w, &f.first, "v", false);
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", true)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(repeated_force_keeps_waiting)
{
	setup();
	f.w->now_ns += 100 * NS_PER_S;
	peer_return(f.w, &f.first);
	peer_return(f.w, &f.second);
	peer_attach(f.w, &f.first, "v", false);
	peer_keepalive(f.w, &f.first);
	ck_assert(peer_attach(f.w, &f.second, "v", true) == NULL);
	peer_return(f.w, &f.second);
	ck_assert(peer_attach(f.w, &f.second, "v", false) == NULL);
	world_tick(f.w, 2500);
	ck_assert(find_output(f.w, f.second.connection, MSG_ATTACH_OK) != NULL);
	world_free(f.w);
}
END_TEST

/* Three in a row: the second one's ATTACH has not been answered when the third takes the volume from it. */
START_TEST(one_that_waits_hears_that_it_was_taken)
{
	struct peer third = new_engine(3);
	const struct msg *answer;

	setup();
	f.w->now_ns += 100 * NS_PER_S;
	peer_return(f.w, &f.first);
	peer_return(f.w, &f.second);
	peer_return(f.w, &third);
	peer_attach(f.w, &f.first, "v", false);
	peer_keepalive(f.w, &f.first);
	ck_assert(peer_attach(f.w, &f.second, "v", true) == NULL);
	ck_assert(peer_attach(f.w, &third, "v", true) == NULL);
	answer = find_output(f.w, f.second.connection, MSG_ATTACH_OK);
	ck_assert(answer != NULL);
	ck_assert_int_eq(answer->status, WIRE_BUSY);
	ck_assert(strstr(answer->u.volume.text, "host3") != NULL);
	world_tick(f.w, 2500);
	ck_assert(find_output(f.w, f.second.connection, MSG_ATTACH_OK) == NULL);
	ck_assert_int_eq(find_output(f.w, third.connection, MSG_ATTACH_OK)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(dead_holder_is_replaced_without_force)
{
	struct peer *keep[] = {&f.second};

	setup();
	peer_attach(f.w, &f.first, "v", false);
	peer_close(f.w, &f.first);
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", false)->status, WIRE_BUSY);
	world_pass(f.w, 7000, keep, 1);
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", false)->status, WIRE_OK);
	/* it wakes up: it must not believe that it still has the volume */
	peer_connect(f.w, &f.first);
	peer_session(f.w, &f.first);
	ck_assert(find_output(f.w, f.first.connection, MSG_DETACHED) != NULL);
	world_free(f.w);
}
END_TEST

START_TEST(holder_has_time_to_come_back_after_a_restart)
{
	struct peer *keep[] = {&f.second};

	setup();
	peer_attach(f.w, &f.first, "v", false);
	restart();
	peer_return(f.w, &f.second);
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", false)->status, WIRE_BUSY);
	world_pass(f.w, 5000, keep, 1);
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", false)->status, WIRE_BUSY);
	world_tick(f.w, 1000);
	peer_keepalive(f.w, &f.second);
	ck_assert_int_eq(peer_attach(f.w, &f.second, "v", false)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(force_after_a_restart_waits_a_full_promise)
{
	setup();
	peer_attach(f.w, &f.first, "v", false);
	peer_keepalive(f.w, &f.first);
	restart();
	peer_return(f.w, &f.second);
	ck_assert(peer_attach(f.w, &f.second, "v", true) == NULL);
	world_tick(f.w, 2499);
	ck_assert_uint_eq(count_outputs(f.w, MSG_ATTACH_OK), 0);
	world_tick(f.w, 1);
	ck_assert_uint_eq(count_outputs(f.w, MSG_ATTACH_OK), 1);
	world_free(f.w);
}
END_TEST

/* A takeover that was committed, but whose wait a restart cut short, still waits. */
START_TEST(nothing_is_granted_before_the_chunk_servers_are_back)
{
	setup();
	peer_attach(f.w, &f.first, "v", false);
	world_restart(f.w);
	peer_return(f.w, &f.first);
	ck_assert_int_eq(peer_attach(f.w, &f.first, "v", false)->status, WIRE_NOT_LEADER);
	peer_return(f.w, &f.server);
	ck_assert_int_eq(peer_attach(f.w, &f.first, "v", false)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(a_dead_chunk_server_is_not_waited_for_longer_than_a_session)
{
	struct peer *keep[] = {&f.first};

	setup();
	peer_attach(f.w, &f.first, "v", false);
	world_restart(f.w);
	peer_return(f.w, &f.first);
	world_pass(f.w, SESSION_TIMEOUT_NS / NS_PER_MS - 1000, keep, 1);
	ck_assert_int_eq(peer_attach(f.w, &f.first, "v", false)->status, WIRE_NOT_LEADER);
	world_pass(f.w, 1000, keep, 1);
	ck_assert_int_eq(peer_attach(f.w, &f.first, "v", false)->status, WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(restart_during_the_wait_waits_anew)
{
	setup();
	peer_attach(f.w, &f.first, "v", false);
	peer_keepalive(f.w, &f.first);
	ck_assert(peer_attach(f.w, &f.second, "v", true) == NULL);
	restart();
	peer_return(f.w, &f.second);
	ck_assert(peer_attach(f.w, &f.second, "v", false) == NULL);
	peer_connect(f.w, &f.first);
	peer_session(f.w, &f.first);
	ck_assert(find_output(f.w, f.first.connection, MSG_DETACHED) != NULL);
	world_tick(f.w, 2500);
	ck_assert(find_output(f.w, f.second.connection, MSG_ATTACH_OK) != NULL);
	world_free(f.w);
}
END_TEST

START_TEST(read_only_excludes_others_and_says_so)
{
	struct msg msg = {.type = MSG_ATTACH};
	const struct msg *answer;
	uint64_t index = 0;

	setup();
	snprintf(msg.u.attach.volume, NAME_BYTES, "v");
	msg.u.attach.mode = ATTACH_READ_ONLY;
	ck_assert_int_eq(peer_ask(f.w, &f.first, &msg)->status, WIRE_OK);
	answer = peer_ask(f.w, &f.second, &msg);
	ck_assert_int_eq(answer->status, WIRE_BUSY);
	ck_assert(strstr(answer->u.volume.text, "read-only") != NULL);
	ck_assert_int_eq(peer_lease(f.w, &f.first, f.volume, &index, 1, true)->status,
			 WIRE_REFUSED);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta attach", attachment_is_durable, live_holder_keeps_others_out,
	   holder_that_only_chunk_servers_hear_keeps_others_out, holder_attaches_again,
	   no_such_volume, detach_frees_it, force_waits_for_the_promise,
	   holder_that_was_never_granted_is_not_waited_for, repeated_force_keeps_waiting,
	   one_that_waits_hears_that_it_was_taken, dead_holder_is_replaced_without_force,
	   holder_has_time_to_come_back_after_a_restart, force_after_a_restart_waits_a_full_promise,
	   restart_during_the_wait_waits_anew, nothing_is_granted_before_the_chunk_servers_are_back,
	   a_dead_chunk_server_is_not_waited_for_longer_than_a_session,
	   read_only_excludes_others_and_says_so)
