/* SPDX-License-Identifier: MIT */
/*
 * disk.c: the Repo that is a directory on the storage being sold.
 *
 * Every figure comes from one fstatvfs of that directory, so that they belong together. What the file system holds says
 * nothing of whose it is (another program's, or its own tables), so none of it counts as what contracts have stored:
 * all that is promised is kept free.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "repo/backend.h"
#include "util/checked.h"
#include "util/cleanup.h"

struct disk_repo {
	struct rfs_repo base;
	int fd;
	uint64_t capacity_bytes; /* or RFS_CAPACITY_MAX */
};

/* blocks * block_bytes, at most RFS_BYTES_MAX. */
static uint64_t to_bytes(uint64_t blocks, uint64_t block_bytes)
{
	uint64_t bytes;

	if (__builtin_mul_overflow(blocks, block_bytes, &bytes))
		return RFS_BYTES_MAX;
	return rfs_min(bytes, RFS_BYTES_MAX);
}

static int disk_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	const struct disk_repo *d = (const struct disk_repo *) repo;
	struct rfs_figures f = {.reserved = reserved_bytes};
	struct statvfs vfs;
	uint64_t unfilled;

	if (fstatvfs(d->fd, &vfs) < 0)
		return -errno;

	f.capacity = d->capacity_bytes == RFS_CAPACITY_MAX ? to_bytes(vfs.f_blocks, vfs.f_frsize) : d->capacity_bytes;
	f.free = to_bytes(vfs.f_bavail, vfs.f_frsize);
	unfilled = rfs_sub_or_zero(reserved_bytes, f.stored);
	f.available = rfs_min(rfs_sub_or_zero(f.capacity, reserved_bytes), rfs_sub_or_zero(f.free, unfilled));
	f.shortfall = rfs_sub_or_zero(unfilled, f.free);

	*ret_figures = f;
	return 0;
}

static void disk_close(struct rfs_repo *repo)
{
	struct disk_repo *d = (struct disk_repo *) repo;

	rfs_cleanup_fd(&d->fd);
	free(d);
}

static const struct rfs_repo_ops disk_ops = {
	.name = "disk",
	.figures = disk_figures,
	.reserve = rfs_repo_count_reserve,
	.release = rfs_repo_count_release,
	.close = disk_close,
};

int rfs_repo_open_disk(int dirfd, uint64_t capacity_bytes, struct rfs_repo **ret_repo)
{
	_cleanup_fd_ int fd = -1;
	struct disk_repo *d;

	if (capacity_bytes != RFS_CAPACITY_MAX && capacity_bytes > RFS_BYTES_MAX)
		return -EINVAL;

	fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;

	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct disk_repo){
		.base.ops = &disk_ops,
		.fd = fd,
		.capacity_bytes = capacity_bytes,
	};
	fd = -1;

	*ret_repo = &d->base;
	return 0;
}
