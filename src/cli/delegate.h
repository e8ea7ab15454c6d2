/* SPDX-License-Identifier: MIT */
/* delegate.h: letting mount.fuse3 mount, which then starts this program as another user, without privileges. */
#ifndef RFS_CLI_DELEGATE_H
#define RFS_CLI_DELEGATE_H

#include "cli/failure.h"
#include "cli/options.h"

/* Has what options->delegated says done by mount.fuse3, and waits until the tree can be used. 0, or a negative errno
 * and `failure`, whose line is empty where another program has said it. */
int rfs_delegate_mount(const struct rfs_options *options, struct rfs_failure *failure);

#endif
