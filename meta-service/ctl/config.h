/*
 * config.h - the configuration file of copyhold(1) (INI):
 *
 *   [copyhold]
 *   meta = HOST:PORT[,HOST:PORT...]
 *
 * /etc/copyhold/copyhold.conf, and over it ${XDG_CONFIG_HOME:-~/.config}/copyhold/copyhold.conf.
 */
#ifndef COPYHOLD_CTL_CONFIG_H
#define COPYHOLD_CTL_CONFIG_H

#include "meta-service/ctl/command.h"

struct config {
	char *meta; /* NULL: not set */
};

/*
 * Reads a file over what config has. 0, also if there is no such file; -EINVAL: *line is wrong (unknown key in [copyhold], no
 * section, or no INI at all); another negative errno.
 */
int config_read(const char *path, struct config *config, int *line);
/* Reads both files. False: one is wrong, and the failure was told. */
bool config_load(const struct invocation *invocation, struct config *config);

#endif
