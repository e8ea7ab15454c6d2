/* SPDX-License-Identifier: MIT */
/* mountpoint.h: the directory that the tree appears on, and what may be in its way. */
#ifndef RFS_CLI_MOUNTPOINT_H
#define RFS_CLI_MOUNTPOINT_H

#include "cli/failure.h"
#include "cli/node.h"

#include <stdbool.h>
#include <sys/types.h>

struct rfs_mountpoint {
	char *path;   /* resolved; NULL at the start */
	bool dead;    /* a crashed daemon of this kind has left its mount there */
	int fd;	      /* where the mount is made already (passed.h): its descriptor; else -1 */
	bool unknown; /* then: nobody can tell where, and `path` is what was given */
	dev_t device; /* then: of its file system, or 0 */
};

#define RFS_MOUNTPOINT_INIT ((struct rfs_mountpoint){ .fd = -1 })

/* Takes `given`, which is /dev/fd/N, for a mount point; whatever else is to be opened must not be hidden by it. */
int rfs_mountpoint_take(struct rfs_mountpoint *mp, const char *given, struct rfs_failure *failure);

/* Resolves `given` and looks whether the tree can be mounted there; changes nothing. The Repo's own
 * directory counts as one that holds something. The caller owns `path` (rfs_mountpoint_done), after a failure too. */
int rfs_mountpoint_find(struct rfs_mountpoint *mp, const char *given, const struct rfs_node *node, bool nonempty,
			struct rfs_failure *failure);

/* Takes a dead mount away, and looks at what was beneath it. Before there are threads. */
int rfs_mountpoint_clear(struct rfs_mountpoint *mp, const struct rfs_node *node, bool nonempty,
			 struct rfs_failure *failure);

void rfs_mountpoint_done(struct rfs_mountpoint *mp);

#endif
