/* SPDX-License-Identifier: MIT */
/*
 * sqlite.c: the Datastore in an SQLite file.
 *
 * Each record is a row with a checksum over key and value, so that a damaged one is found when it is read.
 *
 * Invariants: a commit that returned 0 is on stable storage. After a commit that failed nothing of it is visible, nor
 * becomes so by a crash: its frames in the WAL are made void, and both connections are opened anew on what is on disk,
 * before anything else is answered. Where that fails too, every call tries it again first, and answers -EIO until it
 * succeeds.
 */
#include "sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "util/cleanup.h"
#include "util/utf8.h"

#define DOWN_MS 1000 /* after which it may be up again */
#define FREE_PAGES 16
#define FREE_PAGES_LEAST 8

static struct rfs_sqlite *store_of(struct rfs_datastore *ds)
{
	return (struct rfs_sqlite *) ds;
}

/* Of an open Datastore, only the errors that datastore.h names. */
static int operation_errno(int rc)
{
	switch (rc) {
	case -ENOMEM:
	case -ENOSPC:
	case -EBADMSG:
		return rc;
	default:
		return -EIO;
	}
}

static int operation_failed(const struct rfs_sqlite *store, sqlite3 *db, int code, const char *what)
{
	return operation_errno(rfs_sqlite_failed(store, db, code, what));
}

/* Going down and coming up again */

/* The caller holds reader_lock. */
static int revive(struct rfs_sqlite *store)
{
	/* While the connections are open the file is ours, so the erasing comes first. */
	int rc = rfs_sqlite_erase_frames(store);
	if (rc)
		return -EIO;
	rfs_sqlite_disconnect(store);
	rc = rfs_sqlite_connect(store);
	if (rc)
		return rc == -ENOMEM ? rc : -EIO;
	atomic_store(&store->down, false);
	return 0;
}

static int ensure_up(struct rfs_sqlite *store)
{
	return atomic_load(&store->down) ? revive(store) : 0;
}

/* While the frames of a failed commit cannot be made void the connections stay open, and the reader's still sees the last
 * commit that succeeded: for reading that will do. The caller holds reader_lock. */
static int ensure_readable(struct rfs_sqlite *store)
{
	return atomic_load(&store->down) && !store->reader.db ? revive(store) : 0;
}

static void go_down(struct rfs_sqlite *store)
{
	RFS_LOCK(&store->reader_lock);
	store->wal_erase = store->wal.lowest_write == INT64_MAX ? -1 : store->wal.lowest_write;
	atomic_store(&store->down, true);
	(void) revive(store);
}

/* Records */

uint32_t rfs_sqlite_checksum(const char *key, size_t key_length, const char *value, size_t value_length)
{
	uLong crc = crc32(0, (const Bytef *) key, (uInt) key_length + 1);
	return (uint32_t) crc32(crc, (const Bytef *) value, (uInt) value_length);
}

struct row {
	bool has_key;  /* false: not even the key can be told */
	bool is_whole; /* false: the record is damaged */
	size_t key_length;
	char key[RFS_KEY_MAX + 1];
	struct rfs_value value;
};

/* Copies text as it is stored. SQLite's own conversion would need memory, and want of memory look like damage. */
static bool copy_text(sqlite3_stmt *statement, int column, size_t most, char *ret_text, size_t *ret_length)
{
	if (sqlite3_column_type(statement, column) != SQLITE_TEXT)
		return false;
	size_t length = (size_t) sqlite3_column_bytes(statement, column);
	const void *text = sqlite3_column_blob(statement, column);
	if (length > most || (length && (!text || memchr(text, 0, length))))
		return false;
	if (length)
		memcpy(ret_text, text, length);
	ret_text[length] = 0;
	*ret_length = length;
	return true;
}

