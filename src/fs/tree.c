/* SPDX-License-Identifier: MIT */
/*
 * tree.c: what creates, removes and renames. Invariant: contracts are the only entries that come, go, or change their
 * name; everything else in the tree is refused with EPERM.
 */
#include "fs/internal.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>

static void refuse_entry(fuse_req_t req, fuse_ino_t parent, const char *name, int error, const char *why)
{
	char path[RFS_PATH_MAX];
	struct rfs_fs *fs = rfs_fs_of(req);

	rfs_node_path(fs, parent, name, path);
	rfs_refuse(fs, req, RFS_OP_OTHER, error, path, "%s", why);
}

static const char fixed_entry[] = "this entry belongs to the tree and cannot be removed; remove contracts, with rmdir";
static const char only_contracts[] = "nothing can be created here; create a contract with mkdir reservations/NAME";

void rfs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void) mode;
	(void) rdev;
	refuse_entry(req, parent, name, -EPERM, only_contracts);
}

void rfs_op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void) link;
	refuse_entry(req, parent, name, -EPERM, only_contracts);
}

void rfs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	(void) ino;
	refuse_entry(req, new_parent, new_name, -EPERM, only_contracts);
}

void rfs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	(void) mode;
	(void) fi;
	refuse_entry(req, parent, name, -EPERM, only_contracts);
}

static void create_job(struct rfs_fs *fs, struct rfs_job *job)
{
	rfs_change_create(fs, job->req, job->name, false);
	free(job);
}

/* Whether a name is taken is a question for the Datastore, unless the look-up that came just before has answered it. */
static void make_contract(struct rfs_fs *fs, fuse_req_t req, const char *name)
{
	struct rfs_contract *c = NULL;
	int rc = rfs_reservations_peek(fs->reservations, name, &c);

	if (rc == 0)
		rfs_contract_unref(c);
	if (rc == -EAGAIN)
		rfs_worker_submit(fs, req, create_job, RFS_INO_RESERVATIONS, name, 0, 0, false);
	else
		rfs_change_create(fs, req, name, true);
}

void rfs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void) mode;
	if (parent == RFS_INO_RESERVATIONS)
		make_contract(rfs_fs_of(req), req, name);
	else
		refuse_entry(req, parent, name, -EPERM, only_contracts);
}

void rfs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_contract *c;
	int rc;

	if (!rfs_ino_is_contract_dir(parent)) {
		refuse_entry(req, parent, name, -EPERM, fixed_entry);
		return;
	}
	rc = strcmp(name, "size") == 0 ? rfs_node_contract(fs, parent, &c) : -ENOENT;
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else
		rfs_change_release(fs, req, c);
}

/* Goes on with the contract of that name, which the kernel looked up before it asked, so that memory has it. Where it does not,
 * and it cannot be had at once, the kernel is to look it up again, and is told then what is wrong. */
static void with_contract(struct rfs_fs *fs, fuse_req_t req, const char *name,
			  void (*go_on)(struct rfs_fs *, fuse_req_t, struct rfs_contract *, const char *),
			  const char *argument)
{
	struct rfs_contract *c;
	int rc = rfs_reservations_peek(fs->reservations, name, &c);

	if (rc == 0)
		go_on(fs, req, c, argument);
	else
		fuse_reply_err(req, rc == -ENOENT || rc == -ENAMETOOLONG ? -rc : ESTALE);
}

static void remove_contract(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *c, const char *unused)
{
	(void) unused;
	rfs_change_remove(fs, req, c);
}

void rfs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (parent == RFS_INO_RESERVATIONS)
		with_contract(rfs_fs_of(req), req, name, remove_contract, NULL);
	else
		refuse_entry(req, parent, name, -EPERM, fixed_entry);
}

void rfs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		   unsigned int flags)
{
	if (flags & ~(unsigned int) RENAME_NOREPLACE)
		refuse_entry(req, parent, name, -EINVAL, "contracts cannot be exchanged; rename them one after the other");
	else if (parent != RFS_INO_RESERVATIONS || new_parent != RFS_INO_RESERVATIONS)
		refuse_entry(req, parent, name, -EPERM, "this cannot be renamed; rename contracts, from one name in reservations to another");
	else
		with_contract(rfs_fs_of(req), req, name, rfs_change_rename, new_name);
}
