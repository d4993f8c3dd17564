/*
 * client.c - see client.h.
 *
 * The metads of the list are tried in turn. One that can't be reached, or isn't the leader, is passed over; its reason is
 * told if none of them will do.
 */
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/config.h"
#include "meta-service/ctl/playground.h"
#include "common/io-ev/io_ev.h"
#include "proto/codec.h"

#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_NS (5 * NS_PER_S)
#define ANSWER_TIMEOUT_NS  (60 * NS_PER_S)

enum outcome {
	OUTCOME_PENDING,
	OUTCOME_ANSWER,     /* json holds what metad said */
	OUTCOME_PASS_OVER,  /* this metad will not do, another may */
	OUTCOME_UNREADABLE, /* it breaks the protocol */
};

struct client {
	struct ev_loop *loop;
	struct io_ev *io;
	struct io_transport *transport;
	struct codec *codec;
	struct io_conn *conn;
	struct io_timer timer;
	const char *verb;
	char *arguments;
	enum outcome outcome;
	json_t *answer;
	char why[TEXT_BYTES + 64];
};

static void finish(struct client *client, enum outcome outcome, const char *why)
{
	client->outcome = outcome;
	snprintf(client->why, sizeof client->why, "%s", why);
	ev_break(client->loop, EVBREAK_ALL);
}

static void send_request(struct client *client)
{
	struct msg msg = {.type = MSG_ADMIN, .id = 2};

	msg.u.admin.verb = client->verb;
	msg.u.admin.json = client->arguments;
	codec_send(client->codec, client->transport, client->conn, &msg);
	io_ev_clock(client->io)
		->timer_start(io_ev_clock(client->io), &client->timer, ANSWER_TIMEOUT_NS);
}

static void on_hello(struct client *client, const struct msg *msg)
{
	char why[TEXT_BYTES + 64];

	if (msg->status == WIRE_OK) {
		send_request(client);
		return;
	}
	snprintf(why, sizeof why, "it refuses the connection: %s",
		 *msg->u.hello.text ? msg->u.hello.text : wire_status_name(msg->status));
	finish(client, OUTCOME_PASS_OVER, why);
}

static void on_answer(struct client *client, const struct msg *msg)
{
	json_error_t error;

	if (msg->status == WIRE_NOT_LEADER) {
		finish(client, OUTCOME_PASS_OVER, "it is not the leader at the moment");
		return;
	}
	client->answer = json_loads(msg->u.admin_ok.json, 0, &error);
	if (!json_is_object(client->answer))
		finish(client, OUTCOME_UNREADABLE, "its answer is not a JSON object");
	else
		finish(client, OUTCOME_ANSWER, "");
}

static void on_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct client *client = context;
	struct msg msg;
	const char *why;

	(void)conn;
	if (client->outcome != OUTCOME_PENDING)
		return;
	if (codec_decode(client->codec, frame, &msg, &why) != 0)
		finish(client, OUTCOME_UNREADABLE, why);
	else if (msg.type == MSG_HELLO_OK)
		on_hello(client, &msg);
	else if (msg.type == MSG_ADMIN_OK && msg.id == 2)
		on_answer(client, &msg);
}

static void on_opened(struct io_conn *conn, void *context)
{
	struct client *client = context;
	struct io_clock *clock = io_ev_clock(client->io);
	struct msg msg = {.type = MSG_HELLO, .id = 1};
	struct msg_hello *hello = &msg.u.hello;
	uint64_t high = clock->random(clock), low = clock->random(clock);

	(void)conn;
	hello->protocol_version = PROTOCOL_VERSION;
	hello->role = ROLE_ADMIN;
	hello->instance = uuid_from_random(high, low);
	hello->connection = 1;
	codec_send(client->codec, client->transport, client->conn, &msg);
}

static void on_closed(struct io_conn *conn, void *context, int error)
{
	struct client *client = context;

	(void)conn;
	client->conn = NULL;
	if (client->outcome == OUTCOME_PENDING)
		finish(client, OUTCOME_PASS_OVER,
		       error ? strerror(-error) : "it closed the connection");
}

static void on_timer(struct io_timer *timer)
{
	finish(container_of(timer, struct client, timer), OUTCOME_PASS_OVER, "no answer in time");
}

static const struct io_conn_ops conn_ops = {
	.opened = on_opened, .frame = on_frame, .closed = on_closed};

static void ask_one(struct client *client, const char *address)
{
	struct io_clock *clock = io_ev_clock(client->io);

	client->outcome = OUTCOME_PENDING;
	client->timer.fire = on_timer;
	clock->timer_start(clock, &client->timer, CONNECT_TIMEOUT_NS);
	client->conn = client->transport->connect(client->transport, address, &conn_ops, client);
	ev_run(client->loop, 0);
	clock->timer_stop(clock, &client->timer);
	if (client->conn)
		client->transport->close(client->conn);
	client->conn = NULL;
}

/* Asks one after another until one answers; whys collects the reasons of the others. */
static void ask_all(struct client *client, const char *meta, char *whys, size_t whys_bytes)
{
	char *list = xstrdup(meta), *at = list, *address;
	size_t used = 0;

	client->outcome = OUTCOME_PASS_OVER;
	while (client->outcome == OUTCOME_PASS_OVER && (address = strsep(&at, ","))) {
		int n;

		if (!*address)
			continue;
		ask_one(client, address);
		n = snprintf(whys + used, whys_bytes - used, "%s%s: %s", used ? "; " : "", address,
			     client->why);
		used = MIN(used + (size_t)n, whys_bytes - 1);
	}
	free(list);
}

