/* SPDX-License-Identifier: MIT */
/*
 * record.c: contracts and totals as text. Invariant: decode accepts exactly what encode writes, so that a
 * record is either understood completely or reported as damaged.
 */
#include "reservations/record.h"

#include <errno.h>
#include <inttypes.h>
#include <reservefs/reservations.h>
#include <stdio.h>
#include <string.h>

void rfs_record_contract_key(const char *name, char ret_key[RFS_KEY_MAX + 1])
{
	(void) snprintf(ret_key, RFS_KEY_MAX + 1, RFS_KEY_CONTRACT "%s", name);
}

void rfs_record_id_key(uint64_t id, char ret_key[RFS_KEY_MAX + 1])
{
	(void) snprintf(ret_key, RFS_KEY_MAX + 1, RFS_KEY_ID "%016" PRIx64, id);
}

void rfs_record_encode_contract(const struct rfs_contract_record *record, char ret_text[RFS_VALUE_MAX + 1])
{
	(void) snprintf(ret_text, RFS_VALUE_MAX + 1, "id=%" PRIu64 " size=%" PRIu64 " changed=%" PRId64 ".%09" PRId32,
			record->id, record->size_bytes, record->changed.seconds, record->changed.nanoseconds);
}

void rfs_record_encode_totals(const struct rfs_totals_record *record, char ret_text[RFS_VALUE_MAX + 1])
{
	(void) snprintf(ret_text, RFS_VALUE_MAX + 1,
			"reserved=%" PRIu64 " contracts=%" PRIu64 " next_id=%" PRIu64 " changed=%" PRId64 ".%09" PRId32
			" commits=%" PRIu64,
			record->reserved_bytes, record->contracts, record->next_id, record->changed.seconds,
			record->changed.nanoseconds, record->commits);
}

void rfs_record_encode_clean(uint64_t commits, const char *identity, char ret_text[RFS_VALUE_MAX + 1])
{
	(void) snprintf(ret_text, RFS_VALUE_MAX + 1, "commits=%" PRIu64 " file=%s", commits, identity);
}

/* Reads `label` and the decimal number behind it, and moves *text past both. */
static bool take_number(const char **text, const char *label, uint64_t *ret_number)
{
	const char *p = *text;
	uint64_t number = 0;

	if (strncmp(p, label, strlen(label)) != 0)
		return false;
	p += strlen(label);
	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t) (*p - '0'), &number))
			return false;
	*text = p;
	*ret_number = number;
	return true;
}

static bool take_time(const char **text, const char *label, struct rfs_time *ret_time)
{
	uint64_t seconds, nanoseconds;

	if (!take_number(text, label, &seconds) || !take_number(text, ".", &nanoseconds))
		return false;
	if (seconds > INT64_MAX || nanoseconds > 999999999)
		return false;
	ret_time->seconds = (int64_t) seconds;
	ret_time->nanoseconds = (int32_t) nanoseconds;
	return true;
}

int rfs_record_decode_contract(const char *text, struct rfs_contract_record *ret_record)
{
	struct rfs_contract_record record;
	char again[RFS_VALUE_MAX + 1];
	const char *p = text;

	if (!take_number(&p, "id=", &record.id) || !take_number(&p, " size=", &record.size_bytes) ||
	    !take_time(&p, " changed=", &record.changed) || *p != '\0')
		return -EBADMSG;
	if (record.id < RFS_CONTRACT_ID_FIRST || record.id >= RFS_CONTRACT_ID_END || record.size_bytes > RFS_BYTES_MAX)
		return -EBADMSG;
	/* Leading zeros and the like: only the form that encode writes is one of ours. */
	rfs_record_encode_contract(&record, again);
	if (strcmp(text, again) != 0)
		return -EBADMSG;
	*ret_record = record;
	return 0;
}

int rfs_record_decode_totals(const char *text, struct rfs_totals_record *ret_record)
{
	struct rfs_totals_record record;
	char again[RFS_VALUE_MAX + 1];
	const char *p = text;

	if (!take_number(&p, "reserved=", &record.reserved_bytes) || !take_number(&p, " contracts=", &record.contracts) ||
	    !take_number(&p, " next_id=", &record.next_id) || !take_time(&p, " changed=", &record.changed) ||
	    !take_number(&p, " commits=", &record.commits) || *p != '\0')
		return -EBADMSG;
	if (record.next_id < RFS_CONTRACT_ID_FIRST || record.next_id > RFS_CONTRACT_ID_END ||
	    record.contracts >= record.next_id || record.reserved_bytes > RFS_BYTES_MAX)
		return -EBADMSG;
	rfs_record_encode_totals(&record, again);
	if (strcmp(text, again) != 0)
		return -EBADMSG;
	*ret_record = record;
	return 0;
}

int rfs_record_id_of_key(const char *key, uint64_t *ret_id)
{
	char again[RFS_KEY_MAX + 1];
	uint64_t id = 0;

	if (sscanf(key, RFS_KEY_ID "%16" SCNx64, &id) != 1)
		return -EBADMSG;
	rfs_record_id_key(id, again);
	if (strcmp(key, again) != 0 || id < RFS_CONTRACT_ID_FIRST || id >= RFS_CONTRACT_ID_END)
		return -EBADMSG;
	*ret_id = id;
	return 0;
}
