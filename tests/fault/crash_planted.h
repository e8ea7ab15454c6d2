/* SPDX-License-Identifier: MIT */
/*
 * crash_planted.h: a Datastore that breaks one of its promises, on purpose: the harnesses must find it out.
 */
#ifndef TESTS_CRASH_PLANTED_H
#define TESTS_CRASH_PLANTED_H

#include <reservefs/datastore.h>

enum crash_planted {
	CRASH_PLANTED_NONE,
	CRASH_PLANTED_ANSWER_EARLY,    /* commit returns before anything is committed; the next begin does it */
	CRASH_PLANTED_COUNTER_OUTSIDE, /* the totals are stored in a transaction of their own, after the records */
	CRASH_PLANTED_PIECEMEAL,       /* every put and delete is a transaction of its own */
	CRASH_PLANTED_SWALLOW,         /* a commit that failed is reported as done */
	CRASH_PLANTED_LEAK,            /* forgets a piece of memory at every commit that fails */
	CRASH_PLANTED_STUCK,           /* after one failure, everything fails until it is opened anew */
	CRASH_PLANTED_COUNT,
};

extern const char *const crash_planted_names[CRASH_PLANTED_COUNT];

/* Puts the bug around `inner`, which the result then owns. -ENOMEM: the caller keeps owning `inner`. */
int crash_planted_open(enum crash_planted bug, struct rfs_datastore *inner, struct rfs_datastore **ret_ds);

#endif
