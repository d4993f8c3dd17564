/* attach_conf.c - see attach_conf.h. */
#include "meta-service/ctl/attach_conf.h"
#include "meta-service/ctl/attach_nbd.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/netlink.h"
#include "meta-service/ctl/text.h"

#include <stdio.h>
#include <stdlib.h>

void attach_settings_default(struct attach_settings *settings)
{
	*settings = (struct attach_settings){
		.index = NETLINK_ANY_DEVICE,
		.connections = ATTACH_CONNECTIONS_DEFAULT,
		.timeout_s = ATTACH_DEAD_CONNECTION_SECONDS,
	};
}

int attach_settings_check(const struct attach_settings *settings, char *problem, size_t bytes)
{
	if (settings->connections < 1 || settings->connections > NBD_CONNECTIONS_MAX) {
		snprintf(problem, bytes, "connections must be from 1 to %d", NBD_CONNECTIONS_MAX);
		return -EINVAL;
	}
	if (settings->timeout_s < 1 || settings->timeout_s > UINT32_MAX) {
		snprintf(problem, bytes, "timeout must be at least 1 second");
		return -EINVAL;
	}
	return 0;
}

static bool parse_option(const char *option, struct attach_settings *settings)
{
	if (strcmp(option, "read-only") == 0)
		settings->read_only = true;
	else if (strcmp(option, "swap") == 0)
		settings->swap = true;
	else if (strncmp(option, "connections=", 12) == 0)
		return text_parse_number(option + 12, &settings->connections) == 0;
	else if (strncmp(option, "timeout=", 8) == 0)
		return text_parse_number(option + 8, &settings->timeout_s) == 0;
	else
		return false;
	return true;
}

static bool is_given(const char *field)
{
	return field && strcmp(field, "-") != 0;
}

/* What follows the volume's name in its line. */
static int parse_fields(char *rest, struct attach_settings *settings, char *problem, size_t bytes)
{
	char *place, *device = strtok_r(rest, " \t\n", &place);
	char *options = strtok_r(NULL, " \t\n", &place);
	char *mountpoint = strtok_r(NULL, " \t\n", &place);

	attach_settings_default(settings);
	if (strtok_r(NULL, " \t\n", &place)) {
		snprintf(problem, bytes, "more than four fields");
		return -EINVAL;
	}
	if (is_given(device) && device_parse(device, &settings->index) != 0) {
		snprintf(problem, bytes, "%s is no nbd device", device);
		return -EINVAL;
	}
	if (is_given(mountpoint) &&
	    (mountpoint[0] != '/' || strlen(mountpoint) >= sizeof settings->mountpoint)) {
		snprintf(problem, bytes, "%s is no mountpoint", mountpoint);
		return -EINVAL;
	}
	if (is_given(mountpoint))
		strcpy(settings->mountpoint, mountpoint);
	for (char *option = is_given(options) ? strtok_r(options, ",", &place) : NULL; option;
	     option = strtok_r(NULL, ",", &place)) {
		if (!parse_option(option, settings)) {
			snprintf(problem, bytes,
				 "option %s: there are connections=N, timeout=SECONDS, read-only "
				 "and swap",
				 option);
			return -EINVAL;
		}
	}
	return attach_settings_check(settings, problem, bytes);
}

int attach_conf_find(const char *path, const char *volume, struct attach_settings *settings,
		     char *problem, size_t bytes)
{
	FILE *file = fopen(path, "re");
	char *line = NULL, *name, *rest, why[200];
	size_t line_bytes = 0;
	int number = 0, error = -ENOENT;

	if (!file) {
		snprintf(problem, bytes, "%s can't be read: %s", path, strerror(errno));
		return -ENOENT;
	}
	snprintf(problem, bytes, "%s has no line for volume %s", path, volume);
	while (error == -ENOENT && getline(&line, &line_bytes, file) > 0) {
		number++;
		line[strcspn(line, "#")] = '\0';
		name = strtok_r(line, " \t\n", &rest);
		if (!name || strcmp(name, volume) != 0)
			continue;
		error = parse_fields(rest, settings, why, sizeof why);
		if (error)
			snprintf(problem, bytes, "%s, line %d: %s", path, number, why);
	}
	free(line);
	fclose(file);
	return error;
}
