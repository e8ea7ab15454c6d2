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

#include "repo/asker.h"
#include "repo/backend.h"
#include "util/checked.h"
#include "util/cleanup.h"

/* What one fstatvfs said, in bytes. */
struct measurement {
	uint64_t total;
	uint64_t free;
};

struct disk_repo {
	struct rfs_counting_repo counting;
	int fd;
	struct rfs_asker *asker; /* NULL: the file system answers at once */
	uint64_t capacity_bytes; /* or RFS_CAPACITY_MAX */
	pthread_mutex_t lock;
	struct measurement last; /* lock */
};

/* blocks * block_bytes, at most RFS_BYTES_MAX. */
static uint64_t to_bytes(uint64_t blocks, uint64_t block_bytes)
{
	uint64_t bytes;

	if (__builtin_mul_overflow(blocks, block_bytes, &bytes))
		return RFS_BYTES_MAX;
	return rfs_min(bytes, RFS_BYTES_MAX);
}

static int disk_measure(struct rfs_repo *repo)
{
	struct disk_repo *d = (struct disk_repo *) repo;
	struct statvfs vfs;

	int r = d->asker ? rfs_asker_ask(d->asker, &vfs) : fstatvfs(d->fd, &vfs) < 0 ? -errno : 0;
	if (r < 0)
		return r;

	RFS_LOCK(&d->lock);
	d->last = (struct measurement){
		.total = to_bytes(vfs.f_blocks, vfs.f_frsize),
		.free = to_bytes(vfs.f_bavail, vfs.f_frsize),
	};
	return 0;
}

static struct measurement last_measurement(struct disk_repo *d)
{
	RFS_LOCK(&d->lock);
	return d->last;
}

static void disk_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	struct disk_repo *d = (struct disk_repo *) repo;
	struct measurement m = last_measurement(d);
	struct rfs_figures f = {.reserved = reserved_bytes, .free = m.free};
	uint64_t unfilled = rfs_sub_or_zero(reserved_bytes, f.stored);

	f.capacity = d->capacity_bytes == RFS_CAPACITY_MAX ? m.total : d->capacity_bytes;
	f.available = rfs_min(rfs_sub_or_zero(f.capacity, reserved_bytes), rfs_sub_or_zero(f.free, unfilled));
	f.shortfall = rfs_sub_or_zero(unfilled, f.free);
	*ret_figures = f;
}

static void disk_close(struct rfs_repo *repo)
{
	struct disk_repo *d = (struct disk_repo *) repo;

	rfs_cleanup_fd(&d->fd);
	rfs_asker_free(d->asker);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static const struct rfs_repo_ops disk_ops = {
	.name = "disk",
	.measure = disk_measure,
	.figures = disk_figures,
	.reserved = rfs_repo_count_reserved,
	.adopt = rfs_repo_count_adopt,
	.reserve = rfs_repo_count_reserve,
	.release = rfs_repo_count_release,
	.close = disk_close,
};

int rfs_repo_open_disk(int dirfd, uint64_t capacity_bytes, struct rfs_repo **ret_repo)
{
	_cleanup_fd_ int fd = -1;
	struct disk_repo *d;
	int r;

	if (capacity_bytes != RFS_CAPACITY_MAX && capacity_bytes > RFS_BYTES_MAX)
		return -EINVAL;

	fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;

	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct disk_repo){
		.counting.base.ops = &disk_ops,
		.fd = fd,
		.capacity_bytes = capacity_bytes,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	fd = -1;

	r = disk_measure(&d->counting.base);
	if (r == 0 && rfs_asker_is_needed(d->fd))
		r = rfs_asker_new(d->fd, &d->asker);
	if (r < 0) {
		disk_close(&d->counting.base);
		return r;
	}
	*ret_repo = &d->counting.base;
	return 0;
}
