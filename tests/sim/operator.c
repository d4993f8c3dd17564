/* operator.c - see operator.h. */
#include "tests/sim/operator.h"
#include "tests/sim/users.h"

#include <inttypes.h>
#include <jansson.h>

#define LOOK_NS (700 * NS_PER_MS)

/* ---- volumes ---- */

static void on_created(struct cluster *c, enum wire_status status, const char *json, void *context)
{
	struct sim_volume *v = context;
	const struct meta_volume_row *row;

	/* A lost answer is asked for again: then it exists. Too few servers: they are not registered yet, or away. */
	if (status == WIRE_TOO_FEW || status == WIRE_NOT_LEADER)
		return;
	if (status != WIRE_OK && status != WIRE_EXISTS) {
		sim_fail(&c->sim, "volumes are created", 0, "volume %s is not created: %s %s",
			 v->name, wire_status_name(status), json ? json : "");
		return;
	}
	row = sim_rows_volume_named(c->rows, v->name);
	if (!row) {
		sim_fail(&c->sim, "volumes are created", 0,
			 "volume %s was created and is not there", v->name);
		return;
	}
	v->uuid = row->uuid;
	v->created = true;
}

void operator_create(struct cluster *c)
{
	const struct params *p = &c->params;
	char json[256];

	for (unsigned i = 0; i < p->volumes && !admin_busy(c); i++) {
		struct sim_volume *v = &c->volumes[i];

		if (v->created)
			continue;
		snprintf(json, sizeof json,
			 "{\"name\":\"%s\",\"size_bytes\":%" PRIu64 ",\"chunk_bytes\":%" PRIu64
			 ",\"replicas\":%u,\"min_replicas\":%u}",
			 v->name, v->bytes, p->chunk_bytes, p->volume[i].replicas,
			 p->volume[i].min_replicas);
		admin_request(c, "volume.create", json, on_created, v);
	}
}

static void on_deleted(struct cluster *c, enum wire_status status, const char *json, void *context)
{
	struct sim_volume *v = context;

	if (status == WIRE_BUSY) {
		v->created = true;
		return;
	}
	/* A lost answer is asked for again: then it is gone. */
	if (status != WIRE_OK && status != WIRE_NOT_FOUND)
		sim_fail(&c->sim, "volumes are deleted", 0, "volume %s is not deleted: %s %s",
			 v->name, wire_status_name(status), json ? json : "");
	sim_reach(&c->sim, REACHED_VOLUME_DELETED);
	sim_volume_renew(c, v);
}

void operator_recreate(struct cluster *c, unsigned volume, bool force)
{
	struct sim_volume *v = &c->volumes[volume];
	char json[128];

	if (admin_busy(c) || !v->created || v->former_count == SIM_DELETIONS_MAX)
		return;
	v->created = false;
	snprintf(json, sizeof json, "{\"name\":\"%s\",\"force\":%s}", v->name,
		 force ? "true" : "false");
	admin_request(c, "volume.delete", json, on_deleted, v);
}

/* ---- sizes ---- */

#define RESIZED_MAX (24 * MIB)
#define GROWTH_MAX  (5 * MIB)
/* A volume that is to become smaller is left alone for so long. */
#define SHRINK_NS (3 * NS_PER_S)

static void on_resized(struct cluster *c, enum wire_status status, const char *json, void *context)
{
	struct sim_volume *v = context;
	const struct meta_volume_row *row = sim_rows_volume_named(c->rows, v->name);
	uint64_t bytes = v->sizes[v->size_count - 1];
	bool smaller = bytes < v->bytes;

	v->resizing = false;
	if (smaller && (status == WIRE_BUSY || status == WIRE_REFUSED)) {
		sim_reach(&c->sim, REACHED_NOT_SHRUNK);
		return;
	}
	if (status != WIRE_OK || !row || row->size_bytes != bytes) {
		sim_fail(&c->sim, "volumes are resized", 0,
			 "volume %s does not get %" PRIu64 " bytes: %s %s", v->name, bytes,
			 wire_status_name(status), json ? json : "");
		return;
	}
	sim_reach(&c->sim, smaller ? REACHED_SHRUNK : REACHED_GROWN);
	if (smaller)
		registers_cut(v->registers, bytes, v->attachments_before);
	v->bytes = bytes;
}

