/* SPDX-License-Identifier: MIT */
/*
 * call.c: system calls that no tool makes. Prints `ok`, or the name of the errno, and always exits with 0 then, so that
 * a test compares words; wrong usage exits with 2.
 *
 *   call renameat2 0|NOREPLACE|EXCHANGE|WHITEOUT OLD NEW
 *   call handle PATH                  prints the file handle in hex instead of `ok`
 *   call open-handle MOUNT HANDLE     prints what the file holds instead of `ok`
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HANDLE_MAX 128

struct handle {
	struct file_handle head;
	unsigned char bytes[HANDLE_MAX];
};

static int report(int result)
{
	printf("%s\n", result < 0 ? strerrorname_np(errno) : "ok");
	return 0;
}

static int call_renameat2(const char *flag, const char *old, const char *new)
{
	unsigned flags;

	if (strcmp(flag, "0") == 0)
		flags = 0;
	else if (strcmp(flag, "NOREPLACE") == 0)
		flags = RENAME_NOREPLACE;
	else if (strcmp(flag, "EXCHANGE") == 0)
		flags = RENAME_EXCHANGE;
	else if (strcmp(flag, "WHITEOUT") == 0)
		flags = RENAME_WHITEOUT;
	else
		return 2;
	return report(renameat2(AT_FDCWD, old, AT_FDCWD, new, flags));
}

static int call_handle(const char *path)
{
	struct handle handle = { .head.handle_bytes = HANDLE_MAX };
	int mount_id;

	if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0) < 0)
		return report(-1);
	printf("%d:", handle.head.handle_type);
	for (unsigned i = 0; i < handle.head.handle_bytes; i++)
		printf("%02x", handle.bytes[i]);
	printf("\n");
	return 0;
}

static int parse_handle(const char *text, struct handle *ret_handle)
{
	char *hex;
	size_t length;

	ret_handle->head.handle_type = (int) strtol(text, &hex, 10);
	if (*hex++ != ':')
		return -EINVAL;
	length = strlen(hex) / 2;
	if (length > HANDLE_MAX)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		unsigned byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return -EINVAL;
		ret_handle->bytes[i] = (unsigned char) byte;
	}
	ret_handle->head.handle_bytes = (unsigned) length;
	return 0;
}

static int call_open_handle(const char *mount, const char *text)
{
	struct handle handle = { 0 };
	char content[4096];
	ssize_t length;
	int mount_fd, fd;

	if (parse_handle(text, &handle) < 0)
		return 2;
	mount_fd = open(mount, O_RDONLY | O_DIRECTORY);
	if (mount_fd < 0)
		return report(-1);
	fd = open_by_handle_at(mount_fd, &handle.head, O_RDONLY);
	if (fd < 0)
		return report(-1);
	length = read(fd, content, sizeof(content));
	if (length < 0)
		return report(-1);
	(void) fwrite(content, 1, (size_t) length, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "renameat2") == 0)
		return call_renameat2(argv[2], argv[3], argv[4]);
	if (argc == 3 && strcmp(argv[1], "handle") == 0)
		return call_handle(argv[2]);
	if (argc == 4 && strcmp(argv[1], "open-handle") == 0)
		return call_open_handle(argv[2], argv[3]);
	(void) fprintf(stderr, "see the head of call.c\n");
	return 2;
}
