/* SPDX-License-Identifier: MIT */
/*
 * test_reservations.c: what reservations.h promises, one body run against each Datastore.
 */
#include "rig.h"

#include "../unit/check.h"
#include "reservations/record.h"

#include <errno.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)
#define LONGEST_NAME \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"

static const char *const bad_names[] = { "", ".", "..", ".hidden", "a/b", "/", "a\nb", "\x7f", "\xff", "\xc0\xaf",
					 "\xed\xa0\x80", "caf\xe9", "\xc2\x85" };

static struct rig *rig_of(void **state)
{
	return *state;
}

static uint64_t id_of(struct rfs_contract *c)
{
	struct rfs_contract_stat stat;

	(void) rfs_contract_stat(c, &stat);
	return stat.id;
}

static struct rfs_contract_stat stat_of(struct rfs_contract *c)
{
	struct rfs_contract_stat stat;

	assert_int_equal(rfs_contract_stat(c, &stat), 0);
	return stat;
}

static struct rfs_totals totals_of(struct rig *rig)
{
	struct rfs_totals totals;

	rfs_reservations_totals(rig->r, &totals);
	return totals;
}

static bool is_later(struct rfs_time a, struct rfs_time b)
{
	return a.seconds > b.seconds || (a.seconds == b.seconds && a.nanoseconds > b.nanoseconds);
}

static struct rfs_time wall_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (struct rfs_time) { now.tv_sec, (int32_t) now.tv_nsec };
}

/* One verb after the other */

static void creating(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_time before = wall_clock();
	struct rfs_contract *a = rig_made(rig, "a", 0), *again;
	struct rfs_contract_stat stat = stat_of(a);
	char name[RFS_NAME_MAX + 1];

	assert_true(stat.id >= RFS_CONTRACT_ID_FIRST && stat.id < RFS_CONTRACT_ID_END);
	assert_int_equal(stat.size_bytes, 0);
	assert_false(is_later(before, stat.changed));
	assert_false(is_later(stat.changed, wall_clock()));
	rfs_contract_name(a, name);
	assert_string_equal(name, "a");

	/* There is one of it, however it is found. */
	again = rig_found(rig, "a");
	assert_ptr_equal(again, a);
	rfs_contract_unref(again);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, stat.id, &again), 0);
	assert_ptr_equal(again, a);
	rfs_contract_unref(again);

	assert_int_equal(totals_of(rig).contracts, 1);
	assert_int_equal(totals_of(rig).reserved_bytes, 0);
	assert_false(is_later(stat.changed, totals_of(rig).changed));
	rfs_contract_unref(a);
	rig_expect_sound(rig, 0, 1);
}

static void creating_refused(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *none = NULL;
	struct rfs_request too_long = { .verb = RFS_CREATE };

	assert_int_equal(rig_create(rig, "a", &none), -EEXIST);
	assert_int_equal(rig_resize(rig, a, 1), 0);
	assert_int_equal(rig_create(rig, "a", &none), -EEXIST);
	for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
		assert_int_equal(rig_create(rig, bad_names[i], &none), -EINVAL);
	memset(too_long.new_name, 'x', sizeof too_long.new_name);
	assert_int_equal(rfs_reservations_perform(rig->r, &too_long, NULL), -ENAMETOOLONG);
	assert_null(none);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 1, 1);
}

static void names_up_to_the_longest(void **state)
{
	static const char *const good[] = { "a", "a.", "-", " ", "caf\xc3\xa9", "\xf0\x9f\x92\xbe", "a\\b", "\xc2\xa0",
					    LONGEST_NAME };
	struct rig *rig = rig_of(state);

	assert_int_equal(strlen(LONGEST_NAME), RFS_NAME_MAX);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		rfs_contract_unref(rig_made(rig, good[i], i + 1));
	rig_reopen(rig);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		rig_expect_size(rig, good[i], i + 1);
	rig_expect_sound(rig, 45, 9);
}

static void resizing(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0);
	struct rfs_time created = stat_of(a).changed, grown;
	struct rfs_request q = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 4 * GIB };

	assert_int_equal(rfs_reservations_perform(rig->r, &q, NULL), 0);
	assert_int_equal(q.old_size_bytes, 0);
	assert_int_equal(q.wanted_bytes, 4 * GIB);
	grown = stat_of(a).changed;
	assert_true(is_later(grown, created));
	rig_expect_sound(rig, 4 * GIB, 1);

	q = (struct rfs_request) { .verb = RFS_RESIZE, .contract = a, .size_bytes = GIB };
	assert_int_equal(rfs_reservations_perform(rig->r, &q, NULL), 0);
	assert_int_equal(q.old_size_bytes, 4 * GIB);
	assert_int_equal(q.wanted_bytes, GIB);
	rig_expect_sound(rig, GIB, 1);

	/* To the last byte, and not one more. */
	assert_int_equal(rig_resize(rig, a, 10 * GIB + 1), -ENOSPC);
	assert_int_equal(rig_resize(rig, a, 10 * GIB), 0);
	rig_expect_sound(rig, 10 * GIB, 1);
	rfs_contract_unref(a);
}

static void resizing_to_the_same(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 7);
	struct rfs_time changed = stat_of(a).changed;
	struct rfs_request q = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 7 };

	assert_int_equal(rfs_reservations_perform(rig->r, &q, NULL), 0);
	assert_int_equal(q.old_size_bytes, 7);
	assert_int_equal(q.wanted_bytes, 7);
	assert_int_equal(stat_of(a).changed.seconds, changed.seconds);
	assert_int_equal(stat_of(a).changed.nanoseconds, changed.nanoseconds);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 7, 1);
}

static void resizing_refused(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 3 * GIB), *b = rig_made(rig, "b", 6 * GIB);
	struct rfs_request q = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 4 * GIB + 1 };

	assert_int_equal(rfs_reservations_perform(rig->r, &q, NULL), -ENOSPC);
	assert_int_equal(q.old_size_bytes, 3 * GIB);
	assert_int_equal(q.wanted_bytes, 4 * GIB + 1);
	assert_int_equal(q.available_bytes, GIB);
	q = (struct rfs_request) { .verb = RFS_RESIZE, .contract = a, .size_bytes = RFS_BYTES_MAX };
	assert_int_equal(rfs_reservations_perform(rig->r, &q, NULL), -ENOSPC);
	assert_int_equal(q.available_bytes, GIB);
	rig_expect_size(rig, "a", 3 * GIB);
	rig_expect_size(rig, "b", 6 * GIB);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_expect_sound(rig, 9 * GIB, 2);
}

static void shrinking_when_nothing_is_left(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 8 * GIB), *b = rig_made(rig, "b", 2 * GIB);

	rfs_contract_unref(b);
	assert_int_equal(rig_resize(rig, a, 8 * GIB - 1), 0);
	rig_expect_sound(rig, 10 * GIB - 1, 2);
	/* Nor does it need to fit at all. */
	rig->capacity_bytes = GIB;
	rfs_contract_unref(a);
	rig_reopen(rig);
	a = rig_found(rig, "a");
	assert_int_equal(rig_resize(rig, a, 7 * GIB + 1), 0);
	assert_int_equal(rig_resize(rig, a, 7 * GIB), 0);
	assert_int_equal(rig_resize(rig, a, 7 * GIB + 1), -ENOSPC);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 9 * GIB, 2);
}

static void taking_all_that_is_left(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", GIB), *b = rig_made(rig, "b", 3 * GIB);
	struct rfs_request q = { .verb = RFS_RESIZE, .contract = a, .size_bytes = RFS_ALL };

	assert_int_equal(rfs_reservations_perform(rig->r, &q, NULL), 0);
	assert_int_equal(q.wanted_bytes, 7 * GIB);
	assert_int_equal(q.old_size_bytes, GIB);
	rig_expect_size(rig, "a", 7 * GIB);
	/* With nothing left it is what the contract has. */
	assert_int_equal(rig_resize(rig, b, RFS_ALL), 0);
	rig_expect_size(rig, "b", 3 * GIB);
	assert_int_equal(rig_remove(rig, a), 0);
	assert_int_equal(rig_resize(rig, b, RFS_ALL), 0);
	rig_expect_size(rig, "b", 10 * GIB);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_expect_sound(rig, 10 * GIB, 1);
}