/* The columns key, value, crc of the row that `statement` is at. */
static void read_row(sqlite3_stmt *statement, struct row *ret_row)
{
	struct rfs_value *value = &ret_row->value;

	ret_row->has_key = copy_text(statement, 0, RFS_KEY_MAX, ret_row->key, &ret_row->key_length) &&
			   ret_row->key_length > 0;
	ret_row->is_whole = ret_row->has_key && copy_text(statement, 1, RFS_VALUE_MAX, value->data, &value->length) &&
			    sqlite3_column_type(statement, 2) == SQLITE_INTEGER &&
			    sqlite3_column_int64(statement, 2) ==
			    rfs_sqlite_checksum(ret_row->key, ret_row->key_length, value->data, value->length);
}

static int say_damaged(const struct rfs_sqlite *store, const char *where, const char *key)
{
	char shown[4 * RFS_KEY_MAX + 1];
	rfs_utf8_escape(key, shown, sizeof(shown));
	rfs_sqlite_say(store, "%s: the record %s`%s` is damaged; restore the file from a backup", store->name, where,
		       shown);
	return -EBADMSG;
}

static int get_by(const struct rfs_sqlite *store, const struct rfs_sqlite_connection *connection, const char *key,
		  struct rfs_value *ret_value)
{
	sqlite3_stmt *statement = connection->statements[RFS_SQLITE_GET];
	int rc = 0;
	int code = sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_DONE) {
		rc = -ENOENT;
	} else if (code != SQLITE_ROW) {
		rc = operation_failed(store, connection->db, code, "cannot be read");
	} else {
		struct row row;
		read_row(statement, &row);
		if (row.is_whole) {
			ret_value->length = row.value.length;
			memcpy(ret_value->data, row.value.data, row.value.length + 1);
		} else {
			rc = say_damaged(store, "", key);
		}
	}
	sqlite3_reset(statement);
	return rc;
}

static int sqlite_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct rfs_sqlite *store = store_of(ds);
	RFS_LOCK(&store->reader_lock);
	int rc = ensure_readable(store);
	return rc ? rc : get_by(store, &store->reader, key, ret_value);
}

static int sqlite_get_now(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct rfs_sqlite *store = store_of(ds);
	int rc = -EAGAIN;

	if (pthread_mutex_trylock(&store->reader_lock) != 0)
		return -EAGAIN;
	if (!atomic_load(&store->down)) {
		rfs_sqlite_read_cached(store, true);
		rc = get_by(store, &store->reader, key, ret_value);
		if (rfs_sqlite_read_cached(store, false))
			rc = -EAGAIN;
	}
	pthread_mutex_unlock(&store->reader_lock);
	return rc;
}

struct scan {
	const struct rfs_sqlite *store;
	const char *prefix;
	size_t prefix_length;
	rfs_scan_fn fn;
	void *user;
	char last_key[RFS_KEY_MAX + 1];
};

/*
 * Where the range ends is decided here, and not by SQL: a key that is damaged could end it too early, or stand
 * where it doesn't belong, and everything behind it would silently be missing.
 * Returns 0 to go on, 1 to end, or a negative errno.
 */
static int scan_row(struct scan *scan, const struct row *row)
{
	if (!row->has_key || strcmp(row->key, scan->last_key) <= 0)
		return say_damaged(scan->store, "that follows ", scan->last_key);
	if (strncmp(row->key, scan->prefix, scan->prefix_length) != 0)
		return row->is_whole ? 1 : say_damaged(scan->store, "", row->key);
	memcpy(scan->last_key, row->key, row->key_length + 1);
	return scan->fn(scan->user, row->key, row->is_whole ? row->value.data : NULL);
}

static int run_scan(struct scan *scan, sqlite3_stmt *statement)
{
	struct row row;
	int rc = 0, code;
	while (rc == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		read_row(statement, &row);
		rc = scan_row(scan, &row);
	}
	if (rc == 0 && code != SQLITE_DONE)
		rc = operation_failed(scan->store, sqlite3_db_handle(statement), code, "cannot be read");
	/* Ends the read transaction, without which no checkpoint would ever complete. */
	sqlite3_reset(statement);
	return rc < 0 ? rc : 0;
}

