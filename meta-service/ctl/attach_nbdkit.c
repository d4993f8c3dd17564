/* attach_nbdkit.c - see attach_nbdkit.h. */
#include "meta-service/ctl/attach_nbdkit.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX  24
#define TEXT_BYTES     320
#define LISTEN_POLL_NS 20000000
#define DRAIN_POLL_MS  10
#define IDLE_THREADS   2 /* nbdkit's own and the engine's */

/*
 * The kernel keeps up to this many requests under way per connection, and sends all of them over one connection when the
 * others are dead. With a thread for each, nbdkit reads every request at once: none is left unread in a socket, where it
 * could be carried out long after the kernel has repeated it on another connection.
 */
#define KERNEL_QUEUE_DEPTH 128
/* One connection is never repeated on while it lives (see supervisor.c), so that nbdkit's usual number will do. */
#define THREADS_SINGLE 32

static int socket_path(const struct nbd_attachment *a, char path[NBD_ATTACHMENT_PATH_BYTES])
{
	char name[32];

	snprintf(name, sizeof name, "nbd.%u.sock", a->nbdkit_number);
	return nbd_attachment_path(a->volume, name, path);
}

static void remove_old_socket(const struct nbd_attachment *a)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];

	if (socket_path(a, path) == 0)
		unlink(path);
}

struct arguments {
	char *items[ARGUMENTS_MAX];
	unsigned count;
};

static void add(struct arguments *arguments, const char *key, const char *value)
{
	char text[TEXT_BYTES * 2];

	assert(arguments->count < ARGUMENTS_MAX - 1);
	snprintf(text, sizeof text, "%s%s%s", key, value ? "=" : "", value ? value : "");
	arguments->items[arguments->count++] = xstrdup(text);
}

static void build_arguments(const struct nbd_attachment *a, const char *path, bool force,
			    struct arguments *arguments)
{
	char threads[16];

	snprintf(threads, sizeof threads, "%u",
		 a->connections > 1 ? a->connections * KERNEL_QUEUE_DEPTH : THREADS_SINGLE);
	add(arguments, "nbdkit", NULL);
	add(arguments, "--foreground", NULL);
	add(arguments, "--unix", path);
	add(arguments, "--threads", threads);
	if (a->read_only)
		add(arguments, "--readonly", NULL);
	add(arguments, a->plugin, NULL);
	add(arguments, "meta", a->meta);
	add(arguments, "volume", a->volume);
	if (a->shared)
		add(arguments, "shared", "true");
	if (force)
		add(arguments, "force", "true");
	if (a->swap)
		add(arguments, "swap", "true");
}

int nbdkit_start(struct nbd_attachment *a, bool force)
{
	char path[NBD_ATTACHMENT_PATH_BYTES], log[NBD_ATTACHMENT_PATH_BYTES];
	struct arguments arguments = {.count = 0};
	int error;

	remove_old_socket(a);
	a->nbdkit_number++;
	a->nbdkit = (struct process){.pid = 0};
	error = socket_path(a, path);
	if (!error)
		error = nbd_attachment_log(a, log);
	if (error)
		return error;
	unlink(path);
	build_arguments(a, path, force, &arguments);
	error = process_start_orphan(arguments.items, log, &a->nbdkit);
	for (unsigned i = 0; i < arguments.count; i++)
		free(arguments.items[i]);
	return error;
}

/* One connection; waits for the process to listen. */
static int open_one(const struct nbd_attachment *a, const char *path, bool (*stop)(void *context),
		    void *context, int *socket, struct handshake_export *export_,
		    char error[HANDSHAKE_ERROR_BYTES])
{
	struct timespec pause = {.tv_nsec = LISTEN_POLL_NS};
	int result;

	for (;;) {
		result = handshake_open(path, a->volume, stop, context, socket, export_, error);
		if (result && result != -ECANCELED && !process_is_alive(&a->nbdkit))
			return -ESRCH;
		if (result != -ENOENT && result != -ECONNREFUSED)
			return result;
		if (stop(context))
			return -ECANCELED;
		nanosleep(&pause, NULL);
	}
}

int nbdkit_open(const struct nbd_attachment *a, unsigned count, bool (*stop)(void *context),
		void *context, int *sockets, struct handshake_export *export_,
		char error[HANDSHAKE_ERROR_BYTES])
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	int result = socket_path(a, path);

	for (unsigned i = 0; i < count && !result; i++) {
		result = open_one(a, path, stop, context, &sockets[i], export_, error);
		while (result && i > 0)
			close(sockets[--i]);
	}
	return result;
}

