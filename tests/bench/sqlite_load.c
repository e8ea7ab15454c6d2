/* SPDX-License-Identifier: MIT */
/*
 * sqlite_load.c: what a program on SQLite would do instead: each client is a process with its own connection, and a
 * resize is one transaction that checks the sum, updates the contract and the sum, and commits to disk.
 *
 * Invariant: pool.reserved is the sum of contract.size after every commit, and is never above pool.capacity.
 */
#include "load.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum statement { BEGIN, POOL, CONTRACT, UPDATE_CONTRACT, UPDATE_POOL, COMMIT, STATEMENTS };

static const char *const texts[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[POOL] = "SELECT reserved, capacity FROM pool",
	[CONTRACT] = "SELECT size FROM contract WHERE name = ?1",
	[UPDATE_CONTRACT] = "UPDATE contract SET size = ?2 WHERE name = ?1",
	[UPDATE_POOL] = "UPDATE pool SET reserved = ?1",
	[COMMIT] = "COMMIT",
};

struct connection {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
	char name[64];
};

static int failed(sqlite3 *db, const char *what)
{
	fprintf(stderr, "load: SQLite: %s: %s\n", what, sqlite3_errmsg(db));
	return -EIO;
}

static int connect_db(const char *path, sqlite3 **ret_db)
{
	sqlite3 *db;

	if (sqlite3_open(path, &db) != SQLITE_OK)
		return failed(db, path);
	sqlite3_busy_timeout(db, 60000);
	if (sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", NULL, NULL, NULL) != SQLITE_OK)
		return failed(db, path);
	*ret_db = db;
	return 0;
}

static int init_sqlite(const struct bench_plan *plan)
{
	sqlite3 *db = NULL;
	int r = connect_db(plan->target, &db);
	if (r < 0)
		return r;
	char *script = sqlite3_mprintf(
		"BEGIN IMMEDIATE;"
		"CREATE TABLE IF NOT EXISTS pool (one INTEGER PRIMARY KEY, capacity INTEGER, reserved INTEGER);"
		"CREATE TABLE IF NOT EXISTS contract (name TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID;"
		"INSERT OR IGNORE INTO pool VALUES (1, 1 << 60, 0);"
		"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %u)"
		"  INSERT OR IGNORE INTO contract SELECT '%q-' || i, 0 FROM n;"
		"COMMIT", plan->clients, plan->prefix);
	if (sqlite3_exec(db, script, NULL, NULL, NULL) != SQLITE_OK)
		r = failed(db, plan->target);
	sqlite3_free(script);
	sqlite3_close(db);
	return r;
}

static int open_sqlite(struct bench_client *client)
{
	struct connection *c = calloc(1, sizeof *c);
	if (!c)
		abort();
	int r = connect_db(client->plan->target, &c->db);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v2(c->db, texts[i], -1, &c->statements[i], NULL) != SQLITE_OK)
			return failed(c->db, texts[i]);
	snprintf(c->name, sizeof c->name, "%s-%u", client->plan->prefix, client->index);
	sqlite3_bind_text(c->statements[CONTRACT], 1, c->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(c->statements[UPDATE_CONTRACT], 1, c->name, -1, SQLITE_STATIC);
	client->state = c;
	return 0;
}

/* Runs a statement that gives no row. */
static int execute(struct connection *c, enum statement which)
{
	int rc = sqlite3_step(c->statements[which]);
	sqlite3_reset(c->statements[which]);
	return rc == SQLITE_DONE ? 0 : failed(c->db, texts[which]);
}

static int query(struct connection *c, enum statement which, int columns, int64_t *ret_values)
{
	sqlite3_stmt *s = c->statements[which];

	if (sqlite3_step(s) != SQLITE_ROW)
		return failed(c->db, texts[which]);
	for (int i = 0; i < columns; i++)
		ret_values[i] = sqlite3_column_int64(s, i);
	sqlite3_reset(s);
	return 0;
}

static int64_t run_sqlite(struct bench_client *client, uint64_t turn)
{
	struct connection *c = client->state;
	int64_t pool[2] = { 0 }, old = 0, wanted = (int64_t) bench_size(client->plan, turn);
	int r = execute(c, BEGIN);

	if (r == 0)
		r = query(c, POOL, 2, pool);
	if (r == 0)
		r = query(c, CONTRACT, 1, &old);
	if (r < 0)
		return r;
	if (pool[0] - old + wanted > pool[1])
		return bench_fail(ENOSPC, "SQLite");
	sqlite3_bind_int64(c->statements[UPDATE_CONTRACT], 2, wanted);
	sqlite3_bind_int64(c->statements[UPDATE_POOL], 1, pool[0] - old + wanted);
	r = execute(c, UPDATE_CONTRACT);
	if (r == 0)
		r = execute(c, UPDATE_POOL);
	if (r == 0)
		r = execute(c, COMMIT);
	return r < 0 ? r : 1;
}

const struct bench_workload bench_sqlite_workloads[] = {
	{ "sqlite", "SQLite directly: one transaction a resize, synchronous=FULL (TARGET is the file)", init_sqlite,
	  open_sqlite, run_sqlite, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};
