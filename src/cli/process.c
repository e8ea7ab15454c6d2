/* SPDX-License-Identifier: MIT */
/* process.c: by pidfd_open(2), or where that is not to be had, by looking into /proc again and again. */
#include "cli/process.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 10

void rfs_process_open(struct rfs_process *process, pid_t pid)
{
	process->pid = pid;
	process->fd = (int) syscall(SYS_pidfd_open, pid, 0);
}

/* PID (NAME) STATE ... */
static bool is_gone(pid_t pid)
{
	char name[64], line[512];
	bool gone = true;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int) pid);
	FILE *file = fopen(name, "re");
	if (!file)
		return true;
	if (fgets(line, sizeof(line), file)) {
		const char *end = strrchr(line, ')');
		gone = end && end[1] == ' ' && strchr("ZX", end[2]);
	}
	fclose(file);
	return gone;
}

static bool look_again(pid_t pid, int timeout_ms)
{
	for (int waited_ms = 0; !is_gone(pid); waited_ms += POLL_MS) {
		if (waited_ms >= timeout_ms)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
	}
	return true;
}

bool rfs_process_wait(const struct rfs_process *process, int timeout_ms)
{
	struct pollfd end = { .fd = process->fd, .events = POLLIN };

	return process->fd < 0 ? look_again(process->pid, timeout_ms) : poll(&end, 1, timeout_ms) > 0;
}

void rfs_process_close(struct rfs_process *process)
{
	if (process->fd >= 0)
		close(process->fd);
	process->fd = -1;
}
