/*
 * meta_admin_show.c - volumes, chunk servers and chunks as JSON documents.
 *
 * A list shows at most ADMIN_LIST_MAX entries; if there are more, "next" is what to pass as "after" for the rest.
 */
#include "meta-service/core/meta_admin.h"

static json_t *text_of_uuid(struct uuid id)
{
	char text[UUID_TEXT_BYTES];

	uuid_format(id, text);
	return json_string(text);
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

const char *chunk_state_name(enum chunk_health health)
{
	static const char *const names[] = {
		[CHUNK_HEALTHY] = "healthy",
		[CHUNK_DEGRADED] = "degraded",
		[CHUNK_FILLING] = "filling",
		[CHUNK_UNAVAILABLE] = "unavailable",
	};

	return names[health];
}

/* ---- volumes ---- */

static json_t *show_holder(const struct meta *meta, const struct volume *volume)
{
	const struct meta_volume_row *row = &volume->row;
	char since[WALL_TEXT_BYTES];

	if (uuid_is_zero(row->holder))
		return json_null();
	wall_text(row->since_ms, since);
	return json_pack("{s:s,s:o,s:o,s:s,s:s,s:b}", "host", row->holder_host, "pid",
			 number(row->holder_pid), "instance", text_of_uuid(row->holder), "since",
			 since, "mode", row->mode == ATTACH_READ_ONLY ? "read-only" : "exclusive",
			 "alive", (int)engine_is_alive(meta, row->holder));
}

uint64_t chunk_allocated_bytes(const struct meta *meta, const struct chunk *chunk)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < chunk->row.replica_count; i++) {
		const struct reported *reported = server_find_report(
			meta_find_server(meta, chunk->row.replicas[i].cid), chunk->row.chunk);

		if (reported)
			most = MAX(most, reported->allocated_bytes);
	}
	return most;
}

struct volume_sum {
	uint64_t allocated_bytes, degraded;
	enum chunk_health worst;
};

static struct volume_sum sum_volume(const struct meta *meta, const struct volume *volume)
{
	struct volume_sum sum = {.worst = CHUNK_HEALTHY};

	for (size_t i = 0; i < volume->chunk_count; i++) {
		enum chunk_health health = chunk_health(meta, volume->chunks[i]);

		sum.allocated_bytes += chunk_allocated_bytes(meta, volume->chunks[i]);
		sum.degraded += health != CHUNK_HEALTHY;
		sum.worst = MAX(sum.worst, health);
	}
	return sum;
}

static const char *volume_state(const struct volume *volume, const struct volume_sum *sum)
{
	if (volume->row.deleting)
		return "deleting";
	if (sum->worst == CHUNK_UNAVAILABLE)
		return "unavailable";
	return sum->worst == CHUNK_HEALTHY ? "healthy" : "degraded";
}

json_t *show_volume(const struct meta *meta, const struct volume *volume)
{
	const struct meta_volume_row *row = &volume->row;
	struct volume_sum sum = sum_volume(meta, volume);

	return json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o}", "name", row->name,
			 "id", number(row->volume), "uuid", text_of_uuid(row->uuid), "size_bytes",
			 number(row->size_bytes), "chunk_bytes", number(row->chunk_bytes),
			 "replicas", number(row->replicas), "min_replicas",
			 number(row->min_replicas), "chunk_count", number(volume->chunk_count),
			 "allocated_bytes", number(sum.allocated_bytes), "degraded_chunks",
			 number(sum.degraded), "state", volume_state(volume, &sum), "attached",
			 show_holder(meta, volume));
}

json_t *admin_volume_list(struct meta *meta, const struct admin_call *call)
{
	json_t *list, *document;
	uint64_t after = 0;

	if (!args_number(call, "after", INT64_MAX, &after))
		return NULL;
	list = json_array();
	document = json_pack("{s:o}", "volumes", list);
	for (const struct volume *v = meta->volumes; v; v = v->hh.next) {
		if (v->row.volume <= after)
			continue;
		if (json_array_size(list) == ADMIN_LIST_MAX) {
			json_object_set_new(document, "next", number(after));
			break;
		}
		json_array_append_new(list, show_volume(meta, v));
		after = v->row.volume;
	}
	return document;
}

struct volume *admin_find_volume(const struct meta *meta, const struct admin_call *call)
{
	const char *key = json_object_get(call->args, "volume") ? "volume" : "name";
	const char *name = "";
	struct volume *volume;

	if (!args_need(call, key) || !args_text(call, key, &name))
		return NULL;
	volume = meta_find_volume_by_name(meta, name);
	if (!volume)
		admin_refuse(call->result, WIRE_NOT_FOUND,
			     "copyhold volume list shows what there is",
			     "There is no volume named %s", name);
	return volume;
}

/* The same for a call that may leave the volume out: then NULL. */
static bool find_optional_volume(const struct meta *meta, const struct admin_call *call,
				 const struct volume **volume)
{
	*volume = NULL;
	if (!json_object_get(call->args, "volume"))
		return true;
	*volume = admin_find_volume(meta, call);
	return *volume != NULL;
}

