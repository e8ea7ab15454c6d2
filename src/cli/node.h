/* SPDX-License-Identifier: MIT */
/*
 * node.h: the Repo's directory on this node, that one daemon serves it, and that no other counts the same space.
 *
 *   REPO                   claimed by the daemon (claim.h)
 *   REPO/.reservefs/       0700, made when missing
 *   REPO/.reservefs/lock   locked (fcntl) by the daemon; its pid and mount point, a line each
 */
#ifndef RFS_CLI_NODE_H
#define RFS_CLI_NODE_H

#include "cli/claim.h"
#include "cli/failure.h"

#include <stdbool.h>

struct rfs_node {
	char *path; /* resolved */
	int fd;	    /* of the directory; good even when something is mounted over it */
	int state_fd;
	int lock_fd;
	dev_t device; /* of its file system, as mountinfo has it */
	bool is_claimed;
	struct rfs_claim claim; /* that is made; where it is not, the one to make */
};

#define RFS_NODE_INIT ((struct rfs_node){ .fd = -1, .state_fd = -1, .lock_fd = -1 })

/* Opens the directory `given`, claims it, for as long as it is open, and, where a lock file is there, takes the lock;
 * creates nothing. -EBUSY: another daemon serves it, or counts the space of its file system that `share` says this one
 * is to count. On failure `node` is to be given to rfs_node_done all the same. */
int rfs_node_open(struct rfs_node *node, const char *given, enum rfs_share share, struct rfs_failure *failure);

/* Makes what is missing, and takes the lock, for the life of this process (a fork does not inherit it). */
int rfs_node_claim(struct rfs_node *node, struct rfs_failure *failure);

/* Writes this process's pid and `mountpoint` ("" where it is not known) into the lock file, for people and for the next
 * daemon, which waits where the mount is gone but this process is not yet. That it can't be written is no error: the
 * lock itself tells the pid.
 */
void rfs_node_record(struct rfs_node *node, const char *mountpoint);

/* Lets others know the tree's device. */
void rfs_node_note_mount(struct rfs_node *node, dev_t device);

/* Lets others know that the tree is not mounted any more, and that it is worth waiting for the end. */
void rfs_node_note_end(struct rfs_node *node);

/* Whether the lock file says that the last daemon of this Repo had its tree on the resolved `path`. */
bool rfs_node_was_served_on(const struct rfs_node *node, const char *path);

void rfs_node_done(struct rfs_node *node);

#endif
