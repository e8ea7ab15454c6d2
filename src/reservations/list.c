/* SPDX-License-Identifier: MIT */
/*
 * list.c: listings. Invariant: a contract that exists from the beginning of a listing to its end is listed exactly
 * once, although its row may come to the Datastore while the listing is under way: contracts not stored yet are
 * copied before the Datastore's snapshot is taken, and told from their rows by their id.
 */
#include "reservations/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* How many contracts that are not stored yet one pass lists at most; what is left takes another. */
#define FRESH_MOST 64

struct listing {
	struct rfs_reservations *r;
	rfs_list_fn fn;
	void *user;
	struct rfs_why *why;
	struct {
		uint64_t id;
		char name[RFS_NAME_MAX + 1];
	} fresh[FRESH_MOST];
	size_t fresh_count, fresh_next;
	bool fresh_cut; /* there are more: the pass ends with the last one copied */
	bool check_removed;
	bool ended; /* `fn` wants no more */
};

static int list_one(struct listing *l, uint64_t id, const char *name)
{
	int rc = l->ended ? 1 : l->fn(l->user, id, name);

	l->ended = rc != 0;
	return rc;
}

static bool copy_fresh(struct listing *l, const struct rfs_contract_list *list, uint64_t after_id)
{
	const struct rfs_contract *c;

	TAILQ_FOREACH(c, list, deferred) {
		if (!c->exists || c->id <= after_id)
			continue;
		if (l->fresh_count == FRESH_MOST)
			return false;
		l->fresh[l->fresh_count].id = c->id;
		strcpy(l->fresh[l->fresh_count].name, c->name);
		l->fresh_count++;
	}
	return true;
}

/* Lists the fresh ones below `id`, and passes over one that is `id` itself: its row has just been stored. */
static int list_fresh_below(struct listing *l, uint64_t id)
{
	for (; l->fresh_next < l->fresh_count && l->fresh[l->fresh_next].id < id; l->fresh_next++) {
		int rc = list_one(l, l->fresh[l->fresh_next].id, l->fresh[l->fresh_next].name);
		if (rc != 0)
			return rc;
	}
	if (l->fresh_next < l->fresh_count && l->fresh[l->fresh_next].id == id)
		l->fresh_next++;
	return 0;
}

static bool is_gone(struct rfs_reservations *r, uint64_t id)
{
	struct rfs_contract *c;

	RFS_LOCK(&r->lock);
	HASH_FIND(by_id, r->ids, &id, sizeof id, c);
	return c && !c->exists;
}

static int list_row(void *user, const char *key, const char *name)
{
	struct listing *l = user;
	uint64_t id;
	int rc = rfs_record_id_of_key(key, &id);

	if (rc < 0 || !name || rfs_name_check(name) < 0) {
		if (l->why)
			(void) snprintf(l->why->text, sizeof l->why->text, "the record \"%s\" in the Datastore", key);
		return -EBADMSG;
	}
	rc = list_fresh_below(l, id);
	if (rc != 0)
		return rc;
	if (l->fresh_cut && id > l->fresh[l->fresh_count - 1].id)
		return 1;
	if (l->check_removed && is_gone(l->r, id))
		return 0;
	return list_one(l, id, name);
}

/* Whether the Datastore has, or may come to have during the listing, rows of contracts that were removed before it. */
static bool has_removed(const struct rfs_reservations *r)
{
	const struct rfs_contract *c;

	TAILQ_FOREACH(c, &r->storing, deferred)
		if (!c->exists)
			return true;
	return !TAILQ_EMPTY(&r->removed) || !TAILQ_EMPTY(&r->removing);
}

static int list_pass(struct listing *l, uint64_t after_id)
{
	struct rfs_reservations *r = l->r;
	char after[RFS_KEY_MAX + 1] = "";
	int rc;

	l->fresh_count = l->fresh_next = 0;
	{
		RFS_LOCK(&r->lock);
		l->fresh_cut = !copy_fresh(l, &r->storing, after_id) || !copy_fresh(l, &r->unstored, after_id);
		l->check_removed = has_removed(r);
	}
	if (after_id > 0)
		rfs_record_id_key(after_id, after);
	rc = rfs_datastore_scan(r->ds, RFS_KEY_ID, after, list_row, l);
	if (rc < 0)
		return rc;
	rc = list_fresh_below(l, UINT64_MAX);
	return rc < 0 ? rc : 0;
}

int rfs_reservations_list(struct rfs_reservations *r, uint64_t after_id, rfs_list_fn fn, void *user, struct rfs_why *why)
{
	_cleanup_free_ struct listing *l = calloc(1, sizeof *l);
	int rc;

	if (!l)
		return -ENOMEM;
	l->r = r;
	l->fn = fn;
	l->user = user;
	l->why = why;
	do {
		rc = list_pass(l, after_id);
		if (l->fresh_cut)
			after_id = l->fresh[l->fresh_count - 1].id;
	} while (rc == 0 && l->fresh_cut && !l->ended);
	return rc;
}
