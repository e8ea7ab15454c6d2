/* SPDX-License-Identifier: MIT */
/*
 * test_repo.c: the contract of a Repo, one body run against each back end; and what the Repo `disk` says of
 * file systems as they really are.
 *
 * The file systems are made in a file, and mounted on a loop device in a mount namespace of this process, so that
 * nothing is left behind however the test ends. That takes root; without, those tests are skipped.
 */
#include "../unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <reservefs/repo.h>

#define MIB (UINT64_C(1) << 20)
#define CAPACITY (16 * MIB)
#define IMAGE_BYTES (320 * MIB) /* sparse; the least that xfs takes is 300 MiB */

/* One Repo of CAPACITY, on storage that has room for all of it. */
struct fixture {
	int (*open)(uint64_t capacity_bytes, struct rfs_repo **ret_repo);
	struct rfs_repo *repo;
};

static char work_dir[] = "/tmp/reservefs-repo-XXXXXX";
static char ext4_dir[sizeof(work_dir) + 16];
static bool have_mounts; /* whether ext4_dir is one, and more can be made */

/* Runs a command, with its output thrown away. Returns its exit status. */
static int run(const char *const *argv)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execvp(argv[0], (char *const *) argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static void path_of(const char *name, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", work_dir, name);
}

static int open_dir(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Makes a file system of `type` in a file, and mounts it on a new directory `name`. */
static bool mount_image(const char *type, const char *name, char *ret_dir, size_t size)
{
	char image[128], mkfs[32];
	int fd;

	path_of(name, ret_dir, size);
	snprintf(image, sizeof(image), "%s.image", ret_dir);
	snprintf(mkfs, sizeof(mkfs), "mkfs.%s", type);
	fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, IMAGE_BYTES) < 0 || mkdir(ret_dir, 0700) < 0)
		return false;
	close(fd);
	return run((const char *[]){mkfs, "-q", image, NULL}) == 0 &&
	       run((const char *[]){"mount", "-o", "loop", image, ret_dir, NULL}) == 0;
}

/* What is not allowed to us is no failure; what is allowed and doesn't work is. */
static bool may_mount(void)
{
	if (geteuid() != 0 || access("/dev/loop-control", R_OK | W_OK) < 0)
		return false;
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static int end_world(void **state)
{
	(void) state;
	if (have_mounts && umount2(ext4_dir, 0) < 0)
		return -1;
	return run((const char *[]){"rm", "-r", "--one-file-system", work_dir, NULL});
}

static int make_world(void **state)
{
	if (!mkdtemp(work_dir))
		return -1;
	if (!may_mount())
		return 0;
	have_mounts = mount_image("ext4", "ext4", ext4_dir, sizeof(ext4_dir));
	if (!have_mounts)
		end_world(state);
	return have_mounts ? 0 : -1;
}

static int open_quota(uint64_t capacity_bytes, struct rfs_repo **ret_repo)
{
	return rfs_repo_open_quota(capacity_bytes, ret_repo);
}

static int open_disk(uint64_t capacity_bytes, struct rfs_repo **ret_repo)
{
	int fd = open_dir(ext4_dir);
	int r;

	if (fd < 0)
		return -errno;
	r = rfs_repo_open_disk(fd, capacity_bytes, ret_repo);
	close(fd);
	return r;
}

static int setup(int (*opener)(uint64_t, struct rfs_repo **), void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->open = opener;
	*state = f;
	int rc = opener(CAPACITY, &f->repo);
	return rc < 0 ? rc : rfs_repo_measure(f->repo);
}

static int setup_quota(void **state)
{
	return setup(open_quota, state);
}

static int setup_disk(void **state)
{
	if (!have_mounts)
		return 0; /* the test skips itself */
	return setup(open_disk, state);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f)
		rfs_repo_close(f->repo);
	free(f);
	return 0;
}

static struct rfs_repo *repo_of(void **state)
{
	struct fixture *f = *state;

	if (!f)
		skip();
	return f->repo;
}

static uint64_t available(struct rfs_repo *repo)
{
	assert_int_equal(rfs_repo_measure(repo), 0);
	return rfs_repo_available(repo);
}

/* What the Repo itself counts as promised. */
static uint64_t counted(const struct rfs_repo *repo)
{
	return rfs_repo_reserved(repo);
}

