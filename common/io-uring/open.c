/* open.c - opening files and devices for direct IO, and rings; errors in words that help. */
#include "common/io-uring/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR_BYTES 512u

int give_why(char why[IO_URING_WHY_BYTES], int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, IO_URING_WHY_BYTES, format, ap);
	va_end(ap);
	return error;
}

/* ---- who has it ---- */

static void process_name(int pid, char *name, size_t name_bytes)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	snprintf(name, name_bytes, "?");
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(name, (int)name_bytes, file))
		name[strcspn(name, "\n")] = 0;
	fclose(file);
}

/* "process 12 (copyhold-chunkd)" from /proc/locks, or "another process". */
static void find_holder(int fd, char *holder, size_t holder_bytes)
{
	char line[256], type[16], name[64];
	struct stat st;
	FILE *locks;

	snprintf(holder, holder_bytes, "another process");
	if (fstat(fd, &st) != 0)
		return;
	locks = fopen("/proc/locks", "re");
	if (!locks)
		return;
	while (fgets(line, sizeof line, locks)) {
		unsigned device_major, device_minor;
		unsigned long inode;
		int pid;

		if (sscanf(line, "%*s %15s %*s %*s %d %x:%x:%lu", type, &pid, &device_major,
			   &device_minor, &inode) == 5 &&
		    strcmp(type, "FLOCK") == 0 && pid > 0 && inode == st.st_ino &&
		    device_major == major(st.st_dev) && device_minor == minor(st.st_dev)) {
			process_name(pid, name, sizeof name);
			snprintf(holder, holder_bytes, "process %d (%s)", pid, name);
			break;
		}
	}
	fclose(locks);
}

static int take_lock(int fd, const char *path, bool read_only, char why[IO_URING_WHY_BYTES])
{
	char holder[128];

	if (flock(fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return give_why(why, -errno, "%s cannot be locked: %s", path, strerror(errno));
	find_holder(fd, holder, sizeof holder);
	return give_why(why, -EBUSY, "%s is in use by %s; stop that first, or name another disk",
			path, holder);
}

/* ---- what it is ---- */

static int measure_device(const char *path, struct opened_file *file, char why[IO_URING_WHY_BYTES])
{
	int block_bytes = 0;

	if (ioctl(file->fd, BLKSSZGET, &block_bytes) != 0 ||
	    ioctl(file->fd, BLKGETSIZE64, &file->size_bytes) != 0)
		return give_why(why, -errno, "the size of %s cannot be read: %s", path,
				strerror(errno));
	file->block_bytes = (uint32_t)block_bytes;
	return 0;
}

/* What the file system demands of direct IO; whole blocks where it doesn't tell. */
static uint32_t file_block_bytes(int fd)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN) && stx.stx_dio_offset_align)
		return MAX(MAX(stx.stx_dio_offset_align, stx.stx_dio_mem_align), SECTOR_BYTES);
#else
	(void)fd;
#endif
	return BLOCK_BYTES;
}

static int measure(const char *path, struct opened_file *file, char why[IO_URING_WHY_BYTES])
{
	struct stat st;
	int error = 0;

	if (fstat(file->fd, &st) != 0)
		return give_why(why, -errno, "%s: %s", path, strerror(errno));
	file->block_device = S_ISBLK(st.st_mode);
	if (!file->block_device && !S_ISREG(st.st_mode))
		return give_why(why, -EINVAL, "%s is neither a file nor a block device", path);
	if (file->block_device) {
		error = measure_device(path, file, why);
	} else {
		file->block_bytes = file_block_bytes(file->fd);
		file->size_bytes = (uint64_t)st.st_size;
	}
	if (error)
		return error;
	if (file->block_bytes > BLOCK_BYTES || BLOCK_BYTES % file->block_bytes)
		return give_why(why, -EINVAL,
				"%s takes direct IO in blocks of %u bytes only; Copyhold needs "
				"blocks of 4096 bytes or less",
				path, file->block_bytes);
	file->size_bytes = ROUND_DOWN(file->size_bytes, file->block_bytes);
	return 0;
}

static int open_error(const char *path, int error, char why[IO_URING_WHY_BYTES])
{
	if (error == -EINVAL)
		return give_why(
			why, error,
			"%s cannot be opened for direct IO (O_DIRECT): its file system does "
			"not support that; use a file on ext4 or XFS, or a block device",
			path);
	if (error == -EBUSY)
		return give_why(why, error,
				"%s is in use by the kernel (mounted, swap, or part of another "
				"device) or by another process; name another disk",
				path);
	return give_why(why, error, "%s cannot be opened: %s", path, strerror(-error));
}

int file_open(const char *path, bool read_only, struct opened_file *file,
	      char why[IO_URING_WHY_BYTES])
{
	int flags = O_DIRECT | O_CLOEXEC | (read_only ? O_RDONLY : O_RDWR);
	struct stat st;
	int error;

	/* O_EXCL on a block device: not while it is mounted. (Without O_CREAT it has no other meaning.) */
	if (!read_only && stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	file->fd = open(path, flags);
	if (file->fd < 0)
		return open_error(path, -errno, why);
	error = take_lock(file->fd, path, read_only, why);
	if (!error)
		error = measure(path, file, why);
	if (error)
		close(file->fd);
	return error;
}

/* ---- rings ---- */

static int ring_error(int error, char why[IO_URING_WHY_BYTES])
{
	struct rlimit limit = {0};

	switch (error) {
	case -ENOSYS:
		return give_why(why, error,
				"this kernel has no io_uring; Linux 5.6 or later is needed");
	case -EPERM:
	case -EACCES:
		return give_why(
			why, error,
			"io_uring is switched off here: by the sysctl kernel.io_uring_disabled "
			"(set it to 0), or by a container's seccomp profile (allow io_uring_setup, "
			"io_uring_enter and io_uring_register)");
	case -ENOMEM:
		(void)getrlimit(RLIMIT_MEMLOCK, &limit);
		return give_why(
			why, error,
			"io_uring got no memory; on kernels before 5.12 it counts against the "
			"limit of locked memory, now %llu KiB: raise it (ulimit -l, LimitMEMLOCK=)",
			(unsigned long long)limit.rlim_cur / 1024);
	case -EMFILE:
	case -ENFILE:
		return give_why(
			why, error,
			"no file descriptor is left for io_uring: raise the limit (ulimit -n, "
			"LimitNOFILE=)");
	default:
		return give_why(why, error, "io_uring cannot be set up: %s", strerror(-error));
	}
}

int ring_open(struct io_uring *ring, unsigned entries, char why[IO_URING_WHY_BYTES])
{
	/* Completions are looked for when the loop turns: they need not interrupt what it does. Since Linux 5.19. */
	int error = io_uring_queue_init(entries, ring, IORING_SETUP_COOP_TASKRUN);

	if (error == -EINVAL)
		error = io_uring_queue_init(entries, ring, 0);
	return error ? ring_error(error, why) : 0;
}

int ring_open_silent(struct io_uring *ring, unsigned entries, char why[IO_URING_WHY_BYTES])
{
	int error = io_uring_queue_init(entries, ring,
					IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
						IORING_SETUP_TASKRUN_FLAG);

	return error == -EINVAL ? ring_open(ring, entries, why)
	       : error          ? ring_error(error, why)
				: 0;
}
