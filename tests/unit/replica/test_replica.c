/*
 * test_replica.c - scripted traces against the replica core: writes and reads of one owner, chunks that come and go, replicas that are
 * filled and mended. test_replica_epochs.c has who may write when.
 */
#include "tests/lib/suite.h"
#include "tests/unit/replica/bench.h"
#include "replica-engine/core/replica_state.h"

/* ---- writes and reads of one owner ---- */

START_TEST(write_is_answered_when_durable)
{
	begin_owned(0);
	bench.hold = true;
	send_write(1, 1, 1, 1);
	send_write(1, 1, 1, 2);
	expect("[WRITE g=1]; [WRITE g=2]");
	bench_complete();
	expect("1<WRITE_OK#101 OK g=1");
	bench_complete();
	expect("1<WRITE_OK#102 OK g=2");
	bench_end();
}
END_TEST

START_TEST(zero_and_discard_take_generations)
{
	begin_owned(1);
	send_msg(1, &(struct msg){.type = MSG_WRITE,
				  .u.write = {.chunk = 1,
					      .epoch = 1,
					      .generation = 2,
					      .bytes = BLOCK_BYTES,
					      .kind = WRITE_ZERO}});
	send_msg(1, &(struct msg){.type = MSG_WRITE,
				  .u.write = {.chunk = 1,
					      .epoch = 1,
					      .generation = 3,
					      .bytes = UNIT_BYTES,
					      .kind = WRITE_DISCARD}});
	expect("[ZERO g=2]; 1<WRITE_OK#101 OK g=2; [DISCARD g=3]; 1<WRITE_OK#102 OK g=3");
	bench_end();
}
END_TEST

START_TEST(duplicate_waits_until_the_first_is_durable)
{
	begin_owned(0);
	bench.hold = true;
	send_write(1, 1, 1, 1);
	send_write(1, 1, 1, 2);
	send_write(1, 1, 1, 1);
	expect("[WRITE g=1]; [WRITE g=2]");
	bench_complete();
	expect("1<WRITE_OK#101 OK g=1");
	bench_complete();
	expect("1<WRITE_OK#102 OK g=2; 1<WRITE_OK#103 OK g=1");
	send_write(1, 1, 1, 2);
	expect("1<WRITE_OK#104 OK g=2");
	ck_assert_uint_eq(replica_counters(bench.replica).duplicates, 2);
	bench_end();
}
END_TEST

static unsigned pool_requests(void)
{
	const struct replica_request *q;
	unsigned count = 0;

	TAILQ_FOREACH (q, &bench.replica->free, link)
		count++;
	TAILQ_FOREACH (q, &bench.replica->finished, link)
		count++;
	return count;
}

/* Sixteen writes and as many reads in flight, again and again. */
static void run_window(uint64_t *generation)
{
	bench.hold = true;
	for (int i = 0; i < 16; i++) {
		send_write_at(1, 1, 1, ++*generation, (uint32_t)i, 1, false);
		send_read(1, 1, 1, (uint32_t)i);
	}
	while (!TAILQ_EMPTY(&bench.store.queue)) {
		bench_complete();
		bench.text[bench.used = 0] = 0;
	}
}

START_TEST(steady_state_takes_no_new_memory)
{
	uint64_t generation = 0;
	unsigned requests, actions;

	begin_owned(0);
	run_window(&generation);
	requests = pool_requests();
	actions = bench.update.capacity;
	ck_assert_uint_eq(requests, 32);
	for (int i = 0; i < 100; i++)
		run_window(&generation);
	ck_assert_uint_eq(pool_requests(), requests);
	ck_assert_uint_eq(bench.update.capacity, actions);
	bench_end();
}
END_TEST

START_TEST(gap_is_refused_and_consumes_nothing)
{
	begin_owned(1);
	send_write(1, 1, 1, 3);
	send_write(1, 1, 1, 2);
	send_write(1, 1, 2, 3);
	expect("1<WRITE_OK#101 GAP g=3; [WRITE g=2]; 1<WRITE_OK#102 OK g=2; "
	       "1<WRITE_OK#103 GAP g=3");
	bench_end();
}
END_TEST

