/*
 * test_replica_epochs.c - scripted traces against the replica core: who may write when. Epochs that are let in and fenced, promises,
 * restarts, connections, and the interleavings that a weaker replica gets wrong.
 */
#include "tests/lib/suite.h"
#include "tests/unit/replica/bench.h"
#include "replica-engine/core/replica_state.h"

/* ---- letting epochs in ---- */

START_TEST(sync_of_a_later_epoch_waits_for_the_promise)
{
	begin_owned(2);
	pass_ms(1000);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("admit 2; 2<SYNC_OK#101 WAIT 1500ms");
	pass_ms(1490);
	expect("");
	pass_ms(10);
	expect("[FENCE e=2]; [START g=2]; 2<SYNC_OK#101 OK at=1.2");
	send_write(2, 1, 2, 3);
	expect("[WRITE g=3]; 2<WRITE_OK#102 OK g=3");
	bench_end();
}
END_TEST

START_TEST(old_owner_is_fenced_while_sync_waits)
{
	begin_owned(2);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	send_write(1, 1, 1, 3);
	send_read(1, 1, 1, 1);
	send_sync(1, 1, 1);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; 1<WRITE_OK#102 FENCED by=2; "
	       "1<READ_OK#103 FENCED by=2; 1<SYNC_OK#104 FENCED by=2");
	bench_end();
}
END_TEST

