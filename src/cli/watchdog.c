/* SPDX-License-Identifier: MIT */
/*
 * watchdog.c: pings the service manager. Invariant: no ping without a reading of the Datastore that has just succeeded, so that a
 * daemon that cannot do its work is found out; and no thread, so no wake-up, where nobody listens. A storage of the Repo
 * that does not answer is told, and no reason for a restart: all goes on that does not need it, and a new daemon would wait for it.
 */
#include "cli/watchdog.h"
#include "cli/notify.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

struct rfs_watchdog {
	struct rfs_reservations *reservations;
	int64_t interval_ns;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under lock. */
	bool stop;  /* `reservations` are not to be used any more, */
	bool using; /* but for the use that is under way */
	bool orphaned; /* nobody waits for the end */
};

static void report(struct rfs_reservations *r, bool ping, bool is_silent)
{
	struct rfs_figures figures;
	struct rfs_totals totals;
	char state[256];

	rfs_reservations_figures(r, &figures, &totals);
	snprintf(state, sizeof(state),
		 "STATUS=%" PRIu64 " contracts hold %" PRIu64 " bytes, %" PRIu64 " bytes are available%s%s",
		 totals.contracts, figures.reserved, figures.available,
		 is_silent ? ", and the storage of the Repo does not answer" : "", ping ? "\nWATCHDOG=1" : "");
	rfs_notify(state);
}

/* False: it is to end. */
static bool begin_use(struct rfs_watchdog *w)
{
	RFS_LOCK(&w->lock);
	return w->using = !w->stop;
}

static void end_use(struct rfs_watchdog *w)
{
	RFS_LOCK(&w->lock);
	w->using = false;
	pthread_cond_broadcast(&w->changed);
}

/* Waits for one interval. Returns whether to go on. */
static bool wait_interval(struct rfs_watchdog *w)
{
	int64_t until = rfs_now_ns() + w->interval_ns;
	RFS_LOCK(&w->lock);

	while (!w->stop && rfs_cond_wait_until(&w->changed, &w->lock, until))
		;
	return !w->stop;
}

static void free_watchdog(struct rfs_watchdog *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* Whether nobody waits for its end, and it frees itself. */
static bool is_orphaned(struct rfs_watchdog *w)
{
	RFS_LOCK(&w->lock);
	return w->orphaned;
}

/* 0: it has sent a ping. */
static int look(struct rfs_reservations *r)
{
	int rc = rfs_reservations_refresh(r);
	bool is_silent = rc == -EINPROGRESS;

	if (rc == 0 || is_silent)
		rc = rfs_reservations_list(r, LAST_ID, nothing_more, NULL, NULL);
	if (rc == 0)
		report(r, true, is_silent);
	return rc;
}

static void *run(void *user)
{
	struct rfs_watchdog *w = user;
	int last = 0;

	do {
		if (!begin_use(w))
			break;
		int rc = look(w->reservations);
		end_use(w);
		if (rc < 0 && rc != last)
			rfs_log(LOG_ERR, "the watchdog gets no ping: reading the Repo and the Datastore failed: %s",
				strerror(-rc));
		last = rc;
	} while (wait_interval(w));
	if (is_orphaned(w)) {
		pthread_detach(pthread_self());
		free_watchdog(w);
	}
	return NULL;
}

static int new_watchdog(struct rfs_reservations *reservations, struct rfs_watchdog **ret_watchdog)
{
	struct rfs_watchdog *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return -ENOMEM;
	w->reservations = reservations;
	w->interval_ns = (int64_t) (wanted_ns() / 2);
	pthread_mutex_init(&w->lock, NULL);
	rc = rfs_cond_init(&w->changed);
	if (rc < 0) {
		pthread_mutex_destroy(&w->lock);
		free(w);
		return rc;
	}
	*ret_watchdog = w;
	return 0;
}

int rfs_watchdog_start(struct rfs_reservations *reservations, struct rfs_watchdog **ret_watchdog)
{
	struct rfs_watchdog *w = NULL;
	int rc = 0;

	if (!getenv("NOTIFY_SOCKET")) {
		*ret_watchdog = NULL;
		return 0;
	}
	if (!wanted_ns())
		report(reservations, false, false);
	else if (!(rc = new_watchdog(reservations, &w)) && (rc = rfs_thread_start(&w->thread, run, w)) < 0)
		free_watchdog(w);
	if (!rc)
		*ret_watchdog = w;
	return rc;
}

/* Whether it has let go of the Reservations, and then it ends, too. */
static bool stop(struct rfs_watchdog *w, int patience_seconds)
{
	int64_t until = rfs_now_ns() + patience_seconds * RFS_NS_A_SECOND;
	RFS_LOCK(&w->lock);

	w->stop = true;
	pthread_cond_broadcast(&w->changed);
	while (w->using && rfs_cond_wait_until(&w->changed, &w->lock, until))
		;
	w->orphaned = w->using;
	return !w->using;
}

bool rfs_watchdog_stop(struct rfs_watchdog *watchdog, int patience_seconds)
{
	if (!watchdog)
		return true;
	if (!stop(watchdog, patience_seconds))
		return false;
	pthread_join(watchdog->thread, NULL);
	free_watchdog(watchdog);
	return true;
}
