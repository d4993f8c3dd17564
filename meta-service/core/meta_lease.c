/*
 * meta_lease.c - grants of leases, allocation of chunks, and their return.
 *
 * A grant is a commit: the new epochs and the owner of every chunk of a request, and the chunks that it creates, are one batch.
 * Epochs come from one counter, one a chunk and grant, and never twice: versions of different chunks are compared between clones.
 *
 * The holder of the volume's attachment gets every lease it asks for, whoever has it now. A chunk server gets leases for
 * repair only, and not those of a live holder, nor of one that chunk servers still hear.
 */
#include "meta-service/core/meta_internal.h"

#include <stdlib.h>

int list_find(const struct meta_chunk_row *row, uint32_t cid)
{
	for (uint32_t i = 0; i < row->replica_count; i++)
		if (row->replicas[i].cid == cid)
			return (int)i;
	return -1;
}

uint32_t list_count(const struct meta_chunk_row *row, enum replica_state state)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < row->replica_count; i++)
		count += row->replicas[i].state == state;
	return count;
}

void list_add(struct meta *meta, struct chunk *chunk, uint32_t cid, enum replica_state state)
{
	struct meta_chunk_row *row = &chunk->row;

	assert(row->replica_count < REPLICAS_MAX);
	assert(list_find(row, cid) < 0);
	row->replicas[row->replica_count++] = (struct meta_replica){
		.cid = cid,
		.state = state,
		.commit = ++meta->cluster.commit,
	};
	chunk->listed_ns = meta->now_ns;
	meta_find_server(meta, cid)->replica_count++;
}

void list_remove(struct meta *meta, struct chunk *chunk, uint32_t cid)
{
	struct meta_chunk_row *row = &chunk->row;
	int at = list_find(row, cid);

	assert(at >= 0);
	row->replica_count--;
	memmove(row->replicas + at, row->replicas + at + 1,
		(row->replica_count - (uint32_t)at) * sizeof row->replicas[0]);
	meta_find_server(meta, cid)->replica_count--;
}

void chunk_show(const struct meta *meta, const struct chunk *chunk, struct msg_chunk *out)
{
	const struct meta_chunk_row *row = &chunk->row;

	memset(out, 0, sizeof *out);
	out->index = row->index;
	out->chunk = row->chunk;
	out->root_chunk = row->root_chunk;
	out->epoch = row->epoch;
	out->list_number = row->list_number;
	out->floor = row->floor;
	out->min_replicas = chunk->volume->row.min_replicas;
	out->replica_count = row->replica_count;
	for (uint32_t i = 0; i < row->replica_count; i++) {
		out->replicas[i].cid = row->replicas[i].cid;
		out->replicas[i].state = row->replicas[i].state;
		out->replicas[i].leaving = row->replicas[i].leaving;
		out->replicas[i].commit = row->replicas[i].commit;
		out->replicas[i].dead =
			server_is_dead(meta, meta_find_server(meta, row->replicas[i].cid));
	}
}

uint32_t chunk_dead_mask(const struct meta *meta, const struct chunk *chunk)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < chunk->row.replica_count; i++)
		if (server_is_dead(meta, meta_find_server(meta, chunk->row.replicas[i].cid)))
			mask |= 1u << i;
	return mask;
}

void chunk_note_shown(struct meta *meta, struct chunk *chunk)
{
	chunk->shown_list_number = chunk->row.list_number;
	chunk->shown_dead = chunk_dead_mask(meta, chunk);
	chunk->shown_ns = meta->now_ns;
}

/* A new chunk at index, or NULL if too few chunk servers are up. */
static struct chunk *allocate(struct meta *meta, struct volume *volume, uint64_t index)
{
	uint32_t cids[VOLUME_REPLICAS_MAX], count = 0;
	struct meta_chunk_row row = {.volume = volume->row.volume, .index = index};
	struct chunk *chunk;

