/* SPDX-License-Identifier: MIT */
/*
 * commit_load.c: the least that a durable resize can cost with SQLite: one process, alone with its file, puts a
 * contract's record and the totals, of the size that reservefs writes, in one transaction with synchronous=FULL.
 *
 * It checks nothing and answers nobody. What reservefs takes beyond this and a do-nothing FUSE write is its own.
 *
 * The table holds other contracts besides, so that, as in reservefs, the two records lie in different pages.
 */
#include "load.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OTHERS "1000"

enum statement { BEGIN, PUT, COMMIT, STATEMENTS };

static const char *const texts[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[PUT] = "INSERT INTO record VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
	[COMMIT] = "COMMIT",
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
};

static int failed(sqlite3 *db, const char *what)
{
	fprintf(stderr, "load: SQLite: %s: %s\n", what, sqlite3_errmsg(db));
	return -EIO;
}

static const char script[] =
	"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
	"CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;"
	"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < " OTHERS ")"
	"  INSERT OR IGNORE INTO record"
	"    SELECT 'contract/listed-' || i, printf('id=%d size=4096 changed=1767225600.123456789', 9 + i) FROM n"
	"    UNION ALL SELECT printf('id/%016x', 9 + i), 'listed-' || i FROM n;";

static int open_commit(struct bench_client *client)
{
	struct store *s = calloc(1, sizeof *s);

	if (!s)
		abort();
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	if (sqlite3_open_v2(client->plan->target, &s->db, flags, "unix-excl") != SQLITE_OK ||
	    sqlite3_exec(s->db, script, NULL, NULL, NULL) != SQLITE_OK)
		return failed(s->db, client->plan->target);
	for (unsigned i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v2(s->db, texts[i], -1, &s->statements[i], NULL) != SQLITE_OK)
			return failed(s->db, texts[i]);
	client->state = s;
	return 0;
}

static int execute(struct store *s, enum statement which)
{
	int rc = sqlite3_step(s->statements[which]);
	sqlite3_reset(s->statements[which]);
	return rc == SQLITE_DONE ? 0 : failed(s->db, texts[which]);
}

static int put(struct store *s, const char *key, const char *value)
{
	sqlite3_bind_text(s->statements[PUT], 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(s->statements[PUT], 2, value, -1, SQLITE_STATIC);
	return execute(s, PUT);
}

static int64_t run_commit(struct bench_client *client, uint64_t turn)
{
	struct store *s = client->state;
	unsigned long long size = bench_size(client->plan, turn);
	struct timespec now;
	char contract[128], totals[192];

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(contract, sizeof contract, "id=8 size=%llu changed=%lld.%09ld", size, (long long) now.tv_sec,
		 now.tv_nsec);
	snprintf(totals, sizeof totals, "reserved=%llu contracts=1 next_id=8200 changed=%lld.%09ld commits=%llu", size,
		 (long long) now.tv_sec, now.tv_nsec, (unsigned long long) turn);
	int r = execute(s, BEGIN);
	if (r == 0)
		r = put(s, "contract/bench-0", contract);
	if (r == 0)
		r = put(s, "totals", totals);
	if (r == 0)
		r = execute(s, COMMIT);
	return r < 0 ? r : 1;
}

const struct bench_workload bench_commit_workloads[] = {
	{ "sqlite-commit", "one client alone: one SQLite commit of the records of a resize (TARGET is the file)", NULL,
	  open_commit, run_commit, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};
