/* SPDX-License-Identifier: MIT */
/*
 * test_sqlite_faults.c: the SQLite back end on a disk that fails.
 *
 * A history of changes runs once for each I/O call that it makes, with that call failing, alone or with all that follow.
 * What was answered with success is there, during the fault, after it, and after a crash; what was refused is not. When
 * the fault is over, the next call succeeds.
 */
#include "../unit/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../contract/scratch.h"
#include "../contract/sqlite_store.h"
#include "fault_vfs.h"

#define KEYS 12
#define VALUE_BYTES 1000

static char path[256];

/* What a child tells its parent. */
static struct shared {
	char model[KEYS][VALUE_BYTES + 1]; /* "": there is no such record */
	bool was_hit;
	char complaint[512];
} *shared;

static int setup(void **state)
{
	/* Before anything else asks SQLite for something. */
	if (!fault_vfs_register() || scratch_make(state))
		return -1;
	scratch_path("store.db", path, sizeof(path));
	memset(shared, 0, sizeof(*shared));
	fault_vfs_arm(NULL);
	return 0;
}

static int make_shared(void **state)
{
	(void) state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared == MAP_FAILED ? -1 : 0;
}

static int try_open(struct rfs_datastore **ret_ds)
{
	struct rfs_sqlite_options options = { .path = path, .vfs = fault_vfs_register() };
	return rfs_datastore_open_sqlite(&options, store_message, sizeof(store_message), ret_ds);
}

/* The history, in a child */

#define REQUIRE(condition, ...) \
	do { \
		if (!(condition)) \
			complain(__LINE__, __VA_ARGS__); \
	} while (0)

