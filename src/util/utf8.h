/* SPDX-License-Identifier: MIT */
/* utf8.h: what may stand in a name, and how to show what may not. */
#ifndef RFS_UTIL_UTF8_H
#define RFS_UTIL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Whether `text` is valid UTF-8 (no overlong form, no surrogate, nothing above U+10FFFF) without control
 * characters (U+0000 to U+001F, U+007F to U+009F). */
bool rfs_utf8_is_printable(const char *text, size_t length);

/* The number of bytes of the printable character (as above) that `text` begins with, or 0: it begins with none. */
size_t rfs_utf8_character(const char *text, size_t length);

/* Copies `text` into `ret_line` of `size` bytes (at least 1), with every byte that is not part of a printable UTF-8
 * character, and every backslash, as \xNN: always one line of valid UTF-8, cut at a character where
 * it doesn't fit. */
void rfs_utf8_escape(const char *text, char *ret_line, size_t size);

#endif
