/* SPDX-License-Identifier: MIT */
/*
 * test_watchdog.c: the service manager is told that the daemon works only while its Datastore does. The service manager is a
 * socket here, and the Datastore one that fails or hangs when it is told to.
 */
#include "../unit/check.h"
#include "cli/watchdog.h"
#include "faulty_datastore.h"
#include "faulty_repo.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CAPACITY_BYTES 1000
#define INTERVAL_US "20000"
#define DEADLINE_MS 20000

struct fixture {
	int manager;
	struct rfs_datastore *ds;
	struct rfs_repo *repo;
	struct rfs_reservations *reservations;
	struct rfs_watchdog *watchdog;
	sem_t reached, go_on;
};

/* An abstract address that the kernel chooses, so that tests side by side don't meet. */
static int listen_as_manager(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(address.sun_family);
	char name[sizeof(address.sun_path) + 1] = "@";
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &address, length) < 0)
		return -1;
	length = sizeof(address);
	if (getsockname(fd, (struct sockaddr *) &address, &length) < 0)
		return -1;
	memcpy(name + 1, address.sun_path + 1, length - offsetof(struct sockaddr_un, sun_path) - 1);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct rfs_datastore *memory;
	struct rfs_repo *quota;
	char message[256];

	if (!f || (f->manager = listen_as_manager()) < 0)
		return -1;
	setenv("WATCHDOG_USEC", INTERVAL_US, 1);
	unsetenv("WATCHDOG_PID");
	sem_init(&f->reached, 0, 0);
	sem_init(&f->go_on, 0, 0);
	if (rfs_datastore_open_memory(&memory) < 0 || faulty_datastore_open(memory, &f->ds) < 0 ||
	    rfs_repo_open_quota(CAPACITY_BYTES, &quota) < 0 || faulty_repo_open(quota, &f->repo) < 0)
		return -1;
	*state = f;
	return rfs_reservations_open(f->ds, f->repo, message, sizeof(message), &f->reservations);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rfs_watchdog_stop(f->watchdog, RFS_CLOSE_PATIENCE_SECONDS);
	int r = rfs_reservations_close(f->reservations);
	close(f->manager);
	sem_destroy(&f->reached);
	sem_destroy(&f->go_on);
	free(f);
	return r;
}

/* Whether a message comes in time; if so it is in `ret_message`. */
static bool receive(struct fixture *f, int timeout_ms, char *ret_message, size_t size)
{
	struct pollfd ready = { .fd = f->manager, .events = POLLIN };

	if (poll(&ready, 1, timeout_ms) != 1)
		return false;
	ssize_t length = recv(f->manager, ret_message, size - 1, 0);
	assert_true(length > 0);
	ret_message[length] = '\0';
	return true;
}

static void await_ping(struct fixture *f)
{
	char message[512];

	do
		assert_true(receive(f, DEADLINE_MS, message, sizeof(message)));
	while (!strstr(message, "WATCHDOG=1"));
}

/* How many pings have been sent and not been looked at. */
static int pings_so_far(struct fixture *f)
{
	char message[512];
	int pings = 0;

	while (receive(f, 0, message, sizeof(message)))
		pings += strstr(message, "WATCHDOG=1") != NULL;
	return pings;
}

static void await_failures(struct fixture *f, uint64_t count)
{
	for (int waited_ms = 0; faulty_datastore_failures(f->ds) < count; waited_ms++) {
		assert_true(waited_ms < DEADLINE_MS);
		poll(NULL, 0, 1);
	}
}

static void pings_come_with_the_figures(void **state)
{
	struct fixture *f = *state;
	char message[512];

	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	assert_non_null(f->watchdog);
	for (int i = 0; i < 3; i++) {
		assert_true(receive(f, DEADLINE_MS, message, sizeof(message)));
		assert_string_equal(message,
				    "STATUS=0 contracts hold 0 bytes, 1000 bytes are available\nWATCHDOG=1");
	}
}

static void a_datastore_that_fails_stops_them(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	await_ping(f);
	faulty_datastore_arm(f->ds, &(struct faulty_datastore_plan) {
		.calls = FAULTY_DATASTORE_GET | FAULTY_DATASTORE_SCAN, .nth = 1, .persistent = true, .error = EIO });
	/* One ping may have been on its way. */
	await_failures(f, 1);
	pings_so_far(f);
	await_failures(f, 5);
	assert_int_equal(pings_so_far(f), 0);

	faulty_datastore_arm(f->ds, NULL);
	await_ping(f);
}

static void hang(void *user)
{
	struct fixture *f = user;

	sem_post(&f->reached);
	sem_wait(&f->go_on);
}

