/* SPDX-License-Identifier: MIT */
/*
 * test_reservations.c: Reservations when what is below them fails: each call of the Datastore and of the Repo, once and for
 * good. Whatever fails, nothing that was answered with an error has changed anything, and it all goes on afterwards.
 */
#include "../contract/rig.h"

#include "check.h"
#include "reservations/record.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)
/* As many deferred changes as the writer takes along in one go while they cannot be stored, and some more. */
#define MORE_THAN_HALF_A_BATCH 100

static struct rig *rig_of(void **state)
{
	return *state;
}

static struct rfs_contract_stat stat_of(struct rfs_contract *c)
{
	struct rfs_contract_stat stat;

	assert_int_equal(rfs_contract_stat(c, &stat), 0);
	return stat;
}

/* One of everything: a contract with a size, one without, one to remove, one to rename. */
struct cast {
	struct rfs_contract *sized, *empty, *doomed, *named;
};

static struct cast make_cast(struct rig *rig)
{
	struct cast cast = {
		rig_made(rig, "sized", GIB), rig_made(rig, "empty", 0), rig_made(rig, "doomed", GIB), rig_made(rig, "named", GIB),
	};

	assert_int_equal(rig_sync(rig), 0);
	return cast;
}

static void dismiss(struct cast *cast)
{
	rfs_contract_unref(cast->sized);
	rfs_contract_unref(cast->empty);
	rfs_contract_unref(cast->doomed);
	rfs_contract_unref(cast->named);
}

static int grow(struct rig *rig, struct cast *cast)
{
	return rig_resize(rig, cast->sized, 2 * GIB);
}

static int shrink(struct rig *rig, struct cast *cast)
{
	return rig_resize(rig, cast->sized, 1);
}

static int take_all(struct rig *rig, struct cast *cast)
{
	return rig_resize(rig, cast->sized, RFS_ALL);
}

static int drop(struct rig *rig, struct cast *cast)
{
	return rig_remove(rig, cast->doomed);
}

static int call_other(struct rig *rig, struct cast *cast)
{
	return rig_rename(rig, cast->named, "other");
}

/* The change, and what is reserved and how many there are once it has been made. */
static const struct step {
	const char *name;
	int (*run)(struct rig *rig, struct cast *cast);
	uint64_t reserved_bytes, contracts;
} steps[] = {
	{ "grow", grow, 4 * GIB, 4 },	     { "shrink", shrink, 2 * GIB + 1, 4 }, { "take_all", take_all, 10 * GIB, 4 },
	{ "drop", drop, 2 * GIB, 3 },	     { "call_other", call_other, 3 * GIB, 4 },
};

static void expect_as_it_was(struct rig *rig, struct cast *cast)
{
	struct rfs_contract *none = NULL;

	assert_int_equal(stat_of(cast->sized).size_bytes, GIB);
	assert_int_equal(stat_of(cast->doomed).size_bytes, GIB);
	rig_expect_size(rig, "named", GIB);
	assert_int_equal(rfs_reservations_lookup(rig->r, "other", &none), -ENOENT);
	assert_null(none);
	rig_expect_sound(rig, 3 * GIB, 4);
}

/* The nth call fails, for n = 1 until a run makes fewer calls. */
static void fail_each_call(const struct step *step, unsigned int calls, int error, int answer)
{
	uint64_t failures = 1;

	for (uint64_t nth = 1; failures > 0; nth++) {
		struct cast cast;
		struct rig rig;
		int rc;

		assert_true(nth < 50);
		rig_open(&rig, RIG_MEMORY, 10 * GIB);
		cast = make_cast(&rig);
		/* Persistent, because a batch that fails before its commit is tried again item by item. */
		rig_fail(&rig, calls, nth, true, error);
		rc = step->run(&rig, &cast);
		failures = faulty_datastore_failures(rig.ds);
		rig_fail(&rig, calls, 0, false, 0);
		if (failures > 0) {
			if (rc != answer)
				fail_msg("%s answered %d with call %" PRIu64 " failing", step->name, rc, nth);
			expect_as_it_was(&rig, &cast);
			rc = step->run(&rig, &cast);
		}
		assert_int_equal(rc, 0);
		rig_expect_sound(&rig, step->reserved_bytes, step->contracts);
		dismiss(&cast);
		assert_int_equal(rig_close(&rig), 0);
		assert_true(nth > 1 || failures > 0);
	}
}