static void expect_gone(struct rig *rig, struct rfs_contract *c, const char *name, uint64_t id)
{
	struct rfs_contract_stat stat = { 0 };
	char shown[RFS_NAME_MAX + 1];
	struct rfs_contract *none = NULL;

	assert_int_equal(rfs_contract_stat(c, &stat), -ENODEV);
	assert_int_equal(stat.id, id);
	rfs_contract_name(c, shown);
	assert_string_equal(shown, name);
	assert_int_equal(rig_resize(rig, c, 1), -ENODEV);
	assert_int_equal(rig_resize(rig, c, 0), -ENODEV);
	assert_int_equal(rig_resize(rig, c, RFS_ALL), -ENODEV);
	assert_int_equal(rig_remove(rig, c), -ENODEV);
	assert_int_equal(rig_rename(rig, c, "other"), -ENODEV);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, id, &none), -ENOENT);
	assert_null(none);
}

static void removing(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *b = rig_made(rig, "b", 5 * GIB), *again;
	uint64_t id_a = id_of(a), id_b = id_of(b);
	struct rfs_request q = { .verb = RFS_REMOVE, .contract = b };

	assert_int_equal(rig_remove(rig, a), 0);
	expect_gone(rig, a, "a", id_a);
	assert_int_equal(rfs_reservations_perform(rig->r, &q, NULL), 0);
	assert_int_equal(q.old_size_bytes, 5 * GIB);
	expect_gone(rig, b, "b", id_b);
	rig_expect_none(rig, "a");
	rig_expect_none(rig, "b");
	rig_expect_sound(rig, 0, 0);

	/* Whoever holds the old one is not led to a new one of that name. */
	again = rig_made(rig, "b", 1);
	assert_ptr_not_equal(again, b);
	assert_true(id_of(again) > id_b);
	expect_gone(rig, b, "b", id_b);
	rig_expect_size(rig, "b", 1);
	rfs_contract_unref(again);
	rfs_contract_unref(b);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 1, 1);
	rig_reopen(rig);
	rig_expect_none(rig, "a");
	rig_expect_size(rig, "b", 1);
}

static void creating_and_removing_by_turns(void **state)
{
	struct rig *rig = rig_of(state);
	uint64_t last_id = 0;

	for (int i = 0; i < 500; i++) {
		struct rfs_contract *c = rig_made(rig, "same", 0);
		assert_true(id_of(c) > last_id);
		last_id = id_of(c);
		if (i % 7 == 0)
			assert_int_equal(rig_sync(rig), 0);
		assert_int_equal(rig_remove(rig, c), 0);
		rig_expect_none(rig, "same");
		rfs_contract_unref(c);
	}
	rig_expect_sound(rig, 0, 0);
}

static void renaming(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", GIB), *found;
	struct rfs_contract_stat before = stat_of(a), after;
	char name[RFS_NAME_MAX + 1];

	assert_int_equal(rig_rename(rig, a, "b"), 0);
	after = stat_of(a);
	assert_int_equal(after.id, before.id);
	assert_int_equal(after.size_bytes, GIB);
	assert_int_equal(after.changed.seconds, before.changed.seconds);
	assert_int_equal(after.changed.nanoseconds, before.changed.nanoseconds);
	rfs_contract_name(a, name);
	assert_string_equal(name, "b");
	rig_expect_none(rig, "a");
	found = rig_found(rig, "b");
	assert_ptr_equal(found, a);
	rfs_contract_unref(found);

	/* The name it had is free, also for itself. */
	assert_int_equal(rig_rename(rig, a, "b"), 0);
	assert_int_equal(rig_rename(rig, a, LONGEST_NAME), 0);
	assert_int_equal(rig_rename(rig, a, "a"), 0);
	rfs_contract_unref(rig_made(rig, "b", 2 * GIB));
	rfs_contract_unref(a);
	rig_reopen(rig);
	rig_expect_size(rig, "a", GIB);
	rig_expect_size(rig, "b", 2 * GIB);
	rig_expect_sound(rig, 3 * GIB, 2);
}

static void renaming_refused(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 1), *b = rig_made(rig, "b", 0), *c = rig_made(rig, "c", 2);
	struct rfs_request too_long = { .verb = RFS_RENAME, .contract = a };

	assert_int_equal(rig_rename(rig, a, "b"), -EEXIST);
	assert_int_equal(rig_rename(rig, a, "c"), -EEXIST);
	for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
		assert_int_equal(rig_rename(rig, a, bad_names[i]), -EINVAL);
	memset(too_long.new_name, 'x', sizeof too_long.new_name);
	assert_int_equal(rfs_reservations_perform(rig->r, &too_long, NULL), -ENAMETOOLONG);
	rig_expect_size(rig, "a", 1);
	rfs_contract_unref(b);
	rfs_contract_unref(c);
	rfs_contract_unref(a);
	rig_reopen(rig);
	/* Also onto one that is not in memory. */
	a = rig_found(rig, "a");
	assert_int_equal(rig_rename(rig, a, "c"), -EEXIST);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 3, 3);
}

static void renaming_one_that_is_not_stored_yet(void **state)
{
	struct rig *rig = rig_of(state);
	struct rig copy;
	struct rfs_contract *a = rig_made(rig, "a", 0);

	assert_int_equal(rig_rename(rig, a, "b"), 0);
	rig_crash(rig, &copy);
	rig_expect_none(&copy, "a");
	rig_expect_size(&copy, "b", 0);
	rig_expect_sound(&copy, 0, 1);
	assert_int_equal(rig_close(&copy), 0);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 0, 1);
}

/* What lasts */

static void everything_comes_back(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract_stat before[3], after;
	static const char *const names[] = { "a", "b", "c" };
	struct rfs_totals totals;

	for (size_t i = 0; i < 3; i++) {
		struct rfs_contract *c = rig_made(rig, names[i], i * 1000);
		before[i] = stat_of(c);
		rfs_contract_unref(c);
	}
	totals = totals_of(rig);
	rig_reopen(rig);
	assert_int_equal(totals_of(rig).contracts, totals.contracts);
	assert_int_equal(totals_of(rig).reserved_bytes, 3000);
	assert_int_equal(totals_of(rig).changed.seconds, totals.changed.seconds);
	assert_int_equal(totals_of(rig).changed.nanoseconds, totals.changed.nanoseconds);
	for (size_t i = 0; i < 3; i++) {
		struct rfs_contract *c = rig_found(rig, names[i]);
		after = stat_of(c);
		assert_int_equal(after.id, before[i].id);
		assert_int_equal(after.size_bytes, before[i].size_bytes);
		assert_int_equal(after.changed.seconds, before[i].changed.seconds);
		assert_int_equal(after.changed.nanoseconds, before[i].changed.nanoseconds);
		rfs_contract_unref(c);
	}
	rig_expect_sound(rig, 3000, 3);
}

static void ids_are_never_given_away_again(void **state)
{
	struct rig *rig = rig_of(state);
	uint64_t last_id = 0;

	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 50; i++) {
			struct rfs_contract *c = rig_made(rig, "brief", i % 2);
			assert_true(id_of(c) > last_id);
			last_id = id_of(c);
			assert_int_equal(rig_remove(rig, c), 0);
			rfs_contract_unref(c);
		}
		rig_reopen(rig);
	}
	/* Those not used are not lost either, when it was closed in order. */
	struct rfs_contract *c = rig_made(rig, "brief", 0);
	assert_int_equal(id_of(c), last_id + 1);
	rfs_contract_unref(c);
}

