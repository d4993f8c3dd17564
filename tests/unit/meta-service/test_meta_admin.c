/* test_meta_admin.c - the documents that copyhold(1) gets. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer servers[3], engine;
	uint64_t volume;
	struct msg_chunk chunk;
};

static struct fixture f;

static void setup(void)
{
	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	add_servers(f.w, f.servers, 3);
	f.volume = create_volume(f.w, "v", 3, 2);
	peer_return(f.w, &f.engine);
	peer_attach(f.w, &f.engine, "v", false);
	f.chunk = peer_lease_one(f.w, &f.engine, f.volume, 3);
}

static uint64_t number_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	ck_assert_msg(json_is_integer(value), "no integer %s", key);
	return (uint64_t)json_integer_value(value);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	ck_assert_msg(value != NULL, "no text %s", key);
	return value;
}

START_TEST(volume_documents)
{
	json_t *document, *volume, *attached;

	setup();
	document = admin_ask(f.w, "volume.show", "{\"name\":\"v\"}", NULL);
	volume = json_object_get(document, "volume");
	ck_assert_str_eq(text_of(volume, "name"), "v");
	ck_assert_uint_eq(number_of(volume, "id"), f.volume);
	ck_assert_uint_eq(number_of(volume, "size_bytes"), GIB);
	ck_assert_uint_eq(number_of(volume, "chunk_bytes"), 4 * MIB);
	ck_assert_uint_eq(number_of(volume, "replicas"), 3);
	ck_assert_uint_eq(number_of(volume, "min_replicas"), 2);
	ck_assert_uint_eq(number_of(volume, "chunk_count"), 1);
	ck_assert_uint_eq(number_of(volume, "degraded_chunks"), 0);
	ck_assert_uint_eq(number_of(volume, "allocated_bytes"), 0);
	ck_assert_str_eq(text_of(volume, "state"), "healthy");
	ck_assert_uint_eq(strlen(text_of(volume, "uuid")), 36);
	attached = json_object_get(volume, "attached");
	ck_assert_str_eq(text_of(attached, "host"), "host1");
	ck_assert_uint_eq(number_of(attached, "pid"), 101);
	ck_assert_str_eq(text_of(attached, "mode"), "exclusive");
	ck_assert_str_eq(text_of(attached, "since"), "2023-11-14T22:30:00Z");
	ck_assert(json_is_true(json_object_get(attached, "alive")));
	json_decref(document);
	ck_assert_int_eq(admin_status_of(f.w, "volume.show", "{\"name\":\"w\"}"), WIRE_NOT_FOUND);
	world_free(f.w);
}
END_TEST

START_TEST(allocated_bytes_come_from_reports)
{
	struct msg_report_entry entry = {.epoch = 1, .commit = 1};
	json_t *document;

	setup();
	entry.chunk = f.chunk.chunk;
	entry.allocated_bytes = 65536;
	peer_report(f.w, &f.servers[0], &entry, 1);
	entry.allocated_bytes = 131072;
	peer_report(f.w, &f.servers[1], &entry, 1);
	document = admin_ask(f.w, "volume.list", "", NULL);
	ck_assert_uint_eq(number_of(json_array_get(json_object_get(document, "volumes"), 0),
				    "allocated_bytes"),
			  131072);
	json_decref(document);
	world_free(f.w);
}
END_TEST

START_TEST(server_documents)
{
	struct msg msg = {.type = MSG_KEEPALIVE};
	json_t *document, *server;

	setup();
	msg.u.keepalive.capacity_bytes = 100 * GIB;
	msg.u.keepalive.free_bytes = 60 * GIB;
	msg.u.keepalive.used_bytes = 40 * GIB;
	msg.u.keepalive.checksum_errors = 2;
	msg.u.keepalive.stats_json = "{\"writes\":12}";
	peer_send(f.w, &f.servers[1], &msg);
	f.w->now_ns += 500 * NS_PER_MS;
	document = admin_ask(f.w, "server.show", "{\"cid\":2}", NULL);
	server = json_object_get(document, "server");
	ck_assert_uint_eq(number_of(server, "cid"), 2);
	ck_assert_str_eq(text_of(server, "address"), "10.0.0.2:7701");
	ck_assert_str_eq(text_of(server, "state"), "up");
	ck_assert(json_is_true(json_object_get(server, "alive")));
	ck_assert_uint_eq(number_of(server, "capacity_bytes"), 100 * GIB);
	ck_assert_uint_eq(number_of(server, "free_bytes"), 60 * GIB);
	ck_assert_uint_eq(number_of(server, "used_bytes"), 40 * GIB);
	ck_assert_uint_eq(number_of(server, "replica_count"), 1);
	ck_assert_uint_eq(number_of(server, "last_seen_ms_ago"), 500);
	ck_assert_uint_eq(number_of(json_object_get(server, "stats"), "writes"), 12);
	ck_assert_uint_eq(number_of(json_object_get(server, "stats"), "checksum_errors"), 2);
	json_decref(document);
	ck_assert_int_eq(admin_status_of(f.w, "server.show", "{\"cid\":9}"), WIRE_NOT_FOUND);
	ck_assert_int_eq(admin_status_of(f.w, "server.show", "{}"), WIRE_BAD_REQUEST);
	document = admin_ask(f.w, "server.list", "{}", NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(document, "servers")), 3);
	json_decref(document);
	world_free(f.w);
}
END_TEST

START_TEST(chunk_documents)
{
	json_t *document, *chunk, *replica;

	setup();
	peer_report_listed(f.w, &f.servers[0], (struct version){1, 7});
	document = admin_ask(f.w, "chunk.show", "{\"volume\":\"v\",\"index\":3}", NULL);
	chunk = json_object_get(document, "chunk");
	ck_assert_uint_eq(number_of(chunk, "chunk"), f.chunk.chunk);
	ck_assert_str_eq(text_of(chunk, "volume"), "v");
	ck_assert_uint_eq(number_of(chunk, "index"), 3);
	ck_assert_uint_eq(number_of(chunk, "epoch"), f.chunk.epoch);
	ck_assert_uint_eq(number_of(chunk, "list_number"), 1);
	ck_assert_uint_eq(number_of(chunk, "floor"), 0);
	ck_assert_uint_eq(number_of(chunk, "wanted"), 3);
	ck_assert_uint_eq(number_of(chunk, "active"), 3);
	ck_assert_str_eq(text_of(chunk, "state"), "healthy");
	ck_assert_str_eq(text_of(json_object_get(chunk, "owner"), "host"), "host1");
	for (size_t i = 0; i < 3; i++) {
		replica = json_array_get(json_object_get(chunk, "replicas"), i);
		ck_assert_str_eq(text_of(replica, "state"), "ACTIVE");
		if (number_of(replica, "cid") == 1)
			ck_assert_uint_eq(
				number_of(json_object_get(replica, "position"), "generation"), 7);
		else
			ck_assert(json_is_null(json_object_get(replica, "position")));
	}
	json_decref(document);
	peer_lease_return(f.w, &f.engine, f.chunk.chunk, f.chunk.epoch, 0);
	document = admin_ask(f.w, "chunk.show", "{\"chunk\":1}", NULL);
	ck_assert(json_is_null(json_object_get(json_object_get(document, "chunk"), "owner")));
	json_decref(document);
	ck_assert_int_eq(admin_status_of(f.w, "chunk.show", "{\"chunk\":2}"), WIRE_NOT_FOUND);
	ck_assert_int_eq(admin_status_of(f.w, "chunk.show", "{\"volume\":\"v\",\"index\":4}"),
			 WIRE_NOT_FOUND);
	world_free(f.w);
}
END_TEST

static size_t listed(const char *args)
{
	json_t *document = admin_ask(f.w, "chunk.list", args, NULL);
	size_t count = json_array_size(json_object_get(document, "chunks"));

	json_decref(document);
	return count;
}

START_TEST(chunk_lists_are_filtered)
{
	struct msg_change change;

	setup();
	peer_lease_one(f.w, &f.engine, f.volume, 4);
	change = evict(&f.chunk, 2);
	peer_change(f.w, &f.engine, &change);
	ck_assert_uint_eq(listed("{}"), 2);
	ck_assert_uint_eq(listed("{\"volume\":\"v\"}"), 2);
	ck_assert_uint_eq(listed("{\"cid\":2}"), 1);
	ck_assert_uint_eq(listed("{\"state\":\"degraded\"}"), 1);
	ck_assert_uint_eq(listed("{\"state\":\"degraded\",\"cid\":2}"), 0);
	ck_assert_int_eq(admin_status_of(f.w, "chunk.list", "{\"volume\":\"w\"}"), WIRE_NOT_FOUND);
	ck_assert_int_eq(admin_status_of(f.w, "chunk.list", "{\"state\":\"x\"}"), WIRE_BAD_REQUEST);
	world_free(f.w);
}
END_TEST

/* All pages together name every chunk once, in order. */
static size_t count_pages(const char *volume, size_t *total)
{
	uint64_t next = 0, last = 0;
	size_t pages = 0;
	bool more = true;

	*total = 0;
	while (more) {
		char args[128];
		json_t *document, *list, *chunk;
		size_t i;

		snprintf(args, sizeof args, "{%s%s\"after\":%llu}", volume, *volume ? "," : "",
			 (unsigned long long)next);
		document = admin_ask(f.w, "chunk.list", args, NULL);
		list = json_object_get(document, "chunks");
		json_array_foreach(list, i, chunk)
		{
			ck_assert_uint_gt(number_of(chunk, "chunk"), last);
			last = number_of(chunk, "chunk");
		}
		*total += json_array_size(list);
		more = json_object_get(document, "next") != NULL;
		if (more)
			next = number_of(document, "next");
		json_decref(document);
		pages++;
	}
	return pages;
}