static void every_call_of_the_datastore_fails(void **state)
{
	static const unsigned int calls = FAULTY_DATASTORE_BEGIN | FAULTY_DATASTORE_TXN_GET | FAULTY_DATASTORE_TXN_PUT |
					  FAULTY_DATASTORE_TXN_DELETE | FAULTY_DATASTORE_COMMIT;

	(void) state;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		fail_each_call(&steps[i], calls, EIO, -EIO);
		fail_each_call(&steps[i], calls, ENOSPC, -EIO);
		fail_each_call(&steps[i], calls, ENOMEM, -ENOMEM);
	}
}

/* A failure before the commit that does not come again costs nobody anything. */
static void a_passing_failure_is_overcome(void **state)
{
	static const unsigned int calls[] = { FAULTY_DATASTORE_BEGIN, FAULTY_DATASTORE_TXN_PUT };
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0), *b = rig_made(rig, "b", 0), *blocker = rig_made(rig, "blocker", 0);

	assert_int_equal(rig_sync(rig), 0);
	for (size_t i = 0; i < 2; i++) {
		struct rig_flight flights[] = {
			{ .request = { .verb = RFS_RESIZE, .contract = blocker, .size_bytes = i + 1 } },
			{ .request = { .verb = RFS_RESIZE, .contract = a, .size_bytes = i + 1 } },
			{ .request = { .verb = RFS_RESIZE, .contract = b, .size_bytes = i + 1 } },
		};
		struct rig_tower tower = RIG_TOWER_INIT;
		rig_gate_close(rig, 0, FAULTY_DATASTORE_COMMIT);
		rig_submit(rig, &tower, &flights[0]);
		rig_gate_await(rig, 0);
		rig_submit(rig, &tower, &flights[1]);
		rig_submit(rig, &tower, &flights[2]);
		rig_fail(rig, calls[i], 1, false, EIO);
		rig_gate_let(rig, 0);
		rig_await(&tower, 3);
		assert_int_equal(faulty_datastore_failures(rig->ds), 1);
		for (size_t j = 0; j < 3; j++)
			assert_int_equal(flights[j].error, 0);
		rig_fail(rig, 0, 0, false, 0);
	}
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rfs_contract_unref(blocker);
	rig_expect_sound(rig, 6, 3);
}

static void a_commit_that_failed_is_not_tried_again(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 0);

	assert_int_equal(rig_sync(rig), 0);
	rig_fail(rig, FAULTY_DATASTORE_COMMIT, 1, false, EIO);
	assert_int_equal(rig_resize(rig, a, GIB), -EIO);
	assert_int_equal(faulty_datastore_calls(rig->ds), 1);
	assert_string_equal(rig->why.text, "this failure was injected by a test");
	rig_expect_size(rig, "a", 0);
	assert_int_equal(rig_resize(rig, a, GIB), 0);
	rfs_contract_unref(a);
	rig_expect_sound(rig, GIB, 1);
}

struct tamper {
	struct rfs_datastore *inner;
	const char *key;
	const char *value; /* NULL: delete */
};

/* Changes a record on the writer's own thread, between two of its transactions. */
static void tamper_with(void *user)
{
	struct tamper *t = user;

	if (rfs_datastore_begin(t->inner) < 0 ||
	    (t->value ? rfs_datastore_txn_put(t->inner, t->key, t->value)
		      : rfs_datastore_txn_delete(t->inner, t->key)) < 0 ||
	    rfs_datastore_commit(t->inner) < 0)
		abort();
}

