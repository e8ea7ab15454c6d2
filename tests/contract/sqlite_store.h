/* SPDX-License-Identifier: MIT */
/* sqlite_store.h: what the tests of the SQLite back end share: opening, looking, and changing the file behind its
 * back. Include after check.h. */
#ifndef TESTS_CONTRACT_SQLITE_STORE_H
#define TESTS_CONTRACT_SQLITE_STORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sqlite3.h>

#include <reservefs/datastore.h>

/* The line that the last failed store_try gave. */
static char store_message[1024];

static inline int store_try(const char *path, bool must_exist, struct rfs_datastore **ret_ds)
{
	struct rfs_sqlite_options options = { .path = path, .must_exist = must_exist };

	store_message[0] = 0;
	return rfs_datastore_open_sqlite(&options, store_message, sizeof(store_message), ret_ds);
}

static inline struct rfs_datastore *store_open(const char *path)
{
	struct rfs_datastore *ds = NULL;

	if (store_try(path, false, &ds))
		fail_msg("%s", store_message);
	return ds;
}

/* Opening `path` must be refused with `rc`, and a line that names the file and says `what`. */
static inline void store_expect_refusal(const char *path, int rc, const char *what)
{
	struct rfs_datastore *ds = NULL;

	assert_int_equal(store_try(path, false, &ds), rc);
	assert_null(ds);
	if (!strstr(store_message, path) || !strstr(store_message, what) || strchr(store_message, '\n'))
		fail_msg("not as expected: %s", store_message);
}

static inline void store_put(struct rfs_datastore *ds, const char *key, const char *value)
{
	if (rfs_datastore_put(ds, key, value))
		fail_msg("%s", rfs_datastore_explain(ds));
}

/* `value` NULL: there must be none. */
static inline void store_expect(struct rfs_datastore *ds, const char *key, const char *value)
{
	struct rfs_value got;
	int rc = rfs_datastore_get(ds, key, &got);

	assert_int_equal(rc, value ? 0 : -ENOENT);
	if (value)
		assert_string_equal(got.data, value);
}

/* Runs SQL on the file as anybody could, while no Datastore has it open. */
static inline void store_sql(const char *path, const char *sql)
{
	sqlite3 *db;
	char *message = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* What SQLite itself thinks of the file. */
static inline void store_check_integrity(const char *path)
{
	sqlite3 *db;
	sqlite3_stmt *statement;

	/* unix-excl: it needs no -shm file, for which a full disk has no room. */
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix-excl"), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal(sqlite3_column_text(statement, 0), "ok");
	sqlite3_finalize(statement);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

#endif
