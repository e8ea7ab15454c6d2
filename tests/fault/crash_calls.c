/* SPDX-License-Identifier: MIT */
/*
 * crash_calls.c: the C library's file calls, with hooks. Each function here stands in front of the one of the same name,
 * and asks the kernel itself. Invariant: while a directory is watched, every change of a file in it has passed both
 * hooks, in the order in which the kernel saw them. (powerloss.c proves that none is missed: what it recorded
 * must add up to what the files hold.)
 */
/* The plain names are meant here, not what the headers turn them into. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include "crash_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define IN_PLACE_MOST 32
#define FILE_SYSTEM_BYTES (UINT64_C(256) << 20)

/* Some of these have no declaration without large files in the compiler's arguments. */
int open64(const char *path, int flags, ...);
int openat64(int dirfd, const char *path, int flags, ...);
ssize_t pread64(int fd, void *data, size_t length, off64_t offset);
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset);
int ftruncate64(int fd, off64_t length);
int fallocate64(int fd, int mode, off64_t offset, off64_t length);
int posix_fallocate64(int fd, off64_t offset, off64_t length);
int fcntl64(int fd, int command, ...);

static struct {
	pthread_mutex_t lock;
	atomic_bool watching;
	char directory[PATH_MAX];
	size_t directory_length;
	struct calls_hooks hooks;
	/* What each descriptor is of: nothing watched, a file, or the directory itself. */
	enum { OTHER, WATCHED_FILE, WATCHED_DIRECTORY } descriptors[DESCRIPTORS];
	/* Where all but these seem to be written elsewhere. */
	bool pretends_copy_on_write;
	uint64_t in_place[IN_PLACE_MOST];
	unsigned in_place_count;
} calls = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *const kind_names[CALL_KINDS] = {
	"open", "create", "read", "write", "sync", "sync of the directory", "truncate", "allocate", "unlink", "rename",
	"look", "lock",
};

const char *calls_kind_name(enum call_kind kind)
{
	return kind_names[kind];
}

void calls_watch(const char *directory, const struct calls_hooks *hooks)
{
	pthread_mutex_lock(&calls.lock);
	memset(calls.descriptors, 0, sizeof calls.descriptors);
	calls.watching = directory != NULL;
	if (directory) {
		snprintf(calls.directory, sizeof calls.directory, "%s", directory);
		calls.directory_length = strlen(directory);
		calls.hooks = *hooks;
	}
	pthread_mutex_unlock(&calls.lock);
}

void calls_exclusively(void (*fn)(void *user), void *user)
{
	pthread_mutex_lock(&calls.lock);
	fn(user);
	pthread_mutex_unlock(&calls.lock);
}

static int kind_of(int fd)
{
	return calls.watching && fd >= 0 && fd < DESCRIPTORS ? (int) calls.descriptors[fd] : OTHER;
}

/* Only what tells a file system's size. What is not watched is looked at once, and has nothing to spare. */
int fstatvfs(int fd, struct statvfs *st)
{
	struct statfs fs;
	if (syscall(SYS_fstatfs, fd, &fs) < 0)
		return -1;
	memset(st, 0, sizeof *st);
	st->f_bsize = st->f_frsize = (unsigned long) fs.f_bsize;
	st->f_blocks = FILE_SYSTEM_BYTES / (unsigned long) fs.f_bsize;
	if (kind_of(fd) != OTHER)
		st->f_bfree = st->f_bavail = st->f_blocks;
	return 0;
}

int fstatvfs64(int fd, struct statvfs64 *st)
{
	return fstatvfs(fd, (struct statvfs *) st);
}

/* The name below the watched directory; "" for the directory itself; NULL for anything else. */
static const char *watched_name(const char *path)
{
	if (!calls.watching || strncmp(path, calls.directory, calls.directory_length) != 0)
		return NULL;
	path += calls.directory_length;
	if (*path == 0)
		return path;
	return *path == '/' ? path + 1 : NULL;
}

static uint64_t inode_of(int fd)
{
	struct stat st;
	return syscall(SYS_fstat, fd, &st) == 0 ? st.st_ino : 0;
}

