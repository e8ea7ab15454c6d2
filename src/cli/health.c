/* SPDX-License-Identifier: MIT */
/* health.c: asks a tree whether somebody is there. Invariant: whoever hangs, the one who asks does not. */
#include "cli/health.h"
#include "cli/child.h"

#include <errno.h>
#include <sys/statfs.h>

#define ANSWER_MS 5000

/* By statfs, because stat is answered from what the kernel has kept of the root. */
static int ask(void *user)
{
	struct statfs fs;

	return fstatfs(*(const int *) user, &fs) < 0 && errno == ENOTCONN ? RFS_HEALTH_DEAD : RFS_HEALTH_ALIVE;
}

enum rfs_health rfs_health_of(int fd)
{
	int r = rfs_child_ask(ask, &fd, fd, ANSWER_MS);

	if (r == -ETIMEDOUT)
		return RFS_HEALTH_HUNG;
	return r == RFS_HEALTH_DEAD ? RFS_HEALTH_DEAD : RFS_HEALTH_ALIVE;
}
