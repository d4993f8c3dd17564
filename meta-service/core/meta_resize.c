/*
 * meta_resize.c - a volume gets another size, or another name.
 *
 * Growing is a number: chunks come when they are written. The holder is told by RESIZED; one that is away hears the size
 * when it confirms its attachment.
 *
 * Shrinking takes chunks away, so nobody may have the volume attached. The chunks beyond the new end move, in the same commit, to
 * a volume of their own that is being deleted: what ends a deleted volume (meta_volume.c) ends them, whatever restarts meanwhile. The end must
 * fall between chunks, or into one that does not exist: a chunk cut in two would show its old bytes again after the volume has
 * grown, where zeros are expected.
 */
#include "meta-service/core/meta_internal.h"

static struct volume *find(struct meta *meta, const char *name, struct admin_result *result)
{
	struct volume *volume = meta_find_volume_by_name(meta, name);

	if (!volume)
		admin_refuse(result, WIRE_NOT_FOUND, "copyhold volume list shows what there is",
			     "There is no volume named %.80s", name);
	return volume;
}

/* A holder that lives keeps the volume as it is; so does one that only we don't hear. */
static bool is_free(struct meta *meta, const struct volume *volume, const char *what,
		    struct admin_result *result)
{
	char holder[TEXT_BYTES];

	if (!engine_is_alive(meta, volume->row.holder))
		return true;
	volume_holder_text(volume, holder, sizeof holder);
	admin_refuse(result, WIRE_BUSY, "Detach it there first: copyhold detach",
		     "Volume %s is attached and can't be %s: %s", volume->row.name, what, holder);
	return false;
}

/* The attachment of a holder that is dead ends: should it come back, it is told so. */
static void end_attachment(struct meta *meta, struct volume *volume, const char *why)
{
	if (!uuid_is_zero(volume->row.holder))
		meta_detach_by_force(meta, volume, why);
}

static bool may_shrink(struct meta *meta, const struct volume *volume, uint64_t size_bytes,
		       bool force, struct admin_result *result)
{
	uint64_t chunk_bytes = volume->row.chunk_bytes, lost_bytes = 0;
	size_t position = volume_position(volume, ROUND_UP(size_bytes, chunk_bytes) / chunk_bytes);
	char hint[TEXT_BYTES];

	if (!is_free(meta, volume, "made smaller", result))
		return false;
	if (size_bytes % chunk_bytes && volume_chunk(volume, size_bytes / chunk_bytes)) {
		meta_text(hint, "Give --size %" PRIu64 ", the next size that fits",
			  ROUND_UP(size_bytes, chunk_bytes));
		admin_refuse(result, WIRE_REFUSED, hint,
			     "Volume %s shrinks by whole chunks of %" PRIu64 " bytes, and %" PRIu64
			     " lies inside one that has data",
			     volume->row.name, chunk_bytes, size_bytes);
		return false;
	}
	if (position == volume->chunk_count || force)
		return true;
	for (size_t i = position; i < volume->chunk_count; i++)
		lost_bytes += chunk_allocated_bytes(meta, volume->chunks[i]);
	admin_refuse(
		result, WIRE_REFUSED,
		"Shrink what is on it first (a filesystem, a partition table), then repeat with "
		"--force",
		"Making volume %s smaller deletes what lies beyond %" PRIu64
		" bytes: %zu chunks, %" PRIu64 " bytes of data as of the last reports",
		volume->row.name, size_bytes, volume->chunk_count - position, lost_bytes);
	return false;
}

static void shrink(struct meta *meta, struct volume *volume)
{
	size_t position = volume_position(volume, volume_index_count(volume));
	struct meta_volume_row row = volume->row;
	struct volume *cut;

	if (position == volume->chunk_count)
		return;
	trace(TRACE_WARN, MODULE, "volume=%s: %zu chunks beyond its new end are deleted (--force)",
	      row.name, volume->chunk_count - position);
	row.volume = ++meta->cluster.volume;
	row.uuid = uuid_from_random(meta->random[0], meta->random[1]);
	row.holder = (struct uuid){{0}};
	row.taken = false;
	cut = meta_add_volume(meta, &row);
	meta_move_chunks(meta, volume, position, cut);
	meta_begin_deletion(meta, cut);
}

static void tell_size(struct meta *meta, const struct volume *volume)
{
	uint64_t connection = instance_connection(meta, volume->row.holder);
	struct msg msg = {.type = MSG_RESIZED};

	if (!connection)
		return;
	msg.u.resized.volume = volume->row.volume;
	msg.u.resized.size_bytes = volume->row.size_bytes;
	meta_send(meta, connection, &msg, NULL);
}

struct volume *meta_resize_volume(struct meta *meta, const char *name, uint64_t size_bytes,
				  bool force, struct admin_result *result)
{
	struct volume *volume = find(meta, name, result);
	uint64_t before_bytes;

	if (!volume || !volume_check_size(size_bytes, result))
		return NULL;
	before_bytes = volume->row.size_bytes;
	if (size_bytes < before_bytes && !may_shrink(meta, volume, size_bytes, force, result))
		return NULL;
	if (size_bytes < before_bytes)
		end_attachment(meta, volume, "an operator has made the volume smaller");
	volume->row.size_bytes = size_bytes;
	if (size_bytes < before_bytes)
		shrink(meta, volume);
	meta_put_volume(meta, volume);
	tell_size(meta, volume);
	trace(TRACE_INFO, MODULE, "volume=%s resized: %" PRIu64 " -> %" PRIu64 " bytes", name,
	      before_bytes, size_bytes);
	return volume;
}

struct volume *meta_rename_volume(struct meta *meta, const char *name, const char *new_name,
				  struct admin_result *result)
{
	struct volume *volume = find(meta, name, result);

	if (!volume || !volume_check_name(new_name, result) ||
	    !is_free(meta, volume, "renamed", result))
		return NULL;
	if (meta_find_volume_by_name(meta, new_name)) {
		admin_refuse(result, WIRE_EXISTS,
			     "Choose another name; copyhold volume list shows them",
			     "A volume named %s exists already", new_name);
		return NULL;
	}
	end_attachment(meta, volume, "an operator has renamed the volume");
	trace(TRACE_INFO, MODULE, "volume=%s renamed to %s", name, new_name);
	snprintf(volume->row.name, sizeof volume->row.name, "%s", new_name);
	meta_put_volume(meta, volume);
	return volume;
}
