/* SPDX-License-Identifier: MIT */
/*
 * powerloss.c: cuts the power at every write and sync of a few histories, and looks at every disk that may be left then.
 *
 * For each cut, of what was not flushed: nothing, everything, everything but one write, one write alone, the first
 * ones, the last ones (so later without earlier), the last write torn at each sector or all zeros, and sectors at random;
 * and of the directory, its changes up to each one. Equal disks are looked at once: what is found on one is then
 * compared with what was answered at each cut that can leave it.
 */
#include "crash_history.h"
#include "crash_planted.h"
#include "powerloss_record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>
#include <cmocka.h>

/* Beyond this many uncertain writes, not each of them is left out and put in by itself. */
#define SINGLE_MOST 48
#define RANDOM_DISKS 4
/* Writes of this length fill a new file. */
#define FILLING_BYTES 65536

/* A disk that was looked at. */
struct disk_found {
	uint64_t name;
	int rc; /* 0, or why it can't be used */
	struct crash_state state;
	char message[256];
	UT_hash_handle hh;
};

struct scene {
	const char *title;
	struct crash_scratch live;  /* where the history happens */
	struct crash_scratch image; /* where disks are built */
	struct crash_history history;
	struct crash_progress progress;
	struct powerloss_record rec;
	enum crash_planted planted;
	struct disk_found *found;
	unsigned cuts, comparisons;
	bool violated;
	char violation[1024];
};

/* Looking at the disks */

static struct disk_found *look(struct scene *s, const struct powerloss_choice *choice)
{
	uint64_t name = powerloss_name(&s->rec, choice);
	struct disk_found *f;

	HASH_FIND(hh, s->found, &name, sizeof name, f);
	if (f)
		return f;
	f = calloc(1, sizeof *f);
	assert_non_null(f);
	f->name = name;
	powerloss_build(&s->rec, choice, &s->image);
	f->rc = crash_inspect(s->image.path, &f->state, f->message, sizeof f->message);
	HASH_ADD(hh, s->found, name, sizeof f->name, f);
	return f;
}

static void try(struct scene *s, const struct powerloss_choice *choice, const struct crash_progress *then)
{
	char why[768] = "";

	if (s->violated)
		return;
	s->comparisons++;
	struct disk_found *f = look(s, choice);
	if (f->rc == 0 && crash_may_be(&s->history, then, &f->state, why, sizeof why))
		return;
	s->violated = true;
	const struct powerloss_event *last = &s->rec.events[choice->cut ? choice->cut - 1 : 0];
	snprintf(s->violation, sizeof s->violation, "%s: power lost after event %u of %u (%s of file %u at %llu): %s%s", s->title,
		 choice->cut, s->rec.count, calls_kind_name(last->kind), last->file, (unsigned long long) last->offset,
		 f->message, why);
}

struct cut {
	struct scene *s;
	struct powerloss_choice choice;
	struct crash_progress then;
	unsigned char *parts;
	unsigned *pending; /* uncertain writes, oldest first */
	unsigned count;
};

static void set_range(struct cut *c, unsigned from, unsigned to, enum powerloss_part part)
{
	for (unsigned i = from; i < to; i++)
		c->parts[c->pending[i]] = (unsigned char) part;
}

static void set_all(struct cut *c, enum powerloss_part part)
{
	set_range(c, 0, c->count, part);
}

static void try_cut(struct cut *c)
{
	try(c->s, &c->choice, &c->then);
}

static void try_one_more_or_less(struct cut *c)
{
	for (unsigned i = 0; i < c->count; i++) {
		if (c->count > SINGLE_MOST && i >= SINGLE_MOST / 2 && i < c->count - SINGLE_MOST / 2)
			continue;
		set_all(c, POWERLOSS_ALL);
		c->parts[c->pending[i]] = POWERLOSS_NOTHING;
		try_cut(c);
		set_all(c, POWERLOSS_NOTHING);
		c->parts[c->pending[i]] = POWERLOSS_ALL;
		try_cut(c);
		set_range(c, 0, i, POWERLOSS_ALL);
		try_cut(c);
		set_range(c, 0, i, POWERLOSS_NOTHING);
		set_range(c, i, c->count, POWERLOSS_ALL);
		try_cut(c);
	}
}

