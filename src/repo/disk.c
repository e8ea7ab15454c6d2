/* SPDX-License-Identifier: MIT */
/*
 * disk.c: the Repo that is a directory on the storage being sold.
 *
 * Every figure comes from one fstatvfs of that directory, so that they belong together. Where there is doubt whether
 * what is stored is in the Repo, none of it counts as stored: then less is for sale, never more.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "repo/backend.h"
#include "util/checked.h"
#include "util/cleanup.h"

struct disk_repo {
	struct rfs_repo base;
	int fd;
	uint64_t capacity_bytes; /* or RFS_CAPACITY_MAX */
	bool is_root;            /* all that is stored on the file system is stored in the Repo */
};

static inline void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* blocks * block_bytes, at most RFS_BYTES_MAX. */
static uint64_t to_bytes(uint64_t blocks, uint64_t block_bytes)
{
	uint64_t bytes;

	if (__builtin_mul_overflow(blocks, block_bytes, &bytes))
		return RFS_BYTES_MAX;
	return rfs_min(bytes, RFS_BYTES_MAX);
}

static int disk_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	const struct disk_repo *d = (const struct disk_repo *) repo;
	struct rfs_figures f = {.reserved = reserved_bytes};
	struct statvfs vfs;
	uint64_t unfilled;

	if (fstatvfs(d->fd, &vfs) < 0)
		return -errno;

	f.capacity = d->capacity_bytes == RFS_CAPACITY_MAX ? to_bytes(vfs.f_blocks, vfs.f_frsize) : d->capacity_bytes;
	f.stored = d->is_root ? to_bytes(rfs_sub_or_zero(vfs.f_blocks, vfs.f_bfree), vfs.f_frsize) : 0;
	f.free = to_bytes(vfs.f_bavail, vfs.f_frsize);

	unfilled = rfs_sub_or_zero(reserved_bytes, f.stored);
	f.available = rfs_min(rfs_sub_or_zero(f.capacity, reserved_bytes), rfs_sub_or_zero(f.free, unfilled));

	*ret_figures = f;
	return 0;
}

static void disk_close(struct rfs_repo *repo)
{
	struct disk_repo *d = (struct disk_repo *) repo;

	rfs_cleanup_fd(&d->fd);
	free(d);
}

static const struct rfs_repo_ops disk_ops = {
	.name = "disk",
	.figures = disk_figures,
	.reserve = rfs_repo_count_reserve,
	.release = rfs_repo_count_release,
	.close = disk_close,
};

/* Whether the mount `mount_id` shows its file system from the root on, rather than a directory of it (a bind mount, a
 * btrfs subvolume). Where that cannot be read, it doesn't. */
static bool mount_shows_root(uint64_t mount_id)
{
	_cleanup_(cleanup_file) FILE *mountinfo = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	if (!mountinfo)
		return false;

	while (getline(&line, &size, mountinfo) > 0) {
		unsigned long long id;
		char root[3]; /* enough to tell "/" from anything longer */

		if (sscanf(line, "%llu %*u %*s %2s", &id, root) == 2 && id == mount_id)
			return strcmp(root, "/") == 0;
	}
	return false;
}

/*
 * Whether `fd` is the root of its own file system, so that all that the file system stores is stored in the Repo:
 *  - it is where a mount begins;
 *  - that mount shows the file system from its root on. A btrfs subvolume mounted by itself does not, as the
 *    figures are those of the whole file system;
 *  - the file system has figures of its own: an overlay tells those of the file system below its upper directory,
 *    which stores other things too.
 */
static bool is_file_system_root(int fd)
{
	struct statx stx;
	struct statfs fs;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 || !(stx.stx_mask & STATX_MNT_ID))
		return false;
	if (!(stx.stx_attributes_mask & stx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return false;
	if (fstatfs(fd, &fs) < 0 || fs.f_type == OVERLAYFS_SUPER_MAGIC)
		return false;
	return mount_shows_root(stx.stx_mnt_id);
}

int rfs_repo_open_disk(int dirfd, uint64_t capacity_bytes, struct rfs_repo **ret_repo)
{
	_cleanup_fd_ int fd = -1;
	struct disk_repo *d;

	if (capacity_bytes != RFS_CAPACITY_MAX && capacity_bytes > RFS_BYTES_MAX)
		return -EINVAL;

	fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;

	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct disk_repo){
		.base.ops = &disk_ops,
		.fd = fd,
		.capacity_bytes = capacity_bytes,
		.is_root = is_file_system_root(fd),
	};
	fd = -1;

	*ret_repo = &d->base;
	return 0;
}
