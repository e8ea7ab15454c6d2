/* SPDX-License-Identifier: MIT */
/*
 * node.c: the Repo's directory, its claim and its lock. Invariant: of all processes on this kernel at most one serves a
 * Repo, whatever becomes of the files in it, and that it does is over with the process, however that ends.
 *
 * The claim is what keeps others away; the lock file, which can be removed, is for people and for the pid of a daemon
 * that this one cannot look at. Two that start at the same moment may both see the other's claim and withdraw; each
 * then tries again after a while of its own.
 */
#include "cli/node.h"
#include "cli/mounts.h"
#include "cli/rival.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define STATE_NAME ".reservefs"
#define LOCK_NAME "lock"

/* How long an ending daemon is waited for, and any other: one that was killed takes a moment to be gone. */
#define ENDING_MS 10000
#define GRACE_MS 200
#define POLL_MS 10

static int fail_open(struct rfs_failure *failure, const char *given, int error)
{
	switch (error) {
	case ENOENT:
		return rfs_fail(failure, RFS_EXIT_USAGE, -error, "REPO %s does not exist; create it, or name another",
				given);
	case ENOTDIR:
		return rfs_fail(failure, RFS_EXIT_USAGE, -error, "REPO %s is not a directory; name a directory", given);
	case EACCES:
	case EPERM:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error,
				"no permission to use REPO %s; run as its owner, or change its mode", given);
	case ELOOP:
	case ENAMETOOLONG:
		return rfs_fail(failure, RFS_EXIT_USAGE, -error, "cannot use REPO %s: %s; name another directory",
				given, strerror(error));
	default:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error, "cannot open REPO %s: %s; %s", given, strerror(error),
				rfs_advice(error, "check its disk"));
	}
}

static int fail_state(struct rfs_failure *failure, const struct rfs_node *node, int error)
{
	switch (error) {
	case EROFS:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error,
				"REPO %s is on a read-only file system; remount it read-write", node->path);
	case EACCES:
	case EPERM:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error,
				"no permission to write to %s/" STATE_NAME "; run as its owner, or change its mode",
				node->path);
	case ENOTDIR:
	case ELOOP:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error,
				"%s/" STATE_NAME " or the lock in it is not what reservefs made; move it away",
				node->path);
	default:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error, "cannot use %s/" STATE_NAME ": %s; %s", node->path,
				strerror(error), rfs_advice(error, "check the disk"));
	}
}

/* Takes the lock; `ret_holder` is 0 then, else the pid that has it (-1 where it is not of this pid namespace). */
static int try_lock(int fd, pid_t *ret_holder)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	for (;;) {
		if (!fcntl(fd, F_SETLK, &lock)) {
			*ret_holder = 0;
			return 0;
		}
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		struct flock other = lock;
		if (fcntl(fd, F_GETLK, &other) < 0)
			return -errno;
		if (other.l_type != F_UNLCK) {
			*ret_holder = other.l_pid > 0 ? other.l_pid : -1;
			return 0;
		}
	}
}

/* Reads what rfs_node_record wrote. */
static int read_record(int fd, pid_t *ret_pid, char ret_mountpoint[PATH_MAX])
{
	char text[PATH_MAX + 32];
	char *end;
	ssize_t length = pread(fd, text, sizeof(text) - 1, 0);

	if (length < 0)
		return -errno;
	text[length] = '\0';
	long pid = strtol(text, &end, 10);
	size_t path_length = strlen(end) ? strcspn(end + 1, "\n") : 0;
	if (pid <= 0 || pid > INT_MAX || *end != '\n' || end[1] != '/' || path_length >= PATH_MAX)
		return -EINVAL;
	memcpy(ret_mountpoint, end + 1, path_length);
	ret_mountpoint[path_length] = '\0';
	*ret_pid = (pid_t) pid;
	return 0;
}

bool rfs_node_was_served_on(const struct rfs_node *node, const char *path)
{
	char mountpoint[PATH_MAX];
	pid_t pid;

	return node->lock_fd >= 0 && !read_record(node->lock_fd, &pid, mountpoint) && !strcmp(mountpoint, path);
}

/* Who holds the lock file: what it claims, as far as that can be seen. */
static void note_holder(const struct rfs_node *node, pid_t holder, struct rfs_rival *ret_rival)
{
	struct rfs_rival rival = { .rivalry = RFS_RIVALRY_REPO };

	if (rfs_claim_of_other(node->fd, &rival.claim) != 1)
		rival.claim = (struct rfs_claim){ .stage = RFS_STAGE_SERVING };
	rival.claim.pid = holder;
	*ret_rival = rival;
}

/* Makes the claim for good, unless there is a rival. */
static int try_claim(struct rfs_node *node, struct rfs_rival *ret_rival, struct rfs_failure *failure)
{
	struct rfs_claimant us = { node->path, node->fd, node->device, node->claim };

	us.claim.stage = RFS_STAGE_STARTING;
	int r = rfs_claim_make(node->fd, &us.claim, NULL);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot lock the directory REPO %s: %s; %s", node->path,
				strerror(-r), rfs_advice(-r, "use another file system"));
	r = rfs_rival_find(&us, ret_rival, failure);
	if (!r && ret_rival->rivalry == RFS_RIVALRY_NONE) {
		node->claim.stage = RFS_STAGE_SERVING;
		r = rfs_claim_make(node->fd, &node->claim, &us.claim);
		node->is_claimed = !r;
		if (r < 0)
			rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot lock the directory REPO %s: %s; %s", node->path,
				 strerror(-r), rfs_advice(-r, "try again"));
	}
	if (!node->is_claimed)
		rfs_claim_drop(node->fd, &us.claim);
	return r;
}

