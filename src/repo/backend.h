/* SPDX-License-Identifier: MIT */
/* backend.h: what the back ends of the Repo share. Private to this layer. */
#ifndef RFS_REPO_BACKEND_H
#define RFS_REPO_BACKEND_H

#include <reservefs/repo.h>

/* The slots reserve and release of a back end whose figures say all that there is to check. */
int rfs_repo_count_reserve(struct rfs_repo *repo, uint64_t amount_bytes);
int rfs_repo_count_release(struct rfs_repo *repo, uint64_t amount_bytes);

#endif
