/* SPDX-License-Identifier: MIT */
/* thread.c: starts threads. Invariant: no thread of a library takes a signal that its program waits for. */
#include "util/thread.h"

#include "util/cleanup.h"

#include <errno.h>
#include <signal.h>

int rfs_thread_start(pthread_t *ret_thread, void *(*main)(void *user), void *user)
{
	sigset_t all, before;
	pthread_t thread;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, NULL, main, user);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		*ret_thread = thread;
	return -rc;
}

static struct rfs_crew_member *find(struct rfs_crew *crew, int state)
{
	for (size_t i = 0; i < RFS_CREW_MOST; i++)
		if ((int) crew->members[i].state == state &&
		    (state == RFS_CREW_NOBODY || pthread_equal(crew->members[i].thread, pthread_self())))
			return &crew->members[i];
	return NULL;
}

int rfs_crew_start(struct rfs_crew *crew, void *(*main)(void *user), void *user)
{
	struct rfs_crew_member *member = find(crew, RFS_CREW_NOBODY);
	int rc = member ? rfs_thread_start(&member->thread, main, user) : -EAGAIN;

	if (rc == 0)
		member->state = RFS_CREW_AT_WORK;
	return rc;
}

void rfs_crew_end(struct rfs_crew *crew)
{
	struct rfs_crew_member *member = find(crew, RFS_CREW_AT_WORK);

	if (member)
		member->state = RFS_CREW_ENDED;
}

void rfs_crew_leave(struct rfs_crew *crew)
{
	struct rfs_crew_member *member = find(crew, RFS_CREW_AT_WORK);

	if (!member)
		return; /* it has been let go already */
	member->state = RFS_CREW_NOBODY;
	pthread_detach(pthread_self());
}

static struct rfs_crew_member take(struct rfs_crew *crew, size_t i, pthread_mutex_t *lock)
{
	RFS_LOCK(lock);
	struct rfs_crew_member member = crew->members[i];

	crew->members[i].state = RFS_CREW_NOBODY;
	if (member.state == RFS_CREW_AT_WORK)
		pthread_detach(member.thread);
	return member;
}

void rfs_crew_join(struct rfs_crew *crew, pthread_mutex_t *lock)
{
	for (size_t i = 0; i < RFS_CREW_MOST; i++) {
		struct rfs_crew_member member = take(crew, i, lock);
		if (member.state == RFS_CREW_ENDED)
			pthread_join(member.thread, NULL);
	}
}

int rfs_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;
	int rc = pthread_condattr_init(&monotonic);

	if (rc)
		return -rc;
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	rc = pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return -rc;
}

bool rfs_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t until_ns)
{
	const struct timespec until = { .tv_sec = until_ns / RFS_NS_A_SECOND, .tv_nsec = until_ns % RFS_NS_A_SECOND };

	return pthread_cond_timedwait(cond, mutex, &until) != ETIMEDOUT;
}
