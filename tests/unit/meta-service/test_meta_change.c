/* test_meta_change.c - EVICT, PROMOTE, DROP: what is refused, in which order, and what a change does. */
#include "world.h"

struct fixture {
	struct world *w;
	struct peer servers[5], engine, other;
	uint64_t volume;
	struct msg_chunk chunk;
};

static struct fixture f;

static void setup_replicas(unsigned servers, unsigned replicas, unsigned min_replicas)
{
	f = (struct fixture){.w = world_new(), .engine = new_engine(1), .other = new_engine(2)};
	add_servers(f.w, f.servers, servers);
	f.volume = create_volume(f.w, "v", replicas, min_replicas);
	peer_return(f.w, &f.engine);
	peer_return(f.w, &f.other);
	peer_attach(f.w, &f.engine, "v", false);
	f.chunk = peer_lease_one(f.w, &f.engine, f.volume, 0);
}

static void setup(void)
{
	setup_replicas(3, 3, 2);
}

/* The meta service comes back, and so do its chunk servers: the store is known to be the newest. */
static void restart(void)
{
	world_restart(f.w);
	for (unsigned i = 0; i < 3; i++)
		peer_return(f.w, &f.servers[i]);
}

static const struct meta_chunk_row *row(void)
{
	return chunk_row(f.w, f.chunk.chunk);
}

/* All sessions go on for this long. */
static void pass(uint64_t ms)
{
	struct peer *alive[] = {&f.engine,     &f.other,      &f.servers[0], &f.servers[1],
				&f.servers[2], &f.servers[3], &f.servers[4]};

	world_pass(f.w, ms, alive, ARRAY_SIZE(alive));
}

START_TEST(evict_is_committed_and_shows_the_list)
{
	struct msg_change change;
	const struct msg *answer;

	setup();
	change = evict(&f.chunk, 2);
	change.floor = 12;
	answer = peer_change(f.w, &f.engine, &change);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_uint_eq(answer->u.list.chunk.list_number, f.chunk.list_number + 1);
	ck_assert_uint_eq(answer->u.list.chunk.replica_count, 2);
	ck_assert_uint_eq(answer->u.list.chunk.floor, 12);
	ck_assert_uint_eq(row()->replica_count, 2);
	ck_assert_uint_eq(row()->former_cid, 2);
	ck_assert_uint_eq(row()->floor, 12);
	world_free(f.w);
}
END_TEST

START_TEST(floor_is_never_lowered)
{
	struct msg_change change;

	setup_replicas(4, 4, 1);
	change = evict(&f.chunk, 2);
	change.floor = 12;
	f.chunk = peer_change(f.w, &f.engine, &change)->u.list.chunk;
	change = evict(&f.chunk, 3);
	change.floor = 5;
	ck_assert_uint_eq(peer_change(f.w, &f.engine, &change)->u.list.chunk.floor, 12);
	world_free(f.w);
}
END_TEST

/*
 * Each request breaks the rules from its own on: only the first in the order may answer. The last two break none.
 */
