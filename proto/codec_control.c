/*
 * codec_control.c - the handshake, and what owner and replica say to each other beside the data: leases, versions,
 * joining, mending.
 */
#include "proto/codec_internal.h"
#include "proto/copyhold.pb-c.h"

/* ---- HELLO ---- */

static const char *hello_check(const struct msg *msg)
{
	const struct msg_hello *h = &msg->u.hello;

	if (!role_is_legal(h->role) && !(msg->status != WIRE_OK && h->role == 0))
		return "unknown role";
	return text_is_terminated(h->text, sizeof h->text) ? NULL : "a text without an end";
}

static size_t hello_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_hello *h = &msg->u.hello;
	Copyhold__Hello pb;

	copyhold__hello__init(&pb);
	pb.protocol_version = h->protocol_version;
	pb.role = h->role;
	pb.cluster = codec_uuid_out(&h->cluster);
	pb.instance = codec_uuid_out(&h->instance);
	pb.self = codec_uuid_out(&h->self);
	pb.expected = codec_uuid_out(&h->expected);
	pb.connection = h->connection;
	pb.text = codec_text_out(h->text);
	return codec_pack(codec, &pb.base);
}

static const char *hello_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct msg_hello *h = &msg->u.hello;
	const Copyhold__Hello *pb = codec_unpack(codec, frame, &copyhold__hello__descriptor);

	if (!pb)
		return codec_malformed;
	h->protocol_version = pb->protocol_version;
	h->role = pb->role;
	h->connection = pb->connection;
	if (!codec_uuid_in(&h->cluster, pb->cluster) ||
	    !codec_uuid_in(&h->instance, pb->instance) || !codec_uuid_in(&h->self, pb->self) ||
	    !codec_uuid_in(&h->expected, pb->expected))
		return "a UUID of other than 16 bytes";
	return codec_text_in(h->text, sizeof h->text, pb->text) ? NULL : "a text is too long";
}

/* ---- CREATE ---- */

static const char *create_check(const struct msg *msg)
{
	return chunk_bytes_is_legal(msg->u.create.chunk_bytes) ? NULL : "no such chunk size";
}

static size_t create_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_create *c = &msg->u.create;
	Copyhold__Create pb;

	copyhold__create__init(&pb);
	pb.chunk = c->chunk;
	pb.epoch = c->epoch;
	pb.commit = c->commit;
	pb.root_chunk = c->root_chunk;
	pb.chunk_bytes = c->chunk_bytes;
	return codec_pack(codec, &pb.base);
}

static const char *create_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	const Copyhold__Create *pb = codec_unpack(codec, frame, &copyhold__create__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.create = (struct msg_create){
		.chunk = pb->chunk,
		.epoch = pb->epoch,
		.commit = pb->commit,
		.root_chunk = pb->root_chunk,
		.chunk_bytes = pb->chunk_bytes,
	};
	return NULL;
}

/* ---- SYNC ---- */

static size_t sync_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__ChunkEpoch pb;

	copyhold__chunk_epoch__init(&pb);
	pb.chunk = msg->u.sync.chunk;
	pb.epoch = msg->u.sync.epoch;
	return codec_pack(codec, &pb.base);
}

static const char *sync_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	const Copyhold__ChunkEpoch *pb =
		codec_unpack(codec, frame, &copyhold__chunk_epoch__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.sync = (struct msg_sync){.chunk = pb->chunk, .epoch = pb->epoch};
	return NULL;
}

static const char *sync_ok_check(const struct msg *msg)
{
	return msg->u.sync_ok.invalid_units <= UNITS_MAX ? NULL : "too many units";
}

static size_t sync_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_sync_ok *s = &msg->u.sync_ok;
	Copyhold__SyncOk pb;

	copyhold__sync_ok__init(&pb);
	pb.chunk = s->chunk;
	pb.epoch = s->epoch;
	pb.position_epoch = s->position.epoch;
	pb.position_generation = s->position.generation;
	pb.digest = s->digest;
	pb.mending = s->mending;
	pb.invalid_units = s->invalid_units;
	pb.free_bytes = s->free_bytes;
	pb.wait_ms = s->wait_ms;
	return codec_pack(codec, &pb.base);
}

static const char *sync_ok_decode(struct codec *codec, const struct io_frame *frame,
				  struct msg *msg)
{
	const Copyhold__SyncOk *pb = codec_unpack(codec, frame, &copyhold__sync_ok__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.sync_ok = (struct msg_sync_ok){
		.chunk = pb->chunk,
		.epoch = pb->epoch,
		.position = {pb->position_epoch, pb->position_generation},
		.digest = pb->digest,
		.mending = pb->mending,
		.invalid_units = pb->invalid_units,
		.free_bytes = pb->free_bytes,
		.wait_ms = pb->wait_ms,
	};
	return NULL;
}

/* ---- VERSIONS, INVALIDATE ---- */

static size_t versions_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__ChunkEpoch pb;

