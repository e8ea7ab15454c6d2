/* SPDX-License-Identifier: MIT */
/* test_sqlite_file.c: what file the SQLite back end makes, which it takes, and which it refuses. */
#include "../unit/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "sqlite_store.h"

static char path[256], wal_path[264];

static int setup(void **state)
{
	if (scratch_make(state))
		return -1;
	scratch_path("store.db", path, sizeof(path));
	snprintf(wal_path, sizeof(wal_path), "%s-wal", path);
	return 0;
}

static void write_file(const char *name, const void *data, size_t length)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, length), length);
	close(fd);
}

static void patch_file(const char *name, off_t offset, const void *data, size_t length)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, length, offset), length);
	close(fd);
}

static off_t size_of(const char *name)
{
	struct stat st;
	return stat(name, &st) ? -1 : st.st_size;
}

static void make_store(void)
{
	struct rfs_datastore *ds = store_open(path);

	for (int i = 0; i < 200; i++) {
		char key[16];
		snprintf(key, sizeof(key), "key%03d", i);
		store_put(ds, key, "a value of some length, so that there are several pages");
	}
	rfs_datastore_close(ds);
}

/* The file that it makes */

static void a_new_file_is_private_and_can_be_told_apart(void **state)
{
	struct stat st;
	sqlite3 *db;
	sqlite3_stmt *statement;

	(void) state;
	mode_t old_mask = umask(0);
	make_store();
	umask(old_mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(stat(wal_path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db,
		"SELECT application_id, user_version, journal_mode, encoding, page_size, integrity_check"
		" FROM pragma_application_id, pragma_user_version, pragma_journal_mode, pragma_encoding,"
		" pragma_page_size, pragma_integrity_check", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(statement, 0), 0x52734653);
	assert_int_equal(sqlite3_column_int(statement, 1), 1);
	assert_string_equal(sqlite3_column_text(statement, 2), "wal");
	assert_string_equal(sqlite3_column_text(statement, 3), "UTF-8");
	assert_int_equal(sqlite3_column_int(statement, 4), 4096);
	assert_string_equal(sqlite3_column_text(statement, 5), "ok");
	sqlite3_finalize(statement);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void nothing_else_is_left_beside_it(void **state)
{
	static const char *const others[] = { ".new", ".new-wal", ".new-journal", "-shm", "-journal" };
	char name[280];

	(void) state;
	make_store();
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		snprintf(name, sizeof(name), "%s%s", path, others[i]);
		assert_int_equal(access(name, F_OK), -1);
	}
}

static void what_was_put_is_there_when_it_is_opened_again(void **state)
{
	struct rfs_datastore *ds = store_open(path);

	(void) state;
	store_put(ds, "kept", "1");
	store_put(ds, "changed", "1");
	store_put(ds, "changed", "2");
	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "open", "3"), 0);
	assert_int_equal(rfs_datastore_txn_delete(ds, "kept"), 0);
	rfs_datastore_close(ds);

	ds = store_open(path);
	store_expect(ds, "kept", "1");
	store_expect(ds, "changed", "2");
	store_expect(ds, "open", NULL);
	rfs_datastore_close(ds);
}

static void the_wal_of_a_closed_store_holds_nothing(void **state)
{
	static char copy[1 << 20];
	char zeros[32] = "", header[32];

	(void) state;
	make_store();
	int fd = open(wal_path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, header, sizeof(header)), sizeof(header));
	assert_memory_equal(header, zeros, sizeof(header));
	close(fd);

	/* So an older main file that is put back is taken as it is. */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, copy, sizeof(copy));
	close(fd);
	assert_true(length > 0 && (size_t) length < sizeof(copy));
	struct rfs_datastore *ds = store_open(path);
	store_put(ds, "key000", "newer");
	rfs_datastore_close(ds);
	write_file(path, copy, (size_t) length);
	ds = store_open(path);
	store_expect(ds, "key000", "a value of some length, so that there are several pages");
	rfs_datastore_close(ds);
}

static void what_an_interrupted_creation_left_is_replaced(void **state)
{
	char draft[280];

	(void) state;
	snprintf(draft, sizeof(draft), "%s.new", path);
	write_file(draft, "half", 4);
	snprintf(draft, sizeof(draft), "%s.new-journal", path);
	write_file(draft, "half of a journal", 17);
	rfs_datastore_close(store_open(path));
	assert_int_equal(access(draft, F_OK), -1);
}

