/* SPDX-License-Identifier: MIT */
/*
 * daemon.c: fork, wait, detach. Invariant: the process that waits ends with 0 only when the other one has said that it
 * is ready; whatever happens to that one, it never waits for ever.
 */
#include "cli/daemon.h"
#include "cli/descriptors.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int rfs_daemon_start(struct rfs_daemon *daemon, bool background, int keep_fd, struct rfs_failure *failure)
{
	int fds[2];

	*daemon = (struct rfs_daemon){ .pipe_fd = -1, .background = background };
	if (!background)
		return 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -errno, "cannot start a daemon: %s; %s", strerror(errno),
				rfs_advice(errno, "stay in the foreground with -f"));
	fflush(NULL);
	daemon->child = fork();
	if (daemon->child < 0) {
		int error = errno;
		close(fds[0]);
		close(fds[1]);
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error, "cannot start a daemon: %s; end some processes",
				strerror(error));
	}
	daemon->pipe_fd = fds[daemon->child ? 0 : 1];
	close(fds[daemon->child ? 1 : 0]);
	if (daemon->child)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	/* A daemon that kept what its caller had open would make whoever reads the other end wait for ever. */
	const int keep[] = { daemon->pipe_fd, keep_fd };
	int r = rfs_descriptors_close(STDERR_FILENO + 1, keep, 2);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r,
				"cannot start a daemon: close_range is refused and /proc/self/fd not to be read (%s); "
				"mount /proc, or stay in the foreground with -f",
				strerror(-r));
	return 0;
}

/* The whole message: a failure, of which `line` may be cut, or nothing where the writer ended. */
static size_t receive(int fd, struct rfs_failure *ret_message)
{
	char *to = (char *) ret_message;
	size_t have = 0;

	while (have < sizeof(*ret_message)) {
		ssize_t n = read(fd, to + have, sizeof(*ret_message) - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t) n;
	}
	return have;
}

static int send_all(int fd, const void *data, size_t length)
{
	const char *from = data;

	while (length > 0) {
		ssize_t n = write(fd, from, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		from += n;
		length -= (size_t) n;
	}
	return 0;
}

static int fail_ended(pid_t child, struct rfs_failure *failure)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EIO,
				"the daemon was ended by signal %d (%s) before it was ready; %s", WTERMSIG(status),
				strsignal(WTERMSIG(status)),
				WTERMSIG(status) == SIGSYS
					? "look which system call its seccomp profile does not allow, with strace -f"
					: "start it again");
	return rfs_fail(failure, RFS_EXIT_SYSTEM, -EIO,
			"the daemon ended with status %d before it was ready; start it again", WEXITSTATUS(status));
}

int rfs_daemon_wait(struct rfs_daemon *daemon, struct rfs_failure *failure)
{
	size_t length = receive(daemon->pipe_fd, failure);

	close(daemon->pipe_fd);
	daemon->pipe_fd = -1;
	if (length != sizeof(*failure))
		return fail_ended(daemon->child, failure);
	failure->line[sizeof(failure->line) - 1] = '\0';
	return failure->status ? -EIO : 0;
}

int rfs_daemon_ready(struct rfs_daemon *daemon)
{
	static const struct rfs_failure none;

	daemon->ready = true;
	if (!daemon->background)
		return 0;
	setsid();
	int null = open(_PATH_DEVNULL, O_RDWR | O_CLOEXEC);
	if (chdir("/") < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		rfs_log(LOG_WARNING, "cannot leave the terminal: %s", strerror(errno));
	if (null > STDERR_FILENO)
		close(null);
	rfs_log_set_syslog(true);

	int r = send_all(daemon->pipe_fd, &none, sizeof(none));
	close(daemon->pipe_fd);
	daemon->pipe_fd = -1;
	return r;
}

int rfs_daemon_fail(struct rfs_daemon *daemon, const struct rfs_failure *failure)
{
	if (daemon->background && daemon->ready)
		rfs_log(LOG_ERR, "%s", failure->line);
	else if (!daemon->background || send_all(daemon->pipe_fd, failure, sizeof(*failure)) < 0)
		rfs_failure_print("reservefs", failure);
	return failure->status;
}
