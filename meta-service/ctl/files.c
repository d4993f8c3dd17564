/* files.c - see files.h. */
#include "meta-service/ctl/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

char *files_format(const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		abort();
	va_end(ap);
	return text;
}

int files_make_directory(const char *path)
{
	char *copy = xstrdup(path);
	struct stat st;
	int rc = 0;

	for (char *slash = copy + 1; rc == 0 && (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		if (mkdir(copy, 0755) != 0 && errno != EEXIST)
			rc = -errno;
		*slash = '/';
	}
	if (rc == 0 && mkdir(copy, 0755) != 0 && errno != EEXIST)
		rc = -errno;
	if (rc == 0 && (stat(copy, &st) != 0 || !S_ISDIR(st.st_mode)))
		rc = -ENOTDIR;
	free(copy);
	return rc;
}

int files_write_json(const char *path, const json_t *document)
{
	char *temporary = files_format("%s.new", path);
	int rc = 0;

	if (json_dump_file(document, temporary, JSON_INDENT(2)) != 0 ||
	    rename(temporary, path) != 0) {
		rc = errno ? -errno : -EIO;
		unlink(temporary);
	}
	free(temporary);
	return rc;
}

json_t *files_read_json(const char *path)
{
	json_t *document = json_load_file(path, 0, NULL);

	if (document && !json_is_object(document)) {
		json_decref(document);
		document = NULL;
	}
	return document;
}

int files_lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644), rc;

	if (fd < 0)
		return -errno;
	do {
		rc = flock(fd, LOCK_EX);
	} while (rc != 0 && errno == EINTR);
	if (rc != 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

void files_remove_directory(const char *path)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;

	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] != '.' ||
		    (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0))
			unlinkat(dirfd(directory), entry->d_name, 0);
	}
	closedir(directory);
	rmdir(path);
}

char *files_state_path(const char *name)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (xdg && *xdg)
		return files_format("%s/copyhold/%s", xdg, name);
	if (home && *home)
		return files_format("%s/.local/state/copyhold/%s", home, name);
	return NULL;
}
