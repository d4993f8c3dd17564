/*
 * codec_meta.c - engines, chunk servers and copyhold(1) with the meta service: sessions, volumes, where the servers are,
 * requests of operators. Chunks and their lists are in codec_chunk.c.
 */
#include "proto/codec_internal.h"
#include "proto/copyhold.pb-c.h"

static const char too_many_engines[] = "more than 4096 engines";
static const char bad_uuid[] = "a UUID of other than 16 bytes";
static const char long_text[] = "a text is too long";
static const char endless_text[] = "a text without an end";
static const char bad_name[] = "a name of illegal characters or length";
static const char bad_address[] = "an address of illegal characters or length";

/* ---- SESSION, KEEPALIVE ---- */

static const char *session_check(const struct msg *msg)
{
	const struct msg_session *s = &msg->u.session;

	if (!role_is_legal(s->role))
		return "unknown role";
	if (!name_is_legal_or_empty(s->host) || !name_is_legal_or_empty(s->zone) ||
	    !name_is_legal_or_empty(s->rack) || !name_is_legal_or_empty(s->node))
		return bad_name;
	if (!address_is_legal(s->address) || !address_is_legal(s->local_address))
		return bad_address;
	return NULL;
}

static size_t session_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_session *s = &msg->u.session;
	Copyhold__Session pb;

	copyhold__session__init(&pb);
	pb.role = s->role;
	pb.host = codec_text_out(s->host);
	pb.pid = s->pid;
	pb.disk = codec_uuid_out(&s->disk);
	pb.address = codec_text_out(s->address);
	pb.local_address = codec_text_out(s->local_address);
	pb.zone = codec_text_out(s->zone);
	pb.rack = codec_text_out(s->rack);
	pb.node = codec_text_out(s->node);
	pb.capacity_bytes = s->capacity_bytes;
	pb.free_bytes = s->free_bytes;
	pb.newest_commit = s->newest_commit;
	pb.newest_epoch = s->newest_epoch;
	pb.new_disk = s->new_disk;
	return codec_pack(codec, &pb.base);
}

static const char *session_decode(struct codec *codec, const struct io_frame *frame,
				  struct msg *msg)
{
	struct msg_session *s = &msg->u.session;
	const Copyhold__Session *pb = codec_unpack(codec, frame, &copyhold__session__descriptor);

	if (!pb)
		return codec_malformed;
	s->role = pb->role;
	s->pid = pb->pid;
	s->capacity_bytes = pb->capacity_bytes;
	s->free_bytes = pb->free_bytes;
	s->newest_commit = pb->newest_commit;
	s->newest_epoch = pb->newest_epoch;
	s->new_disk = pb->new_disk;
	if (!codec_uuid_in(&s->disk, pb->disk))
		return bad_uuid;
	if (!codec_name_in(s->host, pb->host) || !codec_name_in(s->zone, pb->zone) ||
	    !codec_name_in(s->rack, pb->rack) || !codec_name_in(s->node, pb->node))
		return bad_name;
	if (!codec_address_in(s->address, pb->address) ||
	    !codec_address_in(s->local_address, pb->local_address))
		return bad_address;
	return NULL;
}

static const char *session_ok_check(const struct msg *msg)
{
	const struct msg_session_ok *s = &msg->u.session_ok;

	return text_is_terminated(s->text, sizeof s->text) ? NULL : endless_text;
}

static size_t session_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_session_ok *s = &msg->u.session_ok;
	Copyhold__SessionOk pb;

	copyhold__session_ok__init(&pb);
	pb.cluster = codec_uuid_out(&s->cluster);
	pb.cid = s->cid;
	pb.text = codec_text_out(s->text);
	return codec_pack(codec, &pb.base);
}

static const char *session_ok_decode(struct codec *codec, const struct io_frame *frame,
				     struct msg *msg)
{
	struct msg_session_ok *s = &msg->u.session_ok;
	const Copyhold__SessionOk *pb =
		codec_unpack(codec, frame, &copyhold__session_ok__descriptor);

	if (!pb)
		return codec_malformed;
	s->cid = pb->cid;
	if (!codec_uuid_in(&s->cluster, pb->cluster))
		return bad_uuid;
	return codec_text_in(s->text, sizeof s->text, pb->text) ? NULL : long_text;
}

