/* config.c - see config.h. */
#include "meta-service/ctl/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

/* inih's handler: 0 makes ini_parse return this line's number. Sections of other programs are not ours to judge. */
static int take(void *context, const char *section, const char *name, const char *value)
{
	struct config *config = context;

	if (*section && strcmp(section, "copyhold") != 0)
		return 1;
	if (!*section || strcmp(name, "meta") != 0)
		return 0;
	free(config->meta);
	config->meta = xstrdup(value);
	return 1;
}

int config_read(const char *path, struct config *config, int *line)
{
	FILE *file = fopen(path, "re");
	int rc;

	if (!file)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	rc = ini_parse_file(file, take, config);
	fclose(file);
	*line = rc;
	return rc == 0 ? 0 : -EINVAL;
}

static bool load_one(const struct invocation *invocation, const char *path, struct config *config)
{
	int line = 0, rc = config_read(path, config, &line);

	if (rc == -EINVAL)
		fail(invocation, "BAD_CONFIG",
		     "its section [copyhold] has one key: meta = HOST:PORT[,...]",
		     "%s, line %d is not understood", path, line);
	else if (rc)
		fail(invocation, "BAD_CONFIG", NULL, "%s could not be read: %s", path,
		     strerror(-rc));
	return rc == 0;
}

bool config_load(const struct invocation *invocation, struct config *config)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *path;
	bool ok;

	if (!load_one(invocation, "/etc/copyhold/copyhold.conf", config))
		return false;
	if (!(xdg && *xdg) && !(home && *home))
		return true;
	if (asprintf(&path, "%s%s/copyhold/copyhold.conf", xdg && *xdg ? xdg : home,
		     xdg && *xdg ? "" : "/.config") < 0)
		abort();
	ok = load_one(invocation, path, config);
	free(path);
	return ok;
}
