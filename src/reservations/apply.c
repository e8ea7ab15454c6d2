/* SPDX-License-Identifier: MIT */
/*
 * apply.c: the rules, one item of a transaction at a time. Invariant: at any moment the Repo counts for a contract at least
 * what it has been promised, before and after the change: space is reserved before the change is stored, and
 * released only once it is durable.
 *
 * So a batch checks a growing contract without the space that a shrinking one in the same batch lets go. Both are under
 * way at the same time, so that is the answer as if the growing one had come first.
 */
#include "reservations/internal.h"

#include "util/checked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* How often `max` is worked out again when the Repo has less than it said a moment before. */
#define ALL_TRIES 8

static void touch(struct rfs_reservations *r, struct rfs_contract *c)
{
	if (c->draft.open)
		return;
	RFS_LOCK(&r->lock);
	c->draft.open = true;
	c->draft.exists = c->exists;
	c->draft.stored = c->stored;
	c->draft.size_bytes = c->draft.held_bytes = c->size_bytes;
	c->draft.changed = c->changed;
	c->draft.name = NULL;
	TAILQ_INSERT_TAIL(&r->touched, c, touched);
}

static const char *draft_name(const struct rfs_contract *c)
{
	return c->draft.name ? c->draft.name : c->name;
}

/* Totals that are less than one of their parts were not written by this program. */
static const char wrong_totals[] =
	"the record \"" RFS_KEY_TOTALS "\" does not match the contracts; unmount and run fsck.reservefs";

static const char records_exceed_totals[] =
	"the records of the contracts add up to more than the record \"" RFS_KEY_TOTALS
	"\" says, so nothing more is reserved; unmount and run fsck.reservefs";
/* The Datastore has failed before, and said why then. */
static const char name_not_free[] =
	"the Datastore still holds a contract of that name that was removed, and could not delete it yet";

static void refuse_totals(struct rfs_request *request)
{
	request->why = wrong_totals;
	request->error = -EIO;
}

static int put_id(struct rfs_reservations *r, const struct rfs_contract *c)
{
	char key[RFS_KEY_MAX + 1];

	r->dirty = true;
	rfs_record_id_key(c->id, key);
	return rfs_datastore_txn_put(r->ds, key, draft_name(c));
}

/* Whether what was deferred before this transaction's requests is not all stored. */
static bool is_behind(const struct rfs_reservations *r)
{
	return r->deferred_error < 0 || r->store_failing;
}

/* Where rows of removed contracts cannot be deleted, one of them may stand where the first of this one belongs. */
static int check_own_place(struct rfs_reservations *r, const struct rfs_contract *c)
{
	char key[RFS_KEY_MAX + 1];
	struct rfs_contract_record record;
	struct rfs_value value;
	int rc;

	if (!is_behind(r))
		return 0;
	rfs_record_contract_key(draft_name(c), key);
	rc = rfs_datastore_txn_get(r->ds, key, &value);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	rc = rfs_record_decode_contract(value.data, &record);
	if (rc == 0 && record.id == c->id)
		return 0;
	rfs_why_say(&r->why, name_not_free);
	return -EIO;
}

/* Puts the contract's row as drafted, and its place in the listing where it has none. */
static int put_contract(struct rfs_reservations *r, struct rfs_contract *c)
{
	char key[RFS_KEY_MAX + 1], text[RFS_VALUE_MAX + 1];
	struct rfs_contract_record record = {
		.id = c->id,
		.size_bytes = c->draft.size_bytes,
		.changed = c->draft.changed,
	};
	int rc = 0;

	if (!c->draft.stored) {
		rc = check_own_place(r, c);
		if (rc == 0)
			rc = put_id(r, c);
		if (rc < 0)
			return rc;
		c->draft.stored = true;
		r->draft_totals.contracts++;
	}
	r->dirty = true;
	rfs_record_contract_key(draft_name(c), key);
	rfs_record_encode_contract(&record, text);
	return rfs_datastore_txn_put(r->ds, key, text);
}

/* Deletes the contract's rows; a row of that name that belongs to another contract by now is left alone. */
static int delete_contract(struct rfs_reservations *r, struct rfs_contract *c)
{
	char key[RFS_KEY_MAX + 1];
	struct rfs_contract_record record;
	struct rfs_value value;
	int rc;

	if (!c->draft.stored)
		return 0;
	if (r->draft_totals.contracts == 0) {
		rfs_why_say(&r->why, wrong_totals);
		return -EIO;
	}
	r->dirty = true;
	rfs_record_contract_key(draft_name(c), key);
	rc = rfs_datastore_txn_get(r->ds, key, &value);
	if (rc == 0 && (rc = rfs_record_decode_contract(value.data, &record)) < 0) {
		(void) snprintf(r->why.text, sizeof r->why.text, "the record \"%.300s\" in the Datastore is damaged; run fsck.reservefs", key);
		return rc;
	}
	if (rc == 0 && record.id == c->id)
		rc = rfs_datastore_txn_delete(r->ds, key);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	rfs_record_id_key(c->id, key);
	rc = rfs_datastore_txn_delete(r->ds, key);
	if (rc < 0)
		return rc;
	c->draft.stored = false;
	r->draft_totals.contracts--;
	return 0;
}

