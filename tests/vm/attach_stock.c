/*
 * attach_stock.c - attaches any nbdkit plugin with the code of copyhold attach, so that the kernel's side can be tested
 * without a cluster: attach-stock attach|detach NAME [/dev/nbdN] [CONNECTIONS] [TIMEOUT_S]. Used in the guest.
 */
#include "meta-service/ctl/attach_nbd.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/netlink.h"

#include <stdio.h>
#include <stdlib.h>

static int attach(int argc, char **argv)
{
	struct nbd_attachment *wanted = xcalloc(1, sizeof *wanted);
	struct attach_failure failure;
	uint32_t index = NETLINK_ANY_DEVICE;
	bool was_there;

	if (argc > 3 && *argv[3] && device_parse(argv[3], &index) != 0)
		return 2;
	*wanted = (struct nbd_attachment){
		.volume = xstrdup(argv[2]),
		.uuid = xstrdup(argv[2]), /* to the kernel it is any text */
		.meta = xstrdup("none"),
		.plugin = xstrdup("stock"),
		.connections = argc > 4 ? (unsigned)atoi(argv[4]) : ATTACH_CONNECTIONS_DEFAULT,
		.dead_connection_timeout_s =
			argc > 5 ? (uint64_t)atoi(argv[5]) : ATTACH_DEAD_CONNECTION_SECONDS,
		.index = index,
	};
	if (attach_nbd_start(wanted, false, &index, &was_there, &failure) != 0) {
		fprintf(stderr, "%s\n", failure.text);
		return 1;
	}
	printf("/dev/nbd%u\n", index);
	return 0;
}

int main(int argc, char **argv)
{
	struct attach_failure failure;

	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "detach") != 0)
		return attach(argc, argv);
	if (attach_nbd_stop(argv[2], argc > 3 && strcmp(argv[3], "--force") == 0, &failure) == 0)
		return 0;
	fprintf(stderr, "%s\n", failure.text);
	return 1;
}
