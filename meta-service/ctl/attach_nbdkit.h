/*
 * attach_nbdkit.h - the nbdkit process behind an attached device: starting it and opening connections to it.
 */
#ifndef COPYHOLD_CTL_ATTACH_NBDKIT_H
#define COPYHOLD_CTL_ATTACH_NBDKIT_H

#include "meta-service/ctl/nbd_attachment.h"
#include "meta-service/ctl/handshake.h"

/*
 * Starts the next nbdkit process of the attachment, on a socket of its own, and notes it in the attachment (not yet in its
 * file). force: the plugin may take the volume from whoever holds it.
 */
int nbdkit_start(struct nbd_attachment *attachment, bool force);

/*
 * Opens count connections through the handshake, waiting for the process to listen. stop as in handshake_open. 0; -ESRCH: the process ended;
 * else as handshake_open. On failure none is left open.
 */
int nbdkit_open(const struct nbd_attachment *attachment, unsigned count,
		bool (*stop)(void *context), void *context, int *sockets,
		struct handshake_export *export_, char error[HANDSHAKE_ERROR_BYTES]);

/* The volume's size as the process sees it now. Errors as handshake_open. */
int nbdkit_ask_size(const struct nbd_attachment *attachment, bool (*stop)(void *context),
		    void *context, uint64_t *size_bytes);

/* How many connections the process has, ours and the kernel's. */
unsigned nbdkit_count_connections(const struct nbd_attachment *attachment);

/*
 * Cuts all its connections and waits until it has ended their requests and closed them. The kernel hears no answer any more: a mere
 * SIGTERM would have nbdkit fail the requests that are under way. -ETIMEDOUT: requests don't end; another negative errno: it
 * can't be done here. The caller ends the process then.
 */
int nbdkit_drain(const struct nbd_attachment *attachment, unsigned timeout_ms);

/* What the process said last, for people: why it failed. */
void nbdkit_last_words(const struct nbd_attachment *attachment, uint64_t log_offset, char *text,
		       size_t bytes);

#endif
