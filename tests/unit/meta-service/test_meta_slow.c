/* test_meta_slow.c - fail-slow: who is called slow, when no longer, and what follows. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer servers[4], engine;
};

static struct fixture f;

static void setup(void)
{
	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	add_servers(f.w, f.servers, 4);
	peer_return(f.w, &f.engine);
}

/* A second passes: the fourth server's writes took slow_us, those of the others usual_us. 0: it wrote nothing. */
static void second(uint64_t usual_us, uint64_t slow_us)
{
	for (unsigned i = 0; i < 4; i++) {
		struct msg msg = {.type = MSG_KEEPALIVE};

		msg.u.keepalive.free_bytes = f.servers[i].free_bytes;
		msg.u.keepalive.capacity_bytes = 100 * GIB;
		msg.u.keepalive.write_latency_us = i == 3 ? slow_us : usual_us;
		peer_ask(f.w, &f.servers[i], &msg);
	}
	peer_keepalive(f.w, &f.engine);
	world_tick(f.w, 1000);
}

static void seconds(unsigned count, uint64_t usual_us, uint64_t slow_us)
{
	while (count--)
		second(usual_us, slow_us);
}

/* As servers.list shows it; never anybody but the fourth. */
static bool is_slow(void)
{
	json_t *document = admin_ask(f.w, "server.list", "{}", NULL), *server;
	bool slow = false;
	size_t i;

	json_array_foreach(json_object_get(document, "servers"), i, server)
	{
		if (!json_is_true(json_object_get(server, "slow")))
			continue;
		ck_assert_uint_eq(i, 3);
		slow = true;
	}
	json_decref(document);
	return slow;
}

START_TEST(slow_for_a_while)
{
	const struct msg *msg;

	setup();
	seconds(9, 1000, 50000);
	ck_assert(!is_slow());
	seconds(1, 1000, 50000);
	msg = find_output(f.w, f.engine.connection, MSG_SERVERS);
	ck_assert(msg != NULL);
	ck_assert(msg->u.servers.servers[3].slow);
	ck_assert(!msg->u.servers.servers[0].slow);
	ck_assert(is_slow());
	world_free(f.w);
}
END_TEST

START_TEST(one_good_second_begins_anew)
{
	setup();
	seconds(9, 1000, 50000);
	seconds(1, 1000, 1000);
	seconds(9, 1000, 50000);
	ck_assert(!is_slow());
	world_free(f.w);
}
END_TEST

START_TEST(not_far_slower_is_not_slow)
{
	setup();
	seconds(20, 1000, 10000);
	ck_assert(!is_slow());
	seconds(20, 1000, 20000); /* many times its peers, but quick */
	ck_assert(!is_slow());
	seconds(20, 5000, 50000); /* not that many times */
	ck_assert(!is_slow());
	world_free(f.w);
}
END_TEST

START_TEST(all_of_them_slow_is_load)
{
	setup();
	seconds(20, 500000, 500000);
	ck_assert(!is_slow());
	world_free(f.w);
}
END_TEST

START_TEST(nobody_to_compare_with)
{
	setup();
	seconds(20, 0, 500000);
	ck_assert(!is_slow());
	world_free(f.w);
}
END_TEST

START_TEST(recovers_when_it_was_quick_as_long)
{
	setup();
	seconds(10, 1000, 50000);
	ck_assert(is_slow());
	seconds(9, 1000, 2000);
	ck_assert(is_slow());
	seconds(1, 1000, 2000);
	ck_assert(!is_slow());
	world_free(f.w);
}
END_TEST

START_TEST(idle_one_is_forgiven_after_a_while)
{
	setup();
	seconds(10, 1000, 50000);
	seconds(298, 1000, 0);
	ck_assert(is_slow());
	seconds(3, 1000, 0);
	ck_assert(!is_slow());
	world_free(f.w);
}
END_TEST

static bool list_has(const struct msg_chunk *chunk, uint32_t cid)
{
	return list_at(chunk, cid) >= 0;
}

START_TEST(slow_one_gets_replicas_only_if_there_is_no_other)
{
	struct msg_chunk chunk;
	uint64_t volume;

	setup();
	seconds(10, 1000, 50000);
	f.servers[3].free_bytes = 90 * GIB;
	seconds(1, 1000, 50000);
	volume = create_volume(f.w, "v", 3, 2);
	peer_attach(f.w, &f.engine, "v", false);
	for (uint64_t index = 0; index < 5; index++) {
		chunk = peer_lease_one(f.w, &f.engine, volume, index);
		ck_assert_uint_eq(chunk.replica_count, 3);
		ck_assert(!list_has(&chunk, 4));
	}
	peer_close(f.w, &f.servers[0]);
	chunk = peer_lease_one(f.w, &f.engine, volume, 5);
	ck_assert_uint_eq(chunk.replica_count, 3);
	ck_assert(list_has(&chunk, 4));
	world_free(f.w);
}
END_TEST

START_TEST(status_names_it)
{
	json_t *document;

	setup();
	seconds(10, 1000, 50000);
	document = admin_ask(f.w, "status", "{}", NULL);
	ck_assert_str_eq(json_string_value(json_object_get(document, "health")), "warning");
	json_decref(document);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta slow", slow_for_a_while, one_good_second_begins_anew, not_far_slower_is_not_slow,
	   all_of_them_slow_is_load, nobody_to_compare_with, recovers_when_it_was_quick_as_long,
	   idle_one_is_forgiven_after_a_while, slow_one_gets_replicas_only_if_there_is_no_other,
	   status_names_it)