static void a_symbolic_link_is_followed(void **state)
{
	char link[256];

	(void) state;
	scratch_path("link", link, sizeof(link));
	assert_int_equal(symlink("store.db", link), 0);
	store_expect_refusal(link, -ENOENT, "symbolic link");
	make_store();
	struct rfs_datastore *ds = store_open(link);
	store_put(ds, "through the link", "1");
	rfs_datastore_close(ds);
	ds = store_open(path);
	store_expect(ds, "through the link", "1");
	rfs_datastore_close(ds);
}

/* What it refuses */

static void a_missing_file_is_not_created_when_it_must_exist(void **state)
{
	struct rfs_datastore *ds = NULL;

	(void) state;
	assert_int_equal(store_try(path, true, &ds), -ENOENT);
	assert_non_null(strstr(store_message, path));
	assert_int_equal(access(path, F_OK), -1);
	make_store();
	assert_int_equal(store_try(path, true, &ds), 0);
	rfs_datastore_close(ds);
}

static void a_missing_directory_is_named(void **state)
{
	char name[256];

	(void) state;
	scratch_path("no/such.db", name, sizeof(name));
	store_expect_refusal(name, -ENOENT, "directory");
}

static void an_empty_file_is_refused(void **state)
{
	(void) state;
	write_file(path, "", 0);
	store_expect_refusal(path, -EBADMSG, "empty");
	assert_int_equal(size_of(path), 0);
	assert_int_equal(access(wal_path, F_OK), -1);
}

static void garbage_is_refused(void **state)
{
	static char noise[20000];
	unsigned int seed = 7;

	(void) state;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char) rand_r(&seed);
	write_file(path, noise, sizeof(noise));
	store_expect_refusal(path, -EBADMSG, "not an SQLite database");
	write_file(path, "x", 1);
	store_expect_refusal(path, -EBADMSG, "not an SQLite database");
	assert_int_equal(size_of(path), 1);
}

static void another_programs_database_is_refused(void **state)
{
	(void) state;
	store_sql(path, "CREATE TABLE datastore (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, crc INTEGER NOT NULL)"
			" WITHOUT ROWID");
	off_t size = size_of(path);
	store_expect_refusal(path, -EBADMSG, "another program");
	assert_int_equal(size_of(path), size);
	assert_int_equal(access(wal_path, F_OK), -1);
}

static void a_newer_version_is_refused(void **state)
{
	(void) state;
	make_store();
	store_sql(path, "PRAGMA user_version = 2");
	store_expect_refusal(path, -EPROTO, "version 2");
	store_sql(path, "PRAGMA user_version = 0");
	store_expect_refusal(path, -EBADMSG, "damaged");
	store_sql(path, "PRAGMA user_version = 1");
	rfs_datastore_close(store_open(path));
}

static void a_foreign_schema_is_refused(void **state)
{
	(void) state;
	make_store();
	store_sql(path, "CREATE TRIGGER t AFTER INSERT ON datastore BEGIN DELETE FROM datastore; END");
	store_expect_refusal(path, -EBADMSG, "triggers");
	store_sql(path, "DROP TRIGGER t; CREATE TABLE other (x)");
	store_expect_refusal(path, -EBADMSG, "none of a Datastore");
	store_sql(path, "DROP TABLE other; ANALYZE");
	rfs_datastore_close(store_open(path));
	store_sql(path, "ALTER TABLE datastore RENAME TO d2; CREATE VIEW datastore AS SELECT * FROM d2");
	store_expect_refusal(path, -EBADMSG, "missing or a different one");
}

static void a_truncated_file_is_refused(void **state)
{
	(void) state;
	make_store();
	assert_int_equal(truncate(path, size_of(path) - 4096), 0);
	store_expect_refusal(path, -EBADMSG, "its end is missing");
	assert_int_equal(truncate(path, 99), 0);
	store_expect_refusal(path, -EBADMSG, "not an SQLite database");
}

static void what_is_no_file_is_refused(void **state)
{
	(void) state;
	assert_int_equal(mkdir(path, 0700), 0);
	store_expect_refusal(path, -EBADMSG, "not a regular file");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	store_expect_refusal(path, -EBADMSG, "not a regular file");
}

