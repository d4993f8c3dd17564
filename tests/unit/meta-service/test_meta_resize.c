/* test_meta_resize.c - volumes that grow, shrink and get another name. */
#include "world.h"

#include <inttypes.h>

#define CHUNK (4 * MIB)

struct fixture {
	struct world *w;
	struct peer servers[3], engine;
	uint64_t volume;
};

static struct fixture f;

static void setup(void)
{
	enum wire_status status;
	json_t *document;

	f = (struct fixture){.w = world_new(), .engine = new_engine(1)};
	add_servers(f.w, f.servers, 3);
	peer_return(f.w, &f.engine);
	document = admin_ask(
		f.w, "volume.create",
		"{\"name\":\"v\",\"size_bytes\":16777216,\"chunk_bytes\":4194304,\"replicas\":3}",
		&status);
	ck_assert_int_eq(status, WIRE_OK);
	f.volume = (uint64_t)json_integer_value(
		json_object_get(json_object_get(document, "volume"), "id"));
	json_decref(document);
}

static const struct meta_volume_row *row(uint64_t volume)
{
	const struct meta_row *found = find_row(f.w, META_ROW_VOLUME, volume);

	return found ? &found->u.volume : NULL;
}

static enum wire_status resize(uint64_t size_bytes, bool force)
{
	char args[128];

	snprintf(args, sizeof args, "{\"name\":\"v\",\"size_bytes\":%" PRIu64 ",\"force\":%s}",
		 size_bytes, force ? "true" : "false");
	return admin_status_of(f.w, "volume.resize", args);
}

static void detach(void)
{
	struct msg msg = {.type = MSG_DETACH, .u.detach.volume = f.volume};

	ck_assert_int_eq(peer_ask(f.w, &f.engine, &msg)->status, WIRE_OK);
}

/* The chunks at 0, 1 and 3 exist; the volume is detached. */
static void setup_chunks(void)
{
	static const uint64_t indexes[] = {0, 1, 3};

	setup();
	peer_attach(f.w, &f.engine, "v", false);
	for (unsigned i = 0; i < ARRAY_SIZE(indexes); i++) {
		struct msg_chunk chunk = peer_lease_one(f.w, &f.engine, f.volume, indexes[i]);

		ck_assert_uint_eq(chunk.chunk, i + 1);
		peer_lease_return(f.w, &f.engine, chunk.chunk, chunk.epoch, 0);
	}
	detach();
	for (unsigned i = 0; i < 3; i++)
		peer_report_listed(f.w, &f.servers[i], (struct version){1, 1});
}

START_TEST(growing_reaches_the_holder)
{
	const struct msg *told;
	uint64_t index = 5;

	setup();
	peer_attach(f.w, &f.engine, "v", false);
	ck_assert_int_eq(peer_lease(f.w, &f.engine, f.volume, &index, 1, true)->status,
			 WIRE_BAD_REQUEST);
	ck_assert_int_eq(resize(6 * CHUNK, false), WIRE_OK);
	told = find_output(f.w, f.engine.connection, MSG_RESIZED);
	ck_assert(told != NULL);
	ck_assert_uint_eq(told->u.resized.volume, f.volume);
	ck_assert_uint_eq(told->u.resized.size_bytes, 6 * CHUNK);
	ck_assert_uint_eq(row(f.volume)->size_bytes, 6 * CHUNK);
	ck_assert(uuid_equal(row(f.volume)->holder, f.engine.instance));
	peer_lease_one(f.w, &f.engine, f.volume, index);
	world_free(f.w);
}
END_TEST

START_TEST(a_holder_that_is_away_hears_it_when_it_is_back)
{
	setup();
	peer_attach(f.w, &f.engine, "v", false);
	peer_close(f.w, &f.engine);
	ck_assert_int_eq(resize(5 * CHUNK, false), WIRE_OK);
	ck_assert_uint_eq(count_outputs(f.w, MSG_RESIZED), 0);
	peer_return(f.w, &f.engine);
	ck_assert_uint_eq(peer_attach(f.w, &f.engine, "v", false)->u.volume.size_bytes, 5 * CHUNK);
	world_free(f.w);
}
END_TEST

START_TEST(the_same_size_is_no_error)
{
	setup();
	ck_assert_int_eq(resize(4 * CHUNK, false), WIRE_OK);
	ck_assert_uint_eq(row(f.volume)->size_bytes, 4 * CHUNK);
	world_free(f.w);
}
END_TEST

