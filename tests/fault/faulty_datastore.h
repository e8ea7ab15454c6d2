/* SPDX-License-Identifier: MIT */
/*
 * faulty_datastore.h: a Datastore that passes every call on to another one, until it is told to fail, or to call
 * a hook, at one of them. A hook that ends the process makes a countdown to a crash.
 *
 * A failed call is not passed on, and so changes nothing; a commit that fails undoes the transaction, as the contract
 * has it. Threads: as rfs_datastore; the functions here may be called from any thread at any time.
 */
#ifndef TESTS_FAULT_FAULTY_DATASTORE_H
#define TESTS_FAULT_FAULTY_DATASTORE_H

#include <reservefs/datastore.h>

/* Which calls are counted; a set. Rollback and tidy cannot fail, but have hooks. */
enum faulty_datastore_calls {
	FAULTY_DATASTORE_GET = 1 << 0,
	FAULTY_DATASTORE_SCAN = 1 << 1,
	FAULTY_DATASTORE_BEGIN = 1 << 2,
	FAULTY_DATASTORE_TXN_GET = 1 << 3,
	FAULTY_DATASTORE_TXN_PUT = 1 << 4,
	FAULTY_DATASTORE_TXN_DELETE = 1 << 5,
	FAULTY_DATASTORE_COMMIT = 1 << 6,
	FAULTY_DATASTORE_ROLLBACK = 1 << 7,
	FAULTY_DATASTORE_TIDY = 1 << 8,
	FAULTY_DATASTORE_GET_NOW = 1 << 9,
	FAULTY_DATASTORE_ALL = (1 << 10) - 1,
};

struct faulty_datastore_plan {
	unsigned int calls;         /* a set of enum faulty_datastore_calls */
	uint64_t nth;               /* the first call that it happens to, counted from 1; 0: none */
	bool persistent;            /* it happens to all calls from the nth on, rather than to that one alone */
	int error;                  /* the errno value, above 0, that they fail with; 0: they are passed on */
	void (*before)(void *user); /* called before such a call fails or is passed on; may be NULL */
	void (*after)(void *user);  /* called when it has been passed on, before it returns; may be NULL */
	void *user;
};

/* Puts a decorator, with no plan, around `inner`, which it then owns. The caller owns the result, and closes it
 * with rfs_datastore_close. -ENOMEM: the caller keeps owning `inner`. */
int faulty_datastore_open(struct rfs_datastore *inner, struct rfs_datastore **ret_ds);

/* Begins to count calls, anew, and to do as `plan` says. NULL: as an empty plan, of all calls. */
void faulty_datastore_arm(struct rfs_datastore *ds, const struct faulty_datastore_plan *plan);

/* How many of the plan's calls were made since it was armed, failed ones included. */
uint64_t faulty_datastore_calls(struct rfs_datastore *ds);

/* How many of them were made to fail. */
uint64_t faulty_datastore_failures(struct rfs_datastore *ds);

#endif
