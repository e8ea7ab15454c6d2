/* SPDX-License-Identifier: MIT */
/*
 * asker.c: a process of its own that asks a file system how much it holds. Invariant: it holds nothing but the directory and its
 * end of a socket, and ends when the other end is closed; so it outlives the daemon only while it cannot be killed either.
 */
#include "repo/asker.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where what has been counted is kept in memory. Those that linux/magic.h lacks are F2FS, bcachefs and ZFS. */
static const unsigned long from_memory[] = {
	EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, RAMFS_MAGIC, 0xf2f52010, 0xca451a4e, 0x2fc12fc1,
};

struct answer {
	int error;
	struct statvfs vfs;
};

struct rfs_asker {
	pthread_mutex_t lock;
	int dirfd;
	int socket; /* lock; -1: there is no process */
	pid_t pid;  /* lock */
};

bool rfs_asker_is_needed(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	for (size_t i = 0; i < COUNT(from_memory); i++)
		if ((unsigned long) fs.f_type == from_memory[i])
			return false;
	return true;
}

/* A directory that is opened anew, as a path only: no lock that somebody has on `dirfd` lasts for as long as it is open. */
int rfs_asker_new(int dirfd, struct rfs_asker **ret_asker)
{
	_cleanup_fd_ int fd = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct rfs_asker *asker;

	if (fd < 0)
		return -errno;
	asker = calloc(1, sizeof *asker);
	if (!asker)
		return -ENOMEM;
	pthread_mutex_init(&asker->lock, NULL);
	asker->dirfd = fd;
	asker->socket = -1;
	fd = -1;
	*ret_asker = asker;
	return 0;
}

static void close_others(void)
{
	if (close_range(STDERR_FILENO, ~0U, 0) == 0)
		return;
	for (int fd = STDERR_FILENO; fd < 65536; fd++)
		close(fd);
}

/* What forks is a process with threads: the other one may call the kernel, and nothing else. */
static _Noreturn void answer_questions(int dirfd, int socket)
{
	struct answer answer;
	char question;

	prctl(PR_SET_NAME, "reservefs-ask");
	/* Both may have one of these numbers. */
	dirfd = fcntl(dirfd, F_DUPFD, STDERR_FILENO + 1);
	socket = fcntl(socket, F_DUPFD, STDERR_FILENO + 1);
	if (dup2(dirfd, STDIN_FILENO) < 0 || dup2(socket, STDOUT_FILENO) < 0)
		_exit(1);
	close_others();
	while (recv(STDOUT_FILENO, &question, 1, 0) == 1) {
		answer.error = fstatvfs(STDIN_FILENO, &answer.vfs) < 0 ? errno : 0;
		if (send(STDOUT_FILENO, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

/* It takes no signals but KILL: those that end the daemon, such as from a terminal, come to both. */
static pid_t fork_without_signals(void)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid != 0)
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static int start_locked(struct rfs_asker *asker)
{
	_cleanup_fd_ int theirs = -1;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	theirs = ends[1];
	asker->socket = ends[0];
	asker->pid = fork_without_signals();
	if (asker->pid == 0)
		answer_questions(asker->dirfd, theirs);
	if (asker->pid > 0)
		return 0;
	int error = errno;
	rfs_cleanup_fd(&asker->socket);
	asker->socket = -1;
	return -error;
}

/* One that waits for its file system is not waited for. */
static void stop_locked(struct rfs_asker *asker)
{
	if (asker->socket < 0)
		return;
	close(asker->socket);
	asker->socket = -1;
	for (int ms = 0; ms < 20 && waitpid(asker->pid, NULL, WNOHANG) == 0; ms++)
		usleep(1000);
}

static bool try_ask_locked(struct rfs_asker *asker, struct answer *ret_answer)
{
	ssize_t length;

	if (send(asker->socket, "?", 1, MSG_NOSIGNAL) < 0)
		return false;
	do
		length = recv(asker->socket, ret_answer, sizeof *ret_answer, 0);
	while (length < 0 && errno == EINTR);
	return length == (ssize_t) sizeof *ret_answer;
}

/* Where there can be no process, the caller asks, rather than that nobody does. */
static int ask_locked(struct rfs_asker *asker, struct statvfs *ret_vfs)
{
	struct answer answer;

	for (int tries = 0; tries < 2; tries++) {
		if (asker->socket < 0 && start_locked(asker) < 0)
			return fstatvfs(asker->dirfd, ret_vfs) < 0 ? -errno : 0;
		if (try_ask_locked(asker, &answer)) {
			*ret_vfs = answer.vfs;
			return -answer.error;
		}
		stop_locked(asker); /* somebody has killed it */
	}
	return -EIO;
}

int rfs_asker_ask(struct rfs_asker *asker, struct statvfs *ret_vfs)
{
	RFS_LOCK(&asker->lock);
	return ask_locked(asker, ret_vfs);
}

void rfs_asker_free(struct rfs_asker *asker)
{
	if (!asker)
		return;
	stop_locked(asker);
	close(asker->dirfd);
	pthread_mutex_destroy(&asker->lock);
	free(asker);
}