static void ids_outlive_a_crash(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *c, *after;
	struct rig copy;

	/* Not stored at all when it comes. */
	rig_gate_close(rig, 0, FAULTY_DATASTORE_BEGIN);
	c = rig_made(rig, "lost", 0);
	rig_crash(rig, &copy);
	rig_expect_none(&copy, "lost");
	after = rig_made(&copy, "new", 0);
	assert_true(id_of(after) > id_of(c));
	rfs_contract_unref(after);
	assert_int_equal(rig_close(&copy), 0);
	rig_gate_open(rig, 0);
	rfs_contract_unref(c);
}

/* A process that ends without closing anything; it tells the id that it was given. */
static void crash_with_contracts(const char *path)
{
	char message[512] = "";
	struct rfs_sqlite_options options = { .path = path };
	struct rfs_request made = { .verb = RFS_CREATE, .new_name = "made" }, lost = { .verb = RFS_CREATE, .new_name = "lost" };
	struct rfs_contract_stat stat;
	struct rfs_reservations *r;
	struct rfs_datastore *ds;
	struct rfs_repo *repo;

	if (rfs_datastore_open_sqlite(&options, message, sizeof message, &ds) < 0 ||
	    rfs_repo_open_quota(10 * GIB, &repo) < 0 ||
	    rfs_reservations_open(ds, repo, message, sizeof message, &r) < 0 || rfs_reservations_perform(r, &made, NULL) < 0)
		_exit(1);
	struct rfs_request grow = { .verb = RFS_RESIZE, .contract = made.created, .size_bytes = GIB };
	if (rfs_reservations_perform(r, &grow, NULL) < 0 || rfs_reservations_perform(r, &lost, NULL) < 0 ||
	    rfs_contract_stat(lost.created, &stat) < 0 ||
	    write(STDOUT_FILENO, &stat.id, sizeof stat.id) != sizeof stat.id)
		_exit(2);
	_exit(0);
}

static void a_process_ends_without_closing(void **state)
{
	struct rig *rig = rig_of(state);
	uint64_t last_id = 0;

	if (rig->kind != RIG_SQLITE)
		skip();
	char path[128], message[512] = "", self[4096];
	struct rfs_datastore *ds;
	(void) snprintf(path, sizeof path, "%s/crash.db", rig->directory);
	self[readlink("/proc/self/exe", self, sizeof self - 1)] = '\0';
	for (int round = 0; round < 3; round++) {
		int fds[2], status;
		uint64_t id = 0;
		struct rig after = { .kind = RIG_SQLITE };
		assert_int_equal(pipe(fds), 0);
		/* A program of its own: of a process with threads no more than an exec is certain after fork. By its path, which
		 * leads to this program also where another one runs it. */
		pid_t child = fork();
		if (child == 0) {
			dup2(fds[1], STDOUT_FILENO);
			execl(self, "crash", path, NULL);
			_exit(127);
		}
		assert_int_equal(read(fds[0], &id, sizeof id), sizeof id);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		close(fds[0]);
		close(fds[1]);
		assert_true(id > last_id);

		struct rfs_sqlite_options options = { .path = path };
		assert_int_equal(rfs_datastore_open_sqlite(&options, message, sizeof message, &ds), 0);
		assert_int_equal(rig_try(&after, ds, 10 * GIB, message, sizeof message), 0);
		struct rfs_contract *made = rig_found(&after, "made"), *fresh = rig_made(&after, "fresh", 0);
		assert_int_equal(stat_of(made).size_bytes, GIB);
		assert_true(id_of(fresh) > id);
		last_id = id_of(fresh);
		assert_int_equal(rig_remove(&after, fresh), 0);
		assert_int_equal(rig_remove(&after, made), 0);
		rfs_contract_unref(fresh);
		rfs_contract_unref(made);
		struct rfs_contract *lost;
		if (rfs_reservations_lookup(after.r, "lost", &lost) == 0) {
			assert_int_equal(stat_of(lost).size_bytes, 0);
			assert_int_equal(rig_remove(&after, lost), 0);
			rfs_contract_unref(lost);
		}
		rig_expect_sound(&after, 0, 0);
		assert_int_equal(rig_close(&after), 0);
	}
}

