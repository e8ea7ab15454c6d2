/* SPDX-License-Identifier: MIT */
/*
 * sqlite_file.c: which file the Datastore is in, whose it is, and whether it is a Datastore at all.
 *
 * Everything that can be told without SQLite is told before SQLite opens the file, because SQLite would already repair,
 * replay or convert a file that isn't ours.
 *
 * Invariants: within the process a file is open in one store only (SQLite's locks don't keep a process from itself).
 * store->fd is closed only while SQLite doesn't have the file open: POSIX drops a process's locks on a file with the
 * first descriptor of it that is closed.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "util/cleanup.h"
#include "util/utf8.h"

static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, rfs_sqlite) claims = LIST_HEAD_INITIALIZER(claims);

/* The absolute path without symbolic links; the last component need not exist. */
static int resolve(const struct rfs_sqlite *store, const char *path, char ret_path[PATH_MAX])
{
	_cleanup_free_ char *for_directory = strdup(path), *for_file = strdup(path);
	char directory[PATH_MAX];
	struct stat st;

	if (!for_directory || !for_file)
		return -ENOMEM;
	if (realpath(path, ret_path))
		return 0;
	if (errno != ENOENT)
		return rfs_sqlite_system_failed(store, errno, "cannot be found");
	if (lstat(path, &st) == 0) {
		rfs_sqlite_say(store, "%s: is a symbolic link to a file that does not exist; create or remove the link",
			       store->name);
		return -ENOENT;
	}
	if (!realpath(dirname(for_directory), directory))
		return rfs_sqlite_system_failed(store, errno, "its directory cannot be found");
	const char *file = basename(for_file);
	if (strlen(directory) + 1 + strlen(file) >= PATH_MAX)
		return rfs_sqlite_system_failed(store, ENAMETOOLONG, "cannot be found");
	stpcpy(stpcpy(stpcpy(ret_path, strcmp(directory, "/") ? directory : ""), "/"), file);
	return 0;
}

int rfs_sqlite_resolve(struct rfs_sqlite *store, const char *path)
{
	char resolved[PATH_MAX];
	size_t size = 4 * strlen(path) + 1;

	store->name = malloc(size);
	if (!store->name)
		return -ENOMEM;
	rfs_utf8_escape(path, store->name, size);
	int rc = resolve(store, path, resolved);
	if (rc)
		return rc;
	sqlite3_vfs *vfs = sqlite3_vfs_find(store->vfs);
	if (!vfs)
		return rfs_sqlite_failed(store, NULL, SQLITE_ERROR, "has no such SQLite VFS to be opened with");
	/* Room for the longest suffix, with its NUL. */
	if (strlen(resolved) + sizeof(".new-journal") > (size_t) vfs->mxPathname) {
		rfs_sqlite_say(store, "%s: its path is too long: SQLite opens no more than %d bytes; name a shorter one",
			       store->name, vfs->mxPathname - (int) sizeof(".new-journal"));
		return -ENAMETOOLONG;
	}
	store->path = strdup(resolved);
	store->wal_path = malloc(strlen(resolved) + sizeof("-wal"));
	store->spare_path = malloc(strlen(resolved) + sizeof("-spare"));
	if (!store->path || !store->wal_path || !store->spare_path)
		return -ENOMEM;
	stpcpy(stpcpy(store->wal_path, resolved), "-wal");
	stpcpy(stpcpy(store->spare_path, resolved), "-spare");
	return 0;
}

/* Device numbers change from one start of the machine to the next; the inode and the moment when it was made do not. A file system
 * that does not tell the latter gives inodes that are used again, and a copy the same one by chance. */
