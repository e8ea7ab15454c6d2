/* SPDX-License-Identifier: MIT */
/* test_sqlite_room.c: the SQLite back end on small file systems of its own, filled by others to the last byte. */
#include "../unit/check.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "sqlite_store.h"
#include "small_disk.h"

#define KEYS 1000

static const struct file_system ext4 = { "ext4", NULL, 64 * MIB };
static const struct file_system xfs = { "xfs", NULL, 320 * MIB };
static const struct file_system btrfs = { "btrfs", NULL, 256 * MIB };

static int setup_ext4(void **state)
{
	return small_disk_make(&ext4, state);
}

static int setup_xfs(void **state)
{
	return small_disk_make(&xfs, state);
}

static int setup_btrfs(void **state)
{
	return small_disk_make(&btrfs, state);
}

static void key_of(int i, char *ret_key, size_t size)
{
	snprintf(ret_key, size, "c/contract-%05d", (i * 617) % 100000);
}

static int put_number(struct rfs_datastore *ds, int i, int number)
{
	char key[64], value[128];

	key_of(i, key, sizeof(key));
	snprintf(value, sizeof(value), "v1 size=%010d id=%d mtime=1700000000.123456789", number, i);
	int rc = rfs_datastore_put(ds, key, value);
	rfs_datastore_tidy(ds);
	return rc;
}

static void expect_number(struct rfs_datastore *ds, int i, int number)
{
	char key[64], value[128];

	key_of(i, key, sizeof(key));
	snprintf(value, sizeof(value), "v1 size=%010d id=%d mtime=1700000000.123456789", number, i);
	store_expect(ds, key, number < 0 ? NULL : value);
}

static void recording_leaves_the_free_space_alone(void **state)
{
	need_mount(state);
	struct rfs_datastore *ds = store_open(path);
	sync_disk();
	struct statvfs before = free_space();
	for (int i = 0; i < KEYS; i++) {
		assert_int_equal(put_number(ds, i, i), 0);
		struct statvfs now = free_space();
		assert_int_equal(now.f_bfree, before.f_bfree);
		assert_int_equal(now.f_bavail, before.f_bavail);
	}
	sync_disk();
	assert_int_equal(free_space().f_bfree, before.f_bfree);
	rfs_datastore_close(ds);
	/* Nor does closing, or opening again, give or take. */
	assert_int_equal(free_space().f_bfree, before.f_bfree);
	ds = store_open(path);
	assert_int_equal(free_space().f_bfree, before.f_bfree);
	rfs_datastore_close(ds);
}

static void room_is_taken_in_large_steps(void **state)
{
	need_mount(state);
	struct rfs_datastore *ds = store_open(path);
	struct statvfs last = free_space();
	int steps = 0;
	char key[64], value[901];

	memset(value, 'x', 900);
	value[900] = 0;
	for (int i = 0; i < 6 * MIB / 900; i++) {
		snprintf(key, sizeof(key), "bulk%06d", i);
		store_put(ds, key, value);
		rfs_datastore_tidy(ds);
		struct statvfs now = free_space();
		if (now.f_bfree != last.f_bfree) {
			/* A block more or less is the file system's own. */
			assert_true((last.f_bfree - now.f_bfree) * now.f_frsize >= MIB - 65536);
			steps++;
		}
		last = now;
	}
	assert_in_range(steps, 2, 8);
	rfs_datastore_close(ds);
}

/* What must work with nothing left: reading, changing, deleting, opening. */
static void use_full_disk(struct rfs_datastore *ds)
{
	char key[64];

	for (int i = 0; i < KEYS; i++) {
		expect_number(ds, i, i);
		if (i % 2 == 0) {
			assert_int_equal(put_number(ds, i, i + 1), 0);
			continue;
		}
		key_of(i, key, sizeof(key));
		assert_int_equal(rfs_datastore_begin(ds), 0);
		assert_int_equal(rfs_datastore_txn_delete(ds, key), 0);
		assert_int_equal(rfs_datastore_commit(ds), 0);
		rfs_datastore_tidy(ds);
	}
}

static void expect_used(struct rfs_datastore *ds)
{
	for (int i = 0; i < KEYS; i++)
		expect_number(ds, i, i % 2 ? -1 : i + 1);
}