static const char *keepalive_check(const struct msg *msg)
{
	const char *json = msg->u.keepalive.stats_json;

	if (msg->u.keepalive.engine_count > ENGINES_HEARD_MAX)
		return too_many_engines;
	return !json || strlen(json) <= STATS_JSON_MAX ? NULL : long_text;
}

static size_t keepalive_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_keepalive *k = &msg->u.keepalive;
	Copyhold__Keepalive pb;

	copyhold__keepalive__init(&pb);
	pb.sequence = k->sequence;
	pb.free_bytes = k->free_bytes;
	pb.used_bytes = k->used_bytes;
	pb.capacity_bytes = k->capacity_bytes;
	pb.disk_failed = k->disk_failed;
	pb.read_errors = k->read_errors;
	pb.checksum_errors = k->checksum_errors;
	pb.write_latency_us = k->write_latency_us;
	pb.read_latency_us = k->read_latency_us;
	if (k->stats_json)
		pb.stats_json = codec_text_out(k->stats_json);
	pb.engines.len = k->engine_count * sizeof *k->engines;
	pb.engines.data = (uint8_t *)(uintptr_t)k->engines;
	return codec_pack(codec, &pb.base);
}

static const char *keepalive_decode(struct codec *codec, const struct io_frame *frame,
				    struct msg *msg)
{
	const Copyhold__Keepalive *pb =
		codec_unpack(codec, frame, &copyhold__keepalive__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->engines.len % sizeof(struct uuid) != 0)
		return bad_uuid;
	msg->u.keepalive = (struct msg_keepalive){
		.sequence = pb->sequence,
		.free_bytes = pb->free_bytes,
		.used_bytes = pb->used_bytes,
		.capacity_bytes = pb->capacity_bytes,
		.disk_failed = pb->disk_failed,
		.read_errors = pb->read_errors,
		.checksum_errors = pb->checksum_errors,
		.write_latency_us = pb->write_latency_us,
		.read_latency_us = pb->read_latency_us,
		.stats_json = pb->stats_json[0] ? pb->stats_json : NULL,
		.engine_count = (uint32_t)(pb->engines.len / sizeof(struct uuid)),
		.engines = (const struct uuid *)pb->engines.data,
	};
	return NULL;
}

static size_t keepalive_ok_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__KeepaliveOk pb;

	copyhold__keepalive_ok__init(&pb);
	pb.sequence = msg->u.keepalive_ok.sequence;
	return codec_pack(codec, &pb.base);
}

static const char *keepalive_ok_decode(struct codec *codec, const struct io_frame *frame,
				       struct msg *msg)
{
	const Copyhold__KeepaliveOk *pb =
		codec_unpack(codec, frame, &copyhold__keepalive_ok__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.keepalive_ok.sequence = pb->sequence;
	return NULL;
}

/* ---- ATTACH, DETACH, VOLUMES ---- */

static const char *attach_check(const struct msg *msg)
{
	const struct msg_attach *a = &msg->u.attach;

	if (!name_is_legal(a->volume))
		return bad_name;
	if (a->mode != ATTACH_EXCLUSIVE && a->mode != ATTACH_READ_ONLY)
		return "unknown mode of attachment";
	return NULL;
}

static size_t attach_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_attach *a = &msg->u.attach;
	Copyhold__Attach pb;

	copyhold__attach__init(&pb);
	pb.volume = codec_text_out(a->volume);
	pb.mode = a->mode;
	pb.force = a->force;
	return codec_pack(codec, &pb.base);
}

static const char *attach_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	struct msg_attach *a = &msg->u.attach;
	const Copyhold__Attach *pb = codec_unpack(codec, frame, &copyhold__attach__descriptor);

	if (!pb)
		return codec_malformed;
	a->mode = pb->mode;
	a->force = pb->force;
	return codec_name_in(a->volume, pb->volume) ? NULL : bad_name;
}

static const char part_of_a_block[] = "the volume's size is not of whole blocks";

