/* SPDX-License-Identifier: MIT */
/*
 * writer.c: what changes things, by one thread at a time: the writer, or whoever submitted a request and leads. It takes
 * all that is queued, applies it in one Datastore transaction, commits once, publishes, and answers each. Invariant: a
 * request is answered with success only after the commit that holds its change has returned, and what was answered is
 * what `totals` and the contracts show.
 */
#include "reservations/internal.h"

#include "util/checked.h"
#include "util/thread.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* By how much tidying may be late, for the sake of not waking a thread up for it after each change. */
#define TIDY_LATE_MS 100

const double rfs_commit_bounds_seconds[RFS_COMMIT_BUCKETS] = {
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
};

/* What one turn of the writer works on. */
struct batch {
	struct rfs_item items[RFS_BATCH_ITEMS];
	size_t count;
};

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) (now.tv_sec - start->tv_sec) + (double) (now.tv_nsec - start->tv_nsec) / 1e9;
}

static void count_commit(struct rfs_reservations *r, double seconds)
{
	RFS_LOCK(&r->lock);
	r->commit_times.count++;
	r->commit_times.sum_seconds += seconds;
	for (size_t i = 0; i < RFS_COMMIT_BUCKETS; i++)
		r->commit_times.at_most[i] += seconds <= rfs_commit_bounds_seconds[i];
}

static void set_committing(struct rfs_reservations *r, bool committing)
{
	RFS_LOCK(&r->lock);
	r->committing = committing;
	if (!committing)
		pthread_cond_broadcast(&r->check.changed);
}

static int commit(struct rfs_reservations *r)
{
	struct timespec start;
	int rc;

	set_committing(r, true);
	clock_gettime(CLOCK_MONOTONIC, &start);
	rc = rfs_datastore_commit(r->ds);
	if (rc == 0)
		count_commit(r, seconds_since(&start));
	else
		set_committing(r, false);
	return rc;
}

/* After a failed commit: what is on disk must be what was answered, or nothing more is changed. */
static int check_sound(struct rfs_reservations *r)
{
	char expected[RFS_VALUE_MAX + 1];
	struct rfs_value value;
	int rc;

	if (!r->suspect)
		return 0;
	rc = rfs_datastore_txn_get(r->ds, RFS_KEY_TOTALS, &value);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	rfs_record_encode_totals(&r->stored_totals, expected);
	if (rc == -ENOENT || strcmp(value.data, expected) != 0) {
		rfs_why_say(&r->why, "the Datastore does not hold what was last stored; unmount and run fsck.reservefs");
		return -EIO;
	}
	r->suspect = false;
	return 0;
}

/* Shows one contract as drafted; the lock is held. One that was removed while its rows were being stored stays removed. */
static void publish_contract_locked(struct rfs_reservations *r, struct rfs_contract *c)
{
	bool created = c->draft.exists && !c->exists && !c->storing;

	rfs_check_note_gone_locked(r, c);
	c->size_bytes = c->draft.size_bytes;
	c->changed = c->draft.changed;
	c->stored = c->draft.stored;
	if (c->exists && c->draft.name)
		rfs_contract_rename_locked(c, TAKE_PTR(c->draft.name));
	if (c->exists && !c->draft.exists) {
		rfs_contract_hide_locked(c);
		r->totals.contracts--;
	}
	if (created) {
		rfs_contract_show_locked(c);
		r->totals.contracts++;
	}
	rfs_check_note_there_locked(r, c);
	c->draft.open = false;
}

/* Turns the committed drafts into the answered state, in one step for everybody who looks. */
static void publish(struct rfs_reservations *r)
{
	struct rfs_contract *c;
	uint64_t surplus = 0;

	TAILQ_FOREACH(c, &r->touched, touched)
		surplus = rfs_sum(surplus, rfs_difference(c->draft.held_bytes, c->draft.size_bytes));
	rfs_apply_release(r, surplus);

	RFS_LOCK(&r->lock);
	while ((c = TAILQ_FIRST(&r->touched))) {
		TAILQ_REMOVE(&r->touched, c, touched);
		publish_contract_locked(r, c);
	}
	r->stored_totals = r->draft_totals;
	r->totals.reserved_bytes = r->draft_totals.reserved_bytes;
	if (r->draft_totals.changed.seconds > r->totals.changed.seconds ||
	    (r->draft_totals.changed.seconds == r->totals.changed.seconds &&
	     r->draft_totals.changed.nanoseconds > r->totals.changed.nanoseconds))
		r->totals.changed = r->draft_totals.changed;
	r->granted_id = r->draft_totals.next_id;
	r->epoch++;
	r->committing = false;
	pthread_cond_broadcast(&r->check.changed);
}

