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

static struct rfs_counting_repo *counting(struct rfs_repo *repo)
{
	return (struct rfs_counting_repo *) repo;
}

uint64_t rfs_repo_count_reserved(const struct rfs_repo *repo)
{
	return ((const struct rfs_counting_repo *) repo)->reserved_bytes;
}

void rfs_repo_count_adopt(struct rfs_repo *repo, uint64_t reserved_bytes)
{
	counting(repo)->reserved_bytes = reserved_bytes;
}

int rfs_repo_count_reserve(struct rfs_repo *repo, uint64_t amount_bytes)
{
	struct rfs_counting_repo *c = counting(repo);
	struct rfs_figures figures;

	repo->ops->figures(repo, c->reserved_bytes, &figures);
	if (amount_bytes > figures.available)
		return -ENOSPC;

	c->reserved_bytes = rfs_sum(c->reserved_bytes, amount_bytes);
	return 0;
}

int rfs_repo_count_release(struct rfs_repo *repo, uint64_t amount_bytes)
{
	struct rfs_counting_repo *c = counting(repo);

	c->reserved_bytes = rfs_difference(c->reserved_bytes, amount_bytes);
	return 0;
}

int rfs_repo_measure(struct rfs_repo *repo)
{
	int r;

	assert(repo);

	r = repo->ops->measure(repo);
	assert(r <= 0);
	return r;
}

void rfs_repo_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	struct rfs_figures figures;

	assert(repo && ret_figures);
	assert(reserved_bytes <= RFS_BYTES_MAX);

	repo->ops->figures(repo, reserved_bytes, &figures);
	assert(figures.reserved == reserved_bytes);
	assert(figures.capacity <= RFS_BYTES_MAX && figures.stored <= RFS_BYTES_MAX);
	assert(figures.free <= RFS_BYTES_MAX);
	assert(figures.available <= figures.free);
	assert(figures.available <= rfs_sub_or_zero(figures.capacity, reserved_bytes));
	assert(figures.shortfall <= reserved_bytes && (figures.available == 0 || figures.shortfall == 0));
	*ret_figures = figures;
}

uint64_t rfs_repo_reserved(const struct rfs_repo *repo)
{
	assert(repo);

	return repo->ops->reserved(repo);
}

uint64_t rfs_repo_available(struct rfs_repo *repo)
{
	struct rfs_figures figures;

	assert(repo);

	rfs_repo_figures(repo, rfs_repo_reserved(repo), &figures);
	return figures.available;
}

int rfs_repo_reserve(struct rfs_repo *repo, uint64_t amount_bytes)
{
	uint64_t before;
	int r;

	assert(repo);
	assert(amount_bytes <= RFS_BYTES_MAX);

	before = rfs_repo_reserved(repo);
	r = repo->ops->reserve(repo, amount_bytes);
	assert(r <= 0);
	assert(rfs_repo_reserved(repo) == (r < 0 ? before : before + amount_bytes));
	(void) before;
	return r;
}

int rfs_repo_release(struct rfs_repo *repo, uint64_t amount_bytes)
{
	uint64_t before;
	int r;

	assert(repo);
	assert(amount_bytes <= rfs_repo_reserved(repo));

	before = rfs_repo_reserved(repo);
	r = repo->ops->release(repo, amount_bytes);
	assert(r <= 0);
	assert(rfs_repo_reserved(repo) == (r < 0 ? before : before - amount_bytes));
	(void) before;
	return r;
}

void rfs_repo_adopt(struct rfs_repo *repo, uint64_t reserved_bytes)
{
	assert(repo);
	assert(reserved_bytes <= RFS_BYTES_MAX);

	repo->ops->adopt(repo, reserved_bytes);
	assert(rfs_repo_reserved(repo) == reserved_bytes);
}

void rfs_repo_close(struct rfs_repo *repo)
{
	if (repo)
		repo->ops->close(repo);
}
