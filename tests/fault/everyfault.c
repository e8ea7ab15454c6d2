/* SPDX-License-Identifier: MIT */
/*
 * everyfault.c: every fault once, and for good. A fixed history is run with the first, the second, ... call of one
 * kind failing, until a run comes to its end without having met the fault.
 *
 * Each time: what fails is answered with the right errno and changes nothing; what doesn't fail is answered as ever;
 * nothing hangs; once the fault is gone everything works without being opened anew; what is on disk in the end is what
 * was answered; and no memory is left behind.
 *
 * All runs of one kind are made in a child, so that one that ends or hangs it can be named.
 */
#include "crash_calls.h"
#include "crash_history.h"
#include "crash_planted.h"
#include "crash_scratch.h"
#include "everyfault_malloc.h"
#include "faulty_datastore.h"
#include "faulty_repo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_LEAK_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_LEAK_SANITIZER 1
#endif
#endif
#ifdef HAVE_LEAK_SANITIZER
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#define FINDS_LEAKS true
#else
#define LEAKS() 0
#define FINDS_LEAKS false
#endif

/* How many changes are asked for after the first one that a fault which stays has hit, before it goes away. */
#define MORE_WHILE_FAILING 4
#define RUN_SECONDS 60

struct run;

/* One kind of fault. */
struct kind {
	const char *name;
	void (*arm)(struct run *run, uint64_t nth, bool persistent); /* nth 0: ends it */
	unsigned int calls; /* of a decorator: which; of file calls: a set of enum call_kind */
	int error;          /* that the call fails with; CALLS_SHORT: a write that stops half way, for want of space */
	int answer;         /* the only error that a request may be answered with on account of it */
};

struct shared {
	uint64_t nth;
	uint64_t hits;
	uint64_t failed_requests;
	uint64_t failed_openings;
	char message[1024];
};

struct run {
	const struct kind *kind;
	bool persistent;
	enum crash_planted planted;
	struct crash_scratch scratch;
	struct crash_files start;
	struct crash_history history;
	struct crash_progress progress;
	struct shared *shared;
	/* The decorators of what is open. */
	struct rfs_datastore *ds;
	struct rfs_repo *repo;
	/* The fault in force. */
	uint64_t nth, count, hits;
	bool stays;
	unsigned failed; /* requests, since it was armed */
	char problem[768];
};

/* File calls */

static int before_call(void *user, const struct call *call)
{
	struct run *run = user;

	if (run->nth == 0 || !(run->kind->calls >> call->kind & 1))
		return 0;
	if (++run->count < run->nth || (run->count > run->nth && !run->stays))
		return 0;
	run->hits++;
	/* The rest of a write that stopped half way finds no space. */
	return run->kind->error == CALLS_SHORT && run->count > run->nth ? ENOSPC : run->kind->error;
}

static void arm_file_calls(struct run *run, uint64_t nth, bool persistent)
{
	run->stays = persistent;
	run->count = 0;
	run->nth = nth;
}

/* Allocations */

static void arm_allocations(struct run *run, uint64_t nth, bool persistent)
{
	run->hits += everyfault_malloc_failures();
	everyfault_malloc_arm(nth, persistent);
}

/* The Datastore and the Repo */

static void datastore_hit(void *user)
{
	((struct run *) user)->hits++;
}

static void arm_datastore(struct run *run, uint64_t nth, bool persistent)
{
	struct faulty_datastore_plan plan = {
		.calls = run->kind->calls,
		.nth = nth,
		.persistent = persistent,
		.error = run->kind->error,
		.before = datastore_hit,
		.user = run,
	};
	run->nth = nth;
	run->stays = persistent;
	if (run->ds)
		faulty_datastore_arm(run->ds, &plan);
}

static void arm_repo(struct run *run, uint64_t nth, bool persistent)
{
	struct faulty_repo_plan plan = { .calls = run->kind->calls, .nth = nth, .persistent = persistent,
					 .error = run->kind->error };
	run->nth = nth;
	run->stays = persistent;
	if (run->repo) {
		run->hits += faulty_repo_failures(run->repo);
		faulty_repo_arm(run->repo, &plan);
	}
}

static int wrap(void *user, struct rfs_datastore **ds, struct rfs_repo **repo)
{
	struct run *run = user;
	int rc = 0;

	if (run->kind->arm == arm_datastore)
		rc = faulty_datastore_open(*ds, ds);
	if (rc == 0 && run->kind->arm == arm_repo)
		rc = faulty_repo_open(*repo, repo);
	if (rc == 0 && run->planted)
		rc = crash_planted_open(run->planted, *ds, ds);
	if (rc < 0)
		return rc;
	run->ds = run->kind->arm == arm_datastore ? *ds : NULL;
	run->repo = run->kind->arm == arm_repo ? *repo : NULL;
	if (run->ds || run->repo)
		run->kind->arm(run, run->nth, run->stays);
	return 0;
}

