/* SPDX-License-Identifier: MIT */
/*
 * test_growth.c: requests that need more space, while the storage of the Repo says how much it has, takes its time, hangs, comes
 * back, or fails. The storage is one that a test lets answer, or does not.
 */
#include "../contract/rig.h"

#include "check.h"
#include "util/cleanup.h"
#include "util/thread.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)
#define DEADLINE_NS (20 * RFS_NS_A_SECOND)

/* Whether the storage answers. */
static struct storage {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool hangs;
	unsigned waiting;
} storage = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void before_measure(void *unused)
{
	(void) unused;
	pthread_mutex_lock(&storage.lock);
	storage.waiting++;
	pthread_cond_broadcast(&storage.changed);
	while (storage.hangs)
		pthread_cond_wait(&storage.changed, &storage.lock);
	storage.waiting--;
	pthread_mutex_unlock(&storage.lock);
}

static void set_hangs(bool hangs)
{
	pthread_mutex_lock(&storage.lock);
	storage.hangs = hangs;
	pthread_cond_broadcast(&storage.changed);
	pthread_mutex_unlock(&storage.lock);
}

static void go_on(void)
{
	set_hangs(false);
}

static void hang(struct rig *rig)
{
	const struct faulty_repo_plan plan = {
		.calls = FAULTY_REPO_MEASURE, .nth = 1, .persistent = true, .before = before_measure,
	};

	set_hangs(true);
	faulty_repo_arm(rig->repo, &plan);
}

static void await_asked(void)
{
	pthread_mutex_lock(&storage.lock);
	while (storage.waiting == 0)
		pthread_cond_wait(&storage.changed, &storage.lock);
	pthread_mutex_unlock(&storage.lock);
}

static unsigned threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;

	assert_non_null(tasks);
	for (struct dirent *entry; (entry = readdir(tasks));)
		count += entry->d_name[0] != '.';
	closedir(tasks);
	return count;
}

static void await_threads(unsigned most)
{
	int64_t until = rfs_now_ns() + DEADLINE_NS;

	while (threads() > most) {
		assert_true(rfs_now_ns() < until);
		usleep(1000);
	}
}

static void submit_resize(struct rig *rig, struct rig_tower *tower, struct rig_flight *flight, struct rfs_contract *c,
			  uint64_t size_bytes)
{
	*flight = (struct rig_flight) { .request = { .verb = RFS_RESIZE, .contract = c, .size_bytes = size_bytes } };
	rig_submit(rig, tower, flight);
}

/* The same, and lets go of a reference of its own once it is answered. */
static void submit_last(struct rig *rig, struct rig_tower *tower, struct rig_flight *flight, struct rfs_contract *c,
			uint64_t size_bytes)
{
	*flight = (struct rig_flight) {
		.request = { .verb = RFS_RESIZE, .contract = rfs_contract_ref(c), .size_bytes = size_bytes }, .unref = true,
	};
	rig_submit(rig, tower, flight);
}

/* Everything that needs no more space, one after the other, each waited for. */
static void all_else_works(struct rig *rig, struct rfs_contract *c, uint64_t size_bytes)
{
	struct rfs_contract *other;

	assert_int_equal(rig_resize(rig, c, size_bytes - 1), 0);
	assert_int_equal(rig_resize(rig, c, size_bytes - 1), 0);
	assert_int_equal(rig_rename(rig, c, "renamed"), 0);
	assert_int_equal(rig_rename(rig, c, "shrinking"), 0);
	assert_int_equal(rig_create(rig, "new", &other), 0);
	assert_int_equal(rig_sync(rig), 0);
	assert_int_equal(rig_resize(rig, other, 0), 0);
	assert_int_equal(rig_remove(rig, other), 0);
	rfs_contract_unref(other);
	rig_expect_size(rig, "shrinking", size_bytes - 1);
}

