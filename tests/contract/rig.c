/* SPDX-License-Identifier: MIT */
/*
 * rig.c: see rig.h. Invariant: whatever a test does wrong, no wait is without an end.
 */
#include "rig.h"

#include "../unit/check.h"
#include "reservations/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_SECONDS 60

double rig_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static struct timespec deadline(void)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += DEADLINE_SECONDS;
	return at;
}

/* Opening and closing */

static struct rfs_datastore *open_file(const char *directory)
{
	struct rfs_datastore *ds = NULL;
	char path[96], message[512] = "";

	(void) snprintf(path, sizeof path, "%s/datastore.db", directory);
	struct rfs_sqlite_options options = { .path = path };
	if (rfs_datastore_open_sqlite(&options, message, sizeof message, &ds) < 0)
		fail_msg("%s", message);
	return ds;
}

static void keep_open(struct rfs_datastore *ds)
{
	(void) ds;
}

/* What is in memory alone outlives being closed by Reservations. */
static void make_last(struct rig *rig)
{
	rig->ops = rig->inner->ops;
	rig->lasting = *rig->ops;
	if (rig->kind == RIG_MEMORY)
		rig->lasting.close = keep_open;
	rig->inner->ops = &rig->lasting;
}

/* After Reservations have closed it: the Datastore as it is then, to be used by this thread alone. */
static struct rfs_datastore *what_is_left(struct rig *rig)
{
	if (rig->kind == RIG_SQLITE)
		return open_file(rig->directory);
	rig->inner->ops = rig->ops;
	return rig->inner;
}

int rig_try(struct rig *rig, struct rfs_datastore *ds, uint64_t capacity_bytes, char *ret_message, size_t size)
{
	struct rfs_repo *quota;
	int rc;

	rig->capacity_bytes = capacity_bytes;
	rig->inner = ds;
	make_last(rig);
	for (int i = 0; i < 2; i++) {
		pthread_mutex_init(&rig->gates[i].lock, NULL);
		pthread_cond_init(&rig->gates[i].moved, NULL);
		rig->gates[i].open = true;
	}
	assert_int_equal(faulty_datastore_open(ds, &rig->ds), 0);
	assert_int_equal(rfs_repo_open_quota(capacity_bytes, &quota), 0);
	assert_int_equal(faulty_repo_open(quota, &rig->repo), 0);
	rc = rfs_reservations_open(rig->ds, rig->repo, ret_message, size, &rig->r);
	if (rc < 0) {
		rfs_datastore_close(rig->ds);
		rfs_repo_close(rig->repo);
		if (rig->kind == RIG_MEMORY)
			rfs_datastore_close(what_is_left(rig));
	}
	return rc;
}

static void open_on(struct rig *rig, struct rfs_datastore *ds, uint64_t capacity_bytes)
{
	char message[512] = "";

	if (rig_try(rig, ds, capacity_bytes, message, sizeof message) < 0)
		fail_msg("%s", message);
}

void rig_open(struct rig *rig, enum rig_kind kind, uint64_t capacity_bytes)
{
	struct rfs_datastore *ds = NULL;

	memset(rig, 0, sizeof *rig);
	rig->kind = kind;
	if (kind == RIG_SQLITE) {
		strcpy(rig->directory, "/tmp/reservefs-rig.XXXXXX");
		assert_non_null(mkdtemp(rig->directory));
		ds = open_file(rig->directory);
	} else {
		assert_int_equal(rfs_datastore_open_memory(&ds), 0);
	}
	open_on(rig, ds, capacity_bytes);
}

int rig_close(struct rig *rig)
{
	char command[96];
	int rc = rfs_reservations_close(rig->r);

	if (rig->kind == RIG_MEMORY) {
		rfs_datastore_close(what_is_left(rig));
	} else if (*rig->directory) {
		(void) snprintf(command, sizeof command, "rm -r %s", rig->directory);
		assert_int_equal(system(command), 0);
	}
	return rc;
}

static int copy_row(void *user, const char *key, const char *value)
{
	assert_non_null(value);
	return rfs_datastore_txn_put(user, key, value);
}

/* Everything that is committed in `from`, in memory. */
static struct rfs_datastore *copy_of(struct rfs_datastore *from)
{
	struct rfs_datastore *ds;

