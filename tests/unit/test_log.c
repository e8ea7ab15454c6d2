/* SPDX-License-Identifier: MIT */
/*
 * test_log.c: what the log writes, byte for byte. The clock and syslog(3) are replaced at link time (--wrap), so that
 * a second passes when a test says so; stderr is a file in memory.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"

#define A_SECOND_NS UINT64_C(1000000000)

static uint64_t clock_ns;
static char syslog_line[8192];
static int syslog_priority;
static int syslog_calls;

int __wrap_clock_gettime(clockid_t id, struct timespec *ret_now);
void __wrap_syslog(int priority, const char *format, ...);
void __wrap___syslog_chk(int priority, int flag, const char *format, ...);

int __wrap_clock_gettime(clockid_t id, struct timespec *ret_now)
{
	(void) id;
	ret_now->tv_sec = (time_t) (clock_ns / A_SECOND_NS);
	ret_now->tv_nsec = (long) (clock_ns % A_SECOND_NS);
	return 0;
}

static void keep_syslog(int priority, const char *format, va_list args)
{
	syslog_calls++;
	syslog_priority = priority;
	vsnprintf(syslog_line, sizeof(syslog_line), format, args);
}

void __wrap_syslog(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep_syslog(priority, format, args);
	va_end(args);
}

/* What _FORTIFY_SOURCE makes of the call. */
void __wrap___syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list args;

	(void) flag;
	va_start(args, format);
	keep_syslog(priority, format, args);
	va_end(args);
}

/* stderr, caught. */
struct capture {
	int file;
	int saved;
	char text[65536];
};

static struct capture capture;

static void catch_stderr(void)
{
	capture.file = memfd_create("stderr", MFD_CLOEXEC);
	assert_true(capture.file >= 0);
	/* Files in memory don't lock their position for a write; appending ones need none. */
	assert_int_equal(fcntl(capture.file, F_SETFL, O_APPEND), 0);
	capture.saved = dup(STDERR_FILENO);
	assert_true(capture.saved >= 0);
	assert_int_equal(dup2(capture.file, STDERR_FILENO), STDERR_FILENO);
}

static const char *caught(void)
{
	ssize_t n;

	dup2(capture.saved, STDERR_FILENO);
	close(capture.saved);
	n = pread(capture.file, capture.text, sizeof(capture.text) - 1, 0);
	close(capture.file);
	assert_true(n >= 0);
	capture.text[n] = '\0';
	return capture.text;
}

static size_t count_lines(const char *text, const char *line)
{
	size_t count = 0;

	for (const char *at = text; (at = strstr(at, line)); at += strlen(line))
		count++;
	return count;
}

/* Quiet seconds lie between tests, and what one has dropped is told before the next. */
static int setup(void **state)
{
	(void) state;
	rfs_log_set_level(LOG_INFO);
	rfs_log_set_syslog(true);
	clock_ns += 10 * A_SECOND_NS;
	rfs_log(LOG_INFO, "next test");
	clock_ns += 10 * A_SECOND_NS;
	syslog_calls = 0;
	rfs_log_set_syslog(false);
	return 0;
}

static void a_line_has_prefix_and_newline(void **state)
{
	(void) state;
	catch_stderr();
	rfs_log(LOG_NOTICE, "mounted %s, %d", "pool", 7);
	rfs_log(LOG_ERR, "bad");
	rfs_log(LOG_DAEMON | LOG_CRIT, "facility");
	assert_string_equal(caught(), "<5>mounted pool, 7\n<3>bad\n<2>facility\n");
}

static void the_level_is_obeyed(void **state)
{
	(void) state;
	catch_stderr();
	rfs_log(LOG_DEBUG, "hidden");
	rfs_log(LOG_INFO, "shown");
	rfs_log_set_level(LOG_DEBUG);
	rfs_log(LOG_DEBUG, "now shown");
	rfs_log_set_level(LOG_ERR);
	rfs_log(LOG_WARNING, "hidden too");
	assert_string_equal(caught(), "<6>shown\n<7>now shown\n");
}

static void control_characters_are_escaped(void **state)
{
	(void) state;
	catch_stderr();
	rfs_log(LOG_INFO, "a\nb<3>\x1b[31m\xff\xc2\x85 \xe2\x82\xac");
	assert_string_equal(caught(), "<6>a\\x0ab<3>\\x1b[31m\\xff\\xc2\\x85 \xe2\x82\xac\n");
}

static void escapes_are_not_escaped_again(void **state)
{
	(void) state;
	catch_stderr();
	rfs_log(LOG_INFO, "%s", "name\\x0a");
	assert_string_equal(caught(), "<6>name\\x0a\n");
}

static void errno_is_kept(void **state)
{
	(void) state;
	catch_stderr();
	errno = ENOSPC;
	rfs_log(LOG_INFO, "%m");
	assert_int_equal(errno, ENOSPC);
	errno = EXDEV;
	rfs_log(LOG_DEBUG, "hidden");
	assert_int_equal(errno, EXDEV);
	assert_string_equal(caught(), "<6>No space left on device\n");

	/* A log that can't be written changes it no more. */
	catch_stderr();
	close(STDERR_FILENO);
	errno = ENOENT;
	rfs_log(LOG_INFO, "nowhere");
	assert_int_equal(errno, ENOENT);
	caught();
}

