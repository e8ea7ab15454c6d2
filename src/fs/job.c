/* SPDX-License-Identifier: MIT */
/* job.c: requests whose answer must be waited for. Invariant: each is answered once, by who claims it. */
#include "fs/internal.h"

#include <errno.h>
#include <string.h>

static void give_up(struct rfs_fs *fs, struct rfs_wait *wait, int error)
{
	struct rfs_job *job = (struct rfs_job *) wait;

	if (rfs_job_claim(fs, job))
		fuse_reply_err(job->req, error);
}

struct rfs_job *rfs_job_new(struct rfs_fs *fs, fuse_req_t req, void (*run)(struct rfs_fs *, struct rfs_job *), fuse_ino_t ino,
			    const char *name)
{
	struct rfs_job *job = calloc(1, sizeof *job + strlen(name) + 1);

	if (!job) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	job->run = run;
	job->req = req;
	job->uid = fuse_req_ctx(req)->uid;
	job->pid = fuse_req_ctx(req)->pid;
	job->ino = ino;
	strcpy(job->name, name);
	rfs_wait_begin(fs, &job->wait, req, give_up);
	return job;
}

bool rfs_job_claim(struct rfs_fs *fs, struct rfs_job *job)
{
	(void) fs;
	return !atomic_exchange(&job->answered, true);
}

void rfs_job_free(struct rfs_fs *fs, struct rfs_job *job)
{
	if (!job->req || rfs_wait_end(fs, &job->wait))
		free(job);
}

void rfs_job_look_up(struct rfs_fs *fs, fuse_req_t req, void (*run)(struct rfs_fs *, struct rfs_job *), fuse_ino_t ino,
		     const char *name, size_t size, off_t offset, bool plus)
{
	struct rfs_job *job = rfs_job_new(fs, req, run, ino, name);

	if (!job)
		return;
	job->size = size;
	job->offset = offset;
	job->plus = plus;
	rfs_worker_submit(&fs->look_ups, job);
}