START_TEST(refusals_come_in_order)
{
	enum {
		BAD_EPOCH = 1,
		BAD_OWNER = 2,
		BAD_LIST = 4,
		ABSENT = 8
	};
	static const struct {
		enum change_kind kind;
		unsigned bad;
		enum wire_status status;
	} cases[] = {
		{CHANGE_EVICT, BAD_EPOCH | BAD_LIST | ABSENT, WIRE_NOT_OWNER},
		{CHANGE_EVICT, BAD_OWNER | BAD_LIST | ABSENT, WIRE_NOT_OWNER},
		{CHANGE_EVICT, BAD_EPOCH | ABSENT, WIRE_NOT_OWNER},
		{CHANGE_EVICT, BAD_OWNER | ABSENT, WIRE_NOT_OWNER},
		{CHANGE_PROMOTE, BAD_OWNER, WIRE_NOT_OWNER},
		{CHANGE_EVICT, BAD_LIST | ABSENT, WIRE_STALE},
		{CHANGE_PROMOTE, BAD_LIST, WIRE_STALE},
		{CHANGE_PROMOTE, BAD_LIST | ABSENT, WIRE_STALE},
		{CHANGE_DROP, BAD_LIST | ABSENT, WIRE_STALE},
		{CHANGE_PROMOTE, ABSENT, WIRE_NOT_FOUND},
		{CHANGE_DROP, ABSENT, WIRE_NOT_FOUND},
		{CHANGE_EVICT, ABSENT, WIRE_OK},
		{CHANGE_PROMOTE, 0, WIRE_ALREADY},
		{CHANGE_DROP, 0, WIRE_REFUSED},
		{CHANGE_EVICT, 0, WIRE_OK},
	};

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned bad = cases[i].bad;
		struct msg_change change = evict(&f.chunk, bad & ABSENT ? 77 : 2);
		const struct msg *answer;

		change.kind = cases[i].kind;
		if (bad & BAD_EPOCH)
			change.epoch--;
		if (bad & BAD_LIST)
			change.list_number--;
		answer = peer_change(f.w, bad & BAD_OWNER ? &f.other : &f.engine, &change);
		ck_assert_msg(answer->status == cases[i].status, "case %zu: %s", i,
			      wire_status_name(answer->status));
		ck_assert_uint_eq(answer->u.list.chunk.chunk, f.chunk.chunk);
		ck_assert_uint_ge(answer->u.list.chunk.list_number, f.chunk.list_number);
		if (i + 1 < ARRAY_SIZE(cases))
			ck_assert_uint_eq(f.w->update.row_count, 0);
	}
	ck_assert_uint_eq(row()->replica_count, 2);
	world_free(f.w);
}
END_TEST

START_TEST(repeated_evict_is_done_on_the_present_list)
{
	struct msg_change change;
	const struct msg *answer;

	setup();
	change = evict(&f.chunk, 2);
	peer_change(f.w, &f.engine, &change);
	answer = peer_change(f.w, &f.engine, &change);
	ck_assert_int_eq(answer->status, WIRE_STALE);
	change.list_number = answer->u.list.chunk.list_number;
	answer = peer_change(f.w, &f.engine, &change);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_uint_eq(answer->u.list.chunk.list_number, change.list_number);
	world_free(f.w);
}
END_TEST

START_TEST(evict_needs_synchronised_survivors)
{
	struct msg_change change;
	const struct msg *answer;

	setup();
	change = evict(&f.chunk, 2);
	change.synced_count = 1;
	answer = peer_change(f.w, &f.engine, &change);
	ck_assert_int_eq(answer->status, WIRE_TOO_FEW);
	ck_assert(strstr(answer->u.list.text, "min_replicas") != NULL);
	/* the one that goes, and one that is not in the list, do not count */
	change.synced_count = 3;
	change.synced[1] = 2;
	change.synced[2] = 50;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_TOO_FEW);
	ck_assert_uint_eq(row()->replica_count, 3);
	change = evict(&f.chunk, 2);
	f.chunk = peer_change(f.w, &f.engine, &change)->u.list.chunk;
	change = evict(&f.chunk, 1);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_TOO_FEW);
	ck_assert_uint_eq(row()->replica_count, 2);
	world_free(f.w);
}
END_TEST

/* A chunk of which server 2 was evicted and server 4 is being filled. */
static void setup_filling(void)
{
	struct msg_change change;
	const struct msg *list;

	setup_replicas(4, 3, 2);
	pass(8000);
	ck_assert_int_lt(list_at(&f.chunk, 4), 0);
	change = evict(&f.chunk, 2);
	peer_change(f.w, &f.engine, &change);
	peer_close(f.w, &f.servers[1]);
	world_tick(f.w, 200);
	list = find_output(f.w, f.engine.connection, MSG_LIST);
	ck_assert(list != NULL);
	f.chunk = list->u.list.chunk;
	ck_assert_uint_eq(f.chunk.replica_count, 3);
	ck_assert_int_ge(list_at(&f.chunk, 4), 0);
	ck_assert_int_eq(f.chunk.replicas[list_at(&f.chunk, 4)].state, REPLICA_FILLING);
}

static struct msg_change change_of(enum change_kind kind, uint32_t cid)
{
	struct msg_change change = evict(&f.chunk, cid);

	change.kind = kind;
	return change;
}

