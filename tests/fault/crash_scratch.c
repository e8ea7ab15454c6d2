/* SPDX-License-Identifier: MIT */
/*
 * crash_scratch.c: directories for tests that make and throw away a Datastore many thousand times. What is tested is
 * what the process asks of the kernel, so memory does as well as a disk, and wears none out.
 */
#include "crash_scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

static void fail(const char *path)
{
	perror(path);
	exit(2);
}

void crash_scratch_make(struct crash_scratch *s)
{
	const char *parent = getenv("CRASH_SCRATCH");

	if (!parent)
		parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(s->directory, sizeof s->directory, "%s/reservefs-fault.XXXXXX", parent);
	if (!mkdtemp(s->directory))
		fail(s->directory);
	snprintf(s->path, sizeof s->path, "%s/" CRASH_MAIN, s->directory);
}

void crash_scratch_empty(const struct crash_scratch *s)
{
	char path[PATH_MAX];
	struct dirent *entry;

	DIR *directory = opendir(s->directory);
	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		snprintf(path, sizeof path, "%s/%s", s->directory, entry->d_name);
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlink(path);
	}
	closedir(directory);
}

static bool is_blank(const char *data, size_t bytes)
{
	return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

static size_t page_at(size_t bytes, size_t at)
{
	return bytes - at < PAGE ? bytes - at : PAGE;
}

void crash_scratch_write(const struct crash_scratch *s, const char *name, const char *data, size_t bytes)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", s->directory, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t) bytes) < 0)
		fail(path);
	for (size_t at = 0, length; at < bytes; at += length) {
		length = page_at(bytes, at);
		if (is_blank(data + at, length))
			continue;
		while (at + length < bytes && !is_blank(data + at + length, page_at(bytes, at + length)))
			length += page_at(bytes, at + length);
		if (pwrite(fd, data + at, length, (off_t) at) != (ssize_t) length)
			fail(path);
	}
	close(fd);
}

char *crash_scratch_read(const struct crash_scratch *s, const char *name, size_t *ret_bytes)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", s->directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0)
		fail(path);
	char *data = malloc((size_t) st.st_size + 1);
	if (!data || pread(fd, data, (size_t) st.st_size, 0) != st.st_size)
		fail(path);
	close(fd);
	*ret_bytes = (size_t) st.st_size;
	return data;
}

void crash_scratch_save(const struct crash_scratch *s, struct crash_files *ret_files)
{
	ret_files->main = crash_scratch_read(s, CRASH_MAIN, &ret_files->main_bytes);
	ret_files->wal = crash_scratch_read(s, CRASH_WAL, &ret_files->wal_bytes);
	if (!ret_files->main || !ret_files->wal)
		fail(s->path);
}

void crash_scratch_restore(const struct crash_scratch *s, const struct crash_files *files)
{
	crash_scratch_empty(s);
	crash_scratch_write(s, CRASH_MAIN, files->main, files->main_bytes);
	crash_scratch_write(s, CRASH_WAL, files->wal, files->wal_bytes);
}

void crash_files_done(struct crash_files *files)
{
	free(files->main);
	free(files->wal);
	*files = (struct crash_files){ 0 };
}

void crash_scratch_remove(const struct crash_scratch *s)
{
	crash_scratch_empty(s);
	rmdir(s->directory);
}
