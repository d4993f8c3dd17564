/* test_owner.c - the owner core, story by story: leases, reads, writes, evictions. */
#include "tests/lib/suite.h"
#include "tests/unit/owner/harness.c"

static struct story s;

START_TEST(a_request_asks_for_a_lease_once)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	EXPECT(&s, "LEASE?");
	story_write(&s, 8192, 4096, 2);
	EXPECT(&s, "");
	story_end(&s);
}
END_TEST

START_TEST(io_starts_when_all_have_answered_sync)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	story_peer_up(&s, 1);
	story_peer_up(&s, 2);
	story_skip(&s);
	story_grant(&s, 5, "1A 2A 3A", 3, 0);
	EXPECT(&s, "SYNC>1; SYNC>2");
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 10, 77);
	EXPECT(&s, "");
	story_peer_up(&s, 3);
	EXPECT(&s, "SYNC>3");
	story_synced(&s, 3, 4, 10, 77);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>2; WRITE(11)>3");
	story_wrote(&s, 1, 11, WIRE_OK);
	story_wrote(&s, 2, 11, WIRE_OK);
	EXPECT(&s, "");
	story_wrote(&s, 3, 11, WIRE_OK);
	EXPECT(&s, "done 0 OK");
	story_end(&s);
}
END_TEST

START_TEST(a_new_chunk_is_created_on_the_way)
{
	story_begin(&s);
	story_peer_up(&s, 1);
	story_peer_up(&s, 2);
	story_grant(&s, 5, "1A 2A", 1, 0);
	EXPECT(&s, "CREATE>1; SYNC>1; CREATE>2; SYNC>2");
	story_end(&s);
}
END_TEST