static _Noreturn void complain(int line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static _Noreturn void complain(int line, const char *format, ...)
{
	va_list arguments;
	int length = snprintf(shared->complaint, sizeof(shared->complaint), "line %d: ", line);

	va_start(arguments, format);
	vsnprintf(shared->complaint + length, sizeof(shared->complaint) - (size_t) length, format, arguments);
	va_end(arguments);
	_exit(1);
}

static bool is_answer(int rc)
{
	return rc == -EIO || rc == -ENOSPC || rc == -ENOMEM;
}

/* Compares; a call may fail only while a fault is being injected. */
static void check_model(struct rfs_datastore *ds, bool may_fail)
{
	struct rfs_value got;
	char key[16];

	for (int i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key%02d", i);
		int rc = rfs_datastore_get(ds, key, &got);
		if (may_fail && is_answer(rc))
			continue;
		if (shared->model[i][0]) {
			REQUIRE(rc == 0, "get %s: %d %s", key, rc, rfs_datastore_explain(ds));
			REQUIRE(strcmp(got.data, shared->model[i]) == 0, "%s is %.40s, not %.40s", key, got.data,
				shared->model[i]);
		} else {
			REQUIRE(rc == -ENOENT, "get %s: %d, there should be none", key, rc);
		}
	}
}

struct scan_check {
	int next;
	bool wrong;
};

static int check_record(void *user, const char *key, const char *value)
{
	struct scan_check *check = user;
	char expected[16];

	while (check->next < KEYS && !shared->model[check->next][0])
		check->next++;
	snprintf(expected, sizeof(expected), "key%02d", check->next);
	if (check->next == KEYS || !value || strcmp(key, expected) || strcmp(value, shared->model[check->next])) {
		check->wrong = true;
		return 1;
	}
	check->next++;
	return 0;
}

static void check_scan(struct rfs_datastore *ds, bool may_fail)
{
	struct scan_check check = { 0 };
	int rc = rfs_datastore_scan(ds, "key", "", check_record, &check);

	REQUIRE(!check.wrong, "a scan is wrong at record %d", check.next);
	REQUIRE(rc == 0 || (may_fail && is_answer(rc)), "scan: %d %s", rc, rfs_datastore_explain(ds));
}

/* One transaction over `count` records from `first` on; every third is deleted. */
static int change(struct rfs_datastore *ds, int first, int count, int number)
{
	static char draft[KEYS][VALUE_BYTES + 1];
	char key[16];
	int rc = rfs_datastore_begin(ds);

	if (rc)
		return rc;
	memcpy(draft, shared->model, sizeof(draft));
	for (int i = 0; i < count && !rc; i++) {
		int slot = (first + i) % KEYS;
		snprintf(key, sizeof(key), "key%02d", slot);
		if ((number + i) % 3 == 0) {
			draft[slot][0] = 0;
			rc = rfs_datastore_txn_delete(ds, key);
		} else {
			memset(draft[slot], '.', VALUE_BYTES);
			draft[slot][snprintf(draft[slot], VALUE_BYTES, "value %d of %d", i, number)] = '.';
			rc = rfs_datastore_txn_put(ds, key, draft[slot]);
		}
	}
	if (rc) {
		rfs_datastore_rollback(ds);
		return rc;
	}
	rc = rfs_datastore_commit(ds);
	if (!rc)
		memcpy(shared->model, draft, sizeof(draft));
	return rc;
}

enum ending { CRASH_AT_ONCE, CRASH, CLOSE };

static void run_history(struct rfs_datastore *ds, enum ending ending)
{
	for (int i = 0; i < 6; i++) {
		int rc = change(ds, i * 5, i % 2 ? 1 : 4, i);
		if (rc && ending == CRASH_AT_ONCE) {
			shared->was_hit = true;
			_exit(0);
		}
		REQUIRE(rc == 0 || is_answer(rc), "change %d: %d", i, rc);
		REQUIRE(rc == 0 || rfs_datastore_explain(ds)[0], "change %d: %d is not explained", i, rc);
		rfs_datastore_tidy(ds);
		check_model(ds, true);
		check_scan(ds, true);
	}
}

static _Noreturn void child(const struct fault_vfs_plan *plan, enum ending ending)
{
	struct rfs_datastore *ds;

	REQUIRE(try_open(&ds) == 0, "%s", store_message);
	fault_vfs_arm(plan);
	run_history(ds, ending);
	shared->was_hit = fault_vfs_failures() > 0;
	fault_vfs_arm(NULL);
	check_model(ds, false);
	check_scan(ds, false);
	int rc = change(ds, 3, 5, 99);
	REQUIRE(rc == 0, "after the fault: %d %s", rc, rfs_datastore_explain(ds));
	check_model(ds, false);
	if (ending == CLOSE)
		rfs_datastore_close(ds);
	_exit(0);
}

static void run_child(void (*body)(const struct fault_vfs_plan *, enum ending),
		      const struct fault_vfs_plan *plan, enum ending ending)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		body(plan, ending);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("call %d, %s, status %d: %s", (int) plan->nth, plan->persistent ? "and all after" : "alone",
			 status, shared->complaint);
}

static _Noreturn void compare(const struct fault_vfs_plan *plan, enum ending ending)
{
	struct rfs_datastore *ds;

	(void) plan;
	(void) ending;
	REQUIRE(try_open(&ds) == 0, "%s", store_message);
	check_model(ds, false);
	check_scan(ds, false);
	rfs_datastore_close(ds);
	_exit(0);
}

/* Every call of the history that `plan` counts, one after the other. */
static void sweep(struct fault_vfs_plan plan, uint64_t stride)
{
	int hits = 0;

	for (int persistent = 0; persistent < 2; persistent++) {
		/* Where the fault lasts, nothing could be made void in time for a crash at once. */
		for (int ending = persistent ? CRASH : CRASH_AT_ONCE; ending <= CLOSE; ending++) {
			plan.persistent = persistent;
			shared->was_hit = true;
			for (plan.nth = 1 + (uint64_t) ending % stride; shared->was_hit; plan.nth += stride) {
				run_child(child, &plan, ending);
				hits += shared->was_hit;
				run_child(compare, &plan, CLOSE);
			}
		}
	}
	assert_true(hits > 0);
}

static void any_write_may_fail(void **state)
{
	(void) state;
	sweep((struct fault_vfs_plan) { .calls = FAULT_VFS_WRITE, .files = FAULT_VFS_EVERY_FILE }, 1);
}

