/* SPDX-License-Identifier: MIT */
/*
 * handle.c: open files. Invariant: a number that the kernel hands in is looked up here before anything is touched, so that
 * a forged one leads nowhere; and a file that one thread uses is not closed beneath it by another.
 */
#include "fs/internal.h"

#include <errno.h>
#include <string.h>

int rfs_handle_open(struct rfs_fs *fs, fuse_ino_t ino, struct rfs_contract *contract, uint64_t *ret_fh)
{
	struct rfs_handle *h = calloc(1, sizeof *h);

	if (h) {
		h->ino = ino;
		h->contract = contract;
		h->refs = 1;
		RFS_LOCK(&fs->handles_lock);
		h->fh = ++fs->last_fh;
		HASH_ADD(hh, fs->handles, fh, sizeof h->fh, h);
		if (h->hh.tbl) {
			*ret_fh = h->fh;
			return 0;
		}
	}
	rfs_contract_unref(contract);
	free(h);
	return -ENOMEM;
}

struct rfs_handle *rfs_handle_get(struct rfs_fs *fs, uint64_t fh, fuse_ino_t ino)
{
	struct rfs_handle *h;
	RFS_LOCK(&fs->handles_lock);

	HASH_FIND(hh, fs->handles, &fh, sizeof fh, h);
	if (!h || h->ino != ino)
		return NULL;
	h->refs++;
	return h;
}

static void free_handle(struct rfs_handle *h)
{
	rfs_contract_unref(h->contract);
	free(h->text);
	free(h);
}

void rfs_handle_put(struct rfs_fs *fs, struct rfs_handle *handle)
{
	if (!handle)
		return;
	{
		RFS_LOCK(&fs->handles_lock);
		if (--handle->refs > 0)
			return;
	}
	free_handle(handle);
}

void rfs_handle_close(struct rfs_fs *fs, uint64_t fh, fuse_ino_t ino)
{
	struct rfs_handle *h;

	{
		RFS_LOCK(&fs->handles_lock);
		HASH_FIND(hh, fs->handles, &fh, sizeof fh, h);
		if (!h || h->ino != ino)
			return;
		HASH_DEL(fs->handles, h);
	}
	rfs_handle_put(fs, h);
}

int rfs_handle_keep(struct rfs_fs *fs, struct rfs_handle *handle, const char *text, size_t length)
{
	RFS_LOCK(&fs->handles_lock);

	if (!handle->text || handle->room < length) {
		char *larger = realloc(handle->text, length + 1);
		if (!larger)
			return -ENOMEM;
		handle->text = larger;
		handle->room = length;
	}
	memcpy(handle->text, text, length);
	handle->length = length;
	return 0;
}

bool rfs_handle_has_text(struct rfs_fs *fs, struct rfs_handle *handle)
{
	RFS_LOCK(&fs->handles_lock);
	return handle->text;
}

size_t rfs_handle_copy(struct rfs_fs *fs, struct rfs_handle *handle, off_t offset, size_t size, char *ret_data)
{
	RFS_LOCK(&fs->handles_lock);

	if (!handle->text || offset < 0 || (size_t) offset >= handle->length)
		return 0;
	if (size > handle->length - (size_t) offset)
		size = handle->length - (size_t) offset;
	memcpy(ret_data, handle->text + offset, size);
	return size;
}

void rfs_handle_note_written(struct rfs_fs *fs, struct rfs_handle *handle, off_t end)
{
	RFS_LOCK(&fs->handles_lock);
	handle->written_bytes = end;
}

off_t rfs_handle_written(struct rfs_fs *fs, struct rfs_handle *handle)
{
	RFS_LOCK(&fs->handles_lock);
	return handle->written_bytes;
}

void rfs_handle_note_created(struct rfs_fs *fs, uint64_t fh, mode_t mode)
{
	struct rfs_handle *h;
	RFS_LOCK(&fs->handles_lock);

	HASH_FIND(hh, fs->handles, &fh, sizeof fh, h);
	if (h) {
		h->created = true;
		h->mode = mode & 07777;
	}
}

bool rfs_handles_created(struct rfs_fs *fs, fuse_ino_t ino, mode_t mode)
{
	struct rfs_handle *h, *next;
	RFS_LOCK(&fs->handles_lock);

	HASH_ITER(hh, fs->handles, h, next)
		if (h->created && h->ino == ino && h->mode == (mode & 07777))
			return true;
	return false;
}

void rfs_handles_free(struct rfs_fs *fs)
{
	struct rfs_handle *h, *next;

	HASH_ITER(hh, fs->handles, h, next) {
		HASH_DEL(fs->handles, h);
		free_handle(h);
	}
}