	while (count < volume->row.replicas) {
		struct server *server =
			meta_place(meta, cids, count, volume->row.chunk_bytes, false);

		if (!server)
			break;
		cids[count++] = server->row.cid;
	}
	if (count < volume->row.min_replicas)
		return NULL;
	row.chunk = ++meta->cluster.chunk;
	row.root_chunk = row.chunk;
	row.list_number = 1;
	row.created_ms = meta->wall_ms;
	chunk = meta_add_chunk(meta, volume, &row);
	for (uint32_t i = 0; i < count; i++)
		list_add(meta, chunk, cids[i], REPLICA_ACTIVE);
	return chunk;
}

/* A repair's lease ends at once: its owner is shown the new epoch, so that it lets go before its promises run out. */
static void tell_former_owner(struct meta *meta, const struct chunk *chunk, struct uuid former)
{
	uint64_t connection = instance_connection(meta, former);
	struct msg msg = {.type = MSG_LIST};

	if (uuid_is_zero(former) || !connection)
		return;
	chunk_show(meta, chunk, &msg.u.list.chunk);
	meta_text(msg.u.list.text,
		  "the lease of chunk %" PRIu64 " has been granted to another engine",
		  chunk->row.chunk);
	meta_send(meta, connection, &msg, NULL);
}

static void grant(struct meta *meta, struct chunk *chunk, struct uuid owner)
{
	struct uuid former = chunk->row.owner;

	chunk->row.epoch = ++meta->cluster.epoch;
	chunk->row.owner = owner;
	meta_put_chunk(meta, chunk);
	chunk_note_shown(meta, chunk);
	meta_queue_chunk(meta, chunk);
	if (!uuid_equal(former, owner))
		tell_former_owner(meta, chunk, former);
}

struct lease_request {
	const struct msg_lease *lease;
	struct uuid asker;
	struct volume *volume;
	uint64_t first_epoch; /* above: granted in this request */
};

static void grant_index(struct meta *meta, const struct lease_request *request, uint64_t index,
			struct msg_chunk *out)
{
	struct chunk *chunk = volume_chunk(request->volume, index);

	memset(out, 0, sizeof *out);
	out->index = index;
	if (!chunk && request->lease->allocate) {
		chunk = allocate(meta, request->volume, index);
		if (!chunk) {
			out->status =
				meta_choosable_servers(meta) < request->volume->row.min_replicas
					? WIRE_TOO_FEW
					: WIRE_NO_SPACE;
			return;
		}
	}
	if (!chunk) {
		out->status = WIRE_NOT_FOUND;
		return;
	}
	if (chunk->row.epoch <= request->first_epoch)
		grant(meta, chunk, request->asker);
	chunk_show(meta, chunk, out);
}

static bool engine_holds(struct meta *meta, const struct chunk *chunk)
{
	return !uuid_is_zero(chunk->row.owner) &&
	       uuid_equal(chunk->row.owner, chunk->volume->row.holder) &&
	       engine_is_alive(meta, chunk->row.owner);
}

static void grant_repair(struct meta *meta, const struct lease_request *request, uint64_t id,
			 struct msg_chunk *out)
{
	struct chunk *chunk = meta_find_chunk(meta, id);

	memset(out, 0, sizeof *out);
	out->chunk = id;
	if (!chunk || chunk->volume->row.deleting) {
		out->status = WIRE_NOT_FOUND;
		return;
	}
	if (engine_holds(meta, chunk)) {
		out->index = chunk->row.index;
		out->status = WIRE_BUSY;
		return;
	}
	if (chunk->row.epoch <= request->first_epoch)
		grant(meta, chunk, request->asker);
	chunk_show(meta, chunk, out);
}