static void nothing_goes_on_where_the_disk_says_otherwise(void **state)
{
	static const char *const values[] = { "reserved=5 contracts=1 next_id=9000 changed=1.000000000 commits=99", NULL };
	(void) state;

	for (size_t i = 0; i < 2; i++) {
		struct tamper tamper;
		struct faulty_datastore_plan plan = { .calls = FAULTY_DATASTORE_BEGIN, .nth = 1, .before = tamper_with };
		struct rfs_totals totals;
		struct rfs_contract *a;
		struct rig rig;

		rig_open(&rig, RIG_MEMORY, 10 * GIB);
		a = rig_made(&rig, "a", GIB);
		tamper = (struct tamper) { rig.inner, RFS_KEY_TOTALS, values[i] };
		plan.user = &tamper;
		rig_fail(&rig, FAULTY_DATASTORE_COMMIT, 1, false, EIO);
		assert_int_equal(rig_resize(&rig, a, 2 * GIB), -EIO);
		faulty_datastore_arm(rig.ds, &plan);
		for (int again = 0; again < 3; again++) {
			assert_int_equal(rig_resize(&rig, a, 3 * GIB), -EIO);
			assert_string_equal(rig.why.text, "the Datastore does not hold what was last stored; "
						  "unmount and run fsck.reservefs");
		}
		/* What was answered before can still be read. */
		assert_int_equal(stat_of(a).size_bytes, GIB);
		rfs_reservations_totals(rig.r, &totals);
		assert_int_equal(totals.reserved_bytes, GIB);
		rfs_contract_unref(a);
		assert_int_equal(rig_close(&rig), 0);
	}
}

/* Deferred changes */

static void creations_are_stored_once_it_works_again(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a, *b = rig_made(rig, "b", 0);
	struct rig copy;
	double until;

	assert_int_equal(rig_sync(rig), 0);
	rig_fail(rig, FAULTY_DATASTORE_COMMIT, 1, true, ENOSPC);
	a = rig_made(rig, "a", 0);
	assert_int_equal(rig_remove(rig, b), 0);
	assert_int_equal(rig_sync(rig), -EIO);
	/* The second is answered once the writer has drawn its conclusions from the first. */
	assert_int_equal(rig_sync(rig), -EIO);
	/* They are as they were answered, meanwhile; what is asked now is told at once that it cannot be. */
	rig_expect_size(rig, "a", 0);
	rig_expect_none(rig, "b");
	struct rfs_contract *none = NULL;
	assert_int_equal(rig_create(rig, "c", &none), -EIO);
	assert_int_equal(rig_create(rig, "b", &none), -EIO);
	assert_int_equal(rig_create(rig, "a", &none), -EEXIST);
	assert_int_equal(rig_rename(rig, a, "d"), -EIO);
	assert_int_equal(rig_remove(rig, a), -EIO);
	assert_int_equal(rig_sync(rig), -EIO);

	/* Nobody asks again: the writer tries by itself. */
	rig_fail(rig, FAULTY_DATASTORE_COMMIT, 0, false, 0);
	for (until = rig_now() + 20; faulty_datastore_calls(rig->ds) == 0 && rig_now() < until;)
		;
	assert_int_equal(rig_sync(rig), 0);
	assert_true(rig_now() < until);
	rig_crash(rig, &copy);
	rig_expect_size(&copy, "a", 0);
	rig_expect_none(&copy, "b");
	rig_expect_sound(&copy, 0, 1);
	assert_int_equal(rig_close(&copy), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_expect_sound(rig, 0, 1);
}

static void make_many(struct rig *rig, const char *prefix, struct rfs_contract **ret_contracts, size_t count)
{
	char name[32];

	for (size_t i = 0; i < count; i++) {
		(void) snprintf(name, sizeof name, "%s%zu", prefix, i);
		ret_contracts[i] = rig_made(rig, name, 0);
	}
}

/* With more unstored ones than the writer takes along at once, the last of them is changed when it works again: it is stored
 * by that, and must not be stored, or removed, a second time. */
static void changed_before_it_was_stored(struct rig *rig, int (*change)(struct rig *, struct rfs_contract *))
{
	struct rfs_contract *contracts[MORE_THAN_HALF_A_BATCH];
	size_t last = MORE_THAN_HALF_A_BATCH - 1;

	rig_gate_close(rig, 0, FAULTY_DATASTORE_BEGIN);
	make_many(rig, "c", contracts, MORE_THAN_HALF_A_BATCH);
	rig_gate_await(rig, 0);
	rig_fail(rig, FAULTY_DATASTORE_TXN_PUT, 1, true, EIO);
	rig_gate_let(rig, 0);
	assert_int_equal(rig_sync(rig), -EIO);
	rig_fail(rig, FAULTY_DATASTORE_ALL, 0, false, 0);
	assert_int_equal(change(rig, contracts[last]), 0);
	for (size_t i = 0; i <= last; i++)
		rfs_contract_unref(contracts[i]);
}

static int rename_it(struct rig *rig, struct rfs_contract *c)
{
	return rig_rename(rig, c, "renamed");
}

static int rename_and_remove_it(struct rig *rig, struct rfs_contract *c)
{
	int rc = rig_rename(rig, c, "renamed");

	return rc < 0 ? rc : rig_remove(rig, c);
}

static int size_it(struct rig *rig, struct rfs_contract *c)
{
	return rig_resize(rig, c, 5);
}

static int size_and_remove_it(struct rig *rig, struct rfs_contract *c)
{
	int rc = rig_resize(rig, c, 5);

	return rc < 0 ? rc : rig_remove(rig, c);
}

static int replace_it(struct rig *rig, struct rfs_contract *c)
{
	struct rfs_contract *again = NULL;
	char name[RFS_NAME_MAX + 1];
	int rc;

	rfs_contract_name(c, name);
	rc = rig_remove(rig, c);
	if (rc == 0)
		rc = rig_create(rig, name, &again);
	if (rc == 0)
		rc = rig_resize(rig, again, 7);
	rfs_contract_unref(again);
	return rc;
}

static void changed_while_it_could_not_be_stored(void **state)
{
	enum { ALL = MORE_THAN_HALF_A_BATCH };
	static const struct {
		int (*change)(struct rig *, struct rfs_contract *);
		uint64_t reserved_bytes, contracts;
	} cases[] = {
		{ rename_it, 0, ALL },	{ rename_and_remove_it, 0, ALL - 1 }, { size_it, 5, ALL },
		{ size_and_remove_it, 0, ALL - 1 }, { rig_remove, 0, ALL - 1 }, { replace_it, 7, ALL },
	};

	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rig rig;
		rig_open(&rig, RIG_MEMORY, 10 * GIB);
		changed_before_it_was_stored(&rig, cases[i].change);
		rig_expect_sound(&rig, cases[i].reserved_bytes, cases[i].contracts);
		rig_reopen(&rig);
		rig_expect_sound(&rig, cases[i].reserved_bytes, cases[i].contracts);
		assert_int_equal(rig_close(&rig), 0);
	}
}

