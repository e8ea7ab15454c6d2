/* SPDX-License-Identifier: MIT */
/*
 * sqlite_connect.c: the two connections to the file.
 *
 * The writer connection runs the transactions and the checkpoints; the reader connection serves get and scan, so that
 * they never wait for a commit. SQLite before 3.51.3 can corrupt a WAL that two connections write or checkpoint at the
 * same time; here the reader can do neither.
 *
 * Both are opened with the VFS "unix-excl": the process owns the file, and the index of the WAL is in memory, not in a
 * file. A read-only connection would take a shared lock in place of the exclusive one, so neither is.
 *
 * Invariant: either everything of a connected store is open, or nothing.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

#define BUSY_TIMEOUT_MS 1000

/* Pages that are free keep what they held: to write zeros over it would take a frame each, and others make holes of them. */
static const char common_script[] =
	"PRAGMA trusted_schema = off;"
	"PRAGMA temp_store = memory;"
	"PRAGMA mmap_size = 0;"
	"PRAGMA wal_autocheckpoint = 0;"
	"PRAGMA synchronous = FULL;"
	"PRAGMA secure_delete = off;"
	"PRAGMA cache_spill = off;";

static const char *const statement_texts[RFS_SQLITE_STATEMENTS] = {
	[RFS_SQLITE_GET] = "SELECT key, value, crc FROM datastore WHERE key = ?1",
	[RFS_SQLITE_SCAN_FROM] = "SELECT key, value, crc FROM datastore WHERE key >= ?1 ORDER BY key",
	[RFS_SQLITE_SCAN_AFTER] = "SELECT key, value, crc FROM datastore WHERE key > ?1 ORDER BY key",
	[RFS_SQLITE_PUT] = "REPLACE INTO datastore (key, value, crc) VALUES (?1, ?2, ?3)",
	[RFS_SQLITE_DELETE] = "DELETE FROM datastore WHERE key = ?1",
	[RFS_SQLITE_BEGIN] = "BEGIN IMMEDIATE",
	[RFS_SQLITE_COMMIT] = "COMMIT",
	[RFS_SQLITE_ROLLBACK] = "ROLLBACK",
	[RFS_SQLITE_PAGE_COUNT] = "PRAGMA page_count",
	[RFS_SQLITE_FREELIST_COUNT] = "PRAGMA freelist_count",
};

static int failed(const struct rfs_sqlite *store, sqlite3 *db, int code)
{
	if ((code & 0xff) == SQLITE_BUSY)
		return rfs_sqlite_say_owner(store);
	return rfs_sqlite_failed(store, db, code, "cannot be opened");
}

static int prepare(const struct rfs_sqlite *store, struct rfs_sqlite_connection *connection, int count)
{
	for (int i = 0; i < count; i++) {
		int code = sqlite3_prepare_v3(connection->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
					      &connection->statements[i], NULL);
		if (code != SQLITE_OK)
			return failed(store, connection->db, code);
	}
	return 0;
}

static int open_connection(const struct rfs_sqlite *store, struct rfs_sqlite_connection *connection)
{
	int persistent = 1;
	int code = sqlite3_open_v2(store->path, &connection->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, store->vfs);
	sqlite3 *db = connection->db;

	if (code != SQLITE_OK)
		return failed(store, db, code);
	sqlite3_extended_result_codes(db, 1);
	/* A closing connection must leave the WAL alone, its room included. */
	code = sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persistent);
	if (code == SQLITE_OK)
		code = rfs_sqlite_watch_main(&connection->main, db);
	if (code == SQLITE_OK)
		code = sqlite3_exec(db, common_script, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : failed(store, db, code);
}

static int refuse(const struct rfs_sqlite *store, const char *what)
{
	rfs_sqlite_say(store, "%s: is not a Datastore: %s; name another file, or restore this one from a backup",
		       store->name, what);
	return -EBADMSG;
}

/* The schema must be ours to the letter: a trigger or a view in a file from elsewhere would run with our statements.
 * What ANALYZE leaves behind is harmless. */
static int check_schema(const struct rfs_sqlite *store)
{
	sqlite3 *db = store->writer.db;
	sqlite3_stmt *statement;
	int tables = 0, strangers = 0;
	int code = sqlite3_prepare_v2(db, "SELECT sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat[0-9]'", -1,
				      &statement, NULL);
	if (code != SQLITE_OK)
		return failed(store, db, code);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *sql = (const char *) sqlite3_column_text(statement, 0);
		if (sql && strcmp(sql, RFS_SQLITE_TABLE) == 0)
			tables++;
		else
			strangers++;
	}
	int rc = code == SQLITE_DONE ? 0 : failed(store, db, code);
	sqlite3_finalize(statement);
	if (!rc && tables != 1)
		return refuse(store, "its table `datastore` is missing or a different one");
	if (!rc && strangers)
		return refuse(store, "it holds tables, indexes, views or triggers that are none of a Datastore's");
	return rc;
}

