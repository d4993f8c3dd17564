/*
 * netlink.h - the kernel's nbd driver, configured through generic netlink: connect a device to sockets, give it new ones
 * after the old ones died, disconnect it, and hear of sockets that died.
 *
 * Calls wait for the kernel's answer. All functions return 0 or the kernel's negative errno; -ENOTSUP: this kernel has no
 * nbd driver, -EPERM: not allowed (CAP_SYS_ADMIN is needed).
 */
#ifndef COPYHOLD_CTL_NETLINK_H
#define COPYHOLD_CTL_NETLINK_H

#include "common/base/base.h"

/* Some of the kernel's flags, which are those of the NBD protocol; its header lacks the ones for newer kernels. */
#define NBD_SERVER_HAS_FLAGS    (1u << 0)
#define NBD_SERVER_READ_ONLY    (1u << 1)
#define NBD_SERVER_FLUSH        (1u << 2)
#define NBD_SERVER_FUA          (1u << 3)
#define NBD_SERVER_ROTATIONAL   (1u << 4)
#define NBD_SERVER_TRIM         (1u << 5)
#define NBD_SERVER_WRITE_ZEROES (1u << 6)
#define NBD_SERVER_MULTI_CONN   (1u << 8)

#define NETLINK_ANY_DEVICE UINT32_MAX

/* What a device is connected with. Everything belongs to the caller. */
struct netlink_device {
	uint32_t index; /* N of /dev/nbdN; NETLINK_ANY_DEVICE: a free one */
	uint64_t size_bytes;
	uint64_t block_bytes;
	uint64_t server_flags;
	uint64_t dead_connection_timeout_s;
	const char *backend; /* the kernel refuses new sockets for any other */
	const int *sockets;  /* after the NBD handshake; the kernel takes references of its own */
	unsigned socket_count;
};

struct netlink;

int netlink_open(struct netlink **netlink);
void netlink_close(struct netlink *netlink);

/* *index: the device. -EBUSY: that device is in use. No request timeout is set (see docs/KERNEL.md). */
int netlink_connect(struct netlink *netlink, const struct netlink_device *device, uint32_t *index);
/*
 * Gives sockets to connections that the kernel has marked dead; those that it has no use for it leaves alone, without
 * telling. -EINVAL: the device isn't connected, or to another backend.
 */
int netlink_replace_sockets(struct netlink *netlink, const struct netlink_device *device);
int netlink_resize(struct netlink *netlink, uint32_t index, const char *backend,
		   uint64_t size_bytes);
/* Requests under way fail with EIO. A device that isn't connected: 0. */
int netlink_disconnect(struct netlink *netlink, uint32_t index);

/* A second socket, for the kernel's messages about dead connections; readable when there are any. */
int netlink_listen(struct netlink **listener);
int netlink_descriptor(const struct netlink *listener);
/* Takes the messages that have come; true if one was about the device, or if some may have been missed. */
bool netlink_take_dead(struct netlink *listener, uint32_t index);

#endif
