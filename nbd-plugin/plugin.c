/*
 * plugin.c - nbdkit-copyhold-plugin: volumes as NBD exports. Thin: parameters, capabilities, and each request handed to the
 * replica engine (handover.h).
 *
 * Every acknowledgement is durable on all replicas (DESIGN: promise 1), so FLUSH and FUA have nothing to do.
 */
#define NBDKIT_API_VERSION 2
#define THREAD_MODEL       NBDKIT_THREAD_MODEL_PARALLEL
#include <nbdkit-plugin.h>

#include "common/trace/trace.h"
#include "nbd-plugin/handover.h"
#include "nbd-plugin/volumes.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LIST_TIMEOUT_NS (10 * NS_PER_S)
#define SWAP_HEAP_BYTES (32 * MIB)

static char *meta;
static char *default_volume;
static int force;
static unsigned io_timeout_s;
static int swap;
static struct handover *handover;

static void to_nbdkit(void *context, enum trace_level level, const char *module, const char *text)
{
	(void)context;
	if (level <= TRACE_WARN)
		nbdkit_error("%s: %s", module, text);
	else
		nbdkit_debug("%s: %s", module, text);
}

static void copyhold_load(void)
{
	trace_init();
	trace_set_sink(to_nbdkit, NULL);
}

static void copyhold_unload(void)
{
	free(meta);
	free(default_volume);
}

static int copyhold_config(const char *key, const char *value)
{
	if (strcmp(key, "meta") == 0) {
		free(meta);
		meta = xstrdup(value);
	} else if (strcmp(key, "volume") == 0) {
		free(default_volume);
		default_volume = xstrdup(value);
	} else if (strcmp(key, "force") == 0) {
		force = nbdkit_parse_bool(value);
		return force < 0 ? -1 : 0;
	} else if (strcmp(key, "swap") == 0) {
		swap = nbdkit_parse_bool(value);
		return swap < 0 ? -1 : 0;
	} else if (strcmp(key, "io_timeout") == 0) {
		return nbdkit_parse_unsigned("io_timeout", value, &io_timeout_s);
	} else {
		nbdkit_error("unknown parameter '%s': copyhold takes meta=HOST:PORT, volume=NAME, "
			     "force=true, io_timeout=SECONDS and swap=true",
			     key);
		return -1;
	}
	return 0;
}

static int copyhold_config_complete(void)
{
	if (!meta && getenv("COPYHOLD_META"))
		meta = xstrdup(getenv("COPYHOLD_META"));
	if (!meta) {
		nbdkit_error("no meta service named: give meta=HOST:PORT[,HOST:PORT...] or set "
			     "COPYHOLD_META");
		return -1;
	}
	return 0;
}

/*
 * For swap space on this very host: no page of ours may have to be read back, and what is likely to be needed is there from the
 * start, in one heap that gives nothing back. nbdkit's own --swap isn't used: it locks pages that are never touched too, of which
 * nbdkit 1.32 has 192 MiB.
 */
static int lock_memory(void)
{
	char *memory;

	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	memory = malloc(SWAP_HEAP_BYTES);
	if (!memory)
		return -ENOMEM;
	for (size_t i = 0; i < SWAP_HEAP_BYTES; i += BLOCK_BYTES)
		((volatile char *)memory)[i] = 0;
	free(memory);
	return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0 ? 0 : -errno;
}

/* After nbdkit has forked into the background: threads survive from here on. */
static int copyhold_after_fork(void)
{
	int error = swap ? lock_memory() : 0;

	if (error) {
		nbdkit_error("swap=true: memory can't be locked: %s", strerror(-error));
		return -1;
	}
	error = handover_start(meta, io_timeout_s * NS_PER_S, &handover);
	if (error)
		nbdkit_error("the engine's thread can't be started: %s", strerror(-error));
	return error ? -1 : 0;
}

static void copyhold_cleanup(void)
{
	if (!handover)
		return;
	volume_close_all(handover);
	handover_stop(handover);
	handover = NULL;
}

/* ---- exports ---- */

struct list_call {
	struct call call;
	struct nbdkit_exports *exports;
};

static void listed(void *context, int status, const struct msg_volume *volumes, size_t count)
{
	struct list_call *l = context;

	for (size_t i = 0; status == 0 && i < count; i++) {
		if (nbdkit_add_export(l->exports, volumes[i].name, NULL) < 0)
			status = -ENOMEM;
	}
	call_end(&l->call, status);
}

