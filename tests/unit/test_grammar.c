/* SPDX-License-Identifier: MIT */
/*
 * test_grammar.c: every unit of a size, in every mixture of upper and lower case, against arithmetic in 128 bits,
 * around every power of two and ten; and, in every locale that there is, the same.
 */
#include "check.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <reservefs/repo.h>
#include <reservefs/reservations.h>

#include "util/size.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef unsigned __int128 wide;

struct unit {
	const char *name;
	unsigned int base;
	unsigned int power;
};

/* The table as the grammar has it: K and KiB are powers of 1024, KB is a power of 1000. */
static const struct unit units[] = {
	{"", 1024, 0},
	{"k", 1024, 1}, {"m", 1024, 2}, {"g", 1024, 3}, {"t", 1024, 4}, {"p", 1024, 5}, {"e", 1024, 6},
	{"kib", 1024, 1}, {"mib", 1024, 2}, {"gib", 1024, 3}, {"tib", 1024, 4}, {"pib", 1024, 5}, {"eib", 1024, 6},
	{"kb", 1000, 1}, {"mb", 1000, 2}, {"gb", 1000, 3}, {"tb", 1000, 4}, {"pb", 1000, 5}, {"eb", 1000, 6},
};

static wide power_of(unsigned int base, unsigned int power)
{
	wide result = 1;

	while (power-- > 0)
		result *= base;
	return result;
}

/* Writes `name` with the letters in upper case whose bit is set in `mask`. */
static void spell(const char *name, unsigned int mask, char *ret_text)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		ret_text[i] = (char) (mask >> i & 1 ? toupper(name[i]) : name[i]);
	ret_text[length] = '\0';
}

static void check_number(uint64_t number, const struct unit *unit, const char *spelt)
{
	static const char *const forms[] = {"%llu%s", "%llu%s\n", " \t%llu%s", "\r\n0%llu%s \v\f", "000%llu%s"};
	wide product = (wide) number * power_of(unit->base, unit->power);
	int expected = product > INT64_MAX ? -ERANGE : 0;

	for (size_t i = 0; i < COUNT(forms); i++) {
		uint64_t bytes = 42;
		char text[64];
		int r;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), forms[i], (unsigned long long) number, spelt);
#pragma GCC diagnostic pop
		r = rfs_size_parse(text, strlen(text), &bytes);
		if (r != expected || bytes != (expected < 0 ? 42 : (uint64_t) product))
			fail_msg("'%s': %d, %llu", text, r, (unsigned long long) bytes);
	}
}

/* The numbers around `number`, without wrapping. */
static void check_around(wide number, const struct unit *unit, const char *spelt)
{
	for (int delta = -1; delta <= 1; delta++) {
		if (delta < 0 && number == 0)
			continue;
		if (number + delta <= UINT64_MAX)
			check_number((uint64_t) (number + delta), unit, spelt);
	}
}

static void check_spelling(const struct unit *unit, const char *spelt)
{
	wide ten = 1;

	check_around(0, unit, spelt);
	for (int bit = 0; bit <= 64; bit++)
		check_around((wide) 1 << bit, unit, spelt);
	for (; ten <= UINT64_MAX; ten *= 10)
		check_around(ten, unit, spelt);
	/* The last number that fits with this unit, and the first that doesn't. */
	check_around(INT64_MAX / power_of(unit->base, unit->power), unit, spelt);
}

static void check_unit(const struct unit *unit)
{
	unsigned int spellings = 1U << strlen(unit->name);

	for (unsigned int mask = 0; mask < spellings; mask++) {
		char spelt[4];

		spell(unit->name, mask, spelt);
		check_spelling(unit, spelt);
	}
}

static void every_unit_in_every_case(void **state)
{
	(void) state;
	for (size_t i = 0; i < COUNT(units); i++)
		check_unit(&units[i]);
}

