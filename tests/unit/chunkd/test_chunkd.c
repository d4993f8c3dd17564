/* test_chunkd.c - the chunk server over real sockets and a real file: handshakes, data, the session with the meta service. */
#include "tests/lib/suite.h"
#include "tests/unit/chunkd/bench.h"

static struct end a, b;

/* ---- handshakes ---- */

START_TEST(hello_is_answered_with_who_we_are)
{
	struct msg hello = hello_msg(1, 1), *ok;

	start_chunkd();
	engine_connect(&a);
	hello.u.hello.expected = disk_uuid;
	ok = ask(&a, &hello);
	ck_assert_int_eq(ok->status, WIRE_OK);
	ck_assert_int_eq(ok->u.hello.role, ROLE_CHUNKD);
	ck_assert(uuid_equal(ok->u.hello.self, disk_uuid));
	ck_assert_uint_eq(ok->u.hello.connection, 1);
}
END_TEST

/* Refused and closed, and each says why. */
START_TEST(hello_to_somebody_else_is_refused)
{
	static const struct {
		enum wire_status status;
		const char *text;
	} wanted[] = {
		{WIRE_VERSION, "protocol version"},
		{WIRE_WRONG_CLUSTER, "belongs to cluster"},
		{WIRE_WRONG_PEER, "is at this address now"},
		{WIRE_REFUSED, "Only engines"},
		{WIRE_REFUSED, "name an instance"},
	};
	struct msg hello = hello_msg(1, 1), *no;
	unsigned from = 0;

	start_chunkd();
	meta_register(&from);
	engine_connect(&a);
	if (_i == 0)
		hello.u.hello.protocol_version = 99;
	else if (_i == 1)
		hello.u.hello.cluster = (struct uuid){{9}};
	else if (_i == 2)
		hello.u.hello.expected = (struct uuid){{9}};
	else if (_i == 3)
		hello.u.hello.role = ROLE_ADMIN;
	else
		hello.u.hello.instance = (struct uuid){{0}};
	no = ask(&a, &hello);
	ck_assert_int_eq(no->status, wanted[_i].status);
	ck_assert_ptr_nonnull(strstr(no->u.hello.text, wanted[_i].text));
	run_until(loop, a.closed);
}
END_TEST

START_TEST(whoever_breaks_the_rules_is_cut_off_and_harms_nobody)
{
	static const uint8_t garbage[] = {1, 2, 3};
	struct msg read = {.type = MSG_READ, .u.read = {1, 1, 0, BLOCK_BYTES}};
	struct msg hello = hello_msg(2, 2);

	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_own(&a);
	if (_i == 0) { /* data before HELLO */
		engine_connect(&b);
		end_send(&b, &read);
	} else if (_i == 1) { /* HELLO twice */
		engine_greet(&b, 2, 1);
		end_send(&b, &hello);
	} else if (_i == 2) { /* a body that is none */
		engine_greet(&b, 2, 1);
		net->send(b.conn, &(struct io_frame){.type = MSG_READ,
						     .id = 5,
						     .body = garbage,
						     .body_bytes = sizeof garbage});
	} else { /* a message for the meta service */
		engine_greet(&b, 2, 1);
		end_send(&b, &(struct msg){.type = MSG_DETACH});
	}
	run_until(loop, b.closed);
	ck_assert_int_eq(engine_read(&a, 0, 1)->status, WIRE_OK);
}
END_TEST

START_TEST(newer_connection_of_an_engine_closes_the_older)
{
	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_greet(&b, 1, 2);
	run_until(loop, a.closed);
	ck_assert(!b.closed);
}
END_TEST

/* ---- data ---- */

START_TEST(what_was_written_is_read)
{
	static const uint32_t sizes[] = {1, 15, 16, 33, IO_BLOCKS_MAX};
	const struct msg *ok;

	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_own(&a);
	for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		engine_send_write(&a, i + 1, 3, sizes[i]);
		run_until(loop, a.written == i + 1);
		ok = engine_read(&a, 3, sizes[i]);
		ck_assert_int_eq(ok->status, WIRE_OK);
		ck_assert_uint_eq(a.payload.bytes, sizes[i] * BLOCK_BYTES);
		expect_bytes(&a, i + 1);
	}
	ok = engine_read(&a, 1000, 4);
	ck_assert_int_eq(ok->status, WIRE_OK);
	ck_assert(ok->u.read_ok.all_zero);
}
END_TEST

