/* SPDX-License-Identifier: MIT */
/*
 * child.h: what is done in a process of its own: other programs, and questions that may never be answered. By fork(2)
 * and nothing newer, so that it works where a seccomp profile refuses clone3. A child holds none of this process's
 * files, so none of its locks either, for longer than it takes to begin.
 */
#ifndef RFS_CLI_CHILD_H
#define RFS_CLI_CHILD_H

#include <stdbool.h>

/*
 * Calls `ask(user)` in a child, which has of our files but the standard streams and `keep_fd` (-1: none), and returns
 * what it returned (0 to 255). -ETIMEDOUT: it did not within `timeout_ms`, and was killed; -EIO: it was ended by
 * something else; another negative errno: there could be no child. Only what `user` has in shared memory comes back.
 */
int rfs_child_ask(int (*ask)(void *user), void *user, int keep_fd, int timeout_ms);

/* Runs the program `argv[0]`, found as execvp(3) does, and waits for its end. Returns its exit status, 127 where there
 * is none, or a negative errno. `quiet`: what it prints goes nowhere. */
int rfs_child_run(const char *const argv[], bool quiet);

#endif
