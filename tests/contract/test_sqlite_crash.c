/* SPDX-License-Identifier: MIT */
/* test_sqlite_crash.c: what was acknowledged outlives the process, however it ends; and the WAL keeps within its room. */
#include "../unit/check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"
#include "sqlite_store.h"

#define KILLS 40
#define KEYS 500
#define VALUE_BYTES 900 /* large, so that there are many checkpoints */
#define DEADLINE_S 60

static char path[256];
static _Atomic uint64_t *acknowledged; /* shared with the child: the number of its last commit that returned */

static int setup(void **state)
{
	if (scratch_make(state))
		return -1;
	scratch_path("store.db", path, sizeof(path));
	atomic_store(acknowledged, 0);
	return 0;
}

static int make_shared(void **state)
{
	(void) state;
	acknowledged = mmap(NULL, sizeof(*acknowledged), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return acknowledged == MAP_FAILED ? -1 : 0;
}

/* Each commit puts its number under two keys: "last", and one of KEYS that it is the turn of. */
static int commit_number(struct rfs_datastore *ds, uint64_t number)
{
	char key[32], value[VALUE_BYTES + 1];

	memset(value, ' ', VALUE_BYTES);
	value[VALUE_BYTES] = 0;
	value[snprintf(value, sizeof(value), "%llu", (unsigned long long) number)] = ' ';
	snprintf(key, sizeof(key), "turn%03d", (int) (number % KEYS));
	int rc = rfs_datastore_begin(ds);
	if (!rc)
		rc = rfs_datastore_txn_put(ds, "last", value);
	if (!rc)
		rc = rfs_datastore_txn_put(ds, key, value);
	return rc ? rc : rfs_datastore_commit(ds);
}

static _Noreturn void commit_for_ever(void)
{
	struct rfs_datastore *ds;

	if (store_try(path, true, &ds))
		_exit(1);
	for (uint64_t number = atomic_load(acknowledged) + 1;; number++) {
		if (commit_number(ds, number))
			_exit(2);
		atomic_store(acknowledged, number);
		rfs_datastore_tidy(ds);
	}
}

static uint64_t number_at(struct rfs_datastore *ds, const char *key)
{
	struct rfs_value got;
	int rc = rfs_datastore_get(ds, key, &got);

	if (rc && rc != -ENOENT)
		fail_msg("%s", rfs_datastore_explain(ds));
	return rc ? 0 : strtoull(got.data, NULL, 10);
}

/* Whole commits only, in order, and none of the acknowledged missing. Returns the last. */
static uint64_t check_numbers(struct rfs_datastore *ds)
{
	uint64_t last = number_at(ds, "last");
	char key[32];

	assert_in_range(last, atomic_load(acknowledged), atomic_load(acknowledged) + 1);
	for (uint64_t turn = 0; turn < KEYS; turn++) {
		uint64_t expected = last < turn ? 0 : last - (last - turn) % KEYS;
		snprintf(key, sizeof(key), "turn%03d", (int) turn);
		assert_int_equal(number_at(ds, key), expected);
	}
	return last;
}

static void wait_for_commits(pid_t child, uint64_t count)
{
	time_t deadline = time(NULL) + DEADLINE_S;
	int status;

	while (atomic_load(acknowledged) < count) {
		if (waitpid(child, &status, WNOHANG) != 0)
			fail_msg("the child ended by itself, with status %d", status);
		if (time(NULL) > deadline)
			fail_msg("the child commits nothing");
		sched_yield();
	}
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
	unsigned int seed = 1;
	int status;

	(void) state;
	rfs_datastore_close(store_open(path));
	for (int round = 0; round < KILLS; round++) {
		uint64_t before = atomic_load(acknowledged);
		pid_t child = fork();
		if (child == 0)
			commit_for_ever();
		assert_true(child > 0);
		wait_for_commits(child, before + 1 + (uint64_t) rand_r(&seed) % 400);
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		struct rfs_datastore *ds = store_open(path);
		atomic_store(acknowledged, check_numbers(ds));
		rfs_datastore_close(ds);
	}
	store_check_integrity(path);
}

/* A child that creates the store is killed at any moment: there is none then, or a whole one. */
static void a_killed_creation_leaves_nothing_or_a_store(void **state)
{
	char wal[280];
	int status, none = 0, whole = 0;

	(void) state;
	snprintf(wal, sizeof(wal), "%s-wal", path);
	for (int delay_us = 0; delay_us < 6000; delay_us += 100) {
		pid_t child = fork();
		if (child == 0) {
			struct rfs_datastore *mine;
			_exit(store_try(path, false, &mine) ? 1 : 0);
		}
		assert_true(child > 0);
		struct timespec begin, now;
		clock_gettime(CLOCK_MONOTONIC, &begin);
		do
			clock_gettime(CLOCK_MONOTONIC, &now);
		while ((now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000 < delay_us);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (access(path, F_OK))
			none++;
		else
			whole++;
		struct rfs_datastore *ds = store_open(path);
		store_put(ds, "a", "1");
		rfs_datastore_close(ds);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(unlink(wal), 0);
	}
	assert_true(none > 0);
	assert_true(whole + none == 60);
}

/* The WAL's room */

struct scanner {
	struct rfs_datastore *ds;
	atomic_bool stop;
	atomic_uint scans;
};

static int look_at_record(void *user, const char *key, const char *value)
{
	(void) user;
	return strlen(key) && value ? 0 : -EBADMSG;
}

static void *scan_for_ever(void *argument)
{
	struct scanner *scanner = argument;

	while (!atomic_load(&scanner->stop)) {
		if (rfs_datastore_scan(scanner->ds, "", "", look_at_record, NULL))
			break;
		atomic_fetch_add(&scanner->scans, 1);
	}
	return NULL;
}

static off_t wal_bytes(void)
{
	char wal[280];
	struct stat st;

	snprintf(wal, sizeof(wal), "%s-wal", path);
	return stat(wal, &st) ? -1 : st.st_size;
}

static void commit_many(struct rfs_datastore *ds, const struct scanner *scanner)
{
	off_t room = wal_bytes();

	assert_true(room >= 4 << 20);
	for (uint64_t number = 1; number <= 6000 || atomic_load(&scanner->scans) < 20; number++) {
		assert_int_equal(commit_number(ds, number), 0);
		rfs_datastore_tidy(ds);
		assert_int_equal(wal_bytes(), room);
	}
}

static void the_wal_keeps_within_its_room_under_load(void **state)
{
	struct scanner scanner = { .ds = store_open(path) };
	pthread_t threads[2];

	(void) state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, scan_for_ever, &scanner), 0);
	commit_many(scanner.ds, &scanner);
	atomic_store(&scanner.stop, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	rfs_datastore_close(scanner.ds);
}

/* Who never tidies is tidied for. */
static void the_wal_keeps_within_its_room_without_tidy(void **state)
{
	struct rfs_datastore *ds = store_open(path);
	off_t room = wal_bytes();

	(void) state;
	for (uint64_t number = 1; number <= 2000; number++) {
		assert_int_equal(commit_number(ds, number), 0);
		assert_int_equal(wal_bytes(), room);
	}
	rfs_datastore_close(ds);
}

#define CRASH_TEST(body) cmocka_unit_test_setup_teardown(body, setup, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CRASH_TEST(what_was_acknowledged_survives_a_kill),
		CRASH_TEST(a_killed_creation_leaves_nothing_or_a_store),
		CRASH_TEST(the_wal_keeps_within_its_room_under_load),
		CRASH_TEST(the_wal_keeps_within_its_room_without_tidy),
	};

	return cmocka_run_group_tests_name("sqlite crash", tests, make_shared, NULL);
}
