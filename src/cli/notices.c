/* SPDX-License-Identifier: MIT */
/* notices.c: notices on their way to the log. Invariant: each is logged once, in the order in which they came. */
#include "cli/notices.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <string.h>

static void log_notice(bool is_trouble, const char *line)
{
	rfs_log(is_trouble ? LOG_WARNING : LOG_NOTICE, "%s", line);
}

void rfs_notices_take(void *notices, bool is_trouble, const char *line)
{
	struct rfs_notices *n = notices;
	RFS_LOCK(&n->lock);
	char *copy = n->released || n->count == RFS_NOTICES_HELD ? NULL : strdup(line);

	if (!copy) {
		log_notice(is_trouble, line);
		return;
	}
	n->held[n->count].is_trouble = is_trouble;
	n->held[n->count++].line = copy;
}

void rfs_notices_release(struct rfs_notices *n)
{
	RFS_LOCK(&n->lock);

	n->released = true;
	for (unsigned i = 0; i < n->count; i++) {
		log_notice(n->held[i].is_trouble, n->held[i].line);
		free(n->held[i].line);
	}
	n->count = 0;
}
