/*
 * attachment.h - what is attached on this host: one directory an attachment in the runtime directory
 * (COPYHOLD_RUNTIME, else /run/copyhold), with its state in attachment.json, the NBD server's socket and the logs. A reboot
 * forgets them, as it ends them.
 *
 * The state is written before each step that makes something, so that whoever finds the directory can clear all of it away.
 */
#ifndef COPYHOLD_CTL_ATTACHMENT_H
#define COPYHOLD_CTL_ATTACHMENT_H

#include "meta-service/ctl/command.h"
#include "meta-service/ctl/process.h"

struct attachment {
	char *dir;
	char *volume;
	char *meta;
	char *device; /* "/dev/loop0"; NULL while there is none */
	char *method; /* "fuse" or "nbd" */
	char *since;  /* RFC3339 */
	bool read_only;
	struct process server;    /* nbdkit */
	struct process connector; /* fuse: nbdfuse. nbd: what keeps the device connected */
	TAILQ_ENTRY(attachment) link;
};
TAILQ_HEAD(attachment_list, attachment);

/* Makes a directory for a new one; NULL: the failure was told. */
struct attachment *attachment_new(const struct invocation *in, const char *volume, const char *meta,
				  const char *method);
/* Writes the state. Negative errno. */
int attachment_save(const struct attachment *attachment);
/* Removes the directory. Processes must have ended, mounts must be gone. */
void attachment_remove(const struct attachment *attachment);
void attachment_free(struct attachment *attachment);
/* A file in its directory. Allocated. */
char *attachment_file(const struct attachment *attachment, const char *name);

/* All attachments of this host, by directory name. */
void attachment_read_all(struct attachment_list *list);
void attachment_free_all(struct attachment_list *list);
/* Both processes run. */
bool attachment_is_alive(const struct attachment *attachment);
/* What was read and written through the device since it was made; null without one. */
json_t *attachment_io_to_json(const char *device);
/* {"volume", "meta", "device", "method", "pid", "since", "mountpoint", "read_only", "alive", "io"} */
json_t *attachment_to_json(const struct attachment *attachment);
/* An array of such objects: all that is attached on this host, in whatever way. */
json_t *attachment_all_to_json(void);

/* Where a block device, or a partition of it, is mounted: the index-th mountpoint, NULL after the last. Allocated. */
char *attachment_mountpoint(const char *device, unsigned index);
/* Something holds the device exclusively: a mount, swap, a device above it. */
bool attachment_in_use(const char *device);

/*
 * The two ways from NBD to a block device. check: whether this machine can do it, before anything is started. connect: the server listens on its socket (attachment_file "nbd.sock", export name =
 * volume); sets device and connector, saving as it goes. wanted_device: what the user asked for, or NULL. A failure was told, and
 * what was made is left to disconnect. disconnect: takes apart whatever there is of it, whatever state it is in; false if
 * something resists (told).
 */
struct attach_method {
	const char *name;
	enum exit_code (*check)(const struct invocation *in);
	enum exit_code (*connect)(const struct invocation *in, struct attachment *attachment,
				  const char *wanted_device);
	bool (*disconnect)(const struct invocation *in, struct attachment *attachment);
};
extern const struct attach_method attach_by_fuse;

/* The reason in the logs of an attachment why it failed: the last error that nbdkit wrote, else fallback's last line. */
void attachment_reason(const struct attachment *attachment, const char *fallback_log, char *reason,
		       size_t reason_bytes);

#endif
