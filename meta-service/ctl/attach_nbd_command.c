/* attach_nbd_command.c - what attach, detach and attached say about volumes on the kernel's nbd driver; see attach_nbd.h. */
#include "meta-service/ctl/attach_conf.h"
#include "meta-service/ctl/attach_nbd.h"
#include "meta-service/ctl/attach_nbdkit.h"
#include "meta-service/ctl/attachment.h"
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/files.h"
#include "meta-service/ctl/netlink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PLUGIN          "nbdkit-copyhold-plugin.so"
#define TOOL_TIMEOUT_MS 60000

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

/* From the command line, or with --configured from attach.conf. */
static enum exit_code read_settings(const struct invocation *in, const char *volume,
				    const char *device, struct attach_settings *settings)
{
	char problem[400];
	int error;

	if (option_is_set(in, "configured")) {
		error = attach_conf_find(ATTACH_CONF_PATH, volume, settings, problem,
					 sizeof problem);
		return error ? fail(in, error == -ENOENT ? "NOT_FOUND" : "BAD_CONFIG",
				    "see copyhold-attach.conf(5)", "%s", problem)
			     : EXIT_CODE_OK;
	}
	attach_settings_default(settings);
	if (!option_number(in, "connections", settings->connections, &settings->connections) ||
	    !option_number(in, "timeout", settings->timeout_s, &settings->timeout_s))
		return EXIT_CODE_USAGE;
	if (attach_settings_check(settings, problem, sizeof problem) != 0)
		return fail_usage(in, "--%s", problem);
	if (device && device_parse(device, &settings->index) != 0)
		return fail_usage(in, "%s is no nbd device: /dev/nbd0, /dev/nbd1, ...", device);
	settings->read_only = option_is_set(in, "read-only");
	settings->swap = option_is_set(in, "swap");
	return EXIT_CODE_OK;
}

/* Runs mount or umount; its own words go to the attachment's log. */
static int run_tool(const char *volume, char *const argv[])
{
	char log[NBD_ATTACHMENT_PATH_BYTES];
	struct process tool;
	int error = nbd_attachment_path(volume, "log", log);

	if (!error)
		error = process_start(argv, log, &tool);
	if (error)
		return error;
	process_wait_end(&tool, TOOL_TIMEOUT_MS);
	return process_succeeded(&tool) ? 0 : -EIO;
}

static enum exit_code mount_device(const struct invocation *in, const char *volume, uint32_t index,
				   char *mountpoint)
{
	char device[32], mounted[256];
	/* _netdev: at shutdown it is unmounted before the network goes. */
	char *argv[] = {(char *)(uintptr_t) "mount",
			(char *)(uintptr_t) "-o",
			(char *)(uintptr_t) "_netdev",
			device,
			mountpoint,
			NULL};

	device_mountpoint(index, mounted, sizeof mounted);
	if (strcmp(mounted, mountpoint) == 0)
		return EXIT_CODE_OK;
	snprintf(device, sizeof device, "/dev/nbd%u", index);
	if (run_tool(volume, argv) == 0)
		return EXIT_CODE_OK;
	return fail(in, "MOUNT_FAILED", "the log in /run/copyhold/nbd says why",
		    "volume %s is attached as %s, but can't be mounted at %s", volume, device,
		    mountpoint);
}

enum exit_code attach_nbd_attach(const struct invocation *in, const char *volume, const char *meta,
				 const char *device)
{
	struct attach_settings settings;
	struct nbd_attachment *wanted;
	struct attach_failure failure;
	enum exit_code code = read_settings(in, volume, device, &settings);
	uint32_t index;
	bool was_there;
	char *uuid;

	if (code != EXIT_CODE_OK)
		return code;
	if (option_is_set(in, "upgrade")) {
		if (attach_nbd_upgrade(volume, &index, &failure) != 0)
			return tell_failure(in, &failure);
		return tell_attached(in, volume, index);
	}
	uuid = ask_uuid(in, volume);
	if (!uuid)
		return EXIT_CODE_FAILED;
	wanted = xcalloc(1, sizeof *wanted);
	*wanted = (struct nbd_attachment){
		.volume = xstrdup(volume),
		.uuid = uuid,
		.meta = xstrdup(meta),
		.plugin = find_plugin(),
		.read_only = settings.read_only,
		.swap = settings.swap,
		.connections = (unsigned)settings.connections,
		.dead_connection_timeout_s = settings.timeout_s,
		.index = settings.index,
	};
	if (attach_nbd_start(wanted, option_is_set(in, "force"), &index, &was_there, &failure) != 0)
		return tell_failure(in, &failure);
	if (was_there)
		note(in, "volume %s was attached without a supervisor, and has one again", volume);
	if (*settings.mountpoint) {
		code = mount_device(in, volume, index, settings.mountpoint);
		if (code != EXIT_CODE_OK)
			return code;
	}
	return tell_attached(in, volume, index);
}

/* ---- detach ---- */

/* Of a volume that attach.conf has mounted. Whether that worked shows when the device is detached. */
static void unmount_device(const char *volume)
{
	struct nbd_attachment *a;
	char mountpoint[256];
	char *argv[] = {(char *)(uintptr_t) "umount", mountpoint, NULL};

	if (nbd_attachment_load(volume, &a) != 0)
		return;
	device_mountpoint(a->index, mountpoint, sizeof mountpoint);
	nbd_attachment_free(a);
	if (*mountpoint)
		run_tool(volume, argv);
}

enum exit_code attach_nbd_detach(const struct invocation *in, const char *volume)
{
	struct attach_failure failure;

	if (option_is_set(in, "configured"))
		unmount_device(volume);
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
			  a->read_only, "restarts", (int)a->restarts, "io",
			  attachment_io_to_json(device)));
	nbd_attachment_free(a);
}

void attach_nbd_list(json_t *all)
{
	nbd_attachment_visit(append_one, all);
}
