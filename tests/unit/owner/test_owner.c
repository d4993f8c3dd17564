/* test_owner.c - the owner core, story by story: leases, reads, writes, evictions, roll-forward, joins. */
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

#define ASKED   "VERSIONS>1; VERSIONS>2; VERSIONS>3"
#define SENT(g) "WRITE(" #g ")>1; WRITE(" #g ")>2; WRITE(" #g ")>3"

START_TEST(no_space_is_said_before_a_generation_is_taken)
{
	story_io(&s);
	s.peers[2].free_bytes = 4096;
	story_write(&s, 0, 8192, 1);
	EXPECT(&s, ASKED);
	story_held(&s, 1, 1, 3, GIB);
	story_held(&s, 2, 1, 3, 4096);
	EXPECT(&s, "");
	story_held(&s, 3, 1, 3, GIB);
	EXPECT(&s, "done 0 NO_SPACE");
	story_request(&s, OWNER_DISCARD, 0, 65536);
	EXPECT(&s, "DISCARD(11)>1; DISCARD(11)>2; DISCARD(11)>3");
	story_end(&s);
}
END_TEST

START_TEST(what_is_there_is_overwritten_without_room)
{
	story_io(&s);
	s.peers[2].free_bytes = 0;
	story_write(&s, 65536, 8192, 1);
	EXPECT(&s, ASKED);
	story_held(&s, 1, 0, 3, 0);
	story_held(&s, 2, 1, 3, 0);
	story_held(&s, 3, 1, 1, 0);
	EXPECT(&s, SENT(11));
	/* Of what is known one needn't ask again; 2 and 3 are not held everywhere. */
	story_write(&s, 65536 + 8192, 8192, 1);
	EXPECT(&s, SENT(12));
	story_write(&s, 131072 - 4096, 8192, 1);
	EXPECT(&s, "");
	story_wrote(&s, 2, 12, WIRE_OK);
	s.peers[2].free_bytes = 0;
	story_wrote(&s, 1, 12, WIRE_OK);
	EXPECT(&s, "");
	s.peers[2].free_bytes = 0;
	story_wrote(&s, 3, 12, WIRE_OK);
	EXPECT(&s, "done 0 OK; done 1 OK; done 2 NO_SPACE");
	story_end(&s);
}
END_TEST

/* A unit that is discarded needs room again. */
START_TEST(a_discard_makes_what_is_held_unknown)
{
	story_io(&s);
	s.peers[1].free_bytes = 0;
	story_write(&s, 0, 4096, 1);
	EXPECT(&s, ASKED);
	story_held(&s, 1, 0, 2, 0);
	story_held(&s, 2, 0, 2, GIB);
	story_request(&s, OWNER_DISCARD, 65536, 65536);
	EXPECT(&s, "DISCARD(11)>1; DISCARD(11)>2; DISCARD(11)>3");
	story_held(&s, 3, 0, 2, GIB);
	EXPECT(&s, ""); /* not before the discard is answered */
	story_end(&s);
}
END_TEST

/* Room is counted in whole units, over what is under way; answers may bring more of it. */
START_TEST(a_write_waits_for_news_of_room)
{
	story_io(&s);
	s.peers[3].free_bytes = 2 * 65536 - 1;
	story_write(&s, 0, 4096, 1);
	EXPECT(&s, SENT(11));
	story_write(&s, 65536, 4096, 1);
	EXPECT(&s, "");
	story_wrote(&s, 3, 11, WIRE_OK);
	EXPECT(&s, SENT(12));
	story_end(&s);
}
END_TEST

/* A peer serves many chunks: what one of them had under way when it lost its lease is not under way for ever. */
START_TEST(a_fenced_owner_promises_nothing)
{
	story_io(&s);
	story_write(&s, 0, 4096, 1);
	story_write(&s, 65536, 4096, 1);
	story_skip(&s);
	ck_assert_uint_eq(s.peers[1].promised_bytes, 2 * 65536);
	ck_assert_uint_eq(s.peers[3].promised_bytes, 2 * 65536);
	story_wrote(&s, 1, 11, WIRE_OK);
	story_wrote(&s, 2, 12, WIRE_FENCED);
	story_skip(&s);
	for (unsigned i = 1; i <= 3; i++)
		ck_assert_uint_eq(s.peers[i].promised_bytes, 0);
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

int main(void)
{
	const TTest *const tests[] = {
		a_request_asks_for_a_lease_once,
		io_starts_when_all_have_answered_sync,
		a_new_chunk_is_created_on_the_way,
		an_unknown_replica_is_created_once_then_failed,
		a_promise_is_not_silence,
		fenced_ends_everything,
		a_chunk_taken_out_fences,
		writes_are_pipelined_and_settle_in_order,
		overlapping_requests_go_in_order,
		reads_pass_each_other,
		a_write_below_a_block_is_merged_here,
		a_read_needs_a_grant_of_every_active_replica,
		a_closed_connection_ends_its_grants_at_once,
		a_broken_connection_repeats_what_was_not_answered,
		a_replica_that_lost_what_it_answered_is_evicted,
		refused_for_a_second_is_evicted_before_the_acknowledgement,
		nobody_idle_is_evicted,
		below_min_replicas_io_is_held,
		a_silent_replica_is_evicted_after_three_seconds,
		an_eviction_whose_answer_was_lost_is_asked_again,
		not_owner_from_metad_fences,
		a_disk_error_evicts_at_once,
		a_gap_starts_over_from_what_it_has,
		no_space_is_said_before_a_generation_is_taken,
		what_is_there_is_overwritten_without_room,
		a_discard_makes_what_is_held_unknown,
		a_write_waits_for_news_of_room,
		a_fenced_owner_promises_nothing,
		a_bad_block_is_read_elsewhere_and_repaired,
		bad_everywhere_fails_the_read_and_nothing_else,
		a_read_on_a_broken_connection_begins_again,
		a_read_that_is_not_answered_goes_to_another,
		the_local_replica_is_preferred_and_a_slow_one_avoided,
		those_behind_are_rolled_forward,
		a_mending_replica_is_not_the_reference,
		equal_and_mending_is_not_level,
		a_reference_that_dies_starts_it_over,
		nobody_at_the_floor_is_said_not_guessed,
		a_filling_replica_joins_is_filled_and_promoted,
		copies_are_bounded,
		a_joined_replica_that_breaks_is_left_out_at_once,
		a_promotion_refused_does_not_count,
		a_promotion_that_was_not_judged_counts_and_is_asked_again,
		a_promotion_without_an_answer_counts,
		held_io_goes_on_through_a_join,
		one_taken_out_and_added_again_starts_from_sync,
		a_lease_given_back_releases_and_raises_the_floor,
		extents_come_from_a_replica,
	};
	Suite *suite = suite_create("owner");
	TCase *tc = tcase_create("stories");

	tcase_add_tests(tc, tests, ARRAY_SIZE(tests));
	tcase_add_loop_test(tc, a_joined_replica_that_refuses_a_write_joins_again, 0, 3);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
