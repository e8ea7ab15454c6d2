/* SPDX-License-Identifier: MIT */
/*
 * test_sqlite_upkeep.c: what happens to the files while nobody looks: they are copied, shared, dug, truncated, moved; and a disk
 * that others fill to the last byte afterwards. What was set aside is set aside again, and everything but growth works.
 */
#include "../unit/check.h"

#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "sqlite_store.h"
#include "small_disk.h"

#define KEYS 1000
#define VALUE_FORMAT "id=%d size=%010d changed=1700000000.123456789"
#define ROUND_MS 60000
#define STEPS_MOST 100000

static const struct file_system ext4 = { "ext4", NULL, 64 * MIB };
static const struct file_system ext4_4k = { "ext4", NULL, 600 * (long long) MIB };
static const struct file_system xfs = { "xfs", NULL, 320 * MIB };
static const struct file_system btrfs = { "btrfs", NULL, 256 * MIB };
static const struct file_system btrfs_zstd = { "btrfs", "compress-force=zstd", 256 * MIB };

static char wal[400], spare[400], copy_directory[310], copy_path[400];

/* What was told. */
static char told[4096];
static int troubles;

/* The clock, which is set forward rather than waited for. */
static _Atomic long long ahead_ms;

int clock_gettime(clockid_t id, struct timespec *ret_now)
{
	long rc = syscall(SYS_clock_gettime, id, ret_now);
	if (rc == 0 && id == CLOCK_MONOTONIC) {
		long long ms = ahead_ms + ret_now->tv_nsec / 1000000;
		ret_now->tv_sec += ms / 1000;
		ret_now->tv_nsec = ms % 1000 * 1000000 + ret_now->tv_nsec % 1000000;
	}
	return (int) rc;
}

static int setup(const struct file_system *fs, void **state)
{
	int rc = small_disk_make(fs, state);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	snprintf(spare, sizeof(spare), "%s-spare", path);
	snprintf(copy_directory, sizeof(copy_directory), "%s/copy", directory);
	snprintf(copy_path, sizeof(copy_path), "%s/store.db", copy_directory);
	told[0] = 0;
	troubles = 0;
	return rc;
}

#define SETUP(fs) \
	static int setup_##fs(void **state) \
	{ \
		return setup(&fs, state); \
	}

SETUP(ext4)
SETUP(ext4_4k)
SETUP(xfs)
SETUP(btrfs)
SETUP(btrfs_zstd)

static void note(void *user, bool is_trouble, const char *line)
{
	(void) user;
	assert_null(strchr(line, '\n'));
	troubles += is_trouble;
	strncat(told, line, sizeof(told) - strlen(told) - 1);
	strncat(told, "\n", sizeof(told) - strlen(told) - 1);
}

static int try_open(const char *name, struct rfs_datastore **ret_ds)
{
	struct rfs_sqlite_options options = { .path = name, .notice = note };
	return rfs_datastore_open_sqlite(&options, store_message, sizeof(store_message), ret_ds);
}

static struct rfs_datastore *open_it(const char *name)
{
	struct rfs_datastore *ds = NULL;
	if (try_open(name, &ds))
		fail_msg("%s", store_message);
	return ds;
}

static void expect_told(const char *what)
{
	if (!strstr(told, what))
		fail_msg("not told: %s; but: %s", what, told);
}

static void run_tool(const char *const *argv)
{
	if (scratch_run(argv) != 0)
		fail_msg("%s %s failed", argv[0], argv[1]);
}

#define TOOL(...) run_tool((const char *[]) { __VA_ARGS__, NULL })

/* Goes on until a whole round of looking has come to its end. */
static void look_around(struct rfs_datastore *ds)
{
	ahead_ms += 24 * 3600 * 1000LL; /* whatever it was that it waits for */
	for (int i = 0; i < STEPS_MOST; i++) {
		unsigned int after_ms = rfs_datastore_tidy(ds);
		if (after_ms >= ROUND_MS / 2)
			return;
		ahead_ms += after_ms;
	}
	fail_msg("no end");
}

/* Contents */

static void key_of(int i, char *ret_key, size_t size)
{
	/* Some are long, so that removing them can take a page. */
	snprintf(ret_key, size, "c/%05d%.*s", (i * 617) % 100000, i % 7 ? 20 : 250,
		 "-----------------------------------------------------------------------------------------------------"
		 "-----------------------------------------------------------------------------------------------------"
		 "----------------------------------------------------");
}

