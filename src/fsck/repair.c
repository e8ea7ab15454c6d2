/* SPDX-License-Identifier: MIT */
/*
 * repair.c: puts right what can be, through the Datastore. Invariant: no record of a contract that can be read is changed
 * but for an id that two of them share, and none is made of which not everything is known: its name and id from the index,
 * its size from the totals. Each transaction leaves the Datastore nearer to order than it was.
 */
#include "fsck/fsck.h"

#include "util/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What is written in one transaction at most. */
#define ACTIONS_MOST 500

/* Ids that were given away, and whose contracts are gone, are known from the totals alone. Where those are lost, the next ids
 * come from so far above the highest in use that nobody has been given one there. */
#define IDS_SKIPPED (UINT64_C(1) << 32)

struct action {
	char key[RFS_KEY_MAX + 1];
	char value[RFS_VALUE_MAX + 1];
	bool remove;
	char done[128]; /* what is said once it is */
};

struct repair {
	struct fsck *fsck;
	const struct fsck_sums *sums;
	enum fsck_verdict verdict;
	uint64_t next_id; /* for contracts that need another */
	char after[RFS_KEY_MAX + 1];
	bool more;        /* the scan was ended to write first */
	size_t count;
	struct action actions[ACTIONS_MOST + 2];
};

static struct action *add(struct repair *repair, const char *key, const char *done)
{
	struct action *action = &repair->actions[repair->count++];

	*action = (struct action) { .remove = false };
	strcpy(action->key, key);
	(void) snprintf(action->done, sizeof action->done, "%s", done);
	return action;
}

static int apply(struct rfs_datastore *ds, const struct action *actions, size_t count)
{
	int rc = rfs_datastore_begin(ds);

	if (rc < 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = actions[i].remove ? rfs_datastore_txn_delete(ds, actions[i].key)
				       : rfs_datastore_txn_put(ds, actions[i].key, actions[i].value);
	if (rc < 0) {
		rfs_datastore_rollback(ds);
		return rc;
	}
	return rfs_datastore_commit(ds);
}

/* Writes what has been gathered. */
static int flush(struct repair *repair)
{
	struct fsck *fsck = repair->fsck;
	int rc;

	if (repair->count == 0)
		return 0;
	rc = fsck_keep(fsck);
	if (rc < 0)
		return rc;
	rc = apply(fsck->ds, repair->actions, repair->count);
	if (rc < 0) {
		fsck_fail(fsck, FSCK_OPERATIONAL, "cannot repair %s: %s", fsck->shown, rfs_datastore_explain(fsck->ds));
		return rc;
	}
	for (size_t i = 0; i < repair->count; i++)
		if (*repair->actions[i].done)
			fsck_repaired(fsck, repair->actions[i].key, "%s", repair->actions[i].done);
	repair->count = 0;
	rfs_datastore_tidy(fsck->ds);
	return 0;
}

static void put_contract(struct repair *repair, const char *key, const struct rfs_contract_record *record, const char *done)
{
	rfs_record_encode_contract(record, add(repair, key, done)->value);
}

static void put_index(struct repair *repair, uint64_t id, const char *name, const char *done)
{
	char key[RFS_KEY_MAX + 1];

	rfs_record_id_key(id, key);
	strcpy(add(repair, key, done)->value, name);
}

static void remove_row(struct repair *repair, const char *key, const char *done)
{
	add(repair, key, done)->remove = true;
}

/* Contracts */

static struct rfs_time now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (struct rfs_time) { .seconds = t.tv_sec, .nanoseconds = (int32_t) t.tv_nsec };
}

/* The one contract whose record is lost: the totals have its size, as what the others leave of their sum. */
static int restore_lost(struct repair *repair)
{
	const struct fsck_sums *sums = repair->sums;
	struct rfs_contract_record record = { .id = sums->id, .changed = now() };
	char key[RFS_KEY_MAX + 1], done[128];

	if (repair->verdict != FSCK_LOST || repair->fsck->options->mode != FSCK_YES)
		return 0;
	record.size_bytes = sums->totals.reserved_bytes - sums->reserved_bytes;
	rfs_record_contract_key(sums->name, key);
	(void) snprintf(done, sizeof done, "size=%" PRIu64 ", which is what the other contracts leave of the totals",
			record.size_bytes);
	put_contract(repair, key, &record, done);
	return flush(repair);
}

static void give_another_id(struct repair *repair, const char *key, const char *name, struct rfs_contract_record record)
{
	char done[128];

	if (repair->fsck->options->mode != FSCK_YES || repair->next_id >= RFS_CONTRACT_ID_END)
		return;
	record.id = repair->next_id++;
	(void) snprintf(done, sizeof done, "has the id %" PRIu64 " now", record.id);
	put_contract(repair, key, &record, done);
	put_index(repair, record.id, name, "");
}

/* Whether the row of the index that stands where another contract's should be may be written over. */
static bool may_replace(const struct repair *repair, enum fsck_index index)
{
	return index == FSCK_INDEX_WRONG || (index == FSCK_INDEX_MISSING && repair->verdict == FSCK_STALE);
}

