/* SPDX-License-Identifier: MIT */
/* health.h: whether a mounted tree has a daemon. */
#ifndef RFS_CLI_HEALTH_H
#define RFS_CLI_HEALTH_H

enum rfs_health {
	RFS_HEALTH_NONE, /* there is no tree */
	RFS_HEALTH_ALIVE,
	RFS_HEALTH_DEAD, /* its daemon is gone */
	RFS_HEALTH_HUNG, /* its daemon does not answer */
};

/* How the tree is whose root (or any file of it) `fd` is, opened with O_PATH. Waits for an answer for five seconds at
 * most. */
enum rfs_health rfs_health_of(int fd);

#endif
