/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h: what a fuzz target is: one function that takes any bytes, and ends the process when something is wrong.
 * It is called many times in one process, and keeps nothing from one call to the next.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert it stays, whatever NDEBUG says. */
#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif
