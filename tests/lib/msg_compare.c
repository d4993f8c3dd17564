/*
 * msg_compare.c - msg_difference() of random_msg.h. Field by field, since structs have holes and texts have an undefined
 * rest.
 */
#include "proto/codec_internal.h"
#include "tests/lib/random_msg.h"

/* Both sides by the same expression; returns the field's name if they differ. */
#define SAME(field)                                                                                \
	do {                                                                                       \
		if (a->field != b->field)                                                          \
			return #field;                                                             \
	} while (0)
#define SAME_TEXT(field)                                                                           \
	do {                                                                                       \
		if (strcmp(a->field, b->field) != 0)                                               \
			return #field;                                                             \
	} while (0)
#define SAME_UUID(field)                                                                           \
	do {                                                                                       \
		if (!uuid_equal(a->field, b->field))                                               \
			return #field;                                                             \
	} while (0)
#define SAME_VERSION(field)                                                                        \
	do {                                                                                       \
		if (!version_equal(a->field, b->field))                                            \
			return #field;                                                             \
	} while (0)
#define SAME_MEMORY(field, length)                                                                 \
	do {                                                                                       \
		if (!same_memory(a->field, b->field, length))                                      \
			return #field;                                                             \
	} while (0)

static bool same_memory(const void *a, const void *b, size_t bytes)
{
	if (bytes == 0)
		return true;
	if (!a || !b)
		return a == b;
	return memcmp(a, b, bytes) == 0;
}

static const char *hello(const struct msg_hello *a, const struct msg_hello *b)
{
	SAME(protocol_version);
	SAME(role);
	SAME_UUID(cluster);
	SAME_UUID(instance);
	SAME_UUID(self);
	SAME_UUID(expected);
	SAME(connection);
	SAME_TEXT(text);
	return NULL;
}

static const char *write(const struct msg_write *a, const struct msg_write *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(generation);
	SAME(offset);
	SAME(bytes);
	SAME(kind);
	SAME_MEMORY(crcs, a->bytes / BLOCK_BYTES * sizeof *a->crcs);
	return NULL;
}

static const char *read_ok(const struct msg_read_ok *a, const struct msg_read_ok *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(offset);
	SAME(bytes);
	SAME_VERSION(version);
	SAME(all_zero);
	SAME_MEMORY(crcs, a->bytes / BLOCK_BYTES * sizeof *a->crcs);
	SAME_MEMORY(zero_blocks, bitmap_bytes(a->bytes / BLOCK_BYTES));
	SAME_MEMORY(bad_blocks, bitmap_bytes(a->bytes / BLOCK_BYTES));
	return NULL;
}

static const char *copy(const struct msg_copy *a, const struct msg_copy *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(unit);
	SAME(mode);
	SAME_VERSION(version);
	SAME(zero_mask);
	SAME(bad_mask);
	SAME_MEMORY(crcs, sizeof a->crcs);
	return NULL;
}

static const char *repair(const struct msg_repair *a, const struct msg_repair *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(unit);
	SAME_VERSION(version);
	SAME(block_mask);
	SAME_MEMORY(crcs, sizeof a->crcs);
	return NULL;
}

static const char *heartbeat_ok(const struct msg_heartbeat_ok *a, const struct msg_heartbeat_ok *b)
{
	SAME(sequence);
	SAME(taken_count);
	SAME_MEMORY(taken, a->taken_count * sizeof *a->taken);
	return NULL;
}

static const char *create(const struct msg_create *a, const struct msg_create *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(commit);
	SAME(root_chunk);
	SAME(chunk_bytes);
	return NULL;
}

static const char *sync_ok(const struct msg_sync_ok *a, const struct msg_sync_ok *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME_VERSION(position);
	SAME(digest);
	SAME(mending);
	SAME(invalid_units);
	SAME(free_bytes);
	SAME(wait_ms);
	return NULL;
}

static const char *version_list(const struct msg_version_list *a, const struct msg_version_list *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(unit_count);
	SAME_MEMORY(versions, a->unit_count * sizeof *a->versions);
	SAME_MEMORY(invalid, bitmap_bytes(a->unit_count));
	SAME_MEMORY(allocated, bitmap_bytes(a->unit_count));
	SAME(free_bytes);
	return NULL;
}

static const char *invalidate_ok(const struct msg_invalidate_ok *a,
				 const struct msg_invalidate_ok *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(unit_count);
	SAME(invalid_count);
	SAME_MEMORY(invalid, bitmap_bytes(a->unit_count));
	return NULL;
}

static const char *position(const struct msg_position *a, const struct msg_position *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME_VERSION(position);
	return NULL;
}

static const char *session(const struct msg_session *a, const struct msg_session *b)
{
	SAME(role);
	SAME_TEXT(host);
	SAME(pid);
	SAME_UUID(disk);
	SAME_TEXT(address);
	SAME_TEXT(local_address);
	SAME_TEXT(zone);
	SAME_TEXT(rack);
	SAME_TEXT(node);
	SAME(capacity_bytes);
	SAME(free_bytes);
	SAME(newest_commit);
	SAME(newest_epoch);
	SAME(new_disk);
	return NULL;
}

static const char *session_ok(const struct msg_session_ok *a, const struct msg_session_ok *b)
{
	SAME_UUID(cluster);
	SAME(cid);
	SAME_TEXT(text);
	return NULL;
}

static const char *keepalive(const struct msg_keepalive *a, const struct msg_keepalive *b)
{
	SAME(sequence);
	SAME(free_bytes);
	SAME(used_bytes);
	SAME(capacity_bytes);
	SAME(disk_failed);
	SAME(read_errors);
	SAME(checksum_errors);
	SAME(write_latency_us);
	SAME(read_latency_us);
	if (!a->stats_json != !b->stats_json)
		return "stats_json";
	if (a->stats_json)
		SAME_TEXT(stats_json);
	SAME(engine_count);
	SAME_MEMORY(engines, a->engine_count * sizeof *a->engines);
	return NULL;
}

static const char *attach(const struct msg_attach *a, const struct msg_attach *b)
{
	SAME_TEXT(volume);
	SAME(mode);
	SAME(force);
	return NULL;
}

static const char *volume(const struct msg_volume *a, const struct msg_volume *b)
{
	SAME(volume);
	SAME_UUID(uuid);
	SAME_TEXT(name);
	SAME(size_bytes);
	SAME(chunk_bytes);
	SAME(replicas);
	SAME(min_replicas);
	SAME(table_entries);
	SAME_TEXT(text);
	return NULL;
}

static const char *volumes_ok(const struct msg_volumes_ok *a, const struct msg_volumes_ok *b)
{
	SAME(count);
	for (uint32_t i = 0; i < a->count; i++) {
		const char *field = volume(&a->volumes[i], &b->volumes[i]);

		if (field)
			return field;
	}
	return NULL;
}

static const char *replica(const struct msg_list_entry *a, const struct msg_list_entry *b)
{
	SAME(cid);
	SAME(state);
	SAME(dead);
	SAME(leaving);
	SAME(commit);
	return NULL;
}

static const char *chunk(const struct msg_chunk *a, const struct msg_chunk *b)
{
	SAME(index);
	SAME(chunk);
	SAME(root_chunk);
	SAME(epoch);
	SAME(list_number);
	SAME(floor);
	SAME(min_replicas);
	SAME(replica_count);
	SAME(status);
	SAME(other_owner);
	for (uint32_t i = 0; i < a->replica_count; i++) {
		const char *field = replica(&a->replicas[i], &b->replicas[i]);

		if (field)
			return field;
	}
	return NULL;
}

static const char *chunks(const struct msg_chunks *a, const struct msg_chunks *b)
{
	SAME(volume);
	SAME(more);
	SAME(count);
	SAME_TEXT(text);
	for (uint32_t i = 0; i < a->count; i++) {
		const char *field = chunk(&a->chunks[i], &b->chunks[i]);

		if (field)
			return field;
	}
	return NULL;
}

static const char *lease(const struct msg_lease *a, const struct msg_lease *b)
{
	SAME(volume);
	SAME(allocate);
	SAME(repair);
	SAME(count);
	SAME_MEMORY(indexes, a->count * sizeof *a->indexes);
	return NULL;
}

static const char *lease_return(const struct msg_lease_return *a, const struct msg_lease_return *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(floor);
	return NULL;
}

static const char *change(const struct msg_change *a, const struct msg_change *b)
{
	SAME(kind);
	SAME(chunk);
	SAME(epoch);
	SAME(list_number);
	SAME(cid);
	SAME(floor);
	SAME(synced_count);
	SAME_MEMORY(synced, a->synced_count * sizeof a->synced[0]);
	SAME_TEXT(text);
	return NULL;
}

static const char *repair_job(const struct msg_repair_job *a, const struct msg_repair_job *b)
{
	SAME(volume);
	SAME(chunk);
	SAME(chunk_bytes);
	SAME(scrub);
	return NULL;
}

static const char *scrubbed(const struct msg_scrubbed *a, const struct msg_scrubbed *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(whole);
	SAME(last);
	SAME(units);
	SAME(units_done);
	SAME(unrepairable);
	SAME(differing);
	SAME(named_count);
	SAME_MEMORY(named, a->named_count * sizeof a->named[0]);
	SAME(replica_count);
	for (uint32_t i = 0; i < a->replica_count; i++) {
		SAME(replicas[i].cid);
		SAME(replicas[i].bad);
		SAME(replicas[i].repaired);
		SAME(replicas[i].read);
	}
	return NULL;
}

static const char *list(const struct msg_list *a, const struct msg_list *b)
{
	SAME_TEXT(text);
	return chunk(&a->chunk, &b->chunk);
}

static const char *report_entry(const struct msg_report_entry *a, const struct msg_report_entry *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME_VERSION(position);
	SAME(commit);
	SAME(allocated_bytes);
	return NULL;
}

static const char *report(const struct msg_report *a, const struct msg_report *b)
{
	SAME(first);
	SAME(last);
	SAME(count);
	for (uint32_t i = 0; i < a->count; i++) {
		const char *field = report_entry(&a->entries[i], &b->entries[i]);

		if (field)
			return field;
	}
	return NULL;
}

static const char *report_ok(const struct msg_report_ok *a, const struct msg_report_ok *b)
{
	SAME(count);
	for (uint32_t i = 0; i < a->count; i++) {
		SAME(fences[i].chunk);
		SAME(fences[i].epoch);
	}
	return NULL;
}

static const char *server(const struct msg_server *a, const struct msg_server *b)
{
	SAME(cid);
	SAME_UUID(disk);
	SAME_TEXT(address);
	SAME_TEXT(local_address);
	SAME_TEXT(host);
	SAME(alive);
	SAME(slow);
	return NULL;
}

static const char *servers(const struct msg_servers *a, const struct msg_servers *b)
{
	SAME(count);
	for (uint32_t i = 0; i < a->count; i++) {
		const char *field = server(&a->servers[i], &b->servers[i]);

		if (field)
			return field;
	}
	return NULL;
}

/* NULL and "" are the same to a reader of JSON. */
static bool same_json(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static const char *admin(const struct msg_admin *a, const struct msg_admin *b)
{
	SAME_TEXT(verb);
	return same_json(a->json, b->json) ? NULL : "json";
}

static const char *admin_ok(const struct msg_admin_ok *a, const struct msg_admin_ok *b)
{
	return same_json(a->json, b->json) ? NULL : "json";
}

static const char *detached(const struct msg_detached *a, const struct msg_detached *b)
{
	SAME(volume);
	SAME_TEXT(text);
	return NULL;
}

/* Bodies of whole numbers without holes between them. */
#define PLAIN(field) (memcmp(&a->u.field, &b->u.field, sizeof a->u.field) == 0 ? NULL : #field)
static_assert(sizeof(struct msg_write_ok) == 32, "no holes");
static_assert(sizeof(struct msg_read) == 24, "no holes");

static const char *copy_ok(const struct msg_copy_ok *a, const struct msg_copy_ok *b)
{
	SAME(chunk);
	SAME(epoch);
	SAME(unit);
	return NULL;
}

static const char *data_difference(const struct msg *a, const struct msg *b)
{
	switch ((unsigned)a->type) {
	case MSG_WRITE:
		return write(&a->u.write, &b->u.write);
	case MSG_WRITE_OK:
		return PLAIN(write_ok);
	case MSG_READ:
		return PLAIN(read);
	case MSG_READ_OK:
		return read_ok(&a->u.read_ok, &b->u.read_ok);
	case MSG_COPY:
		return copy(&a->u.copy, &b->u.copy);
	case MSG_COPY_OK:
	case MSG_REPAIR_OK:
		return copy_ok(&a->u.copy_ok, &b->u.copy_ok);
	case MSG_REPAIR:
		return repair(&a->u.repair, &b->u.repair);
	case MSG_HEARTBEAT:
		return PLAIN(heartbeat);
	case MSG_HEARTBEAT_OK:
		return heartbeat_ok(&a->u.heartbeat_ok, &b->u.heartbeat_ok);
	}
	return "type";
}

static const char *control_difference(const struct msg *a, const struct msg *b)
{
	switch ((unsigned)a->type) {
	case MSG_HELLO:
	case MSG_HELLO_OK:
		return hello(&a->u.hello, &b->u.hello);
	case MSG_CREATE:
		return create(&a->u.create, &b->u.create);
	case MSG_SYNC:
		return PLAIN(sync);
	case MSG_SYNC_OK:
		return sync_ok(&a->u.sync_ok, &b->u.sync_ok);
	case MSG_VERSIONS:
		return PLAIN(versions);
	case MSG_VERSIONS_OK:
	case MSG_INVALIDATE:
		return version_list(&a->u.version_list, &b->u.version_list);
	case MSG_INVALIDATE_OK:
		return invalidate_ok(&a->u.invalidate_ok, &b->u.invalidate_ok);
	case MSG_BYE:
	case MSG_VOLUMES:
		return NULL;
	}
	return position(&a->u.position, &b->u.position);
}

static const char *chunk_difference(const struct msg *a, const struct msg *b)
{
	switch ((unsigned)a->type) {
	case MSG_TABLE:
		return PLAIN(table);
	case MSG_TABLE_OK:
	case MSG_LEASE_OK:
		return chunks(&a->u.chunks, &b->u.chunks);
	case MSG_LEASE:
		return lease(&a->u.lease, &b->u.lease);
	case MSG_LEASE_RETURN:
	case MSG_LEASE_RETURN_OK:
		return lease_return(&a->u.lease_return, &b->u.lease_return);
	case MSG_CHANGE:
		return change(&a->u.change, &b->u.change);
	case MSG_CHANGE_OK:
	case MSG_LIST:
		return list(&a->u.list, &b->u.list);
	case MSG_REPORT:
		return report(&a->u.report, &b->u.report);
	case MSG_REPORT_OK:
		return report_ok(&a->u.report_ok, &b->u.report_ok);
	case MSG_REPAIR_JOB:
		return repair_job(&a->u.repair_job, &b->u.repair_job);
	case MSG_SCRUBBED:
		return scrubbed(&a->u.scrubbed, &b->u.scrubbed);
	case MSG_DELETE:
		return PLAIN(delete_);
	}
	return "type";
}

static const char *meta_difference(const struct msg *a, const struct msg *b)
{
	switch ((unsigned)a->type) {
	case MSG_SESSION:
		return session(&a->u.session, &b->u.session);
	case MSG_SESSION_OK:
		return session_ok(&a->u.session_ok, &b->u.session_ok);
	case MSG_KEEPALIVE:
		return keepalive(&a->u.keepalive, &b->u.keepalive);
	case MSG_KEEPALIVE_OK:
		return PLAIN(keepalive_ok);
	case MSG_ATTACH:
		return attach(&a->u.attach, &b->u.attach);
	case MSG_ATTACH_OK:
		return volume(&a->u.volume, &b->u.volume);
	case MSG_DETACH:
	case MSG_DETACH_OK:
		return PLAIN(detach);
	case MSG_ADMIN:
		return admin(&a->u.admin, &b->u.admin);
	case MSG_ADMIN_OK:
		return admin_ok(&a->u.admin_ok, &b->u.admin_ok);
	case MSG_VOLUMES_OK:
		return volumes_ok(&a->u.volumes_ok, &b->u.volumes_ok);
	case MSG_SERVERS:
		return servers(&a->u.servers, &b->u.servers);
	case MSG_DETACHED:
		return detached(&a->u.detached, &b->u.detached);
	case MSG_RESIZED:
		return PLAIN(resized);
	}
	return chunk_difference(a, b);
}

const char *msg_difference(const struct msg *a, const struct msg *b)
{
	SAME(type);
	SAME(id);
	SAME(status);
	SAME(payload.bytes);
	if (!same_memory(slice_data(a->payload), slice_data(b->payload), a->payload.bytes))
		return "payload";
	if (a->type >= MSG_WRITE && a->type <= MSG_HEARTBEAT_OK)
		return data_difference(a, b);
	if (a->type < MSG_SESSION || a->type == MSG_VOLUMES)
		return control_difference(a, b);
	return meta_difference(a, b);
}