START_TEST(many_writes_in_flight_are_answered_in_order)
{
	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_own(&a);
	for (uint32_t i = 1; i <= 300; i++)
		engine_send_write(&a, i, i % 64, 1);
	run_until(loop, a.written == 300);
}
END_TEST

START_TEST(writes_survive_a_restart)
{
	struct msg sync = {.type = MSG_SYNC, .u.sync = {1, 1}};
	const struct msg *ok;

	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_own(&a);
	engine_send_write(&a, 1, 7, 2);
	run_until(loop, a.written == 1);
	stop_chunkd();
	run_until(loop, a.closed);
	close_store();
	open_store();
	start_chunkd();
	engine_greet(&a, 1, 2);
	ok = ask(&a, &sync);
	ck_assert_int_eq(ok->status, WIRE_OK);
	ck_assert_uint_eq(ok->u.sync_ok.position.generation, 1);
	engine_read(&a, 7, 2);
	expect_bytes(&a, 1);
}
END_TEST

START_TEST(stopping_finishes_what_is_under_way)
{
	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_own(&a);
	for (uint32_t i = 1; i <= 50; i++)
		engine_send_write(&a, i, i, 1);
	run_until(loop, replica_counters(chunkd_replica(chunkd)).requests_under_way > 0 ||
				a.written == 50);
	stop_chunkd();
}
END_TEST

/* ---- the meta service ---- */

START_TEST(new_disk_registers_and_remembers)
{
	struct msg *session;
	unsigned from = 0;

	start_chunkd();
	meta_register(&from);
	session = &meta.got[(from - 1) % INBOX];
	ck_assert(session->u.session.new_disk);
	ck_assert(uuid_equal(session->u.session.disk, disk_uuid));
	ck_assert_str_eq(session->u.session.address, chunkd_address(chunkd));
	ck_assert_str_eq(session->u.session.host, "testhost");
	ck_assert_str_eq(session->u.session.node, "testhost");
	ck_assert_str_eq(session->u.session.rack, "r1");
	ck_assert_uint_gt(session->u.session.capacity_bytes, 0);
	ck_assert_uint_eq(store_identity(store).cid, 3);
	ck_assert(uuid_equal(store_identity(store).cluster, cluster_uuid));

	net->close(meta.conn); /* it comes again, and is no new disk any more */
	meta.conn = NULL;
	run_until(loop, meta_accepted == 2);
	from = 0;
	ck_assert(uuid_equal(meta_wait(MSG_HELLO, &from)->u.hello.cluster, cluster_uuid));
	from = 0;
	meta_register(&from);
	ck_assert(!meta.got[(from - 1) % INBOX].u.session.new_disk);
}
END_TEST

START_TEST(session_brings_health_and_a_report)
{
	const struct msg *m;
	unsigned from = 0;

	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_own(&a);
	meta_register(&from);
	m = meta_wait(MSG_KEEPALIVE, &from);
	ck_assert(!m->u.keepalive.disk_failed);
	ck_assert_uint_gt(m->u.keepalive.free_bytes, 0);
	ck_assert_ptr_nonnull(strstr(meta.text, "\"connections\":1"));
	ck_assert_uint_eq(m->u.keepalive.engine_count, 1);
	ck_assert(uuid_equal(meta.engine, hello_msg(1, 1).u.hello.instance));
	m = meta_wait(MSG_REPORT, &from);
	ck_assert(m->u.report.first && m->u.report.last);
	ck_assert_uint_eq(m->u.report.count, 1);
}
END_TEST