static int before(const struct call *call)
{
	return calls.hooks.before ? calls.hooks.before(calls.hooks.user, call) : 0;
}

static void after(const struct call *call)
{
	int error = errno;
	if (calls.hooks.after)
		calls.hooks.after(calls.hooks.user, call);
	errno = error;
}

/* Makes one call between the hooks; `syscall_` is evaluated at most once, and its value returned. */
#define BETWEEN_HOOKS(call_, syscall_)                      \
	({                                                  \
		pthread_mutex_lock(&calls.lock);            \
		int refused_ = before(&(call_));            \
		long result_ = -1;                          \
		if (refused_ > 0) {                         \
			errno = refused_;                   \
		} else {                                    \
			result_ = (syscall_);               \
			if (result_ >= 0)                   \
				after(&(call_));            \
		}                                           \
		pthread_mutex_unlock(&calls.lock);          \
		result_;                                    \
	})

static int open_watched(const char *path, const char *name, int flags, mode_t mode)
{
	struct stat st;
	bool there = syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0) == 0;
	struct call call = { .kind = there || !(flags & O_CREAT) ? CALL_OPEN : CALL_CREATE, .name = name };

	pthread_mutex_lock(&calls.lock);
	int refused = before(&call);
	int fd = -1;
	if (refused > 0) {
		errno = refused;
	} else {
		fd = (int) syscall(SYS_openat, AT_FDCWD, path, flags, mode);
		if (fd >= DESCRIPTORS)
			abort();
		if (fd >= 0) {
			calls.descriptors[fd] = *name ? WATCHED_FILE : WATCHED_DIRECTORY;
			call.inode = inode_of(fd);
			after(&call);
		}
	}
	pthread_mutex_unlock(&calls.lock);
	return fd;
}

static int do_open(int dirfd, const char *path, int flags, mode_t mode)
{
	const char *name = path[0] == '/' ? watched_name(path) : NULL;

	if (name)
		return open_watched(path, name, flags, mode);
	int fd = (int) syscall(SYS_openat, dirfd, path, flags, mode);
	if (fd >= 0 && fd < DESCRIPTORS)
		calls.descriptors[fd] = OTHER;
	return fd;
}

#define OPEN_BODY(dirfd)                                             \
	mode_t mode = 0;                                             \
	if (flags & (O_CREAT | __O_TMPFILE)) {                       \
		va_list arguments;                                   \
		va_start(arguments, flags);                          \
		mode = va_arg(arguments, mode_t);                    \
		va_end(arguments);                                   \
	}                                                            \
	return do_open(dirfd, path, flags, mode);

int open(const char *path, int flags, ...)
{
	OPEN_BODY(AT_FDCWD)
}

int open64(const char *path, int flags, ...)
{
	OPEN_BODY(AT_FDCWD)
}

int openat(int dirfd, const char *path, int flags, ...)
{
	OPEN_BODY(dirfd)
}

int openat64(int dirfd, const char *path, int flags, ...)
{
	OPEN_BODY(dirfd)
}

int close(int fd)
{
	if (fd >= 0 && fd < DESCRIPTORS)
		calls.descriptors[fd] = OTHER;
	return (int) syscall(SYS_close, fd);
}

