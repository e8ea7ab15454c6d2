/* SPDX-License-Identifier: MIT */
/*
 * check.c: whether the contracts' records add up to the totals, and their index leads to each of them, where that is in doubt: after a start that does not follow a
 * clean end on the same file, as with a copy whose parts are of different moments. Records are read in the background, a few
 * at a time, by a thread that uses no more than a twentieth of a processor.
 *
 * Invariant: `rows` is the sum of all records whose key is not behind `cursor`, as they are stored now: whatever is published
 * is taken into account at once where it lies before the cursor, and has the records read again that it lies among.
 */
#include "reservations/internal.h"

#include "util/checked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Records that are read without a pause, and how long one burst of that may take. */
#define CHUNK 64
#define BURST_NS RFS_NS_A_MS
#define SHARE 20

struct chunk {
	struct rfs_check_sums sums;
	uint64_t unreadable;
	size_t count;
	size_t most;
	char last[RFS_KEY_MAX + 1]; /* the key that it ends with */
	bool is_end;                /* no record follows */
};

/* Stands for the connection between a name and an id: summed up over the contracts, and over the index, it must be the same. */
static uint64_t link_of(uint64_t id, const char *name)
{
	uint64_t hash = id * UINT64_C(0x9e3779b97f4a7c15);

	for (; *name; name++)
		hash = (hash ^ (unsigned char) *name) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 29;
}

/* The sums wrap where records are damaged in a way that their checksums do not show; they are compared, and never used. */
static void add_contract(struct rfs_check_sums *sums, uint64_t id, const char *name, uint64_t size_bytes)
{
	sums->contracts++;
	sums->reserved_bytes += size_bytes;
	sums->unindexed += link_of(id, name);
}

static void take_contract(struct rfs_check_sums *sums, uint64_t id, const char *name, uint64_t size_bytes)
{
	sums->contracts--;
	sums->reserved_bytes -= size_bytes;
	sums->unindexed -= link_of(id, name);
}

/* Whether the record `key` is accounted for now: it has been read. One that is being read has to be read again. */
static bool is_read_locked(struct rfs_check *check, const char *key)
{
	if (check->is_at_end || strcmp(key, check->cursor) <= 0)
		return true;
	if (check->is_reading && (!check->is_disturbed || strcmp(key, check->disturbed) < 0)) {
		check->is_disturbed = true;
		strcpy(check->disturbed, key);
	}
	return false;
}

/* The records of `c`, as it is published now, are there no more, or are there from now on. */
static void note_locked(struct rfs_reservations *r, const struct rfs_contract *c, bool there)
{
	struct rfs_check_sums *rows = &r->check.rows;
	char key[RFS_KEY_MAX + 1];

	if (!r->check.running || !c->stored)
		return;
	rfs_record_contract_key(c->name, key);
	if (is_read_locked(&r->check, key))
		(there ? add_contract : take_contract)(rows, c->id, c->name, c->size_bytes);
	rfs_record_id_key(c->id, key);
	if (is_read_locked(&r->check, key))
		rows->unindexed += there ? -link_of(c->id, c->name) : link_of(c->id, c->name);
}

void rfs_check_note_gone_locked(struct rfs_reservations *r, const struct rfs_contract *c)
{
	note_locked(r, c, false);
}

void rfs_check_note_there_locked(struct rfs_reservations *r, const struct rfs_contract *c)
{
	note_locked(r, c, true);
}

static bool begins_with(const char *key, const char *prefix)
{
	return strncmp(key, prefix, strlen(prefix)) == 0;
}

static int read_row(void *user, const char *key, const char *value)
{
	struct chunk *chunk = user;
	struct rfs_contract_record record;
	uint64_t id;

	if (chunk->count == chunk->most)
		return 1;
	chunk->count++;
	strcpy(chunk->last, key);
	if (begins_with(key, RFS_KEY_CONTRACT)) {
		if (value && rfs_record_decode_contract(value, &record) == 0)
			add_contract(&chunk->sums, record.id, key + strlen(RFS_KEY_CONTRACT), record.size_bytes);
		else
			chunk->unreadable++;
	} else if (begins_with(key, RFS_KEY_ID)) {
		if (value && rfs_record_id_of_key(key, &id) == 0)
			chunk->sums.unindexed -= link_of(id, value);
		else
			chunk->unreadable++;
	}
	return 0;
}

static int read_chunk(struct rfs_reservations *r, const char *cursor, size_t most, struct chunk *ret_chunk)
{
	int rc;

	*ret_chunk = (struct chunk) { .most = most };
	rc = rfs_datastore_scan(r->ds, "", cursor, read_row, ret_chunk);
	ret_chunk->is_end = ret_chunk->count < most;
	return rc;
}

/* What was read may be ahead of what is published: the commit that it is from is waited for. */
static void wait_for_publication_locked(struct rfs_reservations *r)
{
	uint64_t epoch = r->epoch;

	while (r->committing && r->epoch == epoch && !r->stopping)
		pthread_cond_wait(&r->check.changed, &r->lock);
}

static void note_excess_locked(struct rfs_reservations *r)
{
	r->check.excess_bytes = (int64_t) (r->check.rows.reserved_bytes - r->stored_totals.reserved_bytes);
}