static void list(struct call *call, struct engine *engine)
{
	engine_list_volumes(engine, LIST_TIMEOUT_NS, listed,
			    container_of(call, struct list_call, call));
}

static int copyhold_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	struct list_call l = {.call.run = list, .exports = exports};
	int error;

	(void)readonly;
	(void)is_tls;
	error = handover_call(handover, &l.call);
	if (error)
		nbdkit_error("the meta service at %s does not list its volumes: %s", meta,
			     strerror(-error));
	return error ? -1 : 0;
}

static const char *copyhold_default_export(int readonly, int is_tls)
{
	(void)readonly;
	(void)is_tls;
	return default_volume ? default_volume : "";
}

static void *copyhold_open(int readonly)
{
	const char *name = nbdkit_export_name();
	char text[TEXT_BYTES] = "";
	struct volume *v;
	int error;

	if (!name)
		return NULL;
	if (!*name)
		name = default_volume ? default_volume : "";
	if (!*name) {
		nbdkit_error("no volume named: use its name as the export name (nbd-client -N "
			     "NAME), or start nbdkit with volume=NAME");
		nbdkit_set_error(ENOENT);
		return NULL;
	}
	error = volume_open(handover, name, readonly, force, &v, text);
	if (error) {
		nbdkit_error("volume '%s' can't be attached: %s", name,
			     *text ? text : strerror(-error));
		nbdkit_set_error(-error);
		return NULL;
	}
	return v;
}

static void copyhold_close(void *handle)
{
	volume_close(handover, handle);
}

struct size_call {
	struct call call;
	const struct engine_volume *volume;
	uint64_t bytes;
};

static void size_run(struct call *call, struct engine *engine)
{
	struct size_call *s = container_of(call, struct size_call, call);

	(void)engine;
	s->bytes = engine_volume_size_bytes(s->volume);
	call_end(call, 0);
}

/* The engine's thread is asked: there the size may change. nbdkit keeps it for as long as the connection lives. */
static int64_t copyhold_get_size(void *handle)
{
	struct size_call s = {.call.run = size_run, .volume = volume_engine(handle)};

	handover_call(handover, &s.call);
	return (int64_t)MIN(s.bytes, (uint64_t)INT64_MAX / BLOCK_BYTES * BLOCK_BYTES);
}

static int copyhold_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
			       uint32_t *maximum)
{
	(void)handle;
	*minimum = 512;
	*preferred = BLOCK_BYTES;
	*maximum = 32 * MIB;
	return 0;
}

static int copyhold_yes(void *handle)
{
	(void)handle;
	return 1;
}

static int copyhold_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

/* ---- requests ---- */

struct io_call {
	struct call call;
	struct engine_request request;
	struct engine_volume *volume;
};

static void io_done(struct engine_request *request)
{
	struct io_call *io = request->context;

	call_end(&io->call, request->status);
}

static void io_run(struct call *call, struct engine *engine)
{
	struct io_call *io = container_of(call, struct io_call, call);

	(void)engine;
	engine_submit(io->volume, &io->request);
}

static const char *explain(int error)
{
	switch (error) {
	case -ESHUTDOWN:
		return "another engine has attached this volume by force: this one is fenced and "
		       "changes nothing any more; detach here";
	case -ENOSPC:
		return "the chunk servers are full: discard data, delete volumes or add a chunk "
		       "server";
	case -EIO:
		return "no replica could serve it: see copyhold status";
	default:
		return strerror(-error);
	}
}

static int transfer(struct volume *volume, enum engine_operation operation, const char *what,
		    void *memory, uint64_t bytes, uint64_t offset)
{
	struct io_call io = {
		.call.run = io_run,
		.request = {.operation = operation,
			    .offset = offset,
			    .bytes = bytes,
			    .memory = memory,
			    .done = io_done},
		.volume = volume_engine(volume),
	};
	int error;

	if (bytes == 0)
		return 0;
	io.request.context = &io;
	error = handover_call(handover, &io.call);
	if (error) {
		nbdkit_error("%s of %llu bytes at %llu failed: %s", what, (unsigned long long)bytes,
			     (unsigned long long)offset, explain(error));
		nbdkit_set_error(-error);
		return -1;
	}
	return 0;
}

static int copyhold_pread(void *handle, void *memory, uint32_t bytes, uint64_t offset,
			  uint32_t flags)
{
	(void)flags;
	return transfer(handle, ENGINE_READ, "read", memory, bytes, offset);
}

