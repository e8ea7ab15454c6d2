/* SPDX-License-Identifier: MIT */
/*
 * mtab.h: what mount(8) and umount(8) remember of a mount that the kernel does not know, in /run/mount/utab. umount(8),
 * told to unmount an absolute path, asks statfs(2) for the type, learns that it is "fuse", and so does not find our
 * helper; unless it remembers that this mount has one.
 */
#ifndef RFS_CLI_MTAB_H
#define RFS_CLI_MTAB_H

/* Has it remembered that what `source` mounts on the resolved `path` is unmounted by umount.reservefs. For root, where
 * there is a mount(8); else it does nothing. Before the mount, for mount(8) may look at the mount point. */
void rfs_mtab_note(const char *source, const char *path);

/* Has whatever is remembered of `path` forgotten, unless there is a tree again. */
void rfs_mtab_forget(const char *path);

#endif