void operator_resize(struct cluster *c, unsigned volume, uint64_t bytes, bool force)
{
	struct sim_volume *v = &c->volumes[volume];
	char json[160];

	if (admin_busy(c) || !v->created || v->size_count == SIM_SIZES_MAX)
		return;
	v->resizing = true;
	sim_volume_add_size(v, bytes);
	v->attachments_before = registers_attachments(v->registers);
	/* It may be known before we hear of it. */
	registers_grow(v->registers, bytes);
	snprintf(json, sizeof json, "{\"name\":\"%s\",\"size_bytes\":%" PRIu64 ",\"force\":%s}",
		 v->name, bytes, force ? "true" : "false");
	admin_request(c, "volume.resize", json, on_resized, v);
}

static void shrink_later(struct cluster *c, struct sim_volume *v)
{
	struct user *user = user_of_volume(c, v->number);

	v->shrinks = true;
	v->reattach_at_ns = MAX(v->reattach_at_ns, c->sim.now_ns + SHRINK_NS);
	if (user && !user_paused(user))
		user_detach(user);
}

static void shrink(struct cluster *c, struct sim_volume *v)
{
	struct prng *r = &c->operator_random;
	uint64_t bytes = (1 + prng_below(r, v->bytes / BLOCK_BYTES)) * BLOCK_BYTES;

	if (prng_chance(r, 2, 3))
		bytes = ROUND_UP(bytes, c->params.chunk_bytes);
	v->shrinks = false;
	operator_resize(c, v->number, MIN(bytes, v->bytes), prng_chance(r, 3, 4));
}

static void resize_some(struct cluster *c)
{
	struct prng *r = &c->operator_random;
	struct sim_volume *v = &c->volumes[prng_below(r, c->params.volumes)];
	uint64_t more = (1 + prng_below(r, GROWTH_MAX / BLOCK_BYTES)) * BLOCK_BYTES;

	if (v->shrinks)
		shrink(c, v);
	else if (prng_chance(r, 1, 2))
		shrink_later(c, v);
	else if (v->bytes + more <= RESIZED_MAX)
		operator_resize(c, v->number, v->bytes + more, prng_chance(r, 1, 2));
}

/* ---- looking ---- */

