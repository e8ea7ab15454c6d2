/* SPDX-License-Identifier: MIT */
/*
 * fault_vfs.h: an SQLite VFS above "unix-excl" that passes every call on, until it is told to fail some; and the same
 * for SQLite's allocations, where the VFS is registered before SQLite is first used.
 *
 * There is one plan for the process. Threads: the functions here may be called from any thread at any time.
 */
#ifndef TESTS_FAULT_FAULT_VFS_H
#define TESTS_FAULT_FAULT_VFS_H

#include <stdbool.h>
#include <stdint.h>

/* Which calls are counted; a set. */
enum fault_vfs_calls {
	FAULT_VFS_OPEN = 1 << 0,
	FAULT_VFS_READ = 1 << 1,
	FAULT_VFS_WRITE = 1 << 2,
	FAULT_VFS_SYNC = 1 << 3,
	FAULT_VFS_TRUNCATE = 1 << 4,
	FAULT_VFS_SIZE = 1 << 5,
	FAULT_VFS_ALL = (1 << 6) - 1, /* of the above */
	FAULT_VFS_ALLOCATE = 1 << 6,  /* counts as on each file */
};

/* On which files; a set. */
enum fault_vfs_files {
	FAULT_VFS_MAIN = 1 << 0,
	FAULT_VFS_WAL = 1 << 1,
	FAULT_VFS_OTHERS = 1 << 2,
	FAULT_VFS_EVERY_FILE = (1 << 3) - 1,
};

struct fault_vfs_plan {
	unsigned int calls;
	unsigned int files;
	uint64_t nth;     /* the first call to fail, counted from 1; 0: none */
	bool persistent;  /* all calls from the nth on fail, rather than that one alone */
	bool is_full;     /* writes fail for want of space, rather than with an I/O error */
	unsigned int eighths_written; /* how much of a failing write is done nevertheless */
};

/* Registers the VFS (once), and returns its name. NULL: out of memory. */
const char *fault_vfs_register(void);

/* Begins to count calls, anew, and to fail as `plan` says. NULL: count all calls, and fail none. */
void fault_vfs_arm(const struct fault_vfs_plan *plan);

/* How many of the plan's calls were made since it was armed, failed ones included. */
uint64_t fault_vfs_calls(void);

/* How many of them were made to fail. */
uint64_t fault_vfs_failures(void);

#endif