START_TEST(fences_and_deletes_of_metad_are_carried_out)
{
	const struct msg_fence fence = {1, 7};
	struct msg report_ok = {.u.report_ok = {.count = 1, .fences = &fence}};
	struct msg order = {.type = MSG_DELETE, .u.delete_ = {.chunk = 1, .commit = 11}};
	struct msg sync = {.type = MSG_SYNC, .u.sync = {1, 1}};
	unsigned from = 0;

	start_chunkd();
	engine_greet(&a, 1, 1);
	engine_own(&a);
	meta_register(&from);
	meta_answer(meta_wait(MSG_REPORT, &from), &report_ok);
	do {
		sync.id = 0;
		ask(&a, &sync);
	} while (end_last(&a)->status == WIRE_OK);
	ck_assert_int_eq(end_last(&a)->status, WIRE_FENCED);
	ck_assert_uint_eq(end_last(&a)->u.sync_ok.epoch, 7);
	end_send(&meta, &order);
	do {
		sync.id = 0;
		ask(&a, &sync);
	} while (end_last(&a)->status == WIRE_FENCED);
	ck_assert_int_eq(end_last(&a)->status, WIRE_NOT_FOUND);
	ck_assert_uint_eq(store_tombstone(store, 1), 11);
}
END_TEST

START_TEST(refused_by_metad_it_serves_what_it_has)
{
	struct msg no = {.status = WIRE_WRONG_CLUSTER,
			 .u.hello = {.role = ROLE_METAD, .text = "not one of ours"}};
	struct msg ok = {.u.hello = {.role = ROLE_METAD}};
	unsigned from = 0;

	start_chunkd();
	if (_i == 1) {
		meta_answer(meta_wait(MSG_HELLO, &from), &ok);
		no = (struct msg){.status = WIRE_REFUSED, .u.session_ok.text = "formatted twice"};
		meta_answer(meta_wait(MSG_SESSION, &from), &no);
	} else {
		meta_answer(meta_wait(MSG_HELLO, &from), &no);
	}
	run_until(loop, meta.closed);
	ck_assert(!chunkd_in_session(chunkd));
	engine_greet(&a, 1, 1);
	engine_own(&a);
	ck_assert_int_eq(engine_read(&a, 0, 1)->status, WIRE_OK);
}
END_TEST

/* ---- starting ---- */

static void expect_no_start(struct chunkd_options options, const char *text)
{
	char error[TEXT_BYTES] = "";

	ck_assert_ptr_null(new_chunkd(&options, error));
	ck_assert_msg(strstr(error, text), "%s", error);
}

START_TEST(mistakes_are_named_with_the_remedy)
{
	struct chunkd_options options;

	options = default_options();
	options.listen = io_ev_listener_address(meta_listener);
	expect_no_start(options, "another process listens there");
	options = default_options();
	options.listen = "nonsense";
	expect_no_start(options, "HOST:PORT");
	options = default_options();
	options.local = "unix:/nonexistent-directory/socket";
	expect_no_start(options, "directory");
	options = default_options();
	options.meta = ",";
	expect_no_start(options, "--meta HOST:PORT");
	options = default_options();
	options.zone = "no zone";
	expect_no_start(options, "no zone");
}
END_TEST

static void teardown_ends(void)
{
	end_clear(&a);
	end_clear(&b);
	teardown();
}

int main(void)
{
	Suite *suite = suite_create("chunkd");
	TCase *tcase = tcase_create("loopback");

	tcase_add_checked_fixture(tcase, setup, teardown_ends);
	tcase_set_timeout(tcase, HANG_S);
	tcase_add_test(tcase, hello_is_answered_with_who_we_are);
	tcase_add_loop_test(tcase, hello_to_somebody_else_is_refused, 0, 5);
	tcase_add_loop_test(tcase, whoever_breaks_the_rules_is_cut_off_and_harms_nobody, 0, 4);
	tcase_add_test(tcase, newer_connection_of_an_engine_closes_the_older);
	tcase_add_test(tcase, what_was_written_is_read);
	tcase_add_test(tcase, many_writes_in_flight_are_answered_in_order);
	tcase_add_test(tcase, writes_survive_a_restart);
	tcase_add_test(tcase, stopping_finishes_what_is_under_way);
	tcase_add_test(tcase, new_disk_registers_and_remembers);
	tcase_add_test(tcase, session_brings_health_and_a_report);
	tcase_add_test(tcase, fences_and_deletes_of_metad_are_carried_out);
	tcase_add_loop_test(tcase, refused_by_metad_it_serves_what_it_has, 0, 2);
	tcase_add_test(tcase, mistakes_are_named_with_the_remedy);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