	copyhold__chunk_epoch__init(&pb);
	pb.chunk = msg->u.versions.chunk;
	pb.epoch = msg->u.versions.epoch;
	return codec_pack(codec, &pb.base);
}

static const char *versions_decode(struct codec *codec, const struct io_frame *frame,
				   struct msg *msg)
{
	const Copyhold__ChunkEpoch *pb =
		codec_unpack(codec, frame, &copyhold__chunk_epoch__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.versions = (struct msg_versions){.chunk = pb->chunk, .epoch = pb->epoch};
	return NULL;
}

static const char *version_list_check(const struct msg *msg)
{
	const struct msg_version_list *v = &msg->u.version_list;

	if (v->unit_count > UNITS_MAX)
		return "too many units";
	if (v->unit_count == 0 && msg->status == WIRE_OK)
		return "no units";
	if (v->unit_count && !v->versions)
		return "a count without its array";
	if (msg->type == MSG_INVALIDATE && (v->invalid || v->allocated))
		return "bitmaps in INVALIDATE";
	if (!bitmap_is_legal(v->invalid, v->unit_count) ||
	    !bitmap_is_legal(v->allocated, v->unit_count))
		return "bits beyond the last unit";
	return NULL;
}

/* Fills the three columns of runs; they have room for an entry a unit. */
static void runs_out(Copyhold__VersionList *pb, const struct version *versions, uint32_t unit_count)
{
	size_t runs = 0;

	for (uint32_t unit = 0; unit < unit_count; unit++) {
		if (unit > 0 && version_equal(versions[unit - 1], versions[unit])) {
			pb->run_units[runs - 1]++;
			continue;
		}
		pb->run_units[runs] = 1;
		pb->run_epoch[runs] = versions[unit].epoch;
		pb->run_generation[runs] = versions[unit].generation;
		runs++;
	}
	pb->n_run_units = runs;
	pb->n_run_epoch = runs;
	pb->n_run_generation = runs;
}

static ProtobufCBinaryData bitmap_out(const uint8_t *bitmap, uint32_t bits)
{
	if (!bitmap)
		return (ProtobufCBinaryData){0, NULL};
	return (ProtobufCBinaryData){bitmap_bytes(bits), (uint8_t *)(uintptr_t)bitmap};
}

/* False if there is neither a bit for each unit nor none at all. */
static bool bitmap_in(const uint8_t **bitmap, ProtobufCBinaryData bytes, uint32_t bits)
{
	*bitmap = bytes.len ? bytes.data : NULL;
	return bytes.len == 0 || bytes.len == bitmap_bytes(bits);
}

static size_t version_list_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_version_list *v = &msg->u.version_list;
	Copyhold__VersionList pb;

	copyhold__version_list__init(&pb);
	pb.chunk = v->chunk;
	pb.epoch = v->epoch;
	pb.unit_count = v->unit_count;
	pb.run_units = codec_sending_array(codec, v->unit_count, sizeof *pb.run_units);
	pb.run_epoch = codec_sending_array(codec, v->unit_count, sizeof *pb.run_epoch);
	pb.run_generation = codec_sending_array(codec, v->unit_count, sizeof *pb.run_generation);
	runs_out(&pb, v->versions, v->unit_count);
	pb.invalid = bitmap_out(v->invalid, v->unit_count);
	pb.allocated = bitmap_out(v->allocated, v->unit_count);
	pb.free_bytes = v->free_bytes;
	return codec_pack(codec, &pb.base);
}

/* False if the runs do not make exactly unit_count units. */
static bool runs_in(struct version *versions, uint32_t unit_count, const Copyhold__VersionList *pb)
{
	uint32_t unit = 0;

	if (pb->n_run_epoch != pb->n_run_units || pb->n_run_generation != pb->n_run_units)
		return false;
	for (size_t run = 0; run < pb->n_run_units; run++) {
		if (pb->run_units[run] == 0 || pb->run_units[run] > unit_count - unit)
			return false;
		for (uint32_t i = 0; i < pb->run_units[run]; i++)
			versions[unit++] =
				(struct version){pb->run_epoch[run], pb->run_generation[run]};
	}
	return unit == unit_count;
}

static const char *version_list_decode(struct codec *codec, const struct io_frame *frame,
				       struct msg *msg)
{
	struct msg_version_list *v = &msg->u.version_list;
	struct version *versions;
	const Copyhold__VersionList *pb =
		codec_unpack(codec, frame, &copyhold__version_list__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->unit_count > UNITS_MAX)
		return "too many units";
	v->chunk = pb->chunk;
	v->epoch = pb->epoch;
	v->unit_count = pb->unit_count;
	v->free_bytes = pb->free_bytes;
	versions = codec_received_array(codec, pb->unit_count, sizeof *versions);
	if (!versions)
		return codec_malformed;
	if (!runs_in(versions, pb->unit_count, pb))
		return "the runs of versions do not add up";
	v->versions = pb->unit_count ? versions : NULL;
	if (!bitmap_in(&v->invalid, pb->invalid, pb->unit_count) ||
	    !bitmap_in(&v->allocated, pb->allocated, pb->unit_count))
		return "a bitmap of the wrong length";
	return NULL;
}

