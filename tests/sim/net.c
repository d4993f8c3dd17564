/*
 * net.c - see net.h.
 *
 *   send -> outbox -(departure: an event of the sending process)-> wire -(arrival: of the world; waits while the link
 *   is cut)-> inbox -(delivery: an event of the receiving process)-> frame()
 *
 * A connection has two ends, each with an outbox and an inbox, and a wire for each direction. A CLOSE item travels on the wire
 * as frames do, behind them.
 */
#include "tests/sim/net_private.h"
#include "common/base/crc.h"

#include <errno.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_NS (20 * NS_PER_S)
#define STALL_TIMEOUT_NS   (60 * NS_PER_S)

static void arrival_run(struct sim_event *event);
static void delivery_run(struct sim_event *event);
static void departure_run(struct sim_event *event);

struct io_conn *net_other(struct io_conn *end)
{
	return &end->connection->end[end == &end->connection->end[0]];
}

void net_item_free(struct item *item)
{
	free((void *)(uintptr_t)item->frame.body);
	slice_unref(&item->frame.payload);
	free(item);
}

void net_items_drop(struct items *items, size_t *bytes)
{
	struct item *item;

	while ((item = TAILQ_FIRST(items))) {
		TAILQ_REMOVE(items, item, link);
		net_item_free(item);
	}
	*bytes = 0;
}

static void end_drop(struct io_conn *end)
{
	struct sim *sim = end->connection->net->sim;

	end->state = END_CLOSED;
	end->accepting = false;
	sim_cancel(sim, &end->departure);
	sim_cancel(sim, &end->delivery);
	net_items_drop(&end->outbox, &end->outbox_bytes);
	net_items_drop(&end->inbox, &end->inbox_bytes);
}

/* A connection that both ends have left keeps only its struct, until the end of the run. */
static void retire_if_over(struct connection *c)
{
	if (c->end[0].state != END_CLOSED || c->end[1].state != END_CLOSED || c->syn_pending)
		return;
	if (c->end[0].power_lost || c->end[1].power_lost)
		return;
	for (int i = 0; i < 2; i++) {
		sim_cancel(c->net->sim, &c->end[i].arrival);
		net_items_drop(&c->end[i].wire, &c->end[i].wire_bytes);
	}
	TAILQ_REMOVE(&c->net->connections, c, link);
	TAILQ_INSERT_TAIL(&c->net->gone, c, link);
}

/* ---- the wire ---- */

static uint64_t delay_of(struct io_conn *from, uint32_t bytes)
{
	struct connection *c = from->connection;
	const struct net_character *ch = &c->net->character;
	uint64_t ns;

	if (c->local)
		return 5000 + prng_below(&c->random, 20000);
	ns = ch->latency_ns + prng_below(&c->random, ch->jitter_ns + 1) +
	     bytes * NS_PER_S / ch->bytes_per_s;
	if (ch->spike_one_in && prng_chance(&c->random, 1, ch->spike_one_in))
		ns += prng_below(&c->random, ch->spike_ns + 1);
	return ns * c->net->slow[from->host] * c->net->slow[net_other(from)->host];
}

static void wire_put(struct io_conn *from, struct item *item)
{
	struct sim *sim = from->connection->net->sim;

	item->arrives_ns =
		MAX(from->last_arrival_ns + 1, sim->now_ns + delay_of(from, item->bytes));
	from->last_arrival_ns = item->arrives_ns;
	TAILQ_INSERT_TAIL(&from->wire, item, link);
	from->wire_bytes += item->bytes;
	if (TAILQ_FIRST(&from->wire) == item)
		sim_schedule(sim, &from->arrival, NULL, item->arrives_ns, "arrival");
}

void net_wire_put_close(struct io_conn *from, int error, uint64_t extra_ns)
{
	struct item *item = xcalloc(1, sizeof *item);

	item->kind = ITEM_CLOSE;
	item->error = error;
	from->last_arrival_ns =
		MAX(from->last_arrival_ns, from->connection->net->sim->now_ns + extra_ns);
	wire_put(from, item);
}