	assert_int_equal(rfs_datastore_open_memory(&ds), 0);
	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_scan(from, "", "", copy_row, ds), 0);
	assert_int_equal(rfs_datastore_commit(ds), 0);
	return ds;
}

void rig_crash(struct rig *rig, struct rig *ret_copy)
{
	memset(ret_copy, 0, sizeof *ret_copy);
	open_on(ret_copy, copy_of(rig->inner), rig->capacity_bytes);
}

void rig_attach(struct rig *rig)
{
	open_on(rig, what_is_left(rig), rig->capacity_bytes);
}

void rig_reopen(struct rig *rig)
{
	assert_int_equal(rfs_reservations_close(rig->r), 0);
	rig_attach(rig);
}

void rig_damage(struct rig *rig, const char *key, const char *value)
{
	struct rfs_datastore *ds;

	assert_int_equal(rfs_reservations_close(rig->r), 0);
	ds = what_is_left(rig);
	assert_int_equal(rfs_datastore_put(ds, key, value), 0);
	open_on(rig, ds, rig->capacity_bytes);
}

/* Verbs */

static int perform(struct rig *rig, struct rfs_request *request)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct rfs_why why = { .text = "" };
	int rc = rfs_reservations_perform(rig->r, request, &why);

	/* Many may be at it. */
	pthread_mutex_lock(&lock);
	rig->why = why;
	pthread_mutex_unlock(&lock);
	return rc;
}

int rig_create(struct rig *rig, const char *name, struct rfs_contract **ret_contract)
{
	struct rfs_request q = { .verb = RFS_CREATE };
	int rc;

	assert_true(strlen(name) <= RFS_NAME_MAX);
	strcpy(q.new_name, name);
	rc = perform(rig, &q);
	if (rc < 0) {
		assert_null(q.created);
		return rc;
	}
	assert_non_null(q.created);
	*ret_contract = q.created;
	return 0;
}

int rig_resize(struct rig *rig, struct rfs_contract *contract, uint64_t size_bytes)
{
	struct rfs_request q = { .verb = RFS_RESIZE, .contract = contract, .size_bytes = size_bytes };

	return perform(rig, &q);
}

int rig_remove(struct rig *rig, struct rfs_contract *contract)
{
	struct rfs_request q = { .verb = RFS_REMOVE, .contract = contract };

	return perform(rig, &q);
}

int rig_rename(struct rig *rig, struct rfs_contract *contract, const char *new_name)
{
	struct rfs_request q = { .verb = RFS_RENAME, .contract = contract };

	assert_true(strlen(new_name) <= RFS_NAME_MAX);
	strcpy(q.new_name, new_name);
	return perform(rig, &q);
}

int rig_sync(struct rig *rig)
{
	struct rfs_request q = { .verb = RFS_SYNC };

	return perform(rig, &q);
}

struct rfs_contract *rig_made(struct rig *rig, const char *name, uint64_t size_bytes)
{
	struct rfs_contract *c = NULL;

	assert_int_equal(rig_create(rig, name, &c), 0);
	if (size_bytes > 0)
		assert_int_equal(rig_resize(rig, c, size_bytes), 0);
	return c;
}

struct rfs_contract *rig_found(struct rig *rig, const char *name)
{
	struct rfs_contract *c = NULL;
	int rc = rfs_reservations_lookup(rig->r, name, &c);

	if (rc < 0)
		fail_msg("%s: %s", name, strerror(-rc));
	return c;
}

/* Judging */

void rig_expect_size(struct rig *rig, const char *name, uint64_t size_bytes)
{
	struct rfs_contract *c = rig_found(rig, name);
	struct rfs_contract_stat stat;

	assert_int_equal(rfs_contract_stat(c, &stat), 0);
	assert_int_equal(stat.size_bytes, size_bytes);
	rfs_contract_unref(c);
}

void rig_expect_none(struct rig *rig, const char *name)
{
	struct rfs_contract *c = NULL;

	assert_int_equal(rfs_reservations_lookup(rig->r, name, &c), -ENOENT);
	assert_null(c);
}

struct sums {
	struct rfs_datastore *ds;
	uint64_t reserved_bytes, contracts, index;
	char index_name[RFS_VALUE_MAX + 1];
};

