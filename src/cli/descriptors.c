/* SPDX-License-Identifier: MIT */
/*
 * descriptors.c: closing descriptors, by close_range(2) where it is to be had, else one by one. Invariant: what is to
 * be kept stays open, whichever way it is.
 */
#include "cli/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_kept(int fd, const int *keep, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (keep[i] == fd)
			return true;
	return false;
}

/* The lowest that is kept, from `first` on; INT_MAX: none. */
static int next_kept(int first, const int *keep, size_t count)
{
	int next = INT_MAX;

	for (size_t i = 0; i < count; i++)
		if (keep[i] >= first && keep[i] < next)
			next = keep[i];
	return next;
}

static int close_ranges(int first, const int *keep, size_t count)
{
	for (;;) {
		int kept = next_kept(first, keep, count);
		if (kept > first &&
		    close_range((unsigned int) first, kept == INT_MAX ? ~0U : (unsigned int) kept - 1, 0) < 0)
			return -errno;
		if (kept == INT_MAX)
			return 0;
		first = kept + 1;
	}
}

/* What an older kernel, or a seccomp profile that has not heard of close_range, leaves. */
static int close_each(int first, const int *keep, size_t count)
{
	const struct dirent *entry;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name); /* 0 for the dots */
		if (fd >= first && fd != dirfd(dir) && !is_kept(fd, keep, count))
			close(fd);
	}
	closedir(dir);
	return 0;
}

int rfs_descriptors_close(int first, const int *keep, size_t count)
{
	return close_ranges(first, keep, count) == 0 ? 0 : close_each(first, keep, count);
}
