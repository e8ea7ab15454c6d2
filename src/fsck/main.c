/* SPDX-License-Identifier: MIT */
/*
 * main.c: fsck.reservefs: checks a Datastore that is not in use, and repairs it where asked to. Invariant: the exit status
 * says what is so afterwards: what was repaired has been checked again.
 */
#include "fsck/fsck.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One repair can bring to light what the next pass has to deal with. */
#define PASSES_MOST 4

static const char usage[] = "Usage: fsck.reservefs [-n | -p | -y] [-v] REPO|FILE\n"
			    "Check the Datastore of the directory REPO, or the one in FILE. It must not be mounted.\n"
			    "\n"
			    "  -n  change nothing (default)\n"
			    "  -p  repair what is certain: the index and the totals; also -a\n"
			    "  -y  repair whatever can be\n"
			    "  -v  say what is being done\n"
			    "  -h  this help\n"
			    "  -V  the version\n"
			    "\n"
			    "Before anything is repaired, FILE is copied to FILE.TIME.bak.\n"
			    "The exit status is 0 all is well, 1 everything was repaired, 4 something is left,\n"
			    "8 it could not be checked, 16 wrong usage, or a sum of them.\n";

static int wrong_usage(const char *program)
{
	(void) fprintf(stderr, "Try '%s -h' for more information.\n", program);
	return FSCK_USAGE;
}

/* -1: go on; else the exit status. What fsck(8) passes on to every kind, and means nothing here, is taken and ignored. */
static int parse(int argc, char **argv, struct fsck_options *ret_options)
{
	static const struct option long_options[] = {
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	int option;

	*ret_options = (struct fsck_options) { .mode = FSCK_CHECK };
	while ((option = getopt_long(argc, argv, "npyavfrC::t:hV", long_options, NULL)) != -1) {
		switch (option) {
		case 'n':
			ret_options->mode = FSCK_CHECK;
			break;
		case 'p':
		case 'a':
			ret_options->mode = FSCK_PREEN;
			break;
		case 'y':
			ret_options->mode = FSCK_YES;
			break;
		case 'v':
			ret_options->verbose = true;
			break;
		case 'f':
		case 'r':
		case 'C':
		case 't':
			break;
		case 'h':
			(void) fputs(usage, stdout);
			return 0;
		case 'V':
			(void) puts("fsck.reservefs " RFS_VERSION);
			return 0;
		default:
			return wrong_usage(argv[0]);
		}
	}
	if (argc - optind != 1) {
		(void) fprintf(stderr, "%s: name one Repo or file\n", argv[0]);
		return wrong_usage(argv[0]);
	}
	ret_options->path = argv[optind];
	return -1;
}

static void step(struct fsck *fsck, const char *what)
{
	if (fsck->options->verbose)
		fsck_say(fsck, "%s", what);
}

/* To be repaired, the file is opened as a mount would. */
static int open_for_repair(struct fsck *fsck)
{
	struct rfs_sqlite_options options = { .path = fsck->file, .must_exist = true };
	char message[1024] = "";
	int rc;

	if (fsck->options->mode == FSCK_CHECK)
		return 0;
	rc = rfs_datastore_open_sqlite(&options, message, sizeof message, &fsck->ds);
	if (rc == -EBADMSG)
		return 0; /* which the check will tell more about */
	if (rc < 0)
		fsck_fail(fsck, FSCK_OPERATIONAL, "%s", message);
	return rc;
}

static int open_to_look(struct fsck *fsck)
{
	char line[1024] = "";
	int rc = fsck_view_open(fsck->file, fsck->shown, line, sizeof line, &fsck->view);

	if (rc < 0)
		fsck_fail(fsck, rc == -EBADMSG ? FSCK_UNCORRECTED : FSCK_OPERATIONAL, "%s", line);
	return rc;
}

static void note_file(void *user, const char *what)
{
	struct fsck *fsck = user;

	fsck_problem(fsck, fsck->shown, "%s", what);
}

static int look(struct fsck *fsck, struct fsck_sums *ret_sums)
{
	int rc = fsck_check(fsck, ret_sums);

	if (rc < 0)
		fsck_fail(fsck, rc == -EBADMSG ? FSCK_UNCORRECTED : FSCK_OPERATIONAL, "the records of %s cannot be read: %s",
			  fsck->shown, rc == -ENOMEM ? "out of memory" : fsck_view_explain(fsck->view));
	return rc;
}

/* Repairs and looks again, until nothing is left or nothing more can be done. */
static int repair(struct fsck *fsck, struct fsck_sums *sums)
{
	uint64_t before, left;
	int rc = 0;

	fsck->quiet = true;
	for (int pass = 0; pass < PASSES_MOST && rc == 0 && fsck->problems > 0; pass++) {
		step(fsck, "repairing");
		before = fsck->repairs;
		left = fsck->problems;
		rc = fsck_repair(fsck, sums);
		fsck->problems = 0;
		if (rc == 0)
			rc = look(fsck, sums);
		if (rc < 0)
			fsck->problems = left;
		if (fsck->repairs == before)
			break;
	}
	fsck->quiet = false;
	return rc;
}

static void conclude(struct fsck *fsck, const struct fsck_sums *sums, uint64_t found)
{
	if (fsck->repairs > 0)
		fsck->status |= FSCK_CORRECTED;
	if (fsck->problems > 0)
		fsck->status |= FSCK_UNCORRECTED;
	if (found == 0)
		fsck_say(fsck, "clean: %" PRIu64 " contracts, %" PRIu64 " bytes reserved", sums->contracts, sums->reserved_bytes);
	else
		fsck_say(fsck, "%" PRIu64 " found, %" PRIu64 " repaired, %" PRIu64 " left", found, fsck->repairs, fsck->problems);
	if (fsck->copy)
		fsck_say(fsck, "as it was before, it is kept in %s", fsck->copy);
}

static void run(struct fsck *fsck)
{
	struct fsck_sums sums;
	uint64_t found;
	bool whole;

	if (fsck_find(fsck) < 0 || open_for_repair(fsck) < 0 || open_to_look(fsck) < 0)
		return;
	step(fsck, "checking the file");
	whole = fsck_view_inspect(fsck->view, note_file, fsck) == 0 && fsck->problems == 0;
	step(fsck, "checking the records");
	if (look(fsck, &sums) < 0)
		return;
	found = fsck->problems;
	if (fsck->ds && whole && repair(fsck, &sums) < 0 && !(fsck->status & FSCK_OPERATIONAL))
		fsck_fail(fsck, FSCK_OPERATIONAL, "cannot repair %s", fsck->shown);
	if (!whole && fsck->options->mode != FSCK_CHECK)
		fsck_fail(fsck, FSCK_UNCORRECTED,
			  "nothing is repaired in a file that is damaged as such; restore it from a backup, or see sqlite3(1), .recover");
	conclude(fsck, &sums, found);
}

int main(int argc, char **argv)
{
	struct fsck_options options;
	struct fsck fsck = { .options = &options };
	int status = parse(argc, argv, &options);

	if (status >= 0)
		return status;
	run(&fsck);
	fsck_view_close(fsck.view);
	rfs_datastore_close(fsck.ds);
	free(fsck.copy);
	free(fsck.shown);
	free(fsck.file);
	if (fflush(stdout) != 0)
		fsck.status |= FSCK_OPERATIONAL;
	return fsck.status;
}