bool admin_find_scope(const struct meta *meta, const struct admin_call *call,
		      const struct volume **volume, uint64_t *chunk)
{
	*chunk = 0;
	if (!args_number(call, "chunk", INT64_MAX, chunk))
		return false;
	if (*chunk && !meta_find_chunk(meta, *chunk)) {
		admin_refuse(call->result, WIRE_NOT_FOUND,
			     "copyhold chunk list shows what there is",
			     "There is no chunk %" PRIu64, *chunk);
		return false;
	}
	return find_optional_volume(meta, call, volume);
}

json_t *admin_volume_show(struct meta *meta, const struct admin_call *call)
{
	const struct volume *volume = admin_find_volume(meta, call);

	return volume ? json_pack("{s:o}", "volume", show_volume(meta, volume)) : NULL;
}

/* ---- chunk servers ---- */

json_t *show_server(const struct meta *meta, const struct server *server)
{
	const struct meta_server_row *row = &server->row;
	bool dead = server_is_dead(meta, server);
	uint64_t seen_ns = server->seen_ns ? server->seen_ns : meta->started_ns;

	return json_pack("{s:o,s:o,s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:s,s:o,s:o,s:o,s:o,s:o}", "cid",
			 number(row->cid), "disk", text_of_uuid(row->disk), "address", row->address,
			 "local_address", row->local_address, "host", row->host, "zone", row->zone,
			 "rack", row->rack, "node", row->node, "alive",
			 (int)(server->instance != NULL), "slow", (int)server->slow, "state",
			 server->disk_failed ? "failed"
			 : dead              ? "down"
					     : "up",
			 "capacity_bytes", number(row->capacity_bytes), "free_bytes",
			 number(server->free_bytes), "used_bytes", number(server->used_bytes),
			 "replica_count", number(server->replica_count), "last_seen_ms_ago",
			 number((meta->now_ns - seen_ns) / NS_PER_MS));
}

json_t *admin_server_list(struct meta *meta, const struct admin_call *call)
{
	json_t *list, *document;
	uint64_t after = 0;

	if (!args_number(call, "after", INT64_MAX, &after))
		return NULL;
	list = json_array();
	document = json_pack("{s:o}", "servers", list);
	for (const struct server *s = meta->servers; s; s = s->hh.next) {
		if (s->row.cid <= after)
			continue;
		if (json_array_size(list) == ADMIN_LIST_MAX) {
			json_object_set_new(document, "next", number(after));
			break;
		}
		json_array_append_new(list, show_server(meta, s));
		after = s->row.cid;
	}
	return document;
}

/* What the chunk server counts itself, with what every one of them counts. */
static json_t *show_stats(const struct server *server)
{
	json_t *stats = server->stats_json ? json_loads(server->stats_json, 0, NULL) : NULL;

	if (!json_is_object(stats)) {
		json_decref(stats);
		stats = json_object();
	}
	json_object_set_new(stats, "read_errors", number(server->read_errors));
	json_object_set_new(stats, "checksum_errors", number(server->checksum_errors));
	json_object_set_new(stats, "write_latency_us", number(server->write_latency_us));
	json_object_set_new(stats, "read_latency_us", number(server->read_latency_us));
	return stats;
}

json_t *admin_server_show(struct meta *meta, const struct admin_call *call)
{
	const struct server *server;
	uint64_t cid = 0;
	json_t *shown;

	if (!args_need(call, "cid") || !args_number(call, "cid", UINT32_MAX, &cid))
		return NULL;
	server = meta_find_server(meta, (uint32_t)cid);
	if (!server) {
		admin_refuse(call->result, WIRE_NOT_FOUND,
			     "copyhold server list shows who there is",
			     "There is no chunk server %" PRIu64, cid);
		return NULL;
	}
	shown = show_server(meta, server);
	json_object_set_new(shown, "stats", show_stats(server));
	return json_pack("{s:o}", "server", shown);
}

/* ---- chunks ---- */

static json_t *show_owner(const struct meta *meta, const struct chunk *chunk)
{
	const struct meta_volume_row *volume = &chunk->volume->row;
	const struct instance *instance = meta_find_instance(meta, chunk->row.owner);
	const char *host = "";
	uint32_t pid = 0;

	if (uuid_is_zero(chunk->row.owner))
		return json_null();
	if (instance) {
		host = instance->host;
		pid = instance->pid;
	} else if (uuid_equal(volume->holder, chunk->row.owner)) {
		host = volume->holder_host;
		pid = volume->holder_pid;
	}
	return json_pack("{s:s,s:o,s:o,s:b}", "host", host, "pid", number(pid), "instance",
			 text_of_uuid(chunk->row.owner), "alive",
			 (int)engine_is_alive(meta, chunk->row.owner));
}

