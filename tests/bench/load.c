/* SPDX-License-Identifier: MIT */
/*
 * load.c: the load driver: N client processes do one thing over and over, and what they did is printed as JSON.
 *
 * Clients are processes rather than threads, because that is what users of a tree are, and because threads would share
 * one table of open files. Each measures its own turns into memory that it shares with the parent; nothing is shared
 * between two clients while the clock runs.
 *
 * Invariant: every turn is timed from before the first system call until after the last, and a turn that failed ends
 * the whole run with status 1, so that a rate never contains errors.
 */
#include "histogram.h"
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct bench_workload *const tables[] = {
	bench_tree_workloads,
	bench_sqlite_workloads,
	bench_commit_workloads,
#ifdef BENCH_POSTGRES
	bench_postgres_workloads,
#endif
#ifdef BENCH_ETCD
	bench_etcd_workloads,
#endif
};

/* How long to go on: until the time is up, or `turns` (if not 0) are done. */
struct limits {
	double warm_up_seconds;
	double seconds;
	uint64_t turns;
};

/* What a client tells. In memory shared with the parent. */
struct result {
	struct bench_histogram times;
	uint64_t operations;
	uint64_t operations_in_time; /* those of turns that ended before the time was up */
	uint64_t begin_ns;
	uint64_t end_ns;
};

int bench_fail(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(args);
	return -error;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static int measure(const struct bench_workload *workload, struct bench_client *client, const struct limits *limits,
		   struct result *result)
{
	uint64_t start = now_ns();
	uint64_t from = start + (uint64_t) (limits->warm_up_seconds * 1e9);
	uint64_t until = limits->turns ? UINT64_MAX : from + (uint64_t) (limits->seconds * 1e9);
	uint64_t before = start;

	for (uint64_t turn = 0; before < until && (!limits->turns || turn < limits->turns); turn++) {
		int64_t done = workload->run(client, turn);
		uint64_t after = now_ns();
		if (done < 0)
			return (int) done;
		if (before >= from) {
			if (!result->begin_ns)
				result->begin_ns = before;
			result->operations += (uint64_t) done;
			if (after <= until)
				result->operations_in_time += (uint64_t) done;
			result->end_ns = after;
			bench_histogram_add(&result->times, after - before);
		}
		before = after;
	}
	return 0;
}

/* One client: tells through `ready` that it could open its target, and begins when `go` is closed. */
static int client_main(const struct bench_workload *workload, const struct bench_plan *plan, unsigned index,
		       const struct limits *limits, struct result *result, int ready, int go)
{
	struct bench_client client = { .plan = plan, .index = index };
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (workload->open && workload->open(&client) < 0)
		return 1;
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 0)
		return 1;
	return measure(workload, &client, limits, result) < 0;
}

static int run_clients(const struct bench_workload *workload, const struct bench_plan *plan,
		       const struct limits *limits, struct result *results)
{
	int ready[2], go[2], failed = 0;
	char byte;

	if (pipe(ready) < 0 || pipe(go) < 0)
		return bench_fail(errno, "pipe");
	for (unsigned i = 0; i < plan->clients; i++) {
		pid_t pid = fork();
		if (pid < 0)
			return bench_fail(errno, "fork");
		if (pid == 0) {
			close(ready[0]);
			close(go[1]);
			_exit(client_main(workload, plan, i, limits, &results[i], ready[1], go[0]));
		}
	}
	close(ready[1]);
	close(go[0]);
	for (unsigned i = 0; i < plan->clients; i++)
		if (read(ready[0], &byte, 1) != 1)
			break;
	close(go[1]);
	for (unsigned i = 0; i < plan->clients; i++) {
		int status;
		if (wait(&status) < 0 || status != 0)
			failed = 1;
	}
	close(ready[0]);
	return failed ? -EIO : 0;
}

/*
 * `rate` is what all clients got, divided by the time until the last of them had its last answer: a client that is kept
 * waiting while another one goes ahead counts. `rate_in_time` leaves out what came after the time was up, and so does
 * not mind who got the answers.
 */