/* --- The contract --- */

static void a_new_repo_has_promised_nothing(void **state)
{
	struct rfs_repo *repo = repo_of(state);
	struct rfs_figures f;

	assert_int_equal(counted(repo), 0);
	assert_int_equal(available(repo), CAPACITY);
	rfs_repo_figures(repo, 0, &f);
	assert_int_equal(f.capacity, CAPACITY);
	assert_int_equal(f.reserved, 0);
	assert_int_equal(f.available, CAPACITY);
	assert_true(f.free >= f.available);
}

static void what_is_available_can_be_reserved_to_the_last_byte(void **state)
{
	struct rfs_repo *repo = repo_of(state);

	assert_int_equal(rfs_repo_reserve(repo, 1), 0);
	assert_int_equal(available(repo), CAPACITY - 1);
	assert_int_equal(rfs_repo_reserve(repo, available(repo)), 0);
	assert_int_equal(available(repo), 0);
	assert_int_equal(counted(repo), CAPACITY);
	assert_int_equal(rfs_repo_reserve(repo, 1), -ENOSPC);
	assert_int_equal(rfs_repo_reserve(repo, 0), 0);
	assert_int_equal(rfs_repo_release(repo, 1), 0);
	assert_int_equal(rfs_repo_reserve(repo, 2), -ENOSPC);
	assert_int_equal(rfs_repo_reserve(repo, 1), 0);
}

static void a_refusal_changes_nothing(void **state)
{
	struct rfs_repo *repo = repo_of(state);

	assert_int_equal(rfs_repo_reserve(repo, 1000), 0);
	assert_int_equal(rfs_repo_reserve(repo, CAPACITY - 999), -ENOSPC);
	assert_int_equal(rfs_repo_reserve(repo, RFS_BYTES_MAX), -ENOSPC);
	assert_int_equal(counted(repo), 1000);
	assert_int_equal(available(repo), CAPACITY - 1000);
}

static void what_is_released_is_available_again(void **state)
{
	struct rfs_repo *repo = repo_of(state);

	assert_int_equal(rfs_repo_reserve(repo, CAPACITY), 0);
	assert_int_equal(rfs_repo_release(repo, 300), 0);
	assert_int_equal(available(repo), 300);
	assert_int_equal(rfs_repo_release(repo, 0), 0);
	assert_int_equal(rfs_repo_release(repo, CAPACITY - 300), 0);
	assert_int_equal(counted(repo), 0);
	assert_int_equal(available(repo), CAPACITY);
}

static void what_is_adopted_counts(void **state)
{
	struct rfs_repo *repo = repo_of(state);

	rfs_repo_adopt(repo, CAPACITY - 10);
	assert_int_equal(available(repo), 10);
	assert_int_equal(rfs_repo_reserve(repo, 11), -ENOSPC);
	assert_int_equal(rfs_repo_reserve(repo, 10), 0);
	assert_int_equal(rfs_repo_release(repo, CAPACITY), 0);
}

static void more_than_the_capacity_may_be_adopted(void **state)
{
	static const uint64_t amounts[] = {CAPACITY + 100, RFS_BYTES_MAX};
	struct rfs_repo *repo = repo_of(state);

	for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
		rfs_repo_adopt(repo, amounts[i]);
		assert_int_equal(available(repo), 0);
		assert_int_equal(rfs_repo_reserve(repo, 1), -ENOSPC);
		assert_int_equal(rfs_repo_reserve(repo, 0), 0);
		/* Releasing succeeds all the way, and room comes back only below the capacity. */
		assert_int_equal(rfs_repo_release(repo, amounts[i] - CAPACITY), 0);
		assert_int_equal(available(repo), 0);
		assert_int_equal(rfs_repo_release(repo, 7), 0);
		assert_int_equal(available(repo), 7);
	}
}

static void figures_can_be_asked_for_any_sum(void **state)
{
	struct rfs_repo *repo = repo_of(state);
	struct rfs_figures f;

	assert_int_equal(rfs_repo_reserve(repo, 1000), 0);
	rfs_repo_figures(repo, CAPACITY - 5, &f);
	assert_int_equal(f.reserved, CAPACITY - 5);
	assert_int_equal(f.available, 5);
	rfs_repo_figures(repo, RFS_BYTES_MAX, &f);
	assert_int_equal(f.available, 0);
	rfs_repo_figures(repo, 0, &f);
	assert_int_equal(f.available, CAPACITY);
	/* That was a question, no change. */
	assert_int_equal(counted(repo), 1000);
	assert_int_equal(available(repo), CAPACITY - 1000);
}

