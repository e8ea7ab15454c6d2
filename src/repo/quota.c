/* SPDX-License-Identifier: MIT */
/*
 * quota.c: the Repo that is arithmetic alone, for storage that cannot be asked, and for tests.
 *
 * What is free is what is not promised: available = free = max(0, capacity - reserved).
 */
#include <errno.h>
#include <stdlib.h>

#include "repo/backend.h"
#include "util/checked.h"

struct quota_repo {
	struct rfs_counting_repo counting;
	uint64_t capacity_bytes;
};

static int quota_measure(struct rfs_repo *repo)
{
	(void) repo;
	return 0;
}

static void quota_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	const struct quota_repo *q = (const struct quota_repo *) repo;
	uint64_t left = rfs_sub_or_zero(q->capacity_bytes, reserved_bytes);

	*ret_figures = (struct rfs_figures){
		.capacity = q->capacity_bytes,
		.reserved = reserved_bytes,
		.stored = 0,
		.free = left,
		.available = left,
	};
}

static void quota_close(struct rfs_repo *repo)
{
	free(repo);
}

static const struct rfs_repo_ops quota_ops = {
	.name = "quota",
	.measure = quota_measure,
	.figures = quota_figures,
	.reserved = rfs_repo_count_reserved,
	.adopt = rfs_repo_count_adopt,
	.reserve = rfs_repo_count_reserve,
	.release = rfs_repo_count_release,
	.close = quota_close,
};

int rfs_repo_open_quota(uint64_t capacity_bytes, struct rfs_repo **ret_repo)
{
	struct quota_repo *q;

	if (capacity_bytes > RFS_BYTES_MAX)
		return -EINVAL;

	q = malloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	*q = (struct quota_repo){.counting.base.ops = &quota_ops, .capacity_bytes = capacity_bytes};

	*ret_repo = &q->counting.base;
	return 0;
}
