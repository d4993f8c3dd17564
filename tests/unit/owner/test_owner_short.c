/*
 * test_owner_short.c - a chunk of which too few replicas can be had for IO: those that are there fill another one, and serve nobody
 * meanwhile.
 */
#include "tests/lib/suite.h"
#include "tests/unit/owner/harness.c"

static struct story s;

/* A new owner of replicas 1 and 2 (min_replicas 2); 2 is refused, 3 is there, and was added by metad as FILLING. A write waits. */
static void short_of_one(void)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid += 2)
		story_peer_up(&s, cid);
	s.peers[2].down_since_ns = s.now_ns;
	story_grant(&s, 5, "1A 2A 3F", 3, 8);
	story_synced(&s, 1, 4, 10, 77);
	EXPECT(&s, "LEASE?; SYNC>1");
	story_wait_ms(&s, 900);
	EXPECT(&s, "");
	ck_assert_int_eq(s.o.phase, OWNER_SYNCING);
	story_wait_ms(&s, 300);
	ck_assert_int_eq(s.o.phase, OWNER_SHORT);
	ck_assert_int_eq(owner_hold(&s.o, s.now_ns), OWNER_HOLD_TOO_FEW);
}

/* 3 has joined; its unit 0, which the write is for, is to be copied. */
static void short_and_joined(void)
{
	struct version v[TEST_UNITS] = {{4, 7}};

	short_of_one();
	EXPECT(&s, "CREATE>3; SYNC>3");
	story_synced(&s, 3, 0, 0, 0);
	EXPECT(&s, "VERSIONS>1");
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 3, 0, 1);
	story_answer(&s, 3, MSG_JOIN_OK, WIRE_OK);
	EXPECT(&s, "INVALIDATE>3; JOIN(4.10)>3; READ(0+65536)>1");
}

START_TEST(what_is_left_fills_another_and_io_begins_when_the_lost_one_is_evicted)
{
	short_and_joined();
	story_read(&s, 1, 7, 0);
	story_answer(&s, 3, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "FILL(0)>3; PROMOTE(3) list 3 synced 1");
	ck_assert_uint_eq(s.last_floor, 8); /* 2 is not known to have reached more */
	story_changed(&s, WIRE_OK, "1A 2A 3A", 4);
	EXPECT(&s, "SYNC>1; SYNC>3");
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 3, 4, 10, 77);
	EXPECT(&s, "EVICT(2) list 4 synced 2");
	ck_assert_uint_eq(s.last_floor, 8);
	story_changed(&s, WIRE_OK, "1A 3A", 5);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>3");
	ck_assert_int_eq(s.o.phase, OWNER_IO);
	story_end(&s);
}
END_TEST

START_TEST(nothing_is_written_read_or_scrubbed_meanwhile)
{
	short_and_joined();
	story_heartbeats(&s);
	story_write(&s, 131072, 4096, 1);
	story_write(&s, 131072 + 512, 512, 1);
	story_request(&s, OWNER_READ, 262144, 4096);
	story_request(&s, OWNER_DISCARD, 327680, 4096);
	story_request(&s, OWNER_EXTENTS, 0, TEST_CHUNK_BYTES);
	event(&s, (struct owner_event){.kind = OWNER_EVENT_SCRUB});
	story_heartbeats(&s);
	EXPECT(&s, "");
	ck_assert(!owner_may_read(&s.o, s.now_ns));
	ck_assert(!owner_may_write(&s.o));
	ck_assert(!owner_repaired(&s.o));
	ck_assert(owner_needs_tick(&s.o));
	story_end(&s);
}
END_TEST

/* It may have generations that 1 has not: then it is the reference. */
START_TEST(one_that_comes_back_takes_part_from_the_start)
{
	short_and_joined();
	story_peer_up(&s, 2);
	EXPECT(&s, "SYNC>2");
	ck_assert_int_eq(s.o.phase, OWNER_SHORT);
	story_synced(&s, 2, 4, 11, 88);
	EXPECT(&s, "SYNC>1; SYNC>2");
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 11, 88);
	EXPECT(&s, "VERSIONS>1; VERSIONS>2");
	story_end(&s);
}
END_TEST

START_TEST(a_failed_one_is_asked_again_and_again)
{
	short_and_joined();
	story_peer_up(&s, 2);
	story_skip(&s);
	for (unsigned i = 0; i < 3; i++) {
		story_answer(&s, 2, MSG_SYNC_OK, WIRE_DISK_ERROR);
		EXPECT(&s, "");
		story_wait_ms(&s, 1100);
		EXPECT(&s, "SYNC>2");
		ck_assert_int_eq(s.o.phase, OWNER_SHORT);
	}
	story_end(&s);
}
END_TEST

START_TEST(without_its_source_it_starts_over)
{
	short_and_joined();
	story_peer_down(&s, 1);
	ck_assert_int_eq(s.o.phase, OWNER_SYNCING);
	story_wait_ms(&s, 5000);
	EXPECT(&s, ""); /* nobody is left to fill from */
	ck_assert_int_eq(s.o.phase, OWNER_SYNCING);
	story_end(&s);
}
END_TEST

START_TEST(a_promotion_that_is_refused_is_tried_from_the_start)
{
	short_and_joined();
	story_read(&s, 1, 7, 0);
	story_answer(&s, 3, MSG_COPY_OK, WIRE_OK);
	story_skip(&s);
	story_changed(&s, WIRE_STALE, "1A 2A", 4);
	EXPECT(&s, "SYNC>1");
	story_synced(&s, 1, 4, 10, 77);
	story_wait_ms(&s, 5000);
	EXPECT(&s, ""); /* metad has taken 3 away: nothing to be filled */
	ck_assert_int_eq(s.o.phase, OWNER_SYNCING);
	story_end(&s);
}
END_TEST