START_TEST(long_lists_come_in_parts)
{
	uint64_t indexes[250], volume;
	size_t total;

	setup();
	admin_status_of(f.w, "volume.create",
			"{\"name\":\"big\",\"size_bytes\":8589934592,\"chunk_bytes\":4194304}");
	volume = f.volume + 1;
	peer_attach(f.w, &f.engine, "big", false);
	for (uint64_t first = 0; first < 2000; first += ARRAY_SIZE(indexes)) {
		for (uint64_t i = 0; i < ARRAY_SIZE(indexes); i++)
			indexes[i] = first + i;
		peer_lease(f.w, &f.engine, volume, indexes, ARRAY_SIZE(indexes), true);
	}
	ck_assert_uint_eq(count_pages("\"volume\":\"big\"", &total), 2);
	ck_assert_uint_eq(total, 2000);
	ck_assert_uint_eq(count_pages("", &total), 3);
	ck_assert_uint_eq(total, 2001);
	world_free(f.w);
}
END_TEST

static json_t *status(void)
{
	return admin_ask(f.w, "status", "{}", NULL);
}

START_TEST(status_of_a_healthy_cluster)
{
	json_t *document;

	setup();
	world_tick(f.w, 1500);
	document = status();
	ck_assert_str_eq(text_of(document, "health"), "ok");
	ck_assert_uint_eq(json_array_size(json_object_get(document, "problems")), 0);
	ck_assert_uint_eq(number_of(json_object_get(document, "servers"), "total"), 3);
	ck_assert_uint_eq(number_of(json_object_get(document, "servers"), "up"), 3);
	ck_assert_uint_eq(number_of(json_object_get(document, "volumes"), "healthy"), 1);
	ck_assert_uint_eq(number_of(json_object_get(document, "chunks"), "healthy"), 1);
	ck_assert_uint_eq(number_of(document, "capacity_bytes"), 300 * GIB);
	ck_assert_uint_eq(number_of(document, "free_bytes"), 150 * GIB);
	ck_assert_uint_eq(number_of(document, "uptime_ms"), 1500);
	ck_assert_uint_eq(number_of(json_object_get(document, "repair"), "running"), 0);
	ck_assert_str_eq(text_of(document, "version"), COPYHOLD_VERSION);
	json_decref(document);
	world_free(f.w);
}
END_TEST

