/* SPDX-License-Identifier: MIT */
/*
 * refusal.c: what was refused, and why: the reply, the log line, and `last_error`. Invariant: a line is kept under the user
 * id that asked, and shown to nobody else.
 */
#include "fs/internal.h"

#include "util/log.h"
#include "util/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* For how many user ids a line is kept; the one that failed the longest ago goes first. */
#define USERS_MOST 1024

struct rfs_error_line {
	uid_t uid;
	char *line;
	UT_hash_handle hh; /* in the order of the failures */
};

void rfs_note_event(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->errors_lock);
	clock_gettime(CLOCK_REALTIME, &fs->last_event);
}

struct timespec rfs_last_event(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->errors_lock);
	return fs->last_event;
}

static void remember(struct rfs_fs *fs, uid_t uid, const char *line)
{
	struct rfs_error_line *e;
	char *copy = strdup(line);

	if (!copy)
		return;
	RFS_LOCK(&fs->errors_lock);
	HASH_FIND(hh, fs->errors, &uid, sizeof uid, e);
	if (!e && HASH_COUNT(fs->errors) >= USERS_MOST)
		e = fs->errors; /* the oldest */
	if (e) {
		HASH_DEL(fs->errors, e);
		free(e->line);
	} else {
		e = calloc(1, sizeof *e);
	}
	if (!e) {
		free(copy);
		return;
	}
	e->uid = uid;
	e->line = copy;
	HASH_ADD(hh, fs->errors, uid, sizeof e->uid, e);
	if (!e->hh.tbl) {
		free(e->line);
		free(e);
	}
}

void rfs_refuse(struct rfs_fs *fs, fuse_req_t req, enum rfs_operation operation, int error, const char *path,
		const char *format, ...)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	char why[RFS_PATH_MAX + 512], line[sizeof why + RFS_PATH_MAX + 64], when[32];
	struct timespec now;
	struct tm utc;
	va_list arguments;

	va_start(arguments, format);
	(void) vsnprintf(why, sizeof why, format, arguments);
	va_end(arguments);
	clock_gettime(CLOCK_REALTIME, &now);
	(void) strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now.tv_sec, &utc));
	(void) snprintf(line, sizeof line, "%s pid %d: %s: %s\n", when, (int) ctx->pid, path, why);
	remember(fs, ctx->uid, line);
	rfs_note_event(fs);
	rfs_metrics_count(fs, operation, error);
	rfs_log(LOG_INFO, "uid %u pid %d: %s: %s", (unsigned) ctx->uid, (int) ctx->pid, path, why);
	fuse_reply_err(req, -error);
}

size_t rfs_refusal_line(struct rfs_fs *fs, uid_t uid, char ret_line[RFS_TEXT_MAX])
{
	struct rfs_error_line *e;

	RFS_LOCK(&fs->errors_lock);
	HASH_FIND(hh, fs->errors, &uid, sizeof uid, e);
	return e ? (size_t) snprintf(ret_line, RFS_TEXT_MAX, "%s", e->line) : 0;
}

void rfs_refusals_free(struct rfs_fs *fs)
{
	struct rfs_error_line *e, *next;

	HASH_ITER(hh, fs->errors, e, next) {
		HASH_DEL(fs->errors, e);
		free(e->line);
		free(e);
	}
}
