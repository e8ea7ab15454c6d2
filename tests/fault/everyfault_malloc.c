/* SPDX-License-Identifier: MIT */
/*
 * everyfault_malloc.c: malloc and its relatives, in front of the C library's. Invariant: a failed allocation has no effect
 * but its answer and errno; `pieces` counts each piece from the call that returned it to the one that frees it.
 */
#include "everyfault_malloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_uint_least64_t countdown; /* 0: none is to fail */
static atomic_bool armed_for_good;
static atomic_uint_least64_t failures;
static atomic_int_least64_t pieces;

void everyfault_malloc_arm(uint64_t nth, bool persistent)
{
	armed_for_good = false;
	countdown = nth;
	armed_for_good = persistent && nth > 0;
	failures = 0;
}

uint64_t everyfault_malloc_failures(void)
{
	return failures;
}

int64_t everyfault_malloc_pieces(void)
{
	return pieces;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

#if defined(SANITIZED) || !defined(__GLIBC__)

bool everyfault_malloc_works(void)
{
	return false;
}

#else

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *old);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);
void free(void *old);

bool everyfault_malloc_works(void)
{
	return true;
}

static bool must_fail(void)
{
	uint64_t left = countdown;

	while (left > 0) {
		/* Once it has come down to the one that fails, it stays there for those that fail for good. */
		if (left == 1 && armed_for_good)
			break;
		if (atomic_compare_exchange_weak(&countdown, &left, left - 1))
			break;
	}
	if (left != 1)
		return false;
	failures++;
	errno = ENOMEM;
	return true;
}

static void *counted(void *piece)
{
	if (piece)
		pieces++;
	return piece;
}

void *malloc(size_t size)
{
	return must_fail() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return must_fail() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
	if (must_fail())
		return NULL;
	void *piece = __libc_realloc(old, size);
	if (!old)
		return counted(piece);
	if (!piece && size == 0)
		pieces--;
	return piece;
}

void free(void *old)
{
	if (old)
		pieces--;
	__libc_free(old);
}

#endif
