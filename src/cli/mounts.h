/* SPDX-License-Identifier: MIT */
/*
 * mounts.h: what the kernel has mounted. Asks the kernel alone, never a file system, so it never waits for one.
 *
 * A path is not a mount: another one may come to lie on the same path, and a mount can be moved. A mount is known by
 * its id, which no other mount has while it is there, and its file system by its device.
 */
#ifndef RFS_CLI_MOUNTS_H
#define RFS_CLI_MOUNTS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* The type of a tree's mount, as mountinfo has it. */
#define RFS_TREE_TYPE "fuse.reservefs"

struct rfs_mount {
	int id;
	int parent_id;	/* the mount that it lies on */
	dev_t device;	/* of its file system, also where a file in it tells another, as on btrfs */
	bool is_shared; /* what is mounted in it shows in other mount namespaces */
	char path[PATH_MAX];
	char source[PATH_MAX]; /* of a tree: REPO as it was given */
	char type[64];
	uid_t user_id; /* of a tree: whom it lets in, in any case */
	gid_t group_id;
};

/* The id of the mount that the open file `fd` (O_PATH will do) is on, or a negative errno. */
int rfs_mounts_id(int fd);

/*
 * Calls `look` for each mount that the process `pid` sees (0: this one), until it returns true. Returns 1 then, 0 where
 * it never did, or a negative errno: they cannot be read.
 */
int rfs_mounts_each(pid_t pid, bool (*look)(const struct rfs_mount *mount, void *user), void *user);

/* The mount of that id. 1 and `ret_mount`; 0: there is none; or a negative errno. */
int rfs_mounts_by_id(int id, struct rfs_mount *ret_mount);

/* A tree's mount, of several any, whose file system is `device`, seen by the process `pid` (0: this one). The same
 * results. */
int rfs_mounts_by_device(pid_t pid, dev_t device, struct rfs_mount *ret_mount);

/* The mount that the open file `fd` (O_PATH will do) is on. The same results. */
int rfs_mounts_of(int fd, struct rfs_mount *ret_mount);

/* The mount that the path `name`, relative to the open directory `dirfd`, leads to or into: of several on one path the
 * one on top. The same results. */
int rfs_mounts_at(int dirfd, const char *name, struct rfs_mount *ret_mount);

/* Whether it is a tree of this kind, its daemon alive or not, that is mounted on the resolved `path`; `fd` is open
 * there. */
bool rfs_mounts_is_tree(int fd, const char *path);

/* Whether a tree of this kind, its daemon alive or not, is mounted on the resolved `path`. */
bool rfs_mounts_has_tree(const char *path);

#endif