START_TEST(damaged_payload_takes_no_generation)
{
	begin_owned(0);
	send_write_at(1, 1, 1, 1, 0, 7, true);
	send_write_at(1, 1, 1, 1, 0, 7, false);
	expect("1<WRITE_OK#101 BAD_BLOCK g=1; [WRITE g=1]; 1<WRITE_OK#102 OK g=1");
	bench_end();
}
END_TEST

START_TEST(checksums_are_seeded_with_the_block)
{
	uint8_t data[BLOCK_BYTES] = {1};

	begin_owned(0);
	for (uint32_t block = 0; block < 2; block++) {
		struct slice payload = slice_new(BLOCK_BYTES);
		uint32_t crc = crc_block(1, 1, data);

		memcpy(slice_data(payload), data, BLOCK_BYTES);
		send_msg(1, &(struct msg){.type = MSG_WRITE,
					  .payload = payload,
					  .u.write = {.chunk = 1,
						      .epoch = 1,
						      .generation = 1,
						      .offset = block * BLOCK_BYTES,
						      .bytes = BLOCK_BYTES,
						      .crcs = &crc}});
		slice_unref(&payload);
	}
	expect("1<WRITE_OK#101 BAD_BLOCK g=1; [WRITE g=1]; 1<WRITE_OK#102 OK g=1");
	bench_end();
}
END_TEST

START_TEST(beyond_the_end_is_refused)
{
	begin_owned(0);
	send_write_at(1, 1, 1, 1, FAKE_CHUNK_BYTES / BLOCK_BYTES, 1, false);
	send_read(1, 1, 1, FAKE_CHUNK_BYTES / BLOCK_BYTES);
	send_copy(1, 1, 1, FAKE_UNITS, COPY_FILL, (struct version){1, 1}, 1);
	expect("1<WRITE_OK#101 BAD_REQUEST g=1; 1<READ_OK#102 BAD_REQUEST; "
	       "1<COPY_OK#103 BAD_REQUEST");
	bench_end();
}
END_TEST

START_TEST(read_returns_data_checksums_and_version)
{
	uint32_t crc;

	begin_owned(3);
	send_read(1, 1, 1, 3);
	expect("[READ]; 1<READ_OK#101 OK");
	ck_assert_uint_eq(bench.last.payload.bytes, BLOCK_BYTES);
	ck_assert_uint_eq(slice_data(bench.last.payload)[0], 3);
	crc = crc_block(1, 3, slice_data(bench.last.payload));
	ck_assert_uint_eq(bench.last.u.read_ok.crcs[0], crc);
	ck_assert_uint_eq(bench.last.u.read_ok.version.generation, 3);
	ck_assert_uint_eq(bench.last.u.read_ok.offset, 3 * BLOCK_BYTES);
	bench_end();
}
END_TEST

START_TEST(read_names_bad_blocks)
{
	begin_owned(3);
	bench.store.bad_mask = 1 << 3;
	send_read(1, 1, 1, 3);
	expect("[READ]; 1<READ_OK#101 BAD_BLOCK");
	ck_assert_uint_eq(bench.last.u.read_ok.bad_blocks[0], 1);
	bench_end();
}
END_TEST

START_TEST(read_of_another_epoch_is_refused)
{
	begin_owned(1);
	send_read(1, 1, 2, 0);
	pass_ms(3000);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	send_read(1, 1, 1, 0);
	expect("1<READ_OK#101 GAP; admit 2; [FENCE e=2]; [START g=1]; 2<SYNC_OK#102 OK at=1.1; "
	       "1<READ_OK#103 FENCED by=2");
	bench_end();
}
END_TEST

START_TEST(unknown_chunk_is_not_found)
{
	begin_owned(0);
	send_write(1, 3, 1, 1);
	send_read(1, 3, 1, 1);
	send_sync(1, 3, 1);
	send_position(1, MSG_RELEASE, 3, 1, 0, 0);
	expect("1<WRITE_OK#101 NOT_FOUND g=1; 1<READ_OK#102 NOT_FOUND; 1<SYNC_OK#103 NOT_FOUND; "
	       "1<RELEASE_OK#104 OK");
	bench_end();
}
END_TEST