/* The copy that the network makes: from here on no memory is shared with the sender. */
static void item_depart(struct io_conn *from, struct item *item)
{
	struct connection *c = from->connection;
	struct slice copy;

	if (!item->frame.payload.bytes)
		return;
	if (crc32c(0, slice_data(item->frame.payload), item->frame.payload.bytes) !=
	    item->payload_crc)
		sim_fail(c->net->sim, "payload changed after send", 0,
			 "%s: the payload of a %s was changed after it was handed to the transport",
			 from->process->name, msg_type_name(item->frame.type));
	copy = slice_new(item->frame.payload.bytes);
	memcpy(slice_data(copy), slice_data(item->frame.payload), copy.bytes);
	slice_unref(&item->frame.payload);
	item->frame.payload = copy;
	if (c->net->character.flip_one_in &&
	    prng_chance(&c->random, 1, c->net->character.flip_one_in))
		slice_data(copy)[prng_below(&c->random, copy.bytes)] ^=
			(uint8_t)(1u << prng_below(&c->random, 8));
}

/* Gives to the wire what fits into the receiver's window. */
void net_outbox_flush(struct io_conn *end, bool all)
{
	struct net_character *ch = &end->connection->net->character;
	struct item *item;

	while ((item = TAILQ_FIRST(&end->outbox))) {
		if (!all && end->wire_bytes + net_other(end)->inbox_bytes > ch->window_bytes)
			return;
		TAILQ_REMOVE(&end->outbox, item, link);
		end->outbox_bytes -= item->bytes;
		/* Where the net_other machine has lost power it goes out: that one says so when it is up again. */
		if (end->connection->broken ||
		    (net_other(end)->state == END_CLOSED && !net_other(end)->power_lost)) {
			/* Lost. Where the net_other end is gone for good, the kernel there says so. */
			if (!end->connection->broken) {
				end->connection->broken = true;
				net_wire_put_close(net_other(end), -ECONNRESET, 0);
			}
			net_item_free(item);
			continue;
		}
		item_depart(end, item);
		wire_put(end, item);
	}
}

static void departure_run(struct sim_event *event)
{
	net_outbox_flush(container_of(event, struct io_conn, departure), false);
}

static bool link_open(struct io_conn *from)
{
	struct connection *c = from->connection;
	struct io_conn *to = net_other(from);

	if (c->local)
		return true;
	return !from->held && !c->net->cut[from->host][to->host] &&
	       c->net->sim->hosts[from->host].up && c->net->sim->hosts[to->host].up;
}

/* Nothing gets through: the sender's kernel tries again, ever more rarely, and gives up in the end. */
static void arrival_stall(struct io_conn *from)
{
	struct sim *sim = from->connection->net->sim;

	if (!from->stalled_since_ns) {
		from->stalled_since_ns = sim->now_ns;
		from->retry_ns = 200 * NS_PER_MS;
	}
	if (sim->now_ns - from->stalled_since_ns > STALL_TIMEOUT_NS && from->state == END_OPEN) {
		from->connection->broken = true;
		net_items_drop(&from->wire, &from->wire_bytes);
		from->stalled_since_ns = 0;
		net_end_hears(from, -ETIMEDOUT);
		return;
	}
	sim_schedule(sim, &from->arrival, NULL, sim->now_ns + from->retry_ns, "retry");
	from->retry_ns = MIN(from->retry_ns * 2, 3 * NS_PER_S);
}

