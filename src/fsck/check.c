/* SPDX-License-Identifier: MIT */
/*
 * check.c: one pass over all records, each compared with those that it belongs to. Invariant: what is remembered does not
 * grow with the number of records. contract/ sorts before id/, and that before totals, so when the index is looked at
 * the contracts are known, and at the totals both.
 *
 * Each fault is reported once: what is wrong with a row of the index is said when that row comes, what is missing there with
 * the contract that misses it.
 */
#include "fsck/fsck.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct check {
	struct fsck *fsck;
	struct fsck_sums sums;
};

static bool has_prefix(const char *key, const char *prefix)
{
	return strncmp(key, prefix, strlen(prefix)) == 0;
}

/* The record of contract/`name`: -ENOENT there is none, -EBADMSG it cannot be read or understood. */
static int read_contract(struct fsck *fsck, const char *name, struct rfs_contract_record *ret_record)
{
	char key[RFS_KEY_MAX + 1];
	struct rfs_value value;
	int rc;

	rfs_record_contract_key(name, key);
	rc = fsck_view_get(fsck->view, key, &value);
	return rc < 0 ? rc : rfs_record_decode_contract(value.data, ret_record);
}

int fsck_index_of(struct fsck *fsck, uint64_t id, const char *name, enum fsck_index *ret_index)
{
	struct rfs_contract_record record;
	int rc = read_contract(fsck, name, &record);

	if (rc < 0 && rc != -ENOENT && rc != -EBADMSG)
		return rc;
	if (rc == -ENOENT)
		*ret_index = FSCK_INDEX_MISSING;
	else if (rc == -EBADMSG)
		*ret_index = FSCK_INDEX_UNREADABLE;
	else
		*ret_index = record.id == id ? FSCK_INDEX_GOOD : FSCK_INDEX_WRONG;
	return 0;
}

/* Contracts */

static void note_without_record(struct fsck_sums *sums, const char *name)
{
	if (sums->unreadable + sums->missing == 1)
		strcpy(sums->name, name);
}

/* Whether the index knows a contract by its id, as `name` or as another contract that has the same id. */
static int check_indexed(struct check *check, const char *key, const char *name, uint64_t id)
{
	struct fsck *fsck = check->fsck;
	char id_key[RFS_KEY_MAX + 1];
	enum fsck_index index;
	struct rfs_value value;
	int rc;

	rfs_record_id_key(id, id_key);
	rc = fsck_view_get(fsck->view, id_key, &value);
	if (rc == -ENOENT) {
		fsck_problem(fsck, id_key, "missing: it should lead to the contract that has this id");
		return 0;
	}
	if (rc == -EBADMSG || (rc == 0 && (strcmp(value.data, name) == 0 || rfs_name_check(value.data) < 0)))
		return 0;
	if (rc < 0)
		return rc;
	rc = fsck_index_of(fsck, id, value.data, &index);
	if (rc == 0 && index == FSCK_INDEX_GOOD)
		fsck_problem(fsck, key, "has the id %" PRIu64 ", which another contract has too", id);
	return rc;
}

static int check_contract(struct check *check, const struct fsck_row *row)
{
	const char *name = row->key + strlen(RFS_KEY_CONTRACT);
	struct fsck_sums *sums = &check->sums;
	struct rfs_contract_record record;

	if (rfs_name_check(name) < 0)
		fsck_problem(check->fsck, row->key, "no contract can have this name");
	if (!row->value || rfs_record_decode_contract(row->value, &record) < 0) {
		sums->unreadable++;
		if (strlen(name) <= RFS_NAME_MAX)
			note_without_record(sums, name);
		fsck_problem(check->fsck, row->key,
			     row->value ? "damaged: the record cannot be understood"
					: "damaged: the record does not match its checksum");
		return 0;
	}
	sums->contracts++;
	sums->overflows |= __builtin_add_overflow(sums->reserved_bytes, record.size_bytes, &sums->reserved_bytes) ||
			   sums->reserved_bytes > RFS_BYTES_MAX;
	if (record.id > sums->last_id)
		sums->last_id = record.id;
	return check_indexed(check, row->key, name, record.id);
}

/* The index */