/* What a volume must be to be served. */
static const char *volume_check_complete(const struct msg_volume *v)
{
	if (!name_is_legal(v->name))
		return bad_name;
	if (!chunk_bytes_is_legal(v->chunk_bytes))
		return "no such chunk size";
	if (v->size_bytes % BLOCK_BYTES)
		return part_of_a_block;
	if (v->replicas == 0 || v->replicas > REPLICAS_MAX)
		return "no such number of replicas";
	if (v->min_replicas == 0 || v->min_replicas > v->replicas)
		return "no such number of least replicas";
	return NULL;
}

static const char *volume_check(const struct msg_volume *v, enum wire_status status)
{
	if (!text_is_terminated(v->text, sizeof v->text))
		return endless_text;
	if (!name_is_legal_or_empty(v->name))
		return bad_name;
	return status == WIRE_OK ? volume_check_complete(v) : NULL;
}

static void volume_out(Copyhold__Volume *pb, const struct msg_volume *v)
{
	copyhold__volume__init(pb);
	pb->volume = v->volume;
	pb->uuid = codec_uuid_out(&v->uuid);
	pb->name = codec_text_out(v->name);
	pb->size_bytes = v->size_bytes;
	pb->chunk_bytes = v->chunk_bytes;
	pb->replicas = v->replicas;
	pb->min_replicas = v->min_replicas;
	pb->table_entries = v->table_entries;
	pb->text = codec_text_out(v->text);
}

static const char *volume_in(struct msg_volume *v, const Copyhold__Volume *pb)
{
	memset(v, 0, sizeof *v);
	v->volume = pb->volume;
	v->size_bytes = pb->size_bytes;
	v->chunk_bytes = pb->chunk_bytes;
	v->replicas = pb->replicas;
	v->min_replicas = pb->min_replicas;
	v->table_entries = pb->table_entries;
	if (!codec_uuid_in(&v->uuid, pb->uuid))
		return bad_uuid;
	if (!codec_name_in(v->name, pb->name))
		return bad_name;
	return codec_text_in(v->text, sizeof v->text, pb->text) ? NULL : long_text;
}

static const char *attach_ok_check(const struct msg *msg)
{
	return volume_check(&msg->u.volume, msg->status);
}

static size_t attach_ok_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Volume pb;

	volume_out(&pb, &msg->u.volume);
	return codec_pack(codec, &pb.base);
}

static const char *attach_ok_decode(struct codec *codec, const struct io_frame *frame,
				    struct msg *msg)
{
	const Copyhold__Volume *pb = codec_unpack(codec, frame, &copyhold__volume__descriptor);

	return pb ? volume_in(&msg->u.volume, pb) : codec_malformed;
}

static const char *volumes_ok_check(const struct msg *msg)
{
	const struct msg_volumes_ok *v = &msg->u.volumes_ok;

	if (v->count > VOLUMES_MAX)
		return "too many volumes";
	if (v->count && !v->volumes)
		return "a count without its array";
	for (uint32_t i = 0; i < v->count; i++) {
		const char *why = volume_check(&v->volumes[i], WIRE_OK);

		if (why)
			return why;
		if (v->volumes[i].text[0])
			return "a text with a volume of many";
	}
	return NULL;
}

static size_t volumes_ok_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_volumes_ok *v = &msg->u.volumes_ok;
	Copyhold__VolumesOk pb;
	Copyhold__Volume *volumes = codec_sending_array(codec, v->count, sizeof *volumes);

	copyhold__volumes_ok__init(&pb);
	pb.n_volumes = v->count;
	pb.volumes = codec_sending_array(codec, v->count, sizeof *pb.volumes);
	for (uint32_t i = 0; i < v->count; i++) {
		volume_out(&volumes[i], &v->volumes[i]);
		pb.volumes[i] = &volumes[i];
	}
	return codec_pack(codec, &pb.base);
}

static const char *volumes_ok_decode(struct codec *codec, const struct io_frame *frame,
				     struct msg *msg)
{
	struct msg_volume *volumes;
	const Copyhold__VolumesOk *pb =
		codec_unpack(codec, frame, &copyhold__volumes_ok__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->n_volumes > VOLUMES_MAX)
		return "too many volumes";
	volumes = codec_received_array(codec, pb->n_volumes, sizeof *volumes);
	if (!volumes)
		return codec_malformed;
	for (size_t i = 0; i < pb->n_volumes; i++) {
		const char *why = volume_in(&volumes[i], pb->volumes[i]);

		if (why)
			return why;
	}
	msg->u.volumes_ok = (struct msg_volumes_ok){(uint32_t)pb->n_volumes, volumes};
	return NULL;
}

