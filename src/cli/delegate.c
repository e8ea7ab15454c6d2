/* SPDX-License-Identifier: MIT */
/*
 * delegate.c: runs mount.fuse3. Invariant: where the program that it starts fails, the mount that it has made already
 * is not left.
 */
#include "cli/delegate.h"
#include "cli/child.h"
#include "cli/mountpoint.h"
#include "cli/mtab.h"
#include "util/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT_FOUND 127

/* mount.fuse3 starts what it finds in PATH: that has to be this program. */
static int find_ourselves(void)
{
	char path[PATH_MAX];
	_cleanup_free_ char *all = NULL;
	const char *before = getenv("PATH");
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length <= 0)
		return -ENOENT;
	path[length] = '\0';
	*strrchr(path, '/') = '\0';
	if (asprintf(&all, "%s:%s", path, before ? before : "/usr/sbin:/usr/bin:/sbin:/bin") < 0) {
		all = NULL;
		return -ENOMEM;
	}
	return setenv("PATH", all, 1) < 0 ? -errno : 0;
}

/*
 * The kernel checks permissions, and the source shows as it does for any other tree. mount.fuse3 takes every comma for
 * the end of an option; a path that has one is left out.
 */
static int write_options(const struct rfs_options *o, char **ret_options)
{
	bool nameable = !strpbrk(o->repo, ",\\");

	return asprintf(ret_options, "default_permissions,nosuid,nodev%s%s,%s", nameable ? ",fsname=" : "",
			nameable ? o->repo : "", o->delegated) < 0
		       ? -ENOMEM
		       : 0;
}

static int run(const struct rfs_options *o, struct rfs_failure *failure)
{
	_cleanup_free_ char *source = NULL, *options = NULL;

	int r = find_ourselves();
	if (!r && asprintf(&source, "reservefs#%s", o->repo) < 0) {
		source = NULL;
		r = -ENOMEM;
	}
	if (!r)
		r = write_options(o, &options);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r,
				"cannot prepare the mount on %s: %s; mount /proc, or free some memory", o->mountpoint,
				strerror(-r));
	r = rfs_child_run((const char *const[]){ "mount.fuse3", source, o->mountpoint, "-o", options, NULL }, false);
	if (r == NOT_FOUND)
		return rfs_fail(failure, RFS_EXIT_MOUNT, -ENOENT,
				"mount.fuse3, which drop_privileges and setuid need, is missing, to mount on %s; "
				"install the package fuse3",
				o->mountpoint);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot run mount.fuse3, to mount on %s: %s; %s",
				o->mountpoint, strerror(-r), rfs_advice(-r, "try again"));
	if (r > 0)
		return rfs_fail(failure, r == RFS_EXIT_USAGE || r == RFS_EXIT_SYSTEM ? r : RFS_EXIT_MOUNT, -EIO, "%s",
				"");
	return 0;
}

int rfs_delegate_mount(const struct rfs_options *o, struct rfs_failure *failure)
{
	const struct rfs_node none = RFS_NODE_INIT;
	struct rfs_mountpoint mp = RFS_MOUNTPOINT_INIT, after = RFS_MOUNTPOINT_INIT;
	static struct rfs_failure ignored;

	int r = rfs_mountpoint_find(&mp, o->mountpoint, &none, o->nonempty, failure);
	if (!r)
		r = rfs_mountpoint_clear(&mp, &none, o->nonempty, failure);
	if (!r) {
		rfs_mtab_note(o->repo, mp.path);
		r = run(o, failure);
	}
	if (r < 0 && mp.path) {
		if (rfs_mountpoint_find(&after, mp.path, &none, true, &ignored) == 0)
			(void) rfs_mountpoint_clear(&after, &none, true, &ignored);
		rfs_mtab_forget(mp.path);
	}
	rfs_mountpoint_done(&after);
	rfs_mountpoint_done(&mp);
	return r;
}
