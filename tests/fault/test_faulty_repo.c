/* SPDX-License-Identifier: MIT */
/* test_faulty_repo.c: the decorator fails what it was told to fail, and nothing else. */
#include "../unit/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "faulty_repo.h"

#define CAPACITY 1000

static int setup(void **state)
{
	struct rfs_repo *inner, *repo;

	if (rfs_repo_open_quota(CAPACITY, &inner) < 0 || faulty_repo_open(inner, &repo) < 0)
		return -1;
	*state = repo;
	return 0;
}

static int teardown(void **state)
{
	rfs_repo_close(*state);
	return 0;
}

static uint64_t available(struct rfs_repo *repo)
{
	assert_int_equal(rfs_repo_measure(repo), 0);
	return rfs_repo_available(repo);
}

static void without_a_plan_it_is_the_inner_one(void **state)
{
	struct rfs_repo *repo = *state;
	struct rfs_figures f;

	assert_int_equal(available(repo), CAPACITY);
	assert_int_equal(rfs_repo_reserve(repo, 300), 0);
	assert_int_equal(rfs_repo_reserve(repo, 701), -ENOSPC);
	assert_int_equal(rfs_repo_release(repo, 100), 0);
	assert_int_equal(rfs_repo_reserved(repo), 200);
	rfs_repo_figures(repo, 900, &f);
	assert_int_equal(f.available, 100);
	assert_int_equal(faulty_repo_calls(repo), 4);
	assert_int_equal(faulty_repo_failures(repo), 0);
}

static void adoption_reaches_the_inner_one(void **state)
{
	struct rfs_repo *repo = *state;

	rfs_repo_adopt(repo, 995);
	assert_int_equal(rfs_repo_reserve(repo, 6), -ENOSPC);
	assert_int_equal(rfs_repo_reserve(repo, 5), 0);
	assert_int_equal(rfs_repo_release(repo, 1000), 0);
	assert_int_equal(available(repo), CAPACITY);

	/* What was promised before it was put around, too. */
	{
		struct rfs_repo *inner = NULL, *outer = NULL;

		assert_int_equal(rfs_repo_open_quota(CAPACITY, &inner), 0);
		rfs_repo_adopt(inner, 400);
		assert_int_equal(faulty_repo_open(inner, &outer), 0);
		assert_int_equal(available(outer), 600);
		rfs_repo_close(outer);
	}
}

static void one_call_fails(void **state)
{
	const struct faulty_repo_plan plan = {.calls = FAULTY_REPO_RESERVE, .nth = 3, .error = EIO};
	struct rfs_repo *repo = *state;

	faulty_repo_arm(repo, &plan);
	assert_int_equal(rfs_repo_reserve(repo, 1), 0);
	assert_int_equal(rfs_repo_release(repo, 1), 0);
	assert_int_equal(rfs_repo_reserve(repo, 10), 0);
	assert_int_equal(available(repo), CAPACITY - 10);
	assert_int_equal(rfs_repo_reserve(repo, 100), -EIO);
	assert_int_equal(rfs_repo_reserved(repo), 10);
	assert_int_equal(available(repo), CAPACITY - 10);
	assert_int_equal(rfs_repo_reserve(repo, 100), 0);
	assert_int_equal(faulty_repo_calls(repo), 4);
	assert_int_equal(faulty_repo_failures(repo), 1);
}

static void all_calls_fail_from_one_on(void **state)
{
	const struct faulty_repo_plan plan = {
		.calls = FAULTY_REPO_RELEASE,
		.nth = 2,
		.persistent = true,
		.error = ESTALE,
	};
	struct rfs_repo *repo = *state;

	assert_int_equal(rfs_repo_reserve(repo, 500), 0);
	faulty_repo_arm(repo, &plan);
	assert_int_equal(rfs_repo_release(repo, 100), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(rfs_repo_release(repo, 100), -ESTALE);
	assert_int_equal(rfs_repo_reserved(repo), 400);
	assert_int_equal(faulty_repo_calls(repo), 6);
	assert_int_equal(faulty_repo_failures(repo), 5);

	/* The fault goes away. */
	faulty_repo_arm(repo, NULL);
	assert_int_equal(rfs_repo_release(repo, 400), 0);
	assert_int_equal(available(repo), CAPACITY);
}

static void measuring_fails(void **state)
{
	const struct faulty_repo_plan plan = {.calls = FAULTY_REPO_MEASURE, .nth = 1, .error = ENOTCONN};
	struct rfs_repo *repo = *state;

	faulty_repo_arm(repo, &plan);
	assert_int_equal(rfs_repo_measure(repo), -ENOTCONN);
	assert_int_equal(rfs_repo_measure(repo), 0);
	assert_int_equal(faulty_repo_calls(repo), 2);
}

static void calls_of_several_kinds_are_counted_together(void **state)
{
	struct rfs_repo *repo = *state;

	/* Each of four calls fails in turn, until a run completes. */
	for (uint64_t nth = 1; nth <= 5; nth++) {
		const struct faulty_repo_plan plan = {.calls = FAULTY_REPO_ALL, .nth = nth, .error = EIO};
		int r[4];

		rfs_repo_adopt(repo, 50);
		faulty_repo_arm(repo, &plan);
		r[0] = rfs_repo_measure(repo);
		r[1] = rfs_repo_reserve(repo, 10);
		r[2] = rfs_repo_release(repo, 5);
		r[3] = rfs_repo_measure(repo);
		for (uint64_t i = 0; i < 4; i++)
			assert_int_equal(r[i], i + 1 == nth ? -EIO : 0);
		assert_int_equal(faulty_repo_failures(repo), nth <= 4 ? 1 : 0);
		assert_int_equal(rfs_repo_reserved(repo), 50 + (nth == 2 ? 0 : 10) - (nth == 3 ? 0 : 5));
	}
}

static void *ask(void *repo)
{
	for (int i = 0; i < 1000; i++)
		(void) rfs_repo_measure(repo);
	return NULL;
}

static void calls_of_all_threads_are_counted(void **state)
{
	const struct faulty_repo_plan plan = {
		.calls = FAULTY_REPO_MEASURE,
		.nth = 3001,
		.persistent = true,
		.error = EIO,
	};
	struct rfs_repo *repo = *state;
	pthread_t threads[4];

	faulty_repo_arm(repo, &plan);
	for (size_t i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, ask, repo) != 0)
			abort();
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(faulty_repo_calls(repo), 4000);
	assert_int_equal(faulty_repo_failures(repo), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_a_plan_it_is_the_inner_one, setup, teardown),
		cmocka_unit_test_setup_teardown(adoption_reaches_the_inner_one, setup, teardown),
		cmocka_unit_test_setup_teardown(one_call_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(all_calls_fail_from_one_on, setup, teardown),
		cmocka_unit_test_setup_teardown(measuring_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(calls_of_several_kinds_are_counted_together, setup, teardown),
		cmocka_unit_test_setup_teardown(calls_of_all_threads_are_counted, setup, teardown),
	};

	return cmocka_run_group_tests_name("faulty repo", tests, NULL, NULL);
}
