/* SPDX-License-Identifier: MIT */
/*
 * utf8.c: what may stand in a name, and how to show what may not.
 *
 * One function, rfs_utf8_character, decides what a printable character is; all else here, and the log, asks it.
 * Nothing here depends on the locale.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "util/utf8.h"

/* The number of bytes of the character that `first` begins, or 0: it begins none. */
static size_t sequence_length(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		return 2;
	if (first >= 0xe0 && first <= 0xef)
		return 3;
	if (first >= 0xf0 && first <= 0xf4)
		return 4;
	return 0;
}

/* Whether `code` needs all of its `length` bytes, and is a Unicode scalar value that is no control character. */
static bool is_printable(uint32_t code, size_t length)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};

	if (code < smallest[length] || code > 0x10ffff)
		return false;
	if (code >= 0xd800 && code <= 0xdfff)
		return false;
	return code >= 0x20 && !(code >= 0x7f && code <= 0x9f);
}

size_t rfs_utf8_character(const char *text, size_t length)
{
	static const unsigned char payload[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	const unsigned char *bytes = (const unsigned char *) text;
	uint32_t code;
	size_t n;

	if (length == 0)
		return 0;
	n = sequence_length(bytes[0]);
	if (n == 0 || n > length)
		return 0;

	code = bytes[0] & payload[n];
	for (size_t i = 1; i < n; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (bytes[i] & 0x3f);
	}
	return is_printable(code, n) ? n : 0;
}

bool rfs_utf8_is_printable(const char *text, size_t length)
{
	while (length > 0) {
		size_t n = rfs_utf8_character(text, length);

		if (n == 0)
			return false;
		text += n;
		length -= n;
	}
	return true;
}

void rfs_utf8_escape(const char *text, char *ret_line, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t left = strlen(text);

	assert(size >= 1);

	while (left > 0) {
		size_t taken = *text == '\\' ? 0 : rfs_utf8_character(text, left);
		char escaped[4];
		const char *piece = text;
		size_t n = taken;

		if (taken == 0) {
			unsigned char byte = (unsigned char) *text;

			escaped[0] = '\\';
			escaped[1] = 'x';
			escaped[2] = hex[byte >> 4];
			escaped[3] = hex[byte & 0xf];
			piece = escaped;
			n = sizeof(escaped);
			taken = 1;
		}
		/* One byte stays for the NUL; a piece is shown whole or not at all. */
		if (n >= size)
			break;
		memcpy(ret_line, piece, n);
		ret_line += n;
		size -= n;
		text += taken;
		left -= taken;
	}
	*ret_line = '\0';
}
