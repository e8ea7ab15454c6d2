/* SPDX-License-Identifier: MIT */
/* test_utf8.c: every code point and every way to get UTF-8 wrong, against the definition of RFC 3629. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/utf8.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Encodes `code` in `length` bytes, be that the right number or not. */
static void encode(uint32_t code, size_t length, char *ret_text)
{
	static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = length - 1; i > 0; i--) {
		ret_text[i] = (char) (0x80 | (code & 0x3f));
		code >>= 6;
	}
	ret_text[0] = (char) (marks[length] | code);
}

static size_t right_length(uint32_t code)
{
	return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

static void every_code_point(void **state)
{
	(void) state;
	for (uint32_t code = 0; code < 0x200000; code++) {
		bool valid = code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
		size_t right = right_length(code);
		char text[4];

		encode(code, right, text);
		if (rfs_utf8_is_printable(text, right) != (valid && !is_control(code)))
			fail_msg("U+%04X", (unsigned int) code);
		assert_int_equal(rfs_utf8_character(text, right), valid && !is_control(code) ? right : 0);
	}
}

static void overlong_forms(void **state)
{
	(void) state;
	for (uint32_t code = 0; code < 0x10000; code++) {
		for (size_t length = right_length(code) + 1; length <= 4; length++) {
			char text[4];

			encode(code, length, text);
			if (rfs_utf8_is_printable(text, length))
				fail_msg("U+%04X in %zu bytes", (unsigned int) code, length);
		}
	}
}

static void every_pair_of_bytes(void **state)
{
	(void) state;
	for (unsigned int a = 0; a < 256; a++) {
		for (unsigned int b = 0; b < 256; b++) {
			char text[] = {(char) a, (char) b};
			bool ascii = a >= 0x20 && a < 0x7f && b >= 0x20 && b < 0x7f;
			bool two = a >= 0xc2 && a <= 0xdf && b >= 0x80 && b <= 0xbf && !(a == 0xc2 && b <= 0x9f);

			if (rfs_utf8_is_printable(text, 2) != (ascii || two))
				fail_msg("%02x %02x", a, b);
		}
	}
}

static void cut_characters(void **state)
{
	static const char *const whole[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

	(void) state;
	for (size_t i = 0; i < COUNT(whole); i++) {
		size_t length = strlen(whole[i]);

		assert_true(rfs_utf8_is_printable(whole[i], length));
		for (size_t cut = 1; cut < length; cut++) {
			/* On the heap, so that a sanitizer sees a read beyond the cut. */
			char *text = malloc(cut);

			assert_non_null(text);
			memcpy(text, whole[i], cut);
			assert_false(rfs_utf8_is_printable(text, cut));
			assert_false(rfs_utf8_is_printable(whole[i] + cut, length - cut));
			free(text);
		}
	}
}

static void whole_texts(void **state)
{
	(void) state;
	assert_true(rfs_utf8_is_printable("", 0));
	assert_true(rfs_utf8_is_printable("contract-1 with spaces", 22));
	assert_true(rfs_utf8_is_printable("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80", 15));
	assert_false(rfs_utf8_is_printable("a\0b", 3));
	assert_false(rfs_utf8_is_printable("a\nb", 3));
	assert_false(rfs_utf8_is_printable("caf\xe9", 4));
	assert_false(rfs_utf8_is_printable("good\xff", 5));
	assert_false(rfs_utf8_is_printable("\xed\xa0\x80\xed\xb0\x80", 6));
}

static void expect_escaped(const char *text, size_t size, const char *expected)
{
	char *line = malloc(size);

	assert_non_null(line);
	memset(line, 'x', size);
	rfs_utf8_escape(text, line, size);
	assert_string_equal(line, expected);
	free(line);
}

static void escapes(void **state)
{
	(void) state;
	expect_escaped("", 64, "");
	expect_escaped("plain", 64, "plain");
	expect_escaped("a\nb", 64, "a\\x0ab");
	expect_escaped("a\\b", 64, "a\\x5cb");
	expect_escaped("a\\x0ab", 64, "a\\x5cx0ab");
	expect_escaped("\x1b[31m", 64, "\\x1b[31m");
	expect_escaped("caf\xe9!", 64, "caf\\xe9!");
	expect_escaped("\xc3\xa4\xe2\x82\xac", 64, "\xc3\xa4\xe2\x82\xac");
	expect_escaped("\xc2\x85", 64, "\\xc2\\x85");
	expect_escaped("\x7f", 64, "\\x7f");
	expect_escaped("\xf0\x9f\x98", 64, "\\xf0\\x9f\\x98");
	expect_escaped("\xc0\x80", 64, "\\xc0\\x80");
}

static void every_byte_is_told_apart(void **state)
{
	(void) state;
	for (unsigned int byte = 1; byte < 256; byte++) {
		char text[] = {(char) byte, '\0'}, line[8], expected[8];

		if (byte >= 0x20 && byte < 0x7f && byte != '\\')
			snprintf(expected, sizeof(expected), "%c", (char) byte);
		else
			snprintf(expected, sizeof(expected), "\\x%02x", byte);
		rfs_utf8_escape(text, line, sizeof(line));
		assert_string_equal(line, expected);
	}
}

static void a_cut_leaves_whole_pieces(void **state)
{
	(void) state;
	expect_escaped("abc", 1, "");
	expect_escaped("abc", 2, "a");
	expect_escaped("abc", 3, "ab");
	expect_escaped("abc", 4, "abc");
	expect_escaped("a\nb", 2, "a");
	expect_escaped("a\nb", 5, "a");
	expect_escaped("a\nb", 6, "a\\x0a");
	expect_escaped("a\nb", 7, "a\\x0ab");
	expect_escaped("a\xe2\x82\xac", 4, "a");
	expect_escaped("a\xe2\x82\xac", 5, "a\xe2\x82\xac");
	/* What comes after a piece that didn't fit is not shown in its place. */
	expect_escaped("a\xe2\x82\xac" "b", 4, "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point),
		cmocka_unit_test(overlong_forms),
		cmocka_unit_test(every_pair_of_bytes),
		cmocka_unit_test(cut_characters),
		cmocka_unit_test(whole_texts),
		cmocka_unit_test(escapes),
		cmocka_unit_test(every_byte_is_told_apart),
		cmocka_unit_test(a_cut_leaves_whole_pieces),
	};

	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