static void no_capacity_means_nothing_to_promise(void **state)
{
	struct rfs_repo *repo = NULL;
	struct fixture *f;

	repo_of(state);
	f = *state;
	assert_int_equal(f->open(0, &repo), 0);
	assert_int_equal(available(repo), 0);
	assert_int_equal(rfs_repo_reserve(repo, 1), -ENOSPC);
	assert_int_equal(rfs_repo_reserve(repo, 0), 0);
	rfs_repo_close(repo);
}

static void a_capacity_out_of_range_is_refused(void **state)
{
	struct rfs_repo *repo = NULL;
	struct fixture *f;

	repo_of(state);
	f = *state;
	assert_int_equal(f->open(RFS_BYTES_MAX + 1, &repo), -EINVAL);
	assert_int_equal(f->open(UINT64_MAX - 1, &repo), -EINVAL);
	assert_null(repo);
	assert_int_equal(f->open(RFS_BYTES_MAX, &repo), 0);
	rfs_repo_close(repo);
}

/* A long mixture of all calls, step by step against a sum. */
static void a_history_adds_up(void **state)
{
	struct rfs_repo *repo = repo_of(state);
	uint64_t random = 7, sum = 0;
	int refused = 0;

	for (int i = 0; i < 5000; i++) {
		uint64_t amount;
		int r;

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		amount = (random >> 20) % (CAPACITY / 4);
		if (random >> 63) {
			r = rfs_repo_reserve(repo, amount);
			assert_int_equal(r, amount > CAPACITY - sum ? -ENOSPC : 0);
			refused += r < 0;
			sum += r == 0 ? amount : 0;
		} else {
			amount = amount > sum ? sum : amount;
			assert_int_equal(rfs_repo_release(repo, amount), 0);
			sum -= amount;
		}
		assert_int_equal(counted(repo), sum);
		assert_int_equal(available(repo), CAPACITY - sum);
	}
	assert_true(refused > 0);
}

struct onlooker {
	struct rfs_repo *repo;
	atomic_bool stop;
	atomic_ulong looks;
	atomic_ulong wrong;
};

static void *look(void *argument)
{
	struct onlooker *o = argument;

	do {
		struct rfs_figures f;

		int r = rfs_repo_measure(o->repo);
		rfs_repo_figures(o->repo, 4096, &f);
		if (r != 0 || f.reserved != 4096 || f.available != CAPACITY - 4096)
			atomic_fetch_add(&o->wrong, 1);
		atomic_fetch_add(&o->looks, 1);
	} while (!atomic_load(&o->stop));
	return NULL;
}

static void figures_come_from_any_thread(void **state)
{
	struct onlooker o = {.repo = repo_of(state)};
	pthread_t threads[3];

	for (size_t i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, look, &o) != 0)
			abort();
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(rfs_repo_reserve(o.repo, 1000), 0);
		assert_int_equal(rfs_repo_release(o.repo, 1000), 0);
	}
	atomic_store(&o.stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&o.looks) >= 3);
	assert_int_equal(atomic_load(&o.wrong), 0);
}

/* --- Real file systems --- */

static struct rfs_figures figures_of_dir(const char *path, uint64_t reserved_bytes)
{
	struct rfs_repo *repo = NULL;
	struct rfs_figures f;
	int fd = open_dir(path);

	assert_true(fd >= 0);
	assert_int_equal(rfs_repo_open_disk(fd, RFS_CAPACITY_MAX, &repo), 0);
	close(fd);
	assert_int_equal(rfs_repo_measure(repo), 0);
	rfs_repo_figures(repo, reserved_bytes, &f);
	rfs_repo_close(repo);
	return f;
}

static void need_mounts(void)
{
	if (!have_mounts)
		skip();
}

static void make_dir(const char *parent, const char *name, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", parent, name);
	assert_true(mkdir(ret_path, 0700) == 0 || errno == EEXIST);
}