static void a_wal_without_its_file_is_refused(void **state)
{
	(void) state;
	make_store();
	assert_int_equal(unlink(path), 0);
	store_expect_refusal(path, -EBADMSG, "is gone");
	assert_int_equal(unlink(wal_path), 0);
	rfs_datastore_close(store_open(path));
}

static void a_path_too_long_for_sqlite_is_refused(void **state)
{
	char name[700];

	(void) state;
	scratch_path("d", name, sizeof(name));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mkdir(name, 0700), 0);
		size_t length = strlen(name);
		memset(name + length, 'x', 180);
		name[length] = '/';
		name[length + 180] = 0;
	}
	store_expect_refusal(name, -ENAMETOOLONG, "too long");
}

static void a_name_with_control_characters_stays_one_line(void **state)
{
	char name[256];

	(void) state;
	scratch_path("a\nb", name, sizeof(name));
	write_file(name, "x", 1);
	struct rfs_datastore *ds;
	assert_int_equal(store_try(name, false, &ds), -EBADMSG);
	assert_null(strchr(store_message, '\n'));
	assert_non_null(strstr(store_message, "a\\x0ab"));
}

static void a_message_is_cut_to_its_room(void **state)
{
	char message[8] = "1234567";
	struct rfs_sqlite_options options = { .path = path };
	struct rfs_datastore *ds;

	(void) state;
	write_file(path, "x", 1);
	assert_int_equal(rfs_datastore_open_sqlite(&options, message, 5, &ds), -EBADMSG);
	assert_int_equal(strlen(message), 4);
	assert_string_equal(message + 5, "67");
}

/* The one owner */

static void the_same_process_is_refused(void **state)
{
	struct rfs_datastore *ds = store_open(path);
	char pid[32];

	(void) state;
	snprintf(pid, sizeof(pid), "(%d)", (int) getpid());
	store_expect_refusal(path, -EBUSY, pid);
	store_put(ds, "a", "1");
	rfs_datastore_close(ds);
	rfs_datastore_close(store_open(path));
}

/* In a child that owns the store, until its end of the pipe is closed. */
static pid_t start_owner(int pipe_fds[2])
{
	int ready[2];
	char c;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct rfs_datastore *ds;
		struct rfs_sqlite_options options = { .path = path };
		char message[512];
		close(pipe_fds[1]);
		close(ready[0]);
		if (rfs_datastore_open_sqlite(&options, message, sizeof(message), &ds))
			_exit(1);
		if (write(ready[1], "r", 1) != 1 || read(pipe_fds[0], &c, 1) != 0)
			_exit(2);
		rfs_datastore_close(ds);
		_exit(0);
	}
	assert_true(pid > 0);
	close(ready[1]);
	close(pipe_fds[0]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void another_process_is_refused_with_the_owners_pid(void **state)
{
	char expected[64];
	int pipe_fds[2], status;
	pid_t owner = start_owner(pipe_fds);

	(void) state;
	snprintf(expected, sizeof(expected), "in use by process %d;", (int) owner);
	/* Twice: asking must not take the lock away. */
	store_expect_refusal(path, -EBUSY, expected);
	store_expect_refusal(path, -EBUSY, expected);
	close(pipe_fds[1]);
	assert_int_equal(waitpid(owner, &status, 0), owner);
	assert_int_equal(status, 0);
	rfs_datastore_close(store_open(path));
}

static void the_sqlite_shell_is_kept_out_and_keeps_out(void **state)
{
	struct rfs_datastore *ds = store_open(path);
	sqlite3 *db;
	int pipe_fds[2], status;

	(void) state;
	rfs_datastore_close(ds);
	pid_t owner = start_owner(pipe_fds);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "SELECT * FROM datastore", NULL, NULL, NULL), SQLITE_BUSY);
	sqlite3_close(db);
	close(pipe_fds[1]);
	assert_int_equal(waitpid(owner, &status, 0), owner);
	assert_int_equal(status, 0);

	pid_t reader = fork();
	if (reader == 0) {
		struct rfs_datastore *mine = NULL;
		pid_t child;
		if (sqlite3_open(path, &db) || sqlite3_exec(db, "BEGIN; SELECT * FROM datastore", NULL, NULL, NULL))
			_exit(1);
		child = fork();
		if (child == 0)
			_exit(store_try(path, false, &mine) == -EBUSY ? 0 : 3);
		if (waitpid(child, &status, 0) != child)
			_exit(2);
		sqlite3_close(db);
		_exit(WEXITSTATUS(status));
	}
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_int_equal(status, 0);
}

