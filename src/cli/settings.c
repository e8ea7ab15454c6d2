/* SPDX-License-Identifier: MIT */
/*
 * settings.c: sorts the words of -o. Invariant: a word is ours, one that only fstab(5) cares about, or one that libfuse
 * itself says it knows; anything else is an error that names it, before anything was opened.
 */
#include "cli/settings.h"
#include "cli/fuselog.h"

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *option, const char *const *words)
{
	while (*words && strcmp(option, *words))
		words++;
	return *words;
}

/* What fstab(5) has for mount(8) itself, for the boot, or for other programs. */
static bool is_fstab_word(const char *option)
{
	static const char *const words[] = { "auto",	"noauto", "user",    "nouser", "users",	  "nousers",  "owner",
					     "noowner", "group",  "nogroup", "nofail", "_netdev", "defaults", NULL };

	return !strncasecmp(option, "x-", strlen("x-")) || !strncasecmp(option, "comment=", strlen("comment=")) ||
	       !strncmp(option, "user=", strlen("user=")) || is_one_of(option, words);
}

/* Flags of every file system that mean nothing in a tree without access times, links or changes behind its back, and
 * that libfuse does not know. */
static bool is_idle_flag(const char *option)
{
	static const char *const words[] = { "relatime",   "norelatime",  "strictatime", "nostrictatime", "lazytime",
					     "nolazytime", "diratime",	  "nodiratime",	 "iversion",	  "noiversion",
					     "symfollow",  "nosymfollow", "mand",	 "nomand",	  "silent",
					     "loud",	   NULL };

	return is_one_of(option, words);
}

/* Lets libfuse itself tell whether it knows `option`, by making a session that is never mounted. */
static int ask_libfuse(const char *escaped, char *ret_complaint, size_t size)
{
	const struct fuse_lowlevel_ops none = { .init = NULL };
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	int r = 0;

	rfs_fuselog_hold();
	if (fuse_opt_add_arg(&args, "reservefs") || fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, escaped))
		r = -ENOMEM;
	else
		session = fuse_session_new(&args, &none, sizeof(none), NULL);
	rfs_fuselog_line(ret_complaint, size);
	rfs_fuselog_hold();
	if (session)
		fuse_session_destroy(session);
	else if (!r)
		r = -EINVAL;
	fuse_opt_free_args(&args);
	return r;
}

static int pass_on(struct rfs_settings *settings, const char *option, const char *where, struct rfs_failure *failure)
{
	char complaint[256];
	char *escaped = NULL;

	if (fuse_opt_add_opt_escaped(&escaped, option))
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, reading the options; try again");
	int r = ask_libfuse(escaped, complaint, sizeof(complaint));
	free(escaped);
	if (r == -EINVAL && settings->sloppy)
		return 0;
	if (r == -EINVAL && (!*complaint || !strncmp(complaint, "unknown option", strlen("unknown option"))))
		return rfs_fail(failure, RFS_EXIT_USAGE, r, "unknown option '%s', %s; see reservefs --help", option,
				where);
	if (r == -EINVAL)
		return rfs_fail(failure, RFS_EXIT_USAGE, r, "bad option '%s' (%s), %s; see fuse(8)", option, complaint,
				where);
	if (!r && fuse_opt_add_opt_escaped(&settings->fuse, option))
		r = -ENOMEM;
	if (r)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "out of memory, reading the options; try again");
	return 0;
}

int rfs_settings_take(struct rfs_settings *settings, const char *option, const char *where, struct rfs_failure *failure)
{
	size_t name_length = strcspn(option, "=");
	const char *value = option + name_length + (option[name_length] == '=');

	int r = rfs_settings_take_value(settings, option, name_length, value, where, failure);
	if (r != -ENOENT)
		return r;
	if (!*option || is_fstab_word(option) || is_idle_flag(option))
		return 0;
	if (!strcmp(option, "nonempty")) {
		settings->nonempty = true;
		return 0;
	}
	if (!strcmp(option, "existing")) {
		settings->existing = true;
		return 0;
	}
	if (!strcmp(option, "debug")) {
		settings->debug = true;
		return 0;
	}
	if (settings->may_delegate &&
	    (!strcmp(option, "drop_privileges") || !strncmp(option, "setuid=", strlen("setuid=")))) {
		settings->delegate = true;
		return 0;
	}
	if (!strcmp(option, "subtype=reservefs"))
		return 0;
	if (name_length == strlen("subtype") && !strncmp(option, "subtype", name_length))
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
				"option 'subtype' cannot be changed, %s; leave it out", where);
	return pass_on(settings, option, where, failure);
}

static void take_over(char **to, char **from)
{
	if (*to)
		return;
	*to = *from;
	*from = NULL;
}

int rfs_settings_merge(struct rfs_settings *settings, struct rfs_settings *fallback)
{
	if (!(settings->set & RFS_SET_CAPACITY))
		settings->capacity_bytes = fallback->capacity_bytes;
	if (!(settings->set & RFS_SET_REPO))
		settings->quota = fallback->quota;
	if (!(settings->set & RFS_SET_UID))
		settings->uid = fallback->uid;
	if (!(settings->set & RFS_SET_GID))
		settings->gid = fallback->gid;
	settings->set |= fallback->set;
	take_over(&settings->datastore, &fallback->datastore);
	take_over(&settings->pool, &fallback->pool);
	settings->nonempty |= fallback->nonempty;
	settings->existing |= fallback->existing;
	settings->debug |= fallback->debug;
	if (fallback->fuse) {
		if (settings->fuse && fuse_opt_add_opt(&fallback->fuse, settings->fuse))
			return -ENOMEM;
		free(settings->fuse);
		settings->fuse = fallback->fuse;
		fallback->fuse = NULL;
	}
	return 0;
}

void rfs_settings_done(struct rfs_settings *settings)
{
	free(settings->datastore);
	free(settings->pool);
	free(settings->config);
	free(settings->fuse);
	memset(settings, 0, sizeof(*settings));
}