static const char *invalidate_ok_check(const struct msg *msg)
{
	const struct msg_invalidate_ok *i = &msg->u.invalidate_ok;

	if (i->unit_count > UNITS_MAX)
		return "too many units";
	if (!bitmap_is_legal(i->invalid, i->unit_count))
		return "bits beyond the last unit";
	if (bitmap_count(i->invalid, i->unit_count) != i->invalid_count)
		return "invalid_count is not the number of bits";
	return NULL;
}

static size_t invalidate_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_invalidate_ok *i = &msg->u.invalidate_ok;
	Copyhold__InvalidateOk pb;

	copyhold__invalidate_ok__init(&pb);
	pb.chunk = i->chunk;
	pb.epoch = i->epoch;
	pb.unit_count = i->unit_count;
	pb.invalid_count = i->invalid_count;
	pb.invalid = bitmap_out(i->invalid, i->unit_count);
	return codec_pack(codec, &pb.base);
}

static const char *invalidate_ok_decode(struct codec *codec, const struct io_frame *frame,
					struct msg *msg)
{
	struct msg_invalidate_ok *i = &msg->u.invalidate_ok;
	const Copyhold__InvalidateOk *pb =
		codec_unpack(codec, frame, &copyhold__invalidate_ok__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->unit_count > UNITS_MAX)
		return "too many units";
	i->chunk = pb->chunk;
	i->epoch = pb->epoch;
	i->unit_count = pb->unit_count;
	i->invalid_count = pb->invalid_count;
	return bitmap_in(&i->invalid, pb->invalid, pb->unit_count) ? NULL
								   : "a bitmap of the wrong length";
}

/* ---- JOIN, MEND_BEGIN, MEND_END, RELEASE ---- */

static size_t position_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_position *p = &msg->u.position;
	Copyhold__Position pb;

	copyhold__position__init(&pb);
	pb.chunk = p->chunk;
	pb.epoch = p->epoch;
	pb.position_epoch = p->position.epoch;
	pb.position_generation = p->position.generation;
	return codec_pack(codec, &pb.base);
}

static const char *position_decode(struct codec *codec, const struct io_frame *frame,
				   struct msg *msg)
{
	const Copyhold__Position *pb = codec_unpack(codec, frame, &copyhold__position__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.position = (struct msg_position){
		.chunk = pb->chunk,
		.epoch = pb->epoch,
		.position = {pb->position_epoch, pb->position_generation},
	};
	return NULL;
}

/* ---- BYE ---- */

static size_t nothing_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Nothing pb;

	copyhold__nothing__init(&pb);
	(void)msg;
	return codec_pack(codec, &pb.base);
}

static const char *nothing_decode(struct codec *codec, const struct io_frame *frame,
				  struct msg *msg)
{
	(void)msg;
	return codec_unpack(codec, frame, &copyhold__nothing__descriptor) ? NULL : codec_malformed;
}

const struct codec_handler codec_control_handlers[CODEC_TYPES] = {
	[MSG_HELLO] = {HANDLER(hello), .check = hello_check},
	[MSG_HELLO_OK] = {HANDLER(hello), .check = hello_check, .answer = true},
	[MSG_CREATE] = {HANDLER(create), .check = create_check},
	[MSG_CREATE_OK] = {HANDLER(position), .answer = true},
	[MSG_SYNC] = {HANDLER(sync)},
	[MSG_SYNC_OK] = {HANDLER(sync_ok), .check = sync_ok_check, .answer = true},
	[MSG_VERSIONS] = {HANDLER(versions)},
	[MSG_VERSIONS_OK] = {HANDLER(version_list), .check = version_list_check, .answer = true},
	[MSG_INVALIDATE] = {HANDLER(version_list), .check = version_list_check},
	[MSG_INVALIDATE_OK] = {HANDLER(invalidate_ok), .check = invalidate_ok_check,
			       .answer = true},
	[MSG_JOIN] = {HANDLER(position)},
	[MSG_JOIN_OK] = {HANDLER(position), .answer = true},
	[MSG_MEND_BEGIN] = {HANDLER(position)},
	[MSG_MEND_BEGIN_OK] = {HANDLER(position), .answer = true},
	[MSG_MEND_END] = {HANDLER(position)},
	[MSG_MEND_END_OK] = {HANDLER(position), .answer = true},
	[MSG_RELEASE] = {HANDLER(position)},
	[MSG_RELEASE_OK] = {HANDLER(position), .answer = true},
	[MSG_BYE] = {HANDLER(nothing)},
	[MSG_VOLUMES] = {HANDLER(nothing)},
};
