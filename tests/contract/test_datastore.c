/* SPDX-License-Identifier: MIT */
/* test_datastore.c: the contract of a Datastore, one body run against each back end. */
#include "../unit/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <reservefs/datastore.h>

#include "scratch.h"

static int open_memory(struct rfs_datastore **ret_ds)
{
	return rfs_datastore_open_memory(ret_ds);
}

static int open_sqlite(struct rfs_datastore **ret_ds)
{
	char path[256], message[512];

	scratch_path("contract.db", path, sizeof(path));
	struct rfs_sqlite_options options = { .path = path };
	int rc = rfs_datastore_open_sqlite(&options, message, sizeof(message), ret_ds);
	if (rc)
		fprintf(stderr, "%s\n", message);
	return rc;
}

static int setup_memory(void **state)
{
	return open_memory((struct rfs_datastore **) state);
}

static int setup_sqlite(void **state)
{
	return scratch_make(state) ? -1 : open_sqlite((struct rfs_datastore **) state);
}

static int teardown_memory(void **state)
{
	rfs_datastore_close(*state);
	return 0;
}

static int teardown_sqlite(void **state)
{
	rfs_datastore_close(*state);
	return scratch_remove(state);
}

/* Helpers */

static void put(struct rfs_datastore *ds, const char *key, const char *value)
{
	assert_int_equal(rfs_datastore_put(ds, key, value), 0);
}

static void expect(struct rfs_datastore *ds, const char *key, const char *value)
{
	struct rfs_value got;

	memset(&got, 0x55, sizeof(got));
	assert_int_equal(rfs_datastore_get(ds, key, &got), 0);
	assert_string_equal(got.data, value);
	assert_int_equal(got.length, strlen(value));
}

static void expect_none(struct rfs_datastore *ds, const char *key)
{
	struct rfs_value got;

	memset(&got, 0x55, sizeof(got));
	assert_int_equal(rfs_datastore_get(ds, key, &got), -ENOENT);
	assert_int_equal(got.data[0], 0x55);
}

struct listing {
	char text[4096];
	int end_at;  /* the record whose call returns: */
	int answer;
	int records;
};

static int list_one(void *user, const char *key, const char *value)
{
	struct listing *listing = user;
	char *end = listing->text + strlen(listing->text);

	snprintf(end, sizeof(listing->text) - (size_t) (end - listing->text), "%s=%s;", key, value);
	return ++listing->records == listing->end_at ? listing->answer : 0;
}

static void expect_scan(struct rfs_datastore *ds, const char *prefix, const char *after, const char *expected)
{
	struct listing listing = { 0 };

	assert_int_equal(rfs_datastore_scan(ds, prefix, after, list_one, &listing), 0);
	assert_string_equal(listing.text, expected);
}

static char *repeat(char c, size_t length)
{
	char *text = malloc(length + 1);

	assert_non_null(text);
	memset(text, c, length);
	text[length] = 0;
	return text;
}

/* The contract */

static void what_was_put_is_got(void **state)
{
	struct rfs_datastore *ds = *state;

	expect_none(ds, "a");
	put(ds, "a", "1");
	put(ds, "b", "");
	expect(ds, "a", "1");
	expect(ds, "b", "");
	expect_none(ds, "A");
	expect_none(ds, "a ");
	expect_none(ds, "aa");
}

static void a_put_replaces(void **state)
{
	struct rfs_datastore *ds = *state;

	put(ds, "a", "1");
	put(ds, "a", "a much longer value than before");
	expect(ds, "a", "a much longer value than before");
	put(ds, "a", "2");
	expect(ds, "a", "2");
	expect_scan(ds, "", "", "a=2;");
}

static void what_looks_like_a_number_stays_text(void **state)
{
	struct rfs_datastore *ds = *state;

	put(ds, "007", "1e3");
	put(ds, "7", "0x10");
	expect(ds, "007", "1e3");
	expect(ds, "7", "0x10");
	expect_none(ds, "7.0");
}

