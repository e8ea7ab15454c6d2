/* SPDX-License-Identifier: MIT */
/*
 * report.c: what is printed. Invariant: a line of its own for each finding, printable whatever the record holds, that begins
 * with the key it is about.
 */
#include "fsck/fsck.h"

#include "util/utf8.h"

#include <stdarg.h>
#include <stdio.h>

static void print_about(const char *key, const char *what, const char *format, va_list arguments)
{
	char shown[4 * RFS_KEY_MAX + 1];

	rfs_utf8_escape(key, shown, sizeof shown);
	(void) printf("%s: %s", shown, what);
	(void) vprintf(format, arguments);
	(void) putchar('\n');
}

void fsck_problem(struct fsck *fsck, const char *key, const char *format, ...)
{
	va_list arguments;

	fsck->problems++;
	if (fsck->quiet)
		return;
	va_start(arguments, format);
	print_about(key, "", format, arguments);
	va_end(arguments);
}

void fsck_repaired(struct fsck *fsck, const char *key, const char *format, ...)
{
	va_list arguments;

	fsck->repairs++;
	va_start(arguments, format);
	print_about(key, "repaired: ", format, arguments);
	va_end(arguments);
}

void fsck_fail(struct fsck *fsck, int status, const char *format, ...)
{
	va_list arguments;

	fsck->status |= status;
	(void) fflush(stdout);
	(void) fputs("fsck.reservefs: ", stderr);
	va_start(arguments, format);
	(void) vfprintf(stderr, format, arguments);
	va_end(arguments);
	(void) fputc('\n', stderr);
}

void fsck_say(struct fsck *fsck, const char *format, ...)
{
	va_list arguments;

	(void) printf("%s: ", fsck->shown);
	va_start(arguments, format);
	(void) vprintf(format, arguments);
	va_end(arguments);
	(void) putchar('\n');
}
