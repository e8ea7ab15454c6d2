/* SPDX-License-Identifier: MIT */
/*
 * repo.h: the Repo, the storage that is being sold.
 *
 * A Repo answers how much space can be reserved, and counts what has been. It persists nothing: the caller
 * tells it at the start how much is reserved already (rfs_repo_adopt).
 *
 * Asking the storage (rfs_repo_measure) can take as long as the storage pleases, for ever where it hangs. Everything else
 * works from what the last measurement said and never waits; whoever wants to know how things are now measures first.
 *
 * Threads: rfs_repo_measure and rfs_repo_figures may be called from any thread at any time. All others by one thread at a
 * time.
 *
 * Errors: -ENOSPC not enough available; -EIO and other errno values: the storage could not be asked.
 */
#ifndef RESERVEFS_REPO_H
#define RESERVEFS_REPO_H

#include <reservefs/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All amounts in bytes, all from one instant. */
struct rfs_figures {
	uint64_t capacity;  /* the most that may ever be promised */
	uint64_t reserved;  /* what is promised */
	uint64_t stored;    /* what contracts say that they have filled already; nothing is inferred from the storage */
	uint64_t free;      /* bytes free on the storage */
	uint64_t available; /* what can be promised now */
	uint64_t shortfall; /* promised, not filled yet, and not free any more: others have taken it */
};

struct rfs_repo;

/* What a back end provides. Callers use the functions below; a decorator forwards these. */
struct rfs_repo_ops {
	const char *name;

	/* Asks the storage how it is, and keeps the answer. After a failure the last one still counts. [may wait] */
	int (*measure)(struct rfs_repo *repo);

	/* Works out from the last measurement what would be available if `reserved_bytes` were promised. */
	void (*figures)(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures);

	/* What it counts as promised. */
	uint64_t (*reserved)(const struct rfs_repo *repo);

	/* Replaces that. */
	void (*adopt)(struct rfs_repo *repo, uint64_t reserved_bytes);

	/* Sets `amount_bytes` aside, all or nothing. -ENOSPC: less than that is available, by the last measurement. */
	int (*reserve)(struct rfs_repo *repo, uint64_t amount_bytes);

	/* Gives back `amount_bytes` of what was reserved. After a failure nothing was given back. */
	int (*release)(struct rfs_repo *repo, uint64_t amount_bytes);

	void (*close)(struct rfs_repo *repo);
};

/* The base that every back end embeds first. */
struct rfs_repo {
	const struct rfs_repo_ops *ops;
};

/* Asks the storage how it is. [may wait] */
int rfs_repo_measure(struct rfs_repo *repo);

/* The figures as they are by the last measurement with `reserved_bytes` promised, whatever the Repo itself counts at the
 * moment. */
void rfs_repo_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures);

/* What the Repo counts as promised. */
uint64_t rfs_repo_reserved(const struct rfs_repo *repo);

/* What rfs_repo_reserve could set aside, to the last byte. */
uint64_t rfs_repo_available(struct rfs_repo *repo);

int rfs_repo_reserve(struct rfs_repo *repo, uint64_t amount_bytes);
int rfs_repo_release(struct rfs_repo *repo, uint64_t amount_bytes);

/* Tells a new Repo what is reserved already, which may be more than its capacity. */
void rfs_repo_adopt(struct rfs_repo *repo, uint64_t reserved_bytes);

void rfs_repo_close(struct rfs_repo *repo);

/*
 * The Repo `quota`: arithmetic alone. available = max(0, capacity - reserved). The caller owns the result.
 * -EINVAL: capacity_bytes is above RFS_BYTES_MAX.
 */
int rfs_repo_open_quota(uint64_t capacity_bytes, struct rfs_repo **ret_repo);

/* For rfs_repo_open_disk: capacity is the size of the file system, whatever that is at the time. */
#define RFS_CAPACITY_MAX UINT64_MAX

/*
 * The Repo `disk`: the file system that the directory `dirfd` is on. The Repo duplicates dirfd.
 *   free      = bytes free to unprivileged users;
 *   stored    = 0: what a file system holds says nothing of whose it is;
 *   available = max(0, min(capacity - reserved, free - (reserved - stored))).
 * capacity_bytes is RFS_CAPACITY_MAX or at most RFS_BYTES_MAX. The caller owns the result. The storage is asked for the first
 * time here. [may wait]
 */
int rfs_repo_open_disk(int dirfd, uint64_t capacity_bytes, struct rfs_repo **ret_repo);

#ifdef __cplusplus
}
#endif

#endif