/* Damage, and interference from outside */

static int list_damage(void *user, const char *key, const char *value)
{
	char *text = user;

	strcat(strcat(strcat(text, key), value ? "+" : "-"), " ");
	return 0;
}

static void a_damaged_value_is_named_and_not_skipped(void **state)
{
	struct rfs_datastore *ds = store_open(path);
	struct rfs_value got;
	char text[256] = "";

	(void) state;
	store_put(ds, "a", "1");
	store_put(ds, "b", "1");
	store_put(ds, "c", "1");
	rfs_datastore_close(ds);
	store_sql(path, "UPDATE datastore SET value = '2' WHERE key = 'b'");

	ds = store_open(path);
	assert_int_equal(rfs_datastore_get(ds, "b", &got), -EBADMSG);
	assert_non_null(strstr(rfs_datastore_explain(ds), "`b`"));
	assert_int_equal(rfs_datastore_scan(ds, "", "", list_damage, text), 0);
	assert_string_equal(text, "a+ b- c+ ");
	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_get(ds, "b", &got), -EBADMSG);
	assert_int_equal(rfs_datastore_txn_put(ds, "b", "3"), 0);
	assert_int_equal(rfs_datastore_commit(ds), 0);
	store_expect(ds, "b", "3");
	rfs_datastore_close(ds);
}

static void wrong_types_are_damage(void **state)
{
	static const char *const damages[] = {
		"UPDATE datastore SET value = x'31' WHERE key = 'b'",
		"UPDATE datastore SET crc = 'text' WHERE key = 'b'",
		"UPDATE datastore SET crc = crc + 4294967296 WHERE key = 'b'",
		"UPDATE datastore SET value = '1' || char(0) || 'x' WHERE key = 'b'",
		"UPDATE datastore SET value = printf('%2000d', 1) WHERE key = 'b'",
	};
	struct rfs_datastore *ds;
	struct rfs_value got;

	(void) state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
		char text[256] = "";
		ds = store_open(path);
		store_put(ds, "a", "1");
		store_put(ds, "b", "1");
		store_put(ds, "c", "1");
		rfs_datastore_close(ds);
		store_sql(path, damages[i]);
		ds = store_open(path);
		assert_int_equal(rfs_datastore_get(ds, "b", &got), -EBADMSG);
		assert_int_equal(rfs_datastore_scan(ds, "", "", list_damage, text), 0);
		assert_string_equal(text, "a+ b- c+ ");
		rfs_datastore_close(ds);
	}
}

/* The file's bytes, one of which is changed: a key that no longer fits must not end a scan too early. */
static void a_damaged_key_hides_nothing(void **state)
{
	static const char needle[] = "contract/b";
	static char copy[1 << 20];
	struct rfs_datastore *ds = store_open(path);
	char text[256] = "";

	(void) state;
	store_put(ds, "contract/a", "1");
	store_put(ds, needle, "1");
	store_put(ds, "contract/c", "1");
	rfs_datastore_close(ds);

	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, copy, sizeof(copy));
	close(fd);
	char *found = memmem(copy, (size_t) length, needle, strlen(needle));
	assert_non_null(found);
	patch_file(path, found - copy, "x", 1);

	ds = store_open(path);
	assert_int_equal(rfs_datastore_scan(ds, "contract/", "", list_damage, text), -EBADMSG);
	assert_non_null(strstr(rfs_datastore_explain(ds), "xontract/b"));
	rfs_datastore_close(ds);
}

static void a_replaced_file_is_noticed(void **state)
{
	struct rfs_datastore *ds = store_open(path);
	char aside[256];

	(void) state;
	scratch_path("aside", aside, sizeof(aside));
	store_put(ds, "a", "1");
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(rfs_datastore_put(ds, "a", "2"), -EIO);
	assert_non_null(strstr(rfs_datastore_explain(ds), "cannot be found"));
	write_file(path, "x", 1);
	assert_int_equal(rfs_datastore_put(ds, "a", "3"), -EIO);
	assert_non_null(strstr(rfs_datastore_explain(ds), "replaced"));
	store_expect(ds, "a", "1");
	/* It goes on when the file is back. */
	assert_int_equal(rename(aside, path), 0);
	store_put(ds, "a", "4");
	store_expect(ds, "a", "4");
	rfs_datastore_close(ds);
}