START_TEST(sizes_that_no_volume_may_have)
{
	setup();
	ck_assert_int_eq(resize(0, true), WIRE_BAD_REQUEST);
	ck_assert_int_eq(resize(4 * CHUNK + 512, true), WIRE_BAD_REQUEST);
	ck_assert_int_eq(resize(INT64_MAX, true), WIRE_BAD_REQUEST);
	ck_assert_int_eq(
		admin_status_of(f.w, "volume.resize", "{\"name\":\"w\",\"size_bytes\":4096}"),
		WIRE_NOT_FOUND);
	ck_assert_int_eq(admin_status_of(f.w, "volume.resize", "{\"name\":\"v\"}"),
			 WIRE_BAD_REQUEST);
	ck_assert_uint_eq(row(f.volume)->size_bytes, 4 * CHUNK);
	world_free(f.w);
}
END_TEST

START_TEST(an_attached_volume_does_not_shrink)
{
	setup();
	peer_attach(f.w, &f.engine, "v", false);
	ck_assert_int_eq(resize(2 * CHUNK, true), WIRE_BUSY);
	ck_assert_uint_eq(row(f.volume)->size_bytes, 4 * CHUNK);
	detach();
	ck_assert_int_eq(resize(2 * CHUNK, false), WIRE_OK); /* nothing is there to be lost */
	ck_assert_uint_eq(row(f.volume)->size_bytes, 2 * CHUNK);
	world_free(f.w);
}
END_TEST

START_TEST(what_would_be_lost_is_said)
{
	json_t *document, *error;
	enum wire_status status;

	setup_chunks();
	document =
		admin_ask(f.w, "volume.resize", "{\"name\":\"v\",\"size_bytes\":4194304}", &status);
	error = json_object_get(document, "error");
	ck_assert_int_eq(status, WIRE_REFUSED);
	ck_assert(strstr(json_string_value(json_object_get(error, "message")), "2 chunks"));
	ck_assert(strstr(json_string_value(json_object_get(error, "hint")), "--force"));
	json_decref(document);
	ck_assert_uint_eq(f.w->update.row_count, 0);
	world_free(f.w);
}
END_TEST

START_TEST(a_chunk_is_not_cut_in_two)
{
	json_t *document;
	enum wire_status status;

	setup_chunks();
	ck_assert_int_eq(resize(CHUNK + 4096, true), WIRE_REFUSED);
	document = admin_ask(f.w, "volume.resize",
			     "{\"name\":\"v\",\"size_bytes\":4198400,\"force\":true}", &status);
	ck_assert(strstr(
		json_string_value(json_object_get(json_object_get(document, "error"), "hint")),
		"8388608"));
	json_decref(document);
	/* where no chunk is, any block will do */
	ck_assert_int_eq(resize(2 * CHUNK + 4096, true), WIRE_OK);
	ck_assert_uint_eq(row(f.volume)->size_bytes, 2 * CHUNK + 4096);
	world_free(f.w);
}
END_TEST

/* The volume that holds what was cut off. */
static uint64_t cut(void)
{
	return chunk_row(f.w, 3)->volume;
}

START_TEST(chunks_beyond_the_end_are_deleted)
{
	setup_chunks();
	f.w->now_ns += NS_PER_S;
	ck_assert_int_eq(resize(CHUNK, true), WIRE_OK);
	ck_assert_uint_eq(count_outputs(f.w, MSG_DELETE), 6);
	ck_assert_uint_eq(chunk_row(f.w, 1)->volume, f.volume);
	ck_assert_uint_eq(chunk_row(f.w, 2)->volume, cut());
	ck_assert_uint_ne(cut(), f.volume);
	ck_assert(row(cut())->deleting && !row(f.volume)->deleting);
	ck_assert_uint_ge(find_row(f.w, META_ROW_CLUSTER, 0)->u.cluster.volume, cut());
	/* metad dies; one chunk server still has them */
	world_restart(f.w);
	for (unsigned i = 0; i < 3; i++)
		peer_return(f.w, &f.servers[i]);
	f.w->now_ns += NS_PER_S;
	for (unsigned i = 0; i < 3; i++) {
		struct msg_report_entry kept = {.chunk = 1, .epoch = 1, .position = {1, 1}};

		ck_assert(chunk_row(f.w, 3) != NULL);
		peer_report(f.w, &f.servers[i], &kept, 1);
	}
	ck_assert(chunk_row(f.w, 2) == NULL && chunk_row(f.w, 3) == NULL);
	ck_assert_uint_eq(chunk_row(f.w, 1)->replica_count, 3);
	ck_assert(row(f.volume) != NULL);
	for (uint64_t volume = f.volume + 1; volume < f.volume + 4; volume++)
		ck_assert(row(volume) == NULL);
	world_free(f.w);
}
END_TEST

