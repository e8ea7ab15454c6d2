/* SPDX-License-Identifier: MIT */
/*
 * size.c: parses the sizes that people and programs write.
 *
 * Whether a text is well-formed is decided for the whole of it before its value matters, so that malformed wins over
 * out of range. Nothing here depends on the locale.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <reservefs/types.h>

#include "util/size.h"

/* What is left to parse. */
struct cursor {
	const char *at;
	const char *end;
};

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static void trim(struct cursor *c)
{
	while (c->at < c->end && is_space(*c->at))
		c->at++;
	while (c->at < c->end && is_space(c->end[-1]))
		c->end--;
}

/* Consumes `letter` (lower case) in either case. */
static bool take_letter(struct cursor *c, char letter)
{
	if (c->at == c->end || to_lower(*c->at) != letter)
		return false;
	c->at++;
	return true;
}

/* value * factor + addend. A sum above RFS_BYTES_MAX becomes UINT64_MAX and stays above it. */
static uint64_t saturate(uint64_t value, uint64_t factor, uint64_t addend)
{
	uint64_t result;

	if (__builtin_mul_overflow(value, factor, &result) || __builtin_add_overflow(result, addend, &result) ||
	    result > RFS_BYTES_MAX)
		return UINT64_MAX;
	return result;
}

/* Consumes one digit at least. */
static int take_digits(struct cursor *c, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (c->at == c->end || !is_digit(*c->at))
		return -EINVAL;
	for (; c->at < c->end && is_digit(*c->at); c->at++)
		value = saturate(value, 10, (uint64_t) (*c->at - '0'));

	*ret_value = value;
	return 0;
}

/* Consumes a unit, where there is one. */
static int take_unit(struct cursor *c, uint64_t *ret_base, unsigned int *ret_power)
{
	static const char letters[] = "kmgtpe";
	const char *letter;
	uint64_t base = 1024;
	unsigned int power = 0;

	if (c->at < c->end) {
		/* memchr rather than strchr: a NUL byte is no unit. */
		letter = memchr(letters, to_lower(*c->at), sizeof(letters) - 1);
		if (!letter)
			return -EINVAL;
		c->at++;
		power = (unsigned int) (letter - letters) + 1;
		if (take_letter(c, 'i')) {
			if (!take_letter(c, 'b'))
				return -EINVAL;
		} else if (take_letter(c, 'b')) {
			base = 1000;
		}
	}

	*ret_base = base;
	*ret_power = power;
	return 0;
}

int rfs_size_parse(const char *text, size_t length, uint64_t *ret_bytes)
{
	struct cursor c = {.at = text, .end = text + length};
	uint64_t value, base;
	unsigned int power;
	int r;

	if (length > RFS_SIZE_TEXT_MAX)
		return -EINVAL;

	trim(&c);
	if (c.end - c.at == 3 && memcmp(c.at, "max", 3) == 0) {
		*ret_bytes = RFS_SIZE_ALL;
		return 0;
	}

	r = take_digits(&c, &value);
	if (r < 0)
		return r;
	r = take_unit(&c, &base, &power);
	if (r < 0)
		return r;
	if (c.at != c.end)
		return -EINVAL;

	for (; power > 0; power--)
		value = saturate(value, base, 0);
	if (value > RFS_BYTES_MAX)
		return -ERANGE;

	*ret_bytes = value;
	return 0;
}

int rfs_is_white_space(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!is_space(text[i]))
			return false;
	return true;
}