static int repair_contract(struct repair *repair, const struct fsck_row *row)
{
	const char *name = row->key + strlen(RFS_KEY_CONTRACT);
	struct rfs_contract_record record;
	char id_key[RFS_KEY_MAX + 1];
	enum fsck_index index = FSCK_INDEX_WRONG;
	struct rfs_value value;
	int rc;

	if (rfs_name_check(name) < 0 || !row->value || rfs_record_decode_contract(row->value, &record) < 0)
		return 0;
	rfs_record_id_key(record.id, id_key);
	rc = fsck_view_get(repair->fsck->view, id_key, &value);
	if (rc == 0 && strcmp(value.data, name) == 0)
		return 0;
	if (rc == 0 && rfs_name_check(value.data) == 0)
		rc = fsck_index_of(repair->fsck, record.id, value.data, &index);
	if (rc < 0 && rc != -ENOENT && rc != -EBADMSG)
		return rc;
	if (index == FSCK_INDEX_GOOD)
		give_another_id(repair, row->key, name, record);
	else if (may_replace(repair, index))
		put_index(repair, record.id, name, "leads to its contract again");
	return 0;
}

/* The index. What its contracts claim has been written by now: what is still wrong is left over. */
static int repair_index(struct repair *repair, const struct fsck_row *row)
{
	enum fsck_index index;
	uint64_t id;
	int rc;

	if (rfs_record_id_of_key(row->key, &id) < 0) {
		remove_row(repair, row->key, "removed");
		return 0;
	}
	if (!row->value || rfs_name_check(row->value) < 0) {
		/* It may be all that is left of a contract whose record is damaged too. */
		if (repair->sums->unreadable == 0)
			remove_row(repair, row->key, "removed: no contract has this id");
		return 0;
	}
	rc = fsck_index_of(repair->fsck, id, row->value, &index);
	if (rc < 0)
		return rc;
	if (index == FSCK_INDEX_WRONG)
		remove_row(repair, row->key, "removed: no contract has this id");
	else if (index == FSCK_INDEX_MISSING && repair->verdict == FSCK_STALE)
		remove_row(repair, row->key, "removed: the totals know of no such contract");
	return 0;
}

static int repair_row(void *user, const struct fsck_row *row)
{
	struct repair *repair = user;
	bool is_index = row->key && strncmp(row->key, RFS_KEY_ID, strlen(RFS_KEY_ID)) == 0;
	bool is_contract = row->key && strncmp(row->key, RFS_KEY_CONTRACT, strlen(RFS_KEY_CONTRACT)) == 0;
	int rc = 0;

	if (!row->key)
		return 0;
	/* The first row of the index comes when all that contracts have changed there is written. */
	repair->more = repair->count >= ACTIONS_MOST ||
		       (is_index && repair->count > 0 && strncmp(repair->after, RFS_KEY_ID, strlen(RFS_KEY_ID)) != 0);
	if (repair->more)
		return 1;
	if (is_contract)
		rc = repair_contract(repair, row);
	else if (is_index)
		rc = repair_index(repair, row);
	strcpy(repair->after, row->key);
	return rc;
}

static int repair_rows(struct repair *repair)
{
	int rc;

	do {
		char after[RFS_KEY_MAX + 1];
		strcpy(after, repair->after);
		repair->more = false;
		rc = fsck_view_scan(repair->fsck->view, after, repair_row, repair);
		if (rc == 0)
			rc = flush(repair);
	} while (rc == 0 && repair->more);
	return rc;
}

/* The totals */

static bool totals_are_right(const struct fsck_sums *sums, enum fsck_verdict verdict)
{
	if (sums->totals_rc < 0 || sums->totals.next_id <= sums->last_id)
		return false;
	return verdict != FSCK_NONE || (sums->totals.contracts == sums->contracts &&
					sums->totals.reserved_bytes == sums->reserved_bytes);
}

static int repair_totals(struct repair *repair, const struct fsck_sums *sums)
{
	enum fsck_verdict verdict = fsck_verdict(sums);
	struct rfs_totals_record totals = sums->totals;

	if ((sums->totals_rc == -ENOENT && sums->last_id == 0) || totals_are_right(sums, verdict) || sums->overflows)
		return 0;
	if (sums->totals_rc < 0) {
		if (verdict != FSCK_NONE)
			return 0;
		totals = (struct rfs_totals_record) { .next_id = sums->last_id + IDS_SKIPPED, .changed = now() };
	}
	if (verdict == FSCK_NONE) {
		totals.contracts = sums->contracts;
		totals.reserved_bytes = sums->reserved_bytes;
	}
	if (totals.next_id <= sums->last_id)
		totals.next_id = sums->last_id + 1;
	if (totals.next_id > RFS_CONTRACT_ID_END)
		totals.next_id = RFS_CONTRACT_ID_END;
	totals.commits++;
	rfs_record_encode_totals(&totals, add(repair, RFS_KEY_TOTALS, "worked out anew from the contracts")->value);
	return flush(repair);
}

int fsck_repair(struct fsck *fsck, const struct fsck_sums *sums)
{
	_cleanup_free_ struct repair *repair = calloc(1, sizeof *repair);
	struct fsck_sums after;
	int rc;

	if (!repair)
		return -ENOMEM;
	repair->fsck = fsck;
	repair->sums = sums;
	repair->verdict = fsck_verdict(sums);
	repair->next_id = sums->last_id + 1;
	if (sums->totals_rc == 0 && sums->totals.next_id > repair->next_id)
		repair->next_id = sums->totals.next_id;
	else if (sums->totals_rc < 0)
		repair->next_id += IDS_SKIPPED;
	rc = restore_lost(repair);
	if (rc == 0)
		rc = repair_rows(repair);
	if (rc == 0)
		rc = fsck_check(fsck, &after);
	return rc == 0 ? repair_totals(repair, &after) : rc;
}