START_TEST(sync_waits_for_accepted_writes)
{
	begin_owned(0);
	bench.hold = true;
	send_write(1, 1, 1, 1);
	pass_ms(3000);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("[WRITE g=1]; admit 2");
	bench_complete();
	/* its epoch is over: it hears so, though the write is durable and will be kept */
	expect("1<WRITE_OK#101 FENCED by=2; [FENCE e=2]; [START g=1]");
	bench_complete();
	expect("");
	bench_complete();
	expect("2<SYNC_OK#102 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(read_under_way_is_not_answered_after_the_chunk_was_taken)
{
	begin_owned(1);
	bench.hold = true;
	send_read(1, 1, 1, 1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	bench_complete();
	expect("[READ]; admit 2; 2<SYNC_OK#102 WAIT 2500ms; 1<READ_OK#101 FENCED by=2");
	bench_end();
}
END_TEST

START_TEST(repeated_sync_is_answered_at_once_and_keeps_the_base)
{
	begin_owned(2);
	send_sync(1, 1, 1);
	send_write(1, 1, 1, 2);
	expect("1<SYNC_OK#101 OK at=1.2; 1<WRITE_OK#102 OK g=2");
	bench_end();
}
END_TEST

START_TEST(repeated_sync_waits_for_what_is_under_way)
{
	begin_owned(1);
	bench.hold = true;
	send_write(1, 1, 1, 2);
	send_sync(1, 1, 1);
	expect("[WRITE g=2]");
	bench_complete();
	expect("1<WRITE_OK#101 OK g=2; 1<SYNC_OK#102 OK at=1.2");
	bench_end();
}
END_TEST

START_TEST(newer_sync_supersedes_a_waiting_one)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	connect_engine(3, E3, 1);
	send_sync(2, 1, 2);
	send_sync(3, 1, 3);
	expect("admit 2; admit 3; 2<SYNC_OK#101 WAIT 2500ms; 2<SYNC_OK#101 FENCED by=3; "
	       "3<SYNC_OK#102 WAIT 2500ms");
	send_sync(2, 1, 2);
	expect("2<SYNC_OK#103 FENCED by=3");
	pass_ms(2500);
	expect("[FENCE e=3]; [START g=1]; 3<SYNC_OK#102 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(newer_sync_supersedes_one_whose_fence_is_under_way)
{
	begin_owned(1);
	pass_ms(3000);
	connect_engine(2, E2, 1);
	connect_engine(3, E3, 1);
	bench.hold = true;
	send_sync(2, 1, 2);
	send_sync(3, 1, 3);
	expect("admit 2; admit 3; [FENCE e=2]; [START g=1]; 2<SYNC_OK#101 FENCED by=3");
	bench_complete();
	bench_complete();
	expect("[FENCE e=3]");
	bench_complete();
	expect("3<SYNC_OK#102 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(sync_repeated_on_a_new_connection_is_answered_there)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	disconnect(2);
	connect_engine(3, E2, 2);
	send_sync(3, 1, 2);
	pass_ms(2500);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; admit 3; 3<SYNC_OK#102 WAIT 2500ms; "
	       "[FENCE e=2]; [START g=1]; 3<SYNC_OK#102 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(a_sync_whose_asker_has_gone_still_fences)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	disconnect(2);
	send_write(1, 1, 1, 2);
	pass_ms(2500);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; 1<WRITE_OK#102 FENCED by=2; [FENCE e=2]; "
	       "[START g=1]");
	bench_end();
}
END_TEST

START_TEST(sync_fails_when_the_fence_cannot_be_durable)
{
	begin_owned(1);
	pass_ms(3000);
	bench.store.fail_writes = STORE_DISK_ERROR;
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("admit 2; [FENCE e=2]; [START g=1]; 2<SYNC_OK#101 DISK_ERROR");
	send_write(1, 1, 1, 2);
	expect("1<WRITE_OK#102 FENCED by=2");
	pass_ms(100);
	expect("");
	bench.store.fail_writes = STORE_OK;
	send_sync(2, 1, 2);
	expect("[FENCE e=2]; [START g=1]; 2<SYNC_OK#103 OK at=1.1");
	bench_end();
}
END_TEST

/* ---- grants and promises ---- */

START_TEST(release_ends_the_promise)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	send_position(1, MSG_RELEASE, 1, 1, 0, 0);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; 1<RELEASE_OK#102 OK; [FENCE e=2]; [START g=1]; "
	       "2<SYNC_OK#101 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(release_of_another_epoch_ends_nothing)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 3);
	send_position(1, MSG_RELEASE, 1, 2, 0, 0);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; 1<RELEASE_OK#102 OK");
	bench_end();
}
END_TEST

START_TEST(lease_given_back_lets_the_next_in_at_once)
{
	begin_owned(1);
	send_position(1, MSG_RELEASE, 1, 1, 0, 0);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("1<RELEASE_OK#101 OK; admit 2; [FENCE e=2]; [START g=1]; 2<SYNC_OK#102 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(bye_ends_the_promise_and_closing_does_not)
{
	begin_owned(1);
	if (_i == 0)
		send_bye(1);
	else
		disconnect(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect(_i == 0 ? "close 1; admit 2; [FENCE e=2]; [START g=1]; 2<SYNC_OK#102 OK at=1.1"
		       : "admit 2; 2<SYNC_OK#101 WAIT 2500ms");
	bench_end();
}
END_TEST

START_TEST(bye_ends_the_promise_about_a_chunk_taken_out)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	send_bye(1);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; [FENCE e=2]; [START g=1]; "
	       "close 1; 2<SYNC_OK#101 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(heartbeats_prolong_the_promise)
{
	begin_owned(1);
	for (int i = 0; i < 10; i++) {
		pass_ms(500);
		send_heartbeat(1);
	}
	bench.text[bench.used = 0] = 0;
	pass_ms(100);
	disconnect(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("admit 2; 2<SYNC_OK#111 WAIT 2400ms");
	bench_end();
}
END_TEST

/* Interleaving 1: heartbeats of a connection that is alive for other chunks must not prolong the promise about this one. */
START_TEST(heartbeats_name_a_chunk_taken_out_and_promise_it_nothing)
{
	begin_owned(1);
	send_create(1, 2, 1, 11);
	send_sync(1, 2, 1);
	connect_engine(2, E2, 1);
	bench.text[bench.used = 0] = 0;
	send_sync(2, 1, 2);
	send_heartbeat(1);
	expect("2<SYNC_OK#103 WAIT 2500ms; 1<HEARTBEAT_OK#104 OK taken=1");
	for (int i = 0; i < 4; i++) {
		pass_ms(500);
		send_heartbeat(1);
	}
	bench.text[bench.used = 0] = 0;
	pass_ms(500);
	expect("[FENCE e=2]; [START g=1]; 2<SYNC_OK#103 OK at=1.1");
	send_heartbeat(1);
	expect("1<HEARTBEAT_OK#109 OK taken=1");
	send_position(1, MSG_RELEASE, 1, 1, 0, 0);
	send_heartbeat(1);
	expect("1<RELEASE_OK#110 OK; 1<HEARTBEAT_OK#111 OK");
	/* the RELEASE of an epoch that is over takes nothing from the new owner */
	connect_engine(3, E3, 1);
	send_sync(3, 1, 3);
	expect("admit 3; 3<SYNC_OK#112 WAIT 2500ms");
	/* and chunk 2 was covered all the time */
	send_sync(3, 2, 3);
	expect("3<SYNC_OK#113 WAIT 2500ms");
	bench_end();
}
END_TEST

/* An answer that left out one of them would renew its grant. */
START_TEST(more_taken_out_than_an_answer_can_name_closes_the_connection)
{
	struct replica_conn *conn;

	begin_owned(1);
	conn = replica_conn_find(bench.replica, 1);
	conn->taken = xcalloc(HEARTBEAT_TAKEN_MAX + 1, sizeof *conn->taken);
	conn->taken_count = conn->taken_capacity = HEARTBEAT_TAKEN_MAX + 1;
	send_heartbeat(1);
	expect("close 1");
	bench_end();
}
END_TEST

START_TEST(heartbeats_cover_only_what_was_answered_on_their_connection)
{
	begin_owned(1);
	disconnect(1);
	connect_engine(2, E1, 2);
	pass_ms(1000);
	send_heartbeat(2);
	connect_engine(3, E2, 1);
	send_sync(3, 1, 2);
	/* from the last answer about the chunk, not from the heartbeat of the new connection */
	expect("admit 2; 2<HEARTBEAT_OK#101 OK; admit 3; 3<SYNC_OK#102 WAIT 1500ms");
	bench_end();
}
END_TEST

START_TEST(a_chunk_won_back_on_the_same_connection_is_no_longer_named)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	send_position(1, MSG_RELEASE, 1, 1, 0, 0);
	send_position(2, MSG_RELEASE, 1, 2, 0, 0);
	send_sync(1, 1, 3);
	bench.text[bench.used = 0] = 0;
	send_heartbeat(1);
	send_heartbeat(2);
	expect("1<HEARTBEAT_OK#105 OK; 2<HEARTBEAT_OK#106 OK");
	bench_end();
}
END_TEST

START_TEST(asking_for_a_chunk_again_ends_its_naming)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	send_heartbeat(1);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; 1<HEARTBEAT_OK#102 OK taken=1");
	send_sync(1, 1, 3);
	send_heartbeat(1);
	expect("2<SYNC_OK#101 FENCED by=3; 1<SYNC_OK#103 WAIT 2500ms; 1<HEARTBEAT_OK#104 OK");
	bench_end();
}
END_TEST

/* Interleaving 16: whoever was stopped wakes up careful. */
START_TEST(silence_is_answered_and_the_connection_closed)
{
	begin_owned(1);
	pass_ms(2000);
	send_heartbeat(1);
	expect("1<HEARTBEAT_OK#101 OK");
	pass_ms(2010);
	if (_i == 0)
		send_heartbeat(1);
	else
		send_read(1, 1, 1, 1);
	expect(_i == 0 ? "1<HEARTBEAT_OK#102 SILENT; close 1" : "1<READ_OK#102 SILENT; close 1");
	/* a frame that was already on its way is not looked at */
	send_read(1, 1, 1, 1);
	expect("");
	bench_end();
}
END_TEST

START_TEST(silence_matters_only_where_something_is_promised)
{
	bench_begin();
	connect_engine(1, E1, 1);
	pass_ms(5000);
	send_heartbeat(1);
	expect("admit 1; 1<HEARTBEAT_OK#1 OK");
	pass_ms(REPLICA_IDLE_NS / NS_PER_MS);
	expect("");
	pass_ms(10);
	expect("close 1");
	bench_end();
}
END_TEST

/* ---- restarts ---- */

/* Interleaving 2: a restarted replica has forgotten what it promised. */
START_TEST(restart_lets_no_later_epoch_in_before_a_whole_promise)
{
	begin_owned(2);
	pass_ms(10000);
	bench_restart();
	connect_engine(2, E2, 1);
	pass_ms(100);
	send_sync(2, 1, 2);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2400ms");
	pass_ms(2400);
	expect("[FENCE e=2]; [START g=2]; 2<SYNC_OK#101 OK at=1.2");
	bench_end();
}
END_TEST

START_TEST(restart_lets_the_present_owner_go_on_at_once)
{
	begin_owned(2);
	bench_restart();
	connect_engine(2, E1, 2);
	send_write(2, 1, 1, 2);
	send_write(2, 1, 1, 3);
	send_sync(2, 1, 1);
	expect("admit 2; 2<WRITE_OK#101 OK g=2; [WRITE g=3]; 2<WRITE_OK#102 OK g=3; "
	       "2<SYNC_OK#103 OK at=1.3");
	bench_end();
}
END_TEST

START_TEST(a_chunk_created_since_the_start_owes_nothing)
{
	bench_begin();
	connect_engine(1, E1, 1);
	send_create(1, 1, 1, 10);
	send_sync(1, 1, 2);
	expect("admit 1; [CREATE e=1]; 1<CREATE_OK#1 OK; [FENCE e=2]; 1<SYNC_OK#2 OK at=0.0");
	bench_end();
}
END_TEST

START_TEST(release_after_a_restart_ends_what_was_promised_before_it)
{
	begin_owned(1);
	bench_restart();
	connect_engine(1, E1, 2);
	send_position(1, MSG_RELEASE, 1, 1, 0, 0);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("admit 1; 1<RELEASE_OK#101 OK; admit 2; [FENCE e=2]; [START g=1]; "
	       "2<SYNC_OK#102 OK at=1.1");
	bench_end();
}
END_TEST

START_TEST(restart_between_a_fence_of_metad_and_sync_forgets_no_promise)
{
	begin_owned(1);
	metad_fence(1, 2);
	send_write(1, 1, 1, 2);
	expect("1<WRITE_OK#101 FENCED by=2");
	bench_restart();
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("admit 2; 2<SYNC_OK#102 WAIT 2500ms");
	bench_end();
}
END_TEST

/* ---- fences from metad ---- */

START_TEST(metad_fence_becomes_durable_after_the_promise)
{
	begin_owned(3);
	metad_fence(1, 2);
	metad_fence(1, 1);
	metad_fence(5, 9);
	expect("");
	send_heartbeat(1);
	expect("1<HEARTBEAT_OK#101 OK taken=1");
	pass_ms(2500);
	expect("[FENCE e=2]; [START g=3]");
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("admit 2; 2<SYNC_OK#102 OK at=1.3");
	send_write(2, 1, 2, 3);
	send_write(2, 1, 2, 4);
	expect("2<WRITE_OK#103 GAP g=3; [WRITE g=4]; 2<WRITE_OK#104 OK g=4");
	bench_end();
}
END_TEST

START_TEST(metad_fence_overtakes_a_waiting_sync)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	metad_fence(1, 3);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; 2<SYNC_OK#101 FENCED by=3");
	bench_end();
}
END_TEST

/* ---- connections ---- */

START_TEST(newer_connection_of_an_instance_closes_the_older)
{
	begin_owned(1);
	connect_engine(2, E1, 2);
	expect("close 1; admit 2");
	connect_engine(3, E1, 1);
	connect_engine(4, E1, 2);
	connect_engine(5, E2, 1);
	expect("close 3; close 4; admit 5");
	bench_end();
}
END_TEST

/* Interleaving 7: what an older connection began is finished before the newer one is admitted. */
START_TEST(newer_connection_waits_for_requests_of_the_older)
{
	begin_owned(1);
	bench.hold = true;
	send_write(1, 1, 1, 2);
	send_read(1, 1, 1, 1);
	if (_i == 0)
		disconnect(1);
	connect_engine(2, E1, 2);
	expect(_i == 0 ? "[WRITE g=2]; [READ]" : "[WRITE g=2]; [READ]; close 1");
	bench_complete();
	expect("");
	bench_complete();
	expect("admit 2");
	bench.hold = false;
	send_write(2, 1, 1, 2);
	expect("2<WRITE_OK#103 OK g=2");
	bench_end();
}
END_TEST

START_TEST(a_peer_that_speaks_before_it_is_admitted_is_cut_off)
{
	begin_owned(1);
	bench.hold = true;
	send_write(1, 1, 1, 2);
	connect_engine(2, E1, 2);
	send_read(2, 1, 1, 1);
	expect("[WRITE g=2]; close 1; close 2");
	bench_complete();
	expect("");
	bench_end();
}
END_TEST

START_TEST(a_message_that_no_replica_understands_cuts_off)
{
	begin_owned(1);
	send_msg(1, &(struct msg){.type = _i == 0 ? MSG_LEASE : MSG_WRITE_OK});
	expect("close 1");
	bench_end();
}
END_TEST

START_TEST(answers_to_a_closed_connection_are_dropped)
{
	begin_owned(1);
	bench.hold = true;
	send_write(1, 1, 1, 2);
	send_read(1, 1, 1, 1);
	disconnect(1);
	bench_complete();
	bench_complete();
	expect("[WRITE g=2]; [READ]");
	bench_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("replica, epochs");
	TCase *tcase = tcase_create("traces");

#define T(name) tcase_add_test(tcase, name)
	T(sync_of_a_later_epoch_waits_for_the_promise);
	T(old_owner_is_fenced_while_sync_waits);
	T(sync_waits_for_accepted_writes);
	T(read_under_way_is_not_answered_after_the_chunk_was_taken);
	T(repeated_sync_is_answered_at_once_and_keeps_the_base);
	T(repeated_sync_waits_for_what_is_under_way);
	T(newer_sync_supersedes_a_waiting_one);
	T(newer_sync_supersedes_one_whose_fence_is_under_way);
	T(sync_repeated_on_a_new_connection_is_answered_there);
	T(a_sync_whose_asker_has_gone_still_fences);
	T(sync_fails_when_the_fence_cannot_be_durable);
	T(release_ends_the_promise);
	T(release_of_another_epoch_ends_nothing);
	T(lease_given_back_lets_the_next_in_at_once);
	tcase_add_loop_test(tcase, bye_ends_the_promise_and_closing_does_not, 0, 2);
	T(bye_ends_the_promise_about_a_chunk_taken_out);
	T(heartbeats_prolong_the_promise);
	T(heartbeats_name_a_chunk_taken_out_and_promise_it_nothing);
	T(more_taken_out_than_an_answer_can_name_closes_the_connection);
	T(heartbeats_cover_only_what_was_answered_on_their_connection);
	T(a_chunk_won_back_on_the_same_connection_is_no_longer_named);
	T(asking_for_a_chunk_again_ends_its_naming);
	tcase_add_loop_test(tcase, silence_is_answered_and_the_connection_closed, 0, 2);
	T(silence_matters_only_where_something_is_promised);
	T(restart_lets_no_later_epoch_in_before_a_whole_promise);
	T(restart_lets_the_present_owner_go_on_at_once);
	T(a_chunk_created_since_the_start_owes_nothing);
	T(release_after_a_restart_ends_what_was_promised_before_it);
	T(restart_between_a_fence_of_metad_and_sync_forgets_no_promise);
	T(metad_fence_becomes_durable_after_the_promise);
	T(metad_fence_overtakes_a_waiting_sync);
	T(newer_connection_of_an_instance_closes_the_older);
	tcase_add_loop_test(tcase, newer_connection_waits_for_requests_of_the_older, 0, 2);
	T(a_peer_that_speaks_before_it_is_admitted_is_cut_off);
	tcase_add_loop_test(tcase, a_message_that_no_replica_understands_cuts_off, 0, 2);
	T(answers_to_a_closed_connection_are_dropped);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