static void what_was_answered_outlives_a_crash(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *b = rig_made(rig, "b", 0);
	struct rig copy;

	assert_int_equal(rig_resize(rig, a, GIB), 0);
	rig_crash(rig, &copy);
	rig_expect_sound(&copy, GIB, 2);
	rig_expect_size(&copy, "a", GIB);
	assert_int_equal(rig_close(&copy), 0);

	assert_int_equal(rig_rename(rig, a, "c"), 0);
	rig_crash(rig, &copy);
	rig_expect_size(&copy, "c", GIB);
	rig_expect_none(&copy, "a");
	assert_int_equal(rig_close(&copy), 0);

	assert_int_equal(rig_remove(rig, a), 0);
	rig_crash(rig, &copy);
	rig_expect_sound(&copy, 0, 1);
	rig_expect_none(&copy, "c");
	assert_int_equal(rig_close(&copy), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
}

static void sync_makes_deferred_changes_durable(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *b;
	struct rig copy;

	assert_int_equal(rig_sync(rig), 0);
	rig_crash(rig, &copy);
	rig_expect_size(&copy, "a", 0);
	assert_int_equal(rig_close(&copy), 0);

	assert_int_equal(rig_remove(rig, a), 0);
	b = rig_made(rig, "b", 0);
	assert_int_equal(rig_sync(rig), 0);
	rig_crash(rig, &copy);
	rig_expect_none(&copy, "a");
	rig_expect_size(&copy, "b", 0);
	rig_expect_sound(&copy, 0, 1);
	assert_int_equal(rig_close(&copy), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
}

static void a_durable_change_takes_deferred_ones_along(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *old = rig_made(rig, "old", 0), *big = rig_made(rig, "big", 1), *a;
	struct rig copy;

	a = rig_made(rig, "a", 0);
	assert_int_equal(rig_remove(rig, old), 0);
	assert_int_equal(rig_resize(rig, big, 2), 0);
	rig_crash(rig, &copy);
	rig_expect_size(&copy, "a", 0);
	rig_expect_none(&copy, "old");
	rig_expect_sound(&copy, 2, 2);
	assert_int_equal(rig_close(&copy), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(big);
	rfs_contract_unref(old);
}

struct commits {
	pthread_mutex_t lock;
	pthread_cond_t came;
	unsigned count;
	double at;
};

static void note_commit(void *user)
{
	struct commits *commits = user;

	pthread_mutex_lock(&commits->lock);
	commits->count++;
	commits->at = rig_now();
	pthread_cond_broadcast(&commits->came);
	pthread_mutex_unlock(&commits->lock);
}

static void deferred_changes_are_durable_within_a_second(void **state)
{
	struct rig *rig = rig_of(state);
	struct commits commits = { .lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER };
	struct faulty_datastore_plan plan = {
		.calls = FAULTY_DATASTORE_COMMIT, .nth = 1, .persistent = true, .after = note_commit, .user = &commits,
	};
	struct rfs_contract *a = NULL;
	struct timespec until;

	faulty_datastore_arm(rig->ds, &plan);
	for (unsigned round = 1; round <= 2; round++) {
		double asked = rig_now();
		if (round == 1)
			a = rig_made(rig, "a", 0);
		else
			assert_int_equal(rig_remove(rig, a), 0);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 20;
		pthread_mutex_lock(&commits.lock);
		while (commits.count < round && pthread_cond_timedwait(&commits.came, &commits.lock, &until) == 0)
			;
		assert_int_equal(commits.count, round);
		assert_true(commits.at - asked < 1.0);
		pthread_mutex_unlock(&commits.lock);
		/* And they have been gathered, not stored one by one. */
		assert_true(commits.at - asked > 0.1);
	}
	faulty_datastore_arm(rig->ds, NULL);
	rfs_contract_unref(a);
}

static void many_deferred_changes_share_commits(void **state)
{
	enum { MANY = 1000 };
	struct rig *rig = rig_of(state);
	char name[32];

	rig_fail(rig, FAULTY_DATASTORE_COMMIT, 0, false, 0);
	for (int i = 0; i < MANY; i++) {
		(void) snprintf(name, sizeof name, "c%d", i);
		rfs_contract_unref(rig_made(rig, name, 0));
	}
	assert_int_equal(rig_sync(rig), 0);
	assert_true(faulty_datastore_calls(rig->ds) < MANY / 4);
	rig_expect_sound(rig, 0, MANY);
	rig_reopen(rig);
	rig_expect_sound(rig, 0, MANY);
}

/* Many at once */

static void requests_share_a_commit(void **state)
{
	enum { MANY = 100 };
	struct rig *rig = rig_of(state);
	struct rfs_contract *contracts[MANY];
	struct rig_flight first = { .request = { .verb = RFS_RESIZE } }, *flights = calloc(MANY, sizeof *flights);
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rfs_commit_times before, after;
	char name[32];

	assert_non_null(flights);
	for (int i = 0; i < MANY; i++) {
		(void) snprintf(name, sizeof name, "c%d", i);
		contracts[i] = rig_made(rig, name, 0);
	}
	assert_int_equal(rig_sync(rig), 0);
	rfs_reservations_commit_times(rig->r, &before);
	rig_gate_close(rig, 0, FAULTY_DATASTORE_COMMIT);
	first.request.contract = contracts[0];
	first.request.size_bytes = 1;
	rig_submit(rig, &tower, &first);
	rig_gate_await(rig, 0);
	for (int i = 1; i < MANY; i++) {
		flights[i].request = (struct rfs_request) {
			.verb = RFS_RESIZE, .contract = contracts[i], .size_bytes = 1,
		};
		rig_submit(rig, &tower, &flights[i]);
	}
	/* None is answered before its commit has returned. */
	assert_int_equal(rig_answers(&tower), 0);
	assert_int_equal(totals_of(rig).reserved_bytes, 0);
	rig_gate_open(rig, 0);
	rig_await(&tower, MANY);
	rfs_reservations_commit_times(rig->r, &after);
	assert_int_equal(after.count - before.count, 2);
	assert_int_equal(first.error, 0);
	assert_int_equal(first.order, 1);
	for (int i = 1; i < MANY; i++) {
		assert_int_equal(flights[i].error, 0);
		rig_expect_size(rig, (snprintf(name, sizeof name, "c%d", i), name), 1);
	}
	for (int i = 0; i < MANY; i++)
		rfs_contract_unref(contracts[i]);
	free(flights);
	rig_expect_sound(rig, MANY, MANY);
}

static void a_batch_is_checked_one_after_the_other(void **state)
{
	enum { ASKING = 8 };
	struct rig *rig = rig_of(state);
	struct rig_flight flights[ASKING + 1] = { 0 };
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rfs_contract *contracts[ASKING + 1];
	uint64_t sum = 0;
	char name[32];

	for (int i = 0; i <= ASKING; i++) {
		(void) snprintf(name, sizeof name, "c%d", i);
		contracts[i] = rig_made(rig, name, 0);
		flights[i].request = (struct rfs_request) {
			.verb = RFS_RESIZE, .contract = contracts[i], .size_bytes = i == 0 ? GIB : 4 * GIB,
		};
	}
	rig_gate_close(rig, 0, FAULTY_DATASTORE_COMMIT);
	rig_submit(rig, &tower, &flights[0]);
	rig_gate_await(rig, 0);
	for (int i = 1; i <= ASKING; i++)
		rig_submit(rig, &tower, &flights[i]);
	rig_gate_open(rig, 0);
	rig_await(&tower, ASKING + 1);
	/* 9 GiB are left for them: the first two that asked get theirs. */
	for (int i = 1; i <= ASKING; i++)
		assert_int_equal(flights[i].error, i <= 2 ? 0 : -ENOSPC);
	assert_int_equal(flights[3].request.available_bytes, GIB);
	for (int i = 0; i <= ASKING; i++) {
		sum += stat_of(contracts[i]).size_bytes;
		rfs_contract_unref(contracts[i]);
	}
	assert_int_equal(sum, 9 * GIB);
	rig_expect_sound(rig, 9 * GIB, ASKING + 1);
}

static void one_contract_twice_in_a_batch(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *blocker = rig_made(rig, "blocker", 0);
	struct rig_flight flights[] = {
		{ .request = { .verb = RFS_RESIZE, .contract = blocker, .size_bytes = 1 } },
		{ .request = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 6 * GIB } },
		{ .request = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 2 * GIB } },
		{ .request = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 7 * GIB } },
		{ .request = { .verb = RFS_RENAME, .contract = a, .new_name = "b" } },
		{ .request = { .verb = RFS_CREATE, .new_name = "b" } },
		{ .request = { .verb = RFS_REMOVE, .contract = a } },
		{ .request = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 1 } },
		{ .request = { .verb = RFS_CREATE, .new_name = "c" } },
		{ .request = { .verb = RFS_CREATE, .new_name = "c" } },
	};
	static const int errors[] = { 0, 0, 0, 0, 0, -EEXIST, 0, -ENODEV, 0, -EEXIST };
	enum { COUNT = sizeof flights / sizeof *flights };
	struct rig_tower tower = RIG_TOWER_INIT;

	rig_gate_close(rig, 0, FAULTY_DATASTORE_COMMIT);
	rig_submit(rig, &tower, &flights[0]);
	rig_gate_await(rig, 0);
	for (int i = 1; i < COUNT; i++)
		rig_submit(rig, &tower, &flights[i]);
	rig_gate_open(rig, 0);
	rig_await(&tower, COUNT);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(flights[i].error, errors[i]);
		assert_int_equal(flights[i].order, i + 1);
	}
	assert_int_equal(flights[2].request.old_size_bytes, 6 * GIB);
	assert_int_equal(flights[3].request.old_size_bytes, 2 * GIB);
	assert_int_equal(flights[6].request.old_size_bytes, 7 * GIB);
	rig_expect_none(rig, "a");
	rig_expect_none(rig, "b");
	rfs_contract_unref(flights[8].request.created);
	rfs_contract_unref(a);
	rfs_contract_unref(blocker);
	rig_expect_sound(rig, 1, 2);
}

struct racer {
	struct rig *rig;
	pthread_t thread;
	pthread_barrier_t *start;
	struct rfs_contract *contract;
	unsigned number, won, lost, rounds;
	uint64_t step_bytes;
	int unexpected;
};

static void *grab(void *user)
{
	struct racer *racer = user;
	uint64_t size = 0;

	pthread_barrier_wait(racer->start);
	for (unsigned i = 0; i < racer->rounds; i++) {
		int rc = rig_resize(racer->rig, racer->contract, size + racer->step_bytes);
		if (rc == 0) {
			size += racer->step_bytes;
			racer->won++;
		} else if (rc == -ENOSPC) {
			racer->lost++;
		} else {
			racer->unexpected = rc;
		}
	}
	return NULL;
}

static void racing_for_the_last_byte(void **state)
{
	enum { RACERS = 8, ROUNDS = 40 };
	struct rig *rig = rig_of(state);
	struct racer racers[RACERS];
	pthread_barrier_t start;
	unsigned won = 0, lost = 0;
	char name[32];

	/* For 7 bytes left more than 7 ask. */
	struct rfs_contract *big = rig_made(rig, "big", 10 * GIB - 7);
	pthread_barrier_init(&start, NULL, RACERS);
	for (unsigned i = 0; i < RACERS; i++) {
		(void) snprintf(name, sizeof name, "r%u", i);
		racers[i] = (struct racer) {
			.rig = rig, .start = &start, .contract = rig_made(rig, name, 0), .rounds = ROUNDS, .step_bytes = 1,
		};
	}
	for (unsigned i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&racers[i].thread, NULL, grab, &racers[i]), 0);
	for (unsigned i = 0; i < RACERS; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_int_equal(racers[i].unexpected, 0);
		assert_int_equal(stat_of(racers[i].contract).size_bytes, racers[i].won);
		won += racers[i].won;
		lost += racers[i].lost;
		rfs_contract_unref(racers[i].contract);
	}
	pthread_barrier_destroy(&start);
	assert_int_equal(won, 7);
	assert_int_equal(lost, RACERS * ROUNDS - 7);
	rfs_contract_unref(big);
	rig_expect_sound(rig, 10 * GIB, RACERS + 1);
}

