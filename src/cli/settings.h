/* SPDX-License-Identifier: MIT */
/* settings.h: the words of -o and of a config file, sorted by who they are for. Private to the options. */
#ifndef RFS_CLI_SETTINGS_H
#define RFS_CLI_SETTINGS_H

#include "cli/failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What has been said, of the values that have no other sign of it. */
enum {
	RFS_SET_CAPACITY = 1 << 0,
	RFS_SET_REPO = 1 << 1,
	RFS_SET_UID = 1 << 2,
	RFS_SET_GID = 1 << 3,
};

struct rfs_settings {
	unsigned int set;
	uint64_t capacity_bytes; /* or RFS_CAPACITY_MAX */
	bool quota;
	uid_t uid;
	gid_t gid;
	char *datastore; /* absolute; this and the others below NULL where nothing was said */
	char *pool;
	char *config;
	char *fuse; /* what libfuse gets, comma-separated and escaped */
	bool nonempty;
	bool existing;
	bool debug;
	bool sloppy;	   /* drop what nobody knows, as mount(8) -s says */
	bool may_delegate; /* take what mount.fuse3 is to do */
	bool delegate;	   /* there is something of that */
};

/*
 * Takes one option, `name` or `name=value`. `where` says for messages where it stands. A later one replaces an earlier.
 * -EINVAL: nobody knows it, it lacks its value, or is not for users to set; -ENOMEM.
 */
int rfs_settings_take(struct rfs_settings *settings, const char *option, const char *where,
		      struct rfs_failure *failure);

/* Reads `path`: lines of one option each; empty lines and those that begin with '#' mean nothing.
 * -EINVAL for all that can be wrong with the file, which `failure` names with its line; -ENOMEM. */
int rfs_settings_read(struct rfs_settings *settings, const char *path, struct rfs_failure *failure);

/* Takes `value` of the option `name`: -ENOENT where that is not one of ours that has a value; else as
 * rfs_settings_take. */
int rfs_settings_take_value(struct rfs_settings *settings, const char *name, size_t name_length, const char *value,
			    const char *where, struct rfs_failure *failure);

/* Moves into `settings` what only `fallback` says. What libfuse gets from `settings` comes last, and so wins. */
int rfs_settings_merge(struct rfs_settings *settings, struct rfs_settings *fallback);

void rfs_settings_done(struct rfs_settings *settings);

#endif