/* Rows that cannot be deleted keep their name, on disk, from another contract. */
static void a_name_whose_removal_is_not_stored(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *old = rig_made(rig, "a", 0), *new, *none = NULL;
	struct rig copy;

	assert_int_equal(rig_sync(rig), 0);
	rig_gate_close(rig, 0, FAULTY_DATASTORE_BEGIN);
	assert_int_equal(rig_remove(rig, old), 0);
	new = rig_made(rig, "a", 0);
	rig_gate_await(rig, 0);
	rig_fail(rig, FAULTY_DATASTORE_TXN_DELETE, 1, true, EIO);
	rig_gate_let(rig, 0);
	assert_int_equal(rig_sync(rig), -EIO);
	assert_int_equal(rig_create(rig, "a", &none), -EEXIST);
	/* A crash now leaves one or the other, and never half of both. */
	rig_crash(rig, &copy);
	rig_expect_sound(&copy, 0, 1);
	assert_int_equal(rig_close(&copy), 0);
	rig_fail(rig, FAULTY_DATASTORE_ALL, 0, false, 0);
	assert_int_equal(rig_sync(rig), 0);
	rfs_contract_unref(old);
	rfs_contract_unref(new);
	rig_expect_sound(rig, 0, 1);
}

static void closing_tells_what_could_not_be_stored(void **state)
{
	struct rig rig;
	(void) state;

	rig_open(&rig, RIG_MEMORY, GIB);
	rfs_contract_unref(rig_made(&rig, "kept", 1));
	rig_fail(&rig, FAULTY_DATASTORE_COMMIT, 1, true, EIO);
	rfs_contract_unref(rig_made(&rig, "lost", 0));
	assert_int_equal(rfs_reservations_close(rig.r), -EIO);
	rig_attach(&rig);
	rig_expect_none(&rig, "lost");
	rig_expect_size(&rig, "kept", 1);
	rig_expect_sound(&rig, 1, 1);

	rig_fail(&rig, FAULTY_DATASTORE_BEGIN, 1, true, EIO);
	struct rfs_contract *kept = rig_found(&rig, "kept"), *gone = NULL;
	assert_int_equal(rig_remove(&rig, kept), -EIO);
	rfs_contract_unref(kept);
	assert_int_equal(rig_create(&rig, "lost", &gone), 0);
	assert_int_equal(rig_remove(&rig, gone), 0);
	rfs_contract_unref(gone);
	/* One that was never stored, and is gone, is missed by nobody. */
	assert_int_equal(rfs_reservations_close(rig.r), 0);
	rig_attach(&rig);
	rig_expect_sound(&rig, 1, 1);
	assert_int_equal(rig_close(&rig), 0);
}

