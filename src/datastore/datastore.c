/* SPDX-License-Identifier: MIT */
/*
 * datastore.c: the one way into every back end.
 *
 * Invariant: a back end sees only keys and values within bounds, and only calls that its state allows. What a caller
 * can get wrong at run time is answered with -EINVAL; what only a programmer can is an assertion.
 */
#include <reservefs/datastore.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "util/cleanup.h"

/* A put is a transaction, of which only one may be open; puts may come from any thread. */
static pthread_mutex_t put_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_key(const char *key)
{
	size_t length = strnlen(key, RFS_KEY_MAX + 1);
	return length >= 1 && length <= RFS_KEY_MAX;
}

static bool is_key_part(const char *part)
{
	return strnlen(part, RFS_KEY_MAX + 1) <= RFS_KEY_MAX;
}

static bool is_value(const char *value)
{
	return strnlen(value, RFS_VALUE_MAX + 1) <= RFS_VALUE_MAX;
}

int rfs_datastore_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	if (!is_key(key))
		return -EINVAL;
	int rc = ds->ops->get(ds, key, ret_value);
	assert(rc <= 0);
	return rc;
}

int rfs_datastore_get_now(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	if (!is_key(key))
		return -EINVAL;
	int rc = ds->ops->get_now(ds, key, ret_value);
	assert(rc <= 0);
	return rc;
}

int rfs_datastore_scan(struct rfs_datastore *ds, const char *prefix, const char *after, rfs_scan_fn fn, void *user)
{
	if (!is_key_part(prefix) || !is_key_part(after))
		return -EINVAL;
	int rc = ds->ops->scan(ds, prefix, after, fn, user);
	assert(rc <= 0);
	return rc;
}

int rfs_datastore_put(struct rfs_datastore *ds, const char *key, const char *value)
{
	if (!is_key(key) || !is_value(value))
		return -EINVAL;
	RFS_LOCK(&put_lock);
	int rc = rfs_datastore_begin(ds);
	if (rc)
		return rc;
	rc = rfs_datastore_txn_put(ds, key, value);
	if (rc) {
		rfs_datastore_rollback(ds);
		return rc;
	}
	return rfs_datastore_commit(ds);
}

int rfs_datastore_begin(struct rfs_datastore *ds)
{
	assert(!ds->in_transaction);
	int rc = ds->ops->begin(ds);
	assert(rc <= 0);
	ds->in_transaction = rc == 0;
	return rc;
}

int rfs_datastore_txn_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	assert(ds->in_transaction);
	if (!is_key(key))
		return -EINVAL;
	int rc = ds->ops->txn_get(ds, key, ret_value);
	assert(rc <= 0);
	return rc;
}

int rfs_datastore_txn_put(struct rfs_datastore *ds, const char *key, const char *value)
{
	assert(ds->in_transaction);
	if (!is_key(key) || !is_value(value))
		return -EINVAL;
	int rc = ds->ops->txn_put(ds, key, value);
	assert(rc <= 0);
	return rc;
}

int rfs_datastore_txn_delete(struct rfs_datastore *ds, const char *key)
{
	assert(ds->in_transaction);
	if (!is_key(key))
		return -EINVAL;
	int rc = ds->ops->txn_delete(ds, key);
	assert(rc <= 0);
	return rc;
}

int rfs_datastore_commit(struct rfs_datastore *ds)
{
	assert(ds->in_transaction);
	ds->in_transaction = false;
	int rc = ds->ops->commit(ds);
	assert(rc <= 0);
	return rc;
}

void rfs_datastore_rollback(struct rfs_datastore *ds)
{
	assert(ds->in_transaction);
	ds->in_transaction = false;
	ds->ops->rollback(ds);
}

unsigned int rfs_datastore_tidy(struct rfs_datastore *ds)
{
	assert(!ds->in_transaction);
	return ds->ops->tidy(ds);
}

int rfs_datastore_settle(struct rfs_datastore *ds)
{
	assert(!ds->in_transaction);
	int rc = ds->ops->settle(ds);
	assert(rc <= 0);
	return rc;
}

void rfs_datastore_identity(struct rfs_datastore *ds, char ret_identity[RFS_IDENTITY_MAX + 1])
{
	ds->ops->identity(ds, ret_identity);
	assert(*ret_identity && !strpbrk(ret_identity, " \n"));
}

const char *rfs_datastore_explain(struct rfs_datastore *ds)
{
	const char *text = ds->ops->explain(ds);
	assert(text);
	return text;
}

void rfs_datastore_close(struct rfs_datastore *ds)
{
	if (!ds)
		return;
	if (ds->in_transaction)
		rfs_datastore_rollback(ds);
	ds->ops->close(ds);
}