static ssize_t do_write(int fd, const void *data, size_t length, int64_t offset)
{
	struct call call = { .kind = CALL_WRITE, .inode = inode_of(fd), .data = data, .offset = (uint64_t) offset,
			     .length = length };

	pthread_mutex_lock(&calls.lock);
	int refused = before(&call);
	long written = -1;
	if (refused > 0) {
		errno = refused;
	} else {
		written = syscall(SYS_pwrite64, fd, data, refused == CALLS_SHORT ? length / 2 : length, offset);
		if (written >= 0) {
			call.length = (uint64_t) written;
			after(&call);
		}
	}
	pthread_mutex_unlock(&calls.lock);
	return written;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	if (kind_of(fd) != WATCHED_FILE)
		return syscall(SYS_pwrite64, fd, data, length, offset);
	return do_write(fd, data, length, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return pwrite64(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length)
{
	/* Only positioned writes are known how to be replayed. */
	if (kind_of(fd) != OTHER)
		abort();
	return syscall(SYS_write, fd, data, length);
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset)
{
	if (kind_of(fd) != WATCHED_FILE)
		return syscall(SYS_pread64, fd, data, length, offset);
	struct call call = { .kind = CALL_READ, .inode = inode_of(fd), .offset = (uint64_t) offset, .length = length };
	return BETWEEN_HOOKS(call, syscall(SYS_pread64, fd, data, length, offset));
}

ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
	return pread64(fd, data, length, offset);
}

static int do_sync(int fd, long number)
{
	int kind = kind_of(fd);
	if (kind == OTHER)
		return (int) syscall(number, fd);
	struct call call = { .kind = kind == WATCHED_FILE ? CALL_SYNC : CALL_SYNC_DIRECTORY, .inode = inode_of(fd) };
	return (int) BETWEEN_HOOKS(call, syscall(number, fd));
}

int fsync(int fd)
{
	return do_sync(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return do_sync(fd, SYS_fdatasync);
}

int ftruncate64(int fd, off64_t length)
{
	if (kind_of(fd) != WATCHED_FILE)
		return (int) syscall(SYS_ftruncate, fd, length);
	struct call call = { .kind = CALL_TRUNCATE, .inode = inode_of(fd), .length = (uint64_t) length };
	return (int) BETWEEN_HOOKS(call, syscall(SYS_ftruncate, fd, length));
}

int ftruncate(int fd, off_t length)
{
	return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	if (kind_of(fd) != WATCHED_FILE)
		return (int) syscall(SYS_fallocate, fd, mode, offset, length);
	/* The modes that move data have no place here. */
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		abort();
	struct call call = {
		.kind = CALL_ALLOCATE,
		.inode = inode_of(fd),
		.offset = (uint64_t) offset,
		.length = (uint64_t) length,
		.grows = !(mode & FALLOC_FL_KEEP_SIZE),
		.zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE),
	};
	return (int) BETWEEN_HOOKS(call, syscall(SYS_fallocate, fd, mode, offset, length));
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
	int error = errno;
	int failed = fallocate64(fd, 0, offset, length) < 0 ? errno : 0;
	errno = error;
	return failed;
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
	return posix_fallocate64(fd, offset, length);
}

int unlink(const char *path)
{
	const char *name = watched_name(path);
	if (!name)
		return (int) syscall(SYS_unlink, path);
	struct call call = { .kind = CALL_UNLINK, .name = name };
	return (int) BETWEEN_HOOKS(call, syscall(SYS_unlink, path));
}

static int do_rename(const char *from, const char *to, unsigned flags)
{
	const char *name = watched_name(from), *new_name = watched_name(to);
	if (!name && !new_name)
		return (int) syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
	if (!name || !new_name)
		abort();
	struct call call = { .kind = CALL_RENAME, .name = name, .new_name = new_name };
	return (int) BETWEEN_HOOKS(call, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags));
}