/* One run */

static bool problem(struct run *run, const char *what, const char *detail)
{
	if (!run->problem[0])
		snprintf(run->problem, sizeof run->problem, "%s: %s", what, detail);
	return false;
}

/* A sync tells that something could not be stored before, whatever the reason was then. */
static bool is_right_error(void *user, const struct crash_op *op, int error)
{
	struct run *run = user;

	if (error != -run->kind->answer && !(op->verb == RFS_SYNC && error == -EIO))
		return false;
	run->failed++;
	run->shared->failed_requests++;
	return true;
}

static bool was_hit(const struct run *run)
{
	return run->hits > 0 || (run->kind->arm == arm_allocations && everyfault_malloc_failures() > 0);
}

/* Opens; where the fault prevents it, says so, and opens again without it. */
static struct rfs_reservations *open_it(struct run *run)
{
	struct rfs_reservations *r = NULL;
	char message[512] = "";

	int rc = crash_open(run->scratch.path, wrap, run, message, sizeof message, &r);
	if (rc == 0)
		return r;
	run->ds = NULL;
	run->repo = NULL;
	run->shared->failed_openings++;
	run->kind->arm(run, 0, false);
	if (!was_hit(run))
		problem(run, "it can't be opened, without any fault", message);
	/* An opening is told the error itself, not only that the Datastore is out of order. */
	if (rc != -run->kind->answer && rc != -run->kind->error && rc != -ENOSPC)
		problem(run, strerror(-rc), message);
	if (!message[0])
		problem(run, "it can't be opened", "and says nothing");
	rc = crash_open(run->scratch.path, wrap, run, message, sizeof message, &r);
	if (rc < 0)
		problem(run, "it can't be opened when the fault is gone", message);
	return rc < 0 ? NULL : r;
}

/* What is shown is what was answered. */
static bool shows_what_was_answered(struct run *run, struct rfs_reservations *r, const char *when)
{
	struct crash_state expected, found;
	char message[512], have[512];

	crash_answered_state(&run->history, &run->progress, &expected);
	if (crash_read(r, &found, message, sizeof message) < 0)
		return problem(run, when, message);
	if (memcmp(&expected, &found, sizeof found) == 0)
		return true;
	crash_describe(&expected, message, sizeof message);
	crash_describe(&found, have, sizeof have);
	if (!run->problem[0])
		snprintf(run->problem, sizeof run->problem, "%s: answered were%.300s, shown are%.300s", when, message, have);
	return false;
}

static bool ask(struct run *run, struct rfs_reservations *r, unsigned until, bool failing)
{
	struct crash_run_options options = { .user = run, .excuse = failing ? is_right_error : NULL, .stop_at_error = failing };
	struct crash_history part = run->history;

	if (part.count > until)
		part.count = until;
	crash_run(r, &part, &run->progress, &options);
	return run->progress.surprise[0] ? problem(run, failing ? "while it fails" : "when the fault is gone",
						   run->progress.surprise)
					 : true;
}

static void end_fault(struct run *run)
{
	run->kind->arm(run, 0, false);
}

static void run_history(struct run *run, struct rfs_reservations *r)
{
	unsigned all = run->history.count;

	/* Until something fails, and where the fault stays, a little further. */
	if (!ask(run, r, all, true))
		return;
	for (unsigned more = 0; run->persistent && run->failed && more < MORE_WHILE_FAILING; more++)
		if (!ask(run, r, run->progress.asked + 1, true))
			return;
	if (run->progress.asked == all)
		return; /* the fault may still be to come, when it is closed */
	end_fault(run);
	if (shows_what_was_answered(run, r, "after the fault"))
		(void) ask(run, r, all, false);
	(void) shows_what_was_answered(run, r, "in the end");
}

static void close_it(struct run *run, struct rfs_reservations *r)
{
	int rc = rfs_reservations_close(r);

	run->ds = NULL;
	run->repo = NULL;
	if (rc == 0)
		run->progress.settled = run->progress.answered;
	else if (rc != -EIO || !was_hit(run))
		problem(run, "closing it", strerror(-rc));
	end_fault(run);
}

/* Where the disk refused everything from a failed commit until the end, the commit could not be made void: that one change,
 * though it was answered with an error, may be there. Nothing can be done about that without a disk. */
