/* SPDX-License-Identifier: MIT */
/* daemon.h: the process that stays, and the one that waits until it can be used. */
#ifndef RFS_CLI_DAEMON_H
#define RFS_CLI_DAEMON_H

#include "cli/failure.h"

#include <stdbool.h>
#include <sys/types.h>

struct rfs_daemon {
	int pipe_fd; /* to the process that waits; -1 in the foreground */
	pid_t child; /* the process that stays, seen by the one that waits; 0 in the one that stays */
	bool background;
	bool ready; /* it has been told that the tree can be used */
};

/* In the background forks, before there are threads; both processes return. In the one that waits, `child` is set; the
 * one that stays keeps, of what its caller had open, the standard streams and `keep_fd` (-1: none). */
int rfs_daemon_start(struct rfs_daemon *daemon, bool background, int keep_fd, struct rfs_failure *failure);

/* For the process that waits: returns once the other one says that it is ready or why it failed, or ends. */
int rfs_daemon_wait(struct rfs_daemon *daemon, struct rfs_failure *failure);

/* For the process that stays: leaves the terminal, the current directory and stderr behind, and tells the one that
 * waits. -EPIPE: that one is gone, so nobody wants this any more. */
int rfs_daemon_ready(struct rfs_daemon *daemon);

/* For the process that stays: says why it ends, to the process that waits, the log or stderr, whoever listens.
 * Returns the exit status. */
int rfs_daemon_fail(struct rfs_daemon *daemon, const struct rfs_failure *failure);

#endif