/* Applies the items in one transaction. On failure nothing has changed, and no draft is left. */
static int attempt(struct rfs_reservations *r, struct rfs_item *items, size_t count, bool *ret_at_commit)
{
	int rc = rfs_datastore_begin(r->ds);

	*ret_at_commit = false;
	r->why.text[0] = '\0';
	if (rc < 0)
		return rc;
	{
		RFS_LOCK(&r->lock);
		r->draft_totals = r->stored_totals;
		r->draft_totals.changed = r->totals.changed;
	}
	r->dirty = false;
	rfs_apply_release(r, 0);
	rc = check_sound(r);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = rfs_apply_item(r, &items[i]);
	if (rc == 0 && r->dirty)
		rc = rfs_apply_totals(r);
	if (rc < 0 || !r->dirty) {
		rfs_datastore_rollback(r->ds);
	} else {
		rc = commit(r);
		*ret_at_commit = r->suspect = rc < 0;
	}
	if (rc == 0) {
		publish(r);
		return 0;
	}
	rfs_apply_undo(r);
	for (size_t i = 0; i < count; i++)
		if (items[i].kind == RFS_ITEM_REQUEST && items[i].request->created)
			rfs_contract_unref(TAKE_PTR(items[i].request->created));
	return rc;
}

/* Puts a contract whose rows could not be stored back in its place, in the order of ids. */
static void return_unstored_locked(struct rfs_reservations *r, struct rfs_contract *c)
{
	struct rfs_contract *later;

	TAILQ_FOREACH(later, &r->unstored, deferred)
		if (later->id > c->id)
			break;
	if (later)
		TAILQ_INSERT_BEFORE(later, c, deferred);
	else
		TAILQ_INSERT_TAIL(&r->unstored, c, deferred);
	c->waiting = true;
	r->deferred++;
}

static void note_answered(struct rfs_reservations *r, struct rfs_request *request, int error)
{
	struct rfs_contract *c = request->contract;

	RFS_LOCK(&r->lock);
	if (c)
		c->queued--;
	if (request->verb == RFS_RESIZE && error == 0) {
		request->watched = c->watched;
		c->watched = false;
	}
	if (request->verb == RFS_RENAME || request->verb == RFS_CREATE)
		r->structural--;
}

void rfs_answer(struct rfs_reservations *r, struct rfs_request *request, int error)
{
	note_answered(r, request, error);
	request->done(request, error);
}

static void settle_forget(struct rfs_reservations *r, struct rfs_contract *c, int error)
{
	RFS_LOCK(&r->lock);
	TAILQ_REMOVE(&r->removing, c, deferred);
	if (error < 0) {
		TAILQ_INSERT_HEAD(&r->removed, c, deferred);
		r->deferred++;
	} else {
		rfs_contract_unref_locked(c);
	}
}

/* The contract may have been removed while its rows were on their way. */
static void settle_store(struct rfs_reservations *r, struct rfs_contract *c, int error)
{
	RFS_LOCK(&r->lock);
	TAILQ_REMOVE(&r->storing, c, deferred);
	c->storing = false;
	if (!c->exists && c->stored) {
		TAILQ_INSERT_TAIL(&r->removed, c, deferred);
		rfs_defer_locked(r);
	} else if (c->exists && error < 0) {
		return_unstored_locked(r, c);
	} else {
		rfs_contract_unref_locked(c);
	}
}

/* What a failure of the Datastore is to those who asked for the change. */
static int change_error(int error)
{
	return error == -ENOMEM ? -ENOMEM : -EIO;
}

static void settle(struct rfs_reservations *r, struct rfs_item *items, size_t count, int error)
{
	if (error < 0) {
		if (r->why.text[0] == '\0')
			rfs_why_say(&r->why, rfs_datastore_explain(r->ds));
		error = change_error(error);
	}
	for (size_t i = 0; i < count; i++) {
		if (items[i].kind == RFS_ITEM_REQUEST) {
			struct rfs_request *request = items[i].request;
			if (error < 0)
				request->why = r->why.text;
			rfs_answer(r, request, error < 0 ? error : request->error);
			continue;
		}
		if (error < 0)
			r->deferred_error = error;
		if (items[i].kind == RFS_ITEM_FORGET)
			settle_forget(r, items[i].contract, error);
		else
			settle_store(r, items[i].contract, error);
	}
}