static int read_number(const struct rfs_sqlite *store, const char *sql, int *ret_number)
{
	sqlite3 *db = store->writer.db;
	sqlite3_stmt *statement;
	int rc = 0;
	int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
	if (code != SQLITE_OK)
		return failed(store, db, code);
	if ((code = sqlite3_step(statement)) == SQLITE_ROW)
		*ret_number = sqlite3_column_int(statement, 0);
	else
		rc = failed(store, db, code);
	sqlite3_finalize(statement);
	return rc;
}

/* The version once more: the WAL may hold a newer page than the file. */
static int check_version(const struct rfs_sqlite *store)
{
	int version = 0;
	int rc = read_number(store, "PRAGMA user_version", &version);
	if (rc)
		return rc;
	if (version > RFS_SQLITE_USER_VERSION) {
		rfs_sqlite_say(store, "%s: is a Datastore of version %d, this program knows none above %d; "
			       "use the newer program that wrote it", store->name, version, RFS_SQLITE_USER_VERSION);
		return -EPROTO;
	}
	return version == RFS_SQLITE_USER_VERSION ? 0 : refuse(store, "its version is not known");
}

static int count_frames(void *user, sqlite3 *db, const char *database, int frames)
{
	struct rfs_sqlite *store = user;
	(void) db;
	(void) database;
	store->wal_frames = frames;
	if (frames <= store->wal_tried_frames)
		store->wal_tried_frames = 0;
	return SQLITE_OK;
}

static int connect_writer(struct rfs_sqlite *store)
{
	sqlite3 *db;
	int rc = open_connection(store, &store->writer);
	if (rc)
		return rc;
	db = store->writer.db;
	rc = check_version(store);
	if (!rc)
		rc = check_schema(store);
	if (!rc)
		rc = rfs_sqlite_run_script(store, db, "PRAGMA journal_mode = WAL; PRAGMA cache_size = -16384;");
	if (!rc)
		rc = read_number(store, "PRAGMA page_size", &store->page_bytes);
	if (!rc)
		rc = prepare(store, &store->writer, RFS_SQLITE_STATEMENTS);
	if (rc)
		return rc;
	int code = rfs_sqlite_watch_wal(&store->wal, db);
	if (code != SQLITE_OK)
		return failed(store, db, code);
	sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
	sqlite3_wal_hook(db, count_frames, store);
	return 0;
}

static int connect_reader(struct rfs_sqlite *store)
{
	int rc = open_connection(store, &store->reader);
	if (!rc)
		rc = rfs_sqlite_run_script(store, store->reader.db, "PRAGMA query_only = 1; PRAGMA cache_size = -4096;");
	if (!rc)
		rc = prepare(store, &store->reader, RFS_SQLITE_READER_STATEMENTS);
	if (rc)
		return rc;
	int code = rfs_sqlite_watch_wal(&store->reader_wal, store->reader.db);
	if (code != SQLITE_OK)
		return failed(store, store->reader.db, code);
	sqlite3_busy_timeout(store->reader.db, BUSY_TIMEOUT_MS);
	return 0;
}

static int make_room(struct rfs_sqlite *store)
{
	struct stat st;

	store->main_bytes = lseek(store->fd, 0, SEEK_END);
	int rc = rfs_sqlite_make_wal_room(store);
	if (!rc)
		rc = rfs_sqlite_make_main_room(store);
	if (rc)
		return rc;
	store->wal_fd = open(store->wal_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (store->wal_fd < 0 || fstat(store->wal_fd, &st))
		return rfs_sqlite_system_failed(store, errno, "its -wal file cannot be opened");
	store->wal_inode = st.st_ino;
	/* What a crash left in the WAL. Where it cannot be moved now, the WAL keeps it, and it is tried again. */
	store->wal_frames = INT32_MAX;
	store->wal_tried_frames = 0;
	(void) rfs_sqlite_checkpoint(store);
	return 0;
}

int rfs_sqlite_connect(struct rfs_sqlite *store)
{
	int rc = rfs_sqlite_make_names_durable(store);
	if (!rc)
		rc = rfs_sqlite_open_file(store);
	if (rc)
		return rc;
	rc = connect_writer(store);
	if (!rc)
		rc = connect_reader(store);
	if (!rc)
		rc = make_room(store);
	if (rc)
		rfs_sqlite_disconnect(store);
	return rc;
}

static void close_connection(struct rfs_sqlite_connection *connection)
{
	for (int i = 0; i < RFS_SQLITE_STATEMENTS; i++)
		sqlite3_finalize(connection->statements[i]);
	sqlite3_close(connection->db);
	memset(connection, 0, sizeof(*connection));
}

void rfs_sqlite_disconnect(struct rfs_sqlite *store)
{
	close_connection(&store->reader);
	close_connection(&store->writer);
	memset(&store->reader_wal, 0, sizeof(store->reader_wal));
	memset(&store->wal, 0, sizeof(store->wal));
	store->failed = 0;
	store->main_bytes = 0;
	store->room_bytes = 0;
	store->has_no_room = false;
	store->room_is_short = false;
	store->is_near_end = false;
	rfs_cleanup_fd(&store->wal_fd);
	rfs_cleanup_fd(&store->fd);
	store->wal_fd = store->fd = -1;
}