static void arrival_run(struct sim_event *event)
{
	struct io_conn *from = container_of(event, struct io_conn, arrival), *to = net_other(from);
	struct connection *c = from->connection;
	struct sim *sim = c->net->sim;
	struct item *item = TAILQ_FIRST(&from->wire);

	assert(item);
	if (!link_open(from)) {
		arrival_stall(from);
		return;
	}
	from->stalled_since_ns = 0;
	TAILQ_REMOVE(&from->wire, item, link);
	from->wire_bytes -= item->bytes;
	if (!TAILQ_EMPTY(&from->wire))
		sim_schedule(sim, &from->arrival, NULL, TAILQ_FIRST(&from->wire)->arrives_ns,
			     "arrival");
	if (to->state == END_CLOSED) {
		if (item->kind == ITEM_FRAME && !c->broken) {
			c->broken = true;
			to->power_lost = false;
			net_wire_put_close(to, -ECONNRESET, 0);
		}
		net_item_free(item);
		retire_if_over(c);
		return;
	}
	TAILQ_INSERT_TAIL(&to->inbox, item, link);
	to->inbox_bytes += item->bytes;
	if (!to->accepting && !to->delivery.heap_index && !to->delivery.deferred &&
	    to->state == END_OPEN)
		sim_schedule(sim, &to->delivery, to->process,
			     sim->now_ns + prng_below(&c->random, 20000), "delivery");
}

static void deliver_frame(struct io_conn *to, struct item *item)
{
	struct connection *c = to->connection;
	struct sim_net *net = c->net;
	struct sim *sim = net->sim;
	struct frame_header header;
	const char *why = NULL;
	const struct io_frame *f = &item->frame;

	if (frame_decode_header(item->header, &header, &why) ||
	    frame_check_body(&header, f->body) || header.type != f->type || header.id != f->id ||
	    header.status != f->status)
		sim_fail(sim, "frame header", 0, "a frame that was encoded cannot be decoded: %s",
			 why ? why : "fields differ");
	sim->totals.frames++;
	sim_note(sim, f->id ^ (uint64_t)f->type << 48 ^ (uint64_t)f->status << 40);
	sim_note(sim, crc32c(crc32c(0, f->body, f->body_bytes), slice_data(f->payload),
			     f->payload.bytes));
	if (net->watch.delivered)
		net->watch.delivered(net->watch.context, net_other(to)->process, to->process, c->id,
				     f);
	to->ops->frame(to, to->context, f);
}

static void delivery_run(struct sim_event *event)
{
	struct io_conn *to = container_of(event, struct io_conn, delivery), *from = net_other(to);
	struct connection *c = to->connection;
	struct sim *sim = c->net->sim;
	struct item *item = TAILQ_FIRST(&to->inbox);

	if (!item || to->state != END_OPEN)
		return;
	TAILQ_REMOVE(&to->inbox, item, link);
	to->inbox_bytes -= item->bytes;
	if (!TAILQ_EMPTY(&to->inbox))
		sim_schedule(sim, &to->delivery, to->process, sim->now_ns, "delivery");
	/* Room in the window: what waits at the sender's kernel may go. */
	if (from->state == END_OPEN && !TAILQ_EMPTY(&from->outbox) && !from->departure.heap_index &&
	    !from->departure.deferred)
		sim_schedule(sim, &from->departure, from->process, sim->now_ns, "departure");
	if (item->kind == ITEM_FRAME) {
		deliver_frame(to, item);
	} else {
		sim_trace(sim, "connection %llu to %s closed: %d", (unsigned long long)c->id,
			  to->peer, item->error);
		end_drop(to);
		c->broken = true;
		to->ops->closed(to, to->context, item->error);
		retire_if_over(c);
	}
	net_item_free(item);
}

/* ---- the transport seam ---- */

static struct sim_process *process_of(struct io_transport *t)
{
	return container_of(t, struct sim_process, transport);
}

static struct io_listener *find_listener(struct sim_net *net, const char *address)
{
	struct io_listener *l;

	TAILQ_FOREACH (l, &net->listeners, link) {
		if (strcmp(l->address, address) == 0)
			return l;
	}
	return NULL;
}

static int transport_listen(struct io_transport *t, const char *address,
			    void (*accepted)(void *context, struct io_conn *conn), void *context,
			    struct io_listener **listener)
{
	struct sim_process *p = process_of(t);
	struct io_listener *l;

