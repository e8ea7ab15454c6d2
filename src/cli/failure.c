/* SPDX-License-Identifier: MIT */
/*
 * failure.c: the one line that says what went wrong. Invariant: whatever a path or an option holds, exactly one line of
 * valid UTF-8 comes out.
 */
#include "cli/failure.h"
#include "util/log.h"
#include "util/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int rfs_fail(struct rfs_failure *failure, int status, int error, const char *format, ...)
{
	va_list args;

	failure->status = status;
	va_start(args, format);
	vsnprintf(failure->line, sizeof(failure->line), format, args);
	va_end(args);
	return error;
}

const char *rfs_advice(int error, const char *otherwise)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
		return "close some files, or raise their limit (ulimit -n)";
	case ENOMEM:
		return "free some memory";
	case ENOSPC:
	case EDQUOT:
		return "make room there";
	case ENOLCK:
		return "use a file system that has locks";
	default:
		return otherwise;
	}
}

void rfs_failure_print(const char *program, const struct rfs_failure *failure)
{
	char line[2 * RFS_FAILURE_LINE_MAX], text[sizeof(line) + sizeof("umount.reservefs: \n")];

	rfs_utf8_escape(failure->line, line, sizeof(line));
	snprintf(text, sizeof(text), "%s: %s\n", program, line);
	if (*line)
		rfs_log_text(text);
}
