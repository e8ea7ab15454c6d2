/* SPDX-License-Identifier: MIT */
/*
 * main.c: the command. Invariant: it ends with one of the documented statuses, and with one line on stderr unless that
 * is 0.
 */
#include "cli/daemon.h"
#include "cli/delegate.h"
#include "cli/leave.h"
#include "cli/options.h"
#include "cli/passed.h"
#include "cli/service.h"
#include "cli/umount.h"
#include "util/log.h"

#include <fcntl.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#define PROGRAM "reservefs"
#define UMOUNT_PROGRAM "umount.reservefs"

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

static int print_version(const char *program)
{
	if (printf("%s %s (libfuse %s)\n", program, RFS_VERSION, fuse_pkgversion()) < 0)
		return RFS_EXIT_SYSTEM;
	return print("");
}

static int fail(const char *program, const struct rfs_failure *failure)
{
	rfs_failure_print(program, failure);
	return failure->status;
}

static int mount_tree(const struct rfs_options *options, struct rfs_failure *failure)
{
	struct rfs_daemon daemon;

	if (rfs_daemon_start(&daemon, !options->foreground, rfs_passed_descriptor(options->mountpoint), failure) < 0)
		return rfs_daemon_fail(&daemon, failure);
	if (daemon.child)
		return rfs_daemon_wait(&daemon, failure) < 0 ? fail(PROGRAM, failure) : EXIT_SUCCESS;
	return rfs_service_run(options, &daemon, failure) < 0 ? rfs_daemon_fail(&daemon, failure) : EXIT_SUCCESS;
}

static int act(const struct rfs_options *options, struct rfs_failure *failure)
{
	switch (options->action) {
	case RFS_ACTION_HELP:
		return print(rfs_usage);
	case RFS_ACTION_VERSION:
		return print_version(PROGRAM);
	case RFS_ACTION_CHECK:
		return rfs_service_check(options, failure) < 0 ? fail(PROGRAM, failure) : EXIT_SUCCESS;
	case RFS_ACTION_MOUNT:
		break;
	}
	if (options->delegated)
		return rfs_delegate_mount(options, failure) < 0 ? fail(PROGRAM, failure) : EXIT_SUCCESS;
	return mount_tree(options, failure);
}

static int umount_main(int argc, char **argv, struct rfs_failure *failure)
{
	struct rfs_umount_options options;

	if (rfs_umount_parse(argc, argv, &options, failure) < 0)
		return fail(UMOUNT_PROGRAM, failure);
	switch (options.action) {
	case RFS_UMOUNT_HELP:
		return print(rfs_umount_usage);
	case RFS_UMOUNT_VERSION:
		return print_version(UMOUNT_PROGRAM);
	case RFS_UMOUNT_UNMOUNT:
		break;
	}
	return rfs_umount_run(&options, failure) < 0 ? fail(UMOUNT_PROGRAM, failure) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct rfs_failure failure;
	struct rfs_options options;

	open_standard_streams();
	if (argc > 0 && rfs_umount_is_called(argv[0]))
		return umount_main(argc, argv, &failure);
	if (rfs_options_parse(argc, argv, &options, &failure) < 0)
		return fail(PROGRAM, &failure);
	int status = act(&options, &failure);
	rfs_options_done(&options);
	rfs_log_stop();
	rfs_leave_files();
	return status;
}