static int put_number(struct rfs_datastore *ds, int i, int number)
{
	char key[300], value[128];

	key_of(i, key, sizeof(key));
	snprintf(value, sizeof(value), VALUE_FORMAT, i, number);
	return rfs_datastore_put(ds, key, value);
}

static void expect_number(struct rfs_datastore *ds, int i, int number)
{
	char key[300], value[128];

	key_of(i, key, sizeof(key));
	snprintf(value, sizeof(value), VALUE_FORMAT, i, number);
	store_expect(ds, key, number < 0 ? NULL : value);
}

static void make_store(void)
{
	struct rfs_datastore *ds = open_it(path);

	for (int i = 0; i < KEYS; i++)
		assert_int_equal(put_number(ds, i, i), 0);
	rfs_datastore_close(ds);
	assert_string_equal(told, "");
}

/* Changes every record from `from` on, or removes it; a few in each transaction, so that there are many. */
static void change_all(struct rfs_datastore *ds, int from, int step, int add)
{
	char key[300], value[128];

	for (int i = from; i < KEYS;) {
		int rc = rfs_datastore_begin(ds);
		for (int count = 0; rc == 0 && i < KEYS && count < 8; i += step, count++) {
			key_of(i, key, sizeof(key));
			snprintf(value, sizeof(value), VALUE_FORMAT, i, i + add);
			rc = add ? rfs_datastore_txn_put(ds, key, value) : rfs_datastore_txn_delete(ds, key);
		}
		if (rc == 0)
			rc = rfs_datastore_commit(ds);
		if (rc)
			fail_msg("up to record %d: %s; told: %s", i, rfs_datastore_explain(ds), told);
		rfs_datastore_tidy(ds);
	}
}

/* Changes and removals, several times as many as the WAL has room for: so that the main file is written too. */
static void use(struct rfs_datastore *ds)
{
	for (int round = 1; round <= 4; round++)
		change_all(ds, 0, 1, round);
	change_all(ds, 1, 2, 0);
}

static void expect_used(struct rfs_datastore *ds)
{
	for (int i = 0; i < KEYS; i++)
		expect_number(ds, i, i % 2 ? -1 : i + 4);
}

/* On a full disk: opened, used, closed, opened again. */
static void live_on_full_disk(const char *name)
{
	struct rfs_datastore *ds = open_it(name);

	use(ds);
	expect_used(ds);
	rfs_datastore_close(ds);
	ds = open_it(name);
	expect_used(ds);
	rfs_datastore_close(ds);
	if (troubles)
		fail_msg("trouble: %s", told);
	store_check_integrity(name);
}

static void fill_and_live(const char *name)
{
	fill_disk();
	live_on_full_disk(name);
}

/* What is done to the files */

/* As the sqlite3 shell does it: whoever is the last to close the file checkpoints, truncates, and removes the WAL. */
static void read_with_sqlite(void)
{
	store_sql(path, "SELECT * FROM datastore");
	assert_int_equal(access(wal, F_OK), -1);
}

static void after_sqlite_by_hand(void **state)
{
	need_mount(state);
	make_store();
	read_with_sqlite();
	fill_and_live(path);
	expect_told("-wal file was missing; the spare has taken its place");
}

/* Once there is room, there is a spare again, for the next time. */
static void a_used_spare_is_made_anew(void **state)
{
	need_mount(state);
	make_store();
	for (int time = 0; time < 2; time++) {
		read_with_sqlite();
		fill_disk();
		struct rfs_datastore *ds = open_it(path);
		assert_int_equal(access(spare, F_OK), -1);
		look_around(ds);
		assert_int_equal(access(spare, F_OK), -1);
		assert_int_equal(unlink(filler), 0);
		sync_disk();
		look_around(ds);
		assert_int_equal(access(spare, F_OK), 0);
		rfs_datastore_close(ds);
	}
}

static void after_digging_holes(void **state)
{
	need_mount(state);
	make_store();
	TOOL("fallocate", "-d", path);
	TOOL("fallocate", "-d", wal);
	TOOL("fallocate", "-d", spare);
	fill_and_live(path);
}

