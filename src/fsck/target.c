/* SPDX-License-Identifier: MIT */
/*
 * target.c: from what was named to the Datastore's file. Invariant: a Repo that is served is left alone, wherever its Datastore
 * is.
 */
#include "fsck/fsck.h"

#include "util/cleanup.h"
#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char *printable(const char *path)
{
	size_t size = 4 * strlen(path) + 1;
	char *line = malloc(size);

	if (line)
		rfs_utf8_escape(path, line, size);
	return line;
}

/* The daemon's lock on its Repo: 0 where nobody holds it. */
static pid_t server_of(const char *repo)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/.reservefs/lock", repo) < 0) {
		path = NULL;
		return 0;
	}
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid > 0 ? lock.l_pid : -1;
}

static int find_in_repo(struct fsck *fsck, const char *repo, const char *shown)
{
	_cleanup_free_ char *path = NULL;
	pid_t pid = server_of(repo);

	if (pid > 0) {
		fsck_fail(fsck, FSCK_OPERATIONAL, "%s is served by process %d; unmount it first", shown, (int) pid);
		return -EBUSY;
	}
	if (pid < 0) {
		fsck_fail(fsck, FSCK_OPERATIONAL, "%s is served by another container or host; unmount it there first", shown);
		return -EBUSY;
	}
	if (asprintf(&path, "%s/.reservefs/datastore.db", repo) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	fsck->file = realpath(path, NULL);
	if (!fsck->file && errno == ENOENT) {
		fsck_fail(fsck, FSCK_OPERATIONAL,
			  "%s has no .reservefs/datastore.db; name a Repo, or the file that its option datastore= names", shown);
		return -ENOENT;
	}
	return fsck->file ? 0 : -errno;
}

static int find(struct fsck *fsck, const char *shown)
{
	const char *path = fsck->options->path;
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return find_in_repo(fsck, path, shown);
	if (!S_ISREG(st.st_mode)) {
		fsck_fail(fsck, FSCK_OPERATIONAL, "%s is neither a directory nor a file", shown);
		return -EINVAL;
	}
	fsck->file = realpath(path, NULL);
	return fsck->file ? 0 : -errno;
}

int fsck_find(struct fsck *fsck)
{
	_cleanup_free_ char *shown = printable(fsck->options->path);
	int rc = shown ? find(fsck, shown) : -ENOMEM;

	if (rc == 0) {
		fsck->shown = printable(fsck->file);
		rc = fsck->shown ? 0 : -ENOMEM;
	}
	if (rc < 0 && !(fsck->status & FSCK_OPERATIONAL))
		fsck_fail(fsck, FSCK_OPERATIONAL, "cannot use %s: %s", shown ? shown : "it", strerror(-rc));
	return rc;
}
