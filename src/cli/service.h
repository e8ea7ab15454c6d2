/* SPDX-License-Identifier: MIT */
/* service.h: what the daemon does from its first line to its last. */
#ifndef RFS_CLI_SERVICE_H
#define RFS_CLI_SERVICE_H

#include "cli/daemon.h"
#include "cli/failure.h"
#include "cli/options.h"

/* Looks whether `options` could be served: REPO, its lock, MOUNTPOINT. Changes nothing. */
int rfs_service_check(const struct rfs_options *options, struct rfs_failure *failure);

/* Opens everything, mounts, says through `daemon` that it is ready, serves until unmounted or told to end, and closes
 * everything. 0, or a negative errno with `failure` filled. */
int rfs_service_run(const struct rfs_options *options, struct rfs_daemon *daemon, struct rfs_failure *failure);

#endif
