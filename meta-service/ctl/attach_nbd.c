/*
 * attach_nbd.c - starting, taking over and ending attachments through the kernel's nbd driver; see attach_nbd.h.
 *
 * The attachment's lock decides who may do anything. A command takes it, forks the supervisor and leaves it the lock; a lock
 * that can be taken means that no supervisor lives, whatever its last state says.
 */
#include "meta-service/ctl/attach_nbd.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/netlink.h"
#include "meta-service/ctl/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#define LOCK_WAIT_MS       300 /* others who only look */
#define SUPERVISOR_TERM_MS 5000
#define NBDKIT_TERM_MS     10000
#define MODPROBE_MS        10000
#define DISCONNECT_STEP_MS 20
#define MOUNTS_MAX         32
#define UPGRADE_STEP_MS    20
#define UPGRADE_STEPS      3000
#define DISCONNECT_STEPS   500

static int failed(struct attach_failure *failure, int error, const char *hint, const char *format,
		  ...) __attribute__((format(printf, 4, 5)));
static int failed(struct attach_failure *failure, int error, const char *hint, const char *format,
		  ...)
{
	va_list arguments;

	failure->error = error;
	snprintf(failure->hint, sizeof failure->hint, "%s", hint);
	va_start(arguments, format);
	vsnprintf(failure->text, sizeof failure->text, format, arguments);
	va_end(arguments);
	return error;
}

/* ---- the kernel's driver ---- */

static void load_driver(void)
{
	char *arguments[] = {(char *)(uintptr_t) "modprobe", (char *)(uintptr_t) "nbd", NULL};
	struct process modprobe;

	if (process_start(arguments, "/dev/null", &modprobe) == 0) {
		process_wait_end(&modprobe, MODPROBE_MS);
		process_succeeded(&modprobe);
	}
}

static int open_driver(struct netlink **netlink, struct attach_failure *failure)
{
	int error = netlink_open(netlink);

	if (error == -ENOTSUP) {
		load_driver();
		error = netlink_open(netlink);
	}
	if (error == -ENOTSUP)
		return failed(failure, error, "attach with --fuse: nbdfuse and a loop device",
			      "this kernel has no nbd driver, and 'modprobe nbd' brought none");
	if (error)
		return failed(failure, error, "run it as root",
			      "the kernel's nbd driver can't be reached: %s", strerror(-error));
	return 0;
}

static bool is_device_of(uint32_t index, const char *uuid)
{
	char backend[128];

	if (index == NETLINK_ANY_DEVICE || !device_is_connected(index))
		return false;
	device_backend(index, backend, sizeof backend);
	return strcmp(backend, uuid) == 0;
}

/* ---- attach ---- */

/*
 * With the lock held: what there is of this volume. A device that lives on takes its state over into *wanted; leftovers of a
 * dead one are cleared away.
 */
static bool take_over(struct nbd_attachment **wanted)
{
	struct nbd_attachment *left = NULL, *a = *wanted;
	uint32_t index;
	bool found;

	if (nbd_attachment_load(a->volume, &left) == 0 && strcmp(left->uuid, a->uuid) == 0 &&
	    left->since_s && is_device_of(left->index, left->uuid)) {
		nbd_attachment_free(a);
		*wanted = left;
		return true;
	}
	if (left) {
		process_stop(&left->nbdkit, NBDKIT_TERM_MS);
		a->nbdkit_number = left->nbdkit_number;
		nbd_attachment_free(left);
	}
	/* A device whose state was lost: the kernel knows the volume that it belongs to. */
	found = device_find_backend(a->uuid, &index);
	if (found) {
		a->index = index;
		a->size_bytes = device_size_bytes(index);
		a->since_s = 1;
	}
	return found;
}

/* For systemd, which follows this process. */
static void write_pid_file(const struct nbd_attachment *a)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	FILE *file = NULL;

	if (nbd_attachment_path(a->volume, "supervisor.pid", path) == 0)
		file = fopen(path, "we");
	if (!file)
		return;
	fprintf(file, "%d\n", (int)a->supervisor.pid);
	fclose(file);
}

static void become_supervisor(struct nbd_attachment *a, int lock,
			      const struct supervisor_options *options)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), log = -1;
	int kept[] = {lock, options->report};

	setsid();
	signal(SIGPIPE, SIG_IGN);
	if (nbd_attachment_log(a, path) == 0)
		log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(null, STDIN_FILENO);
	dup2(log >= 0 ? log : null, STDOUT_FILENO);
	dup2(log >= 0 ? log : null, STDERR_FILENO);
	/* Nothing that the command had open (a pipe to its caller) may live on. */
	for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) {
		if (fd != kept[0] && fd != kept[1])
			close(fd);
	}
	(void)!chdir("/");
	process_find(getpid(), &a->supervisor);
	if (nbd_attachment_save(a) != 0)
		_exit(EXIT_FAILURE);
	write_pid_file(a);
	_exit(supervisor_run(a, options));
}

