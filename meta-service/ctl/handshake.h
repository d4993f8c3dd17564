/*
 * handshake.h - opens NBD connections and takes them through the handshake, so that the kernel can go on with the sockets.
 */
#ifndef COPYHOLD_CTL_HANDSHAKE_H
#define COPYHOLD_CTL_HANDSHAKE_H

#include "common/base/base.h"

/* What the server said about the export. server_flags as in netlink.h. */
struct handshake_export {
	uint64_t size_bytes;
	uint64_t server_flags;
};

#define HANDSHAKE_ERROR_BYTES 400

/*
 * Connects to the server's Unix socket and asks for the export. 0: *socket is past the handshake and the caller's.
 * Else -ECONNREFUSED or -ENOENT (nobody listens yet), -ECANCELED (stop() said so; it is asked several times a second, since a server may
 * take its time), -EPROTO (the server refused, or gave up: error says why).
 */
int handshake_open(const char *path, const char *export_name, bool (*stop)(void *context),
		   void *context, int *socket, struct handshake_export *export_,
		   char error[HANDSHAKE_ERROR_BYTES]);

/* Asks for the export's size only; the connection ends before it costs the server anything. Errors as above. */
int handshake_ask_size(const char *path, const char *export_name, bool (*stop)(void *context),
		       void *context, uint64_t *size_bytes);

#endif
