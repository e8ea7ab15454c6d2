/* SPDX-License-Identifier: MIT */
/*
 * worker.c: threads that may wait, each for one thing. Invariant: every job that was queued is run, also when the file system is
 * being left, unless what it waits for does not come.
 */
#include "fs/internal.h"

#include "util/thread.h"

#include <errno.h>

int rfs_worker_init(struct rfs_worker *worker, struct rfs_fs *fs)
{
	worker->fs = fs;
	STAILQ_INIT(&worker->jobs);
	pthread_mutex_init(&worker->lock, NULL);
	return rfs_cond_init(&worker->changed);
}

void rfs_worker_done(struct rfs_worker *worker)
{
	pthread_cond_destroy(&worker->changed);
	pthread_mutex_destroy(&worker->lock);
}

static struct rfs_job *take_job(struct rfs_worker *worker)
{
	struct rfs_job *job;
	RFS_LOCK(&worker->lock);

	while (STAILQ_EMPTY(&worker->jobs) && !worker->stop) /* it is never left before it is stopped */
		pthread_cond_wait(&worker->changed, &worker->lock);
	job = worker->left ? NULL : STAILQ_FIRST(&worker->jobs);
	if (job) {
		STAILQ_REMOVE_HEAD(&worker->jobs, link);
	} else {
		worker->running = false;
		pthread_cond_broadcast(&worker->changed);
	}
	return job;
}

static void run(struct rfs_fs *fs, struct rfs_job *job)
{
	job->run(fs, job);
	rfs_job_free(fs, job);
}

static void *worker_main(void *user)
{
	struct rfs_worker *worker = user;
	struct rfs_job *job;

	while ((job = take_job(worker)))
		run(worker->fs, job);
	return NULL;
}

int rfs_worker_start(struct rfs_worker *worker)
{
	int rc;

	worker->stop = false;
	worker->running = true;
	rc = rfs_thread_start(&worker->thread, worker_main, worker);
	worker->started = rc == 0;
	return rc;
}

static bool ends_until(struct rfs_worker *worker, int64_t until)
{
	RFS_LOCK(&worker->lock);

	worker->stop = true;
	pthread_cond_broadcast(&worker->changed);
	while (worker->running && rfs_cond_wait_until(&worker->changed, &worker->lock, until))
		;
	worker->left = worker->running;
	return !worker->running;
}

bool rfs_worker_stop(struct rfs_worker *worker, int64_t patience_ns)
{
	bool ended;

	if (!worker->started)
		return true;
	ended = ends_until(worker, rfs_now_ns() + patience_ns);
	if (ended)
		pthread_join(worker->thread, NULL);
	else
		pthread_detach(worker->thread);
	return ended;
}

void rfs_worker_submit(struct rfs_worker *worker, struct rfs_job *job)
{
	RFS_LOCK(&worker->lock);
	STAILQ_INSERT_TAIL(&worker->jobs, job, link);
	pthread_cond_broadcast(&worker->changed);
}
