/* open_store.c - opening and closing a store on a libev loop, with errors that say what to do. */
#include "replica-engine/chunkd/command.h"

#include <errno.h>
#include <ev.h>
#include <stdio.h>

/* None is smaller. */
#define DISK_BYTES_MIN (4 * MIB)

struct waiting {
	struct ev_loop *loop;
	bool done;
	int status;
	char why[512];
	struct store *store;
};

static void finish(struct waiting *w, int status)
{
	w->status = status;
	w->done = true;
	ev_break(w->loop, EVBREAK_ONE);
}

static void wait_done(struct waiting *w)
{
	while (!w->done)
		ev_run(w->loop, 0);
}

static void opened(void *context, int status, const char *why, struct store *store)
{
	struct waiting *w = context;

	w->store = store;
	snprintf(w->why, sizeof w->why, "%s", why ? why : "");
	finish(w, status);
}

const char *open_remedy(int status)
{
	switch (status) {
	case -EINVAL:
		return "Name a disk of Copyhold, or make it one (what it holds is lost): "
		       "copyhold-chunkd format";
	case -EMEDIUMTYPE:
		return "Give it its whole size back, or format it anew to be filled from the "
		       "other replicas: copyhold-chunkd format --force";
	case -EUCLEAN:
		return "See what is wrong with copyhold-chunkd fsck; formatted anew (format "
		       "--force) it is filled from the other replicas";
	default:
		return "See the system's log for errors of the device";
	}
}

void require_disk_size(const struct io_disk *disk, const char *path)
{
	if (disk->size_bytes < DISK_BYTES_MIN)
		fail(EXIT_FAILED,
		     "%s is not a Copyhold disk: it has %llu bytes, it is empty or truncated. Make "
		     "one: copyhold-chunkd format",
		     path, (unsigned long long)disk->size_bytes);
}

struct store *open_store(struct ev_loop *loop, struct io_disk *disk, const char *path,
			 const struct store_options *options)
{
	struct waiting w = {.loop = loop};

	require_disk_size(disk, path);
	store_open(disk, options, opened, &w);
	wait_done(&w);
	if (w.status != 0)
		fail(EXIT_FAILED, "%s can't be opened: %s. %s", path,
		     *w.why ? w.why : strerror(-w.status), open_remedy(w.status));
	return w.store;
}

static void closed(void *context, int status)
{
	finish(context, status);
}

int close_store(struct ev_loop *loop, struct store *store)
{
	struct waiting w = {.loop = loop};

	store_close(store, closed, &w);
	wait_done(&w);
	store_free(store);
	return w.status;
}