/* The last write, torn: its first sectors, and its last ones, with and without all that came before it. */
static void try_torn(struct cut *c)
{
	const struct powerloss_event *e = &c->s->rec.events[c->pending[c->count - 1]];
	uint64_t sectors = (e->offset % POWERLOSS_SECTOR + e->length + POWERLOSS_SECTOR - 1) / POWERLOSS_SECTOR;

	if (e->kind != CALL_WRITE)
		return;
	for (unsigned before = 0; before < 2; before++) {
		set_all(c, before ? POWERLOSS_ALL : POWERLOSS_NOTHING);
		c->parts[c->pending[c->count - 1]] = POWERLOSS_ZEROS;
		try_cut(c);
		c->parts[c->pending[c->count - 1]] = POWERLOSS_SECTORS;
		for (unsigned n = 1; n < sectors && n < 16; n++) {
			c->choice.sectors = (UINT64_C(1) << n) - 1;
			try_cut(c);
			c->choice.sectors = ~c->choice.sectors;
			try_cut(c);
		}
	}
	c->choice.sectors = 0;
}

static void try_random(struct cut *c)
{
	set_all(c, POWERLOSS_SECTORS);
	for (unsigned i = 1; i <= RANDOM_DISKS; i++) {
		c->choice.seed = c->choice.cut * 16 + i;
		try_cut(c);
	}
	c->choice.seed = 0;
}

static unsigned find_pending(struct cut *c)
{
	unsigned directory = 0;

	c->count = 0;
	for (unsigned i = 0; i < c->choice.cut; i++) {
		const struct powerloss_event *e = &c->s->rec.events[i];
		if (e->certain_at < c->choice.cut)
			continue;
		if (powerloss_is_data(e))
			c->pending[c->count++] = i;
		else if (powerloss_is_directory(e))
			directory++;
	}
	return directory;
}

/* In the middle of filling a new file: which of them are there makes no difference before the last. */
static bool is_filling(const struct cut *c)
{
	const struct powerloss_record *rec = &c->s->rec;
	unsigned next = c->choice.cut;

	return next > 0 && next < rec->count && rec->events[next - 1].length >= FILLING_BYTES &&
	       rec->events[next].length >= FILLING_BYTES;
}

static void try_all_disks(struct cut *c)
{
	unsigned directory = find_pending(c);

	for (c->choice.directory = 0; c->choice.directory <= directory; c->choice.directory++) {
		set_all(c, POWERLOSS_NOTHING);
		try_cut(c);
		set_all(c, POWERLOSS_ALL);
		try_cut(c);
	}
	c->choice.directory = directory;
	if (c->count == 0 || is_filling(c))
		return;
	try_one_more_or_less(c);
	try_torn(c);
	try_random(c);
}

/* Cuts before each event, and after the last. */
static void cut_everywhere(struct scene *s)
{
	struct cut c = { .s = s, .then = s->progress };

	c.parts = calloc(s->rec.count + 1, 1);
	c.pending = calloc(s->rec.count + 1, sizeof *c.pending);
	assert_non_null(c.parts);
	assert_non_null(c.pending);
	c.choice.parts = c.parts;
	for (unsigned i = 0; i <= s->rec.count && !s->violated; i++) {
		const struct powerloss_event *next = i < s->rec.count ? &s->rec.events[i] : NULL;
		c.choice.cut = i;
		c.then.asked = next ? next->asked : s->progress.asked;
		c.then.answered = next ? next->answered : s->progress.answered;
		c.then.settled = next ? next->settled : s->progress.settled;
		try_all_disks(&c);
		s->cuts++;
	}
	free(c.parts);
	free(c.pending);
}

/* Recording */