static uint64_t used_bytes(const char *path)
{
	struct statvfs vfs;

	assert_int_equal(statvfs(path, &vfs), 0);
	return (uint64_t) (vfs.f_blocks - vfs.f_bfree) * vfs.f_frsize;
}

/* Stores `bytes` in `path`, on disk when it returns: ext4 allocates late. */
static void fill(const char *path, uint64_t bytes)
{
	static char block[65536];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	memset(block, 'x', sizeof(block));
	for (uint64_t done = 0; done < bytes; done += sizeof(block))
		assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void the_capacity_max_is_the_file_system(void **state)
{
	struct statvfs vfs;
	struct rfs_figures f;

	(void) state;
	need_mounts();
	assert_int_equal(statvfs(ext4_dir, &vfs), 0);
	f = figures_of_dir(ext4_dir, 0);
	assert_int_equal(f.capacity, vfs.f_blocks * vfs.f_frsize);
	assert_int_equal(f.free, vfs.f_bavail * vfs.f_frsize);
	assert_int_equal(f.available, f.free);
	/* The share of ext4 that is root's is nobody's to buy, although this test runs as root. */
	assert_true(vfs.f_bavail < vfs.f_bfree);
}

/* What others store on the disk is not there to be sold, and is never taken for what contracts have stored. */
static void assert_space_filled_by_others_is_not_sold(const char *dir)
{
	struct rfs_figures before, after;
	char path[160];

	before = figures_of_dir(dir, 4 * MIB);
	assert_true(before.free > 8 * MIB);
	assert_int_equal(before.stored, 0);
	assert_int_equal(before.available, before.free - 4 * MIB);
	snprintf(path, sizeof(path), "%s/filled", dir);
	fill(path, 4 * MIB);
	after = figures_of_dir(dir, 4 * MIB);
	assert_int_equal(after.stored, 0);
	assert_true(after.free <= before.free - 4 * MIB);
	assert_int_equal(before.available - after.available, before.free - after.free);
	assert_int_equal(unlink(path), 0);
}

static void space_filled_by_others_is_not_sold(void **state)
{
	char sub[128];

	(void) state;
	need_mounts();
	assert_space_filled_by_others_is_not_sold(ext4_dir);
	make_dir(ext4_dir, "sub", sub, sizeof(sub));
	assert_space_filled_by_others_is_not_sold(sub);
}

static void the_same_through_a_bind_mount(void **state)
{
	char bound[128];

	(void) state;
	need_mounts();
	make_dir(work_dir, "bound", bound, sizeof(bound));
	assert_int_equal(mount(ext4_dir, bound, NULL, MS_BIND, NULL), 0);
	assert_space_filled_by_others_is_not_sold(bound);
	assert_int_equal(umount2(bound, 0), 0);
}

static void the_same_on_a_tmpfs(void **state)
{
	char dir[128];

	(void) state;
	need_mounts();
	make_dir(work_dir, "tmpfs", dir, sizeof(dir));
	assert_int_equal(mount("tmpfs", dir, "tmpfs", 0, "size=16m"), 0);
	assert_space_filled_by_others_is_not_sold(dir);
	assert_int_equal(umount2(dir, 0), 0);
}

/* A fresh one has some of its space in use already: for itself. */
static void an_empty_file_system_of(const char *type)
{
	char dir[128];

	need_mounts();
	if (!mount_image(type, type, dir, sizeof(dir)))
		skip(); /* no mkfs for it, or a kernel without it */
	assert_true(used_bytes(dir) > 0);
	assert_int_equal(figures_of_dir(dir, 0).stored, 0);
	assert_int_equal(figures_of_dir(dir, MIB).available, figures_of_dir(dir, 0).free - MIB);
	assert_int_equal(umount2(dir, 0), 0);
}

static void an_empty_btrfs_has_nothing_stored(void **state)
{
	(void) state;
	an_empty_file_system_of("btrfs");
}

static void an_empty_xfs_has_nothing_stored(void **state)
{
	(void) state;
	an_empty_file_system_of("xfs");
}

static void the_same_on_an_overlay(void **state)
{
	char lower[128], upper[128], work[128], dir[128], options[512];

	(void) state;
	need_mounts();
	make_dir(ext4_dir, "lower", lower, sizeof(lower));
	make_dir(ext4_dir, "upper", upper, sizeof(upper));
	make_dir(ext4_dir, "work", work, sizeof(work));
	make_dir(work_dir, "overlay", dir, sizeof(dir));
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
	if (mount("overlay", dir, "overlay", 0, options) < 0)
		skip(); /* a kernel without overlayfs */
	assert_space_filled_by_others_is_not_sold(dir);
	assert_int_equal(umount2(dir, 0), 0);
}

static void a_disk_filled_by_others_still_releases(void **state)
{
	struct rfs_repo *repo = NULL;
	uint64_t promised;
	char dir[128], path[144];

	(void) state;
	need_mounts();
	make_dir(work_dir, "full", dir, sizeof(dir));
	assert_int_equal(mount("tmpfs", dir, "tmpfs", 0, "size=4m"), 0);
	{
		int fd = open_dir(dir);

		assert_int_equal(rfs_repo_open_disk(fd, RFS_CAPACITY_MAX, &repo), 0);
		close(fd);
	}
	promised = 3 * MIB;
	assert_int_equal(rfs_repo_reserve(repo, promised), 0);
	snprintf(path, sizeof(path), "%s/filled", dir);
	fill(path, 4 * MIB);
	assert_int_equal(available(repo), 0);
	assert_int_equal(rfs_repo_reserve(repo, 1), -ENOSPC);
	assert_int_equal(rfs_repo_release(repo, promised), 0);
	assert_int_equal(counted(repo), 0);
	rfs_repo_close(repo);
	assert_int_equal(umount2(dir, 0), 0);
}

/* The Repo has a descriptor of its own: the caller's may be closed, and the directory renamed. */
static void the_directory_is_held_by_the_repo(void **state)
{
	struct rfs_repo *repo = NULL;
	char old_path[128], new_path[128];
	int fd;

	(void) state;
	make_dir(work_dir, "old", old_path, sizeof(old_path));
	snprintf(new_path, sizeof(new_path), "%s/new", work_dir);
	fd = open_dir(old_path);
	assert_true(fd >= 0);
	assert_int_equal(rfs_repo_open_disk(fd, CAPACITY, &repo), 0);
	close(fd);
	assert_int_equal(rename(old_path, new_path), 0);
	assert_int_equal(rfs_repo_measure(repo), 0);
	assert_int_equal(rmdir(new_path), 0);
	rfs_repo_close(repo);
}

#define CONTRACT_TEST(body, backend) \
	{#backend ": " #body, body, setup_##backend, teardown, NULL}

#define CONTRACT(backend) \
	CONTRACT_TEST(a_new_repo_has_promised_nothing, backend), \
	CONTRACT_TEST(what_is_available_can_be_reserved_to_the_last_byte, backend), \
	CONTRACT_TEST(a_refusal_changes_nothing, backend), \
	CONTRACT_TEST(what_is_released_is_available_again, backend), \
	CONTRACT_TEST(what_is_adopted_counts, backend), \
	CONTRACT_TEST(more_than_the_capacity_may_be_adopted, backend), \
	CONTRACT_TEST(figures_can_be_asked_for_any_sum, backend), \
	CONTRACT_TEST(no_capacity_means_nothing_to_promise, backend), \
	CONTRACT_TEST(a_capacity_out_of_range_is_refused, backend), \
	CONTRACT_TEST(a_history_adds_up, backend), \
	CONTRACT_TEST(figures_come_from_any_thread, backend)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT(quota),
		CONTRACT(disk),
		cmocka_unit_test(the_capacity_max_is_the_file_system),
		cmocka_unit_test(space_filled_by_others_is_not_sold),
		cmocka_unit_test(the_same_through_a_bind_mount),
		cmocka_unit_test(the_same_on_a_tmpfs),
		cmocka_unit_test(an_empty_btrfs_has_nothing_stored),
		cmocka_unit_test(an_empty_xfs_has_nothing_stored),
		cmocka_unit_test(the_same_on_an_overlay),
		cmocka_unit_test(a_disk_filled_by_others_still_releases),
		cmocka_unit_test(the_directory_is_held_by_the_repo),
	};

	return cmocka_run_group_tests_name("repo", tests, make_world, end_world);
}
