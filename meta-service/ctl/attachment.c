/* attachment.c - see attachment.h. */
#include "meta-service/ctl/attachment.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define RUNTIME_DEFAULT "/run/copyhold"
#define STATE_FILE      "attachment.json"
#define SAME_VOLUME_MAX 100

static char *runtime_directory(void)
{
	const char *runtime = getenv("COPYHOLD_RUNTIME");

	return files_format("%s/attached", runtime && *runtime ? runtime : RUNTIME_DEFAULT);
}

static char *timestamp(void)
{
	char text[32];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return xstrdup(text);
}

char *attachment_file(const struct attachment *attachment, const char *name)
{
	return files_format("%s/%s", attachment->dir, name);
}

/* The volume's name, with a number behind it while another attachment of it is there. */
static char *make_directory(const char *runtime, const char *volume)
{
	char *dir;
	int rc;

	for (int i = 0; i < SAME_VOLUME_MAX; i++) {
		dir = i ? files_format("%s/%s.%d", runtime, volume, i)
			: files_format("%s/%s", runtime, volume);
		rc = mkdir(dir, 0700);
		if (rc == 0)
			return dir;
		free(dir);
		if (errno != EEXIST)
			return NULL;
	}
	return NULL;
}

struct attachment *attachment_new(const struct invocation *in, const char *volume, const char *meta,
				  const char *method)
{
	struct attachment *attachment = xcalloc(1, sizeof *attachment);
	char *runtime = runtime_directory();
	int rc = files_make_directory(runtime);

	if (rc == 0) {
		errno = 0;
		attachment->dir = make_directory(runtime, volume);
		rc = attachment->dir ? 0 : errno ? -errno : -EMFILE;
	}
	if (rc)
		fail(in, "NO_DIRECTORY",
		     rc == -EACCES || rc == -EPERM ? "run it as root"
						   : "name another in COPYHOLD_RUNTIME",
		     "the runtime directory %s can't be used: %s", runtime, strerror(-rc));
	free(runtime);
	if (rc) {
		free(attachment);
		return NULL;
	}
	attachment->volume = xstrdup(volume);
	attachment->meta = xstrdup(meta);
	attachment->method = xstrdup(method);
	attachment->since = timestamp();
	return attachment;
}

int attachment_save(const struct attachment *attachment)
{
	char *path = attachment_file(attachment, STATE_FILE);
	json_t *state =
		json_pack("{s:s, s:s, s:s?, s:s, s:s, s:b, s:o, s:o}", "volume", attachment->volume,
			  "meta", attachment->meta, "device", attachment->device, "method",
			  attachment->method, "since", attachment->since, "read_only",
			  attachment->read_only, "server", process_to_json(&attachment->server),
			  "connector", process_to_json(&attachment->connector));
	int rc = files_write_json(path, state);

	json_decref(state);
	free(path);
	return rc;
}

void attachment_remove(const struct attachment *attachment)
{
	files_remove_directory(attachment->dir);
}

void attachment_free(struct attachment *attachment)
{
	free(attachment->dir);
	free(attachment->volume);
	free(attachment->meta);
	free(attachment->device);
	free(attachment->method);
	free(attachment->since);
	free(attachment);
}

static struct attachment *read_one(const char *dir)
{
	struct attachment *attachment;
	char *path = files_format("%s/" STATE_FILE, dir);
	json_t *state = files_read_json(path);

	free(path);
	if (!state)
		return NULL;
	attachment = xcalloc(1, sizeof *attachment);
	attachment->dir = xstrdup(dir);
	attachment->volume = xstrdup(json_text(state, "volume"));
	attachment->meta = xstrdup(json_text(state, "meta"));
	attachment->method = xstrdup(json_text(state, "method"));
	attachment->since = xstrdup(json_text(state, "since"));
	if (*json_text(state, "device"))
		attachment->device = xstrdup(json_text(state, "device"));
	attachment->read_only = json_is_set(state, "read_only");
	attachment->server = process_from_json(json_object_get(state, "server"));
	attachment->connector = process_from_json(json_object_get(state, "connector"));
	json_decref(state);
	return attachment;
}

