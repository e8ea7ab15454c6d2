/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.c: the mount point. Invariant: the only mount that is ever taken away is one of this kind whose daemon is
 * gone.
 */
#include "cli/mountpoint.h"
#include "cli/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Crashed daemons can have left several mounts on top of each other. */
#define DEAD_MAX 64

/* How long one that was killed may take to be gone, and one that is alive to answer. */
#define DYING_MS 10000
#define ANSWER_MS 5000
#define POLL_MS 5

/* Of a tree of this kind. */
enum health {
	NONE, /* none is there */
	ALIVE,
	DEAD, /* its daemon is gone */
	HUNG, /* its daemon does not answer */
};

extern char **environ;

static int fail_find(struct rfs_failure *failure, const char *given, int error)
{
	switch (error) {
	case ENOENT:
		return rfs_fail(failure, RFS_EXIT_USAGE, -error, "MOUNTPOINT %s does not exist; create the directory",
				given);
	case ENOTDIR:
		return rfs_fail(failure, RFS_EXIT_USAGE, -error, "MOUNTPOINT %s is not a directory; name a directory",
				given);
	case ENOTCONN:
		return rfs_fail(failure, RFS_EXIT_MOUNT, -error,
				"another file system whose daemon is gone is mounted on %s; unmount it first", given);
	default:
		return rfs_fail(failure, RFS_EXIT_MOUNT, -error, "cannot use MOUNTPOINT %s: %s; name another directory",
				given, strerror(error));
	}
}

/* -EACCES is for the mount itself to report: only it knows whether this user may. */
static int is_empty(const char *path)
{
	const struct dirent *entry;
	bool empty = true;
	DIR *dir = opendir(path);

	if (!dir)
		return errno == EACCES ? 1 : -errno;
	while (empty && (entry = readdir(dir)))
		empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	closedir(dir);
	return empty;
}

static int look(const struct rfs_mountpoint *mp, const struct rfs_node *node, bool nonempty,
		struct rfs_failure *failure)
{
	struct stat st, repo;

	if (stat(mp->path, &st) < 0)
		return fail_find(failure, mp->path, errno);
	if (!S_ISDIR(st.st_mode))
		return fail_find(failure, mp->path, ENOTDIR);
	if (nonempty)
		return 0;
	if (!fstat(node->fd, &repo) && repo.st_dev == st.st_dev && repo.st_ino == st.st_ino)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -ENOTEMPTY,
				"MOUNTPOINT %s is REPO itself; name another directory, or add -o nonempty", mp->path);
	if (rfs_mounts_has_tree(mp->path))
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EBUSY,
				"another Repo is mounted on %s; unmount it first, or name another directory", mp->path);
	int empty = is_empty(mp->path);
	if (empty < 0)
		return fail_find(failure, mp->path, -empty);
	if (!empty)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -ENOTEMPTY,
				"MOUNTPOINT %s is not empty; name an empty directory, or add -o nonempty", mp->path);
	return 0;
}

static bool wait_child(pid_t pid, int *ret_status)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };

	for (int waited_ms = 0; waited_ms < ANSWER_MS; waited_ms += POLL_MS) {
		if (waitpid(pid, ret_status, WNOHANG) == pid)
			return true;
		nanosleep(&pause, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, ret_status, 0);
	return false;
}

/*
 * How the tree on `path` is. Asked by statfs, because stat is answered from what the kernel has kept of the root; and
 * by a process of its own, because a daemon that does not answer makes whoever asks wait for ever. Before there are
 * threads.
 */
static enum health ask(const char *path)
{
	int status;

	if (!rfs_mounts_has_tree(path))
		return NONE;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct statfs fs;
		_exit(statfs(path, &fs) < 0 && errno == ENOTCONN ? DEAD : ALIVE);
	}
	if (pid < 0)
		return ALIVE;
	if (!wait_child(pid, &status))
		return HUNG;
	return WIFEXITED(status) && WEXITSTATUS(status) == DEAD ? DEAD : ALIVE;
}

/* As ask. A daemon that is killed lets go of its lock a moment before the kernel knows that its mount is dead. */
static enum health ask_until_dead(const char *path)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	enum health health = ask(path);

	for (int waited_ms = 0; health == ALIVE && waited_ms < DYING_MS; waited_ms += POLL_MS) {
		nanosleep(&pause, NULL);
		health = ask(path);
	}
	return health;
}

int rfs_mountpoint_find(struct rfs_mountpoint *mp, const char *given, const struct rfs_node *node, bool nonempty,
			struct rfs_failure *failure)
{
	mp->path = realpath(given, NULL);
	if (!mp->path)
		return fail_find(failure, given, errno);
	enum health health = rfs_node_was_served_on(node, mp->path) ? ask_until_dead(mp->path) : ask(mp->path);
	if (health == HUNG)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EBUSY,
				"the tree that is mounted on %s does not answer; end its daemon and unmount it first",
				mp->path);
	mp->dead = health == DEAD;
	return mp->dead ? 0 : look(mp, node, nonempty, failure);
}

/* What a user without privileges has for it. 0, or a negative errno. */
static int run_fusermount(const char *path)
{
	const char *const argv[] = { "fusermount3", "-u", "-z", "-q", "--", path, NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;

	if (posix_spawn_file_actions_init(&actions))
		return -ENOMEM;
	int r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, _PATH_DEVNULL, O_WRONLY, 0);
	if (!r)
		r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *) argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPERM;
}

int rfs_mountpoint_clear(struct rfs_mountpoint *mp, const struct rfs_node *node, bool nonempty,
			 struct rfs_failure *failure)
{
	if (!mp->dead)
		return 0;
	for (int i = 0; i < DEAD_MAX && ask(mp->path) == DEAD; i++) {
		int r = umount2(mp->path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
		if (r == -EPERM)
			r = run_fusermount(mp->path);
		if (r < 0)
			return rfs_fail(
				failure, RFS_EXIT_MOUNT, r,
				"cannot take away the mount that a crashed daemon left on %s: %s; unmount it as root",
				mp->path, strerror(-r));
	}
	mp->dead = false;
	return look(mp, node, nonempty, failure);
}

void rfs_mountpoint_done(struct rfs_mountpoint *mp)
{
	free(mp->path);
	mp->path = NULL;
}