static int add_contract(void *user, const char *key, const char *value)
{
	struct rfs_contract_record record;
	struct sums *sums = user;

	assert_non_null(value);
	assert_int_equal(rfs_record_decode_contract(value, &record), 0);
	assert_true(strlen(key) > strlen(RFS_KEY_CONTRACT));
	sums->reserved_bytes += record.size_bytes;
	sums->contracts++;
	return 0;
}

/* Index rows are looked up after the scan, which may not be interrupted by other calls. */
struct index_rows {
	struct {
		uint64_t id;
		char name[RFS_NAME_MAX + 1];
	} *rows;
	size_t count;
};

static int keep_index_row(void *user, const char *key, const char *value)
{
	struct index_rows *index = user;

	assert_non_null(value);
	assert_true(strlen(value) <= RFS_NAME_MAX);
	index->rows = realloc(index->rows, (index->count + 1) * sizeof *index->rows);
	assert_non_null(index->rows);
	assert_int_equal(rfs_record_id_of_key(key, &index->rows[index->count].id), 0);
	strcpy(index->rows[index->count++].name, value);
	return 0;
}

static void expect_index_leads_back(struct rfs_datastore *ds, uint64_t contracts)
{
	struct index_rows index = { 0 };

	assert_int_equal(rfs_datastore_scan(ds, RFS_KEY_ID, "", keep_index_row, &index), 0);
	assert_int_equal(index.count, contracts);
	for (size_t i = 0; i < index.count; i++) {
		struct rfs_contract_record record;
		struct rfs_value value;
		char key[RFS_KEY_MAX + 1];

		rfs_record_contract_key(index.rows[i].name, key);
		assert_int_equal(rfs_datastore_get(ds, key, &value), 0);
		assert_int_equal(rfs_record_decode_contract(value.data, &record), 0);
		assert_int_equal(record.id, index.rows[i].id);
	}
	free(index.rows);
}

static void expect_records(struct rfs_datastore *ds, uint64_t reserved_bytes, uint64_t contracts)
{
	struct rfs_totals_record totals;
	struct sums sums = { 0 };
	struct rfs_value value;

	assert_int_equal(rfs_datastore_scan(ds, RFS_KEY_CONTRACT, "", add_contract, &sums), 0);
	assert_int_equal(sums.reserved_bytes, reserved_bytes);
	assert_int_equal(sums.contracts, contracts);
	assert_int_equal(rfs_datastore_get(ds, RFS_KEY_TOTALS, &value), 0);
	assert_int_equal(rfs_record_decode_totals(value.data, &totals), 0);
	assert_int_equal(totals.reserved_bytes, reserved_bytes);
	assert_int_equal(totals.contracts, contracts);
	expect_index_leads_back(ds, contracts);
}

void rig_expect_sound(struct rig *rig, uint64_t reserved_bytes, uint64_t contracts)
{
	struct rfs_figures figures;
	struct rfs_totals totals;

	assert_int_equal(rig_sync(rig), 0);
	rfs_reservations_figures(rig->r, &figures, &totals);
	assert_int_equal(totals.reserved_bytes, reserved_bytes);
	assert_int_equal(totals.contracts, contracts);
	assert_int_equal(figures.reserved, reserved_bytes);
	assert_int_equal(figures.capacity, rig->capacity_bytes);
	if (reserved_bytes <= rig->capacity_bytes)
		assert_int_equal(figures.available, rig->capacity_bytes - reserved_bytes);
	else
		assert_int_equal(figures.available, 0);
	expect_records(rig->inner, reserved_bytes, contracts);
}

struct names {
	char *text;
	size_t size, used;
};

static int add_name(void *user, uint64_t id, const char *name)
{
	struct names *names = user;

	assert_true(id >= RFS_CONTRACT_ID_FIRST);
	names->used += (size_t) snprintf(names->text + names->used, names->size - names->used, "%s ", name);
	assert_true(names->used < names->size);
	return 0;
}

void rig_names(struct rig *rig, uint64_t after_id, char *ret_names, size_t size)
{
	struct names names = { ret_names, size, 0 };

	*ret_names = '\0';
	assert_int_equal(rfs_reservations_list(rig->r, after_id, add_name, &names, NULL), 0);
}

/* Flights */