/* Reads "ok" or "ERRNO TEXT" until the supervisor closes the pipe. */
static int read_report(int pipe, struct attach_failure *failure)
{
	char text[sizeof failure->text];
	size_t length = 0;
	ssize_t n;
	char *end;
	long error;

	while (length < sizeof text - 1 &&
	       (n = read(pipe, text + length, sizeof text - 1 - length)) > 0)
		length += (size_t)n;
	text[length] = '\0';
	if (strcmp(text, "ok") == 0)
		return 0;
	error = strtol(text, &end, 10);
	if (error >= 0 || *end != ' ')
		return failed(failure, -ECHILD, "see the log in /run/copyhold/nbd",
			      "the supervisor ended without a word");
	return failed(failure, (int)error, "", "%s", end + 1);
}

static int start_supervisor(struct nbd_attachment *a, int lock, bool force,
			    struct attach_failure *failure)
{
	struct supervisor_options options = {.force = force};
	int ends[2], error;
	pid_t pid;

	error = nbd_attachment_save(a);
	if (error)
		return failed(failure, error, "", "the attachment's state can't be written: %s",
			      strerror(-error));
	if (pipe2(ends, O_CLOEXEC) != 0)
		return failed(failure, -errno, "", "no pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		options.report = ends[1];
		become_supervisor(a, lock, &options);
	}
	close(ends[1]);
	if (pid < 0)
		error = failed(failure, -errno, "", "can't fork: %s", strerror(errno));
	else
		error = read_report(ends[0], failure);
	close(ends[0]);
	return error;
}

static int take_lock(const struct nbd_attachment *wanted, int *lock, uint32_t *index,
		     struct attach_failure *failure)
{
	struct nbd_attachment *present = NULL;
	int error = nbd_attachment_lock(wanted->volume, LOCK_WAIT_MS, lock);

	if (error == -EBUSY && nbd_attachment_load(wanted->volume, &present) == 0 &&
	    present->since_s) {
		*index = present->index;
		nbd_attachment_free(present);
		return failed(failure, -EALREADY, "copyhold attached shows it",
			      "volume %s is attached already, as /dev/nbd%u", wanted->volume,
			      *index);
	}
	nbd_attachment_free(present);
	if (error == -EBUSY)
		return failed(failure, error, "try again",
			      "another command is attaching or detaching volume %s",
			      wanted->volume);
	if (error)
		return failed(failure, error, "run it as root",
			      "the state of volume %s can't be kept: %s", wanted->volume,
			      strerror(-error));
	return 0;
}

int attach_nbd_start(struct nbd_attachment *wanted, bool force, uint32_t *index, bool *was_there,
		     struct attach_failure *failure)
{
	struct nbd_attachment *result = NULL;
	struct netlink *netlink = NULL;
	int lock = -1, error;

	*was_there = false;
	error = open_driver(&netlink, failure);
	netlink_close(netlink);
	if (!error)
		error = take_lock(wanted, &lock, index, failure);
	if (!error) {
		*was_there = take_over(&wanted);
		error = start_supervisor(wanted, lock, force, failure);
		close(lock);
	}
	if (!error) {
		error = nbd_attachment_load(wanted->volume, &result);
		if (error)
			failed(failure, error, "", "the attachment was removed at once");
		else
			*index = result->index;
	}
	nbd_attachment_free(result);
	nbd_attachment_free(wanted);
	return error;
}

/* The present state; *number: which nbdkit process it is, *serving: whether the device is connected to it. */
static int read_progress(const char *volume, unsigned *number, bool *serving, uint32_t *index)
{
	struct nbd_attachment *a;
	int error = nbd_attachment_load(volume, &a);

	if (error)
		return error;
	*number = a->nbdkit_number;
	*serving = a->serving;
	*index = a->index;
	nbd_attachment_free(a);
	return 0;
}

