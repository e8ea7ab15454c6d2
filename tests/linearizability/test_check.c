/* SPDX-License-Identifier: MIT */
/*
 * test_check.c: the checker against histories whose verdict was worked out by hand, and against recordings of something
 * with known bugs. A checker that accepts everything, or nothing, fails here.
 */
#include "check.h"
#include "record.h"
#include "subject_planted.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct example {
	const char *what;
	bool linearizable;
	const char *text;
};

static const struct example examples[] = {
	{ "nothing happened", true, "capacity 10\n" },
	{ "one after the other", true,
	  "capacity 10\n"
	  "1 1 2 create a = ok 8\n"
	  "1 3 4 resize 8 10 = ok 0 10\n"
	  "1 5 6 resize 8 11 = ENOSPC 10\n"
	  "1 7 8 status = ok 10 0 1\n"
	  "1 9 10 remove a = ok\n"
	  "1 11 12 size 8 = ENODEV\n" },
	{ "both get the last byte", false,
	  "capacity 10\ncontract a 8 0\ncontract b 9 0\n"
	  "1 1 9 resize 8 10 = ok 0 10\n"
	  "2 1 9 resize 9 10 = ok 0 10\n" },
	{ "one of two gets the last byte", true,
	  "capacity 10\ncontract a 8 0\ncontract b 9 0\n"
	  "1 1 9 resize 8 10 = ok 0 10\n"
	  "2 1 9 resize 9 10 = ENOSPC 0\n" },
	{ "nobody gets the last byte", false,
	  "capacity 10\ncontract a 8 0\ncontract b 9 0\n"
	  "1 1 9 resize 8 10 = ENOSPC 0\n"
	  "2 1 9 resize 9 10 = ENOSPC 0\n" },
	{ "a read after the answer shows the old size", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 2 resize 8 5 = ok 3 5\n"
	  "2 3 4 size 8 = ok 3\n" },
	{ "a read beside the change shows the old size", true,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 4 resize 8 5 = ok 3 5\n"
	  "2 3 5 size 8 = ok 3\n" },
	{ "two reads beside the change go back in time", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 resize 8 5 = ok 3 5\n"
	  "2 2 3 size 8 = ok 5\n"
	  "2 4 5 size 8 = ok 3\n" },
	{ "figures of two instants in one status", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 resize 8 5 = ok 3 5\n"
	  "2 2 3 status = ok 3 5 1\n" },
	{ "an unanswered change happened", true,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 - resize 8 5 = ?\n"
	  "2 3 4 size 8 = ok 5\n" },
	{ "an unanswered change did not happen", true,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 - resize 8 5 = ?\n"
	  "2 3 4 size 8 = ok 3\n" },
	{ "an unanswered change happened late", true,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 - resize 8 5 = ?\n"
	  "2 3 4 size 8 = ok 3\n"
	  "2 5 6 size 8 = ok 5\n" },
	{ "an unanswered change happened and was undone", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 - resize 8 5 = ?\n"
	  "2 3 4 size 8 = ok 5\n"
	  "2 5 6 size 8 = ok 3\n" },
	{ "an unanswered change happened by half", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 - resize 8 5 = ?\n"
	  "2 3 4 size 8 = ok 4\n" },
	{ "one contract removed twice", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 remove_id 8 = ok\n"
	  "2 1 9 remove_id 8 = ok\n" },
	{ "removed, made again, removed", true,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 remove a = ok\n"
	  "2 1 9 remove a = ok\n"
	  "3 1 9 create a = ok 9\n" },
	{ "an id that comes back", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 2 remove_id 8 = ok\n"
	  "1 3 4 create a = ok 8\n" },
	{ "an id that comes back, found later", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 2 remove_id 8 = ok\n"
	  "1 3 4 create a = ok -\n"
	  "1 5 6 find a = ok 8\n" },
	{ "an id that is learned later", true,
	  "capacity 10\n"
	  "1 1 2 create a = ok -\n"
	  "2 3 4 find a = ok 8\n"
	  "2 5 6 resize 8 max = ok - -\n"
	  "1 5 6 resize 8 1 = ok - -\n"
	  "1 7 8 find a = ok 8\n" },
	{ "one contract with two ids", false,
	  "capacity 10\n"
	  "1 1 2 create a = ok -\n"
	  "2 3 4 find a = ok 8\n"
	  "2 5 6 find a = ok 9\n" },
	{ "size goes along with the name", true,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 2 rename a b = ok\n"
	  "1 3 4 find a = ENOENT\n"
	  "1 5 6 find b = ok 8\n"
	  "1 7 8 size 8 = ok 3\n" },
	{ "both names at one instant", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 rename a b = ok\n"
	  "2 2 3 find b = ok 8\n"
	  "2 4 5 find a = ok 8\n" },
	{ "neither name", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 rename a b = ok\n"
	  "2 2 3 find a = ENOENT\n"
	  "2 4 5 find b = ENOENT\n" },
	{ "two renames onto one name", false,
	  "capacity 10\ncontract a 8 3\ncontract b 9 3\n"
	  "1 1 9 rename a c = ok\n"
	  "2 1 9 rename b c = ok\n" },
	{ "all of what is left, twice at once", true,
	  "capacity 10\ncontract a 8 3\ncontract b 9 3\n"
	  "1 1 9 resize 8 max = ok 3 7\n"
	  "2 1 9 resize 9 max = ok 3 3\n" },
	{ "all of what is left, and too much of it", false,
	  "capacity 10\ncontract a 8 3\ncontract b 9 3\n"
	  "1 1 9 resize 8 max = ok 3 7\n"
	  "2 1 9 resize 9 max = ok 3 4\n" },
	{ "shrinking below what is promised too much already", true,
	  "capacity 10\ncontract a 8 30\n"
	  "1 1 2 resize 8 29 = ok 30 29\n"
	  "1 3 4 resize 8 30 = ENOSPC 29\n"
	  "1 5 6 status = ok 29 0 1\n" },
	{ "shrinking refused on a full node", false,
	  "capacity 10\ncontract a 8 10\n"
	  "1 1 2 resize 8 9 = ENOSPC 10\n" },
	{ "what was released is not there yet", false,
	  "capacity 10\ncontract a 8 10\ncontract b 9 0\n"
	  "1 1 2 remove_id 8 = ok\n"
	  "2 3 4 resize 9 1 = ENOSPC 0\n" },
	{ "an errno that no one announced", false,
	  "capacity 10\ncontract a 8 10\n"
	  "1 1 2 resize 8 1 = EIO\n" },
	{ "an errno that changes nothing", true,
	  "capacity 10\ntolerate EIO\ncontract a 8 10\n"
	  "1 1 2 resize 8 1 = EIO\n"
	  "1 3 4 size 8 = ok 10\n" },
	{ "an errno that changed something", false,
	  "capacity 10\ntolerate EIO\ncontract a 8 10\n"
	  "1 1 2 resize 8 1 = EIO\n"
	  "1 3 4 size 8 = ok 1\n" },
	{ "a change that makes no difference at first, and does later", true,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 resize 8 3 = ok - -\n"
	  "2 1 9 resize 8 5 = ok - -\n"
	  "1 10 11 size 8 = ok 3\n" },
	{ "a name lingers until its removal is answered", true,
	  "capacity 10\nlinger\ncontract a 8 3\n"
	  "1 1 9 remove a = ok\n1 1 9 forget a = ok\n"
	  "2 2 3 status = ok 0 10 0\n"
	  "2 4 5 find a = ok 8\n"
	  "2 6 7 size 8 = ENODEV\n"
	  "2 10 11 find a = ENOENT\n" },
	{ "a name lingers longer than that", false,
	  "capacity 10\nlinger\ncontract a 8 3\n"
	  "1 1 9 remove a = ok\n1 1 9 forget a = ok\n"
	  "2 10 11 find a = ok 8\n" },
	{ "a name comes back before its removal is answered", false,
	  "capacity 10\nlinger\ncontract a 8 3\n"
	  "1 1 9 remove a = ok\n1 1 9 forget a = ok\n"
	  "2 2 3 find a = ENOENT\n"
	  "2 4 5 find a = ok 8\n" },
	{ "a name lingers where names do not", false,
	  "capacity 10\ncontract a 8 3\n"
	  "1 1 9 remove a = ok\n"
	  "2 2 3 status = ok 0 10 0\n"
	  "2 4 5 find a = ok 8\n" },
	{ "what lingers holds nothing", false,
	  "capacity 10\nlinger\ncontract a 8 3\n"
	  "1 1 9 remove a = ok\n1 1 9 forget a = ok\n"
	  "2 2 3 status = ok 0 10 0\n"
	  "2 4 5 size 8 = ok 3\n" },
	{ "three clients, one order of six", true,
	  "capacity 10\ncontract a 8 0\ncontract b 9 0\n"
	  "1 1 9 resize 8 10 = ok 0 10\n"
	  "2 1 9 resize 8 0 = ok 10 0\n"
	  "3 1 9 resize 9 10 = ok 0 10\n"
	  "1 10 11 status = ok 10 0 2\n" },
};

