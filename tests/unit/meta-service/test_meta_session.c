/* test_meta_session.c - registration, liveness, and a store that is older than the cluster. */
#include "world.h"

START_TEST(new_disk_gets_a_cid_in_the_same_commit)
{
	struct world *w = world_new();
	struct peer server = new_server(1);
	const struct msg *answer;
	const struct meta_row *row;

	peer_connect(w, &server);
	answer = peer_session(w, &server);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_uint_eq(answer->u.session_ok.cid, 1);
	ck_assert(uuid_equal(answer->u.session_ok.cluster, meta_cluster(w->meta)->cluster));
	row = find_row(w, META_ROW_SERVER, 1);
	ck_assert(row != NULL);
	ck_assert(uuid_equal(row->u.server.disk, server.disk));
	ck_assert_uint_eq(find_row(w, META_ROW_CLUSTER, 0)->u.cluster.cid, 1);
	ck_assert_uint_eq(count_outputs(w, MSG_SERVERS), 1);
	world_free(w);
}
END_TEST

START_TEST(known_disk_keeps_its_cid_after_restart)
{
	struct world *w = world_new();
	struct peer servers[2];

	add_servers(w, servers, 2);
	world_restart(w);
	peer_return(w, &servers[1]);
	ck_assert_uint_eq(servers[1].cid, 2);
	world_free(w);
}
END_TEST

START_TEST(lost_answer_to_a_new_disk_is_repeated)
{
	struct world *w = world_new();
	struct peer server = new_server(1);

	peer_return(w, &server);
	server.new_disk = true;
	server.cluster_unknown = true;
	peer_return(w, &server);
	ck_assert_uint_eq(server.cid, 1);
	world_free(w);
}
END_TEST

START_TEST(disk_with_replicas_that_claims_to_be_new_is_refused)
{
	struct world *w = world_new();
	struct peer servers[1], engine = new_engine(1);
	uint64_t volume;

	add_servers(w, servers, 1);
	volume = create_volume(w, "v", 1, 1);
	peer_return(w, &engine);
	peer_attach(w, &engine, "v", false);
	peer_lease_one(w, &engine, volume, 0);
	servers[0].new_disk = true;
	peer_connect(w, &servers[0]);
	ck_assert_int_eq(peer_session(w, &servers[0])->status, WIRE_REFUSED);
	world_free(w);
}
END_TEST

START_TEST(unknown_disk_that_is_not_new_is_refused)
{
	struct world *w = world_new();
	struct peer server = new_server(1);
	const struct msg *answer;

	server.new_disk = false;
	server.cluster_unknown = false;
	peer_connect(w, &server);
	answer = peer_session(w, &server);
	ck_assert_int_eq(answer->status, WIRE_NOT_FOUND);
	ck_assert(strstr(answer->u.session_ok.text, "Format it") != NULL);
	ck_assert(find_row(w, META_ROW_SERVER, 1) == NULL);
	world_free(w);
}
END_TEST

START_TEST(known_disk_without_a_cluster_is_refused)
{
	struct world *w = world_new();
	struct peer servers[1];

	add_servers(w, servers, 1);
	servers[0].cluster_unknown = true;
	peer_connect(w, &servers[0]);
	ck_assert_int_eq(peer_session(w, &servers[0])->status, WIRE_WRONG_CLUSTER);
	world_free(w);
}
END_TEST

START_TEST(newest_process_of_a_disk_wins)
{
	struct world *w = world_new();
	struct peer servers[1], twin;
	const struct msg *told;

	add_servers(w, servers, 1);
	twin = servers[0];
	twin.instance.bytes[2] = 9;
	peer_connect(w, &twin);
	ck_assert_int_eq(peer_session(w, &twin)->status, WIRE_OK);
	ck_assert_uint_eq(twin.cid, 1);
	ck_assert(is_closed(w, servers[0].connection));
	told = find_output(w, servers[0].connection, MSG_SESSION_OK);
	ck_assert(told != NULL);
	ck_assert_int_eq(told->status, WIRE_WRONG_PEER);
	world_free(w);
}
END_TEST

START_TEST(new_connection_of_an_instance_replaces_the_old)
{
	struct world *w = world_new();
	struct peer engine = new_engine(1);
	uint64_t old;

	peer_return(w, &engine);
	old = engine.connection;
	peer_return(w, &engine);
	ck_assert(is_closed(w, old));
	/* the close of the old one does not end the session */
	{
		struct meta_event event = {.type = META_CLOSED, .connection = old};

		world_step(w, &event);
	}
	peer_keepalive(w, &engine);
	world_free(w);
}
END_TEST

