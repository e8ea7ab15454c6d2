/* SPDX-License-Identifier: MIT */
/*
 * rival.h: the daemon that is in the way of ours: it serves the same REPO, or it counts space on the same file system
 * that ours would count too. Of two Repos there, either may count all of what is free, and then only that one; or each
 * has a capacity of its own.
 */
#ifndef RFS_CLI_RIVAL_H
#define RFS_CLI_RIVAL_H

#include "cli/claim.h"
#include "cli/failure.h"
#include "cli/keeper.h"

#include <stdbool.h>

enum rfs_rivalry {
	RFS_RIVALRY_NONE,
	RFS_RIVALRY_REPO, /* the same REPO */
	RFS_RIVALRY_DISK, /* another REPO on the same file system */
};

struct rfs_rival {
	enum rfs_rivalry rivalry;
	struct rfs_claim claim; /* its pid is -1 where it is of another container or host */
	ino_t inode;		/* of its REPO */
};

/* A REPO that is to be served. */
struct rfs_claimant {
	const char *path;
	int dirfd;
	dev_t device; /* of its file system */
	struct rfs_claim claim;
};

/*
 * Looks for a rival of `us`, whose claim is made already. 0 and `ret_rival` (whose rivalry may be NONE), or a negative
 * errno and `failure`: what others claim is not to be seen.
 */
int rfs_rival_find(const struct rfs_claimant *us, struct rfs_rival *ret_rival, struct rfs_failure *failure);

/* Where the rival's tree is. */
struct rfs_whereabouts {
	bool is_mounted; /* here */
	bool is_known;	 /* if not: who keeps it was looked for */
	struct rfs_keeper keeper;
};

/* Finds that out. Where the tree's device is not known it is looked for on `recorded`, which may be NULL. */
void rfs_rival_locate(const struct rfs_rival *rival, const char *recorded, struct rfs_whereabouts *where);

/* Says why `us` cannot be served. -EBUSY. */
int rfs_rival_refuse(const struct rfs_rival *rival, const struct rfs_claimant *us, const struct rfs_whereabouts *where,
		     struct rfs_failure *failure);

#endif
