/* SPDX-License-Identifier: MIT */
/* check.h: cmocka with the headers that it needs, in the order that it needs them. */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
