/* SPDX-License-Identifier: MIT */
/*
 * sqlite_blocks.c: whether a file's blocks are its own and can be overwritten in place, judged by what they are now.
 *
 * A file's length says nothing about that: its blocks may be shared with a copy (reflink, snapshot, deduplication), compressed,
 * missing (a hole), or in a file system that writes elsewhere than it reads. To overwrite such a block takes another one, which
 * a full disk does not have.
 *
 * Invariant: what a file system does not tell is not judged. It takes one call for each EXTENTS extents, and reads no data.
 */
#include "sqlite.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

/* What is asked for at once: some 7 KiB on the stack. */
#define EXTENTS 128

union map {
	struct fiemap head;
	char room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
};

static enum rfs_blocks_fault fault_of(const struct fiemap_extent *extent)
{
	if (extent->fe_flags & FIEMAP_EXTENT_SHARED)
		return RFS_BLOCKS_SHARED;
	if (extent->fe_flags & FIEMAP_EXTENT_ENCODED)
		return RFS_BLOCKS_ENCODED;
	return RFS_BLOCKS_FINE;
}

/* Blocks that were not given a place yet will be; of others without one nothing is known. */
static bool is_told(const struct fiemap_extent *extent)
{
	return (extent->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC)) != FIEMAP_EXTENT_UNKNOWN;
}

/* Has what is still to be written find its place first. */
static int ask(int fd, int64_t from, int64_t end, union map *ret_map)
{
	memset(&ret_map->head, 0, sizeof(ret_map->head));
	ret_map->head.fm_start = (uint64_t) from;
	ret_map->head.fm_length = (uint64_t) (end - from);
	ret_map->head.fm_flags = FIEMAP_FLAG_SYNC;
	ret_map->head.fm_extent_count = EXTENTS;
	if (ioctl(fd, FS_IOC_FIEMAP, &ret_map->head) == 0)
		return 0;
	return errno == EIO || errno == ENOMEM || errno == EINTR ? -errno : -EOPNOTSUPP;
}

/* Goes on to `to`, all of it with `fault`. False: what was found before ends there. */
static bool take(struct rfs_blocks *found, enum rfs_blocks_fault fault, int64_t to)
{
	if (fault != found->fault && found->fault != RFS_BLOCKS_FINE)
		return false;
	if (fault != found->fault)
		found->from = found->to;
	found->fault = fault;
	found->to = to;
	return true;
}

/* One extent, and the hole before it. False: what was found before ends there. */
static bool take_extent(struct rfs_blocks *found, const struct fiemap_extent *extent, int64_t end)
{
	int64_t begin = (int64_t) extent->fe_logical, after = begin + (int64_t) extent->fe_length;

	if (begin > found->to && !take(found, RFS_BLOCKS_MISSING, begin < end ? begin : end))
		return false;
	return after <= found->to || take(found, fault_of(extent), after < end ? after : end);
}

int rfs_sqlite_look_at_blocks(int fd, int64_t from, int64_t end, struct rfs_blocks *ret_blocks)
{
	struct rfs_blocks found = { .fault = RFS_BLOCKS_FINE, .from = from, .to = from };
	bool goes_on = true;
	union map map;
	int rc = ask(fd, from, end, &map);

	if (rc)
		return rc;
	for (uint32_t i = 0; goes_on && found.to < end && i < map.head.fm_mapped_extents; i++) {
		if (!is_told(&map.head.fm_extents[i]))
			return -EOPNOTSUPP;
		goes_on = take_extent(&found, &map.head.fm_extents[i], end);
	}
	/* Behind the last extent there is nothing. */
	if (goes_on && found.to < end && map.head.fm_mapped_extents < EXTENTS)
		(void) take(&found, RFS_BLOCKS_MISSING, end);
	*ret_blocks = found;
	return 0;
}

/* Other file systems that write elsewhere have no flag to keep them from it, and promise nothing. */
bool rfs_sqlite_copies_on_write(int fd)
{
	struct statfs fs;
	int flags = 0;

	return fstatfs(fd, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 &&
	       !(flags & FS_NOCOW_FL);
}

/* On btrfs every overwrite of a block takes a new one; a file with this flag is written in place. It takes effect on empty files
 * only, and not while there is one about compression, which a directory may have given it. Where there are no such flags,
 * nothing is lost. */
void rfs_sqlite_set_no_copy_on_write(int fd)
{
	const int compression = FS_COMPR_FL | FS_NOCOMP_FL;
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return;
	if (flags & compression) {
		flags &= ~compression;
		(void) ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	flags |= FS_NOCOW_FL;
	(void) ioctl(fd, FS_IOC_SETFLAGS, &flags);
}
