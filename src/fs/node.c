/* SPDX-License-Identifier: MIT */
/*
 * node.c: inode numbers, names and attributes. Invariant: what the kernel may keep for long is only what cannot change
 * without the kernel itself changing it, or being told.
 */
#include "fs/internal.h"

#include "util/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Seconds. All changes to names go through this mount's kernel, so it may keep them. */
#define KEEP_LONG 86400.0

/* Seconds. The kernel drops what it keeps of `reservations` when it changes it, but an answer that was under way then
 * it may still take for fresh. */
#define KEEP_SHORT 1.0

/* A contract that was changed less than this many seconds ago is likely to be changed again. */
#define HOT 1

const struct rfs_fixed rfs_root_entries[] = {
	{ "available", RFS_INO_AVAILABLE },   { "capacity", RFS_INO_CAPACITY },         { "reserved", RFS_INO_RESERVED },
	{ "status", RFS_INO_STATUS },         { "last_error", RFS_INO_LAST_ERROR },     { "metrics", RFS_INO_METRICS },
	{ "reservations", RFS_INO_RESERVATIONS },
};
const size_t rfs_root_entry_count = sizeof rfs_root_entries / sizeof rfs_root_entries[0];

double rfs_node_entry_timeout(void)
{
	return KEEP_LONG;
}

int rfs_node_contract(struct rfs_fs *fs, fuse_ino_t ino, struct rfs_contract **ret_contract)
{
	int rc;

	if (!rfs_ino_is_contract(ino))
		return -ESTALE;
	rc = rfs_reservations_peek_id(fs->reservations, ino / 2, ret_contract);
	return rc == -EAGAIN ? -ESTALE : rc;
}

static const char *fixed_name(fuse_ino_t ino)
{
	for (size_t i = 0; i < rfs_root_entry_count; i++)
		if (rfs_root_entries[i].ino == ino)
			return rfs_root_entries[i].name;
	return ".";
}

void rfs_node_path(struct rfs_fs *fs, fuse_ino_t ino, const char *child, char ret_path[RFS_PATH_MAX])
{
	char name[RFS_NAME_MAX + 1] = "?", shown[4 * RFS_NAME_MAX + 1] = "", child_shown[4 * RFS_NAME_MAX + 1] = "";
	struct rfs_contract *c;
	const char *slash = child ? "/" : "";

	if (child)
		rfs_utf8_escape(child, child_shown, sizeof child_shown);
	if (!rfs_ino_is_contract(ino)) {
		if (ino == RFS_INO_ROOT && child)
			(void) snprintf(ret_path, RFS_PATH_MAX, "%s", child_shown);
		else
			(void) snprintf(ret_path, RFS_PATH_MAX, "%s%s%s", fixed_name(ino), slash, child_shown);
		return;
	}
	if (rfs_node_contract(fs, ino, &c) == 0) {
		rfs_contract_name(c, name);
		rfs_contract_unref(c);
	}
	rfs_utf8_escape(name, shown, sizeof shown);
	(void) snprintf(ret_path, RFS_PATH_MAX, "reservations/%s%s%s%s", shown, rfs_ino_is_size(ino) ? "/size" : "", slash,
			child_shown);
}

void rfs_node_size_path(struct rfs_contract *contract, char ret_path[RFS_PATH_MAX])
{
	char name[RFS_NAME_MAX + 1], shown[4 * RFS_NAME_MAX + 1];

	rfs_contract_name(contract, name);
	rfs_utf8_escape(name, shown, sizeof shown);
	(void) snprintf(ret_path, RFS_PATH_MAX, "reservations/%s/size", shown);
}

static void fill_stat(struct rfs_fs *fs, const struct rfs_contract_stat *stat, bool size, struct stat *ret_stat)
{
	struct timespec changed = { .tv_sec = stat->changed.seconds, .tv_nsec = stat->changed.nanoseconds };
	char text[RFS_TEXT_MAX];

	*ret_stat = (struct stat) {
		.st_ino = rfs_ino_of(stat->id, size),
		.st_uid = fs->uid,
		.st_gid = fs->gid,
		.st_mode = size ? S_IFREG | 0644 : S_IFDIR | 0755,
		.st_nlink = size ? 1 : 2,
		.st_blksize = 4096,
		.st_mtim = changed,
		.st_ctim = changed,
		.st_atim = changed,
	};
	if (size) {
		ret_stat->st_size = (off_t) rfs_text_number(stat->size_bytes, text);
		/* Units of 512 bytes, whatever st_blksize says: stat(2). */
		ret_stat->st_blocks = (blkcnt_t) (stat->size_bytes / 512 + (stat->size_bytes % 512 != 0));
	}
}

