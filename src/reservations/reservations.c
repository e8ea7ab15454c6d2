/* SPDX-License-Identifier: MIT */
/*
 * reservations.c: opening and closing, finding contracts, and taking requests in. Invariant: `totals.reserved_bytes` is the
 * sum of the sizes of all contracts as answered, and `totals.contracts` their number.
 */
#include "reservations/internal.h"

#include "util/thread.h"
#include "util/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct rfs_time rfs_time_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (struct rfs_time) { .seconds = now.tv_sec, .nanoseconds = (int32_t) now.tv_nsec };
}

int rfs_name_check(const char *name)
{
	size_t length = strnlen(name, RFS_NAME_MAX + 1);

	if (length > RFS_NAME_MAX)
		return -ENAMETOOLONG;
	if (length == 0 || name[0] == '.' || strchr(name, '/') || !rfs_utf8_is_printable(name, length))
		return -EINVAL;
	return 0;
}

/* Whether the state is the one that was left by a clean end, in the same file. */
static bool was_ended_cleanly(struct rfs_reservations *r)
{
	char identity[RFS_IDENTITY_MAX + 1], expected[RFS_VALUE_MAX + 1];
	struct rfs_value value;

	rfs_datastore_identity(r->ds, identity);
	rfs_record_encode_clean(r->stored_totals.commits, identity, expected);
	return rfs_datastore_get(r->ds, RFS_KEY_CLEAN, &value) == 0 && strcmp(value.data, expected) == 0;
}

static int put_first_totals(struct rfs_reservations *r)
{
	char text[RFS_VALUE_MAX + 1];
	int rc;

	rfs_record_encode_totals(&r->stored_totals, text);
	rc = rfs_datastore_txn_put(r->ds, RFS_KEY_TOTALS, text);
	return rc < 0 ? rc : rfs_datastore_txn_delete(r->ds, RFS_KEY_CLEAN);
}

/* From here on the state is not that of a clean end any more; that must not be left to the WAL alone, or a copy of the main
 * file could pass for it. */
static int store_first_totals(struct rfs_reservations *r)
{
	int rc = rfs_datastore_begin(r->ds);

	if (rc < 0)
		return rc;
	rc = put_first_totals(r);
	if (rc < 0) {
		rfs_datastore_rollback(r->ds);
		return rc;
	}
	rc = rfs_datastore_commit(r->ds);
	if (rc == 0)
		(void) rfs_datastore_settle(r->ds);
	return rc;
}

/* Reads the totals, or writes the first ones into a Datastore that is empty, and grants the first ids. */
static int load_totals(struct rfs_reservations *r, char *ret_message, size_t message_size)
{
	struct rfs_totals_record *totals = &r->stored_totals;
	struct rfs_value value;
	int rc = rfs_datastore_get(r->ds, RFS_KEY_TOTALS, &value);
	bool is_new = rc == -ENOENT;

	if (is_new) {
		*totals = (struct rfs_totals_record) {
			.next_id = RFS_CONTRACT_ID_FIRST,
			.changed = rfs_time_now(),
		};
		rc = 0;
	} else if (rc == 0) {
		rc = rfs_record_decode_totals(value.data, totals);
	}
	if (rc == -EBADMSG) {
		(void) snprintf(ret_message, message_size,
				"the record \"" RFS_KEY_TOTALS "\" in the Datastore is damaged; run fsck.reservefs on the Repo");
		return rc;
	}
	if (rc < 0) {
		(void) snprintf(ret_message, message_size, "cannot read the Datastore: %s", rfs_datastore_explain(r->ds));
		return rc;
	}
	r->check.needed = !is_new && !was_ended_cleanly(r);
	r->next_id = totals->next_id;
	r->totals = (struct rfs_totals) {
		.reserved_bytes = totals->reserved_bytes,
		.contracts = totals->contracts,
		.changed = totals->changed,
	};
	totals->next_id = totals->next_id + RFS_ID_GRANT < RFS_CONTRACT_ID_END ? totals->next_id + RFS_ID_GRANT
									       : RFS_CONTRACT_ID_END;
	totals->commits++;
	rc = store_first_totals(r);
	if (rc < 0) {
		(void) snprintf(ret_message, message_size, "cannot write to the Datastore: %s", rfs_datastore_explain(r->ds));
		return rc;
	}
	r->granted_id = totals->next_id;
	return 0;
}

