/* SPDX-License-Identifier: MIT */
/*
 * loop.c: reading requests, and leaving on a signal. Two threads take turns: one reads, and when it has read a change of a client
 * that is alone, it lets the other go on reading and writes it itself. So the commit of a lone change begins on
 * the processor where it was read, and does not wait for a thread to wake up on another; under load one of them reads, and
 * Reservations' writer writes.
 *
 * Invariant: one thread reads at a time, and nobody who writes reads: reading never waits for the disk.
 */
#include "fs/internal.h"

#include "util/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* Whether this thread is the one that reads. */
static _Thread_local bool reading;

bool rfs_loop_is_reading(void)
{
	return reading;
}

/* False: there is nothing to read any more. */
static bool take_over(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->reading_lock);
	while (fs->reading_taken && !atomic_load(&fs->loop_ended))
		pthread_cond_wait(&fs->reading_free, &fs->reading_lock);
	if (atomic_load(&fs->loop_ended))
		return false;
	return fs->reading_taken = reading = true;
}

void rfs_loop_hand_over(void *user)
{
	struct rfs_fs *fs = user;

	{
		RFS_LOCK(&fs->reading_lock);
		fs->reading_taken = reading = false;
	}
	pthread_cond_signal(&fs->reading_free);
}

static void end_loop(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->reading_lock);
	atomic_store(&fs->loop_ended, true);
	pthread_cond_broadcast(&fs->reading_free);
}

/* Reads and serves until this thread reads no more. 0, or what ends the session: 1, or a negative errno. */
static int read_requests(struct rfs_fs *fs, struct fuse_buf *buffer)
{
	int rc = 0;

	while (reading && rc >= 0) {
		if (fuse_session_exited(fs->session))
			return 1;
		rc = rfs_receive(fs, buffer);
		if (rc == 0)
			return 1;
		if (rc > 0) {
			fuse_session_process_buf(fs->session, buffer);
			rfs_changes_cancel(fs);
		} else if (rc == -EINTR || rc == -ENOMEM) {
			rc = 0; /* the request stays with the kernel */
		}
	}
	return rc < 0 ? rc : 0;
}

static void *loop_main(void *user)
{
	struct rfs_fs *fs = user;
	struct fuse_buf buffer = { .mem = NULL };
	intptr_t rc = 0;

	while (rc == 0 && take_over(fs))
		rc = read_requests(fs, &buffer);
	if (rc != 0)
		end_loop(fs);
	free(buffer.mem);
	return (void *) rc;
}

/* Ends the session on the first signal. A thread may be about to read when it is told, so it is nudged until it has ended. */
static void *signal_main(void *user)
{
	struct rfs_fs *fs = user;
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	sigset_t set;
	int number;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	do {
		if (sigwait(&set, &number) != 0 || atomic_load(&fs->loop_ended))
			return NULL;
	} while (number == SIGUSR2);
	rfs_log(LOG_NOTICE, "%s, leaving", strsignal(number));
	fuse_session_exit(fs->session);
	while (!atomic_load(&fs->loop_ended)) {
		pthread_kill(fs->loop_threads[0], SIGUSR1);
		pthread_kill(fs->loop_threads[1], SIGUSR1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void no_op(int signal_number)
{
	(void) signal_number;
}

/* A thread that has just been started may be about to read. */
static void call_off(struct rfs_fs *fs, pthread_t thread)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

	fuse_session_exit(fs->session);
	while (pthread_tryjoin_np(thread, NULL) == EBUSY) {
		pthread_kill(thread, SIGUSR1);
		nanosleep(&pause, NULL);
	}
}

static int start_threads(struct rfs_fs *fs)
{
	int rc = -pthread_create(&fs->loop_threads[1], NULL, loop_main, fs);

	if (rc < 0)
		return rc;
	rc = -pthread_create(&fs->signal_thread, NULL, signal_main, fs);
	if (rc < 0)
		call_off(fs, fs->loop_threads[1]);
	return rc;
}

static int serve(struct rfs_fs *fs)
{
	void *other;
	int rc = start_threads(fs);

	if (rc < 0)
		return rc;
	rc = (int) (intptr_t) loop_main(fs);
	/* First the one that may still send signals to the other. */
	pthread_kill(fs->signal_thread, SIGUSR2);
	pthread_join(fs->signal_thread, NULL);
	pthread_join(fs->loop_threads[1], &other);
	if (rc == 0)
		rc = (int) (intptr_t) other;
	return rc < 0 ? rc : 0;
}

int rfs_loop_run(struct rfs_fs *fs)
{
	struct sigaction nudge = { .sa_handler = no_op };
	sigset_t all_but_nudge, before;
	int rc;

	sigaction(SIGUSR1, &nudge, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigfillset(&all_but_nudge);
	sigdelset(&all_but_nudge, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &all_but_nudge, &before);
	fs->loop_threads[0] = pthread_self();
	rc = serve(fs);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}
