/* test_meta_volume.c - creation, its rules, deletion, reports and garbage. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer servers[4], engine;
};

static struct fixture f;

static void pass(uint64_t ms)
{
	struct peer *alive[] = {&f.engine, &f.servers[0], &f.servers[1], &f.servers[2],
				&f.servers[3]};

	world_pass(f.w, ms, alive, ARRAY_SIZE(alive));
}

static void setup(void)
{
	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	add_servers(f.w, f.servers, 3);
	peer_return(f.w, &f.engine);
	pass(8000);
}

START_TEST(rules_of_creation)
{
	static const struct {
		const char *args;
		enum wire_status status;
	} cases[] = {
		{"{\"name\":\"a\",\"size_bytes\":4096}", WIRE_OK},
		{"{\"name\":\"a\",\"size_bytes\":4096}", WIRE_EXISTS},
		{"{\"name\":\"A.b_c-9\",\"size_bytes\":9223372036854771712}", WIRE_OK},
		{"{\"name\":\"b\",\"size_bytes\":9223372036854775808}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":0}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":-4096}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4097}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":\"4096\"}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\"}", WIRE_BAD_REQUEST},
		{"{\"size_bytes\":4096}", WIRE_BAD_REQUEST},
		{"{\"name\":\"\",\"size_bytes\":4096}", WIRE_BAD_REQUEST},
		{"{\"name\":\"-b\",\"size_bytes\":4096}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b c\",\"size_bytes\":4096}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b/c\",\"size_bytes\":4096}", WIRE_BAD_REQUEST},
		{"{\"name\":\"\\u00e4\",\"size_bytes\":4096}", WIRE_BAD_REQUEST},
		{"{\"name\":7,\"size_bytes\":4096}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"replicas\":0}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"replicas\":6}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"replicas\":4}", WIRE_TOO_FEW},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"min_replicas\":0}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"min_replicas\":4}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"chunk_bytes\":2097152}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"chunk_bytes\":5242880}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"chunk_bytes\":2147483648}",
		 WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"sise\":1}", WIRE_BAD_REQUEST},
		{"{\"name\":\"b\",\"size_bytes\":4096,\"size_bytes\":8192}", WIRE_BAD_REQUEST},
		{"[]", WIRE_BAD_REQUEST},
		{"{", WIRE_BAD_REQUEST},
		{"{\"name\":\"0\",\"size_bytes\":8192,\"replicas\":1,\"chunk_bytes\":4194304}",
		 WIRE_OK},
	};

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum wire_status status;
		json_t *document = admin_ask(f.w, "volume.create", cases[i].args, &status);
		json_t *error = json_object_get(document, "error");

		ck_assert_msg(status == cases[i].status, "%s: %s", cases[i].args,
			      wire_status_name(status));
		if (status != WIRE_OK) {
			ck_assert_str_eq(json_string_value(json_object_get(error, "code")),
					 wire_status_name(status));
			ck_assert(*json_string_value(json_object_get(error, "message")));
			ck_assert(*json_string_value(json_object_get(error, "hint")));
			ck_assert_uint_eq(f.w->update.row_count, 0);
		}
		json_decref(document);
	}
	world_free(f.w);
}
END_TEST

START_TEST(name_of_63_characters)
{
	char args[256], name[66] = {0};

	setup();
	memset(name, 'n', 63);
	snprintf(args, sizeof args, "{\"name\":\"%s\",\"size_bytes\":4096}", name);
	ck_assert_int_eq(admin_status_of(f.w, "volume.create", args), WIRE_OK);
	name[63] = 'n';
	snprintf(args, sizeof args, "{\"name\":\"%s\",\"size_bytes\":4096}", name);
	ck_assert_int_eq(admin_status_of(f.w, "volume.create", args), WIRE_BAD_REQUEST);
	world_free(f.w);
}
END_TEST

START_TEST(usual_min_replicas)
{
	static const uint32_t expected[] = {0, 1, 1, 2};

	setup();
	for (unsigned replicas = 1; replicas <= 3; replicas++) {
		char args[128];
		json_t *document;

		snprintf(args, sizeof args,
			 "{\"name\":\"v%u\",\"size_bytes\":4096,\"replicas\":%u}", replicas,
			 replicas);
		document = admin_ask(f.w, "volume.create", args, NULL);
		ck_assert_uint_eq((uint64_t)json_integer_value(json_object_get(
					  json_object_get(document, "volume"), "min_replicas")),
				  expected[replicas]);
		json_decref(document);
	}
	world_free(f.w);
}
END_TEST

START_TEST(export_list)
{
	struct msg msg = {.type = MSG_VOLUMES};
	const struct msg *answer;

	setup();
	create_volume(f.w, "a", 3, 2);
	create_volume(f.w, "b", 3, 2);
	admin_status_of(f.w, "volume.delete", "{\"name\":\"a\"}");
	answer = peer_ask(f.w, &f.engine, &msg);
	ck_assert_uint_eq(answer->u.volumes_ok.count, 1);
	ck_assert_str_eq(answer->u.volumes_ok.volumes[0].name, "b");
	world_free(f.w);
}
END_TEST

START_TEST(attached_volume_is_not_deleted)
{
	enum wire_status status;
	json_t *document;
	uint64_t volume;

	setup();
	volume = create_volume(f.w, "v", 3, 2);
	peer_attach(f.w, &f.engine, "v", false);
	document = admin_ask(f.w, "volume.delete", "{\"name\":\"v\"}", &status);
	ck_assert_int_eq(status, WIRE_BUSY);
	ck_assert(strstr(json_string_value(
				 json_object_get(json_object_get(document, "error"), "message")),
			 "host1") != NULL);
	json_decref(document);
	ck_assert(find_row(f.w, META_ROW_VOLUME, volume) != NULL);
	ck_assert_int_eq(admin_status_of(f.w, "volume.delete", "{\"name\":\"v\",\"force\":true}"),
			 WIRE_OK);
	ck_assert(find_output(f.w, f.engine.connection, MSG_DETACHED) != NULL);
	ck_assert(find_row(f.w, META_ROW_VOLUME, volume) == NULL);
	world_free(f.w);
}
END_TEST

/* A volume with one chunk on servers 1, 2, 3, detached. */
static uint64_t setup_chunk(void)
{
	struct msg msg = {.type = MSG_DETACH};
	struct msg_chunk chunk;

	setup();
	msg.u.detach.volume = create_volume(f.w, "v", 3, 2);
	peer_attach(f.w, &f.engine, "v", false);
	chunk = peer_lease_one(f.w, &f.engine, msg.u.detach.volume, 0);
	peer_lease_return(f.w, &f.engine, chunk.chunk, chunk.epoch, 0);
	peer_ask(f.w, &f.engine, &msg);
	for (unsigned i = 0; i < 3; i++)
		peer_report_listed(f.w, &f.servers[i], (struct version){1, 1});
	return msg.u.detach.volume;
}

