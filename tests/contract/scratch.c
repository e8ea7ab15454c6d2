/* SPDX-License-Identifier: MIT */
/* scratch.c: what tests need of the file system around them. */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNTS_MAX 8

static char directory[128];
static char mounts[MOUNTS_MAX][256];
static int mount_count;

int scratch_make(void **state)
{
	const char *parent = getenv("TMPDIR");

	(void) state;
	int length = snprintf(directory, sizeof(directory), "%s/reservefs-test-XXXXXX", parent ? parent : "/tmp");
	return (size_t) length < sizeof(directory) && mkdtemp(directory) ? 0 : -1;
}

int scratch_remove(void **state)
{
	int failures = 0;

	(void) state;
	while (mount_count > 0)
		failures += umount2(mounts[--mount_count], 0) < 0;
	failures += scratch_run((const char *[]) { "rm", "-r", "--one-file-system", directory, NULL }) != 0;
	return failures ? -1 : 0;
}

void scratch_path(const char *name, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", directory, name);
}

int scratch_run(const char *const *argv)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execvp(argv[0], (char *const *) argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

bool scratch_may_mount(void)
{
	static enum { UNKNOWN, NO, YES } may = UNKNOWN;

	if (may == UNKNOWN) {
		may = NO;
		if (geteuid() == 0 && access("/dev/loop-control", R_OK | W_OK) == 0 && unshare(CLONE_NEWNS) == 0 &&
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
			may = YES;
	}
	return may == YES;
}

bool scratch_mount(const char *type, const char *options, const char *name, long long bytes, char *ret_path, size_t size)
{
	char image[256], mkfs[32], how[128];

	if (mount_count == MOUNTS_MAX)
		return false;
	scratch_path(name, ret_path, size);
	snprintf(image, sizeof(image), "%s/%s.image", directory, name);
	snprintf(mkfs, sizeof(mkfs), "mkfs.%s", type);
	snprintf(how, sizeof(how), "loop%s%s", options ? "," : "", options ? options : "");
	int fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	bool sized = ftruncate(fd, bytes) == 0;
	close(fd);
	if (!sized || mkdir(ret_path, 0700) || scratch_run((const char *[]) { mkfs, "-q", image, NULL }) ||
	    scratch_run((const char *[]) { "mount", "-o", how, image, ret_path, NULL }))
		return false;
	snprintf(mounts[mount_count++], sizeof(mounts[0]), "%s", ret_path);
	return true;
}
