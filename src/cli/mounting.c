/* SPDX-License-Identifier: MIT */
/*
 * mounting.c: mounts, or finds out why that is impossible. Causes are looked for after the failure, not before, so that
 * nothing is refused which would have worked. Invariant: neither libfuse nor fusermount3 prints a line of its own.
 */
#include "cli/mounting.h"
#include "cli/fuselog.h"
#include "fs/fs.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* fusermount3 writes to the stderr that it inherits; a file in memory stands there meanwhile. */
static int swap_stderr(int *ret_saved)
{
	_cleanup_fd_ int messages = memfd_create("mount-messages", MFD_CLOEXEC);
	if (messages < 0)
		return -errno;
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (saved < 0)
		return -errno;
	if (dup2(messages, STDERR_FILENO) < 0) {
		int error = errno;
		close(saved);
		return -error;
	}
	*ret_saved = saved;
	return 0;
}

static void restore_stderr(int saved, char *ret_text, size_t size)
{
	fflush(stderr);
	ssize_t length = pread(STDERR_FILENO, ret_text, size - 1, 0);
	ret_text[length > 0 ? length : 0] = '\0';
	dup2(saved, STDERR_FILENO);
	close(saved);
}

/* Whether the kernel's side is there: 0 or the errno of opening it. */
static int device_error(void)
{
	_cleanup_fd_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	return fd < 0 ? errno : 0;
}

static int fail(const char *path, const char *message, int error, struct rfs_failure *failure)
{
	int device = device_error();

	if (device == ENOENT || device == ENODEV || device == ENXIO)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -device,
				"there is no FUSE on this system (/dev/fuse: %s), to mount on %s; run modprobe fuse, "
				"or give the "
				"container that device",
				strerror(device), path);
	if (device && (geteuid() == 0 || strstr(message, "/dev/fuse")))
		return rfs_fail(
			failure, RFS_EXIT_MOUNT, -device,
			"no permission to use /dev/fuse (%s), to mount on %s; let this user or container have it",
			strerror(device), path);
	if (strstr(message, "failed to exec fusermount3"))
		return rfs_fail(failure, RFS_EXIT_MOUNT, error,
				"fusermount3 is missing, to mount on %s; install the package fuse3, or run as root",
				path);
	if (strstr(message, "user_allow_other"))
		return rfs_fail(
			failure, RFS_EXIT_MOUNT, error,
			"allow_other and allow_root are not for users, to mount on %s; write user_allow_other into "
			"/etc/fuse.conf, or leave the option out",
			path);
	if (!*message)
		message = strerror(-error);
	bool permission =
		strstr(message, "ermission") || strstr(message, "ermitted") || strstr(message, "no write access");
	return rfs_fail(
		failure, RFS_EXIT_MOUNT, error, "cannot mount on %s: %s; %s", path, message,
		permission ? "run as root, or as the owner of that directory" : "check the mount options, see fuse(8)");
}

int rfs_mounting_do(struct rfs_fs *fs, const char *path, struct rfs_failure *failure)
{
	char text[1024] = "";
	char message[256];
	int saved = -1;

	int r = swap_stderr(&saved);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot get ready to mount on %s: %s; close some files",
				path, strerror(-r));
	rfs_fuselog_hold();
	r = rfs_fs_mount(fs, path);
	restore_stderr(saved, text, sizeof(text));

	rfs_fuselog_first_line(text, message, sizeof(message));
	if (!*message)
		rfs_fuselog_line(message, sizeof(message));
	rfs_fuselog_release();
	return r < 0 ? fail(path, message, r, failure) : 0;
}
