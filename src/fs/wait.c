/* SPDX-License-Identifier: MIT */
/*
 * wait.c: requests that wait, and clients that are killed meanwhile. Invariant: a request is answered once, either with what came
 * of it or, where its client is being killed, at once.
 *
 * The kernel tells of every signal that a waiting client gets, one that only stops it or runs a handler included, and once a
 * request. Such a client goes on waiting: it would take an error for the answer. Only who is being killed is let go, and
 * whether he is, is looked up in /proc as long as he waits. libfuse tells of a signal with a lock of the request held, in which
 * nothing can be answered: that is for the thread that supervises.
 */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* How many clients that got a signal and are not being killed are looked at in one go, the newest first, then those that were not
 * for the longest time: thousands that wait must not cost a processor. */
#define LOOK_MOST 64

void rfs_waits_init(struct rfs_waits *waits)
{
	pthread_mutex_init(&waits->lock, NULL);
	for (size_t i = 0; i < RFS_WAIT_LISTS; i++)
		LIST_INIT(&waits->lists[i]);
	TAILQ_INIT(&waits->interrupted);
}

void rfs_waits_done(struct rfs_waits *waits)
{
	pthread_mutex_destroy(&waits->lock);
}

static struct rfs_wait *find_locked(struct rfs_waits *waits, uintptr_t number)
{
	struct rfs_wait *wait;

	LIST_FOREACH(wait, &waits->lists[number % RFS_WAIT_LISTS], link)
		if (wait->number == number)
			return wait;
	return NULL;
}

static void on_interrupt(fuse_req_t req, void *number)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_waits *waits = &fs->waits;
	struct rfs_wait *wait;

	{
		RFS_LOCK(&waits->lock);
		wait = find_locked(waits, (uintptr_t) number);
		if (!wait || wait->interrupted)
			return;
		wait->interrupted = true;
		TAILQ_INSERT_HEAD(&waits->interrupted, wait, interrupted_link);
	}
	if (!atomic_exchange(&waits->told, true))
		rfs_loop_wake_supervisor(fs);
}

void rfs_wait_begin(struct rfs_fs *fs, struct rfs_wait *wait, fuse_req_t req,
		    void (*give_up)(struct rfs_fs *, struct rfs_wait *, int))
{
	struct rfs_waits *waits = &fs->waits;

	wait->req = req;
	wait->client = fuse_req_ctx(req)->pid;
	wait->give_up = give_up;
	wait->interrupted = wait->looking = wait->over = false;
	wait->round = 0;
	{
		RFS_LOCK(&waits->lock);
		wait->number = ++waits->last_number;
		LIST_INSERT_HEAD(&waits->lists[wait->number % RFS_WAIT_LISTS], wait, link);
	}
	fuse_req_interrupt_func(req, on_interrupt, (void *) wait->number);
}

/* The supervisor looks at those that are interrupted with the lock let go: it frees them then. */
bool rfs_wait_end(struct rfs_fs *fs, struct rfs_wait *wait)
{
	struct rfs_waits *waits = &fs->waits;
	RFS_LOCK(&waits->lock);

	LIST_REMOVE(wait, link);
	if (wait->interrupted)
		TAILQ_REMOVE(&waits->interrupted, wait, interrupted_link);
	wait->over = true;
	return !wait->looking;
}

/* Whether the thread `client` has SIGKILL pending, as every thread of a process has that a signal ends. Who cannot be looked at,
 * as from another pid namespace, is not known to. */
static bool is_being_killed(pid_t client)
{
	char path[64], text[4096], *line;
	_cleanup_fd_ int fd = -1;
	uint64_t pending = 0;
	ssize_t length;

	if (client <= 0)
		return false;
	(void) snprintf(path, sizeof path, "/proc/%d/status", (int) client);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, sizeof text - 1);
	if (length <= 0)
		return false;
	text[length] = '\0';
	for (size_t i = 0; i < 2; i++) {
		line = strstr(text, i ? "\nSigPnd:" : "\nShdPnd:");
		pending |= line ? strtoull(line + strlen("\nSigPnd:"), NULL, 16) : 0;
	}
	return pending >> (SIGKILL - 1) & 1;
}

/* The next one that was interrupted and has not been looked at in this round, which goes to the end of the list. */
static struct rfs_wait *next_interrupted(struct rfs_waits *waits, unsigned round)
{
	RFS_LOCK(&waits->lock);
	struct rfs_wait *wait = TAILQ_FIRST(&waits->interrupted);

	if (!wait || wait->round == round)
		return NULL;
	TAILQ_REMOVE(&waits->interrupted, wait, interrupted_link);
	TAILQ_INSERT_TAIL(&waits->interrupted, wait, interrupted_link);
	wait->round = round;
	wait->looking = true;
	return wait;
}

/* Whether it ended while it was looked at, and is to be freed here. */
static bool stop_looking(struct rfs_waits *waits, struct rfs_wait *wait)
{
	RFS_LOCK(&waits->lock);
	wait->looking = false;
	return wait->over;
}

bool rfs_waits_look(struct rfs_fs *fs)
{
	struct rfs_waits *waits = &fs->waits;
	unsigned round = ++waits->round;
	struct rfs_wait *wait;
	bool any = false;
	int spared = 0;

	atomic_store(&waits->told, false);
	while (spared < LOOK_MOST && (wait = next_interrupted(waits, round))) {
		any = true;
		if (is_being_killed(wait->client))
			wait->give_up(fs, wait, EINTR);
		else
			spared++;
		if (stop_looking(waits, wait))
			free(wait);
	}
	return any;
}

/* Any that has not been given up in this round. */
static struct rfs_wait *next_in_list(struct rfs_waits *waits, size_t i, unsigned round)
{
	struct rfs_wait *wait;
	RFS_LOCK(&waits->lock);

	LIST_FOREACH(wait, &waits->lists[i], link) {
		if (wait->round == round)
			continue;
		wait->round = round;
		wait->looking = true;
		return wait;
	}
	return NULL;
}

void rfs_waits_leave(struct rfs_fs *fs)
{
	struct rfs_waits *waits = &fs->waits;
	unsigned round = ++waits->round;
	struct rfs_wait *wait;

	for (size_t i = 0; i < RFS_WAIT_LISTS; i++) {
		while ((wait = next_in_list(waits, i, round))) {
			wait->give_up(fs, wait, EIO);
			if (stop_looking(waits, wait))
				free(wait);
		}
	}
}
