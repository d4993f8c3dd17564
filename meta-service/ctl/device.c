/*
 * device.c - see device.h.
 *
 * A device and its partitions are recognised by their device numbers, since names in /proc differ from what anybody typed.
 * Partitions of /dev/nbdN have folders nbdNpM in /sys/block/nbdN.
 */
#include "meta-service/ctl/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR_BYTES    512
#define NUMBERS_MAX     32 /* the device and its partitions */
#define DESCRIPTORS_MAX 4  /* named in a message */

/* Reads a short file of /sys/block/nbdN; false if there is none. */
static bool read_line(const char *path, char *text, size_t bytes)
{
	FILE *file = fopen(path, "re");
	bool ok;

	if (!file)
		return false;
	ok = fgets(text, (int)bytes, file) != NULL;
	fclose(file);
	if (ok)
		text[strcspn(text, "\n")] = '\0';
	return ok;
}

static bool read_attribute(uint32_t index, const char *name, char *text, size_t bytes)
{
	char path[128];

	snprintf(path, sizeof path, "/sys/block/nbd%" PRIu32 "/%s", index, name);
	return read_line(path, text, bytes);
}

int device_parse(const char *text, uint32_t *index)
{
	unsigned long value;
	char *end;

	if (strncmp(text, "/dev/", 5) == 0)
		text += 5;
	if (strncmp(text, "nbd", 3) != 0 || text[3] < '0' || text[3] > '9')
		return -EINVAL;
	value = strtoul(text + 3, &end, 10);
	if (*end || value > 0xfffff)
		return -EINVAL;
	*index = (uint32_t)value;
	return 0;
}

bool device_is_connected(uint32_t index)
{
	char text[32];

	return read_attribute(index, "pid", text, sizeof text);
}

void device_backend(uint32_t index, char *backend, size_t bytes)
{
	if (!read_attribute(index, "backend", backend, bytes))
		*backend = '\0';
}

bool device_find_backend(const char *backend, uint32_t *index)
{
	char text[128];
	struct dirent *entry;
	bool found = false;
	DIR *dir = opendir("/sys/block");

	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		if (device_parse(entry->d_name, index) != 0 || !device_is_connected(*index))
			continue;
		device_backend(*index, text, sizeof text);
		found = strcmp(text, backend) == 0;
	}
	closedir(dir);
	return found;
}

uint64_t device_size_bytes(uint32_t index)
{
	char text[32];

	if (!read_attribute(index, "size", text, sizeof text))
		return 0;
	return strtoull(text, NULL, 10) * SECTOR_BYTES;
}

int device_read_counters(const char *device, struct device_counters *c)
{
	char text[400], path[128];
	uint64_t read_sectors, write_sectors, discard_sectors;

	snprintf(path, sizeof path, "/sys/block/%s/stat",
		 strncmp(device, "/dev/", 5) == 0 ? device + 5 : device);
	if (!read_line(path, text, sizeof text))
		return -ENOENT;
	memset(c, 0, sizeof *c);
	if (sscanf(text,
		   "%" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64
		   " %*u %*u %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64,
		   &c->reads, &read_sectors, &c->writes, &write_sectors, &c->under_way,
		   &c->discards, &discard_sectors, &c->flushes) != 8)
		return -EPROTO;
	c->read_bytes = read_sectors * SECTOR_BYTES;
	c->write_bytes = write_sectors * SECTOR_BYTES;
	c->discard_bytes = discard_sectors * SECTOR_BYTES;
	return 0;
}

int device_set_retry_ms(uint32_t index, unsigned retry_ms)
{
	char path[128];
	FILE *file;
	int error = 0;

	snprintf(path, sizeof path, "/sys/block/nbd%" PRIu32 "/queue/io_timeout", index);
	file = fopen(path, "we");
	if (!file)
		return -errno;
	if (fprintf(file, "%u\n", retry_ms) < 0)
		error = -EIO;
	if (fclose(file) != 0)
		error = -errno;
	return error;
}

/* ---- who uses it ---- */

struct family {
	dev_t numbers[NUMBERS_MAX];
	unsigned count;
};

static void add_member(struct family *family, const char *number_file)
{
	unsigned int major_number, minor_number;
	FILE *file = fopen(number_file, "re");

	if (!file)
		return;
	if (fscanf(file, "%u:%u", &major_number, &minor_number) == 2 && family->count < NUMBERS_MAX)
		family->numbers[family->count++] = makedev(major_number, minor_number);
	fclose(file);
}

/* The paths of one file of the device and of each of its partitions in sysfs; globfree frees them. */
static void find_sysfs(uint32_t index, const char *file, glob_t *paths)
{
	char pattern[128];

	memset(paths, 0, sizeof *paths);
	snprintf(pattern, sizeof pattern, "/sys/block/nbd%" PRIu32 "/%s", index, file);
	(void)glob(pattern, 0, NULL, paths); /* what isn't there adds nothing */
	snprintf(pattern, sizeof pattern, "/sys/block/nbd%" PRIu32 "/nbd%" PRIu32 "p*/%s", index,
		 index, file);
	(void)glob(pattern, GLOB_APPEND, NULL, paths);
}

