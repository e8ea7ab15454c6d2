/* SPDX-License-Identifier: MIT */
/*
 * sqlite_error.c: the one place where SQLite's codes become errno values, and where the last failure is kept in words.
 *
 * Invariant: the words belong to one thread, so that they need no lock and are not replaced while they are read.
 */
#include "sqlite.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static _Thread_local struct {
	const struct rfs_sqlite *store;
	char text[PATH_MAX + 512];
} last_failure;

void rfs_sqlite_say(const struct rfs_sqlite *store, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(last_failure.text, sizeof(last_failure.text), format, arguments);
	va_end(arguments);
	last_failure.store = store;
}

const char *rfs_sqlite_said(const struct rfs_sqlite *store)
{
	return last_failure.store == store ? last_failure.text : "";
}

static int system_errno(sqlite3 *db, int otherwise)
{
	int error = db ? sqlite3_system_errno(db) : 0;
	return error > 0 ? -error : otherwise;
}

int rfs_sqlite_errno(sqlite3 *db, int code)
{
	if (code == SQLITE_IOERR_NOMEM)
		return -ENOMEM;
	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CANTOPEN:
		return system_errno(db, -EIO);
	case SQLITE_IOERR:
		return system_errno(db, -EIO) == -EDQUOT ? -ENOSPC : -EIO;
	default:
		return -EIO;
	}
}

static bool is_file_size_limited(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

/* What to do about it; appended to a message. */
static const char *remedy(int rc)
{
	if (rc == -EIO && is_file_size_limited())
		return "; lift the limit on the size of files (ulimit -f), or check the disk";
	switch (rc) {
	case -EACCES:
	case -EPERM:
		return "; run as its owner, or change its permissions";
	case -EBADMSG:
		return "; restore it from a backup";
	case -EIO:
		return "; check the disk";
	case -ENOENT:
		return "; check the name, or create it";
	case -ENOMEM:
		return "; free some memory";
	case -EDQUOT:
	case -ENOSPC:
		return "; free some space on its disk";
	case -EROFS:
		return "; mount its file system read-write";
	default:
		return "";
	}
}

int rfs_sqlite_failed(const struct rfs_sqlite *store, sqlite3 *db, int code, const char *what)
{
	const char *words = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
	int error = db && (code & 0xff) == SQLITE_IOERR ? sqlite3_system_errno(db) : 0;
	int rc = rfs_sqlite_errno(db, code);

	if (error)
		rfs_sqlite_say(store, "%s: %s: %s (%s, SQLite code %d)%s", store->name, what, words, strerror(error), code,
			       remedy(rc));
	else
		rfs_sqlite_say(store, "%s: %s: %s (SQLite code %d)%s", store->name, what, words, code, remedy(rc));
	return rc;
}

int rfs_sqlite_system_failed(const struct rfs_sqlite *store, int error, const char *what)
{
	rfs_sqlite_say(store, "%s: %s: %s%s", store->name, what, strerror(error), remedy(-error));
	return -error;
}
