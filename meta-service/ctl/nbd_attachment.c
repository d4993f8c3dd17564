/* nbd_attachment.c - see nbd_attachment.h. */
#include "meta-service/ctl/nbd_attachment.h"
#include "meta-service/ctl/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_RETRY_NS 20000000

static char *root(void)
{
	const char *runtime = getenv("COPYHOLD_RUNTIME");

	return files_format("%s/nbd", runtime && *runtime ? runtime : "/run/copyhold");
}

int nbd_attachment_path(const char *volume, const char *name, char path[NBD_ATTACHMENT_PATH_BYTES])
{
	char *folder;
	int length;

	if (!*volume || *volume == '.' || strchr(volume, '/'))
		return -EINVAL;
	folder = root();
	length = snprintf(path, NBD_ATTACHMENT_PATH_BYTES, "%s/%s%s%s", folder, volume,
			  name ? "/" : "", name ? name : "");
	free(folder);
	return length < NBD_ATTACHMENT_PATH_BYTES ? 0 : -ENAMETOOLONG;
}

int nbd_attachment_log(const struct nbd_attachment *a, char path[NBD_ATTACHMENT_PATH_BYTES])
{
	if (!a->swap)
		return nbd_attachment_path(a->volume, "log", path);
	snprintf(path, NBD_ATTACHMENT_PATH_BYTES, "/dev/kmsg");
	return 0;
}

/* ---- attachment.json ---- */

static struct nbd_attachment *from_json(json_t *document)
{
	const char *volume, *uuid, *meta, *plugin;
	int read_only, shared, swap, serving, connections, nbdkit_number, restarts;
	json_int_t dead_connection_timeout_s, index, size_bytes, since_s;
	json_t *supervisor, *nbdkit;
	struct nbd_attachment *a;

	if (json_unpack(document,
			"{s:s,s:s,s:s,s:s,s:b,s:b,s:b,s:b,s:i,s:I,s:I,s:I,s:I,s:o,s:o,s:i,s:i}",
			"volume", &volume, "uuid", &uuid, "meta", &meta, "plugin", &plugin,
			"read_only", &read_only, "shared", &shared, "swap", &swap, "serving",
			&serving, "connections", &connections, "dead_connection_timeout_s",
			&dead_connection_timeout_s, "index", &index, "size_bytes", &size_bytes,
			"since_s", &since_s, "supervisor", &supervisor, "nbdkit", &nbdkit,
			"nbdkit_number", &nbdkit_number, "restarts", &restarts) != 0 ||
	    connections < 1 || connections > NBD_CONNECTIONS_MAX)
		return NULL;
	a = xcalloc(1, sizeof *a);
	*a = (struct nbd_attachment){
		.volume = xstrdup(volume),
		.uuid = xstrdup(uuid),
		.meta = xstrdup(meta),
		.plugin = xstrdup(plugin),
		.read_only = read_only,
		.shared = shared,
		.swap = swap,
		.serving = serving,
		.connections = (unsigned)connections,
		.dead_connection_timeout_s = (uint64_t)dead_connection_timeout_s,
		.index = (uint32_t)index,
		.size_bytes = (uint64_t)size_bytes,
		.since_s = since_s,
		.supervisor = process_from_json(supervisor),
		.nbdkit = process_from_json(nbdkit),
		.nbdkit_number = (unsigned)nbdkit_number,
		.restarts = (unsigned)restarts,
	};
	return a;
}

static json_t *to_json(const struct nbd_attachment *a)
{
	json_t *document =
		json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:b,s:b,s:i,s:I,s:I,s:I,s:I,s:o,s:o,s:i,s:i}",
			  "volume", a->volume, "uuid", a->uuid, "meta", a->meta, "plugin",
			  a->plugin, "read_only", a->read_only, "shared", a->shared, "serving",
			  a->serving, "swap", a->swap, "connections", (int)a->connections,
			  "dead_connection_timeout_s", (json_int_t)a->dead_connection_timeout_s,
			  "index", (json_int_t)a->index, "size_bytes", (json_int_t)a->size_bytes,
			  "since_s", (json_int_t)a->since_s, "supervisor",
			  process_to_json(&a->supervisor), "nbdkit", process_to_json(&a->nbdkit),
			  "nbdkit_number", (int)a->nbdkit_number, "restarts", (int)a->restarts);

	assert(document);
	return document;
}

