/* SPDX-License-Identifier: MIT */
/* test_histogram.c: quantiles come within 1 % of what the sorted values say, whatever their size. */
#include "histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define VALUES 10000

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
	return x < y ? -1 : x > y;
}

static void assert_near(uint64_t found, uint64_t wanted)
{
	uint64_t slack = wanted / 100;
	assert_in_range(found, wanted - slack, wanted + slack);
}

static void test_empty(void **state)
{
	struct bench_histogram h = { 0 };
	(void) state;

	assert_int_equal(bench_histogram_quantile(&h, 0.5), 0);
	assert_int_equal(bench_histogram_quantile(&h, 1), 0);
}

static void test_small_values_are_exact(void **state)
{
	struct bench_histogram h = { 0 };
	(void) state;

	for (uint64_t i = 1; i <= 100; i++)
		bench_histogram_add(&h, i);
	assert_int_equal(bench_histogram_quantile(&h, 0), 1);
	assert_int_equal(bench_histogram_quantile(&h, 0.5), 50);
	assert_int_equal(bench_histogram_quantile(&h, 0.99), 99);
	assert_int_equal(bench_histogram_quantile(&h, 1), 100);
}

static void test_wide_range(void **state)
{
	static uint64_t values[VALUES];
	struct bench_histogram h = { 0 };
	uint64_t x = 42, sum = 0;
	(void) state;

	for (unsigned i = 0; i < VALUES; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
		values[i] = x >> (20 + x % 40); /* from nanoseconds to hours */
		sum += values[i];
		bench_histogram_add(&h, values[i]);
	}
	qsort(values, VALUES, sizeof values[0], compare);
	assert_near(bench_histogram_quantile(&h, 0.5), values[VALUES / 2 - 1]);
	assert_near(bench_histogram_quantile(&h, 0.9), values[VALUES / 10 * 9 - 1]);
	assert_near(bench_histogram_quantile(&h, 0.99), values[VALUES / 100 * 99 - 1]);
	assert_int_equal(h.max_ns, values[VALUES - 1]);
	assert_int_equal(h.sum_ns, sum);
	assert_int_equal(h.count, VALUES);
}

static void test_largest_value(void **state)
{
	struct bench_histogram h = { 0 };
	(void) state;

	bench_histogram_add(&h, UINT64_MAX);
	assert_in_range(bench_histogram_quantile(&h, 0.5), UINT64_MAX / 100 * 99, UINT64_MAX);
}

static void test_merge(void **state)
{
	struct bench_histogram a = { 0 }, b = { 0 };
	(void) state;

	for (unsigned i = 0; i < 10; i++) {
		bench_histogram_add(&a, 10);
		bench_histogram_add(&b, 90);
	}
	bench_histogram_add(&b, 99);
	bench_histogram_merge(&a, &b);
	assert_int_equal(a.count, 21);
	assert_int_equal(a.max_ns, 99);
	assert_int_equal(bench_histogram_quantile(&a, 0.4), 10);
	assert_int_equal(bench_histogram_quantile(&a, 0.5), 90);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_small_values_are_exact),
		cmocka_unit_test(test_wide_range),
		cmocka_unit_test(test_largest_value),
		cmocka_unit_test(test_merge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