/* The writer's view and everybody's */

static void committed_and_not_yet_answered(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", GIB), *found;
	struct rig_flight flights[] = {
		{ .request = { .verb = RFS_RENAME, .contract = a, .new_name = "b" } },
		{ .request = { .verb = RFS_CREATE, .new_name = "c" } },
	};
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rfs_totals totals;

	/* The renaming makes the writer create as well. */
	rig_gate_close(rig, 1, FAULTY_DATASTORE_BEGIN);
	rig_submit(rig, &tower, &flights[0]);
	rig_gate_await(rig, 1);
	rig_submit(rig, &tower, &flights[1]);
	rig_gate_close_behind(rig, 0, FAULTY_DATASTORE_COMMIT);
	rig_gate_let(rig, 1);
	rig_gate_await(rig, 0);

	/* The rows say that a is called b. Nobody was told. */
	assert_int_equal(rig_answers(&tower), 0);
	found = rig_found(rig, "a");
	assert_ptr_equal(found, a);
	rfs_contract_unref(found);
	rig_expect_none(rig, "b");
	rig_expect_none(rig, "c");
	rfs_reservations_totals(rig->r, &totals);
	assert_int_equal(totals.contracts, 1);
	rig_gate_open(rig, 0);
	rig_await(&tower, 2);
	assert_int_equal(flights[0].error, 0);
	assert_int_equal(flights[1].error, 0);
	rig_expect_none(rig, "a");
	rig_expect_size(rig, "b", GIB);
	found = rig_found(rig, "c");
	assert_ptr_equal(found, flights[1].request.created);
	rfs_contract_unref(found);
	rfs_contract_unref(flights[1].request.created);
	rfs_contract_unref(a);
	rig_expect_sound(rig, GIB, 2);
}

static void looked_up_while_the_writer_creates_it(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 1), *found;
	struct rig_flight rename = { .request = { .verb = RFS_RENAME, .contract = a, .new_name = "b" } };
	struct rig_flight create = { .request = { .verb = RFS_CREATE, .new_name = "c" } };
	struct rig_tower tower = RIG_TOWER_INIT;

	rig_gate_close(rig, 0, FAULTY_DATASTORE_BEGIN);
	rig_submit(rig, &tower, &rename);
	rig_gate_await(rig, 0);
	rig_submit(rig, &tower, &create);
	rig_gate_open(rig, 0);
	/* Whoever finds it finds that one; before it was answered there is none to be found. */
	while (rig_answers(&tower) < 2)
		if (rfs_reservations_lookup(rig->r, "c", &found) == 0) {
			rig_await(&tower, 2);
			assert_ptr_equal(found, create.request.created);
			rfs_contract_unref(found);
		}
	assert_int_equal(create.error, 0);
	rfs_contract_unref(create.request.created);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 1, 2);
}

static void creating_beyond_the_granted_ids_waits_for_the_disk(void **state)
{
	enum { GRANTED = 8192 };
	struct rig *rig = rig_of(state);
	struct rig_flight *flights = calloc(GRANTED + 1, sizeof *flights);
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rfs_contract *fresh;
	struct rig copy;
	uint64_t highest = 0;
	unsigned at_once;

	assert_non_null(flights);
	rig_gate_close(rig, 0, FAULTY_DATASTORE_BEGIN);
	for (int i = 0; i <= GRANTED; i++) {
		flights[i].request.verb = RFS_CREATE;
		(void) snprintf(flights[i].request.new_name, sizeof flights[i].request.new_name, "c%d", i);
		rig_submit(rig, &tower, &flights[i]);
	}
	at_once = rig_answers(&tower);
	assert_true(at_once > 0 && at_once <= GRANTED);
	for (unsigned i = 0; i < at_once; i++)
		if (stat_of(flights[i].request.created).id > highest)
			highest = stat_of(flights[i].request.created).id;
	/* A crash forgets them all, and gives none of their ids to another. */
	rig_crash(rig, &copy);
	rig_expect_sound(&copy, 0, 0);
	fresh = rig_made(&copy, "fresh", 0);
	assert_true(stat_of(fresh).id > highest);
	rfs_contract_unref(fresh);
	assert_int_equal(rig_close(&copy), 0);

	rig_gate_open(rig, 0);
	rig_await(&tower, GRANTED + 1);
	for (int i = 0; i <= GRANTED; i++) {
		assert_int_equal(flights[i].error, 0);
		rfs_contract_unref(flights[i].request.created);
	}
	free(flights);
	rig_expect_sound(rig, 0, GRANTED + 1);
}

