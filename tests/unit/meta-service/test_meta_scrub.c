/* test_meta_scrub.c - who is asked to scrub, what becomes of the answers, and the jobs that are made of it. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer servers[3], engine;
	uint64_t volume;
	struct msg_chunk chunks[2];
};

static struct fixture f;

static void pass(uint64_t ms)
{
	struct peer *alive[] = {&f.engine, &f.servers[0], &f.servers[1], &f.servers[2]};

	world_pass(f.w, ms, alive, ARRAY_SIZE(alive));
}

/* Two chunks on the same three servers; an engine has the leases. */
static void setup(void)
{
	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	add_servers(f.w, f.servers, 3);
	f.volume = create_volume(f.w, "v", 3, 2);
	peer_return(f.w, &f.engine);
	peer_attach(f.w, &f.engine, "v", false);
	for (unsigned i = 0; i < 2; i++)
		f.chunks[i] = peer_lease_one(f.w, &f.engine, f.volume, i);
	pass(8000);
}

static json_t *job(const char *verb, unsigned id)
{
	char args[64];
	json_t *document, *found;

	snprintf(args, sizeof args, "{\"job\":%u}", id);
	document = admin_ask(f.w, verb, args, NULL);
	found = json_incref(json_object_get(document, "job"));
	json_decref(document);
	return found;
}

static void expect_job(unsigned id, const char *state, int done)
{
	json_t *shown = job("job.show", id);

	ck_assert_str_eq(json_string_value(json_object_get(shown, "state")), state);
	ck_assert_int_eq(json_integer_value(json_object_get(shown, "chunks_done")), done);
	json_decref(shown);
}

static void scrub_all(void)
{
	json_decref(admin_ask(f.w, "chunk.scrub", "{\"volume\":\"v\"}", NULL));
}

/* The chunk that this peer has just been asked to scrub; 0: none. */
static uint64_t asked(const struct peer *peer)
{
	const struct msg *msg = find_output(f.w, peer->connection, MSG_REPAIR_JOB);

	return msg && msg->u.repair_job.scrub ? msg->u.repair_job.chunk : 0;
}

/* The first chunk that the engine is asked for within this time, everybody staying alive; 0: none. */
static uint64_t asked_within(uint64_t ms)
{
	for (uint64_t passed = 0; passed < ms; passed += 500) {
		world_tick(f.w, 500);
		if (asked(&f.engine))
			return asked(&f.engine);
		for (unsigned i = 0; i < 3; i++)
			peer_keepalive(f.w, &f.servers[i]);
		peer_keepalive(f.w, &f.engine);
	}
	return 0;
}

static struct msg result(const struct msg_chunk *chunk)
{
	struct msg msg = {.type = MSG_SCRUBBED};
	struct msg_scrubbed *r = &msg.u.scrubbed;

	r->chunk = chunk->chunk;
	r->epoch = chunk->epoch;
	r->whole = r->last = true;
	r->units = r->units_done = 2;
	r->replica_count = 3;
	for (uint32_t i = 0; i < 3; i++)
		r->replicas[i] = (struct msg_scrubbed_replica){.cid = i + 1, .read = 32};
	return msg;
}

static const struct meta_scrub_row *scrub_row(unsigned i)
{
	const struct meta_row *row = find_row(f.w, META_ROW_SCRUB, f.chunks[i].chunk);

	return row ? &row->u.scrub : NULL;
}

START_TEST(a_job_asks_the_owner_for_one_chunk_after_the_other)
{
	struct msg first, second;

	setup();
	scrub_all();
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), f.chunks[0].chunk);
	expect_job(1, "RUNNING", 0);
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), 0); /* the servers take part in one at a time */
	first = result(&f.chunks[0]);
	first.u.scrubbed.replicas[1].bad = 2;
	first.u.scrubbed.replicas[1].repaired = 2;
	peer_send(f.w, &f.engine, &first);
	ck_assert_uint_eq(scrub_row(0)->bad, 2);
	ck_assert_uint_eq(scrub_row(0)->read, 96);
	ck_assert(scrub_row(0)->complete);
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), f.chunks[1].chunk);
	expect_job(1, "RUNNING", 1);
	second = result(&f.chunks[1]);
	second.u.scrubbed.replica_count = 2; /* one was out of reach */
	peer_send(f.w, &f.engine, &second);
	ck_assert(!scrub_row(1)->complete);
	world_tick(f.w, 200);
	expect_job(1, "DONE", 2);
	world_free(f.w);
}
END_TEST