static int name_of_round(char name[32], const struct racer *racer, unsigned round)
{
	return snprintf(name, 32, "n%u", (racer->number + round) % 5);
}

/* Everything that can be asked, by everybody of everybody. */
static void *meddle(void *user)
{
	struct racer *racer = user;
	struct rig *rig = racer->rig;

	pthread_barrier_wait(racer->start);
	for (unsigned i = 0; i < racer->rounds; i++) {
		struct rfs_contract *c = NULL;
		char name[32], other[32];
		int rc;

		(void) name_of_round(name, racer, i);
		(void) name_of_round(other, racer, i * 3 + 1);
		rc = rfs_reservations_lookup(rig->r, name, &c);
		if (rc == -ENOENT) {
			struct rfs_request q = { .verb = RFS_CREATE };
			strcpy(q.new_name, name);
			rc = rfs_reservations_perform(rig->r, &q, NULL);
			c = q.created;
		}
		if (rc == -EEXIST)
			continue;
		if (rc < 0) {
			racer->unexpected = rc;
			continue;
		}
		switch ((racer->number * 7 + i) % 6) {
		case 0:
		case 1:
			rc = rig_resize(rig, c, (i + racer->number) % 4 * 3 * GIB);
			break;
		case 2:
			rc = rig_resize(rig, c, RFS_ALL);
			break;
		case 3:
			rc = rig_remove(rig, c);
			break;
		case 4:
			rc = rig_rename(rig, c, other);
			break;
		default:
			rc = rig_sync(rig);
		}
		if (rc < 0 && rc != -ENOSPC && rc != -ENODEV && rc != -EEXIST)
			racer->unexpected = rc;
		rfs_contract_unref(c);
	}
	return NULL;
}

static int add_up(void *user, uint64_t id, const char *name)
{
	(void) id;
	(void) name;
	(*(uint64_t *) user)++;
	return 0;
}

static void everybody_meddles_with_everything(void **state)
{
	enum { RACERS = 8 };
	struct rig *rig = rig_of(state);
	struct racer racers[RACERS];
	pthread_barrier_t start;
	uint64_t sum = 0, count = 0;

	pthread_barrier_init(&start, NULL, RACERS);
	for (unsigned i = 0; i < RACERS; i++) {
		racers[i] = (struct racer) { .rig = rig, .start = &start, .number = i, .rounds = 300 };
		assert_int_equal(pthread_create(&racers[i].thread, NULL, meddle, &racers[i]), 0);
	}
	for (unsigned i = 0; i < RACERS; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_int_equal(racers[i].unexpected, 0);
	}
	pthread_barrier_destroy(&start);
	for (int i = 0; i < 5; i++) {
		struct rfs_contract *c;
		char name[32];
		(void) snprintf(name, sizeof name, "n%d", i);
		if (rfs_reservations_lookup(rig->r, name, &c) < 0)
			continue;
		sum += stat_of(c).size_bytes;
		rfs_contract_unref(c);
	}
	assert_true(sum <= 10 * GIB);
	assert_int_equal(rfs_reservations_list(rig->r, 0, add_up, &count, NULL), 0);
	rig_expect_sound(rig, sum, count);
	rig_reopen(rig);
	rig_expect_sound(rig, sum, count);
}

/* Cancelling and closing */

static void cancelling(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *b = rig_made(rig, "b", 0);
	struct rig_flight begun = { .request = { .verb = RFS_RESIZE, .contract = a, .size_bytes = 1 } };
	struct rig_flight waiting = { .request = { .verb = RFS_RESIZE, .contract = b, .size_bytes = 1 } };
	struct rig_flight naming = { .request = { .verb = RFS_RENAME, .contract = b, .new_name = "c" } };
	struct rig_tower tower = RIG_TOWER_INIT;

	assert_int_equal(rig_sync(rig), 0);
	rig_gate_close(rig, 0, FAULTY_DATASTORE_COMMIT);
	rig_submit(rig, &tower, &begun);
	rig_gate_await(rig, 0);
	rig_submit(rig, &tower, &waiting);
	rig_submit(rig, &tower, &naming);
	assert_false(rfs_request_cancel(rig->r, &begun.request));
	assert_true(rfs_request_cancel(rig->r, &waiting.request));
	assert_true(rfs_request_cancel(rig->r, &naming.request));
	/* Answered at once, and once only. */
	assert_int_equal(rig_answers(&tower), 2);
	assert_int_equal(waiting.error, -ECANCELED);
	assert_int_equal(naming.error, -ECANCELED);
	assert_false(rfs_request_cancel(rig->r, &waiting.request));
	rig_gate_open(rig, 0);
	rig_await(&tower, 3);
	assert_int_equal(begun.error, 0);
	assert_false(rfs_request_cancel(rig->r, &begun.request));
	rig_expect_size(rig, "b", 0);
	rig_expect_none(rig, "c");
	/* It stands in nobody's way. */
	assert_int_equal(rig_rename(rig, b, "c"), 0);
	assert_int_equal(rig_remove(rig, b), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_expect_sound(rig, 1, 1);
}

struct closer {
	struct rig *rig;
	int rc;
};

static void *close_rig(void *user)
{
	struct closer *closer = user;

	closer->rc = rfs_reservations_close(closer->rig->r);
	return NULL;
}

static void closing_with_work_pending(void **state)
{
	enum { MANY = 300 };
	struct rig *rig = rig_of(state);
	struct rig_flight *flights = calloc(MANY, sizeof *flights), begun = { .request = { .verb = RFS_RESIZE } };
	struct rfs_contract *a = rig_made(rig, "a", 0), *gone;
	struct rig_tower tower = RIG_TOWER_INIT;
	struct closer closer = { .rig = rig, .rc = 1 };
	pthread_t thread;
	char name[32];

	assert_non_null(flights);
	for (int i = 0; i < MANY; i++) {
		(void) snprintf(name, sizeof name, "c%d", i);
		flights[i].request = (struct rfs_request) {
			.verb = RFS_RESIZE, .contract = rig_made(rig, name, 0), .size_bytes = 10,
		};
		flights[i].unref = true;
	}
	assert_int_equal(rig_sync(rig), 0);
	rig_gate_close(rig, 0, FAULTY_DATASTORE_COMMIT);
	begun.request.contract = a;
	begun.request.size_bytes = 5;
	begun.unref = true;
	rig_submit(rig, &tower, &begun);
	rig_gate_await(rig, 0);
	for (int i = 0; i < MANY; i++)
		rig_submit(rig, &tower, &flights[i]);
	rfs_contract_unref(rig_made(rig, "deferred", 0));
	gone = rig_made(rig, "gone", 0);
	assert_int_equal(rig_remove(rig, gone), 0);
	assert_int_equal(pthread_create(&thread, NULL, close_rig, &closer), 0);
	/* Nothing new is taken once it is closing; until then, this is what it says of one that is gone. */
	double until = rig_now() + 20;
	struct rfs_contract *late = NULL;
	int rc;
	while ((rc = rig_remove(rig, gone)) == -ENODEV && rig_now() < until)
		sched_yield();
	assert_int_equal(rc, -ESHUTDOWN);
	assert_int_equal(rig_create(rig, "late", &late), -ESHUTDOWN);
	assert_null(late);
	assert_int_equal(rig_resize(rig, a, 5), -ESHUTDOWN);
	assert_int_equal(rig_resize(rig, a, 6), -ESHUTDOWN);
	assert_int_equal(rig_remove(rig, a), -ESHUTDOWN);
	assert_int_equal(rig_sync(rig), -ESHUTDOWN);
	rfs_contract_unref(gone);
	rig_gate_open(rig, 0);
	pthread_join(thread, NULL);
	assert_int_equal(closer.rc, 0);
	assert_int_equal(rig_answers(&tower), MANY + 1);
	assert_int_equal(begun.error, 0);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(flights[i].error, 0);
	free(flights);
	rig_attach(rig);
	rig_expect_size(rig, "a", 5);
	rig_expect_size(rig, "c299", 10);
	rig_expect_size(rig, "deferred", 0);
}

/* Finding */

static void looking_up_what_is_not_there(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *none = NULL;
	char long_name[RFS_NAME_MAX + 2];

	memset(long_name, 'x', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	rig_expect_none(rig, "nothing");
	for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
		rig_expect_none(rig, bad_names[i]);
	assert_int_equal(rfs_reservations_lookup(rig->r, long_name, &none), -ENAMETOOLONG);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, 0, &none), -ENOENT);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, RFS_CONTRACT_ID_FIRST, &none), -ENOENT);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, RFS_CONTRACT_ID_END, &none), -ENOENT);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, UINT64_MAX, &none), -ENOENT);
	assert_int_equal(rfs_reservations_peek_id(rig->r, RFS_CONTRACT_ID_FIRST - 1, &none), -ENOENT);
	assert_null(none);
}