START_TEST(role_must_fit_the_greeting)
{
	struct world *w = world_new();
	struct peer engine = new_engine(1);
	struct msg msg = {.type = MSG_SESSION};

	peer_connect(w, &engine);
	msg.u.session.role = ROLE_CHUNKD;
	ck_assert_int_eq(peer_ask(w, &engine, &msg)->status, WIRE_BAD_REQUEST);
	world_free(w);
}
END_TEST

START_TEST(message_without_a_session_closes)
{
	struct world *w = world_new();
	struct peer engine = new_engine(1);

	peer_connect(w, &engine);
	ck_assert(peer_attach(w, &engine, "v", false) == NULL);
	ck_assert(is_closed(w, engine.connection));
	world_free(w);
}
END_TEST

START_TEST(message_that_is_not_ours_closes)
{
	struct world *w = world_new();
	struct peer engine = new_engine(1);
	struct msg msg = {.type = MSG_SYNC};

	peer_return(w, &engine);
	peer_send(w, &engine, &msg);
	ck_assert(is_closed(w, engine.connection));
	world_free(w);
}
END_TEST

START_TEST(silent_server_dies_after_the_timeout)
{
	struct world *w = world_new();
	struct peer servers[2], *keep[] = {&servers[1]};
	const struct msg *msg;

	add_servers(w, servers, 2);
	world_pass(w, 5000, keep, 1);
	ck_assert(!is_closed(w, servers[0].connection));
	world_tick(w, 999);
	ck_assert_uint_eq(count_outputs(w, MSG_SERVERS), 0);
	world_tick(w, 1);
	ck_assert(is_closed(w, servers[0].connection));
	msg = find_output(w, servers[1].connection, MSG_SERVERS);
	ck_assert(msg != NULL);
	ck_assert_uint_eq(msg->u.servers.count, 2);
	ck_assert(!msg->u.servers.servers[0].alive);
	ck_assert(msg->u.servers.servers[1].alive);
	/* it comes back with its number */
	peer_return(w, &servers[0]);
	ck_assert_uint_eq(servers[0].cid, 1);
	world_tick(w, 200);
	ck_assert(find_output(w, servers[1].connection, MSG_SERVERS)->u.servers.servers[0].alive);
	world_free(w);
}
END_TEST

START_TEST(many_that_come_are_told_together)
{
	struct world *w = world_new();
	struct peer servers[4], engine = new_engine(1);
	const struct msg *msg;

	peer_return(w, &engine);
	for (unsigned i = 0; i < 4; i++) {
		servers[i] = new_server((uint8_t)(i + 1));
		peer_return(w, &servers[i]);
		ck_assert_uint_eq(count_outputs(w, MSG_SERVERS), 1);
		ck_assert(find_output(w, servers[i].connection, MSG_SERVERS) != NULL);
	}
	world_tick(w, 200);
	msg = find_output(w, engine.connection, MSG_SERVERS);
	ck_assert(msg != NULL);
	ck_assert_uint_eq(msg->u.servers.count, 4);
	ck_assert_str_eq(msg->u.servers.servers[3].address, "10.0.0.4:7701");
	world_tick(w, 200);
	ck_assert_uint_eq(count_outputs(w, MSG_SERVERS), 0);
	world_free(w);
}
END_TEST

START_TEST(nobody_is_dead_just_after_a_restart)
{
	struct world *w = world_new();
	struct peer servers[2], engine = new_engine(1), *keep[] = {&engine};
	const struct msg *msg;

	add_servers(w, servers, 2);
	world_restart(w);
	peer_connect(w, &engine);
	peer_session(w, &engine);
	msg = find_output(w, engine.connection, MSG_SERVERS);
	ck_assert(msg->u.servers.servers[0].alive);
	world_pass(w, 5000, keep, 1);
	world_tick(w, 1000);
	msg = find_output(w, engine.connection, MSG_SERVERS);
	ck_assert(msg != NULL);
	ck_assert(!msg->u.servers.servers[0].alive);
	world_free(w);
}
END_TEST

/* A server that has seen more than we have given out: the store is old. */
static struct world *doubted_world(struct peer *servers, struct peer *engine, uint64_t *volume)
{
	struct world *w = world_new();

	add_servers(w, servers, 3);
	*volume = create_volume(w, "v", 3, 2);
	peer_return(w, engine);
	peer_attach(w, engine, "v", false);
	peer_lease_one(w, engine, *volume, 0);
	servers[0].newest_commit = 1000;
	servers[0].newest_epoch = 2000;
	peer_return(w, &servers[0]);
	return w;
}