START_TEST(an_unknown_replica_is_created_once_then_failed)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A 3A", 4, 0);
	story_skip(&s);
	story_answer(&s, 1, MSG_SYNC_OK, WIRE_NOT_FOUND);
	EXPECT(&s, "CREATE>1; SYNC>1");
	story_synced(&s, 2, 4, 10, 77);
	story_synced(&s, 3, 4, 10, 77);
	story_answer(&s, 1, MSG_SYNC_OK, WIRE_NOT_FOUND);
	EXPECT(&s, "EVICT(1) list 4 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(a_promise_is_not_silence)
{
	story_begin(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_peer_up(&s, cid);
	story_grant(&s, 5, "1A 2A 3A", 4, 0);
	story_synced(&s, 1, 4, 10, 77);
	story_synced(&s, 2, 4, 10, 77);
	story_skip(&s);
	story_answer(&s, 3, MSG_SYNC_OK, WIRE_WAIT);
	ck_assert_int_eq(owner_hold(&s.o, s.now_ns), OWNER_HOLD_PROMISE);
	story_wait_ms(&s, 5000);
	EXPECT(&s, "");
	story_wait_ms(&s,
		      1000); /* the promise ended 2.5 s after it was told, then 3 s of silence */
	EXPECT(&s, "EVICT(3) list 4 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(fenced_ends_everything)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_write(&s, 0, 4096, 2);
	story_skip(&s);
	story_wrote(&s, 2, 11, WIRE_FENCED);
	EXPECT(&s, "done 0 FENCED; done 1 FENCED; LOST");
	story_request(&s, OWNER_READ, 0, 4096);
	EXPECT(&s, "done 2 FENCED");
	story_end(&s);
}
END_TEST

START_TEST(a_chunk_taken_out_fences)
{
	struct owner_event taken = {.kind = OWNER_EVENT_TAKEN, .cid = 1};

	story_io(&s);
	event(&s, taken);
	EXPECT(&s, "LOST");
	story_end(&s);
}
END_TEST

START_TEST(writes_are_pipelined_and_settle_in_order)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_write(&s, 4096, 8192, 2);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>2; WRITE(11)>3; WRITE(12)>1; WRITE(12)>2; WRITE(12)>3");
	story_wrote(&s, 1, 12, WIRE_OK); /* covers 11 */
	story_wrote(&s, 2, 12, WIRE_OK);
	story_wrote(&s, 3, 11, WIRE_OK);
	EXPECT(&s, "done 0 OK");
	story_wrote(&s, 3, 12, WIRE_OK);
	EXPECT(&s, "done 1 OK");
	story_end(&s);
}
END_TEST

START_TEST(overlapping_requests_go_in_order)
{
	story_io(&s);
	story_write(&s, 0, 8192, 1);
	story_request(&s, OWNER_READ, 4096, 4096); /* behind the write */
	story_write(&s, 4096, 4096, 2);            /* behind both */
	story_request(&s, OWNER_READ, 16384, 512); /* free */
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>2; WRITE(11)>3; READ(16384+4096)>1");
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	EXPECT(&s, "done 0 OK; READ(4096+4096)>1");
	story_read(&s, 1, 9, 0);
	EXPECT(&s, "done 1 OK; WRITE(12)>1; WRITE(12)>2; WRITE(12)>3");
	ck_assert_uint_eq(slice_data(s.requests[1].data)[7], 9);
	story_end(&s);
}
END_TEST

START_TEST(reads_pass_each_other)
{
	story_io(&s);
	story_request(&s, OWNER_READ, 0, 4096);
	story_request(&s, OWNER_READ, 0, 4096);
	EXPECT(&s, "READ(0+4096)>1; READ(0+4096)>1");
	story_end(&s);
}
END_TEST

START_TEST(a_write_below_a_block_is_merged_here)
{
	uint8_t *block;

	story_io(&s);
	story_write(&s, 512, 100, 0xaa);
	EXPECT(&s, "READ(0+4096)>1");
	story_read(&s, 1, 0x11, 0);
	EXPECT(&s, "WRITE(11)>1; WRITE(11)>2; WRITE(11)>3");
	block = slice_data(s.requests[0].data);
	ck_assert_uint_eq(block[511], 0x11);
	ck_assert_uint_eq(block[512], 0xaa);
	ck_assert_uint_eq(block[611], 0xaa);
	ck_assert_uint_eq(block[612], 0x11);
	story_end(&s);
}
END_TEST

START_TEST(a_read_needs_a_grant_of_every_active_replica)
{
	story_io(&s);
	s.now_ns += GRANT_NS + 1;
	ck_assert(!owner_may_read(&s.o, s.now_ns));
	story_request(&s, OWNER_READ, 0, 4096);
	EXPECT(&s, "");
	s.peers[1].asked_ns = s.peers[2].asked_ns = s.now_ns;
	event(&s, (struct owner_event){.kind = OWNER_EVENT_GRANTED, .cid = 1});
	EXPECT(&s, "");
	s.peers[3].asked_ns = s.now_ns;
	event(&s, (struct owner_event){.kind = OWNER_EVENT_GRANTED, .cid = 3});
	EXPECT(&s, "READ(0+4096)>1");
	story_end(&s);
}
END_TEST

START_TEST(a_closed_connection_ends_its_grants_at_once)
{
	story_io(&s);
	story_peer_down(&s, 2);
	ck_assert(!owner_may_read(&s.o, s.now_ns));
	story_peer_up(&s, 2);
	EXPECT(&s, "SYNC>2");
	s.peers[2].asked_ns = s.now_ns; /* a heartbeat on the new connection alone covers nothing */
	ck_assert(!owner_may_read(&s.o, s.now_ns));
	story_synced(&s, 2, 4, 10, 77);
	ck_assert(owner_may_read(&s.o, s.now_ns));
	story_end(&s);
}
END_TEST

START_TEST(a_broken_connection_repeats_what_was_not_answered)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_write(&s, 4096, 4096, 2);
	story_write(&s, 8192, 4096, 3);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	story_skip(&s);
	story_peer_down(&s, 3);
	story_write(&s, 12288, 4096, 4);
	EXPECT(&s, "WRITE(14)>1; WRITE(14)>2");
	story_peer_up(&s, 3);
	EXPECT(&s, "SYNC>3");
	story_synced(&s, 3, 5, 12, 99); /* it had 12, and the answer was lost */
	EXPECT(&s, "WRITE(12)>3; WRITE(13)>3; WRITE(14)>3");
	story_end(&s);
}
END_TEST

START_TEST(a_replica_that_lost_what_it_answered_is_evicted)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	story_peer_down(&s, 3);
	story_peer_up(&s, 3);
	story_skip(&s);
	story_synced(&s, 3, 4, 10, 77);
	EXPECT(&s, "EVICT(3) list 3 synced 2");
	ck_assert_uint_eq(s.last_floor, 11);
	story_end(&s);
}
END_TEST

