/* SPDX-License-Identifier: MIT */
/* test_size.c: single texts and what they must parse to, with the borders of each rule. Units: test_grammar.c. */
#include "check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util/size.h"

#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Parses a copy that ends where the text ends, so that a sanitizer sees a read beyond it. */
static int parse(const char *text, size_t length, uint64_t *ret_bytes)
{
	char *copy = malloc(length > 0 ? length : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, length);
	*ret_bytes = UNTOUCHED;
	r = rfs_size_parse(copy, length, ret_bytes);
	free(copy);
	return r;
}

static void expect_bytes(const char *text, uint64_t expected)
{
	uint64_t bytes;
	int r = parse(text, strlen(text), &bytes);

	if (r != 0 || bytes != expected)
		fail_msg("'%s': %d, %llu; expected %llu", text, r, (unsigned long long) bytes,
			 (unsigned long long) expected);
}

static void expect_error_of(const char *text, size_t length, int expected)
{
	uint64_t bytes;
	int r = parse(text, length, &bytes);

	if (r != expected)
		fail_msg("'%.*s': %d, expected %d", (int) length, text, r, expected);
	if (bytes != UNTOUCHED)
		fail_msg("'%.*s': the result was touched", (int) length, text);
}

static void expect_error(const char *text, int expected)
{
	expect_error_of(text, strlen(text), expected);
}

static void plain_numbers(void **state)
{
	(void) state;
	expect_bytes("0", 0);
	expect_bytes("1", 1);
	expect_bytes("10737418240", UINT64_C(10737418240));
	expect_bytes("010", 10);
	expect_bytes("08", 8);
	expect_bytes("00000000000000000000000000000000000000000042", 42);
}

static void the_largest_size(void **state)
{
	(void) state;
	expect_bytes("9223372036854775807", INT64_MAX);
	expect_bytes("0000000009223372036854775807", INT64_MAX);
	expect_error("9223372036854775808", -ERANGE);
	expect_error("9223372036854775810", -ERANGE);
	expect_error("18446744073709551615", -ERANGE);
	expect_error("18446744073709551616", -ERANGE);
	expect_error("18446744073709551617", -ERANGE);
	expect_error("99999999999999999999", -ERANGE);
	expect_bytes("7E", UINT64_C(7) << 60);
	expect_error("8E", -ERANGE);
	expect_bytes("9EB", UINT64_C(9000000000000000000));
	expect_error("10EB", -ERANGE);
	expect_error("16E", -ERANGE);
	expect_error("17E", -ERANGE);
	expect_bytes("9007199254740991K", INT64_MAX - 1023);
	expect_error("9007199254740992K", -ERANGE);
	expect_error("18014398509481984K", -ERANGE);
}

static void white_space_around(void **state)
{
	(void) state;
	expect_bytes(" 10", 10);
	expect_bytes("10\n", 10);
	expect_bytes("\t\n\v\f\r 10K \r\f\v\n\t", 10240);
	expect_bytes("max\n", RFS_SIZE_ALL);
	expect_bytes(" \t max \r\n", RFS_SIZE_ALL);
}

static void white_space_inside(void **state)
{
	static const char *const texts[] = {
		"1 0", "10 K", "10K iB", "10Ki B", "10 KiB", "10\tK", "1\n0", "m ax", "max 1",
	};

	(void) state;
	for (size_t i = 0; i < COUNT(texts); i++)
		expect_error(texts[i], -EINVAL);
}

static void malformed(void **state)
{
	static const char *const texts[] = {
		"", " ", "\n", "\t\n\v\f\r ", "K", "KiB", "-1", "+1", "-0", "1.5G", "1,5", ".5", "1.",
		"0x10", "0X10", "1e3", "1E3", "1_000", "1'000", "10b", "10B", "10Ki", "10ki", "10KBi", "10KiBs",
		"10KK", "10Kb1", "10X", "10i", "10iB", "10Z", "10Y", "10Zi", "10;", "10#", "10\b", "10\x01", "10\x7f",
		"ten", "infinity", "max1", "1max", "maxmax", "maxx", "MAX", "Max", "maX", "ma",
		"10\xc2\xa0", "10\xe2\x80\x83", "\ufeff10", "\xd9\xa1",
	};

	(void) state;
	for (size_t i = 0; i < COUNT(texts); i++)
		expect_error(texts[i], -EINVAL);
}

