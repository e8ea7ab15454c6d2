/* SPDX-License-Identifier: MIT */
/* privileges.h: what the daemon gives up before it serves anybody. */
#ifndef RFS_CLI_PRIVILEGES_H
#define RFS_CLI_PRIVILEGES_H

#include "cli/failure.h"

/*
 * Gives up, for good, what serving a tree does not need. Capabilities are each thread's own and a new thread gets those of
 * the one that starts it, so this must be called while the process has one thread; and after the Datastore is open,
 * because root gives SQLite's own files to the owner of the Datastore, which takes CAP_CHOWN. A user who is not root keeps
 * what he has: it is little, and fusermount3 works with it.
 */
int rfs_privileges_drop(struct rfs_failure *failure);

#endif