/* The status of the request as a whole; text says what is wrong. */
static enum wire_status check_holder(struct meta *meta, const struct connection *connection,
				     const struct lease_request *request, char text[TEXT_BYTES])
{
	const struct volume *volume = request->volume;

	if (!volume || volume->row.deleting) {
		meta_text(text, "This volume no longer exists");
		return WIRE_NOT_FOUND;
	}
	if (!uuid_equal(volume->row.holder, connection->instance_id)) {
		meta_text(text, "Volume %s is not attached by this engine: attach it (again) first",
			  volume->row.name);
		return WIRE_NOT_OWNER;
	}
	if (meta->now_ns < volume->ready_ns) {
		meta_text(text,
			  "The attachment of volume %s is not complete: wait for the answer to "
			  "ATTACH",
			  volume->row.name);
		return WIRE_BUSY;
	}
	if (request->lease->allocate && volume->row.mode == ATTACH_READ_ONLY) {
		meta_text(text, "Volume %s is attached read-only: no chunk can be created",
			  volume->row.name);
		return WIRE_REFUSED;
	}
	for (uint32_t i = 0; i < request->lease->count; i++) {
		if (request->lease->indexes[i] >= volume_index_count(volume)) {
			meta_text(text, "Index %" PRIu64 " lies beyond the end of volume %s",
				  request->lease->indexes[i], volume->row.name);
			return WIRE_BAD_REQUEST;
		}
	}
	return WIRE_OK;
}

static enum wire_status check_repair(const struct connection *connection, char text[TEXT_BYTES])
{
	if (connection->role == ROLE_CHUNKD)
		return WIRE_OK;
	meta_text(text, "Only a chunk server may ask for leases for repair");
	return WIRE_REFUSED;
}

void meta_on_lease(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const struct msg_lease *lease = &msg->u.lease;
	struct lease_request request = {
		.lease = lease,
		.asker = connection->instance_id,
		.volume = meta_find_volume(meta, lease->volume),
		.first_epoch = meta->cluster.epoch,
	};
	struct msg answer = meta_answer(msg, WIRE_OK);
	struct msg_chunk *chunks;

	answer.u.chunks.volume = lease->volume;
	answer.status = lease->repair
				? check_repair(connection, answer.u.chunks.text)
				: check_holder(meta, connection, &request, answer.u.chunks.text);
	if (answer.status != WIRE_OK) {
		meta_send(meta, connection->id, &answer, NULL);
		return;
	}
	meta_push_servers(meta); /* a list may name one that has just come */
	chunks = xcalloc(lease->count, sizeof *chunks);
	for (uint32_t i = 0; i < lease->count; i++) {
		if (lease->repair)
			grant_repair(meta, &request, lease->indexes[i], &chunks[i]);
		else
			grant_index(meta, &request, lease->indexes[i], &chunks[i]);
		if (chunks[i].status == WIRE_TOO_FEW)
			meta_text(
				answer.u.chunks.text,
				"A new chunk of volume %s needs %u chunk servers with room, %u are "
				"up. Start more; IO goes on by itself",
				request.volume->row.name, request.volume->row.min_replicas,
				meta_choosable_servers(meta));
		else if (chunks[i].status == WIRE_NO_SPACE)
			meta_text(answer.u.chunks.text,
				  "A new chunk of volume %s needs %u chunk servers with room, and "
				  "they are full. Add chunk servers, or discard or delete what is "
				  "not needed",
				  request.volume->row.name, request.volume->row.min_replicas);
	}
	answer.u.chunks.count = lease->count;
	answer.u.chunks.chunks = chunks;
	meta_send(meta, connection->id, &answer, chunks);
}

void meta_on_lease_return(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const struct msg_lease_return *lease = &msg->u.lease_return;
	struct chunk *chunk = meta_find_chunk(meta, lease->chunk);
	struct msg answer = meta_answer(msg, WIRE_OK);

	answer.u.lease_return = *lease;
	if (!chunk || chunk->row.epoch != lease->epoch ||
	    !uuid_equal(chunk->row.owner, connection->instance_id)) {
		answer.status = WIRE_NOT_OWNER;
	} else {
		chunk->row.owner = (struct uuid){{0}};
		chunk->row.floor = MAX(chunk->row.floor, lease->floor);
		meta_put_chunk(meta, chunk);
		meta_queue_chunk(meta, chunk);
	}
	meta_send(meta, connection->id, &answer, NULL);
}
