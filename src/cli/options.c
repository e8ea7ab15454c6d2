/* SPDX-License-Identifier: MIT */
/*
 * options.c: the command line. Invariant: what comes out is complete and checked as far as it can be without touching
 * the Repo, or it is one line that says what is wrong.
 */
#include "cli/options.h"
#include "cli/fuselog.h"
#include "cli/settings.h"
#include "util/cleanup.h"

#include <reservefs/repo.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_LINE "on the command line"

enum key {
	KEY_HELP,
	KEY_VERSION,
	KEY_FOREGROUND,
	KEY_DEBUG,
	KEY_TYPE,
};

/* FUSE_OPT_KEY without the conversion that clang warns of. */
#define KEY(template, key)                                                                                             \
	{                                                                                                              \
		template, UINT_MAX, key                                                                                \
	}

static const struct fuse_opt command_keys[] = {
	KEY("-h", KEY_HELP),	   KEY("--help", KEY_HELP), KEY("-V", KEY_VERSION), KEY("--version", KEY_VERSION),
	KEY("-f", KEY_FOREGROUND), KEY("-d", KEY_DEBUG),    FUSE_OPT_END,
};

static const struct fuse_opt helper_keys[] = {
	KEY("-h", KEY_HELP),	       KEY("--help", KEY_HELP), KEY("-V", KEY_VERSION),
	KEY("--version", KEY_VERSION), KEY("-t ", KEY_TYPE),	FUSE_OPT_END,
};

struct parser {
	struct rfs_options *options;
	struct rfs_settings settings;
	struct rfs_failure *failure;
	bool helper; /* of mount(8) */
	char *words; /* all that -o says, as it says it */
	int error;   /* 0, or what is to be returned; `failure` is filled then */
};

static int out_of_memory(struct rfs_failure *failure)
{
	return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, reading the options; try again");
}

static int take_path(struct parser *p, const char *path)
{
	struct rfs_options *o = p->options;
	char **slot = !o->repo ? &o->repo : !o->mountpoint ? &o->mountpoint : NULL;

	if (!slot)
		return rfs_fail(p->failure, RFS_EXIT_USAGE, -EINVAL,
				"one argument too many, '%s'; give REPO and MOUNTPOINT only, see reservefs --help",
				path);
	if (!*path)
		return rfs_fail(p->failure, RFS_EXIT_USAGE, -EINVAL, "%s is empty; name a directory",
				slot == &o->repo ? "REPO" : "MOUNTPOINT");
	*slot = strdup(path);
	return *slot ? 0 : out_of_memory(p->failure);
}

static int take_type(struct parser *p, const char *type)
{
	if (!strcmp(type, "reservefs") || !strcmp(type, "fuse.reservefs"))
		return 0;
	return rfs_fail(p->failure, RFS_EXIT_USAGE, -EINVAL, "not a type of this file system, '%s'; use reservefs",
			type);
}

/* Whether `arg` is several of mount(8)'s short options in one, as in -sn. */
static bool is_cluster(const char *arg)
{
	return arg[0] == '-' && arg[1] && !arg[1 + strspn(arg + 1, "sfnv")];
}

/* fuse_opt's callback: 0 drops the argument, -1 ends the parsing. */
static int take(void *data, const char *arg, int key, struct fuse_args *rest)
{
	struct parser *p = data;

	(void) rest;
	switch (key) {
	case KEY_HELP:
		p->options->action = RFS_ACTION_HELP;
		break;
	case KEY_VERSION:
		p->options->action = RFS_ACTION_VERSION;
		break;
	case KEY_FOREGROUND:
		p->options->foreground = true;
		break;
	case KEY_DEBUG:
		p->settings.debug = true;
		break;
	case KEY_TYPE:
		p->error = take_type(p, arg + strlen("-t"));
		break;
	case FUSE_OPT_KEY_NONOPT:
		p->error = take_path(p, arg);
		break;
	default:
		if (p->helper && is_cluster(arg)) {
			if (strchr(arg, 'f') && p->options->action == RFS_ACTION_MOUNT)
				p->options->action = RFS_ACTION_CHECK;
			break;
		}
		p->error = rfs_settings_take(&p->settings, arg, COMMAND_LINE, p->failure);
		if (!p->error && p->helper && fuse_opt_add_opt(&p->words, arg))
			p->error = out_of_memory(p->failure);
		break;
	}
	return p->error ? -1 : 0;
}

static bool is_helper(const char *program)
{
	const char *slash = strrchr(program, '/');
	const char *name = slash ? slash + 1 : program;

	return !strcmp(name, "mount.reservefs") || !strcmp(name, "mount.fuse.reservefs");
}

/* -s may come after the -o that it is about. */
static bool wants_sloppy(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (is_cluster(argv[i]) && strchr(argv[i], 's'))
			return true;
	return false;
}

/* mount(8) hands over all options of the mount with it, of which the kernel's own are none of ours: to name one of
 * those would not help. */
