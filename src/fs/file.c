/* SPDX-License-Identifier: MIT */
/*
 * file.c: reading and writing the files of the tree, and attributes. Invariant: a size is decided by one write(2) at offset
 * 0 and by nothing else; opening, truncating and closing change nothing.
 */
#include "fs/internal.h"

#include "util/size.h"
#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* Answers once all is known that has to be: what only the storage knows has just been measured. */
static void answer_attributes(struct rfs_fs *fs, struct rfs_job *job)
{
	struct stat st;
	double timeout;
	int rc = rfs_node_stat(fs, job->ino, job->uid, &st, &timeout);

	if (!rfs_job_claim(fs, job))
		return;
	if (rc < 0 || job->error < 0)
		fuse_reply_err(job->req, rc < 0 ? -rc : EIO);
	else
		fuse_reply_attr(job->req, &st, timeout);
}

/* Of `capacity` only a file system that changes its size makes another one. */
static void measure(struct rfs_fs *fs, struct rfs_job *job)
{
	if (!job)
		return;
	job->known_will_do |= job->ino == RFS_INO_CAPACITY;
	rfs_job_measure(fs, job);
}

void rfs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct stat st;
	double timeout;
	int rc;

	(void) fi;
	if (rfs_ino_is_measured(ino)) {
		measure(fs, rfs_job_new(fs, req, answer_attributes, ino, ""));
		return;
	}
	rc = rfs_node_stat(fs, ino, rfs_uid_of(req), &st, &timeout);
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else
		fuse_reply_attr(req, &st, timeout);
}

static void refuse_node(struct rfs_fs *fs, fuse_req_t req, fuse_ino_t ino, int error, const char *why)
{
	char path[RFS_PATH_MAX];

	rfs_node_path(fs, ino, NULL, path);
	rfs_refuse(fs, req, RFS_OP_OTHER, error, path, "%s", why);
}

/* An open file outlives its contract. */
static void refuse_removed(struct rfs_fs *fs, fuse_req_t req, const struct rfs_handle *h)
{
	char path[RFS_PATH_MAX];

	rfs_node_size_path(h->contract, path);
	rfs_refuse(fs, req, RFS_OP_OTHER, -ENODEV, path,
		   "the contract of this open file was removed, and nothing was changed; close it and look for the contract anew");
}

static const char storage_silent[] = "the storage of the Repo cannot be asked for its free space; see to its disk";
static const char read_only[] = "this file can only be read; write to reservations/CONTRACT/size";

/* Tools cut a file to the length of what they have just written to it, or of what is in it. */
static bool is_length_of_value(struct rfs_fs *fs, fuse_ino_t ino, off_t length, const struct fuse_file_info *fi, off_t now)
{
	struct rfs_handle *h = fi ? rfs_handle_get(fs, fi->fh, ino) : NULL;
	bool is = length == 0 || length == now || (h && length == rfs_handle_written(fs, h));

	rfs_handle_put(fs, h);
	return is;
}

/* Tools that create a file set the mode again that they have just asked for, with it open. The kernel does not say through what. */
static bool is_mode(struct rfs_fs *fs, fuse_ino_t ino, mode_t wanted, mode_t now)
{
	return ((wanted ^ now) & 07777) == 0 || (rfs_ino_is_size(ino) && rfs_handles_created(fs, ino, wanted));
}

/* What is asked for must be what is there: 0, or the errno for what is not, and why. */
static int check_attributes(struct rfs_fs *fs, fuse_ino_t ino, const struct stat *now, const struct stat *wanted, int to_set,
			    const struct fuse_file_info *fi, const char **ret_why)
{
	if ((to_set & FUSE_SET_ATTR_MODE) && !is_mode(fs, ino, wanted->st_mode, now->st_mode)) {
		*ret_why = "the mode is fixed; leave it as it is";
		return -EPERM;
	}
	if (((to_set & FUSE_SET_ATTR_UID) && wanted->st_uid != now->st_uid) ||
	    ((to_set & FUSE_SET_ATTR_GID) && wanted->st_gid != now->st_gid)) {
		*ret_why = "the owner is fixed; choose it with uid= and gid= when mounting";
		return -EPERM;
	}
	if ((to_set & FUSE_SET_ATTR_SIZE) && !rfs_ino_is_size(ino)) {
		*ret_why = read_only;
		return rfs_ino_is_dir(ino) ? -EISDIR : -EACCES;
	}
	if ((to_set & FUSE_SET_ATTR_SIZE) && !is_length_of_value(fs, ino, wanted->st_size, fi, now->st_size)) {
		*ret_why = "a file cannot be cut or extended to a length that is not that of its value; write a size such as 10G to it";
		return -EINVAL;
	}
	return 0;
}