START_TEST(older_store_changes_nothing)
{
	struct peer servers[3], engine = new_engine(1), fresh = new_server(9);
	struct msg_change change = {.kind = CHANGE_EVICT, .chunk = 1, .epoch = 1, .list_number = 1};
	uint64_t volume, index = 1;
	struct world *w = doubted_world(servers, &engine, &volume);
	const struct msg *answer = peer_lease(w, &engine, volume, &index, 1, true);

	ck_assert_int_eq(answer->status, WIRE_NOT_LEADER);
	ck_assert(strstr(answer->u.chunks.text, "copyhold meta confirm --force") != NULL);
	ck_assert_uint_eq(w->update.row_count, 0);
	answer = peer_change(w, &engine, &change);
	ck_assert_int_eq(answer->status, WIRE_NOT_LEADER);
	/* no list, but the owner sees which change was refused and may ask again */
	ck_assert_uint_eq(answer->u.list.chunk.chunk, change.chunk);
	ck_assert_uint_eq(answer->u.list.chunk.epoch, change.epoch);
	ck_assert_uint_eq(answer->u.list.chunk.list_number, 0);
	ck_assert_int_eq(peer_attach(w, &engine, "v", true)->status, WIRE_NOT_LEADER);
	ck_assert_int_eq(peer_lease_return(w, &engine, 1, 1, 0)->status, WIRE_NOT_LEADER);
	ck_assert_int_eq(admin_status_of(w, "volume.delete", "{\"name\":\"v\",\"force\":true}"),
			 WIRE_REFUSED);
	peer_connect(w, &fresh);
	ck_assert_int_eq(peer_session(w, &fresh)->status, WIRE_NOT_LEADER);
	/* keepalives go on: nobody loses a session over it */
	peer_keepalive(w, &engine);
	world_free(w);
}
END_TEST

START_TEST(confirmed_store_starts_above_all_reported)
{
	struct peer servers[3], engine = new_engine(1);
	uint64_t volume;
	struct world *w = doubted_world(servers, &engine, &volume);
	struct msg_chunk chunk;
	json_t *document = admin_ask(w, "status", "{}", NULL);

	ck_assert_str_eq(json_string_value(json_object_get(document, "health")), "error");
	json_decref(document);
	ck_assert_int_eq(admin_status_of(w, "meta.confirm", "{}"), WIRE_REFUSED);
	ck_assert_int_eq(admin_status_of(w, "meta.confirm", "{\"force\":true}"), WIRE_OK);
	chunk = peer_lease_one(w, &engine, volume, 1);
	ck_assert_uint_gt(chunk.epoch, 2000);
	for (uint32_t i = 0; i < chunk.replica_count; i++)
		ck_assert_uint_gt(chunk.replicas[i].commit, 1000);
	ck_assert_int_eq(admin_status_of(w, "meta.confirm", "{\"force\":true}"), WIRE_ALREADY);
	world_free(w);
}
END_TEST

START_TEST(report_of_an_unknown_commit_raises_the_doubt)
{
	struct world *w = world_new();
	struct peer servers[1];
	struct msg_report_entry entry = {.chunk = 1};

	add_servers(w, servers, 1);
	peer_report(w, &servers[0], &entry, 1); /* a chunk above our counter */
	ck_assert_int_eq(admin_status_of(w, "volume.create",
					 "{\"name\":\"v\",\"size_bytes\":4096,\"replicas\":1}"),
			 WIRE_REFUSED);
	world_free(w);
}
END_TEST

WORLD_MAIN("meta session", new_disk_gets_a_cid_in_the_same_commit,
	   known_disk_keeps_its_cid_after_restart, lost_answer_to_a_new_disk_is_repeated,
	   disk_with_replicas_that_claims_to_be_new_is_refused,
	   unknown_disk_that_is_not_new_is_refused, known_disk_without_a_cluster_is_refused,
	   newest_process_of_a_disk_wins, new_connection_of_an_instance_replaces_the_old,
	   role_must_fit_the_greeting, message_without_a_session_closes,
	   message_that_is_not_ours_closes, silent_server_dies_after_the_timeout,
	   many_that_come_are_told_together, nobody_is_dead_just_after_a_restart,
	   older_store_changes_nothing, confirmed_store_starts_above_all_reported,
	   report_of_an_unknown_commit_raises_the_doubt)
