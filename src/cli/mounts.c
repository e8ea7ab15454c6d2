/* SPDX-License-Identifier: MIT */
/* mounts.c: reads /proc/self/mounts. Invariant: of several mounts on one path the one on top counts. */
#include "cli/mounts.h"

#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>

bool rfs_mounts_has_tree(const char *path)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char text[4 * PATH_MAX + PATH_MAX];
	struct mntent entry;
	bool found = false;

	if (!mounts)
		return false;
	/* They are listed from the bottom up. A character of a path can take four, as in \040. */
	while (getmntent_r(mounts, &entry, text, sizeof(text)))
		if (!strcmp(entry.mnt_dir, path))
			found = !strcmp(entry.mnt_type, "fuse.reservefs");
	endmntent(mounts);
	return found;
}
