/* SPDX-License-Identifier: MIT */
/*
 * crash_calls.h: steps between this process and the kernel for every call on the files of one directory.
 *
 * A program that links crash_calls.c has its own open, pwrite, fsync ... in front of the C library's, so that SQLite and
 * the product use them too, unchanged. Calls on other files pass untouched. Every file system seems small to
 * such a program, so that the room set aside for a Datastore is small too.
 */
#ifndef TESTS_CRASH_CALLS_H
#define TESTS_CRASH_CALLS_H

#include <stdbool.h>
#include <stdint.h>

enum call_kind {
	CALL_OPEN,     /* of a file that is there */
	CALL_CREATE,   /* open that makes one */
	CALL_READ,
	CALL_WRITE,
	CALL_SYNC,     /* fsync or fdatasync of a file */
	CALL_SYNC_DIRECTORY,
	CALL_TRUNCATE, /* to `length` bytes */
	CALL_ALLOCATE, /* `length` bytes at `offset`; see `grows` and `zeroes` */
	CALL_UNLINK,
	CALL_RENAME,
	CALL_LOOK,     /* stat, fstat, lstat, statx, access */
	CALL_LOCK,     /* fcntl */
	CALL_KINDS,
};

struct call {
	enum call_kind kind;
	const char *name;     /* below the directory; of RENAME, UNLINK, OPEN, CREATE, and LOOK by name; else NULL */
	const char *new_name; /* of RENAME */
	uint64_t inode;       /* where the file is named by a descriptor, and of OPEN and CREATE after the call */
	const void *data;     /* of WRITE */
	uint64_t offset;
	uint64_t length;
	bool grows;           /* of ALLOCATE: the file gets longer where the range ends beyond it */
	bool zeroes;          /* of ALLOCATE: the range reads as zeros afterwards */
};

struct calls_hooks {
	/* Before a call. 0: it is made; a positive errno: it isn't made, and fails with that; or CALLS_SHORT. May be NULL. */
	int (*before)(void *user, const struct call *call);

	/* After a call that was made and succeeded. Writes are whole: a short one is reported with its length. May be NULL. */
	void (*after)(void *user, const struct call *call);

	void *user;
};

/* Returned by before(): of WRITE, only the first half of the data is written, and that is what the call returns. */
#define CALLS_SHORT (-1)

/* Watches `directory` (an absolute path) from now on; NULL ends it. One call at a time is between the hooks, whatever
 * thread it comes from. */
void calls_watch(const char *directory, const struct calls_hooks *hooks);

/* From now on the files that are there and watched look as if their file system wrote them elsewhere at each change, until
 * that is turned off for new ones; as on btrfs. */
void calls_pretend_copy_on_write(bool pretend);

/* Runs `fn` while no call is between the hooks. */
void calls_exclusively(void (*fn)(void *user), void *user);

const char *calls_kind_name(enum call_kind kind);

#endif
