/*
 * nbdkit-disk-log-plugin.c - a disk that writes down every write and every flush that reaches it, with data and time (disk_log.h).
 *
 *   nbdkit nbdkit-disk-log-plugin.so file=FILE size=BYTES log=LOG [lie=true]
 *
 * Under nbdfuse and a loop device with direct IO it is a block device with a volatile cache: the kernel makes a write followed by a
 * flush of a durable write. Requests are carried out one after another, so the log is what happened. lie=true takes
 * flushes and leaves them out of the log, as a device that lies: everything that relies on it must be seen to be lost.
 */
#define NBDKIT_API_VERSION 2
#define THREAD_MODEL       NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS
#include <nbdkit-plugin.h>

#include "tests/e2e/tools/disk_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char *file_path, *log_path;
static int64_t size;
static int lies;
static int file = -1, logged = -1;

static int log_config(const char *key, const char *value)
{
	if (strcmp(key, "file") == 0)
		return (file_path = nbdkit_absolute_path(value)) ? 0 : -1;
	if (strcmp(key, "log") == 0)
		return (log_path = nbdkit_absolute_path(value)) ? 0 : -1;
	if (strcmp(key, "size") == 0)
		return (size = nbdkit_parse_size(value)) > 0 ? 0 : -1;
	if (strcmp(key, "lie") == 0)
		return (lies = nbdkit_parse_bool(value)) < 0 ? -1 : 0;
	nbdkit_error("unknown parameter '%s'", key);
	return -1;
}

static int put_all(int fd, const void *from, size_t bytes)
{
	const char *at = from;

	while (bytes) {
		ssize_t n = write(fd, at, bytes);

		if (n < 0) {
			nbdkit_error("the log: %s", strerror(errno));
			return -1;
		}
		at += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int put_record(enum disk_log_kind kind, uint64_t offset, const void *data, uint32_t bytes)
{
	struct disk_log_record record = {.kind = kind, .bytes = bytes, .offset = offset};
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	record.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (put_all(logged, &record, sizeof record) < 0)
		return -1;
	return put_all(logged, data, bytes);
}

static int log_get_ready(void)
{
	if (!file_path || !log_path || size <= 0) {
		nbdkit_error("file=, log= and size= are needed");
		return -1;
	}
	file = open(file_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	logged = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file < 0 || logged < 0 || ftruncate(file, size) < 0) {
		nbdkit_error("%s or %s: %s", file_path, log_path, strerror(errno));
		return -1;
	}
	return put_record(DISK_LOG_SIZE, (uint64_t)size, NULL, 0);
}

static void *log_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t log_get_size(void *handle)
{
	(void)handle;
	return size;
}

static int log_pread(void *handle, void *data, uint32_t bytes, uint64_t offset, uint32_t flags)
{
	(void)handle;
	(void)flags;
	if (pread(file, data, bytes, (off_t)offset) == (ssize_t)bytes)
		return 0;
	nbdkit_error("read: %s", strerror(errno));
	return -1;
}

static int log_flush(void *handle, uint32_t flags)
{
	(void)handle;
	(void)flags;
	return lies ? 0 : put_record(DISK_LOG_FLUSH, 0, NULL, 0);
}

/* In the log before it is in the file: nothing is read that isn't logged. */
static int log_pwrite(void *handle, const void *data, uint32_t bytes, uint64_t offset,
		      uint32_t flags)
{
	if (put_record(DISK_LOG_WRITE, offset, data, bytes) < 0)
		return -1;
	if (pwrite(file, data, bytes, (off_t)offset) != (ssize_t)bytes) {
		nbdkit_error("write: %s", strerror(errno));
		return -1;
	}
	return flags & NBDKIT_FLAG_FUA ? log_flush(handle, 0) : 0;
}

static int log_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static struct nbdkit_plugin plugin = {
	.name = "disk-log",
	.config = log_config,
	.get_ready = log_get_ready,
	.open = log_open,
	.get_size = log_get_size,
	.pread = log_pread,
	.pwrite = log_pwrite,
	.flush = log_flush,
	.can_fua = log_can_fua,
};

/* The macro below defines it; nbdkit.h does not declare it. */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
