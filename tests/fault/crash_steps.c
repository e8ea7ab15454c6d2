/* SPDX-License-Identifier: MIT */
/*
 * crash_steps.c: the steps on both sides of each call to the Datastore and the Repo. Invariant: between two steps, or of the
 * calls of crash_calls.h, nothing happens that could be seen from outside the process.
 */
#include "crash_steps.h"
#include "faulty_datastore.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct step_repo {
	struct rfs_repo base;
	struct rfs_repo *inner;
	struct crash_steps *steps;
};

void crash_step(struct crash_steps *steps, const char *when, const char *what)
{
	if (++steps->count != steps->die_at)
		return;
	snprintf(steps->last, sizeof steps->last, "%s %s", when, what);
	raise(SIGKILL);
}

static struct step_repo *repo_of(struct rfs_repo *repo)
{
	return (struct step_repo *) repo;
}

static int step_measure(struct rfs_repo *repo)
{
	return rfs_repo_measure(repo_of(repo)->inner);
}

static void step_figures(struct rfs_repo *repo, uint64_t reserved_bytes, struct rfs_figures *ret_figures)
{
	rfs_repo_figures(repo_of(repo)->inner, reserved_bytes, ret_figures);
}

static uint64_t step_reserved(const struct rfs_repo *repo)
{
	return rfs_repo_reserved(((const struct step_repo *) repo)->inner);
}

static void step_adopt(struct rfs_repo *repo, uint64_t reserved_bytes)
{
	rfs_repo_adopt(repo_of(repo)->inner, reserved_bytes);
}

static int step_reserve(struct rfs_repo *repo, uint64_t amount_bytes)
{
	struct step_repo *s = repo_of(repo);
	crash_step(s->steps, "before", "a reserve");
	int rc = rfs_repo_reserve(s->inner, amount_bytes);
	crash_step(s->steps, "after", "a reserve");
	return rc;
}

static int step_release(struct rfs_repo *repo, uint64_t amount_bytes)
{
	struct step_repo *s = repo_of(repo);
	crash_step(s->steps, "before", "a release");
	int rc = rfs_repo_release(s->inner, amount_bytes);
	crash_step(s->steps, "after", "a release");
	return rc;
}

static void step_repo_close(struct rfs_repo *repo)
{
	rfs_repo_close(repo_of(repo)->inner);
	free(repo);
}

static const struct rfs_repo_ops step_repo_ops = {
	.name = "steps",
	.measure = step_measure,
	.figures = step_figures,
	.reserved = step_reserved,
	.adopt = step_adopt,
	.reserve = step_reserve,
	.release = step_release,
	.close = step_repo_close,
};

static void before_datastore(void *steps)
{
	crash_step(steps, "before", "a call to the Datastore");
}

static void after_datastore(void *steps)
{
	crash_step(steps, "after", "a call to the Datastore");
}

int crash_steps_wrap(struct crash_steps *steps, struct rfs_datastore **ds, struct rfs_repo **repo)
{
	const struct faulty_datastore_plan every_call = {
		.calls = FAULTY_DATASTORE_ALL,
		.nth = 1,
		.persistent = true,
		.before = before_datastore,
		.after = after_datastore,
		.user = steps,
	};
	struct step_repo *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	int rc = faulty_datastore_open(*ds, ds);
	if (rc < 0) {
		free(s);
		return rc;
	}
	faulty_datastore_arm(*ds, &every_call);
	*s = (struct step_repo){ .base = { &step_repo_ops }, .inner = *repo, .steps = steps };
	*repo = &s->base;
	return 0;
}
