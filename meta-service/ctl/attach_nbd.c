/* attach_nbd.c - a block device through the kernel's nbd driver. */
#include "meta-service/ctl/attachment.h"

#include <unistd.h>

static enum exit_code nbd_check(const struct invocation *in)
{
	if (access("/sys/module/nbd", F_OK) == 0 || access("/dev/nbd0", F_OK) == 0)
		return EXIT_CODE_OK;
	return fail(in, "NO_KERNEL_NBD", "attach with --fuse: nbdfuse and a loop device",
		    "this kernel has no nbd driver (or it isn't loaded: modprobe nbd)");
}

static enum exit_code nbd_connect(const struct invocation *in, struct attachment *attachment,
				  const char *wanted_device)
{
	(void)attachment;
	(void)wanted_device;
	return fail(in, "NO_KERNEL_NBD", "attach with --fuse: nbdfuse and a loop device",
		    "this version can't use the kernel's nbd driver");
}

static bool nbd_disconnect(const struct invocation *in, struct attachment *attachment)
{
	(void)in;
	(void)attachment;
	return true;
}

const struct attach_method attach_by_nbd = {
	.name = "nbd", .check = nbd_check, .connect = nbd_connect, .disconnect = nbd_disconnect};
