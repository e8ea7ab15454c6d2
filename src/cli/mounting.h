/* SPDX-License-Identifier: MIT */
/* mounting.h: the daemon's own mount: how it comes to be, why it failed, and how it is taken away again. */
#ifndef RFS_CLI_MOUNTING_H
#define RFS_CLI_MOUNTING_H

#include "cli/failure.h"
#include "cli/mountpoint.h"

#include <stdbool.h>
#include <sys/types.h>

struct rfs_fs;

/* The mount that this daemon has made, wherever it is by now. */
struct rfs_mounting {
	int parent_fd; /* the directory that the mount point is in (O_PATH), or -1; good whatever is mounted over it */
	char *name;    /* of the mount point in there */
	char *path;    /* of the mount point when it was mounted */
	int id;	       /* of the mount, or negative: nobody can tell */
	dev_t device;  /* of its file system; 0 where `id` is not known */
};

#define RFS_MOUNTING_INIT ((struct rfs_mounting){ .parent_fd = -1, .id = -1 })

/* Mounts on the resolved `path`. What libfuse and fusermount3 print meanwhile becomes part of `failure`. On failure
 * `mounting` is to be given to rfs_mounting_done all the same. */
int rfs_mounting_do(struct rfs_mounting *mounting, struct rfs_fs *fs, const char *path, struct rfs_failure *failure);

/* Takes over the mount that `mountpoint` says is made already. As above. */
int rfs_mounting_take(struct rfs_mounting *mounting, struct rfs_fs *fs, const struct rfs_mountpoint *mountpoint,
		      struct rfs_failure *failure);

/*
 * Takes the mount away, wherever it is now and whatever lies on it, and no other one. Where that is impossible without
 * touching another one it stays, and the log says so. Before the connection is closed, so that no user sees a dead
 * mount. `state_fd` is the directory where mounts that lie on it can be put aside.
 */
void rfs_mounting_undo(const struct rfs_mounting *mounting, const struct rfs_fs *fs, int state_fd);

/* Whether the mount is there although its connection has ended, other than for a moment: it was aborted, not unmounted. */
bool rfs_mounting_was_aborted(const struct rfs_mounting *mounting);

void rfs_mounting_done(struct rfs_mounting *mounting);

#endif