static void client_open(struct client *client, const char *verb, const json_t *arguments)
{
	*client = (struct client){.verb = verb};
	client->loop = ev_loop_new(EVFLAG_AUTO);
	assert(client->loop);
	client->io = io_ev_new(client->loop);
	client->transport = io_ev_transport(client->io);
	client->codec = codec_new();
	client->arguments = json_dumps(arguments, JSON_COMPACT);
	assert(client->arguments);
}

static void client_close(struct client *client)
{
	io_ev_free(client->io);
	ev_loop_destroy(client->loop);
	codec_free(client->codec);
	free(client->arguments);
}

/* An error document of metad: as it is for programs, in words for people. */
static enum exit_code tell_error(const struct invocation *invocation, const json_t *error)
{
	return fail(invocation, json_text(error, "code"), json_text(error, "hint"), "%s",
		    json_text(error, "message"));
}

static enum exit_code request_part(const struct invocation *invocation, const char *verb,
				   const json_t *arguments, json_t **answer)
{
	const char *meta = client_meta(invocation);
	struct client client;
	char whys[1024] = "";
	json_t *error;

	*answer = NULL;
	if (!meta)
		return EXIT_CODE_FAILED;
	client_open(&client, verb, arguments);
	ask_all(&client, meta, whys, sizeof whys);
	client_close(&client);
	if (client.outcome == OUTCOME_UNREADABLE) {
		json_decref(client.answer);
		return fail(invocation, "PROTOCOL",
			    "is this the port of a copyhold-metad, of the same version?",
			    "the meta service's answer can't be read (%s)", whys);
	}
	if (client.outcome != OUTCOME_ANSWER)
		return fail(
			invocation, "NO_META",
			"start it (copyhold playground start, or systemctl start copyhold-metad), "
			"or name another with --meta",
			"the meta service can't be reached (%s)",
			*whys ? whys : "its address is empty");
	error = json_object_get(client.answer, "error");
	if (error) {
		enum exit_code code = tell_error(invocation, error);

		json_decref(client.answer);
		return code;
	}
	*answer = client.answer;
	return EXIT_CODE_OK;
}

/* Appends the lists of part to those of the same name in whole. */
static void append_part(json_t *whole, json_t *part)
{
	const char *name;
	json_t *list;

	json_object_foreach(part, name, list) if (json_is_array(list))
		json_array_extend(json_object_get(whole, name), list);
	json_decref(part);
}

/* Long lists come in parts: "next" is what the next request passes as "after". */
enum exit_code client_request(const struct invocation *invocation, const char *verb,
			      json_t *arguments, json_t **answer)
{
	enum exit_code code = request_part(invocation, verb, arguments, answer);
	json_t *part, *next = json_incref(json_object_get(*answer, "next"));

	while (code == EXIT_CODE_OK && next) {
		json_object_set_new(arguments, "after", next);
		code = request_part(invocation, verb, arguments, &part);
		next = json_incref(json_object_get(part, "next"));
		if (code == EXIT_CODE_OK)
			append_part(*answer, part);
	}
	if (code == EXIT_CODE_OK) {
		json_object_del(*answer, "next");
	} else {
		json_decref(*answer);
		*answer = NULL;
	}
	json_decref(arguments);
	return code;
}

json_t *client_ask_quietly(const char *meta, const char *verb, json_t *arguments)
{
	struct client client;
	char whys[64];

	client_open(&client, verb, arguments);
	json_decref(arguments);
	ask_all(&client, meta, whys, sizeof whys);
	client_close(&client);
	if (client.outcome == OUTCOME_ANSWER && !json_object_get(client.answer, "error"))
		return client.answer;
	json_decref(client.answer);
	return NULL;
}

enum exit_code client_request_or_print(const struct invocation *invocation, const char *verb,
				       json_t *arguments, json_t **answer)
{
	enum exit_code code = client_request(invocation, verb, arguments, answer);

	if (code == EXIT_CODE_OK && invocation->json) {
		print_json(*answer);
		*answer = NULL;
	}
	return code;
}

const char *client_meta(const struct invocation *invocation)
{
	const char *environment = getenv("COPYHOLD_META");
	struct config config = {0};
	char *playground;

	if (invocation->meta)
		return invocation->meta;
	if (environment && *environment)
		return environment;
	if (!config_load(invocation, &config))
		return NULL;
	if (config.meta)
		return config.meta;
	playground = playground_default_meta();
	if (playground) {
		note_verbose(invocation, "using the playground at %s", playground);
		return playground;
	}
	fail(invocation, "NO_META",
	     "copyhold playground start makes a cluster on this machine; for another one use "
	     "--meta "
	     "HOST:PORT, COPYHOLD_META, or meta = HOST:PORT in /etc/copyhold/copyhold.conf",
	     "no meta service is named");
	return NULL;
}

uint64_t json_u64(const json_t *object, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(object, name));

	return value > 0 ? (uint64_t)value : 0;
}

const char *json_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

bool json_is_set(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}