static void what_needs_no_space_goes_on_while_the_storage_hangs(void **state)
{
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rig_flight growing, all;
	struct rig rig;

	(void) state;
	for (int kind = RIG_MEMORY; kind <= RIG_SQLITE; kind++) {
		rig_open(&rig, (enum rig_kind) kind, 10 * GIB);
		struct rfs_contract *a = rig_made(&rig, "a", GIB), *b = rig_made(&rig, "b", GIB);
		struct rfs_contract *shrinking = rig_made(&rig, "shrinking", GIB);
		tower.answers = 0;
		hang(&rig);
		/* found out by whoever turns */
		submit_resize(&rig, &tower, &growing, a, 2 * GIB);
		await_asked();
		all_else_works(&rig, shrinking, GIB);
		/* and now that it is known */
		submit_resize(&rig, &tower, &all, b, RFS_ALL);
		for (int i = 1; i < 50; i++)
			all_else_works(&rig, shrinking, GIB - (uint64_t) i);
		assert_int_equal(rig_answers(&tower), 0);
		rig_expect_size(&rig, "a", GIB);
		go_on();
		rig_await(&tower, 2);
		assert_int_equal(growing.error, 0);
		assert_int_equal(all.error, 0);
		rig_expect_sound(&rig, 10 * GIB, 3);
		rig_expect_size(&rig, "a", 2 * GIB);
		rfs_contract_unref(a);
		rfs_contract_unref(b);
		rfs_contract_unref(shrinking);
		assert_int_equal(rig_close(&rig), 0);
	}
}

/* It finds out once it is its turn. */
static void a_contract_can_be_removed_renamed_and_shrunk_while_it_waits_to_grow(void **state)
{
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rig_flight removed, renamed, shrunk;
	struct rfs_contract *c, *d, *e;
	struct rig rig;

	(void) state;
	rig_open(&rig, RIG_MEMORY, 10 * GIB);
	c = rig_made(&rig, "c", 5);
	d = rig_made(&rig, "d", 5);
	e = rig_made(&rig, "e", 5);
	hang(&rig);
	submit_resize(&rig, &tower, &removed, c, GIB);
	await_asked();
	submit_resize(&rig, &tower, &renamed, d, 2 * GIB);
	submit_resize(&rig, &tower, &shrunk, e, 3 * GIB);
	assert_int_equal(rig_remove(&rig, c), 0);
	assert_int_equal(rig_rename(&rig, d, "other"), 0);
	assert_int_equal(rig_resize(&rig, e, 1), 0);
	rig_expect_size(&rig, "e", 1);
	go_on();
	rig_await(&tower, 3);
	assert_int_equal(removed.error, -ENODEV);
	assert_int_equal(renamed.error, 0);
	assert_int_equal(shrunk.error, 0);
	rig_expect_size(&rig, "other", 2 * GIB);
	rig_expect_sound(&rig, 5 * GIB, 2);
	rfs_contract_unref(c);
	rfs_contract_unref(d);
	rfs_contract_unref(e);
	assert_int_equal(rig_close(&rig), 0);
}

/* A shrinking one that came behind a growing one is answered behind it. */
static void the_order_is_kept_where_the_storage_answers(void **state)
{
	enum { MANY = 60 };
	static struct rig_flight flights[MANY];
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rfs_contract *c;
	struct rig rig;

	(void) state;
	rig_open(&rig, RIG_MEMORY, 10 * GIB);
	c = rig_made(&rig, "c", 1);
	for (int round = 0; round < 20; round++) {
		tower.answers = 0;
		rig_gate_close(&rig, 0, FAULTY_DATASTORE_BEGIN);
		submit_resize(&rig, &tower, &flights[0], c, 2);
		rig_gate_await(&rig, 0);
		for (unsigned i = 1; i < MANY; i++)
			submit_resize(&rig, &tower, &flights[i], c, i % 3 == 0 ? 1 : 1000 + i);
		rig_gate_open(&rig, 0);
		rig_await(&tower, MANY);
		for (unsigned i = 0; i < MANY; i++) {
			assert_int_equal(flights[i].error, 0);
			assert_int_equal(flights[i].order, i + 1);
		}
		rig_expect_size(&rig, "c", 1000 + MANY - 1);
	}
	rfs_contract_unref(c);
	assert_int_equal(rig_close(&rig), 0);
}