void attachment_read_all(struct attachment_list *list)
{
	char *runtime = runtime_directory(), *dir;
	struct dirent **entries;
	struct attachment *attachment;
	int count = scandir(runtime, &entries, NULL, alphasort);

	TAILQ_INIT(list);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			dir = files_format("%s/%s", runtime, entries[i]->d_name);
			attachment = read_one(dir);
			if (attachment)
				TAILQ_INSERT_TAIL(list, attachment, link);
			free(dir);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	free(runtime);
}

void attachment_free_all(struct attachment_list *list)
{
	struct attachment *attachment;

	while ((attachment = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, attachment, link);
		attachment_free(attachment);
	}
}

bool attachment_is_alive(const struct attachment *attachment)
{
	return process_is_alive(&attachment->server) && process_is_alive(&attachment->connector);
}

json_t *attachment_io_to_json(const char *device)
{
	struct device_counters c;

	if (device_read_counters(device, &c) != 0)
		return json_null();
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "reads", (json_int_t)c.reads,
			 "read_bytes", (json_int_t)c.read_bytes, "writes", (json_int_t)c.writes,
			 "write_bytes", (json_int_t)c.write_bytes, "discards",
			 (json_int_t)c.discards, "discard_bytes", (json_int_t)c.discard_bytes,
			 "flushes", (json_int_t)c.flushes, "under_way", (json_int_t)c.under_way);
}

json_t *attachment_to_json(const struct attachment *attachment)
{
	char *mountpoint = attachment->device ? attachment_mountpoint(attachment->device, 0) : NULL;
	json_t *object = json_pack(
		"{s:s, s:s, s:s?, s:s, s:i, s:s, s:s?, s:b, s:b, s:o}", "volume",
		attachment->volume, "meta", attachment->meta, "device", attachment->device,
		"method", attachment->method, "pid", (int)attachment->server.pid, "since",
		attachment->since, "mountpoint", mountpoint, "read_only", attachment->read_only,
		"alive", attachment_is_alive(attachment), "io",
		attachment_io_to_json(attachment->device ? attachment->device : ""));

	free(mountpoint);
	return object;
}

/* True if major:minor is the device, or a partition of it: those lie below it in sysfs. */
static bool belongs_to(unsigned major_number, unsigned minor_number, const char *name)
{
	char link[64], target[512], inside[128];
	ssize_t n;

	snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major_number, minor_number);
	n = readlink(link, target, sizeof target - 2);
	if (n <= 0)
		return false;
	target[n] = '/';
	target[n + 1] = 0;
	snprintf(inside, sizeof inside, "/%s/", name);
	return strstr(target, inside) != NULL;
}

/* mountinfo writes blanks and backslashes as \ooo. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; out++) {
		if (in[0] == '\\' && in[1] && in[2] && in[3]) {
			*out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
			in += 4;
		} else {
			*out = *in++;
		}
	}
	*out = 0;
}

char *attachment_mountpoint(const char *device, unsigned index)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	const char *name = strrchr(device, '/') ? strrchr(device, '/') + 1 : device;
	char *line = NULL, *found = NULL, path[4096];
	size_t line_bytes = 0;
	unsigned major_number, minor_number;

	if (!file)
		return NULL;
	while (!found && getline(&line, &line_bytes, file) > 0) {
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &major_number, &minor_number, path) !=
		    3)
			continue;
		if (belongs_to(major_number, minor_number, name) && index-- == 0)
			found = xstrdup(path);
	}
	free(line);
	fclose(file);
	if (found)
		unescape(found);
	return found;
}

bool attachment_in_use(const char *device)
{
	int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
	bool in_use = fd < 0 && errno == EBUSY;

	if (fd >= 0)
		close(fd);
	return in_use;
}

void attachment_reason(const struct attachment *attachment, const char *fallback_log, char *reason,
		       size_t reason_bytes)
{
	static const char prefix[] = "nbdkit: ";
	char *log = attachment_file(attachment, "nbdkit.log"), *other;
	const char *colon;

	process_log_line(log, 0, "error: ", reason, reason_bytes);
	free(log);
	if (!*reason && fallback_log) {
		other = attachment_file(attachment, fallback_log);
		process_log_line(other, 0, NULL, reason, reason_bytes);
		free(other);
	}
	colon = strstr(reason, "error: ");
	if (colon && strncmp(reason, prefix, strlen(prefix)) == 0)
		memmove(reason, colon + 7, strlen(colon + 7) + 1);
}
