/* SPDX-License-Identifier: MIT */
/*
 * test_asker.c: a process that asks a file system, and what becomes of who waits for it when it hangs, dies, or is not to be had.
 */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repo/asker.h"
#include "util/thread.h"

#define DEADLINE_NS (20 * RFS_NS_A_SECOND)

static struct rfs_asker *asker;

static int setup(void **state)
{
	int dirfd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void) state;
	assert_true(dirfd >= 0);
	assert_int_equal(rfs_asker_new(dirfd, &asker), 0);
	close(dirfd);
	return 0;
}

/* No process of it is left. */
static int teardown(void **state)
{
	(void) state;
	rfs_asker_free(asker);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	return 0;
}

static void expect_right(void)
{
	struct statvfs asked, known;

	assert_int_equal(rfs_asker_ask(asker, &asked), 0);
	assert_int_equal(statvfs("/", &known), 0);
	assert_int_equal(asked.f_blocks, known.f_blocks);
	assert_int_equal(asked.f_frsize, known.f_frsize);
	assert_int_equal(asked.f_fsid, known.f_fsid);
}

/* The only child of this process. */
static pid_t its_pid(void)
{
	char path[64], text[64] = "";
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int) getpid());
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof text, file));
	fclose(file);
	assert_true(atoi(text) > 0);
	assert_null(strchr(strchr(text, ' ') + 1, ' '));
	return (pid_t) atoi(text);
}

static void it_tells_what_statvfs_tells(void **state)
{
	(void) state;
	/* nothing is started before it is needed */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	for (int i = 0; i < 100; i++)
		expect_right();
}

/* So that it keeps no lock, no pipe and no connection of the daemon's. */
static void it_has_nothing_open_but_what_it_needs(void **state)
{
	char path[64];
	int count = 0;
	DIR *files;

	(void) state;
	expect_right();
	snprintf(path, sizeof path, "/proc/%d/fd", (int) its_pid());
	files = opendir(path);
	assert_non_null(files);
	for (struct dirent *entry; (entry = readdir(files));)
		count += entry->d_name[0] != '.';
	closedir(files);
	assert_int_equal(count, 2);
}

static void one_that_was_killed_is_started_anew(void **state)
{
	(void) state;
	for (int i = 0; i < 3; i++) {
		expect_right();
		assert_int_equal(kill(its_pid(), SIGKILL), 0);
		expect_right();
	}
}

static void it_takes_no_signals_that_are_meant_for_the_daemon(void **state)
{
	pid_t pid;

	(void) state;
	expect_right();
	pid = its_pid();
	kill(pid, SIGINT);
	kill(pid, SIGTERM);
	kill(pid, SIGHUP);
	expect_right();
	assert_int_equal(its_pid(), pid);
}

static atomic_int answers;

static void *ask(void *unused)
{
	struct statvfs vfs;

	(void) unused;
	if (rfs_asker_ask(asker, &vfs) == 0)
		atomic_fetch_add(&answers, 1);
	return NULL;
}

static void who_asks_waits_while_it_hangs(void **state)
{
	pthread_t threads[8];
	pid_t pid;

	(void) state;
	expect_right();
	pid = its_pid();
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	answers = 0;
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
	usleep(20000);
	assert_int_equal(answers, 0);
	kill(pid, SIGCONT);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(answers, 8);
}

/* It ends with whoever it asks for, however that ends. */
static void it_ends_with_the_daemon(void **state)
{
	int said[2];
	char byte;
	pid_t pid;

	(void) state;
	assert_int_equal(pipe(said), 0);
	pid = fork();
	if (pid == 0) {
		struct statvfs vfs;
		close(said[0]);
		/* the pipe is not closed by an exec here, and a copy of it must not stay with the other process */
		if (rfs_asker_ask(asker, &vfs) == 0)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	close(said[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(read(said[0], &byte, 1), 0);
	close(said[0]);
}

static void without_a_process_it_asks_itself(void **state)
{
	struct rlimit before, none;

	(void) state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3; /* not even a socket */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	expect_right();
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	expect_right();
}

static void those_that_answer_from_memory_need_none(void **state)
{
	int proc = open("/proc", O_RDONLY | O_CLOEXEC), shm = open("/dev/shm", O_RDONLY | O_CLOEXEC);

	(void) state;
	assert_true(rfs_asker_is_needed(proc)); /* as any that is not known */
	if (shm >= 0)
		assert_false(rfs_asker_is_needed(shm));
	close(proc);
	close(shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_tells_what_statvfs_tells, setup, teardown),
		cmocka_unit_test_setup_teardown(it_has_nothing_open_but_what_it_needs, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_was_killed_is_started_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(it_takes_no_signals_that_are_meant_for_the_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(who_asks_waits_while_it_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(it_ends_with_the_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_process_it_asks_itself, setup, teardown),
		cmocka_unit_test(those_that_answer_from_memory_need_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
