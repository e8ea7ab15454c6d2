/* SPDX-License-Identifier: MIT */
/*
 * crash_daemon.c: the daemon with a bug. It takes the place of reservefs in crash.c, which must find the bug that the
 * environment variable CRASH_PLANTED names. For nothing else: it takes the one form of arguments that crash.c uses.
 */
#define FUSE_USE_VERSION 314
#include "crash_load.h"
#include "crash_planted.h"
#include "fs/fs.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static enum crash_planted chosen_bug(void)
{
	const char *name = getenv("CRASH_PLANTED");
	for (unsigned i = 0; name && i < CRASH_PLANTED_COUNT; i++)
		if (strcmp(crash_planted_names[i], name) == 0)
			return (enum crash_planted) i;
	fputs("crash_daemon: CRASH_PLANTED names no bug\n", stderr);
	exit(1);
}

static struct rfs_reservations *open_reservations(const char *repo_path)
{
	char path[PATH_MAX], message[512];
	struct rfs_sqlite_options options = { .path = path };
	struct rfs_reservations *r;
	struct rfs_datastore *ds;
	struct rfs_repo *repo;

	snprintf(path, sizeof path, "%s/.reservefs", repo_path);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return NULL;
	snprintf(path, sizeof path, "%s/.reservefs/datastore.db", repo_path);
	if (rfs_datastore_open_sqlite(&options, message, sizeof message, &ds) < 0 ||
	    crash_planted_open(chosen_bug(), ds, &ds) < 0 || rfs_repo_open_quota(LOAD_CAPACITY, &repo) < 0 ||
	    rfs_reservations_open(ds, repo, message, sizeof message, &r) < 0) {
		fprintf(stderr, "crash_daemon: %s\n", message);
		return NULL;
	}
	return r;
}

static void ready(void *user)
{
	(void) user;
}

int main(int argc, char **argv)
{
	char permissions[] = "-odefault_permissions";
	char *words[] = { argv[0], permissions, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, words);
	struct rfs_fs *fs;

	if (argc != 6)
		return 1;
	struct rfs_fs_options options = { .reservations = open_reservations(argv[4]), .pool = "planted", .ready = ready };
	if (!options.reservations || rfs_fs_new(&args, &options, &fs) < 0)
		return 2;
	(void) umount2(argv[5], MNT_DETACH);
	if (rfs_fs_mount(fs, argv[5]) < 0)
		return 32;
	enum rfs_fs_end end;
	int rc = rfs_fs_run(fs, &end);
	rfs_fs_free(fs);
	(void) rfs_reservations_close(options.reservations);
	return rc < 0 ? 2 : 0;
}
