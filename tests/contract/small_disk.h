/* SPDX-License-Identifier: MIT */
/*
 * small_disk.h: small file systems for a Datastore, which others fill to the last byte.
 *
 * They are mounted on loop devices, which takes root; without, the tests are skipped. Include after check.h and sqlite_store.h.
 */
#ifndef TESTS_CONTRACT_SMALL_DISK_H
#define TESTS_CONTRACT_SMALL_DISK_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "scratch.h"

#define MIB (1 << 20)

struct file_system {
	const char *type;
	const char *options; /* of the mount; NULL: none */
	long long bytes;
};

static char directory[256], path[300], filler[300];

/* `state` is what need_mount looks at. */
static inline int small_disk_make(const struct file_system *fs, void **state)
{
	*state = NULL;
	if (scratch_make(state))
		return -1;
	if (!scratch_may_mount())
		return 0;
	if (!scratch_mount(fs->type, fs->options, "disk", fs->bytes, directory, sizeof(directory)))
		return strcmp(fs->type, "ext4") == 0 ? -1 : 0;
	snprintf(path, sizeof(path), "%s/store.db", directory);
	snprintf(filler, sizeof(filler), "%s/filler", directory);
	*state = (void *) fs;
	return 0;
}

/* A file system that this kernel, or this user, cannot mount is no failure. */
static inline void need_mount(void **state)
{
	if (!*state)
		skip();
}

static inline struct statvfs free_space(void)
{
	struct statvfs fs;

	assert_int_equal(statvfs(directory, &fs), 0);
	return fs;
}

/* Stores what is to be stored on that disk, whatever others on this machine are waiting for. */
static inline void sync_disk(void)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(syncfs(fd), 0);
	close(fd);
}

/* Takes all that is left, the blocks kept for root included, down to the last byte. */
static inline void fill_disk(void)
{
	static char block[MIB];
	off_t end = 0;
	int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (int pass = 0; pass < 2; pass++) {
		for (off_t step = 256 * MIB; step >= 4096; step /= 2)
			while (fallocate(fd, 0, end, step) == 0)
				end += step;
		assert_int_equal(fsync(fd), 0);
	}
	assert_int_equal(lseek(fd, 0, SEEK_END) >= 0, 1);
	for (size_t step = sizeof(block); step > 0; step /= 2)
		while (write(fd, block, step) > 0 && fsync(fd) == 0)
			;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

#endif