START_TEST(what_was_cut_off_does_not_come_back)
{
	struct msg table = {.type = MSG_TABLE};
	const struct msg *answer;

	setup_chunks();
	ck_assert_int_eq(resize(CHUNK, true), WIRE_OK);
	ck_assert_int_eq(resize(4 * CHUNK, false), WIRE_OK);
	table.u.table.volume = f.volume;
	answer = peer_ask(f.w, &f.engine, &table);
	ck_assert_uint_eq(answer->u.chunks.count, 1);
	ck_assert_uint_eq(answer->u.chunks.chunks[0].chunk, 1);
	peer_attach(f.w, &f.engine, "v", false);
	ck_assert_uint_eq(peer_lease_one(f.w, &f.engine, f.volume, 3).chunk, 4);
	world_free(f.w);
}
END_TEST

START_TEST(a_holder_that_is_dead_is_told_when_it_comes_back)
{
	setup();
	peer_attach(f.w, &f.engine, "v", false);
	peer_close(f.w, &f.engine);
	f.w->now_ns += SESSION_TIMEOUT_NS;
	world_tick(f.w, 1000);
	ck_assert_int_eq(resize(2 * CHUNK, false), WIRE_OK);
	ck_assert(uuid_is_zero(row(f.volume)->holder));
	peer_connect(f.w, &f.engine);
	peer_session(f.w, &f.engine);
	ck_assert(find_output(f.w, f.engine.connection, MSG_DETACHED) != NULL);
	world_free(f.w);
}
END_TEST

/* Its session has ended, but it serves IO. */
START_TEST(a_holder_that_chunk_servers_hear_keeps_the_size)
{
	setup();
	peer_attach(f.w, &f.engine, "v", false);
	peer_close(f.w, &f.engine);
	for (unsigned i = 0; i < 10; i++) {
		world_tick(f.w, 1000);
		peer_keepalive_hears(f.w, &f.servers[1], &f.engine);
	}
	ck_assert_int_eq(resize(2 * CHUNK, true), WIRE_BUSY);
	ck_assert_int_eq(resize(8 * CHUNK, false), WIRE_OK);
	f.w->now_ns += SESSION_TIMEOUT_NS;
	ck_assert_int_eq(resize(2 * CHUNK, true), WIRE_OK);
	world_free(f.w);
}
END_TEST

START_TEST(renaming)
{
	setup();
	create_volume(f.w, "taken", 3, 2);
	ck_assert_int_eq(
		admin_status_of(f.w, "volume.rename", "{\"name\":\"v\",\"new_name\":\"taken\"}"),
		WIRE_EXISTS);
	ck_assert_int_eq(
		admin_status_of(f.w, "volume.rename", "{\"name\":\"v\",\"new_name\":\"a/b\"}"),
		WIRE_BAD_REQUEST);
	ck_assert_int_eq(
		admin_status_of(f.w, "volume.rename", "{\"name\":\"x\",\"new_name\":\"y\"}"),
		WIRE_NOT_FOUND);
	peer_attach(f.w, &f.engine, "v", false);
	ck_assert_int_eq(
		admin_status_of(f.w, "volume.rename", "{\"name\":\"v\",\"new_name\":\"y\"}"),
		WIRE_BUSY);
	detach();
	ck_assert_int_eq(
		admin_status_of(f.w, "volume.rename", "{\"name\":\"v\",\"new_name\":\"y\"}"),
		WIRE_OK);
	ck_assert_str_eq(row(f.volume)->name, "y");
	ck_assert_int_eq(peer_attach(f.w, &f.engine, "v", false)->status, WIRE_NOT_FOUND);
	ck_assert_uint_eq(peer_attach(f.w, &f.engine, "y", false)->u.volume.volume, f.volume);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta resize", growing_reaches_the_holder,
	   a_holder_that_is_away_hears_it_when_it_is_back, the_same_size_is_no_error,
	   sizes_that_no_volume_may_have, an_attached_volume_does_not_shrink,
	   what_would_be_lost_is_said, a_chunk_is_not_cut_in_two, chunks_beyond_the_end_are_deleted,
	   what_was_cut_off_does_not_come_back, a_holder_that_is_dead_is_told_when_it_comes_back,
	   a_holder_that_chunk_servers_hear_keeps_the_size, renaming)
