/* SPDX-License-Identifier: MIT */
/*
 * crash_steps.h: everything that happens on the way of a change, as steps that are counted, and at one of which the
 * process dies.
 */
#ifndef TESTS_CRASH_STEPS_H
#define TESTS_CRASH_STEPS_H

#include <reservefs/datastore.h>
#include <reservefs/repo.h>
#include <stdatomic.h>

/* In memory shared with whoever looks at what is left. */
struct crash_steps {
	unsigned die_at;  /* the step, counted from 1; 0: none */
	atomic_uint count;
	char last[64];    /* the step it died at */
};

/* Takes one step: dies of SIGKILL if it is the one. */
void crash_step(struct crash_steps *steps, const char *when, const char *what);

/* Puts decorators around both that take a step before and after every call. -ENOMEM: nothing was put anywhere. */
int crash_steps_wrap(struct crash_steps *steps, struct rfs_datastore **ds, struct rfs_repo **repo);

#endif