static void print_result(const char *name, const struct bench_plan *plan, const struct limits *limits,
			 const struct result *results)
{
	static struct bench_histogram all;
	uint64_t begin = UINT64_MAX, end = 0, operations = 0, in_time = 0;

	for (unsigned i = 0; i < plan->clients; i++) {
		if (!results[i].times.count)
			continue;
		bench_histogram_merge(&all, &results[i].times);
		operations += results[i].operations;
		in_time += results[i].operations_in_time;
		begin = results[i].begin_ns < begin ? results[i].begin_ns : begin;
		end = results[i].end_ns > end ? results[i].end_ns : end;
	}
	double seconds = operations ? (double) (end - begin) / 1e9 : 0;
	double rate = operations ? (double) operations / seconds : 0;
	printf("{\"workload\":\"%s\",\"clients\":%u,\"operations\":%llu,\"turns\":%llu,\"seconds\":%.6f,\"rate\":%.3f,"
	       "\"rate_in_time\":%.3f,\"mean_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,"
	       "\"max_us\":%.3f}\n",
	       name, plan->clients, (unsigned long long) operations, (unsigned long long) all.count, seconds,
	       rate, limits->turns ? rate : (double) in_time / limits->seconds,
	       all.count ? (double) all.sum_ns / (double) all.count / 1e3 : 0.0,
	       (double) bench_histogram_quantile(&all, 0.5) / 1e3, (double) bench_histogram_quantile(&all, 0.9) / 1e3,
	       (double) bench_histogram_quantile(&all, 0.99) / 1e3,
	       (double) bench_histogram_quantile(&all, 0.999) / 1e3, (double) all.max_ns / 1e3);
}

static const struct bench_workload *find_workload(const char *name)
{
	for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
		for (const struct bench_workload *w = tables[t]; w->name; w++)
			if (strcmp(w->name, name) == 0)
				return w;
	return NULL;
}

static void usage(FILE *to)
{
	fputs("usage: load [-c CLIENTS] [-t SECONDS | -n TURNS] [-w WARM_UP_SECONDS] [-f FILE] [-p PREFIX] [-N NAMES]\n"
	      "            [-s SEED] [-b BYTES] WORKLOAD TARGET\n\nworkloads:\n", to);
	for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
		for (const struct bench_workload *w = tables[t]; w->name; w++)
			fprintf(to, "  %-16s %s\n", w->name, w->help);
}

int main(int argc, char **argv)
{
	struct bench_plan plan = {
		.clients = 1, .prefix = "bench", .file = "available", .names = 1, .size_bytes = 4096,
	};
	struct limits limits = { .seconds = 1 };
	int option;

	while ((option = getopt(argc, argv, "b:c:f:hn:N:p:s:t:w:")) != -1) {
		switch (option) {
		case 'b': plan.size_bytes = strtoull(optarg, NULL, 10); break;
		case 'c': plan.clients = (unsigned) strtoul(optarg, NULL, 10); break;
		case 'f': plan.file = optarg; break;
		case 'n': limits.turns = strtoull(optarg, NULL, 10); break;
		case 'N': plan.names = strtoull(optarg, NULL, 10); break;
		case 'p': plan.prefix = optarg; break;
		case 's': plan.seed = strtoull(optarg, NULL, 10); break;
		case 't': limits.seconds = strtod(optarg, NULL); break;
		case 'w': limits.warm_up_seconds = strtod(optarg, NULL); break;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	}
	const struct bench_workload *workload = argc - optind == 2 ? find_workload(argv[optind]) : NULL;
	if (!workload || plan.clients < 1 || plan.clients > 4096 || plan.names < 1) {
		usage(stderr);
		return 2;
	}
	plan.target = argv[optind + 1];

	struct result *results = mmap(NULL, plan.clients * sizeof *results, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED)
		return bench_fail(errno, "mmap") < 0;
	int r = workload->init ? workload->init(&plan) : 0;
	if (r >= 0)
		r = run_clients(workload, &plan, &limits, results);
	if (r >= 0 && workload->done)
		r = workload->done(&plan);
	if (r < 0)
		return 1;
	print_result(workload->name, &plan, &limits, results);
	return 0;
}