static void progress_of(void *user, unsigned *ret_asked, unsigned *ret_answered, unsigned *ret_settled)
{
	struct scene *s = user;
	*ret_asked = s->progress.asked;
	*ret_answered = s->progress.answered;
	*ret_settled = s->progress.settled;
}

static int wrap(void *user, struct rfs_datastore **ds, struct rfs_repo **repo)
{
	struct scene *s = user;
	(void) repo;
	return s->planted ? crash_planted_open(s->planted, *ds, ds) : 0;
}

static bool is_io_error(void *user, const struct crash_op *op, int error)
{
	(void) user;
	(void) op;
	return error == -EIO;
}

static struct rfs_reservations *open_live(struct scene *s)
{
	struct rfs_reservations *r;
	char message[512];

	if (crash_open(s->live.path, wrap, s, message, sizeof message, &r) < 0)
		fail_msg("%s: %s", s->title, message);
	return r;
}

static void ask_until(struct scene *s, struct rfs_reservations *r, unsigned until)
{
	struct crash_run_options options = { .excuse = s->rec.fail_sync ? is_io_error : NULL };
	struct crash_history part = s->history;

	part.count = until;
	crash_run(r, &part, &s->progress, &options);
	if (s->progress.surprise[0])
		fail_msg("%s: %s", s->title, s->progress.surprise);
}

static void close_live(struct scene *s, struct rfs_reservations *r)
{
	int rc = rfs_reservations_close(r);
	assert_true(rc == 0 || s->rec.fail_sync);
	if (rc == 0)
		s->progress.settled = s->progress.answered;
}

static void scene_init(struct scene *s, const char *title)
{
	memset(s, 0, sizeof *s);
	s->title = title;
	crash_scratch_make(&s->live);
	crash_scratch_make(&s->image);
	s->rec.progress = progress_of;
	s->rec.user = s;
}

static void scene_done(struct scene *s)
{
	struct disk_found *f, *next;

	HASH_ITER(hh, s->found, f, next) {
		HASH_DEL(s->found, f);
		free(f);
	}
	powerloss_done(&s->rec);
	crash_scratch_remove(&s->live);
	crash_scratch_remove(&s->image);
}

/* From nothing: the creation of the file, and the first changes. */
static void play_creation(struct scene *s)
{
	powerloss_watch(&s->rec, &s->live);
	powerloss_begin(&s->rec);
	struct rfs_reservations *r = open_live(s);
	ask_until(s, r, 8);
	close_live(s, r);
}

/* Every kind of change, with a clean end and a new beginning in the middle. */
static void play_all_kinds(struct scene *s)
{
	close_live(s, open_live(s));
	powerloss_watch(&s->rec, &s->live);
	powerloss_begin(&s->rec);
	struct rfs_reservations *r = open_live(s);
	ask_until(s, r, s->history.count / 2);
	close_live(s, r);
	r = open_live(s);
	ask_until(s, r, s->history.count);
	close_live(s, r);
}

/* Over the moment when the WAL is full enough to be moved to the main file, and is begun anew. */
static void play_checkpoint(struct scene *s)
{
	struct rfs_request q = { .verb = RFS_CREATE, .new_name = "a" };

	powerloss_watch(&s->rec, &s->live);
	struct rfs_reservations *r = open_live(s);
	assert_int_equal(rfs_reservations_perform(r, &q, NULL), 0);
	struct rfs_contract_stat st;
	assert_int_equal(rfs_contract_stat(q.created, &st), 0);
	struct rfs_request grow = { .verb = RFS_RESIZE, .contract = q.created };
	/* Each change adds a frame or two; 335 frames fill a third of the WAL's room. */
	for (unsigned i = 0; i < 328; i++) {
		grow.size_bytes = 1 + i % 2;
		assert_int_equal(rfs_reservations_perform(r, &grow, NULL), 0);
	}
	rfs_contract_unref(q.created);
	s->progress.start.contracts[0].id = st.id;
	s->progress.start.contracts[0].size_bytes = grow.size_bytes;
	powerloss_begin(&s->rec);
	ask_until(s, r, s->history.count);
	close_live(s, r);
}

