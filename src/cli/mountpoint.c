/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.c: the mount point. Invariant: the only mount that is ever taken away is one of this kind whose daemon is
 * gone.
 */
#include "cli/mountpoint.h"
#include "cli/child.h"
#include "cli/health.h"
#include "cli/mounts.h"
#include "cli/passed.h"
#include "util/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Crashed daemons can have left several mounts on top of each other. */
#define DEAD_MAX 64

/* How long one that was killed may take to be gone. */
#define DYING_MS 10000
#define POLL_MS 5

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
		return rfs_fail(failure, RFS_EXIT_MOUNT, -error, "cannot use MOUNTPOINT %s: %s; %s", given,
				strerror(error), rfs_advice(error, "name another directory"));
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

	/* First, because root is not let into a user's tree. */
	if (!nonempty && rfs_mounts_has_tree(mp->path))
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EBUSY,
				"another Repo is mounted on %s; unmount it first, or name another directory", mp->path);
	if (stat(mp->path, &st) < 0)
		return fail_find(failure, mp->path, errno);
	if (!S_ISDIR(st.st_mode))
		return fail_find(failure, mp->path, ENOTDIR);
	if (nonempty)
		return 0;
	if (!fstat(node->fd, &repo) && repo.st_dev == st.st_dev && repo.st_ino == st.st_ino)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -ENOTEMPTY,
				"MOUNTPOINT %s is REPO itself; name another directory, or add -o nonempty", mp->path);
	int empty = is_empty(mp->path);
	if (empty < 0)
		return fail_find(failure, mp->path, -empty);
	if (!empty)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -ENOTEMPTY,
				"MOUNTPOINT %s is not empty; name an empty directory, or add -o nonempty", mp->path);
	return 0;
}

/* How the tree on `path` is. */
static enum rfs_health ask(const char *path)
{
	_cleanup_fd_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && rfs_mounts_is_tree(fd, path) ? rfs_health_of(fd) : RFS_HEALTH_NONE;
}

/* As ask. A daemon that is killed lets go of its lock a moment before the kernel knows that its mount is dead. */
static enum rfs_health ask_until_dead(const char *path)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	enum rfs_health health = ask(path);

	for (int waited_ms = 0; health == RFS_HEALTH_ALIVE && waited_ms < DYING_MS; waited_ms += POLL_MS) {
		nanosleep(&pause, NULL);
		health = ask(path);
	}
	return health;
}

int rfs_mountpoint_take(struct rfs_mountpoint *mp, const char *given, struct rfs_failure *failure)
{
	int fd = rfs_passed_descriptor(given);
	char *path = NULL;

	int r = rfs_passed_find(fd, &mp->device, &path, failure);
	if (r < 0)
		return r;
	mp->fd = fd;
	mp->unknown = !path;
	mp->path = path ? path : strdup(given);
	return mp->path
		       ? 0
		       : rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, looking for the mount; try again");
}

int rfs_mountpoint_find(struct rfs_mountpoint *mp, const char *given, const struct rfs_node *node, bool nonempty,
			struct rfs_failure *failure)
{
	mp->path = realpath(given, NULL);
	if (!mp->path)
		return fail_find(failure, given, errno);
	enum rfs_health health = rfs_node_was_served_on(node, mp->path) ? ask_until_dead(mp->path) : ask(mp->path);
	if (health == RFS_HEALTH_HUNG)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EBUSY,
				"the tree that is mounted on %s does not answer; end its daemon and unmount it first",
				mp->path);
	mp->dead = health == RFS_HEALTH_DEAD;
	return mp->dead ? 0 : look(mp, node, nonempty, failure);
}

/* What others have mounted in a dead tree would go with it. */
static bool lies_inside(const struct rfs_mount *mount, void *user)
{
	const struct rfs_mount *dead = user;

	return mount->parent_id == dead->id;
}

static int take_away(const char *path)
{
	const char *const fusermount[] = { "fusermount3", "-u", "-z", "-q", "--", path, NULL };
	struct rfs_mount dead;

	if (rfs_mounts_at(AT_FDCWD, path, &dead) == 1 && rfs_mounts_each(0, lies_inside, &dead) == 1)
		return -EBUSY;
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return rfs_child_run(fusermount, true) == 0 ? 0 : -EPERM;
}

int rfs_mountpoint_clear(struct rfs_mountpoint *mp, const struct rfs_node *node, bool nonempty,
			 struct rfs_failure *failure)
{
	if (!mp->dead)
		return 0;
	for (int i = 0; i < DEAD_MAX && ask(mp->path) == RFS_HEALTH_DEAD; i++) {
		int r = take_away(mp->path);
		if (r == -EBUSY)
			return rfs_fail(failure, RFS_EXIT_MOUNT, r,
					"cannot take away the mount that a crashed daemon left on %s: another file "
					"system is mounted in it; unmount that one first, see findmnt -R %s",
					mp->path, mp->path);
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
