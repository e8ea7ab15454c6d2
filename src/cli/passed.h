/* SPDX-License-Identifier: MIT */
/*
 * passed.h: a mount that somebody else has made, with privileges that this process does not have: it gets the open
 * /dev/fuse as /dev/fd/N in the place of a mount point. mount.fuse3 -o drop_privileges does so.
 */
#ifndef RFS_CLI_PASSED_H
#define RFS_CLI_PASSED_H

#include "cli/failure.h"

#include <sys/types.h>

/* The descriptor where `given` is /dev/fd/N, else -1. Whether it is open is another question. */
int rfs_passed_descriptor(const char *given);

/* Finds out what the descriptor is mounted as. 0, with the device (0) and the path (NULL) where the kernel tells them,
 * which the caller then owns; or a negative errno and `failure`: it is no /dev/fuse. */
int rfs_passed_find(int fd, dev_t *ret_device, char **ret_path, struct rfs_failure *failure);

/* Whether the directory `path` can be opened, and not only once somebody serves the tree that hides it: 0, or -EDEADLK;
 * any other error is for whoever opens it to report. */
int rfs_passed_check_reachable(const char *path);

#endif