static void one_that_waits_can_be_taken_back(void **state)
{
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rig_flight first, second, third;
	struct rfs_contract *c, *d, *e;
	struct rig rig;

	(void) state;
	rig_open(&rig, RIG_MEMORY, 10 * GIB);
	c = rig_made(&rig, "c", 1);
	d = rig_made(&rig, "d", 1);
	e = rig_made(&rig, "e", 1);
	hang(&rig);
	submit_resize(&rig, &tower, &first, c, GIB);
	await_asked();
	submit_resize(&rig, &tower, &second, d, GIB);
	submit_resize(&rig, &tower, &third, e, GIB);
	/* the storage is known to be slow once this was answered, and they are put aside */
	assert_int_equal(rig_resize(&rig, d, 0), 0);
	assert_true(rfs_request_cancel(rig.r, &first.request));
	assert_true(rfs_request_cancel(rig.r, &second.request));
	rig_await(&tower, 2);
	assert_int_equal(first.error, -ECANCELED);
	assert_int_equal(second.error, -ECANCELED);
	assert_false(rfs_request_cancel(rig.r, &first.request));
	/* nothing waits on behalf of what was taken back */
	assert_int_equal(rig_remove(&rig, c), 0);
	go_on();
	rig_await(&tower, 3);
	assert_int_equal(third.error, 0);
	rig_expect_sound(&rig, GIB, 2);
	rfs_contract_unref(c);
	rfs_contract_unref(d);
	rfs_contract_unref(e);
	assert_int_equal(rig_close(&rig), 0);
}

static void to_close_waits_for_no_storage(void **state)
{
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rig_flight flights[20];
	unsigned before = threads();
	struct rfs_contract *c;
	struct rig rig;

	(void) state;
	for (int round = 0; round < 4; round++) {
		rig_open(&rig, RIG_MEMORY, 10 * GIB);
		c = rig_made(&rig, "c", 1);
		tower.answers = 0;
		hang(&rig);
		for (int i = 0; i < 20; i++)
			submit_last(&rig, &tower, &flights[i], c, GIB + (uint64_t) i);
		await_asked();
		rfs_contract_unref(c);
		int64_t since = rfs_now_ns();
		assert_int_equal(rig_close(&rig), 0);
		assert_true(rfs_now_ns() - since < 5 * RFS_NS_A_SECOND);
		assert_int_equal(rig_answers(&tower), 20);
		for (int i = 0; i < 20; i++)
			assert_int_equal(flights[i].error, -ESHUTDOWN);
		/* who comes back frees what was left */
		if (round % 2)
			usleep(30000);
		go_on();
		await_threads(before);
	}
}

static void *go_on_too(void *unused)
{
	go_on();
	return unused;
}

/* In the moments in which a thread that the storage has kept comes back. */
static void to_close_while_the_storage_comes_back(void **state)
{
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rig_flight flights[4];
	unsigned before = threads();
	struct rig rig;

	(void) state;
	for (int round = 0; round < 100; round++) {
		rig_open(&rig, RIG_MEMORY, 10 * GIB);
		struct rfs_contract *c = rig_made(&rig, "c", 1);
		tower.answers = 0;
		hang(&rig);
		for (int i = 0; i < 4; i++)
			submit_last(&rig, &tower, &flights[i], c, GIB + (uint64_t) i);
		await_asked();
		rfs_contract_unref(c);
		usleep((useconds_t) (round * 300 % 25000));
		pthread_t opener;
		assert_int_equal(pthread_create(&opener, NULL, go_on_too, NULL), 0);
		assert_int_equal(rig_close(&rig), 0);
		pthread_join(opener, NULL);
		assert_int_equal(rig_answers(&tower), 4);
		for (int i = 0; i < 4; i++)
			assert_true(flights[i].error == 0 || flights[i].error == -ESHUTDOWN);
		await_threads(before);
	}
}

static void a_thousand_that_wait_are_answered_in_their_order(void **state)
{
	enum { MANY = 1000 };
	static struct rig_flight flights[MANY];
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rfs_contract *c, *shrinking;
	struct rig rig;

	(void) state;
	rig_open(&rig, RIG_MEMORY, 10 * GIB);
	c = rig_made(&rig, "c", 1);
	shrinking = rig_made(&rig, "shrinking", GIB);
	hang(&rig);
	for (unsigned i = 0; i < MANY; i++)
		submit_resize(&rig, &tower, &flights[i], c, 2 + i);
	await_asked();
	for (int i = 0; i < 10; i++)
		all_else_works(&rig, shrinking, GIB - (uint64_t) i);
	assert_int_equal(rig_answers(&tower), 0);
	go_on();
	rig_await(&tower, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(flights[i].error, 0);
		assert_int_equal(flights[i].order, i + 1);
	}
	rig_expect_size(&rig, "c", MANY + 1);
	rfs_contract_unref(c);
	rfs_contract_unref(shrinking);
	assert_int_equal(rig_close(&rig), 0);
}