/* The kernel drops what it keeps of `size` by itself when that is written. Of the directory it must be told, so that is
 * watched. */
int rfs_node_contract_stat(struct rfs_fs *fs, struct rfs_contract *contract, bool size, struct stat *ret_stat,
			   double *ret_timeout)
{
	struct rfs_contract_stat stat;
	int rc = size ? rfs_contract_stat(contract, &stat) : rfs_contract_watch(contract, &stat);

	if (rc < 0)
		return rc;
	fill_stat(fs, &stat, size, ret_stat);
	*ret_timeout = KEEP_LONG;
	return 0;
}

/* A directory whose attributes are asked for so soon after a change is on the way to the next one: keeping them would
 * only mean to tell the kernel again. */
static int dir_stat(struct rfs_fs *fs, struct rfs_contract *c, struct stat *ret_stat, double *ret_timeout)
{
	struct rfs_contract_stat stat;
	struct timespec now;
	int rc = rfs_contract_stat(c, &stat);

	if (rc < 0)
		return rc;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec - stat.changed.seconds > HOT)
		return rfs_node_contract_stat(fs, c, false, ret_stat, ret_timeout);
	fill_stat(fs, &stat, false, ret_stat);
	*ret_timeout = 0;
	return 0;
}

static int fixed_stat(struct rfs_fs *fs, fuse_ino_t ino, uid_t uid, struct stat *ret_stat, double *ret_timeout)
{
	struct rfs_totals totals;
	char text[RFS_TEXT_MAX];
	size_t length;
	struct stat st = {
		.st_ino = ino,
		.st_uid = fs->uid,
		.st_gid = fs->gid,
		.st_blksize = 4096,
		.st_mtim = fs->started,
		.st_ctim = fs->started,
		.st_atim = fs->started,
	};
	int rc;

	if (ino == RFS_INO_ROOT) {
		st.st_mode = S_IFDIR | 0755;
		st.st_nlink = 3;
	} else if (ino == RFS_INO_RESERVATIONS) {
		rfs_reservations_totals(fs->reservations, &totals);
		st.st_mode = S_IFDIR | 0755;
		st.st_nlink = 2 + totals.contracts;
		st.st_mtim.tv_sec = totals.changed.seconds;
		st.st_mtim.tv_nsec = totals.changed.nanoseconds;
		st.st_ctim = st.st_mtim;
	} else {
		rc = rfs_text_fixed(fs, ino, uid, text, &length);
		if (rc < 0)
			return rc;
		st.st_mode = S_IFREG | 0444;
		st.st_nlink = 1;
		st.st_size = (off_t) length;
		if (ino != RFS_INO_CAPACITY)
			st.st_mtim = st.st_ctim = rfs_last_event(fs);
	}
	*ret_stat = st;
	*ret_timeout = ino == RFS_INO_ROOT ? KEEP_LONG : ino == RFS_INO_RESERVATIONS ? KEEP_SHORT : 0;
	return 0;
}

int rfs_node_stat(struct rfs_fs *fs, fuse_ino_t ino, uid_t uid, struct stat *ret_stat, double *ret_timeout)
{
	struct rfs_contract *c;
	int rc;

	if (ino < RFS_INO_FIXED_END)
		return fixed_stat(fs, ino, uid, ret_stat, ret_timeout);
	rc = rfs_node_contract(fs, ino, &c);
	if (rc < 0)
		return rc == -ENOENT && rfs_ino_is_size(ino) ? -ENODEV : rc;
	if (rfs_ino_is_size(ino))
		rc = rfs_node_contract_stat(fs, c, true, ret_stat, ret_timeout);
	else
		rc = dir_stat(fs, c, ret_stat, ret_timeout);
	rfs_contract_unref(c);
	return rc;
}
