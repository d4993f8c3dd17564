/*
 * netlink.c - see netlink.h. libnl does the sockets and the attributes; here are the nbd driver's messages.
 *
 * CONNECT is answered by a message with the device's index and then by an acknowledgement, each in a datagram of its own,
 * so a call receives until the acknowledgement or an error has come.
 */
#include "meta-service/ctl/netlink.h"

#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdlib.h>

struct netlink {
	struct nl_sock *socket;
	int family;
	/* of the call under way */
	bool done;
	int error;
	uint32_t index;
	/* of a listener */
	bool heard;
};

static int parse_index(struct nl_msg *msg, uint32_t *index)
{
	struct nlattr *attributes[NBD_ATTR_MAX + 1];

	if (genlmsg_parse(nlmsg_hdr(msg), 0, attributes, NBD_ATTR_MAX, NULL) < 0 ||
	    !attributes[NBD_ATTR_INDEX])
		return -EINVAL;
	*index = nla_get_u32(attributes[NBD_ATTR_INDEX]);
	return 0;
}

static int on_valid(struct nl_msg *msg, void *context)
{
	struct netlink *netlink = context;

	parse_index(msg, &netlink->index);
	return NL_OK;
}

static int on_acknowledged(struct nl_msg *msg, void *context)
{
	struct netlink *netlink = context;

	(void)msg;
	netlink->done = true;
	return NL_STOP;
}

static int on_error(struct sockaddr_nl *peer, struct nlmsgerr *error, void *context)
{
	struct netlink *netlink = context;

	(void)peer;
	netlink->done = true;
	netlink->error = error->error;
	return NL_STOP;
}

static int open_socket(struct netlink **out)
{
	struct netlink *netlink = xcalloc(1, sizeof *netlink);

	netlink->socket = nl_socket_alloc();
	if (!netlink->socket || genl_connect(netlink->socket) < 0) {
		netlink_close(netlink);
		return -EPROTONOSUPPORT;
	}
	netlink->family = genl_ctrl_resolve(netlink->socket, NBD_GENL_FAMILY_NAME);
	if (netlink->family < 0) {
		netlink_close(netlink);
		return -ENOTSUP;
	}
	*out = netlink;
	return 0;
}

int netlink_open(struct netlink **netlink)
{
	int error = open_socket(netlink);

	if (error)
		return error;
	nl_socket_modify_cb((*netlink)->socket, NL_CB_VALID, NL_CB_CUSTOM, on_valid, *netlink);
	nl_socket_modify_cb((*netlink)->socket, NL_CB_ACK, NL_CB_CUSTOM, on_acknowledged, *netlink);
	nl_socket_modify_err_cb((*netlink)->socket, NL_CB_CUSTOM, on_error, *netlink);
	return 0;
}

void netlink_close(struct netlink *netlink)
{
	if (!netlink)
		return;
	nl_socket_free(netlink->socket);
	free(netlink);
}

static struct nl_msg *new_message(const struct netlink *netlink, int command)
{
	struct nl_msg *msg = nlmsg_alloc();

	if (!msg || !genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, netlink->family, 0, 0,
				 (uint8_t)command, NBD_GENL_VERSION))
		abort(); /* out of memory */
	return msg;
}

/* Sends msg, frees it, waits for the kernel's verdict. */
static int call(struct netlink *netlink, struct nl_msg *msg)
{
	int error;

	netlink->done = false;
	netlink->error = 0;
	netlink->index = NETLINK_ANY_DEVICE;
	error = nl_send_auto(netlink->socket, msg);
	nlmsg_free(msg);
	if (error < 0)
		return -EIO;
	while (!netlink->done) {
		error = nl_recvmsgs_default(netlink->socket);
		if (error < 0 && !netlink->done)
			return error == -NLE_INTR ? -EINTR : -EIO;
	}
	return netlink->error;
}

static void put_sockets(struct nl_msg *msg, const struct netlink_device *device)
{
	struct nlattr *list, *item;

	list = nla_nest_start(msg, NBD_ATTR_SOCKETS);
	for (unsigned i = 0; i < device->socket_count; i++) {
		item = nla_nest_start(msg, NBD_SOCK_ITEM);
		nla_put_u32(msg, NBD_SOCK_FD, (uint32_t)device->sockets[i]);
		nla_nest_end(msg, item);
	}
	nla_nest_end(msg, list);
}

