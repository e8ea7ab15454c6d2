/* SPDX-License-Identifier: MIT */
/*
 * postgres_load.c: PostgreSQL in the place of reservefs: each client is a process with a connection over the Unix
 * socket, and a resize is one prepared statement in one round trip that adds the difference to the sum, where the sum
 * allows it, and sets the contract's size. It commits by itself, with synchronous_commit on.
 *
 * Invariant: pool.reserved is the sum of contract.size after every statement, and is never above pool.capacity.
 */
#include "load.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session {
	PGconn *connection;
	char name[64];
	uint64_t size;
};

static int failed(PGconn *connection, PGresult *result, const char *what)
{
	fprintf(stderr, "load: PostgreSQL: %s: %s", what, PQerrorMessage(connection));
	PQclear(result);
	return -EIO;
}

/* The target is a libpq connection string. */
static int connect_db(const char *target, PGconn **ret_connection)
{
	PGconn *connection = PQconnectdb(target);

	if (PQstatus(connection) != CONNECTION_OK)
		return failed(connection, NULL, "connect");
	*ret_connection = connection;
	return 0;
}

static int init_postgres(const struct bench_plan *plan)
{
	PGconn *connection = NULL;
	char script[1024];
	int r = connect_db(plan->target, &connection);

	if (r < 0)
		return r;
	snprintf(script, sizeof script,
		 "SET client_min_messages = warning;"
		 "CREATE TABLE IF NOT EXISTS pool (one int PRIMARY KEY, capacity bigint, reserved bigint);"
		 "CREATE TABLE IF NOT EXISTS contract (name text PRIMARY KEY, size bigint);"
		 "TRUNCATE pool, contract;"
		 "INSERT INTO pool VALUES (1, 1::bigint << 60, 0);"
		 "INSERT INTO contract SELECT '%s-' || i, 0 FROM generate_series(0, %u) i;",
		 plan->prefix, plan->clients - 1);
	PGresult *result = PQexec(connection, script);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		r = failed(connection, result, "tables");
	else
		PQclear(result);
	PQfinish(connection);
	return r;
}

static int open_postgres(struct bench_client *client)
{
	struct session *s = calloc(1, sizeof *s);
	if (!s)
		abort();
	int r = connect_db(client->plan->target, &s->connection);
	if (r < 0)
		return r;
	snprintf(s->name, sizeof s->name, "%s-%u", client->plan->prefix, client->index);
	PGresult *result = PQprepare(s->connection, "resize",
		"WITH p AS (UPDATE pool SET reserved = reserved + $1::bigint"
		" WHERE reserved + $1::bigint <= capacity RETURNING 1)"
		" UPDATE contract SET size = $2::bigint WHERE name = $3 AND EXISTS (SELECT 1 FROM p)", 3, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		return failed(s->connection, result, "prepare");
	PQclear(result);
	client->state = s;
	return 0;
}

static int64_t run_postgres(struct bench_client *client, uint64_t turn)
{
	struct session *s = client->state;
	uint64_t wanted = bench_size(client->plan, turn);
	char difference[32], size[32];
	const char *values[3] = { difference, size, s->name };

	snprintf(difference, sizeof difference, "%lld", (long long) (wanted - s->size));
	snprintf(size, sizeof size, "%llu", (unsigned long long) wanted);
	PGresult *result = PQexecPrepared(s->connection, "resize", 3, values, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		return failed(s->connection, result, "resize");
	bool updated = strcmp(PQcmdTuples(result), "1") == 0;
	PQclear(result);
	if (!updated)
		return bench_fail(ENOSPC, "PostgreSQL");
	s->size = wanted;
	return 1;
}

const struct bench_workload bench_postgres_workloads[] = {
	{ "postgres", "PostgreSQL: one conditional update a resize (TARGET is a connection string)", init_postgres,
	  open_postgres, run_postgres, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};