static bool may_be_but_for_one(struct run *run, const struct crash_state *found)
{
	char message[8];

	for (unsigned i = 0; i < run->progress.answered; i++) {
		int error = run->progress.errors[i];
		if (error != -run->kind->answer)
			continue;
		run->progress.errors[i] = 0;
		bool fits = crash_may_be(&run->history, &run->progress, found, message, sizeof message);
		run->progress.errors[i] = error;
		if (fits)
			return true;
	}
	return false;
}

static void judge_disk(struct run *run, bool failed_to_the_end)
{
	struct crash_state found;
	char message[512] = "";

	if (crash_inspect(run->scratch.path, &found, message, sizeof message) < 0)
		problem(run, "on disk", message);
	else if (!crash_may_be(&run->history, &run->progress, &found, message, sizeof message) &&
		 !(failed_to_the_end && may_be_but_for_one(run, &found)))
		problem(run, "on disk", message);
}

static void one_run(struct run *run)
{
	crash_scratch_restore(&run->scratch, &run->start);
	memset(&run->progress, 0, sizeof run->progress);
	run->hits = run->count = 0;
	run->failed = 0;
	run->kind->arm(run, run->shared->nth, run->persistent);
	struct rfs_reservations *r = open_it(run);
	if (!r)
		return;
	run_history(run, r);
	/* A Repo's failures are counted in it, and it is about to go. */
	if (run->repo)
		run->hits += faulty_repo_failures(run->repo);
	bool failed_to_the_end = run->persistent && run->nth > 0;
	close_it(run, r);
	if (!run->problem[0])
		judge_disk(run, failed_to_the_end);
}

/* All runs of a kind */

static void make_start(struct run *run)
{
	char message[512];
	struct rfs_reservations *r;

	if (crash_open(run->scratch.path, NULL, NULL, message, sizeof message, &r) < 0)
		exit(3);
	(void) rfs_reservations_close(r);
	crash_scratch_save(&run->scratch, &run->start);
}

/* In the child: until a run doesn't meet the fault. Returns whether all was well. */
static bool run_all(struct run *run)
{
	struct calls_hooks hooks = { before_call, NULL, run };
	int64_t pieces = 0;

	make_start(run);
	if (run->kind->arm == arm_file_calls)
		calls_watch(run->scratch.directory, &hooks);
	/* Once without a fault: what is allocated once and for all is allocated then. */
	for (run->shared->nth = 0;; run->shared->nth++) {
		alarm(RUN_SECONDS);
		int64_t before = everyfault_malloc_pieces();
		one_run(run);
		pieces = everyfault_malloc_pieces() - before;
		if (run->shared->nth > 1 && (pieces != 0 || LEAKS())) {
			char count[32];
			snprintf(count, sizeof count, "%lld", (long long) pieces);
			problem(run, "pieces of memory that are left over", count);
		}
		run->shared->hits += run->hits;
		if (run->problem[0]) {
			snprintf(run->shared->message, sizeof run->shared->message, "%s", run->problem);
			return false;
		}
		if (run->shared->nth > 0 && run->hits == 0)
			return true;
	}
}

/* Returns whether all was well; shared->message says what wasn't. */
static bool perform(const struct kind *kind, bool persistent, enum crash_planted planted, struct shared *shared)
{
	static struct run run;
	int status;

	memset(&run, 0, sizeof run);
	memset(shared, 0, sizeof *shared);
	run.kind = kind;
	run.persistent = persistent;
	run.planted = planted;
	run.shared = shared;
	crash_scratch_make(&run.scratch);
	crash_history_of_all_kinds(&run.history);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(run_all(&run) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	crash_scratch_remove(&run.scratch);
	if (WIFSIGNALED(status))
		snprintf(shared->message, sizeof shared->message, "ended by signal %d (%s)", WTERMSIG(status),
			 WTERMSIG(status) == SIGALRM ? "it hung" : strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) && !shared->message[0])
		snprintf(shared->message, sizeof shared->message, "the process ended with status %d", WEXITSTATUS(status));
	return status == 0;
}

#define BIT(kind) (1u << (kind))
#define READS (BIT(CALL_READ))
#define CHANGES \
	(BIT(CALL_CREATE) | BIT(CALL_WRITE) | BIT(CALL_TRUNCATE) | BIT(CALL_ALLOCATE) | BIT(CALL_UNLINK) | BIT(CALL_RENAME))
#define SYNCS (BIT(CALL_SYNC) | BIT(CALL_SYNC_DIRECTORY))
#define GROWS (BIT(CALL_CREATE) | BIT(CALL_WRITE) | BIT(CALL_ALLOCATE))

