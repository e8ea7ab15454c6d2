/* SPDX-License-Identifier: MIT */
/*
 * notice.c: tells the kernel what changed without its having been answered so. Invariant: nothing else waits for it. To drop a
 * name the kernel takes the lock of the directory, which it holds from each request that changes one until that is
 * answered.
 */
#include "fs/internal.h"

#include <string.h>

static void tell_inode(struct rfs_fs *fs, struct rfs_job *job)
{
	(void) fuse_lowlevel_notify_inval_inode(fs->session, job->ino, -1, 0);
}

static void tell_name(struct rfs_fs *fs, struct rfs_job *job)
{
	(void) fuse_lowlevel_notify_inval_entry(fs->session, RFS_INO_RESERVATIONS, job->name, strlen(job->name));
}

static void submit(struct rfs_fs *fs, void (*run)(struct rfs_fs *, struct rfs_job *), fuse_ino_t ino, const char *name)
{
	struct rfs_job *job = calloc(1, sizeof *job + strlen(name) + 1);

	if (!job)
		return; /* then the kernel asks again when it would have anyway */
	job->run = run;
	job->ino = ino;
	strcpy(job->name, name);
	rfs_worker_submit(&fs->notices, job);
}

void rfs_notice_inode(struct rfs_fs *fs, fuse_ino_t ino)
{
	submit(fs, tell_inode, ino, "");
}

void rfs_notice_name(struct rfs_fs *fs, const char *name)
{
	if (*name)
		submit(fs, tell_name, 0, name);
}