START_TEST(refused_for_a_second_is_evicted_before_the_acknowledgement)
{
	story_io(&s);
	story_peer_down(&s, 3);
	story_write(&s, 0, 4096, 1);
	story_wrote(&s, 1, 11, WIRE_OK);
	story_wrote(&s, 2, 11, WIRE_OK);
	story_skip(&s);
	story_wait_ms(&s, 1000);
	EXPECT(&s, "");
	story_wait_ms(&s, 200);
	EXPECT(&s, "EVICT(3) list 3 synced 2");
	story_changed(&s, WIRE_OK, "1A 2A", 4);
	EXPECT(&s, "done 0 OK");
	story_end(&s);
}
END_TEST

START_TEST(nobody_idle_is_evicted)
{
	story_io(&s);
	story_peer_down(&s, 3);
	story_wait_ms(&s, 10000);
	EXPECT(&s, "");
	s.peers[3].dead = true; /* unless metad has given up on it too */
	story_wait_ms(&s, 200);
	EXPECT(&s, "EVICT(3) list 3 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(below_min_replicas_io_is_held)
{
	story_io(&s);
	story_peer_down(&s, 2);
	story_peer_down(&s, 3);
	story_write(&s, 0, 4096, 1);
	story_wrote(&s, 1, 11, WIRE_OK);
	story_skip(&s);
	story_wait_ms(&s, 20000);
	EXPECT(&s, "");
	ck_assert_int_eq(owner_hold(&s.o, s.now_ns), OWNER_HOLD_TOO_FEW);
	story_peer_up(&s, 2);
	story_synced(&s, 2, 4, 10, 77);
	story_wrote(&s, 2, 11, WIRE_OK);
	story_wait_ms(&s, 100);
	EXPECT(&s, "SYNC>2; WRITE(11)>2; EVICT(3) list 3 synced 2");
	story_changed(&s, WIRE_OK, "1A 2A", 4);
	EXPECT(&s, "done 0 OK");
	story_end(&s);
}
END_TEST

START_TEST(a_silent_replica_is_evicted_after_three_seconds)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_wrote(&s, 1, 11, WIRE_OK);
	story_wrote(&s, 2, 11, WIRE_OK);
	story_skip(&s);
	story_wait_ms(&s, 2900);
	EXPECT(&s, "");
	story_wait_ms(&s, 300);
	EXPECT(&s, "EVICT(3) list 3 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(an_eviction_whose_answer_was_lost_is_asked_again)
{
	story_io(&s);
	story_peer_down(&s, 3);
	story_write(&s, 0, 4096, 1);
	story_wrote(&s, 1, 11, WIRE_OK);
	story_wrote(&s, 2, 11, WIRE_OK);
	story_wait_ms(&s, 1200);
	story_skip(&s);
	story_wait_ms(&s, 5000);
	EXPECT(&s, ""); /* not by itself */
	event(&s, (struct owner_event){.kind = OWNER_EVENT_META_UP});
	EXPECT(&s, "EVICT(3) list 3 synced 2");
	story_changed(&s, WIRE_STALE, "1A 2A", 4); /* it had been done */
	EXPECT(&s, "done 0 OK");
	story_end(&s);
}
END_TEST

START_TEST(not_owner_from_metad_fences)
{
	story_io(&s);
	story_peer_down(&s, 3);
	story_write(&s, 0, 4096, 1);
	story_wait_ms(&s, 1200);
	story_skip(&s);
	story_changed(&s, WIRE_NOT_OWNER, "1A 2A 3A", 3);
	EXPECT(&s, "done 0 FENCED; LOST");
	story_end(&s);
}
END_TEST

START_TEST(a_disk_error_evicts_at_once)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_skip(&s);
	story_wrote(&s, 2, 11, WIRE_DISK_ERROR);
	EXPECT(&s, "EVICT(2) list 3 synced 2");
	story_end(&s);
}
END_TEST

START_TEST(a_gap_starts_over_from_what_it_has)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_skip(&s);
	story_wrote(&s, 2, 11, WIRE_GAP);
	EXPECT(&s, "SYNC>2");
	story_synced(&s, 2, 4, 10, 77);
	EXPECT(&s, "WRITE(11)>2");
	story_end(&s);
}
END_TEST

/* ---- reading around damage ---- */

START_TEST(a_bad_block_is_read_elsewhere_and_repaired)
{
	story_io(&s);
	story_request(&s, OWNER_READ, 8192, 8192);
	EXPECT(&s, "READ(8192+8192)>1");
	story_read(&s, 1, 5, 2); /* the second block is damaged */
	EXPECT(&s, "READ(8192+8192)>2");
	story_read(&s, 2, 5, 1); /* here the first one is, which is known already */
	/* Its unit is looked at in all of them. */
	EXPECT(&s, "done 0 OK; READ(0+65536)>1; READ(0+65536)>2; READ(0+65536)>3");
	ck_assert_uint_eq(slice_data(s.requests[0].data)[4096], 5);
	ck_assert_uint_eq(s.o.counters.checksum_errors, 1);
	story_read(&s, 1, 5, 1 << 3);
	story_read(&s, 2, 5, 1 << 2);
	story_read(&s, 3, 5, 0);
	EXPECT(&s, "REPAIR(0,0008)>1; REPAIR(0,0004)>2; SCRUBBED unit 1:16-1-0 2:16-1-0 3:16-0-0");
	story_answer(&s, 1, MSG_REPAIR_OK, WIRE_OK);
	story_answer(&s, 2, MSG_REPAIR_OK, WIRE_OK);
	EXPECT(&s, "SCRUBBED unit 1:0-0-1; SCRUBBED unit 2:0-0-1");
	ck_assert_uint_eq(s.o.counters.repaired_blocks, 2);
	story_end(&s);
}
END_TEST

START_TEST(bad_everywhere_fails_the_read_and_nothing_else)
{
	story_io(&s);
	story_request(&s, OWNER_READ, 0, 4096);
	story_read(&s, 1, 5, 1);
	story_read(&s, 2, 5, 1);
	story_skip(&s);
	story_read(&s, 3, 5, 1);
	EXPECT(&s, "done 0 BAD_BLOCK; READ(0+65536)>1; READ(0+65536)>2; READ(0+65536)>3");
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_read(&s, cid, 5, 1);
	EXPECT(&s, "SCRUBBED unit 1:16-1-0 2:16-1-0 3:16-1-0 unrepairable 1 @0");
	story_request(&s, OWNER_READ, 4096, 4096);
	EXPECT(&s, "READ(4096+4096)>1");
	story_end(&s);
}
END_TEST

START_TEST(a_read_on_a_broken_connection_begins_again)
{
	story_io(&s);
	story_request(&s, OWNER_READ, 0, 4096);
	story_skip(&s);
	story_peer_down(&s, 1);
	EXPECT(&s, ""); /* no grant of 1: held */
	story_peer_up(&s, 1);
	story_synced(&s, 1, 4, 10, 77);
	story_heartbeats(&s);
	EXPECT(&s, "SYNC>1; READ(0+4096)>1");
	story_end(&s);
}
END_TEST

START_TEST(a_read_that_is_not_answered_goes_to_another)
{
	story_io(&s);
	story_request(&s, OWNER_READ, 0, 4096);
	story_skip(&s);
	story_wait_ms(&s, 1100);
	EXPECT(&s, "READ(0+4096)>2");
	story_read(&s, 2, 1, 0);
	EXPECT(&s, "done 0 OK");
	story_end(&s);
}
END_TEST

START_TEST(the_local_replica_is_preferred_and_a_slow_one_avoided)
{
	story_io(&s);
	s.peers[3].local = true;
	story_request(&s, OWNER_READ, 0, 4096);
	EXPECT(&s, "READ(0+4096)>3");
	s.peers[3].slow = true;
	story_request(&s, OWNER_READ, 0, 4096);
	EXPECT(&s, "READ(0+4096)>1");
	story_end(&s);
}
END_TEST

/* ---- the end of a lease ---- */

START_TEST(a_lease_given_back_releases_and_raises_the_floor)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_skip(&s);
	event(&s, (struct owner_event){.kind = OWNER_EVENT_RETURN});
	EXPECT(&s, ""); /* not before what was sent is settled */
	for (uint32_t cid = 1; cid <= 3; cid++)
		story_wrote(&s, cid, 11, WIRE_OK);
	EXPECT(&s, "done 0 OK; RELEASE>1; RELEASE>2; RELEASE>3; RETURN floor 11");
	ck_assert(!owner_may_read(&s.o, s.now_ns));
	story_end(&s);
}
END_TEST

