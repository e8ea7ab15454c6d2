/* SPDX-License-Identifier: MIT */
/*
 * view.c: the file as SQLite shows it, with what is damaged in it, where the Datastore would stop. Invariant: nothing is
 * written, neither to the file nor to its WAL; while the view is open no other process uses them.
 */
#include "fsck/fsck.h"

#include "datastore/sqlite.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct fsck_view {
	sqlite3 *db;
	sqlite3_stmt *get;
	char *wal_path;
	bool made_wal; /* SQLite makes an empty one where there is none */
};

/* Whoever could change the file meanwhile is kept away by the lock that a Datastore's owner holds: the file is opened for
 * writing for the sake of that lock alone. A file that cannot be written to is nobody else's to change either. */
static const char settings[] =
	"PRAGMA query_only = 1;"
	"PRAGMA trusted_schema = off;"
	"PRAGMA mmap_size = 0;"
	"PRAGMA wal_autocheckpoint = 0;"
	"PRAGMA cache_size = -65536;";

static pid_t holder(const char *file)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = RFS_SQLITE_LOCK_OFFSET, .l_len = RFS_SQLITE_LOCK_BYTES,
	};
	_cleanup_fd_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid > 0 ? lock.l_pid : 0;
}

static int fail_open(sqlite3 *db, int code, const char *file, const char *shown, char *ret_line, size_t size)
{
	pid_t pid;

	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		pid = holder(file);
		if (pid > 0)
			(void) snprintf(ret_line, size, "%s is in use by process %d; unmount it first", shown, (int) pid);
		else
			(void) snprintf(ret_line, size, "%s is in use by another process; unmount it first", shown);
		return -EBUSY;
	case SQLITE_NOMEM:
		(void) snprintf(ret_line, size, "out of memory");
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		(void) snprintf(ret_line, size, "%s cannot be read as an SQLite database: %s", shown, sqlite3_errmsg(db));
		return -EBADMSG;
	default:
		(void) snprintf(ret_line, size, "%s cannot be read: %s", shown, db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
		return -EIO;
	}
}

/* A file in a place that cannot be written to, without a WAL that matters, is opened as one that never changes. */
static char *uri_of(const char *file, const char *wal_path)
{
	struct stat st;
	char *uri, *to;

	if (access(file, W_OK) == 0 || (stat(wal_path, &st) == 0 && st.st_size > 0))
		return NULL;
	uri = malloc(3 * strlen(file) + sizeof "file:?immutable=1");
	if (!uri)
		return NULL;
	to = stpcpy(uri, "file:");
	for (const char *from = file; *from; from++) {
		if (*from == '?' || *from == '#' || *from == '%')
			to += sprintf(to, "%%%02X", (unsigned) (unsigned char) *from);
		else
			*to++ = *from;
	}
	strcpy(to, "?immutable=1");
	return uri;
}

/* Reads, which takes the lock. */
static int touch(sqlite3 *db)
{
	int code = sqlite3_exec(db, settings, NULL, NULL, NULL);

	return code == SQLITE_OK ? sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL) : code;
}

