/* SPDX-License-Identifier: MIT */
/* descriptors.h: closing what a process was given and does not want. */
#ifndef RFS_CLI_DESCRIPTORS_H
#define RFS_CLI_DESCRIPTORS_H

#include <stddef.h>

/* Closes every descriptor from `first` on but the `count` ones in `keep`. 0, or a negative errno: there is no way to
 * tell which are open. */
int rfs_descriptors_close(int first, const int *keep, size_t count);

#endif
