/* SPDX-License-Identifier: MIT */
/*
 * tree.c: what creates, removes and renames. Invariant: contracts are the only entries that come, go, or change their
 * name; everything else in the tree is refused with EPERM.
 */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
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

static void create_job(struct rfs_fs *fs, struct rfs_job *job)
{
	if (rfs_job_claim(fs, job))
		rfs_change_create(fs, job->req, job->name, false);
}

/* Whether a name is taken is a question for the Datastore, unless the look-up that came just before has answered it. */
static void make_contract(struct rfs_fs *fs, fuse_req_t req, const char *name)
{
	struct rfs_contract *c = NULL;
	int rc = rfs_reservations_peek(fs->reservations, name, &c);

	if (rc == 0)
		rfs_contract_unref(c);
	if (rc == -EAGAIN)
		rfs_job_look_up(fs, req, create_job, RFS_INO_RESERVATIONS, name, 0, 0, false);
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

/* 0: `name` is a file of the contract's directory `parent`, whose contract the caller then has a reference to. */
static int find_file(struct rfs_fs *fs, fuse_ino_t parent, const char *name, struct rfs_contract **ret_contract)
{
	if (strcmp(name, "size") != 0)
		return -ENOENT;
	return rfs_node_contract(fs, parent, ret_contract);
}

static fuse_ino_t file_of(fuse_ino_t directory)
{
	return directory + 1;
}

/* The value stays, and so does the space: only the contract's own end releases it. Its name is out of the way, so that the
 * directory can be removed, or another value be put in its place. */
void rfs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_contract *c = NULL;
	int rc;

	if (!rfs_ino_is_contract_dir(parent)) {
		refuse_entry(req, parent, name, -EPERM, fixed_entry);
		return;
	}
	rc = find_file(fs, parent, name, &c);
	if (rc == 0)
		rfs_hide(fs, file_of(parent));
	fuse_reply_err(req, -rc);
	rfs_contract_unref(c);
}

/* What tools do that replace a file: they have unlinked it. The mode that they ask for is not theirs to choose. */
void rfs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_contract *c;
	int rc = rfs_ino_is_contract_dir(parent) ? find_file(fs, parent, name, &c) : -EPERM;

	if (rc == -ENOENT && strcmp(name, "size") != 0)
		rc = -EPERM;
	if (rc == -EPERM) {
		refuse_entry(req, parent, name, -EPERM, only_contracts);
	} else if (rc < 0) {
		fuse_reply_err(req, -rc);
	} else if (rfs_refuse_flags(fs, req, file_of(parent), fi)) {
		rfs_contract_unref(c);
	} else if ((fi->flags & O_EXCL) && !rfs_is_hidden(fs, file_of(parent))) {
		rfs_contract_unref(c);
		fuse_reply_err(req, EEXIST);
	} else {
		rfs_open_created(fs, req, c, mode, fi);
	}
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