static bool is_unit(const char *letters)
{
	char lower[4] = "";

	for (size_t i = 0; letters[i] != '\0'; i++)
		lower[i] = (char) tolower((unsigned char) letters[i]);
	for (size_t i = 0; i < COUNT(units); i++)
		if (strcmp(lower, units[i].name) == 0)
			return true;
	return false;
}

/* All words of one to three letters behind a number: units are accepted, and nothing else is. */
static void nothing_else_is_a_unit(void **state)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const size_t n = sizeof(alphabet) - 1;

	(void) state;
	for (size_t code = 1; code < (n + 1) * (n + 1) * (n + 1); code++) {
		char text[5] = "1", *at = text + 1;
		uint64_t bytes;
		int r;

		for (size_t rest = code; rest > 0; rest /= n + 1)
			if (rest % (n + 1) > 0)
				*at++ = alphabet[rest % (n + 1) - 1];
		r = rfs_size_parse(text, strlen(text), &bytes);
		if (r != (is_unit(text + 1) ? 0 : -EINVAL))
			fail_msg("'%s': %d", text, r);
	}
}

static void max_means_all(void **state)
{
	uint64_t bytes = 0;

	(void) state;
	assert_int_equal(rfs_size_parse("max", 3, &bytes), 0);
	assert_true(bytes == RFS_SIZE_ALL);
	assert_true(bytes == RFS_ALL);
	assert_true(bytes == RFS_CAPACITY_MAX);
	for (unsigned int mask = 1; mask < 8; mask++) {
		char spelt[4];

		spell("max", mask, spelt);
		assert_int_equal(rfs_size_parse(spelt, 3, &bytes), -EINVAL);
	}
}

/* Numbers whose digits come from a fixed sequence, of every length that can fit and some that can't. */
static void numbers_of_every_length(void **state)
{
	uint64_t random = 1;

	(void) state;
	for (int digits = 1; digits <= 30; digits++) {
		for (int round = 0; round < 200; round++) {
			uint64_t bytes = 42;
			char text[32];
			wide value = 0;
			int r;

			for (int i = 0; i < digits; i++) {
				random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
				text[i] = (char) ('0' + (random >> 33) % 10);
				value = value * 10 + (wide) (text[i] - '0');
			}
			r = rfs_size_parse(text, (size_t) digits, &bytes);
			assert_int_equal(r, value > INT64_MAX ? -ERANGE : 0);
			assert_true(bytes == (r < 0 ? 42 : (uint64_t) value));
		}
	}
}

/* In Turkish an upper case i is no I, and other locales have other white space and digits. */
static void the_locale_does_not_matter(void **state)
{
	static const char *const locales[] = {
		"tr_TR.UTF-8", "tr_TR.ISO-8859-9", "de_DE.UTF-8", "en_US.ISO-8859-1", "C.UTF-8",
	};
	int tried = 0;

	(void) state;
	for (size_t i = 0; i < COUNT(locales); i++) {
		uint64_t bytes = 0;

		if (!setlocale(LC_ALL, locales[i]))
			continue;
		tried++;
		assert_int_equal(rfs_size_parse("10KIB", 5, &bytes), 0);
		assert_int_equal(bytes, 10240);
		assert_int_equal(rfs_size_parse("10kib", 5, &bytes), 0);
		assert_int_equal(bytes, 10240);
		assert_int_equal(rfs_size_parse("10\xa0", 3, &bytes), -EINVAL);
		assert_int_equal(rfs_size_parse("1.5", 3, &bytes), -EINVAL);
		assert_int_equal(rfs_size_parse("1,5", 3, &bytes), -EINVAL);
	}
	setlocale(LC_ALL, "C");
	if (tried == 0)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_unit_in_every_case),
		cmocka_unit_test(nothing_else_is_a_unit),
		cmocka_unit_test(max_means_all),
		cmocka_unit_test(numbers_of_every_length),
		cmocka_unit_test(the_locale_does_not_matter),
	};

	return cmocka_run_group_tests_name("grammar", tests, NULL, NULL);
}