/* Reads on by one chunk. 0, 1 at the end, -EAGAIN where it must be read again, or another negative errno. */
static int advance(struct rfs_reservations *r, size_t most)
{
	struct rfs_check *check = &r->check;
	struct chunk chunk;
	int rc;

	{
		RFS_LOCK(&r->lock);
		check->is_reading = true;
		check->is_disturbed = false;
	}
	rc = read_chunk(r, check->cursor, most, &chunk); /* this thread alone moves the cursor */
	RFS_LOCK(&r->lock);
	wait_for_publication_locked(r);
	check->is_reading = false;
	if (rc < 0)
		return rc;
	if (check->is_disturbed && (chunk.is_end || strcmp(check->disturbed, chunk.last) <= 0))
		return -EAGAIN;
	check->rows.contracts += chunk.sums.contracts;
	check->rows.reserved_bytes += chunk.sums.reserved_bytes;
	check->rows.unindexed += chunk.sums.unindexed;
	check->unreadable += chunk.unreadable;
	if (chunk.count > 0)
		strcpy(check->cursor, chunk.last);
	check->is_at_end = chunk.is_end;
	if (!r->committing && check->rows.reserved_bytes > r->stored_totals.reserved_bytes)
		note_excess_locked(r); /* what is still to come can only add to it */
	return chunk.is_end;
}

static int64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (int64_t) used.tv_sec * RFS_NS_A_SECOND + used.tv_nsec;
}

/* Leaves the processor to others. Whether to go on. */
static bool rest(struct rfs_reservations *r, int64_t ns)
{
	int64_t until = rfs_now_ns() + ns;
	RFS_LOCK(&r->lock);

	while (!r->stopping && rfs_cond_wait_until(&r->check.changed, &r->lock, until))
		;
	return !r->stopping;
}

/* Compares, in the moment in which all records are known, and nothing is being stored. */
static void judge_locked(struct rfs_reservations *r)
{
	struct rfs_check *check = &r->check;

	if (!check->is_at_end) {
		check->state = RFS_CHECK_DAMAGED;
		return;
	}
	note_excess_locked(r);
	check->excess_contracts = (int64_t) (check->rows.contracts - r->stored_totals.contracts);
	if (check->unreadable > 0)
		check->state = RFS_CHECK_DAMAGED;
	else if (check->excess_bytes != 0 || check->excess_contracts != 0 || check->rows.unindexed != 0)
		check->state = RFS_CHECK_DIFFERS;
	else
		check->state = RFS_CHECK_SOUND;
}

/* 0: all is read; -ECANCELED: it is to end before that; or the errno of a failed reading. */
static int read_all(struct rfs_reservations *r)
{
	size_t most = CHUNK;
	int rc = 0;

	while (rc != 1) {
		int64_t since = cpu_ns();

		do {
			rc = advance(r, most);
			/* Among records that change all the time fewer are read at once. */
			most = rc == -EAGAIN ? (most + 1) / 2 : CHUNK;
		} while ((rc == 0 || rc == -EAGAIN) && cpu_ns() - since < BURST_NS);
		if (rc < 0 && rc != -EAGAIN)
			return rc;
		if (!rest(r, (cpu_ns() - since) * (SHARE - 1)))
			return -ECANCELED;
	}
	return 0;
}

void rfs_check_result_locked(const struct rfs_reservations *r, struct rfs_check_result *ret_result)
{
	const struct rfs_check *check = &r->check;

	*ret_result = (struct rfs_check_result) {
		.state = check->state,
		.excess_bytes = check->excess_bytes,
		.excess_contracts = check->excess_contracts,
		.unreadable = check->unreadable,
		.is_misindexed = check->state == RFS_CHECK_DIFFERS && check->rows.unindexed != 0,
	};
}

static void *check_main(void *reservations)
{
	struct rfs_reservations *r = reservations;
	struct rfs_check *check = &r->check;
	struct rfs_check_result result;
	int rc = read_all(r);

	{
		RFS_LOCK(&r->lock);
		if (rc < 0 && rc != -ECANCELED)
			check->unreadable++; /* what could not be read on from here */
		if (rc != -ECANCELED)
			judge_locked(r);
		rfs_check_result_locked(r, &result);
	}
	if (rc != -ECANCELED)
		check->fn(check->user, &result);
	RFS_LOCK(&r->lock);
	check->running = false;
	rfs_crew_end(&r->crew);
	pthread_cond_broadcast(&r->ended);
	return NULL;
}

int rfs_reservations_check(struct rfs_reservations *r, rfs_check_fn fn, void *user)
{
	struct rfs_check *check = &r->check;
	int rc;
	RFS_LOCK(&r->lock);

	if (!check->needed)
		return 0;
	check->fn = fn;
	check->user = user;
	rc = rfs_crew_start(&r->crew, check_main, r);
	if (rc < 0)
		return rc;
	check->needed = false;
	check->running = true;
	check->state = RFS_CHECK_RUNNING;
	return 1;
}

void rfs_reservations_check_result(struct rfs_reservations *r, struct rfs_check_result *ret_result)
{
	RFS_LOCK(&r->lock);
	rfs_check_result_locked(r, ret_result);
}

bool rfs_check_forbids_growth(struct rfs_reservations *r)
{
	RFS_LOCK(&r->lock);
	return r->check.excess_bytes > 0;
}

bool rfs_check_vouches(struct rfs_reservations *r)
{
	RFS_LOCK(&r->lock);
	return !r->check.needed && r->check.state == RFS_CHECK_SOUND;
}
