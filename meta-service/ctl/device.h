/*
 * device.h - what the kernel says about /dev/nbdN and about those who use it, from /sys and /proc.
 */
#ifndef COPYHOLD_CTL_DEVICE_H
#define COPYHOLD_CTL_DEVICE_H

#include "common/base/base.h"

#define DEVICE_USERS_BYTES 512

/* From /sys/block/nbdN/stat, or loopN. */
struct device_counters {
	uint64_t reads, read_bytes;
	uint64_t writes, write_bytes;
	uint64_t discards, discard_bytes;
	uint64_t flushes;
	uint64_t under_way;
};

/* "/dev/nbd3" or "nbd3": 3. -EINVAL. */
int device_parse(const char *text, uint32_t *index);
/* Has a server. */
bool device_is_connected(uint32_t index);
/* The identifier that it was connected with; "" if none. */
void device_backend(uint32_t index, char *backend, size_t bytes);
/* The device that is connected with this identifier. */
bool device_find_backend(const char *backend, uint32_t *index);
uint64_t device_size_bytes(uint32_t index);
/* Of "/dev/nbd3", "/dev/loop0". -ENOENT. */
int device_read_counters(const char *device, struct device_counters *counters);
/* Where it, or a partition of it, is mounted first in this mount namespace; "" if nowhere. */
void device_mountpoint(uint32_t index, char *mountpoint, size_t bytes);

/*
 * Who uses the device or a partition of it: mounts in any process's namespace, swap, device mapper and other holders, open
 * descriptors. True if anybody does; users then names them for people, separated by "; ".
 */
bool device_is_used(uint32_t index, char users[DEVICE_USERS_BYTES]);

/* How long a request may be unanswered before the driver looks whether its connection was replaced. */
int device_set_retry_ms(uint32_t index, unsigned retry_ms);

#endif