static size_t detach_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Detach pb;

	copyhold__detach__init(&pb);
	pb.volume = msg->u.detach.volume;
	return codec_pack(codec, &pb.base);
}

static const char *detach_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	const Copyhold__Detach *pb = codec_unpack(codec, frame, &copyhold__detach__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.detach.volume = pb->volume;
	return NULL;
}

static const char *detached_check(const struct msg *msg)
{
	const struct msg_detached *d = &msg->u.detached;

	return text_is_terminated(d->text, sizeof d->text) ? NULL : endless_text;
}

static size_t detached_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Detached pb;

	copyhold__detached__init(&pb);
	pb.volume = msg->u.detached.volume;
	pb.text = codec_text_out(msg->u.detached.text);
	return codec_pack(codec, &pb.base);
}

static const char *detached_decode(struct codec *codec, const struct io_frame *frame,
				   struct msg *msg)
{
	struct msg_detached *d = &msg->u.detached;
	const Copyhold__Detached *pb = codec_unpack(codec, frame, &copyhold__detached__descriptor);

	if (!pb)
		return codec_malformed;
	d->volume = pb->volume;
	return codec_text_in(d->text, sizeof d->text, pb->text) ? NULL : long_text;
}

static const char *resized_check(const struct msg *msg)
{
	const struct msg_resized *r = &msg->u.resized;

	return r->size_bytes % BLOCK_BYTES ? part_of_a_block : NULL;
}

static size_t resized_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Resized pb;

	copyhold__resized__init(&pb);
	pb.volume = msg->u.resized.volume;
	pb.size_bytes = msg->u.resized.size_bytes;
	return codec_pack(codec, &pb.base);
}

static const char *resized_decode(struct codec *codec, const struct io_frame *frame,
				  struct msg *msg)
{
	const Copyhold__Resized *pb = codec_unpack(codec, frame, &copyhold__resized__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.resized = (struct msg_resized){pb->volume, pb->size_bytes};
	return NULL;
}

/* ---- SERVERS ---- */

static const char *servers_check(const struct msg *msg)
{
	const struct msg_servers *s = &msg->u.servers;

	if (s->count > SERVERS_MAX)
		return "too many servers";
	if (s->count && !s->servers)
		return "a count without its array";
	for (uint32_t i = 0; i < s->count; i++) {
		if (!name_is_legal_or_empty(s->servers[i].host))
			return bad_name;
		if (!address_is_legal(s->servers[i].address) ||
		    !address_is_legal(s->servers[i].local_address))
			return bad_address;
	}
	return NULL;
}

static void server_out(Copyhold__Server *pb, const struct msg_server *s)
{
	copyhold__server__init(pb);
	pb->cid = s->cid;
	pb->disk = codec_uuid_out(&s->disk);
	pb->address = codec_text_out(s->address);
	pb->local_address = codec_text_out(s->local_address);
	pb->host = codec_text_out(s->host);
	pb->alive = s->alive;
	pb->slow = s->slow;
}

static size_t servers_encode(struct codec *codec, const struct msg *msg)
{
	const struct msg_servers *s = &msg->u.servers;
	Copyhold__Servers pb;
	Copyhold__Server *servers = codec_sending_array(codec, s->count, sizeof *servers);

	copyhold__servers__init(&pb);
	pb.n_servers = s->count;
	pb.servers = codec_sending_array(codec, s->count, sizeof *pb.servers);
	for (uint32_t i = 0; i < s->count; i++) {
		server_out(&servers[i], &s->servers[i]);
		pb.servers[i] = &servers[i];
	}
	return codec_pack(codec, &pb.base);
}

static const char *server_in(struct msg_server *s, const Copyhold__Server *pb)
{
	memset(s, 0, sizeof *s);
	s->cid = pb->cid;
	s->alive = pb->alive;
	s->slow = pb->slow;
	if (!codec_uuid_in(&s->disk, pb->disk))
		return bad_uuid;
	if (!codec_name_in(s->host, pb->host))
		return bad_name;
	if (!codec_address_in(s->address, pb->address) ||
	    !codec_address_in(s->local_address, pb->local_address))
		return bad_address;
	return NULL;
}

static const char *servers_decode(struct codec *codec, const struct io_frame *frame,
				  struct msg *msg)
{
	struct msg_server *servers;
	const Copyhold__Servers *pb = codec_unpack(codec, frame, &copyhold__servers__descriptor);

