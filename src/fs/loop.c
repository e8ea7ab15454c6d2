/* SPDX-License-Identifier: MIT */
/*
 * loop.c: reading requests, and leaving. Threads take turns: one reads, and when it has read a change of a client that is
 * alone, it lets another go on reading and writes it itself. So the commit of a lone change begins on the processor where
 * it was read, and does not wait for a thread to wake up on another; under load one of them reads, and Reservations' writer
 * writes. A thread that the storage of the Repo keeps is replaced.
 *
 * The thread that the file system is run by does none of that: it supervises. So it is there to take signals, and clients that
 * are killed, whatever the others wait for.
 *
 * Invariant: one thread reads at a time, and nobody who writes reads: reading never waits for the disk.
 */
#include "fs/internal.h"

#include "util/log.h"
#include "util/thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* How many threads take turns where none is kept. */
#define THREADS 2

/* How often to look after clients that got a signal, as long as there are any. */
#define LOOK_NS (10 * RFS_NS_A_MS)

/* How long what waits for the disk may take to be done once the file system is left. */
#define PATIENCE_NS (RFS_CLOSE_PATIENCE_SECONDS * RFS_NS_A_SECOND)

/* A thread that sleeps in reading is woken by the first, the supervisor by the second. */
#define NUDGE SIGRTMIN
#define WAKE (SIGRTMIN + 1)

/* Whether this thread is the one that reads, or one that was and writes now. */
static _Thread_local bool reading, leading;

void rfs_loop_init(struct rfs_loop *loop)
{
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->reader_wanted, NULL);
	rfs_cond_init(&loop->changed);
}

void rfs_loop_done(struct rfs_loop *loop)
{
	pthread_cond_destroy(&loop->changed);
	pthread_cond_destroy(&loop->reader_wanted);
	pthread_mutex_destroy(&loop->lock);
}

void rfs_loop_wake_supervisor(struct rfs_fs *fs)
{
	pthread_kill(fs->loop.supervisor, WAKE);
}

bool rfs_loop_is_reading(void)
{
	return reading;
}

bool rfs_loop_has_other(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->loop.lock);
	return fs->loop.waiting > 0;
}

static void end_leading_locked(struct rfs_loop *loop)
{
	loop->leading -= leading;
	leading = false;
}

/* False: there is nothing to read any more. */
static bool take_over(struct rfs_loop *loop)
{
	RFS_LOCK(&loop->lock);

	end_leading_locked(loop);
	loop->waiting++;
	while (loop->has_reader && !atomic_load(&loop->ended))
		pthread_cond_wait(&loop->reader_wanted, &loop->lock);
	loop->waiting--;
	if (atomic_load(&loop->ended))
		return false;
	loop->reader = pthread_self();
	return loop->has_reader = reading = true;
}

static void give_over_locked(struct rfs_loop *loop)
{
	loop->has_reader = false;
	pthread_cond_signal(&loop->reader_wanted);
}

void rfs_loop_hand_over(void *user)
{
	struct rfs_fs *fs = user;
	RFS_LOCK(&fs->loop.lock);

	reading = false;
	leading = true;
	fs->loop.leading++;
	give_over_locked(&fs->loop);
}

static void note_end(struct rfs_loop *loop, int error)
{
	RFS_LOCK(&loop->lock);

	if (!atomic_load(&loop->ended))
		loop->error = error;
	atomic_store(&loop->ended, true);
	pthread_cond_broadcast(&loop->reader_wanted);
}

static void end(struct rfs_fs *fs, int error)
{
	note_end(&fs->loop, error);
	rfs_loop_wake_supervisor(fs);
}

/* The first request is the kernel's greeting. libfuse has answered it, and is content with it unless the session ends. */
static void note_greeting(struct rfs_fs *fs)
{
	if (!fs->greeting || fuse_session_exited(fs->session))
		return;
	fs->greeting = false;
	atomic_store(&fs->loop.greeted, true);
	rfs_loop_wake_supervisor(fs);
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
			note_greeting(fs);
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
	sigset_t nudge;
	int rc = 0;

	sigemptyset(&nudge);
	sigaddset(&nudge, NUDGE);
	pthread_sigmask(SIG_UNBLOCK, &nudge, NULL);
	while (rc == 0 && take_over(&fs->loop))
		rc = read_requests(fs, &buffer);
	free(buffer.mem);
	if (rc != 0 && !atomic_load(&fs->loop.ended))
		end(fs, rc < 0 ? rc : 0);
	RFS_LOCK(&fs->loop.lock);
	if (reading)
		fs->loop.has_reader = reading = false;
	end_leading_locked(&fs->loop);
	fs->loop.threads--;
	rfs_crew_end(&fs->loop.crew);
	pthread_cond_broadcast(&fs->loop.changed);
	return NULL;
}

static int start_thread_locked(struct rfs_fs *fs)
{
	int rc = rfs_crew_start(&fs->loop.crew, loop_main, fs);

	fs->loop.threads += rc == 0;
	return rc;
}

