/* SPDX-License-Identifier: MIT */
/*
 * fs.h: the mounted tree: FUSE operations <-> reservations. The one header of this layer that cli uses.
 *
 * Threads: rfs_fs_run has threads of its own that take turns in reading requests, which never waits for a disk. Others do
 * what may: look-ups and listings that only the Datastore can answer, figures that only the storage of the Repo knows. Changes
 * are answered by the thread that writes them. The thread that calls it waits for signals, and for the end.
 */
#ifndef RFS_FS_FS_H
#define RFS_FS_FS_H

#include <reservefs/reservations.h>
#include <stdbool.h>
#include <sys/types.h>

struct fuse_args;
struct rfs_fs;

struct rfs_fs_options {
	struct rfs_reservations *reservations; /* kept by the caller, who closes it after rfs_fs_free */
	const char *pool;                      /* the name of this pool, for metrics; copied */
	uid_t uid;                             /* the owner of the tree */
	gid_t gid;
	/* The mount is made by somebody else, and may lack default_permissions: have the kernel check them all the same. */
	bool check_permissions;
	/* Called by the thread in rfs_fs_run once the kernel and libfuse have agreed: it can be used from then on. */
	void (*ready)(void *user);
	void *user;
};

/* Prepares a session with libfuse's arguments (argv[0], then mount options). -EINVAL: an option libfuse does not know
 * (libfuse has said which through its log). The caller owns the result. */
int rfs_fs_new(struct fuse_args *args, const struct rfs_fs_options *options, struct rfs_fs **ret_fs);

/* Mounts on `mountpoint`. Returns -errno as far as libfuse tells one, else -EIO. */
int rfs_fs_mount(struct rfs_fs *fs, const char *mountpoint);

/* Instead of a mount: serves whoever speaks the kernel's side of the protocol at the other end of `fd`, a socket that keeps
 * messages apart. Takes over `fd`, and is called once. The session ends when the other end is closed. -EBADF, -ENOMEM. */
int rfs_fs_attach(struct rfs_fs *fs, int fd);

/* How serving came to an end. */
enum rfs_fs_end {
	RFS_FS_TOLD,         /* by SIGINT, SIGTERM or SIGHUP */
	RFS_FS_DISCONNECTED, /* by the kernel: unmounted, or the connection was aborted */
	RFS_FS_NEVER_BEGAN,  /* the kernel and libfuse did not agree; libfuse has said why through its log */
};

/*
 * Serves until unmounted, or until SIGINT, SIGTERM or SIGHUP, which the calling thread waits for; they should be blocked in all
 * threads. Every request that it took is answered when it returns, but for those that a storage keeps which does not answer.
 * 0, or a negative errno: -ETIMEDOUT where that is the Datastore's.
 */
int rfs_fs_run(struct rfs_fs *fs, enum rfs_fs_end *ret_end);

/* Whether the kernel still holds the other end: the tree is mounted somewhere, or in use. */
bool rfs_fs_is_connected(const struct rfs_fs *fs);

/* Lets go of the connection; whoever uses the tree sees that from then on. No mount is taken away: what it is mounted on is
 * the caller's to know. After rfs_fs_run. */
void rfs_fs_disconnect(struct rfs_fs *fs);

/* Also where some of its threads are kept by a storage that does not answer: then most of it stays until the process ends. */
void rfs_fs_free(struct rfs_fs *fs);

#endif