/* Has the Repo count `wanted_bytes` for the contract, if it does not yet. Returns what the request is answered. */
static int hold(struct rfs_reservations *r, struct rfs_contract *c, struct rfs_request *request)
{
	uint64_t wanted = request->size_bytes;
	int rc = 0;

	for (int tries = 0; tries < ALL_TRIES; tries++) {
		if (request->size_bytes == RFS_ALL)
			wanted = rfs_min(rfs_sum(c->draft.held_bytes, rfs_repo_available(r->repo)), RFS_BYTES_MAX);
		request->wanted_bytes = wanted;
		if (wanted <= c->draft.held_bytes)
			return 0;
		rc = rfs_repo_reserve(r->repo, wanted - c->draft.held_bytes);
		if (rc != -ENOSPC || request->size_bytes != RFS_ALL)
			break;
	}
	if (rc == 0)
		c->draft.held_bytes = wanted;
	if (rc == -ENOSPC)
		/* What may be written at most, less what it is compared with. */
		request->available_bytes = rfs_sub_or_zero(rfs_sum(c->draft.held_bytes, rfs_repo_available(r->repo)),
							   request->old_size_bytes);
	return rc;
}

static int apply_resize(struct rfs_reservations *r, struct rfs_request *request)
{
	struct rfs_contract *c = request->contract;

	touch(r, c);
	if (!c->draft.exists) {
		request->error = -ENODEV;
		return 0;
	}
	request->old_size_bytes = c->draft.size_bytes;
	if (c->draft.size_bytes > r->draft_totals.reserved_bytes) {
		refuse_totals(request);
		return 0;
	}
	if (request->size_bytes > c->draft.held_bytes && rfs_check_forbids_growth(r)) {
		request->why = records_exceed_totals;
		request->error = -EIO;
		return 0;
	}
	request->error = hold(r, c, request);
	if (request->error < 0 && request->error != -ENOSPC && request->error != -ENOMEM) {
		request->why = "the storage of the Repo cannot set space aside";
		request->error = -EIO;
	}
	if (request->error < 0 || request->wanted_bytes == c->draft.size_bytes)
		return 0;
	r->draft_totals.reserved_bytes = rfs_sum(
		rfs_difference(r->draft_totals.reserved_bytes, c->draft.size_bytes), request->wanted_bytes);
	c->draft.size_bytes = request->wanted_bytes;
	c->draft.changed = rfs_time_now();
	return put_contract(r, c);
}

static int apply_remove(struct rfs_reservations *r, struct rfs_request *request)
{
	struct rfs_contract *c = request->contract;

	touch(r, c);
	if (!c->draft.exists) {
		request->error = -ENODEV;
		return 0;
	}
	request->old_size_bytes = c->draft.size_bytes;
	if (c->draft.size_bytes > r->draft_totals.reserved_bytes) {
		refuse_totals(request);
		return 0;
	}
	r->draft_totals.reserved_bytes = rfs_difference(r->draft_totals.reserved_bytes, c->draft.size_bytes);
	r->draft_totals.changed = rfs_time_now();
	c->draft.size_bytes = 0;
	c->draft.exists = false;
	return delete_contract(r, c);
}

/* Whether the row `text` belongs to a contract that was removed, which only has not been stored yet. */
static bool is_of_removed(struct rfs_reservations *r, const char *text)
{
	struct rfs_contract_record record;
	struct rfs_contract *c;

	if (rfs_record_decode_contract(text, &record) < 0)
		return false;
	RFS_LOCK(&r->lock);
	HASH_FIND(by_id, r->ids, &record.id, sizeof record.id, c);
	return c && !c->exists && c->stored;
}

/* 0: `name` is free, as the transaction sees it and as was answered; -EEXIST: it is not, or it is being freed at this very
 * moment; -EIO: it is, but the Datastore has failed to let go of the row that stands there. */
static int check_free(struct rfs_reservations *r, const char *name)
{
	char key[RFS_KEY_MAX + 1];
	struct rfs_value value;
	struct rfs_contract *c;
	int rc;

	{
		RFS_LOCK(&r->lock);
		HASH_FIND(by_name, r->live, name, strlen(name), c);
	}
	if (c)
		return -EEXIST;
	rfs_record_contract_key(name, key);
	rc = rfs_datastore_txn_get(r->ds, key, &value);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0 && is_behind(r) && is_of_removed(r, value.data)) {
		rfs_why_say(&r->why, name_not_free);
		return -EIO;
	}
	return rc == 0 || rc == -EBADMSG ? -EEXIST : rc;
}

