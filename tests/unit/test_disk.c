/* SPDX-License-Identifier: MIT */
/*
 * test_disk.c: the arithmetic of the Repo `disk` for file systems that no machine here has. fstatvfs(3) is replaced
 * at link time (--wrap). Real file systems: tests/contract/test_repo.c.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <reservefs/repo.h>

static struct statvfs fake;
static int fake_errno;

int __wrap_fstatvfs(int fd, struct statvfs *ret_vfs);
int __wrap_fstatvfs64(int fd, struct statvfs *ret_vfs);

int __wrap_fstatvfs(int fd, struct statvfs *ret_vfs)
{
	(void) fd;
	if (fake_errno != 0) {
		errno = fake_errno;
		return -1;
	}
	*ret_vfs = fake;
	return 0;
}

/* The name that the call has with 64-bit file offsets. */
int __wrap_fstatvfs64(int fd, struct statvfs *ret_vfs)
{
	return __wrap_fstatvfs(fd, ret_vfs);
}

/* On a directory that is the root of its file system: not even there is what is used taken for what is stored. */
static struct rfs_repo *open_repo(uint64_t capacity_bytes)
{
	int fd = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct rfs_repo *repo = NULL;

	assert_true(fd >= 0);
	assert_int_equal(rfs_repo_open_disk(fd, capacity_bytes, &repo), 0);
	close(fd);
	return repo;
}

/* Both are to succeed. */
static struct rfs_figures measured_figures(struct rfs_repo *repo, uint64_t reserved_bytes)
{
	struct rfs_figures f;

	assert_int_equal(rfs_repo_measure(repo), 0);
	rfs_repo_figures(repo, reserved_bytes, &f);
	return f;
}

/* A file system of `total` blocks of 4096 bytes with `free` free ones, of which `reserved` are for root. */
static void fake_blocks(uint64_t total, uint64_t free, uint64_t for_root)
{
	fake_errno = 0;
	fake = (struct statvfs){
		.f_bsize = 65536, /* not the unit that blocks are counted in */
		.f_frsize = 4096,
		.f_blocks = total,
		.f_bfree = free,
		.f_bavail = free - for_root,
	};
}

static void figures_are_in_fragments(void **state)
{
	struct rfs_repo *repo = open_repo(RFS_CAPACITY_MAX);
	struct rfs_figures f;

	(void) state;
	fake_blocks(1000, 600, 50);
	f = measured_figures(repo, 0);
	assert_int_equal(f.capacity, 1000 * 4096);
	assert_int_equal(f.reserved, 0);
	assert_int_equal(f.stored, 0);
	assert_int_equal(f.free, 550 * 4096);
	assert_int_equal(f.available, 550 * 4096);
	rfs_repo_close(repo);
}

static void what_is_promised_is_kept_free(void **state)
{
	struct rfs_repo *repo = open_repo(RFS_CAPACITY_MAX);
	struct rfs_figures f;

	(void) state;
	fake_blocks(1000, 600, 0);
	f = measured_figures(repo, 300 * 4096);
	assert_int_equal(f.available, 300 * 4096);
	assert_int_equal(f.shortfall, 0);
	f = measured_figures(repo, 600 * 4096);
	assert_int_equal(f.available, 0);
	assert_int_equal(f.shortfall, 0);
	/* Others fill the storage. */
	fake_blocks(1000, 350, 0);
	f = measured_figures(repo, 300 * 4096);
	assert_int_equal(f.available, 50 * 4096);
	fake_blocks(1000, 250, 0);
	f = measured_figures(repo, 300 * 4096);
	assert_int_equal(f.available, 0);
	assert_int_equal(f.shortfall, 50 * 4096);
	/* More is promised than there is. */
	f = measured_figures(repo, 2000 * 4096);
	assert_int_equal(f.available, 0);
	assert_int_equal(f.shortfall, 1750 * 4096);
	rfs_repo_close(repo);
}

static void the_capacity_is_a_bound(void **state)
{
	struct rfs_repo *repo = open_repo(123456);
	struct rfs_figures f;

	(void) state;
	fake_blocks(1000, 600, 0);
	f = measured_figures(repo, 0);
	assert_int_equal(f.capacity, 123456);
	assert_int_equal(f.available, 123456);
	f = measured_figures(repo, 123455);
	assert_int_equal(f.available, 1);
	f = measured_figures(repo, 123457);
	assert_int_equal(f.available, 0);

	/* Beyond what the disk has: the disk decides. */
	fake_blocks(1000, 2, 0);
	f = measured_figures(repo, 0);
	assert_int_equal(f.available, 8192);
	rfs_repo_close(repo);
}