static const struct kind file_kinds[] = {
	{ "open", arm_file_calls, BIT(CALL_OPEN) | BIT(CALL_CREATE), EIO, EIO },
	{ "read", arm_file_calls, READS, EIO, EIO },
	{ "write, truncate or allocate: EIO", arm_file_calls, CHANGES, EIO, EIO },
	{ "write, truncate or allocate: ENOSPC", arm_file_calls, GROWS, ENOSPC, EIO },
	{ "write that stops half way", arm_file_calls, BIT(CALL_WRITE), CALLS_SHORT, EIO },
	{ "sync", arm_file_calls, SYNCS, EIO, EIO },
	{ "stat", arm_file_calls, BIT(CALL_LOOK), EIO, EIO },
	{ "lock", arm_file_calls, BIT(CALL_LOCK), EIO, EIO },
	{ "any file call", arm_file_calls, READS | CHANGES | SYNCS | BIT(CALL_OPEN), EIO, EIO },
};

static const struct kind datastore_kinds[] = {
	{ "call of the Datastore: EIO", arm_datastore, FAULTY_DATASTORE_ALL, EIO, EIO },
	{ "change of the Datastore: ENOSPC", arm_datastore,
	  FAULTY_DATASTORE_BEGIN | FAULTY_DATASTORE_TXN_PUT | FAULTY_DATASTORE_TXN_DELETE | FAULTY_DATASTORE_COMMIT, ENOSPC, EIO },
	{ "call of the Datastore: ENOMEM", arm_datastore, FAULTY_DATASTORE_ALL, ENOMEM, ENOMEM },
};

static const struct kind repo_kinds[] = {
	{ "call of the Repo: EIO", arm_repo, FAULTY_REPO_ALL, EIO, EIO },
	{ "call of the Repo: ESTALE", arm_repo, FAULTY_REPO_ALL, ESTALE, EIO },
};

static const struct kind allocation_kind = { "allocation", arm_allocations, 0, ENOMEM, ENOMEM };

static struct shared *shared_new(void)
{
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	return shared;
}

static void must_survive(const struct kind *kind)
{
	struct shared *shared = shared_new();

	for (int persistent = 0; persistent < 2; persistent++) {
		if (!perform(kind, persistent, CRASH_PLANTED_NONE, shared))
			fail_msg("%s, number %llu, %s: %s", kind->name, (unsigned long long) shared->nth,
				 persistent ? "and all after it" : "once", shared->message);
		print_message("# %s, %s: %llu runs, %llu faults, %llu requests and %llu openings failed\n", kind->name,
			      persistent ? "for good" : "once", (unsigned long long) shared->nth,
			      (unsigned long long) shared->hits, (unsigned long long) shared->failed_requests,
			      (unsigned long long) shared->failed_openings);
		assert_true(shared->nth > 1);
		/* The rest of a write that stopped half way is written at once, where it can be. */
		if (persistent || kind->error != CALLS_SHORT)
			assert_true(shared->failed_requests + shared->failed_openings > 0);
	}
	munmap(shared, sizeof *shared);
}

static void file_calls(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof file_kinds / sizeof file_kinds[0]; i++)
		must_survive(&file_kinds[i]);
}

static void datastore_calls(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof datastore_kinds / sizeof datastore_kinds[0]; i++)
		must_survive(&datastore_kinds[i]);
}

static void repo_calls(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof repo_kinds / sizeof repo_kinds[0]; i++)
		must_survive(&repo_kinds[i]);
}

static void allocations(void **state)
{
	(void) state;
	if (!everyfault_malloc_works())
		skip();
	must_survive(&allocation_kind);
}

static void must_be_found(const struct kind *kind, bool persistent, enum crash_planted planted)
{
	struct shared *shared = shared_new();

	if (perform(kind, persistent, planted, shared))
		fail_msg("%s was not found", crash_planted_names[planted]);
	print_message("# %s: found at %s %llu: %s\n", crash_planted_names[planted], kind->name, (unsigned long long) shared->nth,
		      shared->message);
	munmap(shared, sizeof *shared);
}

static void planted_bugs_are_found(void **state)
{
	const struct kind *sync = &file_kinds[5];

	(void) state;
	must_be_found(sync, false, CRASH_PLANTED_SWALLOW);
	must_be_found(sync, false, CRASH_PLANTED_STUCK);
	if (everyfault_malloc_works() || FINDS_LEAKS)
		must_be_found(sync, false, CRASH_PLANTED_LEAK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_calls),
		cmocka_unit_test(datastore_calls),
		cmocka_unit_test(repo_calls),
		cmocka_unit_test(allocations),
		cmocka_unit_test(planted_bugs_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
