/* SPDX-License-Identifier: MIT */
/*
 * config.c: options from a file. Invariant: whatever the file is (a directory, a device that never ends, a pipe that
 * nobody writes to), reading it ends, and what is wrong with it is named with its line.
 */
#include "cli/settings.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_MAX_BYTES 8192

static void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static int open_regular(const char *path, FILE **ret_file, struct rfs_failure *failure)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
				"cannot read the config file %s: %s; name one that exists", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
				"the config file %s is not a regular file; name one that is", path);
	}
	*ret_file = fdopen(fd, "r");
	if (!*ret_file) {
		close(fd);
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, reading %s; try again", path);
	}
	return 0;
}

/* Cuts white space off both ends, in place. */
static char *trim(char *line)
{
	static const char white[] = " \t\r\n\v\f";

	line += strspn(line, white);
	for (size_t length = strlen(line); length > 0 && strchr(white, line[length - 1]); length--)
		line[length - 1] = '\0';
	return line;
}

static int take_line(struct rfs_settings *settings, char *line, const char *where, struct rfs_failure *failure)
{
	const char *option = trim(line);

	if (!*option || *option == '#')
		return 0;
	if (!strncmp(option, "config", 6) && (option[6] == '=' || !option[6]))
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
				"a config file cannot name another, %s; write its options here", where);
	return rfs_settings_take(settings, option, where, failure);
}

int rfs_settings_read(struct rfs_settings *settings, const char *path, struct rfs_failure *failure)
{
	_cleanup_(cleanup_file) FILE *file = NULL;
	char line[LINE_MAX_BYTES];
	char where[PATH_MAX + 32];

	int r = open_regular(path, &file, failure);
	for (unsigned long number = 1; !r; number++) {
		size_t length = 0;
		int c;

		snprintf(where, sizeof(where), "%s:%lu", path, number);
		while ((c = getc_unlocked(file)) != EOF && c != '\n') {
			if (c == '\0' || length + 1 >= sizeof(line))
				return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
						"a line that is not text or too long, %s; write one name=value a line",
						where);
			line[length++] = (char) c;
		}
		line[length] = '\0';
		r = take_line(settings, line, where, failure);
		if (c == EOF)
			break;
	}
	if (!r && ferror(file))
		return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL, "cannot read the config file %s; check its disk",
				path);
	return r;
}