/* Whoever must not wait learns what is at hand, and of the rest that it must be waited for. */
static void a_peek_does_not_wait(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *c, *again;
	char long_name[RFS_NAME_MAX + 2];

	memset(long_name, 'x', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	rfs_contract_unref(rig_made(rig, "a", 3));
	rig_reopen(rig);
	rig_fail(rig, FAULTY_DATASTORE_GET_NOW, 1, true, EAGAIN);
	assert_int_equal(rfs_reservations_peek(rig->r, "a", &c), -EAGAIN);
	assert_int_equal(rfs_reservations_peek(rig->r, "b", &c), -EAGAIN);
	assert_int_equal(rfs_reservations_peek(rig->r, ".hidden", &c), -ENOENT);
	assert_int_equal(rfs_reservations_peek(rig->r, long_name, &c), -ENAMETOOLONG);
	rig_fail(rig, FAULTY_DATASTORE_GET_NOW, 1, true, EIO);
	assert_int_equal(rfs_reservations_peek(rig->r, "a", &c), -EIO);

	/* A look-up that may wait asks in the other way; then memory knows both. */
	c = rig_found(rig, "a");
	assert_int_equal(rfs_reservations_peek(rig->r, "a", &again), 0);
	assert_ptr_equal(again, c);
	rfs_contract_unref(again);
	rfs_contract_unref(c);
	rig_expect_none(rig, "b");
	assert_int_equal(rfs_reservations_peek(rig->r, "b", &c), -ENOENT);

	/* What the Datastore has at hand takes no call that may wait. In memory that is everything; of a file it depends on the
	 * file system, and is told in test_sqlite_file.c. */
	if (rig->kind != RIG_MEMORY)
		return;
	rig_fail(rig, FAULTY_DATASTORE_GET, 1, true, EIO);
	assert_int_equal(rfs_reservations_peek(rig->r, "a", &c), 0);
	assert_int_equal(stat_of(c).size_bytes, 3);
	rfs_contract_unref(c);
	assert_int_equal(rfs_reservations_peek(rig->r, "c", &c), -ENOENT);
	rig_fail(rig, FAULTY_DATASTORE_GET, 0, false, 0);
}

static void pins_keep_a_contract_in_memory(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *c, *none = NULL;
	uint64_t id;

	rfs_contract_unref(rig_made(rig, "a", 3));
	rig_reopen(rig);
	assert_int_equal(rfs_reservations_peek_id(rig->r, RFS_CONTRACT_ID_FIRST, &none), -EAGAIN);
	c = rig_found(rig, "a");
	id = id_of(c);
	rfs_contract_pin(c);
	rfs_contract_pin(c);
	rfs_contract_unref(c);
	assert_int_equal(rfs_reservations_peek(rig->r, "a", &c), 0);
	rfs_contract_unpin(c, 1);
	rfs_contract_unref(c);
	assert_int_equal(rfs_reservations_peek_id(rig->r, id, &c), 0);
	assert_int_equal(stat_of(c).size_bytes, 3);
	rfs_contract_unref(c);
	rfs_reservations_unpin_id(rig->r, id, 1);
	assert_int_equal(rfs_reservations_peek_id(rig->r, id, &none), -EAGAIN);

	/* More than are held drops all, and takes no reference. */
	c = rig_found(rig, "a");
	rfs_contract_pin(c);
	rfs_contract_unpin(c, UINT64_MAX);
	assert_int_equal(stat_of(c).size_bytes, 3);
	rfs_contract_pin(c);
	assert_int_equal(rig_remove(rig, c), 0);
	rfs_contract_unref(c);
	assert_int_equal(rfs_reservations_peek_id(rig->r, id, &none), -ENOENT);
	rfs_reservations_unpin_id(rig->r, id, UINT64_MAX);
	rfs_reservations_unpin_id(rig->r, id, 1);
	assert_null(none);
	rig_expect_sound(rig, 0, 0);
}

static void pinned_when_it_closes(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 1), *b = rig_made(rig, "b", 0);

	rfs_contract_pin(a);
	rfs_contract_pin(b);
	assert_int_equal(rig_remove(rig, b), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_reopen(rig);
	rig_expect_sound(rig, 1, 1);
}

/* Listing */

static void listing_in_the_order_of_ids(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *b, *c;
	char names[256];

	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "");
	rfs_contract_unref(rig_made(rig, "z", 1));
	b = rig_made(rig, "b", 0);
	c = rig_made(rig, "c", 2);
	rfs_contract_unref(rig_made(rig, "a", 0));
	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "z b c a ");
	rig_names(rig, id_of(b), names, sizeof names);
	assert_string_equal(names, "c a ");
	rig_names(rig, UINT64_MAX >> 1, names, sizeof names);
	assert_string_equal(names, "");
	assert_int_equal(rig_rename(rig, b, "y"), 0);
	assert_int_equal(rig_remove(rig, c), 0);
	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "z y a ");
	/* One that is gone is as good a place to go on from. */
	rig_names(rig, id_of(c), names, sizeof names);
	assert_string_equal(names, "a ");
	rfs_contract_unref(b);
	rfs_contract_unref(c);
	rig_reopen(rig);
	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "z y a ");
}

struct stopper {
	unsigned calls, stop_at;
	int with;
	uint64_t last_id;
};

static int stop_there(void *user, uint64_t id, const char *name)
{
	struct stopper *stopper = user;

	(void) name;
	if (++stopper->calls == stopper->stop_at)
		return stopper->with;
	stopper->last_id = id;
	return 0;
}

static void listing_stops_where_it_is_told(void **state)
{
	struct rig *rig = rig_of(state);
	char name[32];

	/* Half of them stored, half not. */
	for (int i = 0; i < 10; i++) {
		(void) snprintf(name, sizeof name, "c%d", i);
		rfs_contract_unref(rig_made(rig, name, i < 5));
	}
	for (unsigned at = 1; at <= 10; at++) {
		struct stopper stop = { .stop_at = at, .with = 1 }, fail = { .stop_at = at, .with = -ENOMEM }, rest = { 0 };
		assert_int_equal(rfs_reservations_list(rig->r, 0, stop_there, &stop, NULL), 0);
		assert_int_equal(stop.calls, at);
		assert_int_equal(rfs_reservations_list(rig->r, stop.last_id, stop_there, &rest, NULL), 0);
		assert_int_equal(rest.calls, 10 - (at - 1));
		assert_int_equal(rfs_reservations_list(rig->r, 0, stop_there, &fail, NULL), -ENOMEM);
		assert_int_equal(fail.calls, at);
	}
}

static void one_call_lists_all(void **state)
{
	enum { MANY = 1000 };
	struct rig *rig = rig_of(state);
	uint64_t count = 0;
	char name[32];

	for (int i = 0; i < MANY; i++) {
		(void) snprintf(name, sizeof name, "c%d", i);
		rfs_contract_unref(rig_made(rig, name, 0));
		if (i == MANY / 2) {
			assert_int_equal(rig_sync(rig), 0);
			rig_gate_close(rig, 0, FAULTY_DATASTORE_BEGIN);
		}
	}
	assert_int_equal(rfs_reservations_list(rig->r, 0, add_up, &count, NULL), 0);
	rig_gate_open(rig, 0);
	assert_int_equal(count, MANY);
}

