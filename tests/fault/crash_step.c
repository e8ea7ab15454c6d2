/* SPDX-License-Identifier: MIT */
/*
 * crash_step.c: kills the process at every step of a fixed history, one run a step, and looks each time at what is left.
 *
 * Steps are: before and after each call to the Datastore and to the Repo, each answer, and before and after each call that
 * changes a file; a write is also cut in half. The run that dies at step N is a child; what it was answered is in memory shared with its
 * parent, which opens the Datastore as the product would, and judges.
 */
#include "crash_calls.h"
#include "crash_history.h"
#include "crash_planted.h"
#include "crash_scratch.h"
#include "crash_steps.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

struct shared {
	struct crash_steps steps;
	struct crash_progress progress;
	char message[512]; /* why the run could not be what it should be */
};

struct run {
	struct crash_scratch scratch;
	struct crash_files start; /* what every run begins with; nothing: the run creates it */
	struct crash_history history;
	enum crash_planted planted;
	struct shared *shared;
};

/* What fills a new file is one step for each call. */
#define FILLING_BYTES 65536

static bool changes_a_file(const struct call *call)
{
	switch (call->kind) {
	case CALL_CREATE:
	case CALL_WRITE:
	case CALL_SYNC:
	case CALL_SYNC_DIRECTORY:
	case CALL_TRUNCATE:
	case CALL_ALLOCATE:
	case CALL_UNLINK:
	case CALL_RENAME:
		return true;
	default:
		return false;
	}
}

/* A write has one step more than others: when it is half done. */
static bool dying_half_way;

static int before_call(void *user, const struct call *call)
{
	struct shared *shared = user;

	if (!changes_a_file(call))
		return 0;
	crash_step(&shared->steps, "before", calls_kind_name(call->kind));
	if (call->kind == CALL_WRITE && call->length < FILLING_BYTES && shared->steps.count + 1 == shared->steps.die_at) {
		dying_half_way = true;
		return CALLS_SHORT;
	}
	return 0;
}

static void after_call(void *user, const struct call *call)
{
	struct shared *shared = user;

	if (!changes_a_file(call) || call->length >= FILLING_BYTES)
		return;
	if (call->kind == CALL_WRITE)
		crash_step(&shared->steps, dying_half_way ? "half way in" : "at the end of", calls_kind_name(call->kind));
	crash_step(&shared->steps, "after", calls_kind_name(call->kind));
}

static int wrap(void *user, struct rfs_datastore **ds, struct rfs_repo **repo)
{
	struct run *run = user;
	int rc = run->planted ? crash_planted_open(run->planted, *ds, ds) : 0;
	return rc < 0 ? rc : crash_steps_wrap(&run->shared->steps, ds, repo);
}

static void answered(void *user, unsigned op)
{
	struct run *run = user;
	(void) op;
	crash_step(&run->shared->steps, "after", "an answer");
}

/* One life of the daemon, without the daemon: open, change, close. False: something went wrong that must not. */
static bool live(struct run *run, unsigned until)
{
	struct crash_run_options options = { .answered = answered, .user = run };
	struct shared *shared = run->shared;
	struct rfs_reservations *r;
	struct crash_history part = run->history;

	part.count = until;
	if (crash_open(run->scratch.path, wrap, run, shared->message, sizeof shared->message, &r) < 0)
		return false;
	crash_run(r, &part, &shared->progress, &options);
	if (rfs_reservations_close(r) < 0) {
		strcpy(shared->message, "it could not be closed");
		return false;
	}
	shared->progress.settled = shared->progress.answered;
	return shared->progress.surprise[0] == 0;
}

/* Two lives: the second begins with what the first left. */
static void child(struct run *run)
{
	struct calls_hooks hooks = { before_call, after_call, run->shared };

	alarm(60); /* a run that hangs is a failed one */
	calls_watch(run->scratch.directory, &hooks);
	bool good = live(run, run->history.count / 2) && live(run, run->history.count);
	_exit(good ? 0 : 1);
}