static void bounds_are_kept(void **state)
{
	struct rfs_datastore *ds = *state;
	char *key = repeat('k', RFS_KEY_MAX), *long_key = repeat('k', RFS_KEY_MAX + 1);
	char *value = repeat('v', RFS_VALUE_MAX), *long_value = repeat('v', RFS_VALUE_MAX + 1);
	struct rfs_value got;

	put(ds, key, value);
	expect(ds, key, value);
	assert_int_equal(rfs_datastore_put(ds, long_key, "v"), -EINVAL);
	assert_int_equal(rfs_datastore_put(ds, "", "v"), -EINVAL);
	assert_int_equal(rfs_datastore_put(ds, "k", long_value), -EINVAL);
	assert_int_equal(rfs_datastore_get(ds, long_key, &got), -EINVAL);
	assert_int_equal(rfs_datastore_get(ds, "", &got), -EINVAL);
	assert_int_equal(rfs_datastore_scan(ds, long_key, "", list_one, NULL), -EINVAL);
	assert_int_equal(rfs_datastore_scan(ds, "", long_key, list_one, NULL), -EINVAL);
	expect_none(ds, "k");

	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, long_key, "v"), -EINVAL);
	assert_int_equal(rfs_datastore_txn_put(ds, "k", long_value), -EINVAL);
	assert_int_equal(rfs_datastore_txn_delete(ds, ""), -EINVAL);
	assert_int_equal(rfs_datastore_txn_get(ds, "", &got), -EINVAL);
	rfs_datastore_rollback(ds);
	free(key);
	free(long_key);
	free(value);
	free(long_value);
}

static void a_scan_is_in_the_order_of_bytes(void **state)
{
	struct rfs_datastore *ds = *state;
	/* U+FFFD is less than U+10000 in UTF-8, though not in UTF-16; 0xff is no UTF-8 at all. */
	static const char *const keys[] = { "\xff", "B", "\xf0\x90\x80\x80", "a", "\xc3\xa4", "\xef\xbf\xbd", "aa", "a b", "\x01" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		put(ds, keys[i], "");
	expect_scan(ds, "", "", "\x01=;B=;a=;a b=;aa=;\xc3\xa4=;\xef\xbf\xbd=;\xf0\x90\x80\x80=;\xff=;");
}

static void fill_for_scans(struct rfs_datastore *ds)
{
	static const char *const keys[] = { "b", "c", "c/", "c/1", "c/10", "c/2", "c0", "d", "c/\xff", "c/\xff\xff" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		put(ds, keys[i], "x");
}

static void a_scan_keeps_to_its_prefix(void **state)
{
	struct rfs_datastore *ds = *state;

	expect_scan(ds, "", "", "");
	expect_scan(ds, "c/", "", "");
	fill_for_scans(ds);
	expect_scan(ds, "c/", "", "c/=x;c/1=x;c/10=x;c/2=x;c/\xff=x;c/\xff\xff=x;");
	expect_scan(ds, "c/1", "", "c/1=x;c/10=x;");
	expect_scan(ds, "c/\xff", "", "c/\xff=x;c/\xff\xff=x;");
	expect_scan(ds, "d", "", "d=x;");
	expect_scan(ds, "e", "", "");
	expect_scan(ds, "\xff", "", "");
	expect_scan(ds, "c/3", "", "");
}

static void a_scan_goes_on_after_a_key(void **state)
{
	struct rfs_datastore *ds = *state;

	fill_for_scans(ds);
	expect_scan(ds, "c/", "c/1", "c/10=x;c/2=x;c/\xff=x;c/\xff\xff=x;");
	/* What it goes on after need not exist, nor begin with the prefix. */
	expect_scan(ds, "c/", "c/15", "c/2=x;c/\xff=x;c/\xff\xff=x;");
	expect_scan(ds, "c/", "c/", "c/1=x;c/10=x;c/2=x;c/\xff=x;c/\xff\xff=x;");
	expect_scan(ds, "c/1", "b", "c/1=x;c/10=x;");
	expect_scan(ds, "c/1", "c/2", "");
	expect_scan(ds, "c/", "c/\xff\xff", "");
	expect_scan(ds, "", "c0", "d=x;");
	expect_scan(ds, "", "d", "");
}

static void a_scan_ends_when_it_is_told_to(void **state)
{
	struct rfs_datastore *ds = *state;
	struct listing ended = { .end_at = 2, .answer = 1 };
	struct listing failed = { .end_at = 1, .answer = -EXDEV };

	fill_for_scans(ds);
	assert_int_equal(rfs_datastore_scan(ds, "c", "", list_one, &ended), 0);
	assert_string_equal(ended.text, "c=x;c/=x;");
	assert_int_equal(rfs_datastore_scan(ds, "c", "", list_one, &failed), -EXDEV);
	assert_string_equal(failed.text, "c=x;");
	/* Nothing is left of it. */
	expect_scan(ds, "b", "", "b=x;");
	put(ds, "b", "y");
	expect_scan(ds, "b", "", "b=y;");
}

static void a_commit_makes_all_of_it_visible(void **state)
{
	struct rfs_datastore *ds = *state;

	put(ds, "gone", "1");
	put(ds, "changed", "1");
	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "new", "2"), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "changed", "2"), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "changed", "3"), 0);
	assert_int_equal(rfs_datastore_txn_delete(ds, "gone"), 0);
	assert_int_equal(rfs_datastore_txn_delete(ds, "never was"), 0);
	expect_scan(ds, "", "", "changed=1;gone=1;");
	assert_int_equal(rfs_datastore_commit(ds), 0);
	expect_scan(ds, "", "", "changed=3;new=2;");
}

