/*
 * admin.c - copyhold(1) as the simulator needs it: one request to metad at a time, repeated until there is an answer.
 */
#include "tests/sim/cluster.h"
#include "proto/codec.h"

#include <stdlib.h>

struct admin {
	struct cluster *cluster;
	struct sim_process *process;
	struct codec *codec;
	struct io_conn *conn;
	struct io_timer retry;
	unsigned next_metad;
	uint64_t connection, id;
	bool busy;
	char verb[64], json[512];
	void (*done)(struct cluster *c, enum wire_status status, const char *json, void *context);
	void *context;
};

#define RETRY_NS (500 * NS_PER_MS)

static void send_msg(struct admin *a, const struct msg *m)
{
	codec_send(a->codec, &a->process->transport, a->conn, m);
}

static void on_opened(struct io_conn *conn, void *context)
{
	struct admin *a = context;
	struct msg m = {.type = MSG_HELLO, .id = ++a->id};

	(void)conn;
	m.u.hello.protocol_version = PROTOCOL_VERSION;
	m.u.hello.role = ROLE_ADMIN;
	m.u.hello.instance = uuid_from_random(17, a->cluster->params.seed);
	m.u.hello.connection = ++a->connection;
	send_msg(a, &m);
}

static void retry_later(struct admin *a)
{
	a->process->clock.timer_start(&a->process->clock, &a->retry, RETRY_NS);
}

static void on_closed(struct io_conn *conn, void *context, int error)
{
	struct admin *a = context;

	(void)conn;
	(void)error;
	a->conn = NULL;
	retry_later(a);
}

static void finish(struct admin *a, enum wire_status status, const char *json)
{
	a->busy = false;
	a->process->transport.close(a->conn);
	a->conn = NULL;
	a->process->clock.timer_stop(&a->process->clock, &a->retry);
	a->done(a->cluster, status, json, a->context);
}

static void on_frame(struct io_conn *conn, void *context, const struct io_frame *frame)
{
	struct admin *a = context;
	struct msg m, out;
	const char *why;

	(void)conn;
	if (codec_decode(a->codec, frame, &m, &why))
		return;
	if (m.type == MSG_HELLO_OK && m.status == WIRE_OK) {
		out = (struct msg){.type = MSG_ADMIN, .id = ++a->id};
		out.u.admin.verb = a->verb;
		out.u.admin.json = a->json;
		send_msg(a, &out);
	} else if (m.type == MSG_ADMIN_OK && m.status != WIRE_NOT_LEADER &&
		   m.status != WIRE_IO_ERROR) {
		sim_trace(&a->cluster->sim, "%s: %s %s", a->verb, wire_status_name(m.status),
			  m.u.admin_ok.json ? m.u.admin_ok.json : "");
		finish(a, m.status, m.u.admin_ok.json);
	}
}

static const struct io_conn_ops ops = {on_opened, on_frame, on_closed};

static void try_run(struct io_timer *timer)
{
	struct admin *a = container_of(timer, struct admin, retry);

	if (a->conn)
		a->process->transport.close(a->conn);
	a->conn = a->process->transport.connect(
		&a->process->transport,
		a->cluster->metads[a->next_metad++ % a->cluster->params.metads].address, &ops, a);
	/* Gives up on an answer that does not come. */
	a->process->clock.timer_start(&a->process->clock, &a->retry, 5 * NS_PER_S);
}

void admin_request(struct cluster *c, const char *verb, const char *json,
		   void (*done)(struct cluster *c, enum wire_status status, const char *json_text,
				void *context),
		   void *context)
{
	struct admin *a = c->admin;

	assert(!a->busy);
	a->busy = true;
	a->done = done;
	a->context = context;
	snprintf(a->verb, sizeof a->verb, "%s", verb);
	snprintf(a->json, sizeof a->json, "%s", json);
	a->next_metad = c->active_metad;
	try_run(&a->retry);
}

bool admin_busy(const struct cluster *c)
{
	return c->admin->busy;
}

struct admin *admin_new(struct cluster *c)
{
	struct admin *a = xcalloc(1, sizeof *a);

	a->cluster = c;
	a->codec = codec_new();
	a->process = sim_process_add(&c->sim, sim_host_add(&c->sim, "adm", 0), "adm");
	a->retry.fire = try_run;
	net_attach(c->sim.net, a->process);
	sim_process_start(a->process);
	return a;
}

void admin_free(struct admin *a)
{
	sim_process_end(a->process);
	net_process_ended(a->cluster->sim.net, a->process, true);
	codec_free(a->codec);
	free(a);
}