static void ids_come_to_an_end(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a, *none = NULL;
	char totals[RFS_VALUE_MAX + 1];

	(void) snprintf(totals, sizeof totals, "reserved=0 contracts=0 next_id=%" PRIu64 " changed=1.000000000 commits=1",
			RFS_CONTRACT_ID_END - 2);
	rig_damage(rig, RFS_KEY_TOTALS, totals);
	a = rig_made(rig, "a", 1);
	rfs_contract_unref(a);
	a = rig_made(rig, "b", 2);
	assert_int_equal(stat_of(a).id, RFS_CONTRACT_ID_END - 1);
	assert_int_equal(rig_create(rig, "c", &none), -EOVERFLOW);
	assert_int_equal(rig_resize(rig, a, 3), 0);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 4, 2);
	rig_reopen(rig);
	assert_int_equal(rig_create(rig, "c", &none), -EOVERFLOW);
	rig_expect_sound(rig, 4, 2);
}

/* The Repo */

static void the_repo_cannot_be_asked(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", GIB);
	struct rfs_figures figures;
	struct rfs_totals totals;

	rig_fail_repo(rig, FAULTY_REPO_RESERVE, 1, true, EIO);
	assert_int_equal(rig_resize(rig, a, 2 * GIB), -EIO);
	rig_expect_size(rig, "a", GIB);
	/* Without having to ask it goes on. */
	assert_int_equal(rig_resize(rig, a, GIB / 2), 0);
	rig_fail_repo(rig, FAULTY_REPO_MEASURE, 1, true, EIO);
	assert_int_equal(rig_resize(rig, a, RFS_ALL), -EIO);
	assert_string_equal(rig->why.text, "the storage of the Repo cannot be asked for its free space: Input/output error");
	assert_int_equal(rfs_reservations_measure(rig->r), -EIO);
	/* What was measured before is still known. */
	rfs_reservations_figures(rig->r, &figures, &totals);
	assert_int_equal(figures.reserved, GIB / 2);
	assert_int_equal(figures.capacity, 10 * GIB);
	rig_fail_repo(rig, FAULTY_REPO_ALL, 0, false, 0);
	rig_expect_sound(rig, GIB / 2, 1);
	rfs_contract_unref(a);
}

/* What the Repo fails to take back is given back with the next change. */
static void the_repo_does_not_take_back(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 10 * GIB), *b = rig_made(rig, "b", 0);

	assert_int_equal(rig_sync(rig), 0);
	rig_fail_repo(rig, FAULTY_REPO_RELEASE, 1, true, EIO);
	assert_int_equal(rig_resize(rig, a, GIB), 0);
	assert_int_equal(rfs_repo_reserved(rig->repo), 10 * GIB);
	rig_expect_sound(rig, GIB, 2);
	assert_int_equal(rig_resize(rig, b, 1), -ENOSPC);
	rig_fail_repo(rig, FAULTY_REPO_ALL, 0, false, 0);
	assert_int_equal(rig_resize(rig, a, GIB - 1), 0);
	assert_int_equal(rfs_repo_reserved(rig->repo), GIB - 1);
	assert_int_equal(rig_resize(rig, b, 9 * GIB + 1), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_expect_sound(rig, 10 * GIB, 2);
}

/* Space that a failed transaction had set aside is not lost. */
static void what_failed_holds_no_space(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", GIB);

	for (int i = 0; i < 20; i++) {
		rig_fail(rig, i % 2 ? FAULTY_DATASTORE_COMMIT : FAULTY_DATASTORE_TXN_PUT, 1, true, EIO);
		assert_int_equal(rig_resize(rig, a, 10 * GIB), -EIO);
		assert_int_equal(rig_resize(rig, a, RFS_ALL), -EIO);
		assert_int_equal(rfs_repo_reserved(rig->repo), GIB);
		rig_fail(rig, FAULTY_DATASTORE_ALL, 0, false, 0);
	}
	assert_int_equal(rig_resize(rig, a, 10 * GIB), 0);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 10 * GIB, 1);
}

