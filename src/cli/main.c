/* SPDX-License-Identifier: MIT */
/*
 * main.c: the command. Invariant: it ends with one of the documented statuses, and with one line on stderr unless that
 * is 0.
 */
#include "cli/daemon.h"
#include "cli/leave.h"
#include "cli/options.h"
#include "cli/service.h"
#include "util/log.h"

#include <fcntl.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

/* A caller may have closed them; no file of ours must get their numbers. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open(_PATH_DEVNULL, O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int print(const char *text)
{
	return fputs(text, stdout) == EOF || fflush(stdout) == EOF ? RFS_EXIT_SYSTEM : EXIT_SUCCESS;
}

static int print_version(void)
{
	if (printf("reservefs %s (libfuse %s)\n", RFS_VERSION, fuse_pkgversion()) < 0)
		return RFS_EXIT_SYSTEM;
	return print("");
}

static int fail(const struct rfs_failure *failure)
{
	rfs_failure_print(failure);
	return failure->status;
}

static int mount_tree(const struct rfs_options *options, struct rfs_failure *failure)
{
	struct rfs_daemon daemon;

	if (rfs_daemon_start(&daemon, !options->foreground, failure) < 0)
		return rfs_daemon_fail(&daemon, failure);
	if (daemon.child)
		return rfs_daemon_wait(&daemon, failure) < 0 ? fail(failure) : EXIT_SUCCESS;
	return rfs_service_run(options, &daemon, failure) < 0 ? rfs_daemon_fail(&daemon, failure) : EXIT_SUCCESS;
}

static int act(const struct rfs_options *options, struct rfs_failure *failure)
{
	switch (options->action) {
	case RFS_ACTION_HELP:
		return print(rfs_usage);
	case RFS_ACTION_VERSION:
		return print_version();
	case RFS_ACTION_CHECK:
		return rfs_service_check(options, failure) < 0 ? fail(failure) : EXIT_SUCCESS;
	case RFS_ACTION_MOUNT:
		break;
	}
	return mount_tree(options, failure);
}

int main(int argc, char **argv)
{
	static struct rfs_failure failure;
	struct rfs_options options;

	open_standard_streams();
	if (rfs_options_parse(argc, argv, &options, &failure) < 0)
		return fail(&failure);
	int status = act(&options, &failure);
	rfs_options_done(&options);
	rfs_log_stop();
	rfs_leave_files();
	return status;
}
