/* SPDX-License-Identifier: MIT */
/*
 * fuzz_record.c: the records of the Datastore against a second reading of their format, by regular expressions: what
 * is a record is understood as it stands, and everything else is damaged.
 */
#include "fuzz.h"

#include <errno.h>
#include <regex.h>
#include <reservefs/reservations.h>
#include <stdbool.h>
#include <string.h>

#include "reservations/record.h"

#define NUMBER "(0|[1-9][0-9]*)"
#define TIME NUMBER "[.]([0-9]{9})"
#define FIELDS_MAX 6

static regex_t contract, totals, id_key;

static void compile(void)
{
	static bool compiled;

	if (compiled)
		return;
	CHECK(regcomp(&contract, "^id=" NUMBER " size=" NUMBER " changed=" TIME "$", REG_EXTENDED) == 0);
	CHECK(regcomp(&totals,
		      "^reserved=" NUMBER " contracts=" NUMBER " next_id=" NUMBER " changed=" TIME " commits=" NUMBER
		      "$",
		      REG_EXTENDED) == 0);
	CHECK(regcomp(&id_key, "^id/[0-9a-f]{16}$", REG_EXTENDED | REG_NOSUB) == 0);
	compiled = true;
}

/* The numbers in `text`, where it has the form and they fit in 64 bits. */
static bool read_fields(const regex_t *form, const char *text, uint64_t *ret_fields)
{
	regmatch_t match[FIELDS_MAX + 1];

	if (regexec(form, text, FIELDS_MAX + 1, match, 0) != 0)
		return false;
	for (size_t i = 0; i < form->re_nsub; i++) {
		errno = 0;
		ret_fields[i] = strtoull(text + match[i + 1].rm_so, NULL, 10);
		if (errno != 0)
			return false;
	}
	return true;
}

static void check_contract(const char *text)
{
	struct rfs_contract_record record = {.id = 4711};
	uint64_t f[FIELDS_MAX];
	bool good = read_fields(&contract, text, f) && f[0] >= RFS_CONTRACT_ID_FIRST && f[0] < RFS_CONTRACT_ID_END &&
		    f[1] <= INT64_MAX && f[2] <= INT64_MAX;
	char again[RFS_VALUE_MAX + 1];

	CHECK(rfs_record_decode_contract(text, &record) == (good ? 0 : -EBADMSG));
	if (!good) {
		CHECK(record.id == 4711 && record.size_bytes == 0);
		return;
	}
	CHECK(record.id == f[0] && record.size_bytes == f[1]);
	CHECK((uint64_t) record.changed.seconds == f[2] && (uint64_t) record.changed.nanoseconds == f[3]);
	rfs_record_encode_contract(&record, again);
	CHECK(strcmp(text, again) == 0);
}

static void check_totals(const char *text)
{
	struct rfs_totals_record record = {.next_id = 4711};
	uint64_t f[FIELDS_MAX];
	bool good = read_fields(&totals, text, f) && f[0] <= INT64_MAX && f[1] < f[2] &&
		    f[2] >= RFS_CONTRACT_ID_FIRST && f[2] <= RFS_CONTRACT_ID_END && f[3] <= INT64_MAX;
	char again[RFS_VALUE_MAX + 1];

	CHECK(rfs_record_decode_totals(text, &record) == (good ? 0 : -EBADMSG));
	if (!good) {
		CHECK(record.next_id == 4711 && record.reserved_bytes == 0);
		return;
	}
	CHECK(record.reserved_bytes == f[0] && record.contracts == f[1] && record.next_id == f[2]);
	CHECK((uint64_t) record.changed.seconds == f[3] && (uint64_t) record.changed.nanoseconds == f[4]);
	CHECK(record.commits == f[5]);
	rfs_record_encode_totals(&record, again);
	CHECK(strcmp(text, again) == 0);
}

static void check_id_key(const char *text)
{
	uint64_t id = 4711, expected = 0;
	bool good = regexec(&id_key, text, 0, NULL, 0) == 0;
	char again[RFS_KEY_MAX + 1];

	if (good)
		expected = strtoull(text + strlen("id/"), NULL, 16);
	good = good && expected >= RFS_CONTRACT_ID_FIRST && expected < RFS_CONTRACT_ID_END;
	CHECK(rfs_record_id_of_key(text, &id) == (good ? 0 : -EBADMSG));
	CHECK(id == (good ? expected : 4711));
	if (good) {
		rfs_record_id_key(id, again);
		CHECK(strcmp(text, again) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	/* A Datastore returns no longer values, and no longer keys. */
	if (size > RFS_KEY_MAX)
		return 0;
	text = malloc(size + 1);
	CHECK(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	compile();
	check_contract(text);
	check_totals(text);
	check_id_key(text);
	free(text);
	return 0;
}
