/*
 * attach.c - copyhold attach | detach | attached.
 *
 * An attachment is an NBD server (nbdkit with our plugin, on a Unix socket) and a method that makes a block device of it
 * (attachment.h): nbdfuse and a loop device. Attaching builds them in that order; whatever fails on the way, what was built is taken apart again. Detaching
 * takes them apart in the opposite order, and does so for crashed ones too. Volumes on the kernel's nbd driver are another
 * matter, since the device outlives its server (attach_nbd.h).
 */
#include "meta-service/ctl/attach_nbd.h"
#include "meta-service/ctl/attachment.h"
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/files.h"
#include "meta-service/ctl/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#define SERVER_TIMEOUT_MS 60000
#define SERVER_TERM_MS    15000
#define PLUGIN            "nbdkit-copyhold-plugin.so"

/* ---- attach ---- */

/*
 * Looks, and doesn't touch: nbdkit logs a connection that goes away before its handshake as an error. A line of
 * /proc/net/unix: address, references, protocol, flags (bit 16: listening), type, state, inode, path.
 */
static bool is_listening(void *context)
{
	FILE *file = fopen("/proc/net/unix", "re");
	char *line = NULL;
	size_t line_bytes = 0;
	bool found = false;
	unsigned flags;
	int path_at;

	if (!file)
		return false;
	while (!found && getline(&line, &line_bytes, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		path_at = 0;
		if (sscanf(line, "%*s %*s %*s %x %*s %*s %*s %n", &flags, &path_at) == 1 && path_at)
			found = (flags & 0x10000) && strcmp(line + path_at, context) == 0;
	}
	free(line);
	fclose(file);
	return found;
}

static enum exit_code start_server(const struct invocation *in, struct attachment *attachment)
{
	char *sock = attachment_file(attachment, "nbd.sock");
	char *log = attachment_file(attachment, "nbdkit.log");
	char *found = process_find_program(PLUGIN);
	char *plugin = xstrdup(strchr(found, '/') ? found : "copyhold");
	char *meta = files_format("meta=%s", attachment->meta);
	char *volume = files_format("volume=%s", attachment->volume);
	char *argv[12];
	enum exit_code code = EXIT_CODE_OK;
	char reason[512];
	int n = 0, rc;

	argv[n++] = (char *)(uintptr_t) "nbdkit";
	argv[n++] = (char *)(uintptr_t) "-f";
	argv[n++] = (char *)(uintptr_t) "-U";
	argv[n++] = sock;
	if (attachment->read_only)
		argv[n++] = (char *)(uintptr_t) "-r";
	argv[n++] = plugin;
	argv[n++] = meta;
	argv[n++] = volume;
	if (option_is_set(in, "force"))
		argv[n++] = (char *)(uintptr_t) "force=1";
	argv[n] = NULL;
	rc = process_start_orphan(argv, log, &attachment->server);
	if (rc) {
		code = fail(in, "ATTACH_FAILED", "apt-get install nbdkit",
			    "nbdkit can't be run: %s", strerror(-rc));
	} else {
		attachment_save(attachment);
		rc = process_wait_ready(&attachment->server, is_listening, sock, SERVER_TIMEOUT_MS);
	}
	if (rc && code == EXIT_CODE_OK) {
		attachment_reason(attachment, "nbdkit.log", reason, sizeof reason);
		code = fail(in, "ATTACH_FAILED", "copyhold volume show tells who holds a volume",
			    "volume %s can't be attached: %s", attachment->volume,
			    *reason ? reason : "nbdkit doesn't answer");
	}
	free(sock);
	free(log);
	free(found);
	free(plugin);
	free(meta);
	free(volume);
	return code;
}

/* Ends everything of an attachment; false if something resists, and then the state stays for another try. */
static bool take_apart(const struct invocation *in, struct attachment *attachment)
{
	if (!attach_by_fuse.disconnect(in, attachment))
		return false;
	if (process_stop(&attachment->server, SERVER_TERM_MS) == 1)
		note(in,
		     "nbdkit (pid %d) did not end by itself and was killed; another attach may "
		     "have to wait some seconds",
		     (int)attachment->server.pid);
	attachment_remove(attachment);
	return true;
}

/* What a crash left of an earlier attachment of this volume is cleared away, unless it is in use. */
static enum exit_code clear_leftovers(const struct invocation *in, const char *volume)
{
	struct attachment_list list;
	struct attachment *a;
	enum exit_code code = EXIT_CODE_OK;

	attachment_read_all(&list);
	TAILQ_FOREACH (a, &list, link) {
		if (strcmp(a->volume, volume) != 0 || attachment_is_alive(a))
			continue;
		if (a->device && attachment_in_use(a->device)) {
			code = fail(
				in, "BUSY", "unmount it, or: copyhold detach --force",
				"%s, left by a crashed attachment of volume %s, is still in use",
				a->device, volume);
			break;
		}
		note(in, "clearing away what a crashed attachment of volume %s left", volume);
		if (!take_apart(in, a)) {
			code = EXIT_CODE_FAILED;
			break;
		}
	}
	attachment_free_all(&list);
	return code;
}

/* Asks metad first: that the volume is there and free is known without starting anything. */
static enum exit_code check_volume(const struct invocation *in, const char *volume)
{
	json_t *answer, *attached;
	enum exit_code code;
	char hint[256];

	code = client_request(in, "volume.show", json_pack("{s:s?}", "name", volume), &answer);
	if (code != EXIT_CODE_OK)
		return code;
	attached = json_object_get(json_object_get(answer, "volume"), "attached");
	if (json_is_object(attached) && json_is_set(attached, "alive") &&
	    !option_is_set(in, "force")) {
		snprintf(hint, sizeof hint,
			 "detach it there, or take it away with --force: IO there fails from then "
			 "on");
		code = fail(in, "BUSY", hint, "volume %s is attached by %s, pid %llu, since %s",
			    volume, json_text(attached, "host"),
			    (unsigned long long)json_u64(attached, "pid"),
			    json_text(attached, "since"));
	}
	json_decref(answer);
	return code;
}

static enum exit_code tell_attached(const struct invocation *in,
				    const struct attachment *attachment)
{
	if (in->json)
		return print_json(json_pack("{s:o}", "attached", attachment_to_json(attachment)));
	printf("%s\n", attachment->device);
	note_verbose(in, "volume %s is attached as %s; nbdkit is pid %d, its log is %s/nbdkit.log",
		     attachment->volume, attachment->device, (int)attachment->server.pid,
		     attachment->dir);
	return EXIT_CODE_OK;
}

enum exit_code attach_run(const struct invocation *in)
{
	const struct attach_method *method = &attach_by_fuse;
	const char *volume = in->arguments[0], *meta = client_meta(in);
	struct attachment *attachment;
	enum exit_code code;

	if (!meta)
		return EXIT_CODE_FAILED;
	if (geteuid() != 0)
		return fail(in, "NOT_ROOT", "sudo copyhold attach ...",
			    "only root may make block devices");
	if (!option_is_set(in, "fuse"))
		return attach_nbd_attach(in, volume, meta,
					 in->argument_count > 1 ? in->arguments[1] : NULL);
	code = method->check(in);
	if (code == EXIT_CODE_OK)
		code = check_volume(in, volume);
	if (code == EXIT_CODE_OK)
		code = clear_leftovers(in, volume);
	if (code != EXIT_CODE_OK)
		return code;
	attachment = attachment_new(in, volume, meta, method->name);
	if (!attachment)
		return EXIT_CODE_FAILED;
	attachment->read_only = option_is_set(in, "read-only");
	code = start_server(in, attachment);
	if (code == EXIT_CODE_OK)
		code = method->connect(in, attachment,
				       in->argument_count > 1 ? in->arguments[1] : NULL);
	if (code == EXIT_CODE_OK)
		tell_attached(in, attachment);
	else
		take_apart(in, attachment);
	attachment_free(attachment);
	return code;
}

/* ---- detach ---- */

/* The attachment that VOLUME or DEVICE means; *count: how many fit. */
static struct attachment *find_attachment(struct attachment_list *list, const char *name,
					  unsigned *count)
{
	struct attachment *attachment, *found = NULL;

	*count = 0;
	TAILQ_FOREACH (attachment, list, link) {
		if (strcmp(attachment->volume, name) == 0 ||
		    (attachment->device && strcmp(attachment->device, name) == 0)) {
			found = attachment;
			(*count)++;
		}
	}
	return found;
}

/* A mounted device is refused, or with --force unmounted lazily. */
static enum exit_code release_device(const struct invocation *in,
				     const struct attachment *attachment)
{
	const char *device = attachment->device;
	char *mountpoint, hint[256];
	enum exit_code code;

	while (device && (mountpoint = attachment_mountpoint(device, 0))) {
		if (!option_is_set(in, "force")) {
			snprintf(hint, sizeof hint, "umount %.200s", mountpoint);
			code = fail(in, "BUSY", hint, "%s is mounted on %s", device, mountpoint);
			free(mountpoint);
			return code;
		}
		note(in, "unmounting %s lazily: what still has files open there gets IO errors",
		     mountpoint);
		if (umount2(mountpoint, MNT_DETACH) != 0) {
			code = fail(in, "DETACH_FAILED", NULL, "%s can't be unmounted: %s",
				    mountpoint, strerror(errno));
			free(mountpoint);
			return code;
		}
		free(mountpoint);
	}
	if (device && !option_is_set(in, "force") && attachment_in_use(device))
		return fail(in, "BUSY", "lsblk shows what stands on it",
			    "%s is in use (swap, device mapper, ...)", device);
	return EXIT_CODE_OK;
}

static enum exit_code detach_one(const struct invocation *in, struct attachment *attachment)
{
	enum exit_code code = release_device(in, attachment);

	if (code == EXIT_CODE_OK && !take_apart(in, attachment))
		code = EXIT_CODE_FAILED;
	if (code == EXIT_CODE_OK && in->json)
		print_json(json_pack("{s:s, s:s?}", "detached", attachment->volume, "device",
				     attachment->device));
	else if (code == EXIT_CODE_OK)
		note(in, "volume %s is detached", attachment->volume);
	return code;
}

static enum exit_code detach_nbd(const struct invocation *in, char *volume)
{
	enum exit_code code;

	if (geteuid() != 0)
		code = fail(in, "NOT_ROOT", "sudo copyhold detach ...",
			    "only root may remove block devices");
	else
		code = attach_nbd_detach(in, volume);
	free(volume);
	return code;
}

enum exit_code detach_run(const struct invocation *in)
{
	const char *name = in->arguments[0];
	char *nbd_volume = attach_nbd_find(name);
	struct attachment_list list;
	struct attachment *attachment;
	enum exit_code code;
	unsigned count;

	if (nbd_volume)
		return detach_nbd(in, nbd_volume);
	attachment_read_all(&list);
	attachment = find_attachment(&list, name, &count);
	if (!attachment && option_is_set(in, "configured"))
		code = EXIT_CODE_OK; /* a unit that is stopped after a detach by hand */
	else if (!attachment)
		code = fail(in, "NOT_FOUND", "copyhold attached lists what is",
			    "nothing named %s is attached on this host", name);
	else if (count > 1)
		code = fail(in, "AMBIGUOUS", "name the device: copyhold attached lists them",
			    "volume %s is attached %u times on this host", name, count);
	else if (geteuid() != 0)
		code = fail(in, "NOT_ROOT", "sudo copyhold detach ...",
			    "only root may remove block devices");
	else
		code = detach_one(in, attachment);
	attachment_free_all(&list);
	return code;
}

/* ---- attached ---- */

json_t *attachment_all_to_json(void)
{
	json_t *all = json_array();
	struct attachment_list list;
	struct attachment *attachment;

	attachment_read_all(&list);
	TAILQ_FOREACH (attachment, &list, link)
		json_array_append_new(all, attachment_to_json(attachment));
	attachment_free_all(&list);
	attach_nbd_list(all);
	return all;
}

/* How many connections it has (--fuse: they are nbdfuse's), and what was read and written since it is there. */
static void attached_io(struct table *table, const json_t *entry)
{
	const json_t *io = json_object_get(entry, "io");
	char bytes[TEXT_SIZE_BYTES];

	if (json_object_get(entry, "connections"))
		table_cell(table, "%llu", (unsigned long long)json_u64(entry, "connections"));
	else
		table_cell(table, "-");
	table_cell(table, "%s", text_size(json_u64(io, "read_bytes"), bytes));
	table_cell(table, "%s", text_size(json_u64(io, "write_bytes"), bytes));
}

enum exit_code attached_run(const struct invocation *in)
{
	json_t *all = attachment_all_to_json(), *entry;
	struct table *table;
	size_t i;

	if (in->json)
		return print_json(json_pack("{s:o}", "attached", all));
	table = table_new(
		"VOLUME|DEVICE|STATE|THROUGH|>PID|>SOCKETS|>READ|>WRITTEN|SINCE|MOUNTED ON");
	json_array_foreach(all, i, entry)
	{
		table_cell(table, "%s", json_text(entry, "volume"));
		table_cell(table, "%s", json_text(entry, "device"));
		table_state(table, json_is_set(entry, "alive") ? "running" : "dead");
		table_cell(table, "%s", json_text(entry, "method"));
		table_cell(table, "%llu", (unsigned long long)json_u64(entry, "pid"));
		attached_io(table, entry);
		table_cell(table, "%s", json_text(entry, "since"));
		table_cell(table, "%s", json_text(entry, "mountpoint"));
	}
	table_print(table);
	json_decref(all);
	return EXIT_CODE_OK;
}