static void a_resized_file_system_is_noticed(void **state)
{
	struct rfs_repo *repo = open_repo(RFS_CAPACITY_MAX);

	(void) state;
	fake_blocks(1000, 1000, 0);
	assert_int_equal(rfs_repo_measure(repo), 0);
	assert_int_equal(rfs_repo_reserve(repo, 1000 * 4096), 0);
	assert_int_equal(rfs_repo_reserve(repo, 1), -ENOSPC);
	fake_blocks(1001, 1001, 0);
	/* Between two measurements nothing is asked. */
	assert_int_equal(rfs_repo_available(repo), 0);
	assert_int_equal(rfs_repo_measure(repo), 0);
	assert_int_equal(rfs_repo_available(repo), 4096);
	assert_int_equal(rfs_repo_reserve(repo, 4096), 0);
	rfs_repo_close(repo);
}

static void figures_never_wrap(void **state)
{
	struct rfs_repo *repo = open_repo(RFS_CAPACITY_MAX);
	struct rfs_figures f;

	(void) state;
	fake_blocks(UINT64_MAX, UINT64_MAX, 0);
	f = measured_figures(repo, 1);
	assert_true(f.capacity == RFS_BYTES_MAX);
	assert_true(f.free == RFS_BYTES_MAX);
	assert_int_equal(f.stored, 0);
	assert_true(f.available == RFS_BYTES_MAX - 1);

	/* 2^52 blocks of 2^12 bytes: 2^64 bytes, which would wrap to 0. */
	fake_blocks(UINT64_C(1) << 52, UINT64_C(1) << 51, 0);
	f = measured_figures(repo, 0);
	assert_true(f.capacity == RFS_BYTES_MAX);
	assert_true(f.free == RFS_BYTES_MAX);
	assert_int_equal(f.stored, 0);

	/* Some network file systems tell more free blocks than blocks. */
	fake_blocks(10, 20, 0);
	f = measured_figures(repo, 0);
	assert_int_equal(f.stored, 0);
	assert_int_equal(f.available, 10 * 4096);

	/* And some tell nothing at all. */
	fake = (struct statvfs){0};
	f = measured_figures(repo, 0);
	assert_int_equal(f.available, 0);
	assert_int_equal(rfs_repo_reserve(repo, 1), -ENOSPC);
	rfs_repo_close(repo);
}

static void errors_go_up_unchanged(void **state)
{
	static const int errors[] = {EIO, ESTALE, ENOTCONN, EINTR};
	struct rfs_repo *repo = open_repo(RFS_CAPACITY_MAX);

	(void) state;
	fake_blocks(1000, 1000, 0);
	assert_int_equal(rfs_repo_measure(repo), 0);
	assert_int_equal(rfs_repo_reserve(repo, 10), 0);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct rfs_figures before, after;

		rfs_repo_figures(repo, 10, &before);
		fake_errno = errors[i];
		fake.f_bavail = 1;
		assert_int_equal(rfs_repo_measure(repo), -errors[i]);
		/* The last measurement still counts. */
		rfs_repo_figures(repo, 10, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(rfs_repo_reserve(repo, 1), 0);
		assert_int_equal(rfs_repo_release(repo, 1), 0);
	}
	assert_int_equal(rfs_repo_reserve(repo, 1000 * 4096 - 10), 0);
	assert_int_equal(rfs_repo_reserve(repo, 1), -ENOSPC);
	rfs_repo_close(repo);
}

static void bad_arguments(void **state)
{
	struct rfs_repo *repo = NULL;

	(void) state;
	fake_errno = EIO;
	assert_int_equal(rfs_repo_open_disk(STDIN_FILENO, RFS_CAPACITY_MAX, &repo), -EIO);
	assert_null(repo);
	fake_errno = 0;
	assert_int_equal(rfs_repo_open_disk(-1, RFS_CAPACITY_MAX, &repo), -EBADF);
	assert_null(repo);
	assert_int_equal(rfs_repo_open_disk(STDIN_FILENO, RFS_BYTES_MAX + 1, &repo), -EINVAL);
	assert_null(repo);
	rfs_repo_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(figures_are_in_fragments),
		cmocka_unit_test(what_is_promised_is_kept_free),
		cmocka_unit_test(the_capacity_is_a_bound),
		cmocka_unit_test(a_resized_file_system_is_noticed),
		cmocka_unit_test(figures_never_wrap),
		cmocka_unit_test(errors_go_up_unchanged),
		cmocka_unit_test(bad_arguments),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