/* Its answer, when it comes, is that it cannot say. */
static void a_storage_that_fails_refuses_those_that_asked_it(void **state)
{
	const struct faulty_repo_plan failing = {
		.calls = FAULTY_REPO_MEASURE, .nth = 1, .persistent = true, .error = EIO, .before = before_measure,
	};
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rig_flight flights[3];
	struct rfs_contract *c;
	struct rig rig;

	(void) state;
	rig_open(&rig, RIG_MEMORY, 10 * GIB);
	c = rig_made(&rig, "c", 5);
	for (int hangs = 0; hangs < 2; hangs++) {
		tower.answers = 0;
		set_hangs(hangs);
		faulty_repo_arm(rig.repo, &failing);
		for (int i = 0; i < 3; i++)
			submit_resize(&rig, &tower, &flights[i], c, GIB);
		assert_int_equal(rig_resize(&rig, c, 4), 0);
		go_on();
		rig_await(&tower, 3);
		for (int i = 0; i < 3; i++)
			assert_int_equal(flights[i].error, -EIO);
		assert_int_equal(rig_resize(&rig, c, GIB), -EIO);
		assert_non_null(strstr(rig.why.text, "storage of the Repo"));
		rig_expect_sound(&rig, 4, 1);
		faulty_repo_arm(rig.repo, NULL);
		assert_int_equal(rig_resize(&rig, c, 5), 0);
	}
	rfs_contract_unref(c);
	assert_int_equal(rig_close(&rig), 0);
}

static void who_leaves_can_have_those_refused_that_wait(void **state)
{
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rig_flight first, second, third;
	struct rfs_contract *c;
	struct rig rig;
	int64_t until;

	(void) state;
	rig_open(&rig, RIG_MEMORY, 10 * GIB);
	c = rig_made(&rig, "c", 1);
	assert_false(rfs_reservations_refuse_stalled(rig.r));
	hang(&rig);
	submit_resize(&rig, &tower, &first, c, GIB);
	await_asked();
	submit_resize(&rig, &tower, &second, c, GIB);
	for (until = rfs_now_ns() + DEADLINE_NS; !rfs_reservations_refuse_stalled(rig.r); usleep(1000))
		assert_true(rfs_now_ns() < until);
	rig_await(&tower, 2);
	assert_int_equal(first.error, -ESHUTDOWN);
	assert_int_equal(second.error, -ESHUTDOWN);
	submit_resize(&rig, &tower, &third, c, GIB);
	assert_true(rfs_reservations_refuse_stalled(rig.r));
	rig_await(&tower, 3);
	assert_int_equal(third.error, -ESHUTDOWN);
	go_on();
	/* and it all goes on where the storage does */
	assert_int_equal(rig_resize(&rig, c, GIB), 0);
	assert_false(rfs_reservations_refuse_stalled(rig.r));
	rfs_contract_unref(c);
	assert_int_equal(rig_close(&rig), 0);
}

struct leader {
	struct rig *rig;
	struct rig_flight *flight;
	atomic_int handed_over;
};

static void hand_over(void *user)
{
	atomic_fetch_add(&((struct leader *) user)->handed_over, 1);
}

static void *lead(void *user)
{
	struct leader *l = user;

	rfs_reservations_submit_and_lead(l->rig->r, &l->flight->request, hand_over, l);
	return NULL;
}

static void landed(struct rfs_request *request, int error)
{
	struct rig_flight *flight = (struct rig_flight *) request;
	RFS_LOCK(&flight->tower->lock);

	flight->error = error;
	flight->order = ++flight->tower->answers;
	pthread_cond_broadcast(&flight->tower->landed);
}

