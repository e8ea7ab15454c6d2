/* SPDX-License-Identifier: MIT */
/*
 * umount.c: unmounts a tree and waits for its daemon. Invariant: whoever hangs, this ends. Who serves the tree is found
 * out before it is unmounted, by the device of its file system, which the daemon's claim tells: neither the path, nor
 * what was mounted from where, would say it for certain.
 */
#include "cli/umount.h"
#include "cli/child.h"
#include "cli/claim.h"
#include "cli/keeper.h"
#include "cli/mounts.h"
#include "cli/mtab.h"
#include "cli/process.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* How long the daemon may take to store its last changes. The manual says so. */
#define ENDING_MS 30000

/* After which time to look whether somebody else keeps it; and how often, where the daemon is none of our pid
 * namespace. */
#define LOOK_MS 500
#define POLL_MS 20

struct tree {
	char *path;
	struct rfs_mount mount;
	bool has_daemon; /* one that is known */
	bool is_local;	 /* by its pid, too */
	struct rfs_claim claim;
	struct rfs_process process;
};

static void cleanup_tree(struct tree *t)
{
	rfs_process_close(&t->process);
	free(t->path);
}

static int enter(const char *mount_namespace, struct rfs_failure *failure)
{
	char name[64];
	bool is_pid = mount_namespace[0] && !mount_namespace[strspn(mount_namespace, "0123456789")];

	if (is_pid)
		snprintf(name, sizeof(name), "/proc/%.20s/ns/mnt", mount_namespace);
	_cleanup_fd_ int fd = open(is_pid ? name : mount_namespace, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -errno,
				"cannot enter the mount namespace %s: %s; name one that exists, as root",
				mount_namespace, strerror(errno));
	return 0;
}

static int find_mount(struct tree *t, const char *given, struct rfs_failure *failure)
{
	t->path = realpath(given, NULL);
	if (!t->path)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -errno, "cannot find %s: %s; name the mount point", given,
				strerror(errno));
	int r = rfs_mounts_at(AT_FDCWD, t->path, &t->mount);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot see what is mounted on %s: %s; use umount -i",
				t->path, strerror(-r));
	if (r == 0 || strcmp(t->mount.path, t->path) != 0)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EINVAL, "nothing is mounted on %s; name the mount point",
				t->path);
	if (strcmp(t->mount.type, RFS_TREE_TYPE) != 0)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EINVAL,
				"a file system of the type %s is mounted on %s; use umount(8)", t->mount.type, t->path);
	return 0;
}

static bool is_of_tree(const struct rfs_claimed *claimed, void *user)
{
	struct tree *t = user;

	if (claimed->claim.minor != minor(t->mount.device) || claimed->claim.minor == 0)
		return false;
	t->claim = claimed->claim;
	return true;
}

/* The pid is opened before it is looked at again: then it cannot have become another process's in between. */
static void find_daemon(struct tree *t)
{
	t->has_daemon = rfs_claim_each(is_of_tree, t) == 1;
	if (!t->has_daemon || !rfs_claim_is_local(&t->claim))
		return;
	rfs_process_open(&t->process, t->claim.pid);
	t->has_daemon = rfs_claim_each(is_of_tree, t) == 1;
	t->is_local = t->has_daemon;
}

static int fail_unmount(const struct tree *t, int error, struct rfs_failure *failure)
{
	if (error == EBUSY)
		return rfs_fail(
			failure, RFS_EXIT_MOUNT, -error,
			"%s is busy; end who uses it, see fuser -vm %s, and unmount what is mounted in it, or add -l",
			t->path, t->path);
	return rfs_fail(failure, RFS_EXIT_MOUNT, -error,
			"cannot unmount %s: %s; look with findmnt whether it still is mounted", t->path,
			strerror(error));
}

static int run_fusermount(const struct tree *t, bool lazy, bool quiet)
{
	const char *const argv[] = { "fusermount3", "-u", "--", t->path, NULL };
	const char *const lazy_argv[] = { "fusermount3", "-u", "-z", "--", t->path, NULL };

	return rfs_child_run(lazy ? lazy_argv : argv, quiet);
}

