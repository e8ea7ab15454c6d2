/* SPDX-License-Identifier: MIT */
/* threads.h: whether this process may have threads. */
#ifndef RFS_CLI_THREADS_H
#define RFS_CLI_THREADS_H

#include "cli/failure.h"

/* Sees to it that pthread_create(3) finds a system call that works. Before the first thread, and after privileges are
 * given up. -EPERM and `failure`: a seccomp profile leaves no way. */
int rfs_threads_prepare(struct rfs_failure *failure);

#endif