/* Does a whole batch. Where the Datastore refuses some of it, each item gets a transaction of its own, so that only
 * those fail that have to; a commit that failed is not tried again. */
static void run(struct rfs_reservations *r, struct batch *batch)
{
	bool at_commit;
	int rc;

	r->deferred_error = 0;
	rc = attempt(r, batch->items, batch->count, &at_commit);
	if (rc == 0 || at_commit || batch->count == 1) {
		settle(r, batch->items, batch->count, rc);
		return;
	}
	for (size_t i = 0; i < batch->count; i++)
		settle(r, &batch->items[i], 1, attempt(r, &batch->items[i], 1, &at_commit));
}

/* Deferred changes that cannot be stored are tried again with every batch, and every second. */
static void note_deferred_locked(struct rfs_reservations *r)
{
	r->store_failing = r->deferred_error < 0;
	if (!r->store_failing)
		return;
	clock_gettime(CLOCK_MONOTONIC, &r->deferred_until);
	r->deferred_until.tv_sec++;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static struct timespec after(struct timespec then, unsigned int ms)
{
	then.tv_sec += ms / 1000;
	then.tv_nsec += ms % 1000 * 1000000L;
	if (then.tv_nsec >= 1000000000L) {
		then.tv_nsec -= 1000000000L;
		then.tv_sec++;
	}
	return then;
}

/* When the Datastore asked to be tidied again. */
void rfs_writer_tidy_after_locked(struct rfs_reservations *r, unsigned int ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	r->must_tidy = ms > 0;
	r->tidy_at = after(now, ms);
}

static bool tidy_is_due_locked(const struct rfs_reservations *r)
{
	struct timespec now;

	if (!r->must_tidy)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return !is_before(&now, &r->tidy_at);
}

/* Whether nobody who sleeps will wake up for what was deferred, or for tidying, when it is due. */
bool rfs_writer_oversleeps_locked(const struct rfs_reservations *r)
{
	struct timespec tidy_late = after(r->tidy_at, TIDY_LATE_MS);

	return (r->deferred > 0 && (!r->has_alarm || is_before(&r->deferred_until, &r->alarm))) ||
	       (r->must_tidy && (!r->has_alarm || is_before(&tidy_late, &r->alarm)));
}

static bool deferred_is_due_locked(const struct rfs_reservations *r)
{
	struct timespec now;

	if (r->deferred == 0)
		return false;
	if (r->stopping || (r->deferred >= RFS_DEFERRED_SOON && !r->store_failing))
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return !is_before(&now, &r->deferred_until);
}

/* What there is to do for a thread that does not write. */
enum work { WORK_NONE, WORK_TURN, WORK_ASK };

static enum work find_work_locked(const struct rfs_reservations *r)
{
	if (!r->turning && (r->stopping || !TAILQ_EMPTY(&r->queue) || rfs_growth_can_turn_locked(r) || deferred_is_due_locked(r) ||
			    tidy_is_due_locked(r)))
		return WORK_TURN;
	return rfs_growth_can_spare_locked(r) ? WORK_ASK : WORK_NONE;
}

/* Until when there is nothing to do, unless somebody comes. */
static bool find_alarm_locked(const struct rfs_reservations *r, struct timespec *ret_alarm)
{
	*ret_alarm = r->must_tidy && (r->deferred == 0 || is_before(&r->tidy_at, &r->deferred_until)) ? r->tidy_at
												      : r->deferred_until;
	return r->must_tidy || r->deferred > 0;
}

/* With an alarm set no writer need be told of each deferred change: where those that it waits for were stored meanwhile,
 * it finds that out by itself, and waits on. */
static enum work wait_for_work_locked(struct rfs_reservations *r)
{
	struct timespec alarm;
	enum work work;

	while ((work = find_work_locked(r)) == WORK_NONE) {
		if (r->turning || !find_alarm_locked(r, &alarm) || (r->has_alarm && !is_before(&alarm, &r->alarm))) {
			pthread_cond_wait(&r->work, &r->lock);
			continue;
		}
		r->has_alarm = true;
		r->alarm = alarm;
		pthread_cond_timedwait(&r->work, &r->lock, &r->alarm);
		r->has_alarm = false;
	}
	return work;
}

static void take_deferred_locked(struct rfs_reservations *r, struct batch *batch)
{
	/* What keeps failing must not keep requests waiting. */
	size_t most = r->store_failing ? RFS_BATCH_ITEMS / 2 : RFS_BATCH_ITEMS;
	struct rfs_contract *c;

	while (batch->count < most && (c = TAILQ_FIRST(&r->removed))) {
		TAILQ_REMOVE(&r->removed, c, deferred);
		TAILQ_INSERT_TAIL(&r->removing, c, deferred);
		batch->items[batch->count++] = (struct rfs_item) { .kind = RFS_ITEM_FORGET, .contract = c };
		r->deferred--;
	}
	while (batch->count < most && (c = TAILQ_FIRST(&r->unstored))) {
		TAILQ_REMOVE(&r->unstored, c, deferred);
		c->waiting = false;
		r->deferred--;
		if (!c->exists || c->stored) {
			/* Where storing it failed before, a request for it has done it, or removed it. */
			rfs_contract_unref_locked(c);
			continue;
		}
		TAILQ_INSERT_TAIL(&r->storing, c, deferred);
		c->storing = true;
		batch->items[batch->count++] = (struct rfs_item) { .kind = RFS_ITEM_STORE, .contract = c };
	}
}

/* All that was deferred comes before the first request, so that a durable change makes it durable too. */
static void collect_locked(struct rfs_reservations *r, struct batch *batch)
{
	struct rfs_request *request;

	batch->count = 0;
	take_deferred_locked(r, batch);
	if (r->deferred > 0 && !r->store_failing)
		return;
	while (batch->count < RFS_BATCH_ITEMS && (request = TAILQ_FIRST(&r->queue))) {
		if (rfs_growth_must_wait_locked(r, request)) {
			if (!rfs_growth_put_aside_locked(r, request))
				return; /* it is this one's turn once the storage was asked again */
			continue;
		}
		TAILQ_REMOVE(&r->queue, request, link);
		request->place = RFS_PLACE_NONE;
		batch->items[batch->count++] = (struct rfs_item) { .kind = RFS_ITEM_REQUEST, .request = request };
	}
}

/* The last record of all: the ids that were granted and not given away are taken back and, where all is as it should be, the end was
 * a clean one. */
static int put_end(struct rfs_reservations *r, bool is_clean)
{
	char text[RFS_VALUE_MAX + 1], identity[RFS_IDENTITY_MAX + 1];
	int rc;

	rfs_record_encode_totals(&r->stored_totals, text);
	rc = rfs_datastore_txn_put(r->ds, RFS_KEY_TOTALS, text);
	if (rc < 0 || !is_clean)
		return rc;
	rfs_datastore_identity(r->ds, identity);
	rfs_record_encode_clean(r->stored_totals.commits, identity, text);
	return rfs_datastore_txn_put(r->ds, RFS_KEY_CLEAN, text);
}

/* All threads have ended but those that the storage keeps. That it fails loses nothing but ids, and the next start checks all. */
static void store_end(struct rfs_reservations *r)
{
	if (r->suspect || rfs_datastore_begin(r->ds) < 0)
		return;
	r->stored_totals.next_id = r->next_id;
	r->stored_totals.commits++;
	if (put_end(r, !r->store_failing && rfs_check_vouches(r)) == 0)
		(void) rfs_datastore_commit(r->ds);
	else
		rfs_datastore_rollback(r->ds);
}

enum turn {
	TURN_DONE,
	TURN_NOTHING, /* there was nothing to do */
	TURN_LOST,    /* it took too long to ask the storage, and another thread may have it */
};

/* One turn of writing, which `turning` keeps for one thread at a time. The lock is let go meanwhile. */
static enum turn turn_locked(struct rfs_reservations *r)
{
	struct batch batch;

	if (rfs_growth_can_turn_locked(r) && !rfs_growth_ask_in_turn_locked(r))
		return TURN_LOST;
	collect_locked(r, &batch);
	if (batch.count == 0 && !tidy_is_due_locked(r))
		return rfs_growth_can_turn_locked(r) ? TURN_DONE : TURN_NOTHING;
	pthread_mutex_unlock(&r->lock);
	if (batch.count > 0)
		run(r, &batch);
	unsigned int tidy_after_ms = rfs_datastore_tidy(r->ds);
	pthread_mutex_lock(&r->lock);
	rfs_writer_tidy_after_locked(r, tidy_after_ms);
	if (batch.count > 0)
		note_deferred_locked(r);
	r->turns++;
	if (r->stopping)
		pthread_cond_broadcast(&r->ended);
	return TURN_DONE;
}

/* The calling thread is kept by the storage no longer. Whether that lets everything be freed: it was closed meanwhile, and waits
 * for nobody else. */
bool rfs_writer_come_back_locked(struct rfs_reservations *r)
{
	r->kept--;
	pthread_cond_broadcast(&r->ended);
	return r->closed && r->kept == 0;
}

static void wake_if_needed_locked(struct rfs_reservations *r)
{
	if (r->stopping || !TAILQ_EMPTY(&r->queue) || !TAILQ_EMPTY(&r->growing) || deferred_is_due_locked(r) ||
	    rfs_writer_oversleeps_locked(r))
		pthread_cond_broadcast(&r->work);
}

/* The caller has set `turning`, and comes without the lock. */
void rfs_writer_lead(struct rfs_reservations *r)
{
	enum turn turn = TURN_DONE;
	bool free_all = false;

	{
		RFS_LOCK(&r->lock);
		r->turned_by_writer = false;
		while (turn == TURN_DONE && (!TAILQ_EMPTY(&r->queue) || rfs_growth_can_turn_locked(r)))
			turn = turn_locked(r);
		if (turn == TURN_LOST)
			free_all = rfs_writer_come_back_locked(r);
		else
			r->turning = false;
		wake_if_needed_locked(r);
	}
	if (free_all)
		rfs_reservations_free(r);
}

/* What becomes of a writer after some work. */
enum next {
	NEXT_GO_ON,
	NEXT_END,
	NEXT_LEAVE, /* it was replaced while the storage kept it */
	NEXT_FREE,  /* and everything was closed */
};

static enum next come_back_locked(struct rfs_reservations *r)
{
	if (rfs_writer_come_back_locked(r))
		return NEXT_FREE;
	if (r->closed || r->finishing || r->threads >= RFS_WRITERS_MOST)
		return NEXT_LEAVE;
	r->threads++;
	return NEXT_GO_ON;
}

static enum next take_turn_locked(struct rfs_reservations *r)
{
	enum turn turn;

	r->turning = r->turned_by_writer = true;
	turn = turn_locked(r);
	if (turn == TURN_LOST)
		return come_back_locked(r);
	r->turning = false;
	if (turn == TURN_NOTHING)
		return r->stopping ? NEXT_END : NEXT_GO_ON;
	return r->stopping && r->store_failing && TAILQ_EMPTY(&r->queue) ? NEXT_END : NEXT_GO_ON;
}

static enum next ask_locked(struct rfs_reservations *r)
{
	r->threads--;
	r->kept++;
	rfs_growth_ask_locked(r);
	return come_back_locked(r);
}

void rfs_writer_finish(struct rfs_reservations *r)
{
	if (!r->ds)
		return;
	store_end(r);
	rfs_datastore_close(r->ds);
	r->ds = NULL;
}

/* All other writers have ended but those that the storage keeps. The Datastore's disk may hang here as well: so it is a writer
 * that is waited for, and not whoever closes. */
static void finish_if_last_locked(struct rfs_reservations *r)
{
	while (r->threads == 1 && r->check.running)
		pthread_cond_wait(&r->ended, &r->lock);
	if (r->threads > 1)
		return;
	r->finishing = true;
	pthread_mutex_unlock(&r->lock);
	rfs_writer_finish(r);
	pthread_mutex_lock(&r->lock);
}

static void *writer_main(void *reservations)
{
	struct rfs_reservations *r = reservations;
	enum next next = NEXT_GO_ON;

	{
		RFS_LOCK(&r->lock);
		while (next == NEXT_GO_ON)
			next = wait_for_work_locked(r) == WORK_TURN ? take_turn_locked(r) : ask_locked(r);
		if (next == NEXT_END) {
			finish_if_last_locked(r);
			r->threads--;
			rfs_crew_end(&r->crew);
		} else {
			rfs_crew_leave(&r->crew);
		}
		wake_if_needed_locked(r);
		pthread_cond_broadcast(&r->ended);
	}
	if (next == NEXT_FREE)
		rfs_reservations_free(r);
	return NULL;
}

int rfs_writer_start_locked(struct rfs_reservations *r)
{
	int rc = rfs_crew_start(&r->crew, writer_main, r);

	r->threads += rc == 0;
	return rc;
}
