/* SPDX-License-Identifier: MIT */
/* signals.h: what signals do to the daemon, from its beginning to its end. */
#ifndef RFS_CLI_SIGNALS_H
#define RFS_CLI_SIGNALS_H

/*
 * Has every signal ignored that would end the daemon without closing what is open, but for SIGINT, SIGTERM and SIGHUP, which
 * end it, and those that tell of a fault in the program or that nobody can ignore. Before there are threads.
 */
void rfs_signals_settle(void);

/* From here on those three wait until rfs_fs_run takes them, and a second one for ever: what is mounted gets unmounted, and what is
 * open closed. Before there are threads. */
void rfs_signals_hold(void);

#endif