	if (find_listener(p->sim->net, address))
		return -EADDRINUSE;
	l = xcalloc(1, sizeof *l);
	l->net = p->sim->net;
	l->process = p;
	l->accepted = accepted;
	l->context = context;
	snprintf(l->address, sizeof l->address, "%s", address);
	TAILQ_INSERT_TAIL(&l->net->listeners, l, link);
	*listener = l;
	return 0;
}

static void end_lost(struct io_conn *end, bool power);

static void transport_listener_close(struct io_transport *t, struct io_listener *l)
{
	struct connection *c, *next;

	if (!process_of(t)->running)
		return; /* it was killed: its listeners are gone, and what it says now is its memory being freed */
	/* Who has been let in by the kernel and not yet been accepted is sent away. */
	TAILQ_FOREACH_SAFE (c, &l->net->connections, link, next) {
		if (c->listener == l && c->end[1].accepting) {
			sim_cancel(l->net->sim, &c->accept);
			end_lost(&c->end[1], false);
		}
	}
	TAILQ_REMOVE(&l->net->listeners, l, link);
	free(l);
}

static void end_init(struct connection *c, int i)
{
	struct io_conn *end = &c->end[i];

	end->connection = c;
	end->departure.run = departure_run;
	end->arrival.run = arrival_run;
	end->delivery.run = delivery_run;
	TAILQ_INIT(&end->outbox);
	TAILQ_INIT(&end->wire);
	TAILQ_INIT(&end->inbox);
}

static void connect_failed(struct connection *c, int error)
{
	struct io_conn *end = &c->end[0];
	struct item *item;

	c->end[1].state = END_CLOSED;
	c->syn_pending = false;
	if (end->state == END_CLOSED) {
		retire_if_over(c);
		return;
	}
	end->state = END_OPEN; /* so that the CLOSE is delivered */
	item = xcalloc(1, sizeof *item);
	item->kind = ITEM_CLOSE;
	item->error = error;
	net_items_drop(&end->outbox, &end->outbox_bytes);
	TAILQ_INSERT_TAIL(&end->inbox, item, link);
	sim_schedule(c->net->sim, &end->delivery, end->process, c->net->sim->now_ns, "delivery");
}

static void accept_run(struct sim_event *event)
{
	struct connection *c = container_of(event, struct connection, accept);
	struct io_conn *end = &c->end[1];
	struct sim *sim = c->net->sim;

	if (end->state == END_CLOSED)
		return;
	end->accepting = false;
	c->listener->accepted(c->listener->context, end);
	if (end->state == END_CLOSED)
		return;
	assert(end->ops);
	if (!TAILQ_EMPTY(&end->inbox))
		sim_schedule(sim, &end->delivery, end->process, sim->now_ns, "delivery");
}

static void opened_run(struct sim_event *event)
{
	struct connection *c = container_of(event, struct connection, opened);
	struct io_conn *end = &c->end[0];
	struct sim *sim = c->net->sim;

	if (end->state == END_CLOSED)
		return;
	end->state = END_OPEN;
	sim_schedule(sim, &end->departure, end->process, sim->now_ns, "departure");
	if (!TAILQ_EMPTY(&end->inbox))
		sim_schedule(sim, &end->delivery, end->process, sim->now_ns + 1, "delivery");
	end->ops->opened(end, end->context);
}

/* The SYN arrives, or is sent again. */
static void syn_run(struct sim_event *event)
{
	struct connection *c = container_of(event, struct connection, syn);
	struct sim *sim = c->net->sim;
	struct io_listener *l = find_listener(c->net, c->address);
	struct io_conn *from = &c->end[0], *to = &c->end[1];
	uint64_t delay;

	if (from->state == END_CLOSED) {
		c->syn_pending = false;
		to->state = END_CLOSED;
		retire_if_over(c);
		return;
	}
	if (!c->local && (!link_open(from) || c->net->cut[to->host][from->host])) {
		if (sim->now_ns - c->asked_ns > CONNECT_TIMEOUT_NS)
			connect_failed(c, -ETIMEDOUT);
		else
			sim_schedule(sim, &c->syn, NULL,
				     sim->now_ns + MAX(NS_PER_S, sim->now_ns - c->asked_ns), "syn");
		return;
	}
	if (!l) {
		connect_failed(c, -ECONNREFUSED);
		return;
	}
	c->syn_pending = false;
	delay = delay_of(from, 0);
	to->process = l->process;
	to->state = END_OPEN;
	to->accepting = true;
	c->listener = l;
	sim_schedule(sim, &c->accept, l->process, sim->now_ns + prng_below(&c->random, 50000),
		     "accept");
	sim_schedule(sim, &c->opened, from->process, sim->now_ns + delay, "opened");
}

