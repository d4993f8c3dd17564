/*
 * nbd_attachment.h - what is known about one volume attached through the kernel's nbd driver, kept in
 * /run/copyhold/nbd/VOLUME/ for as long as it is attached:
 *
 *   lock              held by the supervisor for as long as it lives: who can take it knows that there is none
 *   attachment.json   this struct, replaced as a whole at each change
 *   supervisor.pid    for systemd
 *   log               what the supervisor and nbdkit had to say
 *   nbd.N.sock        nbdkit's socket, another for each process that served the volume
 *
 * /run is empty after a boot, as the kernel's devices are. COPYHOLD_RUNTIME names another folder than /run/copyhold.
 */
#ifndef COPYHOLD_CTL_NBD_ATTACHMENT_H
#define COPYHOLD_CTL_NBD_ATTACHMENT_H

#include "meta-service/ctl/process.h"

#define NBD_ATTACHMENT_PATH_BYTES 256
#define NBD_CONNECTIONS_MAX       16

/* Strings are malloced. */
struct nbd_attachment {
	char *volume; /* the export's name */
	char *uuid;   /* the volume's: the device's backend identifier */
	char *meta;   /* HOST:PORT[,...] */
	char *plugin; /* nbdkit plugin: a path or a name */
	bool read_only, shared, swap;
	unsigned connections;
	uint64_t dead_connection_timeout_s;

	uint32_t index; /* of /dev/nbdN; NETLINK_ANY_DEVICE until connected if none was asked for */
	uint64_t size_bytes;
	int64_t since_s; /* Unix time of the first connection; 0: not yet connected */

	bool serving; /* the device is connected to nbdkit, as far as the supervisor knows */
	struct process supervisor;
	struct process nbdkit;  /* pid 0: none yet */
	unsigned nbdkit_number; /* how many of them there were: names the socket */
	unsigned restarts;      /* of those, how many because of a failure */
};

/* A volume's folder or a file in it (name NULL: the folder). -ENAMETOOLONG, -EINVAL: no name of a volume. */
int nbd_attachment_path(const char *volume, const char *name, char path[NBD_ATTACHMENT_PATH_BYTES]);

/*
 * Where supervisor and nbdkit log: a file in that folder. Of swap space the kernel's log: /run is swapped out like anything else,
 * and who writes to a page that has to be swapped in first can't be the one who serves that.
 */
int nbd_attachment_log(const struct nbd_attachment *attachment,
		       char path[NBD_ATTACHMENT_PATH_BYTES]);

/* Reads attachment.json. -ENOENT: not attached; -EPROTO: no valid file. Free with nbd_attachment_free. */
int nbd_attachment_load(const char *volume, struct nbd_attachment **attachment);
int nbd_attachment_save(const struct nbd_attachment *attachment);
/* The same by device; looks through all attachments. */
int nbd_attachment_find_device(uint32_t index, struct nbd_attachment **attachment);
void nbd_attachment_free(struct nbd_attachment *attachment);
/* Calls visit for each volume that has a folder, in the order of their names. */
void nbd_attachment_visit(void (*visit)(void *context, const char *volume), void *context);

/*
 * Makes the folder and takes the lock; waits for up to wait_ms for whoever has it. -EBUSY: a supervisor, or another command, has it
 * still. The lock goes with the descriptor, through fork too.
 */
int nbd_attachment_lock(const char *volume, unsigned wait_ms, int *lock);
/* Without a folder: false. */
bool nbd_attachment_is_locked(const char *volume);
/* Removes the folder; the caller holds the lock and closes it afterwards. */
void nbd_attachment_remove(const char *volume);

#endif