static int sqlite_scan(struct rfs_datastore *ds, const char *prefix, const char *after, rfs_scan_fn fn, void *user)
{
	struct rfs_sqlite *store = store_of(ds);
	struct scan scan = { .store = store, .prefix = prefix, .prefix_length = strlen(prefix), .fn = fn, .user = user };
	bool is_after = strcmp(after, prefix) >= 0;
	const char *start = is_after ? after : prefix;

	RFS_LOCK(&store->reader_lock);
	int rc = ensure_readable(store);
	if (rc)
		return rc;
	if (is_after)
		strcpy(scan.last_key, after);
	sqlite3_stmt *statement = store->reader.statements[is_after ? RFS_SQLITE_SCAN_AFTER : RFS_SQLITE_SCAN_FROM];
	int code = sqlite3_bind_text(statement, 1, start, -1, SQLITE_STATIC);
	if (code != SQLITE_OK)
		return operation_failed(store, store->reader.db, code, "cannot be read");
	return run_scan(&scan, statement);
}

/* The transaction */

/* Runs a statement that returns no rows. */
static int run(struct rfs_sqlite *store, enum rfs_sqlite_statement which)
{
	sqlite3_stmt *statement = store->writer.statements[which];
	int code = sqlite3_step(statement);
	sqlite3_reset(statement);
	return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* What fails here is tried again the next time, and matters only once a commit has no room; that one says so. */
static void make_room(struct rfs_sqlite *store)
{
	(void) rfs_sqlite_make_main_room(store);
	(void) rfs_sqlite_tidy_wal(store);
}

static int sqlite_begin(struct rfs_datastore *ds)
{
	struct rfs_sqlite *store = store_of(ds);
	int rc;

	if (atomic_load(&store->down)) {
		RFS_LOCK(&store->reader_lock);
		rc = ensure_up(store);
		if (rc)
			return rc;
	}
	rc = rfs_sqlite_check_in_place(store);
	if (rc)
		return rc;
	/* Should the caller never have the time to tidy. */
	if (store->room_is_short || rfs_sqlite_wal_is_full(store))
		make_room(store);
	store->failed = 0;
	store->deleted = 0;
	store->wal.lowest_write = INT64_MAX;
	int code = run(store, RFS_SQLITE_BEGIN);
	return code == SQLITE_OK ? 0 : operation_failed(store, store->writer.db, code, "cannot be changed");
}

static int sqlite_txn_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct rfs_sqlite *store = store_of(ds);
	return store->failed ? store->failed : get_by(store, &store->writer, key, ret_value);
}

/* SQLite may have rolled back by itself, and would commit each further statement alone: there must be none. */
static int change_failed(struct rfs_sqlite *store, int code)
{
	store->failed = operation_failed(store, store->writer.db, code, "cannot be changed");
	if (store->failed == -ENOSPC)
		store->room_is_short = true;
	return store->failed;
}

static int no_room(struct rfs_sqlite *store)
{
	char advice[RFS_ADVICE_MAX];
	int error = store->room_error ? store->room_error : ENOSPC;

	rfs_sqlite_advise(store, error, advice, sizeof(advice));
	rfs_sqlite_say(store, "%s: %s, and the room set aside for new records used up; %s", store->name,
		       error == ENOSPC ? "the disk is full" : strerror(error), advice);
	store->room_is_short = true;
	return store->failed = -ENOSPC;
}

/* SQLITE_FULL for a record that would be new, where there is room only to change what is there, and for no more records than
 * the transaction has deleted. */
static int check_room(struct rfs_sqlite *store, const char *key)
{
	sqlite3_stmt *statement = store->writer.statements[RFS_SQLITE_GET];

	if (!store->is_near_end)
		return SQLITE_OK;
	int code = sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	sqlite3_reset(statement);
	if (code == SQLITE_DONE)
		return store->deleted > 0 && store->deleted-- ? SQLITE_OK : SQLITE_FULL;
	return code == SQLITE_ROW ? SQLITE_OK : code;
}

