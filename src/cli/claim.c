/* SPDX-License-Identifier: MIT */
/*
 * claim.c: claims as positions of locks. Invariant: a daemon that has made its claim and then looks, and another one
 * that has done the same, cannot both have seen nobody.
 */
#include "cli/claim.h"
#include "util/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Where in a file no program has reason to lock: an "r", and 56 bits that say what the claim does. */
#define REGION (INT64_C(0x72) << 56)
#define REGION_LENGTH (INT64_C(1) << 56)
#define PID_BITS 22
#define PID_NS_BITS 10
#define MINOR_BITS 20
#define STAGE_BITS 2
#define SHARE_BITS 2

/* While /proc/locks is read piece by piece, one can be missed because others before it go. That happens three times
 * in a row to nobody. */
#define READINGS 3

static uint64_t mask(unsigned int bits)
{
	return (UINT64_C(1) << bits) - 1;
}

static off_t to_position(const struct rfs_claim *claim)
{
	uint64_t bits = claim->share;

	bits = bits << STAGE_BITS | claim->stage;
	bits = bits << MINOR_BITS | (claim->minor & mask(MINOR_BITS));
	bits = bits << PID_NS_BITS | (claim->pid_ns & mask(PID_NS_BITS));
	bits = bits << PID_BITS | ((uint64_t) claim->pid & mask(PID_BITS));
	return (off_t) (REGION | (int64_t) bits);
}

/* False: it is none of ours. */
static bool from_position(int64_t position, struct rfs_claim *ret_claim)
{
	uint64_t bits = (uint64_t) position ^ (uint64_t) REGION;
	struct rfs_claim claim;

	if (position < REGION || bits >= (uint64_t) REGION_LENGTH)
		return false;
	claim.pid = (pid_t) (bits & mask(PID_BITS));
	bits >>= PID_BITS;
	claim.pid_ns = (unsigned int) (bits & mask(PID_NS_BITS));
	bits >>= PID_NS_BITS;
	claim.minor = (unsigned int) (bits & mask(MINOR_BITS));
	bits >>= MINOR_BITS;
	claim.stage = (enum rfs_stage) (bits & mask(STAGE_BITS));
	claim.share = (enum rfs_share) (bits >> STAGE_BITS);
	if (claim.stage > RFS_STAGE_ENDING || claim.share > RFS_SHARE_WHOLE)
		return false;
	*ret_claim = claim;
	return true;
}

static int set_lock(int dirfd, short type, const struct rfs_claim *claim)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = to_position(claim), .l_len = 1 };

	return fcntl(dirfd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

bool rfs_claim_equals(const struct rfs_claim *a, const struct rfs_claim *b)
{
	return to_position(a) == to_position(b);
}

static unsigned int our_pid_ns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) < 0 ? 0 : (unsigned int) (st.st_ino & mask(PID_NS_BITS));
}

struct rfs_claim rfs_claim_mine(enum rfs_share share)
{
	return (struct rfs_claim){ .share = share, .pid = getpid(), .pid_ns = our_pid_ns() };
}

int rfs_claim_make(int dirfd, const struct rfs_claim *claim, const struct rfs_claim *old)
{
	int r = set_lock(dirfd, F_RDLCK, claim);

	if (!r && old && !rfs_claim_equals(old, claim))
		rfs_claim_drop(dirfd, old);
	return r;
}

void rfs_claim_drop(int dirfd, const struct rfs_claim *claim)
{
	(void) set_lock(dirfd, F_UNLCK, claim);
}

int rfs_claim_of_other(int dirfd, struct rfs_claim *ret_other)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = REGION, .l_len = REGION_LENGTH };

	if (fcntl(dirfd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	if (lock.l_type == F_UNLCK)
		return 0;
	return from_position(lock.l_start, ret_other) ? 1 : -EBUSY;
}

/* NUMBER: OFDLCK ADVISORY READ -1 MAJOR:MINOR:INODE START END, the device in hexadecimal. */
static bool parse(const char *line, struct rfs_claimed *ret_claimed)
{
	unsigned long long inode, start, end;
	unsigned int major, minor;

	if (sscanf(line, "%*u: OFDLCK %*s READ %*d %x:%x:%llu %llu %llu", &major, &minor, &inode, &start, &end) != 5)
		return false;
	if (start != end || start > INT64_MAX || !from_position((int64_t) start, &ret_claimed->claim))
		return false;
	ret_claimed->device = makedev(major, minor);
	ret_claimed->inode = (ino_t) inode;
	return true;
}

static void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static int read_once(bool (*look)(const struct rfs_claimed *claimed, void *user), void *user)
{
	struct rfs_claimed claimed;
	char line[256];

	_cleanup_(cleanup_file) FILE *file = fopen("/proc/locks", "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		if (parse(line, &claimed) && look(&claimed, user))
			return 1;
	return ferror(file) ? -EIO : 0;
}

int rfs_claim_each(bool (*look)(const struct rfs_claimed *claimed, void *user), void *user)
{
	int r = 0;

	for (int i = 0; i < READINGS && r == 0; i++)
		r = read_once(look, user);
	return r;
}

bool rfs_claim_is_local(const struct rfs_claim *claim)
{
	char name[64], comm[32] = "";

	if (claim->pid_ns != our_pid_ns())
		return false;
	snprintf(name, sizeof(name), "/proc/%d/comm", (int) claim->pid);
	_cleanup_(cleanup_file) FILE *file = fopen(name, "re");
	if (!file) /* of another user, where those are hidden */
		return kill(claim->pid, 0) == 0 || errno == EPERM;
	return fgets(comm, sizeof(comm), file) && !strcmp(comm, "reservefs\n");
}

/* Whether the open file that the fdinfo `name` in `dirfd` is about holds the lock at `position`. */
static bool holds(int dirfd, const char *name, off_t position)
{
	char line[256], wanted[32];
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	_cleanup_(cleanup_file) FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!file) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	snprintf(wanted, sizeof(wanted), " %lld\n", (long long) position);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, "lock:", strlen("lock:")) && strstr(line, wanted))
			return true;
	return false;
}

int rfs_claim_path(const struct rfs_claim *claim, char *ret_path)
{
	char name[sizeof("/proc//fdinfo/") + 64];
	const struct dirent *entry;
	bool found = false;

	snprintf(name, sizeof(name), "/proc/%d/fdinfo", (int) claim->pid);
	DIR *dir = opendir(name);
	if (!dir)
		return -errno;
	while (!found && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && holds(dirfd(dir), entry->d_name, to_position(claim))) {
			found = true;
			snprintf(name, sizeof(name), "/proc/%d/fd/%.32s", (int) claim->pid, entry->d_name);
		}
	closedir(dir);
	ssize_t length = found ? readlink(name, ret_path, PATH_MAX - 1) : -1;
	if (length <= 0)
		return -ENOENT;
	ret_path[length] = '\0';
	return 0;
}
