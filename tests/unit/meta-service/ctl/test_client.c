/* test_client.c - requests to the meta service, over real sockets, to fake ones that behave in all the ways they may. */
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/files.h"
#include "common/io-ev/io_ev.h"
#include "common/trace/trace.h"
#include "proto/codec.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum behaviour {
	ANSWERS,       /* {"echo": its arguments} */
	TELLS_ERROR,   /* an error document */
	STANDS_BY,     /* NOT_LEADER */
	TALKS_RUBBISH, /* an answer that is no JSON object */
	REFUSES_HELLO,
	HANGS_UP,
};

/* ---- a fake metad, a process of its own ---- */

struct fake {
	enum behaviour behaviour;
	struct io_transport *transport;
	struct codec *codec;
};

static void answer_hello(struct fake *fake, struct io_conn *conn, uint64_t id)
{
	struct msg msg = {.type = MSG_HELLO_OK, .id = id};

	msg.u.hello.protocol_version = PROTOCOL_VERSION;
	msg.u.hello.role = ROLE_METAD;
	if (fake->behaviour == REFUSES_HELLO) {
		msg.status = WIRE_VERSION;
		snprintf(msg.u.hello.text, sizeof msg.u.hello.text, "not my version");
	}
	codec_send(fake->codec, fake->transport, conn, &msg);
}

static void answer_admin(struct fake *fake, struct io_conn *conn, const struct msg *request)
{
	struct msg msg = {.type = MSG_ADMIN_OK, .id = request->id};
	char *json;

	switch (fake->behaviour) {
	case TELLS_ERROR:
		msg.status = WIRE_NOT_FOUND;
		json = files_format("{\"error\": {\"code\": \"NOT_FOUND\", \"message\": \"m\", "
				    "\"hint\": \"h\"}}");
		break;
	case STANDS_BY:
		msg.status = WIRE_NOT_LEADER;
		json = xstrdup("{}");
		break;
	case TALKS_RUBBISH:
		json = xstrdup("[1, 2");
		break;
	default:
		json = files_format("{\"verb\": \"%s\", \"echo\": %s}", request->u.admin.verb,
				    request->u.admin.json);
		break;
	}
	msg.u.admin_ok.json = json;
	codec_send(fake->codec, fake->transport, conn, &msg);
	free(json);
}

static void on_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct fake *fake = context;
	struct msg msg;
	const char *why;

	if (codec_decode(fake->codec, frame, &msg, &why) != 0)
		abort();
	if (msg.type == MSG_HELLO)
		answer_hello(fake, conn, msg.id);
	else if (fake->behaviour == HANGS_UP)
		fake->transport->close(conn);
	else
		answer_admin(fake, conn, &msg);
}

static void on_closed(struct io_conn *conn, void *context, int error)
{
	(void)conn;
	(void)context;
	(void)error;
}

static const struct io_conn_ops ops = {.frame = on_frame, .closed = on_closed};

static void accepted(void *context, struct io_conn *conn)
{
	struct fake *fake = context;

	fake->transport->set_handler(conn, &ops, fake);
}

/* Starts one at the address and returns when it listens: it closes its end of the pipe then. */
static pid_t start_fake(const char *address, enum behaviour behaviour)
{
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
		struct io_listener *listener;
		struct fake fake = {.behaviour = behaviour, .codec = codec_new()};

		fake.transport = io_ev_transport(io_ev_new(loop));
		if (fake.transport->listen(fake.transport, address, accepted, &fake, &listener))
			abort();
		close(ready[0]);
		close(ready[1]);
		ev_run(loop, 0);
		_exit(0);
	}
	ck_assert_int_gt(pid, 0);
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	return pid;
}

/* ---- tests ---- */

static char dir[64];
static char *first, *second;
static pid_t fakes[2];
static const struct option_spec none[] = {{0}};
static const struct command command = {"volume", "list", "", 0, 0, "list", none, NULL};