/* Of 1 and 4, both there, 4 is behind: it is rolled first, without 2 and 5. */
START_TEST(those_that_are_left_are_made_level_first)
{
	struct version behind[TEST_UNITS] = {{0, 0}}, ahead[TEST_UNITS] = {{0, 0}};

	ahead[3] = (struct version){4, 10};
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 4; cid++)
		if (cid != 2)
			story_peer_up(&s, cid);
	s.peers[2].down_since_ns = s.peers[5].down_since_ns = s.now_ns;
	story_grant(&s, 5, "1A 2A 3F 4A 5A", 3, 8);
	s.o.min_replicas = 3;
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 4, 4, 9, 66);
	story_skip(&s);
	story_wait_ms(&s, 1200);
	EXPECT(&s, "VERSIONS>1; VERSIONS>4");
	story_versions(&s, 1, 1, ahead);
	story_versions(&s, 4, 4, behind);
	story_answer(&s, 4, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_read(&s, 1, 3, 0);
	story_answer(&s, 4, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "MEND_BEGIN>4; READ(196608+65536)>1; ROLL(3)>4; MEND_END(4.10)>4");
	story_peer_up(&s, 2);
	EXPECT(&s, "SYNC>2"); /* no reason to stop ... */
	story_peer_down(&s, 2);
	ck_assert_int_eq(s.o.phase, OWNER_ROLLING);
	story_answer(&s, 4, MSG_MEND_END_OK, WIRE_OK);
	ck_assert_int_eq(s.o.phase, OWNER_SHORT);
	story_end(&s);
}
END_TEST

/* It answers SYNC, and can't say what it has: as good as not there. It is asked again, later each time, so that the fill gets on. */
START_TEST(one_that_can_not_be_made_level_is_done_without)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A 3F", 3, 8);
	story_synced(&s, 1, 4, 10, 77);
	for (unsigned i = 0; i < 3; i++) {
		story_synced(&s, 2, 4, 9, 66);
		story_versions(&s, 1, 1, v);
		story_answer(&s, 2, MSG_VERSIONS_OK, WIRE_DISK_ERROR);
		ck_assert_int_eq(s.o.phase, OWNER_SYNCING);
		story_synced(&s, 1, 4, 10, 77);
		ck_assert_int_eq(s.o.phase, OWNER_SHORT);
		story_skip(&s);
		story_wait_ms(&s, 900u << i);
		ck_assert_int_eq(s.o.phase, OWNER_SHORT);
		ck_assert_ptr_null(strstr(s.trace, "SYNC>2"));
		story_wait_ms(&s, 200u << i);
		ck_assert_ptr_nonnull(strstr(s.trace, "SYNC>2"));
		story_synced(&s, 2, 4, 9, 66);
		story_synced(&s, 1, 4, 10, 77);
	}
	story_end(&s);
}
END_TEST

/* With enough others it is simply evicted; without a replica to fill there is nothing to do but wait. */
START_TEST(it_is_the_last_resort)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 4; cid++)
		if (cid != 2)
			story_peer_up(&s, cid);
	s.peers[2].down_since_ns = s.now_ns;
	story_grant(&s, 5, "1A 2A 3F 4A", 3, 8);
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 4, 4, 10, 77);
	story_skip(&s);
	story_wait_ms(&s, 1200);
	EXPECT(&s, "EVICT(2) list 3 synced 2");
	ck_assert_int_eq(s.o.phase, OWNER_SYNCING);
	story_end(&s);
}
END_TEST

/* An owner at work whose other replica is lost: a write below a block waits for a grant that never comes, and holds up no copy. */
START_TEST(what_waits_for_a_grant_does_not_keep_a_new_replica_from_being_filled)
{
	struct version v[TEST_UNITS] = {{4, 7}};

	story_level(&s, "1A 2A", 2);
	story_peer_up(&s, 3);
	story_peer_down(&s, 2);
	story_write(&s, 512, 512, 1);
	story_list(&s, "1A 2A 3F", 4);
	story_synced(&s, 3, 0, 0, 0);
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 3, 0, 1);
	story_skip(&s);
	story_answer(&s, 3, MSG_JOIN_OK, WIRE_OK);
	EXPECT(&s, "READ(0+65536)>1");
	/* What comes meanwhile for this unit waits, too; for others it does not. */
	story_write(&s, 8192, 4096, 1);
	EXPECT(&s, "");
	story_write(&s, 65536, 4096, 1);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>3");
	story_read(&s, 1, 7, 0);
	story_answer(&s, 3, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "FILL(0)>3; PROMOTE(3) list 4 synced 2; WRITE(12)>1; WRITE(12)>3");
	story_end(&s);
}
END_TEST

STORY_MAIN("owner, short of replicas",
	   what_is_left_fills_another_and_io_begins_when_the_lost_one_is_evicted,
	   nothing_is_written_read_or_scrubbed_meanwhile,
	   one_that_comes_back_takes_part_from_the_start, a_failed_one_is_asked_again_and_again,
	   without_its_source_it_starts_over, a_promotion_that_is_refused_is_tried_from_the_start,
	   those_that_are_left_are_made_level_first, one_that_can_not_be_made_level_is_done_without,
	   it_is_the_last_resort,
	   what_waits_for_a_grant_does_not_keep_a_new_replica_from_being_filled)