/* Times are those of the last change: to set them succeeds, and changes nothing. */
void rfs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	const char *why = "";
	struct stat now;
	double timeout;
	int rc = rfs_node_stat(fs, ino, rfs_uid_of(req), &now, &timeout);

	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	rc = check_attributes(fs, ino, &now, attr, to_set, fi, &why);
	if (rc < 0)
		refuse_node(fs, req, ino, rc, why);
	else
		rfs_op_getattr(req, ino, fi);
}

/* No page cache: a cached page could show a value that was never accepted. No FLUSH: close decides nothing. */
static void set_open_flags(struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	fi->noflush = 1;
}

bool rfs_refuse_flags(struct rfs_fs *fs, fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;

	if (!rfs_ino_is_contract(ino) && (writes || (fi->flags & O_TRUNC)))
		refuse_node(fs, req, ino, -EACCES, read_only);
	else if (writes && (fi->flags & O_APPEND))
		refuse_node(fs, req, ino, -EINVAL, "a size is replaced, never appended to; open without O_APPEND (use > rather than >>)");
	else
		return false;
	return true;
}

/* The name that unlinking has hidden, or that somebody else has just created. */
void rfs_open_created(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	fuse_ino_t ino;
	int rc = rfs_fill_entry(fs, contract, true, &entry);

	if (rc < 0) {
		rfs_contract_unref(contract);
		fuse_reply_err(req, ENOENT);
		return;
	}
	ino = entry.ino;
	rc = rfs_handle_open(fs, ino, rfs_contract_ref(contract), &fi->fh);
	if (rc < 0) {
		rfs_contract_unref(contract);
		fuse_reply_err(req, -rc);
		return;
	}
	rfs_handle_note_created(fs, fi->fh, mode);
	set_open_flags(fi);
	rfs_unhide(fs, ino);
	rfs_contract_pin(contract);
	if (fuse_reply_create(req, &entry, fi) < 0) {
		rfs_contract_unpin(contract, 1);
		rfs_handle_close(fs, fi->fh, ino);
	}
	rfs_contract_unref(contract);
}

void rfs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_contract *c = NULL;
	int rc = 0;

	if (rfs_ino_is_dir(ino)) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	if (rfs_refuse_flags(fs, req, ino, fi))
		return;
	if (rfs_ino_is_contract(ino))
		rc = rfs_node_contract(fs, ino, &c);
	if (rc == 0)
		rc = rfs_handle_open(fs, ino, c, &fi->fh);
	if (rc == -ENOENT || rc == -ENODEV) {
		refuse_node(fs, req, ino, -ENODEV, "the contract was removed; look for it anew");
		return;
	}
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	set_open_flags(fi);
	if (fuse_reply_open(req, fi) < 0)
		rfs_handle_close(fs, fi->fh, ino);
}

static int make_text(struct rfs_fs *fs, uid_t uid, const struct rfs_handle *h, char text[RFS_TEXT_MAX], size_t *ret_length)
{
	struct rfs_contract_stat stat;
	int rc;

	if (!h->contract)
		return rfs_text_fixed(fs, h->ino, uid, text, ret_length);
	rc = rfs_contract_stat(h->contract, &stat);
	if (rc == 0)
		*ret_length = rfs_text_number(stat.size_bytes, text);
	return rc;
}