static int apply_rename(struct rfs_reservations *r, struct rfs_request *request)
{
	struct rfs_contract *c = request->contract;
	char *name;
	int rc;

	touch(r, c);
	if (!c->draft.exists) {
		request->error = -ENODEV;
		return 0;
	}
	if (strcmp(draft_name(c), request->new_name) == 0)
		return 0;
	rc = check_free(r, request->new_name);
	if (rc < 0) {
		request->error = rc;
		return rc == -EEXIST ? 0 : rc;
	}
	name = strdup(request->new_name);
	if (!name)
		return -ENOMEM;
	rc = delete_contract(r, c);
	free(c->draft.name);
	c->draft.name = name;
	r->draft_totals.changed = rfs_time_now();
	return rc < 0 ? rc : put_contract(r, c);
}

static int apply_create(struct rfs_reservations *r, struct rfs_request *request)
{
	struct rfs_contract *c;
	uint64_t id;
	int rc = check_free(r, request->new_name);

	if (rc < 0) {
		request->error = rc;
		return rc == -EEXIST ? 0 : rc;
	}
	{
		RFS_LOCK(&r->lock);
		if (r->next_id >= RFS_CONTRACT_ID_END)
			request->error = -EOVERFLOW;
		id = r->next_id;
		r->next_id += request->error == 0;
	}
	if (request->error < 0)
		return 0;
	rc = rfs_contract_new(r, id, request->new_name, &c);
	if (rc < 0)
		return rc;
	{
		RFS_LOCK(&r->lock);
		rfs_contract_announce_locked(c);
	}
	touch(r, c);
	c->draft.exists = true;
	c->draft.changed = rfs_time_now();
	r->draft_totals.changed = c->draft.changed;
	request->created = c;
	return put_contract(r, c);
}

/* A sync comes after all that was deferred before it; what is left could not be stored. */
static bool has_deferred(struct rfs_reservations *r)
{
	RFS_LOCK(&r->lock);
	return r->store_failing && r->deferred > 0;
}

static int apply_request(struct rfs_reservations *r, struct rfs_request *request)
{
	request->error = 0;
	switch (request->verb) {
	case RFS_RESIZE:
		return apply_resize(r, request);
	case RFS_REMOVE:
		return apply_remove(r, request);
	case RFS_RENAME:
		return apply_rename(r, request);
	case RFS_CREATE:
		return apply_create(r, request);
	case RFS_SYNC:
		request->error = r->deferred_error < 0 || has_deferred(r) ? -EIO : 0;
		return 0;
	}
	return -EINVAL;
}

int rfs_apply_item(struct rfs_reservations *r, struct rfs_item *item)
{
	switch (item->kind) {
	case RFS_ITEM_FORGET:
		touch(r, item->contract);
		return delete_contract(r, item->contract);
	case RFS_ITEM_STORE:
		touch(r, item->contract);
		return put_contract(r, item->contract);
	case RFS_ITEM_REQUEST:
		return apply_request(r, item->request);
	}
	return -EINVAL;
}

/* Puts the totals as drafted, with a new grant of ids where the old one runs low. */
int rfs_apply_totals(struct rfs_reservations *r)
{
	char text[RFS_VALUE_MAX + 1];
	uint64_t next_id;

	{
		RFS_LOCK(&r->lock);
		next_id = r->next_id;
	}
	if (next_id + RFS_ID_GRANT / 2 > r->draft_totals.next_id)
		r->draft_totals.next_id = rfs_min(next_id + RFS_ID_GRANT, RFS_CONTRACT_ID_END);
	r->draft_totals.commits++;
	rfs_record_encode_totals(&r->draft_totals, text);
	return rfs_datastore_txn_put(r->ds, RFS_KEY_TOTALS, text);
}

/* Gives `bytes` back to the Repo, and what it failed to take before; now or, where it fails, with the next batch. */
void rfs_apply_release(struct rfs_reservations *r, uint64_t bytes)
{
	r->owed_bytes = rfs_sum(r->owed_bytes, bytes);
	if (r->owed_bytes > 0 && rfs_repo_release(r->repo, r->owed_bytes) == 0)
		r->owed_bytes = 0;
}

/* Forgets the drafts of a transaction that did not come to be. */
void rfs_apply_undo(struct rfs_reservations *r)
{
	struct rfs_contract *c;

	while ((c = TAILQ_FIRST(&r->touched))) {
		TAILQ_REMOVE(&r->touched, c, touched);
		rfs_apply_release(r, rfs_difference(c->draft.held_bytes, c->size_bytes));
		free(c->draft.name);
		c->draft.name = NULL;
		c->draft.open = false;
	}
}
