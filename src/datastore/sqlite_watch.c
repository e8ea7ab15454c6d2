/* SPDX-License-Identifier: MIT */
/*
 * sqlite_watch.c: steps between SQLite and its open files, by replacing a file's table of methods with a copy.
 *
 * The main file is never made shorter: after a complete checkpoint SQLite truncates it to its exact size, which on most
 * file systems frees the blocks set aside behind it. The database never shrinks by itself (rows that go leave free
 * pages behind, which are used again), so such a truncation has no other effect.
 *
 * The WAL's writes are noted, so that the frames of a commit that failed can be found and made void. Reads that fail are
 * told apart from damage; those of a caller that must not wait take only what is in the page cache.
 *
 * Invariant: each method but those replaced is the file's own. The copy lives as long as the connection, which closes
 * the file.
 */
#include "sqlite.h"

#include <sys/uio.h>

static struct rfs_sqlite_watch *watch_of(sqlite3_file *file)
{
	return (struct rfs_sqlite_watch *) (void *) file->pMethods;
}

static int truncate_main(sqlite3_file *file, sqlite3_int64 size)
{
	const sqlite3_io_methods *original = watch_of(file)->original;
	sqlite3_int64 now;
	int code = original->xFileSize(file, &now);
	if (code != SQLITE_OK)
		return code;
	return size <= now ? SQLITE_OK : original->xTruncate(file, size);
}

static int write_wal(sqlite3_file *file, const void *data, int length, sqlite3_int64 offset)
{
	struct rfs_sqlite_watch *watch = watch_of(file);
	if (offset < watch->lowest_write)
		watch->lowest_write = offset;
	return watch->original->xWrite(file, data, length, offset);
}

/* A file system that does not know RWF_NOWAIT, and the end of the file, count as missed: then it is read in the usual way. */
static int read_cached(struct rfs_sqlite_watch *watch, void *data, int length, sqlite3_int64 offset)
{
	struct iovec all = { .iov_base = data, .iov_len = (size_t) length };

	if (preadv2(*watch->cached_fd, &all, 1, offset, RWF_NOWAIT) == length)
		return SQLITE_OK;
	watch->missed = true;
	return SQLITE_IOERR_READ;
}

/* SQLite takes a read that failed with EIO for a corrupt file system, and goes on to say that the database is malformed.
 * It is a read that failed, and may work the next time. */
static int read_any(sqlite3_file *file, void *data, int length, sqlite3_int64 offset)
{
	if (watch_of(file)->cached_fd)
		return read_cached(watch_of(file), data, length, offset);
	int code = watch_of(file)->original->xRead(file, data, length, offset);
	return code == SQLITE_IOERR_CORRUPTFS ? SQLITE_IOERR_READ : code;
}

static int find(struct rfs_sqlite_watch *watch, sqlite3 *db, int operation)
{
	sqlite3_file *file = NULL;
	int code = sqlite3_file_control(db, "main", operation, &file);
	if (code != SQLITE_OK)
		return code;
	if (!file || !file->pMethods)
		return SQLITE_CANTOPEN;
	watch->file = file;
	watch->original = file->pMethods;
	watch->methods = *file->pMethods;
	watch->methods.xRead = read_any;
	watch->lowest_write = INT64_MAX;
	/* A later SQLite may know methods that our copy has no place for. */
	if (watch->methods.iVersion > 3)
		watch->methods.iVersion = 3;
	return SQLITE_OK;
}

int rfs_sqlite_watch_main(struct rfs_sqlite_watch *watch, sqlite3 *db)
{
	int code = find(watch, db, SQLITE_FCNTL_FILE_POINTER);
	if (code != SQLITE_OK)
		return code;
	watch->methods.xTruncate = truncate_main;
	watch->file->pMethods = &watch->methods;
	return SQLITE_OK;
}

int rfs_sqlite_watch_wal(struct rfs_sqlite_watch *watch, sqlite3 *db)
{
	int code = find(watch, db, SQLITE_FCNTL_JOURNAL_POINTER);
	if (code != SQLITE_OK)
		return code;
	watch->methods.xWrite = write_wal;
	watch->file->pMethods = &watch->methods;
	return SQLITE_OK;
}

bool rfs_sqlite_read_cached(struct rfs_sqlite *store, bool only_cached)
{
	struct rfs_sqlite_watch *main = &store->reader.main, *wal = &store->reader_wal;
	bool missed = main->missed || wal->missed;

	main->cached_fd = only_cached ? &store->fd : NULL;
	wal->cached_fd = only_cached ? &store->wal_fd : NULL;
	main->missed = wal->missed = false;
	return missed;
}