static void a_transaction_sees_what_it_did(void **state)
{
	struct rfs_datastore *ds = *state;
	struct rfs_value got;

	put(ds, "a", "1");
	put(ds, "b", "1");
	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "a", "2"), 0);
	assert_int_equal(rfs_datastore_txn_delete(ds, "b"), 0);
	assert_int_equal(rfs_datastore_txn_get(ds, "a", &got), 0);
	assert_string_equal(got.data, "2");
	assert_int_equal(rfs_datastore_txn_get(ds, "b", &got), -ENOENT);
	assert_int_equal(rfs_datastore_txn_get(ds, "c", &got), -ENOENT);
	/* Everybody else sees what is committed, this thread's own get included. */
	expect(ds, "a", "1");
	expect(ds, "b", "1");
	assert_int_equal(rfs_datastore_commit(ds), 0);
	expect(ds, "a", "2");
	expect_none(ds, "b");
}

static void a_rollback_undoes_all_of_it(void **state)
{
	struct rfs_datastore *ds = *state;
	struct rfs_value got;

	put(ds, "a", "1");
	put(ds, "b", "1");
	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "a", "2"), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "c", "2"), 0);
	assert_int_equal(rfs_datastore_txn_delete(ds, "b"), 0);
	rfs_datastore_rollback(ds);
	expect_scan(ds, "", "", "a=1;b=1;");

	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_get(ds, "a", &got), 0);
	assert_string_equal(got.data, "1");
	assert_int_equal(rfs_datastore_commit(ds), 0);
	expect_scan(ds, "", "", "a=1;b=1;");
}

static void a_close_undoes_an_open_transaction(void **state)
{
	struct rfs_datastore *ds = *state;

	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "a", "2"), 0);
	/* The teardown closes it. */
}

/* Another thread, which looks while a transaction is open. */
struct onlooker {
	struct rfs_datastore *ds;
	bool saw_old;
};

static void *look(void *argument)
{
	struct onlooker *onlooker = argument;
	struct rfs_value got;

	onlooker->saw_old = rfs_datastore_get(onlooker->ds, "a", &got) == 0 && strcmp(got.data, "1") == 0 &&
			    rfs_datastore_get(onlooker->ds, "b", &got) == -ENOENT;
	return NULL;
}

