/* SPDX-License-Identifier: MIT */
/*
 * fuzz_size.c: the grammar of sizes against a second reading of it, that shares nothing with the first: regular
 * expressions say what is well-formed, arithmetic in 128 bits what it is worth.
 */
#include "fuzz.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdbool.h>
#include <string.h>

#include "util/size.h"

#define SPACE "[ \t\n\v\f\r]*"
#define LIMIT (((unsigned __int128) 1 << 63) - 1)

static regex_t number, word;

static void compile(void)
{
	static bool compiled;

	if (compiled)
		return;
	CHECK(regcomp(&number, "^" SPACE "0*([0-9]+)([KMGTPE](i?B)?)?" SPACE "$", REG_EXTENDED | REG_ICASE) == 0);
	CHECK(regcomp(&word, "^" SPACE "max" SPACE "$", REG_EXTENDED | REG_NOSUB) == 0);
	compiled = true;
}

/* What `digits` and `unit` are worth; anything above LIMIT where that is too much. */
static unsigned __int128 worth(const char *digits, size_t count, const char *unit, size_t unit_length)
{
	unsigned __int128 value = 0;

	/* 19 digits are the most that fit, and the expression leaves one leading zero at most. */
	if (count > 20)
		return LIMIT + 1;
	for (size_t i = 0; i < count; i++)
		value = value * 10 + (unsigned __int128) (digits[i] - '0');
	if (unit_length == 0 || value > LIMIT)
		return value;

	for (const char *letter = "KMGTPE";; letter++) {
		CHECK(*letter != '\0');
		value *= unit_length == 2 ? 1000 : 1024;
		if (value > LIMIT || toupper((unsigned char) unit[0]) == *letter)
			break;
	}
	return value;
}

static int expected(const char *text, size_t length, uint64_t *ret_bytes)
{
	regmatch_t match[3];
	unsigned __int128 value;

	if (length > RFS_SIZE_TEXT_MAX || strlen(text) != length)
		return -EINVAL;
	if (regexec(&word, text, 0, NULL, 0) == 0) {
		*ret_bytes = UINT64_MAX;
		return 0;
	}
	if (regexec(&number, text, 3, match, 0) != 0)
		return -EINVAL;

	value = worth(text + match[1].rm_so, (size_t) (match[1].rm_eo - match[1].rm_so), text + match[2].rm_so,
		      match[2].rm_so < 0 ? 0 : (size_t) (match[2].rm_eo - match[2].rm_so));
	if (value > LIMIT)
		return -ERANGE;
	*ret_bytes = (uint64_t) value;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t bytes = 4711, expected_bytes = 4711;
	char *text = malloc(size + 1);
	bool white = true;

	CHECK(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	compile();

	/* The parser gets the bytes without the NUL behind them. */
	CHECK(rfs_size_parse((const char *) data, size, &bytes) == expected(text, size, &expected_bytes));
	CHECK(bytes == expected_bytes);

	for (size_t i = 0; i < size; i++)
		white = white && data[i] != '\0' && strchr(" \t\n\v\f\r", data[i]);
	CHECK(!rfs_is_white_space((const char *) data, size) == !white);

	free(text);
	return 0;
}