/* Opening what a crash has left, and the first changes after it. The last change before it is a durable one. */
#define PLAYED_BEFORE 19

static void play_recovery(struct scene *s)
{
	struct crash_files files;

	struct rfs_reservations *r = open_live(s);
	ask_until(s, r, PLAYED_BEFORE);
	crash_scratch_save(&s->live, &files);
	close_live(s, r);
	crash_answered_state(&s->history, &s->progress, &s->progress.start);
	crash_scratch_restore(&s->live, &files);
	crash_files_done(&files);
	/* What the history did so far is what this one starts with. */
	memmove(s->history.ops, s->history.ops + PLAYED_BEFORE, (s->history.count - PLAYED_BEFORE) * sizeof s->history.ops[0]);
	s->history.count -= PLAYED_BEFORE;
	s->progress.asked = s->progress.answered = s->progress.settled = 0;
	powerloss_watch(&s->rec, &s->live);
	powerloss_begin(&s->rec);
	r = open_live(s);
	ask_until(s, r, 6);
	close_live(s, r);
}

/* A few changes, and a clean end. */
static void play_before(struct scene *s)
{
	struct rfs_reservations *r = open_live(s);

	ask_until(s, r, 8);
	close_live(s, r);
}

/* The WAL was taken away, and the spare takes its place. */
static void play_spare(struct scene *s)
{
	char wal[PATH_MAX];

	play_before(s);
	snprintf(wal, sizeof wal, "%s/%s", s->live.directory, CRASH_WAL);
	assert_int_equal(unlink(wal), 0);
	powerloss_watch(&s->rec, &s->live);
	powerloss_begin(&s->rec);
	struct rfs_reservations *r = open_live(s);
	ask_until(s, r, 14);
	close_live(s, r);
}

/* The files are written anew, because they were not overwritten in place; the WAL has changes in it. */
static void play_renewal(struct scene *s)
{
	struct crash_files files;

	play_before(s);
	struct rfs_reservations *r = open_live(s);
	ask_until(s, r, 14);
	crash_scratch_save(&s->live, &files);
	close_live(s, r);
	crash_scratch_restore(&s->live, &files);
	crash_files_done(&files);
	powerloss_watch(&s->rec, &s->live);
	calls_pretend_copy_on_write(true);
	powerloss_begin(&s->rec);
	r = open_live(s);
	ask_until(s, r, 18);
	close_live(s, r);
	calls_pretend_copy_on_write(false);
}

/* A sync that fails: the change is answered with an error, and must not be found later on. */
static void play_failed_sync(struct scene *s)
{
	close_live(s, open_live(s));
	powerloss_watch(&s->rec, &s->live);
	struct rfs_reservations *r = open_live(s);
	powerloss_begin(&s->rec);
	ask_until(s, r, 12);
	close_live(s, r);
}

typedef void (*play_fn)(struct scene *s);

struct totals {
	unsigned cuts, disks, comparisons;
};

/* Plays, cuts, and says what there was. Returns whether nothing was violated. */
static bool perform(struct scene *s, play_fn play, enum powerloss_broken broken, struct totals *totals)
{
	play(s);
	if (!powerloss_finish(&s->rec, broken))
		fail_msg("%s: the recording is not what the files hold", s->title);
	cut_everywhere(s);
	totals->cuts += s->cuts;
	totals->disks += HASH_COUNT(s->found);
	totals->comparisons += s->comparisons;
	return !s->violated;
}

/* Returns whether the sync that was to fail was reached. */
static bool must_hold(const char *title, play_fn play, unsigned rounds, unsigned fail_sync, struct totals *totals)
{
	struct scene s;

	scene_init(&s, title);
	if (rounds)
		crash_history_of_rounds(&s.history, rounds);
	else
		crash_history_of_all_kinds(&s.history);
	s.rec.fail_sync = fail_sync;
	if (!perform(&s, play, POWERLOSS_SOUND, totals))
		fail_msg("%s", s.violation);
	bool reached = s.rec.syncs >= fail_sync;
	scene_done(&s);
	return reached;
}

