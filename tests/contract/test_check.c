/* SPDX-License-Identifier: MIT */
/*
 * test_check.c: after an end that was not clean, and in a copy, all records are compared with the totals, while they change; what
 * differs is found, told, and not corrected.
 */
#include "rig.h"

#include "../unit/check.h"
#include "reservations/record.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)
#define CONTRACTS 500
#define CHURNERS 3

static struct rig *rig_of(void **state)
{
	return *state;
}

/* The end of a check, waited for. */
struct verdict {
	pthread_mutex_t lock;
	pthread_cond_t given;
	unsigned times;
	struct rfs_check_result result;
};

static void give(void *user, const struct rfs_check_result *result)
{
	struct verdict *v = user;

	pthread_mutex_lock(&v->lock);
	v->times++;
	v->result = *result;
	pthread_cond_signal(&v->given);
	pthread_mutex_unlock(&v->lock);
}

#define VERDICT_INIT { .lock = PTHREAD_MUTEX_INITIALIZER, .given = PTHREAD_COND_INITIALIZER }

/* The test's own deadline ends a check that does not. */
static struct rfs_check_result await(struct verdict *v)
{
	pthread_mutex_lock(&v->lock);
	while (v->times == 0)
		pthread_cond_wait(&v->given, &v->lock);
	assert_int_equal(v->times, 1);
	pthread_mutex_unlock(&v->lock);
	return v->result;
}

static struct rfs_check_result check(struct rig *rig)
{
	struct verdict v = VERDICT_INIT;

	assert_int_equal(rfs_reservations_check(rig->r, give, &v), 1);
	return await(&v);
}

static struct rfs_check_result known(struct rig *rig)
{
	struct rfs_check_result result;

	rfs_reservations_check_result(rig->r, &result);
	return result;
}

static void make_contracts(struct rig *rig, unsigned count)
{
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		(void) snprintf(name, sizeof name, "c%03u", i);
		rfs_contract_unref(rig_made(rig, name, i + 1));
	}
}

static void a_clean_end_is_believed(void **state)
{
	struct rig *rig = rig_of(state);

	assert_int_equal(rfs_reservations_check(rig->r, give, NULL), 0); /* a new one */
	make_contracts(rig, 3);
	rig_reopen(rig);
	assert_int_equal(rfs_reservations_check(rig->r, give, NULL), 0);
	rig_reopen(rig);
	assert_int_equal(rfs_reservations_check(rig->r, give, NULL), 0);
	assert_int_equal(known(rig).state, RFS_CHECK_SOUND);
	rig_expect_sound(rig, 6, 3);
}

static void after_a_crash_all_is_looked_at(void **state)
{
	struct rig *rig = rig_of(state), copy;
	struct rfs_check_result result;

	make_contracts(rig, CONTRACTS);
	assert_int_equal(rig_sync(rig), 0);
	rig_crash(rig, &copy);
	result = check(&copy);
	assert_int_equal(result.state, RFS_CHECK_SOUND);
	assert_int_equal(result.excess_bytes, 0);
	assert_int_equal(result.excess_contracts, 0);
	assert_int_equal(known(&copy).state, RFS_CHECK_SOUND);
	/* Once is enough, */
	assert_int_equal(rfs_reservations_check(copy.r, give, NULL), 0);
	/* also for the next start after a clean end. */
	rig_reopen(&copy);
	assert_int_equal(rfs_reservations_check(copy.r, give, NULL), 0);
	assert_int_equal(rig_close(&copy), 0);
}

/* Whoever starts without checking, or ends before it is done, leaves that to the next. */
static void what_was_not_checked_stays_in_doubt(void **state)
{
	struct rig *rig = rig_of(state), copy;

	make_contracts(rig, 10);
	assert_int_equal(rig_sync(rig), 0);
	rig_crash(rig, &copy);
	rig_reopen(&copy);
	rig_reopen(&copy);
	assert_int_equal(check(&copy).state, RFS_CHECK_SOUND);
	assert_int_equal(rig_close(&copy), 0);
}

static void put_totals(struct rig *rig, int64_t more_bytes, int64_t more_contracts)
{
	struct rfs_totals_record totals;
	char text[RFS_VALUE_MAX + 1];
	struct rfs_value value;

	assert_int_equal(rfs_datastore_get(rig->inner, RFS_KEY_TOTALS, &value), 0);
	assert_int_equal(rfs_record_decode_totals(value.data, &totals), 0);
	totals.reserved_bytes += (uint64_t) more_bytes;
	totals.contracts += (uint64_t) more_contracts;
	totals.commits += 1000; /* not what a clean end has left */
	rfs_record_encode_totals(&totals, text);
	rig_damage(rig, RFS_KEY_TOTALS, text);
}

