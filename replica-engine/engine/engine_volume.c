/*
 * engine_volume.c - volumes: attach, the table of existing chunks, fencing of a previous owner, detach.
 *
 *   ATTACHING --ATTACH_OK, TABLE pages--> FENCING --leases of chunks that another engine held--> ATTACHED
 *   ATTACHED --DETACHED, NOT_OWNER, BUSY after a reconnect--> LOST        ATTACHED --engine_detach--> DETACHING
 *
 * `current` is true while metad has confirmed the attachment and the whole table on the present session: only then may a
 * chunk that is not in the table be taken for one that does not exist. Chunks that another engine left leased are taken before the
 * attachment is complete, so that whoever was there before is fenced everywhere, not chunk by chunk as they are touched. Not more than
 * that is waited for: a chunk whose IO is held must not keep the others from being used, or discarded to make room for it.
 */
#include "replica-engine/engine/engine_private.h"

#include "common/trace/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ATTACH_RETRY_NS    (500 * NS_PER_MS)
#define DETACH_PATIENCE_NS (2 * NS_PER_S)
struct engine_volume *engine_volume_by_id(struct engine *e, uint64_t volume)
{
	struct engine_volume *v;

	TAILQ_FOREACH (v, &e->volumes, link) {
		if (volume && v->info.volume == volume)
			return v;
	}
	return NULL;
}

/* ---- the table ---- */