START_TEST(deletion_ends_when_all_have_reported)
{
	uint64_t volume = setup_chunk(), commits[3];

	peer_close(f.w, &f.servers[2]);
	ck_assert_int_eq(admin_status_of(f.w, "volume.delete", "{\"name\":\"v\"}"), WIRE_OK);
	ck_assert_uint_eq(count_outputs(f.w, MSG_DELETE), 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct msg *msg = find_output(f.w, f.servers[i].connection, MSG_DELETE);

		ck_assert_uint_eq(msg->u.delete_.chunk, 1);
		commits[i] = msg->u.delete_.commit;
		ck_assert_uint_gt(commits[i], 3);
	}
	ck_assert_uint_ne(commits[0], commits[1]);
	ck_assert_uint_ge(find_row(f.w, META_ROW_CLUSTER, 0)->u.cluster.commit, commits[1]);
	/* the name is free at once */
	create_volume(f.w, "v", 2, 1);
	/* one says that it has it still: told again */
	pass(1000);
	peer_report_listed(f.w, &f.servers[0], (struct version){1, 1});
	ck_assert(find_output(f.w, f.servers[0].connection, MSG_DELETE) != NULL);
	peer_report(f.w, &f.servers[0], NULL, 0);
	peer_report(f.w, &f.servers[1], NULL, 0);
	ck_assert_uint_eq(chunk_row(f.w, 1)->replica_count, 1);
	/* the one that was away hears of it when it is back, also after a restart of metad */
	world_restart(f.w);
	peer_connect(f.w, &f.servers[2]);
	peer_session(f.w, &f.servers[2]);
	ck_assert(find_output(f.w, f.servers[2].connection, MSG_DELETE) != NULL);
	f.w->now_ns += NS_PER_S;
	peer_report(f.w, &f.servers[2], NULL, 0);
	ck_assert(chunk_row(f.w, 1) == NULL);
	ck_assert(find_row(f.w, META_ROW_VOLUME, volume) == NULL);
	world_free(f.w);
}
END_TEST

/* A report that began before the deletion says nothing about it. */
START_TEST(report_from_before_the_deletion_does_not_count)
{
	struct msg msg = {.type = MSG_REPORT};

	setup_chunk();
	msg.u.report.first = true;
	peer_ask(f.w, &f.servers[0], &msg);
	f.w->now_ns += NS_PER_S;
	admin_status_of(f.w, "volume.delete", "{\"name\":\"v\"}");
	msg.u.report.first = false;
	msg.u.report.last = true;
	peer_ask(f.w, &f.servers[0], &msg);
	ck_assert_uint_eq(chunk_row(f.w, 1)->replica_count, 3);
	world_free(f.w);
}
END_TEST

