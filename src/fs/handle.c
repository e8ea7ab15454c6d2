/* SPDX-License-Identifier: MIT */
/*
 * handle.c: open files. Invariant: a number that the kernel hands in is looked up here before anything is touched, so that
 * a forged one leads nowhere.
 */
#include "fs/internal.h"

#include <errno.h>
#include <string.h>

int rfs_handle_open(struct rfs_fs *fs, fuse_ino_t ino, struct rfs_contract *contract, uint64_t *ret_fh)
{
	struct rfs_handle *h = calloc(1, sizeof *h);

	if (!h) {
		rfs_contract_unref(contract);
		return -ENOMEM;
	}
	h->fh = ++fs->last_fh;
	h->ino = ino;
	h->contract = contract;
	HASH_ADD(hh, fs->handles, fh, sizeof h->fh, h);
	if (!h->hh.tbl) {
		rfs_contract_unref(contract);
		free(h);
		return -ENOMEM;
	}
	*ret_fh = h->fh;
	return 0;
}

struct rfs_handle *rfs_handle_get(struct rfs_fs *fs, uint64_t fh, fuse_ino_t ino)
{
	struct rfs_handle *h;

	HASH_FIND(hh, fs->handles, &fh, sizeof fh, h);
	return h && h->ino == ino ? h : NULL;
}

int rfs_handle_keep(struct rfs_handle *handle, const char *text, size_t length)
{
	if (handle->room < length) {
		char *larger = realloc(handle->text, length);
		if (!larger)
			return -ENOMEM;
		handle->text = larger;
		handle->room = length;
	}
	if (length > 0)
		memcpy(handle->text, text, length);
	handle->length = length;
	return 0;
}

void rfs_handle_close(struct rfs_fs *fs, struct rfs_handle *handle)
{
	HASH_DEL(fs->handles, handle);
	rfs_contract_unref(handle->contract);
	free(handle->text);
	free(handle);
}

void rfs_handles_free(struct rfs_fs *fs)
{
	struct rfs_handle *h, *next;

	HASH_ITER(hh, fs->handles, h, next)
		rfs_handle_close(fs, h);
}
