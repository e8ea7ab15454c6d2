/* SPDX-License-Identifier: MIT */
/* watchdog.h: keeps the service manager convinced that the daemon works, and tells it the figures. */
#ifndef RFS_CLI_WATCHDOG_H
#define RFS_CLI_WATCHDOG_H

#include <reservefs/reservations.h>

#include <stdbool.h>

struct rfs_watchdog;

/*
 * Sends the figures as STATUS, and where the service manager asks for it (WATCHDOG_USEC, for this process), starts a
 * thread that from then on, twice in each such interval, reads from the Datastore and says WATCHDOG=1 when that succeeded. Without a service manager it does nothing at all, and there is no watchdog: NULL. 0, or a negative errno: no
 * thread could be made.
 */
int rfs_watchdog_start(struct rfs_reservations *reservations, struct rfs_watchdog **ret_watchdog);

/* Ends it. Whether it has let go of the Datastore, which it does unless that keeps it for as long as `patience_seconds`. */
bool rfs_watchdog_stop(struct rfs_watchdog *watchdog, int patience_seconds);

#endif
