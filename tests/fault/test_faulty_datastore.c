/* SPDX-License-Identifier: MIT */
/* test_faulty_datastore.c: the decorator injects what it is told to, where it is told to, and nothing else. */
#include "../unit/check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "faulty_datastore.h"

static int setup(void **state)
{
	struct rfs_datastore *memory;

	if (rfs_datastore_open_memory(&memory) < 0)
		return -1;
	return faulty_datastore_open(memory, (struct rfs_datastore **) state);
}

static int teardown(void **state)
{
	rfs_datastore_close(*state);
	return 0;
}

static void without_a_plan_all_is_passed_on(void **state)
{
	struct rfs_datastore *ds = *state;
	struct rfs_value value;

	assert_int_equal(rfs_datastore_put(ds, "k", "v"), 0);
	assert_int_equal(rfs_datastore_get(ds, "k", &value), 0);
	assert_string_equal(value.data, "v");
	/* begin, txn_put, commit, get */
	assert_int_equal(faulty_datastore_calls(ds), 4);
	assert_int_equal(faulty_datastore_failures(ds), 0);
}

static void a_transient_fault_strikes_once(void **state)
{
	struct rfs_datastore *ds = *state;
	struct rfs_value value;

	faulty_datastore_arm(ds, &(struct faulty_datastore_plan) {
		.calls = FAULTY_DATASTORE_COMMIT, .nth = 2, .error = EIO });
	assert_int_equal(rfs_datastore_put(ds, "k", "1"), 0);
	assert_int_equal(rfs_datastore_put(ds, "k", "2"), -EIO);
	assert_non_null(strstr(rfs_datastore_explain(ds), "injected"));
	assert_int_equal(rfs_datastore_get(ds, "k", &value), 0);
	assert_string_equal(value.data, "1");
	assert_int_equal(rfs_datastore_put(ds, "k", "3"), 0);
	assert_int_equal(faulty_datastore_calls(ds), 3);
	assert_int_equal(faulty_datastore_failures(ds), 1);
}

static void a_persistent_fault_strikes_until_disarmed(void **state)
{
	struct rfs_datastore *ds = *state;

	faulty_datastore_arm(ds, &(struct faulty_datastore_plan) {
		.calls = FAULTY_DATASTORE_TXN_PUT, .nth = 1, .persistent = true, .error = ENOSPC });
	for (int i = 0; i < 3; i++)
		assert_int_equal(rfs_datastore_put(ds, "k", "1"), -ENOSPC);
	assert_int_equal(faulty_datastore_failures(ds), 3);
	faulty_datastore_arm(ds, NULL);
	assert_int_equal(rfs_datastore_put(ds, "k", "1"), 0);
}

struct seen {
	struct rfs_datastore *ds;
	bool there_before;
	bool there_after;
};

static bool is_there(struct rfs_datastore *ds)
{
	struct rfs_value value;
	return rfs_datastore_get(ds, "k", &value) == 0;
}

static void look_before(void *user)
{
	struct seen *seen = user;
	seen->there_before = is_there(seen->ds);
}

static void look_after(void *user)
{
	struct seen *seen = user;
	seen->there_after = is_there(seen->ds);
}

static void hooks_stand_before_and_after_the_call(void **state)
{
	struct seen seen = { .ds = *state, .there_before = true, .there_after = false };

	faulty_datastore_arm(*state, &(struct faulty_datastore_plan) {
		.calls = FAULTY_DATASTORE_COMMIT, .nth = 1, .before = look_before, .after = look_after, .user = &seen });
	assert_int_equal(rfs_datastore_put(*state, "k", "v"), 0);
	assert_false(seen.there_before);
	assert_true(seen.there_after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_a_plan_all_is_passed_on, setup, teardown),
		cmocka_unit_test_setup_teardown(a_transient_fault_strikes_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_persistent_fault_strikes_until_disarmed, setup, teardown),
		cmocka_unit_test_setup_teardown(hooks_stand_before_and_after_the_call, setup, teardown),
	};
	return cmocka_run_group_tests_name("faulty datastore", tests, NULL, NULL);
}