/* An empty Datastore has no contracts; one with contracts and no totals has lost a record. */
static int first_row(void *user, const char *key, const char *value)
{
	(void) key;
	(void) value;
	*(bool *) user = true;
	return 1;
}

static int check_not_headless(struct rfs_reservations *r, char *ret_message, size_t message_size)
{
	struct rfs_value value;
	bool any = false;
	int rc = rfs_datastore_get(r->ds, RFS_KEY_TOTALS, &value);

	if (rc != -ENOENT)
		return 0;
	rc = rfs_datastore_scan(r->ds, "", "", first_row, &any);
	if (rc < 0)
		(void) snprintf(ret_message, message_size, "cannot read the Datastore: %s", rfs_datastore_explain(r->ds));
	if (rc < 0 || !any)
		return rc;
	(void) snprintf(ret_message, message_size,
			"the record \"" RFS_KEY_TOTALS "\" is missing from the Datastore; run fsck.reservefs on the Repo");
	return -EBADMSG;
}

void rfs_why_say(struct rfs_why *why, const char *line)
{
	(void) snprintf(why->text, sizeof why->text, "%s", line);
}

static int start_writer(struct rfs_reservations *r)
{
	int rc = rfs_stall_init(&r->stall, rfs_growth_on_stall, r);

	if (rc < 0)
		return rc;
	{
		RFS_LOCK(&r->lock);
		rc = rfs_writer_start_locked(r);
	}
	if (rc < 0)
		rfs_stall_done(&r->stall);
	return rc;
}

int rfs_reservations_open(struct rfs_datastore *ds, struct rfs_repo *repo, char *ret_message, size_t message_size,
			  struct rfs_reservations **ret_r)
{
	_cleanup_free_ struct rfs_reservations *r = calloc(1, sizeof *r);
	int rc;

	if (!r) {
		(void) snprintf(ret_message, message_size, "out of memory");
		return -ENOMEM;
	}
	r->ds = ds;
	r->repo = repo;
	TAILQ_INIT(&r->queue);
	TAILQ_INIT(&r->growing);
	TAILQ_INIT(&r->unstored);
	TAILQ_INIT(&r->storing);
	TAILQ_INIT(&r->removed);
	TAILQ_INIT(&r->removing);
	TAILQ_INIT(&r->touched);
	rc = check_not_headless(r, ret_message, message_size);
	if (rc == 0)
		rc = load_totals(r, ret_message, message_size);
	if (rc < 0)
		return rc;
	if (rfs_contracts_init(r) < 0) {
		(void) snprintf(ret_message, message_size, "out of memory");
		return -ENOMEM;
	}
	rfs_repo_adopt(repo, r->totals.reserved_bytes);

	pthread_mutex_init(&r->lock, NULL);
	(void) rfs_cond_init(&r->work);
	(void) rfs_cond_init(&r->ended);
	(void) rfs_cond_init(&r->check.changed);
	rfs_writer_tidy_after_locked(r, RFS_FIRST_TIDY_MS);
	rc = start_writer(r);
	if (rc < 0) {
		(void) snprintf(ret_message, message_size, "cannot start a thread: %s", strerror(-rc));
		rfs_contracts_done(r);
		pthread_cond_destroy(&r->check.changed);
		pthread_cond_destroy(&r->ended);
		pthread_cond_destroy(&r->work);
		pthread_mutex_destroy(&r->lock);
		return rc;
	}
	*ret_r = TAKE_PTR(r);
	return 0;
}

