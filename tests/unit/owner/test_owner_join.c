/* test_owner_join.c - the owner core makes replicas level: rolling forward before IO, joining and filling during it. */
#include "tests/lib/suite.h"
#include "tests/unit/owner/harness.c"

static struct story s;

/* ---- rolling forward ---- */

/* Three replicas answer SYNC; 1 is ahead of the others by unit 3. */
static void differing(void)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A 3A", 3, 8);
	story_skip(&s);
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 8, 66);
	story_synced(&s, 3, 4, 10, 77);
}

START_TEST(those_behind_are_rolled_forward)
{
	struct version behind[TEST_UNITS] = {{0, 0}}, ahead[TEST_UNITS] = {{0, 0}};

	ahead[3] = (struct version){4, 10};
	differing();
	EXPECT(&s, "VERSIONS>1; VERSIONS>2; VERSIONS>3");
	story_versions(&s, 1, 1, ahead);
	story_versions(&s, 2, 2, behind);
	story_versions(&s, 3, 3, ahead);
	EXPECT(&s, "MEND_BEGIN>2");
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_OK);
	EXPECT(&s, "READ(196608+65536)>1");
	story_read(&s, 1, 3, 0);
	EXPECT(&s, "ROLL(3)>2");
	story_answer(&s, 2, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "MEND_END(4.10)>2");
	story_answer(&s, 2, MSG_MEND_END_OK, WIRE_OK);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>2; WRITE(11)>3");
	story_end(&s);
}
END_TEST

START_TEST(a_mending_replica_is_not_the_reference)
{
	story_begin(&s);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A 3A", 3, 8);
	story_synced_mending(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 8, 66);
	story_synced(&s, 3, 4, 8, 66);
	ck_assert_int_eq(s.o.phase, OWNER_ROLLING);
	ck_assert_uint_eq(s.o.slots[s.o.reference].cid, 2);
	story_end(&s);
}
END_TEST

START_TEST(equal_and_mending_is_not_level)
{
	story_begin(&s);
	for (uint32_t cid = 1; cid <= 2; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A", 3, 8);
	story_synced(&s, 1, 4, 8, 66);
	story_synced_mending(&s, 2, 4, 8, 66);
	ck_assert_int_eq(s.o.phase, OWNER_ROLLING);
	story_end(&s);
}
END_TEST

START_TEST(a_reference_that_dies_starts_it_over)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	differing();
	story_skip(&s);
	story_versions(&s, 1, 1, v);
	story_peer_down(&s, 1);
	EXPECT(&s, "SYNC>2; SYNC>3");
	ck_assert_int_eq(s.o.phase, OWNER_SYNCING);
	story_end(&s);
}
END_TEST

START_TEST(nobody_at_the_floor_is_said_not_guessed)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 2; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A", 3, 11);
	story_skip(&s);
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 10, 77);
	EXPECT(&s, "");
	ck_assert_int_eq(owner_hold(&s.o, s.now_ns), OWNER_HOLD_LOST);
	story_end(&s);
}
END_TEST

/* ---- joining ---- */

START_TEST(a_filling_replica_joins_is_filled_and_promoted)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_peer_up(&s, 4);
	story_list(&s, "1A 2A 3A 4F", 4);
	story_skip(&s);
	story_synced(&s, 4, 0, 0, 0);
	EXPECT(&s, ""); /* write 11 is in flight: it drains first */
	story_write(&s, 4096, 4096, 2);
	EXPECT(&s, ""); /* and new ones are held */
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	EXPECT(&s, "done 0 OK; VERSIONS>1");
	story_versions(&s, 1, 1, v);
	EXPECT(&s, "INVALIDATE>4");
	story_invalidated(&s, 4, 0, 1);
	EXPECT(&s, "JOIN(5.11)>4");
	story_answer(&s, 4, MSG_JOIN_OK, WIRE_OK);
	/* the write that was held goes to all four; the copy of its unit waits for it */
	EXPECT(&s, "WRITE(12)>1; WRITE(12)>2; WRITE(12)>3; WRITE(12)>4");
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 12, WIRE_OK);
	EXPECT(&s, "");
	story_wrote(&s, 4, 12, WIRE_OK);
	EXPECT(&s, "done 1 OK; READ(0+65536)>1");
	story_write(&s, 8192, 4096, 3); /* waits for the copy */
	EXPECT(&s, "");
	story_read(&s, 1, 7, 0);
	EXPECT(&s, "FILL(0)>4");
	story_answer(&s, 4, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s,
	       "PROMOTE(4) list 4 synced 3; WRITE(13)>1; WRITE(13)>2; WRITE(13)>3; WRITE(13)>4");
	ck_assert(s.o.slots[3].counts); /* from the asking on */
	story_changed(&s, WIRE_OK, "1A 2A 3A 4A", 5);
	EXPECT(&s, "");
	for (uint32_t cid = 1; cid <= 4; cid++)
		story_wrote(&s, cid, 13, WIRE_OK);
	EXPECT(&s, "done 2 OK");
	story_heartbeats(&s);
	ck_assert(owner_repaired(&s.o));
	story_end(&s);
}
END_TEST

