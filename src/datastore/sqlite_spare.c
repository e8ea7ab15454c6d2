/* SPDX-License-Identifier: MIT */
/*
 * sqlite_spare.c: a spare for the WAL, for when that is lost or its blocks are no longer its own.
 *
 * Whoever opens the file with SQLite and closes it again takes the WAL away, and with it the room that was set aside; on a disk
 * that others have filled by then there is none to be had. So an empty file stands beside it that has as many blocks allocated
 * behind its end. As it holds nothing, no tool that copies, shares, compresses or thins out what files hold takes its blocks;
 * to rename it into the WAL's place takes none, and leaves no moment in which others could.
 *
 * Invariant: what takes the WAL's place is empty, and takes only that of a WAL that is missing or holds nothing.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "util/cleanup.h"

/* An ordinary file that holds nothing and is nobody's besides. */
static bool is_empty_file(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_size == 0;
}

/* Whether enough of its blocks can be relied on; where the file system does not tell, whether it has them. */
static bool has_blocks(int fd, int64_t bytes)
{
	struct rfs_blocks blocks;
	struct stat st;
	int rc = rfs_sqlite_look_at_blocks(fd, 0, bytes, &blocks);

	if (rc == -EOPNOTSUPP)
		return fstat(fd, &st) == 0 && (int64_t) st.st_blocks * 512 >= bytes;
	return rc == 0 && blocks.fault == RFS_BLOCKS_FINE && blocks.to == bytes && !rfs_sqlite_copies_on_write(fd);
}

/* -1: there is none, or something else has its name, and is left alone. */
static int open_spare(const struct rfs_sqlite *store, int flags)
{
	int fd = open(store->spare_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | flags, 0600);
	if (fd >= 0 && is_empty_file(fd))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

bool rfs_sqlite_has_spare(const struct rfs_sqlite *store)
{
	_cleanup_fd_ int fd = open_spare(store, 0);
	return fd >= 0 && has_blocks(fd, RFS_WAL_LEAST_ROOM_BYTES);
}

/* A disk that is nearly full is left to others. */
static bool is_room_for(const struct rfs_sqlite *store, int64_t bytes)
{
	struct statvfs fs;
	return fstatvfs(store->fd, &fs) == 0 && (int64_t) fs.f_bavail * (int64_t) fs.f_frsize >= 2 * bytes;
}

static bool allocate(const struct rfs_sqlite *store, int fd, int64_t bytes)
{
	struct rfs_blocks blocks;

	rfs_sqlite_set_no_copy_on_write(fd);
	if (rfs_sqlite_give_to_owner(store, fd))
		return false;
	/* What a snapshot shares with the file must go first: allocating leaves it as it is. */
	if (rfs_sqlite_look_at_blocks(fd, 0, bytes, &blocks) == 0 && blocks.fault == RFS_BLOCKS_SHARED)
		(void) fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, bytes);
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes) == 0 && fsync(fd) == 0 && has_blocks(fd, bytes);
}

bool rfs_sqlite_make_spare(const struct rfs_sqlite *store)
{
	int64_t bytes = rfs_sqlite_wanted_wal_room(store);
	_cleanup_fd_ int fd = open_spare(store, 0);

	if ((fd >= 0 && has_blocks(fd, bytes)) || !is_room_for(store, bytes))
		return true;
	if (fd < 0)
		fd = open_spare(store, O_CREAT | O_EXCL);
	if (fd < 0)
		return false;
	bool is_made = allocate(store, fd, bytes);
	/* Without blocks it would be of no use. */
	if (!is_made && !has_blocks(fd, RFS_WAL_LEAST_ROOM_BYTES))
		(void) unlink(store->spare_path);
	return is_made;
}

int rfs_sqlite_use_spare(struct rfs_sqlite *store)
{
	if (!rfs_sqlite_has_spare(store))
		return -ENOENT;
	if (rename(store->spare_path, store->wal_path))
		return -errno;
	store->is_renamed = true;
	return 0;
}