START_TEST(extents_come_from_a_replica)
{
	uint8_t bits[TEST_UNITS / 8] = {5};
	struct msg m = {.type = MSG_VERSIONS_OK};

	story_io(&s);
	story_request(&s, OWNER_EXTENTS, 0, TEST_CHUNK_BYTES);
	EXPECT(&s, "VERSIONS>1");
	m.id = s.last_id[1][MSG_VERSIONS];
	m.u.version_list.unit_count = TEST_UNITS;
	m.u.version_list.versions = s.versions;
	m.u.version_list.allocated = bits;
	message(&s, 1, &m);
	EXPECT(&s, "done 0 OK");
	ck_assert_uint_eq(s.requests[0].extents[0], 5);
	story_end(&s);
}
END_TEST

START_TEST(extents_come_from_another_replica_if_one_can_not_say)
{
	story_io(&s);
	for (uint32_t round = 0; round < 2; round++) {
		story_request(&s, OWNER_EXTENTS, 0, TEST_CHUNK_BYTES);
		EXPECT(&s, "VERSIONS>1");
		story_answer(&s, 1, MSG_VERSIONS_OK, WIRE_DISK_ERROR);
		EXPECT(&s, "VERSIONS>2");
		story_answer(&s, 2, MSG_VERSIONS_OK, WIRE_DISK_ERROR);
		EXPECT(&s, "VERSIONS>3");
		if (round == 0) {
			story_versions(&s, 3, 3, s.versions);
			EXPECT(&s, "done 0 OK");
		} else {
			story_answer(&s, 3, MSG_VERSIONS_OK, WIRE_DISK_ERROR);
			EXPECT(&s, "done 1 DISK_ERROR");
		}
	}
	story_end(&s);
}
END_TEST

