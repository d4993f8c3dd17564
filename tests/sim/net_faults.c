/* net_faults.c - what breaks in the network: links are cut, hosts are slow, connections break, linger or are held back. See net.h. */
#include "tests/sim/net_private.h"

#include <errno.h>
#include <stdlib.h>

void net_link_cut(struct sim_net *net, unsigned from_host, unsigned to_host)
{
	net->cut[from_host][to_host]++;
}

void net_link_heal(struct sim_net *net, unsigned from_host, unsigned to_host)
{
	if (net->cut[from_host][to_host])
		net->cut[from_host][to_host]--;
}

void net_host_slow(struct sim_net *net, unsigned host, uint32_t times)
{
	net->slow[host] = times;
}

static void end_release(struct io_conn *end)
{
	struct sim *sim = end->connection->net->sim;
	struct item *item = TAILQ_FIRST(&end->wire);

	if (!end->held)
		return;
	end->held = false;
	if (!item)
		return;
	sim_cancel(sim, &end->arrival);
	sim_schedule(sim, &end->arrival, NULL, MAX(sim->now_ns, item->arrives_ns), "arrival");
}

void net_heal_all(struct sim_net *net)
{
	struct connection *c;

	TAILQ_FOREACH (c, &net->connections, link) {
		end_release(&c->end[0]);
		end_release(&c->end[1]);
	}
	memset(net->cut, 0, sizeof net->cut);
	for (unsigned i = 0; i < SIM_HOSTS_MAX; i++)
		net->slow[i] = 1;
	net->character.flip_one_in = 0;
}

/* Loses a suffix of what is under way from this end, and tells the net_other end some time later. */
static void direction_break(struct io_conn *from, uint64_t notice_ns)
{
	struct connection *c = from->connection;
	struct items kept = TAILQ_HEAD_INITIALIZER(kept);
	unsigned count = 0, keep;
	struct item *item;

	TAILQ_FOREACH (item, &from->wire, link)
		count++;
	keep = (unsigned)prng_below(&c->random, count + 1);
	while ((item = TAILQ_LAST(&from->wire, items)) && count-- > keep) {
		TAILQ_REMOVE(&from->wire, item, link);
		from->wire_bytes -= item->bytes;
		net_item_free(item);
	}
	if (TAILQ_EMPTY(&from->wire))
		sim_cancel(c->net->sim, &from->arrival);
	net_wire_put_close(from, -ECONNRESET, prng_below(&c->random, notice_ns + 1));
}

unsigned net_break(struct sim_net *net, unsigned host_a, unsigned host_b, uint64_t notice_ns)
{
	struct connection *c;
	unsigned broken = 0;

	TAILQ_FOREACH (c, &net->connections, link) {
		bool these = (c->end[0].host == host_a && c->end[1].host == host_b) ||
			     (c->end[0].host == host_b && c->end[1].host == host_a);

		if (!these || c->broken || c->end[0].state != END_OPEN ||
		    c->end[1].state != END_OPEN)
			continue;
		c->broken = true;
		direction_break(&c->end[0], notice_ns);
		direction_break(&c->end[1], notice_ns);
		broken++;
	}
	return broken;
}

/* Its own kernel tells it. */
void net_end_hears(struct io_conn *end, int error)
{
	struct item *item = xcalloc(1, sizeof *item);

	item->kind = ITEM_CLOSE;
	item->error = error;
	TAILQ_INSERT_TAIL(&end->inbox, item, link);
	if (!end->delivery.heap_index && !end->delivery.deferred)
		sim_schedule(end->connection->net->sim, &end->delivery, end->process,
			     end->connection->net->sim->now_ns, "delivery");
}

static void end_lingers(struct io_conn *end, uint64_t late_ns)
{
	struct sim *sim = end->connection->net->sim;
	struct io_conn *peer = net_other(end);
	struct item *item;

	net_outbox_flush(end, true);
	TAILQ_FOREACH (item, &end->wire, link)
		item->arrives_ns += late_ns;
	item = TAILQ_FIRST(&end->wire);
	if (item) {
		sim_cancel(sim, &end->arrival);
		sim_schedule(sim, &end->arrival, NULL, item->arrives_ns, "arrival");
	}
	end->connection->broken = true;
	net_wire_put_close(end, -ECONNRESET, late_ns);
	sim_cancel(sim, &peer->arrival);
	net_items_drop(&peer->wire, &peer->wire_bytes);
	net_end_hears(end, -ECONNRESET);
}

unsigned net_linger(struct sim_net *net, unsigned host_a, unsigned host_b, uint64_t late_ns)
{
	struct connection *c;
	unsigned broken = 0;

	TAILQ_FOREACH (c, &net->connections, link) {
		int a = c->end[0].host == host_a && c->end[1].host == host_b   ? 0
			: c->end[1].host == host_a && c->end[0].host == host_b ? 1
									       : -1;

		if (a < 0 || c->local || c->broken || c->end[0].state != END_OPEN ||
		    c->end[1].state != END_OPEN || c->end[0].accepting || c->end[1].accepting)
			continue;
		end_lingers(&c->end[a], late_ns);
		broken++;
	}
	return broken;
}

static struct connection *find_connection(struct sim_net *net, uint64_t id)
{
	struct connection *c;

	TAILQ_FOREACH (c, &net->connections, link) {
		if (c->id == id)
			return c;
	}
	return NULL;
}

bool net_hold(struct sim_net *net, uint64_t connection, const struct sim_process *from, bool linger)
{
	struct connection *c = find_connection(net, connection);
	struct io_conn *end;

	if (!c || c->local || c->broken || c->end[0].state != END_OPEN ||
	    c->end[1].state != END_OPEN || c->end[0].accepting || c->end[1].accepting)
		return false;
	end = &c->end[c->end[0].process == from ? 0 : 1];
	if (end->held)
		return false;
	if (linger)
		end_lingers(end, 0);
	end->held = true;
	return true;
}

void net_release(struct sim_net *net, uint64_t connection)
{
	struct connection *c = find_connection(net, connection);

	if (!c)
		return;
	end_release(&c->end[0]);
	end_release(&c->end[1]);
}

size_t net_bytes_under_way(const struct sim_net *net)
{
	const struct connection *c;
	size_t bytes = 0;

	TAILQ_FOREACH (c, &net->connections, link) {
		for (int i = 0; i < 2; i++)
			bytes += c->end[i].outbox_bytes + c->end[i].wire_bytes +
				 c->end[i].inbox_bytes;
	}
	return bytes;
}

unsigned net_open_connections(const struct sim_net *net)
{
	const struct connection *c;
	unsigned count = 0;

	TAILQ_FOREACH (c, &net->connections, link)
		count += c->end[0].state == END_OPEN || c->end[1].state == END_OPEN;
	return count;
}
