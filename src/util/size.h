/* SPDX-License-Identifier: MIT */
/* size.h: the grammar of sizes that people and programs write: `10G`, `512 MiB` without the space, `max`. */
#ifndef RFS_UTIL_SIZE_H
#define RFS_UTIL_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* What the word `max` parses to. The same value as RFS_ALL and RFS_CAPACITY_MAX. */
#define RFS_SIZE_ALL UINT64_MAX

/* The longest text that is looked at, in bytes. */
#define RFS_SIZE_TEXT_MAX 4095

/*
 * Parses exactly `length` bytes of `text`, which need not be NUL-terminated: optional white space, decimal digits,
 * an optional unit, optional white space; or `max` between optional white space. Units in either case:
 * K M G T P E and KiB ... EiB are powers of 1024, KB ... EB powers of 1000.
 * -EINVAL: malformed (a NUL byte, sign, fraction, inner space, longer than RFS_SIZE_TEXT_MAX included);
 * -ERANGE: well-formed, but above 2^63 - 1 bytes.
 */
int rfs_size_parse(const char *text, size_t length, uint64_t *ret_bytes);

/* Whether all of it is white space (of the C locale). True for length 0. */
int rfs_is_white_space(const char *text, size_t length);

#endif
