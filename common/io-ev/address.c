/* address.c - the three forms of an address, and sockets' addresses as text. */
#include "common/io-ev/internal.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#define UNIX_PREFIX "unix:"

static int parse_unix(const char *path, struct address_list *list)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&list->entries[0].address;

	if (!*path || strlen(path) >= sizeof un->sun_path)
		return -EINVAL;
	memset(un, 0, sizeof *un);
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	list->entries[0].length = sizeof *un;
	list->count = 1;
	return 0;
}

/* HOST or [V6] to host, PORT to port. */
static int split(const char *text, char host[256], char port[8], bool *bracketed)
{
	const char *colon = strrchr(text, ':');
	size_t host_bytes;

	if (!colon || colon == text)
		return -EINVAL;
	host_bytes = (size_t)(colon - text);
	*bracketed = text[0] == '[';
	if (*bracketed) {
		if (host_bytes < 3 || text[host_bytes - 1] != ']')
			return -EINVAL;
		text++;
		host_bytes -= 2;
	} else if (memchr(text, ':', host_bytes)) {
		return -EINVAL; /* an IPv6 address without brackets */
	}
	if (host_bytes >= 256 || strlen(colon + 1) > 5 || !colon[1] ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535)
		return -EINVAL;
	memcpy(host, text, host_bytes);
	host[host_bytes] = 0;
	strcpy(port, colon + 1);
	return 0;
}

static int resolver_error(int rc)
{
	switch (rc) {
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return errno ? -errno : -EIO;
	default:
		return -EADDRNOTAVAIL;
	}
}

/* IPv4 first: a name that stands for both is most often reached, and expected to be listened at, there. */
static void take(const struct addrinfo *found, int family, struct address_list *list)
{
	for (const struct addrinfo *a = found; a && list->count < ADDRESSES_MAX; a = a->ai_next) {
		if ((a->ai_family == AF_INET) != (family == AF_INET))
			continue;
		memcpy(&list->entries[list->count].address, a->ai_addr, a->ai_addrlen);
		list->entries[list->count].length = a->ai_addrlen;
		list->count++;
	}
}

int address_parse(const char *text, bool listening, struct address_list *list, bool *resolved)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	char host[256], port[8];
	bool bracketed;
	int rc;

	*resolved = false;
	list->count = 0;
	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return parse_unix(text + strlen(UNIX_PREFIX), list);
	rc = split(text, host, port, &bracketed);
	if (rc)
		return rc;
	if (!listening && atoi(port) == 0)
		return -EINVAL;
	hints.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST;
	rc = getaddrinfo(host, port, &hints, &found);
	if (rc == EAI_NONAME && bracketed)
		return -EINVAL;
	if (rc == EAI_NONAME) {
		*resolved = true;
		hints.ai_flags = AI_NUMERICSERV;
		rc = getaddrinfo(host, port, &hints, &found);
	}
	if (rc)
		return resolver_error(rc);
	take(found, AF_INET, list);
	take(found, AF_INET6, list);
	freeaddrinfo(found);
	return list->count ? 0 : -EADDRNOTAVAIL;
}

void address_format(const struct sockaddr_storage *address, socklen_t length, char *text,
		    size_t text_bytes)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (address->ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)address;

		snprintf(text, text_bytes, UNIX_PREFIX "%.*s",
			 (int)(length - offsetof(struct sockaddr_un, sun_path)), un->sun_path);
		return;
	}
	if (getnameinfo((const struct sockaddr *)(const void *)address, length, host, sizeof host,
			port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		snprintf(text, text_bytes, "unknown");
		return;
	}
	snprintf(text, text_bytes, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
		 port);
}

void address_format_peer(int fd, char *text, size_t text_bytes)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	struct ucred credentials;
	socklen_t credentials_bytes = sizeof credentials;

	if (getpeername(fd, (struct sockaddr *)&address, &length) != 0) {
		snprintf(text, text_bytes, "unknown");
		return;
	}
	if (address.ss_family == AF_UNIX &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &credentials_bytes) == 0) {
		snprintf(text, text_bytes, UNIX_PREFIX "pid %d", (int)credentials.pid);
		return;
	}
	address_format(&address, length, text, text_bytes);
}