/* "HOST:PORT" or "unix:/HOST/...": the host by its name; -1 if there is none. */
static int host_of(struct sim *sim, const char *address)
{
	const char *at = strncmp(address, "unix:/", 6) == 0 ? address + 6 : address;
	size_t length = strcspn(at, ":/");

	for (unsigned i = 0; i < sim->host_count; i++) {
		if (strlen(sim->hosts[i].name) == length &&
		    memcmp(sim->hosts[i].name, at, length) == 0)
			return (int)i;
	}
	return -1;
}

static struct io_conn *transport_connect(struct io_transport *t, const char *address,
					 const struct io_conn_ops *ops, void *context)
{
	struct sim_process *p = process_of(t);
	struct sim_net *net = p->sim->net;
	struct connection *c = xcalloc(1, sizeof *c);
	int host = host_of(p->sim, address);

	c->net = net;
	c->id = ++net->next_id;
	c->random = sim_stream(p->sim, "connection", c->id);
	c->asked_ns = p->sim->now_ns;
	c->syn_pending = true;
	snprintf(c->address, sizeof c->address, "%s", address);
	end_init(c, 0);
	end_init(c, 1);
	c->end[0].process = p;
	c->end[0].host = p->host->index;
	c->end[0].ops = ops;
	c->end[0].context = context;
	c->end[1].host = host < 0 ? p->host->index : (unsigned)host;
	c->local = host < 0 || p->host->index == (unsigned)host;
	snprintf(c->end[0].peer, sizeof c->end[0].peer, "%s", address);
	snprintf(c->end[1].peer, sizeof c->end[1].peer, "%s:%llu", p->name,
		 (unsigned long long)c->id);
	c->syn.run = syn_run;
	c->opened.run = opened_run;
	c->accept.run = accept_run;
	TAILQ_INSERT_TAIL(&net->connections, c, link);
	sim_schedule(p->sim, &c->syn, NULL, p->sim->now_ns + delay_of(&c->end[0], 0), "syn");
	return &c->end[0];
}

static void transport_set_handler(struct io_conn *conn, const struct io_conn_ops *ops,
				  void *context)
{
	conn->ops = ops;
	conn->context = context;
}

static void transport_send(struct io_conn *conn, const struct io_frame *frame)
{
	struct connection *c = conn->connection;
	struct sim *sim = c->net->sim;
	struct item *item;
	uint8_t *body;

	if (!conn->process->running)
		return;
	assert(conn->state != END_CLOSED);
	item = xcalloc(1, sizeof *item);
	body = xmalloc(frame->body_bytes);
	if (frame->body_bytes)
		memcpy(body, frame->body, frame->body_bytes);
	item->frame = *frame;
	item->frame.body = body;
	slice_ref(item->frame.payload);
	frame_encode_header(&item->frame, item->header);
	item->payload_crc = crc32c(0, slice_data(frame->payload), frame->payload.bytes);
	item->bytes = FRAME_HEADER_BYTES + frame->body_bytes + frame->payload.bytes;
	TAILQ_INSERT_TAIL(&conn->outbox, item, link);
	conn->outbox_bytes += item->bytes;
	if (c->net->watch.sent)
		c->net->watch.sent(c->net->watch.context, conn->process, net_other(conn)->process,
				   c->id, &item->frame);
	if (conn->state == END_OPEN && !conn->departure.heap_index)
		sim_schedule(sim, &conn->departure, conn->process,
			     sim->now_ns + prng_below(&c->random, 10000), "departure");
}