static void a_datastore_that_hangs_stops_them(void **state)
{
	struct fixture *f = *state;
	char message[512];

	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	await_ping(f);
	faulty_datastore_arm(f->ds, &(struct faulty_datastore_plan) {
		.calls = FAULTY_DATASTORE_GET | FAULTY_DATASTORE_SCAN, .nth = 1, .before = hang, .user = f });
	sem_wait(&f->reached);
	pings_so_far(f);
	/* For ten intervals. */
	assert_false(receive(f, 200, message, sizeof(message)));
	sem_post(&f->go_on);
	await_ping(f);
}

static void a_repo_that_fails_stops_them(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	await_ping(f);
	faulty_repo_arm(f->repo, &(struct faulty_repo_plan) {
		.calls = FAULTY_REPO_MEASURE, .nth = 1, .persistent = true, .error = EIO });
	while (faulty_repo_failures(f->repo) < 2)
		poll(NULL, 0, 1);
	pings_so_far(f);
	while (faulty_repo_failures(f->repo) < 6)
		poll(NULL, 0, 1);
	assert_int_equal(pings_so_far(f), 0);
	faulty_repo_arm(f->repo, NULL);
	await_ping(f);
}

/* All goes on but what needs its answer, so that is no reason to start anew. */
static void a_repo_that_hangs_is_told_with_them(void **state)
{
	struct fixture *f = *state;
	char message[512];

	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	await_ping(f);
	faulty_repo_arm(f->repo, &(struct faulty_repo_plan) { .calls = FAULTY_REPO_MEASURE, .nth = 1, .before = hang, .user = f });
	sem_wait(&f->reached);
	do
		assert_true(receive(f, DEADLINE_MS, message, sizeof(message)));
	while (!strstr(message, "does not answer"));
	assert_non_null(strstr(message, "WATCHDOG=1"));
	/* stopping does not wait for it either */
	assert_true(rfs_watchdog_stop(f->watchdog, RFS_CLOSE_PATIENCE_SECONDS));
	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	sem_post(&f->go_on);
	do
		assert_true(receive(f, DEADLINE_MS, message, sizeof(message)));
	while (strstr(message, "does not answer"));
}

static void without_an_interval_the_figures_are_told_once(void **state)
{
	struct fixture *f = *state;
	char message[512];

	unsetenv("WATCHDOG_USEC");
	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	assert_null(f->watchdog);
	assert_true(receive(f, 0, message, sizeof(message)));
	assert_string_equal(message, "STATUS=0 contracts hold 0 bytes, 1000 bytes are available");
	assert_false(receive(f, 0, message, sizeof(message)));
}

static void for_another_process_or_without_a_manager_there_is_no_thread(void **state)
{
	struct fixture *f = *state;
	char message[512];

	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	assert_null(f->watchdog);
	assert_true(receive(f, 0, message, sizeof(message)));
	assert_null(strstr(message, "WATCHDOG"));
	unsetenv("WATCHDOG_PID");
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	assert_null(f->watchdog);
	assert_false(receive(f, 0, message, sizeof(message)));
}

static void an_interval_that_is_no_number_is_none(void **state)
{
	static const char *const wrong[] = { "", "0", "-1", "+5", " 5", "5 ", "5x", "18446744073709551616",
					     "18446744073709551615" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		setenv("WATCHDOG_USEC", wrong[i], 1);
		assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
		assert_null(f->watchdog);
	}
}

static void stopping_is_prompt_and_can_be_repeated(void **state)
{
	struct fixture *f = *state;

	/* Ten minutes: it must not wait for the interval to end. */
	setenv("WATCHDOG_USEC", "1200000000", 1);
	assert_int_equal(rfs_watchdog_start(f->reservations, &f->watchdog), 0);
	await_ping(f);
	assert_true(rfs_watchdog_stop(f->watchdog, RFS_CLOSE_PATIENCE_SECONDS));
	f->watchdog = NULL;
	assert_true(rfs_watchdog_stop(f->watchdog, RFS_CLOSE_PATIENCE_SECONDS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pings_come_with_the_figures, setup, teardown),
		cmocka_unit_test_setup_teardown(a_datastore_that_fails_stops_them, setup, teardown),
		cmocka_unit_test_setup_teardown(a_datastore_that_hangs_stops_them, setup, teardown),
		cmocka_unit_test_setup_teardown(a_repo_that_fails_stops_them, setup, teardown),
		cmocka_unit_test_setup_teardown(a_repo_that_hangs_is_told_with_them, setup, teardown),
		cmocka_unit_test_setup_teardown(without_an_interval_the_figures_are_told_once, setup, teardown),
		cmocka_unit_test_setup_teardown(for_another_process_or_without_a_manager_there_is_no_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interval_that_is_no_number_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(stopping_is_prompt_and_can_be_repeated, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