static int copyhold_pwrite(void *handle, const void *memory, uint32_t bytes, uint64_t offset,
			   uint32_t flags)
{
	(void)flags;
	return transfer(handle, ENGINE_WRITE, "write", (void *)(uintptr_t)memory, bytes, offset);
}

/* nbdkit passes ranges of up to 4 GiB; the engine takes 64 MiB at a time. */
static int in_pieces(void *handle, enum engine_operation operation, const char *what,
		     uint32_t bytes, uint64_t offset)
{
	while (bytes) {
		uint32_t n = (uint32_t)MIN(bytes, 32 * MIB - offset % MIB);

		if (transfer(handle, operation, what, NULL, n, offset) < 0)
			return -1;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static int copyhold_zero(void *handle, uint32_t bytes, uint64_t offset, uint32_t flags)
{
	(void)flags;
	return in_pieces(handle, ENGINE_ZERO, "zeroing", bytes, offset);
}

static int copyhold_trim(void *handle, uint32_t bytes, uint64_t offset, uint32_t flags)
{
	(void)flags;
	return in_pieces(handle, ENGINE_DISCARD, "discard", bytes, offset);
}

static int copyhold_flush(void *handle, uint32_t flags)
{
	(void)handle;
	(void)flags;
	return 0; /* what was acknowledged is durable already */
}

struct extents_call {
	struct call call;
	struct engine_volume *volume;
	uint64_t offset, bytes;
	struct nbdkit_extents *extents;
};

static void extents_known(void *context, int status, const struct engine_extent *extents,
			  size_t count)
{
	struct extents_call *x = context;
	uint64_t offset = x->offset;

	for (size_t i = 0; status == 0 && i < count; i++) {
		if (nbdkit_add_extent(x->extents, offset, extents[i].bytes,
				      extents[i].hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO
						      : 0) < 0)
			status = -ENOMEM;
		offset += extents[i].bytes;
	}
	call_end(&x->call, status);
}

static void extents_run(struct call *call, struct engine *engine)
{
	struct extents_call *x = container_of(call, struct extents_call, call);

	(void)engine;
	engine_extents(x->volume, x->offset, x->bytes, extents_known, x);
}

static int copyhold_extents(void *handle, uint32_t bytes, uint64_t offset, uint32_t flags,
			    struct nbdkit_extents *extents)
{
	struct extents_call x = {.call.run = extents_run,
				 .volume = volume_engine(handle),
				 .offset = offset,
				 .bytes = bytes,
				 .extents = extents};
	int error = handover_call(handover, &x.call);

	(void)flags;
	if (error) {
		nbdkit_error("block status at %llu failed: %s", (unsigned long long)offset,
			     explain(error));
		nbdkit_set_error(-error);
		return -1;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "copyhold",
	.longname = "Copyhold replicated volumes",
	.description = "serves the volumes of a Copyhold cluster: replicated, checksummed, every "
		       "acknowledged write durable",
	.version = "0.1",
	.load = copyhold_load,
	.unload = copyhold_unload,
	.config = copyhold_config,
	.config_complete = copyhold_config_complete,
	.config_help =
		"meta=HOST:PORT[,...]  the meta service (else COPYHOLD_META)\n"
		"volume=NAME           the volume for clients that name no export\n"
		"force=true            take the volume from whoever has it attached\n"
		"io_timeout=SECONDS    requests held for longer fail with EIO (0: they wait)\n"
		"swap=true             for swap space of this host: the process is locked into "
		"memory",
	.magic_config_key = "meta",
	.after_fork = copyhold_after_fork,
	.cleanup = copyhold_cleanup,
	.list_exports = copyhold_list_exports,
	.default_export = copyhold_default_export,
	.open = copyhold_open,
	.close = copyhold_close,
	.get_size = copyhold_get_size,
	.block_size = copyhold_block_size,
	.can_write = copyhold_yes,
	.can_flush = copyhold_yes,
	.can_trim = copyhold_yes,
	.can_zero = copyhold_yes,
	.can_fast_zero = copyhold_yes,
	.can_fua = copyhold_can_fua,
	.can_multi_conn = copyhold_yes,
	.can_extents = copyhold_yes,
	.pread = copyhold_pread,
	.pwrite = copyhold_pwrite,
	.zero = copyhold_zero,
	.trim = copyhold_trim,
	.flush = copyhold_flush,
	.extents = copyhold_extents,
};

/* The macro below defines it; nbdkit.h does not declare it. */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
