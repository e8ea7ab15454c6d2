/* SPDX-License-Identifier: MIT */
/*
 * asker.h: a process of its own that asks a file system how much it holds. Who waits for FUSE, and for some network file
 * systems, cannot be killed until they answer, and a process cannot end before all of its threads have. So none of the
 * daemon's asks.
 */
#ifndef RFS_REPO_ASKER_H
#define RFS_REPO_ASKER_H

#include <stdbool.h>
#include <sys/statvfs.h>

/* Whether the file system of `fd` may take for ever to answer; those that answer from memory do not. */
bool rfs_asker_is_needed(int fd);

struct rfs_asker;

/* For the file system of the directory `dirfd`, which is only used here. No process is started yet. -ENOMEM, and what opening
 * gives. */
int rfs_asker_new(int dirfd, struct rfs_asker **ret_asker);

/* What fstatvfs gives. Starts the process where there is none, or no more. Any thread; one after the other. [may wait] */
int rfs_asker_ask(struct rfs_asker *asker, struct statvfs *ret_vfs);

/* Nobody is asking. */
void rfs_asker_free(struct rfs_asker *asker);

#endif