START_TEST(no_space_consumes_no_generation)
{
	begin_owned(0);
	bench.store.fail_writes = STORE_NO_SPACE;
	send_write(1, 1, 1, 1);
	bench.store.fail_writes = STORE_OK;
	send_write(1, 1, 1, 1);
	expect("[WRITE g=1]; 1<WRITE_OK#101 NO_SPACE g=1; [WRITE g=1]; 1<WRITE_OK#102 OK g=1");
	bench_end();
}
END_TEST

START_TEST(failed_disk_goes_on_reading)
{
	begin_owned(1);
	bench.store.fail_writes = STORE_DISK_ERROR;
	send_write(1, 1, 1, 2);
	send_read(1, 1, 1, 1);
	expect("[WRITE g=2]; 1<WRITE_OK#101 DISK_ERROR g=2; [READ]; 1<READ_OK#102 OK");
	bench_end();
}
END_TEST

/* The store's memory is ahead of a disk that failed: what it shows is no proof. */
START_TEST(failed_disk_confirms_nothing)
{
	begin_owned(1);
	bench.hold = true;
	send_write(1, 1, 1, 2);
	bench.store.failed = true;
	TAILQ_FIRST(&bench.store.queue)->status = STORE_DISK_ERROR;
	send_write(1, 1, 1, 2);
	bench_complete();
	send_write(1, 1, 1, 2);
	send_sync(1, 1, 1);
	expect("[WRITE g=2]; 1<WRITE_OK#101 DISK_ERROR g=2; 1<WRITE_OK#102 DISK_ERROR g=2; "
	       "1<WRITE_OK#103 DISK_ERROR g=2; 1<SYNC_OK#104 DISK_ERROR");
	bench_end();
}
END_TEST

/* What was told on all connections together is never more than there is. */
START_TEST(room_is_told_once)
{
	uint64_t first, second;

	begin_owned(1);
	connect_engine(2, E2, 1);
	bench.store.free_bytes = 30 * MIB;
	send_write(1, 1, 1, 2);
	first = bench.last.u.write_ok.free_bytes;
	ck_assert_uint_eq(first, 30 * MIB);
	send_sync(2, 2, 1);
	second = bench.last.u.sync_ok.free_bytes;
	ck_assert_uint_eq(second, 0);
	/* It is told again when the first one has heard of less, or is gone. */
	bench.store.free_bytes = 20 * MIB;
	send_write(1, 1, 1, 3);
	ck_assert_uint_eq(bench.last.u.write_ok.free_bytes, 20 * MIB);
	bench.text[0] = 0;
	bench.used = 0;
	bench_end();
}
END_TEST

/* ---- CREATE and DELETE ---- */

START_TEST(create_with_a_commit_already_carried_out_is_ignored)
{
	begin_owned(1);
	send_create(1, 1, 5, 10);
	send_create(1, 1, 5, 9);
	send_write(1, 1, 1, 2);
	expect("1<CREATE_OK#101 OK; 1<CREATE_OK#102 OK; [WRITE g=2]; 1<WRITE_OK#103 OK g=2");
	bench_end();
}
END_TEST

START_TEST(repeated_create_is_answered_when_the_first_is_durable)
{
	bench_begin();
	connect_engine(1, E1, 1);
	bench.hold = true;
	send_create(1, 1, 1, 10);
	send_create(1, 1, 1, 10);
	expect("admit 1; [CREATE e=1]");
	bench_complete();
	expect("1<CREATE_OK#1 OK; 1<CREATE_OK#2 OK");
	bench_end();
}
END_TEST