static void find_family(uint32_t index, struct family *family)
{
	glob_t paths;

	family->count = 0;
	find_sysfs(index, "dev", &paths);
	for (size_t i = 0; i < paths.gl_pathc; i++)
		add_member(family, paths.gl_pathv[i]);
	globfree(&paths);
}

static bool is_member(const struct family *family, dev_t number)
{
	for (unsigned i = 0; i < family->count; i++) {
		if (family->numbers[i] == number)
			return true;
	}
	return false;
}

/* What is said about users so far, and what more there is to say. */
static void say(char *users, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(char *users, const char *format, ...)
{
	size_t length = strlen(users);
	va_list arguments;

	if (length) {
		snprintf(users + length, DEVICE_USERS_BYTES - length, "; ");
		length = strlen(users);
	}
	va_start(arguments, format);
	vsnprintf(users + length, DEVICE_USERS_BYTES - length, format, arguments);
	va_end(arguments);
}

/* The first mount of the family in a mountinfo file: 0 and its place, or -ENOENT. */
static int find_mount(const struct family *family, const char *mountinfo, char *place, size_t bytes)
{
	char line[4096], path[2048];
	unsigned int major_number, minor_number;
	FILE *file = fopen(mountinfo, "re");
	int error = -ENOENT;

	if (!file)
		return -ENOENT;
	while (error && fgets(line, sizeof line, file)) {
		if (sscanf(line, "%*d %*d %u:%u %*s %2047s", &major_number, &minor_number, path) ==
			    3 &&
		    is_member(family, makedev(major_number, minor_number))) {
			snprintf(place, bytes, "%s", path);
			error = 0;
		}
	}
	fclose(file);
	return error;
}

void device_mountpoint(uint32_t index, char *mountpoint, size_t bytes)
{
	struct family family;

	*mountpoint = '\0';
	find_family(index, &family);
	find_mount(&family, "/proc/self/mountinfo", mountpoint, bytes);
}

static void find_swap(const struct family *family, char *users)
{
	char line[4096], path[2048];
	FILE *file = fopen("/proc/swaps", "re");
	struct stat status;

	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%2047s", path) == 1 && path[0] == '/' &&
		    stat(path, &status) == 0 && S_ISBLK(status.st_mode) &&
		    is_member(family, status.st_rdev))
			say(users, "it is swap space (swapoff %s)", path);
	}
	fclose(file);
}

static void find_holders(uint32_t index, char *users)
{
	glob_t paths;

	find_sysfs(index, "holders/*", &paths);
	for (size_t i = 0; i < paths.gl_pathc; i++)
		say(users, "/dev/%s is built on it", strrchr(paths.gl_pathv[i], '/') + 1);
	globfree(&paths);
}

static bool has_open(const struct family *family, const char *process)
{
	char folder[300], path[600];
	struct dirent *entry;
	struct stat status;
	bool found = false;
	DIR *dir;

	snprintf(folder, sizeof folder, "/proc/%s/fd", process);
	dir = opendir(folder);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		found = stat(path, &status) == 0 && S_ISBLK(status.st_mode) &&
			is_member(family, status.st_rdev);
	}
	closedir(dir);
	return found;
}

static void say_process(const char *process, char *users)
{
	char path[300], name[64] = "";
	FILE *file;

	snprintf(path, sizeof path, "/proc/%s/comm", process);
	file = fopen(path, "re");
	if (file) {
		if (fgets(name, sizeof name, file))
			name[strcspn(name, "\n")] = '\0';
		fclose(file);
	}
	say(users, "process %s (%s) has it open", process, name);
}

/* Open descriptors everywhere, and mounts in namespaces other than ours. */
static void find_processes(const struct family *family, bool mounted_here, char *users)
{
	char path[300], place[256];
	struct dirent *entry;
	unsigned named = 0;
	DIR *dir = opendir("/proc");

	if (!dir)
		return;
	while (named < DESCRIPTORS_MAX && (entry = readdir(dir))) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		if (has_open(family, entry->d_name)) {
			say_process(entry->d_name, users);
			named++;
		}
		snprintf(path, sizeof path, "/proc/%s/mountinfo", entry->d_name);
		if (!mounted_here && find_mount(family, path, place, sizeof place) == 0) {
			say(users, "it is mounted at %s in the mount namespace of process %s",
			    place, entry->d_name);
			named++;
		}
	}
	closedir(dir);
}

/* Whatever has it exclusively (a mount, swap, a driver above) and was not found by name. */
static void find_exclusive(uint32_t index, char *users)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/dev/nbd%" PRIu32, index);
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	else if (errno == EBUSY)
		say(users, "the kernel has it in use (lsblk /dev/nbd%" PRIu32 ")", index);
}

bool device_is_used(uint32_t index, char users[DEVICE_USERS_BYTES])
{
	char place[256];
	struct family family;
	bool mounted;

	users[0] = '\0';
	find_family(index, &family);
	mounted = find_mount(&family, "/proc/self/mountinfo", place, sizeof place) == 0;
	if (mounted)
		say(users, "it is mounted at %s (umount %s)", place, place);
	find_swap(&family, users);
	find_holders(index, users);
	find_processes(&family, mounted, users);
	if (!*users)
		find_exclusive(index, users);
	return users[0] != '\0';
}
