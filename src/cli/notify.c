/* SPDX-License-Identifier: MIT */
/*
 * notify.c: the datagram of sd_notify(3), written here because libsystemd brings a dozen libraries along.
 * Invariant: it never blocks and never raises SIGPIPE, so that a stuck service manager cannot stop the daemon.
 */
#include "cli/notify.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int rfs_notify(const char *state)
{
	const char *name = getenv("NOTIFY_SOCKET");
	if (!name || !*name)
		return 0;
	if (*name != '/' && *name != '@')
		return -EAFNOSUPPORT;

	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(name);
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, name, length);
	if (*name == '@')
		address.sun_path[0] = '\0';

	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	socklen_t size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length);
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *) &address, size) < 0)
		return -errno;
	return 0;
}
