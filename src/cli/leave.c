/* SPDX-License-Identifier: MIT */
/*
 * leave.c: the last thing that the process does. To close a file can wait for its storage, as FUSE asks it each time, and so
 * can the end of a process, which closes all that is open and cannot even be killed then. Invariant: a storage that does
 * not answer keeps no process that wants to end. Another one, which has the same table of open files, closes them: until
 * it has done so that table stays, and with it the locks on what is in it, and ending does not close anything.
 */
#include "cli/leave.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 1000
#define FILES_MOST 65536 /* where they have to be closed one by one */

static void close_from(int first)
{
	if (close_range((unsigned) first, ~0U, 0) == 0)
		return;
	for (int fd = first; fd < FILES_MOST; fd++)
		close(fd);
}

/* What forks is a process with threads: the other one may call the kernel, and nothing else. */
static pid_t start_closing(void)
{
	pid_t pid = (pid_t) syscall(SYS_clone, CLONE_FILES, 0, 0, 0, 0);

	if (pid != 0)
		return pid;
	prctl(PR_SET_NAME, "reservefs-close");
	close_from(STDERR_FILENO + 1);
	_exit(0);
}

static bool ends_in_time(pid_t pid)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		if (waitpid(pid, NULL, WNOHANG | __WALL) != 0)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

void rfs_leave_files(void)
{
	pid_t pid = start_closing();

	if (pid < 0 || ends_in_time(pid))
		return;
	/* Whoever reads them is not to wait for the other process. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		close(fd);
}
