/*
 * supervisor.h - the process that stays with one attached volume: it keeps nbdkit running and the kernel's device connected
 * to it.
 */
#ifndef COPYHOLD_CTL_SUPERVISOR_H
#define COPYHOLD_CTL_SUPERVISOR_H

#include "meta-service/ctl/nbd_attachment.h"

struct supervisor_options {
	bool force; /* the first nbdkit process may take the volume from whoever holds it */
	int report; /* a pipe: "ok", or "ERRNO TEXT", once; then closed */
};

/*
 * Runs until it is told to end (SIGTERM: the device and nbdkit stay as they are; SIGHUP: replaces nbdkit; SIGUSR1: asks for the size), or until somebody else has disconnected the
 * device (then nbdkit is ended and the attachment's folder removed). The caller holds the attachment's lock for it. Returns
 * the exit code of the process.
 *
 * The attachment may be new (index NETLINK_ANY_DEVICE or a wanted one), or one that a supervisor left behind.
 */
int supervisor_run(struct nbd_attachment *attachment, const struct supervisor_options *options);

#endif
