/* SPDX-License-Identifier: MIT */
/*
 * sqlite_renew.c: makes the files fit before SQLite opens them: in the place of a missing WAL comes the spare, and a file that
 * its file system writes elsewhere than it is, or keeps compressed, is written anew as a whole.
 *
 * Invariants: a crash at any instant leaves each name to the old file or to the new one, which hold the same, on stable storage.
 * No other process has the file open with SQLite meanwhile: this one holds the lock that SQLite would take.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

#define PIECE_BYTES (1 << 20)

/* What is recorded in a file that would not have its name after a loss of power is lost. */
int rfs_sqlite_make_names_durable(struct rfs_sqlite *store)
{
	_cleanup_free_ char *copy = NULL;

	if (!store->is_renamed)
		return 0;
	copy = strdup(store->path);
	if (!copy)
		return -ENOMEM;
	_cleanup_fd_ int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		return rfs_sqlite_system_failed(store, errno, "its directory cannot be stored");
	store->is_renamed = false;
	return 0;
}

int rfs_sqlite_give_to_owner(const struct rfs_sqlite *store, int fd)
{
	struct stat main, st;

	if (fstat(store->fd, &main) || fstat(fd, &st))
		return -errno;
	if ((st.st_uid != main.st_uid || st.st_gid != main.st_gid) && fchown(fd, main.st_uid, main.st_gid))
		return -errno;
	return (st.st_mode & 0777) == (main.st_mode & 0777) || fchmod(fd, main.st_mode & 0777) == 0 ? 0 : -errno;
}

/* The whole of a file */

static int copy_piece(int from, int to, char *piece, int64_t offset, ssize_t *ret_length)
{
	ssize_t length = pread(from, piece, PIECE_BYTES, offset);

	if (length < 0)
		return -errno;
	for (ssize_t done = 0; done < length;) {
		ssize_t written = pwrite(to, piece + done, (size_t) (length - done), offset + done);
		if (written < 0)
			return -errno;
		done += written;
	}
	*ret_length = length;
	return 0;
}

static int copy_all(int from, int to)
{
	_cleanup_free_ char *piece = malloc(PIECE_BYTES);
	ssize_t length = 1;
	int rc = piece ? 0 : -ENOMEM;

	for (int64_t offset = 0; !rc && length > 0; offset += length)
		rc = copy_piece(from, to, piece, offset, &length);
	return rc;
}

static int fill_draft(const struct rfs_sqlite *store, int from, int to)
{
	rfs_sqlite_set_no_copy_on_write(to);
	if (rfs_sqlite_copies_on_write(to))
		return -EOPNOTSUPP;
	int rc = rfs_sqlite_give_to_owner(store, to);
	if (!rc)
		rc = copy_all(from, to);
	return !rc && fsync(to) ? -errno : rc;
}

/* A new file in the place of the one that `from` is open on. */
static int replace(struct rfs_sqlite *store, const char *path, const char *draft, int from)
{
	_cleanup_fd_ int to = open(draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (to < 0)
		return -errno;
	int rc = fill_draft(store, from, to);
	if (!rc && rename(draft, path))
		rc = -errno;
	if (rc)
		(void) unlink(draft);
	else
		store->is_renamed = true;
	return rc;
}

/* Returns whether another file has its place now. */
static bool renew_file(struct rfs_sqlite *store, const char *path, const char *which, int fd)
{
	char draft[PATH_MAX];

	snprintf(draft, sizeof(draft), "%s.new", store->path);
	/* Of an attempt that a crash has ended. */
	(void) unlink(draft);
	if (!rfs_sqlite_copies_on_write(fd))
		return false;
	int rc = replace(store, path, draft, fd);
	if (rc == 0)
		rfs_sqlite_notice(store, false, "%s: %swas not overwritten in place by its file system; it has been written anew so that "
				  "it is", store->name, which);
	else
		rfs_sqlite_notice(store, true, "%s: %sis not overwritten in place by its file system, and cannot be written anew so that "
				  "it is: %s; on a full disk nothing can be recorded, not even a release: make room and mount "
				  "again, or keep it where chattr +C works", store->name, which, strerror(-rc));
	return rc == 0;
}

/* The files */

static void renew_wal(struct rfs_sqlite *store)
{
	_cleanup_fd_ int fd = open(store->wal_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		(void) renew_file(store, store->wal_path, "its -wal file ", fd);
	if (fd < 0 && errno == ENOENT && rfs_sqlite_use_spare(store) == 0)
		rfs_sqlite_notice(store, false, "%s: its -wal file was missing; the spare has taken its place", store->name);
}

/* Keeps SQLite, in other processes, from using the file until store->fd is closed. */
static int lock(const struct rfs_sqlite *store)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = RFS_SQLITE_LOCK_OFFSET, .l_len = RFS_SQLITE_LOCK_BYTES,
	};
	return fcntl(store->fd, F_SETLK, &lock) ? -errno : 0;
}

int rfs_sqlite_renew(struct rfs_sqlite *store)
{
	int rc = rfs_sqlite_open_file(store);
	if (rc)
		return rc;
	/* Where there are no locks, or somebody has just come, the files stay as they are. The main file is last: whoever opens
	 * the new one is not kept away. */
	if (lock(store) == 0) {
		renew_wal(store);
		if (renew_file(store, store->path, "", store->fd))
			rc = rfs_sqlite_claim_again(store);
	}
	close(store->fd);
	store->fd = -1;
	return rc;
}