/* Interleaving 12, first half: an evicted replica that was deleted is not made anew by its old owner. */
START_TEST(deleted_replica_stays_deleted)
{
	begin_owned(1);
	metad_delete(1, 20);
	expect("[DELETE]");
	send_heartbeat(1);
	send_sync(1, 1, 1);
	send_create(1, 1, 1, 10);
	send_write(1, 1, 1, 2);
	expect("1<HEARTBEAT_OK#101 OK taken=1; 1<SYNC_OK#102 NOT_FOUND; 1<CREATE_OK#103 OK; "
	       "1<WRITE_OK#104 NOT_FOUND g=2");
	send_create(1, 1, 7, 21);
	send_sync(1, 1, 1);
	expect("[CREATE e=7]; 1<CREATE_OK#105 OK; 1<SYNC_OK#106 FENCED by=7");
	bench_end();
}
END_TEST

/* Interleaving 12, second half: a late DELETE meets a replica that was added again. */
START_TEST(late_delete_is_ignored)
{
	begin_owned(1);
	send_create(1, 1, 1, 30);
	metad_delete(1, 20);
	metad_delete(1, 30);
	send_read(1, 1, 1, 1);
	expect("[CREATE e=1]; 1<CREATE_OK#101 OK; [READ]; 1<READ_OK#102 OK");
	metad_delete(1, 31);
	expect("[DELETE]");
	metad_delete(1, 31);
	expect("");
	bench_end();
}
END_TEST

START_TEST(delete_answers_a_waiting_sync)
{
	begin_owned(1);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	metad_delete(1, 20);
	expect("admit 2; 2<SYNC_OK#101 WAIT 2500ms; 2<SYNC_OK#101 NOT_FOUND; [DELETE]");
	pass_ms(3000);
	expect("");
	bench_end();
}
END_TEST

START_TEST(create_of_a_replica_that_is_here_keeps_its_data_and_raises_the_fence)
{
	begin_owned(2);
	connect_engine(2, E2, 1);
	send_create(2, 1, 4, 30);
	send_sync(2, 1, 4);
	expect("admit 2; [CREATE e=1]; 2<CREATE_OK#101 OK; 2<SYNC_OK#102 WAIT 2500ms");
	send_write(1, 1, 1, 3);
	expect("1<WRITE_OK#103 FENCED by=4");
	pass_ms(2500);
	expect("[FENCE e=4]; [START g=2]; 2<SYNC_OK#102 OK at=1.2");
	bench_end();
}
END_TEST

START_TEST(create_that_contradicts_is_refused)
{
	begin_owned(1);
	send_msg(1, &(struct msg){.type = MSG_CREATE,
				  .u.create = {.chunk = 1,
					       .epoch = 1,
					       .commit = 50,
					       .root_chunk = 1,
					       .chunk_bytes = 2 * FAKE_CHUNK_BYTES}});
	send_msg(1, &(struct msg){.type = MSG_CREATE,
				  .u.create = {.chunk = 2,
					       .epoch = 1,
					       .commit = 50,
					       .root_chunk = 1,
					       .chunk_bytes = 3 * FAKE_CHUNK_BYTES}});
	expect("1<CREATE_OK#101 REFUSED; 1<CREATE_OK#102 BAD_REQUEST");
	bench_end();
}
END_TEST

/* ---- joining, mending, copying ---- */

/* Interleaving 4: generation 10 of an earlier epoch is not generation 10 of this one. */
START_TEST(join_judges_generations_from_g0)
{
	struct version source[FAKE_UNITS] = {{2, 8}};

	begin_owned(10);
	pass_ms(3000);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	send_invalidate(2, 1, 2, source);
	send_position(2, MSG_JOIN, 1, 2, 2, 8);
	expect("admit 2; [FENCE e=2]; [START g=10]; 2<SYNC_OK#101 OK at=1.10; [INVALIDATE]; "
	       "2<INVALIDATE_OK#102 OK invalid=1; [JOIN g=8]; 2<JOIN_OK#103 OK");
	send_write(2, 1, 2, 9);
	send_write(2, 1, 2, 10);
	send_write(2, 1, 2, 10);
	expect("[WRITE g=9]; 2<WRITE_OK#104 OK g=9; [WRITE g=10]; 2<WRITE_OK#105 OK g=10; "
	       "2<WRITE_OK#106 OK g=10");
	bench_end();
}
END_TEST