static void more_in_the_records_than_in_the_totals(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_contract *a;
	struct rfs_check_result result;

	rfs_contract_unref(rig_made(rig, "a", 5 * GIB));
	rfs_contract_unref(rig_made(rig, "z", 5 * GIB));
	put_totals(rig, -(int64_t) GIB, 0);
	a = rig_found(rig, "a");
	result = check(rig);
	assert_int_equal(result.state, RFS_CHECK_DIFFERS);
	assert_int_equal(result.excess_bytes, GIB);
	assert_int_equal(result.excess_contracts, 0);
	/* Otherwise more would be promised than there is. */
	assert_int_equal(rig_resize(rig, a, 5 * GIB + 1), -EIO);
	assert_non_null(strstr(rig->why.text, "fsck.reservefs"));
	assert_int_equal(rig_resize(rig, a, RFS_ALL), -EIO);
	/* All else goes on, and nothing was corrected. */
	assert_int_equal(rig_resize(rig, a, 3 * GIB), 0);
	assert_int_equal(rig_resize(rig, a, 4 * GIB), -EIO);
	assert_int_equal(rig_rename(rig, a, "b"), 0);
	rfs_contract_unref(rig_made(rig, "c", 0));
	assert_int_equal(known(rig).excess_bytes, GIB);
	rfs_contract_unref(a);
	rig_reopen(rig);
	assert_int_equal(check(rig).excess_bytes, GIB);
}

static void less_in_the_records_than_in_the_totals(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_check_result result;
	struct rfs_contract *a;

	rfs_contract_unref(rig_made(rig, "a", GIB));
	put_totals(rig, 2 * (int64_t) GIB, 1);
	a = rig_found(rig, "a");
	result = check(rig);
	assert_int_equal(result.state, RFS_CHECK_DIFFERS);
	assert_true(result.excess_bytes == -2 * (int64_t) GIB);
	assert_true(result.excess_contracts == -1);
	/* Too much is kept, which sells nothing twice. */
	assert_int_equal(rig_resize(rig, a, 2 * GIB), 0);
	rfs_contract_unref(a);
}

static void records_that_cannot_be_read(void **state)
{
	struct rig *rig = rig_of(state);
	struct rfs_check_result result;

	make_contracts(rig, 100);
	rig_damage(rig, "contract/c050", "not a record");
	put_totals(rig, 0, 0);
	result = check(rig);
	assert_int_equal(result.state, RFS_CHECK_DAMAGED);
	assert_int_equal(result.unreadable, 1);
}

static void a_disk_that_cannot_be_read(void **state)
{
	struct rig *rig = rig_of(state), copy;

	make_contracts(rig, 10);
	assert_int_equal(rig_sync(rig), 0);
	rig_crash(rig, &copy);
	rig_fail(&copy, FAULTY_DATASTORE_SCAN, 1, true, EIO);
	assert_int_equal(check(&copy).state, RFS_CHECK_DAMAGED);
	rig_fail(&copy, FAULTY_DATASTORE_ALL, 0, false, 0);
	assert_int_equal(rig_close(&copy), 0);
}

struct churner {
	struct rig *rig;
	unsigned number;
	atomic_bool *stop;
	pthread_barrier_t *begun;
	pthread_t thread;
	unsigned changes;
};

/* Makes, resizes, renames and removes its contracts, which are among the others. */
static void *churn(void *user)
{
	struct churner *c = user;
	char name[2][32];
	unsigned n = 0;

	while (!atomic_load(c->stop)) {
		struct rfs_request make = { .verb = RFS_CREATE }, resize = { .verb = RFS_RESIZE }, move = { .verb = RFS_RENAME },
				   remove = { .verb = RFS_REMOVE };
		(void) snprintf(name[0], sizeof name[0], "c%03u.%u", (n * 37) % CONTRACTS, c->number);
		(void) snprintf(name[1], sizeof name[1], "c%03u+%u", (n++ * 91) % CONTRACTS, c->number);
		strcpy(make.new_name, name[0]);
		strcpy(move.new_name, name[1]);
		if (rfs_reservations_perform(c->rig->r, &make, NULL) < 0)
			abort();
		resize.contract = move.contract = remove.contract = make.created;
		resize.size_bytes = 1 + n % 1000;
		if (rfs_reservations_perform(c->rig->r, &resize, NULL) < 0 ||
		    rfs_reservations_perform(c->rig->r, &move, NULL) < 0 ||
		    rfs_reservations_perform(c->rig->r, &remove, NULL) < 0)
			abort();
		rfs_contract_unref(make.created);
		if (c->changes == 0)
			pthread_barrier_wait(c->begun);
		c->changes += 4;
	}
	return NULL;
}

