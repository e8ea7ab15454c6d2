/* SPDX-License-Identifier: MIT */
/*
 * repo.c: the interface of the Repo: thin wrappers that check what must hold, and the counting that back ends share.
 *
 * What a Repo counts as promised changes by exactly the amount of each reserve or release that succeeds, and never
 * grows beyond what its figures allow at that moment.
 */
#include <assert.h>
#include <errno.h>

#include "repo/backend.h"
#include "util/checked.h"

int rfs_repo_count_reserve(struct rfs_repo *repo, uint64_t amount_bytes)
{
	struct rfs_figures figures;
	int r;

	r = repo->ops->figures(repo, repo->reserved_bytes, &figures);
	if (r < 0)
		return r;
	if (amount_bytes > figures.available)
		return -ENOSPC;

	repo->reserved_bytes = rfs_sum(repo->reserved_bytes, amount_bytes);
	return 0;
}

int rfs_repo_count_release(struct rfs_repo *repo, uint64_t amount_bytes)
{
	repo->reserved_bytes = rfs_difference(repo->reserved_bytes, amount_bytes);
	return 0;
}

int rfs_repo_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	struct rfs_figures figures;
	int r;

	assert(repo && ret_figures);
	assert(reserved_bytes <= RFS_BYTES_MAX);

	r = repo->ops->figures(repo, reserved_bytes, &figures);
	assert(r <= 0);
	if (r < 0)
		return r;

	assert(figures.reserved == reserved_bytes);
	assert(figures.capacity <= RFS_BYTES_MAX && figures.stored <= RFS_BYTES_MAX);
	assert(figures.free <= RFS_BYTES_MAX);
	assert(figures.available <= figures.free);
	assert(figures.available <= rfs_sub_or_zero(figures.capacity, reserved_bytes));
	assert(figures.shortfall <= reserved_bytes && (figures.available == 0 || figures.shortfall == 0));
	*ret_figures = figures;
	return 0;
}

int rfs_repo_available(struct rfs_repo *repo, uint64_t *ret_bytes)
{
	struct rfs_figures figures;
	int r;

	assert(repo && ret_bytes);

	r = rfs_repo_figures(repo, repo->reserved_bytes, &figures);
	if (r < 0)
		return r;
	*ret_bytes = figures.available;
	return 0;
}

int rfs_repo_reserve(struct rfs_repo *repo, uint64_t amount_bytes)
{
	uint64_t before;
	int r;

	assert(repo);
	assert(amount_bytes <= RFS_BYTES_MAX);

	before = repo->reserved_bytes;
	r = repo->ops->reserve(repo, amount_bytes);
	assert(r <= 0);
	assert(repo->reserved_bytes == (r < 0 ? before : before + amount_bytes));
	(void) before;
	return r;
}

int rfs_repo_release(struct rfs_repo *repo, uint64_t amount_bytes)
{
	uint64_t before;
	int r;

	assert(repo);
	assert(amount_bytes <= repo->reserved_bytes);

	before = repo->reserved_bytes;
	r = repo->ops->release(repo, amount_bytes);
	assert(r <= 0);
	assert(repo->reserved_bytes == (r < 0 ? before : before - amount_bytes));
	(void) before;
	return r;
}

void rfs_repo_adopt(struct rfs_repo *repo, uint64_t reserved_bytes)
{
	assert(repo);
	assert(reserved_bytes <= RFS_BYTES_MAX);

	repo->reserved_bytes = reserved_bytes;
}

void rfs_repo_close(struct rfs_repo *repo)
{
	if (repo)
		repo->ops->close(repo);
}
