/* SPDX-License-Identifier: MIT */
/*
 * mtab.c: leaves the file to the programs whose it is, and only looks whether there is anything to do. Invariant:
 * nothing that goes wrong here matters to the mount.
 */
#include "cli/mtab.h"
#include "cli/child.h"
#include "cli/mounts.h"
#include "util/cleanup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* As the file has it: with a space around, and with what would end a word as a backslash and three octal digits. */
static void write_target(const char *path, char *ret_text, size_t size)
{
	size_t length = (size_t) snprintf(ret_text, size, " TARGET=");

	for (; *path && length + 6 < size; path++) {
		if (strchr(" \t\n\\", *path))
			length += (size_t) sprintf(ret_text + length, "\\%03o", (unsigned char) *path);
		else
			ret_text[length++] = *path;
	}
	ret_text[length++] = ' ';
	ret_text[length] = '\0';
}

static bool is_remembered(const char *path)
{
	_cleanup_(cleanup_file) FILE *file = fopen("/run/mount/utab", "re");
	_cleanup_free_ char *line = NULL;
	char target[4 * PATH_MAX + 16];
	size_t size = 0;

	write_target(path, target, sizeof(target));
	while (file && getline(&line, &size, file) > 0)
		if (strstr(line, target))
			return true;
	return false;
}

static bool is_root(void)
{
	return geteuid() == 0 && getuid() == 0;
}

void rfs_mtab_note(const char *source, const char *path)
{
	const char *const argv[] = { "/bin/mount",	 "-i", "-f",   "-c", "-t", RFS_TREE_TYPE, "-o",
				     "helper=reservefs", "--", source, path, NULL };

	if (is_root() && !is_remembered(path))
		(void) rfs_child_run(argv, true);
}

void rfs_mtab_forget(const char *path)
{
	const char *const argv[] = { "/bin/umount", "-i", "-c", "--fake", "--", path, NULL };

	if (is_root() && !rfs_mounts_has_tree(path) && is_remembered(path))
		(void) rfs_child_run(argv, true);
}
