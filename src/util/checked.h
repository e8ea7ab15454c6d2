/* SPDX-License-Identifier: MIT */
/* checked.h: arithmetic on amounts of bytes that cannot wrap silently. */
#ifndef RFS_UTIL_CHECKED_H
#define RFS_UTIL_CHECKED_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

/* a - b, or 0 where b is larger. */
static inline uint64_t rfs_sub_or_zero(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* The sum of two amounts whose sum is known to fit; that it doesn't is a programming error. */
static inline uint64_t rfs_sum(uint64_t a, uint64_t b)
{
	uint64_t sum;
	bool wrapped = __builtin_add_overflow(a, b, &sum);
	assert(!wrapped);
	(void) wrapped;
	return sum;
}

/* a - b, where b is known not to be larger. */
static inline uint64_t rfs_difference(uint64_t a, uint64_t b)
{
	assert(a >= b);
	return a - b;
}

static inline uint64_t rfs_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#endif