static void a_full_disk_can_be_lived_on(void **state)
{
	need_mount(state);
	struct rfs_datastore *ds = store_open(path);
	for (int i = 0; i < KEYS; i++)
		assert_int_equal(put_number(ds, i, i), 0);
	fill_disk();
	use_full_disk(ds);
	expect_used(ds);
	rfs_datastore_close(ds);
	ds = store_open(path);
	expect_used(ds);
	rfs_datastore_close(ds);
	store_check_integrity(path);
}

/* The same, opened only when the disk is full, and never closed. */
static void a_crash_on_a_full_disk_loses_nothing(void **state)
{
	int status;

	need_mount(state);
	struct rfs_datastore *ds = store_open(path);
	for (int i = 0; i < KEYS; i++)
		assert_int_equal(put_number(ds, i, i), 0);
	rfs_datastore_close(ds);
	fill_disk();
	pid_t pid = fork();
	if (pid == 0) {
		if (store_try(path, true, &ds))
			_exit(1);
		for (int i = 0; i < KEYS; i++)
			if (put_number(ds, i, i + 7))
				_exit(2);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	ds = store_open(path);
	for (int i = 0; i < KEYS; i++)
		expect_number(ds, i, i + 7);
	rfs_datastore_close(ds);
}

/* New records end with -ENOSPC, when the room is used up; nothing is lost by it, and it goes on. */
static void growth_ends_where_the_room_does(void **state)
{
	char key[64], value[901];
	int rc = 0, count = 0;

	need_mount(state);
	struct rfs_datastore *ds = store_open(path);
	fill_disk();
	memset(value, 'x', 900);
	value[900] = 0;
	for (; rc == 0; count++) {
		snprintf(key, sizeof(key), "bulk%06d", count);
		rc = rfs_datastore_put(ds, key, value);
		rfs_datastore_tidy(ds);
		assert_true(count < 200000);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(count * 900 > MIB / 2);
	store_expect(ds, key, NULL);
	store_expect(ds, "bulk000000", value);

	value[0] = 'y';
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "bulk%06d", i);
		store_put(ds, key, value);
		rfs_datastore_tidy(ds);
	}
	assert_int_equal(unlink(filler), 0);
	sync_disk();
	rfs_datastore_tidy(ds);
	store_put(ds, "there is room again", value);
	rfs_datastore_close(ds);
	ds = store_open(path);
	store_expect(ds, "bulk000099", value);
	store_expect(ds, "there is room again", value);
	rfs_datastore_close(ds);
	store_check_integrity(path);
}

static void without_room_it_is_not_opened(void **state)
{
	char wal[310], spare[310];

	need_mount(state);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	snprintf(spare, sizeof(spare), "%s-spare", path);
	rfs_datastore_close(store_open(path));
	assert_int_equal(unlink(wal), 0);
	assert_int_equal(unlink(spare), 0);
	fill_disk();
	store_expect_refusal(path, -ENOSPC, "no space left");
	assert_int_equal(unlink(filler), 0);
	rfs_datastore_close(store_open(path));
}

static void without_space_it_is_not_created(void **state)
{
	char draft[310];
	struct rfs_datastore *ds;

	need_mount(state);
	fill_disk();
	assert_int_equal(store_try(path, false, &ds), -ENOSPC);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(draft, sizeof(draft), "%s.new", path);
	assert_int_equal(access(draft, F_OK), -1);
}

#define ROOM_TEST(body, fs) {#fs ": " #body, body, setup_##fs, scratch_remove, NULL}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROOM_TEST(recording_leaves_the_free_space_alone, ext4),
		ROOM_TEST(room_is_taken_in_large_steps, ext4),
		ROOM_TEST(a_full_disk_can_be_lived_on, ext4),
		ROOM_TEST(a_crash_on_a_full_disk_loses_nothing, ext4),
		ROOM_TEST(growth_ends_where_the_room_does, ext4),
		ROOM_TEST(without_room_it_is_not_opened, ext4),
		ROOM_TEST(without_space_it_is_not_created, ext4),
		ROOM_TEST(a_full_disk_can_be_lived_on, xfs),
		ROOM_TEST(a_crash_on_a_full_disk_loses_nothing, xfs),
		ROOM_TEST(growth_ends_where_the_room_does, xfs),
		ROOM_TEST(a_full_disk_can_be_lived_on, btrfs),
		ROOM_TEST(a_crash_on_a_full_disk_loses_nothing, btrfs),
	};

	return cmocka_run_group_tests_name("sqlite room", tests, NULL, NULL);
}
