/*
 * meta_volume.c - volumes: creation, deletion, their tables, and the export list.
 *
 * A volume is thin: it has no chunk until an engine asks for the lease of one (meta_lease.c). Deleting frees the name at once;
 * the rows stay until every chunk server that a list names has reported, without the replica, after its DELETE.
 */
#include "meta-service/core/meta_internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>

#define VOLUME_BYTES_MAX ((UINT64_C(1) << 63) - BLOCK_BYTES)

void admin_refuse(struct admin_result *result, enum wire_status status, const char *hint,
		  const char *format, ...)
{
	va_list ap;

	result->status = status;
	snprintf(result->hint, sizeof result->hint, "%s", hint);
	va_start(ap, format);
	vsnprintf(result->message, sizeof result->message, format, ap);
	va_end(ap);
	/* What came from outside may have been cut inside a character; JSON wants whole ones. */
	for (char *c = result->message; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
			*c = '?';
}

static bool name_is_good(const char *name)
{
	size_t length = strlen(name);

	if (length < 1 || length >= NAME_BYTES || !isalnum((unsigned char)name[0]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

bool volume_check_name(const char *name, struct admin_result *result)
{
	if (name_is_good(name))
		return true;
	admin_refuse(result, WIRE_BAD_REQUEST,
		     "Use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
		     "\"%.80s\" can't be the name of a volume", name);
	return false;
}

bool volume_check_size(uint64_t size_bytes, struct admin_result *result)
{
	if (size_bytes > 0 && size_bytes % BLOCK_BYTES == 0 && size_bytes <= VOLUME_BYTES_MAX)
		return true;
	admin_refuse(result, WIRE_BAD_REQUEST,
		     "Give a multiple of 4096 bytes, for example --size 10G",
		     "A volume can't have %" PRIu64
		     " bytes: the size must be a multiple of 4096, above 0 and below 8 EiB",
		     size_bytes);
	return false;
}

/* What the request alone shows. */
static bool check_request(const struct volume_request *r, struct admin_result *result)
{
	if (!volume_check_name(r->name, result) || !volume_check_size(r->size_bytes, result))
		return false;
	if (r->replicas < 1 || r->replicas > VOLUME_REPLICAS_MAX)
		admin_refuse(result, WIRE_BAD_REQUEST, "Give --replicas 1 to 5; 3 is usual",
			     "%u replicas are not possible", r->replicas);
	else if (r->min_replicas < 1 || r->min_replicas > r->replicas)
		admin_refuse(result, WIRE_BAD_REQUEST,
			     "Give --min-replicas from 1 to the number of replicas",
			     "min_replicas %u does not fit %u replicas", r->min_replicas,
			     r->replicas);
	else if (r->chunk_bytes < CHUNK_BYTES_MIN || r->chunk_bytes > CHUNK_BYTES_MAX ||
		 (r->chunk_bytes & (r->chunk_bytes - 1)) != 0)
		admin_refuse(result, WIRE_BAD_REQUEST,
			     "Give a power of two from 4M to 1G; 256M is usual",
			     "Chunks of %" PRIu64 " bytes are not possible", r->chunk_bytes);
	else
		return true;
	return false;
}

struct volume *meta_create_volume(struct meta *meta, const struct volume_request *request,
				  struct admin_result *result)
{
	uint32_t usable = meta_usable_servers(meta);
	struct meta_volume_row row = {0};
	struct volume *volume;

	if (!check_request(request, result))
		return NULL;
	if (meta_find_volume_by_name(meta, request->name)) {
		admin_refuse(result, WIRE_EXISTS,
			     "Choose another name; copyhold volume list shows them",
			     "A volume named %s exists already", request->name);
		return NULL;
	}
	if (HASH_COUNT(meta->volumes) >= VOLUMES_MAX) {
		admin_refuse(result, WIRE_REFUSED, "Delete volumes that are not needed",
			     "A cluster has at most %d volumes", VOLUMES_MAX);
		return NULL;
	}
	if (usable < request->replicas) {
		admin_refuse(result, WIRE_TOO_FEW,
			     "Start more chunk servers (copyhold server list shows who is up), or "
			     "create it with fewer --replicas",
			     "%u replicas need %u chunk servers, %u of %u are up",
			     request->replicas, request->replicas, usable,
			     HASH_COUNT(meta->servers));
		return NULL;
	}
	row.volume = ++meta->cluster.volume;
	row.uuid = uuid_from_random(meta->random[0], meta->random[1]);
	snprintf(row.name, sizeof row.name, "%s", request->name);
	row.size_bytes = request->size_bytes;
	row.chunk_bytes = request->chunk_bytes;
	row.replicas = request->replicas;
	row.min_replicas = request->min_replicas;
	volume = meta_add_volume(meta, &row);
	meta_put_volume(meta, volume);
	trace(TRACE_INFO, MODULE, "volume=%s created: %" PRIu64 " bytes, %u replicas", row.name,
	      row.size_bytes, row.replicas);
	return volume;
}

static void delete_replicas(struct meta *meta, struct chunk *chunk)
{
	if (!uuid_is_zero(chunk->row.owner)) {
		chunk->row.owner = (struct uuid){{0}};
		meta_put_chunk(meta, chunk);
	}
	for (uint32_t i = 0; i < chunk->row.replica_count; i++)
		meta_send_delete(meta, meta_find_server(meta, chunk->row.replicas[i].cid),
				 chunk->row.chunk);
}

/* The server's last whole report began after the deletion and does not name the replica. */
static bool is_gone(const struct server *server, const struct chunk *chunk)
{
	return server->report_began_ns > chunk->volume->deleting_since_ns &&
	       server->report_complete && !server_find_report(server, chunk->row.chunk);
}

static void advance_chunk(struct meta *meta, struct chunk *chunk, struct server *server)
{
	if (list_find(&chunk->row, server->row.cid) < 0)
		return;
	if (!is_gone(server, chunk)) {
		meta_send_delete(meta, server, chunk->row.chunk);
		return;
	}
	list_remove(meta, chunk, server->row.cid);
	if (chunk->row.replica_count) {
		meta_put_chunk(meta, chunk);
	} else {
		meta_remove_chunk_row(meta, chunk->row.chunk);
		meta_remove_chunk(meta, chunk);
	}
}

static void end_deletion(struct meta *meta, struct volume *volume)
{
	if (volume->chunk_count)
		return;
	trace(TRACE_INFO, MODULE, "volume=%s: all replicas are gone", volume->row.name);
	meta_remove_volume_row(meta, volume->row.volume);
	meta_remove_volume(meta, volume);
}

void meta_advance_deletions(struct meta *meta, struct server *server)
{
	struct volume *volume, *next;

	if (meta->doubt.doubted)
		return;
	HASH_ITER(hh, meta->volumes, volume, next)
	{
		if (!volume->row.deleting)
			continue;
		for (size_t i = volume->chunk_count; i-- > 0;)
			advance_chunk(meta, volume->chunks[i], server);
		end_deletion(meta, volume);
	}
}

void meta_begin_deletion(struct meta *meta, struct volume *volume)
{
	volume->row.deleting = true;
	volume->deleting_since_ns = meta->now_ns;
	meta_put_volume(meta, volume);
	for (size_t i = 0; i < volume->chunk_count; i++)
		delete_replicas(meta, volume->chunks[i]);
	end_deletion(meta, volume);
}

bool meta_delete_volume(struct meta *meta, const char *name, bool force,
			struct admin_result *result)
{
	struct volume *volume = meta_find_volume_by_name(meta, name);
	char holder[TEXT_BYTES];

	if (!volume) {
		admin_refuse(result, WIRE_NOT_FOUND, "copyhold volume list shows what there is",
			     "There is no volume named %s", name);
		return false;
	}
	if (!uuid_is_zero(volume->row.holder) && !force) {
		volume_holder_text(volume, holder, sizeof holder);
		admin_refuse(result, WIRE_BUSY,
			     "Detach it there first; --force deletes it all the same, and its user "
			     "gets errors",
			     "Volume %s is attached: %s", name, holder);
		return false;
	}
	if (!uuid_is_zero(volume->row.holder))
		meta_detach_by_force(meta, volume, "it was deleted by an operator with --force");
	trace(TRACE_INFO, MODULE, "volume=%s deleted%s", name, force ? " (--force)" : "");
	meta_begin_deletion(meta, volume);
	return true;
}

void meta_on_table(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const struct msg_table *table = &msg->u.table;
	struct volume *volume = meta_find_volume(meta, table->volume);
	struct msg answer = meta_answer(msg, WIRE_OK);
	struct msg_chunk *entries;
	size_t first, count;

	answer.u.chunks.volume = table->volume;
	if (!volume || volume->row.deleting) {
		answer.status = WIRE_NOT_FOUND;
		meta_text(answer.u.chunks.text, "This volume no longer exists");
		meta_send(meta, connection->id, &answer, NULL);
		return;
	}
	first = volume_position(volume, table->first_index);
	count = MIN(volume->chunk_count - first, TABLE_CHUNKS_MAX);
	entries = xcalloc(count, sizeof *entries);
	for (size_t i = 0; i < count; i++) {
		const struct meta_chunk_row *row = &volume->chunks[first + i]->row;

		entries[i].index = row->index;
		entries[i].chunk = row->chunk;
		entries[i].other_owner = !uuid_is_zero(row->owner) &&
					 !uuid_equal(row->owner, connection->instance_id);
	}
	answer.u.chunks.more = first + count < volume->chunk_count;
	answer.u.chunks.count = (uint32_t)count;
	answer.u.chunks.chunks = entries;
	meta_send(meta, connection->id, &answer, entries);
}

void volume_show(const struct volume *volume, struct msg_volume *out)
{
	const struct meta_volume_row *row = &volume->row;

	out->volume = row->volume;
	out->uuid = row->uuid;
	memcpy(out->name, row->name, sizeof out->name);
	out->size_bytes = row->size_bytes;
	out->chunk_bytes = row->chunk_bytes;
	out->replicas = row->replicas;
	out->min_replicas = row->min_replicas;
	out->table_entries = volume->chunk_count;
}

void meta_on_volumes(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	struct msg answer = meta_answer(msg, WIRE_OK);
	struct msg_volume *list = xcalloc(HASH_COUNT(meta->volumes), sizeof *list);
	uint32_t count = 0;

	for (const struct volume *v = meta->volumes; v; v = v->hh.next)
		if (!v->row.deleting)
			volume_show(v, &list[count++]);
	answer.u.volumes_ok.count = count;
	answer.u.volumes_ok.volumes = list;
	meta_send(meta, connection->id, &answer, list);
}