START_TEST(promote_makes_active)
{
	struct msg_change change;
	const struct msg *answer;

	setup_filling();
	change = change_of(CHANGE_PROMOTE, 4);
	answer = peer_change(f.w, &f.engine, &change);
	ck_assert_int_eq(answer->status, WIRE_OK);
	ck_assert_int_eq(answer->u.list.chunk.replicas[list_at(&answer->u.list.chunk, 4)].state,
			 REPLICA_ACTIVE);
	ck_assert_uint_eq(answer->u.list.chunk.list_number, f.chunk.list_number + 1);
	ck_assert_uint_eq(row()->former_cid, 0);
	/* delivered a second time, it is meant for an older list */
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_STALE);
	world_free(f.w);
}
END_TEST

START_TEST(filling_replica_can_be_given_up)
{
	struct msg_change change;

	setup_filling();
	change = change_of(CHANGE_DROP, 4);
	change.synced_count = 0;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
	ck_assert_uint_eq(row()->replica_count, 2);
	world_free(f.w);
}
END_TEST

START_TEST(evict_of_a_filling_one_is_a_drop)
{
	struct msg_change change;

	setup_filling();
	change = change_of(CHANGE_EVICT, 4);
	change.synced_count = 0;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
	ck_assert_uint_eq(row()->replica_count, 2);
	ck_assert_uint_eq(row()->former_cid, 2);
	world_free(f.w);
}
END_TEST

START_TEST(filling_replica_does_not_count_for_evictions)
{
	struct msg_change change;

	setup_filling();
	change = change_of(CHANGE_EVICT, 1);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_TOO_FEW);
	world_free(f.w);
}
END_TEST

/* The list with the FILLING one was committed by metad meanwhile: the owner's request was made for the one before. */
START_TEST(change_made_for_the_former_list_is_stale)
{
	struct msg_change change;

	setup_filling();
	change = change_of(CHANGE_PROMOTE, 4);
	change.list_number--;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_STALE);
	world_free(f.w);
}
END_TEST

/* A grant and a change are durable before anybody hears of them; a restart in between loses both. */
START_TEST(restart_keeps_the_list_and_the_owner)
{
	struct msg_change change;

	setup();
	change = evict(&f.chunk, 2);
	f.chunk = peer_change(f.w, &f.engine, &change)->u.list.chunk;
	restart();
	peer_return(f.w, &f.engine);
	change = evict(&f.chunk, 2);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_OK);
	change.epoch++;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_NOT_OWNER);
	world_free(f.w);
}
END_TEST

START_TEST(change_of_a_failed_commit_is_asked_again)
{
	struct msg msg = {.type = MSG_CHANGE};
	struct meta_event event = {.type = META_MESSAGE, .msg = &msg};

	setup();
	event.connection = f.engine.connection;
	msg.u.change = evict(&f.chunk, 2);
	world_step_uncommitted(f.w, &event);
	restart();
	peer_return(f.w, &f.engine);
	ck_assert_uint_eq(row()->replica_count, 3);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &msg.u.change)->status, WIRE_OK);
	ck_assert_uint_eq(row()->replica_count, 2);
	world_free(f.w);
}
END_TEST

START_TEST(chunk_of_a_deleted_volume_has_no_owner)
{
	struct msg_change change;

	setup();
	ck_assert_int_eq(admin_status_of(f.w, "volume.delete", "{\"name\":\"v\",\"force\":true}"),
			 WIRE_OK);
	change = evict(&f.chunk, 2);
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_NOT_OWNER);
	change.chunk = 999;
	ck_assert_int_eq(peer_change(f.w, &f.engine, &change)->status, WIRE_NOT_OWNER);
	world_free(f.w);
}
END_TEST

WORLD_MAIN("meta change", evict_is_committed_and_shows_the_list, floor_is_never_lowered,
	   refusals_come_in_order, repeated_evict_is_done_on_the_present_list,
	   evict_needs_synchronised_survivors, promote_makes_active,
	   filling_replica_can_be_given_up, evict_of_a_filling_one_is_a_drop,
	   filling_replica_does_not_count_for_evictions, change_made_for_the_former_list_is_stale,
	   restart_keeps_the_list_and_the_owner, change_of_a_failed_commit_is_asked_again,
	   chunk_of_a_deleted_volume_has_no_owner)