int attach_nbd_upgrade(const char *volume, uint32_t *index, struct attach_failure *failure)
{
	unsigned before, number = 0;
	struct nbd_attachment *a;
	bool serving = false;
	int error = nbd_attachment_load(volume, &a);

	if (error)
		return failed(failure, -ENOENT, "copyhold attached lists what is",
			      "volume %s is not attached on this host", volume);
	before = a->nbdkit_number;
	if (!nbd_attachment_is_locked(volume) || !process_is_alive(&a->supervisor) ||
	    kill(a->supervisor.pid, SIGHUP) != 0)
		error = failed(failure, -ESRCH, "attach it again, that gives it a new one",
			       "volume %s has no supervisor", volume);
	nbd_attachment_free(a);
	for (unsigned i = 0; !error && i < UPGRADE_STEPS; i++) {
		error = read_progress(volume, &number, &serving, index);
		if (!error && number != before && serving)
			return 0;
		poll(NULL, 0, UPGRADE_STEP_MS);
	}
	return error ? error
		     : failed(failure, -ETIMEDOUT, "the log in /run/copyhold/nbd says why",
			      "the new nbdkit of volume %s doesn't serve yet; IO waits for it",
			      volume);
}

/* ---- detach ---- */

static int disconnect_device(const struct nbd_attachment *a, struct attach_failure *failure)
{
	struct netlink *netlink;
	int error;

	if (!is_device_of(a->index, a->uuid))
		return 0;
	error = open_driver(&netlink, failure);
	if (error)
		return error;
	error = netlink_disconnect(netlink, a->index);
	netlink_close(netlink);
	if (error)
		return failed(failure, error, "", "the kernel does not disconnect /dev/nbd%u: %s",
			      a->index, strerror(-error));
	/* It is gone when its last user has closed it. */
	for (int i = 0; i < DISCONNECT_STEPS && is_device_of(a->index, a->uuid); i++)
		poll(NULL, 0, DISCONNECT_STEP_MS);
	return 0;
}

/* Whatever has files open there gets IO errors from now on. */
static void unmount_lazily(uint32_t index)
{
	char mountpoint[256];

	for (int i = 0; i < MOUNTS_MAX; i++) {
		device_mountpoint(index, mountpoint, sizeof mountpoint);
		if (!*mountpoint || umount2(mountpoint, MNT_DETACH) != 0)
			return;
	}
}

int attach_nbd_stop(const char *volume, bool force, struct attach_failure *failure)
{
	char users[DEVICE_USERS_BYTES];
	struct nbd_attachment *a;
	int lock, error;

	if (nbd_attachment_load(volume, &a) != 0)
		return failed(failure, -ENOENT, "copyhold attached lists what is",
			      "volume %s is not attached on this host", volume);
	if (!force && is_device_of(a->index, a->uuid) && device_is_used(a->index, users)) {
		failed(failure, -EBUSY, "", "/dev/nbd%u is in use: %s", a->index, users);
		nbd_attachment_free(a);
		return -EBUSY;
	}
	if (force)
		unmount_lazily(a->index);
	process_stop(&a->supervisor, SUPERVISOR_TERM_MS);
	error = nbd_attachment_lock(volume, SUPERVISOR_TERM_MS, &lock);
	if (error) {
		nbd_attachment_free(a);
		return failed(failure, error, "try again",
			      "another command is attaching or detaching volume %s", volume);
	}
	/* The supervisor may have replaced nbdkit while it ended. */
	nbd_attachment_free(a);
	error = nbd_attachment_load(volume, &a);
	if (error) {
		close(lock);
		return error == -ENOENT ? 0 : failed(failure, error, "", "the state is unreadable");
	}
	error = disconnect_device(a, failure);
	if (!error) {
		process_stop(&a->nbdkit, NBDKIT_TERM_MS);
		nbd_attachment_remove(volume);
	}
	nbd_attachment_free(a);
	close(lock);
	return error;
}

/* ---- finding ---- */

char *attach_nbd_find(const char *name)
{
	struct nbd_attachment *a;
	uint32_t index;
	char *volume;

	if (device_parse(name, &index) == 0 && nbd_attachment_find_device(index, &a) == 0) {
		volume = xstrdup(a->volume);
		nbd_attachment_free(a);
		return volume;
	}
	if (nbd_attachment_load(name, &a) != 0)
		return NULL;
	nbd_attachment_free(a);
	return xstrdup(name);
}

int attach_nbd_resized(const char *volume)
{
	struct nbd_attachment *a;
	int error = nbd_attachment_load(volume, &a);

	if (error)
		return error;
	error = process_is_alive(&a->supervisor) && kill(a->supervisor.pid, SIGUSR1) == 0 ? 0
											  : -ESRCH;
	nbd_attachment_free(a);
	return error;
}
