/* SPDX-License-Identifier: MIT */
/* watchdog.h: keeps the service manager convinced that the daemon works, and tells it the figures. */
#ifndef RFS_CLI_WATCHDOG_H
#define RFS_CLI_WATCHDOG_H

#include <reservefs/reservations.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct rfs_watchdog {
	struct rfs_reservations *reservations;
	uint64_t interval_ns;
	bool running; /* there is a thread; known to the one that starts and stops */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop; /* under lock */
};

/*
 * Sends the figures as STATUS, and where the service manager asks for it (WATCHDOG_USEC, for this process), starts a
 * thread that from then on, twice in each such interval, reads from the Datastore and says WATCHDOG=1 when that
 * succeeded. Without a service manager it does nothing at all. 0, or a negative errno: no thread could be made.
 */
int rfs_watchdog_start(struct rfs_watchdog *watchdog, struct rfs_reservations *reservations);

/* Ends the thread; it has let go of `reservations` then. Also for a zeroed watchdog that was never started. */
void rfs_watchdog_stop(struct rfs_watchdog *watchdog);

#endif
