/* SPDX-License-Identifier: MIT */
/* mounting.h: the mount itself, and why it failed. */
#ifndef RFS_CLI_MOUNTING_H
#define RFS_CLI_MOUNTING_H

#include "cli/failure.h"

struct rfs_fs;

/* Mounts on the resolved `path`. What libfuse and fusermount3 print meanwhile becomes part of `failure`. */
int rfs_mounting_do(struct rfs_fs *fs, const char *path, struct rfs_failure *failure);

#endif