/* ---- reports ---- */

START_TEST(report_is_answered_with_fences)
{
	struct msg msg = {.type = MSG_REPORT};
	struct msg_report_entry entries[2] = {{.chunk = 1}, {.chunk = 1}};
	const struct msg *answer;

	setup_chunk();
	entries[1].chunk = 0;
	msg.u.report.first = msg.u.report.last = true;
	msg.u.report.count = 2;
	msg.u.report.entries = entries;
	answer = peer_ask(f.w, &f.servers[0], &msg);
	ck_assert_uint_eq(answer->u.report_ok.count, 1);
	ck_assert_uint_eq(answer->u.report_ok.fences[0].chunk, 1);
	ck_assert_uint_eq(answer->u.report_ok.fences[0].epoch, chunk_row(f.w, 1)->epoch);
	world_free(f.w);
}
END_TEST

START_TEST(engine_may_not_report)
{
	struct msg msg = {.type = MSG_REPORT};

	setup();
	ck_assert_int_eq(peer_ask(f.w, &f.engine, &msg)->status, WIRE_BAD_REQUEST);
	world_free(f.w);
}
END_TEST

/* Lets time pass until a DELETE comes; how long that took, or 0 if none came. */
static uint64_t ms_until_delete(uint64_t most_ms)
{
	struct peer *alive[] = {&f.engine, &f.servers[0], &f.servers[1], &f.servers[2],
				&f.servers[3]};

	for (uint64_t ms = 1000; ms <= most_ms; ms += 1000) {
		for (unsigned i = 0; i < ARRAY_SIZE(alive); i++)
			if (alive[i]->connection)
				peer_keepalive(f.w, alive[i]);
		world_tick(f.w, 1000);
		if (count_outputs(f.w, MSG_DELETE))
			return ms;
	}
	return 0;
}

static void add_fourth_with_a_copy(void)
{
	struct msg_report_entry copy = {.chunk = 1, .epoch = 1, .position = {1, 1}, .commit = 1};

	f.servers[3] = new_server(4);
	peer_return(f.w, &f.servers[3]);
	peer_report(f.w, &f.servers[3], &copy, 1);
}

START_TEST(unlisted_replica_is_deleted_after_the_delay)
{
	uint64_t ms;

	setup_chunk();
	add_fourth_with_a_copy();
	ms = ms_until_delete(16 * 60 * 1000);
	ck_assert_uint_ge(ms, 15 * 60 * 1000);
	ck_assert(find_output(f.w, f.servers[3].connection, MSG_DELETE) != NULL);
	ck_assert_uint_gt(find_output(f.w, f.servers[3].connection, MSG_DELETE)->u.delete_.commit,
			  3);
	world_free(f.w);
}
END_TEST

START_TEST(copy_that_may_be_wanted_is_kept)
{
	setup_chunk();
	add_fourth_with_a_copy();
	pass(14 * 60 * 1000);
	/* a listed server goes away: now the copy may be needed, and is used */
	peer_close(f.w, &f.servers[0]);
	ck_assert_uint_eq(ms_until_delete(20 * 60 * 1000), 0);
	world_free(f.w);
}
END_TEST

START_TEST(listed_replica_is_never_garbage)
{
	setup_chunk();
	ck_assert_uint_eq(ms_until_delete(20 * 60 * 1000), 0);
	world_free(f.w);
}
END_TEST

START_TEST(chunk_above_the_counters_is_never_deleted)
{
	struct msg_report_entry copy = {.chunk = 77, .epoch = 1, .commit = 1};

	setup_chunk();
	peer_report(f.w, &f.servers[0], &copy, 1);
	ck_assert_uint_eq(ms_until_delete(20 * 60 * 1000), 0);
	world_free(f.w);
}
END_TEST

START_TEST(replica_of_a_chunk_that_is_gone_is_deleted)
{
	setup_chunk();
	admin_status_of(f.w, "volume.delete", "{\"name\":\"v\"}");
	f.w->now_ns += NS_PER_S;
	for (unsigned i = 0; i < 3; i++)
		peer_report(f.w, &f.servers[i], NULL, 0);
	ck_assert(chunk_row(f.w, 1) == NULL);
	add_fourth_with_a_copy();
	ck_assert_uint_ge(ms_until_delete(16 * 60 * 1000), 15 * 60 * 1000);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta volume", rules_of_creation, name_of_63_characters, usual_min_replicas, export_list,
	   attached_volume_is_not_deleted, deletion_ends_when_all_have_reported,
	   report_from_before_the_deletion_does_not_count, report_is_answered_with_fences,
	   engine_may_not_report, unlisted_replica_is_deleted_after_the_delay,
	   copy_that_may_be_wanted_is_kept, listed_replica_is_never_garbage,
	   chunk_above_the_counters_is_never_deleted, replica_of_a_chunk_that_is_gone_is_deleted)