static void any_write_may_fail_halfway(void **state)
{
	(void) state;
	sweep((struct fault_vfs_plan) {
		.calls = FAULT_VFS_WRITE, .files = FAULT_VFS_EVERY_FILE, .eighths_written = 4 }, 1);
}

static void any_write_may_be_done_and_fail(void **state)
{
	(void) state;
	sweep((struct fault_vfs_plan) {
		.calls = FAULT_VFS_WRITE, .files = FAULT_VFS_EVERY_FILE, .eighths_written = 8, .is_full = true }, 1);
}

static void any_sync_may_fail(void **state)
{
	(void) state;
	sweep((struct fault_vfs_plan) { .calls = FAULT_VFS_SYNC, .files = FAULT_VFS_EVERY_FILE }, 1);
}

static void any_call_may_fail(void **state)
{
	(void) state;
	sweep((struct fault_vfs_plan) { .calls = FAULT_VFS_ALL, .files = FAULT_VFS_EVERY_FILE }, 1);
}

static void any_allocation_may_fail(void **state)
{
	(void) state;
	sweep((struct fault_vfs_plan) { .calls = FAULT_VFS_ALLOCATE, .files = FAULT_VFS_EVERY_FILE }, 3);
}

/* Opening and closing */

/* Each call of opening an existing store fails once; then it opens, and all is there. */
static void opening_may_fail_anywhere(void **state)
{
	struct rfs_datastore *ds = store_open(path);
	struct fault_vfs_plan plan = { .calls = FAULT_VFS_ALL, .files = FAULT_VFS_EVERY_FILE, .nth = 1 };
	int refusals = 0;

	(void) state;
	store_put(ds, "a", "1");
	rfs_datastore_close(ds);
	for (;; plan.nth++) {
		fault_vfs_arm(&plan);
		int rc = try_open(&ds);
		bool was_hit = fault_vfs_failures() > 0;
		fault_vfs_arm(NULL);
		if (rc) {
			assert_true(was_hit);
			assert_true(rc == -EIO || rc == -ENOSPC);
			assert_non_null(strstr(store_message, path));
			refusals++;
			assert_int_equal(try_open(&ds), 0);
		}
		store_expect(ds, "a", "1");
		rfs_datastore_close(ds);
		if (!was_hit)
			break;
	}
	assert_true(refusals > 3);
}

/* Each call of creating a store fails once: there is none then, or a whole one. */
static void creating_may_fail_anywhere(void **state)
{
	struct fault_vfs_plan plan = { .calls = FAULT_VFS_ALL & ~FAULT_VFS_READ, .files = FAULT_VFS_EVERY_FILE, .nth = 1 };
	struct rfs_datastore *ds;
	char wal[280];
	bool was_hit = true;

	(void) state;
	snprintf(wal, sizeof(wal), "%s-wal", path);
	for (; was_hit; plan.nth++) {
		fault_vfs_arm(&plan);
		int rc = try_open(&ds);
		was_hit = fault_vfs_failures() > 0;
		fault_vfs_arm(NULL);
		if (rc) {
			assert_true(was_hit);
			assert_int_equal(try_open(&ds), 0);
		}
		store_put(ds, "a", "1");
		store_expect(ds, "a", "1");
		rfs_datastore_close(ds);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(unlink(wal), 0);
		/* Each of the hundreds of writes of the WAL's zeros is like the others. */
		if (plan.nth > 60)
			plan.nth += 16;
	}
	assert_true(plan.nth > 60);
}

static void closing_may_fail_anywhere(void **state)
{
	struct fault_vfs_plan plan = { .calls = FAULT_VFS_ALL, .files = FAULT_VFS_EVERY_FILE, .nth = 1 };
	bool was_hit = true;
	char value[32] = "";

	(void) state;
	for (; was_hit; plan.nth++) {
		struct rfs_datastore *ds = NULL;
		assert_int_equal(try_open(&ds), 0);
		if (value[0])
			store_expect(ds, "a", value);
		snprintf(value, sizeof(value), "%d", (int) plan.nth);
		store_put(ds, "a", value);
		fault_vfs_arm(&plan);
		rfs_datastore_close(ds);
		was_hit = fault_vfs_failures() > 0;
		fault_vfs_arm(NULL);
	}
	assert_true(plan.nth > 4);
}

