/* SPDX-License-Identifier: MIT */
/*
 * everyfault_malloc.h: the C library's allocations, counted, and failing where they are told to; SQLite's, the product's
 * and the library's own alike.
 */
#ifndef TESTS_EVERYFAULT_MALLOC_H
#define TESTS_EVERYFAULT_MALLOC_H

#include <stdbool.h>
#include <stdint.h>

/* Whether this program's allocations can be stepped into: not where a sanitizer has taken their place. */
bool everyfault_malloc_works(void);

/* The `nth` allocation from now on fails, and if `persistent` all after it. 0: none. */
void everyfault_malloc_arm(uint64_t nth, bool persistent);

/* How many were made to fail since then. */
uint64_t everyfault_malloc_failures(void);

/* How many pieces of memory are allocated at the moment. */
int64_t everyfault_malloc_pieces(void);

#endif
