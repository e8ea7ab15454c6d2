/* SPDX-License-Identifier: MIT */
/*
 * log.h: the daemon's log. Libraries below fs log at debug only; lines go to stderr with sd-daemon(3)
 * priority prefixes, or to syslog(3).
 */
#ifndef RFS_UTIL_LOG_H
#define RFS_UTIL_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* Lines of a priority above (less urgent than) this are dropped. LOG_INFO at the start. */
void rfs_log_set_level(int priority);

/* Whether lines go to syslog rather than to stderr. */
void rfs_log_set_syslog(bool enabled);

/* Writes one line; control characters in it are escaped. At most 50 lines a second of priority LOG_WARNING and less
 * urgent are written, the rest are counted and the count is told. Any thread; keeps errno. */
void rfs_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
