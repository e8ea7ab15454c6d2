/* SPDX-License-Identifier: MIT */
/* logqueue.h: lines of the log on their way to whoever reads it, who may be slow or asleep. Private to the log. */
#ifndef RFS_UTIL_LOGQUEUE_H
#define RFS_UTIL_LOGQUEUE_H

#include <stdbool.h>

/* Where a line goes. Called by one thread at a time; it may take for ever. */
typedef void (*rfs_log_write_fn)(int priority, const char *line);

/* Starts the thread that writes. -EAGAIN, -ENOMEM. */
int rfs_logqueue_start(rfs_log_write_fn write);

/* Hands a line over; never waits for its reader. False: there is no thread, and the caller has to write it. A line for which there
 * is no room is lost, and *ret_lost says so. */
bool rfs_logqueue_add(int priority, const char *line, bool *ret_lost);

/* Waits until all is written, but not longer than that; what is not, is lost then. Ends the thread. */
void rfs_logqueue_stop(int patience_ms);

#endif
