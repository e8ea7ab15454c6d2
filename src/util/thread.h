/* SPDX-License-Identifier: MIT */
/* thread.h: threads of our own, and the clock that they wait by. */
#ifndef RFS_UTIL_THREAD_H
#define RFS_UTIL_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define RFS_NS_A_SECOND INT64_C(1000000000)
#define RFS_NS_A_MS INT64_C(1000000)

/* Starts a thread that takes no signals: those are for the threads of the program. -EAGAIN, -ENOMEM. */
int rfs_thread_start(pthread_t *ret_thread, void *(*main)(void *user), void *user);

/*
 * Threads of one kind, of which some may be kept by a call that does not return when their owner has to go. The owner guards it by a
 * lock of its own; zeroed it is ready.
 */
#define RFS_CREW_MOST 8
struct rfs_crew {
	struct rfs_crew_member {
		enum { RFS_CREW_NOBODY, RFS_CREW_AT_WORK, RFS_CREW_ENDED } state;
		pthread_t thread;
	} members[RFS_CREW_MOST];
};

/* Starts one more. -EAGAIN, also where there are RFS_CREW_MOST; -ENOMEM. */
int rfs_crew_start(struct rfs_crew *crew, void *(*main)(void *user), void *user);

/* The calling thread is about to end: it is to be joined; or, in the second case, nobody waits for that. */
void rfs_crew_end(struct rfs_crew *crew);
void rfs_crew_leave(struct rfs_crew *crew);

/* Joins those that are about to end, and lets the others go. Called without `lock`, which is the owner's. */
void rfs_crew_join(struct rfs_crew *crew, pthread_mutex_t *lock);

/* A condition whose timed waits go by CLOCK_MONOTONIC. -ENOMEM, -EAGAIN. */
int rfs_cond_init(pthread_cond_t *cond);

/* CLOCK_MONOTONIC, in nanoseconds: never 0. */
static inline int64_t rfs_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * RFS_NS_A_SECOND + now.tv_nsec;
}

/* Waits until it is signalled or that moment has come. False: it has. */
bool rfs_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t until_ns);

#endif