/* Runs until step `die_at`. Returns whether it died there; false: it came to its end. */
static bool run_child(struct run *run, unsigned die_at)
{
	int status;

	memset(run->shared, 0, sizeof *run->shared);
	run->shared->steps.die_at = die_at;
	if (run->start.main)
		crash_scratch_restore(&run->scratch, &run->start);
	else
		crash_scratch_empty(&run->scratch);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(run);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("step %u: the run ended with status %x: %s%s", die_at, status, run->shared->message,
			 run->shared->progress.surprise);
	return false;
}

static bool is_as_promised(struct run *run, char *ret_message, size_t message_size)
{
	struct crash_state found;

	return crash_inspect(run->scratch.path, &found, ret_message, message_size) == 0 &&
	       crash_may_be(&run->history, &run->shared->progress, &found, ret_message, message_size);
}

static void make_start(struct run *run)
{
	char message[512];
	struct rfs_reservations *r;

	if (crash_open(run->scratch.path, NULL, NULL, message, sizeof message, &r) < 0)
		fail_msg("%s", message);
	assert_int_equal(rfs_reservations_close(r), 0);
	crash_scratch_save(&run->scratch, &run->start);
}

static void run_init(struct run *run, enum crash_planted planted, bool is_new)
{
	memset(run, 0, sizeof *run);
	crash_scratch_make(&run->scratch);
	crash_history_of_all_kinds(&run->history);
	run->planted = planted;
	run->shared = mmap(NULL, sizeof *run->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(run->shared != MAP_FAILED);
	if (is_new)
		run->history.count = 6;
	else
		make_start(run);
}

static void run_done(struct run *run)
{
	munmap(run->shared, sizeof *run->shared);
	crash_files_done(&run->start);
	crash_scratch_remove(&run->scratch);
}

/* Returns how many steps there are. */
static unsigned kill_at_every_step(bool is_new)
{
	struct run run;
	char message[1024] = "";
	unsigned step = 1;

	run_init(&run, CRASH_PLANTED_NONE, is_new);
	for (; run_child(&run, step); step++)
		if (!is_as_promised(&run, message, sizeof message))
			fail_msg("step %u, %s: %s", step, run.shared->steps.last, message);
	assert_int_equal(run.shared->progress.answered, run.history.count);
	if (!is_as_promised(&run, message, sizeof message))
		fail_msg("after a whole run: %s", message);
	print_message("# killed at each of %u steps\n", step - 1);
	run_done(&run);
	return step - 1;
}

static void nothing_is_lost_while_it_is_created(void **state)
{
	(void) state;
	assert_true(kill_at_every_step(true) > 100);
}

static void nothing_is_lost_at_any_step(void **state)
{
	(void) state;
	assert_true(kill_at_every_step(false) > 500);
}

/* The step at which the bug is found, or 0. */
static unsigned find_planted(enum crash_planted planted)
{
	struct run run;
	char message[1024] = "";
	unsigned step = 1, found = 0;

	run_init(&run, planted, false);
	for (; found == 0 && run_child(&run, step); step++)
		if (!is_as_promised(&run, message, sizeof message))
			found = step;
	run_done(&run);
	print_message("# %s: %s\n", crash_planted_names[planted], message);
	return found;
}

static void planted_bugs_are_found(void **state)
{
	(void) state;
	assert_int_not_equal(find_planted(CRASH_PLANTED_ANSWER_EARLY), 0);
	assert_int_not_equal(find_planted(CRASH_PLANTED_COUNTER_OUTSIDE), 0);
	assert_int_not_equal(find_planted(CRASH_PLANTED_PIECEMEAL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_while_it_is_created),
		cmocka_unit_test(nothing_is_lost_at_any_step),
		cmocka_unit_test(planted_bugs_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
