/* SPDX-License-Identifier: MIT */
/*
 * linearize.c: the checker as a program.
 *
 *     linearize check FILE...                                   checks recorded histories
 *     linearize tree MOUNTPOINT CAPACITY HISTORIES [SEED]       records on a mounted tree (Repo `quota` of CAPACITY
 *                                                               bytes, without other users), and checks
 *
 * Exit status: 0 all are linearizable, 1 one isn't (it is on stderr, ready for `check`), 2 anything else.
 */
#include "check.h"
#include "record.h"
#include "subject_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int check_file(const char *path)
{
	static struct history h;
	struct check_result result;
	unsigned line = 0;

	FILE *in = fopen(path, "re");
	if (!in) {
		fprintf(stderr, "linearize: %s: %s\n", path, strerror(errno));
		return 2;
	}
	int r = history_read(in, &h, &line);
	fclose(in);
	if (r == 0)
		r = check_history(&h, &result);
	if (r < 0) {
		fprintf(stderr, "linearize: %s: line %u: %s\n", path, line, strerror(-r));
		return 2;
	}
	if (!result.linearizable)
		check_explain(stderr, &h, &result);
	return result.linearizable ? 0 : 1;
}

static int check_files(int count, char **paths)
{
	int worst = 0;

	for (int i = 0; i < count; i++) {
		int status = check_file(paths[i]);
		if (status > worst)
			worst = status;
	}
	return worst;
}

static int check_tree(const char *mountpoint, uint64_t capacity_bytes, unsigned histories, uint64_t seed)
{
	struct record_options options = {
		.clients = 5,
		.requests_per_client = 7,
		.names = 4,
		.capacity_bytes = capacity_bytes,
		.seed = seed,
	};
	struct record_result result;

	struct subject *s = subject_tree_new(mountpoint);
	if (!s) {
		fprintf(stderr, "linearize: %s: %s\n", mountpoint, strerror(errno));
		return 2;
	}
	int r = record_histories(s, &options, histories, stderr, &result);
	subject_tree_free(s);
	if (r < 0) {
		fprintf(stderr, "linearize: %s\n", strerror(-r));
		return 2;
	}
	printf("%u histories, %" PRIu64 " requests, %" PRIu64 " of them beside another, %" PRIu64 " refused for want of space\n",
	       result.histories, result.requests, result.overlapping, result.refused);
	return result.linearizable ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "check") == 0)
		return check_files(argc - 2, argv + 2);
	if ((argc == 5 || argc == 6) && strcmp(argv[1], "tree") == 0)
		return check_tree(argv[2], strtoull(argv[3], NULL, 10), (unsigned) strtoul(argv[4], NULL, 10),
				  argc == 6 ? strtoull(argv[5], NULL, 10) : 1);
	fputs("usage: linearize check FILE... | linearize tree MOUNTPOINT CAPACITY HISTORIES [SEED]\n", stderr);
	return 2;
}