enum { STABLE = 200 };

struct census {
	unsigned seen[STABLE];
	uint64_t last_id;
	unsigned page, left;
	int out_of_order;
};

static int count_stable(void *user, uint64_t id, const char *name)
{
	struct census *census = user;
	unsigned number;

	if (census->left == 0)
		return 1;
	census->left--;
	census->out_of_order |= id <= census->last_id;
	census->last_id = id;
	if (sscanf(name, "stable%u", &number) == 1 && number < STABLE)
		census->seen[number]++;
	return 0;
}

struct lister {
	struct rig *rig;
	struct census census;
	int rc;
};

static void *list_it(void *user)
{
	struct lister *lister = user;

	lister->rc = rfs_reservations_list(lister->rig->r, 0, count_stable, &lister->census, NULL);
	return NULL;
}

/* The contracts are not stored when the listing begins, and all of them when it comes to read the Datastore. */
static void stored_while_being_listed(void **state)
{
	struct rig *rig = rig_of(state);
	struct lister lister = { .rig = rig, .census.left = 10 * STABLE };
	pthread_t thread;
	char name[32];

	rig_gate_close(rig, 0, FAULTY_DATASTORE_BEGIN);
	for (unsigned i = 0; i < STABLE; i++) {
		(void) snprintf(name, sizeof name, "stable%u", i);
		rfs_contract_unref(rig_made(rig, name, 0));
	}
	rig_gate_await(rig, 0);
	rig_gate_close(rig, 1, FAULTY_DATASTORE_SCAN);
	assert_int_equal(pthread_create(&thread, NULL, list_it, &lister), 0);
	rig_gate_await(rig, 1);
	rig_gate_open(rig, 0);
	assert_int_equal(rig_sync(rig), 0);
	rig_gate_open(rig, 1);
	pthread_join(thread, NULL);
	assert_int_equal(lister.rc, 0);
	assert_false(lister.census.out_of_order);
	for (unsigned i = 0; i < STABLE; i++)
		assert_int_equal(lister.census.seen[i], 1);
}

static void listing_does_not_show_what_is_gone(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *b;
	char names[64];

	assert_int_equal(rig_sync(rig), 0);
	b = rig_made(rig, "b", 0);
	/* b is removed while its rows are on their way; when they have arrived it must not come back. */
	rig_gate_close_behind(rig, 0, FAULTY_DATASTORE_COMMIT);
	rig_gate_await(rig, 0);
	assert_int_equal(rig_remove(rig, b), 0);
	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "a ");
	rig_gate_open(rig, 0);
	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "a ");
	assert_int_equal(rig_remove(rig, a), 0);
	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "");
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_expect_sound(rig, 0, 0);
}

struct churner {
	struct rig *rig;
	atomic_bool stop;
	int unexpected;
};

static void *churn(void *user)
{
	struct churner *churner = user;
	char name[32];

	for (unsigned i = 0; !atomic_load(&churner->stop); i++) {
		struct rfs_contract *c;
		struct rfs_request q = { .verb = RFS_CREATE };
		int rc;

		(void) snprintf(q.new_name, sizeof q.new_name, "fleeting%u", i % 50);
		rc = rfs_reservations_perform(churner->rig->r, &q, NULL);
		if (rc == 0)
			rfs_contract_unref(q.created);
		if (rc < 0 && rc != -EEXIST)
			churner->unexpected = rc;
		(void) snprintf(name, sizeof name, "fleeting%u", (i * 7) % 50);
		rc = rfs_reservations_lookup(churner->rig->r, name, &c);
		if (rc < 0 && rc != -ENOENT)
			churner->unexpected = rc;
		if (rc < 0)
			continue;
		if (i % 5 == 0) {
			(void) snprintf(name, sizeof name, "fleeting%u", (i * 3) % 50);
			rc = rig_rename(churner->rig, c, name);
		} else {
			rc = rig_remove(churner->rig, c);
		}
		if (rc < 0 && rc != -EEXIST && rc != -ENODEV)
			churner->unexpected = rc;
		rfs_contract_unref(c);
	}
	return NULL;
}

static void listing_while_everything_changes(void **state)
{
	struct rig *rig = rig_of(state);
	struct churner churner = { .rig = rig };
	pthread_t threads[2];
	char name[32];

	atomic_init(&churner.stop, false);
	for (unsigned i = 0; i < STABLE; i++) {
		(void) snprintf(name, sizeof name, "stable%u", i);
		rfs_contract_unref(rig_made(rig, name, 0));
	}
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, &churner), 0);
	for (unsigned round = 0; round < 60; round++) {
		struct census census = { .page = round % 3 == 0 ? 10000 : 17 };
		uint64_t before;
		do {
			before = census.last_id;
			census.left = census.page;
			assert_int_equal(rfs_reservations_list(rig->r, census.last_id, count_stable, &census, NULL), 0);
		} while (census.last_id != before);
		assert_false(census.out_of_order);
		for (unsigned i = 0; i < STABLE; i++)
			assert_int_equal(census.seen[i], 1);
	}
	atomic_store(&churner.stop, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(churner.unexpected, 0);
	uint64_t count = 0;
	assert_int_equal(rfs_reservations_list(rig->r, 0, add_up, &count, NULL), 0);
	rig_expect_sound(rig, 0, count);
}

static void commits_are_timed(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_commit_times before, after;
	struct rfs_contract *a = rig_made(rig, "a", 0);

	assert_int_equal(rig_sync(rig), 0);
	rfs_reservations_commit_times(rig->r, &before);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(rig_resize(rig, a, i), 0);
	assert_int_equal(rig_resize(rig, a, 10), 0);
	rfs_reservations_commit_times(rig->r, &after);
	assert_int_equal(after.count - before.count, 10);
	assert_true(after.sum_seconds > before.sum_seconds);
	for (size_t i = 1; i < RFS_COMMIT_BUCKETS; i++) {
		assert_true(after.at_most[i] >= after.at_most[i - 1]);
		assert_true(rfs_commit_bounds_seconds[i] > rfs_commit_bounds_seconds[i - 1]);
	}
	assert_true(after.at_most[RFS_COMMIT_BUCKETS - 1] <= after.count);
	rfs_contract_unref(a);
}

/* Damage */

static void damaged_contract_is_shown_not_skipped(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a, *none = NULL;
	uint64_t id_b;

	rfs_contract_unref(rig_made(rig, "a", 1));
	a = rig_made(rig, "b", 2);
	id_b = id_of(a);
	rfs_contract_unref(a);
	assert_int_equal(rig_sync(rig), 0);
	rig_damage(rig, "contract/b", "id=9 size=x");
	assert_int_equal(rfs_reservations_lookup(rig->r, "b", &none), -EBADMSG);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, id_b, &none), -EBADMSG);
	assert_int_equal(rig_create(rig, "b", &none), -EEXIST);
	a = rig_found(rig, "a");
	assert_int_equal(rig_rename(rig, a, "b"), -EEXIST);
	/* Its bytes stay reserved, and the others go on. */
	assert_int_equal(totals_of(rig).reserved_bytes, 3);
	assert_int_equal(totals_of(rig).contracts, 2);
	assert_int_equal(rig_resize(rig, a, 5), 0);
	assert_int_equal(totals_of(rig).reserved_bytes, 7);
	rfs_contract_unref(a);
}

