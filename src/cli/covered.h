/* SPDX-License-Identifier: MIT */
/* covered.h: unmounting what other mounts lie on. Private to the unmounting. */
#ifndef RFS_CLI_COVERED_H
#define RFS_CLI_COVERED_H

#include "cli/mounts.h"

/* A name by which a mount point can be found: `name`, from the directory `dirfd` or AT_FDCWD. */
struct rfs_place {
	int dirfd;
	const char *name;
};

/*
 * Takes away `ours`, a tree's mount, which is at `place` but not to be seen there because others lie on it, and leaves
 * those where they are. `state_fd` is a directory of the daemon's own, where they may be for a moment. A negative
 * errno: nothing has changed; -EBUSY where the kernel offers no way.
 */
int rfs_covered_unmount(const struct rfs_mount *ours, const struct rfs_place *place, int state_fd);

#endif