static void setup(void)
{
	int null = open("/dev/null", O_WRONLY);

	trace_limit = TRACE_ERROR;
	snprintf(dir, sizeof dir, "/tmp/copyhold-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	first = files_format("unix:%s/1", dir);
	second = files_format("unix:%s/2", dir);
	fakes[0] = fakes[1] = 0;
	dup2(null, STDERR_FILENO);
	close(null);
}

static void teardown(void)
{
	for (int i = 0; i < 2; i++) {
		if (fakes[i]) {
			kill(fakes[i], SIGKILL);
			waitpid(fakes[i], NULL, 0);
		}
	}
	free(first);
	free(second);
	files_remove_directory(dir);
}

static enum exit_code ask(const char *meta, json_t **answer)
{
	struct invocation in = {.command = &command, .meta = meta};

	return client_request(&in, "volume.list", json_pack("{s:i}", "a", 1), answer);
}

static void assert_echoed(json_t *answer)
{
	ck_assert_ptr_nonnull(answer);
	ck_assert_str_eq(json_text(answer, "verb"), "volume.list");
	ck_assert_uint_eq(json_u64(json_object_get(answer, "echo"), "a"), 1);
	json_decref(answer);
}

START_TEST(an_answer_is_returned)
{
	json_t *answer;

	fakes[0] = start_fake(first, ANSWERS);
	ck_assert_int_eq(ask(first, &answer), EXIT_CODE_OK);
	assert_echoed(answer);
	assert_echoed(client_ask_quietly(first, "volume.list", json_pack("{s:i}", "a", 1)));
}
END_TEST

START_TEST(a_failure_is_told)
{
	static const enum behaviour bad[] = {TELLS_ERROR, STANDS_BY, TALKS_RUBBISH, REFUSES_HELLO,
					     HANGS_UP};
	json_t *answer;

	fakes[0] = start_fake(first, bad[_i]);
	ck_assert_int_eq(ask(first, &answer), EXIT_CODE_FAILED);
	ck_assert_ptr_null(answer);
	ck_assert_ptr_null(client_ask_quietly(first, "volume.list", json_object()));
}
END_TEST

START_TEST(one_that_will_not_do_is_passed_over)
{
	static const enum behaviour passed_over[] = {STANDS_BY, REFUSES_HELLO, HANGS_UP};
	char *both = files_format("%s,%s", first, second);
	json_t *answer;

	fakes[0] = start_fake(first, passed_over[_i]);
	fakes[1] = start_fake(second, ANSWERS);
	ck_assert_int_eq(ask(both, &answer), EXIT_CODE_OK);
	assert_echoed(answer);
	free(both);
}
END_TEST

START_TEST(one_that_is_not_there_is_passed_over)
{
	char *both = files_format("%s/nobody,,not an address,%s", first, second);
	json_t *answer;

	fakes[1] = start_fake(second, ANSWERS);
	ck_assert_int_eq(ask(both, &answer), EXIT_CODE_OK);
	assert_echoed(answer);
	ck_assert_int_eq(ask("", &answer), EXIT_CODE_FAILED);
	free(both);
}
END_TEST

/* An error of the leader is the answer: nobody else is asked. */
START_TEST(an_error_is_an_answer)
{
	char *both = files_format("%s,%s", first, second);
	json_t *answer;

	fakes[0] = start_fake(first, TELLS_ERROR);
	fakes[1] = start_fake(second, ANSWERS);
	ck_assert_int_eq(ask(both, &answer), EXIT_CODE_FAILED);
	free(both);
}
END_TEST

START_TEST(members_that_are_missing_are_nothing)
{
	json_t *object =
		json_pack("{s:i, s:s, s:b, s:i}", "n", 7, "t", "text", "b", 1, "minus", -1);

	ck_assert_uint_eq(json_u64(object, "n"), 7);
	ck_assert_uint_eq(json_u64(object, "minus"), 0);
	ck_assert_uint_eq(json_u64(object, "t"), 0);
	ck_assert_uint_eq(json_u64(NULL, "n"), 0);
	ck_assert_str_eq(json_text(object, "t"), "text");
	ck_assert_str_eq(json_text(object, "n"), "");
	ck_assert(json_is_set(object, "b"));
	ck_assert(!json_is_set(object, "nothing"));
	json_decref(object);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client");
	TCase *tcase = tcase_create("client");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, an_answer_is_returned);
	tcase_add_loop_test(tcase, a_failure_is_told, 0, 5);
	tcase_add_loop_test(tcase, one_that_will_not_do_is_passed_over, 0, 3);
	tcase_add_test(tcase, one_that_is_not_there_is_passed_over);
	tcase_add_test(tcase, an_error_is_an_answer);
	tcase_add_test(tcase, members_that_are_missing_are_nothing);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
