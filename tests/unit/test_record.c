/* SPDX-License-Identifier: MIT */
/*
 * test_record.c: records as text: what is written is read back, to the letter, and nothing else is a record.
 */
#include "check.h"

#include "reservations/record.h"

#include <errno.h>
#include <inttypes.h>
#include <reservefs/reservations.h>
#include <string.h>

static void contract_to_the_letter(void **state)
{
	static const struct rfs_contract_record records[] = {
		{ .id = 8 },
		{ 9, 1, { 1769860800, 5 } },
		{ RFS_CONTRACT_ID_END - 1, RFS_BYTES_MAX, { INT64_MAX, 999999999 } },
	};
	static const char *const texts[] = {
		"id=8 size=0 changed=0.000000000",
		"id=9 size=1 changed=1769860800.000000005",
		"id=2305843009213693951 size=9223372036854775807 changed=9223372036854775807.999999999",
	};

	(void) state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct rfs_contract_record back;
		char text[RFS_VALUE_MAX + 1];
		rfs_record_encode_contract(&records[i], text);
		assert_string_equal(text, texts[i]);
		assert_int_equal(rfs_record_decode_contract(text, &back), 0);
		assert_int_equal(back.id, records[i].id);
		assert_int_equal(back.size_bytes, records[i].size_bytes);
		assert_int_equal(back.changed.seconds, records[i].changed.seconds);
		assert_int_equal(back.changed.nanoseconds, records[i].changed.nanoseconds);
	}
}

static void no_contract(void **state)
{
	static const char *const texts[] = {
		"", " ", "id=8", "id=8 size=0", "id=8 size=0 changed=", "id=8 size=0 changed=0",
		"id=8 size=0 changed=0.", "id=8 size=0 changed=0.0", "id=8 size=0 changed=0.0000000000",
		"id=8 size=0 changed=0.00000000 ", "id=8 size=0 changed=0.000000000 ", "id=8 size=0 changed=0.000000000\n",
		" id=8 size=0 changed=0.000000000", "id=08 size=0 changed=0.000000000", "id=8 size=00 changed=0.000000000",
		"id=8 size=0 changed=00.000000000", "id=+8 size=0 changed=0.000000000", "id=8 size=-1 changed=0.000000000",
		"id=8 size=0 changed=-1.000000000", "id=8  size=0 changed=0.000000000", "id=8,size=0,changed=0.000000000",
		"size=0 id=8 changed=0.000000000", "ID=8 size=0 changed=0.000000000", "id=0x8 size=0 changed=0.000000000",
		/* out of bounds */
		"id=7 size=0 changed=0.000000000", "id=0 size=0 changed=0.000000000",
		"id=2305843009213693952 size=0 changed=0.000000000", "id=8 size=9223372036854775808 changed=0.000000000",
		"id=8 size=18446744073709551616 changed=0.000000000", "id=8 size=0 changed=9223372036854775808.000000000",
		"id=18446744073709551624 size=0 changed=0.000000000", "id=8 size=0 changed=0.1000000000",
		/* another record's */
		"reserved=0 contracts=0 next_id=8 changed=0.000000000 commits=0",
	};

	(void) state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct rfs_contract_record record = { 4711, 4712, { 4713, 4714 } };
		if (rfs_record_decode_contract(texts[i], &record) != -EBADMSG)
			fail_msg("\"%s\" was understood", texts[i]);
		assert_int_equal(record.id, 4711);
		assert_int_equal(record.size_bytes, 4712);
		assert_int_equal(record.changed.seconds, 4713);
		assert_int_equal(record.changed.nanoseconds, 4714);
	}
}

