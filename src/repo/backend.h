/* SPDX-License-Identifier: MIT */
/* backend.h: what the back ends of the Repo share. Private to this layer. */
#ifndef RFS_REPO_BACKEND_H
#define RFS_REPO_BACKEND_H

#include <reservefs/repo.h>

/* What a back end whose figures say all that there is to check embeds first, and its slots. */
struct rfs_counting_repo {
	struct rfs_repo base;
	uint64_t reserved_bytes; /* what it counts as promised */
};
uint64_t rfs_repo_count_reserved(const struct rfs_repo *repo);
void rfs_repo_count_adopt(struct rfs_repo *repo, uint64_t reserved_bytes);
int rfs_repo_count_reserve(struct rfs_repo *repo, uint64_t amount_bytes);
int rfs_repo_count_release(struct rfs_repo *repo, uint64_t amount_bytes);

#endif