int nbd_attachment_load(const char *volume, struct nbd_attachment **attachment)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	json_t *document;
	int error;

	error = nbd_attachment_path(volume, "attachment.json", path);
	if (error)
		return error;
	if (access(path, R_OK) != 0)
		return -errno;
	document = files_read_json(path);
	*attachment = document ? from_json(document) : NULL;
	json_decref(document);
	return *attachment ? 0 : -EPROTO;
}

int nbd_attachment_save(const struct nbd_attachment *a)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	json_t *document;
	int error;

	error = nbd_attachment_path(a->volume, "attachment.json", path);
	if (error)
		return error;
	document = to_json(a);
	error = files_write_json(path, document);
	json_decref(document);
	return error;
}

void nbd_attachment_free(struct nbd_attachment *a)
{
	if (!a)
		return;
	free(a->volume);
	free(a->uuid);
	free(a->meta);
	free(a->plugin);
	free(a);
}

void nbd_attachment_visit(void (*visit)(void *context, const char *volume), void *context)
{
	char *folder = root();
	struct dirent **entries;
	int count = scandir(folder, &entries, NULL, alphasort);

	free(folder);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.')
			visit(context, entries[i]->d_name);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

struct search {
	uint32_t index;
	struct nbd_attachment *found;
};

static void match_device(void *context, const char *volume)
{
	struct search *search = context;
	struct nbd_attachment *a;

	if (search->found || nbd_attachment_load(volume, &a) != 0)
		return;
	if (a->index == search->index)
		search->found = a;
	else
		nbd_attachment_free(a);
}

int nbd_attachment_find_device(uint32_t index, struct nbd_attachment **attachment)
{
	struct search search = {.index = index};

	nbd_attachment_visit(match_device, &search);
	*attachment = search.found;
	return search.found ? 0 : -ENOENT;
}

/* ---- the lock and the folder ---- */

static int make_folder(const char *volume)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	int error = nbd_attachment_path(volume, NULL, path);
	char *folder;

	if (error)
		return error;
	folder = root();
	error = files_make_directory(folder);
	free(folder);
	if (error)
		return error;
	return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/* Whoever held the lock may have removed the file on which we waited. */
static bool is_current(int fd, const char *path)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino;
}

static int try_lock(const char *volume, int *lock)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	int fd, error;

	error = make_folder(volume);
	if (!error)
		error = nbd_attachment_path(volume, "lock", path);
	if (error)
		return error;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == ENOENT ? -EBUSY : -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(fd, path)) {
		*lock = fd;
		return 0;
	}
	close(fd);
	return -EBUSY;
}

int nbd_attachment_lock(const char *volume, unsigned wait_ms, int *lock)
{
	struct timespec pause = {.tv_nsec = LOCK_RETRY_NS};
	int error;

	for (uint64_t waited_ns = 0;; waited_ns += LOCK_RETRY_NS) {
		error = try_lock(volume, lock);
		if (error != -EBUSY || waited_ns >= wait_ms * NS_PER_MS)
			return error;
		nanosleep(&pause, NULL);
	}
}

bool nbd_attachment_is_locked(const char *volume)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];
	bool locked;
	int fd;

	if (nbd_attachment_path(volume, "lock", path) != 0)
		return false;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	/* Shared, so that two who only ask don't see each other. */
	locked = flock(fd, LOCK_SH | LOCK_NB) != 0;
	close(fd);
	return locked;
}

void nbd_attachment_remove(const char *volume)
{
	char path[NBD_ATTACHMENT_PATH_BYTES];

	if (nbd_attachment_path(volume, NULL, path) == 0)
		files_remove_directory(path);
}