/* A failed commit, step by step */

static void a_failed_sync_is_answered_and_undone(void **state)
{
	struct rfs_datastore *ds = NULL;

	(void) state;
	assert_int_equal(try_open(&ds), 0);
	store_put(ds, "a", "1");
	fault_vfs_arm(&(struct fault_vfs_plan) { .calls = FAULT_VFS_SYNC, .files = FAULT_VFS_WAL, .nth = 1 });
	assert_int_equal(rfs_datastore_put(ds, "a", "2"), -EIO);
	assert_non_null(strstr(rfs_datastore_explain(ds), "durable"));
	assert_true(fault_vfs_failures() == 1);
	store_expect(ds, "a", "1");
	store_put(ds, "b", "3");
	rfs_datastore_close(ds);
	ds = store_open(path);
	store_expect(ds, "a", "1");
	store_expect(ds, "b", "3");
	rfs_datastore_close(ds);
}

static void it_stays_down_as_long_as_the_fault_lasts(void **state)
{
	struct rfs_datastore *ds = NULL;

	(void) state;
	assert_int_equal(try_open(&ds), 0);
	store_put(ds, "a", "1");
	fault_vfs_arm(&(struct fault_vfs_plan) {
		.calls = FAULT_VFS_SYNC, .files = FAULT_VFS_WAL, .nth = 1, .persistent = true });
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rfs_datastore_put(ds, "a", "2"), -EIO);
		assert_true(rfs_datastore_explain(ds)[0] != 0);
		/* What was committed before can be read all the while. */
		store_expect(ds, "a", "1");
		rfs_datastore_tidy(ds);
	}
	fault_vfs_arm(NULL);
	store_expect(ds, "a", "1");
	store_put(ds, "a", "4");
	rfs_datastore_close(ds);
	ds = store_open(path);
	store_expect(ds, "a", "4");
	rfs_datastore_close(ds);
}

/* Readers, while commits fail and the connections are opened anew under them. */
struct reader {
	struct rfs_datastore *ds;
	atomic_bool stop;
	atomic_uint reads;
	atomic_uint wrong;
};

static void *read_for_ever(void *argument)
{
	struct reader *reader = argument;
	struct rfs_value got;

	while (!atomic_load(&reader->stop)) {
		int rc = rfs_datastore_get(reader->ds, "a", &got);
		if (rc == 0 ? strcmp(got.data, "kept") != 0 : rc != -EIO || !rfs_datastore_explain(reader->ds)[0])
			atomic_fetch_add(&reader->wrong, 1);
		atomic_fetch_add(&reader->reads, 1);
	}
	return NULL;
}

static void readers_never_see_a_refused_change(void **state)
{
	struct reader reader = { 0 };
	pthread_t threads[2];

	(void) state;
	assert_int_equal(try_open(&reader.ds), 0);
	store_put(reader.ds, "a", "kept");
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_for_ever, &reader), 0);
	for (int i = 0; i < 100 || atomic_load(&reader.reads) < 1000; i++) {
		fault_vfs_arm(&(struct fault_vfs_plan) {
			.calls = FAULT_VFS_SYNC | FAULT_VFS_WRITE, .files = FAULT_VFS_WAL, .nth = 1,
			.persistent = i % 2 });
		assert_int_equal(rfs_datastore_put(reader.ds, "a", "refused"), -EIO);
		fault_vfs_arm(NULL);
		store_put(reader.ds, "b", "after");
	}
	atomic_store(&reader.stop, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&reader.wrong), 0);
	rfs_datastore_close(reader.ds);
}