static int sqlite_txn_put(struct rfs_datastore *ds, const char *key, const char *value)
{
	struct rfs_sqlite *store = store_of(ds);
	sqlite3_stmt *statement = store->writer.statements[RFS_SQLITE_PUT];
	size_t key_length = strlen(key), value_length = strlen(value);

	if (store->failed)
		return store->failed;
	int code = check_room(store, key);
	if (code == SQLITE_FULL)
		return no_room(store);
	if (code == SQLITE_OK)
		code = sqlite3_bind_text(statement, 1, key, (int) key_length, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_bind_text(statement, 2, value, (int) value_length, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_bind_int64(statement, 3, rfs_sqlite_checksum(key, key_length, value, value_length));
	if (code == SQLITE_OK)
		code = run(store, RFS_SQLITE_PUT);
	return code == SQLITE_OK ? 0 : change_failed(store, code);
}

static int sqlite_txn_delete(struct rfs_datastore *ds, const char *key)
{
	struct rfs_sqlite *store = store_of(ds);

	if (store->failed)
		return store->failed;
	int code = sqlite3_bind_text(store->writer.statements[RFS_SQLITE_DELETE], 1, key, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = run(store, RFS_SQLITE_DELETE);
	if (code == SQLITE_OK)
		store->deleted += sqlite3_changes(store->writer.db);
	return code == SQLITE_OK ? 0 : change_failed(store, code);
}

static void sqlite_rollback(struct rfs_datastore *ds)
{
	struct rfs_sqlite *store = store_of(ds);
	/* Nothing of it was written (cache_spill is off), so that this only forgets, and cannot fail. Where SQLite
	 * disagrees, the connections are opened anew. */
	if (!sqlite3_get_autocommit(store->writer.db) && run(store, RFS_SQLITE_ROLLBACK) != SQLITE_OK)
		go_down(store);
	store->failed = 0;
}

static int sqlite_commit(struct rfs_datastore *ds)
{
	struct rfs_sqlite *store = store_of(ds);
	int rc = store->failed;
	if (rc) {
		sqlite_rollback(ds);
		return rc;
	}
	int code = run(store, RFS_SQLITE_COMMIT);
	if (code == SQLITE_OK)
		return 0;
	rc = operation_failed(store, store->writer.db, code, "a change cannot be made durable");
	char reason[512];
	snprintf(reason, sizeof(reason), "%s", rfs_sqlite_said(store));
	go_down(store);
	/* The cause, not what came of reopening. */
	rfs_sqlite_say(store, "%s", reason);
	return rc;
}

static unsigned int sqlite_tidy(struct rfs_datastore *ds)
{
	struct rfs_sqlite *store = store_of(ds);

	if (atomic_load(&store->down))
		return DOWN_MS;
	make_room(store);
	return rfs_sqlite_upkeep(store);
}

/*
 * The room behind the file's end is lost to whoever truncates it to its length, or copies it; to remove a record can take a page
 * all the same, when the one above it must be divided. So some pages are kept free within the file. To get them, a record
 * is put that is long enough, and deleted in the same transaction; what it held stays in the pages, as of empty ones others
 * make holes.
 */
static void keep_free_pages(struct rfs_sqlite *store)
{
	struct rfs_datastore *ds = &store->base;
	int have = rfs_sqlite_count_free_pages(store);
	char sql[160];

	if (have < 0 || have >= FREE_PAGES_LEAST || store->is_near_end || sqlite_begin(ds))
		return;
	snprintf(sql, sizeof(sql), "INSERT INTO datastore VALUES ('', randomblob(%d), 0); DELETE FROM datastore WHERE key = ''",
		 FREE_PAGES * store->page_bytes);
	store->failed = rfs_sqlite_run_script(store, store->writer.db, sql);
	(void) sqlite_commit(ds);
}

int rfs_sqlite_replace_wal(struct rfs_sqlite *store)
{
	if (!rfs_sqlite_has_spare(store))
		return -ENOENT;
	RFS_LOCK(&store->reader_lock);
	int rc = rfs_sqlite_checkpoint(store);
	if (!rc && store->wal_frames > 0)
		rc = -EBUSY;
	if (!rc)
		rc = rfs_sqlite_use_spare(store);
	if (rc)
		return rc;
	rfs_sqlite_disconnect(store);
	rc = rfs_sqlite_connect(store);
	if (rc)
		atomic_store(&store->down, true);
	return rc;
}

static int sqlite_settle(struct rfs_datastore *ds)
{
	struct rfs_sqlite *store = store_of(ds);

	if (atomic_load(&store->down))
		return -EIO;
	return rfs_sqlite_checkpoint(store) < 0 ? -EIO : 0;
}

static void sqlite_identity(struct rfs_datastore *ds, char ret_identity[RFS_IDENTITY_MAX + 1])
{
	strcpy(ret_identity, store_of(ds)->identity);
}

static const char *sqlite_explain(struct rfs_datastore *ds)
{
	return rfs_sqlite_said(store_of(ds));
}

/* Opening and closing */

static void free_store(struct rfs_sqlite *store)
{
	rfs_sqlite_disconnect(store);
	rfs_sqlite_unclaim(store);
	pthread_mutex_destroy(&store->reader_lock);
	free(store->path);
	free(store->wal_path);
	free(store->spare_path);
	free(store->name);
	free(store->vfs);
	free(store);
}

static void sqlite_close(struct rfs_datastore *ds)
{
	struct rfs_sqlite *store = store_of(ds);
	if (!atomic_load(&store->down))
		keep_free_pages(store);
	if (atomic_load(&store->down)) {
		if (store->writer.db)
			(void) rfs_sqlite_erase_frames(store);
	} else if (rfs_sqlite_checkpoint(store) == 0 && store->wal_frames == 0) {
		(void) rfs_sqlite_void_wal(store);
	}
	free_store(store);
}

static const struct rfs_datastore_ops sqlite_ops = {
	.name = "sqlite",
	.get = sqlite_get,
	.get_now = sqlite_get_now,
	.scan = sqlite_scan,
	.begin = sqlite_begin,
	.txn_get = sqlite_txn_get,
	.txn_put = sqlite_txn_put,
	.txn_delete = sqlite_txn_delete,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.tidy = sqlite_tidy,
	.settle = sqlite_settle,
	.identity = sqlite_identity,
	.explain = sqlite_explain,
	.close = sqlite_close,
};

static int new_store(const struct rfs_sqlite_options *options, struct rfs_sqlite **ret_store)
{
	struct rfs_sqlite *store = calloc(1, sizeof(*store));
	if (!store)
		return -ENOMEM;
	store->base.ops = &sqlite_ops;
	store->fd = store->wal_fd = -1;
	store->wal_erase = -1;
	atomic_init(&store->down, false);
	int rc = pthread_mutex_init(&store->reader_lock, NULL);
	if (rc) {
		free(store);
		return -rc;
	}
	store->upkeep.notice = options->notice;
	store->upkeep.user = options->user;
	store->vfs = strdup(options->vfs ? options->vfs : "unix-excl");
	if (!store->vfs) {
		free_store(store);
		return -ENOMEM;
	}
	*ret_store = store;
	return 0;
}

static int open_store(struct rfs_sqlite *store, const struct rfs_sqlite_options *options)
{
	int rc = rfs_sqlite_resolve(store, options->path);
	if (!rc && rfs_sqlite_file_limit() < RFS_WAL_LEAST_ROOM_BYTES)
		rc = rfs_sqlite_system_failed(store, EFBIG, "its files must be larger than they may be");
	if (!rc && !options->must_exist)
		rc = rfs_sqlite_create(store);
	if (!rc)
		rc = rfs_sqlite_claim(store);
	if (!rc)
		rc = rfs_sqlite_renew(store);
	if (!rc)
		rc = rfs_sqlite_connect(store);
	if (rc)
		return rc;
	rfs_sqlite_begin_upkeep(store);
	return 0;
}

int rfs_datastore_open_sqlite(const struct rfs_sqlite_options *options, char *ret_message, size_t message_size,
			      struct rfs_datastore **ret_ds)
{
	struct rfs_sqlite *store;
	int rc = new_store(options, &store);
	if (rc) {
		snprintf(ret_message, message_size, "out of memory");
		return rc;
	}
	rc = open_store(store, options);
	if (rc) {
		const char *said = rfs_sqlite_said(store);
		snprintf(ret_message, message_size, "%s", *said ? said : strerror(-rc));
		free_store(store);
		return rc;
	}
	*ret_ds = &store->base;
	return 0;
}