static int check_index(struct check *check, const struct fsck_row *row)
{
	struct fsck_sums *sums = &check->sums;
	struct fsck *fsck = check->fsck;
	enum fsck_index index;
	uint64_t id;
	int rc;

	if (rfs_record_id_of_key(row->key, &id) < 0) {
		fsck_problem(fsck, row->key, "no contract can have this id");
		return 0;
	}
	if (id > sums->last_id)
		sums->last_id = id;
	if (!row->value || rfs_name_check(row->value) < 0) {
		fsck_problem(fsck, row->key, row->value ? "damaged: it leads to no possible name"
							: "damaged: the record does not match its checksum");
		return 0;
	}
	rc = fsck_index_of(fsck, id, row->value, &index);
	if (rc < 0 || index == FSCK_INDEX_GOOD)
		return rc;
	if (index == FSCK_INDEX_WRONG) {
		fsck_problem(fsck, row->key, "leads to a contract that has another id");
		return 0;
	}
	if (index == FSCK_INDEX_MISSING) {
		sums->missing++;
		note_without_record(sums, row->value);
		fsck_problem(fsck, row->key, "leads to a contract that has no record");
	}
	if (strcmp(row->value, sums->name) == 0) {
		sums->id = id;
		sums->ids++;
	}
	return 0;
}

static int check_row(void *user, const struct fsck_row *row)
{
	struct check *check = user;

	if (!row->key)
		fsck_problem(check->fsck, "(a row)", "its key cannot be read");
	else if (has_prefix(row->key, RFS_KEY_CONTRACT))
		return check_contract(check, row);
	else if (has_prefix(row->key, RFS_KEY_ID))
		return check_index(check, row);
	else if (strcmp(row->key, RFS_KEY_CLEAN) == 0)
		return 0; /* where it is not as it should be, it only makes the next start look at everything */
	else if (strcmp(row->key, RFS_KEY_TOTALS) != 0)
		fsck_problem(check->fsck, row->key, "is no record of a Datastore");
	else if (!row->value)
		check->sums.totals_rc = -EBADMSG;
	else
		check->sums.totals_rc = rfs_record_decode_totals(row->value, &check->sums.totals);
	return 0;
}

/* The sums */

enum fsck_verdict fsck_verdict(const struct fsck_sums *sums)
{
	const struct rfs_totals_record *totals = &sums->totals;

	if (sums->unreadable + sums->missing == 0)
		return FSCK_NONE;
	if (sums->totals_rc < 0 || sums->overflows)
		return FSCK_UNKNOWN;
	if (sums->unreadable == 0 && totals->contracts == sums->contracts && totals->reserved_bytes == sums->reserved_bytes)
		return FSCK_STALE;
	if (sums->unreadable + sums->missing == 1 && sums->ids == 1 && totals->contracts == sums->contracts + 1 &&
	    totals->reserved_bytes >= sums->reserved_bytes && rfs_name_check(sums->name) == 0)
		return FSCK_LOST;
	return FSCK_UNKNOWN;
}

static void compare(struct check *check)
{
	const struct rfs_totals_record *totals = &check->sums.totals;
	struct fsck_sums *sums = &check->sums;
	struct fsck *fsck = check->fsck;
	enum fsck_verdict verdict = fsck_verdict(sums);

	if (verdict == FSCK_UNKNOWN || verdict == FSCK_LOST)
		return; /* there is nothing whole to compare with */
	if (sums->overflows) {
		fsck_problem(fsck, RFS_KEY_TOTALS, "the sizes of all contracts are more than can be counted");
		return;
	}
	if (totals->reserved_bytes != sums->reserved_bytes)
		fsck_problem(fsck, RFS_KEY_TOTALS, "reserved=%" PRIu64 ", but the sizes of all contracts are %" PRIu64,
			     totals->reserved_bytes, sums->reserved_bytes);
	if (totals->contracts != sums->contracts)
		fsck_problem(fsck, RFS_KEY_TOTALS, "contracts=%" PRIu64 ", but there are %" PRIu64, totals->contracts,
			     sums->contracts);
}

static void check_totals(struct check *check)
{
	struct fsck_sums *sums = &check->sums;
	bool empty = sums->last_id == 0 && sums->unreadable == 0;

	if (sums->totals_rc == -ENOENT && empty)
		return; /* never mounted */
	if (sums->totals_rc == -ENOENT) {
		fsck_problem(check->fsck, RFS_KEY_TOTALS, "missing");
	} else if (sums->totals_rc < 0) {
		fsck_problem(check->fsck, RFS_KEY_TOTALS, "damaged: the record cannot be understood");
	} else {
		compare(check);
		if (sums->totals.next_id <= sums->last_id)
			fsck_problem(check->fsck, RFS_KEY_TOTALS, "next_id=%" PRIu64 ", but the id %" PRIu64 " is in use",
				     sums->totals.next_id, sums->last_id);
	}
}

int fsck_check(struct fsck *fsck, struct fsck_sums *ret_sums)
{
	struct check check = { .fsck = fsck, .sums.totals_rc = -ENOENT };
	int rc = fsck_view_scan(fsck->view, "", check_row, &check);

	if (rc < 0)
		return rc;
	check_totals(&check);
	*ret_sums = check.sums;
	return 0;
}
