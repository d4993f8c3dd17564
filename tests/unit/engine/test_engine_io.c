/* test_engine_io.c - users' requests: cut, put together, completed once and never from inside submit; chunks that do not exist. */
#include "tests/lib/suite.h"
#include "tests/unit/engine/world.h"

START_TEST(what_was_written_is_read_back)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, 8192, 4096, 7), 0);
	expect_bytes(8192, 4096, 7);
	expect_bytes(0, 8192, 0);
	expect_bytes(9000, 5, 7);
	for (unsigned cid = 1; cid <= 3; cid++)
		ck_assert_uint_eq(w.ends[cid].position[0].generation, 1);
	world_end();
}
END_TEST

START_TEST(a_chunk_that_does_not_exist_needs_no_message)
{
	attached();
	expect_bytes(CHUNK_BYTES, 65536, 0);
	ck_assert_int_eq(run(ENGINE_ZERO, CHUNK_BYTES + 100, 70000, 0), 0);
	ck_assert_int_eq(run(ENGINE_DISCARD, CHUNK_BYTES, CHUNK_BYTES, 0), 0);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 0);
	ck_assert_uint_eq(got_all(MSG_READ), 0);
	ck_assert_int_eq(run(ENGINE_WRITE, CHUNK_BYTES, 512, 3), 0);
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 1);
	ck_assert(w.lease.allocate);
	ck_assert_uint_eq(w.indexes[0], 1);
	ck_assert(w.ends[2].exists[1]);
	expect_bytes(CHUNK_BYTES, 512, 3);
	expect_bytes(CHUNK_BYTES + 512, 4096, 0);
	world_end();
}
END_TEST

START_TEST(many_writes_to_a_new_chunk_allocate_it_once)
{
	struct io ios[5];

	attached();
	for (unsigned i = 0; i < 5; i++)
		submit(&ios[i], ENGINE_WRITE, i * 4096, 4096, (uint8_t)(i + 1));
	for (unsigned i = 0; i < 5; i++) {
		PASS_UNTIL(ios[i].answers);
		io_free(&ios[i]);
	}
	ck_assert_uint_eq(w.ends[METAD].got[MSG_LEASE], 1);
	for (unsigned i = 0; i < 5; i++)
		expect_bytes(i * 4096, 4096, (uint8_t)(i + 1));
	world_end();
}
END_TEST

START_TEST(without_metads_grant_what_does_not_exist_is_held)
{
	struct io read, write;

	attached();
	w.keepalives = false;
	pass_ms(2100);
	submit(&read, ENGINE_READ, 0, 4096, 0);
	submit(&write, ENGINE_WRITE, 0, 4096, 1);
	pass_ms(500);
	ck_assert(!read.answers && !write.answers);
	w.keepalives = true;
	PASS_UNTIL(read.answers && write.answers);
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(read.memory[i], 0); /* it came first */
	io_free(&read);
	io_free(&write);
	world_end();
}
END_TEST

/* Each request of an odd place and length, over a background of 9, leaves exactly its own bytes changed. */
START_TEST(requests_are_cut_at_borders)
{
	static const struct {
		uint64_t offset, bytes;
	} ranges[] = {
		{1, 1},
		{4095, 2},
		{100, 8192},
		{4096 + 512, 3 * 4096},
		{MIB - 5, 10},
		{0, 3 * MIB},
		{MIB - 4096, 2 * MIB + 12345},
		{CHUNK_BYTES - 1, 2},
		{CHUNK_BYTES - MIB - 77, 3 * MIB},
		{777, 2 * CHUNK_BYTES},
	};
	static const enum engine_operation operations[] = {ENGINE_WRITE, ENGINE_ZERO,
							   ENGINE_DISCARD};

	attached();
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(operations); k++) {
			uint64_t offset = ranges[i].offset, bytes = ranges[i].bytes;
			uint64_t from = offset - MIN(offset, 8192), to = offset + bytes + 8192;

			ck_assert_int_eq(run(ENGINE_WRITE, from, to - from, 9), 0);
			ck_assert_int_eq(run(operations[k], offset, bytes, 4), 0);
			if (offset > from)
				expect_bytes(from, offset - from, 9);
			expect_bytes(offset, bytes, operations[k] == ENGINE_WRITE ? 4 : 0);
			expect_bytes(offset + bytes, to - offset - bytes, 9);
		}
	}
	world_end();
}
END_TEST

