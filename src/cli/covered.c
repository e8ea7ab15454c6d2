/* SPDX-License-Identifier: MIT */
/*
 * covered.c: unmounting what other mounts lie on. umount2(2) knows mounts by their paths alone, and a path leads to the
 * one on top. There are two ways round that, of which one or the other is open:
 *
 *   - Where the mount point lies on a mount that is shared, to unmount there in another mount namespace does the same
 * in ours, and the kernel then lets what lay on top take the place. So, in a namespace that nobody else ever sees, the
 * upper mounts are unmounted without telling anybody, and then, told to everybody, ours. It is done at once or not at
 * all.
 *   - Where nothing is shared, the upper mounts are moved aside and back.
 *
 * Invariant: whatever fails half-way, the upper mounts are where they were, or it is logged where they are.
 */
#include "cli/covered.h"
#include "cli/child.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the upper mounts are put. */
#define ASIDE_NAME "aside"

/* How many there may be. */
#define COVERS_MAX 16

/* What is to be done in the other namespace takes no time; this is for a machine that is very busy. */
#define NAMESPACE_MS 10000

struct in_namespace {
	const struct rfs_mount *ours;
	const struct rfs_mount *parent;
	const struct rfs_place *place;
};

/* In a namespace of its own mounts have other ids, but the same devices. */
static int unmount_covers(const struct rfs_mount *ours, const char *name)
{
	struct rfs_mount top;

	for (int i = 0; i < COVERS_MAX; i++) {
		int r = rfs_mounts_at(AT_FDCWD, name, &top);
		if (r != 1)
			return r < 0 ? r : -ENOENT;
		if (top.device == ours->device)
			return strcmp(top.type, RFS_TREE_TYPE) == 0 ? 0 : -ENOENT;
		if (umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return -errno;
	}
	return -ELOOP;
}

/* In a child. The copy of the parent, taken before the namespaces part, stays one of those that are told of each other.
 */
static int unmount_in_namespace(void *user)
{
	const struct in_namespace *n = user;
	int shared;

	if (fchdir(n->place->dirfd) < 0 ||
	    (shared = open_tree(AT_FDCWD, n->parent->path, OPEN_TREE_CLONE | O_CLOEXEC)) < 0)
		return errno;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return errno;
	int r = unmount_covers(n->ours, n->place->name);
	if (r < 0)
		return -r;
	if (move_mount(shared, "", AT_FDCWD, n->parent->path, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_SET_GROUP) < 0)
		return errno;
	return umount2(n->place->name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? errno : 0;
}

static int unmount_shared(const struct rfs_mount *ours, const struct rfs_mount *parent, const struct rfs_place *place)
{
	struct in_namespace n = { ours, parent, place };
	struct rfs_mount mount;

	/* Its path must lead to it, here and so there. */
	if (place->dirfd < 0 || rfs_mounts_at(AT_FDCWD, parent->path, &mount) != 1 || mount.id != parent->id)
		return -EBUSY;
	int r = rfs_child_ask(unmount_in_namespace, &n, place->dirfd, NAMESPACE_MS);
	if (r != 0)
		return r < 0 ? r : -r;
	return rfs_mounts_by_id(ours->id, &mount) == 0 ? 0 : -EBUSY;
}

static int move(const struct rfs_place *from, const struct rfs_place *to)
{
	return move_mount(from->dirfd, from->name, to->dirfd, to->name, 0) < 0 ? -errno : 0;
}

static bool is_at(const struct rfs_mount *ours, const struct rfs_place *place)
{
	struct rfs_mount mount;

	return rfs_mounts_at(place->dirfd, place->name, &mount) == 1 && mount.id == ours->id;
}

static int uncover(const struct rfs_mount *ours, const struct rfs_place *place, const struct rfs_place *aside,
		   int *ret_moved)
{
	int r = 0;

	for (*ret_moved = 0; !r && !is_at(ours, place); *ret_moved += !r)
		r = *ret_moved < COVERS_MAX ? move(place, aside) : -ELOOP;
	return r;
}

static void cover_again(const struct rfs_place *aside, const struct rfs_place *place, const char *path, int moved)
{
	for (; moved > 0; moved--) {
		int r = move(aside, place);
		if (r < 0) {
			rfs_log(LOG_ERR,
				"what was mounted on %s is now on REPO/.reservefs/" ASIDE_NAME
				", because it cannot be moved back: %s; do that with mount --move",
				path, strerror(-r));
			return;
		}
	}
}

static int unmount_moving(const struct rfs_mount *ours, const struct rfs_place *place, int state_fd)
{
	const struct rfs_place aside = { state_fd, ASIDE_NAME };
	int moved;

	if (mkdirat(state_fd, ASIDE_NAME, 0700) < 0 && errno != EEXIST)
		return -errno;
	int r = uncover(ours, place, &aside, &moved);
	if (!r && place->dirfd != AT_FDCWD && fchdir(place->dirfd) < 0)
		r = -errno;
	if (!r && umount2(place->name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		r = -errno;
	cover_again(&aside, place, ours->path, moved);
	unlinkat(state_fd, ASIDE_NAME, AT_REMOVEDIR);
	return chdir("/") < 0 && !r ? -errno : r;
}

int rfs_covered_unmount(const struct rfs_mount *ours, const struct rfs_place *place, int state_fd)
{
	struct rfs_mount parent, aside;

	if (rfs_mounts_by_id(ours->parent_id, &parent) != 1)
		return -EBUSY;
	if (parent.is_shared)
		return unmount_shared(ours, &parent, place);
	/* The kernel moves nothing off a shared mount, and what is moved onto one shows in other namespaces. */
	if (ours->is_shared || rfs_mounts_of(state_fd, &aside) != 1 || aside.is_shared)
		return -EBUSY;
	return unmount_moving(ours, place, state_fd);
}