START_TEST(who_hears_nothing_asks_again_and_gives_up_in_the_end)
{
	setup();
	scrub_all();
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), f.chunks[0].chunk);
	ck_assert_uint_eq(asked_within(9000), 0);
	ck_assert_uint_eq(asked_within(2000), f.chunks[0].chunk);
	pass(25 * 60 * 1000);
	expect_job(1, "FAILED", 2);
	world_free(f.w);
}
END_TEST

/* The first chunk takes longer than what is unfit would be waited for. */
START_TEST(what_waits_for_busy_chunk_servers_has_not_failed)
{
	struct msg progress;

	setup();
	scrub_all();
	world_tick(f.w, 200);
	progress = result(&f.chunks[0]);
	progress.u.scrubbed.last = false;
	progress.u.scrubbed.units_done = 1;
	for (unsigned i = 0; i < 12 * 60 / 5; i++) {
		peer_send(f.w, &f.engine, &progress);
		pass(5000);
	}
	expect_job(1, "RUNNING", 0);
	progress = result(&f.chunks[0]);
	peer_send(f.w, &f.engine, &progress);
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), f.chunks[1].chunk);
	progress = result(&f.chunks[1]);
	peer_send(f.w, &f.engine, &progress);
	world_tick(f.w, 200);
	expect_job(1, "DONE", 2);
	world_free(f.w);
}
END_TEST

START_TEST(a_chunk_without_an_owner_is_given_to_a_chunk_server)
{
	unsigned holders = 0;

	setup();
	ck_assert_int_eq(
		peer_lease_return(f.w, &f.engine, f.chunks[0].chunk, f.chunks[0].epoch, 5)->status,
		WIRE_OK);
	scrub_all();
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), 0);
	for (unsigned i = 0; i < 3; i++)
		holders += asked(&f.servers[i]) == f.chunks[0].chunk;
	ck_assert_uint_eq(holders, 1);
	world_free(f.w);
}
END_TEST

START_TEST(only_the_owner_is_believed)
{
	struct msg msg;

	setup();
	msg = result(&f.chunks[0]);
	msg.u.scrubbed.epoch--;
	peer_send(f.w, &f.engine, &msg);
	msg.u.scrubbed.epoch++;
	peer_send(f.w, &f.servers[0], &msg);
	ck_assert_ptr_null(scrub_row(0));
	peer_send(f.w, &f.engine, &msg);
	ck_assert_ptr_nonnull(scrub_row(0));
	world_free(f.w);
}
END_TEST

START_TEST(a_job_survives_a_restart)
{
	struct msg msg;

	setup();
	scrub_all();
	world_tick(f.w, 200);
	msg = result(&f.chunks[0]);
	peer_send(f.w, &f.engine, &msg);
	world_tick(f.w, 200);
	world_restart(f.w);
	for (unsigned i = 0; i < 3; i++)
		peer_return(f.w, &f.servers[i]);
	peer_return(f.w, &f.engine);
	expect_job(1, "RUNNING", 1);
	pass(8000);
	world_tick(f.w, 200);
	/* The second is asked for anew, by this core; the first is not. */
	msg = result(&f.chunks[1]);
	peer_send(f.w, &f.engine, &msg);
	world_tick(f.w, 200);
	expect_job(1, "DONE", 2);
	ck_assert_ptr_nonnull(scrub_row(0));
	world_free(f.w);
}
END_TEST

START_TEST(a_job_can_be_paused_resumed_and_cancelled)
{
	struct msg msg;

	setup();
	scrub_all();
	world_tick(f.w, 200);
	json_decref(job("job.pause", 1));
	ck_assert_int_eq(admin_status_of(f.w, "job.pause", "{\"job\":1}"), WIRE_ALREADY);
	msg = result(&f.chunks[0]);
	peer_send(f.w, &f.engine, &msg);
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), 0);
	expect_job(1, "WAITING", 1);
	json_decref(job("job.resume", 1));
	world_tick(f.w, 200);
	ck_assert_uint_eq(asked(&f.engine), f.chunks[1].chunk);
	json_decref(job("job.cancel", 1));
	expect_job(1, "CANCELLED", 1);
	ck_assert_int_eq(admin_status_of(f.w, "job.resume", "{\"job\":1}"), WIRE_ALREADY);
	ck_assert_int_eq(admin_status_of(f.w, "job.show", "{\"job\":2}"), WIRE_NOT_FOUND);
	world_free(f.w);
}
END_TEST

