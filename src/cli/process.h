/* SPDX-License-Identifier: MIT */
/* process.h: waiting for the end of a process that is not our child. */
#ifndef RFS_CLI_PROCESS_H
#define RFS_CLI_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

struct rfs_process {
	pid_t pid;
	int fd; /* a pidfd, for which it does not matter that the pid is used again; or -1 */
};

/* Opens a process by its pid; where the kernel gives no pidfd it is looked after by the pid alone. */
void rfs_process_open(struct rfs_process *process, pid_t pid);

/* Waits for its end for `timeout_ms`. Whether it has ended; a process that nobody has waited for has. */
bool rfs_process_wait(const struct rfs_process *process, int timeout_ms);

void rfs_process_close(struct rfs_process *process);

#endif
