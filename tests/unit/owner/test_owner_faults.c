/*
 * test_owner_faults.c - the owner core when things go wrong at an awkward moment: nothing waits for ever, nothing is given up too
 * early, and no fault of a replica is one of the owner.
 */
#include "tests/lib/suite.h"
#include "tests/unit/owner/harness.c"

static struct story s;

/* Three replicas have answered SYNC, 2 is behind by unit 3 and about to be rolled. */
static void rolling(const char *list)
{
	struct version behind[TEST_UNITS] = {{0, 0}}, ahead[TEST_UNITS] = {{0, 0}};

	ahead[3] = (struct version){4, 10};
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	story_peer_up(&s, 1);
	story_peer_up(&s, 2);
	story_grant(&s, 5, list, 3, 8);
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 8, 66);
	story_versions(&s, 1, 1, ahead);
	story_versions(&s, 2, 2, behind);
	story_skip(&s);
}

START_TEST(a_replica_that_breaks_between_its_sync_and_the_comparison_is_asked_again)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	story_peer_up(&s, 1);
	story_peer_up(&s, 2);
	story_grant(&s, 5, "1A 2A", 3, 8);
	story_synced(&s, 1, 4, 10, 77);
	story_peer_down(&s, 1);
	story_skip(&s);
	story_synced(&s, 2, 4, 8, 66);
	EXPECT(&s, ""); /* 1 can't be asked for its versions */
	story_peer_up(&s, 1);
	EXPECT(&s, "SYNC>1");
	story_synced(&s, 1, 4, 10, 77);
	EXPECT(&s, "VERSIONS>1; VERSIONS>2");
	story_end(&s);
}
END_TEST

START_TEST(a_unit_that_could_not_be_rolled_never_ends_the_mending)
{
	rolling("1A 2A");
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_read(&s, 1, 3, 0);
	EXPECT(&s, "READ(196608+65536)>1; ROLL(3)>2");
	story_answer(&s, 2, MSG_COPY_OK, WIRE_NO_SPACE);
	EXPECT(&s, ""); /* no MEND_END: its content is not the reference's */
	ck_assert_int_eq(s.o.phase, OWNER_ROLLING);
	ck_assert_int_eq(owner_hold(&s.o, s.now_ns), OWNER_HOLD_TOO_FEW);
	story_end(&s);
}
END_TEST

START_TEST(mending_that_can_not_begin_is_asked_for_once)
{
	rolling("1A 2A");
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_DISK_ERROR);
	EXPECT(&s, "");
	ck_assert_int_eq(owner_hold(&s.o, s.now_ns), OWNER_HOLD_TOO_FEW);
	story_end(&s);
}
END_TEST

START_TEST(a_failed_replica_that_can_not_be_evicted_is_tried_again)
{
	rolling("1A 2A");
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_NO_SPACE);
	story_wait_ms(&s, 900);
	EXPECT(&s, "");
	story_wait_ms(&s, 300);
	EXPECT(&s, "SYNC>1; SYNC>2"); /* from the start */
	story_end(&s);
}
END_TEST

START_TEST(a_full_replica_that_can_not_be_evicted_goes_on_when_it_has_room)
{
	story_level(&s, "1A 2A", 2);
	story_heartbeats(&s);
	story_write(&s, 0, 4096, 1);
	story_wrote(&s, 1, 11, WIRE_OK);
	for (unsigned i = 0; i < 3; i++) {
		story_wrote(&s, 2, 11, WIRE_NO_SPACE);
		story_synced(&s, 2, 4, 10, 77);
	}
	story_wrote(&s, 2, 11, WIRE_NO_SPACE);
	story_skip(&s);
	story_wait_ms(&s, 1200);
	EXPECT(&s, "SYNC>2");
	story_synced(&s, 2, 4, 10, 77);
	EXPECT(&s, "WRITE(11)>2");
	story_wrote(&s, 2, 11, WIRE_OK);
	EXPECT(&s, "done 0 OK");
	story_end(&s);
}
END_TEST

