/* SPDX-License-Identifier: MIT */
/* rival.c: who is in the way, and what can be done about it. Invariant: what the message advises is possible. */
#include "cli/rival.h"
#include "cli/mounts.h"
#include "util/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct search {
	dev_t device;
	ino_t inode; /* of our REPO; on btrfs another one can have the same */
	const struct rfs_claim *mine;
	struct rfs_rival *ret_rival;
};

static bool counts_the_same(const struct rfs_claim *a, const struct rfs_claim *b)
{
	if (a->share == RFS_SHARE_NONE || b->share == RFS_SHARE_NONE)
		return false;
	return a->share == RFS_SHARE_WHOLE || b->share == RFS_SHARE_WHOLE;
}

static bool is_rival(const struct rfs_claimed *claimed, void *user)
{
	struct search *s = user;

	if (claimed->device != s->device || !counts_the_same(&claimed->claim, s->mine))
		return false;
	if (claimed->inode == s->inode && rfs_claim_equals(&claimed->claim, s->mine))
		return false;
	*s->ret_rival = (struct rfs_rival){ RFS_RIVALRY_DISK, claimed->claim, claimed->inode };
	return true;
}

static int search_disk(const struct rfs_claimant *us, struct rfs_rival *rival, struct rfs_failure *failure)
{
	struct stat st;

	if (us->claim.share == RFS_SHARE_NONE)
		return 0;
	if (fstat(us->dirfd, &st) < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -errno, "cannot look at REPO %s: %s; check its disk",
				us->path, strerror(errno));
	struct search s = { us->device, st.st_ino, &us->claim, rival };
	int r = rfs_claim_each(is_rival, &s);
	if (r < 0 && us->claim.share == RFS_SHARE_WHOLE)
		return rfs_fail(
			failure, RFS_EXIT_SYSTEM, r,
			"cannot see in /proc/locks whether another Repo counts the free space of the file system of "
			"REPO %s too: %s; mount /proc, or give this one a capacity of its own (-o capacity=SIZE)",
			us->path, strerror(-r));
	if (r < 0)
		rfs_log(LOG_WARNING,
			"cannot see in /proc/locks whether another Repo counts all the space of this file system: %s",
			strerror(-r));
	return 0;
}

int rfs_rival_find(const struct rfs_claimant *us, struct rfs_rival *ret_rival, struct rfs_failure *failure)
{
	struct rfs_rival rival = { .rivalry = RFS_RIVALRY_NONE };

	int r = rfs_claim_of_other(us->dirfd, &rival.claim);
	if (r == -EBUSY)
		return rfs_fail(
			failure, RFS_EXIT_SYSTEM, r,
			"another program holds a lock on the directory REPO %s; end that program, see lslocks(8)",
			us->path);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r,
				"cannot look for locks on REPO %s: %s; use another file system", us->path,
				strerror(-r));
	if (r == 1)
		rival.rivalry = RFS_RIVALRY_REPO;
	else
		r = search_disk(us, &rival, failure);
	if (r < 0)
		return r;
	if (rival.rivalry != RFS_RIVALRY_NONE && !rfs_claim_is_local(&rival.claim))
		rival.claim.pid = -1;
	*ret_rival = rival;
	return 0;
}

static bool is_mounted(const struct rfs_rival *rival, const char *recorded)
{
	struct rfs_mount mount;

	if (rival->claim.minor)
		return rfs_mounts_by_device(0, makedev(0, rival->claim.minor), &mount) != 0;
	return !recorded || rfs_mounts_has_tree(recorded);
}

void rfs_rival_locate(const struct rfs_rival *rival, const char *recorded, struct rfs_whereabouts *where)
{
	where->is_mounted = is_mounted(rival, recorded);
	if (where->is_mounted || where->is_known)
		return;
	where->is_known = true;
	where->keeper = (struct rfs_keeper){ .how = RFS_KEEPING_UNKNOWN };
	if (rival->claim.minor)
		rfs_keeper_find(makedev(0, rival->claim.minor), rival->claim.pid, &where->keeper);
}