/* What is deleted meanwhile is none of the job's any more: it is DONE, all of it. */
START_TEST(a_job_does_without_what_is_deleted)
{
	json_t *done;

	setup();
	scrub_all();
	json_decref(job("job.pause", 1));
	expect_job(1, "WAITING", 0);
	ck_assert_int_eq(admin_status_of(f.w, "volume.delete", "{\"name\":\"v\",\"force\":true}"),
			 WIRE_OK);
	json_decref(job("job.resume", 1));
	world_tick(f.w, 200);
	done = job("job.show", 1);
	ck_assert_str_eq(json_string_value(json_object_get(done, "state")), "DONE");
	ck_assert_int_eq(json_integer_value(json_object_get(done, "chunks")), 0);
	json_decref(done);
	world_free(f.w);
}
END_TEST

static bool status_says(const char *text)
{
	json_t *status = admin_ask(f.w, "status", "{}", NULL);
	char *dump = json_dumps(status, 0);
	bool says = strstr(dump, text) != NULL;

	free(dump);
	json_decref(status);
	return says;
}

START_TEST(damage_is_named_until_a_scrub_finds_none)
{
	struct msg msg;

	setup();
	msg = result(&f.chunks[1]);
	msg.u.scrubbed.whole = msg.u.scrubbed.last = false;
	msg.u.scrubbed.unrepairable = 1;
	msg.u.scrubbed.named_count = 1;
	msg.u.scrubbed.named[0] = 77;
	peer_send(f.w, &f.engine, &msg); /* a read met it */
	peer_send(f.w, &f.engine, &msg); /* and again: it is one block all the same */
	ck_assert_uint_eq(scrub_row(1)->unrepairable, 1);
	ck_assert_str_eq(scrub_row(1)->named, "77");
	ck_assert(status_says("Volume v: 1 blocks are damaged beyond repair"));
	msg = result(&f.chunks[1]);
	msg.u.scrubbed.replicas[0].bad = msg.u.scrubbed.replicas[0].repaired = 3;
	peer_send(f.w, &f.engine, &msg);
	ck_assert(!status_says("beyond repair"));
	ck_assert(status_says("3 bad blocks were found, 3 of them repaired"));
	world_free(f.w);
}
END_TEST

START_TEST(each_chunk_has_its_time)
{
	struct msg msg;
	uint64_t chunk;

	setup();
	f.w->config.scrub_ms = 40 * 1000;
	world_restart(f.w);
	for (unsigned i = 0; i < 3; i++)
		peer_return(f.w, &f.servers[i]);
	peer_return(f.w, &f.engine);
	ck_assert_uint_eq(asked_within(20 * 1000), 0);
	chunk = asked_within(30 * 1000);
	ck_assert_uint_gt(chunk, 0);
	msg = result(&f.chunks[chunk == f.chunks[1].chunk]);
	peer_send(f.w, &f.engine, &msg);
	ck_assert_uint_ne(asked_within(30 * 1000), chunk); /* the other one */
	world_free(f.w);
}
END_TEST

/* Also where all are due at all times: none is left out. */
START_TEST(who_has_waited_longest_comes_first)
{
	uint64_t before = 0, chunk;
	struct msg msg;

	setup();
	f.w->config.scrub_ms = 1000;
	world_restart(f.w);
	for (unsigned i = 0; i < 3; i++)
		peer_return(f.w, &f.servers[i]);
	peer_return(f.w, &f.engine);
	for (unsigned i = 0; i < 4; i++) {
		chunk = asked_within(90 * 1000);
		ck_assert_uint_gt(chunk, 0);
		ck_assert_uint_ne(chunk, before);
		msg = result(&f.chunks[chunk == f.chunks[1].chunk]);
		peer_send(f.w, &f.engine, &msg);
		before = chunk;
	}
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta scrub", a_job_asks_the_owner_for_one_chunk_after_the_other,
	   who_hears_nothing_asks_again_and_gives_up_in_the_end,
	   a_chunk_without_an_owner_is_given_to_a_chunk_server, only_the_owner_is_believed,
	   what_waits_for_busy_chunk_servers_has_not_failed, a_job_survives_a_restart,
	   a_job_does_without_what_is_deleted, a_job_can_be_paused_resumed_and_cancelled,
	   damage_is_named_until_a_scrub_finds_none, each_chunk_has_its_time,
	   who_has_waited_longest_comes_first)