START_TEST(writes_that_are_held_do_not_keep_a_new_replica_from_being_filled)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	/* Two replicas, min_replicas 2; 2 is out of reach, 3 joins, and then a write comes. */
	story_level(&s, "1A 2A", 2);
	story_peer_up(&s, 3);
	story_peer_down(&s, 2);
	story_list(&s, "1A 2A 3F", 4);
	story_synced(&s, 3, 0, 0, 0);
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 3, 0, 1);
	story_write(&s, 0, 4096, 1);
	story_skip(&s);
	story_answer(&s, 3, MSG_JOIN_OK, WIRE_OK);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>3");
	story_wrote(&s, 1, 11, WIRE_OK);
	story_wrote(&s, 3, 11, WIRE_OK);
	/* The copy of its unit waits for the write, which waits for 2, which can't be evicted before 3 is filled. */
	EXPECT(&s, "");
	story_wait_ms(&s, 5000);
	EXPECT(&s, "CREATE>3; SYNC>3"); /* so 3 joins anew, behind that write */
	story_synced(&s, 3, 5, 11, 0);
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 3, 0, 1);
	story_answer(&s, 3, MSG_JOIN_OK, WIRE_OK);
	EXPECT(&s, "VERSIONS>1; INVALIDATE>3; JOIN(5.11)>3; READ(0+65536)>1");
	story_read(&s, 1, 7, 0);
	story_answer(&s, 3, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "FILL(0)>3; PROMOTE(3) list 4 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(a_bad_block_and_a_slow_replica_is_no_error)
{
	story_level(&s, "1A 2A", 2);
	story_heartbeats(&s);
	story_request(&s, OWNER_READ, 0, 4096);
	story_skip(&s);
	story_read(&s, 1, 5, 1);
	EXPECT(&s, "READ(0+4096)>2");
	story_wait_ms(&s, 2500); /* nobody else has it: go on waiting, and don't ask 1 again */
	EXPECT(&s, "");
	story_read(&s, 2, 5, 0);
	ck_assert_int_eq(s.completed[0], WIRE_OK);
	story_end(&s);
}
END_TEST

/* Both hold every acknowledged write, so the one behind may be the reference as well. */
START_TEST(a_reference_that_can_not_be_read_is_not_the_destinations_fault)
{
	struct version behind[TEST_UNITS] = {{0, 0}}, ahead[TEST_UNITS] = {{0, 0}};

	ahead[3] = (struct version){4, 10};
	rolling("1A 2A");
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_read_status(&s, 1, WIRE_DISK_ERROR);
	EXPECT(&s, "READ(196608+65536)>1; SYNC>1; SYNC>2");
	story_synced(&s, 1, 4, 10, 77);
	story_synced_mending(&s, 2, 4, 8, 66);
	story_versions(&s, 1, 1, ahead);
	story_versions(&s, 2, 2, behind);
	EXPECT(&s, "VERSIONS>1; VERSIONS>2; MEND_BEGIN>1; MEND_BEGIN>2");
	story_answer(&s, 1, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_read(&s, 2, 3, 0);
	story_answer(&s, 1, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "READ(196608+65536)>2; MEND_END(4.8)>2; ROLL(3)>1; MEND_END(4.8)>1");
	story_answer(&s, 2, MSG_MEND_END_OK, WIRE_OK);
	story_answer(&s, 1, MSG_MEND_END_OK, WIRE_OK);
	ck_assert_int_eq(s.o.phase, OWNER_IO);
	story_end(&s);
}
END_TEST

START_TEST(a_unit_that_no_reference_can_read_is_rolled_as_known_bad)
{
	struct version behind[TEST_UNITS] = {{0, 0}}, ahead[TEST_UNITS] = {{0, 0}};

	ahead[3] = (struct version){4, 10};
	behind[3] = (struct version){4, 8};
	rolling("1A 2A");
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_read_status(&s, 1, WIRE_DISK_ERROR);
	story_synced(&s, 1, 4, 10, 77);
	story_synced_mending(&s, 2, 4, 8, 66);
	story_versions(&s, 1, 1, ahead);
	story_versions(&s, 2, 2, behind);
	story_answer(&s, 1, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_answer(&s, 2, MSG_MEND_BEGIN_OK, WIRE_OK);
	story_skip(&s);
	story_read(&s, 2, 3, 1 << 5); /* one block of it is bad there */
	EXPECT(&s, "ROLL(3,bad 0020 as 5.10)>1");
	story_end(&s);
}
END_TEST

/* 1 and 2 are ACTIVE, 3 has joined, and its unit 0 is to be read from one of them. */
static void filling(void)
{
	struct version v[TEST_UNITS] = {{4, 7}};

	story_level(&s, "1A 2A", 3);
	story_list(&s, "1A 2A 3F", 4);
	story_synced(&s, 3, 0, 0, 0);
	story_versions(&s, 1, 1, v);
	story_invalidated(&s, 3, 0, 1);
	story_skip(&s);
	story_answer(&s, 3, MSG_JOIN_OK, WIRE_OK);
	EXPECT(&s, "READ(0+65536)>1");
}

START_TEST(a_unit_that_is_unreadable_everywhere_is_filled_as_known_bad)
{
	filling();
	story_read_status(&s, 1, WIRE_DISK_ERROR);
	story_read_status(&s, 2, WIRE_DISK_ERROR);
	story_answer(&s, 3, MSG_COPY_OK, WIRE_OK);
	EXPECT(&s, "READ(0+65536)>2; FILL(0,bad ffff as 4.7)>3; PROMOTE(3) list 4 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(what_one_source_can_not_read_is_filled_from_the_other)
{
	filling();
	story_read(&s, 1, 9, 1 << 2);
	story_read(&s, 2, 9, 1 << 4);
	EXPECT(&s, "READ(0+65536)>2; FILL(0)>3");
	story_end(&s);
}
END_TEST

START_TEST(a_source_that_says_something_else_makes_nothing_known_bad)
{
	filling();
	story_read_status(&s, 1, WIRE_DISK_ERROR);
	story_read_status(&s, 2, WIRE_INVALID_UNIT);
	EXPECT(&s, "READ(0+65536)>2"); /* left out, and tried again later */
	ck_assert_int_eq(s.o.slots[2].state, SLOT_NEW);
	story_end(&s);
}
END_TEST

START_TEST(a_slow_replica_and_a_bad_block_is_no_error)
{
	story_level(&s, "1A 2A", 2);
	story_heartbeats(&s);
	story_request(&s, OWNER_READ, 0, 4096);
	story_wait_ms(&s, 1200); /* 1 takes its time */
	story_skip(&s);
	story_read(&s, 2, 5, 1);
	EXPECT(&s, "READ(0+4096)>1"); /* and is asked again */
	story_read(&s, 1, 5, 0);
	ck_assert_int_eq(s.completed[0], WIRE_OK);
	story_end(&s);
}
END_TEST

START_TEST(a_replica_that_never_answers_sync_does_not_hold_reads)
{
	story_io(&s);
	story_peer_down(&s, 3);
	story_peer_up(&s, 3);
	story_request(&s, OWNER_READ, 0, 4096);
	story_skip(&s);
	story_wait_ms(&s, 3300); /* its heartbeats are answered */
	EXPECT(&s, "EVICT(3) list 3 synced 2");
	story_end(&s);
}
END_TEST

/* The list of a chunk that was never used has changed since: CREATE goes out when SYNC says that it is not there. */
START_TEST(a_create_that_is_lost_with_its_connection_is_sent_again)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	story_peer_up(&s, 1);
	story_peer_up(&s, 2);
	story_grant(&s, 5, "1A 2A", 2, 0);
	story_synced(&s, 2, 5, 0, 0);
	story_skip(&s);
	story_answer(&s, 1, MSG_SYNC_OK, WIRE_NOT_FOUND);
	EXPECT(&s, "CREATE>1; SYNC>1");
	story_peer_down(&s, 1);
	story_peer_up(&s, 1);
	EXPECT(&s, "SYNC>1");
	story_answer(&s, 1, MSG_SYNC_OK, WIRE_NOT_FOUND);
	EXPECT(&s, "CREATE>1; SYNC>1");
	story_answer(&s, 1, MSG_SYNC_OK, WIRE_NOT_FOUND); /* it had no room */
	EXPECT(&s, "");
	story_wait_ms(&s, 1100);
	EXPECT(&s, "SYNC>1");
	story_answer(&s, 1, MSG_SYNC_OK, WIRE_NOT_FOUND);
	EXPECT(&s, "CREATE>1; SYNC>1");
	story_end(&s);
}
END_TEST

START_TEST(one_more_than_wanted_is_evicted_when_all_others_are_there)
{
	story_io(&s);
	story_peer_down(&s, 2);
	story_skip(&s);
	story_list(&s, "1A 2A 3L", 4);
	story_wait_ms(&s, 900);
	EXPECT(&s, "");
	story_list(&s, "1A 2A 3A", 5); /* wanted after all */
	story_peer_up(&s, 2);
	story_synced(&s, 2, 5, 10, 77);
	story_skip(&s);
	story_wait_ms(&s, 200);
	EXPECT(&s, "");
	ck_assert(owner_repaired(&s.o));
	story_list(&s, "1A 2A 3L 4F", 6); /* it goes when 4 is ACTIVE */
	story_wait_ms(&s, 200);
	EXPECT(&s, "");
	story_list(&s, "1A 2A 3L", 7);
	ck_assert(!owner_repaired(&s.o));
	EXPECT(&s, "EVICT(3) list 7 synced 2");
	story_changed(&s, WIRE_OK, "1A 2A", 8);
	ck_assert(owner_repaired(&s.o));
	story_list(&s, "1A 2L", 9); /* min_replicas would not be left */
	story_wait_ms(&s, 200);
	EXPECT(&s, "");
	story_end(&s);
}
END_TEST

START_TEST(a_promise_is_believed_for_as_long_as_promises_are)
{
	struct msg m = {.type = MSG_SYNC_OK, .status = WIRE_WAIT};

	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A 3A", 4, 0);
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 10, 77);
	m.id = s.last_id[3][MSG_SYNC];
	m.u.sync_ok.epoch = 5;
	m.u.sync_ok.wait_ms = UINT32_MAX;
	story_skip(&s);
	message(&s, 3, &m);
	story_wait_ms(&s, 8500);
	EXPECT(&s, "EVICT(3) list 4 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(an_old_taken_list_does_not_end_a_new_lease)
{
	struct owner_event taken = {.kind = OWNER_EVENT_TAKEN, .cid = 1};

	story_begin(&s);
	story_peer_up(&s, 1);
	story_peer_up(&s, 2);
	story_grant(&s, 5, "1A 2A", 3, 0);
	story_skip(&s);
	event(&s, taken); /* said before the replica saw our SYNC: of an earlier lease */
	EXPECT(&s, "");
	story_synced(&s, 1, 4, 10, 77);
	event(&s, taken);
	EXPECT(&s, "LOST");
	story_end(&s);
}
END_TEST

START_TEST(a_list_of_a_later_epoch_ends_the_lease_at_once)
{
	struct msg_chunk later;

	story_io(&s);
	story_write(&s, 0, 4096, 1);
	later = chunk_of(&s, "1A 2A 3A", 4);
	later.epoch = 4; /* late, of a lease before ours */
	story_skip(&s);
	event(&s, (struct owner_event){.kind = OWNER_EVENT_LIST, .chunk = &later});
	EXPECT(&s, "");
	later.epoch = 6;
	event(&s, (struct owner_event){.kind = OWNER_EVENT_LIST, .chunk = &later});
	/* whoever has it now need not wait for our promises */
	EXPECT(&s, "RELEASE>1; RELEASE>2; RELEASE>3; done 0 FENCED; LOST");
	story_end(&s);
}
END_TEST

STORY_MAIN("owner, faults",
	   a_replica_that_breaks_between_its_sync_and_the_comparison_is_asked_again,
	   a_unit_that_could_not_be_rolled_never_ends_the_mending,
	   mending_that_can_not_begin_is_asked_for_once,
	   a_failed_replica_that_can_not_be_evicted_is_tried_again,
	   a_full_replica_that_can_not_be_evicted_goes_on_when_it_has_room,
	   writes_that_are_held_do_not_keep_a_new_replica_from_being_filled,
	   a_bad_block_and_a_slow_replica_is_no_error, a_slow_replica_and_a_bad_block_is_no_error,
	   a_reference_that_can_not_be_read_is_not_the_destinations_fault,
	   a_unit_that_no_reference_can_read_is_rolled_as_known_bad,
	   a_unit_that_is_unreadable_everywhere_is_filled_as_known_bad,
	   what_one_source_can_not_read_is_filled_from_the_other,
	   a_source_that_says_something_else_makes_nothing_known_bad,
	   a_replica_that_never_answers_sync_does_not_hold_reads,
	   a_create_that_is_lost_with_its_connection_is_sent_again,
	   one_more_than_wanted_is_evicted_when_all_others_are_there,
	   a_promise_is_believed_for_as_long_as_promises_are,
	   an_old_taken_list_does_not_end_a_new_lease,
	   a_list_of_a_later_epoch_ends_the_lease_at_once)
