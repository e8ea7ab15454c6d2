/* SPDX-License-Identifier: MIT */
/*
 * values.c: the options of our own that have a value. Invariant: a value is understood where it is read, so that what
 * is wrong with it can be told together with where it stands.
 */
#include "cli/settings.h"
#include "util/cleanup.h"
#include "util/size.h"
#include "util/utf8.h"

#include <reservefs/repo.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

typedef int (*take_fn)(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure);

static int wrong(struct rfs_failure *failure, const char *name, const char *value, const char *why, const char *where,
		 const char *advice)
{
	return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL, "%s=%s %s, %s; %s", name, value, why, where, advice);
}

static int replace(char **text, const char *value, struct rfs_failure *failure)
{
	char *copy = strdup(value);

	if (!copy)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, reading the options; try again");
	free(*text);
	*text = copy;
	return 0;
}

static int take_capacity(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure)
{
	int r = rfs_size_parse(value, strlen(value), &s->capacity_bytes);

	if (r == -ERANGE)
		return wrong(failure, "capacity", value, "is above 9223372036854775807 bytes", where,
			     "write less, or max");
	if (r < 0)
		return wrong(failure, "capacity", value, "is not a size", where, "write a number like 500G, or max");
	s->set |= RFS_SET_CAPACITY;
	return 0;
}

static int take_repo(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure)
{
	if (strcmp(value, "disk") && strcmp(value, "quota"))
		return wrong(failure, "repo", value, "is no kind of Repo", where, "write repo=disk or repo=quota");
	s->quota = !strcmp(value, "quota");
	s->set |= RFS_SET_REPO;
	return 0;
}

/* A number of digits alone, and an id that something can have; -1 stands for none. */
static bool parse_id(const char *text, unsigned int *ret_id)
{
	uint64_t id = 0;

	if (strlen(text) > strlen("4294967295"))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		id = id * 10 + (uint64_t) (*text - '0');
	}
	if (id >= UINT32_MAX)
		return false;
	*ret_id = (unsigned int) id;
	return true;
}

static int take_uid(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure)
{
	if (!parse_id(value, &s->uid)) {
		const struct passwd *user = getpwnam(value);
		if (!user)
			return wrong(failure, "uid", value, "is no user", where, "write a user's name or number");
		s->uid = user->pw_uid;
	}
	s->set |= RFS_SET_UID;
	return 0;
}

static int take_gid(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure)
{
	if (!parse_id(value, &s->gid)) {
		const struct group *group = getgrnam(value);
		if (!group)
			return wrong(failure, "gid", value, "is no group", where, "write a group's name or number");
		s->gid = group->gr_gid;
	}
	s->set |= RFS_SET_GID;
	return 0;
}

/* Made absolute, because the daemon leaves the directory that it was started in. */
static int take_datastore(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure)
{
	_cleanup_free_ char *path = NULL;

	if (*value == '/')
		return replace(&s->datastore, value, failure);
	_cleanup_free_ char *directory = getcwd(NULL, 0);
	if (!directory)
		return wrong(failure, "datastore", value, "is relative to a directory that is gone", where,
			     "write an absolute path");
	if (asprintf(&path, "%s/%s", directory, value) < 0) {
		path = NULL;
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, reading the options; try again");
	}
	return replace(&s->datastore, path, failure);
}

static int take_pool(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure)
{
	size_t length = strlen(value);

	if (length > RFS_NAME_MAX || !rfs_utf8_is_printable(value, length))
		return wrong(failure, "pool", value, "is no name", where,
			     "write at most 255 bytes of UTF-8 without control characters");
	return replace(&s->pool, value, failure);
}

static int take_config(struct rfs_settings *s, const char *value, const char *where, struct rfs_failure *failure)
{
	(void) where;
	return replace(&s->config, value, failure);
}

static const struct {
	const char *name;
	take_fn take;
} values[] = {
	{ "capacity", take_capacity }, { "repo", take_repo }, { "datastore", take_datastore }, { "pool", take_pool },
	{ "uid", take_uid },	       { "gid", take_gid },   { "config", take_config },
};

int rfs_settings_take_value(struct rfs_settings *settings, const char *name, size_t name_length, const char *value,
			    const char *where, struct rfs_failure *failure)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const char *known = values[i].name;
		if (strlen(known) != name_length || strncmp(name, known, name_length))
			continue;
		if (!*value)
			return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
					"option '%s' has no value, %s; write %s=VALUE", known, where, known);
		return values[i].take(settings, value, where, failure);
	}
	return -ENOENT;
}