int fsck_view_open(const char *file, const char *shown, char *ret_line, size_t size, struct fsck_view **ret_view)
{
	struct fsck_view *view = calloc(1, sizeof *view);
	_cleanup_free_ char *uri = NULL;
	int code = SQLITE_NOMEM, rc;

	if (view && asprintf(&view->wal_path, "%s-wal", file) < 0)
		view->wal_path = NULL;
	if (!view || !view->wal_path) {
		fsck_view_close(view);
		return fail_open(NULL, SQLITE_NOMEM, file, shown, ret_line, size);
	}
	uri = uri_of(file, view->wal_path);
	view->made_wal = access(view->wal_path, F_OK) < 0;
	if (uri)
		code = sqlite3_open_v2(uri, &view->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
	else
		code = sqlite3_open_v2(file, &view->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, "unix-excl");
	if (code == SQLITE_OK) {
		int keep_wal = 1;
		sqlite3_extended_result_codes(view->db, 1);
		(void) sqlite3_db_config(view->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		(void) sqlite3_db_config(view->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		(void) sqlite3_file_control(view->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep_wal);
		code = touch(view->db);
	}
	if (code != SQLITE_OK) {
		rc = fail_open(view->db, code, file, shown, ret_line, size);
		fsck_view_close(view);
		return rc;
	}
	*ret_view = view;
	return 0;
}

void fsck_view_close(struct fsck_view *view)
{
	struct stat st;

	if (!view)
		return;
	sqlite3_finalize(view->get);
	sqlite3_close(view->db);
	if (view->made_wal && stat(view->wal_path, &st) == 0 && st.st_size == 0)
		(void) unlink(view->wal_path);
	free(view->wal_path);
	free(view);
}

const char *fsck_view_explain(struct fsck_view *view)
{
	return sqlite3_errmsg(view->db);
}

/* Inspecting */

static int number_of(struct fsck_view *view, const char *sql, int64_t *ret_number)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(view->db, sql, -1, &statement, NULL);

	if (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
		*ret_number = sqlite3_column_int64(statement, 0);
	return sqlite3_finalize(statement) == SQLITE_OK ? 0 : -EBADMSG;
}

static int inspect_header(struct fsck_view *view, void (*fn)(void *user, const char *what), void *user)
{
	int64_t id = 0, version = 0;
	char what[128];

	if (number_of(view, "PRAGMA application_id", &id) < 0 || number_of(view, "PRAGMA user_version", &version) < 0)
		return -EBADMSG;
	if ((uint32_t) id != RFS_SQLITE_APPLICATION_ID) {
		(void) snprintf(what, sizeof what, "its application_id is %#x and not %#x: it is a database of another program",
				(unsigned) id, (unsigned) RFS_SQLITE_APPLICATION_ID);
		fn(user, what);
	}
	if (version != RFS_SQLITE_USER_VERSION) {
		(void) snprintf(what, sizeof what, "its user_version is %d and not %d: it is of a version that is not known",
				(int) version, RFS_SQLITE_USER_VERSION);
		fn(user, what);
	}
	return 0;
}

static int inspect_schema(struct fsck_view *view, void (*fn)(void *user, const char *what), void *user)
{
	sqlite3_stmt *statement;
	int tables = 0, code;
	char what[256];

	code = sqlite3_prepare_v2(view->db, "SELECT name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat[0-9]'", -1,
				  &statement, NULL);
	while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		const char *name = (const char *) sqlite3_column_text(statement, 0);
		const char *sql = (const char *) sqlite3_column_text(statement, 1);
		if (sql && strcmp(sql, RFS_SQLITE_TABLE) == 0) {
			tables++;
		} else if (name) {
			(void) snprintf(what, sizeof what, "it holds `%s`, which is none of a Datastore's", name);
			fn(user, what);
		}
	}
	if (sqlite3_finalize(statement) != SQLITE_OK)
		return -EBADMSG;
	if (tables != 1)
		fn(user, "its table `datastore` is missing or a different one");
	return 0;
}

static int inspect_pages(struct fsck_view *view, void (*fn)(void *user, const char *what), void *user)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(view->db, "PRAGMA integrity_check(20)", -1, &statement, NULL);

	while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		const char *line = (const char *) sqlite3_column_text(statement, 0);
		if (line && strcmp(line, "ok") != 0)
			fn(user, line);
	}
	code = sqlite3_finalize(statement);
	return code == SQLITE_OK ? 0 : -EBADMSG;
}

int fsck_view_inspect(struct fsck_view *view, void (*fn)(void *user, const char *what), void *user)
{
	int rc = inspect_header(view, fn, user);

	if (rc == 0)
		rc = inspect_schema(view, fn, user);
	if (rc == 0)
		rc = inspect_pages(view, fn, user);
	if (rc < 0)
		fn(user, fsck_view_explain(view));
	return rc;
}

/* Rows */

static const char *text_of(sqlite3_stmt *statement, int column, size_t least, size_t most, size_t *ret_length)
{
	const char *text;
	size_t length;

	if (sqlite3_column_type(statement, column) != SQLITE_TEXT)
		return NULL;
	text = (const char *) sqlite3_column_text(statement, column);
	length = (size_t) sqlite3_column_bytes(statement, column);
	if (!text || length < least || length > most || memchr(text, 0, length))
		return NULL;
	*ret_length = length;
	return text;
}

static struct fsck_row row_at(sqlite3_stmt *statement)
{
	struct fsck_row row = { 0 };
	size_t key_length = 0, value_length = 0;