static void damaged_index_ends_the_listing(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *b;
	struct stopper all = { 0 };
	char key[RFS_KEY_MAX + 1], id_key[RFS_KEY_MAX + 1];
	struct rfs_why why;

	rfs_contract_unref(rig_made(rig, "a", 1));
	b = rig_made(rig, "b", 2);
	rfs_contract_unref(rig_made(rig, "c", 3));
	rfs_record_id_key(id_of(b), id_key);
	rfs_contract_unref(b);
	rig_damage(rig, id_key, ".not a name");
	assert_int_equal(rfs_reservations_list(rig->r, 0, stop_there, &all, &why), -EBADMSG);
	assert_int_equal(all.calls, 1);
	assert_non_null(strstr(why.text, id_key));
	(void) snprintf(key, sizeof key, "id/%s", "zz");
	rig_damage(rig, id_key, "b");
	rig_damage(rig, key, "b");
	memset(&all, 0, sizeof all);
	assert_int_equal(rfs_reservations_list(rig->r, 0, stop_there, &all, NULL), -EBADMSG);
	assert_int_equal(all.calls, 3);
}

static void index_that_leads_elsewhere(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *c, *none = NULL;
	char key[RFS_KEY_MAX + 1];
	uint64_t id;

	rfs_contract_unref(rig_made(rig, "a", 1));
	c = rig_made(rig, "b", 2);
	id = id_of(c);
	rfs_contract_unref(c);
	rig_reopen(rig);
	rfs_record_id_key(id, key);
	rig_damage(rig, key, "a");
	assert_int_equal(rfs_reservations_lookup_id(rig->r, id, &none), -EBADMSG);
	rig_damage(rig, key, "nowhere");
	assert_int_equal(rfs_reservations_lookup_id(rig->r, id, &none), -EBADMSG);
	rig_damage(rig, key, "..");
	assert_int_equal(rfs_reservations_lookup_id(rig->r, id, &none), -EBADMSG);
	assert_null(none);
}

static void record_of_an_id_never_given_away(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *none = NULL;

	rig_damage(rig, "contract/planted", "id=99999999 size=1 changed=1.000000000");
	assert_int_equal(rfs_reservations_lookup(rig->r, "planted", &none), -EBADMSG);
	assert_null(none);
}

static void expect_refused(struct rig *rig, int error, const char *text)
{
	struct rig attempt = { 0 };
	char message[512] = "";

	assert_int_equal(rig_try(&attempt, rig->inner, 10 * GIB, message, sizeof message), error);
	if (!strstr(message, text))
		fail_msg("\"%s\" does not say \"%s\"", message, text);
	assert_null(strchr(message, '\n'));
}

static void damaged_totals_are_refused(void **state)
{
	struct rig *rig = rig_of(state), damaged;

	if (rig->kind != RIG_MEMORY)
		skip();
	static const char *const texts[] = { "", "reserved=1", "reserved=1 contracts=1 next_id=8 changed=1.000000000 commits=-1",
					     "reserved=01 contracts=0 next_id=8 changed=1.000000000 commits=1" };
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		memset(&damaged, 0, sizeof damaged);
		assert_int_equal(rfs_datastore_open_memory(&damaged.inner), 0);
		assert_int_equal(rfs_datastore_put(damaged.inner, RFS_KEY_TOTALS, texts[i]), 0);
		expect_refused(&damaged, -EBADMSG, "\"totals\" in the Datastore is damaged; run fsck.reservefs");
	}
	memset(&damaged, 0, sizeof damaged);
	assert_int_equal(rfs_datastore_open_memory(&damaged.inner), 0);
	assert_int_equal(rfs_datastore_put(damaged.inner, "contract/a", "id=8 size=1 changed=1.000000000"), 0);
	expect_refused(&damaged, -EBADMSG, "\"totals\" is missing from the Datastore; run fsck.reservefs");
}

/* A value that is not what its checksum was made of, as only SQLite's own tools can leave it. */
static void a_record_whose_checksum_is_wrong(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *none = NULL;
	struct stopper all = { 0 };
	struct rfs_why why;
	char path[128];
	sqlite3 *db;

	if (rig->kind != RIG_SQLITE)
		skip();
	rfs_contract_unref(rig_made(rig, "a", 1));
	rfs_contract_unref(rig_made(rig, "b", 2));
	assert_int_equal(rfs_reservations_close(rig->r), 0);
	(void) snprintf(path, sizeof path, "%s/datastore.db", rig->directory);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE datastore SET value = replace(value, 'size=1', 'size=7') "
					  "WHERE key = 'contract/a'; UPDATE datastore SET value = 'x' WHERE key GLOB 'id/*'",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	rig_attach(rig);
	assert_int_equal(rfs_reservations_lookup(rig->r, "a", &none), -EBADMSG);
	rig_expect_size(rig, "b", 2);
	assert_int_equal(rfs_reservations_list(rig->r, 0, stop_there, &all, &why), -EBADMSG);
	assert_int_equal(all.calls, 0);
	assert_non_null(strstr(why.text, "id/0000000000000008"));
	assert_int_equal(totals_of(rig).reserved_bytes, 3);
}

static int open_memory(void **state)
{
	struct rig *rig = malloc(sizeof *rig);

	assert_non_null(rig);
	rig_open(rig, RIG_MEMORY, 10 * GIB);
	*state = rig;
	return 0;
}

static int open_sqlite(void **state)
{
	struct rig *rig = malloc(sizeof *rig);

	assert_non_null(rig);
	rig_open(rig, RIG_SQLITE, 10 * GIB);
	*state = rig;
	return 0;
}

static int close_it(void **state)
{
	assert_int_equal(rig_close(*state), 0);
	free(*state);
	return 0;
}

#define ON_BOTH(test) \
	{ "memory: " #test, test, open_memory, close_it, NULL }, { "sqlite: " #test, test, open_sqlite, close_it, NULL }

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[0], "crash") == 0)
		crash_with_contracts(argv[1]);

	const struct CMUnitTest tests[] = {
		ON_BOTH(creating),
		ON_BOTH(creating_refused),
		ON_BOTH(names_up_to_the_longest),
		ON_BOTH(resizing),
		ON_BOTH(resizing_to_the_same),
		ON_BOTH(resizing_refused),
		ON_BOTH(shrinking_when_nothing_is_left),
		ON_BOTH(taking_all_that_is_left),
		ON_BOTH(removing),
		ON_BOTH(creating_and_removing_by_turns),
		ON_BOTH(renaming),
		ON_BOTH(renaming_refused),
		ON_BOTH(renaming_one_that_is_not_stored_yet),
		ON_BOTH(everything_comes_back),
		ON_BOTH(ids_are_never_given_away_again),
		ON_BOTH(ids_outlive_a_crash),
		ON_BOTH(a_process_ends_without_closing),
		ON_BOTH(what_was_answered_outlives_a_crash),
		ON_BOTH(sync_makes_deferred_changes_durable),
		ON_BOTH(a_durable_change_takes_deferred_ones_along),
		ON_BOTH(deferred_changes_are_durable_within_a_second),
		ON_BOTH(many_deferred_changes_share_commits),
		ON_BOTH(requests_share_a_commit),
		ON_BOTH(a_batch_is_checked_one_after_the_other),
		ON_BOTH(one_contract_twice_in_a_batch),
		ON_BOTH(racing_for_the_last_byte),
		ON_BOTH(everybody_meddles_with_everything),
		ON_BOTH(cancelling),
		ON_BOTH(closing_with_work_pending),
		ON_BOTH(looking_up_what_is_not_there),
		ON_BOTH(a_peek_does_not_wait),
		ON_BOTH(pins_keep_a_contract_in_memory),
		ON_BOTH(pinned_when_it_closes),
		ON_BOTH(listing_in_the_order_of_ids),
		ON_BOTH(listing_stops_where_it_is_told),
		ON_BOTH(one_call_lists_all),
		ON_BOTH(stored_while_being_listed),
		ON_BOTH(listing_does_not_show_what_is_gone),
		ON_BOTH(listing_while_everything_changes),
		ON_BOTH(commits_are_timed),
		ON_BOTH(damaged_contract_is_shown_not_skipped),
		ON_BOTH(damaged_index_ends_the_listing),
		ON_BOTH(index_that_leads_elsewhere),
		ON_BOTH(record_of_an_id_never_given_away),
		ON_BOTH(damaged_totals_are_refused),
		ON_BOTH(a_record_whose_checksum_is_wrong),
	};

	return cmocka_run_group_tests_name("reservations", tests, NULL, NULL);
}
