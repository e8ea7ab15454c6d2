/* SPDX-License-Identifier: MIT */
/*
 * growth.c: requests that need more space, until the storage of the Repo has said how much it has. Invariant: none is worked on
 * before the storage was asked anew since it came, and nothing else waits for a storage that does not answer.
 *
 * As long as it answers promptly, whoever turns asks it, and all requests are taken in their order. Where that takes too long
 * the turn is taken from that thread and given to another one, and for a while only a thread asks that is not needed for
 * turning.
 */
#include "reservations/internal.h"

#include "util/thread.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool rfs_growth_is_locked(const struct rfs_request *request)
{
	return request->verb == RFS_RESIZE && request->size_bytes > request->contract->size_bytes;
}

bool rfs_growth_must_wait_locked(const struct rfs_reservations *r, const struct rfs_request *request)
{
	return rfs_growth_is_locked(request) && request->asked >= r->answered;
}

bool rfs_growth_is_slow_locked(const struct rfs_reservations *r)
{
	return r->slow_until_ns > 0 && r->threads >= RFS_WRITERS_MOST && rfs_now_ns() < r->slow_until_ns;
}

/* Those behind it are not to wait for a storage that does not answer; for one that does they do, and keep their order. */
bool rfs_growth_put_aside_locked(struct rfs_reservations *r, struct rfs_request *request)
{
	if (!r->measuring && !rfs_growth_is_slow_locked(r)) {
		r->must_ask = true;
		return false;
	}
	TAILQ_REMOVE(&r->queue, request, link);
	request->place = RFS_PLACE_GROWING;
	TAILQ_INSERT_TAIL(&r->growing, request, link);
	return true;
}

static bool must_ask_locked(const struct rfs_reservations *r)
{
	return (r->must_ask || !TAILQ_EMPTY(&r->growing)) && !r->measuring;
}

bool rfs_growth_can_turn_locked(const struct rfs_reservations *r)
{
	return must_ask_locked(r) && !rfs_growth_is_slow_locked(r);
}

bool rfs_growth_can_spare_locked(const struct rfs_reservations *r)
{
	return must_ask_locked(r) && rfs_growth_is_slow_locked(r) && !r->stopping;
}

/* Takes those out of `from` that waited for `question`, or one before it; of `all`, whatever they are. */
static void take_asked_locked(struct rfs_request_list *from, uint64_t question, bool all, struct rfs_request_list *ret_taken)
{
	struct rfs_request *request, *next;

	for (request = TAILQ_FIRST(from); request; request = next) {
		next = TAILQ_NEXT(request, link);
		if (request->asked >= question || (!all && !rfs_growth_is_locked(request)))
			continue;
		TAILQ_REMOVE(from, request, link);
		TAILQ_INSERT_TAIL(ret_taken, request, link);
	}
}

/* Those put aside came before all that are queued. */
static void put_back_locked(struct rfs_reservations *r)
{
	struct rfs_request *request;

	while ((request = TAILQ_LAST(&r->growing, rfs_request_list))) {
		TAILQ_REMOVE(&r->growing, request, link);
		request->place = RFS_PLACE_QUEUE;
		TAILQ_INSERT_HEAD(&r->queue, request, link);
	}
}

/* What came of `question`. Those that waited for it go on, or into `ret_failed`. */
static void note_answer_locked(struct rfs_reservations *r, uint64_t question, int error, struct rfs_request_list *ret_failed)
{
	struct rfs_request *request;

	if (error == 0) {
		r->answered = question;
		put_back_locked(r);
		return;
	}
	take_asked_locked(&r->growing, question, true, ret_failed);
	take_asked_locked(&r->queue, question, false, ret_failed);
	TAILQ_FOREACH(request, ret_failed, link)
		request->place = RFS_PLACE_NONE;
}

static void fail_all(struct rfs_reservations *r, struct rfs_request_list *failed, int error, const char *why)
{
	struct rfs_request *request;

	while ((request = TAILQ_FIRST(failed))) {
		TAILQ_REMOVE(failed, request, link);
		request->why = why;
		rfs_answer(r, request, error);
	}
}

