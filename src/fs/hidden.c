/* SPDX-License-Identifier: MIT */
/*
 * hidden.c: names of files that were unlinked. Whoever unlinks a file of a contract removes the contract next, or puts
 * another value in the file's place; either way the file itself stays, and holds what it holds. Invariant: a name is hidden for
 * HIDDEN_NS at most.
 */
#include "fs/internal.h"

#include "util/thread.h"

#define HIDDEN_NS RFS_NS_A_SECOND

/* How many names are hidden at a time; the one that was hidden first is back before its time. */
#define HIDDEN_MOST 65536

struct rfs_hidden {
	fuse_ino_t ino;
	int64_t until_ns; /* CLOCK_MONOTONIC */
	UT_hash_handle hh; /* in the order in which they were hidden, and so of until_ns */
};

static void remove_locked(struct rfs_fs *fs, struct rfs_hidden *h)
{
	HASH_DEL(fs->hidden, h);
	free(h);
}

static struct rfs_hidden *find_locked(struct rfs_fs *fs, fuse_ino_t ino)
{
	struct rfs_hidden *h;

	HASH_FIND(hh, fs->hidden, &ino, sizeof ino, h);
	return h;
}

static void drop_old_locked(struct rfs_fs *fs, int64_t now)
{
	while (fs->hidden && (fs->hidden->until_ns <= now || HASH_COUNT(fs->hidden) >= HIDDEN_MOST))
		remove_locked(fs, fs->hidden);
}

void rfs_hide(struct rfs_fs *fs, fuse_ino_t ino)
{
	struct rfs_hidden *h = calloc(1, sizeof *h), *before;
	int64_t now = rfs_now_ns();

	if (!h)
		return; /* then it is found again at once */
	h->ino = ino;
	h->until_ns = now + HIDDEN_NS;
	RFS_LOCK(&fs->hidden_lock);
	drop_old_locked(fs, now);
	before = find_locked(fs, ino);
	if (before)
		remove_locked(fs, before);
	HASH_ADD(hh, fs->hidden, ino, sizeof h->ino, h);
	if (!h->hh.tbl)
		free(h);
}

void rfs_unhide(struct rfs_fs *fs, fuse_ino_t ino)
{
	struct rfs_hidden *h;
	RFS_LOCK(&fs->hidden_lock);

	h = find_locked(fs, ino);
	if (h)
		remove_locked(fs, h);
}

bool rfs_is_hidden(struct rfs_fs *fs, fuse_ino_t ino)
{
	struct rfs_hidden *h;
	RFS_LOCK(&fs->hidden_lock);

	h = fs->hidden ? find_locked(fs, ino) : NULL;
	return h && h->until_ns > rfs_now_ns();
}

void rfs_hidden_free(struct rfs_fs *fs)
{
	while (fs->hidden)
		remove_locked(fs, fs->hidden);
}
