/* SPDX-License-Identifier: MIT */
/*
 * keeper.c: looks for who keeps a tree. Invariant: whatever other processes have open, on whatever file system that
 * hangs, the search ends at its deadline.
 */
#include "cli/keeper.h"
#include "cli/child.h"
#include "cli/mounts.h"
#include "util/utf8.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SEARCH_MS 3000

/* Shared with the child that searches. */
struct search {
	dev_t device;
	pid_t daemon;
	pid_t us[2]; /* who asks, and the command that waits for it, if one does: they are about to go */
	struct rfs_keeper keeper;
};

/* Without asking the file system, which may hang; where that cannot be had, not at all. */
static bool is_on(int dirfd, const char *name, dev_t device)
{
	struct statx stx;

	return statx(dirfd, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) == 0 &&
	       makedev(stx.stx_dev_major, stx.stx_dev_minor) == device;
}

static bool has_open(int process_fd, dev_t device)
{
	const struct dirent *entry;
	bool found = false;
	int fd = openat(process_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.' && is_on(dirfd(dir), entry->d_name, device);
	closedir(dir);
	return found;
}

static enum rfs_keeping keeping(pid_t pid, const struct search *s)
{
	struct rfs_mount mount;
	char name[64];

	if (rfs_mounts_by_device(pid, s->device, &mount) == 1)
		return RFS_KEEPING_NAMESPACE;
	if (pid == s->daemon || pid == s->us[0] || pid == s->us[1])
		return RFS_KEEPING_UNKNOWN;
	snprintf(name, sizeof(name), "/proc/%d", (int) pid);
	int fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return RFS_KEEPING_UNKNOWN;
	bool uses = is_on(fd, "cwd", s->device) || is_on(fd, "root", s->device) || has_open(fd, s->device);
	close(fd);
	return uses ? RFS_KEEPING_USE : RFS_KEEPING_UNKNOWN;
}

static void name_process(pid_t pid, char *ret_name, size_t size)
{
	char name[64], comm[16] = "?";

	snprintf(name, sizeof(name), "/proc/%d/comm", (int) pid);
	FILE *file = fopen(name, "re");
	if (file && fgets(comm, sizeof(comm), file))
		comm[strcspn(comm, "\n")] = '\0';
	if (file)
		fclose(file);
	rfs_utf8_escape(comm, ret_name, size);
}

static int search(void *user)
{
	struct search *s = user;
	const struct dirent *entry;
	DIR *dir = opendir("/proc");

	while (dir && s->keeper.how == RFS_KEEPING_UNKNOWN && (entry = readdir(dir))) {
		pid_t pid = atoi(entry->d_name);
		if (pid <= 0)
			continue;
		enum rfs_keeping how = keeping(pid, s);
		if (how == RFS_KEEPING_UNKNOWN)
			continue;
		s->keeper.pid = pid;
		name_process(pid, s->keeper.name, sizeof(s->keeper.name));
		s->keeper.how = how;
	}
	if (dir)
		closedir(dir);
	return 0;
}

/* The pid of our parent where it is the same program; 0 where it is a shell or a service manager. */
static pid_t waiting_command(void)
{
	char name[64];
	struct stat ours, its;

	snprintf(name, sizeof(name), "/proc/%d/exe", (int) getppid());
	return stat("/proc/self/exe", &ours) == 0 && stat(name, &its) == 0 && ours.st_dev == its.st_dev &&
			       ours.st_ino == its.st_ino
		       ? getppid()
		       : 0;
}

void rfs_keeper_find(dev_t device, pid_t daemon, struct rfs_keeper *ret_keeper)
{
	struct search *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*ret_keeper = (struct rfs_keeper){ .how = RFS_KEEPING_UNKNOWN };
	if (s == MAP_FAILED)
		return;
	*s = (struct search){ .device = device, .daemon = daemon, .us = { getpid(), waiting_command() } };
	if (rfs_child_ask(search, s, -1, SEARCH_MS) == 0)
		*ret_keeper = s->keeper;
	munmap(s, sizeof(*s));
}
