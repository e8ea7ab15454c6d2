/* SPDX-License-Identifier: MIT */
/*
 * fuselog.c: where libfuse's messages go. Invariant: none reaches stderr by itself while the command starts, so that a
 * failure is told in one line.
 */
#include "cli/fuselog.h"
#include "util/log.h"

#include <fuse_log.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool holding;
static char held[1024];

static void handle(enum fuse_log_level level, const char *format, va_list args)
{
	char line[1024];

	if (holding) {
		size_t used = strlen(held);
		vsnprintf(held + used, sizeof(held) - used, format, args);
	} else if (level == FUSE_LOG_DEBUG) {
		vsnprintf(line, sizeof(line), format, args);
		rfs_log_text(line);
	} else {
		vsnprintf(line, sizeof(line), format, args);
		line[strcspn(line, "\n")] = '\0';
		rfs_log((int) level, "%s", line);
	}
}

void rfs_fuselog_hold(void)
{
	holding = true;
	held[0] = '\0';
	fuse_set_log_func(handle);
}

void rfs_fuselog_line(char *ret_line, size_t size)
{
	rfs_fuselog_first_line(held, ret_line, size);
}

void rfs_fuselog_release(void)
{
	holding = false;
	fuse_set_log_func(handle);
}

void rfs_fuselog_first_line(const char *text, char *ret_line, size_t size)
{
	static const char *const prefixes[] = { "fuse: ", "fusermount3: ", "fusermount: " };

	text += strspn(text, "\n");
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (!strncmp(text, prefixes[i], strlen(prefixes[i])))
			text += strlen(prefixes[i]);
	snprintf(ret_line, size, "%.*s", (int) strcspn(text, "\n"), text);
}