static void a_replaced_or_truncated_wal_is_noticed(void **state)
{
	struct rfs_datastore *ds = store_open(path);
	char aside[256];

	(void) state;
	scratch_path("aside", aside, sizeof(aside));
	store_put(ds, "a", "1");
	assert_int_equal(rename(wal_path, aside), 0);
	assert_int_equal(rfs_datastore_put(ds, "a", "2"), -EIO);
	write_file(wal_path, "x", 1);
	assert_int_equal(rfs_datastore_put(ds, "a", "3"), -EIO);
	assert_non_null(strstr(rfs_datastore_explain(ds), "-wal file was replaced"));
	assert_int_equal(rename(aside, wal_path), 0);
	store_put(ds, "a", "4");
	assert_int_equal(truncate(wal_path, 4096), 0);
	assert_int_equal(rfs_datastore_put(ds, "a", "5"), -EIO);
	assert_non_null(strstr(rfs_datastore_explain(ds), "-wal file was truncated"));
	rfs_datastore_close(ds);
}

static void a_truncated_main_file_is_noticed(void **state)
{
	(void) state;
	make_store();
	struct rfs_datastore *ds = store_open(path);
	assert_int_equal(truncate(path, 8192), 0);
	assert_int_equal(rfs_datastore_put(ds, "a", "5"), -EIO);
	assert_non_null(strstr(rfs_datastore_explain(ds), "truncated"));
	/* Nor does closing it, which moves the WAL to it, make it look whole again. */
	rfs_datastore_close(ds);
	store_expect_refusal(path, -EBADMSG, "its end is missing");
}