START_TEST(repeated_join_does_not_put_the_position_back)
{
	begin_owned(5);
	send_position(1, MSG_JOIN, 1, 1, 1, 5);
	send_write(1, 1, 1, 6);
	send_position(1, MSG_JOIN, 1, 1, 1, 5);
	send_write(1, 1, 1, 6);
	send_write(1, 1, 1, 7);
	expect("[JOIN g=5]; 1<JOIN_OK#101 OK; [WRITE g=6]; 1<WRITE_OK#102 OK g=6; "
	       "1<JOIN_OK#103 OK; 1<WRITE_OK#104 OK g=6; [WRITE g=7]; 1<WRITE_OK#105 OK g=7");
	bench_end();
}
END_TEST

/* Interleaving 23. */
START_TEST(invalid_unit_refuses_reads_until_it_is_filled)
{
	struct version source[FAKE_UNITS] = {{1, 9}};

	begin_owned(1);
	send_invalidate(1, 1, 1, source);
	send_read(1, 1, 1, 1);
	send_copy(1, 1, 1, 0, COPY_FILL, source[0], 0x77);
	send_read(1, 1, 1, 1);
	expect("[INVALIDATE]; 1<INVALIDATE_OK#101 OK invalid=1; [READ]; 1<READ_OK#102 "
	       "INVALID_UNIT; "
	       "[COPY]; 1<COPY_OK#103 OK; [READ]; 1<READ_OK#104 OK");
	ck_assert_uint_eq(slice_data(bench.last.payload)[0], 0x77);
	bench_end();
}
END_TEST

/* Interleaving 7: a copy that comes again, after the unit was filled and written, changes nothing. */
START_TEST(copy_into_a_valid_unit_is_answered_and_not_applied)
{
	begin_owned(3);
	send_copy(1, 1, 1, 0, COPY_FILL, (struct version){1, 1}, 0x77);
	expect("[COPY]; 1<COPY_OK#101 OK");
	ck_assert_uint_eq(bench.store.chunks[1].versions[0].generation, 3);
	ck_assert_uint_eq(bench.store.chunks[1].fill[3], 3);
	bench_end();
}
END_TEST

START_TEST(copy_of_an_older_epoch_is_fenced)
{
	begin_owned(3);
	pass_ms(3000);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	bench.text[bench.used = 0] = 0;
	send_copy(1, 1, 1, 0, COPY_FILL, (struct version){1, 1}, 0x77);
	send_repair(1, 1, 1, (struct version){1, 3}, 1);
	send_position(1, MSG_JOIN, 1, 1, 1, 9);
	send_position(1, MSG_MEND_BEGIN, 1, 1, 0, 0);
	expect("1<COPY_OK#102 FENCED by=2; 1<REPAIR_OK#103 FENCED by=2; 1<JOIN_OK#104 FENCED by=2; "
	       "1<MEND_BEGIN_OK#105 FENCED by=2");
	bench_end();
}
END_TEST

/* Interleaving 9: an interrupted roll-forward shows. */
START_TEST(mending_is_durable_from_before_the_first_roll_to_the_end)
{
	begin_owned(3);
	send_copy(1, 1, 1, 0, COPY_ROLL, (struct version){1, 9}, 0x77);
	expect("1<COPY_OK#101 REFUSED");
	send_position(1, MSG_MEND_BEGIN, 1, 1, 0, 0);
	send_position(1, MSG_MEND_BEGIN, 1, 1, 0, 0);
	send_copy(1, 1, 1, 0, COPY_ROLL, (struct version){1, 9}, 0x77);
	expect("[MEND_BEGIN]; 1<MEND_BEGIN_OK#102 OK; 1<MEND_BEGIN_OK#103 OK; [COPY]; "
	       "1<COPY_OK#104 OK");
	bench_restart();
	pass_ms(2500);
	connect_engine(2, E2, 1);
	send_sync(2, 1, 2);
	expect("admit 2; [FENCE e=2]; [START g=3]; 2<SYNC_OK#105 OK at=1.3 mending");
	send_position(2, MSG_MEND_END, 1, 2, 1, 9);
	send_position(2, MSG_MEND_END, 1, 2, 1, 9);
	send_write(2, 1, 2, 10);
	send_position(2, MSG_MEND_END, 1, 2, 1, 9);
	expect("[MEND_END g=9]; 2<MEND_END_OK#106 OK; 2<MEND_END_OK#107 OK; [WRITE g=10]; "
	       "2<WRITE_OK#108 OK g=10; 2<MEND_END_OK#109 REFUSED");
	bench_end();
}
END_TEST