START_TEST(a_chunk_for_which_there_is_no_room_goes_on_not_existing)
{
	struct io write, read, zero;

	attached();
	w.ends[METAD].hold[MSG_LEASE] = true;
	submit(&write, ENGINE_WRITE, 0, 4096, 1);
	submit(&read, ENGINE_READ, 0, 4096, 0);
	submit(&zero, ENGINE_ZERO, 100, 4096, 0);
	w.answers = 0;
	engine_extents(w.volume, 0, CHUNK_BYTES, on_extents, NULL);
	settle();
	w.no_space = true;
	w.ends[METAD].hold[MSG_LEASE] = false;
	end_close(METAD); /* it is asked for again */
	PASS_UNTIL(write.answers && read.answers && zero.answers && w.answers);
	ck_assert(w.extent_count == 1 && w.extents[0].hole);
	ck_assert_int_eq(write.q.status, -ENOSPC);
	ck_assert_int_eq(read.q.status, 0);
	ck_assert_int_eq(zero.q.status, 0);
	ck_assert_uint_eq(read.memory[4095], 0);
	io_free(&write);
	io_free(&read);
	io_free(&zero);
	w.no_space = false;
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 4096, 2), 0);
	expect_bytes(0, 4096, 2);
	world_end();
}
END_TEST

static struct io second;

static void submit_another(struct engine_request *q)
{
	on_done(q);
	submit(&second, ENGINE_READ, 0, 4096, 0);
}

START_TEST(a_request_may_be_submitted_from_inside_a_completion)
{
	struct io first;

	attached();
	submit(&first, ENGINE_WRITE, 0, 4096, 5);
	first.q.done = submit_another;
	PASS_UNTIL(second.answers);
	ck_assert_uint_eq(second.memory[17], 5);
	io_free(&first);
	io_free(&second);
	world_end();
}
END_TEST

START_TEST(extents_name_data_and_holes)
{
	attached();
	ck_assert_int_eq(run(ENGINE_WRITE, UNIT_BYTES, UNIT_BYTES, 5), 0);
	w.answers = 0;
	engine_extents(w.volume, 100, CHUNK_BYTES, on_extents, NULL);
	ck_assert_uint_eq(w.answers, 0);
	PASS_UNTIL(w.answers == 1);
	ck_assert_uint_eq(w.extent_count, 3);
	ck_assert(w.extents[0].hole && w.extents[0].bytes == UNIT_BYTES - 100);
	ck_assert(!w.extents[1].hole && w.extents[1].bytes == UNIT_BYTES);
	ck_assert(w.extents[2].hole && w.extents[2].bytes == CHUNK_BYTES - 2 * UNIT_BYTES);
	engine_extents(w.volume, CHUNK_BYTES, 2 * CHUNK_BYTES, on_extents, NULL);
	PASS_UNTIL(w.answers == 2);
	ck_assert_uint_eq(w.extent_count, 1);
	ck_assert(w.extents[0].hole && w.extents[0].bytes == CHUNK_BYTES);
	world_end();
}
END_TEST

START_TEST(without_metads_grant_nothing_is_called_a_hole)
{
	attached();
	end_down(METAD);
	w.answers = 0;
	engine_extents(w.volume, CHUNK_BYTES, CHUNK_BYTES, on_extents, NULL);
	PASS_UNTIL(w.answers == 1);
	ck_assert_int_eq(w.status, 0);
	ck_assert(!w.extents[0].hole); /* another engine may have written there */
	world_end();
}
END_TEST

START_TEST(requests_are_counted)
{
	struct engine_counters before, after;

	attached();
	before = engine_counters(w.engine);
	ck_assert_int_eq(run(ENGINE_WRITE, 0, 5000, 5), 0);
	ck_assert_int_eq(run(ENGINE_READ, 0, 100, 0), 0);
	ck_assert_int_eq(run(ENGINE_ZERO, 0, 4096, 0), 0);
	after = engine_counters(w.engine);
	ck_assert_uint_eq(after.writes - before.writes, 2);
	ck_assert_uint_eq(after.write_bytes - before.write_bytes, 5000 + 4096);
	ck_assert_uint_eq(after.reads - before.reads, 1);
	ck_assert_uint_eq(after.read_bytes - before.read_bytes, 100);
	ck_assert_uint_eq(after.requests_under_way, 0);
	world_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_was_written_is_read_back,
		a_chunk_that_does_not_exist_needs_no_message,
		many_writes_to_a_new_chunk_allocate_it_once,
		without_metads_grant_what_does_not_exist_is_held,
		requests_are_cut_at_borders,
		a_chunk_for_which_there_is_no_room_goes_on_not_existing,
		a_request_may_be_submitted_from_inside_a_completion,
		extents_name_data_and_holes,
		without_metads_grant_nothing_is_called_a_hole,
		requests_are_counted,
	};
	Suite *suite = suite_create("engine, IO");
	TCase *tc = tcase_create("io");

	tcase_set_timeout(tc, 60);
	tcase_add_tests(tc, tests, ARRAY_SIZE(tests));
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
