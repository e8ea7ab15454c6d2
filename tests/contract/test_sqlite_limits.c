/* SPDX-License-Identifier: MIT */
/*
 * test_sqlite_limits.c: what a process is not allowed, rather than what a disk cannot: files of more than so many bytes, more open
 * files, system calls that a container refuses. What can be done without is; else the message says what can help.
 */
#include "../unit/check.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "sqlite_store.h"

#include "datastore/sqlite.h"

#define MIB (1 << 20)

static char path[256];

static int setup(void **state)
{
	if (scratch_make(state))
		return -1;
	scratch_path("store.db", path, sizeof(path));
	signal(SIGXFSZ, SIG_IGN);
	return 0;
}

/* Limits and filters stay with who sets them: each body has a process of its own. */
static void in_a_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		body();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("it ended with status %x", status);
}

#define REQUIRE(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "line %d: %s: ", __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			_exit(1); \
		} \
	} while (0)

static void limit_files(rlim_t bytes)
{
	struct rlimit limit = { bytes, RLIM_INFINITY };
	REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0, "%s", strerror(errno));
}

/* It says that the limit is in the way, and what can be done, and nothing that cannot help. */
static void require_limit_told(const char *message)
{
	REQUIRE(strstr(message, path), "%s", message);
	REQUIRE(strstr(message, "ulimit -f") && strstr(message, "LimitFSIZE="), "%s", message);
	REQUIRE(!strstr(message, "check the disk") && !strstr(message, "free some") && !strstr(message, "disk is full"), "%s",
		message);
}

static int put_number(struct rfs_datastore *ds, int i)
{
	char key[32], value[901];

	memset(value, 'x', 900);
	value[900] = 0;
	snprintf(key, sizeof(key), "key%07d", i);
	int rc = rfs_datastore_put(ds, key, value);
	rfs_datastore_tidy(ds);
	return rc;
}

static void open_below_what_is_needed(void)
{
	struct rfs_datastore *ds;

	limit_files(4096);
	REQUIRE(store_try(path, false, &ds) == -EFBIG, "%s", store_message);
	require_limit_told(store_message);
	limit_files(MIB / 2);
	REQUIRE(store_try(path, false, &ds) == -EFBIG, "%s", store_message);
	require_limit_told(store_message);
	limit_files(RLIM_INFINITY);
	REQUIRE(store_try(path, false, &ds) == 0, "%s", store_message);
	rfs_datastore_close(ds);
}

static void a_limit_that_is_too_low_is_told_when_it_is_opened(void **state)
{
	(void) state;
	in_a_child(open_below_what_is_needed);
}

static void grow_to_the_limit(void)
{
	struct rfs_datastore *ds;
	struct stat st;
	int rc = 0, count = 0;

	limit_files(2 * MIB);
	REQUIRE(store_try(path, false, &ds) == 0, "%s", store_message);
	while (rc == 0 && count < 100000)
		rc = put_number(ds, count++);
	REQUIRE(rc == -ENOSPC, "%d: %s", rc, rfs_datastore_explain(ds));
	require_limit_told(rfs_datastore_explain(ds));
	REQUIRE(count * 900 > MIB / 2, "%d", count);
	/* What is there can be changed and removed, and is there afterwards. */
	for (int i = 0; i < count - 1; i++)
		REQUIRE(rfs_datastore_put(ds, "key0000000", i % 2 ? "1" : "2") == 0, "%s", rfs_datastore_explain(ds));
	rfs_datastore_close(ds);
	REQUIRE(stat(path, &st) == 0 && st.st_size <= 2 * MIB, "%lld", (long long) st.st_size);
	REQUIRE(store_try(path, true, &ds) == 0, "%s", store_message);
	rfs_datastore_close(ds);
	limit_files(st.st_size - 4096 > MIB ? (rlim_t) st.st_size - 4096 : MIB);
	REQUIRE(store_try(path, true, &ds) == -EFBIG, "%s", store_message);
	require_limit_told(store_message);
	limit_files(64 * MIB);
	REQUIRE(store_try(path, true, &ds) == 0, "%s", store_message);
	REQUIRE(put_number(ds, count) == 0, "%s", rfs_datastore_explain(ds));
	rfs_datastore_close(ds);
}

static void growth_ends_at_the_limit(void **state)
{
	(void) state;
	in_a_child(grow_to_the_limit);
}

static void commit_beyond_the_limit(void)
{
	struct rfs_value got;
	struct rfs_datastore *ds;

	REQUIRE(store_try(path, false, &ds) == 0, "%s", store_message);
	REQUIRE(put_number(ds, 1) == 0, "%s", rfs_datastore_explain(ds));
	/* Somebody lowers it meanwhile. */
	limit_files(4096);
	for (int i = 2; i < 5; i++) {
		REQUIRE(put_number(ds, i) == -EIO, "%s", rfs_datastore_explain(ds));
		require_limit_told(rfs_datastore_explain(ds));
		REQUIRE(rfs_datastore_get(ds, "key0000001", &got) == 0, "%s", rfs_datastore_explain(ds));
	}
	limit_files(RLIM_INFINITY);
	REQUIRE(put_number(ds, 5) == 0, "%s", rfs_datastore_explain(ds));
	REQUIRE(rfs_datastore_get(ds, "key0000002", &got) == -ENOENT, "it is there");
	rfs_datastore_close(ds);
}

static void a_commit_beyond_the_limit_is_told(void **state)
{
	(void) state;
	in_a_child(commit_beyond_the_limit);
}