/* Takes a fresh snapshot, and replies with what of it was asked for. */
static void answer_fresh(struct rfs_fs *fs, fuse_req_t req, uid_t uid, struct rfs_handle *h, size_t size, off_t offset)
{
	char text[RFS_TEXT_MAX];
	size_t length = 0, from;
	int rc = make_text(fs, uid, h, text, &length);

	if (rc == 0)
		rc = rfs_handle_keep(fs, h, text, length);
	if (rc == -ENODEV) {
		refuse_removed(fs, req, h);
	} else if (rc == -ENOMEM) {
		fuse_reply_err(req, ENOMEM);
	} else if (rc < 0) {
		fuse_reply_err(req, EIO);
	} else {
		from = offset >= 0 && (size_t) offset < length ? (size_t) offset : length;
		fuse_reply_buf(req, text + from, size < length - from ? size : length - from);
	}
}

static void answer_measured(struct rfs_fs *fs, struct rfs_job *job)
{
	struct rfs_handle *h = rfs_handle_get(fs, job->fh, job->ino);

	if (rfs_job_claim(fs, job)) {
		if (!h)
			fuse_reply_err(job->req, EBADF);
		else if (job->error < 0)
			refuse_node(fs, job->req, job->ino, -EIO, storage_silent);
		else
			answer_fresh(fs, job->req, job->uid, h, job->size, job->offset);
	}
	rfs_handle_put(fs, h);
}

static void measure_for_read(struct rfs_fs *fs, fuse_req_t req, const struct rfs_handle *h, size_t size, off_t offset)
{
	struct rfs_job *job = rfs_job_new(fs, req, answer_measured, h->ino, "");

	if (!job)
		return;
	job->fh = h->fh;
	job->size = size;
	job->offset = offset;
	measure(fs, job);
}

static void answer_kept(struct rfs_fs *fs, fuse_req_t req, struct rfs_handle *h, size_t size, off_t offset)
{
	char data[RFS_TEXT_MAX];

	fuse_reply_buf(req, data, rfs_handle_copy(fs, h, offset, size < sizeof data ? size : sizeof data, data));
}

void rfs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_handle *h = rfs_handle_get(fs, fi->fh, ino);
	struct rfs_contract_stat stat;

	if (!h)
		fuse_reply_err(req, EBADF);
	else if (h->contract && rfs_contract_stat(h->contract, &stat) < 0)
		refuse_removed(fs, req, h);
	else if (offset != 0 && rfs_handle_has_text(fs, h))
		answer_kept(fs, req, h, size, offset);
	else if (rfs_ino_is_measured(ino))
		measure_for_read(fs, req, h, size, offset);
	else
		answer_fresh(fs, req, rfs_uid_of(req), h, size, offset);
	rfs_handle_put(fs, h);
}

/* The beginning of what was written, as one printable line; NUL bytes are shown too. */
static void show_value(const char *data, size_t size, char *ret_shown, size_t shown_size)
{
	char value[65] = "";
	size_t cut = size < sizeof value - 1 ? size : sizeof value - 1, used = 0;

	while (cut > 0 && rfs_is_white_space(data + cut - 1, 1))
		cut--;
	memcpy(value, data, cut);
	for (size_t i = 0; i <= cut; i += strlen(value + i) + 1) {
		if (i > 0)
			used += (size_t) snprintf(ret_shown + used, shown_size - used, "\\x00");
		rfs_utf8_escape(value + i, ret_shown + used, shown_size - used);
		used += strlen(ret_shown + used);
	}
}

static void refuse_value(struct rfs_fs *fs, fuse_req_t req, struct rfs_handle *h, int error, const char *data, size_t size)
{
	char shown[4 * 65], path[RFS_PATH_MAX];

	show_value(data, size, shown, sizeof shown);
	rfs_node_size_path(h->contract, path);
	if (error == -ERANGE)
		rfs_refuse(fs, req, RFS_OP_RESIZE, error, path, "%s is more than can be counted; write at most %llu", shown,
			   (unsigned long long) RFS_BYTES_MAX);
	else if (size > RFS_SIZE_TEXT_MAX)
		rfs_refuse(fs, req, RFS_OP_RESIZE, error, path, "the value is %zu bytes long; write at most %d", size,
			   RFS_SIZE_TEXT_MAX);
	else if (rfs_is_white_space(data, size))
		rfs_refuse(fs, req, RFS_OP_RESIZE, error, path, "the value is empty; write a size such as 10G, or max");
	else
		rfs_refuse(fs, req, RFS_OP_RESIZE, error, path, "\"%s\" is not a size; write digits and a unit, such as 10G, or max",
			   shown);
}