static void must_hold_alone(const char *title, play_fn play, unsigned rounds, unsigned least_cuts)
{
	struct totals totals = { 0 };

	must_hold(title, play, rounds, 0, &totals);
	print_message("# %s: %u cuts, %u different disks, %u comparisons\n", title, totals.cuts, totals.disks,
		      totals.comparisons);
	assert_true(totals.cuts >= least_cuts);
}

static void creation(void **state)
{
	(void) state;
	must_hold_alone("creation", play_creation, 0, 60);
}

static void all_kinds_of_changes(void **state)
{
	(void) state;
	must_hold_alone("all kinds of changes", play_all_kinds, 0, 80);
}

static void checkpoint_and_new_wal(void **state)
{
	(void) state;
	must_hold_alone("checkpoint", play_checkpoint, 12, 60);
}

static void recovery(void **state)
{
	(void) state;
	must_hold_alone("recovery", play_recovery, 0, 30);
}

static void spare_for_the_wal(void **state)
{
	(void) state;
	must_hold_alone("spare", play_spare, 0, 40);
}

static void renewal(void **state)
{
	(void) state;
	must_hold_alone("renewal", play_renewal, 0, 30);
}

static void every_sync_failing_once(void **state)
{
	struct totals totals = { 0 };
	unsigned n = 1;

	(void) state;
	while (must_hold("failed sync", play_failed_sync, 0, n, &totals))
		n++;
	assert_true(n > 8);
	print_message("# failed sync, each of %u: %u cuts, %u different disks, %u comparisons\n", n - 1, totals.cuts, totals.disks,
		      totals.comparisons);
}

static void must_be_found(const char *title, play_fn play, enum powerloss_broken broken, enum crash_planted planted)
{
	struct totals totals = { 0 };
	struct scene s;

	scene_init(&s, title);
	if (play == play_checkpoint)
		crash_history_of_rounds(&s.history, 12);
	else
		crash_history_of_all_kinds(&s.history);
	s.planted = planted;
	if (perform(&s, play, broken, &totals))
		fail_msg("%s: not found in %u disks", title, totals.disks);
	print_message("# found: %s\n", s.violation);
	scene_done(&s);
}

static void planted_bugs_are_found(void **state)
{
	(void) state;
	must_be_found("no sync", play_all_kinds, POWERLOSS_NO_SYNC, CRASH_PLANTED_NONE);
	must_be_found("no sync of the WAL", play_all_kinds, POWERLOSS_NO_WAL_SYNC, CRASH_PLANTED_NONE);
	must_be_found("no sync of the main file", play_checkpoint, POWERLOSS_NO_MAIN_SYNC, CRASH_PLANTED_NONE);
	must_be_found("no sync of the directory", play_creation, POWERLOSS_NO_DIRECTORY_SYNC, CRASH_PLANTED_NONE);
	must_be_found("no sync of the directory, spare", play_spare, POWERLOSS_NO_DIRECTORY_SYNC, CRASH_PLANTED_NONE);
	must_be_found("no sync, renewal", play_renewal, POWERLOSS_NO_SYNC, CRASH_PLANTED_NONE);
	must_be_found("no sync of the directory, renewal", play_renewal, POWERLOSS_NO_DIRECTORY_SYNC, CRASH_PLANTED_NONE);
	must_be_found("answer before commit", play_all_kinds, POWERLOSS_SOUND, CRASH_PLANTED_ANSWER_EARLY);
	must_be_found("counter outside the transaction", play_all_kinds, POWERLOSS_SOUND, CRASH_PLANTED_COUNTER_OUTSIDE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(creation),
		cmocka_unit_test(all_kinds_of_changes),
		cmocka_unit_test(checkpoint_and_new_wal),
		cmocka_unit_test(recovery),
		cmocka_unit_test(spare_for_the_wal),
		cmocka_unit_test(renewal),
		cmocka_unit_test(every_sync_failing_once),
		cmocka_unit_test(planted_bugs_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
