/* SPDX-License-Identifier: MIT */
/* mounts.h: what the kernel has mounted. Asks the kernel alone, never a file system, so it never waits for one. */
#ifndef RFS_CLI_MOUNTS_H
#define RFS_CLI_MOUNTS_H

#include <stdbool.h>

/* Whether a tree of this kind, its daemon alive or not, is mounted on the resolved `path`. */
bool rfs_mounts_has_tree(const char *path);

#endif
