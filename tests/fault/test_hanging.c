/* SPDX-License-Identifier: MIT */
/*
 * test_hanging.c: a tree whose storage hangs, from the kernel's side: what asks it is not answered, everything else is, a signal
 * changes nothing, and the session ends, with an answer to each.
 */
#include "../unit/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "faulty_repo.h"
#include "util/log.h"
#include "wire.h"

#define CAPACITY (UINT64_C(1) << 40)
#define DEADLINE_MS 20000
#define INO_AVAILABLE 2
#define INO_RESERVED 4
#define INO_STATUS 5
#define INO_RESERVATIONS 8

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool hangs;
static unsigned waiting;

static void before_measure(void *unused)
{
	(void) unused;
	pthread_mutex_lock(&lock);
	waiting++;
	pthread_cond_broadcast(&changed);
	while (hangs)
		pthread_cond_wait(&changed, &lock);
	waiting--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void set_hangs(bool now)
{
	pthread_mutex_lock(&lock);
	hangs = now;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void await_waiting(bool any)
{
	pthread_mutex_lock(&lock);
	while ((waiting > 0) != any)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

struct tree {
	struct wire wire;
	struct rfs_repo *repo;
	uint64_t unique;
	uint64_t directory, size, size_fh, available_fh; /* of a contract c, and of `available` */
};

static struct wire_reply reply;

static uint64_t send_request(struct tree *t, uint32_t opcode, uint64_t node, const void *argument, size_t size)
{
	wire_send(&t->wire, (struct fuse_in_header) { .opcode = opcode, .unique = ++t->unique, .nodeid = node,
						      .pid = (uint32_t) getpid() },
		  argument, size);
	return t->unique;
}

/* The next reply, which must be to `unique`. Its error. */
static int receive(struct tree *t, uint64_t unique)
{
	do
		assert_true(wire_receive(&t->wire, DEADLINE_MS, &reply));
	while (reply.header.unique == 0);
	assert_int_equal(reply.header.unique, unique);
	return reply.header.error;
}

static int ask(struct tree *t, uint32_t opcode, uint64_t node, const void *argument, size_t size)
{
	return receive(t, send_request(t, opcode, node, argument, size));
}

static uint64_t entry(void)
{
	return ((const struct fuse_entry_out *) (const void *) reply.body)->nodeid;
}

static uint64_t open_file(struct tree *t, uint64_t node, uint32_t flags)
{
	const struct fuse_open_in in = { .flags = flags };

	assert_int_equal(ask(t, FUSE_OPEN, node, &in, sizeof in), 0);
	return ((const struct fuse_open_out *) (const void *) reply.body)->fh;
}

static uint64_t make_directory(struct tree *t, char name)
{
	const struct {
		struct fuse_mkdir_in mkdir;
		char name[2];
	} in = { .name = { name, 0 } };

	assert_int_equal(ask(t, FUSE_MKDIR, INO_RESERVATIONS, &in, sizeof in.mkdir + 2), 0);
	return entry();
}

static uint64_t send_write(struct tree *t, const char *value)
{
	struct {
		struct fuse_write_in write;
		char value[32];
	} in = { .write = { .fh = t->size_fh, .size = (uint32_t) strlen(value), .flags = 1 } };

	strcpy(in.value, value);
	return send_request(t, FUSE_WRITE, t->size, &in, sizeof in.write + in.write.size);
}

static uint64_t send_read(struct tree *t, uint64_t node, uint64_t fh)
{
	const struct fuse_read_in in = { .fh = fh, .size = 4096 };

	return send_request(t, FUSE_READ, node, &in, sizeof in);
}

static void open_tree(struct tree *t)
{
	struct rfs_datastore *ds;
	struct rfs_repo *quota;

	*t = (struct tree) { .unique = 1 };
	assert_int_equal(rfs_datastore_open_memory(&ds), 0);
	assert_int_equal(rfs_repo_open_quota(CAPACITY, &quota), 0);
	assert_int_equal(faulty_repo_open(quota, &t->repo), 0);
	wire_open(&t->wire, ds, t->repo);
	wire_greet(&t->wire, 1, 0);
	t->directory = make_directory(t, 'c');
	assert_int_equal(ask(t, FUSE_LOOKUP, t->directory, "size", 5), 0);
	t->size = entry();
	t->size_fh = open_file(t, t->size, 2);
	t->available_fh = open_file(t, INO_AVAILABLE, 0);
	assert_int_equal(receive(t, send_write(t, "100\n")), 0);
}

static void hang(struct tree *t)
{
	const struct faulty_repo_plan plan = {
		.calls = FAULTY_REPO_MEASURE, .nth = 1, .persistent = true, .before = before_measure,
	};

	set_hangs(true);
	faulty_repo_arm(t->repo, &plan);
}

/* One that asks the storage: by number, so that each kind can be the one that finds out. */
#define ASKING 4
static uint64_t send_asking(struct tree *t, int kind)
{
	const struct fuse_getattr_in attributes = { 0 };

	switch (kind) {
	case 0:
		return send_request(t, FUSE_GETATTR, INO_STATUS, &attributes, sizeof attributes);
	case 1:
		return send_read(t, INO_AVAILABLE, t->available_fh);
	case 2:
		return send_request(t, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);
	default:
		return send_write(t, "1000\n");
	}
}

/* Everything else is answered, in its order. */
static void all_else_works(struct tree *t)
{
	const struct fuse_getattr_in attributes = { 0 };
	const struct fuse_read_in list = { .size = 4096 };

	assert_int_equal(ask(t, FUSE_GETATTR, INO_RESERVED, &attributes, sizeof attributes), 0);
	assert_int_equal(ask(t, FUSE_GETATTR, t->size, &attributes, sizeof attributes), 0);
	assert_int_equal(receive(t, send_read(t, t->size, t->size_fh)), 0);
	assert_int_equal(ask(t, FUSE_STATFS, t->directory, NULL, 0), 0);
	assert_int_equal(ask(t, FUSE_READDIR, INO_RESERVATIONS, &list, sizeof list), 0);
	assert_int_equal(receive(t, send_write(t, "x\n")), -EINVAL);
	(void) make_directory(t, 'd');
	assert_int_equal(ask(t, FUSE_RMDIR, INO_RESERVATIONS, "d", 2), 0);
	assert_int_equal(ask(t, FUSE_LOOKUP, INO_RESERVATIONS, "none", 5), 0);
}

/* A signal for each; none is answered because of it. An interruption of what is not there is sent back. */
static void interrupt_all(struct tree *t, uint64_t first, uint64_t last)
{
	for (uint64_t unique = first; unique <= last; unique++) {
		const struct fuse_interrupt_in in = { .unique = unique };

		send_request(t, FUSE_INTERRUPT, 0, &in, sizeof in);
	}
}

static void what_asks_a_storage_that_hangs_waits_and_nothing_else(void **state)
{
	struct tree t;

	(void) state;
	for (int first = 0; first < ASKING; first++) {
		uint64_t asked[ASKING];
		bool answered[ASKING] = { false };

		open_tree(&t);
		hang(&t);
		asked[0] = send_asking(&t, first);
		await_waiting(true);
		all_else_works(&t);
		for (int i = 1; i < ASKING; i++)
			asked[i] = send_asking(&t, (first + i) % ASKING);
		all_else_works(&t);
		interrupt_all(&t, asked[0], asked[0]);
		interrupt_all(&t, asked[1], asked[ASKING - 1]);
		all_else_works(&t);
		assert_false(wire_receive(&t.wire, 0, &reply));

		set_hangs(false);
		for (int left = ASKING; left > 0; left--) {
			do
				assert_true(wire_receive(&t.wire, DEADLINE_MS, &reply));
			while (reply.header.unique == 0);
			assert_int_equal(reply.header.error, 0);
			for (int i = 0; i < ASKING; i++) {
				if (reply.header.unique != asked[i])
					continue;
				assert_false(answered[i]);
				answered[i] = true;
			}
		}
		for (int i = 0; i < ASKING; i++)
			assert_true(answered[i]);
		all_else_works(&t);
		wire_hang_up(&t.wire);
		assert_false(wire_receive(&t.wire, 0, &reply));
		wire_close(&t.wire);
	}
}

/* What a storage keeps stays until the process ends: to be found there, so that it does not look lost. */
static struct rfs_fs *left_behind[2 * ASKING];

/* Those that wait, many of each kind, and with or without a goodbye before: each gets one answer, an error. */
static void the_session_ends_while_the_storage_hangs(void **state)
{
	enum { EACH = 50 };
	struct tree t;

	(void) state;
	for (int round = 0; round < 2 * ASKING; round++) {
		uint64_t first, last, answers = 0;

		open_tree(&t);
		hang(&t);
		first = last = send_asking(&t, round % ASKING);
		await_waiting(true);
		for (int i = 1; i < EACH * ASKING; i++)
			last = send_asking(&t, i % ASKING);
		if (round < ASKING)
			assert_int_equal(ask(&t, FUSE_DESTROY, 0, NULL, 0), 0);
		left_behind[round] = t.wire.fs;
		wire_hang_up(&t.wire);
		while (wire_receive(&t.wire, 0, &reply)) {
			if (reply.header.unique == 0)
				continue;
			assert_in_range(reply.header.unique, first, last);
			assert_int_equal(reply.header.error, -EIO);
			answers++;
		}
		assert_int_equal(answers, last - first + 1);
		/* whoever the storage has kept comes back now and then, before or after all is closed */
		if (round % 2)
			set_hangs(false);
		wire_close(&t.wire);
		set_hangs(false);
		await_waiting(false);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_asks_a_storage_that_hangs_waits_and_nothing_else),
		cmocka_unit_test(the_session_ends_while_the_storage_hangs),
	};

	rfs_log_set_level(LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
