/* SPDX-License-Identifier: MIT */
/* health.c: asks a tree whether somebody is there. Invariant: whoever hangs, the one who asks does not. */
#include "cli/health.h"
#include "cli/child.h"
#include "cli/mounts.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/statfs.h>
#include <unistd.h>

#define ANSWER_MS 5000

struct question {
	int fd;
	bool is_tree;
	struct rfs_mount mount;
};

/* By statfs, because stat is answered from what the kernel has kept of the root. Whom the tree does not let in, root
 * too, the kernel answers without asking; so root asks as its user. */
static int ask(void *user)
{
	const struct question *q = user;
	uid_t uid = q->mount.user_id;
	gid_t gid = q->mount.group_id;
	struct statfs fs;

	if (q->is_tree && geteuid() == 0 && (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
		return RFS_HEALTH_ALIVE;
	return fstatfs(q->fd, &fs) < 0 && errno == ENOTCONN ? RFS_HEALTH_DEAD : RFS_HEALTH_ALIVE;
}

enum rfs_health rfs_health_of(int fd)
{
	struct question q = { .fd = fd };

	q.is_tree = rfs_mounts_of(fd, &q.mount) == 1;
	int r = rfs_child_ask(ask, &q, fd, ANSWER_MS);
	if (r == -ETIMEDOUT)
		return RFS_HEALTH_HUNG;
	return r == RFS_HEALTH_DEAD ? RFS_HEALTH_DEAD : RFS_HEALTH_ALIVE;
}
