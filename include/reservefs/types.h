/* SPDX-License-Identifier: MIT */
/*
 * types.h: what every public header shares.
 *
 * Conventions that hold for the whole interface:
 *  - a function that can fail returns 0 or a negative errno value;
 *  - results go through trailing `ret_` parameters, which are untouched when the function fails;
 *  - amounts of storage are in bytes, in uint64_t, and never above RFS_BYTES_MAX;
 *  - every _free(), _close() and _unref() accepts NULL.
 */
#ifndef RESERVEFS_TYPES_H
#define RESERVEFS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The largest amount that can be named, in bytes: what fits in off_t. */
#define RFS_BYTES_MAX ((uint64_t)INT64_MAX)

/* The longest contract name, in bytes without the NUL: NAME_MAX of Linux. */
#define RFS_NAME_MAX 255

/* One line that says more about a failure than its errno does: what is in the way, where, and what to do. Whoever fails
 * fills it, where there is something to say; the caller sets text[0] to 0 before. It belongs to one request or call alone. */
#define RFS_WHY_MAX 512
struct rfs_why {
	char text[RFS_WHY_MAX];
};

/* A moment of the wall clock: seconds since 1970 (UTC) and nanoseconds below one second. */
struct rfs_time {
	int64_t seconds;
	int32_t nanoseconds;
};

#ifdef __cplusplus
}
#endif

#endif