START_TEST(status_names_what_is_wrong)
{
	struct peer *alive[] = {&f.engine, &f.servers[0]};
	json_t *document, *problem;
	size_t i;

	setup();
	world_pass(f.w, 8000, alive, 2);
	document = status();
	ck_assert_str_eq(text_of(document, "health"), "error");
	ck_assert_uint_eq(number_of(json_object_get(document, "servers"), "up"), 1);
	ck_assert_uint_eq(number_of(json_object_get(document, "volumes"), "unavailable"), 1);
	ck_assert_uint_eq(json_array_size(json_object_get(document, "problems")), 3);
	json_array_foreach(json_object_get(document, "problems"), i, problem)
	{
		ck_assert(*text_of(problem, "what"));
		ck_assert(*text_of(problem, "why"));
		ck_assert(*text_of(problem, "hint"));
	}
	json_decref(document);
	peer_return(f.w, &f.servers[1]);
	document = status();
	ck_assert_str_eq(text_of(document, "health"), "warning");
	ck_assert_uint_eq(number_of(json_object_get(document, "chunks"), "degraded"), 1);
	json_decref(document);
	world_free(f.w);
}
END_TEST

START_TEST(check_finds_a_missing_replica)
{
	struct peer *alive[] = {&f.engine, &f.servers[0], &f.servers[1], &f.servers[2]};
	json_t *document;

	setup();
	world_pass(f.w, 70 * 1000, alive, 4);
	for (unsigned i = 0; i < 3; i++)
		peer_report_listed(f.w, &f.servers[i], (struct version){1, 1});
	document = admin_ask(f.w, "chunk.check", "{}", NULL);
	ck_assert_uint_eq(number_of(document, "checked"), 1);
	ck_assert_uint_eq(number_of(document, "healthy"), 1);
	json_decref(document);
	peer_report(f.w, &f.servers[2], NULL, 0);
	document = admin_ask(f.w, "chunk.check", "{\"volume\":\"v\"}", NULL);
	ck_assert_uint_eq(number_of(document, "healthy"), 0);
	ck_assert(
		strstr(text_of(json_array_get(json_object_get(document, "problems"), 0), "problem"),
		       "chunk server 3") != NULL);
	json_decref(document);
	ck_assert_int_eq(admin_status_of(f.w, "chunk.check", "{\"chunk\":9}"), WIRE_NOT_FOUND);
	world_free(f.w);
}
END_TEST

START_TEST(unknown_verb)
{
	setup();
	ck_assert_int_eq(admin_status_of(f.w, "volume.paint", "{}"), WIRE_BAD_REQUEST);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta admin", volume_documents, allocated_bytes_come_from_reports, server_documents,
	   chunk_documents, chunk_lists_are_filtered, long_lists_come_in_parts,
	   status_of_a_healthy_cluster, status_names_what_is_wrong, check_finds_a_missing_replica,
	   unknown_verb)
