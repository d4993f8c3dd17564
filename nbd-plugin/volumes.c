/* volumes.c - see volumes.h. */
#include "nbd-plugin/volumes.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* How long an NBD client's handshake waits for metad. */
#define ATTACH_TIMEOUT_NS (20 * NS_PER_S)

struct volume {
	char name[NAME_BYTES];
	struct engine_volume *engine;
	unsigned users;
	bool busy; /* being attached or detached */
	LIST_ENTRY(volume) link;
};

static LIST_HEAD(, volume) volumes = LIST_HEAD_INITIALIZER(volumes);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct attach_call {
	struct call call;
	const char *name;
	bool read_only, force;
	struct engine_volume *volume;
	char *text;
};

static void attached(void *context, int status, const char *text, struct engine_volume *volume)
{
	struct attach_call *a = context;

	a->volume = volume;
	snprintf(a->text, TEXT_BYTES, "%s", text);
	call_end(&a->call, status);
}

static void attach(struct call *call, struct engine *engine)
{
	struct attach_call *a = container_of(call, struct attach_call, call);

	engine_attach(engine, a->name, a->read_only ? ATTACH_READ_ONLY : ATTACH_EXCLUSIVE, a->force,
		      ATTACH_TIMEOUT_NS, attached, a);
}

struct detach_call {
	struct call call;
	struct engine_volume *volume;
};

static void detached(void *context, int status)
{
	struct detach_call *d = context;

	call_end(&d->call, status);
}

static void detach(struct call *call, struct engine *engine)
{
	struct detach_call *d = container_of(call, struct detach_call, call);

	(void)engine;
	engine_detach(d->volume, detached, d);
}

static struct volume *find(const char *name)
{
	struct volume *v;

	LIST_FOREACH (v, &volumes, link) {
		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

/* Under lock. The volume by this name once nobody is busy with it; NULL: not there. */
static struct volume *find_idle(const char *name)
{
	struct volume *v;

	while ((v = find(name)) && v->busy)
		pthread_cond_wait(&changed, &lock);
	return v;
}

static void forget(struct volume *v)
{
	pthread_mutex_lock(&lock);
	LIST_REMOVE(v, link);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	free(v);
}

int volume_open(struct handover *h, const char *name, bool read_only, bool force,
		struct volume **out, char *text)
{
	struct attach_call a = {.call.run = attach,
				.name = name,
				.read_only = read_only,
				.force = force,
				.text = text};
	struct volume *v;
	int error;

	if (strlen(name) >= NAME_BYTES) {
		snprintf(text, TEXT_BYTES, "a volume's name has at most %d characters",
			 NAME_BYTES - 1);
		return -ENOENT;
	}
	pthread_mutex_lock(&lock);
	v = find_idle(name);
	if (v) {
		v->users++;
		pthread_mutex_unlock(&lock);
		*out = v;
		return 0;
	}
	v = xcalloc(1, sizeof *v);
	snprintf(v->name, sizeof v->name, "%s", name);
	v->users = 1;
	v->busy = true;
	LIST_INSERT_HEAD(&volumes, v, link);
	pthread_mutex_unlock(&lock);

	error = handover_call(h, &a.call);
	if (error) {
		forget(v);
		return error;
	}
	pthread_mutex_lock(&lock);
	v->engine = a.volume;
	v->busy = false;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	*out = v;
	return 0;
}

void volume_close(struct handover *h, struct volume *v)
{
	struct detach_call d = {.call.run = detach};
	bool last;

	pthread_mutex_lock(&lock);
	last = --v->users == 0;
	if (last)
		v->busy = true;
	pthread_mutex_unlock(&lock);
	if (!last)
		return;
	d.volume = v->engine;
	handover_call(h, &d.call);
	forget(v);
}

void volume_close_all(struct handover *h)
{
	struct volume *v;

	pthread_mutex_lock(&lock);
	while ((v = LIST_FIRST(&volumes))) {
		if (v->busy) {
			pthread_cond_wait(&changed, &lock);
			continue;
		}
		v->users = 1;
		pthread_mutex_unlock(&lock);
		volume_close(h, v);
		pthread_mutex_lock(&lock);
	}
	pthread_mutex_unlock(&lock);
}

struct engine_volume *volume_engine(struct volume *v)
{
	return v->engine;
}
