/* SPDX-License-Identifier: MIT */
/*
 * mounting.c: mounts, or finds out why that is impossible. Causes are looked for after the failure, not before, so that
 * nothing is refused which would have worked. Invariant: neither libfuse nor fusermount3 prints a line of its own.
 */
#include "cli/mounting.h"
#include "cli/fuselog.h"
#include "cli/mounts.h"
#include "fs/fs.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands in the place of stderr while fusermount3 may write to the one that it inherits. */
struct diversion {
	int saved; /* the real one */
	int read_fd;
};

/* Nobody reads meanwhile, so what does not fit is lost rather than waited for. */
static int divert_stderr(struct diversion *ret_diversion)
{
	struct diversion d = { .saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) };
	int fds[2];

	if (d.saved < 0)
		return -errno;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		int error = errno;
		close(d.saved);
		return -error;
	}
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	d.read_fd = fds[0];
	*ret_diversion = d;
	return 0;
}

static void restore_stderr(struct diversion *d, char *ret_text, size_t size)
{
	fflush(stderr);
	ssize_t length = read(d->read_fd, ret_text, size - 1);
	ret_text[length > 0 ? length : 0] = '\0';
	dup2(d->saved, STDERR_FILENO);
	close(d->saved);
	close(d->read_fd);
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
				"or give the container that device",
				strerror(device), path);
	if (device == EMFILE || device == ENFILE || device == ENOMEM)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -device, "cannot open /dev/fuse, to mount on %s: %s; %s",
				path, strerror(device), rfs_advice(device, ""));
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
		return rfs_fail(failure, RFS_EXIT_MOUNT, error,
				"allow_other and allow_root are not for users, to mount on %s; write user_allow_other "
				"into /etc/fuse.conf, or leave the option out",
				path);
	if (!*message)
		message = strerror(-error);
	if (error == -ENOSPC || strstr(message, "too many FUSE"))
		return rfs_fail(failure, RFS_EXIT_MOUNT, error,
				"cannot mount on %s: %s; unmount something, or raise the limit (fs.mount-max, or "
				"mount_max in /etc/fuse.conf)",
				path, message);
	if (!strstr(message, "ermission") && !strstr(message, "ermitted") && !strstr(message, "no write access"))
		return rfs_fail(failure, RFS_EXIT_MOUNT, error,
				"cannot mount on %s: %s; check the mount options, see fuse(8)", path, message);
	return rfs_fail(failure, RFS_EXIT_MOUNT, error, "cannot mount on %s: %s; %s", path, message,
			geteuid() == 0 ? "let the container or service have CAP_SYS_ADMIN"
				       : "run as root, or as the owner of that directory");
}

/* Names the mount point from the directory that it is in: by its path alone it could not be found any more once that
 * directory is renamed, or mounted over. */
static int hold_parent(struct rfs_mounting *m, const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = slash && slash > path ? strndup(path, (size_t) (slash - path)) : strdup("/");

	m->path = strdup(path);
	m->name = slash && slash[1] ? strdup(slash + 1) : strdup(".");
	if (!parent || !m->path || !m->name)
		return -ENOMEM;
	/* Where it cannot be opened the path has to do. */
	m->parent_fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

static void identify(struct rfs_mounting *m)
{
	struct rfs_mount mount;

	if (rfs_mounts_at(AT_FDCWD, m->path, &mount) == 1 && !strcmp(mount.type, RFS_TREE_TYPE)) {
		m->id = mount.id;
		m->device = mount.device;
	} else {
		rfs_log(LOG_DEBUG, "cannot find the mount on %s in /proc/self/mountinfo", m->path);
	}
}

static int mount_quietly(struct rfs_fs *fs, const char *path, struct rfs_failure *failure)
{
	char text[1024] = "";
	char message[256];
	struct diversion diversion = { -1, -1 };

	int r = divert_stderr(&diversion);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot get ready to mount on %s: %s; %s", path,
				strerror(-r), rfs_advice(-r, "try again"));
	rfs_fuselog_hold();
	r = rfs_fs_mount(fs, path);
	restore_stderr(&diversion, text, sizeof(text));

	rfs_fuselog_first_line(text, message, sizeof(message));
	if (!*message)
		rfs_fuselog_line(message, sizeof(message));
	rfs_fuselog_release();
	return r < 0 ? fail(path, message, r, failure) : 0;
}

int rfs_mounting_do(struct rfs_mounting *m, struct rfs_fs *fs, const char *path, struct rfs_failure *failure)
{
	int r = hold_parent(m, path);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "out of memory, mounting on %s; try again", path);
	r = mount_quietly(fs, path, failure);
	if (!r)
		identify(m);
	return r;
}

int rfs_mounting_take(struct rfs_mounting *m, struct rfs_fs *fs, const struct rfs_mountpoint *mountpoint,
		      struct rfs_failure *failure)
{
	struct rfs_mount mount;
	char name[64];

	m->path = strdup(mountpoint->path);
	if (!m->path)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, mounting on %s; try again",
				mountpoint->path);
	m->device = mountpoint->device;
	if (m->device && rfs_mounts_by_device(0, m->device, &mount) == 1)
		m->id = mount.id;
	snprintf(name, sizeof(name), "/dev/fd/%d", mountpoint->fd);
	return mount_quietly(fs, name, failure);
}

void rfs_mounting_done(struct rfs_mounting *m)
{
	if (m->parent_fd >= 0)
		close(m->parent_fd);
	free(m->name);
	free(m->path);
	*m = RFS_MOUNTING_INIT;
}