static void a_long_line_is_cut(void **state)
{
	char long_text[10000];
	const char *line;

	(void) state;
	memset(long_text, '\n', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	catch_stderr();
	rfs_log(LOG_INFO, "%s", long_text);
	line = caught();
	assert_true(strlen(line) <= 4096);
	assert_true(strlen(line) > 1000);
	assert_int_equal((strlen(line) - 4) % 4, 0);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void fifty_lines_a_second(void **state)
{
	const char *text;

	(void) state;
	catch_stderr();
	for (int i = 0; i < 60; i++) {
		rfs_log(i % 2 ? LOG_WARNING : LOG_INFO, "storm");
		clock_ns += 1000;
	}
	text = caught();
	assert_int_equal(count_lines(text, "storm\n"), 50);
	assert_int_equal(count_lines(text, "\n"), 50);

	/* Still within the second of the first line. */
	catch_stderr();
	clock_ns += A_SECOND_NS - 60 * 1000 - 1;
	rfs_log(LOG_INFO, "early");
	assert_string_equal(caught(), "");

	catch_stderr();
	clock_ns += 1000000;
	rfs_log(LOG_INFO, "in time");
	assert_string_equal(caught(),
			    "<4>11 earlier lines were not written: more than 50 in a second\n<6>in time\n");

	/* It is told once. */
	catch_stderr();
	clock_ns += A_SECOND_NS;
	rfs_log(LOG_INFO, "later");
	assert_string_equal(caught(), "<6>later\n");
}

/* A border between two counted seconds does not let twice as many through. */
static void no_second_has_more(void **state)
{
	size_t written = 0;

	(void) state;
	for (int i = 0; i < 20; i++) {
		clock_ns += A_SECOND_NS / 10;
		catch_stderr();
		for (int n = 0; n < 40; n++)
			rfs_log(LOG_INFO, "storm");
		written += count_lines(caught(), "\n");
		if (i == 9)
			assert_int_equal(written, 50);
	}
	assert_int_equal(written, 100);
}

static void urgent_lines_are_always_written(void **state)
{
	const char *text;

	(void) state;
	catch_stderr();
	for (int i = 0; i < 100; i++)
		rfs_log(LOG_INFO, "storm");
	for (int i = 0; i < 70; i++)
		rfs_log(LOG_ERR, "urgent");
	text = caught();
	assert_int_equal(count_lines(text, "<6>storm\n"), 50);
	assert_int_equal(count_lines(text, "<3>urgent\n"), 70);
}

static void dropped_lines_are_told_at_exit(void **state)
{
	const char *text;
	int status;
	pid_t pid;

	(void) state;
	fflush(NULL);
	catch_stderr();
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 53; i++)
			rfs_log(LOG_NOTICE, "storm");
		exit(0);
	}
	waitpid(pid, &status, 0);
	text = caught();
	assert_true(pid > 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(count_lines(text, "<5>storm\n"), 50);
	assert_int_equal(count_lines(text, "<4>3 earlier lines were not written: more than 50 in a second\n"), 1);
}

static void syslog_gets_the_line_instead(void **state)
{
	(void) state;
	rfs_log_set_syslog(true);
	catch_stderr();
	rfs_log(LOG_NOTICE, "100%% of %s\n", "%s%n");
	assert_string_equal(caught(), "");
	assert_int_equal(syslog_calls, 1);
	assert_int_equal(syslog_priority, LOG_NOTICE);
	assert_string_equal(syslog_line, "100% of %s%n\\x0a");
}

#define WRITERS 8
#define LINES_EACH 200

static void *write_lines(void *name)
{
	for (int i = 0; i < LINES_EACH; i++)
		rfs_log(LOG_ERR, "%s%s%s", (const char *) name, (const char *) name, (const char *) name);
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	static char names[WRITERS][2];
	pthread_t threads[WRITERS];
	const char *text;

	(void) state;
	catch_stderr();
	for (int i = 0; i < WRITERS; i++) {
		names[i][0] = (char) ('a' + i);
		if (pthread_create(&threads[i], NULL, write_lines, names[i]) != 0)
			abort();
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	text = caught();
	for (int i = 0; i < WRITERS; i++) {
		char line[64];

		snprintf(line, sizeof(line), "<3>%s%s%s\n", names[i], names[i], names[i]);
		assert_int_equal(count_lines(text, line), LINES_EACH);
	}
	assert_int_equal(count_lines(text, "\n"), WRITERS * LINES_EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_line_has_prefix_and_newline, setup),
		cmocka_unit_test_setup(the_level_is_obeyed, setup),
		cmocka_unit_test_setup(control_characters_are_escaped, setup),
		cmocka_unit_test_setup(escapes_are_not_escaped_again, setup),
		cmocka_unit_test_setup(errno_is_kept, setup),
		cmocka_unit_test_setup(a_long_line_is_cut, setup),
		cmocka_unit_test_setup(fifty_lines_a_second, setup),
		cmocka_unit_test_setup(no_second_has_more, setup),
		cmocka_unit_test_setup(urgent_lines_are_always_written, setup),
		cmocka_unit_test_setup(dropped_lines_are_told_at_exit, setup),
		cmocka_unit_test_setup(syslog_gets_the_line_instead, setup),
		cmocka_unit_test_setup(lines_of_threads_do_not_mix, setup),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
