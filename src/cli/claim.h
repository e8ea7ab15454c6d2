/* SPDX-License-Identifier: MIT */
/*
 * claim.h: how daemons on one kernel know of each other. Each holds, on the directory of its REPO, a lock of one byte
 * whose position says what there is to know. The kernel lists all such locks, with the file system and the inode of
 * what is locked, in /proc/locks: for everybody to read, across mount and pid namespaces, bind mounts and users, and
 * gone with the daemon.
 *
 * It is an open file description lock (fcntl(2), F_OFD_SETLK): the directory, and no name in it that can be removed, is
 * what it is about, and no other descriptor that the process may close lets go of it. A directory can only be opened
 * for reading, so it is a read lock, and whoever wants to be the only one looks, when it holds its own, whether there
 * is another.
 */
#ifndef RFS_CLI_CLAIM_H
#define RFS_CLI_CLAIM_H

#include <stdbool.h>
#include <sys/types.h>

/* Of the free space of the file system that the Repo is on, what does it count as its own? */
enum rfs_share {
	RFS_SHARE_NONE,	 /* none, as a Repo `quota` */
	RFS_SHARE_PART,	 /* what its capacity says */
	RFS_SHARE_WHOLE, /* all of it */
};

enum rfs_stage {
	RFS_STAGE_STARTING, /* it may yet withdraw */
	RFS_STAGE_SERVING,
	RFS_STAGE_ENDING, /* it is unmounted, and stores what is left to store */
};

struct rfs_claim {
	enum rfs_share share;
	enum rfs_stage stage;
	unsigned int minor;  /* of the device number of the tree's file system (the major is 0); 0: not known yet */
	unsigned int pid_ns; /* some bits of the number of the daemon's pid namespace */
	pid_t pid;	     /* in that */
};

/* A claim, and on what. */
struct rfs_claimed {
	struct rfs_claim claim;
	dev_t device; /* of the file system, as mountinfo has it */
	ino_t inode;
};

/* A claim of this process. */
struct rfs_claim rfs_claim_mine(enum rfs_share share);

/* Makes the claim on the directory `dirfd`; `old`, unless NULL, is one of the same descriptor that it takes the place
 * of. */
int rfs_claim_make(int dirfd, const struct rfs_claim *claim, const struct rfs_claim *old);

void rfs_claim_drop(int dirfd, const struct rfs_claim *claim);

/* Whether somebody else, by another open file description, claims that directory. 1 and `ret_other`; 0; or a negative
 * errno, -EBUSY for a lock of another kind. */
int rfs_claim_of_other(int dirfd, struct rfs_claim *ret_other);

/* Calls `look` for every claim on this kernel until it returns true. 1: it did; 0; or a negative errno: they can't be
 * read. */
int rfs_claim_each(bool (*look)(const struct rfs_claimed *claimed, void *user), void *user);

/* Whether it is the same claim. */
bool rfs_claim_equals(const struct rfs_claim *a, const struct rfs_claim *b);

/* Whether the claim's process is one that we know by its pid. */
bool rfs_claim_is_local(const struct rfs_claim *claim);

/* Finds the path of the directory that the claim is on, where the process that holds it may be looked into. `ret_path`
 * has PATH_MAX bytes. A negative errno: it may not, or there is no such process. */
int rfs_claim_path(const struct rfs_claim *claim, char *ret_path);

#endif