STORY_MAIN("owner", a_request_asks_for_a_lease_once, io_starts_when_all_have_answered_sync,
	   a_new_chunk_is_created_on_the_way, an_unknown_replica_is_created_once_then_failed,
	   a_promise_is_not_silence, fenced_ends_everything, a_chunk_taken_out_fences,
	   writes_are_pipelined_and_settle_in_order, overlapping_requests_go_in_order,
	   reads_pass_each_other, a_write_below_a_block_is_merged_here,
	   a_read_needs_a_grant_of_every_active_replica,
	   a_closed_connection_ends_its_grants_at_once,
	   a_broken_connection_repeats_what_was_not_answered,
	   a_replica_that_lost_what_it_answered_is_evicted,
	   refused_for_a_second_is_evicted_before_the_acknowledgement, nobody_idle_is_evicted,
	   below_min_replicas_io_is_held, a_silent_replica_is_evicted_after_three_seconds,
	   an_eviction_whose_answer_was_lost_is_asked_again, not_owner_from_metad_fences,
	   a_disk_error_evicts_at_once, a_gap_starts_over_from_what_it_has,
	   a_bad_block_is_read_elsewhere_and_repaired,
	   bad_everywhere_fails_the_read_and_nothing_else,
	   a_read_on_a_broken_connection_begins_again, a_read_that_is_not_answered_goes_to_another,
	   the_local_replica_is_preferred_and_a_slow_one_avoided,
	   a_lease_given_back_releases_and_raises_the_floor, extents_come_from_a_replica,
	   extents_come_from_another_replica_if_one_can_not_say)
