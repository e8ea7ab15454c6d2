/* SPDX-License-Identifier: MIT */
/* test_thread.c: threads of one kind, some of which hang, in reading a pipe, when their owner has to go. */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/thread.h"

#define DEADLINE_NS (20 * RFS_NS_A_SECOND)

static struct {
	struct rfs_crew crew;
	pthread_mutex_t lock;
	int pipe[2];
	atomic_uint begun, back;
} at = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int setup(void **state)
{
	(void) state;
	at.crew = (struct rfs_crew) { 0 };
	at.begun = at.back = 0;
	return pipe(at.pipe);
}

static int teardown(void **state)
{
	(void) state;
	close(at.pipe[0]);
	return close(at.pipe[1]);
}

static void await(atomic_uint *count, unsigned wanted)
{
	int64_t until = rfs_now_ns() + DEADLINE_NS;

	while (atomic_load(count) < wanted) {
		assert_true(rfs_now_ns() < until);
		usleep(1000);
	}
}

static void hang(void)
{
	char byte;

	atomic_fetch_add(&at.begun, 1);
	(void) !read(at.pipe[0], &byte, 1);
}

static void *ends(void *user)
{
	(void) user;
	hang();
	RFS_LOCK(&at.lock);
	rfs_crew_end(&at.crew);
	atomic_fetch_add(&at.back, 1);
	return NULL;
}

static void *leaves(void *user)
{
	(void) user;
	hang();
	RFS_LOCK(&at.lock);
	rfs_crew_leave(&at.crew);
	atomic_fetch_add(&at.back, 1);
	return NULL;
}

static int start(void *(*main)(void *))
{
	RFS_LOCK(&at.lock);
	return rfs_crew_start(&at.crew, main, NULL);
}

static void let_go(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(write(at.pipe[1], "x", 1), 1);
}

static void a_crew_has_an_end_to_its_size(void **state)
{
	(void) state;
	for (int round = 0; round < 3; round++) {
		at.begun = at.back = 0;
		for (int i = 0; i < RFS_CREW_MOST; i++)
			assert_int_equal(start(i % 2 ? ends : leaves), 0);
		assert_int_equal(start(ends), -EAGAIN);
		await(&at.begun, RFS_CREW_MOST);
		let_go(RFS_CREW_MOST);
		await(&at.back, RFS_CREW_MOST);
		/* who left has made room, who ended does so when it is joined */
		for (int i = 0; i < RFS_CREW_MOST / 2; i++)
			assert_int_equal(start(leaves), 0);
		assert_int_equal(start(leaves), -EAGAIN);
		let_go(RFS_CREW_MOST / 2);
		await(&at.back, RFS_CREW_MOST + RFS_CREW_MOST / 2);
		rfs_crew_join(&at.crew, &at.lock);
	}
}

static void who_hangs_is_not_waited_for(void **state)
{
	(void) state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(start(i % 2 ? ends : leaves), 0);
	await(&at.begun, 4);
	let_go(2);
	await(&at.back, 2);
	rfs_crew_join(&at.crew, &at.lock);
	assert_int_equal(at.back, 2);
	/* nobody is left in it, and who comes back finds that out */
	for (int i = 0; i < RFS_CREW_MOST; i++)
		assert_int_equal(at.crew.members[i].state, RFS_CREW_NOBODY);
	let_go(2);
	await(&at.back, 4);
	for (int i = 0; i < RFS_CREW_MOST; i++)
		assert_int_equal(at.crew.members[i].state, RFS_CREW_NOBODY);
}

static void *look_at_signals(void *user)
{
	pthread_sigmask(SIG_BLOCK, NULL, user);
	return NULL;
}

static void a_thread_takes_no_signals_and_changes_none_for_others(void **state)
{
	sigset_t before, after, inside;
	pthread_t thread;

	(void) state;
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	assert_int_equal(rfs_thread_start(&thread, look_at_signals, &inside), 0);
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	for (int number = 1; number < SIGRTMAX; number++) {
		assert_int_equal(sigismember(&before, number), sigismember(&after, number));
		if (number != SIGKILL && number != SIGSTOP && (number < 32 || number >= SIGRTMIN))
			assert_int_equal(sigismember(&inside, number), 1);
	}
}

static void a_wait_with_a_deadline_ends(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t cond;
	int64_t since = rfs_now_ns();

	(void) state;
	assert_int_equal(rfs_cond_init(&cond), 0);
	RFS_LOCK(&lock);
	while (rfs_cond_wait_until(&cond, &lock, since + 5 * RFS_NS_A_MS))
		;
	assert_true(rfs_now_ns() >= since + 5 * RFS_NS_A_MS);
	/* one that has passed is no wait */
	while (rfs_cond_wait_until(&cond, &lock, since))
		;
	pthread_cond_destroy(&cond);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_crew_has_an_end_to_its_size, setup, teardown),
		cmocka_unit_test_setup_teardown(who_hangs_is_not_waited_for, setup, teardown),
		cmocka_unit_test(a_thread_takes_no_signals_and_changes_none_for_others),
		cmocka_unit_test(a_wait_with_a_deadline_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