static bool wants_remount(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *word = strcmp(argv[i - 1], "-o") ? NULL : argv[i];
		if (!strncmp(argv[i], "-o", strlen("-o")))
			word = argv[i] + strlen("-o");
		for (; word; word = strchr(word, ',')) {
			word += *word == ',';
			if (!strncmp(word, "remount", strlen("remount")) && strchr(",", word[strlen("remount")]))
				return true;
		}
	}
	return false;
}

static int read_config(struct parser *p)
{
	struct rfs_settings file = { .sloppy = p->settings.sloppy };

	if (!p->settings.config)
		return 0;
	int r = rfs_settings_read(&file, p->settings.config, p->failure);
	if (!r && rfs_settings_merge(&p->settings, &file) < 0)
		r = out_of_memory(p->failure);
	rfs_settings_done(&file);
	return r;
}

static int add_option(char **list, const char *name, const char *value)
{
	_cleanup_free_ char *option = NULL;

	if (asprintf(&option, "%s%s", name, value) < 0) {
		option = NULL;
		return -ENOMEM;
	}
	return fuse_opt_add_opt_escaped(list, option) ? -ENOMEM : 0;
}

/* What libfuse gets: our own first, so that a name for the source which the user chose wins. */
static int use_fuse(struct rfs_options *o, struct rfs_settings *s, struct rfs_failure *failure)
{
	_cleanup_free_ char *list = NULL;

	if (add_option(&list, "default_permissions", "") || add_option(&list, "subtype=", "reservefs") ||
	    add_option(&list, "fsname=", o->repo) || (s->fuse && fuse_opt_add_opt(&list, s->fuse)) ||
	    fuse_opt_add_arg(&o->fuse, "reservefs") || fuse_opt_add_arg(&o->fuse, "-o") ||
	    fuse_opt_add_arg(&o->fuse, list) || (s->debug && fuse_opt_add_arg(&o->fuse, "-d")))
		return out_of_memory(failure);
	return 0;
}

static int use(struct parser *p)
{
	struct rfs_options *o = p->options;
	struct rfs_settings *s = &p->settings;
	int r;

	if (!o->repo || !o->mountpoint)
		return rfs_fail(p->failure, RFS_EXIT_USAGE, -EINVAL, "%s missing; see reservefs --help",
				o->repo ? "MOUNTPOINT is" : "REPO and MOUNTPOINT are");
	if ((r = read_config(p)) < 0)
		return r;
	o->quota = s->quota;
	o->capacity_bytes = s->set & RFS_SET_CAPACITY ? s->capacity_bytes : RFS_CAPACITY_MAX;
	if (o->quota && o->capacity_bytes == RFS_CAPACITY_MAX)
		return rfs_fail(p->failure, RFS_EXIT_USAGE, -EINVAL,
				"repo=quota has no disk to measure; give it a number, as in repo=quota,capacity=500G");
	o->uid = s->set & RFS_SET_UID ? s->uid : getuid();
	o->gid = s->set & RFS_SET_GID ? s->gid : getgid();
	o->datastore = TAKE_PTR(s->datastore);
	o->pool = TAKE_PTR(s->pool);
	o->nonempty = s->nonempty;
	o->existing = s->existing;
	o->debug = s->debug;
	o->foreground |= o->debug;
	if (s->delegate)
		o->delegated = TAKE_PTR(p->words);
	return use_fuse(o, s, p->failure);
}

static int read_arguments(struct parser *p, int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	char complaint[256];

	rfs_fuselog_hold();
	int r = fuse_opt_parse(&args, p, p->helper ? helper_keys : command_keys, take);
	rfs_fuselog_line(complaint, sizeof(complaint));
	fuse_opt_free_args(&args);
	if (p->error)
		return p->error;
	if (r == -1)
		return rfs_fail(p->failure, RFS_EXIT_USAGE, -EINVAL, "%s, " COMMAND_LINE "; see reservefs --help",
				*complaint ? complaint : "out of memory");
	return 0;
}

int rfs_options_parse(int argc, char **argv, struct rfs_options *ret_options, struct rfs_failure *failure)
{
	struct rfs_options options = { .fuse = FUSE_ARGS_INIT(0, NULL) };
	struct parser p = { .options = &options, .failure = failure, .helper = argc > 0 && is_helper(argv[0]) };

	if (p.helper && wants_remount(argc, argv))
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
				"a mounted tree cannot be changed by option 'remount', " COMMAND_LINE
				"; unmount it and mount it again");
	p.settings.sloppy = p.helper && wants_sloppy(argc, argv);
	p.settings.may_delegate = p.helper;
	int r = read_arguments(&p, argc, argv);
	if (!r && (options.action == RFS_ACTION_MOUNT || options.action == RFS_ACTION_CHECK))
		r = use(&p);
	rfs_settings_done(&p.settings);
	free(p.words);
	if (r < 0) {
		rfs_options_done(&options);
		return r;
	}
	if (p.helper)
		options.foreground = false;
	*ret_options = options;
	return 0;
}

void rfs_options_done(struct rfs_options *options)
{
	free(options->repo);
	free(options->mountpoint);
	free(options->datastore);
	free(options->pool);
	free(options->delegated);
	fuse_opt_free_args(&options->fuse);
	memset(options, 0, sizeof(*options));
}