/* To the state JOINED with `units` units still to be copied to replica 4. */
static void joined_with(unsigned units)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	story_io(&s);
	story_peer_up(&s, 4);
	story_list(&s, "1A 2A 3A 4F", 4);
	story_synced(&s, 4, 0, 0, 0);
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 4, 0, units);
	story_skip(&s);
	story_answer(&s, 4, MSG_JOIN_OK, WIRE_OK);
}

START_TEST(copies_are_bounded)
{
	joined_with(10);
	EXPECT(&s, "READ(0+65536)>1; READ(65536+65536)>1");
	story_end(&s);
}
END_TEST

START_TEST(a_joined_replica_that_breaks_is_left_out_at_once)
{
	joined_with(3);
	story_write(&s, 1048576, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	story_skip(&s);
	story_peer_down(&s, 4);
	EXPECT(&s, "done 0 OK");
	story_peer_up(&s, 4);
	story_wait_ms(&s, 1100);
	EXPECT(&s, "CREATE>4; SYNC>4"); /* from the start */
	story_end(&s);
}
END_TEST

START_TEST(a_joined_replica_that_refuses_a_write_joins_again)
{
	static const enum wire_status refusals[] = {WIRE_NO_SPACE, WIRE_GAP, WIRE_BAD_BLOCK};

	joined_with(2);
	story_write(&s, 1048576, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	story_skip(&s);
	story_wrote(&s, 4, 11, refusals[_i]);
	EXPECT(&s, "done 0 OK");
	/* Its copies are over: nothing that they answered fills a replica that lacks the write. */
	story_read(&s, 1, 1, 0);
	EXPECT(&s, "");
	story_wait_ms(&s, 1100);
	EXPECT(&s, "CREATE>4; SYNC>4");
	story_synced(&s, 4, 5, 10, 0);
	EXPECT(&s, "VERSIONS>1");
	story_end(&s);
}
END_TEST

/* From SYNC to a COPY of unit 0 that is answered with this. */
static void filled_in_vain(enum wire_status status)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	story_wait_ms(&s, 1100);
	story_synced(&s, 4, 5, 10, 0);
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 4, 0, 1);
	story_answer(&s, 4, MSG_JOIN_OK, WIRE_OK);
	EXPECT(&s, "CREATE>4; SYNC>4; VERSIONS>1; INVALIDATE>4; JOIN(4.10)>4; READ(0+65536)>1");
	story_read(&s, 1, 7, 0);
	EXPECT(&s, "FILL(0)>4");
	story_answer(&s, 4, MSG_COPY_OK, status);
}

START_TEST(one_that_can_not_be_filled_is_given_up)
{
	static const enum wire_status refusals[] = {WIRE_NO_SPACE, WIRE_DISK_ERROR};

	joined_with(2);
	story_read(&s, 1, 7, 0);
	story_answer(&s, 4, MSG_COPY_OK, refusals[_i]);
	story_skip(&s);
	filled_in_vain(refusals[_i]);
	EXPECT(&s, "");
	filled_in_vain(refusals[_i]);
	EXPECT(&s, "DROP(4) list 4 synced 3");
	story_changed(&s, WIRE_OK, "1A 2A 3A 5F", 5);
	story_peer_up(&s, 5);
	story_wait_ms(&s, 100);
	EXPECT(&s, "CREATE>5; SYNC>5");
	story_end(&s);
}
END_TEST

START_TEST(one_that_is_filled_slowly_is_not_given_up)
{
	joined_with(2);
	story_read(&s, 1, 7, 0);
	story_answer(&s, 4, MSG_COPY_OK, WIRE_NO_SPACE);
	story_skip(&s);
	filled_in_vain(WIRE_NO_SPACE);
	filled_in_vain(WIRE_OK); /* there was room: it gets on */
	EXPECT(&s, "PROMOTE(4) list 4 synced 3");
	story_changed(&s, WIRE_TOO_FEW, "1A 2A 3A 4F", 4);
	filled_in_vain(WIRE_NO_SPACE);
	EXPECT(&s, "");
	story_end(&s);
}
END_TEST

