/* SPDX-License-Identifier: MIT */
/*
 * sqlite_error.c: the one place where SQLite's codes become errno values, and where the last failure is kept in words.
 *
 * Invariant: the words belong to one thread, so that they need no lock and are not replaced while they are read.
 */
#include "sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REMEDY_MAX (RFS_ADVICE_MAX + 2)

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

/* What the system answered to SQLite's last call on one of its files that failed; or 0. */
static int file_error(sqlite3 *db, int operation)
{
	sqlite3_file *file = NULL;
	int error = 0;

	if (sqlite3_file_control(db, "main", operation, &file) == SQLITE_OK && file && file->pMethods)
		(void) file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
	return error > 0 ? error : 0;
}

/* What the system answered, where `code` comes from that; or 0. */
static int system_error(sqlite3 *db, int code)
{
	int error = 0;

	if (!db || ((code & 0xff) != SQLITE_IOERR && (code & 0xff) != SQLITE_CANTOPEN))
		return 0;
	if ((code & 0xff) == SQLITE_IOERR)
		error = file_error(db, SQLITE_FCNTL_JOURNAL_POINTER);
	if (!error && (code & 0xff) == SQLITE_IOERR)
		error = file_error(db, SQLITE_FCNTL_FILE_POINTER);
	if (!error)
		error = sqlite3_system_errno(db);
	return error > 0 ? error : 0;
}

static int io_errno(int error)
{
	switch (error) {
	case EDQUOT:
		return -ENOSPC;
	case EFBIG:
		return -EFBIG;
	default:
		return -EIO;
	}
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
		return system_error(db, code) ? -system_error(db, code) : -EIO;
	case SQLITE_IOERR:
		return io_errno(system_error(db, code));
	default:
		return -EIO;
	}
}

/* Advice: what to do about an error; appended to a message. `error` is an errno value (positive). */

struct advice {
	int error;
	const char *text;
};

static const struct advice advices[] = {
	{ EBADMSG, "restore it from a backup" },
	{ EIO, "check the disk" },
	{ ELOOP, "its path leads through links in a circle: name another" },
	{ EMFILE, "this process may not open more files: raise its limit (ulimit -n, LimitNOFILE=)" },
	{ ENAMETOOLONG, "name a shorter path" },
	{ ENFILE, "the system may not open more files: end some processes, or raise the sysctl fs.file-max" },
	{ ENOENT, "check the name, or create it" },
	{ ENOLCK, "its file system gives no locks: start its lock service, or name a file on a local one" },
	{ ENOMEM, "free some memory, or raise the limit on it (ulimit -v, MemoryMax=)" },
	{ ENOSPC, "free some space on its disk" },
	{ ENOSYS, "this kernel, or the container's seccomp profile, does not let it" },
	{ ENOTDIR, "a part of its path is no directory: check the name" },
	{ EPERM, "take an attribute such as immutable away (chattr -i), or have the container's seccomp profile allow it" },
	{ EROFS, "mount its file system read-write, or let the service write there (ReadWritePaths=)" },
	{ ESTALE, "its server does not know it any more: mount its file system again" },
};

/* Those that depend on who asks, or where. */
static bool advise_on_owner(const struct rfs_sqlite *store, int error, char *ret_text, size_t size)
{
	struct stat st = { .st_uid = geteuid() };

	if (error == EACCES && st.st_uid == 0) {
		snprintf(ret_text, size, "root is refused: see whether SELinux, AppArmor or the server of its file system does it");
		return true;
	}
	if (error == EACCES) {
		snprintf(ret_text, size, "run as its owner, or change its permissions");
		return true;
	}
	if (error != EDQUOT)
		return false;
	if (store->fd >= 0)
		(void) fstat(store->fd, &st);
	snprintf(ret_text, size, "a disk quota is used up: raise that of its owner (user %u), group or project, or remove files that "
		 "count for it", (unsigned) st.st_uid);
	return true;
}

static bool advise_on_length(int error, char *ret_text, size_t size)
{
	int64_t limit = rfs_sqlite_file_limit();

	if (error != EFBIG)
		return false;
	if (limit == INT64_MAX)
		snprintf(ret_text, size, "its file system takes no larger files: name a file on another");
	else
		snprintf(ret_text, size, "no file of this process may be larger than %" PRId64 " bytes: raise that limit (ulimit -f, "
			 "LimitFSIZE=)", limit);
	return true;
}

void rfs_sqlite_advise(const struct rfs_sqlite *store, int error, char *ret_text, size_t size)
{
	if (advise_on_owner(store, error, ret_text, size) || advise_on_length(error, ret_text, size))
		return;
	for (size_t i = 0; i < sizeof(advices) / sizeof(*advices); i++) {
		if (advices[i].error == error) {
			snprintf(ret_text, size, "%s", advices[i].text);
			return;
		}
	}
	*ret_text = 0;
}

/* The same with what joins it to a message. */
static const char *remedy(const struct rfs_sqlite *store, int error, char ret_text[REMEDY_MAX])
{
	rfs_sqlite_advise(store, error, ret_text + 2, REMEDY_MAX - 2);
	if (!ret_text[2])
		return "";
	memcpy(ret_text, "; ", 2);
	return ret_text;
}

int rfs_sqlite_failed(const struct rfs_sqlite *store, sqlite3 *db, int code, const char *what)
{
	const char *words = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
	int error = system_error(db, code);
	int rc = rfs_sqlite_errno(db, code);
	int advised = -rc;
	char text[REMEDY_MAX];

	/* What the system said tells more than SQLite's code; and SQLite was told itself where there is no more room. */
	if (error)
		advised = error;
	else if ((code & 0xff) == SQLITE_FULL && store->room_error)
		advised = store->room_error;
	if (error)
		rfs_sqlite_say(store, "%s: %s: %s (%s, SQLite code %d)%s", store->name, what, words, strerror(error), code,
			       remedy(store, advised, text));
	else
		rfs_sqlite_say(store, "%s: %s: %s (SQLite code %d)%s", store->name, what, words, code,
			       remedy(store, advised, text));
	return rc;
}

int rfs_sqlite_file_failed(const struct rfs_sqlite *store, sqlite3_file *file, int code, const char *what)
{
	int error = 0;

	if ((code & 0xff) == SQLITE_IOERR)
		(void) file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
	if (error <= 0)
		return rfs_sqlite_failed(store, NULL, code, what);
	(void) rfs_sqlite_system_failed(store, error, what);
	return error == EDQUOT || error == EFBIG ? -error : -EIO;
}

int rfs_sqlite_system_failed(const struct rfs_sqlite *store, int error, const char *what)
{
	char text[REMEDY_MAX];

	rfs_sqlite_say(store, "%s: %s: %s%s", store->name, what, strerror(error), remedy(store, error, text));
	return -error;
}