void rfs_reservations_free(struct rfs_reservations *r)
{
	rfs_contracts_done(r);
	rfs_repo_close(r->repo);
	pthread_cond_destroy(&r->check.changed);
	pthread_cond_destroy(&r->ended);
	pthread_cond_destroy(&r->work);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* Waits for the writers, as long as the Datastore lets something be stored now and then. Whether they have ended. */
static bool wait_for_writers_locked(struct rfs_reservations *r)
{
	while (r->threads > 0 || r->check.running) {
		uint64_t before = r->turns;
		int64_t until = rfs_now_ns() + RFS_CLOSE_PATIENCE_SECONDS * RFS_NS_A_SECOND;

		while ((r->threads > 0 || r->check.running) && r->turns == before)
			if (!rfs_cond_wait_until(&r->ended, &r->lock, until))
				return r->threads == 0 && !r->check.running;
	}
	return true;
}

/* Whether nobody is kept by the storage any more; who asks a storage that does answer is waited for. */
static bool wait_for_askers_locked(struct rfs_reservations *r)
{
	int64_t until = rfs_now_ns() + RFS_SILENT_MS * RFS_NS_A_MS;

	while (r->kept > 0 && rfs_cond_wait_until(&r->ended, &r->lock, until))
		;
	return r->kept == 0;
}

static bool stop_writers(struct rfs_reservations *r)
{
	RFS_LOCK(&r->lock);
	r->stopping = true;
	pthread_cond_broadcast(&r->work);
	pthread_cond_broadcast(&r->check.changed);
	return wait_for_writers_locked(r);
}

int rfs_reservations_close(struct rfs_reservations *r)
{
	bool free_all;
	int rc;

	if (!r)
		return 0;
	if (!stop_writers(r))
		return -ETIMEDOUT;
	rfs_crew_join(&r->crew, &r->lock);
	rfs_stall_done(&r->stall);
	rfs_growth_refuse(r);
	rfs_writer_finish(r); /* where no thread was to be had that could have done it */
	rc = TAILQ_EMPTY(&r->unstored) && TAILQ_EMPTY(&r->removed) ? 0 : -EIO;
	{
		RFS_LOCK(&r->lock);
		free_all = wait_for_askers_locked(r);
		r->closed = true;
	}
	if (free_all)
		rfs_reservations_free(r);
	return rc;
}

int rfs_peek_locked(struct rfs_reservations *r, const char *name, struct rfs_contract **ret_contract)
{
	struct rfs_contract *c;

	HASH_FIND(by_name, r->live, name, strlen(name), c);
	if (!c || !c->exists) /* the anchor does not */
		return rfs_absent_has(r, name) ? -ENOENT : -EAGAIN;
	c->refs++;
	*ret_contract = c;
	return 0;
}

static int peek_id_locked(struct rfs_reservations *r, uint64_t id, struct rfs_contract **ret_contract)
{
	struct rfs_contract *c;

	HASH_FIND(by_id, r->ids, &id, sizeof id, c);
	if (!c)
		return id >= RFS_CONTRACT_ID_FIRST && id < r->next_id ? -EAGAIN : -ENOENT;
	if (!c->exists)
		return -ENOENT;
	c->refs++;
	*ret_contract = c;
	return 0;
}

void rfs_reservations_unpin_id(struct rfs_reservations *r, uint64_t id, uint64_t count)
{
	struct rfs_contract *c;

	RFS_LOCK(&r->lock);
	HASH_FIND(by_id, r->ids, &id, sizeof id, c);
	if (c)
		rfs_contract_unpin_locked(c, count);
}

int rfs_reservations_peek_id(struct rfs_reservations *r, uint64_t id, struct rfs_contract **ret_contract)
{
	RFS_LOCK(&r->lock);
	return peek_id_locked(r, id, ret_contract);
}

/* rfs_datastore_get or rfs_datastore_get_now */
typedef int (*get_fn)(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value);

static int read_record(struct rfs_reservations *r, get_fn get, const char *name, struct rfs_contract_record *ret_record)
{
	char key[RFS_KEY_MAX + 1];
	struct rfs_value value;
	int rc;

	rfs_record_contract_key(name, key);
	rc = get(r->ds, key, &value);
	return rc < 0 ? rc : rfs_record_decode_contract(value.data, ret_record);
}

/* Enters what was read from the Datastore; the lock is held, nothing was published since the reading, and memory has no
 * contract of that name. So a row whose contract is in memory is ahead of an answer, or behind one: it was renamed, created or
 * removed, and the name is free as far as anybody was told. */
static int enter_locked(struct rfs_reservations *r, const char *name, const struct rfs_contract_record *record,
			struct rfs_contract **ret_contract)
{
	struct rfs_contract *c;
	int rc;

	HASH_FIND(by_id, r->ids, &record->id, sizeof record->id, c);
	if (c)
		return -ENOENT;
	if (record->id >= r->next_id || record->size_bytes > r->totals.reserved_bytes)
		return -EBADMSG;
	rc = rfs_contract_new(r, record->id, name, &c);
	if (rc < 0)
		return rc;
	c->size_bytes = record->size_bytes;
	c->changed = record->changed;
	c->stored = true;
	rfs_contract_announce_locked(c);
	rfs_contract_show_locked(c);
	*ret_contract = c;
	return 0;
}

/* One try to find `name`: -ESTALE where a publication overtook the reading. */
static int lookup_once(struct rfs_reservations *r, get_fn get, const char *name, struct rfs_contract **ret_contract)
{
	struct rfs_contract_record record;
	uint64_t epoch;
	int rc, read_rc;

	{
		RFS_LOCK(&r->lock);
		epoch = r->epoch;
		rc = rfs_peek_locked(r, name, ret_contract);
	}
	if (rc != -EAGAIN)
		return rc;
	read_rc = read_record(r, get, name, &record);
	RFS_LOCK(&r->lock);
	rc = rfs_peek_locked(r, name, ret_contract);
	if (rc != -EAGAIN)
		return rc;
	if (epoch != r->epoch)
		return -ESTALE;
	rc = read_rc < 0 ? read_rc : enter_locked(r, name, &record, ret_contract);
	if (rc == -ENOENT)
		rfs_absent_add(r, name);
	return rc;
}

static int lookup(struct rfs_reservations *r, get_fn get, const char *name, struct rfs_contract **ret_contract)
{
	int rc = rfs_name_check(name);

	if (rc < 0)
		return rc == -ENAMETOOLONG ? rc : -ENOENT;
	do
		rc = lookup_once(r, get, name, ret_contract);
	while (rc == -ESTALE);
	return rc;
}

int rfs_reservations_lookup(struct rfs_reservations *r, const char *name, struct rfs_contract **ret_contract)
{
	return lookup(r, rfs_datastore_get, name, ret_contract);
}

int rfs_reservations_peek(struct rfs_reservations *r, const char *name, struct rfs_contract **ret_contract)
{
	return lookup(r, rfs_datastore_get_now, name, ret_contract);
}

int rfs_reservations_lookup_id(struct rfs_reservations *r, uint64_t id, struct rfs_contract **ret_contract)
{
	char key[RFS_KEY_MAX + 1];
	struct rfs_contract *c;
	struct rfs_value name;
	int rc;

	rfs_record_id_key(id, key);
	for (;;) {
		rc = rfs_reservations_peek_id(r, id, ret_contract);
		if (rc != -EAGAIN)
			return rc;
		rc = rfs_datastore_get(r->ds, key, &name);
		if (rc < 0)
			return rc;
		if (rfs_name_check(name.data) < 0)
			return -EBADMSG;
		rc = rfs_reservations_lookup(r, name.data, &c);
		if (rc < 0 && rc != -ENOENT)
			return rc;
		if (rc == 0 && c->id == id) {
			*ret_contract = c;
			return 0;
		}
		if (rc == 0)
			rfs_contract_unref(c);
		/* Renamed or removed between the two readings, or the index row leads nowhere. */
		struct rfs_value again;
		rc = rfs_datastore_get(r->ds, key, &again);
		if (rc == 0 && strcmp(name.data, again.data) == 0)
			return rfs_reservations_peek_id(r, id, ret_contract) == 0 ? 0 : -EBADMSG;
	}
}

/* A change was made in memory that must be stored soon. Whoever turns sees to that at the end. */
void rfs_defer_locked(struct rfs_reservations *r)
{
	if (r->deferred++ == 0) {
		clock_gettime(CLOCK_MONOTONIC, &r->deferred_until);
		r->deferred_until.tv_nsec += RFS_DEFERRED_MS * 1000000L;
		if (r->deferred_until.tv_nsec >= 1000000000L) {
			r->deferred_until.tv_nsec -= 1000000000L;
			r->deferred_until.tv_sec++;
		}
	}
	if (!r->turning && (r->deferred == RFS_DEFERRED_SOON || rfs_writer_oversleeps_locked(r)))
		pthread_cond_broadcast(&r->work);
}

static void enqueue_locked(struct rfs_reservations *r, struct rfs_request *request)
{
	if (request->contract)
		request->contract->queued++;
	if (request->verb == RFS_RENAME || request->verb == RFS_CREATE)
		r->structural++;
	request->asked = r->asked;
	r->must_ask |= rfs_growth_is_locked(request);
	request->place = RFS_PLACE_QUEUE;
	TAILQ_INSERT_TAIL(&r->queue, request, link);
}

/* Creates in memory, if the name is known to be free; -EAGAIN: the writer has to. */
static int create_now(struct rfs_reservations *r, struct rfs_request *request)
{
	struct rfs_contract *c;
	int rc;

	RFS_LOCK(&r->lock);
	if (r->stopping)
		return -ESHUTDOWN;
	rc = rfs_peek_locked(r, request->new_name, &c);
	if (rc == 0) {
		rfs_contract_unref_locked(c);
		return -EEXIST;
	}
	if (rc == -EAGAIN)
		return rc;
	if (r->structural > 0 || r->store_failing || r->next_id >= r->granted_id || r->deferred >= RFS_DEFERRED_MOST)
		return -EAGAIN;
	rc = rfs_contract_new(r, r->next_id, request->new_name, &c);
	if (rc < 0)
		return rc;
	r->next_id++;
	c->changed = rfs_time_now();
	c->refs++; /* the list's, beside the caller's */
	rfs_contract_announce_locked(c);
	rfs_contract_show_locked(c);
	TAILQ_INSERT_TAIL(&r->unstored, c, deferred);
	c->waiting = true;
	rfs_defer_locked(r);
	r->totals.contracts++;
	r->totals.changed = c->changed;
	request->created = c;
	return 0;
}

static bool is_stopping(struct rfs_reservations *r)
{
	RFS_LOCK(&r->lock);
	return r->stopping;
}

/* The name is looked up first, whose answer create_now finds in memory; the few that were pushed out there in between
 * are for the writer. */
static int try_create(struct rfs_reservations *r, struct rfs_request *request)
{
	struct rfs_contract *c;
	int rc = rfs_name_check(request->new_name);

	if (rc == 0 && is_stopping(r))
		rc = -ESHUTDOWN;
	if (rc == 0 && !request->from_memory) {
		rc = rfs_reservations_lookup(r, request->new_name, &c);
		if (rc == 0)
			rfs_contract_unref(c);
		if (rc == 0 || rc == -EBADMSG)
			return -EEXIST; /* a contract whose record is damaged is still a contract */
		if (rc == -ENOENT)
			rc = 0;
	}
	return rc < 0 ? rc : create_now(r, request);
}

/* Removes in memory a contract that holds nothing and that no request is on its way for; -EAGAIN: the writer has to. */
static int try_remove_locked(struct rfs_reservations *r, struct rfs_contract *c)
{
	if (!c->exists)
		return -ENODEV;
	if (c->size_bytes > 0 || c->queued > 0 || r->store_failing || r->totals.contracts == 0)
		return -EAGAIN;
	rfs_contract_hide_locked(c);
	r->totals.contracts--;
	r->totals.changed = rfs_time_now();
	if (c->storing)
		return 0; /* the writer finds out when it has stored it */
	if (c->waiting) {
		TAILQ_REMOVE(&r->unstored, c, deferred);
		c->waiting = false;
		r->deferred--;
		c->refs--; /* the list's; the caller has one too */
	}
	if (c->stored) {
		c->refs++;
		TAILQ_INSERT_TAIL(&r->removed, c, deferred);
		rfs_defer_locked(r);
	}
	return 0;
}

/* Answers at once what needs no disk; -EAGAIN: it is for the writer. */
static int try_now_locked(struct rfs_reservations *r, struct rfs_request *request)
{
	struct rfs_contract *c = request->contract;

	if (r->stopping)
		return -ESHUTDOWN;
	switch (request->verb) {
	case RFS_RESIZE:
		if (!c->exists)
			return -ENODEV;
		if (c->queued > 0 || c->size_bytes != request->size_bytes)
			return -EAGAIN;
		request->old_size_bytes = request->wanted_bytes = c->size_bytes;
		return 0;
	case RFS_REMOVE:
		return try_remove_locked(r, c);
	case RFS_RENAME:
		return c->exists ? -EAGAIN : -ENODEV;
	case RFS_SYNC:
		return TAILQ_EMPTY(&r->unstored) && TAILQ_EMPTY(&r->removed) && TAILQ_EMPTY(&r->storing) &&
				       TAILQ_EMPTY(&r->removing)
			       ? 0
			       : -EAGAIN;
	case RFS_CREATE:
		break;
	}
	return -EAGAIN;
}

enum next_step { ANSWER, WAKE, LEAD, NOTHING };

/* Decides at once, or queues. */
static enum next_step decide(struct rfs_reservations *r, struct rfs_request *request, bool may_lead, int *ret_error)
{
	int rc;

	RFS_LOCK(&r->lock);
	rc = try_now_locked(r, request);
	if (rc != -EAGAIN) {
		*ret_error = rc;
		return ANSWER;
	}
	enqueue_locked(r, request);
	if (rfs_growth_can_spare_locked(r))
		return WAKE; /* one who can be spared asks the storage */
	if (r->turning)
		return NOTHING; /* who turns looks at the queue again */
	if (!may_lead)
		return WAKE;
	r->turning = true;
	return LEAD;
}

void rfs_reservations_submit_and_lead(struct rfs_reservations *r, struct rfs_request *request, void (*before)(void *user),
				      void *user)
{
	enum next_step next = ANSWER;
	int rc = 0;

	if (request->verb == RFS_RENAME)
		rc = rfs_name_check(request->new_name);
	else if (request->verb == RFS_CREATE)
		rc = try_create(r, request);
	if (rc == -EAGAIN || (rc == 0 && request->verb != RFS_CREATE))
		next = decide(r, request, before != NULL, &rc);
	switch (next) {
	case ANSWER:
		request->done(request, rc);
		break;
	case WAKE:
		/* Without the lock, which the writer would only wake up to wait for. */
		pthread_cond_broadcast(&r->work);
		break;
	case LEAD:
		before(user);
		rfs_writer_lead(r);
		break;
	case NOTHING:
		break;
	}
}

void rfs_reservations_submit(struct rfs_reservations *r, struct rfs_request *request)
{
	rfs_reservations_submit_and_lead(r, request, NULL, NULL);
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t answered;
	bool done;
	int error;
	struct rfs_why *why;
};

static void wake(struct rfs_request *request, int error)
{
	struct waiter *w = request->user;

	RFS_LOCK(&w->lock);
	w->error = error;
	if (w->why)
		rfs_why_say(w->why, request->why ? request->why : "");
	w->done = true;
	pthread_cond_signal(&w->answered);
}

int rfs_reservations_perform(struct rfs_reservations *r, struct rfs_request *request, struct rfs_why *why)
{
	struct waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER, .why = why };

	request->done = wake;
	request->user = &w;
	rfs_reservations_submit(r, request);
	pthread_mutex_lock(&w.lock);
	while (!w.done)
		pthread_cond_wait(&w.answered, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.answered);
	pthread_mutex_destroy(&w.lock);
	return w.error;
}

