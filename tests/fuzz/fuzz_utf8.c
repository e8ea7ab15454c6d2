/* SPDX-License-Identifier: MIT */
/*
 * fuzz_utf8.c: the check of UTF-8 against the C library's own decoder, and of names against the check; and that what
 * is escaped is one line that says what it was made of.
 */
#include "fuzz.h"

#include <errno.h>
#include <locale.h>
#include <reservefs/reservations.h>
#include <stdbool.h>
#include <string.h>
#include <wchar.h>

#include "util/utf8.h"

/* Whether the C library reads `text` as characters, none of them a control character. */
static bool reads_as_printable(const char *text, size_t length)
{
	mbstate_t state = {0};

	while (length > 0) {
		wchar_t c;
		size_t n = mbrtowc(&c, text, length, &state);

		if (n == 0 || n == (size_t) -1 || n == (size_t) -2)
			return false;
		/* The C library reads beyond the end of Unicode. */
		if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c > 0x10ffff)
			return false;
		text += n;
		length -= n;
	}
	return true;
}

static bool is_hex(char c)
{
	return c != '\0' && strchr("0123456789abcdef", c);
}

/* Undoes escapes; returns the number of bytes written. */
static size_t unescape(const char *line, char *ret_text)
{
	size_t n = 0;

	while (*line != '\0') {
		if (*line == '\\') {
			char digits[3];

			CHECK(line[1] == 'x' && is_hex(line[2]) && is_hex(line[3]));
			memcpy(digits, line + 2, 2);
			digits[2] = '\0';
			ret_text[n++] = (char) strtoul(digits, NULL, 16);
			line += 4;
		} else {
			ret_text[n++] = *line++;
		}
	}
	return n;
}

/* `text` is NUL-terminated; `room` is the size of the line it must fit. */
static void check_escape(const char *text, size_t room)
{
	size_t length = strlen(text), back_length;
	char *line = malloc(room);
	char *back;

	CHECK(line);
	rfs_utf8_escape(text, line, room);
	CHECK(memchr(line, '\0', room));
	CHECK(reads_as_printable(line, strlen(line)));

	back = malloc(strlen(line) + 1);
	CHECK(back);
	back_length = unescape(line, back);
	CHECK(back_length <= length && memcmp(back, text, back_length) == 0);
	/* Cut only where no further piece, of 4 bytes at most, would have fitted. */
	CHECK(back_length == length || strlen(line) + 4 >= room);

	free(back);
	free(line);
}

/* `text` is NUL-terminated. */
static void check_name(const char *text)
{
	size_t length = strlen(text);
	bool valid = length > 0 && text[0] != '.' && !strchr(text, '/') && reads_as_printable(text, length);
	int r = rfs_name_check(text);

	CHECK(r == (length > RFS_NAME_MAX ? -ENAMETOOLONG : valid ? 0 : -EINVAL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *) data;
	size_t first = size;
	char *text;

	CHECK(setlocale(LC_CTYPE, "C.UTF-8"));

	/* The check gets the bytes without a NUL behind them. */
	CHECK(rfs_utf8_is_printable(bytes, size) == reads_as_printable(bytes, size));
	if (size > 0) {
		first = rfs_utf8_character(bytes, size);
		CHECK(first <= 4 && first <= size);
		CHECK(first == 0 || reads_as_printable(bytes, first));
	}

	text = malloc(size + 1);
	CHECK(text);
	if (size > 0)
		memcpy(text, bytes, size);
	text[size] = '\0';
	check_name(text);
	check_escape(text, 4 * size + 1);
	check_escape(text, 1 + size / 2);
	free(text);
	return 0;
}