/* Fills a store in a process that ends without closing it: all of it is still in the WAL. */
static void leave_all_in_the_wal(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct rfs_datastore *ds;
		char key[16];
		if (store_try(path, false, &ds))
			_exit(1);
		for (int i = 0; i < 200; i++) {
			snprintf(key, sizeof(key), "key%03d", i);
			if (rfs_datastore_put(ds, key, "a value of some length, so that there are several pages"))
				_exit(2);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void copy_file(const char *from, const char *to)
{
	assert_int_equal(scratch_run((const char *[]) { "cp", from, to, NULL }), 0);
}

static void an_interrupted_checkpoint_is_completed(void **state)
{
	char aside[256];

	(void) state;
	scratch_path("aside", aside, sizeof(aside));
	leave_all_in_the_wal();
	copy_file(wal_path, aside);
	rfs_datastore_close(store_open(path));
	/* As if the checkpoint had come as far as the second page. */
	copy_file(aside, wal_path);
	assert_true(size_of(path) > 8192);
	assert_int_equal(truncate(path, 8192), 0);
	struct rfs_datastore *ds = store_open(path);
	store_expect(ds, "key000", "a value of some length, so that there are several pages");
	store_expect(ds, "key199", "a value of some length, so that there are several pages");
	rfs_datastore_close(ds);
	store_check_integrity(path);
}

static void a_truncated_file_is_refused_whatever_the_wal_has(void **state)
{
	(void) state;
	make_store();
	off_t size = size_of(path);
	pid_t pid = fork();
	int status;
	if (pid == 0) {
		struct rfs_datastore *ds;
		_exit(store_try(path, false, &ds) || rfs_datastore_put(ds, "key000", "changed") ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(truncate(path, size - 2048), 0);
	store_expect_refusal(path, -EBADMSG, "its end is missing");
}

/* Reading without waiting */

/* Lets the page cache forget the store's files. */
static void drop_from_cache(void)
{
	const char *names[] = { path, wal_path };

	for (size_t i = 0; i < 2; i++) {
		int fd = open(names[i], O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(fsync(fd), 0);
		assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		close(fd);
	}
}

static void skip_without_nowait(void)
{
	char byte;
	struct iovec one = { .iov_base = &byte, .iov_len = 1 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd, &byte, 1, 0);

	assert_int_equal(n, 1);
	n = preadv2(fd, &one, 1, 0, RWF_NOWAIT);
	close(fd);
	if (n < 0 && errno == EOPNOTSUPP)
		skip();
}

static void expect_now(struct rfs_datastore *ds, const char *key, int rc)
{
	struct rfs_value got;

	assert_int_equal(rfs_datastore_get_now(ds, key, &got), rc);
	if (rc == 0)
		assert_string_equal(got.data, "a value of some length, so that there are several pages");
}

static void what_the_disk_has_to_be_asked_for_is_not_had_now(void **state)
{
	struct rfs_value got;

	(void) state;
	make_store();
	skip_without_nowait();
	struct rfs_datastore *ds = store_open(path);
	drop_from_cache(); /* only now: to open it has read on */
	expect_now(ds, "key100", -EAGAIN);
	expect_now(ds, "no such key", -EAGAIN);
	assert_int_equal(rfs_datastore_get(ds, "key100", &got), 0);
	expect_now(ds, "key100", 0);
	store_expect(ds, "no such key", NULL);
	expect_now(ds, "no such key", -ENOENT);
	/* From the WAL, where the last commit is. */
	store_put(ds, "key100", "other");
	store_expect(ds, "key100", "other");
	assert_int_equal(rfs_datastore_get_now(ds, "key100", &got), 0);
	assert_string_equal(got.data, "other");
	rfs_datastore_close(ds);
}

static void *get_now_thread(void *ds)
{
	expect_now(ds, "key000", -EAGAIN);
	return NULL;
}

static int ask_from_another_thread(void *ds, const char *key, const char *value)
{
	pthread_t thread;

	(void) key;
	(void) value;
	assert_int_equal(pthread_create(&thread, NULL, get_now_thread, ds), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	return 1;
}

static void nothing_is_had_now_while_another_reads(void **state)
{
	(void) state;
	make_store();
	skip_without_nowait();
	struct rfs_datastore *ds = store_open(path);
	assert_int_equal(rfs_datastore_scan(ds, "", "", ask_from_another_thread, ds), 0);
	expect_now(ds, "key000", 0);
	rfs_datastore_close(ds);
}

#define FILE_TEST(body) cmocka_unit_test_setup_teardown(body, setup, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_TEST(a_new_file_is_private_and_can_be_told_apart),
		FILE_TEST(nothing_else_is_left_beside_it),
		FILE_TEST(what_was_put_is_there_when_it_is_opened_again),
		FILE_TEST(the_wal_of_a_closed_store_holds_nothing),
		FILE_TEST(what_an_interrupted_creation_left_is_replaced),
		FILE_TEST(a_symbolic_link_is_followed),
		FILE_TEST(a_missing_file_is_not_created_when_it_must_exist),
		FILE_TEST(a_missing_directory_is_named),
		FILE_TEST(an_empty_file_is_refused),
		FILE_TEST(garbage_is_refused),
		FILE_TEST(another_programs_database_is_refused),
		FILE_TEST(a_newer_version_is_refused),
		FILE_TEST(a_foreign_schema_is_refused),
		FILE_TEST(a_truncated_file_is_refused),
		FILE_TEST(what_is_no_file_is_refused),
		FILE_TEST(a_wal_without_its_file_is_refused),
		FILE_TEST(a_path_too_long_for_sqlite_is_refused),
		FILE_TEST(a_name_with_control_characters_stays_one_line),
		FILE_TEST(a_message_is_cut_to_its_room),
		FILE_TEST(the_same_process_is_refused),
		FILE_TEST(another_process_is_refused_with_the_owners_pid),
		FILE_TEST(the_sqlite_shell_is_kept_out_and_keeps_out),
		FILE_TEST(a_damaged_value_is_named_and_not_skipped),
		FILE_TEST(wrong_types_are_damage),
		FILE_TEST(a_damaged_key_hides_nothing),
		FILE_TEST(a_replaced_file_is_noticed),
		FILE_TEST(a_replaced_or_truncated_wal_is_noticed),
		FILE_TEST(a_truncated_main_file_is_noticed),
		FILE_TEST(an_interrupted_checkpoint_is_completed),
		FILE_TEST(a_truncated_file_is_refused_whatever_the_wal_has),
		FILE_TEST(what_the_disk_has_to_be_asked_for_is_not_had_now),
		FILE_TEST(nothing_is_had_now_while_another_reads),
	};

	return cmocka_run_group_tests_name("sqlite file", tests, NULL, NULL);
}