bool rfs_request_cancel(struct rfs_reservations *r, struct rfs_request *request)
{
	{
		RFS_LOCK(&r->lock);
		if (request->place == RFS_PLACE_NONE)
			return false;
		TAILQ_REMOVE(request->place == RFS_PLACE_QUEUE ? &r->queue : &r->growing, request, link);
		request->place = RFS_PLACE_NONE;
		if (request->contract)
			request->contract->queued--;
		if (request->verb == RFS_RENAME || request->verb == RFS_CREATE)
			r->structural--;
	}
	request->done(request, -ECANCELED);
	return true;
}

void rfs_reservations_totals(struct rfs_reservations *r, struct rfs_totals *ret_totals)
{
	RFS_LOCK(&r->lock);
	*ret_totals = r->totals;
}

int rfs_reservations_measure(struct rfs_reservations *r)
{
	return rfs_repo_measure(r->repo);
}

void rfs_reservations_hold(struct rfs_reservations *r)
{
	RFS_LOCK(&r->lock);
	r->kept++;
}

void rfs_reservations_let_go(struct rfs_reservations *r)
{
	bool free_all;

	{
		RFS_LOCK(&r->lock);
		free_all = rfs_writer_come_back_locked(r);
	}
	if (free_all)
		rfs_reservations_free(r);
}

void rfs_reservations_figures(struct rfs_reservations *r, struct rfs_figures *ret_figures, struct rfs_totals *ret_totals)
{
	rfs_reservations_totals(r, ret_totals);
	rfs_repo_figures(r->repo, ret_totals->reserved_bytes, ret_figures);
}

void rfs_reservations_commit_times(struct rfs_reservations *r, struct rfs_commit_times *ret_times)
{
	RFS_LOCK(&r->lock);
	*ret_times = r->commit_times;
}