/* Copied to where it is used from then on, its holes and all. */
static void move_by_copy(const char *how)
{
	assert_int_equal(mkdir(copy_directory, 0700), 0);
	TOOL("cp", "-a", how, path, wal, spare, copy_directory);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(wal), 0);
	assert_int_equal(unlink(spare), 0);
	snprintf(wal, sizeof(wal), "%s/store.db-wal", copy_directory);
	sync_disk();
}

static void after_a_move_without_zeros(void **state)
{
	need_mount(state);
	make_store();
	move_by_copy("--sparse=always");
	fill_and_live(copy_path);
}

static void after_a_move_by_reflink(void **state)
{
	need_mount(state);
	make_store();
	move_by_copy("--reflink=auto");
	fill_and_live(copy_path);
}

/* A backup on the same disk shares what the files hold. */
static void with_a_backup_by_reflink(void **state)
{
	need_mount(state);
	make_store();
	assert_int_equal(mkdir(copy_directory, 0700), 0);
	TOOL("cp", "-a", "--reflink=always", path, wal, spare, copy_directory);
	fill_and_live(path);
	expect_told("spare has taken its place");
	expect_told("of it were shared with a copy or a snapshot, and have been set aside anew");
}

static void on_a_copy_whose_original_stays(void **state)
{
	need_mount(state);
	make_store();
	assert_int_equal(mkdir(copy_directory, 0700), 0);
	TOOL("cp", "-a", "--reflink=always", path, wal, spare, copy_directory);
	rfs_datastore_close(open_it(copy_path));
	expect_told("of its -wal file were shared with a copy or a snapshot, and have been set aside anew");
	expect_told("of it were shared with a copy or a snapshot, and have been set aside anew");
	fill_and_live(copy_path);
}

/* The same with no room to set anything right: it is told, and nothing is lost or taken for good. */
static void on_a_shared_copy_without_room(void **state)
{
	struct rfs_datastore *ds = NULL;

	need_mount(state);
	make_store();
	assert_int_equal(mkdir(copy_directory, 0700), 0);
	TOOL("cp", "-a", "--reflink=always", path, wal, spare, copy_directory);
	fill_disk();
	assert_int_equal(try_open(copy_path, &ds), 0);
	expect_told("of its -wal file are shared with a copy or a snapshot, and could not be set aside anew: No space left");
	expect_told("free some space");
	assert_true(troubles > 0);
	int told_before = troubles;
	for (int i = 0; i < KEYS; i++)
		expect_number(ds, i, i);
	/* Each minute, but told once, and once a day. */
	for (int i = 0; i < 3; i++) {
		ahead_ms += ROUND_MS;
		while (rfs_datastore_tidy(ds) < ROUND_MS / 2)
			ahead_ms += 50;
	}
	assert_int_equal(troubles, told_before);
	look_around(ds);
	assert_true(troubles > told_before);
	/* And when there is room, it is set right without a restart. */
	assert_int_equal(unlink(filler), 0);
	sync_disk();
	told[0] = 0;
	look_around(ds);
	expect_told("set aside anew");
	troubles = 0;
	fill_disk();
	use(ds);
	expect_used(ds);
	rfs_datastore_close(ds);
	assert_int_equal(troubles, 0);
}

/* btrfs */

static void take_snapshot(void)
{
	char name[400];
	static int number;

	snprintf(name, sizeof(name), "%s/snapshot%d", directory, number++);
	sync_disk();
	TOOL("btrfs", "-q", "subvolume", "snapshot", directory, name);
}

static void after_a_snapshot(void **state)
{
	need_mount(state);
	make_store();
	take_snapshot();
	rfs_datastore_close(open_it(path));
	expect_told("shared with a copy or a snapshot, and have been set aside anew");
	fill_and_live(path);
}

static void after_a_snapshot_while_it_is_open(void **state)
{
	need_mount(state);
	make_store();
	struct rfs_datastore *ds = open_it(path);
	for (int time = 0; time < 2; time++) {
		put_number(ds, time, time);
		take_snapshot();
		told[0] = 0;
		look_around(ds);
		expect_told("of its -wal file were shared with a copy or a snapshot, and have been set aside anew");
		expect_told("of it were shared with a copy or a snapshot, and have been set aside anew");
	}
	fill_disk();
	use(ds);
	expect_used(ds);
	rfs_datastore_close(ds);
	live_on_full_disk(path);
}