static void other_threads_see_commits_only(void **state)
{
	struct onlooker onlooker = { .ds = *state };
	pthread_t thread;

	put(onlooker.ds, "a", "1");
	assert_int_equal(rfs_datastore_begin(onlooker.ds), 0);
	assert_int_equal(rfs_datastore_txn_put(onlooker.ds, "a", "2"), 0);
	assert_int_equal(rfs_datastore_txn_put(onlooker.ds, "b", "2"), 0);
	assert_int_equal(pthread_create(&thread, NULL, look, &onlooker), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(onlooker.saw_old);
	assert_int_equal(rfs_datastore_commit(onlooker.ds), 0);
	expect(onlooker.ds, "b", "2");
}

/* Two records that every commit changes together, and readers that would see them apart. */
struct pair_watch {
	struct rfs_datastore *ds;
	atomic_bool stop;
	atomic_uint looks;
	atomic_uint torn;
	atomic_uint failures;
};

static int collect_pair(void *user, const char *key, const char *value)
{
	char (*pair)[32] = user;

	snprintf(pair[key[5] == '2'], sizeof(pair[0]), "%s", value ? value : "damaged");
	return 0;
}

static void *watch_pair(void *argument)
{
	struct pair_watch *watch = argument;
	struct rfs_value got;

	while (!atomic_load(&watch->stop)) {
		char pair[2][32] = { "", "" };
		if (rfs_datastore_scan(watch->ds, "pair/", "", collect_pair, pair) ||
		    rfs_datastore_get(watch->ds, "pair/1", &got))
			atomic_fetch_add(&watch->failures, 1);
		if (strcmp(pair[0], pair[1]) != 0)
			atomic_fetch_add(&watch->torn, 1);
		atomic_fetch_add(&watch->looks, 1);
	}
	return NULL;
}

static void write_pair(struct rfs_datastore *ds, unsigned int number)
{
	char value[32];

	snprintf(value, sizeof(value), "%u", number);
	assert_int_equal(rfs_datastore_begin(ds), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "pair/1", value), 0);
	assert_int_equal(rfs_datastore_txn_put(ds, "pair/2", value), 0);
	assert_int_equal(rfs_datastore_commit(ds), 0);
	rfs_datastore_tidy(ds);
}

static void a_scan_is_of_one_instant(void **state)
{
	struct pair_watch watch = { .ds = *state };
	pthread_t threads[2];

	write_pair(watch.ds, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, watch_pair, &watch), 0);
	for (unsigned int i = 1; i <= 500 || atomic_load(&watch.looks) < 500; i++)
		write_pair(watch.ds, i);
	atomic_store(&watch.stop, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&watch.failures), 0);
	assert_int_equal(atomic_load(&watch.torn), 0);
}

struct putter {
	struct rfs_datastore *ds;
	char name;
	int failures;
};

static void *put_many(void *argument)
{
	struct putter *putter = argument;

	for (int i = 0; i < 50; i++) {
		char key[16];
		snprintf(key, sizeof(key), "%c%02d", putter->name, i);
		putter->failures += rfs_datastore_put(putter->ds, key, "v") != 0;
	}
	return NULL;
}

static int count_one(void *user, const char *key, const char *value)
{
	(void) key;
	*(int *) user += value != NULL;
	return 0;
}

