/* SPDX-License-Identifier: MIT */
/*
 * passed.c: the descriptor of a mount that is made already. Invariant: what the mount hides is not waited for: it could
 * be had only from ourselves.
 */
#include "cli/passed.h"
#include "cli/child.h"
#include "cli/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PREFIX "/dev/fd/"
#define OPEN_MS 5000

/* Documentation/admin-guide/devices.txt */
#define FUSE_MAJOR 10
#define FUSE_MINOR 229

int rfs_passed_descriptor(const char *given)
{
	long fd = 0;

	if (strncmp(given, PREFIX, strlen(PREFIX)) != 0)
		return -1;
	const char *digits = given + strlen(PREFIX);
	if (!*digits || digits[strspn(digits, "0123456789")])
		return -1;
	for (; *digits && fd <= INT_MAX; digits++)
		fd = 10 * fd + (*digits - '0');
	return fd <= INT_MAX ? (int) fd : -1;
}

/* Newer kernels show the connection, whose number is the minor one of the file system's device. */
static unsigned int connection_of(int fd)
{
	char name[64], line[128];
	unsigned int connection = 0;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(name, "re");
	while (file && !connection && fgets(line, sizeof(line), file))
		if (sscanf(line, "fuse_connection: %u", &connection) != 1)
			connection = 0;
	if (file)
		fclose(file);
	return connection;
}

int rfs_passed_find(int fd, dev_t *ret_device, char **ret_path, struct rfs_failure *failure)
{
	struct rfs_mount mount;
	struct stat st;
	char *path = NULL;

	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(FUSE_MAJOR, FUSE_MINOR))
		return rfs_fail(failure, RFS_EXIT_USAGE, -EBADF,
				"MOUNTPOINT " PREFIX
				"%d is not an open /dev/fuse; name a directory, or let mount.fuse3 pass the descriptor",
				fd);
	dev_t device = makedev(0, connection_of(fd));
	if (device && rfs_mounts_by_device(0, device, &mount) == 1 && !(path = strdup(mount.path)))
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, looking for the mount; try again");
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	*ret_device = device;
	*ret_path = path;
	return 0;
}

static int open_directory(void *user)
{
	const char *path = user;

	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) < 0;
}

int rfs_passed_check_reachable(const char *path)
{
	return rfs_child_ask(open_directory, (void *) (uintptr_t) path, -1, OPEN_MS) == -ETIMEDOUT ? -EDEADLK : 0;
}