static int refuse_unmounted(int pid, const char *path, const struct rfs_keeper *keeper, struct rfs_failure *failure)
{
	switch (keeper->how) {
	case RFS_KEEPING_NAMESPACE:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
				"REPO %s is already served by pid %d, whose tree is not mounted here, but in the mount "
				"namespace of pid %d (%s); unmount it there, or end pid %d (kill %d)",
				path, pid, (int) keeper->pid, keeper->name, pid, pid);
	case RFS_KEEPING_USE:
		return rfs_fail(
			failure, RFS_EXIT_SYSTEM, -EBUSY,
			"REPO %s is still served by pid %d, whose tree is no longer mounted, but in use: pid %d (%s) "
			"has its working directory or a file in it; end that process, or pid %d (kill %d)",
			path, pid, (int) keeper->pid, keeper->name, pid, pid);
	default:
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
				"REPO %s is still served by pid %d, whose tree is no longer mounted here: a process "
				"that uses it, or another mount namespace, keeps it; end that, or end pid %d (kill %d)",
				path, pid, pid, pid);
	}
}

static int refuse_same_repo(const struct rfs_rival *rival, const char *path, const struct rfs_whereabouts *where,
			    struct rfs_failure *failure)
{
	int pid = (int) rival->claim.pid;

	if (pid <= 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
				"REPO %s is already served by another container or host; unmount it there first", path);
	if (rival->claim.stage == RFS_STAGE_STARTING)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
				"REPO %s is about to be served by pid %d, which is still starting; wait for it, or end "
				"it (kill %d)",
				path, pid, pid);
	if (rival->claim.stage == RFS_STAGE_ENDING)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
				"REPO %s is still being closed by pid %d, which stores its last changes; wait for it, "
				"and look at its disk",
				path, pid);
	if (!where->is_mounted)
		return refuse_unmounted(pid, path, &where->keeper, failure);
	return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY, "REPO %s is already served by pid %d; unmount that one first",
			path, pid);
}

/* REPO as far as it can be told: resolved, or as it was given, or its inode. */
static void name_repo(const struct rfs_rival *rival, char *ret_text, size_t size)
{
	struct rfs_mount mount;
	char path[PATH_MAX];

	if (rival->claim.pid > 0 && rfs_claim_path(&rival->claim, path) == 0)
		snprintf(ret_text, size, "REPO %s", path);
	else if (rival->claim.minor && rfs_mounts_by_device(0, makedev(0, rival->claim.minor), &mount) == 1)
		snprintf(ret_text, size, "REPO %s", mount.source);
	else
		snprintf(ret_text, size, "another REPO (inode %llu)", (unsigned long long) rival->inode);
}

static void describe(const struct rfs_rival *rival, char *ret_text, size_t size)
{
	char repo[PATH_MAX + 64];

	name_repo(rival, repo, sizeof(repo));
	if (rival->claim.pid > 0)
		snprintf(ret_text, size, "%s, which pid %d serves", repo, (int) rival->claim.pid);
	else
		snprintf(ret_text, size, "%s, which another container serves", repo);
}

/* How the other one is got rid of. */
static void advise(const struct rfs_rival *rival, const struct rfs_whereabouts *where, char *ret_text, size_t size)
{
	int pid = (int) rival->claim.pid;

	if (pid <= 0)
		snprintf(ret_text, size, "end that one there");
	else if (where->is_mounted)
		snprintf(ret_text, size, "unmount that one");
	else
		snprintf(ret_text, size, "end pid %d (kill %d)", pid, pid);
}

static int refuse_same_disk(const struct rfs_rival *rival, const struct rfs_claimant *us,
			    const struct rfs_whereabouts *where, struct rfs_failure *failure)
{
	char other[PATH_MAX + 128], end[64];

	describe(rival, other, sizeof(other));
	advise(rival, where, end, sizeof(end));
	if (us->claim.share != RFS_SHARE_WHOLE)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
				"REPO %s is on the same file system as %s and which counts all of its free space; give "
				"that one a capacity of its own, too (-o capacity=SIZE), or %s",
				us->path, other, end);
	if (rival->claim.share != RFS_SHARE_WHOLE)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
				"REPO %s would count all the free space of the file system that it shares with %s with "
				"a capacity of its own; give this one a capacity, too (-o capacity=SIZE), or %s",
				us->path, other, end);
	return rfs_fail(failure, RFS_EXIT_SYSTEM, -EBUSY,
			"REPO %s is on the same file system as %s, and both count all of its free space; give each a "
			"capacity of its own (-o capacity=SIZE), or %s",
			us->path, other, end);
}

int rfs_rival_refuse(const struct rfs_rival *rival, const struct rfs_claimant *us, const struct rfs_whereabouts *where,
		     struct rfs_failure *failure)
{
	return rival->rivalry == RFS_RIVALRY_REPO ? refuse_same_repo(rival, us->path, where, failure)
						  : refuse_same_disk(rival, us, where, failure);
}
