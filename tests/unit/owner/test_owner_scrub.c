/*
 * test_owner_scrub.c - the owner core reads every copy and compares: what it asks for, what it repairs, what it says.
 */
#include "tests/unit/owner/harness.c"
#include "tests/lib/suite.h"

static struct story s;

static void scrub(void)
{
	event(&s, (struct owner_event){.kind = OWNER_EVENT_SCRUB});
}

/* Time for so many units. */
static void pace(unsigned units)
{
	s.o.scrub_budget_bytes = (uint64_t)units * UNIT_BYTES;
	event(&s, (struct owner_event){.kind = OWNER_EVENT_TICK});
}

/* In IO with three replicas whose units 3 and 7 were written; the first is being read. */
static void scrubbing(void)
{
	struct version v[TEST_UNITS] = {{0, 0}};

	v[3] = v[7] = (struct version){5, 10};
	story_io(&s);
	scrub();
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_versions(&s, cid, cid, v);
	EXPECT(&s, "VERSIONS>1; VERSIONS>2; VERSIONS>3");
	pace(1);
	EXPECT(&s, "READ(196608+65536)>1; READ(196608+65536)>2; READ(196608+65536)>3");
}

static void read_all(uint32_t bad1, uint32_t bad2, uint32_t bad3)
{
	story_read(&s, 1, 8, bad1);
	story_read(&s, 2, 8, bad2);
	story_read(&s, 3, 8, bad3);
}

START_TEST(every_unit_that_was_written_is_read_at_all_replicas)
{
	scrubbing();
	scrub(); /* asked again: the same one */
	read_all(0, 0, 0);
	EXPECT(&s, "");
	pace(1);
	EXPECT(&s, "READ(458752+65536)>1; READ(458752+65536)>2; READ(458752+65536)>3");
	read_all(0, 0, 0);
	pace(1);
	EXPECT(&s, "SCRUBBED 2/2 1:32-0-0 2:32-0-0 3:32-0-0");
	ck_assert(!owner_scrubs(&s.o));
	pace(1);
	EXPECT(&s, "");
	story_end(&s);
}
END_TEST

START_TEST(bad_copies_are_repaired_from_good_ones_also_crosswise)
{
	scrubbing();
	read_all(1 << 2, 1 << 4, 0);
	EXPECT(&s, "REPAIR(3,0004)>1; REPAIR(3,0010)>2");
	story_answer(&s, 1, MSG_REPAIR_OK, WIRE_OK);
	story_answer(&s, 2, MSG_REPAIR_OK, WIRE_DISK_ERROR);
	pace(1);
	story_skip(&s);
	read_all(0, 0, 0);
	pace(1);
	EXPECT(&s, "SCRUBBED 2/2 1:32-1-1 2:32-1-0 3:32-0-0");
	story_end(&s);
}
END_TEST

START_TEST(what_is_bad_everywhere_is_named)
{
	scrubbing();
	read_all(1 << 15, 1 << 15, 1 << 15);
	pace(1);
	story_skip(&s);
	read_all(0, 0, 0);
	pace(1);
	EXPECT(&s, "SCRUBBED 2/2 1:32-1-0 2:32-1-0 3:32-1-0 unrepairable 1 @63");
	story_end(&s);
}
END_TEST

START_TEST(a_disk_error_is_a_bad_copy_of_the_whole_unit)
{
	scrubbing();
	story_read_status(&s, 1, WIRE_DISK_ERROR);
	story_read(&s, 2, 8, 0);
	story_read(&s, 3, 8, 0);
	EXPECT(&s, "REPAIR(3,ffff)>1");
	story_end(&s);
}
END_TEST

START_TEST(good_copies_that_differ_are_decided_by_the_majority_or_named)
{
	scrubbing();
	story_read(&s, 1, 8, 0);
	story_read(&s, 2, 9, 0);
	story_read(&s, 3, 8, 0);
	EXPECT(&s, "REPAIR(3,ffff)>2");
	story_answer(&s, 2, MSG_REPAIR_OK, WIRE_OK);
	pace(1);
	story_skip(&s);
	story_read(&s, 1, 8, 0xfffe);
	story_read(&s, 2, 7, 0xfffe);
	story_read(&s, 3, 8, 0xffff);
	pace(1);
	EXPECT(&s, "SCRUBBED 2/2 1:32-15-0 2:32-31-16 3:32-16-0 unrepairable 15 differing 1 @112 "
		   "@113 @114 "
		   "@115 @116 @117 @118 @119 @120 @121 @122 @123 @124 @125 @126 @127");
	story_end(&s);
}
END_TEST

