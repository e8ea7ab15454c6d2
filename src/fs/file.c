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

void rfs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct stat st;
	double timeout;
	int rc = rfs_node_stat(fs, ino, rfs_uid_of(req), &st, &timeout);

	(void) fi;
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

static const char read_only[] = "this file can only be read; write to reservations/CONTRACT/size";

void rfs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);

	if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		refuse_node(fs, req, ino, -EPERM, "owner and mode are fixed; choose the owner with uid= and gid= when mounting");
	else if (!(to_set & FUSE_SET_ATTR_SIZE) && to_set != 0)
		refuse_node(fs, req, ino, -EPERM, "times are those of the last change; they cannot be set");
	else if ((to_set & FUSE_SET_ATTR_SIZE) && !rfs_ino_is_size(ino))
		refuse_node(fs, req, ino, rfs_ino_is_dir(ino) ? -EISDIR : -EACCES, read_only);
	else if ((to_set & FUSE_SET_ATTR_SIZE) && attr->st_size != 0)
		refuse_node(fs, req, ino, -EINVAL, "a file cannot be cut or extended; write a size such as 10G to it");
	else
		rfs_op_getattr(req, ino, fi);
}

void rfs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	struct rfs_contract *c = NULL;
	int rc = 0;

	if (rfs_ino_is_dir(ino)) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	if (!rfs_ino_is_contract(ino) && (writes || (fi->flags & O_TRUNC))) {
		refuse_node(fs, req, ino, -EACCES, read_only);
		return;
	}
	if (writes && (fi->flags & O_APPEND)) {
		refuse_node(fs, req, ino, -EINVAL, "a size is replaced, never appended to; open without O_APPEND (use > rather than >>)");
		return;
	}
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
	/* No page cache: a cached page could show a value that was never accepted. No FLUSH: close decides nothing. */
	fi->direct_io = 1;
	fi->noflush = 1;
	if (fuse_reply_open(req, fi) < 0)
		rfs_handle_close(fs, rfs_handle_get(fs, fi->fh, ino));
}

static int make_text(struct rfs_fs *fs, fuse_req_t req, const struct rfs_handle *h, char text[RFS_TEXT_MAX], size_t *ret_length)
{
	struct rfs_contract_stat stat;
	int rc;

	if (!h->contract)
		return rfs_text_fixed(fs, h->ino, rfs_uid_of(req), text, ret_length);
	rc = rfs_contract_stat(h->contract, &stat);
	if (rc == 0)
		*ret_length = rfs_text_number(stat.size_bytes, text);
	return rc;
}

void rfs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_handle *h = rfs_handle_get(fs, fi->fh, ino);
	char text[RFS_TEXT_MAX];
	struct rfs_contract_stat stat;
	size_t length;
	int rc = h ? 0 : -EBADF;

	if (rc == 0 && h->contract)
		rc = rfs_contract_stat(h->contract, &stat);
	if (rc == 0 && (offset == 0 || !h->text)) {
		rc = make_text(fs, req, h, text, &length);
		if (rc == 0)
			rc = rfs_handle_keep(h, text, length);
	}
	if (rc == -ENODEV) {
		refuse_removed(fs, req, h);
		return;
	}
	if (rc == -EBADF || rc == -ENOMEM) {
		fuse_reply_err(req, -rc);
		return;
	}
	if (rc < 0) {
		refuse_node(fs, req, ino, -EIO, "the storage of the Repo cannot be asked for its free space; see to its disk");
		return;
	}
	length = offset >= 0 && (size_t) offset < h->length ? h->length - (size_t) offset : 0;
	fuse_reply_buf(req, length > 0 ? h->text + offset : NULL, size < length ? size : length);
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
		rfs_change_resize(fs, req, rfs_contract_ref(h->contract), bytes, size);
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
		fuse_reply_write(req, size);
	else
		refuse_node(fs, req, ino, -EINVAL, "a size is taken whole, at offset 0; write all of it with one write(2)");
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
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_handle *h = rfs_handle_get(fs, fi->fh, ino);

	if (h)
		rfs_handle_close(fs, h);
	fuse_reply_err(req, 0);
}

/* Blocks of one byte, so that df is exact. Inodes can always be had: only those in use mean something. */
void rfs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_figures figures;
	struct rfs_totals totals;
	struct statvfs st = { .f_bsize = 1, .f_frsize = 1, .f_namemax = RFS_NAME_MAX };
	int rc = rfs_reservations_figures(fs->reservations, &figures, &totals);

	(void) ino;
	if (rc < 0) {
		refuse_node(fs, req, RFS_INO_ROOT, -EIO, "the storage of the Repo cannot be asked for its free space; see to its disk");
		return;
	}
	st.f_blocks = figures.reserved + figures.available;
	st.f_bfree = st.f_bavail = figures.available;
	st.f_ffree = st.f_favail = UINT64_C(1) << 40;
	st.f_files = st.f_ffree + totals.contracts;
	fuse_reply_statfs(req, &st);
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
