/*
 * meta_server.c - chunk servers: registration by the UUID of their disk, health, and where they are.
 *
 * A new disk gets its cid in a commit before it hears of it. A chunk server whose answer was lost asks again as a new disk;
 * that is accepted as long as no list names it. Later the same claim means that the disk was copied or formatted under
 * the same UUID: refused.
 */
#include "meta-service/core/meta_internal.h"

#include <stdarg.h>
#include <stdlib.h>

static void refuse(struct meta *meta, uint64_t connection, const struct msg *msg,
		   enum wire_status status, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

static void refuse(struct meta *meta, uint64_t connection, const struct msg *msg,
		   enum wire_status status, const char *format, ...)
{
	struct msg answer = meta_answer(msg, status);
	va_list ap;

	answer.u.session_ok.cluster = meta->cluster.cluster;
	va_start(ap, format);
	vsnprintf(answer.u.session_ok.text, TEXT_BYTES, format, ap);
	va_end(ap);
	trace(TRACE_WARN, MODULE, "chunk server refused: %s", answer.u.session_ok.text);
	meta_send(meta, connection, &answer, NULL);
}

/* True if the row has changed by what the chunk server says about itself. */
static bool take_place(struct meta_server_row *row, const struct msg_session *session)
{
	struct meta_server_row before = *row;

	memcpy(row->address, session->address, sizeof row->address);
	memcpy(row->local_address, session->local_address, sizeof row->local_address);
	memcpy(row->host, session->host, sizeof row->host);
	memcpy(row->zone, session->zone, sizeof row->zone);
	memcpy(row->rack, session->rack, sizeof row->rack);
	memcpy(row->node, session->node, sizeof row->node);
	row->capacity_bytes = session->capacity_bytes;
	return strcmp(before.address, row->address) != 0 ||
	       strcmp(before.local_address, row->local_address) != 0 ||
	       strcmp(before.host, row->host) != 0 || strcmp(before.zone, row->zone) != 0 ||
	       strcmp(before.rack, row->rack) != 0 || strcmp(before.node, row->node) != 0 ||
	       before.capacity_bytes != row->capacity_bytes;
}

static struct server *register_disk(struct meta *meta, const struct msg_session *session)
{
	struct meta_server_row row = {.cid = ++meta->cluster.cid, .disk = session->disk};
	struct server *server;

	take_place(&row, session);
	server = meta_add_server(meta, &row);
	meta_put_server(meta, server);
	trace(TRACE_INFO, MODULE, "new chunk server: cid=%u address=%s", row.cid, row.address);
	return server;
}

/* The server of this session, or NULL after a refusal. */
static struct server *admit(struct meta *meta, const struct connection *connection,
			    const struct msg *msg)
{
	const struct msg_session *session = &msg->u.session;
	struct server *server = meta_find_server_by_disk(meta, session->disk);
	char disk[UUID_TEXT_BYTES], doubt[TEXT_BYTES];

	uuid_format(session->disk, disk);
	if (server && session->new_disk && server->replica_count) {
		refuse(meta, connection->id, msg, WIRE_REFUSED,
		       "Disk %s is registered as chunk server %u with %" PRIu64
		       " replicas, but says that it is new: formatted or copied under the same "
		       "UUID. Format it with a UUID of its own to add it as a new chunk server",
		       disk, server->row.cid, server->replica_count);
		return NULL;
	}
	if (!server && !session->new_disk) {
		refuse(meta, connection->id, msg, WIRE_NOT_FOUND,
		       "Disk %s is not in this cluster's table, though it is no new one: it was "
		       "removed, or this meta service has an older store. Format it to add it as "
		       "a new chunk server",
		       disk);
		return NULL;
	}
	if (server && !session->new_disk && !connection->cluster_known) {
		refuse(meta, connection->id, msg, WIRE_WRONG_CLUSTER,
		       "Disk %s names no cluster, but is no new one. Format it to add it as a new "
		       "chunk server",
		       disk);
		return NULL;
	}
	if (!server && meta->doubt.doubted) {
		meta_doubt_text(meta, doubt);
		refuse(meta, connection->id, msg, WIRE_NOT_LEADER, "%s", doubt);
		return NULL;
	}
	if (!server && HASH_COUNT(meta->servers) >= SERVERS_MAX) {
		refuse(meta, connection->id, msg, WIRE_REFUSED,
		       "A cluster has at most %d chunk servers", SERVERS_MAX);
		return NULL;
	}
	if (!server)
		return register_disk(meta, session);
	if (take_place(&server->row, session))
		meta_put_server(meta, server);
	return server;
}

/* The newest session of a disk wins: another process that still has one is told and closed. */
static void replace_session(struct meta *meta, struct server *server, struct uuid newest)
{
	struct instance *old = server->instance;

	if (!old || uuid_equal(old->id, newest))
		return;
	trace(TRACE_WARN, MODULE, "cid=%u has a session of another process now: pid=%u is closed",
	      server->row.cid, old->pid);
	if (old->connection) {
		struct msg told = {.type = MSG_SESSION_OK, .status = WIRE_WRONG_PEER};

		told.u.session_ok.cluster = meta->cluster.cluster;
		told.u.session_ok.cid = server->row.cid;
		meta_text(
			told.u.session_ok.text,
			"Another process has opened a session for the disk of chunk server %u: it "
			"is the one that counts. Stop one of the two",
			server->row.cid);
		meta_send(meta, old->connection, &told, NULL);
	}
	server->instance = NULL;
	meta_drop_session(meta, old);
}

void meta_on_server_session(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const struct msg_session *session = &msg->u.session;
	struct server *server = admit(meta, connection, msg);
	struct msg answer = meta_answer(msg, WIRE_OK);

	if (!server)
		return;
	replace_session(meta, server, connection->instance_id);
	server->instance = meta_begin_session(meta, connection, session);
	if (server->instance->server && server->instance->server != server)
		meta_server_lost(meta, server->instance->server);
	server->instance->server = server;
	server->session_ns = meta->now_ns;
	server->seen_ns = meta->now_ns;
	server->dead_since_ns = 0;
	server->free_bytes = session->free_bytes;
	server->used_bytes = session->capacity_bytes > session->free_bytes
				     ? session->capacity_bytes - session->free_bytes
				     : 0;
	server->disk_failed = false;
	server->report_complete = false;
	meta_note_numbers(meta, server->row.cid, session->newest_commit, session->newest_epoch, 0);
	trace(TRACE_INFO, MODULE, "session of chunk server cid=%u address=%s pid=%u",
	      server->row.cid, server->row.address, session->pid);

	answer.u.session_ok.cluster = meta->cluster.cluster;
	answer.u.session_ok.cid = server->row.cid;
	if (meta->doubt.doubted)
		meta_doubt_text(meta, answer.u.session_ok.text);
	meta_send(meta, connection->id, &answer, NULL);
	meta_send_servers(meta, connection->id);
	meta->servers_changed = true;
	meta_advance_deletions(meta, server);
	meta_scan_soon(meta);
}

void meta_on_server_health(struct meta *meta, struct server *server,
			   const struct msg_keepalive *health)
{
	server->seen_ns = meta->now_ns;
	server->free_bytes = health->free_bytes;
	server->used_bytes = health->used_bytes;
	server->row.capacity_bytes = health->capacity_bytes;
	server->read_errors = health->read_errors;
	server->checksum_errors = health->checksum_errors;
	server->write_latency_us = health->write_latency_us;
	server->read_latency_us = health->read_latency_us;
	free(server->stats_json);
	server->stats_json = health->stats_json ? xstrdup(health->stats_json) : NULL;
	if (health->disk_failed && !server->disk_failed) {
		trace(TRACE_ERROR, MODULE, "the disk of chunk server cid=%u has failed",
		      server->row.cid);
		server->dead_since_ns = meta->now_ns;
		meta->servers_changed = true;
		meta_scan_soon(meta);
	}
	server->disk_failed |= health->disk_failed;
	meta_judge_latency(meta, server);
	meta_note_engines(meta, health);
}

void meta_server_lost(struct meta *meta, struct server *server)
{
	server->instance = NULL;
	server->dead_since_ns = meta->now_ns;
	meta->servers_changed = true;
	meta_scan_soon(meta);
}

bool server_is_usable(const struct server *server)
{
	return server->instance && server->instance->connection && !server->disk_failed;
}

bool server_is_dead(const struct meta *meta, const struct server *server)
{
	if (server->disk_failed)
		return true;
	return !server->instance && meta->now_ns >= meta->started_ns + SESSION_TIMEOUT_NS;
}

uint64_t server_dead_ns(const struct meta *meta, const struct server *server)
{
	if (!server_is_dead(meta, server) || meta->now_ns < server->dead_since_ns)
		return 0;
	return MAX(meta->now_ns - server->dead_since_ns, 1);
}

void meta_send_servers(struct meta *meta, uint64_t connection)
{
	struct msg msg = {.type = MSG_SERVERS};
	uint32_t count = HASH_COUNT(meta->servers), i = 0;
	struct msg_server *list = xcalloc(count, sizeof *list);

	for (const struct server *s = meta->servers; s; s = s->hh.next, i++) {
		list[i].cid = s->row.cid;
		list[i].disk = s->row.disk;
		memcpy(list[i].address, s->row.address, sizeof list[i].address);
		memcpy(list[i].local_address, s->row.local_address, sizeof list[i].local_address);
		memcpy(list[i].host, s->row.host, sizeof list[i].host);
		list[i].alive = !server_is_dead(meta, s);
		list[i].slow = s->slow;
	}
	msg.u.servers.count = count;
	msg.u.servers.servers = list;
	meta_send(meta, connection, &msg, list);
}

void meta_push_servers(struct meta *meta)
{
	if (!meta->servers_changed)
		return;
	meta->servers_changed = false;
	for (const struct instance *i = meta->instances; i; i = i->hh.next)
		if (i->connection)
			meta_send_servers(meta, i->connection);
}