	if (!pb)
		return codec_malformed;
	if (pb->n_servers > SERVERS_MAX)
		return "too many servers";
	servers = codec_received_array(codec, pb->n_servers, sizeof *servers);
	if (!servers)
		return codec_malformed;
	for (size_t i = 0; i < pb->n_servers; i++) {
		const char *why = server_in(&servers[i], pb->servers[i]);

		if (why)
			return why;
	}
	msg->u.servers = (struct msg_servers){(uint32_t)pb->n_servers, servers};
	return NULL;
}

/* ---- ADMIN ---- */

static const char *admin_check(const struct msg *msg)
{
	const struct msg_admin *a = &msg->u.admin;

	if (!a->verb || strlen(a->verb) >= NAME_BYTES || !name_is_legal(a->verb))
		return "no legal verb";
	return !a->json || strlen(a->json) <= ADMIN_JSON_MAX ? NULL : long_text;
}

static size_t admin_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__Admin pb;

	copyhold__admin__init(&pb);
	pb.verb = codec_text_out(msg->u.admin.verb);
	if (msg->u.admin.json)
		pb.json = codec_text_out(msg->u.admin.json);
	return codec_pack(codec, &pb.base);
}

static const char *admin_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg)
{
	const Copyhold__Admin *pb = codec_unpack(codec, frame, &copyhold__admin__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.admin = (struct msg_admin){pb->verb, pb->json};
	return NULL;
}

static const char *admin_ok_check(const struct msg *msg)
{
	const char *json = msg->u.admin_ok.json;

	return !json || strlen(json) <= ADMIN_JSON_MAX ? NULL : long_text;
}

static size_t admin_ok_encode(struct codec *codec, const struct msg *msg)
{
	Copyhold__AdminOk pb;

	copyhold__admin_ok__init(&pb);
	if (msg->u.admin_ok.json)
		pb.json = codec_text_out(msg->u.admin_ok.json);
	return codec_pack(codec, &pb.base);
}

static const char *admin_ok_decode(struct codec *codec, const struct io_frame *frame,
				   struct msg *msg)
{
	const Copyhold__AdminOk *pb = codec_unpack(codec, frame, &copyhold__admin_ok__descriptor);

	if (!pb)
		return codec_malformed;
	msg->u.admin_ok.json = pb->json;
	return NULL;
}

const struct codec_handler codec_meta_handlers[CODEC_TYPES] = {
	[MSG_SESSION] = {HANDLER(session), .check = session_check},
	[MSG_SESSION_OK] = {HANDLER(session_ok), .check = session_ok_check, .answer = true},
	[MSG_KEEPALIVE] = {HANDLER(keepalive), .check = keepalive_check},
	[MSG_KEEPALIVE_OK] = {HANDLER(keepalive_ok), .answer = true},
	[MSG_ATTACH] = {HANDLER(attach), .check = attach_check},
	[MSG_ATTACH_OK] = {HANDLER(attach_ok), .check = attach_ok_check, .answer = true},
	[MSG_DETACH] = {HANDLER(detach)},
	[MSG_DETACH_OK] = {HANDLER(detach), .answer = true},
	[MSG_ADMIN] = {HANDLER(admin), .check = admin_check},
	[MSG_ADMIN_OK] = {HANDLER(admin_ok), .check = admin_ok_check, .answer = true},
	[MSG_VOLUMES_OK] = {HANDLER(volumes_ok), .check = volumes_ok_check, .answer = true},
	[MSG_SERVERS] = {HANDLER(servers), .check = servers_check},
	[MSG_DETACHED] = {HANDLER(detached), .check = detached_check},
	[MSG_RESIZED] = {HANDLER(resized), .check = resized_check},
};