void rfs_loop_replace_reader(struct rfs_fs *fs)
{
	struct rfs_loop *loop = &fs->loop;
	RFS_LOCK(&loop->lock);

	loop->kept++;
	loop->threads--;
	if (loop->waiting == 0 && !atomic_load(&loop->ended))
		(void) start_thread_locked(fs); /* without it the one that is kept reads on when it comes back */
	give_over_locked(loop);
	pthread_cond_broadcast(&loop->changed);
}

void rfs_loop_was_replaced(struct rfs_fs *fs)
{
	struct rfs_loop *loop = &fs->loop;
	RFS_LOCK(&loop->lock);

	while (loop->kept == 0)
		pthread_cond_wait(&loop->changed, &loop->lock);
	loop->kept--;
	loop->threads++;
	reading = false;
	pthread_cond_broadcast(&loop->changed);
}

/* The one that reads may be about to sleep, so it is nudged until all have seen that the session has ended. One that leads is
 * waited for once what it writes is answered. */
static void wait_for_readers(struct rfs_fs *fs, int64_t until)
{
	struct rfs_loop *loop = &fs->loop;
	RFS_LOCK(&loop->lock);

	while (loop->threads > loop->leading && rfs_now_ns() < until) {
		if (loop->has_reader)
			pthread_kill(loop->reader, NUDGE);
		rfs_cond_wait_until(&loop->changed, &loop->lock, rfs_now_ns() + LOOK_NS);
	}
}

/* Whether there are any left, after a moment where there are; and whether others than the storage of the Repo keep some. */
static bool wait_a_moment(struct rfs_loop *loop, bool *ret_busy)
{
	int64_t until = rfs_now_ns() + RFS_STALL_MS * RFS_NS_A_MS;
	RFS_LOCK(&loop->lock);

	while (loop->threads + loop->kept > 0 && rfs_cond_wait_until(&loop->changed, &loop->lock, until))
		;
	*ret_busy = loop->threads > 0;
	return loop->threads + loop->kept > 0;
}

/* One that leads may have to tidy up, which waits for the disk; whoever the storage of the Repo keeps is waited for no longer
 * than a storage that works may take. */
bool rfs_loop_join(struct rfs_fs *fs)
{
	struct rfs_loop *loop = &fs->loop;
	int64_t since = rfs_now_ns(), patience;
	bool left, busy;

	while ((left = wait_a_moment(loop, &busy))) {
		patience = busy ? PATIENCE_NS : RFS_SILENT_MS * RFS_NS_A_MS;
		if (rfs_now_ns() - since > patience || (busy && rfs_reservations_refuse_stalled(fs->reservations)))
			break;
	}
	rfs_crew_join(&loop->crew, &loop->lock);
	return !left;
}

static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP };

static sigset_t supervised_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE);
	for (size_t i = 0; i < sizeof end_signals / sizeof end_signals[0]; i++)
		sigaddset(&set, end_signals[i]);
	return set;
}

/* Until the session ends. Whether it was told to. */
static bool supervise(struct rfs_fs *fs)
{
	const struct timespec soon = { .tv_nsec = LOOK_NS };
	const sigset_t set = supervised_signals();
	bool looking = false, announced = false;

	while (!atomic_load(&fs->loop.ended)) {
		int number = looking ? sigtimedwait(&set, NULL, &soon) : sigwaitinfo(&set, NULL);

		if (number > 0 && number != WAKE) {
			rfs_log(LOG_NOTICE, "%s, leaving", strsignal(number));
			return true;
		}
		if (!announced && atomic_load(&fs->loop.greeted) && !atomic_load(&fs->loop.ended)) {
			announced = true;
			if (fs->ready)
				fs->ready(fs->user);
		}
		looking = rfs_waits_look(fs);
	}
	return false;
}

static int start_threads(struct rfs_fs *fs)
{
	int rc = 0;
	RFS_LOCK(&fs->loop.lock);

	for (int i = 0; i < THREADS && rc == 0; i++)
		rc = start_thread_locked(fs);
	if (rc < 0)
		atomic_store(&fs->loop.ended, true);
	return rc;
}

static int serve(struct rfs_fs *fs, enum rfs_fs_end *ret_end)
{
	int rc = start_threads(fs);
	bool told = rc == 0 && supervise(fs);

	fuse_session_exit(fs->session);
	note_end(&fs->loop, 0);
	wait_for_readers(fs, rfs_now_ns() + PATIENCE_NS);
	if (rc < 0)
		return rc;
	*ret_end = told ? RFS_FS_TOLD : atomic_load(&fs->loop.greeted) ? RFS_FS_DISCONNECTED : RFS_FS_NEVER_BEGAN;
	return told ? 0 : fs->loop.error;
}

static void no_op(int signal_number)
{
	(void) signal_number;
}

int rfs_loop_run(struct rfs_fs *fs, enum rfs_fs_end *ret_end)
{
	/* One that comes too late is delivered once it is not blocked any more. */
	const struct sigaction nothing = { .sa_handler = no_op };
	const sigset_t set = supervised_signals();
	sigset_t before;
	int rc;

	sigaction(NUDGE, &nothing, NULL);
	sigaction(WAKE, &nothing, NULL);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	fs->loop.supervisor = pthread_self();
	rc = serve(fs, ret_end);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}
