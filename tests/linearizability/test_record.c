/* SPDX-License-Identifier: MIT */
/*
 * test_record.c: thousands of short histories of Reservations, each checked. With the Datastore in memory the writer is
 * quick and meets requests one by one; on SQLite they gather behind a commit and share the next.
 */
#include "record.h"
#include "subject_reservations.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void record_on(struct rfs_datastore *ds, unsigned histories, uint64_t seed)
{
	struct record_options options = { 5, 7, 4, 10, seed };
	struct record_result result;
	struct rfs_reservations *r;
	struct rfs_repo *repo;
	char message[512] = "";

	assert_int_equal(rfs_repo_open_quota(options.capacity_bytes, &repo), 0);
	if (rfs_reservations_open(ds, repo, message, sizeof message, &r) < 0)
		fail_msg("%s", message);
	struct subject *s = subject_reservations_new(r);
	assert_non_null(s);
	assert_int_equal(record_histories(s, &options, histories, stderr, &result), 0);
	subject_reservations_free(s);
	assert_int_equal(rfs_reservations_close(r), 0);

	print_message("# %u histories, %" PRIu64 " requests, %" PRIu64 " beside another, %" PRIu64 " refused, %" PRIu64
		      " states\n",
		      result.histories, result.requests, result.overlapping, result.refused, result.states);
	assert_true(result.linearizable);
	assert_int_equal(result.histories, histories);
	/* Otherwise nothing was put to the test. */
	assert_true(result.overlapping > histories);
	assert_true(result.refused > histories / 4);
}

static void in_memory(void **state)
{
	struct rfs_datastore *ds;

	(void) state;
	assert_int_equal(rfs_datastore_open_memory(&ds), 0);
	record_on(ds, 4000, 1);
}

static void on_sqlite(void **state)
{
	char directory[] = "/tmp/reservefs-record.XXXXXX", path[64], message[512] = "", command[128];
	struct rfs_datastore *ds;

	(void) state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/datastore.db", directory);
	struct rfs_sqlite_options options = { .path = path };
	if (rfs_datastore_open_sqlite(&options, message, sizeof message, &ds) < 0)
		fail_msg("%s", message);
	record_on(ds, 1000, 2);
	snprintf(command, sizeof command, "rm -r %s", directory);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),
		cmocka_unit_test(on_sqlite),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