static void identify(struct rfs_sqlite *store)
{
	struct statx stx;

	if (statx(AT_FDCWD, store->path, 0, STATX_BTIME, &stx) < 0 || !(stx.stx_mask & STATX_BTIME))
		stx.stx_btime = (struct statx_timestamp) { 0 };
	snprintf(store->identity, sizeof(store->identity), "inode=%" PRIu64 ",born=%" PRId64 ".%09" PRIu32,
		 (uint64_t) store->inode, (int64_t) stx.stx_btime.tv_sec, (uint32_t) stx.stx_btime.tv_nsec);
}

int rfs_sqlite_claim(struct rfs_sqlite *store)
{
	struct rfs_sqlite *other;
	struct stat st;

	if (stat(store->path, &st))
		return rfs_sqlite_system_failed(store, errno, "cannot be opened");
	RFS_LOCK(&claims_lock);
	LIST_FOREACH(other, &claims, claimed) {
		if (other->device == st.st_dev && other->inode == st.st_ino) {
			rfs_sqlite_say(store, "%s: this process (%d) has it open already; close it first", store->name,
				       (int) getpid());
			return -EBUSY;
		}
	}
	store->device = st.st_dev;
	store->inode = st.st_ino;
	identify(store);
	store->is_claimed = true;
	LIST_INSERT_HEAD(&claims, store, claimed);
	return 0;
}

int rfs_sqlite_claim_again(struct rfs_sqlite *store)
{
	struct stat st;

	if (stat(store->path, &st))
		return rfs_sqlite_system_failed(store, errno, "cannot be opened");
	RFS_LOCK(&claims_lock);
	store->device = st.st_dev;
	store->inode = st.st_ino;
	identify(store);
	return 0;
}

void rfs_sqlite_unclaim(struct rfs_sqlite *store)
{
	RFS_LOCK(&claims_lock);
	if (store->is_claimed)
		LIST_REMOVE(store, claimed);
	store->is_claimed = false;
}

/* The process that holds a lock on the file; 0: none does; -1: one that cannot be named. */
static pid_t owner(int fd)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = RFS_SQLITE_LOCK_OFFSET, .l_len = RFS_SQLITE_LOCK_BYTES,
	};
	if (fcntl(fd, F_GETLK, &lock) || lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid > 0 ? lock.l_pid : -1;
}

int rfs_sqlite_say_owner(const struct rfs_sqlite *store)
{
	pid_t pid = owner(store->fd);
	if (pid > 0)
		rfs_sqlite_say(store, "%s: is in use by process %d; a Datastore has one owner: end that process first",
			       store->name, (int) pid);
	else
		rfs_sqlite_say(store, "%s: is in use by another process; a Datastore has one owner: end that process first",
			       store->name);
	return -EBUSY;
}

static int refuse(const struct rfs_sqlite *store, const char *what)
{
	rfs_sqlite_say(store, "%s: %s; name another file, or restore this one from a backup", store->name, what);
	return -EBADMSG;
}

/* See "The Database Header" in SQLite's file format for the offsets. */
static bool begins_like_ours(const unsigned char header[RFS_MAIN_HEADER_BYTES])
{
	return memcmp(header, "SQLite format 3", 16) == 0 && rfs_big_endian(header + 68) == RFS_SQLITE_APPLICATION_ID;
}