static void read_example(const char *text, struct history *ret_history)
{
	unsigned line = 0;
	FILE *in = fmemopen((void *) text, strlen(text), "r");
	assert_non_null(in);
	int r = history_read(in, ret_history, &line);
	fclose(in);
	if (r < 0)
		fail_msg("line %u: %s", line, strerror(-r));
}

static void examples_get_their_verdict(void **state)
{
	static struct history h;
	struct check_result result;

	(void) state;
	for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
		read_example(examples[i].text, &h);
		assert_int_equal(check_history(&h, &result), 0);
		if (result.linearizable != examples[i].linearizable)
			fail_msg("%s: judged %s", examples[i].what, result.linearizable ? "right" : "wrong");
		if (result.linearizable)
			assert_true(result.order_count <= h.event_count);
		else
			assert_true(result.order_count < h.event_count);
	}
}

static void histories_survive_being_written(void **state)
{
	static struct history h, again;

	(void) state;
	for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
		char *text = NULL;
		size_t size = 0;

		read_example(examples[i].text, &h);
		FILE *out = open_memstream(&text, &size);
		assert_non_null(out);
		history_write(out, &h);
		fclose(out);
		read_example(text, &again);
		free(text);
		assert_memory_equal(&h, &again, sizeof h);
	}
}

