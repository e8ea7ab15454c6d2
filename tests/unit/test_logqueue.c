/* SPDX-License-Identifier: MIT */
/*
 * test_logqueue.c: lines on their way to a reader who sleeps. The reader is the other end of a pipe. There is one queue a process,
 * so each test is a process of its own.
 */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/logqueue.h"
#include "util/thread.h"

/* What is kept for a reader who sleeps, as log.h says. */
#define KEPT_BYTES (256 * 1024)

static int reader[2]; /* each line is a byte here; a full pipe is a reader that sleeps */
static int last = -1;

static void require(bool condition, int line)
{
	if (condition)
		return;
	printf("# line %d\n", line);
	fflush(stdout);
	_exit(1);
}
#define REQUIRE(condition) require(condition, __LINE__)

static void write_line(int priority, const char *line)
{
	(void) priority;
	REQUIRE(atoi(line) > last); /* in their order */
	last = atoi(line);
	REQUIRE(write(reader[1], "l", 1) == 1);
}

static void sleep_on(void)
{
	char byte = 'x';
	int size = 0;

	REQUIRE(pipe(reader) == 0);
	while (size++ < 65536)
		REQUIRE(write(reader[1], &byte, 1) == 1);
}

/* Reads until the lines so far have been read as well. */
static int wake_up(int lines)
{
	char byte;
	int seen = 0;

	while (seen < lines && read(reader[0], &byte, 1) == 1)
		seen += byte == 'l';
	return seen;
}

static void as_a_process(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(60);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static bool add(int number, size_t length)
{
	char line[4096];
	bool lost;

	snprintf(line, sizeof line, "%0*d", (int) length, number);
	REQUIRE(rfs_logqueue_add(6, line, &lost));
	return !lost;
}

static void without_a_thread_body(void)
{
	bool lost = false;

	REQUIRE(!rfs_logqueue_add(6, "1", &lost));
	REQUIRE(!lost);
	rfs_logqueue_stop(1000);
	REQUIRE(!rfs_logqueue_add(6, "1", &lost));
}

static void lines_come_in_their_order_body(void)
{
	REQUIRE(pipe(reader) == 0);
	REQUIRE(rfs_logqueue_start(write_line) == 0);
	for (int i = 0; i < 10000; i++)
		while (!add(i, 8))
			usleep(100);
	rfs_logqueue_stop(20000);
	REQUIRE(last == 9999);
	REQUIRE(wake_up(10000) == 10000);
}

static void a_reader_who_sleeps_body(void)
{
	int kept = 0, more;
	int64_t since;

	sleep_on();
	REQUIRE(rfs_logqueue_start(write_line) == 0);
	since = rfs_now_ns();
	while (add(kept, 100))
		REQUIRE(++kept < 10000);
	/* bounded, and not by much less than it says */
	REQUIRE(kept <= KEPT_BYTES / 100 + 1 && kept > KEPT_BYTES / 400);
	for (int i = 0; i < 100000; i++)
		REQUIRE(!add(100000, 2000));
	REQUIRE(rfs_now_ns() - since < 10 * RFS_NS_A_SECOND);
	/* what was kept is there, and there is room again */
	REQUIRE(wake_up(kept) == kept);
	for (more = 0; more < 100; more++)
		REQUIRE(add(200000 + more, 100));
	REQUIRE(wake_up(100) == 100);
	rfs_logqueue_stop(20000);
	REQUIRE(last == 200099);
}

/* Empty lines take room as well. */
static void lines_of_no_length_body(void)
{
	bool lost = false;
	int kept = 0;

	sleep_on();
	REQUIRE(rfs_logqueue_start(write_line) == 0);
	while (rfs_logqueue_add(6, "1", &lost) && !lost)
		REQUIRE(++kept < 100000);
	REQUIRE(kept > 1000);
}

static void the_end_body(void)
{
	int64_t since;
	bool lost;

	sleep_on();
	REQUIRE(rfs_logqueue_start(write_line) == 0);
	REQUIRE(add(1, 8) && add(2, 8));
	since = rfs_now_ns();
	rfs_logqueue_stop(50);
	REQUIRE(rfs_now_ns() - since >= 50 * RFS_NS_A_MS && rfs_now_ns() - since < 10 * RFS_NS_A_SECOND);
	/* nobody writes any more, nor waits */
	REQUIRE(rfs_logqueue_add(6, "3", &lost));
	rfs_logqueue_stop(50);
}

static void *add_many(void *user)
{
	int *kept = user;
	bool lost;

	for (int i = 0; i < 20000; i++)
		*kept += rfs_logqueue_add(6, "1", &lost) && !lost;
	return NULL;
}

static void take_line(int priority, const char *line)
{
	(void) priority;
	(void) line;
	last++;
}

static void many_at_once_body(void)
{
	pthread_t threads[4];
	int kept[4] = { 0 }, all = 0;

	REQUIRE(rfs_logqueue_start(take_line) == 0);
	for (int i = 0; i < 4; i++)
		REQUIRE(pthread_create(&threads[i], NULL, add_many, &kept[i]) == 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		all += kept[i];
	}
	rfs_logqueue_stop(20000);
	REQUIRE(last + 1 == all);
}

#define TEST(name)                       \
	static void name(void **state)   \
	{                                \
		(void) state;            \
		as_a_process(name##_body); \
	}
TEST(without_a_thread)
TEST(lines_come_in_their_order)
TEST(a_reader_who_sleeps)
TEST(lines_of_no_length)
TEST(the_end)
TEST(many_at_once)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_thread),
		cmocka_unit_test(lines_come_in_their_order),
		cmocka_unit_test(a_reader_who_sleeps),
		cmocka_unit_test(lines_of_no_length),
		cmocka_unit_test(the_end),
		cmocka_unit_test(many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
