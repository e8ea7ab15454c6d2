/* SPDX-License-Identifier: MIT */
/*
 * stall.c: watches calls that may never return. Invariant: of a call that takes too long either rfs_stall_end says so or it is
 * not over yet, and on_stall is called once for it; whoever sets `since_ns` back to 0 first decides which.
 *
 * To begin and to end a call takes a clock reading and two exchanges, and wakes the watching thread at most once in
 * RFS_STALL_MS.
 */
#include "util/stall.h"

#include "util/cleanup.h"
#include "util/thread.h"

static pthread_mutex_t start_stop_lock = PTHREAD_MUTEX_INITIALIZER; /* taken before the other one */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
/* Under lock. */
static LIST_HEAD(, rfs_stall) watched = LIST_HEAD_INITIALIZER(watched);
static pthread_t watcher;
static bool stop;

static atomic_bool is_awake; /* the watching thread will look at all calls once more before it sleeps */

/* Takes the roles of those that have waited for too long. When to look again; 0: no call is under way. */
static int64_t look_locked(void)
{
	int64_t now = rfs_now_ns(), next = 0;
	struct rfs_stall *s;

	LIST_FOREACH(s, &watched, link) {
		int64_t since = atomic_load(&s->since_ns), due = since + RFS_STALL_MS * RFS_NS_A_MS;

		if (since == 0)
			continue;
		if (due > now)
			next = next == 0 || due < next ? due : next;
		else if (atomic_compare_exchange_strong(&s->since_ns, &since, 0))
			s->on_stall(s->user);
	}
	return next;
}

static void *watcher_main(void *unused)
{
	(void) unused;
	RFS_LOCK(&lock);
	while (!stop) {
		int64_t next = look_locked();

		if (next == 0) {
			atomic_store(&is_awake, false);
			next = look_locked(); /* one that began before that was seen */
		}
		if (next > 0) {
			atomic_store(&is_awake, true);
			rfs_cond_wait_until(&changed, &lock, next);
		} else if (!stop && !atomic_load(&is_awake)) {
			pthread_cond_wait(&changed, &lock);
		}
	}
	return NULL;
}

static int start_locked(void)
{
	int rc = rfs_cond_init(&changed);

	if (rc < 0)
		return rc;
	stop = false;
	rc = rfs_thread_start(&watcher, watcher_main, NULL);
	if (rc < 0)
		pthread_cond_destroy(&changed);
	return rc;
}

int rfs_stall_init(struct rfs_stall *stall, void (*on_stall)(void *user), void *user)
{
	RFS_LOCK(&start_stop_lock);
	RFS_LOCK(&lock);
	if (LIST_EMPTY(&watched)) {
		int rc = start_locked();
		if (rc < 0)
			return rc;
	}
	stall->on_stall = on_stall;
	stall->user = user;
	atomic_init(&stall->since_ns, 0);
	LIST_INSERT_HEAD(&watched, stall, link);
	return 0;
}

/* The last one ends the thread. */
void rfs_stall_done(struct rfs_stall *stall)
{
	RFS_LOCK(&start_stop_lock);
	{
		RFS_LOCK(&lock);
		LIST_REMOVE(stall, link);
		if (!LIST_EMPTY(&watched))
			return;
		stop = true;
		pthread_cond_signal(&changed);
	}
	pthread_join(watcher, NULL);
	pthread_cond_destroy(&changed);
}

void rfs_stall_begin(struct rfs_stall *stall)
{
	atomic_store(&stall->since_ns, rfs_now_ns());
	if (atomic_exchange(&is_awake, true))
		return;
	RFS_LOCK(&lock);
	pthread_cond_signal(&changed);
}

bool rfs_stall_end(struct rfs_stall *stall)
{
	return atomic_exchange(&stall->since_ns, 0) != 0;
}