START_TEST(a_promotion_refused_does_not_count)
{
	joined_with(0);
	EXPECT(&s, "PROMOTE(4) list 4 synced 3");
	story_changed(&s, WIRE_REFUSED, "1A 2A 3A 4F", 4);
	ck_assert(!s.o.slots[3].counts);
	story_end(&s);
}
END_TEST

START_TEST(a_promotion_that_was_not_judged_counts_and_is_asked_again)
{
	joined_with(0);
	EXPECT(&s, "PROMOTE(4) list 4 synced 3");
	story_changed(&s, WIRE_NOT_LEADER, "", 0);
	ck_assert(s.o.slots[3].counts);
	story_wait_ms(&s, 600);
	EXPECT(&s, "PROMOTE(4) list 4 synced 3");
	story_end(&s);
}
END_TEST

START_TEST(a_promotion_without_an_answer_counts)
{
	joined_with(0);
	story_peer_down(&s, 4);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	ck_assert_int_eq(s.completed[0], WIRE_STATUS_COUNT); /* metad may have made 4 ACTIVE */
	story_skip(&s);
	event(&s, (struct owner_event){.kind = OWNER_EVENT_META_UP});
	EXPECT(&s, "PROMOTE(4) list 4 synced 3");
	story_end(&s);
}
END_TEST

START_TEST(held_io_goes_on_through_a_join)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	/* Two replicas, min_replicas 2; 2 dies with a write in flight: held. A new one makes the eviction possible. */
	story_level(&s, "1A 2A", 2);
	story_peer_up(&s, 3);
	story_write(&s, 0, 4096, 1);
	story_wrote(&s, 1, 11, WIRE_OK);
	story_peer_down(&s, 2);
	story_wait_ms(&s, 2000);
	ck_assert_int_eq(owner_hold(&s.o, s.now_ns), OWNER_HOLD_TOO_FEW);
	story_skip(&s);
	story_list(&s, "1A 2A 3F", 4);
	EXPECT(&s, "CREATE>3; SYNC>3");
	story_synced(&s, 3, 0, 0, 0);
	EXPECT(&s, "VERSIONS>1"); /* 1 has all that was sent; 2 is not waited for */
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 3, 0, 1);
	EXPECT(&s, "INVALIDATE>3; JOIN(5.11)>3");
	story_answer(&s, 3, MSG_JOIN_OK, WIRE_OK);
	EXPECT(&s, "READ(0+65536)>1"); /* passes the write that is not settled: 1 has it */
	story_read(&s, 1, 7, 0);
	EXPECT(&s, "FILL(0)>3");
	story_answer(&s, 3, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "PROMOTE(3) list 4 synced 2");
	story_changed(&s, WIRE_OK, "1A 2A 3A", 5);
	story_wait_ms(&s, 700);
	EXPECT(&s, "EVICT(2) list 5 synced 2");
	story_changed(&s, WIRE_OK, "1A 3A", 6);
	EXPECT(&s, "done 0 OK");
	story_end(&s);
}
END_TEST

START_TEST(one_taken_out_and_added_again_starts_from_sync)
{
	joined_with(3);
	story_skip(&s);
	story_list(&s, "1A 2A 3A 4F'", 6);
	EXPECT(&s, "CREATE>4; SYNC>4");
	story_end(&s);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		those_behind_are_rolled_forward,
		a_mending_replica_is_not_the_reference,
		equal_and_mending_is_not_level,
		a_reference_that_dies_starts_it_over,
		nobody_at_the_floor_is_said_not_guessed,
		a_filling_replica_joins_is_filled_and_promoted,
		copies_are_bounded,
		a_joined_replica_that_breaks_is_left_out_at_once,
		one_that_is_filled_slowly_is_not_given_up,
		a_promotion_refused_does_not_count,
		a_promotion_that_was_not_judged_counts_and_is_asked_again,
		a_promotion_without_an_answer_counts,
		held_io_goes_on_through_a_join,
		one_taken_out_and_added_again_starts_from_sync,
	};
	Suite *suite = suite_create("owner, join");
	TCase *tc = tcase_create("stories");

	tcase_add_tests(tc, tests, ARRAY_SIZE(tests));
	tcase_add_loop_test(tc, a_joined_replica_that_refuses_a_write_joins_again, 0, 3);
	tcase_add_loop_test(tc, one_that_can_not_be_filled_is_given_up, 0, 2);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
