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

/*
 * From here on a thread of its own writes the lines, and nobody else ever waits for whoever reads them: where that one does not,
 * a line is lost and counted once 256 KiB wait. Before other threads write. -EAGAIN, -ENOMEM: lines are written as before.
 */
int rfs_log_start(void);

/* Waits until all is written, but not for ever. Nothing is written after that. */
void rfs_log_stop(void);

/* Writes one line; control characters in it are escaped. At most 50 lines a second of priority LOG_WARNING and less
 * urgent are written, the rest are counted and the count is told. Any thread; keeps errno. */
void rfs_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes `text` to stderr as it is, newlines included, however much comes. Any thread; keeps errno. */
void rfs_log_text(const char *text);

#endif