int netlink_connect(struct netlink *netlink, const struct netlink_device *device, uint32_t *index)
{
	struct nl_msg *msg = new_message(netlink, NBD_CMD_CONNECT);
	int error;

	if (device->index != NETLINK_ANY_DEVICE)
		nla_put_u32(msg, NBD_ATTR_INDEX, device->index);
	nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, device->size_bytes);
	nla_put_u64(msg, NBD_ATTR_BLOCK_SIZE_BYTES, device->block_bytes);
	nla_put_u64(msg, NBD_ATTR_SERVER_FLAGS, device->server_flags);
	/* Said rather than left out: a device keeps the timeout of whoever used it before. */
	nla_put_u64(msg, NBD_ATTR_TIMEOUT, 0);
	nla_put_u64(msg, NBD_ATTR_DEAD_CONN_TIMEOUT, device->dead_connection_timeout_s);
	nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, device->backend);
	put_sockets(msg, device);
	error = call(netlink, msg);
	if (!error && netlink->index == NETLINK_ANY_DEVICE)
		error = -EPROTO;
	*index = netlink->index;
	return error;
}

static struct nl_msg *reconfigure(const struct netlink *netlink, uint32_t index,
				  const char *backend)
{
	struct nl_msg *msg = new_message(netlink, NBD_CMD_RECONFIGURE);

	nla_put_u32(msg, NBD_ATTR_INDEX, index);
	nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, backend);
	return msg;
}

int netlink_replace_sockets(struct netlink *netlink, const struct netlink_device *device)
{
	struct nl_msg *msg = reconfigure(netlink, device->index, device->backend);

	put_sockets(msg, device);
	return call(netlink, msg);
}

int netlink_resize(struct netlink *netlink, uint32_t index, const char *backend,
		   uint64_t size_bytes)
{
	struct nl_msg *msg = reconfigure(netlink, index, backend);

	nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, size_bytes);
	return call(netlink, msg);
}

int netlink_disconnect(struct netlink *netlink, uint32_t index)
{
	struct nl_msg *msg = new_message(netlink, NBD_CMD_DISCONNECT);

	nla_put_u32(msg, NBD_ATTR_INDEX, index);
	return call(netlink, msg);
}

/* ---- the listener ---- */

static int on_event(struct nl_msg *msg, void *context)
{
	struct netlink *listener = context;
	struct genlmsghdr *header = nlmsg_data(nlmsg_hdr(msg));
	uint32_t index;

	if (header->cmd == NBD_CMD_LINK_DEAD && parse_index(msg, &index) == 0 &&
	    index == listener->index)
		listener->heard = true;
	return NL_OK;
}

int netlink_listen(struct netlink **listener)
{
	int error, group;

	error = open_socket(listener);
	if (error)
		return error;
	group = genl_ctrl_resolve_grp((*listener)->socket, NBD_GENL_FAMILY_NAME,
				      NBD_GENL_MCAST_GROUP_NAME);
	if (group < 0 || nl_socket_add_membership((*listener)->socket, group) < 0 ||
	    nl_socket_set_nonblocking((*listener)->socket) < 0) {
		netlink_close(*listener);
		return -ENOTSUP;
	}
	nl_socket_disable_seq_check((*listener)->socket);
	nl_socket_modify_cb((*listener)->socket, NL_CB_VALID, NL_CB_CUSTOM, on_event, *listener);
	return 0;
}

int netlink_descriptor(const struct netlink *listener)
{
	return nl_socket_get_fd(listener->socket);
}

bool netlink_take_dead(struct netlink *listener, uint32_t index)
{
	int error;

	listener->heard = false;
	listener->index = index;
	do {
		error = nl_recvmsgs_default(listener->socket);
	} while (error >= 0);
	/* Anything but "no more" means that the socket's buffer overflowed. */
	return listener->heard || error != -NLE_AGAIN;
}