/* Reading */

static void lookups_and_listings_fail(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *c = rig_made(rig, "a", 1), *none = NULL;
	uint64_t id = stat_of(c).id;
	char names[64];

	rfs_contract_unref(c);
	rig_reopen(rig);
	rig_fail(rig, FAULTY_DATASTORE_GET | FAULTY_DATASTORE_SCAN, 1, true, EIO);
	assert_int_equal(rfs_reservations_lookup(rig->r, "a", &none), -EIO);
	assert_int_equal(rfs_reservations_lookup_id(rig->r, id, &none), -EIO);
	assert_int_equal(rig_create(rig, "b", &none), -EIO);
	assert_int_equal(rfs_reservations_list(rig->r, 0, NULL, NULL, NULL), -EIO);
	assert_null(none);
	rig_fail(rig, FAULTY_DATASTORE_ALL, 0, false, 0);
	rig_names(rig, 0, names, sizeof names);
	assert_string_equal(names, "a ");
	rig_expect_size(rig, "a", 1);
}

/* A record that cannot be understood is nobody's to delete. */
static void a_record_damaged_underneath(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a = rig_made(rig, "a", 5);
	struct tamper tamper = { rig->inner, "contract/a", "gibberish" };
	struct faulty_datastore_plan plan = {
		.calls = FAULTY_DATASTORE_BEGIN, .nth = 1, .before = tamper_with, .user = &tamper,
	};
	struct rfs_value value;

	assert_int_equal(rig_sync(rig), 0);
	faulty_datastore_arm(rig->ds, &plan);
	assert_int_equal(rig_remove(rig, a), -EIO);
	assert_int_equal(rig_rename(rig, a, "b"), -EIO);
	assert_int_equal(rfs_datastore_get(rig->inner, "contract/a", &value), 0);
	assert_string_equal(value.data, "gibberish");
	assert_int_equal(rfs_datastore_get(rig->inner, "contract/b", &value), -ENOENT);
	/* To be written anew it needs no understanding. */
	assert_int_equal(rig_resize(rig, a, 6), 0);
	rfs_contract_unref(a);
	rig_expect_sound(rig, 6, 1);
}

static int plan_and_open(unsigned int calls, int error, char *ret_message, size_t size)
{
	struct faulty_datastore_plan plan = { .calls = calls, .nth = 1, .persistent = true, .error = error };
	struct rfs_reservations *r = NULL;
	struct rfs_datastore *memory, *ds;
	struct rfs_repo *repo;
	int rc;

	assert_int_equal(rfs_datastore_open_memory(&memory), 0);
	assert_int_equal(faulty_datastore_open(memory, &ds), 0);
	assert_int_equal(rfs_repo_open_quota(GIB, &repo), 0);
	faulty_datastore_arm(ds, &plan);
	rc = rfs_reservations_open(ds, repo, ret_message, size, &r);
	assert_null(r);
	/* After a failure both are still the caller's. */
	rfs_datastore_close(ds);
	rfs_repo_close(repo);
	return rc;
}

static void opening_fails(void **state)
{
	static const struct {
		unsigned int calls;
		const char *says;
	} cases[] = {
		{ FAULTY_DATASTORE_GET, "cannot read the Datastore: this failure was injected by a test" },
		{ FAULTY_DATASTORE_SCAN, "cannot read the Datastore: this failure was injected by a test" },
		{ FAULTY_DATASTORE_BEGIN, "cannot write to the Datastore: this failure was injected by a test" },
		{ FAULTY_DATASTORE_TXN_PUT, "cannot write to the Datastore: " },
		{ FAULTY_DATASTORE_COMMIT, "cannot write to the Datastore: this failure was injected by a test" },
	};
	(void) state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char message[256] = "";
		assert_int_equal(plan_and_open(cases[i].calls, EIO, message, sizeof message), -EIO);
		assert_memory_equal(message, cases[i].says, strlen(cases[i].says));
	}
}

