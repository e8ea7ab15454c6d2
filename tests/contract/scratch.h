/* SPDX-License-Identifier: MIT */
/* scratch.h: a directory of a test's own, and small file systems mounted in it. */
#ifndef TESTS_CONTRACT_SCRATCH_H
#define TESTS_CONTRACT_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

/* A cmocka setup and its teardown: a directory below $TMPDIR, or /tmp. `state` is left alone. */
int scratch_make(void **state);
int scratch_remove(void **state);

/* The path of `name` in the scratch directory. */
void scratch_path(const char *name, char *ret_path, size_t size);

/* Whether this process may mount: root, with loop devices. From the first call on, what it mounts is seen by it and its
 * children alone, and gone when they are. */
bool scratch_may_mount(void);

/* Makes a file system of `type` and that size in a file, and mounts it, with `options` unless NULL, on `name` in the scratch
 * directory. */
bool scratch_mount(const char *type, const char *options, const char *name, long long bytes, char *ret_path, size_t size);

/* Runs a command, with its output thrown away. Returns its exit status, or -1. */
int scratch_run(const char *const *argv);

#endif