/* `off_bytes` are wrong from the beginning, and nothing else is. */
static void check_while_all_changes(struct rig *rig, int64_t off_bytes)
{
	struct churner churners[CHURNERS];
	atomic_bool stop = false;
	struct rfs_check_result result;
	pthread_barrier_t begun;

	pthread_barrier_init(&begun, NULL, CHURNERS + 1);
	for (unsigned i = 0; i < CHURNERS; i++) {
		churners[i] = (struct churner) { .rig = rig, .number = i, .stop = &stop, .begun = &begun };
		if (pthread_create(&churners[i].thread, NULL, churn, &churners[i]) != 0)
			abort();
	}
	pthread_barrier_wait(&begun);
	result = check(rig);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < CHURNERS; i++) {
		pthread_join(churners[i].thread, NULL);
		assert_true(churners[i].changes > 0);
	}
	assert_int_equal(result.state, off_bytes ? RFS_CHECK_DIFFERS : RFS_CHECK_SOUND);
	assert_true(result.excess_bytes == off_bytes);
	assert_true(result.excess_contracts == 0);
}

static void checked_while_all_changes(void **state)
{
	struct rig *rig = rig_of(state), copy;

	make_contracts(rig, CONTRACTS);
	assert_int_equal(rig_sync(rig), 0);
	for (int i = 0; i < 5; i++) {
		rig_crash(rig, &copy);
		check_while_all_changes(&copy, 0);
		assert_int_equal(rig_close(&copy), 0);
	}
}

static void a_difference_is_found_while_all_changes(void **state)
{
	struct rig *rig = rig_of(state);

	make_contracts(rig, CONTRACTS);
	put_totals(rig, 12345, 0);
	check_while_all_changes(rig, -12345);
}

static void ended_while_it_checks(void **state)
{
	struct rig *rig = rig_of(state), copy;
	struct verdict v = VERDICT_INIT;

	make_contracts(rig, CONTRACTS);
	assert_int_equal(rig_sync(rig), 0);
	rig_crash(rig, &copy);
	rig_gate_close(&copy, 0, FAULTY_DATASTORE_SCAN);
	assert_int_equal(rfs_reservations_check(copy.r, give, &v), 1);
	rig_gate_await(&copy, 0);
	assert_int_equal(known(&copy).state, RFS_CHECK_RUNNING);
	rig_gate_open(&copy, 0);
	rig_reopen(&copy);
	/* It came to its end before, or is to be done now. */
	assert_int_equal(rfs_reservations_check(copy.r, give, &v), v.times == 0);
	(void) await(&v);
	assert_int_equal(rig_close(&copy), 0);
}

static int open_memory(void **state)
{
	struct rig *rig = malloc(sizeof *rig);

	assert_non_null(rig);
	rig_open(rig, RIG_MEMORY, 1000 * GIB);
	*state = rig;
	return 0;
}

static int open_sqlite(void **state)
{
	struct rig *rig = malloc(sizeof *rig);

	assert_non_null(rig);
	rig_open(rig, RIG_SQLITE, 1000 * GIB);
	*state = rig;
	return 0;
}

static int close_rig(void **state)
{
	int rc = rig_close(*state);

	free(*state);
	return rc;
}

#define ON_BOTH(body) \
	{ "memory: " #body, body, open_memory, close_rig, NULL }, { "sqlite: " #body, body, open_sqlite, close_rig, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(a_clean_end_is_believed),
		ON_BOTH(after_a_crash_all_is_looked_at),
		ON_BOTH(what_was_not_checked_stays_in_doubt),
		ON_BOTH(more_in_the_records_than_in_the_totals),
		ON_BOTH(less_in_the_records_than_in_the_totals),
		ON_BOTH(records_that_cannot_be_read),
		ON_BOTH(a_disk_that_cannot_be_read),
		ON_BOTH(checked_while_all_changes),
		ON_BOTH(a_difference_is_found_while_all_changes),
		ON_BOTH(ended_while_it_checks),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
