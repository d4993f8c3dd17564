/*
 * attach_fuse.c - a block device without the kernel's nbd driver: nbdfuse shows the export as a file, a loop device with direct
 * IO makes a block device of it. Slower, and unlike the nbd driver it doesn't outlive a crash of nbdkit: its IO fails then.
 */
#include "meta-service/ctl/attachment.h"
#include "meta-service/ctl/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 30000
#define END_TIMEOUT_MS   15000
#define STEP_MS          20
#define LOOP_TRIES       100

static void wait_step(void)
{
	poll(NULL, 0, STEP_MS);
}

static bool file_is_there(void *context)
{
	struct stat st;

	return stat(context, &st) == 0 && S_ISREG(st.st_mode);
}

static char *volume_file(const struct attachment *attachment)
{
	return files_format("%s/mnt/%s", attachment->dir, attachment->volume);
}

static enum exit_code start_nbdfuse(const struct invocation *in, struct attachment *attachment)
{
	char *mountpoint = attachment_file(attachment, "mnt"), *file = volume_file(attachment);
	char *log = attachment_file(attachment, "nbdfuse.log");
	char *uri = files_format("nbd+unix:///%s?socket=%s/nbd.sock", attachment->volume,
				 attachment->dir);
	char *argv[] = {(char *)(uintptr_t) "nbdfuse", file, uri, NULL};
	enum exit_code code = EXIT_CODE_OK;
	char reason[512];
	int rc;

	files_make_directory(mountpoint);
	rc = process_start(argv, log, &attachment->connector);
	if (rc) {
		code = fail(in, "ATTACH_FAILED", "apt-get install libnbd-bin fuse3",
			    "nbdfuse can't be run: %s", strerror(-rc));
	} else {
		attachment_save(attachment);
		rc = process_wait_ready(&attachment->connector, file_is_there, file,
					READY_TIMEOUT_MS);
	}
	if (rc && code == EXIT_CODE_OK) {
		attachment_reason(attachment, "nbdfuse.log", reason, sizeof reason);
		code = fail(in, "ATTACH_FAILED", "copyhold volume show tells who holds a volume",
			    "volume %s can't be attached: %s", attachment->volume,
			    *reason ? reason : strerror(-rc));
	}
	free(mountpoint);
	free(file);
	free(log);
	free(uri);
	return code;
}

/* The number of a loop device to use: the wanted one, or a free one; negative errno. */
static int choose_loop(int control, const char *wanted_device)
{
	int number;

	if (wanted_device)
		return sscanf(wanted_device, "/dev/loop%d", &number) == 1 ? number : -EINVAL;
	number = ioctl(control, LOOP_CTL_GET_FREE);
	return number >= 0 ? number : -errno;
}