int nbdkit_ask_size(const struct nbd_attachment *a, bool (*stop)(void *context), void *context,
		    uint64_t *size_bytes)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	int result = socket_path(a, path);

	return result ? result : handshake_ask_size(path, a->volume, stop, context, size_bytes);
}

/*
 * The inodes of the server's ends of the process's connections, at most max of them; returns how many there are. In
 * /proc/net/unix (Num RefCount Protocol Flags Type St Inode Path) they carry the path that they were reached by, in state 3.
 */
static unsigned list_connections(const struct nbd_attachment *a, uint64_t *inodes, unsigned max)
{
	char path[NBD_ATTACHMENT_PATH_BYTES], line[512], name[NBD_ATTACHMENT_PATH_BYTES];
	unsigned state, count = 0;
	uint64_t inode;
	FILE *file;

	if (socket_path(a, path) != 0)
		return 0;
	file = fopen("/proc/net/unix", "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%*s %*s %*s %*s %*s %x %" SCNu64 " %255s", &state, &inode,
			   name) != 3 ||
		    state != 3 || strcmp(name, path) != 0)
			continue;
		if (count < max)
			inodes[count] = inode;
		count++;
	}
	fclose(file);
	return count;
}

unsigned nbdkit_count_connections(const struct nbd_attachment *a)
{
	return list_connections(a, NULL, 0);
}

/* Shuts a descriptor of the process down if it is one of these sockets. */
static int cut_if_listed(int pidfd, pid_t pid, const char *number, const uint64_t *inodes,
			 unsigned count)
{
	char path[64], target[64] = "";
	uint64_t inode;
	int fd, error;

	snprintf(path, sizeof path, "/proc/%d/fd/%.10s", (int)pid, number);
	if (readlink(path, target, sizeof target - 1) < 0 ||
	    sscanf(target, "socket:[%" SCNu64, &inode) != 1)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		if (inodes[i] != inode)
			continue;
		fd = pidfd_getfd(pidfd, atoi(number), 0);
		if (fd < 0)
			return -errno;
		error = shutdown(fd, SHUT_RDWR) == 0 ? 0 : -errno;
		close(fd);
		return error == -ENOTCONN ? 0 : error;
	}
	return 0;
}

static int cut_connections(const struct nbd_attachment *a)
{
	uint64_t inodes[NBD_CONNECTIONS_MAX * 2];
	unsigned count = MIN(list_connections(a, inodes, ARRAY_SIZE(inodes)), ARRAY_SIZE(inodes));
	struct dirent *entry;
	char path[64];
	int pidfd = pidfd_open(a->nbdkit.pid, 0), error = 0;
	DIR *dir;

	if (pidfd < 0)
		return -errno;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)a->nbdkit.pid);
	dir = opendir(path);
	if (!dir)
		error = -errno;
	while (dir && !error && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			error = cut_if_listed(pidfd, a->nbdkit.pid, entry->d_name, inodes, count);
	}
	if (dir)
		closedir(dir);
	close(pidfd);
	return error;
}

/* How many threads the process has; 0: it has ended. */
static unsigned count_threads(pid_t pid)
{
	char path[64], line[128];
	unsigned threads = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof line, file) && sscanf(line, "Threads: %u", &threads) != 1)
		;
	fclose(file);
	return threads;
}

int nbdkit_drain(const struct nbd_attachment *a, unsigned timeout_ms)
{
	int error = cut_connections(a);

	/* A connection's socket is closed first; its thread ends when the plugin has closed the volume, which is what matters. */
	for (unsigned waited_ms = 0; !error && (nbdkit_count_connections(a) > 0 ||
						count_threads(a->nbdkit.pid) > IDLE_THREADS);
	     waited_ms += DRAIN_POLL_MS) {
		if (waited_ms >= timeout_ms)
			error = -ETIMEDOUT;
		poll(NULL, 0, DRAIN_POLL_MS);
	}
	return error;
}

void nbdkit_last_words(const struct nbd_attachment *a, uint64_t log_offset, char *text,
		       size_t bytes)
{
	char log[NBD_ATTACHMENT_PATH_BYTES];

	*text = '\0';
	if (nbd_attachment_path(a->volume, "log", log) != 0)
		return;
	process_log_line(log, log_offset, "error", text, bytes);
	if (!*text)
		process_log_line(log, log_offset, NULL, text, bytes);
}