static unsigned count_threads(void)
{
	unsigned count = 0;
	DIR *tasks = opendir("/proc/self/task");

	assert_non_null(tasks);
	while (readdir(tasks))
		count++;
	closedir(tasks);
	return count;
}

/* What was deferred has been settled by a request: the writer comes for it, finds nothing to do, and has to stay. */
static void the_writer_stays_where_nothing_is_left_to_do(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a, *b = rig_made(rig, "b", 0);
	unsigned threads = count_threads();
	double until;

	assert_int_equal(rig_sync(rig), 0);
	rig_fail(rig, FAULTY_DATASTORE_TXN_PUT, 1, true, EIO);
	a = rig_made(rig, "a", 0);
	assert_int_equal(rig_sync(rig), -EIO);
	assert_int_equal(rig_remove(rig, a), 0);
	/* It comes within a second. */
	for (until = rig_now() + 1.5; count_threads() == threads && rig_now() < until;)
		;
	assert_int_equal(count_threads(), threads);
	rig_fail(rig, FAULTY_DATASTORE_TXN_PUT, 0, false, 0);
	assert_int_equal(rig_resize(rig, b, GIB), 0);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
	rig_expect_sound(rig, GIB, 1);
}

/* Totals that somebody else has written, smaller than what they are the sum of. */
static void totals_that_are_too_small(void **state)
{
	struct rig *rig = rig_of(state);
	const struct rfs_totals_record wrong = { .reserved_bytes = 2 * GIB, .contracts = 1, .next_id = 100 };
	char text[RFS_VALUE_MAX + 1];
	struct rfs_contract *a, *b, *none = NULL;

	rfs_contract_unref(rig_made(rig, "a", 2 * GIB));
	rfs_contract_unref(rig_made(rig, "b", GIB));
	rfs_contract_unref(rig_made(rig, "c", 3 * GIB));
	rfs_record_encode_totals(&wrong, text);
	rig_damage(rig, RFS_KEY_TOTALS, text);
	assert_int_equal(rfs_reservations_lookup(rig->r, "c", &none), -EBADMSG);
	a = rig_found(rig, "a");
	b = rig_found(rig, "b");
	assert_int_equal(rig_remove(rig, a), 0);
	assert_int_equal(rig_resize(rig, b, 5), -EIO);
	assert_int_equal(rig_remove(rig, b), -EIO);
	assert_non_null(strstr(rig->why.text, "fsck.reservefs"));
	assert_int_equal(stat_of(b).size_bytes, GIB);
	rfs_contract_unref(a);
	rfs_contract_unref(b);
}

static int open_memory(void **state)
{
	struct rig *rig = malloc(sizeof *rig);

	assert_non_null(rig);
	rig_open(rig, RIG_MEMORY, 10 * GIB);
	*state = rig;
	return 0;
}

static int close_it(void **state)
{
	assert_int_equal(rig_close(*state), 0);
	free(*state);
	return 0;
}

#define ON_A_RIG(test) cmocka_unit_test_setup_teardown(test, open_memory, close_it)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_of_the_datastore_fails),
		ON_A_RIG(a_passing_failure_is_overcome),
		ON_A_RIG(a_commit_that_failed_is_not_tried_again),
		cmocka_unit_test(nothing_goes_on_where_the_disk_says_otherwise),
		ON_A_RIG(creations_are_stored_once_it_works_again),
		cmocka_unit_test(changed_while_it_could_not_be_stored),
		ON_A_RIG(a_name_whose_removal_is_not_stored),
		cmocka_unit_test(closing_tells_what_could_not_be_stored),
		ON_A_RIG(committed_and_not_yet_answered),
		ON_A_RIG(looked_up_while_the_writer_creates_it),
		ON_A_RIG(creating_beyond_the_granted_ids_waits_for_the_disk),
		ON_A_RIG(ids_come_to_an_end),
		ON_A_RIG(the_repo_cannot_be_asked),
		ON_A_RIG(the_repo_does_not_take_back),
		ON_A_RIG(what_failed_holds_no_space),
		ON_A_RIG(lookups_and_listings_fail),
		ON_A_RIG(a_record_damaged_underneath),
		ON_A_RIG(the_writer_stays_where_nothing_is_left_to_do),
		ON_A_RIG(totals_that_are_too_small),
		cmocka_unit_test(opening_fails),
	};

	return cmocka_run_group_tests_name("reservations", tests, NULL, NULL);
}
