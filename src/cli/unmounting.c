/* SPDX-License-Identifier: MIT */
/*
 * unmounting.c: takes the daemon's own mount away. Invariant: no mount but that one is unmounted, whatever has become
 * of the path that it was mounted on; where it cannot be taken away without another one it stays, and the log says so.
 *
 * That the id is still that of our mount, and not of another one that came later, is known while the kernel holds the
 * other end of our connection: then our file system is there, and no other one has its device.
 */
#include "cli/child.h"
#include "cli/covered.h"
#include "cli/health.h"
#include "cli/mounting.h"
#include "cli/mounts.h"
#include "cli/mtab.h"
#include "fs/fs.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

/* How many mounts on top of each other are followed. */
#define LAYERS_MAX 16

/* From the directory that it was in, and by the path that it has now. Returns how many. */
static size_t places_of(const struct rfs_mounting *m, const struct rfs_mount *now, struct rfs_place ret_places[2])
{
	size_t count = 0;

	if (m->parent_fd >= 0)
		ret_places[count++] = (struct rfs_place){ m->parent_fd, m->name };
	ret_places[count++] = (struct rfs_place){ AT_FDCWD, now->path };
	return count;
}

static bool is_our_mount_at(const struct rfs_mounting *m, const struct rfs_place *place)
{
	struct rfs_mount mount;

	return rfs_mounts_at(place->dirfd, place->name, &mount) == 1 && mount.id == m->id;
}

/* False: another mount lies on it, or on what leads to it. */
static bool find(const struct rfs_mounting *m, const struct rfs_mount *now, struct rfs_place *ret_place)
{
	struct rfs_place places[2];
	size_t count = places_of(m, now, places);

	for (size_t i = 0; i < count; i++) {
		if (is_our_mount_at(m, &places[i])) {
			*ret_place = places[i];
			return true;
		}
	}
	return false;
}

/* What lies on top of our mount, through any number of others. */
static bool lies_on(const struct rfs_mount *top, int id)
{
	struct rfs_mount mount = *top;

	for (int i = 0; i < LAYERS_MAX && mount.parent_id != id; i++)
		if (rfs_mounts_by_id(mount.parent_id, &mount) != 1)
			return false;
	return mount.parent_id == id;
}

/* Where our mount is covered, and by what. False: it is not that which is in the way. */
static bool find_cover(const struct rfs_mounting *m, const struct rfs_mount *now, struct rfs_place *ret_place,
		       struct rfs_mount *ret_top)
{
	struct rfs_place places[2];
	size_t count = places_of(m, now, places);

	for (size_t i = 0; i < count; i++) {
		if (rfs_mounts_at(places[i].dirfd, places[i].name, ret_top) == 1 && lies_on(ret_top, m->id)) {
			*ret_place = places[i];
			return true;
		}
	}
	return false;
}

