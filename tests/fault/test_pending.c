/* SPDX-License-Identifier: MIT */
/*
 * test_pending.c: 100,000 changes that wait for a commit which does not come to an end: the daemon goes on reading requests
 * and answering questions, needs a bounded amount of memory, and afterwards each change is answered once.
 */
#include "../unit/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faulty_datastore.h"
#include "wire.h"

#define CONTRACTS 64
#define WRITES 100000
#define MEMORY_MOST_KIB (100 * 1024)
#define DEADLINE_MS 60000
#define CAPACITY (UINT64_C(1) << 40)

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static bool gate_held, gate_reached;

static void wait_at_gate(void *user)
{
	(void) user;
	pthread_mutex_lock(&gate_lock);
	gate_reached = true;
	pthread_cond_broadcast(&gate_changed);
	while (gate_held)
		pthread_cond_wait(&gate_changed, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
}

static void wait_until_reached(void)
{
	pthread_mutex_lock(&gate_lock);
	while (!gate_reached)
		pthread_cond_wait(&gate_changed, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
}

static void open_gate(void)
{
	pthread_mutex_lock(&gate_lock);
	gate_held = false;
	pthread_cond_broadcast(&gate_changed);
	pthread_mutex_unlock(&gate_lock);
}

static long resident_kib(void)
{
	char line[256];
	long kib = -1;
	FILE *status = fopen("/proc/self/status", "re");

	assert_non_null(status);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	fclose(status);
	assert_true(kib > 0);
	return kib;
}

/* Sends a request that is answered at once, whatever is pending: the reply is the next message. */
static void ask(struct wire *w, struct fuse_in_header header, const void *argument, size_t size, struct wire_reply *ret_reply)
{
	wire_send(w, header, argument, size);
	do
		assert_true(wire_receive(w, DEADLINE_MS, ret_reply));
	while (ret_reply->header.unique == 0);
	assert_int_equal(ret_reply->header.unique, header.unique);
	assert_int_equal(ret_reply->header.error, 0);
}

struct files {
	uint64_t node[CONTRACTS], fh[CONTRACTS];
};

static uint64_t make_files(struct wire *w, uint64_t unique, struct files *ret_files)
{
	static struct wire_reply reply;
	struct {
		struct fuse_mkdir_in mkdir;
		char name[16];
	} argument;
	const struct fuse_open_in open = { .flags = 1 };

	for (size_t i = 0; i < CONTRACTS; i++) {
		memset(&argument, 0, sizeof(argument));
		int length = snprintf(argument.name, sizeof(argument.name), "c%zu", i);
		ask(w, (struct fuse_in_header) { .opcode = FUSE_MKDIR, .unique = ++unique, .nodeid = 8 }, &argument,
		    sizeof(argument.mkdir) + (size_t) length + 1, &reply);
		uint64_t directory = ((const struct fuse_entry_out *) (const void *) reply.body)->nodeid;
		ask(w, (struct fuse_in_header) { .opcode = FUSE_LOOKUP, .unique = ++unique, .nodeid = directory }, "size", 5,
		    &reply);
		ret_files->node[i] = ((const struct fuse_entry_out *) (const void *) reply.body)->nodeid;
		ask(w, (struct fuse_in_header) { .opcode = FUSE_OPEN, .unique = ++unique, .nodeid = ret_files->node[i] }, &open,
		    sizeof(open), &reply);
		ret_files->fh[i] = ((const struct fuse_open_out *) (const void *) reply.body)->fh;
	}
	return unique;
}

static void send_write(struct wire *w, uint64_t unique, const struct files *files, size_t which, uint64_t bytes)
{
	struct {
		struct fuse_write_in write;
		char value[24];
	} argument = { .write = { .fh = files->fh[which], .flags = 1 } };

	argument.write.size = (uint32_t) snprintf(argument.value, sizeof(argument.value), "%llu\n", (unsigned long long) bytes);
	wire_send(w, (struct fuse_in_header) { .opcode = FUSE_WRITE, .unique = unique, .nodeid = files->node[which] }, &argument,
		  sizeof(argument.write) + argument.write.size);
}

static uint64_t reserved(struct wire *w, uint64_t *ret_available)
{
	struct rfs_figures figures;
	struct rfs_totals totals;

	rfs_reservations_figures(w->reservations, &figures, &totals);
	*ret_available = figures.available;
	return figures.reserved;
}

/* Requests are read on: one that is behind all of the changes, and needs no disk, is answered. */
static void still_answers(struct wire *w, uint64_t unique)
{
	static struct wire_reply reply;

	ask(w, (struct fuse_in_header) { .opcode = FUSE_STATFS, .unique = unique, .nodeid = FUSE_ROOT_ID }, NULL, 0, &reply);
	const struct fuse_statfs_out *statfs = (const void *) reply.body;
	assert_int_equal(statfs->st.blocks, CAPACITY);
	assert_int_equal(statfs->st.bavail, CAPACITY);
}

static void take_all_answers(struct wire *w, uint64_t first, size_t count)
{
	static struct wire_reply reply;
	bool *answered = calloc(count, sizeof(*answered));

	assert_non_null(answered);
	for (size_t left = count; left > 0;) {
		assert_true(wire_receive(w, DEADLINE_MS, &reply));
		uint64_t unique = reply.header.unique;
		if (unique == 0)
			continue;
		assert_in_range(unique, first, first + count - 1);
		assert_false(answered[unique - first]);
		assert_int_equal(reply.header.error, 0);
		answered[unique - first] = true;
		left--;
	}
	free(answered);
}

static void test_pending_changes_are_bounded_and_answered(void **state)
{
	const struct faulty_datastore_plan plan = {
		.calls = FAULTY_DATASTORE_COMMIT, .nth = 1, .before = wait_at_gate,
	};
	struct rfs_datastore *inner, *ds;
	struct rfs_repo *repo;
	struct wire w;
	static struct files files;
	static struct wire_reply reply;
	uint64_t available, first, expected = 0;

	(void) state;
	assert_int_equal(rfs_datastore_open_memory(&inner), 0);
	assert_int_equal(faulty_datastore_open(inner, &ds), 0);
	assert_int_equal(rfs_repo_open_quota(CAPACITY, &repo), 0);
	wire_open(&w, ds, repo);
	wire_greet(&w, 1, 0);
	first = make_files(&w, 1, &files) + 1;
	gate_held = true;
	faulty_datastore_arm(ds, &plan);

	long before_kib = resident_kib();
	send_write(&w, first, &files, 0, 1);
	wait_until_reached();
	for (size_t i = 1; i < WRITES; i++)
		send_write(&w, first + i, &files, i % CONTRACTS, i);
	still_answers(&w, first + WRITES);
	assert_int_equal(reserved(&w, &available), 0);
	long more_kib = resident_kib() - before_kib;
	print_message("# %d pending changes take %ld KiB\n", WRITES, more_kib);
	assert_true(more_kib < MEMORY_MOST_KIB);
	/* none has been answered before it is durable */
	assert_false(wire_receive(&w, 0, &reply));

	open_gate();
	take_all_answers(&w, first, WRITES);
	for (size_t i = WRITES - CONTRACTS; i < WRITES; i++)
		expected += i;
	assert_int_equal(reserved(&w, &available), expected);
	assert_int_equal(available, CAPACITY - expected);
	wire_hang_up(&w);
	assert_false(wire_receive(&w, 0, &reply));
	wire_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pending_changes_are_bounded_and_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
