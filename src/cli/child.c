/* SPDX-License-Identifier: MIT */
/*
 * child.c: processes that do one thing. Invariant: none outlives the process that started it, and waiting for one that
 * only asks ends at its deadline.
 */
#include "cli/child.h"
#include "cli/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 5

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

/* False: it had to be killed. What does not even die of that is left to init. */
static bool wait_until(pid_t pid, int timeout_ms, int *ret_status)
{
	for (int waited_ms = 0; waited_ms < timeout_ms; waited_ms += POLL_MS) {
		pid_t r = waitpid(pid, ret_status, WNOHANG);
		if (r == pid || (r < 0 && errno != EINTR))
			return r == pid;
		pause_ms(POLL_MS);
	}
	kill(pid, SIGKILL);
	for (int i = 0; i < 20 && waitpid(pid, ret_status, WNOHANG) == 0; i++)
		pause_ms(POLL_MS);
	return false;
}

int rfs_child_ask(int (*ask)(void *user), void *user, int keep_fd, int timeout_ms)
{
	int status = 0;

	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void) rfs_descriptors_close(STDERR_FILENO + 1, &keep_fd, 1);
		_exit(ask(user));
	}
	if (!wait_until(pid, timeout_ms, &status))
		return -ETIMEDOUT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

static void be_quiet(void)
{
	int null = open(_PATH_DEVNULL, O_RDWR | O_CLOEXEC);

	if (null >= 0 && dup2(null, STDOUT_FILENO) >= 0)
		dup2(null, STDERR_FILENO);
}

int rfs_child_run(const char *const argv[], bool quiet)
{
	sigset_t none;
	int status;

	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		umask(022);
		if (quiet)
			be_quiet();
		execvp(argv[0], (char *const *) argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}