static void open_too_many_files(void)
{
	struct rlimit limit = { 4, 4 };
	struct rfs_datastore *ds;

	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0, "%s", strerror(errno));
	while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
		;
	REQUIRE(store_try(path, false, &ds) < 0, "it is open");
	REQUIRE(strstr(store_message, "ulimit -n") && strstr(store_message, "LimitNOFILE="), "%s", store_message);
}

static void a_limit_of_open_files_is_told(void **state)
{
	(void) state;
	in_a_child(open_too_many_files);
}

static void an_immutable_file_is_told(void **state)
{
	int flags = 0, immutable;

	(void) state;
	rfs_datastore_close(store_open(path));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	bool has_flags = geteuid() == 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
	immutable = flags | FS_IMMUTABLE_FL;
	if (!has_flags || ioctl(fd, FS_IOC_SETFLAGS, &immutable)) {
		close(fd);
		skip();
	}
	store_expect_refusal(path, -EPERM, "chattr -i");
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
	rfs_datastore_close(store_open(path));
}

/* Advice: none that cannot help. */
static void advice_is_of_its_errno(void **state)
{
	static const struct {
		int error;
		const char *words;
	} expected[] = {
		{ EDQUOT, "quota" }, { EDQUOT, "user" }, { EROFS, "read-write" }, { EROFS, "ReadWritePaths=" }, { EMFILE, "ulimit -n" },
		{ ENFILE, "fs.file-max" }, { EPERM, "seccomp" }, { EPERM, "chattr -i" }, { ENOSYS, "seccomp" }, { ENOSPC, "space" },
		{ ENOLCK, "lock" }, { ENOMEM, "memory" }, { EIO, "disk" },
	};
	struct rfs_sqlite store = { .fd = -1 };
	char advice[RFS_ADVICE_MAX];

	(void) state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		rfs_sqlite_advise(&store, expected[i].error, advice, sizeof(advice));
		if (!strstr(advice, expected[i].words))
			fail_msg("%s: %s", strerror(expected[i].error), advice);
		if (expected[i].error != EIO && expected[i].error != ENOSPC)
			assert_null(strstr(advice, "disk is") ? advice : strstr(advice, "check the disk"));
	}
	rfs_sqlite_advise(&store, EUCLEAN, advice, sizeof(advice));
	assert_string_equal(advice, "");
}

/* System calls that are refused */

/* Makes `number` fail with `error` in this process from now on. */
static void refuse(int number, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned) number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(*code), code };

	REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "%s", strerror(errno));
	REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "%s", strerror(errno));
}

static int refused_number, refused_error;

static void do_without_the_call(void)
{
	struct rfs_value got;
	struct rfs_datastore *ds;

	refuse(refused_number, refused_error);
	for (int life = 0; life < 2; life++) {
		REQUIRE(store_try(path, false, &ds) == 0, "%s", store_message);
		for (int i = 0; i < 2000; i++)
			REQUIRE(put_number(ds, i) == 0, "%s", rfs_datastore_explain(ds));
		int rc = rfs_datastore_get_now(ds, "key0000001", &got);
		REQUIRE(rc == 0 || rc == -EAGAIN, "%d", rc);
		REQUIRE(rfs_datastore_get(ds, "key0000001", &got) == 0, "%s", rfs_datastore_explain(ds));
		rfs_datastore_close(ds);
	}
	store_check_integrity(path);
}

/* A WAL that was taken away, where the spare may not be made or used either. */
static void do_without_the_wal(void)
{
	struct rfs_datastore *ds;
	char wal[280];

	refuse(refused_number, refused_error);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	(void) unlink(wal);
	REQUIRE(store_try(path, true, &ds) == 0, "%s", store_message);
	REQUIRE(put_number(ds, 1) == 0, "%s", rfs_datastore_explain(ds));
	rfs_datastore_close(ds);
}

static void calls_that_are_refused_are_done_without(void **state)
{
	static const int numbers[] = { SYS_statx, SYS_renameat2, SYS_fallocate, SYS_preadv2, SYS_ioctl, SYS_flock, SYS_fstatfs };
	static const int errors[] = { EPERM, ENOSYS };

	(void) state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		for (size_t j = 0; j < sizeof(errors) / sizeof(*errors); j++) {
			char wal[280], spare[280];
			refused_number = numbers[i];
			refused_error = errors[j];
			in_a_child(do_without_the_call);
			in_a_child(do_without_the_wal);
			snprintf(wal, sizeof(wal), "%s-wal", path);
			snprintf(spare, sizeof(spare), "%s-spare", path);
			assert_int_equal(unlink(path), 0);
			assert_int_equal(unlink(wal), 0);
			(void) unlink(spare);
		}
	}
}

#define LIMITS_TEST(body) cmocka_unit_test_setup_teardown(body, setup, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMITS_TEST(a_limit_that_is_too_low_is_told_when_it_is_opened),
		LIMITS_TEST(growth_ends_at_the_limit),
		LIMITS_TEST(a_commit_beyond_the_limit_is_told),
		LIMITS_TEST(a_limit_of_open_files_is_told),
		LIMITS_TEST(an_immutable_file_is_told),
		LIMITS_TEST(advice_is_of_its_errno),
		LIMITS_TEST(calls_that_are_refused_are_done_without),
	};

	return cmocka_run_group_tests_name("sqlite limits", tests, NULL, NULL);
}
