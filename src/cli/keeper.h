/* SPDX-License-Identifier: MIT */
/* keeper.h: who keeps a tree alive that is mounted no longer. */
#ifndef RFS_CLI_KEEPER_H
#define RFS_CLI_KEEPER_H

#include <sys/types.h>

enum rfs_keeping {
	RFS_KEEPING_UNKNOWN,   /* nobody is to be seen */
	RFS_KEEPING_USE,       /* a process has its working directory, or an open file, in it */
	RFS_KEEPING_NAMESPACE, /* it is mounted in the mount namespace of a process, which is another one than ours */
};

struct rfs_keeper {
	enum rfs_keeping how;
	pid_t pid;     /* of one such process */
	char name[64]; /* what it is called, printable */
};

/*
 * Looks through the processes for one that keeps the tree whose file system is `device`, other than the daemon
 * `daemon`. No file system is asked, and it ends in time. What this user may not look into is not seen.
 */
void rfs_keeper_find(dev_t device, pid_t daemon, struct rfs_keeper *ret_keeper);

#endif
