/* SPDX-License-Identifier: MIT */
/* test_stall.c: calls that take too long lose their role, once, and no others do. The calls hang in reading a pipe. */
#include "check.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/stall.h"
#include "util/thread.h"

#define DEADLINE_NS (20 * RFS_NS_A_SECOND)

struct role {
	struct rfs_stall stall;
	atomic_uint stalls;
	int pipe[2];
};

static void count(void *user)
{
	struct role *role = user;

	atomic_fetch_add(&role->stalls, 1);
}

static void open_role(struct role *role)
{
	atomic_init(&role->stalls, 0);
	assert_int_equal(pipe(role->pipe), 0);
	assert_int_equal(rfs_stall_init(&role->stall, count, role), 0);
}

static void close_role(struct role *role)
{
	rfs_stall_done(&role->stall);
	close(role->pipe[0]);
	close(role->pipe[1]);
}

static void await_stalls(struct role *role, unsigned stalls)
{
	int64_t until = rfs_now_ns() + DEADLINE_NS;

	while (atomic_load(&role->stalls) < stalls) {
		assert_true(rfs_now_ns() < until);
		usleep(1000);
	}
}

/* A call that hangs until something is written; whether the role was kept is what it returns. */
static void *hang(void *user)
{
	struct role *role = user;
	char byte;
	bool kept;

	rfs_stall_begin(&role->stall);
	if (read(role->pipe[0], &byte, 1) != 1)
		abort();
	kept = rfs_stall_end(&role->stall);
	return kept ? role : NULL;
}

static void let_go(struct role *role, pthread_t thread, bool kept)
{
	void *result;

	assert_int_equal(write(role->pipe[1], "x", 1), 1);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal(result != NULL, kept);
}

static void a_call_that_hangs_loses_its_role_once(void **state)
{
	struct role role;
	pthread_t thread;

	(void) state;
	open_role(&role);
	for (unsigned i = 1; i <= 3; i++) {
		int64_t since = rfs_now_ns();
		assert_int_equal(pthread_create(&thread, NULL, hang, &role), 0);
		await_stalls(&role, i);
		assert_true(rfs_now_ns() - since >= RFS_STALL_MS * RFS_NS_A_MS);
		let_go(&role, thread, false);
		assert_int_equal(atomic_load(&role.stalls), i);
		/* and one that does not hang keeps it */
		rfs_stall_begin(&role.stall);
		assert_true(rfs_stall_end(&role.stall));
	}
	close_role(&role);
}

static void quick_calls_keep_their_role(void **state)
{
	struct role role;
	int64_t longest = 0;

	(void) state;
	open_role(&role);
	for (int i = 0; i < 200000; i++) {
		int64_t since = rfs_now_ns();
		rfs_stall_begin(&role.stall);
		bool kept = rfs_stall_end(&role.stall);
		int64_t took = rfs_now_ns() - since;
		longest = took > longest ? took : longest;
		/* a machine that stops for that long makes every call a long one */
		assert_true(kept || took >= RFS_STALL_MS * RFS_NS_A_MS);
	}
	close_role(&role);
}

#define MANY 6

static void each_of_many_roles_is_taken_by_itself(void **state)
{
	struct role roles[MANY];
	pthread_t threads[MANY];

	(void) state;
	for (int i = 0; i < MANY; i++)
		open_role(&roles[i]);
	for (int i = 1; i < MANY; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hang, &roles[i]), 0);
	for (int i = 1; i < MANY; i++)
		await_stalls(&roles[i], 1);
	assert_int_equal(atomic_load(&roles[0].stalls), 0);
	for (int i = 1; i < MANY; i++)
		let_go(&roles[i], threads[i], false);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(atomic_load(&roles[i].stalls), i > 0);
		close_role(&roles[i]);
	}
}

/* Nobody is told after rfs_stall_done, though the call hangs on. */
static void what_is_done_with_is_not_taken(void **state)
{
	(void) state;
	for (int i = 0; i < 20; i++) {
		struct role role, other;
		pthread_t thread;
		unsigned stalls;

		open_role(&role);
		open_role(&other);
		assert_int_equal(pthread_create(&thread, NULL, hang, &role), 0);
		if (i % 2)
			await_stalls(&role, 1);
		rfs_stall_done(&role.stall);
		stalls = atomic_load(&role.stalls);
		/* the thread that watches has looked again since */
		rfs_stall_begin(&other.stall);
		await_stalls(&other, 1);
		assert_false(rfs_stall_end(&other.stall));
		assert_int_equal(atomic_load(&role.stalls), stalls);
		let_go(&role, thread, stalls == 0);
		close(role.pipe[0]);
		close(role.pipe[1]);
		close_role(&other);
	}
}

/* Calls that end at about the moment when they would be found out. */
static void *end_in_time_or_not(void *user)
{
	struct role *role = user;
	unsigned lost = 0;

	for (int i = 0; i < 40; i++) {
		rfs_stall_begin(&role->stall);
		usleep((useconds_t) (RFS_STALL_MS * 1000 - 400 + i * 20));
		lost += !rfs_stall_end(&role->stall);
	}
	return (void *) (uintptr_t) lost;
}

static void who_lost_a_role_and_who_took_it_agree(void **state)
{
	struct role roles[MANY];
	pthread_t threads[MANY];
	void *lost;

	(void) state;
	for (int i = 0; i < MANY; i++)
		open_role(&roles[i]);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, end_in_time_or_not, &roles[i]), 0);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(pthread_join(threads[i], &lost), 0);
		assert_int_equal(atomic_load(&roles[i].stalls), (uintptr_t) lost);
	}
	for (int i = 0; i < MANY; i++)
		close_role(&roles[i]);
}

static void the_thread_that_watches_can_be_ended_and_started(void **state)
{
	(void) state;
	for (int i = 0; i < 300; i++) {
		struct role role;

		open_role(&role);
		rfs_stall_begin(&role.stall);
		if (i % 3 == 0)
			(void) rfs_stall_end(&role.stall);
		close_role(&role);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_that_hangs_loses_its_role_once),
		cmocka_unit_test(quick_calls_keep_their_role),
		cmocka_unit_test(each_of_many_roles_is_taken_by_itself),
		cmocka_unit_test(what_is_done_with_is_not_taken),
		cmocka_unit_test(who_lost_a_role_and_who_took_it_agree),
		cmocka_unit_test(the_thread_that_watches_can_be_ended_and_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
