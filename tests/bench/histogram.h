/* SPDX-License-Identifier: MIT */
/* histogram.h: how long operations took, in buckets whose width is under 1 % of their value. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define BENCH_SUB_BITS 7
#define BENCH_BUCKETS ((64 - BENCH_SUB_BITS + 1) << BENCH_SUB_BITS)

/* All zero is an empty one. Holds no pointer, so it can lie in memory shared by processes. */
struct bench_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t buckets[BENCH_BUCKETS];
};

void bench_histogram_add(struct bench_histogram *h, uint64_t ns);

/* Adds all of `from` to `to`. */
void bench_histogram_merge(struct bench_histogram *to, const struct bench_histogram *from);

/* The time that the share `quantile` (0 to 1) of all took at most; 0 where there are none. */
uint64_t bench_histogram_quantile(const struct bench_histogram *h, double quantile);

#endif