static void land(struct rfs_request *request, int error)
{
	struct rig_flight *flight = (struct rig_flight *) request;
	struct rig_tower *tower = flight->tower;

	if (flight->unref)
		rfs_contract_unref(request->contract);
	pthread_mutex_lock(&tower->lock);
	/* An assertion would jump out of a thread that is not the test's. */
	if (flight->answered)
		abort();
	flight->answered = true;
	flight->error = error;
	flight->order = ++tower->answers;
	pthread_cond_broadcast(&tower->landed);
	pthread_mutex_unlock(&tower->lock);
}

void rig_submit(struct rig *rig, struct rig_tower *tower, struct rig_flight *flight)
{
	flight->tower = tower;
	flight->request.done = land;
	rfs_reservations_submit(rig->r, &flight->request);
}

void rig_await(struct rig_tower *tower, unsigned count)
{
	struct timespec until = deadline();
	int rc = 0;

	pthread_mutex_lock(&tower->lock);
	while (tower->answers < count && rc == 0)
		rc = pthread_cond_timedwait(&tower->landed, &tower->lock, &until);
	pthread_mutex_unlock(&tower->lock);
	if (rc != 0)
		fail_msg("%u answers came rather than %u", rig_answers(tower), count);
}

unsigned rig_answers(struct rig_tower *tower)
{
	unsigned answers;

	pthread_mutex_lock(&tower->lock);
	answers = tower->answers;
	pthread_mutex_unlock(&tower->lock);
	return answers;
}

/* Gates and faults */

static void stand_at(void *user)
{
	struct rig_gate *gate = user;
	struct timespec until = deadline();
	int rc = 0;

	pthread_mutex_lock(&gate->lock);
	gate->arrivals++;
	pthread_cond_broadcast(&gate->moved);
	while (!gate->open && rc == 0)
		rc = pthread_cond_timedwait(&gate->moved, &gate->lock, &until);
	pthread_mutex_unlock(&gate->lock);
}

static void close_gate(struct rig *rig, int number, struct faulty_datastore_plan *plan)
{
	struct rig_gate *gate = &rig->gates[number];

	pthread_mutex_lock(&gate->lock);
	gate->open = false;
	gate->arrivals = 0;
	pthread_mutex_unlock(&gate->lock);
	plan->nth = 1;
	plan->persistent = true;
	plan->user = gate;
	faulty_datastore_arm(rig->ds, plan);
}

void rig_gate_close(struct rig *rig, int number, unsigned int calls)
{
	struct faulty_datastore_plan plan = { .calls = calls, .before = stand_at };

	close_gate(rig, number, &plan);
}

void rig_gate_close_behind(struct rig *rig, int number, unsigned int calls)
{
	struct faulty_datastore_plan plan = { .calls = calls, .after = stand_at };

	close_gate(rig, number, &plan);
}

void rig_gate_await(struct rig *rig, int number)
{
	struct rig_gate *gate = &rig->gates[number];
	struct timespec until = deadline();
	int rc = 0;

	pthread_mutex_lock(&gate->lock);
	while (gate->arrivals == 0 && rc == 0)
		rc = pthread_cond_timedwait(&gate->moved, &gate->lock, &until);
	pthread_mutex_unlock(&gate->lock);
	if (rc != 0)
		fail_msg("nobody came to the gate");
}

void rig_gate_let(struct rig *rig, int number)
{
	struct rig_gate *gate = &rig->gates[number];

	pthread_mutex_lock(&gate->lock);
	gate->open = true;
	pthread_cond_broadcast(&gate->moved);
	pthread_mutex_unlock(&gate->lock);
}

void rig_gate_open(struct rig *rig, int number)
{
	faulty_datastore_arm(rig->ds, NULL);
	rig_gate_let(rig, number);
}

void rig_fail(struct rig *rig, unsigned int calls, uint64_t nth, bool persistent, int error)
{
	struct faulty_datastore_plan plan = { .calls = calls, .nth = nth, .persistent = persistent, .error = error };

	faulty_datastore_arm(rig->ds, &plan);
}

void rig_fail_repo(struct rig *rig, unsigned int calls, uint64_t nth, bool persistent, int error)
{
	struct faulty_repo_plan plan = { .calls = calls, .nth = nth, .persistent = persistent, .error = error };

	faulty_repo_arm(rig->repo, &plan);
}
