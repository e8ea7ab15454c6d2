/* SPDX-License-Identifier: MIT */
/*
 * crash_planted.c: bugs that a Datastore, or who uses one, could have. All else is passed on as it came.
 */
#include "crash_planted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

#define TOTALS "totals"

const char *const crash_planted_names[CRASH_PLANTED_COUNT] = {
	"none", "answer-early", "counter-outside", "piecemeal", "swallow", "leak", "stuck",
};

struct planted {
	struct rfs_datastore base;
	struct rfs_datastore *inner;
	enum crash_planted bug;
	bool late;                   /* ANSWER_EARLY: the inner transaction is still open */
	bool totals_put;             /* COUNTER_OUTSIDE: the withheld record */
	char totals[RFS_VALUE_MAX + 1];
	int stuck;                   /* STUCK: the first failure */
	void *lost;                  /* LEAK: where the last piece was; forgotten with the next */
};

static struct planted *of(struct rfs_datastore *ds)
{
	return (struct planted *) ds;
}

/* Nobody may look in between: it is neither committed nor in the open transaction then. */
static pthread_mutex_t late_lock = PTHREAD_MUTEX_INITIALIZER;

static int catch_up(struct planted *p)
{
	RFS_LOCK(&late_lock);
	if (!p->late)
		return 0;
	p->late = false;
	return rfs_datastore_commit(p->inner);
}

static int planted_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct planted *p = of(ds);
	if (p->stuck)
		return p->stuck;
	RFS_LOCK(&late_lock);
	/* It looks as if it were stored, or the harness would find it out without a crash. */
	return p->late ? rfs_datastore_txn_get(p->inner, key, ret_value) : rfs_datastore_get(p->inner, key, ret_value);
}

static int planted_scan(struct rfs_datastore *ds, const char *prefix, const char *after, rfs_scan_fn fn, void *user)
{
	struct planted *p = of(ds);
	int rc = p->stuck ? p->stuck : catch_up(p);
	return rc < 0 ? rc : rfs_datastore_scan(p->inner, prefix, after, fn, user);
}

static int planted_begin(struct rfs_datastore *ds)
{
	struct planted *p = of(ds);
	int rc = p->stuck ? p->stuck : catch_up(p);
	p->totals_put = false;
	if (rc == 0)
		rc = rfs_datastore_begin(p->inner);
	if (rc < 0 && p->bug == CRASH_PLANTED_STUCK)
		p->stuck = rc;
	return rc;
}

static int planted_txn_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	return rfs_datastore_txn_get(of(ds)->inner, key, ret_value);
}

/* Commits what was done so far, and goes on in a new transaction. */
static int cut_in_two(struct planted *p)
{
	int rc = rfs_datastore_commit(p->inner);
	return rc < 0 ? rc : rfs_datastore_begin(p->inner);
}

static int planted_txn_put(struct rfs_datastore *ds, const char *key, const char *value)
{
	struct planted *p = of(ds);
	if (p->bug == CRASH_PLANTED_COUNTER_OUTSIDE && strcmp(key, TOTALS) == 0) {
		p->totals_put = true;
		strncpy(p->totals, value, RFS_VALUE_MAX);
		return 0;
	}
	int rc = rfs_datastore_txn_put(p->inner, key, value);
	return rc == 0 && p->bug == CRASH_PLANTED_PIECEMEAL ? cut_in_two(p) : rc;
}

static int planted_txn_delete(struct rfs_datastore *ds, const char *key)
{
	struct planted *p = of(ds);
	int rc = rfs_datastore_txn_delete(p->inner, key);
	return rc == 0 && p->bug == CRASH_PLANTED_PIECEMEAL ? cut_in_two(p) : rc;
}

static int commit_failed(struct planted *p, int rc)
{
	switch (p->bug) {
	case CRASH_PLANTED_SWALLOW:
		return 0;
	case CRASH_PLANTED_STUCK:
		p->stuck = rc;
		return rc;
	case CRASH_PLANTED_LEAK:
		p->lost = malloc(100);
		return rc;
	default:
		return rc;
	}
}

static int put_totals(struct planted *p)
{
	int rc = rfs_datastore_begin(p->inner);
	if (rc < 0)
		return rc;
	rc = rfs_datastore_txn_put(p->inner, TOTALS, p->totals);
	if (rc == 0)
		return rfs_datastore_commit(p->inner);
	rfs_datastore_rollback(p->inner);
	return rc;
}

static int planted_commit(struct rfs_datastore *ds)
{
	struct planted *p = of(ds);
	if (p->bug == CRASH_PLANTED_ANSWER_EARLY) {
		RFS_LOCK(&late_lock);
		p->late = true;
		return 0;
	}
	int rc = rfs_datastore_commit(p->inner);
	if (rc < 0)
		return commit_failed(p, rc);
	return p->totals_put ? put_totals(p) : 0;
}

static void planted_rollback(struct rfs_datastore *ds)
{
	rfs_datastore_rollback(of(ds)->inner);
}

static unsigned int planted_tidy(struct rfs_datastore *ds)
{
	return of(ds)->late ? 0 : rfs_datastore_tidy(of(ds)->inner);
}

static int planted_settle(struct rfs_datastore *ds)
{
	return of(ds)->late ? 0 : rfs_datastore_settle(of(ds)->inner);
}

static void planted_identity(struct rfs_datastore *ds, char ret_identity[RFS_IDENTITY_MAX + 1])
{
	rfs_datastore_identity(of(ds)->inner, ret_identity);
}

static const char *planted_explain(struct rfs_datastore *ds)
{
	return rfs_datastore_explain(of(ds)->inner);
}

static void planted_close(struct rfs_datastore *ds)
{
	struct planted *p = of(ds);
	(void) catch_up(p);
	rfs_datastore_close(p->inner);
	free(p);
}

static const struct rfs_datastore_ops planted_ops = {
	.name = "planted",
	.get = planted_get,
	.get_now = planted_get,
	.scan = planted_scan,
	.begin = planted_begin,
	.txn_get = planted_txn_get,
	.txn_put = planted_txn_put,
	.txn_delete = planted_txn_delete,
	.commit = planted_commit,
	.rollback = planted_rollback,
	.tidy = planted_tidy,
	.settle = planted_settle,
	.identity = planted_identity,
	.explain = planted_explain,
	.close = planted_close,
};

int crash_planted_open(enum crash_planted bug, struct rfs_datastore *inner, struct rfs_datastore **ret_ds)
{
	struct planted *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->base.ops = &planted_ops;
	p->inner = inner;
	p->bug = bug;
	*ret_ds = &p->base;
	return 0;
}
