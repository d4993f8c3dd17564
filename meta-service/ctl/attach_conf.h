/*
 * attach_conf.h - /etc/copyhold/attach.conf: the volumes that this host attaches at boot, one a line:
 *
 *   # volume   device      options                      mountpoint
 *   data       /dev/nbd0   connections=1,timeout=300    /srv/data
 *   scratch    -           swap                         -
 *
 * "-" or nothing: any free device, no options, not mounted. Options: connections=N, timeout=SECONDS, read-only, swap.
 */
#ifndef COPYHOLD_CTL_ATTACH_CONF_H
#define COPYHOLD_CTL_ATTACH_CONF_H

#include "common/base/base.h"

#define ATTACH_CONF_PATH "/etc/copyhold/attach.conf"

/* How a volume is to be attached. */
struct attach_settings {
	uint32_t index; /* NETLINK_ANY_DEVICE: any */
	uint64_t connections;
	uint64_t timeout_s;
	bool read_only, swap;
	char mountpoint[256]; /* "": none */
};

/* One connection, 300 s, any device. */
void attach_settings_default(struct attach_settings *settings);
/* 0, or -EINVAL: out of range, and problem says what. */
int attach_settings_check(const struct attach_settings *settings, char *problem, size_t bytes);

/*
 * Finds a volume's line. 0; -ENOENT: no such file, or the volume isn't in it; -EINVAL: a mistake in its line; problem says which.
 */
int attach_conf_find(const char *path, const char *volume, struct attach_settings *settings,
		     char *problem, size_t bytes);

#endif
