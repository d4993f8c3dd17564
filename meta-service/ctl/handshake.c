/*
 * handshake.c - see handshake.h. libnbd does the handshake on our socket; we keep a second descriptor of the socket and
 * close libnbd's handle without a goodbye. The kernel speaks simple replies only, so nothing else is negotiated.
 */
#include "meta-service/ctl/handshake.h"
#include "meta-service/ctl/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define POLL_MS 100

static int connect_unix(const char *path, int *out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		error = -errno;
		close(fd);
		return error;
	}
	*out = fd;
	return 0;
}

/* Lets libnbd work until it is done with what was asked. */
static int wait_while(struct nbd_handle *nbd, int (*busy)(struct nbd_handle *nbd),
		      bool (*stop)(void *context), void *context)
{
	while (busy(nbd) == 1) {
		if (stop(context))
			return -ECANCELED;
		if (nbd_poll(nbd, POLL_MS) < 0)
			return -EPROTO;
	}
	return 0;
}

static int negotiate(struct nbd_handle *nbd, int fd, bool (*stop)(void *context), void *context)
{
	int error;

	if (nbd_aio_connect_socket(nbd, fd) < 0)
		return -EPROTO;
	error = wait_while(nbd, nbd_aio_is_connecting, stop, context);
	if (error)
		return error;
	return nbd_aio_is_ready(nbd) == 1 ? 0 : -EPROTO;
}

static uint64_t server_flags(struct nbd_handle *nbd)
{
	uint64_t flags = NBD_SERVER_HAS_FLAGS;

	flags |= nbd_is_read_only(nbd) == 1 ? NBD_SERVER_READ_ONLY : 0;
	flags |= nbd_is_rotational(nbd) == 1 ? NBD_SERVER_ROTATIONAL : 0;
	flags |= nbd_can_flush(nbd) == 1 ? NBD_SERVER_FLUSH : 0;
	flags |= nbd_can_fua(nbd) == 1 ? NBD_SERVER_FUA : 0;
	flags |= nbd_can_trim(nbd) == 1 ? NBD_SERVER_TRIM : 0;
	flags |= nbd_can_zero(nbd) == 1 ? NBD_SERVER_WRITE_ZEROES : 0;
	flags |= nbd_can_multi_conn(nbd) == 1 ? NBD_SERVER_MULTI_CONN : 0;
	return flags;
}

int handshake_open(const char *path, const char *export_name, bool (*stop)(void *context),
		   void *context, int *socket, struct handshake_export *export_,
		   char error[HANDSHAKE_ERROR_BYTES])
{
	struct nbd_handle *nbd = NULL;
	int fd = -1, kept, result;
	int64_t size;

	error[0] = '\0';
	result = connect_unix(path, &fd);
	if (result)
		return result;
	kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	nbd = nbd_create();
	if (kept < 0 || !nbd || nbd_set_request_structured_replies(nbd, false) < 0 ||
	    nbd_set_export_name(nbd, export_name) < 0) {
		result = -ENOMEM;
		close(fd); /* not yet libnbd's */
		goto out;
	}
	result = negotiate(nbd, fd, stop, context);
	if (result)
		goto out;
	size = nbd_get_size(nbd);
	if (size <= 0) {
		result = -EPROTO;
		goto out;
	}
	export_->size_bytes = (uint64_t)size;
	export_->server_flags = server_flags(nbd);
out:
	if (result == -EPROTO)
		snprintf(error, HANDSHAKE_ERROR_BYTES, "%s",
			 nbd_get_error() ? nbd_get_error() : "the server closed the connection");
	nbd_close(nbd);
	if (result) {
		if (kept >= 0)
			close(kept);
		return result;
	}
	fcntl(kept, F_SETFL, fcntl(kept, F_GETFL) & ~O_NONBLOCK);
	*socket = kept;
	return 0;
}

/* ---- the size ---- */

static int on_info(void *context, int *error)
{
	int *result = context;

	*result = *error ? -EPROTO : 0;
	return 1;
}

static int ask_info(struct nbd_handle *nbd, int fd, bool (*stop)(void *context), void *context)
{
	int error, answer = -EPROTO;
	nbd_completion_callback done = {.callback = on_info, .user_data = &answer};

	if (nbd_aio_connect_socket(nbd, fd) < 0)
		return -EPROTO;
	error = wait_while(nbd, nbd_aio_is_connecting, stop, context);
	if (error || nbd_aio_is_negotiating(nbd) != 1)
		return error ? error : -EPROTO;
	if (nbd_aio_opt_info(nbd, done) < 0)
		return -EPROTO;
	error = wait_while(nbd, nbd_aio_is_connecting, stop, context);
	return error ? error : answer;
}

int handshake_ask_size(const char *path, const char *export_name, bool (*stop)(void *context),
		       void *context, uint64_t *size_bytes)
{
	struct nbd_handle *nbd;
	int fd = -1, result;
	int64_t size = 0;

	result = connect_unix(path, &fd);
	if (result)
		return result;
	nbd = nbd_create();
	if (!nbd || nbd_set_opt_mode(nbd, true) < 0 || nbd_set_export_name(nbd, export_name) < 0) {
		close(fd);
		nbd_close(nbd);
		return -ENOMEM;
	}
	result = ask_info(nbd, fd, stop, context);
	if (!result)
		size = nbd_get_size(nbd);
	nbd_close(nbd);
	if (!result && size <= 0)
		result = -EPROTO;
	if (!result)
		*size_bytes = (uint64_t)size;
	return result;
}