/* One who offered to write is kept by the storage: others write, and he comes back when it lets him. */
static void one_who_leads_and_hangs_is_replaced(void **state)
{
	struct rig_tower tower = RIG_TOWER_INIT;
	struct rfs_contract *c, *shrinking;
	pthread_t thread;
	struct rig rig;

	(void) state;
	for (int round = 0; round < 3; round++) {
		struct rig_flight flight = { .tower = &tower };
		struct leader leader = { &rig, &flight, 0 };

		rig_open(&rig, RIG_MEMORY, 10 * GIB);
		c = rig_made(&rig, "c", 1);
		shrinking = rig_made(&rig, "shrinking", GIB);
		assert_int_equal(rig_sync(&rig), 0);
		tower.answers = 0;
		flight.request = (struct rfs_request) {
			.verb = RFS_RESIZE, .contract = c, .size_bytes = GIB, .done = landed,
		};
		hang(&rig);
		assert_int_equal(pthread_create(&thread, NULL, lead, &leader), 0);
		await_asked();
		all_else_works(&rig, shrinking, GIB);
		assert_int_equal(rig_answers(&tower), 0);
		go_on();
		rig_await(&tower, 1);
		assert_int_equal(flight.error, 0);
		pthread_join(thread, NULL);
		assert_int_equal(rig_resize(&rig, c, 2 * GIB), 0);
		rfs_contract_unref(c);
		rfs_contract_unref(shrinking);
		assert_int_equal(rig_close(&rig), 0);
	}
}

struct holder {
	struct rfs_reservations *r;
	uint64_t reserved_bytes;
};

static void *measure_and_look(void *user)
{
	struct holder *h = user;
	struct rfs_figures figures;
	struct rfs_totals totals;

	(void) rfs_reservations_measure(h->r);
	rfs_reservations_figures(h->r, &figures, &totals);
	h->reserved_bytes = figures.reserved;
	rfs_reservations_let_go(h->r);
	return NULL;
}

static void who_holds_it_may_come_back_after_the_end(void **state)
{
	struct rig rig;
	pthread_t thread;

	(void) state;
	for (int round = 0; round < 3; round++) {
		rig_open(&rig, RIG_MEMORY, 10 * GIB);
		rfs_contract_unref(rig_made(&rig, "c", 5));
		struct holder holder = { .r = rig.r };
		hang(&rig);
		rfs_reservations_hold(rig.r);
		assert_int_equal(pthread_create(&thread, NULL, measure_and_look, &holder), 0);
		await_asked();
		assert_int_equal(rig_close(&rig), 0);
		go_on();
		pthread_join(thread, NULL);
		assert_int_equal(holder.reserved_bytes, 5);
	}
}

/* The storage hangs and comes back at any moment, while clients grow and shrink: each is answered, and the figures add up. */
static atomic_bool over;

static void *hang_now_and_then(void *user)
{
	for (unsigned i = 0; !over; i++) {
		set_hangs(true);
		usleep(i * 1300 % 30000);
		go_on();
		usleep(i * 700 % 3000);
	}
	return user;
}

struct client {
	struct rig *rig;
	struct rfs_contract *c;
	unsigned answers;
};

static void *change(void *user)
{
	struct client *client = user;
	uint64_t size = 1;

	while (!over) {
		struct rfs_request request = { .verb = RFS_RESIZE, .contract = client->c };

		size = size * 7 % 1000;
		request.size_bytes = size == 999 ? RFS_ALL : size;
		int rc = rfs_reservations_perform(client->rig->r, &request, NULL);
		if (rc < 0 && rc != -ENOSPC)
			abort();
		client->answers++;
	}
	return NULL;
}

static void a_storage_that_hangs_now_and_then(void **state)
{
	enum { CLIENTS = 6 };
	struct client clients[CLIENTS];
	pthread_t threads[CLIENTS], hanger;
	struct rig rig;
	uint64_t sum = 0;

	(void) state;
	rig_open(&rig, RIG_MEMORY, 2000);
	over = false;
	for (int i = 0; i < CLIENTS; i++) {
		char name[] = { 'a', (char) ('0' + i), 0 };
		clients[i] = (struct client) { &rig, rig_made(&rig, name, 0), 0 };
	}
	hang(&rig);
	assert_int_equal(pthread_create(&hanger, NULL, hang_now_and_then, &rig), 0);
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, change, &clients[i]), 0);
	sleep(2);
	over = true;
	pthread_join(hanger, NULL);
	go_on();
	for (int i = 0; i < CLIENTS; i++) {
		struct rfs_contract_stat stat;

		pthread_join(threads[i], NULL);
		assert_true(clients[i].answers > 10);
		assert_int_equal(rfs_contract_stat(clients[i].c, &stat), 0);
		sum += stat.size_bytes;
		rfs_contract_unref(clients[i].c);
	}
	rig_expect_sound(&rig, sum, CLIENTS);
	assert_int_equal(rig_close(&rig), 0);
}