	row.key = text_of(statement, 0, 1, RFS_KEY_MAX, &key_length);
	row.value = text_of(statement, 1, 0, RFS_VALUE_MAX, &value_length);
	if (!row.key || !row.value || sqlite3_column_type(statement, 2) != SQLITE_INTEGER ||
	    sqlite3_column_int64(statement, 2) != rfs_sqlite_checksum(row.key, key_length, row.value, value_length))
		row.value = NULL;
	return row;
}

static int errno_of(int code)
{
	return (code & 0xff) == SQLITE_NOMEM ? -ENOMEM : (code & 0xff) == SQLITE_CORRUPT ? -EBADMSG : -EIO;
}

int fsck_view_scan(struct fsck_view *view, const char *after, fsck_row_fn fn, void *user)
{
	sqlite3_stmt *statement;
	int rc = 0;
	int code = sqlite3_prepare_v2(view->db,
				      *after ? "SELECT key, value, crc FROM datastore WHERE key > ?1 ORDER BY key"
					     : "SELECT key, value, crc FROM datastore ORDER BY key",
				      -1, &statement, NULL);

	if (code == SQLITE_OK && *after)
		code = sqlite3_bind_text(statement, 1, after, -1, SQLITE_STATIC);
	while (rc == 0 && code == SQLITE_OK) {
		code = sqlite3_step(statement);
		if (code != SQLITE_ROW)
			break;
		struct fsck_row row = row_at(statement);
		rc = fn(user, &row);
		code = SQLITE_OK;
	}
	sqlite3_finalize(statement);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	return code == SQLITE_OK || code == SQLITE_DONE ? 0 : errno_of(code);
}

int fsck_view_get(struct fsck_view *view, const char *key, struct rfs_value *ret_value)
{
	struct fsck_row row;
	int code = SQLITE_OK, rc = -ENOENT;

	if (!view->get)
		code = sqlite3_prepare_v2(view->db, "SELECT key, value, crc FROM datastore WHERE key = ?1", -1, &view->get, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_bind_text(view->get, 1, key, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_step(view->get);
	if (code == SQLITE_ROW) {
		row = row_at(view->get);
		rc = row.value ? 0 : -EBADMSG;
		if (row.value) {
			ret_value->length = strlen(row.value);
			strcpy(ret_value->data, row.value);
		}
	} else if (code != SQLITE_DONE) {
		rc = errno_of(code);
	}
	sqlite3_reset(view->get);
	return rc;
}

/* The copy */

static int copy_pages(struct fsck_view *view, sqlite3 *to)
{
	sqlite3_backup *backup = sqlite3_backup_init(to, "main", view->db, "main");

	if (!backup)
		return sqlite3_errcode(to);
	(void) sqlite3_backup_step(backup, -1);
	return sqlite3_backup_finish(backup);
}

static int sync_path(const char *path, int flags)
{
	_cleanup_fd_ int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int sync_directory_of(const char *path)
{
	_cleanup_free_ char *directory = strdup(path);

	if (!directory)
		return -ENOMEM;
	strrchr(directory, '/')[1] = '\0';
	return sync_path(directory, O_RDONLY | O_DIRECTORY);
}

/* Another VFS than the view's own: closing a file that is not the locked one lets go of no lock. */
int fsck_view_copy(struct fsck_view *view, const char *path, char *ret_line, size_t size)
{
	sqlite3 *to = NULL;
	int code, rc;
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0) {
		rc = -errno;
		(void) snprintf(ret_line, size, "%s", strerror(-rc));
		return rc;
	}
	close(fd);
	code = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_exec(to, "PRAGMA journal_mode = OFF", NULL, NULL, NULL);
	if (code == SQLITE_OK)
		code = copy_pages(view, to);
	rc = code == SQLITE_OK ? 0 : -EIO;
	if (rc < 0)
		(void) snprintf(ret_line, size, "%s", to ? sqlite3_errmsg(to) : sqlite3_errstr(code));
	(void) sqlite3_close(to);
	if (rc == 0) {
		rc = sync_path(path, O_RDONLY);
		if (rc == 0)
			rc = sync_directory_of(path);
		if (rc < 0)
			(void) snprintf(ret_line, size, "%s", strerror(-rc));
	}
	if (rc < 0)
		(void) unlink(path);
	return rc;
}