/* One try; -EBUSY: somebody else was faster. */
static int configure_loop(const char *device, int backing, bool read_only)
{
	struct loop_config config = {.fd = (unsigned)backing, .block_size = BLOCK_BYTES};
	int fd = open(device, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	config.info.lo_flags = LO_FLAGS_DIRECT_IO | (read_only ? LO_FLAGS_READ_ONLY : 0);
	if (ioctl(fd, LOOP_CONFIGURE, &config) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int set_up_loop(struct attachment *attachment, int backing, const char *wanted_device)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), rc = -EBUSY, number;
	char *device;

	if (control < 0)
		return -errno;
	for (int i = 0; rc == -EBUSY && i < LOOP_TRIES; i++) {
		number = choose_loop(control, wanted_device);
		if (number < 0) {
			rc = number;
			break;
		}
		device = files_format("/dev/loop%d", number);
		rc = configure_loop(device, backing, attachment->read_only);
		if (rc == 0)
			attachment->device = device;
		else
			free(device);
		if (wanted_device)
			break;
	}
	close(control);
	return rc;
}

static enum exit_code start_loop(const struct invocation *in, struct attachment *attachment,
				 const char *wanted_device)
{
	char *file = volume_file(attachment);
	int backing = open(file, (attachment->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC), rc;

	free(file);
	rc = backing < 0 ? -errno : set_up_loop(attachment, backing, wanted_device);
	if (backing >= 0)
		close(backing);
	if (rc == -EINVAL && wanted_device)
		return fail(in, "BAD_DEVICE", "leave it out: a free one is taken",
			    "%s is not a loop device; --fuse makes /dev/loopN", wanted_device);
	if (rc == -EBUSY && wanted_device)
		return fail(in, "BAD_DEVICE", "leave it out: a free one is taken",
			    "%s is in use already", wanted_device);
	if (rc)
		return fail(in, "ATTACH_FAILED", "modprobe loop, if the kernel has no loop driver",
			    "a loop device can't be set up: %s", strerror(-rc));
	rc = attachment_save(attachment);
	if (rc)
		return fail(in, "ATTACH_FAILED", NULL, "the state can't be written: %s",
			    strerror(-rc));
	return EXIT_CODE_OK;
}

static enum exit_code fuse_check(const struct invocation *in)
{
	if (access("/dev/fuse", R_OK | W_OK) == 0 && access("/dev/loop-control", R_OK | W_OK) == 0)
		return EXIT_CODE_OK;
	return fail(in, "NO_FUSE", "modprobe fuse; modprobe loop",
		    "this machine has no /dev/fuse or no /dev/loop-control");
}

static enum exit_code fuse_connect(const struct invocation *in, struct attachment *attachment,
				   const char *wanted_device)
{
	enum exit_code code = start_nbdfuse(in, attachment);

	return code == EXIT_CODE_OK ? start_loop(in, attachment, wanted_device) : code;
}

/* True if the loop device still has our file behind it: it may be somebody else's by now. */
static bool loop_is_ours(const struct attachment *attachment)
{
	char path[64], backing[4200], *file;
	const char *name = strrchr(attachment->device, '/') + 1;
	bool ours = false;
	FILE *sysfs;

	snprintf(path, sizeof path, "/sys/block/%s/loop/backing_file", name);
	sysfs = fopen(path, "re");
	if (!sysfs)
		return false;
	file = volume_file(attachment);
	if (fgets(backing, sizeof backing, sysfs))
		ours = strncmp(backing, file, strlen(file)) == 0;
	free(file);
	fclose(sysfs);
	return ours;
}

/* The kernel lets go of the file when the last user has closed the device: udev may look at it just now. */
static bool stop_loop(const struct attachment *attachment)
{
	bool ours = loop_is_ours(attachment);

	for (int i = 0; ours && i < END_TIMEOUT_MS / STEP_MS; i++) {
		int fd = open(attachment->device, O_RDONLY | O_CLOEXEC);

		if (fd >= 0) {
			ioctl(fd, LOOP_CLR_FD);
			close(fd);
		}
		ours = loop_is_ours(attachment);
		if (ours)
			wait_step();
	}
	return !ours;
}

/* With nbdfuse gone the mount is still there, and every access to it fails. */
static bool unmount(const char *mountpoint)
{
	for (int i = 0; i < END_TIMEOUT_MS / STEP_MS; i++) {
		if (umount2(mountpoint, 0) != 0 && errno != EBUSY)
			return errno == EINVAL || errno == ENOENT; /* not mounted, or no more */
		if (errno == EBUSY)
			wait_step();
		errno = 0;
	}
	return umount2(mountpoint, MNT_DETACH) == 0;
}

static bool fuse_disconnect(const struct invocation *in, struct attachment *attachment)
{
	char *mountpoint = attachment_file(attachment, "mnt");
	bool done = true;

	if (attachment->device && !stop_loop(attachment)) {
		fail(in, "BUSY", "end what uses it (lsof shows it), then detach again",
		     "%s is still in use", attachment->device);
		done = false;
	}
	if (done && !unmount(mountpoint)) {
		fail(in, "DETACH_FAILED", NULL, "%s can't be unmounted: %s", mountpoint,
		     strerror(errno));
		done = false;
	}
	if (done) {
		if (process_wait_end(&attachment->connector, END_TIMEOUT_MS) != 0)
			process_stop(&attachment->connector, END_TIMEOUT_MS);
		rmdir(mountpoint);
	}
	free(mountpoint);
	return done;
}

const struct attach_method attach_by_fuse = {.name = "fuse",
					     .check = fuse_check,
					     .connect = fuse_connect,
					     .disconnect = fuse_disconnect};