static void puts_may_come_from_several_threads(void **state)
{
	struct putter putters[3];
	pthread_t threads[3];
	int count = 0;

	for (int i = 0; i < 3; i++) {
		putters[i] = (struct putter) { .ds = *state, .name = (char) ('a' + i) };
		assert_int_equal(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(putters[i].failures, 0);
	}
	assert_int_equal(rfs_datastore_scan(*state, "", "", count_one, &count), 0);
	assert_int_equal(count, 150);
}

/* The same history for the Datastore and for an array, compared in the end. */
#define MODEL_KEYS 300

static void check_model(struct rfs_datastore *ds, char (*model)[24])
{
	char key[16];
	struct rfs_value got;
	int count = 0, present = 0;

	for (int i = 0; i < MODEL_KEYS; i++) {
		snprintf(key, sizeof(key), "k%03d", i);
		if (!model[i][0]) {
			expect_none(ds, key);
			continue;
		}
		assert_int_equal(rfs_datastore_get(ds, key, &got), 0);
		assert_string_equal(got.data, model[i]);
		present++;
	}
	assert_int_equal(rfs_datastore_scan(ds, "k", "", count_one, &count), 0);
	assert_int_equal(count, present);
}

static void a_long_history_adds_up(void **state)
{
	static char model[MODEL_KEYS][24], draft[MODEL_KEYS][24];
	struct rfs_datastore *ds = *state;
	unsigned int seed = 1;

	memset(model, 0, sizeof(model));
	for (int txn = 0; txn < 300; txn++) {
		memcpy(draft, model, sizeof(model));
		assert_int_equal(rfs_datastore_begin(ds), 0);
		for (int change = 0; change < 20; change++) {
			int i = rand_r(&seed) % MODEL_KEYS;
			char key[16];
			snprintf(key, sizeof(key), "k%03d", i);
			if (rand_r(&seed) % 3 == 0) {
				draft[i][0] = 0;
				assert_int_equal(rfs_datastore_txn_delete(ds, key), 0);
			} else {
				snprintf(draft[i], sizeof(draft[i]), "%d", rand_r(&seed));
				assert_int_equal(rfs_datastore_txn_put(ds, key, draft[i]), 0);
			}
		}
		if (rand_r(&seed) % 4 == 0) {
			rfs_datastore_rollback(ds);
		} else {
			assert_int_equal(rfs_datastore_commit(ds), 0);
			memcpy(model, draft, sizeof(model));
		}
		rfs_datastore_tidy(ds);
	}
	check_model(ds, model);
}

/* Whoever must not wait is told the truth, or to ask in the other way. */
static void what_is_had_now_is_what_is_got(void **state)
{
	struct rfs_datastore *ds = *state;
	struct rfs_value got;
	int rc;

	put(ds, "a", "1");
	put(ds, "a", "22");
	expect(ds, "a", "22");
	rc = rfs_datastore_get_now(ds, "a", &got);
	if (rc != -EAGAIN) {
		assert_int_equal(rc, 0);
		assert_string_equal(got.data, "22");
		assert_int_equal(got.length, 2);
	}
	expect_none(ds, "b");
	rc = rfs_datastore_get_now(ds, "b", &got);
	assert_true(rc == -ENOENT || rc == -EAGAIN);
	assert_int_equal(rfs_datastore_get_now(ds, "", &got), -EINVAL);
	/* And what could not be had has spoilt nothing. */
	expect(ds, "a", "22");
}

static void there_is_always_an_explanation(void **state)
{
	assert_non_null(rfs_datastore_explain(*state));
	assert_null(strchr(rfs_datastore_explain(*state), '\n'));
}

static void closing_nothing_is_allowed(void **state)
{
	(void) state;
	rfs_datastore_close(NULL);
}

#define CONTRACT_TEST(body, backend) {#backend ": " #body, body, setup_##backend, teardown_##backend, NULL}

#define CONTRACT(backend) \
	CONTRACT_TEST(what_was_put_is_got, backend), \
	CONTRACT_TEST(a_put_replaces, backend), \
	CONTRACT_TEST(what_looks_like_a_number_stays_text, backend), \
	CONTRACT_TEST(bounds_are_kept, backend), \
	CONTRACT_TEST(a_scan_is_in_the_order_of_bytes, backend), \
	CONTRACT_TEST(a_scan_keeps_to_its_prefix, backend), \
	CONTRACT_TEST(a_scan_goes_on_after_a_key, backend), \
	CONTRACT_TEST(a_scan_ends_when_it_is_told_to, backend), \
	CONTRACT_TEST(a_commit_makes_all_of_it_visible, backend), \
	CONTRACT_TEST(a_transaction_sees_what_it_did, backend), \
	CONTRACT_TEST(a_rollback_undoes_all_of_it, backend), \
	CONTRACT_TEST(a_close_undoes_an_open_transaction, backend), \
	CONTRACT_TEST(other_threads_see_commits_only, backend), \
	CONTRACT_TEST(a_scan_is_of_one_instant, backend), \
	CONTRACT_TEST(puts_may_come_from_several_threads, backend), \
	CONTRACT_TEST(a_long_history_adds_up, backend), \
	CONTRACT_TEST(what_is_had_now_is_what_is_got, backend), \
	CONTRACT_TEST(there_is_always_an_explanation, backend), \
	CONTRACT_TEST(closing_nothing_is_allowed, backend)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT(memory),
		CONTRACT(sqlite),
	};

	return cmocka_run_group_tests_name("datastore", tests, NULL, NULL);
}