static int check_header(const struct rfs_sqlite *store, const struct stat *st)
{
	unsigned char header[RFS_MAIN_HEADER_BYTES];

	if (!S_ISREG(st->st_mode))
		return refuse(store, "is not a regular file");
	if (st->st_size == 0)
		return refuse(store, "is empty, not a Datastore");
	ssize_t length = pread(store->fd, header, sizeof(header), 0);
	if (length < 0)
		return rfs_sqlite_system_failed(store, errno, "cannot be read");
	/* A checkpoint that a loss of power has ended may have left the first page torn. Then the WAL has it whole. */
	if (length == sizeof(header) && !begins_like_ours(header))
		(void) rfs_sqlite_find_header(store, header);
	if (length != sizeof(header) || memcmp(header, "SQLite format 3", 16) != 0)
		return refuse(store, "is not an SQLite database");
	if (rfs_big_endian(header + 68) != RFS_SQLITE_APPLICATION_ID)
		return refuse(store, "is an SQLite database of another program, not a Datastore");
	uint32_t version = rfs_big_endian(header + 60);
	if (version > RFS_SQLITE_USER_VERSION) {
		rfs_sqlite_say(store, "%s: is a Datastore of version %u, this program knows none above %u; "
			       "use the newer program that wrote it", store->name, version, RFS_SQLITE_USER_VERSION);
		return -EPROTO;
	}
	if (version == 0 || rfs_big_endian(header + 56) != 1)
		return refuse(store, "is damaged: its header is not one of a Datastore");
	bool is_cut = false;
	int rc = rfs_sqlite_find_cut(store, header, st->st_size, &is_cut);
	if (rc)
		return rc;
	return is_cut ? refuse(store, "is damaged: its end is missing") : 0;
}

static int check_file(const struct rfs_sqlite *store)
{
	struct stat st;

	if (fstat(store->fd, &st))
		return rfs_sqlite_system_failed(store, errno, "cannot be examined");
	if (st.st_dev != store->device || st.st_ino != store->inode) {
		rfs_sqlite_say(store, "%s: was replaced by another file underneath; put the right one back", store->name);
		return -EIO;
	}
	if (owner(store->fd))
		return rfs_sqlite_say_owner(store);
	return check_header(store, &st);
}

int rfs_sqlite_open_file(struct rfs_sqlite *store)
{
	/* O_NONBLOCK: opening a FIFO of that name must not wait. */
	store->fd = open(store->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (store->fd < 0 && (errno == EISDIR || errno == ENXIO))
		return refuse(store, "is not a regular file");
	if (store->fd < 0)
		return rfs_sqlite_system_failed(store, errno, "cannot be opened for reading and writing");
	int rc = check_file(store);
	if (rc) {
		close(store->fd);
		store->fd = -1;
	}
	return rc;
}

struct place {
	dev_t device;
	ino_t inode;
	int64_t bytes;
};

/* In the usual way, for where statx is refused. */
static int look_at_all(const char *path, struct place *ret_place)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	*ret_place = (struct place) { st.st_dev, st.st_ino, st.st_size };
	return 0;
}

/*
 * What `path` is now: its identity and length alone. Since Linux 6.13 a file whose times somebody has asked for gets new
 * ones with its next write (Documentation/filesystems/multigrain-ts.rst), which fdatasync then has to write as well: asked
 * with stat(2) before each transaction, this check would cost half a commit.
 */
static int look_at(const char *path, struct place *ret_place)
{
	struct statx st;

	if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_SIZE, &st))
		return errno == ENOSYS || errno == EPERM ? look_at_all(path, ret_place) : -errno;
	*ret_place = (struct place) { makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino, (int64_t) st.stx_size };
	return 0;
}

static bool is_file(const struct rfs_sqlite *store, const struct place *place, ino_t inode)
{
	return place->device == store->device && place->inode == inode;
}

int rfs_sqlite_check_in_place(const struct rfs_sqlite *store)
{
	const char *what = NULL;
	struct place place;

	if (look_at(store->path, &place))
		what = "cannot be found any more";
	else if (!is_file(store, &place, store->inode))
		what = "was replaced by another file underneath";
	else if (place.bytes < store->main_bytes)
		what = "was truncated underneath";
	else if (look_at(store->wal_path, &place))
		what = "its -wal file cannot be found any more";
	else if (!is_file(store, &place, store->wal_inode))
		what = "its -wal file was replaced by another underneath";
	else if (place.bytes < store->wal_room_bytes)
		what = "its -wal file was truncated underneath";
	if (!what)
		return 0;
	rfs_sqlite_say(store, "%s: %s; nothing is recorded until the files are back in place", store->name, what);
	return -EIO;
}