static void malformed_lines_are_named(void **state)
{
	static const char *const bad[] = {
		"capacity\n",
		"capacity ten\n",
		"1 1 2 create a\n",
		"1 1 2 create a =\n",
		"1 1 2 create a = ok\n",
		"1 1 2 create a = ok 8 9\n",
		"1 2 1 create a = ok 8\n",
		"1 1 - create a = ok 8\n",
		"1 1 2 create a = ?\n",
		"1 1 2 grow 8 1 = ok 0 1\n",
		"1 1 2 resize 8 -1 = ok 0 1\n",
		"1 1 2 status = ok 1 2\n",
		"-1 1 2 find a = ENOENT\n",
	};
	static struct history h;

	(void) state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[128];
		unsigned line = 0;

		snprintf(text, sizeof text, "%% first\n\n%s", bad[i]);
		FILE *in = fmemopen(text, strlen(text), "r");
		assert_non_null(in);
		int r = history_read(in, &h, &line);
		fclose(in);
		if (r != -EINVAL || line != 3)
			fail_msg("\"%s\": %d, line %u", bad[i], r, line);
	}
}

/* Records until the checker objects. */
static void record_planted(enum planted_bug bug, unsigned histories, struct record_result *ret_result)
{
	struct record_options options = { 5, 7, 4, 10, 42 };
	struct subject *s = subject_planted_new(bug, options.capacity_bytes);

	assert_non_null(s);
	assert_int_equal(record_histories(s, &options, histories, bug ? NULL : stderr, ret_result), 0);
	subject_planted_free(s);
}

static void no_bug_is_found_where_there_is_none(void **state)
{
	struct record_result result;

	(void) state;
	record_planted(PLANTED_NONE, 1000, &result);
	assert_true(result.linearizable);
	assert_int_equal(result.histories, 1000);
	assert_true(result.refused > 0);
	assert_true(result.overlapping > 0);
}

static void planted_bugs_are_found(void **state)
{
	static const enum planted_bug bugs[] = { PLANTED_CHECK_THEN_ACT, PLANTED_STALE_READ, PLANTED_DOUBLE_RELEASE,
						 PLANTED_LOST_UPDATE, PLANTED_TORN_STATUS };

	(void) state;
	for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++) {
		struct record_result result;

		record_planted(bugs[i], 5000, &result);
		if (result.linearizable)
			fail_msg("bug %u was not found in %u histories", (unsigned) bugs[i], result.histories);
		print_message("# bug %u was found in history %u\n", (unsigned) bugs[i], result.histories);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples_get_their_verdict),
		cmocka_unit_test(histories_survive_being_written),
		cmocka_unit_test(malformed_lines_are_named),
		cmocka_unit_test(no_bug_is_found_where_there_is_none),
		cmocka_unit_test(planted_bugs_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
