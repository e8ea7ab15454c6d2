/* SPDX-License-Identifier: MIT */
/* cleanup.h: resources that are let go at the end of the scope that declares them. */
#ifndef RFS_UTIL_CLEANUP_H
#define RFS_UTIL_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

static inline void rfs_cleanup_free(void *p)
{
	free(*(void **) p);
}

static inline void rfs_cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void rfs_cleanup_unlock(pthread_mutex_t **mutex)
{
	if (*mutex)
		pthread_mutex_unlock(*mutex);
}

#define _cleanup_free_ _cleanup_(rfs_cleanup_free)
#define _cleanup_fd_ _cleanup_(rfs_cleanup_fd)

#define RFS_CONCAT_(a, b) a##b
#define RFS_CONCAT(a, b) RFS_CONCAT_(a, b)

/* Holds `mutex` until the end of the enclosing scope. */
#define RFS_LOCK(mutex) \
	_cleanup_(rfs_cleanup_unlock) pthread_mutex_t *RFS_CONCAT(rfs_held_, __LINE__) = rfs_lock(mutex); \
	(void) RFS_CONCAT(rfs_held_, __LINE__)

static inline pthread_mutex_t *rfs_lock(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

/* Takes a pointer out of a variable that would be cleaned up. */
#define TAKE_PTR(p) \
	({ \
		__typeof__(p) rfs_taken_ = (p); \
		(p) = NULL; \
		rfs_taken_; \
	})

#endif