static void malformed_wins_over_out_of_range(void **state)
{
	(void) state;
	expect_error("99999999999999999999999X", -EINVAL);
	expect_error("99999999999999999999 K", -EINVAL);
	expect_error("99999999999999999999EBB", -EINVAL);
	expect_error("99999999999999999999Ei", -EINVAL);
	expect_error("-99999999999999999999", -EINVAL);
	expect_error("99999999999999999999.5", -EINVAL);
}

static void nul_bytes(void **state)
{
	(void) state;
	expect_error_of("", 1, -EINVAL);
	expect_error_of("10\0", 3, -EINVAL);
	expect_error_of("\0" "10", 3, -EINVAL);
	expect_error_of("1\0" "0", 3, -EINVAL);
	expect_error_of("10K\0", 4, -EINVAL);
	expect_error_of("max\0", 4, -EINVAL);
}

/* Every single byte alone, after a digit, and after a unit. */
static void every_byte(void **state)
{
	(void) state;
	for (int byte = 0; byte < 256; byte++) {
		char text[] = {'7', 'K', (char) byte};
		bool space = byte == ' ' || (byte >= 9 && byte <= 13);
		bool digit = byte >= '0' && byte <= '9';
		bool unit = byte != 0 && strchr("KMGTPEkmgtpe", byte);
		uint64_t bytes;

		assert_int_equal(parse(text + 2, 1, &bytes), digit ? 0 : -EINVAL);
		assert_int_equal(parse((char[]){'7', (char) byte}, 2, &bytes), digit || space || unit ? 0 : -EINVAL);
		assert_int_equal(parse(text, 3, &bytes), space || byte == 'B' || byte == 'b' ? 0 : -EINVAL);
	}
}

/* Exactly `length` bytes count, whatever stands behind them. */
static void the_length_is_obeyed(void **state)
{
	uint64_t bytes = 0;

	(void) state;
	assert_int_equal(rfs_size_parse("1234K", 2, &bytes), 0);
	assert_int_equal(bytes, 12);
	assert_int_equal(rfs_size_parse("5KiB", 2, &bytes), 0);
	assert_int_equal(bytes, 5120);
	assert_int_equal(rfs_size_parse("maximum", 3, &bytes), 0);
	assert_true(bytes == RFS_SIZE_ALL);
	assert_int_equal(rfs_size_parse("10", 0, &bytes), -EINVAL);
}

static void the_longest_text(void **state)
{
	char text[RFS_SIZE_TEXT_MAX + 1];
	uint64_t bytes;

	(void) state;
	memset(text, '0', sizeof(text));
	text[RFS_SIZE_TEXT_MAX - 1] = '7';
	assert_int_equal(parse(text, RFS_SIZE_TEXT_MAX, &bytes), 0);
	assert_int_equal(bytes, 7);
	assert_int_equal(parse(text, RFS_SIZE_TEXT_MAX + 1, &bytes), -EINVAL);

	memset(text, ' ', sizeof(text));
	text[0] = '7';
	assert_int_equal(parse(text, RFS_SIZE_TEXT_MAX, &bytes), 0);
	assert_int_equal(bytes, 7);
	assert_int_equal(parse(text, RFS_SIZE_TEXT_MAX + 1, &bytes), -EINVAL);

	memset(text, '9', sizeof(text));
	assert_int_equal(parse(text, RFS_SIZE_TEXT_MAX, &bytes), -ERANGE);
	assert_int_equal(parse(text, RFS_SIZE_TEXT_MAX + 1, &bytes), -EINVAL);
}

static void white_space_alone(void **state)
{
	(void) state;
	assert_true(rfs_is_white_space("", 0));
	assert_true(rfs_is_white_space(" \t\n\v\f\r", 6));
	assert_true(rfs_is_white_space("\nx", 1));
	assert_false(rfs_is_white_space("\nx", 2));
	assert_false(rfs_is_white_space("", 1));
	assert_false(rfs_is_white_space("\x85", 1));
	assert_false(rfs_is_white_space("\xa0", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_numbers),
		cmocka_unit_test(the_largest_size),
		cmocka_unit_test(white_space_around),
		cmocka_unit_test(white_space_inside),
		cmocka_unit_test(malformed),
		cmocka_unit_test(malformed_wins_over_out_of_range),
		cmocka_unit_test(nul_bytes),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(the_length_is_obeyed),
		cmocka_unit_test(the_longest_text),
		cmocka_unit_test(white_space_alone),
	};

	return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
