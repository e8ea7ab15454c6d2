/* SPDX-License-Identifier: MIT */
/*
 * watchdog.c: pings the service manager. Invariant: no ping without a reading of the Repo and of the Datastore that has
 * just succeeded, so that a daemon whose storage hangs or fails is found out; and no thread, so no wake-up, where nobody
 * listens.
 */
#include "cli/watchdog.h"
#include "cli/notify.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_A_SECOND UINT64_C(1000000000)

/* The last id that a contract could have: what comes after it only the Datastore knows, and it is nothing. */
#define LAST_ID (RFS_CONTRACT_ID_END - 1)

/* A decimal number, whole and above 0. */
static bool parse(const char *text, uint64_t *ret_number)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return !errno && !*end && *ret_number > 0;
}

/* What sd_watchdog_enabled(3) tells, in nanoseconds; 0: no pings are wanted from this process. */
static uint64_t wanted_ns(void)
{
	uint64_t usec, pid;
	const char *whose = getenv("WATCHDOG_PID");

	if (!parse(getenv("WATCHDOG_USEC"), &usec) || usec > UINT64_MAX / 1000)
		return 0;
	if (whose && (!parse(whose, &pid) || pid != (uint64_t) getpid()))
		return 0;
	return usec * 1000;
}

static int nothing_more(void *user, uint64_t id, const char *name)
{
	(void) user;
	(void) id;
	(void) name;
	return 1;
}

static int report(struct rfs_reservations *r, bool ping)
{
	struct rfs_figures figures;
	struct rfs_totals totals;
	char state[256];

	int rc = rfs_reservations_figures(r, &figures, &totals);
	if (!rc && ping)
		rc = rfs_reservations_list(r, LAST_ID, nothing_more, NULL);
	if (rc < 0)
		return rc;
	snprintf(state, sizeof(state),
		 "STATUS=%" PRIu64 " contracts hold %" PRIu64 " bytes, %" PRIu64 " bytes are available%s",
		 totals.contracts, figures.reserved, figures.available, ping ? "\nWATCHDOG=1" : "");
	rfs_notify(state);
	return 0;
}

/* Waits for one interval. Returns whether to go on. */
static bool wait_interval(struct rfs_watchdog *w)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t ns = (uint64_t) until.tv_nsec + w->interval_ns;
	until.tv_sec += (time_t) (ns / NS_A_SECOND);
	until.tv_nsec = (long) (ns % NS_A_SECOND);

	RFS_LOCK(&w->lock);
	while (!w->stop)
		if (pthread_cond_timedwait(&w->changed, &w->lock, &until) == ETIMEDOUT)
			break;
	return !w->stop;
}

static void *run(void *user)
{
	struct rfs_watchdog *w = user;
	int last = 0;

	do {
		int rc = report(w->reservations, true);
		if (rc < 0 && rc != last)
			rfs_log(LOG_ERR, "the watchdog gets no ping: reading the Repo and the Datastore failed: %s",
				strerror(-rc));
		last = rc;
	} while (wait_interval(w));
	return NULL;
}

static int init_waiting(struct rfs_watchdog *w)
{
	pthread_condattr_t monotonic;

	int rc = pthread_mutex_init(&w->lock, NULL);
	if (rc)
		return -rc;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	rc = pthread_cond_init(&w->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (rc)
		pthread_mutex_destroy(&w->lock);
	return -rc;
}

static void done_waiting(struct rfs_watchdog *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
}

int rfs_watchdog_start(struct rfs_watchdog *w, struct rfs_reservations *reservations)
{
	sigset_t all, before;

	if (!getenv("NOTIFY_SOCKET"))
		return 0;
	w->reservations = reservations;
	w->interval_ns = wanted_ns() / 2;
	if (!w->interval_ns) {
		report(reservations, false);
		return 0;
	}
	int rc = init_waiting(w);
	if (rc < 0)
		return rc;
	/* Signals are for the thread that serves. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		done_waiting(w);
		return -rc;
	}
	w->running = true;
	return 0;
}

void rfs_watchdog_stop(struct rfs_watchdog *w)
{
	if (!w->running)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	done_waiting(w);
	w->running = false;
}