/* What the above is for: SQLite alone brings the refused change back after a crash. */
static void without_care_a_refused_change_comes_back(void **state)
{
	int status;

	(void) state;
	rfs_datastore_close(store_open(path));
	pid_t pid = fork();
	if (pid == 0) {
		sqlite3 *db;
		if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, fault_vfs_register()) ||
		    sqlite3_exec(db, "PRAGMA synchronous = FULL; INSERT INTO datastore VALUES ('a', '1', 0)", NULL,
				 NULL, NULL))
			_exit(2);
		fault_vfs_arm(&(struct fault_vfs_plan) { .calls = FAULT_VFS_SYNC, .files = FAULT_VFS_WAL, .nth = 1 });
		_exit(sqlite3_exec(db, "UPDATE datastore SET value = 'refused'", NULL, NULL, NULL) == SQLITE_IOERR ?
		      0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);

	sqlite3 *db;
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix-excl"), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT value FROM datastore", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal(sqlite3_column_text(statement, 0), "refused");
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

/* Checkpoints: enough changes for several of them, with calls on the main file failing. */
static _Noreturn void checkpoint_child(const struct fault_vfs_plan *plan, enum ending ending)
{
	static char value[VALUE_BYTES + 1];
	struct rfs_datastore *ds;
	char key[16];

	REQUIRE(try_open(&ds) == 0, "%s", store_message);
	memset(value, 'v', VALUE_BYTES);
	fault_vfs_arm(plan);
	for (int i = 0; i < 40; i++) {
		int rc = rfs_datastore_begin(ds);
		for (int j = 0; j < 100 && !rc; j++) {
			snprintf(key, sizeof(key), "bulk%04d", (i * 100 + j) % 1000);
			snprintf(value, sizeof(value), "%d", i);
			value[strlen(value)] = ' ';
			rc = rfs_datastore_txn_put(ds, key, value);
		}
		REQUIRE(rc == 0, "put: %d %s", rc, rfs_datastore_explain(ds));
		rc = rfs_datastore_commit(ds);
		REQUIRE(rc == 0, "commit: %d %s", rc, rfs_datastore_explain(ds));
		rfs_datastore_tidy(ds);
	}
	shared->was_hit = fault_vfs_failures() > 0;
	fault_vfs_arm(NULL);
	REQUIRE(change(ds, 0, KEYS, (int) plan->nth) == 0, "%s", rfs_datastore_explain(ds));
	if (ending == CLOSE)
		rfs_datastore_close(ds);
	_exit(0);
}

static void a_checkpoint_may_fail_anywhere(void **state)
{
	struct fault_vfs_plan plan = { .calls = FAULT_VFS_WRITE | FAULT_VFS_SYNC, .files = FAULT_VFS_MAIN, .nth = 1 };

	(void) state;
	shared->was_hit = true;
	/* Fails once at each of many places; a commit never fails for it. */
	for (; shared->was_hit; plan.nth += plan.nth < 4 ? 1 : 97) {
		run_child(checkpoint_child, &plan, plan.nth % 2 ? CRASH : CLOSE);
		run_child(compare, &plan, CLOSE);
	}
	assert_true(plan.nth > 200);
}

#define FAULT_TEST(body) cmocka_unit_test_setup_teardown(body, setup, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(a_failed_sync_is_answered_and_undone),
		FAULT_TEST(it_stays_down_as_long_as_the_fault_lasts),
		FAULT_TEST(readers_never_see_a_refused_change),
		FAULT_TEST(without_care_a_refused_change_comes_back),
		FAULT_TEST(any_write_may_fail),
		FAULT_TEST(any_write_may_fail_halfway),
		FAULT_TEST(any_write_may_be_done_and_fail),
		FAULT_TEST(any_sync_may_fail),
		FAULT_TEST(any_call_may_fail),
		FAULT_TEST(any_allocation_may_fail),
		FAULT_TEST(opening_may_fail_anywhere),
		FAULT_TEST(creating_may_fail_anywhere),
		FAULT_TEST(closing_may_fail_anywhere),
		FAULT_TEST(a_checkpoint_may_fail_anywhere),
	};

	return cmocka_run_group_tests_name("sqlite faults", tests, make_shared, NULL);
}