static int list_none(void *user, uint64_t id, const char *name)
{
	(void) user;
	(void) id;
	(void) name;
	return 0;
}

/* What goes wrong with one is never told as the reason of another's failure. */
static void *list_damaged(void *user)
{
	struct rig *rig = user;

	while (!over) {
		struct rfs_why why = { .text = "" };
		struct rfs_contract *c = NULL;
		int rc = rfs_reservations_lookup(rig->r, "damaged", &c);

		if (rc != -EBADMSG)
			abort();
		rc = rfs_reservations_list(rig->r, 0, list_none, NULL, &why);
		if (rc != -EBADMSG || !strstr(why.text, "id/") || strstr(why.text, "totals") || strstr(why.text, "storage"))
			abort();
	}
	return NULL;
}

static void *fail_to_grow(void *user)
{
	struct client *client = user;

	while (!over) {
		struct rfs_request request = { .verb = RFS_RESIZE, .contract = client->c, .size_bytes = GIB };
		struct rfs_why why = { .text = "" };

		if (rfs_reservations_perform(client->rig->r, &request, &why) != -EIO || !strstr(why.text, "storage of the Repo"))
			abort();
		client->answers++;
	}
	return NULL;
}

static void two_failures_at_once_have_a_reason_each(void **state)
{
	pthread_t lister, grower;
	struct client client;
	struct rig rig;

	(void) state;
	rig_open(&rig, RIG_SQLITE, 10 * GIB);
	rfs_contract_unref(rig_made(&rig, "damaged", 1));
	rfs_contract_unref(rig_made(&rig, "other", 1));
	rig_damage(&rig, "contract/damaged", "no record");
	rig_damage(&rig, "id/0000000000000008", "a/name");
	client = (struct client) { &rig, rig_found(&rig, "other"), 0 };
	rig_fail_repo(&rig, FAULTY_REPO_MEASURE, 1, true, EIO);
	over = false;
	assert_int_equal(pthread_create(&lister, NULL, list_damaged, &rig), 0);
	assert_int_equal(pthread_create(&grower, NULL, fail_to_grow, &client), 0);
	/* and a third, whose change the Datastore refuses */
	for (int i = 0; i < 300; i++) {
		rig_fail(&rig, FAULTY_DATASTORE_COMMIT, 1, false, EIO);
		assert_int_equal(rig_resize(&rig, client.c, 0), -EIO);
		assert_null(strstr(rig.why.text, "storage of the Repo"));
		assert_null(strstr(rig.why.text, "id/"));
		assert_null(strstr(rig.why.text, "damaged"));
	}
	over = true;
	pthread_join(lister, NULL);
	pthread_join(grower, NULL);
	assert_true(client.answers > 10);
	rig_fail_repo(&rig, FAULTY_REPO_MEASURE, 0, false, 0);
	rfs_contract_unref(client.c);
	assert_int_equal(rig_close(&rig), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_needs_no_space_goes_on_while_the_storage_hangs),
		cmocka_unit_test(a_contract_can_be_removed_renamed_and_shrunk_while_it_waits_to_grow),
		cmocka_unit_test(the_order_is_kept_where_the_storage_answers),
		cmocka_unit_test(one_that_waits_can_be_taken_back),
		cmocka_unit_test(to_close_waits_for_no_storage),
		cmocka_unit_test(to_close_while_the_storage_comes_back),
		cmocka_unit_test(a_thousand_that_wait_are_answered_in_their_order),
		cmocka_unit_test(a_storage_that_fails_refuses_those_that_asked_it),
		cmocka_unit_test(who_leaves_can_have_those_refused_that_wait),
		cmocka_unit_test(one_who_leads_and_hangs_is_replaced),
		cmocka_unit_test(who_holds_it_may_come_back_after_the_end),
		cmocka_unit_test(a_storage_that_hangs_now_and_then),
		cmocka_unit_test(two_failures_at_once_have_a_reason_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