/* Interleaving 8: a repair lands only on the version that it was made from. */
START_TEST(repair_applies_only_to_its_version)
{
	begin_owned(3);
	bench.store.bad_mask = 1;
	send_repair(1, 1, 1, (struct version){1, 2}, 0);
	ck_assert_uint_eq(bench.store.bad_mask, 1);
	send_repair(1, 1, 1, (struct version){1, 3}, 0);
	ck_assert_uint_eq(bench.store.bad_mask, 0);
	expect("[REPAIR]; 1<REPAIR_OK#101 OK; [REPAIR]; 1<REPAIR_OK#102 OK");
	bench_end();
}
END_TEST

START_TEST(versions_are_listed)
{
	begin_owned(3);
	send_msg(1, &(struct msg){.type = MSG_VERSIONS, .u.versions = {1, 1}});
	expect("[VERSIONS]; 1<VERSIONS_OK#101 OK");
	ck_assert_uint_eq(bench.last.u.version_list.unit_count, FAKE_UNITS);
	ck_assert_uint_eq(bench.last.u.version_list.versions[0].generation, 3);
	bench_end();
}
END_TEST

START_TEST(list_of_another_length_is_refused)
{
	struct version one = {1, 1};

	begin_owned(0);
	send_msg(1,
		 &(struct msg){.type = MSG_INVALIDATE,
			       .u.version_list = {
				       .chunk = 1, .epoch = 1, .unit_count = 1, .versions = &one}});
	expect("1<INVALIDATE_OK#101 BAD_REQUEST");
	bench_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("replica");
	TCase *tcase = tcase_create("traces");

#define T(name) tcase_add_test(tcase, name)
	T(write_is_answered_when_durable);
	T(zero_and_discard_take_generations);
	T(duplicate_waits_until_the_first_is_durable);
	T(steady_state_takes_no_new_memory);
	T(gap_is_refused_and_consumes_nothing);
	T(damaged_payload_takes_no_generation);
	T(checksums_are_seeded_with_the_block);
	T(beyond_the_end_is_refused);
	T(read_returns_data_checksums_and_version);
	T(read_names_bad_blocks);
	T(read_of_another_epoch_is_refused);
	T(unknown_chunk_is_not_found);
	T(no_space_consumes_no_generation);
	T(failed_disk_goes_on_reading);
	T(failed_disk_confirms_nothing);
	T(room_is_told_once);
	T(create_with_a_commit_already_carried_out_is_ignored);
	T(repeated_create_is_answered_when_the_first_is_durable);
	T(deleted_replica_stays_deleted);
	T(late_delete_is_ignored);
	T(delete_answers_a_waiting_sync);
	T(create_of_a_replica_that_is_here_keeps_its_data_and_raises_the_fence);
	T(create_that_contradicts_is_refused);
	T(join_judges_generations_from_g0);
	T(repeated_join_does_not_put_the_position_back);
	T(invalid_unit_refuses_reads_until_it_is_filled);
	T(copy_into_a_valid_unit_is_answered_and_not_applied);
	T(copy_of_an_older_epoch_is_fenced);
	T(mending_is_durable_from_before_the_first_roll_to_the_end);
	T(repair_applies_only_to_its_version);
	T(versions_are_listed);
	T(list_of_another_length_is_refused);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