/* fusermount3 is for users; it says itself what is wrong. */
static int unmount_as_user(const struct tree *t, bool lazy, struct rfs_failure *failure)
{
	int status = run_fusermount(t, lazy, false);

	if (status == 0)
		return 0;
	if (status == 127 || status < 0)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EPERM,
				"no permission to unmount %s, and fusermount3 cannot be run; unmount it as root, or "
				"install the package fuse3",
				t->path);
	return rfs_fail(failure, RFS_EXIT_MOUNT, -EPERM, "%s", "");
}

static int unmount_with(const struct tree *t, int flags, struct rfs_failure *failure)
{
	if (umount2(t->path, flags | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno == EPERM)
		return unmount_as_user(t, flags & MNT_DETACH, failure);
	return fail_unmount(t, errno, failure);
}

/* Where nobody uses it, no laziness is called for, and its end can be waited for. */
static int unmount_lazily(const struct tree *t, struct rfs_failure *failure)
{
	if (umount2(t->path, UMOUNT_NOFOLLOW) == 0 || (errno == EPERM && run_fusermount(t, false, true) == 0))
		return 0;
	int r = unmount_with(t, MNT_DETACH, failure);
	return r < 0 ? r : 1;
}

/* 1: it is not unmounted, or not to be waited for. */
static int unmount(const struct tree *t, const struct rfs_umount_options *o, struct rfs_failure *failure)
{
	if (o->lazy)
		return unmount_lazily(t, failure);
	int r = unmount_with(t, o->force ? MNT_FORCE : 0, failure);
	if (r == -EBUSY && o->read_only &&
	    mount(NULL, t->path, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0)
		return 1;
	return r;
}

static bool has_ended(const struct tree *t, int timeout_ms)
{
	struct tree again = { .mount = t->mount };

	if (t->is_local)
		return rfs_process_wait(&t->process, timeout_ms);
	for (int waited_ms = 0; rfs_claim_each(is_of_tree, &again) == 1; waited_ms += POLL_MS) {
		if (waited_ms >= timeout_ms)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
	}
	return true;
}

/* Whether somebody else keeps the tree; then its daemon goes on, and that is no failure. */
static bool is_kept(const struct tree *t, bool verbose)
{
	struct rfs_keeper keeper;

	rfs_keeper_find(t->mount.device, t->is_local ? t->claim.pid : -1, &keeper);
	if (keeper.how == RFS_KEEPING_UNKNOWN)
		return false;
	if (verbose)
		printf("umount.reservefs: the daemon of %s goes on, because pid %d (%s) %s\n", t->path,
		       (int) keeper.pid, keeper.name,
		       keeper.how == RFS_KEEPING_NAMESPACE ? "has it mounted in another mount namespace" : "uses it");
	return true;
}

static int wait_for_end(const struct tree *t, bool verbose, struct rfs_failure *failure)
{
	struct rfs_mount other;

	if (!t->has_daemon || rfs_mounts_by_device(0, t->mount.device, &other) == 1)
		return 0;
	if (has_ended(t, LOOK_MS) || is_kept(t, verbose) || has_ended(t, ENDING_MS - LOOK_MS))
		return 0;
	if (!t->is_local)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ETIMEDOUT,
				"%s is unmounted, but its daemon, in another container, has not ended within %d "
				"seconds; look there what holds it up",
				t->path, ENDING_MS / 1000);
	return rfs_fail(failure, RFS_EXIT_SYSTEM, -ETIMEDOUT,
			"%s is unmounted, but its daemon, pid %d, has not ended within %d seconds; look at its disk, "
			"or kill it (kill -KILL %d), which loses nothing that it has answered",
			t->path, (int) t->claim.pid, ENDING_MS / 1000, (int) t->claim.pid);
}

int rfs_umount_run(const struct rfs_umount_options *o, struct rfs_failure *failure)
{
	_cleanup_(cleanup_tree) struct tree t = { .process.fd = -1 };
	int r = o->mount_namespace ? enter(o->mount_namespace, failure) : 0;

	if (!r)
		r = find_mount(&t, o->mountpoint, failure);
	if (r < 0)
		return r;
	find_daemon(&t);
	r = unmount(&t, o, failure);
	if (r < 0)
		return r;
	rfs_mtab_forget(t.path);
	if (r == 0)
		r = wait_for_end(&t, o->verbose, failure);
	if (r >= 0 && o->verbose)
		printf("umount.reservefs: %s %s\n", t.path,
		       rfs_mounts_has_tree(t.path) ? "is now read-only" : "unmounted");
	return r < 0 ? r : 0;
}
