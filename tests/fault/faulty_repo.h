/* SPDX-License-Identifier: MIT */
/*
 * faulty_repo.h: a Repo that passes every call on to another one, until it is told to fail.
 *
 * A failed call is not passed on, and so changes nothing. Threads: as rfs_repo; the functions here may be called from
 * any thread at any time.
 */
#ifndef TESTS_FAULT_FAULTY_REPO_H
#define TESTS_FAULT_FAULTY_REPO_H

#include <reservefs/repo.h>

/* Which calls are counted, and can fail; a set. */
enum faulty_repo_calls {
	FAULTY_REPO_MEASURE = 1 << 0,
	FAULTY_REPO_RESERVE = 1 << 1,
	FAULTY_REPO_RELEASE = 1 << 2,
	FAULTY_REPO_ALL = FAULTY_REPO_MEASURE | FAULTY_REPO_RESERVE | FAULTY_REPO_RELEASE,
};

struct faulty_repo_plan {
	unsigned int calls; /* a set of enum faulty_repo_calls */
	uint64_t nth;       /* the first call to fail, counted from 1; 0: none */
	bool persistent;    /* all calls from the nth on fail, rather than that one alone */
	int error;          /* the errno value, above 0, that they fail with; 0, with `before`: they do not */
	void (*before)(void *user); /* NULL or called first, by who made the call, with no lock held: it may wait */
	void *user;
};

/* Puts a decorator, with no plan, around `inner`, which it then owns. The caller owns the result, and closes it
 * with rfs_repo_close. What `inner` counts as reserved is taken over. -ENOMEM: the caller keeps owning `inner`. */
int faulty_repo_open(struct rfs_repo *inner, struct rfs_repo **ret_repo);

/* Begins to count calls, anew, and to fail as `plan` says. NULL: as an empty plan, of all calls. */
void faulty_repo_arm(struct rfs_repo *repo, const struct faulty_repo_plan *plan);

/* How many of the plan's calls were made since it was armed, failed ones included. */
uint64_t faulty_repo_calls(struct rfs_repo *repo);

/* How many of them were made to fail. */
uint64_t faulty_repo_failures(struct rfs_repo *repo);

#endif
