/* attach_nbd_command.c - what attach, detach and attached say about volumes on the kernel's nbd driver; see attach_nbd.h. */
#include "meta-service/ctl/attach_nbd.h"
#include "meta-service/ctl/attach_nbdkit.h"
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/files.h"
#include "meta-service/ctl/netlink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PLUGIN "nbdkit-copyhold-plugin.so"

static const char *code_of(int error)
{
	switch (error) {
	case -ENOTSUP:
		return "NO_KERNEL_NBD";
	case -EBUSY:
		return "BUSY";
	case -ENOENT:
		return "NOT_FOUND";
	case -EALREADY:
		return "ALREADY";
	default:
		return "ATTACH_FAILED";
	}
}

static enum exit_code tell_failure(const struct invocation *in, const struct attach_failure *f)
{
	return fail(in, code_of(f->error), *f->hint ? f->hint : NULL, "%s", f->text);
}

/* ---- attach ---- */

/* The volume's UUID from the meta service, or NULL: told. */
static char *ask_uuid(const struct invocation *in, const char *volume)
{
	json_t *answer;
	char *uuid;

	if (client_request(in, "volume.show", json_pack("{s:s}", "name", volume), &answer) !=
	    EXIT_CODE_OK)
		return NULL;
	uuid = xstrdup(json_text(json_object_get(answer, "volume"), "uuid"));
	json_decref(answer);
	return uuid;
}

static char *find_plugin(void)
{
	const char *wanted = getenv("COPYHOLD_PLUGIN");
	char *found;

	if (wanted && *wanted)
		return xstrdup(wanted);
	found = process_find_program(PLUGIN);
	if (strchr(found, '/'))
		return found;
	free(found);
	return xstrdup("copyhold"); /* nbdkit looks in its own folder */
}

static enum exit_code tell_attached(const struct invocation *in, const char *volume, uint32_t index)
{
	json_t *all, *entry;
	size_t i;

	if (!in->json) {
		printf("/dev/nbd%u\n", index);
		return EXIT_CODE_OK;
	}
	all = json_array();
	attach_nbd_list(all);
	json_array_foreach(all, i, entry)
	{
		if (strcmp(json_text(entry, "volume"), volume) == 0)
			break;
	}
	entry = json_incref(json_array_get(all, i));
	json_decref(all);
	return print_json(json_pack("{s:o}", "attached", entry));
}

enum exit_code attach_nbd_attach(const struct invocation *in, const char *volume, const char *meta,
				 const char *device)
{
	uint64_t connections, timeout_s;
	uint32_t index = NETLINK_ANY_DEVICE;
	struct nbd_attachment *wanted;
	struct attach_failure failure;
	bool was_there;
	char *uuid;

	if (!option_number(in, "connections", ATTACH_CONNECTIONS_DEFAULT, &connections) ||
	    !option_number(in, "timeout", ATTACH_DEAD_CONNECTION_SECONDS, &timeout_s))
		return EXIT_CODE_USAGE;
	if (connections < 1 || connections > NBD_CONNECTIONS_MAX)
		return fail_usage(in, "--connections must be from 1 to %d", NBD_CONNECTIONS_MAX);
	if (timeout_s < 1 || timeout_s > UINT32_MAX)
		return fail_usage(in, "--timeout must be at least 1 second");
	if (device && device_parse(device, &index) != 0)
		return fail_usage(in, "%s is no nbd device: /dev/nbd0, /dev/nbd1, ...", device);
	uuid = ask_uuid(in, volume);
	if (!uuid)
		return EXIT_CODE_FAILED;
	wanted = xcalloc(1, sizeof *wanted);
	*wanted = (struct nbd_attachment){
		.volume = xstrdup(volume),
		.uuid = uuid,
		.meta = xstrdup(meta),
		.plugin = find_plugin(),
		.read_only = option_is_set(in, "read-only"),
		.swap = option_is_set(in, "swap"),
		.connections = (unsigned)connections,
		.dead_connection_timeout_s = timeout_s,
		.index = index,
	};
	if (attach_nbd_start(wanted, option_is_set(in, "force"), option_is_set(in, "upgrade"),
			     &index, &was_there, &failure) != 0)
		return tell_failure(in, &failure);
	if (was_there)
		note(in, "volume %s was attached without a supervisor, and has one again", volume);
	return tell_attached(in, volume, index);
}

/* ---- detach ---- */

enum exit_code attach_nbd_detach(const struct invocation *in, const char *volume)
{
	struct attach_failure failure;

	if (attach_nbd_stop(volume, option_is_set(in, "force"), &failure) != 0) {
		if (failure.error == -EBUSY && !*failure.hint)
			snprintf(failure.hint, sizeof failure.hint,
				 "end that, or: copyhold detach --force (unwritten data is lost)");
		return tell_failure(in, &failure);
	}
	if (in->json)
		return print_json(json_pack("{s:s}", "detached", volume));
	note(in, "volume %s is detached", volume);
	return EXIT_CODE_OK;
}

/* ---- attached ---- */

static json_t *io_of(uint32_t index)
{
	struct device_counters c;

	if (device_read_counters(index, &c) != 0)
		return json_null();
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "reads", (json_int_t)c.reads,
			 "read_bytes", (json_int_t)c.read_bytes, "writes", (json_int_t)c.writes,
			 "write_bytes", (json_int_t)c.write_bytes, "discards",
			 (json_int_t)c.discards, "discard_bytes", (json_int_t)c.discard_bytes,
			 "flushes", (json_int_t)c.flushes, "under_way", (json_int_t)c.under_way);
}

static void append_one(void *context, const char *volume)
{
	char device[32], mountpoint[256], since[32];
	struct nbd_attachment *a;
	json_t *all = context;
	struct tm parts;
	time_t when;

	if (nbd_attachment_load(volume, &a) != 0)
		return;
	when = (time_t)a->since_s;
	gmtime_r(&when, &parts);
	strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", &parts);
	snprintf(device, sizeof device, "/dev/nbd%u", a->index);
	device_mountpoint(a->index, mountpoint, sizeof mountpoint);
	json_array_append_new(
		all,
		json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:b,s:i,s:i,s:I,s:s,s:s?,s:b,s:i,s:o}",
			  "volume", a->volume, "meta", a->meta, "device", device, "method", "nbd",
			  "pid", (int)a->nbdkit.pid, "supervisor_pid", (int)a->supervisor.pid,
			  "alive", process_is_alive(&a->nbdkit) && nbd_attachment_is_locked(volume),
			  "connections", (int)nbdkit_count_connections(a), "wanted_connections",
			  (int)a->connections, "size_bytes", (json_int_t)a->size_bytes, "since",
			  since, "mountpoint", *mountpoint ? mountpoint : NULL, "read_only",
			  a->read_only, "restarts", (int)a->restarts, "io", io_of(a->index)));
	nbd_attachment_free(a);
}

void attach_nbd_list(json_t *all)
{
	nbd_attachment_visit(append_one, all);
}