/* Asks, and deals with those who wait for that. `in_turn`: by the thread whose turn it is; whether it still is. */
static bool ask_locked(struct rfs_reservations *r, bool in_turn)
{
	struct rfs_request_list failed = TAILQ_HEAD_INITIALIZER(failed);
	char why[128];
	uint64_t question = ++r->asked;
	int64_t since = r->since_ns = rfs_now_ns();
	bool kept = true;
	int rc;

	r->must_ask = false;
	r->measuring = true;
	pthread_mutex_unlock(&r->lock);
	if (in_turn)
		rfs_stall_begin(&r->stall);
	rc = rfs_repo_measure(r->repo);
	if (in_turn)
		kept = rfs_stall_end(&r->stall);
	pthread_mutex_lock(&r->lock);
	r->measuring = false;
	r->ask_error = rc;
	if (rfs_now_ns() - since > RFS_STALL_MS * RFS_NS_A_MS)
		r->slow_until_ns = rfs_now_ns() + RFS_SLOW_SECONDS * RFS_NS_A_SECOND;
	note_answer_locked(r, question, rc, &failed);
	if (!TAILQ_EMPTY(&failed)) {
		pthread_mutex_unlock(&r->lock);
		(void) snprintf(why, sizeof why, "the storage of the Repo cannot be asked for its free space: %s", strerror(-rc));
		fail_all(r, &failed, rc == -ENOMEM ? rc : -EIO, why);
		pthread_mutex_lock(&r->lock);
	}
	return kept;
}

bool rfs_growth_ask_in_turn_locked(struct rfs_reservations *r)
{
	return ask_locked(r, true);
}

void rfs_growth_ask_locked(struct rfs_reservations *r)
{
	(void) ask_locked(r, false);
}

static bool is_silent_locked(const struct rfs_reservations *r)
{
	return r->measuring && rfs_now_ns() - r->since_ns > RFS_SILENT_MS * RFS_NS_A_MS;
}

int rfs_reservations_refresh(struct rfs_reservations *r)
{
	RFS_LOCK(&r->lock);

	if (r->measuring)
		return is_silent_locked(r) ? -EINPROGRESS : r->ask_error;
	r->must_ask = true;
	pthread_cond_broadcast(&r->work);
	return r->ask_error;
}

static const char leaving[] = "the storage of the Repo does not answer, and the file system is being left";

bool rfs_reservations_refuse_stalled(struct rfs_reservations *r)
{
	struct rfs_request_list failed = TAILQ_HEAD_INITIALIZER(failed);

	{
		RFS_LOCK(&r->lock);
		if (!is_silent_locked(r))
			return false;
		note_answer_locked(r, UINT64_MAX, -ESHUTDOWN, &failed);
	}
	fail_all(r, &failed, -ESHUTDOWN, leaving);
	return true;
}

/* At the end: what still waits for the storage is not waited for. */
void rfs_growth_refuse(struct rfs_reservations *r)
{
	struct rfs_request_list failed = TAILQ_HEAD_INITIALIZER(failed);

	{
		RFS_LOCK(&r->lock);
		note_answer_locked(r, UINT64_MAX, -ESHUTDOWN, &failed);
	}
	fail_all(r, &failed, -ESHUTDOWN, leaving);
}

void rfs_growth_on_stall(void *reservations)
{
	struct rfs_reservations *r = reservations;

	RFS_LOCK(&r->lock);
	r->slow_until_ns = rfs_now_ns() + RFS_SLOW_SECONDS * RFS_NS_A_SECOND;
	r->turning = false;
	r->kept++;
	if (r->turned_by_writer)
		r->threads--;
	while (r->threads < RFS_WRITERS_MOST && rfs_writer_start_locked(r) == 0)
		;
	pthread_cond_broadcast(&r->work);
	pthread_cond_broadcast(&r->ended);
}
