/* SPDX-License-Identifier: MIT */
/* test_claim.c: what a claim says comes through the kernel's list of locks as it was made, and goes with its descriptor. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/claim.h"

static char directory[] = "/tmp/test_claim.XXXXXX";
static int mine, other;

static int open_twice(void **state)
{
	(void) state;
	mine = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	other = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return mine < 0 || other < 0 ? -1 : 0;
}

static int close_both(void **state)
{
	(void) state;
	close(mine);
	if (other >= 0)
		close(other);
	return 0;
}

static void assert_claim(const struct rfs_claim *expected, const struct rfs_claim *actual)
{
	assert_int_equal(expected->share, actual->share);
	assert_int_equal(expected->stage, actual->stage);
	assert_int_equal(expected->minor, actual->minor);
	assert_int_equal(expected->pid_ns, actual->pid_ns);
	assert_int_equal(expected->pid, actual->pid);
	assert_true(rfs_claim_equals(expected, actual));
}

struct search {
	ino_t inode;
	unsigned int count;
	struct rfs_claimed last;
};

/* Each may be met once in each reading. */
static bool on_our_directory(const struct rfs_claimed *claimed, void *user)
{
	struct search *s = user;

	if (claimed->inode == s->inode) {
		s->count++;
		s->last = *claimed;
	}
	return false;
}

static struct search listed(void)
{
	struct stat st;

	assert_int_equal(0, fstat(mine, &st));
	struct search s = { .inode = st.st_ino };
	assert_int_equal(0, rfs_claim_each(on_our_directory, &s));
	return s;
}

static void test_comes_through_whole(void **state)
{
	static const struct rfs_claim claims[] = {
		{ RFS_SHARE_NONE, RFS_STAGE_STARTING, 0, 0, 1 },
		{ RFS_SHARE_PART, RFS_STAGE_SERVING, 1, 1, 2 },
		{ RFS_SHARE_WHOLE, RFS_STAGE_ENDING, (1 << 20) - 1, (1 << 10) - 1, (1 << 22) - 1 },
		{ RFS_SHARE_WHOLE, RFS_STAGE_STARTING, 0x5a5a5, 0x2a5, 0x15a5a5 },
	};

	(void) state;
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		struct rfs_claim seen;
		assert_int_equal(0, rfs_claim_make(mine, &claims[i], i ? &claims[i - 1] : NULL));
		assert_int_equal(1, rfs_claim_of_other(other, &seen));
		assert_claim(&claims[i], &seen);
		struct search s = listed();
		assert_in_range(s.count, 1, 3);
		assert_claim(&claims[i], &s.last.claim);
	}
}

static void test_one_does_not_see_itself(void **state)
{
	struct rfs_claim claim = rfs_claim_mine(RFS_SHARE_WHOLE), seen;

	(void) state;
	assert_int_equal(getpid(), claim.pid);
	assert_int_equal(0, rfs_claim_make(mine, &claim, NULL));
	assert_int_equal(0, rfs_claim_of_other(mine, &seen));
	rfs_claim_drop(mine, &claim);
	assert_int_equal(0, rfs_claim_of_other(other, &seen));
	assert_int_equal(0, listed().count);
}

static void test_goes_with_its_descriptor_and_no_other(void **state)
{
	struct rfs_claim claim = rfs_claim_mine(RFS_SHARE_PART), seen;
	int again = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void) state;
	assert_true(again >= 0);
	assert_int_equal(0, rfs_claim_make(other, &claim, NULL));
	close(again);
	assert_int_equal(1, rfs_claim_of_other(mine, &seen));
	close(other);
	other = -1;
	assert_int_equal(0, rfs_claim_of_other(mine, &seen));
}

static void test_another_kind_of_lock_is_none(void **state)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	struct rfs_claim seen = { .pid = 4711 };

	(void) state;
	/* Of the whole directory, and of several bytes where claims are. */
	assert_int_equal(0, fcntl(other, F_OFD_SETLK, &lock));
	assert_int_equal(-EBUSY, rfs_claim_of_other(mine, &seen));
	assert_int_equal(0, listed().count);
	assert_int_equal(4711, seen.pid);
	lock.l_type = F_UNLCK;
	assert_int_equal(0, fcntl(other, F_OFD_SETLK, &lock));
	lock = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (INT64_C(0x72) << 56) + 1, .l_len = 2 };
	assert_int_equal(0, fcntl(other, F_OFD_SETLK, &lock));
	assert_int_equal(0, listed().count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_comes_through_whole, open_twice, close_both),
		cmocka_unit_test_setup_teardown(test_one_does_not_see_itself, open_twice, close_both),
		cmocka_unit_test_setup_teardown(test_goes_with_its_descriptor_and_no_other, open_twice, close_both),
		cmocka_unit_test_setup_teardown(test_another_kind_of_lock_is_none, open_twice, close_both),
	};

	if (!mkdtemp(directory))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(directory);
	return failed;
}
