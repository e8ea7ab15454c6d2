/* SPDX-License-Identifier: MIT */
/*
 * mounts.c: reads mountinfo. Invariant: which of several mounts on one path is on top is the kernel's answer, and not a
 * matter of their order in a list.
 */
#include "cli/mounts.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static int id_from_fdinfo(int fd)
{
	char name[64], line[128];
	int id = -ENODATA;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	_cleanup_(cleanup_file) FILE *file = fopen(name, "re");
	if (!file)
		return -errno;
	while (id < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "mnt_id: %d", &id) != 1)
			id = -ENODATA;
	return id;
}

int rfs_mounts_id(int fd)
{
	struct statx stx;

	/* Nothing but the id is asked for, so a file system whose daemon hangs is not asked. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) == 0 && stx.stx_mask & STATX_MNT_ID)
		return (int) stx.stx_mnt_id;
	return id_from_fdinfo(fd);
}

/* Copies a field of mountinfo, in which some bytes are a backslash and three octal digits. */
static void unescape(const char *field, char *ret_text, size_t size)
{
	size_t length = 0;

	for (; *field && *field != ' ' && length + 1 < size; length++) {
		unsigned int byte;
		if (*field == '\\' && sscanf(field + 1, "%3o", &byte) == 1) {
			ret_text[length] = (char) byte;
			field += strnlen(field, 4);
		} else {
			ret_text[length] = *field++;
		}
	}
	ret_text[length] = '\0';
}

/* The value of an option of a file system, or 0. */
static unsigned int number_of(const char *options, const char *name)
{
	const char *found = strstr(options, name);
	unsigned int number = 0;

	return found && sscanf(found + strlen(name), "%u", &number) == 1 ? number : 0;
}

/* ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [TAG...] - TYPE SOURCE OPTIONS */
static bool parse(const char *line, struct rfs_mount *ret_mount)
{
	unsigned int major, minor;
	int root = 0, path = 0, tags = 0;
	const char *end = strstr(line, " - ");

	if (!end || sscanf(line, "%d %d %u:%u %n%*s %n%*s %*s%n", &ret_mount->id, &ret_mount->parent_id, &major, &minor,
			   &root, &path, &tags) != 4)
		return false;
	const char *shared = strstr(line + tags, " shared:");
	ret_mount->is_shared = shared && shared < end;
	ret_mount->device = makedev(major, minor);
	unescape(line + path, ret_mount->path, sizeof(ret_mount->path));
	unescape(end + strlen(" - "), ret_mount->type, sizeof(ret_mount->type));
	const char *source = strchr(end + strlen(" - "), ' ');
	unescape(source ? source + 1 : "", ret_mount->source, sizeof(ret_mount->source));
	const char *options = source ? strrchr(source, ' ') : "";
	ret_mount->user_id = number_of(options, "user_id=");
	ret_mount->group_id = number_of(options, "group_id=");
	return true;
}

int rfs_mounts_each(pid_t pid, bool (*look)(const struct rfs_mount *mount, void *user), void *user)
{
	_cleanup_free_ char *line = NULL;
	char name[64] = "/proc/self/mountinfo";
	struct rfs_mount mount;
	size_t size = 0;

	if (pid)
		snprintf(name, sizeof(name), "/proc/%d/mountinfo", (int) pid);
	_cleanup_(cleanup_file) FILE *file = fopen(name, "re");
	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		if (parse(line, &mount) && look(&mount, user))
			return 1;
	return ferror(file) ? -EIO : 0;
}

struct search {
	int id;
	dev_t device;
	const char *path;
	struct rfs_mount *ret_mount;
	bool found;
};

static bool has_id(const struct rfs_mount *mount, void *user)
{
	struct search *s = user;

	if (mount->id != s->id)
		return false;
	*s->ret_mount = *mount;
	return true;
}

static bool has_device(const struct rfs_mount *mount, void *user)
{
	struct search *s = user;

	if (mount->device != s->device || strcmp(mount->type, RFS_TREE_TYPE) != 0)
		return false;
	*s->ret_mount = *mount;
	return true;
}

int rfs_mounts_by_id(int id, struct rfs_mount *ret_mount)
{
	struct search s = { .id = id, .ret_mount = ret_mount };

	return rfs_mounts_each(0, has_id, &s);
}

int rfs_mounts_by_device(pid_t pid, dev_t device, struct rfs_mount *ret_mount)
{
	struct search s = { .device = device, .ret_mount = ret_mount };

	return rfs_mounts_each(pid, has_device, &s);
}

int rfs_mounts_of(int fd, struct rfs_mount *ret_mount)
{
	int id = rfs_mounts_id(fd);

	return id < 0 ? id : rfs_mounts_by_id(id, ret_mount);
}

int rfs_mounts_at(int dirfd, const char *name, struct rfs_mount *ret_mount)
{
	_cleanup_fd_ int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : rfs_mounts_of(fd, ret_mount);
}

bool rfs_mounts_is_tree(int fd, const char *path)
{
	struct rfs_mount mount;

	return rfs_mounts_of(fd, &mount) == 1 && !strcmp(mount.type, RFS_TREE_TYPE) && !strcmp(mount.path, path);
}

bool rfs_mounts_has_tree(const char *path)
{
	_cleanup_fd_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && rfs_mounts_is_tree(fd, path);
}