static int flags_of(const char *name)
{
	int flags = 0, fd = open(name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	close(fd);
	return flags;
}

/* Files that were copied have lost the flag by which they are overwritten in place; where they are compressed besides, too. */
static void after_a_copy_without_flags(void **state)
{
	struct stat before, st;

	need_mount(state);
	make_store();
	move_by_copy("--reflink=never");
	assert_int_equal(chown(copy_path, 1234, 2345), 0);
	assert_int_equal(chmod(copy_path, 0640), 0);
	assert_int_equal(stat(copy_path, &before), 0);
	assert_int_equal(flags_of(copy_path) & FS_NOCOW_FL, 0);
	rfs_datastore_close(open_it(copy_path));
	expect_told("store.db: was not overwritten in place by its file system; it has been written anew");
	expect_told("store.db: its -wal file was not overwritten in place");
	assert_int_equal(flags_of(copy_path) & FS_NOCOW_FL, FS_NOCOW_FL);
	assert_int_equal(flags_of(wal) & FS_NOCOW_FL, FS_NOCOW_FL);
	assert_int_equal(stat(copy_path, &st), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 2345);
	assert_int_equal(st.st_mode, before.st_mode);
	assert_int_equal(st.st_size, before.st_size);
	fill_and_live(copy_path);
}

/* What a crash has left in the WAL comes along. */
static void a_copy_after_a_crash_is_written_anew_whole(void **state)
{
	int status;

	need_mount(state);
	make_store();
	pid_t pid = fork();
	if (pid == 0) {
		struct rfs_datastore *ds = open_it(path);
		for (int i = 0; i < KEYS; i++)
			if (put_number(ds, i, i + 1))
				_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	move_by_copy("--reflink=never");
	struct rfs_datastore *ds = open_it(copy_path);
	for (int i = 0; i < KEYS; i++)
		expect_number(ds, i, i + 1);
	rfs_datastore_close(ds);
	assert_int_equal(flags_of(copy_path) & FS_NOCOW_FL, FS_NOCOW_FL);
	store_check_integrity(copy_path);
}

static void in_a_compressed_directory(void **state)
{
	need_mount(state);
	TOOL("chattr", "+c", directory);
	make_store();
	assert_int_equal(flags_of(path) & FS_NOCOW_FL, FS_NOCOW_FL);
	assert_int_equal(flags_of(wal) & FS_NOCOW_FL, FS_NOCOW_FL);
	fill_and_live(path);
}

static void after_defragmentation(void **state)
{
	need_mount(state);
	make_store();
	TOOL("btrfs", "filesystem", "defragment", "-czstd", path, wal);
	fill_and_live(path);
}

/* Without room for another file it goes on with the one there is, and says so. */
static void a_copy_that_cannot_be_written_anew(void **state)
{
	struct rfs_datastore *ds = NULL;
	char draft[500];

	need_mount(state);
	make_store();
	move_by_copy("--reflink=never");
	fill_disk();
	(void) try_open(copy_path, &ds);
	rfs_datastore_close(ds);
	expect_told("cannot be written anew so that it is: No space left on device");
	snprintf(draft, sizeof(draft), "%s.new", copy_path);
	assert_int_equal(access(draft, F_OK), -1);
	assert_int_equal(unlink(filler), 0);
	sync_disk();
	told[0] = 0;
	ds = open_it(copy_path);
	expect_told("it has been written anew");
	for (int i = 0; i < KEYS; i++)
		expect_number(ds, i, i);
	rfs_datastore_close(ds);
}

/* Tools that look for equal blocks find them in the files of a Datastore and its copies. */
static void after_deduplication(void **state)
{
	union {
		struct file_dedupe_range head;
		char room[sizeof(struct file_dedupe_range) + sizeof(struct file_dedupe_range_info)];
	} range = { .head = { .src_length = 64 << 10, .dest_count = 1 } };
	struct file_dedupe_range_info *info = &range.head.info[0];
	char copy[400];

	need_mount(state);
	make_store();
	struct rfs_datastore *ds = open_it(path);
	snprintf(copy, sizeof(copy), "%s/copied", directory);
	TOOL("cp", "--reflink=never", wal, copy);
	sync_disk();
	int from = open(copy, O_RDONLY | O_CLOEXEC), to = open(wal, O_RDWR | O_CLOEXEC);
	assert_true(from >= 0 && to >= 0);
	range.head.src_offset = 2 * MIB;
	*info = (struct file_dedupe_range_info) { .dest_fd = to, .dest_offset = 2 * MIB };
	assert_int_equal(ioctl(from, FIDEDUPERANGE, &range), 0);
	assert_int_equal(info->status, FILE_DEDUPE_RANGE_SAME);
	close(from);
	close(to);
	look_around(ds);
	expect_told("65536 bytes of its -wal file were shared with a copy or a snapshot, and have been set aside anew");
	rfs_datastore_close(ds);
	fill_and_live(path);
}

/* What nobody did anything to is left alone, and nothing is told. */
static void nothing_is_found_where_nothing_was_done(void **state)
{
	struct stat before, st;

	need_mount(state);
	make_store();
	struct rfs_datastore *ds = open_it(path);
	look_around(ds);
	assert_int_equal(stat(path, &before), 0);
	struct statvfs free_before = free_space();
	look_around(ds);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
	assert_int_equal(free_space().f_bfree, free_before.f_bfree);
	rfs_datastore_close(ds);
	fill_and_live(path);
	assert_string_equal(told, "");
}

/* A file of the spare's name that holds something is somebody's. */
static void a_strangers_file_is_left_alone(void **state)
{
	struct stat st;

	need_mount(state);
	int fd = open(spare, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "mine", 4), 4);
	close(fd);
	make_store();
	assert_int_equal(unlink(wal), 0);
	rfs_datastore_close(open_it(path));
	assert_int_equal(stat(spare, &st), 0);
	assert_int_equal(st.st_size, 4);
}

#define UPKEEP_TEST(body, fs) {#fs ": " #body, body, setup_##fs, scratch_remove, NULL}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UPKEEP_TEST(nothing_is_found_where_nothing_was_done, ext4),
		UPKEEP_TEST(nothing_is_found_where_nothing_was_done, xfs),
		UPKEEP_TEST(nothing_is_found_where_nothing_was_done, btrfs),
		UPKEEP_TEST(after_sqlite_by_hand, ext4),
		UPKEEP_TEST(after_sqlite_by_hand, xfs),
		UPKEEP_TEST(after_sqlite_by_hand, btrfs),
		UPKEEP_TEST(a_used_spare_is_made_anew, ext4),
		UPKEEP_TEST(a_used_spare_is_made_anew, btrfs),
		UPKEEP_TEST(a_strangers_file_is_left_alone, ext4),
		UPKEEP_TEST(after_digging_holes, ext4),
		UPKEEP_TEST(after_digging_holes, ext4_4k),
		UPKEEP_TEST(after_digging_holes, xfs),
		UPKEEP_TEST(after_digging_holes, btrfs),
		UPKEEP_TEST(after_a_move_without_zeros, ext4_4k),
		UPKEEP_TEST(after_a_move_without_zeros, xfs),
		UPKEEP_TEST(after_a_move_by_reflink, xfs),
		UPKEEP_TEST(with_a_backup_by_reflink, xfs),
		UPKEEP_TEST(on_a_copy_whose_original_stays, xfs),
		UPKEEP_TEST(on_a_shared_copy_without_room, xfs),
		UPKEEP_TEST(after_deduplication, xfs),
		UPKEEP_TEST(after_a_snapshot, btrfs),
		UPKEEP_TEST(after_a_snapshot_while_it_is_open, btrfs),
		UPKEEP_TEST(after_a_copy_without_flags, btrfs),
		UPKEEP_TEST(after_a_copy_without_flags, btrfs_zstd),
		UPKEEP_TEST(a_copy_after_a_crash_is_written_anew_whole, btrfs_zstd),
		UPKEEP_TEST(a_copy_that_cannot_be_written_anew, btrfs),
		UPKEEP_TEST(in_a_compressed_directory, btrfs),
		UPKEEP_TEST(after_defragmentation, btrfs_zstd),
	};

	return cmocka_run_group_tests_name("sqlite upkeep", tests, NULL, NULL);
}
