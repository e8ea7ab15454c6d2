/* SPDX-License-Identifier: MIT */
/* load.h: what a workload of the load driver is. Each runs in client processes of its own. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

/* What was asked for on the command line; the same in every client. */
struct bench_plan {
	const char *target; /* a mount point, a database file, a socket directory or an address */
	const char *file;   /* for workloads of one file: its path below the target */
	const char *prefix; /* names of contracts begin with it */
	unsigned clients;
	uint64_t names; /* how many contracts there are, for workloads that choose among them */
	uint64_t seed;
	uint64_t size_bytes; /* a resize writes this, or this + 1 */
};

struct bench_client {
	const struct bench_plan *plan;
	unsigned index;
	void *state; /* the workload's own */
};

/*
 * A workload. Functions return 0 or a positive result, or a negative errno after a line on stderr. Those that are not
 * needed are NULL.
 */
struct bench_workload {
	const char *name;
	const char *help;

	/* Called once, before there are clients: makes what all of them need. */
	int (*init)(const struct bench_plan *plan);

	/* Called in each client; not timed. */
	int (*open)(struct bench_client *client);

	/* The timed part: the turn number `turn` (from 0). Returns the operations that were done. */
	int64_t (*run)(struct bench_client *client, uint64_t turn);

	/* Called once, after all clients have ended. */
	int (*done)(const struct bench_plan *plan);
};

/* Every kind of target has a table, which ends with a NULL name. */
extern const struct bench_workload bench_tree_workloads[];
extern const struct bench_workload bench_sqlite_workloads[];
extern const struct bench_workload bench_commit_workloads[];
extern const struct bench_workload bench_postgres_workloads[];
extern const struct bench_workload bench_etcd_workloads[];

/* Writes a line on stderr, and returns -error. */
int bench_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The size that a client asks for in its turn: never the same twice in a row, so that no turn changes nothing. */
static inline uint64_t bench_size(const struct bench_plan *plan, uint64_t turn)
{
	return plan->size_bytes + (turn & 1);
}

#endif
