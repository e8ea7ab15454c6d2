/* SPDX-License-Identifier: MIT */
/*
 * options.h: what the command line, and a file that it names, ask for. Nothing here touches the Repo or exits.
 */
#ifndef RFS_CLI_OPTIONS_H
#define RFS_CLI_OPTIONS_H

#include "cli/failure.h"

#include <fuse_opt.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum rfs_action {
	RFS_ACTION_MOUNT,
	RFS_ACTION_CHECK, /* mount(8)'s fake: everything short of the mount */
	RFS_ACTION_HELP,
	RFS_ACTION_VERSION,
};

struct rfs_options {
	enum rfs_action action;
	char *repo;		 /* as given */
	char *mountpoint;	 /* as given */
	bool quota;		 /* the Repo is arithmetic alone, not a disk */
	uint64_t capacity_bytes; /* or RFS_CAPACITY_MAX; a number where `quota` */
	char *datastore;	 /* an absolute path, or NULL for the usual place */
	char *pool;		 /* or NULL for the usual name */
	uid_t uid;
	gid_t gid;
	bool nonempty; /* mount over a directory that holds something */
	bool existing; /* refuse to begin a new Repo */
	bool foreground;
	bool debug;
	char *delegated;       /* all that -o says, where mount.fuse3 is to mount; else NULL */
	struct fuse_args fuse; /* what libfuse gets; every option in it is one that libfuse knows */
};

/*
 * Reads the arguments. Where the name in argv[0] is mount.reservefs or mount.fuse.reservefs, they are those that
 * mount(8) gives its helpers. The caller owns what `ret_options` holds (rfs_options_done). After a failure there is
 * nothing to free, and `failure` is filled: -EINVAL the arguments are wrong, -ENOMEM.
 */
int rfs_options_parse(int argc, char **argv, struct rfs_options *ret_options, struct rfs_failure *failure);

void rfs_options_done(struct rfs_options *options);

/* What --help prints. At most 24 lines of 80 columns. */
extern const char rfs_usage[];

#endif
