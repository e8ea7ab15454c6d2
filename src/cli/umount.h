/* SPDX-License-Identifier: MIT */
/*
 * umount.h: the command umount.reservefs, which umount(8) runs to unmount a tree. It returns when the daemon has ended,
 * so that what the daemon had open can be unmounted next.
 */
#ifndef RFS_CLI_UMOUNT_H
#define RFS_CLI_UMOUNT_H

#include "cli/failure.h"

#include <stdbool.h>

enum rfs_umount_action { RFS_UMOUNT_UNMOUNT, RFS_UMOUNT_HELP, RFS_UMOUNT_VERSION };

struct rfs_umount_options {
	enum rfs_umount_action action;
	const char *mountpoint;
	const char *mount_namespace; /* a file of it, or a pid; NULL: ours */
	bool lazy;		     /* also while it is in use */
	bool force;
	bool read_only; /* where it cannot be unmounted */
	bool verbose;
};

/* Whether the command, as it was called, is this one. */
bool rfs_umount_is_called(const char *program);

/* Reads the arguments, which `ret_options` points into. -EINVAL and `failure`: they are wrong. */
int rfs_umount_parse(int argc, char **argv, struct rfs_umount_options *ret_options, struct rfs_failure *failure);

/* Unmounts and waits. 0, or a negative errno and `failure`, whose line is empty where another program has said it. */
int rfs_umount_run(const struct rfs_umount_options *options, struct rfs_failure *failure);

/* What --help prints. */
extern const char rfs_umount_usage[];

#endif