START_TEST(a_replica_that_has_lost_a_write_is_evicted)
{
	scrubbing();
	story_read(&s, 1, 8, 0);
	story_read_version(&s, 2, 7, 0, (struct version){5, 9});
	story_read(&s, 3, 8, 0);
	EXPECT(&s, "");
	event(&s, (struct owner_event){.kind = OWNER_EVENT_TICK});
	EXPECT(&s, "EVICT(2) list 3 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(where_too_few_are_left_a_lost_write_is_named_and_holds_nothing)
{
	scrubbing();
	story_read(&s, 1, 8, 0);
	story_peer_down(&s, 3);
	story_read_version(&s, 2, 7, 0, (struct version){5, 9});
	ck_assert_int_eq(s.o.slots[1].state, SLOT_SYNCED);
	story_end(&s);
}
END_TEST

/* Writes of the unit wait for its copies to be compared and repaired; others do not. */
START_TEST(a_write_waits_for_the_comparison_of_its_unit)
{
	scrubbing();
	story_write(&s, 196608, 4096, 1);
	story_write(&s, 0, 4096, 1);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>2; WRITE(11)>3");
	read_all(1, 0, 0);
	EXPECT(&s, "REPAIR(3,0001)>1");
	story_answer(&s, 1, MSG_REPAIR_OK, WIRE_OK);
	EXPECT(&s, "WRITE(12)>1; WRITE(12)>2; WRITE(12)>3");
	story_end(&s);
}
END_TEST

START_TEST(a_silent_replica_holds_up_writes_for_a_moment_and_is_read_again)
{
	scrubbing();
	story_write(&s, 196608, 4096, 1);
	story_read(&s, 1, 8, 0);
	story_read(&s, 2, 8, 0);
	EXPECT(&s, "");
	s.o.scrub_budget_bytes = 0;
	story_wait_ms(&s, 2200);
	EXPECT(&s, "SCRUBBED 0/2...; WRITE(11)>1; WRITE(11)>2; WRITE(11)>3");
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	story_skip(&s);
	pace(8);
	EXPECT(&s, "READ(458752+65536)>1; READ(458752+65536)>2; READ(458752+65536)>3");
	read_all(0, 0, 0);
	EXPECT(&s, "READ(196608+65536)>1; READ(196608+65536)>2; READ(196608+65536)>3");
	read_all(0, 0, 0);
	EXPECT(&s, "SCRUBBED 2/2 1:32-0-0 2:32-0-0 3:32-0-0");
	story_end(&s);
}
END_TEST

START_TEST(a_replica_that_goes_away_meanwhile_is_waited_for_and_then_left_out)
{
	scrubbing();
	story_read(&s, 1, 8, 0);
	story_read(&s, 2, 8, 0);
	story_peer_down(&s, 3);
	pace(8);
	EXPECT(&s, "");
	story_wait_ms(&s, 10200);
	pace(1);
	ck_assert_ptr_nonnull(strstr(s.trace, "READ(458752+65536)>1; READ(458752+65536)>2"));
	ck_assert_ptr_null(strstr(s.trace, "65536)>3"));
	story_end(&s);
}
END_TEST

START_TEST(giving_the_lease_back_or_losing_it_ends_the_scrub)
{
	scrubbing();
	event(&s, (struct owner_event){.kind = OWNER_EVENT_RETURN});
	EXPECT(&s, "RELEASE>1; RELEASE>2; RELEASE>3; RETURN floor 10");
	ck_assert(!owner_scrubs(&s.o));
	story_end(&s);
	scrubbing();
	story_read(&s, 1, 8, 0);
	story_answer(&s, 2, MSG_READ_OK, WIRE_FENCED);
	EXPECT(&s, "LOST");
	story_end(&s);
}
END_TEST

STORY_MAIN("owner, scrub", every_unit_that_was_written_is_read_at_all_replicas,
	   bad_copies_are_repaired_from_good_ones_also_crosswise, what_is_bad_everywhere_is_named,
	   a_disk_error_is_a_bad_copy_of_the_whole_unit,
	   good_copies_that_differ_are_decided_by_the_majority_or_named,
	   a_replica_that_has_lost_a_write_is_evicted,
	   where_too_few_are_left_a_lost_write_is_named_and_holds_nothing,
	   a_write_waits_for_the_comparison_of_its_unit,
	   a_silent_replica_holds_up_writes_for_a_moment_and_is_read_again,
	   a_replica_that_goes_away_meanwhile_is_waited_for_and_then_left_out,
	   giving_the_lease_back_or_losing_it_ends_the_scrub)
