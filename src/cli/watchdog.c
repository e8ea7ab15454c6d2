/* SPDX-License-Identifier: MIT */
/*
 * watchdog.c: pings the service manager. Invariant: no ping without a measurement of the Repo and a reading of the Datastore that has
 * just succeeded, so that a daemon whose storage hangs or fails is found out; and no thread, so no wake-up, where nobody
 * listens.
 */
#include "cli/watchdog.h"
#include "cli/notify.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/stall.h"
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
	bool ended;
	bool orphaned; /* nobody waits for the end */
};

static void report(struct rfs_reservations *r, bool ping)
{
	struct rfs_figures figures;
	struct rfs_totals totals;
	char state[256];

	rfs_reservations_figures(r, &figures, &totals);
	snprintf(state, sizeof(state),
		 "STATUS=%" PRIu64 " contracts hold %" PRIu64 " bytes, %" PRIu64 " bytes are available%s",
		 totals.contracts, figures.reserved, figures.available, ping ? "\nWATCHDOG=1" : "");
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
static bool end(struct rfs_watchdog *w)
{
	RFS_LOCK(&w->lock);
	w->ended = true;
	pthread_cond_broadcast(&w->changed);
	return w->stop && w->orphaned;
}

static void *run(void *user)
{
	struct rfs_watchdog *w = user;
	struct rfs_reservations *r = w->reservations;
	int last = 0;

	do {
		int rc = rfs_reservations_measure(w->reservations);
		if (!begin_use(w))
			break;
		if (!rc)
			rc = rfs_reservations_list(w->reservations, LAST_ID, nothing_more, NULL, NULL);
		if (!rc)
			report(w->reservations, true);
		end_use(w);
		if (rc < 0 && rc != last)
			rfs_log(LOG_ERR, "the watchdog gets no ping: reading the Repo and the Datastore failed: %s",
				strerror(-rc));
		last = rc;
	} while (wait_interval(w));
	if (end(w)) {
		pthread_detach(pthread_self());
		free_watchdog(w);
	}
	rfs_reservations_let_go(r);
	return NULL;
}

static int start_thread(struct rfs_watchdog *w)
{
	int rc;

	rfs_reservations_hold(w->reservations);
	rc = rfs_thread_start(&w->thread, run, w);
	if (rc < 0)
		rfs_reservations_let_go(w->reservations);
	return rc;
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
		report(reservations, false);
	else if (!(rc = new_watchdog(reservations, &w)) && (rc = start_thread(w)) < 0)
		free_watchdog(w);
	if (!rc)
		*ret_watchdog = w;
	return rc;
}

/* Whether it has let go of the Reservations, and whether it has ended. */
static bool stop(struct rfs_watchdog *w, int patience_seconds, bool *ret_ended)
{
	int64_t until = rfs_now_ns() + patience_seconds * RFS_NS_A_SECOND;
	int64_t soon = rfs_now_ns() + RFS_STALL_MS * RFS_NS_A_MS;
	RFS_LOCK(&w->lock);

	w->stop = true;
	pthread_cond_broadcast(&w->changed);
	while (w->using && rfs_cond_wait_until(&w->changed, &w->lock, until))
		;
	while (!w->using && !w->ended && rfs_cond_wait_until(&w->changed, &w->lock, soon))
		;
	*ret_ended = w->ended;
	w->orphaned = !w->ended;
	return !w->using;
}

bool rfs_watchdog_stop(struct rfs_watchdog *watchdog, int patience_seconds)
{
	bool ended, free_of_use;

	if (!watchdog)
		return true;
	free_of_use = stop(watchdog, patience_seconds, &ended);
	if (ended) {
		pthread_join(watchdog->thread, NULL);
		free_watchdog(watchdog);
	}
	return free_of_use;
}
