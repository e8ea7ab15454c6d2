/* SPDX-License-Identifier: MIT */
/*
 * measure.c: answers that only the storage of the Repo knows, and that wait for it where it is slow or hangs. Invariant: nothing
 * else waits for it.
 *
 * As long as it answers promptly the thread that reads requests asks it, which is the quickest. Where that takes too long
 * another thread goes on reading, and for a while a worker asks.
 */
#include "fs/internal.h"

#include "util/thread.h"

#define SLOW_NS (10 * RFS_NS_A_SECOND)

static void note_slow(struct rfs_fs *fs)
{
	atomic_store(&fs->slow_until_ns, rfs_now_ns() + SLOW_NS);
}

static bool is_slow(struct rfs_fs *fs)
{
	int64_t until = atomic_load_explicit(&fs->slow_until_ns, memory_order_relaxed);

	return until > 0 && rfs_now_ns() < until;
}

/* The job is not freed meanwhile: the thread that measures waits until the reader has been replaced. */
static void on_stall(void *user)
{
	struct rfs_fs *fs = user;
	struct rfs_job *job = atomic_load(&fs->measuring_job);

	note_slow(fs);
	if (job->known_will_do)
		job->run(fs, job);
	rfs_loop_replace_reader(fs);
}

int rfs_measuring_init(struct rfs_fs *fs)
{
	return rfs_stall_init(&fs->measuring, on_stall, fs);
}

void rfs_measuring_done(struct rfs_fs *fs)
{
	rfs_stall_done(&fs->measuring);
}

/* Holds Reservations, because both threads may be left behind where the storage keeps them. */
static void measure_and_run(struct rfs_fs *fs, struct rfs_job *job)
{
	struct rfs_reservations *r = fs->reservations;
	int64_t since = rfs_now_ns();

	rfs_reservations_hold(r);
	job->error = rfs_reservations_measure(r);
	if (rfs_now_ns() - since > RFS_STALL_MS * RFS_NS_A_MS)
		note_slow(fs);
	job->then(fs, job);
	rfs_reservations_let_go(r);
}

static void measure_while_reading(struct rfs_fs *fs, struct rfs_job *job)
{
	struct rfs_reservations *r = fs->reservations;
	int error;

	rfs_reservations_hold(r);
	atomic_store(&fs->measuring_job, job);
	rfs_stall_begin(&fs->measuring);
	error = rfs_reservations_measure(r);
	if (!rfs_stall_end(&fs->measuring))
		rfs_loop_was_replaced(fs);
	job->error = error; /* it was on_stall's until here */
	job->run(fs, job);
	rfs_job_free(fs, job);
	rfs_reservations_let_go(r);
}

void rfs_job_measure(struct rfs_fs *fs, struct rfs_job *job)
{
	if (!is_slow(fs)) {
		measure_while_reading(fs, job);
	} else if (job->known_will_do) {
		job->run(fs, job);
		rfs_job_free(fs, job);
	} else {
		job->then = job->run;
		job->run = measure_and_run;
		rfs_worker_submit(&fs->measurements, job);
	}
}
