/* SPDX-License-Identifier: MIT */
/* umount_options.c: the arguments that umount(8) gives its helpers, in any order. */
#include "cli/umount.h"

#include <errno.h>
#include <string.h>

const char rfs_umount_usage[] = "Usage: umount.reservefs MOUNTPOINT [-flnrv] [-N NAMESPACE] [-t TYPE]\n"
				"Unmount a tree of reservefs, and wait until its daemon has ended.\n"
				"\n"
				"  -f             abort what is under way first\n"
				"  -l             also while it is in use, which is then not waited for\n"
				"  -r             make it read-only where it cannot be unmounted\n"
				"  -N NAMESPACE   in that mount namespace: a file of it, or a pid\n"
				"  -v             say what was done\n"
				"  -n, -t TYPE    change nothing\n"
				"  -h, -V         this help; the version\n"
				"See umount.reservefs(8).\n";

bool rfs_umount_is_called(const char *program)
{
	const char *slash = strrchr(program, '/');
	const char *name = slash ? slash + 1 : program;

	return !strcmp(name, "umount.reservefs") || !strcmp(name, "umount.fuse.reservefs");
}

static int take_value(struct rfs_umount_options *o, char letter, const char *value, struct rfs_failure *failure)
{
	if (!value || !*value)
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
				"option -%c has no value; see umount.reservefs --help", letter);
	if (letter == 'N') {
		o->mount_namespace = value;
		return 0;
	}
	if (strcmp(value, "reservefs") != 0 && strcmp(value, "fuse.reservefs") != 0)
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
				"not a type of this file system, '%s'; use umount(8) for it", value);
	return 0;
}

/* One letter of a word that begins with a dash. */
static int take_letter(struct rfs_umount_options *o, char letter, const char *word, struct rfs_failure *failure)
{
	switch (letter) {
	case 'f':
		o->force = true;
		return 0;
	case 'l':
		o->lazy = true;
		return 0;
	case 'r':
		o->read_only = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case 'n':
		return 0;
	case 'h':
		o->action = RFS_UMOUNT_HELP;
		return 0;
	case 'V':
		o->action = RFS_UMOUNT_VERSION;
		return 0;
	default:
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL, "unknown option '%s'; see umount.reservefs --help",
				word);
	}
}

/* `next` is the word after it, or NULL. Returns how many of the two were taken, or a negative errno. */
static int take_word(struct rfs_umount_options *o, const char *word, const char *next, struct rfs_failure *failure)
{
	if (!strcmp(word, "--help") || !strcmp(word, "--version")) {
		o->action = word[2] == 'h' ? RFS_UMOUNT_HELP : RFS_UMOUNT_VERSION;
		return 1;
	}
	for (const char *letter = word + 1; *letter; letter++) {
		if (*letter == 'N' || *letter == 't') {
			int r = take_value(o, *letter, letter[1] ? letter + 1 : next, failure);
			return r < 0 ? r : letter[1] ? 1 : 2;
		}
		int r = take_letter(o, *letter, word, failure);
		if (r < 0)
			return r;
	}
	return 1;
}

static int take_path(struct rfs_umount_options *o, const char *path, struct rfs_failure *failure)
{
	if (o->mountpoint)
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL, "one argument too many, '%s'; give one MOUNTPOINT",
				path);
	if (!*path)
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL, "MOUNTPOINT is empty; name a directory");
	o->mountpoint = path;
	return 0;
}

int rfs_umount_parse(int argc, char **argv, struct rfs_umount_options *ret_options, struct rfs_failure *failure)
{
	struct rfs_umount_options options = { .action = RFS_UMOUNT_UNMOUNT };
	bool only_paths = false;

	for (int i = 1; i < argc;) {
		const char *word = argv[i];
		int r = 1;
		if (only_paths || word[0] != '-' || !word[1]) {
			r = take_path(&options, word, failure);
			i++;
		} else if (!strcmp(word, "--")) {
			only_paths = true;
			i++;
		} else {
			r = take_word(&options, word, i + 1 < argc ? argv[i + 1] : NULL, failure);
			i += r;
		}
		if (r < 0)
			return r;
	}
	if (!options.mountpoint && options.action == RFS_UMOUNT_UNMOUNT)
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL, "MOUNTPOINT is missing; see umount.reservefs --help");
	*ret_options = options;
	return 0;
}