static size_t transport_queued_bytes(struct io_conn *conn)
{
	return conn->outbox_bytes;
}

static void transport_close(struct io_conn *conn)
{
	struct connection *c = conn->connection;
	struct io_conn *peer = net_other(conn);

	if (!conn->process->running)
		return; /* killed: the kernel has closed it */
	assert(conn->state != END_CLOSED);
	sim_cancel(c->net->sim, &c->opened);
	if (!c->syn_pending) {
		bool unread = !TAILQ_EMPTY(&conn->inbox);

		net_outbox_flush(conn, false);
		if (!c->broken && peer->state != END_CLOSED)
			net_wire_put_close(conn, unread ? -ECONNRESET : 0, 0);
	}
	end_drop(conn);
	retire_if_over(c);
}

static const char *transport_peer(struct io_conn *conn)
{
	return conn->peer;
}

void net_attach(struct sim_net *net, struct sim_process *process)
{
	(void)net;
	process->transport = (struct io_transport){
		.listen = transport_listen,
		.listener_close = transport_listener_close,
		.connect = transport_connect,
		.set_handler = transport_set_handler,
		.send = transport_send,
		.queued_bytes = transport_queued_bytes,
		.close = transport_close,
		.peer = transport_peer,
	};
}

/* ---- the world ---- */

struct sim_net *net_new(struct sim *sim, const struct net_character *character)
{
	struct sim_net *net = xcalloc(1, sizeof *net);

	net->sim = sim;
	net->character = *character;
	TAILQ_INIT(&net->connections);
	TAILQ_INIT(&net->gone);
	TAILQ_INIT(&net->listeners);
	for (unsigned i = 0; i < SIM_HOSTS_MAX; i++)
		net->slow[i] = 1;
	sim->net = net;
	return net;
}

static void connections_free(struct connections *list)
{
	struct connection *c;

	while ((c = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, c, link);
		for (int i = 0; i < 2; i++) {
			net_items_drop(&c->end[i].outbox, &c->end[i].outbox_bytes);
			net_items_drop(&c->end[i].wire, &c->end[i].wire_bytes);
			net_items_drop(&c->end[i].inbox, &c->end[i].inbox_bytes);
		}
		free(c);
	}
}

/* The events of what is freed are still in the heap: to be called when no more will run. */
void net_free(struct sim_net *net)
{
	struct io_listener *l;

	connections_free(&net->connections);
	connections_free(&net->gone);
	while ((l = TAILQ_FIRST(&net->listeners))) {
		TAILQ_REMOVE(&net->listeners, l, link);
		free(l);
	}
	net->sim->net = NULL;
	free(net);
}

void net_set_watch(struct sim_net *net, const struct net_watch *watch)
{
	net->watch = *watch;
}

static void end_lost(struct io_conn *end, bool power)
{
	struct connection *c = end->connection;
	bool unread = !TAILQ_EMPTY(&end->inbox);

	if (power) {
		net_items_drop(&end->wire, &end->wire_bytes);
		sim_cancel(c->net->sim, &end->arrival);
		end->power_lost = true;
	} else if (!c->broken && net_other(end)->state != END_CLOSED && !c->syn_pending) {
		net_wire_put_close(end, unread ? -ECONNRESET : 0, 0);
	}
	end_drop(end);
	retire_if_over(c);
}

void net_process_ended(struct sim_net *net, struct sim_process *process, bool power)
{
	struct connection *c, *next;
	struct io_listener *l, *next_listener;

	TAILQ_FOREACH_SAFE (l, &net->listeners, link, next_listener) {
		if (l->process == process) {
			TAILQ_REMOVE(&net->listeners, l, link);
			free(l);
		}
	}
	TAILQ_FOREACH_SAFE (c, &net->connections, link, next) {
		for (int i = 0; i < 2; i++) {
			if (c->end[i].process == process && c->end[i].state != END_CLOSED)
				end_lost(&c->end[i], power);
		}
	}
}
