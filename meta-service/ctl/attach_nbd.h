/*
 * attach_nbd.h - attaching volumes through the kernel's nbd driver: what the commands attach, detach and attached do about it.
 */
#ifndef COPYHOLD_CTL_ATTACH_NBD_H
#define COPYHOLD_CTL_ATTACH_NBD_H

#include "meta-service/ctl/command.h"
#include "meta-service/ctl/nbd_attachment.h"

#define ATTACH_CONNECTIONS_DEFAULT     1
#define ATTACH_DEAD_CONNECTION_SECONDS 300

/* Why something failed: error is a negative errno, text is for people; hint: what to do, or "". */
struct attach_failure {
	int error;
	char text[600];
	char hint[200];
};

/*
 * Attaches wanted->volume, and stays attached through a supervisor process of its own. Takes wanted. What is there of an attachment of
 * the volume is taken over: a device whose supervisor has died keeps its index and its users.
 *
 * force: take the volume from whoever holds it. 0 and the device, *was_there: it was attached before. Else failure
 * tells; -EALREADY: it is attached, and all is well.
 */
int attach_nbd_start(struct nbd_attachment *wanted, bool force, uint32_t *index, bool *was_there,
		     struct attach_failure *failure);

/* Replaces the nbdkit process of an attached volume, so that it runs what is installed now; waits until it serves. */
int attach_nbd_upgrade(const char *volume, uint32_t *index, struct attach_failure *failure);

/*
 * Detaches. Refused with -EBUSY and the users' names while the device is used, unless forced: then what was not yet
 * written is lost. -ENOENT: nothing of that name is attached in this way.
 */
int attach_nbd_stop(const char *volume, bool force, struct attach_failure *failure);

/* Has the kernel's device follow the volume's new size now. -ENOENT: not attached on this host. */
int attach_nbd_resized(const char *volume);

/* The volume that a name or a device means, if it is attached in this way: a new string, else NULL. */
char *attach_nbd_find(const char *volume_or_device);

/* ---- the commands' part; failures were told ---- */

enum exit_code attach_nbd_attach(const struct invocation *in, const char *volume, const char *meta,
				 const char *device);
enum exit_code attach_nbd_detach(const struct invocation *in, const char *volume);
/* Appends an object for each attachment. */
void attach_nbd_list(json_t *all);

#endif