static int try_take(struct rfs_node *node, struct rfs_rival *ret_rival, struct rfs_failure *failure)
{
	pid_t holder = 0;

	if (node->lock_fd >= 0) {
		int r = try_lock(node->lock_fd, &holder);
		if (r < 0)
			return fail_state(failure, node, -r);
	}
	if (holder) {
		note_holder(node, holder, ret_rival);
		return 0;
	}
	ret_rival->rivalry = RFS_RIVALRY_NONE;
	return node->is_claimed ? 0 : try_claim(node, ret_rival, failure);
}

static void locate(const struct rfs_node *node, const struct rfs_rival *rival, struct rfs_whereabouts *where)
{
	char mountpoint[PATH_MAX];
	pid_t pid = 0;

	bool recorded = node->lock_fd >= 0 && !read_record(node->lock_fd, &pid, mountpoint) && pid == rival->claim.pid;
	rfs_rival_locate(rival, recorded ? mountpoint : NULL, where);
}

/* Whether it will be gone by itself: it is starting and may withdraw, it is ending, or it has no mount and nobody who
 * keeps it. */
static bool is_passing(const struct rfs_node *node, const struct rfs_rival *rival, struct rfs_whereabouts *where)
{
	if (rival->claim.stage != RFS_STAGE_SERVING)
		return true;
	locate(node, rival, where);
	return !where->is_mounted && where->keeper.how == RFS_KEEPING_UNKNOWN;
}

static int take(struct rfs_node *node, struct rfs_failure *failure)
{
	const struct rfs_claimant us = { node->path, node->fd, node->device, node->claim };
	struct rfs_whereabouts where = { .is_mounted = true };
	struct rfs_rival rival;
	int r;

	srandom((unsigned int) getpid());
	for (int waited_ms = 0; !(r = try_take(node, &rival, failure)) && rival.rivalry != RFS_RIVALRY_NONE;) {
		if (waited_ms >= ENDING_MS || (waited_ms >= GRACE_MS && !is_passing(node, &rival, &where)))
			return rfs_rival_refuse(&rival, &us, &where, failure);
		int pause_ms = POLL_MS + (int) (random() % POLL_MS);
		nanosleep(&(struct timespec){ .tv_nsec = pause_ms * 1000000L }, NULL);
		waited_ms += pause_ms;
	}
	return r;
}

static int open_lock(struct rfs_node *node, bool create)
{
	struct stat st;

	if (create && mkdirat(node->fd, STATE_NAME, 0700) < 0 && errno != EEXIST)
		return -errno;
	node->state_fd = openat(node->fd, STATE_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (node->state_fd < 0)
		return -errno;
	node->lock_fd = openat(node->state_fd, LOCK_NAME,
			       O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	if (node->lock_fd < 0) {
		int error = errno;
		close(node->state_fd);
		node->state_fd = -1;
		return -error;
	}
	if (fstat(node->lock_fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? 0 : -ENOTDIR;
}

int rfs_node_open(struct rfs_node *node, const char *given, enum rfs_share share, struct rfs_failure *failure)
{
	struct rfs_mount mount;
	struct stat st;

	node->path = realpath(given, NULL);
	if (!node->path)
		return fail_open(failure, given, errno);
	node->fd = open(node->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (node->fd < 0)
		return fail_open(failure, given, errno);

	if (fstat(node->fd, &st) < 0)
		return fail_open(failure, given, errno);
	node->device = rfs_mounts_of(node->fd, &mount) == 1 ? mount.device : st.st_dev;
	node->claim = rfs_claim_mine(share);
	int r = open_lock(node, false);
	return r < 0 && r != -ENOENT ? fail_state(failure, node, -r) : take(node, failure);
}

int rfs_node_claim(struct rfs_node *node, struct rfs_failure *failure)
{
	if (node->lock_fd >= 0)
		return 0;
	int r = open_lock(node, true);
	return r < 0 ? fail_state(failure, node, -r) : take(node, failure);
}

void rfs_node_record(struct rfs_node *node, const char *mountpoint)
{
	char text[PATH_MAX + 32];
	int length = snprintf(text, sizeof(text), "%d\n%s\n", (int) getpid(), mountpoint);

	/* In place: on a disk without a free block the one that the file has is all there is. */
	if ((size_t) length < sizeof(text) && pwrite(node->lock_fd, text, (size_t) length, 0) == length &&
	    ftruncate(node->lock_fd, length) == 0)
		return;
}

static void change_claim(struct rfs_node *node, const struct rfs_claim *claim)
{
	/* A lock that is held can be held on to without memory; if not, the old one says what still matters. */
	if (node->is_claimed && rfs_claim_make(node->fd, claim, &node->claim) == 0)
		node->claim = *claim;
}

void rfs_node_note_mount(struct rfs_node *node, dev_t device)
{
	struct rfs_claim claim = node->claim;

	claim.minor = minor(device);
	change_claim(node, &claim);
}

void rfs_node_note_end(struct rfs_node *node)
{
	struct rfs_claim claim = node->claim;

	claim.stage = RFS_STAGE_ENDING;
	change_claim(node, &claim);
}

void rfs_node_done(struct rfs_node *node)
{
	if (node->lock_fd >= 0)
		close(node->lock_fd);
	if (node->state_fd >= 0)
		close(node->state_fd);
	if (node->fd >= 0)
		close(node->fd);
	free(node->path);
	*node = RFS_NODE_INIT;
}