static int compare_entries(const void *a, const void *b)
{
	const struct table_entry *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

const struct table_entry *engine_table_find(const struct engine_volume *v, uint64_t index)
{
	struct table_entry key = {.index = index};

	if (!v->table_count)
		return NULL;
	return bsearch(&key, v->table, v->table_count, sizeof key, compare_entries);
}

void engine_table_add(struct engine_volume *v, const struct msg_chunk *m)
{
	struct table_entry entry = {m->index, m->chunk, m->root_chunk};
	size_t i = v->table_count;

	if (engine_table_find(v, m->index))
		return;
	if (v->table_count == v->table_capacity) {
		v->table_capacity = v->table_capacity ? v->table_capacity * 2 : 64;
		v->table = xrealloc(v->table, v->table_capacity * sizeof *v->table);
	}
	while (i > 0 && v->table[i - 1].index > entry.index)
		i--; /* pages come in order: no move then */
	memmove(&v->table[i + 1], &v->table[i], (v->table_count - i) * sizeof entry);
	v->table[i] = entry;
	v->table_count++;
}

bool engine_volume_granted(struct engine_volume *v)
{
	return v->current && engine_now_ns(v->engine) < v->engine->meta.granted_until_ns;
}

/* ---- attach ---- */

static void volume_remove(struct engine_volume *v)
{
	struct chunk *c, *next;

	/* A lease may have come after all that were held had been returned, and its units may be on their way. */
	HASH_ITER(by_index, v->chunks, c, next)
	engine_chunk_end(c);
	TAILQ_REMOVE(&v->engine->volumes, v, link);
	engine_volume_free(v);
}

void engine_volume_free(struct engine_volume *v)
{
	struct chunk *c, *next;

	HASH_ITER(by_index, v->chunks, c, next)
	engine_chunk_free(c);
	free(v->table);
	free(v);
}

static void attach_failed(struct engine_volume *v, int status, const char *text)
{
	char copy[TEXT_BYTES];

	snprintf(copy, sizeof copy, "%s", text);
	v->attached(v->attached_context, status, copy, NULL);
	volume_remove(v);
}

static void send_attach(struct engine_volume *v)
{
	struct engine *e = v->engine;
	struct msg msg = {.type = MSG_ATTACH, .id = ++e->next_id};

	v->asked = true;
	v->attach_id = msg.id;
	memcpy(msg.u.attach.volume, v->info.name, sizeof v->info.name);
	msg.u.attach.mode = v->mode;
	/* A volume that was ours is confirmed, never taken back by force. */
	msg.u.attach.force = v->force && v->state == VOLUME_ATTACHING;
	engine_meta_send(e, &msg);
}

static void send_table(struct engine_volume *v, uint64_t first_index)
{
	struct engine *e = v->engine;
	struct msg msg = {.type = MSG_TABLE, .id = ++e->next_id};

	msg.u.table.volume = v->info.volume;
	msg.u.table.first_index = first_index;
	engine_meta_send(e, &msg);
}

void engine_attach(struct engine *e, const char *name, enum attach_mode mode, bool force,
		   uint64_t timeout_ns,
		   void (*done)(void *context, int status, const char *text,
				struct engine_volume *volume),
		   void *context)
{
	struct engine_volume *v = xcalloc(1, sizeof *v);

	v->engine = e;
	v->state = VOLUME_ATTACHING;
	v->mode = mode;
	v->force = force;
	snprintf(v->info.name, sizeof v->info.name, "%s", name);
	v->deadline_ns = timeout_ns ? engine_now_ns(e) + timeout_ns : UINT64_MAX;
	v->attached = done;
	v->attached_context = context;
	TAILQ_INIT(&v->ungranted);
	TAILQ_INSERT_TAIL(&e->volumes, v, link);
	if (engine_meta_up(e))
		send_attach(v);
	engine_tick_start(e);
}

void engine_volumes_meta_up(struct engine *e)
{
	struct engine_volume *v;

	engine_list_calls_send(e);
	TAILQ_FOREACH (v, &e->volumes, link) {
		if (v->state <= VOLUME_ATTACHED)
			send_attach(v);
	}
}

void engine_volumes_meta_down(struct engine *e)
{
	struct engine_volume *v;
	struct chunk *c, *next;

	TAILQ_FOREACH (v, &e->volumes, link) {
		v->current = false;
		v->asked = false;
		v->detach_sent = false;
		HASH_ITER(by_index, v->chunks, c, next)
		{
			bool unanswered = c->lease_sent;

			c->lease_sent = false;
			/* No request asks for these again. */
			if (c->allocating || !TAILQ_EMPTY(&c->waiting) ||
			    (c->fence_first && unanswered))
				engine_want_lease(c);
		}
	}
}

static int attach_error(enum wire_status status)
{
	switch (status) {
	case WIRE_NOT_FOUND:
		return -ENOENT;
	case WIRE_BUSY:
		return -EBUSY;
	case WIRE_BAD_REQUEST:
		return -EINVAL;
	case WIRE_REFUSED:
		return -EACCES;
	default:
		return -EAGAIN;
	}
}

static struct engine_volume *volume_by_attach(struct engine *e, uint64_t id)
{
	struct engine_volume *v;

	TAILQ_FOREACH (v, &e->volumes, link) {
		if (v->attach_id == id)
			return v;
	}
	return NULL;
}

static void say_detach(struct engine *e, uint64_t volume)
{
	struct msg msg = {.type = MSG_DETACH, .id = ++e->next_id};

	msg.u.detach.volume = volume;
	engine_meta_send(e, &msg);
}

static bool name_in_use(const struct engine *e, const char *name)
{
	const struct engine_volume *v;

	TAILQ_FOREACH (v, &e->volumes, link) {
		if (!v->lost && strcmp(v->info.name, name) == 0)
			return true;
	}
	return false;
}

/* An attached volume only grows; requests that are under way were checked against the size that their user knew. */
static void grow(struct engine_volume *v, uint64_t size_bytes)
{
	v->info.size_bytes = MAX(v->info.size_bytes, size_bytes);
}

static void attach_answered(struct engine *e, const struct msg *msg)
{
	struct engine_volume *v = volume_by_attach(e, msg->id);
	int error;

	/* Granted after its time was up, or after the volume was lost, attached or not yet: nobody here wants it, and it would keep others out. */
	if ((!v || v->lost) && msg->status == WIRE_OK && !name_in_use(e, msg->u.volume.name))
		say_detach(e, msg->u.volume.volume);
	if (!v || !v->asked || v->state > VOLUME_ATTACHED)
		return;
	if (msg->status != WIRE_OK) {
		v->asked = false;
		error = attach_error(msg->status);
		if (error == -EAGAIN)
			return; /* a metad that can't yet: the tick asks again */
		if (v->state == VOLUME_ATTACHING)
			attach_failed(v, error, msg->u.volume.text);
		else
			engine_volume_lost(v, msg->u.volume.text);
		return;
	}
	if (v->state == VOLUME_ATTACHING) {
		v->info = msg->u.volume;
	} else if (v->info.volume != msg->u.volume.volume) {
		say_detach(e, msg->u.volume.volume);
		engine_volume_lost(v, "it was deleted, and another volume has its name");
		return;
	} else {
		grow(v, msg->u.volume.size_bytes);
	}
	send_table(v, 0);
}

/* Chunks on which the previous owner's lease was never returned: taken now. */
static void fence(struct engine_volume *v, const struct msg_chunk *m)
{
	struct chunk *c;

	HASH_FIND(by_index, v->chunks, &m->index, sizeof m->index, c);
	if (c)
		return;
	c = engine_chunk_new(v->engine, v, m->index);
	engine_chunk_identify(c, m->chunk, m->root_chunk, v->info.chunk_bytes);
	c->fence_first = true;
	c->owner.wanted = true;
	engine_want_lease(c);
}

/* ATTACHED once no chunk is left to be fenced. One that has too few replicas for IO keeps nobody from the others. */
static void attach_progress(struct engine_volume *v)
{
	struct chunk *c, *next;

	if (v->state != VOLUME_FENCING)
		return;
	HASH_ITER(by_index, v->chunks, c, next)
	{
		if (!c->fence_first)
			continue;
		if (!owner_fences(&c->owner))
			return;
		c->fence_first = false; /* still wanted: it goes on to IO by itself */
	}
	v->state = VOLUME_ATTACHED;
	v->attached(v->attached_context, 0, "", v);
}

static void table_answered(struct engine *e, const struct msg *msg)
{
	const struct msg_chunks *page = &msg->u.chunks;
	struct engine_volume *v = engine_volume_by_id(e, page->volume);

	if (!v || !v->asked || v->state > VOLUME_ATTACHED)
		return;
	if (msg->status != WIRE_OK) {
		v->asked = false;
		return; /* the tick begins again */
	}
	for (uint32_t i = 0; i < page->count; i++) {
		engine_table_add(v, &page->chunks[i]);
		if (page->chunks[i].other_owner && v->state == VOLUME_ATTACHING)
			fence(v, &page->chunks[i]);
	}
	if (page->more && page->count) {
		send_table(v, page->chunks[page->count - 1].index + 1);
		return;
	}
	v->asked = false;
	v->current = true;
	if (v->state == VOLUME_ATTACHING)
		v->state = VOLUME_FENCING;
	engine_parts_granted(v);
	attach_progress(v);
}

/* ---- loss ---- */

void engine_volume_lost(struct engine_volume *v, const char *text)
{
	struct chunk *c, *next;

	if (v->state == VOLUME_LOST || v->state == VOLUME_FAILED)
		return;
	trace(TRACE_ERROR, "engine", "volume=%s: lost: %s", v->info.name, text);
	if (v->state == VOLUME_ATTACHING || v->state == VOLUME_FENCING) {
		HASH_ITER(by_index, v->chunks, c, next)
		{
			c->fence_first = false;
			c->owner.wanted = false;
		}
	}
	snprintf(v->text, sizeof v->text, "%s", text);
	v->current = false;
	v->lost = true;
	if (v->state != VOLUME_ATTACHED && v->state != VOLUME_DETACHING) {
		v->state = VOLUME_FAILED;
		engine_tick_start(v->engine);
		return;
	}
	v->state = VOLUME_LOST;
	HASH_ITER(by_index, v->chunks, c, next)
	engine_chunk_end(c);
	engine_parts_fail(v->engine, &v->ungranted, WIRE_FENCED);
}

/* ---- detach ---- */

static void detach_end(struct engine_volume *v, int status)
{
	void (*done)(void *, int) = v->detached;
	void *context = v->detached_context;

	volume_remove(v);
	done(context, status);
}

static bool leases_returned(const struct engine_volume *v)
{
	struct chunk *c, *next;

	HASH_ITER(by_index, v->chunks, c, next)
	{
		if (!c->allocating && c->owner.phase != OWNER_IDLE)
			return false;
	}
	return true;
}

static void send_detach(struct engine_volume *v)
{
	struct engine *e = v->engine;

	if (v->detach_sent || !leases_returned(v) || !engine_meta_up(e))
		return;
	say_detach(e, v->info.volume);
	v->detach_sent = true;
}

void engine_detach(struct engine_volume *v, void (*done)(void *context, int status), void *context)
{
	struct engine *e = v->engine;
	struct chunk *c, *next;

	assert(v->under_way == 0);
	v->detached = done;
	v->detached_context = context;
	v->detach_deadline_ns = engine_now_ns(e) + DETACH_PATIENCE_NS;
	if (v->state == VOLUME_ATTACHED) {
		HASH_ITER(by_index, v->chunks, c, next)
		{
			struct owner_event event = {.kind = OWNER_EVENT_RETURN};

			if (!c->allocating)
				engine_chunk_event(c, &event);
		}
	}
	v->detach_sent = v->state == VOLUME_LOST; /* nothing to tell */
	if (v->state == VOLUME_LOST)
		v->detach_deadline_ns = 0;
	v->state = VOLUME_DETACHING;
	send_detach(v);
	engine_tick_start(e);
}

static void detach_progress(struct engine_volume *v)
{
	struct engine *e = v->engine;
	uint64_t now = engine_now_ns(e);

	if (now >= v->detach_deadline_ns) {
		/* What could not be returned is left to time out. */
		detach_end(v, v->detach_sent ? 0 : -ETIMEDOUT);
		return;
	}
	send_detach(v);
}

void engine_volume_answered(struct engine *e, const struct msg *msg)
{
	struct engine_volume *v;

	switch (msg->type) {
	case MSG_ATTACH_OK:
		attach_answered(e, msg);
		break;
	case MSG_TABLE_OK:
		table_answered(e, msg);
		break;
	case MSG_DETACH_OK:
		v = engine_volume_by_id(e, msg->u.detach.volume);
		if (v && v->state == VOLUME_DETACHING)
			detach_end(v, 0);
		break;
	case MSG_DETACHED:
		v = engine_volume_by_id(e, msg->u.detached.volume);
		if (v && v->state != VOLUME_DETACHING)
			engine_volume_lost(v, msg->u.detached.text);
		break;
	case MSG_RESIZED:
		v = engine_volume_by_id(e, msg->u.resized.volume);
		if (v)
			grow(v, msg->u.resized.size_bytes);
		break;
	default:
		break; /* LEASE_RETURN_OK: nothing waits for it */
	}
}

/* ---- ticks ---- */

/* Takes leases of existing chunks ahead of their first IO, so that this IO needs no metad. */
static void warm(struct engine_volume *v)
{
	unsigned n = 0;

	while (v->warm_next < MIN(v->table_count, WARM_CHUNKS) && n < WARM_AT_ONCE) {
		const struct table_entry *entry = &v->table[v->warm_next++];
		struct chunk *c;

		HASH_FIND(by_index, v->chunks, &entry->index, sizeof entry->index, c);
		if (c)
			continue;
		c = engine_chunk_new(v->engine, v, entry->index);
		engine_chunk_identify(c, entry->chunk, entry->root_chunk, v->info.chunk_bytes);
		engine_want_lease(c);
		n++;
	}
}

void engine_volumes_tick(struct engine *e)
{
	struct engine_volume *v, *next;

	TAILQ_FOREACH_SAFE (v, &e->volumes, link, next) {
		if (v->state == VOLUME_DETACHING) {
			detach_progress(v);
			continue;
		}
		if (v->state == VOLUME_FAILED) {
			attach_failed(v, -EBUSY, v->text);
			continue;
		}
		if (v->state <= VOLUME_ATTACHED && !v->asked && !v->current && engine_meta_up(e))
			send_attach(v);
		if (v->state == VOLUME_ATTACHING || v->state == VOLUME_FENCING) {
			if (engine_now_ns(e) >= v->deadline_ns) {
				if (v->info.volume && engine_meta_up(e))
					say_detach(e, v->info.volume);
				attach_failed(v, -ETIMEDOUT,
					      engine_meta_up(e)
						      ? "the previous owner's leases could not be "
							"taken in time: look at copyhold status"
						      : "the meta service can't be reached: is "
							"copyhold-metad running, and is its "
							"address right?");
				continue;
			}
			attach_progress(v);
		} else if (v->state == VOLUME_ATTACHED && v->current) {
			warm(v);
		}
	}
}

uint64_t engine_volume_size_bytes(const struct engine_volume *v)
{
	return v->info.size_bytes;
}

struct uuid engine_volume_uuid(const struct engine_volume *v)
{
	return v->info.uuid;
}

void engine_list_calls_send(struct engine *e)
{
	struct list_call *call;

	TAILQ_FOREACH (call, &e->list_calls, link) {
		struct msg msg = {.type = MSG_VOLUMES, .id = ++e->next_id};

		call->id = msg.id;
		engine_meta_send(e, &msg);
	}
}

void engine_list_volumes(struct engine *e, uint64_t timeout_ns,
			 void (*done)(void *context, int status, const struct msg_volume *volumes,
				      size_t count),
			 void *context)
{
	struct list_call *call = xcalloc(1, sizeof *call);

	call->deadline_ns = engine_now_ns(e) + timeout_ns;
	call->done = done;
	call->context = context;
	TAILQ_INSERT_TAIL(&e->list_calls, call, link);
	if (engine_meta_up(e))
		engine_list_calls_send(e); /* else when there is a session */
	engine_tick_start(e);
}