static void totals_to_the_letter(void **state)
{
	static const struct rfs_totals_record records[] = {
		{ .next_id = 8 },
		{ 10, 2, 11, { 1, 2 }, 3 },
		{ RFS_BYTES_MAX, RFS_CONTRACT_ID_END - 1, RFS_CONTRACT_ID_END, { INT64_MAX, 999999999 }, UINT64_MAX },
	};
	static const char *const texts[] = {
		"reserved=0 contracts=0 next_id=8 changed=0.000000000 commits=0",
		"reserved=10 contracts=2 next_id=11 changed=1.000000002 commits=3",
		("reserved=9223372036854775807 contracts=2305843009213693951 next_id=2305843009213693952 "
		 "changed=9223372036854775807.999999999 commits=18446744073709551615"),
	};

	(void) state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct rfs_totals_record back;
		char text[RFS_VALUE_MAX + 1];
		rfs_record_encode_totals(&records[i], text);
		assert_string_equal(text, texts[i]);
		assert_int_equal(rfs_record_decode_totals(text, &back), 0);
		assert_int_equal(back.reserved_bytes, records[i].reserved_bytes);
		assert_int_equal(back.contracts, records[i].contracts);
		assert_int_equal(back.next_id, records[i].next_id);
		assert_int_equal(back.changed.seconds, records[i].changed.seconds);
		assert_int_equal(back.changed.nanoseconds, records[i].changed.nanoseconds);
		assert_int_equal(back.commits, records[i].commits);
	}
}

static void no_totals(void **state)
{
	static const char *const texts[] = {
		"", "reserved=0", "id=8 size=0 changed=0.000000000",
		"reserved=0 contracts=0 next_id=8 changed=0.000000000", "reserved=0 contracts=0 next_id=8 changed=0.000000000 commits=",
		"reserved=0 contracts=0 next_id=8 changed=0.000000000 commits=0 ",
		"reserved=0 contracts=0 next_id=8 changed=0.000000000 commits=00",
		"reserved=0 contracts=0 next_id=8 changed=0.000000000 commits=18446744073709551616",
		/* more contracts than ids, ids below the first, or beyond the last */
		"reserved=0 contracts=8 next_id=8 changed=0.000000000 commits=0",
		"reserved=0 contracts=0 next_id=7 changed=0.000000000 commits=0",
		"reserved=0 contracts=0 next_id=2305843009213693953 changed=0.000000000 commits=0",
		"reserved=9223372036854775808 contracts=0 next_id=8 changed=0.000000000 commits=0",
	};

	(void) state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct rfs_totals_record record = { .next_id = 4711 };
		if (rfs_record_decode_totals(texts[i], &record) != -EBADMSG)
			fail_msg("\"%s\" was understood", texts[i]);
		assert_int_equal(record.next_id, 4711);
	}
}

static void keys(void **state)
{
	static const uint64_t ids[] = { RFS_CONTRACT_ID_FIRST, 255, RFS_CONTRACT_ID_END - 1 };
	static const char *const id_keys[] = { "id/0000000000000008", "id/00000000000000ff", "id/1fffffffffffffff" };
	static const char *const others[] = {
		"", "id/", "id/8", "id/000000000000008", "id/00000000000000008", "id/00000000000000FF", "id/0000000000000007",
		"id/2000000000000000", "id/ffffffffffffffff", "id/ 00000000000000f", "id/+00000000000000f", "id/0x00000000000008",
		"id/-000000000000008", "id/0000000000000008 ", "ID/0000000000000008", "contract/0000000000000008",
	};
	char key[RFS_KEY_MAX + 1], name[RFS_NAME_MAX + 1];
	uint64_t id;

	(void) state;
	rfs_record_contract_key("a", key);
	assert_string_equal(key, "contract/a");
	memset(name, 'x', RFS_NAME_MAX);
	name[RFS_NAME_MAX] = '\0';
	rfs_record_contract_key(name, key);
	assert_int_equal(strlen(key), strlen("contract/") + RFS_NAME_MAX);
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		rfs_record_id_key(ids[i], key);
		assert_string_equal(key, id_keys[i]);
		assert_int_equal(rfs_record_id_of_key(key, &id), 0);
		assert_int_equal(id, ids[i]);
		/* In the order of the ids: that is the order of listings. */
		assert_true(i == 0 || strcmp(id_keys[i - 1], key) < 0);
	}
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		id = 4711;
		if (rfs_record_id_of_key(others[i], &id) != -EBADMSG)
			fail_msg("\"%s\" was understood", others[i]);
		assert_int_equal(id, 4711);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contract_to_the_letter),
		cmocka_unit_test(no_contract),
		cmocka_unit_test(totals_to_the_letter),
		cmocka_unit_test(no_totals),
		cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