static int detach(const struct rfs_place *place)
{
	if (place->dirfd != AT_FDCWD && fchdir(place->dirfd) < 0)
		return -errno;
	int r = umount2(place->name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
	return chdir("/") < 0 && !r ? -errno : r;
}

/* As a user without privileges has to: by the path, if that leads to our mount. */
static int detach_as_user(const struct rfs_mounting *m, const char *path)
{
	const char *const argv[] = { "fusermount3", "-u", "-z", "-q", "--", path, NULL };
	const struct rfs_place by_path = { AT_FDCWD, path };

	return (m->id < 0 || is_our_mount_at(m, &by_path)) && rfs_child_run(argv, true) == 0 ? 0 : -EPERM;
}

static int detach_anyhow(const struct rfs_mounting *m, const struct rfs_place *place, const char *path)
{
	int r = detach(place);

	return r == -EPERM ? detach_as_user(m, path) : r;
}

struct beneath {
	const struct rfs_mount *ours;
	struct rfs_mount *ret_other;
};

static bool lies_inside(const struct rfs_mount *mount, void *user)
{
	struct beneath *b = user;

	if (mount->parent_id != b->ours->id || !strcmp(mount->path, b->ours->path))
		return false;
	*b->ret_other = *mount;
	return true;
}

/* To detach our mount would detach what others have mounted in it. */
static bool has_mounts_inside(const struct rfs_mount *now, struct rfs_mount *ret_other)
{
	struct beneath b = { now, ret_other };

	return rfs_mounts_each(0, lies_inside, &b) == 1;
}

static void undo_covered(const struct rfs_mounting *m, const struct rfs_mount *now, int state_fd)
{
	struct rfs_place place;
	struct rfs_mount top;

	if (!find_cover(m, now, &place, &top))
		rfs_log(LOG_WARNING,
			"the tree stays mounted on %s, without a daemon, because another mount hides the way to it; "
			"unmount that one, and then this one or start it there again",
			now->path);
	else if (rfs_covered_unmount(now, &place, state_fd) < 0)
		rfs_log(LOG_WARNING,
			"the tree stays mounted on %s, without a daemon, beneath another mount (%s); unmount that one, "
			"and then this one or start it there again",
			now->path, top.type);
}

static void undo_in_sight(const struct rfs_mounting *m, const struct rfs_mount *now, const struct rfs_place *place)
{
	int r = detach_anyhow(m, place, now->path);

	if (r < 0)
		rfs_log(LOG_WARNING, "the tree stays mounted on %s, without a daemon: %s; unmount it as root",
			now->path, strerror(-r));
}

static bool is_dead(const struct rfs_place *place)
{
	_cleanup_fd_ int fd = openat(place->dirfd, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && rfs_health_of(fd) == RFS_HEALTH_DEAD;
}

static bool is_there(const struct rfs_mounting *m)
{
	struct rfs_mount now;

	return rfs_mounts_by_id(m->id, &now) == 1 && now.device == m->device && strcmp(now.type, RFS_TREE_TYPE) == 0;
}

/* umount -f aborts the connection first, and takes the mount away then: that is the end that was asked for. The kernel tells of
 * each change of its mounts by POLLPRI. */
bool rfs_mounting_was_aborted(const struct rfs_mounting *m)
{
	_cleanup_fd_ int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	struct pollfd mounts = { .fd = fd, .events = POLLPRI };
	int64_t until = rfs_now_ns() + RFS_NS_A_SECOND, left;

	if (m->id < 0 || fd < 0)
		return false;
	while (is_there(m)) {
		left = (until - rfs_now_ns()) / RFS_NS_A_MS;
		if (left <= 0)
			return true;
		(void) poll(&mounts, 1, (int) left);
	}
	return false;
}

void rfs_mounting_undo(const struct rfs_mounting *m, const struct rfs_fs *fs, int state_fd)
{
	const struct rfs_place by_path = { AT_FDCWD, m->path };
	bool connected = rfs_fs_is_connected(fs);
	struct rfs_mount now, other;
	struct rfs_place place;

	if (m->id < 0) {
		if (connected && m->parent_fd >= 0)
			(void) detach_anyhow(m, &by_path, m->path);
		return;
	}
	if (!is_there(m) || rfs_mounts_by_id(m->id, &now) != 1)
		return; /* somebody else was faster */
	bool in_sight = find(m, &now, &place);
	/* A connection that was aborted leaves a mount that is dead. If it lives it is another daemon's. */
	if (!connected && !(in_sight && is_dead(&place)))
		return;
	if (has_mounts_inside(&now, &other))
		rfs_log(LOG_WARNING,
			"the tree stays mounted on %s, without a daemon, because %s is mounted in it; unmount that one "
			"and then this one",
			now.path, other.path);
	else if (in_sight)
		undo_in_sight(m, &now, &place);
	else
		undo_covered(m, &now, state_fd);
	/* mount --move has it remembered by its new path. */
	rfs_mtab_forget(now.path);
}
