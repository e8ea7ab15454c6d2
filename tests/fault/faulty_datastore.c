/* SPDX-License-Identifier: MIT */
/*
 * faulty_datastore.c: injects the failure of chosen calls of a Datastore, or a hook around them.
 *
 * Invariant: whatever is injected, the Datastore below is used as its contract demands: each transaction that
 * it began is ended.
 */
#include "faulty_datastore.h"

#include <assert.h>
#include <errno.h>

#include "util/cleanup.h"

struct faulty_datastore {
	struct rfs_datastore base;
	struct rfs_datastore *inner;
	pthread_mutex_t lock;
	/* Under lock. */
	struct faulty_datastore_plan plan;
	uint64_t calls;
	uint64_t failures;
};

/* What is to happen around one call. */
struct strike {
	int error; /* 0, or a negative errno */
	void (*after)(void *user);
	void *user;
};

static const struct rfs_datastore_ops faulty_ops;

/* Whose failure the thread was last told of: that of a Datastore below, or one that was injected. */
static _Thread_local bool was_injected;

static struct faulty_datastore *faulty(struct rfs_datastore *ds)
{
	assert(ds->ops == &faulty_ops);
	return (struct faulty_datastore *) ds;
}

static bool is_due(struct faulty_datastore *f, unsigned int call)
{
	if (!(f->plan.calls & call))
		return false;
	f->calls++;
	return f->plan.nth > 0 && (f->calls == f->plan.nth || (f->calls > f->plan.nth && f->plan.persistent));
}

/* Counts a call, and calls the hook before it: without the lock, because a hook may arm the next plan. */
static struct strike strike(struct faulty_datastore *f, unsigned int call)
{
	struct faulty_datastore_plan plan;

	was_injected = false;
	{
		RFS_LOCK(&f->lock);
		if (!is_due(f, call))
			return (struct strike) { 0 };
		plan = f->plan;
		if (plan.error)
			f->failures++;
	}
	if (plan.before)
		plan.before(plan.user);
	was_injected = plan.error != 0;
	return (struct strike) { -plan.error, plan.after, plan.user };
}

static int after(const struct strike *s, int rc)
{
	if (s->after)
		s->after(s->user);
	return rc;
}

static int faulty_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_GET);
	return s.error ? s.error : after(&s, rfs_datastore_get(faulty(ds)->inner, key, ret_value));
}

static int faulty_get_now(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_GET_NOW);
	return s.error ? s.error : after(&s, rfs_datastore_get_now(faulty(ds)->inner, key, ret_value));
}

static int faulty_scan(struct rfs_datastore *ds, const char *prefix, const char *after_key, rfs_scan_fn fn, void *user)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_SCAN);
	return s.error ? s.error : after(&s, rfs_datastore_scan(faulty(ds)->inner, prefix, after_key, fn, user));
}

static int faulty_begin(struct rfs_datastore *ds)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_BEGIN);
	return s.error ? s.error : after(&s, rfs_datastore_begin(faulty(ds)->inner));
}

static int faulty_txn_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_TXN_GET);
	return s.error ? s.error : after(&s, rfs_datastore_txn_get(faulty(ds)->inner, key, ret_value));
}

static int faulty_txn_put(struct rfs_datastore *ds, const char *key, const char *value)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_TXN_PUT);
	return s.error ? s.error : after(&s, rfs_datastore_txn_put(faulty(ds)->inner, key, value));
}

static int faulty_txn_delete(struct rfs_datastore *ds, const char *key)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_TXN_DELETE);
	return s.error ? s.error : after(&s, rfs_datastore_txn_delete(faulty(ds)->inner, key));
}

static int faulty_commit(struct rfs_datastore *ds)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_COMMIT);
	if (s.error) {
		rfs_datastore_rollback(faulty(ds)->inner);
		return s.error;
	}
	return after(&s, rfs_datastore_commit(faulty(ds)->inner));
}

static void faulty_rollback(struct rfs_datastore *ds)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_ROLLBACK);
	rfs_datastore_rollback(faulty(ds)->inner);
	(void) after(&s, 0);
}

static unsigned int faulty_tidy(struct rfs_datastore *ds)
{
	struct strike s = strike(faulty(ds), FAULTY_DATASTORE_TIDY);
	unsigned int again_ms = rfs_datastore_tidy(faulty(ds)->inner);
	(void) after(&s, 0);
	return again_ms;
}

static int faulty_settle(struct rfs_datastore *ds)
{
	return rfs_datastore_settle(faulty(ds)->inner);
}

static void faulty_identity(struct rfs_datastore *ds, char ret_identity[RFS_IDENTITY_MAX + 1])
{
	rfs_datastore_identity(faulty(ds)->inner, ret_identity);
}

static const char *faulty_explain(struct rfs_datastore *ds)
{
	return was_injected ? "this failure was injected by a test" : rfs_datastore_explain(faulty(ds)->inner);
}

static void faulty_close(struct rfs_datastore *ds)
{
	struct faulty_datastore *f = faulty(ds);

	rfs_datastore_close(f->inner);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct rfs_datastore_ops faulty_ops = {
	.name = "faulty",
	.get = faulty_get,
	.get_now = faulty_get_now,
	.scan = faulty_scan,
	.begin = faulty_begin,
	.txn_get = faulty_txn_get,
	.txn_put = faulty_txn_put,
	.txn_delete = faulty_txn_delete,
	.commit = faulty_commit,
	.rollback = faulty_rollback,
	.tidy = faulty_tidy,
	.settle = faulty_settle,
	.identity = faulty_identity,
	.explain = faulty_explain,
	.close = faulty_close,
};

int faulty_datastore_open(struct rfs_datastore *inner, struct rfs_datastore **ret_ds)
{
	struct faulty_datastore *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->base.ops = &faulty_ops;
	f->inner = inner;
	f->plan.calls = FAULTY_DATASTORE_ALL;
	pthread_mutex_init(&f->lock, NULL);

	*ret_ds = &f->base;
	return 0;
}

void faulty_datastore_arm(struct rfs_datastore *ds, const struct faulty_datastore_plan *plan)
{
	static const struct faulty_datastore_plan empty = { .calls = FAULTY_DATASTORE_ALL };
	struct faulty_datastore *f = faulty(ds);
	RFS_LOCK(&f->lock);

	f->plan = plan ? *plan : empty;
	assert(f->plan.error >= 0);
	f->calls = 0;
	f->failures = 0;
}

uint64_t faulty_datastore_calls(struct rfs_datastore *ds)
{
	struct faulty_datastore *f = faulty(ds);
	RFS_LOCK(&f->lock);

	return f->calls;
}

uint64_t faulty_datastore_failures(struct rfs_datastore *ds)
{
	struct faulty_datastore *f = faulty(ds);
	RFS_LOCK(&f->lock);

	return f->failures;
}