static json_t *show_replica(const struct meta *meta, const struct chunk *chunk, uint32_t i)
{
	const struct meta_replica *replica = &chunk->row.replicas[i];
	const struct server *server = meta_find_server(meta, replica->cid);
	const struct reported *reported = server_find_report(server, chunk->row.chunk);
	json_t *position = json_null();

	if (reported)
		position = json_pack("{s:o,s:o}", "epoch", number(reported->position.epoch),
				     "generation", number(reported->position.generation));
	return json_pack("{s:o,s:s,s:b,s:o,s:s}", "cid", number(replica->cid), "state",
			 replica->state == REPLICA_ACTIVE ? "ACTIVE" : "FILLING", "alive",
			 (int)!server_is_dead(meta, server), "position", position, "address",
			 server->row.address);
}

json_t *show_chunk(const struct meta *meta, const struct chunk *chunk)
{
	const struct meta_chunk_row *row = &chunk->row;
	json_t *replicas = json_array();

	for (uint32_t i = 0; i < row->replica_count; i++)
		json_array_append_new(replicas, show_replica(meta, chunk, i));
	return json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s}", "chunk",
			 number(row->chunk), "volume", chunk->volume->row.name, "index",
			 number(row->index), "epoch", number(row->epoch), "list_number",
			 number(row->list_number), "floor", number(row->floor), "owner",
			 show_owner(meta, chunk), "wanted", number(chunk->volume->row.replicas),
			 "active", number(list_count(row, REPLICA_ACTIVE)), "replicas", replicas,
			 "state", chunk_state_name(chunk_health(meta, chunk)));
}

struct chunk_filter {
	uint64_t cid; /* 0: any */
	bool degraded;
};

static bool passes(const struct meta *meta, const struct chunk *chunk,
		   const struct chunk_filter *filter)
{
	if (filter->cid && list_find(&chunk->row, (uint32_t)filter->cid) < 0)
		return false;
	return !filter->degraded || chunk_health(meta, chunk) != CHUNK_HEALTHY;
}

/* Appends, or, if the list is full, notes where the next one goes on; false then. */
static bool append_chunk(const struct meta *meta, json_t *document, const struct chunk *chunk,
			 uint64_t after)
{
	json_t *list = json_object_get(document, "chunks");

	if (json_array_size(list) == ADMIN_LIST_MAX) {
		json_object_set_new(document, "next", number(after));
		return false;
	}
	json_array_append_new(list, show_chunk(meta, chunk));
	return true;
}

/* In the order of their index; `first` is where to begin. */
static void list_volume_chunks(const struct meta *meta, json_t *document,
			       const struct volume *volume, const struct chunk_filter *filter,
			       uint64_t first)
{
	for (size_t i = volume_position(volume, first); i < volume->chunk_count; i++)
		if (passes(meta, volume->chunks[i], filter) &&
		    !append_chunk(meta, document, volume->chunks[i], volume->chunks[i]->row.index))
			return;
}

static void list_all_chunks(const struct meta *meta, json_t *document,
			    const struct chunk_filter *filter, uint64_t first)
{
	for (const struct chunk *c = meta->chunks; c; c = c->hh.next)
		if (c->row.chunk >= first && passes(meta, c, filter) &&
		    !append_chunk(meta, document, c, c->row.chunk))
			return;
}

json_t *admin_chunk_list(struct meta *meta, const struct admin_call *call)
{
	struct chunk_filter filter = {0};
	const struct volume *volume = NULL;
	const char *state = NULL;
	uint64_t first = 0;
	json_t *document;

	if (!args_number(call, "cid", UINT32_MAX, &filter.cid) ||
	    !args_number(call, "after", INT64_MAX, &first) || !args_text(call, "state", &state))
		return NULL;
	if (state && strcmp(state, "degraded") != 0) {
		admin_refuse(call->result, WIRE_BAD_REQUEST, "Give degraded, or leave it out",
			     "Chunks can't be listed by state \"%.40s\"", state);
		return NULL;
	}
	filter.degraded = state != NULL;
	if (!find_optional_volume(meta, call, &volume))
		return NULL;
	document = json_pack("{s:[]}", "chunks");
	if (volume)
		list_volume_chunks(meta, document, volume, &filter, first);
	else
		list_all_chunks(meta, document, &filter, first);
	return document;
}

json_t *admin_chunk_show(struct meta *meta, const struct admin_call *call)
{
	const struct chunk *chunk;
	uint64_t id = 0, index = 0;

	if (json_object_get(call->args, "volume")) {
		const struct volume *volume = admin_find_volume(meta, call);

		if (!volume || !args_need(call, "index") ||
		    !args_number(call, "index", INT64_MAX, &index))
			return NULL;
		chunk = volume_chunk(volume, index);
	} else {
		if (!args_need(call, "chunk") || !args_number(call, "chunk", INT64_MAX, &id))
			return NULL;
		chunk = meta_find_chunk(meta, id);
	}
	if (!chunk) {
		admin_refuse(call->result, WIRE_NOT_FOUND,
			     "copyhold chunk list shows those that exist; a chunk is created when "
			     "it is first written",
			     "There is no such chunk");
		return NULL;
	}
	return json_pack("{s:o}", "chunk", show_chunk(meta, chunk));
}
