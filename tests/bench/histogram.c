/* SPDX-License-Identifier: MIT */
/*
 * histogram.c: a histogram with buckets that grow with the value, so that microseconds and seconds fit in one.
 *
 * Invariant: values below 2^BENCH_SUB_BITS have a bucket each; above, every power of two is cut into 2^BENCH_SUB_BITS
 * buckets. `max_ns` is exact, and no quantile is above it.
 */
#include "histogram.h"

#include <math.h>

static unsigned bucket_of(uint64_t ns)
{
	if (ns < (UINT64_C(1) << BENCH_SUB_BITS))
		return (unsigned) ns;
	unsigned shift = (unsigned) (63 - __builtin_clzll(ns)) - BENCH_SUB_BITS;
	return ((shift + 1) << BENCH_SUB_BITS) + (unsigned) ((ns >> shift) - (UINT64_C(1) << BENCH_SUB_BITS));
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
	if (bucket < (1U << BENCH_SUB_BITS))
		return bucket;
	unsigned shift = (bucket >> BENCH_SUB_BITS) - 1;
	uint64_t low = ((bucket & ((1U << BENCH_SUB_BITS) - 1)) + (UINT64_C(1) << BENCH_SUB_BITS)) << shift;
	return low + ((UINT64_C(1) << shift) >> 1);
}

void bench_histogram_add(struct bench_histogram *h, uint64_t ns)
{
	h->count++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->buckets[bucket_of(ns)]++;
}

void bench_histogram_merge(struct bench_histogram *to, const struct bench_histogram *from)
{
	to->count += from->count;
	to->sum_ns += from->sum_ns;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
	for (unsigned i = 0; i < BENCH_BUCKETS; i++)
		to->buckets[i] += from->buckets[i];
}

uint64_t bench_histogram_quantile(const struct bench_histogram *h, double quantile)
{
	uint64_t wanted = (uint64_t) ceil(quantile * (double) h->count);
	uint64_t seen = 0;

	for (unsigned i = 0; i < BENCH_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= wanted && seen)
			return value_of(i) < h->max_ns ? value_of(i) : h->max_ns;
	}
	return 0;
}