/* None may change a volume of the users, or give their names away: while one is deleted its name is free. */
static const char *const looks[][2] = {
	{"status", "{}"},
	{"volume.list", "{}"},
	{"volume.list", "{\"after\":\"vol0\"}"},
	{"volume.show", "{\"name\":\"vol0\"}"},
	{"volume.show", "{\"name\":\"nowhere\"}"},
	{"volume.show", "{}"},
	{"server.list", "{}"},
	{"server.list", "{\"after\":2}"},
	{"server.show", "{\"cid\":1}"},
	{"server.show", "{\"cid\":99}"},
	{"chunk.list", "{}"},
	{"chunk.list", "{\"volume\":\"vol0\"}"},
	{"chunk.list", "{\"cid\":2,\"after\":1}"},
	{"chunk.list", "{\"state\":\"filling\"}"},
	{"chunk.list", "{\"state\":\"degraded\"}"},
	{"chunk.list", "{\"state\":\"sideways\"}"},
	{"chunk.show", "{\"chunk\":1}"},
	{"chunk.show", "{\"volume\":\"vol0\",\"index\":0}"},
	{"chunk.show", "{\"volume\":\"vol0\",\"index\":77}"},
	{"chunk.show", "{\"chunk\":\"one\"}"},
	{"chunk.check", "{\"volume\":\"vol0\"}"},
	{"chunk.check", "{\"chunk\":1}"},
	{"chunk.check", "{}"},
	{"volume.create", "{\"name\":\"-\",\"size_bytes\":4096}"},
	{"volume.create", "{\"name\":\"odd\",\"size_bytes\":4097}"},
	{"volume.create", "{\"name\":\"odd\",\"size_bytes\":4096,\"replicas\":9}"},
	{"volume.create", "{\"name\":\"odd\",\"size_bytes\":4096,\"min_replicas\":9}"},
	{"volume.create", "{\"name\":\"odd\",\"size_bytes\":4096,\"chunk_bytes\":5}"},
	{"volume.create", "{\"name\":\"odd\"}"},
	{"volume.create", "{\"name\":\"extra\",\"size_bytes\":4096,\"replicas\":1}"},
	{"volume.create",
	 "{\"name\":\"extra\",\"size_bytes\":1048576,\"replicas\":1,\"chunk_bytes\":4194304}"},
	{"volume.create",
	 "{\"name\":\"extra\",\"size_bytes\":1048576,\"replicas\":1,\"chunk_bytes\":4194304}"},
	{"volume.resize", "{\"name\":\"extra\",\"size_bytes\":9437184}"},
	{"volume.resize", "{\"name\":\"extra\",\"size_bytes\":1048576}"},
	{"volume.resize", "{\"name\":\"extra\",\"size_bytes\":1048576,\"force\":true}"},
	{"volume.resize", "{\"name\":\"extra\",\"size_bytes\":77}"},
	{"volume.resize", "{\"name\":\"nowhere\",\"size_bytes\":4096}"},
	{"volume.rename", "{\"name\":\"extra\",\"new_name\":\"other\"}"},
	{"volume.rename", "{\"name\":\"other\",\"new_name\":\"extra\"}"},
	{"volume.rename", "{\"name\":\"other\",\"new_name\":\"other\"}"},
	{"volume.rename", "{\"name\":\"nowhere\",\"new_name\":\"-\"}"},
	{"volume.delete", "{\"name\":\"extra\"}"},
	{"volume.delete", "{\"name\":\"other\"}"},
	{"volume.delete", "{\"name\":\"nowhere\",\"force\":\"maybe\"}"},
	{"volume.delete", "{\"name\":\"nowhere\"}"},
	{"meta.confirm", "{}"},
	{"volume.paint", "{}"},
	{"status", "{\"colour\":1}"},
	{"status", "[]"},
	{"status", "{"},
};

/* Whatever is asked, there is a document; one with "error" exactly if it was refused. */
static void on_looked(struct cluster *c, enum wire_status status, const char *json, void *context)
{
	const char *const *look = context;
	json_t *document = json_loads(json ? json : "", 0, NULL);

	if (!json_is_object(document) ||
	    (status != WIRE_OK) != (json_object_get(document, "error") != NULL))
		sim_fail(&c->sim, "answers to the operator", 0, "%s %s is answered %s with %.300s",
			 look[0], look[1], wire_status_name(status), json ? json : "nothing");
	json_decref(document);
}

static void look_run(struct sim_event *event)
{
	struct cluster *c = container_of(event, struct cluster, look);
	const char *const *look = looks[prng_below(&c->operator_random, ARRAY_SIZE(looks))];

	if (!c->issuing)
		return;
	if (!admin_busy(c) && prng_chance(&c->operator_random, 1, 5)) {
		resize_some(c);
	} else if (!admin_busy(c)) {
		sim_reach(&c->sim, REACHED_ADMIN);
		admin_request(c, look[0], look[1], on_looked, (void *)(uintptr_t)look);
	}
	sim_schedule(&c->sim, &c->look, NULL,
		     c->sim.now_ns + prng_below(&c->operator_random, 2 * LOOK_NS), "operator");
}

static bool look_is_harmless(const char *const look[2])
{
	static const char *const changes[] = {"volume.create", "volume.resize", "volume.rename",
					      "volume.delete"};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		if (!strcmp(look[0], changes[i]))
			return !strstr(look[1], "\"vol");
	return true;
}

void operator_start(struct cluster *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(looks); i++)
		assert(look_is_harmless(looks[i]));
	c->operator_random = sim_stream(&c->sim, "operator", 0);
	c->look.run = look_run;
	sim_schedule(&c->sim, &c->look, NULL, c->sim.now_ns + LOOK_NS, "operator");
}
