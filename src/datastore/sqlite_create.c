/* SPDX-License-Identifier: MIT */
/*
 * sqlite_create.c: a new Datastore file.
 *
 * Invariant: a crash at any instant leaves no file of the given name, or a whole Datastore. So it is built under another
 * name and renamed when it is on stable storage; what an interrupted attempt left behind is removed first.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"

/* How long another process's creation of the same file is waited for. */
#define CREATION_TRIES 500
#define CREATION_PAUSE_NS 10000000

#define STRING_(x) #x
#define STRING(x) STRING_(x)

static const char creation_script[] =
	"PRAGMA page_size = 4096;"
	"PRAGMA encoding = 'UTF-8';"
	"PRAGMA auto_vacuum = none;"
	"PRAGMA journal_mode = DELETE;"
	"PRAGMA synchronous = FULL;"
	"PRAGMA temp_store = memory;"
	"BEGIN IMMEDIATE;"
	RFS_SQLITE_TABLE ";"
	"PRAGMA application_id = " STRING(RFS_SQLITE_APPLICATION_ID) ";"
	"PRAGMA user_version = " STRING(RFS_SQLITE_USER_VERSION) ";"
	"COMMIT;"
	"PRAGMA journal_mode = WAL;";

int rfs_sqlite_run_script(const struct rfs_sqlite *store, sqlite3 *db, const char *script)
{
	int code = sqlite3_exec(db, script, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : rfs_sqlite_failed(store, db, code, "cannot be set up");
}

static bool leftover(const char *path, const char *suffix)
{
	char name[PATH_MAX + 16];
	struct stat st;
	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return stat(name, &st) == 0 && st.st_size > 0;
}

static void remove_draft(const char *draft)
{
	static const char *const suffixes[] = { "-wal", "-shm", "-journal", "" };
	char name[PATH_MAX + 16];
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		snprintf(name, sizeof(name), "%s%s", draft, suffixes[i]);
		unlink(name);
	}
}

static int write_draft(const struct rfs_sqlite *store, const char *draft)
{
	sqlite3 *db = NULL;
	int code = sqlite3_open_v2(draft, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, store->vfs);
	int rc = code == SQLITE_OK ? 0 : rfs_sqlite_failed(store, db, code, "cannot be created");
	if (!rc) {
		sqlite3_extended_result_codes(db, 1);
		rc = rfs_sqlite_run_script(store, db, creation_script);
	}
	code = sqlite3_close(db);
	if (!rc && code != SQLITE_OK)
		rc = rfs_sqlite_failed(store, NULL, code, "cannot be created");
	return rc;
}

/* Flushes the draft once more by itself: SQLite's closing of its WAL was its last write. */
static int sync_draft(const struct rfs_sqlite *store, const char *draft)
{
	_cleanup_fd_ int fd = open(draft, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fsync(fd))
		return rfs_sqlite_system_failed(store, errno, "cannot be created");
	return 0;
}

static int make_draft(const struct rfs_sqlite *store, const char *draft)
{
	_cleanup_fd_ int fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return rfs_sqlite_system_failed(store, errno, "cannot be created");
	rfs_sqlite_set_no_copy_on_write(fd);
	int rc = write_draft(store, draft);
	return rc ? rc : sync_draft(store, draft);
}

/* Where renameat2 is not there, or refused, a link replaces nothing either; where that is refused too, the lock on the directory
 * keeps away all who would create the file. */
static int rename_to_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != EPERM)
		return -1;
	if (link(from, to) == 0)
		return unlink(from);
	return errno == EEXIST ? -1 : rename(from, to);
}

static int publish_draft(const struct rfs_sqlite *store, const char *draft, int directory_fd)
{
	if (rename_to_new(draft, store->path) || fsync(directory_fd))
		return rfs_sqlite_system_failed(store, errno, "cannot be created");
	return 0;
}

/* Keeps other processes from creating in this directory, until the descriptor is closed. */
static int lock_directory(const struct rfs_sqlite *store, int directory_fd)
{
	const struct timespec pause = { 0, CREATION_PAUSE_NS };
	for (int i = 0; i < CREATION_TRIES; i++) {
		if (flock(directory_fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EINTR))
			return 0; /* a file system without such locks: its users must take turns themselves */
		nanosleep(&pause, NULL);
	}
	rfs_sqlite_say(store, "%s: another process keeps its directory locked; end that process first", store->name);
	return -EBUSY;
}

static int create_locked(const struct rfs_sqlite *store, int directory_fd)
{
	_cleanup_free_ char *draft = NULL;
	struct stat st;

	if (stat(store->path, &st) == 0)
		return 0; /* another process was first */
	if (leftover(store->path, "-wal") || leftover(store->path, "-journal")) {
		rfs_sqlite_say(store, "%s: is gone, but its -wal or -journal file is still there; put it back, or remove "
			       "that file too to begin with nothing recorded", store->name);
		return -EBADMSG;
	}
	if (asprintf(&draft, "%s.new", store->path) < 0) {
		draft = NULL;
		return -ENOMEM;
	}
	remove_draft(draft);
	int rc = make_draft(store, draft);
	if (!rc)
		rc = publish_draft(store, draft, directory_fd);
	if (rc)
		remove_draft(draft);
	return rc;
}

int rfs_sqlite_create(struct rfs_sqlite *store)
{
	_cleanup_free_ char *copy = NULL;
	struct stat st;

	if (stat(store->path, &st) == 0)
		return 0;
	if (errno != ENOENT)
		return rfs_sqlite_system_failed(store, errno, "cannot be opened");
	copy = strdup(store->path);
	if (!copy)
		return -ENOMEM;
	_cleanup_fd_ int directory_fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
		return rfs_sqlite_system_failed(store, errno, "its directory cannot be opened");
	int rc = lock_directory(store, directory_fd);
	return rc ? rc : create_locked(store, directory_fd);
}