int rename(const char *from, const char *to)
{
	return do_rename(from, to, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (from_fd != AT_FDCWD || to_fd != AT_FDCWD)
		return (int) syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
	return do_rename(from, to, flags);
}

static int look(const char *path, long (*ask)(const char *, void *), void *user)
{
	const char *name = watched_name(path);
	if (!name)
		return (int) ask(path, user);
	struct call call = { .kind = CALL_LOOK, .name = name };
	return (int) BETWEEN_HOOKS(call, ask(path, user));
}

static long ask_stat(const char *path, void *st)
{
	return syscall(SYS_newfstatat, AT_FDCWD, path, st, 0);
}

static long ask_lstat(const char *path, void *st)
{
	return syscall(SYS_newfstatat, AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

static long ask_access(const char *path, void *mode)
{
	return syscall(SYS_access, path, *(int *) mode);
}

/* struct stat and struct stat64 are the same where off_t has 64 bits. */
int stat(const char *path, struct stat *st)
{
	return look(path, ask_stat, st);
}

int stat64(const char *path, struct stat64 *st)
{
	return look(path, ask_stat, st);
}

int lstat(const char *path, struct stat *st)
{
	return look(path, ask_lstat, st);
}

int lstat64(const char *path, struct stat64 *st)
{
	return look(path, ask_lstat, st);
}

int access(const char *path, int mode)
{
	return look(path, ask_access, &mode);
}

int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *st)
{
	const char *name = path[0] == '/' ? watched_name(path) : NULL;
	if (!name && kind_of(dirfd) == OTHER)
		return (int) syscall(SYS_statx, dirfd, path, flags, mask, st);
	struct call call = { .kind = CALL_LOOK, .name = name };
	return (int) BETWEEN_HOOKS(call, syscall(SYS_statx, dirfd, path, flags, mask, st));
}

static int do_fstat(int fd, void *st)
{
	if (kind_of(fd) == OTHER)
		return (int) syscall(SYS_fstat, fd, st);
	struct call call = { .kind = CALL_LOOK, .inode = inode_of(fd) };
	return (int) BETWEEN_HOOKS(call, syscall(SYS_fstat, fd, st));
}

int fstat(int fd, struct stat *st)
{
	return do_fstat(fd, st);
}

int fstat64(int fd, struct stat64 *st)
{
	return do_fstat(fd, st);
}

static int do_fcntl(int fd, int command, void *argument)
{
	if (kind_of(fd) == OTHER || (command != F_SETLK && command != F_GETLK && command != F_SETLKW)) {
		int result = (int) syscall(SYS_fcntl, fd, command, argument);
		if (result >= 0 && result < DESCRIPTORS && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
			calls.descriptors[result] = kind_of(fd);
		return result;
	}
	struct call call = { .kind = CALL_LOCK, .inode = inode_of(fd) };
	return (int) BETWEEN_HOOKS(call, syscall(SYS_fcntl, fd, command, argument));
}

#define FCNTL_BODY                                   \
	va_list arguments;                           \
	va_start(arguments, command);                \
	void *argument = va_arg(arguments, void *);  \
	va_end(arguments);                           \
	return do_fcntl(fd, command, argument);

int fcntl(int fd, int command, ...)
{
	FCNTL_BODY
}

int fcntl64(int fd, int command, ...)
{
	FCNTL_BODY
}

/* Flags of files: those of btrfs, where it is pretended; they change nothing that a loss of power could take away. */

void calls_pretend_copy_on_write(bool pretend)
{
	calls.pretends_copy_on_write = pretend;
	calls.in_place_count = 0;
}

int fstatfs(int fd, struct statfs *st)
{
	int rc = (int) syscall(SYS_fstatfs, fd, st);
	if (rc == 0 && calls.pretends_copy_on_write && kind_of(fd) == WATCHED_FILE)
		st->f_type = BTRFS_SUPER_MAGIC;
	return rc;
}

int fstatfs64(int fd, struct statfs64 *st)
{
	return fstatfs(fd, (struct statfs *) st);
}

static bool is_in_place(uint64_t inode)
{
	for (unsigned i = 0; i < calls.in_place_count; i++)
		if (calls.in_place[i] == inode)
			return true;
	return false;
}

static int pretend_flags(int fd, unsigned long request, int *flags)
{
	uint64_t inode = inode_of(fd);

	if (request == FS_IOC_GETFLAGS) {
		*flags = is_in_place(inode) ? FS_NOCOW_FL : 0;
	} else if ((*flags & FS_NOCOW_FL) && !is_in_place(inode)) {
		if (calls.in_place_count == IN_PLACE_MOST)
			abort();
		calls.in_place[calls.in_place_count++] = inode;
	}
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (calls.pretends_copy_on_write && kind_of(fd) == WATCHED_FILE &&
	    (request == FS_IOC_GETFLAGS || request == FS_IOC_SETFLAGS))
		return pretend_flags(fd, request, argument);
	return (int) syscall(SYS_ioctl, fd, request, argument);
}