static void write_value(struct rfs_fs *fs, fuse_req_t req, struct rfs_handle *h, const char *data, size_t size)
{
	uint64_t bytes;
	int rc = rfs_size_parse(data, size, &bytes);

	if (rc < 0)
		refuse_value(fs, req, h, rc, data, size);
	else
		rfs_change_resize(fs, req, rfs_handle_get(fs, h->fh, h->ino), bytes, size);
}

/* A shell's printf may send the newline by itself. */
static void write_space(struct rfs_fs *fs, fuse_req_t req, struct rfs_handle *h, size_t size, off_t offset)
{
	rfs_handle_note_written(fs, h, offset + (off_t) size);
	fuse_reply_write(req, size);
}

void rfs_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_handle *h = rfs_handle_get(fs, fi->fh, ino);
	struct rfs_contract_stat stat;

	if (!h || !h->contract)
		fuse_reply_err(req, EBADF);
	else if (rfs_contract_stat(h->contract, &stat) < 0)
		refuse_removed(fs, req, h);
	else if (fi->flags & O_APPEND)
		refuse_node(fs, req, ino, -EINVAL, "a size is replaced, never appended to; write without O_APPEND");
	else if (offset == 0)
		write_value(fs, req, h, data, size);
	else if (size <= RFS_SIZE_TEXT_MAX && rfs_is_white_space(data, size))
		write_space(fs, req, h, size, offset);
	else
		refuse_node(fs, req, ino, -EINVAL, "a size is taken whole, at offset 0; write all of it with one write(2)");
	rfs_handle_put(fs, h);
}

void rfs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void) ino;
	(void) fi;
	fuse_reply_err(req, 0);
}

/* A write that returned is durable; what may not be yet is that its contract exists. */
void rfs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void) datasync;
	(void) fi;
	if (rfs_ino_is_contract(ino))
		rfs_change_sync(rfs_fs_of(req), req);
	else
		fuse_reply_err(req, 0);
}

void rfs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	rfs_handle_close(rfs_fs_of(req), fi->fh, ino);
	fuse_reply_err(req, 0);
}

/* Blocks of one byte, so that df is exact. Inodes can always be had: only those in use mean something. */
static void answer_statfs(struct rfs_fs *fs, struct rfs_job *job)
{
	struct statvfs st = { .f_bsize = 1, .f_frsize = 1, .f_namemax = RFS_NAME_MAX };
	struct rfs_figures figures;
	struct rfs_totals totals;

	if (!rfs_job_claim(fs, job))
		return;
	if (job->error < 0) {
		refuse_node(fs, job->req, RFS_INO_ROOT, -EIO, storage_silent);
		return;
	}
	rfs_reservations_figures(fs->reservations, &figures, &totals);
	st.f_blocks = figures.reserved + figures.available;
	st.f_bfree = st.f_bavail = figures.available;
	st.f_ffree = st.f_favail = UINT64_C(1) << 40;
	st.f_files = st.f_ffree + totals.contracts;
	fuse_reply_statfs(job->req, &st);
}

/* Who asks for the space asks at the mount point. At directories below it, tools that walk through a tree want to know its type:
 * rm -r must not wait for the storage of the Repo. */
void rfs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_job *job = rfs_job_new(fs, req, answer_statfs, RFS_INO_ROOT, "");

	if (job)
		job->known_will_do = ino == RFS_INO_RESERVATIONS || rfs_ino_is_contract(ino);
	measure(fs, job);
}

void rfs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	(void) ino;
	(void) mode;
	(void) offset;
	(void) length;
	(void) fi;
	fuse_reply_err(req, EOPNOTSUPP);
}
