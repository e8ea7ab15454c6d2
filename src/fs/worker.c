/* SPDX-License-Identifier: MIT */
/*
 * worker.c: the thread that may wait for the disk, for look-ups and listings that memory cannot answer. Invariant: every
 * job that was queued is run, also when the file system is being left.
 */
#include "fs/internal.h"

#include <errno.h>
#include <string.h>

static void *worker_main(void *user)
{
	struct rfs_fs *fs = user;

	for (;;) {
		struct rfs_job *job;

		pthread_mutex_lock(&fs->jobs_lock);
		while (STAILQ_EMPTY(&fs->jobs) && !fs->jobs_stop)
			pthread_cond_wait(&fs->jobs_work, &fs->jobs_lock);
		job = STAILQ_FIRST(&fs->jobs);
		if (job)
			STAILQ_REMOVE_HEAD(&fs->jobs, link);
		pthread_mutex_unlock(&fs->jobs_lock);
		if (!job)
			return NULL;
		job->run(fs, job);
	}
}

int rfs_worker_start(struct rfs_fs *fs)
{
	fs->jobs_stop = false;
	return -pthread_create(&fs->jobs_thread, NULL, worker_main, fs);
}

void rfs_worker_stop(struct rfs_fs *fs)
{
	pthread_mutex_lock(&fs->jobs_lock);
	fs->jobs_stop = true;
	pthread_cond_signal(&fs->jobs_work);
	pthread_mutex_unlock(&fs->jobs_lock);
	pthread_join(fs->jobs_thread, NULL);
}

void rfs_worker_submit(struct rfs_fs *fs, fuse_req_t req, void (*run)(struct rfs_fs *, struct rfs_job *), fuse_ino_t ino,
		       const char *name, size_t size, off_t offset, bool plus)
{
	struct rfs_job *job = malloc(sizeof *job + strlen(name) + 1);

	if (!job) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*job = (struct rfs_job) { .run = run, .req = req, .ino = ino, .size = size, .offset = offset, .plus = plus };
	strcpy(job->name, name);
	{
		RFS_LOCK(&fs->jobs_lock);
		STAILQ_INSERT_TAIL(&fs->jobs, job, link);
	}
	pthread_cond_signal(&fs->jobs_work);
}
