/* SPDX-License-Identifier: MIT */
/*
 * faulty_repo.c: injects the failure of chosen calls of a Repo. Invariant: all state is the inner one's.
 */
#include "faulty_repo.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/cleanup.h"

struct faulty_repo {
	struct rfs_repo base;
	struct rfs_repo *inner;
	pthread_mutex_t lock;
	/* Under lock. */
	struct faulty_repo_plan plan;
	uint64_t calls;
	uint64_t failures;
};

static const struct rfs_repo_ops faulty_ops;

static struct faulty_repo *faulty(struct rfs_repo *repo)
{
	assert(repo->ops == &faulty_ops);
	return (struct faulty_repo *) repo;
}

/* Counts a call. Whether it is one that the plan, which is copied, is about. */
static bool count(struct faulty_repo *f, unsigned int call, struct faulty_repo_plan *ret_plan)
{
	RFS_LOCK(&f->lock);

	if (!(f->plan.calls & call))
		return false;
	f->calls++;
	if (f->plan.nth == 0 || f->calls < f->plan.nth || (f->calls > f->plan.nth && !f->plan.persistent))
		return false;
	f->failures += f->plan.error > 0;
	*ret_plan = f->plan;
	return true;
}

/* 0, or the negative errno that the call must fail with. */
static int strike(struct faulty_repo *f, unsigned int call)
{
	struct faulty_repo_plan plan;

	if (!count(f, call, &plan))
		return 0;
	if (plan.before)
		plan.before(plan.user);
	return -plan.error;
}

static int faulty_measure(struct rfs_repo *repo)
{
	struct faulty_repo *f = faulty(repo);
	int r = strike(f, FAULTY_REPO_MEASURE);

	return r < 0 ? r : rfs_repo_measure(f->inner);
}

static void faulty_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	rfs_repo_figures(faulty(repo)->inner, reserved_bytes, ret_figures);
}

static uint64_t faulty_reserved(const struct rfs_repo *repo)
{
	return rfs_repo_reserved(((const struct faulty_repo *) repo)->inner);
}

static void faulty_adopt(struct rfs_repo *repo, uint64_t reserved_bytes)
{
	rfs_repo_adopt(faulty(repo)->inner, reserved_bytes);
}

static int faulty_reserve(struct rfs_repo *repo, uint64_t amount_bytes)
{
	struct faulty_repo *f = faulty(repo);
	int r = strike(f, FAULTY_REPO_RESERVE);

	return r < 0 ? r : rfs_repo_reserve(f->inner, amount_bytes);
}

static int faulty_release(struct rfs_repo *repo, uint64_t amount_bytes)
{
	struct faulty_repo *f = faulty(repo);
	int r = strike(f, FAULTY_REPO_RELEASE);

	return r < 0 ? r : rfs_repo_release(f->inner, amount_bytes);
}

static void faulty_close(struct rfs_repo *repo)
{
	struct faulty_repo *f = faulty(repo);

	rfs_repo_close(f->inner);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct rfs_repo_ops faulty_ops = {
	.name = "faulty",
	.measure = faulty_measure,
	.figures = faulty_figures,
	.reserved = faulty_reserved,
	.adopt = faulty_adopt,
	.reserve = faulty_reserve,
	.release = faulty_release,
	.close = faulty_close,
};

int faulty_repo_open(struct rfs_repo *inner, struct rfs_repo **ret_repo)
{
	struct faulty_repo *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->base.ops = &faulty_ops;
	f->inner = inner;
	f->plan.calls = FAULTY_REPO_ALL;
	pthread_mutex_init(&f->lock, NULL);

	*ret_repo = &f->base;
	return 0;
}

void faulty_repo_arm(struct rfs_repo *repo, const struct faulty_repo_plan *plan)
{
	static const struct faulty_repo_plan empty = {.calls = FAULTY_REPO_ALL};
	struct faulty_repo *f = faulty(repo);
	RFS_LOCK(&f->lock);

	f->plan = plan ? *plan : empty;
	assert(f->plan.nth == 0 || f->plan.error > 0 || f->plan.before);
	f->calls = 0;
	f->failures = 0;
}

uint64_t faulty_repo_calls(struct rfs_repo *repo)
{
	struct faulty_repo *f = faulty(repo);
	RFS_LOCK(&f->lock);

	return f->calls;
}

uint64_t faulty_repo_failures(struct rfs_repo *repo)
{
	struct faulty_repo *f = faulty(repo);
	RFS_LOCK(&f->lock);

	return f->failures;
}
